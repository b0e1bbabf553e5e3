-- Debezium's changes in Avro, and the types of Kafka Connect's that its schemas name.
-- The bytes are made here, by hand.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET datestyle = 'ISO, YMD';
-- a number, a string, bytes
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
CREATE FUNCTION f(name text, type text) RETURNS text LANGUAGE sql AS
$$SELECT format('{"name": "%s", "type": %s}', name, type)$$;
-- a type with a name of Connect's
CREATE FUNCTION c(type text, name text, more text DEFAULT '') RETURNS text LANGUAGE sql AS
$$SELECT format('{"type": "%s", "connect.version": 1, "connect.name": "%s"%s}', type, name, more)$$;
-- the schema of changes of a row with these fields
CREATE FUNCTION env(VARIADIC fields text[]) RETURNS text LANGUAGE sql AS $$
    SELECT format('{"type": "record", "name": "Envelope", "namespace": "p.s.t", "fields": [
        {"name": "before", "type": ["null", {"type": "record", "name": "Value", "fields": [%s], "connect.name": "p.s.t.Value"}], "default": null},
        {"name": "after", "type": ["null", "Value"], "default": null},
        {"name": "source", "type": {"type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql", "fields": [
            {"name": "lsn", "type": ["null", "long"]}, {"name": "snapshot", "type": ["string", "null"]}]}},
        {"name": "transaction", "type": ["null", {"type": "record", "name": "block", "namespace": "event", "fields": [{"name": "id", "type": "string"}]}]},
        {"name": "op", "type": "string"}, {"name": "ts_ms", "type": ["null", "long"]}], "connect.name": "p.s.t.Envelope"}',
        array_to_string(fields, ', '))
$$;
CREATE FUNCTION ch(op text, before bytea, after bytea) RETURNS bytea LANGUAGE sql AS $$
    SELECT coalesce('\x02' || before, '\x00') || coalesce('\x02' || after, '\x00')
        || ('\x02' || n(4711) || '\x00' || s('false')) || ('\x02' || s('tx')) || s(op) || '\x00'
$$;

-- what each op does, to rows with keys from the row, from the key, or from both
CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 7);
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true,
    key_format => 'avro', key_schema => '{"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]}',
    value_schema => env(f('id', '"int"'), f('v', '["null", "string"]'), f('other', '"int"')));
CREATE FUNCTION val(id int, v text) RETURNS bytea LANGUAGE sql AS $$SELECT n(id) || coalesce('\x02' || s(v), '\x00') || n(0)$$;
SELECT try(r(ch('c', NULL, val(1, 'a'))), r(ch('r', NULL, val(2, NULL))), r(ch('u', NULL, val(1, 'b'))), r(ch('c', NULL, val(3, 'c'))));
TABLE t ORDER BY id;
SELECT try(r(ch('u', val(1, 'b'), val(1, 'B'))), r(ch('d', val(2, NULL), NULL)), r(ch('d', NULL, NULL), n(3)), r(NULL, n(3)), r(ch('m', NULL, NULL)));
TABLE t ORDER BY id;
SELECT try(r(ch('u', val(1, 'b'), val(4, 'b'))));
SELECT try(r(ch('d', NULL, NULL)));
SELECT try(r(ch('c', NULL, NULL))), try(r(ch('x', NULL, val(1, 'a')))), try(r(ch('create', NULL, val(1, 'a')))), try(r(ch('', NULL, val(1, 'a'))));
SELECT try(r(ch('c', NULL, val(1, 'a')) || '\x00')), try(r(substring(ch('c', NULL, val(1, 'a')) FROM 1 FOR 12))), try(r('')), try(r('\x04'));
SELECT try(r(ch('t', NULL, NULL)));
TABLE t ORDER BY id;
SELECT kafka_sink.alter_sink('s', delete_enabled => false);
SELECT try(r(ch('d', val(2, NULL), NULL))), try(r(ch('t', NULL, NULL)));
SELECT kafka_sink.alter_sink('s', on_tombstone => 'ignore');
SELECT try(r(ch('d', val(2, NULL), NULL)), r(ch('t', NULL, NULL)), r(NULL, n(3)));
SELECT kafka_sink.drop_sink('s');

