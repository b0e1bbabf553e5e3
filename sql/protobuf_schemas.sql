-- Protobuf: schemas as descriptors, what is absent in columns and in JSON, and decode().
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE FUNCTION r(value bytea, key bytea DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', NULL, NULL, NULL, key, value, NULL)::kafka_sink.record$$;
CREATE FUNCTION try(VARIADIC records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text;
BEGIN
    RETURN kafka_sink.ingest('s', records);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '');
END$$;

-- what protoc makes of
--   syntax = "proto3"; package d; message Dep { string s = 1; }
-- and, with imports, of
--   syntax = "proto2"; package d; import "dep.proto"; import "google/protobuf/timestamp.proto";
--   message Main { message A { optional int32 v = 1; } oneof o { string w = 1; group G = 2 { optional int32 v = 1; } }
--       message B { optional int32 v = 2; } optional Dep dep = 3; optional google.protobuf.Timestamp at = 4; optional int32 v = 5 [default = 7]; }
CREATE TABLE made (name text, v text);
INSERT INTO made VALUES ('dep', 'CglkZXAucHJvdG8SAWQiEwoDRGVwEgwKAXMYASABKAlSAXNiBnByb3RvMw=='),
    ('main', 'CgptYWluLnByb3RvEgFkGglkZXAucHJvdG8aH2dvb2dsZS9wcm90b2J1Zi90aW1lc3RhbXAucHJvdG8ixgEKBE1haW4SDgoBdxgBIAEoCUgAUgF3EhkKAWcYAiABKAoyCS5kLk1haW4uR0gAUgFnEhgKA2RlcBgDIAEoCzIGLmQuRGVwUgNkZXASKgoCYXQYBCABKAsyGi5nb29nbGUucHJvdG9idWYuVGltZXN0YW1wUgJhdBIPCgF2GAUgASgFOgE3UgF2GhEKAUESDAoBdhgBIAEoBVIBdhoRCgFHEgwKAXYYASABKAVSAXYaEQoBQhIMCgF2GAIgASgFUgF2QgMKAW8='),
    ('set', 'CisKCWRlcC5wcm90bxIBZCITCgNEZXASDAoBcxgBIAEoCVIBc2IGcHJvdG8zCv8BCh9nb29nbGUv
cHJvdG9idWYvdGltZXN0YW1wLnByb3RvEg9nb29nbGUucHJvdG9idWYiOwoJVGltZXN0YW1wEhgK
B3NlY29uZHMYASABKANSB3NlY29uZHMSFAoFbmFub3MYAiABKAVSBW5hbm9zQoUBChNjb20uZ29v
Z2xlLnByb3RvYnVmQg5UaW1lc3RhbXBQcm90b1ABWjJnb29nbGUuZ29sYW5nLm9yZy9wcm90b2J1
Zi90eXBlcy9rbm93bi90aW1lc3RhbXBwYvgBAaICA0dQQqoCHkdvb2dsZS5Qcm90b2J1Zi5XZWxs
S25vd25UeXBlc2IGcHJvdG8zCoQCCgptYWluLnByb3RvEgFkGglkZXAucHJvdG8aH2dvb2dsZS9w
cm90b2J1Zi90aW1lc3RhbXAucHJvdG8ixgEKBE1haW4SDgoBdxgBIAEoCUgAUgF3EhkKAWcYAiAB
KAoyCS5kLk1haW4uR0gAUgFnEhgKA2RlcBgDIAEoCzIGLmQuRGVwUgNkZXASKgoCYXQYBCABKAsy
Gi5nb29nbGUucHJvdG9idWYuVGltZXN0YW1wUgJhdBIPCgF2GAUgASgFOgE3UgF2GhEKAUESDAoB
dhgBIAEoBVIBdhoRCgFHEgwKAXYYASABKAVSAXYaEQoBQhIMCgF2GAIgASgFUgF2QgMKAW8=');
CREATE FUNCTION made(name text) RETURNS text LANGUAGE sql AS $$SELECT v FROM made WHERE made.name = $1$$;
CREATE TABLE t (i serial, v int, w text, dep text, at timestamptz, type text);
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', columns => '{"i": null, "dep": "$.dep.s", "type": "@schema"}', value_schema => made('set'));
SELECT try(r('\x0a01781a030a017922020878'), r('\x280513080114'), r('\x13080914'));
SELECT kafka_sink.alter_sink('s', message_type => 'd.Main.G');
SELECT try(r('\x080a'));
-- one file, with all that it imports or without
SELECT kafka_sink.alter_sink('s', value_schema => made('dep'), reset => '{message_type}', columns => '{"w": "s"}');
SELECT try(r('\x0a0161'));
SELECT v, w, dep, at, type FROM t ORDER BY i;
SELECT kafka_sink.alter_sink('s', value_schema => made('main'));
-- what is none
CREATE FUNCTION refused(schema text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text;
BEGIN
    PERFORM kafka_sink.alter_sink('s', value_schema => schema);
    RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '');
END$$;
SELECT unnest(ARRAY[
    refused('AAAAAAAAAAAAAAAAAAAA'),
    refused(encode('\x0a2012', 'base64') || 'AAAAAAAAAAAAAAAAAAAA'),
    -- a file that has nothing but a name; and one of an edition that is not known
    refused(encode('\x0a120a10'::bytea || 'abcdefghijklmnop', 'base64')),
    refused(encode('\x0a096465702e70726f746f62086564697469 6f6e73709f8d06'::bytea, 'base64')),
    -- a field of a oneof that there is not
    refused(encode('\x22110a046d61696e1209 0a017618012805 4803'::bytea, 'base64')),
    -- names that are none
    refused(encode('\x22110a086d206e207b207d7b12050a01761801'::bytea, 'base64'))]) AS refused;
SELECT kafka_sink.drop_sink('s');

-- of a registry: the place of a message is counted as its text has it, and so are references
CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
SELECT kafka_sink.add_schema('reg', 1, 'PROTOBUF', made('main'), jsonb_build_array(jsonb_build_object('name', 'dep.proto', 'schema', made('dep'))));
SELECT kafka_sink.add_schema('reg', 2, 'PROTOBUF', made('main'), '[{"name": "dep.proto", "schema": "syntax = \"proto3\"; package d; message Dep { string s = 1; string t = 2; }"}]');
SELECT kafka_sink.add_schema('reg', 3, 'PROTOBUF', made('set'));
SELECT kafka_sink.add_schema('reg', 4, 'PROTOBUF', made('main'));
TRUNCATE t;
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'protobuf', columns => '{"i": null, "dep": null, "type": "@schema"}', enabled => false);
SELECT try(r('\x000000000104000008 0a'::bytea), r('\x000000000104000208 0b'::bytea), r('\x000000000104000410 0c'::bytea), r('\x0000000003040002080d'));
SELECT try(r('\x0000000004002801'));
SELECT v, type FROM t ORDER BY i;
SELECT kafka_sink.decode('reg', '\x0000000001001a030a0161'), kafka_sink.decode('reg', '\x0000000002001a061201620a0161'), kafka_sink.decode('reg', '\x0000000003001a030a0161');
SELECT kafka_sink.drop_sink('s');

-- what is absent: columns, paths and attributes have what it is read as, if it has no presence; JSON does not have it
CREATE TYPE part AS (n int, s text, e text, l int[], o int);
CREATE TABLE absent (i serial, n int DEFAULT -1, x float8 DEFAULT -1, f boolean, s text DEFAULT 'none', b bytea DEFAULT 'none', e text DEFAULT 'none', en int DEFAULT -1, l int[] DEFAULT '{-1}', m jsonb DEFAULT '{"a": 1}',
    o int DEFAULT -1, c text DEFAULT 'none', p part, pn int DEFAULT -1, po int DEFAULT -1, at timestamptz DEFAULT '2000-01-01', w int DEFAULT -1, whole jsonb, rest jsonb);
SELECT kafka_sink.create_sink('s', target => 'absent', format => 'protobuf', message_type => 'm', columns => '{"i": null, "en": "e", "pn": "$.p.n", "po": "$.p.o", "whole": "@value", "rest": "@rest"}',
    value_schema => $$syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
        enum kind { zero = 0; one = 1; }
        message part { int32 n = 1; string s = 2; kind e = 3; repeated int32 l = 4; optional int32 o = 5; }
        message m { int32 n = 1; double x = 2; bool f = 3; string s = 4; bytes b = 5; kind e = 6; repeated int32 l = 7; map<string, int32> m = 8;
            optional int32 o = 9; oneof one { string c = 10; string d = 11; } part p = 12; google.protobuf.Timestamp at = 13; google.protobuf.Int32Value w = 14; int32 left = 15; optional int32 over = 16; }$$);
-- nothing; what could be left out, given; what has presence, at its default; a message of nothing
SELECT try(r(''), r('\x0800110000000000000000180022002a0030003a00'), r('\x480052006200'::bytea || '\x6a0072008001007800'), r('\x62023000'));
SELECT n, x, f, s, b, e, en, l, m FROM absent ORDER BY i;
SELECT o, c, p, pn, po, at, w, whole, rest FROM absent ORDER BY i;
-- a command sees the JSON, or by value_type the attributes
CREATE TABLE seen (v text);
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', format => 'protobuf', command => $$INSERT INTO public.seen SELECT concat_ws(' ', coalesce(value->>'n', 'none'), coalesce((value->>'n')::int, 0), value ? 'o') FROM batch$$,
    value_schema => 'syntax = "proto3"; message m { int32 n = 1; string s = 2; optional int32 o = 3; }');
