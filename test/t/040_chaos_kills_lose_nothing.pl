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
	restart_after_crash => 'on', 'somamem.somabrain_concurrency' => 4, 'somamem.max_attempts' => 1000);
my (@logs, $writer, %done);
my $met_parked = 0;

# Not every answer is good, so that kills meet rows in every state: under way, in doubt, parked
# for themselves, behind another, with their tenant, and dead.  What is refused is refused
# whatever else happens: a row that left its session's order must not come back.
$brain->control(add => $_) foreach
	{ mode => 'status', status => 422, content => '77 xx' },
	{ mode => 'reset', percent => 2, accept => JSON::PP::true },
	{ mode => 'status', status => 500, percent => 2 },
	{ mode => 'status', status => 500, content => '55 xx', percent => 80 },
	{ mode => 'status', status => 429, retry_after => 2, tenant => 't3', percent => 2 };

# Some further deliveries are what a kill waits for: load, not time.
sub let_work
{
	my $goal = $brain->counts->{distinct} + 20 + int rand 400;
	my ($rc, $parked) = $node->psql('postgres', 'SELECT count(*) FROM somamem.parked');

	$met_parked += $rc == 0 && $parked > 0;
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
note("$met_parked kills met parked rows");
note('killed: ' . join ', ', map { "$done{$_} times $_" } sort keys %done);

$brain->control(mode => 'status', status => 422, content => '77 xx');
ok(drained($node), 'the backlog drains');
my $result = history(node => $node, written => \@logs, brain => $brain, topic => $topic, dead => 1);
is_clean($result, "after $kills kills");
is($node->safe_psql('postgres', "SELECT count(*) FROM somamem.dead_letters WHERE payload ->> 'content' !~ '77 xx'"),
	0, 'none but refused rows were given up');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.dead_letters'), '>', 0, 'refused ones were');
is($brain->counts->{violations}, 0, 'no request broke the contract')
	or diag($brain->counts->{first_violation});
is( $node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT 1 FROM somamem.outbox GROUP BY id HAVING count(*) > 1) d'),
	0, 'no id was given twice');

$node->stop;
done_testing();
