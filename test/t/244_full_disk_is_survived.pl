# A full disk.  Where it is the tables' disk, PostgreSQL refuses writes, the server and its
# workers go on, and with room again everything drains.  Where it is the disk of pg_wal,
# PostgreSQL itself goes down; with room again and started, nothing that was acknowledged is
# missing.
#
# Not a regress test: it fills a file system of its own (test/t/run mounts it where it may).
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $disk = $ENV{SMEM_SMALL_DISK};
plan skip_all => 'no small disk here: this user may not mount one' unless $disk;

my $ballast = "$disk/ballast";

# Takes all the room there is.
sub fill_disk
{
	my $block = "\0" x 65536;
	open my $file, '>>', $ballast or die "could not open a file: $!";
	foreach my $size (65536, 4096)
	{
		1 while syswrite($file, $block, $size);
	}
	close $file;
	return;
}

sub move_to_disk
{
	my ($from, $name) = @_;
	system('cp', '-a', $from, "$disk/$name") == 0 or die 'could not copy a folder';
	system('rm', '-rf', $from) == 0 or die 'could not remove a folder';
	symlink "$disk/$name", $from or die "could not link a folder: $!";
	return;
}

my $brain = Somamem::Brain->new;
my @settings = (brain => $brain, no_start => 1, init => [ extra => [ '--wal-segsize=1' ] ],
	min_wal_size => '2MB', max_wal_size => '8MB', wal_recycle => 'off', 'somamem.retry_max' => '1s');

# --- the tables' disk -----------------------------------------------------------
my $node = new_server('tables', @settings);
move_to_disk($node->data_dir . '/base', 'base');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION somamem');
ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
write_rows($node, 't', 's' . $_ % 5, "before $_") foreach 1 .. 20;
ok(drained($node), 'rows are delivered');
$brain->control(mode => 'down');
# So many that the record of their delivery takes new blocks.
$node->safe_psql('postgres', <<'SQL');
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'pending ' || g), 't', 's' || g % 50) FROM generate_series(1, 1500) g) w
SQL
fill_disk();
my ($rc, $out, $err, $tries) = (0, '', '', 0);
while ($rc == 0 && $tries++ < 200)
{
	($rc, $out, $err) = $node->psql('postgres', "SELECT count((" . write_memory('t', 'large', 'large ' . 'x' x 300) . ').id) FROM generate_series(1, 500)');
}
note("refused after $tries tries");
isnt($rc, 0, 'on a full disk a write fails');
like($err, qr/could not (?:extend|write)|No space left/, 'PostgreSQL says why');
is(decode($node->safe_psql('postgres', 'SELECT somamem.health()'))->{version}, '0.1', 'health answers');
$brain->control(mode => 'ok');
# What the worker delivers it cannot record.
ok(poll('the worker meets the full disk', sub {
			return slurp_file($node->logfile) =~ /somamem shipper somabrain (?:ERROR|FATAL):  could not/; }), 'the worker meets it, too');
unlink $ballast or die "could not make room: $!";
my ($id) = write_rows($node, 't', 's1', 'with room again');
ok($id, 'with room again writes succeed');
ok(drained($node), 'the backlog drains');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server did not restart');
unlike(slurp_file($node->logfile), qr/terminating any other active server processes/, 'no session was ended');
my $result = history(written => [ outbox_log($node) ], brain => $brain);
is_clean($result, 'through a full disk');
$node->stop;

# --- the disk of pg_wal ------------------------------------------------------------------
system('rm', '-rf', "$disk/base");
$node = new_server('wal', @settings);
move_to_disk($node->data_dir . '/pg_wal', 'wal');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION somamem');
ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
my $writer = start_writer($node, '-n', 200_000, '-c', 4, '-p', 2000, '-w', 2);
ok(poll('rows are delivered', sub { return $brain->counts->{distinct} > 500; }), 'rows are delivered under load');
fill_disk();
my $folder = Cwd::realpath($node->data_dir);
ok(poll('the server is down', sub { return without_processes($folder); }), 'without room for WAL PostgreSQL goes down');
poll('the writers end', sub { return !still_runs($writer); });
unlink $ballast or die "could not make room: $!";
$node->_update_pid(0);
$node->start;
ok(drained($node), 'with room again, and started, the backlog drains');
$result = history(written => [ $writer->{log} ], brain => $brain, node => $node, kept => 1);
is($result->{sinks}->{somabrain}->{lost}, 0, 'nothing that was acknowledged is lost');
is($result->{sinks}->{somabrain}->{disorder}, 0, 'sessions keep their order');
note(join ', ', map { "$_ $result->{sinks}->{somabrain}->{$_}" } sort keys %{ $result->{sinks}->{somabrain} });
$node->stop;
done_testing();
