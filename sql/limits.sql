-- what is limited: intervals, sinks and topics of a role, partitions of a sink, sizes
CREATE EXTENSION kafka_sink;
SET intervalstyle = 'postgres';
CREATE TABLE t (id int, part int);

-- intervals, each with what it is too short and too long for
CREATE PROCEDURE try(call text) LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE call;
    RAISE NOTICE '%: taken', call;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RAISE NOTICE '% %: % (%)', SQLSTATE, call, SQLERRM, hint;
END $$;
SELECT kafka_sink.create_sink('s', target => 't');
DO $$
DECLARE
    setting text;
    value text;
BEGIN
    FOREACH setting IN ARRAY '{dead_letter_retention,retry_within,lock_timeout,idle_after,statistics_interval}'::text[] LOOP
        FOREACH value IN ARRAY '{-1 us,-178000000 years,1 month -31 days,0,1 us,100 ms,10 min,11 min,24 days,25 days,30 days,31 days,1000 years,1001 years,300000 years,178000000 years,2147483647 days}'::text[] LOOP
            CALL try(format('SELECT kafka_sink.alter_sink(''s'', %s => %L)', setting, value));
        END LOOP;
    END LOOP;
END $$;
SELECT dead_letter_retention, retry_within, lock_timeout, idle_after, statistics_interval FROM kafka_sink.sinks;
CREATE SERVER nowhere FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
SELECT kafka_sink.alter_sink('s', server => 'nowhere');
SELECT kafka_sink.advance('s', 't', 0, NULL, 0);
DO $$
DECLARE
    call text;
    value text;
BEGIN
    FOREACH call IN ARRAY ARRAY['SELECT kafka_sink.topics(''nowhere'', %L)', 'SELECT kafka_sink.peek(''nowhere'', ''t'', 0, timeout => %L)',
            'SELECT kafka_sink.preview(''s'', 1, %L)', 'SELECT kafka_sink.lag(''s'', true, %L)'] LOOP
        FOREACH value IN ARRAY '{-1 s,0,25 days,300000 years}'::text[] LOOP
            CALL try(format(call, value));
        END LOOP;
    END LOOP;
END $$;
CALL kafka_sink.wait_for('s', timeout => '-1 us');
CALL kafka_sink.wait_for('s', timeout => '300000 years');
CALL kafka_sink.run('s', timeout => '-1 us');
CALL kafka_sink.run('s', timeout => '25 days');

-- what was stored before, or by hand
UPDATE kafka_sink.sink_catalog SET dead_letter_retention = '178000000 years', retry_within = '178000000 years', lock_timeout = '-1 s',
    idle_after = '178000000 years', statistics_interval = '2147483647 days', server = NULL;
SELECT kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, '{"id": 1}', NULL)::kafka_sink.record]);
SELECT kafka_sink.drop_sink('s');

-- ingest() of many partitions is done in the time of a few records each
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"part": "@partition"}');
SELECT (r).* FROM (SELECT kafka_sink.ingest('s', array_agg(ROW('t', p, NULL, NULL, NULL, '{"id": 1}', NULL)::kafka_sink.record ORDER BY p % 2, p)) AS r
    FROM generate_series(0, 99999) p) i;
SELECT count(*), count(DISTINCT part), sum(part) FROM t;
SELECT kafka_sink.seek('s', (SELECT jsonb_build_object('t', jsonb_object_agg(p::text, 5)) FROM generate_series(0, 2999) p)::text);
SELECT (r).consumed FROM (SELECT kafka_sink.ingest('s', array_agg(ROW('t', p, 5, NULL, NULL, '{"id": 2}', NULL)::kafka_sink.record ORDER BY p % 2, p)) AS r
    FROM generate_series(0, 2999) p) i;
SELECT count(*), min(off), max(off), sum(consumed) FROM kafka_sink.txn_offsets;
SELECT kafka_sink.drop_sink('s');

