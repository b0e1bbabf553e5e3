-- Settings in an object, with units; sinks that are there already or not any more;
-- another name, another owner.
CREATE EXTENSION kafka_sink;
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE VIEW s AS SELECT sink, target, insert_mode, columns, pk_fields, batch_records, batch_bytes, batch_linger_ms, max_record_bytes, workers,
    delete_enabled, reject_limit, lock_timeout, dead_letter_retention, on_error FROM kafka_sink.sinks ORDER BY sink;

-- an object
SELECT kafka_sink.create_sink('a', settings => '{"target": "t", "insert_mode": "upsert", "columns": {"v": null}, "pk_fields": ["id"],
    "batch_records": 10, "batch_bytes": "16MB", "batch_linger_ms": "1.5 s", "max_record_bytes": "512 kB", "workers": "2", "delete_enabled": true,
    "on_error": "dead_letter", "reject_limit": 100, "lock_timeout": "5 ms", "dead_letter_retention": "1 day"}');
SELECT * FROM s \gx
SELECT kafka_sink.alter_sink('a', batch_records => 20, settings => '{"batch_bytes": "1024kB", "columns": null, "lock_timeout": null, "delete_enabled": "no"}');
SELECT * FROM s \gx
SELECT kafka_sink.alter_sink('a', settings => '{"wrokers": 3}');
SELECT kafka_sink.alter_sink('a', settings => '{"batchbytes": 3}');
SELECT kafka_sink.alter_sink('a', settings => '{"colour": "red"}');
SELECT kafka_sink.alter_sink('a', reset => '{colums}');
SELECT kafka_sink.create_sink('b', settings => '{"insert_mod": "upsert"}');
SELECT kafka_sink.alter_sink('a', settings => '{"batch_bytes": "16 MiB"}');
SELECT kafka_sink.alter_sink('a', settings => '{"batch_bytes": "4GB"}');
SELECT kafka_sink.alter_sink('a', settings => '{"batch_bytes": "2GB"}');
SELECT kafka_sink.alter_sink('a', settings => '{"batch_bytes": "5 s"}');
SELECT kafka_sink.alter_sink('a', settings => '{"batch_linger_ms": "2 min"}');
SELECT kafka_sink.alter_sink('a', settings => '{"workers": "2 MB"}');
SELECT kafka_sink.alter_sink('a', settings => '{"workers": true}');
SELECT kafka_sink.alter_sink('a', settings => '{"workers": 1e20}');
SELECT kafka_sink.alter_sink('a', settings => '{"lock_timeout": 5}');
SELECT kafka_sink.alter_sink('a', settings => '{"lock_timeout": "5 parsecs"}');
SELECT kafka_sink.alter_sink('a', settings => '{"delete_enabled": 1}');
SELECT kafka_sink.alter_sink('a', settings => '{"columns": []}');
SELECT kafka_sink.alter_sink('a', settings => '{"pk_fields": "id"}');
SELECT kafka_sink.alter_sink('a', settings => '{"pk_fields": [1]}');
SELECT kafka_sink.alter_sink('a', settings => '{"insert_mode": {}}');
SELECT kafka_sink.alter_sink('a', settings => '{"insert_mode": "upsrt"}');
SELECT kafka_sink.alter_sink('a', settings => '{"target": "no_such_table"}');
SELECT kafka_sink.alter_sink('a', settings => '[]');
SELECT kafka_sink.alter_sink('a', settings => '{}');
SELECT kafka_sink.alter_sink('a', workers => 3, settings => '{"workers": 4}');
SELECT kafka_sink.alter_sink('a', reset => '{workers}', settings => '{"workers": null}');
SELECT kafka_sink.create_sink('b', workers => 3, settings => '{"workers": 4}');
SELECT kafka_sink.create_sink('b', lock_timeout => '2000 ms', settings => '{"lock_timeout": "3 s", "insert_mode": null}', target => 't');
SELECT lock_timeout, insert_mode FROM s WHERE sink = 'b';

-- there already, not there any more
SELECT kafka_sink.create_sink('b', workers => 7, if_not_exists => true);
SELECT kafka_sink.create_sink('b', if_not_exists => NULL);
SELECT kafka_sink.register_topic('b', 'orders', if_not_exists => true);
SELECT kafka_sink.register_topic('b', 'orders', start_at => 'end', if_not_exists => true);
SELECT kafka_sink.register_topic('c', 'orders', if_not_exists => true);
SELECT kafka_sink.register_topic('b', 'lines', start_at => 'end');
SELECT kafka_sink.register_topic('b', 'payments', start_at => 'beginning');
SELECT topic, start_at FROM kafka_sink.sink_topics ORDER BY topic;
SELECT kafka_sink.unregister_topic('b', 'lines', if_exists => true);
SELECT kafka_sink.unregister_topic('b', 'lines', if_exists => true);
SELECT kafka_sink.unregister_topic('c', 'lines', if_exists => true);
SELECT kafka_sink.unregister_topic('c', 'lines');
SELECT kafka_sink.drop_sink('c', if_exists => true);
SELECT kafka_sink.drop_sink('b', if_exists => true);
SELECT kafka_sink.drop_sink('b', if_exists => NULL);

