-- Records that cannot be applied: on_error, reject_limit, dead letters.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
-- a record from text
CREATE FUNCTION r(value text, key text DEFAULT NULL, off bigint DEFAULT NULL, part integer DEFAULT 0)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(CASE WHEN off IS NULL THEN NULL ELSE 't' END, CASE WHEN off IS NULL THEN NULL ELSE part END,
             off, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE VIEW letters AS
    SELECT topic, part, off, convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value, sqlstate, message, column_name
      FROM kafka_sink.dead_letters ORDER BY id;
CREATE VIEW accounts AS
    SELECT part, off, consumed, applied, deleted, filtered, dead_lettered AS dead, ignored, superseded, unmatched,
           consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched
           AND off - start_off = consumed + gaps AS exact
      FROM kafka_sink.txn_offsets ORDER BY part;

-- settings
CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v < 100));
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'deadletter');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'stop', reject_limit => '10');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => text_limit)
  FROM (VALUES ('many')) v (text_limit);
\set VERBOSITY terse
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '-1');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '1000000001');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '99999999999999999999999');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '5%');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '5% of');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '5% of 0');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '5% of 1000001');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '100% of 10');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '5.% of 10');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '5.1234% of 10');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore', reject_limit => '5% of 10 ');
\set VERBOSITY default
SELECT kafka_sink.create_sink('s', target => 't', dead_letter_retention => '0 s');
SELECT kafka_sink.create_sink('s', target => 't', dead_letter_retention => '-1 day');
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter', reject_limit => '0.125% of 1000000', dead_letter_retention => '30 days');
SELECT on_error, reject_limit, dead_letter_retention FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('s', on_error => 'stop');
SELECT kafka_sink.alter_sink('s', reset => '{reject_limit,dead_letter_retention}');
SELECT on_error, reject_limit, dead_letter_retention FROM kafka_sink.sinks;
SELECT kafka_sink.seek('s', '{"t": {"0": 0, "1": 2}}');

-- dead_letter: what cannot be decoded, and what the table refuses
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"id": 1, "v": 1}', 'k1', 0), r('{"id": 2, "v": "x"}', 'k2', 1), r('no json', 'k3', 2, 1), r('{"id": 3, "v": 100}', NULL, 2),
    r('{"id": 1, "v": 2}', 'k5', 3), r(NULL, 'k6', 4), r('{"id": 4, "v": 99}', 'k7', 5), r('{"v": 99}', '', 3, 1), r('{"id": 5}', '', 7, 1)]);
TABLE t ORDER BY id;
TABLE letters;
TABLE accounts;
-- keys and values as bytes, headers, timestamps; a NUL, bad UTF-8, NULL and empty
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    ROW('t', 0, 6, '2026-01-02 03:04:05.678+00', '\x00ff', '\x7b00', ARRAY[ROW('h', '\xff')::kafka_sink.header, ROW('h', NULL)::kafka_sink.header, ROW('é', '')::kafka_sink.header])::kafka_sink.record,
    ROW('t', 0, 7, NULL, NULL, '', ARRAY[]::kafka_sink.header[])::kafka_sink.record,
    ROW('t', 0, 8, '1969-12-31', '', '\xc328', NULL)::kafka_sink.record]);
