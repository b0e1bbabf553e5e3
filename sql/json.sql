-- Decoding: what becomes of a JSON record, and the exact text of errors.
CREATE EXTENSION kafka_sink;
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET timezone = 'UTC';
-- a record from text
CREATE FUNCTION r(value text, key text DEFAULT NULL)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
-- one record into t; its error, or the row
CREATE FUNCTION try(value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; state text; message text; detail text; context text;
BEGIN
    DELETE FROM t;
    PERFORM kafka_sink.ingest('s', ARRAY[r(value)]);
    SELECT t::text INTO result FROM t;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '')
        || coalesce(' | ' || substring(context FROM 'sink "s"[^\n]*'), '');
END$$;
-- how one column's type takes JSON values
CREATE FUNCTION try_type(type text, VARIADIC vals text[]) RETURNS TABLE (val text, result text)
LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS t;
    EXECUTE format('CREATE TABLE t (v %s)', type);
    PERFORM kafka_sink.create_sink('s', target => 't');
    FOREACH val IN ARRAY vals LOOP
        result := try('{"v": ' || val || '}');
        RETURN NEXT;
    END LOOP;
    PERFORM kafka_sink.drop_sink('s');
END$$;
SET client_min_messages = warning;

-- numbers
SELECT * FROM try_type('smallint', '1', '-32768', '32768', '"7"', '1.5', '1e2', 'true', 'null', '"x"', '[1]');
SELECT * FROM try_type('int', '0', '-0', '2147483647', '2147483648', '" 12 "', '""', '{}');
SELECT * FROM try_type('bigint', '9223372036854775807', '-9223372036854775808', '9223372036854775808', '999999999999999999', '1e400000');
SELECT * FROM try_type('real', '1.5', '"NaN"', '1e39');
SELECT * FROM try_type('double precision', '1.5', '-1e300', '"Infinity"', '1e309', '0.1', '"abc"');
SELECT * FROM try_type('numeric', '1', '1.50', '-0.001', '12345678901234567890.5', '1e5', '"NaN"', '"-Infinity"', '1e400000', '0.00', '-0');
SELECT * FROM try_type('numeric(12,2)', '1', '1.5', '1.005', '-1.25', '9999999999.99', '99999999999', '1.999', '9999999999.995', '1e3', '-0.01');
SELECT * FROM try_type('numeric(3,-2)', '12345', '99949', '99950');
SELECT * FROM try_type('numeric(2,4)', '0.0012', '0.01', '0.00999', '-0.0099');
-- booleans, text
SELECT * FROM try_type('boolean', 'true', 'false', '"yes"', '1', '0', '"maybe"', 'null');
SELECT * FROM try_type('text', '"plain"', '"esc \" \\ \/ \b\f\n\r\t"', '"\u00e9\u4e2d\ud83d\ude00"', '1.50', 'true', '{"a": [1, 2]}', '""', 'null');
SELECT * FROM try_type('varchar(3)', '"abc"', '"abcd"', '"abc  "', '123');
SELECT * FROM try_type('char(3)', '"a"', '"\u00e9\u00e9\u00e9"');
SELECT * FROM try_type('bytea', '"\\x0102"', '"abc"', '"\\xzz"');
-- dates and times; a zone that is missing is UTC
SET timezone = 'America/New_York';
SET datestyle = 'SQL, DMY';
SELECT * FROM try_type('timestamptz', '"2026-01-02T03:04:05Z"', '"2026-01-02 03:04:05.123456+05:30"', '"2026-01-02T03:04:05"', '"2026-02-29T00:00:00Z"', '"2024-02-29T23:59:59.9999999Z"', '"2026-01-02T03:04:60Z"', '"infinity"', '"0001-01-01T00:00:00Z"', '"2026-01-02T24:00:00Z"', '1767323045', '"2026-01-02T03:04:05+15:59"', '"2026-01-02T03:04:05.Z"', '"2026-01-02"');
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
SELECT * FROM try_type('timestamptz(0)', '"2026-01-02T03:04:05.6Z"');
SELECT * FROM try_type('timestamp', '"2026-01-02T03:04:05"', '"2026-01-02T03:04:05+05:00"');
SELECT * FROM try_type('date', '"2026-01-02"', '"2026-01-02T03:04:05Z"', '"01/02/2026"');
SELECT * FROM try_type('interval', '"1 day"', '"P1DT2H"');
SELECT * FROM try_type('uuid', '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"', '"a0"');
SELECT * FROM try_type('inet', '"10.0.0.1"', '"10.0.0.256"');
-- json
SELECT * FROM try_type('jsonb', '{"b": 1, "a": [true, null, "x\ty"]}', '"str"', '1.50', 'null', '"\ud83d"', '"\\u0000"', '1e400000');
SELECT * FROM try_type('json', '{"b":  1, "a": 2}', '"str"', 'null');
-- arrays, composite types, enums, domains, ranges
SELECT * FROM try_type('int[]', '[1, 2, null]', '[]', '"{3,4}"', '[[1, 2], [3, 4]]', '[[1], [2, 3]]', '[[], []]', '[1, [2]]', '["x"]', '{"a": 1}', '1', '[[[[[[[1]]]]]]]');
SELECT * FROM try_type('text[]', '["a", "b,c", "d\"e", null]', '[1, true, {"x": [1]}]');
SELECT * FROM try_type('text[]', '[[], "x"]', '[[[ ], null]]', '["x", []]', '[[[]], [[]]]');
SELECT * FROM try_type('jsonb[]', '[1, [2, 3], {"a": null}]');
CREATE TYPE pair AS (a int, b text);
SELECT * FROM try_type('pair', '{"b": "x", "a": 1}', '{"a": null, "c": 3}', '{}', '"(5,y)"', '{"a": "x"}', '[1, "x"]');
SELECT * FROM try_type('pair[]', '[{"a": 1}, {"b": "z"}, null]');
CREATE TYPE mood AS ENUM ('ok', 'sad');
SELECT * FROM try_type('mood', '"ok"', '"glad"');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN given AS text NOT NULL;
CREATE DOMAIN three AS numeric(5,1)[] CHECK (cardinality(value) = 3);
SELECT * FROM try_type('positive', '1', '0', 'null', '"2"');
SELECT * FROM try_type('given', '"x"', 'null');
SELECT try_type('given', '"x"'), try_type('three', '[1, 2.25, 3]', '[1]');
SELECT * FROM try_type('int4range', '"[1,5)"', '"[5,1)"');

