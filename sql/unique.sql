-- Unique values beside the key that go from one row to another within a batch:
-- free behind the row that gives them up, in the order of the key, taken before
-- it; the same with and without the fast path.
CREATE EXTENSION kafka_sink;
CREATE FUNCTION rec(value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(substring(value FROM '"id": *(\d+)'), 'UTF8'),
    CASE WHEN value LIKE '%gone%' THEN NULL ELSE convert_to(value, 'UTF8') END, NULL)::kafka_sink.record$$;
CREATE TABLE fast (id int PRIMARY KEY, u int, v text COLLATE "C", n int CHECK (n < 1000),
    CONSTRAINT u UNIQUE (u), CONSTRAINT vn UNIQUE (v, n));
CREATE TABLE general (LIKE fast INCLUDING ALL EXCLUDING INDEXES);
ALTER TABLE general ADD PRIMARY KEY (id), ADD UNIQUE (u), ADD UNIQUE (v, n);
SELECT kafka_sink.create_sink(t, target => t, insert_mode => 'upsert', delete_enabled => true, key_format => 'json')
FROM unnest('{fast,general}'::text[]) t;
-- what becomes of the records, and of the table
CREATE FUNCTION apply(sink text, records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; message text; detail text; context text;
BEGIN
    PERFORM set_config('kafka_sink.fast_path', (sink = 'fast')::text, true);
    BEGIN
        result := kafka_sink.ingest(sink, records);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
        result := concat_ws(' ', sqlstate, detail, substring(context FROM 'record \d+'));
    END;
    EXECUTE format('SELECT concat_ws('' '', $1, string_agg(t::text, '' '' ORDER BY id)) FROM %I t', sink) INTO result USING result;
    RETURN result;
END$$;
CREATE FUNCTION paths(VARIADIC records text[]) RETURNS SETOF text LANGUAGE sql AS $$
SELECT DISTINCT apply(s, (SELECT array_agg(rec(r) ORDER BY nth) FROM unnest(records) WITH ORDINALITY r(r, nth)))
FROM unnest('{fast,general}'::text[]) s$$;
SELECT paths('{"id": 1, "u": 1}', '{"id": 2, "u": 2}', '{"id": 3, "u": 3, "v": "x", "n": 3}', '{"id": 4, "u": 4}');
-- given up behind: refused where the log has it in this order, too
SELECT paths('{"id": 1, "u": 2}', '{"id": 2, "u": 20}');
-- one record of its key is refused by the table if the search comes to it alone
SELECT paths('{"id": 4, "u": 4, "n": 1000}', '{"id": 1, "u": 2}', '{"id": 2, "u": 20}', '{"id": 4, "u": 40}');
-- the log has it in the other order: the search applies it
SELECT paths('{"id": 2, "u": 20}', '{"id": 1, "u": 2}');
-- given up before
SELECT paths('{"id": 2, "u": 1}', '{"id": 1, "u": 10}');
-- by a new row
SELECT paths('{"id": 0, "u": 4}', '{"id": 4, "u": 41}');
SELECT paths('{"id": 5, "u": 4}', '{"id": 4, "u": 42}');
-- of several columns, and without one of them
SELECT paths('{"id": 1, "u": 10, "v": "x", "n": 3}', '{"id": 3, "u": 3, "v": "y", "n": 3}');
SELECT paths('{"id": 1, "u": 10, "v": "x"}', '{"id": 3, "u": 3, "v": "x"}');
-- a row that is deleted makes room for all
SELECT paths('{"id": 1, "u": 5, "v": "x"}', '{"id": 2, "u": 3, "v": "x"}', '{"id": 3, "gone": true}');
-- random ones
SELECT setseed(0.42);
CREATE TABLE outcomes (mode text, nth int, fast text, general text);
CREATE PROCEDURE compare(mode text) LANGUAGE plpgsql AS $$
DECLARE records kafka_sink.record[];
BEGIN
    FOR nth IN 1 .. 400 LOOP
        SELECT array_agg(rec(CASE WHEN random() < 0.1 THEN format('{"id": %s, "gone": true}', id)
                ELSE format('{"id": %s, "u": %s, "v": "%s", "n": %s}', id,
                    CASE WHEN random() < 0.3 THEN 'null' ELSE floor(random() * 60)::text END, floor(random() * 4), floor(random() * 15)) END))
        INTO records FROM (SELECT floor(random() * 30) AS id FROM generate_series(1, 2 + nth % 4)) i;
        INSERT INTO outcomes VALUES (mode, nth, apply('fast', records), apply('general', records));
    END LOOP;
END$$;
CALL compare('upsert');
SELECT kafka_sink.alter_sink(t, insert_mode => 'accumulate', accumulate => '{"u": "last", "v": "max", "n": "sum"}')
FROM unnest('{fast,general}'::text[]) t;
CALL compare('accumulate');
SELECT mode, count(*) FILTER (WHERE fast LIKE '23505%') > 40 AS many_refused, count(*) FILTER (WHERE fast LIKE '(%') > 40 AS many_taken
FROM outcomes GROUP BY mode ORDER BY mode;
SELECT * FROM outcomes WHERE fast IS DISTINCT FROM general;
SELECT kafka_sink.drop_sink(s) FROM unnest('{fast,general}'::text[]) s;
DROP TABLE fast, general, outcomes;
DROP PROCEDURE compare;
-- A batch of thousands of rows, one of which changes its unique value, looks for
-- all of them, where many entries are of rows that are gone (which a scan remembers
-- until it ends).
CREATE TABLE gone (id int PRIMARY KEY, u int UNIQUE);
SELECT kafka_sink.create_sink('gone', target => 'gone', insert_mode => 'upsert');
SELECT kafka_sink.seek('gone', '{"t": {"0": 0}}');
CREATE FUNCTION take_over(round int) RETURNS text LANGUAGE sql AS $$
    SELECT i::text FROM kafka_sink.ingest('gone', (
        SELECT array_agg(ROW('t', 0, round * 4000 + n - 1, NULL, NULL,
            convert_to(format('{"id": %s, "u": %s}', round * 4000 + n, n), 'UTF8'), NULL)::kafka_sink.record ORDER BY n)
        FROM generate_series(1, 4000) n)) i;
$$;
INSERT INTO gone SELECT -n, n FROM generate_series(1, 4000) n;
DELETE FROM gone;
INSERT INTO gone VALUES (1, -1);
SELECT take_over(0);
DELETE FROM gone;
INSERT INTO gone VALUES (4001, -1);
SELECT take_over(1);
SELECT count(*), count(DISTINCT u), sum(id), sum(u) FROM gone;
SELECT kafka_sink.drop_sink('gone');
DROP TABLE gone;
DROP FUNCTION take_over;
DROP FUNCTION rec, apply, paths;
DROP EXTENSION kafka_sink;
