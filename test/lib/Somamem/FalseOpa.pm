# Something at the address of Open Policy Agent that answers what a test says.
package Somamem::FalseOpa;

use strict;
use warnings;

use Carp;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Somamem;

# What is answered to a question, by mode; "hang" answers never, "garbage" speaks no HTTP.
my %answer = (
	allow => '{"result": true}',
	deny => '{"result": false}',
	undefined => '{}',
	yes => '{"result": "yes"}',
	number => '{"result": 1}',
	object => '{"result": {"allow": true}}',
	null => '{"result": null}',
	no_json => 'true, of course',
	cut => '{"result": true',
	500 => '{"code": "internal_error"}',
	404 => '{"result": true}',
);

# What is answered when the reason is asked for.
my $decision = '{"result": {"allow": false, "rule": "stood_in", "reason": "the stand-in says no"}}';

my @started;

# It obeys a file with the mode's name, and notes every question, a line each: not the courier's own.
sub new
{
	my ($class, $mode) = @_;
	my $self = bless { port => free_port(), mode => scratch('opa.mode'), asked => scratch('opa.asked') }, $class;

	$self->mode($mode);
	PostgreSQL::Test::Utils::append_to_file($self->{asked}, '');
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $self->{port}, Listen => 128, ReuseAddr => 1)
		or croak "could not listen: $!";
	my $pid = fork;
	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		eval { $self->serve($listener) };
		print STDERR $@;
		POSIX::_exit(1);
	}
	$self->{pid} = $pid;
	push @started, [ $$, $pid ];
	return $self;
}

sub url { my ($self) = @_; return "http://127.0.0.1:$self->{port}"; }

sub mode_file { my ($self) = @_; return $self->{mode}; }

sub mode
{
	my ($self, $mode) = @_;
	open my $file, '>', "$self->{mode}.new" or croak "could not write: $!";
	print $file $mode;
	close $file;
	rename "$self->{mode}.new", $self->{mode} or croak "could not rename: $!";
	return;
}

# The questions of sessions so far.
sub asked
{
	my ($self) = @_;
	return map { decode($_) } split /\n/, PostgreSQL::Test::Utils::slurp_file($self->{asked});
}

sub serve
{
	my ($self, $listener) = @_;
	my $select = IO::Select->new($listener);
	my %in;

	$SIG{PIPE} = 'IGNORE';
	open my $asked, '>>', $self->{asked} or die "could not write: $!";
	$asked->autoflush;
	while (1)
	{
		foreach my $client ($select->can_read)
		{
			if ($client == $listener)
			{
				my $new = $listener->accept or next;
				$select->add($new);
				$in{$new} = '';
				next;
			}
			my $open = sysread $client, $in{$client}, 65536, length $in{$client};
			$open &&= answer_all($self, $client, \$in{$client}, $asked);
			next if $open;
			delete $in{$client};
			$select->remove($client);
			close $client;
		}
	}
	return;
}

# Answers every whole request; false where the connection is to end.
sub answer_all
{
	my ($self, $client, $in, $asked) = @_;

	while ($$in =~ /\A(POST \S*(\/\w+) HTTP.*?\r\n\r\n)/s)
	{
		my ($head, $rule) = ($1, $2);
		my ($length) = $head =~ /^Content-Length: (\d+)/mi;
		return 1 if length $$in < length($head) + $length;
		my $body = substr $$in, length $head, $length;
		substr $$in, 0, length($head) + $length, '';
		my $mode = PostgreSQL::Test::Utils::slurp_file($self->{mode});
		$body =~ s/\s+/ /g;
		print $asked "$body\n" unless $body eq '{"input":{}}' || $rule eq '/decision';
		next if $mode eq 'hang';
		my $text = $rule eq '/decision' ? $decision : $answer{$mode};
		my $answer = $mode eq 'garbage' ? "\x00\x01 nothing you know \xff\n"
			: sprintf "HTTP/1.1 %s Some\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			$mode =~ /^\d+$/ ? $mode : 200, length $text, $text;
		syswrite $client, $answer;
		return 0 if $mode eq 'garbage';
	}
	return 1;
}

END
{
	my $status = $?;
	foreach my $one (@started)
	{
		next unless $one->[0] == $$;
		kill 'KILL', $one->[1];
		waitpid $one->[1], 0;
	}
	$? = $status;
}

1;
