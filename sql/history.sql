-- Who has changed a sink, when, and how; and what stays when it is dropped.
CREATE EXTENSION kafka_sink;
CREATE ROLE regress_ks_maker;
CREATE ROLE regress_ks_helper IN ROLE regress_ks_maker;
CREATE ROLE regress_ks_stranger;
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE u (id int PRIMARY KEY, v text);
GRANT INSERT, UPDATE, SELECT ON t, u TO regress_ks_maker;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kafka_sink TO regress_ks_maker, regress_ks_stranger;
CREATE VIEW h AS SELECT sink, owner, action, topic, old, new, role, session_role = session_user AS mine FROM kafka_sink.sink_history ORDER BY id;
CREATE VIEW who AS SELECT sink, created_by, created_at IS NOT NULL AS created, altered_by, altered_at > created_at AS altered FROM kafka_sink.sinks;

-- names have their schema whatever the caller's search_path is, and intervals one form
SET ROLE regress_ks_maker;
SET IntervalStyle = iso_8601;
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"v": null}', lock_timeout => '90 s');
RESET ROLE;
TABLE who;
SET ROLE regress_ks_helper;
SELECT kafka_sink.alter_sink('s', target => 'u', insert_mode => 'upsert', reset => '{columns,workers}');
SELECT kafka_sink.register_topic('s', 'orders', partitions => '0-3');
SELECT kafka_sink.alter_topic('s', 'orders', target => 't', filter => 'id > 0');
SELECT kafka_sink.alter_topic('s', 'orders', filter => 'id > 0');
SELECT kafka_sink.pause('s');
SELECT kafka_sink.pause('s');
SELECT kafka_sink.resume('s', 'orders');
SELECT kafka_sink.resume('s');
SELECT kafka_sink.unregister_topic('s', 'orders');
RESET ROLE;
TABLE who;
-- what was refused, or rolled back, is not there
SELECT kafka_sink.alter_sink('s', workers => 0);
BEGIN;
SELECT kafka_sink.alter_sink('s', workers => 2);
ROLLBACK;
SELECT kafka_sink.drop_sink('s');
SELECT sink, owner, action, topic, new, role, mine FROM h WHERE action NOT LIKE '%create%';
SELECT action, old FROM h WHERE action NOT IN ('create_sink', 'drop_sink', 'pause', 'resume');
SELECT s.key, s.value AS created, d.value AS dropped
  FROM (SELECT j.* FROM h, jsonb_each(new) j WHERE action = 'create_sink') s
  FULL JOIN (SELECT j.* FROM h, jsonb_each(old) j WHERE action = 'drop_sink') d USING (key)
 WHERE s.value IS DISTINCT FROM d.value OR key IN ('target', 'columns', 'lock_timeout', 'owner') ORDER BY key;

-- who sees it: who would see the sink
SET ROLE regress_ks_helper;
SELECT count(*) > 5 FROM kafka_sink.sink_history;
SET ROLE regress_ks_stranger;
SELECT count(*) FROM kafka_sink.sink_history;
DELETE FROM kafka_sink.sink_history;
RESET ROLE;

DROP VIEW h, who;
DROP TABLE t, u;
DROP EXTENSION kafka_sink;
DROP ROLE regress_ks_maker, regress_ks_helper, regress_ks_stranger;
