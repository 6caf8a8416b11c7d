# The courier, which speaks with the outside, has nothing of the server's: no descriptor, no
# environment, no privilege to gain, no memory or files without end, nothing to be read out of
# it.  It ends with its parent, whoever still holds its socket.
#
# Not a regress test: it looks at processes, and kills them.
use strict;
use warnings;

use Fcntl;
use List::Util qw(uniq);
use POSIX ();
use PostgreSQL::Test::Utils;
use Socket;
use Somamem;
use Somamem::Brain;
use Test::More;

# --- a server whose couriers tell what they were given -------------------------

# A copy of the installation, in which a script stands before the courier.
my $install = PostgreSQL::Test::Utils::tempdir();
my ($bindir) = map { chomp; $_ } `pg_config --bindir`;
my ($library) = map { chomp; $_ } `pg_config --pkglibdir`;
(my $stage = $bindir) =~ s{/usr/.*}{};
die "no stage in \"$bindir\"" unless -d "$stage/usr";
system('cp', '-a', "$stage/usr", "$install/usr") == 0 or die 'could not copy the installation';
$bindir =~ s/^\Q$stage\E/$install/;
$library =~ s/^\Q$stage\E/$install/;
my $courier = "$library/somamem-courier";
my $told = scratch('told');
rename $courier, "$courier.real" or die "could not rename: $!";
append_to_file($courier, <<"END");
#!$^X
open my \$out, '>>', '$told';
print \$out map { "env \$_=\$ENV{\$_}\\n" } sort keys %ENV;
close \$out;
exec '$courier.real', \@ARGV;
END
chmod 0755, $courier or die "could not change the mode: $!";

my $brain = Somamem::Brain->new;
local $ENV{PATH} = "$bindir:$ENV{PATH}";
local $ENV{CLOUD_TOKEN} = 'not-for-couriers';
my $node = new_server('main', brain => $brain, 'somamem.kafka_brokers' => '127.0.0.1:9',
	'somamem.somabrain_timeout' => '10s', restart_after_crash => 'on');

sub gone
{
	my ($pid) = @_;
	my $status = -e "/proc/$pid/status" ? eval { slurp_file("/proc/$pid/status") } : '';
	# Who adopted it may be slow to collect it.
	return !$status || $status =~ /^State:\s*[ZX]/m;
}

ok(shippers_run($node), 'the shippers run');
write_rows($node, 't', 's', 'first');
ok(poll_sql($node, "SELECT state = 'delivered' FROM somamem.status(1) WHERE sink = 'somabrain'"), 'rows are delivered');

is_deeply([ uniq(split /\n/, slurp_file($told)) ], ['env LC_ALL=C'], 'couriers are given no environment but the locale');

foreach my $sink (qw(somabrain kafka))
{
	my $pid = courier_pid($node, $sink);
	my $status = slurp_file("/proc/$pid/status");
	my %limit = map { /^(Max [a-z ]+?)\s{2,}(\S+)\s+(\S+)/ ? ($1 => "$2 $3") : () } split /\n/, slurp_file("/proc/$pid/limits");

	is($limit{'Max address space'}, '1073741824 1073741824', "$sink: memory is limited to 1 GB");
	is($limit{'Max open files'}, '4096 4096', "$sink: files are limited");
	is($limit{'Max core file size'}, '0 0', "$sink: no core file");
	like($status, qr/^NoNewPrivs:\s*1$/m, "$sink: no privileges can be gained");
	like($status, qr/^CapEff:\s*0+$/m, "$sink: there are none");
	# The kernel hides a process that cannot be dumped even from its own user.
	ok(sysopen(my $shipper, '/proc/' . worker_pid($node, $sink) . '/environ', O_RDONLY), "$sink: the shipper can be looked into");
	ok(!sysopen(my $hidden, "/proc/$pid/environ", O_RDONLY), "$sink: its courier cannot");
}

# --- the end of the parent --------------------------------------------------------

