# What a target may be and which way may write it: tables whose rows are somewhere
# else (partitions, inheritance children, the chunks of another extension), keys
# beside other unique indexes, identity columns.  Each case is run with the fast
# path and without it, and must leave the same rows and counts.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use Test::More;

use KafkaSinkTest;

my $chunks = dirname($ENV{KFK}) . '/chunks.so';
my $node = new_node('main', extension => 0, conf => <<'EOC');
fsync = off
kafka_sink.enabled = off
autovacuum = off
EOC
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my $icu = $node->safe_psql('postgres', q{SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'}) eq 't';

$node->safe_psql('postgres', q{
	CREATE EXTENSION kafka_sink;
	CREATE EXTENSION citext;
	CREATE FUNCTION j(value text, key text DEFAULT NULL) RETURNS kafka_sink.record LANGUAGE sql AS
	$$SELECT ROW('t', 0, NULL, NULL, convert_to(key, 'UTF8'), convert_to(value, 'UTF8'), NULL)::kafka_sink.record$$;
	CREATE PROCEDURE feed(recs kafka_sink.record[]) LANGUAGE plpgsql AS $$
	DECLARE said text;
	BEGIN
		SELECT concat_ws(' ', 'applied ' || nullif(applied, 0), 'deleted ' || nullif(deleted, 0), 'superseded ' || nullif(superseded, 0),
			'unmatched ' || nullif(unmatched, 0)) INTO said FROM kafka_sink.ingest('s', recs);
		INSERT INTO said (what) VALUES (said);
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO said (what) VALUES (sqlstate || ': ' || sqlerrm);
	END$$;
});
$node->safe_psql('postgres', q{CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)}) if $icu;

sub clean
{
	$node->safe_psql('postgres', q{SET client_min_messages = warning;
		SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks; DROP SCHEMA IF EXISTS c CASCADE});
	return;
}

# A record: its value, or [ key, value ], of which each may be undef.
sub record
{
	my ($rec) = @_;
	my ($key, $value) = ref $rec ? @$rec : (undef, $rec);

	return 'j(' . join(', ', map { defined $_ ? "\$j\$$_\$j\$" : 'NULL' } $value, $key) . ')';
}

# Runs a case both ways.  ddl makes the table t; sink: more arguments of
# create_sink(); batches: lists of records; told and left are what is expected of
# counts and rows, which the query rows shows.  probe: a record, of which it is
# looked which way it goes: by SQL, or as way says.
sub check
{
	my ($name, %case) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	foreach my $fast (qw(on off))
	{
		my ($out, $err) = ('', '');
		my @sql = ('SET client_min_messages = warning; CREATE SCHEMA c; SET search_path = c, public;',
			'CREATE TABLE said (n serial, what text);', "$case{ddl};");

		push @sql, "LOAD '$chunks'; SET chunks.target = 't';" if $case{chunks};
		push @sql, "SET chunks.updates = '$case{updates}';" if $case{updates};
		push @sql, "SELECT kafka_sink.create_sink('s', target => 'c.t'" . ($case{sink} ? ", $case{sink}" : '') . ');',
		  "SET kafka_sink.fast_path = $fast;";
		push @sql, 'CALL feed(ARRAY[' . join(', ', map { record($_) } @$_) . ']);' foreach @{ $case{batches} };
		push @sql, '\\echo told', 'SELECT what FROM said ORDER BY n;', '\\echo left',
		  ($case{rows} // 'SELECT tableoid::regclass, * FROM t ORDER BY 2, 1') . ';', '\\echo way';
		push @sql, 'SET client_min_messages = debug1;', "SELECT kafka_sink.ingest('s', ARRAY[" . record($case{probe}) . ']);'
		  if defined $case{probe};
		my $rc = $node->psql('postgres', join("\n", @sql), stdout => \$out, stderr => \$err,
			timeout => $KafkaSinkTest::timeout);
		my ($told, $left) = $out =~ /^told\n(.*?)\n?^left\n(.*?)\n?^way/ms;
		my ($way) = $err =~ /applied \d+ of \d+ records (without|by) SQL/;

		is($rc, 0, "$name, $fast") or diag $err;
		is($told, join("\n", @{ $case{told} }), "$name, $fast: counts");
		is($left, join("\n", @{ $case{left} }), "$name, $fast: rows");
		is($way, $fast eq 'on' && ($case{way} // '') eq 'fast' ? 'without' : 'by', "$name, $fast: which way") if defined $case{probe};
		clean();
	}
	return;
}

# What create_sink() says to a definition.
sub refused
{
	my ($name, $ddl, $sink, $message) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, undef, $err) = $node->psql('postgres', join "\n", 'SET client_min_messages = warning; CREATE SCHEMA c; SET search_path = c, public;',
		"$ddl;", '\\set VERBOSITY verbose', "SELECT kafka_sink.create_sink('s', target => 'c.t'" . ($sink ? ", $sink" : '') . ');');

	like($err, $message, $name);
	clean();
	return;
}

# --- rows in children that another extension has made ---

my $hyper = 'CREATE TABLE t (k int PRIMARY KEY, v int); CREATE TABLE chunk (PRIMARY KEY (k)) INHERITS (t)';
my @one_two = ('{"k": 1, "v": 1}', '{"k": 2, "v": 2}');
my $deletes = 'delete_enabled => true';

check('chunks, insert', chunks => 1, ddl => $hyper, probe => '{"k": 9}',
	batches => [ [@one_two], ['{"k": 2, "v": 3}'], ['{"k": 3}'] ],
	told => [ 'applied 2', '23505: duplicate key value violates unique constraint "chunk_pkey"', 'applied 1' ],
	left => [ 'chunk|1|1', 'chunk|2|2', 'chunk|3|' ]);
check('chunks, upsert', chunks => 1, ddl => $hyper, sink => q(insert_mode => 'upsert'), probe => '{"k": 9}',
	batches => [ [@one_two], [ '{"k": 2, "v": 3}', '{"k": 3}' ] ],
	told => [ 'applied 2', 'applied 2' ], left => [ 'chunk|1|1', 'chunk|2|3', 'chunk|3|' ]);
check('chunks, upsert and deletes', chunks => 1, ddl => $hyper, sink => qq(insert_mode => 'upsert', $deletes), probe => '{"k": 9}',
	batches => [ [@one_two], [ [ 1, undef ], [ 7, undef ], '{"k": 2, "v": 3}' ] ],
	told => [ 'applied 2', 'applied 1 deleted 1 unmatched 1' ], left => ['chunk|2|3']);
check('chunks, insert and deletes', chunks => 1, ddl => $hyper, sink => $deletes, probe => '{"k": 9}',
	batches => [ [@one_two], [ [ 1, undef ], '{"k": 1, "v": 4}', [ 2, undef ], [ 7, undef ] ] ],
	told => [ 'applied 2', 'applied 1 deleted 2 unmatched 1' ], left => ['chunk|1|4']);
check('chunks, ignore', chunks => 1, ddl => $hyper, sink => q(insert_mode => 'ignore'),
	batches => [ [@one_two], [ '{"k": 2, "v": 3}', '{"k": 3}' ] ],
	told => [ 'applied 2', 'applied 1 unmatched 1' ], left => [ 'chunk|1|1', 'chunk|2|2', 'chunk|3|' ]);
check('chunks, update', chunks => 1, ddl => "$hyper; INSERT INTO chunk VALUES (1, 0), (2, 0)", sink => qq(insert_mode => 'update', $deletes),
	batches => [ [@one_two], [ '{"k": 2, "v": 3}', [ 1, undef ], '{"k": 3}', [ 5, undef ] ] ],
	told => [ 'applied 2', 'applied 1 deleted 1 unmatched 2' ], left => ['chunk|2|3']);
check('chunks, accumulate', chunks => 1, ddl => $hyper, sink => qq(insert_mode => 'accumulate', accumulate => '{"v": "sum"}', $deletes), probe => '{"k": 9}',
	batches => [ [@one_two], [ '{"k": 2, "v": 3}', '{"k": 2, "v": 4}', [ 1, undef ] ] ],
	told => [ 'applied 2', 'applied 2 deleted 1' ], left => ['chunk|2|9']);
check('chunks, update_if', chunks => 1, ddl => $hyper, sink => q(insert_mode => 'upsert', update_if => 't.v < excluded.v'),
	batches => [ [@one_two], [ '{"k": 2, "v": 3}', '{"k": 1, "v": 0}' ] ],
	told => [ 'applied 2', 'applied 1 unmatched 1' ], left => [ 'chunk|1|1', 'chunk|2|3' ]);
my @changes = ('{"op": "c", "after": {"k": 1, "v": 1, "w": "long"}}', '{"op": "c", "after": {"k": 2, "v": 2, "w": "x"}}');
my @patches = ('{"op": "u", "after": {"k": 1, "v": 3, "w": "__debezium_unavailable_value"}}', '{"op": "d", "before": {"k": 2, "v": 2, "w": "x"}}');
my @debezium = (sink => qq(insert_mode => 'upsert', envelope => 'debezium', $deletes), batches => [ [@changes], [@patches] ],
	told => [ 'applied 2', 'applied 1 deleted 1' ]);

# a statement of three alone is somebody else's: patches are UPDATEs
check('updates elsewhere, changes of a table', chunks => 1, updates => 'other', @debezium, probe => '{"op": "c", "after": {"k": 9, "v": 9, "w": "z"}}',
	ddl => q{CREATE TABLE t (k int PRIMARY KEY, v int, w text); CREATE TABLE other (LIKE t INCLUDING ALL); INSERT INTO other VALUES (1, 0, 'other')},
	rows => 'SELECT tableoid::regclass, * FROM t UNION ALL SELECT tableoid::regclass, * FROM other ORDER BY 1, 2', left => [ 't|1|1|long', 'other|1|3|other' ]);
check('updates elsewhere, upsert', chunks => 1, updates => 'other', sink => q(insert_mode => 'upsert'), probe => '{"k": 9}', way => 'fast',
	ddl => 'CREATE TABLE t (k int PRIMARY KEY, v int); CREATE TABLE other (LIKE t)', batches => [ [@one_two], ['{"k": 1, "v": 4}'] ],
	told => [ 'applied 2', 'applied 1' ], left => [ 't|1|4', 't|2|2' ]);
check('chunks, changes of a table', chunks => 1, ddl => "$hyper; ALTER TABLE t ADD w text", @debezium, left => ['chunk|1|3|long']);
check('chunks, truncation', chunks => 1, ddl => $hyper, sink => qq(insert_mode => 'upsert', envelope => 'debezium', $deletes),
	batches => [ ['{"op": "c", "after": {"k": 1, "v": 1}}'], [ '{"op": "t"}', '{"op": "c", "after": {"k": 2, "v": 1}}' ] ],
	told => [ 'applied 1', 'applied 1 deleted 1' ], left => ['chunk|2|1']);
{
	my (undef, undef, $err) = $node->psql('postgres', qq{SET client_min_messages = warning; CREATE SCHEMA c; SET search_path = c, public; $hyper;
		LOAD '$chunks'; SET chunks.target = 't'; SET chunks.refuse = on;
		\\set VERBOSITY verbose
		SELECT kafka_sink.create_sink('s', target => 'c.t')});

	like($err, qr/^psql:\S+ ERROR:  0A000: rows of "t" are scattered$/m, 'what cannot be planned is refused at once');
	like($err, qr/^planning how rows are written to c\.t$/m, 'the context says when');
	clean();

	# what is loaded later counts from then on
	my ($rc, $out) = $node->psql('postgres', qq{SET client_min_messages = warning; CREATE SCHEMA c; SET search_path = c, public; $hyper;
		SELECT kafka_sink.create_sink('s', target => 'c.t');
		SELECT kafka_sink.ingest('s', ARRAY[j('{"k": 1}')]);
		LOAD '$chunks'; SET chunks.target = 't';
		SELECT kafka_sink.ingest('s', ARRAY[j('{"k": 2}')]);
		SELECT tableoid::regclass, k FROM t ORDER BY k});

	like($out, qr/^t\|1\nchunk\|2$/m, 'an extension that is loaded between two batches');
	clean();
}

# --- rows in children, by a trigger ---

my $routed = q{
	CREATE TABLE t (k int PRIMARY KEY, v int); CREATE TABLE odd (PRIMARY KEY (k)) INHERITS (t); CREATE TABLE even (PRIMARY KEY (k)) INHERITS (t);
	CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.k % 2 = 1 THEN INSERT INTO c.odd VALUES (NEW.*); ELSE INSERT INTO c.even VALUES (NEW.*); END IF;
		RETURN NULL;
	END$$;
	CREATE TRIGGER route BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION route()};

# what a trigger does with a row is its own affair
check('routed, insert and deletes', ddl => $routed, sink => $deletes, probe => '{"k": 9}',
	batches => [ [@one_two], [ [ 1, undef ], [ 7, undef ], '{"k": 3, "v": 3}' ] ],
	told => [ 'unmatched 2', 'deleted 1 unmatched 2' ], left => [ 'even|2|2', 'odd|3|3' ]);
check('routed, update', ddl => "$routed; INSERT INTO t VALUES (1, 0), (2, 0)", sink => qq(insert_mode => 'update', $deletes),
	batches => [ [@one_two], [ '{"k": 2, "v": 3}', [ 1, undef ], '{"k": 3}', [ 5, undef ] ] ],
	told => [ 'applied 2', 'applied 1 deleted 1 unmatched 2' ], left => ['even|2|3']);
check('routed, truncation', ddl => "$routed; INSERT INTO t VALUES (1, 0), (2, 0)", sink => qq(insert_mode => 'upsert', envelope => 'debezium', $deletes),
	batches => [ ['{"op": "t"}'], ['{"op": "c", "after": {"k": 2, "v": 1}}'] ], told => [ 'deleted 1', 'unmatched 1' ], left => ['even|2|1']);
check('routed, patches', ddl => "$routed; ALTER TABLE t ADD w text; INSERT INTO t VALUES (1, 0, 'long'), (2, 0, 'x')",
	sink => qq(insert_mode => 'upsert', envelope => 'debezium', $deletes),
	batches => [ [@patches] ], told => ['applied 1 deleted 1'], left => ['odd|1|3|long']);

# --- children that are tables of their own: what is unique in each need not be in all ---

my $children = 'CREATE TABLE t (k int PRIMARY KEY, v int); CREATE TABLE child () INHERITS (t); CREATE TABLE grandchild () INHERITS (child);
	INSERT INTO t VALUES (1, 0), (2, 0); INSERT INTO child VALUES (1, 0), (1, 0), (3, 0); INSERT INTO grandchild VALUES (1, 0)';

check('children, insert', ddl => $children, batches => [ ['{"k": 3}'] ], told => ['applied 1'], way => 'fast', probe => '{"k": 9}',
	left => [ 'child|1|0', 'child|1|0', 'grandchild|1|0', 't|1|0', 't|2|0', 'child|3|0', 't|3|' ],
	rows => q{SELECT tableoid::regclass, * FROM t ORDER BY k, tableoid::regclass::text});
check('children, upsert', ddl => $children, sink => q(insert_mode => 'upsert'), batches => [ ['{"k": 2, "v": 1}'] ], told => ['applied 1'],
	way => 'fast', probe => '{"k": 9}', rows => 'SELECT tableoid::regclass, * FROM t WHERE k = 2', left => ['t|2|1']);
check('children, deletes', ddl => $children, sink => qq(insert_mode => 'upsert', $deletes), batches => [ [ [ 1, undef ], [ 3, undef ], [ 4, undef ] ] ],
	told => ['deleted 2 unmatched 1'], left => ['t|2|0'], probe => '{"k": 9}');
check('children, update', ddl => $children, sink => q(insert_mode => 'update'), batches => [ [ '{"k": 1, "v": 4}', '{"k": 4, "v": 4}', '{"k": 3, "v": 5}' ] ],
	told => ['applied 2 unmatched 1'], rows => 'SELECT k, v, count(*) FROM t GROUP BY k, v ORDER BY k', left => [ '1|4|4', '2|0|1', '3|5|1' ]);
check('children, update of keys of several columns', sink => q(insert_mode => 'update'),
	ddl => 'CREATE TABLE t ("K k" text, b numeric, v int, PRIMARY KEY (b, "K k")); CREATE TABLE child () INHERITS (t);
		INSERT INTO t VALUES (\'x\', 1, 0); INSERT INTO child SELECT * FROM t; INSERT INTO child SELECT * FROM child',
	batches => [ ['{"K k": "x", "b": 1.0, "v": 4}'] ], told => ['applied 1'], rows => 'SELECT v, count(*) FROM t GROUP BY v', left => ['4|3']);
refused('an unlogged child, deletes', 'CREATE TABLE t (k int PRIMARY KEY); CREATE UNLOGGED TABLE child () INHERITS (t)', qq(insert_mode => 'upsert', $deletes),
	qr/0A000: table "child" is not permanent/);
check('an unlogged child, inserts', ddl => 'CREATE TABLE t (k int); CREATE UNLOGGED TABLE child () INHERITS (t)', batches => [ ['{"k": 1}'] ],
	told => ['applied 1'], left => ['t|1'], way => 'fast', probe => '{"k": 9}');
check('a temporary child', ddl => 'CREATE TABLE t (k int PRIMARY KEY); CREATE TEMP TABLE child () INHERITS (t)', sink => $deletes, batches => [ [ '{"k": 1}', [ 1, undef ] ] ],
	told => ['applied 1 deleted 1'], left => []);

# --- partitions ---

my $parted = 'CREATE TABLE t (k int PRIMARY KEY, v int) PARTITION BY LIST (k);
	CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1, 3); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2, 4) PARTITION BY LIST (k);
	CREATE TABLE t22 PARTITION OF t2 DEFAULT';

check('partitions, insert and deletes', ddl => $parted, sink => $deletes, batches => [ [@one_two], [ [ 1, undef ], [ 7, undef ], '{"k": 3, "v": 3}' ], ['{"k": 7}'] ],
	told => [ 'applied 2', 'applied 1 deleted 1 unmatched 1', '23514: no partition of relation "t" found for row' ], left => [ 't22|2|2', 't1|3|3' ]);
check('partitions, upsert', ddl => $parted, sink => qq(insert_mode => 'upsert', $deletes), way => 'fast', probe => '{"k": 4}',
	batches => [ [@one_two], [ [ 1, undef ], '{"k": 2, "v": 3}', '{"k": 3}' ] ], told => [ 'applied 2', 'applied 2 deleted 1' ], left => [ 't22|2|3', 't1|3|' ]);
check('partitions, ignore', ddl => $parted, sink => q(insert_mode => 'ignore'), batches => [ [@one_two], [ '{"k": 2, "v": 3}', '{"k": 3}' ] ],
	told => [ 'applied 2', 'applied 1 unmatched 1' ], left => [ 't1|1|1', 't22|2|2', 't1|3|' ]);
check('partitions, update', ddl => "$parted; INSERT INTO t VALUES (1, 0), (2, 0)", sink => q(insert_mode => 'update'),
	batches => [ [ @one_two, '{"k": 3, "v": 3}' ] ], told => ['applied 2 unmatched 1'], left => [ 't1|1|1', 't22|2|2' ]);
check('partitions, accumulate', ddl => $parted, sink => q(insert_mode => 'accumulate', accumulate => '{"v": "sum"}'),
	batches => [ [@one_two], [ @one_two, '{"k": 1, "v": 5}' ] ], told => [ 'applied 2', 'applied 3' ], left => [ 't1|1|7', 't22|2|4' ]);
check('partitions, changes of a table', ddl => "$parted; ALTER TABLE t ADD w text", @debezium, left => ['t1|1|3|long']);
check('partitions, truncation', ddl => "$parted; INSERT INTO t VALUES (1, 0), (2, 0)", sink => qq(insert_mode => 'upsert', envelope => 'debezium', $deletes),
	batches => [ [ '{"op": "t"}', '{"op": "c", "after": {"k": 2, "v": 1}}' ] ], told => ['applied 1 deleted 1'], left => ['t22|2|1']);

# --- keys beside other unique indexes ---

my @aA = ('{"k": "a", "v": 1}', '{"k": "A", "v": 2}');
my $upsert = qq(insert_mode => 'upsert', $deletes);

check('deferrable beside the primary key', ddl => 'CREATE TABLE t (k text PRIMARY KEY, v int, UNIQUE (k) DEFERRABLE)', sink => $upsert,
	batches => [ [@aA], [ '{"k": "a", "v": 3}', [ '"A"', undef ] ] ], told => [ 'applied 2', 'applied 1 deleted 1' ], left => ['t|a|3']);
check('deferrable beside a constraint, partitions', sink => qq($upsert, pk_fields => '{v,k}'),
	ddl => 'CREATE TABLE t (k text, v int, w int, UNIQUE (k, v)) PARTITION BY LIST (v); CREATE TABLE t1 PARTITION OF t DEFAULT;
		ALTER TABLE t ADD UNIQUE (v, k) DEFERRABLE',
	batches => [ [@aA], [ '{"k": "a", "v": 1, "w": 3}', [ '{"k": "A", "v": 2}', undef ] ] ], told => [ 'applied 2', 'applied 1 deleted 1' ], left => ['t1|a|1|3']);
check('partial, of an expression and with more columns', sink => qq($upsert, pk_fields => '{k}'),
	ddl => 'CREATE TABLE t (k text, v int); CREATE UNIQUE INDEX ON t (k) WHERE v > 100; CREATE UNIQUE INDEX ON t (k, lower(k));
		CREATE UNIQUE INDEX ON t (k, v); CREATE UNIQUE INDEX ON t (k) INCLUDE (v)',
	batches => [ [@aA], [ '{"k": "a", "v": 3}', [ '"A"', undef ] ] ], told => [ 'applied 2', 'applied 1 deleted 1' ], left => ['t|a|3']);
check('another class of operators', sink => qq($upsert, pk_fields => '{k}'),
	ddl => 'CREATE TABLE t (k text, v int); CREATE UNIQUE INDEX ON t (k text_pattern_ops); CREATE UNIQUE INDEX ON t (k COLLATE "C"); CREATE UNIQUE INDEX ON t (k)',
	batches => [ [@aA], [ '{"k": "a", "v": 3}', [ '"A"', undef ] ] ], told => [ 'applied 2', 'applied 1 deleted 1' ], left => ['t|a|3'],
	way => 'fast', probe => '{"k": "x"}');
check('an index that ignores trailing blanks', sink => qq($upsert, pk_fields => '{k}'),
	ddl => 'CREATE TABLE t (k text, v int); CREATE UNIQUE INDEX ON t (k bpchar_ops)',
	batches => [ [ '{"k": "a", "v": 1}', '{"k": "a ", "v": 2}', '{"k": "b ", "v": 2}' ], [ '{"k": "a  ", "v": 3}', [ '"b"', undef ] ] ],
	told => [ 'applied 2 superseded 1', 'applied 1 deleted 1' ], rows => q{SELECT rtrim(k), v FROM t}, left => ['a|3']);
check('the same, update', sink => q(insert_mode => 'update', pk_fields => '{k}'),
	ddl => 'CREATE TABLE t (k text, v int); CREATE UNIQUE INDEX ON t (k bpchar_ops); INSERT INTO t VALUES (\'a\', 0)',
	batches => [ ['{"k": "a  ", "v": 3}'] ], told => ['applied 1'], rows => q{SELECT k, v FROM t}, left => ['a|3']);
check('citext', ddl => 'CREATE TABLE t (k citext PRIMARY KEY, v int)', sink => $upsert,
	batches => [ [@aA], ['{"k": "b", "v": 3}'], [ [ '"B"', undef ] ] ], told => [ 'applied 1 superseded 1', 'applied 1', 'deleted 1' ],
	rows => 'SELECT lower(k), v FROM t', left => ['a|2']);
check('citext, told apart', ddl => 'CREATE TABLE t (k citext, v int); CREATE UNIQUE INDEX ON t (k text_ops)', sink => qq($upsert, pk_fields => '{k}'),
	batches => [ [@aA], [ '{"k": "A", "v": 3}', [ '"a"', undef ] ] ], told => [ 'applied 2', 'applied 1 deleted 1' ], left => ['t|A|3']);
check('numbers that are equal', ddl => 'CREATE TABLE t (k numeric, f float8, v int, PRIMARY KEY (k, f))', sink => $upsert,
	batches => [ ['{"k": 1.0, "f": 0, "v": 1}'], [ '{"k": 1, "f": "-0", "v": 2}', '{"k": 2, "f": 0}' ], [ [ '{"k": 2.00, "f": "-0"}', undef ] ] ],
	told => [ 'applied 1', 'applied 2', 'deleted 1' ], left => ['t|1.0|0|2']);
check('jsonb and char(n)', ddl => 'CREATE TABLE t (k jsonb, c char(3), v int, PRIMARY KEY (k, c))', sink => $upsert,
	batches => [ ['{"k": {"a": 1.0}, "c": "x", "v": 1}'], [ '{"k": {"a": 1}, "c": "x  ", "v": 2}', '{"k": 1, "c": ""}' ], [ [ '{"k": 1, "c": ""}', undef ] ] ],
	told => [ 'applied 1', 'applied 2', 'deleted 1' ], left => ['t|{"a": 1.0}|x  |2']);
check('an enum and an array', ddl => q{CREATE TYPE e AS ENUM ('x', 'y'); CREATE TABLE t (k e, a int[], v int, PRIMARY KEY (k, a))}, sink => $upsert,
	batches => [ ['{"k": "x", "a": [1], "v": 1}'], [ '{"k": "x", "a": [1], "v": 2}', '{"k": "y", "a": []}' ], [ [ '{"k": "y", "a": []}', undef ] ] ],
	told => [ 'applied 1', 'applied 2', 'deleted 1' ], left => ['t|x|{1}|2']);
check('NULLS NOT DISTINCT', sink => qq($upsert, pk_fields => '{k}'),
	ddl => 'CREATE TABLE t (k text, v int, UNIQUE NULLS NOT DISTINCT (k)); CREATE UNIQUE INDEX ON t (k)',
	batches => [ [@aA], ['{"v": 3}'], [ [ '"A"', undef ] ] ], told => [ 'applied 2', '23502: null value in key column "k"', 'deleted 1' ], left => ['t|a|1'])
  if $version >= 150000;

SKIP:
{
	skip 'no ICU', 1 unless $icu;
	my $beside = 'CREATE TABLE t (k text PRIMARY KEY, v int); CREATE UNIQUE INDEX loose ON t (k COLLATE ci)';

	foreach my $mode (q('upsert'), q('accumulate', accumulate => '{"v": "last"}'))
	{
		check("a looser collation beside the primary key, $mode", ddl => "$beside; INSERT INTO t VALUES ('A', 7)", sink => qq(insert_mode => $mode, $deletes),
			batches => [ [ '{"k": "a", "v": 1}' ], ['{"k": "A", "v": 2}'], [ [ '"a"', undef ] ] ],
			told => [ '23505: duplicate key value violates unique constraint "loose"', 'applied 1', 'unmatched 1' ], left => ['t|A|2']);
	}
	check('a looser collation beside the primary key, update', ddl => "$beside; INSERT INTO t VALUES ('A', 7)", sink => q(insert_mode => 'update'),
		batches => [ ['{"k": "a", "v": 1}'] ], told => ['unmatched 1'], left => ['t|A|7']);
	my $loose = q{CREATE TABLE t (k text, v int); CREATE UNIQUE INDEX ON t (k COLLATE ci)};

	check('a looser collation as the key', ddl => $loose, sink => qq($upsert, pk_fields => '{k}'),
		batches => [ ['{"k": "A", "v": 1}'], [ '{"k": "a", "v": 2}', '{"k": "b"}' ], [ [ '"B"', undef ] ] ],
		told => [ 'applied 1', 'applied 2', 'deleted 1' ], left => ['t|A|2']);
	check('a looser collation as the key, update', ddl => "$loose; INSERT INTO t VALUES ('A', 7), ('B', 7)", sink => qq(insert_mode => 'update', pk_fields => '{k}', $deletes),
		batches => [ [ '{"k": "a", "v": 1}', [ '"b"', undef ] ] ], told => ['applied 1 deleted 1'], left => ['t|A|1']);
	check('a looser collation as the key, patches', ddl => "$loose; ALTER TABLE t ADD w text; INSERT INTO t VALUES ('A', 7, 'long')",
		sink => qq($upsert, pk_fields => '{k}', envelope => 'debezium'),
		batches => [ ['{"op": "u", "after": {"k": "a", "v": 3, "w": "__debezium_unavailable_value"}}'] ], told => ['applied 1'], left => ['t|A|3|long']);
	check('a stricter collation as the key, children',
		ddl => 'CREATE TABLE t (k text COLLATE ci, v int); CREATE UNIQUE INDEX ON t (k COLLATE "C"); CREATE TABLE child () INHERITS (t);
			INSERT INTO t VALUES (\'a\', 0), (\'A\', 0); INSERT INTO child VALUES (\'a\', 0)',
		sink => q(insert_mode => 'update', pk_fields => '{k}'), batches => [ [@aA] ], told => ['applied 2'],
		rows => q{SELECT k, v, count(*) FROM t GROUP BY k COLLATE "C", k, v ORDER BY v}, left => [ 'a|1|2', 'A|2|1' ]);
	refused('two looser indexes', "$loose; CREATE UNIQUE INDEX ON t (k COLLATE \"C\")", qq($upsert, pk_fields => '{k}'),
		qr/42P10: pk_fields does not tell which unique index of "t" is the key\nDETAIL:  Indexes "t_k_idx" and "t_k_idx1" have these columns, and differ in which values are equal\.\nHINT:  Drop one of them, or add a primary key/);
}
refused('a deferrable index like it', 'CREATE TABLE t (k int PRIMARY KEY DEFERRABLE); CREATE UNIQUE INDEX i ON t (k)', qq($upsert, pk_fields => '{k}'),
	qr/42P10: index "i" of "t" cannot be the key of a sink\nDETAIL:  ON CONFLICT cannot tell it from index "t_pkey"\./);
refused('a deferrable primary key', 'CREATE TABLE t (k int PRIMARY KEY DEFERRABLE)', $upsert,
	qr/42P10: the primary key of "t" cannot be the key of a sink\nDETAIL:  Index "t_pkey" is deferrable\.\nHINT:/);
refused('an index that is not valid', 'CREATE TABLE t (k int NOT NULL) PARTITION BY LIST (k); CREATE TABLE t1 PARTITION OF t DEFAULT; ALTER TABLE ONLY t ADD PRIMARY KEY (k)', $upsert,
	qr/42P10: the primary key of "t" cannot be the key of a sink\nDETAIL:  Index "t_pkey" is not valid\./);
refused('an exclusion constraint', 'CREATE TABLE t (k int4range, EXCLUDE USING gist (k WITH &&))', qq($upsert, pk_fields => '{k}'),
	qr/42P10: no unique index of "t" covers exactly the columns of pk_fields/);
refused('a column twice', 'CREATE TABLE t (k int, v int, UNIQUE (k, v))', qq($upsert, pk_fields => '{k,k}'), qr/42P10: no unique index of "t" covers exactly/);

# --- identity columns ---

foreach my $kind ('ALWAYS', 'BY DEFAULT')
{
	my $id = "id int GENERATED $kind AS IDENTITY";

	check("$kind, insert", ddl => "CREATE TABLE t ($id, v int)", way => 'fast', probe => '{"v": 9}',
		batches => [ [ '{"id": 4711, "v": 1}', '{"v": 2}', '{"id": null}' ], [ '{"id": 4711, "v": 1}', '{"v": 2}' ] ],
		told => [ '23502: null value in column "id" of relation "t" violates not-null constraint', 'applied 2' ], rows => 'SELECT v, id > 4000 FROM t ORDER BY 1', left => [ '1|t', '2|f' ]);
	check("$kind, ignore", ddl => "CREATE TABLE t ($id PRIMARY KEY, v int)", sink => q(insert_mode => 'ignore'),
		batches => [ [ '{"id": 4711, "v": 1}', '{"v": 2}', '{"id": 4711, "v": 3}' ] ], told => ['applied 2 unmatched 1'], left => [ 't|1|2', 't|4711|1' ]);
	check("$kind, key of an upsert", ddl => "CREATE TABLE t ($id PRIMARY KEY, v int)", sink => $upsert, way => 'fast', probe => '{"v": 9}',
		batches => [ [ '{"id": 4711, "v": 1}', '{"v": 2}' ], [ '{"id": 4711, "v": 3}', [ 1, undef ] ] ], told => [ 'applied 2', 'applied 1 deleted 1' ], left => ['t|4711|3']);
	check("$kind, key of an update", ddl => "CREATE TABLE t ($id PRIMARY KEY, v int); INSERT INTO t (v) VALUES (0)", sink => q(insert_mode => 'update'),
		batches => [ [ '{"id": 1, "v": 1}', '{"id": 2, "v": 1}' ] ], told => ['applied 1 unmatched 1'], left => ['t|1|1']);
	check("$kind, key of sums", ddl => "CREATE TABLE t ($id PRIMARY KEY, v int)", sink => q(insert_mode => 'accumulate', accumulate => '{"v": "sum"}'), way => 'fast', probe => '{"id": 9}',
		batches => [ [ '{"id": 7, "v": 1}', '{"id": 7, "v": 2}' ], ['{"id": 7, "v": 5}'] ], told => [ 'applied 2', 'applied 1' ], left => ['t|7|8']);
	check("$kind, changes of a table", ddl => "CREATE TABLE t ($id PRIMARY KEY, v int, w text)",
		sink => qq($upsert, envelope => 'debezium'),
		batches => [ [ '{"op": "c", "after": {"id": 7, "v": 1, "w": "long"}}', '{"op": "c", "after": {"id": 8, "v": 1, "w": "x"}}' ],
			[ '{"op": "u", "after": {"id": 7, "v": 3, "w": "__debezium_unavailable_value"}}', '{"op": "d", "before": {"id": 8}}' ] ],
		told => [ 'applied 2', 'applied 1 deleted 1' ], left => ['t|7|3|long']);
	check("$kind, partitions", ddl => "CREATE TABLE t ($id, v int, PRIMARY KEY (id)) PARTITION BY LIST (id); CREATE TABLE t1 PARTITION OF t DEFAULT", sink => $upsert,
		batches => [ [ '{"id": 7, "v": 1}', '{"v": 2}' ], ['{"id": 7, "v": 3}'] ], told => [ 'applied 2', 'applied 1' ], left => [ 't1|1|2', 't1|7|3' ]);
	# not mapped: the server's
	check("$kind, left out", ddl => "CREATE TABLE t ($id, v int PRIMARY KEY, s serial, w int)", sink => qq($upsert, columns => '{"id": null, "s": null}'),
		batches => [ [ '{"id": 7, "v": 1, "s": 7}', '{"v": 2}' ], ['{"v": 1, "w": 3}'] ], told => [ 'applied 2', 'applied 1' ], left => [ 't|1|1|1|3', 't|2|2|2|' ]);
}

# of a row that is there an identity that is generated always stays, as the server wants it
my $beside = 'CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, k text PRIMARY KEY, v int)';

check('beside the key, upsert', ddl => $beside, sink => $upsert,
	batches => [ [ '{"id": 50, "k": "a", "v": 1}', '{"k": "b", "v": 2}' ], [ '{"id": 51, "k": "a", "v": 3}', '{"k": "b"}' ], [ [ '"b"', undef ] ] ],
	told => [ 'applied 2', 'applied 2', 'deleted 1' ], left => ['t|50|a|3']);
check('beside the key, sums', ddl => $beside, sink => q(insert_mode => 'accumulate', accumulate => '{"v": "sum"}'), way => 'fast', probe => '{"k": "x"}',
	batches => [ [ '{"id": 50, "k": "a", "v": 1}', '{"id": 51, "k": "a", "v": 2}', '{"k": "b", "v": 2}' ], [ '{"id": 52, "k": "a", "v": 3}', '{"k": "b", "v": 1}' ] ],
	told => [ 'applied 3', 'applied 2' ], left => [ 't|1|b|3', 't|50|a|6' ]);
check('beside the key, update', ddl => "$beside; INSERT INTO t (k) VALUES ('a')", sink => q(insert_mode => 'update'),
	batches => [ ['{"id": "not looked at", "k": "a", "v": 1}'] ], told => ['applied 1'], left => ['t|1|a|1']);
check('beside the key, patches', ddl => "$beside; ALTER TABLE t ADD w text; INSERT INTO t (k, w) VALUES ('a', 'long')", sink => qq($upsert, envelope => 'debezium'),
	batches => [ ['{"op": "u", "after": {"id": 9, "k": "a", "v": 3, "w": "__debezium_unavailable_value"}}'] ], told => ['applied 1'], left => ['t|1|a|3|long']);
refused('an update of it', $beside, q(insert_mode => 'update', columns => '{"id": "id"}'),
	qr/428C9: column "id" cannot be updated from a record\nDETAIL:  It is an identity column that is generated always\.\nHINT:  ALTER TABLE \.\.\. ALTER COLUMN id SET GENERATED BY DEFAULT\./);
refused('a sum of it', $beside, q(insert_mode => 'accumulate', accumulate => '{"id": "sum"}'), qr/42P10: column "id" cannot be accumulated\nDETAIL:  It is an identity column/);

# --- names ---

my $long = 'l' x 63;

check('columns with long names and odd ones', ddl => qq{CREATE TABLE t (k int PRIMARY KEY, $long int, given int, given_ int, "k given" int)}, sink => q(insert_mode => 'update'),
	batches => [ [qq({"k": 1, "$long": 2})], [qq({"k": 1, "given": 3, "k given": 4})] ], told => [ 'unmatched 1', 'unmatched 1' ], left => []);
check('the same, with a row', ddl => qq{CREATE TABLE t (k int PRIMARY KEY, $long int, given int, given_ int, "k given" int); INSERT INTO t VALUES (1, 1, 1, 1, 1)},
	sink => q(insert_mode => 'update'), batches => [ [qq({"k": 1, "$long": 2})], ['{"k": 1, "given": 3, "k given": 4}'] ], told => [ 'applied 1', 'applied 1' ], left => ['t|1|2|3|1|4']);

# --- an extension that wants to be asked about privileges is asked ---

check('audited', ddl => "CREATE TABLE t (k int); LOAD '$chunks'; SET chunks.audit = on", batches => [ ['{"k": 1}'] ], told => ['applied 1'], left => ['t|1'],
	probe => '{"k": 2}');

done_testing();
