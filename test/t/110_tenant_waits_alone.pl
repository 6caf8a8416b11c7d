# A throttled tenant waits by itself, in order, and so does a row that was written for later:
# neither is an outage, and nobody else waits.
#
# Not a regress test: it needs a SomaBrain that throttles, and running workers.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub arrived
{
	my ($content) = @_;
	return scalar grep { $_ eq $content } $brain->contents;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

# --- a tenant's trouble ------------------------------------------------------

$brain->control(mode => 'status', status => 429, retry_after => 1, tenant => 'loud');
my @loud = map { write_rows($node, 'loud', "l" . $_ % 2, "loud $_") } 1 .. 6;
my @quiet = map { write_rows($node, 'quiet', "q", "quiet $_") } 1 .. 6;
foreach my $round (1 .. 3)
{
	ok(poll('the tenant is throttled', sub { return ($brain->counts->{statuses}->{429} // 0) >= $round; }),
		"the tenant is throttled $round times");
	my ($id) = write_rows($node, 'quiet', 'q', "quiet, round $round");
	is(sql("SELECT somamem.wait_for($id)"), 't', 'others pass meanwhile');
}
is(sql("SELECT somamem.wait_for($quiet[-1])"), 't', 'another tenant does not wait');
ok(poll_sql($node, "SELECT count(*) BETWEEN 1 AND 6 FROM somamem.parked WHERE tenant = 'loud' AND state IN ('held', 'behind')"),
	'what was read of the throttled tenant is parked');
is(sql("SELECT count(*) FROM somamem.parked WHERE tenant <> 'loud'"), 0, 'nobody else is');
is(sql("SELECT count(DISTINCT state) || ' ' || min(state) FROM somamem.status($loud[0])"), '1 in_retry',
	'status says that it is tried again');
is(sql("SELECT circuit FROM somamem.workers WHERE sink = 'somabrain'"), 'closed',
	'the sink is not in trouble');
is(sql('SELECT dead FROM somamem.outbox_status'), 0, 'nothing is given up');
is(arrived('loud 1'), 0, 'nothing of the throttled tenant has arrived');
cmp_ok($brain->counts->{statuses}->{429}, '<', 30, 'Retry-After is heeded');
# More of it than the shipper hands out at once.
sql(<<'SQL');
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'flood ' || g), 'loud', 'f' || g % 60) FROM generate_series(1, 3000) g) w
SQL
my ($behind) = write_rows($node, 'quiet', 'q', 'behind the flood');
is(sql("SELECT somamem.wait_for($behind)"), 't', 'nor does anybody wait behind its flood');
is(sql("SELECT count(*) <= 6 FROM somamem.parked"), 't', 'which stays in the outbox, unread and unwritten');
# Two that are throttled are not the sink yet.
$brain->control(add => { mode => 'status', status => 429, retry_after => 1, tenant => 'louder' });
sql(<<'SQL');
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'louder ' || g), 'louder', 'f' || g % 60) FROM generate_series(1, 3000) g) w
SQL
my ($third) = write_rows($node, 'quiet', 'q', 'behind both floods');
is(sql("SELECT somamem.wait_for($third)"), 't', 'a third tenant does not wait for two that are throttled');
$brain->control(mode => 'ok');
ok(drained($node), 'released, the tenant drains');
is($brain->counts->{distinct}, 3000 + 6 + 6 + 3 + 1 + 3000 + 1, 'whole');
is_deeply([ $brain->contents('l0') ], [ 'loud 2', 'loud 4', 'loud 6' ], 'in order');
is_deeply([ $brain->contents('l1') ], [ 'loud 1', 'loud 3', 'loud 5' ], 'in every session');

# --- rows for later ------------------------------------------------------------

# Far away, so that its time does not come while we look at what happens before it.
my ($far) = split /\n/, sql('SELECT id FROM ' . write_memory('acme', 's', 'far', "deliver_after => now() + '1 day'"));
my ($now) = write_rows($node, 'acme', 's', 'now');
is(sql("SELECT somamem.wait_for($now)"), 't', 'a delayed row does not hold its session');
is(status_of($node, $far), 'somabrain pending', 'it is pending by itself');
is(sql("SELECT somamem.wait_for($far, NULL, '0 s')"), 'f', 'and not delivered');
ok(poll_sql($node, 'SELECT pending = 0 AND parked = 0 AND lag_seconds = 0 AND oldest_pending_at IS NULL'
		. ' FROM somamem.outbox_status'),
	'but the backlog does not count it, nor does the lag');
is(sql("SELECT somamem.health() ->> 'status'"), 'ok', 'health is ok');

# Two that come due while we wait, one of them behind a restart.
my ($past) = split /\n/, sql('SELECT id FROM ' . write_memory('acme', 's', 'past', "deliver_after => now() - interval '1 s'"));
is(sql("SELECT somamem.wait_for($past)"), 't', 'a time that is over delays nothing');
my ($soon, $due) = split /[|\n]/, sql("SELECT id, clock_timestamp() + '3 s' FROM "
		. write_memory('acme', 's', 'soon', "deliver_after => clock_timestamp() + '3 s'"));
write_rows($node, 'acme', 's', 'before soon');
is(sql("SELECT somamem.wait_for($soon)"), 't', 'a row is delivered when its time has come');
is(sql("SELECT delivered_at >= '$due'::timestamptz - interval '0.5 s' FROM somamem.status($soon)"), 't',
	'and not before');
sql('SELECT id FROM ' . write_memory('acme', 's', 'over a restart', "deliver_after => clock_timestamp() + '3 s'"));
$node->restart;
ok(poll('it arrives', sub { return arrived('over a restart'); }), 'also where the server was restarted meanwhile');
write_rows($node, 'acme', 's', 'last');
ok(poll('it arrives', sub { return arrived('last'); }), 'and its session goes on');
is_deeply(
	[ $brain->contents('s') ],
	[ 'now', 'past', 'before soon', 'soon', 'over a restart', 'last' ],
	'each in the order in which it was due');
is(sql("SELECT count(*) FROM somamem.parked WHERE id = $far AND state = 'delayed'"), 1,
	'what is far away still waits');

# Due, it joins its session's order: behind what waits there already.
$brain->control(mode => 'status', status => 429, retry_after => 1, tenant => 'acme');
my ($blocker) = write_rows($node, 'acme', 's', 'blocker');
sql('SELECT id FROM ' . write_memory('acme', 's', 'due while blocked', "deliver_after => clock_timestamp() + '1 s'"));
ok(poll_sql($node, "SELECT string_agg(state, ',' ORDER BY id) FROM somamem.parked WHERE id >= $blocker",
		expected => 'held,behind'), 'a row that falls due joins its session, and counts as pending');
is(sql('SELECT pending FROM somamem.outbox_status'), 2, 'both count as pending');
$brain->control(mode => 'ok');
ok(poll('both arrive', sub { return arrived('due while blocked'); }), 'both arrive');
is_deeply([ ($brain->contents('s'))[ -2, -1 ] ], [ 'blocker', 'due while blocked' ], 'in the session\'s order');

is($brain->counts->{violations}, 0, 'no request broke the contract');
is($brain->counts->{repeats}, 0, 'nothing was sent twice');
$node->stop;
done_testing();
