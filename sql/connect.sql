-- What Kafka Connect's converters write in Avro and Protobuf: types that schemas name, or
-- say in options, and rows without an envelope of their own (envelope connect).  The bytes
-- are made here, by hand; the texts are as ProtobufConverter registers them.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET datestyle = 'ISO, YMD';
\pset format unaligned
\pset tuples_only on
-- Protobuf: a number, and fields of a number, of bytes, of a text
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
CREATE FUNCTION b(field int, v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT n(field * 8 + 2) || n(length(v)) || v$$;
CREATE FUNCTION s(field int, v text) RETURNS bytea LANGUAGE sql AS $$SELECT b(field, convert_to(v, 'UTF8'))$$;
-- Avro: the same
CREATE FUNCTION a(v numeric) RETURNS bytea LANGUAGE sql AS $$SELECT n(CASE WHEN v >= 0 THEN 2 * v ELSE -2 * v - 1 END)$$;
CREATE FUNCTION a(v text) RETURNS bytea LANGUAGE sql AS $$SELECT a(octet_length(convert_to(v, 'UTF8'))) || convert_to(v, 'UTF8')$$;
CREATE FUNCTION r(value bytea, key bytea DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', 0, NULL, NULL, key, value, NULL)::kafka_sink.record$$;
CREATE FUNCTION try(VARIADIC records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result kafka_sink.batch_result; state text; message text; detail text;
BEGIN
    result := kafka_sink.ingest('s', records);
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '');
END$$;

-- describe(): what options of fields and messages say
CREATE FUNCTION described(body text) RETURNS SETOF text LANGUAGE sql AS $$
SELECT line FROM regexp_split_to_table(kafka_sink.describe(format => 'protobuf', table_name => 'd', value_schema =>
    'syntax = "proto3"; package p; import "confluent/meta.proto"; import "confluent/type/decimal.proto"; import "google/protobuf/wrappers.proto"; message Value { ' || body || ' }'), E'\n') line
 WHERE line ~ '^    [^P]|^COMMENT'$$;
SELECT described($$
  option (confluent.message_meta) = {
    doc: "rows of a \"table\""
  };
  int32 tiny = 1 [(confluent.field_meta) = {
    params: [
      {
        key: "connect.type",
        value: "int8"
      }
    ]
  }];
  int32 small = 2 [(confluent.field_meta) = { params: [ { key: "connect.type", value: "int16" } ] }];
  int32 plain = 3;
  google.protobuf.Int32Value wrapped = 4 [(confluent.field_meta) = { params: [ { key: "connect.type", value: "int16" } ] }];
  optional int32 maybe = 5 [(confluent.field_meta) = { params: [ { key: "connect.type", value: "int16" } ] }];
  repeated int32 list = 6 [(confluent.field_meta) = { params: [ { key: "connect.type", value: "int16" } ] }];
  confluent.type.Decimal price = 7 [(confluent.field_meta) = {
    params: [
      {
        value: "10",
        key: "precision"
      },
      {
        value: "2",
        key: "scale"
      }
    ]
  }];
  confluent.type.Decimal scaled = 8 [(confluent.field_meta) = { params: [ { value: "2", key: "scale" } ] }];
  confluent.type.Decimal whole = 9 [(confluent.field_meta) = { params: [ { value: "5", key: "precision" } ] }];
  confluent.type.Decimal any = 10;
  repeated confluent.type.Decimal prices = 11 [(confluent.field_meta) = { params: [ { value: "3", key: "precision" }, { value: "1", key: "scale" } ] }];
  map<string, confluent.type.Decimal> by_name = 12 [(confluent.field_meta) = { params: [ { value: "3", key: "precision" } ] }];
$$);
-- other ways to write it, what is something else, and what cannot be
SELECT described($$
  // a comment
  int32 a = 1 [(.confluent.field_meta).doc = "it's " 'a', (confluent.field_meta).params = { key: "connect.type" value: "int16" }];
  int32 b = 2 [deprecated = true, (confluent.field_meta) = < tags: ["PII"], params < key: "connect.type"; value: "int16" >, params { key: "x" }, rules: [ { name: "r", doc: "no", expr: "this > -5" } ], doc: "told" >, json_name = "B"];
  int32 c = 3 [(confluent.field_meta).tags = ["PII", "other"], (confluent.field_meta).tags = "x", (confluent.field_meta).doc = "c"]; // c's comment
  int32 d = 4 [(confluent.field_meta).doc = "a\000b", (other.field_meta) = { doc: "no", params: [ { key: "connect.type", value: "int16" } ] }]; // d's comment
  int32 e = 5 [(confluent.field_meta) = { doc: "", params: [ { key: "connect.type", value: "int32" }, { value: "int16" }, { key: "connect.type" } ], inner: { doc: "no", params { key: "connect.type" value: "int8" } } }]; // e's comment
  int64 f = 6 [(confluent.field_meta) = { params: [ { key: "connect.type", value: "int16" } ] }];
  int32 g = 7 [(confluent.field_meta) = { params: [ { key: "precision", value: "3" } ] }];
  confluent.type.Decimal h = 8 [(confluent.field_meta) = { params: [ { key: "precision", value: "1001" }, { key: "scale", value: "1" } ] }];
  confluent.type.Decimal i = 9 [(confluent.field_meta) = { params: [ { key: "precision", value: "3" }, { key: "scale", value: "-2" } ] }];
  confluent.type.Decimal j = 10 [(confluent.field_meta) = { params: [ { key: "precision", value: "3" }, { key: "scale", value: "4" } ] }];
  confluent.type.Decimal k = 11 [(confluent.field_meta) = { params: [ { key: "precision", value: "99999999999999999999" }, { key: "scale", value: "x" } ] }];
  int32 l = 12 [(confluent.field_meta).params.key = "connect.type", (confluent.field_meta) = -5];
  oneof o { option (confluent.field_meta) = { doc: "no" }; int32 m = 13 [(confluent.field_meta) = { params: { key: "connect.type", value: "int8" } }]; }
$$);
SELECT kafka_sink.describe(format => 'protobuf', value_schema => E'syntax = "proto3";\nmessage v { int32 a = 1 [(confluent.field_meta) = { doc: "x" ]; }');
SELECT kafka_sink.describe(format => 'protobuf', value_schema => E'syntax = "proto3";\nmessage v { int32 a = 1 [(confluent.field_meta) = ]; }');
SELECT kafka_sink.describe(format => 'protobuf', value_schema => E'syntax = "proto3";\nmessage v { int32 a = 1 [(confluent.field_meta) = }];');
-- the same in a descriptor, whose defaults are none of proto3
CREATE FUNCTION field(name text, number int, type int, more bytea DEFAULT '') RETURNS bytea LANGUAGE sql AS
$$SELECT b(2, s(1, name) || i(3, number) || i(4, 1) || i(5, type) || more)$$;
CREATE FUNCTION param(key text, value text) RETURNS bytea LANGUAGE sql AS $$SELECT b(2, s(1, key) || s(2, value))$$;
SELECT line FROM regexp_split_to_table(kafka_sink.describe(format => 'protobuf', table_name => 'd', value_schema => encode(
    s(1, 'v.proto') || s(3, 'confluent/meta.proto') || s(3, 'confluent/type/decimal.proto') || b(4, s(1, 'Value')
        || field('small', 1, 5, b(8, b(1088, param('connect.type', 'int16'))))
        || field('price', 2, 11, s(6, '.confluent.type.Decimal') || b(8, i(3, 1) || b(1088, s(1, E'the "price",\nin \u20ac') || param('precision', '10') || param('scale', '2') || s(3, 'PII'))))
        || field('given', 3, 5, s(7, '5') || b(8, b(1088, b(2, ''))))
        || b(7, b(1088, s(1, 'all of it')))) || s(12, 'proto3'), 'base64')), E'\n') line;

-- the same sizes as Connect's converters for Avro and JSON Schema tell them
SELECT line FROM regexp_split_to_table(kafka_sink.describe(value_schema => '{"type": "record", "name": "d", "fields": [{"name": "a", "type": {"type": "int", "connect.type": "int8"}},
    {"name": "b", "type": ["null", {"type": "int", "connect.type": "int16"}], "default": null}, {"name": "c", "type": {"type": "int", "connect.type": "int16"}, "default": 7}, {"name": "e", "type": {"type": "int", "connect.type": "int64"}},
    {"name": "f", "type": {"type": "long", "connect.type": "int16"}}, {"name": "g", "type": {"type": "array", "items": {"type": "int", "connect.type": "int16"}}}, {"name": "h", "type": [{"type": "int", "connect.type": "int16"}, "long"]},
    {"name": "i", "type": ["float", {"type": "int", "connect.type": "int16"}]}, {"name": "j", "type": {"type": "int", "logicalType": "date", "connect.type": "int16"}}]}'), E'\n') line WHERE line ~ '^    ';
SELECT line FROM regexp_split_to_table(kafka_sink.describe(format => 'json_schema', value_schema => '{"title": "d", "type": "object", "properties": {"a": {"type": "integer", "connect.type": "int8"}, "b": {"type": "integer", "connect.type": "int16", "default": 7},
    "c": {"type": "integer", "connect.type": "int32"}, "e": {"type": "array", "items": {"type": "integer", "connect.type": "int16"}}, "f": {"type": "integer", "connect.type": "int16", "default": 70000}}}'), E'\n') line WHERE line ~ '^    ';

-- evolve: a column for what is small here, which grows when it is not any more
CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
SELECT kafka_sink.add_schema('reg', 1, 'PROTOBUF', 'syntax = "proto3"; message v { int32 id = 1; int32 n = 2 [(confluent.field_meta) = { params: [ { key: "connect.type", value: "int16" } ] }]; }');
SELECT kafka_sink.add_schema('reg', 2, 'PROTOBUF', 'syntax = "proto3"; message v { int32 id = 1; int32 n = 2; }');
CREATE TABLE e (id int);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'e', format => 'protobuf', evolve => 'widen', enabled => false);
SELECT try(r('\x000000000100' || i(1, 1) || i(2, 7))), try(r('\x000000000200' || i(1, 2) || i(2, 70000)));
SELECT statement FROM kafka_sink.ddl_history ORDER BY id;
TABLE e;
SELECT kafka_sink.drop_sink('s');

-- envelope connect in Protobuf: what is not there is null, types that the schema does not name are the column's
CREATE DOMAIN given AS text NOT NULL;
CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'default', day date DEFAULT '2000-01-01', at timestamp DEFAULT '2000-01-01', doc jsonb DEFAULT '"default"', bits bit(3),
    net inet, price numeric DEFAULT -1, born date DEFAULT '2000-01-01', told timestamptz DEFAULT 'epoch', clock time DEFAULT '00:00', size smallint DEFAULT -1, moment timestamptz DEFAULT 'epoch', other text DEFAULT 'other');
