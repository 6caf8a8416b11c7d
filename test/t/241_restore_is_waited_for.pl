# Restores while workers look, in the orders that a plain one never has: a parallel one with
# both sinks on, the sequence before the rows, the rows before their log, and a worker that
# starts in between.  What was delivered is not sent again; parked rows and dead letters come
# along.
#
# Not a regress test: it needs several servers.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

# The tests' own name would hide that of pg_restore, by which workers know it.
delete $ENV{PGAPPNAME};
my @settings = ('somamem.max_attempts' => 100, 'somamem.retry_initial' => '500ms', 'somamem.retry_max' => '1s');
my $brain = Somamem::Brain->new;
my $source = new_server('source', brain => $brain, topic => Somamem::Topic->new, @settings);
ok(shippers_run($source), 'the shippers run');
write_rows($source, 't', 's' . $_ % 7, "old $_") foreach 1 .. 40;
# Segments, so that several tables have rows.
$source->safe_psql('postgres', "UPDATE somamem.segment SET sealed_at = now() WHERE segment = 0;"
	. "UPDATE somamem.segment SET opened_at = now() WHERE segment = 1");
restart_killed($source);
write_rows($source, 't', 's' . $_ % 7, "old $_") foreach 41 .. 80;
is($source->safe_psql('postgres', 'SELECT count(DISTINCT segment) FROM somamem.outbox'), 2, 'rows are in two segments');
$brain->control(mode => 'status', status => 422, content => 'bad');
write_rows($source, 't', 'bad', 'bad');
ok(poll_sql($source, 'SELECT count(*) FROM somamem.dead_letter', expected => 1), 'one row is refused');
$brain->control(mode => 'ok');
ok(drained($source), 'the others are delivered');
$source->safe_psql('postgres', 'SELECT ' . write_memory('t', 'later', 'delayed', "deliver_after => now() + interval '20 s'"));
ok(poll_sql($source, 'SELECT count(*) FROM somamem.parked', expected => 2), 'one waits for its time at both sinks');
$brain->control(mode => 'down');
write_rows($source, 't', 's' . $_ % 7, "pending $_") foreach 1 .. 20;
my $last = $source->safe_psql('postgres', 'SELECT max(id) FROM somamem.outbox');
is($source->safe_psql('postgres', "SELECT somamem.wait_for($last, 'kafka')"), 't', 'the last are pending at one sink');
my $custom = scratch('dump.custom');
my $plain = scratch('dump.sql');
$source->command_ok([ 'pg_dump', '-Fc', '-d', $source->connstr('postgres'), '-f', $custom ], 'a dump is made');
command_ok([ 'pg_restore', '-f', $plain, $custom ], 'and turned into a script');
$source->stop;

my @pending = (map { "pending $_" } 1 .. 20);

sub restored_once
{
	my ($target, $other, $title) = @_;

	is($target->safe_psql('postgres', "SELECT string_agg(payload ->> 'content', ',') FROM somamem.dead_letters"), 'bad',
		"$title: the dead letter came along");
	my ($new) = write_rows($target, 't', 's1', 'new');
	cmp_ok($new, '>', $last, "$title: ids go on");
	ok(drained($target), "$title: all is delivered");
	is_deeply([ sort $other->contents ], [ sort @pending, 'delayed', 'new' ], "$title: what was pending or parked, and nothing else");
	is($other->counts->{repeats}, 0, "$title: once");
	return;
}

sub pause_restore
{
	my ($target, $sink) = @_;
	my $pid = worker_pid($target, $sink);

	# Its successor begins in the middle of the restore, and looks.
	$target->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") if $pid;
	return poll_sql($target, "SELECT count(*) FROM somamem.workers w JOIN pg_stat_activity a USING (pid)"
			. " WHERE w.sink = '$sink' AND w.state = 'running' AND w.pid <> " . ($pid // 0)
			. " AND a.state_change > a.backend_start + interval '1.2 s'", expected => 1,
		what => 'another shipper has looked');
}

# --- in parallel, into a server whose sinks are there -----------------------------
my $other = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $target = new_server('parallel', brain => $other, topic => $topic, no_extension => 1, @settings);
$target->command_ok([ 'pg_restore', '-j', 4, '-d', $target->connstr('postgres'), $custom ], 'a parallel restore, sinks on');
restored_once($target, $other, 'parallel');
is_deeply([ sort map { $_->{value}->{payload}->{content} } $topic->messages ], [ qw(delayed new) ],
	'parallel: a sink that had all gets what was parked and what is new');
$target->stop;
$other->kill_it;

# --- pg_restore: sequence first, log last -----------------------------------------------
my ($list, $err) = ('', '');
IPC::Run::run([ 'pg_restore', '-l', $custom ], '>', \$list, '2>', \$err) or die "no list: $err";
my @lines = grep { /^\d/ } split /\n/, $list;
my @log = map { my $table = $_; grep { / TABLE DATA somamem $table / } @lines } qw(shipment parked dead_letter);
my @sequence = grep { / SEQUENCE SET somamem / } @lines;
my @extension = grep { / EXTENSION / && !/ COMMENT / } @lines;
my @rows = grep { / TABLE DATA somamem (outbox|idempotency)/ } @lines;
my $order = scratch('order.list');
append_to_file($order, join "\n", @extension, @sequence, @rows, @log, '');
$other = Somamem::Brain->new;
$target = new_server('reversed', brain => $other, no_extension => 1, @settings);
# The log is held up by a lock, for as long as it takes a new worker to look.
$target->safe_psql('postgres', 'CREATE EXTENSION somamem');
my $lock = $target->background_psql('postgres');
$lock->query_safe('BEGIN; LOCK TABLE somamem.shipment IN SHARE MODE');
my $restore = start_program($target->config_data('--bindir') . '/pg_restore', '-L', $order, '-d', $target->connstr('postgres'), $custom);
ok(poll_sql($target, 'SELECT count(*) > 80 FROM somamem.outbox'), 'rows are restored before their log');
ok(pause_restore($target, 'somabrain'), 'a worker starts meanwhile');
is($other->counts->{items}, 0, 'it sends nothing yet');
$lock->query_safe('COMMIT');
$lock->quit;
poll('the restore ends', sub { return !still_runs($restore); });
restored_once($target, $other, 'reversed');
$target->stop;
$other->kill_it;

# --- a script, and a worker that starts when the log is there and the sequence is not -----------
(my $script = slurp_file($plain)) =~ s/^\\(un)?restrict .*//mg;
my ($first, $second) = $script =~ /\A(.*?)(^SELECT pg_catalog\.setval\('somamem.*)\z/ms;
ok($second, 'a script sets the sequences after the rows');
my @part = (scratch('first.sql'), scratch('second.sql'));
append_to_file($part[0], $first);
append_to_file($part[1], $second);
$other = Somamem::Brain->new;
$target = new_server('script', brain => $other, no_extension => 1, @settings);
$target->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('postgres'), '-f', $part[0] ], 'rows and log are restored');
ok(pause_restore($target, 'somabrain'), 'a worker starts before the sequence is set');
$target->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('postgres'), '-f', $part[1] ], 'the sequence is set');
restored_once($target, $other, 'script');
$target->stop;
done_testing();
