# A repeat's receipt is as durable as the caller asks, also where the first writer asked for
# nothing: on our disk, and on the synchronous standby's.
#
# Not a regress test: it kills the postmaster, and stops a standby.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Test::More;

my $node = new_server('main',
	init => ['allows_streaming' => 1],
	checkpoint_timeout => '1h',
	autovacuum => 'off');

# Writes key after key, or repeats it, in one session and a transaction each; a name behind a
# key is the synchronous_commit of it and those that follow.  Returns whether each was a repeat.
sub write_keys
{
	my $sql = '';

	foreach my $step (@_)
	{
		my ($key, $commit) = split /:/, $step;
		my $memory = write_memory('acme', 's', "content of $key", "idempotency_key => '$key'");

		$sql .= "SET synchronous_commit = $commit;\n" if $commit;
		$sql .= "SELECT deduplicated FROM $memory;\n";
	}
	return join '', split /\n/, $node->safe_psql('postgres', $sql);
}

sub is_kept
{
	my ($key) = @_;
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM somamem.outbox WHERE idempotency_key = '$key'");
}

# Stops the process that flushes what asynchronous commits leave behind; returns its pid.
sub hold_wal_writer
{
	my $pid = $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");

	kill 'STOP', $pid;
	return $pid;
}

# The log's end may be anywhere on its page, so several rounds meet several places.
foreach my $round (1 .. 3)
{
	my $wal_writer = hold_wal_writer();

	# A session that has met a repeat looks for the next one's key before it writes anything, so
	# that there is no commit of its own that would flush.
	is(write_keys("other $round:off", "other $round", "first $round", "first $round:on"), 'ftft',
		"round $round: a write that asks for no durability, and its repeat, which does");
	is(write_keys("alone $round:off"), 'f', 'a write that nobody repeats');
	is(write_keys("twice $round:off", "twice $round"), 'ft', 'and one whose repeat asks for none either');
	kill 'KILL', $node->{_pid};
	kill 'KILL', $wal_writer;
	restart_killed($node);
	is(is_kept("first $round"), 1, 'after the kill the repeated one is there');
	is(is_kept("alone $round"), 0, 'the one that nobody repeated is not, so nothing else flushed');
	is(is_kept("twice $round"), 0, 'nor is the one that nobody asked to keep');
}

# With a synchronous standby that is away, a repeat waits as any commit would.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my ($rc, $out, $err) = $standby->psql('postgres',
	'SELECT ' . write_memory('acme', 's', 'on a standby'), extra_params => ['-v', 'VERBOSITY=verbose']);
like($err, qr/25006/, 'a standby refuses a write as read-only');
$standby->stop;
configure($node, synchronous_standby_names => 'standby');
ok(poll_sql($node, 'SHOW synchronous_standby_names', expected => 'standby'), 'the standby is synchronous, and away');

is(write_keys('local:local', 'local'), 'ft', 'a write that asks for our disk alone does not wait, nor its repeat');
my $repeat = 'SELECT deduplicated FROM '
	. write_memory('acme', 's', 'content of local', "idempotency_key => 'local'");
my $asking = IPC::Run::start(
	['psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SET synchronous_commit = local',
		'-c', $repeat, '-c', 'SET synchronous_commit = on', '-c', $repeat],
	'>', \my $answer, '2>', \my $complaint);
ok(poll_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", expected => 1),
	'a repeat that asks for the standby waits for it');
$standby->start;
$asking->finish;
is($answer, "t\nt\n", 'and has its receipt once the standby is back');

$standby->stop;
$node->stop;
done_testing();
