-- Avro's values inside of others: in lists, lists of lists, records and maps they are what
-- they are in a column of their own, whatever that is of.
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
-- the same value in a column, a list, a list of lists, a record, a list of records, a list in a
-- record: the values of the first, and what is not equal to them
CREATE FUNCTION nested(schema text, type text, VARIADIC vals bytea[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    again text := coalesce('"' || substring(schema FROM '"name": "(\w+)"') || '"', schema);
    listed text := format('{"type": "array", "items": %s}', again);
    fields text[] := ARRAY[schema, listed, format('{"type": "array", "items": %s}', listed),
        format('{"type": "record", "name": "pair", "fields": [{"name": "v", "type": %s}]}', again), '{"type": "array", "items": "pair"}',
        format('{"type": "record", "name": "outer", "fields": [{"name": "vs", "type": %s}]}', listed)];
    names text[] := '{plain,list,lists,pair,pairs,in_pair}';
    types text[];
    result text := '';
    got text;
    plains text[] := '{}';
BEGIN
    DROP TABLE IF EXISTS nested; DROP TYPE IF EXISTS pair, outer_pair;
    EXECUTE format('CREATE TYPE pair AS (v %s)', type);
    EXECUTE format('CREATE TYPE outer_pair AS (vs %s[])', type);
    types := ARRAY[type, type || '[]', type || '[]', 'pair', 'pair[]', 'outer_pair'];
    FOR i IN 1 .. 6 LOOP
        DROP TABLE IF EXISTS nested;
        EXECUTE format('CREATE TABLE nested (n serial, v %s, x text)', types[i]);
        BEGIN
            PERFORM kafka_sink.create_sink('s', target => 'nested', format => 'avro', columns => '{"n": null, "x": null}',
                value_schema => format('{"type": "record", "name": "r", "fields": [%s]}',
                (SELECT string_agg(format('{"name": "%s", "type": %s}', CASE o WHEN i THEN 'v' ELSE names[o] END, f), ', ' ORDER BY o) FROM unnest(fields) WITH ORDINALITY AS u(f, o))));
        EXCEPTION WHEN OTHERS THEN
            result := result || format('%s: %s %s%s', names[i], SQLSTATE, SQLERRM, E'\n');
            CONTINUE;
        END;
        FOR j IN 1 .. cardinality(vals) LOOP
            BEGIN
                PERFORM kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, vals[j] || n(1) || vals[j] || n(0) || n(1) || n(1) || vals[j] || n(0) || n(0)
                    || vals[j] || n(1) || vals[j] || n(0) || n(1) || vals[j] || n(0), NULL)::kafka_sink.record]);
                EXECUTE CASE i WHEN 1 THEN 'SELECT v::text FROM nested ORDER BY n DESC LIMIT 1'
                    WHEN 2 THEN 'SELECT v[1]::text FROM nested ORDER BY n DESC LIMIT 1'
                    WHEN 3 THEN 'SELECT v[1][1]::text FROM nested ORDER BY n DESC LIMIT 1'
                    WHEN 4 THEN 'SELECT (v).v::text FROM nested ORDER BY n DESC LIMIT 1'
                    WHEN 5 THEN 'SELECT (v[1]).v::text FROM nested ORDER BY n DESC LIMIT 1'
                    ELSE 'SELECT (v).vs[1]::text FROM nested ORDER BY n DESC LIMIT 1' END INTO got;
            EXCEPTION WHEN OTHERS THEN
                got := SQLSTATE || ' ' || SQLERRM;
            END;
            IF i = 1 THEN
                plains := plains || coalesce(got, 'NULL');
            ELSIF coalesce(got, 'NULL') <> plains[j] THEN
                result := result || format('%s: %s instead of %s%s', names[i], got, plains[j], E'\n');
            END IF;
        END LOOP;
        PERFORM kafka_sink.drop_sink('s');
    END LOOP;
    RETURN concat_ws(E'\n', array_to_string(plains, '; '), nullif(rtrim(result, E'\n'), ''));
