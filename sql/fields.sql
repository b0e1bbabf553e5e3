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
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '') || coalesce(' | ' || nullif(hint, ''), '')
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

DROP FUNCTION r, try;
DROP EXTENSION kafka_sink;
