-- Calls that ask for what cannot be: NULL where something is to be named, what
-- would be ignored, and numbers and names at the ends of what there is.
CREATE EXTENSION kafka_sink;
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT kafka_sink.create_sink('s', target => 't');
SELECT kafka_sink.create_sink('ledger');
SELECT kafka_sink.register_topic('s', 'orders', target => 't');

-- NULL: no call does nothing
SELECT kafka_sink.create_sink(NULL);
SELECT kafka_sink.alter_sink(NULL, workers => 2);
SELECT kafka_sink.drop_sink(NULL);
SELECT kafka_sink.register_topic(NULL, 'orders');
SELECT kafka_sink.register_topic('s', NULL);
SELECT kafka_sink.register_topic('s', 'lines', start_at => NULL);
SELECT kafka_sink.alter_topic('s', NULL);
SELECT kafka_sink.unregister_topic('s', NULL);
SELECT kafka_sink.unregister_topic(NULL, 'orders');
SELECT kafka_sink.pause(NULL);
SELECT kafka_sink.resume(NULL);
SELECT kafka_sink.resume('s', NULL);
SELECT kafka_sink.resume(NULL, 'orders');
SELECT kafka_sink.seek('s', NULL);
SELECT kafka_sink.seek(NULL, 'earliest');
SELECT kafka_sink.skip('s', 'orders', NULL, 0);
SELECT kafka_sink.skip('s', 'orders', 0, NULL);
SELECT kafka_sink.accept_gap('s', 'orders', 0, 0, NULL);
SELECT kafka_sink.accept_gap('s', NULL, 0, 0, 1);
SELECT kafka_sink.claim('ledger', NULL::jsonb);
SELECT kafka_sink.claim(NULL, '{}'::jsonb);
SELECT kafka_sink.claim('ledger', NULL::text);
SELECT kafka_sink.claim('ledger', 'orders', NULL, 0, 1);
SELECT kafka_sink.advance('ledger', 'orders', 0, 0, NULL);
CALL kafka_sink.claim_range('ledger', NULL, 0, 0, 1);
SELECT kafka_sink.starting_offsets('ledger', NULL);
SELECT kafka_sink.ingest('s', NULL);
SELECT kafka_sink.ingest(NULL, '{}');
CALL kafka_sink.run(NULL);
CALL kafka_sink.wait_for(NULL);
SELECT * FROM kafka_sink.topics(NULL);
SELECT * FROM kafka_sink.topics('nope', NULL);
SELECT * FROM kafka_sink.peek('nope', NULL, 0);
SELECT * FROM kafka_sink.peek('nope', 'orders', 0, max_records => NULL);
SELECT * FROM kafka_sink.preview(NULL);
SELECT * FROM kafka_sink.preview('s', NULL);
SELECT * FROM kafka_sink.lag('s', NULL);
SELECT * FROM kafka_sink.lag(NULL, false);
SELECT kafka_sink.retry_dead_letters(NULL);
SELECT kafka_sink.discard_dead_letters(NULL);

-- what would be ignored
SELECT kafka_sink.alter_sink('s');
SELECT kafka_sink.alter_sink('s', reset => '{}');
SELECT kafka_sink.alter_sink('s', target => NULL);
SELECT kafka_sink.alter_sink('s', target => NULL, workers => 2);
SELECT kafka_sink.alter_sink('s', workers => 2, reset => '{workers}');
SELECT kafka_sink.alter_sink('s', reset => NULL);
SELECT kafka_sink.alter_topic('s', 'orders');
SELECT kafka_sink.alter_topic('s', 'orders', target => NULL, filter => 'true');
SELECT kafka_sink.alter_topic('s', 'orders', filter => 'true', reset => '{filter}');
SELECT kafka_sink.alter_topic('s', 'orders', reset => '{workers}');
-- however it is given, and whatever plan there is
SET plan_cache_mode = force_generic_plan;
PREPARE change(int) AS SELECT kafka_sink.alter_sink('s', workers => $1);
EXECUTE change(NULL);
EXECUTE change(2);
SET plan_cache_mode = force_custom_plan;
EXECUTE change(NULL);
EXECUTE change(3);
RESET plan_cache_mode;
DEALLOCATE change;
DO $$
DECLARE
    w int;
BEGIN
    PERFORM kafka_sink.alter_sink('s', batch_records => 10, workers => w);
END$$;
SELECT workers, batch_records FROM kafka_sink.sinks WHERE sink = 's';

