# Writers with synchronous_commit = off, and a postmaster killed at once: what a sink got is
# in the database after recovery, for a row is sent only when its commit is flushed.
#
# Not a regress test: it kills the server.  The WAL writer is all but switched off, and the
# sink answers late, so that a row sent before its flush would be one that the crash undoes.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain,
	wal_writer_delay => '10s', wal_writer_flush_after => '1GB', wal_buffers => '64MB',
	synchronous_commit => 'off', checkpoint_timeout => '1h', max_wal_size => '10GB');
my (@logs, $undone);

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
foreach my $round (1 .. 6)
{
	my $goal = $brain->counts->{distinct} + 1 + 3 * ($round % 3);
	my $log = scratch('async.jsonl');
	my $sql = '';

	# No answer, so no page is recorded, and nothing else flushes: only the gate does.
	$brain->control(mode => 'ok', delay_ms => 60_000);
	foreach my $n (1 .. 200)
	{
		$sql .= 'SELECT * FROM ' . write_memory('t', "s$n", "round $round row $n") . ";\n";
	}
	my @receipts = split /\n/, $node->safe_psql('postgres', $sql);
	ok(poll('rows are at the sink', sub { return $brain->counts->{distinct} >= $goal; }),
		"round $round: rows arrive");
	ok(kill_postmaster($node), "round $round: killed");
	foreach my $n (1 .. 200)
	{
		my ($id, $key) = split /\|/, $receipts[ $n - 1 ];
		my $payload = { type => 'memory', role => 'user', content => "round $round row $n",
			metadata => { tenant => 't', session_id => "s$n" } };
		append_to_file($log, encode({ n => $n, begin => 2 * $n, end => 2 * $n + 1, state => 'acked', id => $id,
					tenant => 't', session => "s$n", key => $key, payload => $payload, deduplicated => \0 }) . "\n");
	}
	push @logs, $log;
	$brain->control(delay_ms => 0);
	$node->start;
	# Else what is sent again would have all connections of the next round.
	ok(drained($node), "round $round: the rest drains");
}
my $result = history(node => $node, written => \@logs, brain => $brain, kept => 1);
is_clean($result, 'what a sink got, recovery kept');
note("undone: $result->{undone}");

$node->stop;
done_testing();
