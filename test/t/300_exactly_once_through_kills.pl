# somamem.kafka_exactly_once: a read_committed consumer sees each row exactly once, through
# kill -9 of couriers, shippers, the server and the broker at random moments under load.
#
# Not a regress test: it kills the server and a broker.
#
# SMEM_SEED repeats a run, SMEM_KILLS asks for more kills.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Broker;
use Somamem::Topic;
use Test::More;

need_kafka();

my $seed = $ENV{SMEM_SEED} || time ^ $$;
my $kills = $ENV{SMEM_KILLS} || 12;
srand $seed;
note("SMEM_SEED=$seed");

my $broker = Somamem::Broker->new;
my $topic = Somamem::Topic->new(bootstrap => $broker->bootstrap);
my $node = new_server('main', topic => $topic, restart_after_crash => 'on', 'somamem.kafka_exactly_once' => 'on');
my (@logs, $writer, %done);

sub recorded
{
	my ($rc, $out) = $node->psql('postgres', "SELECT coalesce(sum(rows), 0) FROM somamem.shipment WHERE sink = 'kafka'");
	return $rc == 0 && $out =~ /^\d+$/ ? $out : 0;
}

# Some further deliveries are what a kill waits for: load, not time.
sub let_work
{
	my $goal = recorded() + 20 + int rand 400;
	return poll('deliveries go on', sub { return recorded() >= $goal || !still_runs($writer); });
}

sub keep_writing
{
	return if $writer && still_runs($writer);
	ok(finish_program($writer), 'a writer ends') if $writer;
	$writer = start_writer($node, '-n', 8_000, '-c', 8, '-R', 1000, '-x', 3, '-r', '-u', 'w' . @logs);
	push @logs, $writer->{log};
	return;
}

sub running
{
	my ($what) = @_;
	my $pid;

	poll("a $what runs",
		sub { $pid = $what eq 'courier' ? courier_pid($node, 'kafka') : worker_pid($node, 'kafka'); return $pid; });
	return $pid;
}

my %kill_of = (
	courier => sub { kill 'KILL', running('courier'); },
	shipper => sub { kill 'KILL', running('shipper'); },
	postmaster => sub { restart_killed($node); },
	broker => sub { $broker->kill_it; $broker->start; });
my @kinds = sort keys %kill_of;

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
foreach my $kill (1 .. $kills)
{
	my $what = $kill <= @kinds ? $kinds[ $kill - 1 ] : $kinds[ rand @kinds ];

	keep_writing();
	ok(let_work(), "kill $kill, $what: the load runs");
	$kill_of{$what}->();
	$done{$what}++;
}
ok(finish_program($writer), 'the last writer ends');
note('killed: ' . join ', ', map { "$done{$_} times $_" } sort keys %done);
ok(drained($node), 'the backlog drains');
is_clean(history(node => $node, written => \@logs, topic => $topic, committed => 1), "after $kills kills", exactly => 1);
is($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.dead_letters'), 0, 'nothing was given up');
ok(poll_sql($node, 'SELECT count(*) FROM somamem.ahead', expected => 0), 'and nothing is ahead of the position');

# Switched off and on again, the page number goes on.
configure($node, 'somamem.kafka_exactly_once' => 'off');
my ($plain) = write_rows($node, 'acme', 's', 'without transactions');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($plain)"), 't', 'switched off, it delivers');
configure($node, 'somamem.kafka_exactly_once' => 'on');
my ($again) = write_rows($node, 'acme', 's', 'with transactions again');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($again)"), 't', 'and switched on again');

$node->stop;
done_testing();
