-- Schemas that records name, as they have been fetched from a registry: rows of
-- kafka_sink.schemas, which are written here by hand.  The bytes are, too.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE FUNCTION n(v int) RETURNS bytea LANGUAGE sql AS
$$SELECT decode(CASE WHEN v * 2 < 128 THEN lpad(to_hex(v * 2), 2, '0') ELSE to_hex(v * 2 % 128 + 128) || lpad(to_hex(v * 2 / 128), 2, '0') END, 'hex')$$;
CREATE FUNCTION s(v text) RETURNS bytea LANGUAGE sql AS
$$SELECT n(octet_length(convert_to(v, 'UTF8'))) || convert_to(v, 'UTF8')$$;
-- what stands before a value by a schema, or in a header
CREATE FUNCTION i(id int) RETURNS bytea LANGUAGE sql AS $$SELECT '\x00' || int4send(id)$$;
CREATE FUNCTION g(guid text) RETURNS bytea LANGUAGE sql AS $$SELECT '\x01' || uuid_send(guid::uuid)$$;
CREATE FUNCTION r(value bytea, key bytea DEFAULT NULL, VARIADIC headers kafka_sink.header[] DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', 0, NULL, NULL, key, value, headers)::kafka_sink.record$$;
CREATE FUNCTION h(name text, value bytea) RETURNS kafka_sink.header LANGUAGE sql AS $$SELECT ROW(name, value)::kafka_sink.header$$;
CREATE FUNCTION try(VARIADIC records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result kafka_sink.batch_result; state text; message text; detail text; context text;
BEGIN
    result := kafka_sink.ingest('s', records);
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '')
        || coalesce(' | ' || substring(context FROM 'record [0-9]+'), '');
END$$;
CREATE FUNCTION rec(name text, VARIADIC fields text[]) RETURNS text LANGUAGE sql AS
$$SELECT format('{"type": "record", "name": "%s", "fields": [%s]}', name, array_to_string(fields, ', '))$$;
CREATE FUNCTION f(name text, type text) RETURNS text LANGUAGE sql AS
$$SELECT format('{"name": "%s", "type": %s}', name, type)$$;
CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1', schema_registry_url 'http://127.0.0.1:1/');
CREATE SERVER none FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
CREATE FUNCTION fetched(id int, schema text, type text DEFAULT 'AVRO', refs jsonb DEFAULT '[]', guid uuid DEFAULT NULL) RETURNS void LANGUAGE sql AS
$$INSERT INTO kafka_sink.schemas (server, registry, id, guid, type, schema, refs) VALUES ('reg', 'http://127.0.0.1:1', id, guid, type, schema, refs)$$;

-- definitions
CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'none', sid bigint);
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro');
SELECT kafka_sink.create_sink('s', server => 'none', target => 't', format => 'avro', enabled => false);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', framing => 'none', enabled => false);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', key_format => 'avro', framing => 'single_object', enabled => false);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', enabled => false, columns => '{"sid": "@schema_id"}', insert_mode => 'upsert',
    delete_enabled => true, key_format => 'avro');
SELECT framing, value_schema FROM kafka_sink.sinks;

-- what is not known yet
SELECT kafka_sink.ingest('s', ARRAY[r(i(1) || n(1)), r(i(1) || n(1)), r(i(2) || n(1)), r(i(3), i(4)), r('\x05'), r('')]);
SELECT kafka_sink.ingest('s', ARRAY[r(g('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'))]);
TABLE t;

-- one schema after the other, and back; the key's own
SELECT fetched(1, rec('r', f('id', '"int"'), f('v', '"string"'))), fetched(2, rec('r', f('v', '["null", "string"]'), f('more', '"int"'), f('id', '"long"'))),
    fetched(3, rec('r', '{"name": "id", "type": "int"}', '{"name": "w", "type": "string", "aliases": ["v"]}')), fetched(4, rec('k', f('id', '"int"'))), fetched(5, rec('r', f('id', '"int"')));
