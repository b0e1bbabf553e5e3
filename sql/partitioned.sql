-- Partitioned tables by the fast path: rows, words and what is refused
-- are those of SQL, which takes what has a partition that the fast path must not write.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT setseed(0.23);
CREATE FUNCTION rec(value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, NULL, convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION pick(VARIADIC text[]) RETURNS text LANGUAGE sql VOLATILE AS
$$SELECT $1[1 + floor(random() * cardinality($1))::int]$$;
-- a call, with or without the fast path: what it says, but for the names of the two
CREATE FUNCTION apply(sink text, records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; context text; con text; tab text; col text;
BEGIN
    PERFORM set_config('kafka_sink.fast_path', (sink LIKE 'fast%')::text, true);
    RETURN kafka_sink.ingest(sink, records)::text;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT,
        con = CONSTRAINT_NAME, tab = TABLE_NAME, col = COLUMN_NAME;
    -- attempts that were rolled back have spent numbers
    detail := regexp_replace(regexp_replace(detail, ', \d+(, [^,]+, default, )', ', no\1'), '(no\) = .*, |, 4, \d+, )\d+\)', '\1no)');
    RETURN replace(concat_ws('|', sqlstate, message, detail, con, tab, col, substring(context FROM 'record \d+')), sink, 'it');
END$$;
-- the same to both: what is said, and what SQL says if that is something else
CREATE FUNCTION outcome(VARIADIC vals text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE a text; b text; records kafka_sink.record[];
BEGIN
    SELECT array_agg(rec(v)) INTO records FROM unnest(vals) v;
    a := apply('fast', records);
    b := apply('general', records);
    RETURN NEXT a;
    IF a <> b THEN RETURN NEXT 'by SQL: ' || b; END IF;
END$$;
-- statements for both tables, and a sink for each
CREATE FUNCTION make(ddl text, columns jsonb DEFAULT '{}', target text DEFAULT '%s') RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY '{fast,general}'::text[] LOOP
        EXECUTE replace(ddl, '@', t);
        PERFORM kafka_sink.create_sink(t, target => format(target, t)::regclass, columns => columns);
    END LOOP;
END$$;
CREATE FUNCTION change(ddl text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE replace(ddl, '@', 'fast');
    EXECUTE replace(ddl, '@', 'general');
END$$;
-- rows of one and not of the other, with where they are, but for numbers that attempts
-- have spent; what an index does not find; and done with it
CREATE FUNCTION done() RETURNS TABLE (rows bigint, partitions bigint, different bigint, damaged bigint) LANGUAGE plpgsql AS $$
DECLARE i record; n bigint;
BEGIN
    SELECT count(*), count(DISTINCT tableoid) INTO rows, partitions FROM fast;
    SELECT count(*) INTO different FROM
        ((SELECT replace(tableoid::regclass::text, 'fast', ''), (to_jsonb(f) - 'no')::text FROM fast f EXCEPT ALL
          SELECT replace(tableoid::regclass::text, 'general', ''), (to_jsonb(g) - 'no')::text FROM general g) UNION ALL
         (SELECT replace(tableoid::regclass::text, 'general', ''), (to_jsonb(g) - 'no')::text FROM general g EXCEPT ALL
          SELECT replace(tableoid::regclass::text, 'fast', ''), (to_jsonb(f) - 'no')::text FROM fast f)) x;
    SET LOCAL enable_seqscan = off;
    damaged := 0;
    FOR i IN SELECT x.indrelid::regclass AS tab, a.attname AS col FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
             WHERE x.indrelid IN (SELECT relid FROM pg_partition_tree('fast') WHERE isleaf) LOOP
        EXECUTE format('SELECT count(*) FROM %s f WHERE %2$I IS NOT NULL AND NOT EXISTS (SELECT FROM %1$s g WHERE g.%2$I = f.%2$I AND g.ctid = f.ctid)', i.tab, i.col) INTO n;
        damaged := damaged + n;
    END LOOP;
    PERFORM kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
    DROP TABLE fast, general;
    RETURN NEXT;
END$$;

-- --- partitions of every kind ---

-- by range: one with columns in another order and some dropped, one that is divided
-- itself, in an order of its own, and a default one; what no record fills is the
-- table's to say, what is generated the partition's
SELECT make($$
    CREATE TABLE @ (gone int, id int NOT NULL, at date, v text CONSTRAINT good CHECK (v <> 'bad'), n int, no bigint GENERATED ALWAYS AS IDENTITY,
        twice int GENERATED ALWAYS AS (n * 2) STORED, note text DEFAULT 'de' || 'fault', made date DEFAULT '2026-01-01', nothing int) PARTITION BY RANGE (at);
    ALTER TABLE @ DROP gone;
    CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE @_2 (x int, twice int GENERATED ALWAYS AS (n * 2) STORED, nothing int, note text DEFAULT 'not used', v text CONSTRAINT good CHECK (v <> 'bad'), at date, y text,
        made date, n int CHECK (n > -5), no bigint NOT NULL, id int NOT NULL);
    ALTER TABLE @_2 DROP x, DROP y;
    ALTER TABLE @_2 ADD CHECK (note <> 'sub');
    CREATE UNIQUE INDEX ON @_2 (id) INCLUDE (twice);
    CREATE INDEX ON @_2 (note, n DESC);
    ALTER TABLE @ ATTACH PARTITION @_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
    CREATE TABLE @_3 (v text CONSTRAINT good CHECK (v <> 'bad'), no bigint NOT NULL, id int NOT NULL, at date, twice int GENERATED ALWAYS AS (n * 2) STORED, made date, n int, note text, nothing int)
        PARTITION BY LIST (upper(v));
    CREATE TABLE @_3_a PARTITION OF @_3 FOR VALUES IN ('A', NULL);
    CREATE TABLE @_3_b (nothing int, n int, made date, id int NOT NULL, v text CONSTRAINT good CHECK (v <> 'bad'), at date, twice int GENERATED ALWAYS AS (n * 2) STORED, no bigint NOT NULL, note text);
    ALTER TABLE @_3 ATTACH PARTITION @_3_b FOR VALUES IN ('B');
    ALTER TABLE @ ATTACH PARTITION @_3 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
    CREATE TABLE @_rest PARTITION OF @ DEFAULT;
    CREATE INDEX ON @ (twice);
    CREATE INDEX ON @_3_b (upper(v)) WHERE n > 3;
    CREATE INDEX ON @_rest USING hash (v);$$,
    '{"no": null, "note": null, "made": null, "nothing": null}');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "at": "2026-01-05", "v": "x", "n": 1}'), rec('{"id": 2, "at": "2026-02-05", "v": "x", "n": 2}'),
    rec('{"id": 3, "at": "2026-03-05", "v": "b", "n": 3}'), rec('{"id": 4, "at": "2026-01-06", "n": 4}'), rec('{"id": 5, "v": "y"}'), rec('{"id": 6, "at": "2026-03-06"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 7, "at": "2026-02-05", "v": "x", "n": 5}')]);
RESET client_min_messages;
SELECT tableoid::regclass, * FROM fast ORDER BY id;
SELECT apply('general', array_agg(rec(v))) FROM unnest(ARRAY['{"id": 1, "at": "2026-01-05", "v": "x", "n": 1}', '{"id": 2, "at": "2026-02-05", "v": "x", "n": 2}',
    '{"id": 3, "at": "2026-03-05", "v": "b", "n": 3}', '{"id": 4, "at": "2026-01-06", "n": 4}', '{"id": 5, "v": "y"}', '{"id": 6, "at": "2026-03-06"}', '{"id": 7, "at": "2026-02-05", "v": "x", "n": 5}']) v;
-- what the table refuses, and what a partition does, told as SQL tells it
SELECT outcome('{"id": 10, "at": "2026-01-05", "v": "bad"}');
SELECT outcome('{"id": 10, "at": "2026-01-05"}', '{"id": 11, "at": "2026-02-05", "v": "x", "n": -7}');
SELECT outcome('{"at": "2026-02-05", "v": "x"}');
SELECT outcome('{"id": 10, "at": "2026-01-05"}', '{"id": 2, "at": "2026-02-07"}');
SELECT outcome('{"id": 10, "at": "2026-02-08"}', '{"id": 10, "at": "2026-02-07"}');
SELECT outcome('{"id": 10, "at": "2026-03-01", "v": "c"}');
SELECT outcome('{"id": 10, "at": "2026-03-01", "v": "b", "n": 2000000000}');
SELECT change('ALTER TABLE @ DETACH PARTITION @_rest');
SELECT outcome('{"id": 10, "at": "2026-01-05"}', '{"id": 11, "at": "2027-01-05"}', '{"id": 12}');
-- rows in any order, now and then a bad one
SELECT change('ALTER TABLE @ ATTACH PARTITION @_rest DEFAULT');
CREATE TABLE outcomes (nth int, fast text, general text);
DO $$
DECLARE records kafka_sink.record[];
BEGIN
    FOR nth IN 1 .. 40 LOOP
        SELECT array_agg(rec(format('{"id": %s%s%s%s}', 100 * nth + i, pick(',"at":"2026-0' || 1 + floor(random() * 5)::int || '-11"', ',"at":"2026-02-02"', ''),
            CASE WHEN random() < 0.02 THEN pick(',"v":"bad"', ',"v":"c"') ELSE pick(',"v":"a"', ',"v":"B"', ',"v":"b"', '') END, pick(',"n":' || floor(random() * 100)::int, ''))))
          INTO records FROM generate_series(1, 1 + floor(random() * 60)::int) i;
        INSERT INTO outcomes VALUES (nth, apply('fast', records), apply('general', records));
    END LOOP;
END$$;
SELECT count(*) FILTER (WHERE fast LIKE '(%') > 10 AS taken, count(*) FILTER (WHERE fast NOT LIKE '(%') > 3 AS refused,
    count(*) FILTER (WHERE regexp_replace(fast, 'Failing row[^|]*', '') <> regexp_replace(general, 'Failing row[^|]*', '')) AS different FROM outcomes;
SELECT rows > 300 AS rows, partitions, different, damaged FROM done();

-- by hash, and by several columns of which a record lacks one that has a default
SELECT make($$
    CREATE TABLE @ (k uuid, v text DEFAULT 'none') PARTITION BY HASH (k, v);
    CREATE TABLE @_0 PARTITION OF @ FOR VALUES WITH (MODULUS 3, REMAINDER 0);
    CREATE TABLE @_1 (v text, k uuid);
    ALTER TABLE @ ATTACH PARTITION @_1 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
    CREATE TABLE @_2 PARTITION OF @ FOR VALUES WITH (MODULUS 3, REMAINDER 2);
    CREATE UNIQUE INDEX ON @ (k, v);$$);
SELECT outcome(VARIADIC array_agg(format('{"k": "%s"%s}', md5(i::text)::uuid, CASE WHEN i % 3 > 0 THEN ',"v":"' || i % 5 || '"' ELSE '' END))) FROM generate_series(1, 200) i;
SELECT outcome('{}', '{"k": null, "v": null}');
SELECT outcome('{"k": "c4ca4238-a0b9-2382-0dcc-509a6f75849b", "v": "1"}');
SELECT * FROM done();
SELECT make($$
    CREATE TABLE @ (k int DEFAULT 7, v text, no serial) PARTITION BY RANGE (k, lower(v), no);
    CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM (MINVALUE, MINVALUE, MINVALUE) TO (7, 'b', MINVALUE);
    CREATE TABLE @_2 PARTITION OF @ FOR VALUES FROM (7, 'b', MINVALUE) TO (MAXVALUE, MAXVALUE, MAXVALUE);$$, '{"no": null}');
SELECT outcome('{"v": "A"}', '{"k": 8, "v": "A"}', '{"v": "C"}', '{"k": 1, "v": "C"}', '{"v": "B"}');
SELECT outcome('{"k": 1, "v": "x"}', '{"k": 1, "v": null}');
SELECT * FROM done();

-- a table that is a partition itself, divided or not, takes what belongs there
SELECT make($$
    CREATE TABLE top_@ (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE @ PARTITION OF top_@ FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
    CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM (0) TO (50);
    CREATE TABLE @_2 PARTITION OF @ FOR VALUES FROM (50) TO (1000);$$);
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1}'), rec('{"id": 60}')]);
RESET client_min_messages;
SELECT apply('general', ARRAY[rec('{"id": 1}'), rec('{"id": 60}')]);
SELECT outcome('{"id": 2}', '{"id": 100}');
SELECT outcome('{"id": 2}', '{"id": -1}', '{"id": 1}');
SELECT * FROM done();
DROP TABLE top_fast, top_general;
SELECT make($$
    CREATE TABLE top_@ (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE @ (v text, id int NOT NULL CHECK (id <> 150));
    ALTER TABLE top_@ ATTACH PARTITION @ FOR VALUES FROM (0) TO (100);$$);
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1}'), rec('{"id": 60}')]);
RESET client_min_messages;
SELECT apply('general', ARRAY[rec('{"id": 1}'), rec('{"id": 60}')]);
SELECT outcome('{"id": 2}', '{"id": 100}');
SELECT outcome('{"id": 150}');
SELECT kafka_sink.alter_sink(s, on_error => 'dead_letter') FROM unnest('{fast,general}'::text[]) s;
SELECT outcome('{"id": 2}', '{"id": 100}', '{"id": 3}', '{"id": 2}', '{"id": 150}');
SELECT sink, convert_from(value, 'UTF8') AS value, sqlstate, message FROM kafka_sink.dead_letters ORDER BY sink, id;
DELETE FROM kafka_sink.dead_letters;
-- and upserts: a row stays where it is, or may not be changed
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
SELECT * FROM top_fast EXCEPT SELECT * FROM top_general;
DROP TABLE top_fast, top_general;
SELECT make($$
    CREATE TABLE top_@ (id int, n int, v text) PARTITION BY RANGE (n);
    CREATE TABLE @ (v text, gone int, n int DEFAULT 7, id int PRIMARY KEY);
    ALTER TABLE @ DROP gone;
    ALTER TABLE top_@ ATTACH PARTITION @ FOR VALUES FROM (0) TO (100);$$);
SELECT kafka_sink.alter_sink(s, insert_mode => 'upsert') FROM unnest('{fast,general}'::text[]) s;
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "n": 1, "v": "a"}'), rec('{"id": 2, "v": "a"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "n": 99, "v": "b"}'), rec('{"id": 3, "v": "b"}')]);
RESET client_min_messages;
SELECT outcome('{"id": 1, "n": 99, "v": "b"}', '{"id": 2, "n": 5, "v": "b"}', '{"id": 3, "v": "b"}');
SELECT outcome('{"id": 4, "v": "c"}', '{"id": 2, "n": 100, "v": "c"}');
SELECT outcome('{"id": 4, "v": "c"}', '{"id": 5, "n": null, "v": "c"}');
SELECT * FROM fast ORDER BY id;
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
SELECT * FROM top_fast EXCEPT SELECT * FROM top_general;
DROP TABLE top_fast, top_general;

