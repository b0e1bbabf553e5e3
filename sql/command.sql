-- Commands: statements over the relation "batch"; filters.
CREATE EXTENSION kafka_sink;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
\set SHOW_CONTEXT always
-- a record from text
CREATE FUNCTION r(value text, key text DEFAULT NULL, off bigint DEFAULT NULL, part integer DEFAULT 0, ts timestamptz DEFAULT NULL)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(CASE WHEN off IS NULL THEN NULL ELSE 't' END, CASE WHEN off IS NULL THEN NULL ELSE part END,
             off, ts, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'),
             ARRAY[ROW('h', '\x01')::kafka_sink.header])::kafka_sink.record$$;

-- what is refused when a sink is defined
CREATE TYPE payment AS (account int, amount numeric(10,2), note text);
CREATE TYPE clash AS (id int, key text);
CREATE TABLE account (id int PRIMARY KEY, balance numeric NOT NULL CHECK (balance > -100), payments int NOT NULL);
SELECT kafka_sink.create_sink('s', target => 'account', command => 'SELECT 1 FROM batch');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', insert_mode => 'upsert');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', columns => '{}');
SELECT kafka_sink.create_sink('s', command => '');
SELECT kafka_sink.create_sink('s', command => ' -- nothing');
SELECT kafka_sink.create_sink('s', command => 'SELEC 1');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch; COMMIT');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch; SET search_path = public');
SELECT kafka_sink.create_sink('s', command => 'SELECT * INTO t FROM batch');
SELECT kafka_sink.create_sink('s', command => 'COPY public.account FROM stdin');
SELECT kafka_sink.create_sink('s', command => 'INSERT INTO account (id) SELECT 1 FROM batch');
SELECT kafka_sink.create_sink('s', command => 'SELECT account FROM batch');
SELECT kafka_sink.create_sink('s', command => 'SELECT r(value) FROM batch');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', value_type => 'clash');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', value_type => 'int');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', filter => 'account');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', value_type => 'payment', filter => 'account');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', filter => 'true) FROM pg_class WHERE (true');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', filter => 'true); SELECT (true');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', filter => 'false) OR (true');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', filter => 'part = ');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', filter => 'part IN (SELECT 1)');
SELECT kafka_sink.create_sink('s', command => 'SELECT 1 FROM batch', filter => 'count(*) > 1');
SELECT kafka_sink.create_sink('s', value_type => 'payment');
SELECT kafka_sink.create_sink('s', target => 'account', value_type => 'payment');
SELECT kafka_sink.create_sink('s', filter => 'true');
SELECT kafka_sink.create_sink('s', target => 'account', update_if => 'true');
SELECT kafka_sink.create_sink('s', target => 'account', accumulate => '{}');
SELECT kafka_sink.create_sink('s', target => 'account', insert_mode => 'accumulate');
SELECT count(*) FROM kafka_sink.sinks;

