# What the cluster tests share: servers, polling, writing, and the comparison of what was
# written with what the sinks hold.
#
# A test waits for a state, never for a time: poll() asks again until a deadline that is
# far beyond any machine's slowness, and says what it waited for when that passes.
package Somamem;

use strict;
use warnings;

use Carp;
use Cwd ();
use Exporter 'import';
use File::Basename qw(dirname);
use File::Spec;
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
	root_folder tool free_port scratch decode encode
	new_server configure set_now error_of restart_killed kill_postmaster without_processes
	poll poll_sql write_rows write_memory worker_pid courier_pid shippers_run
	undelivered drained start_writer start_program still_runs finish_program
	outbox_log history is_clean
	status_of need_kafka need_opa
);

my $root = File::Spec->rel2abs(dirname(__FILE__) . '/../..');
my $deadline = $ENV{SMEM_TEST_DEADLINE} || 120;
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $scratch_number = 0;
my @programs;

sub root_folder { return $root; }

sub decode { return $json->decode($_[0]); }

sub encode { return $json->encode($_[0]); }

# A program of build/standin.
sub tool
{
	my ($name) = @_;
	return ($ENV{SMEM_STANDIN} || "$root/build/standin") . "/$name";
}

# psql that cannot connect may end before its statement was written to it, and IPC::Run dies of
# that.  Where a failure is allowed, it is one like any other: no connection.
{
	no warnings 'redefine';
	my $psql = \&PostgreSQL::Test::Cluster::psql;

	*PostgreSQL::Test::Cluster::psql = sub {
		my ($self, $database, $sql, %option) = @_;
		my @result;

		return $psql->(@_) if !wantarray || $option{on_error_die};
		@result = eval { $psql->($self, $database, $sql, %option) };
		return @result unless $@;
		die $@ unless $@ =~ /Broken pipe/;
		return (2, '', 'psql ended before its statement was read');
	};
}

sub free_port { return PostgreSQL::Test::Cluster::get_free_port(); }

# A path of this test's own for a file that does not exist yet.
sub scratch
{
	my ($name) = @_;
	return "$PostgreSQL::Test::Utils::tmp_check/$$" . "_" . $scratch_number++ . "_$name";
}

