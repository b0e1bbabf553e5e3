-- The fast path of upserts where it has to know more than the record: columns that
-- no record fills, keys that are equal and yet differ, patches and deletes of
-- Debezium; the same random batches by SQL leave the same rows.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT setseed(0.17);
CREATE FUNCTION rec(key text, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION pick(VARIADIC text[]) RETURNS text LANGUAGE sql VOLATILE AS
$$SELECT $1[1 + floor(random() * cardinality($1))::int]$$;
-- a call: what it says
CREATE FUNCTION apply(sink text, records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; context text;
BEGIN
    PERFORM set_config('kafka_sink.fast_path', (sink LIKE 'fast%')::text, true);
    RETURN kafka_sink.ingest(sink, records)::text;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
    RETURN replace(concat_ws(' ', sqlstate, message, regexp_replace(detail, 'Failing row contains.*', 'Failing row'), substring(context FROM 'record \d+')), sink, 'it');
END$$;
CREATE TABLE outcomes (what text, nth int, fast text, general text);
-- batches of random records to both
CREATE FUNCTION compare(what text, record text, calls int, most int) RETURNS TABLE (taken boolean, refused boolean, different bigint) LANGUAGE plpgsql AS $$
DECLARE records kafka_sink.record[];
BEGIN
    FOR nth IN 1 .. calls LOOP
        EXECUTE format('SELECT array_agg(%s) FROM generate_series(1, 1 + floor(random() * %s)::int) i, (VALUES (%s)) n(nth)', record, most, nth) INTO records;
        INSERT INTO outcomes VALUES (what, nth, apply('fast', records), apply('general', records));
    END LOOP;
    RETURN QUERY SELECT count(*) FILTER (WHERE o.fast LIKE '(%') > calls / 4, count(*) FILTER (WHERE o.fast NOT LIKE '(%') > 0,
        count(*) FILTER (WHERE o.fast <> o.general) FROM outcomes o WHERE o.what = $1;
END$$;
-- both tables of a definition, and a sink for each
CREATE FUNCTION make(definition text, indexes text[], columns jsonb, envelope text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text; i text;
BEGIN
    FOREACH t IN ARRAY '{fast,general}'::text[] LOOP
        EXECUTE format('CREATE TABLE %I (%s)', t, definition);
        FOREACH i IN ARRAY indexes LOOP EXECUTE format(i, t); END LOOP;
        PERFORM kafka_sink.create_sink(t, target => t, insert_mode => 'upsert', delete_enabled => true, columns => columns, envelope => coalesce(envelope, 'none'),
            pk_fields => CASE WHEN definition LIKE '%UNIQUE (k)%' THEN '{k}'::text[] END);
    END LOOP;
END$$;
-- rows of one and not of the other, but for numbers, of which attempts that were
-- rolled back have spent some; and done with it
CREATE FUNCTION done() RETURNS TABLE (rows boolean, different bigint, damaged bigint) LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL enable_seqscan = off;
    SELECT count(*) > 10 INTO rows FROM fast;
    SELECT count(*) INTO different FROM
        ((SELECT (to_jsonb(f) - 'no' - 's')::text FROM fast f EXCEPT ALL SELECT (to_jsonb(g) - 'no' - 's')::text FROM general g) UNION ALL
         (SELECT (to_jsonb(g) - 'no' - 's')::text FROM general g EXCEPT ALL SELECT (to_jsonb(f) - 'no' - 's')::text FROM fast f)) x;
    SELECT count(*) INTO damaged FROM fast f WHERE NOT EXISTS (SELECT FROM fast g WHERE g.k = f.k AND g::text = f::text);
    PERFORM kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
    DROP TABLE fast, general;
    RETURN NEXT;
END$$;

-- defaults of new rows, which updates leave alone: constants, an identity that is the
-- primary key, values that are generated, a domain that refuses NULL
CREATE DOMAIN known AS text NOT NULL DEFAULT 'known';
SELECT make('gone int, no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k int NOT NULL, v text, made timestamptz DEFAULT ''2026-01-01'',
    twice int GENERATED ALWAYS AS (n * 2) STORED, n int, note text DEFAULT ''a'' || ''b'', nothing int, by_domain known, s serial,
    CHECK (n < 90), CHECK (twice <> 26), UNIQUE (k)',
    ARRAY['CREATE INDEX ON %I (note, n)', 'CREATE INDEX ON %I (twice)', 'ALTER TABLE %I DROP gone', 'CREATE UNIQUE INDEX ON %I (s)'],
    '{"no": null, "made": null, "note": null, "nothing": null, "by_domain": null, "s": null}', NULL);
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('500', '{"k": 500, "n": 1}'), rec('501', '{"k": 501}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('500', '{"k": 500, "n": 2}'), rec('501', NULL)]);
RESET client_min_messages;
SELECT * FROM fast;
SELECT apply('general', ARRAY[rec('500', '{"k": 500, "n": 1}'), rec('501', '{"k": 501}')]), apply('general', ARRAY[rec('500', '{"k": 500, "n": 2}'), rec('501', NULL)]);
-- what others have written there stays
UPDATE fast SET note = 'changed', nothing = 5, by_domain = repeat('long', 1000);
UPDATE general SET note = 'changed', nothing = 5, by_domain = repeat('long', 1000);
SELECT * FROM compare('defaults', $$CASE WHEN random() < 0.2 THEN rec((i * 7 % 60)::text, NULL) ELSE
    rec((i * 7 % 60)::text, format('{"k": %s, "v": "%s", "n": %s}', CASE WHEN random() < 0.3 THEN 500 ELSE i * 7 % 60 END, i, floor(random() * 89 + CASE WHEN random() < 0.004 THEN 10 ELSE 0 END)::int)) END$$, 60, 60);
SELECT count(DISTINCT no) = count(*), count(DISTINCT s) = count(*) FROM fast;
SELECT note, nothing, length(by_domain) FROM fast WHERE k = 500;
SELECT * FROM done();
-- a column that must not be NULL and has no default: refused, though the row is there
SELECT make('k int PRIMARY KEY, v text, must int NOT NULL', '{}', '{"must": null}', NULL);
INSERT INTO fast VALUES (1, 'old', 1);
INSERT INTO general VALUES (1, 'old', 1);
SELECT apply(s, ARRAY[rec('1', '{"k": 1, "v": "new"}')]) FROM unnest('{fast,general}'::text[]) s;
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
DROP TABLE fast, general;
-- an identity that records fill, and updates may not change
SELECT make('k int PRIMARY KEY, v text, a bigint GENERATED ALWAYS AS IDENTITY', ARRAY['CREATE INDEX ON %I (a)'], '{}', NULL);
SELECT * FROM compare('always', $$rec(NULL, format('{"k": %s, "v": "%s"%s}', floor(random() * 40)::int, i, pick('', ',"a":' || i)))$$, 30, 40);
SELECT count(*) FROM fast f JOIN general g USING (k) WHERE f.a <> g.a;
SELECT * FROM done();

-- the spelling of a key stays: numeric, char(n) with blanks, floats, bytea
SELECT make('k numeric PRIMARY KEY, v text, w numeric', ARRAY['CREATE INDEX ON %I (w, k)'], '{}', NULL);
SELECT * FROM compare('numeric', $$CASE WHEN random() < 0.1 THEN rec((i % 30)::text, NULL) ELSE
    rec('1', format('{"k": %s, "v": "%s", "w": %s}', floor(random() * 30)::int || pick('', '.0', '.00'), i, pick('1', '1.0', '2'))) END$$, 40, 40);
SELECT * FROM done();
SELECT make('k bpchar PRIMARY KEY, v text', '{}', '{}', NULL);
SELECT * FROM compare('bpchar', $$rec('1', format('{"k": "%s", "v": "%s"}', pick('a', 'b', 'ab') || pick('', ' ', '  '), i))$$, 30, 30);
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
SELECT count(*) FROM (SELECT octet_length(k), f::text FROM fast f EXCEPT SELECT octet_length(k), g::text FROM general g) x;
DROP TABLE fast, general;
SELECT make('k char(4), l float8, v text, PRIMARY KEY (k, l)', ARRAY['CREATE INDEX ON %I (v, k)'], '{}', NULL);
SELECT * FROM compare('char', $$rec('1', format('{"k": "%s", "l": %s, "v": "%s"}', pick('a', 'b', 'ab', 'é') || pick('', ' ', '  '), pick('0', '"-0"', '1', '"NaN"'), i))$$, 30, 30);
SELECT count(*) FROM fast;
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
SELECT count(*) FROM (SELECT f::text FROM fast f EXCEPT SELECT g::text FROM general g) x;
DROP TABLE fast, general;

-- Debezium: changes, deletes, tombstones, and changes that lack TOASTed values
SELECT make('k int PRIMARY KEY, v text, big text, n numeric(8,2), own int DEFAULT 4, u int UNIQUE', ARRAY['CREATE INDEX ON %I (big, n)'], '{"own": null}', 'debezium');
SET client_min_messages = debug1;
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"k":1}', '{"before":null,"after":{"k":1,"v":"a","big":"b","n":"1.5"},"op":"c"}'), rec('{"k":2}', '{"before":null,"after":{"k":2,"v":"a","big":"b","n":"1.5"},"op":"c"}')]);
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"k":1}', '{"before":null,"after":{"k":1,"v":"c","big":"__debezium_unavailable_value","n":"2"},"op":"u"}'), rec('{"k":2}', '{"before":{"k":2},"after":null,"op":"d"}'), rec('{"k":2}', NULL),
    rec('{"k":3}', '{"before":null,"after":{"k":3,"v":"e","big":"f","n":"1.5"},"op":"c"}')]);
