# Random faults under load, several at once: nothing acknowledged is lost, nothing undone is
# sent, order holds, payloads are equal; and what it cost, as a table.
#
# Not a test of test/t: it takes as long as it is told to.  test/chaos/run starts it.
#
# What happens when follows from the seed alone; what it meets depends on the machine.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Broker;
use Somamem::Topic;
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{SMEM_CHAOS_SECONDS} || 120;
my $seed = $ENV{SMEM_SEED} || 1;
my $rate = $ENV{SMEM_CHAOS_RATE} || 300;
my $exactly_once = $ENV{SMEM_CHAOS_EXACTLY_ONCE} ? 1 : 0;
my $mean_gap = $ENV{SMEM_CHAOS_GAP} || 1.2;

# Contents with this are refused for good, whatever else happens: a row that left its session's
# order must not come back.
my $refused = '777 xx';

my ($node, $brain, $broker, $topic, $writer, $began);
my (%active, %lever, @done);
my $guest_rows = scratch('guest.jsonl');
my $guests = 0;
my $slowest_drop = 0;

# --- the faults ----------------------------------------------------------------
#
# name, weight, how many seconds it lasts (at once over without), begin and end.  Both get the
# fault's dice; begin returns false where the fault cannot be now.  out: sinks that get nothing
# while it lasts.  kill: answers may be lost by a death at these sinks, and rows sent again.
# mute: answers of these sinks are lost though their rows were taken.  apart: faults of one name here
# are never there together.  silence: seconds for which the sink asked beyond its end.  least: seconds
# that requests under way go on unanswered (the courier's own patience), however soon it ends.

my @both = qw(somabrain kafka);
my @faults = (
	(map { process_fault("courier of $_ killed", 5, $_, 'courier_pid', 'KILL') } @both),
	(map { shipper_fault("shipper of $_ killed", 2, $_) } @both),
	(map { process_fault("shipper of $_ terminated", 2, $_, 'pid', 'TERM') } @both),
	{ name => 'launcher terminated', weight => 2, begin => sub { return end_worker('database IS NULL', 'pid', 'TERM'); } },
	{ name => 'postmaster killed', weight => 4, out => \@both, kill => \@both, begin => sub { kill_postmaster($node); return start_server(); } },
	{ name => 'server stopped at once', weight => 2, out => \@both, kill => \@both, begin => sub { return restart_server('immediate'); } },
	{ name => 'server stopped in order', weight => 1, out => \@both, kill => \@both, begin => sub { return restart_server('fast'); } },
	{ name => 'other settings', weight => 5, begin => \&change_settings },
	brain_fault('SomaBrain down', 3, [1, 6], 1, mode => 'down'),
	brain_fault('SomaBrain hangs', 2, [1, 8], 1, mode => 'hang', least => 5),
	brain_fault('SomaBrain says 503, Retry-After', 2, [1, 3], 1, mode => 'status', status => 503, retry_after => 2),
	brain_fault('SomaBrain says garbage', 2, [1, 4], 1, mode => 'garbage'),
	brain_fault('SomaBrain says half of the JSON', 1, [1, 4], 1, mode => 'truncated'),
	brain_fault('SomaBrain leaves results out', 1, [1, 4], 0, mode => 'missing_results', percent => 50),
	brain_fault('SomaBrain says 500 at times', 3, [2, 8], 0, mode => 'status', status => 500, percent => 30),
	brain_fault('SomaBrain drips', 1, [1, 3], 0, mode => 'drip', percent => 30, drip_ms => 5, drip_bytes => 100),
	brain_fault('SomaBrain is slow', 1, [2, 6], 0, mode => 'ok', delay_ms => 200),
	brain_fault('SomaBrain takes and resets', 4, [1, 5], 0, mode => 'reset', percent => 25, accept => JSON::PP::true),
	brain_fault('SomaBrain refuses a tenant for now', 3, [2, 8], 0, mode => 'status', status => 429, retry_after => 1, tenant => 'one'),
	brain_fault('rows that fail and pass', 3, [2, 8], 0, mode => 'status', status => 500, content => '5 xx', percent => 80),
	{ name => 'Kafka killed', weight => 2, seconds => [0, 3], apart => 'Kafka', out => ['kafka'],
		begin => sub { $broker->kill_it; return 1; }, end => \&start_broker },
	{ name => 'Kafka frozen', weight => 2, seconds => [1, 5], apart => 'Kafka', out => ['kafka'],
		begin => sub { return kill 'STOP', broker_pid(); }, end => sub { kill 'CONT', broker_pid(); return 1; } },
	{ name => 'a long transaction', weight => 3, seconds => [5, 20], begin => \&hold_transaction },
	{ name => 'a database comes and goes', weight => 3, seconds => [1, 6], begin => \&make_guest, end => \&drop_guest },
	(map { my $sink = $_; { name => "$sink paused", weight => 1, seconds => [1, 4], out => [$sink], lever => 'pause(text)',
		begin => sub { return does("SELECT somamem.pause('$sink')"); },
		end => sub { return does("SELECT somamem.resume('$sink')"); } } } @both),
	(map { lever_fault("retry of $_", 'retry(text,bigint)', "SELECT somamem.retry('$_')") } @both),
	(map { lever_fault("redrive of $_", 'redrive(text,text,bigint)', "SELECT somamem.redrive('$_')") } @both));