-- values that Debezium does not have
CREATE TABLE big (id int PRIMARY KEY, t text, b bytea, a text[], i int);
INSERT INTO big VALUES (1, 'old', '\x01', '{x}', 1);
SELECT kafka_sink.create_sink('s', target => 'big', format => 'avro', envelope => 'debezium', insert_mode => 'upsert',
    value_schema => env(f('id', '"int"'), f('t', '["null", "string"]'), f('b', '"bytes"'), f('a', '["null", {"type": "array", "items": ["null", "string"]}]'), f('i', '"int"')));
CREATE FUNCTION gone() RETURNS text LANGUAGE sql AS $$SELECT '__debezium_unavailable_value'$$;
SELECT try(r(ch('u', NULL, n(1) || '\x02' || s(gone()) || s(gone()) || '\x02' || n(1) || '\x02' || s(gone()) || '\x00' || n(2))));
TABLE big;
SELECT try(r(ch('u', NULL, n(1) || '\x02' || s('new') || s(gone()) || '\x02' || n(2) || '\x02' || s(gone()) || '\x02' || s('y') || '\x00' || n(3))));
SELECT try(r(ch('u', NULL, n(2) || '\x02' || s(gone()) || b('\x02') || '\x00' || n(4))));
SELECT try(r(ch('u', NULL, n(1) || '\x02' || s(gone() || 's') || b('\x02') || '\x00' || n(4))));
TABLE big ORDER BY id;
SELECT kafka_sink.drop_sink('s');
-- of lists of numbers they are the placeholder's bytes, all of them
ALTER TABLE big ADD i4s int[], ADD i8s bigint[], ADD das date[];
UPDATE big SET i4s = '{1}', i8s = '{2}', das = '{2024-02-29}';
SELECT kafka_sink.create_sink('s', target => 'big', format => 'avro', envelope => 'debezium', insert_mode => 'upsert', columns => '{"t": null, "b": null, "a": null}',
    value_schema => env(f('id', '"int"'), f('i4s', '["null", {"type": "array", "items": ["null", "int"]}]'), f('i8s', '{"type": "array", "items": "long"}'),
        f('das', '["null", {"type": "array", "items": ["null", ' || c('int', 'io.debezium.time.Date') || ']}]'), f('i', '"int"')));
CREATE FUNCTION gone(prefix bytea, n int DEFAULT 28) RETURNS bytea LANGUAGE sql AS
$$SELECT n(n) || string_agg(prefix || n(ascii(c)), '') FROM unnest(string_to_array(left(gone() || 's', n), NULL)) c$$;
SELECT try(r(ch('u', NULL, n(1) || '\x02' || gone('\x02') || n(0) || gone('') || n(0) || '\x02' || gone('\x02') || n(0) || n(5))));
SELECT id, i4s, i8s, das, i FROM big ORDER BY id;
SELECT try(r(ch('u', NULL, n(1) || '\x02' || gone('\x02', 27) || n(0) || gone('', 29) || n(0) || '\x00' || n(6))));
SELECT id, i4s, i8s, das, i FROM big WHERE id = 1;
-- in several blocks
SELECT try(r(ch('u', NULL, n(1) || '\x02' || gone('\x02') || n(1) || '\x00' || n(0) || gone('') || n(1) || n(7) || n(0) || '\x00' || n(7))));
SELECT id, i4s, i8s, das, i FROM big WHERE id = 1;
SELECT kafka_sink.drop_sink('s');
ALTER TABLE big DROP i4s, DROP i8s, DROP das;
SELECT kafka_sink.create_sink('s', target => 'big', format => 'avro', envelope => 'debezium',
    value_schema => env(f('id', '"int"'), f('t', '["null", "string"]')), columns => '{"b": null, "a": null, "i": null}');
SELECT try(r(ch('c', NULL, n(5) || '\x02' || s(gone()))));
SELECT kafka_sink.drop_sink('s');