-- a missing field of a domain that must not be null
CREATE TABLE IF NOT EXISTS t ();
DROP TABLE t;
CREATE TABLE t (v given, w int DEFAULT 5);
SELECT kafka_sink.create_sink('s', target => 't');
SELECT try('{"w": 1}');
-- what is not a record
SELECT try(v) FROM unnest(ARRAY['', ' ', '{', '{"v"', '{"v": "x', '{"v": "x"', '{"v": "x"}}', '{"v": "x"} {}', '{"v": "x",}',
    '{v: 1}', '{"v": tru}', '{"v": 01}', '{"v": 1.}', '{"v": +1}', '{"v": .5}', '{"v": 1e}', '{"v": "\x"}', '{"v": "\u12g4"}', '{"v": "\u12',
    '{"v" "x"}', '{"v": }', '{"v": [1, ]}', '{"v": {"a": 1,}}', '{"v": [1 2]}', '{"v": "x"; "w": 1}', '[]', '"v"', '1', 'null', 'NaN',
    '{"v": "tab	inside"}', E'{"v": "new\nline"}', '{"v": "\ud800"}', '{"v": "\udc00x"}', '{"v": "\ud800\u0041"}', '/* c */ {"v": "x"}']) v;
-- what is
SELECT try(v) FROM unnest(ARRAY['{"v": "x"}', E' \t\r\n{ "v" :\t"x" , "w":2 }\n', '{"v": "x", "v": "y"}', '{"\u0076": "x", "w": 3}', '{"other": {"v": 1}, "v": "x"}', '{"V": "upper", "v": "x"}', '{"":1, "v": "x"}']) v;
-- unknown fields are passed over, but they must be JSON
SELECT try('{"v": "x", "u": [{"a": [1, {"b": "\u0000"}]}]}');
SELECT try('{"v": "x", "u": [{"a": [1, {"b": "\u000"}]}]}');
-- \u0000
SELECT try('{"v": "a\u0000b"}');
SELECT kafka_sink.alter_sink('s', on_nul => 'strip');
SELECT try('{"v": "a\u0000b\\u0000"}');
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
CREATE TABLE t (v jsonb, a jsonb[]);
SELECT kafka_sink.create_sink('s', target => 't');
SELECT try('{"v": {"k\u0000": "a\u0000b"}}');
SELECT kafka_sink.alter_sink('s', on_nul => 'strip');
SELECT try('{"v": {"k\u0000": "a\u0000b", "\\u0000": 1}, "a": ["\u0000"]}');
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- depth
CREATE TABLE t (v jsonb);
SELECT kafka_sink.create_sink('s', target => 't');
SELECT length(try('{"v": ' || repeat('[', 512) || repeat(']', 512) || '}'));
SELECT try('{"v": ' || repeat('[', 513) || repeat(']', 513) || '}');
SELECT try('{"v": ' || repeat('{"a":', 100000) || '1' || repeat('}', 100000) || '}');
SELECT try('{"v": ' || repeat('[', 1000000));
-- size
SELECT kafka_sink.alter_sink('s', max_record_bytes => 1024);
SELECT try('{"v": "' || repeat('x', 1024) || '"}');
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- bytes that are not UTF-8, in a value, a key, and where nobody looks
CREATE TABLE t (v text, k text, b bytea);
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"k": "@key", "b": "@value"}', key_format => 'raw');
SELECT kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, decode('7b2276223a2022ff227d', 'hex'), NULL)]::kafka_sink.record[]);
SELECT kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, decode('7b2276223a202200227d', 'hex'), NULL)]::kafka_sink.record[]);
SELECT kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, '\xc3'::bytea, '{"v": "x"}', NULL)]::kafka_sink.record[]);
SELECT kafka_sink.alter_sink('s', columns => '{"v": null, "k": null, "b": "@value"}');
SELECT kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, '\xc3'::bytea, '\x00ff'::bytea, NULL)]::kafka_sink.record[]);
TABLE t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- NaN and infinities can be refused
CREATE TABLE t (f float8, g real, n numeric, a float8[]);
SELECT kafka_sink.create_sink('s', target => 't', on_nonfinite => 'error');
SELECT try(v) FROM unnest(ARRAY['{"f": 1, "n": 2}', '{"f": "NaN"}', '{"g": "-Infinity"}', '{"n": "NaN"}', '{"n": "Infinity"}', '{"a": [1, "NaN"]}']) v;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- paths and metadata
CREATE TABLE t (id int, city text, price numeric, odd text, tag text, topic text, part bigint, off int, ts timestamptz, ms bigint, day date,
                k jsonb, kid int, h jsonb, hs kafka_sink.header[], doc jsonb, rest jsonb);
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": "$.order.id", "city": "$.order.ship.city", "price": "$.order.items[1].price",
    "odd": "$.\"odd \\\"name\".x", "tag": "tag.with.dots", "topic": "@topic", "part": "@partition", "off": "@offset", "ts": "@timestamp", "ms": "@timestamp", "day": "@timestamp",
    "k": "@key", "kid": "@key.id", "h": "@headers", "hs": "@headers", "doc": "@value", "rest": "@rest"}');