$brain->control(mode => 'hang');
write_rows($node, 't', 's', 'second');
my @couriers = map { courier_pid($node, $_) } qw(somabrain kafka);
kill 'KILL', worker_pid($node, 'somabrain');
ok(poll('the courier of the killed shipper ends', sub { return gone($couriers[0]); }), 'a shipper is killed: its courier ends');
ok(poll('the other one ends', sub { return gone($couriers[1]); }), 'the server restarts: the other one, too');
$brain->control(mode => 'ok');
ok( poll(
		'the server is back',
		sub { return run_log([ 'pg_isready', '-q', '-h', $node->host, '-p', $node->port ]); }),
	'the server recovers');
ok(shippers_run($node), 'the shippers run again');
ok(poll('both rows are delivered', sub { return join(',', $brain->contents) eq 'first,second'; }), 'and go on');
kill_postmaster($node);
pass('killed with its postmaster, no courier survives');
$node->start;
$node->stop;

# --- a courier of our own, with descriptors that it must not keep ----------------------

# A courier that ended too early is a failed test, not the end of this one.
local $SIG{PIPE} = 'IGNORE';

# Starts one as a child of a child; descriptor 7 is its socket.  Returns our end of the
# socket, the ends of what it inherited, its parent and itself.
sub start_courier
{
	my %inherited;

	socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "no socket pair: $!";
	pipe(my $pid_from, my $pid_to) or die "no pipe: $!";
	pipe($inherited{$_}[0], $inherited{$_}[1]) or die "no pipe: $!" foreach 1, 5, 9, 600;
	my $parent = fork // die "could not fork: $!";
	if ($parent == 0)
	{
		my $child = fork // POSIX::_exit(1);
		if ($child == 0)
		{
			# Away from the numbers that are handed on first.
			my ($socket, %end) = (fcntl($theirs, F_DUPFD, 700));
			$end{$_} = fcntl($inherited{$_}[1], F_DUPFD, 701) foreach keys %inherited;
			POSIX::dup2($end{$_}, $_) foreach keys %end;
			POSIX::dup2($socket, 7);
			POSIX::close($_) foreach 700 .. 710;
			exec "$courier.real", '7' or POSIX::_exit(1);
		}
		syswrite $pid_to, "$child\n";
		# Its own copies must not keep open what others have closed.
		close $_ foreach $ours, $theirs;
		close $inherited{$_}[1] foreach keys %inherited;
		sleep 600;
		POSIX::_exit(0);
	}
	close $theirs;
	close $inherited{$_}[1] foreach keys %inherited;
	return ($ours, \%inherited, $parent, readline($pid_from) + 0);
}

# Whether nothing has the other end any more.
sub ended
{
	my ($handle) = @_;
	my $set = '';

	vec($set, fileno($handle), 1) = 1;
	return select($set, undef, undef, 0) == 1 && sysread($handle, my $bytes, 1) == 0;
}

my ($socket, $inherited, $parent, $pid) = start_courier();
is(sysread($socket, my $hello, 64), 9, 'a courier says hello');
is(substr($hello, 4, 1), 'H', 'by its first frame');
ok(poll("descriptor $_ is closed", sub { return ended($inherited->{$_}[0]); }, seconds => 10), "descriptor $_ is closed") foreach 1, 5, 9, 600;
ok(!gone($pid), 'and the courier lives');
kill 'TERM', $pid;
kill 'INT', $pid;
syswrite $socket, pack('VaQ<', 9, 'P', 42);
is(sysread($socket, my $pong, 64), 13, 'signals of a shutdown do not end it');
is($pong, pack('VaQ<', 9, 'G', 42), 'it answers');
kill 'KILL', $parent;
waitpid $parent, 0;
ok(poll('the courier is gone', sub { return gone($pid); }), 'its parent ends, while its socket is held: it ends');

($socket, $inherited, $parent, $pid) = start_courier();
sysread $socket, $hello, 64;
close $socket;
ok(poll('the courier is gone', sub { return gone($pid); }), 'its socket ends, while its parent lives: it ends');
kill 'KILL', $parent;
waitpid $parent, 0;

($socket, $inherited, $parent, $pid) = start_courier();
sysread $socket, $hello, 64;
syswrite $socket, pack('Va', 0xFFFFFFFF, 'R');
ok(poll('the courier is gone', sub { return gone($pid); }), 'a frame without sense: it ends');
kill 'KILL', $parent;
waitpid $parent, 0;
done_testing();
