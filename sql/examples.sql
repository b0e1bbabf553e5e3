-- The examples of doc/reference.md, as they stand there, and what they do.
CREATE EXTENSION kafka_sink;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
-- records of partition 0, from their values; ts is a minute further for each
CREATE FUNCTION feed(sink text, VARIADIC "values" text[]) RETURNS kafka_sink.batch_result LANGUAGE sql AS
$$SELECT kafka_sink.ingest(sink, array_agg(ROW('t', 0, n - 1, timestamptz '2026-01-01 00:00:00+00' + n * interval '1 minute',
         NULL, convert_to(v, 'UTF8'), NULL)::kafka_sink.record ORDER BY n))
  FROM unnest("values") WITH ORDINALITY AS u(v, n)$$;
CREATE FUNCTION start(sink text) RETURNS void LANGUAGE sql AS
$$SELECT kafka_sink.seek(sink, '{"t": {"0": 0}}')$$;

-- running totals per account
CREATE TYPE payment AS (account bigint, amount numeric);
CREATE TABLE account_totals (account bigint PRIMARY KEY, balance numeric NOT NULL, payments bigint NOT NULL);

SELECT kafka_sink.create_sink('totals', value_type => 'payment', filter => 'amount <> 0', command => $$
    INSERT INTO public.account_totals AS t
    SELECT account, sum(amount), count(*) FROM batch GROUP BY account
    ON CONFLICT (account) DO UPDATE
       SET balance = t.balance + EXCLUDED.balance, payments = t.payments + EXCLUDED.payments
$$);

SELECT start('totals');
SELECT feed('totals', '{"account": 1, "amount": 10.50}', '{"account": 2, "amount": 5}', '{"account": 1, "amount": -2.25}', '{"account": 3, "amount": 0}');
SELECT start('totals');
SELECT feed('totals', '{"account": 2, "amount": 5}');
TABLE account_totals ORDER BY account;

-- order header and lines from one nested record
CREATE TYPE order_line AS (product text, quantity int);
CREATE TYPE order_placed AS (id bigint, customer text, lines order_line[]);
CREATE TABLE orders (id bigint PRIMARY KEY, customer text);
CREATE TABLE order_lines (order_id bigint REFERENCES orders, line int, product text, quantity int, PRIMARY KEY (order_id, line));

SELECT kafka_sink.create_sink('order_lines', value_type => 'order_placed', command => $$
    INSERT INTO public.orders SELECT id, customer FROM batch;
    INSERT INTO public.order_lines
    SELECT id, line, product, quantity
      FROM batch, unnest(lines) WITH ORDINALITY AS l(product, quantity, line)
$$);

SELECT start('order_lines');
SELECT feed('order_lines', '{"id": 1, "customer": "ann", "lines": [{"product": "pen", "quantity": 2}, {"product": "ink", "quantity": 1}]}',
    '{"id": 2, "customer": "bob", "lines": []}');
SELECT * FROM orders LEFT JOIN order_lines ON order_id = id ORDER BY id, line;

-- slowly changing dimension
CREATE TYPE customer_changed AS (id bigint, name text, city text, changed_at timestamptz);
CREATE TABLE customer_history (id bigint, name text, city text, valid_from timestamptz, valid_to timestamptz,
    PRIMARY KEY (id, valid_from));

SELECT kafka_sink.create_sink('history', value_type => 'customer_changed', command => $$
    -- the version that was current ends where the first change of the batch begins
    UPDATE public.customer_history h
       SET valid_to = b.changed_at
      FROM (SELECT id, min(changed_at) AS changed_at FROM batch GROUP BY id) b
     WHERE h.id = b.id AND h.valid_to IS NULL;
    -- each change lasts until the next
    INSERT INTO public.customer_history
    SELECT id, name, city, changed_at, lead(changed_at) OVER (PARTITION BY id ORDER BY changed_at)
      FROM batch
$$);

SELECT start('history');
SELECT feed('history', '{"id": 1, "name": "Ann", "city": "Oslo", "changed_at": "2026-01-01"}', '{"id": 2, "name": "Bob", "city": "Rome", "changed_at": "2026-01-01"}');
SELECT start('history');
SELECT feed('history', '{"id": 1, "name": "Ann", "city": "Bonn", "changed_at": "2026-02-01"}', '{"id": 1, "name": "Ann", "city": "Bern", "changed_at": "2026-03-01"}');
TABLE customer_history ORDER BY id, valid_from;

-- dedup by event id, with a window
CREATE TYPE event AS (event_id uuid, kind text);
CREATE TABLE events (event_id uuid, kind text, at timestamptz);
CREATE TABLE events_seen (event_id uuid PRIMARY KEY, at timestamptz NOT NULL);

