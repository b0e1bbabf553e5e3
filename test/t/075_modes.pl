# Every way to write against a model in SQL: random records (keys that repeat,
# tombstones, values that cannot be decoded or that the table refuses) to sinks
# of every mode, format, envelope and way to treat errors, in batches that end
# anywhere.  Tables, dead letters and counts must be those of the model, which
# applies one record at a time by ordinary statements; then what is wrong is
# mended, dead letters are retried, and it must hold again.
#
# All modes promise that the table does not depend on where batches end, and
# are held to it here.  It holds for accumulate as long as what the table
# refuses does not depend on the sum of several records, and for commands that
# add up.
#
# KAFKA_SINK_MODES: number of cases; KAFKA_SINK_SEED: of a former run;
# KAFKA_SINK_CASE: that one alone (or several: 3,5-7).  The script of such a
# case, and of one that fails, is left in the directory of logs, with what it
# printed.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkModel;
use KafkaSinkModes;

my $seed = $ENV{KAFKA_SINK_SEED} // int(rand(2**31));
my $cases = $ENV{KAFKA_SINK_MODES} // 144;
my @cases = map { /^(\d+)-(\d+)$/ ? $1 .. $2 : $_ } split /,/, $ENV{KAFKA_SINK_CASE} // "1-$cases";
my $logs = $PostgreSQL::Test::Utils::log_path;
my $dir = PostgreSQL::Test::Utils::tempdir('modes');

note "KAFKA_SINK_SEED=$seed";

my $node = new_node('main', conf => <<'EOC');
fsync = off
kafka_sink.enabled = off
log_min_messages = fatal
max_parallel_workers_per_gather = 0
autovacuum = off
EOC
$node->safe_psql('postgres', KafkaSinkModel::setup());

sub write_file
{
	my ($file, $text) = @_;

	open my $fh, '>:raw', $file or die "$file: $!";
	print $fh $text;
	close $fh;
	return $file;
}

# --- which settings go together ---

# Each combination that the rules allow is taken, the others are refused by one
# of the rules they break, with a hint or a detail.
$node->safe_psql('postgres', <<'EOF');
CREATE TABLE public.target (id int PRIMARY KEY, v int);
CREATE TYPE public.pair AS (id int, v int);
CREATE FUNCTION test.define(seed float8) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    c record; broken text[]; state text; message text; more text; hint text; taken int := 0; refused int := 0;
BEGIN
    PERFORM setseed(seed);
    FOR c IN
        SELECT *, mode = 'command' AS commands,
               CASE WHEN random() < 0.3 THEN '5' END AS reject_limit, (ARRAY['stop', 'dead_letter', 'ignore'])[1 + trunc(random() * 3)] AS on_error,
               (ARRAY['error', 'ignore'])[1 + trunc(random() * 2)] AS on_tombstone, CASE WHEN random() < 0.3 THEN 'part < 7' END AS filter, random() < 0.1 AS known,
               CASE WHEN random() < (CASE format WHEN 'raw' THEN 0.7 ELSE 0.2 END) THEN '{"id": "@key", "v": "@value"}'::jsonb END AS columns,
               (ARRAY['{id}', '{v}', NULL, NULL, NULL, NULL, NULL, NULL])[1 + trunc(random() * 8)] AS pk_fields,
               CASE WHEN mode = 'command' OR random() < 0.05 THEN (ARRAY['text', 'public.pair', 'jsonb', NULL])[1 + trunc(random() * 4)] END AS type,
               random() < CASE WHEN mode IN ('upsert', 'update') THEN 0.5 ELSE 0.05 END AS asks, random() < CASE WHEN mode = 'accumulate' THEN 0.9 ELSE 0.05 END AS folds
          FROM unnest('{insert,ignore,upsert,update,accumulate,command}'::text[]) mode, unnest('{json,csv,raw}'::text[]) format,
               unnest('{json,raw,csv,none}'::text[]) key_format, unnest('{none,connect,debezium}'::text[]) envelope,
               unnest('{true,false}'::boolean[]) deletes, generate_series(1, 3)
    LOOP
        broken := array_remove(ARRAY[
            CASE WHEN c.commands AND (c.columns IS NOT NULL OR c.pk_fields IS NOT NULL) THEN '22023 columns, pk_fields and insert_mode need a target' END,
            CASE WHEN NOT c.commands AND c.type IS NOT NULL THEN '22023 value_type needs a command' END,
            CASE WHEN c.asks AND c.mode NOT IN ('upsert', 'update') THEN '22023 setting "update_if" has nothing to work on' END,
            CASE WHEN c.folds AND c.mode <> 'accumulate' THEN '22023 setting "accumulate" has nothing to work on' END,
            CASE WHEN NOT c.folds AND c.mode = 'accumulate' THEN '22023 insert_mode accumulate needs the setting "accumulate"' END,
            CASE WHEN c.envelope <> 'none' AND c.format <> 'json' THEN '22023 setting "envelope" does not go with this format' END,
            CASE WHEN c.envelope = 'debezium' AND c.commands THEN '22023 envelope debezium needs a target' END,
            CASE WHEN c.known AND c.format = 'raw' THEN '22023 setting "strict" does not go with this format' END,
            CASE WHEN c.deletes AND c.key_format = 'none' AND NOT c.commands THEN '22023 delete_enabled needs a key format' END,
            CASE WHEN c.reject_limit IS NOT NULL AND c.on_error = 'stop' THEN '22023 reject_limit has no effect with on_error => ''stop''' END,
            CASE WHEN c.format = 'raw' AND NOT c.commands AND c.columns IS NULL THEN '22023 a raw value cannot fill both "id" and "v"' END,
            CASE WHEN c.commands AND c.format = 'csv' AND coalesce(c.type, 'jsonb') = 'jsonb' THEN '42804 type jsonb cannot be the value_type of this format' END,
            CASE WHEN c.commands AND c.format = 'raw' AND c.type = 'public.pair' THEN '42804 type public.pair cannot be the value_type of this format' END,
            CASE WHEN NOT c.commands AND c.pk_fields = '{v}' THEN '42P10 no unique index of "target" covers exactly the columns of pk_fields' END]::text[], NULL);
        BEGIN
            PERFORM kafka_sink.create_sink('d', target => CASE WHEN NOT c.commands THEN 'public.target'::regclass END,
                insert_mode => CASE WHEN c.commands THEN 'insert' ELSE c.mode END, columns => c.columns, pk_fields => c.pk_fields::text[],
                format => c.format, key_format => c.key_format, envelope => c.envelope, delete_enabled => c.deletes, on_tombstone => c.on_tombstone,
                on_error => c.on_error, reject_limit => c.reject_limit, filter => c.filter, strict => c.known,
                command => CASE WHEN c.commands THEN 'SELECT batch FROM batch' END, value_type => c.type::regtype,
                update_if => CASE WHEN c.asks THEN 'target.v < excluded.v' END, accumulate => CASE WHEN c.folds THEN '{"v": "sum"}'::jsonb END);
            taken := taken + 1;
            PERFORM kafka_sink.drop_sink('d');
            IF broken <> '{}' THEN RETURN NEXT format('taken: %s, although %s', c, broken); END IF;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            refused := refused + 1;
            IF state || ' ' || message <> ALL (broken) THEN RETURN NEXT format('refused: %s: %s %s, broken %s', c, state, message, broken); END IF;
            IF more || hint = '' THEN RETURN NEXT format('neither detail nor hint: %s', message); END IF;
        END;
    END LOOP;
    RETURN NEXT CASE WHEN taken > 150 AND refused > 500 THEN 'ok' ELSE format('taken %s, refused %s', taken, refused) END;
