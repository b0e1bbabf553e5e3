-- Where the values of columns come from, at the edges.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
CREATE FUNCTION r(value text, key text DEFAULT NULL)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION try(VARIADIC records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result kafka_sink.batch_result; state text; message text; detail text; hint text; context text;
BEGIN
    result := kafka_sink.ingest('s', records);
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '') || coalesce(' | ' || nullif(replace(hint, 'DateStyle', 'datestyle'), ''), '')
        || coalesce(' | ' || substring(context FROM 'sink "s"[^\n]*'), '');
END$$;

-- positions of CSV are no names: keys of tombstones go by the columns'
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT kafka_sink.create_sink('s', target => 't', format => 'csv', insert_mode => 'upsert', delete_enabled => true, columns => '{"id": "$13", "v": "$2"}');
SELECT try(r('a,b,c,d,e,f,g,h,i,j,k,l,7'), r('a,b,c,d,e,f,g,h,i,j,k,l,8'));
SELECT try(r(NULL, (SELECT json_object_agg('k' || i, i)::text FROM generate_series(1, 300) i)));
SELECT try(r(NULL, (SELECT json_object_agg('k' || i, i)::text FROM generate_series(1, 300) i))),
    try(r(NULL, '[7]')), try(r(NULL, '{"": 7}')), try(r(NULL, '{"$13": 7}')), try(r(NULL, '{"id": 7}')), try(r(NULL, '8'));
TABLE t;
SELECT kafka_sink.alter_sink('s', columns => '{"id": "$1664", "v": "$1"}');
SELECT try(r('x' || repeat(',', 1662) || ',1')), try(r('x' || repeat(',', 1661) || ',1')), try(r('x,1', '1')), try(r(NULL, '{"id": 1}'));
SELECT kafka_sink.alter_sink('s', key_format => 'csv');
SELECT try(r('x' || repeat(',', 1662) || ',2')), try(r(NULL, '2' || repeat(',', 2000))), try(r(NULL, '2'));
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
-- nor do fields of an envelope go by them
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT kafka_sink.create_sink('s', target => 't', format => 'csv', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true, columns => '{"id": "$13", "v": "$2"}');
DROP TABLE t;

-- columns that "columns" leaves out, as many as are left
CREATE FUNCTION left_out(n int, mode text, envelope text) RETURNS TABLE (outcome text, kept text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE (SELECT 'CREATE TABLE t (id int PRIMARY KEY' || string_agg(format(', v%s text, x%s text DEFAULT ''own''', i, i), '') || ')' FROM generate_series(1, n) i);
    PERFORM kafka_sink.create_sink('s', target => 't', envelope => envelope, insert_mode => mode, delete_enabled => true,
        columns => (SELECT jsonb_object_agg('x' || i, NULL::text) FROM generate_series(1, n) i));
    outcome := try(
        r((SELECT format('{"op": "c", "after": %s}', jsonb_object_agg(c, v)) FROM (SELECT 'id', 1 UNION ALL SELECT 'v' || i, i FROM generate_series(1, n) i) f(c, v)), '{"id": 1}'),
        r((SELECT format('{"op": "u", "after": %s}', jsonb_object_agg(c, v)) FROM (SELECT 'id', '2' UNION ALL SELECT 'v' || i, 'two' FROM generate_series(1, n) i) f(c, v)), '{"id": 2}'));
    outcome := outcome || ' ' || try(
        r('{"op": "u", "after": {"id": 1, "v1": "__debezium_unavailable_value", "v2": "new"}}', '{"id": 1}'),
        r('{"op": "d", "before": {"id": 2}}', '{"id": 2}'));
    FOR kept IN SELECT t::text FROM t ORDER BY id LOOP RETURN NEXT; END LOOP;
    PERFORM kafka_sink.drop_sink('s');
    DROP TABLE t;
END$$;
SELECT n, l.* FROM generate_series(1, 3) n, left_out(n, 'upsert', 'debezium') l;
DROP FUNCTION left_out;

-- what an update leaves alone: of columns with long names, or with odd ones, or of very many
CREATE TABLE t (id int PRIMARY KEY, given text, given_ text, "given given" text,
    a23456789012345678901234567890123456789012345678901234567890123 text, a2345678901234567890123456789012345678901234567890123456789012_ text);
INSERT INTO t VALUES (1, 'a', 'b', 'c', 'd', 'e');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'update');
SELECT try(r('{"id": 1, "given": "A"}'), r('{"id": 1, "given given": null}'), r('{"id": 1, "a2345678901234567890123456789012345678901234567890123456789012_": "E"}'), r('{"id": 2, "given": "x"}'));
TABLE t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
DO $$BEGIN EXECUTE (SELECT 'CREATE TABLE t (id int PRIMARY KEY, ' || string_agg(format('c%s int', i), ', ') || ')' FROM generate_series(2, 1600) i); END$$;
INSERT INTO t (id, c2, c900, c1600) VALUES (1, 2, 900, 1600);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'update');
SELECT try(r('{"id": 1, "c1600": -1600}'), r('{"id": 1, "c1599": 1599}'));
SELECT id, c2, c900, c1599, c1600 FROM t;
SELECT kafka_sink.alter_sink('s', insert_mode => 'upsert', envelope => 'debezium');
SELECT try(r((SELECT format('{"op": "c", "after": %s}', jsonb_object_agg(c, v)) FROM (SELECT 'id', 2 UNION ALL SELECT 'c' || i, i FROM generate_series(2, 1600) i) f(c, v))),
    r('{"op": "u", "after": {"id": 1, "c2": "__debezium_unavailable_value", "c900": 901}}'));
