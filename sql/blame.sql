-- Whose fault an error is, and which record is to blame.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
\set VERBOSITY terse
\set SHOW_CONTEXT always
CREATE FUNCTION r(value text, key text DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION rs(VARIADIC v text[]) RETURNS kafka_sink.record[] LANGUAGE sql AS
$$SELECT array_agg(r(x) ORDER BY i) FROM unnest(v) WITH ORDINALITY u (x, i)$$;
-- what is left over, and why
CREATE VIEW letters AS SELECT convert_from(value, 'UTF8') AS value, sqlstate, message, column_name FROM kafka_sink.dead_letters ORDER BY id;
CREATE FUNCTION forget() RETURNS void LANGUAGE sql AS 'DELETE FROM kafka_sink.dead_letters';

-- what is raised while a record is converted is the record's, whatever its class
CREATE FUNCTION valid(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF $1 ~ '^[A-Z0-9]{5}$' THEN RAISE 'no such geometry' USING ERRCODE = $1; END IF;
    RETURN true;
END$$;
CREATE DOMAIN shape AS text CHECK (public.valid(VALUE));
CREATE TYPE pair AS (a shape, b regtype);
CREATE TABLE t (id int PRIMARY KEY, v tsvector, q tsquery, p jsonpath, c regclass, y regtype, f regprocedure, s shape, ss shape[], pr pair, prs pair[]);
SELECT kafka_sink.create_sink('t', target => 't', on_error => 'dead_letter');
CREATE FUNCTION bad() RETURNS kafka_sink.record[] LANGUAGE sql AS
$$SELECT rs('{"id": 1}', '{"id": 2, "v": "''"}', '{"id": 3, "q": "a b"}', '{"id": 4, "p": "$.."}', '{"id": 5, "c": "no_such_table"}', '{"id": 6, "y": "no_such_type"}',
    '{"id": 7, "f": "no_such_function()"}', '{"id": 8, "s": "XX000"}', '{"id": 9, "ss": ["XX000"]}', '{"id": 10, "pr": {"a": "42P01"}}', '{"id": 11, "prs": [{"b": "no_such_type"}]}',
    '{"id": 12, "s": "MY001"}', '{"id": 13, "c": "a.b.c.d"}', '{"id": 14, "s": "0A000"}', '{"id": 15, "s": "good"}')$$;
SELECT applied, dead_lettered FROM kafka_sink.ingest('t', bad());
TABLE letters;
SELECT forget();
-- by every way to write
CREATE FUNCTION by(mode text) RETURNS TABLE (applied bigint, dead bigint, ids text) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE t;
    PERFORM kafka_sink.alter_sink('t', insert_mode => mode);
    SELECT b.applied, b.dead_lettered INTO applied, dead FROM kafka_sink.ingest('t', bad()) b;
    SELECT string_agg(id::text, ' ' ORDER BY id) INTO ids FROM t;
    RETURN NEXT;
END$$;
SELECT m, by.* FROM unnest('{insert,ignore,upsert,update}'::text[]) WITH ORDINALITY u (m, i), by(m) ORDER BY i;
SET kafka_sink.fast_path = off;
SELECT m, by.* FROM unnest('{insert,ignore,upsert,update}'::text[]) WITH ORDINALITY u (m, i), by(m) ORDER BY i;
RESET kafka_sink.fast_path;
SELECT forget();
SELECT kafka_sink.alter_sink('t', insert_mode => 'insert', on_error => 'ignore');
TRUNCATE t;
SELECT applied, ignored FROM kafka_sink.ingest('t', bad());
SELECT kafka_sink.alter_sink('t', on_error => 'stop');
SELECT kafka_sink.ingest('t', rs('{"id": 20}', '{"id": 21, "c": "no_such_table"}'));
-- into a command, and its filter
SELECT kafka_sink.create_sink('c', value_type => 'pair', on_error => 'dead_letter', filter => 'a <> ''x''', command => 'INSERT INTO public.t (id, y) SELECT 100, b FROM batch');
SELECT applied, filtered, dead_lettered FROM kafka_sink.ingest('c', rs('{"a": "1", "b": "int"}', '{"a": "x", "b": "int"}', '{"a": "XX000"}', '{"a": "1", "b": "no_such_type"}'));
SELECT applied, dead_lettered FROM kafka_sink.retry_dead_letters('c');
TABLE letters;
SELECT kafka_sink.discard_dead_letters('c');
-- but not what may pass, or is the server's
SELECT kafka_sink.alter_sink('t', on_error => 'dead_letter');
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "40P01"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "53100"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "55P03"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "57014"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "72000"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "58030"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "XX001"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "XX002"}'));
-- nor a right that is missing to a check
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "s": "42501"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "ss": ["good", "42501"]}'));
SELECT kafka_sink.ingest('t', rs('{"id": 21}', '{"id": 22, "prs": [{"a": "42501"}]}'));
SELECT count(*) FROM letters;
-- of two the first one is told, and not one before it that needs what is behind it
CREATE TABLE halting (id int PRIMARY KEY, parent int REFERENCES halting, s shape);
SELECT kafka_sink.create_sink('halting', target => 'halting', on_error => 'dead_letter');
\set VERBOSITY default
SELECT kafka_sink.ingest('halting', rs('{"id": 1, "parent": 4}', '{"id": 2, "s": "58030"}', '{"id": 3, "s": "XX001"}', '{"id": 4}'));
\set VERBOSITY terse
SELECT kafka_sink.drop_sink('halting');
DROP TABLE halting;
-- a filter and a default are the sink's, and the table's: by class
CREATE FUNCTION raises(code text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN IF code <> 'good' THEN RAISE 'raised' USING ERRCODE = code; END IF; RETURN true; END$$;
SELECT kafka_sink.alter_sink('t', filter => 'public.raises(s::text)');
SELECT applied, dead_lettered FROM kafka_sink.ingest('t', rs('{"id": 30, "s": "good"}', '{"id": 31, "s": "22012"}', '{"id": 32, "s": "P0001"}', '{"id": 33}'));
DROP DOMAIN shape CASCADE;
ALTER TABLE t ADD s text;
SELECT kafka_sink.ingest('t', rs('{"id": 34, "s": "good"}', '{"id": 35, "s": "42P01"}'));
SELECT kafka_sink.ingest('t', rs('{"id": 34, "s": "good"}', '{"id": 35, "s": "42501"}'));
SELECT kafka_sink.drop_sink('t'), kafka_sink.drop_sink('c');
DROP TABLE t;

-- a sequence that is at its end has no number for any record
CREATE TABLE numbered (id int PRIMARY KEY, n smallserial);
CREATE TABLE identified (id int PRIMARY KEY, n smallint GENERATED ALWAYS AS IDENTITY (MAXVALUE 2));
SELECT kafka_sink.create_sink(t, target => t::regclass, columns => '{"n": null}', on_error => 'ignore') FROM unnest('{numbered,identified}'::text[]) t;
SELECT setval('numbered_n_seq', 32767);
SELECT kafka_sink.ingest('numbered', rs('{"id": 1}', '{"id": 2}'));
SELECT kafka_sink.ingest('identified', rs('{"id": 1}', '{"id": 2}', '{"id": 3}'));
SET kafka_sink.fast_path = off;
SELECT kafka_sink.ingest('numbered', rs('{"id": 1}', '{"id": 2}'));
SELECT kafka_sink.ingest('identified', rs('{"id": 1}', '{"id": 2}', '{"id": 3}'));
RESET kafka_sink.fast_path;
SELECT kafka_sink.drop_sink(t) FROM unnest('{numbered,identified}'::text[]) t;
DROP TABLE numbered, identified;

-- nor is a value of an enum wrong that its own transaction has added
CREATE TYPE mood AS ENUM ('ok');
CREATE TABLE moods (id int PRIMARY KEY, m mood, ms mood[]);
SELECT kafka_sink.create_sink('moods', target => 'moods', on_error => 'ignore');
BEGIN;
ALTER TYPE mood ADD VALUE 'new';
SELECT kafka_sink.ingest('moods', rs('{"id": 1, "m": "ok"}', '{"id": 2, "m": "new"}'));
ROLLBACK;
ALTER TYPE mood ADD VALUE 'new';
SELECT applied, ignored FROM kafka_sink.ingest('moods', rs('{"id": 1, "ms": ["ok", "new"]}', '{"id": 2, "m": "new"}', '{"id": 3, "m": "old"}'));
SELECT kafka_sink.drop_sink('moods');
DROP TABLE moods;
DROP TYPE mood;

-- a record is refused only if it is bad beside all others
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree, n int CHECK (n < 100));
SELECT kafka_sink.create_sink('tree', target => 'tree', on_error => 'dead_letter');
CREATE FUNCTION try(VARIADIC v text[]) RETURNS TABLE (ids text, dead text) LANGUAGE plpgsql AS $$
DECLARE b kafka_sink.batch_result;
BEGIN
    TRUNCATE tree;
    DELETE FROM kafka_sink.dead_letters;
    SELECT * INTO b FROM kafka_sink.ingest('tree', rs(VARIADIC v));
    SELECT string_agg(id::text, ' ' ORDER BY id) INTO ids FROM tree;
    SELECT string_agg(substring(value from '"id": (\d+)') || ' ' || sqlstate, ', ' ORDER BY i) INTO dead FROM (SELECT *, row_number() OVER () AS i FROM letters) l;
    IF b.consumed <> b.applied + b.dead_lettered + b.superseded + b.unmatched THEN RAISE 'counts do not add up: %', b; END IF;
    RETURN NEXT;
