-- Ranges for consumers of one's own: what is left of them, and what is refused.
CREATE EXTENSION kafka_sink;
CREATE VIEW o AS SELECT topic, part, start_off, off, consumed, applied, gaps,
    consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched AS adds_up,
    off - start_off = consumed + gaps AS reaches
  FROM kafka_sink.txn_offsets ORDER BY topic COLLATE "C", part;
-- what a statement answers; of an error what a program reads
CREATE FUNCTION try(sql text, OUT answer text, OUT state text, OUT stored bigint, OUT hint text) LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
    EXECUTE sql INTO answer;
    answer := coalesce(answer, 'NULL');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, answer = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    IF state LIKE 'KS%' AND detail <> '' THEN
        stored := detail::json ->> 'stored';
    END IF;
END$$;

SELECT kafka_sink.create_sink('l');
-- the first range makes the row, where it begins or where the caller says
SELECT kafka_sink.claim('l', 't', 0, 100, 150);
SELECT kafka_sink.claim('l', 't', 1, 100, 150, start_at => 0);
SELECT kafka_sink.claim('l', 't', 1, 0, 100, start_at => 0);
SELECT kafka_sink.claim('l', 't', 1, 100, 150, start_at => 0);
-- once more: nothing is left
SELECT kafka_sink.claim('l', 't', 1, 100, 150, start_at => 0) IS NULL AS nothing;
SELECT kafka_sink.claim('l', 't', 0, 100, 150) IS NULL AS nothing;
SELECT kafka_sink.claim('l', 't', 0, 120, 130) IS NULL AS nothing;
-- a part is left
SELECT kafka_sink.claim('l', 't', 0, 120, 170);
TABLE o;
-- a range is missing
SELECT * FROM try($$SELECT kafka_sink.claim('l', 't', 0, 171, 180)$$);
-- the later of two ranges has made the row: the earlier one is not taken for applied
SELECT * FROM try($$SELECT kafka_sink.claim('l', 't', 0, 50, 100)$$);
SELECT * FROM try($$SELECT kafka_sink.claim('l', 't', 0, 50, 200)$$);
-- unless the caller does not want what is before
SELECT kafka_sink.claim('l', 't', 0, 50, 200, start_at => 100);
SELECT kafka_sink.claim('l', 't', 0, 50, 100, start_at => 100) IS NULL AS nothing;
SELECT kafka_sink.claim('l', 't', 2, 0, 10, start_at => 5);
SELECT kafka_sink.claim('l', 't', 2, 0, 10, start_at => 5) IS NULL AS nothing;
SELECT kafka_sink.claim('l', 't', 3, 0, 10, start_at => 50) IS NULL AS nothing;
TABLE o;
-- an empty range says no more than where the caller stands
SELECT kafka_sink.claim('l', 't', 2, 10, 10) IS NULL AS nothing;
SELECT * FROM try($$SELECT kafka_sink.claim('l', 't', 2, 11, 11)$$);
-- the caller's transaction: both or neither
BEGIN;
SELECT kafka_sink.claim('l', 't', 2, 10, 20);
SELECT kafka_sink.claim('l', 't', 2, 20, 30);
ROLLBACK;
BEGIN;
SELECT kafka_sink.claim('l', 't', 2, 10, 15);
SAVEPOINT s;
SELECT kafka_sink.claim('l', 't', 2, 15, 30);
ROLLBACK TO s;
SELECT kafka_sink.claim('l', 't', 2, 15, 20);
COMMIT;
SELECT part, off FROM o WHERE part = 2;

-- how many records there were: gaps are exact
SELECT kafka_sink.seek('l', '{"t": {"0": 0}, "u": {"0": 0}}');
SELECT kafka_sink.claim('l', 'u', 0, 0, 100, records => 90);
SELECT kafka_sink.claim('l', 'u', 0, 100, 200, records => 0);
-- of a rest nobody has told: as many as there can be
SELECT kafka_sink.claim('l', 'u', 0, 150, 250, 60);
SELECT kafka_sink.claim('l', 'u', 0, 240, 350, 20);
-- a range that is there already counts nothing
SELECT kafka_sink.claim('l', 'u', 0, 240, 350, 20) IS NULL AS nothing;
SELECT * FROM o WHERE topic = 'u';
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'u', 0, 350, 360, 11)$$);
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'u', 0, 350, 360, -1)$$);

-- arguments, and types as drivers send them
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'u', 0, 360, 350)$$);
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'u', 0, -1, 350)$$);
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'u', -1, 350, 360)$$);
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'u', 2147483648, 350, 360)$$);
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'u', 0, 350, 360, start_at => -1)$$);
SELECT answer, state
  FROM unnest('{"NULL, ''u'', 0, 0, 1","''l'', NULL, 0, 0, 1","''l'', ''u'', NULL, 0, 1","''l'', ''u'', 0, NULL, 1","''l'', ''u'', 0, 0, NULL"}'::text[]) args,
       try(format('SELECT kafka_sink.claim(%s)', args));
