# What the web worker serves at its two addresses: paths, formats, headers, statuses; and what it
# refuses.  Without an address there is none.
#
# Not a regress test: it speaks HTTP.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Somamem;
use Somamem::Http;
use Test::More;

my $http = Somamem::Http->new(free_port());
my $metrics = Somamem::Http->new(free_port());
my $node = new_server('main');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub restart_with
{
	my (%setting) = @_;
	$node->stop;
	configure($node, map { ("somamem.$_" => $setting{$_}) } keys %setting);
	$node->start;
	return;
}

my $web = q{FROM somamem.workers WHERE sink = 'web'};
is(sql("SELECT count(*) $web"), 0, 'without an address there is no web worker');
restart_with(http_listen => $http->address, metrics_listen => $metrics->address);
ok($http->becomes('/livez', 200), 'with addresses it serves');
is(sql("SELECT state || ' ' || circuit || ' ' || (database IS NULL) || ' ' || (courier_pid > 0) $web"),
	'running closed true true', 'and is shown');

# --- two addresses -----------------------------------------------------------------

foreach my $path ('/', '/health-page.js', '/health-banner.js', '/health-state.js', '/v1/health', '/livez', '/readyz')
{
	is($http->status($path), 200, "http_listen has $path");
	is($metrics->status($path), 200, "so has metrics_listen");
}
is($http->status('/metrics'), 404, 'the metrics are not at http_listen');
is($metrics->status('/metrics'), 200, 'but at metrics_listen');
is($http->status($_), 404, "$_ is nothing") foreach '/metrics/', '/v1', '/index.html', '/../metrics', '/%2e%2e/metrics', '//';
is($http->get('/livez')->{content}, "ok\n", '/livez says so');
is($http->get('/readyz')->{content}, "ready\n", '/readyz, too');

# --- the page ------------------------------------------------------------------------

my $page = $http->get('/');
like($page->{content}, qr/health-banner/, 'the page has the banner');
is($page->{headers}->{'content-type'}, 'text/html; charset=utf-8', 'is HTML');
like($page->{headers}->{'content-security-policy'}, qr/default-src 'none'; script-src 'self'.* connect-src 'self'/, 'and lets its own script run, and no other');
is($http->get("/$_.js")->{headers}->{'content-type'}, 'text/javascript; charset=utf-8', "$_ is a script") foreach 'health-page', 'health-banner', 'health-state';

# --- formats ----------------------------------------------------------------------------

my $prometheus3 = 'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,'
	. 'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2';
