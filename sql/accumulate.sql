-- Modes update and accumulate, and update_if, against a fold of the same records.
CREATE EXTENSION kafka_sink;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
\set SHOW_CONTEXT always
CREATE FUNCTION r(value text, key text DEFAULT NULL, off bigint DEFAULT NULL, part integer DEFAULT 0)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(CASE WHEN off IS NULL THEN NULL ELSE 't' END, CASE WHEN off IS NULL THEN NULL ELSE part END,
             off, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;

-- update: only rows that are there, only fields that are given
CREATE TABLE t (id int PRIMARY KEY, a int CHECK (a < 100), b text DEFAULT 'dflt', n serial);
INSERT INTO t (id, a, b) VALUES (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'update', delete_enabled => true);
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "a": 10}'), r('{"id": 1, "b": null}'), r('{"id": 9, "a": 1}'), r(NULL, '2'), r('{"id": 2, "a": 5}'), r('{"id": 3}')]);
TABLE t ORDER BY id;
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 1, "a": 11}'), r('{"id": 1, "a": 100}'), r('{"id": 1, "a": 12}')]);
SELECT kafka_sink.ingest('s', ARRAY[r('{"a": 11}')]);
-- each partition has its own
SELECT kafka_sink.seek('s', '{"t": {"0": 0, "1": 0}}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "a": 20}', off => 0), r('{"id": 9, "a": 20}', off => 0, part => 1), r('{"id": 3, "b": "x"}', off => 1, part => 1)]);
SELECT part, consumed, applied, deleted, unmatched, superseded FROM kafka_sink.txn_offsets ORDER BY part;
TABLE t ORDER BY id;
SELECT kafka_sink.drop_sink('s');
CREATE TABLE k (id int PRIMARY KEY);
SELECT kafka_sink.create_sink('s', target => 'k', insert_mode => 'update');
DROP TABLE t, k;

-- update_if: each record in its turn
CREATE TABLE t (id int PRIMARY KEY, at int, v text);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', update_if => 't.at < excluded.at');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "at": 5, "v": "a"}'), r('{"id": 1, "at": 9, "v": "b"}'), r('{"id": 1, "at": 7, "v": "late"}'), r('{"id": 2, "at": 1, "v": "c"}')]);
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "at": 8, "v": "late"}'), r('{"id": 2, "at": 2, "v": "d"}')]);
TABLE t ORDER BY id;
SELECT kafka_sink.alter_sink('s', insert_mode => 'update', update_if => 'excluded.v <> ''no'' AND t.id IN (SELECT 2)');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 2, "v": "no"}'), r('{"id": 2, "v": "yes"}'), r('{"id": 1, "v": "yes"}'), r('{"id": 3, "v": "yes"}')]);
TABLE t ORDER BY id;
SELECT kafka_sink.alter_sink('s', update_if => 'at < 1');
SELECT kafka_sink.alter_sink('s', update_if => 'true); DELETE FROM t WHERE (true');
SELECT kafka_sink.alter_sink('s', update_if => 't.at < 1) OR (true');
SELECT kafka_sink.alter_sink('s', update_if => 't.at');
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- accumulate: what is refused
CREATE TABLE t (id int PRIMARY KEY, total numeric(8,2), hits int, low date, high text, first text, last text, j json, x bigint);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '[]');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"total": "avg"}');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"nope": "sum"}');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"id": "sum"}');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"high": "sum"}');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"j": "max"}');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"high": "count"}');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"x": "sum"}', columns => '{"x": null}');
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', update_if => 'true', accumulate => '{"x": "sum"}');
ALTER TABLE t DROP COLUMN j;

-- the seed of it: metric = metric + x, under the guard
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', delete_enabled => true, pk_fields => '{id}',
    accumulate => '{"total": "sum", "hits": "count", "low": "min", "high": "max", "first": "first", "x": "sum"}');
