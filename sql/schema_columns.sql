-- Records by schemas that do not fit the table: which column it is, in the dead letter too.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
CREATE SERVER none FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
SELECT kafka_sink.add_schema('none', 1, 'AVRO', '{"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}, {"name": "v", "type": "string"}]}');
SELECT kafka_sink.add_schema('none', 2, 'AVRO', '{"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}, {"name": "v", "type": "int"}]}');
SELECT kafka_sink.add_schema('none', 3, 'AVRO', '{"type": "record", "name": "r", "fields": [{"name": "id", "type": "bytes"}, {"name": "v", "type": "string"}]}');
SELECT kafka_sink.add_schema('none', 4, 'AVRO', '{"type": "record", "name": "r", "fields": [{"name": "other", "type": "int"}]}');
SELECT kafka_sink.add_schema('none', 5, 'PROTOBUF', 'syntax = "proto3"; message r { bytes id = 1; string v = 2; }');
CREATE FUNCTION r(off bigint, id int, value bytea) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', 0, off, NULL, NULL, '\x00' || int4send(id) || value, NULL)::kafka_sink.record$$;
CREATE TABLE t (id int, v text CHECK (v <> 'x'));
SELECT kafka_sink.create_sink('s', target => 't', server => 'none', format => 'avro', on_error => 'dead_letter', enabled => false);
SELECT kafka_sink.seek('s', '{"t": {"0": 1}}');
SELECT kafka_sink.ingest('s', ARRAY[r(1, 1, '\x020261'), r(2, 3, '\x02ff0262'), r(3, 4, '\x02'), r(4, 1, '\x040263'), r(5, 1, '\x06ff'), r(6, 1, '\x080278'), r(7, 9, '\x00')]);
SELECT off, sqlstate, message, column_name FROM kafka_sink.dead_letters ORDER BY off;
SELECT kafka_sink.discard_dead_letters('s');
-- what the sink halts with
SELECT kafka_sink.alter_sink('s', on_error => 'stop');
SELECT kafka_sink.ingest('s', ARRAY[r(8, 1, '\x020261'), r(9, 3, '\x02ff0262')]);
SELECT kafka_sink.alter_sink('s', on_error => 'dead_letter', format => 'protobuf');
SELECT kafka_sink.ingest('s', ARRAY[r(8, 5, '\x000a01ff')]);
SELECT off, sqlstate, message, column_name FROM kafka_sink.dead_letters ORDER BY off;
TABLE t;
SELECT kafka_sink.drop_sink('s');
DROP FUNCTION r;
DROP TABLE t;
DROP EXTENSION kafka_sink CASCADE;
