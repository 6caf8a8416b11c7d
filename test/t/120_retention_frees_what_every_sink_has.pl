# The ring of segments goes round under load and loses nothing: a segment is emptied whole,
# when every enabled sink has it and its time is over, and never while somebody reads it.
# The ledger and the shipment log outlive it, and are cleaned in their turn.
#
# Not a regress test: it needs workers, sinks that stop, and time that passes.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $node = new_server('main', brain => $brain, topic => $topic, 'somamem.retention' => '1s');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Waits until no row up to this one is left.
sub emptied
{
	my ($id) = @_;
	return poll_sql($node, "SELECT count(*) FROM somamem.outbox WHERE id <= $id",
		expected => 0, what => "the rows up to $id are gone");
}

ok(shippers_run($node), 'the shippers run');

# --- round the ring under load -------------------------------------------------

my $writer = start_writer($node, '-n', 3000, '-R', 300, '-c', 4, '-u', 'ring');
my %opened;
ok( poll('every segment was the current one, and the first one again',
		sub {
			$opened{$_} = 1 foreach split /\n/,
				sql('SELECT segment || $$ $$ || opened_at FROM somamem.segment WHERE opened_at IS NOT NULL');
			return (grep { /^0 / } keys %opened) >= 2 && keys %opened >= 9;
		}),
	'segments take turns under load');
ok(finish_program($writer), 'nobody who writes fails or waits for it');
my $last = sql('SELECT max(id) FROM somamem.idempotency');
ok(drained($node), 'the backlog drains');
my $result = history(written => [ $writer->{log} ], brain => $brain, topic => $topic);
is($result->{written}, 3000, 'all was written');
is_clean($result, 'nothing is lost or repeated while segments come and go', exactly => 1);
ok(emptied($last), 'what is delivered is emptied when its time is over');
is( sql("SELECT sum(n_tup_ins) >= 3000 AND sum(n_tup_upd) = 0 AND sum(n_tup_del) = 0 FROM pg_stat_user_tables"
			. " WHERE schemaname = 'somamem' AND relname LIKE 'outbox\\_%'"),
	't', 'no row of the outbox was ever updated or deleted');

# --- who holds a segment ---------------------------------------------------------

sub ripe
{
	my ($id) = @_;
	return poll_sql($node, "SELECT count(*) FROM somamem.segment WHERE delivered_at < clock_timestamp() - interval '3 s'"
			. " AND segment = (SELECT segment FROM somamem.outbox WHERE id = $id)",
		expected => 1, what => 'its segment is past its time');
}

my ($read) = write_rows($node, 'acme', 's', 'being read');
my $segment = sql("SELECT tableoid::regclass FROM somamem.outbox WHERE id = $read");
my $reader = $node->background_psql('postgres');
$reader->query_safe("BEGIN; LOCK TABLE $segment IN ACCESS SHARE MODE;");
ok(ripe($read), 'a segment that is being read gets past its time');
is(sql("SELECT count(*) FROM somamem.outbox WHERE id = $read"), 1, 'it is not emptied under its reader');
is(sql("SELECT count(*) FROM pg_locks WHERE NOT granted"), 0, 'nor does anybody wait for the reader');
$reader->query_safe('COMMIT;');
$reader->quit;
ok(emptied($read), 'it is when the reader has gone');

configure($node, 'somamem.sinks' => 'somabrain');
ok(poll_sql($node, "SELECT count(*) FROM somamem.workers WHERE sink IS NOT NULL", expected => 1),
	'a sink is switched off');
my ($off) = write_rows($node, 'acme', 's', 'without Kafka');
ok(emptied($off), 'a sink that is switched off holds nothing');
configure($node, 'somamem.sinks' => 'somabrain,kafka');
ok(shippers_run($node), 'it is switched on again');

my $round = 0;
$brain->control(mode => 'down');
my ($held) = write_rows($node, 'acme', 's', 'while SomaBrain is down');
ok( poll('no segment is free',
		sub {
			write_rows($node, 'acme', 's', 'turn ' . ++$round);
			return sql("SELECT count(*) FROM somamem.segment WHERE opened_at IS NOT NULL") == 8;
		}),
	'a sink that is down holds segments until none is free');
write_rows($node, 'acme', 's', map { "without a free segment $_" } 1 .. 20);
is(sql("SELECT count(*) FROM somamem.outbox WHERE id >= $held"),
	sql("SELECT count(*) FROM somamem.idempotency WHERE id >= $held"),
	'nothing of it is gone, and writing goes on');
$brain->control(mode => 'ok');
ok(drained($node), 'the sink comes back, the backlog drains');
ok(emptied($held), 'and the ring turns again');
ok((grep { $_ eq 'while SomaBrain is down' } $brain->contents('s')), 'what was held is delivered');

# --- ledger and shipment log ------------------------------------------------------

my $keyed = 'SELECT id, deduplicated FROM ' . write_memory('acme', 'k', 'keyed', "idempotency_key => 'key'");
my ($first) = split /\|/, sql($keyed);
is(sql("SELECT somamem.wait_for($first)"), 't', 'a write with a key is delivered');
ok(emptied($first), 'its payload is gone');
is(sql($keyed), "$first|t", 'its key still finds the first receipt');
is(sql("SELECT count(*) FROM somamem.outbox WHERE id = $first"), 0, 'and writes nothing');
is( sql("SELECT string_agg(sink || ' ' || state || ' ' || (receipt IS NOT NULL) || ' ' || (delivered_at IS NOT NULL), ',' ORDER BY sink)"
			. " FROM somamem.status($first)"),
	'kafka delivered true true,somabrain delivered true true', 'status by id still has the receipts');
is(sql("SELECT string_agg(state, ',') FROM somamem.status('acme', 'key')"), 'delivered,delivered', 'and by key');
is(sql("SELECT somamem.wait_for($first, NULL, '0 s')"), 't', 'wait_for knows it, too');
my ($later) = write_rows($node, 'acme', 's', 'a later position');
is(sql("SELECT somamem.wait_for($later)"), 't', 'the positions move on');
configure($node, 'somamem.idempotency_window' => '1s');
ok(poll_sql($node, 'SELECT count(*) FROM somamem.idempotency', expected => 0), 'past its window the ledger is cleaned');
ok(poll_sql($node, 'SELECT max(n) FROM (SELECT count(*) AS n FROM somamem.shipment GROUP BY sink) s', expected => 1),
	'and the shipment log, but for each sink\'s position');
is(sql("SELECT count(*) FROM somamem.status($first)"), 0, 'status does not know the row any more');
like(sql($keyed), qr/^(?!$first\|)\d+\|f$/, 'the key is free again');
ok(drained($node), 'the backlog drains');

$result = history(written => [ $writer->{log} ], brain => $brain, topic => $topic);
is($result->{sinks}->{somabrain}->{lost} + $result->{sinks}->{kafka}->{lost}, 0, 'nothing was lost to the end');
unlike(slurp_file($node->logfile), qr/PANIC|FATAL(?!.*terminating)|ERROR/, 'the log has no error');
$node->stop;
done_testing();