SELECT off, ts, key, value, headers, sqlstate, message FROM kafka_sink.dead_letters WHERE off > 5 ORDER BY id;
-- in the caller's transaction
BEGIN;
SELECT dead_lettered FROM kafka_sink.ingest('s', ARRAY[r('bad', NULL, 9)]);
SELECT count(*) FROM letters;
ROLLBACK;
SELECT count(*) FROM letters;
-- without offsets
SELECT consumed, dead_lettered FROM kafka_sink.ingest('s', ARRAY[r('bad')]);
SELECT topic, part, off, sqlstate FROM letters ORDER BY off NULLS FIRST LIMIT 1;
-- every one of them
SELECT * FROM kafka_sink.ingest('s', (SELECT array_agg(r('{"id": 1}', NULL, 9 + i)) FROM generate_series(0, 99) i));
SELECT * FROM kafka_sink.ingest('s', (SELECT array_agg(r('[' || i, NULL, 109 + i)) FROM generate_series(0, 99) i));
SELECT sqlstate, count(*), count(DISTINCT off), min(off), max(off) FROM kafka_sink.dead_letters WHERE off >= 9 GROUP BY 1 ORDER BY 1;
TABLE accounts;
-- what is not a record's fault is nobody's dead letter
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.v = 50 THEN RAISE 'later' USING ERRCODE = '40001'; END IF;
    IF new.v = 51 THEN RAISE 'not that one'; END IF;
    IF new.v = 52 THEN PERFORM * FROM no_such_table; END IF;
    RETURN new;
END$$;
CREATE TRIGGER fail BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fail();
SELECT kafka_sink.ingest('s', ARRAY[r('bad', NULL, 209), r('{"id": 10, "v": 50}', NULL, 210)]);
SELECT kafka_sink.ingest('s', ARRAY[r('bad', NULL, 209), r('{"id": 10, "v": 52}', NULL, 210)]);
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 10, "v": 49}', NULL, 209), r('{"id": 11, "v": 51}', NULL, 210)]);
SELECT off, sqlstate, message FROM letters WHERE off >= 209;
DROP TRIGGER fail ON t;

-- discard
SELECT kafka_sink.discard_dead_letters(NULL);
SELECT kafka_sink.discard_dead_letters('nope');
\set VERBOSITY terse
SELECT kafka_sink.discard_dead_letters('s', 'no_such_column = 1');
SELECT kafka_sink.discard_dead_letters('s', 'off + 1');
SELECT kafka_sink.discard_dead_letters('s', 'true); DROP TABLE t; SELECT (true');
SELECT kafka_sink.discard_dead_letters('s', 'true); DROP TABLE t; SELECT id, 0 FROM kafka_sink.dead_letters WHERE (true');
SELECT kafka_sink.discard_dead_letters('s', '');
\set VERBOSITY default
SELECT kafka_sink.discard_dead_letters('s', 'false');
SELECT kafka_sink.discard_dead_letters('s', 'off >= 9 -- all of those');
SELECT kafka_sink.discard_dead_letters('s', $$off IS NULL OR off BETWEEN 6 AND 8$$);
SELECT count(*) FROM t;
TABLE letters;

-- retry: those that fail again stay, and say why
SELECT kafka_sink.retry_dead_letters(NULL);
SELECT kafka_sink.retry_dead_letters('nope');
\set VERBOSITY terse
SELECT kafka_sink.retry_dead_letters('s', 'off =');
\set VERBOSITY default
SELECT * FROM kafka_sink.retry_dead_letters('s');
SELECT count(*) FROM letters;
ALTER TABLE t DROP CONSTRAINT t_v_check;
SELECT * FROM kafka_sink.retry_dead_letters('s', $$sqlstate = '23514'$$);
SELECT * FROM t WHERE v = 100;
BEGIN;
ALTER TABLE t ALTER v TYPE text;
SELECT * FROM kafka_sink.retry_dead_letters('s');
ROLLBACK;
ALTER TABLE t ALTER v TYPE text;
DELETE FROM t WHERE id = 1;
ALTER TABLE t ALTER id SET DEFAULT 1;
-- in the order in which they came: the first of a key is there before the others
SELECT * FROM kafka_sink.retry_dead_letters('s');
TABLE t ORDER BY id;
TABLE letters;
SELECT * FROM kafka_sink.retry_dead_letters('s', 'false');
-- the counts tell what became of the records when the offset moved
TABLE accounts;
SELECT kafka_sink.discard_dead_letters('s');
-- in batches of one: no limit stops a retry, nor does on_error
SELECT dead_lettered FROM kafka_sink.ingest('s', (SELECT array_agg(r('{"id": 4, "v": 1}', i::text, 211 + i)) FROM generate_series(0, 4) i));
SELECT dead_lettered FROM kafka_sink.ingest('s', (SELECT array_agg(r('{"id": 4, "v": 1}', i::text, 216 + i)) FROM generate_series(0, 4) i));
SELECT kafka_sink.alter_sink('s', on_error => 'stop', batch_records => 1);
DELETE FROM t WHERE id = 4;
SELECT * FROM kafka_sink.retry_dead_letters('s');
SELECT string_agg(key, ' ') FROM letters;
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter', insert_mode => 'upsert', delete_enabled => true, reset => '{batch_records}');
SELECT * FROM kafka_sink.retry_dead_letters('s');
SELECT count(*) FROM letters;

