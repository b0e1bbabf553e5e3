-- describe(): a table that records of a schema fit into.  What it gives runs, and so
-- does the sink that it proposes, which decodes records of the schema.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE FUNCTION rec(name text, VARIADIC fields text[]) RETURNS text LANGUAGE sql AS
$$SELECT format('{"type": "record", "name": "%s", "fields": [%s]}', name, array_to_string(fields, ', '))$$;
CREATE FUNCTION f(name text, type text, more text DEFAULT '') RETURNS text LANGUAGE sql AS
$$SELECT format('{"name": "%s", "type": %s%s}', name, type, more)$$;
CREATE FUNCTION l(type text, logical text, more text DEFAULT '') RETURNS text LANGUAGE sql AS
$$SELECT format('{"type": "%s", "logicalType": "%s"%s}', type, logical, more)$$;
CREATE FUNCTION c(type text, name text, more text DEFAULT '') RETURNS text LANGUAGE sql AS
$$SELECT format('{"type": "%s", "connect.name": "%s"%s}', type, name, more)$$;
-- bytes of values: n an int or a long, s a string or bytes
CREATE FUNCTION n(v int) RETURNS bytea LANGUAGE sql AS
$$SELECT decode(CASE WHEN v * 2 < 128 THEN lpad(to_hex(v * 2), 2, '0') ELSE to_hex(v * 2 % 128 + 128) || lpad(to_hex(v * 2 / 128), 2, '0') END, 'hex')$$;
CREATE FUNCTION s(v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT n(length(v)) || v$$;
CREATE FUNCTION s(v text) RETURNS bytea LANGUAGE sql AS $$SELECT s(convert_to(v, 'UTF8'))$$;
CREATE FUNCTION r(value bytea, key bytea DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', 0, NULL, NULL, key, value, NULL)::kafka_sink.record$$;
-- runs what a sink is proposed by
CREATE FUNCTION sink(text) RETURNS text LANGUAGE plpgsql AS
$$BEGIN EXECUTE substring($1 FROM '\n-- (SELECT kafka_sink\.create_sink[^\n]*)'); RETURN 'made'; END$$;
\pset format unaligned
\pset tuples_only on

-- every type
SELECT kafka_sink.describe(value_schema => rec('shop.Everything', f('b', '"boolean"'), f('i', '"int"'), f('l', '"long"'), f('r', '"float"'), f('d', '"double"'), f('s', '"string"'),
    f('x', '"bytes"'), f('f', '{"type": "fixed", "name": "F", "size": 2}'), f('e', '{"type": "enum", "name": "Mood", "symbols": ["ok", "sad"]}'),
    f('dec', l('bytes', 'decimal', ', "precision": 9, "scale": 2')), f('huge', l('bytes', 'decimal', ', "precision": 2000')), f('dd', l('int', 'date')), f('tm', l('int', 'time-millis')), f('tu', l('long', 'time-micros')),
    f('ts', l('long', 'timestamp-millis')), f('tn', l('long', 'timestamp-nanos')), f('lt', l('long', 'local-timestamp-micros')), f('u', l('string', 'uuid')),
    f('du', '{"type": {"type": "fixed", "name": "D", "size": 12}, "logicalType": "none"}'), f('du2', '{"type": "fixed", "name": "D2", "size": 12, "logicalType": "duration"}'), f('unknown', l('int', 'money')),
    f('ints', '{"type": "array", "items": ["null", "int"]}'), f('decs', '{"type": "array", "items": ' || l('bytes', 'decimal', ', "precision": 5') || '}'),
    f('arrays', '{"type": "array", "items": {"type": "array", "items": "int"}}'), f('recs', '{"type": "array", "items": ' || rec('shop.Item', f('n', '"int"')) || '}'),
    f('item', '"shop.Item"'), f('m', '{"type": "map", "values": "long"}'), f('maybe', '["null", "string"]'), f('wide', '["int", "null", "long"]'), f('wider', '["int", "double"]'),
    f('either', '["string", "int"]'), f('no', '"null"'))) AS sql \gset everything_
\echo :everything_sql
:everything_sql
SELECT sink(:'everything_sql');
SELECT kafka_sink.ingest('Everything', ARRAY[r('\x01' || n(1) || n(2) || '\x0000003f' || '\x000000000000e03f' || s('text') || s('\xff00'::bytea) || '\x0102' || n(1)
    || s('\x02bc'::bytea) || s('\x07'::bytea) || n(1) || n(5) || n(6) || n(7) || n(8) || n(9) || s('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')
    || '\x010203040506070809101112' || '\x010000000200000003000000' || n(3)
    || n(2) || '\x00' || n(1) || n(4) || '\x00' || n(1) || s('\x05'::bytea) || '\x00' || n(1) || n(1) || n(1) || '\x00' || '\x00' || n(1) || n(9) || '\x00'
    || n(8) || n(1) || s('k') || n(3) || '\x00' || n(1) || s('yes') || n(2) || n(4) || n(0) || n(6) || n(1) || n(5))]);
\x on
TABLE "Everything";
\x off
SELECT kafka_sink.drop_sink('Everything');

-- names, and texts that schemas give
SELECT kafka_sink.describe(value_schema => '{"type": "record", "name": "x.odd\n; DROP TABLE t; --", "doc": "it''s \\ documented\nin two lines", "fields": [
    {"name": "id", "type": {"type": "enum", "name": "e\n);", "symbols": ["a\nDROP TABLE t;"]}, "doc": "the ''id''", "default": "it''s"},
    {"name": "ctid", "type": "int"}, {"name": "ctid_", "type": "int"}, {"name": "Order", "type": "int"}, {"name": "order", "type": "int"}, {"name": "a\"b.c\\", "type": "int"},
    {"name": "ä2345678901234567890123456789012345678901234567890123456789012345", "type": "int"}, {"name": "ä2345678901234567890123456789012345678901234567890123456789012346", "type": "int"}]}',
    table_name => 'public."odd ''one"') AS sql \gset odd_
