# A row that kills couriers again and again is parked, and the next of its session waits behind
# it through all of that: also where its trouble is recorded while the other one is to be sent again.
#
# Not a regress test: it kills couriers.
use strict;
use warnings;

use List::Util qw(sum0);
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;
use Time::HiRes qw(usleep);

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.somabrain_timeout' => '15s', 'somamem.max_attempts' => 100);
my $unanswered = 0;
my $kills = 0;

sub hanging
{
	my $counts = $brain->counts;
	return sum0(values %{ $counts->{requests} }) - sum0(values %{ $counts->{statuses} });
}

# A request that stays: others come and go.
sub is_under_way
{
	foreach (1 .. 4)
	{
		return 0 unless hanging() > $unanswered;
		usleep(20_000);
	}
	return 1;
}

sub kill_courier
{
	my $courier = courier_pid($node, 'somabrain') or return;

	$unanswered = hanging();
	kill 'KILL', $courier;
	poll('the courier ends', sub { return (courier_pid($node, 'somabrain') || 0) != $courier; });
	$kills++;
	return;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
$brain->control(mode => 'hang', content => 'killer');
write_rows($node, 't', 'k', 'killer', 'after it');
ok( poll(
		'it has killed enough',
		sub {
			return 1 if $kills >= 9 || grep { /after/ } $brain->contents;
			kill_courier() if is_under_way();
			return 0;
		}),
	'a row kills couriers');
is_deeply([ $brain->contents('k') ], [], 'nothing of its session overtakes it');
$brain->control(mode => 'ok');
ok(drained($node), 'when it kills no more, everything drains');
is_deeply([ $brain->contents('k') ], [ 'killer', 'after it' ], 'in order');

$node->stop;
done_testing();
