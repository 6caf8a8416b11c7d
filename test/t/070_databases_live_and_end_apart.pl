# Every database of a server has shippers, positions and an end of its own: made late, renamed,
# copied, switched off, dropped, none of it is felt by another one, and nothing is lost or
# sent twice.
#
# Not a regress test: databases are made and dropped, settings are reloaded, sinks hang.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new;
my $topic = Somamem::Topic->new;
my $node = new_server('main', brain => $brain, topic => $topic);
my @logs;

sub remember
{
	my ($database, $content) = @_;
	my ($id) = split /\n/,
		$node->safe_psql($database, 'SELECT id FROM ' . write_memory($database, 's', $content));
	return $id;
}

sub shippers_of
{
	my ($database) = @_;
	return $node->safe_psql('postgres',
		"SELECT string_agg(pid::text, ' ' ORDER BY sink) FROM somamem.workers WHERE database = '$database'");
}

# Polled from outside the database, so that no session of ours keeps it from being dropped.
sub runs
{
	my ($database, $count) = @_;
	return poll_sql($node,
		"SELECT count(*) FROM somamem.workers WHERE database = '$database' AND state = 'running'",
		expected => $count);
}

ok(shippers_run($node), 'the first database is served');
my $undisturbed = shippers_of('postgres');

# The extension comes late, and not before its transaction commits.
$node->safe_psql('postgres', 'CREATE DATABASE two');
my $session = $node->background_psql('two');
$session->query_safe('BEGIN; CREATE EXTENSION somamem; ROLLBACK;');
$session->query_safe('BEGIN; CREATE EXTENSION somamem;');
$session->query_safe('SELECT ' . write_memory('two', 's', 'with the extension itself'));
is(shippers_of('two'), '', 'no shipper runs before CREATE EXTENSION commits');
$session->query_safe('COMMIT;');
$session->quit;
ok(runs('two', 2), 'CREATE EXTENSION in a second database starts its shippers');
remember($_, "from $_") foreach qw(postgres two);
ok(drained($node, $_), "\"$_\" is drained") foreach qw(postgres two);

# Renamed while a sink hangs and a row is under way: nobody waits for the sink.
$brain->control(mode => 'hang', tenant => 'two');
my $hanging = remember('two', 'under way while renamed');
ok(poll('the request hangs', sub { return $brain->counts->{requests}->{batch} >= 4; }), 'a row is under way');
$node->safe_psql('postgres', 'ALTER DATABASE two RENAME TO three');
ok(runs('three', 2), 'after ALTER DATABASE RENAME the shippers go on under the new name');
is(shippers_of('two'), '', 'and not under the old one');
$brain->control(mode => 'ok');
is($node->safe_psql('three', "SELECT somamem.wait_for($hanging)"), 't', 'the row is delivered');

# A copy goes on where the original stood.
ok(drained($node, 'three'), 'the original is drained');
my $items = $brain->counts->{items};
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE three');
ok(runs('copy', 2), 'a copy of a served database is served');
ok(runs('three', 2), 'and so is the original again');
remember($_, "after the copy from $_") foreach qw(three copy);
ok(drained($node, $_), "\"$_\" is drained") foreach qw(three copy);
is($brain->counts->{items}, $items + 2, 'nothing of before the copy is sent again');

# Settings that say what is served.
configure($node, 'somamem.databases' => 'postgres,copy');
ok(runs('three', 0), 'a database that is not in somamem.databases is left alone');
my $waiting = remember('three', 'while not served');
configure($node, 'somamem.sinks' => 'kafka');
ok(runs('postgres', 1), 'a sink that is not in somamem.sinks has no shipper');
my $partly = remember('postgres', 'while one sink is off');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($partly)"), 't', 'the other sink goes on');
is(status_of($node, $partly), 'kafka delivered', 'status speaks of the other sink alone');
is($node->safe_psql('three', "SELECT string_agg(state, ',') FROM somamem.status($waiting)"),
	'pending', 'what is not served is pending');
configure($node, 'somamem.databases' => '*', 'somamem.sinks' => 'somabrain,kafka');
ok(runs($_, 2), "\"$_\" is served again") foreach qw(three postgres);
is($node->safe_psql('three', "SELECT somamem.wait_for($waiting)"), 't', 'what waited is delivered');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($partly)"), 't', 'by the sink that was off, too');
is((split / /, shippers_of('postgres'))[0], (split / /, $undisturbed)[0],
	'the sink that stayed on kept its process through all of it');
$undisturbed = shippers_of('postgres');

# Dropped and made again, the extension begins anew.
push @logs, outbox_log($node, 'three');
$node->safe_psql('three', 'DROP EXTENSION somamem');
ok(runs('three', 0), 'DROP EXTENSION ends the shippers');
$node->safe_psql('three', 'CREATE EXTENSION somamem');
ok(runs('three', 2), 'made again, the extension is served again');
my $anew = remember('three', 'made anew');
is($node->safe_psql('three', "SELECT somamem.wait_for($anew)"), 't', 'and delivers');
$node->safe_psql('three', 'BEGIN; DROP EXTENSION somamem; CREATE EXTENSION somamem; COMMIT;');
$anew = remember('three', 'made anew in one transaction');
is($node->safe_psql('three', "SELECT somamem.wait_for($anew)"), 't', 'the same in one transaction');

# Dropped while a sink hangs.
push @logs, outbox_log($node, 'copy');
$brain->control(mode => 'hang', tenant => 'copy');
remember('copy', 'lost with its database');
$node->safe_psql('postgres', 'DROP DATABASE copy');
is(shippers_of('copy'), '', 'DROP DATABASE takes its shippers along, also while a sink hangs');
my $last = remember('postgres', 'after the drop');
is($node->safe_psql('postgres', "SELECT somamem.wait_for($last)"), 't', 'another database goes on');
is(shippers_of('postgres'), $undisturbed, 'with the shippers it had');

push @logs, outbox_log($node, 'postgres');
my @seen = $brain->contents('s');
ok((!grep { $_ eq 'lost with its database' } @seen), 'what was dropped is not sent');
is(scalar(grep { /^made anew/ } @seen), 2, 'what was written anew is');
my $result = history(written => \@logs, brain => $brain);
is($result->{sinks}->{somabrain}->{lost}, 0, 'nothing that was committed is lost')
	or diag(join "\n", @{ $result->{examples} });

my %named;
my @messages = $topic->messages;
$named{ join ' ', map { $_->[1] } grep { $_->[0] =~ /^ce_(?:id|source)$/ } @{ $_->{headers} } }++ foreach @messages;
is(scalar keys %named, scalar @messages, 'no two messages share source and id, whatever was dropped and made again');
$node->stop;
unlike(slurp_file($node->logfile), qr/FATAL(?!.*terminating)|PANIC|ERROR/, 'the log has no error');
done_testing();
