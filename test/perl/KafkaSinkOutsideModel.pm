
=head1 NAME

KafkaSinkOutsideModel - batches by ordinary statements, and what may differ

=head1 SYNOPSIS

  print KafkaSinkOutsideModel::sink_setup();     # where the sink is
  print KafkaSinkOutsideModel::model_setup();    # where the model is
  my $seen = KafkaSinkOutsideModel::parse($output);
  my @wrong = KafkaSinkOutsideModel::differences($case, \%seen);

Part of L<KafkaSinkOutside>.  The model knows nothing of kafka_sink and is in a
database of its own.  It applies the records of a batch one at a time, in their
order, by plain INSERT, INSERT ... ON CONFLICT, UPDATE or DELETE, each undone if
it fails, and says what should have become of them.

A batch of a sink is a set, so some of it is not as one record at a time has it.
All that the model grants:

=over

=item last of a key

Where a batch writes the last record of a key only, those before it are
C<superseded>, refused or not.  If a record is refused, the batch is searched in
pieces, and those before the last of a key may be tried after all; and so it is
if a statement fails by the order of its rows.  Whether a
delete has found a row is asked of what was there before the batch.  (C<may> in
C<model.expect()>.)

=item order of a statement

Unique values that one row gives up and another takes, and foreign keys within the
batch, are looked at in the order of the statement, or at its end: the model is
told which records were refused (C<hints>), tries those that it could not take once
more behind the others, and looks at constraints in the end.  Each record that was
refused must have been refused for a reason: by itself, or beside all those that
were taken.  But for a unique value that is taken too early, and for deletes, whose
place decides.  (C<crosses>.)

=item deferred constraints

The caller of ingest() looks at them: a batch that leaves what is not allowed is
refused as a whole, by any of the constraints that are deferred: which is looked at
first is not the batch's business, and the model's foreign keys wait longer than the
sink's.  (C<model.late()>.)

=item what stops the sink

Records before it that need what is behind it are not applied before it is passed
over, but beside what is behind it.  (C<test.feed()>.)

=item the pieces of a value

Which SQLSTATE of class 22 refuses an array or a composite value is JSON's
business, which the model leaves to json_to_record; a literal for a C<bit(n)> is
read before its length is looked at.  (C<loose>.)

=back

=cut

package KafkaSinkOutsideModel;

use strict;
use warnings FATAL => 'all';