-- another name: everything of the sink goes with it, and nothing of one of that name before
SELECT kafka_sink.create_sink('new'), kafka_sink.seek('new', '{"x": {"0": 1}}');
SELECT kafka_sink.drop_sink('new');
SELECT kafka_sink.register_topic('a', 'orders');
SELECT kafka_sink.seek('a', '{"orders": {"0": 42, "1": 0}}');
INSERT INTO kafka_sink.topic_state (sink, topic, state, since) VALUES ('a', 'orders', 'halted', now());
INSERT INTO kafka_sink.partition_ends VALUES ('a', 'orders', 0, 0, 50, 50, now());
SELECT kafka_sink.ingest('a', ARRAY[ROW('orders', 0, 42, NULL, '1', '{"id": "x"}', NULL)::kafka_sink.record]);
SELECT kafka_sink.rename_sink('a', 'a');
SELECT kafka_sink.rename_sink('a', '');
SELECT kafka_sink.rename_sink('a', NULL);
SELECT kafka_sink.rename_sink('nope', 'new');
SELECT kafka_sink.rename_sink('a', 'new');
SELECT sink, topics, halted_topics, workers, altered_by = current_user AS altered FROM kafka_sink.sinks;
SELECT sink, topic, part, off, end_offset FROM kafka_sink.lag ORDER BY part;
SELECT sink, off, sqlstate FROM kafka_sink.dead_letters;
SELECT sink, action, topic FROM kafka_sink.offset_history ORDER BY id;
SELECT sink, action, old, new FROM kafka_sink.sink_history WHERE action NOT IN ('create_sink', 'alter_sink', 'drop_sink') ORDER BY id;
SELECT count(*) FROM kafka_sink.sink_history WHERE sink = 'a';
SELECT kafka_sink.pause('a');
SELECT kafka_sink.advance('new', 'orders', 0, 43, 44);

-- another owner
CREATE ROLE regress_ks_giver;
CREATE ROLE regress_ks_taker;
CREATE ROLE regress_ks_poor;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kafka_sink TO regress_ks_giver, regress_ks_taker;
GRANT SELECT, INSERT, UPDATE, DELETE ON t TO regress_ks_giver, regress_ks_taker;
SELECT kafka_sink.alter_sink('new', owner => 'regress_ks_nobody');
SELECT kafka_sink.alter_sink('new', owner => NULL);
SELECT kafka_sink.alter_sink('new', owner => 'regress_ks_poor');
SELECT kafka_sink.alter_sink('new', owner => 'regress_ks_giver');
SET ROLE regress_ks_giver;
SELECT sink, owner, topics FROM kafka_sink.sinks;
SELECT count(*) FROM kafka_sink.dead_letters;
SELECT kafka_sink.alter_sink('new', owner => 'regress_ks_taker');
RESET ROLE;
GRANT regress_ks_taker, regress_ks_poor TO regress_ks_giver;
REVOKE EXECUTE ON FUNCTION kafka_sink.create_sink FROM PUBLIC, regress_ks_taker;
GRANT ALL ON t TO regress_ks_poor;
SET ROLE regress_ks_giver;
SELECT kafka_sink.alter_sink('new', owner => 'regress_ks_taker');
RESET ROLE;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO regress_ks_taker;
SET ROLE regress_ks_giver;
SELECT kafka_sink.alter_sink('new', owner => 'regress_ks_taker', workers => 1);
RESET ROLE;
REVOKE regress_ks_taker FROM regress_ks_giver;
SET ROLE regress_ks_giver;
SELECT sink, owner FROM kafka_sink.sinks;
SELECT count(*) FROM kafka_sink.sink_history;
SET ROLE regress_ks_taker;
SELECT sink, owner, workers FROM kafka_sink.sinks;
SELECT topic, part, off FROM kafka_sink.txn_offsets ORDER BY part;
SELECT action, old, new, role FROM kafka_sink.sink_history WHERE new ? 'owner' AND action = 'alter_sink' ORDER BY id;
SELECT action, until_off FROM kafka_sink.offset_history ORDER BY id;
SELECT kafka_sink.drop_sink('new');
RESET ROLE;

DROP VIEW s;
DROP TABLE t;
DROP EXTENSION kafka_sink;
DROP ROLE regress_ks_giver, regress_ks_taker, regress_ks_poor;
