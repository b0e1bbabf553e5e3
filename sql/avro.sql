-- Avro: each type to each column that takes it, what is refused, framings, keys, and
-- definitions.  The bytes are made here, by hand.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET datestyle = 'ISO, YMD';
-- a number, a string
CREATE FUNCTION n(v numeric) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE z numeric := CASE WHEN v >= 0 THEN 2 * v ELSE -2 * v - 1 END; result bytea := '';
BEGIN
    LOOP
        result := result || set_byte('\x00', 0, (z % 128 + CASE WHEN z >= 128 THEN 128 ELSE 0 END)::int);
        z := div(z, 128);
        EXIT WHEN z = 0;
    END LOOP;
    RETURN result;
END$$;
CREATE FUNCTION s(v text) RETURNS bytea LANGUAGE sql AS
$$SELECT n(octet_length(convert_to(v, 'UTF8'))) || convert_to(v, 'UTF8')$$;
CREATE FUNCTION b(v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT n(octet_length(v)) || v$$;
CREATE FUNCTION r(value bytea, key bytea DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, key, value, NULL)::kafka_sink.record$$;
CREATE FUNCTION try(VARIADIC records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result kafka_sink.batch_result; state text; message text; detail text; context text;
BEGIN
    result := kafka_sink.ingest('s', records);
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '')
        || coalesce(' | ' || substring(context FROM 'sink "s"[^\n]*'), '');
END$$;
CREATE FUNCTION rec(VARIADIC fields text[]) RETURNS text LANGUAGE sql AS
$$SELECT format('{"type": "record", "name": "r", "fields": [%s]}', array_to_string(fields, ', '))$$;
CREATE FUNCTION rec2(VARIADIC fields text[]) RETURNS text LANGUAGE sql AS
$$SELECT replace(rec(VARIADIC fields), '"r"', '"q"')$$;
CREATE FUNCTION f(name text, type text) RETURNS text LANGUAGE sql AS
$$SELECT format('{"name": "%s", "type": %s}', name, type)$$;
-- one field of a type of the schema, one column of a type of the server
CREATE FUNCTION one(schema text, type text, VARIADIC vals bytea[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; message text;
BEGIN
    PERFORM kafka_sink.drop_sink('s') FROM kafka_sink.sinks WHERE sink = 's';
    DROP TABLE IF EXISTS one;
    EXECUTE format('CREATE TABLE one (i serial, v %s)', type);
    BEGIN
        PERFORM kafka_sink.create_sink('s', target => 'one', format => 'avro', value_schema => rec(f('v', schema)),
            columns => '{"i": null}');
    EXCEPTION WHEN OTHERS THEN
        RETURN SQLSTATE || ' ' || SQLERRM;
    END;
    FOR i IN 1 .. cardinality(vals) LOOP
        message := nullif(try(r(vals[i])), '(1,1,0,0,0,0,0,0)');
        result := nullif(concat_ws(E'\n', result, regexp_replace(message, ' \| sink "s", record 1(, column "v")?', '')), '');
    END LOOP;
    RETURN concat_ws(E'\n', (SELECT string_agg(coalesce(v::text, 'NULL'), '; ' ORDER BY i) FROM one), result);
END$$;

-- primitive types
SELECT one('"boolean"', 'boolean', '\x00', '\x01', '\x02', '', '\x0100');
SELECT unnest(ARRAY[one('"boolean"', 'text', '\x00', '\x01'), one('"boolean"', 'jsonb', '\x01'), one('"boolean"', 'int', '\x01')]) AS one;
SELECT one('"int"', 'int', n(0), n(-1), n(2147483647), n(-2147483648), n(2147483648), '\x80');
SELECT one('"int"', 'smallint', n(32767), n(-32768), n(32768));
SELECT unnest(ARRAY[one('"int"', 'bigint', n(-2147483648)), one('"int"', 'real', n(16777217)), one('"int"', 'float8', n(7)),
    one('"int"', 'numeric', n(-7)), one('"int"', 'numeric(8,2)', n(7)), one('"int"', 'text', n(-7)), one('"int"', 'jsonb', n(-7)),
    one('"int"', 'boolean', n(1), n(0)), one('"int"', 'varchar(2)', n(123)), one('"int"', 'oid', n(5)), one('"int"', 'money', n(5))]) AS one;
SELECT unnest(ARRAY[one('"int"', 'bytea', n(1)), one('"int"', 'uuid', n(1)), one('"int"', 'date', n(1)), one('"int"', 'int[]', n(1)), one('"int"', 'interval', n(1))]) AS one;
SELECT one('"long"', 'bigint', n(9223372036854775807), n(-9223372036854775808), '\xffffffffffffffffff01', '\xffffffffffffffffff02',
    '\x80808080808080808080', '\x8080808080808080808000', '\xffff');
SELECT unnest(ARRAY[one('"long"', 'int', n(2147483647), n(2147483648)), one('"long"', 'float8', n(9007199254740993)),
    one('"long"', 'numeric', n(9223372036854775807)), one('"long"', 'text', n(-9223372036854775808)), one('"long"', 'jsonb', n(9223372036854775807))]) AS one;
SELECT unnest(ARRAY[one('"float"', 'real', '\x0000c03f', '\xcdcccc3d', '\x0000c07f', '\x0000807f'), one('"float"', 'float8', '\x0000c03f', '\xcdcccc3d'),
    one('"float"', 'numeric', '\xcdcccc3d', '\x0000c07f'), one('"float"', 'text', '\xcdcccc3d'), one('"float"', 'jsonb', '\xcdcccc3d', '\x000080ff')]) AS one;
SELECT unnest(ARRAY[one('"float"', 'int', '\x00000040', '\x0000c03f'), one('"float"', 'boolean', '\x0000803f')]) AS one;
-- whole numbers are integers, however many digits they have
SELECT unnest(ARRAY[one('"float"', 'int', '\x00247449'), one('"double"', 'int', '\x000000205fa00242'),
    one('"double"', 'bigint', '\x00003426f56b0c43', '\x000000000000e0c3', '\x000000000000e043', '\x000000000000f8ff')]) AS one;
SELECT unnest(ARRAY[one('"double"', 'float8', '\x9a9999999999b93f', '\x000000000000f87f', '\x000000000000f0ff', '\x9a9999999999'),
    one('"double"', 'real', '\x9a9999999999b93f', '\x000000000000f07f', '\x9c7500883ce4377e', '\x0100000000000000')]) AS one;
SELECT unnest(ARRAY[one('"double"', 'numeric', '\x9a9999999999b93f'), one('"double"', 'numeric(4,2)', '\x9a9999999999b93f', '\x00000000006af840'),
    one('"double"', 'jsonb', '\x9a9999999999b93f', '\x000000000000f87f'), one('"double"', 'date', '\x9a9999999999b93f')]) AS one;
SELECT one('"string"', 'text', s(''), s('plain'), s('häßlich 🐘'), '\x02ff', '\x01', '\x0461', n(9223372036854775807), s('a') || '\x00');
SELECT unnest(ARRAY[one('"string"', 'text', '\x06610062'), one('"string"', 'varchar(3)', s('abc'), s('abcd')), one('"string"', 'bytea', s('abc'), '\x06610062'),
    one('"string"', 'jsonb', s('a"b\c' || E'\n\x01')), one('"string"', 'int', s('12'), s('x')), one('"string"', 'date', s('2026-01-02')),
    one('"string"', 'uuid', s('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')), one('"string"', 'int[]', s('{1,2}')), one('"string"', 'inet', s('::1'))]) AS one;
-- 36 bytes that are no uuid, whatever stands behind them
SELECT one('"string"', 'uuid', s('-aa-bbcc-9c0b-4ef8-bb6d-6bb9bd380a11') || 'f2');
SELECT unnest(ARRAY[one('"bytes"', 'bytea', b(''), b('\x00ff')), one('"bytes"', 'text', b('abc'), b('\xff')), one('"bytes"', 'varchar(9)', b('abc')),
    one('"bytes"', 'jsonb', b('\x00ff')), one('"bytes"', 'int', b('\x01')), one('"bytes"', 'uuid', b('\x01'))]) AS one;
SELECT unnest(ARRAY[one('"null"', 'int', ''), one('"null"', 'jsonb', ''), one('"null"', 'text', '', '\x00')]) AS one;

-- complex types
SELECT unnest(ARRAY[one('{"type": "fixed", "name": "f", "size": 3}', 'bytea', '\x010203', '\x0102'), one('{"type": "fixed", "name": "f", "size": 3}', 'text', 'abc'),
    one('{"type": "fixed", "name": "f", "size": 0}', 'bytea', ''), one('{"type": "fixed", "name": "f", "size": 3}', 'jsonb', 'abc')]) AS one;
CREATE TYPE mood AS ENUM ('sad', 'ok');
SELECT unnest(ARRAY[one('{"type": "enum", "name": "e", "symbols": ["sad", "happy"]}', 'mood', n(0), n(1), n(2), n(-1)),
    one('{"type": "enum", "name": "e", "symbols": ["sad", "happy"], "default": "sad"}', 'text', n(0), n(1)),
    one('{"type": "enum", "name": "e", "symbols": ["sad", "happy"]}', 'jsonb', n(1)),
    one('{"type": "enum", "name": "e", "symbols": ["sad", "happy"]}', 'bytea', n(1))]) AS one;
SELECT one('{"type": "array", "items": "int"}', 'int[]', '\x00', n(2) || n(1) || n(2) || n(1) || n(3) || '\x00',
    n(-2) || n(2) || n(1) || n(2) || '\x00', n(-2) || n(3) || n(1) || n(2) || '\x00', n(-2) || n(9) || n(1) || n(2) || '\x00',
    n(1000000000000), n(-9223372036854775808) || n(0), n(2) || n(1));
SELECT unnest(ARRAY[one('{"type": "array", "items": ["null", "string"]}', 'text[]', n(2) || n(0) || n(1) || s('a') || '\x00'),
    one('{"type": "array", "items": "long"}', 'jsonb', n(2) || n(1) || n(2) || '\x00'),
    one('{"type": "array", "items": "long"}', 'text', n(2) || n(1) || n(2) || '\x00'),
    one('{"type": "array", "items": "long"}', 'int', '\x00'), one('{"type": "array", "items": "bytes"}', 'int[]', '\x00'),
    one('{"type": "array", "items": "null"}', 'int[]', n(2) || '\x00', n(5000) || '\x00', n(-9223372036854775807) || n(0) || '\x00'),
    one('{"type": "array", "items": "null"}', 'jsonb', n(2) || '\x00', n(4000) || n(4000) || '\x00')]) AS one;
SELECT one('{"type": "array", "items": {"type": "array", "items": "int"}}', 'int[]',
    n(2) || n(1) || n(1) || '\x00' || n(1) || n(2) || '\x00' || '\x00', n(2) || n(1) || n(1) || '\x00' || '\x00' || '\x00');
SELECT unnest(ARRAY[one('{"type": "map", "values": "int"}', 'jsonb', '\x00', n(2) || s('a') || n(1) || s('b"') || n(2) || '\x00', n(-1) || n(3) || s('a') || n(1) || '\x00',
    n(-1) || n(4) || s('a') || n(1) || '\x00'), one('{"type": "map", "values": "int"}', 'text', n(1) || s('a') || n(1) || '\x00'),
    one('{"type": "map", "values": "int"}', 'int[]', '\x00')]) AS one;
CREATE TYPE pair AS (a int, b text, c date);
SELECT unnest(ARRAY[one(rec2(f('b', '"string"'), f('a', '"int"'), f('x', '"long"'), f('c', '{"type": "int", "logicalType": "date"}')) , 'pair', s('two') || n(1) || n(9) || n(0)),
    one(rec2(f('b', '"string"')), 'pair[]', s('two')), one('{"type": "map", "values": "int"}', 'pair', n(1) || s('a') || n(1) || '\x00'),
    one('{"type": "array", "items": ' || rec2(f('a', '"int"')) || '}', 'pair[]', n(2) || n(1) || n(2) || '\x00')]) AS one;
SELECT unnest(ARRAY[one('["null", "int"]', 'int', n(0), n(1) || n(5), n(2), n(-1)), one('["int", "null"]', 'int', n(1), n(0) || n(5)), one('[]', 'int', n(0)),
    one('["null", "int", "string"]', 'int', n(0), n(1) || n(5), n(2) || s('6'), n(2) || s('x')),
    one('["null", "int", "bytes"]', 'int', n(1) || n(5), n(2) || b('6')), one('["null", "bytes"]', 'int', n(0)), one('["null"]', 'int', n(0)),
    one('["null", "int", {"type": "array", "items": "int"}]', 'jsonb', n(0), n(1) || n(5), n(2) || n(1) || n(7) || '\x00')]) AS one;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN given AS text NOT NULL;
SELECT unnest(ARRAY[one('"long"', 'positive', n(1), n(-1)), one('["null", "string"]', 'given', n(1) || s('a'), n(0)),
    one('{"type": "array", "items": "int"}', 'positive[]', n(1) || n(1) || '\x00', n(1) || n(-1) || '\x00')]) AS one;

-- logical types
SELECT unnest(ARRAY[one('{"type": "int", "logicalType": "date"}', 'date', n(0), n(-1), n(20455), n(2147483647), n(-2147483648)),
    one('{"type": "int", "logicalType": "date"}', 'timestamp', n(20455)), one('{"type": "int", "logicalType": "date"}', 'text', n(20455)),
    one('{"type": "int", "logicalType": "date"}', 'int', n(20455)), one('{"type": "int", "logicalType": "date"}', 'jsonb', n(-719529)),
    one('{"type": "int", "logicalType": "date"}', 'time', n(20455))]) AS one;
SELECT unnest(ARRAY[one('{"type": "int", "logicalType": "time-millis"}', 'time', n(1), n(86400000), n(86400001), n(-1)),
    one('{"type": "int", "logicalType": "time-millis"}', 'interval', n(-1)), one('{"type": "long", "logicalType": "time-micros"}', 'time', n(1), n(86399999999)),
    one('{"type": "long", "logicalType": "time-micros"}', 'time(2)', n(1234567)), one('{"type": "long", "logicalType": "time-micros"}', 'bigint', n(1)),
    one('{"type": "long", "logicalType": "time-micros"}', 'jsonb', n(1)), one('{"type": "int", "logicalType": "time-millis"}', 'date', n(1))]) AS one;
SELECT unnest(ARRAY[one('{"type": "long", "logicalType": "timestamp-millis"}', 'timestamptz', n(0), n(-1), n(1767323045678), n(9223372036854775807)),
    one('{"type": "long", "logicalType": "timestamp-millis"}', 'timestamp', n(1767323045678)), one('{"type": "long", "logicalType": "timestamp-millis"}', 'date', n(1767323045678)),
    one('{"type": "long", "logicalType": "timestamp-millis"}', 'jsonb', n(1767323045678), n(-99999999999999)),
    one('{"type": "long", "logicalType": "timestamp-millis"}', 'interval', n(1)), one('{"type": "long", "logicalType": "timestamp-millis"}', 'bigint', n(1767323045678))]) AS one;
SELECT unnest(ARRAY[one('{"type": "long", "logicalType": "timestamp-micros"}', 'timestamptz', n(1767323045678901)), one('{"type": "long", "logicalType": "timestamp-micros"}', 'timestamptz(0)', n(1767323045678901)),
    one('{"type": "long", "logicalType": "timestamp-nanos"}', 'timestamptz', n(1767323045678901999)), one('{"type": "long", "logicalType": "timestamp-nanos"}', 'text', n(-1))]) AS one;
-- moments that stand for infinity elsewhere are moments here; numbers have a column's digits
SELECT unnest(ARRAY[one('{"type": "long", "logicalType": "timestamp-nanos"}', 'timestamptz', n(22375808000), n(-29575808000)),
    one('{"type": "int", "logicalType": "date"}', 'date', n(-622191234), n(2147483647)),
    one('{"type": "long", "logicalType": "timestamp-millis"}', 'numeric(16,2)', n(1767323045678), n(100000000000000)), one('"long"', 'numeric(5,1)', n(7), n(10000)),
    one('"long"', 'real', n(1152921573326323713))]) AS one;
SET timezone = 'America/New_York';
SELECT unnest(ARRAY[one('{"type": "long", "logicalType": "local-timestamp-millis"}', 'timestamp', n(1767323045678)), one('{"type": "long", "logicalType": "local-timestamp-micros"}', 'timestamptz', n(1767323045678901)),
    one('{"type": "long", "logicalType": "local-timestamp-nanos"}', 'timestamp', n(1767323045678901999)), one('{"type": "long", "logicalType": "local-timestamp-micros"}', 'jsonb', n(1767323045678901)),
    one('{"type": "long", "logicalType": "timestamp-millis"}', 'timestamp', n(1767323045678))]) AS one;
SET timezone = 'UTC';
SELECT unnest(ARRAY[one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', 'numeric', b(''), b('\x00'), b('\x7b'), b('\xff85'), b('\x000000000000000000007b'), b('\x7fffffffffff')),
    one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', 'numeric(6,2)', b('\x0f423f'), b('\x05f5e0ff')),
    one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', 'numeric(6,1)', b('\x7b')),
    one('{"type": "bytes", "logicalType": "decimal", "precision": 9}', 'int', b('\x7b')), one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', 'float8', b('\x7b')),
    one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', 'jsonb', b('\x7b')), one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', 'text', b('\x7b')),
    one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', 'bytea', b('\x7b')), one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', 'date', b('\x7b'))]) AS one;
-- more digits than the schema says: those of 8 bytes, in columns of any type
SELECT t, one('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', t, b('\x7fffffffffff'), b('\x7fffffffffffffff'), b('\x7fffffffffffffffff')) FROM unnest('{numeric,text,jsonb}'::text[]) t;
SELECT unnest(ARRAY[one('{"type": "fixed", "name": "f", "size": 9, "logicalType": "decimal", "precision": 21, "scale": 20}', 'numeric', '\x00000000000000007b', '\x80ffffffffffffffff'),
    one('{"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 3}', 'numeric', b('\x7fffffffffffffffffffffffffffffff'), b('\x80000000000000000000000000000000'))]) AS one;
SELECT unnest(ARRAY[one('{"type": "string", "logicalType": "uuid"}', 'uuid', s('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), s('x')), one('{"type": "string", "logicalType": "uuid"}', 'text', s('x')),
    one('{"type": "fixed", "name": "f", "size": 16, "logicalType": "uuid"}', 'uuid', '\xa0eebc999c0b4ef8bb6d6bb9bd380a11'),
    one('{"type": "fixed", "name": "f", "size": 16, "logicalType": "uuid"}', 'text', '\xa0eebc999c0b4ef8bb6d6bb9bd380a11'),
    one('{"type": "fixed", "name": "f", "size": 16, "logicalType": "uuid"}', 'jsonb', '\xa0eebc999c0b4ef8bb6d6bb9bd380a11'),
    one('{"type": "fixed", "name": "f", "size": 16, "logicalType": "uuid"}', 'bytea', '\xa0eebc999c0b4ef8bb6d6bb9bd380a11'),
    one('{"type": "fixed", "name": "f", "size": 16, "logicalType": "uuid"}', 'int', '\xa0eebc999c0b4ef8bb6d6bb9bd380a11')]) AS one;
SELECT unnest(ARRAY[one('{"type": "fixed", "name": "f", "size": 12, "logicalType": "duration"}', 'interval', '\x0e0000000300000005040000', '\xffffffff0000000000000000'),
    one('{"type": "fixed", "name": "f", "size": 12, "logicalType": "duration"}', 'text', '\x0e0000000300000005040000'),
    one('{"type": "fixed", "name": "f", "size": 12, "logicalType": "duration"}', 'int', '\x0e0000000300000005040000')]) AS one;
-- unknown, or not of this type: the base type
SELECT unnest(ARRAY[one('{"type": "int", "logicalType": "timestamp-millis"}', 'int', n(5)), one('{"type": "string", "logicalType": "date"}', 'text', s('x')),
    one('{"type": "long", "logicalType": "nonsense"}', 'bigint', n(5)), one('{"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}', 'bytea', b('\x01')),
    one('{"type": "bytes", "logicalType": "decimal"}', 'bytea', b('\x01')), one('{"type": "bytes", "logicalType": "decimal", "precision": 0}', 'bytea', b('\x01')),
    one('{"type": "fixed", "name": "f", "size": 1, "logicalType": "decimal", "precision": 5}', 'bytea', '\x01'),
    one('{"type": "fixed", "name": "f", "size": 15, "logicalType": "uuid"}', 'bytea', '\x000000000000000000000000000000'),
    one('{"type": "bytes", "logicalType": 7}', 'bytea', b('\x01'))]) AS one;

-- on_nul, on_nonfinite, units
SELECT kafka_sink.drop_sink('s');
CREATE TABLE t (id int, v text, x float8, at timestamptz);
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', on_nul => 'strip', on_nonfinite => 'error',
    columns => '{"at": {"source": "at", "unit": "seconds"}}',
    value_schema => rec(f('v', '"string"'), f('x', '"double"'), f('at', '["null", "long"]'), f('id', '"int"')));
SELECT unnest(ARRAY[try(r('\x06610062' || '\x000000000000f03f'::bytea || n(1) || n(60) || n(1))), try(r('\x06c300a9' || '\x000000000000f03f'::bytea || n(1) || n(60) || n(1))), try(r(s('') || '\x000000000000f87f'::bytea || n(0) || n(1)))]) AS try;
TABLE t;

-- fields and columns: order, names, aliases, paths, defaults, what is left
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
CREATE TABLE t (id bigint PRIMARY KEY, name text, at timestamptz DEFAULT '2000-01-01', city text, zip text, color text, second int, other int, extra int DEFAULT 7, rest jsonb, whole jsonb, raw bytea);
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', insert_mode => 'upsert',
    columns => '{"city": "$.address.city", "zip": "$.address.zip", "color": "$.attributes.color", "second": "$.numbers[1]", "other": "$.address.nothing",
        "rest": "@rest", "whole": "@value", "raw": "@value", "at": null}',
    value_schema => $${"type": "record", "name": "a.b.person", "fields": [
        {"name": "skipped", "type": {"type": "array", "items": "string"}},
        {"name": "full_name", "type": "string", "aliases": ["called", "name"]},
        {"name": "address", "type": ["null", {"type": "record", "name": "address", "namespace": "x", "fields": [
            {"name": "zip", "type": "string"}, {"name": "city", "type": ["null", "string"]}, {"name": "before", "type": ["null", "address"]}]}]},
        {"name": "attributes", "type": {"type": "map", "values": "string"}},
        {"name": "numbers", "type": {"type": "array", "items": "int"}},
        {"name": "id", "type": "long", "doc": "the key"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0}]}$$);
