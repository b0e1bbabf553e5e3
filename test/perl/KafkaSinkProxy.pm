
=head1 NAME

KafkaSinkProxy - a broker behind a proxy that breaks connections

=head1 SYNOPSIS

  use KafkaSinkProxy;

  my $kafka = start_proxied_broker();    # a broker of the test's own
  create_server($node, $kafka->through); # connections of this server are proxied
  $kafka->gen(...);                      # what the test itself does is not
  $kafka->proxy->command('cut-after 20000');
  $kafka->proxy->command('pass');

The broker has a listener for the proxy, and tells who comes by it to stay
with the proxy.  The commands are those of F<test/tools/proxy.c>.

=cut

package KafkaSinkProxy;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename;

use KafkaSinkTest;

our @ISA = ('KafkaSinkTest::Process');
our @EXPORT = qw(start_proxied_broker);

sub _free_port { return `$ENV{KAFKA_SINK_BROKER} free-port` + 0; }

# Options as those of start_broker().
sub start_proxied_broker
{
	my (%opts) = @_;
	my ($port, $proxy_port) = _free_port();
	$proxy_port = _free_port() until defined $proxy_port && $proxy_port != $port;
	my $inner = $proxy_port + 1;
	my $controller = $port + 1;
	my $proxy = KafkaSinkProxy->_new(dirname($ENV{KFK}) . '/proxy', $proxy_port, $inner);
	my $broker = start_broker(
		%opts,
		port => $port,
		properties => {
			'listeners' => "PLAINTEXT://127.0.0.1:$port,PROXY://127.0.0.1:$inner,CONTROLLER://127.0.0.1:$controller",
			'advertised.listeners' => "PLAINTEXT://127.0.0.1:$port,PROXY://127.0.0.1:$proxy_port",
			'listener.security.protocol.map' => 'PLAINTEXT:PLAINTEXT,PROXY:PLAINTEXT,CONTROLLER:PLAINTEXT',
			%{ $opts{properties} // {} } });

	$broker->{proxy} = $proxy;
	$broker->{through} = KafkaSinkTest::Broker->_new(bootstrap => "127.0.0.1:$proxy_port");
	return bless $broker, 'KafkaSinkProxy::Broker';
}

sub command
{
	my ($self, $command) = @_;
	my $answer = $self->ask($command);

	die "$command: $answer" if $answer ne 'OK';
	return;
}

=item $proxy->count

Connections that were asked for, bytes that went to clients, connections that
ended.

=cut

sub count
{
	my ($self) = @_;

	return split / /, $self->ask('count');
}

package KafkaSinkProxy::Broker;

use strict;
use warnings FATAL => 'all';

our @ISA = ('KafkaSinkTest::Broker');

sub proxy { return $_[0]->{proxy}; }
sub through { return $_[0]->{through}; }

1;