SELECT try(r(i(1) || n(1) || s('a')), r(i(2) || '\x02' || s('b') || n(9) || n(2)), r(i(1) || n(3) || s('c')), r(i(3) || n(4) || s('d')), r(i(5) || n(5)), r(i(2) || '\x00' || n(9) || n(6), i(4) || n(6)));
TABLE t ORDER BY id;
SELECT try(r(NULL, i(4) || n(6)), r(NULL, i(5) || n(5)));
SELECT id FROM t ORDER BY id;
SELECT try(r('\x0000000001')), try(r('\x000001')), try(r('\x0200000001')), try(r('')), try(r(i(1) || '\x02'));

-- in a header: it counts, whatever the value begins with
SELECT try(r(n(7) || s('h'), NULL, h('x', 'y'), h('__value_schema_id', i(1)))), try(r(n(0) || s('zero'), NULL, h('__value_schema_id', i(1)))),
    try(r(NULL, n(7), h('__key_schema_id', i(4))));
SELECT try(r(n(8) || s('h'), NULL, h('__value_schema_id', '\x01'))), try(r(n(8) || s('h'), NULL, h('__value_schema_id', NULL))), try(r(n(8) || s('h'), NULL, h('__value_schema_id', '\x02')));
-- the last of several
SELECT try(r(n(8) || s('last'), NULL, h('__value_schema_id', i(5)), h('__value_schema_id', i(1))));
-- by a GUID
SELECT fetched(NULL, rec('r', f('id', '"int"'), f('v', '"string"')), guid => 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT try(r(g('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') || n(9) || s('g')), r(n(10) || s('h'), NULL, h('__value_schema_id', g('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'))));
SELECT * FROM t WHERE id = 0 OR id > 6 ORDER BY id;
SELECT kafka_sink.alter_sink('s', framing => 'confluent');
SELECT try(r(g('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') || n(9) || s('g')));
SELECT kafka_sink.alter_sink('s', framing => 'header');
SELECT try(r(i(1) || n(1) || s('a'))), try(r(n(1) || s('A'), NULL, h('__value_schema_id', i(1))));
SELECT kafka_sink.alter_sink('s', framing => 'auto');

-- schemas that refer to others: what they need stands before them
SELECT fetched(20, rec('r', f('id', '"int"'), f('v', '"x.both"')), refs => jsonb_build_array(
    jsonb_build_object('name', 'x.leaf', 'subject', 'leaf', 'version', '1', 'schema', '{"type": "enum", "name": "leaf", "namespace": "x", "symbols": ["A", "B"]}'),
    jsonb_build_object('name', 'x.left', 'subject', 'left', 'version', '1', 'schema', '{"type": "record", "name": "left", "namespace": "x", "fields": [{"name": "l", "type": "leaf"}]}'),
    jsonb_build_object('name', 'x.both', 'subject', 'both', 'version', '3', 'schema', '{"type": "record", "name": "both", "namespace": "x", "fields": [{"name": "a", "type": "left"}, {"name": "b", "type": "x.leaf"}]}')));
SELECT try(r(i(20) || n(20) || n(1) || n(0)));
SELECT * FROM t WHERE id = 20;
-- of two versions of a type, by one name, the one that is met first
SELECT fetched(22, rec('r', f('id', '"int"'), f('v', '"x.left"')), refs => jsonb_build_array(
    jsonb_build_object('name', 'x.leaf', 'subject', 'leaf', 'version', '2', 'schema', '{"type": "enum", "name": "leaf", "namespace": "x", "symbols": ["A", "B"]}'),
    jsonb_build_object('name', 'x.leaf', 'subject', 'leaf', 'version', '1', 'schema', '{"type": "enum", "name": "leaf", "namespace": "x", "symbols": ["A"]}'),
    jsonb_build_object('name', 'x.left', 'subject', 'left', 'version', '1', 'schema', '{"type": "record", "name": "left", "namespace": "x", "fields": [{"name": "l", "type": "leaf"}]}')));
SELECT try(r(i(22) || n(22) || n(1)));
SELECT v FROM t WHERE id = 22;
SELECT fetched(21, rec('r', f('id', '"x.leaf"')));

-- schemas that cannot be used are errors of their records, each time; others go on
SELECT fetched(30, rec('r', f('id', '"bytes"'))), fetched(31, '{"type": "reco'), fetched(32, 'syntax = "proto3"; message m {}', type => 'PROTOBUF'), fetched(33, '"int"'), fetched(34, rec('r', f('x', '"int"')));
SELECT unnest(ARRAY[try(r(i(21) || n(1))), try(r(i(30) || n(1))), try(r(i(30) || n(1))), try(r(i(31) || n(1))), try(r(i(32) || n(1))), try(r(i(33) || n(1))), try(r(i(34) || n(1)))]) AS try;
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter');
SELECT try(r(i(1) || n(40) || s('a')), r(i(30) || n(1)), r(i(31) || n(1)), r(i(1) || n(41) || s('b')), r(i(30) || n(2)), r(i(1) || n(42) || s('c')));
SELECT topic, value, sqlstate, message FROM kafka_sink.dead_letters ORDER BY id;
SELECT id FROM t WHERE id >= 40 ORDER BY id;
-- a table that takes it; and the schema, mended by whoever owns it
ALTER TABLE t ADD COLUMN x int;
SELECT try(r(i(34) || n(1)));
UPDATE kafka_sink.schemas SET schema = rec('r', f('id', '"int"')) WHERE id IN (30, 31);
SELECT kafka_sink.retry_dead_letters('s', 'true');
SELECT count(*) FROM kafka_sink.dead_letters;
SELECT kafka_sink.alter_sink('s', on_error => 'stop', strict => true);
SELECT try(r(i(2) || '\x00' || n(9) || n(6)));
SELECT kafka_sink.drop_sink('s');

-- many schemas, and two that alternate
TRUNCATE t;
SELECT count(*) FROM (SELECT fetched(1000 + k, rec('r', f('id', '"int"'), f('pad' || k, '"int"'), f('v', '"string"'))) FROM generate_series(0, 199) k) f;
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', enabled => false, columns => '{"sid": "@schema_id"}');
SELECT kafka_sink.ingest('s', array_agg(r(i(1000 + k % 200) || n(k) || n(0) || s('v' || k)) ORDER BY k)) FROM generate_series(0, 999) k;
SELECT count(*), count(DISTINCT sid), bool_and(v = 'v' || id AND sid = 1000 + id % 200) FROM t;
SELECT kafka_sink.drop_sink('s');

-- a schema that the sink gives: the id is taken off, and not looked for
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', enabled => false, insert_mode => 'upsert', framing => 'confluent', columns => '{"sid": "@schema_id"}',
    value_schema => rec('r', f('id', '"int"')));