SELECT * FROM try($$SELECT kafka_sink.claim('nobody', 't', 0, 0, 1)$$);
SELECT string_agg(state || ' ' || answer, E'\n') AS refused_types
  FROM (SELECT * FROM unnest('{"''l''",''l''::varchar,''l''::text}'::text[]) s(sink),
               unnest('{0,0::smallint,0::bigint,''0''}'::text[]) p(part),
               unnest('{10,10::smallint,10::bigint,''10''}'::text[]) n(off)) x,
       try(format('SELECT kafka_sink.claim(%s, ''types''::varchar, %s, 0, %s)', replace(sink, '"', ''), part, off)) WHERE state IS NOT NULL;
PREPARE jdbc(varchar, varchar, int, bigint, bigint) AS SELECT kafka_sink.claim($1, $2, $3, $4, $5);
EXECUTE jdbc('l', 'types', 0, 0, 20);
PREPARE jdbc_long(varchar, varchar, bigint, bigint, int, int) AS SELECT kafka_sink.claim($1, $2, $3, $4, $5, $6);
EXECUTE jdbc_long('l', 'types', 0, 20, 40, 20);
PREPARE jdbc_many(varchar, varchar) AS SELECT * FROM kafka_sink.claim($1, $2);
EXECUTE jdbc_many('l', '{"types": {"0": [40, 50]}}');
PREPARE psycopg(unknown, unknown, smallint, smallint, int) AS SELECT kafka_sink.claim($1, $2, $3, $4, $5);
EXECUTE psycopg('l', 'types', 0, 50, 60);
PREPARE psycopg_advance(unknown, unknown, smallint, bigint, bigint) AS SELECT kafka_sink.advance($1, $2, $3, $4, $5);
EXECUTE psycopg_advance('l', 'types', 0, 60, 70);
PREPARE jdbc_advance(varchar, varchar, int, bigint, bigint) AS SELECT kafka_sink.advance($1, $2, $3, $4, $5);
BEGIN;
EXECUTE jdbc_advance('l', 'types', 0, 70, 72);
ROLLBACK;
DEALLOCATE ALL;
-- (what setString() sends, where the number is one by its place)
SELECT kafka_sink.claim('l'::varchar(9), 'types'::varchar(9), 0, 60, 70, NULL, NULL) IS NULL AS nothing;
SELECT kafka_sink.claim('l'::bpchar, 'types'::name, 0, 60, 70) IS NULL AS nothing;

-- as a procedure
CALL kafka_sink.claim_range('l'::varchar, 'types'::varchar, 0, 60, 70);
CALL kafka_sink.claim_range('l', 'types', 0, 70, 80);
CALL kafka_sink.claim_range('l', 'types', 0, 70, 80);
CALL kafka_sink.claim_range('l', 'types', 0, 75, 90, 10);
CALL kafka_sink.claim_range('l', 'types', 0, 99, 100);
DO $$
DECLARE apply_from bigint;
BEGIN
    CALL kafka_sink.claim_range('l', 'types', 0, 80, 100, apply_from => apply_from);
    RAISE NOTICE 'from %', apply_from;
END$$;

-- many ranges: all or none, in one order
SELECT * FROM kafka_sink.claim('l', '{"b": {"10": [0, 5], "9": [0, 5]}, "B": {"0": {"from_off": 0, "until_off": 7, "records": 3, "start_at": 0}}, "u": {"0": [340, 360, 20]}}'::jsonb);
SELECT * FROM kafka_sink.claim('l', '{"b": {"10": [0, 5], "9": [3, 9, 6], "11": [2, 4, 1]}}');
SELECT * FROM try($$SELECT kafka_sink.claim('l', '{"a": {"0": [0, 5]}, "b": {"9": [9, 10], "10": [6, 7]}}')$$);
SELECT * FROM o WHERE topic NOT IN ('t', 'types');
SELECT * FROM kafka_sink.claim('l', '{}'::jsonb);
BEGIN;
CALL kafka_sink.claim_ranges('l', '{"b": {"10": [5, 8], "9": [3, 12, 6]}, "B.c": {"0": [0, 7]}, "u": {"0": [340, 360, 20]}}'::jsonb);
CALL kafka_sink.claim_ranges('l'::varchar, '{"b": {"10": [5, 9]}, "u": {"0": {"from_off": 360, "until_off": 361, "records": 0}}}'::varchar);
CALL kafka_sink.claim_ranges('l', '{}');
SELECT * FROM o WHERE topic NOT IN ('t', 'types');
ROLLBACK;
SELECT * FROM try($$CALL kafka_sink.claim_ranges('l', '{"b": {"10": [6, 7]}}')$$);
SELECT * FROM try($$CALL kafka_sink.claim_ranges('l', '{"b": 5}')$$);
SELECT * FROM try($$CALL kafka_sink.claim_ranges(NULL, '{}'::jsonb)$$);
SELECT * FROM try($$CALL kafka_sink.claim_ranges('l', NULL::jsonb)$$);
SELECT state, answer, count(*) FROM unnest(ARRAY['[]', '5', '{"t": 5}', '{"t": [0, 5]}', '{"t": {"x": [0, 5]}}', '{"t": {"-1": [0, 5]}}', '{"t": {"0": 5}}',
    '{"t": {"0": [5]}}', '{"t": {"0": [1, 2, 3, 4]}}', '{"t": {"0": ["0", 5]}}', '{"t": {"0": [0, 5.5]}}', '{"t": {"0": [-1, 5]}}',
    '{"t": {"0": {"from_off": 0}}}', '{"t": {"0": {"until_off": 0}}}', '{"t": {"0": {"from_off": 0, "until_off": 5, "record": 5}}}',
    '{"t": {"0": [5, 4]}}', '{"t": {"0": [0, 5, 6]}}', '{"t": {"0": [0, 99999999999999999999]}}', '{"t": ']) j,
    try(format('SELECT kafka_sink.claim(%L, %L)', 'l', j)) GROUP BY 1, 2 ORDER BY 1, 2;