SELECT try(r(n(1) || s('x') || '\x00' || s('Ann') || n(1) || s('123') || n(1) || s('Ulm') || n(1) || s('0') || n(0) || n(0)
    || n(2) || s('size') || s('XL') || s('color') || s('red') || '\x00' || n(3) || n(1) || n(2) || n(3) || '\x00' || n(1) || n(1767323045678)));
SELECT try(r('\x00' || s('Bob') || n(0) || '\x00' || '\x00' || n(2) || n(0)));
SELECT try(r('\x00' || s('Cid') || n(0) || n(1) || s('color') || s('blue') || n(1) || s('color') || s('green') || '\x00' || n(1) || n(1) || n(1) || n(2) || '\x00' || n(3) || n(0)));
SELECT id, name, city, zip, color, second, other, extra FROM t ORDER BY id;
SELECT id, rest, whole FROM t ORDER BY id;
SELECT encode(raw, 'hex') FROM t WHERE id = 2;
SELECT kafka_sink.alter_sink('s', strict => true);
SELECT kafka_sink.alter_sink('s', columns => '{"name": "full_name", "city": null, "zip": null}', strict => true);
SELECT kafka_sink.alter_sink('s', columns => '{"name": "address"}', reset => '{strict}');
SELECT try(r('\x00' || s('Dan') || n(1) || s('1') || n(0) || n(0) || '\x00' || '\x00' || n(4) || n(0)));
SELECT name FROM t WHERE id = 4;
-- recursion: as deep as it goes
SELECT kafka_sink.drop_sink('s');
CREATE TABLE list (v int, deep int, whole jsonb);
-- items that take no bytes are counted where a path looks for one of them
CREATE TABLE empty_items (v text);
SELECT kafka_sink.drop_sink('s') FROM kafka_sink.sinks WHERE sink = 's';
SELECT kafka_sink.create_sink('s', target => 'empty_items', format => 'avro', columns => '{"v": "$.xs[9999999]"}',
    value_schema => rec(f('xs', '{"type": "array", "items": "null"}')));