SELECT id, c2, c900, c1599, c1600 FROM t ORDER BY id;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- what a number counts that stands for a date or a time
CREATE TYPE span AS (a timestamptz, d date, n int);
CREATE DOMAIN day AS date CHECK (value > '2000-01-01');
CREATE TABLE t (da date, ti time, tz timetz, ts timestamp, tt timestamptz, t0 timestamptz(0), iv interval, dd day, a timestamptz[], s span, ss span[], r tsrange);
SELECT kafka_sink.create_sink('s', target => 't', format => 'json');
SELECT c, try(r(format('{"%s": %s}', c, v))) FROM (VALUES ('da', '20240513'), ('ti', '120000'), ('tz', '120000'), ('ts', '240513'), ('tt', '240513'), ('t0', '-1'),
    ('iv', '5'), ('dd', '20240513'), ('a', '[240513]'), ('s', '{"a": 240513}'), ('s', '{"d": 1}'), ('ss', '[{"n": 1}, {"d": 1}]'), ('r', '5'), ('iv', '[1]'), ('da', '{"a": 1}'),
    ('da', '"20240513"'), ('ti', '"120000"'), ('a', '["20240513"]'), ('s', '{"n": 1}')) v(c, v);
SELECT da, ti, a, s FROM t;
TRUNCATE t;
CREATE FUNCTION units(unit text) RETURNS void LANGUAGE sql AS $$
    SELECT kafka_sink.alter_sink('s', columns => (SELECT jsonb_object_agg(c, jsonb_build_object('unit', unit))
        FROM unnest('{da,ti,tz,ts,tt,t0,iv,dd,a,s,ss}'::text[]) c)) $$;
SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC';
SELECT units('milliseconds');
SELECT try(r('{"da": 1715601600000, "ti": 43200000, "tz": 43200000.5, "ts": 1715601600123, "tt": "1715601600123", "t0": 1715601600723, "iv": 90000000, "dd": 1715601600000, "a": [0, null, -1, "2024-05-13"], "s": {"a": 1.7156016e12, "d": -1, "n": 7}, "ss": [{"a": 1}]}'));
SELECT units('seconds');
SELECT try(r('{"da": 1715601600, "ti": 43200, "tz": 86400, "ts": 1715601600.1234565, "tt": 1715601600.123, "t0": -0.5, "iv": -1.5, "dd": 1715687999.999999, "a": [1e3, 1.5E+1, 12e-7], "s": {"a": 1715601600}}'));
SELECT units('microseconds');
SELECT try(r('{"da": -1, "ti": 1, "tz": 0, "ts": 1715601600123456, "tt": 1715601600123456.5, "t0": 1715601600123456, "iv": 1}'));
SELECT units('nanoseconds');
SELECT try(r('{"da": -1, "ti": 1499, "tz": 1500, "ts": 1715601600123456500, "tt": -1500, "t0": 1715601600123456789, "iv": 1000}'));
SELECT units('days');
SELECT try(r('{"da": 19856, "ti": 0.5, "tz": 1, "ts": 19856, "tt": 19856.25, "t0": 0, "iv": 1.5, "dd": 19856, "a": [-0.5]}')), try(r('{"da": 2147483647}')), try(r('{"da": -2440588}')), try(r('{"da": -2440589}'));
\x
TABLE t;
\x
-- out of range, or no number
SELECT units('seconds');
SELECT c, try(r(format('{"%s": %s}', c, v))) FROM (VALUES ('ti', '-1'), ('ti', '86400.000001'), ('tz', '90000'), ('ts', '1e300'), ('tt', '9223372036854775807'), ('tt', '-300000000000'), ('da', '99999999999999999999'),
    ('iv', '1e15'), ('dd', '0'), ('ts', '"12:00"'), ('ts', '"2024-05-13T01:02:03"'), ('ts', 'true'), ('ts', '"1."'), ('ts', '"1e"'), ('ts', '"+5"'), ('ts', '" 5"'), ('ts', '0e999999999999'), ('ts', '1e-999999999999')) v(c, v);
