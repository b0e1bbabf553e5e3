-- ALTER EXTENSION kafka_sink UPDATE from each version before gives what
-- CREATE EXTENSION gives: everything that the catalogs say of the objects, but
-- for the order of columns of tables.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS kafka_sink CASCADE;
SELECT plan(5);

CREATE FUNCTION pg_temp.described() RETURNS TABLE (what text) LANGUAGE sql AS $$
    WITH members AS (
        SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
         WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'kafka_sink'
    ), relations AS (
        SELECT c.* FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
    )
    SELECT format('member %s %s: %s', (pg_identify_object(classid, objid, 0)).type, (pg_identify_object(classid, objid, 0)).identity,
                  obj_description(objid, classid::regclass::text))
      FROM members
    UNION ALL
    SELECT format('relation %s %s owner=%s acl=%s options=%s rls=%s %s persistence=%s', oid::regclass, relkind, relowner::regrole, relacl,
                  reloptions, relrowsecurity, relforcerowsecurity, relpersistence)
      FROM relations
    UNION ALL
    SELECT format('column %s.%s %s notnull=%s identity=%s generated=%s default=%s acl=%s: %s', c.oid::regclass, a.attname,
                  format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid), attacl,
                  col_description(c.oid, attnum))
      FROM relations c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
      LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
     WHERE c.relkind <> 'S'
    UNION ALL
    SELECT format('order of columns of %s: %s', c.oid::regclass, string_agg(attname, ', ' ORDER BY attnum))
      FROM relations c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
     WHERE c.relkind IN ('v', 'c') GROUP BY c.oid
    UNION ALL
    SELECT format('view %s %s', oid::regclass, pg_get_viewdef(oid)) FROM relations WHERE relkind = 'v'
    UNION ALL
    SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(k.oid))
      FROM pg_constraint k JOIN relations c ON conrelid = c.oid
    UNION ALL
    SELECT format('index %s', pg_get_indexdef(indexrelid)) FROM pg_index JOIN relations c ON indrelid = c.oid
    UNION ALL
    SELECT format('trigger %s', pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN relations c ON tgrelid = c.oid WHERE NOT tgisinternal
    UNION ALL
    SELECT format('policy %s %s %s %s %s', polrelid::regclass, polname, polcmd, polroles, pg_get_expr(polqual, polrelid))
      FROM pg_policy JOIN relations c ON polrelid = c.oid
    UNION ALL
    SELECT format('function %s owner=%s acl=%s', pg_get_functiondef(p.oid), proowner::regrole, proacl)
      FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
    UNION ALL
    SELECT format('event trigger %s %s %s %s %s', evtname, evtevent, evtfoid::regprocedure, evtenabled, evttags)
      FROM members m JOIN pg_event_trigger t ON m.classid = 'pg_event_trigger'::regclass AND t.oid = m.objid
    UNION ALL
    SELECT format('wrapper %s %s acl=%s', fdwname, fdwvalidator::regprocedure, fdwacl)
      FROM members m JOIN pg_foreign_data_wrapper f ON m.classid = 'pg_foreign_data_wrapper'::regclass AND f.oid = m.objid
    UNION ALL
    SELECT format('type %s acl=%s', t.oid::regtype, typacl)
      FROM members m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
    UNION ALL
    SELECT format('schema %s owner=%s acl=%s', nspname, nspowner::regrole, nspacl) FROM pg_namespace WHERE nspname = 'kafka_sink'
    UNION ALL
    SELECT format('dumped %s %s', r::regclass, c) FROM pg_extension, unnest(extconfig, extcondition) u (r, c) WHERE extname = 'kafka_sink'
    UNION ALL
    SELECT format('version %s', extversion) FROM pg_extension WHERE extname = 'kafka_sink' $$;

CREATE EXTENSION kafka_sink;
CREATE TEMP TABLE fresh AS SELECT * FROM pg_temp.described();
DROP EXTENSION kafka_sink;
SELECT cmp_ok((SELECT count(*) FROM fresh), '>', 300::bigint, 'what is compared is there');

CREATE EXTENSION kafka_sink VERSION '0.1';
SELECT is(extversion, '0.1', 'version 0.1') FROM pg_extension WHERE extname = 'kafka_sink';
SELECT lives_ok('ALTER EXTENSION kafka_sink UPDATE', 'is updated');
CREATE TEMP TABLE updated AS SELECT * FROM pg_temp.described();
SELECT is_empty('SELECT what FROM fresh EXCEPT ALL SELECT what FROM updated', 'nothing is missing');
SELECT is_empty('SELECT what FROM updated EXCEPT ALL SELECT what FROM fresh', 'and nothing is left over');
SELECT finish();
ROLLBACK;
