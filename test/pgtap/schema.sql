-- What others build on: columns and types of tables and views, signatures of
-- functions, what a dump takes along, comments.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS kafka_sink;
SELECT plan(35);

SELECT results_eq(
    $$SELECT extnamespace::regnamespace::text, extrelocatable FROM pg_extension WHERE extname = 'kafka_sink'$$,
    $$VALUES ('kafka_sink', false)$$, 'the schema');

-- columns and types, in their order
CREATE FUNCTION pg_temp.columns_of(relation regclass) RETURNS TABLE (columns text)
LANGUAGE sql STABLE AS $$
    SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END,
                      ', ' ORDER BY attnum)
      FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped $$;

SELECT is(pg_temp.columns_of('kafka_sink.txn_offsets'),
    'sink text!, topic text!, part integer!, off bigint!, start_off bigint!, last_off bigint, last_hash bigint, '
    'topic_id uuid, consumed bigint!, applied bigint!, deleted bigint!, filtered bigint!, dead_lettered bigint!, '
    'ignored bigint!, superseded bigint!, unmatched bigint!, gaps bigint!, updated_at timestamp with time zone!',
    'txn_offsets');
SELECT col_is_pk('kafka_sink', 'txn_offsets', ARRAY['sink', 'topic', 'part'], 'its key');
SELECT results_eq($$SELECT count(*) FROM pg_index WHERE indrelid = 'kafka_sink.txn_offsets'::regclass$$, ARRAY[1::bigint],
    'and its only index, so that updates can be HOT');
SELECT results_eq(
    $$SELECT (SELECT option_value::int FROM pg_options_to_table(reloptions) WHERE option_name = 'fillfactor') <= 50
        FROM pg_class WHERE oid = 'kafka_sink.txn_offsets'::regclass$$, ARRAY[true], 'for which its pages have room');
SELECT is(pg_temp.columns_of('kafka_sink.offset_history'),
    'id bigint!, sink text!, owner regrole!, topic text!, part integer!, action text!, from_off bigint, until_off bigint!, role text!, '
    'at timestamp with time zone!', 'offset_history');
SELECT is(pg_temp.columns_of('kafka_sink.sink_history'),
    'id bigint!, sink text!, owner regrole!, action text!, topic text, old jsonb, new jsonb, role text!, session_role text!, '
    'at timestamp with time zone!', 'sink_history');
SELECT is(pg_temp.columns_of('kafka_sink.ddl_history'),
    'id bigint!, sink text!, owner regrole!, topic text!, part integer!, off bigint!, schema_id bigint, schema_guid uuid, statement text!, role text!, '
    'at timestamp with time zone!', 'ddl_history');
SELECT is(pg_temp.columns_of('kafka_sink.filled_columns'),
    'sink text!, topic text, relid oid!, attnum smallint!, name text!', 'filled_columns');
SELECT is(pg_temp.columns_of('kafka_sink.schemas'),
    'server text!, registry text!, id bigint, global_id bigint, guid uuid, type text!, schema text!, refs jsonb!, fetched_at timestamp with time zone!', 'schemas');
SELECT is(pg_temp.columns_of('kafka_sink.dead_letters'),
    'id bigint!, sink text!, topic text, part integer, off bigint, ts timestamp with time zone, key bytea, value bytea, '
    'headers kafka_sink.header[], sqlstate text!, message text!, column_name text, failed_at timestamp with time zone!', 'dead_letters');
SELECT col_is_pk('kafka_sink', 'dead_letters', 'id', 'its key');
SELECT is(pg_temp.columns_of('kafka_sink.sinks'),
    'sink text, owner regrole, server text, target regclass, topics text[], state text, since timestamp with time zone, '
    'sqlstate text, message text, detail text, hint text, topic text, part integer, off bigint, column_name text, waits_for text, halted_topics text[], '
    'insert_mode text, columns jsonb, pk_fields text[], format text, key_format text, delete_enabled boolean, '
    'on_tombstone text, on_error text, on_nul text, on_nonfinite text, isolation_level text, synchronous_commit text, '
    'batch_records integer, batch_bytes integer, batch_linger_ms integer, max_record_bytes integer, workers integer, command text, value_type regtype, filter text, update_if text, accumulate jsonb, '
    'reject_limit text, dead_letter_retention interval, '
    'envelope text, csv_delimiter text, csv_quote text, csv_null text, strict boolean, retry_within interval, '
    'on_topic_error text, lock_timeout interval, idle_after interval, statistics_interval interval, '
    'created_by text, created_at timestamp with time zone, altered_by text, altered_at timestamp with time zone, '
    'value_schema text, key_schema text, framing text, message_type text, validate boolean, evolve text', 'sinks');
