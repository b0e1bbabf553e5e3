
=head1 NAME

KafkaSinkStub - a schema registry that answers what a test tells it to

=head1 SYNOPSIS

  use KafkaSinkStub;

  my $registry = KafkaSinkStub->new;             # listens on 127.0.0.1
  $registry->schema(1, '"string"');              # GET /schemas/ids/1
  $registry->schema(2, $proto, type => 'PROTOBUF', references => [ {...} ]);
  $registry->answer('/subjects/a/versions/1', body => '{...}');
  create_server($node, $kafka, options => "schema_registry_url '" . $registry->url . "'");

  $registry->always(status => 500);              # whatever it is asked for
  $registry->always;                             # as before
  $registry->need('Basic', 'app:secret');        # or 401
  is($registry->requests('/schemas/ids/1'), 1);
  $registry->stop; $registry->start;             # on the same port

  my $tls = KafkaSinkStub->new(certificate => $ca->issue(...), clients => $ca);

It runs in a process of its own, and one more for each connection, which end with
the test, however that ends.  What is not known is answered as Confluent's registry does: by
a 404 with an error_code for a schema, without one for any other path.

=head1 METHODS

=over

=cut

package KafkaSinkStub;

use strict;
use warnings FATAL => 'all';

use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use POSIX ();
use PostgreSQL::Test::Utils ();
use Storable ();

my $json = JSON::PP->new->canonical->utf8(0);    # of bytes
my $characters = JSON::PP->new->canonical->utf8;

# By process: what ends it when it is closed, by us or because we are gone.
my %lifelines;

=item KafkaSinkStub-E<gt>new(%opts)

Started, unless C<start =E<gt> 0>.  C<certificate> (of KafkaSinkTls): speaks TLS.
C<clients>, an authority: asks clients for its certificates.

=cut

sub new
{
	my ($class, %opts) = @_;
	my $self = bless {
		dir => PostgreSQL::Test::Utils::tempdir('registry'), parent => $$, answers => {},
		certificate => $opts{certificate}, clients => $opts{clients} }, $class;

	$self->_listen;
	$self->_save;
	PostgreSQL::Test::Utils::append_to_file("$self->{dir}/log", '');
	$self->start if $opts{start} // 1;
	return $self;
}

=item $registry-E<gt>url($host), -E<gt>port

C<$host> is 127.0.0.1 unless given, C<localhost> where a certificate is for that.

=cut

sub port { return $_[0]->{port}; }

