-- Each type of JSON value in a column of each kind of type: the rows of the
-- reference's table, as Markdown.  test/t/074_types.pl compares them.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
CREATE TYPE mood AS ENUM ('ok', 'sad');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN given AS text NOT NULL;
CREATE TYPE pair AS (a int, b text);
-- one value: what is stored, or the error
CREATE FUNCTION cell_of(sink text, val bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    DELETE FROM t;
    PERFORM kafka_sink.ingest(sink, ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, val, NULL)::kafka_sink.record]);
    SELECT coalesce('`' || v::text || '`', 'NULL') INTO STRICT result FROM t;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END$$;
-- the same for JSON, JSON behind the id of its schema, and JSON that is checked by one
CREATE FUNCTION cell(val text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    json bytea := convert_to('{"v": ' || val || '}', 'UTF8');
    result text := cell_of('s', json);
    framed text := cell_of('framed', '\x0000000001' || json);
    checked text := cell_of('checked', json);
BEGIN
    RETURN '`' || val || '`: ' || result || CASE WHEN framed <> result THEN ' (json_schema: ' || framed || ')' ELSE '' END
        || CASE WHEN checked <> result THEN ' (validate: ' || checked || ')' ELSE '' END;
END$$;
-- one type: strings, numbers, and one of each of the others
CREATE FUNCTION line(type text, strings text[], numbers text[], arrays text[] DEFAULT '{[1]}', objects text[] DEFAULT '{"{\"a\": 1}"}')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE format('CREATE TABLE t (v %s)', type);
    PERFORM kafka_sink.create_sink('s', target => 't');
    PERFORM kafka_sink.create_sink('framed', target => 't', format => 'json_schema', framing => 'confluent');
    PERFORM kafka_sink.create_sink('checked', target => 't', format => 'json_schema', validate => true, value_schema => '{"type": "object"}');
    SELECT '| `' || type || '` |' || string_agg(' ' || cells || ' |', '' ORDER BY n) INTO result
      FROM (SELECT n, (SELECT string_agg(cell(val), '<br>' ORDER BY i)
                         FROM jsonb_array_elements_text(vals) WITH ORDINALITY AS v (val, i)) AS cells
              FROM jsonb_array_elements(jsonb_build_array(to_jsonb(strings), to_jsonb(numbers), '["true", "false"]'::jsonb,
                       '["null"]'::jsonb, to_jsonb(arrays), to_jsonb(objects))) WITH ORDINALITY AS k (vals, n)) c;
    PERFORM kafka_sink.drop_sink(s) FROM unnest('{s,framed,checked}'::text[]) s;
    DROP TABLE t;
    RETURN result;
END$$;
\pset format unaligned
\pset tuples_only on
SELECT line('boolean', '{"\"yes\"", "\"x\""}', '{1, 0, 2, 1.0}');
SELECT line('smallint', '{"\" 7 \"", "\"x\""}', '{7, 32768, 1.5, 1e2}');
SELECT line('integer', '{"\" 7 \"", "\"x\""}', '{7, 2147483648, 1.5, 1e2}');
SELECT line('bigint', '{"\" 7 \"", "\"x\""}', '{7, 9223372036854775808, 1.5, 1e2}');
SELECT line('real', '{"\"1.5\"", "\"NaN\"", "\"x\""}', '{7, 1.5, 1e39}');
SELECT line('double precision', '{"\"1.5\"", "\"-Infinity\"", "\"x\""}', '{7, 0.1, 1e2, 1e309}');
SELECT line('numeric', '{"\"1.50\"", "\"NaN\"", "\"x\""}', '{7, 1.50, 1e2, 1e400000}');
SELECT line('numeric(5,2)', '{"\"1.005\"", "\"x\""}', '{7, 1.005, 1000}');
SELECT line('money', '{"\"$1.50\"", "\"x\""}', '{7, 1.505, 1e2, 1e400000}');
SELECT line('text', '{"\"a\\u00e9\"", "\"\"", "\"\\u0000\""}', '{7, 1.50}');
SELECT line('varchar(3)', '{"\"abc\"", "\"abcd\""}', '{7, 1.50}', '{[1], "[1, 2]"}');
SELECT line('char(3)', '{"\"a\"", "\"abcd\""}', '{7, 1.50}', '{[1], "[1, 2]"}');
SELECT line('bytea', '{"\"\\\\x0102\"", "\"ab\"", "\"\\\\xzz\""}', '{7}');
SELECT line('date', '{"\"2026-01-02\"", "\"2026-02-29\"", "\"x\""}', '{7, 20260102}');
SELECT line('time', '{"\"03:04:05.6\"", "\"25:00\"", "\"x\""}', '{7, 30405}');
SELECT line('timetz', '{"\"03:04:05+02\"", "\"03:04:05\"", "\"x\""}', '{7}');
SELECT line('timestamp', '{"\"2026-01-02T03:04:05+05:00\"", "\"x\""}', '{7, 1767323045}');
SELECT line('timestamptz', '{"\"2026-01-02T03:04:05+05:00\"", "\"2026-01-02 03:04:05\"", "\"x\""}', '{7, 1767323045}');
SELECT line('interval', '{"\"P1DT2H\"", "\"x\""}', '{7, 1.5}');
SELECT line('uuid', '{"\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"", "\"x\""}', '{7}');
SELECT line('json', '{"\"a\"", "\"\\u0000\""}', '{7, 1.50}', '{"[1,  null]"}', '{"{\"b\": 1,  \"a\": {}}"}');
SELECT line('jsonb', '{"\"a\"", "\"\\u0000\""}', '{7, 1.50, 1e400000}', '{"[1,  null]"}', '{"{\"b\": 1,  \"a\": {}}"}');
SELECT line('inet', '{"\"10.0.0.1/8\"", "\"x\""}', '{7}');
SELECT line('mood', '{"\"ok\"", "\"x\""}', '{7}');
SELECT line('positive', '{"\"7\"", "\"0\"", "\"x\""}', '{7, 0}');
SELECT line('given', '{"\"a\""}', '{7}');
SELECT line('int4range', '{"\"[1,5)\"", "\"[5,1)\"", "\"x\""}', '{7}');
SELECT line('int[]', '{"\"{1,2}\"", "\"x\""}', '{7}', '{[], "[1, null]", "[[1], [2]]", "[[1], 2]", "[\"x\"]"}');
SELECT line('text[]', '{"\"{a,b}\"", "\"x\""}', '{7}', '{"[\"a\", 1, true]", "[{\"a\": 1}]"}');
SELECT line('pair', '{"\"(5,y)\"", "\"x\""}', '{7}', '{"[1, \"x\"]"}', '{"{\"a\": 1, \"b\": \"x\"}", "{\"b\": 2, \"c\": 3}", "{\"a\": \"x\"}"}');
DROP FUNCTION line(text, text[], text[], text[], text[]);
DROP FUNCTION cell(text);
DROP FUNCTION cell_of(text, bytea);
DROP TYPE mood, pair;
DROP DOMAIN positive, given;
DROP EXTENSION kafka_sink;
