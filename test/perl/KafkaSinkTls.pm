
=head1 NAME

KafkaSinkTls - certification authorities, certificates, and brokers that ask for both

=head1 SYNOPSIS

  use KafkaSinkTls;

  my $ca   = KafkaSinkTls::Ca->new('ours');
  my $host = $ca->issue('localhost', san => 'DNS:localhost');
  my $old  = $ca->issue('localhost', san => 'DNS:localhost', from => -20, until => -10);

  $host->{store}                 # a file with key and certificate, as brokers read it
  $host->{key}, $host->{cert}    # both as text
  $ca->pem, $ca->file            # the authority's own certificate

Keys are elliptic ones, which take no time to make.  Needs the program openssl.

=cut

package KafkaSinkTls;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';

our @EXPORT = qw(sql_text);

=over

=item sql_text($text)

The text as a constant of SQL, line breaks included.

=cut

sub sql_text
{
	my ($text) = @_;

	return "'" . $text =~ s/'/''/gr . "'";
}


package KafkaSinkTls::Ca;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Utils ();

my $day = 24 * 60 * 60;

sub _openssl
{
	my (@args) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'openssl', @args ], '<', \'', '>', \$out, '2>', \$err)
	  or die "openssl @args: $err";
	return $out;
}

sub _time { return POSIX::strftime('%Y%m%d%H%M%SZ', gmtime(time + $_[0] * $day)); }

=item KafkaSinkTls::Ca-E<gt>new($name, %opts)

An authority with a certificate that it has signed itself.

=cut

sub new
{
	my ($class, $name) = @_;
	my $self = bless { name => $name, dir => PostgreSQL::Test::Utils::tempdir("ca-$name"), made => 0 }, $class;
	my $dir = $self->{dir};

	PostgreSQL::Test::Utils::append_to_file("$dir/conf", <<"END");
[ca]
default_ca = this
[this]
database = $dir/index
new_certs_dir = $dir
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
[req]
distinguished_name = dn
[dn]
[v3]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
END
	PostgreSQL::Test::Utils::append_to_file("$dir/index", '');
	$self->_key("$dir/key");
	_openssl('req', '-new', '-x509', '-config', "$dir/conf", '-extensions', 'v3', '-key', "$dir/key",
		'-subj', "/CN=$name", '-days', 3650, '-out', "$dir/ca");
	return $self;
}

sub _key
{
	my ($self, $file) = @_;

	return _openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', $file);
}

=item $ca-E<gt>file, $ca-E<gt>pem

Its certificate.

=cut

sub file { return $_[0]->{dir} . '/ca'; }
sub pem { return PostgreSQL::Test::Utils::slurp_file($_[0]->file); }

=item $ca-E<gt>issue($cn, %opts)

A certificate for a key of its own: C<san> as openssl has it, C<from> and C<until>
in days from now (-1, 100), C<password> for the key.

=cut

sub issue
{
	my ($self, $cn, %opts) = @_;
	my $dir = $self->{dir};
	my $base = "$dir/" . ++$self->{made};

	$self->_key("$base.plain");
	_openssl('pkcs8', '-topk8', '-in', "$base.plain", '-out', "$base.key",
		$opts{password} ? ('-v2', 'aes256', '-passout', "pass:$opts{password}") : '-nocrypt');
	_openssl('req', '-new', '-config', "$dir/conf", '-key', "$base.plain", '-subj', "/CN=$cn", '-out', "$base.csr");
	PostgreSQL::Test::Utils::append_to_file("$base.ext",
		'extendedKeyUsage = serverAuth, clientAuth' . ($opts{san} ? "\nsubjectAltName = $opts{san}" : '') . "\n");
	_openssl('ca', '-batch', '-notext', '-config', "$dir/conf", '-cert', "$dir/ca", '-keyfile', "$dir/key",
		'-startdate', _time($opts{from} // -1), '-enddate', _time($opts{until} // 100),
		'-extfile', "$base.ext", '-in', "$base.csr", '-out', "$base.crt");

	my %made = map { $_->[0] => PostgreSQL::Test::Utils::slurp_file("$base.$_->[1]") } [ key => 'key' ], [ cert => 'crt' ];
	PostgreSQL::Test::Utils::append_to_file("$base.pem", $made{key} . $made{cert});
	return { %made, store => "$base.pem" };
}


package KafkaSinkTls::Tokens;

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use MIME::Base64 qw(encode_base64);
use POSIX ();

=item KafkaSinkTls::Tokens-E<gt>new($id, $secret)

A server of tokens for OAUTHBEARER, in a process of its own, that gives whoever knows
the client's secret a token with the client's id as its subject.  Tokens are not signed.

=item $tokens-E<gt>url

=cut

sub _base64url { return encode_base64($_[0], '') =~ tr{+/=}{-_}dr; }

sub new
{
	my ($class, $id, $secret) = @_;
	my $socket = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "listen: $!";
	my $self = bless { url => 'http://127.0.0.1:' . $socket->sockport . '/token', parent => $$ }, $class;
	my $expected = encode_base64("$id:$secret", '');

	$self->{pid} = fork // die "fork: $!";
	return $self if $self->{pid};
	$SIG{PIPE} = 'IGNORE';
	while (my $client = $socket->accept)
	{
		_answer($client, $id, $expected);
		$client->close;
	}
	POSIX::_exit(0);
}

sub _answer
{
	my ($client, $id, $expected) = @_;
	my ($request, $now) = ('', time);

	while ($request !~ /\r\n\r\n/)
	{
		$client->sysread($request, 4096, length $request) or return;
	}
	my $known = $request =~ /^authorization: basic \Q$expected\E\r$/im;
	my $token = join '.', map({ _base64url($_) } '{"alg":"none"}', sprintf('{"sub":"%s","iat":%d,"exp":%d}', $id, $now, $now + 3600)), '';
	my $body = $known ? qq({"access_token":"$token","token_type":"Bearer","expires_in":3600}) : '{"error":"invalid_client"}';

	$client->syswrite('HTTP/1.1 ' . ($known ? '200 OK' : '401 Unauthorized') . "\r\nContent-Type: application/json\r\nContent-Length: "
		  . length($body) . "\r\nConnection: close\r\n\r\n$body");
	return;
}

sub url { return $_[0]->{url}; }

sub DESTROY
{
	my ($self) = @_;

	return if $$ != $self->{parent};
	local $?;
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

=back

=cut

1;