-- pausing and waiting is two transactions
SELECT kafka_sink.pause('s', wait => true);
CALL kafka_sink.pause('s', wait => NULL);
CALL kafka_sink.pause(NULL, wait => true);
CALL kafka_sink.pause('nope', wait => true);
BEGIN;
CALL kafka_sink.pause('s', wait => false);
ROLLBACK;
BEGIN;
CALL kafka_sink.pause('s', wait => true);
ROLLBACK;
CALL kafka_sink.pause('s', wait => true, timeout => '1 min');
SELECT state FROM kafka_sink.sinks WHERE sink = 's';
SELECT kafka_sink.resume('s');

-- numbers
SELECT kafka_sink.seek('s', '{"orders": {"0": 9223372036854775807}}');
SELECT kafka_sink.skip('s', 'orders', 0, 9223372036854775807);
SELECT kafka_sink.skip('s', 'orders', 0, -1);
SELECT kafka_sink.skip('s', 'orders', -1, 0);
SELECT kafka_sink.skip('s', 'orders', 2147483647, 0);
SELECT kafka_sink.accept_gap('s', 'orders', 0, 9223372036854775807, -9223372036854775808);
SELECT kafka_sink.accept_gap('s', 'orders', 0, 0, 9223372036854775807);
SELECT kafka_sink.accept_gap('s', 'orders', 0, 9223372036854775807, 9223372036854775807);
SELECT kafka_sink.seek('s', '{"orders": {"0": 0}}');
SELECT kafka_sink.accept_gap('s', 'orders', 0, 0, 9223372036854775807);
SELECT off, gaps FROM kafka_sink.txn_offsets;
SELECT kafka_sink.seek('s', '{"orders": {"0": 9223372036854775808}}');
SELECT kafka_sink.seek('s', '{"orders": {"0": 41.7}}');
SELECT kafka_sink.seek('s', '{"orders": {"0": 1e3}}');
SELECT kafka_sink.seek('s', '{"orders": {"0": 1e-1}}');
SELECT kafka_sink.seek('s', '{"orders": {"0": 1e1000}}');
SELECT kafka_sink.seek('s', '{"orders": {"2147483648": 0}}');
SELECT kafka_sink.seek('s', '{"orders": {"00": 0}}');
SELECT kafka_sink.seek('s', '{"orders": {"-0": 0}}');
SELECT kafka_sink.seek('s', '{"orders": {"0": 1, "0": 2}}');
SELECT kafka_sink.seek('s', '{"orders": {"0": 1}, "orders": {"1": 2}}');
SELECT kafka_sink.seek('s', '{"orders": {}}');
SELECT kafka_sink.advance('ledger', 'orders', -9223372036854775808, NULL, 0);
SELECT kafka_sink.advance('ledger', 'orders', 9223372036854775807, NULL, 0);
SELECT kafka_sink.advance('ledger', 'orders', 0, NULL, -9223372036854775808);
SELECT kafka_sink.advance('ledger', 'orders', 0, NULL, 9223372036854775807);
SELECT kafka_sink.advance('ledger', 'orders', 0, 9223372036854775807, 9223372036854775807);
SELECT kafka_sink.claim('ledger', 'orders', 1, 0, 9223372036854775807, records => 9223372036854775807);
SELECT kafka_sink.claim('ledger', 'orders', 1, 9223372036854775807, 9223372036854775807);
SELECT kafka_sink.claim('ledger', 'orders', 2, 0, 1, records => 9223372036854775807);
SELECT kafka_sink.claim('ledger', 'orders', 2, 0, 1, records => -1);
SELECT kafka_sink.claim('ledger', 'orders', 2, 0, 1, start_at => -9223372036854775808);
SELECT kafka_sink.claim('ledger', '{"orders": {"2": [0, 41.7]}}'::jsonb);
SELECT kafka_sink.claim('ledger', '{"orders": {"2": [0, 9223372036854775808]}}'::jsonb);
SELECT kafka_sink.claim('ledger', '{"orders": {"2": [0, 1], "2": [1, 2]}}'::text);
SELECT kafka_sink.claim('ledger', '{"orders": {"2": {"from_off": 0, "until_off": 1e400}}}'::text);
SELECT topic, part, off FROM kafka_sink.txn_offsets WHERE sink = 'ledger' ORDER BY part;
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"0": 41.7}');
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"0": -1}');
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"0": 1e400}');
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"0": 9223372036854775808}');
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"0": 1, "0": 2}');
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"0": {"0": 1}}');
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"0": null}');
SELECT kafka_sink.register_topic('s', 'x', start_at => '294277-01-01');
SELECT kafka_sink.register_topic('s', 'x', start_at => '-infinity');
SELECT kafka_sink.register_topic('s', 'x', start_at => '');
SELECT kafka_sink.register_topic('s', 'x', partitions => '');
SELECT kafka_sink.register_topic('s', 'x', partitions => ' 0');
SELECT kafka_sink.register_topic('s', 'x', partitions => '0 ');
SELECT kafka_sink.register_topic('s', 'x', partitions => '+1');
SELECT kafka_sink.register_topic('s', 'x', partitions => '-1');
SELECT kafka_sink.register_topic('s', 'x', partitions => '1--2');
SELECT kafka_sink.register_topic('s', 'x', partitions => '5-1');
SELECT kafka_sink.register_topic('s', 'x', partitions => '0-2147483648');
SELECT kafka_sink.register_topic('s', 'x', partitions => '0-99999999999999999999');
SELECT kafka_sink.register_topic('s', 'x', partitions => '0,,1');
SELECT kafka_sink.register_topic('s', 'x', partitions => '0-2147483647,7');
SELECT kafka_sink.unregister_topic('s', 'x');
CALL kafka_sink.run('s', max_records => -9223372036854775808);
CALL kafka_sink.wait_for('s', until => '{"orders": {"0": 1.5}}');

