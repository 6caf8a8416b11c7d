# A row that must wait for an earlier one of its session waits also while that fact is known
# to the shipper alone: outcomes behind an unanswered row cannot be recorded, so nothing in
# the parking place tells of them.
#
# Not a regress test: it needs a SomaBrain that answers some rows and not others, and a
# courier that dies in between.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.somabrain_timeout' => '10s');
my $marker = 0;

sub arrives
{
	my ($content) = @_;
	return poll("\"$content\" arrives", sub { return grep { $_ eq $content } $brain->contents; });
}

# What was written before has had its chance to be sent when a row of somebody else arrives.
sub let_pass
{
	my $content = 'marker ' . ++$marker;

	write_rows($node, 'other', "m$marker", $content);
	ok(arrives($content), 'others pass meanwhile');
	return;
}

sub throttled
{
	return $brain->counts->{statuses}->{429} // 0;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

# A is parked, B waits behind it unrecorded, A is delivered, C comes.
$brain->control(add => { mode => 'status', status => 429, retry_after => 3, tenant => 't', count => 1 });
write_rows($node, 't', 's', 'A');
ok(poll_sql($node, "SELECT count(*) FROM somamem.parked WHERE state = 'held'", expected => 1),
	'a throttled row is parked');
$brain->control(add => { mode => 'hang', tenant => 'stuck' });
write_rows($node, 'stuck', 'x', 'X');
ok(poll('X hangs', sub { return ($brain->counts->{requests}->{batch} // 0) >= 2; }), 'a row without an answer');
write_rows($node, 't', 's', 'B');
ok(arrives('A'), 'the parked row is delivered');
ok(poll_sql($node, 'SELECT count(*) FROM somamem.parked', expected => 0), 'and recorded');
write_rows($node, 't', 's', 'C');
let_pass();
$brain->control(mode => 'ok');
ok(drained($node), 'the backlog drains');
is_deeply([ $brain->contents('s') ], [qw(A B C)], 'a row does not overtake one that waited behind a parked one');

# D is held, unrecorded behind Y; the courier that knew it dies; E comes.
$brain->control(add => { mode => 'hang', tenant => 'stuck' });
$brain->control(add => { mode => 'status', status => 429, retry_after => 3, tenant => 't', count => 1 });
my $before = throttled();
write_rows($node, 'stuck', 'y', 'Y');
write_rows($node, 't', 's', 'D');
ok(poll('D is throttled', sub { return throttled() > $before; }), 'a row is throttled behind one without an answer');
my $courier = courier_pid($node, 'somabrain');
let_pass();
kill 'KILL', $courier;
ok(poll('another courier runs', sub { my $pid = courier_pid($node, 'somabrain'); return $pid && $pid != $courier; }),
	'the courier is replaced');
write_rows($node, 't', 's', 'E');
let_pass();
$brain->control(mode => 'ok');
ok(drained($node), 'the backlog drains');
is_deeply([ $brain->contents('s') ], [qw(A B C D E)], 'nor does it when another courier took over');

$node->stop;
done_testing();
