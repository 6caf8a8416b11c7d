# Sinks speak UTF-8.  In a database of another encoding texts arrive as UTF-8; a row whose bytes
# have no equal there is a dead letter, and stops nobody.
#
# Not a regress test: it needs databases of several encodings.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $brain = Somamem::Brain->new;
my $node = new_server('main', brain => $brain, no_extension => 1);
my %bad = (WIN1252 => 129, SQL_ASCII => 233);

foreach my $encoding (sort keys %bad)
{
	my $database = lc $encoding;

	$node->safe_psql('postgres',
		"CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($database, 'CREATE EXTENSION somamem');
	$node->safe_psql($database, <<SQL);
SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content', content), '$database', 's')
FROM unnest(ARRAY['first', 'bad ' || chr($bad{$encoding}), 'last']) content
SQL
	ok(drained($node, $database), "$encoding: the backlog drains");
	is( $node->safe_psql($database, 'SELECT class, sink FROM somamem.dead_letters'),
		'not_utf8|somabrain', "$encoding: bytes without an equal are a dead letter");
	is_deeply([ grep { /^(?:first|last|bad)/ } map { $_->{value}->{content} } grep { $_->{tenant} eq $database } $brain->items ],
		[ 'first', 'last' ], "$encoding: the session goes on");
}

# What has an equal arrives as that; the name of a session, too.
$node->safe_psql('win1252', <<'SQL');
SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content', 'caf' || chr(233) || chr(128)),
	'caf' || chr(233), 'euro ' || chr(128))
SQL
ok(drained($node, 'win1252'), 'a row with a tenant beyond ASCII drains');
my ($item) = grep { $_->{tenant} =~ /^caf/ } $brain->items;
is($item->{tenant}, "caf\x{e9}", 'the tenant is UTF-8');
is($item->{value}->{content}, "caf\x{e9}\x{20ac}", 'the content is UTF-8');
is($node->safe_psql('win1252', "SELECT count(*) FROM somamem.outbox o, somamem.status(o.id) s WHERE s.state = 'delivered'"),
	3, 'status says delivered');
is($brain->counts->{violations}, 0, 'no request broke the contract')
	or diag($brain->counts->{first_violation});
unlike(slurp_file($node->logfile), qr/shipper.*ERROR/, 'no shipper met an error');

$node->stop;
done_testing();
