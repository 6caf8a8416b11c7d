# What operators decided comes along in a dump: in another server a discarded row is not sent, a
# paused sink stays paused, a redriven row goes where it was to go, and to no sink that is switched
# on later.
#
# Not a regress test: it needs two servers.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new;
my $node = new_server('source', brain => $brain, 'somamem.retention' => '1s');

sub is_state
{
	my ($server, $id, $state, $title) = @_;
	my $seen = '';

	return ok(poll("row $id is $state", sub { $seen = status_of($server, $id); return $seen eq $state; },
			last => sub { return $seen; }), $title);
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
$brain->control(mode => 'status', status => 422, content => 'bad');
my ($put_back) = write_rows($node, 'acme', 's', 'bad and kept by its dead letter');
my $round = 0;
ok( poll('its segment is emptied',
		sub {
			write_rows($node, 'acme', 'turn', 'turn ' . ++$round);
			return $node->safe_psql('postgres', "SELECT count(*) FROM somamem.outbox WHERE id = $put_back") == 0;
		}),
	'a dead letter outlives its row');
configure($node, 'somamem.retention' => '1d');
my ($discarded, $erased) = (write_rows($node, 'acme', 's', 'bad and discarded'), write_rows($node, 'zeta', 's', 'bad and erased'));
is_state($node, $_, 'somabrain dead', 'refused') foreach $discarded, $erased;
is($node->safe_psql('postgres', "SELECT somamem.discard('somabrain', $discarded)"), 't', 'one is discarded');
is($node->safe_psql('postgres', "SELECT somamem.erase('zeta')"), 1, 'one is erased');
ok(drained($node), 'the rest is delivered');
$brain->control(mode => 'down');
is($node->safe_psql('postgres', "SELECT somamem.redrive('somabrain')"), 1, 'one is redriven');
my ($pending) = write_rows($node, 'acme', 's', 'pending');
$node->safe_psql('postgres', "SELECT somamem.pause('somabrain')");
my $dump = scratch('dump.sql');
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
$node->stop;

my $other = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $target = new_server('target', brain => $other, no_extension => 1);
$target->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('postgres'), '-f', $dump ], 'restored');
is($target->safe_psql('postgres', "SELECT sink FROM somamem.sink_state WHERE paused_at IS NOT NULL"), 'somabrain', 'it is paused there');
$target->safe_psql('postgres', "SELECT somamem.resume('somabrain')");
is($target->safe_psql('postgres', "SELECT somamem.wait_for($pending)"), 't', 'what was pending is delivered');
is($target->safe_psql('postgres', "SELECT somamem.wait_for($put_back)"), 't', 'and what was redriven');
ok(drained($target), 'that is all');
is_deeply([ $other->contents ], [ 'bad and kept by its dead letter', 'pending' ], 'in order, and nothing that was withdrawn');
is(status_of($target, $discarded), 'somabrain discarded', 'status says so');
is(status_of($target, $erased), 'somabrain erased', 'of both');

configure($target, topic => $topic);
ok(shippers_run($target), 'another sink is switched on');
is($target->safe_psql('postgres', "SELECT somamem.wait_for($pending, 'kafka')"), 't', 'it gets what is kept');
ok(drained($target), 'to the end');
is_deeply([ grep { /^bad/ } map { $_->{value}->{payload}->{content} } $topic->messages ], ['bad and discarded'],
	'but not what was redriven for another');
$target->stop;
done_testing();
