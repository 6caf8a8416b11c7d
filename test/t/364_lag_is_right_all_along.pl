# The lag that is shown is, within a second, the age of the oldest row that a sink has not acknowledged:
# through all that can happen to a sink, its courier and its worker, under steady writing.
#
# Not a regress test: it needs sinks that fail, and processes that are killed and frozen.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Metrics;
use Test::More;
use Time::HiRes qw(usleep);

my $brain = Somamem::Brain->new;
my $metrics = Somamem::Metrics->new('127.0.0.1:' . free_port());
my $node = new_server('main', brain => $brain, 'somamem.metrics_listen' => $metrics->address,
	'somamem.somabrain_timeout' => '500ms');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What the view says beside what the tables do, which are read at the same moment.
my $look = <<'SQL';
SELECT s.lag_seconds, coalesce(extract(epoch FROM clock_timestamp() - (SELECT min(o.created_at) FROM somamem.outbox o
		WHERE NOT EXISTS (SELECT 1 FROM somamem.dead_letter d WHERE d.id = o.id)
		AND NOT EXISTS (SELECT 1 FROM somamem.shipment p WHERE p.ids @> ARRAY[o.id]))), 0)
FROM somamem.outbox_status s
SQL

# Looks for more than a second: whether view, metric and tables agree all along.
sub agrees
{
	my ($title) = @_;
	my ($worst, $most, $metric) = (0, 0, 0);

	foreach (1 .. 12)
	{
		my ($rc, $out) = $node->psql('postgres', $look);
		my ($shown, $true) = $rc == 0 ? split /\|/, $out : (0, 0);
		my $seen = $metrics->value('memory_wal_lag_seconds', database => 'postgres');

		$worst = abs($shown - $true) if abs($shown - $true) > $worst;
		$metric = abs($seen - $true) if defined $seen && abs($seen - $true) > $metric;
		$most = $true if $true > $most;
		usleep(100_000);
	}
	note(sprintf '%s: lag up to %.1f s, shown with an error of %.2f s, by the metric of %.2f s', $title, $most, $worst, $metric);
	cmp_ok($worst, '<=', 1, "$title: the view is right");
	cmp_ok($metric, '<=', 1, "$title: the metric is right");
	return $most;
}

sub healed { return poll_sql($node, 'SELECT lag_seconds < 1 FROM somamem.outbox_status'); }

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
agrees('idle');
my $writer = start_writer($node, '-n', 1_000_000, '-c', 2, '-R', 20, '-r');
ok(poll_sql($node, 'SELECT count(*) > 20 FROM somamem.outbox'), 'somebody writes');
agrees('busy');
$brain->control(mode => 'down');
cmp_ok(agrees('sink is away'), '>', 1, 'rows wait');
$brain->control(mode => 'hang');
agrees('sink hangs');
$brain->control(mode => 'status', status => 500);
agrees('sink fails');
kill 'KILL', courier_pid($node, 'somabrain');
agrees('and its courier was killed');
kill 'STOP', (my $frozen = courier_pid($node, 'somabrain'));
agrees('and its courier is frozen');
kill 'CONT', $frozen;
kill 'STOP', ($frozen = worker_pid($node, 'somabrain'));
agrees('and its worker is frozen');
kill 'CONT', $frozen;
agrees('and its worker is back');
restart_killed($node);
ok(shippers_run($node, 'postgres', 1), 'the server crashed and came back');
agrees('after a crash');
$brain->control(mode => 'ok');
ok(healed(), 'the sink is back');
agrees('healed');
kill 'STOP', ($frozen = worker_pid($node, 'somabrain'));
cmp_ok(agrees('its worker freezes with nothing left to do'), '>', 1, 'rows wait for it');
kill 'CONT', $frozen;
ok(healed(), 'it goes on');
sql("SELECT somamem.pause('somabrain')");
agrees('paused');
sql("SELECT somamem.resume('somabrain')");
ok(healed(), 'it goes on');
$brain->control(mode => 'status', status => 429, retry_after => 3);
write_rows($node, 'held', 's', 'throttled');
agrees('throttled');
$brain->control(mode => 'ok');
ok(healed(), 'nobody is throttled any more');
$brain->control(mode => 'status', status => 500, content => 'fails alone');
write_rows($node, 'alone', 's', 'fails alone', 'waits behind it');
ok(poll_sql($node, 'SELECT count(*) >= 2 FROM somamem.parked'), 'a row fails alone, and is parked with the one behind it');
agrees('a row is parked');
$brain->control(mode => 'ok');
ok(healed(), 'all is well');
agrees('in the end');
$node->stop;

done_testing();
