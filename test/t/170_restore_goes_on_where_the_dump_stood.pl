# pg_dump runs while rows are shipped; restored into another server, whose transaction ids are
# others, the outbox goes on: what was not acknowledged is delivered, what was is not sent
# again, new writes follow, and the ledger knows the old keys.
#
# Not a regress test: it needs servers with transaction ids far apart.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('source', brain => $brain, 'somamem.max_attempts' => 100,
	'somamem.retry_initial' => '1s', 'somamem.retry_max' => '5s');

# Takes so many transaction ids.
sub age
{
	my ($server, $ids) = @_;
	$server->safe_psql('postgres',
		"DO \$\$ BEGIN FOR i IN 1 .. $ids LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END \$\$");
	return;
}

# --- a source with rows in every state ---------------------------------------
ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
write_rows($node, 't', 's' . $_ % 5, "old $_") foreach 1 .. 60;
age($node, 3000);
write_rows($node, 't', 's' . $_ % 5, "old $_") foreach 61 .. 120;
$brain->control(mode => 'status', status => 422, content => 'bad');
write_rows($node, 't', 'bad', 'bad');
$node->safe_psql('postgres', 'SELECT ' . write_memory('t', 'later', 'delayed', "deliver_after => now() + interval '20 s'"));
ok(poll_sql($node, "SELECT count(*) FROM somamem.parked", expected => 1), 'one row waits for its time');
$node->safe_psql('postgres', 'SELECT ' . write_memory('t', 'keyed', 'with a key', "idempotency_key => 'k1'"));
ok(poll('delivered', sub { return $brain->counts->{distinct} == 121; }), 'others are delivered or dead');
$brain->control(mode => 'down');
# A transaction that is over in no snapshot of the position, and rows behind it.
my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN; SELECT ' . write_memory('t', 's0', 'late'));
write_rows($node, 't', 's' . $_ % 5, "pending $_") foreach 1 .. 40;
$open->query_safe('COMMIT;');
$open->quit;
age($node, 2000);
write_rows($node, 't', 's' . $_ % 5, "pending $_") foreach 41 .. 50;

# What is ahead of the position is in the log, too.
$node->safe_psql('postgres', "INSERT INTO somamem.ahead (sink, id) SELECT 'somabrain', min(id) FROM somamem.outbox");

my $dump = scratch('dump.sql');
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump runs while a sink is away');
my @tables = qw(idempotency outbox shipment parked dead_letter);
my %source = map { $_ => $node->safe_psql('postgres', "SELECT count(*) FROM somamem.$_") } @tables;
my $old_id = $node->safe_psql('postgres', "SELECT id FROM somamem.outbox WHERE idempotency_key = 'k1'");
$node->stop;

# --- restored twice: into a younger server, and into an older one -------------------
foreach my $ids (0, 20_000)
{
	my $title = $ids ? 'older server' : 'younger server';
	my $other = Somamem::Brain->new;
	my $target = new_server("target$ids", brain => $other, no_extension => 1, 'somamem.lag_warning' => '1s');
	my %target;

	age($target, $ids) if $ids;
	# The service is away at first, so that the tables can be compared.
	$other->control(mode => 'down');
	$target->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('postgres'), '-f', $dump ],
		"$title: the dump is restored while workers look");
	%target = map { $_ => $target->safe_psql('postgres', "SELECT count(*) FROM somamem.$_") } @tables;
	is_deeply(\%target, \%source, "$title: rows, ledger, log, parked rows and dead letters are there");
	is( $target->safe_psql('postgres',
			'SELECT id, deduplicated FROM ' . write_memory('t', 'keyed', 'with a key', "idempotency_key => 'k1'")),
		"$old_id|t", "$title: a repeat finds its first receipt");

	# New writes, also of transactions that began before the workers knew where they are.
	my @new = write_rows($target, 't', 's1', map { "new $_" } 1 .. 20);
	cmp_ok($new[0], '>', $source{outbox}, "$title: ids go on");
	is(status_of($target, $new[0]), 'somabrain pending', "$title: a new row is not taken for an old one");
	$other->control(mode => 'ok');
	ok(drained($target), "$title: the backlog drains");
	is(status_of($target, $new[0]), 'somabrain delivered', "$title: and status says so");
	is(status_of($target, $old_id), 'somabrain delivered', "$title: also of what was delivered elsewhere");
	is($target->safe_psql('postgres', 'SELECT count(*) FROM somamem.ahead'), 0, "$title: nothing is ahead here");
	my @expected = (qw(delayed late), (map { "new $_" } 1 .. 20), (map { "pending $_" } 1 .. 50));
	is_deeply([ sort $other->contents ], [ sort @expected ], "$title: what was not acknowledged arrives, nothing else");
	is_deeply(
		[ grep { !/late/ } $other->contents('s1') ],
		[ (map { "pending " . (1 + 5 * $_) } 0 .. 9), (map { "new $_" } 1 .. 20) ],
		"$title: in the order of its session");
	is($other->counts->{repeats}, 0, "$title: once");

	# The position is this server's own now.
	restart_killed($target);
	write_rows($target, 't', 's1', 'after a restart');
	ok(drained($target), "$title: writes after a restart drain");
	is($other->counts->{items}, 73, "$title: each once");
	$target->stop;
	$other->kill_it;
}
done_testing();
