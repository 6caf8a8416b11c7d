# Without a decision of Open Policy Agent nothing is written: OPA killed, frozen, restarted, and
# replaced by something that answers nonsense, while 64 sessions write.  What it decides arrives as
# the refusal that it is, and a session that waits for it can be cancelled.
#
# Not a regress test: it signals processes, and wants many sessions at once.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::FalseOpa;
use Somamem::Opa;
use Test::More;

need_opa();
my $sessions = 64;
my $rules = scratch('mine.rego');
append_to_file($rules, <<'REGO');
package mine

default allow := false

allow := decision.allow

decision := {"allow": false, "rule": "night", "reason": "nothing is written at night"} if {
	contains(input.payload.content, "night")
} else := data.soma.policy.decision
REGO
my $opa = Somamem::Opa->new(policy => [ $rules, grep { !/_test\.rego$/ } glob root_folder() . '/policy/*.rego' ]);
my $false = Somamem::FalseOpa->new('deny');
my $node = new_server('main', 'somamem.policy' => 'opa', 'somamem.opa_url' => $opa->url, 'somamem.opa_timeout' => '30s',
	'somamem.batch_max_items' => 1000, max_connections => 100, synchronous_commit => 'off');

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

sub circuit
{
	my ($state) = @_;
	return poll_sql($node, "SELECT circuit FROM somamem.workers WHERE sink = 'policy' AND state = 'running'", expected => $state);
}

# The real OPA decides, or the false one, and nobody asks another one any more.
sub decider
{
	my ($one, $reason) = @_;

	set_now($node, opa_url => $one->url);
	return poll_sql($node, q{SELECT reason FROM somamem.authorize('{"action": "memory.delete"}')}, expected => $reason);
}

sub real { return decider($opa, 'only the owner of the session or an administrator of its tenant may delete'); }

sub stood_in { $false->mode('deny'); return decider($false, 'the stand-in says no'); }

sub batch
{
	my ($tenant, $n, $odd) = @_;
	return "SELECT count(*) FROM somamem.memory_write_batch((SELECT jsonb_agg(jsonb_build_object('type', 'memory', 'role', 'user',"
		. " 'content', CASE i WHEN $odd THEN 'at night' ELSE 'row ' || i END)) FROM generate_series(1, $n) AS i), '$tenant', 's')";
}

sub rows { my ($tenant) = @_; return sql("SELECT count(*) FROM somamem.outbox WHERE tenant = '$tenant'"); }