SELECT try(r(n(3) || n(2) || n(0))), try(r(n(4000) || n(4000) || n(4000) || n(0)));
SELECT kafka_sink.drop_sink('s');
DROP TABLE empty_items;
SELECT kafka_sink.create_sink('s', target => 'list', format => 'avro', columns => '{"deep": "$.next.next.v", "whole": "@value"}',
    value_schema => '{"type": "record", "name": "list", "fields": [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "list"]}]}');
SELECT unnest(ARRAY[try(r(n(1) || n(1) || n(2) || n(1) || n(3) || n(0))), try(r(n(1) || n(0)))]) AS try;
TABLE list;
SELECT unnest(ARRAY[try(r(decode(repeat('0202', 63) || '0200', 'hex'))), try(r(decode(repeat('0202', 64) || '0200', 'hex')))]) AS try;
SELECT count(*) FROM list;
SELECT kafka_sink.alter_sink('s', columns => '{"deep": null, "whole": null}');
SELECT unnest(ARRAY[try(r(decode(repeat('0202', 64) || '0200', 'hex'))), try(r(decode(repeat('0202', 65) || '0200', 'hex')))]) AS try;

-- values that are no records
SELECT kafka_sink.drop_sink('s');
CREATE TABLE v (v text);
SELECT kafka_sink.create_sink('s', target => 'v', format => 'avro', value_schema => '"string"');
SELECT kafka_sink.create_sink('s', target => 'v', format => 'avro', value_schema => '"string"', columns => '{"v": "@value"}');
SELECT try(r(s('a')), r(s('b')));
SELECT kafka_sink.alter_sink('s', value_schema => '["null", {"type": "record", "name": "r1", "fields": [{"name": "a", "type": "int"}]}, {"type": "record", "name": "r2", "fields": [{"name": "v", "type": "string"}]}]', reset => '{columns}');
SELECT try(r(n(2) || s('c'))), try(r(n(1) || n(5))), try(r(n(0)));
SELECT kafka_sink.alter_sink('s', value_schema => rec(f('V', '"string"')));
TABLE v;
-- a command: the value as jsonb, or a type
SELECT kafka_sink.drop_sink('s');
TRUNCATE v;
SELECT kafka_sink.create_sink('s', format => 'avro', command => 'INSERT INTO public.v SELECT value FROM batch', value_schema => rec(f('a', '"int"'), f('b', '"string"')));
SELECT try(r(n(1) || s('x')));
SELECT kafka_sink.alter_sink('s', command => 'INSERT INTO public.v SELECT a + 1 FROM batch', value_type => 'pair');
SELECT try(r(n(1) || s('x')));
TABLE v;
SELECT kafka_sink.drop_sink('s');

