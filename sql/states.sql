-- What is shown of sinks: states, topics that are halted alone, known ends.
-- Workers write these tables; here they are written by hand, in transactions
-- that the supervisor, who clears what is not so, cannot see into.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
CREATE TABLE target (id int);
SELECT kafka_sink.create_sink('s', target => 'target', workers => 3);
SELECT kafka_sink.register_topic('s', 'a');
SELECT kafka_sink.register_topic('s', 'b');
SELECT kafka_sink.register_topic('s', 'c');

-- the worst of the workers' states
BEGIN;
CREATE FUNCTION shown(VARIADIC states text[]) RETURNS text LANGUAGE sql AS $$
    DELETE FROM kafka_sink.sink_state;
    INSERT INTO kafka_sink.sink_state (sink, worker, state, since, waits_for)
        SELECT 's', n - 1, s, now(), CASE s WHEN 'waiting' THEN 'disk' END FROM unnest(states) WITH ORDINALITY u (s, n);
    SELECT concat_ws(' ', state, waits_for) FROM kafka_sink.sinks WHERE sink = 's' $$;
SELECT states, shown(VARIADIC states::text[]) FROM unnest(ARRAY[
    '{}', '{idle,idle,idle}', '{idle,running,idle}', '{running,running}', '{running,running,running}', '{running,starting,idle}',
    '{running,waiting,starting}', '{waiting,backoff}', '{running,halted,backoff}', '{suspended,running}']) states;
SELECT sink, worker, state, waits_for FROM kafka_sink.stat_sinks ORDER BY worker;
-- who waits for a row may wait for what another one is to read
SELECT shown('waiting', 'waiting', 'waiting');
UPDATE kafka_sink.sink_state SET waits_for = 'row' WHERE worker <> 1;
SELECT state, waits_for FROM kafka_sink.sinks;
UPDATE kafka_sink.sink_state SET waits_for = 'row';
SELECT state, waits_for FROM kafka_sink.sinks;

-- a topic that is halted alone
SELECT shown('running', 'running', 'running');
INSERT INTO kafka_sink.topic_state (sink, topic, state, since, sqlstate, message, hint, part, off, column_name)
    VALUES ('s', 'b', 'halted', '2026-01-01', '22P02', 'bad number', 'Mend it.', 1, 42, 'id');
SELECT state, halted_topics FROM kafka_sink.sinks;
SELECT shown(VARIADIC '{}');
COMMIT;
SELECT topic, state, since, sqlstate, message, detail, hint, part, off, column_name FROM kafka_sink.sink_topics ORDER BY topic;
SELECT kafka_sink.resume('s', 'a');
SELECT halted_topics FROM kafka_sink.sinks;
SELECT kafka_sink.resume('s', 'nope');
SELECT kafka_sink.resume('nope', 'b');
SELECT kafka_sink.resume('s', 'b');
SELECT state, halted_topics FROM kafka_sink.sinks;
-- all of it goes on
INSERT INTO kafka_sink.topic_state (sink, topic, state, since, sqlstate, message) VALUES
    ('s', 'a', 'halted', '2026-01-01', '22P02', 'bad number'), ('s', 'b', 'halted', '2026-01-02', '23514', 'bad constraint');
SELECT kafka_sink.resume('s');
SELECT count(*) FROM kafka_sink.topic_state;
-- none is left that goes on: that halts the sink
INSERT INTO kafka_sink.topic_state (sink, topic, state, since, sqlstate, message, part, off) VALUES
    ('s', 'a', 'halted', '2026-01-01', '22P02', 'bad number', 0, 1), ('s', 'b', 'halted', '2026-01-02', '23514', 'bad constraint', 0, 2);
SELECT kafka_sink.unregister_topic('s', 'c');
SELECT state, sqlstate, message, topic, part, off, halted_topics FROM kafka_sink.sinks;
CALL kafka_sink.wait_for('s', until => '{"a": {"0": 10}}');
SELECT kafka_sink.resume('s', 'b');
SELECT state, topic, halted_topics FROM kafka_sink.sinks;
-- what is waited for is another topic: that is not in the way, but time is
CALL kafka_sink.wait_for('s', until => '{"b": {"0": 10}}', timeout => '1 ms');
SELECT kafka_sink.unregister_topic('s', 'a');
SELECT halted_topics FROM kafka_sink.sinks;

-- one goes on when all are halted: so does the sink, whichever halted it
SELECT kafka_sink.create_sink('h', target => 'target', workers => 2);
SELECT kafka_sink.register_topic('h', t) FROM unnest('{a,b,c}'::text[]) t;
INSERT INTO kafka_sink.topic_state (sink, topic, state, since, sqlstate, message)
    VALUES ('h', 'a', 'halted', '2026-01-01', '22P02', 'bad a'), ('h', 'b', 'halted', '2026-01-02', '22P02', 'bad b');
SELECT kafka_sink.unregister_topic('h', 'c');
SELECT state, topic, halted_topics FROM kafka_sink.sinks WHERE sink = 'h';
SELECT kafka_sink.resume('h', 'a');
SELECT state, topic, halted_topics FROM kafka_sink.sinks WHERE sink = 'h';
-- the last to go on, in worker 1
INSERT INTO kafka_sink.sink_state (sink, worker, state, since, sqlstate, message, topic, part, off)
    VALUES ('h', 1, 'halted', '2026-01-03', '22P02', 'bad a again', 'a', 0, 7);
