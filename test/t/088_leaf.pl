# Index entries that go to the same page of a btree are put there together: whatever the
# type, the order and the duplicates, beside others who write, on a standby, and after a
# crash the index is one that amcheck finds nothing in.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use List::Util ();
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', streaming => 1, conf => <<'EOC');
fsync = off
kafka_sink.enabled = off
autovacuum = off
max_wal_size = 4GB
EOC
my $icu = $node->safe_psql('postgres', q{SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'}) eq 't';
my $seed = $ENV{KAFKA_SINK_SEED} // int rand 1_000_000_000;

note "KAFKA_SINK_SEED=$seed";
srand $seed;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# An index that is well in order gives nothing.
sub damage
{
	my ($server, $check) = @_;

	return $server->safe_psql('postgres', "SELECT indexrelid::regclass FROM pg_index WHERE indrelid IN ('t'::regclass, 'c'::regclass, 'many'::regclass)
		AND $check IS NULL");
}
my $whole = 'bt_index_parent_check(indexrelid, true, true)';

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

my $more = $icu ? 'CREATE INDEX t_icu ON t (txt COLLATE "und-x-icu");' : '';
sql(<<"EOF");
CREATE EXTENSION amcheck;
CREATE TABLE t (id bigint PRIMARY KEY, small int, big bigint, txt text, u uuid, num numeric, d date, f float8, note text);
CREATE INDEX t_small ON t (small);
CREATE INDEX t_small_plain ON t (small DESC) WITH (deduplicate_items = off);
CREATE INDEX t_big ON t (big);
CREATE INDEX t_big_first ON t (big DESC NULLS FIRST) INCLUDE (small);
CREATE UNIQUE INDEX t_small_id ON t (small, id DESC) INCLUDE (note);
CREATE UNIQUE INDEX t_u ON t (u);
CREATE INDEX t_txt ON t (txt COLLATE "C" DESC, small);
CREATE INDEX t_num ON t (num NULLS FIRST);
CREATE INDEX t_d_f ON t (d, f DESC);
CREATE INDEX t_sparse ON t (id) WITH (fillfactor = 10);
$more
CREATE TABLE c (id bigint PRIMARY KEY, v int);
CREATE INDEX c_v ON c (v);
CREATE TABLE many (id bigint PRIMARY KEY, v int);
CREATE INDEX many_v ON many (v);
SELECT kafka_sink.create_sink('s', target => 't');
SELECT kafka_sink.create_sink('u', target => 't', insert_mode => 'upsert');
SELECT kafka_sink.create_sink('c', target => 'c');
SELECT kafka_sink.create_sink(s, target => 'c', insert_mode => 'upsert') FROM unnest('{up,down}'::text[]) s;
SELECT kafka_sink.create_sink('many', target => 'many');
CREATE FUNCTION rec(value json) RETURNS kafka_sink.record LANGUAGE sql AS
\$\$SELECT ROW('t', 0, NULL, NULL, NULL, convert_to(value::text, 'UTF8'), NULL)::kafka_sink.record\$\$;
-- a row of many sorts of columns, by its number
CREATE FUNCTION row_of(id bigint) RETURNS json LANGUAGE sql IMMUTABLE AS \$\$
SELECT json_build_object('id', id, 'small', nullif(h % 7, 3),
	'big', CASE h % 5 WHEN 0 THEN NULL WHEN 1 THEN 9223372036854775807 WHEN 2 THEN -9223372036854775808 ELSE h END,
	'txt', CASE WHEN h % 11 > 0 THEN repeat(chr(97 + (h % 26)::int), (h % 40)::int) || CASE WHEN h % 2 = 0 THEN md5(id::text) ELSE '' END END,
	'u', md5(id::text)::uuid,
	'num', CASE h % 4 WHEN 0 THEN NULL WHEN 1 THEN round(h / 1000.0, 1) ELSE round(h / 1000.0, 3) END,
	'd', CASE WHEN h % 13 > 0 THEN date '2026-01-01' + (h % 50)::int END,
	'f', CASE h % 9 WHEN 0 THEN NULL WHEN 1 THEN '"NaN"'::json ELSE to_json(h / 7.0) END, 'note', 'n' || id)
  FROM (SELECT abs(hashint8extended(id, 7)) % 1000003 AS h) x\$\$;
CREATE FUNCTION ids(VARIADIC id bigint[]) RETURNS kafka_sink.record[] LANGUAGE sql AS
\$\$SELECT array_agg(rec(row_of(i)) ORDER BY nth) FROM unnest(id) WITH ORDINALITY x (i, nth)\$\$;
EOF

my %taken;
my $high = 0;

# Ids of one batch: behind all others, in one of several runs that meet in the log, or anywhere.
sub ids
{
	my ($n) = @_;
	my @ids;

	my $kind = int rand 4;
	for my $i (0 .. $n - 1)
	{
		my $id = $kind == 0 ? $high + 1 + $i
		  : $kind == 1 ? $high + 1 + 4 * ($i % int($n / 4 + 1)) + int($i / int($n / 4 + 1))
		  : $kind == 2 ? 1 + int rand($high + 2 * $n)
		  : 5_000_000 - int rand 100_000;
		push @ids, $id unless $taken{$id}++;
	}
	$high = List::Util::max($high, grep { $_ < 4_000_000 } @ids);
	return @ids;
}

sub insert
{
	my ($sizes, $settings) = @_;
	my $expected = 0;

	foreach my $n (@$sizes)
	{
		my @ids = ids($n);

		next unless @ids;
		$expected += @ids;
		sql("$settings; SELECT kafka_sink.ingest('s', ids(VARIADIC '{" . join(',', @ids) . "}'))");
	}
	return $expected;
}

# --- each record of the WAL is compared with what it made ---

my $rows = insert([ map { 1 + int rand 120 } 1 .. 12 ], "SET wal_consistency_checking = 'all'");
is(damage($node, $whole), '', 'small batches');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, 'the standby has them');

# --- large ones ---

$rows += insert([ map { 1 + int rand 6000 } 1 .. 12 ], 'SELECT');
is(damage($node, $whole), '', 'large batches');
my $update = 'SELECT kafka_sink.ingest(\'u\', (SELECT array_agg(rec((row_of(id)::jsonb || jsonb_build_object(\'small\', id % 9, \'txt\', \'u\' || id))::json)) FROM t WHERE id % 3 = 1))';
sql($update);
sql('DELETE FROM t WHERE id % 5 = 1; VACUUM t');
$rows = sql('SELECT count(*) FROM t');
$rows += insert([ map { 1 + int rand 6000 } 1 .. 4 ], 'SELECT');
sql($update);
is(damage($node, $whole), '', 'after updates, deletes and VACUUM');
is(sql('SELECT count(*) FROM t'), $rows, 'all rows are there');

my $by_index = q{SET enable_seqscan = off; SET enable_bitmapscan = off;
	SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t WHERE u = ANY (ARRAY(SELECT md5(i::text)::uuid FROM generate_series(0, 100) i))) x};
(my $by_heap = $by_index) =~ s/enable_seqscan = off/enable_indexscan = off; SET enable_indexonlyscan = off/;
is(sql($by_index), sql($by_heap), 'they are found by the index');

# --- what must be refused, is ---

sub refused
{
	my ($what, $ids) = @_;
	my (undef, undef, $err) = $node->psql('postgres', "SELECT kafka_sink.ingest('s', $ids)");

	like($err, qr/duplicate key value violates unique constraint "t_pkey"/, "refused: $what");
	return;
}
my $some = sql('SELECT id FROM t ORDER BY hashint8(id) LIMIT 1');
my $last = sql('SELECT max(id) FROM t');
refused('a key that is there', "ids(VARIADIC ARRAY(SELECT i FROM generate_series($last + 1, $last + 500) i) || $some\:\:bigint)");
refused('a key twice', "ids(VARIADIC ARRAY(SELECT i FROM generate_series($last + 1, $last + 500) i) || ($last + 77)\:\:bigint)");
refused('the last key of all', "ids($last, $last + 1, $last + 2)");
refused('each key that is there, alone', "ids(VARIADIC ARRAY(SELECT id FROM t ORDER BY id LIMIT 3))");
is(sql("SELECT count(*) FROM t WHERE id > $last"), 0, 'nothing of that stays');
is(damage($node, $whole), '', 'nor does it do harm');

# --- less is written to the WAL than by the statement ---

my $wal = sub {
	my ($statement) = @_;

	return sql("CHECKPOINT; SELECT pg_current_wal_insert_lsn() AS lsn \\gset
		$statement;
		SELECT pg_current_wal_insert_lsn() - :'lsn'");
};
my ($ours) = $wal->(q{DO $$BEGIN PERFORM kafka_sink.ingest('many', ARRAY(SELECT rec(json_build_object('id', i, 'v', i)) FROM generate_series(1, 20000) i)); END$$});
my ($theirs) = $wal->('INSERT INTO many SELECT i, i FROM generate_series(20001, 40000) i');
cmp_ok($ours, '<', 0.6 * $theirs, 'a page is logged once, not each of its entries');

# --- new versions ---

# Each of them moves to another page, and is the only one of its key; then one of several.
sql(q{INSERT INTO c SELECT -3 * i, i % 50 FROM generate_series(1, 9000) i; VACUUM c});
my $version = q{DO $$BEGIN PERFORM kafka_sink.ingest('up', ARRAY(SELECT rec(json_build_object('id', -3 * i, 'v', i %% 50 + %d)) FROM generate_series(1, 9000) i)); END$$};
my $updated = $wal->(sprintf $version, 100);
my $by_sql = $wal->('UPDATE c SET v = v + 100 WHERE id < 0');
cmp_ok($updated, '<', 0.8 * $by_sql, 'new versions of rows are logged by pages, too');
sql(sprintf $version, $_) foreach 300, 400;
is(sql('SELECT count(*), count(DISTINCT id), min(v), max(v) FROM c WHERE id < 0'), '9000|9000|400|449', 'the last version counts');
is(damage($node, $whole), '', 'and the indexes lead to it');
# (HOT chains are not what their entries name)
sql(q{ALTER TABLE c SET (fillfactor = 50); VACUUM FULL c; UPDATE c SET id = id WHERE id < 0});
sql(sprintf $version, 500);
is(damage($node, $whole), '', 'so they do behind HOT chains');
sql('ALTER TABLE c RESET (fillfactor)');

# --- beside others ---

# Two ingest the same numbers, in other orders, one inserts and deletes, one vacuums.
my @orders = map { join ',', List::Util::shuffle(0 .. 39) } 1 .. 2;
my @scripts = map {
	join '', map { "SELECT kafka_sink.ingest('c', ARRAY(SELECT rec(json_build_object('id', 3 * i, 'v', i % 50)) FROM generate_series($_ * 400, $_ * 400 + 399) i));\n" } split /,/, $_
} @orders;
push @scripts, map {
	my $sink = $_;
	join '', map { "SELECT kafka_sink.ingest('$sink', ARRAY(SELECT rec(json_build_object('id', CASE WHEN i % 2 = 0 THEN -3 * i ELSE 3 * i END, 'v', i % 70)) FROM generate_series($_ * 400, $_ * 400 + 399) i));\n" } List::Util::shuffle(0 .. 39)
} qw(up down);
push @scripts, join '', map { "INSERT INTO c SELECT 3 * i + 1, i % 50 FROM generate_series($_ * 400, $_ * 400 + 399) i; DELETE FROM c WHERE id % 3 = 1 AND id % 2 = 0;\n" } 0 .. 39;
push @scripts, join '', map { "VACUUM c;\n" } 1 .. 20;
my @running = map { start_script($node, $_) } @scripts;
$_->{h}->finish foreach @running;
is(join(' ', map { $_->{err} } @running[ 4, 5 ]), ' ', 'others write beside');
is(join(' ', sort { $a cmp $b } grep { !/23505|40P01/ } map { split /\n/, $_->{err} } @running[ 0 .. 3 ]), '', 'who comes second is refused');
is(sql('SELECT count(*) = count(DISTINCT id) FROM c WHERE id % 3 = 0'), 't', 'each key is there once');
is(damage($node, $whole), '', 'and where it belongs');

# Two serializable transactions, each of which has read what the other writes
sql(q{CREATE TABLE skew (id int PRIMARY KEY, v int); SELECT kafka_sink.create_sink(s, target => 'skew') FROM unnest('{first,second}'::text[]) s;
	INSERT INTO skew SELECT i, 0 FROM generate_series(1000, 3000) i; ANALYZE skew});
my $reads = 'BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SELECT sum(v) FROM skew WHERE id';
my $first = KafkaSinkTest::Process->_new($node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'));
my $second = KafkaSinkTest::Process->_new($node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'));
$_->ask("$reads BETWEEN 1 AND 10;") foreach $first, $second;
my $writes = q{DO 'BEGIN PERFORM kafka_sink.ingest(''%s'', ARRAY(SELECT rec(json_build_object(''id'', i, ''v'', 1)) FROM generate_series(%d, %d) i)); END'; COMMIT; \echo :LAST_ERROR_SQLSTATE};
is($first->ask(sprintf $writes, 'first', 1, 3), '00000', 'one of two serializable transactions');
is($second->ask(sprintf $writes, 'second', 4, 6), '40001', 'the other has read where it wrote');
$_->stop foreach $first, $second;

# --- as the server sees it afterwards ---

my $lsn = sql('SELECT pg_current_wal_insert_lsn()');
$node->wait_for_catchup($standby, 'replay', $lsn);
is($standby->safe_psql('postgres', q{SELECT indexrelid::regclass FROM pg_index WHERE indrelid IN ('t'::regclass, 'many'::regclass) AND bt_index_check(indexrelid, true) IS NULL}),
	'', 'on the standby');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), $rows, 'which has all rows');
$node->stop('immediate');
$node->start;
is(sql('SELECT count(*) FROM t'), $rows, 'after a crash they are there');
is(damage($node, $whole), '', 'and the indexes as they were');

# --- where little is logged ---

my $minimal = new_node('minimal', conf => "wal_level = minimal\nmax_wal_senders = 0\nkafka_sink.enabled = off\n");
my $batch = q{SELECT FROM kafka_sink.ingest('m', ARRAY(SELECT ROW('t', 0, NULL, NULL, NULL, convert_to(format('{"id": %s, "v": %s}', i, i % 9), 'UTF8'), NULL)::kafka_sink.record
	FROM generate_series(LO, HI) i))};
my $ingest = sub { return $batch =~ s/LO, HI/$_[0], $_[1]/r; };
$minimal->safe_psql('postgres', join ";\n", 'CREATE EXTENSION amcheck', 'BEGIN', 'CREATE TABLE m (id int PRIMARY KEY, v int)', 'CREATE INDEX ON m (v)',
	q{SELECT FROM kafka_sink.create_sink('m', target => 'm')}, $ingest->(1, 3000), 'SAVEPOINT a', $ingest->(5000, 6000), 'ROLLBACK TO a',
	$ingest->(3001, 5500), 'COMMIT', $ingest->(5501, 6000));
$minimal->stop('immediate');
$minimal->start;
is($minimal->safe_psql('postgres', 'SELECT count(*) FROM m'), 6000, 'a table of the same transaction, which is not logged, after a crash');
is($minimal->safe_psql('postgres', "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'm'::regclass AND $whole IS NULL"), '', 'its indexes, too');

done_testing();
