-- describe() of schemas in Protobuf and JSON Schema, and targets that follow them
-- (evolve): what it gives runs, and so does the sink that it proposes.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE FUNCTION r(value bytea, key bytea DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', 0, NULL, NULL, key, value, NULL)::kafka_sink.record$$;
CREATE FUNCTION j(value text, key text DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT r(convert_to(value, 'UTF8'), convert_to(key, 'UTF8'))$$;
-- a field of Protobuf: its tag, and bytes behind their length, or a number
CREATE FUNCTION tag(number int, wire int) RETURNS bytea LANGUAGE sql AS
$$SELECT CASE WHEN number < 16 THEN set_byte('\x00', 0, number * 8 + wire) ELSE set_byte(set_byte('\x0000', 0, (number * 8 + wire) % 128 + 128), 1, number / 16) END$$;
CREATE FUNCTION b(number int, v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT tag(number, 2) || set_byte('\x00', 0, length(v)) || v$$;
CREATE FUNCTION b(number int, v text) RETURNS bytea LANGUAGE sql AS $$SELECT b(number, convert_to(v, 'UTF8'))$$;
CREATE FUNCTION n(number int, v int) RETURNS bytea LANGUAGE sql AS $$SELECT tag(number, 0) || set_byte('\x00', 0, v)$$;
CREATE FUNCTION sink(text) RETURNS text LANGUAGE plpgsql AS
$$BEGIN EXECUTE substring($1 FROM '\n-- (SELECT kafka_sink\.create_sink\(.*?\);)(\n-- |\n?$)'); RETURN 'made'; END$$;
\pset format unaligned
\pset tuples_only on

-- Protobuf: every type
SELECT kafka_sink.describe(format => 'protobuf', value_schema => $$syntax = "proto3"; package shop;
import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto"; import "google/protobuf/any.proto"; import "google/protobuf/field_mask.proto"; import "google/protobuf/empty.proto";
import "google/type/date.proto"; import "google/type/timeofday.proto"; import "confluent/type/decimal.proto";
// All that there is;
// it's a lot.
message Everything {
  bool b = 1; // yes or no
  // a number's
  // size
  int32 i = 2; sint64 l = 3; uint32 u = 4; fixed64 ul = 5; float f = 6; double d = 7; string s = 8; bytes by = 9;
  enum Mood { OK = 0; SAD = 1; }
  message Item { int32 n = 1; }
  Mood mood = 10; optional Mood maybe = 11; optional string os = 12; repeated int32 ints = 13; repeated bytes bs = 14; repeated Mood moods = 15;
  map<string, Item> m = 16; Item item = 17; repeated Item items = 18; Everything again = 19;
  oneof contact { string mail = 20; int64 phone = 21; }
  google.protobuf.Timestamp ts = 22; google.protobuf.Duration du = 23; google.protobuf.Int64Value w = 24; google.protobuf.StringValue ws = 25;
  google.protobuf.Struct st = 26; google.protobuf.Value v = 27; google.protobuf.ListValue lv = 28; google.protobuf.Any any = 29;
  google.protobuf.FieldMask fm = 30; google.protobuf.Empty nothing = 31; google.type.Date day = 32; google.type.TimeOfDay clock = 33;
  confluent.type.Decimal price = 34; repeated google.protobuf.Timestamp tss = 35; int32 ctid = 36; int32 Odd = 37;
}$$) AS sql \gset p_
\echo :p_sql
:p_sql
SELECT sink(:'p_sql');
SELECT kafka_sink.ingest('Everything', ARRAY[r('')]);
SELECT kafka_sink.ingest('Everything', ARRAY[r(n(1, 1) || n(2, 2) || n(3, 3) || n(4, 4) || '\x29ffffffffffffffff'::bytea || '\x350000003f'::bytea || '\x39000000000000e03f'::bytea || b(8, 'text') || b(9, '\xff00'::bytea)
    || n(10, 1) || n(11, 0) || b(12, '') || b(13, '\x0102'::bytea) || b(14, '\xab'::bytea) || b(15, '\x0100'::bytea) || b(16, b(1, 'k') || b(2, n(1, 5))) || b(17, n(1, 6)) || b(18, n(1, 7)) || b(19, n(2, 8))
    || b(20, 'm') || b(22, n(1, 2) || n(2, 3)) || b(23, n(1, 2) || n(2, 3)) || b(24, n(1, 7)) || b(25, b(1, 'w')) || b(30, b(1, 'a')) || b(31, '') || b(32, n(1, 99) || n(2, 1) || n(3, 2)) || b(33, n(1, 3))
    || b(34, b(1, '\x02bc'::bytea) || n(3, 4)) || b(35, n(1, 2)) || n(36, 36) || n(37, 37))]);
\x on
TABLE "Everything";
\x off
SELECT obj_description('"Everything"'::regclass, 'pg_class'), col_description('"Everything"'::regclass, 1), col_description('"Everything"'::regclass, 2);
SELECT kafka_sink.drop_sink('Everything');

-- proto2: required fields, and defaults
SELECT kafka_sink.describe(table_name => 'two', format => 'protobuf', value_schema => $$syntax = "proto2";
message two { required int32 id = 1; optional int32 i = 2 [default = -5]; optional uint64 u = 3 [default = 18446744073709551615]; optional bool b = 4 [default = true];
  optional string s = 5 [default = "it's"]; optional bytes by = 6 [default = "\377a"]; optional double d = 7 [default = nan]; optional float f = 8 [default = 1.5];
  enum e { A = 1; B = -2; } optional e m = 10 [default = B]; optional e none = 11; repeated int32 r = 12 [packed = true]; optional group Inner = 13 { optional int32 n = 1; } required string must = 14; }$$) AS sql \gset two_
\echo :two_sql
:two_sql
SELECT sink(:'two_sql');
SELECT kafka_sink.ingest('two', ARRAY[r(n(1, 1) || b(14, 'x'))]);
INSERT INTO two (id, r, must) VALUES (2, '{}', 'y');
\x on
SELECT * FROM two;
\x off

-- several messages, keys, and what is one value
SELECT kafka_sink.describe(format => 'protobuf', value_schema => 'syntax = "proto3"; message a { int32 id = 1; } message b { message c { string s = 1; } }');
SELECT kafka_sink.describe(format => 'protobuf', message_type => 'd', value_schema => 'syntax = "proto3"; message a { int32 id = 1; }');
SELECT kafka_sink.describe(format => 'protobuf', message_type => 'b.c', table_name => 'keyed', value_schema => 'syntax = "proto3"; message a { int32 id = 1; } message b { message c { string s = 1; int64 id = 2; } }',
    key_schema => 'syntax = "proto3"; message k { int64 id = 1; optional string region = 2; }') AS sql \gset k_
\echo :k_sql
:k_sql
SELECT sink(:'k_sql');
SELECT kafka_sink.ingest('keyed', ARRAY[r(b(1, 'one') || n(2, 1), n(1, 1) || b(2, 'eu')), r(b(1, 'two') || n(2, 2), n(1, 2) || b(2, '')), r(b(1, 'uno') || n(2, 1), n(1, 1) || b(2, 'eu')), r(NULL, n(1, 2) || b(2, ''))]);
TABLE keyed;
SELECT kafka_sink.describe(format => 'protobuf', table_name => 'structs', message_type => 'google.protobuf.Struct', value_schema => 'syntax = "proto3"; import "google/protobuf/struct.proto"; message a { google.protobuf.Struct s = 1; }') AS sql \gset s_
\echo :s_sql
SELECT kafka_sink.describe(format => 'protobuf', value_schema => 'syntax = "proto3"; message none {}');
SELECT kafka_sink.describe(format => 'protobuf', value_schema => 'syntax = "proto2"; message nul { optional string s = 1 [default = "a\000b"]; }');
SELECT kafka_sink.describe(message_type => 'a', value_schema => '"string"');
SELECT kafka_sink.describe(format => 'csv', value_schema => 'a');
SELECT kafka_sink.describe(format => 'protobuf', value_schema => 'message');

-- JSON Schema: every type
SELECT kafka_sink.describe(format => 'json_schema', value_schema => $${"$schema": "http://json-schema.org/draft-07/schema#", "$id": "http://example.com/schemas/every.v1.json", "description": "all\nthere is", "type": "object",
  "definitions": {"item": {"type": "object", "properties": {"n": {"type": "integer"}}}, "code": {"type": "string", "description": "three letters"}, "loop": {"$ref": "#/definitions/loop"}, "list": {"type": "array", "items": {"$ref": "#/definitions/list"}}},
  "properties": {"zid": {"type": "integer", "description": "the id"}, "small": {"type": "integer", "minimum": 0, "maximum": 100}, "beyond": {"type": "integer", "maximum": 18446744073709551615}, "n": {"type": "number"},
    "i32": {"type": "integer", "connect.type": "int32", "title": "io.debezium.time.Date"}, "f32": {"type": "number", "connect.type": "float32"}, "f64": {"type": "number", "format": "double"},
    "b": {"type": "boolean", "default": true}, "s": {"type": "string", "default": "it's"}, "none": {"type": "null"}, "maybe": {"type": ["null", "string"]}, "opt": {"oneOf": [{"type": "null"}, {"type": "integer", "connect.type": "int64"}]},
    "day": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "date-time"}, "clock": {"type": "string", "format": "time"}, "took": {"type": "string", "format": "duration"}, "u": {"type": "string", "format": "uuid"}, "ip": {"type": "string", "format": "ipv4"}, "mail": {"type": "string", "format": "email"},
    "e": {"enum": ["a", "b"]}, "e2": {"type": "string", "enum": ["x", "y"]}, "c": {"const": 1}, "code": {"$ref": "#/definitions/code"}, "item": {"$ref": "#/definitions/item"}, "items": {"type": "array", "items": {"$ref": "#/definitions/item"}},
    "ints": {"type": "array", "items": {"type": "integer"}}, "tuple": {"type": "array", "items": [{"type": "integer"}]}, "lists": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, "several": {"type": ["string", "integer"]}, "either": {"anyOf": [{"type": "string"}, {"type": "boolean"}, {"type": "null"}]},
    "any": {}, "all": true, "loop": {"$ref": "#/definitions/loop"}, "list": {"$ref": "#/definitions/list"}, "map": {"type": "object", "additionalProperties": {"type": "integer"}}, "def": {"type": "integer", "default": 7}, "bad": {"type": "integer", "default": "x"}, "num": {"type": "number", "default": 1.50},
    "one": {"allOf": [{"$ref": "#/definitions/code"}], "description": "a code"}, "ctid": {"type": "string"}, "a\"b": {"type": "string"}, "": {"type": "string"}, "nul\u0000": {"type": "string"}},
  "required": ["zid", "b", "at", "maybe", "ints", "one", "gone"]}$$) AS sql \gset j_
\echo :j_sql
:j_sql
SELECT sink(:'j_sql');
SELECT kafka_sink.ingest('every', ARRAY[j('{"zid": 9, "b": false, "at": "2026-01-02T03:04:05Z", "maybe": null, "ints": [1, 2], "one": "EUR"}'),
    j('{"zid": 10, "small": 7, "beyond": 18446744073709551615, "n": 0.1, "i32": 1, "f32": 0.5, "f64": 0.1, "b": true, "s": "x", "none": null, "maybe": "y", "opt": 5, "day": "2026-01-02", "at": "2026-01-02T03:04:05+01:00", "clock": "03:04:05Z", "took": "P1DT2H",
       "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "ip": "10.0.0.1", "mail": "a@b", "e": "a", "e2": "x", "c": 1, "code": "abc", "item": {"n": 1}, "items": [{"n": 1}], "ints": [], "tuple": [1], "lists": [[1], [2, 3]], "several": 1, "either": "e", "any": [1], "all": 2,
       "loop": 1, "list": [[]], "map": {"a": 1}, "def": 1, "bad": 2, "num": 3, "one": "USD", "ctid": "c", "a\"b": "q"}')]);
\x on
SELECT * FROM every ORDER BY zid;
\x off
SELECT obj_description('every'::regclass, 'pg_class'), col_description('every'::regclass, 1);
SELECT kafka_sink.drop_sink('every');
-- limits, exactly
SELECT kafka_sink.describe(format => 'json_schema', table_name => 'limits', value_schema => '{"properties": {"all": {"type": "integer", "minimum": -9223372036854775808, "maximum": 9223372036854775807}, "more": {"type": "integer", "maximum": 9223372036854775808}, "less": {"type": "integer", "minimum": -9223372036854775809},
    "i": {"type": "integer", "minimum": -2147483648, "maximum": 2147483647}, "l": {"type": "integer", "minimum": 0, "maximum": 2147483648.0}}}');
-- all that "allOf" has, keys, what is no object, and what refers to nothing
SELECT kafka_sink.describe(format => 'json_schema', table_name => 'merged', value_schema => '{"allOf": [{"$ref": "#/$defs/base"}, {"properties": {"v": {"type": "string"}, "id": {"type": "string"}}, "required": ["v"]}], "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Merged", "$defs": {"base": {"properties": {"id": {"type": "integer"}}, "required": ["id"]}}}',
    key_schema => '{"type": "object", "properties": {"id": {"type": "integer"}}}') AS sql \gset m_
\echo :m_sql
:m_sql
SELECT sink(:'m_sql');
SELECT kafka_sink.ingest('merged', ARRAY[j('{"id": 1, "v": "a"}', '{"id": 1}'), j('{"id": 2, "v": "b"}', '{"id": 2}'), j(NULL, '{"id": 1}')]);
TABLE merged;
SELECT kafka_sink.describe(format => 'json_schema', value_schema => '{"type": "integer", "title": "Number"}', key_schema => '{"type": "string"}');
SELECT kafka_sink.describe(format => 'json_schema', value_schema => 'true');
SELECT kafka_sink.describe(format => 'json_schema', value_schema => '{"properties": {"a": {"$ref": "other.json"}}}');
SELECT kafka_sink.describe(format => 'json_schema', value_schema => '{"properties": ');
-- what would never end is not looked at for ever
SELECT length(kafka_sink.describe(format => 'json_schema', table_name => 'long', value_schema => '{"$ref": "#"}'));
SELECT substr(sql, 1, 150) FROM kafka_sink.describe(format => 'json_schema', table_name => 'long', value_schema => (SELECT '{"$defs": {"d0": {"type": "integer"}, ' || string_agg(format('"d%s": {"anyOf": [{"$ref": "#/$defs/d%s"}, {"$ref": "#/$defs/d%s"}, {"type": "string"}]}', i, i-1, i-1), ', ') || '}, "properties": {'
    || (SELECT string_agg(format('"p%s": {"$ref": "#/$defs/d15"}', j), ', ') FROM generate_series(1, 300) j) || '}}' FROM generate_series(1, 15) i)) sql;
-- changes of Debezium's
SELECT kafka_sink.describe(format => 'json_schema', topic => 'shop.public.orders', value_schema => '{"type": "object", "title": "shop.public.orders.Envelope", "properties": {"before": {"oneOf": [{"type": "null"}, {"type": "object", "title": "shop.public.orders.Value", "properties": {"id": {"type": "integer"}}}]},
    "after": {"oneOf": [{"type": "null"}, {"type": "object", "title": "shop.public.orders.Value", "properties": {"id": {"type": "integer", "connect.index": 0, "connect.type": "int32"}, "v": {"oneOf": [{"type": "null"}, {"type": "string"}]}}, "required": ["id"]}]}, "op": {"type": "string"}}}',
    key_schema => '{"type": "object", "title": "shop.public.orders.Key", "properties": {"id": {"type": "integer", "connect.index": 0, "connect.type": "int32"}}}') AS sql \gset z_
\echo :z_sql
:z_sql
SELECT sink(:'z_sql');
SELECT kafka_sink.ingest('orders', ARRAY[j('{"before": null, "after": {"id": 1, "v": "x"}, "op": "c"}', '{"id": 1}'), j('{"before": null, "after": {"id": 2, "v": null}, "op": "c"}', '{"id": 2}'), j('{"before": {"id": 1}, "after": null, "op": "d"}', '{"id": 1}')]);
TABLE orders;

SELECT kafka_sink.describe(format => 'protobuf', topic => 'shop.public.items', message_type => 'Envelope', key_schema => 'syntax = "proto3"; message Key { int32 id = 1; }',
    value_schema => 'syntax = "proto3"; message Value { int32 id = 1; string v = 2; } message Envelope { Value before = 1; Value after = 2; string op = 3; }') AS sql \gset y_
\echo :y_sql
:y_sql
SELECT sink(:'y_sql');
SELECT kafka_sink.ingest('items', ARRAY[r(b(2, n(1, 1) || b(2, 'x')) || b(3, 'c'), n(1, 1)), r(b(2, n(1, 2)) || b(3, 'c'), n(1, 2)), r(b(1, n(1, 1)) || b(3, 'd'), n(1, 1))]);
TABLE items;

-- evolve: the schemas are rows of kafka_sink.schemas, which are written here by hand
\pset tuples_only off
SET client_min_messages = notice;
CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1', schema_registry_url 'http://127.0.0.1:1/');
CREATE FUNCTION fetched(id int, type text, schema text) RETURNS void LANGUAGE sql AS
$$INSERT INTO kafka_sink.schemas (server, registry, id, type, schema, refs) VALUES ('reg', 'http://127.0.0.1:1', id, type, schema, '[]')$$;
CREATE FUNCTION pr(id int, indexes bytea, VARIADIC fields bytea[]) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT r('\x00' || int4send(id) || indexes || (SELECT string_agg(f, '' ORDER BY n) FROM unnest(fields) WITH ORDINALITY u(f, n)))$$;
CREATE FUNCTION jr(id int, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT r('\x00' || int4send(id) || convert_to(value, 'UTF8'))$$;
SELECT fetched(1, 'PROTOBUF', 'syntax = "proto3"; package s; message a { int32 id = 1; } message b { int32 id = 1; string only_b = 2; }'),
    fetched(2, 'PROTOBUF', 'syntax = "proto3"; package s; message a { int64 id = 1; optional string v = 2; repeated int32 ints = 3; uint64 big = 4; oneof o { bool x = 5; bool y = 6; } } message b { int32 id = 1; string only_b = 2; bool more = 3; }'),
    fetched(3, 'PROTOBUF', 'syntax = "proto3"; package s; message a { int64 id = 1; message n { int32 i = 1; } n v = 2; }'), fetched(4, 'PROTOBUF', 'syntax = "proto'), fetched(5, 'AVRO', '"int"');
CREATE TABLE pe (id int PRIMARY KEY);
SELECT kafka_sink.create_sink('pe', server => 'reg', target => 'pe', format => 'protobuf', evolve => 'widen', enabled => false);
SELECT kafka_sink.ingest('pe', ARRAY[pr(1, '\x00', n(1, 1)), pr(1, '\x0202', n(1, 2), b(2, 'b')), pr(2, '\x00', n(1, 3), b(2, 'v'), b(3, '\x0102'::bytea), n(4, 5), n(6, 1)), pr(1, '\x00', n(1, 4)), pr(1, '\x0202', n(1, 5))]);
\d pe
SELECT * FROM pe ORDER BY id;
-- each message of a schema by itself, when it is met
SELECT kafka_sink.ingest('pe', ARRAY[pr(2, '\x00', n(1, 6))]);
SELECT kafka_sink.ingest('pe', ARRAY[pr(2, '\x0202', n(1, 7), n(3, 1))]);
SELECT id, more FROM pe WHERE id > 5 ORDER BY id;
-- what it cannot be, with what is different from the message of that name before; and what is no schema
\set VERBOSITY verbose
SELECT kafka_sink.ingest('pe', ARRAY[pr(2, '\x00', n(1, 8))]);
ALTER TABLE pe ALTER COLUMN v TYPE uuid USING NULL;
SELECT kafka_sink.ingest('pe', ARRAY[pr(1, '\x00', n(1, 9)), pr(3, '\x00', n(1, 9))]);
\set VERBOSITY default
SELECT kafka_sink.ingest('pe', ARRAY[pr(4, '\x00', n(1, 9))]);
SELECT kafka_sink.ingest('pe', ARRAY[pr(5, '\x00', n(1, 9))]);
SELECT kafka_sink.ingest('pe', ARRAY[pr(2, '\x0208', n(1, 9))]);

SELECT fetched(11, 'JSON', '{"type": "object", "title": "o", "properties": {"id": {"type": "integer"}}, "required": ["id"]}'),
    fetched(12, 'JSON', '{"type": "object", "title": "o", "properties": {"id": {"type": "integer"}, "v": {"type": "string", "format": "date"}, "n": {"type": "number"}, "d": {"type": "boolean", "default": true}}, "required": ["id"]}'),
    fetched(13, 'JSON', '{"type": "object", "title": "o", "properties": {"id": {"type": "integer"}, "d": {"type": "object"}}}'), fetched(14, 'JSON', '{"properties": {"a": {"$ref": "#/nowhere"}}}'),
    fetched(15, 'JSON', '{"type": "object", "title": "o", "properties": {"id": {"type": "integer"}, "n": {"type": "null"}, "v": {"enum": [null]}, "x": {"type": "null"}}}');
CREATE TABLE je (id int PRIMARY KEY, n int);
SELECT kafka_sink.create_sink('je', server => 'reg', target => 'je', format => 'json_schema', evolve => 'widen', enabled => false);
SELECT kafka_sink.ingest('je', ARRAY[jr(11, '{"id": 1, "v": "2026-01-01"}'), jr(12, '{"id": 3000000000, "v": "2026-01-02", "n": 0.5}'), j('{"id": 3, "n": 1.5, "w": "no schema"}')]);
\d je
SELECT * FROM je ORDER BY id;
SELECT kafka_sink.ingest('je', ARRAY[jr(13, '{"id": 4, "d": {}}')]);
SELECT kafka_sink.ingest('je', ARRAY[jr(14, '{"id": 5}')]);
-- null is a value of any type
SELECT kafka_sink.ingest('je', ARRAY[jr(15, '{"id": 6, "n": null, "v": null, "x": null}')]);
SELECT id FROM je ORDER BY id;
SELECT schema_id, statement FROM kafka_sink.ddl_history ORDER BY id;
-- nothing to work on
SELECT kafka_sink.alter_sink('je', format => 'json');
SELECT kafka_sink.alter_sink('je', value_schema => '{}');

SET client_min_messages = warning;
SELECT count(kafka_sink.drop_sink(sink)) FROM kafka_sink.sinks;
DROP TABLE "Everything", two, keyed, every, merged, orders, items, pe, je;
DROP FUNCTION r, j, tag, b(int, bytea), b(int, text), n, sink, fetched, pr, jr;
DROP EXTENSION kafka_sink CASCADE;