SELECT kafka_sink.seek('s', '{"t": {"0": 0, "1": 0}}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"id": 1, "total": 1.5, "low": "2026-02-01", "high": "b", "first": "f1", "last": "l1"}', off => 0),
    r('{"id": 1, "total": 2.25, "low": "2026-01-01", "high": "c", "first": "f2", "last": "l2"}', off => 1),
    r('{"id": 2, "total": 1}', off => 0, part => 1),
    r('{"id": 1, "total": null, "high": "a"}', off => 2)]);
TABLE t ORDER BY id;
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"id": 1, "total": -1, "low": "2027-01-01", "high": "d", "first": "f3", "last": "l3"}', off => 3),
    r('{"id": 2, "x": 7, "first": "g"}', off => 1, part => 1)]);
TABLE t ORDER BY id;
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 1, "total": 1}', off => 3)]);
SELECT part, off, consumed, applied, superseded FROM kafka_sink.txn_offsets ORDER BY part;
-- sums that do not fit are the record's error, whether in the batch or with the row
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 1, "total": 999990}'), r('{"id": 2, "total": 1}'), r('{"id": 1, "total": 100}')]);
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 3, "x": 9223372036854775807}'), r('{"id": 3, "x": 1}'), r('{"id": 3, "x": 1}')]);
CREATE DOMAIN small AS int CHECK (value < 10);
CREATE TABLE dom (id int PRIMARY KEY, n small, c small);
SELECT kafka_sink.create_sink('d', target => 'dom', insert_mode => 'accumulate', accumulate => '{"n": "sum", "c": "count"}');
SELECT kafka_sink.ingest('d', ARRAY[r('{"id": 1, "n": 7}'), r('{"id": 1, "n": 7}')]);
SELECT kafka_sink.ingest('d', ARRAY[r('{"id": 1, "n": 7}'), r('{"id": 1, "n": 2}')]);
SELECT kafka_sink.ingest('d', ARRAY[r('{"id": 1, "n": 1}')]);
TABLE dom;
SELECT kafka_sink.drop_sink('d');
DROP TABLE dom;
DROP DOMAIN small;
-- a tombstone takes with it what came before
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "total": 1}'), r('{"id": 1, "total": 1}'), r(NULL, '1'), r('{"id": 1, "total": 3}'), r('{"id": 1, "total": 4}'), r(NULL, '9')]);
SELECT * FROM t WHERE id = 1;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
-- of rows that others refer to as well: by SQL, for only triggers tell whether they may go
CREATE TABLE t (id int PRIMARY KEY, n int);
CREATE TABLE of_t (id int REFERENCES t);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"n": "sum"}', delete_enabled => true, on_error => 'dead_letter');
SET client_min_messages = debug1;
SELECT applied FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "n": 1}'), r('{"id": 1, "n": 2}'), r('{"id": 2, "n": 2}')]);
SELECT applied, deleted, superseded FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "n": 4}'), r(NULL, '1'), r('{"id": 1, "n": 5}'), r('{"id": 2, "n": 3}')]);
RESET client_min_messages;
TABLE t ORDER BY id;
INSERT INTO of_t VALUES (1);
SELECT applied, deleted, dead_lettered FROM kafka_sink.ingest('s', ARRAY[r(NULL, '1'), r(NULL, '2'), r('{"id": 1, "n": 6}')]);
TABLE t ORDER BY id;
SELECT convert_from(key, 'UTF8') AS key, sqlstate FROM kafka_sink.dead_letters;
SELECT kafka_sink.discard_dead_letters('s'), kafka_sink.drop_sink('s');
DROP TABLE of_t, t;

-- a trigger that leaves rows out: all records of the row are unmatched
CREATE TABLE t (id int PRIMARY KEY, total int);
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN CASE WHEN new.id <> 2 THEN new END; END$$;
CREATE TRIGGER skip BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION skip();
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', accumulate => '{"total": "sum"}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "total": 1}'), r('{"id": 2, "total": 1}'), r('{"id": 1, "total": 1}'), r('{"id": 2, "total": 1}'), r('{"id": 3, "total": 1}')]);
TABLE t ORDER BY id;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
DROP FUNCTION skip;

-- Kafka's coordinates as key: what is applied twice is there once
CREATE TABLE t (topic text, part int, off bigint, v text, UNIQUE (topic, part, off));
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', pk_fields => '{topic,part,off}',
    columns => '{"topic": "@topic", "part": "@partition", "off": "@offset"}');
