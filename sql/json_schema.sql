-- JSON behind what tells its schema: taken off, and checked where that is asked for.
-- The rows of kafka_sink.schemas are written here by hand, and so are the bytes.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
CREATE FUNCTION i(id int, v text) RETURNS bytea LANGUAGE sql AS $$SELECT '\x00' || int4send(id) || convert_to(v, 'UTF8')$$;
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
CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1', schema_registry_url 'http://127.0.0.1:1/');
CREATE SERVER none FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
CREATE FUNCTION fetched(id int, schema text, type text DEFAULT 'JSON', refs jsonb DEFAULT '[]') RETURNS void LANGUAGE sql AS
$$INSERT INTO kafka_sink.schemas (server, registry, id, type, schema, refs) VALUES ('reg', 'http://127.0.0.1:1', id, type, schema, refs)$$;

-- definitions
CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'none', sid bigint, schema text, whole jsonb, bytes bytea, rest jsonb);
SELECT kafka_sink.create_sink('s', target => 't', validate => true);
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', framing => 'single_object');
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', validate => true);
SELECT kafka_sink.create_sink('s', server => 'none', target => 't', format => 'json_schema', validate => true, enabled => false);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'json_schema', framing => 'none', validate => true, enabled => false);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', key_format => 'json_schema', framing => 'none', validate => true, enabled => false);
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', value_schema => '{"type": "rose"}');
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', value_schema => '{"type": ');
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', columns => '{"sid": "@schema_id"}', framing => 'none');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"schema": "@schema"}');

-- nobody asks for the schema: no registry is needed, and none is asked
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', key_format => 'json_schema', insert_mode => 'upsert', delete_enabled => true,
    columns => '{"sid": "@schema_id", "whole": "@value", "bytes": "@value", "rest": "@rest", "schema": null}');
SELECT framing, validate FROM kafka_sink.sinks;
SELECT try(r(i(7, '{"id": 1, "v": "a", "x": [1]}')), r('{"id": 2, "v": "bare"}'), r(' {"id": 3, "v": "header"}', NULL, h('__value_schema_id', '\x0000000009')),
    r('{"id": 4}', NULL, h('apicurio.value.contentId', '\x000000000000000a')), r('{"id": 5}', NULL, h('apicurio.value.globalId', '\x000000000000000b')),
    r('\x01a0eebc999c0b4ef8bb6d6bb9bd380a11'::bytea || '{"id": 6}'));
TABLE t ORDER BY id;
SELECT try(r(NULL, i(1, '{"id": 1}')), r(NULL, '2'), r(NULL, '{"id": 3}', h('__key_schema_id', '\x0000000009')), r(NULL, '\x000000000134'));
SELECT id FROM t ORDER BY id;
SELECT unnest(ARRAY[try(r('\x000001')), try(r('')), try(r('\x0000000001')), try(r(i(1, '{"id": '))), try(r('\x02')), try(r(i(1, '[1]'))),
    try(r('{"id": 1}', NULL, h('__value_schema_id', '\x02'))), try(r('{"id": 1}', NULL, h('apicurio.value.globalId', '\x00000001'))),
    try(r('{"id": 1}', NULL, h('apicurio.value.globalId', '\xff00000000000001')))]);
-- framings that are said
SELECT kafka_sink.alter_sink('s', framing => 'confluent');
SELECT unnest(ARRAY[try(r(i(1, '{"id": 1}'))), try(r('{"id": 1}'))]);
SELECT kafka_sink.alter_sink('s', framing => 'header');
SELECT unnest(ARRAY[try(r('{"id": 1}', NULL, h('__value_schema_id', '\x0000000009'))), try(r('{"id": 1}'))]);
SELECT kafka_sink.alter_sink('s', framing => 'apicurio8');
SELECT unnest(ARRAY[try(r('\x000000000000000012'::bytea || '{"id": 1, "v": "global"}')), try(r(i(1, '{"id": 1}'))), try(r('\x00ffffffffffffffff'::bytea || '{"id": 1}'))]);
SELECT id, v, sid, whole FROM t WHERE id = 1;
SELECT kafka_sink.alter_sink('s', framing => 'none', columns => '{}');
SELECT unnest(ARRAY[try(r('{"id": 1}')), try(r(i(1, '{"id": 1}')))]);
SELECT kafka_sink.drop_sink('s');

