-- Defining sinks: what is refused, and that nothing stays of what is.
CREATE EXTENSION kafka_sink;
CREATE TABLE t (id int PRIMARY KEY, v text);

SELECT kafka_sink.create_sink(NULL);
SELECT kafka_sink.create_sink('');
SELECT kafka_sink.create_sink(repeat('x', 64));
SELECT kafka_sink.create_sink('s', insert_mode => 'overwrite');
SELECT kafka_sink.create_sink('s', insert_mode => NULL);
SELECT kafka_sink.create_sink('s', format => 'yaml');
SELECT kafka_sink.create_sink('s', key_format => 'xml');
SELECT kafka_sink.create_sink('s', on_error => 'panic');
SELECT kafka_sink.create_sink('s', on_tombstone => 'delete');
SELECT kafka_sink.create_sink('s', isolation_level => 'serializable');
SELECT kafka_sink.create_sink('s', synchronous_commit => 'maybe');
SELECT kafka_sink.create_sink('s', batch_records => 0);
SELECT kafka_sink.create_sink('s', batch_bytes => 5);
SELECT kafka_sink.create_sink('s', batch_linger_ms => -1);
SELECT kafka_sink.create_sink('s', max_record_bytes => 2147483647);
SELECT kafka_sink.create_sink('s', workers => 0);
SELECT kafka_sink.create_sink('s', workers => 65);
SELECT kafka_sink.create_sink('s', workers => NULL);
\set VERBOSITY sqlstate
SELECT kafka_sink.create_sink('s', workers => -1);
\set VERBOSITY default
SELECT kafka_sink.create_sink('s', target => 't', pk_fields => '{}');
SELECT kafka_sink.create_sink('s', target => 't', pk_fields => '{nope}');
SELECT kafka_sink.create_sink('s', target => 'nope');
SELECT kafka_sink.create_sink('s', server => 'nope', target => 't');
SELECT kafka_sink.create_sink('s', columns => '{}');
SELECT kafka_sink.create_sink('s', target => 't', delete_enabled => true, key_format => 'none');
SELECT kafka_sink.create_sink('s', no_such_setting => 1);
SELECT count(*) FROM kafka_sink.sinks;

-- targets
CREATE VIEW v AS SELECT * FROM t;
CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
CREATE TEMP TABLE tmp (id int PRIMARY KEY);
CREATE TABLE ruled (id int PRIMARY KEY);
CREATE RULE r AS ON INSERT TO ruled DO INSTEAD NOTHING;
CREATE TABLE gen (id int GENERATED ALWAYS AS (7) STORED);
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE UNLOGGED TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE lax (id int UNIQUE DEFERRABLE, b int, c int);
CREATE UNIQUE INDEX ON lax (b) WHERE c > 0;
CREATE UNIQUE INDEX ON lax ((c + 1));
SELECT kafka_sink.create_sink('s', target => 'v');
SELECT kafka_sink.create_sink('s', target => 'u');
SELECT kafka_sink.create_sink('s', target => 'tmp');
SELECT kafka_sink.create_sink('s', target => 'ruled');
SELECT kafka_sink.create_sink('s', target => 'gen');
SELECT kafka_sink.create_sink('s', target => 'parted');
SELECT kafka_sink.create_sink('s', target => 'kafka_sink.txn_offsets');
SELECT kafka_sink.create_sink('s', target => 'pg_class');
SELECT kafka_sink.create_sink('s', target => 'lax', insert_mode => 'upsert', pk_fields => '{id}');
SELECT kafka_sink.create_sink('s', target => 'lax', insert_mode => 'ignore');
SELECT kafka_sink.create_sink('s', target => 'lax', insert_mode => 'upsert', pk_fields => '{b}');
SELECT kafka_sink.create_sink('s', target => 'lax', insert_mode => 'upsert', pk_fields => '{c}');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', columns => '{"id": null}');