TRUNCATE t;
-- from keys, whole values, and CSV
SELECT kafka_sink.alter_sink('s', columns => '{"tt": {"source": "@key.at", "unit": "seconds"}, "a": null, "ts": {"source": "$.a.b", "unit": "days"}}');
SELECT try(r('{"a": {"b": 1}}', '{"at": 1}'));
SELECT kafka_sink.alter_sink('s', columns => '{"tt": {"source": "@key", "unit": "seconds"}, "ts": "b"}');
SELECT try(r('{"da": "2024-05-13"}', '1'));
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'csv', columns => '{"tt": {"source": "$2", "unit": "seconds"}, "ts": "$1", "a": {"source": "$3", "unit": "days"}}');
SELECT try(r('2024-05-13,1715601600,')), try(r('240513,2024-05-13,"{2024-05-13}"'));
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', target => 't', format => 'raw', columns => '{"tt": {"source": "@value", "unit": "seconds"}}');
SELECT try(r('1715601600')), try(r('x'));
SELECT kafka_sink.drop_sink('s');
SELECT ts, tt FROM t;
-- units that cannot be
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"tt": {"unit": "fortnights"}}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"tt": {"source": "x"}}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"tt": {"unit": "days", "zone": "UTC"}}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"tt": {"unit": 5}}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"tt": ["days"]}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"tt": {"source": "@timestamp", "unit": "days"}}');
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"r": {"unit": "days"}}');
DROP TABLE t;
CREATE TABLE t (id int, v text);
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"id": {"unit": "days"}}');
DROP TABLE t;
DROP FUNCTION units;
DROP TYPE span;
DROP DOMAIN day;
-- numbers in an envelope without a schema
CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d date);
SELECT kafka_sink.create_sink('s', target => 't', envelope => 'debezium', insert_mode => 'upsert', columns => '{"at": {"unit": "microseconds"}}');
SELECT try(r('{"op": "c", "after": {"id": 1, "at": 1715601600123456, "d": 19856}}'));
SELECT kafka_sink.alter_sink('s', envelope => 'connect', columns => '{"at": {"unit": "microseconds"}, "d": {"unit": "milliseconds"}}');
SELECT try(r('{"schema": null, "payload": {"id": 2, "at": 1, "d": 1715601600123}}'));
SELECT try(r('{"schema": {"type": "struct", "fields": [{"field": "at", "type": "int64"}, {"field": "d", "type": "int32", "name": "org.apache.kafka.connect.data.Date"}]}, "payload": {"id": 3, "at": 1, "d": 1}}'));
SELECT kafka_sink.alter_sink('s', reset => '{columns}');
SELECT try(r('{"schema": null, "payload": {"id": 4, "at": 1, "d": 1}}'));
TABLE t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- times that are negative, or longer than a day, by all units
CREATE TABLE t (n int, txt text, iv interval, ti time, tz timetz, v bigint);
CREATE FUNCTION timed(col text, logical text, v bigint) RETURNS kafka_sink.record LANGUAGE sql AS $$
SELECT r(format('{"schema": {"type": "struct", "fields": [{"field": "%s", "type": "int64", "name": "%s"}]}, "payload": {"%s": %s}}', col, logical, col, v)) $$;
SELECT kafka_sink.create_sink('s', target => 't', envelope => 'connect');
SELECT logical, v, c, try(timed(c, logical, v)) FROM (VALUES ('io.debezium.time.MicroTime', -1500000), ('io.debezium.time.MicroTime', -3020399000000),
    ('io.debezium.time.MicroTime', 3020399000000), ('io.debezium.time.NanoTime', -1500000000), ('io.debezium.time.NanoTime', -1), ('io.debezium.time.Time', -1500), ('org.apache.kafka.connect.data.Time', -86400001),
    ('io.debezium.time.MicroTime', 86400000000), ('io.debezium.time.MicroTime', 86400000001), ('io.debezium.time.MicroTime', -9223372036854775808)) l(logical, v), unnest('{txt,iv,ti,tz}'::text[]) c
    WHERE c IN ('txt', 'iv') OR v IN (-1500000, -1, 86400000000, 86400000001);
