# A broker that asks who is there: SASL over TLS, certificates of clients, rights.
# What is wrong is told in the words of doc/security.md, halts no sink, and is over
# once it is mended, without a record lost or applied twice.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkTls;

my ($ours, $theirs) = map { KafkaSinkTls::Ca->new($_) } 'ours', 'theirs';
my %secret = (password => 'first-pass-word', next => 'second-pass-word', wrong => 'third-pass-word', key => 'fourth-pass-word');

# --- a broker with a port for each case ---

my @ports = map { chomp(my $p = `$ENV{KAFKA_SINK_BROKER} free-port`); ($p, $p + 1) } 1 .. 4;
my %port = (plaintext => $ports[0]);
@port{qw(sasl mtls expired foreign elsewhere)} = @ports[ 2 .. 6 ];
my %certificate = (
	sasl => $ours->issue('localhost', san => 'DNS:localhost'),
	mtls => $ours->issue('localhost', san => 'DNS:localhost'),
	expired => $ours->issue('localhost', san => 'DNS:localhost', from => -20, until => -10),
	foreign => $theirs->issue('localhost', san => 'DNS:localhost'),
	elsewhere => $ours->issue('elsewhere', san => 'DNS:elsewhere.example'));
my @tls = sort keys %certificate;
my $trusted = PostgreSQL::Test::Utils::tempdir('trusted') . '/pem';
append_to_file($trusted, $ours->pem);

sub jaas_plain
{
	my ($password) = @_;

	return qq{org.apache.kafka.common.security.plain.PlainLoginModule required user_app="$password" user_guest="$password";};
}

sub listeners
{
	my ($host) = @_;

	return join ',', "PLAINTEXT://127.0.0.1:$port{plaintext}", map { uc($_) . "://$host:$port{$_}" } @tls;
}
my $scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
my $kafka = start_broker(
	port => $port{plaintext},
	properties => {
		'listeners' => listeners('127.0.0.1') . ',CONTROLLER://127.0.0.1:' . ($port{plaintext} + 1),
		'advertised.listeners' => listeners('localhost'),
		'listener.security.protocol.map' => join(',', 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL', map { uc($_) . ':SSL' } grep { $_ ne 'sasl' } @tls),
		'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'super.users' => 'User:ANONYMOUS',
		'listener.name.sasl.sasl.enabled.mechanisms' => 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
		'listener.name.sasl.plain.sasl.jaas.config' => jaas_plain($secret{password}),
		'listener.name.sasl.oauthbearer.sasl.jaas.config' =>
		  'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
		map({ ("scram=$_" => "[name=app,password=$secret{password}]", 'listener.name.sasl.' . lc($_) . '.sasl.jaas.config' => $scram) }
			'SCRAM-SHA-256', 'SCRAM-SHA-512'),
		'listener.name.mtls.ssl.client.auth' => 'required',
		map({ ("listener.name.$_.ssl.keystore.type" => 'PEM', "listener.name.$_.ssl.keystore.location" => $certificate{$_}{store},
				"listener.name.$_.ssl.truststore.type" => 'PEM', "listener.name.$_.ssl.truststore.location" => $trusted) } @tls) });
my ($features, $version) = split /\t/, $kafka->kfk('features');
my @version = split /\./, $version;
my $has_scram = $version[0] * 10000 + $version[1] * 100 + $version[2] >= 20601;

# --- the server; everything that can be said is said ---

my $node = new_node('main', conf => "log_statement = none\nlog_min_messages = debug1\n");
my $doc = slurp_file("$FindBin::RealBin/../../doc/security.md");

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub error_of
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1);

	return $rc == 0 ? "none: $out" : $err;
}