sub sink_setup
{
	return <<'EOF';
CREATE SCHEMA test;
CREATE TABLE test.recs (n int PRIMARY KEY, topic text, part int, off bigint, key bytea, value bytea);

-- Gives records to the sink; with one that is refused behind them, if that is
-- said.  What became of it is not counted.
CREATE FUNCTION test.ingest(s text, lo int, hi int, poison text, rejected text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE p record; recs kafka_sink.record[]; result jsonb; c text;
BEGIN
    FOR p IN SELECT o.topic, o.part, o.off, min(r.off) AS first FROM test.recs r JOIN kafka_sink.txn_offsets o ON o.sink = s AND (o.topic, o.part) = (r.topic, r.part)
              WHERE r.n BETWEEN lo AND hi GROUP BY 1, 2, 3 HAVING min(r.off) > o.off LOOP
        PERFORM kafka_sink.accept_gap(s, p.topic, p.part, p.off, p.first);
    END LOOP;
    recs := ARRAY(SELECT ROW(topic, part, off, NULL, key, value, NULL)::kafka_sink.record FROM test.recs WHERE n BETWEEN lo AND hi ORDER BY n);
    IF poison IS NOT NULL THEN
        recs := recs || ROW('t', 9, (SELECT off FROM kafka_sink.txn_offsets WHERE sink = s AND topic = 't' AND part = 9), NULL, NULL, convert_to(poison, 'UTF8'), NULL)::kafka_sink.record;
    END IF;
    result := to_jsonb(kafka_sink.ingest(s, recs));
    BEGIN
        SET CONSTRAINTS ALL IMMEDIATE;
    EXCEPTION WHEN OTHERS THEN
        RAISE 'late %', sqlstate USING ERRCODE = 'LATE0';
    END;
    -- the rest of the transaction with the modes that it began with
    c := (SELECT string_agg(format('%s.%I', connamespace::regnamespace, conname), ', ') FROM pg_constraint
           WHERE condeferred AND connamespace = current_schema()::regnamespace);
    IF c IS NOT NULL THEN EXECUTE format('SET CONSTRAINTS %s DEFERRED', c); END IF;
    IF poison IS NOT NULL THEN
        FOREACH c IN ARRAY ARRAY['consumed', rejected] LOOP
            result := jsonb_set(result, ARRAY[c], to_jsonb((result->>c)::int - 1));
        END LOOP;
    END IF;
    RETURN result;
END$$;

-- Records [lo, hi] as a batch, past those that stop the sink.  What is before one
-- of these is a batch of its own; if that needs what is behind it, what is before
-- the first that does, and the rest goes with what is behind.  "rows": in a way that
-- takes them one by one.
CREATE FUNCTION test.feed(s text, lo int, hi int, way text, poison text, on_error text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    e int; k int; state text; why text; message text; context text; result jsonb; bad test.recs; failed test.recs; seen bigint;
    singly boolean := way = 'rows' AND poison IS NULL;
    rejected text := CASE on_error WHEN 'dead_letter' THEN 'dead_lettered' ELSE 'ignored' END;
BEGIN
    IF way <> 'rows' OR on_error = 'stop' THEN poison := NULL; END IF;
    SELECT coalesce(max(id), 0) INTO seen FROM kafka_sink.dead_letters WHERE sink = s;
    WHILE lo <= hi LOOP
        e := CASE WHEN singly THEN lo ELSE hi END;
        bad := NULL;
        WHILE lo <= e LOOP
            BEGIN
                result := test.ingest(s, lo, e, poison, rejected);
                RETURN NEXT format('step %s %s %s', lo, e, result);
                EXIT;
            EXCEPTION WHEN SQLSTATE 'LATE0' THEN
                RETURN NEXT format('late %s %s %s', lo, e, right(sqlerrm, 5));
                EXIT;
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT;
                k := substring(context FROM 'sink "[^"]*", record (\d+)')::int;
                IF k IS NULL OR on_error <> 'stop' THEN
                    RETURN NEXT format('halt %s %s %s', lo, state, message);
                    RETURN;
                END IF;
                SELECT * INTO STRICT failed FROM test.recs WHERE n BETWEEN lo AND e ORDER BY n OFFSET k - 1 LIMIT 1;
                IF bad.n IS NULL THEN
                    bad := failed;
                    why := state;
                END IF;
                e := failed.n - 1;
            END;
        END LOOP;
        IF bad.n IS NOT NULL THEN
            -- not over what is before it: then it is one that the log has lost
            IF e = bad.n - 1 THEN
                PERFORM kafka_sink.accept_gap(s, bad.topic, bad.part, o.off, bad.off) FROM kafka_sink.txn_offsets o
                  WHERE o.sink = s AND (o.topic, o.part) = (bad.topic, bad.part) AND o.off < bad.off;
                PERFORM kafka_sink.skip(s, bad.topic, bad.part, bad.off);
            END IF;
            DELETE FROM test.recs WHERE n = bad.n;
            RETURN NEXT format('stop %s %s', bad.n, why);
        END IF;
        lo := coalesce((SELECT min(n) FROM test.recs WHERE n > e AND n <= hi), hi + 1);
    END LOOP;
    RETURN QUERY SELECT CASE WHEN (d.key, d.value) IS NOT DISTINCT FROM (r.key, r.value) THEN format('reject %s %s', r.n, d.sqlstate)
                             ELSE format('halt dead letter %s is of another record', d.id) END
      FROM kafka_sink.dead_letters d LEFT JOIN test.recs r USING (topic, part, off) WHERE d.sink = s AND d.id > seen AND d.part <> 9 ORDER BY d.id;
END$$;
EOF
}

sub model_setup
{
	return <<'EOF';
CREATE SCHEMA model;
CREATE TABLE model.route (
    topic text PRIMARY KEY, tab regclass, mode text, key text[], filled text[], folds jsonb, update_if text,
    alone boolean,              -- ONLY
    superseding boolean, crosses boolean,
    keyed boolean,              -- each row must have a key
    filter text);
CREATE TABLE model.recs (
    n int PRIMARY KEY, topic text, op text, state text, decoded boolean, loose boolean, fields text,
    outcome text, got text, hint text, existed boolean, overtaken boolean DEFAULT false, may text[]);

-- A JSON value as an expression for a column.
CREATE FUNCTION model.value(tab regclass, col text, v json) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN v IS NULL OR json_typeof(v) = 'null' THEN 'NULL'
                WHEN b.oid IN ('json'::regtype, 'jsonb'::regtype) THEN quote_literal(v::text)
                WHEN (b.typcategory = 'A' OR b.typtype = 'c') AND json_typeof(v) IN ('array', 'object')
                THEN format('(SELECT x.v FROM json_to_record(%L) AS x(v %s))', json_build_object('v', v), format_type(a.atttypid, a.atttypmod))
                ELSE quote_literal(v #>> '{}') END
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
     WHERE a.attrelid = tab AND a.attname = col$$;

-- Keys by record, and what a filter sees, in columns of their types.
CREATE FUNCTION model.begin() RETURNS void LANGUAGE plpgsql AS $$
DECLARE w model.route;
BEGIN
    FOR w IN SELECT * FROM model.route WHERE key <> '{}' LOOP
        EXECUTE format('CREATE TABLE keys_%s AS SELECT 0 AS n, %s FROM %s WITH NO DATA', w.topic, (SELECT string_agg(quote_ident(c), ', ') FROM unnest(w.key) c), w.tab);
    END LOOP;
    FOR w IN SELECT * FROM model.route WHERE filter IS NOT NULL LOOP
        EXECUTE format('CREATE TABLE values_%s AS SELECT %s FROM %s WITH NO DATA', w.topic, (SELECT string_agg(quote_ident(c), ', ') FROM unnest(w.filled) c), w.tab);
    END LOOP;
END$$;

-- Is the record left out?  Errors, if it cannot be converted.
CREATE FUNCTION model.is_filtered(r model.recs, w model.route) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE f json := r.fields::json; given text[] := ARRAY(SELECT c FROM unnest(w.filled) c WHERE (f->c) IS NOT NULL); passes boolean;
BEGIN
    EXECUTE format('DELETE FROM values_%s', w.topic);
    EXECUTE CASE WHEN given = '{}' THEN format('INSERT INTO values_%s DEFAULT VALUES', w.topic)
        ELSE format('INSERT INTO values_%s (%s) VALUES (%s)', w.topic, (SELECT string_agg(quote_ident(c), ', ' ORDER BY o) FROM unnest(given) WITH ORDINALITY u (c, o)),
                    (SELECT string_agg(model.value(w.tab, c, f->c), ', ' ORDER BY o) FROM unnest(given) WITH ORDINALITY u (c, o))) END;
    EXECUTE format('SELECT %s FROM values_%s', w.filter, w.topic) INTO passes;
    RETURN passes IS NOT TRUE;
END$$;

CREATE FUNCTION model.note_key(r model.recs) RETURNS void LANGUAGE plpgsql AS $$
DECLARE w model.route; f json := r.fields::json;
BEGIN
    SELECT * INTO w FROM model.route WHERE topic = r.topic;
    IF w.key = '{}' THEN RETURN; END IF;
    EXECUTE format('INSERT INTO keys_%s SELECT %s, %s WHERE NOT EXISTS (SELECT FROM keys_%s WHERE n = %s)', w.topic, r.n,
                   (SELECT string_agg(format('(SELECT %s)', model.cast_value(w.tab, c, f->c)), ', ' ORDER BY o) FROM unnest(w.key) WITH ORDINALITY u (c, o)), w.topic, r.n);
END$$;

-- The same where it is not assigned: with the type, but not cut to it.
CREATE FUNCTION model.cast_value(tab regclass, col text, v json) RETURNS text LANGUAGE sql AS $$
    SELECT format('CAST(%s AS %s)', model.value(tab, col, v), format_type(atttypid, CASE atttypid WHEN 'numeric'::regtype THEN atttypmod ELSE -1 END))
      FROM pg_attribute WHERE attrelid = tab AND attname = col$$;

CREATE FUNCTION model.is_there(r model.recs) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE w model.route; found boolean;
BEGIN
    SELECT * INTO w FROM model.route WHERE topic = r.topic;
    IF w.key = '{}' THEN RETURN NULL; END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s%s t JOIN keys_%s USING (%s) WHERE n = %s)', CASE WHEN w.alone THEN 'ONLY ' END, w.tab, w.topic,
                   (SELECT string_agg(quote_ident(c), ', ') FROM unnest(w.key) c), r.n) INTO found;
    RETURN found;
END$$;

-- What a record does, as a statement of its own.
CREATE FUNCTION model.statement(r model.recs, w model.route) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    f json := r.fields::json;
    given text[] := ARRAY(SELECT c FROM unnest(w.filled) c WHERE (f->c) IS NOT NULL);
    whole text := (SELECT string_agg(format('t.%1$I = k.%1$I', c), ' AND ') FROM unnest(w.key) c);
    others text[] := ARRAY(SELECT c FROM unnest(w.filled) c WHERE c <> ALL (w.key));
    sets text; keys text := (SELECT string_agg(quote_ident(c), ', ') FROM unnest(w.key) c);
    sql text;
BEGIN
    IF r.op = 'delete' THEN
        RETURN format('DELETE FROM %s%s t USING keys_%s k WHERE k.n = %s AND %s', CASE WHEN w.alone THEN 'ONLY ' END, w.tab, w.topic, r.n, whole);
    END IF;
    IF w.mode = 'update' THEN
        SELECT string_agg(format('%I = %s', c, model.value(w.tab, c, f->c)), ', ') INTO sets FROM unnest(given) c WHERE c <> ALL (w.key);
        RETURN format('UPDATE %s%s t SET %s FROM keys_%s k WHERE k.n = %s AND %s', CASE WHEN w.alone THEN 'ONLY ' END, w.tab,
                      coalesce(sets, (SELECT format('%1$I = t.%1$I', w.key[1]))), w.topic, r.n, whole);
    END IF;
    IF w.mode = 'accumulate' THEN
        RETURN format('INSERT INTO %s AS t (%s) VALUES (%s) ON CONFLICT (%s) DO UPDATE SET %s', w.tab,
            (SELECT string_agg(quote_ident(c), ', ' ORDER BY o) FROM unnest(w.filled) WITH ORDINALITY u (c, o)),
            (SELECT string_agg(CASE w.folds->>c WHEN 'count' THEN '1' ELSE model.value(w.tab, c, f->c) END, ', ' ORDER BY o) FROM unnest(w.filled) WITH ORDINALITY u (c, o)), keys,
            (SELECT string_agg(format(CASE w.folds->>c WHEN 'count' THEN '%1$I = coalesce(t.%1$I + 1, 1)'
                                      WHEN 'sum' THEN '%1$I = coalesce(t.%1$I + EXCLUDED.%1$I, t.%1$I, EXCLUDED.%1$I)'
                                      WHEN 'min' THEN '%1$I = least(t.%1$I, EXCLUDED.%1$I)' WHEN 'max' THEN '%1$I = greatest(t.%1$I, EXCLUDED.%1$I)'
                                      WHEN 'first' THEN '%1$I = coalesce(t.%1$I, EXCLUDED.%1$I)' ELSE '%1$I = coalesce(EXCLUDED.%1$I, t.%1$I)' END, c), ', ') FROM unnest(others) c));
    END IF;
    sql := CASE WHEN given = '{}' THEN format('INSERT INTO %s AS t DEFAULT VALUES', w.tab)
           ELSE format('INSERT INTO %s AS t (%s) OVERRIDING SYSTEM VALUE VALUES (%s)', w.tab, (SELECT string_agg(quote_ident(c), ', ' ORDER BY o) FROM unnest(given) WITH ORDINALITY u (c, o)),
                       (SELECT string_agg(model.value(w.tab, c, f->c), ', ' ORDER BY o) FROM unnest(given) WITH ORDINALITY u (c, o))) END;
    RETURN sql || CASE w.mode WHEN 'ignore' THEN ' ON CONFLICT DO NOTHING'
        WHEN 'upsert' THEN format(' ON CONFLICT (%s) DO UPDATE SET %s%s', keys, (SELECT string_agg(format('%1$I = EXCLUDED.%1$I', c), ', ') FROM unnest(others) c), ' WHERE ' || w.update_if)
        ELSE '' END;
END$$;

CREATE FUNCTION model.check_values(tab regclass, f json, filled text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c text;
BEGIN
    FOR c IN SELECT u FROM unnest(filled) u WHERE (f->u) IS NOT NULL LOOP
        EXECUTE 'SELECT ' || model.cast_value(tab, c, f->c);
    END LOOP;
END$$;

CREATE FUNCTION model.apply(r model.recs) RETURNS text LANGUAGE plpgsql AS $$
DECLARE w model.route; changed bigint; nothing boolean;
BEGIN
    SELECT * INTO STRICT w FROM model.route WHERE topic = r.topic;
    IF w.filter IS NOT NULL AND r.op = 'write' AND model.is_filtered(r, w) THEN
        RETURN 'filtered';
    END IF;
    IF r.op = 'delete' OR w.keyed THEN
        PERFORM model.note_key(r);
        EXECUTE format('SELECT %s FROM keys_%s WHERE n = %s', (SELECT string_agg(format('%I IS NULL', c), ' OR ') FROM unnest(w.key) c), w.topic, r.n) INTO nothing;
        IF nothing THEN
            -- (what cannot be converted comes first)
            RAISE 'null key' USING ERRCODE = '23502';
        END IF;
    END IF;
    IF w.mode = 'update' AND r.op = 'write' THEN
        -- what a record holds is looked at if there is no row, too
        PERFORM model.check_values(w.tab, r.fields::json, w.filled);
    END IF;
    EXECUTE model.statement(r, w);
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN CASE WHEN changed = 0 THEN 'unmatched' WHEN r.op = 'delete' THEN 'deleted' ELSE 'applied' END;
END$$;

-- Applies a record, if it can; NULL, or why not.
CREATE FUNCTION model.attempt(i int, keep boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r model.recs; became text;
BEGIN
    SELECT * INTO STRICT r FROM model.recs WHERE n = i;
    IF r.op = 'error' THEN RETURN r.state; END IF;
    became := model.apply(r);
    IF NOT keep THEN RAISE 'undo' USING ERRCODE = 'UNDO0'; END IF;
    UPDATE model.recs SET outcome = became, got = NULL WHERE n = i;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN nullif(sqlstate, 'UNDO0');
END$$;

-- Is it refused by what the sink says?
CREATE FUNCTION model.same(r model.recs, crosses boolean, a text, b text) RETURNS boolean LANGUAGE sql AS $$
    SELECT a = b OR r.loose AND left(a, 2) = '22' AND left(b, 2) = '22' OR crosses AND left(a, 2) IN ('23', 'P0') AND left(b, 2) IN ('23', 'P0')$$;

-- Which records have a later one of their key behind them.
CREATE FUNCTION model.overtake(lo int, hi int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE w model.route;
BEGIN
    FOR w IN SELECT * FROM model.route WHERE superseding LOOP
        EXECUTE format('UPDATE model.recs r SET overtaken = EXISTS (SELECT FROM keys_%1$s a JOIN keys_%1$s b USING (%2$s) JOIN model.recs l ON l.n = b.n
                            WHERE a.n = r.n AND b.n > r.n AND b.n <= %3$s AND (l.op = ''delete'' OR l.op = ''write'' AND %4$L = ''upsert'') AND l.outcome NOT IN (''rejected'', ''filtered''))
                         WHERE topic = %5$L AND n BETWEEN %6$s AND %3$s', w.topic, (SELECT string_agg(quote_ident(c), ', ') FROM unnest(w.key) c), hi, w.mode, w.topic, lo);
    END LOOP;
END$$;

-- What may become of each record of a batch.
CREATE FUNCTION model.expect(lo int, hi int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE w model.route; searched boolean;
BEGIN
    searched := EXISTS (SELECT FROM model.recs WHERE n BETWEEN lo AND hi AND outcome = 'rejected' AND decoded AND (hint IS NOT NULL OR NOT overtaken));
    FOR w IN SELECT * FROM model.route LOOP
        UPDATE model.recs SET may = ARRAY[outcome] WHERE topic = w.topic AND n BETWEEN lo AND hi;
        CONTINUE WHEN NOT w.superseding;
        -- a statement that the order of its rows makes fail is divided too
        EXECUTE format('UPDATE model.recs r SET may = CASE
                WHEN outcome = ''rejected'' AND (NOT decoded OR hint IS NOT NULL OR NOT overtaken) THEN ARRAY[outcome]
                WHEN outcome = ''rejected'' THEN CASE WHEN %1$L THEN ''{rejected,superseded}'' ELSE ''{superseded}'' END::text[]
                WHEN %1$L THEN CASE WHEN op = ''delete'' AND overtaken THEN ''{deleted,unmatched,superseded}'' WHEN op = ''delete'' THEN ''{deleted,unmatched}''
                                    WHEN overtaken THEN ARRAY[outcome, ''superseded''] ELSE ARRAY[outcome] END::text[]
                WHEN overtaken THEN ''{superseded}''
                WHEN op = ''delete'' THEN ARRAY[CASE WHEN (SELECT f.existed FROM keys_%2$s a JOIN keys_%2$s b USING (%3$s) JOIN model.recs f ON f.n = b.n
                                                            WHERE a.n = r.n AND b.n BETWEEN %4$s AND r.n AND f.existed IS NOT NULL ORDER BY f.n LIMIT 1) THEN ''deleted'' ELSE ''unmatched'' END]
                ELSE ARRAY[outcome] END
             WHERE topic = %2$L AND n BETWEEN %4$s AND %5$s AND outcome <> ''filtered''', searched OR w.crosses, w.topic, (SELECT string_agg(quote_ident(c), ', ') FROM unnest(w.key) c), lo, hi);
    END LOOP;
END$$;

-- One batch.  hints: the SQLSTATEs of the records that were refused; NULL if that
-- is not known.
CREATE FUNCTION model.step(lo int, hi int, counts jsonb, hints jsonb) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    r model.recs; i int; why text; crosses boolean; c text; least int; most int; taken int; blamed int[] := '{}';
BEGIN
    FOR i IN lo .. hi LOOP
        SELECT * INTO r FROM model.recs WHERE n = i;
        CONTINUE WHEN NOT FOUND;    -- it has stopped the sink
        crosses := (SELECT w.crosses FROM model.route w WHERE topic = r.topic);
        r.hint := hints->>i::text;
        UPDATE model.recs SET hint = r.hint WHERE n = i;
        IF r.op = 'filtered' THEN
            UPDATE model.recs SET outcome = 'filtered' WHERE n = i;
            IF r.hint IS NOT NULL THEN RETURN NEXT format('record %s: %s, but it is to be left out', i, r.hint); END IF;
            CONTINUE;
        END IF;
        BEGIN
            PERFORM model.note_key(r);
            UPDATE model.recs SET existed = model.is_there(r) WHERE n = i;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        why := model.attempt(i, r.hint IS NULL);
        IF r.hint IS NOT NULL THEN
            IF why IS NULL THEN
                blamed := blamed || i;
            ELSIF NOT model.same(r, crosses, why, r.hint) THEN
                RETURN NEXT format('record %s is refused with %s instead of %s', i, r.hint, why);
            END IF;
            why := r.hint;
        END IF;
        IF why IS NOT NULL THEN UPDATE model.recs SET outcome = 'rejected', got = why WHERE n = i; END IF;
    END LOOP;
    PERFORM model.overtake(lo, hi);
    IF hints IS NOT NULL THEN
        -- what could not be taken at its place, and was: behind the others
        LOOP
            taken := 0;
            FOR r IN SELECT * FROM model.recs WHERE topic IN (SELECT topic FROM model.route w WHERE w.crosses)
                      AND n BETWEEN lo AND hi AND outcome = 'rejected' AND hint IS NULL AND NOT overtaken AND op <> 'error' ORDER BY n LOOP
                IF model.attempt(r.n, true) IS NULL THEN taken := taken + 1; END IF;
            END LOOP;
            PERFORM model.overtake(lo, hi);
            EXIT WHEN taken = 0;
        END LOOP;
        RETURN QUERY SELECT format('record %s is not refused, but should be: %s', n, got) FROM model.recs
          WHERE n BETWEEN lo AND hi AND outcome = 'rejected' AND hint IS NULL AND NOT (overtaken AND decoded);
    END IF;
    BEGIN
        SET CONSTRAINTS ALL IMMEDIATE;
    EXCEPTION WHEN OTHERS THEN
        RETURN NEXT format('records %s to %s leave what is not allowed: %s', lo, hi, sqlerrm);
    END;
    FOREACH i IN ARRAY blamed LOOP
        SELECT * INTO r FROM model.recs WHERE n = i;
        why := model.attempt(i, false);
        IF NOT (SELECT w.crosses FROM model.route w WHERE topic = r.topic) THEN
            RETURN NEXT format('record %s is refused with %s, and could be taken', i, r.hint);
        ELSIF r.op <> 'delete' AND r.hint NOT IN ('23505', '23P01') AND NOT r.overtaken AND (why IS NULL OR NOT model.same(r, true, why, r.hint)) THEN
            RETURN NEXT format('record %s is refused with %s, and beside the others %s', i, r.hint, coalesce(why, 'could be taken'));
        END IF;
    END LOOP;
    PERFORM model.expect(lo, hi);
    taken := 0;
    FOREACH c IN ARRAY '{applied,deleted,filtered,dead_lettered,ignored,superseded,unmatched}'::text[] LOOP
        SELECT count(*) FILTER (WHERE may = ARRAY[o]), count(*) FILTER (WHERE o = ANY (may)) INTO least, most
          FROM model.recs, (SELECT CASE WHEN c <> CASE WHEN hints IS NULL THEN 'ignored' ELSE 'dead_lettered' END AND c IN ('dead_lettered', 'ignored') THEN 'no'
                                        WHEN c IN ('dead_lettered', 'ignored') THEN 'rejected' ELSE c END AS o) w
         WHERE n BETWEEN lo AND hi;
        taken := taken + (counts->>c)::int;
        IF (counts->>c)::int NOT BETWEEN least AND most THEN
            RETURN NEXT format('records %s to %s: %s is %s instead of %s to %s', lo, hi, c, counts->>c, least, most);
        END IF;
    END LOOP;
    IF taken <> (SELECT count(*) FROM model.recs WHERE n BETWEEN lo AND hi) OR taken <> (counts->>'consumed')::int THEN
        RETURN NEXT format('records %s to %s: consumed is %s, the others add up to %s', lo, hi, counts->>'consumed', taken);
    END IF;
END$$;

-- A batch is refused in the end, by one of the constraints that wait for it.
CREATE FUNCTION model.late(lo int, hi int, said text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE found text[] := '{}'; c text;
BEGIN
    BEGIN
        PERFORM model.attempt(n, true) FROM (SELECT n FROM model.recs WHERE n BETWEEN lo AND hi AND op <> 'filtered' ORDER BY n) x;
        FOR c IN SELECT DISTINCT format('%s.%I', connamespace::regnamespace, conname) FROM pg_constraint
                  WHERE condeferred AND connamespace = current_schema()::regnamespace LOOP
            BEGIN
                EXECUTE format('SET CONSTRAINTS %s IMMEDIATE', c);
            EXCEPTION WHEN OTHERS THEN
                found := found || sqlstate;
            END;
        END LOOP;
        RAISE 'undo' USING ERRCODE = 'UNDO0';
    EXCEPTION WHEN SQLSTATE 'UNDO0' THEN NULL;
    END;
    IF said <> ALL (found) THEN
        RETURN NEXT format('records %s to %s are refused in the end: %s instead of %s', lo, hi, said, coalesce(nullif(array_to_string(found, ' or '), ''), 'nothing'));
    END IF;
END$$;

-- A record stops the sink, behind what was applied; from lo on not even what is
-- before it was.
CREATE FUNCTION model.stop(lo int, i int, said text, last int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r model.recs; l model.recs; crosses boolean; why text; passes boolean; ends boolean := false;
BEGIN
    SELECT * INTO r FROM model.recs WHERE n = i;
    crosses := (SELECT w.crosses FROM model.route w WHERE topic = r.topic);
    why := model.attempt(i, false);
    IF why IS NOT NULL THEN
        IF NOT model.same(r, crosses, why, said) THEN RETURN NEXT format('record %s stops the sink with %s instead of %s', i, said, why); END IF;
        RETURN;
    ELSIF NOT crosses THEN
        RETURN NEXT format('record %s stops the sink with %s, and could be taken', i, said);
    END IF;
    IF said IN ('23505', '23P01') OR r.op = 'delete' THEN RETURN; END IF;
    -- with what is behind it, is it fine?
    FOR j IN i .. least(last, i + 40) LOOP
        passes := false;
        BEGIN
            FOR l IN SELECT * FROM model.recs WHERE n BETWEEN lo AND j AND op <> 'filtered' ORDER BY n LOOP
                ends := true;
                IF l.op = 'error' THEN RAISE 'error'; END IF;
                PERFORM model.apply(l);
                ends := false;
            END LOOP;
            SET CONSTRAINTS ALL IMMEDIATE;
            passes := true;
            RAISE 'undo';
        EXCEPTION WHEN OTHERS THEN
            IF passes THEN RETURN NEXT format('record %s stops the sink with %s, and records %s to %s could be taken', i, said, lo, j); END IF;
        END;
        EXIT WHEN passes OR ends;
    END LOOP;
END$$;
EOF
}

=head2 parse($output)

What psql printed of a script, by batch: C<steps>, C<rejected>, C<state>, and
C<odd>, all else.  C<odd> and C<offsets> of the whole, C<done>, C<fast>.

=cut

sub parse
{
	my ($output) = @_;
	my %seen = (odd => [], offsets => [], done => 0);
	my ($nth, $in_state) = (0, 0);

	my $probe = $output =~ s/^probe\n(.*?)(?=^(?:indexes checked|DAMAGED))//ms ? $1 : '';
	$seen{fast} = $probe =~ /applied 1 of 1 records without SQL/ ? 1 : 0;
	foreach (split /\n/, $output)
	{
		my $batch = $seen{$nth} //= { steps => [], rejected => {}, state => [], odd => [] };

		if (/^batch (\d+)$/) { $nth = $1; }
		elsif (/^state \d+$/) { $in_state = 1; }
		elsif ($_ eq 'end' && $in_state) { $in_state = 0; }
		elsif ($in_state) { push @{ $batch->{state} }, $_; }
		elsif (/^step (\d+) (\d+) (.*)$/) { push @{ $batch->{steps} }, [ 'step', $1, $2, $3 ]; }
		elsif (/^late (\d+) (\d+) (\w+)$/) { push @{ $batch->{steps} }, [ 'late', $1, $2, $3 ]; }
		elsif (/^stop (\d+) (\w+)$/) { push @{ $batch->{steps} }, [ 'stop', $1, $2 ]; }
		elsif (/^reject (\d+) (\w+)$/) { $batch->{rejected}{$1} = $2; }
		elsif (/^offsets /) { push @{ $seen{offsets} }, $_; }
		elsif ($_ eq 'done') { $seen{done} = 1; }
		elsif ($_ ne '' && $_ ne 'indexes checked') { push @{ $batch->{odd} }, $_; }
	}
	return \%seen;
}

# The first line in which two lists differ.
sub _first_difference
{
	my ($one, $other) = @_;
	my $i = 0;

	$i++ while $i < @$one && $i < @$other && $one->[$i] eq $other->[$i];
	return $i < @$one || $i < @$other ? substr($one->[$i] // '(end)', 0, 300) . '  |  ' . substr($other->[$i] // '(end)', 0, 300) : undef;
}

sub _steps { my ($batch) = @_; return [ map { join ' ', @$_ } @{ $batch->{steps} } ]; }
sub _rejects { my ($batch) = @_; return [ map { "record $_: $batch->{rejected}{$_}" } sort { $a <=> $b } keys %{ $batch->{rejected} } ]; }

# Is each record of txn_offsets accounted for, once?
sub _accounts
{
	my ($line) = @_;
	my (undef, undef, undef, $moved, $consumed, @became) = split / /, $line;
	my $gaps = pop @became;
	my $sum = 0;

	$sum += $_ foreach @became;
	return $consumed == $sum && $moved == $consumed + $gaps && !grep { $_ < 0 } @became;
}

=head2 differences($case, \%seen)

What is wrong with what the ways (fast, sql, rows) and the model say; the number
of the batch first.

=cut

sub differences
{
	my ($case, $seen) = @_;
	my @wrong;

	foreach my $way (sort keys %$seen)
	{
		push @wrong, "0 $way: did not come to its end" unless $seen->{$way}{done};
		foreach my $nth (grep { /^\d+$/ } sort keys %{ $seen->{$way} })
		{
			push @wrong, map { "$nth $way: $_" } @{ $seen->{$way}{$nth}{odd} };
		}
		push @wrong, map { "0 $way: not accounted for: $_" } grep { !_accounts($_) } @{ $seen->{$way}{offsets} };
	}
	# singly: another division into batches, which the table should not show
	my $singly = !$case->{poison};
	foreach my $nth (1 .. @{ $case->{batches} })
	{
		my %by = map { $_ => $seen->{$_}{$nth} // { steps => [], rejected => {}, state => [], odd => [] } } qw(fast sql rows model);

		foreach my $way (qw(sql rows))
		{
			next if $way eq 'rows' && $singly && $case->{cross};
			my %d = (table => _first_difference($by{fast}{state}, $by{$way}{state}));
			$d{refused} = _first_difference(_rejects($by{fast}), _rejects($by{$way})) unless $way eq 'rows' && $singly && $case->{superseding};
			# (a search that one of another topic has caused)
			$d{counts} = _first_difference(_steps($by{fast}), _steps($by{$way})) unless $way eq 'rows' && ($singly || $case->{routes});
			push @wrong, map { "$nth fast and $way, $_: $d{$_}" } grep { defined $d{$_} } sort keys %d;
		}
		next unless $seen->{model};
		my $d = _first_difference($by{fast}{state}, $by{model}{state});
		push @wrong, "$nth fast and model, table: $d" if defined $d;
	}
	return sort { ($a =~ /^(\d+)/)[0] <=> ($b =~ /^(\d+)/)[0] } @wrong;
}

1;
