-- What members of pg_monitor and pg_read_all_stats see of others' sinks: that
-- they are there, how they are, figures; no data, and no code.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS kafka_sink;
SELECT plan(29);
CREATE ROLE regress_ks_owner;
CREATE ROLE regress_ks_monitor IN ROLE pg_monitor;
CREATE ROLE regress_ks_stats IN ROLE pg_read_all_stats;
CREATE ROLE regress_ks_nobody;
CREATE ROLE regress_ks_both IN ROLE pg_monitor, regress_ks_owner;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO regress_ks_owner;
CREATE TABLE target (id int PRIMARY KEY, n int);
GRANT ALL ON target TO regress_ks_owner;
SET ROLE regress_ks_owner;
SELECT kafka_sink.create_sink('filtered', target => 'target', insert_mode => 'upsert', on_error => 'dead_letter',
    filter => 'id <> 4711', update_if => 'excluded.n > 42', columns => '{"n": "secret.path"}');
SELECT kafka_sink.create_sink('command', command => 'SELECT ''the password''');
SELECT kafka_sink.seek('filtered', '{"t": {"0": 10}}');
SELECT kafka_sink.ingest('filtered', ARRAY[ROW('t', 0, 10, NULL, NULL, 'bad', NULL)::kafka_sink.record]);
RESET ROLE;
INSERT INTO kafka_sink.sink_state (sink, worker, state, since, sqlstate, message, detail, hint, topic, part, off, column_name)
    VALUES ('filtered', 0, 'halted', now(), '22P02', 'invalid: "4711"', 'a row: 4711', 'not 4711', 't', 0, 11, 'id');

CREATE FUNCTION pg_temp.sees(role name) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role, true);
    RETURN NEXT is_empty('SELECT * FROM kafka_sink.dead_letters', role || ': no dead letters');
    RETURN NEXT is_empty('SELECT * FROM kafka_sink.txn_offsets', 'no rows of txn_offsets');
    RETURN NEXT is_empty('SELECT * FROM kafka_sink.offset_history', 'no history of offsets');
    RETURN NEXT is_empty('SELECT * FROM kafka_sink.sink_history', 'nor of sinks');
    RETURN NEXT is_empty('SELECT * FROM kafka_sink.ddl_history', 'nor of targets');
    RETURN NEXT is_empty('SELECT * FROM kafka_sink.sink_topics', 'no definitions of topics');
    RETURN NEXT throws_ok($s$SELECT kafka_sink.pause('filtered')$s$, '42501', NULL, 'and can do nothing to them');
END $$;
CREATE FUNCTION pg_temp.figures(role name) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', role, true);
    RETURN NEXT results_eq($s$SELECT sink, owner::text, state, sqlstate, topic, part, off, column_name, waits_for, insert_mode, workers
             FROM kafka_sink.sinks WHERE sink = 'filtered'$s$,
        $s$VALUES ('filtered', 'regress_ks_owner', 'halted', '22P02', 't', 0, 11::bigint, 'id', NULL, 'upsert', 1)$s$, role || ': how a sink is');
    RETURN NEXT is_empty($s$SELECT sink FROM kafka_sink.sinks s WHERE s::text ~ '4711|the password|excluded|secret'$s$, 'without its code and what was said of records');
    RETURN NEXT results_eq('SELECT sink, off, end_offset FROM kafka_sink.lag', $s$VALUES ('filtered', 11::bigint, NULL::bigint)$s$, 'lag');
    RETURN NEXT results_eq('SELECT sink, dead_lettered FROM kafka_sink.stat_partitions', $s$VALUES ('filtered', 1::bigint)$s$, 'stat_partitions');
    RETURN NEXT results_eq($s$SELECT sink, sqlstate, message FROM kafka_sink.stat_sinks ORDER BY sink$s$,
        $s$VALUES ('command', NULL, NULL), ('filtered', '22P02', NULL)$s$, 'stat_sinks');
END $$;
SELECT * FROM pg_temp.sees('regress_ks_monitor');
SELECT * FROM pg_temp.figures('regress_ks_monitor');
SELECT * FROM pg_temp.sees('regress_ks_stats');
SELECT * FROM pg_temp.figures('regress_ks_stats');
SET ROLE regress_ks_nobody;
SELECT is_empty('SELECT sink FROM kafka_sink.sinks UNION ALL SELECT sink FROM kafka_sink.lag UNION ALL SELECT sink FROM kafka_sink.stat_sinks
    UNION ALL SELECT sink FROM kafka_sink.stat_partitions', 'others see nothing');
-- what is one's own is seen as ever
SET ROLE regress_ks_both;
SELECT results_eq($$SELECT filter, update_if, columns::text, message, detail, hint FROM kafka_sink.sinks WHERE sink = 'filtered'$$,
    $$VALUES ('id <> 4711', 'excluded.n > 42', '{"n": "secret.path"}', 'invalid: "4711"', 'a row: 4711', 'not 4711')$$, 'a member of the owner, too');
SELECT results_eq($$SELECT message FROM kafka_sink.stat_sinks WHERE sink = 'filtered'$$, ARRAY['invalid: "4711"'], 'in stat_sinks');
SELECT results_eq($$SELECT command FROM kafka_sink.sinks WHERE sink = 'command'$$, ARRAY['SELECT ''the password''']::text[], 'and its commands');
-- nothing is told to a function that is called before the view hides it
RESET ROLE;
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
$$BEGIN IF $1 IS NOT NULL THEN RAISE EXCEPTION 'leaked: %', $1; END IF; RETURN true; END$$;
SET ROLE regress_ks_monitor;
SELECT lives_ok('SELECT FROM kafka_sink.sinks WHERE pg_temp.leak(command) AND pg_temp.leak(detail) AND pg_temp.leak(filter)', 'nor by a function');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
