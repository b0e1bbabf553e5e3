-- Records that fail and that others of the batch might cure: which of them are tried
-- beside the others, and which record is told.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set VERBOSITY terse
\set SHOW_CONTEXT always
CREATE FUNCTION r(topic text, value text, key text DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(topic, 0, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION rs(VARIADIC v text[]) RETURNS kafka_sink.record[] LANGUAGE sql AS
$$SELECT array_agg(r('t', x) ORDER BY i) FROM unnest(v) WITH ORDINALITY u (x, i)$$;
-- what was refused, and why
CREATE VIEW letters AS SELECT convert_from(value, 'UTF8') AS value, sqlstate FROM kafka_sink.dead_letters ORDER BY id;
CREATE FUNCTION forget() RETURNS void LANGUAGE sql AS 'DELETE FROM kafka_sink.dead_letters';

-- keys of types whose bytes tell that they are equal, of others, and of two types
CREATE FUNCTION keyed(type text, referring text, VARIADIC v text[]) RETURNS TABLE (ids text, dead text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE keyed (id %s PRIMARY KEY, parent %s REFERENCES keyed, n int CHECK (n < 100))', type, referring);
    PERFORM kafka_sink.create_sink('keyed', target => 'keyed', on_error => 'dead_letter');
    PERFORM kafka_sink.ingest('keyed', rs(VARIADIC v));
    SELECT string_agg(id::text, ' ' ORDER BY id) INTO ids FROM keyed;
    SELECT string_agg(value || ' ' || sqlstate, ', ') INTO dead FROM letters;
    PERFORM kafka_sink.drop_sink('keyed'), forget();
    DROP TABLE keyed;
    RETURN NEXT;
END$$;
SELECT t.type, t.referring, k.* FROM (VALUES ('int', 'int'), ('bigint', 'int'), ('text', 'text'), ('text', 'varchar'), ('numeric', 'numeric'), ('numeric', 'int')) AS t (type, referring),
    keyed(type, referring, '{"id": 1, "parent": 2}', '{"id": 3, "parent": 9}', '{"id": 2}', '{"id": 4, "n": 1000}', '{"id": 5, "parent": 4}') k;
SELECT * FROM keyed('numeric', 'numeric', '{"id": 1, "parent": 2.00}', '{"id": 3, "parent": 2.01}', '{"id": 2}', '{"id": 4, "n": 1000}');
SELECT * FROM keyed('date', 'timestamp', '{"id": "2026-01-01", "parent": "2026-01-02"}', '{"id": "2026-01-03", "parent": "2026-01-02 12:00"}', '{"id": "2026-01-02"}');
-- half of a key, which refers to nothing
CREATE TABLE halves (a int, b int, c int, d int, PRIMARY KEY (a, b), FOREIGN KEY (c, d) REFERENCES halves MATCH FULL);
SELECT kafka_sink.create_sink('halves', target => 'halves', on_error => 'dead_letter');
SELECT applied, dead_lettered FROM kafka_sink.ingest('halves', rs('{"a": 1, "b": 1, "c": 2, "d": 2}', '{"a": 3, "b": 3, "c": 2}', '{"a": 4, "b": 4}', '{"a": 2, "b": 2}'));
TABLE halves ORDER BY a;
TABLE letters;
SELECT forget(), kafka_sink.drop_sink('halves');
DROP TABLE halves;

-- a change of a row that a suspect would have written: by another topic's records
CREATE FUNCTION change(topic text, body jsonb) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT r(topic, jsonb_build_object('op', 'u', 'after', body)::text, jsonb_build_object('id', body -> 'id')::text)$$;
CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE, w text, n int CHECK (n < 100));
INSERT INTO t VALUES (1, 'a');
SELECT kafka_sink.create_sink('t', insert_mode => 'upsert', on_error => 'dead_letter', envelope => 'debezium');
SELECT kafka_sink.register_topic('t', 'a', target => 't'), kafka_sink.register_topic('t', 'b', target => 't');
SELECT applied, dead_lettered FROM kafka_sink.ingest('t', ARRAY[change('a', '{"id": 4, "v": "a", "w": "x"}'), change('a', '{"id": 9}'), change('a', '{"id": 1, "v": "b"}'),
    change('b', '{"id": 4, "v": "c", "w": "__debezium_unavailable_value"}'), change('b', '{"id": 5, "n": 1000}')]);
TABLE t ORDER BY id;
TABLE letters;
SELECT forget(), kafka_sink.drop_sink('t');
-- and where a record need not have its key
CREATE FUNCTION next_id() RETURNS int STABLE LANGUAGE sql AS 'SELECT coalesce(max(id), 0) + 1 FROM public.t';
ALTER TABLE t ALTER id SET DEFAULT next_id();
TRUNCATE t;
INSERT INTO t VALUES (1, 'a');
SELECT kafka_sink.create_sink('t', target => 't', insert_mode => 'upsert', on_error => 'dead_letter', envelope => 'debezium');
SELECT applied, dead_lettered FROM kafka_sink.ingest('t', ARRAY[change('a', '{"id": 4, "v": "a", "w": "x"}'), change('a', '{"v": "e"}'), change('a', '{"id": 1, "v": "b"}'),
    change('a', '{"id": 4, "v": "c", "w": "__debezium_unavailable_value"}'), change('a', '{"id": 5, "n": 1000}')]);
TABLE t ORDER BY id;
TABLE letters;
SELECT forget(), kafka_sink.drop_sink('t');
DROP TABLE t;
DROP FUNCTION change, next_id;

-- where the batch stops behind a suspect: of several topics, one of which has no records
CREATE TABLE parents (id int PRIMARY KEY, next int REFERENCES parents, n int CHECK (n < 100));
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, n int CHECK (n < 100));
CREATE TABLE others (id int);
SELECT kafka_sink.create_sink('several', on_error => 'dead_letter');
SELECT kafka_sink.register_topic('several', 'c', target => 'children'), kafka_sink.register_topic('several', 'p', target => 'parents'), kafka_sink.register_topic('several', 'o', target => 'others');
SELECT applied, dead_lettered FROM kafka_sink.ingest('several', ARRAY[r('c', '{"id": 1, "parent": 1}'), r('p', '{"id": 1, "next": 3}'), r('p', '{"id": 2, "next": 9}'), r('p', '{"id": 3}'), r('p', '{"id": 4, "n": 1000}'), r('c', '{"id": 2, "parent": 2}')]);
TABLE letters;
SELECT forget();
TRUNCATE parents, children;
\set VERBOSITY default
SELECT kafka_sink.alter_sink('several', on_error => 'stop');
-- there is nothing that it might need: it is to blame
SELECT kafka_sink.ingest('several', ARRAY[r('c', '{"id": 1, "n": 1000}'), r('p', '{"id": 1, "next": 9}')]);
-- that record might be the row that it needs, and is, or is not, as far as is known of two types
SELECT kafka_sink.ingest('several', ARRAY[r('p', '{"id": 1, "next": 9}'), r('p', '{"id": 9, "n": 1000}'), r('c', '{"id": 1}')]);
ALTER TABLE parents ALTER id TYPE bigint;
SELECT kafka_sink.ingest('several', ARRAY[r('p', '{"id": 1, "next": 9}'), r('p', '{"id": 8, "n": 1000}'), r('c', '{"id": 1}')]);
-- one of another table is not
SELECT kafka_sink.ingest('several', ARRAY[r('c', '{"id": 1, "n": 1000}'), r('p', '{"id": 1, "next": 9}'), r('p', '{"id": 9, "next": 8}')]);
\set VERBOSITY terse
SELECT kafka_sink.drop_sink('several');
DROP TABLE children, parents, others;
-- a partition of what is referred to
CREATE TABLE parents (region text, id int, n int CHECK (n < 100), PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE parents_eu PARTITION OF parents FOR VALUES IN ('eu');
CREATE TABLE children (region text, parent int, n int CHECK (n < 100), FOREIGN KEY (region, parent) REFERENCES parents);
SELECT kafka_sink.create_sink('several', on_error => 'dead_letter', reject_limit => '1');
SELECT kafka_sink.register_topic('several', 'p', target => 'parents_eu'), kafka_sink.register_topic('several', 'c', target => 'children');
\set VERBOSITY default
SELECT kafka_sink.ingest('several', ARRAY[r('p', '{"region": "eu", "id": 9, "n": 1000}'), r('c', '{"region": "eu", "parent": 9}'), r('c', '{"region": "eu", "parent": 9, "n": 1000}'), r('c', '{"region": "eu"}')]);
\set VERBOSITY terse
SELECT kafka_sink.drop_sink('several');
DROP TABLE children, parents;
-- where the rest is written in the order of the log: what is known to need a row behind the stop is not refused
CREATE TABLE v (id int PRIMARY KEY, v text UNIQUE, parent int REFERENCES v, n int CHECK (n < 100));
CREATE TABLE apart (id int PRIMARY KEY);
INSERT INTO v VALUES (5, 'a', NULL), (6, 'f', NULL), (7, 'g', 6);
SELECT kafka_sink.create_sink('v', insert_mode => 'upsert', delete_enabled => true, on_error => 'stop');
SELECT kafka_sink.register_topic('v', 'v', target => 'v'), kafka_sink.register_topic('v', 'a', target => 'apart');
\set VERBOSITY default
SELECT kafka_sink.ingest('v', ARRAY[r('v', '{"id": 5, "v": "b"}'), r('v', '{"id": 1, "v": "a", "parent": 9}'), r('v', '{"id": 2, "n": 1000}'), r('v', '{"id": 9}')]);
-- a delete might, or what refers to another type
SELECT kafka_sink.ingest('v', ARRAY[r('v', '{"id": 5, "v": "b"}'), r('v', '{"id": 1, "v": "a"}'), r('v', NULL, '6'), r('v', '{"id": 2, "n": 1000}'), r('v', '{"id": 7}')]);
ALTER TABLE v ALTER id TYPE bigint;
SELECT kafka_sink.ingest('v', ARRAY[r('v', '{"id": 5, "v": "b"}'), r('v', '{"id": 1, "v": "a", "parent": 9}'), r('v', '{"id": 2, "n": 1000}'), r('v', '{"id": 9}')]);
\set VERBOSITY terse
SELECT kafka_sink.drop_sink('v');
DROP TABLE v, apart;

-- what passes by itself in the middle of a trial ends it, and all that it has written: by what an AFTER trigger
-- says beside the others, and by what another says of a row that is written for others
CREATE TABLE watched (id int PRIMARY KEY, parent int REFERENCES watched);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE ids int[] = (SELECT array_agg(id) FROM public.watched);
BEGIN
    IF new.id = 2 AND 1 = ANY (ids) THEN RAISE 'come again' USING ERRCODE = '40001'; END IF;
    IF new.id = 124 AND 140 = ANY (ids) AND 120 <> ALL (ids) THEN RAISE 'come again' USING ERRCODE = '40001'; END IF;
    RETURN new;
END$$;
SELECT kafka_sink.create_sink('watched', target => 'watched', on_error => 'dead_letter');
CREATE FUNCTION passes(VARIADIC v text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN kafka_sink.ingest('watched', rs(VARIADIC v))::text;
EXCEPTION WHEN serialization_failure THEN
    RETURN concat_ws(' ', sqlstate, (SELECT count(*) FROM public.watched), (SELECT count(*) FROM letters),
        'and then', kafka_sink.ingest('watched', rs('{"id": 3, "parent": 4}', '{"id": 4}', '{"id": 5, "parent": 99}')));
END$$;
CREATE TRIGGER "After" AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch();
SELECT passes('{"id": 1, "parent": 98}', '{"id": 2, "parent": 99}');
TABLE watched ORDER BY id;
TABLE letters;
SELECT forget();
TRUNCATE watched;
DROP TRIGGER "After" ON watched;
CREATE TRIGGER before BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch();
SELECT passes(VARIADIC array_agg(format('{"id": %s, "parent": 99}', i) ORDER BY i)) FROM generate_series(100, 163) i;
TABLE watched ORDER BY id;
TABLE letters;
-- without that they are all refused
DROP TRIGGER before ON watched;
SELECT passes(VARIADIC array_agg(format('{"id": %s, "parent": 99}', i) ORDER BY i)) FROM generate_series(100, 163) i;
SELECT kafka_sink.drop_sink('watched');
DROP TABLE watched;

DROP VIEW letters;
DROP FUNCTION r, rs, forget, keyed, watch, passes;
DROP EXTENSION kafka_sink;
