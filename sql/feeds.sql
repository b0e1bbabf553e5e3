-- Feeds without a broker: what can be defined, by whom, and what emit() takes.
SET client_min_messages = warning;
CREATE EXTENSION kafka_sink;
CREATE ROLE regress_ks_feeder LOGIN;
CREATE ROLE regress_ks_emitter;
CREATE ROLE regress_ks_other LOGIN;
CREATE SERVER regress_ks_feeds FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
GRANT USAGE ON FOREIGN SERVER regress_ks_feeds TO regress_ks_feeder;

-- not everybody makes some
SET ROLE regress_ks_feeder;
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', enabled => false);
RESET ROLE;
GRANT EXECUTE ON FUNCTION kafka_sink.create_feed TO regress_ks_feeder;
SET ROLE regress_ks_feeder;

-- what is wrong
SELECT kafka_sink.create_feed(NULL);
SELECT kafka_sink.create_feed('');
SELECT kafka_sink.create_feed('f');
SELECT kafka_sink.create_feed('f', server => 'nowhere');
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', progress_topic => 'no topic');
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', batch_records => 0);
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', transaction_timeout => '1 h');
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', settings => '{"batch_record": 1}');
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', publication => 'nothing');
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', topic => '{table');
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', topic => '');
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', envelope => 'paper');
SELECT count(*) FROM kafka_sink.feeds;

-- what is right
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', batch_records => 5, settings => '{"batch_bytes": "1MB"}', enabled => false);
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds');
SELECT kafka_sink.create_feed('f', server => 'regress_ks_feeds', if_not_exists => true);
SELECT feed, owner, server, state, message, start_lsn, emitters, progress_topic, batch_records, batch_bytes, max_message_bytes, transaction_timeout, created_by
  FROM kafka_sink.feeds;
SELECT feed, pid, state, transactions, slot_name FROM kafka_sink.stat_feeds;
TABLE kafka_sink.feed_progress;
TABLE kafka_sink.feed_secrets;

-- sinks and feeds share their names
RESET ROLE;
SELECT kafka_sink.create_sink('f');
SELECT kafka_sink.create_sink('s');
SELECT kafka_sink.create_feed('s', server => 'regress_ks_feeds');
SELECT kafka_sink.rename_sink('s', 'f');
SET ROLE regress_ks_feeder;

-- changes
SELECT kafka_sink.alter_feed('nobody', batch_records => 1);
SELECT kafka_sink.alter_feed('f');
SELECT kafka_sink.alter_feed('f', batch_records => NULL);
SELECT kafka_sink.alter_feed('f', reset => '{server}');
SELECT kafka_sink.alter_feed('f', batch_records => 6, reset => '{batch_records}');
SELECT kafka_sink.alter_feed('f', max_message_bytes => 2000, reset => '{batch_records}');
SELECT kafka_sink.alter_feed('f', publication => 'p');
SELECT kafka_sink.alter_feed('f', owner => 'regress_ks_other');
SELECT batch_records, max_message_bytes, altered_by FROM kafka_sink.feeds;
SELECT kafka_sink.resume('f');
SELECT kafka_sink.pause('f');
SELECT kafka_sink.pause('f');
SELECT kafka_sink.accept_gap('f');
SELECT kafka_sink.skip('f');
SELECT kafka_sink.skip('f', '0/1');
SELECT kafka_sink.skip('f', NULL);
SELECT kafka_sink.skip('nobody', '0/1');
RESET ROLE;
-- as if it had halted
INSERT INTO kafka_sink.feed_state (feed, state, since, message, lsn) VALUES ('f', 'halted', now(), 'refused', '0/100');
SET ROLE regress_ks_other;
SELECT kafka_sink.skip('f', '0/100');
SET ROLE regress_ks_feeder;
SELECT kafka_sink.skip('f', '0/101');
SET client_min_messages = notice;
SELECT kafka_sink.skip('f', '0/100');
SET client_min_messages = warning;
SELECT lsn, skip_lsn FROM kafka_sink.feeds;
SELECT lsn FROM kafka_sink.stat_feeds;
SELECT action, role, old FROM kafka_sink.sink_history WHERE action = 'skip';
SELECT kafka_sink.accept_gap('f');
SELECT lsn, skip_lsn FROM kafka_sink.feeds;
SELECT kafka_sink.pause('f');

-- who may emit, and what
SELECT kafka_sink.emit('nobody', 't', 'k', 'v');
SELECT kafka_sink.emit('f', 't', 'k', 'v');
RESET ROLE;
-- as if it had begun; sessions hear of it with the next change
UPDATE kafka_sink.feed_catalog SET start_lsn = '0/1';
SET ROLE regress_ks_feeder;
SELECT kafka_sink.grant_emit('f', 'regress_ks_emitter');
SELECT kafka_sink.grant_emit('f', 'regress_ks_emitter');
SELECT kafka_sink.grant_emit('f', NULL);
SELECT emitters FROM kafka_sink.feeds;
RESET ROLE;
SELECT FROM pg_create_logical_replication_slot('regress_ks_feeds', 'test_decoding');
SET ROLE regress_ks_emitter;
SELECT kafka_sink.emit('f', 't', 'k', 'v');
SELECT kafka_sink.emit('f', 't', 'k', '{"a": 1}'::jsonb, '{"h": "x", "n": null}', 3);
SELECT kafka_sink.emit('f', 't', '\x00'::bytea, '\xff'::bytea);
SELECT kafka_sink.emit('f', ROW('t', 0, NULL, NULL, '\x00', '\xff', ARRAY[('a', '\x01'), ('a', NULL)]::kafka_sink.header[])::kafka_sink.record);
SELECT kafka_sink.emit('f', 't', NULL, NULL::text);
BEGIN;
SELECT kafka_sink.emit('f', 't', 'k', 'rolled back');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT kafka_sink.emit('f', 't', 'k', 'rolled back, too');
ROLLBACK TO s;
COMMIT;
SELECT kafka_sink.emit(NULL, 't', 'k', 'v');
SELECT kafka_sink.emit('f', NULL, 'k', 'v');
SELECT kafka_sink.emit('f', 'no topic', 'k', 'v');
SELECT kafka_sink.emit('f', 'kafka_sink.progress', 'k', 'v');
SELECT kafka_sink.emit('f', 't', 'k', 'v', part => -1);
SELECT kafka_sink.emit('f', 't', 'k', 'v', '[1]');
SELECT kafka_sink.emit('f', 't', 'k', 'v', '{"h": {}}');
SELECT kafka_sink.emit('f', 't', 'k', 'v', (SELECT jsonb_object_agg(i, '') FROM generate_series(1, 65) i));
SELECT kafka_sink.emit('f', ROW('t', 0, NULL, NULL, '\x00', NULL, ARRAY[(NULL, '\x01')]::kafka_sink.header[])::kafka_sink.record);
SELECT kafka_sink.emit('f', ROW('t', 0, 7, NULL, NULL, NULL, NULL)::kafka_sink.record);
SELECT kafka_sink.emit('f', ROW(NULL, 0, NULL, NULL, NULL, NULL, NULL)::kafka_sink.record);
SELECT kafka_sink.emit('f', NULL::kafka_sink.record);
SELECT kafka_sink.emit('f', 't', 'k', repeat('x', 2000));
BEGIN READ ONLY;
SELECT kafka_sink.emit('f', 't', 'k', 'v');
ROLLBACK;
SET ROLE regress_ks_other;
SELECT kafka_sink.emit('f', 't', 'k', 'v');
SELECT kafka_sink.grant_emit('f', 'regress_ks_other');
SELECT kafka_sink.pause('f');
SELECT kafka_sink.revoke_emit('f', 'regress_ks_emitter');
SELECT kafka_sink.alter_feed('f', batch_records => 1);
SELECT kafka_sink.resume('f');
SELECT kafka_sink.accept_gap('f');
SELECT kafka_sink.drop_feed('f');
SELECT count(*) FROM kafka_sink.feeds;
RESET ROLE;
-- five messages of ours, with a proof of 32 bytes each
SELECT count(*), sum((regexp_match(line, 'sz: (\d+)'))[1]::int)
  FROM pg_logical_slot_get_binary_changes('regress_ks_feeds', NULL, NULL, 'force-binary', 'on'), encode(data, 'escape') line
 WHERE line LIKE 'message: transactional: 1 prefix: kafka_sink, %';
SELECT pg_drop_replication_slot('regress_ks_feeds');
SET ROLE regress_ks_feeder;
SELECT kafka_sink.revoke_emit('f', 'regress_ks_emitter');
SELECT kafka_sink.revoke_emit('f', 'regress_ks_emitter');
SELECT kafka_sink.grant_emit('f', 'regress_ks_other');
SET ROLE regress_ks_emitter;
SELECT kafka_sink.emit('f', 't', 'k', 'v');
RESET ROLE;

-- what is there before
CREATE TABLE public.regress_ks_copied (id int PRIMARY KEY);
CREATE TABLE public.regress_ks_keyless (id int);
CREATE PUBLICATION regress_ks_copied FOR TABLE public.regress_ks_copied;
CREATE PUBLICATION regress_ks_both FOR TABLE public.regress_ks_copied, public.regress_ks_keyless;
SELECT kafka_sink.create_feed('c', server => 'regress_ks_feeds', copy_data => true, enabled => false);
SELECT kafka_sink.create_feed('c', server => 'regress_ks_feeds', publication => 'regress_ks_copied', copy_data => NULL, enabled => false);
SELECT kafka_sink.create_feed('c', server => 'regress_ks_feeds', publication => 'regress_ks_both', copy_data => true, enabled => false);
SELECT kafka_sink.create_feed('c', server => 'regress_ks_feeds', publication => 'regress_ks_both', enabled => false);
SELECT kafka_sink.alter_feed('c', copy_data => true);
SELECT kafka_sink.alter_feed('c', settings => '{"copy_data": true}');
SELECT kafka_sink.alter_feed('c', settings => '{"copy_data": 1}');
SELECT kafka_sink.alter_feed('c', publication => 'regress_ks_copied', copy_data => true);
SELECT kafka_sink.alter_feed('c', publication => 'regress_ks_both');
-- each way to have no key
ALTER TABLE public.regress_ks_copied REPLICA IDENTITY NOTHING;
SELECT kafka_sink.alter_feed('c', copy_data => true);
ALTER TABLE public.regress_ks_copied REPLICA IDENTITY FULL;
SELECT kafka_sink.alter_feed('c', copy_data => true);
CREATE UNIQUE INDEX regress_ks_pattern ON public.regress_ks_keyless (id);
ALTER TABLE public.regress_ks_keyless ALTER id TYPE text, ALTER id SET NOT NULL;
DROP INDEX public.regress_ks_pattern;
CREATE UNIQUE INDEX regress_ks_pattern ON public.regress_ks_keyless (id text_pattern_ops);
ALTER TABLE public.regress_ks_keyless REPLICA IDENTITY USING INDEX regress_ks_pattern;
SELECT kafka_sink.alter_feed('c', publication => 'regress_ks_both');
DROP INDEX public.regress_ks_pattern;
CREATE UNIQUE INDEX regress_ks_pattern ON public.regress_ks_keyless (id COLLATE "POSIX");
ALTER TABLE public.regress_ks_keyless REPLICA IDENTITY USING INDEX regress_ks_pattern;
SELECT kafka_sink.alter_feed('c', publication => 'regress_ks_both');
DROP INDEX public.regress_ks_pattern;
CREATE TYPE public.regress_ks_parts AS (a int);
ALTER TABLE public.regress_ks_keyless ADD parts public.regress_ks_parts NOT NULL;
CREATE UNIQUE INDEX regress_ks_pattern ON public.regress_ks_keyless (parts);
ALTER TABLE public.regress_ks_keyless REPLICA IDENTITY USING INDEX regress_ks_pattern;
SELECT kafka_sink.alter_feed('c', publication => 'regress_ks_both');
DROP INDEX public.regress_ks_pattern;
CREATE DOMAIN public.regress_ks_domain AS text;
ALTER TABLE public.regress_ks_keyless ALTER id TYPE public.regress_ks_domain;
CREATE UNIQUE INDEX regress_ks_pattern ON public.regress_ks_keyless (id);
ALTER TABLE public.regress_ks_keyless REPLICA IDENTITY USING INDEX regress_ks_pattern;
SELECT kafka_sink.alter_feed('c', publication => 'regress_ks_both');
SELECT feed, publication, copy_data FROM kafka_sink.feeds WHERE feed = 'c';
SELECT feed, copied_rows, copied_tables, tables_to_copy FROM kafka_sink.stat_feeds WHERE feed = 'c';
SELECT kafka_sink.alter_feed('c', reset => '{copy_data}');
SELECT copy_data FROM kafka_sink.feeds WHERE feed = 'c';
TABLE kafka_sink.feed_copies;
SELECT kafka_sink.drop_feed('c');
DROP PUBLICATION regress_ks_copied, regress_ks_both;
DROP TABLE public.regress_ks_copied, public.regress_ks_keyless;
DROP DOMAIN public.regress_ks_domain;
DROP TYPE public.regress_ks_parts;

-- limits, dumps, and what goes with a role
SET ROLE regress_ks_feeder;
SELECT kafka_sink.create_feed('f' || i, server => 'regress_ks_feeds', enabled => false) FROM generate_series(1, 3) i;
SELECT kafka_sink.create_feed('f4', server => 'regress_ks_feeds', enabled => false);
RESET ROLE;
SELECT relation, count(*) FROM kafka_sink.dumped() WHERE relation IN ('feed_catalog', 'feed_grants', 'feed_secrets') GROUP BY 1 ORDER BY 1;
DROP SERVER regress_ks_feeds;
CREATE SERVER regress_ks_feeds FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
GRANT EXECUTE ON FUNCTION kafka_sink.create_feed TO regress_ks_other;
DROP ROLE regress_ks_feeder;
REASSIGN OWNED BY regress_ks_feeder TO regress_ks_other;
SELECT feed, owner FROM kafka_sink.feeds ORDER BY feed;
SELECT kafka_sink.drop_feed('f1');
SELECT kafka_sink.drop_feed('f1');
SELECT kafka_sink.drop_feed('f1', if_exists => true);
SET client_min_messages = notice;
DROP OWNED BY regress_ks_other;
SET client_min_messages = warning;
SELECT count(*) FROM kafka_sink.feeds;
SELECT sink, action, role, old->>'role' AS old_role, new->>'role' AS new_role FROM kafka_sink.sink_history
 WHERE sink IN ('f', 'f1') ORDER BY id;

DROP EXTENSION kafka_sink CASCADE;
DROP OWNED BY regress_ks_feeder, regress_ks_emitter, regress_ks_other;
DROP ROLE regress_ks_feeder, regress_ks_emitter, regress_ks_other;