sub url
{
	my ($self, $host) = @_;

	return ($self->{certificate} ? 'https' : 'http') . '://' . ($host // '127.0.0.1') . ":$self->{port}";
}

=item $registry-E<gt>schema($id, $text, %opts)

A schema, as characters: C<type> (AVRO unless given), C<references>, a list of hashes with name,
subject and version; C<guid>, by which it is found, too.

=cut

sub schema
{
	my ($self, $id, $text, %opts) = @_;
	my %answer = (schema => $text);

	$answer{schemaType} = $opts{type} if defined $opts{type} && $opts{type} ne 'AVRO';
	$answer{references} = $opts{references} if $opts{references};
	$answer{guid} = $opts{guid} if $opts{guid};
	return $self->answer([ "/schemas/ids/$id", $opts{guid} ? "/schemas/guids/$opts{guid}" : () ], body => $characters->encode(\%answer));
}

=item $registry-E<gt>answer($path, %answer)

What a path (or each of several; without a query it is for all of them) is answered from now on: C<status> (200),
C<body> (bytes), C<headers> (a hash). Instead, or before:

  delay => $seconds      the answer comes so late
  slow => $seconds       each of its bytes does
  hang => 'before'       nothing comes, until the client goes
  hang => $n             nor behind so many bytes of the body
  cut => $n              the connection ends behind so many bytes of the body
  chunked => 1           the body's length is not told before
  endless => 1           the body does not end; endless => 'headers': nor do these
  raw => $bytes          these, and the connection ends

=item $registry-E<gt>always(%answer)

For every path, whatever else has been said; without any: no longer.

=item $registry-E<gt>forget($path)

=cut

sub answer
{
	my ($self, $paths, %answer) = @_;

	$self->{answers}{$_} = {%answer} foreach ref $paths ? @$paths : $paths;
	return $self->_save;
}

sub always
{
	my ($self, %answer) = @_;

	$self->{always} = %answer ? {%answer} : undef;
	return $self->_save;
}

sub forget
{
	my ($self, $path) = @_;

	delete $self->{answers}{$path};
	return $self->_save;
}

=item $registry-E<gt>need($scheme, $credentials)

C<('Basic', 'user:password')> or C<('Bearer', $token)>, and 401 for all others; C<()>: nothing.

=cut

sub need
{
	my ($self, $scheme, $credentials) = @_;

	$self->{need} = !defined $scheme ? undef : "$scheme " . ($scheme eq 'Basic' ? encode_base64($credentials, '') : $credentials);
	return $self->_save;
}

=item $registry-E<gt>requests($path), -E<gt>connections, -E<gt>last_request

How many there were: of the path, or of all; of connections; the text of the last request.

=cut

sub _log
{
	my ($self, $kind) = @_;

	return map { $_->[1] } grep { $_->[0] eq $kind }
	  map { [ split / /, $_, 2 ] } split /\n/, PostgreSQL::Test::Utils::slurp_file("$self->{dir}/log");
}

sub connections { my ($self) = @_; return scalar $self->_log('connection'); }

sub requests
{
	my ($self, $path) = @_;

	return scalar grep { !defined $path || $_ eq $path } map { /^\w+ ([^ ?]*)/ ? $1 : '' } map { $json->decode("[$_]")->[0] } $self->_log('request');
}

sub last_request
{
	my ($self) = @_;
	my @requests = $self->_log('request');

	return @requests ? $json->decode("[$requests[-1]]")->[0] : '';
}

=item $registry-E<gt>start, -E<gt>stop

stop returns when nobody listens; connections are closed.

=cut

sub _listen
{
	my ($self) = @_;

	$self->{socket} = IO::Socket::INET->new(
		Listen => 100, LocalAddr => '127.0.0.1', LocalPort => $self->{port} // 0, ReuseAddr => 1) or die "listen: $!";
	$self->{port} = $self->{socket}->sockport;
	return;
}

sub start
{
	my ($self) = @_;

	return if $self->{pid};
	$self->_listen unless $self->{socket};
	pipe(my $lifeline, my $ours) or die "pipe: $!";
	$self->{pid} = fork // die "fork: $!";
	if ($self->{pid} == 0)
	{
		setpgrp;
		close $_ foreach $ours, grep { defined } values %lifelines;
		# (an error must not run the test's own END)
		eval { $self->_serve($lifeline); 1 } or print STDERR "# registry: $@";
		POSIX::_exit(0);
	}
	close $lifeline;
	$lifelines{ $self->{pid} } = $ours;
	close delete $self->{socket};
	return;
}

sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;

	kill 'TERM', -$pid;
	close delete $lifelines{$pid};
	waitpid $pid, 0;
	return;
}

sub DESTROY
{
	my ($self) = @_;

	return if $$ != $self->{parent};
	local $?;
	$self->stop;
	return;
}

# What the processes read anew for each request.
sub _save
{
	my ($self) = @_;

	Storable::nstore({ answers => $self->{answers}, always => $self->{always}, need => $self->{need} }, "$self->{dir}/script.new");
	rename "$self->{dir}/script.new", "$self->{dir}/script" or die "rename: $!";
	return;
}

# --- the processes ---

sub _note
{
	my ($self, $kind, $text) = @_;

	open my $log, '>>', "$self->{dir}/log" or die "log: $!";
	syswrite $log, "$kind $text\n";
	close $log;
	return;
}

# Accepts until the test ends, and then waits for those of the connections.
sub _serve
{
	my ($self, $lifeline) = @_;
	my $select = IO::Select->new($self->{socket}, $lifeline);
	my @children;

	$SIG{PIPE} = 'IGNORE';
	require IO::Socket::SSL if $self->{certificate};
	while (1)
	{
		my @ready = $select->can_read;

		last if grep { $_ == $lifeline } @ready;
		@children = grep { waitpid($_, POSIX::WNOHANG()) == 0 } @children;
		my $client = $self->{socket}->accept or next;
		my $child = fork // die "fork: $!";
		if ($child == 0)
		{
			close $self->{socket};
			$self->{lifeline} = $lifeline;
			eval { $self->_talk($client); 1 } or print STDERR "# registry: $@";
			POSIX::_exit(0);
		}
		push @children, $child;
		close $client;
	}
	close $self->{socket};
	waitpid $_, 0 foreach @children;
	return;
}

# True when there is something to read; false at the test's end, or after that many seconds.
sub _wait
{
	my ($self, $client, $seconds) = @_;

	return 1 if $client->can('pending') && $client->pending;
	my @ready = IO::Select->new($client, $self->{lifeline})->can_read($seconds);
	return @ready && !grep { $_ == $self->{lifeline} } @ready;
}

# Until the client goes, or the test ends.
sub _hang
{
	my ($self, $client) = @_;

	while ($self->_wait($client))
	{
		return unless $client->sysread(my $ignored, 4096);
	}
	return;
}

sub _pause
{
	my ($self, $seconds) = @_;

	POSIX::_exit(0) if IO::Select->new($self->{lifeline})->can_read($seconds);
	return;
}

sub _begin_tls
{
	my ($self, $client) = @_;

	return IO::Socket::SSL->start_SSL(
		$client,
		SSL_server => 1,
		SSL_cert_file => $self->{certificate}{store},
		SSL_key_file => $self->{certificate}{store},
		$self->{clients}
		? (SSL_ca_file => $self->{clients}->file, SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_PEER() | IO::Socket::SSL::SSL_VERIFY_FAIL_IF_NO_PEER_CERT())
		: (SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE()));
}

# One connection: requests until one of both ends it.
sub _talk
{
	my ($self, $client) = @_;
	my $request = '';

	$self->_note(connection => $$);
	if ($self->{certificate})
	{
		my $bare = $client;

		if (!($client = $self->_begin_tls($client)))
		{
			# (what the client has sent meanwhile would have the alert thrown away)
			shutdown $bare, 1;
			return $self->_hang($bare);
		}
	}
	while ($self->_wait($client))
	{
		$client->sysread($request, 65536, length $request) or return;
		# (TLS where there is none)
		return if $request !~ /^[A-Z]/;
		while ($request =~ s/^(.*?\r\n)\r\n//s)
		{
			my $head = $1;

			$self->_note(request => substr $json->encode([$head]), 1, -1);
			return unless $self->_answer($client, $head);
		}
	}
	return;
}

sub _write
{
	my ($self, $client, $bytes) = @_;
	my $done = 0;

	while ($done < length $bytes)
	{
		my $n = $client->syswrite($bytes, length($bytes) - $done, $done) or return 0;
		$done += $n;
	}
	return 1;
}

# What is said to a request; false: the connection is over.
sub _answer
{
	my ($self, $client, $head) = @_;
	my $script = Storable::retrieve("$self->{dir}/script");
	my ($target, $path) = $head =~ /^\w+ (([^ ?]*)[^ ]*)/;
	my ($authorization) = $head =~ /^authorization: (.*)\r$/im;
	my $answer =
	    $script->{always} ? $script->{always}
	  : defined $script->{need} && ($authorization // '') ne $script->{need} ? _error(401, 40101, 'Unauthorized')
	  : $script->{answers}{$target} // $script->{answers}{$path} ? $script->{answers}{$target} // $script->{answers}{$path}
	  : $path =~ m{^/schemas/(ids|guids)/([^/]+)$} ? _error(404, 40403, "Schema $2 not found")
	  : $path =~ m{^/subjects/([^/]+)(/|$)} ? _error(404, 40401, "Subject '$1' not found.")
	  : _error(404, 404, 'HTTP 404 Not Found');
	my $status = $answer->{status} // 200;
	my $body = $answer->{body} // '';
	my $cut = $answer->{cut} // $answer->{hang};

	$self->_pause($answer->{delay}) if $answer->{delay};
	return $self->_hang($client) if ($answer->{hang} // '') eq 'before';
	if (defined $answer->{raw})
	{
		$self->_write($client, $answer->{raw});
		return 0;
	}
	my $length = $answer->{endless} ? undef : length $body;
	my $text = "HTTP/1.1 $status Whatever\r\n" . ($answer->{chunked} || !defined $length ? "Transfer-Encoding: chunked\r\n" : "Content-Length: $length\r\n");
	my %headers = ('Content-Type' => 'application/vnd.schemaregistry.v1+json', %{ $answer->{headers} // {} });

	$text .= "$_: $headers{$_}\r\n" foreach sort keys %headers;
	if (($answer->{endless} // '') eq 'headers')
	{
		$self->_write($client, $text) or return 0;
		1 while $self->_write($client, "X-Again: again\r\n");
		return 0;
	}
	$text .= "\r\n";
	if ($answer->{endless})
	{
		my $chunk = sprintf "%x\r\n%s\r\n", 65536, 'x' x 65536;

		$self->_write($client, $text) or return 0;
		1 while $self->_write($client, $chunk);
		return 0;
	}
	my $part = defined $cut ? substr $body, 0, $cut : $body;

	$text .= $answer->{chunked} ? sprintf("%x\r\n%s\r\n", length $part, $part) . (defined $cut ? '' : "0\r\n\r\n") : $part;
	if ($answer->{slow})
	{
		foreach my $byte (split //, $text)
		{
			$self->_write($client, $byte) or return 0;
			$self->_pause($answer->{slow});
		}
		return 1;
	}
	$self->_write($client, $text) or return 0;
	return $self->_hang($client) if defined $answer->{hang};
	return !defined $cut;
}

sub _error
{
	my ($status, $code, $message) = @_;

	return { status => $status, body => $json->encode({ error_code => $code, message => $message }) };
}

=back

=cut

1;
