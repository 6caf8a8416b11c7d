# What policy refuses is not written and says why; personal data that is masked is nowhere; and
# every decision is counted, and kept for who may see it.
#
# Not a regress test: it looks into the files of a server, and at what the sinks got.
use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use PostgreSQL::Test::Utils;
use Test::More;

my $brain = Somamem::Brain->new;
my @topic = $ENV{SMEM_KAFKA_BOOTSTRAP} ? (topic => Somamem::Topic->new) : ();
my $node = new_server('main', brain => $brain, @topic, 'somamem.decision_log' => 5, wal_compression => 'off',
	'somamem.opa_url' => 'http://127.0.0.1:' . free_port());
my $has_mail = 'payload.content has an e-mail address or a telephone number';

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

sub payload
{
	my ($tenant, $content, %more) = @_;
	return { type => 'memory', role => 'user', content => $content, tenant => $tenant, session_id => 's', %more };
}

sub literal
{
	my ($value) = @_;
	(my $text = encode($value)) =~ s/'/''/g;
	return "'$text'";
}

# Columns of the receipt of a write.
sub write_payload
{
	my ($payload, $more) = @_;
	return sql('SELECT id, idempotency_key, deduplicated FROM somamem.memory_write(' . literal($payload) . ($more ? ", $more" : '') . ')');
}

sub batch { return 'SELECT count(*) FROM somamem.memory_write_batch(' . literal([@_]) . ')'; }

sub rows { my ($tenant) = @_; return sql("SELECT count(*) FROM somamem.outbox WHERE tenant = '$tenant'"); }

# Decisions so far: "deny builtin" and how many.
sub decisions
{
	my ($action) = @_;
	return { map { split /\|/ } split /\n/,
			sql("SELECT decision || ' ' || engine, count FROM somamem.policy_stats WHERE action = '$action'") };
}

# --- deny ---------------------------------------------------------------------------------

sql('CREATE ROLE plain LOGIN; GRANT somamem_writer TO plain');
set_now($node, pii_filter => 'deny');
foreach my $role ('', 'plain')
{
	my $who = $role || 'a superuser';
	like(error_of($node, 'SELECT * FROM ' . write_memory('deny', 's', 'write to a.person@example.org'), $role),
		qr/ERROR:  42501: policy refuses the write: \Q$has_mail\E\nDETAIL:  Tenant "deny", decided by engine "builtin"\./,
		"an e-mail address of $who is refused");
}
my $told = error_of($node, 'SELECT * FROM ' . write_memory('deny', 's', 'call +49 30 901820'));
like($told, qr/42501: .*\Q$has_mail\E/, 'a telephone number as well');
(my $message = $told) =~ s/^LINE \d+:.*\n.*//mg;
unlike($message, qr/901820/, 'which the message does not repeat');
like(error_of($node, batch(map { payload('deny', $_) } 'one', 'two', 'three@example.org', 'four', 'five@example.org')),
	qr/ERROR:  42501: policy refuses payload 3: \Q$has_mail\E/, 'a batch is refused for its third element');
is(rows('deny'), 0, 'and nothing of all that is written');
is(error_of($node, "BEGIN;\nSAVEPOINT s;\n\\set ON_ERROR_STOP off\nSELECT * FROM " . write_memory('deny', 's', 'x@example.org')
	. ";\nROLLBACK TO s;\nSELECT * FROM " . write_memory('deny', 's', 'fine') . ";\nCOMMIT;"), '', 'a refusal ends at a savepoint');
is(rows('deny'), 1, 'and the session goes on');
is(error_of($node, 'SELECT * FROM ' . write_memory('deny', 's', '2026-03-05 10:00 order 4711 from 10.0.0.1')), '', 'what is none is written');

# --- redact -------------------------------------------------------------------------------

# How many files of the server hold the text.
sub files_with
{
	my ($text) = @_;
	my ($rc, $out) = (0, '');

	IPC::Run::run([ 'grep', '-r', '-l', '-a', '-F', '-s', $text, $node->data_dir ], '<', \undef, '>', \$out);
	return scalar split /\n/, $out;
}

set_now($node, pii_filter => 'off');
write_payload(payload('seen', 'from visible.person@example.org'));
sql('CHECKPOINT');
cmp_ok(files_with('visible.person@example.org'), '>=', 2, 'as it is: the address is in the outbox and in the write-ahead log');
set_now($node, pii_filter => 'redact');
my $hidden = 'hidden.person@example.org';
write_payload(payload('masked', "from $hidden, +49 30 901820", metadata => { note => 'other.person@example.org' }));
sql(batch(map { payload('masked', "$_ $hidden") } 'a', 'b'));
sql('CHECKPOINT');
is(files_with($hidden), 0, 'masked: it is in no file of the server');
is(files_with('901820'), 0, 'nor is the number');
is(sql("SELECT string_agg(payload ->> 'content', ';' ORDER BY id) FROM somamem.outbox WHERE tenant = 'masked'"),
	'from [e-mail], [telephone];a [e-mail];b [e-mail]', 'the outbox has the masks');
