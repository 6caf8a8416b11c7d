# A row whose every sending ends the courier is found out and parked; everybody else's rows go
# on, and its session keeps its order.
#
# Not a regress test: it plays the row's part, and kills the courier whenever that row is under
# way.
use strict;
use warnings;

use List::Util qw(sum0);
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;
use Time::HiRes qw(usleep);

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.somabrain_timeout' => '15s');
my $unanswered = 0;

# Requests that the service took and did not answer.
sub hanging
{
	my $counts = $brain->counts;
	return sum0(values %{ $counts->{requests} }) - sum0(values %{ $counts->{statuses} });
}

# One more of them, and not only for a moment.
sub is_under_way
{
	foreach (1 .. 4)
	{
		return 0 unless hanging() > $unanswered;
		usleep(20_000);
	}
	return 1;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
$brain->control(mode => 'hang', content => 'killer');
my ($killer) = write_rows($node, 't', 'k', 'killer');
write_rows($node, 't', 'k', 'after it');
write_rows($node, 't', "s$_", "other $_") foreach 1 .. 20;

my $kills = 0;
ok( poll(
		'the row is found',
		sub {
			return 1 if status_of($node, $killer) eq 'somabrain in_retry';
			return 0 unless is_under_way();
			my $courier = courier_pid($node, 'somabrain') or return 0;
			# Before the next courier sends it again.
			$unanswered = hanging();
			kill 'KILL', $courier;
			poll('the courier ends', sub { return (courier_pid($node, 'somabrain') || 0) != $courier; });
			$kills++;
			return 0;
		}),
	'a row that ends its couriers is parked');
note("$kills couriers");
cmp_ok($kills, '<', 8, 'a few couriers were enough to find it');
is($node->safe_psql('postgres', "SELECT class FROM somamem.parked WHERE id = $killer"), 'courier_died', 'with the reason');
$brain->control(mode => 'ok');
ok(drained($node), 'everything drains');
is_deeply([ $brain->contents('k') ], [ 'killer', 'after it' ], 'its session in order');
is(scalar(grep { /^other/ } $brain->contents), 20, 'and all others');
cmp_ok($node->safe_psql('postgres', "SELECT max(attempts) FROM somamem.status($killer)"), '<=', 10, 'attempts stay in bounds');
is($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.dead_letters'), 0, 'nothing was given up');

$node->stop;
done_testing();
