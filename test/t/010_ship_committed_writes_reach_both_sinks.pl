# What commits reaches SomaBrain and Kafka, with the same content; what is rolled back, whole
# or to a savepoint, does not; a prepared transaction goes when it is committed.
#
# Not a regress test: it needs a broker, a SomaBrain and running workers.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new('--items');
my $topic = Somamem::Topic->new;
my $node = new_server('main', brain => $brain, topic => $topic);

ok(shippers_run($node), 'CREATE EXTENSION is all that starts the shippers');

# One write, followed to its receipts.
my ($id) = write_rows($node, 'acme', 's1', 'first');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($id)"), 't', 'wait_for is told of both deliveries');
is(status_of($node, $id), 'somabrain delivered,kafka delivered', 'status says delivered');
like(
	$node->safe_psql('postgres',
		"SELECT receipt FROM somamem.status($id) WHERE sink = 'somabrain'"),
	qr/"coordinate".*"request_id"/,
	'the receipt of SomaBrain has its coordinate and request id');
like($node->safe_psql('postgres', "SELECT receipt FROM somamem.status($id) WHERE sink = 'kafka'"),
	qr/"offset".*"partition"/, 'the receipt of Kafka has partition and offset');
is( $node->safe_psql(
		'postgres', "SELECT count(*) FROM somamem.status($id) WHERE delivered_at IS NOT NULL AND attempts = 1"),
	2,
	'both deliveries have a time and one attempt');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($id, 'kafka', '0 s')"),
	't', 'wait_for of a delivered row does not wait');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($id + 1000000, NULL, '100 ms')"),
	'f', 'wait_for of an unknown row ends at its timeout');

# What every kind of transaction leaves behind.  Payloads are chosen to be hard to carry.
my @odd = (
	'{"type":"m","role":"user","content":"\u00e4\u4e2d\ud83d\ude00 \"quoted\" back\\\\slash \n\t","tenant":"caf\u00e9/%","session_id":"s 1/%"}',
	'{"type":"m","role":"user","content":"numbers","n":[1.10,1e30,-0.0,123456789012345678901234567890],"tenant":"acme","session_id":"s1"}',
	'{"type":"m","role":"user","content":"members","tags":["a","b"],"importance":0.50,"ttl_seconds":60,"links":[],"tenant":"acme","session_id":"s1","metadata":{"universe_id":"u1","novelty":1}}');
$node->safe_psql('postgres', "SELECT somamem.memory_write('$_')") foreach @odd;
$node->safe_psql('postgres', 'BEGIN; SELECT ' . write_memory('acme', 's1', 'ghost whole') . '; ROLLBACK;');
$node->safe_psql('postgres',
	'BEGIN; SELECT ' . write_memory('acme', 's1', 'kept 1') . ';'
	. ' SAVEPOINT a; SELECT ' . write_memory('acme', 's1', 'ghost of a savepoint') . '; ROLLBACK TO a;'
	. ' SELECT ' . write_memory('acme', 's1', 'kept 2') . ';'
	. ' SAVEPOINT b; SELECT ' . write_memory('acme', 's1', 'kept 3') . '; RELEASE b; COMMIT;');
$node->psql('postgres', 'BEGIN; SELECT ' . write_memory('acme', 's1', 'ghost of an error') . '; SELECT 1/0; COMMIT;');
$node->safe_psql('postgres',
	'BEGIN; SELECT ' . write_memory('acme', 'p', 'prepared, then kept') . "; PREPARE TRANSACTION 'kept';");
$node->safe_psql('postgres',
	'BEGIN; SELECT ' . write_memory('acme', 'p', 'ghost prepared') . "; PREPARE TRANSACTION 'dropped';");
is( $node->safe_psql('postgres', <<'SQL'),
SELECT string_agg(ordinal || ' ' || deduplicated, ',' ORDER BY ordinal) FROM somamem.memory_write_batch(
	(SELECT jsonb_agg(jsonb_build_object('type', 'm', 'role', 'user', 'content', 'batch ' || least(g, 3),
	'message_id', least(g, 3))) FROM generate_series(1, 4) g), 'acme', 'b')
SQL
	'1 false,2 false,3 false,4 true',
	'a batch gives a receipt per element');
$node->safe_psql('postgres', "COMMIT PREPARED 'kept'");
$node->safe_psql('postgres', "ROLLBACK PREPARED 'dropped'");

ok(drained($node), 'the backlog drains');
my $result = history(written => [ outbox_log($node) ], brain => $brain, topic => $topic);
is($result->{written}, 11, 'what was committed is in the outbox, and nothing else');
is_clean($result, 'every committed row arrives once, as it was written', exactly => 1);
is_deeply(
	[ $brain->contents('s1') ],
	[ 'first', 'numbers', 'members', 'kept 1', 'kept 2', 'kept 3' ],
	'a session arrives in its order');
is($brain->counts->{violations}, 0, 'no request broke the contract')
	or diag($brain->counts->{first_violation});

my ($item) = grep { $_->{value}->{content} eq 'members' } $brain->items;
is_deeply(
	{ map { $_ => $item->{item}->{$_} } qw(tags importance ttl_seconds links novelty universe) },
	{ tags => [ 'a', 'b' ], importance => 0.5, ttl_seconds => 60, links => [], novelty => 1, universe => 'u1' },
	'members that SomaBrain knows stand beside the value');

is( $node->safe_psql('postgres',
		'SELECT bool_and(pending = 0 AND parked = 0 AND dead = 0 AND oldest_pending_at IS NULL AND lag_seconds = 0)'
		. ' FROM somamem.outbox_status'),
	't', 'nothing is pending, and the lag is 0');
is($node->safe_psql('postgres', "SELECT somamem.health() ->> 'status'"), 'ok', 'health is ok');

$node->stop;
done_testing();
