# The primary is killed under load and its synchronous standby promoted: every write that was
# acknowledged is delivered by the new primary, to both sinks, in the order of its session, and
# the new primary is active within seconds.  The writers go on at the new primary.
#
# What the old primary sent before the standby had it is a ghost to the new one: that is
# somamem.ship_gate's subject, and so ghosts are counted here and not judged.
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
use Time::HiRes qw(time);

need_kafka();

my $brain = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $primary = new_server('primary', brain => $brain, topic => $topic, init => [ allows_streaming => 1 ]);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "cluster_name = 'standby'\nmax_connections = 60");
$standby->start;
configure($primary, synchronous_standby_names => '*');
ok(poll_sql($primary, "SELECT sync_state FROM pg_stat_replication", expected => 'sync'), 'the standby is synchronous');
ok(shippers_run($primary), 'the shippers of the primary run');

# --- killed in the middle of it -----------------------------------------------
my $writer = start_writer($primary, '-n', 100_000, '-c', 6, '-s', 12, '-w', 5);
ok(poll('rows are delivered under load', sub { return $brain->counts->{distinct} > 1500; }), 'rows are delivered under load');
ok(kill_postmaster($primary), 'the primary is killed');
my $killed = time;
kill 'TERM', $writer->{pid};
$standby->promote;
my $promoted = time;
# Active: both sinks have acknowledged what was written after the promotion.
my ($first) = write_rows($standby, 'after', 's', 'first of the new primary');
is($standby->safe_psql('postgres', "SELECT somamem.wait_for($first, NULL, '60 s')"), 't', 'the new primary is active');
note(sprintf 'active %.1f s after the kill, %.1f s after the promotion', time - $killed, time - $promoted);
poll('the writers have ended', sub { return !still_runs($writer); });

# --- the writers go on ------------------------------------------------------------------
my $second = start_writer($standby, '-n', 1000, '-c', 6, '-s', 4);
ok(finish_program($second), 'writers go on at the new primary');
ok(drained($standby), 'its backlog drains');
my $result = history(written => [ $writer->{log}, $second->{log} ], brain => $brain, topic => $topic);
foreach my $sink (sort keys %{ $result->{sinks} })
{
	my $counts = $result->{sinks}->{$sink};
	note("$sink: " . join ', ', map { "$_ $counts->{$_}" } sort keys %$counts);
	is($counts->{lost}, 0, "nothing that was acknowledged is lost: $sink");
	is($counts->{disorder}, 0, "every session keeps its order: $sink");
	is($counts->{differs}, 0, "contents are equal: $sink");
}
# Of the rows that the new primary has, nothing is missing, acknowledged or not.
my $all = history(written => [ outbox_log($standby) ], brain => $brain, topic => $topic);
is($all->{sinks}->{$_}->{lost}, 0, "all that it has is delivered: $_") foreach sort keys %{ $all->{sinks} };
$standby->stop;
done_testing();