-- who may make sinks, and how many
CREATE ROLE regress_ks_limits;
SET ROLE regress_ks_limits;
SELECT kafka_sink.create_sink('one');
RESET ROLE;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO regress_ks_limits;
SET kafka_sink.max_sinks_per_role = 2;
SET kafka_sink.max_topics_per_role = 3;
SET ROLE regress_ks_limits;
SET kafka_sink.max_sinks_per_role = 3;
SET kafka_sink.max_topics_per_role = 0;
SET kafka_sink.max_partitions_per_sink = 0;
SELECT kafka_sink.create_sink('one');
SELECT kafka_sink.create_sink('two');
SELECT kafka_sink.create_sink('three');
SELECT kafka_sink.drop_sink('two');
SELECT kafka_sink.create_sink('three');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT kafka_sink.drop_sink('three');
SELECT kafka_sink.create_sink('four');
SELECT kafka_sink.create_sink('five');
ROLLBACK;
SELECT kafka_sink.register_topic('one', 't' || i) FROM generate_series(1, 2) i;
SELECT kafka_sink.register_topic('three', 't3');
SELECT kafka_sink.register_topic('three', 't4');
SELECT kafka_sink.unregister_topic('one', 't1');
SELECT kafka_sink.register_topic('three', 't4');
RESET ROLE;
-- superusers' sinks do not count, nor are they counted
SELECT kafka_sink.create_sink('mine' || i) FROM generate_series(1, 3) i;
SELECT kafka_sink.register_topic('mine1', 't' || i) FROM generate_series(1, 4) i;
-- nor given to a role that may not have them
SET kafka_sink.max_sinks_per_role = 3;
SELECT kafka_sink.alter_sink('mine1', owner => 'regress_ks_limits');
SET kafka_sink.max_topics_per_role = 7;
SELECT kafka_sink.alter_sink('mine1', owner => 'regress_ks_limits');
SELECT kafka_sink.alter_sink('mine2', owner => 'regress_ks_limits');
SELECT kafka_sink.alter_sink('mine1', owner => current_user::regrole);
RESET kafka_sink.max_sinks_per_role;
RESET kafka_sink.max_topics_per_role;

-- partitions of a sink, however they are made
SET kafka_sink.max_partitions_per_sink = 3;
SET ROLE regress_ks_limits;
SELECT kafka_sink.advance('one', 't', p, NULL, 0) FROM generate_series(0, 2) p;
SELECT kafka_sink.advance('one', 't', 3, NULL, 0);
SELECT kafka_sink.claim('one', 'other', 0, 0, 10);
SELECT kafka_sink.claim('one', '{"t": {"0": [0, 10], "3": [0, 10]}}'::jsonb);
SELECT kafka_sink.seek('one', '{"t": {"4": 10}}');
-- those that are there go on
SELECT kafka_sink.advance('one', 't', 0, 0, 10);
SELECT * FROM kafka_sink.claim('one', '{"t": {"0": [0, 20], "2": [0, 10]}}'::jsonb);
SELECT kafka_sink.seek('one', '{"t": {"1": 5}}');
SELECT topic, part, off FROM kafka_sink.txn_offsets ORDER BY topic, part;
SELECT kafka_sink.unregister_topic('one', 't2');
RESET ROLE;
SET kafka_sink.max_partitions_per_sink = 600;
SELECT count(*) FROM (SELECT kafka_sink.advance('mine1', 't', p, NULL, 0) FROM generate_series(0, 599) p) a;
SELECT kafka_sink.advance('mine1', 't', 600, NULL, 0);
RESET kafka_sink.max_partitions_per_sink;

-- sizes of definitions
SELECT kafka_sink.alter_sink('mine1', command => 'SELECT ' || repeat('1 + ', 300000) || '1');
SELECT kafka_sink.alter_sink('mine1', columns => jsonb_build_object('a', repeat('x', 1100000)));
SELECT kafka_sink.alter_sink('mine1', pk_fields => array_fill('a'::text, ARRAY[200000]));
SELECT kafka_sink.register_topic('mine1', 't9', partitions => repeat('0,', 5000) || '0');
SELECT kafka_sink.register_topic('mine1', 't9', start_at => (SELECT jsonb_object_agg(p::text, 0) FROM generate_series(0, 9999) p)::text);

DROP TABLE t;
DROP SERVER nowhere;
DROP PROCEDURE try;
SET client_min_messages = warning;
DROP EXTENSION kafka_sink;
DROP ROLE regress_ks_limits;