CREATE FUNCTION flat() RETURNS text LANGUAGE sql AS $$SELECT 'syntax = "proto3"; import "confluent/type/decimal.proto"; import "google/type/date.proto"; import "google/type/timeofday.proto";
    import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
    message Value { int32 id = 1; optional string v = 2; optional int32 day = 3; optional int64 at = 4; optional string doc = 5; optional bytes bits = 6; optional bytes net = 7;
      confluent.type.Decimal price = 8; google.type.Date born = 9; google.protobuf.Timestamp told = 10; google.type.TimeOfDay clock = 11; google.protobuf.Int32Value size = 12; optional string moment = 13; }'$$;
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'connect', insert_mode => 'upsert', delete_enabled => true, key_format => 'protobuf',
    key_schema => 'syntax = "proto3"; message k { int32 id = 1; }', value_schema => flat(), columns => '{"at": {"unit": "microseconds"}}');
SELECT try(r(i(1, 1) || s(2, 'a') || i(3, 20455) || i(4, 1767339306664000) || s(5, '{"a": [1]}') || b(6, '\x05') || s(7, '10.0.0.1') || b(8, b(1, '\x02bc') || i(3, 2))
        || b(9, i(1, 2026) || i(2, 1) || i(3, 2)) || b(10, i(1, 1767339306)) || b(11, i(1, 3) || i(4, 500000000)) || b(12, i(1, 7)) || s(13, '2026-01-02T07:35:06Z')),
    r(i(1, 2)), r(''));
