# Every case of policy/cases through somamem.authorize, with the rules built in and with a real
# Open Policy Agent: both allow and reason are the case's own.
#
# Of a write to SomaBrain the server puts its own two figures in the context, whatever the caller
# says there.  So cases that name them are asked in one of two ways, and none is left out:
#   made true: the tenant has really written so many, the setting is the case's limit
#     (the writes are batches that are rolled back, which count as well);
#   idle: more writes than a test can make, or no number at all.  The tenant has written nothing,
#     and what the case refuses for its rate must be allowed here: the caller's figures are not
#     looked at;
#
# Of OPA the extension asks for a boolean, and for the reason only where that is false: what OPA
# allows is "allowed", to administrators as well.
#
# Not a regress test: it wants a server of its own for each engine, and a real OPA.
use strict;
use warnings;

use Somamem;
use Somamem::Opa;
use Test::More;

# More writes than this are not made.
my $most = 5000;

my @files = glob root_folder() . '/policy/cases/*.json';
my $rate = 'the tenant has used up its writes of this minute';

# The cases, as a table of what the server will have to say.
my $cases = q{
CREATE TABLE cases AS
SELECT e ->> 'name' AS name, e -> 'input' AS input, (e -> 'allow')::boolean AS allow, e ->> 'reason' AS reason,
	e #> '{input,context,writes_last_minute}' AS writes, e #> '{input,context,rate_limit_per_minute}' AS lim,
	coalesce(e #>> '{input,action}' = 'memory.write' AND e #>> '{input,resource}' = 'somabrain'
		AND jsonb_typeof(e #> '{input,context}') = 'object'
		AND (e -> 'input' -> 'context') ?| array['writes_last_minute', 'rate_limit_per_minute'], false) AS names_figures
FROM unnest(array[FILES]) AS f, jsonb_array_elements(pg_read_file(f)::jsonb) AS e;
ALTER TABLE cases ADD kind text, ADD made bigint, ADD under bigint;
UPDATE cases SET made = CASE WHEN jsonb_typeof(writes) = 'number' THEN writes::numeric
		WHEN coalesce(jsonb_typeof(writes), 'null') = 'null' THEN 0 END,
	under = CASE WHEN jsonb_typeof(lim) = 'number' THEN lim::numeric
		WHEN coalesce(jsonb_typeof(lim), 'null') = 'null' THEN 1000 END
WHERE names_figures AND CASE WHEN jsonb_typeof(writes) = 'number' THEN
		writes::numeric = trunc(writes::numeric) AND writes::numeric BETWEEN 0 AND MOST ELSE coalesce(jsonb_typeof(writes), 'null') = 'null' END
	AND CASE WHEN jsonb_typeof(lim) = 'number' THEN
		lim::numeric = trunc(lim::numeric) AND lim::numeric BETWEEN 0 AND 1000000 ELSE coalesce(jsonb_typeof(lim), 'null') = 'null' END;
UPDATE cases SET kind = CASE WHEN NOT names_figures THEN 'plain' WHEN made IS NOT NULL AND under IS NOT NULL THEN 'made true'
	ELSE 'idle' END;
UPDATE cases SET allow = true, reason = 'allowed' WHERE kind = 'idle' AND reason = 'RATE';
};
$cases =~ s/FILES/join ',', map { "'$_'" } @files/e;
$cases =~ s/MOST/$most/;
$cases =~ s/RATE/$rate/;

# Asks the cases that the condition names, in one statement; returns how many were asked, and
# the names of those that were answered otherwise.
sub ask
{
	my ($node, $engine, $condition) = @_;
	my $answer = decode($node->safe_psql('postgres', <<"SQL"));
SELECT json_build_object('asked', count(*), 'wrong', coalesce(json_agg(format('%s: %s %s by %s', c.name, a.allow, a.reason, a.engine))
	FILTER (WHERE (a.allow, a.reason, a.engine) IS DISTINCT FROM (c.allow, c.reason, '$engine')), '[]'))
FROM cases AS c, LATERAL somamem.authorize(c.input) AS a WHERE $condition
SQL
	return ($answer->{asked}, @{ $answer->{wrong} });
}

sub set_limit
{
	my ($node, $limit) = @_;

	configure($node, 'somamem.rate_limit_per_minute' => $limit);
	return poll_sql($node, 'SHOW somamem.rate_limit_per_minute', expected => $limit);
}

# Batches of the tenant that are rolled back.
sub make_writes
{
	my ($node, $tenant, $n) = @_;

	for (; $n > 0; $n -= 500)
	{
		my $some = $n < 500 ? $n : 500;
		$node->safe_psql('postgres', <<"SQL");
BEGIN;
SELECT count(*) FROM somamem.memory_write_batch((SELECT jsonb_agg(jsonb_build_object('type', 'memory', 'role', 'user',
	'content', 'made ' || i)) FROM generate_series(1, $some) AS i), '$tenant', 's');
ROLLBACK;
SQL
	}
	return;
}

# Asks those that are made true, by rising counts: a tenant that no other case names.
sub ask_made_true
{
	my ($node, $engine) = @_;
	my $tenants = $node->safe_psql('postgres', q{SELECT string_agg(DISTINCT input ->> 'tenant', ' ') FROM cases WHERE kind = 'made true'});
	my @steps = map { [ split /\|/ ] } split /\n/,
		$node->safe_psql('postgres', q{SELECT made, under FROM cases WHERE kind = 'made true' GROUP BY 1, 2 ORDER BY 1, 2});
	my ($asked, $made, @wrong) = (0, 0);

	foreach my $step (@steps)
	{
		my ($writes, $limit) = @$step;
		if ($writes > $made)
		{
			set_limit($node, 0);
			make_writes($node, $_, $writes - $made) foreach split / /, $tenants;
			$made = $writes;
		}
		set_limit($node, $limit);
		my ($n, @more) = ask($node, $engine, "kind = 'made true' AND made = $writes AND under = $limit");
		$asked += $n;
		push @wrong, @more;
	}
	return ($asked, @wrong);
}

sub is_all_right
{
	my ($title, $expected, $asked, @wrong) = @_;

	cmp_ok($asked, '>', 0, "$title: there are some");
	is($asked, $expected, "$title: all $expected are asked");
	is_deeply(\@wrong, [], "$title: none is answered otherwise");
	return $asked;
}

sub run_cases
{
	my ($engine, %setting) = @_;
	my $node = new_server($engine, 'somamem.policy' => $engine, 'somamem.rate_limit_per_minute' => 1000, %setting);
	my ($all, %n);

	ok(poll_sql($node, "SELECT somamem.health() #>> '{components,policy,status}'", expected => 'ok'), 'the engine is well');
	$node->safe_psql('postgres', $cases);
	$node->safe_psql('postgres', "UPDATE cases SET reason = 'allowed' WHERE allow") if $engine eq 'opa';
	$all = $node->safe_psql('postgres', 'SELECT count(*) FROM cases');
	cmp_ok($all, '>=', 150, "$all cases");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT name FROM cases GROUP BY name HAVING count(*) > 1) AS n'), 0, 'no two of one name');
	%n = map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'SELECT kind, count(*) FROM cases GROUP BY kind');
	is($n{plain} + $n{idle} + $n{'made true'}, $all, 'each is of one kind');
	cmp_ok($n{'made true'}, '>=', 25, 'most figures can be made true');
	foreach my $kind ('plain', 'idle')
	{
		is_all_right("$engine, $kind", $n{$kind}, ask($node, $engine, "kind = '$kind'"));
	}
	is_all_right("$engine, made true", $n{'made true'}, ask_made_true($node, $engine));
	is($node->safe_psql('postgres', "SELECT sum(count) FROM somamem.policy_stats WHERE decision = 'error'"), '', 'the engine has always decided');
	$node->stop;
	return;
}

subtest 'the built-in rules' => sub { run_cases('builtin'); };

subtest 'Open Policy Agent' => sub {
	need_opa();
	my $opa = Somamem::Opa->new;
	run_cases('opa', 'somamem.opa_url' => $opa->url, 'somamem.opa_timeout' => '30s');
};

done_testing();
