-- Rows of txn_offsets are moved without a statement where that does the same, and
-- by one where somebody has added to the table what only a statement heeds.
CREATE EXTENSION kafka_sink;
CREATE VIEW o AS SELECT part, off, last_off, consumed, applied, gaps, updated_at = now() AS now
  FROM kafka_sink.txn_offsets WHERE topic = 't' ORDER BY part;
-- moves the row of a partition, or says what an error says
CREATE FUNCTION step(part int, n bigint DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE at bigint := (SELECT t.off FROM kafka_sink.txn_offsets t WHERE t.part = step.part AND topic = 't');
BEGIN
    PERFORM kafka_sink.advance('l', 't', part, at, at + n);
    RETURN format('from %s to %s', at, (SELECT t.off FROM kafka_sink.txn_offsets t WHERE t.part = step.part AND topic = 't'));
EXCEPTION WHEN OTHERS THEN
    RETURN format('%s %s', SQLSTATE, SQLERRM);
END$$;
-- by a statement, from here on: there is a trigger that might change the row
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE PROCEDURE by_statement(yes bool) LANGUAGE plpgsql AS $$
BEGIN
    IF yes THEN
        CREATE TRIGGER keep BEFORE UPDATE ON kafka_sink.txn_offsets FOR EACH ROW EXECUTE FUNCTION keep();
    ELSE
        DROP TRIGGER keep ON kafka_sink.txn_offsets;
    END IF;
END$$;

SELECT kafka_sink.create_sink('l');
SELECT kafka_sink.claim('l', '{"t": {"0": [0, 5], "1": [0, 5], "2": [0, 5]}}');
BEGIN;
SELECT step(0, 7);
TABLE o;
COMMIT;

-- triggers of every kind: rows with and without a condition, columns, statements
-- with transition tables, deferrable ones
CREATE TABLE seen (n serial, trigger text, part int, detail text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF tg_level = 'ROW' THEN
        INSERT INTO public.seen VALUES (DEFAULT, tg_name, new.part, format('%s..%s of %s', old.off, new.off, new.topic));
    ELSE
        INSERT INTO public.seen VALUES (DEFAULT, tg_name, NULL, tg_when);
    END IF;
    RETURN NULL;
END$$;
CREATE FUNCTION see_tables() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.seen SELECT nextval('public.seen_n_seq'), tg_name, o.part, format('%s..%s', o.off, n.off)
      FROM old_rows o JOIN new_rows n USING (sink, topic, part) ORDER BY part;
    RETURN NULL;
END$$;
CREATE TRIGGER a_when AFTER UPDATE ON kafka_sink.txn_offsets FOR EACH ROW WHEN (new.off - old.off > 2) EXECUTE FUNCTION see();
CREATE TRIGGER b_of AFTER UPDATE OF off ON kafka_sink.txn_offsets FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER c_of_other AFTER UPDATE OF start_off, topic_id ON kafka_sink.txn_offsets FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER d_before BEFORE UPDATE ON kafka_sink.txn_offsets FOR EACH STATEMENT EXECUTE FUNCTION see();
CREATE TRIGGER e_after AFTER UPDATE ON kafka_sink.txn_offsets FOR EACH STATEMENT EXECUTE FUNCTION see();
CREATE TRIGGER f_tables AFTER UPDATE ON kafka_sink.txn_offsets REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION see_tables();
CREATE TRIGGER g_tables AFTER UPDATE ON kafka_sink.txn_offsets REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH ROW EXECUTE FUNCTION see_tables();
CREATE CONSTRAINT TRIGGER h_deferrable AFTER UPDATE ON kafka_sink.txn_offsets DEFERRABLE
    FOR EACH ROW EXECUTE FUNCTION see();
CREATE TRIGGER i_off AFTER UPDATE ON kafka_sink.txn_offsets FOR EACH ROW EXECUTE FUNCTION see();
ALTER TABLE kafka_sink.txn_offsets DISABLE TRIGGER i_off;
BEGIN;
SELECT kafka_sink.claim('l', '{"t": {"1": [5, 6], "2": [5, 8]}}');
INSERT INTO seen (trigger) VALUES ('-- the end');
COMMIT;
CREATE TABLE seen_then AS SELECT row_number() OVER (ORDER BY n), trigger, part, detail FROM seen;
SELECT trigger, part, detail FROM seen_then ORDER BY row_number;
-- the same by the statement
UPDATE kafka_sink.txn_offsets SET off = 5, consumed = 5 WHERE part > 0;
TRUNCATE seen;
CALL by_statement(true);
BEGIN;
SELECT kafka_sink.claim('l', '{"t": {"1": [5, 6], "2": [5, 8]}}');
INSERT INTO seen (trigger) VALUES ('-- the end');
COMMIT;
CALL by_statement(false);
SELECT count(*) = (SELECT count(*) FROM seen_then) AS as_many, count(*) FILTER (WHERE s IS DISTINCT FROM t) AS differ
  FROM (SELECT row_number() OVER (ORDER BY n), trigger, part, detail FROM seen) s JOIN seen_then t USING (row_number);
-- deferred ones would run later as whoever commits
CREATE CONSTRAINT TRIGGER j_deferred AFTER UPDATE ON kafka_sink.txn_offsets DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION see();
\set SHOW_CONTEXT never
SELECT kafka_sink.claim('l', '{"t": {"1": [6, 7]}}');
CALL by_statement(true);
SELECT kafka_sink.claim('l', '{"t": {"1": [6, 7]}}');
CALL by_statement(false);
\unset SHOW_CONTEXT
DROP TRIGGER j_deferred ON kafka_sink.txn_offsets;
SELECT off FROM kafka_sink.txn_offsets WHERE part = 1;
-- where a replica applies changes, they do not fire
TRUNCATE seen;
SET session_replication_role = replica;
SELECT step(1);
RESET session_replication_role;
TABLE seen;
DO $$DECLARE t name;
BEGIN
    FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'kafka_sink.txn_offsets'::regclass AND NOT tgisinternal LOOP
        EXECUTE format('DROP TRIGGER %I ON kafka_sink.txn_offsets', t);
    END LOOP;
END$$;
-- one that changes the row that was moved, so that it is not where it was
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE kafka_sink.txn_offsets SET topic_id = '00000000-0000-0000-0000-000000000001' WHERE (sink, topic, part) = (new.sink, new.topic, new.part);
    RETURN NULL;
END$$;
CREATE TRIGGER touch AFTER UPDATE ON kafka_sink.txn_offsets FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION touch();
BEGIN;
SELECT step(1), step(1), step(1);
ROLLBACK;
SELECT step(1), step(1);
SELECT part, topic_id FROM kafka_sink.txn_offsets ORDER BY part;
DROP TRIGGER touch ON kafka_sink.txn_offsets;
-- one that does so in the last moment before: once, and each time
CREATE FUNCTION touch_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE kafka_sink.txn_offsets SET topic_id = tg_argv[0]::uuid WHERE topic_id IS DISTINCT FROM tg_argv[0]::uuid OR tg_nargs > 1;
    RETURN NULL;
END$$;
CREATE TRIGGER touch BEFORE UPDATE ON kafka_sink.txn_offsets FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION touch_first('00000000-0000-0000-0000-000000000002');
SELECT step(1), step(1);
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON kafka_sink.txn_offsets FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION touch_first('00000000-0000-0000-0000-000000000003', 'always');
SELECT step(1);
DROP TRIGGER touch ON kafka_sink.txn_offsets;
SELECT part, off, topic_id FROM kafka_sink.txn_offsets ORDER BY part;

-- constraints that somebody added, and numbers that end
ALTER TABLE kafka_sink.txn_offsets ADD CONSTRAINT small CHECK (off < 1000);
SELECT step(0, 5000);
ALTER TABLE kafka_sink.txn_offsets DROP CONSTRAINT small;
UPDATE kafka_sink.txn_offsets SET consumed = 9223372036854775807 WHERE part = 2;
SELECT step(2);
UPDATE kafka_sink.txn_offsets SET consumed = off WHERE part = 2;

-- in each isolation level, after a part of a transaction that was taken back, and
-- where nothing may be written
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT step(0), step(0);
SAVEPOINT s;
SELECT step(0, 100), step(1, 100);
ROLLBACK TO s;
SELECT step(0), step(1);
COMMIT;
BEGIN READ ONLY;
SELECT step(0);
COMMIT;
-- so many in one transaction that rows leave their pages
DO $$BEGIN PERFORM step(i % 3) FROM generate_series(1, 600) i; END$$;
SET enable_seqscan = off;
SELECT part, count(*), max(off) FROM kafka_sink.txn_offsets WHERE sink = 'l' AND topic = 't' AND part BETWEEN 0 AND 2 GROUP BY part ORDER BY part;
-- nobody can make a row twice
INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off) VALUES ('l', 't', 1, 0, 0);
INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off) VALUES ('l', 't', 1, 0, 0) ON CONFLICT DO NOTHING;

