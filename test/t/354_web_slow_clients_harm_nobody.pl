# Clients that connect and say nothing, that send a byte now and then, or that take no answer, may
# be more than there are places: a scrape gets in all the same, and is answered as before; sessions
# notice nothing.  When they are gone, so are their places; bytes that are no request harm nobody.
#
# Not a regress test: it holds more than a thousand connections.
use strict;
use warnings;

use IO::Select;
use POSIX ();
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Http;
use Test::More;
use Time::HiRes qw(usleep);

my $port = free_port();
my $http = Somamem::Http->new($port);
my $node = new_server('main', 'somamem.http_listen' => $http->address);
my $places = 1024;
my @crowds;

sub worker
{
	my ($column) = @_;
	return $node->safe_psql('postgres', "SELECT $column FROM somamem.workers WHERE sink = 'web'");
}

# A process that holds so many connections, does something with each twice a second, and connects
# again where it was hung up on.  Returns when it has all of them for the first time.
sub crowd
{
	my ($count, $greeting, $again) = @_;
	pipe my $reader, my $writer or die "no pipe: $!";
	my $pid = fork // die "could not fork: $!";

	if ($pid == 0)
	{
		my @held;
		close $reader;
		while (getppid() != 1)
		{
			foreach my $i (0 .. $count - 1)
			{
				$held[$i] = $http->open_raw unless $held[$i] && $held[$i]->connected;
				$held[$i]->syswrite($greeting) if $held[$i] && !${*{ $held[$i] }}{greeted}++;
				$held[$i]->syswrite($again) if $held[$i] && $again ne '';
			}
			syswrite $writer, "ready\n" if $writer;
			undef $writer;
			usleep(500_000);
		}
		POSIX::_exit(0);
	}
	close $writer;
	push @crowds, $pid;
	ok(scalar IO::Select->new($reader)->can_read(180), "$count clients are there") or die 'no crowd';
	return;
}

sub leave
{
	kill 'KILL', @crowds;
	waitpid $_, 0 foreach @crowds;
	@crowds = ();
	return;
}

END { my $status = $?; leave(); $? = $status; }

# Connections to the port that this machine holds open at the server's side.
sub open_connections
{
	my $hex = sprintf ':%04X', $port;
	return scalar grep { my @field = split; $field[1] =~ /$hex$/ && $field[3] eq '01' } split /\n/, slurp_file('/proc/net/tcp');
}

# Sixty of each kind of document; how many were there.
sub scrapes
{
	my $there = 0;
	foreach my $i (1 .. 60)
	{
		$there++ if $http->get('/metrics', 'Accept-Encoding' => 'gzip')->{status} == 200;
		$there++ if $http->get('/v1/health')->{status} == 200;
	}
	return $there;
}

ok($http->becomes('/metrics', 200), 'it serves');
my $courier = worker('courier_pid');
is(scrapes(), 120, 'and answers 120 requests in turn');

# --- slow ones --------------------------------------------------------------------------

crowd(500, '', '');
crowd(100, "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Slow: ", 'x');
is(scrapes(), 120, 'among 500 idle and 100 slow clients it answers the same');
crowd(300, join('', map { "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" } 1 .. 20), '');
crowd(400, 'G', 'E');
is(scrapes(), 120, 'and among more clients than there are places');
cmp_ok(open_connections(), '<=', $places + 128, 'of whom only so many are held');
is($node->safe_psql('postgres', 'SELECT count(*) FROM generate_series(1, 100) g, LATERAL somamem.memory_write('
			. "jsonb_build_object('type', 'm', 'role', 'user', 'content', g::text), 't', 's') w"),
	100, 'sessions write');
leave();
is(worker('courier_pid'), $courier, 'it was one and the same courier');
ok(poll('they are gone', sub { return open_connections() == 0; }), 'with them go their connections');

# --- nonsense -----------------------------------------------------------------------------

srand 350;
foreach my $i (1 .. 300)
{
	my $bytes = "GET /v1/health?database=postgres HTTP/1.1\r\nHost: a\r\nAccept: */*;q=0.1\r\nAccept-Encoding: gzip\r\n\r\n";
	substr $bytes, rand length $bytes, 1, chr int rand 256 foreach 1 .. 1 + rand 6;
	$bytes = substr $bytes, 0, rand length $bytes if $i % 3 == 0;
	my $socket = $http->open_raw or next;
	$socket->syswrite($bytes);
}
is(scrapes(), 120, '300 broken requests later it answers the same');
is(worker('courier_pid'), $courier, 'by the same courier');
$node->stop;
done_testing();
