-- What a batch uses cannot be changed under it: whatever runs while records are
-- applied meets what it would meet in an INSERT.
CREATE EXTENSION kafka_sink;
SET client_min_messages = warning;
CREATE FUNCTION j(value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(NULL, NULL, NULL, NULL, NULL, convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION try(sink text, VARIADIC records text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text;
BEGIN
    RETURN kafka_sink.ingest(sink, ARRAY(SELECT j(r) FROM unnest(records) r));
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN state || ' ' || message || coalesce(' | ' || nullif(detail, ''), '');
END$$;
CREATE TABLE orders (sql text);
CREATE FUNCTION obey() RETURNS text LANGUAGE plpgsql AS $$
DECLARE command text;
BEGIN
    DELETE FROM public.orders RETURNING sql INTO command;
    IF command IS NOT NULL THEN
        EXECUTE command;
    END IF;
    RETURN command;
END$$;
CREATE FUNCTION obey(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM public.obey(); RETURN true; END$$;
-- what happens to the batch, if this is done while it is applied
CREATE FUNCTION during(command text, sink text, VARIADIC records text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    INSERT INTO public.orders VALUES (command);
    result := public.try(sink, VARIADIC records);
    DELETE FROM public.orders;
    RETURN result;
END$$;
CREATE TABLE t (a int PRIMARY KEY, b int);
CREATE TABLE other (a int);

-- by a filter: tables that the fast path writes, and those that it does not
CREATE FUNCTION by_filter(mode text, deletes text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kafka_sink.create_sink('s', target => 't', filter => 'public.obey(b)', insert_mode => mode,
        delete_enabled => mode <> 'insert' AND deletes = 'yes');
    RETURN QUERY SELECT public.during(c, 's', '{"a":1,"b":5}', '{"a":2,"b":6}') FROM unnest(ARRAY[
        'ALTER TABLE public.t ALTER b TYPE text',
        'ALTER TABLE public.t ADD c int DEFAULT 7 NOT NULL',
        'ALTER TABLE public.t DROP b',
        'ALTER TABLE public.t DROP CONSTRAINT t_pkey',
        'ALTER TABLE public.t ADD CHECK (b > 100)',
        'CREATE INDEX ON public.t (b)',
        'REINDEX TABLE public.t',
        'TRUNCATE public.t',
        'DROP TABLE public.t']) c;
    PERFORM kafka_sink.drop_sink('s');
    DELETE FROM public.t;
END$$;
SELECT * FROM by_filter('insert', 'no');
SELECT * FROM by_filter('upsert', 'yes');
SET kafka_sink.fast_path = off;
SELECT * FROM by_filter('insert', 'no');
RESET kafka_sink.fast_path;
CREATE INDEX t_b ON t (b);
SELECT kafka_sink.create_sink('s', target => 't', filter => 'public.obey(b)');
SELECT during('DROP INDEX public.t_b', 's', '{"a":1,"b":5}', '{"a":2,"b":6}');
-- other tables are nobody's concern, nor are the sink's own rows
SELECT during('ALTER TABLE public.other ADD b int', 's', '{"a":1,"b":5}', '{"a":2,"b":6}');
SELECT during('SELECT kafka_sink.alter_sink(''s'', insert_mode => ''upsert'')', 's', '{"a":3,"b":5}', '{"a":4,"b":6}');
SELECT during('SELECT kafka_sink.drop_sink(''s'')', 's', '{"a":5,"b":5}', '{"a":6,"b":6}');
SELECT * FROM t ORDER BY a;
SELECT count(*) FROM kafka_sink.sinks;
-- names may change, in an INSERT too
SELECT kafka_sink.create_sink('s', target => 't', filter => 'public.obey(b)');
SELECT during('ALTER TABLE public.t RENAME b TO c', 's', '{"a":9,"b":5}', '{"a":10,"b":6}');
ALTER TABLE t RENAME c TO b;
SELECT kafka_sink.drop_sink('s');
-- so may those of schemas: rows do not go to another table that has the name then
CREATE SCHEMA app;
CREATE SCHEMA app_next;
CREATE TABLE app.t (a int, b int);
CREATE TABLE app_next.t (a int, b int);
SELECT kafka_sink.create_sink('s', target => 'app.t', filter => 'public.obey(b)', insert_mode => 'ignore');
SELECT during('ALTER SCHEMA app RENAME TO app_before; ALTER SCHEMA app_next RENAME TO app', 's', '{"a":1,"b":5}');
SELECT kafka_sink.alter_sink('s', insert_mode => 'insert');
SELECT during('ALTER SCHEMA app RENAME TO app_before; ALTER SCHEMA app_next RENAME TO app', 's', '{"a":2,"b":5}');
TABLE app.t;
TABLE app_before.t;
SELECT kafka_sink.drop_sink('s');
DROP TABLE app.t, app_before.t;
DROP SCHEMA app, app_before;
-- a batch of the same sink within a batch
SELECT kafka_sink.create_sink('s', target => 't', filter => 'public.obey(b)', insert_mode => 'upsert');
SELECT during('SELECT kafka_sink.ingest(''s'', ARRAY[public.j(''{"a":3,"b":33}''), public.j(''{"a":7,"b":77}'')])', 's', '{"a":6,"b":66}', '{"a":7,"b":78}');
SELECT during('SELECT public.during(''DROP TABLE public.t'', ''s'', ''{"a":1}'')', 's', '{"a":8,"b":88}');
SELECT * FROM t ORDER BY a;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- by a default, a check, a domain's check, an index, a trigger
CREATE DOMAIN obedient AS int CHECK (obey(VALUE));
CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT obey(), c int);
SELECT kafka_sink.create_sink('s', target => 't');
SELECT during('ALTER TABLE public.t ALTER c TYPE text', 's', '{"a":1,"c":5}', '{"a":2,"b":6,"c":3}');
SELECT during('DROP TABLE public.t', 's', '{"a":1,"c":5}', '{"a":2,"b":6,"c":3}');
ALTER TABLE t ALTER b DROP DEFAULT, ADD CHECK (obey(c));
SELECT during('ALTER TABLE public.t ALTER c TYPE text', 's', '{"a":1,"c":5}', '{"a":2,"b":6,"c":3}');
ALTER TABLE t DROP CONSTRAINT t_c_check, ADD d obedient;
SELECT during('ALTER TABLE public.t ALTER c TYPE text', 's', '{"a":1,"c":5,"d":1}', '{"a":2,"b":6,"c":3,"d":2}');
ALTER TABLE t DROP d;
CREATE FUNCTION obey_always(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT public.obey($1)::int';
CREATE INDEX ON t (obey_always(c));
SELECT during('ALTER TABLE public.t ALTER b TYPE bytea USING b::bytea', 's', '{"a":1,"c":5}', '{"a":2,"b":6,"c":3}');
SELECT during('DROP TABLE public.t', 's', '{"a":1,"c":5}', '{"a":2,"b":6,"c":3}');
DROP INDEX t_obey_always_idx;
CREATE FUNCTION obey_trigger() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM public.obey(); RETURN NEW; END$$;
CREATE TRIGGER obey BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION obey_trigger();
SELECT during('ALTER TABLE public.t ALTER c TYPE text', 's', '{"a":1,"c":5}', '{"a":2,"b":6,"c":3}');
SELECT during('DROP TABLE public.t', 's', '{"a":1,"c":5}', '{"a":2,"b":6,"c":3}');
SELECT during('SELECT kafka_sink.ingest(''s'', ARRAY[public.j(''{"a":3,"c":33}'')])', 's', '{"a":6,"c":66}', '{"a":7,"c":78}');
SELECT * FROM t ORDER BY a;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;

-- partitions, and types that columns are made of
CREATE TYPE inner_type AS (x int, y int);
CREATE TYPE outer_type AS (i inner_type, z text);
CREATE TABLE t (a int, b int, c outer_type[]) PARTITION BY RANGE (a);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
SELECT kafka_sink.create_sink('s', target => 't', filter => 'public.obey(b)');
SELECT during(c, 's', '{"a":1,"b":5,"c":[{"i":{"x":1,"y":2},"z":"w"}]}', '{"a":2,"b":6}') FROM unnest(ARRAY[
    'CREATE TABLE public.t2 PARTITION OF public.t FOR VALUES FROM (10) TO (20)',
    'ALTER TABLE public.t DETACH PARTITION public.t1',
    'ALTER TYPE public.inner_type ALTER ATTRIBUTE y TYPE text CASCADE',
    'ALTER TYPE public.outer_type ADD ATTRIBUTE u int']) c;
SELECT kafka_sink.drop_sink('s');
DROP TABLE t;
CREATE TABLE log (v text);
SELECT kafka_sink.create_sink('s', value_type => 'outer_type', command => 'INSERT INTO public.log SELECT (i).y || z FROM batch', filter => 'public.obey((i).x)');
SELECT during(c, 's', '{"i":{"x":1,"y":2},"z":"w"}', '{"i":{"x":3,"y":4},"z":"v"}') FROM unnest(ARRAY[
    'ALTER TYPE public.inner_type ALTER ATTRIBUTE y TYPE text',
    'ALTER TYPE public.outer_type ADD ATTRIBUTE u int',
    'DROP TYPE public.outer_type CASCADE',
    'ALTER TABLE public.log ADD w int']) c;
SELECT * FROM log;
SELECT kafka_sink.drop_sink('s');
-- a command has no table of its own
SELECT kafka_sink.create_sink('s', value_type => 'outer_type', command => 'SELECT public.obey(); INSERT INTO public.log SELECT (i).y || z FROM batch');
SELECT during('ALTER TABLE public.log ADD u int', 's', '{"i":{"x":1,"y":2},"z":"w"}');
SELECT during('TRUNCATE public.log', 's', '{"i":{"x":1,"y":2},"z":"w"}');
SELECT during('ALTER TYPE public.outer_type ADD ATTRIBUTE u int', 's', '{"i":{"x":1,"y":2},"z":"w"}');
SELECT * FROM log;
SELECT kafka_sink.drop_sink('s');
-- what plans of the next target run, while they are made, finds the targets before it in use
CREATE FUNCTION obey_at_once() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM public.obey(); RETURN 7; END$$;
CREATE FUNCTION r(topic text, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW(topic, 0, NULL, NULL, NULL, convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
CREATE FUNCTION while_planned(command text, VARIADIC records kafka_sink.record[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    INSERT INTO public.orders VALUES (command);
    BEGIN
        result := kafka_sink.ingest('s', records);
    EXCEPTION WHEN OTHERS THEN
        result := sqlstate || ' ' || sqlerrm;
    END;
    DELETE FROM public.orders;
    RETURN result;
END$$;
CREATE TABLE a (id int PRIMARY KEY, b int, v inner_type);
CREATE TABLE c (id int PRIMARY KEY, v inner_type, d int DEFAULT obey_at_once(), w inner_type);
CREATE TABLE p (id int PRIMARY KEY);
SELECT kafka_sink.create_sink('s');
SELECT kafka_sink.register_topic('s', 'a', target => 'a'), kafka_sink.register_topic('s', 'b', target => 'c');
SELECT while_planned(c, r('a', '{"id":1,"b":5}'), r('b', '{"id":1}')) FROM unnest(ARRAY[
    'ALTER TABLE public.a ALTER b TYPE text',
    'ALTER TABLE public.a DROP b',
    'CREATE INDEX ON public.a (b)',
    'TRUNCATE public.a',
    'ALTER TABLE public.c ALTER d TYPE text',
    'ALTER TYPE public.inner_type ADD ATTRIBUTE z text']) c;
-- what the target at hand is made of is not in use before it is known: the target is built anew
ALTER TABLE a DROP v;
SELECT while_planned('ALTER TYPE public.inner_type ADD ATTRIBUTE z text, DROP ATTRIBUTE x',
    r('a', '{"id":2,"b":5}'), r('b', '{"id":2,"v":{"z":"old"},"w":{"y":2,"z":"new"}}'));
ALTER TABLE a ADD CONSTRAINT of_p FOREIGN KEY (b) REFERENCES p NOT VALID;
SELECT while_planned('ALTER TABLE public.p ALTER id TYPE bigint', r('a', '{"id":3}'), r('b', '{"id":3}'));
ALTER TABLE a DROP CONSTRAINT of_p;
SELECT kafka_sink.alter_topic('s', 'a', filter => 'public.obey_at_once() = b');
SELECT while_planned('CREATE OR REPLACE FUNCTION public.obey_at_once() RETURNS int LANGUAGE sql IMMUTABLE AS ''SELECT 8''',
    r('a', '{"id":4,"b":7}'), r('b', '{"id":4}'));
TABLE a ORDER BY id;
TABLE c ORDER BY id;
-- one who changes it each time is not waited for
CREATE SEQUENCE changes;
CREATE FUNCTION change_type() RETURNS void LANGUAGE plpgsql AS
$$BEGIN EXECUTE 'ALTER TYPE public.inner_type ADD ATTRIBUTE more_' || nextval('public.changes') || ' int'; END$$;
SELECT kafka_sink.alter_topic('s', 'a', reset => '{filter}');
CREATE OR REPLACE FUNCTION obey_at_once() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM public.change_type(); RETURN 7; END$$;
SELECT while_planned(NULL, r('b', '{"id":5}'));
SELECT kafka_sink.drop_sink('s');
DROP TABLE a, c, p;
DROP FUNCTION r, while_planned, obey_at_once, change_type;
DROP SEQUENCE changes;
-- a function that becomes one of another language: what was kept of the old one is not called any more
CREATE FUNCTION turns(int) RETURNS int LANGUAGE plpgsql AS
$$BEGIN IF $1 = 5 THEN CREATE OR REPLACE FUNCTION public.turns(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; END IF; RETURN $1; END$$;
CREATE DOMAIN turning AS int CHECK (public.turns(value) IS NOT NULL);
CREATE TABLE turned (id int PRIMARY KEY, n int, d turning, a turning[]);
SELECT kafka_sink.create_sink('s', target => 'turned', insert_mode => 'accumulate', accumulate => '{"n": "sum", "d": "max", "a": "last"}', on_error => 'ignore');
BEGIN;
SELECT try('s', '{"id": 1, "d": 1}', '{"id": 2}', '{"id": 4, "d": 5, "a": [1, 5]}', '{"id": "x"}', '{"id": 5, "n": 7, "d": 7}', '{"id": 6}', '{"id": 4, "d": 5, "a": [5]}') IS NOT NULL;
ROLLBACK;
SELECT kafka_sink.alter_sink('s', insert_mode => 'upsert', reset => '{accumulate}');
BEGIN;
SELECT try('s', '{"id": 1, "d": 1}', '{"id": 4, "d": 5, "a": [1, 5]}', '{"id": "x"}', '{"id": 5, "a": [7]}', '{"id": 4, "d": 5, "a": [5]}') IS NOT NULL;
ROLLBACK;
SELECT kafka_sink.drop_sink('s');
DROP TABLE turned;
DROP DOMAIN turning;
DROP FUNCTION turns;
DROP TABLE orders, other, log;
DROP FUNCTION try, by_filter, during, obey_always, obey_trigger;
DROP TYPE outer_type, inner_type;
DROP DOMAIN obedient;
DROP FUNCTION obey(), obey(int), j;
DROP EXTENSION kafka_sink;
