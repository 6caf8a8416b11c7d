# A real Open Policy Agent of one test's own, with the project's policy unless told otherwise.
package Somamem::Opa;

use strict;
use warnings;

use Carp;
use HTTP::Tiny;
use POSIX ();
use Somamem;

my @started;

# Options: policy (paths of Rego files or folders), arguments (more of the program's).
sub new
{
	my ($class, %option) = @_;
	my $policy = root_folder() . '/policy';
	my $self = bless {
		port => free_port(),
		policy => $option{policy} || [ grep { !/_test\.rego$/ } glob "$policy/*.rego" ],
		arguments => $option{arguments} || [],
	}, $class;

	$self->start;
	return $self;
}

sub url { my ($self) = @_; return "http://127.0.0.1:$self->{port}"; }

sub start
{
	my ($self) = @_;
	my $out = scratch('opa.out');
	my $pid = fork;

	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null' or POSIX::_exit(1);
		open STDOUT, '>', $out or POSIX::_exit(1);
		open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
		exec $ENV{SMEM_OPA}, 'run', '--server', '--addr', "127.0.0.1:$self->{port}", '--log-level', 'error',
			'--skip-version-check', @{ $self->{arguments} }, @{ $self->{policy} }
			or POSIX::_exit(1);
	}
	$self->{pid} = $pid;
	push @started, [ $$, $pid ];
	poll('OPA answers',
		sub { return HTTP::Tiny->new(timeout => 1)->get($self->url . '/health')->{success}; },
		last => sub { return PostgreSQL::Test::Utils::slurp_file($out); })
		or croak 'OPA did not start';
	return;
}

# Ends it as a crash would; start() begins anew at the same address.
sub kill_it
{
	my ($self) = @_;

	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

# It keeps its connections, and says nothing.
sub hang { my ($self) = @_; return kill 'STOP', $self->{pid}; }

sub go_on { my ($self) = @_; return kill 'CONT', $self->{pid}; }

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
