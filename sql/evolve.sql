-- evolve: targets that are altered for schemas of records.  The schemas are rows of
-- kafka_sink.schemas, which are written here by hand; ingest() alters in its transaction.
CREATE EXTENSION kafka_sink;
SET client_min_messages = notice;
CREATE FUNCTION n(v int) RETURNS bytea LANGUAGE sql AS
$$SELECT decode(CASE WHEN v * 2 < 128 THEN lpad(to_hex(v * 2), 2, '0') ELSE to_hex(v * 2 % 128 + 128) || lpad(to_hex(v * 2 / 128), 2, '0') END, 'hex')$$;
CREATE FUNCTION s(v text) RETURNS bytea LANGUAGE sql AS
$$SELECT n(octet_length(convert_to(v, 'UTF8'))) || convert_to(v, 'UTF8')$$;
CREATE FUNCTION r(id int, VARIADIC fields bytea[]) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', 0, NULL, NULL, NULL, '\x00' || int4send(id) || (SELECT string_agg(f, '' ORDER BY n) FROM unnest(fields) WITH ORDINALITY u(f, n)), NULL)::kafka_sink.record$$;
CREATE FUNCTION rec(name text, VARIADIC fields text[]) RETURNS text LANGUAGE sql AS
$$SELECT format('{"type": "record", "name": "%s", "fields": [%s]}', name, array_to_string(fields, ', '))$$;
CREATE FUNCTION f(name text, type text, more text DEFAULT '') RETURNS text LANGUAGE sql AS
$$SELECT format('{"name": "%s", "type": %s%s}', name, type, more)$$;
CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1', schema_registry_url 'http://127.0.0.1:1/');
-- what the server says of a statement of its own has a position, or a context, by version
CREATE FUNCTION refusal(sink text, VARIADIC records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; hint text;
BEGIN
    PERFORM kafka_sink.ingest(sink, records);
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', sqlstate, message, detail, hint);
END$$;
CREATE FUNCTION fetched(id int, schema text) RETURNS void LANGUAGE sql AS
$$INSERT INTO kafka_sink.schemas (server, registry, id, type, schema, refs) VALUES ('reg', 'http://127.0.0.1:1', id, 'AVRO', schema, '[]')$$;
CREATE VIEW h AS SELECT topic, part, off, schema_id, statement, role = current_user AS mine, at <= now() + interval '1 min' AS at FROM kafka_sink.ddl_history ORDER BY id;

-- definitions
CREATE TABLE t (id int PRIMARY KEY, v varchar(5));
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', evolve => 'add', enabled => false);
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', value_schema => rec('r', f('id', '"int"')), evolve => 'add');
SELECT kafka_sink.create_sink('s', server => 'reg', command => 'SELECT 1', format => 'avro', evolve => 'add', enabled => false);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', evolve => 'drop', enabled => false);
CREATE TABLE rest (id int, rest jsonb);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'rest', format => 'avro', evolve => 'add', columns => '{"rest": "@rest"}', enabled => false);
CREATE ROLE regress_evolver LOGIN;
GRANT USAGE ON FOREIGN SERVER reg TO regress_evolver;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO regress_evolver;
GRANT ALL ON t TO regress_evolver;
SET ROLE regress_evolver;
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', evolve => 'add', enabled => false);
RESET ROLE;
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', insert_mode => 'upsert', enabled => false);
SELECT evolve FROM kafka_sink.sinks;

-- none: as ever
SELECT fetched(1, rec('r', f('id', '"int"'), f('v', '"string"'))),
    fetched(2, rec('r', f('id', '"long"'), f('v', '"string"'), f('n', '["null", "long"]'), f('q', '"int"', ', "default": 7'), f('Odd name', '{"type": "map", "values": "int"}')));
SELECT kafka_sink.ingest('s', ARRAY[r(1, n(1), s('a')), r(2, n(2), s('b'), '\x02' || n(5), n(6), '\x00')]);
SELECT kafka_sink.ingest('s', ARRAY[r(1, n(1), s('too long'))]);
TABLE t;
TABLE h;

