# /metrics has the metrics of observability/metrics.txt, with their types and labels, and no other;
# and what they say is what happened.
#
# Not a regress test: it needs a web worker, and sinks that fail.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Metrics;
use Test::More;

my $brain = Somamem::Brain->new;
my $dead = '127.0.0.1:' . free_port();
my $metrics = Somamem::Metrics->new('127.0.0.1:' . free_port());
my $node = new_server('main',
	brain => $brain,
	'somamem.metrics_listen' => $metrics->address,
	'somamem.kafka_brokers' => $dead,
	'somamem.lag_critical' => '2s',
	'somamem.metrics_tenants' => 2);

sub sql { return $node->safe_psql('postgres', $_[0]); }

my @brain = (database => 'postgres', sink => 'somabrain');

ok(shippers_run($node), 'the shippers run');
ok($metrics->reaches(0, 'memory_write_outbox_pending_total', @brain, tenant => 'other'), 'and have counted what is pending: nothing');

# --- what happened -----------------------------------------------------------------

write_rows($node, 'a "b\\', 's', 'one', 'two');
write_rows($node, 'c', 's', 'three');
ok($metrics->reaches(3, 'memory_persistence_duration_seconds_count', @brain, status => 'delivered'), 'deliveries are counted');
is($metrics->value('memory_write_outbox_pending_total', @brain, tenant => 'c'), 0, 'nothing is pending');
cmp_ok($metrics->value('memory_wal_lag_seconds', @brain), '==', 0, 'nor late');
is($metrics->value('memory_write_outbox_pending_total', database => 'postgres', sink => 'kafka', tenant => 'a \\"b\\\\'), 2,
	'what a dead sink is owed stands by tenant, whatever his name');
cmp_ok($metrics->value('memory_wal_lag_seconds', database => 'postgres', sink => 'kafka'), '>', 0, 'and is late');
ok($metrics->reaches(2, 'memory_circuit_state', database => 'postgres', sink => 'kafka'), 'its circuit is open');
is($metrics->value('chaos_events_total', component => 'kafka', kind => 'circuit_open'), 1, 'an outage is seen');
is($metrics->value('outbox_batch_size_sum', @brain), 3, 'rows of batches');
cmp_ok($metrics->value('outbox_processing_duration_seconds_sum', @brain), '>', 0, 'take the worker time');
is($metrics->value('outbox_processing_duration_seconds_count', @brain), $metrics->value('outbox_batch_size_count', @brain),
	'each of them');
is($metrics->value('memory_policy_decisions_total', database => 'postgres', action => 'memory.write', decision => 'allow'), 3,
	'decisions are counted');
is($metrics->value('memory_policy_decision_duration_seconds_count', engine => 'builtin'), 3, 'and timed');
sql("SELECT somamem.authorize('{\"action\": \"nonsense\"}')");
is($metrics->value('memory_policy_decisions_total', database => 'postgres', action => 'other', decision => 'deny'), 1,
	'refusals, too');

$brain->control(mode => 'status', status => 422, tenant => 'bad');
write_rows($node, 'bad', 's', 'refused');
ok($metrics->reaches(1, 'memory_dead_letters_total', @brain), 'dead letters are counted');
is($metrics->value('memory_dlq_depth', @brain), 1, 'and kept');
is($metrics->value('memory_write_outbox_pending_total', database => 'postgres', sink => 'kafka', tenant => 'other'), 1,
	'a tenant more than are counted is another one');
is($metrics->value('memory_persistence_duration_seconds_count', @brain, status => 'dead'), 1, 'and timed');
sql("SELECT somamem.discard('somabrain', id) FROM somamem.dead_letters");
ok($metrics->reaches(0, 'memory_dlq_depth', @brain), 'a discarded one is not kept');
is($metrics->value('memory_dead_letters_total', @brain), 1, 'but was one');

# --- an outage, and its end ------------------------------------------------------------

is($metrics->value('memory_retry_attempts_total', @brain), 0, 'nothing was tried again yet');
$brain->control(mode => 'down');
write_rows($node, 'c', 's', 'waits');
ok($metrics->reaches(2, 'memory_circuit_state', @brain), 'the circuit opens');
ok($metrics->reaches(1, 'sla_violations_total', @brain, threshold_type => 'max_30s'), 'a lag above the limit is a violation');
is($metrics->value('chaos_events_total', component => 'somabrain', kind => 'circuit_open'), 1, 'the outage is counted');
is($metrics->value('chaos_recovery_duration_seconds_count', component => 'somabrain'), 0, 'and is not over');
cmp_ok($metrics->value('memory_retry_attempts_total', @brain), '>', 0, 'it is tried again');
$brain->control(mode => 'ok');
ok($metrics->reaches(1, 'chaos_recovery_duration_seconds_count', component => 'somabrain'), 'it ends');
cmp_ok($metrics->value('chaos_recovery_duration_seconds_sum', component => 'somabrain'), '>', 2, 'and was as long as the lag was');
ok($metrics->reaches(0, 'memory_wal_lag_seconds', @brain), 'which is over, too');
kill 'KILL', courier_pid($node, 'somabrain');
ok($metrics->reaches(1, 'chaos_events_total', component => 'somabrain', kind => 'courier_lost'), 'a lost courier is an outage');
ok($metrics->reaches(2, 'chaos_recovery_duration_seconds_count', component => 'somabrain'), 'that ends');
sql("SELECT somamem.pause('somabrain')");
ok($metrics->reaches(1, 'memory_sink_paused', @brain), 'a pause is seen');
sql("SELECT somamem.resume('somabrain')");
ok($metrics->reaches(0, 'memory_sink_paused', @brain), 'and its end');

