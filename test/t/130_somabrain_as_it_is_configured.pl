# SomaBrain behind a path prefix, a token and TLS, in each form of its endpoints, old and new.
# What is configured wrongly is the sink's trouble: it is named, nothing is given up, and all is
# delivered when it is set right, also at run time.
#
# Not a regress test: it needs services that refuse, certificates, and settings that change.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Brain;
use Test::More;

my $token_file = scratch('token');
my $written = 0;

# As an operator would: another file in its place, readable by the server alone.
sub put_token
{
	my ($token) = @_;
	append_to_file("$token_file.new", "$token\n");
	chmod 0600, "$token_file.new" or die "could not change the mode: $!";
	rename "$token_file.new", $token_file or die "could not rename: $!";
	return;
}

my $brain = Somamem::Brain->new('--items', '--prefix', '/api', '--token', 'first-secret');
put_token('first-secret');
my $node = new_server('main', brain => $brain,
	'somamem.somabrain_path_prefix' => '/api',
	'somamem.somabrain_token_file' => $token_file);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub write_one { my ($id) = write_rows($node, 'acme', 's' . $written % 3, 'row ' . ++$written); return $id; }

sub delivered
{
	my ($id, $title) = @_;
	return is(sql("SELECT somamem.wait_for($id, NULL, '20 s')"), 't', $title)
		|| diag(sql("SELECT last_error FROM somamem.workers WHERE sink = 'somabrain'"));
}

# The sink is in trouble and says so; rows wait, and none is given up.
sub troubled
{
	my ($pattern, $title) = @_;
	my $error;
	my $id = write_one();

	ok( poll('it is reported',
			sub {
				$error = sql("SELECT coalesce(last_error, '') FROM somamem.workers WHERE sink = 'somabrain'");
				return $error =~ $pattern;
			},
			last => sub { return $error; }),
		"$title: somamem.workers says why");
	note($error);
	ok(poll_sql($node, "SELECT circuit <> 'closed' FROM somamem.workers WHERE sink = 'somabrain'"),
		"$title: the circuit opens");
	like(sql("SELECT somamem.health() -> 'components' -> 'somabrain'"), qr/"degraded".*"last_error"|"last_error".*"degraded"/,
		"$title: so does health");
	is(sql('SELECT count(*) FROM somamem.dead_letter') + sql('SELECT count(*) FROM somamem.parked'), 0,
		"$title: no row is blamed");
	is(status_of($node, $id), 'somabrain pending', "$title: the row waits");
	return $id;
}

ok(shippers_run($node, 'postgres', 1), 'the shipper runs');

# Writes a row; undefined where it is not delivered at once.
sub write_and_see
{
	my $id = write_one();
	return sql("SELECT somamem.wait_for($id, NULL, '1 s')") eq 't' ? $id : undef;
}

# --- token and prefix ------------------------------------------------------------

delivered(write_one(), 'prefix and token are sent');
is($brain->counts->{requests}->{batch}, 1, 'the first request was right');

$brain->control(token => 'second-secret');
my $waiting = troubled(qr/401.*token/, 'another token is asked for');
put_token('second-secret');
delivered($waiting, 'the token file is read again when it changes');
unlink $token_file;
# It is looked at once a second.
ok(poll('the file is missed', sub { return !defined write_and_see(); }), 'a token file that is gone is missed');
$waiting = troubled(qr/could not open token file/, 'the token file is gone');
put_token('second-secret');
delivered($waiting, 'it is back');

# The legacy form has no prefix, so a service that knows it would take the rows.
$brain->control(forms => 'batch,single');
configure($node, 'somamem.somabrain_path_prefix' => '/other');
$waiting = troubled(qr/404/, 'a wrong prefix');
configure($node, 'somamem.somabrain_path_prefix' => '/api');
delivered($waiting, 'the right prefix again, by reload');

# --- forms -----------------------------------------------------------------------

sub form_of
{
	my ($id) = @_;
	my $content = sql("SELECT payload ->> 'content' FROM somamem.outbox WHERE id = $id");
	return join ' ', map { $_->{form} } grep { $_->{value}->{content} eq $content } $brain->items;
}

sub write_some
{
	sql(<<'SQL');
SELECT count(*) FROM (SELECT somamem.memory_write(jsonb_build_object('type', 'm', 'role', 'user', 'content',
	'some ' || g, 'message_id', gen_random_uuid()), 'acme', 'f' || g % 5) FROM generate_series(1, 100) g) w
SQL
	return;
}

foreach my $form (qw(single legacy batch single))
{
	$brain->control(forms => $form);
	my $id = write_one();
	delivered($id, "only $form is served: delivered");
	is(form_of($id), $form, "only $form is served: by it");
	write_some();
	ok(drained($node), "only $form is served: many rows, too");
}
$brain->control(forms => '');
$waiting = troubled(qr/404/, 'no form is served');
$brain->control(forms => 'batch,single,legacy');
delivered($waiting, 'all are served again');
is($brain->counts->{violations}, 0, 'no request broke the contract')
	or diag($brain->counts->{first_violation});
is($brain->counts->{distinct}, 400 + $written, 'each row arrived');
is($brain->counts->{repeats}, 0, 'and once');

# --- TLS -------------------------------------------------------------------------

SKIP:
{
	my ($right, $wrong) = (scratch('right'), scratch('wrong'));
	my @made = map {
		run_log([
				'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
				'-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', "$_.key", '-out', "$_.crt"
			])
	} ($right, $wrong);
	skip 'no openssl to make certificates with', 1 unless $made[0] && $made[1];

	my $secure = Somamem::Brain->new('--cert', "$right.crt", '--key', "$right.key");
	configure($node, brain => $secure, 'somamem.somabrain_path_prefix' => '', 'somamem.somabrain_token_file' => '');
	$waiting = troubled(qr/certificate/i, 'a certificate that nobody knows');
	configure($node, 'somamem.somabrain_ca_file' => "$wrong.crt");
	troubled(qr/certificate/i, 'a wrong CA file');
	configure($node, 'somamem.somabrain_ca_file' => "$wrong.missing");
	troubled(qr/missing/, 'a CA file that is not there');
	configure($node, 'somamem.somabrain_ca_file' => "$right.crt");
	delivered($waiting, 'with the right CA file all is delivered over TLS');
	ok(drained($node), 'the backlog drains');
	is($secure->counts->{distinct}, 3, 'each row that had to wait');
	is(sql('SELECT dead FROM somamem.outbox_status'), 0, 'nothing was given up');
}

$node->stop;
unlike(slurp_file($node->logfile), qr/(?:first|second)-secret/, 'no token is in the log');
done_testing();
