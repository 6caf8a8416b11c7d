# A restored row keeps the transaction id of the server that wrote it.  When this server's own
# counter comes to that number, the row is not taken for one of a transaction that has just ended.
#
# Not a regress test: it needs two servers.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $old = new_server('old', brain => $brain);
my $dump = scratch('dump.sql');

sub use_up_transactions
{
	my ($node, $to) = @_;
	$node->safe_psql('postgres',
		"DO \$\$ BEGIN WHILE pg_current_xact_id()::text::bigint < $to LOOP COMMIT; END LOOP; END \$\$");
	return;
}

ok(shippers_run($old, 'postgres', 1), 'the old server ships');
use_up_transactions($old, 5000);
write_rows($old, 'acme', 's', map { "old $_" } 1 .. 20);
ok(drained($old), 'all it has');
my $first = $old->safe_psql('postgres', 'SELECT min(xid::text::bigint) FROM somamem.outbox');
$old->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'it is dumped');
$old->stop;

my $node = new_server('new', brain => $brain, no_extension => 1);
$node->command_ok([ 'psql', '-X', '-q', '-f', $dump, '-d', $node->connstr('postgres') ], 'and restored');
ok(shippers_run($node, 'postgres', 1), 'the new server ships');
my ($id) = write_rows($node, 'acme', 'n', 'new 1');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($id)"), 't', 'what is new');
is($brain->counts->{repeats}, 0, 'and nothing else');

# Transactions with the numbers of restored rows are in progress at one look, and over at the next.
use_up_transactions($node, $first);
$node->safe_psql('postgres', "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'p$_'") foreach 1 .. 10;
($id) = write_rows($node, 'acme', 'n', 'new 2');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($id)"), 't', 'a row is delivered while they are in progress');
$node->safe_psql('postgres', "COMMIT PREPARED 'p$_'") foreach 1 .. 10;
($id) = write_rows($node, 'acme', 'n', 'new 3');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($id)"), 't', 'and one when they are over');
is($brain->counts->{repeats}, 0, 'no restored row went before it');

$node->stop;
done_testing();
