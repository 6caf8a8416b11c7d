# A statement that needs a database without sessions stops its workers to the end of its
# transaction and no longer, however that ends; and a database is found whatever made it one
# that is to be served.
#
# Not a regress test: it needs several databases, and a shipper that does not stop when asked.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub runs
{
	my ($database, $count) = @_;
	return poll_sql($node,
		"SELECT count(*) FROM somamem.workers WHERE database = '$database' AND state = 'running'",
		expected => $count // 1);
}

sub delivers
{
	my ($database) = @_;
	my ($id) = split /\n/, $node->safe_psql($database, 'SELECT id FROM ' . write_memory($database, 's', 'x'));
	return $node->safe_psql($database, "SELECT somamem.wait_for($id)") eq 't';
}

ok(runs('postgres'), 'the first database is served');
foreach my $database (qw(a b))
{
	sql("CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION somamem');
	ok(runs($database), "\"$database\" is served");
}

# Undone, and several in one transaction.
sql('BEGIN; ALTER DATABASE a RENAME TO c; ROLLBACK;');
ok(runs('a'), 'RENAME that is undone');
sql('BEGIN; ALTER DATABASE a RENAME TO c; ALTER DATABASE b RENAME TO a; ALTER DATABASE c RENAME TO b; COMMIT;');
ok(runs($_) && delivers($_), "names that are swapped in one transaction: \"$_\"") foreach qw(a b);
$node->safe_psql('a', 'BEGIN; DROP EXTENSION somamem; ROLLBACK;');
ok(runs('a') && delivers('a'), 'DROP EXTENSION that is undone');
my ($rc) = $node->psql('postgres', 'BEGIN; DROP DATABASE a; COMMIT;');
isnt($rc, 0, 'DROP DATABASE is refused in a transaction');
ok(runs('a') && delivers('a'), 'and changes nothing');

# Cancelled while it waits for a shipper that does not stop.
my $shipper = worker_pid($node, 'somabrain', 'a');
my $session = $node->background_psql('postgres', on_error_stop => 0);
kill 'STOP', $shipper;
$session->query("SET statement_timeout = '500ms'; ALTER DATABASE a RENAME TO c;");
kill 'CONT', $shipper;
ok(runs('a') && delivers('a'), 'a RENAME that is cancelled while it waits, although its session lives on');
is($session->query('SELECT 1'), '1', 'as it does');
$session->quit;

# The extension comes to a database by other ways than CREATE EXTENSION.
sql('ALTER DATABASE a ALLOW_CONNECTIONS false');
ok(runs('a', 0), 'a database that takes no connections is left alone');
sql('ALTER DATABASE a ALLOW_CONNECTIONS true');
ok(runs('a') && delivers('a'), 'and is found again when it does');
sql('CREATE DATABASE prepared');
$node->safe_psql('prepared', "BEGIN; CREATE EXTENSION somamem; PREPARE TRANSACTION 'extension';");
$node->safe_psql('prepared', "COMMIT PREPARED 'extension'");
ok(runs('prepared') && delivers('prepared'), 'CREATE EXTENSION in a prepared transaction');

# A launcher that begins anew finds workers where it has not started them itself.
my @before = split /\n/, sql('SELECT pid FROM somamem.workers WHERE sink IS NOT NULL ORDER BY 1');
my $launcher = sql('SELECT pid FROM somamem.workers WHERE sink IS NULL');
sql("SELECT pg_terminate_backend($launcher)");
ok(poll_sql($node, "SELECT count(*) FROM somamem.workers WHERE sink IS NULL AND pid <> $launcher", expected => 1),
	'another launcher comes');
sql('CREATE DATABASE late');
$node->safe_psql('late', 'CREATE EXTENSION somamem');
ok(runs('late'), 'and works');
is( sql('SELECT pid FROM somamem.workers WHERE sink IS NOT NULL AND database <> $$late$$ ORDER BY 1'),
	join("\n", @before),
	'the workers of before go on');
is($brain->counts->{repeats}, 0, 'nothing was sent twice');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|deadlock|FATAL(?!.*terminating)/, 'the log has nothing worse than the refusals');
done_testing();