-- keys
CREATE TABLE k (id int, part text, v text, key jsonb, PRIMARY KEY (id, part));
SELECT kafka_sink.create_sink('s', target => 'k', format => 'avro', key_format => 'avro', insert_mode => 'upsert', delete_enabled => true,
    columns => '{"id": "@key.id", "part": "@key.part", "key": "@key"}', value_schema => rec(f('v', '"string"')),
    key_schema => rec(f('part', '["null", "string"]'), f('id', '"int"')));
SELECT try(r(s('one'), n(1) || s('p') || n(1)), r(s('two'), n(1) || s('p') || n(2)));
SELECT unnest(ARRAY[try(r(s('x'), n(0) || n(1))), try(r(s('x'), n(1) || s('p'))), try(r(s('x'), n(1) || s('p') || n(1) || '\x00')), try(r(NULL, n(9)))]) AS try;
SELECT try(r(NULL, n(1) || s('p') || n(1)));
TABLE k;
SELECT kafka_sink.drop_sink('s');
-- a single column is the key as it is; values in another format
DROP TABLE k;
CREATE TABLE k (id text PRIMARY KEY, v text);
SELECT kafka_sink.create_sink('s', target => 'k', key_format => 'avro', insert_mode => 'upsert', delete_enabled => true,
    columns => '{"id": "@key"}', key_schema => '"string"');