my $text = $metrics->get('/metrics');
is($text->{headers}->{'content-type'}, 'text/plain; version=0.0.4; charset=utf-8', 'metrics are in Prometheus\' own format');
like($text->{content}, qr/^somamem_build_info\{.*\} 1$/m, 'with figures');
unlike($text->{content}, qr/^# EOF/m, 'and no mark of OpenMetrics');
my $open = $metrics->get('/metrics', Accept => $prometheus3);
is($open->{headers}->{'content-type'}, 'application/openmetrics-text; version=1.0.0; charset=utf-8', 'or in OpenMetrics');
like($open->{content}, qr/^somamem_build_info\{.*\} 1\n.*^# EOF\n\z/ms, 'complete to its mark');
is($metrics->get('/metrics', Accept => 'application/openmetrics-text;q=0.1, text/plain')->{headers}->{'content-type'},
	$text->{headers}->{'content-type'}, 'as the client weighs them');
my $gzip = $metrics->get('/metrics', Accept => $prometheus3, 'Accept-Encoding' => 'gzip');
is($gzip->{headers}->{'content-encoding'}, 'gzip', 'compressed where that is asked for');
cmp_ok(length $gzip->{content}, '<', length($open->{content}) / 2, 'it is shorter');
is(length Somamem::Http::gunzip($gzip->{content}), length $open->{content}, 'and the same');
ok(!exists $text->{headers}->{'content-encoding'}, 'else not');
foreach my $answer ($text, $open, $gzip)
{
	is($answer->{headers}->{vary}, 'Accept, Accept-Encoding', 'what it depends on is said');
	is($answer->{headers}->{'cache-control'}, 'no-store', 'nobody keeps it');
	is($answer->{headers}->{'x-content-type-options'}, 'nosniff', 'nor guesses what it is');
	ok(!exists $answer->{headers}->{'access-control-allow-origin'}, 'and no other site may read it');
}

# --- health ---------------------------------------------------------------------------------

my $health = $http->get('/v1/health');
is($health->{headers}->{'content-type'}, 'application/json', 'health is JSON');
is(decode($health->{content})->{status}, 'ok', 'and well');
is_deeply(decode($health->{content}), decode(sql('SELECT somamem.health()')), 'the same as in SQL');
is($http->json('/v1/health?database=postgres')->{database}, 'postgres', 'of a database that is named');
foreach my $name ('nosuch', '', 'template1', 'postgre%73%00', '%ff', 'x' x 300, '%27%3b--')
{
	is($http->status("/v1/health?database=$name"), 404, 'none of the name "' . substr($name, 0, 20) . '"');
}
like(decode($http->get('/v1/health?database=nosuch')->{content})->{error}, qr/no such database/, 'said in JSON');
sql('CREATE DATABASE "other base"');
$node->safe_psql('other base', 'CREATE EXTENSION somamem');
ok($http->becomes('/v1/health?database=other%20base', 200), 'a second database is there, too');
is($http->json('/v1/health?database=other%20base')->{database}, 'other base', 'by its name');

# A name that is no UTF-8.
sql(q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
sql(q{CREATE DATABASE plain TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql('plain', q{SET client_encoding = 'SQL_ASCII'; DO $$ BEGIN EXECUTE format('ALTER DATABASE latin RENAME TO %I', convert_from('\xe4', 'SQL_ASCII')); END $$});
$node->safe_psql("\xe4", 'CREATE EXTENSION somamem');
ok($http->becomes('/v1/health?database=%E4', 200), 'a database may have a name that is no UTF-8');
is($http->json('/v1/health?database=%E4')->{database}, '?', 'the document is UTF-8');
$node->safe_psql('plain', qq{DROP DATABASE "\xe4"});
ok($http->becomes('/v1/health?database=%E4', 404), 'and it goes');

# A sink that is not there: rows wait.
set_now($node, lag_critical => '100ms', somabrain_url => 'http://127.0.0.1:' . free_port());
sql('SELECT ' . write_memory('t', 's', 'waits'));
ok($http->becomes('/v1/health', 503), 'down: 503');
is($http->json('/v1/health')->{status}, 'down', 'with the document');
is($http->status('/v1/health?database=other%20base'), $http->json('/v1/health?database=other%20base')->{status} eq 'down' ? 503 : 200,
	'another database has a status of its own');
sql('SELECT ' . write_memory('other', 's', 'waits'));
is(join(',', $metrics->get('/metrics')->{content} =~ /pending_total\{database="postgres",sink="somabrain",tenant="other"\} (\d+)$/mg), '1',
	'a tenant of the name "other" is with those beyond, and no series is there twice');
is(sql("SELECT count(*), sum(pending) FROM somamem.tenant_lag WHERE tenant = 'other'"), '1|1', 'as in the view');

# Each database is judged by itself.
set_now($node, pending_warning => 2, pending_critical => 2);
$node->safe_psql('other base', 'SELECT ' . write_memory('t', 's', 'waits'));
my $outbox;
ok(poll('the backlog is judged', sub
	{
		$outbox = $http->json('/v1/health')->{components}->{memory_write_outbox};
		return $outbox->{pending} == 3 && $outbox->{oldest_pending_seconds} > 1;
	}), 'three rows wait in two databases');
is($outbox->{status}, 'ok', 'in none of them too many');

# An operator keeps the workers away.
my ($decided) = $metrics->get('/metrics')->{content} =~ /^(memory_policy_decision_duration_seconds_count\{.*)$/m;
my $operator = $node->background_psql('postgres');
$operator->query_safe("BEGIN; SELECT somamem.erase('nobody')");
is($http->status('/v1/health?database=postgres'), 503, 'without workers a database is down, not unknown');
is($http->json('/v1/health')->{components}->{memory_write_outbox}->{pending}, 3, 'its rows still wait');
like($metrics->get('/metrics')->{content}, qr/^\Q$decided\E$/m, 'and no counter goes back');
$operator->query_safe('COMMIT');
$operator->quit;
ok($http->becomes('/readyz', 503), 'not ready');
like($http->get('/readyz')->{content}, qr/somabrain/, 'and it says what is not');
is($http->status('/livez'), 200, 'but alive');
set_now($node, sinks => 'kafka');
ok($http->becomes('/v1/health', 200), 'without the sink: 200');
ok($http->becomes('/readyz', 200), 'and ready');

# --- what is refused ------------------------------------------------------------------------

foreach my $path ('/metrics', '/v1/health', '/', '/livez')
{
	my $get = $metrics->get($path);
	my $head = $metrics->request('HEAD', $path);
	is($head->{status}, 200, "HEAD of $path");
	is($head->{content} // '', '', 'has no body');
	is($head->{headers}->{'content-type'}, $get->{headers}->{'content-type'}, 'but the headers');
	cmp_ok($head->{headers}->{'content-length'}, '>', 0, 'its length among them');
}
foreach my $method (qw(POST PUT DELETE OPTIONS PATCH TRACE))
{
	my $answer = $http->request($method, '/v1/health');
	is($answer->{status}, 405, "$method is not allowed");
	is($answer->{headers}->{allow}, 'GET, HEAD', 'it is said what is');
}
is($http->status('/livez?' . 'x' x 7000), 200, 'a header of 7 kB is read');
is($http->get('/livez', 'X-Long' => 'x' x 20000)->{status}, 431, 'one of 20 kB is not');
is($http->status('/' . 'x' x 20000), 414, 'nor such an address');
like($http->raw("GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"), qr{^HTTP/1.1 413 }, 'no body is taken');
like($http->raw("POST /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), qr{^HTTP/1.1 405 }, 'in pieces neither');
like($http->raw("GET /livez HTTP/1.1\r\n\r\n"), qr{^HTTP/1.1 400 }, 'a request without a host is none');
like($http->raw("GET /livez HTTP/1.0\r\n\r\n"), qr{^HTTP/1.\d 200 .*Connection: close.*ok\n\z}s, 'an old client is served');
is(() = $http->raw(join '', map { "GET $_ HTTP/1.1\r\nHost: a\r\n" . ($_ eq '/' ? "Connection: close\r\n\r\n" : "\r\n") } qw(/livez /v1/health /)) =~ m{HTTP/1.1 200 }g,
	3, 'three requests at once are answered in turn');

# --- one address -------------------------------------------------------------------------------

my $courier = sql("SELECT courier_pid $web");
$node->reload;
is($http->status('/livez'), 200, 'a reload changes nothing');
is(sql("SELECT courier_pid $web"), $courier, 'not even the courier');
restart_with(metrics_listen => '');
ok($http->becomes('/metrics', 200), 'without metrics_listen, http_listen has the metrics');
is($metrics->status('/livez'), 599, 'and nobody is at the other');
restart_with(http_listen => '', metrics_listen => $metrics->address);
ok($metrics->becomes('/v1/health', 200), 'without http_listen, metrics_listen has everything');
restart_with(http_listen => $http->address, metrics_listen => $http->address);
ok($http->becomes('/metrics', 200), 'both may be the same address');
is(sql("SELECT circuit || coalesce(last_error, '') $web"), 'closed', 'without trouble');
my $six = Somamem::Http->new('[::1]:' . free_port());
SKIP:
{
	skip 'no IPv6 here', 1 unless -s '/proc/net/if_inet6';
	restart_with(http_listen => $six->address, metrics_listen => '');
	ok(poll('the address is served', sub { return ($six->open_raw || return 0) && 1; }), 'an address of IPv6');
}
my $port = free_port();
restart_with(http_listen => "localhost:$port", metrics_listen => '');
ok(Somamem::Http->new($port)->becomes('/metrics', 200), 'a name of an address');
$node->stop;
done_testing();
