# A standby runs nothing; promoted, it ships within seconds from where the old primary stood:
# what the sinks had not acknowledged, and nothing else.
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
ok(shippers_run($primary), 'the shippers of the primary run');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# What the server's processes that are ours call themselves, couriers included.  Folders of
# couriers cannot be read, so the postmaster's descendants are followed.
sub processes_of
{
	my ($node) = @_;
	my %ours = ($node->{_pid} => 1);
	my @found;

	# Twice, for a child may stand before its parent.
	foreach my $process ((glob '/proc/[0-9]*/stat') x 2)
	{
		open my $file, '<', $process or next;
		my ($pid, $parent) = (<$file> // '') =~ /^(\d+) \(.*\) \S (\d+)/ or next;
		$ours{$pid} = 1 if $ours{$parent};
	}
	foreach my $pid (keys %ours)
	{
		open my $file, '<', "/proc/$pid/cmdline" or next;
		local $/;
		push @found, $1 if (<$file> // '') =~ /(somamem[- ](?:courier|launcher|shipper|probe))/;
	}
	return join ' ', sort @found;
}

is(processes_of($primary), 'somamem launcher somamem shipper somamem shipper somamem-courier somamem-courier',
	'the primary has a launcher, shippers and couriers');

# Half of it delivered everywhere, the other half not by SomaBrain.
$primary->safe_psql('postgres', 'SELECT ' . write_memory('acme', "s$_", 'before')) foreach 1 .. 3;
$primary->safe_psql('postgres', <<'SQL');
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'delivered ' || g), 'acme', 's' || g % 7) FROM generate_series(1, 3000) g) w
SQL
ok(drained($primary), 'the primary is drained');
$brain->control(mode => 'down');
$primary->safe_psql('postgres', <<'SQL');
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'undelivered ' || g), 'acme', 's' || g % 7) FROM generate_series(1, 500) g) w
SQL
my ($last) = write_rows($primary, 'acme', 's0', 'last of the primary');
is($primary->safe_psql('postgres', "SELECT somamem.wait_for($last, 'kafka')"), 't', 'one of two sinks has all');
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
$brain->control(mode => 'ok');

is(processes_of($standby), '', 'a standby runs no process of ours');
my ($rc, $out, $err) = $standby->psql('postgres', 'SELECT ' . write_memory('acme', 's', 'refused'));
isnt($rc, 0, 'a standby takes no writes');
like($err, qr/read-only/, 'and says why');
is( $standby->safe_psql('postgres', "SELECT string_agg(sink || ' ' || state, ',' ORDER BY sink) FROM somamem.status($last)"),
	'kafka delivered,somabrain pending', 'but it tells where a row is');
my $requests = $brain->counts->{requests}->{batch};

$standby->promote;
my $start = time;
is($standby->safe_psql('postgres', "SELECT somamem.wait_for($last, NULL, '60 s')"), 't', 'promoted, it delivers');
my $took = time - $start;
note(sprintf 'delivered %.1f s after the promotion', $took);
cmp_ok($took, '<', 15, 'within seconds');
cmp_ok($brain->counts->{requests}->{batch}, '>', $requests, 'it did so itself');
my ($new) = write_rows($standby, 'acme', 's0', 'written after the promotion');
ok(drained($standby), 'the backlog drains');
is(status_of($standby, $new), 'somabrain delivered,kafka delivered', 'new writes go on');

my $result = history(written => [ outbox_log($standby) ], brain => $brain, topic => $topic);
is_clean($result, 'nothing is lost by the failover, and nothing sent again', exactly => 1);
$standby->stop;
done_testing();
