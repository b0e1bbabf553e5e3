-- The views' work grows with what they show, not faster: counted in buffers,
-- which do not depend on the machine.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS kafka_sink;
SELECT plan(8);

CREATE ROLE regress_ks_many;
CREATE ROLE regress_ks_other;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO regress_ks_many, regress_ks_other;
-- the buffers that a query touches
CREATE FUNCTION pg_temp.buffers(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE query;      -- what the session reads of the catalogs once
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) ' || query INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::bigint + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::bigint;
END $$;
-- sinks of a role, each with two topics, of two partitions
CREATE FUNCTION pg_temp.sinks(role regrole, n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %s', role);
    PERFORM kafka_sink.create_sink(role || '_' || i), kafka_sink.register_topic(role || '_' || i, 't0'),
            kafka_sink.register_topic(role || '_' || i, 't1'),
            kafka_sink.seek(role || '_' || i, '{"t0": {"0": 10, "1": 10}, "t1": {"0": 10, "1": 10}}')
       FROM generate_series(1, n) i;
    RESET ROLE;
    INSERT INTO kafka_sink.sink_state (sink, worker, state, since) SELECT sink, w, 'idle', now()
      FROM kafka_sink.sink_catalog, generate_series(0, 1) w WHERE owner = role ON CONFLICT DO NOTHING;
    INSERT INTO kafka_sink.partition_ends SELECT sink, topic, part, 0, 20, 20, now()
      FROM kafka_sink.txn_offsets ON CONFLICT DO NOTHING;
END $$;
SELECT pg_temp.sinks('regress_ks_many', 100);
SELECT pg_temp.sinks('regress_ks_other', 100);
ANALYZE kafka_sink.sink_catalog, kafka_sink.txn_offsets;

SET ROLE regress_ks_many;
SELECT results_eq('SELECT count(*), sum(lag), count(DISTINCT sink) FROM kafka_sink.lag', $$VALUES (400::bigint, 4000::numeric, 100::bigint)$$,
    'a role sees the lag of its sinks');
-- 800 rows of txn_offsets, on 200 pages that leave room for updates: less than one
-- buffer a row is no look at each sink
SELECT cmp_ok(pg_temp.buffers('SELECT * FROM kafka_sink.lag'), '<', 600::bigint, 'lag');
SELECT cmp_ok(pg_temp.buffers('SELECT * FROM kafka_sink.stat_partitions'), '<', 600::bigint, 'stat_partitions');
SELECT cmp_ok(pg_temp.buffers('SELECT * FROM kafka_sink.txn_offsets'), '<', 600::bigint, 'txn_offsets, with its policy');
SELECT cmp_ok(pg_temp.buffers('SELECT * FROM kafka_sink.sinks'), '<', 600::bigint, 'sinks');
SELECT cmp_ok(pg_temp.buffers('SELECT * FROM kafka_sink.stat_sinks'), '<', 600::bigint, 'stat_sinks');
SELECT cmp_ok(pg_temp.buffers($$SELECT * FROM kafka_sink.lag WHERE sink = 'regress_ks_many_7'$$), '<', 100::bigint, 'lag of one');
SELECT cmp_ok(pg_temp.buffers($$SELECT * FROM kafka_sink.txn_offsets WHERE sink = 'regress_ks_many_7'$$), '<', 100::bigint, 'txn_offsets of one');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
