# The three roles are there after every way in which a database may get the extension, two at
# once included; grants and bindings survive dump and restore, a new name, a dropped role and
# the way to a standby; and are not what a subscription brings.
#
# Not a regress test: it needs several databases and servers.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Somamem;
use Test::More;

my $node = new_server('main', init => [ allows_streaming => 'logical' ], no_extension => 1);
my $groups = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'somamem_%'";
my $all_groups = 'somamem_admin somamem_reader somamem_writer';
my $bindings = "SELECT string_agg(role || '=' || tenant, ' ' ORDER BY role::text COLLATE \"C\") FROM somamem.tenant_binding";
my $grants = <<'SQL';
SELECT string_agg(line, E'\n' ORDER BY line) FROM (
	SELECT oid::regprocedure::text || ' ' || x::text AS line FROM pg_proc, unnest(proacl) AS x WHERE pronamespace = 'somamem'::regnamespace
	UNION ALL SELECT oid::regclass::text || ' ' || x::text FROM pg_class, unnest(relacl) AS x WHERE relnamespace = 'somamem'::regnamespace
	UNION ALL SELECT nspname || ' ' || x::text FROM pg_namespace, unnest(nspacl) AS x WHERE nspname = 'somamem') AS a
SQL

sub sql { my ($sql, $database, $server) = @_; return ($server || $node)->safe_psql($database || 'postgres', $sql); }

# --- two at once ---------------------------------------------------------------------

my $round = 0;
foreach my $end ('COMMIT', 'ROLLBACK')
{
	my ($one, $two) = ('one' . ++$round, "two$round");

	sql("CREATE DATABASE $_") foreach $one, $two;
	is(sql($groups), '', "$end: no role is there");
	sql("BEGIN; CREATE EXTENSION somamem; PREPARE TRANSACTION 'first'", $one);
	my $second = start_program('psql', '-X', '-d', $node->connstr($two), '-c', 'CREATE EXTENSION somamem');
	ok(poll_sql($node, "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = '$two'",
			expected => 1), "$end: the second one waits for the first");
	sql("$end PREPARED 'first'", $one);
	ok(finish_program($second), "$end: and goes on");
	is(sql($groups), $all_groups, "$end: the roles are there");
	is(sql("SELECT has_function_privilege('somamem_writer', 'somamem.health()', 'EXECUTE')", $_), 't', "$end: and have their rights in $_")
		foreach $end eq 'COMMIT' ? ($one, $two) : ($two);
	sql("DROP EXTENSION IF EXISTS somamem", $_) foreach $one, $two;
	is(sql($groups), $all_groups, "$end: they stay when the extension goes");
	sql('DROP ROLE somamem_writer, somamem_reader, somamem_admin');
}
sql('CREATE ROLE somamem_writer NOLOGIN');
sql('CREATE EXTENSION somamem');
is(sql($groups), $all_groups, 'one that is there already is no obstacle');

# --- names and ends of roles --------------------------------------------------------------

sql(<<'SQL');
CREATE ROLE a LOGIN; CREATE ROLE z LOGIN; CREATE ROLE "Odd ""Role" LOGIN; CREATE ROLE gone LOGIN; CREATE ROLE old LOGIN; CREATE ROLE extra;
GRANT somamem_reader, somamem_writer TO a, z, "Odd ""Role", gone, old;
SELECT somamem.bind_tenant('a', 'acme'), somamem.bind_tenant('Odd "Role', 'zeta'), somamem.bind_tenant('gone', 'acme'), somamem.bind_tenant('old', 'acme');
ALTER ROLE old RENAME TO new;
DROP ROLE gone;
CREATE ROLE gone LOGIN;
GRANT somamem_reader TO gone;
REVOKE EXECUTE ON FUNCTION somamem.wait_for(bigint, text, interval) FROM somamem_writer;
GRANT EXECUTE ON FUNCTION somamem.health() TO extra;
INSERT INTO somamem.dead_letter SELECT 'kafka', g, CASE WHEN g % 2 = 0 THEN 'acme' ELSE 'zeta' END, 's', 'wm', NULL, 'k', NULL, '{}', 'c', 'r', 1, now(), now(), now()
	FROM generate_series(1, 10) g;
SQL

