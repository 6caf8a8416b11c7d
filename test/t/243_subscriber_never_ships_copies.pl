# A logical subscriber with the extension and sinks of its own: the rows that a subscription
# brings, first copy and stream, are its publisher's to ship, and it never does, whatever
# dies; its own rows are shipped, also where their ids are those of copies.  The publication
# is the widest there is, FOR ALL TABLES: the publisher's bookkeeping does no harm.
#
# Not a regress test: it needs two servers.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $far = Somamem::Brain->new;
my $near = Somamem::Brain->new;
my $publisher = new_server('publisher', brain => $far, init => [ allows_streaming => 'logical' ], 'somamem.max_attempts' => 100,
	'somamem.retry_initial' => '1s', 'somamem.retry_max' => '2s');
my $subscriber = new_server('subscriber', brain => $near, wal_retrieve_retry_interval => '100ms',
	'somamem.max_attempts' => 100, 'somamem.retry_initial' => '1s', 'somamem.retry_max' => '2s');

sub copies
{
	my ($what) = @_;
	return $subscriber->safe_psql('postgres', "SELECT count(*) FROM somamem.outbox WHERE xid = '3'" . ($what // ''));
}

sub arrives
{
	my ($content) = @_;
	return poll_sql($subscriber, "SELECT count(*) FROM somamem.outbox WHERE payload ->> 'content' = '$content'",
		expected => 1, what => "\"$content\" is replicated");
}

# --- rows in every state on both sides, with equal ids -----------------------
ok(shippers_run($_, 'postgres', 1), 'the shipper of the ' . $_->name . ' runs') foreach $publisher, $subscriber;
write_rows($publisher, 't', 's' . $_ % 5, "far $_") foreach 1 .. 30;
ok(drained($publisher), 'the publisher has delivered rows');
$far->control(mode => 'down');
write_rows($publisher, 't', 's' . $_ % 5, "far pending $_") foreach 1 .. 30;

$publisher->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
(my $conninfo = $publisher->connstr('postgres')) =~ s/'/''/g;
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION everything CONNECTION '$conninfo' PUBLICATION everything");
ok(poll_sql($subscriber, "SELECT count(*) > 10 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel"),
	'every table is synchronized');
is(copies(), 60, 'the first copy brings what the publisher has');
write_rows($publisher, 't', 's' . $_ % 5, "far streamed $_") foreach 1 .. 20;
ok(arrives('far streamed 20'), 'the stream brings the rest');
is(copies(), 80, 'all of it is marked as copies');

# --- the subscriber's own rows, with ids of copies ---------------------------------
# Its first step begins at the beginning of time, where the copies are.
write_rows($subscriber, 't', 's', map { "own $_" } 1 .. 5);
ok(drained($subscriber), 'the subscriber delivers rows');
$subscriber->safe_psql('postgres',
	'SELECT ' . write_memory('t', 'slow', 'own delayed', "deliver_after => now() + interval '3 s'"));
ok(poll_sql($subscriber, 'SELECT count(*) FROM somamem.parked', expected => 1), 'one waits for its time');
$near->control(mode => 'down');
my @pending = write_rows($subscriber, 't', 's', map { "own late $_" } 1 .. 5);
is(copies(" AND id = $pending[0]"), 1, 'an own row has the id of a copy');
is(status_of($subscriber, $pending[0]), 'somabrain pending', 'its state is its own');
kill 'KILL', courier_pid($subscriber, 'somabrain');
ok(poll('another courier comes', sub { return courier_pid($subscriber, 'somabrain'); }), 'its courier is killed');
$near->control(mode => 'ok');
ok(drained($subscriber), 'the subscriber delivers its own rows');
$near->control(mode => 'status', status => 422, content => 'own bad');
my ($bad) = write_rows($subscriber, 't', 'bad', 'own bad');
ok(poll_sql($subscriber, 'SELECT count(*) FROM somamem.dead_letter', expected => 1), 'one of them is refused');
is($subscriber->safe_psql('postgres', "SELECT payload ->> 'content' FROM somamem.dead_letters WHERE id = $bad"),
	'own bad', 'the dead letter is that row, not the copy with its id');
$near->control(mode => 'ok');
my @expected = ((map { "own $_" } 1 .. 5), (map { "own late $_" } 1 .. 5), 'own delayed');
is_deeply([ sort $near->contents ], [ sort @expected ], 'own rows are shipped, and no copy');

# --- the publisher's bookkeeping touches nothing of the subscriber's -----------------------
# Each of the two has a row in its parking place; the publisher's leaves it.
$publisher->safe_psql('postgres',
	"SELECT setval('somamem.outbox_id_seq', 1000); SELECT " . write_memory('t', 'slow', 'far delayed', "deliver_after => now() + interval '2 s'"));
$subscriber->safe_psql('postgres',
	"SELECT setval('somamem.outbox_id_seq', 1000); SELECT " . write_memory('t', 'slow', 'own much later', "deliver_after => now() + interval '1 h'"));
$far->control(mode => 'ok');
$publisher->safe_psql('postgres', "INSERT INTO somamem.ahead (sink, id) VALUES ('somabrain', 1001), ('somabrain', 2000)");
ok(drained($publisher), 'the publisher ships what was pending');
ok(arrives('far delayed'), 'all of which is replicated');
$publisher->safe_psql('postgres', 'DELETE FROM somamem.idempotency WHERE id = 1');
$publisher->safe_psql('postgres', 'VACUUM somamem.outbox');
write_rows($publisher, 't', 's', 'far after deletes');
ok(arrives('far after deletes'), 'the publisher may forget old receipts: replication goes on');
is( $subscriber->safe_psql('postgres', 'SELECT sink, id, state FROM somamem.parked'), 'somabrain|1001|delayed',
	'the row with the same id that waits here stays');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM somamem.ahead'), 0, 'nor is it taken for delivered');
is( $subscriber->safe_psql('postgres', <<'SQL'), 'idempotency', 'no table is left out but the ledger');
SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class c
WHERE relnamespace = 'somamem'::regnamespace AND relkind = 'r'
	AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND tgname = 'copy' AND tgenabled = 'R')
SQL
is($subscriber->safe_psql('postgres', 'SELECT count(DISTINCT system_identifier) FROM somamem.shipment'), 1,
	'the log is the subscriber\'s alone');

# --- after a crash, too -------------------------------------------------------------------
restart_killed($subscriber);
ok(shippers_run($subscriber, 'postgres', 1), 'the shipper comes back after a crash');
write_rows($publisher, 't', 's', 'far at the end');
ok(arrives('far at the end'), 'so does the subscription');
push @expected, 'own at the end';
my ($last) = write_rows($subscriber, 't', 's', 'own at the end');
is($subscriber->safe_psql('postgres', "SELECT somamem.wait_for($last)"), 't', 'own rows go on');
is_deeply([ sort $near->contents ], [ sort @expected ], 'still no copy was shipped');
is($near->counts->{repeats}, 0, 'nothing is sent twice');
is($subscriber->safe_psql('postgres', 'SELECT pending FROM somamem.outbox_status'), 0, 'copies are no backlog');

# --- the publisher empties a segment --------------------------------------------------------
my $kept = $subscriber->safe_psql('postgres', "SELECT count(*) FROM somamem.outbox_0 WHERE xid <> '3'");
$publisher->safe_psql('postgres', 'TRUNCATE somamem.outbox_0');
ok(poll('the subscription is refused', sub {
			return slurp_file($subscriber->logfile) =~ /ERROR:  cannot truncate table "outbox_0" for a subscription/; }),
	'a segment with rows of the subscriber is not emptied by its publisher');
is($subscriber->safe_psql('postgres', "SELECT count(*) FROM somamem.outbox_0 WHERE xid <> '3'"), $kept,
	'they are there');
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION everything DISABLE');

# --- who only sets session_replication_role is no subscription ------------------------------
is( $subscriber->safe_psql('postgres', <<'SQL'), 't', 'a restore that sets session_replication_role brings rows, not copies');
SET session_replication_role = replica;
BEGIN;
INSERT INTO somamem.outbox SELECT (jsonb_populate_record(o, '{"xid": "77"}')).* FROM somamem.outbox o LIMIT 1;
SELECT bool_or(xid = '77') FROM somamem.outbox;
ROLLBACK;
SQL
$_->stop foreach $subscriber, $publisher;
done_testing();