SELECT try(r(i(77) || n(1)));
SELECT kafka_sink.alter_sink('s', framing => 'header');
SELECT try(r(n(2), NULL, h('__value_schema_id', i(78)))), try(r(n(2)));
SELECT * FROM t WHERE sid < 100 ORDER BY id;
-- which is dropped, so that records tell it
SELECT kafka_sink.alter_sink('s', framing => 'auto', reset => '{value_schema}');
SELECT try(r(i(1) || n(3) || s('x')));
SELECT kafka_sink.drop_sink('s');

-- changes of Debezium's: a schema for each version of the source table
SELECT fetched(50, rec('e', f('before', '["null", ' || rec('v', f('id', '"int"'), f('v', '"string"')) || ']'), f('after', '["null", "v"]'), f('op', '"string"'))),
    fetched(51, rec('e', f('before', '["null", ' || rec('v', f('id', '"int"'), f('sid', '"long"')) || ']'), f('after', '["null", "v"]'), f('op', '"string"')));
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', envelope => 'debezium', enabled => false, insert_mode => 'upsert', delete_enabled => true, key_format => 'avro');
SELECT try(r(i(50) || '\x00' || '\x02' || n(1) || s('one') || s('c'), i(4) || n(1)), r(i(51) || '\x00' || '\x02' || n(2) || n(5) || s('c')), r(i(50) || '\x02' || n(1) || s('one') || '\x00' || s('d'), i(4) || n(1)), r(NULL, i(4) || n(1)), r(i(5) || n(1)));
SELECT try(r(i(50) || '\x00' || '\x02' || n(1) || s('one') || s('c'), i(4) || n(1)), r(i(51) || '\x00' || '\x02' || n(2) || n(5) || s('c')), r(i(50) || '\x02' || n(1) || s('one') || '\x00' || s('d'), i(4) || n(1)), r(NULL, i(4) || n(1)));
SELECT * FROM t WHERE id < 4 ORDER BY id;
SELECT kafka_sink.drop_sink('s');