-- Glue's, plain and packed; what is too large unpacked
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', framing => 'glue', insert_mode => 'upsert', max_record_bytes => 1024, on_error => 'dead_letter');
CREATE FUNCTION glue(how text, v bytea) RETURNS bytea LANGUAGE sql AS
$$SELECT '\x03' || decode(how, 'hex') || uuid_send('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') || v$$;
-- so many bytes, by zlib
CREATE TABLE packed (what text, v bytea);
INSERT INTO packed VALUES ('fine', '\x789cab56ca4c51b2523034d051502a0332940a1293b35353946a0152ba06d1'),
    ('1023', '\x78daab56ca4c51b2523034d451502a0332942a46c1281805230228d50200bc5fdb19'), ('1024', '\x78daab56ca4c51b2523034d451502a0332942a46c1281805230328d502009850db91'),
    ('1025', '\x78daab56ca4c51b2523034d451502a0332942a46c1281805230428d5020074b9dc09'), ('more', '\x789cab56ca4c51b2523034d051502a0332940a1293b35353946a0152ba06d178'),
    ('many', '\x78daedc18100000000c32095f9531ee45501000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000f06c0425324d');
SELECT unnest(ARRAY[try(r(glue('00', '{"id": 10, "v": "plain"}'))), try(r(glue('05', (SELECT v FROM packed WHERE what = 'fine')))),
    try(r(glue('05', (SELECT v FROM packed WHERE what = '1023')))), try(r(glue('05', (SELECT v FROM packed WHERE what = '1024')))), try(r(glue('05', (SELECT v FROM packed WHERE what = '1025')))),
    try(r(glue('05', (SELECT v FROM packed WHERE what = 'more')))), try(r(glue('05', (SELECT v FROM packed WHERE what = 'many')))),
    try(r(glue('05', '\x789c'))), try(r(glue('05', 'rubbish'))), try(r(glue('07', '{"id": 1}'))), try(r('\x0300'))]);
SELECT id, length(v), left(v, 6) AS v FROM t WHERE id >= 10;
SELECT sqlstate, message FROM kafka_sink.dead_letters ORDER BY id;
SELECT kafka_sink.drop_sink('s', if_exists => true);

-- validation by the schema that the sink gives
TRUNCATE t;
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', insert_mode => 'upsert', validate => true, columns => '{"schema": "@schema"}', value_schema => '{
    "title": "thing", "type": "object", "required": ["id"], "additionalProperties": false,
    "properties": {"id": {"type": "integer", "minimum": 1, "multipleOf": 0.5}, "v": {"type": ["string", "null"], "pattern": "^\\p"}, "a/b~c": {"items": {"enum": ["x", 1.0, {"k": [null]}]}}}}');
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', insert_mode => 'upsert', validate => true, columns => '{"schema": "@schema"}', value_schema => '{
    "title": "thing", "type": "object", "required": ["id"], "additionalProperties": false,
    "properties": {"id": {"type": "integer", "minimum": 1, "multipleOf": 0.5}, "v": {"type": ["string", "null"], "pattern": "^\\w{2,300}$", "maxLength": 300}, "a/b~c": {"items": {"enum": ["x", 1.0, {"k": [null]}]}}}}');
SELECT unnest(ARRAY[try(r('{"id": 1, "v": "fine", "a/b~c": ["x", 1, {"k": [null]}]}')), try(r(i(99, '{"id": 2.0, "v": null}'))), try(r('{"id": 1e400}')), try(r('{}')), try(r('{"id": 0}')), try(r('{"id": "1"}')),
    try(r('{"id": 1.5}')), try(r('{"id": 1, "v": "x"}')), try(r('{"id": 1, "v": "nö"}')), try(r('{"id": 1, "a/b~c": ["x", {"k": [0]}]}')), try(r('{"id": 1, "other": 1}')), try(r('[]')),
    try(r('{"id": 1, "id": 0}')), try(r('{"id": ')), try(r(convert_to('{"id": ' || repeat('[', 65) || repeat(']', 65) || '}', 'UTF8'))),
    try(r(convert_to('{"id": 3, "v": "' || repeat('y', 300) || '"}', 'UTF8'))), try(r(convert_to('{"id": 3, "v": "' || repeat('y', 301) || '"}', 'UTF8')))]);
