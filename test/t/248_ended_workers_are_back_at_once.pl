# Launcher and shipper terminated again and again under load: each is back, the load goes on,
# and what is sent again stays within what was under way: at most a window for each end.
# Cancelling them ends nothing.
#
# Not a regress test: it signals processes.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;
use Time::HiRes qw(time);

use constant { ENDS => 4, WINDOW => 2048 };

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain);
my %pid_of = (
	shipper => sub { return worker_pid($node, 'somabrain'); },
	launcher => sub {
		return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'somamem launcher'") || undef; });

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
my $writer = start_writer($node, '-n', 100_000, '-c', 4, '-R', 400, '-s', 10);
ok(poll('rows are delivered', sub { return $brain->counts->{distinct} > 200; }), 'rows are delivered');

foreach my $name (qw(launcher shipper))
{
	my $pid = $pid_of{$name}->();
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)") foreach 1 .. 10;
	my ($id) = write_rows($node, 'cancelled', 's', "after $name");
	is($node->safe_psql('postgres', "SELECT somamem.wait_for($id, NULL, '1 min')"), 't', "a cancelled $name: deliveries go on");
	is($pid_of{$name}->(), $pid, 'in the same process');
	foreach my $turn (1 .. ENDS)
	{
		$pid = $pid_of{$name}->();
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
		my $start = time;
		ok(poll("another $name runs", sub { my $now = $pid_of{$name}->(); return $now && $now != $pid; }),
			"a terminated $name is back");
		note(sprintf 'after %.1f s', time - $start);
	}
}
# Both at once: nobody is there to start the shipper but the launcher that comes.
my ($launcher, $shipper) = map { $pid_of{$_}->() } qw(launcher shipper);
$node->safe_psql('postgres', "SELECT pg_terminate_backend(p) FROM unnest('{$launcher,$shipper}'::int[]) p");
my ($id) = write_rows($node, 'both', 's', 'after both');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($id, NULL, '1 min')"), 't', 'both terminated at once: deliveries go on');

kill 'TERM', $writer->{pid};
poll('the writer ends', sub { return !still_runs($writer); });
ok(drained($node), 'the backlog drains');
my $result = history(written => [ outbox_log($node) ], brain => $brain);
is_clean($result, 'after all of it');
cmp_ok($brain->counts->{repeats}, '<=', (ENDS + 1) * WINDOW, 'no more is sent again than what was under way');
$node->stop;
done_testing();