-- indexes of every kind
CREATE INDEX moves_off ON kafka_sink.txn_offsets (off DESC) INCLUDE (consumed);
CREATE UNIQUE INDEX moves_unique ON kafka_sink.txn_offsets (part, off);
SELECT step(0), step(0);
SELECT count(*) FROM kafka_sink.txn_offsets t WHERE off = (SELECT off FROM o WHERE part = 0);
INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off) SELECT 'l', 'other', 0, off + 10, 0 FROM o WHERE part = 0;
SELECT step(0, 10) ~ '^23505 .*moves_unique';
SELECT step(0, 11) ~ '^from';
CREATE INDEX moves_even ON kafka_sink.txn_offsets (topic) WHERE off % 2 = 0;
CREATE INDEX moves_text ON kafka_sink.txn_offsets ((off::text));
CREATE INDEX moves_hash ON kafka_sink.txn_offsets USING hash (off);
CREATE INDEX moves_brin ON kafka_sink.txn_offsets USING brin (updated_at);
SELECT step(1) ~ '^from', step(1) ~ '^from';
SELECT (SELECT count(*) FROM kafka_sink.txn_offsets t WHERE t.off::text = o.off::text AND t.part = 1) AS by_expression,
       (SELECT count(*) FROM kafka_sink.txn_offsets t WHERE t.off = o.off AND t.part = 1) AS by_hash
  FROM o WHERE part = 1;
