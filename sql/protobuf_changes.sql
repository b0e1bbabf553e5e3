-- Debezium's changes in Protobuf, as Kafka Connect's converters write them.  The bytes are
-- made here, by hand.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET datestyle = 'ISO, YMD';
-- a number, a field of a number, of 8 bytes, of bytes, of a text
CREATE FUNCTION n(v numeric) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE z numeric := CASE WHEN v >= 0 THEN v ELSE v + 18446744073709551616 END; result bytea := '';
BEGIN
    LOOP
        result := result || set_byte('\x00', 0, (z % 128 + CASE WHEN z >= 128 THEN 128 ELSE 0 END)::int);
        z := div(z, 128);
        EXIT WHEN z = 0;
    END LOOP;
    RETURN result;
END$$;
CREATE FUNCTION i(field int, v numeric) RETURNS bytea LANGUAGE sql AS $$SELECT n(field * 8) || n(v)$$;
CREATE FUNCTION f8(field int, v float8) RETURNS bytea LANGUAGE sql AS
$$SELECT n(field * 8 + 1) || string_agg(substr(float8send(v), k, 1), '' ORDER BY k DESC) FROM generate_series(1, 8) k$$;
CREATE FUNCTION b(field int, v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT n(field * 8 + 2) || n(length(v)) || v$$;
CREATE FUNCTION s(field int, v text) RETURNS bytea LANGUAGE sql AS $$SELECT b(field, convert_to(v, 'UTF8'))$$;
CREATE FUNCTION r(value bytea, key bytea DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', 0, NULL, NULL, key, value, NULL)::kafka_sink.record$$;
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
-- the schema of changes of a row with these fields, from the number 2 on
CREATE FUNCTION env(VARIADIC fields text[]) RETURNS text LANGUAGE sql AS $$
    SELECT format('syntax = "proto3"; package p.s.t; import "confluent/meta.proto"; import "confluent/type/decimal.proto"; import "google/type/date.proto";
        import "google/type/timeofday.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
        message Envelope {
            Value before = 1; Value after = 2; Source source = 3; Block transaction = 4; string op = 5; int64 ts_ms = 6;
            message Value { int32 id = 1; %s }
            message Source { string version = 1; int64 lsn = 2; string snapshot = 3; }
            message Block { string id = 1; int64 total_order = 2; }
        }', (SELECT string_agg(CASE WHEN f ~ '[=}]' THEN f ELSE format('%s = %s;', f, k + 1) END, ' ' ORDER BY k) FROM unnest(fields) WITH ORDINALITY x(f, k)))
$$;
CREATE FUNCTION ch(op text, before bytea, after bytea) RETURNS bytea LANGUAGE sql AS $$
    SELECT coalesce(b(1, before), '') || coalesce(b(2, after), '') || b(3, s(1, '3.3') || i(2, 4711)) || s(5, op) || i(6, 1700000000000)
$$;

-- what each op does, to rows with keys from the row, from the key, or from both
CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'default', n int DEFAULT 7);
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true,
    key_format => 'protobuf', key_schema => 'syntax = "proto3"; message Key { int32 id = 1; }', value_schema => env('optional string v', 'int32 other'));