-- --- upserts ---

-- the same partitions, of which each has rows of its own; updates leave alone what no
-- record fills, deletes find their partition by the key
SELECT make($$
    CREATE TABLE @ (id int, part text, v text, n numeric(8,2), own int DEFAULT 4, twice int GENERATED ALWAYS AS (id * 2) STORED, no serial, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
    CREATE TABLE @_a PARTITION OF @ FOR VALUES IN ('a');
    CREATE TABLE @_b (no int NOT NULL, own int, gone int, n numeric(8,2), part text NOT NULL, v text, twice int GENERATED ALWAYS AS (id * 2) STORED, id int NOT NULL);
    ALTER TABLE @_b DROP gone;
    ALTER TABLE @_b ADD CHECK (n < 90);
    CREATE UNIQUE INDEX ON @_b (own, id);
    CREATE INDEX ON @_b (v, n);
    ALTER TABLE @ ATTACH PARTITION @_b FOR VALUES IN ('b');
    CREATE TABLE @_c PARTITION OF @ FOR VALUES IN ('c', 'd') PARTITION BY HASH (id);
    CREATE TABLE @_c_0 PARTITION OF @_c FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE @_c_1 PARTITION OF @_c FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE INDEX ON @_c_1 (n) INCLUDE (own);
    CREATE TABLE @_rest PARTITION OF @ DEFAULT;$$, '{"own": null, "no": null}');
SELECT kafka_sink.alter_sink(s, insert_mode => 'upsert', delete_enabled => true) FROM unnest('{fast,general}'::text[]) s;
CREATE FUNCTION keyed(part text, id int, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(format('{"part": "%s", "id": %s}', part, id), 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "part": "a", "v": "x"}'), rec('{"id": 1, "part": "b", "v": "x", "n": 1}'), rec('{"id": 1, "part": "c", "v": "x"}'), rec('{"id": 2, "part": "d", "v": "x"}'), rec('{"id": 1, "part": "z", "v": "x"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "part": "b", "v": "y", "n": 2}'), keyed('a', 1, NULL), keyed('a', 2, NULL), rec('{"id": 1, "part": "d", "v": "y"}'), keyed('c', 1, NULL), rec('{"id": 1, "part": "z", "v": "y"}'), rec('{"id": 1, "part": "z", "v": "z"}')]);
RESET client_min_messages;
SELECT tableoid::regclass, * FROM fast ORDER BY part, id;
SELECT apply('general', ARRAY[rec('{"id": 1, "part": "a", "v": "x"}'), rec('{"id": 1, "part": "b", "v": "x", "n": 1}'), rec('{"id": 1, "part": "c", "v": "x"}'), rec('{"id": 2, "part": "d", "v": "x"}'), rec('{"id": 1, "part": "z", "v": "x"}')]);
SELECT apply('general', ARRAY[rec('{"id": 1, "part": "b", "v": "y", "n": 2}'), keyed('a', 1, NULL), keyed('a', 2, NULL), rec('{"id": 1, "part": "d", "v": "y"}'), keyed('c', 1, NULL), rec('{"id": 1, "part": "z", "v": "y"}'), rec('{"id": 1, "part": "z", "v": "z"}')]);
SELECT outcome('{"id": 1, "part": "a"}', '{"id": 1, "part": "b", "n": 91}');
SELECT outcome('{"id": 1, "part": "a"}', '{"id": 1, "part": null}');
-- what others have written there stays
SELECT change('UPDATE @ SET own = 5 WHERE id = 1');
DELETE FROM outcomes;
DO $$
DECLARE records kafka_sink.record[];
BEGIN
    FOR nth IN 1 .. 60 LOOP
        SELECT array_agg(CASE WHEN random() < 0.2 THEN keyed(pick('a', 'b', 'c', 'd', 'e', 'f'), floor(random() * 20)::int, NULL)
            ELSE rec(format('{"id": %s, "part": "%s", "v": "%s", "n": %s}', floor(random() * 20)::int, pick('a', 'b', 'c', 'd', 'e', 'f'), pick('x', 'y') || i, CASE WHEN random() < 0.02 THEN 95 ELSE floor(random() * 89)::int END)) END)
          INTO records FROM generate_series(1, 1 + floor(random() * 40)::int) i;
        INSERT INTO outcomes VALUES (nth, apply('fast', records), apply('general', records));
    END LOOP;
END$$;
SELECT count(*) FILTER (WHERE fast LIKE '(%') > 30 AS taken, count(*) FILTER (WHERE fast NOT LIKE '(%') > 0 AS refused,
    count(*) FILTER (WHERE regexp_replace(fast, 'Failing row[^|]*', '') <> regexp_replace(general, 'Failing row[^|]*', '')) AS different FROM outcomes;
-- a delete that has no partition
SELECT change('ALTER TABLE @ DETACH PARTITION @_rest');
SELECT apply(s, ARRAY[keyed('z', 1, NULL), keyed('a', 1, NULL)]) FROM unnest('{fast,general}'::text[]) s;
SELECT change('ALTER TABLE @ ATTACH PARTITION @_rest DEFAULT');
-- an index that upserts cannot keep, in one partition
SELECT change('CREATE INDEX odd_@ ON @_a (lower(v))');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "part": "b", "v": "y"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "part": "a", "v": "y"}')]);
RESET client_min_messages;
SELECT apply('general', ARRAY[rec('{"id": 1, "part": "b", "v": "y"}'), rec('{"id": 1, "part": "a", "v": "y"}')]);
SELECT rows > 30 AS rows, partitions, different, damaged FROM done();
-- what updates keep is not what the record says: an identity that is generated always,
-- and a key whose values may be equal and yet differ; indexes of partitions have it, too
SELECT make($$
    CREATE TABLE @ (k numeric PRIMARY KEY, always bigint GENERATED ALWAYS AS IDENTITY, v text) PARTITION BY RANGE (k);
    CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM (0) TO (10);
    CREATE TABLE @_2 (v text, always bigint NOT NULL, k numeric NOT NULL UNIQUE);
    ALTER TABLE @ ATTACH PARTITION @_2 FOR VALUES FROM (10) TO (20);
    CREATE UNIQUE INDEX ON @_1 (always);
    CREATE INDEX ON @_2 (always) INCLUDE (k);
    CREATE INDEX ON @ (v);$$);
-- (which matters to updates alone)
SELECT outcome('{"k": 1.0, "always": 5, "v": "a"}', '{"k": 2, "always": 6, "v": "a"}');
SELECT kafka_sink.alter_sink(s, insert_mode => 'upsert', delete_enabled => true) FROM unnest('{fast,general}'::text[]) s;
SELECT outcome('{"k": 11.0, "always": 5, "v": "a"}');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"k": 1.00, "always": 6, "v": "b"}'), rec('{"k": 2, "always": 5, "v": "b"}'), rec('{"k": 11.00, "always": 7, "v": "b"}')]);
RESET client_min_messages;
SELECT apply('general', ARRAY[rec('{"k": 1.00, "always": 6, "v": "b"}'), rec('{"k": 2, "always": 5, "v": "b"}'), rec('{"k": 11.00, "always": 7, "v": "b"}')]);
SELECT outcome('{"k": 1, "always": 8, "v": "c"}', '{"k": 3, "always": 8, "v": "c"}');
SELECT outcome('{"k": 4, "always": 6, "v": "c"}');
SELECT * FROM fast ORDER BY k;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT k FROM fast_1 WHERE k > 0;
SELECT k, always FROM fast_2 WHERE always > 0;
RESET enable_seqscan;
RESET enable_bitmapscan;
SELECT * FROM done();
-- Debezium: changes that lack values, and rows that others refer to
SELECT make($$
    CREATE TABLE @ (k int, p int, v text, big text, PRIMARY KEY (k)) PARTITION BY RANGE (k);
    CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM (0) TO (10);
    CREATE TABLE @_2 (big text, v text, k int NOT NULL, p int);
    ALTER TABLE @ ATTACH PARTITION @_2 FOR VALUES FROM (10) TO (20);
    CREATE INDEX ON @ (big);$$);