sub background
{
	my ($sql) = @_;
	return start_program('psql', '-X', '-q', '-A', '-t', '-v', 'VERBOSITY=verbose', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-c', $sql);
}

sub finished
{
	my ($program) = @_;
	poll('a session ends', sub { return !still_runs($program); }) or return 'it never ended';
	return slurp_file($program->{out});
}

# --- decisions arrive as what they are ------------------------------------------------------

ok(circuit('closed'), 'OPA is asked');
ok(real(), 'and answers');
is(error_of($node, 'SELECT * FROM ' . write_memory('own', 's', 'by day')), '', 'what it allows is written');
set_now($node, opa_decision_path => '/v1/data/mine/allow');
ok(poll('own rules decide', sub { return error_of($node, 'SELECT * FROM ' . write_memory('own', 's', 'at night')) ne ''; }), 'rules of one\'s own');
like(error_of($node, 'SELECT * FROM ' . write_memory('own', 's', 'at night')),
	qr/ERROR:  42501: policy refuses the write: nothing is written at night\nDETAIL:  Tenant "own", decided by engine "opa"\./, 'refuse with their own reason');
is(error_of($node, batch('batch', 500, 0)), '', 'a batch of 500 is decided');
is(rows('batch'), 500, 'and written');
like(error_of($node, batch('batch', 500, 333)), qr/ERROR:  42501: policy refuses payload 333: nothing is written at night/, 'or refused for one of them');
is(rows('batch'), 500, 'as a whole');
set_now($node, rate_limit_per_minute => 5);
is(error_of($node, batch('rate', 5, 0)), '', 'five writes, where five are the limit');
like(error_of($node, 'SELECT * FROM ' . write_memory('rate', 's', 'a sixth')),
	qr/ERROR:  53400: policy refuses the write: the tenant has used up its writes of this minute.*HINT:  Try again in \d+\.\d s\./s,
	'the rule of OPA on rates arrives as one');
like(error_of($node, batch('rate2', 6, 0)), qr/ERROR:  53400: policy refuses payload 6: /, 'also in a batch');
is(rows('rate2'), 0, 'which is refused as a whole');
is(error_of($node, batch('rate2', 5, 0)), '', 'and takes nothing');
set_now($node, rate_limit_per_minute => 0);

# --- waiting ----------------------------------------------------------------------------------

ok(stood_in(), 'a false OPA is asked');
like(error_of($node, 'SELECT * FROM ' . write_memory('false', 's', 'x')), qr/42501: .*: the stand-in says no/, 'and refuses');
$false->mode('hang');
my $write = 'SELECT idempotency_key FROM ' . write_memory('cancelled', 's', 'x', "idempotency_key => 'it is written'");
my $file = $false->mode_file;
# One session: it is cancelled, and goes on.
my ($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '300ms';\n$write;\nSELECT 'still here';\n"
		. "\\! printf allow > $file\nSET statement_timeout = 0;\n$write;\n", on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  57014: canceling statement due to statement timeout/, 'statement_timeout ends the wait');
is($out, "still here\nit is written", 'and the session goes on');
is(($false->asked)[-1]->{input}->{context}->{writes_last_minute}, 0, 'what was cancelled has not counted');
$false->mode('hang');
my $asked = $false->asked;

# Waits until a background session has asked; returns the session.
sub ask_in_vain
{
	my $program = background('SELECT id FROM ' . write_memory('in vain', 's', 'x'));
	ok(poll('it is asked', sub { return $false->asked > $asked; }), 'a session waits for a decision');
	$asked = $false->asked;
	return $program;
}

my $program = ask_in_vain();
is(sql("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%in vain%' AND pid <> pg_backend_pid()"), 1, 'it is cancelled');
like(finished($program), qr/ERROR:  57014: canceling statement due to user request/, 'and told so');
$program = ask_in_vain();
# That one is never answered; what the next courier asks is.
$false->mode('deny');
kill 'KILL', sql("SELECT courier_pid FROM somamem.workers WHERE sink = 'policy'");
like(finished($program), qr/ERROR:  58000: policy refuses the write: there is no decision/, 'the courier is killed: a question on the way is refused');
is(rows('in vain'), 0, 'nothing of it is written');
ok(stood_in(), 'another courier asks');

# --- the circuit --------------------------------------------------------------------------------

set_now($node, opa_timeout => '300ms');
$false->mode('hang');
ok( poll('the circuit opens', sub {
			error_of($node, 'SELECT * FROM ' . write_memory('circuit', 's', 'x'));
			return sql("SELECT circuit FROM somamem.workers WHERE sink = 'policy'") eq 'open'; }),
	'no answers: the circuit opens');
$asked = $false->asked;
like(error_of($node, 'SELECT * FROM ' . write_memory('circuit', 's', 'x')),
	qr/ERROR:  58000: .*\nDETAIL:  .*the circuit is open: Open Policy Agent did not answer in time/, 'a session is told so') foreach 1 .. 5;
is(sql(q{SELECT count(*) FROM generate_series(1, 200) AS i, LATERAL somamem.authorize('{"action": "memory.delete"}') AS a
	WHERE NOT a.allow AND a.reason LIKE 'there is no decision: the circuit is open%' AND i > 0}), 200, 'and 200 more questions');
is(scalar $false->asked, $asked, 'none of which got any further');
is(rows('circuit'), 0, 'nothing is written');
$false->mode('allow');
ok(circuit('closed'), 'the first answer closes the circuit');
is(error_of($node, 'SELECT * FROM ' . write_memory('circuit', 's', 'x')), '', 'and writes pass');
cmp_ok(scalar $false->asked, '>', $asked, 'by decision');

# --- 64 sessions ----------------------------------------------------------------------------------

# Each write counts for the phase that began before it and has not ended after it.
sql(<<'SQL');
CREATE TABLE phase (name text);
INSERT INTO phase VALUES ('well');
CREATE TABLE tally (session int, phase text, state text);
CREATE PROCEDURE keep_writing(session int) LANGUAGE plpgsql AS $$
DECLARE
	first text;
	last text;
	state text;
BEGIN
	LOOP
		SELECT name INTO first FROM phase;
		BEGIN
			PERFORM id FROM somamem.memory_write('{"type": "memory", "role": "user", "content": "by day"}', 'crowd', 's' || session);
			state := 'written';
		EXCEPTION WHEN OTHERS THEN
			state := SQLSTATE;
		END;
		SELECT name INTO last FROM phase;
		INSERT INTO tally VALUES (session, CASE WHEN first = last THEN first ELSE 'between' END, state);
		COMMIT;
		EXIT WHEN last = 'the end';
		PERFORM pg_sleep(0.05);
	END LOOP;
END $$;
SQL
real();
my @crowd = map { background("CALL keep_writing($_)") } 1 .. $sessions;

# Everybody has written, or tried to, so often since the phase began; returns what became of it.
sub phase
{
	my ($name) = @_;

	sql("UPDATE phase SET name = '$name'");
	poll_sql($node, "SELECT count(*) FROM (SELECT session FROM tally WHERE phase = '$name' GROUP BY session HAVING count(*) >= 2) AS s",
		expected => $sessions);
	sql("UPDATE phase SET name = 'between'");
	return sql("SELECT coalesce(string_agg(DISTINCT state, ' '), 'nothing') FROM tally WHERE phase = '$name'");
}

is(phase('all is well'), 'written', '64 sessions write');
$opa->kill_it;
is(phase('killed'), '58000', 'OPA is killed: every write is refused, none is written');
$opa->start;
ok(circuit('closed'), 'it is back');
is(phase('back'), 'written', 'and all write again');
$opa->hang;
is(phase('frozen'), '58000', 'OPA is frozen: every write is refused');
$opa->go_on;
ok(circuit('closed'), 'it goes on');
is(phase('on'), 'written', 'and all write again');
stood_in();
is(phase('denied'), '42501', 'the false OPA denies');
foreach my $mode ('garbage', 'undefined', 'yes', 'number', 'object', 'null', 'no_json', 'cut', '500', '404', 'hang')
{
	# Else an open circuit would refuse for it.
	$false->mode('allow');
	ok(circuit('closed'), "before $mode: decisions");
	$false->mode($mode);
	# Answers of before have arrived.
	ok(poll_sql($node, q{SELECT reason LIKE 'there is no decision: _%' FROM somamem.authorize('{"action": "memory.delete"}')}), "$mode: in effect");
	is(phase($mode), '58000', "$mode: every write is refused");
}
$false->mode('allow');
ok(circuit('closed'), 'answers again');
is(phase('allowed'), 'written', 'and all write again');
sql("UPDATE phase SET name = 'the end'");
is(join('', map { finished($_) } @crowd), '', 'no session has been told of anything else');
is(rows('crowd'), sql("SELECT count(*) FROM tally WHERE state = 'written'"), 'what was said to be written is there, and nothing else');
is(sql("SELECT count(*) FROM tally WHERE state NOT IN ('written', '58000', '42501')"), 0, 'and there was no other refusal');
$node->stop;
done_testing();