CREATE FUNCTION val(id int, v text) RETURNS bytea LANGUAGE sql AS $$SELECT CASE WHEN id <> 0 THEN i(1, id) ELSE '' END || coalesce(s(2, v), '')$$;
SELECT try(r(ch('c', NULL, val(1, 'a'))), r(ch('r', NULL, val(2, NULL))), r(ch('u', NULL, val(1, 'b'))), r(ch('c', NULL, val(3, 'c'))), r(ch('c', NULL, val(0, 'zero'))));
TABLE t ORDER BY id;
-- what a row does not have is null
SELECT try(r(ch('u', val(1, 'b'), val(1, NULL))), r(ch('d', val(2, NULL), NULL)), r(ch('d', NULL, NULL), i(1, 3)), r(NULL, i(1, 3)), r(ch('m', NULL, NULL)));
TABLE t ORDER BY id;
SELECT try(r(ch('u', val(1, 'b'), val(4, 'b')))), try(r(ch('u', val(0, 'b'), val(4, 'b')))), try(r(ch('u', val(4, 'b'), val(0, 'b')))), try(r(ch('u', val(0, 'zero'), val(0, 'Zero'))));
-- a key of 0 that only the row tells is none: the Kafka key has it
SELECT try(r(ch('d', NULL, NULL)));
SELECT try(r(ch('d', val(0, 'Zero'), NULL)));
SELECT try(r(ch('d', val(0, 'Zero'), NULL), ''));
TABLE t ORDER BY id;
SELECT unnest(ARRAY[try(r(ch('c', NULL, NULL))), try(r(ch('x', NULL, val(1, 'a')))), try(r(ch('create', NULL, val(1, 'a')))), try(r(ch('', NULL, val(1, 'a')))), try(r('')), try(r(b(2, val(1, 'a')))),
    try(r(substring(ch('c', NULL, val(1, 'a')) FROM 1 FOR 4))), try(r(ch('c', NULL, '\x08')))]) AS try;
-- parts of a row that do not stand together; a field of another wire's type is unknown
SELECT try(r(s(5, 'c') || b(2, i(1, 5)) || i(6, 1) || b(2, s(2, 'five'))), r(s(5, 'x') || b(2, i(1, 6) || i(2, 1)) || s(5, 'c') || i(5, 1)));
TABLE t ORDER BY id;
-- very many of them, which cost no more than their bytes
SELECT try(r(s(5, 'c') || b(2, i(1, 7) || s(2, repeat('x', 100000))) || decode(repeat('1200', 20000), 'hex') || b(2, i(3, 1)) || b(2, i(1, 8))));
SELECT id, length(v) FROM t WHERE id > 6;
SELECT try(r(ch('t', NULL, NULL)));
TABLE t ORDER BY id;
SELECT kafka_sink.alter_sink('s', delete_enabled => false);
SELECT try(r(ch('d', val(2, NULL), NULL))), try(r(ch('t', NULL, NULL)));
SELECT kafka_sink.alter_sink('s', on_tombstone => 'ignore');
SELECT try(r(ch('d', val(2, NULL), NULL)), r(ch('t', NULL, NULL)), r(NULL, i(1, 3)));
SELECT kafka_sink.drop_sink('s');

