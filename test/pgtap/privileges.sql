-- Who may do what to the extension's objects.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS kafka_sink;
SELECT plan(49);
CREATE ROLE regress_ks_nobody;

-- tables: nothing is written but by functions, and seen is what a policy lets through
CREATE TEMP VIEW relations AS
    SELECT c.oid, c.oid::regclass AS name, relkind, relrowsecurity
      FROM pg_class c WHERE relnamespace = 'kafka_sink'::regnamespace AND relkind IN ('r', 'v', 'S', 'p', 'm');
SELECT is_empty(
    $$SELECT name, privilege FROM relations, unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) privilege
       WHERE relkind <> 'S' AND has_table_privilege('regress_ks_nobody', oid, privilege)$$, 'no writes for PUBLIC');
SELECT is_empty(
    $$SELECT name FROM relations
       WHERE CASE relkind WHEN 'S' THEN has_sequence_privilege('regress_ks_nobody', oid, 'USAGE,SELECT,UPDATE') END$$,
    'nor sequences');
SELECT set_eq(
    $$SELECT name::text FROM relations WHERE relkind = 'r' AND has_table_privilege('regress_ks_nobody', oid, 'SELECT')$$,
    ARRAY['kafka_sink.txn_offsets', 'kafka_sink.offset_history', 'kafka_sink.sink_history', 'kafka_sink.ddl_history', 'kafka_sink.dead_letters', 'kafka_sink.dump', 'kafka_sink.schemas', 'kafka_sink.feed_progress', 'kafka_sink.feed_copies'], 'tables that PUBLIC can read');
SELECT set_eq(
    $$SELECT name::text FROM relations WHERE relkind = 'r' AND has_table_privilege('regress_ks_nobody', oid, 'SELECT') AND NOT relrowsecurity$$,
    ARRAY['kafka_sink.dump'], 'have row security, but for the one that is always empty');
SELECT set_eq(
    $$SELECT c.relname || ' ' || polcmd::text || ' ' || polpermissive || ' ' || polroles::text
        FROM pg_policy p JOIN pg_class c ON c.oid = polrelid WHERE relnamespace = 'kafka_sink'::regnamespace$$,
    ARRAY['txn_offsets r true {0}', 'offset_history r true {0}', 'sink_history r true {0}', 'ddl_history r true {0}', 'dead_letters r true {0}', 'schemas r true {0}', 'feed_progress r true {0}', 'feed_copies r true {0}'], 'by one policy each, for SELECT');
SELECT is_empty(
    $$SELECT name FROM relations WHERE relkind = 'v' AND NOT has_table_privilege('regress_ks_nobody', oid, 'SELECT')$$,
    'PUBLIC can read the views');
SELECT is_empty(
    $$SELECT name FROM relations r JOIN pg_class c USING (oid) WHERE r.relkind = 'v'
         AND NOT coalesce(reloptions::text[] @> '{security_barrier=true}', false)$$, 'which are security barriers');

-- the schema
SELECT schema_privs_are('kafka_sink', 'regress_ks_nobody', ARRAY['USAGE'], 'USAGE on the schema, and no CREATE');
SELECT fdw_privs_are('kafka_sink', 'regress_ks_nobody', ARRAY[]::text[], 'servers are made by those who are granted it');

-- functions
CREATE TEMP VIEW functions AS
    SELECT p.* FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
      JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'kafka_sink'
     WHERE d.deptype = 'e';
SELECT isnt_empty('SELECT * FROM functions', 'functions');
SELECT is_empty('SELECT oid::regprocedure FROM functions WHERE prosecdef', 'none is SECURITY DEFINER');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c')$$,
    'all are in C');
SELECT is_empty('SELECT oid::regprocedure FROM functions WHERE proleakproof', 'none claims to be leakproof');
-- what makes sinks out of nothing is granted to nobody: a sink costs all who use the server, and rows of a dump are anything
SELECT set_eq($$SELECT DISTINCT proname::text FROM functions WHERE NOT has_function_privilege('regress_ks_nobody', oid, 'EXECUTE')$$,
    ARRAY['create_sink', 'create_feed', 'restore_dump'], 'functions that PUBLIC cannot call');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE proname IN ('create_sink', 'create_feed')
    AND has_function_privilege('regress_ks_nobody', oid, 'EXECUTE')$$, 'in none of their forms');
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO regress_ks_nobody;

-- what they check by themselves: nobody has a sink
CREATE TABLE target (id int PRIMARY KEY);
CREATE SERVER theirs FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
SELECT kafka_sink.create_sink('theirs', target => 'target', on_error => 'dead_letter');
SELECT kafka_sink.ingest('theirs', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, 'bad', NULL)::kafka_sink.record]);
SELECT kafka_sink.advance('theirs', 't', 0, NULL, 10);
SELECT kafka_sink.seek('theirs', '{"t": {"0": 10}}');
SET ROLE regress_ks_nobody;
SELECT throws_ok(format('SELECT kafka_sink.%s', call), '42501', NULL, call)
  FROM unnest(ARRAY[
    $$alter_sink('theirs', batch_records => 1)$$, $$drop_sink('theirs')$$, $$register_topic('theirs', 't')$$,
    $$alter_topic('theirs', 't', target => 'target')$$, $$pause('theirs')$$, $$seek('theirs', '{"t": {"0": 0}}')$$, $$skip('theirs', 't', 0, 10)$$,
    $$advance('theirs', 't', 0, 10, 20)$$, $$claim('theirs', 't', 0, 10, 20)$$, $$claim('theirs', '{"t": {"0": [10, 20]}}')$$,
    $$starting_offsets('theirs')$$, $$ingest('theirs', '{}')$$,
    $$retry_dead_letters('theirs')$$, $$discard_dead_letters('theirs')$$,
    $$preview('theirs')$$]) call;
