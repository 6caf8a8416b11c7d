# A paused sink gets nothing, whatever happens to server and courier meanwhile, while the other
# sink goes on; what was on the wire comes to its end; resume delivers all of it in order.  retry
# tries at once what would wait for an hour, a row in the parking place as well as a whole sink.
#
# Not a regress test: it needs sinks, crashes and long pauses.
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
my $node = new_server('main', brain => $brain, topic => $topic, 'somamem.max_attempts' => 1000,
	'somamem.retry_initial' => '100ms', 'somamem.retry_max' => '300ms');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub state_is
{
	my ($sink, $state) = @_;
	return poll_sql($node, "SELECT state FROM somamem.workers WHERE sink = '$sink' AND database = 'postgres'", expected => $state);
}

sub reaches
{
	my ($id, $state, $title) = @_;
	my $seen = '';

	return ok(poll("row $id is $state", sub { $seen = status_of($node, $id); return $seen eq $state; },
			last => sub { return $seen; }), $title);
}

ok(shippers_run($node), 'the shippers run');

# --- on the wire when the pause comes ---------------------------------------------------------
$brain->control(delay_ms => 1000);
my @wire = write_rows($node, 'acme', 'w', map { "on the wire $_" } 1 .. 3);
ok(poll('a request', sub { return $brain->counts->{items} > 0; }), 'a request is on the wire');
sql("BEGIN; SELECT somamem.pause('kafka'); ROLLBACK");
sql("SELECT somamem.pause('somabrain')");
ok(state_is('somabrain', 'paused'), 'workers says paused');
ok(state_is('kafka', 'running'), 'what was rolled back is not done');
my ($late) = write_rows($node, 'acme', 'w', 'too late');
reaches($wire[0], 'somabrain delivered,kafka delivered', 'what is on the wire comes to its end');
reaches($late, 'somabrain pending,kafka delivered', 'the other sink goes on');
$brain->control(delay_ms => 0);
my $sent = $brain->counts->{items};
my $health = decode(sql('SELECT somamem.health()'))->{components};
is($health->{somabrain}->{status}, 'degraded', 'health is degraded');
is($health->{somabrain}->{last_error}, 'paused by an operator', 'and says why');
is($health->{kafka}->{status}, 'ok', 'for that sink alone');

# --- through crashes ------------------------------------------------------------------------------
kill 'KILL', courier_pid($node, 'somabrain');
write_rows($node, 'acme', "s$_", map { "held $_" } 1 .. 10) foreach 1 .. 3;
restart_killed($node);
ok(state_is('somabrain', 'paused'), 'it is paused after a crash');
kill 'KILL', courier_pid($node, 'somabrain');
my @kept = write_rows($node, 'acme', 's1', 'after the crash');
reaches($kept[0], 'somabrain pending,kafka delivered', 'rows wait');
sql("SELECT somamem.retry('somabrain')");
is(sql("SELECT somamem.replay('somabrain', $wire[0], $wire[0])"), 1, 'other levers work meanwhile');
ok(state_is('somabrain', 'paused'), 'and do not end the pause');
ok(poll_sql($node, "SELECT courier_pid IS NOT NULL FROM somamem.workers WHERE sink = 'somabrain'"), 'its courier runs');
my ($more) = write_rows($node, 'acme', 's2', 'more');
reaches($more, 'somabrain pending,kafka delivered', 'rows wait');
is($brain->counts->{items}, $sent, 'nothing was sent all the time');
is(sql("SELECT paused_by, paused_at IS NOT NULL FROM somamem.sink_state WHERE paused_at IS NOT NULL"),
	sql('SELECT session_user') . '|t', 'it is noted who paused');

# --- resume -------------------------------------------------------------------------------------------
sql("SELECT somamem.resume('somabrain')");
ok(state_is('somabrain', 'running'), 'workers says running');
ok(drained($node), 'resume delivers the backlog');
is_deeply([ $brain->contents('s1') ], [ (map { "held $_" } 1 .. 10), 'after the crash' ], 'in order');
is($brain->counts->{repeats}, 1, 'nothing twice but what was replayed');
my $result = history(node => $node, written => [ outbox_log($node) ], brain => $brain, topic => $topic);
is($result->{sinks}->{somabrain}->{lost} + $result->{sinks}->{kafka}->{lost}, 0, 'nothing was lost');

