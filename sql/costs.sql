-- What records and definitions can cost: so much as they are long, and no more.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
CREATE FUNCTION r(value text, key text DEFAULT NULL)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
-- each of these took minutes, or more memory than there is, where it is not linear
SET statement_timeout = '60s';

-- two million fields that nobody wants, against 1,600 columns
DO $$BEGIN EXECUTE (SELECT 'CREATE TABLE t (' || string_agg(format('c%s int', i), ', ') || ')' FROM generate_series(1, 1600) i); END$$;
SELECT kafka_sink.create_sink('s', target => 't', max_record_bytes => 100000000);
SELECT kafka_sink.ingest('s', ARRAY[r('{' || (SELECT string_agg(format('"x%s":1', i), ',') FROM generate_series(1, 2000000) i) || ',"c1600":1600}')]);
-- and with escapes
SELECT kafka_sink.ingest('s', ARRAY[r('{' || (SELECT string_agg(format('"\u0078%s":1', i), ',') FROM generate_series(1, 1000000) i) || ',"\u00631599":1599}')]);
SELECT c1, c1599, c1600 FROM t;
SELECT kafka_sink.drop_sink('s');

-- as many paths into one object of the value, or of the key, of a million members
SELECT kafka_sink.create_sink('s', target => 't', max_record_bytes => 100000000,
    columns => (SELECT jsonb_object_agg('c' || i, CASE WHEN i < 1590 THEN '$.x.c' || i WHEN i < 1599 THEN '$.x.y.c' || i ELSE '$.e[' || i || ']' END) FROM generate_series(1, 1600) i));
CREATE FUNCTION members(int) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(format('"\u0078%s":1', i), ',') || ',"\u0063\u0031":0,"c1589":1589,"y":{"c1598":0},"c1":1,"y":{"c1590":1590}' FROM generate_series(1, $1) i$$;
SELECT kafka_sink.ingest('s', ARRAY[r('{"x":{' || members(1000000) || '},"e":[' || (SELECT string_agg(i::text, ',') FROM generate_series(0, 1000000) i) || ']}')]);
SELECT c1, c2, c1589, c1590, c1598, c1599, c1600 FROM t WHERE c1 = 1;
SELECT kafka_sink.alter_sink('s', envelope => 'debezium', insert_mode => 'insert');
SELECT kafka_sink.ingest('s', ARRAY[r('{"op":"c","after":{"x":{' || members(1000000) || '}}}')]);
SELECT c1, c2, c1589, c1590, c1598, c1599, c1600 FROM t WHERE c1 = 1;
SELECT kafka_sink.alter_sink('s', reset => '{envelope}',
    columns => (SELECT jsonb_object_agg('c' || i, '@key.x.c' || i) FROM generate_series(1, 1600) i));
SELECT kafka_sink.ingest('s', ARRAY[r('{}', '{"x":{' || members(1000000) || '}}')]);
SELECT c1, c2, c1589, c1590, c1598, c1599, c1600 FROM t WHERE c1 = 1;
SELECT kafka_sink.drop_sink('s');
DROP FUNCTION members;
-- into a map of Avro, and of Protobuf, of two million entries
CREATE FUNCTION b(value bytea) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, NULL, value, NULL)::kafka_sink.record$$;
DELETE FROM t;
SELECT kafka_sink.create_sink('s', target => 't', max_record_bytes => 100000000, format => 'avro',
    value_schema => '{"type":"record","name":"r","fields":[{"name":"m","type":{"type":"map","values":"int"}}]}',
    columns => (SELECT jsonb_object_agg('c' || i, '$.m.c' || i) FROM generate_series(1, 1600) i));
SELECT kafka_sink.ingest('s', ARRAY[b('\x8092f401' || (SELECT convert_to(string_agg(chr(14) || 'x' || lpad(i::text, 6, '0') || chr(2), ''), 'UTF8') FROM generate_series(0, 1999999) i)
    || '\x02' || '\x0a' || convert_to('c1600', 'UTF8') || '\x8019' || '\x00')]);
SELECT c1, c1599, c1600 FROM t;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', max_record_bytes => 100000000, format => 'protobuf',
    value_schema => 'syntax = "proto3"; message r { map<string, int32> m = 1; }',
    columns => (SELECT jsonb_object_agg('c' || i, '$.m.c' || i) FROM generate_series(1, 1600) i));
SELECT kafka_sink.ingest('s', ARRAY[b((SELECT convert_to(string_agg(chr(10) || chr(11) || chr(10) || chr(7) || 'x' || right(lpad(i::text, 6, '0'), 6) || chr(16) || chr(1), ''), 'UTF8') FROM generate_series(0, 1999999) i)
    || '\x0a09' || '\x0a05' || convert_to('c1599', 'UTF8') || '\x1007')]);