# The rows of the table of errors: by what is wrong, what is to be seen.
my ($section) = $doc =~ /^## Connections and what their errors look like\n(.*?)^## /ms or die 'no section on errors';
my (%row, %asserted);
foreach (grep { /^\| / && !/^\| what is wrong/ } split /\n/, $section)
{
	my ($what, $sqlstate, $message, $detail, $hint) = map { s/^\s+|\s+$//gr } (split /\|/, $_)[ 1 .. 5 ];

	$row{$what} = { sqlstate => $sqlstate =~ tr/`//dr, hint => pattern($hint), map { $_->[0] => pattern($_->[1] =~ tr/`//dr) } [ message => $message ], [ detail => $detail ] };
}

# '...' stands for anything
sub pattern { return join '.*', map { quotemeta } split /\.\.\./, $_[0], -1; }

sub row
{
	my ($what) = @_;

	$asserted{$what} = 1;
	return $row{$what} // die "doc/security.md does not say: $what";
}

# The error of a function is the one that the table tells.
sub raises
{
	my ($sql, $what) = @_;
	my $row = row($what);
	my $error = error_of($sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	like($error, qr/ERROR:  $row->{sqlstate}: ([^\n]*: )?$row->{message}\n/, "$what: error");
	like($error, $row->{detail} eq '' ? qr/^(?!.*^DETAIL:)/ms : qr/^DETAIL:  .*$row->{detail}.*$/m, "$what: detail");
	like($error, qr/^HINT:  $row->{hint}$/m, "$what: hint");
	return;
}

# The sink waits for the brokers, and says why as the table does.
sub waits
{
	my ($sink, $what) = @_;
	my $row = row($what);
	my $detail = $row->{detail} eq '' ? '-' : ".*$row->{detail}.*";
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, qq{SELECT concat_ws(E'\\n', state, waits_for, sqlstate, message, coalesce(detail, '-'), hint) FROM kafka_sink.sinks WHERE sink = '$sink'},
		qr/^waiting\nbroker\n$row->{sqlstate}\n(.*: )?$row->{message}\n$detail\n$row->{hint}\z/, "sink $sink: $what");
	return;
}

my %in_mapping = map { $_ => 1 } qw(sasl_username sasl_password ssl_certificate_pem ssl_key_pem ssl_key_password
  sasl_oauthbearer_config sasl_oauthbearer_client_id sasl_oauthbearer_client_secret);

sub options
{
	my ($options, $mapping, $how) = @_;

	return join ', ', map { ($how // '') . " $_ " . sql_text($options->{$_}) } grep { !$mapping == !$in_mapping{$_} } sort keys %$options;
}

# A server at a port of the broker, and a user mapping of the superuser.
sub create_secure
{
	my ($name, $port, %options) = @_;

	%options = (bootstrap_servers => "localhost:$port", broker_address_family => 'v4', reconnect_backoff_max_ms => 500, %options);
	sql("CREATE SERVER $name FOREIGN DATA WRAPPER kafka_sink OPTIONS (@{[ options(\%options, 0) ]})");
	sql("CREATE USER MAPPING FOR postgres SERVER $name OPTIONS (@{[ options(\%options, 1) ]})") if grep { $in_mapping{$_} } keys %options;
	return;
}

sub alter_server { my ($name, %options) = @_; return sql("ALTER SERVER $name OPTIONS (@{[ options(\%options, 0, 'SET') ]})"); }
sub alter_mapping { my ($name, %options) = @_; return sql("ALTER USER MAPPING FOR postgres SERVER $name OPTIONS (@{[ options(\%options, 1, 'SET') ]})"); }

# A sink at a server of the same name, and a table, likewise.
my %topic_of;
sub create_sink
{
	my ($name, $topic, $settings) = @_;

	$topic_of{$name} = $topic;
	return sql(qq{
		CREATE TABLE $name (id int);
		BEGIN;
		SELECT kafka_sink.create_sink('$name', server => '$name', target => '$name', @{[ $settings // "idle_after => '0'" ]});
		SELECT kafka_sink.register_topic('$name', '$topic');
		COMMIT});
}

# A record into each of two partitions.
my %produced;
sub produce
{
	my ($topic) = @_;
	my $script = $kafka->script->to($topic);

	$script->P($_, undef, sprintf '{"id": %d}', ++$produced{$topic}) foreach 0, 1;
	$script->F;
	return $script->end;
}

# All that was produced is there, each once, and the sink is well.
sub complete
{
	my ($sink, $what) = @_;
	my $n = $produced{ $topic_of{$sink} };
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, qq{SELECT count(*), count(DISTINCT id), (SELECT sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = '$sink'),
			(SELECT state IN ('running', 'idle') AND message IS NULL FROM kafka_sink.sinks WHERE sink = '$sink') FROM $sink},
		"$n|$n|$n|t", "sink $sink: $what");
	return;
}

my %tls = (security_protocol => 'ssl', ssl_ca_pem => $ours->pem);
my %sasl = (%tls, security_protocol => 'sasl_ssl', sasl_mechanisms => 'PLAIN', sasl_username => 'app', sasl_password => $secret{password});
my $client = $ours->issue('app', password => $secret{key});
my %mtls = (%tls, ssl_certificate_pem => $client->{cert}, ssl_key_pem => $client->{key}, ssl_key_password => $secret{key});
my $topic = $kafka->topic('orders', 2);
$kafka->kfk('grant', $_, $topic, 'read') foreach 'User:app', 'User:CN=app';
produce($topic);

# --- what is right ---

create_secure('plain', $port{sasl}, %sasl);
create_secure('guest', $port{sasl}, %sasl, sasl_username => 'guest');
create_secure('certified', $port{mtls}, %mtls);
create_secure('bundled', $port{foreign}, %tls, ssl_ca_pem => $ours->pem . $theirs->pem);
create_secure('token', $port{sasl}, %tls, security_protocol => 'sasl_ssl', sasl_mechanisms => 'OAUTHBEARER',
	enable_sasl_oauthbearer_unsecure_jwt => 'true', sasl_oauthbearer_config => 'principal=app');
is(sql("SELECT topic, partitions FROM kafka_sink.topics('$_', timeout => '2 min')"), "$topic|2", "$_: topics()") foreach qw(plain certified token);
is(sql("SELECT count(*) FROM kafka_sink.topics('bundled', timeout => '2 min')"), '1', 'several authorities in ssl_ca_pem');
is(sql("SELECT count(*) FROM kafka_sink.topics('guest', timeout => '2 min')"), '0', 'who has no right sees no topic');
is(sql("SELECT count(*) FROM kafka_sink.peek('plain', '$topic', 1, timeout => '2 min')"), '1', 'peek()');
foreach (qw(plain certified token))
{
	create_sink($_, $topic);
	complete($_, 'it consumes, with the right READ alone');
}

# --- what is wrong, as sinks and functions tell it ---

my $old = $ours->issue('app', from => -20, until => -10);
my $other = $theirs->issue('app');
my %case = (
	'no broker answers' => [ 'away', 1, %tls ],
	'a wrong user or password (PLAIN, SCRAM)' => [ 'wrong', $port{sasl}, %sasl, sasl_password => $secret{wrong} ],
	'a mechanism that the brokers do not have' => [ 'mechanism', $port{sasl}, %sasl, sasl_mechanisms => 'GSSAPI', sasl_kerberos_min_time_before_relogin => 0 ],
	'SASL at a port that asks for none' => [ 'unasked', $port{mtls}, %mtls, %sasl ],
	'a token that the brokers refuse' => [ 'nobody', $port{sasl}, %tls, security_protocol => 'sasl_ssl', sasl_mechanisms => 'OAUTHBEARER',
		enable_sasl_oauthbearer_unsecure_jwt => 'true', sasl_oauthbearer_config => 'principal=app principalClaimName=nonsense' ],
	"a broker's certificate is of another authority" => [ 'foreign_', $port{foreign}, %tls ],
	"a broker's certificate has expired" => [ 'expired', $port{expired}, %tls ],
	"a broker's certificate is of another host" => [ 'elsewhere', $port{elsewhere}, %tls ],
	'the client has no certificate, and needs one' => [ 'unknown', $port{mtls}, %tls ],
	"the client's certificate has expired" => [ 'old', $port{mtls}, %tls, ssl_certificate_pem => $old->{cert}, ssl_key_pem => $old->{key} ],
	"the client's certificate is of another authority" => [ 'other', $port{mtls}, %tls, ssl_certificate_pem => $other->{cert}, ssl_key_pem => $other->{key} ],
	"the client's key is not that of its certificate" => [ 'mixed', $port{mtls}, %tls, ssl_certificate_pem => $other->{cert}, ssl_key_pem => $old->{key} ],
	"a wrong password of the client's key" => [ 'locked', $port{mtls}, %mtls, ssl_key_password => $secret{wrong} ],
	'TLS at a port that has none' => [ 'bare', $port{plaintext}, %tls ],
	'no TLS at a port that has it' => [ 'open', $port{expired}, security_protocol => 'plaintext' ],
	'no SASL at a port that asks for it' => [ 'silent', $port{sasl}, %tls ],
	'no right on a topic when it is opened' => [ 'refused', $port{sasl}, %sasl ]);
$case{'SCRAM, Kafka 4, and librdkafka before 2.6.1'} = [ 'scram', $port{sasl}, %sasl, sasl_mechanisms => 'SCRAM-SHA-512' ] unless $has_scram;
my $hidden = $kafka->topic('hidden', 1);
foreach my $what (sort keys %case)
{
	create_secure(@{ $case{$what} });
	create_sink($case{$what}[0], $case{$what}[0] eq 'refused' ? $hidden : $topic);
}
foreach my $what (sort keys %case)
{
	my $server = $case{$what}[0];

	waits($server, $what);
	next if $row{$what}{sqlstate} eq '08006';    # (which only the timeout ends)
	if ($server eq 'refused')
	{
		raises("SELECT * FROM kafka_sink.peek('$server', '$hidden', 0, timeout => '2 min')", $what);
		next;
	}
	raises("SELECT * FROM kafka_sink.topics('$server', timeout => '2 min')", $what);
	raises("SELECT * FROM kafka_sink.peek('$server', '$topic', 0, timeout => '2 min')", $what) if $server =~ /^(wrong|expired|old)$/;
}
is(sql(q{SELECT count(*) FROM kafka_sink.sinks WHERE state = 'halted'}), '0', 'none is halted');
like(error_of(q{CREATE SERVER none FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost', security_protocol 'sasl_ssl', sasl_mechanism 'OAUTHBEARER')}),
	qr/ERROR:  HV00J: SASL mechanism OAUTHBEARER requires the option "sasl_oauthbearer_method"\n.*HINT:  .*oidc/s, 'OAUTHBEARER needs somebody who gives tokens');

# mended one by one: each goes on at once
alter_mapping('wrong', sasl_password => $secret{password});
complete('wrong', 'with the right password');
my $renewed = $ours->issue('app');
alter_mapping($_, ssl_certificate_pem => $renewed->{cert}, ssl_key_pem => $renewed->{key}) foreach qw(old other mixed);
alter_mapping('locked', ssl_key_password => $secret{key});
complete($_, 'with the right certificate') foreach qw(old other mixed locked);
$kafka->kfk('grant', 'User:app', $hidden, 'read');
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'refused'}, 'running', 'with the right on its topic');
sql("SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks WHERE sink NOT IN ('plain', 'certified', 'token')");

# --- SCRAM ---

SKIP:
{
	skip "librdkafka $version cannot use SCRAM with Kafka 4", 1 unless $has_scram;
	foreach my $bits (256, 512)
	{
		my %scram = (%sasl, sasl_mechanisms => "SCRAM-SHA-$bits");

		create_secure("scram$bits", $port{sasl}, %scram);
		create_sink("scram$bits", $topic);
		complete("scram$bits", 'it consumes');
		create_secure("unscram$bits", $port{sasl}, %scram, sasl_password => $secret{wrong});
		raises("SELECT * FROM kafka_sink.topics('unscram$bits', timeout => '2 min')", 'a wrong user or password (PLAIN, SCRAM)');
	}
}

# --- tokens ---

# (which librdkafka makes itself, or asks a server for, if it was built for that)
create_secure('unlucky', $port{sasl}, %tls, security_protocol => 'sasl_ssl', sasl_mechanisms => 'OAUTHBEARER',
	enable_sasl_oauthbearer_unsecure_jwt => 'true', sasl_oauthbearer_config => 'principal=app lifeSeconds=never');
raises("SELECT * FROM kafka_sink.topics('unlucky', timeout => '2 min')", 'no token is to be had (OAUTHBEARER)');
my $tokens = KafkaSinkTls::Tokens->new(app => $secret{password});
SKIP:
{
	my %token = (%tls, security_protocol => 'sasl_ssl', sasl_mechanisms => 'OAUTHBEARER', sasl_oauthbearer_method => 'oidc',
		sasl_oauthbearer_token_endpoint_url => $tokens->url, sasl_oauthbearer_client_id => 'app', sasl_oauthbearer_client_secret => $secret{wrong});

	skip "librdkafka $version was built without OIDC", 1 unless $features =~ /\boidc\b/;
	create_secure('given', $port{sasl}, %token);
	create_sink('given', $topic);
	waits('given', 'no token is to be had (OAUTHBEARER)');
	raises("SELECT * FROM kafka_sink.topics('given', timeout => '2 min')", 'no token is to be had (OAUTHBEARER)');
	alter_mapping('given', sasl_oauthbearer_client_secret => $secret{password});
	complete('given', 'with the right secret of the client');
}

# --- rights, taken and given again ---

my $taken = $kafka->topic('taken', 2);
$kafka->kfk('grant', 'User:app', $taken, 'read', 'describe');
create_secure('rights', $port{sasl}, %sasl);
produce($taken);
create_sink('rights', $taken);
complete('rights', 'it consumes');
$kafka->kfk('revoke', 'User:app', $taken, 'read');
produce($taken);
waits('rights', 'the right READ is taken while the sink runs');
$kafka->kfk('grant', 'User:app', $taken, 'read');
complete('rights', 'the right is given again');
$kafka->kfk('revoke', 'User:app', $taken, 'read', 'describe');
produce($taken);
wait_until($node, q{SELECT state, sqlstate FROM kafka_sink.sinks WHERE sink = 'rights'}, 'waiting|42501', 'all rights are taken');
# (a worker that begins without)
sql(q{SELECT kafka_sink.pause('rights'); SELECT kafka_sink.resume('rights')});
waits('rights', 'no right on a topic when it is opened');
$kafka->kfk('grant', 'User:app', $taken, 'read');
complete('rights', 'and given again');

# --- another password, another authority, other certificates, while sinks run ---

create_secure('parked', $port{sasl}, %sasl);
create_sink('parked', $topic, "idle_after => '100 ms'");
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'parked'}, 'idle', 'a sink without anything to do');
$kafka->stop;
foreach my $listener (qw(sasl mtls))
{
	unlink $certificate{$listener}{store} or die;
	append_to_file($certificate{$listener}{store}, slurp_file($theirs->issue('localhost', san => 'DNS:localhost')->{store}));
}
unlink $trusted or die;
append_to_file($trusted, $theirs->pem);
$kafka->{properties} = { 'listener.name.sasl.plain.sasl.jaas.config' => jaas_plain($secret{next}) };
$kafka->start;
produce($topic);
waits($_, "a broker's certificate is of another authority") foreach qw(plain certified token parked);
alter_server($_, ssl_ca_pem => $ours->pem . $theirs->pem) foreach qw(plain certified token parked);
complete('token', 'with both authorities');
waits($_, 'a wrong user or password (PLAIN, SCRAM)') foreach qw(plain parked);
waits('certified', "the client's certificate is of another authority");
alter_mapping($_, sasl_password => $secret{next}) foreach qw(plain parked);
my $next = $theirs->issue('app', password => $secret{key});
alter_mapping('certified', ssl_certificate_pem => $next->{cert}, ssl_key_pem => $next->{key});
complete($_, 'with what is new') foreach qw(plain parked certified);

# --- recipes ---

my $files = PostgreSQL::Test::Utils::tempdir('recipes');
my ($recipes) = $doc =~ /^## Recipes\n(.*?)^## /ms or die 'no section of recipes';
my %listener = (mTLS => 'mtls');
append_to_file("$files/ca.pem", $theirs->pem);
append_to_file("$files/app.crt", $next->{cert});
append_to_file("$files/app.key", $next->{key});
sql('CREATE ROLE app LOGIN');
while ($recipes =~ /^### (.*?)\n(.*?)(?=^###|\z)/msg)
{
	my ($name, $text) = ($1, $2);
	my $sql = join '', map { "$_\n" } $text =~ /^    (.*)$/mg;
	my ($ca, $oidc) = map { scalar $sql =~ /$_/ } 'ssl_ca_pem', 'OAUTHBEARER';
	my %options = (bootstrap_servers => "localhost:$port{ $listener{$name} // 'sasl' }", $oidc ? (sasl_oauthbearer_token_endpoint_url => $tokens->url) : ());
	my $try = 'SET LOCAL ROLE app; SELECT count(*) > 0 FROM kafka_sink.topics(\'kafka\', timeout => \'2 min\');';

	next if $sql eq '';
  SKIP:
	{
		skip "$name: librdkafka $version was built without OIDC", 1 if $oidc && $features !~ /\boidc\b/;
		$try = '' if $sql =~ /SCRAM/ && !$has_scram;
		local $ENV{KAFKA_PASSWORD} = $name eq 'mTLS' ? $secret{key} : $sql =~ /SCRAM|OAUTHBEARER/ ? $secret{password} : $secret{next};
		is( $node->safe_psql('postgres', "\\cd $files\nBEGIN;\n$sql;
				ALTER SERVER kafka OPTIONS (@{[ options(\%options, 0, 'SET') ]}, ADD broker_address_family 'v4'@{[ $ca ? '' : ', ADD ssl_ca_pem ' . sql_text($theirs->pem) ]});
				@{[ $sql =~ /PLAIN|SCRAM/ ? q{ALTER USER MAPPING FOR app SERVER kafka OPTIONS (SET sasl_username 'app');} : '' ]}
				$try ROLLBACK"),
			$try eq '' ? '' : 't', "recipe: $name");
	}
}

# --- secrets ---

my @secrets = (values %secret, map { (split /\n/, $_->{key})[1] } $client, $renewed, $next);
is(sql(qq{SELECT count(*) FROM kafka_sink.sinks s, unnest('{@{[ join ',', map { qq("$_") } @secrets ]}}'::text[]) secret WHERE strpos(s::text, secret) > 0}),
	'0', 'no secret is in the view');
is(sql(q{SELECT count(*) FROM kafka_sink.sinks WHERE state = 'halted'}), '0', 'no sink has halted');
$node->stop('fast');
my $log = slurp_file($node->logfile);
like($log, qr/librdkafka: FAIL: /, 'librdkafka has said much');
is(join(' ', grep { index($log, $_) >= 0 } @secrets), '', 'no secret is in the log');
unlike($log, qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

# (which of the two is asserted depends on librdkafka's version)
is(join(', ', sort grep { !$asserted{$_} && !/librdkafka before/ } keys %row), '', 'all of the table was seen');

done_testing();