-- upserts and deletes: keys, and what is superseded
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"id": 4, "v": "a"}', NULL, 221), r('{"id": "four"}', NULL, 222), r(NULL, '4', 223), r(NULL, 'four', 224), r('{"id": 5, "v": "a"}', NULL, 225),
    r('{"id": 5, "v": "b"}', NULL, 226), r(NULL, NULL, 227), r(NULL, '99', 228)]);
SELECT key, value, sqlstate, column_name FROM letters;
SELECT kafka_sink.alter_sink('s', insert_mode => 'ignore');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 5}', NULL, 229), r('[]', NULL, 230), r('{"id": 6}', NULL, 231)]);

-- ignore
SELECT kafka_sink.alter_sink('s', on_error => 'ignore', insert_mode => 'insert');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 20}', NULL, 232), r('{"id": 20}', NULL, 233), r('{', NULL, 234), r('{"id": 21}', NULL, 235)]);
SELECT count(*) FROM letters;
TABLE accounts;

-- reject_limit: everything before the record that exceeds it would be applied; ingest() is all or nothing
SELECT kafka_sink.alter_sink('s', reject_limit => '2');
SELECT ignored FROM kafka_sink.ingest('s', ARRAY[r('{'), r('{"id": 22}'), r('{"id": 22}')]);
\set SHOW_CONTEXT always
SELECT ignored FROM kafka_sink.ingest('s', ARRAY[r('{"id": 22}'), r('{"id": 23}'), r('{'), r('{"id": 23}'), r('{')]);
-- the table's refusals and what cannot be decoded, in the order of the log
SELECT ignored FROM kafka_sink.ingest('s', ARRAY[r('{'), r('{"id": 23}'), r('{"id": 22}'), r('{"id": 22}'), r('{'), r('{')]);
\set SHOW_CONTEXT errors
SELECT ignored FROM kafka_sink.ingest('s', (SELECT array_agg(r('{')) FROM generate_series(1, 3)));
SELECT kafka_sink.alter_sink('s', reject_limit => '0');
SELECT ignored FROM kafka_sink.ingest('s', ARRAY[r('{')]);
-- 2 of any 8
SELECT kafka_sink.alter_sink('s', reject_limit => '25% of 8');
CREATE FUNCTION pattern(p text) RETURNS kafka_sink.record[] LANGUAGE sql AS
$$SELECT array_agg(CASE c WHEN 'd' THEN r('{') WHEN 't' THEN r('{"id": 22}') ELSE r(format('{"id": %s}', 1000 + i)) END ORDER BY i)
    FROM string_to_table(p, NULL) WITH ORDINALITY s (c, i)$$;
BEGIN;
SELECT ignored FROM kafka_sink.ingest('s', pattern('.d..t....d..d'));
ROLLBACK;
\set VERBOSITY terse
SELECT ignored FROM kafka_sink.ingest('s', pattern('.d..t..d.....'));
SELECT ignored FROM kafka_sink.ingest('s', pattern('.t..d..t.....'));
BEGIN;
SELECT ignored FROM kafka_sink.ingest('s', pattern('dt......td......dt'));
ROLLBACK;
SELECT ignored FROM kafka_sink.ingest('s', pattern('dt......td.....dt'));
\set VERBOSITY default

-- who sees them, and who may do what
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter', reset => '{reject_limit}');
CREATE ROLE regress_ks_a;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC;
CREATE ROLE regress_ks_b;
GRANT CREATE ON SCHEMA public TO regress_ks_a;
SET ROLE regress_ks_a;
CREATE TABLE a (id int);
SELECT kafka_sink.create_sink('a', target => 'a', on_error => 'dead_letter');
SELECT dead_lettered FROM kafka_sink.ingest('a', ARRAY[r('{'), r('}')]);
SELECT sink, count(*) FROM kafka_sink.dead_letters GROUP BY 1;
SELECT kafka_sink.retry_dead_letters('s');
SELECT kafka_sink.discard_dead_letters('s');
DELETE FROM kafka_sink.dead_letters;
SET ROLE regress_ks_b;
SELECT count(*) FROM kafka_sink.dead_letters;
SELECT kafka_sink.discard_dead_letters('a');
RESET ROLE;
SELECT kafka_sink.discard_dead_letters('s', 'true) OR (true');
SELECT sink, count(*) FROM kafka_sink.dead_letters GROUP BY 1;
-- run by a member it discards; to retry is to run the owner's triggers
GRANT regress_ks_a TO regress_ks_b;
SET ROLE regress_ks_b;
SELECT count(*) FROM kafka_sink.dead_letters;
SELECT kafka_sink.retry_dead_letters('a');
SELECT kafka_sink.discard_dead_letters('a', $$convert_from(value, 'UTF8') = '{'$$);
RESET ROLE;
SELECT kafka_sink.retry_dead_letters('a');
-- the sink takes its dead letters along
SELECT kafka_sink.drop_sink('a');
SELECT count(*) FROM kafka_sink.dead_letters;
SELECT kafka_sink.create_sink('ledger');
SELECT kafka_sink.retry_dead_letters('ledger');
SELECT kafka_sink.discard_dead_letters('ledger');
DROP TABLE a;
REVOKE CREATE ON SCHEMA public FROM regress_ks_a;
DROP ROLE regress_ks_a, regress_ks_b;

-- the fast path and the general one
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v < 100));
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', on_error => 'dead_letter');
CREATE FUNCTION several() RETURNS SETOF kafka_sink.batch_result LANGUAGE sql AS
$$SELECT b.* FROM kafka_sink.ingest('s', (SELECT array_agg(r(CASE i % 100 WHEN 0 THEN '{' WHEN 50 THEN '{"id": 1, "v": 100}' ELSE format('{"id": %s, "v": 1}', i % 400) END) ORDER BY i) FROM generate_series(1, 1000) i)) b$$;
SELECT * FROM several();
SELECT sqlstate, count(*) FROM kafka_sink.dead_letters GROUP BY 1 ORDER BY 1;
SELECT count(*), sum(id) FROM t;
SET kafka_sink.fast_path = off;
SELECT * FROM several();
SELECT sqlstate, count(*) FROM kafka_sink.dead_letters GROUP BY 1 ORDER BY 1;
SELECT count(*), sum(id) FROM t;
RESET kafka_sink.fast_path;
SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks;
DROP TABLE t;

