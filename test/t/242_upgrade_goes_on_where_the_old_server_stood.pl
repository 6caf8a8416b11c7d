# pg_upgrade into another server: rows that were pending, parked, delayed and dead go on there,
# what was delivered is not sent again, and no worker runs while pg_upgrade does.
#
# The new server is of the same version, or of the one whose programs are in SMEM_NEW_STAGE (a
# stage made by test/setup/stage.sh with another PG_CONFIG); pg_upgrade does the same in both.
#
# Not a regress test: it needs two servers.
use strict;
use warnings;

use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my ($old_bin) = grep { -x "$_/pg_upgrade" } File::Spec->path;
plan skip_all => 'no pg_upgrade beside this server' unless $old_bin;
my $new_stage = $ENV{SMEM_NEW_STAGE};
my $new_bin = $new_stage ? $new_stage . (split /\n/, slurp_file("$new_stage/bindir"))[0] : $old_bin;

my $brain = Somamem::Brain->new;
my @settings = ('somamem.max_attempts' => 100, 'somamem.retry_initial' => '500ms', 'somamem.retry_max' => '2s');
my $old = new_server('old', brain => $brain, @settings);

# --- rows in every state ---------------------------------------------------------
ok(shippers_run($old, 'postgres', 1), 'the shipper runs');
write_rows($old, 't', 's' . $_ % 5, "old $_") foreach 1 .. 60;
$brain->control(mode => 'status', status => 422, content => 'bad');
write_rows($old, 't', 'bad', 'bad');
$old->safe_psql('postgres', 'SELECT ' . write_memory('t', 'later', 'delayed', "deliver_after => now() + interval '30 s'"));
ok(poll_sql($old, 'SELECT count(*) FROM somamem.parked', expected => 1), 'one row waits for its time');
$brain->control(mode => 'status', status => 500, content => 'sick');
write_rows($old, 't', 'sick', 'sick', 'behind the sick one', 'behind it, too');
my $well = 0;
ok( poll('rows are parked', sub {
			# Only while others pass is it the row's own trouble.
			write_rows($old, 't', 'well', 'well ' . ++$well);
			return $old->safe_psql('postgres', "SELECT count(*) FROM somamem.parked WHERE session_id = 'sick'") == 3; }),
	'one is parked, with others behind it');
$old->safe_psql('postgres', 'SELECT ' . write_memory('t', 'keyed', 'with a key', "idempotency_key => 'k1'"));
ok(poll('others are delivered', sub { return $brain->counts->{distinct} == 61 + $well; }), 'others are delivered');
$brain->control(mode => 'down');
write_rows($old, 't', 's' . $_ % 5, "pending $_") foreach 1 .. 50;
my $key_id = $old->safe_psql('postgres', "SELECT id FROM somamem.outbox WHERE idempotency_key = 'k1'");

my @tables = qw(idempotency outbox parked dead_letter);

sub counts_of
{
	my ($node) = @_;
	return join ' ', map { $node->safe_psql('postgres', "SELECT count(*) FROM somamem.$_") } @tables;
}

my $before = counts_of($old);
$old->stop;

# --- pg_upgrade ----------------------------------------------------------------------
my $new = $new_stage
	? PostgreSQL::Test::Cluster->new('new', install_path => File::Spec->rel2abs("$new_bin/.."))
	: PostgreSQL::Test::Cluster->new('new');
# Both without checksums, whatever is the newer version's default.
$new->init(extra => `$new_bin/initdb --help` =~ /--no-data-checksums/ ? ['--no-data-checksums'] : []);
configure($new, shared_preload_libraries => 'somamem', max_connections => 60, max_worker_processes => 30,
	log_line_prefix => '%m [%p] %b %q%a ', 'somamem.rate_limit_per_minute' => 0, brain => $brain, @settings);
# The sink is there: a worker that ran now would send.
$brain->control(mode => 'ok');
my $requests = $brain->counts->{requests}->{batch};
chdir $PostgreSQL::Test::Utils::tmp_check or die "could not enter a folder: $!";
command_ok(
	[ "$new_bin/pg_upgrade", '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old_bin, '-B', $new_bin,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'pg_upgrade runs');
is($brain->counts->{requests}->{batch}, $requests, 'nothing is sent meanwhile');
$brain->control(mode => 'down');

# --- the new server --------------------------------------------------------------------
$new->start;
unlike(slurp_file($old->logfile), qr/somamem.*starting another/, 'the old server said nothing of couriers');
is(counts_of($new), $before, 'ledger, rows, parked rows and dead letters are there');
is( $new->safe_psql('postgres',
		'SELECT id, deduplicated FROM ' . write_memory('t', 'keyed', 'with a key', "idempotency_key => 'k1'")),
	"$key_id|t", 'a repeat finds its first receipt');
my @ids = write_rows($new, 't', 's1', map { "new $_" } 1 .. 10);
is(status_of($new, $ids[0]), 'somabrain pending', 'a new row is not taken for an old one');
$brain->control(mode => 'ok');
ok(drained($new), 'the backlog drains');
my $result = history(written => [ outbox_log($new) ], brain => $brain, node => $new, dead => 1);
is_clean($result, 'nothing is lost, and nothing sent again', exactly => 1);
is_deeply([ $brain->contents('sick') ], [ 'sick', 'behind the sick one', 'behind it, too' ], 'parked rows go on in order');
is_deeply(
	[ grep { !/old/ } $brain->contents('s1') ],
	[ (map { 'pending ' . (1 + 5 * $_) } 0 .. 9), (map { "new $_" } 1 .. 10) ],
	'so does a session');
is(scalar(grep { $_ eq 'delayed' } $brain->contents), 1, 'and what waited for its time');
is($new->safe_psql('postgres', "SELECT string_agg(payload ->> 'content', ',') FROM somamem.dead_letters"), 'bad',
	'the dead letter stays dead');
restart_killed($new);
write_rows($new, 't', 's1', 'after a restart');
ok(drained($new), 'after a crash the position is the new server\'s own');
is($brain->counts->{repeats}, 0, 'still nothing is sent again');
$new->stop;
done_testing();