END$$;
CREATE FUNCTION links(a int, b int) RETURNS text[] LANGUAGE sql AS $$SELECT array_agg(format('{"id": %s, "parent": %s}', i, i + 1) ORDER BY i) FROM generate_series(a, b) i$$;
CREATE FUNCTION trees() RETURNS TABLE (what text, ids text, dead text) LANGUAGE sql AS $$
    SELECT 'a good tree', t.* FROM try('{"id": 1, "parent": 2}', '{"id": 2}', '{"id": 3}') t UNION ALL
    SELECT 'and a bad record', t.* FROM try('{"id": 1, "parent": 2}', '{"id": 2}', '{"id": 3, "n": 1000}') t UNION ALL
    SELECT 'in its middle', t.* FROM try('{"id": 1, "parent": 3}', '{"id": 2, "n": 1000}', '{"id": 3}') t UNION ALL
    SELECT 'undecodable', t.* FROM try('{"id": 1, "parent": 3}', '{"id": 2, "n": "x"}', '{"id": 3}') t UNION ALL
    SELECT 'the parent is bad', t.* FROM try('{"id": 1, "parent": 2}', '{"id": 2, "n": 1000}', '{"id": 3}') t UNION ALL
    SELECT 'no parent', t.* FROM try('{"id": 1, "parent": 2}', '{"id": 2}', '{"id": 3, "parent": 99}') t UNION ALL
    SELECT 'a circle', t.* FROM try('{"id": 1, "parent": 3}', '{"id": 2, "parent": 99}', '{"id": 3, "parent": 1}', '{"id": 4, "n": 1000}') t UNION ALL
    SELECT 'two circles, one broken', t.* FROM try('{"id": 1, "parent": 4}', '{"id": 2, "parent": 5}', '{"id": 3, "parent": 99}', '{"id": 4, "parent": 1}', '{"id": 5, "parent": 3}') t UNION ALL
    SELECT 'duplicates of a child', t.* FROM try('{"id": 1, "parent": 3}', '{"id": 1, "parent": 3}', '{"id": 3}', '{"id": 4, "n": 1000}') t UNION ALL
    SELECT 'a long chain, backwards', array_length(string_to_array(t.ids, ' '), 1)::text, right(t.dead, 40) FROM try(VARIADIC links(1, 200) || '{"id": 201}'::text || '{"id": 202, "n": 100}'::text) t UNION ALL
    SELECT 'without its end', t.ids, array_length(string_to_array(t.dead, ', '), 1)::text FROM try(VARIADIC links(1, 200) || '{"id": 300, "parent": 301}'::text || '{"id": 301}'::text || '{"id": 302, "n": 100}'::text) t