\x on
SELECT * FROM t ORDER BY id;
\x off
-- an older value is overwritten by what is not there; a text that is no JSON; deletes
SELECT try(r(i(1, 1) || s(5, 'null'))), try(r(i(1, 1) || s(5, 'x'))), try(r(NULL, i(1, 2)));
SELECT id, v, price, doc, other FROM t ORDER BY id;
SELECT kafka_sink.drop_sink('s');
-- without the envelope they are not there, and texts are texts
TRUNCATE t;
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', value_schema => flat(), columns => '{"at": null, "day": null, "bits": null, "net": null}');
SELECT try(r(i(1, 1) || s(5, '{"a": [1]}')));
SELECT id, v, doc, price, size FROM t;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => envelope, value_schema => 'syntax = "proto3"; message v { int32 day = 1; }') FROM unnest('{none,debezium}'::text[]) envelope;
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', envelope => 'connect', value_schema => 'syntax = "proto3"; message v { int64 at = 1; }');
-- what is not there meets the column's constraints; whole values and the rest are as ever
CREATE TABLE w (id int, must given, "in" int DEFAULT -1, item text DEFAULT 'none', value jsonb, raw bytea, rest jsonb, schema text);
SELECT kafka_sink.create_sink('s', target => 'w', format => 'protobuf', envelope => 'connect', message_type => 'v',
    columns => '{"in": "$.in.x", "item": "$.m.k", "value": "@value", "raw": "@value", "rest": "@rest", "schema": "@schema"}',
    value_schema => 'syntax = "proto3"; message v { int32 id = 1; optional string must = 2; inner in = 3; map<string, string> m = 4; string left = 5; } message inner { optional int32 x = 1; }');
