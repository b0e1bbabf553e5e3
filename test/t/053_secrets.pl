
# A statement that sets a password and is refused shows it nowhere: neither in
# the error's text and context, nor in the server's log, whoever refuses it and
# whoever executes it.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $secret = 'hunter2-is-the-secret';
my $mapping = "sasl_username 'app', sasl_password '$secret'";

# What a statement says to a role, context and all.
sub said
{
	my ($node, $role, $sql) = @_;

	return ($node->psql('postgres', "\\set VERBOSITY verbose\n\\set SHOW_CONTEXT always\n$sql",
			extra_params => [ '-U', $role ], on_error_stop => 0))[2];
}

# Ways to have a statement executed, as statements.
sub executed
{
	my ($sql) = @_;

	return (
		'a statement' => $sql,
		'DO' => "DO \$do\$BEGIN $sql; END\$do\$",
		'EXECUTE' => "DO \$do\$BEGIN EXECUTE \$sql\$$sql\$sql\$; END\$do\$",
		'a function' => "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS \$do\$BEGIN $sql; END\$do\$;
			SELECT pg_temp.f()",
		'a function in SQL' => "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql AS \$do\$$sql\$do\$;
			SELECT pg_temp.f()",
		'a procedure that is called by a block' =>
		  "CREATE PROCEDURE pg_temp.f() LANGUAGE plpgsql AS \$do\$BEGIN EXECUTE \$sql\$$sql\$sql\$; END\$do\$;
			DO \$do\$BEGIN CALL pg_temp.f(); END\$do\$",
		'a handler' => "DO \$do\$
			DECLARE
				context text;
			BEGIN
				EXECUTE \$sql\$$sql\$sql\$;
			EXCEPTION WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
				RAISE NOTICE 'ERROR:  %: % %', SQLSTATE, SQLERRM, context;
			END\$do\$");
}

# Each is refused with that SQLSTATE.
sub refused
{
	my ($node, $role, $code, $sql) = @_;
	my %ways = executed($sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	foreach my $way (sort keys %ways)
	{
		my $said = said($node, $role, $ways{$way});
		my $what = "$way: " . $sql =~ s/$secret/.../gr;

		like($said, qr/ERROR:  $code: /, $what);
		unlike($said, qr/$secret/, 'without the password');
		# (what it was that failed is told)
		unlike($said, qr/(?<!PL\/pg)SQL (statement|function) /, 'without the statement') unless $way eq 'a handler';
	}
	return;
}

my $node = new_node('main', conf => "log_statement = none\nlog_error_verbosity = verbose\nlog_min_messages = debug1\n");
my $unloaded = new_node('unloaded', extension => 0,
	conf => "log_statement = none\nshared_preload_libraries = ''\nlog_error_verbosity = verbose\n");
$unloaded->safe_psql('postgres', 'CREATE EXTENSION kafka_sink');

# --- what our validator refuses, preloaded or not ---

foreach my $n ($node, $unloaded)
{
	$n->safe_psql('postgres', q{
		CREATE ROLE app LOGIN;
		CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost');
		CREATE USER MAPPING FOR app SERVER kafka OPTIONS (sasl_username 'app', sasl_password 'other')});
	refused($n, 'postgres', 'HV00D', "CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS ($mapping, nonsense 'x')");
	refused($n, 'postgres', 'HV00D', "CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS (sasl_pasword '$secret')");
	refused($n, 'postgres', '22023', "CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS (ssl_key_pem '$secret')");
	refused($n, 'postgres', 'HV00D', "ALTER USER MAPPING FOR app SERVER kafka OPTIONS (SET sasl_password '$secret', ADD nonsense 'x')");
	refused($n, 'postgres', 'HV00D', "CREATE SERVER bad FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'x', sasl_password '$secret')");
	refused($n, 'postgres', '22023', "CREATE SERVER bad FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '$secret!')");
	refused($n, 'postgres', '22023', "ALTER SERVER kafka OPTIONS (ADD security_protocol '$secret')");
	refused($n, 'postgres', 'HV00D', "ALTER FOREIGN DATA WRAPPER kafka_sink OPTIONS (ADD sasl_password '$secret')");
}

# --- what the server refuses, where we are preloaded ---

$node->safe_psql('postgres', q{CREATE ROLE other LOGIN});
refused($node, 'postgres', '42710', "CREATE USER MAPPING FOR app SERVER kafka OPTIONS ($mapping)");
refused($node, 'postgres', '42710', "CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS ($mapping, sasl_password 'again')");
refused($node, 'postgres', '42710', "ALTER USER MAPPING FOR app SERVER kafka OPTIONS (ADD sasl_password '$secret')");
refused($node, 'postgres', '42704', "ALTER USER MAPPING FOR app SERVER kafka OPTIONS (SET ssl_key_password '$secret')");
refused($node, 'postgres', '42704', "ALTER USER MAPPING FOR postgres SERVER kafka OPTIONS (SET sasl_password '$secret')");
refused($node, 'postgres', '42704', "CREATE USER MAPPING FOR nobody_there SERVER kafka OPTIONS ($mapping)");
refused($node, 'postgres', '42704', "CREATE USER MAPPING FOR app SERVER kafak OPTIONS ($mapping)");
refused($node, 'other', '42501', "CREATE USER MAPPING FOR other SERVER kafka OPTIONS ($mapping)");
refused($node, 'other', '42501', "CREATE SERVER mine FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '$secret')");
refused($node, 'other', '42501', "ALTER SERVER kafka OPTIONS (SET bootstrap_servers '$secret')");
like(said($node, 'postgres', "DO \$\$BEGIN CREATE USER MAPPING IF NOT EXISTS FOR app SERVER kafka OPTIONS ($mapping); END\$\$"),
	qr/^psql:<stdin>:\d+: NOTICE:  42710: [^\n]*skipping\nLOCATION:[^\n]*\z/, 'a notice has no context either');

# an error of somebody else's, while the statement runs
$node->safe_psql('postgres', q{
	CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not now' USING ERRCODE = '55006'; END$$;
	CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN tag IN ('CREATE USER MAPPING') EXECUTE FUNCTION refuse()});
my $sql = "CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS ($mapping)";
refused($node, 'postgres', '55006', $sql);
like(said($node, 'postgres', "DO \$\$BEGIN $sql; END\$\$"), qr/CONTEXT:  PL\/pgSQL function refuse\(\) line 1 at RAISE\n/,
	'which has a context of its own');
$node->safe_psql('postgres', 'DROP EVENT TRIGGER refuse');

# --- and what has nothing to do with us is as it was ---

$node->safe_psql('postgres', q{CREATE FOREIGN DATA WRAPPER dummy; CREATE SERVER dummy FOREIGN DATA WRAPPER dummy;
	CREATE USER MAPPING FOR app SERVER dummy});
like(said($node, 'postgres', q{DO $$BEGIN EXECUTE 'CREATE USER MAPPING FOR app SERVER dummy'; END$$}),
	qr/CONTEXT:  SQL statement "CREATE USER MAPPING FOR app SERVER dummy"\nPL\/pgSQL/, 'other wrappers have their contexts');
like(said($node, 'postgres', q{DO $$BEGIN CREATE USER MAPPING FOR postgres SERVER kafka; PERFORM 1/0; END$$}),
	qr/22012.*CONTEXT:  SQL (statement|expression) "SELECT 1\/0"/s, 'and so has what follows');

# --- what is said of a connection: what its server says, nothing of a mapping ---

$node->safe_psql('postgres', qq{
	CREATE SERVER hosts FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
	CREATE USER MAPPING FOR postgres SERVER hosts OPTIONS (ssl_key_password '$secret');
	CREATE SERVER tls FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1', security_protocol 'ssl',
		ssl_ca_location '/no/such/ca.pem');
	CREATE SERVER client FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1', security_protocol 'ssl');
	CREATE USER MAPPING FOR postgres SERVER client OPTIONS (ssl_keystore_location '/no/such/$secret.p12',
		ssl_keystore_password 'more of it')});
my $topics = sub { return said($node, 'postgres', "SELECT * FROM kafka_sink.topics('$_[0]', '3 s')") };
my $told = qr/ERROR:  08006: .*\nDETAIL:  .*localhost:1/;
like(timed_out($node, q{SELECT * FROM kafka_sink.topics('hosts', '%d s')}, $told), $told, 'hosts and ports are told');
like($topics->('tls'), qr/ERROR:  HV024: librdkafka refuses.*\nDETAIL:  .*ca/, 'so is what a server says of TLS');
like($topics->('client'), qr/ERROR:  HV024: librdkafka refuses the connection's properties\nHINT/, 'but no file of a mapping');
unlike($topics->('client'), qr/$secret/, 'in no word');

# what is refused again and again does not stay
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query('SELECT pg_backend_pid()');
	my $anonymous = sub { return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB$/m ? $1 : die 'no RssAnon' };
	my $refused = sub {
		$session->query(qq{
			DO \$\$BEGIN
				FOR i IN 1 .. $_[0] LOOP
					BEGIN PERFORM kafka_sink.topics('long'); RAISE 'it is not refused'; EXCEPTION WHEN fdw_invalid_attribute_value THEN END;
				END LOOP;
				RAISE NOTICE 'all refused';
			END\$\$});
		return $session->{stderr} =~ /all refused/;
	};

	$node->safe_psql('postgres', q{DO $$BEGIN EXECUTE format('CREATE SERVER long FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers %L,
		security_protocol %L, ssl_ca_pem %L)', 'localhost:1', 'ssl',
		E'-----BEGIN CERTIFICATE-----\\n' || repeat(repeat('A', 64) || E'\\n', 2000) || '-----END CERTIFICATE-----'); END$$});
	ok($refused->(20), 'properties that librdkafka refuses together');
	my $before = $anonymous->();
	ok($refused->(100), 'again and again');
	cmp_ok($anonymous->() - $before, '<', 4096, 'memory that stays, in kB');
	$session->query('ALTER SERVER long OPTIONS (DROP security_protocol, DROP ssl_ca_pem)');
	$session->query(q{SELECT * FROM kafka_sink.topics('long', '5 s')});
	like($session->{stderr}, qr/could not list the topics: /, 'mended, it connects');
	$session->quit;
}

foreach my $n ($node, $unloaded)
{
	$n->stop('fast');
	my $log = slurp_file($n->logfile);
	like($log, qr/HV00D/, 'the server has logged the errors of ' . $n->name);
	unlike($log, qr/$secret/, 'without the password');
}

done_testing();
