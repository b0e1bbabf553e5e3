-- A value of each type of Avro in a column of each kind of type: the rows of the
-- reference's table, as Markdown.  test/t/074_types.pl compares them.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
CREATE TYPE mood AS ENUM ('ok', 'sad');
CREATE TYPE pair AS (a int, b text);
-- one value: what is stored, the record error, or a dash where the sink is refused
CREATE FUNCTION cell(schema text, val bytea, type text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE format('CREATE TABLE t (v %s)', type);
    BEGIN
        PERFORM kafka_sink.create_sink('s', target => 't', format => 'avro',
            value_schema => '{"type": "record", "name": "r", "fields": [{"name": "v", "type": ' || schema || '}]}');
    EXCEPTION WHEN datatype_mismatch THEN
        DROP TABLE t;
        RETURN '-';
    END;
    BEGIN
        PERFORM kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, val, NULL)::kafka_sink.record]);
        SELECT coalesce('`' || v::text || '`', 'NULL') INTO STRICT result FROM t;
    EXCEPTION WHEN OTHERS THEN
        result := SQLSTATE;
    END;
    PERFORM kafka_sink.drop_sink('s');
    DROP TABLE t;
    RETURN result;
END$$;
CREATE FUNCTION line(name text, schema text, val bytea) RETURNS text LANGUAGE sql AS $$
SELECT '| ' || name || ' |' || string_agg(' ' || cell(schema, val, type) || ' |', '' ORDER BY n)
  FROM unnest('{boolean,bigint,double precision,numeric,text,bytea,date,time,timestamp,timestamptz,interval,uuid,jsonb,int[],pair,mood}'::text[])
       WITH ORDINALITY AS t (type, n)$$;
-- cells of a value that differ from those of another one, which has a row of the table for both
CREATE FUNCTION differs(name text, schema text, val bytea, row_schema text, row_val bytea) RETURNS text LANGUAGE sql AS $$
SELECT name || coalesce(' differs: ' || string_agg(type || ' ' || cell, ', ' ORDER BY n) FILTER (WHERE cell IS DISTINCT FROM cell_of_row), ': the same')
  FROM (SELECT type, n, cell(schema, val, type) AS cell, cell(row_schema, row_val, type) AS cell_of_row
          FROM unnest('{boolean,bigint,double precision,numeric,text,bytea,date,time,timestamp,timestamptz,interval,uuid,jsonb,int[],pair,mood}'::text[])
               WITH ORDINALITY AS t (type, n)) c$$;