RESET client_min_messages;
SELECT * FROM fast ORDER BY k;
DELETE FROM fast;
SELECT * FROM compare('debezium', $$CASE floor(random() * 12)
    WHEN 0 THEN rec(format('{"k":%s}', i * 11 % 50), format('{"before":{"k":%s},"after":null,"op":"d"}', i * 11 % 50))
    WHEN 1 THEN rec(format('{"k":%s}', i * 11 % 50), NULL)
    ELSE rec(format('{"k":%s}', i * 11 % 50), format('{"before":null,"after":{"k":%s,"v":"%s","big":"%s","n":"%s","u":%s},"op":"%s"}', i * 11 % 50, i,
        CASE WHEN random() < 0.3 AND nth > 10 THEN '__debezium_unavailable_value' ELSE pick('short', repeat('x', 3000)) END, i, CASE WHEN random() < 0.9 THEN (i * 11 % 50)::text ELSE 'null' END, pick('c', 'u'))) END$$, 60, 25);
SELECT count(*) FILTER (WHERE fast LIKE '(%') > 5 AS with_patches FROM outcomes WHERE what = 'debezium' AND nth > 10;
SELECT * FROM done();
SELECT * FROM outcomes WHERE fast <> general;
-- a change that lacks values reaches the rows of children
CREATE TABLE parent (k int PRIMARY KEY, v text, big text);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1, 'old', 'kept');
INSERT INTO child VALUES (1, 'old', 'kept');
SELECT kafka_sink.create_sink('fast', target => 'parent', insert_mode => 'upsert', envelope => 'debezium', on_tombstone => 'ignore');
SELECT kafka_sink.ingest('fast', ARRAY[rec('{"k":1}', '{"before":null,"after":{"k":1,"v":"new","big":"__debezium_unavailable_value"},"op":"u"}')]);
SELECT tableoid::regclass, * FROM parent ORDER BY 1;
SELECT kafka_sink.drop_sink('fast');
DROP TABLE parent, child;
DROP TABLE outcomes;
DROP DOMAIN known;
DROP FUNCTION rec, pick, apply, compare, make, done;
DROP EXTENSION kafka_sink;
