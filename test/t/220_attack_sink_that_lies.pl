# A SomaBrain that stalls, drips, resets and answers whatever an attacker would: nothing is lost
# or reordered, the courier neither grows nor ends, the shipper and the server do not notice, and
# the other sink goes on.  When the service is good again, everything is delivered.
#
# Not a regress test: it needs a server that misbehaves on the wire.
use strict;
use warnings;

use IO::Socket::INET;
use List::Util qw(sum0);
use POSIX ();
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

# Each request may hold an answer of 64 kB and 16 kB for each of its hundred rows; eight are on the wire.
my $most_memory = 64 * 1024;

my $elsewhere = Somamem::Brain->new;
my $brain = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $node = new_server('main', brain => $brain, topic => $topic,
	'somamem.somabrain_timeout' => '400ms',
	'somamem.retry_max' => '300ms');
my $round = 0;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub requests { return sum0(values %{ $brain->counts->{requests} }); }

sub start_time { return sql('SELECT pg_postmaster_start_time()'); }

# The most memory a process ever held, in kB.
sub peak
{
	my ($pid) = @_;
	my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s*(\d+) kB/m;
	return $peak;
}

# Rows of many tenants, so that every request that may be on the wire is.
sub write_round
{
	my $last = sql("SELECT max(id) FROM (SELECT (somamem.memory_write(jsonb_build_object('type', 'memory',"
			. " 'role', 'user', 'content', 'round $round row ' || g), 'tenant' || g % 12, 's' || g % 3)).id"
			. ' FROM generate_series(1, 48) g) w');
	$round++;
	return $last;
}

sub last_error
{
	return sql("SELECT coalesce(last_error, '') FROM somamem.workers WHERE sink = 'somabrain'");
}

# What the service does, and what operators then read.
my @lies = (
	[ { mode => 'hang' }, qr/did not answer in time/ ],
	[ { mode => 'drip', drip_ms => 50, drip_bytes => 1 }, qr/did not answer in time/ ],
	[ { mode => 'reset' }, qr/no whole answer/ ],
	[ { mode => 'reset', accept => JSON::PP::true }, qr/no whole answer/ ],
	[ { mode => 'garbage' }, qr/no whole answer/ ],
	[ { mode => 'truncated' }, qr/no whole answer/ ],
	[ { mode => 'not_json' }, qr/no JSON object/ ],
	[ { mode => 'ok_false' }, qr/"ok": false/ ],
	[ { mode => 'wrong_length', bytes => 100 }, qr/did not answer in time/ ],
	[ { mode => 'wrong_length', bytes => -100 }, qr/no JSON object/ ],
	[ { mode => 'large', bytes => 100_000_000 }, qr/too long/ ],
	[ { mode => 'endless_body' }, qr/too long/ ],
	[ { mode => 'endless_headers' }, qr/too long/ ],
	[ { mode => 'endless_line' }, qr/too long/ ],
	[ { mode => 'endless_interim' }, qr/too long/ ],
	[ { mode => 'gzip' }, qr/too long|not answer in time/ ],
	[ { mode => 'status', status => 307, location => $elsewhere->url . '/memory/remember/batch' }, qr/answered 307/ ],
	[ { mode => 'status', status => 200, body => '{"ok":true,"results":"none"}' }, qr/lacks what the contract/ ],
	[ { mode => 'status', status => 503, retry_after => '99999999999999999999x' }, qr/answered 503/ ],
	[ { mode => 'status', status => 599, body => "\0\r\n\xff" }, qr/answered 599/ ],
);

ok(shippers_run($node), 'the shippers run');
my $started = start_time();
my @shippers = map { worker_pid($node, $_) } qw(somabrain kafka);
my @couriers = map { courier_pid($node, $_) } qw(somabrain kafka);
write_round();
ok(drained($node), 'all is well');
my $before = peak($couriers[0]);

foreach my $lie (@lies)
{
	my ($fault, $pattern) = @$lie;
	my $title = join ' ', map { "$_ $fault->{$_}" } grep { !/^(location|body|accept)$/ } sort keys %$fault;

	$brain->control(%$fault);
	my $last = write_round();
	ok(poll("the service lies ($title)", sub { return last_error() =~ $pattern; }, last => \&last_error), "$title: is named")
		or next;
	is(sql("SELECT somamem.wait_for($last, 'kafka', '60 s')"), 't', "$title: the other sink goes on");
	$brain->control(mode => 'ok');
	ok(drained($node), "$title: delivered when it is over");
}

# TLS is asked for, and what answers speaks no TLS at all.
my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "no socket: $!";
my $handshaker = fork;
die "could not fork: $!" unless defined $handshaker;
if ($handshaker == 0)
{
	local $SIG{PIPE} = 'IGNORE';
	# A handshake record of the greatest length, of noise.
	my $noise = "\x16\x03\x03\x3f\xff\x02" . join '', map { chr(37 * $_ % 251) } 1 .. 100_000;
	while (my $client = $listener->accept)
	{
		print $client $noise;
		close $client;
	}
	POSIX::_exit(0);
}
configure($node, 'somamem.somabrain_url' => 'https://127.0.0.1:' . $listener->sockport);
my $last = write_round();
ok(poll('the handshake fails', sub { return last_error() =~ /could not reach service/; }, last => \&last_error),
	'noise for a TLS handshake is named');
note(last_error());
configure($node, brain => $brain);
ok(drained($node), 'and over when the service is back');
kill 'KILL', $handshaker;
waitpid $handshaker, 0;

my $after = peak($couriers[0]);
note("the courier's memory was at most $before kB before, $after kB after all of it");
cmp_ok($after, '<', $most_memory, 'the courier does not grow');
is_deeply([ map { courier_pid($node, $_) } qw(somabrain kafka) ], \@couriers, 'the couriers are the same');
is_deeply([ map { worker_pid($node, $_) } qw(somabrain kafka) ], \@shippers, 'the shippers are the same');
is(start_time(), $started, 'the server did not restart');
is(sum0(values %{ $elsewhere->counts->{requests} }), 0, 'no redirect was followed');
is(sql('SELECT count(*) FROM somamem.dead_letters'), 0, 'no row was given up');
is($brain->counts->{violations}, 0, 'no request broke the contract') or diag($brain->counts->{first_violation});
is_clean(history(written => [ outbox_log($node, 'postgres', ordered => 1) ], brain => $brain, topic => $topic), 'nothing is lost, invented or reordered');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|malformed/, 'nothing crashed');
done_testing();