-- topics with targets of their own, some of which tell their schema
CREATE TABLE u (id int PRIMARY KEY);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', enabled => false);
SELECT kafka_sink.register_topic('s', 'own', target => 'u', value_schema => '"int"', columns => '{"id": "@value"}', framing => 'none');
SELECT kafka_sink.register_topic('s', 'reg', target => 'u');
SELECT kafka_sink.register_topic('s', 'bad', target => 'u', framing => 'none');
SELECT kafka_sink.ingest('s', ARRAY[ROW('own', 0, NULL, NULL, NULL, n(1), NULL), ROW('reg', 0, NULL, NULL, NULL, i(5) || n(2), NULL), ROW('x', 0, NULL, NULL, NULL, i(1) || n(2000) || s('x'), NULL)]::kafka_sink.record[]);
TABLE u ORDER BY id;
SELECT kafka_sink.drop_sink('s');

-- one of several types in a topic: others need not fit the table
CREATE TABLE kind (id int, v text, type text, whole jsonb, raw bytea);
SELECT fetched(60, rec('shop.Order', f('id', '"int"'), f('v', '"string"'))), fetched(61, rec('shop.Item', f('id', '{"type": "map", "values": "int"}'))),
    fetched(62, rec('shop.Other', f('x', '"int"'))), fetched(63, '"string"'), fetched(64, '{"type": "rec');
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'kind', format => 'avro', enabled => false,
    columns => '{"type": "@schema", "whole": "@value", "raw": "@value"}', filter => $$type = 'shop.Order'$$);
SELECT try(r(i(60) || n(1) || s('a')), r(i(61) || '\x00'), r(i(62) || n(5)), r(i(63) || s('text')), r(i(60) || n(2) || s('b'))), try(r(i(64))), try(r(i(60) || n(1)));
SELECT kafka_sink.ingest('s', ARRAY[r(i(61) || '\x00'), r(i(60) || n(3) || s('c'))]);
SELECT * FROM kind;
-- what lets one pass says what does not fit, also where it is asked in the attempt
SELECT kafka_sink.alter_sink('s', filter => $$type <> 'shop.Item'$$, columns => '{"type": "@schema"}');
SELECT try(r(i(62) || n(5))), try(r(i(61) || '\x00'));
SELECT kafka_sink.alter_sink('s', filter => $$type <> clock_timestamp()::text$$);
SELECT try(r(i(61) || '\x00')), try(r(i(60) || n(4) || s('d')));
SELECT kafka_sink.drop_sink('s');
-- and says it of no other: a default that sees rows is evaluated when all records have been read
CREATE FUNCTION rows_before() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT count(*) FROM public.kind); END$$;
ALTER TABLE kind ADD COLUMN before bigint DEFAULT rows_before();
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'kind', format => 'avro', enabled => false, columns => '{"type": "@schema"}', filter => $$type = 'shop.Order'$$);
SELECT try(r(i(60) || n(5) || s('e')), r(i(60) || n(6) || s('f')), r(i(61) || '\x00'));
SELECT id, v, type, before FROM kind WHERE id > 4 ORDER BY id;
SELECT kafka_sink.drop_sink('s');
ALTER TABLE kind DROP COLUMN before;
DROP FUNCTION rows_before;
-- nor need their values, and keys, fit columns that the filter does not read
SELECT fetched(90, rec('shop.Named', f('id', '"string"'), f('v', '"string"'))), fetched(91, '"string"'), fetched(92, '"int"');
ALTER TABLE kind ADD COLUMN k int;
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'kind', format => 'avro', key_format => 'avro', enabled => false,
    columns => '{"type": "@schema", "k": "@key"}', filter => $$type = 'shop.Order'$$);