\pset format unaligned
\pset tuples_only on
SELECT line('`boolean`: true', '"boolean"', '\x01');
SELECT line('`int`, `long`: 1', '"long"', '\x02');
SELECT line('`float`: 0.1', '"float"', '\xcdcccc3d');
SELECT line('`double`: 2', '"double"', '\x0000000000000040');
SELECT line('`double`: NaN', '"double"', '\x000000000000f87f');
SELECT line('`string`: ok', '"string"', '\x046f6b');
SELECT line('`string`: 7', '"string"', '\x0237');
SELECT line('`string`: 2026-01-02', '"string"', '\x14323032362d30312d3032');
SELECT line('`bytes`: 6f 6b', '"bytes"', '\x046f6b');
SELECT line('`fixed`: 6f 6b', '{"type": "fixed", "name": "f", "size": 2}', '\x6f6b');
SELECT line('`enum`: ok', '{"type": "enum", "name": "e", "symbols": ["ok"]}', '\x00');
SELECT line('`null`', '"null"', '\x');
SELECT line('`["null", "long"]`: null', '["null", "long"]', '\x00');
SELECT line('`["null", "long"]`: 1', '["null", "long"]', '\x0202');
SELECT line('`["long", "string"]`: "ok"', '["long", "string"]', '\x02046f6b');
SELECT line('`array` of `int`: 1, 2', '{"type": "array", "items": "int"}', '\x04020400');
SELECT line('`map` of `int`: a 1', '{"type": "map", "values": "int"}', '\x0202610200');
SELECT line('`record`: a 1, b x', '{"type": "record", "name": "q", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "string"}]}', '\x020278');
SELECT line('`decimal`, scale 2: 7.00', '{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', '\x0402bc');
SELECT line('`date`', '{"type": "int", "logicalType": "date"}', '\xcebf02');
SELECT line('`time-millis`, `time-micros`', '{"type": "int", "logicalType": "time-millis"}', '\xd0d1c60a');
SELECT line('`timestamp-millis`, `-micros`, `-nanos`', '{"type": "long", "logicalType": "timestamp-millis"}', '\xd0ba8ddaef66');
SELECT line('`local-timestamp-millis`, `-micros`, `-nanos`', '{"type": "long", "logicalType": "local-timestamp-millis"}', '\xd0ba8ddaef66');
SELECT line('`uuid` (`string`)', '{"type": "string", "logicalType": "uuid"}', '\x4861306565626339392d396330622d346566382d626236642d366262396264333830613131');
SELECT line('`uuid` (`fixed`)', '{"type": "fixed", "name": "f", "size": 16, "logicalType": "uuid"}', '\xa0eebc999c0b4ef8bb6d6bb9bd380a11');
SELECT line('`duration`: 1 month, 2 days, 3 ms', '{"type": "fixed", "name": "f", "size": 12, "logicalType": "duration"}', '\x010000000200000003000000');
-- what rows are for, too: numbers are those of the type, in columns of numeric types
SELECT differs('int', '"int"', '\x02', '"long"', '\x02');
SELECT differs('int in a union', '["int", "null"]', '\x0002', '["null", "long"]', '\x0202');
SELECT differs('float: 2', '"float"', '\x00000040', '"double"', '\x0000000000000040');
SELECT differs('float: NaN', '"float"', '\x0000c07f', '"double"', '\x000000000000f87f');
SELECT differs('decimal (fixed)', '{"type": "fixed", "name": "f", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 2}', '\x000002bc', '{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}', '\x0402bc');
SELECT differs('time-micros', '{"type": "long", "logicalType": "time-micros"}', '\x80d9edb752', '{"type": "int", "logicalType": "time-millis"}', '\xd0d1c60a');
SELECT differs('timestamp-micros', '{"type": "long", "logicalType": "timestamp-micros"}', '\x808192f9d7d8a306', '{"type": "long", "logicalType": "timestamp-millis"}', '\xd0ba8ddaef66');
SELECT differs('timestamp-nanos', '{"type": "long", "logicalType": "timestamp-nanos"}', '\x80e8d7b48aefec8631', '{"type": "long", "logicalType": "timestamp-millis"}', '\xd0ba8ddaef66');
SELECT differs('local-timestamp-micros', '{"type": "long", "logicalType": "local-timestamp-micros"}', '\x808192f9d7d8a306', '{"type": "long", "logicalType": "local-timestamp-millis"}', '\xd0ba8ddaef66');
SELECT differs('local-timestamp-nanos', '{"type": "long", "logicalType": "local-timestamp-nanos"}', '\x80e8d7b48aefec8631', '{"type": "long", "logicalType": "local-timestamp-millis"}', '\xd0ba8ddaef66');
SELECT differs('array of long', '{"type": "array", "items": "long"}', '\x04020400', '{"type": "array", "items": "int"}', '\x04020400');
SELECT differs('map of long', '{"type": "map", "values": "long"}', '\x0202610200', '{"type": "map", "values": "int"}', '\x0202610200');
SELECT differs('["null", "string"]: "ok"', '["null", "string"]', '\x02046f6b', '"string"', '\x046f6b');
SELECT differs('unknown logical type', '{"type": "long", "logicalType": "none"}', '\x02', '"long"', '\x02');
DROP FUNCTION line(text, text, bytea);
DROP FUNCTION differs(text, text, bytea, text, bytea);
DROP FUNCTION cell(text, bytea, text);
DROP TYPE mood, pair;
DROP EXTENSION kafka_sink;
