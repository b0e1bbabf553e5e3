# A schema registry, and whatever can be in its place: what is told of it, in the
# words of doc/security.md; that the next of its URLs is asked, and which; that a
# request ends when its session is told to; that no secret is shown.
use strict;
use warnings FATAL => 'all';

use File::Basename;
use FindBin;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

use KafkaSinkStub;
use KafkaSinkTest;
use KafkaSinkTls;

# Names that are never found, or never answered for.
my $asked = PostgreSQL::Test::Utils::tempdir('names') . '/asked';
local $ENV{LD_PRELOAD} = join ':', grep { length } $ENV{LD_PRELOAD} // '', dirname($ENV{KFK}) . '/names.so';
local $ENV{KAFKA_SINK_NAMES} = $asked;
my $node = new_node('main', conf => "log_statement = none\nlog_min_messages = debug1\nlog_error_verbosity = verbose\n");
delete $ENV{LD_PRELOAD};

my $doc = slurp_file("$FindBin::RealBin/../../doc/security.md");
my %secret = (password => 'first-pass-word', token => 'second-to-ken', key => 'third-pass-word', wrong => 'fourth-pass-word');
my ($ours, $theirs) = map { KafkaSinkTls::Ca->new($_) } 'ours', 'theirs';

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub error_of
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1);

	return $rc == 0 ? "none: $out" : $err;
}

# --- the table of errors ---

