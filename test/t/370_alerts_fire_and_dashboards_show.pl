# Each alert, in a real Prometheus that scrapes real servers, fires while its fault lasts and at no
# other time, and resolves; and afterwards every query of every dashboard finds something.
#
# Durations of the rules are shortened (Somamem::Prometheus), and the thresholds of the lag lowered
# from 10 and 30 s to 1 and 3 s; all else is as it is shipped.
#
# Not a regress test: it takes away sinks, policy engine, worker and server.
use strict;
use warnings;

use HTTP::Tiny;
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Opa;
use Somamem::Prometheus;
use Somamem::Topic;
use Test::More;

need_kafka();
need_opa();
need_prometheus();

my $brain = Somamem::Brain->new;
my $opa = Somamem::Opa->new;
my %address = map { $_ => '127.0.0.1:' . free_port() } qw(sinks opa worker gone);
my %node = (
	sinks => start_server('sinks', brain => $brain, topic => Somamem::Topic->new, 'somamem.policy' => 'builtin',
		'somamem.pii_filter' => 'deny', 'somamem.lag_critical' => '3s', 'somamem.health_interval' => '1s'),
	opa => start_server('opa', brain => $brain, 'somamem.policy' => 'opa', 'somamem.opa_url' => $opa->url),
	worker => start_server('worker', brain => $brain),
	gone => start_server('gone', brain => $brain));
my $prometheus = Somamem::Prometheus->new(targets => [ sort values %address ], change => \&lower_thresholds);

sub start_server
{
	my ($name, %setting) = @_;
	return new_server($name, 'somamem.metrics_listen' => $address{$name}, %setting);
}

sub lower_thresholds
{
	my ($text) = @_;
	my $lowered = ($text =~ s/memory_wal_lag_seconds > ([13])0\n/memory_wal_lag_seconds > $1\n/g) || 0;

	is($lowered, 2, 'both thresholds of the lag are lowered') if $text =~ /alert:/;
	return $text;
}

sub sql
{
	my ($name, $statement) = @_;
	return $node{$name}->safe_psql('postgres', $statement);
}

sub write_batch
{
	my ($name, $tenant, $rows) = @_;
	return sql($name, <<"SQL");
SELECT count(*) FROM somamem.memory_write_batch((SELECT jsonb_agg(jsonb_build_object('type', 'memory', 'role', 'user',
	'content', 'row ' || i, 'id', gen_random_uuid())) FROM generate_series(1, $rows) i), '$tenant', 's')
SQL
}

# Rows with an e-mail address, each refused for itself.
sub write_refused
{
	my ($name, $rows) = @_;
	my $call = write_memory('refused', 's', 'ann@example.com');

	$call =~ s/'/''/g;
	return sql($name, <<"SQL");
DO \$\$ BEGIN FOR i IN 1 .. $rows LOOP
	BEGIN EXECUTE 'SELECT $call'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
END LOOP; END \$\$
SQL
}

# Every alert that fires has texts without holes in them.
sub texts_are_whole
{
	my ($firing) = @_;
	my @texts = map { ($_->{summary}, $_->{description}) } map { @$_ } grep { ref } values %$firing;

	is(scalar(grep { !defined || /<|no value|error|\{|^\s|\s{2}|\s$|\s[,.;:)]|\(\)|^$/ } @texts), 0, 'their texts are whole') or diag(explain(\@texts));
	note(join "\n", @texts);
	return;
}

# --- all is well ---------------------------------------------------------------------

ok(shippers_run($node{$_}, 'postgres', $_ eq 'sinks' ? 2 : 1), "the shippers of $_ run") foreach sort keys %node;
write_batch($_, 'acme', 20) foreach sort keys %node;
ok(drained($node{$_}), "$_ delivers") foreach sort keys %node;
ok($prometheus->looks(3), 'Prometheus looks at every server');
is_deeply([ sort map { "$_->{labels}->{instance} $_->{health}" } @{ $prometheus->ask('targets')->{activeTargets} } ],
	[ map { "$_ up" } sort values %address ], 'and understands what each says');
is_deeply({ $prometheus->firing }, {}, 'nothing fires');

# --- everything goes wrong at once -----------------------------------------------------

my @faults = (
	"MemoryDeadLettersGrowing instance=$address{sinks} sink=somabrain severity=warning",
	"MemoryPolicyRefusalsSurging instance=$address{sinks} database=postgres severity=warning",
	(map { "$_ instance=$address{sinks} sink=somabrain" } 'MemoryWALLagWarning severity=warning', 'MemoryWALLagCritical severity=critical',
		'MemoryOutboxBacklogWarning severity=warning', 'MemoryOutboxBacklog severity=critical',
		'MemorySLAViolation severity=critical threshold_type=max_30s', 'MemorySinkCircuitOpen severity=warning'),
	"MemorySinkPaused instance=$address{sinks} sink=kafka severity=warning",
	"MemoryPolicyEngineFailing instance=$address{opa} engine=opa severity=critical",
	"MemoryWorkerMissing instance=$address{worker} sink=somabrain severity=critical",
	"SomamemDown instance=$address{gone} severity=critical");