SELECT throws_ok($$CALL kafka_sink.claim_range('theirs', 't', 0, 10, 20)$$, '42501', NULL, 'claim_range');
SELECT throws_ok($$SELECT kafka_sink.create_sink('mine', target => 'target')$$, '42501', NULL, 'create_sink on another''s table');
SELECT throws_ok($$SELECT kafka_sink.topics('theirs')$$, '42501', NULL, 'topics of another''s server');
SELECT throws_ok($$SELECT kafka_sink.peek('theirs', 't', 0)$$, '42501', NULL, 'nor its records');
SET client_min_messages = error;
SELECT is_empty('SELECT sink FROM kafka_sink.sinks UNION ALL SELECT sink FROM kafka_sink.txn_offsets
    UNION ALL SELECT sink FROM kafka_sink.offset_history UNION ALL SELECT sink FROM kafka_sink.sink_history UNION ALL SELECT sink FROM kafka_sink.ddl_history UNION ALL SELECT sink FROM kafka_sink.lag
    UNION ALL SELECT sink FROM kafka_sink.stat_sinks UNION ALL SELECT sink FROM kafka_sink.stat_partitions
    UNION ALL SELECT sink FROM kafka_sink.dead_letters UNION ALL SELECT sink FROM kafka_sink.sink_topics
    UNION ALL SELECT relation FROM kafka_sink.dumped() WHERE relation !~ ''(_seq|not all)$''',
    'nothing is shown of it');
SET client_min_messages = warning;
-- a function that is called before the policy lets a row through sees nothing
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
$$BEGIN RAISE NOTICE 'leaked: %', $1; RAISE EXCEPTION 'leaked'; END$$;
SELECT lives_ok('SELECT FROM kafka_sink.sinks WHERE pg_temp.leak(sink)', 'nor to functions: sinks');
SELECT lives_ok('SELECT FROM kafka_sink.txn_offsets WHERE pg_temp.leak(sink)', 'txn_offsets');
SELECT lives_ok('SELECT FROM kafka_sink.dead_letters WHERE pg_temp.leak(sink)', 'dead_letters');
RESET ROLE;

-- a member of the owner may
GRANT postgres TO regress_ks_nobody;
SET ROLE regress_ks_nobody;
SELECT results_eq('SELECT sink, off FROM kafka_sink.txn_offsets', $$VALUES ('theirs', 10::bigint)$$, 'a member sees it');
RESET ROLE;

SET ROLE regress_ks_nobody;
SELECT throws_ok($$SELECT kafka_sink.preview('theirs')$$, '42501', 'must run as the owner of sink "theirs"',
    'nor even a member runs its triggers as itself');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER theirs TO regress_ks_nobody;
SET ROLE regress_ks_nobody;
SELECT throws_ok($$SELECT kafka_sink.peek('theirs', 't', 0, timeout => '100 milliseconds')$$, '08006', NULL,
    'with USAGE, it is asked');
RESET ROLE;

REVOKE postgres FROM regress_ks_nobody;

-- who may write to all tables does not make sinks by it
GRANT pg_write_all_data TO regress_ks_nobody;
SET ROLE regress_ks_nobody;
SELECT throws_ok($$INSERT INTO kafka_sink.sink_state (sink, worker, state, since) VALUES ('theirs', 7, 'running', now())$$, '42501',
    'new row violates row-level security policy for table "sink_state"', 'not by writing to the catalogs');
SELECT throws_ok($$INSERT INTO kafka_sink.dump VALUES ('sink_catalog', '{}')$$, '42501',
    'permission denied to restore sinks', 'nor as a dump is restored');
SELECT results_eq($$WITH u AS (UPDATE kafka_sink.sink_catalog SET enabled = false RETURNING 1) SELECT count(*) FROM u$$, ARRAY[0::bigint],
    'nor by changing those of others');
SELECT results_eq($$WITH u AS (DELETE FROM kafka_sink.topic_catalog RETURNING 1) SELECT count(*) FROM u$$, ARRAY[0::bigint],
    'nor by taking their topics');
RESET ROLE;
-- nor is one's own sink written through a view
SELECT is_empty($$SELECT table_name FROM information_schema.views
    WHERE table_schema = 'kafka_sink' AND 'YES' IN (is_updatable, is_insertable_into)$$, 'no view can be written through');
GRANT postgres TO regress_ks_nobody;
SET ROLE regress_ks_nobody;
SELECT throws_ok($$UPDATE kafka_sink.visible_sinks SET sink = 'mine'$$, '55000', NULL, 'no sink is renamed so');
SELECT throws_ok($$DELETE FROM kafka_sink.visible_feeds$$, '55000', NULL, 'nor a feed dropped');
RESET ROLE;
REVOKE postgres FROM regress_ks_nobody;
REVOKE pg_write_all_data FROM regress_ks_nobody;

-- superusers install it, nobody else, trusted or not
DROP EXTENSION kafka_sink CASCADE;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_ks_nobody', current_database()) \gexec
SET ROLE regress_ks_nobody;
SELECT throws_ok('CREATE EXTENSION kafka_sink', '42501', NULL, 'only superusers install it');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