SELECT try(r('{"v": "one"}', s('a')), r('{"v": "two"}', s('b"')));
SELECT try(r(NULL, s('a')));
TABLE k;
SELECT kafka_sink.drop_sink('s');
CREATE TABLE kb (k bytea, v int);
SELECT kafka_sink.create_sink('s', target => 'kb', format => 'avro', key_format => 'avro', columns => '{"k": "@key"}', key_schema => '"long"', value_schema => rec(f('v', '"int"')));
SELECT try(r(n(1), n(300)), r(n(2)));
TABLE kb;
SELECT kafka_sink.drop_sink('s');

-- framing
CREATE TABLE fr (v int, id bigint);
SELECT kafka_sink.create_sink('s', target => 'fr', format => 'avro', framing => 'confluent', columns => '{"id": "@schema_id"}', value_schema => rec(f('v', '"int"')));
SELECT unnest(ARRAY[try(r('\x000000002a' || n(1)), r('\x00ffffffff' || n(2))), try(r('\x0100000001' || n(1))), try(r('\x00000001')), try(r('')), try(r('\x0000000001'))]) AS try;
TABLE fr;
SELECT kafka_sink.alter_sink('s', framing => 'none');
SELECT kafka_sink.alter_sink('s', framing => 'single_object', columns => '{"id": null}');
\set SHOW_CONTEXT always
SELECT kafka_sink.ingest('s', ARRAY[r('\x01')]);
SELECT kafka_sink.alter_sink('s', framing => 'none');
SELECT kafka_sink.ingest('s', ARRAY[r(n(1)), r('\x01ff')]);
\set SHOW_CONTEXT errors
SELECT kafka_sink.alter_sink('s', framing => 'single_object');
-- of a schema whose canonical form and fingerprint are known: "int"
SELECT kafka_sink.alter_sink('s', value_schema => '{"type": "int"}', columns => '{"v": "@value", "id": null}');
SELECT unnest(ARRAY[try(r('\xc301' || '\x8f5c393f1ad57572'::bytea || n(3))), try(r('\xc301' || '\x8f5c393f1ad57573'::bytea || n(3))), try(r('\xc301')), try(r(n(3)))]) AS try;
SELECT v FROM fr ORDER BY 1;
SELECT kafka_sink.drop_sink('s');

