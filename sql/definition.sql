-- A sink as SQL that makes the same sink again.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
CREATE SCHEMA "Odd schema";
CREATE TABLE "Odd schema"."T'able" (id int PRIMARY KEY, n numeric, v text);
CREATE TABLE u (id int PRIMARY KEY, "a,b" text, n bigint);
CREATE TYPE val AS (id int, v text);
CREATE SERVER regress_ks_definition FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');

-- all that can be set, and text that needs quotes
SELECT kafka_sink.create_sink('plain');
SELECT kafka_sink.create_sink(E'it''s \\ odd', server => 'regress_ks_definition', target => '"Odd schema"."T''able"', insert_mode => 'accumulate',
    columns => '{"v": "$.o''v"}', pk_fields => '{id}', format => 'json', key_format => 'raw', delete_enabled => true, on_tombstone => 'ignore',
    on_error => 'dead_letter', on_nul => 'strip', on_nonfinite => 'error', isolation_level => 'read_uncommitted', synchronous_commit => 'on',
    batch_records => 17, batch_bytes => 20000, batch_linger_ms => 0, max_record_bytes => 10000, workers => 3, filter => E'v <> ''a\\b''',
    accumulate => '{"n": "sum", "v": "last"}', reject_limit => '10', dead_letter_retention => '1 mon 2 days', csv_delimiter => ';',
    csv_quote => '', csv_null => E'\\N', retry_within => '0', on_topic_error => 'halt_sink', lock_timeout => '1500 ms', idle_after => '0',
    statistics_interval => '5 s', enabled => false);
SELECT kafka_sink.register_topic(E'it''s \\ odd', 'orders', partitions => '0-3,7', start_at => '{"0": 42}');
SELECT kafka_sink.register_topic(E'it''s \\ odd', 'a.b', start_at => '2026-01-02 03:04:05.678+01');
SELECT kafka_sink.register_topic(E'it''s \\ odd', 'lines', target => 'u', insert_mode => 'upsert', columns => '{"a,b": "@key"}', pk_fields => '{id}',
    filter => 'id > 0', update_if => 'excluded.n > u.n', start_at => 'end');
SELECT kafka_sink.create_sink('command', command => E'SELECT v || ''\\'' FROM batch', value_type => 'val', filter => E'v LIKE ''%\n''');
SELECT kafka_sink.create_sink('debezium', target => 'u', envelope => 'debezium', insert_mode => 'upsert', strict => true);
SELECT kafka_sink.create_sink('csv', target => 'u', format => 'csv');

SELECT kafka_sink.sink_definition('plain');
SELECT kafka_sink.sink_definition(E'it''s \\ odd');
SELECT kafka_sink.sink_definition('nope');
SELECT kafka_sink.sink_definition(NULL);

-- run again, by somebody who reads literals otherwise
CREATE TABLE before AS
    SELECT 'sink' AS kind, to_jsonb(c) - '{generation,created_at,altered_at}'::text[] AS j FROM kafka_sink.sink_catalog c
    UNION ALL SELECT 'topic', to_jsonb(t) FROM kafka_sink.topic_catalog t;
SELECT string_agg(kafka_sink.sink_definition(sink), '' ORDER BY sink) AS definition FROM kafka_sink.sinks \gset
SELECT count(kafka_sink.drop_sink(sink)) FROM kafka_sink.sinks;
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET IntervalStyle = sql_standard;
SET search_path = pg_catalog;
\o /dev/null
:definition
\o
RESET ALL;
SET timezone = 'UTC';
CREATE VIEW after AS
    SELECT 'sink' AS kind, to_jsonb(c) - '{generation,created_at,altered_at}'::text[] AS j FROM kafka_sink.sink_catalog c
    UNION ALL SELECT 'topic', to_jsonb(t) FROM kafka_sink.topic_catalog t;
SELECT count(*) FROM after;
(SELECT 'missing', j FROM (TABLE before EXCEPT TABLE after) m) UNION ALL (SELECT 'different', j FROM (TABLE after EXCEPT TABLE before) m);

-- who may see the sink
CREATE ROLE regress_ks_definition;
SET ROLE regress_ks_definition;
\set VERBOSITY sqlstate
SELECT kafka_sink.sink_definition('plain');
\set VERBOSITY default
RESET ROLE;
DROP ROLE regress_ks_definition;
SELECT count(kafka_sink.drop_sink(sink)) FROM kafka_sink.sinks;
DROP VIEW after;
DROP TABLE before, u, "Odd schema"."T'able";
DROP TYPE val;
DROP SCHEMA "Odd schema";
DROP SERVER regress_ks_definition;
DROP EXTENSION kafka_sink;