SELECT kafka_sink.seek('s', '{"t": {"0": 0, "1": 0}}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"v": "a"}', off => 0), r('{"v": "b"}', off => 0, part => 1), r('{"v": "c"}', off => 1)]);
SELECT kafka_sink.seek('s', '{"t": {"0": 0, "1": 0}}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"v": "a2"}', off => 0), r('{"v": "b2"}', off => 0, part => 1)]);
TABLE t ORDER BY part, off;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- random records against a model that takes one after the other
CREATE TABLE rec (off bigint PRIMARY KEY, id int, x numeric, d date, s text, gone boolean);
SELECT setseed(0.5);
INSERT INTO rec
SELECT i, (random() * 40)::int,
       CASE WHEN random() < 0.9 THEN (random() * 1000)::int END,
       CASE WHEN random() < 0.9 THEN date '2026-01-01' + (random() * 300)::int END,
       CASE WHEN random() < 0.7 THEN md5(i::text) END,
       random() < 0.05
  FROM generate_series(0, 2999) i;
CREATE FUNCTION records(lo bigint, hi bigint) RETURNS kafka_sink.record[] LANGUAGE sql AS $$
    SELECT array_agg(r(CASE WHEN NOT gone THEN
                         CASE WHEN off % 2 = 0 THEN jsonb_strip_nulls(v) ELSE v END::text END,
                       id::text, off / 2, (off % 2)::int) ORDER BY off)
      FROM rec, LATERAL (SELECT jsonb_build_object('id', id, 'x', x, 'd', d, 's', s)) AS j(v)
     WHERE off >= lo AND off < hi$$;
CREATE TABLE model (id int PRIMARY KEY, x numeric, n int, lo date, hi date, f text, l text, late text);
CREATE FUNCTION model_accumulate() RETURNS void LANGUAGE plpgsql AS $$
DECLARE c rec;
BEGIN
    FOR c IN SELECT * FROM rec ORDER BY off LOOP
        IF c.gone THEN DELETE FROM model m WHERE m.id = c.id; CONTINUE; END IF;
        UPDATE model m SET x = COALESCE(m.x + c.x, m.x, c.x), n = m.n + 1, lo = LEAST(m.lo, c.d), hi = GREATEST(m.hi, c.d),
               f = COALESCE(m.f, c.s), l = COALESCE(c.s, m.l) WHERE m.id = c.id;
        IF NOT FOUND THEN INSERT INTO model VALUES (c.id, c.x, 1, c.d, c.d, c.s, c.s); END IF;
    END LOOP;
END$$;
SELECT model_accumulate();
CREATE FUNCTION play(step int) RETURNS TABLE (balanced boolean) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE public.t;
    PERFORM kafka_sink.seek('s', '{"t": {"0": 0, "1": 0}}');
    FOR i IN 0 .. 2999 BY step LOOP
        PERFORM kafka_sink.ingest('s', public.records(i, i + step));
    END LOOP;
    RETURN QUERY SELECT sum(consumed) = 3000 AND bool_and(consumed = applied + deleted + superseded + unmatched)
                   FROM kafka_sink.txn_offsets;
END$$;
CREATE TABLE t (id int PRIMARY KEY, x numeric, n int, lo date, hi date, f text, l text);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', delete_enabled => true,
    columns => '{"lo": "d", "hi": "d", "f": "s", "l": "s"}',
    accumulate => '{"x": "sum", "n": "count", "lo": "min", "hi": "max", "f": "first", "l": "last"}');
-- batches of different sizes, the fast path and the general one, give the same
CREATE FUNCTION differ() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM ((SELECT id, x, n, lo, hi, f, l FROM model EXCEPT SELECT id, x, n, lo, hi, f, l FROM t)
                          UNION ALL (SELECT id, x, n, lo, hi, f, l FROM t EXCEPT SELECT id, x, n, lo, hi, f, l FROM model)) d$$;