sub process_fault
{
	my ($name, $weight, $sink, $column, $signal) = @_;

	return { name => $name, weight => $weight, out => [$sink], kill => [$sink],
		begin => sub { return end_worker("database = 'postgres' AND sink = '$sink'", $column, $signal); } };
}

# The postmaster takes the death of a process that held shared memory for a crash: all of them end.
sub shipper_fault
{
	my ($name, $weight, $sink) = @_;

	return { name => $name, weight => $weight, out => \@both, kill => \@both,
		begin => sub {
			my $pid = worker_pid($node, $sink) or return 0;
			kill 'KILL', $pid or return 0;
			return poll('the server is back', sub { return !kill(0, $pid) && does('SELECT 1'); });
		} };
}

sub brain_fault
{
	my ($name, $weight, $time, $total, %rule) = @_;
	# Whoever goes away takes the answers along that were on their way.
	my $mute = $rule{accept} || $rule{mode} eq 'down' ? ['somabrain'] : undef;
	my $least = delete $rule{least};

	return { name => $name, weight => $weight, seconds => $time, mute => $mute,
		out => ($total ? ['somabrain'] : undef), silence => $rule{retry_after}, least => $least,
		begin => sub {
			my ($self) = @_;
			$self->{rule} = { %rule, ($rule{tenant} ? (tenant => 't' . int($self->{dice} * 3)) : ()) };
			tell_brain();
			return 1;
		},
		end => sub { my ($self) = @_; delete $self->{rule}; tell_brain(); return 1; } };
}

sub lever_fault
{
	my ($name, $function, $sql) = @_;

	# It ends the shippers before it changes what they have read.
	return { name => $name, weight => 1, lever => $function, kill => \@both, begin => sub { return does($sql); } };
}

# What is meant for whoever waits, and not for prove.
sub say_aloud
{
	my ($text) = @_;

	print { Test::More->builder->failure_output } $text;
	return;
}

# --- what they do --------------------------------------------------------------

sub ask
{
	my ($sql, $database) = @_;
	my ($rc, $out) = $node->psql($database || 'postgres', $sql, timeout => 60, timed_out => \my $late, stderr => \my $err);

	return defined $rc && $rc == 0 ? $out : undef;
}

sub does { return defined ask(@_); }

# All rules of SomaBrain at once: the first that matches decides, so whole outages come first.
sub tell_brain
{
	my @rules = map { $_->{rule} || () }
		sort { defined $b->{out} <=> defined $a->{out} || $a->{name} cmp $b->{name} } map { $_->{fault} } values %active;

	$brain->control(mode => 'status', status => 422, content => $refused);
	$brain->control(add => $_) foreach @rules;
	return;
}

sub end_worker
{
	my ($which, $column, $signal) = @_;
	my $pid = ask("SELECT $column FROM somamem.workers WHERE $which AND state = 'running' AND $column IS NOT NULL");

	return 0 unless $pid;
	return $signal eq 'TERM' ? does("SELECT pg_terminate_backend($pid)") : kill $signal, $pid;
}

sub start_server
{
	return poll('the server starts', sub { return $node->start(fail_ok => 1); });
}

sub restart_server
{
	my ($mode) = @_;

	$node->stop($mode, fail_ok => 1);
	return start_server();
}

sub change_settings
{
	my ($self) = @_;

	configure($node,
		'somamem.somabrain_concurrency' => 1 + int($self->{dice} * 12),
		'somamem.somabrain_batch_items' => (1, 10, 100, 300)[ int($self->{dice} * 40) % 4 ],
		'somamem.lag_warning' => 10 + int($self->{dice} * 10) . 's');
	return 1;
}

sub broker_pid { return 0 + slurp_file("$broker->{folder}/1/pid"); }

# Ready when it answers who asks for its topics; that may take longer than other faults wait.
sub start_broker
{
	my ($self) = @_;
	my $start = $self->{start} ||= start_program(Somamem::Broker::program(), 'start', $broker->{folder});

	return 0 if still_runs($start);
	delete $self->{start};
	return $start->{status} == 0;
}

sub hold_transaction
{
	my ($self) = @_;

	start_program('psql', '-X', '-d', $node->connstr('postgres'), '-c',
		'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current(), pg_sleep(' . $self->{seconds_now} . ')');
	return 1;
}

