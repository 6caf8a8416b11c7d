# A service that is away: the lag rises and falls to 0, health follows, nothing is written per
# row while it lasts, and the first delivery comes soon after.  Every kind of being away.
#
# Not a regress test: it takes the sinks away.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Broker;
use Somamem::Topic;
use Test::More;
use Time::HiRes qw(time);

need_kafka();

my $broker = Somamem::Broker->new;
my $brain = Somamem::Brain->new;
my $topic = Somamem::Topic->new(bootstrap => $broker->bootstrap);
my $node = new_server('main', brain => $brain, topic => $topic,
	'somamem.somabrain_timeout' => '1s', 'somamem.lag_warning' => '1s', 'somamem.lag_critical' => '2s',
	'somamem.retry_initial' => '1s', 'somamem.retry_max' => '60s', autovacuum => 'off');
my $written = 0;

sub health
{
	return decode($node->safe_psql('postgres', 'SELECT somamem.health()'));
}

sub write_some
{
	write_rows($node, 't', 's' . $_ % 5, "row $_") foreach $written + 1 .. $written + 20;
	$written += 20;
	return;
}

# The end of the transactions that had an id: whoever writes moves it.
sub footprint
{
	return $node->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())');
}

sub lag
{
	my ($sink) = @_;
	return $node->safe_psql('postgres', "SELECT lag_seconds FROM somamem.outbox_status WHERE sink = '$sink'");
}

sub outage
{
	my ($title, $sink, $away, $back, $within) = @_;

	$away->();
	write_some();
	ok(poll("the lag of $sink exceeds 2 s", sub { return lag($sink) > 2; }), "$title: the lag rises");
	my $health = health();
	is($health->{status}, 'down', "$title: health is down");
	like($health->{components}->{$sink}->{status}, qr/degraded|down/, "$title: and says which sink");
	is($health->{components}->{$sink}->{pending}, 20, "$title: and how much waits");
	ok($health->{components}->{$sink}->{last_error}, "$title: and why");

	# The other sink has everything; from here on nothing may be written.
	my ($other) = grep { $_ ne $sink } qw(somabrain kafka);
	ok(poll_sql($node, "SELECT lag_seconds = 0 FROM somamem.outbox_status WHERE sink = '$other'"),
		"$title: the other sink goes on");
	my $before = footprint();
	my $lag = lag($sink);
	ok(poll('the outage lasts', sub { return lag($sink) > $lag + 2; }), "$title: and lasts");
	is(footprint(), $before, "$title: nothing is written meanwhile");

	my $successes = $node->safe_psql('postgres', "SELECT last_success_at FROM somamem.workers WHERE sink = '$sink'");
	my $start = time;
	$back->();
	ok(poll('a delivery', sub {
				return $node->safe_psql('postgres',
					"SELECT last_success_at FROM somamem.workers WHERE sink = '$sink'") ne $successes; }),
		"$title: deliveries begin again");
	my $took = time - $start;
	note(sprintf '%s: first delivery after %.2f s', $title, $took);
	cmp_ok($took, '<', $within, "$title: soon");
	ok(poll_sql($node, "SELECT bool_and(lag_seconds = 0 AND pending = 0) FROM somamem.outbox_status"),
		"$title: the lag falls to 0");
	ok(poll('health is ok', sub { return health()->{status} eq 'ok'; }), "$title: health is ok again");
	return;
}

sub brain_outage
{
	my ($title, $within, %fault) = @_;

	outage($title, 'somabrain', sub { $brain->control(%fault); }, sub { $brain->control(mode => 'ok'); }, $within);
	return;
}

ok(shippers_run($node), 'the shippers run');
write_some();
ok(drained($node), 'all is well at first');
is(health()->{status}, 'ok', 'health is ok');

# The promise is 2 s; the machine may be busy.
brain_outage('refused', 6, mode => 'down');
brain_outage('503', 6, mode => 'status', status => 503);
brain_outage('hang', 6, mode => 'hang');
brain_outage('unauthorized', 6, mode => 'status', status => 401);

# Retry-After is obeyed, without a probe: no request until it is over.
my @forms = ([ 'seconds' => 8 ], [ 'a date' => sub { return HTTP::Date_in(8); } ]);
sub HTTP::Date_in
{
	my ($seconds) = @_;
	my @t = gmtime(CORE::time() + $seconds);
	return sprintf '%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $t[6] ], $t[3],
		(qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $t[4] ], $t[5] + 1900, @t[ 2, 1, 0 ];
}
foreach my $form (@forms)
{
	my ($name, $value) = @$form;
	my $requests;

	$value = $value->() if ref $value;
	$brain->control(mode => 'status', status => 503, retry_after => $value);
	my $start = time;
	write_some();
	ok(poll('the first answer', sub { return ($brain->counts->{statuses}->{503} // 0) > 0; }), "Retry-After in $name: told");
	$requests = $brain->counts->{requests}->{batch};
	ok(poll('the lag', sub { return lag('somabrain') > 4; }), "Retry-After in $name: waits");
	cmp_ok($brain->counts->{requests}->{batch}, '<=', $requests + 8, "Retry-After in $name: without a probe");
	$brain->control(mode => 'ok');
	ok(drained($node), "Retry-After in $name: goes on");
	cmp_ok(time - $start, '>=', 6, "Retry-After in $name: not before it was over");
}

# A broker that is killed and comes back, with its port and its data.
outage('broker', 'kafka', sub { $broker->kill_it; }, sub { $broker->start; }, 60);

# The age of what waits is known to a server that was restarted meanwhile.
$brain->control(mode => 'down');
write_some();
ok(poll('the lag', sub { return lag('somabrain') > 2; }), 'the lag rises');
my $lag = lag('somabrain');
restart_killed($node);
ok(poll('the lag', sub { return (lag('somabrain') || 0) >= $lag; }, seconds => 20), 'and is not forgotten by a crash');
is($node->safe_psql('postgres', "SELECT pending FROM somamem.outbox_status WHERE sink = 'somabrain'"),
	20, 'nor is how much waits');
$brain->control(mode => 'ok');

ok(drained($node), 'the backlog drains');
my $result = history(written => [ outbox_log($node) ], brain => $brain, topic => $topic);
is_clean($result, 'after all outages');
is($brain->counts->{violations}, 0, 'no request broke the contract')
	or diag($brain->counts->{first_violation});

$node->stop;
done_testing();
