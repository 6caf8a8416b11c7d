# Transaction ids pass 2^32: rows and positions compare as they did, with transactions open
# on both sides of it, and crashes on both sides of it.
#
# Not a regress test: it puts a server's transaction ids forward.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', no_extension => 1, autovacuum => 'off', vacuum_freeze_min_age => 0);
my $limit = 2**32;
my $begin = $limit - 1500;

# What is there must be visible to whoever comes 2^32 transactions later.
foreach my $database (qw(template1 postgres))
{
	$node->safe_psql($database, 'VACUUM (FREEZE)');
}
$node->safe_psql('postgres', 'ALTER DATABASE template0 ALLOW_CONNECTIONS true');
$node->safe_psql('template0', 'VACUUM (FREEZE)');
$node->safe_psql('postgres', 'ALTER DATABASE template0 ALLOW_CONNECTIONS false; VACUUM (FREEZE) pg_database;');
$node->stop;
# The page of the commit log that begins the new ids does not exist; the server wants it whole.
my $segment = sprintf '%s/pg_xact/%04X', $node->data_dir, int($begin / (32 * 32768));
open my $file, '>', $segment or die "could not write $segment: $!";
binmode $file;
print $file "\0" x (256 * 1024);
close $file;
$node->command_ok([ 'pg_resetwal', '-f', '-x', $begin, '-u', $begin - 1000, '-e', 5, $node->data_dir ],
	'the next transaction id is put forward');
configure($node, brain => $brain);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION somamem');
ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

sub current
{
	return $node->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())');
}

my $low = 5 * $limit + $begin;
cmp_ok(current(), '>=', $low, 'close to the end of 32 bits');
cmp_ok(current(), '<', 6 * $limit, 'and below it');

write_rows($node, 't', 's', 'before');
ok(drained($node), 'a row from before is delivered');
my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN; SELECT ' . write_memory('t', 'late', 'early id, late commit') . ';');
my $prepared = $node->background_psql('postgres');
$prepared->query_safe('BEGIN; SELECT ' . write_memory('t', 'prepared', 'prepared before') . "; PREPARE TRANSACTION 'p';");
$prepared->quit;

# Across it in steps, with a write and a look at each.
my $n = 0;
while (current() < 6 * $limit + 500 && $n < 100)
{
	$node->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 60 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
	write_rows($node, 't', 's', 'across ' . ++$n);
}
cmp_ok(current(), '>=', 6 * $limit + 500, 'the end of 32 bits is passed');
ok(poll('they arrive', sub { return $brain->counts->{distinct} == 1 + $n; }), 'what was written on the way is delivered');
$open->query_safe('SELECT ' . write_memory('t', 'late', 'late id, late commit') . '; COMMIT;');
$open->quit;
ok(drained($node), 'what began before and ended after is delivered');
restart_killed($node);
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
write_rows($node, 't', 's', 'after');
ok(drained($node), 'what was prepared before is delivered, after a crash');
my $result = history(written => [ outbox_log($node) ], brain => $brain);
is($result->{written}, 5 + $n, 'all of it was written');
is_clean($result, 'across the end of 32 bits', exactly => 1);

$node->stop;
done_testing();