-- definitions: what is no schema
CREATE FUNCTION def(schema text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; context text;
BEGIN
    PERFORM kafka_sink.create_sink('d', target => 'v', format => 'avro', value_schema => schema, columns => '{"v": "@value"}');
    PERFORM kafka_sink.drop_sink('d');
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    RETURN SQLSTATE || ' ' || message || coalesce(' | ' || nullif(detail, ''), '') || coalesce(' | ' || substring(context FROM 'setting[^\n]*'), '');
END$$;
SELECT s, def(s) FROM unnest(ARRAY['', 'x', '{', '7', 'null', '{}', '"strin"', '{"type": "strin"}', '{"type": 7}', '{"type": "record"}', '{"type": "record", "name": ""}',
    '{"type": "record", "name": "r"}', '{"type": "record", "name": "r", "fields": {}}', '{"type": "record", "name": "r", "fields": [7]}',
    '{"type": "record", "name": "r", "fields": [{"type": "int"}]}', '{"type": "record", "name": "r", "fields": [{"name": "a"}]}',
    '{"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}',
    '{"type": "record", "name": "r", "fields": [{"name": "a", "type": "r"}]}',
    '{"type": "record", "name": "r", "fields": [{"name": "i", "type": "int"}, {"name": "a", "type": "r"}]}',
    '{"type": "enum", "name": "e"}', '{"type": "enum", "name": "e", "symbols": [1]}', '{"type": "enum", "name": "e", "symbols": ["a", "a"]}',
    '{"type": "fixed", "name": "f"}', '{"type": "fixed", "name": "f", "size": -1}', '{"type": "fixed", "name": "f", "size": 1e3}', '{"type": "fixed", "name": "f", "size": 99999999999}',
    '{"type": "array"}', '{"type": "map"}', '[["int"]]', '["int", "int"]', '["int", {"type": "int", "logicalType": "date"}]', '[{"type": "array", "items": "int"}, {"type": "array", "items": "long"}]',
    '[{"type": "fixed", "name": "f", "size": 1}, {"type": "fixed", "name": "f", "size": 1}]', '[{"type": "fixed", "name": "f", "size": 1}, "f"]',
    '{"type": "error", "name": "e", "fields": []}', '{"type": {"type": {"type": "string"}}}', '[]', '"a\u0000b"']) s;
-- names and namespaces
SELECT s, def(s) FROM unnest(ARRAY[
    '[{"type": "fixed", "name": "a.f", "size": 1}, {"type": "fixed", "name": "f", "namespace": "b", "size": 1}, {"type": "fixed", "name": "f", "size": 1}]',
    '[{"type": "fixed", "name": "f", "namespace": "a", "size": 1}, {"type": "fixed", "name": "a.f", "namespace": "b", "size": 1}]',
    '{"type": "record", "name": "r", "namespace": "a", "fields": [{"name": "x", "type": {"type": "fixed", "name": "f", "size": 1}}, {"name": "y", "type": "f"}, {"name": "z", "type": "a.f"}]}',
    '{"type": "record", "name": "r", "namespace": "a", "fields": [{"name": "x", "type": {"type": "fixed", "name": "b.f", "size": 1}}, {"name": "y", "type": "f"}]}',
    '{"type": "record", "name": "r", "namespace": "a", "fields": [{"name": "x", "type": {"type": "fixed", "name": "f", "namespace": "", "size": 1}}, {"name": "y", "type": "f"}]}']) s;
-- limits
SELECT def(repeat('[', 600)), def(repeat('{"type": "array", "items": ', 62) || '"int"' || repeat('}', 62)), def(repeat('{"type": "array", "items": ', 64) || '"int"' || repeat('}', 64)),
    def('"' || repeat('x', 1048576) || '"');
SELECT def((SELECT '[' || string_agg('{"type": "fixed", "name": "f' || i || '", "size": 1}', ',') || ']' FROM generate_series(1, 4097) i));
-- settings that need each other
SELECT kafka_sink.create_sink('d', target => 'v', format => 'avro');
SELECT kafka_sink.create_sink('d', target => 'v', key_format => 'avro');
SELECT kafka_sink.create_sink('d', target => 'v', value_schema => '"int"');
SELECT kafka_sink.create_sink('d', target => 'v', key_schema => '"int"');
SELECT kafka_sink.create_sink('d', target => 'v', framing => 'confluent');
SELECT kafka_sink.create_sink('d', target => 'v', format => 'avro', value_schema => '"int"', framing => 'any');
SELECT kafka_sink.create_sink('d', target => 'v', format => 'avro', value_schema => '"int"', framing => NULL);
SELECT kafka_sink.create_sink('d', target => 'v', format => 'avro', value_schema => '"int"', envelope => 'debezium');
SELECT kafka_sink.create_sink('d', target => 'v', format => 'avro', value_schema => rec(f('v', '"bytes"')), columns => '{"v": "@schema_id"}');
SELECT kafka_sink.create_sink('d', target => 'fr', format => 'avro', value_schema => rec(f('v', '"int"'), f('id', '{"type": "array", "items": "int"}')));
SELECT kafka_sink.create_sink('d', target => 't', format => 'avro', value_schema => rec(f('id', '"int"'), f('at', '"long"')));
-- topics with targets and schemas of their own
SELECT kafka_sink.create_sink('s', format => 'avro');
SELECT kafka_sink.register_topic('s', 'none', target => 'fr');
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', format => 'avro', target => 'v', value_schema => rec(f('v', '"string"')));
SELECT kafka_sink.register_topic('s', 'own', target => 'fr', value_schema => rec(f('id', '"long"')), framing => 'confluent');
SELECT kafka_sink.register_topic('s', 'bad', target => 'fr', value_schema => rec(f('id', '"bytes"')));
SELECT kafka_sink.register_topic('s', 'bad', value_schema => '"int"');
TRUNCATE fr, v;
SELECT try(ROW('own', NULL, NULL, NULL, NULL, '\x0000000001'::bytea || n(5), NULL), ROW('x', NULL, NULL, NULL, NULL, s('a'), NULL));
SELECT kafka_sink.alter_topic('s', 'own', value_schema => rec(f('v', '"int"')), reset => '{framing}');
SELECT try(ROW('own', NULL, NULL, NULL, NULL, n(5), NULL));
SELECT (SELECT array_agg(fr) FROM fr), (SELECT array_agg(v) FROM v);
SELECT topic, value_schema, key_schema, framing FROM kafka_sink.sink_topics;
SELECT value_schema, key_schema, framing FROM kafka_sink.sinks;
-- dead letters keep the bytes, and are retried by them
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter');
SELECT try(ROW('x', NULL, NULL, NULL, NULL, '\x01', NULL), ROW('x', NULL, NULL, NULL, NULL, s('b'), NULL));
SELECT topic, value, sqlstate, message, column_name FROM kafka_sink.dead_letters;
SELECT kafka_sink.alter_sink('s', value_schema => rec(f('v', '"int"')));
SELECT kafka_sink.retry_dead_letters('s');
TABLE v;
DROP FUNCTION n, s, b, r, try, rec, rec2, f, one, def;
DROP EXTENSION kafka_sink;
DROP TABLE one, t, list, v, k, kb, fr;
DROP TYPE mood, pair;
DROP DOMAIN positive, given;