\echo :odd_sql
:odd_sql
SELECT sink(:'odd_sql');
SELECT kafka_sink.ingest('odd ''one', ARRAY[r(n(0) || n(1) || n(2) || n(3) || n(4) || n(5) || n(6) || n(7))]);
TABLE "odd 'one";
SELECT obj_description('"odd ''one"'::regclass, 'pg_class'), col_description('"odd ''one"'::regclass, 1);
SELECT kafka_sink.drop_sink('odd ''one');

-- defaults
SELECT kafka_sink.describe(table_name => 'defaults', value_schema => rec('r', f('b', '"boolean"', ', "default": true'), f('i', '"int"', ', "default": -5'), f('far', '"int"', ', "default": 99999999999'), f('d', '"double"', ', "default": 1e3'),
    f('s', '"string"', ', "default": "it''s"'), f('n', '["null", "int"]', ', "default": null'), f('u', '["string", "null"]', ', "default": "x"'), f('x', '"bytes"', ', "default": "\u00ff\u0001"'),
    f('dec', l('bytes', 'decimal', ', "precision": 4, "scale": 2'), ', "default": "\u0002\u00bc"'), f('day', l('int', 'date'), ', "default": 1'), f('t', l('int', 'time-millis'), ', "default": 1500'),
    f('ts', l('long', 'timestamp-millis'), ', "default": 1500'), f('a', '{"type": "array", "items": "int"}', ', "default": []'), f('a1', '{"type": "array", "items": "int"}', ', "default": [1]'),
    f('m', '{"type": "map", "values": "int"}', ', "default": {"a": 1}'), f('wrong', '"int"', ', "default": "x"'), f('id', l('string', 'uuid'), ', "default": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'))) AS sql \gset d_
\echo :d_sql
:d_sql
INSERT INTO defaults (far, a1, wrong) VALUES (0, '{}', 0);
\x on
TABLE defaults;
\x off
-- none that the column's type would refuse, nor a type that the server would
SELECT kafka_sink.describe(table_name => 'refused', value_schema => rec('r', f('u', l('string', 'uuid'), ', "default": ""'), f('d', '"double"', ', "default": 1e400'), f('either', '[' || l('long', 'timestamp-millis') || ', "string"]', ', "default": 0'),
    f('dec', l('bytes', 'decimal', ', "precision": 3, "scale": 1'), ', "default": "\u0003\u00e8"'), f('at', c('string', 'io.debezium.time.ZonedTimestamp'), ', "default": ""'), f('ok', c('string', 'io.debezium.time.ZonedTimestamp'), ', "default": "1970-01-01T00:00:00Z"'),
    f('small', c('bytes', 'org.apache.kafka.connect.data.Decimal', ', "logicalType": "decimal", "precision": 3, "scale": 5')), f('round', c('bytes', 'org.apache.kafka.connect.data.Decimal', ', "logicalType": "decimal", "precision": 3, "scale": -2')),
    f('bits', c('bytes', 'io.debezium.data.Bits', ', "connect.parameters": {"length": "999999999"}')), f('odd', c('record', 'io.debezium.data.VariableScaleDecimal', ', "name": "V", "fields": [{"name": "scale", "type": "int"}]')))) AS sql \gset r_
\echo :r_sql
:r_sql

-- keys: a record's fields, the same or of their own, in values that lack them, and plain
SELECT kafka_sink.describe(table_name => 'keyed', value_schema => rec('v', f('id', '"int"'), f('region', '["null", "string"]'), f('no', '"int"'), f('v', '"string"')),
    key_schema => rec('k', f('region', '"string"'), f('id', '"int"'), f('no', '"long"'), f('only here', '"int"'))) AS sql \gset k_