-- every other way to write.  update: a row that is not there is no error, whatever it would refuse
CREATE VIEW short AS SELECT key, value, sqlstate, message, column_name FROM letters;
CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v < 100), name varchar(4) NOT NULL DEFAULT '-');
INSERT INTO t VALUES (1, 1), (2, 2);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'update', on_error => 'dead_letter', delete_enabled => true);
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"id": 1, "v": 100}'), r('{"id": 3, "v": 100}'), r('{"id": 1, "name": null}'), r('{"id": 2, "name": "too long"}'), r('{"id": 2, "v": 3}'),
    r('{"v": 3}'), r(NULL, 'one'), r(NULL, '2'), r('{"id": 2, "v": 4}')]);
TABLE t ORDER BY id;
TABLE short;
ALTER TABLE t DROP CONSTRAINT t_v_check;
SELECT * FROM kafka_sink.retry_dead_letters('s');
TABLE t ORDER BY id;
SELECT kafka_sink.discard_dead_letters('s');

-- a filter comes before the table; its own errors are the record's; update_if
ALTER TABLE t ADD CHECK (v < 100) NOT VALID;
SELECT kafka_sink.alter_sink('s', insert_mode => 'upsert', update_if => 't.v < excluded.v', filter => '100 / v < 50');
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"id": 5, "v": 0}'), r('{"id": 5, "v": 1}'), r('{"id": 5, "v": 5}'), r('{"id": 5, "v": 101}'), r('{"id": 5, "v": 4}'), r('{"id": null, "v": 1}'), r('{"id": null, "v": 9}'),
    r('{"id": 5, "v": 6, "name": null}')]);
