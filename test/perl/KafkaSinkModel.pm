
=head1 NAME

KafkaSinkModel - what a sink must do, as a model in SQL

=head1 SYNOPSIS

  print KafkaSinkModel::setup();      # schema "test", once per database

A case is rows of C<test.recs> (the records in their order, and of each what it
means as an ordinary statement over the schema C<model>), a row of
C<test.sink>, and a sink whose target stands in the schema C<sink>.
C<test.feed()> gives the records to the sink in batches, C<test.retry()> its
dead letters, and both take the model along; C<test.compare()> compares what
must be equal.  Whatever is not as the model says becomes a row of
C<test.wrong>.

The model applies one record at a time, in the order of the records, each in a
block with an exception handler.  So what it says of the table does not depend
on where batches end.  What a batch may change is written down in
C<test.expect()>: in a batch, a record of an upsert can be overtaken by a later
one of its key, and an accumulated one by a delete, before the table has seen
it.

=cut

package KafkaSinkModel;

use strict;
use warnings FATAL => 'all';

sub setup
{
	return <<'EOF';
CREATE SCHEMA test;
CREATE DOMAIN test.small AS int CHECK (value < 100);
CREATE TABLE test.sink (
    sink text, on_error text, reject_limit text, batch_records int,
    superseding boolean,        -- a batch writes the last record of a key, or what is behind the last delete
    asks boolean,               -- update_if
    curing boolean,             -- what one record is refused for, another may cure: sums, commands
    by_part boolean);           -- what each partition's counts must be is known
CREATE TABLE test.recs (
    n int PRIMARY KEY, part int, off bigint, key bytea, value bytea,
    op text,                    -- write, patch, delete, command; filtered; error
    state text,                 -- of an error: it cannot be decoded
    filter text,                -- a query: does the record pass?
    late text,                  -- SQLSTATE of what is refused behind the filter, before the table is asked
    sql text,                   -- what it does
    probe text,                 -- a query: is the row there?
    k text,                     -- the key of the row
    complete boolean,           -- does it overtake those before it?
    -- what the model makes of it
    batch int, outcome text, got text, decoded boolean, existed boolean, overtaken boolean, may text[]);
CREATE TABLE test.wrong (what text);
CREATE TABLE test.met (what text);

CREATE FUNCTION test.on_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.name = 'skip' THEN RETURN NULL; END IF;
    IF new.name = 'raise' THEN RAISE 'not this one'; END IF;
    RETURN new;
END$$;

-- One batch through the model.  None of the records may have been in a batch
-- of this number before.
CREATE FUNCTION test.model(b int, ns int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r test.recs; i int; passes boolean; changed bigint;
BEGIN
    FOREACH i IN ARRAY ns LOOP
        SELECT * INTO STRICT r FROM test.recs WHERE n = i;
        r.batch := b; r.outcome := NULL; r.got := NULL; r.decoded := true; r.existed := NULL; r.may := NULL;
        passes := true;
        IF r.op = 'error' THEN
            r.outcome := 'rejected'; r.got := r.state; r.decoded := false;
        ELSIF r.op = 'filtered' THEN
            r.outcome := 'filtered';
        ELSIF r.filter IS NOT NULL THEN
            BEGIN
                EXECUTE r.filter INTO passes;
                IF passes IS NOT TRUE THEN r.outcome := 'filtered'; END IF;
            EXCEPTION WHEN OTHERS THEN
                r.outcome := 'rejected'; r.got := sqlstate; r.decoded := false;
            END;
        END IF;
        IF r.outcome IS NULL AND r.late IS NOT NULL THEN
            r.outcome := 'rejected'; r.got := r.late; r.decoded := false;
        END IF;
        IF r.outcome IS NULL THEN
            IF r.probe IS NOT NULL THEN EXECUTE r.probe INTO r.existed; END IF;
            BEGIN
                EXECUTE r.sql;
                GET DIAGNOSTICS changed = ROW_COUNT;
                -- update_if can leave a row alone that is there
                IF r.op = 'patch' AND changed = 0 AND NOT (r.existed IS TRUE AND (SELECT asks FROM test.sink)) THEN
                    RAISE 'there is no row that has the value' USING ERRCODE = '22000';
                END IF;
                r.outcome := CASE WHEN r.op = 'command' THEN 'applied' WHEN changed = 0 THEN 'unmatched'
                                  WHEN r.op = 'delete' THEN 'deleted' ELSE 'applied' END;
            EXCEPTION WHEN OTHERS THEN
                r.outcome := 'rejected'; r.got := sqlstate;
            END;
        END IF;
        UPDATE test.recs SET (batch, outcome, got, decoded, existed) = (r.batch, r.outcome, r.got, r.decoded, r.existed) WHERE n = i;
    END LOOP;
END$$;

-- What may become of each record of a batch: one outcome, as a rule.
--
-- Where records are superseded, one that the table refuses is not tried if a
-- later one of its key stands for it.  So if all that are tried are taken, it
-- is superseded.  If one is refused, the batch is searched in pieces, and where
-- they end decides whether it is superseded or tried, and whether the good ones
-- before the last of a key are.
CREATE FUNCTION test.expect(b int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE s test.sink; searched boolean;
BEGIN
    SELECT * INTO s FROM test.sink;
    IF NOT s.superseding THEN
        UPDATE test.recs SET may = ARRAY[outcome] WHERE batch = b;
        RETURN;
    END IF;
    UPDATE test.recs r SET overtaken = EXISTS (SELECT FROM test.recs l WHERE l.batch = b AND l.k = r.k AND l.n > r.n AND l.complete
                                                  AND l.outcome NOT IN ('filtered', 'rejected'))
     WHERE batch = b;
    searched := EXISTS (SELECT FROM test.recs WHERE batch = b AND outcome = 'rejected' AND decoded AND NOT overtaken);
    UPDATE test.recs r SET may = CASE
            WHEN outcome = 'filtered' OR NOT decoded THEN ARRAY[outcome]
            WHEN searched THEN CASE
                WHEN outcome = 'rejected' AND overtaken THEN '{rejected,superseded}'
                WHEN outcome = 'rejected' THEN '{rejected}'
                WHEN overtaken THEN CASE op WHEN 'delete' THEN '{deleted,unmatched,superseded}' ELSE '{applied,superseded}' END
                WHEN op = 'delete' THEN '{deleted,unmatched}'
                ELSE '{applied}' END::text[]
            WHEN overtaken THEN '{superseded}'
            -- of a row that was there before the batch
            WHEN op = 'delete' THEN ARRAY[CASE WHEN (SELECT f.existed FROM test.recs f WHERE f.batch = b AND f.k = r.k AND f.existed IS NOT NULL ORDER BY f.n LIMIT 1)
                                               THEN 'deleted' ELSE 'unmatched' END]
            ELSE ARRAY[outcome] END
     WHERE batch = b;
    INSERT INTO test.met SELECT 'searched' WHERE searched;
END$$;

-- Does a count stay within what the records of a batch may become?
CREATE FUNCTION test.check_counts(what text, ns int[], actual jsonb, rejected text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c text; least int; most int; total bigint := 0;
BEGIN
    FOREACH c IN ARRAY '{applied,deleted,filtered,dead_lettered,ignored,superseded,unmatched}'::text[] LOOP
        SELECT count(*) FILTER (WHERE may = ARRAY[o]), count(*) FILTER (WHERE o = ANY (may)) INTO least, most
          FROM test.recs, (SELECT CASE WHEN c = rejected THEN 'rejected' WHEN c IN ('dead_lettered', 'ignored') THEN 'no' ELSE c END AS o) w
         WHERE n = ANY (ns);
        total := total + (actual->>c)::bigint;
        IF (actual->>c)::bigint NOT BETWEEN least AND most THEN
            INSERT INTO test.wrong VALUES (format('%s: %s is %s instead of %s to %s', what, c, actual->>c, least, most));
        END IF;
        INSERT INTO test.met SELECT c WHERE (actual->>c)::bigint > 0;
    END LOOP;
    IF (actual->>'consumed')::bigint <> total OR total <> cardinality(ns) THEN
        INSERT INTO test.wrong VALUES (format('%s: consumed is %s, the others add up to %s, of %s records', what, actual->>'consumed', total, cardinality(ns)));
    END IF;
END$$;

-- Are the dead letters those that the model says, of these records?
CREATE FUNCTION test.check_letters(what text, ns int[], expected boolean) RETURNS void LANGUAGE sql AS $$
    INSERT INTO test.wrong
    SELECT format('%s: record %s (offset %s of %s): %s, may be %s (%s)', what, n, r.off, r.part,
                  CASE WHEN d.off IS NULL THEN 'no dead letter' ELSE 'dead letter, ' || d.sqlstate || ' ' || d.message END, may, got)
      FROM test.recs r
      LEFT JOIN kafka_sink.dead_letters d ON d.sink = (SELECT sink FROM test.sink) AND (d.topic, d.part, d.off) = ('t', r.part, r.off)
     WHERE n = ANY (ns)
       AND CASE WHEN d.off IS NULL THEN may = '{rejected}' AND expected
           ELSE NOT expected OR 'rejected' <> ALL (may) OR (d.sqlstate, d.key, d.value) IS DISTINCT FROM (r.got, r.key, r.value) END
$$;

-- At most so many of them are refused, and to halt one more must be.
CREATE FUNCTION test.check_limit(lo int, hi int, refused int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lim text := (SELECT reject_limit FROM test.sink);
    share numeric := substring(lim FROM '^(.*)%');
    size int := substring(lim FROM 'of (\d+)$');
    most int := coalesce(floor(size * share / 100), lim::int);
    dead int[] := ARRAY(SELECT n FROM test.recs r JOIN kafka_sink.dead_letters d ON d.sink = (SELECT sink FROM test.sink) AND (d.part, d.off) = (r.part, r.off)
                         WHERE n BETWEEN lo AND hi UNION ALL SELECT refused WHERE refused IS NOT NULL ORDER BY 1);
    last int := cardinality(dead);
BEGIN
    FOR i IN most + 1 .. last LOOP
        IF (size IS NULL OR dead[i] - dead[i - most] < size) AND (i < last OR refused IS NULL) THEN
            INSERT INTO test.wrong VALUES (format('record %s is beyond the limit of %s, and nothing has halted', dead[i], lim));
        END IF;
    END LOOP;
    -- (the batch that ended before it may have been searched in other pieces, and refuse less)
    IF refused IS NOT NULL AND NOT (SELECT superseding FROM test.sink) AND (last <= most OR dead[last] - dead[last - most] >= size) THEN
        INSERT INTO test.wrong VALUES (format('halted at record %s, which is not beyond the limit of %s', refused, lim));
    END IF;
END$$;

-- Gives records [lo, hi] to the sink.
CREATE FUNCTION test.ingest(lo int, hi int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE s text := (SELECT sink FROM test.sink); p record; result kafka_sink.batch_result;
BEGIN
    -- a batch begins where the last one has ended: offsets that are not there
    FOR p IN SELECT o.part, o.off, min(r.off) AS first FROM test.recs r JOIN kafka_sink.txn_offsets o ON o.sink = s AND o.part = r.part
              WHERE r.n BETWEEN lo AND hi GROUP BY 1, 2 HAVING min(r.off) > o.off LOOP
        PERFORM kafka_sink.accept_gap(s, 't', p.part, p.off, p.first);
    END LOOP;
    result := kafka_sink.ingest(s, ARRAY(SELECT ROW('t', part, off, NULL, key, value, NULL)::kafka_sink.record
                                           FROM test.recs WHERE n BETWEEN lo AND hi ORDER BY n));
    RETURN to_jsonb(result);
END$$;

-- All records in batches that end at 'ends', and on past those that stop the sink.
CREATE FUNCTION test.feed(ends int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s test.sink; lo int := 1; hi int; e int; bad int; result jsonb; state text; message text; context text; b int := 0; halted test.recs;
BEGIN
    SELECT * INTO s FROM test.sink;
    FOREACH e IN ARRAY ends LOOP
        WHILE lo <= e LOOP
            bad := NULL;
            hi := e;
            BEGIN
                result := test.ingest(lo, e);
            EXCEPTION WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT;
                bad := lo - 1 + substring(context FROM 'sink "[^"]*", record (\d+)')::int;
                IF bad IS NULL OR s.on_error <> 'stop' AND state <> '53400' THEN
                    INSERT INTO test.wrong VALUES (format('records %s to %s: error %s %s', lo, e, state, message));
                    RETURN;
                END IF;
            END;
            -- (where records are superseded, another one may be one too many if the batch ends before it)
            WHILE bad IS NOT NULL LOOP
                hi := bad - 1;
                BEGIN
                    result := test.ingest(lo, hi);
                    EXIT;
                EXCEPTION WHEN configuration_limit_exceeded OR integrity_constraint_violation OR data_exception OR raise_exception THEN
                    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT;
                    -- (and what is wrong with it might have been cured, or superseded, by what it is tried without now)
                    IF NOT ((s.curing OR s.superseding) AND (state = '53400' OR s.on_error = 'stop')) THEN RAISE; END IF;
                    bad := lo - 1 + substring(context FROM 'sink "[^"]*", record (\d+)')::int;
                END;
            END LOOP;
            b := b + 1;
            PERFORM test.model(b, ARRAY(SELECT generate_series(lo, hi)));
            PERFORM test.expect(b);
            PERFORM test.check_counts(format('records %s to %s', lo, hi), ARRAY(SELECT generate_series(lo, hi)), result,
                                      CASE s.on_error WHEN 'dead_letter' THEN 'dead_lettered' ELSE s.on_error || 'd' END);
            IF s.on_error <> 'ignore' THEN
                PERFORM test.check_letters(format('records %s to %s', lo, hi), ARRAY(SELECT generate_series(lo, hi)), true);
            END IF;
            IF s.reject_limit IS NOT NULL AND s.on_error = 'dead_letter' THEN
                PERFORM test.check_limit(lo, hi, bad);
            END IF;
            lo := hi + 1;
            IF bad IS NOT NULL AND s.on_error = 'stop' THEN
                b := b + 1;
                PERFORM test.model(b, ARRAY[bad]);
                SELECT * INTO halted FROM test.recs WHERE n = bad;
                IF (halted.outcome, halted.got) IS DISTINCT FROM ('rejected', state) THEN
                    INSERT INTO test.wrong VALUES (format('record %s stops the sink: %s %s, instead of %s %s', bad, state, message, halted.outcome, halted.got));
                    RETURN;
                END IF;
                PERFORM kafka_sink.accept_gap(s.sink, 't', halted.part, o.off, halted.off) FROM kafka_sink.txn_offsets o
                  WHERE o.sink = s.sink AND o.part = halted.part AND o.off < halted.off;
                PERFORM kafka_sink.skip(s.sink, 't', halted.part, halted.off);
                INSERT INTO test.met VALUES ('stopped');
                lo := bad + 1;
            ELSIF bad IS NOT NULL THEN
                INSERT INTO test.met VALUES ('limited');
            END IF;
        END LOOP;
    END LOOP;
    -- each partition's counts, since the beginning
    PERFORM test.check_counts(format('partition %s', o.part), ns, to_jsonb(o), CASE s.on_error WHEN 'dead_letter' THEN 'dead_lettered' ELSE s.on_error || 'd' END)
      FROM kafka_sink.txn_offsets o CROSS JOIN LATERAL (SELECT ARRAY(SELECT n FROM test.recs x WHERE x.part = o.part AND may IS NOT NULL) AS ns) x
     WHERE o.sink = s.sink AND s.by_part;
    INSERT INTO test.wrong
    SELECT format('partition %s: off %s, start_off %s, consumed %s, gaps %s, the last record is %s', o.part, o.off, start_off, consumed, gaps, last)
      FROM kafka_sink.txn_offsets o LEFT JOIN (SELECT part, max(off) AS last FROM test.recs GROUP BY 1) x USING (part)
     WHERE o.sink = s.sink AND (o.off <> coalesce(last + 1, start_off) OR o.off - start_off <> consumed + gaps
           OR consumed <> applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched);
    INSERT INTO test.wrong SELECT 'dead letters are not in the order of the records'
      FROM (SELECT n, lag(n) OVER (ORDER BY id) AS before FROM kafka_sink.dead_letters d JOIN test.recs r ON (d.part, d.off) = (r.part, r.off) WHERE d.sink = s.sink) x
     WHERE n <= before LIMIT 1;
    INSERT INTO test.met SELECT sqlstate FROM kafka_sink.dead_letters WHERE sink = s.sink;
END$$;

-- The dead letters that a condition selects, once more.
CREATE FUNCTION test.retry(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE s test.sink; ns int[]; result jsonb; b int;
BEGIN
    SELECT * INTO s FROM test.sink;
    EXECUTE format('SELECT array_agg(n ORDER BY id) FROM kafka_sink.dead_letters d JOIN (SELECT n, part AS p, off AS o FROM test.recs) r ON (d.part, d.off) = (p, o)
                    WHERE d.sink = %L AND (%s)', s.sink, coalesce(what, 'true')) INTO ns;
    ns := coalesce(ns, '{}');
    result := to_jsonb(kafka_sink.retry_dead_letters(s.sink, what));
    SELECT coalesce(max(batch), 0) INTO b FROM test.recs;
    FOR i IN 1 .. cardinality(ns) BY s.batch_records LOOP
        b := b + 1;
        PERFORM test.model(b, ns[i:i + s.batch_records - 1]);
        PERFORM test.expect(b);
    END LOOP;
    PERFORM test.check_counts('retry', ns, result, 'dead_lettered');
    PERFORM test.check_letters('retry', ns, true);
    INSERT INTO test.met SELECT 'mended' FROM test.recs WHERE n = ANY (ns) AND outcome = 'applied';
END$$;

CREATE FUNCTION test.compare(tables text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY tables LOOP
        EXECUTE format('INSERT INTO test.wrong SELECT format(''%%s has too %%s: %%s'', %1$L, how, row) FROM (
                (SELECT ''much'' AS how, t::text AS row FROM (SELECT * FROM sink.%1$I EXCEPT ALL SELECT * FROM model.%1$I) t)
                UNION ALL (SELECT ''little'', t::text FROM (SELECT * FROM model.%1$I EXCEPT ALL SELECT * FROM sink.%1$I) t)) x', t);
    END LOOP;
END$$;

-- The rest of the dead letters goes.
CREATE FUNCTION test.discard() RETURNS void LANGUAGE plpgsql AS $$
DECLARE s text := (SELECT sink FROM test.sink); n bigint := (SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = s); m bigint;
BEGIN
    m := kafka_sink.discard_dead_letters(s, 'off % 2 = 0') + kafka_sink.discard_dead_letters(s);
    INSERT INTO test.wrong SELECT format('%s of %s dead letters are discarded', m, n) WHERE m <> n
        OR EXISTS (SELECT FROM kafka_sink.dead_letters WHERE sink = s);
END$$;
EOF
}

1;
