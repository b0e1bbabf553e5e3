-- Formats of values and keys other than plain JSON objects, and unknown fields.
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

-- csv: the columns in the order of the table
CREATE TABLE t (id int PRIMARY KEY, name text, amount numeric(8,2), tags text[], doc jsonb);
SELECT kafka_sink.create_sink('s', target => 't', format => 'csv', key_format => 'csv',
    insert_mode => 'upsert', delete_enabled => true);
SELECT try(r('1,plain,1.50,"{a,b}","{""x"": 1}"'), r(E'2,"quoted, ""so""\nand on",,{},[1]\r\n'), r(E'3,"",-1,,\n'));
SELECT * FROM t ORDER BY id;
SELECT try(r(NULL, '1'), r(NULL, '"3"'), r(NULL, '9'));
SELECT id FROM t ORDER BY id;
SELECT try(r('4,a,1,{}')), try(r('4,"a,1,{},1')), try(r(E'4,a\n,1,{},1')), try(r('x,a,1,{},1')), try(r('')),
    try(r(',a,1,{},1')), try(r(NULL, '1,2')), try(r('4,a,1,{},{'));
SELECT try(r('4,a,1,{},1,more'));
SELECT * FROM t WHERE id = 4;
SELECT kafka_sink.alter_sink('s', strict => true);
SELECT try(r('4,a,1,{},1,more'));
SELECT kafka_sink.alter_sink('s', csv_delimiter => E'\t', csv_quote => '', csv_null => '\N', reset => '{strict}');
SELECT try(r(E'5\t"no quotes"\t\\N\t\\N\t\\N'), r(E'6\t\t1\t{}\t1'));
SELECT * FROM t WHERE id IN (5, 6) ORDER BY id;
-- positions
SELECT kafka_sink.alter_sink('s', csv_delimiter => ';', csv_quote => '''', csv_null => 'null',
    columns => '{"id": "$2", "name": "$1", "doc": "@headers"}');
TRUNCATE t;
SELECT try(r('''it''''s'';7;rest'), r('null;8'));
SELECT * FROM t ORDER BY id;
SELECT try(r('only'));
-- definitions
SELECT kafka_sink.alter_sink('s', columns => '{"id": "$0"}');
SELECT kafka_sink.alter_sink('s', columns => '{"id": "$.id"}');
SELECT kafka_sink.alter_sink('s', columns => '{"doc": "@rest"}');
SELECT kafka_sink.alter_sink('s', csv_delimiter => ',,');
SELECT kafka_sink.alter_sink('s', csv_delimiter => E'\n');
SELECT kafka_sink.alter_sink('s', csv_quote => 'é');
SELECT kafka_sink.alter_sink('s', csv_quote => ';');
SELECT kafka_sink.alter_sink('s', csv_null => 'a;b');
SELECT kafka_sink.alter_sink('s', csv_null => E'a\nb');
SELECT kafka_sink.alter_sink('s', format => 'xml');
SELECT kafka_sink.drop_sink('s');
-- csv to a command
CREATE TYPE pair AS (a int, b text);
CREATE TABLE pairs (a int, b text);
SELECT kafka_sink.create_sink('s', format => 'csv', command => 'INSERT INTO public.pairs SELECT a, b FROM batch', value_type => 'pair');
SELECT try(r('1,one'), r('2,"t,wo"')), try(r('3'));
TABLE pairs;
SELECT kafka_sink.alter_sink('s', reset => '{value_type}');
SELECT kafka_sink.drop_sink('s');

-- raw: the value as a whole
CREATE TABLE raw_text (id bigint GENERATED ALWAYS AS IDENTITY, body text);
SELECT kafka_sink.create_sink('s', target => 'raw_text', format => 'raw');
SELECT try(r('any {text'), r('')), try(ROW(NULL, NULL, NULL, NULL, NULL, '\xff', NULL)::kafka_sink.record);
TABLE raw_text;
SELECT kafka_sink.drop_sink('s');
CREATE TABLE raw_bytes (k text PRIMARY KEY, body bytea, size int DEFAULT 7);
SELECT kafka_sink.create_sink('s', target => 'raw_bytes', format => 'raw');
SELECT kafka_sink.create_sink('s', target => 'raw_bytes', format => 'raw', key_format => 'raw',
    insert_mode => 'upsert', delete_enabled => true, columns => '{"k": "@key", "body": "@value"}');
SELECT try(r('one', 'a'), r('two', 'b'), ROW(NULL, NULL, NULL, NULL, 'b', '\x00ff', NULL)::kafka_sink.record);
TABLE raw_bytes ORDER BY k;
SELECT try(r(NULL, 'a'));
TABLE raw_bytes ORDER BY k;
SELECT kafka_sink.alter_sink('s', columns => '{"k": "@key", "body": "$.x"}');
SELECT kafka_sink.alter_sink('s', strict => true);
SELECT kafka_sink.drop_sink('s');
CREATE TABLE raw_json (body jsonb);
SELECT kafka_sink.create_sink('s', target => 'raw_json', format => 'raw');
SELECT try(r('{"a": [1, 2]}'), r('"text"')), try(r('{'));
TABLE raw_json;
SELECT kafka_sink.drop_sink('s');

-- strict: unknown fields of JSON objects
CREATE TABLE plain (a int, b text);
SELECT kafka_sink.create_sink('s', target => 'plain', strict => true);
SELECT try(r('{"a": 1, "b": "x"}'), r('{"a": 2}')), try(r('{"a": 3, "c": {"d": 1}}'));
SELECT kafka_sink.alter_sink('s', strict => false);
SELECT try(r('{"a": 3, "c": {"d": 1}}'));
TABLE plain;
SELECT kafka_sink.drop_sink('s');

-- envelope connect: the schema tells what a value means
CREATE TABLE c (id int PRIMARY KEY, amount numeric, day date, at timestamp, clock time, raw bytea, days date[]);
SELECT kafka_sink.create_sink('s', target => 'c', envelope => 'connect', insert_mode => 'upsert', delete_enabled => true);
CREATE FUNCTION connect(payload text) RETURNS kafka_sink.record LANGUAGE sql AS $$
SELECT r('{"schema": {"type": "struct", "fields": [{"type": "int32", "field": "id"},
{"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}, "field": "amount"},
{"type": "int32", "name": "org.apache.kafka.connect.data.Date", "field": "day"},
{"type": "int64", "name": "org.apache.kafka.connect.data.Timestamp", "field": "at"},
{"type": "int32", "name": "org.apache.kafka.connect.data.Time", "field": "clock"},
{"type": "bytes", "field": "raw"},
{"type": "array", "items": {"type": "int32", "name": "org.apache.kafka.connect.data.Date"}, "field": "days"}]}, "payload": ' || payload || '}') $$;
SELECT try(connect('{"id": 1, "amount": "AN4=", "day": 20000, "at": 1700000000123, "clock": 3723004, "raw": "AP8=", "days": [0, null, -1]}'),
    connect('{"id": 2, "amount": "/4U=", "day": -719529, "at": -1, "clock": 0, "raw": "", "days": []}'),
    connect('{"id": 3, "amount": "AQAAAAAAAAAAAA==", "day": null}'));
SELECT * FROM c ORDER BY id;
SELECT try(connect('{"id": 4, "amount": "?"}')), try(connect('{"id": 4, "day": 1.5}')), try(connect('[]')), try(r('{"id": 4}'));
-- a decimal's scale that is told wrongly, or not at all
SELECT parameters, try(r('{"schema": {"type": "struct", "fields": [{"type": "int32", "field": "id"}, {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", '
    || parameters || '"field": "amount"}]}, "payload": {"id": 4, "amount": "AN4="}}'))
FROM unnest(ARRAY['', '"parameters": {}, ', '"parameters": {"scale": "two"}, ', '"parameters": {"scale": "2.5"}, ', '"parameters": {"scale": ""}, ']) parameters;
SELECT try(r(NULL, '{"schema": {"type": "int32"}, "payload": 1}'), r(NULL, '{"schema": null, "payload": {"id": 2}}'));
SELECT id FROM c;
SELECT kafka_sink.drop_sink('s');

-- envelope debezium
CREATE TABLE d (id int PRIMARY KEY, big text, n int);
SELECT kafka_sink.create_sink('s', target => 'd', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true);
CREATE FUNCTION change(op text, before text, after text, key text DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS $$
SELECT r(format('{"before": %s, "after": %s, "source": {"lsn": 1}, "op": "%s"}', coalesce(before, 'null'), coalesce(after, 'null'), op), key) $$;
SELECT try(change('r', NULL, '{"id": 1, "big": "one", "n": 1}'), change('c', NULL, '{"id": 2, "big": "two", "n": 1}'),
    change('u', NULL, '{"id": 1, "big": "__debezium_unavailable_value", "n": 2}'),
    change('u', NULL, '{"id": 1, "big": "__debezium_unavailable_value", "n": 3}'));
SELECT * FROM d ORDER BY id;
-- a change of the key, its tombstone, a delete by the key alone
SELECT try(change('d', '{"id": 1, "big": null, "n": null}', NULL), r(NULL, '{"id": 1}'), change('c', NULL, '{"id": 3, "big": "one", "n": 3}'),
    change('u', NULL, '{"id": 3, "big": "__debezium_unavailable_value", "n": 4}'), change('d', NULL, NULL, '{"id": 2}'), change('m', NULL, NULL));
SELECT * FROM d ORDER BY id;
-- whether update_if lets a change pass or not, what it lacks is in a row or nowhere
SELECT kafka_sink.alter_sink('s', update_if => 'd.n < excluded.n');
SELECT try(change('u', NULL, '{"id": 3, "big": "__debezium_unavailable_value", "n": 4}'), change('u', NULL, '{"id": 3, "big": "__debezium_unavailable_value", "n": 5}'),
    change('u', NULL, '{"id": 3, "big": "__debezium_unavailable_value", "n": 1}'));
SELECT try(change('u', NULL, '{"id": 3, "big": "__debezium_unavailable_value", "n": 6}'), change('u', NULL, '{"id": 9, "big": "__debezium_unavailable_value", "n": 6}')),
    try(change('d', '{"id": 3}', NULL), change('u', NULL, '{"id": 3, "big": "__debezium_unavailable_value", "n": 7}'));
SELECT * FROM d ORDER BY id;
SELECT kafka_sink.alter_sink('s', reset => '{update_if}');
SELECT try(change('u', NULL, '{"id": 9, "big": "__debezium_unavailable_value", "n": 4}')), try(change('t', NULL, NULL)),
    try(change('x', NULL, NULL)), try(change('c', NULL, NULL)), try(change('d', NULL, NULL)), try(r('{"id": 1}'));
-- truncations: what is before them goes, what is behind them stays
SELECT try(change('c', NULL, '{"id": 6, "n": 1}'), change('t', NULL, NULL), change('c', NULL, '{"id": 7, "n": 1}'), change('t', NULL, NULL),
    change('t', NULL, NULL), change('c', NULL, '{"id": 8, "n": 1}'), change('u', NULL, '{"id": 8, "n": 2}'));
SELECT * FROM d ORDER BY id;
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter');
SELECT try(change('c', NULL, '{"id": 9, "n": 1}'), change('t', NULL, NULL), change('c', NULL, '{"id": 10, "n": "x"}'), change('c', NULL, '{"id": 11, "n": 1}'));
SELECT * FROM d ORDER BY id;
SELECT kafka_sink.alter_sink('s', insert_mode => 'insert');
SELECT try(change('c', NULL, '{"id": 11, "n": 1}'), change('t', NULL, NULL), change('c', NULL, '{"id": 11, "n": 2}'), change('c', NULL, '{"id": 11, "n": 3}'));
SELECT * FROM d ORDER BY id;
SELECT sqlstate, message FROM kafka_sink.dead_letters ORDER BY id;
-- not where it has no place in the order, and not later
SELECT * FROM kafka_sink.ingest('s', ARRAY[ROW('d', 0, NULL, NULL, NULL, convert_to('{"op": "t"}', 'UTF8'), NULL),
    ROW('d', 1, NULL, NULL, NULL, convert_to('{"op": "c", "after": {"id": 12, "n": 1}}', 'UTF8'), NULL)]::kafka_sink.record[]);
SELECT applied, dead_lettered FROM kafka_sink.retry_dead_letters('s', 'value = ''{"op": "t"}''');
SELECT message FROM kafka_sink.dead_letters WHERE value = '{"op": "t"}';
SELECT kafka_sink.discard_dead_letters('s');
SELECT kafka_sink.alter_sink('s', on_error => 'stop', insert_mode => 'upsert', delete_enabled => false);
SELECT try(change('d', '{"id": 3}', NULL)), try(change('t', NULL, NULL));
SELECT kafka_sink.alter_sink('s', on_tombstone => 'ignore');
SELECT try(change('t', NULL, NULL));
SELECT kafka_sink.alter_sink('s', on_tombstone => 'error');
SELECT kafka_sink.alter_sink('s', insert_mode => 'insert');
SELECT try(change('u', NULL, '{"id": 9, "big": "__debezium_unavailable_value", "n": 4}'));
SELECT kafka_sink.alter_sink('s', format => 'csv');
SELECT kafka_sink.drop_sink('s');
SELECT kafka_sink.create_sink('s', envelope => 'debezium', command => 'SELECT 1');
-- more schemas than are kept, of keys and of values
CREATE TABLE dates (k date, id int PRIMARY KEY, d date);
SELECT kafka_sink.create_sink('schemas', target => 'dates', envelope => 'connect', columns => '{"k": "@key.k"}');
SELECT applied FROM kafka_sink.ingest('schemas', (SELECT array_agg(ROW('t', 0, NULL, NULL,
    convert_to(format('{"schema":{"type":"struct","version":%s,"fields":[{"type":"int32","name":"io.debezium.time.Date","field":"k"}]},"payload":{"k":%s}}', g % 40, g), 'UTF8'),
    convert_to(format('{"schema":{"type":"struct","version":%s,"fields":[{"type":"int32","field":"id"},{"type":%s,"field":"d"}]},"payload":{"id":%s,"d":%s}}', g / 100 % 4,
                      CASE g / 100 % 4 % 2 WHEN 0 THEN '"string"' ELSE '"int32","name":"io.debezium.time.Date"' END, g,
                      CASE g / 100 % 4 % 2 WHEN 0 THEN to_json(date '1970-01-01' + g)::text ELSE g::text END), 'UTF8'),
    NULL)::kafka_sink.record ORDER BY g) FROM generate_series(1, 2000) g));
SELECT count(*) FROM dates WHERE d = date '1970-01-01' + id AND k = d;
SELECT kafka_sink.drop_sink('schemas');
DROP TABLE dates;
DROP FUNCTION connect, change;
DROP TABLE c, d;
DROP TABLE t, pairs, raw_text, raw_bytes, raw_json, plain;
DROP TYPE pair;
DROP FUNCTION r, try;
DROP EXTENSION kafka_sink;