SELECT txt, iv, ti, tz FROM t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
DROP FUNCTION timed;

-- domains behave as what they are over, and check themselves
CREATE DOMAIN bytes AS bytea CHECK (octet_length(value) < 5);
CREATE DOMAIN few AS bytes CHECK (octet_length(value) > 0);
CREATE DOMAIN big AS bigint CHECK (value > 100);
CREATE DOMAIN doc AS jsonb CHECK (jsonb_typeof(value) = 'object');
CREATE DOMAIN heads AS kafka_sink.header[] CHECK (cardinality(value) < 3);
CREATE DOMAIN moment AS timestamptz CHECK (value > '2000-01-01');
CREATE DOMAIN label AS text NOT NULL;
CREATE DOMAIN ints AS int[] CHECK (cardinality(value) < 4);
CREATE TYPE named AS (n label, d doc);
CREATE TABLE t (b bytes, f few, ms big, part big, o moment, d doc, r doc, h doc, hs heads, k few, kd doc, x text);
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"b": "@value", "f": "@value", "ms": "@timestamp", "part": "@partition", "o": "@timestamp", "d": null, "r": null, "h": "@headers", "hs": "@headers", "k": "@key", "kd": null, "x": null}');
CREATE FUNCTION full_record(value bytea, key bytea, part int, ts timestamptz, headers int) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', part, NULL, ts, key, value, (SELECT array_agg(ROW('h' || i, convert_to('v' || i, 'UTF8'))::kafka_sink.header) FROM generate_series(1, headers) i))::kafka_sink.record$$;
SELECT try(full_record('\x5c783431', '\x00ff', 101, '2026-01-01', 2));
SELECT b, f, ms, part, o, h, hs, k FROM t;
SELECT try(full_record('\x5c78343131', '\x00', 101, '2026-01-01', 2)), try(full_record('', '\x00', 101, '2026-01-01', 2)), try(full_record('1', '', 101, '2026-01-01', 2)),
    try(full_record('1', '1', 100, '2026-01-01', 2)), try(full_record('1', '1', 101, '1999-01-01', 2)), try(full_record('1', '1', 101, '2026-01-01', 3)), try(full_record('1', '1', NULL, NULL, 0));
SELECT kafka_sink.alter_sink('s', columns => '{"b": null, "f": null, "ms": null, "part": null, "o": null, "d": "@value", "r": "@rest", "h": null, "hs": null, "k": null, "kd": "@key"}');
SELECT try(r('{"x": "1", "y": 2}', '{"k": 1}')), try(r('{"x": "1"}', '[]')), try(r('[]'));
SELECT d, r, kd, x FROM t WHERE d IS NOT NULL;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
CREATE TABLE t (id int PRIMARY KEY, v label, a ints[], b doc[], c named, n numeric);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"n": "sum"}');
SELECT try(r('{"id": 1, "n": 1}')), try(r('{"id": 1, "v": null}')), try(r('{"id": 1, "n": 1}'), r('{"id": 1, "v": "x"}'), r('{"id": 1, "n": 2}')), try(r('{"id": 2, "n": 1}'), r('{"id": 1, "v": "y"}'));
TABLE t;
SELECT kafka_sink.alter_sink('s', reset => '{accumulate}', insert_mode => 'upsert');
SELECT try(r('{"id": 1, "n": 1}')), try(r('{"id": 1, "v": "x", "c": {}}')), try(r('{"id": 1, "v": "x", "c": {"n": "y", "d": 1}}'));
SELECT try(r('{"id": 1, "v": "x", "a": [[1, 2], [3], null], "b": [{"a": [1]}], "c": {"n": "y", "d": {}}}'));
TABLE t;
SELECT kafka_sink.alter_sink('s', insert_mode => 'update');
SELECT try(r('{"id": 1, "n": 5}')), try(r('{"id": 1, "v": null}'));
TABLE t;
SELECT kafka_sink.alter_sink('s', insert_mode => 'ignore');
SELECT try(r('{"id": 3, "n": 5}'));
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
DROP FUNCTION full_record;
DROP TYPE named;
DROP DOMAIN few, bytes, big, doc, heads, moment, label, ints;

