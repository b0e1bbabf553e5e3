-- What is dropped that sinks need: tables, servers, owners
SET client_min_messages = warning;
CREATE EXTENSION kafka_sink;
CREATE ROLE regress_ks_needs LOGIN;
CREATE ROLE regress_ks_heir LOGIN;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC;
CREATE SCHEMA regress_ks_needs AUTHORIZATION regress_ks_needs;
CREATE SERVER regress_ks_needs FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
GRANT USAGE ON FOREIGN SERVER regress_ks_needs TO regress_ks_needs, regress_ks_heir;
SET ROLE regress_ks_needs;
CREATE TABLE regress_ks_needs.a (id int PRIMARY KEY);
CREATE TABLE regress_ks_needs."B b" (id int PRIMARY KEY);
CREATE TABLE regress_ks_needs.c (id int PRIMARY KEY);
CREATE TABLE regress_ks_needs.unused (id int PRIMARY KEY);
SELECT kafka_sink.create_sink('first', target => 'regress_ks_needs.a', on_error => 'dead_letter');
SELECT kafka_sink.create_sink('second', server => 'regress_ks_needs', target => 'regress_ks_needs.a', enabled => false);
SELECT kafka_sink.register_topic('second', 't1');
SELECT kafka_sink.register_topic('second', 't2', target => 'regress_ks_needs."B b"');
RESET ROLE;

-- tables
BEGIN;
DROP TABLE regress_ks_needs.a;
DROP TABLE regress_ks_needs."B b", regress_ks_needs.unused;
ROLLBACK;
BEGIN;
DROP SCHEMA regress_ks_needs CASCADE;
ROLLBACK;
DROP TABLE regress_ks_needs.unused;
CREATE TEMP TABLE a (id int);
DROP TABLE a;
-- once, also where it is taken back, and not what is only changed
DO $$
BEGIN
    BEGIN
        DROP TABLE regress_ks_needs.a;
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    ALTER TABLE regress_ks_needs.a ADD COLUMN note text;
    ALTER TABLE regress_ks_needs.a DROP COLUMN note;
END$$;
DO $$BEGIN EXECUTE 'DROP TABLE regress_ks_needs.c'; END$$;

-- servers
BEGIN;
DROP SERVER regress_ks_needs;
ROLLBACK;

-- owners
DROP SCHEMA regress_ks_needs CASCADE;
REVOKE USAGE ON FOREIGN SERVER regress_ks_needs FROM regress_ks_needs;
DROP ROLE regress_ks_needs;
DO $$BEGIN DROP ROLE regress_ks_needs; EXCEPTION WHEN dependent_objects_still_exist THEN RAISE WARNING 'refused'; END$$;
DROP ROLE IF EXISTS regress_ks_needs, regress_ks_nobody;
SELECT sink, owner FROM kafka_sink.sinks ORDER BY sink;
ALTER ROLE regress_ks_needs RENAME TO regress_ks_renamed;
SELECT sink, owner FROM kafka_sink.sinks ORDER BY sink;
ALTER ROLE regress_ks_renamed RENAME TO regress_ks_needs;
SELECT kafka_sink.seek('second', '{"t1": {"0": 10}}');
SELECT sum(generation) AS generations FROM kafka_sink.sink_catalog \gset
INSERT INTO kafka_sink.ddl_history (sink, owner, topic, part, off, statement, role)
VALUES ('second', 'regress_ks_needs', 't1', 0, 0, 'ALTER TABLE t ADD c int', 'regress_ks_needs');
REASSIGN OWNED BY regress_ks_needs TO regress_ks_heir;
SELECT sink, owner FROM kafka_sink.sinks ORDER BY sink;
SELECT sum(generation) - :generations AS changed FROM kafka_sink.sink_catalog;
SELECT sink, owner, action FROM kafka_sink.offset_history;
SELECT sink, owner, role FROM kafka_sink.ddl_history;
SELECT sink, owner, action, old, new FROM kafka_sink.sink_history WHERE action = 'REASSIGN OWNED' ORDER BY id;
DROP ROLE regress_ks_needs;

-- by somebody who may not
CREATE ROLE regress_ks_other;
SET ROLE regress_ks_other;
\set VERBOSITY terse
REASSIGN OWNED BY regress_ks_heir TO regress_ks_other;
DROP OWNED BY regress_ks_heir;
\set VERBOSITY default
RESET ROLE;
SELECT sink, owner FROM kafka_sink.sinks ORDER BY sink;

BEGIN;
SET LOCAL client_min_messages = notice;
DROP OWNED BY regress_ks_heir, regress_ks_other;
SELECT sink FROM kafka_sink.sinks;
SELECT sink FROM kafka_sink.txn_offsets;
ROLLBACK;
SELECT sink FROM kafka_sink.sinks ORDER BY sink;
DROP OWNED BY regress_ks_heir;
SELECT sink FROM kafka_sink.sinks;
SELECT sink, owner, action FROM kafka_sink.sink_history WHERE action = 'DROP OWNED' ORDER BY id;
DROP ROLE regress_ks_heir, regress_ks_other;

-- all of it goes together, without a word
CREATE TABLE a (id int);
CREATE TABLE b (id int);
SELECT kafka_sink.create_sink('last', server => 'regress_ks_needs', target => 'a', enabled => false);
-- nor does an extension that is not in order keep anybody from anything
ALTER SCHEMA kafka_sink RENAME TO regress_ks_renamed;
DROP TABLE b;
ALTER SCHEMA regress_ks_renamed RENAME TO kafka_sink;
DROP EXTENSION kafka_sink CASCADE;
DROP TABLE a;