END$$;
EOF
is($node->safe_psql('postgres', 'SELECT test.define(' . ($seed % 1000000) / 1000000 . ') LIMIT 10'), 'ok', 'settings that do not go together are refused');

# --- records ---

my %met;
foreach my $nth (@cases)
{
	my $case = KafkaSinkModes->new($seed, $nth);
	my $file = write_file("$dir/$nth.sql", $case->{sql});
	my $out = '';
	my $ended = IPC::Run::run(
		[
			$node->installed_command('psql'), '-XAtq', '-F', ' ', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr('postgres') . " options='-c client_min_messages=warning'", '-f', $file
		],
		'<', \'', '>&', \$out,
		IPC::Run::timeout($KafkaSinkTest::timeout));
	my @wrong = grep { /^wrong / } split /\n/, $out;

	push @wrong, grep { /ERROR|FATAL|PANIC|server closed/ } split /\n/, $out unless $ended && $out =~ /^done$/m;
	ok($ended && $out =~ /^done$/m && !@wrong, "case $nth: $case->{about}") or do
	{
		diag "KAFKA_SINK_SEED=$seed KAFKA_SINK_CASE=$nth: modes_$nth.sql, .out";
		diag "  $_" foreach grep { defined } @wrong[ 0 .. 4 ];
	};
	if (!$ended || @wrong || defined $ENV{KAFKA_SINK_CASE})
	{
		write_file("$logs/modes_$nth.sql", $case->{sql});
		write_file("$logs/modes_$nth.out", $out);
	}
	$met{$1}++ while $out =~ /^met (\S+) /mg;
	$met{'without SQL'}++ if $out =~ /records without SQL/;
}
note join ', ', map { "$_ $met{$_}" } sort keys %met;
if (@cases >= 100)
{
	cmp_ok($met{$_} // 0, '>', 0, "cases with $_")
	  foreach qw(applied deleted filtered dead_lettered ignored superseded unmatched stopped limited searched mended),
	  qw(22003 22P02 23502 23514), 'without SQL',
	  @cases >= 500 ? qw(22000 22001 22004 22012 22021 22P04 22P05 23503 23505 54000 P0001) : ();
}
done_testing();
