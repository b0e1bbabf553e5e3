-- A value of each type of Protobuf in a column of each kind of type: the rows of the
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
DECLARE result text; text text;
BEGIN
    text := 'syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/wrappers.proto"; '
        'import "google/protobuf/struct.proto"; import "google/protobuf/any.proto"; import "google/protobuf/field_mask.proto"; '
        'import "google/type/date.proto"; import "google/type/timeofday.proto"; import "confluent/type/decimal.proto"; '
        'enum e { NONE = 0; ok = 1; } message q { int32 a = 1; string b = 2; } message m { ' || schema || ' v = 1; }';
    EXECUTE format('CREATE TABLE t (v %s)', type);
    BEGIN
        PERFORM kafka_sink.create_sink('s', target => 't', format => 'protobuf', message_type => 'm', value_schema => text);
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
SELECT line('`bool`: true', 'bool', '\x0801');
SELECT line('`int32`, `int64`, `sint32`, ...: 1', 'int64', '\x0801');
SELECT line('`uint64`, `fixed64`: 2^64 - 1', 'uint64', '\x08ffffffffffffffffff01');
SELECT line('`float`: 0.1', 'float', '\x0dcdcccc3d');
SELECT line('`double`: 2', 'double', '\x090000000000000040');
SELECT line('`double`: NaN', 'double', '\x09000000000000f87f');
SELECT line('`string`: ok', 'string', '\x0a026f6b');
SELECT line('`string`: 7', 'string', '\x0a0137');
SELECT line('`string`: 2026-01-02', 'string', '\x0a0a323032362d30312d3032');
SELECT line('`bytes`: 6f 6b', 'bytes', '\x0a026f6b');
SELECT line('`enum`: ok', 'e', '\x0801');
SELECT line('`enum`: a number without a name, 7', 'e', '\x0807');
SELECT line('`optional`: absent', 'optional int32', '\x');
SELECT line('`int32`: absent', 'int32', '\x');
SELECT line('`string`: absent', 'string', '\x');
SELECT line('`repeated int32`: 1, 2', 'repeated int32', '\x0a020102');
SELECT line('`repeated int32`: absent', 'repeated int32', '\x');
SELECT line('`map<string, int32>`: a 1', 'map<string, int32>', '\x0a050a01611001');
SELECT line('`message`: a 1, b x', 'q', '\x0a050801120178');
SELECT line('`message`: empty', 'q', '\x0a00');
SELECT line('`message`: absent', 'q', '\x');
SELECT line('`Timestamp`', 'google.protobuf.Timestamp', '\x0a0c08aaeaddca061080accfbc02');
SELECT line('`Duration`: 100000.5 s', 'google.protobuf.Duration', '\x0a0a08a08d061080cab5ee01');
SELECT line('`Int64Value`: 1', 'google.protobuf.Int64Value', '\x0a020801');
SELECT line('`StringValue`: ok', 'google.protobuf.StringValue', '\x0a040a026f6b');
SELECT line('`Struct`: a 1', 'google.protobuf.Struct', '\x0a100a0e0a0161120911000000000000f03f');
SELECT line('`Value`: a number, 1', 'google.protobuf.Value', '\x0a0911000000000000f03f');
SELECT line('`Value`: null', 'google.protobuf.Value', '\x0a020800');
SELECT line('`ListValue`: 1, 2', 'google.protobuf.ListValue', '\x0a160a0911000000000000f03f0a09110000000000000040');
SELECT line('`Any`: a message q, a 1', 'google.protobuf.Any', '\x0a1b0a15747970652e676f6f676c65617069732e636f6d2f7112020801');
SELECT line('`FieldMask`: a.b_c', 'google.protobuf.FieldMask', '\x0a070a05612e625f63');
SELECT line('`confluent.type.Decimal`, scale 2: 7.00', 'confluent.type.Decimal', '\x0a060a0202bc1802');
SELECT line('`google.type.Date`', 'google.type.Date', '\x0a0708ea0f10011802');
SELECT line('`google.type.TimeOfDay`', 'google.type.TimeOfDay', '\x0a0c0803100418182080accfbc02');
-- what rows are for, too
SELECT differs(t, t, val, 'int64', '\x0801') FROM (VALUES ('int32', '\x0801'::bytea), ('uint32', '\x0801'), ('sint32', '\x0802'), ('sint64', '\x0802'), ('fixed32', '\x0d01000000'), ('sfixed32', '\x0d01000000'), ('sfixed64', '\x090100000000000000')) v (t, val);
SELECT differs('uint64: 1', 'uint64', '\x0801', 'int64', '\x0801');
SELECT differs('fixed64', 'fixed64', '\x09ffffffffffffffff', 'uint64', '\x08ffffffffffffffffff01');
SELECT differs('float: 2', 'float', '\x0d00000040', 'double', '\x090000000000000040');
SELECT differs('float: NaN', 'float', '\x0d0000c07f', 'double', '\x09000000000000f87f');
SELECT differs('optional', 'optional int64', '\x0801', 'int64', '\x0801');
SELECT differs(t || ': absent', t, '', 'int32', '') FROM unnest('{int64,uint32,uint64,sint32,sint64,fixed32,fixed64,sfixed32,sfixed64}'::text[]) t;
SELECT differs(t || ': absent', t, '', 'int32', '') FROM unnest('{bool,float,double,e}'::text[]) t;
SELECT differs('bytes: absent', 'bytes', '', 'string', '');
SELECT differs('map: absent', 'map<string, int32>', '', 'repeated int32', '');
SELECT differs(t || ': absent', t, '', 'q', '') FROM unnest('{google.protobuf.Timestamp,google.protobuf.Struct,confluent.type.Decimal,google.protobuf.Int64Value}'::text[]) t;
SELECT differs('repeated int32, not packed', 'repeated int32', '\x08010802', 'repeated int32', '\x0a020102');
SELECT differs('repeated int64', 'repeated int64', '\x0a020102', 'repeated int32', '\x0a020102');
SELECT differs('map<string, int64>', 'map<string, int64>', '\x0a050a01611001', 'map<string, int32>', '\x0a050a01611001');
SELECT differs(t, 'google.protobuf.' || t, val, 'int64', '\x0801') FROM (VALUES ('Int32Value', '\x0a020801'::bytea), ('UInt32Value', '\x0a020801'), ('UInt64Value', '\x0a020801')) v (t, val);
SELECT differs('UInt64Value: 2^64 - 1', 'google.protobuf.UInt64Value', '\x0a0b08ffffffffffffffffff01', 'uint64', '\x08ffffffffffffffffff01');
SELECT differs('BoolValue', 'google.protobuf.BoolValue', '\x0a020801', 'bool', '\x0801');
SELECT differs('BytesValue', 'google.protobuf.BytesValue', '\x0a040a026f6b', 'bytes', '\x0a026f6b');
SELECT differs('FloatValue', 'google.protobuf.FloatValue', '\x0a050dcdcccc3d', 'float', '\x0dcdcccc3d');
SELECT differs('DoubleValue', 'google.protobuf.DoubleValue', '\x0a09090000000000000040', 'double', '\x090000000000000040');
SELECT differs('Int64Value: empty', 'google.protobuf.Int64Value', '\x0a00', 'int32', '');
DROP FUNCTION line(text, text, bytea);
DROP FUNCTION differs(text, text, bytea, text, bytea);
DROP FUNCTION cell(text, bytea, text);
DROP TYPE mood, pair;
DROP EXTENSION kafka_sink;