-- types that schemas name, with the envelope and without
CREATE FUNCTION one(schema text, type text, VARIADIC vals bytea[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text := ''; message text; e text;
BEGIN
    FOREACH e IN ARRAY '{debezium,none}'::text[] LOOP
        PERFORM kafka_sink.drop_sink('s') FROM kafka_sink.sinks WHERE sink = 's';
        DROP TABLE IF EXISTS one;
        EXECUTE format('CREATE TABLE one (i serial, v %s)', type);
        BEGIN
            PERFORM kafka_sink.create_sink('s', target => 'one', format => 'avro', envelope => e, columns => '{"i": null}',
                value_schema => CASE e WHEN 'none' THEN format('{"type": "record", "name": "r", "fields": [%s]}', f('v', schema)) ELSE env(f('v', schema)) END);
        EXCEPTION WHEN OTHERS THEN
            result := concat_ws(E'\n', nullif(result, ''), SQLSTATE || ' ' || SQLERRM);
            CONTINUE;
        END;
        message := NULL;
        FOR i IN 1 .. cardinality(vals) LOOP
            message := concat_ws(E'\n', message, regexp_replace(nullif(try(r(CASE e WHEN 'none' THEN vals[i] ELSE ch('c', NULL, vals[i]) END)),
                '(1,1,0,0,0,0,0,0)'), ' \| sink "s", record 1, topic "t"[^\n]*', ''));
        END LOOP;
        result := concat_ws(E'\n', nullif(result, ''), (SELECT string_agg(coalesce(v::text, 'NULL'), '; ' ORDER BY i) FROM one), message);
    END LOOP;
    RETURN result;
END$$;
SELECT one(c('int', 'io.debezium.time.Date'), 'date', n(0), n(19782), n(-25567), n(-622191234), n(-625821272), n(-2147472692), n(2147483647));
SELECT one(c('int', 'org.apache.kafka.connect.data.Date'), 'date', n(1));
SELECT one(c('int', 'io.debezium.time.Time'), 'time', n(1), n(86399999));
SELECT one(c('long', 'io.debezium.time.MicroTime'), 'time', n(1), n(86400000000), n(86400000001), n(-1));
SELECT one(c('long', 'io.debezium.time.NanoTime'), 'time', n(1000), n(999));
SELECT one(c('long', 'io.debezium.time.Timestamp'), 'timestamp', n(1), n(-1));
SELECT one(c('long', 'io.debezium.time.MicroTimestamp'), 'timestamp', n(1), n(9223371331200000000), n(9223372036825199999), n(-9223372036832400000), n(9223372036825200000));
SELECT one(c('long', 'io.debezium.time.MicroTimestamp'), 'timestamptz', n(1));
SELECT one(c('long', 'io.debezium.time.NanoTimestamp'), 'timestamp', n(1001));
SELECT one(c('long', 'io.debezium.time.MicroTimestamp'), 'bigint', n(1));
SELECT one(c('long', 'org.apache.kafka.connect.data.Timestamp'), 'timestamptz', n(1));
SELECT one(c('long', 'io.debezium.time.MicroDuration'), 'interval', n(1), n(-90061000001));
SELECT one(c('long', 'io.debezium.time.MicroDuration'), 'text', n(1));
SELECT one(c('long', 'io.debezium.time.MicroDuration'), 'date', n(1));
SELECT one(c('string', 'io.debezium.time.ZonedTimestamp'), 'timestamptz', s('2024-02-29T01:04:05.678901Z'), s('+20000-01-01T00:00:00.000000Z'));
SELECT one(c('string', 'io.debezium.data.Json'), 'jsonb', s('{"a": [1, null]}'), s('"s"'), s('null'), s('{'));
SELECT one(c('string', 'io.debezium.data.Json'), 'json', s('{"a":   1}'));
SELECT one(c('string', 'io.debezium.data.Json'), 'text', s('{"a":   1}'));
SELECT one('"string"', 'jsonb', s('{}'));
SELECT one('{"type": "array", "items": ["null", ' || c('string', 'io.debezium.data.Json') || ']}', 'jsonb[]', n(2) || '\x02' || s('{"a": 1}') || '\x00' || '\x00');
SELECT one(c('bytes', 'io.debezium.data.Bits', ', "connect.parameters": {"length": "12"}'), 'bit(12)', b('\x380b'), b('\x01'), b(''));
SELECT one(c('bytes', 'io.debezium.data.Bits', ', "connect.parameters": {"length": "12"}'), 'bit(8)', b('\x380b'));
SELECT one(c('bytes', 'io.debezium.data.Bits', ', "connect.parameters": {"length": "12"}'), 'text', b('\x380b'));
SELECT one(c('bytes', 'io.debezium.data.Bits', ', "connect.parameters": {"length": "12"}'), 'bytea', b('\x380b'));
SELECT one(c('bytes', 'io.debezium.data.Bits'), 'varbit', b('\x380b'));
-- zeros at the end are not written: as many as a column says, or few
SELECT one(c('bytes', 'io.debezium.data.Bits', ', "connect.parameters": {"length": "80000000"}'), t, b('\x380b')) FROM unnest('{varbit,text,jsonb}'::text[]) t;
SELECT length(one(c('bytes', 'io.debezium.data.Bits', ', "connect.parameters": {"length": "20000"}'), 'bit(20000)', b('\x380b')));
SELECT one('"boolean"', 'bit', '\x01', '\x00');
SELECT one('{"type": "record", "name": "VariableScaleDecimal", "namespace": "io.debezium.data", "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}], "connect.name": "io.debezium.data.VariableScaleDecimal"}',
    t, n(2) || b('\x04d2'), n(0) || b('\xff'), n(20) || b('\x01'), n(-3) || b('\x05'), n(2000000) || b('\x05'), n(0) || b('')) FROM unnest('{numeric,float8,text,jsonb,int}'::text[]) t;
-- decimals that are none in Avro, and those that only Connect calls so
SELECT scale, t, one(format('{"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": %1$s, "connect.name": "org.apache.kafka.connect.data.Decimal", "connect.parameters": {"scale": "%1$s", "connect.decimal.precision": "3"}}', scale), t,
    b('\x7b'), b('\xff85')) FROM unnest('{5,-2}'::int[]) scale, unnest('{numeric,"numeric(9,4)",text,jsonb}'::text[]) t ORDER BY scale, t;
SELECT unnest(ARRAY[one(c('bytes', 'org.apache.kafka.connect.data.Decimal', ', "connect.parameters": {"scale": "2"}'), 'numeric', b('\x7b')), one(c('bytes', 'org.apache.kafka.connect.data.Decimal'), 'numeric', b('\x7b')),
    one(c('bytes', 'org.apache.kafka.connect.data.Decimal', ', "connect.parameters": {"scale": "-"}'), 'bytea', b('\x7b')), one(c('bytes', 'org.apache.kafka.connect.data.Decimal', ', "connect.parameters": {"scale": "99999"}'), 'text', b('\x7b'))]) AS one;
SELECT one('{"type": "record", "name": "Point", "namespace": "io.debezium.data.geometry", "fields": [{"name": "x", "type": "double"}, {"name": "y", "type": "double"}, {"name": "wkb", "type": ["null", "bytes"]}, {"name": "srid", "type": ["null", "int"]}], "connect.name": "io.debezium.data.geometry.Point"}',
    t, '\x000000000000f03f000000000000e0bf'::bytea || '\x00' || '\x00') FROM unnest('{point,jsonb,box}'::text[]) t;
-- Avro's own logical types count before Connect's; names on other types are none
SELECT one('{"type": "long", "logicalType": "timestamp-micros", "connect.name": "io.debezium.time.NanoTimestamp"}', 'timestamp', n(1000));
SELECT one(c('string', 'io.debezium.time.Date'), 'text', s('x'));
SELECT one(c('int', 'no.such.Name'), 'int', n(5));
-- bytes that are strings, infinite decimals that are strings
SELECT one('"string"', 'bytea', s('abc'));
SELECT one('"string"', 'numeric', s('POSITIVE_INFINITY'), s('1.5'));
-- bytes that are the text of a value of a type that Debezium does not know
CREATE TYPE duo AS (a int, b text);
SELECT one('["null", "bytes"]', t, '\x02' || b(convert_to(v, 'UTF8'))) FROM (VALUES ('duo', '(1,"x ""y")'), ('box', '(2,2),(1,1)'), ('box', 'x'),
    ('tsquery', $$'a' & 'b'$$), ('int4range', '[1,3)'), ('box[]', '{(2,2),(1,1)}'), ('jsonb', '{}'), ('int', '1')) x(t, v);
SELECT one('"bytes"', 'box', b('\xff'));
-- a hstore as a string that has JSON (another type of that name shows what it is given)
CREATE TYPE hstore;
CREATE FUNCTION hstore_in(cstring) RETURNS hstore LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION hstore_out(hstore) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE hstore (input = hstore_in, output = hstore_out, like = text);
SELECT one('["null", "string"]', 'hstore', '\x02' || s(v)) FROM unnest(ARRAY['{}', '{"a":"1","b c":null,"q\"x":"v, \\w","\u00e9":"\n"}', 'no', '{"a"', '{"a":"\"}']) v;
SELECT kafka_sink.drop_sink('s');

-- the change as a whole, the rest of the row, a strict sink
CREATE TABLE whole (id int PRIMARY KEY, change jsonb, raw bytea, rest jsonb);
SELECT kafka_sink.create_sink('s', target => 'whole', format => 'avro', envelope => 'debezium', columns => '{"change": "@value", "raw": "@value", "rest": "@rest"}',
    value_schema => env(f('id', '"int"'), f('v', '"string"')));
SELECT try(r(ch('c', NULL, n(1) || s('a'))));
SELECT id, change, length(raw), rest FROM whole;
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'debezium', strict => true, value_schema => env(f('id', '"int"'), f('x', '"string"')));
-- a row whose record in "before" is another one than in "after"; changes that may be null
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true, value_schema => '["null", {"type": "record", "name": "e", "fields": [
    {"name": "op", "type": {"type": "enum", "name": "o", "symbols": ["c", "d", "u"]}}, {"name": "after", "type": ["null", {"type": "record", "name": "a", "fields": [{"name": "id", "type": "int"}, {"name": "v", "type": "string"}]}]},
    {"name": "before", "type": {"type": "record", "name": "b", "fields": [{"name": "v", "type": "string"}, {"name": "id", "type": "long"}]}}]}]');
