# A tenant's backlog keeps nobody else waiting: another tenant's row goes before what was
# not handed to the sink yet, and the backlog's own order survives kills of couriers,
# shippers and the server, its end, and a second flood.
#
# Not a regress test: it needs running workers, and kills them.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $node = new_server('main', brain => $brain, topic => $topic, restart_after_crash => 'on',
	'somamem.somabrain_concurrency' => 2, 'somamem.max_attempts' => 1000);
my $window = 3072;

sub sql { my ($statement) = @_; return $node->safe_psql('postgres', $statement); }

sub flood
{
	my ($tenant, $rows, $mark) = @_;

	sql(<<"SQL");
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'$mark ' || g, 'session_id', 's' || g % 50), '$tenant') FROM generate_series(1, $rows) g) w
SQL
	return;
}

# Contents in the order of their first acceptance, without decoding: the rows are many.
sub accepted
{
	my %seen;
	return grep { !$seen{$_}++ } slurp_file($brain->record) =~ /"content": ?"([^"]*)"/g;
}

# How many rows SomaBrain had accepted before this one.
sub place_of
{
	my ($content) = @_;
	my $n = 0;

	foreach my $other (accepted())
	{
		return $n if $other eq $content;
		$n++;
	}
	return;
}

ok(shippers_run($node), 'the shippers run');
$brain->control(delay_ms => 100);
$brain->control(add => { mode => 'status', status => 500, content => 'one 3000' });
flood('loud', 12_000, 'one');
ok(poll('deliveries begin', sub { return $brain->counts->{distinct} > 0; }), 'a tenant floods');
my $before = $brain->counts->{distinct};
my ($single) = write_rows($node, 'quiet', 'q', 'single');
is(sql("SELECT somamem.wait_for($single, 'somabrain')"), 't', 'another tenant writes one row');
my $place = place_of('single');
note("accepted before the write $before, before its row $place");
cmp_ok($place - $before, '<=', $window, 'which waits for what is under way, not for the backlog');
cmp_ok(sql("SELECT pending FROM somamem.outbox_status WHERE sink = 'somabrain'"), '>', 12_000 - $window * 2,
	'which is still there');
ok(poll_sql($node, "SELECT string_agg(DISTINCT tenant, ',') FROM somamem.detour WHERE sink = 'somabrain'",
		expected => 'loud'), 'the tenant is on a detour');
is(status_of($node, $single), 'somabrain delivered,kafka delivered', 'status knows the one as delivered');
is(sql("SELECT d.state FROM somamem.outbox o, somamem.status(o.id) d WHERE o.payload ->> 'content' = 'one 12000' AND d.sink = 'somabrain'"),
	'pending', 'and the end of the backlog, which the position has passed by, as pending');

# A row of it that fails by itself stops its own session, and not the rest of the backlog.
ok(poll_sql($node, "SELECT state FROM somamem.parked WHERE sink = 'somabrain' AND state = 'retry'", expected => 'retry'),
	'a row of the backlog is parked');
$before = $brain->counts->{distinct};
ok(poll('more of the backlog arrives', sub { return $brain->counts->{distinct} > $before + 2_000; }), 'the rest goes on');
$brain->control(mode => 'ok');
$brain->control(delay_ms => 100);

# Two more, one of them through kills of everything that holds a detour in memory.
flood('second', 4_000, 'two');
write_rows($node, 'loud', 's1', 'loud later');
foreach my $what (qw(courier shipper postmaster))
{
	my $seen = $brain->counts->{distinct};

	ok(poll('deliveries go on', sub { return $brain->counts->{distinct} > $seen + 500; }), 'deliveries go on');
	if ($what eq 'postmaster') { restart_killed($node); }
	else
	{
		my $pid;

		poll("a $what runs", sub {
			$pid = $what eq 'courier' ? courier_pid($node, 'somabrain') : worker_pid($node, 'somabrain');
			return $pid; });
		kill 'KILL', $pid;
	}
	ok(shippers_run($node), "after a kill of the $what");
	$before = $brain->counts->{distinct};
	my ($other) = write_rows($node, "other $what", 'q', "single $what");
	is(sql("SELECT somamem.wait_for($other, 'somabrain')"), 't', 'a single row is delivered');
	cmp_ok(place_of("single $what") - $before, '<=', $window * 2, 'before the backlog');
}
$brain->control(delay_ms => 0);
ok(drained($node), 'the backlogs drain');
my @dump = (node => $node, brain => $brain, topic => $topic);
is_clean(history(@dump, written => [ outbox_log($node) ]), 'after all of that');
foreach my $session (1, 7)
{
	is_deeply([ grep { /^one (\d+)$/ && $1 % 50 == $session } accepted() ],
		[ map { "one $_" } grep { $_ % 50 == $session } 1 .. 12_000 ], 'a session of the flood kept its order');
}
cmp_ok(place_of('loud later'), '>', place_of('one 11951'), 'and what came later followed');
ok(poll_sql($node, 'SELECT count(*) FROM somamem.detour', expected => 0), 'no detour is left');
write_rows($node, 'loud', 's1', 'at last');
ok(drained($node), 'the tenant is one of all again');
is(sql('SELECT sum(pending) FROM somamem.outbox_status'), 0, 'and nothing is pending');

$node->stop;
done_testing();