# --- retry of a row -----------------------------------------------------------------------------------
$brain->control(mode => 'status', status => 500, content => 'poison');
my ($poison, $behind) = write_rows($node, 'acme', 'p', 'poison', 'behind it');
ok( poll('it fails alone',
		sub { write_rows($node, 'acme', 'o', 'other'); return status_of($node, $poison) =~ /somabrain in_retry/; }),
	'a row fails alone');
# With nothing under way, its next attempt is put off as no failure of this test could.
sql("SELECT somamem.pause('somabrain')");
restart_killed($node);
ok(state_is('somabrain', 'paused'), 'it waits through a pause');
my $attempts = sql("SELECT attempts FROM somamem.parked WHERE id = $poison");
restart_killed($node);
ok(state_is('somabrain', 'paused'), 'and another crash');
sql("UPDATE somamem.parked SET next_attempt_at = now() + interval '1 hour' WHERE id = $poison AND sink = 'somabrain'");
sql("SELECT somamem.resume('somabrain')");
ok(state_is('somabrain', 'running'), 'and longer');
$brain->control(mode => 'ok');
is(sql("SELECT somamem.retry('kafka')"), 0, 'nothing waits at the other sink');
is(sql("SELECT somamem.retry('somabrain', $behind)"), 0, 'a row behind another does not wait itself');
is(sql("BEGIN; SELECT somamem.retry('somabrain'); ROLLBACK"), 1, 'one row waits');
is(sql("SELECT next_attempt_at > clock_timestamp() FROM somamem.parked WHERE id = $poison"), 't', 'rolled back, it still does');
is(sql("SELECT attempts FROM somamem.parked WHERE id = $poison"), $attempts, 'an attempt that nobody makes is not counted');
is(sql("SELECT somamem.retry('somabrain', $poison)"), 1, 'it is to be tried now');
is(sql("SELECT somamem.wait_for($behind, 'somabrain')"), 't', 'it is, and its session goes on');
is_deeply([ $brain->contents('p') ], [ 'poison', 'behind it' ], 'in order');
is(sql("SELECT somamem.retry('somabrain', $poison)"), 0, 'it waits no longer');

# --- retry of a sink -----------------------------------------------------------------------------------
configure($node, 'somamem.retry_initial' => '1h', 'somamem.retry_max' => '2h');
$brain->control(mode => 'status', status => 503);
my ($row) = write_rows($node, 'acme', 'q', 'while it is away');
ok(poll_sql($node, "SELECT last_error ~ '503' FROM somamem.workers WHERE sink = 'somabrain'"), 'a sink is to wait for an hour');
$brain->control(mode => 'ok');
is(sql("SELECT somamem.retry('somabrain')"), 0, 'no row waits by itself');
is(sql("SELECT somamem.wait_for($row, 'somabrain')"), 't', 'but the sink is tried at once');

# --- retry of a tenant ---------------------------------------------------------------------------------
$brain->control(mode => 'status', status => 429, retry_after => 3600, tenant => 'loud');
my @loud = split /\n/, sql(join '', map { 'SELECT id FROM ' . write_memory('loud', 'l', "loud $_") . ';' } 1 .. 120);
my ($passes) = write_rows($node, 'quiet', 'q', 'quiet');
is(sql("SELECT somamem.wait_for($passes, 'somabrain')"), 't', 'others pass a tenant that is to wait for an hour');
ok(poll_sql($node, "SELECT count(*) > 0 FROM somamem.parked WHERE tenant = 'loud'"), 'which waits');
my ($unread) = write_rows($node, 'loud', 'other', 'loud too');
($passes) = write_rows($node, 'quiet', 'q', 'quiet again');
is(sql("SELECT somamem.wait_for($passes, 'somabrain')"), 't', 'others pass');
is(sql("SELECT count(*) FROM somamem.parked WHERE id = $unread"), 0, 'what it writes meanwhile is not read');
$brain->control(mode => 'ok');
is(sql("SELECT somamem.retry('somabrain')"), 1, 'its first row waits by itself');
is(sql("SELECT somamem.wait_for($_, 'somabrain')"), 't', 'it is tried at once') foreach $loud[0], $loud[-1], $unread;
is_deeply([ grep { /^loud \d+$/ } $brain->contents ], [ map { "loud $_" } 1 .. 120 ], 'in order');
unlike(slurp_file($node->logfile), qr/PANIC|ERROR/, 'the log has no error');
$node->stop;
done_testing();