END$$;

-- bytes, and what they stand for
SELECT nested('"bytes"', 'bytea', b('\x'), b('\x00ff41'));
SELECT nested('"bytes"', 'text', b('abc'), b('\x5c783431'), b('\x00'));
SELECT nested('{"type": "fixed", "name": "fx", "size": 3}', 'bytea', '\x00ff41');
SELECT nested('{"type": "fixed", "name": "fx", "size": 3}', 'text', 'abc');
SELECT c, nested('{"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}', c, b('\x00'), b('\x2710'), b('\xff'), b('\x7fffffffffffffff'))
    FROM unnest('{numeric,"numeric(12,1)",bigint,float8,money,text,bytea}'::text[]) c;
SELECT c, nested('{"type": "fixed", "name": "fx", "size": 16, "logicalType": "uuid"}', c, '\x000102030405060708090a0b0c0d0e0f')
    FROM unnest('{uuid,text,bytea}'::text[]) c;
SELECT c, nested('{"type": "fixed", "name": "fx", "size": 12, "logicalType": "duration"}', c, '\x010000000200000003000000')
    FROM unnest('{interval,text,bytea}'::text[]) c;
-- times
SELECT t, l, c, nested(format('{"type": "%s", "logicalType": "%s"}', t, l), c, VARIADIC v) FROM (VALUES
    ('int', 'date', ARRAY[n(19782), n(-719163)], '{date,timestamp,bigint,numeric,float8,text}'::text[]),
    ('int', 'time-millis', ARRAY[n(3661001), n(86399999)], '{time,timetz,interval,int,numeric,text}'),
    ('long', 'timestamp-millis', ARRAY[n(1709168645678), n(-1)], '{timestamptz,timestamp,timestamptz(0),date,bigint,float8,text}'),
    ('long', 'timestamp-micros', ARRAY[n(1709168645678901), n(-62167219200000001)], '{timestamptz,bigint,numeric}'),
    ('long', 'local-timestamp-micros', ARRAY[n(1709168645678901)], '{timestamp,bigint}')) x(t, l, v, cs), unnest(cs) c;
-- numbers and words
SELECT c, nested('"boolean"', c, '\x00', '\x01') FROM unnest('{boolean,text,bit(1),varbit}'::text[]) c;
SELECT c, nested('"float"', c, '\xcdcccc3d', '\x0000c07f', '\xffff7f7f') FROM unnest('{real,float8,numeric,text}'::text[]) c;
SELECT c, nested('"double"', c, '\x9a9999999999b93f', '\x000000000000f0ff', '\x0000000000000080') FROM unnest('{real,float8,text}'::text[]) c;
SELECT c, nested('"int"', c, n(0), n(-7), n(40000)) FROM unnest('{smallint,int,numeric(8\,2),text,varchar(2),boolean,money}'::text[]) c;
SELECT c, nested('"string"', c, s('7'), s(''), s('2024-02-29'), s(E'q"\\\n\u20ac')) FROM unnest('{text,varchar(3),bytea,int,date}'::text[]) c;
SELECT c, nested('{"type": "enum", "name": "en", "symbols": ["a", "b1"]}', c, n(0), n(1)) FROM unnest('{text,varchar(1)}'::text[]) c;
SELECT nested('["null", "bytes"]', 'bytea', '\x00', '\x02' || b('\x00ff'));
SELECT nested('["int", "string"]', 'text', '\x00' || n(5), '\x02' || s('x'));
CREATE DOMAIN short AS bytea NOT NULL CHECK (length(VALUE) < 3);
SELECT nested('["null", "bytes"]', 'short', '\x00', '\x02' || b('\x00ff'), '\x02' || b('\x00ffff'));

