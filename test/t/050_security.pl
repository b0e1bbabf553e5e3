# What an ordinary role can do, as whom its code runs, what settings cannot
# change, and that passwords stay where they are.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $secret = 'hunter2-is-the-secret';
my ($port, $sasl_port) = map { chomp(my $p = `$ENV{KAFKA_SINK_BROKER} free-port`); $p } 1 .. 2;

# A broker that asks who is there.
my $kafka = start_broker(
	port => $port,
	properties => {
		'listeners' => "PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:" . ($port + 1) . ",SASL://127.0.0.1:$sasl_port",
		'advertised.listeners' => "PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl_port",
		'listener.security.protocol.map' => 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT',
		'sasl.enabled.mechanisms' => 'PLAIN',
		'listener.name.sasl.plain.sasl.jaas.config' =>
		  qq{org.apache.kafka.common.security.plain.PlainLoginModule required user_app="$secret" user_new="new-$secret";} });

# Everything that we could say is said.
my $node = new_node('main', conf => "log_statement = none\nlog_min_messages = debug1\n");

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What a statement says to a role, as stdout and stderr.
sub as_role
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ], on_error_stop => 0);

	return wantarray ? ($out, $err) : $out . $err;
}

my $topic = $kafka->topic('orders', 2);
$kafka->gen($topic, count => 1000);
create_server($node, $kafka);
sql('CREATE ROLE app LOGIN; CREATE ROLE other LOGIN; CREATE SCHEMA app AUTHORIZATION app');

# --- the path of an ordinary role ---

like(as_role('app', "SELECT kafka_sink.create_sink('orders')"), qr/ERROR:  permission denied for function create_sink/,
	'who may make sinks is said by a superuser');
sql('GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO app');
like(as_role('app', "SELECT kafka_sink.create_sink('orders', server => 'kafka')"),
	qr/ERROR:  permission denied for server "kafka"/, 'a sink needs USAGE on the server');
sql('GRANT USAGE ON FOREIGN SERVER kafka TO app, other');
sql('CREATE TABLE public.not_mine (id int)');
like(as_role('app', "SELECT kafka_sink.create_sink('orders', server => 'kafka', target => 'not_mine')"),
	qr/ERROR: .*not_mine.*\n.*INSERT.*\n.*GRANT INSERT ON public\.not_mine TO app/, 'and INSERT on the target');
