# The web worker and its courier come back: killed, terminated, without an address for a while,
# with the server.  It is in the way of neither DROP DATABASE nor DROP EXTENSION nor a shutdown,
# and serves nothing on a standby until that is promoted.
#
# Not a regress test: it signals processes, takes addresses away, and needs two servers.
use strict;
use warnings;

use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Http;
use Test::More;

my $http = Somamem::Http->new(free_port());
my $metrics = Somamem::Http->new(free_port());
my $other = Somamem::Http->new(free_port());
my $taken = IO::Socket::INET->new(LocalAddr => $metrics->address, Listen => 1, ReuseAddr => 1) or die "no socket: $!";
my $node = new_server('main', 'somamem.http_listen' => $http->address, 'somamem.metrics_listen' => $metrics->address,
	restart_after_crash => 'on', init => [ allows_streaming => 1 ]);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub worker
{
	my ($column) = @_;
	return $node->safe_psql('postgres', "SELECT $column FROM somamem.workers WHERE sink = 'web'");
}

# How often the log says it.
sub said
{
	my ($text) = @_;
	return scalar(() = slurp_file($node->logfile) =~ /LOG:  \Q$text\E/g);
}

# --- an address in use ------------------------------------------------------------------

my $in_use = 'could not listen on address "' . $metrics->address . '" (somamem.metrics_listen): Address already in use';
ok(poll_sql($node, q{SELECT last_error FROM somamem.workers WHERE sink = 'web'}, expected => $in_use), 'an address in use is said by the worker');
is(worker("state || ' ' || circuit"), 'running open', 'which runs');
ok($http->becomes('/v1/health', 200), 'and serves the other one');
is($http->status('/metrics'), 404, 'as what it is');
kill 'KILL', worker('courier_pid');
ok(poll_sql($node, q{SELECT last_error FROM somamem.workers WHERE sink = 'web'}, expected => $in_use), 'another courier finds the same');
is(said("web worker $in_use"), 1, 'the log says it once');
close $taken;
ok($metrics->becomes('/metrics', 200), 'it is free: it is served');
ok(poll_sql($node, q{SELECT circuit || coalesce(last_error, '') FROM somamem.workers WHERE sink = 'web'}, expected => 'closed'), 'and all is well');
is(said('web worker listens on every address again'), 1, 'the log says so');

# --- kills ---------------------------------------------------------------------------------

my $started = sql('SELECT pg_postmaster_start_time()');
my $session = $node->background_psql('postgres', on_error_stop => 1);
my $backend = $session->query_safe('SELECT pg_backend_pid()');
my $courier = worker('courier_pid');
kill 'KILL', $courier;
ok(poll('another courier serves', sub { return $http->status('/v1/health') == 200 && worker('courier_pid') ne $courier; }), 'a killed courier comes back');
$courier = worker('courier_pid');
kill 'STOP', $courier;
ok(poll('another courier serves', sub { return worker('courier_pid') ne $courier && $http->status('/v1/health') == 200; }), 'a silent one is replaced');
my $pid = worker('pid');
kill 'TERM', $pid;
ok(poll('another worker serves', sub { my $now = worker('pid'); return $now && $now ne $pid && $metrics->status('/metrics') == 200; }),
	'a worker that is terminated comes back');
# A worker that is frozen serves nothing, and nobody waits for it for long.
$pid = worker('pid');
kill 'STOP', $pid;
is($http->status('/v1/health'), 503, 'a frozen worker: 503');
is($http->status('/livez'), 200, 'its courier lives');
kill 'CONT', $pid;
ok($http->becomes('/v1/health', 200), 'it goes on: 200');
is($session->query_safe('SELECT pg_backend_pid()'), $backend, 'sessions notice nothing');
is(sql('SELECT pg_postmaster_start_time()'), $started, 'and the server is the same');
$session->quit;

# --- settings reach it ------------------------------------------------------------------------

configure($node, 'somamem.policy' => 'off');
ok(poll('the document changes', sub { return $http->json('/v1/health')->{components}->{policy}->{engine} eq 'off'; }), 'a reload reaches the document');

# --- a good guest ----------------------------------------------------------------------------

sql('CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION somamem');
ok($http->becomes('/v1/health?database=other', 200), 'a database is served');
my @held = map { $http->open_raw } 1 .. 20;
$node->safe_psql('other', 'DROP EXTENSION somamem');
ok($http->becomes('/v1/health?database=other', 404), 'without the extension it is not');
sql('DROP DATABASE other');
pass('a database is dropped while clients are there');
is(scalar(grep { $_->connected } @held), 20, 'all of whom are still there');

# --- a standby --------------------------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "somamem.http_listen = '" . $other->address . "'\nsomamem.metrics_listen = ''\n");
$standby->start;
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'a standby');
is($other->status('/livez'), 599, 'serves nothing');
$standby->promote;
ok($other->becomes('/metrics', 200), 'until it is promoted');
$standby->stop;

# --- the end -----------------------------------------------------------------------------------

$node->stop('fast');
is($http->status('/livez'), 599, 'after a shutdown nobody is there');
$node->start;
ok($metrics->becomes('/metrics', 200), 'after a start somebody is');
kill_postmaster($node);
is($http->status('/livez'), 599, 'with the postmaster everything ends');
$node->start;
ok($metrics->becomes('/metrics', 200), 'what a crash left is no hindrance');
kill 'KILL', worker('pid');
ok(poll('the server recovers', sub { return $metrics->status('/metrics') == 200 && (eval { worker('state') } // '') eq 'running'; }), 'nor a crash of its own');

# --- no address at all ---------------------------------------------------------------------------

$node->stop;
configure($node, 'somamem.http_listen' => 'localhost', 'somamem.metrics_listen' => 'no.such.name.invalid:80');
$node->start;
ok( poll_sql($node, q{SELECT last_error FROM somamem.workers WHERE sink = 'web' AND last_error LIKE '%; %'},
		expected => 'cannot listen: setting "somamem.http_listen" is no address host:port; '
			. 'could not listen on address "no.such.name.invalid:80" (somamem.metrics_listen): Name or service not known'),
	'what is no address is said');
is(sql('SELECT 1'), 1, 'and keeps no server from running');
$node->stop;
done_testing();
