# What a server's /metrics says: samples by name, each with its labels.
package Somamem::Metrics;

use strict;
use warnings;

use Carp;
use HTTP::Tiny;
use Somamem;

# The address is what somamem.metrics_listen says.
sub new
{
	my ($class, $address) = @_;
	return bless { address => $address }, $class;
}

sub address { my ($self) = @_; return $self->{address}; }

sub get
{
	my ($self, $path, %header) = @_;
	return HTTP::Tiny->new(timeout => 10)->get("http://$self->{address}$path", { headers => \%header });
}

# Reads the document anew: [ name, { label => value }, value ] of each sample.
sub samples
{
	my ($self) = @_;
	my $answer = $self->get('/metrics');
	my @samples;

	return unless $answer->{success};
	foreach my $line (split /\n/, $answer->{content})
	{
		next if $line =~ /^#/;
		my ($name, undef, $labels, $value) = $line =~ /^([a-z_]+)(\{(.*)\})? (\S+)$/
			or croak "no sample: $line";
		my %label;

		while ($labels =~ /\G,?([a-z_]+)="((?:[^"\\]|\\.)*)"/g)
		{
			$label{$1} = $2;
		}
		push @samples, [ $name, \%label, $value ];
	}
	return @samples;
}

# The one sample with these labels among others; undef where there is none.
sub value
{
	my ($self, $name, %label) = @_;
	my @found = grep {
		my $sample = $_;
		$sample->[0] eq $name && !grep { ($sample->[1]->{$_} // '') ne $label{$_} } keys %label;
	} $self->samples;

	croak "$name is ambiguous" if @found > 1;
	return @found ? $found[0]->[2] : undef;
}

# Waits until the sample has the value; the last one is told otherwise.
sub reaches
{
	my ($self, $expected, $name, %label) = @_;
	my $last;

	return Somamem::poll("$name is $expected",
		sub { $last = $self->value($name, %label); return defined $last && $last == $expected; },
		last => sub { return $last // 'no such sample'; });
}

1;