SELECT kafka_sink.alter_sink(s, insert_mode => 'upsert', delete_enabled => true, envelope => 'debezium') FROM unnest('{fast,general}'::text[]) s;
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"before":null,"after":{"k":1,"v":"a","big":"b"},"op":"c"}'), rec('{"before":null,"after":{"k":11,"v":"a","big":"b"},"op":"c"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"before":null,"after":{"k":1,"v":"c","big":"__debezium_unavailable_value"},"op":"u"}'), rec('{"before":null,"after":{"k":11,"v":"d","big":"__debezium_unavailable_value"},"op":"u"}'),
    rec('{"before":null,"after":{"k":12,"v":"c","big":"e"},"op":"c"}')]);
RESET client_min_messages;
SELECT apply('general', ARRAY[rec('{"before":null,"after":{"k":1,"v":"a","big":"b"},"op":"c"}'), rec('{"before":null,"after":{"k":11,"v":"a","big":"b"},"op":"c"}')]);
SELECT outcome('{"before":null,"after":{"k":1,"v":"c","big":"__debezium_unavailable_value"},"op":"u"}', '{"before":null,"after":{"k":11,"v":"d","big":"__debezium_unavailable_value"},"op":"u"}', '{"before":null,"after":{"k":12,"v":"c","big":"e"},"op":"c"}');
SELECT outcome('{"before":null,"after":{"k":2,"v":"c","big":"__debezium_unavailable_value"},"op":"u"}');
SELECT change('CREATE TABLE @_ref (k int REFERENCES @); INSERT INTO @_ref VALUES (11)');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"before":null,"after":{"k":1,"v":"e","big":"f"},"op":"u"}'), rec('{"before":null,"after":{"k":11,"v":"e","big":"f"},"op":"u"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"before":{"k":12},"after":null,"op":"d"}')]);
RESET client_min_messages;
SELECT apply('general', ARRAY[rec('{"before":null,"after":{"k":1,"v":"e","big":"f"},"op":"u"}'), rec('{"before":null,"after":{"k":11,"v":"e","big":"f"},"op":"u"}'), rec('{"before":{"k":12},"after":null,"op":"d"}')]);
SELECT left(apply(s, ARRAY[rec('{"before":{"k":11},"after":null,"op":"d"}')]), 5) FROM unnest('{fast,general}'::text[]) s;
DROP TABLE fast_ref, general_ref;
SELECT tableoid::regclass, * FROM fast ORDER BY k;
SELECT * FROM done();