is(sql("SELECT payload #>> '{metadata,note}' FROM somamem.outbox WHERE tenant = 'masked' AND payload ? 'metadata'"),
	'other.person@example.org', 'what is not content is left alone');
is(sql("SELECT array_to_string(array_agg(k ORDER BY k), ',') FROM somamem.outbox, jsonb_object_keys(payload) AS k WHERE payload ->> 'content' LIKE 'a %'"),
	'content,role,session_id,tenant,type', 'and no member is lost or new');

my ($id, $key) = split /\|/, write_payload(payload('keyed', 'from one@example.org'), "idempotency_key => 'k'");
is(write_payload(payload('keyed', 'from two@example.com'), "idempotency_key => 'k'"), "$id|k|t", 'equal when masked: a repeat');
like(error_of($node, 'SELECT * FROM somamem.memory_write(' . literal(payload('keyed', 'to two@example.com')) . ", idempotency_key => 'k')"),
	qr/ERROR:  23505/, 'another text is none');
my @at = (metadata => { timestamp => '2026-01-02T03:04:05Z' });
($id, $key) = split /\|/, write_payload(payload('keyed', 'from one@example.org', @at));
is($key, sql("SELECT 'keyed/wm/s/user/2026-01-02T03:04:05Z/' || left(encode(sha256(convert_to(payload::text, 'UTF8')), 'hex'), 16)"
		. " FROM somamem.outbox WHERE id = $id"), 'the key is made of what is stored');
is(write_payload(payload('keyed', 'from two@example.com', @at)), "$id|$key|t", 'so it is found again');
foreach my $content (7, JSON::PP::true, undef, [ $hidden ], { mail => $hidden })
{
	like(error_of($node, 'SELECT * FROM somamem.memory_write(' . literal(payload('masked', $content)) . ')'),
		qr/ERROR:  22023: .*content/, 'content that is no string is refused as ever: ' . encode($content));
}
set_now($node, policy => 'off');
write_payload(payload('off', "from $hidden"));
is(sql("SELECT payload ->> 'content' FROM somamem.outbox WHERE tenant = 'off'"), 'from [e-mail]', 'masked without a policy, too');
set_now($node, pii_filter => 'deny');
is(error_of($node, 'SELECT * FROM ' . write_memory('off', 's', 'x@example.org')), '', 'but nothing is refused');
is(sql(q{SELECT allow, reason, engine FROM somamem.authorize('{"action": "nonsense"}')}), 't|policy is off|off', 'nor by authorize');
set_now($node, policy => 'builtin', pii_filter => 'off');

ok(drained($node), 'all is delivered');
is_deeply([ map { $_->{value}->{content} } grep { $_->{tenant} eq 'masked' } $brain->items ],
	[ 'from [e-mail], [telephone]', 'a [e-mail]', 'b [e-mail]' ], 'SomaBrain has the masks');
unlike(slurp_file($brain->record), qr/\Q$hidden\E|901820/, 'and nothing else');
subtest 'Kafka' => sub {
	need_kafka();
	my $got = slurp_file($topic[1]->dump);
	like($got, qr/b \[e-mail\]/, 'Kafka has the masks');
	like($got, qr/visible\.person/, 'what was written before them');
	unlike($got, qr/\Q$hidden\E|901820/, 'and nothing else');
};

# --- counting -----------------------------------------------------------------------------

my $before = decisions('memory.write');
sql(batch(map { payload('count', "row $_") } 1 .. 7));
write_payload(payload('count', 'one more'));
set_now($node, pii_filter => 'deny');
error_of($node, batch(payload('count', 'a'), payload('count', 'b@example.org'), payload('count', 'c@example.org')));
sql(q{SELECT somamem.authorize('{"action": "memory.write", "resource": "somabrain", "tenant": "count", "payload": {"tenant": "other"}}')});
set_now($node, pii_filter => 'off');
my $after = decisions('memory.write');
is($after->{'allow builtin'} - $before->{'allow builtin'}, 9, 'allowed: a batch counts its elements');
is($after->{'deny builtin'} - $before->{'deny builtin'}, 3, 'denied: each element, and authorize');
is_deeply([ sort keys %$after ], [ 'allow builtin', 'deny builtin' ], 'by one engine, without an error');
is(sql("SELECT count(*) FROM somamem.policy_stats WHERE p50_ms IS NULL OR p50_ms <= 0 OR p50_ms > p99_ms"), 0, 'with their times');
sql(q{SELECT somamem.authorize('{"action": "tool.execute", "resource": "rm"}'), somamem.authorize('{"action": "what"}'), somamem.authorize('{"action": "what else"}')});
is(sql("SELECT string_agg(action || ' ' || resource || ' ' || decision || ' ' || count, ';' ORDER BY action COLLATE \"C\") FROM somamem.policy_stats"
		. " WHERE action IN ('tool.execute', 'other')"), 'other any deny 2;tool.execute any deny 1', 'by action and resource');

