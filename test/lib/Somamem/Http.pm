# A client of what the web worker serves: whole requests, and connections that are held by hand.
package Somamem::Http;

use strict;
use warnings;

use Compress::Zlib ();
use HTTP::Tiny ();
use IO::Socket::INET;
use Somamem ();
use Test::More;

# The client of one address, host:port or a port of this machine.
sub new
{
	my ($class, $address) = @_;
	$address = "127.0.0.1:$address" if $address =~ /^\d+$/;
	return bless { address => $address }, $class;
}

sub address { my ($self) = @_; return $self->{address}; }

# Status, headers (names in lower case) and content; a failure to connect has status 599.
sub request
{
	my ($self, $method, $path, %header) = @_;
	return HTTP::Tiny->new(timeout => 30, keep_alive => 0)
		->request($method, "http://$self->{address}$path", { headers => \%header });
}

sub get { my ($self, $path, %header) = @_; return $self->request('GET', $path, %header); }

sub status { my ($self, $path) = @_; return $self->get($path)->{status}; }

sub json { my ($self, $path) = @_; return Somamem::decode($self->get($path)->{content}); }

# Waits until a path has a status.
sub becomes
{
	my ($self, $path, $status) = @_;
	my $last;

	return Somamem::poll(
		"$path has status $status",
		sub { $last = $self->status($path); return $last == $status; },
		last => sub { return $last; });
}

sub gunzip { return Compress::Zlib::memGunzip($_[0]); }

# A connection that the test holds.
sub open_raw
{
	my ($self) = @_;
	return IO::Socket::INET->new(PeerAddr => $self->{address}, Proto => 'tcp', Timeout => 30);
}

# Sends bytes as they are, ends the sending side, and reads until the other side hangs up.
sub raw
{
	my ($self, $bytes) = @_;
	my $socket = $self->open_raw or return 'no connection';
	my $answer = '';

	$socket->print($bytes);
	$socket->flush;
	$socket->shutdown(1);
	while ($socket->sysread($answer, 65536, length $answer)) { }
	return $answer;
}

1;