SELECT is(pg_temp.columns_of('kafka_sink.sink_topics'),
    'sink text, topic text, partitions text, start_at text, cluster_id text, target regclass, insert_mode text, columns jsonb, '
    'pk_fields text[], filter text, update_if text, accumulate jsonb, own_target boolean, state text, since timestamp with time zone, '
    'sqlstate text, message text, detail text, hint text, part integer, off bigint, column_name text, '
    'value_schema text, key_schema text, framing text, message_type text, validate boolean, evolve text', 'sink_topics');
SELECT is(pg_temp.columns_of('kafka_sink.lag'),
    'sink text, topic text, part integer, off bigint, end_offset bigint, lag bigint, high_watermark bigint, '
    'open_transaction_lag bigint, updated_at timestamp with time zone, as_of timestamp with time zone', 'lag');
SELECT is(pg_temp.columns_of('kafka_sink.stat_sinks'),
    'sink text, worker integer, pid integer, state text, since timestamp with time zone, waits_for text, sqlstate text, message text, '
    'started_at timestamp with time zone, batches bigint, records bigint, bytes bigint, fast_batches bigint, retries bigint, '
    'guard_mismatches bigint, redelivered bigint, wait_ms double precision, fetch_ms double precision, '
    'decode_ms double precision, apply_ms double precision, index_ms double precision, commit_ms double precision, '
    'first_record timestamp with time zone, last_commit timestamp with time zone, rss_anon_peak bigint', 'stat_sinks');
SELECT is(pg_temp.columns_of('kafka_sink.stat_partitions'),
    'sink text, topic text, part integer, off bigint, start_off bigint, low_watermark bigint, end_offset bigint, '
    'high_watermark bigint, consumed bigint, applied bigint, deleted bigint, filtered bigint, dead_lettered bigint, '
    'ignored bigint, superseded bigint, unmatched bigint, gaps bigint, redelivered bigint, tail_check text, '
    'updated_at timestamp with time zone, as_of timestamp with time zone', 'stat_partitions');
SELECT is(pg_temp.columns_of('kafka_sink.feeds'),
    'feed text, owner regrole, server text, state text, since timestamp with time zone, sqlstate text, message text, detail text, hint text, '
    'topic text, waits_for text, lsn pg_lsn, start_lsn pg_lsn, skip_lsn pg_lsn, slot_name text, emitters text[], publication text, table_topic text, envelope text, progress_topic text, batch_records integer, '
    'batch_bytes integer, max_message_bytes integer, transaction_timeout interval, failover boolean, copy_data boolean, created_by text, created_at timestamp with time zone, '
    'altered_by text, altered_at timestamp with time zone', 'feeds');
SELECT is(pg_temp.columns_of('kafka_sink.stat_feeds'),
    'feed text, pid integer, state text, since timestamp with time zone, waits_for text, sqlstate text, lsn pg_lsn, started_at timestamp with time zone, '
    'transactions bigint, records bigint, bytes bigint, forged bigint, commits bigint, cuts bigint, commit_ms double precision, '
    'last_commit timestamp with time zone, decoded_lsn pg_lsn, published_lsn pg_lsn, confirmed_lsn pg_lsn, lag_bytes numeric, '
    'retained_bytes numeric, slot_name text, wal_status text, safe_wal_size bigint, copied_rows bigint, copied_tables bigint, '
    'tables_to_copy bigint', 'stat_feeds');
SELECT is(pg_temp.columns_of('kafka_sink.feed_progress'),
    'feed text!, lsn pg_lsn!, xid bigint!, transactions bigint!, records bigint!, read_at timestamp with time zone!', 'feed_progress');
SELECT is(pg_temp.columns_of('kafka_sink.feed_copies'),
    'feed text!, relation regclass!, id bigint!, state text!, rows bigint!, message text, added_at timestamp with time zone!, '
    'copied_at timestamp with time zone, stopped_at text, skip_at text', 'feed_copies');
SELECT is(pg_temp.columns_of('kafka_sink.record'),
    'topic text, part integer, off bigint, ts timestamp with time zone, key bytea, value bytea, headers kafka_sink.header[]',
    'type record');
