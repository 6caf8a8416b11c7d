# A row that hangs holds up its session and nothing else: not the window, not the record of
# what is delivered behind it, not the end of another tenant's detour; after a restart nothing
# of that is sent again.
#
# Not a regress test: it needs running workers, and kills them.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, restart_after_crash => 'on',
	'somamem.somabrain_concurrency' => 4, 'somamem.somabrain_timeout' => '60s');
my $flood = 9_000;

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
$brain->control(add => { mode => 'hang', content => 'stuck' });
$brain->control(add => { mode => 'ok', delay_ms => 20 });
write_rows($node, 'stuck', 's', 'stuck');
$node->safe_psql('postgres', <<"SQL");
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'flood ' || g), 'loud', 's' || g % 50) FROM generate_series(1, $flood) g) w
SQL
ok(poll('the flood arrives', sub { return $brain->counts->{distinct} >= $flood; }, last => sub { return $brain->counts->{distinct}; }),
	'a flood passes a row that is stuck');
ok(poll_sql($node, "SELECT string_agg(tenant || ' ' || state, ',') FROM somamem.parked", expected => 'stuck sent'),
	'which is set aside, still under way');
ok(poll_sql($node, 'SELECT count(*) FROM somamem.detour', expected => 0), 'the flood\'s detour is over');
my ($later) = write_rows($node, 'loud', 's1', 'after it');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($later)"), 't', 'what its tenant writes now is recorded');
my ($behind) = write_rows($node, 'stuck', 's', 'behind the stuck one');
is(status_of($node, $behind), 'somabrain pending', 'its own session waits');

my $before = $brain->counts->{repeats};
kill 'KILL', worker_pid($node, 'somabrain');
$brain->control(mode => 'ok');
ok(drained($node), 'after a restart everything is delivered');
is($brain->counts->{repeats} - $before, 0, 'and nothing that was recorded is sent again');
is($brain->counts->{distinct}, $flood + 3, 'nothing is missing');
is_deeply([ $brain->contents('s') ], [ 'stuck', 'behind the stuck one' ], 'in order');

$node->stop;
done_testing();