DROP INDEX kafka_sink.moves_off, kafka_sink.moves_unique, kafka_sink.moves_even, kafka_sink.moves_text, kafka_sink.moves_hash, kafka_sink.moves_brin;
RESET enable_seqscan;

-- columns, rules, children
ALTER TABLE kafka_sink.txn_offsets ADD note text DEFAULT 'x', ADD gone int DEFAULT 5;
ALTER TABLE kafka_sink.txn_offsets DROP gone;
SELECT step(0) ~ '^from';
ALTER TABLE kafka_sink.txn_offsets ADD twice bigint GENERATED ALWAYS AS (off * 2) STORED;
SELECT step(0) ~ '^from';
SELECT part, note, twice = off * 2 AS twice FROM kafka_sink.txn_offsets WHERE topic = 't' ORDER BY part;
ALTER TABLE kafka_sink.txn_offsets DROP twice, DROP note;
ALTER TABLE kafka_sink.txn_offsets ALTER topic_id TYPE text;
SELECT step(0) ~ '^from';
ALTER TABLE kafka_sink.txn_offsets ALTER topic_id TYPE uuid USING topic_id::uuid;
CREATE RULE stay AS ON UPDATE TO kafka_sink.txn_offsets WHERE new.part = 0 DO INSTEAD NOTHING;
SELECT step(0) ~ '^0A000';
DROP RULE stay ON kafka_sink.txn_offsets;
CREATE TABLE child () INHERITS (kafka_sink.txn_offsets);
SELECT step(0) ~ '^from';
-- what is read is read by statements, too
CREATE FUNCTION read_and_seek() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE known jsonb := kafka_sink.starting_offsets('l', 'spark');
BEGIN
    RETURN NEXT known = (SELECT jsonb_object_agg(topic, rows) FROM (SELECT topic, jsonb_object_agg(part, off) AS rows FROM kafka_sink.txn_offsets GROUP BY topic) t);
    PERFORM kafka_sink.seek('l', '{"t": {"2": 3, "3": 4}}');
    RETURN QUERY SELECT format('%s from %s to %s', part, from_off, until_off) FROM kafka_sink.offset_history WHERE id > (SELECT max(id) - 2 FROM kafka_sink.offset_history) ORDER BY part;
    DELETE FROM kafka_sink.txn_offsets WHERE part = 3;
    UPDATE kafka_sink.txn_offsets SET off = 1000, consumed = 1000 - start_off WHERE part = 2;
END$$;
UPDATE kafka_sink.txn_offsets SET off = 1000 WHERE part = 2;
SELECT read_and_seek();
DROP TABLE child;
-- (which is noticed then)
ANALYZE kafka_sink.txn_offsets;
-- what is published must be known by its key
SET client_min_messages = error;
CREATE PUBLICATION regress_ks_pub FOR TABLE kafka_sink.txn_offsets;
RESET client_min_messages;
SELECT step(0) ~ '^from';
ALTER TABLE kafka_sink.txn_offsets REPLICA IDENTITY NOTHING;
SELECT step(0);
DROP PUBLICATION regress_ks_pub;
-- a key that is another one, or holds at the end only, and none
ALTER TABLE kafka_sink.txn_offsets DROP CONSTRAINT txn_offsets_pkey, ADD PRIMARY KEY (topic, part, sink);
SELECT step(0) ~ '^from', step(0) ~ '^from';
SELECT read_and_seek();
ALTER TABLE kafka_sink.txn_offsets DROP CONSTRAINT txn_offsets_pkey, ADD PRIMARY KEY (sink, topic, part) DEFERRABLE;
SELECT step(0) ~ '^from', step(0) ~ '^from';
ALTER TABLE kafka_sink.txn_offsets DROP CONSTRAINT txn_offsets_pkey;
SELECT step(0) ~ '^from', step(0) ~ '^from';
SELECT part, consumed + gaps = off - start_off AS adds_up FROM kafka_sink.txn_offsets WHERE topic = 't' AND part < 2 ORDER BY part;

SELECT kafka_sink.drop_sink('l');
DROP VIEW o;
DROP TABLE seen, seen_then;
DROP FUNCTION step, keep, see, see_tables, touch, touch_first, read_and_seek;
DROP PROCEDURE by_statement;
DROP EXTENSION kafka_sink;