-- many partitions whose rows move: what is kept of each is little
CREATE FUNCTION public.target_kb() RETURNS int LANGUAGE sql VOLATILE AS
$$SELECT sum(used_bytes)::int / 1024 FROM pg_backend_memory_contexts WHERE name = 'kafka_sink target'$$;
SELECT make('CREATE TABLE @ (k int PRIMARY KEY, v text) PARTITION BY RANGE (k)');
DO $$BEGIN FOR i IN 0 .. 40 LOOP PERFORM change(format('CREATE TABLE @_%s PARTITION OF @ FOR VALUES FROM (%s) TO (%s)', i, 10 * i, 10 * i + 10)); END LOOP; END$$;
SELECT change('ALTER TABLE @_40 ADD CHECK (public.target_kb() BETWEEN 1 AND 1000)');
SELECT kafka_sink.alter_sink(s, insert_mode => 'upsert') FROM unnest('{fast,general}'::text[]) s;
SELECT apply('fast', array_agg(rec(format('{"k": %s, "v": "%s"}', k, repeat('x', 800))) ORDER BY k)) FROM generate_series(0, 409) k;
SELECT apply('fast', array_agg(rec(format('{"k": %s, "v": "%s"}', k, repeat('y', 800))) ORDER BY k)) FROM generate_series(0, 409) k;
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
DROP TABLE fast, general;

