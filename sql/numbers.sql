-- Numerics of few digits are made without the server's arithmetic: they are its own all the same.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
-- each in a column that the server fills from the same text, byte by byte
CREATE TABLE t (s text, n numeric, m numeric(18,4), sn numeric GENERATED ALWAYS AS (s::numeric) STORED, sm numeric(18,4) GENERATED ALWAYS AS (s::numeric(18,4)) STORED);
SELECT kafka_sink.create_sink('s', target => 't', columns => '{"m": "$.n"}');
-- digits with zeros at their ends and between, in groups of four and not, with a point at any place
CREATE TABLE digits AS
    SELECT DISTINCT left(d, length) AS d FROM unnest('{12345678901234567,10000000000000000,10002000300004000,99999999999999999,00000000000000001,00010000000000000,90909090909090909,50000000050000000}'::text[]) d,
        generate_series(1, 17) length;
CREATE TABLE numbers AS
    SELECT sign || coalesce(nullif(ltrim(left(d, length(d) - scale), '0'), ''), '0') || CASE WHEN scale > 0 THEN '.' || right(d, scale) ELSE '' END AS s
      FROM digits, unnest('{"",-}'::text[]) sign, generate_series(0, 16) scale WHERE scale < length(d);
SELECT applied = (SELECT count(*) FROM numbers WHERE abs(s::numeric) < 1e14) AS applied
  FROM kafka_sink.ingest('s', ARRAY(SELECT ROW(NULL, NULL, NULL, NULL, NULL, convert_to(format('{"s": "%1$s", "n": %1$s}', s), 'UTF8'), NULL)::kafka_sink.record
       FROM numbers WHERE abs(s::numeric) < 1e14));
SELECT count(*) > 1000 AS many, bool_and(numeric_send(n) = numeric_send(sn)) AS n, bool_and(numeric_send(m) = numeric_send(sm)) AS m,
    bool_and(pg_column_size(n) = pg_column_size(sn)) AS n_size, bool_and(pg_column_size(m) = pg_column_size(sm)) AS m_size FROM t;
SELECT kafka_sink.drop_sink('s');
-- integers of 64 bits, and decimals: their bytes, in Avro
CREATE FUNCTION z(v numeric) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE z numeric := CASE WHEN v >= 0 THEN 2 * v ELSE -2 * v - 1 END; result bytea := '';
BEGIN
    LOOP
        result := result || set_byte('\x00', 0, (z % 128 + CASE WHEN z >= 128 THEN 128 ELSE 0 END)::int);
        z := div(z, 128);
        EXIT WHEN z = 0;
    END LOOP;
    RETURN result;
END$$;
CREATE TABLE i (n numeric, d numeric);
SELECT kafka_sink.create_sink('s', target => 'i', format => 'avro', value_schema => '{"type": "record", "name": "r", "fields": [
    {"name": "n", "type": "long"}, {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 17}}]}');
CREATE TABLE integers AS
    SELECT sign * ((1::int8 << e)::numeric + d) AS n FROM generate_series(0, 62) e, generate_series(-1, 1) d, unnest('{1,-1}'::numeric[]) sign
     UNION SELECT sign * ('1' || repeat('0', e))::numeric FROM generate_series(0, 18) e, unnest('{1,-1}'::numeric[]) sign
     UNION VALUES (9223372036854775807::numeric), (-9223372036854775808);
SELECT applied = (SELECT count(*) FROM integers) AS applied
  FROM kafka_sink.ingest('s', ARRAY(SELECT ROW(NULL, NULL, NULL, NULL, NULL, z(n) || '\x10' || int8send(n::int8), NULL)::kafka_sink.record FROM integers));
SELECT count(*) > 200 AS many, bool_and(numeric_send(n) = numeric_send(n::int8::text::numeric)) AS n, bool_and(numeric_send(d) = numeric_send((n::text || 'e-17')::numeric)) AS d,
    bool_and(scale(d) = 17) AS scale FROM i;
SELECT count(*) = (SELECT count(*) FROM integers) AS all_of_them FROM i JOIN integers USING (n);
SELECT kafka_sink.drop_sink('s');
DROP TABLE t, digits, numbers, i, integers;
DROP FUNCTION z;
DROP EXTENSION kafka_sink;