-- aggregate, then upsert
SELECT kafka_sink.create_sink('s', value_type => 'payment', command => $$
    INSERT INTO public.account AS a
    SELECT account, sum(amount), count(*) FROM batch GROUP BY account
    ON CONFLICT (id) DO UPDATE SET balance = a.balance + EXCLUDED.balance, payments = a.payments + EXCLUDED.payments$$);
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"account": 1, "amount": 10.5}'), r('{"account": 2, "amount": 1}'), r('{"account": 1, "amount": -0.5, "note": "x"}')]);
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"account": 1, "amount": 2}')]);
SELECT * FROM kafka_sink.ingest('s', ARRAY[]::kafka_sink.record[]);
TABLE account ORDER BY id;
-- a record's error is found among others; nothing of the call stays
SELECT kafka_sink.ingest('s', ARRAY[r('{"account": 1, "amount": 1}'), r('{"account": 3, "amount": 1}'), r('{"account": 2, "amount": -500}'), r('{"account": 4, "amount": 1}')]);
SELECT kafka_sink.ingest('s', ARRAY[r('{"account": 1, "amount": 1}'), r('{"account": 3, "amount": "x"}')]);
SELECT kafka_sink.ingest('s', ARRAY[r('{"account": 1, "amount": 1}'), r('{"account": null, "amount": 1}')]);
TABLE account ORDER BY id;
-- a field that nothing reads is not converted
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"account": 2, "amount": 1, "note": {"not": "text"}}')]);
-- under the guard
SELECT kafka_sink.seek('s', '{"t": {"0": 0, "1": 0}}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"account": 5, "amount": 1}', off => 0), r('{"account": 5, "amount": 1}', off => 0, part => 1), r('{"account": 5, "amount": 1}', off => 2)]);
SELECT kafka_sink.ingest('s', ARRAY[r('{"account": 5, "amount": 1}', off => 0)]);
SELECT topic, part, off, consumed, applied, gaps FROM kafka_sink.txn_offsets ORDER BY part;
SELECT * FROM account WHERE id = 5;
-- a filter: false and null leave a record out
SELECT kafka_sink.alter_sink('s', filter => 'amount > 0 AND part < 7');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"account": 6, "amount": 1}', off => 3), r('{"account": 6, "amount": -1}', off => 4), r('{"account": 6}', off => 5)]);
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"account": 6, "amount": 1}')]);
SELECT topic, part, off, consumed, applied, filtered FROM kafka_sink.txn_offsets ORDER BY part;
SELECT * FROM account WHERE id = 6;
-- its errors are the record's
SELECT kafka_sink.alter_sink('s', filter => '1 / account > 0');
SELECT kafka_sink.ingest('s', ARRAY[r('{"account": 1, "amount": 1}'), r('{"account": 0, "amount": 1}')]);
SELECT kafka_sink.alter_sink('s', reset => '{filter}');
SELECT command IS NOT NULL AS command, value_type, filter FROM kafka_sink.sinks;
-- the type and the tables may change
ALTER TYPE payment ADD ATTRIBUTE fee numeric;
ALTER TABLE account ADD COLUMN extra int DEFAULT 3;
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"account": 7, "amount": 1}')]);
SELECT * FROM account WHERE id = 7;
ALTER TYPE payment RENAME ATTRIBUTE amount TO sum_of_money;
SELECT kafka_sink.ingest('s', ARRAY[r('{"account": 7, "amount": 1}')]);
ALTER TYPE payment RENAME ATTRIBUTE sum_of_money TO off;
SELECT kafka_sink.ingest('s', ARRAY[r('{"account": 7, "amount": 1}')]);
ALTER TYPE payment RENAME ATTRIBUTE off TO amount;
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"account": 7, "amount": 1}')]);
DROP TYPE payment;
SELECT kafka_sink.ingest('s', ARRAY[r('{"account": 7, "amount": 1}')]);
-- from a command to a target and back
SELECT kafka_sink.alter_sink('s', target => 'account', reset => '{command,value_type}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 8, "balance": 1, "payments": 1}')]);
SELECT kafka_sink.alter_sink('s', command => 'DELETE FROM public.account WHERE id IN (SELECT (value->>''id'')::int FROM batch)', reset => '{target}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 8}')]);
SELECT max(id) FROM account;
SELECT kafka_sink.drop_sink('s');

-- several statements see each other's effects; the number of the one that fails
CREATE TABLE one (id int PRIMARY KEY, v text);
CREATE TABLE two (id int PRIMARY KEY REFERENCES one, n bigint);
SELECT kafka_sink.create_sink('s', command => $$
    INSERT INTO public.one SELECT (value->>'id')::int, value->>'v' FROM batch; -- the first; of two
    INSERT INTO public.two SELECT o.id, pg_catalog.length(o.v) FROM public.one o JOIN batch b ON o.id = (b.value->>'id')::int;$$);
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "v": "abc"}'), r('{"id": 2, "v": "d;e"}')]);
SELECT * FROM one JOIN two USING (id) ORDER BY id;
INSERT INTO one VALUES (3, 'there');
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 4, "v": "abc"}'), r('{"id": 3, "v": "abc"}')]);
DROP TABLE two;
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 4, "v": "abc"}')]);
SELECT count(*) FROM one;
SELECT kafka_sink.drop_sink('s');

-- two records of one key in a statement that takes one: what to do
SELECT kafka_sink.create_sink('s', command => $$
    INSERT INTO public.one SELECT (value->>'id')::int, value->>'v' FROM batch ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v$$);
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 4, "v": "abc"}'), r('{"id": 4, "v": "def"}')]);
SELECT kafka_sink.drop_sink('s');

-- metadata, the value as bytea, text and jsonb, headers
CREATE TABLE seen (topic text, part int, off bigint, ts timestamptz, key bytea, headers kafka_sink.header[], value text);
SELECT kafka_sink.create_sink('s', value_type => 'bytea', delete_enabled => true,
    command => 'INSERT INTO public.seen SELECT topic, part, off, ts, key, headers, pg_catalog.encode(value, ''hex'') FROM batch');