$$;
SELECT * FROM trees();
SET kafka_sink.fast_path = off;
SELECT * FROM trees();
RESET kafka_sink.fast_path;
SELECT kafka_sink.alter_sink('tree', insert_mode => 'upsert');
SELECT * FROM trees();
-- stop: at the bad one, with what is before it; or, if that needs what is behind it, before that
SELECT kafka_sink.alter_sink('tree', insert_mode => 'insert', on_error => 'stop');
TRUNCATE tree;
\set VERBOSITY default
SELECT kafka_sink.ingest('tree', rs('{"id": 1, "parent": 2}', '{"id": 2}', '{"id": 3, "n": 1000}', '{"id": 4}'));
SELECT kafka_sink.ingest('tree', rs('{"id": 1, "parent": 4}', '{"id": 2}', '{"id": 3, "n": 1000}', '{"id": 4}'));
SELECT kafka_sink.ingest('tree', rs('{"id": 1, "parent": 4}', '{"id": 2}', '{"id": 3, "n": "x"}', '{"id": 4}'));
SELECT kafka_sink.ingest('tree', rs('{"id": 1, "parent": 4}', '{"id": 2, "parent": 99}', '{"id": 3, "n": 1000}', '{"id": 4}'));
SELECT kafka_sink.ingest('tree', rs('{"id": 1, "parent": 2}', '{"id": 2, "parent": 99}', '{"id": 3}'));
SELECT kafka_sink.ingest('tree', rs('{"id": 1, "parent": 2}', '{"id": 2, "n": 1000}', '{"id": 3}'));
SELECT kafka_sink.alter_sink('tree', on_error => 'ignore', reject_limit => '1');
SELECT kafka_sink.ingest('tree', rs('{"id": 1, "parent": 4}', '{"id": 2, "n": 1000}', '{"id": 3}', '{"id": 4}'));
SELECT kafka_sink.ingest('tree', rs('{"id": 5, "parent": 8}', '{"id": 6, "n": 1000}', '{"id": 7, "n": 1000}', '{"id": 8}'));
\set VERBOSITY terse
-- a delete that a later record makes legal, and one that none does
SELECT kafka_sink.alter_sink('tree', on_error => 'dead_letter', insert_mode => 'insert', delete_enabled => true, reset => '{reject_limit}');
ALTER TABLE tree ALTER CONSTRAINT tree_parent_fkey DEFERRABLE INITIALLY DEFERRED;
TRUNCATE tree;
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, NULL), (4, 3);
SELECT forget();
SELECT applied, deleted, dead_lettered FROM kafka_sink.ingest('tree', ARRAY[r(NULL, '1'), r(NULL, '2'), r('{"id": 5, "n": 1000}')]);
SELECT kafka_sink.alter_sink('tree', insert_mode => 'upsert');
ALTER TABLE tree ALTER CONSTRAINT tree_parent_fkey NOT DEFERRABLE;
SELECT applied, deleted, dead_lettered FROM kafka_sink.ingest('tree', ARRAY[r(NULL, '3'), r('{"id": 4, "parent": null}'), r('{"id": 5, "n": 1000}')]);
TABLE tree ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('tree');
DROP TABLE tree;

