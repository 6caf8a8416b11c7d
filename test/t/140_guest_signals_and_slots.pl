# The workers as guests of a server: ended and cancelled at any moment they come back and lose
# nothing; a courier that dies, or hangs, is felt by nobody else; where no worker slot is free,
# the log and the view say so, and it heals by itself.
#
# Not a regress test: it signals processes.
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
my $node = new_server('main', brain => $brain, topic => $topic);

sub changes
{
	my ($what, $probe, $action) = @_;
	my $before;

	poll("a $what runs", sub { $before = $probe->(); return $before; }) or return 0;
	$action->($before);
	return poll("another $what runs", sub { my $now = $probe->(); return $now && $now != $before; });
}

sub launcher_pid
{
	my $pid = $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'somamem launcher'");
	return $pid || undef;
}

ok(shippers_run($node), 'the shippers run');
my $writer = start_writer($node, '-n', 9000, '-c', 6, '-s', 12);
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $session = $node->background_psql('postgres');
my $session_pid = $session->query_safe('SELECT pg_backend_pid()');

foreach my $sink (qw(somabrain kafka))
{
	ok( changes("shipper of $sink", sub { return worker_pid($node, $sink); }, sub {
				my ($pid) = @_;
				$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"); }),
		"pg_terminate_backend of the shipper of $sink: it comes back");
	ok( changes("courier of $sink", sub { return courier_pid($node, $sink); }, sub {
				my ($pid) = @_;
				kill 'KILL', $pid; }),
		"kill -9 of the courier of $sink: another one comes");
	ok( changes("courier of $sink", sub { return courier_pid($node, $sink); }, sub {
				my ($pid) = @_;
				kill 'STOP', $pid; }),
		"a courier of $sink that hangs is replaced");

	my $pid = worker_pid($node, $sink);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)") foreach 1 .. 20;
	$node->reload foreach 1 .. 5;
	my ($id) = write_rows($node, 'one', 's', "after signals to $sink");
	is($node->safe_psql('postgres', "SELECT somamem.wait_for($id, '$sink', '1 min')"), 't',
		"pg_cancel_backend and reload of the shipper of $sink: deliveries go on");
	is(worker_pid($node, $sink), $pid, 'in the same process');
}
ok( changes('launcher', \&launcher_pid, sub { my ($pid) = @_; $node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"); }),
	'pg_terminate_backend of the launcher: it comes back');
$node->safe_psql('postgres', 'CREATE DATABASE late');
$node->safe_psql('late', 'CREATE EXTENSION somamem');
ok(shippers_run($node, 'late'), 'and finds a new database');

is($session->query_safe('SELECT pg_backend_pid()'), $session_pid, 'no session was disconnected');
$session->quit;
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server did not restart');
unlike(slurp_file($node->logfile), qr/terminating any other active server processes/, 'nor did a crash end its sessions');
ok(finish_program($writer), 'the writers end');
ok(drained($node), 'the backlog drains');
my $rest = outbox_log($node);
my $result = history(written => [$rest], brain => $brain, topic => $topic);
is_clean($result, 'after all signals');

# It holds a token: not even another process of the same user looks into it.
my $courier = courier_pid($node, 'somabrain');
ok(!(opendir my $files, "/proc/$courier/fd"), 'a courier can be neither read nor traced');
$node->safe_psql('late', 'DROP EXTENSION somamem');
$node->stop;

# --- no slot free ------------------------------------------------------------------
# One for the server's own logical replication launcher, one for ours, one for a shipper.
my $tight = new_server('tight', brain => $brain, topic => $topic, max_worker_processes => 3);
ok(shippers_run($tight, 'postgres', 1), 'where there is room for one shipper, one runs');
ok( poll_sql($tight, "SELECT state = 'backoff' AND last_error ~ 'max_worker_processes' FROM somamem.workers"
			. " WHERE database = 'postgres' AND pid IS NULL"),
	'somamem.workers says why the other does not');
is(decode($tight->safe_psql('postgres', 'SELECT somamem.health()'))->{status}, 'down', 'health does');
like(slurp_file($tight->logfile), qr/WARNING:  could not start .*: no background worker slot is free.*HINT:  Raise max_worker_processes/s,
	'the log does');
my ($id) = write_rows($tight, 'tight', 's', 'with one shipper');
my $first = $tight->safe_psql('postgres', "SELECT sink FROM somamem.workers WHERE state = 'running' AND sink IS NOT NULL");
my ($other) = grep { $_ ne $first } qw(somabrain kafka);
is($tight->safe_psql('postgres', "SELECT somamem.wait_for($id, '$first')"), 't', 'the one sink is served');
is(status_of($tight, $id) =~ /$other pending/ ? 1 : 0, 1, 'for the other it is pending');
configure($tight, 'somamem.sinks' => $other);
ok(poll('the other shipper runs', sub { return worker_pid($tight, $other); }), 'a slot that becomes free is taken');
is($tight->safe_psql('postgres', "SELECT somamem.wait_for($id)"), 't', 'and the row delivered');
my @said = slurp_file($tight->logfile) =~ /no background worker slot is free/g;
cmp_ok(scalar @said, '<', 6, 'the log is not flooded');
$tight->stop;
done_testing();
