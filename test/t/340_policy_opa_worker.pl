# The policy worker and its courier, with a real Open Policy Agent: they come and go with the
# setting, come back when they are killed, tell of OPA's end and of its return, and are in the
# way of neither DROP DATABASE nor a shutdown.  Who may ask is decided by the socket's mode.
#
# Not a regress test: it signals processes, and looks at files.
use strict;
use warnings;

use Fcntl ':mode';
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Opa;
use Test::More;

need_opa();
my $opa = Somamem::Opa->new;
my $node = new_server('main', 'somamem.policy' => 'builtin', 'somamem.opa_url' => $opa->url);
my $socket = $node->data_dir . '/pg_stat_tmp/somamem.policy';

# A socket's path has little room.
my $short = PostgreSQL::Test::Utils::tempdir_short();
symlink $node->data_dir, "$short/data" or die "could not link: $!";

sub worker
{
	my ($column) = @_;
	return $node->safe_psql('postgres', "SELECT $column FROM somamem.workers WHERE sink = 'policy'");
}

sub health
{
	my ($path) = @_;
	return $node->safe_psql('postgres', "SELECT somamem.health() #>> '{$path}'");
}

sub healthy
{
	my ($status) = @_;
	return poll_sql($node, "SELECT somamem.health() #>> '{components,policy,status}'", expected => $status);
}

# Asks as a session would; returns verdict, rule and reason.
sub ask
{
	my ($input) = @_;
	my $client = IO::Socket::UNIX->new(Peer => "$short/data/pg_stat_tmp/somamem.policy") or return "no connection: $!";
	my ($head, $body) = ('', '');

	$client->syswrite(pack 'VaVVV/a', 13 + length $input, 'Q', 7, 5000, $input);
	return 'the connection ended' unless ($client->sysread($head, 4) // 0) == 4;
	while (length $body < unpack 'V', $head)
	{
		$client->sysread($body, unpack('V', $head) - length $body, length $body) or return 'half an answer';
	}
	my ($type, $number, $verdict, $rest) = unpack 'aVCa*', $body;
	die "not a decision: $type $number" unless $type eq 'D' && $number == 7;
	my @texts;
	foreach (1 .. 2)
	{
		my $length = unpack 'V', substr $rest, 0, 4, '';
		push @texts, $length == 0xFFFFFFFF ? '-' : substr $rest, 0, $length, '';
	}
	return join '|', $verdict, @texts;
}

my $allowed = '{"action":"memory.recall","tenant":"a","query":{"tenant":"a"},"context":{"session_tenant":"a"}}';
my $denied = '{"action":"memory.recall","tenant":"a","query":{"tenant":"b"},"context":{"session_tenant":"a"}}';

# --- it comes and goes with the setting --------------------------------------------

is(worker('count(*)'), 0, 'with the built-in rules there is no policy worker');
is(health('components,policy,status'), 'ok', 'and the built-in rules are well');
is(health('components,policy,engine'), 'builtin', 'named so');
configure($node, 'somamem.policy' => 'opa');
ok(healthy('ok'), 'with OPA there is one: health is ok');
is(worker("state || ' ' || circuit || ' ' || (database IS NULL)"), 'running closed true', 'it runs, for no database');
is(health('components,policy,engine') . ' ' . health('components,policy,circuit'), 'opa closed', 'health names both');
ok(-S $socket, 'the socket is there');
my @file = stat $socket;
is(sprintf('%o', S_IMODE($file[2])), '600', 'for its owner alone');
is($file[4], (stat $node->data_dir)[4], 'who is the server');
is(ask($allowed), '1|-|-', 'it answers: allowed');
is(ask($denied), '2|query_tenant|tenant is not query.tenant', 'it answers: denied, with rule and reason');
is(ask('{}'), '2|unknown_action|no rule allows this action on this resource', 'whatever is asked');

my $pid = worker('pid');
configure($node, 'somamem.policy' => 'off');
ok(poll('the worker ends', sub { return !kill 0, $pid; }), 'off: it goes');
is(worker('count(*)'), 0, 'and is not shown any more');
ok(poll('the socket is gone', sub { return !-e $socket; }), 'with its socket');
is(health('components,policy,status'), 'off', 'health: off');
configure($node, 'somamem.policy' => 'opa');
ok(healthy('ok'), 'on again: it is back');

# --- settings reach it -------------------------------------------------------------

my $courier = worker('courier_pid');
configure($node, 'somamem.opa_decision_path' => '/v1/data/soma/policy/nothing');
ok(poll('decisions are undefined', sub { return ask($allowed) =~ /^3\|-\|undefined decision/; }), 'a reload reaches the courier');
is(health('components,policy,status'), 'ok', 'and OPA is well all the same');
configure($node, 'somamem.opa_decision_path' => '/v1/data/soma/policy/allow');
ok(poll('decisions are defined', sub { return ask($allowed) eq '1|-|-'; }), 'another, too');
is(worker('courier_pid'), $courier, 'it is still the same one');

# --- kills ---------------------------------------------------------------------------

kill 'KILL', $courier;
ok(poll('another courier answers', sub { return ask($allowed) eq '1|-|-' && worker('courier_pid') ne $courier; }),
	'the courier is killed: another answers');
$courier = worker('courier_pid');
kill 'STOP', $courier;
ok(poll('the silent one is replaced', sub { return (worker('courier_pid') || $courier) ne $courier; }),
	'the courier hangs: it is replaced');
ok(healthy('ok'), 'and all is well again');
$pid = worker('pid');
kill 'TERM', $pid;
ok(poll('another worker runs', sub { my $now = worker('pid'); return $now && $now ne $pid; }), 'the worker is terminated: it is back');
ok(healthy('ok'), 'and well');
ok(poll('it answers', sub { return ask($allowed) eq '1|-|-'; }), 'and answers');

# --- OPA -----------------------------------------------------------------------------

$opa->kill_it;
ok(healthy('down'), 'OPA is killed: health is down, though nobody asked');
is(health('status'), 'down', 'as a whole');
like(health('components,policy,last_error'), qr/^could not reach Open Policy Agent/, 'and says why');
is(worker('circuit'), 'open', 'the circuit is open');
like(ask($allowed), qr/^3\|-\|could not reach Open Policy Agent/, 'who asks all the same is told so');
configure($node, 'somamem.policy_dry_run' => 'on');
ok(healthy('degraded'), 'in a dry run that only degrades');
configure($node, 'somamem.policy_dry_run' => 'off');
ok(healthy('down'), 'else it does not');
$opa->start;
ok(healthy('ok'), 'OPA is back: the circuit closes by itself');
is(ask($denied), '2|query_tenant|tenant is not query.tenant', 'and there are decisions');
$opa->hang;
ok(healthy('down'), 'OPA hangs: health is down');
$opa->go_on;
ok(healthy('ok'), 'it goes on: health is ok');

# --- a good guest ----------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', 'DROP DATABASE other');
pass('a database is dropped');
$node->stop('fast');
ok(!-e $socket, 'a shutdown leaves no socket');
$node->start;
ok(healthy('ok'), 'after a restart it is back');
kill_postmaster($node);
pass('with the postmaster everything ends');
$node->start;
ok(healthy('ok'), 'what a crash left is no hindrance');
ok(poll('it answers', sub { return ask($allowed) eq '1|-|-'; }), 'and it answers');
$node->stop;
done_testing();
