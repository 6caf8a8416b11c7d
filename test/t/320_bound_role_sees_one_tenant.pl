# A role that is bound to a tenant sees and moves that tenant's rows alone, whatever it tries:
# change of role, functions with others' rights, cursors handed on, names and operators of its
# own, leaky functions, prepared plans, EXPLAIN, messages and internal functions.
#
# Not a regress test: it needs rows in every state, and sessions of several roles.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.max_attempts' => 1000,
	'somamem.retry_initial' => '300ms', 'somamem.retry_max' => '1s');
my %id;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What a role's session prints, and what it complains of.
sub told
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);

	return ($out, $err // '');
}

sub seen { my ($out) = told(@_); return $out; }

sub complaint { my ($out, $err) = told(@_); return $err =~ /(?:ERROR|FATAL):  (.*)/ ? $1 : ''; }

sub refused
{
	my ($role, $sql, $title, $state) = @_;
	$state ||= '42501';
	like(complaint($role, $sql), qr/^$state: /, $title);
}

# No name or content of the other tenant in all that a session prints or is told.
sub is_blind
{
	my ($role, $sql, $title) = @_;
	my ($out, $err) = told($role, $sql);
	my $all = "$out\n$err";

	# What the statement itself says is shown with an error.
	$all =~ s/^LINE \d+:.*\n.*//mg;
	unlike($all, qr/zeta-s|zeta bad|"zeta/, $title);
}

# --- rows in every state -------------------------------------------------------------

sub leave_rows
{
	my ($name) = @_;

	($id{"$name delivered"}) = write_rows($node, $name, "$name-s1", "$name delivered");
	sql(qq{SELECT somamem.wait_for($id{"$name delivered"})});
	$id{"$name keyed"} = sql('SELECT id FROM ' . write_memory($name, "$name-s1", "$name keyed", "idempotency_key => 'key-of-$name'"));
	($id{"$name dead"}, $id{"$name dead too"}) = write_rows($node, $name, "$name-s2", "$name bad", "$name bad too");
	ok(poll_sql($node, "SELECT count(*) FROM somamem.dead_letter WHERE tenant = '$name'", expected => 2), "$name: dead letters");
	return;
}

sub leave_parked
{
	my ($name) = @_;

	($id{"$name retry"}, $id{"$name behind"}) = write_rows($node, $name, "$name-s3", "$name poison", "$name behind");
	ok( poll('it fails alone', sub {
				write_rows($node, 'someone', 's', 'other');
				return status_of($node, $id{"$name retry"}) eq 'somabrain in_retry'; }),
		"$name: a row in retry");
	ok(poll_sql($node, "SELECT count(*) FROM somamem.parked WHERE tenant = '$name'", expected => 2), "$name: and one behind it");
	return;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
$brain->control(mode => 'status', status => 422, content => 'bad');
leave_rows($_) foreach 'acme', 'zeta';
$brain->control(mode => 'status', status => 500, content => 'poison');
leave_parked($_) foreach 'acme', 'zeta';
sql(<<'SQL');
CREATE ROLE a LOGIN; CREATE ROLE z LOGIN; CREATE ROLE free LOGIN; CREATE ROLE later LOGIN;
CREATE ROLE boss LOGIN; CREATE ROLE boss_a LOGIN; CREATE ROLE gateway LOGIN; CREATE ROLE accomplice LOGIN;
GRANT somamem_writer, somamem_reader TO a, z, free, later;
GRANT somamem_admin TO boss, boss_a;
GRANT free TO a;
GRANT a, z TO gateway;
GRANT CREATE ON DATABASE postgres TO a, free, boss_a;
SELECT somamem.bind_tenant('a', 'acme'), somamem.bind_tenant('z', 'zeta');
SQL
is(seen('boss', "SELECT somamem.bind_tenant('boss_a', 'acme')"), '', 'an administrator binds');
my $unknown = 900_000_000;

# --- what it sees ----------------------------------------------------------------------

is(seen('a', 'SELECT * FROM somamem.dead_letters ORDER BY id'),
	sql("SELECT * FROM somamem.dead_letters WHERE tenant = 'acme' ORDER BY id"), 'dead_letters: its own, whole');
is(seen('free', 'SELECT count(*) FROM somamem.dead_letters'), 4, 'a role that is not bound sees all');
is(seen('a', 'SELECT sink, pending IS NULL, parked, dead, oldest_pending_at IS NULL, lag_seconds IS NULL, position IS NULL'
			. ' FROM somamem.outbox_status'),
	'somabrain|t|2|2|t|t|t', 'outbox_status: its own figures, and no others');
is(seen('free', 'SELECT parked, dead, lag_seconds > 0 FROM somamem.outbox_status'), '4|4|t', 'which others have');
is(seen('a', "SELECT count(*), count(last_error) FROM somamem.workers WHERE state = 'running'"), '2|0', 'workers: no last error');
$brain->control(mode => 'status', status => 503);
write_rows($node, 'zeta', 'zeta-s9', 'zeta while the sink is away');
ok(poll_sql($node, 'SELECT count(last_error) > 0 FROM somamem.workers'), 'there is one');
is(seen('a', 'SELECT count(last_error) FROM somamem.workers'), '0', 'and it is not shown');
is(seen('a', 'SELECT count(last_error) FROM somamem._workers()'), '0', 'nor by the function below the view');
is( seen('a', q{SELECT DISTINCT k FROM jsonb_each(somamem.health() -> 'components') AS c, jsonb_object_keys(c.value) AS k}),
	'status', 'health: statuses alone');
is( seen('a', "SELECT somamem.health() ->> 'status' IS NOT NULL, somamem.health() -> 'components' ? 'somabrain'"),
	't|t', 'of everything');
like(seen('free', 'SELECT somamem.health()'), qr/"pending"/, 'others see figures');
$brain->control(mode => 'status', status => 500, content => 'poison');
is(seen('a', 'SELECT pending IS NULL AND parked IS NULL AND dead IS NULL AND lag_seconds IS NULL FROM somamem._sink_figures()'),
	't', '_sink_figures: none');

foreach my $state ('delivered', 'dead', 'retry', 'behind')
{
	my ($own, $other) = ($id{"acme $state"}, $id{"zeta $state"});

	is(seen('a', "SELECT sink, state, receipt FROM somamem.status($own)"),
		sql("SELECT sink, state, receipt FROM somamem.status($own)"), "status of its own row, $state");
	isnt(seen('a', "SELECT sink FROM somamem.status($own)"), '', 'has something to say');
	is(seen('a', "SELECT * FROM somamem.status($other)"), '', "status of another's row, $state");
	isnt(seen('z', "SELECT * FROM somamem.status($other)"), '', 'which its tenant sees');
}
is(seen('a', "SELECT state FROM somamem.status('acme', 'key-of-acme')"), 'delivered', 'status by its own key');
is(seen('z', "SELECT state FROM somamem.status('zeta', 'key-of-zeta')"), 'delivered', 'and by the other one');
is_deeply([ told('a', "SELECT * FROM somamem.status('zeta', 'key-of-zeta')") ],
	[ told('a', "SELECT * FROM somamem.status('zeta', 'no such key')") ], "another's key is like none");
is(seen('a', "SELECT somamem.wait_for($id{'acme delivered'}, NULL, '0 s')"), 't', 'wait_for finds its own row');
is(seen('z', "SELECT somamem.wait_for($id{'zeta delivered'}, NULL, '0 s')"), 't', 'and the other tenant its');
foreach my $id ($id{'zeta delivered'}, $id{'zeta dead'}, $unknown)
{
	is(seen('a', "SELECT somamem.wait_for($id, NULL, '0 s')"), 'f', "row $id is not there for it");
}
# A dead letter of its own is told at once; another's is waited for, as an unknown row is.
foreach my $id ($id{'zeta delivered'}, $id{'zeta dead'}, $unknown)
{
	like(complaint('a', "SET statement_timeout = '300ms'; SELECT somamem.wait_for($id, NULL, '1 h')"), qr/^57014: /,
		"and row $id is waited for");
}
is(seen('a', "SET statement_timeout = '60s'; SELECT somamem.wait_for($id{'acme dead'}, NULL, '1 h')"), 'f', 'its own dead letter is not');
is(sql("UPDATE somamem.outbox SET xid = '3' WHERE id = $id{'acme keyed'};"
			. " INSERT INTO somamem.outbox SELECT id, '4', created_at, deliver_after, segment, 'zeta', 'zeta-s8', namespace,"
			. " persona_id, idempotency_key, traceparent, payload FROM somamem.outbox WHERE id = $id{'acme keyed'};"
			. " SELECT count(*) FROM somamem.outbox WHERE id = $id{'acme keyed'}"),
	2, 'a copy of its own, from another server, has the id of a row of the other tenant');
is(seen('a', "SELECT * FROM somamem.status($id{'acme keyed'})"), '', 'which it does not see for that');
isnt(seen('z', "SELECT * FROM somamem.status($id{'acme keyed'})"), '', 'and the other tenant does');
sql("DELETE FROM somamem.outbox WHERE id = $id{'acme keyed'}");

# --- who it is --------------------------------------------------------------------------

my $look = 'SELECT DISTINCT tenant FROM somamem.dead_letters';
is(seen('a', "SET ROLE free; $look"), 'acme', 'SET ROLE does not free');
is(seen('a', "SET ROLE free; RESET ROLE; $look"), 'acme', 'nor does RESET ROLE');
is(seen('a', "SET ROLE NONE; $look"), 'acme', 'nor SET ROLE NONE');
refused('a', 'SET SESSION AUTHORIZATION free', 'SET SESSION AUTHORIZATION is not for it');
refused('a', 'SET ROLE z', 'nor another tenant');
is(seen('gateway', "SET ROLE a; $look"), 'acme', 'SET ROLE binds');
is(seen('gateway', "SET ROLE z; $look"), 'zeta', 'to the one that is set');
is(seen('gateway', "SET ROLE a; RESET ROLE; SET ROLE z; $look"), 'zeta', 'and the next one');
sql('GRANT z TO a');
like(complaint('a', "SET ROLE z; $look"), qr/^42501: roles "a" and "z" are bound to different tenants/, 'two tenants are refused');
sql('REVOKE z FROM a');

sub definer
{
	my ($owner, $name, $returns, $body) = @_;

	return "CREATE FUNCTION $owner.$name RETURNS $returns LANGUAGE plpgsql SECURITY DEFINER AS \$\$$body\$\$;"
		. " GRANT EXECUTE ON FUNCTION $owner.$name TO PUBLIC;";
}
foreach my $role ('a', 'free', 'boss_a')
{
	is(complaint($role, "CREATE SCHEMA $role; GRANT USAGE ON SCHEMA $role TO PUBLIC;"
			. definer($role, 'tenants()', 'text', 'BEGIN RETURN (SELECT string_agg(DISTINCT tenant, \',\') FROM somamem.dead_letters); END')
			. definer($role, 'state(bigint)', 'text', 'BEGIN RETURN (SELECT state FROM somamem.status($1)); END')
			. definer($role, 'waits(bigint)', 'boolean', 'BEGIN RETURN somamem.wait_for($1, NULL, \'0 s\'); END')
			. definer($role, 'figures()', 'bigint', 'BEGIN RETURN (SELECT pending FROM somamem._sink_figures()); END')
			. definer($role, 'documents()', 'jsonb', 'BEGIN RETURN somamem.health(); END')
			. definer($role, 'redrive()', 'bigint', 'BEGIN RETURN somamem.redrive(\'somabrain\'); END')
			. definer($role, 'erase()', 'bigint', 'BEGIN RETURN somamem.erase(\'zeta\'); END')
			. definer($role, 'writes(text)', 'text', 'BEGIN RETURN (SELECT idempotency_key FROM somamem.memory_write('
					. 'jsonb_build_object(\'type\', \'m\', \'role\', \'u\', \'content\', \'c\', \'session_id\', \'s\', \'tenant\', $1))); END')
			. definer($role, 'opens(text)', 'refcursor', 'DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE $1; RETURN c; END')),
		'', "functions with the rights of $role");
}
is(seen('a', 'SELECT free.tenants()'), 'acme', "another's rights do not free it");
is(seen('a', "SELECT free.state($id{'zeta dead'})"), '', 'in status');
is(seen('a', "SELECT free.waits($id{'zeta delivered'})"), 'f', 'in wait_for');
refused('a', "SELECT free.writes('zeta')", 'and in writing');
is(seen('gateway', 'SET ROLE a; SELECT free.tenants()'), 'acme', 'nor who has become it by SET ROLE');
is(seen('free', 'SELECT free.tenants()'), 'acme,zeta', 'a role that is not bound is not');
is(seen('accomplice', 'SELECT a.tenants()'), 'acme', 'whom it lends its rights sees no more than it does');
is(seen('accomplice', "SELECT a.state($id{'zeta dead'})"), '', 'in status');
is(seen('accomplice', "SELECT a.state($id{'acme dead'})"), 'dead', 'but as much');
is(seen('accomplice', "SELECT a.waits($id{'zeta delivered'})"), 'f', 'in wait_for');
is(seen('accomplice', 'SELECT a.figures()'), '', 'in figures');
unlike(seen('accomplice', 'SELECT a.documents()'), qr/pending/, 'in health');
refused('accomplice', "SELECT a.writes('zeta')", 'in writing');
refused('accomplice', 'SELECT boss_a.erase()', 'in erasing');

# A cursor is opened with one role's rights and read by another.
foreach my $query ('SELECT tenant, session_id FROM somamem.dead_letters', 'SELECT * FROM somamem.outbox_status',
	'SELECT * FROM somamem.workers', 'SELECT somamem.health()', "SELECT * FROM somamem.status($id{'zeta dead'})",
	"SELECT somamem.wait_for($id{'zeta delivered'}, NULL, '0 s')",
	q{SELECT * FROM somamem.memory_write('{"type": "m", "role": "u", "content": "c", "session_id": "s", "tenant": "zeta"}')})
{
	(my $quoted = $query) =~ s/'/''/g;
	refused('accomplice', "BEGIN; SELECT a.opens('$quoted') AS c \\gset\nFETCH ALL FROM :\"c\"", "cursor handed on: $query");
}
is(seen('a', "BEGIN; DECLARE c CURSOR FOR $look; FETCH ALL FROM c"), 'acme', 'a cursor of its own');
is(seen('a', "BEGIN; DECLARE c CURSOR WITH HOLD FOR $look; COMMIT; FETCH ALL FROM c"), 'acme', 'one that is held');
is(seen('a', "BEGIN; SELECT free.opens('$look') AS c \\gset\nFETCH ALL FROM :\"c\""), 'acme', 'and one of a role that is not bound');

# --- names and operators of its own -------------------------------------------------------

my $mine = <<'SQL';
CREATE SCHEMA mine;
CREATE FUNCTION mine._bound_tenant() RETURNS text LANGUAGE sql AS $$SELECT NULL::text$$;
CREATE FUNCTION mine.yes(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE FUNCTION mine.yes(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE FUNCTION mine.yes(uuid, uuid) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE OPERATOR mine.= (LEFTARG = text, RIGHTARG = text, FUNCTION = mine.yes);
CREATE OPERATOR mine.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = mine.yes);
CREATE OPERATOR mine.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = mine.yes);
CREATE FUNCTION mine.count(bigint) RETURNS bigint LANGUAGE sql AS $$SELECT 0::bigint$$;
CREATE FUNCTION mine."current_user"() RETURNS name LANGUAGE sql AS $$SELECT 'free'::name$$;
CREATE TABLE mine.tenant_binding (role regrole, tenant text);
CREATE TEMPORARY TABLE tenant_binding (role regrole, tenant text);
CREATE TEMPORARY TABLE outbox (id bigint, tenant text, xid xid8);
CREATE TEMPORARY TABLE dead_letter (sink text, id bigint, tenant text);
INSERT INTO dead_letter VALUES ('somabrain', ID, 'acme');
INSERT INTO outbox VALUES (ID, 'acme', '5');
SET search_path = mine, pg_temp, pg_catalog, somamem;
SQL
$mine =~ s/\bID\b/$id{'zeta dead'}/g;
my $body = "$mine $look; SELECT state FROM somamem.status($id{'zeta dead'}); SELECT state FROM somamem.status('zeta', 'key-of-zeta');"
	. " SELECT somamem.wait_for($id{'zeta delivered'}, NULL, '0 s'); SELECT parked, dead FROM somamem.outbox_status";
is(seen('a', "$body; DROP SCHEMA mine CASCADE"), "acme\nf\n2|2", 'a search path of its own changes nothing');
refused('a', "$mine SELECT * FROM somamem.memory_write('{\"type\": \"m\", \"role\": \"u\", \"content\": \"c\", \"session_id\": \"s\"}', 'zeta')",
	'in writing neither');
seen('a', 'DROP SCHEMA mine CASCADE');
is_blind('a', q{CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
	$$BEGIN RAISE NOTICE '%', $1; RETURN true; END$$;
	SELECT count(*) FROM somamem.dead_letters WHERE pg_temp.tell(payload::text) AND pg_temp.tell(session_id) AND pg_temp.tell(idempotency_key)},
	'a leaky function is shown its own rows');
is_blind('a', "SELECT * FROM somamem.dead_letters WHERE (payload ->> 'content')::int = 1 OR session_id::int = 1", 'so is a failing cast');
is_blind('a', 'SELECT * FROM somamem.dead_letters d WHERE 1 / (d.id - d.id + CASE WHEN d.tenant = \'zeta\' THEN 0 ELSE 1 END) > 0',
	'and a division');
is(complaint('a', "SELECT 1 FROM somamem.dead_letters d WHERE 1 / CASE WHEN d.tenant = 'zeta' THEN 0 ELSE 1 END > 0"), '',
	'which fails for a row of another tenant only');
is_blind('a', 'SELECT d, to_jsonb(d) FROM somamem.dead_letters AS d', 'a whole row has no more columns');
is_blind('a', 'TABLE somamem.dead_letters; TABLE somamem.outbox_status; TABLE somamem.workers; SELECT somamem.health()', 'nothing of it anywhere');
refused('a', 'SELECT ctid FROM somamem.dead_letters', 'no column of the table below', '42703');

# --- plans made before -----------------------------------------------------------------------

my $bind = $node->connstr('postgres');
is(seen('later', "PREPARE q AS $look ORDER BY 1; EXECUTE q;\n\\! psql -qAtX -U postgres -d \"$bind\" -c \"DO 'BEGIN PERFORM somamem.bind_tenant(''later'', ''acme''); END'\"\nEXECUTE q;\n"
			. "\\! psql -qAtX -U postgres -d \"$bind\" -c \"DO 'BEGIN PERFORM somamem.bind_tenant(''later'', ''zeta''); END'\"\nEXECUTE q;\n"
			. "\\! psql -qAtX -U postgres -d \"$bind\" -c \"DO 'BEGIN PERFORM somamem.unbind_tenant(''later''); END'\"\nEXECUTE q;\n"),
	"acme\nzeta\nacme\nzeta\nacme\nzeta", 'a prepared plan follows each change of the binding');
is(seen('later', "BEGIN ISOLATION LEVEL REPEATABLE READ; $look ORDER BY 1;\n\\! psql -qAtX -U postgres -d \"$bind\" -c \"DO 'BEGIN PERFORM somamem.bind_tenant(''later'', ''acme''); END'\"\n"
			. "SELECT sink FROM somamem.outbox_status LIMIT 0; $look; COMMIT; $look"),
	"acme\nzeta\nacme\nacme", 'an old snapshot shows no old binding that would be remembered');
sql("UPDATE somamem.tenant_binding SET tenant = 'zeta' WHERE role = 'later'::regrole");
is(seen('later', $look), 'zeta', 'the table may be changed by hand');
is(sql("BEGIN; SELECT somamem.unbind_tenant('later'); SET LOCAL SESSION AUTHORIZATION later; SELECT count(DISTINCT tenant) FROM somamem.dead_letters;"
			. " ROLLBACK; SET SESSION AUTHORIZATION later; SELECT count(DISTINCT tenant) FROM somamem.dead_letters"),
	"\n2\n1", 'a rollback takes a change back');

# --- what can be learned besides ---------------------------------------------------------------

sql("INSERT INTO somamem.dead_letter SELECT 'somabrain', 1000000 + g, CASE WHEN g % 4 = 0 THEN 'acme' ELSE 'zeta' END, 'zeta-s' || g % 3, 'wm', NULL,"
		. " 'key-of-zeta' || g % 5, NULL, '{}', 'http_422', 'zeta reason', 1, now(), now(), now() FROM generate_series(1, 4000) g");
sql('ANALYZE somamem.dead_letter');
sub plan_of { my ($out) = told('a', "EXPLAIN SELECT * FROM somamem.dead_letters WHERE $_[0]"); $out =~ s/'[^']*'/'...'/g; return $out; }
is(plan_of("tenant = 'zeta'"), plan_of("tenant = 'nosuch'"), 'EXPLAIN estimates nothing of a tenant');
is(plan_of("session_id = 'zeta-s1'"), plan_of("session_id = 'nosuch'"), 'of a session');
is(plan_of("session_id < 'zeta-s1'"), plan_of("session_id < 'a'"), 'of a range');
is(plan_of("idempotency_key = 'key-of-zeta1'"), plan_of("idempotency_key = 'nosuch'"), 'of a key');
is(seen('a', "SELECT count(*) FROM pg_stats WHERE schemaname = 'somamem'"), '0', 'no statistics are shown');
sql('DELETE FROM somamem.dead_letter WHERE id > 1000000');

sub write_complaint
{
	my ($tenant) = @_;
	my $text = complaint('a', 'SELECT * FROM ' . write_memory($tenant, 's', 'c'));
	return $text . complaint('a', qq{SELECT * FROM somamem.memory_write('{"type": "m", "role": "u", "content": "c", "session_id": "s"}', '$tenant')});
}
is(write_complaint('zeta'), write_complaint('nosuch'), 'a refusal tells no tenant that exists from one that does not');
isnt(write_complaint('zeta'), '', 'it is one');
is(seen('a', 'SELECT deduplicated FROM ' . write_memory('acme', 's', 'c', "idempotency_key => 'key-of-zeta'")), 'f', "another's key is free");

is(sql("SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c, unnest(ARRAY['a', 'free', 'boss', 'boss_a']) AS r"
			. " WHERE relnamespace = 'somamem'::regnamespace AND relkind IN ('r', 'p', 'S', 'v', 'm', 'f')"
			. " AND CASE relkind WHEN 'S' THEN has_sequence_privilege(r, c.oid, 'USAGE, SELECT, UPDATE')"
			. " WHEN 'v' THEN has_table_privilege(r, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
			. " ELSE has_table_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
			. " OR has_any_column_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END"),
	'', 'no group reads a table, or writes to a view');
refused('a', "COPY somamem.$_ TO STDOUT", "COPY of $_") foreach qw(outbox outbox_0 dead_letter parked idempotency shipment tenant_binding);
refused('a', "COPY somamem.$_ FROM STDIN", "COPY into $_") foreach qw(outbox tenant_binding);
is_blind('a', 'COPY (SELECT * FROM somamem.dead_letters) TO STDOUT', 'COPY of a view');
refused('a', "SELECT $_", "$_ is not for it") foreach "* FROM somamem._delivery($id{'zeta dead'})",
	"* FROM somamem._delivered('somabrain', 1, 1000, NULL)", "somamem._is_of($id{'zeta dead'}, 'zeta')",
	"somamem._key_hash('zeta', 'key-of-zeta')", "* FROM somamem._tenant_tables()", "somamem._owns('{1}', 1, 1)",
	"somamem.bind_tenant('a', 'zeta')", "somamem.unbind_tenant('a')", "somamem.redrive('somabrain')", "somamem.pause('somabrain')";
refused('a', 'CREATE FUNCTION pg_temp.b() RETURNS text LANGUAGE c AS \'$libdir/somamem\', \'somamem_bound_tenant\'', 'nor are C functions');
refused('a', "SET somamem.$_ = DEFAULT", "nor is somamem.$_", '55P02') foreach qw(sinks max_attempts retention);
refused('a', 'CREATE TRIGGER t BEFORE INSERT ON somamem.tenant_binding FOR EACH ROW EXECUTE FUNCTION somamem._binding_changed()', 'nor triggers');
refused('a', 'SET session_replication_role = replica', 'nor to be without them');

# --- levers ----------------------------------------------------------------------------------------

my $state_of_zeta = sql("SELECT string_agg(state, ',' ORDER BY i) FROM unnest(ARRAY[$id{'zeta dead'}, $id{'zeta dead too'}, $id{'zeta retry'}]) i, somamem.status(i)");
refused('boss_a', "SELECT somamem.$_", "a bound administrator: $_")
	foreach "pause('somabrain')", "resume('somabrain')", "retry('somabrain')", "retry('somabrain', $id{'zeta retry'})",
	"redrive('somabrain', 'zeta')", "replay('somabrain', 1, 100000, 'zeta')", "erase('zeta')", "erase('zeta', 'zeta-s1')",
	"bind_tenant('boss_a', 'zeta')", "unbind_tenant('boss_a')";
is(complaint('boss_a', "SELECT somamem.erase('zeta')"), complaint('boss_a', "SELECT somamem.erase('nosuch')"), 'and no more is said');
refused('boss_a', 'SELECT somamem.erase(NULL)', 'erase of nobody stays what it is', '22004');
is(seen('boss_a', "SELECT somamem.discard('somabrain', $id{'zeta dead'})"), 'f', "another's dead letter is not there for discard");
is(seen('boss_a', "SELECT somamem.discard('somabrain', $id{'zeta behind'})"), 'f', 'nor is its parked row');
is(seen('boss_a', "SELECT somamem.redrive('somabrain', NULL, $id{'zeta dead'})"), '0', 'nor anything for redrive');
is(seen('boss_a', "SELECT somamem.discard('somabrain', $id{'acme dead too'})"), 't', 'its own is');
is(sql("SELECT state FROM somamem.status($id{'acme dead too'})"), 'discarded', 'and discarded');
$brain->control(mode => 'ok');
ok(drained($node), 'all is delivered that can be');
is(seen('accomplice', 'SELECT boss_a.redrive()'), '1', 'redrive of all is of its own, whoever calls');
my $before = sql("SELECT count(*) FROM somamem.outbox WHERE tenant = 'acme' AND xid <> '3'");
ok(drained($node), 'it is delivered');
is(seen('boss_a', "SELECT somamem.replay('somabrain', 1, 100000)"), $before - 1, 'replay of all is, too');
ok(drained($node), 'which are delivered again');
is(sql("SELECT count(*) FROM somamem.dead_letter WHERE tenant = 'zeta'"), 2, 'nothing of the other tenant was moved');
cmp_ok(seen('boss_a', "SELECT somamem.erase('acme')"), '>', 5, 'its own tenant it may erase');
is(sql("SELECT count(*) FROM somamem.outbox WHERE tenant = 'acme'"), 0, 'and it is gone');
cmp_ok(sql("SELECT count(*) FROM somamem.outbox WHERE tenant = 'zeta'"), '>=', 6, 'the other one is not');

$node->stop;
done_testing();