SELECT kafka_sink.resume('h', 'b');
SELECT state, topic, halted_topics FROM kafka_sink.sinks WHERE sink = 'h';
SELECT topic, state, since, message, part, off FROM kafka_sink.sink_topics WHERE sink = 'h' ORDER BY topic;
-- what halted it was taken from it
SELECT kafka_sink.register_topic('h', 'c');
INSERT INTO kafka_sink.sink_state (sink, worker, state, since, sqlstate, message, topic, part, off)
    VALUES ('h', 1, 'halted', '2026-01-03', '22P02', 'bad c', 'c', 0, 7);
SELECT kafka_sink.unregister_topic('h', 'c');
SELECT kafka_sink.resume('h', 'a');
SELECT state, topic, halted_topics FROM kafka_sink.sinks WHERE sink = 'h';
-- an error of the sink itself stays
INSERT INTO kafka_sink.sink_state (sink, worker, state, since, sqlstate, message) VALUES ('h', 1, 'halted', '2026-01-03', '42P01', 'bad sink');
SELECT kafka_sink.resume('h', 'a');
SELECT state, message FROM kafka_sink.sinks WHERE sink = 'h';
SELECT kafka_sink.drop_sink('h');

-- a sink that is halted: wait_for raises what has halted it
INSERT INTO kafka_sink.sink_state (sink, worker, state, since, sqlstate, message, detail, hint, topic, part, off, column_name)
    VALUES ('s', 0, 'halted', now(), '22P02', 'bad number', 'It is "x".', 'Mend it.', 'b', 1, 42, 'id')
    ON CONFLICT (sink, worker) DO UPDATE SET state = excluded.state, sqlstate = excluded.sqlstate, message = excluded.message,
    detail = excluded.detail, hint = excluded.hint, topic = excluded.topic, part = excluded.part, off = excluded.off, column_name = excluded.column_name;
SELECT kafka_sink.seek('s', '{"b": {"1": 42}}');
CALL kafka_sink.wait_for('s', until => '{"b": {"1": 42}}');
CALL kafka_sink.wait_for('s', until => '{"b": {"1": 43}}');
\echo :LAST_ERROR_SQLSTATE
SELECT kafka_sink.pause('s');
CALL kafka_sink.wait_for('s', until => '{"b": {"1": 43}}');

-- known ends outlive workers, and have an age
SELECT topic, part, off, end_offset, lag, high_watermark, open_transaction_lag, as_of FROM kafka_sink.lag;
INSERT INTO kafka_sink.partition_ends VALUES ('s', 'b', 1, 10, 60, 50, '2026-01-01'), ('s', 'b', 2, 0, 5, 5, '2026-01-01');
SELECT topic, part, off, end_offset, lag, high_watermark, open_transaction_lag, as_of FROM kafka_sink.lag;
SELECT part, low_watermark, end_offset, high_watermark, as_of, tail_check FROM kafka_sink.stat_partitions;
SELECT topic, part, off, lag, as_of FROM kafka_sink.lag('s', refresh => false);
-- a seek may be to what was not seen yet, or to another log
SELECT kafka_sink.seek('s', '{"b": {"1": 70}}');
SELECT topic, part, off, end_offset, lag, as_of FROM kafka_sink.lag;
SELECT part FROM kafka_sink.partition_ends;
SELECT kafka_sink.unregister_topic('s', 'b');
SELECT count(*) FROM kafka_sink.partition_ends;
SELECT * FROM kafka_sink.lag('s', refresh => true);
SELECT * FROM kafka_sink.lag('s', refresh => true, timeout => '0 s');
SELECT * FROM kafka_sink.lag('nope', refresh => false);
-- it does not hide the window function
SET search_path = kafka_sink, public;
SELECT sink, lag(sink) OVER (), lag(sink, 1) OVER (), lag(sink, 1, 'none') OVER () FROM sinks;
RESET search_path;

-- what a role must not see of another's
CREATE ROLE regress_ks_states;
SET ROLE regress_ks_states;
SELECT * FROM kafka_sink.lag('s', refresh => true);
SELECT kafka_sink.resume('s', 'a');
SELECT count(*) FROM kafka_sink.worker_states;
SELECT count(*) FROM kafka_sink.visible_sinks;
SELECT count(*) FROM kafka_sink.lock_waits();
TABLE kafka_sink.partition_ends;
TABLE kafka_sink.topic_state;
RESET ROLE;
DROP ROLE regress_ks_states;

-- a sink of which no worker has said anything: what it lacks, in the order in which it is mended
BEGIN;
CREATE SERVER regress_ks_states FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
SELECT kafka_sink.drop_sink('s'), kafka_sink.create_sink('s');
SELECT state, message, hint FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', target => 'target');
SELECT state, message, hint FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', server => 'regress_ks_states');
SELECT state, message, hint FROM kafka_sink.sinks;
SELECT kafka_sink.register_topic('s', 'a');
SELECT state, message, hint FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', reset => '{target}');
SELECT state, message, hint FROM kafka_sink.sinks;
SELECT kafka_sink.alter_topic('s', 'a', target => 'target');
SELECT state, message, hint FROM kafka_sink.sinks;
SELECT kafka_sink.pause('s');
SELECT state, message, hint FROM kafka_sink.sinks;
ROLLBACK;

SELECT kafka_sink.drop_sink('s');
DROP FUNCTION shown;
DROP TABLE target;
DROP EXTENSION kafka_sink;
