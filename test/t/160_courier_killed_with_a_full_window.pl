# What a dead courier held is handed to the next one whole, also where it is more than the
# socket takes at once; rows of any size, in the window and in the parking place.
#
# Not a regress test: it kills processes.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new('--no-values');
my $node = new_server('main', brain => $brain, 'somamem.somabrain_timeout' => '30s');

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

sub write_large
{
	my ($tenant, $rows) = @_;
	$node->safe_psql('postgres', <<SQL);
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user',
	'content', (SELECT string_agg(md5(g || ' ' || i), '') FROM generate_series(1, 8000) i)), '$tenant', 's' || g % 3)
	FROM generate_series(1, $rows) g) w
SQL
	return;
}

# 250 kB each: the window is full with half of them.
$brain->control(mode => 'hang');
write_large('acme', 60);
ok(poll('requests hang', sub { return $brain->counts->{requests}->{batch} >= 1; }), 'the service takes and does not answer');
foreach my $round (1 .. 3)
{
	my $courier = courier_pid($node, 'somabrain');
	my $requests = $brain->counts->{requests}->{batch};

	kill 'KILL', $courier;
	ok(poll('the next courier sends', sub { return $brain->counts->{requests}->{batch} > $requests; }),
		"courier $round is replaced");
}
cmp_ok(memory_kb(worker_pid($node, 'somabrain')), '<', 64 * 1024, 'the shipper keeps its memory bounded');
$brain->control(mode => 'ok');
ok(drained($node), 'every row is delivered');
is($brain->counts->{distinct}, 60, 'all of them, once each key');

# The same with rows that come from the parking place: more than may go at once.
write_large('acme', 120);
ok(drained($node), 'more large rows are delivered');
is($node->safe_psql('postgres', "SELECT somamem.replay('somabrain', 61, 180)"), 120, 'and are to be delivered again');
ok(drained($node), 'every one of them is');
is($brain->counts->{distinct}, 180, 'all of them, once each key');
cmp_ok($brain->counts->{repeats}, '>=', 120, 'and once again');
is($brain->counts->{violations}, 0, 'no request broke the contract');
cmp_ok(memory_kb(worker_pid($node, 'somabrain')), '<', 64 * 1024, 'the shipper keeps its memory bounded then, too');
cmp_ok(memory_kb(courier_pid($node, 'somabrain')), '<', 64 * 1024, 'and the courier');

$node->stop;
done_testing();

# Memory of the process alone, without the buffers it shares with others.
sub memory_kb
{
	my ($pid) = @_;
	my $status = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status");

	return $status =~ /^RssAnon:\s+(\d+)/m ? $1 : 0;
}
