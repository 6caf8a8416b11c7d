# While both sinks accept connections and never answer: VACUUM removes dead rows, VACUUM FULL
# of the outbox, reload, DROP EXTENSION, DROP DATABASE and shutdown are not held up.
#
# Not a regress test: it needs sinks that hang, and stops the server.
use strict;
use warnings;

use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;
use Time::HiRes qw(time);

# "At once", on a machine that does other things as well.
my $at_once = 5;

my $brain = Somamem::Brain->new;
$brain->control(mode => 'hang');

# A broker that the kernel connects to and nobody serves.
my $silence = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "no socket: $!";
my $node = new_server('main', brain => $brain, 'somamem.kafka_brokers' => '127.0.0.1:' . $silence->sockport,
	'somamem.somabrain_timeout' => '1h');

sub at_once
{
	my ($title, $action) = @_;
	my $start = time;

	$action->();
	cmp_ok(time - $start, '<', $at_once, $title);
	return;
}

sub hang_in
{
	my ($database) = @_;
	my $requests = $brain->counts->{requests}->{batch};

	$node->safe_psql($database, 'SELECT count(*) FROM (SELECT ' . write_memory('t', 's', 'hangs')
			. ' FROM generate_series(1, 500)) w');
	return poll("requests of \"$database\" hang", sub { return $brain->counts->{requests}->{batch} > $requests; });
}

ok(shippers_run($node), 'the shippers run');
ok(hang_in('postgres'), 'requests hang');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'somamem%'"
		. ' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)'),
	0, 'no worker holds a transaction or a snapshot');

# Dead rows go: an emptied table shrinks to nothing only when no snapshot may still see them.
$node->safe_psql('postgres', 'CREATE TABLE dead AS SELECT g FROM generate_series(1, 10000) g; DELETE FROM dead;');
at_once('VACUUM ends', sub { $node->safe_psql('postgres', 'VACUUM dead; VACUUM somamem.outbox;'); });
is($node->safe_psql('postgres', "SELECT pg_relation_size('dead')"), 0, 'VACUUM removes rows that died meanwhile');
at_once('VACUUM FULL of the outbox ends', sub { $node->safe_psql('postgres', 'VACUUM FULL somamem.outbox'); });
at_once('exclusive locks are granted', sub {
		$node->safe_psql('postgres', 'BEGIN; LOCK TABLE somamem.outbox, somamem.shipment, somamem.parked,'
				. ' somamem.dead_letter, somamem.segment, somamem.idempotency; COMMIT;'); });

my $pid = worker_pid($node, 'somabrain');
at_once('a reload that switches a sink off stops its shipper', sub {
		configure($node, 'somamem.sinks' => 'kafka');
		poll('the shipper ends', sub { return !-d "/proc/$pid"; }); });
at_once('and one that switches it on starts it', sub {
		configure($node, 'somamem.sinks' => 'somabrain,kafka');
		poll('the shipper starts', sub { return worker_pid($node, 'somabrain'); }); });
is($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.outbox'), 500, 'the backlog is untouched');

# CREATE EXTENSION, hang, DROP EXTENSION; and the same by DROP DATABASE.
$node->safe_psql('postgres', 'CREATE DATABASE victim');
$node->safe_psql('victim', 'CREATE EXTENSION somamem');
ok(shippers_run($node, 'victim'), 'the shippers of another database run');
ok(hang_in('victim'), 'requests hang there, too');
my @pids = map { worker_pid($node, $_, 'victim') } qw(somabrain kafka);
my @couriers = map { courier_pid($node, $_, 'victim') } qw(somabrain kafka);
at_once('DROP EXTENSION ends', sub { $node->safe_psql('victim', 'DROP EXTENSION somamem'); });
ok(poll('they end', sub { return !grep { -d "/proc/$_" } @pids, @couriers; }), 'its workers and couriers end');
$node->safe_psql('victim', 'CREATE EXTENSION somamem');
ok(shippers_run($node, 'victim'), 'CREATE EXTENSION brings them back');
ok(hang_in('victim'), 'requests hang again');
@couriers = map { courier_pid($node, $_, 'victim') } qw(somabrain kafka);
at_once('DROP DATABASE ends', sub { $node->safe_psql('postgres', 'DROP DATABASE victim'); });
ok(poll('they end', sub { return !grep { -d "/proc/$_" } @couriers; }), 'its couriers end');

is(worker_pid($node, 'somabrain') ? 1 : 0, 1, 'the first database is still served');
@couriers = map { courier_pid($node, $_) } qw(somabrain kafka);
at_once('fast shutdown ends', sub { $node->stop('fast'); });
ok(poll('they end', sub { return !grep { -d "/proc/$_" } @couriers; }), 'no courier survives the server');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|server process .* was terminated by signal/, 'nothing crashed');
done_testing();
