# kill -9 of couriers, shippers and the postmaster, at random moments under load: nothing
# acknowledged is lost, nothing undone is sent, order holds, payloads are equal.
#
# Not a regress test: it kills the server.
#
# SMEM_SEED repeats a run, SMEM_KILLS asks for more kills.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

my $seed = $ENV{SMEM_SEED} || time ^ $$;
my $kills = $ENV{SMEM_KILLS} || 24;
srand $seed;
note("SMEM_SEED=$seed");

my $brain = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $node = new_server('main', brain => $brain, topic => $topic,
	restart_after_crash => 'on', 'somamem.somabrain_concurrency' => 4);
my (@logs, $writer, %done);

# Not every answer gets through, so that kills meet rows in every state.
$brain->control(add => { mode => 'reset', percent => 2, accept => JSON::PP::true });
$brain->control(add => { mode => 'status', status => 500, percent => 2 });

# Some further deliveries are what a kill waits for: load, not time.
sub let_work
{
	my $goal = $brain->counts->{distinct} + 20 + int rand 400;

	return poll('deliveries go on', sub { return $brain->counts->{distinct} >= $goal || !still_runs($writer); });
}

sub keep_writing
{
	return if $writer && still_runs($writer);
	ok(finish_program($writer), 'a writer ends') if $writer;
	$writer = start_writer($node, '-n', 12_000, '-c', 8, '-R', 1500, '-x', 3, '-r', '-u', 'w' . @logs);
	push @logs, $writer->{log};
	return;
}

sub running
{
	my ($what) = @_;
	my $sink = rand() < 0.5 ? 'somabrain' : 'kafka';
	my $pid;

	poll("a $what runs",
		sub { $pid = $what eq 'courier' ? courier_pid($node, $sink) : worker_pid($node, $sink); return $pid; });
	return $pid;
}

ok(shippers_run($node), 'the shippers run');
foreach my $kill (1 .. $kills)
{
	my $dice = rand;
	my $what = $dice < 0.4 ? 'courier' : $dice < 0.7 ? 'shipper' : 'postmaster';

	keep_writing();
	ok(let_work(), "kill $kill, $what: the load runs");
	if ($what eq 'postmaster')
	{
		restart_killed($node);
	}
	else
	{
		kill 'KILL', running($what);
	}
	$done{$what}++;
}
ok(finish_program($writer), 'the last writer ends');
note('killed: ' . join ', ', map { "$done{$_} times $_" } sort keys %done);

$brain->control(mode => 'ok');
ok(drained($node), 'the backlog drains');
my $result = history(node => $node, written => \@logs, brain => $brain, topic => $topic, dead => 1);
is_clean($result, "after $kills kills");
is($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.dead_letters'), 0, 'no row was given up');
is($brain->counts->{violations}, 0, 'no request broke the contract')
	or diag($brain->counts->{first_violation});
is( $node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT 1 FROM somamem.outbox GROUP BY id HAVING count(*) > 1) d'),
	0, 'no id was given twice');

$node->stop;
done_testing();
