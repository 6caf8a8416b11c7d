# Many sessions write the same few keys at the same time, some of them roll back: one row for
# each key, and every receipt that was committed names it.
#
# Not a regress test: the race is in the few microseconds between a look and an insertion,
# which only load meets; the isolation specs hold the moments that can be held.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Test::More;

my $node = new_server('main', deadlock_timeout => '200ms');
$node->safe_psql('postgres', 'CREATE TABLE receipt (key text, id bigint, deduplicated boolean)');

my $single = <<'SQL';
\set k random(1, :keys)
\set fate random(1, 10)
BEGIN;
INSERT INTO receipt SELECT idempotency_key, id, deduplicated FROM somamem.memory_write('{"type": "m", "role": "user", "content": "c"}', 'race', 's', :round || ' key ' || :k);
\if :fate = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
my $batch = <<'SQL';
\set k random(1, :keys)
INSERT INTO receipt SELECT idempotency_key, id, deduplicated FROM somamem.memory_write_batch((SELECT jsonb_agg(jsonb_build_object('type', 'm', 'role', 'user', 'content', 'c', 'id', :round || ' key ' || (:k + g)) ORDER BY g) FROM generate_series(0, 4) AS g), 'race', 's');
SQL
my $number = 0;

sub race
{
	my ($script, $round, $keys, $transactions) = @_;
	my $file = scratch('race.sql');

	PostgreSQL::Test::Utils::append_to_file($file, $script);
	$node->command_ok(
		['pgbench', '-n', '-c', 8, '-j', 2, '-t', $transactions, '-D', "keys=$keys", '-D', "round=$round", '-f', $file, '-h', $node->host, '-p', $node->port, 'postgres'],
		"eight writers, $keys keys");
	return;
}

# Few transactions a round, so that many of them meet a key that is new.
race($single, ++$number, 5, 25) foreach 1 .. 20;
race($single, ++$number, 1000, 500);
race($batch, ++$number, 200, 50);

is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT key_hash) FROM somamem.idempotency'), 0, 'the ledger has each key once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT idempotency_key FROM somamem.outbox GROUP BY 1 HAVING count(*) > 1) AS twice'), 0, 'the outbox has each key once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM somamem.idempotency AS l FULL JOIN somamem.outbox AS o USING (id) WHERE l.id IS NULL OR o.id IS NULL'), 0, 'they have the same rows');
is($node->safe_psql('postgres', 'SELECT count(*) FROM receipt AS r LEFT JOIN somamem.outbox AS o ON o.id = r.id AND o.idempotency_key = r.key WHERE o.id IS NULL'), 0, 'every receipt names the row of its key');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT key FROM receipt GROUP BY key HAVING count(*) FILTER (WHERE NOT deduplicated) <> 1) AS wrong'), 0, 'of each key, one receipt is the first');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM receipt WHERE deduplicated'), '>', 1000, 'there were repeats');

$node->stop;
done_testing();