SELECT is(pg_temp.columns_of('kafka_sink.header'), 'name text, value bytea', 'type header');
SELECT is(pg_temp.columns_of('kafka_sink.batch_result'),
    'consumed bigint, applied bigint, deleted bigint, filtered bigint, dead_lettered bigint, ignored bigint, '
    'superseded bigint, unmatched bigint', 'type batch_result');

-- signatures
SELECT set_eq(
    $$SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')'
        FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'kafka_sink'
       WHERE d.deptype = 'e' AND p.proname NOT IN ('create_sink', 'alter_sink', 'worker_stats', 'partition_stats', 'feed_stats',
             'validate_options', 'lock_waits', 'is_home', 'restore_dump', 'dumped')$$,
    ARRAY[
        'drop_sink(sink text, if_exists boolean DEFAULT false)',
        'create_feed(feed text, server text DEFAULT NULL::text, publication text DEFAULT NULL::text, topic text DEFAULT ''{schema}.{table}''::text, envelope text DEFAULT ''none''::text, progress_topic text DEFAULT ''kafka_sink.progress''::text, batch_records integer DEFAULT 50000, batch_bytes integer DEFAULT 16777216, max_message_bytes integer DEFAULT 1000000, transaction_timeout interval DEFAULT ''00:01:00''::interval, failover boolean DEFAULT false, copy_data boolean DEFAULT false, enabled boolean DEFAULT true, settings jsonb DEFAULT NULL::jsonb, if_not_exists boolean DEFAULT false)',
        'alter_feed(feed text, server text DEFAULT NULL::text, publication text DEFAULT NULL::text, topic text DEFAULT NULL::text, envelope text DEFAULT NULL::text, progress_topic text DEFAULT NULL::text, batch_records integer DEFAULT NULL::integer, batch_bytes integer DEFAULT NULL::integer, max_message_bytes integer DEFAULT NULL::integer, transaction_timeout interval DEFAULT NULL::interval, failover boolean DEFAULT NULL::boolean, copy_data boolean DEFAULT NULL::boolean, reset text[] DEFAULT NULL::text[], owner regrole DEFAULT NULL::regrole, settings jsonb DEFAULT NULL::jsonb)',
        'drop_feed(feed text, if_exists boolean DEFAULT false)',
        'skip(feed text, lsn pg_lsn)',
        'grant_emit(feed text, role regrole)',
        'revoke_emit(feed text, role regrole)',
        'emit(feed text, topic text, key text, value text, headers jsonb DEFAULT NULL::jsonb, part integer DEFAULT NULL::integer)',
        'emit(feed text, topic text, key text, value jsonb, headers jsonb DEFAULT NULL::jsonb, part integer DEFAULT NULL::integer)',
        'emit(feed text, topic text, key bytea, value bytea, headers jsonb DEFAULT NULL::jsonb, part integer DEFAULT NULL::integer)',
        'emit(feed text, record kafka_sink.record)',
        'rename_sink(sink text, new_name text)',
        'register_topic(sink text, topic text, partitions text DEFAULT NULL::text, start_at text DEFAULT ''earliest''::text, target regclass DEFAULT NULL::regclass, insert_mode text DEFAULT NULL::text, columns jsonb DEFAULT NULL::jsonb, pk_fields text[] DEFAULT NULL::text[], filter text DEFAULT NULL::text, update_if text DEFAULT NULL::text, accumulate jsonb DEFAULT NULL::jsonb, value_schema text DEFAULT NULL::text, key_schema text DEFAULT NULL::text, framing text DEFAULT NULL::text, message_type text DEFAULT NULL::text, validate boolean DEFAULT NULL::boolean, evolve text DEFAULT NULL::text, if_not_exists boolean DEFAULT false)',
        'alter_topic(sink text, topic text, target regclass DEFAULT NULL::regclass, insert_mode text DEFAULT NULL::text, columns jsonb DEFAULT NULL::jsonb, pk_fields text[] DEFAULT NULL::text[], filter text DEFAULT NULL::text, update_if text DEFAULT NULL::text, accumulate jsonb DEFAULT NULL::jsonb, value_schema text DEFAULT NULL::text, key_schema text DEFAULT NULL::text, framing text DEFAULT NULL::text, message_type text DEFAULT NULL::text, validate boolean DEFAULT NULL::boolean, evolve text DEFAULT NULL::text, reset text[] DEFAULT NULL::text[])',
        'unregister_topic(sink text, topic text, if_exists boolean DEFAULT false)',
        'pause(sink text)',
        'resume(sink text)',
        'resume(sink text, topic text)',
        'lag(sink text, refresh boolean, timeout interval DEFAULT ''00:00:10''::interval, OUT sink text, OUT topic text, OUT part integer, OUT off bigint, OUT end_offset bigint, OUT lag bigint, OUT high_watermark bigint, OUT open_transaction_lag bigint, OUT updated_at timestamp with time zone, OUT as_of timestamp with time zone)',
        'seek(sink text, "to" text)',
        'skip(sink text, topic text, part integer, off bigint)',
        'skip(sink text)',
        'pause(IN sink text, IN wait boolean, IN timeout interval DEFAULT NULL::interval)',
        'sink_definition(sink text)',
        'unsupervised()',
        'workers_off()',
        'accept_gap(sink text)',
        'accept_gap(sink text, topic text, part integer, from_off bigint, until_off bigint)',
        'claim(sink text, topic text, part bigint, from_off bigint, until_off bigint, records bigint DEFAULT NULL::bigint, start_at bigint DEFAULT NULL::bigint)',
        'claim(sink text, ranges jsonb)',
        'claim(sink text, ranges text)',
        'claim_range(IN sink text, IN topic text, IN part bigint, IN from_off bigint, IN until_off bigint, IN records bigint DEFAULT NULL::bigint, IN start_at bigint DEFAULT NULL::bigint, INOUT apply_from bigint DEFAULT NULL::bigint)',
        'claim_ranges(IN sink text, IN ranges jsonb, INOUT apply_from jsonb DEFAULT NULL::jsonb)',
        'claim_ranges(IN sink text, IN ranges text, INOUT apply_from jsonb DEFAULT NULL::jsonb)',
        'advance_range(IN sink text, IN topic text, IN part bigint, IN from_off bigint, IN until_off bigint)',
        'advance(sink text, topic text, part bigint, from_off bigint, until_off bigint)',
        'starting_offsets(sink text, format text DEFAULT ''spark''::text, topic text DEFAULT NULL::text, refresh boolean DEFAULT false)',
        'ingest(sink text, records kafka_sink.record[])',
        'retry_dead_letters(sink text, "where" text DEFAULT NULL::text)',
        'discard_dead_letters(sink text, "where" text DEFAULT NULL::text)',
        'run(IN sink text, IN until jsonb DEFAULT NULL::jsonb, IN max_records bigint DEFAULT NULL::bigint, IN timeout interval DEFAULT NULL::interval)',
        'wait_for(IN sink text, IN timeout interval DEFAULT ''00:01:00''::interval, IN until jsonb DEFAULT NULL::jsonb)',
        'schema(server text, id bigint, global boolean DEFAULT false)',
        'schema(server text, guid uuid)',
        'add_schema(server text, id bigint, type text, schema text, refs jsonb DEFAULT ''[]''::jsonb)',
        'add_schema(server text, guid uuid, type text, schema text, refs jsonb DEFAULT ''[]''::jsonb)',
        'drop_schema(server text, id bigint)',
        'drop_schema(server text, guid uuid)',
        'decode(server text, data bytea, header bytea DEFAULT NULL::bytea, framing text DEFAULT ''auto''::text)',
        'describe(server text DEFAULT NULL::text, topic text DEFAULT NULL::text, table_name text DEFAULT NULL::text, value_subject text DEFAULT NULL::text, key_subject text DEFAULT NULL::text, value_schema text DEFAULT NULL::text, key_schema text DEFAULT NULL::text, format text DEFAULT ''avro''::text, message_type text DEFAULT NULL::text)',
        'topics(server text, timeout interval DEFAULT ''00:00:10''::interval, OUT topic text, OUT partitions integer, OUT replicas integer, OUT error text)',
        'peek(server text, topic text, part integer, from_off bigint DEFAULT NULL::bigint, until_off bigint DEFAULT NULL::bigint, max_records integer DEFAULT 100, timeout interval DEFAULT ''00:00:10''::interval)',
        'preview(sink text, n integer DEFAULT 10, timeout interval DEFAULT ''00:00:10''::interval, OUT topic text, OUT part integer, OUT off bigint, OUT outcome text, OUT "row" jsonb, OUT sqlstate text, OUT message text, OUT detail text, OUT column_name text)'],
    'functions and procedures');
