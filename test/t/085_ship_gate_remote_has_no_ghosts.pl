# somamem.ship_gate = remote: what a synchronous standby has not got is not sent, however
# its writer committed; so a failover to that standby leaves nothing in the sinks that the
# new primary does not know.
#
# Not a regress test: it needs two servers and a failover.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $primary = new_server('primary', brain => $brain, topic => $topic, init => [ allows_streaming => 1 ],
	'somamem.ship_gate' => 'remote');

ok(shippers_run($primary), 'the shippers run');
my ($alone) = write_rows($primary, 'acme', 's', 'before there is a standby');
is($primary->safe_psql('postgres', "SELECT somamem.wait_for($alone)"), 't',
	'without synchronous standbys nothing is waited for');

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
configure($primary, synchronous_standby_names => 'standby');
ok(poll_sql($primary, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", expected => 1),
	'the standby is synchronous');
my ($conninfo) = $standby->safe_psql('postgres', 'SHOW primary_conninfo');

sub cut_off
{
	$standby->append_conf('postgresql.conf', "primary_conninfo = ''");
	$standby->reload;
	return poll_sql($primary, 'SELECT count(*) FROM pg_stat_replication', expected => 0, what => 'the standby is gone');
}

sub reconnect
{
	$standby->append_conf('postgresql.conf', "primary_conninfo = '" . ($conninfo =~ s/'/''/gr) . "'");
	$standby->reload;
	return;
}

# One that waits for nobody, and one whose wait is cancelled: both are visible, and the standby has neither.
sub write_unreplicated
{
	my ($mark) = @_;
	my $writer;

	$primary->safe_psql('postgres',
		'SET synchronous_commit = local; SELECT ' . write_memory('acme', 's', "local $mark"));
	$writer = start_program('psql', '-X', '-h', $primary->host, '-p', $primary->port, '-d', 'postgres',
		'-c', 'SELECT ' . write_memory('acme', 's', "cancelled $mark"));
	ok(poll_sql($primary, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
		'a writer waits for the standby, and is told to give up');
	ok(finish_program($writer), 'it does');
	is($primary->safe_psql('postgres', "SELECT count(*) FROM somamem.outbox WHERE payload ->> 'content' LIKE '% $mark'"),
		2, 'its row is visible all the same');
	return;
}

# Nothing tells that a shipper does nothing, but that it looked since: its lag grows.
sub nothing_is_sent
{
	my ($mark) = @_;

	ok(poll_sql($primary, 'SELECT min(lag_seconds) > 2 FROM somamem.outbox_status'), 'the shippers see that rows wait');
	is(scalar(grep { /$mark/ } $brain->contents), 0, 'SomaBrain has nothing of it');
	is(scalar(grep { $_->{value}->{payload}->{content} =~ /$mark/ } $topic->messages), 0, 'nor has Kafka');
	return;
}

my ($both) = write_rows($primary, 'acme', 's', 'replicated');
is($primary->safe_psql('postgres', "SELECT somamem.wait_for($both)"), 't', 'what the standby has is sent');

ok(cut_off(), 'the standby is cut off');
write_unreplicated('first');
nothing_is_sent('first');
reconnect();
ok(drained($primary), 'the standby is back, and all is sent');
is_deeply([ $brain->contents('s') ],
	[ 'before there is a standby', 'replicated', 'local first', 'cancelled first' ], 'in order');

ok(cut_off(), 'it is cut off again');
write_unreplicated('second');
nothing_is_sent('second');
$primary->stop('immediate');
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$standby->promote;
ok(shippers_run($standby), 'promoted, it ships');
my ($new) = write_rows($standby, 'acme', 's', 'after the failover');
is($standby->safe_psql('postgres', "SELECT somamem.wait_for($new)"), 't', 'what is written now');
ok(drained($standby), 'and everything');
is($standby->safe_psql('postgres', "SELECT count(*) FROM somamem.outbox WHERE payload ->> 'content' LIKE '% second'"),
	0, 'two rows were lost with the primary');
is_clean(history(written => [ outbox_log($standby) ], brain => $brain, topic => $topic),
	'the sinks hold nothing that the new primary has not');

$standby->stop;
done_testing();