-- unique values that one record leaves to another
CREATE TABLE u (id int PRIMARY KEY, v text UNIQUE, n int CHECK (n < 100));
INSERT INTO u VALUES (1, 'a'), (2, 'b'), (3, 'c');
SELECT kafka_sink.create_sink('u', target => 'u', insert_mode => 'upsert', delete_enabled => true, on_error => 'dead_letter');
SELECT applied, deleted, dead_lettered FROM kafka_sink.ingest('u', ARRAY[r('{"id": 2, "v": "a"}'), r('{"id": 1, "v": "d"}'), r('{"id": 4, "v": "c"}'), r(NULL, '3'), r('{"id": 5, "n": 1000}')]);
TABLE u ORDER BY id;
SELECT applied, deleted, dead_lettered FROM kafka_sink.ingest('u', ARRAY[r('{"id": 6, "v": "a"}'), r('{"id": 7, "v": "e"}'), r('{"id": 8, "v": "e"}'), r('{"id": 9, "v": "f"}')]);
TABLE u ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
-- to a delete behind the record that stops the sink: it is not to blame, and not written before it
SELECT kafka_sink.alter_sink('u', on_error => 'stop');
CREATE FUNCTION stops(at int, VARIADIC recs kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE c text;
BEGIN
    RETURN kafka_sink.ingest('u', recs);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS c = PG_EXCEPTION_CONTEXT;
    RETURN sqlstate || ', ' || substring(c FROM 'record \d+') || '; without it ' || kafka_sink.ingest('u', recs[:at - 1] || recs[at + 1:])::text;
END$$;
SELECT stops(2, r('{"id": 20, "v": "a"}'), r('{"id": 21, "n": 1000}'), r(NULL, '20'));
SELECT stops(2, r('{"id": 20, "v": "a"}'), r('{"id": 21, "n": "x"}'), r(NULL, '20'));
SELECT stops(3, r('{"id": 30}'), r('{"id": 20, "v": "a"}'), r('{"id": 21, "n": 1000}'), r(NULL, '2'));
SELECT kafka_sink.ingest('u', ARRAY[r('{"id": 40, "v": "a"}'), r('{"id": 41, "n": "x"}'), r(NULL, '42')]);
TABLE u ORDER BY id;
-- by records that the whole cannot write in the order of keys: what is behind the stop is not done
TRUNCATE u;
INSERT INTO u VALUES (5, 'a');
SELECT stops(3, r('{"id": 5, "v": "b"}'), r('{"id": 1, "v": "a"}'), r('{"id": 7, "v": "a"}'), r('{"id": 1, "v": "c"}'), r('{"id": 4, "v": "a"}'));
TABLE u ORDER BY id;
SELECT kafka_sink.alter_sink('u', on_error => 'dead_letter');
TRUNCATE u;
INSERT INTO u VALUES (5, 'a');
SELECT applied, superseded, dead_lettered FROM kafka_sink.ingest('u', rs('{"id": 5, "v": "b"}', '{"id": 1, "v": "a"}', '{"id": 7, "v": "a"}', '{"id": 1, "v": "c"}', '{"id": 4, "v": "a"}'));
TABLE u ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('u');
DROP TABLE u;
DROP FUNCTION stops;
-- of which one needs a row that is still to come: nothing is bad for want of what is not written yet
CREATE TABLE v (id int PRIMARY KEY, v text UNIQUE, parent int REFERENCES v, n int CHECK (n < 100));
SELECT kafka_sink.create_sink('v', target => 'v', insert_mode => 'upsert', delete_enabled => true, on_error => 'dead_letter');
INSERT INTO v VALUES (1, 'a'), (3, 'c');
SELECT applied, dead_lettered FROM kafka_sink.ingest('v', rs('{"id": 1, "v": "b", "parent": 9}', '{"id": 2, "v": "a"}', '{"id": 9}', '{"id": 4, "v": "c"}'));
TABLE v ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
TRUNCATE v;
INSERT INTO v VALUES (1, 'a'), (3, 'c');
SELECT applied, dead_lettered FROM kafka_sink.ingest('v', rs('{"id": 4, "v": "c"}', '{"id": 1, "v": "b", "parent": 9}', '{"id": 5, "parent": 4}', '{"id": 6, "v": "c"}', '{"id": 2, "v": "a"}', '{"id": 7, "parent": 2}', '{"id": 9}', '{"id": 8, "parent": 6}'));
TABLE v ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
-- and that are handed on in another order than that of the log
TRUNCATE v;
INSERT INTO v VALUES (1, 'b'), (2, 'a'), (9, 'z');
SELECT applied, dead_lettered FROM kafka_sink.ingest('v', rs('{"id": 3, "v": "a"}', '{"id": 2, "v": "b"}', '{"id": 1, "v": "c"}', '{"id": 4, "v": "z"}'));
TABLE v ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('v');
DROP TABLE v;
-- a value that a delete gives up, which another one behind it makes legal
CREATE TABLE v (id int PRIMARY KEY, v text UNIQUE, parent int REFERENCES v, n int CHECK (n < 100));
SELECT kafka_sink.create_sink('v', target => 'v', insert_mode => 'insert', delete_enabled => true, on_error => 'dead_letter');
INSERT INTO v VALUES (5, 'a', NULL), (6, 'b', 5);
SELECT applied, deleted, dead_lettered FROM kafka_sink.ingest('v', ARRAY[r('{"id": 7}'), r(NULL, '5'), r(NULL, '6'), r('{"id": 8, "v": "a"}'), r('{"id": 10, "n": 1000}')]);
TABLE v ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('v');
DROP TABLE v;
-- a change of a row that comes before it, and waits for another one
CREATE TABLE v (id int PRIMARY KEY, parent int REFERENCES v, v text, w text, n int CHECK (n < 100));
SELECT kafka_sink.create_sink('v', target => 'v', envelope => 'debezium', insert_mode => 'upsert', on_error => 'dead_letter');
CREATE FUNCTION change(op "char", id text, fields text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT r(format('{"before": null, "after": {"id": %s, %s}, "op": "%s", "source": {"connector": "postgresql"}}', id, fields, op), format('{"id": %s}', id))$$;
CREATE FUNCTION changes() RETURNS kafka_sink.record[] LANGUAGE sql AS
$$SELECT ARRAY[change('c', '1', '"parent": 2, "v": "old", "w": "long"'), change('u', '1', '"parent": 2, "v": "new", "w": "__debezium_unavailable_value"'), change('c', '2', '"v": "root"'),
    change('c', '3', '"n": 1000'), change('c', '4', '"v": "behind"')]$$;
SELECT applied, superseded, dead_lettered FROM kafka_sink.ingest('v', changes());
TABLE v ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.alter_sink('v', on_error => 'stop');
TRUNCATE v;
\set VERBOSITY default
SELECT kafka_sink.ingest('v', changes());
\set VERBOSITY terse
SELECT kafka_sink.drop_sink('v');
DROP TABLE v;
DROP FUNCTION change, changes;
-- an update of what other rows of the table refer to, which is not the key
CREATE TABLE v (id int PRIMARY KEY, code text UNIQUE, parent text REFERENCES v (code), n int CHECK (n < 100));
INSERT INTO v VALUES (0, 'r', NULL), (1, 'a', 'r'), (2, 'b', 'a');
SELECT kafka_sink.create_sink('v', target => 'v', insert_mode => 'upsert', on_error => 'dead_letter');
SELECT applied, dead_lettered FROM kafka_sink.ingest('v', rs('{"id": 7}', '{"id": 1, "code": "z", "parent": "r"}', '{"id": 2, "code": "b", "parent": "z"}', '{"id": 3, "n": 1000}', '{"id": 4, "parent": "y"}'));
TABLE v ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('v');
DROP TABLE v;
-- a truncation has no key that others might refer to
CREATE TABLE v (id text PRIMARY KEY, parent text REFERENCES v, n int CHECK (n < 100));
CREATE TABLE w (v text REFERENCES v);
INSERT INTO v VALUES ('a');
INSERT INTO w VALUES ('a');
SELECT kafka_sink.create_sink('v', target => 'v', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true);
\set VERBOSITY default
SELECT kafka_sink.ingest('v', ARRAY[r('{"before": null, "after": {"id": "q", "parent": "z"}, "op": "c", "source": {"connector": "postgresql"}}'), r('{"before": null, "after": null, "op": "t", "source": {"connector": "postgresql"}}'), r('{"before": null, "after": {"id": "z", "n": 1000}, "op": "c", "source": {"connector": "postgresql"}}')]);
\set VERBOSITY terse
SELECT kafka_sink.drop_sink('v');
DROP TABLE v, w;
-- what needs a row behind the record that the batch stops at is not refused, if the rest cannot be written as a whole
CREATE TABLE v (id int PRIMARY KEY, v text UNIQUE, parent int REFERENCES v, n int CHECK (n < 100));
SELECT kafka_sink.create_sink('v', target => 'v', insert_mode => 'upsert', delete_enabled => true, on_error => 'stop');
INSERT INTO v VALUES (5, 'a');
\set VERBOSITY default
SELECT kafka_sink.ingest('v', rs('{"id": 1, "parent": 30}', '{"id": 5, "v": "b"}', '{"id": 2, "v": "a"}', '{"id": 21, "n": 1000}', '{"id": 30}'));
\set VERBOSITY terse
SELECT kafka_sink.alter_sink('v', on_error => 'dead_letter');
-- nor is what comes right before the row that it needs
TRUNCATE v;
INSERT INTO v VALUES (5, 'a');
SELECT applied, dead_lettered FROM kafka_sink.ingest('v', rs('{"id": 1, "parent": 3}', '{"id": 3, "parent": 4}', '{"id": 4}', '{"id": 5, "v": "b"}', '{"id": 2, "v": "a"}'));
TABLE v ORDER BY id;
SELECT kafka_sink.drop_sink('v');
DROP TABLE v;
-- and intervals
CREATE TABLE x (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&) DEFERRABLE INITIALLY IMMEDIATE);
INSERT INTO x VALUES (1, '[1,5)'), (2, '[5,9)');
SELECT kafka_sink.create_sink('x', target => 'x', insert_mode => 'update', on_error => 'dead_letter');
SELECT applied, dead_lettered FROM kafka_sink.ingest('x', rs('{"id": 1, "r": "[3,7)"}', '{"id": 2, "r": "[7,9)"}', '{"id": 2, "r": "x"}'));
TABLE x ORDER BY id;
SELECT kafka_sink.alter_sink('x', insert_mode => 'insert');
SELECT applied, dead_lettered FROM kafka_sink.ingest('x', rs('{"id": 3, "r": "[20,30)"}', '{"id": 4, "r": "[25,35)"}', '{"id": 5, "r": "[30,40)"}'));
TABLE x ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('x');
DROP TABLE x;

-- a constraint trigger that looks at the others
CREATE TABLE legs (id int PRIMARY KEY, entry int, amount int, CHECK (amount <> 13));
CREATE FUNCTION balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM public.legs WHERE entry = new.entry) <> 0 THEN RAISE 'entry % is not balanced', new.entry; END IF;
    RETURN NULL;