my ($section) = $doc =~ /^## The schema registry and what its errors look like\n(.*?)^## /ms or die 'no section on errors';
my (%row, %asserted);
foreach (grep { /^\| / && !/^\| what is wrong/ } split /\n/, $section)
{
	my ($what, $sqlstate, $message, $detail, $hint) = map { s/^\s+|\s+$//gr } (split /\|/, $_)[ 1 .. 5 ];

	$row{$what} = { sqlstate => $sqlstate =~ tr/`//dr, hint => pattern($hint), map { $_->[0] => pattern($_->[1] =~ tr/`//dr) } [ message => $message ], [ detail => $detail ] };
}

# '...' stands for anything
sub pattern { return join '.*', map { quotemeta } split /\.\.\./, $_[0], -1; }

# --- servers ---

my %in_mapping = map { ("schema_registry_$_" => 1) } qw(username password bearer_token ssl_certificate_pem ssl_key_pem ssl_key_password);

sub options
{
	my ($options, $mapping) = @_;

	return join ', ', map { "$_ " . sql_text($options->{$_}) } grep { !$mapping == !$in_mapping{$_} } sort keys %$options;
}

# A server, and a user mapping of the superuser; returns its name.
my $servers = 0;
sub server
{
	my ($url, %options) = @_;
	my $name = 's' . ++$servers;

	%options = (schema_registry_url => $url, schema_registry_timeout_ms => 300000, map { ("schema_registry_$_" => $options{$_}) } keys %options);
	sql("CREATE SERVER $name FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1', @{[ options(\%options, 0) ]})");
	sql("CREATE USER MAPPING FOR postgres SERVER $name OPTIONS (@{[ options(\%options, 1) ]})") if grep { $in_mapping{$_} } keys %options;
	return $name;
}

# Each asks for a schema that nobody has asked for before.
my $id = 0;
sub ask
{
	my ($server) = @_;

	return "SELECT kafka_sink.schema('$server', " . ++$id . ')';
}

sub raises
{
	my ($server, $what) = @_;
	my $row = $row{$what} // die "doc/security.md does not say: $what";
	my $error = error_of(ask($server));
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$asserted{$what} = 1;
	like($error, qr/ERROR:  $row->{sqlstate}: $row->{message}\n/, "$what: error");
	like($error, qr{^DETAIL:  (.*\n)*https?://.*/schemas/ids/$id: .*$row->{detail}}m, "$what: detail");
	like($error, $row->{hint} eq '' ? qr/^(?!.*^HINT:)/ms : qr/^HINT:  $row->{hint}$/m, "$what: hint");
	return $error;
}

# --- what is right ---

my $registry = KafkaSinkStub->new;
my $plain = server($registry->url);
my $text = '{"type": "record", "name": "ä\"€", "fields": []}';
utf8::decode(my $decoded = $text);

sub schema
{
	my ($stub) = @_;

	$stub->schema(++$id, $decoded);
	return $id--;
}

# The registry answers; what it says, and how it has been asked.
sub answers
{
	my ($server, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(sql(ask($server)), $text, $what);
}

schema($registry);
answers($plain, 'a schema');
my $head = $registry->last_request;
like($head, qr{^GET /schemas/ids/\d+[ ?]}, 'it is a GET');
like($head, qr{^Accept: application/vnd\.schemaregistry\.v1\+json, application/json\r$}m, 'which says what it can read');
like($head, qr{^User-Agent: kafka_sink\r$}m, 'and who asks');
unlike($head, qr{^(Authorization|Cookie|Accept-Encoding|Proxy-\S+):}mi, 'and no more than that');
is($registry->requests("/schemas/ids/$id"), 1, 'it is asked once');
{
	local @ENV{qw(http_proxy https_proxy all_proxy)} = ('http://127.0.0.1:1') x 3;
	local $ENV{HOME} = PostgreSQL::Test::Utils::tempdir('home');
	append_to_file("$ENV{HOME}/.netrc", "machine 127.0.0.1 login app password $secret{wrong}\n");
	my $proxied = new_node('proxied', conf => "log_min_messages = debug1\n");
	schema($registry);
	my $name = server($registry->url);
	$proxied->safe_psql('postgres', "CREATE SERVER s FOREIGN DATA WRAPPER kafka_sink
		OPTIONS (bootstrap_servers 'localhost:1', schema_registry_url '@{[ $registry->url ]}')");
	is($proxied->safe_psql('postgres', ask('s')), $text, 'proxies of the environment are not used');
	unlike($registry->last_request, qr/^Authorization/mi, 'nor is .netrc');
	$proxied->stop('immediate');
}
my $path = server($registry->url . '/apis/ccompat/v7/');
$registry->answer('/apis/ccompat/v7/schemas/ids/' . ($id + 1), body => JSON::PP->new->utf8->encode({ schema => $decoded }));
answers($path, 'a URL with a path');
$registry->answer('/schemas/ids/' . ($id + 1), body => JSON::PP->new->utf8->encode({ schema => $decoded }), chunked => 1);
answers($plain, 'an answer in chunks');
{
	my $body = JSON::PP->new->utf8->encode({ schema => $decoded });

	$registry->answer('/schemas/ids/' . ($id + 1), raw => sprintf "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n%x\r\n%s\r\n0\r\nX-A: a\r\n\r\n", length $body, $body);
	answers($plain, 'with trailers');
	$registry->answer('/schemas/ids/' . ($id + 1), raw => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: @{[ length $body ]}\r\n\r\n$body");
	answers($plain, 'an answer behind another');
	$registry->answer('/schemas/ids/' . ($id + 1), raw => "HTTP/1.0 200 OK\r\n\r\n$body");
	answers($plain, 'an answer that ends with the connection');
}
$registry->answer('/schemas/ids/' . ($id + 1), body => JSON::PP->new->utf8->encode({ schema => $decoded }), slow => 0.01);
answers($plain, 'a slow answer');
$registry->answer('/schemas/ids/' . ($id + 1), body => JSON::PP->new->utf8->encode({ schema => $decoded, more => 'x' x 4_000_000 }));
answers($plain, 'a large answer');

# --- what does not exist ---

foreach ([ 40403, 'Schema not found' ], [ 40401, "Subject 'a' not found." ], [ 40402, 'Version 7 not found' ], [ 404, "No version '7' found" ])
{
	my ($code, $message) = @$_;

	$registry->answer('/schemas/ids/' . ($id + 1), status => 404, body => JSON::PP->new->encode({ message => $message, error_code => $code }));
	like(error_of(ask($plain)), qr/ERROR:  42704: schema $id is not in the registry of server "$plain"$/m, "404 with error_code $code: there is no such schema");
}
foreach (['{"error_code":404,"message":"HTTP 404 Not Found"}', 'JSON of a registry that does not know the path'],
	[ '<html>404 Not Found</html>', 'HTML' ], [ '', 'nothing' ], [ '{"error_code":40403', 'JSON that is cut off' ],
	[ '[{"error_code":40403}]', 'an array' ], [ '{"detail":{"error_code":40403}}', 'error_code elsewhere' ],
	[ '{"error_code":40403}' . ' ' x 70000, 'what is too long for an error' ], [ '[' x 60000, 'brackets' ])
{
	$registry->answer('/schemas/ids/' . ($id + 1), status => 404, body => $_->[0]);
	raises($plain, 'what answers is no registry');
	note "404 with $_->[1]";
}

# paths that registries do not know, as they say it: no more than a record can bring about
my $strange = '{"error_code":404,"message":"HTTP 404 Not Found"}';
my $guid = '01020304-0506-0708-090a-0b0c0d0e0f10';
$registry->answer([ '/schemas/ids/4294967295', "/schemas/guids/$guid" ], status => 404, body => $strange);
like(error_of("SELECT kafka_sink.schema('$plain', 4294967295)"), qr/ERROR:  42704: schema 4294967295 is not in the registry of server "$plain"$/m, 'an id that no registry has');
is($registry->requests('/schemas/ids/4294967295'), 0, 'is not asked for');
like(error_of("SELECT kafka_sink.schema('$plain', '$guid'::uuid)"),
	qr/ERROR:  42704: schema $guid is not in the registry of server "$plain"\nDETAIL:  The registry knows no schemas by GUIDs\.$/m, 'a registry without GUIDs');
$registry->always(status => 404, body => $strange);
like(error_of("SELECT kafka_sink.schema('$plain', '$guid'::uuid)"), qr{ERROR:  HV000: there is no schema registry at "\S+/schemas/ids/0"$}m, 'and what is no registry');
$registry->always;

# --- what is wrong ---

sub one_answer
{
	my ($what, %answer) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$registry->always(%answer);
	my $error = raises($plain, $what);
	$registry->always;
	return $error;
}
my $json = JSON::PP->new->utf8;
my $gone = KafkaSinkStub->new;
$gone->stop;
raises(server($gone->url), 'no registry at the port');
raises(server('http://a.unknown.invalid:8081'), "the host's name is not known");
raises(server('http://a.hangs.invalid:8081', timeout_ms => 500), 'no connection in time, which is half of the time-out, and at most 5 s');
is(join(',', grep { $_ ne 'none' } split ' ', slurp_file($asked)), '', 'a thread that asks for a name takes none of the server\'s signals');
# (half of which is for the connection)
my $hasty = server($registry->url, timeout_ms => 3000);
foreach ([ hang => 'before' ], [ body => 'x' x 100, hang => 50 ], [ body => 'x' x 100, hang => 50, chunked => 1 ], [ slow => 1, body => 'x' x 1000 ])
{
	$registry->always(@$_);
	like(raises($hasty, 'the registry is too slow'), qr/within 3000 ms/, "@$_[0]: its time-out");
}
one_answer('the registry ends the connection', @$_)
  foreach [ raw => '' ], [ raw => 'HTTP/1.1 200 OK' ], [ raw => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" ], [ body => 'x' x 100, cut => 50 ], [ body => 'x' x 100, cut => 50, chunked => 1 ];
one_answer('the registry has failed', status => 500, body => $json->encode({ error_code => 50001, message => 'Error in the backend data store' }));
foreach my $body ('', '<html>hunter2</html>', "\xff\0", '{"message": "hunter2', '{' x 100)
{
	my $error = do { $registry->always(status => 503, body => $body); error_of(ask($plain)) };

	like($error, qr/ERROR:  HV00N: the schema registry has failed\nDETAIL:  \S+: HTTP status 503\n/, 'a body without words: ' . $body =~ s/[^ -~]/?/gr);
}
foreach (
	[ 'a longer message ' . 'x' x 1000, qr/: a longer message x{183}$/m ],
	[ "lines\nand\ttabs\x{7f} \x{e4}\x{20ac}", qr/: lines\?and\?tabs\? \?+$/m ],
	[ 'quotes " \\ / and so on', qr{: quotes " \\ / and so on$}m ])
{
	$registry->always(status => 503, body => $json->encode({ message => $_->[0] }));
	like(error_of(ask($plain)), $_->[1], 'its message: ' . substr $_->[0] =~ s/[^ -~]/?/gr, 0, 20);
}
one_answer('the registry is overloaded', status => 429);
one_answer("no user, a wrong password, a wrong token", status => 401, body => $json->encode({ error_code => 40101, message => 'Unauthorized' }));
one_answer("the registry's user may not read the subject", status => 403, body => $json->encode({ error_code => 40301, message => 'User is denied operation Read on Subject: a' }));
one_answer('any other status', status => $_) foreach 400, 406, 407, 422;
foreach ([ 301, 'https://elsewhere.example/a?b#c' ], [ 302, "https://user:$secret{wrong}\@elsewhere.example:443/$secret{wrong}" ], [ 307, 'HTTPS://elsewhere.example' ])
{
	my $error = do { $registry->always(status => $_->[0], headers => { Location => $_->[1] }); error_of(ask($plain)) };

	like($error, qr{ERROR:  HV000: .*\nDETAIL:  \S+: HTTP status $_->[0], redirects to https://elsewhere\.example:443$}m, "$_->[0]: where it leads");
	unlike($error, qr/$secret{wrong}/, 'and nothing else of it');
}
one_answer('a redirect', status => 302, headers => { Location => 'https://elsewhere.example' });
my $seen = $registry->requests;
$registry->always(status => 302, headers => { Location => $registry->url . '/schemas/ids/1' });
like(error_of(ask($plain)), qr/redirects to http:\/\/127\.0\.0\.1:\d+\n/, 'a redirect to the same place');
is($registry->requests, $seen + 1, 'is not followed either');
one_answer('the answer is not HTTP', raw => $_) foreach "SSH-2.0-OpenSSH_9.2\r\n", "nonsense\n\n", "\0\1\2\3" x 100;
one_answer('the answer has more than 4 MB', @$_) foreach [ endless => 1 ], [ body => 'x' x (4 * 1024 * 1024 + 1) ];
like(do { $registry->always(endless => 'headers'); error_of(ask($plain)) }, qr/ERROR:  HV000: could not understand.*\nDETAIL:  \S+: headers of more than 64 kB$/m, 'endless headers');
one_answer('the answer is no text', body => $_) foreach "\"\xff\"", "{\"schema\": \"\xc3\"}", "\xed\xa0\x80";
like(do { $registry->always(body => "{\"schema\": \"a\0b\"}"); error_of(ask($plain)) }, qr/^DETAIL:  \S+: a NUL is in it$/m, 'a NUL');
$registry->always;

# --- several URLs ---

my $second = KafkaSinkStub->new;
my $both = server($registry->url . ',' . $second->url);
$registry->stop;
schema($second);
answers($both, 'the first is away: the second answers');
$registry->start;
$registry->schema($id + 1, 'first');
$second->schema($id + 1, 'second');
is(sql(ask($both)), 'first', 'both are there: a new session begins with the first');
foreach ([ status => 500 ], [ status => 503 ], [ status => 429 ], [ body => 'x', cut => 0 ])
{
	$registry->always(@$_);
	schema($second);
	answers($both, "the first says @$_: the second answers");
}
foreach ([ status => 401 ], [ status => 403 ], [ status => 404 ], [ status => 302 ], [ status => 400 ])
{
	my $before = $second->requests;

	$registry->always(@$_);
	unlike(error_of(ask($both)), qr/none:/, "the first says @$_: that is an answer");
	is($second->requests, $before, 'and the second is not asked');
}
# what one of them does not know yet, another may; those that are away are not waited for
my $not_found = $json->encode({ error_code => 40403, message => 'Schema not found' });
$registry->always(status => 404, body => $not_found);
schema($second);
answers($both, 'the first does not have it: the second answers');
{
	my ($away, $before) = (server($gone->url . ',' . $registry->url . ',' . $second->url), $second->requests);

	like(error_of(ask($away)), qr/ERROR:  42704: schema \d+ is not in the registry of server "$away"$/m, 'nobody has it');
	is($second->requests, $before + 1, 'and all are asked');
	$second->always(status => 401);
	like(error_of(ask($away)), qr/ERROR:  42704: schema \d+ is not in the registry of server "$away"$/m, 'who answers says that there is none');
}
$_->always foreach $registry, $second;
$registry->always(status => 500);
$second->always(status => 503, body => $json->encode({ error_code => 50301, message => 'not yet' }));
my $error = error_of(ask(server($gone->url . ', ' . $registry->url . ',' . $second->url)));
like($error, qr{ERROR:  HV00N: the schema registry has failed
DETAIL:  http://127\.0\.0\.1:@{[ $gone->port ]}/schemas/ids/$id: no connection: Connection refused
http://127\.0\.0\.1:@{[ $registry->port ]}/schemas/ids/$id: HTTP status 500
http://127\.0\.0\.1:@{[ $second->port ]}/schemas/ids/$id: HTTP status 503, error_code 50301: not yet\n}, 'all are away: each is told');
$_->always foreach $registry, $second;

# --- who asks ---

my %basic = (username => 'app', password => $secret{password});
$registry->need(Basic => "app:$secret{password}");
schema($registry);
answers(server($registry->url, %basic), 'a user and a password');
raises(server($registry->url, %basic, password => $secret{wrong}), 'no user, a wrong password, a wrong token');
raises($plain, 'no user, a wrong password, a wrong token');
my $umlaut = "p\xc3\xa4\xc3\x9f";
$registry->need(Basic => "app:$umlaut");
schema($registry);
answers(server($registry->url, %basic, password => $umlaut), 'a password in UTF-8');
$registry->need(Bearer => $secret{token});
schema($registry);
answers(server($registry->url, bearer_token => $secret{token}), 'a token');
raises(server($registry->url, bearer_token => $secret{wrong}), 'no user, a wrong password, a wrong token');
$registry->need;

# somebody else's credentials
sql(qq{
	CREATE ROLE app; GRANT USAGE ON FOREIGN SERVER $plain TO app; GRANT USAGE ON SCHEMA kafka_sink TO app;
	CREATE USER MAPPING FOR app SERVER $plain OPTIONS (schema_registry_username 'app', schema_registry_password '$secret{password}');
	GRANT EXECUTE ON FUNCTION kafka_sink.schema(text, bigint, boolean) TO app});
$registry->need(Basic => "app:$secret{password}");
schema($registry);
is(sql('SET ROLE app; ' . ask($plain)), $text, 'each role with its own mapping');
raises($plain, 'no user, a wrong password, a wrong token');
$registry->need;

# --- TLS ---

my %certificate = (
	good => $ours->issue('localhost', san => 'DNS:localhost'),
	expired => $ours->issue('localhost', san => 'DNS:localhost', from => -20, until => -10),
	elsewhere => $ours->issue('elsewhere', san => 'DNS:elsewhere.example'));
my %tls = map { $_ => KafkaSinkStub->new(certificate => $certificate{$_}) } keys %certificate;
my $mutual = KafkaSinkStub->new(certificate => $certificate{good}, clients => $ours);
my %ca = (ssl_ca_pem => $ours->pem);
schema($tls{good});
answers(server($tls{good}->url('localhost'), %ca), 'TLS');
schema($tls{good});
answers(server($tls{good}->url('localhost'), ssl_ca_pem => $theirs->pem . $ours->pem), 'several authorities');
raises(server($tls{good}->url('localhost')), "the registry's certificate is of another authority");
raises(server($tls{good}->url('localhost'), ssl_ca_pem => $theirs->pem), "the registry's certificate is of another authority");
raises(server($tls{expired}->url('localhost'), %ca), "the registry's certificate has expired");
raises(server($tls{elsewhere}->url('localhost'), %ca), "the registry's certificate is of another host");
raises(server($tls{good}->url, %ca), "the registry's certificate is of another host");
raises(server($registry->url =~ s/http/https/r, %ca), '`https://` at a port that has no TLS' =~ tr/`/`/r);
raises(server($tls{good}->url =~ s/https/http/r), 'the registry ends the connection');
like(error_of(ask(server($tls{good}->url('localhost'), ssl_ca_pem => "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n"))),
	qr/ERROR:  HV00N: could not agree with the schema registry on TLS\n.*\nHINT:  Check schema_registry_ssl_ca_pem of the server\.$/m, 'an authority that is none');
my ($client, $old, $other) = ($ours->issue('app', password => $secret{key}), $ours->issue('app', from => -20, until => -10), $theirs->issue('app'));
my %client = (%ca, ssl_certificate_pem => $client->{cert}, ssl_key_pem => $client->{key}, ssl_key_password => $secret{key});
schema($mutual);
answers(server($mutual->url('localhost'), %client), "a client's certificate");
raises(server($mutual->url('localhost'), @$_), 'the client has no certificate for the registry, one of another authority, or one that has expired')
  foreach [%ca], [ %ca, map({ ("ssl_certificate_pem" => $_->{cert}, "ssl_key_pem" => $_->{key}) } $other) ],
  [ %ca, map({ ("ssl_certificate_pem" => $_->{cert}, "ssl_key_pem" => $_->{key}) } $old) ];
my %unlocked = %client;
delete $unlocked{ssl_key_password};
raises(server($mutual->url('localhost'), %$_), "the client's key cannot be read, or is that of another certificate")
  foreach { %client, ssl_key_password => $secret{wrong} }, \%unlocked, { %unlocked, ssl_key_pem => $other->{key} };
$gone->start;
schema($gone);
answers(server($tls{expired}->url('localhost') . ',' . $gone->url, %ca), 'no agreement on TLS: the next one is asked');
$gone->stop;

# --- secrets ---

foreach ([ 'the password', "wrong: $secret{password}" ], [ 'what is sent', 'wrong: ' . encode_base64("app:$secret{password}", '') ],
	[ 'the password, far behind', 'x' x 195 . $secret{password} ], [ 'the password, escaped', $secret{password} =~ s/-/\\u002d/gr ])
{
	my $error = do { $registry->always(status => 500, body => qq({"error_code": 500, "message": "$_->[1]"})); error_of(ask(server($registry->url, %basic))) };

	like($error, qr/^DETAIL:  \S+: HTTP status 500, error_code 500$/m, "$_->[0] in an error: no message");
}
$registry->always(status => 302, headers => { Location => "http://$secret{token}.example/" });
like(error_of(ask(server($registry->url, bearer_token => $secret{token}))), qr/^DETAIL:  \S+: HTTP status 302$/m, 'a token in a redirect: no target');
$registry->always;

# --- a request that hangs, and a session that is told to end ---

$registry->always(hang => 'before');
# nothing but the interrupt ends the wait for an answer, however busy the machine is
my $patient = server($registry->url, timeout_ms => 300000);
my %hangs = (answer => $patient, 'half an answer' => $patient, name => server('http://b.hangs.invalid:8081', timeout_ms => 300000));
foreach my $what (sort keys %hangs)
{
	$registry->always($what eq 'answer' ? (hang => 'before') : (body => 'x' x 100, hang => 50));
	my ($how, $seconds) = split /\|/, sql(qq{
		CREATE TEMP TABLE begun AS SELECT clock_timestamp() AS at, 'not' AS ended;
		SET statement_timeout = '1 s';
		DO \$\$BEGIN PERFORM kafka_sink.schema('$hangs{$what}', @{[ ++$id ]});
			EXCEPTION WHEN query_canceled THEN UPDATE begun SET ended = 'canceled'; WHEN others THEN UPDATE begun SET ended = SQLERRM; END\$\$;
		RESET statement_timeout;
		SELECT ended, extract(epoch FROM clock_timestamp() - at) FROM begun});

	is($how, 'canceled', "a hanging $what: statement_timeout");
	note sprintf('%.1f s', $seconds);
	foreach my $how (qw(cancel terminate))
	{
		my $session = $node->background_psql('postgres', on_error_stop => 0);
		my $pid = $session->query_safe('SELECT pg_backend_pid()');
		my $waiting = "FROM pg_stat_activity WHERE pid = $pid AND wait_event_type = 'Extension'";
		my $begin;

		$session->query_until(qr/begins/, "\\echo begins\n" . ask($hangs{$what}) . ";\n");
		wait_until($node, "SELECT count(*) > 0 $waiting", 't', "$what: it hangs");
		$begin = Time::HiRes::time();
		sql("SELECT pg_${how}_backend($pid)");
		wait_until($node, "SELECT count(*) $waiting", '0', "$what: $how");
		note sprintf('%.1f s', Time::HiRes::time() - $begin);
		if ($how eq 'cancel')
		{
			is($session->query("SELECT 'well'"), 'well', 'the session goes on');
			$session->quit;
		}
		else
		{
			wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', 'and is gone');
			eval { $session->quit };
		}
	}
}
$registry->always;

# the same session, after what it has met
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$registry->always(hang => 'before');
	$session->query("SET statement_timeout = '300 ms'; " . ask($plain));
	$session->query(ask($hangs{name}));
	$registry->always(endless => 1);
	$session->query('RESET statement_timeout; ' . ask($plain));
	$registry->always;
	schema($registry);
	is($session->query(ask($plain)), $text, 'a session asks on, whatever came before');
	$session->quit;
}

# --- a database that cannot hold a schema ---

{
	my $kafka = shared_broker();
	my %schemas = map { $_->[0] => '{"type": "record", "name": "a", "doc": "' . $_->[1] . '", "fields": [{"name": "id", "type": "int"}]}' }
	  [ 1, 'plain' ], [ 2, "costs \x{20ac} 5" ], [ 3, "caf\x{e9}" ], [ 4, 'refers' ];
	my $why = 'It, or a schema that it refers to, has a character that a database in LATIN1 cannot hold: '
	  . 'give it without such with kafka_sink.add_schema(), or use a database in UTF8.';
	my $refuses = qr/ERROR:  22P05: schema \d+ cannot be kept in this database\nDETAIL:  \Q$why\E\n/;
	my $latin = sub { return $node->safe_psql('latin', $_[0]) };
	my $said = sub { return ($node->psql('latin', "\\set VERBOSITY verbose\n$_[0]"))[2] };
	my $topic = $kafka->topic('latin', 1);
	my $record = sub { return [ undef, pack('CNC', 0, $_[0], 2 * $_[1]) ] };

	$registry->schema($_, $schemas{$_}) foreach keys %schemas;
	$registry->schema(4, '"b.c"', references => [ { name => 'c', subject => 'c', version => 1 } ]);
	$registry->answer('/subjects/c/versions/1', body => '{"schema": "\"\\u20ac\""}');
	sql(q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
	$latin->(qq{
		CREATE EXTENSION kafka_sink;
		CREATE SERVER latin FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '@{[ $kafka->bootstrap ]}', schema_registry_url '@{[ $registry->url ]}');
		CREATE USER MAPPING FOR postgres SERVER latin OPTIONS (schema_registry_username 'caf\x{c3}\x{a9}', schema_registry_password 'nobody asks');
		CREATE TABLE latin (id int)});
	like($latin->(q{SELECT kafka_sink.schema('latin', 3)}), qr/caf/, 'a schema that the database can hold');
	like($said->("SELECT kafka_sink.schema('latin', $_)"), $refuses, "one that it cannot: $_") foreach 2, 4;
	$kafka->produce($topic, 0, map { $record->(@$_) } [ 1, 1 ], [ 3, 2 ], [ 2, 3 ], [ 4, 4 ], [ 1, 5 ]);
	$latin->(qq{
		SELECT kafka_sink.create_sink('latin', server => 'latin', target => 'latin', format => 'avro');
		SELECT kafka_sink.register_topic('latin', '$topic')});
	wait_until($node, q{SELECT state, sqlstate, message, detail, off FROM kafka_sink.sinks}, "halted|22P05|schema 2 cannot be kept in this database|$why|2",
		'a sink halts, and says what to do', undef, 'latin');
	is($latin->('SELECT string_agg(id::text, \' \' ORDER BY id) FROM latin'), '1 2', 'at the record');
	$latin->(q{SELECT kafka_sink.add_schema('latin', 2, 'AVRO', '{"type": "record", "name": "a", "fields": [{"name": "id", "type": "int"}]}');
		SELECT kafka_sink.alter_sink('latin', on_error => 'dead_letter'); SELECT kafka_sink.resume('latin')});
	wait_until($node, q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM latin}, '1 2 3 5', 'and goes on with one that was given', undef, 'latin');
	is($latin->('SELECT off, sqlstate, message FROM kafka_sink.dead_letters'), '3|22P05|schema 4 cannot be kept in this database', 'what has none is a dead letter');
	$latin->(q{SELECT kafka_sink.drop_sink('latin')});
}

# whoever has a schema fetched in a transaction that lasts keeps nobody else from it
{
	my $holder = $node->background_psql('postgres');

	$registry->schema(7100, '"int"');
	$holder->query_safe('BEGIN');
	$holder->query_safe("SELECT kafka_sink.schema('$plain', 7100)");
	is(sql("SET statement_timeout = '60s'; SELECT kafka_sink.schema('$plain', 7100)"), '"int"', 'a schema that another session is storing');
	$holder->query_safe('ROLLBACK');
	is(sql("SELECT kafka_sink.schema('$plain', 7100); SELECT count(*) FROM kafka_sink.schemas WHERE id = 7100"), "\"int\"\n1", 'and is stored by the next');
	$holder->quit;
}

# what others must not refer to any more is still referred to
$registry->schema(7001, '"d.e"', references => [ { name => 'd.e', subject => 'd e', version => 1 } ]);
$registry->answer('/subjects/d%20e/versions/1', status => 404, body => $json->encode({ error_code => 40401, message => "Subject 'd e' not found." }));
$registry->answer('/subjects/d%20e/versions/1?deleted=true', body => '{"schema": "\"int\""}');
is(sql("SELECT kafka_sink.schema('$plain', 7001); SELECT refs ->> 0 FROM kafka_sink.schemas WHERE id = 7001"),
	qq("d.e"\n{"name": "d.e", "schema": "\\"int\\"", "subject": "d e", "version": "1"}), 'a reference to what was deleted');

# what refers to so much that no format could read it is not fetched to the end
{
	my @large = map { "large$_" } 1 .. 40;

	$registry->schema(7000, '"large"', references => [ map { { name => $_, subject => $_, version => 1 } } @large ]);
	$registry->answer("/subjects/$_/versions/1", body => '{"schema": "' . 'x' x 1_500_000 . '"}') foreach @large;
	like(error_of("SELECT kafka_sink.schema('$plain', 7000)"), qr/ERROR:  42704: schema 7000 is not in the registry.*\nDETAIL:  It and what it refers to have more than 8388608 bytes\.\n/,
		'a schema that refers to too much');
}

# a thousand handles, and what goes wrong with some, in one session
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query('SELECT pg_backend_pid()');
	my $url = server($tls{good}->url('localhost') . ',' . $registry->url, %ca, timeout_ms => 300);
	my $anonymous = sub { return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB$/m ? $1 : die 'no RssAnon' };
	my $many = sub {
		my ($n, @answer) = @_;

		$_->always(@answer) foreach $tls{good}, $registry;
		$session->query(qq{
			DO \$\$BEGIN
				FOR i IN $id + 1 .. $id + $n LOOP
					BEGIN PERFORM kafka_sink.schema('$url', i); EXCEPTION WHEN fdw_error OR fdw_unable_to_establish_connection THEN END;
				END LOOP;
			END\$\$});
		$id += $n;
	};
	my $all = sub {
		my ($n) = @_;

		$many->($n, body => '{"schema": "' . 'x' x 100_000 . '"}');
		$many->($n, status => 503);
		$many->($n, body => 'x' x 100_000, cut => 50_000);
		$many->($n / 10, hang => 'before');
	};

	$all->(10);
	my $before = $anonymous->();
	$all->(100);
	cmp_ok($anonymous->() - $before, '<', 4096, 'many requests, many errors: memory in kB');
	$session->quit;
	$_->always foreach $tls{good}, $registry;
}

# --- the end ---

my @secrets = (values %secret, encode_base64("app:$secret{password}", ''), map { (split /\n/, $_->{key})[1] } $client, $old, $other);
$node->stop('fast');
my $log = slurp_file($node->logfile);
is(join(' ', grep { index($log, $_) >= 0 } @secrets), '', 'no secret is in the log');
unlike($log, qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');
is(join(', ', sort grep { !$asserted{$_} } keys %row), '', 'all of the table was seen');

done_testing();
