-- Upserts of keys that lie far apart in the index of a large table: each is found
-- where it is, and nowhere else.  A row that is not found would be inserted first,
-- and then by SQL: so what was inserted is counted.
CREATE EXTENSION kafka_sink;
CREATE FUNCTION rec(key text, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE TABLE one (id bigint PRIMARY KEY, n int, note text) WITH (autovacuum_enabled = off);
CREATE TABLE two (id int, part text COLLATE "C", n int, note text, PRIMARY KEY (part, id)) WITH (autovacuum_enabled = off);
-- several entries for a key: rows that move with an entry each, and one that is gone
CREATE INDEX ON one (n);
CREATE INDEX ON two (n);
INSERT INTO one SELECT g * 2, g, 'old' FROM generate_series(1, 40000) g;
INSERT INTO two SELECT g * 2, 'some part ' || g % 3, g, 'old' FROM generate_series(1, 40000) g;
DELETE FROM one WHERE id % 1600 = 800;
DELETE FROM two WHERE id % 1600 = 800;
INSERT INTO one SELECT g * 1600, 0, 'again' FROM generate_series(0, 49) g WHERE g % 2 = 0 ON CONFLICT DO NOTHING;
UPDATE one SET n = -n WHERE id % 3200 = 0;
UPDATE one SET n = n + 1 WHERE id % 3200 = 0;
UPDATE two SET n = -n WHERE id % 3200 = 0;
ANALYZE one, two;
CREATE TABLE one_by_sql (LIKE one INCLUDING ALL);
CREATE TABLE two_by_sql (LIKE two INCLUDING ALL);
INSERT INTO one_by_sql TABLE one;
INSERT INTO two_by_sql TABLE two;
SELECT kafka_sink.create_sink(t, target => t::regclass, insert_mode => 'upsert', delete_enabled => true)
FROM unnest('{one,two,one_by_sql,two_by_sql}'::text[]) t;
-- every 400th number: there, deleted, odd (never there), in an order of its own; some twice
CREATE FUNCTION records(round int) RETURNS kafka_sink.record[] LANGUAGE sql AS $$
SELECT array_agg(rec(format('{"id": %s, "part": "some part %s"}', id, id / 2 % 3),
           CASE WHEN round = 2 AND g % 7 = 0 THEN NULL
           ELSE format('{"id": %s, "part": "some part %s", "n": %s, "note": "round %s"}', id, id / 2 % 3, g, round) END)
           ORDER BY g * 7919 % 211, g)
FROM (SELECT g, g % 205 * 400 + g % 3 / 2 AS id FROM generate_series(1, 210) g) g$$;
-- what the sink says, and what was done to the table
CREATE FUNCTION apply(sink text, round int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    at int[] := ARRAY[pg_stat_get_xact_tuples_inserted(sink::regclass), pg_stat_get_xact_tuples_updated(sink::regclass),
                      pg_stat_get_xact_tuples_deleted(sink::regclass)];
BEGIN
    PERFORM set_config('kafka_sink.fast_path', (sink NOT LIKE '%by_sql')::text, true);
    result := kafka_sink.ingest(sink, records(round));
    RETURN format('%s: %s inserted, %s updated, %s deleted', result, pg_stat_get_xact_tuples_inserted(sink::regclass) - at[1],
        pg_stat_get_xact_tuples_updated(sink::regclass) - at[2], pg_stat_get_xact_tuples_deleted(sink::regclass) - at[3]);
END$$;
SELECT sink, round, apply(sink, round) FROM generate_series(1, 3) round, unnest('{one,one_by_sql,two,two_by_sql}'::text[]) sink
ORDER BY sink, round;
SELECT (SELECT count(*) FROM (TABLE one EXCEPT ALL TABLE one_by_sql) x), (SELECT count(*) FROM (TABLE one_by_sql EXCEPT ALL TABLE one) x),
    (SELECT count(*) FROM (TABLE two EXCEPT ALL TABLE two_by_sql) x), (SELECT count(*) FROM (TABLE two_by_sql EXCEPT ALL TABLE two) x);
SELECT count(*), count(*) FILTER (WHERE note = 'round 3'), count(*) FILTER (WHERE note = 'round 2'), count(*) FILTER (WHERE note = 'round 1') FROM one;
-- an index that runs backwards, unique values that change in many rows, and records
-- that are refused by a table that has other indexes too
CREATE TABLE back (id int NOT NULL, note text);
CREATE UNIQUE INDEX ON back (id DESC);
CREATE TABLE moved (id int PRIMARY KEY, u int UNIQUE);
CREATE TABLE listed (id int PRIMARY KEY, n int);
CREATE INDEX ON listed (n);
INSERT INTO back SELECT g, 'old' FROM generate_series(1, 1000, 2) g;
INSERT INTO moved SELECT g, g FROM generate_series(1, 3000) g;
INSERT INTO listed SELECT g, g FROM generate_series(1, 100) g;
SELECT kafka_sink.create_sink('back', target => 'back', insert_mode => 'upsert', pk_fields => '{id}');
SELECT kafka_sink.create_sink('moved', target => 'moved', insert_mode => 'upsert');
SELECT kafka_sink.create_sink('listed', target => 'listed', on_error => 'ignore');
SELECT kafka_sink.ingest('back', (SELECT array_agg(rec(NULL, format('{"id": %s, "note": "new"}', g)) ORDER BY g * 31 % 997) FROM generate_series(1, 100) g));
SELECT count(*), count(*) FILTER (WHERE note = 'new'), count(DISTINCT id) FROM back;
SELECT kafka_sink.ingest('moved', (SELECT array_agg(rec(NULL, format('{"id": %s, "u": %s}', g, 10000 - g)) ORDER BY g * 31 % 2999) FROM generate_series(1, 3000) g));
SELECT count(*), bool_and(u = 10000 - id) FROM moved;
-- the value of a row that comes later, which the server would refuse, too
SELECT kafka_sink.ingest('moved', ARRAY[rec(NULL, '{"id": 1, "u": 9998}'), rec(NULL, '{"id": 2, "u": 20000}')]);
SELECT count(*), bool_and(u = 10000 - id) FROM moved;
SELECT kafka_sink.ingest('listed', (SELECT array_agg(rec(NULL, format('{"id": %s, "n": 7}', g)) ORDER BY g) FROM generate_series(91, 120) g));
SELECT count(*), count(*) FILTER (WHERE n = 7) FROM listed;
SELECT kafka_sink.drop_sink(t) FROM unnest('{back,moved,listed}'::text[]) t;
DROP TABLE back, moved, listed;
SELECT kafka_sink.drop_sink(t) FROM unnest('{one,two,one_by_sql,two_by_sql}'::text[]) t;
DROP TABLE one, two, one_by_sql, two_by_sql;
DROP FUNCTION rec, records, apply;
DROP EXTENSION kafka_sink;
