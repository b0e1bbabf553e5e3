-- Protobuf: each type to each column that takes it, what is refused, messages, presence,
-- framings, keys, and definitions.  The bytes are made here, by hand.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET datestyle = 'ISO, YMD';
-- a number, one that may be negative, a field: of these, of 4 and 8 bytes, of bytes, a group
CREATE FUNCTION n(v numeric) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE z numeric := CASE WHEN v >= 0 THEN v ELSE v + 18446744073709551616 END; result bytea := '';
BEGIN
    LOOP
        result := result || set_byte('\x00', 0, (z % 128 + CASE WHEN z >= 128 THEN 128 ELSE 0 END)::int);
        z := div(z, 128);
        EXIT WHEN z = 0;
    END LOOP;
    RETURN result;
END$$;
CREATE FUNCTION z(v numeric) RETURNS numeric LANGUAGE sql AS $$SELECT CASE WHEN v >= 0 THEN 2 * v ELSE -2 * v - 1 END$$;
CREATE FUNCTION reversed(v bytea) RETURNS bytea LANGUAGE sql AS
$$SELECT string_agg(substr(v, i, 1), '' ORDER BY i DESC) FROM generate_series(1, length(v)) i$$;
CREATE FUNCTION i(field int, v numeric) RETURNS bytea LANGUAGE sql AS $$SELECT n(field::numeric * 8) || n(v)$$;
CREATE FUNCTION f4(field int, v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT n(field * 8 + 5) || reversed(v)$$;
CREATE FUNCTION f8(field int, v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT n(field * 8 + 1) || reversed(v)$$;
CREATE FUNCTION b(field int, v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT n(field * 8 + 2) || n(length(v)) || v$$;
CREATE FUNCTION s(field int, v text) RETURNS bytea LANGUAGE sql AS $$SELECT b(field, convert_to(v, 'UTF8'))$$;
CREATE FUNCTION g(field int, v bytea) RETURNS bytea LANGUAGE sql AS $$SELECT n(field * 8 + 3) || v || n(field * 8 + 4)$$;
CREATE FUNCTION r(value bytea, key bytea DEFAULT NULL, VARIADIC headers kafka_sink.header[] DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', NULL, NULL, NULL, key, value, headers)::kafka_sink.record$$;
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
-- one field of a type of the schema (with what else there is), one column of a type of the server
CREATE FUNCTION one(field text, type text, VARIADIC vals bytea[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; message text; schema text;
BEGIN
    schema := CASE WHEN field ~ '^(optional|required|repeated) ' AND field ~ 'proto2' THEN 'syntax = "proto2"; ' ELSE 'syntax = "proto3"; ' END
        || coalesce((SELECT string_agg(DISTINCT format('import "%s/%s.proto"; ', m[1],
               CASE WHEN m[2] ~ 'Value$' AND m[2] NOT IN ('Value', 'ListValue', 'NullValue') THEN 'wrappers' WHEN m[2] IN ('Value', 'ListValue', 'Struct', 'NullValue') THEN 'struct'
                    WHEN m[2] = 'FieldMask' THEN 'field_mask' ELSE lower(m[2]) END), '')
                     FROM regexp_matches(replace(field, '.', '/'), '\m((?:google/(?:protobuf|type))|(?:confluent/type))/(\w+)', 'g') m), '')
        || 'message m { ' || CASE WHEN field ~ ';' THEN field ELSE field || ' v = 1;' END || ' }';
    PERFORM kafka_sink.drop_sink('s') FROM kafka_sink.sinks WHERE sink = 's';
    DROP TABLE IF EXISTS one;
    EXECUTE format('CREATE TABLE one (i serial, v %s)', type);
    BEGIN
        PERFORM kafka_sink.create_sink('s', target => 'one', format => 'protobuf', value_schema => schema, columns => '{"i": null}');
    EXCEPTION WHEN OTHERS THEN
        RETURN SQLSTATE || ' ' || SQLERRM;
    END;
    FOR i IN 1 .. cardinality(vals) LOOP
        message := nullif(try(r(vals[i])), '(1,1,0,0,0,0,0,0)');
        result := nullif(concat_ws(E'\n', result, regexp_replace(message, ' \| sink "s", record 1, topic "t"(, column "v")?', '')), '');
    END LOOP;
    RETURN concat_ws(E'\n', (SELECT string_agg(coalesce(v::text, 'NULL'), '; ' ORDER BY i) FROM one), result);
END$$;

-- numbers
SELECT one('int32', 'int', i(1, 0), i(1, 1), i(1, -1), i(1, 2147483647), i(1, -2147483648), i(1, 4294967297), '', '\x08', '\x0880', '\x08808080808080808080808001');
SELECT unnest(ARRAY[one('int32', 'smallint', i(1, 32767), i(1, -32769)), one('int32', 'bigint', i(1, -5)), one('int32', 'real', i(1, 16777217)), one('int32', 'float8', i(1, -7)),
    one('int32', 'numeric', i(1, -7)), one('int32', 'numeric(8,2)', i(1, 7), i(1, 10000000)), one('int32', 'text', i(1, -7)), one('int32', 'varchar(2)', i(1, 123)), one('int32', 'jsonb', i(1, -7)),
    one('int32', 'boolean', i(1, 1), i(1, 0)), one('int32', 'oid', i(1, 5)), one('int32', 'money', i(1, 5))]) AS one;
SELECT unnest(ARRAY[one('int32', 'bytea', ''), one('int32', 'uuid', i(1, 1)), one('int32', 'date', ''), one('int32', 'int[]', ''), one('int32', 'interval', '')]) AS one;
SELECT one('int64', 'bigint', i(1, 9223372036854775807), i(1, -9223372036854775808), '\x08ffffffffffffffffff7f');
SELECT unnest(ARRAY[one('int64', 'int', i(1, 2147483648)), one('int64', 'numeric', i(1, -9223372036854775808)), one('int64', 'jsonb', i(1, 9223372036854775807)), one('int64', 'real', i(1, 1152921573326323713)),
    one('sint32', 'int', i(1, z(-2147483648)), i(1, z(2147483647))), one('sint64', 'bigint', i(1, z(-9223372036854775808)), i(1, z(-1))),
    one('sfixed32', 'int', f4(1, '\xfffffffe'), '\x0d000000'), one('sfixed64', 'bigint', f8(1, '\xfffffffffffffffe'))]) AS one;
SELECT unnest(ARRAY[one('uint32', 'int', i(1, 2147483647), i(1, 4294967295)), one('uint32', 'bigint', i(1, 4294967295), i(1, 4294967296)), one('fixed32', 'bigint', f4(1, '\xffffffff')),
    one('uint64', 'bigint', i(1, 9223372036854775807), i(1, 9223372036854775808), i(1, 18446744073709551615)), one('uint64', 'numeric', i(1, 18446744073709551615)),
    one('uint64', 'numeric(20,0)', i(1, 18446744073709551615)), one('uint64', 'float8', i(1, 18446744073709551615)), one('uint64', 'text', i(1, 18446744073709551615)),
    one('uint64', 'jsonb', i(1, 18446744073709551615)), one('fixed64', 'numeric', f8(1, '\xffffffffffffffff')), one('uint64', 'int', i(1, 18446744073709551615))]) AS one;
SELECT unnest(ARRAY[one('bool', 'boolean', i(1, 0), i(1, 1), i(1, 2), i(1, 18446744073709551615), ''), one('bool', 'text', i(1, 1), ''), one('bool', 'jsonb', i(1, 1)), one('bool', 'int', '')]) AS one;
SELECT unnest(ARRAY[one('float', 'real', f4(1, float4send(1.5)), f4(1, float4send(0.1)), f4(1, float4send('NaN')), f4(1, float4send('-Infinity'))), one('float', 'float8', f4(1, float4send(0.1))),
    one('float', 'numeric', f4(1, float4send(0.1)), f4(1, float4send('NaN'))), one('float', 'text', f4(1, float4send(0.1))), one('float', 'jsonb', f4(1, float4send(0.1)), f4(1, float4send('-Infinity'))),
    one('float', 'int', f4(1, float4send(2)), f4(1, float4send(1.5))), one('float', 'boolean', '')]) AS one;
SELECT unnest(ARRAY[one('double', 'float8', f8(1, float8send(0.1)), f8(1, float8send('NaN')), '', '\x0900'), one('double', 'real', f8(1, float8send(0.1)), f8(1, float8send(1e300)), f8(1, float8send(1e-300))),
    one('double', 'numeric(4,2)', f8(1, float8send(0.1)), f8(1, float8send(100000))), one('double', 'jsonb', f8(1, float8send(0.1)), f8(1, float8send('NaN'))), one('double', 'date', '')]) AS one;
-- whole numbers are integers, however many digits they have
SELECT unnest(ARRAY[one('float', 'int', f4(1, float4send(1000000))), one('double', 'smallint', f8(1, float8send(1e10))),
    one('double', 'bigint', f8(1, float8send(1e15)), f8(1, float8send(-9223372036854775808)), f8(1, float8send(1e19)))]) AS one;
-- in texts and JSON, too, as far as all of their digits are known
CREATE TYPE whole AS (x int, y bigint);
SELECT unnest(ARRAY[one('double', 'text', f8(1, float8send(1e15)), f8(1, float8send(-9007199254740991)), f8(1, float8send(9007199254740992)), f8(1, float8send(-0.0::float8))), one('float', 'text', f4(1, float4send(16777215)), f4(1, float4send(16777216))),
    one('google.protobuf.Value', 'jsonb', b(1, f8(2, float8send(1e15)))), one('m2 v = 1; message m2 { float x = 1; double y = 2; }', 'whole', b(1, f4(1, float4send(2000000)) || f8(2, float8send(3e15))))]) AS one;
SELECT kafka_sink.drop_sink('s');
DROP TABLE one;
DROP TYPE whole;

-- strings and bytes
SELECT one('string', 'text', s(1, ''), s(1, 'plain'), s(1, 'häßlich 🐘'), '', b(1, '\xff'), '\x0a05', '\x0affffffffffffffffff01', b(1, '\x6100'), '\x0a');
SELECT unnest(ARRAY[one('string', 'varchar(3)', s(1, 'abc'), s(1, 'abcd')), one('string', 'bytea', s(1, 'abc'), b(1, '\x6100ff')), one('string', 'jsonb', s(1, 'a"b\c' || E'\n\x01')),
    one('string', 'int', s(1, '12'), s(1, 'x'), ''), one('string', 'date', s(1, '2026-01-02')), one('string', 'uuid', s(1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')),
    one('string', 'int[]', s(1, '{1,2}')), one('string', 'inet', s(1, '::1'))]) AS one;
SELECT unnest(ARRAY[one('bytes', 'bytea', b(1, ''), b(1, '\x00ff'), ''), one('bytes', 'text', b(1, 'abc'), b(1, '\xff')), one('bytes', 'jsonb', b(1, '\x00ff')), one('bytes', 'int', ''), one('bytes', 'uuid', '')]) AS one;

-- enums: by their names, and by their numbers
CREATE TYPE mood AS ENUM ('sad', 'ok');
SELECT unnest(ARRAY[one('enum e { sad = 0; happy = 1; } e v = 1;', 'mood', i(1, 0), i(1, 1), '', i(1, 2)), one('enum e { sad = 0; happy = 1; } e v = 1;', 'text', i(1, 1), '', i(1, 7), i(1, -1)),
    one('enum e { sad = 0; happy = 1; } e v = 1;', 'int', i(1, 1), i(1, 7), ''), one('enum e { sad = 0; happy = 1; } e v = 1;', 'numeric', i(1, -1)), one('enum e { sad = 0; happy = 1; } e v = 1;', 'jsonb', i(1, 1), i(1, 7)),
    one('enum e { sad = 0; happy = 1; } e v = 1;', 'bytea', ''), one('enum e { sad = 0; happy = 1; } e v = 1;', 'date', ''), one('enum e { sad = 0; happy = 1; } repeated e v = 1;', 'mood[]', b(1, '\x0000'), i(1, 0) || i(1, 1)),
    one('enum e { option allow_alias = true; sad = 0; sorry = 0; } e v = 1;', 'text', i(1, 0))]) AS one;
-- what a closed one does not have is not there
SELECT unnest(ARRAY[one('optional e v = 1; enum e { sad = 1; ok = 2; } /* proto2 */', 'text', i(1, 2), i(1, 5), i(1, 1) || i(1, 5), ''), one('optional e v = 1; enum e { sad = 1; ok = 2; } /* proto2 */', 'int', i(1, 2), i(1, 5), i(1, 1) || i(1, 5), ''),
    one('repeated e v = 1; enum e { sad = 1; ok = 2; } /* proto2 */', 'text[]', i(1, 2) || i(1, 5) || i(1, 1), b(1, '\x020501')), one('optional x v = 1; message x { optional e e = 1; repeated e es = 2; } enum e { sad = 1; } /* proto2 */', 'jsonb', b(1, i(1, 5) || i(2, 1) || i(2, 5)), b(1, i(1, 1) || i(1, 5)))]) AS one;
-- an entry of a map that lacks its value has the enum's first, which need not be 0
SELECT one('optional int32 x = 2; map<string, e> v = 1; enum e { sad = 1; ok = 2; } /* proto2 */', 'jsonb', b(1, s(1, 'k')), b(1, s(1, 'k') || i(2, 2)), b(1, s(1, 'k') || i(2, 5)));

-- lists: packed and not, in turns
SELECT one('repeated int32', 'int[]', '', b(1, '\x010203'), i(1, 1) || i(1, 2), i(1, 1) || b(1, '\x0203') || i(1, 4) || b(1, ''), b(1, '\x0180'), i(1, 1) || '\x0a02');
SELECT unnest(ARRAY[one('repeated int32', 'jsonb', '', b(1, '\x0102')), one('repeated int32', 'text', b(1, '\x0102')), one('repeated int32', 'int', ''), one('repeated int32', 'text[]', b(1, '\x0102')), one('repeated int32', 'uuid[]', ''),
    one('repeated double', 'float8[]', b(1, reversed(float8send(1)) || reversed(float8send(-2))), b(1, '\x00')), one('repeated bool', 'boolean[]', b(1, '\x0100')),
    one('repeated string', 'text[]', s(1, 'a') || s(1, '') || s(1, 'c')), one('repeated string', 'jsonb', s(1, 'a"')), one('repeated bytes', 'bytea[]', b(1, '\x00') || b(1, '')), one('repeated bytes', 'int[]', ''),
    one('repeated google.protobuf.Timestamp', 'timestamptz[]', b(1, i(1, 60)) || b(1, ''))]) AS one;
-- what lies between does not matter
SELECT one('repeated int32 v = 1; int32 w = 2;', 'int[]', i(1, 1) || i(2, 9) || i(1, 2) || s(99, 'unknown') || b(1, '\x0304'));
-- maps
SELECT unnest(ARRAY[one('map<string, int32>', 'jsonb', '', b(1, s(1, 'b"') || i(2, 1)) || b(1, s(1, 'a') || i(2, 2)), b(1, s(1, 'a') || i(2, 1)) || b(1, s(1, 'a') || i(2, 2)), b(1, i(2, 3)), b(1, s(1, 'k')), b(1, ''),
        b(1, i(2, 1) || s(1, 'x') || i(2, 2) || s(1, 'y'))), one('map<int64, string>', 'jsonb', b(1, i(1, -5) || s(2, 'x'))), one('map<bool, bool>', 'jsonb', b(1, i(1, 1)) || b(1, i(2, 1))),
    one('map<string, x> v = 1; message x { int32 a = 1; }', 'jsonb', b(1, s(1, 'k') || b(2, i(1, 5))) || b(1, s(1, 'none')), b(1, s(1, 'k') || b(2, i(1, 5)) || b(2, ''))), one('map<string, int32>', 'text', b(1, s(1, 'a') || i(2, 1)),
        b(1, s(1, 'b') || i(2, 1)) || b(1, s(1, 'a') || i(2, 1)) || b(1, s(1, 'c') || i(2, 1)) || b(1, s(1, 'b') || i(2, 2)) || b(1, s(1, 'b') || i(2, 3))),
    one('map<string, int32>', 'int[]', ''), one('map<string, int32>', 'int', '')]) AS one;
CREATE TYPE pair AS (a int, b text, c date);
SELECT unnest(ARRAY[one('map<string, int32>', 'pair', b(1, s(1, 'a') || i(2, 1)))]) AS one;

-- messages: to composite types with what absent fields are read as, to JSON as they are
SELECT unnest(ARRAY[one('x v = 1; message x { int32 a = 1; string b = 2; optional string c = 3; int32 other = 4; }', 'pair', b(1, i(4, 1)), b(1, s(2, 'two') || s(3, '2026-01-02') || i(1, 5)), ''),
    one('x v = 1; message x { int32 a = 1; string b = 2; optional string c = 3; int32 other = 4; }', 'jsonb', b(1, i(4, 1)), b(1, s(2, 'two') || i(1, 5)), b(1, ''), ''),
    one('repeated x v = 1; message x { int32 a = 1; string b = 2; }', 'pair[]', b(1, i(1, 1)) || b(1, '')), one('x v = 1; message x { int32 a = 1; }', 'text', b(1, i(1, 1))), one('x v = 1; message x { int32 a = 1; }', 'int', '')]) AS one;
CREATE TYPE outside AS (p pair, ps pair[], j jsonb);
SELECT one('x v = 1; message x { y p = 1; repeated y ps = 2; y j = 3; } message y { int32 a = 1; string b = 2; }', 'outside', b(1, b(1, '') || b(2, i(1, 7)) || b(2, '') || b(3, '')), b(1, ''));
-- several times: merged, whatever lies between; the last single value counts
SELECT unnest(ARRAY[one('x v = 1; int32 w = 2; message x { int32 a = 1; repeated int32 l = 2; x x = 3; string s = 4; }', 'jsonb',
        b(1, i(1, 1) || b(2, '\x01') || b(3, i(1, 1) || s(4, 'old'))) || i(2, 1) || b(1, i(2, 2) || b(3, i(2, 9) || s(4, 'new'))), b(1, i(1, 1) || i(2, 1) || i(1, 2) || i(2, 2))),
    one('int32', 'int', i(1, 1) || i(1, 2)), one('string', 'text', s(1, 'a') || s(1, 'b')), one('google.protobuf.Timestamp', 'timestamptz', b(1, i(1, 60)) || b(1, i(2, 5000000)))]) AS one;
-- so are moments and decimals: what one of them is alone counts for nothing, nor in which order its parts are
SELECT one('google.protobuf.Timestamp', 'timestamptz', b(1, i(1, 253402300800)) || b(1, i(1, 60)), b(1, i(1, 60)) || b(1, i(1, 253402300800)),
    b(1, i(1, 60)) || i(9, 1) || b(1, i(2, 5000000)) || b(1, i(1, 61)), b(1, i(2, 5000000) || i(1, 60)), b(1, i(1, 7) || i(1, 60)), b(1, i(1, 60) || s(3, 'x')));
SELECT unnest(ARRAY[one('confluent.type.Decimal', 'numeric(6,2)', b(1, b(1, '\x0102') || i(2, 5) || i(3, 2)), b(1, b(1, '\x0102') || i(3, 2)), b(1, i(3, 2) || b(1, '\x0102')), b(1, b(1, '\x0102')) || b(1, i(3, 1)), b(1, i(3, 2)),
        b(1, b(1, '\x7fffffff') || i(3, 2)), b(1, b(1, '\x7fffffff') || i(3, 2)) || b(1, b(1, '\x01')), b(1, b(1, '\x00000000000000000102') || i(3, 2)), b(1, b(1, '\xfefd') || i(3, 2))),
    one('oneof o { confluent.type.Decimal v = 1; google.protobuf.Timestamp w = 2; }', 'numeric', b(1, b(1, '\x02')) || b(2, i(1, 60)), b(2, i(1, 60)) || b(1, b(1, '\x02')))]) AS one;
-- unknown fields, and those of another type, are not there; groups too
SELECT unnest(ARRAY[one('int32', 'int', i(2, 7) || f4(3, '\x00000000') || f8(4, '\x0000000000000000') || s(5, 'x') || g(6, i(1, 8) || g(7, '')) || i(1, 1)), one('int32', 'int', s(1, 'x')), one('string', 'text', i(1, 5)),
    one('int32', 'int', '\x0c'), one('int32', 'int', n(6 * 8 + 3) || n(7 * 8 + 4)), one('int32', 'int', n(6 * 8 + 3)), one('int32', 'int', '\x0e01'), one('int32', 'int', '\x0001'), one('int32', 'int', '\x8080808010'), one('int32', 'int', i(536870911, 1)),
    one('optional group G = 1 { optional int32 a = 1; } /* proto2 */', 'int', g(1, i(1, 5)))]) AS one;
SELECT kafka_sink.drop_sink('s') FROM kafka_sink.sinks WHERE sink = 's';
CREATE TABLE gr (g jsonb, a int);
SELECT kafka_sink.create_sink('s', target => 'gr', format => 'protobuf', columns => '{"a": "$.g.a"}', value_schema => 'message m { optional group G = 1 { optional int32 a = 1; repeated group H = 2 { optional string s = 3; } } }');
SELECT unnest(ARRAY[try(r(g(1, i(1, 5) || g(2, s(3, 'x')) || g(2, '')))), try(r(g(1, i(1, 1)) || g(1, i(1, 2)))), try(r('')), try(r(g(1, g(2, '') || n(16 + 4))))]) AS try;
TABLE gr;
SELECT kafka_sink.drop_sink('s');
DROP TABLE gr;
-- nested as deep as it goes
CREATE FUNCTION nested(depth int) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE result bytea := '';
BEGIN
    FOR i IN 1 .. depth LOOP result := b(1, result); END LOOP;
    RETURN result;
END$$;
SELECT unnest(ARRAY[length(one('m v = 1;', 'jsonb', nested(64)))::text, one('m v = 1;', 'jsonb', nested(65)), one('int32', 'int', decode(repeat('13', 64) || repeat('14', 64), 'hex')), one('int32', 'int', decode(repeat('13', 65) || repeat('14', 65), 'hex'))]) AS one;

-- presence: what is absent is the type's default, or not there: the column's default
SELECT kafka_sink.drop_sink('s');
CREATE TABLE p (i serial, a int DEFAULT -1, b int DEFAULT -1, c text DEFAULT 'none', d text DEFAULT 'none', m jsonb DEFAULT '"none"', l int[] DEFAULT '{9}', o int DEFAULT -1, q text DEFAULT 'none', nobody int DEFAULT -1);
SELECT kafka_sink.create_sink('s', target => 'p', format => 'protobuf', columns => '{"i": null}', value_schema => 'syntax = "proto3"; message m { int32 a = 1; optional int32 b = 2; string c = 3; optional string d = 4; m m = 5; repeated int32 l = 6; oneof one { int32 o = 7; string q = 8; } }');
SELECT try(r(''), r(i(2, 0) || s(4, '') || b(5, '') || i(7, 0)), r(i(1, 1) || s(3, 'c')));
-- the last one of a oneof
SELECT try(r(i(7, 1) || s(8, 'q')), r(s(8, 'q') || i(7, 1)), r(s(8, 'a') || i(7, 1) || s(8, 'b')));
TABLE p;
SELECT kafka_sink.drop_sink('s');
TRUNCATE p;
SELECT kafka_sink.create_sink('s', target => 'p', format => 'protobuf', columns => '{"i": null}', value_schema => 'message m { optional int32 a = 1 [default = 7]; required int32 b = 2; optional string c = 3 [default = "x\ty"]; optional string d = 4; repeated int32 l = 6 [packed = true]; }');
SELECT try(r(''), r(i(1, 0) || i(2, 0) || s(3, '') || s(4, '')));
SELECT a, b, c, d, l FROM p ORDER BY i;
SELECT kafka_sink.drop_sink('s');
-- a number that a closed enum does not have is not there: in a oneof, and in an entry of a map
CREATE TABLE closed (a int, b text, one text, v jsonb);
SELECT kafka_sink.create_sink('s', target => 'closed', format => 'protobuf', columns => '{"one": "$.c.k", "v": "@value"}',
    value_schema => 'syntax = "proto2"; message m { oneof o { int32 a = 1; e b = 2; } map<string, e> c = 3; enum e { x = 0; y = 1; } }');
SELECT try(r(i(1, 5) || i(2, 9)), r(i(2, 1) || i(1, 6) || i(2, 9)), r(i(1, 7) || i(2, 1)), r(i(2, 1) || i(2, 9)), r(b(3, s(1, 'k') || i(2, 1)) || b(3, s(1, 'k') || i(2, 9))),
    r(b(3, s(1, 'k') || i(2, 9)) || b(3, s(1, 'l') || i(2, 1))), r(b(3, s(1, 'k') || i(2, 9) || i(2, 1))));
TABLE closed;
SELECT kafka_sink.drop_sink('s');
-- update leaves alone what is absent, and writes what is read as 0
TRUNCATE p;
ALTER TABLE p ADD PRIMARY KEY (a);
INSERT INTO p (a, b, c) VALUES (1, 5, 'old');
SELECT kafka_sink.create_sink('s', target => 'p', format => 'protobuf', insert_mode => 'update', columns => '{"i": null}', value_schema => 'syntax = "proto3"; message m { int32 a = 1; optional int32 b = 2; string c = 3; }');
SELECT try(r(i(1, 1)));
SELECT a, b, c FROM p;
SELECT kafka_sink.drop_sink('s');
DROP TABLE p;
-- what one record has, the next one has not
CREATE TABLE seq (i serial, l int[], m jsonb, s text, x int, deep int, item text, o int, w jsonb);
SELECT kafka_sink.create_sink('s', target => 'seq', format => 'protobuf', columns => '{"i": null, "deep": "$.x.x", "item": "$.m.k", "w": "@value", "x": null}',
    value_schema => 'syntax = "proto3"; message a { repeated int32 l = 1; map<string, string> m = 2; string s = 3; y x = 4; oneof one { int32 o = 5; } message y { int32 x = 1; } }');
SELECT try(r(b(1, '\x0102') || b(2, s(1, 'k') || s(2, 'v')) || s(3, 's') || b(4, i(1, 5)) || i(5, 7)), r(''), r(i(1, 1) || b(2, s(1, 'k')) || i(1, 2)), r(b(4, '')), r(s(3, 'last')));
SELECT * FROM seq ORDER BY i;
SELECT kafka_sink.drop_sink('s');
DROP TABLE seq;
-- an entry of a map whose message stands there several times: they are one, by whatever path
CREATE TABLE entry (a int, b int, k jsonb, m jsonb);
SELECT kafka_sink.create_sink('s', target => 'entry', format => 'protobuf', columns => '{"a": "$.m.k.a", "b": "$.m.k.b", "k": "$.m.k"}',
    value_schema => 'syntax = "proto3"; message m { map<string, y> m = 1; message y { int32 a = 1; int32 b = 2; repeated int32 l = 3; } }');
SELECT try(r(b(1, s(1, 'k') || b(2, i(1, 5) || i(2, 1)) || b(2, i(2, 6)))), r(b(1, b(2, i(3, 1)) || s(1, 'k') || b(2, i(3, 2) || i(1, 7)) || i(9, 0) || b(2, ''))), r(b(1, s(1, 'k') || b(2, i(1, 5))) || b(1, s(1, 'k') || b(2, i(2, 6)))));
TABLE entry;
SELECT kafka_sink.drop_sink('s');
DROP TABLE entry;
-- a oneof of messages: what was there before is not merged
SELECT one('x v = 1; message x { oneof o { y a = 1; y b = 2; int32 c = 3; } } message y { int32 i = 1; int32 j = 2; }', 'jsonb',
    b(1, b(1, i(1, 1)) || b(2, i(1, 2)) || b(1, i(2, 3))), b(1, b(1, i(1, 1)) || b(1, i(2, 3))), b(1, b(1, i(1, 1)) || i(3, 0)), b(1, b(1, i(1, 1))) || b(1, b(2, i(1, 1))));

-- messages that are one value
SELECT one('google.protobuf.Timestamp', 'timestamptz', b(1, i(1, 1767323045) || i(2, 678901234)), b(1, ''), '', b(1, i(1, -62135596800)), b(1, i(1, 253402300799) || i(2, 999999999)), b(1, i(1, 253402300800)), b(1, i(1, -62135596801)), b(1, i(2, -1)), b(1, i(2, 1000000000)), b(1, '\x08'));
SELECT unnest(ARRAY[one('google.protobuf.Timestamp', 'timestamp', b(1, i(1, 1767323045))), one('google.protobuf.Timestamp', 'date', b(1, i(1, 1767323045))), one('google.protobuf.Timestamp', 'timestamptz(0)', b(1, i(1, 1767323045) || i(2, 500000000))),
    one('google.protobuf.Timestamp', 'text', b(1, i(1, 1767323045) || i(2, 678901234)), b(1, i(1, -1) || i(2, 5000000))), one('google.protobuf.Timestamp', 'jsonb', b(1, i(1, -62135596800))), one('google.protobuf.Timestamp', 'bigint', ''), one('google.protobuf.Timestamp', 'time', '')]) AS one;
SELECT unnest(ARRAY[one('google.protobuf.Duration', 'interval', b(1, i(1, 100000) || i(2, 1500)), b(1, i(1, -5) || i(2, -500000000)), b(1, ''), '', b(1, i(1, 315576000001)), b(1, i(1, 1) || i(2, -1)), b(1, i(1, 315576000000))),
    one('google.protobuf.Duration', 'interval(0)', b(1, i(1, -90000) || i(2, -600000000))), one('google.protobuf.Duration', 'text', b(1, i(1, -90000) || i(2, -600000000)), b(1, i(2, 1000))), one('google.protobuf.Duration', 'jsonb', b(1, i(1, 3))), one('google.protobuf.Duration', 'int', '')]) AS one;
SELECT unnest(ARRAY[one('google.protobuf.Int64Value', 'bigint', b(1, i(1, 5)), b(1, ''), ''), one('google.protobuf.StringValue', 'text', b(1, s(1, 'x')), b(1, ''), ''), one('google.protobuf.BoolValue', 'boolean', b(1, i(1, 1)), b(1, '')),
    one('google.protobuf.DoubleValue', 'numeric', b(1, f8(1, float8send(0.5)))), one('google.protobuf.BytesValue', 'bytea', b(1, b(1, '\x01'))), one('google.protobuf.UInt64Value', 'jsonb', b(1, i(1, 18446744073709551615)), b(1, ''), ''),
    one('google.protobuf.Int64Value', 'uuid', ''), one('google.protobuf.Int64Value', 'date', ''), one('repeated google.protobuf.StringValue', 'text[]', b(1, s(1, 'x')) || b(1, ''))]) AS one;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN given AS text NOT NULL;
SELECT unnest(ARRAY[one('int64', 'positive', i(1, 1), i(1, -1), ''), one('optional string', 'given', s(1, ''), ''), one('repeated int32', 'positive[]', b(1, '\x01'), b(1, '\x00')), one('google.protobuf.Int64Value', 'positive', b(1, i(1, 1)), b(1, ''))]) AS one;
SELECT unnest(ARRAY[
    one('google.protobuf.Struct', 'jsonb', b(1, b(1, s(1, 'a') || b(2, f8(2, float8send(1.5)))) || b(1, s(1, 'b') || b(2, b(6, b(1, s(3, 'x')) || b(1, i(1, 0)) || b(1, i(4, 1)))))), b(1, ''), b(1, b(1, s(1, 'n'))), ''),
    one('google.protobuf.Value', 'jsonb', b(1, s(3, 'x')), b(1, b(5, b(1, s(1, 'k') || b(2, i(4, 0))))), b(1, i(1, 0)), b(1, ''), b(1, f8(2, float8send('NaN'))), b(1, f8(2, float8send(5)) || s(3, 'last'))),
    one('google.protobuf.ListValue', 'jsonb', b(1, b(1, f8(2, float8send(1))) || b(1, s(3, 'two'))), b(1, '')), one('google.protobuf.ListValue', 'text[]', b(1, b(1, f8(2, float8send(1))) || b(1, s(3, 'two')) || b(1, i(1, 0)))),
    one('google.protobuf.NullValue', 'jsonb', i(1, 0), ''), one('google.protobuf.Struct', 'int', ''), one('google.protobuf.Empty', 'jsonb', b(1, ''), ''),
    one('google.protobuf.FieldMask', 'text', b(1, s(1, 'a.b_c') || s(1, 'd')), b(1, ''), b(1, s(1, 'aB'))), one('google.protobuf.FieldMask', 'jsonb', b(1, s(1, 'a_b'))), one('google.protobuf.FieldMask', 'int', '')]) AS one;
SELECT unnest(ARRAY[
    one('google.protobuf.Any v = 1; message x { int32 a = 1; google.protobuf.Timestamp t = 2; }', 'jsonb', b(1, s(1, 'type.googleapis.com/m.x') || b(2, i(1, 5))), b(1, s(1, 'type.googleapis.com/google.protobuf.Timestamp') || b(2, i(1, 60))),
        b(1, s(1, 'type.googleapis.com/nobody.knows') || b(2, '\x0801')), b(1, s(1, 'm.x') || b(2, i(1, 5))), b(1, ''), b(1, s(1, 't/m.x') || b(2, '\x08')))]) AS one;
SELECT unnest(ARRAY[one('confluent.type.Decimal', 'numeric', b(1, b(1, '\x7b') || i(2, 5) || i(3, 2)), b(1, b(1, '\xff85') || i(3, 1)), b(1, ''), '', b(1, b(1, '\x7fffffffffffffffffffffffffffffff') || i(3, 3)), b(1, b(1, '\x7b') || i(3, -2)), b(1, b(1, '\x7b') || i(3, 2000000))),
    one('confluent.type.Decimal', 'numeric(6,1)', b(1, b(1, '\x7b') || i(3, 2))), one('confluent.type.Decimal', 'int', b(1, b(1, '\x7b'))), one('confluent.type.Decimal', 'float8', b(1, b(1, '\x7b') || i(3, 2))), one('confluent.type.Decimal', 'text', b(1, b(1, '\x7b') || i(3, 2))),
    one('confluent.type.Decimal', 'jsonb', b(1, b(1, '\x7b') || i(3, 2))), one('confluent.type.Decimal', 'date', ''),
    one('google.type.Date', 'date', b(1, i(1, 2024) || i(2, 2) || i(3, 29)), b(1, i(1, 2023) || i(2, 2) || i(3, 29)), b(1, '')), one('google.type.Date', 'timestamptz', b(1, i(1, 2024) || i(2, 2) || i(3, 29))), one('google.type.Date', 'jsonb', b(1, i(1, 2024) || i(2, 2) || i(3, 29))), one('google.type.Date', 'int', ''),
    one('google.type.TimeOfDay', 'time', b(1, i(1, 23) || i(2, 59) || i(3, 1) || i(4, 5000)), b(1, ''), b(1, i(1, 25)), b(1, i(1, 24)), b(1, i(1, 24) || i(2, 1))), one('google.type.TimeOfDay', 'jsonb', b(1, i(1, 23) || i(4, 5000000))), one('google.type.TimeOfDay', 'date', '')]) AS one;

-- on_nul, on_nonfinite, units
SELECT kafka_sink.drop_sink('s') FROM kafka_sink.sinks WHERE sink = 's';
CREATE TABLE t (id int, v text, x float8, at timestamptz, j jsonb);
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', on_nul => 'strip', on_nonfinite => 'error', columns => '{"at": {"source": "at", "unit": "seconds"}}',
    value_schema => 'syntax = "proto3"; message m { string v = 1; double x = 2; optional int64 at = 3; int32 id = 4; inner j = 5; message inner { string s = 1; } }');
SELECT unnest(ARRAY[try(r(b(1, '\x610062') || i(3, 60) || i(4, 1) || b(5, b(1, '\x610062')))), try(r(f8(2, float8send('NaN')))), try(r(i(4, 2)))]) AS try;
TABLE t;

-- fields and columns: paths, what is left, the whole
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
CREATE TABLE t (id bigint PRIMARY KEY, name text, at timestamptz DEFAULT '2000-01-01', city text DEFAULT 'nowhere', zip text DEFAULT 'none', color text, second int, deep text, sub text, any_a text, extra int DEFAULT 7, rest jsonb, whole jsonb, raw bytea, type text);
SELECT kafka_sink.create_sink('s', target => 't', format => 'protobuf', insert_mode => 'upsert', message_type => 'a.b.Person',
    columns => '{"city": "$.address.city", "zip": "$.address.zip", "color": "$.attributes.color", "second": "$.numbers[1]", "deep": "$.addresses.home.zip", "sub": "$.free.a.b[1]", "any_a": "$.list[0].city", "rest": "@rest", "whole": "@value", "raw": "@value", "type": "@schema"}',
    value_schema => $$syntax = "proto3"; package a.b;
        import "google/protobuf/struct.proto"; import "google/protobuf/timestamp.proto";
        message Address { string zip = 1; optional string city = 2; Address before = 3; }
        message Person {
            repeated string skipped = 16;
            string name = 2;
            Address address = 3;
            map<string, string> attributes = 4;
            repeated int32 numbers = 5;
            int64 id = 1;
            google.protobuf.Timestamp at = 300;
            map<string, Address> addresses = 7;
            google.protobuf.Struct free = 8;
            repeated Address list = 9;
            bytes blob = 10;
        }$$);
SELECT try(r(i(1, 1) || s(2, 'Ann') || b(3, s(1, '123') || s(2, 'Ulm') || b(3, s(1, '0'))) || b(4, s(1, 'size') || s(2, 'XL')) || b(4, s(1, 'color') || s(2, 'red')) || b(5, '\x010203')
    || b(300, i(1, 1767323045)) || b(7, s(1, 'home') || b(2, s(1, '77'))) || b(8, b(1, s(1, 'a') || b(2, b(5, b(1, s(1, 'b') || b(2, b(6, b(1, i(4, 1)) || b(1, s(3, 'found'))))))))) || b(9, s(2, 'first')) || b(9, '') || s(16, 'x') || b(10, '\x00ff') || i(999, 1)));
SELECT try(r(i(1, 2)), r(i(1, 3) || b(3, '') || b(7, s(1, 'home')) || b(9, '')));
SELECT try(r(i(1, 4) || b(3, s(1, 'a')) || b(4, s(1, 'color') || s(2, 'blue')) || s(2, 'Dan') || b(4, s(1, 'color') || s(2, 'green')) || i(5, 1) || b(3, s(2, 'b')) || i(5, 2)));
SELECT id, name, at, city, zip, color, second, deep, sub, any_a, extra FROM t ORDER BY id;
SELECT id, rest, whole FROM t ORDER BY id;
SELECT encode(raw, 'hex'), type FROM t WHERE id = 2;
SELECT kafka_sink.alter_sink('s', strict => true);
SELECT kafka_sink.alter_sink('s', columns => '{"name": "name", "city": null, "zip": null}', strict => true);
SELECT kafka_sink.alter_sink('s', columns => '{"name": "address"}', reset => '{strict}');
SELECT try(r(i(1, 5) || b(3, s(1, '1'))));
SELECT name FROM t WHERE id = 5;
SELECT kafka_sink.alter_sink('s', message_type => 'a.b.Address');
SELECT kafka_sink.alter_sink('s', message_type => 'Person');
SELECT kafka_sink.alter_sink('s', reset => '{message_type}');
-- a filter, by the type too; a command
SELECT kafka_sink.alter_sink('s', columns => '{"type": "@schema"}', filter => $$type = 'a.b.Person' AND id > 5$$);
SELECT try(r(i(1, 5)), r(i(1, 6)));
SELECT kafka_sink.drop_sink('s');
CREATE TABLE v (v text);
SELECT kafka_sink.create_sink('s', format => 'protobuf', command => 'INSERT INTO public.v SELECT value FROM batch', value_schema => 'syntax = "proto3"; message m { int32 a = 1; string b = 2; }');
SELECT try(r(i(1, 1) || s(2, 'x')), r(''));
SELECT kafka_sink.alter_sink('s', command => 'INSERT INTO public.v SELECT a + 1 FROM batch', value_type => 'pair');
SELECT try(r(i(1, 1) || s(2, 'x')), r(''));
TABLE v;
SELECT kafka_sink.drop_sink('s');

-- keys: 0 is one, too
CREATE TABLE k (id int, part text, v text, key jsonb, PRIMARY KEY (id, part));
SELECT kafka_sink.create_sink('s', target => 'k', format => 'protobuf', key_format => 'protobuf', insert_mode => 'upsert', delete_enabled => true,
    columns => '{"id": "@key.id", "part": "@key.part", "key": "@key"}', value_schema => 'syntax = "proto3"; message m { string v = 1; }', key_schema => 'syntax = "proto3"; message k { string part = 1; int32 id = 2; optional int32 none = 3; }');
SELECT try(r(s(1, 'one'), s(1, 'p') || i(2, 1)), r('', ''), r(s(1, 'three'), i(2, 3)));
SELECT unnest(ARRAY[try(r('', '\x08')), try(r('', '\x0a0561'))]) AS try;
TABLE k;
SELECT try(r(NULL, ''), r(NULL, s(1, 'p') || i(2, 1)));
SELECT id FROM k;
SELECT kafka_sink.drop_sink('s');
CREATE TABLE kb (k bytea, v int);
SELECT kafka_sink.create_sink('s', target => 'kb', format => 'protobuf', key_format => 'protobuf', columns => '{"k": "@key"}', key_schema => 'syntax = "proto3"; message k { int64 k = 1; }', value_schema => 'syntax = "proto3"; message m { int32 v = 1; }');
SELECT try(r(i(1, 1), i(1, 300)));
TABLE kb;
SELECT kafka_sink.drop_sink('s');
-- values in another format
SELECT kafka_sink.create_sink('s', target => 'kb', key_format => 'protobuf', columns => '{"k": null, "v": "@key.k"}', key_schema => 'syntax = "proto3"; message k { int64 k = 1; }');
SELECT try(r('{}', i(1, 77)));
SELECT v FROM kb;
SELECT kafka_sink.drop_sink('s');
-- a key that is none leaves nothing behind for the values of others
CREATE TABLE kept (id int, v jsonb);
SELECT kafka_sink.create_sink('s', target => 'kept', format => 'protobuf', key_format => 'protobuf', on_error => 'ignore', columns => '{"id": "@key.id", "v": "@value"}',
    value_schema => 'syntax = "proto3"; message m { int32 a = 1; string b = 2; }', key_schema => 'syntax = "proto3"; message k { int32 id = 1; }');
SELECT try(r(i(1, 5), '\xff'), r(i(1, 6), i(1, 1)), r(i(1, 7), ''));
TABLE kept;
SELECT kafka_sink.drop_sink('s');

-- schemas of a registry, whose messages records name
CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1', schema_registry_url 'http://127.0.0.1:1');
CREATE FUNCTION fetched(id int, schema text, type text DEFAULT 'PROTOBUF', refs jsonb DEFAULT '[]', guid uuid DEFAULT NULL) RETURNS void LANGUAGE sql AS
$$INSERT INTO kafka_sink.schemas (server, registry, id, guid, type, schema, refs) VALUES ('reg', 'http://127.0.0.1:1', id, guid, type, schema, refs)$$;
CREATE FUNCTION h(name text, value bytea) RETURNS kafka_sink.header LANGUAGE sql AS $$SELECT ROW(name, value)::kafka_sink.header$$;
CREATE FUNCTION id(id int) RETURNS bytea LANGUAGE sql AS $$SELECT '\x00' || int4send(id)$$;
CREATE TABLE f (v int, w text DEFAULT 'none', id bigint, type text);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'f', format => 'protobuf', enabled => false, columns => '{"id": "@schema_id", "type": "@schema"}');
SELECT try(r(id(1) || '\x00'));
SELECT fetched(1, 'syntax = "proto3"; package p; message first { int32 v = 1; message inner { message innermost { int32 v = 3; } int32 v = 2; } map<string, int32> m = 9; message other { string w = 1; } } enum e { z = 0; } message second { string w = 1; int32 v = 2; }'),
    fetched(2, 'syntax = "proto3"; message none { int32 x = 1; } message some { int32 v = 1; bytes w = 2; } message bad { repeated int32 v = 1; }');
SELECT try(r(id(1) || '\x00' || i(1, 1)), r(id(1) || '\x0200' || i(1, 2)), r(id(1) || '\x0202' || s(1, 'x') || i(2, 3)), r(id(1) || '\x040000' || i(2, 4)), r(id(1) || '\x06000000' || i(3, 5)), r(id(1) || '\x040002' || s(1, 'y')), r(id(1) || '\x00'), r(id(2) || '\x0202' || i(1, 8)));
TABLE f;
-- indexes that are none
SELECT left(i::text, 24) AS i, left(try(r(id(1) || i)), 100) AS try FROM unnest(ARRAY['\x'::bytea, '\x02', '\x0280', '\x80', '\x01', '\x0201', '\x0204', '\x040006', '\x0400', '\x8201' || decode(repeat('00', 65), 'hex'), '\x8001' || decode(repeat('00', 64), 'hex'),
    '\xfeffffff0f', '\xffffffffffffffffff01', '\xfeffffffffffffffff01', '\x02feffffffffff7f', '\x8080808080808080808000']) i;
SELECT unnest(ARRAY[try(r('\x0100000001')), try(r('\x000001')), try(r(''))]) AS try;
-- a message that does not fit is an error of its records alone, each time
SELECT unnest(ARRAY[try(r(id(2) || '\x00')), try(r(id(2) || '\x0204')), try(r(id(2) || '\x0204')), try(r(id(2) || '\x0202' || i(1, 9)))]) AS try;
-- unless a filter keeps them: then they are other sinks' affair
SELECT kafka_sink.alter_sink('s', filter => $$type = 'some'$$);
SELECT try(r(id(2) || '\x00'), r(id(2) || '\x0204'), r(id(2) || '\x0202' || i(1, 10)), r(id(1) || '\x00' || i(1, 10)));
SELECT fetched(3, 'syntax = "proto3"; message named { string v = 1; bytes w = 2; }');
SELECT try(r(id(3) || '\x00' || s(1, 'x')), r(id(3) || '\x00' || s(1, '7') || b(2, '\xff')), r(id(2) || '\x0202' || i(1, 8)));
SELECT kafka_sink.alter_sink('s', filter => $$type IN ('some', 'bad')$$);
SELECT unnest(ARRAY[try(r(id(2) || '\x00')), try(r(id(2) || '\x0204')), try(r(id(2) || '\x0204'))]) AS try;
SELECT kafka_sink.alter_sink('s', reset => '{filter}');
CREATE TABLE fs (n serial, v int, type text NOT NULL DEFAULT clock_timestamp()::text);
SELECT kafka_sink.create_sink('s2', server => 'reg', target => 'fs', format => 'protobuf', enabled => false, columns => '{"n": null, "type": "@schema"}', filter => $$type <> 'bad'$$, insert_mode => 'insert');
SELECT kafka_sink.ingest('s2', ARRAY[r(id(2) || '\x0202' || i(1, 1)), r(id(2) || '\x0204'), r(id(2) || '\x0202' || i(1, 2))]);
SELECT kafka_sink.ingest('s2', ARRAY[r(id(2) || '\x00')]);
SELECT v, type FROM fs ORDER BY n;
SELECT kafka_sink.drop_sink('s2');
DROP TABLE fs;
-- in a header
SELECT unnest(ARRAY[try(r(s(1, 'x') || i(2, 11), NULL, h('__value_schema_id', id(1) || '\x0202'))), try(r(i(1, 12), NULL, h('__value_schema_id', id(1) || '\x00'))), try(r('', NULL, h('__value_schema_id', id(1)))),
    try(r('', NULL, h('__value_schema_id', id(1) || '\x02'))), try(r('', NULL, h('__value_schema_id', id(1) || '\x0000'))), try(r('', NULL, h('__value_schema_id', '\x02')))]) AS try;
SELECT fetched(NULL, 'syntax = "proto3"; message g { int32 v = 1; }', guid => 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT try(r(i(1, 13), NULL, h('__value_schema_id', '\x01a0eebc999c0b4ef8bb6d6bb9bd380a1100')), r('\x01a0eebc999c0b4ef8bb6d6bb9bd380a11020028'::bytea || '\x0e'));
SELECT v, w, id, type FROM f WHERE v > 8 ORDER BY v;
-- what it imports, by the names that it does
SELECT fetched(20, 'syntax = "proto3"; import "common/money.proto"; import public "x.proto"; message bill { shop.money v = 1; x.leaf w = 2; }', refs => jsonb_build_array(
    jsonb_build_object('name', 'x.proto', 'subject', 'leaf', 'version', '1', 'schema', 'syntax = "proto3"; package x; message leaf { string s = 1; }'),
    jsonb_build_object('name', 'common/money.proto', 'subject', 'money', 'version', '3', 'schema', 'syntax = "proto3"; package shop; import "x.proto"; message money { int64 cents = 1; x.leaf leaf = 2; }')));
SELECT fetched(21, 'syntax = "proto3"; import "common/money.proto"; message bill { shop.money v = 1; }'), fetched(22, 'syntax = "proto3"; message', 'PROTOBUF'), fetched(23, '"int"', 'AVRO');
ALTER TABLE f ALTER v TYPE jsonb USING to_jsonb(v);
SELECT unnest(ARRAY[try(r(id(20) || '\x00' || b(1, i(1, 5) || b(2, s(1, 'x'))) || b(2, s(1, 'y')))), try(r(id(21) || '\x00')), try(r(id(22) || '\x00')), try(r(id(22) || '\x00')), try(r(id(23) || '\x00'))]) AS try;
SELECT * FROM f WHERE id = 20;
-- a schema as protoc has it, which some serializers register
SELECT fetched(24, 'CghkMy5wcm90bxIDZC5lGh9nb29nbGUvcHJvdG9idWYvdGltZXN0YW1wLnByb3RvIvIDCgVmaXJzdBIMCgF2GAEgASgFUgF2EhEKAXcYAiABKAlIAVIBd4gBARIOCgFhGAMgASgDSABSAWESGgoBYhgEIAEoCzIKLmQuZS5maXJzdEgAUgFiEh8KAW0YBiADKAsyES5kLmUuZmlyc3QuTUVudHJ5UgFtEh0KAmtzGAcgAygOMgkuZC5lLmtpbmRCAhAAUgJrcxIoCgF0GAggASgLMhouZ29vZ2xlLnByb3RvYnVmLlRpbWVzdGFtcFIBdBIeCgFpGAkgASgLMhAuZC5lLmZpcnN0LmlubmVyUgFpEiIKAm1rGAogAygLMhIuZC5lLmZpcnN0Lk1rRW50cnlSAm1rGkEKBk1FbnRyeRIQCgNrZXkYASABKAlSA2tleRIhCgV2YWx1ZRgCIAEoCzILLmQuZS5zZWNvbmRSBXZhbHVlOgI4ARpUCgVpbm5lchIXCgFrGAEgASgOMgkuZC5lLmtpbmRSAWsSIwoBZBgCIAEoDjIVLmQuZS5maXJzdC5pbm5lci5kZWVwUgFkIg0KBGRlZXASBQoBWhAAGkAKB01rRW50cnkSEAoDa2V5GAEgASgFUgNrZXkSHwoFdmFsdWUYAiABKA4yCS5kLmUua2luZFIFdmFsdWU6AjgBOgIYAUIDCgFvQgQKAl93SgQIBRAGIhYKBnNlY29uZBIMCgF3GAEgASgJUgF3Kj0KBGtpbmQSCAoETk9ORRAAEggKBFNPTUUQARIJCgVPVEhFUhABEhIKBU1JTlVTEP///////////wEaAhABMiEKAXMSHAoBchIKLmQuZS5maXJzdBoLLmQuZS5zZWNvbmRiBnByb3RvMw=='),
    fetched(25, 'CghkMi5wcm90byKkAgoBYRIMCgF2GAEgAigFUgF2EhMKAXcYAiABKAk6BXgiCnkAUgF3EhcKAmJ5GAMgASgMOgdcMDAxXCJ6UgJieRITCgFrGAQgASgOMgIuZToBQlIBaxISCgFnGAUgASgKMgQuYS5HUgFnEhIKAWgYBiADKAoyBC5hLkhSAWgSDgoBbxgHIAEoBUgAUgFvEhQKAWkYCCABKAoyBC5hLklIAFIBaRoWCgZiZWZvcmUSDAoBcRgBIAEoBVIBcRoRCgFHEgwKAWcYASABKAVSAWcaGwoFYWZ0ZXISEgoBZBgBIAEoAToELWluZlIBZBoXCgFIEhIKAWgYASABKAg6BHRydWVSAWgaEQoBSRIMCgFpGAEgASgCUgFpKgUIZBDJAUIFCgNvbmUqEQoBZRIFCgFBEAESBQoBQhACOhQKA2V4dBICLmEYZCABKAVSA2V4dA=='), fetched(26, 'bm9uc2Vuc2Ugbm9uc2Vuc2UgIQ==');
SELECT kafka_sink.decode('reg', id(24) || '\x00' || i(1, 5) || s(2, 'w') || b(4, i(1, 6)) || b(6, s(1, 'k') || b(2, s(1, 'v'))) || b(7, '\x0100') || b(8, i(1, 60)) || b(9, i(1, 1)) || b(10, i(1, 2) || i(2, -1))),
    kafka_sink.decode('reg', id(24) || '\x040002'::bytea || i(1, -1)), kafka_sink.decode('reg', id(24) || '\x0202'::bytea || s(1, 'second'));
SELECT kafka_sink.decode('reg', id(25) || '\x00' || g(5, i(1, 5)) || g(6, i(1, 1)) || g(8, f4(1, float4send(0.5))) || i(100, 1)), kafka_sink.decode('reg', id(25) || '\x040004'::bytea || f8(1, float8send(2)));
SELECT kafka_sink.decode('reg', id(26) || '\x00');
SELECT try(r(id(24) || '\x00' || i(1, 5))), try(r(id(26) || '\x00'));
-- of two versions of a text, by one name, the one that is met first
SELECT fetched(27, 'syntax = "proto3"; import "c.proto"; import "o.proto"; message both { c v = 1; o w = 2; }', refs => jsonb_build_array(
    jsonb_build_object('name', 'c.proto', 'subject', 'c', 'version', '2', 'schema', 'syntax = "proto3"; message c { int32 a = 1; int32 b = 2; }'),
    jsonb_build_object('name', 'c.proto', 'subject', 'c', 'version', '1', 'schema', 'syntax = "proto3"; message c { int32 a = 1; }'),
    jsonb_build_object('name', 'o.proto', 'subject', 'o', 'version', '1', 'schema', 'syntax = "proto3"; import "c.proto"; message o { c x = 1; }')));
SELECT kafka_sink.decode('reg', id(27) || '\x00' || b(1, i(1, 1) || i(2, 2)) || b(2, b(1, i(2, 3))));
-- dead letters keep the bytes
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter');
SELECT try(r(id(1) || '\x00' || i(1, 20)), r(id(1) || '\x0208'), r(id(22) || '\x00'), r(id(1) || '\x00' || i(1, 21)));
SELECT value, sqlstate, message FROM kafka_sink.dead_letters ORDER BY id;
UPDATE kafka_sink.schemas SET schema = 'syntax = "proto3"; message m { int32 v = 1; }' WHERE id = 22;
SELECT kafka_sink.retry_dead_letters('s');
SELECT count(*) FROM kafka_sink.dead_letters;
SELECT kafka_sink.drop_sink('s');
-- many messages in turns
TRUNCATE f;
SELECT fetched(100 + k, 'syntax = "proto3"; ' || string_agg(format('message m%s { int32 pad%s = 1; int32 v = 2; }', j, j), ' ' ORDER BY j)) FROM generate_series(0, 9) k, generate_series(0, 19) j GROUP BY k;
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'f', format => 'protobuf', enabled => false, columns => '{"id": "@schema_id", "type": "@schema"}');
SELECT kafka_sink.ingest('s', array_agg(r(id(100 + k % 10) || '\x02' || n(2 * (k / 10 % 20)) || i(2, k)) ORDER BY k)) FROM generate_series(0, 999) k;
SELECT count(*), count(DISTINCT (id, type)), bool_and(id = 100 + v::int % 10 AND type = 'm' || v::int / 10 % 20) FROM f;
SELECT kafka_sink.drop_sink('s');
-- a schema that the sink gives: the id is taken off, the indexes count
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'f', format => 'protobuf', enabled => false, framing => 'confluent', columns => '{"id": "@schema_id", "type": "@schema"}', value_schema => 'syntax = "proto3"; message a { int32 v = 1; } message b { int32 v = 2; }');
SELECT try(r(id(77) || '\x0202' || i(2, 5000)), r(id(78) || '\x00' || i(1, 5001)));
SELECT try(r(id(77) || '\x0204'));
SELECT * FROM f WHERE v::int >= 5000 ORDER BY v;
SELECT kafka_sink.alter_sink('s', message_type => 'b');
SELECT kafka_sink.drop_sink('s');
-- looking
SELECT kafka_sink.decode('reg', id(1) || '\x0202' || s(1, 'x') || i(2, 3)), kafka_sink.decode('reg', i(2, 3), id(1) || '\x0202'), kafka_sink.decode('reg', id(20) || '\x00' || b(1, i(1, 5) || b(2, s(1, 'x')))), kafka_sink.decode('reg', id(1) || '\x00');
SELECT kafka_sink.decode('reg', id(1));
SELECT kafka_sink.decode('reg', id(1) || '\x0208');
SELECT kafka_sink.decode('reg', id(1) || '\x0008');
-- @schema of Avro, too
SELECT fetched(200, '{"type": "record", "name": "a.b.r", "fields": [{"name": "v", "type": "int"}]}', 'AVRO'), fetched(201, '["null", {"type": "record", "name": "x.q", "fields": [{"name": "v", "type": "int"}]}, {"type": "record", "name": "q2", "fields": [{"name": "v", "type": "int"}]}]', 'AVRO');
TRUNCATE f;
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'f', format => 'avro', enabled => false, columns => '{"id": "@schema_id", "type": "@schema"}');
SELECT try(r(id(200) || '\x02'), r(id(201) || '\x0202'), r(id(201) || '\x0404'), r(id(201) || '\x00'));
TABLE f;
SELECT kafka_sink.drop_sink('s');

-- definitions
CREATE FUNCTION def(settings jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; hint text;
BEGIN
    PERFORM kafka_sink.create_sink('d', target => 'v', settings => settings);
    PERFORM kafka_sink.drop_sink('d');
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || message || coalesce(' | ' || nullif(detail, ''), '') || coalesce(' | ' || nullif(hint, ''), '');
END$$;
SELECT s, def(s || '{"format": "protobuf"}') FROM unnest(ARRAY['{}', '{"value_schema": ""}', '{"value_schema": "message"}', '{"value_schema": "syntax = \"proto3\"; enum e { z = 0; }"}', '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; }"}',
    '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; } message b { string v = 1; }"}', '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; } message b { string v = 1; }", "message_type": "b"}',
    '{"value_schema": "syntax = \"proto3\"; package p; message a { message n { string v = 1; } }", "message_type": "p.a.n"}', '{"value_schema": "syntax = \"proto3\"; package p; message a { message n { string v = 1; } }", "message_type": "n"}',
    '{"value_schema": "syntax = \"proto3\"; message a { string x = 1; }"}', '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; string x = 2; }", "strict": true}', '{"value_schema": "syntax = \"proto3\"; import \"none.proto\"; message a { string v = 1; }"}',
    '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; }", "framing": "single_object"}', '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; }", "framing": "confluent", "message_type": "a"}', '{"message_type": "a"}',
    '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; }", "envelope": "debezium"}', '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; }", "envelope": "connect"}',
    '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; }", "key_format": "protobuf"}', '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; }", "key_format": "protobuf", "key_schema": "syntax = \"proto3\"; message a {} message b {}"}',
    '{"value_schema": "syntax = \"proto3\"; message a { string v = 1; }", "key_schema": "x"}']::jsonb[]) s;
SELECT def('{"message_type": "a"}'), def('{"format": "avro", "value_schema": "\"string\"", "message_type": "a"}'), def('{"format": "json", "columns": {"v": "@schema"}}'), def('{"format": "raw", "columns": {"v": "@rest"}}');
SELECT kafka_sink.create_sink('d', server => 'reg', target => 'v', format => 'protobuf', framing => 'none', enabled => false);
SELECT kafka_sink.create_sink('d', server => 'reg', target => 'v', format => 'protobuf', message_type => 'a', enabled => false);
-- topics with targets and schemas of their own
SELECT kafka_sink.create_sink('s', format => 'protobuf', target => 'v', value_schema => 'syntax = "proto3"; message a { string v = 1; } message b { string v = 2; }', message_type => 'b');
SELECT kafka_sink.register_topic('s', 'same', target => 'v');
SELECT kafka_sink.register_topic('s', 'other', target => 'v', message_type => 'a');
SELECT kafka_sink.register_topic('s', 'own', target => 'v', value_schema => 'syntax = "proto3"; message c { string v = 3; }');
SELECT kafka_sink.register_topic('s', 'bad', target => 'v', value_schema => 'syntax = "proto3"; message c { string v = 3; } message d { string v = 3; }');
SELECT kafka_sink.register_topic('s', 'bad', message_type => 'a');
TRUNCATE v;
SELECT try(ROW('same', NULL, NULL, NULL, NULL, s(2, 'same'), NULL), ROW('other', NULL, NULL, NULL, NULL, s(1, 'other'), NULL), ROW('own', NULL, NULL, NULL, NULL, s(3, 'own'), NULL), ROW('x', NULL, NULL, NULL, NULL, s(2, 'x'), NULL));
SELECT string_agg(v, ' ' ORDER BY v) FROM v;
SELECT topic, message_type, value_schema IS NULL AS none FROM kafka_sink.sink_topics ORDER BY topic;
SELECT message_type FROM kafka_sink.sinks;
SELECT kafka_sink.sink_definition('s') ~ 'message_type => ''b''';
-- descriptors that grow: a message that many groups have (protoc would have one each), and
-- fields each in a oneof of its own
SELECT kafka_sink.drop_sink('s');
CREATE FUNCTION described(message bytea) RETURNS void LANGUAGE plpgsql AS
$$BEGIN PERFORM kafka_sink.create_sink('s', format => 'protobuf', target => 'v', value_schema => translate(encode(b(4, s(1, 'm') || message), 'base64'), E'\n', '')); END$$;
SELECT described(s(6, 'padd') || b(2, s(1, 'v') || i(3, 1) || i(4, 1) || i(5, 9)));
SELECT kafka_sink.drop_sink('s');
SELECT described((SELECT string_agg(b(2, s(1, 'f' || n) || i(3, n) || i(4, 1) || i(5, 10) || s(6, '.m.G') || i(9, 0)), '') FROM generate_series(1, 12000) n)
    || b(8, s(1, 'o')) || b(3, s(1, 'G') || b(2, s(1, repeat('x', 100000)))));
SELECT described((SELECT string_agg(b(2, s(1, 'f' || n) || i(3, n) || i(4, 1) || i(5, 5) || i(9, n - 1)) || b(8, s(1, 'o' || n)), '') FROM generate_series(1, 20000) n));
-- a map as descriptors have it, and texts that are made of these: its entries are messages, and count as such
SELECT fetched(300, 'syntax = "proto3"; package p; message a { repeated .p.a.MEntry m = 1; repeated bool b = 2; message MEntry { option map_entry = true; string key = 1; int32 value = 2; } message inner { int32 v = 1; } }'),
    fetched(301, 'syntax = "proto2"; message a { option (my.list) = [ "x", { y: [1] } ]; repeated MEntry m = 1 [(my.tags) = ["x", "y"], deprecated = true]; message MEntry { option map_entry = true; optional int64 key = 1; optional inner value = 2; } message inner { optional int32 v = 1; } }'),
    fetched(302, 'syntax = "proto3"; message a { repeated MEntry m = 1; message MEntry { option map_entry = true; double key = 1; int32 value = 2; } }'),
    fetched(303, 'syntax = "proto3"; message a { repeated MEntry m = 1; message MEntry { option map_entry = false; string key = 1; int32 value = 2; } }');
SELECT kafka_sink.decode('reg', id(i) || '\x00' || v) FROM (VALUES (300, b(1, s(1, 'x') || i(2, 5)) || b(1, s(1, 'y')) || b(1, s(1, 'x') || i(2, 6)) || i(2, 1)), (301, b(1, i(1, 7) || b(2, i(1, 8)))), (302, b(1, i(2, 5))), (303, b(1, s(1, 'x') || i(2, 5)))) x(i, v);
SELECT kafka_sink.decode('reg', id(300) || '\x040002' || i(1, 5));
CREATE TABLE mapped (x int, v int, whole jsonb);
SELECT kafka_sink.create_sink('s', server => 'reg', target => 'mapped', format => 'protobuf', enabled => false, columns => '{"x": "$.m.x", "whole": "@value"}');
SELECT try(r(id(300) || '\x00' || b(1, s(1, 'x') || i(2, 5))), r(id(300) || '\x040002' || i(1, 6)));
TABLE mapped;
SELECT kafka_sink.drop_sink('s');
DROP SERVER reg CASCADE;
DROP FUNCTION n, z, reversed, i, f4, f8, b, s, g, r, h, id, try, one, nested, fetched, def, described;
DROP EXTENSION kafka_sink CASCADE;
DROP TABLE one, t, v, k, kb, f, kept, closed, mapped;
DROP TYPE outside, pair, mood;
DROP DOMAIN positive, given;