-- --- what changes while a sink runs ---

SELECT make($$
    CREATE TABLE @ (id int, v text) PARTITION BY LIST (id);
    CREATE TABLE @_1 PARTITION OF @ FOR VALUES IN (1);
    CREATE TABLE @_2 PARTITION OF @ FOR VALUES IN (2);$$);
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1}'), rec('{"id": 2}')]);
RESET client_min_messages;
SELECT outcome('{"id": 1}', '{"id": 3}');
SELECT change('CREATE TABLE @_3 PARTITION OF @ FOR VALUES IN (3)');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1}'), rec('{"id": 3}')]);
RESET client_min_messages;
-- by SQL as long as one that has rows must be: a trigger, a constraint that is deferred
SELECT change('CREATE FUNCTION @_shout() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN NEW.v := upper(NEW.v); RETURN NEW; END''');
SELECT change('CREATE TRIGGER shout BEFORE INSERT ON @_2 FOR EACH ROW EXECUTE FUNCTION @_shout()');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "v": "a"}'), rec('{"id": 3, "v": "a"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "v": "b"}'), rec('{"id": 2, "v": "b"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "v": "c"}'), rec('{"id": 3, "v": "c"}')]);
RESET client_min_messages;
SELECT change('DROP TRIGGER shout ON @_2');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 2, "v": "d"}')]);
RESET client_min_messages;
SELECT change('ALTER TABLE @_2 ADD UNIQUE (v) DEFERRABLE INITIALLY DEFERRED');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 2, "v": "e"}')]);
RESET client_min_messages;
SELECT outcome('{"id": 2, "v": "f"}', '{"id": 2, "v": "f"}');
SELECT change('ALTER TABLE @_2 DROP CONSTRAINT @_2_v_key; CREATE INDEX ON @_2 (lower(v)); CREATE INDEX ON @_1 (v)');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 2, "v": "G"}'), rec('{"id": 1, "v": "G"}')]);
RESET client_min_messages;
SET enable_seqscan = off;
SELECT * FROM fast_2 WHERE lower(v) = 'g';
SELECT * FROM fast_1 WHERE v = 'G';
RESET enable_seqscan;
-- what the table has itself: triggers of statements, policies
SELECT change('CREATE FUNCTION @_note() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RAISE NOTICE ''''inserted''''; RETURN NULL; END''');
SELECT change('CREATE TRIGGER note AFTER INSERT ON @ FOR EACH STATEMENT EXECUTE FUNCTION @_note()');
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 2, "v": "h"}')]);
SELECT change('DROP TRIGGER note ON @; CREATE TRIGGER note AFTER INSERT ON @_1 FOR EACH STATEMENT EXECUTE FUNCTION @_note()');
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "v": "h"}')]);
SELECT change('DROP TRIGGER note ON @_1; ALTER TABLE @ ENABLE ROW LEVEL SECURITY');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "v": "i"}')]);
RESET client_min_messages;
SELECT change('ALTER TABLE @ DISABLE ROW LEVEL SECURITY; ALTER TABLE @_1 ENABLE ROW LEVEL SECURITY; ALTER TABLE @_1 FORCE ROW LEVEL SECURITY');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "v": "j"}')]);
RESET client_min_messages;
-- within one transaction
BEGIN;
SELECT outcome('{"id": 1, "v": "k"}');
SELECT change('CREATE TABLE @_4 (v text, id int); ALTER TABLE @ ATTACH PARTITION @_4 FOR VALUES IN (4)');
SELECT outcome('{"id": 4, "v": "k"}', '{"id": 2, "v": "k"}');
SELECT change('ALTER TABLE @ DETACH PARTITION @_4');
SELECT outcome('{"id": 2, "v": "l"}');
SELECT outcome('{"id": 4, "v": "l"}');
SELECT change('ALTER TABLE @ ADD w int DEFAULT 5');
SELECT outcome('{"id": 1, "v": "l", "w": 6}', '{"id": 2, "v": "l"}');
ROLLBACK;
SELECT outcome('{"id": 4, "v": "l"}');
-- code of the owner's that changes a partition meanwhile
CREATE FUNCTION public.drops(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN IF $1 = 9 THEN ALTER TABLE public.fast DETACH PARTITION public.fast_2; END IF; RETURN true; END$$;
SELECT kafka_sink.alter_sink('fast', filter => 'public.drops(id)');
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1}'), rec('{"id": 9}')]);
SELECT kafka_sink.alter_sink('fast', reset => '{filter}');
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
DROP TABLE fast, general;