SELECT try(r('\x02' || n(0) || '\x02' || n(8) || s('x') || s('') || n(0)), r('\x00'), r('\x02' || n(2) || '\x02' || n(8) || s('y') || s('') || n(8)));
TABLE t ORDER BY id;
SELECT try(r('\x02' || n(1) || '\x00' || s('') || n(8)));
TABLE t ORDER BY id;
SELECT kafka_sink.drop_sink('s');

-- what is no such schema, and what does not go together
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'debezium', value_schema => x) FROM unnest(ARRAY['"int"', '["null", "int"]']) x;
\set VERBOSITY terse
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'debezium', value_schema => '{"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}]}');
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'debezium', value_schema => '{"type": "record", "name": "r", "fields": [{"name": "op", "type": "string"}, {"name": "after", "type": "int"}]}');
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'debezium', value_schema => env(f('x', '"int"')));
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', envelope => 'debezium', value_schema => env(f('id', '"bytes"')));
SELECT kafka_sink.create_sink('s', target => 't', envelope => 'debezium', key_format => 'avro', key_schema => '"int"');
SELECT kafka_sink.create_sink('s', command => 'SELECT FROM batch', format => 'avro', envelope => 'debezium', value_schema => env(f('id', '"int"')));
-- keys that tell their scale
CREATE TABLE scaled (id numeric PRIMARY KEY, v text);
SELECT kafka_sink.create_sink('scaled', target => 'scaled', format => 'avro', key_format => 'avro', insert_mode => 'upsert', delete_enabled => true, columns => '{"id": "@key.id"}',
    value_schema => format('{"type": "record", "name": "r", "fields": [%s]}', f('v', '"string"')),
    key_schema => format('{"type": "record", "name": "k", "fields": [%s]}', f('id', c('record', 'io.debezium.data.VariableScaleDecimal', ', "name": "V", "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}]'))));
SELECT kafka_sink.ingest('scaled', ARRAY[r(s('x'), n(2) || b('\x04d2')), r(s('y'), n(0) || b('\x07')), r(NULL, n(2) || b('\x04d2'))]);
TABLE scaled;
SELECT kafka_sink.drop_sink('scaled');
DROP TABLE t, big, one, whole, scaled;
DROP FUNCTION n, s, b, r, try, f, c, env, ch, val, gone(), gone(bytea, int), one;
DROP TYPE duo;
DROP TYPE hstore CASCADE;
DROP EXTENSION kafka_sink;