SELECT kafka_sink.seek('s', '{"orders": {"3": 41}}');
SELECT kafka_sink.ingest('s', ARRAY[ROW('orders', 3, 41, '2026-03-04 05:06:07.089+00', '{"id": 77}',
    convert_to('{"order": {"id": 5, "ship": {"city": "Oslo"}, "items": [{"price": 1}, {"price": 2.50}]}, "odd \"name": {"x": "y"}, "tag.with.dots": "t", "more": [1, "a\u0062c"], "z": null}', 'UTF8'),
    ARRAY[ROW('trace', 'abc'), ROW('empty', NULL), ROW('trace', 'def')]::kafka_sink.header[])]::kafka_sink.record[]);
\x
TABLE t;
\x
-- a path that leads nowhere is a missing field
DELETE FROM t;
SELECT kafka_sink.ingest('s', ARRAY[r('{"order": {"id": 6, "items": []}, "odd \"name": 1}', '{}')]);
\x
TABLE t;
\x
-- a key that is not JSON
SELECT kafka_sink.ingest('s', ARRAY[r('{}', 'abc')]);
SELECT kafka_sink.drop_sink('s');
-- mappings that cannot be
SELECT kafka_sink.create_sink('s', target => 't', columns => '[]');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"nope": "x"}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": 1}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": ""}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": "@nothing"}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": "$.a..b"}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": "$.a[x]"}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": "$[0]"}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": "@rest"}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": "@headers"}');
CREATE TYPE two AS (a bigint, b bigint);
ALTER TABLE t ADD COLUMN twos two[];
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"twos": "@headers"}');
ALTER TABLE t DROP COLUMN twos;
DROP TYPE two;
-- objects and arrays are compared with those that were there before: of each pair of records
-- one after the other, what is taken is what is there
CREATE TABLE v (id int, a jsonb, b text);
SELECT kafka_sink.create_sink('v', target => 'v');
CREATE TABLE shapes AS
    SELECT row_number() OVER () AS id, v FROM unnest(ARRAY[
        '{"x":1,"y":["p",true]}', '{"x":2222222222,"y":["","q\"r"]}', '{"x":null,"y":[null,false]}', '{"x":1,"y":["p",true,7]}',
        '{"x":1,"y":["p"]}', '{"x":1,"y":[]}', '{"x":{"x":1},"y":["p",true]}', '{"x":1,"y":["p",true],"z":0}', '{"x":1,"z":["p",true]}',
        '{"y":1,"x":["p",true]}', '{"x":1, "y":["p",true]}', '{"x":-1.5e3,"y":[-0,0.1]}', '{"\u0078":1,"y":["p",true]}', '{}', '[]',
        '[1,2,3]', '["a","b","c"]', '[1,2,3,4]', '[[1],[2],[3]]', 'null', '"x"', '7',
        '{"a name of more than sixteen bytes":1,"and one more of these":[{"deep":[[[["in it"]]]]}]}',
        '{"a name of more than sixteen bytes":2,"and one more of those":[{"deep":[[[["in it"]]]]}]}',
        '{"a name of more than sixteen bytes":3,"and one more of these":[{"deep":[[[["not in it"]]]]}]}']) v;
