-- Records that contradict their schema, or are built to cost much.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
CREATE FUNCTION r(value text, key text DEFAULT NULL)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
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
CREATE FUNCTION one(field text, payload text, field_schema text) RETURNS kafka_sink.record LANGUAGE sql AS $$
SELECT r('{"schema": {"type": "struct", "fields": [{"type": "int32", "field": "id"}, {"field": "' || field || '", ' || field_schema
    || '}]}, "payload": {"id": 1, "' || field || '": ' || payload || '}}') $$;

CREATE TABLE t (id int PRIMARY KEY, n numeric, s text, x jsonb, o interval, p point, ps point[], ns numeric[], b bit(8));
SELECT kafka_sink.create_sink('s', target => 't', envelope => 'connect', insert_mode => 'upsert');

-- decimals: the ends of the scale, the smallest number of so many bytes, too many digits
CREATE FUNCTION scaled(scale int) RETURNS text LANGUAGE sql AS $$
SELECT '"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "' || scale || '"}' $$;
CREATE FUNCTION base64(bytea) RETURNS text LANGUAGE sql AS $$SELECT '"' || replace(encode($1, 'base64'), E'\n', '') || '"'$$;
SELECT try(one('n', '"AQ=="', scaled(16383)));
SELECT n = '1e-16383'::numeric, scale(n) FROM t;
SELECT try(one('n', '"/w=="', scaled(-16383)));
SELECT n = '-1e16383'::numeric, scale(n) FROM t;
SELECT try(one('n', '"AQ=="', scaled(16384))), try(one('n', '"AQ=="', scaled(-16384)));
SELECT try(one('s', '"gA=="', scaled(256)));
SELECT length(s), left(s, 3), right(s, 4) FROM t;
SELECT try(one('s', '"gA=="', scaled(-257)));
SELECT s FROM t;
-- zero has no zeros in front, so that it is JSON
SELECT try(one('x', '"AA=="', scaled(-3)));
SELECT x FROM t;
SELECT try(one('n', base64(decode(repeat('ff', 20), 'hex')), scaled(0))),
    try(one('s', base64(decode('80' || repeat('00', 15), 'hex')), scaled(2)));
SELECT n, s FROM t;
SELECT try(one('n', base64(decode('7f' || repeat('ff', 54000), 'hex')), scaled(0)));
SELECT n = 2::numeric ^ (8 * 54001 - 1) - 1 FROM t;
SELECT try(one('n', base64(decode(repeat('00', 100000) || '07', 'hex')), scaled(0)));
SELECT n FROM t;
SELECT try(one('n', base64(decode('7f' || repeat('ff', 1000000), 'hex')), scaled(0)));

-- lists: each element costs what it is worth
SELECT try(one('ns', '[' || repeat('"AQ==",', 99999) || '"AQ=="]', '"type": "array", "items": {' || scaled(16383) || '}'));
SELECT cardinality(ns), ns[100000] = '1e-16383' FROM t;

-- points have two numbers
SELECT try(one('p', '{"x": 1.5, "y": "NaN"}', '"type": "struct", "name": "io.debezium.data.geometry.Point"'));
SELECT p FROM t;
SELECT try(one('ps', '[{"x": ["],["], "y": 2}]', '"type": "array", "items": {"type": "struct", "name": "io.debezium.data.geometry.Point"}')),
    try(one('p', '{"x": "\"", "y": 2}', '"type": "struct", "name": "io.debezium.data.geometry.Point"'));

-- the ends of 64 bits
SELECT try(one('o', '-9223372036854775808', '"type": "int64", "name": "io.debezium.time.MicroDuration"')),
    try(one('o', '9223372036854775808', '"type": "int64", "name": "io.debezium.time.MicroDuration"'));
SELECT try(one('o', '-9223372036854775807', '"type": "int64", "name": "io.debezium.time.MicroDuration"'));
SELECT o FROM t;
SELECT try(one('b', '"/w=="', '"type": "bytes", "name": "io.debezium.data.Bits", "parameters": {"length": "99999999999999999999"}'));
SELECT b FROM t;
SELECT try(one('s', '"/w=="', '"type": "bytes", "name": "io.debezium.data.Bits", "parameters": {"length": "83886080"}'));

-- more schemas than are kept, of values and keys by turns
CREATE TABLE k (id int PRIMARY KEY, n numeric, key int);
SELECT kafka_sink.alter_sink('s', target => 'k', columns => '{"key": "@key.id"}');
SELECT kafka_sink.ingest('s', array_agg(r(
    '{"schema": {"type": "struct", "fields": [{"type": "int32", "field": "id"}, {"field": "n", ' || scaled(v) || '}]}, "payload": {"id": ' || i || ', "n": "AQ=="}}',
    '{"schema": {"type": "struct", "fields": [{"type": "int32", "field": "id"}, {"type": "int32", "field": "f' || i || '"}]}, "payload": {"id": ' || i || '}}') ORDER BY i))
FROM (SELECT i, i % 3 AS v FROM generate_series(1, 60) i) i;
SELECT count(*), sum(n), sum(key) FROM k;
SELECT kafka_sink.drop_sink('s');

-- csv: documents for a domain over jsonb, and a million fields that nobody wants
CREATE DOMAIN document AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
CREATE TABLE d (id int PRIMARY KEY, doc document);
SELECT kafka_sink.create_sink('s', target => 'd', format => 'csv');
SELECT try(r('1,"{""x"": 1}"'), r('2,'), r('3,{}' || repeat(',', 1000000)));
TABLE d;
SELECT try(r('4,[]')), try(r('4,{')), try(r('4,{}' || repeat(',', 1000000) || '"'));
SELECT kafka_sink.drop_sink('s');

-- vectors are arrays to the catalog, but of a shape of their own
CREATE TABLE v (i int2vector, o oidvector);
SELECT kafka_sink.create_sink('s', target => 'v');
SELECT left(try(r(v)), 5) FROM unnest(ARRAY['{"i": []}', '{"i": [1, null]}', '{"o": [[1, 2], [3, 4]]}', '{"o": [null]}']) v;
SELECT try(r('{"i": "1 2", "o": "3"}'));
TABLE v;
SELECT kafka_sink.drop_sink('s');

DROP TABLE t, k, d, v;
DROP DOMAIN document;
DROP FUNCTION r, try, one, scaled, base64;
DROP EXTENSION kafka_sink;
