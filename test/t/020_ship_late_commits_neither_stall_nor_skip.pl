# Ids are handed out before commit: transactions that commit long after later ones, with
# savepoints and without, are neither skipped nor sent twice, and hold nobody up.
#
# Not a regress test: it needs many sessions, and sinks that count.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new('--no-values');
my $topic = Somamem::Topic->new;
my $node = new_server('main', brain => $brain, topic => $topic);

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION note(tenant text, session text, content text) RETURNS bigint LANGUAGE sql
	AS $$ SELECT id FROM somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user',
		'content', content), tenant, session) $$;

-- A session that holds its transactions for a random time, some with savepoints, some undone.
CREATE PROCEDURE mingle(who int, transactions int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. transactions LOOP
		PERFORM note('mingle', 's' || who, 'first ' || i);
		IF random() < 0.3 THEN
			CALL savepoints(who, 3);
		END IF;
		IF random() < 0.3 THEN
			PERFORM pg_sleep(random() * 0.15);
			PERFORM note('mingle', 's' || who, 'last ' || i);
		END IF;
		IF random() < 0.15 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END $$;

CREATE PROCEDURE savepoints(who int, times int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. times LOOP
		BEGIN
			PERFORM note('savepoint', 's' || who, 'in savepoint ' || i);
			IF i % 3 = 0 THEN
				RAISE EXCEPTION 'undone';
			END IF;
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	END LOOP;
END $$;
SQL
ok(shippers_run($node), 'the shippers run');

# The shipper looks at least once a second; its state changes with each look.
sub shippers_look
{
	my $since = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

	return poll_sql($node,
		"SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'somamem shipper%'"
		. " AND query = 'reading the outbox' AND state_change > '$since'::timestamptz");
}

# One transaction that wrote before thousands of others, and commits after them.
my $late = $node->background_psql('postgres');
$late->query_safe("BEGIN; SELECT note('late', 'l', 'early id ' || g) FROM generate_series(1, 10) g;");
my $prepared = $node->background_psql('postgres');
$prepared->query_safe("BEGIN; SELECT note('late', 'p', 'prepared'); PREPARE TRANSACTION 'late';");
$prepared->quit;
my $writer = start_writer($node, '-n', 4000, '-c', 6, '-u', 'a');
ok(finish_program($writer), 'thousands of others write and commit');
ok(poll('they are delivered meanwhile', sub { return $brain->counts->{distinct} == 4000; }),
	'an open transaction holds nobody up');
$late->query_safe("SELECT note('late', 'l', 'late id ' || g) FROM generate_series(1, 10) g; COMMIT;");
$late->quit;
ok(drained($node), 'what is committed is recorded');
restart_killed($node);
$node->safe_psql('postgres', "COMMIT PREPARED 'late'");
ok(poll('the late rows arrive', sub { return $brain->counts->{distinct} == 4021; }), 'the late rows arrive');

# Its savepoints overflow what a snapshot keeps of a transaction, while others come and go.
my $overflow = $node->background_psql('postgres');
$overflow->query_safe('BEGIN; CALL savepoints(99, 200);');
my @mingle = map {
	my $who = $_;
	my ($out, $err) = ('', '');
	IPC::Run::start(
		[
			'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-c', "CALL mingle($who, 60)"
		],
		'<', \undef, '>', \$out, '2>', \$err);
} 1 .. 12;
ok(shippers_look(), 'the shippers look in between');
$overflow->query_safe('CALL savepoints(99, 50);');
ok($_->finish, 'a session with random holds ends') foreach @mingle;
$overflow->query_safe('COMMIT;');
$overflow->quit;
ok(drained($node), 'the backlog drains');

# The only activity: its transaction id is not below what any snapshot calls its end, however
# often the shipper looks while it runs.
my $bulk = $node->background_psql('postgres');
$bulk->query_safe("BEGIN; SELECT note('bulk', 'b', 'first');");
ok(shippers_look(), 'the shippers look while nothing else happens');
$bulk->query_safe(<<'SQL');
SELECT count(*) FROM generate_series(1, 50) b, LATERAL somamem.memory_write_batch(
	(SELECT jsonb_agg(jsonb_build_object('type', 'm', 'role', 'user', 'content', 'bulk ' || b || ' ' || g))
	FROM generate_series(1, 500) g), 'bulk', 's' || b % 7);
SQL
ok(shippers_look(), 'and once more, in the middle of it');
$bulk->query_safe(<<'SQL');
SELECT count(*) FROM generate_series(51, 100) b, LATERAL somamem.memory_write_batch(
	(SELECT jsonb_agg(jsonb_build_object('type', 'm', 'role', 'user', 'content', 'bulk ' || b || ' ' || g))
	FROM generate_series(1, 500) g), 'bulk', 's' || b % 7);
COMMIT;
SQL
$bulk->quit;
ok(drained($node), 'a bulk of 50,000 rows drains');

# A row of the stand-in has no value here: Kafka's copy is compared, SomaBrain's is counted.
my $log = outbox_log($node);
my $result = history(written => [$log], topic => $topic);
is_clean($result, 'every committed row arrives exactly once', exactly => 1);
cmp_ok($result->{written}, '>', 54_000, 'all of it was written');
my $counts = $brain->counts;
is_deeply(
	{ map { $_ => $counts->{$_} } qw(items distinct repeats violations) },
	{ items => $result->{written}, distinct => $result->{written}, repeats => 0, violations => 0 },
	'every committed row arrives exactly once: somabrain');

$node->stop;
done_testing();