SELECT * FROM t WHERE id = 5;
TABLE short;
SELECT kafka_sink.alter_sink('s', filter => 'v > 0');
SELECT * FROM kafka_sink.retry_dead_letters('s');
SELECT kafka_sink.discard_dead_letters('s'), kafka_sink.drop_sink('s');
DROP TABLE t;

-- accumulate: what is refused adds nothing; before a delete of the same batch nobody asks
CREATE TABLE t (id int PRIMARY KEY, hits bigint, total int, top int CHECK (top < 100));
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'accumulate', on_error => 'dead_letter', delete_enabled => true,
    accumulate => '{"hits": "count", "total": "sum", "top": "max"}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 2, "total": 5, "top": 100}'), r(NULL, '2'), r('{"id": 2, "total": 6}')]);
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"id": 1, "total": 1, "top": 1}'), r('{"id": 1, "total": 2, "top": 100}'), r('{"id": 1, "total": "x"}'), r('{"id": 1, "total": 2147483647}'),
    r('{"id": 1, "total": 4, "top": 99}'), r('{"total": 1}'), r(NULL, '{"no": 1}')]);
TABLE t ORDER BY id;
TABLE short;
ALTER TABLE t DROP CONSTRAINT t_top_check;
ALTER TABLE t ALTER total TYPE bigint;
SELECT * FROM kafka_sink.retry_dead_letters('s');
TABLE t ORDER BY id;
SELECT kafka_sink.discard_dead_letters('s'), kafka_sink.drop_sink('s');
DROP TABLE t;

-- a command: what any of its statements refuses
CREATE TYPE item AS (product int, quantity int);
CREATE TYPE orders AS (id int, lines item[]);
CREATE TABLE products (product int PRIMARY KEY);
INSERT INTO products VALUES (1), (2);
CREATE TABLE heads (id int PRIMARY KEY);
CREATE TABLE lines (id int, product int NOT NULL REFERENCES products, share int);
SELECT kafka_sink.create_sink('s', value_type => 'orders', on_error => 'dead_letter', on_tombstone => 'ignore', command => $$
    INSERT INTO public.heads SELECT id FROM batch;
    INSERT INTO public.lines SELECT id, product, 100 / quantity FROM batch, unnest(lines)$$);
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"id": 1, "lines": [{"product": 1, "quantity": 5}, {"product": 2, "quantity": 4}]}'), r('{"id": 2, "lines": [{"product": 1, "quantity": 0}]}'),
    r('{"id": 1, "lines": []}'), r('{"id": 3, "lines": [{"product": 3, "quantity": 1}]}'), r('{"id": 4, "lines": [{"quantity": 1}]}'), r('{"id": 5, "lines": 7}'), r(NULL, '9'),
    r('{"id": 6}')]);
TABLE heads ORDER BY id;
TABLE lines ORDER BY share;
TABLE short;
INSERT INTO products VALUES (3);
SELECT * FROM kafka_sink.retry_dead_letters('s');
TABLE heads ORDER BY id;
SELECT key, value, sqlstate FROM letters;
SELECT kafka_sink.discard_dead_letters('s'), kafka_sink.drop_sink('s');
DROP TABLE heads, lines, products;
DROP TYPE orders, item;

