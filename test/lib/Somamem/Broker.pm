# A Kafka broker of one test's own, or several, for what cannot be done to the shared one.
package Somamem::Broker;

use strict;
use warnings;

use Carp;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Somamem;

my @started;

sub program { return Somamem::root_folder() . '/test/lib/kafka.sh'; }

# Takes further server properties; nodes, their number; listeners, further ones such as
# "SASL_PLAINTEXT SSL".
sub new
{
	my ($class, %property) = @_;
	my $extra = Somamem::scratch('kafka.properties');
	my $self = bless { folder => PostgreSQL::Test::Utils::tempdir(), owner => $$ }, $class;

	$self->{nodes} = delete $property{nodes} || 1;
	local $ENV{KAFKA_LISTENERS} = delete $property{listeners} || '';

	append_to_file($extra, join '', map { "$_=$property{$_}\n" } sort keys %property);
	push @started, $self;
	local $ENV{KAFKA_EXTRA} = $extra;
	$self->start;
	return $self;
}

# Starts what does not run, also after kill_it: on the same ports, with the same data.
sub start
{
	my ($self) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ program(), 'start', $self->{folder}, $self->{nodes} ], '<', \undef, '>', \$out, '2>', \$err)
		or croak "the broker did not start: $err";
	($self->{bootstrap}) = $out =~ /^ready (\S+)/m;
	return;
}

# Of a further listener where it is named.
sub bootstrap
{
	my ($self, $listener) = @_;

	return $self->{bootstrap} unless $listener;
	return join ',', split /\n/, slurp_file("$self->{folder}/bootstrap.$listener");
}

# One node, the first unless it is named.
sub kill_it
{
	my ($self, $node) = @_;

	system(program(), 'node', $self->{folder}, $node || 1, 'kill') == 0 or croak 'could not kill the broker';
	return;
}

# Stops nodes where they are, without their end, and lets them go on.
sub pause { my ($self, @nodes) = @_; $self->tell('pause', @nodes); return; }

sub resume { my ($self, @nodes) = @_; $self->tell('resume', @nodes); return; }

sub tell
{
	my ($self, $action, @nodes) = @_;

	foreach my $node (@nodes)
	{
		system(program(), 'node', $self->{folder}, $node, $action) == 0 or croak "could not $action broker $node";
	}
	return;
}

END
{
	my $status = $?;
	foreach my $broker (@started)
	{
		system program(), 'stop', $broker->{folder} if $broker->{owner} == $$;
	}
	$? = $status;
}

1;
