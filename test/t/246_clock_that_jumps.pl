# The server's clock jumps, forward and back, while rows are under way, parked, held and
# delayed: nothing stands still until the clock has caught up, no healthy courier is taken for
# a silent one, and what was written for later is due by the clock that the server has.
#
# Not a regress test: it sets the clock of its server.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

use constant FLOOD => 2500;

my $clock = scratch('clock');
my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.max_attempts' => 1000,
	'somamem.somabrain_timeout' => '120s', no_start => 1);
my $log_end = 0;
my @logs;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# In place: the server has the file mapped.
sub set_clock
{
	my ($hours) = @_;

	open my $file, (-e $clock ? '+<' : '>'), $clock or die "could not set the clock: $!";
	syswrite $file, pack('q', $hours * 3600) or die "could not set the clock: $!";
	close $file;
	return;
}

sub arrived
{
	my ($content) = @_;
	return scalar grep { $_ eq $content } $brain->contents;
}

# Rows of every kind stand before the jump, and are written during it and after it.
sub stand_ready
{
	my ($turn) = @_;

	my %ready = (turn => $turn);

	$brain->control(mode => 'status', status => 500, content => 'again');
	my ($again) = write_rows($node, 'acme', 'a', "$turn again", "$turn next");
	# A row has failed by itself only if others pass.
	ok(poll("$turn: a row is tried again",
			sub {
				write_rows($node, 'acme', 'p', "$turn, passing");
				return status_of($node, $again) eq 'somabrain in_retry'; }),
		"$turn: a row is tried again");
	$ready{writer} = start_writer($node, '-n', 400, '-c', 2, '-R', 200, '-s', 10);
	push @logs, $ready{writer}->{log};
	$ready{open} = $node->background_psql('postgres');
	$ready{open}->query_safe('BEGIN; SELECT ' . write_memory('open', 'o', "$turn open"));
	$brain->control(add => { mode => 'status', status => 429, retry_after => 3, tenant => 'held' });
	write_rows($node, 'held', 'h', "$turn held", "$turn held, next");
	sql("SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',"
			. " '$turn flood ' || g), 'held', 'f' || g % 60) FROM generate_series(1, " . FLOOD . ') g) w') if $turn eq '-1 h';
	ok(poll_sql($node, "SELECT string_agg(DISTINCT state, ',' ORDER BY state) FROM somamem.parked WHERE state <> 'delayed'",
			expected => 'behind,held,retry'),
		"$turn: rows are held, tried again, and behind those");
	return \%ready;
}