# Nobody listens at the address of OPA.
set_now($node, policy => 'opa');
like(error_of($node, 'SELECT * FROM ' . write_memory('count', 's', 'no engine')),
	qr/ERROR:  58000: policy refuses the write: there is no decision\nDETAIL:  .+\nHINT:  Without a decision nothing is written\./,
	'without an answer of OPA a write is refused');
like(error_of($node, batch(payload('count', 'a'), payload('count', 'b'))), qr/ERROR:  58000: policy refuses payload 1: there is no decision/, 'and a batch');
like(sql(q{SELECT allow, engine, reason FROM somamem.authorize('{"action": "memory.recall"}')}), qr/^f\|opa\|there is no decision: ./, 'authorize refuses, too');
set_now($node, policy => 'builtin');
is(decisions('memory.write')->{'error opa'}, 3, 'those are counted as errors of OPA');
is(rows('count'), 8, 'and nothing of all that is written');

# --- the log of refusals ----------------------------------------------------------------------

set_now($node, pii_filter => 'deny');
error_of($node, 'SELECT * FROM ' . write_memory("late$_", 's', 'x@example.org'), 'plain') foreach 1 .. 4;
sql(q{SELECT somamem.authorize('{"action": "memory.delete", "tenant": "late5"}')});
set_now($node, policy_dry_run => 'on');
write_payload(payload('late6', 'x@example.org'));
set_now($node, policy_dry_run => 'off', pii_filter => 'off');
is(sql("SELECT tenant, action, resource, role, reason, engine, dry_run FROM somamem.decision_log ORDER BY refused_at"), join("\n",
		(map { "late$_|memory.write|somabrain|plain|$has_mail|builtin|f" } 2 .. 4),
		'late5|memory.delete||' . sql('SELECT current_user') . '|only the owner of the session or an administrator of its tenant may delete|builtin|f',
		"late6|memory.write|somabrain|" . sql('SELECT current_user') . "|$has_mail|builtin|t"),
	'the last five refusals are kept, with their reasons');
unlike(sql('SELECT l::text FROM somamem.decision_log AS l'), qr/example/, 'without a payload');
sql("CREATE ROLE bound LOGIN; GRANT somamem_reader, somamem_writer TO bound; SELECT somamem.bind_tenant('bound', 'late3')");
is($node->safe_psql('postgres', 'SELECT tenant FROM somamem.decision_log', extra_params => [ '-U', 'bound' ]), 'late3', 'a bound role sees those of its tenant');
is($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.policy_stats', extra_params => [ '-U', 'bound' ]), 0, 'and no figures of all');
is($node->safe_psql('postgres', q{SELECT allow, reason FROM somamem.authorize('{"action": "memory.write", "resource": "somabrain", "tenant": "late4", "payload": {"tenant": "late4"}}')},
		extra_params => [ '-U', 'bound' ]), 'f|the role is bound to another tenant', 'and has no say on others');
like(error_of($node, 'SELECT * FROM somamem.decision_log', 'plain'), qr/42501/, 'a writer sees none');
sql('CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', 'CREATE EXTENSION somamem');
is($node->safe_psql('elsewhere', 'SELECT count(*) FROM somamem.decision_log'), 0, 'nor does another database');
is($node->safe_psql('elsewhere', 'SELECT count(*) FROM somamem.policy_stats'), 0, 'which has figures of its own');

# --- who may set it -----------------------------------------------------------------------------

foreach my $setting ("policy = 'off'", "policy_dry_run = 'on'", "pii_filter = 'off'", 'rate_limit_per_minute = 0',
	"opa_url = 'http://elsewhere'", "opa_decision_path = '/x'", 'opa_timeout = 1')
{
	foreach my $role ('', 'plain')
	{
		like(error_of($node, "SET somamem.$setting", $role), qr/ERROR:  55P02/, ($role || 'a superuser') . " cannot: SET somamem.$setting");
	}
	like(error_of($node, "ALTER ROLE plain SET somamem.$setting"), qr/ERROR:  55P02/, 'nor for a role');
}
like(error_of($node, "SELECT set_config('somamem.policy', 'off', false)"), qr/ERROR:  55P02/, 'nor by set_config');
{
	local $ENV{PGOPTIONS} = '-c somamem.policy=off';
	like(error_of($node, 'SELECT 1'), qr/FATAL: .*somamem\.policy.*cannot be changed now/, 'nor by a connection\'s options');
}

# --- what authorize does not take -----------------------------------------------------------------

like(error_of($node, 'SELECT somamem.authorize(NULL)'), qr/ERROR:  22004: input must not be null/, 'authorize of NULL');
like(error_of($node, "SELECT somamem.authorize('$_')"), qr/ERROR:  22023: /, "authorize of $_") foreach '[]', '"text"', '1', 'null', 'true';
like(error_of($node, q{SELECT somamem.authorize(('{"query":' || repeat('[', 200) || repeat(']', 200) || '}')::jsonb)}), qr/ERROR:  22023: /, 'authorize of what is nested too deeply');
is(sql(q{SELECT allow FROM somamem.authorize('{}')}), 'f', 'an empty object is refused by the rules');
$node->stop;
done_testing();