is(as_role('app', qq{
	CREATE TABLE app.orders (id bigint PRIMARY KEY, qty int, session name DEFAULT session_user, usr name DEFAULT current_user);
	SELECT kafka_sink.create_sink('orders', server => 'kafka', target => 'app.orders', insert_mode => 'upsert');
	SELECT kafka_sink.register_topic('orders', '$topic');
	CALL kafka_sink.wait_for('orders', timeout => '3 min');
	SELECT count(*) FROM app.orders;
}), "\n\n1000", 'create_sink, register_topic, wait_for');
is(as_role('app', 'SELECT DISTINCT session, usr FROM app.orders'), 'app|app', 'all of it runs as the role');
is(sql(q{SELECT usename, application_name FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'}),
	'app|kafka_sink orders', 'the worker is logged in as the role');
# (a batch is counted when it is committed, a moment later)
wait_until($node, 'SELECT records FROM kafka_sink.stat_sinks', '1000', 'all is counted');
is(as_role('app', q{SELECT sink, owner, state FROM kafka_sink.sinks; SELECT count(*) FROM kafka_sink.lag;
		SELECT records FROM kafka_sink.stat_sinks; SELECT sum(consumed) FROM kafka_sink.stat_partitions;
		SELECT count(*) FROM kafka_sink.topics('kafka', timeout => '3 min')}), "orders|app|running\n2\n1000\n1000\n1", 'its views');
is(as_role('other', q{SELECT count(*) FROM kafka_sink.sinks; SELECT count(*) FROM kafka_sink.lag;
		SELECT count(*) FROM kafka_sink.stat_sinks; SELECT count(*) FROM kafka_sink.stat_partitions;
		SELECT count(*) FROM kafka_sink.txn_offsets; SELECT count(*) FROM kafka_sink.offset_history;
		SELECT count(*) FROM kafka_sink.worker_stats(); SELECT count(*) FROM kafka_sink.partition_stats()}),
	join("\n", (0) x 8), 'another role sees nothing of it');
foreach ("pause('orders')", "resume('orders')", "drop_sink('orders')", "seek('orders', 'earliest')",
	"alter_sink('orders', batch_records => 1)", "skip('orders', '$topic', 0, 500)", "register_topic('orders', 'x')",
	"accept_gap('orders', '$topic', 0, 500, 600)", "advance('orders', '$topic', 0, 500, 600)",
	"unregister_topic('orders', '$topic')", "ingest('orders', '{}')")
{
	like(as_role('other', "SELECT kafka_sink.$_"), qr/ERROR: .*must (be a member of|run as) the owner of sink "orders"/,
		"another role: $_");
}
is(as_role('app', qq{SELECT kafka_sink.pause('orders'); SELECT kafka_sink.resume('orders');
		SELECT kafka_sink.seek('orders', 'earliest'); CALL kafka_sink.wait_for('orders', timeout => '3 min');
		SELECT sum(consumed) FROM kafka_sink.txn_offsets}), "\n\n\n1000", 'pause, resume, seek');

# --- privileges that go away ---

sql(q{REVOKE ALL ON app.orders FROM app});
$kafka->gen($topic, count => 10, from => 1000);
wait_until($node, q{SELECT state, sqlstate, coalesce(hint, message) FROM kafka_sink.sinks WHERE sink = 'orders'},
	qr/^halted\|42501\|.*orders/, 'a privilege that is revoked halts the sink');
is(sql(q{SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'orders'}), '1000', 'no record is blamed or lost');
sql(q{GRANT ALL ON app.orders TO app; SELECT kafka_sink.resume('orders'); CALL kafka_sink.wait_for('orders', timeout => '3 min')});
is(sql(q{SELECT count(*) FROM app.orders}), '1010', 'it goes on when it is there again');

# --- triggers run as the owner, whatever they try ---

is(as_role('app', q{
	CREATE TABLE app.seen (what text, session name, usr name, path text, tried text);
	CREATE FUNCTION app.look() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		tried text := '';
		command text;
	BEGIN
		FOREACH command IN ARRAY '{RESET ROLE,SET ROLE postgres,SET SESSION AUTHORIZATION postgres,RESET SESSION AUTHORIZATION,
			CREATE ROLE evil SUPERUSER,UPDATE kafka_sink.txn_offsets SET off = 0,TABLE pg_authid}'::text[]
		LOOP
			BEGIN
				EXECUTE command;
				tried := tried || '+';
			EXCEPTION WHEN insufficient_privilege OR object_not_in_prerequisite_state OR invalid_parameter_value THEN
				tried := tried || '-';
			END;
		END LOOP;
		INSERT INTO app.seen VALUES (tg_argv[0], session_user, current_user, current_setting('search_path'), tried);
		RETURN NULL;
	END $$;
	CREATE TRIGGER row AFTER INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION app.look('row');
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.orders DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION app.look('late');
}), '', 'an owner with curious triggers');
$kafka->gen($topic, count => 1, from => 2000);
as_role('app', q{CALL kafka_sink.wait_for('orders', timeout => '3 min')});
is(sql('SELECT * FROM app.seen ORDER BY what'),
	"late|app|app|pg_catalog, pg_temp|+--+---\nrow|app|app|pg_catalog, pg_temp|+--+---", 'triggers run as the owner');
is(sql(q{SELECT count(*) FROM pg_roles WHERE rolname = 'evil'}), '0', 'and got nothing else');
is(as_role('app', q{DROP TRIGGER row ON app.orders; DROP TRIGGER late ON app.orders}), '', 'so much for them');

# --- settings of the role and the database ---

my $values = $kafka->topic('values', 1);
sql(qq{
	CREATE TABLE app.values (id int PRIMARY KEY, at timestamptz, d date, i interval, f float8, b bytea, t text,
		fired text, path text DEFAULT current_setting('search_path'), zone text DEFAULT current_setting('TimeZone'));
	ALTER TABLE app.values OWNER TO app;
	CREATE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.fired = 1; RETURN new; END';
	CREATE TRIGGER fire BEFORE INSERT ON app.values FOR EACH ROW EXECUTE FUNCTION app.fire();
	SET ROLE app;
	SELECT kafka_sink.create_sink('values', server => 'kafka', target => 'app.values', idle_after => '0');
	SELECT kafka_sink.register_topic('values', '$values');
});
wait_until($node, q{SELECT state FROM kafka_sink.stat_sinks WHERE sink = 'values' AND pid IS NOT NULL}, 'running', 'a sink for it');
my %settings = (
	statement_timeout => '1', idle_in_transaction_session_timeout => '1', idle_session_timeout => '1',
	default_transaction_isolation => 'serializable', default_transaction_read_only => 'on',
	default_transaction_deferrable => 'on', TimeZone => 'Asia/Tokyo', DateStyle => 'SQL, DMY', IntervalStyle => 'sql_standard',
	search_path => 'app', bytea_output => 'escape', extra_float_digits => '-10', row_security => 'off', jit => 'on',
	jit_above_cost => '0', log_statement => 'none');
my $sane = '-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 '
  . '-c default_transaction_isolation=read\ committed -c default_transaction_read_only=off -c default_transaction_deferrable=off';
{
	local $ENV{PGOPTIONS} = $sane;

	foreach my $setting (sort keys %settings)
	{
		sql("ALTER ROLE app SET $setting = '$settings{$setting}'");
		sql("ALTER DATABASE postgres SET $setting = '$settings{$setting}'");
	}
	my $pid = sql(q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'values'});
	sql(qq{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor' OR pid = $pid});
	wait_until($node, qq{SELECT pid <> $pid FROM kafka_sink.stat_sinks WHERE sink = 'values' AND state = 'running'}, 't',
		'workers start again, with the settings');
	$kafka->produce($values, 0, [ undef,
		'{"id": 1, "at": "2026-02-01 03:04:05", "d": "2026-02-01", "i": "1-2", "f": 0.1, "b": "\\\\x00ff", "t": "x"}' ]);
	wait_until($node, q{SELECT count(*) FROM app.values}, '1', 'a record arrives');
	is(sql(q{SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex';
			SET extra_float_digits = 1; SELECT at, d, i, f, b, t, path, zone, fired FROM app.values}),
		'2026-02-01 03:04:05+00|2026-02-01|1 year 2 mons|0.1|\x00ff|x|pg_catalog, pg_temp|UTC|1',
		'and means what it means everywhere');
	wait_until($node, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'values'}, 'running|', 'nothing disturbs the sink');

	# a superuser's own doing, but rows without their triggers and foreign keys
	sql(q{ALTER ROLE app SET session_replication_role = 'replica'});
	$pid = sql(q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'values'});
	sql("SELECT pg_terminate_backend($pid)");
	wait_until($node, qq{SELECT pid <> $pid FROM kafka_sink.stat_sinks WHERE sink = 'values' AND state = 'running'}, 't',
		'the worker starts again');
	$kafka->produce($values, 0, [ undef, '{"id": 2}' ]);
	wait_until($node, q{SELECT count(*) FROM app.values}, '2', 'a record arrives');
	is(sql('SELECT fired FROM app.values WHERE id = 2'), '1', 'session_replication_role does not turn triggers off');
	sql("ALTER ROLE app RESET ALL");
	sql("ALTER DATABASE postgres RESET ALL");
}