SELECT c1, c1599, c1600 FROM t;
SELECT kafka_sink.drop_sink('s');
DROP FUNCTION b;
DELETE FROM t;


-- a composite type of as many attributes
DO $$BEGIN EXECUTE (SELECT 'CREATE TYPE wide AS (' || string_agg(format('a%s int', i), ', ') || ')' FROM generate_series(1, 1500) i); END$$;
CREATE TABLE w (w wide);
SELECT kafka_sink.create_sink('s', target => 'w', max_record_bytes => 100000000);
SELECT kafka_sink.ingest('s', ARRAY[r('{"w": {' || (SELECT string_agg(format('"\u0061x%s":1', i), ',') FROM generate_series(1, 500000) i) || ',"\u00611500":1500}}')]);
SELECT (w).a1, (w).a1500 FROM w;
SELECT kafka_sink.drop_sink('s');
DROP TABLE w;

-- lists in lists, of a megabyte, and as many as an array has
CREATE TABLE l (d date[], id int PRIMARY KEY);
SELECT kafka_sink.create_sink('s', target => 'l', envelope => 'debezium', insert_mode => 'upsert');
SELECT kafka_sink.ingest('s', ARRAY[r('{"op": "c", "after": {"id": 1, "d": ' || repeat('[', 500) || '1' || repeat(',1', 500000) || repeat(']', 500) || '}}')]);
SELECT kafka_sink.ingest('s', ARRAY[r('{"op": "c", "after": {"id": 1, "d": ' || repeat('[', 6) || '1' || repeat(',1', 100000) || repeat(']', 6) || '}}')]);
SELECT array_ndims(d), cardinality(d) FROM l;
SELECT kafka_sink.alter_sink('s', envelope => 'connect');
SELECT kafka_sink.ingest('s', ARRAY[r('{"schema": {"type": "struct", "fields": [{"field": "d", ' || repeat('"type": "array", "items": {', 200) || '"type": "int32"' || repeat('}', 200) || '}]}, "payload": {"id": 1, "d": []}}')]);
SELECT kafka_sink.drop_sink('s');
DROP TABLE l;

-- types of types, each of two of the one before: each is described once
DO $$BEGIN
    CREATE TYPE t1 AS (a int, b timestamptz);
    FOR i IN 2..16 LOOP EXECUTE format('CREATE TYPE t%s AS (a t%s, b t%s[])', i, i - 1, i - 1); END LOOP;
END$$;
CREATE FUNCTION target_bytes() RETURNS bigint LANGUAGE sql AS
$$SELECT sum(total_bytes) FROM pg_catalog.pg_backend_memory_contexts WHERE name = 'kafka_sink target'$$;
CREATE TABLE n (t t16, size bigint DEFAULT target_bytes());
SELECT kafka_sink.create_sink('s', target => 'n', columns => '{"t": {"unit": "seconds"}}', on_nonfinite => 'error');
SELECT kafka_sink.ingest('s', ARRAY[r('{"t": ' || repeat('{"a": ', 15) || '{"a": 1, "b": 2}' || repeat(', "b": []}', 15) || '}')]);
SELECT t::text LIKE '%(1,%', size < 1000000 FROM n;
-- a change of any of them counts
ALTER TYPE t1 ADD ATTRIBUTE c int CASCADE;
SELECT kafka_sink.ingest('s', ARRAY[r('{"t": ' || repeat('{"a": ', 15) || '{"a": 1, "c": 2}' || repeat(', "b": []}', 15) || '}')]);
SELECT t::text LIKE '%(1,,2)%' FROM n;
SELECT kafka_sink.drop_sink('s');
DROP TABLE n;
DROP FUNCTION target_bytes;

-- so many records of a few bytes are several batches, by what their rows take
CREATE TABLE sizes (n bigint);
SELECT kafka_sink.create_sink('s', command => 'INSERT INTO public.sizes SELECT count(*) FROM batch WHERE c1 > 0', value_type => 't');
SELECT kafka_sink.ingest('s', array_agg(r('{"c1":1}'))) FROM generate_series(1, 10000);
SELECT count(*), sum(n), max(n) * 1600 * 9 <= 64 * 1024 * 1024 FROM sizes;
-- what is refused is told by its number in all of them, and limits go through
TRUNCATE sizes;
SELECT kafka_sink.ingest('s', array_agg(r(CASE i WHEN 9999 THEN '{"c1":"x"}' ELSE '{"c1":1}' END) ORDER BY i)) FROM generate_series(1, 10000) i;
SELECT kafka_sink.alter_sink('s', on_error => 'ignore', reject_limit => '2');
SELECT kafka_sink.ingest('s', array_agg(r(CASE WHEN i IN (1, 9999) THEN '{"c1":"x"}' ELSE '{"c1":1}' END) ORDER BY i)) FROM generate_series(1, 10000) i;
SELECT kafka_sink.ingest('s', array_agg(r(CASE WHEN i IN (1, 5000, 9999) THEN '{"c1":"x"}' ELSE '{"c1":1}' END) ORDER BY i)) FROM generate_series(1, 10000) i;
SELECT kafka_sink.drop_sink('s');
DROP TABLE sizes;