SELECT results_eq($$SELECT DISTINCT pg_get_function_result(oid) FROM pg_proc WHERE proname = 'claim' ORDER BY 1$$,
    $$VALUES ('TABLE(topic text, part integer, apply_from bigint, until_off bigint)'), ('bigint')$$, 'what claims return');

-- every setting that can be made can be changed, and has the same type
SELECT is((SELECT proargnames[2:] FROM pg_proc WHERE oid = 'kafka_sink.alter_sink'::regproc),
    (SELECT proargnames[2:array_position(proargnames, 'enabled') - 1] || '{reset,owner,settings}'::text[] FROM pg_proc WHERE oid = 'kafka_sink.create_sink'::regproc),
    'alter_sink has the settings of create_sink');
SELECT is((SELECT (proargtypes::oid[])[0:32] FROM pg_proc WHERE oid = 'kafka_sink.alter_sink'::regproc),
    (SELECT (proargtypes::oid[])[0:32] FROM pg_proc WHERE oid = 'kafka_sink.create_sink'::regproc), 'of the same types');
SELECT is((SELECT proargnames[2:] FROM pg_proc WHERE oid = 'kafka_sink.alter_feed'::regproc),
    (SELECT proargnames[2:array_position(proargnames, 'enabled') - 1] || '{reset,owner,settings}'::text[] FROM pg_proc WHERE oid = 'kafka_sink.create_feed'::regproc),
    'alter_feed has the settings of create_feed');