SELECT step, play(step), differ() FROM (VALUES (3000), (700), (61)) s(step);
SET kafka_sink.fast_path = off;
SELECT step, play(step), differ() FROM (VALUES (3000), (700), (61)) s(step);
RESET kafka_sink.fast_path;
-- with an index over what is folded
CREATE INDEX ON t (x, f);
CREATE INDEX ON t (l);
SELECT step, play(step), differ() FROM (VALUES (3000), (61)) s(step);
SET enable_seqscan = off;
SELECT (SELECT array_agg(l ORDER BY l) FROM t WHERE l > '') = (SELECT array_agg(l ORDER BY l) FROM model WHERE l > '') AS by_index;
RESET enable_seqscan;
SELECT (SELECT count(*) FROM model) > 30 AS model_has_rows;
SELECT kafka_sink.drop_sink('s');

-- update, and upsert by a later date, likewise
CREATE FUNCTION model_update(mode text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c rec;
BEGIN
    TRUNCATE model;
    IF mode = 'update' THEN INSERT INTO model (id, x) SELECT i, -1 FROM generate_series(0, 40, 2) i; END IF;
    FOR c IN SELECT * FROM rec ORDER BY off LOOP
        IF c.gone AND mode <> 'update' THEN DELETE FROM model m WHERE m.id = c.id; END IF;
        CONTINUE WHEN c.gone;
        -- even offsets leave fields out, odd ones have null
        IF mode = 'update' THEN
            UPDATE model m SET x = CASE WHEN c.off % 2 = 1 OR c.x IS NOT NULL THEN c.x ELSE m.x END,
                               lo = CASE WHEN c.off % 2 = 1 OR c.d IS NOT NULL THEN c.d ELSE m.lo END,
                               f = CASE WHEN c.off % 2 = 1 OR c.s IS NOT NULL THEN c.s ELSE m.f END WHERE m.id = c.id;
        ELSE
            INSERT INTO model (id, x, lo, f) VALUES (c.id, c.x, c.d, c.s)
            ON CONFLICT (id) DO UPDATE SET x = EXCLUDED.x, lo = EXCLUDED.lo, f = EXCLUDED.f WHERE model.lo < EXCLUDED.lo;
        END IF;
    END LOOP;
END$$;
DROP TABLE t;
CREATE TABLE t (id int PRIMARY KEY, x numeric, lo date, f text);
CREATE FUNCTION differ_update() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM ((SELECT id, x, lo, f FROM model EXCEPT SELECT id, x, lo, f FROM t)
                          UNION ALL (SELECT id, x, lo, f FROM t EXCEPT SELECT id, x, lo, f FROM model)) d$$;
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', delete_enabled => true,
    columns => '{"lo": "d", "f": "s"}', on_tombstone => 'ignore', update_if => 't.lo < excluded.lo');
SELECT model_update('newer');
SELECT step, play(step), differ_update() FROM (VALUES (3000), (700), (61)) s(step);
SELECT kafka_sink.alter_sink('s', insert_mode => 'update', delete_enabled => false, reset => '{update_if}');
SELECT model_update('update');
CREATE OR REPLACE FUNCTION play(step int) RETURNS TABLE (balanced boolean) LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE public.t;
    INSERT INTO public.t (id, x) SELECT i, -1 FROM generate_series(0, 40, 2) i;
    PERFORM kafka_sink.seek('s', '{"t": {"0": 0, "1": 0}}');
    FOR i IN 0 .. 2999 BY step LOOP
        PERFORM kafka_sink.ingest('s', public.records(i, i + step));
    END LOOP;
    RETURN QUERY SELECT sum(consumed) = 3000 AND bool_and(consumed = applied + filtered + unmatched)
                   FROM kafka_sink.txn_offsets;
END$$;
SELECT step, play(step), differ_update() FROM (VALUES (3000), (700), (61)) s(step);
SELECT count(*) = 21 AS model_has_rows, count(*) FILTER (WHERE x > 0) > 10 AS changed FROM model;
SELECT kafka_sink.drop_sink('s');

DROP TABLE t, model, rec;
DROP FUNCTION r, records, model_accumulate, model_update, play, differ, differ_update;
DROP EXTENSION kafka_sink;
