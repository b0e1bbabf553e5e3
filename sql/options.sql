-- Options of servers and user mappings: who may set what, where, to which value
CREATE EXTENSION kafka_sink;
SET kafka_sink.max_fetch_memory = '16MB';
SET client_min_messages = warning;
CREATE ROLE regress_ks_user;
GRANT USAGE ON FOREIGN DATA WRAPPER kafka_sink TO regress_ks_user;
RESET client_min_messages;
\pset format unaligned
\pset null '-'

-- runs a command and takes it back
CREATE FUNCTION pg_temp.try(command text, OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RAISE 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;

-- the same for options of a server that is otherwise in order
CREATE FUNCTION pg_temp.try_server(options text, OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE sql AS $$
    SELECT * FROM pg_temp.try('CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers ''localhost'', ' || options || ')')
$$;

--
-- Names
--
CREATE SERVER regress_ks_a FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost:9092', socket_keepalive_enable 'true');
CREATE SERVER regress_ks_b FOREIGN DATA WRAPPER kafka_sink
    OPTIONS ("bootstrap.servers" 'localhost:9092', "socket.keepalive.enable" 'true', "socket_timeout.ms" '5000');
CREATE SERVER regress_ks_c FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (metadata_broker_list 'localhost:9092', sasl_mechanism 'plain', security_protocol 'SASL_SSL',
             max_partition_fetch_bytes '1048576');
SELECT srvname, srvoptions FROM pg_foreign_server WHERE srvname LIKE 'regress\_ks\_%' ORDER BY srvname;
DROP SERVER regress_ks_b, regress_ks_c;

-- missing
CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink;
CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (security_protocol 'ssl');

-- twice
SELECT t.* FROM (VALUES
    ('"bootstrap.servers" ''localhost'''),
    ('metadata_broker_list ''localhost'''),
    ('socket_timeout_ms ''5000'', "socket.timeout.ms" ''5000'''),
    ('fetch_message_max_bytes ''5000'', max_partition_fetch_bytes ''5000''')) v(o), pg_temp.try_server(o) t;

-- unknown
CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost', soket_timeout_ms '5000');
CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost', nonsense 'hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (sasl_usrname 'hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (nonsense 'hunter2');

-- in the wrong place
CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost', sasl_password 'hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (bootstrap_servers 'hunter2');
SELECT p, t.message FROM unnest(ARRAY['sasl.username', 'sasl.password', 'ssl.key.pem', 'ssl.key.password',
    'ssl.certificate.pem', 'ssl.keystore.password', 'ssl.key.location', 'ssl.certificate.location',
    'ssl.keystore.location', 'sasl.oauthbearer.config', 'sasl.oauthbearer.client.id',
    'sasl.oauthbearer.client.secret', 'sasl.oauthbearer.client.credentials.client.secret',
    'sasl.oauthbearer.assertion.private.key.pem', 'sasl.oauthbearer.assertion.private.key.passphrase',
    'sasl.oauthbearer.assertion.private.key.file', 'sasl.oauthbearer.assertion.file']) p,
    pg_temp.try_server(format('%I %L', p, 'hunter2')) t;

-- who executes the statement from a function does not show it either
DO $$BEGIN CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (sasl_usrname 'hunter2'); END$$;
DO $$BEGIN EXECUTE 'CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (sasl_username ''a'', sasl_username ''hunter2'')'; END$$;

-- nothing else has options
ALTER FOREIGN DATA WRAPPER kafka_sink OPTIONS (ADD bootstrap_servers 'localhost');
CREATE FOREIGN TABLE regress_ks_t (a integer) SERVER regress_ks_a OPTIONS (topic 'x');
CREATE FOREIGN TABLE regress_ks_t (a integer OPTIONS (field 'x')) SERVER regress_ks_a;

--
-- Refused for everyone
--
SELECT p, t.* FROM unnest(ARRAY[
    -- shell, code, files, signals
    'sasl.kerberos.kinit.cmd', 'sasl.kerberos.keytab', 'sasl.kerberos.principal',
    'plugin.library.paths', 'interceptors', 'ssl.engine.location', 'ssl.engine.id', 'ssl_engine_callback_data',
    'offset.store.method', 'offset.store.path', 'offset.store.sync.interval.ms', 'internal.termination.signal',
    -- not for text
    'error_cb', 'throttle_cb', 'stats_cb', 'log_cb', 'background_event_cb', 'socket_cb', 'connect_cb',
    'closesocket_cb', 'open_cb', 'resolve_cb', 'ssl.certificate.verify_cb', 'oauthbearer_token_refresh_cb',
    'consume_cb', 'rebalance_cb', 'offset_commit_cb', 'dr_cb', 'dr_msg_cb', 'partitioner_cb',
    'opaque', 'default_topic_conf', 'ssl_key', 'ssl_ca', 'ssl_certificate',
    -- protocol versions, hidden ones
    'broker.version.fallback', 'api.version.request', 'api.version.request.timeout.ms', 'api.version.fallback.ms',
    'test.mock.num.brokers', 'test.mock.broker.rtt', 'ut_handle_ProduceResponse', 'enable_sasl_queue',
    'enable.sparse.connections', 'client.software.name', 'client.software.version', 'metadata.request.timeout.ms',
    -- groups
    'group.id', 'group.instance.id', 'group.protocol', 'group.protocol.type', 'group.remote.assignor',
    'partition.assignment.strategy', 'session.timeout.ms', 'heartbeat.interval.ms',
    'coordinator.query.interval.ms', 'max.poll.interval.ms', 'max.poll.records', 'share.acknowledgement.mode',
    -- producers
    'transactional.id', 'transaction.timeout.ms', 'enable.idempotence', 'enable.gapless.guarantee',
    'queue.buffering.max.messages', 'queue.buffering.max.kbytes',
    'message.send.max.retries', 'retries', 'queue.buffering.backpressure.threshold', 'delivery.report.only.error',
    'sticky.partitioning.linger.ms', 'request.required.acks', 'acks', 'request.timeout.ms', 'message.timeout.ms',
    'delivery.timeout.ms', 'message.max.bytes', 'message.copy.max.bytes', 'queuing.strategy',
    'produce.offset.report', 'partitioner', 'msg_order_cmp']) p,
    pg_temp.try_server(format('%I %L', p, '1')) t;

-- what feeds leave to the server
SELECT o, t.* FROM unnest(ARRAY['compression_type ''zstd''', 'compression_codec ''none''', 'compression_type ''rar''',
    'compression_level ''9''', 'compression_level ''13''', 'linger_ms ''0''', 'queue_buffering_max_ms ''1001''',
    'batch_num_messages ''0''', 'batch_size ''1000''', 'batch_size ''1000000''']) o, pg_temp.try_server(o) t;

-- the other spelling, and a user mapping, are no way round
SELECT t.* FROM (VALUES
    ('plugin_library_paths ''hunter2'''),
    ('"sasl_kerberos_kinit.cmd" ''hunter2'''),
    ('"sasl_kerberos_kinit.cmd" ''hunter2'''),
    ('"error.cb" ''hunter2''')) v(o), pg_temp.try_server(o) t;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (plugin_library_paths 'hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (group_id 'hunter2');

-- unlisted is unknown: upper case, topics' own settings, neighbours of wildcards
SELECT o, t.code, t.message FROM (VALUES
    ('"Plugin.Library.Paths" ''x'''), ('topic_blacklist ''x'''), ('builtin_features ''x'''),
    ('consume_callback_max_messages ''1'''), ('"group" ''x'''), ('"group." ''x'''),
    ('"_cb" ''x'''), ('ssl_engine ''x'''), ('ssl_ca_certificate_stores ''x'''),
    ('max_in_flight ''1'''), ('"*" ''x''')) v(o), pg_temp.try_server(o) t;

-- set by the sink
SELECT p, t.* FROM unnest(ARRAY['enable.auto.commit', 'auto.commit.enable', 'auto.commit.interval.ms',
    'enable.auto.offset.store', 'auto.offset.reset', 'isolation.level', 'check.crcs', 'enable.partition.eof',
    'allow.auto.create.topics', 'log.queue', 'enabled_events', 'client.id', 'statistics.interval.ms',
    'enable.metrics.push', 'receive.message.max.bytes']) p,
    pg_temp.try_server(format('%I %L', p, '1')) t;

--
-- Values
--
SELECT o, t.* FROM (VALUES
    -- Boolean
    ('socket_keepalive_enable ''yes'''), ('socket_keepalive_enable ''0'''), ('socket_keepalive_enable ''hunter2'''),
    -- integer
    ('socket_timeout_ms ''1000'''), ('socket_timeout_ms ''999'''), ('socket_timeout_ms ''300001'''),
    ('socket_timeout_ms ''-1'''), ('socket_timeout_ms ''99999999999999999999'''), ('socket_timeout_ms ''5s'''),
    ('socket_timeout_ms '' 5000'''), ('socket_timeout_ms ''+5000'''), ('socket_timeout_ms ''0x2000'''),
    ('socket_timeout_ms ''5000.0'''), ('socket_timeout_ms '''''), ('reconnect_backoff_ms ''0'''),
    ('fetch_wait_max_ms ''0'''), ('queued_min_messages ''10000001'''),
    -- enumeration
    ('broker_address_family ''V4'''), ('broker_address_family ''v5'''), ('broker_address_family ''v4, v6'''),
    ('broker_address_family ''v'''), ('security_protocol ''tls'''),
    ('security_protocol ''sasl_ssl'', sasl_mechanisms ''hunter2'''),
    -- text
    ('client_rack ''eu-1'''), ('client_rack '''''), ('client_rack '' eu-1'''),
    ('client_rack E''eu\n1'''), ('client_rack E''eu\x7f'''),
    ('security_protocol ''ssl'', ssl_ca_pem ''hunter2'''),
    ('security_protocol ''ssl'', ssl_ca_pem E''-----BEGIN CERTIFICATE-----\r\nMIIB\r\n-----END CERTIFICATE-----\r\n'''),
    ('debug ''hunter2'''), ('debug ''broker,fetch''')) v(o), pg_temp.try_server(o) t;
SELECT t.* FROM pg_temp.try_server(format('client_rack %L', repeat('x', 4097))) t;

-- memory is capped by kafka_sink.max_fetch_memory, for superusers too
SELECT o, t.* FROM (VALUES
    ('fetch_max_bytes ''16777216'''), ('fetch_max_bytes ''16777217'''), ('fetch_max_bytes ''999999'''),
    ('fetch_message_max_bytes ''16777217'''), ('max_partition_fetch_bytes ''16777217'''),
    ('fetch_min_bytes ''16777217'''), ('queued_max_messages_kbytes ''16384'''),
    ('queued_max_messages_kbytes ''16385'''), ('socket_receive_buffer_bytes ''16777217'''),
    ('socket_send_buffer_bytes ''16777217''')) v(o), pg_temp.try_server(o) t;
SET kafka_sink.max_fetch_memory = '32MB';
SELECT t.code, t.message FROM pg_temp.try_server('fetch_max_bytes ''16777217''') t;
SET kafka_sink.max_fetch_memory = '16MB';

-- hosts
SELECT h, t.code, t.message, t.detail
  FROM unnest(ARRAY['kafka', 'kafka:9092', 'b-1.example.com:9092,b_2:9093', ' a:1 , b:65535 ', '192.0.2.7:9092', '[::1]:9092',
    '[2001:db8::1]', '', ',', 'a,', 'a,,b', 'a:0', 'a:65536', 'a:', 'a:9092x', ':9092', 'a b:9092', 'a;b', '::1',
    '[::1', '[::g]:1', '[]:1', '[1.2.3.4]', 'ssl://a:9092', 'PLAINTEXT://a', 'a/b', '-a', 'user@a']) h,
    pg_temp.try(format('CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers %L)', h)) t;

-- options that need each other
SELECT o, t.* FROM (VALUES
    ('security_protocol ''sasl_ssl'''),
    ('sasl_mechanisms ''PLAIN'''),
    ('security_protocol ''ssl'', sasl_mechanisms ''PLAIN'''),
    ('ssl_cipher_suites ''DEFAULT'''),
    ('security_protocol ''sasl_plaintext'', sasl_mechanisms ''PLAIN'', enable_ssl_certificate_verification ''true'''),
    ('security_protocol ''sasl_plaintext'', sasl_mechanisms ''GSSAPI'''),
    ('security_protocol ''sasl_plaintext'', sasl_mechanisms ''GSSAPI'', sasl_kerberos_min_time_before_relogin ''60000'''),
    ('security_protocol ''sasl_plaintext'', sasl_mechanisms ''GSSAPI'', sasl_kerberos_min_time_before_relogin ''0'''),
    ('reconnect_backoff_ms ''10001'''),
    ('reconnect_backoff_max_ms ''99'''),
    ('reconnect_backoff_ms ''3001'', reconnect_backoff_max_ms ''3000'''),
    ('reconnect_backoff_ms ''10001'', reconnect_backoff_max_ms ''10001''')) v(o), pg_temp.try_server(o) t;

-- the schema registry
SELECT u, t.code, t.message, t.detail
  FROM unnest(ARRAY['http://registry', 'https://registry.example.com:8443/apis/ccompat/v7', 'HTTP://a:8081/ , https://b/c//',
    'http://192.0.2.7:8081', 'https://[2001:db8::1]:8443/', '', ',', 'http://a,', 'http://a,,http://b', 'registry:8081', 'ftp://a', 'file:///etc/passwd',
    'http://', 'http:///a', 'https://:8081', 'http://a:0', 'http://a:65536', 'http://a:x', 'http://[::g]', 'http://[::1', 'http://a b',
    'http://a\b', 'http://a"', 'http://ä', 'http://a?b', 'http://a/?', 'http://a#b', 'http://user:hunter2@a', 'http://hunter2@a', 'http://@a',
    'http://b/c@d', E'http://a\n']) u,
    pg_temp.try_server(format('schema_registry_url %L', u)) t;
SELECT o, t.* FROM (VALUES
    ('schema_registry_timeout_ms ''100'', schema_registry_url ''http://a'''),
    ('schema_registry_timeout_ms ''99'', schema_registry_url ''http://a'''),
    ('schema_registry_timeout_ms ''300001'', schema_registry_url ''http://a'''),
    ('schema_registry_timeout_ms ''5000'''),
    ('"schema.registry.ssl.ca.pem" ''-----BEGIN CERTIFICATE-----'''),
    ('schema_registry_url ''http://a,http://b'', schema_registry_ssl_ca_pem ''-----BEGIN CERTIFICATE-----'''),
    ('schema_registry_url ''http://a,https://b'', schema_registry_ssl_ca_pem ''-----BEGIN CERTIFICATE-----'''),
    ('schema_registry_url ''https://a'', schema_registry_ssl_ca_pem ''hunter2'''),
    ('schema_registry_url ''http://a'', "schema.registry.url" ''http://b'''),
    ('schema_registry_url ''http://a'', schema_registry_password ''hunter2'''),
    ('schema_registry_urls ''http://a''')) v(o), pg_temp.try_server(o) t;
SELECT o, t.* FROM (VALUES
    ('schema_registry_username ''app'', schema_registry_password ''hunter2'''),
    ('schema_registry_username ''app'''),
    ('schema_registry_password ''hunter2'''),
    ('schema_registry_username ''app:hunter2'', schema_registry_password ''hunter2'''),
    ('schema_registry_bearer_token ''hunter2'''),
    ('schema_registry_bearer_token E''hunter2\r\nHost: a'''),
    ('schema_registry_bearer_token ''hunter2'', schema_registry_username ''app'', schema_registry_password ''hunter2'''),
    ('schema_registry_ssl_key_pem ''-----BEGIN PRIVATE KEY-----'''),
    ('schema_registry_ssl_certificate_pem ''-----BEGIN CERTIFICATE-----'''),
    ('schema_registry_ssl_key_password ''hunter2'''),
    ('schema_registry_ssl_key_pem ''-----BEGIN PRIVATE KEY-----'', schema_registry_ssl_certificate_pem ''-----BEGIN CERTIFICATE-----'', schema_registry_ssl_key_password ''hunter2'''),
    ('schema_registry_url ''http://hunter2''')) v(o),
    pg_temp.try('CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (' || o || ')') t;

--
-- Secrets in no message
--
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (sasl_password E'hunter2\n');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (sasl_password ' hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (ssl_key_pem 'hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (ssl_key_password E'hunter2\t');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a OPTIONS (sasl_oauthbearer_client_secret E'hunter2\r');

--
-- An ordinary role
--
SET ROLE regress_ks_user;

-- superusers only
SELECT p, t.* FROM unnest(ARRAY['ssl.ca.location', 'ssl.crl.location', 'https.ca.location', 'https.ca.pem',
    'ssl.providers', 'enable.ssl.certificate.verification', 'ssl.endpoint.identification.algorithm',
    'sasl.kerberos.service.name', 'sasl.kerberos.min.time.before.relogin', 'sasl.oauthbearer.method',
    'enable.sasl.oauthbearer.unsecure.jwt', 'sasl.oauthbearer.token.endpoint.url', 'sasl.oauthbearer.grant.type',
    'sasl.oauthbearer.metadata.authentication.type', 'sasl.oauthbearer.sub.claim.name', 'debug', 'log_level']) p,
    pg_temp.try_server(format('security_protocol %L, %I %L', 'ssl', p, 'hunter2')) t;

-- without TLS only to this machine
SELECT h, t.code, t.message
  FROM unnest(ARRAY['localhost', 'LocalHost:9092', '127.0.0.1', '127.255.0.9:1', '[::1]', '[0:0:0:0:0:0:0:1]:9092',
    'localhost,127.0.0.1,[::1]', 'kafka', 'localhost,kafka', 'kafka,localhost', '127.1', '127.0.0.1.example.com',
    '127.0.0.256', '2130706433', '0x7f000001', '0.0.0.0', '[::]', '[::ffff:127.0.0.1]', '[fe80::1]',
    'localhost.example.com', '127.0.0.01']) h,
    pg_temp.try(format('CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers %L)', h)) t;
CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'kafka:9092');
SELECT o, t.* FROM (VALUES
    ('security_protocol ''plaintext'''),
    ('security_protocol ''sasl_plaintext'', sasl_mechanisms ''PLAIN'''),
    ('security_protocol ''ssl'''),
    ('security_protocol ''sasl_ssl'', sasl_mechanisms ''SCRAM-SHA-512'''),
    ('security_protocol ''sasl_ssl'', sasl_mechanisms ''gssapi'''),
    ('security_protocol ''sasl_ssl'', sasl_mechanisms ''OAUTHBEARER''')) v(o),
    pg_temp.try('CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers ''kafka'', ' || o || ')') t;

-- nor a schema registry
SELECT u, t.code, t.message
  FROM unnest(ARRAY['http://localhost:8081', 'http://LocalHost', 'http://127.0.0.1/a', 'http://127.255.0.9:1', 'http://[::1]:8081', 'http://[0:0:0:0:0:0:0:1]',
    'https://registry', 'https://registry,http://localhost,https://192.0.2.7', 'http://registry', 'http://localhost,http://registry', 'https://registry,http://registry',
    'http://127.1', 'http://2130706433', 'http://127.0.0.1.example.com', 'http://127.0.0.256', 'http://0.0.0.0', 'http://[::]', 'http://[::ffff:127.0.0.1]', 'http://localhost.example.com',
    'http://127.0.0.1@example.com', 'http://example.com/@localhost']) u,
    pg_temp.try(format('CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers ''localhost'', schema_registry_url %L)', u)) t;
CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost', schema_registry_url 'http://registry:8081');
SELECT n, t.* FROM unnest('{1980,1981}'::int[]) n,
    pg_temp.try(format('CREATE SERVER regress_ks_try FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers ''localhost'', schema_registry_url %L)', 'https://example.com/' || repeat('x', n) || '/')) t;

-- ALTER sees the options as they will be
CREATE SERVER regress_ks_own FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost:9092', socket_timeout_ms '5000');
ALTER SERVER regress_ks_own OPTIONS (SET bootstrap_servers 'kafka:9092');
ALTER SERVER regress_ks_own OPTIONS (DROP bootstrap_servers);
ALTER SERVER regress_ks_own OPTIONS (ADD "socket.timeout.ms" '6000');
ALTER SERVER regress_ks_own OPTIONS (SET socket_timeout_ms '1');
ALTER SERVER regress_ks_own OPTIONS (ADD ssl_ca_location '/etc/passwd');
ALTER SERVER regress_ks_own OPTIONS (DROP socket_timeout_ms, SET bootstrap_servers 'kafka:9092', ADD security_protocol 'ssl');
ALTER SERVER regress_ks_own OPTIONS (DROP security_protocol);
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'regress_ks_own';

-- its own mapping
CREATE USER MAPPING FOR regress_ks_user SERVER regress_ks_own
    OPTIONS (sasl_username 'app', "sasl.password" 'secret');
ALTER USER MAPPING FOR regress_ks_user SERVER regress_ks_own OPTIONS (ADD sasl_password 'hunter2');
ALTER USER MAPPING FOR regress_ks_user SERVER regress_ks_own OPTIONS (SET "sasl.password" 'other', ADD ssl_key_password 'x');
SELECT p, t.* FROM unnest(ARRAY['ssl.key.location', 'ssl.certificate.location', 'ssl.keystore.location',
    'sasl.oauthbearer.config', 'sasl.oauthbearer.client.id', 'sasl.oauthbearer.client.secret', 'sasl.oauthbearer.scope',
    'sasl.oauthbearer.extensions', 'sasl.oauthbearer.client.credentials.client.id',
    'sasl.oauthbearer.client.credentials.client.secret', 'sasl.oauthbearer.assertion.algorithm',
    'sasl.oauthbearer.assertion.file', 'sasl.oauthbearer.assertion.jwt.template.file',
    'sasl.oauthbearer.assertion.private.key.file', 'sasl.oauthbearer.assertion.private.key.pem',
    'sasl.oauthbearer.assertion.private.key.passphrase', 'sasl.oauthbearer.assertion.claim.aud',
    'sasl.oauthbearer.assertion.claim.iss', 'sasl.oauthbearer.assertion.claim.sub',
    'sasl.oauthbearer.assertion.claim.jti.include', 'sasl.oauthbearer.assertion.claim.exp.seconds',
    'sasl.oauthbearer.assertion.claim.nbf.seconds']) p,
    pg_temp.try(format('ALTER USER MAPPING FOR regress_ks_user SERVER regress_ks_own OPTIONS (ADD %I %L)', p, 'hunter2')) t;
SELECT o, t.* FROM (VALUES
    ('ssl_key_pem ''-----BEGIN PRIVATE KEY-----'''),
    ('ssl_certificate_pem ''-----BEGIN CERTIFICATE-----'''),
    ('ssl_key_pem ''-----BEGIN PRIVATE KEY-----'', ssl_certificate_pem ''-----BEGIN CERTIFICATE-----''')) v(o),
    pg_temp.try('ALTER USER MAPPING FOR regress_ks_user SERVER regress_ks_own OPTIONS (' || o || ')') t;

-- a superuser's options stay a superuser's
RESET ROLE;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_a;
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_ks_a
    OPTIONS (ADD ssl_key_location '/key.pem', ADD ssl_certificate_location '/cert.pem');
ALTER SERVER regress_ks_own OPTIONS (ADD ssl_ca_location '/ca.pem', ADD debug 'broker');
SET ROLE regress_ks_user;
ALTER SERVER regress_ks_own OPTIONS (SET bootstrap_servers 'elsewhere:9092');
ALTER SERVER regress_ks_own OPTIONS (DROP ssl_ca_location, DROP debug);
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'regress_ks_own';

-- other roles do not see a mapping's options
RESET ROLE;
CREATE USER MAPPING FOR PUBLIC SERVER regress_ks_a OPTIONS (sasl_username 'shared', sasl_password 'hunter2');
SET ROLE regress_ks_user;
SELECT srvname, usename, umoptions FROM pg_user_mappings
 WHERE srvname IN ('regress_ks_a', 'regress_ks_own') AND usename IN ('public', 'regress_ks_user') ORDER BY srvname;
RESET ROLE;

SET client_min_messages = warning;
DROP SERVER regress_ks_own CASCADE;
DROP SERVER regress_ks_a CASCADE;
REVOKE USAGE ON FOREIGN DATA WRAPPER kafka_sink FROM regress_ks_user;
DROP ROLE regress_ks_user;
DROP EXTENSION kafka_sink;
