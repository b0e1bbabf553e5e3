-- What is evaluated while records are applied belongs to the attempt that stays,
-- and sees the rows that an INSERT would see.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
CREATE FUNCTION j(value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, NULL, convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION put(sink text, VARIADIC records text[]) RETURNS text LANGUAGE sql AS
$$SELECT kafka_sink.ingest(sink, ARRAY(SELECT j(r) FROM unnest(records) WITH ORDINALITY u(r, n) ORDER BY n))::text$$;
CREATE FUNCTION letters() RETURNS SETOF text LANGUAGE sql AS
$$WITH d AS (DELETE FROM kafka_sink.dead_letters RETURNING id, sqlstate, message, convert_from(value, 'UTF8') AS value)
SELECT value || ' ' || sqlstate || ' ' || message FROM d ORDER BY id$$;

-- a default that writes: a counter in a table
CREATE TABLE counter (n int);
INSERT INTO counter VALUES (0);
CREATE FUNCTION next_number() RETURNS int LANGUAGE sql AS 'UPDATE public.counter SET n = n + 1 RETURNING n';
CREATE TABLE t (a int PRIMARY KEY, no int UNIQUE DEFAULT next_number(), b int CHECK (b < 100));
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter');
SELECT put('s', '{"a":1}', '{"a":2,"b":1000}', '{"a":3}', '{"a":1}', '{"a":4,"no":90}', '{"a":5}');
SELECT * FROM t ORDER BY a;
SELECT * FROM counter;
SELECT put('s', '{"a":6}', '{"a":7');
SELECT * FROM t WHERE a > 5;
SELECT * FROM counter;
SELECT * FROM letters();
-- the same by SQL, and where nothing is refused in the end
SET kafka_sink.fast_path = off;
SELECT put('s', '{"a":8}', '{"a":9,"b":1000}', '{"a":10}');
SELECT * FROM t WHERE a > 7 ORDER BY a;
SELECT * FROM counter;
SELECT * FROM letters();
RESET kafka_sink.fast_path;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- a filter that writes: each key once
CREATE TABLE seen (a int PRIMARY KEY);
CREATE FUNCTION is_new(int) RETURNS boolean LANGUAGE sql AS
'WITH i AS (INSERT INTO public.seen VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1) SELECT EXISTS (SELECT FROM i)';
CREATE TABLE t (a int, b int CHECK (b < 100));
SELECT kafka_sink.create_sink('s', target => 't', filter => 'public.is_new(a)', on_error => 'dead_letter');
SELECT put('s', '{"a":1,"b":1}', '{"a":2,"b":1000}', '{"a":1,"b":2}', '{"a":2,"b":3}', '{"a":3,"b":4}');
SELECT put('s', '{"a":1,"b":5}', '{"a":4,"b":6}', '{"a":5,"b":1000}', '{"a":3,"b":7}');
SELECT * FROM t ORDER BY a;
SELECT * FROM seen ORDER BY a;
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
TRUNCATE t, seen;
-- for a command
SELECT kafka_sink.create_sink('s', command => 'INSERT INTO public.t SELECT (value->>''a'')::int, (value->>''b'')::int FROM batch',
    filter => 'public.is_new((value->>''a'')::int)', on_error => 'dead_letter');
SELECT put('s', '{"a":1,"b":1}', '{"a":2,"b":1000}', '{"a":1,"b":2}', '{"a":2,"b":3}', '{"a":3,"b":4}');
SELECT * FROM t ORDER BY a;
SELECT * FROM seen ORDER BY a;
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
TRUNCATE t, seen;
-- one that raises errors: these records only, and nothing twice
CREATE FUNCTION is_new_or_error(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT public.is_new($1) THEN
        RAISE unique_violation USING MESSAGE = 'seen';
    END IF;
    RETURN $1 < 10;
END$$;
SELECT kafka_sink.create_sink('s', target => 't', filter => 'public.is_new_or_error(a)', on_error => 'dead_letter');
SELECT put('s', '{"a":1,"b":1}', '{"a":1,"b":2}', '{"a":1,"b":3}', '{"a":2,"b":1000}', '{"a":2,"b":4}', '{"a":10}', '{"a":10}', '{"a":3', '{"a":3}', '{"a":3}');
SELECT * FROM t ORDER BY a;
SELECT * FROM seen ORDER BY a;
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
-- a NULL key matters only if the record passes, whenever that is known
CREATE TABLE t (a int PRIMARY KEY, b int);
CREATE FUNCTION positive(int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$BEGIN RETURN $1 > 0; END$$;
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', filter => 'public.positive(b)', on_error => 'dead_letter');
SELECT put('s', '{"a":null,"b":0}', '{"a":null,"b":1}', '{"a":1,"b":1}', '{"a":1,"b":0}');
SELECT kafka_sink.alter_sink('s', filter => 'b > 0');
SELECT put('s', '{"a":null,"b":0}', '{"a":null,"b":1}', '{"a":2,"b":1}', '{"a":1,"b":0}');
SELECT * FROM t ORDER BY a;
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- fields that no column wants are refused, unless the filter leaves them out
CREATE TABLE t (a int DEFAULT 1, b int DEFAULT next_number());
CREATE FUNCTION nobody(int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$BEGIN RETURN $1 IS NOT NULL; END$$;
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter');
SELECT put('s', '{"A":1,"B":2}', '{"a":2}');
SELECT kafka_sink.alter_sink('s', filter => 'public.nobody(a)');
SELECT put('s', '{"A":1,"B":2}', '{"a":3}');
ALTER TABLE t ALTER a DROP DEFAULT;
SELECT put('s', '{"A":1,"B":2}', '{"a":4}');
SELECT * FROM t ORDER BY a;
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- a domain's check that writes
TRUNCATE seen;
CREATE DOMAIN fresh AS int CHECK (is_new(VALUE));
CREATE TABLE t (a fresh, b int CHECK (b < 100));
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter');
SELECT put('s', '{"a":1,"b":1}', '{"a":2,"b":1000}', '{"a":1,"b":2}', '{"a":2,"b":3}', '{"a":3,"b":4}');
SELECT * FROM t ORDER BY a;
SELECT * FROM seen ORDER BY a;
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- no such check of what a record lacks, but the row has
CREATE FUNCTION is_short(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RETURN length($1) < 10; END$$;
CREATE DOMAIN short AS text NOT NULL CHECK (is_short(VALUE));
CREATE TABLE t (a int PRIMARY KEY, b short, c int);
SELECT kafka_sink.create_sink('s', target => 't', envelope => 'debezium', insert_mode => 'upsert', on_error => 'dead_letter');
SELECT put('s', '{"op":"c","after":{"a":1,"b":"one","c":1}}', '{"op":"c","after":{"a":2,"b":"two","c":1}}');
SELECT put('s', '{"op":"u","after":{"a":1,"b":"__debezium_unavailable_value","c":2}}', '{"op":"u","after":{"a":2,"b":null,"c":2}}');
SELECT * FROM t ORDER BY a;
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
DROP DOMAIN short;
DROP FUNCTION is_short;

-- a default that looks at the table: one row sees those before it
CREATE FUNCTION next_of_table() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT coalesce(max(no), 0) + 1 FROM public.t); END$$;
CREATE TABLE t (a int PRIMARY KEY, no int DEFAULT 0, v text DEFAULT 'new');
ALTER TABLE t ALTER no SET DEFAULT next_of_table();
CREATE UNIQUE INDEX ON t (no);
CREATE FUNCTION modes(mode text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r public.t;
BEGIN
    PERFORM kafka_sink.create_sink('s', target => 't', insert_mode => mode, on_error => 'dead_letter');
    RETURN NEXT public.put('s', '{"a":1}', '{"a":2}', '{"a":3,"no":7}', '{"a":4}', '{"a":1,"v":"again"}', '{"a":5}');
    FOR r IN SELECT * FROM public.t ORDER BY a LOOP
        RETURN NEXT r::text;
    END LOOP;
    RETURN QUERY SELECT * FROM public.letters();
    DELETE FROM public.t;
    PERFORM kafka_sink.drop_sink('s');
END$$;
SELECT * FROM modes('insert');
SELECT * FROM modes('ignore');
SELECT * FROM modes('upsert');
SET kafka_sink.fast_path = off;
SELECT * FROM modes('insert');
SELECT * FROM modes('upsert');
RESET kafka_sink.fast_path;
DROP TABLE t;

-- many rows, of which some are refused, by a default of each kind
CREATE SEQUENCE numbers;
CREATE FUNCTION stable_number() RETURNS int LANGUAGE plpgsql STABLE AS $$BEGIN RETURN (SELECT n FROM public.counter); END$$;
CREATE FUNCTION volatile_number() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT count(*) FROM public.t); END$$;
CREATE TABLE t (a int PRIMARY KEY, constant int DEFAULT 5, serial int DEFAULT nextval('numbers'),
    stable int DEFAULT stable_number(), volatile int DEFAULT volatile_number(), at timestamptz DEFAULT now(),
    word text DEFAULT 'w' || stable_number(), CHECK (a % 100 <> 13));
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'ignore');
CREATE FUNCTION many(int, int) RETURNS text LANGUAGE sql AS
$$SELECT kafka_sink.ingest('s', array_agg(j('{"a":' || i || CASE WHEN i % 3 = 0 THEN ',"stable":-1' ELSE '' END || '}') ORDER BY i))::text FROM generate_series($1, $2) i$$;
SELECT many(1, 500);
SELECT count(*), count(*) FILTER (WHERE constant = 5 AND at IS NOT NULL), count(DISTINCT serial), min(volatile), max(volatile), count(DISTINCT volatile),
    array_agg(DISTINCT stable), array_agg(DISTINCT word), bool_and(volatile = a - 1 - (a + 86) / 100) FROM t;
ALTER TABLE t ALTER volatile DROP DEFAULT;
SELECT many(501, 1000);
SELECT count(*), count(DISTINCT serial), array_agg(DISTINCT volatile), array_agg(DISTINCT stable), array_agg(DISTINCT word) FROM t WHERE a > 500;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- what is evaluated of records that were not decoded at first: of a batch that stops
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE FUNCTION k(key text, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION stops(bad text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    BEGIN
        RETURN NEXT kafka_sink.ingest('s', ARRAY[public.j('{"id":1,"n":1000}'), public.j(bad)] ||
            ARRAY(SELECT public.k(i::text, NULL) FROM generate_series(1, 50000) i) || public.j('{"id":2}'));
    EXCEPTION WHEN OTHERS THEN
        RETURN NEXT sqlstate || ' ' || sqlerrm;
    END;
    RETURN NEXT kafka_sink.ingest('s', ARRAY[public.j('{"id":3}'), public.k('1', NULL)]);
    FOR r IN SELECT * FROM public.t LOOP
        RETURN NEXT r::text;
    END LOOP;
    DELETE FROM public.t;
END$$;
CREATE TABLE t (id int PRIMARY KEY, v text, n int CHECK (n < 100));
CREATE TRIGGER nothing AFTER INSERT OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT kafka_sink.create_sink('s', target => 't', filter => 'public.positive(id)', on_tombstone => 'ignore');
SELECT * FROM stops('x');
SELECT * FROM stops('{"id":1}');
SELECT kafka_sink.alter_sink('s', delete_enabled => true, reset => '{on_tombstone}');
SELECT * FROM stops('x');
SELECT kafka_sink.alter_sink('s', reset => '{filter}');
ALTER TABLE t ADD s int DEFAULT stable_number();
SELECT * FROM stops('x');
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- an upsert writes all records of a key if its default may see them; not for one that the server evaluates
CREATE TABLE t (a int PRIMARY KEY, b int, volatile int DEFAULT volatile_number());
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert');
SELECT applied, superseded FROM kafka_sink.ingest('s', ARRAY[j('{"a":1,"b":1}'), j('{"a":1,"b":2}'), j('{"a":2,"b":3}')]);
TABLE t ORDER BY a;
TRUNCATE t;
SELECT kafka_sink.alter_sink('s', columns => '{"volatile": null}');
SELECT applied, superseded FROM kafka_sink.ingest('s', ARRAY[j('{"a":1,"b":1}'), j('{"a":1,"b":2}'), j('{"a":2,"b":3}')]);
SELECT a, b FROM t ORDER BY a;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- what another table of the batch has got is seen: by checks and defaults
CREATE TABLE parents (id int PRIMARY KEY, v int);
CREATE FUNCTION has(int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$BEGIN RETURN EXISTS (SELECT FROM public.parents WHERE id = $1); END$$;
CREATE FUNCTION newest() RETURNS int LANGUAGE plpgsql STABLE AS $$BEGIN RETURN (SELECT max(id) FROM public.parents); END$$;
CREATE TABLE children (id int PRIMARY KEY, pid int CHECK (has(pid)), newest int DEFAULT newest());
CREATE FUNCTION rec(topic text, off bigint, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(topic, 0, off, NULL, NULL, convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION family(mode text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    PERFORM kafka_sink.create_sink('s', on_error => 'dead_letter', insert_mode => mode);
    PERFORM kafka_sink.register_topic('s', 'a', target => 'parents');
    PERFORM kafka_sink.register_topic('s', 'b', target => 'children');
    PERFORM kafka_sink.seek('s', '{"a": {"0": 0}, "b": {"0": 0}}');
    RETURN NEXT kafka_sink.ingest('s', ARRAY[public.rec('b', 0, '{"id":1,"pid":10}'), public.rec('b', 1, '{"id":2,"pid":30}'),
        public.rec('a', 0, '{"id":10}'), public.rec('a', 1, '{"id":20}'), public.rec('b', 2, '{"id":3,"pid":20}')]);
    RETURN NEXT kafka_sink.ingest('s', ARRAY[public.rec('b', 3, '{"id":4,"pid":40}'), public.rec('a', 2, '{"id":40}')]);
    FOR r IN SELECT * FROM public.children ORDER BY id LOOP
        RETURN NEXT r::text;
    END LOOP;
    RETURN QUERY SELECT * FROM public.letters();
    DELETE FROM public.children;
    DELETE FROM public.parents;
    PERFORM kafka_sink.drop_sink('s');
END$$;
SELECT * FROM family('insert');
SELECT * FROM family('upsert');
SET kafka_sink.fast_path = off;
SELECT * FROM family('insert');
SELECT * FROM family('upsert');
RESET kafka_sink.fast_path;

-- defaults of a row in the order of its columns: one may look at what another has done, also of one that no record fills
CREATE TABLE t (id serial PRIMARY KEY, root int DEFAULT currval('t_id_seq'), v text);
CREATE FUNCTION own_root() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN lastval(); END$$;
CREATE FUNCTION roots(options jsonb) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r public.t;
BEGIN
    PERFORM setval('public.t_id_seq', 1, false);
    PERFORM kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter', settings => options);
    RETURN NEXT public.put('s', '{"v":"a"}', '{"v":"b"}', '{"root":1,"v":"c"}', '{"v":"d","root":"x"}', '{"v":"e"}');
    RETURN NEXT public.put('s', '{"v":"f"}');
    FOR r IN SELECT * FROM public.t ORDER BY id LOOP
        RETURN NEXT r::text;
    END LOOP;
    RETURN QUERY SELECT * FROM public.letters();
    DELETE FROM public.t;
    PERFORM kafka_sink.drop_sink('s');
END$$;
SELECT * FROM roots('{"columns": {"id": null}}');
SELECT * FROM roots('{}');
ALTER TABLE t ALTER root SET DEFAULT lastval();
SELECT * FROM roots('{"columns": {"id": null}}');
ALTER TABLE t ALTER root SET DEFAULT own_root();
SELECT * FROM roots('{"columns": {"id": null}}');
SELECT * FROM roots('{"columns": {"id": null, "root": null}}');
SET kafka_sink.fast_path = off;
SELECT * FROM roots('{"columns": {"id": null}}');
SELECT * FROM roots('{"columns": {"id": null, "root": null}}');
RESET kafka_sink.fast_path;
-- the key is still nothing that records tell
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', columns => '{"id": null}');
DROP TABLE t;
-- in the other order, for identities, and beside what updates leave as it is
CREATE TABLE t (root int DEFAULT own_root(), k text PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY, v text);
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert', columns => '{"id": null}');
INSERT INTO t VALUES (0, 'a', DEFAULT, 'old');
SELECT put('s', '{"k":"b","v":"new"}', '{"k":"a","v":"new"}', '{"k":"c"}');
TABLE t ORDER BY k;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- a trigger that asks for the number that its row was given by default, of which records may tell another
CREATE TABLE t (id serial PRIMARY KEY, v text);
CREATE TABLE given (id int, v text);
CREATE FUNCTION note_given() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.given VALUES (CurrVal('public.t_id_seq'), NEW.v); RETURN NEW; END$$;
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter');
CREATE TRIGGER note_given AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note_given();
SELECT put('s', '{"v":"a"}', '{"v":"b"}', '{"id":9,"v":"c"}', '{"id":"x","v":"d"}', '{"v":"e"}');
SELECT * FROM given ORDER BY v;
DROP TRIGGER note_given ON t;
TRUNCATE t, given RESTART IDENTITY;
CREATE TRIGGER note_given BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note_given();
SELECT put('s', '{"v":"a"}', '{"v":"b"}', '{"id":9,"v":"c"}', '{"id":"x","v":"d"}', '{"v":"e"}');
SELECT * FROM given ORDER BY v;
SELECT count(*) FROM letters();
SELECT kafka_sink.drop_sink('s');
DROP TABLE t, given;
-- of one partition of a partition, and of rows that an upsert has changed
CREATE SEQUENCE own_numbers;
CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT nextval('own_numbers'), v text) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
CREATE TABLE t1a PARTITION OF t1 FOR VALUES FROM (0) TO (10);
CREATE TABLE t1b PARTITION OF t1 FOR VALUES FROM (10) TO (100);
CREATE FUNCTION tell_given() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.v := CASE currval('public.own_numbers') WHEN NEW.n THEN 'its own' ELSE 'another' END; RETURN NEW; END$$;
SELECT kafka_sink.create_sink('s', target => 't', insert_mode => 'upsert');
SELECT put('s', '{"id":1}', '{"id":2}', '{"id":11}');
CREATE TRIGGER tell_given BEFORE INSERT ON t1a FOR EACH ROW EXECUTE FUNCTION tell_given();
SELECT put('s', '{"id":3}', '{"id":4}', '{"id":12}', '{"id":5}');
SELECT id, v FROM t ORDER BY id;
DROP TRIGGER tell_given ON t1a;
CREATE TRIGGER tell_given BEFORE UPDATE ON t1b FOR EACH ROW EXECUTE FUNCTION tell_given();
SELECT put('s', '{"id":11}', '{"id":13}', '{"id":12}', '{"id":6}');
SELECT id, v FROM t ORDER BY id;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
DROP SEQUENCE own_numbers;
DROP FUNCTION note_given, tell_given;

-- a table's check that looks at the table: a row sees those before it
CREATE FUNCTION number_of_rows() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT count(*) FROM public.t); END$$;
CREATE TABLE t (a int PRIMARY KEY, v text);
CREATE FUNCTION checked(mode text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kafka_sink.create_sink('s', target => 't', insert_mode => mode, on_error => 'dead_letter');
    RETURN NEXT public.put('s', '{"a":1}', '{"a":2}', '{"a":3}', '{"a":4}');
    RETURN NEXT (SELECT array_agg(a ORDER BY a)::text FROM public.t);
    RETURN QUERY SELECT left(l, 40) FROM public.letters() l;
    DELETE FROM public.t;
    PERFORM kafka_sink.drop_sink('s');
END$$;
ALTER TABLE t ADD CONSTRAINT few CHECK (number_of_rows() < 2);
SELECT * FROM checked('insert');
SELECT * FROM checked('upsert');
SET kafka_sink.fast_path = off;
SELECT * FROM checked('insert');
SELECT * FROM checked('upsert');
RESET kafka_sink.fast_path;
-- one that becomes so
ALTER FUNCTION number_of_rows() STABLE;
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter');
SELECT put('s', '{"a":1}', '{"a":2}', '{"a":3}');
TRUNCATE t;
ALTER FUNCTION number_of_rows() VOLATILE;
SELECT put('s', '{"a":1}', '{"a":2}', '{"a":3}');
SELECT count(*) FROM letters();
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
-- of a partition alone
CREATE TABLE t (a int PRIMARY KEY, v text) PARTITION BY RANGE (a);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200);
ALTER TABLE t1 ADD CONSTRAINT few CHECK (number_of_rows() < 2);
SELECT * FROM checked('insert');
SELECT * FROM checked('upsert');
DROP TABLE t;

-- a domain's check that writes, or looks at the table, within other types: as often as for the domain itself
CREATE TYPE item AS (name text, a fresh);
CREATE DOMAIN items AS item[] CHECK (cardinality(VALUE) < 3);
CREATE DOMAIN fresh_items AS item[] CHECK (number_of_rows() < 3);
CREATE TYPE fresh_range AS RANGE (subtype = fresh);
CREATE TABLE t (k int, v fresh[] DEFAULT ARRAY[100], b int CHECK (b < 100));
CREATE FUNCTION within(options jsonb, VARIADIC records text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r public.t;
BEGIN
    PERFORM kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter', settings => options);
    RETURN NEXT public.put('s', VARIADIC records);
    FOR r IN SELECT * FROM public.t ORDER BY k LOOP
        RETURN NEXT r::text;
    END LOOP;
    RETURN NEXT (SELECT array_agg(a ORDER BY a)::text FROM public.seen);
    RETURN QUERY SELECT * FROM public.letters();
    TRUNCATE public.t, public.seen;
    PERFORM kafka_sink.drop_sink('s');
END$$;
TRUNCATE seen;
SELECT * FROM within('{}', '{"k":1,"v":[1,2]}', '{"k":2,"v":[3],"b":1000}', '{"k":3,"v":[4,1]}', '{"k":4,"v":"{3,4}"}', '{"k":5,"v":null}', '{"k":6}', '{"k":7}', '{"k":8,"v":[]}', '{"k":9,"v":["x"]}');
SET kafka_sink.fast_path = off;
SELECT * FROM within('{}', '{"k":1,"v":[1,2]}', '{"k":2,"v":[3],"b":1000}', '{"k":3,"v":[4,1]}', '{"k":4,"v":"{3,4}"}', '{"k":5,"v":null}', '{"k":6}', '{"k":7}', '{"k":8,"v":[]}', '{"k":9,"v":["x"]}');
RESET kafka_sink.fast_path;
SELECT * FROM within('{"columns": {"v": "$.x.v"}, "filter": "cardinality(v) > 0"}', '{"k":1,"x":{"v":[1,2]}}', '{"k":2,"x":{"v":[]}}', '{"k":3,"x":{"v":[2]}}', '{"k":4,"x":{"v":[4]},"b":1000}', '{"k":5,"x":{"v":[4]}}');
SELECT * FROM within('{"format": "csv"}', '1,"{1,2}",', '2,"{3}",1000', '3,"{4,1}",', '4,"{3,4}",');
SELECT * FROM within('{"envelope": "debezium", "insert_mode": "insert"}', '{"op":"c","after":{"k":1,"v":[1,2]}}', '{"op":"c","after":{"k":2,"v":[3],"b":1000}}', '{"op":"c","after":{"k":3,"v":[3,4]}}');
-- the same in Avro and in Protobuf
CREATE FUNCTION within_bytes(options jsonb, VARIADIC records bytea[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r public.t;
BEGIN
    PERFORM kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter', settings => options);
    RETURN NEXT kafka_sink.ingest('s', ARRAY(SELECT ROW(NULL, NULL, NULL, NULL, NULL, v, NULL)::kafka_sink.record FROM unnest(records) WITH ORDINALITY u(v, n) ORDER BY n));
    FOR r IN SELECT * FROM public.t ORDER BY k LOOP
        RETURN NEXT r::text;
    END LOOP;
    RETURN NEXT (SELECT array_agg(a ORDER BY a)::text FROM public.seen);
    RETURN QUERY WITH d AS (DELETE FROM kafka_sink.dead_letters RETURNING id, sqlstate, message, value) SELECT value::text || ' ' || sqlstate || ' ' || message FROM d ORDER BY id;
    TRUNCATE public.t, public.seen;
    PERFORM kafka_sink.drop_sink('s');
END$$;
CREATE FUNCTION avro(v text) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_build_object('format', 'avro', 'value_schema',
    '{"type": "record", "name": "r", "fields": [{"name": "k", "type": "int"}, {"name": "v", "type": ' || v || '}, {"name": "b", "type": ["null", "int"]}]}')$$;
CREATE FUNCTION proto(v text) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_build_object('format', 'protobuf', 'message_type', 'm', 'value_schema',
    'syntax = "proto3"; message m { int32 k = 1; ' || v || ' optional int32 b = 3; } message e { m before = 1; m after = 2; string op = 3; }')$$;
SELECT * FROM within_bytes(avro('{"type": "array", "items": "int"}'), '\x020402040000', '\x0402060002d00f', '\x060408020000', '\x080406080000', '\x0a0000');
SELECT * FROM within_bytes(proto('repeated int32 v = 2;'), '\x080112020102', '\x080212010318e807', '\x080312020401', '\x080410031004', '\x0805');
SELECT * FROM within_bytes(proto('in x = 2; message in { repeated int32 v = 1; }') || '{"columns": {"v": "$.x.v"}, "filter": "cardinality(v) > 0"}',
    '\x080112040a020102', '\x08021200', '\x080312030a0102', '\x080412030a010418e807', '\x080512030a0104', '\x0806');
SELECT * FROM within_bytes(proto('repeated int32 v = 2;') || '{"message_type": "e", "envelope": "debezium"}',
    '\x12060801120201021a0163', '\x1208080212010318e8071a0163', '\x12060803120203041a0163');
ALTER TABLE t ALTER v DROP DEFAULT, ALTER v TYPE items USING NULL;
SELECT * FROM within_bytes(avro('{"type": "array", "items": {"type": "record", "name": "i", "fields": [{"name": "name", "type": ["null", "string"]}, {"name": "a", "type": "int"}]}}'),
    '\x02040002020278040000', '\x040200060002d00f', '\x0604000600040000', '\x0802020279060000');
SELECT * FROM within_bytes(proto('repeated item v = 2; message item { optional string name = 1; optional int32 a = 2; }'),
    '\x08011202100112050a01781002', '\x08021202100318e807', '\x08031202100312021002', '\x080412050a01791003');
SELECT * FROM within('{}', '{"k":1,"v":[{"a":1},{"name":"x","a":2}]}', '{"k":2,"v":[{"a":3}],"b":1000}', '{"k":3,"v":[{"a":3},{"a":2}]}', '{"k":4,"v":["(y,3)"]}', '{"k":5,"v":[{},{},{}]}', '{"k":6,"v":[{"a":"x"}]}');
ALTER TABLE t ALTER v TYPE fresh_items USING NULL;
SELECT * FROM within('{}', '{"k":1,"v":[{"a":1}]}', '{"k":2,"v":null}', '{"k":3,"v":[{"a":2}]}', '{"k":4,"v":[{"a":3}]}', '{"k":5}');
ALTER TABLE t ALTER v TYPE fresh_range USING NULL;
SELECT * FROM within('{}', '{"k":1,"v":"[1,2)"}', '{"k":2,"v":"[3,4)","b":1000}', '{"k":3,"v":"[3,5)"}', '{"k":4,"v":"[1,7)"}');
-- what an update leaves as it is, which must be known before
CREATE TABLE u (k int PRIMARY KEY, v fresh[], w text);
INSERT INTO u VALUES (1, '{1}', 'a'), (2, '{2}', 'b');
SELECT kafka_sink.create_sink('s', target => 'u', insert_mode => 'update', on_error => 'dead_letter');
SELECT put('s', '{"k":1,"w":"c"}', '{"k":2,"v":[3]}', '{"k":2,"v":[3,4]}', '{"k":2,"v":[4]}');
TABLE u ORDER BY k;
SELECT * FROM letters();
SELECT kafka_sink.alter_sink('s', insert_mode => 'upsert', envelope => 'debezium');
SELECT put('s', '{"op":"u","after":{"k":1,"v":"__debezium_unavailable_value","w":"d"}}', '{"op":"u","after":{"k":2,"v":[5],"w":"__debezium_unavailable_value"}}');
TABLE u ORDER BY k;
SELECT kafka_sink.drop_sink('s');
-- a check that comes to a domain within, and one that becomes volatile
TRUNCATE t, seen;
CREATE DOMAIN old AS int;
ALTER TABLE t ALTER v TYPE old[] USING NULL;
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter');
SELECT put('s', '{"k":1,"v":[1]}', '{"k":2,"v":[1],"b":1000}');
ALTER DOMAIN old ADD CHECK (is_new(VALUE) OR VALUE < 5) NOT VALID;
TRUNCATE seen;
SELECT put('s', '{"k":1,"v":[6]}', '{"k":2,"v":[7],"b":1000}', '{"k":3,"v":[7]}');
SELECT * FROM seen ORDER BY a;
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
ALTER FUNCTION number_of_rows() STABLE;
CREATE DOMAIN first_two AS int CHECK (number_of_rows() < 2);
TRUNCATE t;
ALTER TABLE t ALTER v TYPE first_two[] USING NULL, ADD w first_two;
SELECT kafka_sink.create_sink('s', target => 't', on_error => 'dead_letter');
SELECT put('s', '{"k":1,"v":[1]}', '{"k":2,"v":[1]}', '{"k":3,"v":[1]}', '{"k":4,"w":1}');
TRUNCATE t;
ALTER FUNCTION number_of_rows() VOLATILE;
SELECT put('s', '{"k":1,"v":[1]}', '{"k":2,"v":[1]}', '{"k":3,"v":[1]}', '{"k":4,"w":1}');
SELECT * FROM letters();
SELECT kafka_sink.drop_sink('s');
DROP TABLE t, u;
DROP DOMAIN first_two, old, items, fresh_items;
DROP TYPE fresh_range, item;

-- what is wrong with another record, which the filter leaves out, is nothing to one that is evaluated
CREATE TABLE t (k int, d int DEFAULT stable_number());
SELECT kafka_sink.create_sink('s', target => 't', format => 'avro', filter => 'k > 0', on_error => 'dead_letter',
    value_schema => '[{"type": "record", "name": "a", "fields": [{"name": "k", "type": "int"}]}, {"type": "record", "name": "b", "fields": [{"name": "x", "type": "int"}]}]');
SELECT applied, filtered, dead_lettered FROM kafka_sink.ingest('s', ARRAY(SELECT ROW(NULL, NULL, NULL, NULL, NULL, v, NULL)::kafka_sink.record FROM unnest('{"\\x0002","\\x0204"}'::bytea[]) v));
SELECT k, d IS NOT NULL FROM t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- what a session has set for money, for words of dates or for words at all counts nowhere
CREATE TABLE t (a int, lc text DEFAULT concat_ws(' ', current_setting('lc_monetary'), current_setting('lc_numeric'), current_setting('lc_time'),
    current_setting('default_text_search_config'), current_setting('xmlbinary')));
SELECT kafka_sink.create_sink('s', target => 't');
SET lc_monetary = 'POSIX';
SET lc_numeric = 'POSIX';
SET lc_time = 'POSIX';
SET xmlbinary = hex;
SET default_text_search_config = 'pg_catalog.simple';
SELECT put('s', '{"a":1}');
TABLE t;
SELECT current_setting('lc_monetary'), current_setting('default_text_search_config');
RESET ALL;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

DROP TABLE parents, children, seen, counter;
DROP DOMAIN fresh;
DROP FUNCTION modes, family(text), letters, put, many, rec, j, next_number, is_new, is_new_or_error,
    positive, nobody, nothing, stops, k, next_of_table, stable_number, volatile_number, has, newest, own_root, roots, number_of_rows, checked, within, within_bytes, avro, proto;
DROP SEQUENCE numbers;
DROP EXTENSION kafka_sink;
