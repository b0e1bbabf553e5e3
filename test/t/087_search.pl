# Who is to blame: random records for small tables whose constraints look at each
# other's rows, so that records that fail alone are cured by others, get in each other's
# way, or hand values on.  What is taken must be there, and nothing else; what is
# refused must fail beside what is taken; and each record must have become something.
#
# What the table would hold is worked out from what the records mean, without asking how
# they are searched.  Immediate constraints can forbid each order in which a batch is
# written although its result would be valid, so a record counts as refused for
# nothing only if its place in the order of the log, one by one, would do, too.
#
# KAFKA_SINK_CASES: number of cases; KAFKA_SINK_SEED: of a former run; KAFKA_SINK_CASE:
# that one alone.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;

my $seed = $ENV{KAFKA_SINK_SEED} // int(rand(2**31));
my $cases = $ENV{KAFKA_SINK_CASES} // 250;
my ($first, $last) = defined $ENV{KAFKA_SINK_CASE} ? ($ENV{KAFKA_SINK_CASE}) x 2 : (1, $cases);

note "KAFKA_SINK_SEED=$seed";

my $node = new_node('main', conf => <<'EOC');
fsync = off
kafka_sink.enabled = off
log_min_messages = fatal
autovacuum = off
EOC
$node->safe_psql('postgres', <<'EOF');
CREATE SCHEMA test;
CREATE TABLE test.wrong (what text);
CREATE TABLE test.met (what text);
-- records of a case, in their order
CREATE TABLE test.recs (n int, op text, id int, v int, r int, c int);

CREATE FUNCTION test.any_of(VARIADIC a text[]) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT a[1 + trunc(random() * cardinality(a))::int]';

CREATE FUNCTION test.value_of(x test.recs) RETURNS bytea LANGUAGE sql AS $$
SELECT CASE x.op WHEN 'delete' THEN NULL
    WHEN 'broken' THEN convert_to(format('{"id": "x%s"}', x.id), 'UTF8')
    ELSE convert_to(json_build_object('id', x.id, 'v', x.v, 'r', x.r, 'c', x.c)::text, 'UTF8') END $$;