-- add: the statement, the rows before and after, in any order; once
SELECT kafka_sink.alter_sink('s', evolve => 'add');
SELECT kafka_sink.ingest('s', ARRAY[r(1, n(1), s('a')), r(2, n(2), s('b'), '\x02' || n(5), n(6), n(1) || s('k') || n(3) || '\x00'), r(1, n(3), s('c')), r(2, n(4), s('d'), '\x00', n(8), '\x00')]);
SELECT kafka_sink.ingest('s', ARRAY[r(2, n(5), s('e'), '\x00', n(9), '\x00')]);
TABLE t ORDER BY id;
TABLE h;
-- several schemas, one of which needs more than the other; all of it or nothing
SELECT fetched(3, rec('r', f('id', '"int"'), f('x', '"boolean"'))), fetched(4, rec('r', f('id', '"int"'), f('x', '"boolean"'), f('y', '"string"')));
BEGIN;
SELECT kafka_sink.ingest('s', ARRAY[r(3, n(6), '\x01'), r(4, n(7), '\x00', s('y')), r(3, n(8), '\x01')]);
SELECT id, x, y FROM t WHERE id > 5 ORDER BY id;
ROLLBACK;
SELECT kafka_sink.ingest('s', ARRAY[r(4, n(6), '\x01', s('y')), r(3, n(7), '\x01')]);
SELECT schema_id, statement FROM h OFFSET 1;
-- 'add' widens nothing
SELECT kafka_sink.ingest('s', ARRAY[r(1, n(1), s('too long'))]);
SELECT fetched(5, rec('r', f('id', '"int"'), f('n', '"double"')));
SELECT kafka_sink.ingest('s', ARRAY[r(5, n(9), '\x000000000000f03f')]);

-- widen
CREATE DOMAIN small AS smallint;
CREATE TABLE w (id int PRIMARY KEY, i2 smallint, i4 int, r real, num numeric(5,2), v varchar(3) COLLATE "C", ts timestamptz(0), arr int[], d small, wide bigint, up int GENERATED ALWAYS AS (id + 1) STORED);
SELECT kafka_sink.create_sink('w', server => 'reg', target => 'w', format => 'avro', evolve => 'widen', enabled => false);
SELECT fetched(10, rec('w', f('id', '"int"'), f('i4', '"long"'), f('r', '"double"'), f('num', '{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}'), f('v', '"string"'), f('ts', '{"type": "long", "logicalType": "timestamp-micros"}'),
    f('arr', '{"type": "array", "items": "long"}'), f('d', '"int"'), f('wide', '"int"'), f('up', '"int"')));
SELECT kafka_sink.ingest('w', ARRAY[r(10, n(1), n(2), '\x000000000000e03f', n(2) || '\x04d2', s('longer'), n(1), n(1) || n(3) || '\x00', n(4), n(5), n(6))]);
\d w
SELECT * FROM w;
-- a column that something depends on
CREATE VIEW over AS SELECT i2 FROM w;
SELECT fetched(11, rec('w', f('id', '"int"'), f('i2', '"int"')));
SELECT kafka_sink.ingest('w', ARRAY[r(11, n(2), n(3))]);
DROP VIEW over;
SELECT kafka_sink.ingest('w', ARRAY[r(11, n(2), n(3))]);
-- not by type
CREATE TABLE narrow (id int, a text, b numeric(5,2), c bigint, e bytea, k varchar(3));
SELECT kafka_sink.create_sink('narrow', server => 'reg', target => 'narrow', format => 'avro', evolve => 'widen', columns => '{"k": "kk"}', enabled => false);
SELECT fetched(12, rec('n', f('id', '"int"'), f('a', '"int"'), f('b', '{"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 3}'), f('c', '"double"'), f('kk', '"string"')));
SELECT kafka_sink.ingest('narrow', ARRAY[r(12, n(1), n(2), n(1) || '\x07', '\x000000000000f03f', s('k'))]);
SELECT statement FROM h WHERE schema_id >= 10;

