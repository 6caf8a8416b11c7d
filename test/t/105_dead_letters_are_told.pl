# Each dead letter, of whatever sink, is told of once on Kafka's dead-letter topic, also where
# the courier or the server is killed meanwhile, and where news cannot be told, nothing stops.
#
# Not a regress test: it needs sinks that refuse.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Somamem::Broker;
use Somamem::Topic;
use Test::More;

need_kafka();

my $brain = Somamem::Brain->new;
my $broker = Somamem::Broker->new('message.max.bytes' => 20_000);
my $topic = Somamem::Topic->new(bootstrap => $broker->bootstrap);
my $letters = Somamem::Topic->new(bootstrap => $broker->bootstrap, name => 'letters');
my $node = new_server('main', brain => $brain, topic => $topic, restart_after_crash => 'on',
	'somamem.kafka_dead_letter_topic' => $letters->name);

sub sql { my ($statement) = @_; return $node->safe_psql('postgres', $statement); }

sub all_told
{
	return poll_sql($node, 'SELECT count(*) FROM somamem.dead_letter WHERE announced_at IS NULL', expected => 0,
		what => 'every dead letter is told of');
}

ok(shippers_run($node), 'the shippers run');
$brain->control(mode => 'status', status => 422, content => 'bad');
my ($bad) = write_rows($node, 'acme', 's/1', 'bad "quoted"');
my ($good) = write_rows($node, 'acme', 's/1', 'good');
is(sql("SELECT somamem.wait_for($good)"), 't', 'a session goes on behind its dead letter');
ok(all_told(), 'the dead letter is told of');
my @told = $letters->messages;
is(scalar @told, 1, 'once');
my $value = $told[0]->{value};
my %header = map { @$_ } @{ $told[0]->{headers} };
is_deeply(
	[ @$value{qw(type id sink class attempts tenant session_id namespace role)} ],
	[ 'memory.dead_letter', $bad + 0, 'somabrain', 'http_422', 1, 'acme', 's/1', 'wm', 'user' ],
	'with what it was and whose');
is($value->{payload}->{content}, 'bad "quoted"', 'its payload');
like($value->{reason}, qr/422/, 'and the reason');
is($told[0]->{key}, 'acme/s%2F1', 'under its session\'s key');
is($header{ce_type}, 'memory.dead_letter', 'as a CloudEvent');
is($header{ce_id}, "somabrain/$bad", 'with an id of its own');

# The sink that carries the news refuses a row, too; such news is too large to be told.
my ($large) = write_rows($node, 'acme', 'k', 'large ' . join('', map { chr(97 + rand 26) } 1 .. 60_000));
ok(drained($node), 'a message above the broker\'s limit is a dead letter');
ok(all_told(), 'news that cannot be told stops nothing');
is(scalar $letters->messages, 1, 'and is not told');
like(slurp_file($node->logfile), qr/WARNING:  the dead-letter topic refused news/, 'the log says so');

# Killed at any moment, each is told of, and few twice.
sql(<<'SQL');
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'bad ' || g), 'acme', 'f' || g % 30) FROM generate_series(1, 400) g) w
SQL
my $pid;
poll('a courier runs', sub { $pid = courier_pid($node, 'kafka'); return $pid; });
kill 'KILL', $pid;
ok(poll_sql($node, 'SELECT count(*) > 50 FROM somamem.dead_letter'), 'more rows die');
restart_killed($node);
ok(drained($node), 'all of them');
ok(all_told(), 'and are told of');
my %seen = map { $_->{value}->{id} => 1 } $letters->messages;
is(scalar keys %seen, 401, 'each');

# In transactions, too.
configure($node, 'somamem.kafka_exactly_once' => 'on');
my ($exact) = write_rows($node, 'acme', 'e', 'bad, exactly');
ok(drained($node), 'a row dies while Kafka is written in transactions');
ok(all_told(), 'it is told of');
is(scalar(grep { $_->{value}->{id} == $exact } $letters->messages), 1, 'once');

# What goes back into the queue and dies again is news again.
is(sql("SELECT somamem.redrive('somabrain', id => $exact)"), 1, 'it is redriven');
ok(poll_sql($node, "SELECT count(*) FROM somamem.dead_letter WHERE id = $exact AND announced_at IS NOT NULL", expected => 1),
	'and dies again');
is(scalar(grep { $_->{value}->{id} == $exact } $letters->messages), 2, 'which is told of, too');

$node->stop;
done_testing();
