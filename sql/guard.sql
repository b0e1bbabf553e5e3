-- The guard: offsets move only from where they are expected to be.
CREATE EXTENSION kafka_sink;
CREATE FUNCTION r(off bigint, value text DEFAULT '{}', part integer DEFAULT 0, topic text DEFAULT 't')
RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(topic, part, off, NULL, NULL, convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE VIEW o AS SELECT sink, topic, part, off, start_off, last_off, consumed, applied, superseded, unmatched, gaps,
    consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched AS adds_up,
    off - start_off = consumed + gaps AS reaches
  FROM kafka_sink.txn_offsets ORDER BY sink, topic, part;

-- a ledger for an outside consumer
SELECT kafka_sink.create_sink('ledger');
SELECT kafka_sink.advance('ledger', 't', 0, NULL, 100);
SELECT kafka_sink.advance('ledger', 't', 0, NULL, 100);
SELECT kafka_sink.advance('ledger', 't', 0, 100, 150);
SELECT kafka_sink.advance('ledger', 't', 0, 100, 150);
SELECT kafka_sink.advance('ledger', 't', 1, 0, 1);
SELECT kafka_sink.advance('ledger', 't', 0, 150, 149);
SELECT kafka_sink.advance('ledger', 't', 0, -1, 149);
SELECT kafka_sink.advance('ledger', 't', -1, NULL, 0);
SELECT kafka_sink.advance('ledger', NULL, 0, 0, 1);
SELECT kafka_sink.advance('nobody', 't', 0, 0, 1);
SELECT kafka_sink.advance('ledger', 't', 0, 150, 150);
TABLE o;
-- all or nothing
BEGIN;
SELECT kafka_sink.advance('ledger', 't', 0, 150, 160);
ROLLBACK;
TABLE o;
SELECT kafka_sink.ingest('ledger', ARRAY[r(150)]);
CALL kafka_sink.run('ledger');

-- seek makes rows, and starts their counts anew
SELECT kafka_sink.seek('ledger', '{"t": {"0": 5, "1": 6}, "u": {"0": 0}}');
TABLE o;
SELECT kafka_sink.seek('ledger', '{"t": 5}');
SELECT kafka_sink.seek('ledger', '{"t": {"x": 5}}');
SELECT kafka_sink.seek('ledger', '{"t": {"0": -5}}');
SELECT kafka_sink.seek('ledger', '{"t": {"0": "5"}}');
SELECT kafka_sink.seek('ledger', '{"t": {"0": 5.6}}');
SELECT kafka_sink.seek('ledger', '{"t": [5]}');
SELECT kafka_sink.seek('ledger', 'earliest');
SELECT kafka_sink.seek('ledger', 'sometime');
SELECT sink, topic, part, action, from_off, until_off FROM kafka_sink.offset_history ORDER BY id;
SELECT kafka_sink.drop_sink('ledger');
TABLE o;

-- ingest with offsets
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert');
SELECT kafka_sink.ingest('s', ARRAY[r(0, '{"id": 1}')]);
SELECT kafka_sink.seek('s', '{"t": {"0": 10, "1": 0}}');
SELECT kafka_sink.ingest('s', ARRAY[r(10, '{"id": 1}'), r(0, '{"id": 2}', 1), r(11, '{"id": 1, "v": "b"}'), r(15, '{"id": 3}')]);
TABLE o;
-- again: the guard holds, nothing is touched
SELECT kafka_sink.ingest('s', ARRAY[r(10, '{"id": 99}')]);
SELECT kafka_sink.ingest('s', ARRAY[r(16, '{"id": 98}'), r(0, '{"id": 99}', 1)]);
SELECT kafka_sink.ingest('s', ARRAY[r(17, '{"id": 99}')]);
SELECT count(*) FROM t WHERE id > 90;
SELECT kafka_sink.ingest('s', ARRAY[r(16, '{"id": 4}'), r(16, '{"id": 5}')]);
SELECT kafka_sink.ingest('s', ARRAY[r(17, '{"id": 4}'), r(16, '{"id": 5}')]);
SELECT kafka_sink.ingest('s', ARRAY[r(16, '{"id": 4}'), r(NULL, '{"id": 5}')]);
SELECT kafka_sink.ingest('s', ARRAY[r(16, '{"id": 4}', NULL)]);
SELECT kafka_sink.ingest('s', ARRAY[NULL::kafka_sink.record]);
SELECT kafka_sink.ingest('s', ARRAY[r(-5, '{"id": 99}')]);
SELECT kafka_sink.ingest('s', ARRAY[r(9223372036854775807, '{"id": 99}')]);
SELECT kafka_sink.ingest('s', ARRAY[ROW('t', 0, 16, 'infinity', NULL, NULL, NULL)::kafka_sink.record]);
-- a bad record: it is named by its offset, and the offset stays
SELECT kafka_sink.ingest('s', ARRAY[r(16, '{"id": 4}'), r(17, '{"id": "x"}'), r(18, '{"id": 5}')]);
TABLE o;
-- past it
SELECT kafka_sink.skip('s', 't', 0, 17);
SELECT kafka_sink.ingest('s', ARRAY[r(16, '{"id": 4}')]);
SELECT kafka_sink.skip('s', 't', 0, 17);
SELECT kafka_sink.skip('s', 't', 7, 0);
SELECT kafka_sink.ingest('s', ARRAY[r(18, '{"id": 5}')]);
-- a gap that somebody accepts
SELECT kafka_sink.accept_gap('s', 't', 0, 18, 100);
SELECT kafka_sink.accept_gap('s', 't', 0, 19, 100);
SELECT kafka_sink.accept_gap('s', 't', 0, 100, 19);
SELECT kafka_sink.ingest('s', ARRAY[r(100, '{"id": 6}')]);
TABLE o;
SELECT topic, part, action, from_off, until_off, role = current_user AS mine FROM kafka_sink.offset_history WHERE sink = 's' ORDER BY id;

-- triggers on the table see every move: the chain of ranges has no hole
CREATE TABLE chain (part int, from_off bigint, until_off bigint);
CREATE FUNCTION chain() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN INSERT INTO public.chain VALUES (new.part, old.off, new.off); RETURN NULL; END$$;
CREATE TRIGGER chain AFTER UPDATE ON kafka_sink.txn_offsets FOR EACH ROW EXECUTE FUNCTION chain();
SELECT kafka_sink.ingest('s', ARRAY[r(101, '{"id": 7}')]);
SELECT kafka_sink.ingest('s', ARRAY[r(102, '{"id": 8}'), r(1, '{"id": 9}', 1)]);
TABLE chain ORDER BY part, from_off;
DROP TRIGGER chain ON kafka_sink.txn_offsets;
DROP FUNCTION chain;
DROP TABLE chain;

-- one of the target that changes the row meanwhile: it is moved wherever it is, but from its offset only
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE kafka_sink.txn_offsets SET topic_id = '00000000-0000-0000-0000-000000000001', off = off + new.v::int WHERE sink = 's' AND part = 0;
    RETURN new;
END$$;
CREATE TRIGGER meddle BEFORE INSERT ON t FOR EACH ROW WHEN (new.id > 900) EXECUTE FUNCTION meddle();
SELECT off, topic_id FROM kafka_sink.txn_offsets WHERE sink = 's' AND part = 0;
SELECT kafka_sink.ingest('s', ARRAY[r(103, '{"id": 901, "v": "0"}')]);
SELECT kafka_sink.ingest('s', ARRAY[r(104, '{"id": 902, "v": "1"}')]);
SELECT kafka_sink.ingest('s', ARRAY[r(104, '{"id": 903, "v": "-1"}')]);
SELECT off, topic_id FROM kafka_sink.txn_offsets WHERE sink = 's' AND part = 0;
SELECT id FROM t WHERE id > 900;
DROP TRIGGER meddle ON t;
DROP FUNCTION meddle;

-- what changed sinks cannot be prepared
BEGIN;
SELECT kafka_sink.pause('s');
PREPARE TRANSACTION 'ks';
SELECT state FROM kafka_sink.sinks;

-- who may do what
CREATE ROLE regress_ks_owner;
GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC;
CREATE ROLE regress_ks_other;
GRANT SELECT, INSERT, UPDATE ON t TO regress_ks_owner;
GRANT EXECUTE ON FUNCTION r TO PUBLIC;
SET ROLE regress_ks_owner;
SELECT kafka_sink.create_sink('mine', target => 't', insert_mode => 'upsert');
SELECT kafka_sink.seek('mine', '{"t": {"0": 0}}');
SELECT kafka_sink.ingest('mine', ARRAY[r(0, '{"id": 50}')]);
SELECT sink FROM kafka_sink.txn_offsets;
SELECT sink, owner FROM kafka_sink.sinks;
SELECT sink FROM kafka_sink.lag;
SELECT sink FROM kafka_sink.stat_sinks;
SELECT sink, off FROM kafka_sink.stat_partitions;
SELECT sink, action FROM kafka_sink.offset_history;
SELECT kafka_sink.advance('s', 't', 0, 103, 104);
SELECT kafka_sink.drop_sink('s');
UPDATE kafka_sink.txn_offsets SET off = 0;
DELETE FROM kafka_sink.txn_offsets;
SELECT * FROM kafka_sink.sink_catalog;
SELECT * FROM kafka_sink.sink_state;
SET ROLE regress_ks_other;
SELECT sink FROM kafka_sink.txn_offsets;
SELECT sink FROM kafka_sink.sinks;
SELECT kafka_sink.alter_sink('mine', batch_records => 5);
SELECT kafka_sink.create_sink('theirs', target => 't');
RESET ROLE;
-- a member may manage, but not apply
GRANT regress_ks_owner TO regress_ks_other;
SET ROLE regress_ks_other;
SELECT kafka_sink.alter_sink('mine', batch_records => 5);
SELECT sink, off FROM kafka_sink.txn_offsets;
SELECT kafka_sink.ingest('mine', ARRAY[r(1, '{"id": 51}')]);
RESET ROLE;
-- privileges that went away since
REVOKE UPDATE ON t FROM regress_ks_owner;
SET ROLE regress_ks_owner;
SELECT kafka_sink.ingest('mine', ARRAY[r(1, '{"id": 51}')]);
RESET ROLE;
SELECT kafka_sink.drop_sink('mine'), kafka_sink.drop_sink('s');
DROP TABLE t;
DROP VIEW o;
DROP FUNCTION r;
DROP ROLE regress_ks_owner, regress_ks_other;
DROP EXTENSION kafka_sink;