# Its rows may come to the sinks before it is dropped, or not.
sub make_guest
{
	my $tenant = 'guest' . $guests++;
	my @contents = map { "row $_ of a guest" } 1 .. 20;

	append_to_file($guest_rows, join '', map { encode({
				n => $_, begin => 1, end => 2, state => 'unknown', id => undef, tenant => $tenant, session => 's', key => undef,
				payload => { type => 'memory', role => 'user', content => $contents[$_],
					metadata => { tenant => $tenant, session_id => 's' } } }) . "\n" } 0 .. $#contents);
	does('CREATE DATABASE guest') or return 0;
	does('CREATE EXTENSION somamem', 'guest')
		and does(join('; ', map { 'SELECT ' . write_memory($tenant, 's', $_) } @contents), 'guest');
	return 1;
}

sub drop_guest
{
	my $from = time;

	does('DROP DATABASE IF EXISTS guest WITH (FORCE)') or return 0;
	$slowest_drop = time - $from if time - $from > $slowest_drop;
	return 1;
}

# --- the plan --------------------------------------------------------------------

sub choose
{
	my ($dice) = @_;
	my $sum = 0;

	$sum += $_->{weight} foreach @faults;
	$dice *= $sum;
	foreach my $fault (@faults)
	{
		$dice -= $fault->{weight};
		return $fault if $dice < 0;
	}
	return $faults[0];
}

# All that the seed decides, before anything else throws dice.
sub make_plan
{
	my @plan;
	my $at = 2;

	srand $seed;
	while (1)
	{
		$at -= log(1 - rand) * $mean_gap;
		my ($fault, $dice, $length) = (choose(rand), rand, rand);
		my $time = $fault->{seconds} || [0, 0];
		my $last = $time->[0] + $length * ($time->[1] - $time->[0]);
		last if $at > $seconds - 2;
		push @plan, { fault => $fault, at => $at, dice => $dice, seconds => $last < $seconds - $at ? $last : $seconds - $at };
	}
	return @plan;
}

# --- playing it --------------------------------------------------------------------

sub log_fault
{
	my ($fault, $from, $to) = @_;

	$to += $fault->{silence} || 0;
	$to = $from + $fault->{least} if $to < $from + ($fault->{least} || 0);
	push @done, encode({ name => $fault->{name}, begin => int($from * 1e6), end => int($to * 1e6),
			map { ($_ => $fault->{$_} || []) } qw(out kill mute) });
	return;
}

sub is_free
{
	my ($fault) = @_;

	return 0 if $fault->{lever} && !$lever{ $fault->{lever} };
	foreach my $other (map { $_->{fault} } values %active)
	{
		return 0 if $other->{name} eq $fault->{name};
		return 0 if $fault->{apart} && $fault->{apart} eq ($other->{apart} // '');
	}
	return 1;
}

sub begin_fault
{
	my ($step) = @_;
	my $fault = $step->{fault};
	my $from = time;

	return unless is_free($fault);
	$fault->{dice} = $step->{dice};
	$fault->{seconds_now} = $step->{seconds};
	# Rules are told together, so the fault has to be among the active ones first.
	$active{ $fault->{name} } = { fault => $fault, from => $from, until => $from + $step->{seconds} };
	my $begun = $fault->{begin}->($fault);
	return if $begun && $fault->{seconds};
	delete $active{ $fault->{name} };
	log_fault($fault, $from, time) if $begun;
	return;
}

# Some ends take a while, or need a server that is away right now: they are tried again.
sub end_faults
{
	my ($all) = @_;

	foreach my $entry (sort { $a->{until} <=> $b->{until} } values %active)
	{
		my $fault = $entry->{fault};
		next unless $all || time >= $entry->{until};
		delete $active{ $fault->{name} } if $fault->{rule};
		next unless !$fault->{end} || $fault->{end}->($fault);
		delete $active{ $fault->{name} };
		log_fault($fault, $entry->{from}, time);
	}
	return !%active;
}

sub play
{
	my @plan = @_;
	my $next_word = 60;

	while (time < $began + $seconds)
	{
		if (time > $began + $next_word)
		{
			say_aloud(sprintf "%d s: %d faults over, %d rows at SomaBrain\n", $next_word, scalar @done, $brain->counts->{distinct});
			$next_word += 60;
		}
		end_faults(0);
		begin_fault(shift @plan) while @plan && time >= $began + $plan[0]->{at};
		usleep(10_000);
	}
	return poll('every fault has ended', sub { return end_faults(1); });
}

sub start_load
{
	$writer = start_writer($node, '-n', int($seconds * $rate * 1.01), '-R', $rate, '-t', $seconds, '-c', 16, '-r', '-e', $seed,
		'-x', 3, '-v', 3, '-2', 2, '-L', 0.2, '-h', 6, '-T', 40, '-z', 1.1, '-S', 20, '-u', "c$seed");
	$began = time;
	return;
}

# Waits until nothing is owed, for as long as it becomes less.
# Gives up where nothing has moved for a minute, and says what the workers are at.
sub drain
{
	my ($least, $since) = (undef, time);
	my $ended = poll('every row is delivered or dead', sub {
			my $left = undelivered($node);
			($least, $since) = ($left, time) if defined $left && (!defined $least || $left < $least);
			return defined $left && ($left == 0 || time > $since + 60);
		}, seconds => 1800);

	return 1 if $ended && $least == 0;
	diag($node->safe_psql('postgres', $_)) foreach 'SELECT * FROM somamem.workers', 'SELECT * FROM somamem.outbox_status',
		'SELECT sink, state, count(*), min(id), max(id) FROM somamem.parked GROUP BY 1, 2', 'SELECT sink, count(*) FROM somamem.ahead GROUP BY 1',
		'SELECT sink, max(kafka_page), max(recorded_at) FROM somamem.shipment GROUP BY 1';
	return 0;
}

sub dead_letters
{
	my ($sink) = @_;
	my $path = scratch("dead.$sink");

	my $keys = $node->safe_psql('postgres',
		"SELECT tenant || E'\\t' || idempotency_key FROM somamem.dead_letter WHERE sink = '$sink'");

	append_to_file($path, $keys eq '' ? '' : "$keys\n");
	return "$sink=$path";
}

sub report
{
	my ($drained) = @_;
	my $log = scratch('faults.jsonl');
	my @command = ('python3', root_folder() . '/test/chaos/report.py', '--faults', $log,
		'--written', $writer->{log}, (-e $guest_rows ? $guest_rows : ()),
		'--somabrain', $brain->record, '--kafka', $topic->dump(committed => $exactly_once),
		(map { ('--dead', dead_letters($_)) } @both),
		'--fact', "seconds=$seconds", '--fact', "seed=$seed", '--fact', "writes a second asked for=$rate",
		'--fact', 'exactly once on Kafka=' . ($exactly_once ? 'on' : 'off'),
		'--fact', sprintf('drained after the last fault, s=%.1f', $drained),
		'--fact', sprintf('slowest DROP DATABASE, s=%.2f', $slowest_drop));

	append_to_file($log, join '', map { "$_\n" } @done);
	push @command, '--exactly', 'kafka' if $exactly_once;
	my $good = IPC::Run::run(\@command, '<', \undef, '>', \my $table, '2>&1');
	say_aloud($table);
	return $good;
}

my @plan = make_plan();
$broker = Somamem::Broker->new('log.message.timestamp.type' => 'LogAppendTime');
$brain = Somamem::Brain->new;
$topic = Somamem::Topic->new(bootstrap => $broker->bootstrap);
$node = new_server('main', brain => $brain, topic => $topic,
	restart_after_crash => 'on', max_prepared_transactions => 30, 'somamem.max_attempts' => 1000,
	'somamem.retry_initial' => '1s', 'somamem.retry_max' => '5s');
if ($exactly_once)
{
	ask("SELECT count(*) FROM pg_settings WHERE name = 'somamem.kafka_exactly_once'")
		or die "somamem.kafka_exactly_once is not known to this server\n";
	configure($node, 'somamem.kafka_exactly_once' => 'on');
}
$lever{$_} = ask("SELECT to_regprocedure('somamem.$_') IS NOT NULL") eq 't' foreach grep { $_ } map { $_->{lever} } @faults;
ok(shippers_run($node), 'the shippers run');
tell_brain();
start_load();
ok(play(@plan), 'every fault comes to its end');

my $calm = time;
ok(finish_program($writer, seconds => 180), 'the writer ends');
ok(drain(), 'the backlog drains');
ok(report(time - $calm), "seed $seed: nothing is lost, invented, out of order or changed");
is($brain->counts->{violations}, 0, 'no request broke the contract') or diag($brain->counts->{first_violation});
is(ask('SELECT count(*) FROM pg_prepared_xacts'), 0, 'no prepared transaction is left');
is(ask("SELECT count(*) FROM somamem.dead_letters WHERE payload ->> 'content' !~ '$refused'"), 0, 'none but refused rows were given up');
is(ask('SELECT count(*) FROM (SELECT 1 FROM somamem.outbox GROUP BY id HAVING count(*) > 1) d'), 0, 'no id was given twice');
is(join("\n", grep { /PANIC|TRAP:|terminated by signal (?!9:)/ } split /\n/, slurp_file($node->logfile)), '', 'no process fell by itself');
$node->stop;
done_testing();
