# What a sink has is delivered again on request: the rows that were asked for, each once, each
# session in its order and before what is written meanwhile; rows that the sink has not, or that
# were withdrawn, are left alone.  While the transaction of a lever is open nothing is sent,
# writers go on, and a second lever waits; old snapshots do not mislead one.
#
# Not a regress test: it needs sinks, and sessions that wait for each other.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.retry_initial' => '300ms', 'somamem.retry_max' => '1s');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Contents of a session in the order of their acceptance, repeats too.
sub accepted
{
	my ($session) = @_;
	return map { $_->{value}->{content} } grep { $_->{session} eq $session } $brain->items;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
my @acme = write_rows($node, 'acme', 'a', map { "a $_" } 1 .. 20);
my @zeta = write_rows($node, 'zeta', 'z', map { "z $_" } 1 .. 20);
sql("SELECT somamem.memory_write_batch((SELECT jsonb_agg(jsonb_build_object('type', 'm', 'role', 'user', 'content', 'many ' || g,"
		. " 'session_id', 'm$_')) FROM generate_series($_ * 500 + 1, $_ * 500 + 500) g), 'many')") foreach 0 .. 5;
ok(drained($node), 'all is delivered');
my $before = $brain->counts;
is($before->{repeats}, 0, 'once');

# --- a range, a tenant ---------------------------------------------------------------
is(sql("SELECT somamem.replay('somabrain', $acme[5], $zeta[9], 'zeta')"), 10, 'of a range only one tenant');
ok(drained($node), 'they are delivered');
is_deeply([ accepted('z') ], [ (map { "z $_" } 1 .. 20), (map { "z $_" } 1 .. 10) ], 'again, in order');
is_deeply([ accepted('a') ], [ map { "a $_" } 1 .. 20 ], 'and no others');
is(sql("SELECT somamem.replay('kafka', 1, 1000)"), 0, 'a sink that has nothing gets nothing again');
is(sql("SELECT somamem.replay('somabrain', 1000, 1)"), 0, 'an empty range has no rows');

# --- rows that the sink has not --------------------------------------------------------
$brain->control(mode => 'down');
my @pending = write_rows($node, 'acme', 'a', map { "a $_" } 21 .. 23);
is(sql("SELECT somamem.replay('somabrain', $acme[18], $pending[2] + 1000, 'acme')"), 2, 'what is pending is not replayed');
is(status_of($node, $acme[18]), 'somabrain pending', 'a replayed row is pending');
is(sql("SELECT somamem.replay('somabrain', $acme[18], $pending[2] + 1000, 'acme')"), 0, 'and is not replayed twice');
is(sql("SELECT pending >= 5 FROM somamem.outbox_status"), 't', 'the backlog has both') if shippers_run($node, 'postgres', 1);
restart_killed($node);
$brain->control(mode => 'ok');
ok(drained($node), 'all drain, also after a crash');
is_deeply([ accepted('a') ], [ map { "a $_" } 1 .. 20, 19, 20, 21 .. 23 ], 'what is replayed goes before later rows');

# --- an open transaction -----------------------------------------------------------------
my $lever = $node->background_psql('postgres');
is($lever->query_safe("BEGIN; SELECT somamem.replay('somabrain', 1, $zeta[19] + 3000, 'many');"), 3000, 'many rows');
is(sql('SELECT count(*) FROM somamem.workers WHERE pid IS NOT NULL AND sink IS NOT NULL'), 0, 'no shipper runs while it is open');
is(sql('SELECT somamem.health()') =~ /"somabrain": \{"status": "down"/, 1, 'health says so');
my ($meanwhile) = write_rows($node, 'many', 'm3', 'written meanwhile');
is(status_of($node, $meanwhile), 'somabrain pending', 'writing goes on');
my $second = start_program('psql', '-X', '-A', '-t', '-d', $node->connstr('postgres'), '-c',
	"SELECT somamem.discard('somabrain', $acme[0])");
ok(poll_sql($node, 'SELECT count(*) FROM pg_locks WHERE NOT granted', expected => 1), 'a second lever waits');
$lever->query_safe('COMMIT;');
ok(finish_program($second), 'until the first has ended');
ok(drained($node), 'then all is delivered');
is_deeply([ accepted('m3') ],
	[ (map { 'many ' . (1500 + $_) } 1 .. 500) x 2, 'written meanwhile' ], 'each session in order, new rows behind');
is($brain->counts->{repeats}, 10 + 2 + 3000, 'each once more, and no other');

# --- an old snapshot ------------------------------------------------------------------------
$lever->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM somamem.parked;');
$brain->control(mode => 'status', status => 422, content => 'bad');
my ($dead) = write_rows($node, 'acme', 'b', 'bad 1');
ok(poll('it is refused', sub { return status_of($node, $dead) eq 'somabrain dead'; }), 'a row dies behind its back');
$brain->control(mode => 'ok');
is($lever->query_safe("SELECT somamem.redrive('somabrain', id => $dead); COMMIT;"), 1, 'a lever sees what is there now');
is(sql("SELECT somamem.wait_for($dead)"), 't', 'it is delivered');
$lever->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM somamem.outbox;');
my ($unseen) = write_rows($node, 'forgotten', 'b', 'too late to be seen');
is($lever->query_safe("SELECT somamem.erase('forgotten'); COMMIT;"), 1, 'erase, too');
is(sql("SELECT count(*) FROM somamem.outbox WHERE tenant = 'forgotten'"), 0, 'nothing is left');
$lever->quit;

# --- many at once ------------------------------------------------------------------------------
is(sql("SELECT somamem.erase('many')"), 3001, 'a large tenant is erased');
is(sql(<<'SQL'), '0|t|t', 'all its receipts go, and no others');
SELECT count(*) FILTER (WHERE (r.receipt::text = 'null') <> (w.id IS NOT NULL)), count(*) FILTER (WHERE w.id IS NULL) > 40,
	count(DISTINCT r.id) FILTER (WHERE w.id IS NOT NULL) >= 3001
FROM somamem.shipment s
CROSS JOIN LATERAL ROWS FROM (unnest(s.ids), json_array_elements(s.receipts::json)) AS r (id, receipt)
LEFT JOIN somamem.withdrawn w ON w.id = r.id
SQL
ok(drained($node), 'and the rest is delivered');
is($brain->counts->{violations}, 0, 'no request broke the contract') or diag($brain->counts->{first_violation});
unlike(slurp_file($node->logfile), qr/PANIC|ERROR|deadlock/, 'the log has no error');
$node->stop;
done_testing();