-- what cannot be: the schema before, and what is different
SELECT fetched(20, rec('r', f('id', '"int"'), f('v', '{"type": "array", "items": "int"}'), f('q', '{"type": "array", "items": "int"}'), f('ctid', '"int"'), f('n234567890123456789012345678901234567890123456789012345678901234', '"int"'), f('ok', '"int"')));
SELECT kafka_sink.ingest('s', ARRAY[r(1, n(10), s('x')), r(20, n(1))]);
SELECT count(*) FROM t WHERE id = 10;
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter');
SELECT kafka_sink.ingest('s', ARRAY[r(20, n(1))]);
SELECT kafka_sink.alter_sink('s', evolve => 'none');
SELECT kafka_sink.ingest('s', ARRAY[r(20, n(1), '\x00', '\x00', n(2), n(3), n(4))]);
SELECT sqlstate, message FROM kafka_sink.dead_letters;
SELECT kafka_sink.discard_dead_letters('s');
-- a field for which the user has made a place, or none
ALTER TABLE t ADD COLUMN ctid_ int, ADD COLUMN long int, ADD COLUMN ok int;
SELECT kafka_sink.alter_sink('s', evolve => 'widen', on_error => 'stop', columns => '{"ctid_": "ctid", "long": "n234567890123456789012345678901234567890123456789012345678901234", "v": null, "q": null, "ok": null}');
SELECT kafka_sink.ingest('s', ARRAY[r(20, n(11), '\x00', '\x00', n(2), n(3), n(4))]);
SELECT id, v, ctid_, long, ok FROM t WHERE id = 11;
SELECT kafka_sink.drop_sink('s');

-- aliases; schemas that are none, or of no record, are errors of records as ever
CREATE TABLE a (id int, old text);
SELECT kafka_sink.create_sink('a', server => 'reg', target => 'a', format => 'avro', evolve => 'add', on_error => 'dead_letter', enabled => false);
SELECT fetched(30, rec('r', f('id', '"int"'), f('new', '"string"', ', "aliases": ["old"]'))), fetched(31, '{"type": "rec'), fetched(32, '"int"');
SELECT kafka_sink.ingest('a', ARRAY[r(30, n(1), s('x')), r(31, n(1)), r(32, n(1)), r(30, n(2), s('y'))]);
SELECT * FROM a;
SELECT message FROM kafka_sink.dead_letters;
SELECT kafka_sink.drop_sink('a');

-- changes of Debezium's
CREATE TABLE z (id int PRIMARY KEY);
SELECT kafka_sink.create_sink('z', server => 'reg', target => 'z', format => 'avro', envelope => 'debezium', insert_mode => 'upsert', evolve => 'add', enabled => false);
SELECT fetched(40, rec('e', f('before', '["null", ' || rec('v', f('id', '"int"'), f('v', '["null", "string"]')) || ']'), f('after', '["null", "v"]'), f('op', '"string"'), f('ts_ms', '"long"')));
SELECT kafka_sink.ingest('z', ARRAY[r(40, '\x00', '\x02', n(1), '\x02', s('one'), s('c'), n(1))]);
TABLE z;
SELECT kafka_sink.drop_sink('z');

-- topics with targets of their own; the sink's and the topic's setting
CREATE TABLE own (id int);
CREATE TABLE other (id int);
SELECT kafka_sink.create_sink('o', server => 'reg', target => 'other', format => 'avro', evolve => 'none', enabled => false);
SELECT kafka_sink.register_topic('o', 't', target => 'own', evolve => 'add');
SELECT topic, evolve FROM kafka_sink.sink_topics;
SELECT kafka_sink.ingest('o', ARRAY[r(1, n(1), s('one')), ROW('u', 0, NULL, NULL, NULL, '\x0000000001'::bytea || n(2) || s('two'), NULL)::kafka_sink.record]);
TABLE own;
TABLE other;
SELECT kafka_sink.alter_topic('o', 't', reset => '{evolve}');
SELECT topic, evolve FROM kafka_sink.sink_topics;
SELECT kafka_sink.drop_sink('o');