SELECT id, left(v, 10) AS v, schema FROM t ORDER BY id;
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter');
SELECT try(r('{"id": 0}'), r('{"id": 5}'), r(i(1, '{"id": 6, "v": 1}')));
SELECT value, sqlstate, message FROM kafka_sink.dead_letters WHERE sink = 's' ORDER BY id;
SELECT kafka_sink.alter_sink('s', validate => false);
SELECT kafka_sink.retry_dead_letters('s');
SELECT id, v FROM t WHERE id IN (0, 5, 6) ORDER BY id;
SELECT kafka_sink.drop_sink('s');

-- keys, too, whether a column takes them or not
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', key_format => 'json_schema', insert_mode => 'upsert', delete_enabled => true, validate => true,
    value_schema => 'true', key_schema => '{"type": "integer", "minimum": 1}');
SELECT unnest(ARRAY[try(r('{"id": 30}', '1')), try(r('{"id": 31}', '0')), try(r('{"id": 32}', i(9, '{}'))), try(r('{"id": 33}')), try(r(NULL, '0')), try(r(NULL, '30')), try(r('{"id": 34}', '1'), r('{"id": 35}', '""'))]);
SELECT id FROM t WHERE id BETWEEN 30 AND 40 ORDER BY id;
SELECT kafka_sink.drop_sink('s');

-- by the registry's
SELECT fetched(1, '{"$schema": "http://json-schema.org/draft-07/schema#", "$id": "http://x/one", "type": "object", "properties": {"v": {"maxLength": 3}}}'),
    fetched(2, '{"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"id": true}, "unevaluatedProperties": false}'),
    fetched(3, '{"type": "object", "properties": {"v": {"$ref": "leaf.json#/definitions/short"}}}', refs => '[{"name": "leaf.json", "subject": "leaf", "version": "1", "schema": "{\"definitions\": {\"short\": {\"maxLength\": 1}}}"}]'),
    fetched(4, '{"$ref": "http://elsewhere/x.json"}'), fetched(5, '"int"', type => 'AVRO'), fetched(6, '{"$schema": "http://json-schema.org/draft-03/schema#"}'), fetched(7, '{"patternProperties": {"(": true}}'),
    fetched(8, '{"$ref": "#"}'), fetched(9, 'true'), fetched(10, '{"minLength": -1}');
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'json_schema', insert_mode => 'upsert', validate => true, enabled => false, columns => '{"schema": "@schema", "sid": "@schema_id"}');
SELECT unnest(ARRAY[try(r(i(1, '{"id": 1, "v": "abc"}'))), try(r(i(1, '{"id": 1, "v": "abcd"}'))), try(r(i(2, '{"id": 2}'))), try(r(i(2, '{"id": 2, "v": 1}'))), try(r(i(3, '{"id": 3, "v": "ab"}'))), try(r(i(3, '{"id": 3, "v": "a"}'))),
    try(r(i(4, '{"id": 4}'))), try(r(i(5, '{"id": 5}'))), try(r(i(6, '{"id": 6}'))), try(r(i(7, '{"id": 7}'))), try(r(i(8, '{"id": 8}'))), try(r(i(9, '{"id": 9}'))), try(r(i(10, '{"id": 10}'))), try(r('{"id": 11}')), try(r(i(77, '{"id": 1}')))]);
SELECT id, v, sid, schema FROM t WHERE sid IS NOT NULL ORDER BY id;
-- the keys of types that a filter leaves out need not be by the sink's schema of keys
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'json_schema', key_format => 'json_schema', key_schema => '{"type": "integer"}', insert_mode => 'upsert', validate => true, enabled => false,
    columns => '{"schema": "@schema", "sid": "@schema_id"}', filter => $$schema = 'http://x/one'$$);