# No row is left but those whose time has not come.
sub all_gone
{
	my ($ready, $delayed) = @_;
	my $turn = $ready->{turn};
	my $left = '';

	$brain->control(mode => 'ok');
	is(sql('SELECT bool_and(lag_seconds >= 0) FROM somamem.outbox_status'), 't', "$turn: the lag is not negative");
	$ready->{open}->query_safe('COMMIT');
	$ready->{open}->quit;
	ok(finish_program($ready->{writer}), "$turn: writes go on");
	ok(poll("$turn: only delayed rows are left",
			sub { $left = undelivered($node) // 'unknown'; return $left eq $delayed; }, last => sub { return "$left left"; }),
		"$turn: nothing is stuck");
	is(sql("SELECT count(*) FROM somamem.parked WHERE state = 'delayed'"), $delayed, "$turn: and what is not due waits");
	is(sql('SELECT bool_and(lag_seconds = 0) FROM somamem.outbox_status'), 't', "$turn: without a lag");
	return;
}

sub jumps_in_log
{
	my @lines = slurp_file($node->logfile, $log_end) =~ /LOG:  system clock jumped by (-?\d+)/g;
	return \@lines;
}

set_clock(0);
{
	local $ENV{LD_PRELOAD} = tool('clock.so');
	local $ENV{SMEM_TEST_CLOCK} = $clock;
	$node->start;
}
sql('CREATE EXTENSION somamem');
ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

# --- forward -----------------------------------------------------------------

my ($soon) = split /\n/, sql('SELECT id FROM ' . write_memory('later', 'l', 'soon', "deliver_after => clock_timestamp() + '30 min'"));
my ($far) = split /\n/, sql('SELECT id FROM ' . write_memory('later', 'l', 'far', "deliver_after => clock_timestamp() + '90 min'"));
my $ready = stand_ready('+1 h');
my $courier = courier_pid($node, 'somabrain');
is(arrived('soon'), 0, 'a row for later waits');
my $before = sql('SELECT clock_timestamp()');
set_clock(1);
is(sql("SELECT clock_timestamp() - '$before' > '59 min'"), 't', 'the clock has jumped');
all_gone($ready, 1);
ok(arrived('soon'), 'what is due by the server\'s clock is delivered');
is(courier_pid($node, 'somabrain'), $courier, 'by the same courier');

# --- back, with a caller that waits --------------------------------------------

$ready = stand_ready('-1 h');
my $waiting = start_program('psql', '-X', '-A', '-t', '-d', $node->connstr('postgres'),
	'-c', "SELECT somamem.wait_for($far, NULL, '3 s')");
ok(poll_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT somamem.wait_for($far%' AND wait_event = 'Extension'",
		expected => 1), 'a caller waits');
set_clock(-1);
my ($later) = split /\n/, sql('SELECT id FROM ' . write_memory('later', 'l', 'later', "deliver_after => clock_timestamp() + '30 min'"));
all_gone($ready, 2);
is(courier_pid($node, 'somabrain'), $courier, 'the courier is the same');
ok(finish_program($waiting), 'the caller waits no longer than he said');
is(slurp_file($waiting->{out}), "f\n", 'in vain');

# --- forward again: as it should be -----------------------------------------------

$ready = stand_ready('right');
set_clock(0);
all_gone($ready, 1);
ok(arrived('later'), 'what is due by now is delivered');
is(courier_pid($node, 'somabrain'), $courier, 'by the same courier');
is_deeply([ map { sprintf '%.0f', $_ / 3600 } @{ jumps_in_log() } ], [ 1, -2, 1 ], 'each jump is in the log, once');

# --- back, while no shipper runs ----------------------------------------------------

$ready = stand_ready('back, without a shipper');
sql('ALTER TABLE somamem.parked RENAME TO parked_away');
ok(poll('it has failed often', sub { return (() = slurp_file($node->logfile) =~ /ERROR:  relation "somamem.parked" does not exist/g) >= 4; }),
	'the shipper fails');
ok(poll_sql($node, "SELECT state FROM somamem.workers WHERE sink = 'somabrain'", expected => 'backoff'),
	'and is not to be started again at once');
sql('ALTER TABLE somamem.parked_away RENAME TO parked');
set_clock(-2);
ok(shippers_run($node, 'postgres', 1), 'but not as late as the old clock would have it');
all_gone($ready, 1);

# --- back, with a row that hangs -------------------------------------------------------

$brain->control(mode => 'hang', content => 'hangs');
my $requests = $brain->counts->{requests}->{batch} + $brain->counts->{requests}->{single};
write_rows($node, 'slow', 'w', 'hangs');
ok(poll('it is sent', sub { my $now = $brain->counts->{requests}; return $now->{batch} + $now->{single} > $requests; }),
	'a row gets no answer');
set_clock(-3);
my ($behind) = write_rows($node, 'acme', 'x', 'behind it');
is(sql("SELECT somamem.wait_for($behind, NULL, '1 min')"), 't', 'what comes behind it is recorded');
$brain->control(mode => 'ok');

# Its silence is noticed, by whatever clock.
$courier = courier_pid($node, 'somabrain');
kill 'STOP', $courier;
ok(poll('another courier runs', sub { return (courier_pid($node, 'somabrain') // $courier) != $courier; }),
	'a courier that hangs after the jump is replaced');
set_clock(2);
ok(drained($node), 'all is delivered');
ok(arrived('far'), 'what was written for later, too');

foreach my $turn ('+1 h', '-1 h', 'right', 'back, without a shipper')
{
	is_deeply([ grep { /^\Q$turn\E held/ } $brain->contents('h') ], [ "$turn held", "$turn held, next" ], "$turn: in order");
	is_deeply([ grep { /^\Q$turn\E / } $brain->contents('a') ], [ "$turn again", "$turn next" ], "$turn: behind a retry, too");
}
my $result = history(written => \@logs, brain => $brain);
is($result->{sinks}->{somabrain}->{disorder}, 0, 'every session keeps its order');
is_clean(history(written => [ outbox_log($node) ], brain => $brain), 'all of it arrived');
is($brain->counts->{violations}, 0, 'no request broke the contract');
$node->stop;
done_testing();
