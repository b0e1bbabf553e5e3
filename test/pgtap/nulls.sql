-- No function does nothing because what it is to work on is NULL: each that is not
-- internal says so (22004).
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS kafka_sink;
SELECT plan(2);

CREATE FUNCTION pg_temp.called_with_nulls(f oid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    arguments text;
BEGIN
    SELECT string_agg('NULL::' || format_type(t, NULL), ', ' ORDER BY i) INTO arguments
      FROM pg_proc p, unnest(p.proargtypes::oid[]) WITH ORDINALITY AS u (t, i)
     WHERE p.oid = f AND i <= p.pronargs - p.pronargdefaults;
    EXECUTE format('SELECT * FROM kafka_sink.%I(%s)', (SELECT proname FROM pg_proc WHERE oid = f), arguments);
    RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END$$;

CREATE TEMP TABLE called AS
    SELECT p.oid::regprocedure AS f, pg_temp.called_with_nulls(p.oid) AS result
      FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
      JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'kafka_sink'
     WHERE p.prokind = 'f' AND NOT p.proisstrict AND p.prorettype <> 'trigger'::regtype AND p.pronargs > p.pronargdefaults;

SELECT cmp_ok((SELECT count(*) FROM called), '>', 40::bigint, 'functions that need arguments');
SELECT is_empty($$SELECT f, result FROM called WHERE result <> '22004'$$, 'each of them refuses NULL');

SELECT * FROM finish();
ROLLBACK;