-- What rows there are behind these records, and whether the table could hold them.
CREATE FUNCTION test.holds(mode text, ns int[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE x test.recs;
BEGIN
    TRUNCATE test.after;
    INSERT INTO test.after SELECT * FROM test.before;
    FOR x IN SELECT * FROM test.recs WHERE n = ANY (ns) ORDER BY n LOOP
        IF x.op = 'broken' THEN
            RETURN false;
        ELSIF x.op = 'delete' THEN
            DELETE FROM test.after WHERE id = x.id;
        ELSIF mode = 'update' THEN
            UPDATE test.after SET v = x.v, r = x.r, c = x.c WHERE id = x.id;
        ELSIF mode = 'upsert' THEN
            DELETE FROM test.after WHERE id = x.id;
            INSERT INTO test.after VALUES (x.id, x.v, x.r, x.c);
        ELSE
            IF EXISTS (SELECT FROM test.after WHERE id = x.id) THEN RETURN false; END IF;
            INSERT INTO test.after VALUES (x.id, x.v, x.r, x.c);
        END IF;
    END LOOP;
    BEGIN
        DELETE FROM test.probe;
        INSERT INTO test.probe SELECT * FROM test.after;
        RETURN true;
    EXCEPTION WHEN integrity_constraint_violation THEN
        RETURN false;
    END;
END$$;

-- Can they be written one after the other?
CREATE FUNCTION test.one_by_one(mode text, ns int[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE x test.recs;
BEGIN
    DELETE FROM test.probe;
    INSERT INTO test.probe SELECT * FROM test.before;
    FOR x IN SELECT * FROM test.recs WHERE n = ANY (ns) ORDER BY n LOOP
        IF x.op = 'broken' THEN
            RETURN false;
        ELSIF x.op = 'delete' THEN
            DELETE FROM test.probe WHERE id = x.id;
        ELSIF mode = 'update' THEN
            UPDATE test.probe SET v = x.v, r = x.r, c = x.c WHERE id = x.id;
        ELSIF mode = 'upsert' THEN
            INSERT INTO test.probe AS p VALUES (x.id, x.v, x.r, x.c) ON CONFLICT (id) DO UPDATE SET v = x.v, r = x.r, c = x.c;
        ELSE
            INSERT INTO test.probe VALUES (x.id, x.v, x.r, x.c);
        END IF;
    END LOOP;
    RETURN true;
EXCEPTION WHEN integrity_constraint_violation THEN
    RETURN false;
END$$;

CREATE FUNCTION test.one_case() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mode text := test.any_of('upsert', 'upsert', 'upsert', 'insert', 'insert', 'update');
    on_error text := test.any_of('stop', 'stop', 'dead_letter', 'ignore');
    u text := test.any_of(', UNIQUE (v)', ', UNIQUE (v)', ', UNIQUE (v) DEFERRABLE', '', ', EXCLUDE USING btree (v WITH =)',
        CASE WHEN current_setting('server_version_num')::int >= 150000 THEN ', UNIQUE NULLS NOT DISTINCT (v)' ELSE ', UNIQUE (v)' END);
    f text := test.any_of('', '', ', FOREIGN KEY (r) REFERENCES %s', ', FOREIGN KEY (r) REFERENCES %s ON DELETE CASCADE', ', FOREIGN KEY (r) REFERENCES %s ON DELETE SET NULL');
    ids int := 2 + trunc(random() * 5);
    vs int := 2 + trunc(random() * 5);
    m int := 2 + trunc(random() * 12);
    bad float8 := (ARRAY[0, 0, 0.05, 0.2])[1 + trunc(random() * 4)];
    what text; result kafka_sink.batch_result; context text; message text; state text; stop int; kept int[]; x int; difference text;
BEGIN
    IF f ~ 'ON DELETE' AND random() < 0.5 THEN f := ', FOREIGN KEY (r) REFERENCES %s'; END IF;
    DROP TABLE IF EXISTS test.t, test.before, test.after, test.probe;
    DELETE FROM kafka_sink.dead_letters;
    EXECUTE 'CREATE TABLE test.t (id int PRIMARY KEY, v int, r int, c int CHECK (c < 8)' || u || format(f, 'test.t') || ')';
    EXECUTE 'CREATE TABLE test.probe (id int PRIMARY KEY, v int, r int, c int CHECK (c < 8)' || u || format(f, 'test.probe') || ')';
    CREATE TABLE test.after (id int, v int, r int, c int);
    FOR i IN 0 .. trunc(random() * 5) LOOP
        BEGIN
            INSERT INTO test.t VALUES (trunc(random() * ids), nullif(trunc(random() * vs), 0), CASE WHEN random() < 0.3 THEN trunc(random() * ids) END, trunc(random() * 8));
        EXCEPTION WHEN integrity_constraint_violation THEN NULL;
        END;
    END LOOP;
    CREATE TABLE test.before AS TABLE test.t;
    TRUNCATE test.recs;
    INSERT INTO test.recs SELECT n, CASE WHEN random() < 0.15 THEN 'delete' WHEN random() < bad / 2 THEN 'broken' ELSE 'write' END,
        trunc(random() * ids), nullif(trunc(random() * vs), 0), CASE WHEN random() < 0.4 THEN trunc(random() * ids) END, trunc(random() * CASE WHEN random() < bad THEN 12 ELSE 8 END)
      FROM generate_series(1, m) n;
    PERFORM kafka_sink.create_sink('s', target => 'test.t', insert_mode => mode, delete_enabled => true, on_error => on_error, key_format => 'json');
    PERFORM kafka_sink.seek('s', '{"t": {"0": 0}}');
    what := format('%s, %s%s%s, %s: %s; %s', mode, on_error, u, f, current_setting('kafka_sink.fast_path'),
        (SELECT string_agg(b::text, ' ' ORDER BY id) FROM test.before b), (SELECT string_agg(concat_ws(' ', n || ':', op, id, coalesce(v::text, '-'), coalesce(r::text, '-'), c), ', ' ORDER BY n) FROM test.recs));
    BEGIN
        result := kafka_sink.ingest('s', ARRAY(SELECT ROW('t', 0, n - 1, NULL, convert_to(rec.id::text, 'UTF8'), test.value_of(rec), NULL)::kafka_sink.record FROM test.recs rec ORDER BY n));
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT, message = MESSAGE_TEXT, state = RETURNED_SQLSTATE;
        stop := substring(context FROM 'sink "s", record (\d+)');
        IF stop IS NULL OR on_error <> 'stop' THEN
            INSERT INTO test.wrong VALUES (format('error %s: %s: %s', state, message, what));
            PERFORM kafka_sink.drop_sink('s');
            RETURN;
        END IF;
    END;
    IF stop > 1 THEN
        BEGIN
            result := kafka_sink.ingest('s', ARRAY(SELECT ROW('t', 0, n - 1, NULL, convert_to(rec.id::text, 'UTF8'), test.value_of(rec), NULL)::kafka_sink.record FROM test.recs rec WHERE n < stop ORDER BY n));
        EXCEPTION WHEN OTHERS THEN
            -- (it may need what is behind the stop)
            IF test.one_by_one(mode, ARRAY(SELECT generate_series(1, stop - 1))) THEN
                INSERT INTO test.wrong VALUES (format('stops at %s (%s), but what is before it fails: %s: %s', stop, message, sqlerrm, what));
            END IF;
            INSERT INTO test.met VALUES ('needs what is behind');
            PERFORM kafka_sink.drop_sink('s');
            RETURN;
        END;
    END IF;
    kept := ARRAY(SELECT n FROM test.recs WHERE n < coalesce(stop, m + 1)
                  AND NOT EXISTS (SELECT FROM kafka_sink.dead_letters d WHERE d.sink = 's' AND d.off = n - 1) ORDER BY n);
    IF on_error = 'ignore' THEN
        -- which they are is not told: those that leave the rows that are there, if there are any
        INSERT INTO test.met VALUES (CASE WHEN result.ignored > 0 THEN 'ignored' ELSE 'all taken' END);
        IF result.ignored = 0 AND NOT test.holds(mode, kept) AND f !~ 'ON DELETE' THEN
            INSERT INTO test.wrong VALUES (format('all are taken, which the table cannot hold: %s', what));
        END IF;
    ELSE
        INSERT INTO test.met VALUES (CASE WHEN stop IS NOT NULL THEN 'stopped' WHEN result.dead_lettered > 0 THEN 'dead letters' ELSE 'all taken' END);
        IF f !~ 'ON DELETE' THEN
            IF NOT test.holds(mode, kept) THEN
                INSERT INTO test.wrong VALUES (format('what is taken the table cannot hold: %s: %s', kept, what));
            END IF;
            SELECT string_agg(d, ' ') INTO difference FROM (
                (SELECT 'too much ' || a::text AS d FROM (TABLE test.t EXCEPT TABLE test.after) a) UNION ALL
                (SELECT 'too little ' || a::text FROM (TABLE test.after EXCEPT TABLE test.t) a)) y;
            IF difference IS NOT NULL THEN
                INSERT INTO test.wrong VALUES (format('%s, taken %s: %s', difference, kept, what));
            END IF;
            -- who is refused is so beside those before it, or beside all that are taken
            FOR x IN SELECT n FROM test.recs WHERE n <= coalesce(stop, m) AND n <> ALL (kept) LOOP
                IF test.holds(mode, array_append(ARRAY(SELECT k FROM unnest(kept) k WHERE k < x), x)) AND test.holds(mode, array_append(kept, x))
                   AND test.one_by_one(mode, array_append(kept, x)) THEN
                    INSERT INTO test.wrong VALUES (format('record %s is refused for nothing beside %s: %s: %s', x, kept, coalesce(message, (SELECT d.message FROM kafka_sink.dead_letters d WHERE d.off = x - 1)), what));
                END IF;
            END LOOP;
        END IF;
    END IF;
    IF (stop IS NOT NULL OR result.dead_lettered + result.ignored > 0) AND test.one_by_one(mode, ARRAY(SELECT generate_series(1, m))) THEN
        INSERT INTO test.wrong VALUES (format('all could be taken (%s): %s', message, what));
    END IF;
    IF result.consumed <> result.applied + result.deleted + result.filtered + result.dead_lettered + result.ignored + result.superseded + result.unmatched
       OR result.consumed <> coalesce(stop - 1, m) THEN
        INSERT INTO test.wrong VALUES (format('not accounted for: %s: %s', result, what));
    END IF;
    PERFORM kafka_sink.drop_sink('s');
END$$;

CREATE PROCEDURE test.cases(seed int, first int, last int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN first .. last LOOP
        PERFORM setseed((seed::bigint * 7919 + i) % 1000000 / 1000000.0);
        PERFORM set_config('kafka_sink.fast_path', CASE WHEN random() < 0.6 THEN 'on' ELSE 'off' END, false);
        PERFORM test.one_case();
        UPDATE test.wrong SET what = format('case %s: ', i) || what WHERE what !~ '^case';
        COMMIT;
    END LOOP;
END$$;
EOF
$node->safe_psql('postgres', 'CALL test.cases(' . $seed % 1000000 . ", $first, $last)");
is($node->safe_psql('postgres', 'SELECT what FROM test.wrong LIMIT 20'), '', 'what is taken is there, what is refused fails, and all is accounted for');
my %met = map { /^(.*)\|(\d+)$/ } split /\n/, $node->safe_psql('postgres', 'SELECT what, count(*) FROM test.met GROUP BY 1 ORDER BY 1');
note join ', ', map { "$_ $met{$_}" } sort keys %met;
if ($last - $first >= 100)
{
	cmp_ok($met{$_} // 0, '>', 0, "batches: $_") foreach 'all taken', 'stopped', 'dead letters', 'ignored';
}
done_testing();
