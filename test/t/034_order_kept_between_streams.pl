# A tenant's detour ends while one of its rows hangs, and one behind that fails by itself: a
# later row of the failed one's session, which the main stream reads and parks, waits for it.
#
# Not a regress test: it needs running workers, and kills one.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.somabrain_concurrency' => 8, 'somamem.somabrain_batch_items' => 1,
	'somamem.somabrain_timeout' => '60s', 'somamem.retry_initial' => '1ms', 'somamem.retry_max' => '10ms',
	'somamem.max_attempts' => 1000);
my $flood = 5_000;

sub sql { my ($statement) = @_; return $node->safe_psql('postgres', $statement); }

sub write_sql
{
	my ($content, $session) = @_;
	return "somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content', $content, 'session_id', $session), 'loud')";
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
$brain->control(add => { mode => 'hang', content => 'stuck' });
$brain->control(add => { mode => 'status', status => 500, content => 'shaky' });
$brain->control(delay_ms => 20);
sql('BEGIN; SELECT count(*) FROM (SELECT ' . write_sql("'flood ' || g", "'f' || g % 50")
	. " FROM generate_series(1, $flood) g) w; SELECT " . write_sql("'stuck'", "'x'") . '; SELECT '
	. write_sql("'shaky'", "'s'") . '; COMMIT');
ok(poll_sql($node, "SELECT count(*) FROM somamem.detour WHERE tenant = 'loud'", expected => 1), 'a flood is on a detour');
$brain->control(delay_ms => 0);
ok(poll('the flood arrives', sub { return $brain->counts->{distinct} >= $flood; }), 'the flood arrives');
ok(poll_sql($node, "SELECT count(*) FROM somamem.detour WHERE tenant = 'loud' AND until_snapshot IS NOT NULL", expected => 1),
	'its detour has read all, and waits for two rows');

# A row fails by itself only where others pass meanwhile.
ok(poll('the shaky row has failed', sub {
	write_rows($node, 'quiet', 'q', 'passes');
	return ($brain->counts->{statuses}->{500} // 0) >= 3;
}), 'one of them fails');
my ($later) = write_rows($node, 'loud', 's', 'later');
ok(poll_sql($node, "SELECT state FROM somamem.parked WHERE id = $later", expected => 'behind'), 'a later row of its session is parked');
foreach my $n (1 .. 3)
{
	my ($witness) = write_rows($node, 'quiet', 'q', "witness $n");
	is(sql("SELECT somamem.wait_for($witness)"), 't', 'the shipper goes on');
}
is(scalar(grep { $_ eq 'later' } $brain->contents('s')), 0, 'and stays there');

$brain->control(mode => 'ok');
kill 'KILL', courier_pid($node, 'somabrain');
ok(drained($node), 'everything is delivered in the end');
is_deeply([ $brain->contents('s') ], [ 'shaky', 'later' ], 'in order');

$node->stop;
done_testing();