SELECT try(r(i(60) || n(7) || s('g'), i(92) || n(1)), r(i(90) || s('none') || s('h')), r(i(62) || n(1), i(91) || s('nor this')), r(i(90) || s('9') || s('i'), i(91) || s('nor')), r(i(60) || n(8) || s('j'), i(92) || n(2)));
-- what it lets pass, or cannot be asked of, is refused
SELECT unnest(ARRAY[try(r(i(60) || n(9) || s('k'), i(91) || s('x'))), try(r(i(90) || '\x04'))]) AS try;
SELECT kafka_sink.alter_sink('s', filter => $$type = 'shop.Order' AND k > 1$$);
SELECT unnest(ARRAY[try(r(i(90) || s('x') || s('h'), i(92) || n(9))), try(r(i(90) || s('x') || s('h'), i(91) || s('y'))), try(r(i(60) || n(9) || s('k'), i(92) || n(1)))]) AS try;
SELECT id, v, type, k FROM kind WHERE k IS NOT NULL ORDER BY k;
SELECT kafka_sink.drop_sink('s');
ALTER TABLE kind DROP COLUMN k;
-- a schema of several types: each stands for itself
SELECT fetched(65, '[' || rec('shop.A', f('id', '"int"'), f('v', '"string"')) || ', ' || rec('shop.B', f('id', '{"type": "map", "values": "int"}')) || ', ' || rec('shop.C', f('x', '"int"')) || ', "null", "string"]');
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'kind', format => 'avro', enabled => false, on_error => 'dead_letter', columns => '{"type": "@schema"}');
TRUNCATE kind;
SELECT try(r(i(65) || n(0) || n(1) || s('a')), r(i(65) || n(1) || '\x00'), r(i(65) || n(2) || n(5)), r(i(65) || n(3)), r(i(65) || n(4) || s('text')), r(i(65) || n(0) || n(2) || s('b')));
SELECT sqlstate, message, column_name FROM kafka_sink.dead_letters ORDER BY id;
SELECT kafka_sink.alter_sink('s', filter => $$type = 'shop.A'$$);
SELECT try(r(i(65) || n(1) || '\x00'), r(i(65) || n(2) || n(5)), r(i(65) || n(3)), r(i(65) || n(0) || n(3) || s('c')));
SELECT kafka_sink.alter_sink('s', filter => $$type <> 'shop.A'$$);
SELECT try(r(i(65) || n(1) || '\x00'), r(i(65) || n(0) || n(4) || s('d')));
SELECT id, v, type FROM kind ORDER BY id;
SELECT kafka_sink.drop_sink('s');
-- so it is where a column's values are found in the attempt
CREATE FUNCTION is_small(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RETURN $1 < 10; END$$;
CREATE DOMAIN small AS int CHECK (is_small(VALUE));
CREATE TABLE smalls (id int, v small[]);
SELECT fetched(66, '[' || rec('w.A', f('id', '"int"'), f('v', '{"type": "array", "items": "int"}')) || ', ' || rec('w.B', f('id', '"int"'), f('v', '"boolean"')) || ']');
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'smalls', format => 'avro', enabled => false, on_error => 'dead_letter');
DELETE FROM kafka_sink.dead_letters;
SELECT try(r(i(66) || n(0) || n(1) || n(2) || n(5) || n(6) || '\x00'), r(i(66) || n(1) || n(2) || '\x01'), r(i(66) || n(0) || n(3) || n(1) || n(10) || '\x00'));
SELECT sqlstate, message FROM kafka_sink.dead_letters ORDER BY id;
TABLE smalls;
SELECT kafka_sink.drop_sink('s');
DROP TABLE smalls;
DROP DOMAIN small;
DROP FUNCTION is_small;
-- of changes, too
CREATE TABLE changed (id int PRIMARY KEY, v text, type text);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'changed', format => 'avro', envelope => 'debezium', insert_mode => 'upsert', enabled => false,
    columns => '{"type": "@schema"}', filter => $$type = 'e'$$);
