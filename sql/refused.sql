-- How refused records are found and written, beyond what they are.
CREATE EXTENSION kafka_sink;
-- a record from text
CREATE FUNCTION r(value text, key text DEFAULT NULL)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;

-- one by one: what throws an error is evaluated anew, what is merely refused is not
CREATE TABLE parts (of int PRIMARY KEY CHECK (of < 100));
CREATE FUNCTION divides(v int) RETURNS boolean LANGUAGE sql VOLATILE AS
$$SELECT count(*) FROM generate_series(1, 3) g WHERE 12 / v > g; SELECT v < 50$$;
CREATE FUNCTION part_of(v int) RETURNS boolean LANGUAGE plpgsql AS
$$BEGIN INSERT INTO public.parts VALUES (v); RETURN v <> 7; END$$;
CREATE TABLE c (id int NOT NULL, v int CHECK (public.divides(v)), w int CHECK (public.part_of(w)), n int);
CREATE UNIQUE INDEX ON c (id) INCLUDE (n);
CREATE INDEX ON c ((100 / n));
SELECT kafka_sink.create_sink('c', target => 'c', on_error => 'dead_letter');
CREATE FUNCTION refused() RETURNS TABLE (off bigint, sqlstate text, message text) LANGUAGE plpgsql AS
$$BEGIN
    PERFORM kafka_sink.ingest('c', (SELECT array_agg(r(format('{"id": %s, "v": %s, "w": %s, "n": %s}',
        CASE i % 11 WHEN 5 THEN 'null' WHEN 6 THEN '1' ELSE i::text END,
        CASE i % 7 WHEN 2 THEN 0 WHEN 3 THEN 60 ELSE 1 END,
        CASE i % 13 WHEN 4 THEN 7 WHEN 8 THEN 100 WHEN 9 THEN 3 ELSE -i END,
        i % 5)) ORDER BY i) FROM generate_series(1, 120) i));
    RETURN QUERY SELECT (row_number() OVER (ORDER BY d.id)), d.sqlstate, d.message FROM kafka_sink.dead_letters d WHERE d.sink = 'c';
    PERFORM kafka_sink.discard_dead_letters('c');
END$$;
CREATE TABLE refused AS SELECT * FROM refused();
CREATE TABLE taken AS TABLE c;
CREATE TABLE noted AS TABLE parts;
TRUNCATE c, parts;
SET kafka_sink.fast_path = off;
SELECT count(*) FROM (TABLE refused EXCEPT ALL SELECT * FROM refused()) x;
RESET kafka_sink.fast_path;
SELECT count(*) FROM (TABLE taken EXCEPT ALL TABLE c) x;
SELECT count(*) FROM (TABLE noted EXCEPT ALL TABLE parts) x;
SELECT (SELECT count(*) FROM c), (SELECT count(*) FROM parts);
SELECT sqlstate, message, count(*) FROM refused GROUP BY 1, 2 ORDER BY sqlstate, message COLLATE "C";
SELECT kafka_sink.drop_sink('c');
DROP TABLE c, parts, refused, taken, noted;
DROP FUNCTION refused, divides, part_of;

-- what somebody adds to the table counts, and triggers fire
CREATE TABLE t (id int PRIMARY KEY, v int);
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter');
ALTER TABLE kafka_sink.dead_letters ADD seen boolean NOT NULL DEFAULT false;
CREATE INDEX large ON kafka_sink.dead_letters (octet_length(value)) WHERE octet_length(value) > 100;
SELECT dead_lettered FROM kafka_sink.ingest('s', (SELECT array_agg(r(CASE i % 10 WHEN 0 THEN repeat(i::text, 20000) ELSE '{' END) ORDER BY i) FROM generate_series(1, 600) i));
SELECT count(*), bool_and(sink = 's' AND NOT seen AND failed_at <= clock_timestamp()), max(id) - min(id) FROM kafka_sink.dead_letters;
SELECT bool_and(octet_length(value) = CASE n % 10 WHEN 0 THEN 20000 * length(n::text) ELSE 1 END)
  FROM (SELECT value, row_number() OVER (ORDER BY id) AS n FROM kafka_sink.dead_letters) l;
SET enable_seqscan = off;
SELECT count(*) FROM kafka_sink.dead_letters WHERE octet_length(value) > 100;
SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = 's' AND failed_at > '-infinity';
RESET enable_seqscan;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE '% (%): % of %', tg_op, tg_when, (SELECT count(*) FROM new_letters), (SELECT min(sink) FROM new_letters); RETURN NULL; END$$;
CREATE TRIGGER tell AFTER INSERT ON kafka_sink.dead_letters REFERENCING NEW TABLE AS new_letters
    FOR EACH STATEMENT EXECUTE FUNCTION tell();
SELECT dead_lettered FROM kafka_sink.ingest('s', ARRAY[r('{', 'k'), r('[')]);
SELECT convert_from(key, 'UTF8'), sqlstate, seen FROM kafka_sink.dead_letters ORDER BY id DESC LIMIT 2;
BEGIN READ ONLY;
SELECT dead_lettered FROM kafka_sink.ingest('s', ARRAY[r('{')]);
ROLLBACK;
DROP TRIGGER tell ON kafka_sink.dead_letters;
BEGIN READ ONLY;
SELECT dead_lettered FROM kafka_sink.ingest('s', ARRAY[r('{')]);
ROLLBACK;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
DROP FUNCTION tell, r;
DROP EXTENSION kafka_sink;