-- a limit of many refused records is looked at in passing, wherever they are refused
CREATE TABLE o (id int, v int CHECK (v < 5));
SELECT kafka_sink.create_sink('s', target => 'o', on_error => 'ignore', reject_limit => '50% of 20000');
SELECT kafka_sink.ingest('s', array_agg(r(CASE i % 2 WHEN 0 THEN '{"v":1}' ELSE '{"v":"x"}' END))) FROM generate_series(1, 200000) i;
SELECT kafka_sink.ingest('s', array_agg(r(CASE i % 4 WHEN 0 THEN '{"v":1}' WHEN 1 THEN '{"v":"x"}' WHEN 2 THEN '{"v":2}' ELSE '{"v":9}' END))) FROM generate_series(1, 40000) i;
SELECT kafka_sink.ingest('s', array_agg(r(CASE WHEN i % 2 = 0 AND i <> 30000 THEN '{"v":1}' ELSE '{"v":"x"}' END) ORDER BY i)) FROM generate_series(1, 100000) i;
SELECT kafka_sink.ingest('s', array_agg(r(CASE WHEN i % 4 = 0 THEN '{"v":1}' WHEN i % 4 = 1 THEN '{"v":"x"}' WHEN i % 4 = 2 AND i <> 26002 THEN '{"v":2}' ELSE '{"v":9}' END) ORDER BY i)) FROM generate_series(1, 40000) i;
SELECT kafka_sink.drop_sink('s');

-- deletes and updates that are refused: who is to blame is looked for by the key, not in the whole table each time
CREATE TABLE p (id int PRIMARY KEY, v int CHECK (v < 5), big text);
INSERT INTO p SELECT i, 1, 'big' FROM generate_series(1, 3000) i;
CREATE TABLE child (id int REFERENCES p);
INSERT INTO child SELECT generate_series(2, 3000, 2);
CREATE INDEX ON child (id);
ANALYZE p, child;
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER keep BEFORE UPDATE ON p FOR EACH ROW EXECUTE FUNCTION keep();
SELECT kafka_sink.create_sink('s', target => 'p', insert_mode => 'upsert', delete_enabled => true, on_error => 'ignore');
BEGIN;
SELECT kafka_sink.ingest('s', ARRAY(SELECT r(NULL, format('{"id": %s}', i)) FROM generate_series(1, 1000) i));
SELECT seq_tup_read < 500000 FROM pg_stat_xact_user_tables WHERE relid = 'p'::regclass;
ROLLBACK;
SELECT kafka_sink.alter_sink('s', envelope => 'debezium');
BEGIN;
SELECT kafka_sink.ingest('s', ARRAY(SELECT r(format('{"op": "u", "after": {"id": %s, "v": %s, "big": "__debezium_unavailable_value"}}', i, i % 2 * 9)) FROM generate_series(1, 1000) i));
SELECT seq_tup_read < 500000 FROM pg_stat_xact_user_tables WHERE relid = 'p'::regclass;
ROLLBACK;
SELECT kafka_sink.drop_sink('s');
DROP TABLE child, p;
DROP FUNCTION keep;

-- what fails leaves no plans behind
CREATE FUNCTION refused(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..n LOOP
        BEGIN
            PERFORM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "v": 1}'), r('{"id": 2, "v": 9}')]);
            RAISE 'not refused';
        EXCEPTION WHEN check_violation THEN NULL;
        END;
    END LOOP;
END$$;
CREATE FUNCTION plans() RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM pg_backend_memory_contexts WHERE name LIKE 'CachedPlan%'$$;
SELECT kafka_sink.create_sink('s', target => 'o', filter => 'id > 0', on_error => 'stop');
SELECT refused(1);
SELECT plans() AS before \gset
SELECT refused(100);
SELECT plans() - :before < 10;
SELECT kafka_sink.alter_sink('s', reset => '{target,filter}', command => 'INSERT INTO public.o SELECT (value->>''id'')::int, (value->>''v'')::int FROM batch');
SELECT refused(1);
SELECT plans() AS before \gset
SELECT refused(100);
SELECT plans() - :before < 10;
SELECT kafka_sink.drop_sink('s');
DROP TABLE o, t;
DROP FUNCTION refused, plans, r;
DO $$BEGIN FOR i IN REVERSE 16..1 LOOP EXECUTE format('DROP TYPE t%s', i); END LOOP; END$$;
DROP TYPE wide;
DROP EXTENSION kafka_sink;