\echo :k_sql
:k_sql
SELECT sink(:'k_sql');
SELECT kafka_sink.ingest('keyed', ARRAY[r(n(1) || '\x00' || n(2) || s('one'), s('eu') || n(1) || n(3) || n(4)), r(n(2) || '\x02' || s('x') || n(2) || s('two'), s('eu') || n(2) || n(3) || n(4))]);
TABLE keyed;
SELECT kafka_sink.ingest('keyed', ARRAY[r(NULL, s('eu') || n(1) || n(3) || n(4))]);
SELECT id FROM keyed;
SELECT kafka_sink.describe(table_name => 'plain', value_schema => '"string"', key_schema => '"long"') AS sql \gset p_
\echo :p_sql
:p_sql
SELECT sink(:'p_sql');
SELECT kafka_sink.ingest('plain', ARRAY[r(s('one'), n(1)), r(s('two'), n(2)), r(s('uno'), n(1)), r(NULL, n(2))]);
TABLE plain;
SELECT kafka_sink.describe(table_name => 'points', value_schema => rec('v', f('v', '"int"')), key_schema => rec('k', f('p', c('record', 'io.debezium.data.geometry.Point', ', "name": "P", "fields": [{"name": "x", "type": "double"}, {"name": "y", "type": "double"}]'))));
SELECT kafka_sink.describe(value_schema => '"bytes"');

-- a value that can be null as a whole leaves all columns to their defaults
SELECT kafka_sink.describe(table_name => 'absent', value_schema => '["null", ' || rec('r', f('id', '"int"'), f('n', '["null", "string"]'), f('d', '"int"', ', "default": 7')) || ']') AS sql \gset n_
\echo :n_sql
:n_sql
SELECT sink(:'n_sql');
SELECT kafka_sink.ingest('absent', ARRAY[r('\x00'), r('\x02' || n(1) || '\x02' || s('one') || n(2))]);
TABLE absent;

-- changes of Debezium's
SELECT kafka_sink.describe(topic => 'shop.public.orders', value_schema => format('{"type": "record", "name": "Envelope", "namespace": "shop.public.orders", "fields": [{"name": "before", "type": ["null", %s]}, {"name": "after", "type": ["null", "Value"]}, {"name": "op", "type": "string"}, {"name": "ts_ms", "type": ["null", "long"]}]}',
    '{"type": "record", "name": "Value", "doc": "orders", "fields": [{"name": "id", "type": {"type": "int", "connect.default": 0}, "default": 0}, ' || concat_ws(', ', f('day', c('int', 'io.debezium.time.Date')), f('at', c('long', 'io.debezium.time.MicroTimestamp')), f('zoned', c('string', 'io.debezium.time.ZonedTimestamp')),
        f('connect', '{"type": "long", "connect.name": "org.apache.kafka.connect.data.Timestamp", "logicalType": "timestamp-millis"}'), f('took', '["null", ' || c('long', 'io.debezium.time.MicroDuration') || ']'), f('doc', c('string', 'io.debezium.data.Json')), f('flags', c('bytes', 'io.debezium.data.Bits', ', "connect.parameters": {"length": "3"}')), f('bits', c('bytes', 'io.debezium.data.Bits')),
        f('guid', c('string', 'io.debezium.data.Uuid')), f('any', c('record', 'io.debezium.data.VariableScaleDecimal', ', "name": "VSD", "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}]')), f('mood', c('string', 'io.debezium.data.Enum'))) || ']}'),
    key_schema => rec('Key', f('id', '"int"'))) AS sql \gset z_
\echo :z_sql
:z_sql
SELECT sink(:'z_sql');
SELECT kafka_sink.ingest('orders', ARRAY[r('\x0002'::bytea || n(7) || n(1) || n(2) || s('2026-01-02T03:04:05Z') || n(3) || '\x02' || n(4) || s('{"a": 1}') || s('\x05'::bytea) || s('\x01'::bytea) || s('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') || n(1) || s('\x0f'::bytea) || s('ok') || s('c') || '\x00', n(7))]);
\x on
TABLE orders;
\x off

-- what cannot be described
\pset tuples_only off
SELECT kafka_sink.describe();
SELECT kafka_sink.describe(topic => 'x');
SELECT kafka_sink.describe(value_schema => '{"type": "rec');
SELECT kafka_sink.describe(value_schema => '{"type": "record", "name": "none", "fields": []}');
SELECT kafka_sink.describe(value_schema => '"int"', table_name => 'a.b.c.d');
SELECT kafka_sink.describe(value_schema => rec('r', VARIADIC ARRAY(SELECT f('c' || i, '"int"') FROM generate_series(1, 1601) i)));
CREATE SERVER none FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
SELECT kafka_sink.describe('none', 'x');
CREATE ROLE regress_reader;
SET ROLE regress_reader;
SELECT kafka_sink.describe('none', 'x');
RESET ROLE;
DROP ROLE regress_reader;
SELECT count(kafka_sink.drop_sink(sink)) FROM kafka_sink.sinks;
DROP TABLE "Everything", "odd 'one", defaults, refused, keyed, plain, absent, orders;
DROP FUNCTION rec, f, l, c, n, s(bytea), s(text), r, sink;
DROP EXTENSION kafka_sink CASCADE;