# Without a real Kafka a test is skipped on a developer's machine, and fails in CI.
sub need_kafka
{
	return if $ENV{SMEM_KAFKA_BOOTSTRAP};
	die "no Kafka, and CI must not skip" if ($ENV{CI} // '') eq 'true';
	plan skip_all => 'no real Kafka here (test/t/run says why)';
}

# The same for Open Policy Agent.
sub need_opa
{
	return if -x ($ENV{SMEM_OPA} // '');
	die "no OPA, and CI must not skip" if ($ENV{CI} // '') eq 'true';
	plan skip_all => 'no OPA here (test/setup/install.sh test builds it where there is a Go)';
}

# --- waiting -----------------------------------------------------------------

# Calls the probe until it returns true.  False, with a diagnosis, at the deadline.
sub poll
{
	my ($what, $probe, %option) = @_;
	my $end = time + ($option{seconds} || $deadline);
	my $pause = 5_000;

	while (1)
	{
		my $result = $probe->();
		return $result if $result;
		last if time > $end;
		usleep($pause);
		$pause = $pause * 1.5 if $pause < 100_000;
	}
	diag("waited in vain until $what");
	diag('last seen: ' . $option{last}->()) if $option{last};
	return 0;
}

# Polls until a statement's answer is what is expected ("t" unless told otherwise).
# A server that cannot be reached right now is asked again.
sub poll_sql
{
	my ($node, $sql, %option) = @_;
	my $expected = $option{expected} // 't';
	my $answer = '';

	return poll(
		$option{what} || "\"$sql\" is \"$expected\"",
		sub {
			my ($rc, $out) = $node->psql($option{database} || 'postgres', $sql);
			$answer = defined $out ? $out : '(no answer)';
			return $rc == 0 && $answer eq $expected;
		},
		%option,
		last => sub { return $answer; });
}

# --- servers -----------------------------------------------------------------

# Makes and starts a server with the extension in database "postgres".  Named settings are
# its configuration; "brain" and "topic" are sinks (objects of Somamem::Brain and ::Topic).
# Options: init (arguments of init), no_extension, no_start.
sub new_server
{
	my ($name, %setting) = @_;
	my $init = delete $setting{init} || [];
	my $no_extension = delete $setting{no_extension};
	my $no_start = delete $setting{no_start};
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(@$init);
	configure($node,
		shared_preload_libraries => 'somamem',
		max_connections => 60,
		max_worker_processes => 30,
		max_prepared_transactions => 10,
		log_statement => 'none',
		log_line_prefix => '%m [%p] %b %q%a ',
		'somamem.retry_initial' => '100ms',
		'somamem.retry_max' => '1s',
		# Most tests write in floods.
		'somamem.rate_limit_per_minute' => 0,
		%setting);
	return $node if $no_start;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION somamem') unless $no_extension;
	return $node;
}

# Appends settings; a running server reloads.
sub configure
{
	my ($node, %setting) = @_;
	my $brain = delete $setting{brain};
	my $topic = delete $setting{topic};

	$setting{'somamem.somabrain_url'} = $brain->url if $brain;
	if ($topic)
	{
		$setting{'somamem.kafka_brokers'} = $topic->bootstrap;
		$setting{'somamem.kafka_topic'} = $topic->name;
	}
	foreach my $name (sort keys %setting)
	{
		(my $value = $setting{$name}) =~ s/'/''/g;
		$node->append_conf('postgresql.conf', "$name = '$value'");
	}
	$node->reload if defined $node->{_pid};
	return;
}

# Settings without the prefix "somamem.", until sessions have them.
sub set_now
{
	my ($node, %setting) = @_;

	configure($node, map { ("somamem.$_" => $setting{$_}) } keys %setting);
	foreach my $name (keys %setting)
	{
		poll_sql($node, "SHOW somamem.$name", expected => $setting{$name});
	}
	return;
}

# What a statement fails with, SQLSTATE, detail and hint included; empty where it does not.
sub error_of
{
	my ($node, $sql, $role) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose', $role ? ('-U', $role) : () ]);

	return $rc == 0 ? '' : $err;
}

# True when no process stands in a folder, as every process of a server does in its data.
sub without_processes
{
	my ($folder) = @_;
	foreach my $cwd (glob '/proc/[0-9]*/cwd')
	{
		my $place = readlink $cwd;
		return 0 if defined $place && $place eq $folder;
	}
	return 1;
}

# kill -9 of the postmaster; its children see it and end by themselves, and are waited for.
sub kill_postmaster
{
	my ($node) = @_;
	my $folder = Cwd::realpath($node->data_dir);
	my $pid = $node->{_pid};

	$node->kill9;
	# The postmaster itself is not ours to wait for: whoever adopted it does, and until then
	# another one takes it for alive.
	return poll('all processes of the killed server are gone',
		sub { return !kill(0, $pid) && without_processes($folder); });
}

sub restart_killed
{
	my ($node) = @_;
	kill_postmaster($node) or croak 'processes survive their postmaster';
	$node->start;
	return;
}

# --- workers -----------------------------------------------------------------

sub worker_pid
{
	my ($node, $sink, $database) = @_;
	$database ||= 'postgres';
	my ($rc, $out) = $node->psql('postgres',
		"SELECT pid FROM somamem.workers WHERE sink = '$sink' AND database = '$database' AND state = 'running'");
	return $rc == 0 && $out ? $out : undef;
}

sub courier_pid
{
	my ($node, $sink, $database) = @_;
	$database ||= 'postgres';
	my ($rc, $out) = $node->psql('postgres',
		"SELECT courier_pid FROM somamem.workers WHERE sink = '$sink' AND database = '$database'");
	return $rc == 0 && $out ? $out : undef;
}

# Waits until each enabled sink of the database has a running shipper.
sub shippers_run
{
	my ($node, $database, $count) = @_;
	$database ||= 'postgres';
	my $sql = "SELECT count(*) FROM somamem.workers"
		. " WHERE database = '$database' AND state = 'running'";

	return poll_sql($node, $sql,
		expected => $count // 2,
		what => "the shippers of \"$database\" run",
		database => $database);
}

# --- writing and waiting for delivery ------------------------------------------

# SQL of a call of memory_write for made-up content.
sub write_memory
{
	my ($tenant, $session, $content, $more) = @_;
	my $payload = encode({
			type => 'memory', role => 'user', content => $content,
			metadata => {tenant => $tenant, session_id => $session}});

	$payload =~ s/'/''/g;
	return "somamem.memory_write('$payload'" . ($more ? ", $more" : '') . ')';
}

# Writes a row per content, each in a transaction of its own; returns the ids.
sub write_rows
{
	my ($node, $tenant, $session, @contents) = @_;
	my $sql = join '', map { 'SELECT id FROM ' . write_memory($tenant, $session, $_) . ";\n" } @contents;

	return split /\n/, $node->safe_psql('postgres', $sql);
}

# How many rows of the outbox no sink's log or position covers, per enabled sink summed up;
# parked rows count, dead letters and withdrawn ones do not.  Reads the tables, not the figures.
sub undelivered
{
	my ($node, $database) = @_;
	my ($rc, $out) = $node->psql($database || 'postgres', <<'SQL');
SELECT count(*) FROM somamem._sink_figures() f
CROSS JOIN LATERAL (SELECT coalesce((SELECT s.from_snapshot FROM somamem.shipment s
	WHERE s.sink = f.sink ORDER BY s.id DESC LIMIT 1), '1:1:') AS snap) p
CROSS JOIN somamem.outbox o
WHERE NOT EXISTS (SELECT 1 FROM somamem.dead_letter d WHERE d.sink = f.sink AND d.id = o.id)
AND NOT EXISTS (SELECT 1 FROM somamem.withdrawn w WHERE w.sink IN (f.sink, '*') AND w.id = o.id)
AND (EXISTS (SELECT 1 FROM somamem.parked k WHERE k.sink = f.sink AND k.id = o.id)
	OR (NOT pg_visible_in_snapshot(o.xid, p.snap) OR EXISTS (SELECT 1 FROM somamem.detour d
		WHERE d.sink = f.sink AND d.tenant = o.tenant AND NOT pg_visible_in_snapshot(o.xid, d.from_snapshot)
		AND (d.until_snapshot IS NULL OR pg_visible_in_snapshot(o.xid, d.until_snapshot))))
	AND NOT EXISTS (SELECT 1 FROM somamem.shipment s WHERE s.sink = f.sink
		AND int8range(s.first_id, s.last_id, '[]') @> o.id AND s.first_id IS NOT NULL
		AND o.id = ANY (s.ids)))
SQL
	return $rc == 0 && $out =~ /^\d+$/ ? $out : undef;
}

sub drained
{
	my ($node, $database, %option) = @_;
	my $left;

	return poll(
		'every row is delivered or dead',
		sub { $left = undelivered($node, $database); return defined $left && $left == 0; },
		%option,
		last => sub { return defined $left ? "$left left" : 'no answer'; });
}

# "somabrain delivered,kafka pending": states of a row, by name of the sink.
sub status_of
{
	my ($node, $id, $database) = @_;
	return $node->safe_psql($database || 'postgres',
		"SELECT string_agg(sink || ' ' || state, ',' ORDER BY sink DESC) FROM somamem.status($id)");
}

# Starts test/lib/writer.c in the background; its log is what history() reads.
sub start_writer
{
	my ($node, @arguments) = @_;
	my $conninfo = 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres';

	return start_program('writer', '-d', $conninfo, '-l', scratch('written.jsonl'), '-w', 120, @arguments);
}

# A program of build/standin, or another, that runs beside the test.
sub start_program
{
	my ($name, @arguments) = @_;
	my %program = (out => scratch("$name.out"), owner => $$);
	my $pid = fork;

	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', $program{out};
		open STDERR, '>&', \*STDOUT;
		exec(($name =~ m{/|^psql$} ? $name : tool($name)), @arguments) or POSIX::_exit(127);
	}
	foreach my $i (0 .. $#arguments)
	{
		$program{log} = $arguments[ $i + 1 ] if $arguments[$i] eq '-l';
	}
	$program{pid} = $pid;
	push @programs, \%program;
	return \%program;
}

sub still_runs
{
	my ($program) = @_;

	return 0 unless $program->{pid};
	return 1 if waitpid($program->{pid}, POSIX::WNOHANG) == 0;
	$program->{status} = $?;
	delete $program->{pid};
	return 0;
}

# Waits for the program's own end; true when it was a good one.
sub finish_program
{
	my ($program, %option) = @_;

	poll('a program ends', sub { return !still_runs($program); }, %option) or return 0;
	my $out = slurp_file($program->{out});
	$program->{status} == 0 ? note($out) : diag($out);
	return $program->{status} == 0;
}

END
{
	my $status = $?;
	foreach my $program (@programs)
	{
		kill 'KILL', $program->{pid} if $program->{pid} && $program->{owner} == $$;
	}
	$? = $status;
}

# Writes a log of what the outbox holds now, for writers that keep none: every row counts
# as acknowledged, and none as before another; with ordered => 1 for a single writer, whose
# rows follow each other as their ids do.
sub outbox_log
{
	my ($node, $database, %option) = @_;
	my $path = scratch('outbox.jsonl');
	my ($begin, $end) = $option{ordered} ? ('2 * id', '2 * id + 1') : ('0', '4611686018427387000');
	my $rows = $node->safe_psql($database || 'postgres', <<"SQL");
SELECT json_build_object('n', id, 'begin', $begin, 'end', $end, 'state', 'acked', 'id', id,
	'tenant', tenant, 'session', session_id, 'key', idempotency_key, 'deduplicated', false,
	'payload', payload) FROM somamem.outbox ORDER BY id
SQL
	append_to_file($path, "$rows\n");
	return $path;
}

sub keys_file
{
	my ($node, $database, $table) = @_;
	my $path = scratch("$table.keys");

	append_to_file($path,
		$node->safe_psql($database, "SELECT tenant || E'\\t' || idempotency_key FROM somamem.$table") . "\n");
	return $path;
}

# Joins logs of writers that ran one after the other: each counts its events from 0.
sub join_logs
{
	my @logs = @_;
	my $path = scratch('written.jsonl');
	my $base = 0;
	my $newest = 0;

	return $logs[0] if @logs == 1;
	open my $out, '>', $path or croak "could not write $path: $!";
	foreach my $log (@logs)
	{
		open my $in, '<', $log or croak "could not read $log: $!";
		while (<$in>)
		{
			s/"(begin|end)":\s*(\d+)/$newest = $2 + $base if $2 + $base > $newest; "\"$1\":" . ($2 + $base)/ge;
			print $out $_;
		}
		close $in;
		$base = $newest + 1;
	}
	close $out;
	return $path;
}

# Runs the history checker.  Takes written (a list of logs, of writers in turn), brain, topic, node; kept: rows
# that the outbox lost again count as undone; dead: dead letters may be missing; committed: what aborted transactions left in Kafka does not count.
sub history
{
	my (%what) = @_;
	my $database = $what{database} || 'postgres';
	my @command = ('python3', "$root/test/lib/check_history.py", '--json', '--written', join_logs(@{ $what{written} }));
	my ($out, $err) = ('', '');

	push @command, '--somabrain', $what{brain}->record if $what{brain};
	push @command, '--kafka', $what{topic}->dump(committed => $what{committed}) if $what{topic};
	push @command, '--kept', keys_file($what{node}, $database, 'outbox') if $what{kept};
	push @command, '--dead', keys_file($what{node}, $database, 'dead_letter') if $what{dead};
	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	croak "the history checker failed: $err" unless $out =~ /^\{/;
	return decode($out);
}

# One assertion per sink: nothing lost, no ghost, no disorder, payloads equal; with
# exactly => 1 nothing twice either.  Says how much was repeated.
sub is_clean
{
	my ($result, $title, %option) = @_;
	my @wrong = (qw(lost ghosts disorder differs), $option{exactly} ? ('repeated') : ());

	note("written $result->{written}, unknown $result->{unknown}, undone $result->{undone}");
	foreach my $sink (sort keys %{ $result->{sinks} })
	{
		my $counts = $result->{sinks}->{$sink};
		my %found = map { $_ => $counts->{$_} } @wrong;
		my %none = map { $_ => 0 } @wrong;

		note("$sink: " . join ', ', map { "$_ $counts->{$_}" } sort keys %$counts);
		is_deeply(\%found, \%none, "$title: $sink")
			or diag(join "\n", @{ $result->{examples} });
	}
	return;
}

1;
