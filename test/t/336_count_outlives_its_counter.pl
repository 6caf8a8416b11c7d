# After a start the first writer counts what the last minute held.  Where it is terminated
# meanwhile, the next one counts, nobody waits for it for ever, and the server stops at once.
#
# Not a regress test: it needs sessions that wait for each other, and a restart.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Somamem;
use Test::More;

my $node = new_server('main', 'somamem.rate_limit_per_minute' => 1000);
my @running;

sub start_session
{
	my ($name, $sql) = @_;
	my ($out, $err) = ('', '');
	my $handle = IPC::Run::start([ 'psql', '-X', '-q', '-At', '-d', $node->connstr('postgres') . " application_name=$name", '-c', $sql ],
		'<', \undef, '>', \$out, '2>', \$err);

	push @running, $handle;
	return $handle;
}

sub waits
{
	my ($name, $event) = @_;
	return poll_sql($node, "SELECT wait_event_type FROM pg_stat_activity WHERE application_name = '$name'", expected => $event);
}

my $write = q{SELECT id FROM somamem.memory_write('{"type": "m", "role": "user", "content": "x"}', 't', 's')};

$node->safe_psql('postgres', $write) foreach 1 .. 3;
$node->restart;
my $lock = start_session('lock', 'BEGIN; LOCK TABLE somamem.outbox_3; SELECT pg_sleep(600)');
ok(poll_sql($node, "SELECT count(*) FROM pg_locks WHERE relation = 'somamem.outbox_3'::regclass AND mode = 'AccessExclusiveLock'", expected => 1),
	'a table is locked');
start_session('counter', $write);
ok(waits('counter', 'Lock'), 'the first writer counts, and waits for it');
start_session('second', $write);
ok(waits('second', 'Extension'), 'the second one waits for the first');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'counter'");
ok(waits('second', 'Lock'), 'which is terminated: the second one counts');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lock'");
ok(poll_sql($node, 'SELECT count(*) FROM somamem.outbox', expected => 4), 'and writes');
is($node->safe_psql('postgres', <<'SQL'), 't', 'and counted');
SELECT allow FROM somamem.authorize('{"action": "memory.write", "resource": "somabrain", "tenant": "t", "payload": {"tenant": "t"}}')
SQL
my ($rc, $out, $err) = $node->psql('postgres', <<'SQL');
SELECT count(*) FROM somamem.memory_write_batch((SELECT jsonb_agg('{"type": "m", "role": "u", "content": "x"}'::jsonb) FROM generate_series(1, 500)), 't', 's');
SELECT count(*) FROM somamem.memory_write_batch((SELECT jsonb_agg('{"type": "m", "role": "u", "content": "x"}'::jsonb) FROM generate_series(1, 497)), 't', 's');
SQL
like($err, qr/has written 504 times/, 'with what was written before the restart');
$_->kill_kill foreach @running;
$node->stop;
done_testing();