-- composite types: by name, in any order, and what there is on one side only
CREATE TYPE inner_type AS (a bytea, b int[]);
CREATE TYPE outer_type AS (x inner_type, l inner_type[], gone int, missing short, n numeric);
ALTER TYPE outer_type DROP ATTRIBUTE gone;
CREATE TABLE c (v outer_type);
CREATE FUNCTION c(field bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, field, NULL)::kafka_sink.record]);
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END$$;
SELECT kafka_sink.create_sink('s', target => 'c', format => 'avro', value_schema => '{"type": "record", "name": "r", "fields": [{"name": "v", "type": {"type": "record", "name": "o", "fields": [
    {"name": "n", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}}, {"name": "gone", "type": "int"},
    {"name": "x", "type": ["null", {"type": "record", "name": "i", "fields": [{"name": "b", "type": {"type": "array", "items": "int"}}, {"name": "other", "type": "string"}, {"name": "a", "type": ["null", "bytes"]}]}]},
    {"name": "l", "type": {"type": "array", "items": ["null", "i"]}}]}}]}');
SELECT c(b('\x03e8') || n(1) || '\x00' || n(0));
ALTER TYPE outer_type DROP ATTRIBUTE missing;
SELECT c(b('\x03e8') || n(1) || '\x00' || n(0)), c(b('\xff') || n(1) || '\x02' || n(2) || n(7) || n(8) || n(0) || s('x') || '\x02' || b('\x00ff')
    || n(2) || '\x00' || '\x02' || n(0) || s('y') || '\x00' || n(0));
TABLE c;
SELECT kafka_sink.drop_sink('s');
-- maps, by their keys
TRUNCATE c;
SELECT kafka_sink.create_sink('s', target => 'c', format => 'avro', columns => '{"v": "m"}', value_schema => '{"type": "record", "name": "r", "fields": [{"name": "m", "type": {"type": "map", "values":
    {"type": "map", "values": ["null", "bytes", {"type": "array", "items": "int"}]}}}]}');
SELECT c(n(2) || s('x') || n(3) || s('b') || '\x04' || n(1) || n(5) || n(0) || s('a') || '\x02' || b('\x00ff') || s('z') || '\x00' || n(0) || s('y') || n(0) || n(0));
SELECT c(n(1) || s('n') || n(0) || n(0)), c(n(1) || s('l') || n(0) || n(0)), c(n(0));
TABLE c;
SELECT kafka_sink.drop_sink('s');

-- lists in lists: one shape, however they are told
CREATE TABLE d (v bytea[]);
SELECT kafka_sink.create_sink('s', target => 'd', format => 'avro', value_schema => '{"type": "record", "name": "r", "fields": [{"name": "v", "type": {"type": "array", "items": ["null", {"type": "array", "items": ["null", "bytes"]}]}}]}');
CREATE FUNCTION l(VARIADIC items bytea[]) RETURNS bytea LANGUAGE sql AS
$$SELECT CASE cardinality(items) WHEN 0 THEN '' ELSE n(cardinality(items)) END || coalesce(string_agg('\x02' || i, '' ORDER BY o), '') || n(0) FROM unnest(items) WITH ORDINALITY AS u(i, o)$$;
SELECT c(l(l(b('\x01'), b('\x02')), l(b('\x03'), b('\x04')))), c(l(VARIADIC '{}')), c(l(l(VARIADIC '{}'), l(VARIADIC '{}'))), c(n(-1) || n(4) || '\x02' || n(1) || '\x00' || n(0) || n(0));
SELECT c(l(l(b('\x01')), l(b('\x03'), b('\x04')))), c(l(l(b('\x01')), l(VARIADIC '{}'))), c(n(2) || '\x00' || '\x00' || n(0)), c(n(2) || '\x00' || '\x02' || l(b('\x01')) || n(0));
TABLE d;

DROP FUNCTION n, s, b, c, l, nested;
DROP EXTENSION kafka_sink;
DROP TABLE nested, c, d;
DROP TYPE pair, outer_pair, inner_type, outer_type;
DROP DOMAIN short;