-- csv and raw
CREATE TABLE t (id int PRIMARY KEY, v numeric(4,1));
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', on_error => 'dead_letter', delete_enabled => true, format => 'csv', key_format => 'csv', strict => true);
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('1,1.5'), r('2'), r('2,1,1'), r('2,"1'), r('2,1000'), r(',1'), r('', 'k'), r(NULL, '1,2'), r(NULL, '1')]);
TABLE t;
TABLE short;
SELECT * FROM kafka_sink.retry_dead_letters('s', $$sqlstate = '22003'$$);
ALTER TABLE t ALTER v TYPE numeric;
SELECT * FROM kafka_sink.retry_dead_letters('s', $$sqlstate = '22003'$$);
TABLE t;
SELECT kafka_sink.discard_dead_letters('s');
SELECT kafka_sink.alter_sink('s', format => 'raw', key_format => 'raw', columns => '{"id": "@key", "v": "@value"}', reset => '{strict}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('1', '7'), r('x', '8'), r('1', 'x'), r('1', NULL), r(NULL, '7')]);
TABLE t;
TABLE short;
SELECT kafka_sink.discard_dead_letters('s'), kafka_sink.drop_sink('s');

-- envelopes
CREATE FUNCTION connect(payload text) RETURNS text LANGUAGE sql AS
$$SELECT '{"schema": {"type": "struct", "fields": [{"type": "int32", "field": "id"}, {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "1"}, "field": "v"}]}, "payload": ' || payload || '}'$$;
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', on_error => 'dead_letter', delete_enabled => true, envelope => 'connect');
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r(connect('{"id": 9, "v": "Dw=="}')), r(connect('{"id": 8, "v": "?"}')), r('{"id": 8, "v": 1}'), r(connect('[8]')), r(connect('null'), 'k'), r(connect('null'), '{"schema": null, "payload": 2}')]);
TABLE t ORDER BY id;
SELECT key, right(value, 25) AS value, sqlstate, message, column_name FROM short;
SELECT kafka_sink.discard_dead_letters('s');
SELECT kafka_sink.alter_sink('s', envelope => 'debezium');
SELECT * FROM kafka_sink.ingest('s', ARRAY[
    r('{"op": "c", "after": {"id": 1, "v": 1}}'), r('{"op": "u", "after": {"id": 2, "v": "__debezium_unavailable_value"}}'), r('{"op": "u", "after": {"id": 1, "v": "__debezium_unavailable_value"}}'),
    r('{"op": "x"}'), r('{"op": "c", "after": null}'), r('{"op": "d", "before": null, "after": null}'), r('{"op": "d", "before": {"id": 9}, "after": null}'), r(NULL, '{"id": 9}')]);
TABLE t ORDER BY id;
TABLE short;
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"op": "r", "after": {"id": 2, "v": 2}}')]);
-- its row is there now
SELECT * FROM kafka_sink.retry_dead_letters('s');
SELECT value, sqlstate FROM letters;
-- a delete without a Kafka key, whatever its format: by "before", or not at all
SELECT kafka_sink.discard_dead_letters('s');
INSERT INTO t VALUES (3, 3), (4, 4);
SELECT kafka_sink.alter_sink('s', key_format => 'csv', csv_null => '-');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"op": "d", "before": {"id": 3}}'), r('{"op": "d", "before": null}')]);
SELECT kafka_sink.alter_sink('s', key_format => 'raw');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"op": "d", "before": {"id": 4}}'), r('{"op": "d", "before": null}')]);
SELECT kafka_sink.alter_sink('s', envelope => 'connect', key_format => 'csv');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"schema": null, "payload": null}')]);
TABLE t ORDER BY id;
TABLE short;
DROP FUNCTION connect;
DROP VIEW short;
SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks;
DROP VIEW letters, accounts;
DROP TABLE t;
DROP FUNCTION several, pattern, r, fail;
DROP EXTENSION kafka_sink;