CREATE VIEW pairs AS
    SELECT (one.id * 100 + other.id) * 2 + i AS id, CASE i WHEN 1 THEN one.v ELSE other.v END AS v
    FROM shapes one, shapes other, generate_series(1, 2) i;
SELECT count(*), count(DISTINCT id) FROM pairs;
SELECT kafka_sink.ingest('v', array_agg(r(format('{"id":%s,"a":%s,"other":%s,"b":%s}', id, v, v, v)) ORDER BY id)) FROM pairs;
SELECT count(*), count(*) FILTER (WHERE t.a IS DISTINCT FROM nullif(pairs.v::jsonb, 'null')
    OR t.b IS DISTINCT FROM CASE jsonb_typeof(pairs.v::jsonb) WHEN 'object' THEN pairs.v WHEN 'array' THEN pairs.v ELSE pairs.v::jsonb #>> '{}' END) AS wrong
FROM v t FULL JOIN pairs USING (id);
-- what is wrong is found where it is, behind what was there before
CREATE FUNCTION after(value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; context text;
BEGIN
    PERFORM kafka_sink.ingest('v', array_agg(r(v)) || r(value))
    FROM (SELECT '{"a":{"x":1,"y":["p",true]}}' FROM generate_series(1, 3)) AS given(v);
    RETURN 'taken';
EXCEPTION WHEN invalid_text_representation THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    RETURN detail;
END$$;
SELECT v, after(v) FROM unnest(ARRAY['{"a":{"x":1,"y":["p",true]}', '{"a":{"x":1,"y":["p",tru]}}', '{"a":{"x":1,"y":["p",true}}',
    '{"a":{"x":1,"y":["p,true]}}', '{"a":{"x":01,"y":["p",true]}}', '{"a":{"x":-,"y":["p",true]}}', '{"a":{"x":,"y":["p",true]}}',
    '{"a":{"x":1."y":["p",true]}}', '{"a":{"x":1,"y":["\p",true]}}', '{"a":{"x":1,"y":["p",]}}', '{"a":{"x":"1"y":["p",true]}}',
    '{"a":{"x":1,"y":["p"', '{"a":{"x":', '{"a":{"x":1,"y":["p",true]]', '{"a":{"x":1,"y":["p",{true]}}']) v;
SELECT kafka_sink.drop_sink('v');
DROP FUNCTION after;
DROP VIEW pairs;
DROP TABLE shapes, v;
-- keys as text stay as they are, other types take JSON
CREATE TABLE u (a text, b varchar(9), c jsonb, d int, e bytea);
SELECT kafka_sink.create_sink('u', target => 'u', columns => '{"a": "@key", "b": "@key", "c": "@key", "d": "@key", "e": "@key"}');
SELECT kafka_sink.ingest('u', ARRAY[r('{}', '17'), r('{}', NULL)]);
SELECT kafka_sink.alter_sink('u', columns => '{"a": "@key", "b": "@key", "c": "@key", "d": null, "e": "@key"}');
SELECT kafka_sink.ingest('u', ARRAY[r('{}', '"abc"')]);
SELECT kafka_sink.ingest('u', ARRAY[r('{}', 'abc')]);
SELECT kafka_sink.alter_sink('u', columns => '{"a": "@key", "b": "@key", "c": null, "d": null, "e": null}');
SELECT kafka_sink.ingest('u', ARRAY[r('{}', 'abc')]);
TABLE u;
SELECT kafka_sink.drop_sink('u');
DROP TABLE u;
DROP TABLE t;

DROP FUNCTION try_type, try, r;
DROP TYPE pair, mood;
DROP DOMAIN positive, given, three;
DROP EXTENSION kafka_sink;
