# Dead letters go back into the queue: before the rows of their session that still wait, behind
# those that have gone, which a notice says; also when nothing but the dead letter has kept the
# payload, and across a crash.  What is discarded never arrives.
#
# Not a regress test: it needs a sink that refuses, and workers that are stopped and come back.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.max_attempts' => 1000,
	'somamem.retry_initial' => '500ms', 'somamem.retry_max' => '2s');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A lever's result and what it said.
sub pull
{
	my ($call) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT somamem.$call");

	is($rc, 0, $call) or diag($err);
	return ($out, $err);
}

sub reaches
{
	my ($id, $state, $title) = @_;
	my $seen = '';

	return ok(poll("row $id is $state", sub { $seen = status_of($node, $id); return $seen eq "somabrain $state"; },
			last => sub { return $seen; }), $title);
}

# Rows of one session, refused where their content says so.
sub write_refused
{
	my ($session, @contents) = @_;
	my @ids = write_rows($node, 'acme', $session, @contents);

	foreach my $i (0 .. $#ids)
	{
		reaches($ids[$i], $contents[$i] =~ /bad/ ? 'dead' : 'delivered', "\"$contents[$i]\" is settled");
	}
	return @ids;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');
$brain->control(mode => 'status', status => 422, content => 'bad');

# --- later rows have gone: a notice ----------------------------------------------
my @gone = write_refused('gone', 'bad 1', 'good 2', 'bad 3');
my @other = write_refused('other', 'bad only');
$brain->control(mode => 'ok');
my ($count, $said) = pull("redrive('somabrain', tenant => 'nobody')");
is($count, 0, 'another tenant has none');
is($said, '', 'and there is nothing to say');
($count, $said) = pull("redrive('somabrain', 'acme')");
is($count, 3, 'all dead letters of a tenant go back');
like($said, qr/NOTICE:  1 of 3 rows follow later rows of their sessions, which were delivered already$/m,
	'those that come late are counted') or diag($said);
reaches($_, 'delivered', 'it is delivered') foreach @gone[ 0, 2 ], @other;
is_deeply([ $brain->contents('gone') ], [ 'good 2', 'bad 1', 'bad 3' ], 'among each other they keep their order');
is(sql('SELECT count(*) FROM somamem.dead_letter') . sql('SELECT count(*) FROM somamem.parked'), '00',
	'nothing is left');
is(sql('SELECT dead FROM somamem.outbox_status'), 0, 'the figure follows');

# --- later rows wait: the redriven one goes first -----------------------------------
$brain->control(mode => 'status', status => 422, content => 'bad');
my ($first) = write_refused('waits', 'bad first');
$brain->control(mode => 'status', status => 500, content => 'poison');
my @waiting = write_rows($node, 'acme', 'waits', 'poison', 'behind 1', 'behind 2');
ok( poll('it fails alone', sub { write_rows($node, 'acme', 'o', 'other'); return status_of($node, $waiting[0]) eq 'somabrain in_retry'; }),
	'a later row waits for its next attempt');
$brain->control(mode => 'down');
($count, $said) = pull("redrive('somabrain', id => $first)");
is("$count $said", '1 ', 'a row goes back, and nobody has overtaken it');
restart_killed($node);
is(status_of($node, $first), 'somabrain pending', 'that survives a crash');
$brain->control(mode => 'ok');
reaches($waiting[2], 'delivered', 'the session goes on');
is_deeply([ $brain->contents('waits') ], [ 'bad first', 'poison', 'behind 1', 'behind 2' ],
	'the redriven row before the later ones that waited');

# --- rolled back -----------------------------------------------------------------------
$brain->control(mode => 'status', status => 422, content => 'bad');
my ($kept) = write_refused('kept', 'bad kept');
sql("BEGIN; SELECT somamem.redrive('somabrain'); ROLLBACK");
is(status_of($node, $kept), 'somabrain dead', 'rolled back, nothing has happened');
write_refused('kept', 'good after it');
my ($rc, $out, $err) = $node->psql('postgres',
	"BEGIN; SELECT somamem.redrive('somabrain'); PREPARE TRANSACTION 'half'");
like($err, qr/cannot PREPARE a transaction that has operated on the outbox/, 'nor can it be left half done');
write_refused('kept', 'good after that');

# --- the payload is kept by the dead letter alone -----------------------------------------
configure($node, 'somamem.retention' => '1s');
my $round = 0;
ok( poll('its segment is emptied',
		sub {
			write_rows($node, 'acme', 'turn', 'turn ' . ++$round);
			return sql("SELECT count(*) FROM somamem.outbox WHERE id = $kept") == 0;
		}),
	'a dead letter outlives its row');
$brain->control(mode => 'ok');
($count, $said) = pull("redrive('somabrain', 'acme', $kept)");
is($count, 1, 'it goes back');
like($said, qr/1 of 1 rows may follow later rows of their sessions, which are not kept any more/, 'a notice says what is not known');
reaches($kept, 'delivered', 'it is delivered');
is_deeply([ $brain->contents('kept') ], [ 'good after it', 'good after that', 'bad kept' ], 'with its payload');
is($brain->counts->{repeats}, 0, 'nothing was delivered twice');
configure($node, 'somamem.retention' => '1d');

# --- discard ----------------------------------------------------------------------------------
$brain->control(mode => 'status', status => 422, content => 'bad');
my ($dead) = write_refused('d', 'bad d');
$brain->control(mode => 'status', status => 500, content => 'poison');
my @parked = write_rows($node, 'acme', 'p', 'poison p', 'behind p');
ok( poll('it fails alone', sub { write_rows($node, 'acme', 'o', 'other'); return status_of($node, $parked[0]) eq 'somabrain in_retry'; }),
	'a row is parked');
my ($done) = write_refused('done', 'good done');
is((pull("discard('somabrain', $done)"))[0], 'f', 'what is delivered cannot be discarded');
is((pull("discard('kafka', $dead)"))[0], 'f', 'nor what another sink refused');
is((pull("discard('somabrain', $dead)"))[0], 't', 'a dead letter can');
is((pull("discard('somabrain', $dead)"))[0], 'f', 'once');
is((pull("discard('somabrain', $parked[0])"))[0], 't', 'and so can a parked row');
is(status_of($node, $dead), 'somabrain discarded', 'status says discarded');
is(sql("SELECT somamem.wait_for($parked[0], timeout => '1 min')"), 'f', 'wait_for does not wait for it');
reaches($parked[1], 'delivered', 'its session goes on');
$brain->control(mode => 'ok');
is((pull("redrive('somabrain')"))[0], 0, 'it cannot be redriven');
is((pull("replay('somabrain', 0, $parked[1] + 1000)"))[0] > 0, 1, 'all rows are sent again');
ok(drained($node), 'and arrive');
is_deeply([ grep { /poison p|bad d/ } $brain->contents ], [], 'but for those that were discarded');
is(status_of($node, $dead), 'somabrain discarded', 'they stay so');

# --- later rows have gone, and nothing has passed them yet ------------------------------------
$brain->control(mode => 'status', status => 422, content => 'bad');
my ($overtaken) = write_refused('over', 'bad over');
$brain->control(mode => 'down');
my ($later) = write_rows($node, 'acme', 'over', 'good over');
# As a courier notes it that finds out what its sink had when its predecessor died.
sql("INSERT INTO somamem.ahead (sink, id) VALUES ('somabrain', $later)");
# In one transaction: the next worker passes it at once.
($rc, $count, $said) = $node->psql('postgres', "BEGIN; SELECT somamem.replay('somabrain', $later, $later);"
		. " SELECT somamem.redrive('somabrain', id => $overtaken); COMMIT");
is($count, "0\n1", 'while it is ahead, it is not replayed, and the dead letter goes back');
like($said, qr/NOTICE:  1 rows were left out, because rows before them are not settled$/m, 'which a notice says');
like($said, qr/NOTICE:  1 of 1 rows follow later rows of their sessions, which were delivered already$/m, 'that it was overtaken is known')
	or diag($said);
$brain->control(mode => 'ok');
reaches($overtaken, 'delivered', 'it is delivered');
ok(poll_sql($node, 'SELECT count(*) FROM somamem.ahead', expected => 0), 'and then no row is ahead');
is_deeply([ $brain->contents('over') ], ['bad over'], 'what was ahead is not sent by itself');
($count, $said) = pull("replay('somabrain', $later, $later)");
is("$count $said", '1 ', 'but it can be replayed');
ok(drained($node), 'and arrives');

# --- a first attempt that hangs, set aside -------------------------------------------------------
configure($node, 'somamem.retry_max' => '1h');
$brain->control(mode => 'hang', content => 'hangs');
my $requests = $brain->counts->{requests}->{batch};
my ($hanging) = write_rows($node, 'acme', 'h', 'hangs');
ok(poll('a request hangs', sub { return $brain->counts->{requests}->{batch} > $requests; }), 'a row is on the wire');
write_rows($node, 'acme', 'o', 'not behind it');
ok(poll_sql($node, "SELECT state FROM somamem.parked WHERE id = $hanging", expected => 'sent'), 'and set aside');
is( sql("BEGIN; SELECT somamem.discard('kafka', $hanging); SELECT attempts, next_attempt_at <= clock_timestamp()"
			. " FROM somamem.parked WHERE id = $hanging; ROLLBACK"),
	"f\n0|t", 'cut off by a lever, it has had no attempt, and is due');
$brain->control(mode => 'ok');
reaches($hanging, 'delivered', 'it is delivered');

# --- a row whose retry is under way -------------------------------------------------------------
configure($node, 'somamem.retry_initial' => '100ms', 'somamem.retry_max' => '1h');
$brain->control(mode => 'status', status => 500, content => 'poison');
my ($slow) = write_rows($node, 'acme', 'slow', 'poison slow');
ok( poll('it fails alone', sub { write_rows($node, 'acme', 'o', 'other'); return status_of($node, $slow) eq 'somabrain in_retry'; }),
	'a row is parked');
$brain->control(mode => 'hang', content => 'poison');
ok(poll_sql($node, "SELECT next_attempt_at > now() + interval '30 min' FROM somamem.parked WHERE id = $slow"),
	'an attempt is counted, and under way');
my $attempts = sql("SELECT attempts FROM somamem.parked WHERE id = $slow");
is( sql("BEGIN; SELECT somamem.discard('kafka', $slow); SELECT attempts, next_attempt_at <= clock_timestamp()"
			. " FROM somamem.parked WHERE id = $slow; ROLLBACK"),
	"f\n" . ($attempts - 1) . '|t', 'cut off by a lever, it was none, and the next one is due');
$brain->control(mode => 'ok');
reaches($slow, 'delivered', 'and made');

# --- arguments ---------------------------------------------------------------------------------
foreach my $case (
	[ "redrive('nowhere')", 'unknown sink "nowhere"' ],
	[ 'redrive(NULL)', '"sink" must not be null' ],
	[ "discard('kafka', NULL)", '"id" must not be null' ],
	[ "replay('kafka', 1, NULL)", '"to_id" must not be null' ])
{
	($rc, $out, $err) = $node->psql('postgres', "SELECT somamem.$case->[0]");
	like($err, qr/ERROR:  \Q$case->[1]\E$/m, $case->[0]);
}
($rc, $out, $err) = $node->psql('postgres', "BEGIN READ ONLY; SELECT somamem.redrive('kafka')");
like($err, qr/ERROR:  cannot execute redrive\(\) in a read-only transaction/, 'not in a read-only transaction');
$node->stop;
done_testing();
