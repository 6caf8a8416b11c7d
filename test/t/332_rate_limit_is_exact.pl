# The limit of a tenant's writes in a minute is exact: over all sessions and databases, for
# batches as a whole, past the number of tenants that are counted one by one, and after a restart.
#
# All of it stays inside one minute: that places come free again is held by test/unit/rate_test.c,
# except where a row of the outbox is made older than it is.
#
# Not a regress test: it wants many sessions at once, and restarts.
use strict;
use warnings;

use Somamem;
use Somamem::Brain;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $sessions = 16;
my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.rate_limit_per_minute' => 1000, 'somamem.batch_max_items' => 5000);

sub sql { my ($sql, $database) = @_; return $node->safe_psql($database || 'postgres', $sql); }

# SQLSTATE, message, detail and hint of a statement that fails; "" where it does not.
sub complaint
{
	my ($sql, $database) = @_;
	my ($rc, $out, $err) = $node->psql($database || 'postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return $rc == 0 ? '' : $err;
}

# A call that writes n made-up rows as one batch.
sub batch
{
	my ($tenant, $n) = @_;
	return "SELECT count(*) FROM somamem.memory_write_batch((SELECT jsonb_agg(jsonb_build_object("
		. "'type', 'memory', 'role', 'user', 'content', 'row ' || i)) FROM generate_series(1, $n) AS i), '$tenant', 's')";
}

sub fits { my ($tenant, $n, $title, $database) = @_; return is(complaint(batch($tenant, $n), $database), '', $title); }

sub is_refused
{
	my ($tenant, $n, $title, $database) = @_;
	return like(complaint(batch($tenant, $n), $database),
		qr/ERROR:  53400: .*the tenant has used up its writes of this minute.*HINT:  Try again in \d+\.\d s\./s, $title);
}

# The tenant's count is so: the rest of the limit fits, and one more does not.
sub is_used
{
	my ($tenant, $used, $title, $limit) = @_;
	$limit ||= 1000;
	# More than the limit never fits, which would prove nothing.
	is_refused($tenant, $limit - $used + 1, "$title: no more than that") if $used > 0;
	fits($tenant, $limit - $used, "$title: the rest fits") if $used < $limit;
	return is_refused($tenant, 1, "$title: then no more");
}

sub rows { my ($tenant, $database) = @_; return sql("SELECT count(*) FROM somamem.outbox WHERE tenant = '$tenant'", $database); }

sub set_limit
{
	my ($limit) = @_;

	configure($node, 'somamem.rate_limit_per_minute' => $limit);
	return poll_sql($node, 'SHOW somamem.rate_limit_per_minute', expected => $limit);
}

# --- 16 sessions at once, in two databases --------------------------------------------

sql('CREATE DATABASE second');
sql('CREATE EXTENSION somamem', 'second');

# Sessions that each write so often, a row a transaction, and print what they are told.
sub start_sessions
{
	my ($tenant, $count, $each) = @_;
	my @programs;

	foreach my $i (1 .. $count)
	{
		my $script = scratch("$tenant$i.sql");
		append_to_file($script, join '', map { 'SELECT id FROM ' . write_memory($tenant, "s$i", "$tenant $i $_") . ";\n" } 1 .. $each);
		push @programs, start_program('psql', '-X', '-q', '-A', '-t', '-v', 'VERBOSITY=verbose', '-h', $node->host, '-p', $node->port,
			'-d', $i % 2 ? 'postgres' : 'second', '-f', $script);
	}
	return @programs;
}

my $each = 313;
my $asked = $sessions * $each;
my $began = time;
my @many = start_sessions('many', $sessions, $each);
my @other = start_sessions('other', 3, 333);
my %seen;
foreach my $program (@many, @other)
{
	ok(poll('a session ends', sub { return !still_runs($program); }), 'a session is through');
}
my $said = join '', map { slurp_file($_->{out}) } @many;
$seen{passed} = () = $said =~ /^\d+$/mg;
$seen{refused} = () = $said =~ /ERROR:  53400: policy refuses the write: the tenant has used up its writes of this minute$/mg;
$seen{hints} = () = $said =~ /HINT:  Try again in \d+\.\d s\.$/mg;
$seen{errors} = () = $said =~ /ERROR: /g;
SKIP:
{
	skip 'this took a minute', 3 if time - $began > 55;
	is($seen{passed}, 1000, "of $asked writes by 16 sessions in two databases exactly 1000 pass");
	is(rows('many') + rows('many', 'second'), 1000, 'and are in the outboxes');
	is($seen{refused}, $asked - 1000, 'all others are refused as 53400');
}
is($seen{errors}, $seen{refused}, 'with no other error');
is($seen{hints}, $seen{refused}, 'and each is told when to try again');
cmp_ok(rows('many', 'second'), '>', 0, 'both databases had some');
is(join('', map { slurp_file($_->{out}) =~ /ERROR/ ? 1 : 0 } @other), '000', 'another tenant writes its 999 meanwhile');
is(rows('other') + rows('other', 'second'), 999, 'all of them');
is_used('other', 999, 'which has one left');
unlike(complaint(batch('many', 1)), qr/other/, 'the message names no other tenant');

# --- what counts -------------------------------------------------------------------------

fits('whole', 500, '500 at once');
is_refused('whole', 600, 'then 600 do not fit');
is(rows('whole'), 500, 'and none of them is written');
is_used('whole', 500, 'nor counted');
is_refused('whole', 1, 'a single one more is refused') foreach 1 .. 3;
like(complaint(batch('large', 1001)), qr/53400: .*HINT:  So many never fit/s, 'what never fits is told so');
is_used('large', 0, 'and takes nothing');

# Two tenants in one batch: the second one does not fit.
fits('half', 900, 'a tenant has 100 left');
like(complaint(q{SELECT * FROM somamem.memory_write_batch((SELECT jsonb_agg(jsonb_build_object('type', 'memory', 'role', 'user',
	'content', 'x', 'tenant', CASE WHEN i <= 300 THEN 'fresh' ELSE 'half' END, 'session_id', 's')) FROM generate_series(1, 500) AS i))}),
	qr/53400: policy refuses payload \d+: /, 'a batch of two tenants is refused for one of them');
is(rows('fresh'), 0, 'as a whole');
is_used('fresh', 0, 'the other one keeps its places');
is_used('half', 900, 'and so does the first');

sql("BEGIN;\n" . batch('undone', 400) . ";\nROLLBACK;");
is(rows('undone'), 0, 'rolled back');
is_used('undone', 400, 'what is rolled back counts');
my $again = 'SELECT id FROM ' . write_memory('repeat', 's', 'the same', "idempotency_key => 'k'") . ";\n";
sql($again x 300);
is(rows('repeat'), 1, 'one row, written 300 times');
is_used('repeat', 300, 'what is repeated counts');
my $input = q{'{"action": "memory.write", "resource": "somabrain", "tenant": "asked", "payload": {"tenant": "asked"}}'};
is(sql("SELECT count(*) FROM generate_series(1, 1500) AS i, LATERAL somamem.authorize($input) AS a WHERE a.allow"), 1500, 'authorize as often as one likes');
is_used('asked', 0, 'which does not count');
is(sql("SELECT reason FROM somamem.authorize($input)"), 'the tenant has used up its writes of this minute', 'and says when the limit is reached');
like(complaint('SELECT * FROM ' . write_memory('asked', 's', '')), qr/ERROR:  22023/, 'a payload that breaks a rule is told that first');

# --- the setting ---------------------------------------------------------------------------

set_limit(0);
fits('free', 3000, '0 is unlimited');
set_limit(1000);
is_refused('free', 1, 'but counted: a limit that comes later holds');
set_limit(3001);
is_used('free', 3000, 'or a larger one', 3001);

# --- dry run -------------------------------------------------------------------------------

set_limit(10);
my $offset = -s $node->logfile;
configure($node, 'somamem.policy_dry_run' => 'on', 'somamem.pii_filter' => 'deny');
poll_sql($node, 'SHOW somamem.policy_dry_run', expected => 'on');
foreach my $i (1 .. 5)
{
	fits('dry', 20, 'a dry run lets all pass');
	sql('SELECT * FROM ' . write_memory("dry$_", 's', 'mail a@example.org')) foreach 1 .. 2;
}
is(rows('dry'), 100, 'and writes it');
my $log = slurp_file($node->logfile, $offset);
my @reasons = $log =~ /LOG:  policy would refuse: (.*)/g;
is_deeply([ sort @reasons ], [ 'payload.content has an e-mail address or a telephone number', 'the tenant has used up its writes of this minute' ],
	'each reason is logged once');
unlike($log, qr/example\.org/, 'and no payload');
configure($node, 'somamem.policy_dry_run' => 'off', 'somamem.pii_filter' => 'off');
poll_sql($node, 'SHOW somamem.policy_dry_run', expected => 'off');
like(complaint(batch('dry', 1)), qr/53400: .*has written 100 times/s, 'what passed in it has counted');

# --- restarts ------------------------------------------------------------------------------

# Half of each tenant's rows are in the other database, where nobody writes after the restart.
set_limit(1000);
foreach my $mode ('immediate', 'fast')
{
	fits($mode, 300, 'some rows here');
	fits($mode, 400, 'some in the other database', 'second');
	is_refused($mode, 301, 'they count together');
	$node->stop($mode);
	$node->start;
	ok(shippers_run($node, 'second', 1), 'the other database has its worker again');
	# What never fits is told the figure, and takes nothing.
	ok(poll('the other database is counted', sub { return complaint(batch($mode, 1001)) =~ /has written 700 times/; }),
		"a restart ($mode): what both databases held is counted");
	is_used($mode, 700, "after a restart ($mode)");
}
$node->stop('fast');

# --- more tenants than are counted one by one ----------------------------------------------

$node = new_server('few', 'somamem.rate_limit_per_minute' => 1000, 'somamem.batch_max_items' => 5000,
	'somamem.rate_limit_tenants' => 2);
fits('one', 10, 'the first tenant has a count of its own');
fits('two', 10, 'so has the second');

sub share
{
	my ($third, $fourth) = @_;

	fits($third, 600, 'a third one shares a count');
	is_refused($fourth, 401, 'with the fourth');
	fits($fourth, 400, 'which has what the third has left');
	is_refused($_, 1, 'then none of these has any') foreach $third, $fourth, 'five';
	is(rows($third) + rows($fourth), 1000, 'together they have written 1000');
	return;
}

share('six', 'seven');
is_used('two', 10, 'those with a count have their own limit');

# The first two have written almost a minute ago: the server is told so by the outbox.
sql("DELETE FROM somamem.outbox WHERE tenant NOT IN ('one', 'two') OR id > 20");
sql("UPDATE somamem.outbox SET created_at = now() - CASE tenant WHEN 'one' THEN interval '52 s' ELSE interval '50 s' END");
$node->restart;
like(complaint(batch('two', 1001)), qr/has written 10 times/, 'a restart: the first two are counted again, and nothing else');
share('three', 'four');
SKIP:
{
	skip 'a slow machine: the first two are idle already', 8
		if sql("SELECT max(clock_timestamp() - created_at) > '1 minute' FROM somamem.outbox WHERE tenant = 'one'") eq 't';
	ok(poll('the second one has been idle for a minute', sub { return complaint(batch('two', 991)) eq ''; }), 'a minute later');
	is_refused('three', 1, 'the third one gets the place of the first, and no second 1000') foreach 1 .. 3;
	is_refused('four', 1, 'nor does the fourth');
	set_limit(2000);
	fits('three', 1000, 'with a limit of 2000 it has 1000 left');
	is_refused('three', 1, 'and no more');
	fits('four', 1000, 'so has the fourth, for the third does not share any more');
	is_refused('four', 1, 'and no more');
}
$node->stop;
done_testing();
