# A row that the service refuses becomes a dead letter, found with few requests; one that
# fails again and again is parked, tried a bounded number of times, and then given up: its
# session waits, and nobody else.
#
# Not a regress test: it needs sinks that refuse.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Broker;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new;
my $broker = Somamem::Broker->new('message.max.bytes' => 20_000);
my $topic = Somamem::Topic->new(bootstrap => $broker->bootstrap);
my $node = new_server('main', brain => $brain, 'somamem.max_attempts' => 4,
	'somamem.retry_initial' => '100ms', 'somamem.retry_max' => '400ms');

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

# --- one bad row of a full batch -----------------------------------------------
sub write_batch_with
{
	my ($mark, @bad) = @_;
	my %bad = map { $_ => 1 } @bad;
	my $payloads = encode([ map {
				{ type => 'm', role => 'user', content => ($bad{$_} ? 'bad' : 'good') . " $mark $_",
					session_id => 's' . $_ % 10 } } 1 .. 100 ]);

	$node->safe_psql('postgres', "SELECT count(*) FROM somamem.memory_write_batch('$payloads', 'acme')");
	return;
}

sub requests
{
	my $counts = $brain->counts;
	return $counts->{requests}->{batch} + $counts->{requests}->{single};
}

# One connection, which a slow first row keeps busy: so the hundred behind it wait together.
configure($node, 'somamem.somabrain_concurrency' => 1);
$brain->control(mode => 'status', status => 422, content => 'bad ');
$brain->control(delay_ms => 2000);
my $before = requests();
write_rows($node, 'acme', 'slow', 'slow');
ok(poll('the first request', sub { return requests() > $before; }), 'a request is under way');
write_batch_with('one', 37);
$brain->control(delay_ms => 0);
ok(drained($node), 'a batch with one bad row is settled');
my $used = requests() - $before - 1;
note("requests: $used");
# 1 for the batch, 7 = log2 100 to find the row, 1 for the rest.
cmp_ok($used, '<=', 1 + 7 + 1, 'with few more requests than log2 of its rows');
is( $node->safe_psql('postgres', <<'SQL'),
SELECT d.sink, d.tenant, d.session_id, d.payload ->> 'content', d.class, d.attempts, d.reason ~ '422',
	d.payload = o.payload, d.died_at >= d.created_at
FROM somamem.dead_letters d JOIN somamem.outbox o USING (id)
SQL
	'somabrain|acme|s7|bad one 37|http_422|1|t|t|t',
	'the bad row is a dead letter, with payload and reason');
configure($node, 'somamem.somabrain_concurrency' => 8);
is(scalar(grep { /^good one/ } $brain->contents), 99, 'all others are delivered');
is_deeply(
	[ $brain->contents('s7') ],
	[ map { "good one $_" } 7, 17, 27, 47, 57, 67, 77, 87, 97 ],
	'its session went on, in order');
is(status_of($node, $node->safe_psql('postgres', 'SELECT id FROM somamem.dead_letters')),
	'somabrain dead', 'status says dead');
is($node->safe_psql('postgres', "SELECT somamem.wait_for((SELECT id FROM somamem.dead_letters), timeout => '1 min')"),
	'f', 'wait_for of a dead letter does not wait');

write_batch_with('three', 11, 50, 92);
ok(drained($node), 'a batch with three bad rows is settled');
is($node->safe_psql('postgres', "SELECT count(*) FROM somamem.dead_letters WHERE payload ->> 'content' LIKE 'bad three%'"),
	3, 'all three are dead letters');
is($node->safe_psql('postgres', "SELECT dead FROM somamem.outbox_status"), 4, 'outbox_status counts them');
is(decode($node->safe_psql('postgres', 'SELECT somamem.health()'))->{components}->{memory_dlq}->{depth},
	4, 'health does, too');

# --- a row that fails while others pass ----------------------------------------
$brain->control(mode => 'status', status => 500, content => 'poison');
my ($poison) = write_rows($node, 'acme', 'p', 'poison');
my ($behind) = write_rows($node, 'acme', 'p', 'after it');
my $others = 0;
my $state = '';
ok( poll(
		'the row is in retry',
		sub {
			# Only while others pass is it the row's own trouble.
			write_rows($node, 'acme', 'o', 'other ' . ++$others);
			$state = status_of($node, $poison);
			return $state eq 'somabrain in_retry';
		}),
	'a row that fails alone is in retry') or diag($state);
is(status_of($node, $behind), 'somabrain pending', 'the next of its session is pending');
like($node->safe_psql('postgres', "SELECT last_error FROM somamem.status($poison)"), qr/500/, 'status says why');
ok(poll('its session waits', sub {
			write_rows($node, 'acme', 'o', 'other ' . ++$others);
			return status_of($node, $poison) eq 'somabrain dead'; }),
	'after max_attempts it is a dead letter');
is($node->safe_psql('postgres', "SELECT attempts FROM somamem.dead_letters WHERE id = $poison"), 4, 'of so many attempts');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($behind)"), 't', 'then its session goes on');
ok(drained($node), 'and everything drains');
is_deeply([ $brain->contents('p') ], ['after it'], 'the given-up row was never accepted');
is_deeply([ $brain->contents('o') ], [ map { "other $_" } 1 .. $others ], 'nobody else waited, or lost order');

# --- one that recovers -----------------------------------------------------------
$brain->control(mode => 'status', status => 500, content => 'sick', count => 6);
my @sick = write_rows($node, 'acme', 'q', 'sick', 'after 1', 'after 2');
ok( poll(
		'the row recovers',
		sub {
			write_rows($node, 'acme', 'o', 'other ' . ++$others);
			return status_of($node, $sick[2]) eq 'somabrain delivered';
		}),
	'a row that recovers is delivered');
is_deeply([ $brain->contents('q') ], [ 'sick', 'after 1', 'after 2' ], 'and its session in order');
is($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.parked'), 0, 'nothing stays parked');

# --- a message that Kafka refuses --------------------------------------------------
configure($node, topic => $topic);
ok(shippers_run($node), 'the second sink is switched on');
write_rows($node, 'acme', 'k', 'small 1', 'large ' . join('', map { chr(97 + rand 26) } 1 .. 60_000), 'small 2');
ok(drained($node), 'both sinks are settled');
is( $node->safe_psql('postgres',
		"SELECT count(*), min(class), bool_and(reason <> '') FROM somamem.dead_letters WHERE sink = 'kafka'"),
	'1|too_large|t', 'a message above the broker\'s limit is a dead letter');
my @k = grep { $_->{session_id} eq 'k' } map { $_->{value} } $topic->messages;
is_deeply([ map { $_->{payload}->{content} } @k ], [ 'small 1', 'small 2' ], 'its session goes on');
my $result = history(node => $node, written => [ outbox_log($node) ], topic => $topic, dead => 1);
is_clean($result, 'a sink that is switched on later gets what is kept', exactly => 1);
is($brain->counts->{violations}, 0, 'no request broke the contract')
	or diag($brain->counts->{first_violation});

$node->stop;
done_testing();