-- partitions and children follow; a partition, and who is a child, cannot
CREATE TABLE p (id int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE base (id int);
CREATE TABLE child (v text) INHERITS (base);
SELECT kafka_sink.create_sink('p', server => 'reg', target => 'p', format => 'avro', evolve => 'add', enabled => false);
SELECT kafka_sink.create_sink('p1', server => 'reg', target => 'p1', format => 'avro', evolve => 'add', enabled => false);
SELECT kafka_sink.create_sink('base', server => 'reg', target => 'base', format => 'avro', evolve => 'widen', enabled => false);
SELECT kafka_sink.create_sink('child', server => 'reg', target => 'child', format => 'avro', evolve => 'widen', enabled => false);
SELECT kafka_sink.ingest('p1', ARRAY[r(1, n(1), s('one'))]);
SELECT kafka_sink.ingest('p', ARRAY[r(1, n(1), s('one'))]);
SELECT * FROM p1;
SELECT fetched(50, rec('r', f('id', '"long"')));
SELECT refusal('child', r(50, n(1)));
SELECT kafka_sink.ingest('base', ARRAY[r(50, n(1))]);
SELECT kafka_sink.ingest('base', ARRAY[r(1, n(2), s('two'))]);
SELECT attrelid::regclass, attname, atttypid::regtype FROM pg_attribute WHERE attrelid IN ('base'::regclass, 'child'::regclass) AND attnum > 0 ORDER BY 1, attnum;
SELECT kafka_sink.drop_sink(s) FROM unnest(ARRAY['p', 'p1', 'base', 'child']) s;

-- 1,600 columns; an event trigger that says no
DO $$BEGIN EXECUTE 'CREATE TABLE many (id int, ' || (SELECT string_agg('c' || i || ' int', ', ') FROM generate_series(1, 1598) i) || ')'; END$$;
SELECT kafka_sink.create_sink('many', server => 'reg', target => 'many', format => 'avro', evolve => 'add', enabled => false);
SELECT fetched(60, rec('r', f('id', '"int"'), f('a', '"int"'), f('b', '"int"'))), fetched(61, rec('r', f('id', '"int"'), f('a', '"int"')));
SELECT kafka_sink.ingest('many', ARRAY[r(60, n(1), n(2), n(3))]);
CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no % here', tg_tag; END$$;
CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION no();
SELECT kafka_sink.ingest('many', ARRAY[r(61, n(1), n(2))]);
DROP EVENT TRIGGER no;
SELECT kafka_sink.ingest('many', ARRAY[r(61, n(1), n(2))]);
SELECT id, a FROM many;
-- by whoever owns it, when it comes to that
ALTER TABLE many OWNER TO regress_evolver;
ALTER TABLE many DROP COLUMN a;
SET ROLE regress_evolver;
SELECT count(*) FROM kafka_sink.ddl_history;
SELECT kafka_sink.create_sink('theirs', server => 'reg', target => 'many', format => 'avro', evolve => 'add', enabled => false);
RESET ROLE;
ALTER TABLE many OWNER TO CURRENT_USER;
GRANT ALL ON many TO regress_evolver;
SET ROLE regress_evolver;
SELECT kafka_sink.ingest('theirs', ARRAY[r(61, n(1), n(2))]);
RESET ROLE;

-- defaults that the column's type does not read are none
SELECT fetched(70, rec('r', f('id', '"int"'), f('guid', '{"type": "string", "logicalType": "uuid"}', ', "default": ""'), f('d', '"double"', ', "default": 1e400'), f('ok', '"double"', ', "default": 1e40')));
CREATE TABLE guids (id int);
SELECT kafka_sink.create_sink('guids', server => 'reg', target => 'guids', format => 'avro', evolve => 'add', enabled => false);
SELECT kafka_sink.ingest('guids', ARRAY[r(70, n(1), s('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), '\x000000000000e03f', '\x000000000000e03f')]);
SELECT * FROM guids;
SELECT kafka_sink.drop_sink('guids');

-- null alone needs no column, nor a wider one: its type is what a later schema says
SELECT fetched(71, rec('r', f('id', '"int"'), f('v', '"null"'), f('x', '["null"]'))), fetched(72, rec('r', f('id', '"int"'), f('v', '"null"'), f('x', '["null", "long"]')));
CREATE TABLE nils (id int, v varchar(3));
SELECT kafka_sink.create_sink('nils', server => 'reg', target => 'nils', format => 'avro', evolve => 'widen', enabled => false);
SELECT kafka_sink.ingest('nils', ARRAY[r(71, n(1), '\x00'), r(72, n(2), '\x02' || n(5))]);
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'nils'::regclass AND attnum > 0 ORDER BY attnum;
SELECT * FROM nils ORDER BY id;
SELECT kafka_sink.drop_sink('nils');

-- a varchar without a length has all texts, and six digits of seconds are all
CREATE TABLE texts (id int, v varchar, a varchar[], ts timestamptz(6));
CREATE VIEW over AS SELECT v, a, ts FROM texts;
SELECT fetched(73, rec('r', f('id', '"int"'), f('v', '"string"'), f('a', '{"type": "array", "items": "string"}'), f('ts', '{"type": "long", "logicalType": "timestamp-micros"}')));
SELECT kafka_sink.create_sink('texts', server => 'reg', target => 'texts', format => 'avro', evolve => 'widen', enabled => false);
SELECT kafka_sink.ingest('texts', ARRAY[r(73, n(1), s('text'), n(1) || s('item') || '\x00', n(0))]);
SELECT * FROM over;
SELECT kafka_sink.drop_sink('texts');
DROP VIEW over;

-- a type that a filter by @schema leaves out counts for nothing; with more in it, it counts
CREATE TABLE kinds (id int, type text);
SELECT fetched(74, rec('shop.Order', f('id', '"int"'), f('v', '"string"'))), fetched(75, rec('shop.Other', f('id', '"boolean"'), f('w', '"string"')));
SELECT kafka_sink.create_sink('kinds', server => 'reg', target => 'kinds', format => 'avro', evolve => 'add', enabled => false, columns => '{"type": "@schema"}', filter => $$type = 'shop.Order'$$);
SELECT kafka_sink.ingest('kinds', ARRAY[r(75, '\x01', s('w')), r(74, n(1), s('one')), r(75, '\x00', s('w'))]);
SELECT * FROM kinds;
SELECT kafka_sink.alter_sink('kinds', filter => $$type = 'shop.Order' AND id > 0$$);
SELECT kafka_sink.ingest('kinds', ARRAY[r(75, '\x01', s('w')), r(74, n(1), s('one'))]);
SELECT kafka_sink.alter_sink('kinds', filter => $$CASE WHEN type <> 'shop.Order' THEN 1 / (length(type) - 10) > 0 END$$);
SELECT kafka_sink.ingest('kinds', ARRAY[r(75, '\x01', s('w'))]);
SELECT kafka_sink.drop_sink('kinds');

-- history goes with a sink's name, and stays
SELECT kafka_sink.rename_sink('w', 'ww');
SELECT kafka_sink.drop_sink('ww');
SELECT DISTINCT sink FROM kafka_sink.ddl_history WHERE schema_id = 10;
SELECT kafka_sink.drop_sink(s) FROM unnest(ARRAY['narrow', 'many', 'theirs']) s;
SET client_min_messages = warning;
DROP VIEW h;
DROP SERVER reg CASCADE;
DROP TABLE t, rest, w, narrow, a, z, own, other, p, base, child, many, guids, nils, texts, kinds;
DROP DOMAIN small;
DROP FUNCTION n, s, r, rec, f, refusal, fetched, no;
DROP EXTENSION kafka_sink CASCADE;
DROP ROLE regress_evolver;