SELECT try(r(''), r('\x08001800'), r('\x0801'));
SELECT kafka_sink.alter_sink('s', command => $$INSERT INTO public.seen SELECT concat_ws(' ', n, '"' || s || '"', o IS NULL) FROM batch$$, value_type => 'part');
SELECT try(r(''), r('\x08001800'), r('\x0801'));
TABLE seen;
SELECT kafka_sink.drop_sink('s');
-- proto2: a default that the text gives is one; the others are not there
CREATE TABLE given (i serial, n int DEFAULT -1, d int DEFAULT -1, s text DEFAULT 'none', whole jsonb);
SELECT kafka_sink.create_sink('s', target => 'given', format => 'protobuf', columns => '{"i": null, "whole": "@value"}', value_schema => 'syntax = "proto2"; message m { optional int32 n = 1; optional int32 d = 2 [default = 5]; optional string s = 3 [default = "x"]; }');
SELECT try(r(''), r('\x080010001a00'));
SELECT n, d, s, whole FROM given ORDER BY i;
-- in a key, 0 is one as others are; in decode() it is as in a value
SELECT kafka_sink.drop_sink('s');
CREATE TABLE keyed (k int, key jsonb, v text);
SELECT kafka_sink.create_sink('s', target => 'keyed', format => 'raw', key_format => 'protobuf', columns => '{"k": "@key.k", "key": "@key", "v": null}', key_schema => 'syntax = "proto3"; message m { int32 k = 1; optional int32 o = 2; }');
SELECT try(r('x', ''), r('x', '\x1000'));
TABLE keyed;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.add_schema('reg', 10, 'PROTOBUF', 'syntax = "proto3"; message m { int32 k = 1; optional int32 o = 2; repeated int32 l = 3; }');
SELECT kafka_sink.decode('reg', '\x000000000a00'), kafka_sink.decode('reg', '\x000000000a000800100018 00'::bytea);

-- decode(): framings whose serializers tell a message in ways of their own; packed or not
SELECT kafka_sink.add_schema('reg', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'PROTOBUF', 'syntax = "proto3"; message m { int32 k = 1; }');
SELECT kafka_sink.decode('reg', '\x0305a0eebc999c0b4ef8bb6d6bb9bd380a11789c5bc0c894080002ec0105', framing => 'glue');
SELECT kafka_sink.decode('reg', '\x0300a0eebc999c0b4ef8bb6d6bb9bd380a11000801', framing => 'glue');
INSERT INTO kafka_sink.schemas (server, registry, global_id, type, schema, refs) SELECT server, registry, 9, type, schema, refs FROM kafka_sink.schemas WHERE guid IS NOT NULL;
SELECT kafka_sink.decode('reg', '\x000000000000000009000801', framing => 'apicurio8');
SELECT kafka_sink.decode('reg', '\x0800', '\x01a0eebc999c0b4ef8bb6d6bb9bd380a1100'::bytea);

DROP SERVER reg CASCADE;
DROP FUNCTION r, try, made, refused;
DROP EXTENSION kafka_sink CASCADE;
DROP TABLE made, t, absent, seen, given, keyed;
DROP TYPE part;
