# A Kafka broker of one test's own, for what cannot be done to the shared one.
package Somamem::Broker;

use strict;
use warnings;

use Carp;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Somamem;

my @started;

sub program { return Somamem::root_folder() . '/test/lib/kafka.sh'; }

# Takes further server properties.
sub new
{
	my ($class, %property) = @_;
	my $extra = Somamem::scratch('kafka.properties');
	my $self = bless { folder => PostgreSQL::Test::Utils::tempdir(), owner => $$ }, $class;

	append_to_file($extra, join '', map { "$_=$property{$_}\n" } sort keys %property);
	push @started, $self;
	local $ENV{KAFKA_EXTRA} = $extra;
	$self->start;
	return $self;
}

# Also after kill_it: on the same port, with the same data.
sub start
{
	my ($self) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ program(), 'start', $self->{folder} ], '<', \undef, '>', \$out, '2>', \$err)
		or croak "the broker did not start: $err";
	($self->{bootstrap}) = $out =~ /^ready (\S+)/m;
	return;
}

sub bootstrap { my ($self) = @_; return $self->{bootstrap}; }

sub kill_it
{
	my ($self) = @_;

	system(program(), 'node', $self->{folder}, 1, 'kill') == 0 or croak 'could not kill the broker';
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