SELECT set_eq(
    $$SELECT setting FROM (SELECT unnest(proargnames[2:]) FROM pg_proc WHERE oid = 'kafka_sink.create_sink'::regproc) s (setting)
       WHERE setting NOT IN ('enabled', 'settings', 'if_not_exists')$$,
    $$SELECT attname::text FROM pg_attribute WHERE attrelid = 'kafka_sink.sinks'::regclass AND attnum > 0
         AND (attname IN ('server', 'target') OR attnum >= (SELECT a.attnum FROM pg_attribute a
              WHERE a.attrelid = 'kafka_sink.sinks'::regclass AND a.attname = 'insert_mode'))
         AND attname NOT IN ('created_by', 'created_at', 'altered_by', 'altered_at')$$,
    'and the view sinks shows them all');

-- a dump takes along what cannot be made again
SELECT results_eq(
    $$SELECT unnest(extconfig)::regclass::text, unnest(extcondition) COLLATE "C" FROM pg_extension WHERE extname = 'kafka_sink'$$,
    $$VALUES ('kafka_sink.dump', 'WHERE false UNION ALL SELECT d.relation, d.data FROM kafka_sink.dumped() d' COLLATE "C")$$,
    'what is dumped is what dumped() returns');
SELECT is_empty(
    $$SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'kafka_sink'::regnamespace AND relkind = 'r' AND relname NOT IN ('dump', 'schemas', 'feed_secrets', 'feed_copies')
         AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname IN ('sink', 'feed'))
         AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'owner' AND atttypid = 'regrole'::regtype)$$,
    'which knows of each row whose it is');

-- comments
SELECT is_empty(
    $$SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
        FROM pg_depend d JOIN pg_extension e
          ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'kafka_sink'
        LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
        LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
       WHERE d.deptype = 'e' AND obj_description(d.objid, d.classid::regclass::name) IS NULL
         -- types of relations and of arrays, and what belongs to a column
         AND (c.oid IS NULL OR c.relkind <> 'S')
         AND (t.oid IS NULL OR (t.typelem = 0 AND (t.typrelid = 0 OR
              (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c')))$$,
    'every object has a comment');
SELECT is_empty(
    $$SELECT attname FROM pg_attribute a WHERE attrelid = 'kafka_sink.txn_offsets'::regclass AND attnum > 0
         AND attname NOT IN ('sink', 'topic', 'part') AND col_description(attrelid, attnum) IS NULL$$,
    'so does every column of txn_offsets');
SELECT is_empty(
    $$SELECT attname FROM pg_attribute a WHERE attrelid = 'kafka_sink.dead_letters'::regclass AND attnum > 0
         AND col_description(attrelid, attnum) IS NULL$$,
    'and of dead_letters');

SELECT * FROM finish();
ROLLBACK;