SELECT try(r(i(1, 1) || s(2, 'x') || s(5, 'over'))), try(r(i(1, 2) || s(2, 'y') || b(3, '') || b(4, s(1, 'k') || s(2, 'v')))), try(r(i(1, 3)));
SELECT * FROM w;
SELECT kafka_sink.drop_sink('s');
-- values and keys that are no struct are wrapped, by a schema that is Google's own text
SELECT kafka_sink.add_schema('reg', 3, 'PROTOBUF', 'syntax = "proto3"; package google.protobuf; option java_package = "com.google.protobuf"; message DoubleValue { double value = 1; } message FloatValue { float value = 1; }
    message Int64Value { int64 value = 1; } message UInt64Value { uint64 value = 1; } message Int32Value { int32 value = 1; } message UInt32Value { uint32 value = 1; } message BoolValue { bool value = 1; } message StringValue { string value = 1; } message BytesValue { bytes value = 1; }');
CREATE TABLE single (id bigint PRIMARY KEY, v text);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'single', format => 'protobuf', key_format => 'protobuf', envelope => 'connect', insert_mode => 'upsert', delete_enabled => true,
    columns => '{"id": "@key", "v": "@value"}', enabled => false);
SELECT try(r('\x0000000003'::bytea || '\x020e' || s(1, 'one'), '\x0000000003'::bytea || '\x0204' || i(1, 7)), r('\x0000000003'::bytea || '\x020e', '\x0000000003'::bytea || '\x0204'),
    r('\x0000000003'::bytea || '\x020c' || i(1, 1), '\x0000000003'::bytea || '\x0208' || i(1, 8)));
SELECT * FROM single ORDER BY id;
SELECT try(r(NULL, '\x0000000003'::bytea || '\x0204' || i(1, 7)));
SELECT * FROM single ORDER BY id;
SELECT kafka_sink.drop_sink('s');
DROP TABLE single;

-- a command, which sees the value as it is
SELECT kafka_sink.create_sink('s', command => 'INSERT INTO public.w (id, must, value) SELECT (value->>''id'')::int, ''command'', value FROM batch', format => 'protobuf', envelope => 'connect', value_schema => flat());
SELECT try(r(i(1, 9) || i(3, 20455)));
SELECT id, value FROM w WHERE must = 'command';
SELECT kafka_sink.drop_sink('s');

-- envelope connect in Avro: types by their names, as without it
TRUNCATE t;
CREATE FUNCTION names() RETURNS text LANGUAGE sql AS $$SELECT '{"type": "record", "name": "Value", "fields": [{"name": "id", "type": "int"}, {"name": "v", "type": ["null", "string"]},
    {"name": "day", "type": {"type": "int", "connect.name": "io.debezium.time.Date"}}, {"name": "at", "type": {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"}},
    {"name": "doc", "type": {"type": "string", "connect.name": "io.debezium.data.Json"}}, {"name": "told", "type": {"type": "long", "connect.name": "org.apache.kafka.connect.data.Timestamp"}},
    {"name": "size", "type": {"type": "int", "connect.type": "int16"}}], "connect.name": "Value"}'$$;
CREATE FUNCTION rw(id int) RETURNS bytea LANGUAGE sql AS $$SELECT a(id) || '\x00' || a(20455) || a(1767339306664000) || a('{"a": 1}') || a(1767339306664) || a(7)$$;
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'connect', value_schema => names(), insert_mode => 'upsert', delete_enabled => true, key_format => 'avro', key_schema => '"int"');
SELECT try(r(rw(1)), r(rw(2)), r(NULL, a(2)));
SELECT id, v, day, at, doc, told, size, other FROM t;
SELECT kafka_sink.drop_sink('s');
TRUNCATE t;
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', value_schema => names());
SELECT try(r(rw(1)));
SELECT id, v, day, at, doc, told, size, other FROM t;
SELECT kafka_sink.drop_sink('s');
-- bytes that are the text of a type that Connect does not know
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'connect', value_schema => '{"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}, {"name": "net", "type": "bytes"}]}');
SELECT try(r(a(3) || a('10.0.0.2')));
SELECT id, net FROM t WHERE id = 3;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', value_schema => '{"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}, {"name": "net", "type": "bytes"}]}');

DROP TABLE t, w, e;
DROP SERVER reg CASCADE;
DROP DOMAIN given;
DROP FUNCTION n, i, b, s, a(numeric), a(text), r, try, described, field, param, flat, names, rw;
DROP EXTENSION kafka_sink;