-- names
SELECT kafka_sink.create_sink(E'a\nb');
SELECT kafka_sink.create_sink(E'a\x7f');
SELECT kafka_sink.register_topic('s', '.');
SELECT kafka_sink.register_topic('s', '..');
SELECT kafka_sink.register_topic('s', repeat('x', 250));
SELECT kafka_sink.register_topic('s', E'a\tb');
SELECT kafka_sink.seek('s', '{"": {"0": 1}}');
SELECT kafka_sink.seek('s', '{"no such topic": {"0": 1}}');
SELECT kafka_sink.advance('ledger', 'a/b', 0, NULL, 0);
SELECT kafka_sink.claim('ledger', '', 0, 0, 1);
SELECT kafka_sink.claim('ledger', '{"a b": {"0": [0, 1]}}'::jsonb);
SELECT sink, topic FROM kafka_sink.txn_offsets ORDER BY sink, topic, part;

-- where the sink has halted: its states say it (written by hand, and hidden from
-- the supervisor)
SELECT kafka_sink.skip('s');
SELECT kafka_sink.accept_gap('s');
BEGIN;
SELECT kafka_sink.seek('s', '{"orders": {"0": 42, "1": 7}}');
INSERT INTO kafka_sink.sink_state (sink, worker, state, since, sqlstate, message, hint, topic, part, off)
    VALUES ('s', 0, 'halted', now(), '22P02', 'bad number', 'Mend it.', 'orders', 0, 42),
        ('s', 1, 'running', now(), NULL, NULL, NULL, 'orders', 1, 7),
        ('s', 2, 'halted', now(), '42P01', 'no table', 'Mend that.', NULL, NULL, NULL);
INSERT INTO kafka_sink.topic_state (sink, topic, state, since, sqlstate, message, part, off)
    VALUES ('s', 'orders', 'halted', now(), '22P02', 'bad number', 0, 42);
SAVEPOINT halted;
SELECT kafka_sink.skip('s');
SELECT action, topic, part, from_off, until_off FROM kafka_sink.offset_history ORDER BY id DESC LIMIT 1;
SELECT kafka_sink.skip('s');
ROLLBACK TO halted;
SELECT kafka_sink.accept_gap('s');
ROLLBACK TO halted;
UPDATE kafka_sink.sink_state SET state = 'halted';
SELECT kafka_sink.skip('s');
ROLLBACK TO halted;
UPDATE kafka_sink.sink_state SET message = 'records were deleted before they were consumed', hint = 'Accept it.';
DELETE FROM kafka_sink.topic_state;
SELECT kafka_sink.skip('s');
ROLLBACK TO halted;
UPDATE kafka_sink.sink_state SET message = 'records were deleted before they were consumed', hint = 'Accept it.';
DELETE FROM kafka_sink.topic_state;
SELECT kafka_sink.accept_gap('s');
ROLLBACK;

-- a topic that no worker consumes, yet
BEGIN;
CREATE SERVER regress_ks_calls FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
SELECT kafka_sink.alter_sink('s', server => 'regress_ks_calls');
SELECT kafka_sink.seek('s', '{"order": {"0": 42, "1": 0}, "orders": {"0": 1}}');
ROLLBACK;

-- a filter sees what is filled
SELECT kafka_sink.alter_sink('s', filter => 'value IS NOT NULL');
SELECT kafka_sink.alter_sink('s', filter => 'id > 0 AND off > 0');
SELECT kafka_sink.create_sink('c', command => 'SELECT 1 FROM batch', filter => 'v IS NOT NULL');

SELECT kafka_sink.drop_sink('s'), kafka_sink.drop_sink('ledger');
DROP TABLE t;
DROP EXTENSION kafka_sink;
