# erase leaves nothing of a tenant, or of one of its sessions, in anything that the extension
# keeps: rows in every state, dead letters, receipts, also of rows that are gone, statistics, all
# that pg_dump shows.  What was under way to a slow or hanging service does not follow, a late retry does not bring the data
# back, and others lose nothing.
#
# Not a regress test: it needs rows under way, and a dump.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, 'somamem.max_attempts' => 1000,
	'somamem.retry_initial' => '300ms', 'somamem.retry_max' => '1s');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub dump_text
{
	my $file = scratch('dump.sql');

	$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $file ], 'pg_dump');
	return slurp_file($file);
}

# Lines of a dump with one of the names, and statistics, which no dump has.
sub traces
{
	my ($name) = @_;
	my @lines = grep { /\Q$name\E/i } split /\n/, dump_text();

	push @lines, split /\n/, sql("SELECT tablename || '.' || attname FROM pg_stats WHERE schemaname = 'somamem'"
			. " AND pg_stats::text ~* '$name'");
	return join "\n", map { substr $_, 0, 150 } @lines;
}

# One row waits for a time that this test does not see.
sub all_but_delayed { return poll('one row is left', sub { return (undelivered($node) // '') eq 1; }); }

sub received { my ($name) = @_; return scalar grep { $_->{tenant} =~ /$name/ } $brain->items; }

# Rows in every state, all of whose names and contents have the word in them.
sub leave_tracks
{
	my ($name) = @_;
	my %id;

	($id{delivered}) = write_rows($node, $name, "$name-s1", "$name delivered");
	sql("SELECT somamem.wait_for($id{delivered})");
	$id{keyed} = sql('SELECT id FROM ' . write_memory($name, "$name-s1", "$name keyed",
			"idempotency_key => '$name-key', persona_id => '$name-persona', namespace => '$name-ns'"));
	$brain->control(mode => 'status', status => 422, content => "$name bad");
	($id{dead}) = write_rows($node, $name, "$name-s2", "$name bad");
	ok(poll_sql($node, "SELECT count(*) FROM somamem.dead_letter WHERE id = $id{dead}", expected => 1), "$name: a dead letter");
	$brain->control(mode => 'status', status => 500, content => "$name poison");
	($id{retry}, $id{behind}) = write_rows($node, $name, "$name-s3", "$name poison", "$name behind");
	ok( poll('it fails alone', sub {
				write_rows($node, 'someone', 's', 'other');
				return status_of($node, $id{retry}) eq 'somabrain in_retry'; }),
		"$name: a row in retry");
	$id{delayed} = sql('SELECT id FROM ' . write_memory($name, "$name-s3", "$name delayed",
			"deliver_after => now() + interval '1 hour'"));
	ok(poll_sql($node, "SELECT count(*) FROM somamem.parked WHERE id = $id{delayed}", expected => 1), "$name: a delayed row");
	return %id;
}

# A row by itself, delivered; and its receipt's own words.
sub deliver_one
{
	my ($tenant, $session) = @_;
	my ($id) = write_rows($node, $tenant, $session, "$tenant $session");

	is(sql("SELECT somamem.wait_for($id)"), 't', "$session has a row");
	return ($id, sql("SELECT receipt ->> 'request_id' FROM somamem.status($id)"));
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

# --- receipts outlive their rows ---------------------------------------------------------------
configure($node, 'somamem.retention' => '1s');
my ($id_a, $receipt_a) = deliver_one('bygone', 'gone-a');
my ($id_b, $receipt_b) = deliver_one('bygone', 'gone-b');
my ($id_c, $receipt_c) = deliver_one('bystander', 'gone-a');
my $turn = 0;
ok( poll('their segment is emptied',
		sub {
			write_rows($node, 'someone', 'turn', 'turn ' . ++$turn);
			return sql("SELECT count(*) FROM somamem.outbox WHERE id <= $id_c") == 0;
		}),
	'the rows are gone');
configure($node, 'somamem.retention' => '1d');
is_deeply([ dump_text() =~ /(\Q$receipt_a\E|\Q$receipt_b\E|\Q$receipt_c\E)/g ], [ $receipt_a, $receipt_b, $receipt_c ],
	'their receipts are not');
is(sql("SELECT somamem.erase('bygone', 'gone-a')"), 0, 'erase of a session finds no row');
is_deeply([ dump_text() =~ /(\Q$receipt_a\E|\Q$receipt_b\E|\Q$receipt_c\E)/g ], [ $receipt_b, $receipt_c ],
	'but its receipt, and no other\'s');
sql("SELECT somamem.erase('bygone')");
is_deeply([ dump_text() =~ /(\Q$receipt_a\E|\Q$receipt_b\E|\Q$receipt_c\E)/g ], [$receipt_c], 'erase of the tenant finds the other');
is(sql("SELECT receipt ->> 'request_id' FROM somamem.status($id_c)"), $receipt_c, 'a session of another tenant has the same name, and keeps its');

# --- rows in every state ------------------------------------------------------------------------
my %other = leave_tracks('keepsake');
my %victim = leave_tracks('victim');
sql('ANALYZE');
my $receipts = sql("SELECT receipt FROM somamem.status($other{delivered})");
like($receipts, qr/coordinate/, 'there is a receipt');
isnt(traces('victim'), '', 'a dump shows the tenant');
isnt(sql("SELECT count(*) FROM pg_stats WHERE schemaname = 'somamem' AND pg_stats::text ~ 'victim'"), 0,
	'and so do statistics');
my $coordinate = sql("SELECT receipt ->> 'request_id' FROM somamem.status($victim{delivered})");
like(dump_text(), qr/\Q$coordinate\E/, 'and its receipts');

# --- under way to a service that hangs ----------------------------------------------------------
my $requests = $brain->counts->{requests}->{batch};
$brain->control(mode => 'hang');
my @hanging = write_rows($node, 'victim', 'victim-s4', map { "victim hanging $_" } 1 .. 30);
my ($others_row) = write_rows($node, 'keepsake', 'keepsake-s4', 'keepsake hanging');
ok(poll('requests hang', sub { return $brain->counts->{requests}->{batch} > $requests; }), 'rows are on the wire');
sql("BEGIN; SELECT somamem.erase('victim'); ROLLBACK");
is(sql("SELECT count(*) FROM somamem.outbox WHERE tenant = 'victim'"), 36, 'rolled back, nothing is erased');
is(sql("SELECT somamem.erase('victim')"), 36, 'erase says how many rows it removed');
is(traces('victim'), '', 'nothing is left of the tenant');
unlike(dump_text(), qr/\Q$coordinate\E/, 'nor of its receipts');
my $before = received('victim');
$brain->control(mode => 'ok');
is(sql("SELECT somamem.wait_for($others_row)"), 't', 'others are delivered');
restart_killed($node);
ok(all_but_delayed(), 'also after a crash everything drains');
is(received('victim'), $before, 'nothing of it is sent any more');
foreach my $state (sort keys %victim)
{
	is(sql("SELECT state, receipt, last_error FROM somamem.status($victim{$state})"), 'erased||', "status of what was $state");
}
is(sql("SELECT state FROM somamem.status('victim', 'victim-key')"), 'erased', 'also by its key');
is(sql("SELECT somamem.wait_for($hanging[0], timeout => '1 min')"), 'f', 'wait_for does not wait for it');
is(sql("SELECT receipt FROM somamem.status($other{delivered})"), $receipts, 'receipts of others stay');
is(sql("SELECT string_agg(state, ',' ORDER BY id) FROM unnest(ARRAY[$other{delivered}, $other{dead}, $other{retry}, $other{behind}, $other{delayed}])"
			. " AS i (id), somamem.status(i.id)"),
	'delivered,dead,delivered,delivered,pending', 'and so do their rows');

# --- a late retry --------------------------------------------------------------------------------
is(sql('SELECT id, deduplicated FROM ' . write_memory('victim', 'victim-s1', 'victim keyed',
			"idempotency_key => 'victim-key', persona_id => 'victim-persona', namespace => 'victim-ns'")),
	"$victim{keyed}|t", 'a late retry finds its first id');
is(traces('victim'), '', 'and brings nothing back');
is(sql("SELECT somamem.erase('victim')"), 0, 'there is nothing to erase');

# --- delivered, and behind a row that hangs --------------------------------------------------------
$brain->control(mode => 'hang', content => 'hanging');
$requests = $brain->counts->{requests}->{batch};
write_rows($node, 'someone', 'hang', 'hanging');
ok(poll('a request hangs', sub { return $brain->counts->{requests}->{batch} > $requests; }), 'a row is on the wire');
my ($ahead) = write_rows($node, 'foremost', 'f', 'foremost');
my ($others_ahead) = write_rows($node, 'keepsake', 'f', 'keepsake ahead');
ok(poll_sql($node, "SELECT state FROM somamem.parked WHERE tenant = 'someone'", expected => 'sent'), 'later ones are delivered');
foreach my $id ($ahead, $others_ahead)
{
	is(sql("SELECT state, attempts, receipt ? 'coordinate' FROM somamem.status($id)"), 'delivered|1|t', 'status says so');
	is(sql("SELECT somamem.wait_for($id)"), 't', 'and so does wait_for');
}
# As a courier notes it that finds out what its sink had when its predecessor died.
sql("INSERT INTO somamem.ahead (sink, id) VALUES ('somabrain', $ahead), ('somabrain', $others_ahead)");
is(sql("SELECT somamem.erase('foremost')"), 1, 'one of them is erased');
is(sql('SELECT id FROM somamem.ahead'), $others_ahead, 'and its id is not kept for the row to be met');
is(sql("SELECT state, receipt FROM somamem.status($ahead)"), 'erased|', 'status says so');
is(traces('foremost'), '', 'nothing is left of it');
$brain->control(mode => 'ok');
ok(all_but_delayed(), 'everything drains');

# --- one session, in the middle of a slow delivery -------------------------------------------------
configure($node, 'somamem.somabrain_concurrency' => 1, 'somamem.somabrain_batch_items' => 10);
$brain->control(delay_ms => 100);
sql(join '', map { 'SELECT ' . write_memory('keepsake', $_ % 2 ? 'forget' : 'remember', "slow $_") . ';' } 1 .. 300);
ok(poll('some have arrived', sub { return grep { /^slow/ } $brain->contents('forget'); }), 'delivery is under way');
my $erased = sql("SELECT somamem.erase('keepsake', 'forget')");
is($erased, 150, 'a session is erased while it is sent');
my @arrived = $brain->contents('forget');
$brain->control(delay_ms => 0);
ok(all_but_delayed(), 'the rest drains');
is_deeply([ $brain->contents('forget') ], \@arrived, scalar(@arrived) . ' had arrived, and no more do');
is_deeply([ $brain->contents('remember') ], [ map { 'slow ' . 2 * $_ } 1 .. 150 ], 'the other session is whole, in order');
is(traces('forget'), '', 'nothing is left of the session');
isnt(traces('keepsake'), '', 'the tenant is still there');
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT somamem.erase(NULL)');
like($err, qr/"tenant" must not be null/, 'a tenant must be named');

# --- forgotten itself, when the keys are ---------------------------------------------------------------
cmp_ok(sql('SELECT count(*) FROM somamem.withdrawn'), '>', 100, 'ids of erased rows are kept');
configure($node, 'somamem.idempotency_window' => '1s', 'somamem.retention' => '5s');
ok(poll_sql($node, 'SELECT count(*) FROM somamem.withdrawn', expected => 0), 'as long as keys are');
$node->stop;
done_testing();
