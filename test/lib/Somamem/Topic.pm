# A topic of one test's own, on the Kafka that test/t/run started for all of them.
package Somamem::Topic;

use strict;
use warnings;

use Carp;
use IPC::Run ();
use Somamem;

my $number = 0;

# The name is unique in a run.  Another broker can be named.
sub new
{
	my ($class, %option) = @_;
	my $base = $option{name} || ($0 =~ m{(\d+)[^/]*$} ? "t$1" : 'test');

	return bless {
		bootstrap => $option{bootstrap} || $ENV{SMEM_KAFKA_BOOTSTRAP},
		name => join('.', $base, $$, $number++),
	}, $class;
}

sub bootstrap { my ($self) = @_; return $self->{bootstrap}; }

sub name { my ($self) = @_; return $self->{name}; }

# Copies the whole topic into a file, a JSON object a line; returns its path.  With committed => 1
# only what a read_committed consumer sees.
sub dump
{
	my ($self, %option) = @_;
	my $path = Somamem::scratch('topic.jsonl');
	my $err = '';

	IPC::Run::run([ Somamem::tool('kafkadump'), '-b', $self->{bootstrap}, ($option{committed} ? '-c' : ()), $self->{name} ],
		'<', \undef, '>', $path, '2>', \$err)
		or croak "could not read a topic: $err";
	return $path;
}

sub messages
{
	my ($self) = @_;

	return map { Somamem::decode($_) } split /\n/, PostgreSQL::Test::Utils::slurp_file($self->dump);
}

1;
