-- Columns that are renamed, whoever has filled them before.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
CREATE FUNCTION put(sink text, VARIADIC records text[]) RETURNS text LANGUAGE sql AS
$$SELECT kafka_sink.ingest(sink, ARRAY(SELECT ROW(NULL, NULL, NULL, NULL, NULL, convert_to(r, 'UTF8'), NULL)::kafka_sink.record FROM unnest(records) WITH ORDINALITY u(r, n) ORDER BY n))::text$$;
CREATE FUNCTION filled() RETURNS SETOF text LANGUAGE sql AS
$$SELECT concat_ws(' ', sink, topic, attnum, name) FROM kafka_sink.filled_columns ORDER BY sink, topic, attnum$$;
CREATE TABLE t (id int PRIMARY KEY, v text, w text DEFAULT 'default', never text);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert');
-- what is rolled back has filled nothing
BEGIN;
SELECT put('s', '{"id":1,"v":"a","w":"b"}');
ROLLBACK;
SELECT filled();
ALTER TABLE t RENAME v TO vv;
SELECT put('s', '{"id":1,"vv":"a"}');
SELECT put('s', '{"id":1,"w":"b"}', '{"id":2}');
SELECT filled();
-- another session
\c
SET client_min_messages = warning;
ALTER TABLE t RENAME never TO ever;
SELECT put('s', '{"id":3,"vv":"c"}');
ALTER TABLE t RENAME w TO u;
SELECT put('s', '{"id":1,"vv":"d","w":"e"}');
SELECT kafka_sink.alter_sink('s', batch_records => 100);
SELECT put('s', '{"id":1,"vv":"d","w":"e"}');
TABLE t ORDER BY id;
-- mapped, it goes on; and if that is taken back, and the column is called so
SELECT kafka_sink.alter_sink('s', columns => '{"u": "w"}');
SELECT put('s', '{"id":1,"vv":"d","w":"e"}');
SELECT filled();
SELECT kafka_sink.alter_sink('s', reset => '{columns}');
SELECT put('s', '{"id":1,"vv":"d","u":"f"}');
SELECT filled();
TABLE t ORDER BY id;
-- another column under the old name; a resume says that it is meant
ALTER TABLE t RENAME u TO old_u;
ALTER TABLE t ADD u text;
SELECT put('s', '{"id":1,"u":"g"}');
SELECT kafka_sink.resume('s');
SELECT put('s', '{"id":1,"u":"g"}');
SELECT filled();
TABLE t ORDER BY id;
-- dropped, and another table
ALTER TABLE t DROP old_u;
SELECT put('s', '{"id":2,"u":"h"}');
SELECT filled();
CREATE TABLE t2 (id int PRIMARY KEY, u text, vv text, ever text, x text);
SELECT kafka_sink.alter_sink('s', target => 't2');
SELECT put('s', '{"id":2,"u":"h","x":"i"}');
SELECT filled();
-- it follows its sink
SELECT kafka_sink.rename_sink('s', 's2');
ALTER TABLE t2 RENAME x TO y;
SELECT put('s2', '{"id":2,"u":"h","x":"i"}');
SELECT kafka_sink.drop_sink('s2');
SELECT filled();
-- attributes of types, which nothing maps
CREATE TYPE address AS (city text, zip text);
CREATE TABLE p (id int PRIMARY KEY, home address, others address[]);
SELECT kafka_sink.create_sink('s', target => 'p', insert_mode => 'upsert');
SELECT put('s', '{"id":1,"home":{"city":"a"},"others":[{"city":"b","zip":"1"}]}');
SELECT name FROM kafka_sink.filled_columns WHERE relid = 'address'::regclass ORDER BY attnum;
ALTER TYPE address RENAME ATTRIBUTE zip TO code;
SELECT put('s', '{"id":1,"home":{"city":"c","zip":"2"}}');
TABLE p;
SELECT kafka_sink.resume('s');
SELECT put('s', '{"id":1,"home":{"city":"c","code":"2"}}');
SELECT name FROM kafka_sink.filled_columns WHERE relid = 'address'::regclass ORDER BY attnum;
TABLE p;
SELECT kafka_sink.drop_sink('s');
DROP TABLE p;
DROP TYPE address;
-- fields of CSV, which go to columns by their places, when a column has gone
CREATE TABLE p (id int PRIMARY KEY, a text, b text, c text);
SELECT kafka_sink.create_sink('s', target => 'p', format => 'csv', insert_mode => 'upsert');
SELECT put('s', '1,x,y,z');
SELECT filled();
ALTER TABLE p DROP c;
SELECT put('s', '1,x,y,z');
ALTER TABLE p DROP a;
SELECT put('s', '1,x,y,z');
SELECT kafka_sink.alter_sink('s', columns => '{"id": "$1", "b": "$3"}');
SELECT put('s', '1,x,y,z');
TABLE p;
SELECT kafka_sink.alter_sink('s', reset => '{columns}');
SELECT put('s', '1,w');
SELECT filled();
TABLE p;
SELECT kafka_sink.drop_sink('s');
DROP TABLE p;
-- of topics
SELECT kafka_sink.create_sink('s', insert_mode => 'upsert');
SELECT kafka_sink.register_topic('s', 'a', target => 't');
SELECT kafka_sink.register_topic('s', 'b', target => 't2');
CREATE FUNCTION put_to(sink text, topic text, record text) RETURNS text LANGUAGE sql AS
$$SELECT kafka_sink.ingest(sink, ARRAY[ROW(topic, NULL, NULL, NULL, NULL, convert_to(record, 'UTF8'), NULL)::kafka_sink.record])::text$$;
SELECT put_to('s', 'a', '{"id":1,"u":"a"}'), put_to('s', 'b', '{"id":1,"u":"b"}');
SELECT filled();
ALTER TABLE t RENAME u TO u2;
SELECT put_to('s', 'b', '{"id":1,"u":"b"}');
SELECT kafka_sink.resume('s', 'b');
SELECT put_to('s', 'b', '{"id":1,"u":"b"}');
SELECT kafka_sink.resume('s', 'a');
SELECT put_to('s', 'b', '{"id":1,"u":"b"}');
SELECT filled();
SELECT kafka_sink.rename_sink('s', 's2');
SELECT filled();
SELECT kafka_sink.unregister_topic('s2', 'b');
SELECT filled();
SELECT kafka_sink.drop_sink('s2');
DROP TABLE t, t2;
DROP FUNCTION put, put_to, filled;
DROP EXTENSION kafka_sink;
