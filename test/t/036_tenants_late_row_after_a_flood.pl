# A row whose transaction began before another tenant's backlog and commits after that has
# drained: the worker that read the backlog apart reads it like any other.
#
# Not a regress test: it needs running workers.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, restart_after_crash => 'on', 'somamem.somabrain_concurrency' => 2);

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
my $pid = worker_pid($node, 'somabrain');
my $late = $node->background_psql('postgres');
$late->query_safe('BEGIN');
$late->query_safe('SELECT id FROM ' . write_memory('late', 's', 'late'));

$brain->control(delay_ms => 20);
$node->safe_psql('postgres', <<'SQL');
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'flood ' || g, 'session_id', 's' || g % 50), 'loud') FROM generate_series(1, 12000) g) w
SQL
ok(poll('the backlog is delivered', sub { return $brain->counts->{distinct} == 12_000; }), 'a backlog drains');
ok(poll_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'somamem shipper somabrain' AND state = 'idle'",
		expected => 1), 'and nothing is left of it');
write_rows($node, 'loud', 's1', 'afterwards');
ok(poll('a further row is delivered', sub { return $brain->counts->{distinct} == 12_001; }), 'its tenant goes on');

$late->query_safe('COMMIT');
$late->quit;
ok(poll('the late row is delivered', sub { return $brain->counts->{distinct} == 12_002; }), 'the late row is delivered');
is(worker_pid($node, 'somabrain'), $pid, 'by the same worker');
$node->stop;
done_testing();
