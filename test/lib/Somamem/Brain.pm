# A SomaBrain stand-in of one test's own (test/standin/README.md has its faults).
package Somamem::Brain;

use strict;
use warnings;

use Carp;
use HTTP::Tiny;
use POSIX ();
use Somamem;

my @started;

# Options are the program's, such as "--prefix", "/api".
sub new
{
	my ($class, @options) = @_;
	my $self = bless {
		record => Somamem::scratch('brain.jsonl'),
		port => Somamem::free_port(),
		control_port => Somamem::free_port(),
		options => [@options],
		scheme => (grep { $_ eq '--cert' } @options) ? 'https' : 'http',
	}, $class;

	$self->start;
	return $self;
}

sub start
{
	my ($self) = @_;
	my $out = Somamem::scratch('brain.out');
	my $pid = fork;

	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open STDOUT, '>', $out or POSIX::_exit(1);
		open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
		exec Somamem::tool('somabrain'), '--port', $self->{port},
			'--control-port', $self->{control_port}, '--record', $self->{record},
			@{ $self->{options} }
			or POSIX::_exit(1);
	}
	$self->{pid} = $pid;
	push @started, [ $$, $pid ];
	Somamem::poll('the stand-in listens',
		sub { return -s $out && PostgreSQL::Test::Utils::slurp_file($out) =~ /^ready/m; })
		or croak 'the stand-in did not start: ' . PostgreSQL::Test::Utils::slurp_file($out);
	return;
}

sub url { my ($self) = @_; return "$self->{scheme}://127.0.0.1:$self->{port}"; }

sub record { my ($self) = @_; return $self->{record}; }

# Ends the process as a crash would; its record stays, and start() goes on with it.
sub kill_it
{
	my ($self) = @_;

	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $self->{pid};
	return;
}

sub control
{
	my ($self, %document) = @_;
	my $answer = HTTP::Tiny->new(timeout => 10)->post("http://127.0.0.1:$self->{control_port}/_control",
		{ content => Somamem::encode(\%document) });

	croak "the stand-in refused: $answer->{status} $answer->{content}" unless $answer->{success};
	return;
}

sub counts
{
	my ($self) = @_;
	my $answer = HTTP::Tiny->new(timeout => 10)->get("http://127.0.0.1:$self->{control_port}/_control");

	croak "the stand-in did not answer: $answer->{content}" unless $answer->{success};
	return Somamem::decode($answer->{content});
}

# The accepted items, in order.
sub items
{
	my ($self) = @_;

	return map { Somamem::decode($_) }
		split /\n/, PostgreSQL::Test::Utils::slurp_file($self->{record});
}

# Contents in the order of their first delivery, of one session where it is named.
sub contents
{
	my ($self, $session) = @_;
	my %seen;

	return map { $_->{value}->{content} }
		grep { !$seen{ $_->{tenant} . "\0" . ($_->{key} // $_->{key_sha256}) }++ }
		grep { !defined $session || $_->{session} eq $session } $self->items;
}

END
{
	# Forked children run this too: only who started a process ends it.
	my $status = $?;
	foreach my $entry (@started)
	{
		kill 'KILL', $entry->[1] if $entry->[0] == $$;
	}
	$? = $status;
}

1;
