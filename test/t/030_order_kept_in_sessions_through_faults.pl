# Eight writers share sessions: what was acknowledged before another write of its session
# began arrives before it, at both sinks, whatever the service answers meanwhile.
#
# Not a regress test: order between sessions is a matter of real time.
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
my $node = new_server('main', brain => $brain, topic => $topic, 'somamem.somabrain_timeout' => '1s',
	'somamem.somabrain_batch_items' => 20);

ok(shippers_run($node), 'the shippers run');

# Several writers may be busy at once: keep writing until each fault has had its share.
my @logs;

sub write_through
{
	my ($run, $title, $seen, @faults) = @_;
	my $writer = start_writer($node, '-n', 3000, '-c', 8, '-T', 3, '-S', 3, '-s', 4, '-x', 5, '-u', $run);

	push @logs, $writer->{log};
	$brain->control(add => $_) foreach @faults;
	ok(finish_program($writer), "$title: eight writers end");
	ok(poll("$title has happened", $seen), "$title: it happened while they wrote");
	$brain->control(mode => 'ok');
	return;
}

sub answered
{
	my ($status) = @_;
	return $brain->counts->{statuses}->{$status} // 0;
}

write_through('quiet', 'no fault', sub { return 1; });
write_through('errors', 'errors at random', sub { return answered(503) && answered(500); },
	{ mode => 'status', status => 503, percent => 10 },
	{ mode => 'status', status => 500, percent => 10 },
	{ mode => 'reset', percent => 5, accept => JSON::PP::true });
write_through('bad', 'bad rows', sub { return answered(422); },
	map { { mode => 'status', status => 422, content => " $_ x" } } 11, 14, 20, 41, 107);
write_through('poison', 'rows that fail alone', sub { return answered(500) > 3; },
	map { { mode => 'status', status => 500, content => " $_ x", count => 12 } } 61, 121, 313);
write_through('throttle', 'a throttled tenant', sub { return answered(429); },
	{ mode => 'status', status => 429, retry_after => 2, tenant => 't1', count => 4 },
	{ mode => 'status', status => 429, retry_after => 1, tenant => 't2', percent => 20, count => 10 });
write_through('hang', 'answers that do not come', sub { return 1; },
	{ mode => 'hang', percent => 3 }, { mode => 'drip', drip_bytes => 1, drip_ms => 100, percent => 2 });

ok(drained($node), 'the backlog drains');
my $result = history(node => $node, written => \@logs, brain => $brain, topic => $topic, dead => 1);
is_clean($result, 'order is kept, nothing is lost');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM somamem.dead_letters WHERE class = 'http_422'"),
	'>', 0, 'bad rows are dead letters');
is($brain->counts->{violations}, 0, 'no request broke the contract')
	or diag($brain->counts->{first_violation});

$node->stop;
done_testing();
