/* kafka_sink--0.1--0.2.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION kafka_sink UPDATE TO '0.2'" to load this file. \quit

-- a sink costs everybody who uses the server: its administrator says who may make some
REVOKE EXECUTE ON FUNCTION kafka_sink.create_sink FROM PUBLIC;

--
-- A call with NULL is an error, no call that does nothing
--
ALTER FUNCTION kafka_sink.drop_sink(text) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.unregister_topic(text, text) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.pause(text) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.resume(text) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.resume(text, text) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.seek(text, text) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.skip(text, text, integer, bigint) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.accept_gap(text, text, integer, bigint, bigint) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.claim(text, jsonb) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.claim(text, text) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.ingest(text, kafka_sink.record[]) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.topics(text, interval) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.preview(text, integer, interval) CALLED ON NULL INPUT;
ALTER FUNCTION kafka_sink.lag(text, boolean, interval) CALLED ON NULL INPUT;

COMMENT ON FUNCTION kafka_sink.alter_sink(text, text, regclass, text, jsonb, text[], text, text, boolean, text, text, text, text, text, text, integer, integer, integer, integer, integer, text, regtype, text, text, jsonb, text, interval, text, text, text, text, boolean, interval, text, interval, interval, interval, text[]) IS
'changes the settings given and sets those named in reset to their defaults';
COMMENT ON FUNCTION kafka_sink.alter_topic(text, text, regclass, text, jsonb, text[], text, text, jsonb, text[]) IS
'changes the settings given of a topic''s own target and forgets those named in reset; its offsets stay';