END$$;
CREATE TRIGGER balance AFTER INSERT ON legs FOR EACH ROW EXECUTE FUNCTION balance();
SELECT kafka_sink.create_sink('legs', target => 'legs', on_error => 'dead_letter');
SELECT applied, dead_lettered FROM kafka_sink.ingest('legs', rs('{"id": 1, "entry": 1, "amount": 5}', '{"id": 2, "entry": 2, "amount": 7}', '{"id": 3, "entry": 1, "amount": -5}', '{"id": 4, "entry": 3, "amount": 13}', '{"id": 5, "entry": 4, "amount": 1}', '{"id": 6, "entry": 4, "amount": -1}'));
TABLE legs ORDER BY id;
SELECT value, sqlstate, message FROM letters;
SELECT forget();
-- a command over the whole batch
SELECT kafka_sink.create_sink('c', value_type => 'legs', on_error => 'dead_letter', command => 'INSERT INTO public.legs SELECT id, entry, amount FROM batch');
TRUNCATE legs;
SELECT applied, dead_lettered FROM kafka_sink.ingest('c', rs('{"id": 1, "entry": 1, "amount": 5}', '{"id": 2, "entry": 2, "amount": 7}', '{"id": 3, "entry": 1, "amount": -5}', '{"id": 4, "entry": 3, "amount": 13}', '{"id": 5, "entry": 4, "amount": 1}', '{"id": 6, "entry": 4, "amount": -1}'));
TABLE legs ORDER BY id;
SELECT forget();
SELECT kafka_sink.drop_sink('legs'), kafka_sink.drop_sink('c');
DROP TABLE legs;