-- --- rights: the table's count ---

CREATE ROLE regress_ks_part;
CREATE SCHEMA theirs;
SELECT make($$
    CREATE TABLE @ (id int, v text) PARTITION BY LIST (id);
    CREATE TABLE theirs.@_1 PARTITION OF @ FOR VALUES IN (1);
    GRANT INSERT ON @ TO regress_ks_part;$$);
SELECT kafka_sink.alter_sink('fast', owner => 'regress_ks_part');
SET ROLE regress_ks_part;
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1}')]);
RESET client_min_messages;
INSERT INTO theirs.fast_1 VALUES (1);
SELECT apply('fast', ARRAY[rec('{"id": 1}'), rec('{"id": 2}')]);
RESET ROLE;
REVOKE INSERT ON fast FROM regress_ks_part;
SET ROLE regress_ks_part;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1}')]);
RESET ROLE;
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
DROP TABLE fast, general;
DROP SCHEMA theirs;
DROP ROLE regress_ks_part;

-- --- foreign keys ---

CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE other (id int PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 9);
INSERT INTO other SELECT generate_series(1, 5);
SELECT make($$
    CREATE TABLE @ (id int, p int REFERENCES parent, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM (0) TO (100);
    CREATE TABLE @_2 (p int, v text, id int NOT NULL, FOREIGN KEY (p) REFERENCES other);
    ALTER TABLE @ ATTACH PARTITION @_2 FOR VALUES FROM (100) TO (200);$$);
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "p": 9}'), rec('{"id": 101, "p": 5}'), rec('{"id": 2}'), rec('{"id": 102, "p": null}')]);
RESET client_min_messages;
SELECT apply('general', ARRAY[rec('{"id": 1, "p": 9}'), rec('{"id": 101, "p": 5}'), rec('{"id": 2}'), rec('{"id": 102, "p": null}')]);
SELECT outcome('{"id": 3, "p": 9}', '{"id": 4, "p": 10}');
SELECT outcome('{"id": 3, "p": 9}', '{"id": 104, "p": 9}');
SELECT outcome('{"id": 3, "p": 9}', '{"id": 104, "p": 11}');
SELECT outcome('{"id": 1, "p": 10}');
SELECT kafka_sink.alter_sink(s, on_error => 'dead_letter') FROM unnest('{fast,general}'::text[]) s;
SELECT outcome('{"id": 3, "p": 9}', '{"id": 4, "p": 10}', '{"id": 104, "p": 9}', '{"id": 105, "p": 4}', '{"id": 1}', '{"id": 200}');
SELECT sink, convert_from(value, 'UTF8') AS value, sqlstate, message FROM kafka_sink.dead_letters ORDER BY sink, id;
DELETE FROM kafka_sink.dead_letters;
-- as a replica nothing is asked
SET session_replication_role = replica;
SELECT outcome('{"id": 106, "p": 77}');
RESET session_replication_role;
SELECT * FROM done();
-- between partitions of one table, and to a table that refers to them
SELECT make($$
    CREATE TABLE @ (id int, p int) PARTITION BY LIST (p);
    CREATE TABLE @_1 PARTITION OF @ (PRIMARY KEY (id)) FOR VALUES IN (1);
    CREATE TABLE @_2 PARTITION OF @ (FOREIGN KEY (id) REFERENCES @_1) FOR VALUES IN (2);
    CREATE TABLE @_ref (id int REFERENCES @_1);$$);
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1, "p": 1}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 2, "p": 2}'), rec('{"id": 2, "p": 1}')]);
RESET client_min_messages;
SELECT apply('general', ARRAY[rec('{"id": 1, "p": 1}')]), apply('general', ARRAY[rec('{"id": 2, "p": 2}'), rec('{"id": 2, "p": 1}')]);
SELECT outcome('{"id": 3, "p": 2}');
DROP TABLE fast_ref, general_ref;
SELECT * FROM done();
-- each topic a target, one of which refers to the other; filters that look at rows
CREATE TABLE above (id int PRIMARY KEY);
SELECT make($$
    CREATE TABLE @ (id int, p int REFERENCES above) PARTITION BY LIST (id);
    CREATE TABLE @_1 PARTITION OF @ FOR VALUES IN (1);
    CREATE TABLE @_2 PARTITION OF @ FOR VALUES IN (2);$$);
