# Every connection is taken by sessions: the workers, which count among the worker processes,
# ship all the same and come back when they end; health answers in a session that is there.
#
# Not a regress test: it takes every connection of its server.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, max_connections => 12, superuser_reserved_connections => 2);
ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

my @sessions = map { $node->background_psql('postgres') } 1 .. 12;
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT 1');
isnt($rc, 0, 'no further session is let in');
like($err, qr/too many clients|reserved/, 'for the want of connections');
is($sessions[0]->query_safe("SELECT somamem.health() ->> 'status'"), 'ok', 'health answers in an open session');
my $id = $sessions[1]->query_safe('SELECT (' . write_memory('t', 's', 'with no connection left') . ').id');
is($sessions[0]->query_safe("SELECT somamem.wait_for($id, NULL, '1 min')"), 't', 'a write is delivered');

my $who = "SELECT pid FROM somamem.workers WHERE state = 'running' AND ";
foreach my $worker (["sink = 'somabrain'", 'shipper'], ['sink IS NULL', 'launcher'])
{
	my ($which, $name) = @$worker;
	my $pid = $sessions[0]->query_safe($who . $which);
	$sessions[0]->query_safe("SELECT pg_terminate_backend($pid)");
	ok( poll("another $name runs", sub { my $now = $sessions[0]->query_safe($who . $which); return $now && $now != $pid; }),
		"the $name comes back, with no connection left");
}
$id = $sessions[2]->query_safe('SELECT (' . write_memory('t', 's', 'after that') . ').id');
is($sessions[0]->query_safe("SELECT somamem.wait_for($id, NULL, '1 min')"), 't', 'and deliveries go on');
$_->quit foreach @sessions;
ok(drained($node), 'nothing is left');
is_deeply([ $brain->contents ], [ 'with no connection left', 'after that' ], 'each write arrived');
$node->stop;
done_testing();