# A worker that hangs is missing after 15 s, so that one comes first.
my $hung = worker_pid($node{worker}, 'somabrain');
kill 'STOP', $hung or die "could not stop the shipper: $!";
$node{gone}->stop;
$opa->kill_it;
like(error_of($node{opa}, 'SELECT ' . write_memory('acme', 's', 'undecided')), qr/58000/, 'without OPA writes are refused');
write_refused('sinks', 60);
sql('sinks', "SELECT somamem.pause('kafka')");
ok(poll_sql($node{sinks}, "SELECT state = 'paused' FROM somamem.workers WHERE sink = 'kafka'"), 'Kafka is paused');
$brain->control(mode => 'status', status => 422, tenant => 'bad');
write_batch('sinks', 'bad', 3);
ok(poll_sql($node{sinks}, "SELECT count(*) FROM somamem.dead_letters WHERE sink = 'somabrain'", expected => 3), 'bad rows are dead');
my $first = $prometheus->fires([ @faults[ 0, 1 ] ]);
ok($first, 'dead letters and refusals are told of');
$brain->control(mode => 'down');
is(write_batch('sinks', 'acme', 120), 120, 'SomaBrain is away, and a backlog begins');
my $firing = $prometheus->fires([ @faults[ 2 .. $#faults ] ]);
ok($firing, 'each of the other faults is told of');
my $all = { %{ $first || {} }, %{ $firing || {} } };
texts_are_whole($all);
is_deeply([ sort grep { $_ ne '' } keys %$all ], [ sort map { /^(\w+)/ } @faults ], 'by these alerts and no others');
is_deeply([ sort map { "$_->{alertname} $_->{sink}" } grep { ($_->{sink} // '') eq 'kafka' } map { @$_ } grep { ref } values %$all ],
	['MemorySinkPaused kafka'], 'a paused sink that falls behind is told of as paused alone');
my %server = map { ("$_->{alertname} $_->{instance}" => 1) } map { @$_ } grep { ref } values %$all;
is_deeply([ sort keys %server ], [ sort map { /^(\w+) .*?instance=(\S+)/ ? "$1 $2" : () } @faults ], 'each of the server where the fault is');

# --- everything is repaired ------------------------------------------------------------

kill 'CONT', $hung;
$brain->control(mode => 'ok');
$opa->start;
$node{gone}->start;
sql('sinks', "SELECT somamem.resume('kafka')");
ok(drained($node{sinks}), 'the backlog drains');
# What was late counts for a minute; nobody waits for that here.
set_now($node{sinks}, sla_p50 => '1min', sla_p95 => '1min');
ok($prometheus->fires([], silent => 1), 'all of it resolves');

# --- the other objectives ------------------------------------------------------------------

set_now($node{sinks}, sla_p50 => '1ms', sla_p95 => '2ms');
ok($prometheus->fires([ map { "MemorySLAViolation sink=somabrain threshold_type=$_" } 'p50_1s', 'p95_5s' ]), 'slow deliveries are told of');
set_now($node{sinks}, sla_p50 => '1min', sla_p95 => '1min');
ok($prometheus->fires([], silent => 1), 'and fast ones end that');

# --- rules and dashboards ---------------------------------------------------------------

my @rules = map { @{ $_->{rules} } } @{ $prometheus->ask('rules')->{groups} };
is_deeply([ map { "$_->{name}: $_->{lastError}" } grep { $_->{health} ne 'ok' } @rules ], [], 'every rule was evaluated');
write_batch($_, 'acme', 20) foreach qw(sinks opa);
ok(drained($node{$_}), "$_ delivers") foreach qw(sinks opa);
foreach my $record (map { $_->{name} } grep { $_->{type} eq 'recording' } @rules)
{
	ok(poll("$record has a value", sub { return $prometheus->values_of($record); }), "$record has a value");
}
my $checker = root_folder() . '/observability/test/check_dashboards.py';
my ($queries, $err) = ('', '');
IPC::Run::run([ 'python3', '-B', $checker, '--queries' ], '<', \undef, '>', \$queries, '2>', \$err) or die "no queries: $err";
my @empty = grep { my ($dashboard, $panel, $expr) = split /\t/; !$prometheus->values_of($expr) } split /\n/, $queries;
cmp_ok(scalar(split /\n/, $queries), '>', 50, 'the dashboards have queries');
is_deeply(\@empty, [], 'and each finds something');

# --- what the documentation tells to type -------------------------------------------------

my $operations = slurp_file(root_folder() . '/docs/operations.md');
my ($runbooks) = $operations =~ /^## Alerts\n(.*?)^## /ms or die 'no runbooks';
my @statements = ($runbooks =~ /-c "([^"]+)"/g, $runbooks =~ /`(SELECT (?:somamem\.|\* FROM somamem\.)[^`]+)`/g);
my @patterns = $runbooks =~ /metrics \| grep '([^']+)'/g;
my $metrics = HTTP::Tiny->new(timeout => 10)->get("http://$address{sinks}/metrics")->{content};

cmp_ok(scalar @statements, '>', 20, 'runbooks have statements');
is_deeply([ map { error_of($node{sinks}, "BEGIN; $_; ROLLBACK") } @statements ], [ map { '' } @statements ], 'that run');
cmp_ok(scalar @patterns, '>', 2, 'and patterns');
foreach my $pattern (@patterns)
{
	(my $here = $pattern) =~ s/"app"/"postgres"/;
	# In grep's patterns a brace stands for itself.
	$here =~ s/\{/\\{/;
	ok($metrics =~ /$here/m, "$pattern finds something");
}
my $observability = slurp_file(root_folder() . '/docs/observability.md');
my ($questions) = $observability =~ /^## Questions and queries\n(.*?)^## /ms or die 'no questions';
my @asked = $questions =~ /^\| [^|]+ \| `([^`]+)` \|$/mg;
cmp_ok(scalar @asked, '>=', 5, 'there are queries for usual questions');
is_deeply([ grep { !$prometheus->values_of($_) } @asked ], [], 'that find something');

$_->stop foreach values %node;
done_testing();
