# What the views say is pending is what is pending, tenant by tenant: idle, in an outage, after a
# crash, and after all that goes past the counters (prepared transactions, erase, redrive, replay).
#
# Not a regress test: it needs a sink that is away, and a server that crashes.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.metrics_tenants' => 6);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# "a 3, b 2": tenants of whom something is pending.
my $by_tenant = "SELECT coalesce(string_agg(tenant || ' ' || pending, ', ' ORDER BY tenant), '') FROM somamem.tenant_lag WHERE pending > 0";

sub owes
{
	my ($expected, $title) = @_;
	my $sum = 0;

	$sum += $_ foreach $expected =~ /(\d+)\b(?:,|$)/g;
	ok(poll_sql($node, $by_tenant, expected => $expected), "$title: \"$expected\" by tenant");
	ok(poll_sql($node, 'SELECT pending FROM somamem.outbox_status', expected => $sum), "$title: $sum in all");
	return;
}

# The same without waiting: before anything could be put right.
sub owes_at_once
{
	my ($expected, $title) = @_;

	is(sql($by_tenant), $expected, "$title: \"$expected\" at once");
	return;
}

sub down { $brain->control(mode => 'down'); return; }
sub up { $brain->control(mode => 'ok'); return; }

# --- idle ------------------------------------------------------------------------

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
owes('', 'idle');
is(sql('SELECT lag_seconds FROM somamem.outbox_status'), 0, 'no lag either');
is(sql('SELECT bool_and(deliveries = 0 AND p50_ms IS NULL AND met IS NULL) FROM somamem.sla'), 't',
	'of a service level nothing is known');
is(sql(q{SELECT string_agg("window", ',') FROM somamem.sla}), '1 min,5 min,1 h', 'there are three windows');

# --- an outage ---------------------------------------------------------------------

down();
write_rows($node, 'a', 's1', 'one');
ok(poll_sql($node, "SELECT circuit <> 'closed' FROM somamem.workers WHERE sink = 'somabrain'"), 'the sink is away');
write_rows($node, 'a', 's1', 'two', 'three');
sql('BEGIN; SELECT ' . write_memory('b', 's', 'kept') . '; SAVEPOINT s; SELECT ' . write_memory('b', 's', 'undone')
	. '; ROLLBACK TO s; SAVEPOINT t; SELECT ' . write_memory('c', 's', 'kept') . '; RELEASE t; SELECT '
	. write_memory('b', 's', 'kept, too') . '; COMMIT');
sql('BEGIN; SELECT ' . write_memory('d', 's', 'undone') . '; ROLLBACK');
owes_at_once('a 3, b 2, c 1', 'in an outage');
owes('a 3, b 2, c 1', 'in an outage');
is(sql(<<'SQL'), 't', 'the lag of a tenant is the age of its oldest row, and the sink\'s that of all');
SELECT abs(t.lag_seconds - extract(epoch FROM clock_timestamp() - (SELECT min(created_at) FROM somamem.outbox
		WHERE tenant = 'a'))) < 1
	AND abs(s.lag_seconds - t.lag_seconds) < 1 AND t.oldest_pending_at <= (SELECT min(created_at) + interval '1 s' FROM somamem.outbox)
FROM somamem.tenant_lag t, somamem.outbox_status s WHERE t.tenant = 'a'
SQL
is(sql("SELECT (SELECT lag_seconds FROM somamem.tenant_lag WHERE tenant = 'c') < (SELECT lag_seconds FROM somamem.tenant_lag WHERE tenant = 'a')"),
	't', 'who wrote later waits for less');
write_rows($node, 'late', 's', map { "late $_" } 1 .. 2);
is(sql('SELECT ' . write_memory('later', 's', 'in an hour', "deliver_after => now() + interval '1 h'") . ' IS NOT NULL'), 't',
	'something is written for later');
owes('a 3, b 2, c 1, late 2', 'what is not due yet is not pending');

# --- the server crashes ---------------------------------------------------------------

restart_killed($node);
owes('a 3, b 2, c 1, late 2', 'after a crash');
is(sql("SELECT lag_seconds > 1 FROM somamem.tenant_lag WHERE tenant = 'a'"), 't', 'the lag goes on');

# --- past the counters -----------------------------------------------------------------

sql('BEGIN; SELECT ' . write_memory('p', 's', 'prepared') . "; PREPARE TRANSACTION 'p'");
owes('a 3, b 2, c 1, late 2', 'what is prepared is not pending');
sql("COMMIT PREPARED 'p'");
owes('a 3, b 2, c 1, late 2, p 1', 'once it is committed, it is');
is(sql("SELECT somamem.erase('a')"), 3, 'a tenant is erased');
owes('b 2, c 1, late 2, p 1', 'then nothing of it is pending');
is(sql("SELECT count(*) FROM somamem.tenant_lag WHERE tenant = 'a'"), 0, 'and its name is gone');