-- none of a record's fields is one that a column takes
CREATE TABLE t (id int, customer_name text, total numeric DEFAULT 0);
SELECT kafka_sink.create_sink('s', target => 't');
SELECT try(r('{"ID": 1, "NAME": "x"}')), try(r('{"custommer_name": "x", "totl": 1}')), try(r('{"a": 1, "b": 2}')), try(r('{}')), try(r('{"id": null}')), try(r('{"\u0069d": 1}'));
SELECT try(r((SELECT jsonb_object_agg('field' || i, i)::text FROM generate_series(1, 30) i))), try(r('{"op": "c", "before": null, "after": {"id": 1}}')), try(r('{"schema": {}, "payload": {"id": 1}}')),
    try(r('{"' || repeat('x', 1000) || '": 1}')), try(r('  { "Id" : 1 } ')), try(r('{"":1, "i\u0000d": 1}'));
TABLE t;
-- what a filter leaves out is asked nothing
SELECT kafka_sink.alter_sink('s', filter => 'id > 0');
SELECT try(r('{"ID": 1}'), r('{"id": 1}'));
-- nor is a record that a column takes as a whole, or whose rest one takes
ALTER TABLE t ADD COLUMN doc jsonb;
SELECT kafka_sink.alter_sink('s', reset => '{filter}', columns => '{"doc": "@value"}');
SELECT try(r('{"ID": 1}'));
SELECT kafka_sink.alter_sink('s', columns => '{"doc": "@rest"}');
SELECT try(r('{"ID": 1}'));
SELECT kafka_sink.alter_sink('s', columns => '{"doc": "@headers", "id": "@partition", "total": "@offset"}');
SELECT try(r('{"name": 1}')), try(r('{}'));
SELECT kafka_sink.alter_sink('s', columns => '{"doc": "@headers", "id": "$.order.id", "customer_name": "$.order.name", "total": null}');
SELECT try(r('{"Order": {"id": 1}}')), try(r('{"order": {"ID": 1}}'));
SELECT kafka_sink.alter_sink('s', on_error => 'ignore');
SELECT try(r('{"Order": {"id": 1}}'), r('{"order": {"id": 5}}'), r('{"orders": 1}'));
SELECT kafka_sink.drop_sink('s');
SELECT * FROM t ORDER BY id, doc::text;
DROP TABLE t;
CREATE TYPE pair AS (a int, b text);
CREATE TABLE t (a int, b text, off bigint);
SELECT kafka_sink.create_sink('s', command => 'INSERT INTO public.t SELECT a, b FROM batch', value_type => 'pair');
SELECT try(r('{"A": 1}')), try(r('{}')), try(r('{"b": "x"}'));
SELECT kafka_sink.alter_sink('s', command => 'INSERT INTO public.t (off) SELECT count(*) FROM batch');
SELECT try(r('{"A": 1}'));
SELECT kafka_sink.drop_sink('s');
TABLE t;
DROP TABLE t;
DROP TYPE pair;

