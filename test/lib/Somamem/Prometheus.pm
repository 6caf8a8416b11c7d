# A real Prometheus of one test's own, with the project's rules and alerts.
#
# A test has no minutes: it scrapes once a second, and in the copy of the rules each alert waits for
# two seconds and looks back for ten.
package Somamem::Prometheus;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use HTTP::Tiny;
use POSIX ();
use Somamem;
use Test::More;

our @EXPORT = qw(need_prometheus);

my @started;

sub find_program
{
	return (grep { -x $_ } map { "$_/prometheus" } split /:/, $ENV{PATH})[0];
}

# Without Prometheus a test is skipped on a developer's machine, and fails in CI.
sub need_prometheus
{
	return if find_program();
	die 'no Prometheus, and CI must not skip' if ($ENV{CI} // '') eq 'true';
	plan skip_all => 'no Prometheus here (test/setup/install.sh test installs it)';
}

# Options: targets (addresses of somamem.metrics_listen), change (called with the text of each file
# of rules, returns what takes its place).
sub new
{
	my ($class, %option) = @_;
	my $self = bless { port => free_port(), folder => scratch('prometheus'), targets => $option{targets} }, $class;

	mkdir $self->{folder} or croak "could not make $self->{folder}: $!";
	$self->copy_rules($option{change} || sub { return $_[0]; });
	$self->write_config;
	$self->start;
	return $self;
}

sub in_short
{
	my ($text) = @_;

	$text =~ s/\bfor: \d+[sm]\b/for: 2s/g;
	$text =~ s/\[\d+m\]/[10s]/g;
	$text =~ s/\boffset \d+m\b/offset 10s/g;
	return $text;
}

sub copy_rules
{
	my ($self, $change) = @_;

	foreach my $name (qw(somamem.rules.yml somamem.alerts.yml))
	{
		my $text = PostgreSQL::Test::Utils::slurp_file(root_folder() . "/observability/prometheus/$name");

		PostgreSQL::Test::Utils::append_to_file("$self->{folder}/$name", $change->(in_short($text)));
	}
	return;
}

sub write_config
{
	my ($self) = @_;

	PostgreSQL::Test::Utils::append_to_file("$self->{folder}/prometheus.yml", encode({
				global => { scrape_interval => '1s', scrape_timeout => '1s', evaluation_interval => '500ms' },
				rule_files => [ 'somamem.rules.yml', 'somamem.alerts.yml' ],
				scrape_configs => [ { job_name => 'somamem', static_configs => [ { targets => $self->{targets} } ] } ] }));
	return;
}

sub start
{
	my ($self) = @_;
	my $out = "$self->{folder}/log";
	my $pid = fork;

	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null' or POSIX::_exit(1);
		open STDOUT, '>', $out or POSIX::_exit(1);
		open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
		exec find_program(), "--config.file=$self->{folder}/prometheus.yml", "--storage.tsdb.path=$self->{folder}/data",
			"--web.listen-address=127.0.0.1:$self->{port}"
			or POSIX::_exit(1);
	}
	$self->{pid} = $pid;
	push @started, [ $$, $pid ];
	poll('Prometheus is ready',
		sub { return HTTP::Tiny->new(timeout => 1)->get("http://127.0.0.1:$self->{port}/-/ready")->{success}; },
		last => sub { return PostgreSQL::Test::Utils::slurp_file($out); })
		or croak 'Prometheus did not start';
	return;
}

# The data of an answer of its API.
sub ask
{
	my ($self, $path, %parameter) = @_;
	my $http = HTTP::Tiny->new(timeout => 10);
	my $form = $http->www_form_urlencode(\%parameter);
	my $answer = $http->get("http://127.0.0.1:$self->{port}/api/v1/$path" . ($form ne '' ? "?$form" : ''));

	croak "Prometheus refuses $path $form: $answer->{content}" unless $answer->{success};
	return decode($answer->{content})->{data};
}

# Values of an expression now, without those that are no number.
sub values_of
{
	my ($self, $expr) = @_;
	my $data = $self->ask('query', query => $expr);

	return grep { $_ ne 'NaN' } map { $_->{value}->[1] } @{ $data->{result} };
}

# The alerts that fire: name => list of their labels and annotations.
sub firing
{
	my ($self) = @_;
	my %firing;

	foreach my $alert (grep { $_->{state} eq 'firing' } @{ $self->ask('alerts')->{alerts} })
	{
		push @{ $firing{ $alert->{labels}->{alertname} } }, { %{ $alert->{labels} }, %{ $alert->{annotations} } };
	}
	return %firing;
}

# Waits until each alert, given as "Name label=value ...", fires, or does not with silent => 1.
# With no alert at all and silent => 1: until nothing fires.  Returns what fires then.
sub fires
{
	my ($self, $wanted, %option) = @_;
	my %firing;
	my @missing;

	poll(($option{silent} ? 'no more alerts: ' : 'alerts: ') . join(', ', @$wanted),
		sub {
			%firing = $self->firing;
			return !%firing if !@$wanted;
			@missing = grep { !has(\%firing, $_) != !!$option{silent} } @$wanted;
			return !@missing;
		},
		last => sub { return 'fires: ' . join(', ', map { named($_) } map { @$_ } values %firing); }) or return;
	return { %firing, '' => 1 };
}

sub has
{
	my ($firing, $wanted) = @_;
	my ($name, @labels) = split / /, $wanted;

	return grep {
		my $alert = $_;
		!grep { my ($label, $value) = split /=/, $_, 2; ($alert->{$label} // '') ne $value } @labels;
	} @{ $firing->{$name} // [] };
}

sub named
{
	my ($alert) = @_;
	return join ' ', $alert->{alertname}, map { defined $alert->{$_} ? "$_=$alert->{$_}" : () } qw(instance sink threshold_type);
}

# Waits for so many scrapes of every target, and as many evaluations.
sub looks
{
	my ($self, $times) = @_;
	my $before = $self->scrapes;

	return poll("$times looks", sub { return $self->scrapes >= $before + $times; });
}

sub scrapes
{
	my ($self) = @_;
	my @counts = sort { $a <=> $b } $self->values_of('count_over_time(up{job="somamem"}[1h])');

	return @counts == @{ $self->{targets} } ? $counts[0] : 0;
}

END
{
	my $status = $?;
	foreach my $one (@started)
	{
		my ($owner, $pid) = @$one;
		next unless $owner == $$ && waitpid($pid, POSIX::WNOHANG()) == 0;
		kill 'KILL', $pid;
		waitpid $pid, 0;
	}
	$? = $status;
}

1;
