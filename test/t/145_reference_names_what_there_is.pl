# The reference and the server agree: every setting with its default, every public function and
# its arguments, every view and its columns, in both directions; and PUBLIC can use none of it.
#
# Not a regress test: it reads a document, and settings that only a preloaded library defines.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Test::More;

my $node = new_server('main');
my $reference = slurp_file(root_folder() . '/docs/reference.md');

sub rows { return split /\n/, $node->safe_psql('postgres', $_[0]); }

# A value with its unit as a number of the smallest unit of its kind; text as it is.
sub plain
{
	my ($value) = @_;
	my %factor = (
		'' => 1, ms => 1, s => 1000, min => 60_000, h => 3_600_000, d => 86_400_000,
		kB => 1, MB => 1024, GB => 1024 * 1024);

	return '' if $value eq 'empty';
	return $value =~ /^(\d+)\s*([a-zA-Z]*)$/ && exists $factor{$2} ? $1 * $factor{$2} : $value;
}

# --- settings --------------------------------------------------------------------

my %documented;
while ($reference =~ /^\| `(somamem\.\w+)` \| (.*?) \| \S/mg)
{
	my ($name, $default) = ($1, $2);
	$default =~ tr/`//d;
	ok(!exists $documented{$name}, "$name stands there once") if exists $documented{$name};
	$documented{$name} = plain($default);
}
my %defined = map { my ($name, $value) = split /\|/, $_, -1; ($name => plain($value)) }
	rows("SELECT name, boot_val || coalesce(unit, '') FROM pg_settings WHERE name LIKE 'somamem.%'");
cmp_ok(scalar keys %defined, '>', 20, 'the library defines its settings');
is_deeply(\%documented, \%defined, 'docs/reference.md has every setting with its default, and no other');
is(join(',', rows("SELECT name FROM pg_settings WHERE name LIKE 'somamem.%' AND context <> 'sighup' ORDER BY 1")),
	'somamem.decision_log,somamem.http_listen,somamem.metrics_listen,somamem.metrics_tenants,somamem.rate_limit_tenants',
	'reload is enough for all but those that size shared memory, and addresses that are bound once');
is(join(',', rows("SELECT name FROM pg_settings WHERE name LIKE 'somamem.%' AND coalesce(short_desc, '') = ''")),
	'', 'each says what it is');
my ($rc, $out, $err) = $node->psql('postgres', 'SET somamem.no_such_setting = 1');
isnt($rc, 0, 'a name that is not defined is refused');
($rc, $out, $err) = $node->psql('postgres', "ALTER SYSTEM SET somamem.sinks = 'somabrain,nosuch'");
like($err, qr/Unknown sink "nosuch"/, 'and so is an unknown sink');

# --- functions ---------------------------------------------------------------------

# name(argument, ...) of each signature that the reference shows.
my %shown;
while ($reference =~ /somamem\.(\w+)\(([^()]*)\)\s*(?:`|→)/g)
{
	my ($name, $arguments) = ($1, $2);
	next if $arguments eq '...';
	$shown{"$name(" . join(', ', map { /^\s*(\w+)/ } split /,/, $arguments) . ')'} = 1;
}
my %callable = map { $_ => 1 } rows(<<'SQL');
SELECT proname || '(' || coalesce((SELECT string_agg(a, ', ' ORDER BY n)
	FROM unnest(proargnames[1:pronargs]) WITH ORDINALITY AS u(a, n)), '') || ')'
FROM pg_proc WHERE pronamespace = 'somamem'::regnamespace AND proname !~ '^_'
SQL
is_deeply([ sort keys %shown ], [ sort keys %callable ],
	'docs/reference.md has every public function with its arguments, and no other');
is( join(',', rows("SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'somamem'::regnamespace"
				. ' AND obj_description(oid) IS NULL')),
	'', 'each function has a comment');

# --- views --------------------------------------------------------------------------

my %views;
my ($table) = $reference =~ /^### Views\n(.*?)^#/ms;
while ($table =~ /^\| `(\w+)` \| (.*?) \|$/mg)
{
	my ($view, $text) = ($1, $2);
	$views{$view} = join ', ', $text =~ /`(\w+)`/g;
}
my %there = map { my ($view, $columns) = split /\|/; ($view => $columns) } rows(<<'SQL');
SELECT c.relname, string_agg(a.attname, ', ' ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'somamem'::regnamespace AND c.relkind = 'v' AND c.relname !~ '^_'
GROUP BY c.relname
SQL
is_deeply(\%views, \%there, 'docs/reference.md has every view with its columns in their order, and no other');
is( join(',', rows("SELECT oid::regclass FROM pg_class WHERE relnamespace = 'somamem'::regnamespace"
				. " AND relkind IN ('r', 'p', 'v') AND NOT relispartition AND obj_description(oid) IS NULL")),
	'', 'each view and table has a comment');

# --- PUBLIC --------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
is(join(',', rows(<<'SQL')), '', 'PUBLIC can use nothing');
SELECT 'schema' WHERE has_schema_privilege('nobody', 'somamem', 'USAGE') OR has_schema_privilege('nobody', 'somamem', 'CREATE')
UNION ALL SELECT oid::regprocedure::text FROM pg_proc
	WHERE pronamespace = 'somamem'::regnamespace AND has_function_privilege('nobody', oid, 'EXECUTE')
UNION ALL SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'somamem'::regnamespace AND CASE relkind
	WHEN 'S' THEN has_sequence_privilege('nobody', oid, 'USAGE, SELECT, UPDATE')
	WHEN 'i' THEN false WHEN 'I' THEN false WHEN 'c' THEN false
	ELSE has_table_privilege('nobody', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END
SQL
($rc, $out, $err) = $node->psql('postgres', 'SET ROLE nobody; SELECT somamem.health()');
like($err, qr/permission denied for schema somamem/, 'not even a look at health');
is(join(',', rows("SET ROLE nobody; SELECT name FROM pg_settings WHERE name ~ '^somamem.*_file\$'")),
	'', 'nor does it see where secrets are kept');

$node->stop;
done_testing();