SELECT kafka_sink.drop_sink('general');
SELECT kafka_sink.create_sink('general');
SELECT kafka_sink.register_topic('general', 'below', target => 'general'), kafka_sink.register_topic('general', 'above', target => 'above');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('general', ARRAY[ROW('below', NULL, NULL, NULL, NULL, '{"id": 1, "p": 5}', NULL), ROW('above', NULL, NULL, NULL, NULL, '{"id": 5}', NULL), ROW('below', NULL, NULL, NULL, NULL, '{"id": 2, "p": 5}', NULL)]::kafka_sink.record[]);
RESET client_min_messages;
CREATE FUNCTION public.fresh(int) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT NOT EXISTS (SELECT FROM public.fast WHERE id = $1)';
SELECT kafka_sink.alter_sink('fast', filter => 'public.fresh(id)');
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"id": 1}'), rec('{"id": 1}'), rec('{"id": 2, "p": 5}'), rec('{"id": 2}')]);
SELECT tableoid::regclass, * FROM fast UNION ALL SELECT tableoid::regclass, * FROM general ORDER BY 1;
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
DROP TABLE fast, general, above, parent, other;
DROP TABLE outcomes;
DROP FUNCTION rec, pick, keyed, apply, outcome, make, change, done, drops, fresh, target_kb, fast_shout, general_shout, fast_note, general_note;
DROP EXTENSION kafka_sink;