# --- passwords ---

# A statement that is refused is not logged.
foreach ("CREATE USER MAPPING FOR app SERVER kafka OPTIONS (sasl_username 'app', sasl_password '$secret', nonsense 'x')",
	"CREATE USER MAPPING FOR app SERVER kafka OPTIONS (bootstrap_servers '$secret')",
	"CREATE SERVER bad FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost', sasl_password '$secret')",
	"CREATE SERVER bad FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost', security_protocol '$secret')",
	"CREATE USER MAPPING FOR app SERVER kafka OPTIONS (ssl_key_pem '$secret')")
{
	my ($out, $err) = as_role('postgres', $_);

	like($err, qr/^psql:<stdin>:1: ERROR: /, 'refused: ' . s/$secret/.../gr);
	unlike($err =~ s/^LINE.*\n.*\n//mr, qr/$secret/, 'without an echo');
}

sql(qq{
	CREATE SERVER secure FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:$sasl_port',
		security_protocol 'sasl_plaintext', sasl_mechanism 'PLAIN', debug 'all', reconnect_backoff_max_ms '500');
	GRANT USAGE ON FOREIGN SERVER secure TO app, other;
	CREATE USER MAPPING FOR app SERVER secure OPTIONS (sasl_username 'app', sasl_password 'wrong-$secret');
	CREATE USER MAPPING FOR PUBLIC SERVER secure OPTIONS (sasl_username 'app', sasl_password '$secret');
	CREATE TABLE app.secured (id bigint PRIMARY KEY);
	ALTER TABLE app.secured OWNER TO app;
});
like(as_role('other', "SELECT count(*) FROM kafka_sink.topics('secure', timeout => '3 min')"), qr/ERROR:  role "other" has no credentials/,
	'a role authenticates with a mapping of its own only');