-- a check that sees the rows that an upsert writes before its own, in the order of the key
CREATE TABLE tree (id int PRIMARY KEY, parent int, n int CHECK (n < 100));
CREATE FUNCTION planted(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RETURN $1 IS NULL OR EXISTS (SELECT FROM public.tree WHERE id = $1); END$$;
ALTER TABLE tree ADD CHECK (planted(parent));
SELECT kafka_sink.create_sink('tree', target => 'tree', insert_mode => 'upsert', on_error => 'dead_letter');
SELECT applied, dead_lettered FROM kafka_sink.ingest('tree', rs('{"id": 2, "parent": 1}', '{"id": 3, "n": 1000}', '{"id": 1}', '{"id": 4, "parent": 9}'));
TABLE tree ORDER BY id;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('tree');
DROP TABLE tree;
DROP FUNCTION planted;

-- records of a key that are one row
CREATE TABLE acc (id int PRIMARY KEY, n int CHECK (n BETWEEN -10 AND 10));
SELECT kafka_sink.create_sink('acc', target => 'acc', insert_mode => 'accumulate', accumulate => '{"n": "sum"}', on_error => 'dead_letter');
CREATE FUNCTION sums() RETURNS TABLE (batch text, ids text) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE acc;
    SELECT b::text INTO batch FROM kafka_sink.ingest('acc', rs('{"id": 1, "n": -20}', '{"id": 1, "n": 25}', '{"id": 2, "n": 11}', '{"id": 3, "n": -5}', '{"id": 3, "n": -6}', '{"id": 3, "n": 2}', '{"id": 4, "n": 2000000000}', '{"id": 4, "n": 2000000000}', '{"id": 5}')) b;
    SELECT string_agg(acc::text, ' ' ORDER BY id) INTO ids FROM acc;
    RETURN NEXT;
END$$;
SELECT * FROM sums();
SELECT value, sqlstate FROM letters;
SELECT forget();
SET kafka_sink.fast_path = off;
SELECT * FROM sums();
SELECT value, sqlstate FROM letters;
RESET kafka_sink.fast_path;
SELECT forget();
SELECT kafka_sink.drop_sink('acc');
DROP TABLE acc;
CREATE TABLE acc (id int PRIMARY KEY, p path);
SELECT kafka_sink.create_sink('acc', target => 'acc', insert_mode => 'accumulate', accumulate => '{"p": "sum"}', on_error => 'dead_letter');
SELECT applied FROM kafka_sink.ingest('acc', rs('{"id": 1, "p": "[(0,0),(1,1)]"}', '{"id": 1, "p": "[(2,2)]"}', '{"id": 2, "p": "((0,0),(1,1))"}', '{"id": 2, "p": "((2,2))"}'));
SELECT applied FROM kafka_sink.ingest('acc', rs('{"id": 1, "p": "((2,2))"}', '{"id": 2, "p": "((2,2))"}'));
TABLE acc ORDER BY id;
SET kafka_sink.fast_path = off;
SELECT applied FROM kafka_sink.ingest('acc', rs('{"id": 1, "p": "((2,2))"}', '{"id": 2, "p": "((2,2))"}'));
TABLE acc ORDER BY id;
RESET kafka_sink.fast_path;
SELECT kafka_sink.drop_sink('acc');
DROP TABLE acc;

-- two topics: a child may come before its parent
CREATE TABLE parents (id int PRIMARY KEY, next int REFERENCES parents, n int CHECK (n < 100));
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents);
SELECT kafka_sink.create_sink('two', on_error => 'dead_letter');
SELECT kafka_sink.register_topic('two', 'p', target => 'parents'), kafka_sink.register_topic('two', 'c', target => 'children');
CREATE FUNCTION rt(topic text, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(topic, 0, NULL, NULL, NULL, convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
SELECT applied, dead_lettered FROM kafka_sink.ingest('two', ARRAY[rt('c', '{"id": 1, "parent": 1}'), rt('c', '{"id": 2, "parent": 2}'), rt('p', '{"id": 1, "next": 3}'), rt('p', '{"id": 3}'), rt('p', '{"id": 2, "n": 1000}'), rt('c', '{"id": 3, "parent": 9}')]);
TABLE parents;
TABLE children;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('two');
DROP TABLE parents, children;
-- of which one is a partition of what the other refers to, or the table of what it refers to
CREATE TABLE parents (region text, id int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE parents_eu PARTITION OF parents FOR VALUES IN ('eu');
CREATE TABLE children (region text, parent int, n int CHECK (n < 100), FOREIGN KEY (region, parent) REFERENCES parents);
SELECT kafka_sink.create_sink('two', on_error => 'dead_letter');
SELECT kafka_sink.register_topic('two', 'p', target => 'parents_eu'), kafka_sink.register_topic('two', 'c', target => 'children');
SELECT applied, dead_lettered FROM kafka_sink.ingest('two', ARRAY[rt('c', '{"region": "eu", "parent": 1}'), rt('p', '{"region": "eu", "id": 1}'), rt('c', '{"region": "eu", "parent": 1, "n": 1000}')]);
ALTER TABLE children DROP CONSTRAINT children_region_parent_fkey, ADD FOREIGN KEY (region, parent) REFERENCES parents_eu;
SELECT kafka_sink.alter_topic('two', 'p', target => 'parents');
SELECT applied, dead_lettered FROM kafka_sink.ingest('two', ARRAY[rt('c', '{"region": "eu", "parent": 2}'), rt('p', '{"region": "eu", "id": 2}'), rt('c', '{"region": "eu", "parent": 2, "n": 1000}')]);
TABLE children;
SELECT value, sqlstate FROM letters;
SELECT forget();
SELECT kafka_sink.drop_sink('two');
DROP TABLE children, parents;

-- a right that is missing is no record's fault: where it is met, and that nothing is dropped
CREATE ROLE regress_ks_blame;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC;
GRANT CREATE ON SCHEMA public TO regress_ks_blame;
SET ROLE regress_ks_blame;
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE TABLE audit (id int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.v > 1 THEN INSERT INTO public.audit VALUES (new.id); END IF; RETURN new; END$$;
CREATE TRIGGER note BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
SELECT kafka_sink.create_sink('t', target => 't', on_error => 'ignore');
REVOKE INSERT ON audit FROM regress_ks_blame;
\set VERBOSITY default
SELECT kafka_sink.ingest('t', rs('{"id": 1, "v": 1}', '{"id": 2, "v": 2}', '{"id": 3, "v": 3}'));
SELECT kafka_sink.alter_sink('t', insert_mode => 'upsert');
SELECT kafka_sink.ingest('t', rs('{"id": 1, "v": 1}', '{"id": 2, "v": 2}', '{"id": 3, "v": 3}'));
\set VERBOSITY terse
GRANT INSERT ON audit TO regress_ks_blame;
-- nor is a policy of another table
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;
SELECT kafka_sink.ingest('t', rs('{"id": 1, "v": 1}', '{"id": 2, "v": 2}', '{"id": 3, "v": 3}'));
-- one of the target is
DROP TRIGGER note ON t;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
ALTER TABLE t FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON t USING (true) WITH CHECK (v < 3);
SELECT applied, ignored FROM kafka_sink.ingest('t', rs('{"id": 1, "v": 1}', '{"id": 2, "v": 2}', '{"id": 3, "v": 3}'));
SELECT kafka_sink.alter_sink('t', insert_mode => 'insert');
SELECT applied, ignored FROM kafka_sink.ingest('t', rs('{"id": 4, "v": 1}', '{"id": 5, "v": 3}'));
-- but not while the owner lacks what it needs on it
CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.v > 1 THEN RAISE 'denied' USING ERRCODE = '42501'; END IF; RETURN new; END$$;
CREATE TRIGGER deny BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION deny();
SELECT kafka_sink.ingest('t', rs('{"id": 6, "v": 1}', '{"id": 7, "v": 2}'));
DROP TRIGGER deny ON t;
-- a function that a domain's check, a filter or a default may not call
CREATE FUNCTION small(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < 100';
CREATE DOMAIN few AS int CHECK (public.small(VALUE));
CREATE TABLE d (id int, v few);
SELECT kafka_sink.create_sink('d', target => 'd', on_error => 'ignore');
SELECT applied, ignored FROM kafka_sink.ingest('d', rs('{"id": 1, "v": 1}', '{"id": 2, "v": 200}'));
-- but the name of what it may not see is a record's
RESET ROLE;
CREATE SCHEMA hidden CREATE TABLE seen (id int);
SET ROLE regress_ks_blame;
CREATE TABLE c (id int, v regclass);
SELECT kafka_sink.create_sink('c', target => 'c', on_error => 'dead_letter');
SELECT applied, dead_lettered FROM kafka_sink.ingest('c', rs('{"id": 1, "v": "public.d"}', '{"id": 2, "v": "hidden.seen"}'));
SELECT convert_from(value, 'UTF8') AS value, sqlstate, message, column_name FROM kafka_sink.dead_letters WHERE sink = 'c';
SELECT kafka_sink.drop_sink('c');
DROP TABLE c;
CREATE FUNCTION stamp() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 7; END';
CREATE TABLE e (id int, v int DEFAULT stamp());
SELECT kafka_sink.create_sink('e', target => 'e', on_error => 'ignore');
SELECT applied, ignored FROM kafka_sink.ingest('e', rs('{"id": 1}', '{"id": 2}'));
RESET ROLE;
ALTER FUNCTION small OWNER TO CURRENT_USER;
REVOKE EXECUTE ON FUNCTION small FROM PUBLIC;
ALTER FUNCTION stamp OWNER TO CURRENT_USER;
REVOKE EXECUTE ON FUNCTION stamp FROM PUBLIC;
SET ROLE regress_ks_blame;
\c
SET ROLE regress_ks_blame;
\set VERBOSITY terse
SELECT kafka_sink.ingest('d', rs('{"id": 3, "v": 1}'));
SELECT kafka_sink.ingest('e', rs('{"id": 3}', '{"id": 4}'));
SELECT kafka_sink.alter_sink('e', on_error => 'stop', insert_mode => 'ignore');
SELECT kafka_sink.ingest('e', rs('{"id": 3}', '{"id": 4}'));
SELECT applied FROM kafka_sink.ingest('e', rs('{"id": 3, "v": 1}', '{"id": 4, "v": 2}'));
RESET ROLE;
SELECT kafka_sink.drop_sink('t'), kafka_sink.drop_sink('d'), kafka_sink.drop_sink('e');
DROP TABLE t, d, e, audit;
DROP TABLE hidden.seen;
DROP SCHEMA hidden;
DROP DOMAIN few;
DROP FUNCTION small, stamp, deny, note;
REVOKE CREATE ON SCHEMA public FROM regress_ks_blame;
DROP ROLE regress_ks_blame;

-- what halts is told with its place, in every mode
CREATE TABLE h (id int PRIMARY KEY, v text);
CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.v <> 'good' THEN RAISE 'raised' USING ERRCODE = new.v; END IF; RETURN new; END$$;
CREATE TRIGGER halt BEFORE INSERT OR UPDATE ON h FOR EACH ROW EXECUTE FUNCTION halt();
SELECT kafka_sink.create_sink('h', target => 'h', on_error => 'dead_letter');
\set VERBOSITY default
SELECT kafka_sink.ingest('h', rs('{"id": 1, "v": "good"}', '{"id": 2, "v": "P0001"}', '{"id": 3, "v": "MY001"}', '{"id": 4, "v": "good"}'));
SELECT kafka_sink.alter_sink('h', insert_mode => 'upsert');
SELECT kafka_sink.ingest('h', rs('{"id": 1, "v": "good"}', '{"id": 2, "v": "P0001"}', '{"id": 3, "v": "42P01"}', '{"id": 4, "v": "good"}'));
-- and what may pass is not
SELECT kafka_sink.ingest('h', rs('{"id": 1, "v": "good"}', '{"id": 2, "v": "P0001"}', '{"id": 3, "v": "40001"}', '{"id": 4, "v": "good"}'));
\set VERBOSITY terse
SELECT count(*) FROM letters;
DROP TRIGGER halt ON h;
-- a trigger that makes two keys one: the later one counts
CREATE FUNCTION lower_key() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.v := lower(new.v); RETURN new; END$$;
CREATE TABLE k (v text PRIMARY KEY, n int);
CREATE TRIGGER k BEFORE INSERT ON k FOR EACH ROW EXECUTE FUNCTION lower_key();
SELECT kafka_sink.create_sink('k', target => 'k', insert_mode => 'upsert', on_error => 'dead_letter');
SELECT applied, superseded FROM kafka_sink.ingest('k', rs('{"v": "A", "n": 1}', '{"v": "b", "n": 2}', '{"v": "a", "n": 3}', '{"v": "A", "n": 4}', '{"v": "B", "n": 5}'));
TABLE k ORDER BY v;
-- but a command must see to that itself
SELECT kafka_sink.create_sink('c', value_type => 'k', on_error => 'dead_letter', command => 'INSERT INTO public.k SELECT v, n FROM batch ON CONFLICT (v) DO UPDATE SET n = excluded.n');
SELECT kafka_sink.ingest('c', rs('{"v": "a", "n": 1}', '{"v": "a", "n": 2}'));
SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks;
DROP TABLE h, k;

-- a patch whose row a trigger leaves alone is unmatched; one without a row is an error
CREATE TABLE p (id int PRIMARY KEY, v text, w text);
INSERT INTO p VALUES (1, 'a', 'b'), (2, 'a', 'b');
CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.v = 'not' THEN RETURN NULL; END IF; RETURN new; END$$;
CREATE TRIGGER leave BEFORE UPDATE ON p FOR EACH ROW EXECUTE FUNCTION leave();
SELECT kafka_sink.create_sink('p', target => 'p', envelope => 'debezium', insert_mode => 'upsert', on_error => 'dead_letter');
CREATE FUNCTION change(id int, v text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT r(format('{"before": null, "after": {"id": %s, "v": "%s", "w": "__debezium_unavailable_value"}, "op": "u", "source": {"connector": "postgresql"}}', id, v), format('{"id": %s}', id))$$;
SELECT applied, unmatched, dead_lettered FROM kafka_sink.ingest('p', ARRAY[change(1, 'not'), change(2, 'new')]);
SELECT applied, unmatched, dead_lettered FROM kafka_sink.ingest('p', ARRAY[change(1, 'not'), change(2, 'newer'), change(3, 'new')]);
TABLE p ORDER BY id;
SELECT sqlstate, message FROM letters;
SELECT kafka_sink.drop_sink('p');
DROP TABLE p;

DROP VIEW letters;
DROP FUNCTION r, rs, forget, bad, by, raises, try, links, trees, balance, sums, rt, halt, lower_key, leave, change;
DROP TYPE pair;
DROP FUNCTION valid;
DROP EXTENSION kafka_sink;
