/* kafka_sink--0.1--0.2.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION kafka_sink UPDATE TO '0.2'" to load this file. \quit

--
-- The schema: whoever owns it, or may create in it, could put something of his own
-- in the place of what others run.
--
DO $check$
DECLARE
    ext record;
    trusted pg_catalog.oid[];
    other pg_catalog.text;
BEGIN
    SELECT n.oid AS schema, n.nspname, n.nspowner, n.nspacl, e.oid INTO STRICT ext
      FROM pg_catalog.pg_extension e
      JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
     WHERE e.extname OPERATOR(pg_catalog.=) 'kafka_sink';
    trusted := ARRAY(SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolsuper);
    IF ext.nspname OPERATOR(pg_catalog.<>) 'kafka_sink' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = pg_catalog.format('the schema of extension "kafka_sink" has another name: "%s"', ext.nspname),
            HINT = pg_catalog.format('ALTER SCHEMA %I RENAME TO kafka_sink.', ext.nspname);
    END IF;
    IF ext.nspowner OPERATOR(pg_catalog.<>) ALL (trusted) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = pg_catalog.format('schema "kafka_sink" belongs to role "%s", who is no superuser', pg_catalog.pg_get_userbyid(ext.nspowner)),
            DETAIL = 'Whoever owns it can replace what is in it, which others run.',
            HINT = pg_catalog.format('ALTER SCHEMA kafka_sink OWNER TO %I.', current_user);
    END IF;
    SELECT CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END INTO other
      FROM pg_catalog.aclexplode(ext.nspacl) a
     WHERE a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
       AND a.grantee OPERATOR(pg_catalog.<>) ALL (trusted)
     LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = pg_catalog.format('schema "kafka_sink" is open to %s', other),
            DETAIL = 'Who may create objects in it can make what others run.',
            HINT = pg_catalog.format('REVOKE CREATE ON SCHEMA kafka_sink FROM %s.', other);
    END IF;
    SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) INTO other
      FROM pg_catalog.pg_depend d
     WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
       AND d.refobjid OPERATOR(pg_catalog.=) ext.schema
       AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass
       -- not of the extension, and of somebody else
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m
                        WHERE m.classid OPERATOR(pg_catalog.=) d.classid
                          AND m.objid OPERATOR(pg_catalog.=) d.objid
                          AND m.deptype OPERATOR(pg_catalog.=) 'e'
                          AND m.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                          AND m.refobjid OPERATOR(pg_catalog.=) ext.oid)
       AND EXISTS (SELECT FROM pg_catalog.pg_shdepend s
                     JOIN pg_catalog.pg_database b ON b.oid OPERATOR(pg_catalog.=) s.dbid
                    WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
                      AND s.classid OPERATOR(pg_catalog.=) d.classid
                      AND s.objid OPERATOR(pg_catalog.=) d.objid
                      AND s.deptype OPERATOR(pg_catalog.=) 'o'
                      AND s.refobjid OPERATOR(pg_catalog.<>) ALL (trusted))
     ORDER BY 1
     LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'schema "kafka_sink" has things in it that are not the extension''s',
            DETAIL = pg_catalog.format('One is %s.', other),
            HINT = 'Drop them, or move them to another schema.';
    END IF;
END
$check$;

--
-- A call with NULL is an error, no call that does nothing
--
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

--
-- Avro and Protobuf: schemas and framing of sinks and topics
--
ALTER TABLE kafka_sink.sink_catalog
    ADD COLUMN value_schema text,
    ADD COLUMN key_schema text,
    ADD COLUMN framing text NOT NULL DEFAULT 'auto',
    ADD COLUMN message_type text,
    ADD COLUMN validate boolean NOT NULL DEFAULT false,
    ADD COLUMN evolve text NOT NULL DEFAULT 'none';
ALTER TABLE kafka_sink.sink_catalog
    ALTER COLUMN framing DROP DEFAULT,
    ALTER COLUMN validate DROP DEFAULT,
    ALTER COLUMN evolve DROP DEFAULT;
ALTER TABLE kafka_sink.topic_catalog
    ADD COLUMN value_schema text,
    ADD COLUMN key_schema text,
    ADD COLUMN framing text,
    ADD COLUMN message_type text,
    ADD COLUMN validate boolean,
    ADD COLUMN evolve text;

--
-- Who has changed a sink, and when
--
ALTER TABLE kafka_sink.sink_catalog
    ADD COLUMN created_by text,
    ADD COLUMN created_at timestamptz,
    ADD COLUMN altered_by text,
    ADD COLUMN altered_at timestamptz;

-- every change of a sink; it outlives the sink
CREATE TABLE kafka_sink.sink_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sink text NOT NULL,
    owner regrole NOT NULL,
    action text NOT NULL,
    topic text,
    old jsonb,
    new jsonb,
    role text NOT NULL,
    session_role text NOT NULL,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

COMMENT ON TABLE kafka_sink.sink_history IS
'audit: sinks created, altered, paused, resumed, renamed and dropped, by whom and when';
COMMENT ON COLUMN kafka_sink.sink_history.owner IS 'owner of the sink: who has the privileges of this role sees the row';
COMMENT ON COLUMN kafka_sink.sink_history.action IS 'name of the function, or command; of a feed also what its worker has done: skipped, not_skipped';
COMMENT ON COLUMN kafka_sink.sink_history.topic IS 'topic that was registered, altered, unregistered or resumed; NULL: the sink itself';
COMMENT ON COLUMN kafka_sink.sink_history.old IS 'settings that were changed as they were before; of what was dropped, all of them';
COMMENT ON COLUMN kafka_sink.sink_history.new IS 'the same settings as they are since; of what was created, all of them';
COMMENT ON COLUMN kafka_sink.sink_history.role IS 'current_user of the call';
COMMENT ON COLUMN kafka_sink.sink_history.session_role IS 'session_user of the call';
COMMENT ON COLUMN kafka_sink.sink_history.at IS 'time of the call';

ALTER TABLE kafka_sink.sink_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY members ON kafka_sink.sink_history FOR SELECT
    USING (pg_catalog.pg_has_role(owner, 'USAGE'));
GRANT SELECT ON kafka_sink.sink_history TO PUBLIC;

-- changes of targets that schemas of records have asked for; it outlives the sink
CREATE TABLE kafka_sink.ddl_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sink text NOT NULL,
    owner regrole NOT NULL,
    topic text NOT NULL,
    part integer NOT NULL,
    off bigint NOT NULL,
    schema_id bigint,
    schema_guid uuid,
    statement text NOT NULL,
    role text NOT NULL,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

COMMENT ON TABLE kafka_sink.ddl_history IS
'audit: targets that sinks have altered (evolve), each in the transaction of the first records that needed it';
COMMENT ON COLUMN kafka_sink.ddl_history.owner IS 'owner of the sink: who has the privileges of this role sees the row';
COMMENT ON COLUMN kafka_sink.ddl_history.off IS 'with topic and part: the first record of the schema that was met; -1: one of ingest() without an offset';
COMMENT ON COLUMN kafka_sink.ddl_history.schema_id IS 'the schema''s id in the registry; NULL: records tell its GUID';
COMMENT ON COLUMN kafka_sink.ddl_history.role IS 'current_user: whoever ran the statement';

ALTER TABLE kafka_sink.ddl_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY members ON kafka_sink.ddl_history FOR SELECT
    USING (pg_catalog.pg_has_role(owner, 'USAGE'));
GRANT SELECT ON kafka_sink.ddl_history TO PUBLIC;

--
-- What is shown takes the privileges of the sink's owner, not membership alone.
--
CREATE OR REPLACE VIEW kafka_sink.visible_sinks WITH (security_barrier) AS
    SELECT c.sink
      FROM kafka_sink.sink_catalog c
     WHERE pg_catalog.pg_has_role(c.owner, 'USAGE')
    -- so that nobody writes through it (pg_write_all_data may write to all views)
    OFFSET 0;

COMMENT ON VIEW kafka_sink.visible_sinks IS
'names of the sinks whose owner''s privileges the current role has';

CREATE FUNCTION kafka_sink.unsupervised()
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'kafka_sink_unsupervised'
LANGUAGE C STABLE;

COMMENT ON FUNCTION kafka_sink.unsupervised() IS
'since when the server has had no process for the launcher, or for the supervisor of this database; NULL if it has';

CREATE FUNCTION kafka_sink.workers_off()
RETURNS text
AS 'MODULE_PATHNAME', 'kafka_sink_workers_off'
LANGUAGE C STABLE;

COMMENT ON FUNCTION kafka_sink.workers_off() IS
'why no sink of this server has workers; NULL if they have';

COMMENT ON FUNCTION kafka_sink.lock_waits() IS
'workers of this database that wait for a lock, or for a synchronous standby, right now; see the view kafka_sink.sinks';

CREATE OR REPLACE VIEW kafka_sink.worker_states WITH (security_barrier) AS
    SELECT c.sink, c.workers, s.worker,
           CASE WHEN l.sink IS NULL AND NOT n.alone THEN s.state ELSE 'waiting' END AS state,
           -- one that waits again has said since when
           CASE WHEN n.alone THEN u.since WHEN l.sink IS NULL OR g.again THEN s.since ELSE l.since END AS since,
           CASE WHEN n.alone THEN '53400' WHEN l.sink IS NULL OR g.again THEN s.sqlstate END AS sqlstate,
           CASE WHEN n.alone THEN 'no background worker slot is free for the launcher, or for a supervisor of the database'
                WHEN l.sink IS NOT NULL THEN l.message WHEN o.own THEN s.message END AS message,
           CASE WHEN n.alone THEN NULL WHEN l.sink IS NOT NULL THEN l.detail WHEN o.own THEN s.detail END AS detail,
           CASE WHEN n.alone THEN 'You might need to increase max_worker_processes.'
                WHEN b.standby THEN 'See pg_stat_replication, and the settings synchronous_standby_names of the server and synchronous_commit of the sink.'
                WHEN (l.sink IS NULL OR g.again) AND o.own THEN s.hint END AS hint,
           CASE WHEN l.sink IS NULL AND NOT n.alone THEN s.topic END AS topic,
           CASE WHEN l.sink IS NULL AND NOT n.alone THEN s.part END AS part,
           CASE WHEN l.sink IS NULL AND NOT n.alone THEN s.off END AS off,
           CASE WHEN l.sink IS NULL AND NOT n.alone THEN s.column_name END AS column_name,
           CASE WHEN n.alone THEN 'process' WHEN l.sink IS NULL THEN s.waits_for
                WHEN b.standby THEN 'standby' ELSE 'lock' END AS waits_for
      FROM kafka_sink.sink_catalog c
      JOIN kafka_sink.sink_state s ON s.sink OPERATOR(pg_catalog.=) c.sink
      LEFT JOIN kafka_sink.lock_waits() l
        ON l.sink OPERATOR(pg_catalog.=) s.sink
       AND l.worker OPERATOR(pg_catalog.=) s.worker
       AND s.state OPERATOR(pg_catalog.<>) ALL ('{suspended,halted}'::pg_catalog.text[])
     CROSS JOIN LATERAL (SELECT COALESCE(l.message, '') OPERATOR(pg_catalog.=) 'waits for a synchronous standby' AS standby) b
     CROSS JOIN LATERAL (SELECT COALESCE(s.waits_for, '') OPERATOR(pg_catalog.=) 'lock' AND NOT b.standby AS again) g
     CROSS JOIN (SELECT kafka_sink.unsupervised() AS since) u
      -- what its row says was said by a process that is gone, and nobody is there who starts another
     CROSS JOIN LATERAL
           (SELECT u.since IS NOT NULL
               AND s.state OPERATOR(pg_catalog.<>) ALL ('{suspended,halted}'::pg_catalog.text[])
               AND NOT EXISTS (SELECT FROM kafka_sink.worker_stats() w
                                WHERE w.sink OPERATOR(pg_catalog.=) s.sink
                                  AND w.worker OPERATOR(pg_catalog.=) s.worker) AS alone) n
     -- what is said of records may have parts of them
     CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(c.owner, 'USAGE') AS own) o
     WHERE (o.own
        OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'))
       -- what is left of workers that were there before these were switched off
       AND (kafka_sink.workers_off() IS NULL
        OR s.state OPERATOR(pg_catalog.=) ANY ('{suspended,halted}'::pg_catalog.text[])
        OR EXISTS (SELECT FROM kafka_sink.worker_stats() w
                    WHERE w.sink OPERATOR(pg_catalog.=) s.sink
                      AND w.worker OPERATOR(pg_catalog.=) s.worker));

CREATE OR REPLACE VIEW kafka_sink.sinks WITH (security_barrier) AS
    SELECT c.sink, c.owner, c.server, c.target,
           t.topics,
           CASE WHEN NOT c.enabled THEN 'paused'
                WHEN NOT kafka_sink.is_home(c.system_identifier, c.database_oid) THEN 'suspended'
                -- some of its workers have not said anything yet
                WHEN s.state OPERATOR(pg_catalog.=) 'running'
                 AND s.present OPERATOR(pg_catalog.<) c.workers THEN 'starting'
                ELSE COALESCE(s.state, i.state) END AS state,
           COALESCE(s.since, i.since) AS since, COALESCE(s.sqlstate, i.sqlstate) AS sqlstate,
           CASE WHEN kafka_sink.is_home(c.system_identifier, c.database_oid) THEN COALESCE(s.message, i.message)
                ELSE 'the sink''s offsets were written in another database or server' END AS message,
           s.detail,
           CASE WHEN kafka_sink.is_home(c.system_identifier, c.database_oid) THEN COALESCE(s.hint, i.hint)
                ELSE 'kafka_sink.resume() goes on from them here, kafka_sink.drop_sink() forgets them' END AS hint,
           s.topic, s.part, s.off, s.column_name, COALESCE(s.waits_for, i.waits_for) AS waits_for,
           t.halted_topics,
           c.insert_mode, CASE WHEN o.own THEN c.columns END AS columns,
           c.pk_fields, c.format, c.key_format,
           c.delete_enabled, c.on_tombstone, c.on_error, c.on_nul,
           c.on_nonfinite, c.isolation_level, c.synchronous_commit,
           -- the default is in sinks.c, too
           COALESCE(c.batch_records, CASE WHEN c.command IS NULL THEN 50000 ELSE 200000 END) AS batch_records,
           c.batch_bytes, c.batch_linger_ms,
           c.max_record_bytes, c.workers,
           CASE WHEN o.own THEN c.command END AS command, c.value_type,
           CASE WHEN o.own THEN c.filter END AS filter,
           CASE WHEN o.own THEN c.update_if END AS update_if,
           CASE WHEN o.own THEN c.accumulate END AS accumulate,
           c.reject_limit, c.dead_letter_retention,
           c.envelope, c.csv_delimiter, c.csv_quote, c.csv_null, c.strict,
           c.retry_within, c.on_topic_error, c.lock_timeout, c.idle_after,
           c.statistics_interval,
           c.created_by, c.created_at, c.altered_by, c.altered_at,
           c.value_schema, c.key_schema, c.framing, c.message_type, c.validate, c.evolve
      FROM kafka_sink.sink_catalog c
      LEFT JOIN
           (SELECT t.sink,
                   pg_catalog.bool_or(t.target IS NOT NULL) AS has_target,
                   pg_catalog.array_agg(t.topic ORDER BY t.topic) AS topics,
                   pg_catalog.array_agg(t.topic ORDER BY t.topic) FILTER (WHERE h.topic IS NOT NULL) AS halted_topics
              FROM kafka_sink.topic_catalog t
              LEFT JOIN kafka_sink.topic_state h
                ON h.sink OPERATOR(pg_catalog.=) t.sink
               AND h.topic OPERATOR(pg_catalog.=) t.topic
             GROUP BY t.sink) t ON t.sink OPERATOR(pg_catalog.=) c.sink
      -- the worst of its workers' states; who waits for a row may wait for what another one is to read
      LEFT JOIN
           (SELECT DISTINCT ON (w.sink) w.*,
                   pg_catalog.count(*) FILTER (WHERE w.worker OPERATOR(pg_catalog.<) w.workers)
                        OVER (PARTITION BY w.sink) AS present
              FROM kafka_sink.worker_states w
             ORDER BY w.sink,
                      pg_catalog.array_position('{suspended,halted,backoff,waiting,starting,running,idle}'::pg_catalog.text[], w.state),
                      (w.waits_for OPERATOR(pg_catalog.=) 'row') IS TRUE, w.worker) s ON s.sink OPERATOR(pg_catalog.=) c.sink
      -- why none of them has one
     CROSS JOIN LATERAL
           (SELECT CASE WHEN c.server IS NOT NULL AND t.topics IS NOT NULL
                         AND (c.target IS NOT NULL OR c.command IS NOT NULL OR t.has_target)
                        THEN kafka_sink.unsupervised() END AS since) u
      LEFT JOIN LATERAL
           (SELECT CASE WHEN c.target IS NULL AND c.command IS NULL AND t.has_target IS NOT TRUE THEN 'ledger'
                        WHEN c.server IS NULL OR t.topics IS NULL OR kafka_sink.workers_off() IS NOT NULL THEN 'idle'
                        WHEN u.since IS NOT NULL THEN 'waiting'
                        ELSE 'starting' END AS state,
                   CASE WHEN c.target IS NULL AND c.command IS NULL AND t.has_target IS NOT TRUE
                        THEN 'its offsets are moved by kafka_sink.claim() and kafka_sink.advance()'
                        WHEN c.server IS NULL THEN 'it has no server: records come from kafka_sink.ingest()'
                        WHEN t.topics IS NULL THEN 'no topic is registered with it'
                        WHEN u.since IS NOT NULL THEN 'no background worker slot is free for the launcher, or for a supervisor of the database'
                        ELSE kafka_sink.workers_off() END AS message,
                   CASE WHEN c.target IS NULL AND c.command IS NULL AND t.has_target IS NOT TRUE THEN NULL
                        WHEN c.server IS NULL THEN 'kafka_sink.alter_sink(..., server => ...) lets workers consume for it'
                        WHEN t.topics IS NULL THEN 'kafka_sink.register_topic() adds one'
                        WHEN u.since IS NOT NULL THEN 'You might need to increase max_worker_processes.'
                        WHEN kafka_sink.workers_off() IS NOT NULL THEN 'kafka_sink.run() consumes in a session' END AS hint,
                   u.since, CASE WHEN u.since IS NOT NULL THEN '53400' END AS sqlstate,
                   CASE WHEN u.since IS NOT NULL THEN 'process' END AS waits_for) i
        ON s.sink IS NULL AND c.enabled
     CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(c.owner, 'USAGE') AS own) o
     WHERE o.own
        OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');

COMMENT ON VIEW kafka_sink.sinks IS
'sinks whose owner''s privileges the current role has: definition, the worst of its workers'' states, and the error that stopped it; for members of pg_read_all_stats all sinks, without code and messages';

CREATE OR REPLACE VIEW kafka_sink.sink_topics WITH (security_barrier) AS
    SELECT t.sink, t.topic, t.partitions, t.start_at, t.cluster_id,
           COALESCE(t.target, c.target) AS target,
           CASE WHEN t.target IS NOT NULL THEN COALESCE(t.insert_mode, c.insert_mode)
                WHEN c.target IS NOT NULL THEN c.insert_mode END AS insert_mode,
           CASE WHEN t.target IS NULL THEN c.columns ELSE t.columns END AS columns,
           CASE WHEN t.target IS NULL THEN c.pk_fields ELSE t.pk_fields END AS pk_fields,
           CASE WHEN t.target IS NULL THEN c.filter ELSE t.filter END AS filter,
           CASE WHEN t.target IS NULL THEN c.update_if ELSE t.update_if END AS update_if,
           CASE WHEN t.target IS NULL THEN c.accumulate ELSE t.accumulate END AS accumulate,
           t.target IS NOT NULL AS own_target,
           h.state, h.since, h.sqlstate, h.message, h.detail, h.hint,
           h.part, h.off, h.column_name,
           CASE WHEN t.target IS NULL THEN c.value_schema ELSE COALESCE(t.value_schema, c.value_schema) END AS value_schema,
           CASE WHEN t.target IS NULL THEN c.key_schema ELSE COALESCE(t.key_schema, c.key_schema) END AS key_schema,
           CASE WHEN t.target IS NULL THEN c.framing ELSE COALESCE(t.framing, c.framing) END AS framing,
           CASE WHEN t.target IS NULL OR (t.message_type IS NULL AND t.value_schema IS NULL) THEN c.message_type ELSE t.message_type END AS message_type,
           CASE WHEN t.target IS NULL THEN c.validate ELSE COALESCE(t.validate, c.validate) END AS validate,
           CASE WHEN t.target IS NULL THEN c.evolve ELSE COALESCE(t.evolve, c.evolve) END AS evolve
      FROM kafka_sink.topic_catalog t
      JOIN kafka_sink.sink_catalog c ON c.sink OPERATOR(pg_catalog.=) t.sink
      LEFT JOIN kafka_sink.topic_state h
        ON h.sink OPERATOR(pg_catalog.=) t.sink
       AND h.topic OPERATOR(pg_catalog.=) t.topic
     WHERE pg_catalog.pg_has_role(c.owner, 'USAGE');

COMMENT ON VIEW kafka_sink.sink_topics IS
'topics of the sinks whose owner''s privileges the current role has, where their records go: the topic''s own target, or the sink''s (NULL: its command), and the error of those that are halted alone';

CREATE OR REPLACE VIEW kafka_sink.stat_sinks WITH (security_barrier) AS
    SELECT c.sink, COALESCE(s.worker, w.worker) AS worker, w.pid,
           CASE WHEN NOT c.enabled THEN 'paused'
                WHEN NOT kafka_sink.is_home(c.system_identifier, c.database_oid) THEN 'suspended'
                ELSE s.state END AS state,
           s.since, s.waits_for, s.sqlstate, s.message,
           w.started_at, w.batches, w.records, w.bytes, w.fast_batches, w.retries,
           w.guard_mismatches, w.redelivered,
           w.wait_ms, w.fetch_ms, w.decode_ms, w.apply_ms, w.index_ms, w.commit_ms,
           w.first_record, w.last_commit, w.rss_anon_peak
      FROM kafka_sink.sink_catalog c
      LEFT JOIN (kafka_sink.worker_states s
                 FULL JOIN kafka_sink.worker_stats() w
                   ON w.sink OPERATOR(pg_catalog.=) s.sink
                  AND w.worker OPERATOR(pg_catalog.=) s.worker)
        ON COALESCE(s.sink, w.sink) OPERATOR(pg_catalog.=) c.sink
     WHERE pg_catalog.pg_has_role(c.owner, 'USAGE')
        OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');

CREATE OR REPLACE VIEW kafka_sink.stat_partitions WITH (security_barrier) AS
    SELECT o.sink, o.topic, o.part, o.off, o.start_off,
           e.low AS low_watermark, e.last_stable AS end_offset, e.high AS high_watermark,
           o.consumed, o.applied, o.deleted, o.filtered, o.dead_lettered,
           o.ignored, o.superseded, o.unmatched, o.gaps,
           p.redelivered, p.tail AS tail_check, o.updated_at, e.as_of
      FROM kafka_sink.sink_catalog c
      JOIN kafka_sink.txn_offsets o ON o.sink OPERATOR(pg_catalog.=) c.sink
      LEFT JOIN kafka_sink.partition_stats() p
        ON p.sink OPERATOR(pg_catalog.=) o.sink
       AND p.topic OPERATOR(pg_catalog.=) o.topic
       AND p.part OPERATOR(pg_catalog.=) o.part
      LEFT JOIN kafka_sink.partition_ends k
        ON k.sink OPERATOR(pg_catalog.=) o.sink
       AND k.topic OPERATOR(pg_catalog.=) o.topic
       AND k.part OPERATOR(pg_catalog.=) o.part
      -- what a running worker sees, or what is newer (and not of a clock that was ahead)
     CROSS JOIN LATERAL
           (SELECT p.last_stable IS NULL
                OR (k.as_of OPERATOR(pg_catalog.>) p.as_of
                    AND k.as_of OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()) AS stored) n
     CROSS JOIN LATERAL
           (SELECT CASE WHEN n.stored THEN k.low ELSE p.low END AS low,
                   CASE WHEN n.stored THEN k.last_stable ELSE p.last_stable END AS last_stable,
                   CASE WHEN n.stored THEN k.high ELSE p.high END AS high,
                   CASE WHEN n.stored THEN k.as_of ELSE p.as_of END AS as_of) e
     WHERE pg_catalog.pg_has_role(c.owner, 'USAGE')
        OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');

ALTER POLICY members ON kafka_sink.offset_history
    USING (pg_catalog.pg_has_role(owner, 'USAGE'));


-- dumps take along kafka_sink.dump alone
UPDATE pg_catalog.pg_extension SET extconfig = NULL, extcondition = NULL
 WHERE extname OPERATOR(pg_catalog.=) 'kafka_sink';

--
-- Dumps: pg_dump reads tables as whoever runs it, and writes numbers for what is
-- gone. So what it takes along is this empty table, and with it what dumped()
-- returns (it reads no views); what is restored into it goes where it came from.
-- Sinks of a dump go on where they stood (suspended until resume() elsewhere).
--
CREATE TABLE kafka_sink.dump (
    relation text NOT NULL,
    data json NOT NULL,
    -- a restore without triggers fails
    CONSTRAINT taken_by_trigger CHECK (false)
);

COMMENT ON TABLE kafka_sink.dump IS
'always empty: pg_dump reads kafka_sink.dumped() with it, and what is restored goes to the tables it came from';
COMMENT ON CONSTRAINT taken_by_trigger ON kafka_sink.dump IS 'rows cannot be restored without the trigger';

CREATE FUNCTION kafka_sink.restore_dump()
RETURNS trigger
AS 'MODULE_PATHNAME', 'kafka_sink_restore_dump'
LANGUAGE C;

COMMENT ON FUNCTION kafka_sink.restore_dump() IS
'puts a row of a dump into the table that it came from; roles, tables and types by name, never by number';

REVOKE EXECUTE ON FUNCTION kafka_sink.restore_dump() FROM PUBLIC;

CREATE TRIGGER restore BEFORE INSERT ON kafka_sink.dump
    FOR EACH ROW EXECUTE FUNCTION kafka_sink.restore_dump();

CREATE FUNCTION kafka_sink.dumped(
    OUT relation text,
    OUT data json)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'kafka_sink_dumped'
LANGUAGE C STABLE STRICT;

COMMENT ON FUNCTION kafka_sink.dumped() IS
'what pg_dump takes along: rows of the extension''s tables, of the sinks whose owner''s privileges the current role has; of all sinks for members of pg_read_all_data';

GRANT SELECT ON kafka_sink.dump TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('kafka_sink.dump',
    'WHERE false UNION ALL SELECT d.relation, d.data FROM kafka_sink.dumped() d');

--
-- Where a sink has halted
--
CREATE FUNCTION kafka_sink.skip(sink text)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_skip_halted'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.skip(text) IS
'passes over the record at which the sink, or a topic of it, has halted; of a feed, the transaction, or the row of a copy, at which it has stopped';

CREATE FUNCTION kafka_sink.accept_gap(sink text)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_accept_halted_gap'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.accept_gap(text) IS
'goes on where the log begins, of the partition at whose lost records the sink, or a topic of it, has halted';

--
-- More arguments
--
DROP FUNCTION kafka_sink.create_sink;
DROP FUNCTION kafka_sink.alter_sink;
DROP FUNCTION kafka_sink.drop_sink;
DROP FUNCTION kafka_sink.register_topic;
DROP FUNCTION kafka_sink.alter_topic;
DROP FUNCTION kafka_sink.unregister_topic;

CREATE FUNCTION kafka_sink.create_sink(
    sink text,
    server text DEFAULT NULL,
    target regclass DEFAULT NULL,
    insert_mode text DEFAULT 'insert',
    columns jsonb DEFAULT NULL,
    pk_fields text[] DEFAULT NULL,
    format text DEFAULT 'json',
    key_format text DEFAULT 'json',
    delete_enabled boolean DEFAULT false,
    on_tombstone text DEFAULT 'error',
    on_error text DEFAULT 'stop',
    on_nul text DEFAULT 'error',
    on_nonfinite text DEFAULT 'accept',
    isolation_level text DEFAULT 'read_committed',
    synchronous_commit text DEFAULT 'off',
    batch_records integer DEFAULT NULL,
    batch_bytes integer DEFAULT 16777216,
    batch_linger_ms integer DEFAULT 2,
    max_record_bytes integer DEFAULT 8388608,
    workers integer DEFAULT 1,
    command text DEFAULT NULL,
    value_type regtype DEFAULT NULL,
    filter text DEFAULT NULL,
    update_if text DEFAULT NULL,
    accumulate jsonb DEFAULT NULL,
    reject_limit text DEFAULT NULL,
    dead_letter_retention interval DEFAULT NULL,
    envelope text DEFAULT 'none',
    csv_delimiter text DEFAULT ',',
    csv_quote text DEFAULT '"',
    csv_null text DEFAULT '',
    strict boolean DEFAULT false,
    retry_within interval DEFAULT '10 s',
    on_topic_error text DEFAULT 'halt_topic',
    lock_timeout interval DEFAULT '2 s',
    idle_after interval DEFAULT '1 min',
    statistics_interval interval DEFAULT NULL,
    value_schema text DEFAULT NULL,
    key_schema text DEFAULT NULL,
    framing text DEFAULT 'auto',
    message_type text DEFAULT NULL,
    validate boolean DEFAULT false,
    evolve text DEFAULT 'none',
    enabled boolean DEFAULT true,
    settings jsonb DEFAULT NULL,
    if_not_exists boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_create_sink'
LANGUAGE C VOLATILE;

-- a sink costs everybody who uses the server: its administrator says who may make some
REVOKE EXECUTE ON FUNCTION kafka_sink.create_sink FROM PUBLIC;

COMMENT ON FUNCTION kafka_sink.create_sink(text, text, regclass, text, jsonb, text[], text, text, boolean, text, text, text, text, text, text, integer, integer, integer, integer, integer, text, regtype, text, text, jsonb, text, interval, text, text, text, text, boolean, interval, text, interval, interval, interval, text, text, text, text, boolean, text, boolean, jsonb, boolean) IS
'defines a sink: what to do with records; owned by the current role';

CREATE FUNCTION kafka_sink.alter_sink(
    sink text,
    server text DEFAULT NULL,
    target regclass DEFAULT NULL,
    insert_mode text DEFAULT NULL,
    columns jsonb DEFAULT NULL,
    pk_fields text[] DEFAULT NULL,
    format text DEFAULT NULL,
    key_format text DEFAULT NULL,
    delete_enabled boolean DEFAULT NULL,
    on_tombstone text DEFAULT NULL,
    on_error text DEFAULT NULL,
    on_nul text DEFAULT NULL,
    on_nonfinite text DEFAULT NULL,
    isolation_level text DEFAULT NULL,
    synchronous_commit text DEFAULT NULL,
    batch_records integer DEFAULT NULL,
    batch_bytes integer DEFAULT NULL,
    batch_linger_ms integer DEFAULT NULL,
    max_record_bytes integer DEFAULT NULL,
    workers integer DEFAULT NULL,
    command text DEFAULT NULL,
    value_type regtype DEFAULT NULL,
    filter text DEFAULT NULL,
    update_if text DEFAULT NULL,
    accumulate jsonb DEFAULT NULL,
    reject_limit text DEFAULT NULL,
    dead_letter_retention interval DEFAULT NULL,
    envelope text DEFAULT NULL,
    csv_delimiter text DEFAULT NULL,
    csv_quote text DEFAULT NULL,
    csv_null text DEFAULT NULL,
    strict boolean DEFAULT NULL,
    retry_within interval DEFAULT NULL,
    on_topic_error text DEFAULT NULL,
    lock_timeout interval DEFAULT NULL,
    idle_after interval DEFAULT NULL,
    statistics_interval interval DEFAULT NULL,
    value_schema text DEFAULT NULL,
    key_schema text DEFAULT NULL,
    framing text DEFAULT NULL,
    message_type text DEFAULT NULL,
    validate boolean DEFAULT NULL,
    evolve text DEFAULT NULL,
    reset text[] DEFAULT NULL,
    owner regrole DEFAULT NULL,
    settings jsonb DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_alter_sink'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.alter_sink(text, text, regclass, text, jsonb, text[], text, text, boolean, text, text, text, text, text, text, integer, integer, integer, integer, integer, text, regtype, text, text, jsonb, text, interval, text, text, text, text, boolean, interval, text, interval, interval, interval, text, text, text, text, boolean, text, text[], regrole, jsonb) IS
'changes the settings given and sets those named in reset to their defaults';

CREATE FUNCTION kafka_sink.drop_sink(sink text, if_exists boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_drop_sink'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.drop_sink(text, boolean) IS
'forgets a sink, its topics and its offsets; the target keeps its rows';

CREATE FUNCTION kafka_sink.rename_sink(sink text, new_name text)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_rename_sink'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.rename_sink(text, text) IS
'gives a sink another name; its topics, offsets, dead letters and history go with it';

CREATE FUNCTION kafka_sink.register_topic(
    sink text,
    topic text,
    partitions text DEFAULT NULL,
    start_at text DEFAULT 'earliest',
    target regclass DEFAULT NULL,
    insert_mode text DEFAULT NULL,
    columns jsonb DEFAULT NULL,
    pk_fields text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    update_if text DEFAULT NULL,
    accumulate jsonb DEFAULT NULL,
    value_schema text DEFAULT NULL,
    key_schema text DEFAULT NULL,
    framing text DEFAULT NULL,
    message_type text DEFAULT NULL,
    validate boolean DEFAULT NULL,
    evolve text DEFAULT NULL,
    if_not_exists boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_register_topic'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.register_topic(text, text, text, text, regclass, text, jsonb, text[], text, text, jsonb, text, text, text, text, boolean, text, boolean) IS
'adds a topic to a sink; start_at is earliest, latest, a timestamp, or a JSON object of offsets by partition; partitions is a list such as 0-15,20 (NULL: all); with a target its records go there instead of the sink''s, written by the settings given here (insert_mode NULL: the sink''s)';

CREATE FUNCTION kafka_sink.alter_topic(
    sink text,
    topic text,
    target regclass DEFAULT NULL,
    insert_mode text DEFAULT NULL,
    columns jsonb DEFAULT NULL,
    pk_fields text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    update_if text DEFAULT NULL,
    accumulate jsonb DEFAULT NULL,
    value_schema text DEFAULT NULL,
    key_schema text DEFAULT NULL,
    framing text DEFAULT NULL,
    message_type text DEFAULT NULL,
    validate boolean DEFAULT NULL,
    evolve text DEFAULT NULL,
    reset text[] DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_alter_topic'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.alter_topic(text, text, regclass, text, jsonb, text[], text, text, jsonb, text, text, text, text, boolean, text, text[]) IS
'changes the settings given of a topic''s own target and forgets those named in reset; its offsets stay';

CREATE FUNCTION kafka_sink.unregister_topic(sink text, topic text, if_exists boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_unregister_topic'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.unregister_topic(text, text, boolean) IS
'takes a topic from a sink and forgets its offsets';

CREATE FUNCTION kafka_sink.sink_definition(sink text)
RETURNS text
AS 'MODULE_PATHNAME', 'kafka_sink_sink_definition'
LANGUAGE C STABLE;

COMMENT ON FUNCTION kafka_sink.sink_definition(text) IS
'SQL that creates the sink and its topics again, as it is defined now';

CREATE PROCEDURE kafka_sink.claim_ranges(sink text, ranges jsonb, INOUT apply_from jsonb DEFAULT NULL)
AS 'MODULE_PATHNAME', 'kafka_sink_claim_ranges'
LANGUAGE C;

COMMENT ON PROCEDURE kafka_sink.claim_ranges(text, jsonb, jsonb) IS
'claim() of many ranges for CALL: {"topic": {"0": apply_from}}, null where all is applied already';

CREATE PROCEDURE kafka_sink.claim_ranges(sink text, ranges text, INOUT apply_from jsonb DEFAULT NULL)
AS 'MODULE_PATHNAME', 'kafka_sink_claim_ranges_text'
LANGUAGE C;

COMMENT ON PROCEDURE kafka_sink.claim_ranges(text, text, jsonb) IS
'the same for drivers that send JSON as text';

CREATE PROCEDURE kafka_sink.advance_range(sink text, topic text, part bigint, from_off bigint, until_off bigint)
AS 'MODULE_PATHNAME', 'kafka_sink_advance'
LANGUAGE C;

COMMENT ON PROCEDURE kafka_sink.advance_range(text, text, bigint, bigint, bigint) IS
'advance() for CALL';

CREATE PROCEDURE kafka_sink.pause(
    sink text,
    wait boolean,
    timeout interval DEFAULT NULL)
AS 'MODULE_PATHNAME', 'kafka_sink_pause_and_wait'
LANGUAGE C;

COMMENT ON PROCEDURE kafka_sink.pause(text, boolean, interval) IS
'the same for CALL, which returns when the workers have ended; 57014 after the timeout';

--
-- Schemas of registries
--
-- schemas that registries have been asked for, or that were given; they never change
CREATE TABLE kafka_sink.schemas (
    server text NOT NULL,
    registry text NOT NULL,
    id bigint,
    global_id bigint,
    guid uuid,
    type text NOT NULL,
    schema text NOT NULL,
    refs jsonb NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    UNIQUE (server, registry, id),
    UNIQUE (server, registry, global_id),
    UNIQUE (server, registry, guid),
    CHECK (pg_catalog.num_nonnulls(id, global_id, guid) OPERATOR(pg_catalog.=) 1)
);

COMMENT ON TABLE kafka_sink.schemas IS
'schemas fetched from the registries of servers, or given by add_schema(), for those who may use the server; see kafka_sink.schema()';
COMMENT ON COLUMN kafka_sink.schemas.registry IS 'the server''s option schema_registry_url at that time: an id is one of that registry; empty: add_schema() has given it';
COMMENT ON COLUMN kafka_sink.schemas.id IS 'id in the registry, as records tell it; NULL: they tell another';
COMMENT ON COLUMN kafka_sink.schemas.global_id IS 'Apicurio''s global id, if records tell that';
COMMENT ON COLUMN kafka_sink.schemas.type IS 'AVRO, PROTOBUF, JSON';
COMMENT ON COLUMN kafka_sink.schemas.refs IS
'schemas that it refers to: an array of objects with name, subject, version and schema, each behind those that it refers to itself';

ALTER TABLE kafka_sink.schemas ENABLE ROW LEVEL SECURITY;
CREATE POLICY users ON kafka_sink.schemas FOR SELECT
    USING (EXISTS (SELECT FROM pg_catalog.pg_foreign_server f
                    WHERE f.srvname OPERATOR(pg_catalog.=) schemas.server
                      AND pg_catalog.has_server_privilege(f.oid, 'USAGE')));
GRANT SELECT ON kafka_sink.schemas TO PUBLIC;

CREATE FUNCTION kafka_sink.schema(server text, id bigint, global boolean DEFAULT false)
RETURNS text
AS 'MODULE_PATHNAME', 'kafka_sink_schema'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.schema(text, bigint, boolean) IS
'text of a schema of the server''s registry, by its id, or Apicurio''s global id; asks the registry if nobody has done so before, and keeps it in kafka_sink.schemas';

CREATE FUNCTION kafka_sink.schema(server text, guid uuid)
RETURNS text
AS 'MODULE_PATHNAME', 'kafka_sink_schema_guid'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.schema(text, uuid) IS
'the same, by the schema''s GUID';

CREATE FUNCTION kafka_sink.add_schema(server text, id bigint, type text, schema text, refs jsonb DEFAULT '[]')
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_add_schema'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.add_schema(text, bigint, text, text, jsonb) IS
'gives a schema that records of the server name by this id, where no registry has it; type: AVRO, PROTOBUF or JSON; refs: what it refers to, an array of objects with name and schema';

CREATE FUNCTION kafka_sink.add_schema(server text, guid uuid, type text, schema text, refs jsonb DEFAULT '[]')
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_add_schema_guid'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.add_schema(text, uuid, text, text, jsonb) IS
'the same, by a GUID, such as the id of a schema version of AWS Glue';

CREATE FUNCTION kafka_sink.drop_schema(server text, id bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'kafka_sink_drop_schema'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.drop_schema(text, bigint) IS
'forgets a schema that add_schema() has given; false: there is none';

CREATE FUNCTION kafka_sink.drop_schema(server text, guid uuid)
RETURNS boolean
AS 'MODULE_PATHNAME', 'kafka_sink_drop_schema_guid'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.drop_schema(text, uuid) IS
'the same, by its GUID';

CREATE FUNCTION kafka_sink.decode(
    server text,
    data bytea,
    header bytea DEFAULT NULL,
    framing text DEFAULT 'auto')
RETURNS jsonb
AS 'MODULE_PATHNAME', 'kafka_sink_decode'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.decode(text, bytea, bytea, text) IS
'a key or a value that tells its schema (Avro, Protobuf, JSON), as jsonb; header: what the record''s header __value_schema_id or __key_schema_id has, if that tells it; framing: auto, apicurio8 or glue';

CREATE FUNCTION kafka_sink.describe(
    server text DEFAULT NULL,
    topic text DEFAULT NULL,
    table_name text DEFAULT NULL,
    value_subject text DEFAULT NULL,
    key_subject text DEFAULT NULL,
    value_schema text DEFAULT NULL,
    key_schema text DEFAULT NULL,
    format text DEFAULT 'avro',
    message_type text DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME', 'kafka_sink_describe'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.describe(text, text, text, text, text, text, text, text, text) IS
'SQL that creates a table for records of a topic, by the newest schemas of its values and keys in the server''s registry, or by schemas that are given';

--
-- All of a sink follows its name
--
ALTER TABLE kafka_sink.topic_catalog DROP CONSTRAINT topic_catalog_sink_fkey,
    ADD FOREIGN KEY (sink) REFERENCES kafka_sink.sink_catalog ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE kafka_sink.txn_offsets DROP CONSTRAINT txn_offsets_sink_fkey,
    ADD FOREIGN KEY (sink) REFERENCES kafka_sink.sink_catalog ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE kafka_sink.sink_state DROP CONSTRAINT sink_state_sink_fkey,
    ADD FOREIGN KEY (sink) REFERENCES kafka_sink.sink_catalog ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE kafka_sink.partition_ends DROP CONSTRAINT partition_ends_sink_fkey,
    ADD FOREIGN KEY (sink) REFERENCES kafka_sink.sink_catalog ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE kafka_sink.dead_letters DROP CONSTRAINT dead_letters_sink_fkey,
    ADD FOREIGN KEY (sink) REFERENCES kafka_sink.sink_catalog ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE kafka_sink.topic_state DROP CONSTRAINT topic_state_sink_topic_fkey,
    -- the topic whose error it is, if foreign keys link the two; NULL: its own
    ADD COLUMN halted_by text,
    ADD FOREIGN KEY (sink, topic) REFERENCES kafka_sink.topic_catalog ON UPDATE CASCADE ON DELETE CASCADE,
    ADD FOREIGN KEY (sink, halted_by) REFERENCES kafka_sink.topic_catalog ON UPDATE CASCADE ON DELETE CASCADE;

-- no policies: not even who may write to all tables (pg_write_all_data) makes sinks by it
ALTER TABLE kafka_sink.sink_catalog ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.topic_catalog ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.sink_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.topic_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.partition_ends ENABLE ROW LEVEL SECURITY;

-- columns that records have filled from the fields of their names: a rename is noticed by whoever comes next
CREATE TABLE kafka_sink.filled_columns (
    sink text NOT NULL REFERENCES kafka_sink.sink_catalog ON UPDATE CASCADE ON DELETE CASCADE,
    topic text,
    relid oid NOT NULL,
    attnum smallint NOT NULL,
    name text NOT NULL
);
CREATE INDEX filled_columns_sink_topic_idx ON kafka_sink.filled_columns (sink, topic);
COMMENT ON TABLE kafka_sink.filled_columns IS
'columns, and attributes of their types, that records have filled from the fields of their names, by sink and topic with a target of its own';

ALTER TABLE kafka_sink.filled_columns ENABLE ROW LEVEL SECURITY;

--
-- Feeds: from here to Kafka. They share their names with sinks.
--
CREATE TABLE kafka_sink.feed_catalog (
    feed text PRIMARY KEY
        CHECK (feed OPERATOR(pg_catalog.<>) '' AND pg_catalog.octet_length(feed) OPERATOR(pg_catalog.<=) 63),
    id bigint NOT NULL UNIQUE,
    owner regrole NOT NULL,
    server text NOT NULL,
    publication text,
    topic text NOT NULL,
    envelope text NOT NULL,
    progress_topic text NOT NULL,
    batch_records integer NOT NULL,
    batch_bytes integer NOT NULL,
    max_message_bytes integer NOT NULL,
    transaction_timeout interval NOT NULL,
    failover boolean NOT NULL,
    copy_data boolean NOT NULL,
    enabled boolean NOT NULL,
    generation bigint NOT NULL,
    -- commits from here on are published; NULL: there is no replication slot yet
    start_lsn pg_lsn,
    -- the transaction whose commit begins here is not published; forgotten when it is behind
    skip_lsn pg_lsn,
    -- where the slot is: elsewhere the feed is suspended until resume()
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    created_by text,
    created_at timestamptz,
    altered_by text,
    altered_at timestamptz
);

-- by which messages of emit() are known; nobody but the tables' owner reads them
CREATE TABLE kafka_sink.feed_secrets (
    feed text PRIMARY KEY REFERENCES kafka_sink.feed_catalog ON UPDATE CASCADE ON DELETE CASCADE,
    secret bytea NOT NULL
);

-- who may emit beside those who have the privileges of the owner
CREATE TABLE kafka_sink.feed_grants (
    feed text NOT NULL REFERENCES kafka_sink.feed_catalog ON UPDATE CASCADE ON DELETE CASCADE,
    role regrole NOT NULL,
    PRIMARY KEY (feed, role)
);

CREATE TABLE kafka_sink.feed_state (
    feed text PRIMARY KEY REFERENCES kafka_sink.feed_catalog ON UPDATE CASCADE ON DELETE CASCADE,
    state text NOT NULL,
    since timestamptz NOT NULL,
    sqlstate text,
    message text,
    detail text,
    hint text,
    topic text,
    waits_for text,
    lsn pg_lsn,
    -- up to this commit each transaction is published alone, to find the one that is refused
    one_by_one pg_lsn
);

-- what Kafka had of a feed when its worker began; Kafka's own record is what counts
CREATE TABLE kafka_sink.feed_progress (
    feed text PRIMARY KEY REFERENCES kafka_sink.feed_catalog ON UPDATE CASCADE ON DELETE CASCADE,
    lsn pg_lsn NOT NULL,
    xid bigint NOT NULL,
    transactions bigint NOT NULL,
    records bigint NOT NULL,
    read_at timestamptz NOT NULL
);

-- tables whose rows are published as they were found; how far the one at hand is, Kafka says
CREATE TABLE kafka_sink.feed_copies (
    feed text NOT NULL REFERENCES kafka_sink.feed_catalog ON UPDATE CASCADE ON DELETE CASCADE,
    relation regclass NOT NULL,
    id bigint NOT NULL,
    state text NOT NULL,
    rows bigint NOT NULL,
    message text,
    added_at timestamptz NOT NULL,
    copied_at timestamptz,
    stopped_at text,
    skip_at text,
    PRIMARY KEY (feed, relation)
);

COMMENT ON TABLE kafka_sink.feed_catalog IS 'definitions of feeds; see the view kafka_sink.feeds';
COMMENT ON TABLE kafka_sink.feed_secrets IS 'secrets by which messages of emit() are known';
COMMENT ON TABLE kafka_sink.feed_grants IS 'roles that may emit to a feed; see kafka_sink.grant_emit()';
COMMENT ON TABLE kafka_sink.feed_state IS 'state of each feed; see the view kafka_sink.feeds';
COMMENT ON TABLE kafka_sink.feed_progress IS
'how far each feed was, as its worker read it from Kafka when it began; Kafka''s own record is what counts';
COMMENT ON COLUMN kafka_sink.feed_progress.lsn IS 'commits that begin before it are in Kafka';
COMMENT ON COLUMN kafka_sink.feed_progress.xid IS 'last transaction that was published, 0: none';
COMMENT ON COLUMN kafka_sink.feed_progress.transactions IS 'transactions published since the feed began';
COMMENT ON COLUMN kafka_sink.feed_progress.records IS 'records published since the feed began';
COMMENT ON COLUMN kafka_sink.feed_progress.read_at IS 'when it was read';
COMMENT ON TABLE kafka_sink.feed_copies IS
'tables of feeds with copy_data, and how far the copies of their rows are';
COMMENT ON COLUMN kafka_sink.feed_copies.id IS 'the copy''s number in the feed''s progress';
COMMENT ON COLUMN kafka_sink.feed_copies.state IS 'waiting, copying, copied, or refused';
COMMENT ON COLUMN kafka_sink.feed_copies.message IS 'why it was refused, or what is in the way';
COMMENT ON COLUMN kafka_sink.feed_copies.rows IS 'rows that are in Kafka, or were read and replaced by changes';
COMMENT ON COLUMN kafka_sink.feed_copies.added_at IS 'when the table was found in the publication';
COMMENT ON COLUMN kafka_sink.feed_copies.copied_at IS 'when the last of its rows was published';
COMMENT ON COLUMN kafka_sink.feed_copies.stopped_at IS 'the key of the row that Kafka refuses, with which the feed has stopped';
COMMENT ON COLUMN kafka_sink.feed_copies.skip_at IS 'the key of the row that is being skipped';

ALTER TABLE kafka_sink.feed_catalog ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.feed_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.feed_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.feed_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.feed_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE kafka_sink.feed_copies ENABLE ROW LEVEL SECURITY;

CREATE VIEW kafka_sink.visible_feeds WITH (security_barrier) AS
    SELECT c.feed
      FROM kafka_sink.feed_catalog c
     WHERE pg_catalog.pg_has_role(c.owner, 'USAGE')
    -- so that nobody writes through it (pg_write_all_data may write to all views)
    OFFSET 0;

COMMENT ON VIEW kafka_sink.visible_feeds IS
'names of the feeds whose owner''s privileges the current role has';

CREATE POLICY members ON kafka_sink.feed_progress FOR SELECT
    USING (feed OPERATOR(pg_catalog.=) ANY (SELECT v.feed FROM kafka_sink.visible_feeds v));
CREATE POLICY members ON kafka_sink.feed_copies FOR SELECT
    USING (feed OPERATOR(pg_catalog.=) ANY (SELECT v.feed FROM kafka_sink.visible_feeds v));
GRANT SELECT ON kafka_sink.visible_feeds, kafka_sink.feed_progress, kafka_sink.feed_copies TO PUBLIC;

CREATE FUNCTION kafka_sink.create_feed(
    feed text,
    server text DEFAULT NULL,
    publication text DEFAULT NULL,
    topic text DEFAULT '{schema}.{table}',
    envelope text DEFAULT 'none',
    progress_topic text DEFAULT 'kafka_sink.progress',
    batch_records integer DEFAULT 50000,
    batch_bytes integer DEFAULT 16777216,
    max_message_bytes integer DEFAULT 1000000,
    transaction_timeout interval DEFAULT '1 min',
    failover boolean DEFAULT false,
    copy_data boolean DEFAULT false,
    enabled boolean DEFAULT true,
    settings jsonb DEFAULT NULL,
    if_not_exists boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_create_feed'
LANGUAGE C VOLATILE;

-- a feed holds a replication slot, and WAL: its administrator says who may make some
REVOKE EXECUTE ON FUNCTION kafka_sink.create_feed FROM PUBLIC;

COMMENT ON FUNCTION kafka_sink.create_feed(text, text, text, text, text, text, integer, integer, integer, interval, boolean, boolean, boolean, jsonb, boolean) IS
'defines a feed, which publishes what transactions emit() to it, and changes of the tables of a publication, each once; owned by the current role';

CREATE FUNCTION kafka_sink.alter_feed(
    feed text,
    server text DEFAULT NULL,
    publication text DEFAULT NULL,
    topic text DEFAULT NULL,
    envelope text DEFAULT NULL,
    progress_topic text DEFAULT NULL,
    batch_records integer DEFAULT NULL,
    batch_bytes integer DEFAULT NULL,
    max_message_bytes integer DEFAULT NULL,
    transaction_timeout interval DEFAULT NULL,
    failover boolean DEFAULT NULL,
    copy_data boolean DEFAULT NULL,
    reset text[] DEFAULT NULL,
    owner regrole DEFAULT NULL,
    settings jsonb DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_alter_feed'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.alter_feed(text, text, text, text, text, text, integer, integer, integer, interval, boolean, boolean, text[], regrole, jsonb) IS
'changes the settings given of a feed and sets those named in reset to their defaults';

CREATE FUNCTION kafka_sink.drop_feed(feed text, if_exists boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_drop_feed'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.drop_feed(text, boolean) IS
'forgets a feed, and drops its replication slot; what it has published stays in Kafka, what it has not is not published';

CREATE FUNCTION kafka_sink.skip(feed text, lsn pg_lsn)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_skip_transaction'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.skip(text, pg_lsn) IS
'does not publish the transaction at which the feed has stopped, whose commit begins at lsn; audited';

CREATE FUNCTION kafka_sink.grant_emit(feed text, role regrole)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_grant_emit'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.grant_emit(text, regrole) IS
'lets a role, and those who have its privileges, emit to a feed';

CREATE FUNCTION kafka_sink.revoke_emit(feed text, role regrole)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_revoke_emit'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.revoke_emit(text, regrole) IS
'takes from a role what grant_emit() has given';

CREATE FUNCTION kafka_sink.emit(
    feed text,
    topic text,
    key text,
    value text,
    headers jsonb DEFAULT NULL,
    part integer DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_emit_text'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.emit(text, text, text, text, jsonb, integer) IS
'publishes a message if and when this transaction commits; headers is an object of texts, part the partition (NULL: by the key)';

CREATE FUNCTION kafka_sink.emit(
    feed text,
    topic text,
    key text,
    value jsonb,
    headers jsonb DEFAULT NULL,
    part integer DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_emit_jsonb'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.emit(text, text, text, jsonb, jsonb, integer) IS
'the same, of a value that is JSON';

CREATE FUNCTION kafka_sink.emit(
    feed text,
    topic text,
    key bytea,
    value bytea,
    headers jsonb DEFAULT NULL,
    part integer DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_emit_bytea'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.emit(text, text, bytea, bytea, jsonb, integer) IS
'the same, of bytes';

CREATE FUNCTION kafka_sink.emit(feed text, record kafka_sink.record)
RETURNS void
AS 'MODULE_PATHNAME', 'kafka_sink_emit_record'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.emit(text, kafka_sink.record) IS
'the same, of a record, whose headers can be bytes; off and ts, which Kafka and the commit decide, are NULL';

CREATE FUNCTION kafka_sink.feed_stats(
    OUT feed text,
    OUT pid integer,
    OUT started_at timestamptz,
    OUT transactions bigint,
    OUT records bigint,
    OUT bytes bigint,
    OUT forged bigint,
    OUT commits bigint,
    OUT cuts bigint,
    OUT commit_ms double precision,
    OUT last_commit timestamptz,
    OUT decoded_lsn pg_lsn,
    OUT published_lsn pg_lsn,
    OUT copied_rows bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'kafka_sink_feed_stats'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION kafka_sink.feed_stats() IS
'live counters of this database''s feeds; see the view kafka_sink.stat_feeds';

CREATE VIEW kafka_sink.feeds WITH (security_barrier) AS
    SELECT c.feed, c.owner, c.server,
           CASE WHEN NOT c.enabled THEN 'paused'
                WHEN NOT kafka_sink.is_home(c.system_identifier, c.database_oid) THEN 'suspended'
                WHEN n.alone THEN 'waiting'
                ELSE COALESCE(s.state, CASE WHEN kafka_sink.workers_off() IS NULL THEN 'starting' ELSE 'idle' END) END AS state,
           CASE WHEN n.alone THEN u.since ELSE s.since END AS since,
           CASE WHEN n.alone THEN '53400' ELSE s.sqlstate END AS sqlstate,
           CASE WHEN n.alone THEN 'no background worker slot is free for the launcher, or for a supervisor of the database'
                ELSE COALESCE(CASE WHEN o.own THEN s.message END, CASE WHEN s.state IS NULL THEN kafka_sink.workers_off() END) END AS message,
           CASE WHEN o.own AND NOT n.alone THEN s.detail END AS detail,
           CASE WHEN n.alone THEN 'You might need to increase max_worker_processes.'
                WHEN o.own THEN s.hint END AS hint,
           CASE WHEN NOT n.alone THEN s.topic END AS topic,
           CASE WHEN n.alone THEN 'process' ELSE s.waits_for END AS waits_for, s.lsn,
           c.start_lsn, c.skip_lsn,
           pg_catalog.format('kafka_sink_feed_%s_%s', c.database_oid, c.id) AS slot_name,
           ARRAY(SELECT g.role::pg_catalog.text FROM kafka_sink.feed_grants g
                  WHERE g.feed OPERATOR(pg_catalog.=) c.feed ORDER BY 1) AS emitters,
           c.publication, c.topic AS table_topic, c.envelope,
           c.progress_topic, c.batch_records, c.batch_bytes, c.max_message_bytes, c.transaction_timeout, c.failover, c.copy_data,
           c.created_by, c.created_at, c.altered_by, c.altered_at
      FROM kafka_sink.feed_catalog c
      LEFT JOIN kafka_sink.feed_state s
        ON s.feed OPERATOR(pg_catalog.=) c.feed
       -- what is left of a worker that was there before these were switched off
       AND (kafka_sink.workers_off() IS NULL
        OR s.state OPERATOR(pg_catalog.=) ANY ('{suspended,halted}'::pg_catalog.text[])
        OR EXISTS (SELECT FROM kafka_sink.worker_stats() w
                    WHERE w.sink OPERATOR(pg_catalog.=) s.feed))
     CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(c.owner, 'USAGE') AS own) o
     CROSS JOIN (SELECT kafka_sink.unsupervised() AS since) u
      -- nobody is there who starts its worker
     CROSS JOIN LATERAL
           (SELECT u.since IS NOT NULL AND c.enabled
               AND COALESCE(s.state, '') OPERATOR(pg_catalog.<>) ALL ('{suspended,halted}'::pg_catalog.text[])
               AND NOT EXISTS (SELECT FROM kafka_sink.worker_stats() w
                                WHERE w.sink OPERATOR(pg_catalog.=) c.feed) AS alone) n
     WHERE o.own
        OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE');

COMMENT ON VIEW kafka_sink.feeds IS
'feeds whose owner''s privileges the current role has: definition, state, and the error that stopped it; for members of pg_read_all_stats all feeds, without messages';

CREATE VIEW kafka_sink.stat_feeds WITH (security_barrier) AS
    SELECT d.feed, w.pid, d.state, d.since, d.waits_for, d.sqlstate, d.lsn,
           w.started_at, w.transactions, w.records, w.bytes, w.forged, w.commits, w.cuts, w.commit_ms, w.last_commit,
           w.decoded_lsn, w.published_lsn, r.confirmed_flush_lsn AS confirmed_lsn,
           -- WAL that is not published yet, and that is kept for it
           GREATEST(pg_catalog.pg_wal_lsn_diff(e.lsn, w.published_lsn), 0) AS lag_bytes,
           GREATEST(pg_catalog.pg_wal_lsn_diff(e.lsn, r.restart_lsn), 0) AS retained_bytes,
           r.slot_name::pg_catalog.text AS slot_name, r.wal_status, r.safe_wal_size,
           w.copied_rows, t.copied AS copied_tables, t.waiting AS tables_to_copy
      -- whoever may see it
      FROM kafka_sink.feeds d
      LEFT JOIN kafka_sink.feed_stats() w ON w.feed OPERATOR(pg_catalog.=) d.feed
      LEFT JOIN pg_catalog.pg_replication_slots r ON r.slot_name::pg_catalog.text OPERATOR(pg_catalog.=) d.slot_name
     CROSS JOIN LATERAL
           (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                        ELSE pg_catalog.pg_current_wal_flush_lsn() END AS lsn) e
     CROSS JOIN LATERAL
           (SELECT pg_catalog.count(*) FILTER (WHERE f.state OPERATOR(pg_catalog.=) 'copied') AS copied,
                   pg_catalog.count(*) FILTER (WHERE f.state OPERATOR(pg_catalog.=) ANY ('{waiting,copying}'::pg_catalog.text[])) AS waiting
              FROM kafka_sink.feed_copies f WHERE f.feed OPERATOR(pg_catalog.=) d.feed) t;

COMMENT ON VIEW kafka_sink.stat_feeds IS
'one row a feed: state, counters since its worker started (NULL without a running worker), how far it is, and the WAL that its replication slot keeps';

GRANT SELECT ON kafka_sink.feeds, kafka_sink.stat_feeds TO PUBLIC;

-- what was said of these
COMMENT ON TYPE kafka_sink.record IS 'one Kafka record, as ingest() and emit() take it and peek() returns it';
COMMENT ON COLUMN kafka_sink.txn_offsets.applied IS 'records written to the target, or given to the command';
COMMENT ON COLUMN kafka_sink.txn_offsets.filtered IS 'records left out by the sink''s filter, tombstones left out by on_tombstone => ''ignore''';
COMMENT ON COLUMN kafka_sink.txn_offsets.unmatched IS 'records that changed no row: ON CONFLICT DO NOTHING, an update or delete of a missing row, update_if that is not true, a trigger that returned NULL';
COMMENT ON TABLE kafka_sink.topic_catalog IS 'topics registered with sinks; see the view kafka_sink.sink_topics';
COMMENT ON FUNCTION kafka_sink.pause(text) IS
'stops a sink''s workers after the batch at hand, or a feed''s worker, until resume()';
COMMENT ON FUNCTION kafka_sink.resume(text) IS
'lets a paused, halted or suspended sink, and all of its topics, go on from its stored offsets, or such a feed from its progress';
COMMENT ON PROCEDURE kafka_sink.wait_for(text, interval, jsonb) IS
'waits until the workers have applied all that is in Kafka now, or {"topic": {"0": 42}}; of a feed, until all that is committed now is in Kafka; 57014 after the timeout';