-- advance() says which it is
SELECT kafka_sink.advance('l', 'a', 0, NULL, 10);
SELECT kafka_sink.advance('l', 'a', 0, 10, 20);
SELECT r AS range, answer, state, stored
  FROM unnest('{"10, 20","10, 21","15, 20","20, 19","21, 30","9, 20","0, 5"}'::text[]) r, try(format('SELECT kafka_sink.advance(%L, %L, 0, %s)', 'l', 'a', r));
SELECT * FROM try($$SELECT kafka_sink.advance('l', 'a', 1, 0, 1)$$);
BEGIN;
CALL kafka_sink.advance_range('l'::varchar, 'a'::varchar, 0, 20, 25);
CALL kafka_sink.advance_range('l', 'a', 2, NULL, 5);
SELECT topic, part, off FROM o WHERE topic = 'a';
ROLLBACK;
SELECT * FROM try($$CALL kafka_sink.advance_range('l', 'a', 0, 10, 21)$$);
SELECT * FROM try($$SELECT kafka_sink.advance('l', 'a', 0, NULL, 1)$$);
SELECT off FROM o WHERE topic = 'a';
-- the whole of what a program can read
SELECT kafka_sink.claim('l', E'a"\\', 0, 0, 5);
SELECT kafka_sink.skip('l', E'a"\\', 0, 7);

-- a trigger that keeps the row where it is makes the claim fail
CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER stay BEFORE UPDATE ON kafka_sink.txn_offsets FOR EACH ROW EXECUTE FUNCTION stay();
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'a', 0, 20, 30)$$);
SELECT * FROM try($$SELECT kafka_sink.advance('l', 'a', 0, 20, 30)$$);
DROP TRIGGER stay ON kafka_sink.txn_offsets;
DROP FUNCTION stay;

-- paused, suspended
SELECT kafka_sink.pause('l');
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'a', 0, 20, 30)$$);
SELECT * FROM try($$SELECT kafka_sink.claim('l', '{"a": {"0": [20, 30]}}')$$);
SELECT * FROM try($$CALL kafka_sink.claim_range('l', 'a', 0, 20, 30)$$);
SELECT * FROM try($$SELECT kafka_sink.advance('l', 'a', 0, 20, 30)$$);
SELECT kafka_sink.resume('l');
SELECT kafka_sink.claim('l', 'a', 0, 20, 30);
UPDATE kafka_sink.sink_catalog SET database_oid = 1;
SELECT * FROM try($$SELECT kafka_sink.claim('l', 'a', 0, 30, 40)$$);
SELECT kafka_sink.resume('l');
SELECT kafka_sink.claim('l', 'a', 0, 30, 40);

-- a row at the place of another one, and rows that moved to other places
CREATE VIEW places AS SELECT topic, part, off, ctid FROM kafka_sink.txn_offsets WHERE topic = 'a' ORDER BY 1, 2;
CREATE FUNCTION claim_next(p bigint) RETURNS bigint LANGUAGE sql AS
$$SELECT kafka_sink.claim('l', 'a', p, off, off + 1) FROM kafka_sink.txn_offsets WHERE topic = 'a' AND part = p$$;
SELECT claim_next(0);
VACUUM FULL kafka_sink.txn_offsets;
SELECT claim_next(0), claim_next(0);
DELETE FROM kafka_sink.txn_offsets WHERE topic = 'a';
VACUUM (FULL) kafka_sink.txn_offsets;
INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off) SELECT 'l', 'a', 2 - i, 41, 41 FROM generate_series(0, 2) i;
SELECT claim_next(0), claim_next(1), claim_next(2);
UPDATE kafka_sink.txn_offsets SET off = 50, consumed = 9 WHERE topic = 'a';
SELECT * FROM try($$SELECT kafka_sink.advance('l', 'a', 0, 42, 43)$$);
SELECT kafka_sink.claim('l', 'a', 0, 42, 60), kafka_sink.claim('l', 'a', 1, 50, 60), kafka_sink.claim('l', 'a', 2, 42, 43);
SELECT part, off FROM places;

