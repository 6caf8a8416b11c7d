# Three brokers under attack: the leader of a partition is killed under load, all of them are
# gone and come back, a broker refuses the password, or shows a certificate that nobody knows.
# Nothing is lost, repeated or reordered; the trouble is named without a secret, and is over when
# its cause is.
#
# Not a regress test: it needs brokers of its own, and kills them.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Broker;
use Somamem::Topic;
use Test::More;

need_kafka();

my $certificate = scratch('broker');
run_log([
		'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=broker',
		'-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', "$certificate.key", '-out', "$certificate.crt"
	]) or die 'could not make a certificate';
append_to_file("$certificate.pem", slurp_file("$certificate.key") . slurp_file("$certificate.crt"));

my $brokers = Somamem::Broker->new(
	nodes => 3,
	listeners => 'SASL_PLAINTEXT SSL',
	'broker.session.timeout.ms' => 2000,
	'broker.heartbeat.interval.ms' => 200,
	'controller.quorum.fetch.timeout.ms' => 1000,
	'controller.quorum.election.timeout.ms' => 500,
	'listener.name.sasl_plaintext.sasl.enabled.mechanisms' => 'PLAIN',
	'listener.name.sasl_plaintext.plain.sasl.jaas.config' =>
		'org.apache.kafka.common.security.plain.PlainLoginModule required user_app="right-secret";',
	'listener.name.ssl.ssl.keystore.type' => 'PEM',
	'listener.name.ssl.ssl.keystore.location' => "$certificate.pem");
my $topic = Somamem::Topic->new(bootstrap => $brokers->bootstrap);
my $node = new_server('main', topic => $topic);
my $properties = scratch('client.properties');
my @logs;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub last_error
{
	return sql("SELECT coalesce(last_error, '') FROM somamem.workers WHERE sink = 'kafka'");
}

# Who leads a partition, as an id of the brokers, which is the node's number.
sub leader
{
	my ($partition) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'kcat', '-L', '-J', '-m', 2, '-b', $brokers->bootstrap, '-t', $topic->name ],
		'<', \undef, '>', \$out, '2>', \$err) or return 0;
	my ($found) = grep { $_->{partition} == $partition } @{ decode($out)->{topics}->[0]->{partitions} };
	return $found ? $found->{leader} : 0;
}

# Writes so many rows, a thousand a second.
sub load
{
	my ($name, $rows) = @_;
	my $writer = start_writer($node, '-n', $rows, '-R', 1000, '-c', 4, '-u', $name);

	push @logs, $writer->{log};
	return finish_program($writer);
}

# A row on its own; returns its id.
sub write_one
{
	my $name = 'one' . @logs;

	load($name, 1) or die 'could not write a row';
	return sql('SELECT max(id) FROM somamem.outbox');
}

# As an operator would: a new file, its owner's alone, and a reload.
sub use_brokers
{
	my ($listener, %property) = @_;

	unlink $properties;
	append_to_file($properties, join '', map { "$_=$property{$_}\n" } sort keys %property);
	chmod 0600, $properties or die "could not change the mode: $!";
	configure($node,
		'somamem.kafka_brokers' => $brokers->bootstrap($listener),
		'somamem.kafka_config_file' => %property ? $properties : '');
	return;
}

# The sink is in trouble, says so without the secret, and nothing is given up.
sub troubled
{
	my ($pattern, $title) = @_;
	my $id = write_one();

	ok(poll($title, sub { return last_error() =~ $pattern; }, last => \&last_error), "$title: somamem.workers says why");
	note(last_error());
	like(sql("SELECT somamem.health() -> 'components' -> 'kafka' ->> 'status'"), qr/^degraded$/,
		"$title: so does health");
	unlike(sql('SELECT somamem.health()') . last_error(), qr/secret/, "$title: without the secret");
	return $id;
}

sub is_over
{
	my ($id, $title) = @_;

	is(sql("SELECT somamem.wait_for($id, 'kafka', '60 s')"), 't', "$title: delivered");
	ok(poll_sql($node, "SELECT somamem.health() -> 'components' -> 'kafka' ->> 'status'", expected => 'ok'),
		"$title: health is good again");
	return;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
my @workers = (worker_pid($node, 'kafka'), courier_pid($node, 'kafka'));
my $started = sql('SELECT pg_postmaster_start_time()');
write_one();
ok(drained($node), 'the topic is made');

# --- a leader is killed --------------------------------------------------------------

# The followers stand still first: what the leader has then is nowhere else when it is killed, and
# is lost if any of it was taken for delivered.
ok(load('before', 1000), 'rows are written');
ok(drained($node), 'and delivered');
my $leader;
ok(poll('a leader is known', sub { return $leader = leader(0); }), 'a leader is known');
my @followers = grep { $_ != $leader } 1 .. 3;
$brokers->pause(@followers);
ok(load('still', 600), 'its followers stand still: writers go on');
$brokers->kill_it($leader);
$brokers->resume(@followers);
ok(load('after', 1000), 'it is killed: writers go on');
ok(drained($node), 'and all is delivered');
ok(poll('another one leads', sub { my $now = leader(0); return $now > 0 && $now != $leader; }), 'by way of another leader');

# --- all are gone --------------------------------------------------------------------

$brokers->kill_it($_) foreach @followers;
ok(load('gone', 1000), 'no broker is there: writers go on');
my $waiting = troubled(qr/./, 'no broker is there');
$brokers->start;
is_over($waiting, 'brokers are back');
ok(drained($node), 'all is delivered');

# --- authentication ------------------------------------------------------------------

my %sasl = ('security.protocol' => 'SASL_PLAINTEXT', 'sasl.mechanism' => 'PLAIN', 'sasl.username' => 'app');
use_brokers('SASL_PLAINTEXT', %sasl, 'sasl.password' => 'wrong-secret');
$waiting = troubled(qr/authentication/i, 'a password is refused');
use_brokers('SASL_PLAINTEXT', %sasl, 'sasl.password' => 'right-secret');
is_over($waiting, 'the right password, by reload');

# --- TLS -----------------------------------------------------------------------------

use_brokers('SSL', 'security.protocol' => 'ssl');
$waiting = troubled(qr/certificate|ssl/i, 'a certificate that nobody knows');
use_brokers('SSL', 'security.protocol' => 'ssl', 'ssl.ca.location' => "$certificate.crt");
is_over($waiting, 'with the CA file');

is_deeply([ worker_pid($node, 'kafka'), courier_pid($node, 'kafka') ], \@workers, 'shipper and courier are the same');
is(sql('SELECT pg_postmaster_start_time()'), $started, 'the server did not restart');
is(sql('SELECT count(*) FROM somamem.dead_letters'), 0, 'no row was given up');
my $result = history(written => \@logs, topic => $topic);
is_clean($result, 'a leader killed, brokers gone', exactly => 1);
$node->stop;
unlike(slurp_file($node->logfile), qr/(?:right|wrong)-secret/, 'no password is in the log');
done_testing();