SELECT try(r(i(1, '{"id": 41, "v": "a"}'), '41'), r(i(9, '{"id": 42}'), '"x"'), r(i(1, '{"id": 43, "v": "b"}'), '43')), try(r(i(1, '{"id": 44, "v": "c"}'), '"44"'));
SELECT id, v FROM t WHERE id BETWEEN 41 AND 44 ORDER BY id;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'json_schema', insert_mode => 'upsert', validate => true, enabled => false, columns => '{"schema": "@schema", "sid": "@schema_id"}');
-- of two versions of a schema, by one name, the one that is met first
SELECT fetched(11, '{"properties": {"v": {"$ref": "leaf.json"}}}', refs => '[{"name": "leaf.json", "subject": "leaf", "version": "2", "schema": "{\"maxLength\": 1}"}, {"name": "leaf.json", "subject": "leaf", "version": "1", "schema": "true"}]');
SELECT try(r(i(11, '{"id": 12, "v": "ab"}')));
SELECT kafka_sink.decode('reg', i(1, '{"id": [1, null]}')), kafka_sink.decode('reg', ' {"id": 1}', '\x0000000001');
SELECT kafka_sink.decode('reg', i(1, '{'));
-- what is said once, and would be kept for each part: long names, metaschemas, identifiers
SELECT fetched(20, '{"properties": {"' || repeat('x', 100000) || '": {"properties": {' || (SELECT string_agg(format('"a%s": {}', i), ',') FROM generate_series(1, 20000) i) || '}}}}'),
    fetched(21, '{"definitions": {' || (SELECT string_agg(format('"a%1$s": {"$id": "a%1$s", "$schema": "http://meta/x"}', i), ',') FROM generate_series(1, 3000) i) || '}}',
        refs => jsonb_build_array(jsonb_build_object('name', 'm', 'schema', '{"$id": "http://meta/x", "$schema": "http://json-schema.org/draft-07/schema#", "enum": [1' || repeat(',1', 50000) || ']}'))),
    fetched(22, '{"$id": "http://x/' || repeat('x', 1990) || '/", "$ref": "#a"}'), fetched(23, '{"$id": "http://x/' || repeat('x', 2000) || '/"}'),
    fetched(24, '{"definitions": {' || (SELECT string_agg(format('"a%1$s": {"$id": "#a%1$s"}', i), ',') FROM generate_series(1, 10001) i) || '}}'),
    fetched(25, '{}', refs => (SELECT jsonb_agg(jsonb_build_object('name', i, 'schema', '"' || repeat('x', 300000) || '"')) FROM generate_series(1, 4) i)),
    fetched(26, '{"pattern": "' || repeat('(', 300) || '"}'), fetched(27, '{"$ref": "' || repeat('x', 300) || '"}'), fetched(28, '{"properties": {"' || repeat('ä', 200) || '": {"properties": {"v": {"type": 1}}}}}'),
    fetched(29, '{"patternProperties": {' || (SELECT string_agg(format('"x%s": true', i), ',') FROM generate_series(1, 9000) i) || '}}'),
    fetched(30, '{"$schema": "' || repeat('x', 300) || '"}'), fetched(31, '{"anyOf": [{}' || repeat(',{}', 50000) || ']}'),
    fetched(32, '{"anyOf": [{"pattern": "x"}' || repeat(',{"pattern": "(([ab].{100}){10}){5}"}', 250) || ']}'), fetched(33, '{"anyOf": [{"pattern": "x"}' || repeat(',{"pattern": "((a{300}){300}){300}"}', 2) || ']}'),
    fetched(34, '{"patternProperties": {"id": true' || (SELECT string_agg(format(',"x%s": true', i), '') FROM generate_series(1, 10000) i) || '}}');
SELECT id, try(r(i(id, '{"id": 1}'))) FROM generate_series(20, 34) id WHERE id <> 29;
SELECT try(r(i(29, '{"id": 1' || (SELECT string_agg(format(',"a%s":1', i), '') FROM generate_series(1, 20) i) || '}')));
SELECT kafka_sink.drop_sink('s');

-- envelopes, and a command
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true, key_format => 'json_schema');
SELECT try(r(i(1, '{"before": null, "after": {"id": 20, "v": "new"}, "op": "c"}'), i(2, '{"id": 20}')), r(i(1, '{"before": {"id": 1, "v": "x"}, "after": null, "op": "d"}'), i(2, '{"id": 1}')), r(NULL, i(2, '{"id": 1}')));
SELECT id, v FROM t WHERE id IN (1, 20);
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', envelope => 'connect', insert_mode => 'upsert');
SELECT try(r(i(1, '{"schema": {"type": "struct", "fields": [{"field": "id", "type": "int32"}, {"field": "v", "type": "string"}]}, "payload": {"id": 21, "v": "connect"}}')));
SELECT id, v FROM t WHERE id = 21;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', format => 'json_schema', command => 'INSERT INTO public.t (id, v) SELECT (value ->> ''id'')::int, value ->> ''v'' FROM batch');
SELECT try(r(i(1, '{"id": 22, "v": "command"}')));
SELECT id, v FROM t WHERE id = 22;
SELECT kafka_sink.drop_sink('s');
-- topics with targets of their own
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', insert_mode => 'upsert');
SELECT kafka_sink.register_topic('s', 'u', target => 't', insert_mode => 'upsert', validate => true, value_schema => 'false');
SELECT kafka_sink.ingest('s', ARRAY[ROW('t', 0, NULL, NULL, NULL, '{"id": 30}', NULL), ROW('u', 0, NULL, NULL, NULL, '{"id": 31}', NULL)]::kafka_sink.record[]);
SELECT topic, validate FROM kafka_sink.sink_topics;
SELECT kafka_sink.alter_topic('s', 'u', validate => false);
SELECT kafka_sink.ingest('s', ARRAY[ROW('t', 0, NULL, NULL, NULL, '{"id": 30}', NULL), ROW('u', 0, NULL, NULL, NULL, '{"id": 31}', NULL)]::kafka_sink.record[]);
SELECT kafka_sink.drop_sink('s');