-- values that Debezium does not have
CREATE TABLE big (id int PRIMARY KEY, t text, b bytea, u uuid, a text[], i4s int[], m jsonb, w text, i int);
INSERT INTO big VALUES (1, 'old', '\x01', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{x}', '{1}', '{"m": "old"}', 'wrapped', 1);
SELECT kafka_sink.create_sink('s', target => 'big', format => 'protobuf', envelope => 'debezium', insert_mode => 'upsert',
    value_schema => env('string t', 'bytes b', 'optional string u', 'repeated string a', 'repeated int32 i4s', 'map<string, string> m', 'google.protobuf.StringValue w', 'int32 i'));
CREATE FUNCTION gone() RETURNS text LANGUAGE sql AS $$SELECT '__debezium_unavailable_value'$$;
CREATE FUNCTION bytes(v text) RETURNS bytea LANGUAGE sql AS $$SELECT convert_to(v, 'UTF8')$$;
SELECT try(r(ch('u', NULL, i(1, 1) || s(2, gone()) || s(3, gone()) || s(4, 'b68a35a7-17ad-35b3-af2a-ae46edb4545a') || s(5, gone()) || b(6, bytes(gone())) || b(7, s(1, gone()) || s(2, gone())) || b(8, s(1, gone())) || i(9, 2))));
TABLE big;
-- the last value counts; a list of more is one, and so is what only begins alike
SELECT try(r(ch('u', NULL, i(1, 1) || s(2, 'x') || s(2, gone()) || s(3, gone()) || b(3, '\x02') || s(4, 'b68a35a7-17ad-35b3-af2a-ae46edb4545b') || s(5, gone()) || s(5, 'y') || b(6, bytes(gone())) || i(6, 1)
    || b(7, s(1, gone()) || s(2, 'z')) || b(8, s(1, gone() || 's')) || i(9, 3))));
TABLE big;
SELECT try(r(ch('u', NULL, i(1, 2) || s(2, gone()) || i(9, 4)))), try(r(ch('u', NULL, i(1, 1) || b(6, bytes(left(gone(), 27)))  || b(7, s(1, 'k') || s(2, gone())))));
TABLE big;
SELECT kafka_sink.alter_sink('s', insert_mode => 'insert');
SELECT try(r(ch('c', NULL, i(1, 5) || s(2, gone()))));
SELECT kafka_sink.drop_sink('s');

-- types: Connect's own are messages of Google's and Confluent's; names of Debezium's types are not
-- in the schema, so what a value means the column's type says, where it leaves no doubt
CREATE FUNCTION one(field text, type text, VARIADIC vals bytea[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text := ''; message text;
BEGIN
    PERFORM kafka_sink.drop_sink('s') FROM kafka_sink.sinks WHERE sink = 's';
    DROP TABLE IF EXISTS one;
    EXECUTE format('CREATE TABLE one (i serial, v %s)', type);
    BEGIN
        PERFORM kafka_sink.create_sink('s', target => 'one', format => 'protobuf', envelope => 'debezium', columns => '{"i": null}', value_schema => env(field));
    EXCEPTION WHEN OTHERS THEN
        RETURN SQLSTATE || ' ' || SQLERRM;
    END;
    FOR i IN 1 .. cardinality(vals) LOOP
        message := concat_ws(E'\n', message, regexp_replace(nullif(try(r(ch('c', NULL, vals[i]))), '(1,1,0,0,0,0,0,0)'), ' \| sink "s", record 1, topic "t"[^\n]*', ''));
    END LOOP;
    RETURN concat_ws(E'\n', (SELECT string_agg(coalesce(v::text, 'NULL'), '; ' ORDER BY i) FROM one), message);
END$$;
SELECT unnest(ARRAY[one('confluent.type.Decimal v = 2 [(confluent.field_meta) = { params: [ { value: "10", key: "precision" }, { value: "2", key: "scale" } ] }];', 'numeric(10,2)', b(2, b(1, '\x3039') || i(3, 2)), ''),
    one('google.type.Date v', 'date', b(2, i(1, 2024) || i(2, 2) || i(3, 29)), ''), one('google.type.TimeOfDay v', 'time', b(2, i(1, 1) || i(2, 2) || i(3, 3) || i(4, 4000000)), b(2, '')),
    one('google.protobuf.Timestamp v', 'timestamp', b(2, i(1, 1709168645) || i(2, 678000000)), ''), one('google.protobuf.Timestamp v', 'timestamptz', b(2, i(1, 1709168645)))]) AS one;
SELECT unnest(ARRAY[one('int32 v = 2 [(confluent.field_meta) = { params: [ { value: "int16", key: "connect.type" } ] }];', 'smallint', i(2, -1), ''), one('optional int32 v', 'int', i(2, 0), ''), one('google.protobuf.Int32Value v', 'int', b(2, i(1, 5)), b(2, ''), ''),
    one('google.protobuf.StringValue v', 'text', b(2, s(1, 'x')), b(2, ''), ''), one('string v', 'text', s(2, 'x'), ''), one('repeated string v', 'text[]', s(2, 'x') || s(2, 'y'), ''), one('bytes v', 'bytea', b(2, '\x00ff'), '')]) AS one;
-- days, and numbers of units that nothing tells
SELECT unnest(ARRAY[one('int32 v', 'date', i(2, 19782), '', i(2, -25567), i(2, -2147472692), i(2, 2147483647)), one('optional int32 v', 'date', i(2, 19782), ''), one('google.protobuf.Int32Value v', 'date', b(2, i(1, 19782)), ''), one('repeated int32 v', 'date[]', b(2, n(1) || n(2))),
    one('int64 v', 'date', ''), one('int64 v', 'timestamp', ''), one('int64 v', 'time', ''), one('int64 v', 'interval', ''), one('int64 v', 'bigint', i(2, 1709168645678901))]) AS one;
\set VERBOSITY terse
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 'one', format => 'protobuf', envelope => 'debezium', columns => '{"i": null}', value_schema => env('bytes v'));
\set VERBOSITY default
DROP TABLE one;
CREATE TABLE one (i serial, v timestamptz);
SELECT kafka_sink.create_sink('s', target => 'one', format => 'protobuf', envelope => 'debezium', columns => '{"i": null}', value_schema => env('int64 v'));
SELECT kafka_sink.create_sink('s', target => 'one', format => 'protobuf', envelope => 'debezium', columns => '{"i": null, "v": {"source": "v", "unit": "microseconds"}}', value_schema => env('int64 v'));
SELECT try(r(ch('c', NULL, i(2, 1709168645678901))));
SELECT v FROM one;
-- texts: of ISO 8601, of JSON, of numbers that there are not, of types by their input functions
SELECT unnest(ARRAY[one('string v', 'timestamptz', s(2, '2024-02-29T01:04:05.678901Z'), s(2, '+20000-01-01T00:00:00.000000Z')), one('string v', 'date', s(2, '2024-02-29Z')), one('string v', 'interval', s(2, 'P1Y2M3DT4H5M6.78S')), one('string v', 'timetz', s(2, '01:02:03Z')),
    one('string v', 'numeric', s(2, 'POSITIVE_INFINITY'), s(2, '1.5')), one('string v', 'uuid', s(2, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')), one('string v', 'int4range', s(2, '[1,3)')), one('string v', 'bytea', s(2, 'abc')), one('string v', 'inet', s(2, '::1'))]) AS one;
SELECT unnest(ARRAY[one('string v', 'jsonb', s(2, '{"a": [1, null]}'), s(2, '"s"'), s(2, 'null'), s(2, '{'), ''), one('optional string v', 'json', s(2, '{"a":   1}'), ''), one('google.protobuf.StringValue v', 'jsonb', b(2, s(1, '{"a": 1}')), ''), one('string v', 'text', s(2, '{"a":   1}')),
    one('repeated string v', 'jsonb[]', s(2, '{"a": 1}') || s(2, 'null')), one('int32 v', 'jsonb', i(2, 5)), one('map<string, string> v', 'jsonb', b(2, s(1, 'a') || s(2, '1')))]) AS one;
-- bits, points, decimals with a scale of their own
SELECT unnest(ARRAY[one('bytes v', 'bit(12)', b(2, '\x380b'), b(2, '\x01'), ''), one('bool v', 'bit', i(2, 1), ''), one('bytes v', 'varbit', ''), one('bool v', 'varbit(1)', i(2, 1)), one('bytes v', 'text', b(2, 'ok'))]) AS one;
SELECT unnest(ARRAY[one('Point v = 2; message Point { double x = 1; double y = 2; bytes wkb = 3; int32 srid = 4; }', 'point', b(2, f8(1, 1.5) || f8(2, -2)), b(2, ''), ''), one('Point v = 2; message Point { double x = 1; double y = 2; }', 'jsonb', b(2, f8(1, 1.5) || f8(2, -2))),
    one('VariableScaleDecimal v = 2; message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }', 'numeric', b(2, i(1, 2) || b(2, '\x3039')), b(2, b(2, '\xff')), b(2, i(1, -2) || b(2, '\x01')), b(2, ''), ''),
    one('VariableScaleDecimal v = 2; message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }', 'float8', b(2, i(1, 2) || b(2, '\x3039'))), one('VariableScaleDecimal v = 2; message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }', 'text', b(2, i(1, 2) || b(2, '\x3039'))),
    one('VariableScaleDecimal v = 2; message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }', 'jsonb', b(2, i(1, 2) || b(2, '\x3039'))), one('repeated VariableScaleDecimal v = 2; message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }', 'numeric[]', b(2, i(1, 2) || b(2, '\x3039')) || b(2, '')),
    one('VariableScaleDecimal v = 2; message VariableScaleDecimal { int32 scale = 1; bytes other = 2; }', 'jsonb', b(2, i(1, 2) || b(2, '\x3039')))]) AS one;
-- bytes that are the text of a value of a type that Debezium does not know; a hstore (another type of that name shows what it is given)
CREATE TYPE duo AS (a int, b text);
SELECT one('bytes v', t, s(2, v)) FROM (VALUES ('duo', '(1,"x ""y")'), ('box', '(2,2),(1,1)'), ('box', 'x'), ('tsquery', $$'a' & 'b'$$), ('int4range', '[1,3)'), ('box[]', '{(2,2),(1,1)}'), ('int', '1')) x(t, v);
CREATE TYPE hstore;
CREATE FUNCTION hstore_in(cstring) RETURNS hstore LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION hstore_out(hstore) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE hstore (input = hstore_in, output = hstore_out, like = text);
SELECT unnest(ARRAY[one('map<string, string> v', 'hstore', b(2, s(1, 'a') || s(2, '1')) || b(2, s(1, 'q"x') || s(2, 'v, \w')), ''), one('string v', 'hstore', s(2, '{"a":"1","b c":null}'), s(2, 'no'))]) AS one;
-- an absent text can only be NULL where a type has none without letters
SELECT unnest(ARRAY[one('string v', 'uuid', ''), one('string v', 'timestamptz', '', s(2, '')), one('string v', 'varchar(3)', ''), one('bytes v', 'box', ''), one('bytes v', 'text', '')]) AS one;
-- domains see what is not there
CREATE DOMAIN given AS int NOT NULL;
SELECT unnest(ARRAY[one('optional int32 v', 'given', i(2, 1), ''), one('int32 v', 'given', '')]) AS one;
SELECT kafka_sink.drop_sink('s');

-- paths, the change as a whole, the rest of the row, a strict sink, keys whose identity the row does not have
CREATE TABLE whole (id int, name text, deep int DEFAULT -1, none int DEFAULT -1, item text DEFAULT 'none', change jsonb, raw bytea, rest jsonb, type text, PRIMARY KEY (name));
SELECT kafka_sink.create_sink('s', target => 'whole', format => 'protobuf', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true,
    key_format => 'protobuf', key_schema => 'syntax = "proto3"; message Key { string name = 1; }',
    columns => '{"deep": "$.in.x", "none": "$.in.y", "item": "$.m.k", "change": "@value", "raw": "@value", "rest": "@rest", "type": "@schema"}',
    value_schema => env('string name', 'Inner in = 3; message Inner { int32 x = 1; optional int32 y = 2; }', 'map<string, string> m', 'string left'));
SELECT try(r(ch('c', NULL, i(1, 1) || s(2, 'a') || b(3, i(1, 5)) || b(4, s(1, 'k') || s(2, 'v')) || s(5, 'over'))), r(ch('c', NULL, i(1, 2) || s(2, 'b'))), r(ch('c', NULL, i(1, 3))));
SELECT id, name, deep, none, item, change, length(raw) AS raw, rest, type FROM whole ORDER BY id;
-- only the key column of the source is in "before"
SELECT try(r(ch('d', i(1, 2), NULL)));
SELECT try(r(ch('d', i(1, 2), NULL), s(1, 'b')), r(ch('d', i(1, 3), NULL), ''));
SELECT id, name FROM whole ORDER BY id;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', strict => true, value_schema => env('string x'));
-- proto2, with rows of two messages, an op of an enum, and of a wrapped text
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true, message_type => 'e',
    value_schema => 'syntax = "proto2"; message e { enum o { c = 1; d = 2; u = 3; } required o op = 1; optional a after = 2; optional b before = 3; } message a { optional int32 id = 1; optional string v = 2 [default = "x"]; } message b { optional string v = 1; optional int64 id = 2; }');
SELECT try(r(i(1, 1) || b(2, i(1, 8))), r(i(1, 3) || b(2, i(1, 8) || s(2, 'y')) || b(3, i(2, 8))), r(i(1, 1) || b(2, i(1, 9))));
TABLE t ORDER BY id;
SELECT try(r(i(1, 2) || b(3, i(2, 8)))), try(r(i(1, 7) || b(2, i(1, 8)))), try(r(i(1, 2) || b(3, ''))) ;
TABLE t ORDER BY id;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', message_type => 'e', value_schema => 'syntax = "proto3"; import "google/protobuf/wrappers.proto"; message e { google.protobuf.StringValue op = 1; a after = 2; } message a { int32 id = 1; }');
SELECT try(r(b(1, s(1, 'c')) || b(2, i(1, 10))));
SELECT id FROM t WHERE id = 10;
SELECT kafka_sink.drop_sink('s');

-- by the schemas of a registry, whose messages records name; others of the topic
CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
SELECT kafka_sink.add_schema('reg', 1, 'PROTOBUF', env('string v') || ' message Other { int32 id = 1; }');
TRUNCATE t;
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'protobuf', envelope => 'debezium', insert_mode => 'upsert', enabled => false);
SELECT try(r('\x000000000100' || ch('c', NULL, i(1, 1) || s(2, 'a')))), try(r('\x00000000010202' || ch('c', NULL, i(1, 1)))), try(r('\x000000000100' || ch('u', NULL, i(1, 1) || s(2, 'b')) || ch('c', NULL, s(2, 'c'))));
TABLE t;
SELECT kafka_sink.alter_sink('s', filter => $$n = 7$$);
SELECT try(r('\x00000000010202' || i(1, 1)));
SELECT kafka_sink.alter_sink('s', columns => '{"v": "@schema"}', filter => $$v <> 'p.s.t.Other'$$);
SELECT try(r('\x00000000010202' || i(1, 1)), r('\x000000000100' || ch('c', NULL, i(1, 2))));
TABLE t;
SELECT kafka_sink.drop_sink('s');
DROP SERVER reg CASCADE;

-- what is no such schema, and what does not go together
\set VERBOSITY terse
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', value_schema => 'syntax = "proto3"; message m { int32 id = 1; }');
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', value_schema => 'syntax = "proto3"; message m { string op = 1; int32 after = 2; }');
\set VERBOSITY default
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', message_type => 'm', value_schema => 'syntax = "proto3"; message m { int32 op = 1; a after = 2; } message a { int32 id = 1; }');
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', message_type => 'm', value_schema => 'syntax = "proto3"; message m { string op = 1; repeated a after = 2; } message a { int32 id = 1; }');
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', message_type => 'a', value_schema => 'syntax = "proto3"; message m { string op = 1; a after = 2; } message a { string x = 1; }');
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'debezium', message_type => 'm', value_schema => 'syntax = "proto3"; message m { string op = 1; a after = 2; } message a { string x = 1; }');
SELECT kafka_sink.create_sink('s', target => 't', envelope => 'debezium', key_format => 'protobuf', key_schema => 'syntax = "proto3"; message k { int32 id = 1; }');
SELECT kafka_sink.create_sink('s', target => 't', format => 'csv', envelope => 'debezium');
SELECT kafka_sink.create_sink('s', command => 'SELECT FROM batch', format => 'protobuf', envelope => 'debezium', value_schema => env('int32 v'));
DROP TABLE t, big, one, whole;
DROP FUNCTION n, i, f8, b, s, r, try, env, ch, val, gone, bytes, one;
DROP TYPE duo;
DROP DOMAIN given;
DROP TYPE hstore CASCADE;
DROP EXTENSION kafka_sink;
