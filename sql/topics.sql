-- Several topics in a sink: targets of their own, foreign keys between them.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
-- a record from text
CREATE FUNCTION r(topic text, value text, key text DEFAULT NULL, off bigint DEFAULT NULL)
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(topic, 0, off, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
\set SHOW_CONTEXT always

CREATE TABLE orders (id int PRIMARY KEY, customer text CHECK (customer <> 'bad'));
CREATE TABLE lines (order_id int REFERENCES orders, line int, qty int CHECK (qty > 0), PRIMARY KEY (order_id, line));

-- a sink may leave it to its topics
SELECT kafka_sink.create_sink('shop', insert_mode => 'upsert', delete_enabled => true);
-- "lines" comes before "orders" by name, and after it by its foreign key
SELECT kafka_sink.register_topic('shop', 'lines', target => 'lines', columns => '{"qty": "$.quantity"}');
SELECT kafka_sink.register_topic('shop', 'orders', target => 'orders');
SELECT * FROM kafka_sink.ingest('shop', ARRAY[
    r('lines', '{"order_id": 1, "line": 1, "quantity": 5}'), r('lines', '{"order_id": 1, "line": 2, "quantity": 7}'),
    r('orders', '{"id": 1, "customer": "a"}'), r('lines', '{"order_id": 2, "line": 1, "quantity": 1}'), r('orders', '{"id": 2, "customer": "b"}')]);
TABLE orders ORDER BY id;
TABLE lines ORDER BY order_id, line;
-- what refers is deleted first, an order whose lines go with it can go
SELECT * FROM kafka_sink.ingest('shop', ARRAY[
    r('orders', NULL, '1'), r('orders', '{"id": 3, "customer": "c"}'), r('lines', '{"order_id": 3, "line": 1, "quantity": 1}'),
    r('lines', NULL, '{"order_id": 1, "line": 1}'), r('lines', NULL, '{"order_id": 1, "line": 2}')]);
TABLE orders ORDER BY id;
TABLE lines ORDER BY order_id, line;

-- errors tell the record as the caller counts it
SELECT kafka_sink.ingest('shop', ARRAY[
    r('lines', '{"order_id": 4, "line": 1, "quantity": 0}'), r('orders', '{"id": 4, "customer": "d"}')]);
SELECT kafka_sink.ingest('shop', ARRAY[
    r('lines', '{"order_id": 5, "line": 1, "quantity": 1}'), r('orders', '{"id": 4, "customer": "d"}')]);
SELECT kafka_sink.ingest('shop', ARRAY[
    r('lines', '{"order_id": "x", "line": 1, "quantity": 0}'), r('orders', '{"id": 4, "customer": "d"}')]);
SELECT kafka_sink.ingest('shop', ARRAY[r('returns', '{"id": 4}')]);

-- under the guard, each partition accounts for its own
SELECT kafka_sink.seek('shop', '{"orders": {"0": 100}, "lines": {"0": 200}}');
SELECT * FROM kafka_sink.ingest('shop', ARRAY[
    r('lines', '{"order_id": 6, "line": 1, "quantity": 1}', NULL, 200), r('lines', '{"order_id": 6, "line": 1, "quantity": 2}', NULL, 201),
    r('orders', '{"id": 6, "customer": "f"}', NULL, 100)]);
SELECT topic, off, consumed, applied, superseded FROM kafka_sink.txn_offsets ORDER BY topic;

-- dead letters of both, retried in the order of the tables
SELECT kafka_sink.alter_sink('shop', on_error => 'dead_letter');
SELECT * FROM kafka_sink.ingest('shop', ARRAY[
    r('lines', '{"order_id": 7, "line": 1, "quantity": 1}'), r('orders', '{"id": 9, "customer": ["no text"'),
    r('orders', '{"id": 8, "customer": "h"}'), r('lines', '{"order_id": 8, "line": 1, "quantity": -1}')]);
SELECT * FROM kafka_sink.ingest('shop', ARRAY[r('orders', '{"id": 7, "customer": "bad"}')]);
SELECT topic, sqlstate, message, column_name FROM kafka_sink.dead_letters ORDER BY id;
ALTER TABLE orders DROP CONSTRAINT orders_customer_check;
ALTER TABLE lines DROP CONSTRAINT lines_qty_check;
SELECT * FROM kafka_sink.retry_dead_letters('shop');
SELECT topic, sqlstate, message FROM kafka_sink.dead_letters ORDER BY id;
SELECT kafka_sink.discard_dead_letters('shop');
SELECT * FROM lines WHERE order_id > 6 ORDER BY order_id;

-- what is moved away from a row does not go with it, by whatever foreign key, and what is refused besides
CREATE TABLE firms (id int PRIMARY KEY, name text CHECK (name <> 'bad'));
CREATE TABLE sites (id int PRIMARY KEY, firm int REFERENCES firms ON DELETE CASCADE, part_of int REFERENCES sites ON DELETE SET NULL, note text);
CREATE TABLE doors (id int PRIMARY KEY, site int REFERENCES sites ON DELETE CASCADE);
SELECT kafka_sink.create_sink('firms', insert_mode => 'upsert', delete_enabled => true, on_error => 'dead_letter');
SELECT kafka_sink.register_topic('firms', 'firms', target => 'firms'), kafka_sink.register_topic('firms', 'sites', target => 'sites', columns => '{"note": null}');
CREATE FUNCTION merge(VARIADIC more kafka_sink.record[] DEFAULT '{}') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM firms;
    INSERT INTO firms VALUES (1, 'a'), (2, 'b');
    INSERT INTO sites VALUES (3, 1, NULL, 'kept'), (4, 1, 3, 'goes'), (5, 2, 4, 'kept');
    INSERT INTO doors SELECT id, id FROM sites;
    RETURN NEXT kafka_sink.ingest('firms', ARRAY[r('sites', '{"id": 3, "firm": 2}'), r('firms', NULL, '1')] || more);
    RETURN QUERY SELECT s || ' ' || d FROM sites s JOIN doors d ON d.site = s.id ORDER BY s.id;
END$$;
SELECT merge();
SELECT merge(r('firms', '{"id": 6, "name": "bad"}'));
SELECT merge(r('sites', '{"id": 7, "firm": 99}'), r('sites', '{"id": 5, "firm": 2, "part_of": 3}'));
SELECT topic, sqlstate, message FROM kafka_sink.dead_letters ORDER BY id;
SELECT kafka_sink.drop_sink('firms');
-- nor within a table, which has deletes where the log has them, in every mode
CREATE FUNCTION move(options jsonb) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sites;
    DELETE FROM firms;
    INSERT INTO firms VALUES (1, 'a');
    INSERT INTO sites VALUES (3, 1, NULL, 'first'), (4, 1, NULL, 'kept'), (5, 1, 3, 'kept'), (6, 1, 3, 'goes');
    PERFORM kafka_sink.create_sink('sites', target => 'sites', columns => '{"note": null, "firm": null}', delete_enabled => true, on_error => 'ignore', settings => options);
    RETURN NEXT kafka_sink.ingest('sites', ARRAY[r('', '{"id": 5, "part_of": 4}'), r('', NULL, '3'), r('', '{"id": 3}'), r('', '{"id": 4, "part_of": 3}'), r('', '{"id": 5, "part_of": 3}')]);
    RETURN QUERY SELECT s::text FROM sites s ORDER BY s.id;
    PERFORM kafka_sink.drop_sink('sites');
END$$;
ALTER TABLE sites DROP CONSTRAINT sites_part_of_fkey, ADD FOREIGN KEY (part_of) REFERENCES sites ON DELETE CASCADE;
SELECT m, move FROM unnest('{upsert,update}'::text[]) WITH ORDINALITY u (m, i), move(jsonb_build_object('insert_mode', m)) ORDER BY i;
DROP TABLE doors, sites, firms;
DROP FUNCTION merge, move;
-- what refers to a row, or would go with it, is moved away or deleted before it is, in every mode
CREATE TABLE firms (id int PRIMARY KEY, version int, note text);
CREATE TABLE sites (id int PRIMARY KEY, firm int, version int, note text, seen int);
CREATE FUNCTION seen() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN count(*) FROM public.sites; END';
CREATE FUNCTION divide(action text, options jsonb, VARIADIC records kafka_sink.record[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE firms, sites;
    EXECUTE 'ALTER TABLE sites DROP CONSTRAINT IF EXISTS sites_firm_fkey, ADD CONSTRAINT sites_firm_fkey FOREIGN KEY (firm) REFERENCES firms ON DELETE ' || action;
    INSERT INTO firms VALUES (1, 0, 'first'), (2, 0, 'second');
    INSERT INTO sites VALUES (3, 1, 0, 'moves', 0), (4, 1, 0, 'goes', 0);
    PERFORM kafka_sink.create_sink('firms', delete_enabled => true, on_error => 'ignore', settings => options),
        kafka_sink.register_topic('firms', 'firms', target => 'firms'), kafka_sink.register_topic('firms', 'sites', target => 'sites');
    RETURN NEXT kafka_sink.ingest('firms', records);
    RETURN QUERY SELECT 'firm ' || f::text FROM firms f ORDER BY f.id;
    RETURN QUERY SELECT 'site ' || s::text FROM sites s ORDER BY s.id;
    PERFORM kafka_sink.drop_sink('firms');
END$$;
CREATE FUNCTION by_action(options jsonb, VARIADIC records kafka_sink.record[]) RETURNS TABLE ("NO ACTION" text, "CASCADE" text) LANGUAGE sql AS
$$SELECT a, b FROM ROWS FROM (divide('NO ACTION', options, VARIADIC records), divide('CASCADE', options, VARIADIC records)) AS u(a, b)$$;
SELECT m, b.* FROM unnest(ARRAY['{"insert_mode": "upsert"}', '{"insert_mode": "upsert", "update_if": "batch.version > target.version"}', '{"insert_mode": "update"}']::jsonb[]) WITH ORDINALITY u (m, i),
  by_action(m, r('firms', '{"id": 1, "version": 1, "note": "changed"}'), r('firms', NULL, '1'), r('sites', '{"id": 3, "firm": 2, "version": 2}'), r('sites', '{"id": 4, "firm": 2, "version": 1}'), r('sites', NULL, '4')) b ORDER BY i;
-- the same, row by row
ALTER TABLE sites ALTER seen SET DEFAULT seen();
SELECT m, b.* FROM unnest(ARRAY['{"insert_mode": "upsert"}', '{"insert_mode": "upsert", "update_if": "batch.version > target.version"}', '{"insert_mode": "update"}']::jsonb[]) WITH ORDINALITY u (m, i),
  by_action(m, r('firms', '{"id": 1, "version": 1, "note": "changed"}'), r('firms', NULL, '1'), r('sites', '{"id": 3, "firm": 2, "version": 2}'), r('sites', '{"id": 4, "firm": 2, "version": 1}'), r('sites', NULL, '4')) b ORDER BY i;
ALTER TABLE sites ALTER seen DROP DEFAULT;
ALTER TABLE firms ALTER version SET DEFAULT seen();
SELECT m, b.* FROM unnest(ARRAY['{"insert_mode": "upsert"}', '{"insert_mode": "update"}']::jsonb[]) WITH ORDINALITY u (m, i),
  by_action(m, r('firms', '{"id": 1, "note": "changed"}'), r('firms', '{"id": 6, "note": "new"}'), r('firms', NULL, '1'), r('sites', '{"id": 3, "firm": 2, "version": 2}'), r('sites', '{"id": 4, "firm": 2, "version": 1}'), r('firms', '{"id": 7, "note": "newer"}')) b ORDER BY i;
-- where the key is not known before the row is written deletes have their place among the others
CREATE FUNCTION next_firm() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1 + max(id) FROM public.firms; END';
ALTER TABLE firms ALTER id SET DEFAULT next_firm();
SELECT b.* FROM by_action('{"insert_mode": "upsert"}', r('firms', '{"note": "third"}'), r('firms', '{"note": "fourth"}'), r('firms', NULL, '4'), r('firms', NULL, '1'), r('firms', '{"note": "fourth again"}'), r('sites', '{"id": 3, "firm": 3}')) b;
ALTER TABLE firms ALTER id DROP DEFAULT, ALTER version DROP DEFAULT;
DROP FUNCTION next_firm;
-- inserts
SELECT m, b.* FROM unnest(ARRAY['{"insert_mode": "insert"}', '{"insert_mode": "ignore"}']::jsonb[]) WITH ORDINALITY u (m, i),
  by_action(m, r('firms', '{"id": 5}'), r('sites', '{"id": 6, "firm": 5}'), r('sites', NULL, '6'), r('firms', NULL, '5'), r('sites', NULL, '4'), r('sites', NULL, '3'), r('sites', '{"id": 3, "firm": 2}'), r('firms', NULL, '1')) b ORDER BY i;
-- changes that lack values
SELECT b.* FROM by_action('{"insert_mode": "upsert", "envelope": "debezium"}', 
  r('sites', '{"op": "u", "after": {"id": 3, "firm": 2, "version": 2, "note": "__debezium_unavailable_value"}}'), r('sites', '{"op": "u", "after": {"id": 4, "firm": 2, "note": "__debezium_unavailable_value"}}'), r('sites', '{"op": "d", "before": {"id": 4}}'),
  r('firms', '{"op": "u", "after": {"id": 2, "version": 5, "note": "__debezium_unavailable_value"}}'), r('firms', '{"op": "d", "before": {"id": 1}}')) b;
-- a truncation has all of its topic before it and behind it, deletes too; and its rows must not be referred to
SELECT b.* FROM by_action('{"insert_mode": "upsert", "envelope": "debezium"}', r('firms', '{"op": "c", "after": {"id": 5}}'), r('firms', '{"op": "d", "before": {"id": 2}}'), r('firms', '{"op": "t"}'),
  r('firms', '{"op": "c", "after": {"id": 6}}'), r('firms', '{"op": "c", "after": {"id": 7}}'), r('firms', '{"op": "d", "before": {"id": 6}}')) b;

-- what is there between two changes only
SELECT b.* FROM by_action('{"insert_mode": "upsert", "envelope": "debezium"}', r('firms', '{"op": "c", "after": {"id": 5}}'), r('sites', '{"op": "c", "after": {"id": 6, "firm": 5, "version": 1, "note": "new"}}'),
  r('sites', '{"op": "u", "after": {"id": 6, "firm": 2, "version": 2, "note": "__debezium_unavailable_value"}}'), r('firms', '{"op": "d", "before": {"id": 5}}')) b;
-- nor is any of them refused because another record is, for which the batch is searched in the order of the log
SELECT m, b.* FROM unnest(ARRAY['{"insert_mode": "upsert"}', '{"insert_mode": "upsert", "update_if": "batch.version > target.version"}', '{"insert_mode": "update"}']::jsonb[]) WITH ORDINALITY u (m, i),
  by_action(m, r('firms', NULL, '1'), r('sites', '{"id": 3, "firm": 1, "version": 1}'), r('sites', '{"id": 3, "firm": 2, "version": 2}'), r('sites', NULL, '4'), r('sites', '{"id": 3, "firm": 99, "version": 3}')) b ORDER BY i;
SELECT b.* FROM by_action('{"insert_mode": "upsert", "envelope": "debezium"}', r('firms', '{"op": "d", "before": {"id": 1}}'), r('sites', '{"op": "c", "after": {"id": 6, "firm": 1, "version": 1, "note": "new"}}'),
  r('sites', '{"op": "u", "after": {"id": 6, "firm": 2, "note": "__debezium_unavailable_value"}}'), r('sites', '{"op": "u", "after": {"id": 3, "firm": 2, "version": 2, "note": "__debezium_unavailable_value"}}'),
  r('sites', '{"op": "d", "before": {"id": 4}}'), r('sites', '{"op": "c", "after": {"id": 9, "firm": 99}}')) b;
ALTER TABLE sites ADD CHECK (firm > 0);
SELECT divide('SET DEFAULT', '{"insert_mode": "upsert"}', r('firms', NULL, '1'), r('sites', '{"id": 3, "firm": 2, "version": 2}'), r('sites', NULL, '4'), r('sites', '{"id": 9, "firm": 99}')) FROM (SELECT) x;
ALTER TABLE sites DROP CONSTRAINT sites_firm_check;
-- and what is deleted makes room
ALTER TABLE firms ADD UNIQUE (note);
SELECT m, b.* FROM unnest(ARRAY['{"insert_mode": "upsert"}', '{"insert_mode": "upsert", "update_if": "batch.version > target.version"}', '{"insert_mode": "update"}']::jsonb[]) WITH ORDINALITY u (m, i),
  by_action(m, r('firms', NULL, '1'), r('firms', '{"id": 2, "version": 1, "note": "first"}'), r('sites', NULL, '3'), r('sites', NULL, '4')) b ORDER BY i;
-- for one, and another record is refused
SELECT m, b.* FROM unnest(ARRAY['{"insert_mode": "upsert"}', '{"insert_mode": "upsert", "update_if": "batch.version > target.version"}', '{"insert_mode": "update"}']::jsonb[]) WITH ORDINALITY u (m, i),
  by_action(m, r('firms', NULL, '1'), r('firms', '{"id": 2, "version": 1, "note": "first"}'), r('firms', '{"id": 8, "version": 1, "note": "first"}'), r('firms', '{"id": 9, "version": 1, "note": "second"}'), r('sites', NULL, '3'), r('sites', NULL, '4')) b ORDER BY i;
-- as far as it helps: nothing is left undone if it does not
SELECT divide('NO ACTION', '{"insert_mode": "insert"}', r('firms', NULL, '2'), r('sites', '{"id": 3, "firm": 1}'), r('sites', NULL, '4'));
-- of two topics of one table, what one deletes the other may have written before: it stays; and what refers to a row is moved away
CREATE FUNCTION shared(VARIADIC records kafka_sink.record[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE firms, sites;
    INSERT INTO firms VALUES (1, 0, 'first'), (2, 0, 'second');
    INSERT INTO sites VALUES (3, 1, 0, 'moves', 0);
    PERFORM kafka_sink.create_sink('firms', insert_mode => 'upsert', delete_enabled => true, on_error => 'ignore'),
        kafka_sink.register_topic('firms', 'a', target => 'firms'), kafka_sink.register_topic('firms', 'b', target => 'firms'), kafka_sink.register_topic('firms', 'sites', target => 'sites');
    RETURN NEXT kafka_sink.ingest('firms', records);
    RETURN QUERY SELECT 'firm ' || f::text FROM firms f ORDER BY f.id;
    RETURN QUERY SELECT 'site ' || s::text FROM sites s ORDER BY s.id;
    PERFORM kafka_sink.drop_sink('firms');
END$$;
ALTER TABLE sites DROP CONSTRAINT sites_firm_fkey, ADD FOREIGN KEY (firm) REFERENCES firms;
SELECT t, s.* FROM unnest('{a,b}'::text[]) t, shared(r(t, NULL, '2'), r(translate(t, 'ab', 'ba'), '{"id": 2, "note": "there"}')) s;
SELECT t, s.* FROM unnest('{a,b}'::text[]) t, shared(r(t, NULL, '1'), r('sites', '{"id": 3, "firm": 2}')) s;
DROP FUNCTION shared;
-- a tree that refers to another table, with what is moved in both
ALTER TABLE sites ADD part_of int REFERENCES sites;
SELECT divide('NO ACTION', '{"insert_mode": "upsert"}', r('firms', NULL, '1'), r('sites', '{"id": 3, "firm": 2}'), r('sites', '{"id": 5, "firm": 2, "part_of": 4}'), r('sites', '{"id": 5, "firm": 2}'), r('sites', NULL, '4'), r('sites', '{"id": 9, "firm": 99}')) FROM (SELECT) x;
-- rows of several partitions refer to each other, in whatever order these are written
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree);
SELECT count(kafka_sink.create_sink(m, target => 'tree', insert_mode => m, delete_enabled => true, on_error => 'dead_letter')) FROM unnest(ARRAY['upsert', 'update', 'insert', 'ignore']) m;
CREATE FUNCTION of_tree(m text, VARIADIC recs kafka_sink.record[]) RETURNS SETOF text LANGUAGE sql AS $$
TRUNCATE tree;
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 3);
SELECT m || ' ' || kafka_sink.ingest(m, recs);
SELECT string_agg(concat_ws('>', id, parent), ' ' ORDER BY id) FROM tree;
$$;
CREATE FUNCTION of_part(part int, key text, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', part, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
SELECT of_tree(m, of_part(0, '1', NULL), of_part(1, '2', NULL), of_part(0, '3', NULL), of_part(1, '4', NULL)) FROM unnest(ARRAY['upsert', 'update', 'insert', 'ignore']) m;
SELECT of_tree('upsert', of_part(0, '1', NULL), of_part(1, '2', NULL), of_part(0, '9', NULL));
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN new; END$$;
CREATE TRIGGER pass BEFORE INSERT OR UPDATE ON tree FOR EACH ROW EXECUTE FUNCTION pass();
SELECT of_tree(m, of_part(0, '5', '{"id": 5, "parent": 6}'), of_part(1, '6', '{"id": 6, "parent": 7}'), of_part(0, '7', '{"id": 7, "parent": 6}')) FROM unnest(ARRAY['upsert', 'insert', 'ignore']) m;
SELECT sink, part, convert_from(key, 'UTF8') AS key, sqlstate FROM kafka_sink.dead_letters WHERE topic = 't' ORDER BY id;
SELECT kafka_sink.drop_sink(m) FROM unnest(ARRAY['upsert', 'update', 'insert', 'ignore']) m;
DROP FUNCTION of_tree, of_part;
DROP TABLE tree;
DROP FUNCTION pass;
DROP FUNCTION by_action, divide;
DROP TABLE sites, firms;
DROP FUNCTION seen;

-- topics without one go to the sink's
CREATE TABLE events (topic text, body jsonb);
SELECT kafka_sink.alter_sink('shop', target => 'events', insert_mode => 'insert', delete_enabled => false,
                             columns => '{"topic": "@topic", "body": "@value"}');
SELECT kafka_sink.alter_topic('shop', 'orders', insert_mode => 'update');
SELECT * FROM kafka_sink.ingest('shop', ARRAY[r('returns', '{"id": 1}'), r('orders', '{"id": 6, "customer": "new"}'), r('orders', '{"id": 99, "customer": "none"}')]);
TABLE events;
SELECT * FROM orders WHERE id IN (6, 99);
-- or through its command
SELECT kafka_sink.alter_sink('shop', reset => '{target,columns}', command => 'INSERT INTO public.events SELECT topic, value FROM batch');
SELECT * FROM kafka_sink.ingest('shop', ARRAY[r('returns', '{"id": 2}'), r('orders', '{"id": 6, "customer": "newer"}')]);
TABLE events;
SELECT * FROM orders WHERE id = 6;

-- other settings of a target
SELECT kafka_sink.alter_topic('shop', 'orders', insert_mode => 'upsert', filter => 'customer <> ''secret''',
                              update_if => 'orders.customer < excluded.customer');
SELECT * FROM kafka_sink.ingest('shop', ARRAY[r('orders', '{"id": 6, "customer": "secret"}'), r('orders', '{"id": 6, "customer": "a"}'), r('orders', '{"id": 6, "customer": "z"}')]);
SELECT * FROM orders WHERE id = 6;
SELECT kafka_sink.alter_topic('shop', 'orders', reset => '{filter,update_if}', insert_mode => 'accumulate', accumulate => '{"customer": "max"}');
SELECT * FROM kafka_sink.ingest('shop', ARRAY[r('orders', '{"id": 6, "customer": "y"}'), r('orders', '{"id": 6, "customer": "zz"}')]);
SELECT * FROM orders WHERE id = 6;
SELECT sink, topic, target, insert_mode, columns, accumulate, own_target FROM kafka_sink.sink_topics ORDER BY topic;
SELECT kafka_sink.alter_topic('shop', 'orders', reset => '{target,insert_mode,accumulate}');
SELECT * FROM kafka_sink.ingest('shop', ARRAY[r('orders', '{"id": 6}')]);
SELECT count(*) FROM events WHERE topic = 'orders';

-- what does not go together
SELECT kafka_sink.alter_topic('shop', 'orders', columns => '{"customer": "@key"}');
SELECT kafka_sink.alter_topic('shop', 'lines', columns => '{"colour": "@key"}');
SELECT kafka_sink.alter_topic('shop', 'lines', insert_mode => 'replace');
SELECT kafka_sink.alter_topic('shop', 'lines', insert_mode => 'accumulate');
SELECT kafka_sink.alter_topic('shop', 'lines', pk_fields => '{qty}', insert_mode => 'upsert');
SELECT kafka_sink.alter_topic('shop', 'lines', reset => '{partitions}');
SELECT kafka_sink.alter_topic('shop', 'returns', target => 'events');
SELECT kafka_sink.register_topic('shop', 'returns', insert_mode => 'upsert');
SELECT kafka_sink.register_topic('shop', 'returns', target => 'pg_class');
SELECT kafka_sink.alter_sink('shop', retry_within => '-1 s');
SELECT kafka_sink.alter_sink('shop', retry_within => '0');
SELECT topics, retry_within FROM kafka_sink.sinks;
-- a target that is gone
DROP TABLE lines;
SELECT kafka_sink.ingest('shop', ARRAY[r('lines', '{"order_id": 4, "line": 1}')]);

SELECT kafka_sink.drop_sink('shop');
-- one target, which is that of its topic alone
SELECT kafka_sink.create_sink('one');
SELECT kafka_sink.register_topic('one', 'orders', target => 'orders');
SELECT applied FROM kafka_sink.ingest('one', ARRAY[r('orders', '{"id": 50}')]);
SELECT kafka_sink.ingest('one', ARRAY[r('returns', '{"id": 51}')]);
SELECT kafka_sink.ingest('one', ARRAY[r('orders', '{"id": 52}'), r('returns', '{"id": 53}')]);
SELECT kafka_sink.drop_sink('one');

-- one target is written directly, then another by SQL, batch by batch
CREATE TABLE plain (id int PRIMARY KEY, v int CHECK (v > 0));
CREATE TABLE sums (id int PRIMARY KEY REFERENCES plain, v int);
SELECT kafka_sink.create_sink('two', insert_mode => 'upsert', on_error => 'dead_letter', batch_records => 1);
SELECT kafka_sink.register_topic('two', 'plain', target => 'plain');
SELECT kafka_sink.register_topic('two', 'sums', target => 'sums', insert_mode => 'accumulate', accumulate => '{"v": "sum"}');
SELECT applied, dead_lettered FROM kafka_sink.ingest('two', ARRAY[r('plain', '{"id": 1, "v": 0}'), r('sums', '{"id": 1, "v": 5}'), r('sums', '{"id": 1, "v": 6}')]);
ALTER TABLE sums DROP CONSTRAINT sums_id_fkey;
ALTER TABLE plain DROP CONSTRAINT plain_v_check;
CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.v := 2 * new.v; RETURN new; END $$;
CREATE TRIGGER twice BEFORE INSERT ON sums FOR EACH ROW EXECUTE FUNCTION twice();
SELECT applied, dead_lettered FROM kafka_sink.retry_dead_letters('two');
TABLE plain;
TABLE sums;
SELECT kafka_sink.drop_sink('two');
DROP TABLE sums, plain;
DROP FUNCTION twice;
-- each target has room for its own records, not for all of the batch
CREATE TABLE wide (id int PRIMARY KEY, g int GENERATED ALWAYS AS (1) STORED, d int GENERATED BY DEFAULT AS IDENTITY);
SELECT format('ALTER TABLE wide %s', string_agg('ADD c' || i || ' int', ', ')) FROM generate_series(1, 20) i \gexec
CREATE INDEX ON wide (d);
CREATE TABLE taken (bytes bigint);
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.taken SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name = 'kafka_sink rows';
    RETURN NULL;
END$$;
CREATE TABLE looked (id int PRIMARY KEY);
CREATE TRIGGER look BEFORE INSERT ON looked EXECUTE FUNCTION look();
SELECT kafka_sink.create_sink('many', insert_mode => 'upsert', on_error => 'dead_letter');
SELECT count(kafka_sink.register_topic('many', 't' || i, target => 'wide')) FROM generate_series(1, 20) i;
SELECT kafka_sink.register_topic('many', 'looked', target => 'looked');
CREATE FUNCTION many(first int, n int, mistake text) RETURNS text LANGUAGE sql AS $$
SELECT concat_ws(' ', 'applied', applied, 'dead_lettered', dead_lettered) FROM kafka_sink.ingest('many',
    (SELECT array_agg(r('t' || i % 20 + 1, CASE WHEN i = first + n / 2 THEN mistake ELSE '{"id": ' || i || ', "c5": 5}' END) ORDER BY i)
    FROM generate_series(first, first + n - 1) i) || r('looked', '{"id": ' || first || '}'))
$$;
SELECT many(1, 10000, NULL);
SELECT many(10001, 10000, '{"id": 1, "c5": "x"}');
ALTER TABLE wide ADD CHECK (c5 = 5);
SELECT many(20001, 10000, '{"id": 2, "c5": 6}');
SELECT kafka_sink.alter_sink('many', insert_mode => 'insert');
SELECT many(30001, 10000, '{"id": 3, "c5": 6}');
SELECT count(kafka_sink.alter_topic('many', 't' || i, insert_mode => 'accumulate', accumulate => '{"c5": "last"}', columns => '{"d": null}'))
    FROM generate_series(1, 20) i;
SELECT many(35001, 10000, '{"id": 4, "c5": 6}');
-- 10,000 rows of 22 values are 2 MB
SELECT max(bytes) < 10000000, count(*) FROM taken;
SELECT count(*), sum(id), count(DISTINCT d), sum(c5) FROM wide;
SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = 'many';
SELECT kafka_sink.drop_sink('many');
DROP TABLE wide, looked, taken;
DROP FUNCTION many, look;
DROP TABLE orders, events;
DROP FUNCTION r;
DROP EXTENSION kafka_sink;