-- patterns
CREATE FUNCTION matches(pattern text, VARIADIC texts text[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text := ''; v text;
BEGIN
    PERFORM kafka_sink.create_sink('s', target => 't', format => 'json_schema', insert_mode => 'upsert', validate => true,
        value_schema => json_build_object('properties', json_build_object('v', json_build_object('pattern', pattern)))::text);
    FOREACH v IN ARRAY texts LOOP
        result := result || CASE WHEN try(r(convert_to(json_build_object('id', 1, 'v', v)::text, 'UTF8'))) LIKE '(1,%' THEN 't' ELSE 'f' END;
    END LOOP;
    PERFORM kafka_sink.drop_sink('s');
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS result = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ' ' || result;
END$$;
SELECT matches('^\d+$', '12', '٤', 'x'), matches('^\w\W$', 'a!', 'é!', 'a1'), matches('^[\s\d]*$', E' \t1\u00a0', 'x'), matches('^[^\s]$', 'x', ' '), matches('a.b', 'axb', E'a\nb'),
    matches('\bfoo\b', 'a foo b', 'afoo'), matches('^\u{1F600}\x41\cJ$', E'\U0001F600A\n', 'x'), matches('^(?<y>a|b)\k<y>$', 'aa', 'ab'), matches('^(?:a|)$', 'a', '', 'b'), matches('^[]$|^[^]$', 'x', ''),
    matches('^(a|b){300}$', repeat('ab', 150), repeat('a', 299)), matches('^x{0,1000}$', repeat('x', 1000), repeat('x', 1001)), matches('^x{256,}$', repeat('x', 255), repeat('x', 256), repeat('x', 999)),
    matches('^(?=.*\d)(?!.*z)', 'a1', 'az1', 'a'), matches('[[:alpha:]]', 'a]', 'b]'), matches('^[a\]\-z]+$', ']-az', 'b'), matches('a{,2}', 'a{,2}', 'aa'), matches('x*?y+?', 'y', 'x'), matches('^[\S\s]$', E'\n');
SELECT unnest(ARRAY[matches('('), matches(')'), matches('['), matches('a**'), matches('*'), matches('\p{L}'), matches('[\W]x'), matches('[a\W]'), matches('[b-a]'), matches('a{3,2}'), matches('a{70000}'), matches('(?i)a'), matches('\k<x>'), matches('\1'), matches('\q'), matches('\u12'), matches('a\')]);
-- what can take long can be stopped
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', validate => true, value_schema => '{"properties": {"v": {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}}');
SELECT try(r(convert_to(json_build_object('id', 50, 'v', repeat('a', 100000))::text, 'UTF8')));
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'json_schema', validate => true, value_schema => '{"properties": {"a": {"uniqueItems": true}}}');
SELECT kafka_sink.alter_sink('s', value_schema => '{"properties": {"a": {"$ref": "#/definitions/x"}}, "definitions": {"x": {"items": {"anyOf": [{"$ref": "#/definitions/x"}, {"$ref": "#/definitions/x"}]}, "type": "array"}}}');
SELECT try(r(convert_to('{"id": 50, "a": ' || repeat('[', 40) || '1' || repeat(']', 40) || '}', 'UTF8')));
SELECT kafka_sink.alter_sink('s', value_schema => '{"properties": {"a": {"uniqueItems": true}}}');
SELECT try(r(convert_to((SELECT json_build_object('id', 51, 'a', json_agg(n)) FROM generate_series(1, 200000) n)::text, 'UTF8'))),
    try(r(convert_to((SELECT json_build_object('id', 52, 'a', json_agg(n % 199999)) FROM generate_series(1, 200000) n)::text, 'UTF8')));
SELECT kafka_sink.drop_sink('s');

-- schemas that are given
SELECT kafka_sink.add_schema('none', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'JSON', '{"title": "given", "$ref": "n.json"}', '[{"name": "n.json", "schema": "{\"required\": [\"id\"]}"}]');
SELECT kafka_sink.add_schema('none', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'JSON', '{"title": "given", "$ref": "n.json"}');
SELECT kafka_sink.add_schema('none', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'JSON', '{}');
SELECT kafka_sink.add_schema('none', 5, 'AVRO', '{"type": "record", "name": "five", "fields": [{"name": "id", "type": "int"}]}');
SELECT kafka_sink.add_schema('none', -5, 'AVRO', '"int"');
SELECT kafka_sink.add_schema('none', 6, 'XML', '<x/>');
SELECT kafka_sink.add_schema('none', 6, 'JSON', '{}', '{}');
SELECT kafka_sink.add_schema('none', 6, 'JSON', '{}', '[{"name": "x"}]');
SELECT kafka_sink.add_schema('nil', 6, 'JSON', '{}');
SELECT kafka_sink.add_schema('none', 6, 'JSON', NULL);
SELECT kafka_sink.schema('none', 5), kafka_sink.schema('none', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid);
SELECT kafka_sink.schema('none', 7);
SELECT kafka_sink.decode('none', '\x000000000506'), kafka_sink.decode('none', glue('00', '{"id": 1}'), framing => 'glue'), kafka_sink.decode('none', glue('05', (SELECT v FROM packed WHERE what = 'fine')), framing => 'glue');
SELECT kafka_sink.decode('none', 'x', framing => 'none');
SELECT kafka_sink.create_sink('s', server => 'none', target => 't', format => 'json_schema', framing => 'glue', insert_mode => 'upsert', validate => true, enabled => false, columns => '{"schema": "@schema"}');
SELECT unnest(ARRAY[try(r(glue('00', '{"id": 60}'))), try(r(glue('05', (SELECT v FROM packed WHERE what = 'fine')))), try(r(glue('00', '{}'))), try(r('\x0300' || uuid_send('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') || '{"id": 61}'))]);
SELECT id, schema FROM t WHERE schema = 'given' ORDER BY id;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', server => 'none', target => 't', format => 'avro', columns => '{"sid": "@schema_id", "schema": "@schema"}', enabled => false);
SELECT try(r('\x0000000005'::bytea || '\x8c01'));
SELECT id, sid, schema FROM t WHERE id = 70;
SELECT kafka_sink.drop_sink('s');
-- framings with Avro: Glue's, and Apicurio's global ids and headers
SELECT kafka_sink.add_schema('none', 'a1eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'AVRO', '{"type": "record", "name": "r", "namespace": "x", "fields": [{"name": "id", "type": "int"}, {"name": "v", "type": "string"}]}');
INSERT INTO kafka_sink.schemas (server, registry, global_id, type, schema, refs) SELECT 'reg', 'http://127.0.0.1:1', 9000000000, type, schema, refs FROM kafka_sink.schemas WHERE guid = 'a1eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
INSERT INTO kafka_sink.schemas (server, registry, id, type, schema, refs) SELECT 'reg', 'http://127.0.0.1:1', 90, type, schema, refs FROM kafka_sink.schemas WHERE guid = 'a1eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
SELECT kafka_sink.create_sink('s', server => 'none', target => 't', format => 'avro', framing => 'glue', columns => '{"schema": "@schema", "sid": "@schema_id", "bytes": "@value"}', enabled => false);
SELECT unnest(ARRAY[try(r('\x0305' || uuid_send('a1eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') || '\x789c5bc0c894080002ec0105')), try(r('\x0300' || uuid_send('a1eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') || '\xa2010262')), try(r('\x0305' || uuid_send('a1eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') || '\xa2010262'))]);
SELECT id, v, sid, schema, bytes FROM t WHERE id IN (80, 81) ORDER BY id;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'avro', framing => 'apicurio8', columns => '{"schema": "@schema", "sid": "@schema_id"}', enabled => false);
SELECT unnest(ARRAY[try(r('\x00' || int8send(9000000000) || '\xa4010263')), try(r('\x000000005a'::bytea || '\xa4010263'))]);
SELECT kafka_sink.ingest('s', ARRAY[r('\x00' || int8send(90) || '\xa4010263')]);
SELECT kafka_sink.alter_sink('s', framing => 'auto');
SELECT unnest(ARRAY[try(r('\xa6010264', NULL, h('apicurio.value.globalId', int8send(9000000000)))), try(r('\xa8010265', NULL, h('apicurio.value.contentId', int8send(90)))),
    try(r('\xaa010266', NULL, h('apicurio.value.globalId', int8send(9000000000)), h('__value_schema_id', '\x000000005a'), h('apicurio.key.globalId', 'x'))), try(r('\xaa010266', NULL, h('apicurio.value.groupId', 'x')))]);
SELECT id, v, sid, schema FROM t WHERE id BETWEEN 82 AND 85 ORDER BY id;
SELECT kafka_sink.schema('reg', 9000000000, true) = kafka_sink.schema('reg', 90), kafka_sink.decode('reg', '\x00' || int8send(9000000000) || '\xa4010263', framing => 'apicurio8');
SELECT kafka_sink.drop_sink('s');
CREATE ROLE regress_reader;
GRANT USAGE ON FOREIGN SERVER none TO regress_reader;
SET ROLE regress_reader;
SELECT kafka_sink.schema('none', 5);
SELECT kafka_sink.add_schema('none', 8, 'JSON', '{}');
SELECT kafka_sink.drop_schema('none', 5);
RESET ROLE;
SELECT kafka_sink.drop_schema('none', 5), kafka_sink.drop_schema('none', 5), kafka_sink.drop_schema('none', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid), kafka_sink.drop_schema('none', 'a1eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid);
SELECT count(*) FROM kafka_sink.schemas WHERE server = 'none';
-- schemas go with their server: a new one of its name has none, whoever gave them
GRANT USAGE ON FOREIGN DATA WRAPPER kafka_sink TO regress_reader;
CREATE FUNCTION given() RETURNS text LANGUAGE sql AS
$$SELECT string_agg(server || ' ' || id || ' ' || schema, ', ' ORDER BY server, id) FROM kafka_sink.schemas WHERE registry = ''$$;
SELECT kafka_sink.add_schema('none', 5, 'JSON', '{"title": "theirs"}');
ALTER SERVER none RENAME TO elsewhere;
SELECT given();
SET ROLE regress_reader;
CREATE SERVER none FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
SELECT kafka_sink.schema('none', 5);
SELECT kafka_sink.add_schema('none', 5, 'JSON', '{"title": "mine"}');
SELECT given();
RESET ROLE;
-- what was left under a name is nobody's
INSERT INTO kafka_sink.schemas (server, registry, id, type, schema, refs) VALUES ('former', '', 5, 'JSON', '{"title": "left"}', '[]'), ('beside', '', 5, 'JSON', '{"title": "left"}', '[]');
CREATE SERVER former FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
ALTER SERVER none RENAME TO beside;
SELECT given();
CREATE SERVER IF NOT EXISTS beside FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
ALTER SERVER beside OPTIONS (SET bootstrap_servers '127.0.0.1:2');
DO $$BEGIN ALTER SERVER beside RENAME TO gone; RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN NULL; END$$;
BEGIN;
ALTER SERVER elsewhere RENAME TO none;
ROLLBACK;
SELECT given();
ALTER SERVER elsewhere RENAME TO none;
DROP SERVER former, beside;
SELECT given();
-- who drops one waits for what is being given
BEGIN;
SELECT kafka_sink.add_schema('none', 6, 'JSON', '{}');
SELECT mode FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_foreign_server'::regclass AND pid = pg_backend_pid();
ROLLBACK;
-- the schema is the text, whoever else in it says to be it
CREATE TABLE named (v jsonb);
SELECT kafka_sink.create_sink('named', target => 'named', format => 'json_schema', validate => true, columns => '{"v": "@value"}',
    value_schema => '{"$id": "http://x/s", "type": "object", "properties": {"a": {"$id": "http://x/s", "type": "string"}}}');
SELECT applied FROM kafka_sink.ingest('named', ARRAY[r(convert_to('{"a": "x"}', 'UTF8'))]);
SELECT kafka_sink.drop_sink('named');
DROP TABLE t, packed, named;
DROP FUNCTION i, r, h, try, fetched, matches, glue, given;
DROP SERVER reg CASCADE;
DROP SERVER none CASCADE;
DROP EXTENSION kafka_sink CASCADE;
DROP ROLE regress_reader;