SELECT try(r(i(60) || n(1) || s('a')), r(i(50) || '\x00' || '\x02' || n(1) || s('one') || s('c')));
SELECT * FROM changed;
-- a delete and a truncation of another type are none of this one's, whether the sink takes such or not
SELECT fetched(52, rec('other', f('before', '["null", ' || rec('ov', f('id', '"int"'), f('v', '"string"')) || ']'), f('after', '["null", "ov"]'), f('op', '"string"'))),
    fetched(53, rec('named', f('before', '["null", ' || rec('nv', f('id', '"string"')) || ']'), f('after', '["null", "nv"]'), f('op', '"string"')));
SELECT try(r(i(52) || '\x02' || n(1) || s('one') || '\x00' || s('d')), r(i(52) || '\x00' || '\x00' || s('t')), r(i(53) || '\x02' || s('x') || '\x00' || s('d'))), try(r(i(50) || '\x02' || n(1) || s('one') || '\x00' || s('d')));
SELECT kafka_sink.alter_sink('s', delete_enabled => true);
SELECT try(r(i(52) || '\x02' || n(1) || s('one') || '\x00' || s('d')), r(i(52) || '\x00' || '\x00' || s('t')), r(i(53) || '\x02' || s('x') || '\x00' || s('d')));
SELECT id FROM changed;
SELECT try(r(i(50) || '\x02' || n(1) || s('one') || '\x00' || s('d')), r(i(50) || '\x00' || '\x02' || n(2) || s('two') || s('c')), r(i(50) || '\x00' || '\x00' || s('t')));
SELECT count(*) FROM changed;
-- where rows count, too, a truncation cannot be asked
SELECT kafka_sink.alter_sink('s', filter => $$type = 'e' AND id > 0$$);
SELECT try(r(i(52) || '\x00' || '\x00' || s('t')));
SELECT kafka_sink.drop_sink('s');

-- looking
SELECT kafka_sink.schema('reg', 5);
SELECT kafka_sink.schema('reg', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid);
SELECT kafka_sink.schema('none', 5);
SELECT kafka_sink.schema('nil', 5);
SELECT kafka_sink.schema('reg', -1);
SELECT kafka_sink.schema('reg', NULL::bigint);
SELECT kafka_sink.schema(NULL, 5);
SELECT kafka_sink.decode('reg', i(2) || '\x02' || s('b') || n(9) || n(2)), kafka_sink.decode('reg', i(20) || n(20) || n(1) || n(0)), kafka_sink.decode('reg', n(7) || s('h'), i(1)), kafka_sink.decode('reg', NULL);
SELECT kafka_sink.decode('reg', 'x');
SELECT kafka_sink.decode('reg', i(1) || n(1) || s('a') || '\x00');
SELECT kafka_sink.decode('reg', i(32));
SELECT kafka_sink.decode('reg', n(1), '\x02');
CREATE ROLE regress_reader;
SET ROLE regress_reader;
SELECT kafka_sink.schema('reg', 5);
SELECT count(*) FROM kafka_sink.schemas;
INSERT INTO kafka_sink.schemas SELECT * FROM kafka_sink.schemas;
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER reg TO regress_reader;
SET ROLE regress_reader;
SELECT kafka_sink.schema('reg', 5);
SELECT count(*) > 200 FROM kafka_sink.schemas;
RESET ROLE;
-- what an id means is the registry's
ALTER SERVER reg OPTIONS (SET schema_registry_url 'http://127.0.0.1:2');
BEGIN TRANSACTION READ ONLY;
\set VERBOSITY terse
SELECT kafka_sink.schema('reg', 5);
ROLLBACK;
ALTER SERVER reg OPTIONS (SET schema_registry_url 'http://127.0.0.1:1');
SELECT count(*) > 200 FROM kafka_sink.schemas;
DROP SERVER reg CASCADE;
SELECT count(*) FROM kafka_sink.schemas;
DROP TABLE t, u, kind, changed;
DROP FUNCTION n, s, i, g, r, h, try, rec, f, fetched;
DROP EXTENSION kafka_sink CASCADE;
DROP ROLE regress_reader;