# --- late rows violate the service level ---------------------------------------------------

set_now($node, sla_p50 => '1ms', sla_p95 => '1ms', health_interval => '1s');
$brain->control(delay_ms => 50);
write_rows($node, 'c', 's', map { "slow $_" } 1 .. 8);
foreach my $type ('p50_1s', 'p95_5s')
{
	ok(poll("violations of $type are counted while they last",
			sub { return $metrics->value('sla_violations_total', @brain, threshold_type => $type) >= 2; }),
		"violations of $type are counted while they last");
}

# --- names, types, labels -----------------------------------------------------------------

my %named = map { my ($name, $type, $labels) = split / /; ($name => "$type $labels") }
	grep { !/^#/ } split /\n/, slurp_file(root_folder() . '/observability/metrics.txt');
my $text = $metrics->get('/metrics')->{content};
my %found = map { my ($name, $type) = /^# TYPE (\S+) (\S+)$/; ($name => $type) } grep { /^# TYPE/ } split /\n/, $text;
my %labels;
foreach my $sample ($metrics->samples)
{
	my ($name, $label) = @$sample;
	(my $family = $name) =~ s/_(bucket|sum|count)$//;
	$family = $name unless exists $found{$family};
	$labels{$family}->{ join(',', sort grep { $_ ne 'le' } keys %$label) } = 1;
}
is_deeply({ map { ($_ => "$found{$_} " . join(' or ', sort keys %{ $labels{$_} })) } keys %found },
	{ map { my ($type, $l) = split / /, $named{$_}; ($_ => "$type " . join(',', sort split /,/, $l)) } keys %named },
	'every metric has its type and labels, and there is no other');
is(scalar(grep { /^# HELP \S+ .+\.$/ } split /\n/, $text), scalar keys %named, 'each says what it is');
my $open = $metrics->get('/metrics', Accept => 'application/openmetrics-text; version=1.0.0');
like($open->{content}, qr/^# TYPE sla_violations counter\n(?:.*\n)*# EOF\n\z/m, 'OpenMetrics has its own form, and an end');

SKIP:
{
	my $promtool = (grep { -x "$_/promtool" } split /:/, $ENV{PATH})[0];

	die 'no promtool, and CI must not skip' if !$promtool && ($ENV{CI} // '') eq 'true';
	skip 'no promtool here', 1 unless $promtool;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'promtool', 'check', 'metrics' ], \$text, \$out, \$err);
	# The contract's name for a gauge.
	is($out . $err, qq{memory_write_outbox_pending_total non-counter metrics should not have "_total" suffix\n},
		'promtool finds nothing else to say');
}

# --- other databases, sinks that are off, a crash -----------------------------------------------

sql('CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION somamem');
ok($metrics->reaches(1, 'memory_worker_running', database => 'second', sink => 'somabrain'), 'another database has its own');
$node->safe_psql('second', "SELECT somamem.authorize('{\"action\": \"nonsense\"}')");
my $decided = $metrics->value('memory_policy_decision_duration_seconds_count', engine => 'builtin');
$node->safe_psql('second', 'DROP EXTENSION somamem');
ok(poll('the figures of a database without the extension are gone',
		sub { return !grep { ($_->[1]->{database} // '') eq 'second' } $metrics->samples; }),
	'until it has the extension no more');
is($metrics->value('memory_policy_decision_duration_seconds_count', engine => 'builtin'), $decided,
	'what was counted of all databases does not go back');
set_now($node, kafka_brokers => '');
ok(poll('a sink that is off has no figures', sub { return !grep { ($_->[1]->{sink} // '') eq 'kafka' } $metrics->samples; }),
	'a sink that is off has none');
$brain->control(mode => 'down');
write_rows($node, 'c', 's', 'left');
# One that reads nothing before its sink has said what it has.
configure($node, 'somamem.kafka_brokers' => $dead, 'somamem.kafka_exactly_once' => 'on');
restart_killed($node);
ok($metrics->reaches(1, 'memory_write_outbox_pending_total', @brain, tenant => 'c'), 'after a crash what is pending is known');
cmp_ok($metrics->value('memory_wal_lag_seconds', @brain), '>', 0, 'and for how long');
ok($metrics->reaches(1, 'memory_worker_running', database => 'postgres', sink => 'kafka'), 'also by a worker');
cmp_ok($metrics->value('memory_wal_lag_seconds', database => 'postgres', sink => 'kafka'), '>', 0, 'that cannot read yet');
is($metrics->value('memory_dead_letters_total', @brain), 0, 'counters begin anew');
$node->stop;

done_testing();