SELECT kafka_sink.seek('s', '{"t": {"0": 0}}');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('not json', 'k', 0, 0, '2026-01-02 03:04:05+00'), r(NULL, 'k', 1)]);
SELECT kafka_sink.alter_sink('s', value_type => 'text', command => 'INSERT INTO public.seen (value) SELECT value FROM batch');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('not json')]);
SELECT kafka_sink.alter_sink('s', reset => '{value_type}', command => 'INSERT INTO public.seen (value) SELECT value->>0 FROM batch');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('["json"]')]);
SELECT kafka_sink.ingest('s', ARRAY[r('["json"]'), r('not json')]);
TABLE seen ORDER BY off, value;
-- a function takes rows of "batch"
CREATE FUNCTION take(b record) RETURNS void LANGUAGE plpgsql AS
$$BEGIN INSERT INTO public.seen (off, value) VALUES (b.off, b.value->>'v'); END$$;
SELECT kafka_sink.alter_sink('s', command => 'SELECT public.take(batch) FROM batch');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"v": "by function"}', off => 2)]);
SELECT off, value FROM seen WHERE off = 2;
-- one that reads it by itself does not find it
CREATE FUNCTION peeks() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT count(*) FROM batch); END$$;
SELECT kafka_sink.alter_sink('s', command => 'SELECT public.peeks()');
SELECT kafka_sink.ingest('s', ARRAY[r('{}')]);
-- nor can a function end the transaction
CREATE PROCEDURE ends() LANGUAGE plpgsql AS $$BEGIN COMMIT; END$$;
SELECT kafka_sink.alter_sink('s', command => 'CALL public.ends()');
SELECT kafka_sink.ingest('s', ARRAY[r('{}')]);
-- tombstones go by on_tombstone unless delete_enabled gives them to the command
SELECT kafka_sink.alter_sink('s', command => 'DELETE FROM public.seen s USING batch b WHERE s.key = b.key AND b.value IS NULL');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r(NULL, 'k')]);
SELECT kafka_sink.alter_sink('s', delete_enabled => false);
SELECT kafka_sink.ingest('s', ARRAY[r(NULL, 'k')]);
SELECT kafka_sink.alter_sink('s', on_tombstone => 'ignore');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r(NULL, 'k'), r('{}', 'k')]);
SELECT count(*) FROM seen WHERE key = 'k';
SELECT kafka_sink.drop_sink('s');

-- a filter before a target: its columns, and metadata that they do not hide
CREATE TABLE t (id int PRIMARY KEY, v text, key text DEFAULT 'dflt');
SELECT kafka_sink.create_sink('s', target => 't', filter => 'v = ANY (''{a,b}'') AND key = ''dflt'' AND ts > ''2026-01-01''');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "v": "a"}', 'k', NULL, 0, '2026-01-02'), r('{"id": 2, "v": "b"}', 'k', NULL, 0, '2025-01-02'), r('{"id": 3, "v": "c"}', 'k', NULL, 0, '2026-01-02'), r('{"id": 4, "v": "b", "key": "other"}', 'k', NULL, 0, '2026-01-02'), r('{"v": "c"}')]);
SELECT kafka_sink.alter_sink('s', insert_mode => 'upsert', delete_enabled => true, filter => 'id > 1');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 1, "v": "x"}'), r('{"id": 5, "v": "x"}'), r(NULL, '1')]);
TABLE t ORDER BY id;
-- it follows the functions that it calls
CREATE FUNCTION wanted(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 5';
SELECT kafka_sink.alter_sink('s', filter => 'public.wanted(id)');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 5, "v": "y"}'), r('{"id": 6, "v": "y"}')]);
CREATE OR REPLACE FUNCTION wanted(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < 6';
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 5, "v": "z"}'), r('{"id": 6, "v": "z"}')]);
DROP FUNCTION wanted;
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 5, "v": "y"}')]);
SELECT kafka_sink.alter_sink('s', filter => 'wanted(id)');
TABLE t ORDER BY id;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- by the rights of the owner, and nobody else's
CREATE ROLE regress_ks_command;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC;
CREATE TABLE secret (id int);
GRANT INSERT ON one TO regress_ks_command;
SET ROLE regress_ks_command;
SELECT kafka_sink.create_sink('s', command => 'INSERT INTO public.one SELECT (value->>''id'')::int, current_user FROM batch');
SELECT * FROM kafka_sink.ingest('s', ARRAY[r('{"id": 10}')]);
SELECT kafka_sink.alter_sink('s', command => 'INSERT INTO public.secret SELECT 1 FROM batch');
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 10}')]);
RESET ROLE;
SELECT kafka_sink.ingest('s', ARRAY[r('{"id": 10}')]);
SELECT * FROM one WHERE id = 10;
SELECT kafka_sink.drop_sink('s');
REVOKE ALL ON one FROM regress_ks_command;
DROP ROLE regress_ks_command;

DROP TABLE account, one, seen, secret;
DROP TYPE clash;
DROP FUNCTION take, peeks;
DROP PROCEDURE ends;
DROP FUNCTION r;
DROP EXTENSION kafka_sink;