like(as_role('app', "SELECT count(*) FROM kafka_sink.topics('secure', timeout => '3 min')"), qr/ERROR: .*could not authenticate/,
	'a wrong password');
is(as_role('app', qq{
	SELECT kafka_sink.create_sink('secured', server => 'secure', target => 'app.secured');
	SELECT kafka_sink.register_topic('secured', '$topic')}), "\n", 'a sink with a wrong password');
wait_until($node, q{SELECT state, sqlstate, message FROM kafka_sink.sinks WHERE sink = 'secured'},
	qr/^waiting\|28000\|.*could not authenticate/, 'says so');
as_role('app', "ALTER USER MAPPING FOR app SERVER secure OPTIONS (SET sasl_password '$secret')");
wait_until($node, 'SELECT count(*) FROM app.secured', '1011', 'with the right one it heals by itself');
as_role('app', "ALTER USER MAPPING FOR app SERVER secure OPTIONS (SET sasl_username 'new', SET sasl_password 'new-$secret')");
$kafka->gen($topic, count => 5, from => 3000);
wait_until($node, 'SELECT count(*) FROM app.secured', '1016', 'a password that is changed');
like(as_role('app', "SELECT count(*) FROM kafka_sink.topics('secure', timeout => '3 min')"), qr/^\d+$/, 'topics() too');

is(as_role('other', q{SELECT count(*) FROM pg_user_mappings WHERE umoptions IS NOT NULL}), '0', 'no mapping is shown to others');
is(sql(qq{SELECT count(*) FROM pg_stat_activity a WHERE backend_type LIKE 'kafka_sink%' AND a::text LIKE '%$secret%'}), '0',
	'pg_stat_activity of our processes');
is(sql(qq{SELECT count(*) FROM kafka_sink.sinks s WHERE s::text LIKE '%$secret%'}), '0', 'the views');
is(sql(qq{SELECT count(*) FROM kafka_sink.stat_sinks s WHERE s::text LIKE '%$secret%'}), '0', 'stat_sinks');
my $titles = join ' ', map { eval { slurp_file($_) } // '' } glob '/proc/[0-9]*/cmdline';
unlike(join("\n", grep { /kafka_sink/ } split /\0/, $titles), qr/$secret/, 'process titles');

$node->stop('fast');
my $log = slurp_file($node->logfile);
like($log, qr/librdkafka/, 'librdkafka has said much');
unlike($log, qr/$secret/, 'no password is in the log');
unlike($log, qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