SELECT kafka_sink.create_sink('dedup', value_type => 'event', command => $$
    WITH fresh AS (
        INSERT INTO public.events_seen AS s
        SELECT event_id, min(ts) FROM batch GROUP BY event_id
        ON CONFLICT (event_id) DO UPDATE SET at = EXCLUDED.at WHERE s.at < EXCLUDED.at - interval '1 hour'
        RETURNING event_id)
    INSERT INTO public.events
    SELECT DISTINCT ON (event_id) event_id, kind, ts
      FROM batch JOIN fresh USING (event_id)
     ORDER BY event_id, ts, part, off;
    DELETE FROM public.events_seen WHERE at < (SELECT max(ts) FROM batch) - interval '1 hour'
$$);

INSERT INTO events_seen VALUES ('00000000-0000-0000-0000-000000000009', '2025-12-31');
SELECT start('dedup');
SELECT feed('dedup', '{"event_id": "00000000-0000-0000-0000-000000000001", "kind": "a"}', '{"event_id": "00000000-0000-0000-0000-000000000002", "kind": "b"}',
    '{"event_id": "00000000-0000-0000-0000-000000000001", "kind": "a again"}', '{"event_id": "00000000-0000-0000-0000-000000000009", "kind": "long ago"}');
SELECT start('dedup');
SELECT feed('dedup', '{"event_id": "00000000-0000-0000-0000-000000000002", "kind": "b again"}');
TABLE events ORDER BY event_id;
TABLE events_seen ORDER BY event_id;

-- router by a field
CREATE TABLE clicks (at timestamptz, page text);
CREATE TABLE purchases (at timestamptz, item text, price numeric);
CREATE TABLE other_events (at timestamptz, event jsonb);

SELECT kafka_sink.create_sink('router', command => $$
    INSERT INTO public.clicks
    SELECT ts, value->>'page' FROM batch WHERE value->>'type' = 'click';
    INSERT INTO public.purchases
    SELECT ts, value->>'item', (value->>'price')::numeric FROM batch WHERE value->>'type' = 'purchase';
    INSERT INTO public.other_events
    SELECT ts, value FROM batch WHERE (value->>'type' IN ('click', 'purchase')) IS NOT TRUE
$$);

SELECT start('router');
SELECT feed('router', '{"type": "click", "page": "/"}', '{"type": "purchase", "item": "pen", "price": 1.20}', '{"type": "login"}', '{}', '[1]');
TABLE clicks;
TABLE purchases;
TABLE other_events ORDER BY at;

-- enrichment from a dimension table
CREATE TYPE reading AS (device bigint, celsius float8);
CREATE TABLE devices (device bigint PRIMARY KEY, room text);
CREATE TABLE readings (room text, device bigint, at timestamptz, celsius float8);

SELECT kafka_sink.create_sink('enrich', value_type => 'reading', command => $$
    INSERT INTO public.readings
    SELECT coalesce(d.room, 'unknown'), b.device, b.ts, b.celsius
      FROM batch b LEFT JOIN public.devices d USING (device)
$$);

INSERT INTO devices VALUES (1, 'kitchen');
SELECT start('enrich');
SELECT feed('enrich', '{"device": 1, "celsius": 20.5}', '{"device": 7, "celsius": 3}');
TABLE readings ORDER BY at;

-- sums without a command, and the newer record
CREATE TABLE page_views (page text PRIMARY KEY, views bigint, seconds bigint, last_seen timestamptz, title text);

SELECT kafka_sink.create_sink('page_views', target => 'page_views', insert_mode => 'accumulate',
    columns => '{"last_seen": "@timestamp"}',
    accumulate => '{"views": "count", "seconds": "sum", "last_seen": "max", "title": "last"}');

SELECT start('page_views');
SELECT feed('page_views', '{"page": "/", "seconds": 3, "title": "Home"}', '{"page": "/a", "seconds": 1}', '{"page": "/", "seconds": 4}');
TABLE page_views ORDER BY page;

CREATE TABLE prices (item text PRIMARY KEY, price numeric, as_of timestamptz);

SELECT kafka_sink.create_sink('prices', target => 'prices', insert_mode => 'upsert',
    update_if => 'prices.as_of < excluded.as_of');

SELECT start('prices');
SELECT feed('prices', '{"item": "pen", "price": 2, "as_of": "2026-02-01"}', '{"item": "pen", "price": 1, "as_of": "2026-01-01"}');
TABLE prices;

SELECT sink, bool_and(consumed = applied + filtered + unmatched) AS adds_up FROM kafka_sink.txn_offsets GROUP BY sink ORDER BY sink;
SELECT count(kafka_sink.drop_sink(sink)) FROM kafka_sink.sinks;
DROP TABLE account_totals, orders, order_lines, customer_history, events, events_seen, clicks, purchases, other_events,
    devices, readings, page_views, prices;
DROP TYPE payment, order_placed, order_line, customer_changed, event, reading;
DROP FUNCTION feed, start;
DROP EXTENSION kafka_sink;
