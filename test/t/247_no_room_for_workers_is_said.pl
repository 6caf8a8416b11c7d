# max_worker_processes too small for the shipper of a sink: health and somamem.workers say so
# for that sink, the log once for the whole episode, however often it is tried; when a slot
# becomes free it starts, and the next episode is said again.
#
# Not a regress test: it needs a server of its own size.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

# One for the server's own logical replication launcher, one for ours, one for a shipper.
my $brain = Somamem::Brain->new;
my $node = new_server('tight', brain => $brain, max_worker_processes => 3,
	'somamem.kafka_brokers' => '127.0.0.1:1', no_extension => 1);

sub said
{
	my ($sink) = @_;
	my @found = slurp_file($node->logfile) =~ /WARNING:  could not start "somamem shipper $sink": no background worker slot is free/g;
	return scalar @found;
}

sub sink_health
{
	my ($sink) = @_;
	my $document = decode($node->safe_psql('postgres', 'SELECT somamem.health()'));
	return $document->{components}->{$sink};
}

$node->safe_psql('postgres', 'CREATE EXTENSION somamem');
ok(shippers_run($node, 'postgres', 1), 'where there is room for one shipper, one runs');
my $without = $node->safe_psql('postgres', "SELECT DISTINCT s FROM unnest('{somabrain,kafka}'::text[]) s"
	. " WHERE s NOT IN (SELECT sink FROM somamem.workers WHERE state = 'running' AND sink IS NOT NULL)");
my ($with) = grep { $_ ne $without } qw(somabrain kafka);
my $restart = "SELECT state = 'backoff' AND last_error ~ 'max_worker_processes' FROM somamem.workers WHERE sink = '$without'";
ok(poll_sql($node, $restart), 'somamem.workers says why the other does not');
is(sink_health($without)->{status}, 'down', 'its component is down');
like(sink_health($without)->{last_error}, qr/max_worker_processes/, 'and says why');

# Meanwhile it is tried again and again, and a probe of another database has room at times.
$node->safe_psql('postgres', 'CREATE DATABASE other' . $_) foreach 1 .. 5;
is(sink_health($without)->{status}, 'down', 'it is still down') foreach 1 .. 10;
is(said($without), 1, 'the log says so once');

configure($node, 'somamem.sinks' => $without);
ok(poll_sql($node, "SELECT state FROM somamem.workers WHERE sink = '$without'", expected => 'running'),
	'when a slot becomes free it starts');
unlike(sink_health($without)->{last_error} // '', qr/max_worker_processes/, 'and no longer says so');
# While the probe ran that found the extension, the other one may have had no room, either.
my $before = said($with);
configure($node, 'somamem.sinks' => 'somabrain,kafka');
ok( poll_sql($node, "SELECT state = 'backoff' AND last_error ~ 'max_worker_processes' FROM somamem.workers WHERE sink = '$with'"),
	'the next time the other one has no room');
ok(poll('it is said', sub { return said($with) == $before + 1; }), 'and it is said');
is(said($without), 1, 'of the first one nothing more');
$node->stop;
done_testing();