-- a sink, and changes of it
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', batch_records => 10);
SELECT kafka_sink.create_sink('s');
SELECT insert_mode, batch_records, state FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', batch_records => 20, columns => '{"v": "@key"}');
SELECT insert_mode, batch_records, columns FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', reset => '{batch_records,columns}');
SELECT insert_mode, batch_records, columns FROM kafka_sink.sinks;
-- the default depends on what the sink writes to
BEGIN;
SELECT kafka_sink.alter_sink('s', reset => '{target,insert_mode}', command => 'SELECT 1 FROM batch');
SELECT batch_records FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', batch_records => 50000);
SELECT batch_records FROM kafka_sink.sinks;
ROLLBACK;
SELECT workers FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', workers => 64);
SELECT kafka_sink.alter_sink('s', workers => 65);
SELECT workers FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', reset => '{workers}');
SELECT workers FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', reset => '{colour}');
SELECT kafka_sink.alter_sink('s', columns => '{"x": "y"}');
SELECT kafka_sink.alter_sink('s', target => 'lax');
SELECT kafka_sink.alter_sink('nope');
SELECT insert_mode, target, columns FROM kafka_sink.sinks;
BEGIN;
SELECT kafka_sink.create_sink('gone', target => 't');
SELECT kafka_sink.register_topic('gone', 'topic');
ROLLBACK;
SELECT sink FROM kafka_sink.sinks;

-- topics
SELECT kafka_sink.register_topic('s', 'orders', start_at => '{"0": 42}');
SELECT kafka_sink.register_topic('s', 'orders');
SELECT kafka_sink.register_topic('s', 'lines', partitions => '0-3,7', start_at => '2026-01-01 00:00:00+00');
SELECT kafka_sink.register_topic('s', 'no such topic!');
SELECT kafka_sink.register_topic('s', '');
SELECT kafka_sink.register_topic('s', NULL);
SELECT kafka_sink.register_topic('s', 'x', partitions => '3-1');
SELECT kafka_sink.register_topic('s', 'x', partitions => 'a');
SELECT kafka_sink.register_topic('s', 'x', partitions => '1,');
SELECT kafka_sink.register_topic('s', 'x', start_at => 'whenever');
SELECT kafka_sink.register_topic('s', 'x', start_at => 'infinity');
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"0": "a"}');
SELECT kafka_sink.register_topic('s', 'x', start_at => '{"a": 0}');
SELECT kafka_sink.register_topic('nope', 'x');
SELECT topics FROM kafka_sink.sinks;
SELECT kafka_sink.unregister_topic('s', 'x');
SELECT kafka_sink.seek('s', '{"orders": {"0": 1}, "lines": {"0": 1}}');
SELECT kafka_sink.unregister_topic('s', 'lines');
SELECT topics FROM kafka_sink.sinks;
SELECT topic FROM kafka_sink.txn_offsets;

-- pause and resume
SELECT kafka_sink.pause('s');
SELECT state FROM kafka_sink.sinks;
SELECT kafka_sink.resume('s');
SELECT state FROM kafka_sink.sinks;
SELECT kafka_sink.pause('nope');
SELECT kafka_sink.resume('nope');
SELECT kafka_sink.seek('s', 'earliest');
CALL kafka_sink.run('s');
CALL kafka_sink.run('nope');
CALL kafka_sink.wait_for('nope');
CALL kafka_sink.wait_for('s');
CALL kafka_sink.wait_for('s', until => '{"orders": {"0": 1}}');
CALL kafka_sink.wait_for('s', timeout => '10 ms', until => '{"orders": {"0": 2}}');
BEGIN;
CALL kafka_sink.run('s');
ROLLBACK;
BEGIN;
CALL kafka_sink.wait_for('s');
ROLLBACK;

-- the target goes away
DROP TABLE t CASCADE;
SELECT kafka_sink.ingest('s', ARRAY[]::kafka_sink.record[]);
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.drop_sink('s');
DROP TABLE u, tmp, ruled, gen, parted, lax;
DROP EXTENSION kafka_sink;
