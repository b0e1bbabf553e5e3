-- What ks_options_load() makes of the stored options: none of it needs a
-- broker, because each call fails before a connection is tried.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS kafka_sink;
SELECT plan(24);

CREATE ROLE regress_ks_app;
CREATE ROLE regress_ks_root SUPERUSER;
CREATE FOREIGN DATA WRAPPER regress_ks_wrapper;
CREATE SERVER regress_ks_other FOREIGN DATA WRAPPER regress_ks_wrapper;
CREATE SERVER regress_ks_sasl FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost:1', security_protocol 'sasl_plaintext', sasl_mechanism 'PLAIN');
CREATE SERVER regress_ks_gss FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost:1', security_protocol 'sasl_plaintext', sasl_mechanisms 'GSSAPI',
             sasl_kerberos_min_time_before_relogin '0');
CREATE SERVER regress_ks_oauth FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost:1', security_protocol 'sasl_plaintext', sasl_mechanisms 'OAUTHBEARER',
             enable_sasl_oauthbearer_unsecure_jwt 'true');
CREATE SERVER regress_ks_old FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');

-- the server
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_none')$$, '42704',
    'server "regress_ks_none" does not exist', 'missing server');
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_other')$$, '42809',
    'server "regress_ks_other" is not a Kafka server', 'server of another wrapper');
SET ROLE regress_ks_app;
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_sasl')$$, '42501',
    'permission denied for server "regress_ks_sasl"', 'no USAGE on the server');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER regress_ks_sasl, regress_ks_gss, regress_ks_oauth, regress_ks_old TO regress_ks_app;

-- credentials
SET ROLE regress_ks_app;
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_sasl')$$, '28000',
    'role "regress_ks_app" has no credentials for server "regress_ks_sasl"', 'no user mapping');
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_gss')$$, '28000',
    'role "regress_ks_app" has no credentials for server "regress_ks_gss"', 'GSSAPI is for superusers');
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_oauth')$$, '28000',
    'role "regress_ks_app" has no credentials for server "regress_ks_oauth"', 'OAUTHBEARER needs an own mapping');
RESET ROLE;
CREATE USER MAPPING FOR PUBLIC SERVER regress_ks_sasl OPTIONS (sasl_username 'shared', sasl_password 'hunter2');
CREATE USER MAPPING FOR regress_ks_root SERVER regress_ks_sasl OPTIONS (sasl_username 'root');
SET ROLE regress_ks_app;
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_sasl')$$, '28000',
    'role "regress_ks_app" has no credentials for server "regress_ks_sasl"', 'a mapping for PUBLIC is not its own');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_ks_sasl OPTIONS (sasl_username 'app');
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_sasl')$$, '28000',
    'role "regress_ks_app" has no credentials for server "regress_ks_sasl"', 'user without password');
SET ROLE regress_ks_root;
SELECT throws_ok($$SELECT * FROM kafka_sink.topics('regress_ks_sasl')$$, '28000',
    'role "regress_ks_root" has no credentials for server "regress_ks_sasl"',
    'the own mapping counts, incomplete or not, before that for PUBLIC');
RESET ROLE;

CREATE FUNCTION pg_temp.sqlstate_of(command text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN '00000';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

-- what a catalog may hold although today's validator refuses it
CREATE FUNCTION pg_temp.stored(option text, code text, message text, test text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pg_catalog.pg_foreign_server SET srvoptions = ARRAY['bootstrap_servers=localhost:1', option]
     WHERE srvname = 'regress_ks_old';
    RETURN NEXT throws_ok('SELECT * FROM kafka_sink.topics(''regress_ks_old'')', code, message, test);
END $$;
SELECT pg_temp.stored('plugin.library.paths=/tmp/evil.so', 'HV00D', 'option "plugin.library.paths" is refused', 'stored: never');
SELECT pg_temp.stored('enable_auto_commit=true', 'HV00D', 'option "enable_auto_commit" is set by the sink', 'stored: set by the sink');
SELECT pg_temp.stored('future.thing=1', 'HV00D', 'invalid option "future.thing"', 'stored: unknown');
SELECT pg_temp.stored('sasl_password=hunter2', 'HV00D', 'option "sasl_password" belongs in a user mapping', 'stored: wrong place');
SELECT pg_temp.stored('bootstrap.servers=localhost', '42710', 'option "bootstrap.servers" is given twice', 'stored: twice');
SELECT pg_temp.stored('socket_timeout_ms=0', '22023', 'value of option "socket_timeout_ms" is out of range', 'stored: out of range');
SELECT pg_temp.stored('security_protocol=sasl_ssl', 'HV00J',
    'option "sasl_mechanisms" is required with this "security_protocol"', 'stored: incomplete');
SELECT pg_temp.stored('fetch_max_bytes=2147483135', '22023', 'value of option "fetch_max_bytes" is out of range', 'stored: over the cap');

SELECT pg_temp.stored('client_rack=' || repeat('x', 5000), '22023', 'value of option "client_rack" is too long', 'stored: too long');

SELECT pg_temp.stored('schema_registry_timeout_ms=5000', '22023',
    'option "schema_registry_timeout_ms" has no effect without "schema_registry_url"', 'stored: without a registry');
SELECT pg_temp.stored('schema_registry_url=http://app:hunter2@localhost', '22023',
    'invalid value for option "schema_registry_url"', 'stored: credentials in a URL');

-- the validator is a function that anyone may call
SELECT throws_ok($$SELECT kafka_sink.validate_options(ARRAY['nonsense'], 'pg_foreign_server'::regclass)$$, 'HV00D',
    'invalid option "nonsense"', 'called: no value');
SELECT throws_ok($$SELECT kafka_sink.validate_options(ARRAY[repeat('x', 100000) || '=1'], 'pg_foreign_server'::regclass)$$, 'HV00D',
    NULL, 'called: a long name');
SELECT throws_ok($$SELECT kafka_sink.validate_options(ARRAY['=1'], 'pg_user_mapping'::regclass)$$, 'HV00D',
    'invalid option ""', 'called: no name');

-- librdkafka learned it in 2.3
SELECT matches(pg_temp.sqlstate_of($$CREATE SERVER regress_ks_new FOREIGN DATA WRAPPER kafka_sink
    OPTIONS (bootstrap_servers 'localhost', retry_backoff_max_ms '1000')$$), '^(00000|HV00D)$',
    'newer property: taken, or not supported by the installed librdkafka');

SELECT * FROM finish();
ROLLBACK;