is(sql("SELECT somamem.erase('later')"), 1, 'what was written for later is erased');
up();
ok(drained($node), 'the sink is back');
owes('', 'drained');
is(sql('SELECT lag_seconds FROM somamem.outbox_status'), 0, 'without a lag');
is(sql(q{SELECT deliveries, p50_ms > 1000, p95_ms >= p50_ms, p99_ms >= p95_ms, target_p50_ms, target_p95_ms FROM somamem.sla WHERE "window" = '5 min'}),
	'6|t|t|t|1000|5000', 'the service level is that of what was delivered');
is(sql('SELECT bool_or(met) FROM somamem.sla'), 'f', 'and was not met');
set_now($node, sla_p50 => '1h', sla_p95 => '2h');
is(sql('SELECT bool_and(met) FROM somamem.sla'), 't', 'unless less was promised');

# --- a bad row, redriven; rows, replayed --------------------------------------------------

$brain->control(mode => 'status', status => 422, tenant => 'bad');
write_rows($node, 'bad', "s$_", 'refused') foreach 1 .. 4;
ok(drained($node), 'bad rows are dead letters');
owes('', 'dead letters are not pending');
$brain->control(mode => 'ok');
sql("SELECT somamem.pause('somabrain')");
is(sql("SELECT somamem.redrive('somabrain')"), 4, 'they are redriven, to a sink that is paused');
ok(poll_sql($node, 'SELECT dead FROM somamem.outbox_status', expected => 0), 'the worker has seen it');
is(sql('SELECT pending FROM somamem.outbox_status'), 4, 'and counts them at once');
owes('bad 4', 'redriven rows are pending again');
is(sql("SELECT somamem.replay('somabrain', 1, 1000000, 'b')"), 2, 'what was delivered is replayed');
owes('b 2, bad 4', 'and so are replayed ones');
is(sql("SELECT somamem.discard('somabrain', min(id)) FROM somamem.parked WHERE tenant = 'bad'"), 't', 'one is discarded');
owes('b 2, bad 3', 'a discarded one is not');
sql("SELECT somamem.resume('somabrain')");
ok(drained($node), 'the rest goes');
owes('', 'in the end');

# --- rows written for later, and more tenants than are counted ----------------------------------

down();
is(sql('SELECT ' . write_memory('soon', 's', 'soon', "deliver_after => now() + interval '1 s'") . ' IS NOT NULL'), 't',
	'something is written for soon');
owes('soon 1', 'when it is due, it is pending');
write_rows($node, "crowd $_", 's', 'x') foreach 1 .. 9;
ok(poll_sql($node, 'SELECT pending FROM somamem.outbox_status', expected => 10), 'more tenants write than are counted');
ok(poll_sql($node, 'SELECT sum(pending) FROM somamem.tenant_lag', expected => 10), 'the sum is right all the same');
is(sql("SELECT count(*) <= 7, bool_or(tenant = 'other' AND pending > 0) FROM somamem.tenant_lag"), 't|t',
	'those beyond are summed up');

# --- who is bound sees his own ---------------------------------------------------------------------

sql("CREATE ROLE bound LOGIN; GRANT somamem_reader TO bound; SELECT somamem.bind_tenant('bound', 'soon')");
is($node->safe_psql('postgres', 'SELECT tenant, pending FROM somamem.tenant_lag', extra_params => [ '-U', 'bound' ]), 'soon|1',
	'a bound role sees its tenant');
is($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.sla', extra_params => [ '-U', 'bound' ]), 0,
	'and no figures of all tenants');
up();
ok(drained($node), 'all is delivered');
owes('', 'at the very end');
sql('SELECT ' . write_memory('soon', 's', 'in an hour', "deliver_after => now() + interval '1 h'"));
my ($last) = write_rows($node, 'soon', 's', 'x');
is(sql("SELECT somamem.wait_for($last)"), 't', 'a row is delivered');
owes_at_once('', 'it is not pending, nor what is not due');
kill 'STOP', (my $frozen = worker_pid($node, 'somabrain'));
sql('BEGIN; SELECT ' . write_memory('p', 's', 'prepared') . "; PREPARE TRANSACTION 'p'");
is(sql('SELECT pending, lag_seconds FROM somamem.outbox_status'), '0|0', 'while the worker is frozen, what is prepared is not pending');
sql("COMMIT PREPARED 'p'");
is(sql('SELECT pending, lag_seconds > 0 FROM somamem.outbox_status'), '1|t', 'once it is committed, it waits');
kill 'CONT', $frozen;
owes('', 'and is delivered');
$node->stop;

done_testing();