-- names with \u0000 are nobody's
CREATE TYPE pair AS (a int, b text);
CREATE TABLE t (id int, v text, p pair);
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"v": "$.o.v"}');
SELECT try(r('{"id": 1, "id\u0000": 2, "o": {"v": "x", "v\u0000": "y"}, "p": {"a": 1, "\u0000a": 2, "\u0062": "z"}}'));
SELECT kafka_sink.alter_sink('s', on_nul => 'strip');
SELECT try(r('{"id": 1, "id\u0000": 2, "o": {"v": "x\u0000", "v\u0000": "y"}, "p": {"a": 1, "\u0000a": 2, "\u0062": "z\u0000"}}'));
TABLE t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- NaN and infinities are found wherever they are
CREATE DOMAIN floats AS float8[];
CREATE TYPE inner_pair AS (f real, n numeric[]);
CREATE TYPE outer_pair AS (i inner_pair, t text);
CREATE TABLE t (a float8[], n numeric[], d floats, o outer_pair, os outer_pair[], r numrange, m nummultirange, p point, l lseg, x box, pa path, po polygon, c circle, t text, ts tstzrange, i int4range);
SELECT kafka_sink.create_sink('s', target => 't', on_nonfinite => 'error');
SELECT c, v, regexp_replace(try(r(format('{"%s": %s}', c, to_json(v)))), '(malformed array literal: \S+) \| [^|]*\.', '\1') AS try FROM (VALUES ('a', '{NaN}'), ('a', '{1,{-Infinity}}'), ('a', '{{1,2},{3,Infinity}}'), ('a', '{1,NULL}'), ('n', '{NaN}'), ('n', '{1}'), ('d', '{1,Infinity}'),
    ('o', '("(Infinity,)",x)'), ('o', '("(1,\"{2,NaN}\")",x)'), ('o', '("(1,\"{2}\")",Infinity)'), ('os', '{"(\"(NaN,)\",x)"}'), ('r', '[1,Infinity)'), ('r', '[1,)'), ('r', 'empty'),
    ('m', '{[1,2],[3,Infinity]}'), ('m', '{[1,2],[3,)}'), ('p', '(1,Infinity)'), ('p', '(1,2)'), ('l', '[(1,2),(3,NaN)]'), ('x', '(1,2),(3,Infinity)'), ('pa', '[(1,2),(3,4),(5,-Infinity)]'), ('pa', '[(1,2),(3,4)]'),
    ('po', '((1,2),(3,Infinity))'), ('c', '<(1,2),Infinity>'), ('t', 'NaN'), ('ts', '[2026-01-01,infinity)'), ('i', '[1,2]')) v(c, v);
SELECT try(r('{"o": {"i": {"f": "NaN"}}}')), try(r('{"os": [{"i": {"n": [1, "NaN"]}}]}')), try(r('{"o": {"i": "(NaN,)"}}'));
-- and JSON that happens to be what a type reads as text is not read so
SELECT c, v, try(r(format('{"%s": %s}', c, v))) FROM (VALUES ('a', '{}'), ('m', '{}'), ('i', '[1, 2]'), ('d', '{}'), ('a', '[]'), ('o', '[]'), ('os', '{}')) v(c, v);
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
DROP TYPE outer_pair, inner_pair, pair;
DROP DOMAIN floats;

-- dates of Java that are none
CREATE TABLE t (id int, d date, ts timestamp);
SELECT kafka_sink.create_sink('s', target => 't', envelope => 'debezium', insert_mode => 'insert');
SELECT v, try(r(format('{"op": "c", "after": {"id": 1, "d": "%s"}}', v))) FROM unnest('{+12ab-05-06,-00x1-02-03,+12345-05-06,-0001-02-03,+292278994-08-17,+292278994-08-17Z,+292278994-08-1x,+292278994-08-171,-5877611-06-22,-5877611-06-220,+-345-05-06,0000-01-02}'::text[]) v;
SELECT d FROM t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- abbreviations of time zones are the server's own set, whatever the session's is
CREATE TABLE t (ts timestamptz);
SELECT kafka_sink.create_sink('s', target => 't');
SET timezone_abbreviations = 'Australia';
SELECT try(r('{"ts": "2026-01-02 03:04:05 IST"}'));
SHOW timezone_abbreviations;
SET timezone_abbreviations = 'India';
SELECT try(r('{"ts": "2026-01-02 03:04:05 IST"}'));
RESET timezone_abbreviations;
SELECT try(r('{"ts": "2026-01-02 03:04:05 IST"}'));
TABLE t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

DROP FUNCTION r, try;
DROP EXTENSION kafka_sink;
