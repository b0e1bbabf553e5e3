-- Text of dates, times, uuid and varchar(n), which is read without the types' input
-- functions where it is spelled as usual: whatever it is, the value or the error is
-- the server's, with the settings under which sinks read.
CREATE EXTENSION kafka_sink;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE TABLE texts (type text, value text);
INSERT INTO texts SELECT t, v FROM unnest('{date,timestamp,timestamp(6),timestamp(3),timestamptz,timestamptz(6),timestamptz(0)}'::text[]) t,
    unnest(ARRAY['', '01:02', '01:02:03', '24:00:00', '23:59:60', '23:59:59', '12:60:00', '1:2:3', '01:02:03.', '01:02:03.4', '01:02:03.123456', '01:02:03.1234567', '01:02:03.999999', '01:02:03.9999995', '01-02-03', '010203']) c,
    unnest('{"",Z,z,+01,-01,+01:30,-01:30,+14:00,+14:01,+15,+1,+01:60,+0130,+01:30:10," UTC"," Europe/Berlin"," BC",x}'::text[]) z,
    unnest('{T," ",""}'::text[]) sep,
    unnest('{2026-02-28,2026-02-29,2024-02-29,1900-02-29,2000-02-29,0001-01-01,0000-01-01,9999-12-31,1582-10-10,2026-13-01,2026-00-10,2026-01-32,2026-01-00,2026-1-2,02026-01-02,26-01-02,2026/01/02,2026-01-0x}'::text[]) d,
    LATERAL (VALUES (d || CASE WHEN c <> '' THEN sep || c END || z), (d || z)) x(v)
    WHERE CASE WHEN d <> '2026-02-28' THEN z IN ('', 'Z') AND c IN ('', '01:02:03.4') AND sep = 'T'
        WHEN sep = '' THEN c = '01:02:03' AND z IN ('', 'Z') ELSE z IN ('', '-01:30') OR c IN ('', '01:02:03.123456') AND sep = 'T' END GROUP BY t, v;
INSERT INTO texts SELECT t, v FROM unnest('{date,timestamp,timestamptz}'::text[]) t, unnest('{infinity,-infinity,today,epoch,Jan 2 2026,2026-01-02T,2026-01-02 ,20260102,2026.002,4714-11-24 BC,294276-12-31,-2026-01-02,2026-01-02T03:04:05ZZ}'::text[]) v;
INSERT INTO texts SELECT 'uuid', v FROM unnest(ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc999c0b4ef8bb6d6bb9bd380a11',
    '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g', 'g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1-',
    'a0eebc99-9c0b-4ef8-bb6d6-bb9bd380a11', 'a0eebc99_9c0b-4ef8-bb6d-6bb9bd380a11', 'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11', '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a/1', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a:1', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a@1', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380aG1', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a`1', ' a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '']) v;
INSERT INTO texts SELECT t, v FROM unnest('{varchar(3),varchar,char(3)}'::text[]) t, unnest(ARRAY['', 'a', 'abc', 'abcd', 'abc ', 'abc  ', 'ab d', 'äöü', 'äöüx', 'äöü ', '  a', E'a\tb', '𝄞𝄞𝄞', '𝄞𝄞𝄞𝄞']) v;
-- what it becomes: by INSERT, by a record, by a field of CSV
CREATE FUNCTION by_server(value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE format('INSERT INTO ours VALUES (%L)', value);
    DELETE FROM ours RETURNING v::text INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN RETURN sqlstate || ' ' || sqlerrm;
END$$;
CREATE FUNCTION by_sink(sink text, value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    PERFORM kafka_sink.ingest(sink, ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, convert_to(value, 'UTF8'), NULL)::kafka_sink.record]);
    DELETE FROM ours RETURNING v::text INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN RETURN sqlstate || ' ' || sqlerrm;
END$$;
CREATE FUNCTION differences() RETURNS TABLE (of text, wrong text, server text, record text, csv text) LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
    FOR t IN SELECT DISTINCT type FROM texts ORDER BY 1 LOOP
        EXECUTE format('CREATE TABLE ours (v %s)', t);
        PERFORM kafka_sink.create_sink('json', target => 'ours'), kafka_sink.create_sink('csv', target => 'ours', format => 'csv', columns => '{"v": "$1"}');
        RETURN QUERY SELECT * FROM (SELECT t, value, by_server(value) AS a, by_sink('json', jsonb_build_object('v', value)::text) AS b, by_sink('csv', '"' || value || '"') AS c FROM texts WHERE type = t) x WHERE a <> b OR a <> c;
        PERFORM kafka_sink.drop_sink('json'), kafka_sink.drop_sink('csv');
        DROP TABLE ours;
    END LOOP;
END$$;
SELECT count(*) > 1000 AS many FROM texts;
SELECT * FROM differences();
DROP TABLE texts;
DROP FUNCTION by_server, by_sink, differences;
DROP EXTENSION kafka_sink;