-- a partition has one name
SELECT * FROM try($$SELECT kafka_sink.claim('l', '{"00": {"0": [0, 5], "00": [5, 9]}}')$$);
SELECT * FROM try($$SELECT kafka_sink.seek('l', '{"a": {"01": 5}}')$$);
SELECT * FROM try($$SELECT kafka_sink.register_topic('l', 'a', start_at => '{"00": 42}')$$);

-- each row is found by its key, also where the first plan was made for few
BEGIN;
SELECT count(*), sum(apply_from) FROM kafka_sink.claim('l', (SELECT jsonb_build_object('many', jsonb_object_agg(i, '[0, 5]'::jsonb)) FROM generate_series(0, 999) i));
SELECT count(*), sum(apply_from) FROM kafka_sink.claim('l', (SELECT jsonb_build_object('many', jsonb_object_agg(i, '[3, 7]'::jsonb)) FROM generate_series(0, 999) i));
SELECT idx_tup_fetch < 20000 AS few FROM pg_stat_xact_user_tables WHERE relid = 'kafka_sink.txn_offsets'::regclass;
ROLLBACK;

-- where to start
SELECT kafka_sink.create_sink('start');
SELECT kafka_sink.starting_offsets('start') IS NULL AS nothing;
SELECT kafka_sink.seek('start', '{"b": {"10": 7, "9": 8}, "B": {"0": 42}}');
SELECT kafka_sink.starting_offsets('start');
SELECT kafka_sink.starting_offsets('start', topic => 'b');
SELECT kafka_sink.starting_offsets('start', 'flink', 'b');
SELECT kafka_sink.starting_offsets('start', 'flink', 'x') IS NULL AS nothing;
SELECT kafka_sink.starting_offsets('start', 'flink');
SELECT kafka_sink.starting_offsets('start', 'storm');
SELECT kafka_sink.starting_offsets('start', NULL);
SELECT kafka_sink.starting_offsets('start', refresh => true);
-- a ledger may have a server and topics: no worker runs
CREATE SERVER nowhere FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
SELECT kafka_sink.create_sink('served', server => 'nowhere');
SELECT kafka_sink.starting_offsets('served', refresh => true);
SELECT kafka_sink.register_topic('served', 't', start_at => '{"0": 5}');
SELECT kafka_sink.claim('served', 't', 0, 5, 6);
SELECT kafka_sink.starting_offsets('served');

-- who may
CREATE ROLE regress_ks_other;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC;
SET ROLE regress_ks_other;
SELECT state FROM unnest('{"SELECT kafka_sink.claim(''l'', ''a'', 0, 60, 61)","SELECT kafka_sink.claim(''l'', ''{}'')",
    "CALL kafka_sink.claim_range(''l'', ''a'', 0, 60, 61)","SELECT kafka_sink.starting_offsets(''l'')"}'::text[]) s, try(s);
RESET ROLE;
CREATE ROLE regress_ks_owner;
GRANT regress_ks_owner TO regress_ks_other;
SET ROLE regress_ks_owner;
SELECT kafka_sink.create_sink('theirs');
SET ROLE regress_ks_other;
SELECT kafka_sink.claim('theirs', 't', 0, 0, 5);
SELECT kafka_sink.starting_offsets('theirs');
-- operators and tables of the caller's do not get in between
CREATE FUNCTION pg_temp.never(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR pg_temp.= (FUNCTION = pg_temp.never, LEFTARG = text, RIGHTARG = text);
SET search_path = pg_temp, pg_catalog;
SELECT kafka_sink.claim('theirs', 't', 0, 5, 10);
SELECT * FROM kafka_sink.claim('theirs', '{"t": {"0": [10, 20], "1": [0, 1]}}');
RESET search_path;
RESET ROLE;
SELECT kafka_sink.drop_sink(s) FROM unnest('{l,start,served,theirs}'::text[]) s;
DROP OWNED BY regress_ks_other;
DROP ROLE regress_ks_owner, regress_ks_other;
DROP SERVER nowhere;
DROP VIEW o, places;
DROP FUNCTION try, claim_next;
DROP EXTENSION kafka_sink;