sub seen_by
{
	my ($role, $server, $database) = @_;
	my ($rc, $out) = ($server || $node)->psql($database || 'postgres', "SELECT string_agg(DISTINCT tenant, ',') FROM somamem.dead_letters",
		extra_params => [ '-U', $role ]);
	return $out;
}
is(seen_by('new'), 'acme', 'a new name frees nobody');
is(seen_by('gone'), 'acme,zeta', 'a role that was made again is another one');
is(sql('SELECT count(*) FROM somamem.tenant_binding'), 4, 'the binding of the one that is gone is still there');

# --- dump and restore ------------------------------------------------------------------------

my $dump = scratch('dump');
my $globals = scratch('globals.sql');
my $expected = 'a=acme new=acme';
$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
$node->command_ok([ 'pg_dumpall', '-g', '-d', $node->connstr('postgres'), '-f', $globals ], 'pg_dumpall of roles');
sql('CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('copy'), $dump ], 'pg_restore beside it');
is(sql($bindings, 'copy'), "\"Odd \"\"Role\"=zeta $expected", 'bindings are restored, but those of roles that are gone');
is(sql($grants, 'copy'), sql($grants), 'and grants, with what an administrator has changed');
is(seen_by('a', $node, 'copy'), 'acme', 'and they hold');

my $other = new_server('other', init => [ allows_streaming => 'logical' ], no_extension => 1);
$other->command_ok([ 'psql', '-X', '-q', '-d', $other->connstr('postgres'), '-f', $globals ], 'roles on another server');
$other->command_ok([ 'pg_restore', '-e', '-d', $other->connstr('postgres'), $dump ], 'pg_restore there');
is(sql($bindings, 'postgres', $other), "\"Odd \"\"Role\"=zeta $expected", 'with its bindings');
is(sql($grants, 'postgres', $other), sql($grants), 'and grants');
is(seen_by('Odd "Role', $other), 'zeta', 'which hold');
sql("SELECT somamem.bind_tenant('z', 'zeta')");
is(sql($bindings), "\"Odd \"\"Role\"=zeta $expected z=zeta", 'the next change forgets who is gone');
sql("SELECT somamem.unbind_tenant('z')");

# --- a standby ---------------------------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my $reader = start_program('psql', '-X', '-At', '-U', 'z', '-d', $standby->connstr('postgres'), '-v', 'ON_ERROR_STOP=1', '-c',
	"SELECT count(DISTINCT tenant) FROM somamem.dead_letters", '-c', "DO \$\$BEGIN LOOP"
		. " EXIT WHEN (SELECT count(DISTINCT tenant) FROM somamem.dead_letters) = 1; COMMIT; END LOOP; END\$\$",
	'-c', 'SELECT DISTINCT tenant FROM somamem.dead_letters');
ok(poll('a session on a standby is not bound', sub { return -e $reader->{out} && slurp_file($reader->{out}) =~ /^2$/m; }), 'a session on a standby sees all');
is(seen_by('a', $standby), 'acme', 'one that is bound does not');
sql("SELECT somamem.bind_tenant('z', 'zeta')");
ok(finish_program($reader), 'a session that is open there hears of it');
like(slurp_file($reader->{out}), qr/^zeta$/m, 'and is bound');
like(($standby->psql('postgres', "SELECT somamem.unbind_tenant('z')"))[2], qr/cannot execute unbind_tenant\(\) in a read-only transaction/,
	'nobody is unbound there');
$standby->stop;

# --- a subscription -----------------------------------------------------------------------------

sql('CREATE TABLE mark (n int PRIMARY KEY); INSERT INTO mark VALUES (1);'
		. ' CREATE PUBLICATION p FOR TABLE mark, somamem.tenant_binding', 'postgres');
sql("CREATE TABLE mark (n int PRIMARY KEY); SELECT somamem.unbind_tenant('new');"
		. " CREATE SUBSCRIPTION s CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION p", 'postgres', $other);
ok(poll_sql($other, "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"), 'the first copy has come');
sql("SELECT somamem.unbind_tenant('a'); SELECT somamem.bind_tenant('Odd \"Role', 'acme'); INSERT INTO mark VALUES (2)");
ok(poll_sql($other, 'SELECT count(*) FROM mark', expected => 2), 'and what came after');
is(sql($bindings, 'postgres', $other), '"Odd ""Role"=zeta a=acme', 'bindings are as they were');

$node->stop;
$other->stop;
done_testing();
