# Records that Debezium's own connector wrote: under a mixed workload, source and
# target tables are equal in the end.  Four connectors read the same tables: one
# with default settings and schemas; one without schemas, with the settings that
# this needs; one with schemas and other settings; and one that writes Avro, with
# its schemas in a registry.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkConnect;
use KafkaSinkRegistry;
use KafkaSinkTest;

my $node = new_node('main', streaming => 1, conf => <<'EOF');
wal_level = logical
listen_addresses = '127.0.0.1'
max_replication_slots = 8
max_wal_senders = 8
max_worker_processes = 48
fsync = off
EOF
my $kafka = shared_broker();
my $registry = KafkaSinkRegistry->start;
my $seed = $ENV{KAFKA_SINK_SEED} // int(rand 2**31);
my $sentinels = 24;

print "# KAFKA_SINK_SEED=$seed\n";

sub sql { return $node->safe_psql('postgres', $_[0]); }

create_server($node, $kafka, options => "schema_registry_url '" . $registry->url . "'");
sql(q{CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree});

# --- the source ---

# Each column of "types": name => [ type, value, ... ], values as literals.
# NULL in all of them is a row of its own.
my @types = (
	i2 => [ 'smallint', -32768, 32767 ],
	i4 => [ 'int', -2147483648, 2147483647, 0 ],
	i8 => [ 'bigint', '-9223372036854775808', '9223372036854775807' ],
	n => [ 'numeric', '-12345678901234567890.123456789', '0', '1.10', '1e-20', '1e40', '-1', '123456789012345678901234567890' ],
	n0 => [ 'numeric(20)', '-12345678901234567890', '0', '-1', '127', '128', '-128', '-129' ],
	n4 => [ 'numeric(12,4)', '-1234.56', '99999999.9999', '-0.0001', '0' ],
	nf => [ 'numeric', "'NaN'", "'Infinity'", "'-Infinity'", '1.50' ],
	r => [ 'real', '-1.5', "'NaN'", "'Infinity'", "'-Infinity'", "'-0'", '1e-40', '3e38', '0.1' ],
	d => [ 'double precision', '-0.1', "'NaN'", "'Infinity'", "'-Infinity'", "'-0'", '1e-310', '1e308', '1.1' ],
	b => [ 'bool', 'true', 'false' ],
	t => [ 'text', q{E'a"b\\\\c\n\té €'}, q{''}, q{' '}, q{'{"no": "json"}'}, q{'12'} ],
	vc => [ 'varchar(20)', q{'é'} ],
	c => [ 'char(6)', q{'ch'} ],
	bt => [ 'bytea', q{'\x00ff10'}, q{''}, q{'\x5c78'}, q{'abc'} ],
	da => [ 'date', q{'2024-02-29'}, q{'infinity'}, q{'-infinity'}, q{'1969-12-31'}, q{'1582-10-15'}, q{'5874897-12-31'} ],
	ti => [ 'time', q{'03:04:05.678901'}, q{'00:00'}, q{'23:59:59.999999'} ],
	ti24 => [ 'time', q{'24:00'} ],
	ti0 => [ 'time(0)', q{'03:04:05'} ],
	tiz => [ 'timetz', q{'03:04:05.678901+02'}, q{'23:59:59-11:30'} ],
	ts => [ 'timestamp', q{'2024-02-29 03:04:05.678901'}, q{'infinity'}, q{'-infinity'}, q{'1969-12-31 23:59:59.999999'}, q{'1600-01-01'}, q{'9999-12-31 23:59:59.999999'} ],
	ts0 => [ 'timestamp(0)', q{'2024-02-29 03:04:05'} ],
	ts3 => [ 'timestamp(3)', q{'2024-02-29 03:04:05.678'} ],
	tz => [ 'timestamptz', q{'2024-02-29 03:04:05.678901+02'}, q{'infinity'}, q{'-infinity'}, q{'1600-01-01 00:00+00'}, q{'294276-12-31 23:59:59.999999+00'}, q{'20000-01-01 00:00+00'} ],
	tz3 => [ 'timestamptz(3)', q{'2024-02-29 03:04:05.678+02'} ],
	iv => [ 'interval', q{'1 year 2 months 3 days 04:05:06.789012'}, q{'-1 year -2 mons +3 days -04:05:06.789'}, q{'-00:00:00.000001'}, q{'0'}, q{'100 years'} ],
	ivd => [ 'interval', q{'3 days 04:05:06.789012'}, q{'-3 days -04:05:06.789'}, q{'-00:00:00.000001'}, q{'0'} ],
	u => [ 'uuid', q{'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'} ],
	j => [ 'json', q{'{"a": [1, null, "x\\u00e9"],  "b": {}}'}, q{'"s"'}, q{'null'}, q{'1'} ],
	jb => [ 'jsonb', q{'{"b": 1.50, "a": "\"q\""}'}, q{'"s"'}, q{'null'}, q{'1.5'}, q{'[]'} ],
	inet => [ 'inet', q{'10.0.0.1/8'}, q{'::1'} ],
	cidr => [ 'cidr', q{'10.0.0.0/8'} ],
	mac => [ 'macaddr', q{'08:00:2b:01:02:03'} ],
	mac8 => [ 'macaddr8', q{'08:00:2b:01:02:03:04:05'} ],
	bit1 => [ 'bit', q{B'1'}, q{B'0'} ],
	bit12 => [ 'bit(12)', q{B'101100111000'}, q{B'000000000001'} ],
	i4s => [ 'int[]', q{'{1,NULL,-3}'}, q{'{}'} ],
	txs => [ 'text[]', q{'{a,"b,c",NULL,"q\"x","\\\\",""}'}, q{'{}'} ],
	us => [ 'uuid[]', q{'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}'} ],
	ns => [ 'numeric[]', q{'{1.5,-2,NULL}'}, q{'{}'} ],
	n2s => [ 'numeric(8,2)[]', q{'{1.50,-2,NULL}'} ],
	tzs => [ 'timestamptz[]', q{'{2024-02-29 03:04:05.678901+02,NULL,infinity}'} ],
	tss => [ 'timestamp[]', q{'{2024-02-29 03:04:05.678,NULL}'} ],
	das => [ 'date[]', q{'{2024-02-29,NULL,infinity,-infinity}'} ],
	tis => [ 'time[]', q{'{03:04:05.678,NULL}'} ],
	bs => [ 'bool[]', q{'{t,f,NULL}'} ],
	i8s => [ 'bigint[]', q{'{9223372036854775807}'} ],
	ds => [ 'double precision[]', q{'{1.5,NULL}'} ],
	bts => [ 'bytea[]', q{'{"\\\\x00ff",NULL}'} ],
	jbs => [ 'jsonb[]', q{ARRAY['{"a": "\"q"}', '[1,2]', '"s"', NULL, 'null']::jsonb[]} ],
	es => [ 'src.mood[]', q{'{ok,"so so"}'} ],
	vcs => [ 'varchar(5)[]', q{'{a,b}'} ],
	inets => [ 'inet[]', q{'{10.0.0.1,NULL}'} ],
	mo => [ 'money', q{'-12.34'}, q{'0'}, q{'1234567.89'} ],
	po => [ 'point', q{'(1.5,-2.25)'}, q{'(1e300,1e-300)'}, q{'(0,0)'} ],
	x => [ 'xml', q{'<a b="1">text &amp; more</a>'} ],
	h => [ 'hstore', q{'a=>1, "b c"=>NULL, "q\"x"=>"v, \\\\w", "é"=>""'}, q{''} ],
	ci => [ 'citext', q{'CiTe'} ],
	lt => [ 'ltree', q{'Top.Science'} ],
	e => [ 'src.mood', q{'so so'}, q{'sad'} ],
	pos => [ 'src.positive', 7 ],
	price => [ 'src.price', '99.5', '-0.01' ],
	r4 => [ 'int4range', q{'[1,5)'}, q{'empty'}, q{'(,)'} ],
	nr => [ 'numrange', q{'[1.5,2.5)'} ],
	tsr => [ 'tsrange', q{'[2024-01-01,2024-02-01 10:00:00.5)'}, q{'[-infinity,infinity]'} ],
	tzr => [ 'tstzrange', q{'[2024-01-01 00:00:00+00,)'} ],
	dr => [ 'daterange', q{'[2024-01-01,2024-02-01)'} ],
	tv => [ 'tsvector', q{to_tsvector('english', 'the quick brown fox''s \ tail')} ],
	o => [ 'oid', 4294967295 ],
	'"Odd ""Name"' => [ 'text', q{'odd'} ],
	# types that the connector does not know: left out, or bytes of their text
	na => [ 'name', q{'a name'} ],
	tq => [ 'tsquery', q{'a & b'} ],
	co => [ 'src.duo', q{'(1,"x ""y")'} ],
	bx => [ 'box', q{'(1,2),(0,0)'} ],
	pa => [ 'path', q{'[(1,2),(3,4)]'} ],
	mr => [ 'int4multirange', q{'{[1,3),[5,7)}'} ]);
my %types = @types;
my @names = grep { !ref } @types;

sql(q{
	CREATE SCHEMA src;
	CREATE TYPE src.mood AS ENUM ('ok', 'so so', 'sad');
	CREATE DOMAIN src.positive AS int CHECK (value > 0);
	CREATE DOMAIN src.price AS numeric(10,2);
	CREATE TYPE src.duo AS (a int, b text);
	CREATE TABLE src.types (id int PRIMARY KEY, } . join(', ', map { "$_ $types{$_}[0]" } @names) . q{);
	-- large columns out of line, so that updates of others leave them out
	CREATE TABLE src.mixed (id int PRIMARY KEY, n int, at timestamptz, amount numeric(12,3), day date,
		t text, v varchar, c citext, j jsonb, js json, x xml, b bytea, tv tsvector,
		txs text[], us uuid[], h hstore, i4s int[], i8s bigint[], das date[], bts bytea[], jbs jsonb[]);
	CREATE TABLE src.whole (LIKE src.mixed INCLUDING INDEXES);
	ALTER TABLE src.whole REPLICA IDENTITY FULL;
	CREATE TABLE src.moved (LIKE src.mixed INCLUDING INDEXES);
	CREATE TABLE src.pairs (day date, amount numeric(8,2), name text, at timestamp, v text, PRIMARY KEY (name, amount, day));
	CREATE TABLE src.nokey (a int, b text, v numeric);
	ALTER TABLE src.nokey REPLICA IDENTITY FULL;
	CREATE TABLE src.cut (id int PRIMARY KEY, v text);
	DO $$
	DECLARE r record;
	BEGIN
		FOR r IN SELECT attrelid::regclass rel, attname FROM pg_attribute
			WHERE attrelid IN ('src.mixed'::regclass, 'src.whole'::regclass, 'src.moved'::regclass) AND attnum > 5 LOOP
			EXECUTE format('ALTER TABLE %s ALTER %I SET STORAGE EXTERNAL', r.rel, r.attname);
		END LOOP;
	END$$;
	CREATE FUNCTION src.big(seed int) RETURNS text LANGUAGE sql AS
		$$SELECT string_agg(md5(seed || '/' || i), '') FROM generate_series(1, 280) i$$;
	CREATE FUNCTION src.row(id int, seed int) RETURNS src.mixed LANGUAGE sql AS
		$$SELECT id, seed, to_timestamp(seed), seed / 7.0, '2000-01-01'::date + seed,
			b, b || 'v', (b || 'c')::citext, jsonb_build_object('k', b), json_build_object('k', b), xmlparse(content '<a>' || b || '</a>'),
			decode(b, 'hex'), array_to_tsvector(array_agg(md5(i::text))), ARRAY[b, NULL, '"'], array_agg(md5(i::text)::uuid),
			hstore('k', b) || 'n=>NULL'::hstore, array_agg(i), array_agg(i::bigint * seed), array_agg('2000-01-01'::date + i),
			ARRAY[decode(b, 'hex')], ARRAY[to_jsonb(b), 'null']
			FROM src.big(seed) b, generate_series(seed, seed + 600) i GROUP BY b$$;
});

# Rows of "types" from one id on: all NULL, then each value of each column in
# turn; a column with fewer values than others is NULL when they are used up.
sub insert_types
{
	my ($from) = @_;
	my $rows = 1;

	foreach (values %types) { $rows = @$_ - 1 if @$_ - 1 > $rows; }
	sql(join '', "INSERT INTO src.types (id) VALUES ($from);\n", map {
		my $row = $_;

		"INSERT INTO src.types VALUES (" . join(', ', $from + $row, map { $types{$_}[$row] // 'NULL' } @names) . ");\n"
	} 1 .. $rows);
	return;
}

insert_types(1);
sql(q{
	INSERT INTO src.mixed SELECT (src.row(i, i)).* FROM generate_series(1, 20) i;
	INSERT INTO src.whole SELECT (src.row(i, i)).* FROM generate_series(1, 5) i;
	INSERT INTO src.moved SELECT (src.row(i, i)).* FROM generate_series(1, 2) i;
	INSERT INTO src.pairs SELECT '2024-01-01'::date + i, i / 4.0, 'name ' || i, to_timestamp(i), i FROM generate_series(1, 20) i;
	INSERT INTO src.nokey SELECT i, 'b' || i, i / 3.0 FROM generate_series(1, 20) i;
	INSERT INTO src.cut SELECT i, 'v' FROM generate_series(1, 20) i;
});

# --- connectors, targets, sinks ---

# The registry's own converter, as Confluent's is.  Its client speaks the registry's
# own API.
my %avro = map {
	my $c = "$_.converter";

	($c => 'io.apicurio.registry.utils.converter.AvroConverter',
		"$c.apicurio.registry.url" => $registry->own_url,
		"$c.apicurio.registry.auto-register" => 'true',
		"$c.apicurio.registry.as-confluent" => 'true',
		"$c.apicurio.registry.use-id" => 'contentId',
		"$c.apicurio.registry.headers.enabled" => 'false')
} qw(key value);

# "lacks": what these settings cannot carry is not a column of the target.
my %connectors = (
	on => {
		schemas => 'true',
		settings => { 'include.unknown.datatypes' => 'true' },
		lacks => { types => [qw(nf iv)] } },
	off => {
		schemas => 'false',
		settings => {
			'decimal.handling.mode' => 'string',
			'time.precision.mode' => 'isostring',
			'interval.handling.mode' => 'string' },
		lacks => { types => [qw(ti24 na tq co bx pa mr)], mixed => ['das'], moved => ['das'] } },
	modes => {
		schemas => 'true',
		settings => {
			'decimal.handling.mode' => 'string',
			'time.precision.mode' => 'connect',
			'interval.handling.mode' => 'string',
			'hstore.handling.mode' => 'map' },
		lacks => { types => [qw(na tq co bx pa mr)], mixed => ['das'], moved => ['das'] } },
	avro => {
		schemas => 'true',
		sinks => q(format => 'avro', key_format => 'avro',),
		columns => { types => '{"Odd \"Name": "$.Odd__Name"}' },
		settings => {
			%avro,
			'schema.name.adjustment.mode' => 'avro',
			'field.name.adjustment.mode' => 'avro',
			'include.unknown.datatypes' => 'true' },
		lacks => { types => [qw(nf iv)] } });
my @tables = qw(types mixed whole moved pairs nokey cut);
my %keys = (pairs => 'name, amount, day', nokey => 'b');

foreach my $c (sort keys %connectors)
{
	my $prefix = $connectors{$c}{prefix} = "dbz_${c}_$$";

	sql("CREATE SCHEMA t_$c");
	foreach my $table (@tables)
	{
		my $topic = "$prefix.src.$table";
		my $sink = "${c}_$table";
		my $columns = $connectors{$c}{columns}{$table}
		  // ($table eq 'pairs' && $c ne 'modes' ? '{"day": "@key.day", "amount": "@key.amount"}' : '{}');
		my $on_error = $table eq 'moved' ? 'dead_letter' : 'stop';

		# a truncation has no key: it is in order with one partition only
		$kafka->create_topic($topic, $table eq 'cut' ? 1 : 3);
		sql("CREATE TABLE t_$c.$table (LIKE src.$table); "
			  . join('', map { "ALTER TABLE t_$c.$table DROP COLUMN $_; " } @{ $connectors{$c}{lacks}{$table} // [] })
			  . "ALTER TABLE t_$c.$table ADD PRIMARY KEY (" . ($keys{$table} // 'id') . ')');
		sql(qq{
			BEGIN;
			SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => 't_$c.$table', envelope => 'debezium',
				columns => '$columns', @{[ $connectors{$c}{sinks} // '' ]}
				insert_mode => 'upsert', delete_enabled => true, on_error => '$on_error');
			SELECT kafka_sink.register_topic('$sink', '$topic', start_at => 'earliest');
			COMMIT});
	}
}
my $connect = KafkaSinkConnect->start($kafka, $node, map {
	my $c = $connectors{$_};

	($c->{prefix} => {
		'schema.include.list' => 'src',
		'skipped.operations' => 'none',
		'message.key.columns' => 'src.nokey:b',
		'key.converter' => 'org.apache.kafka.connect.json.JsonConverter',
		'key.converter.schemas.enable' => $c->{schemas},
		'value.converter' => 'org.apache.kafka.connect.json.JsonConverter',
		'value.converter.schemas.enable' => $c->{schemas},
		%{ $c->{settings} } })
} keys %connectors);
$connect->wait_streaming;

# --- the workload ---

insert_types(101);
sql(q{
	UPDATE src.types SET b = NOT b, n = n + 1, id = id + 1000 WHERE id < 5;
	DELETE FROM src.types WHERE id IN (5, 102);
	UPDATE src.types SET bt = '\x01', jb = '{"new": [1]}', h = 'new=>1' WHERE id > 5 AND id % 5 = 0;
});
sql(qq{
	SELECT setseed($seed / 2147483648.0);
	DO \$\$
	DECLARE
		tab text;
		k int;
		dice float8;
	BEGIN
		FOR i IN 1 .. 400 LOOP
			tab := CASE WHEN random() < 0.8 THEN 'src.mixed' ELSE 'src.whole' END;
			k := 1 + (random() * 60)::int;
			dice := random();
			IF dice < 0.25 THEN
				EXECUTE format('INSERT INTO %s SELECT (src.row(\$1, \$2)).* ON CONFLICT DO NOTHING', tab) USING k, i;
			ELSIF dice < 0.55 THEN		-- leaves all of the large columns
				EXECUTE format('UPDATE %s SET n = \$2, at = now(), amount = -amount WHERE id = \$1', tab) USING k, i;
			ELSIF dice < 0.7 THEN		-- leaves some
				EXECUTE format('UPDATE %s SET t = src.big(\$2), us = NULL, i4s = ''{1}'', h = NULL WHERE id = \$1', tab) USING k, i;
			ELSIF dice < 0.8 THEN
				EXECUTE format('DELETE FROM %s WHERE id = \$1', tab) USING k;
			ELSIF tab = 'src.whole' THEN	-- a change of the key that leaves all
				UPDATE src.whole SET id = id + 100 WHERE id = k AND NOT EXISTS (SELECT FROM src.whole WHERE id = k + 100);
			ELSE
				DELETE FROM src.mixed WHERE id = k + 100;
				UPDATE src.mixed SET (id, n, at, amount, day, t, v, c, j, js, x, b, tv, txs, us, h, i4s, i8s, das, bts, jbs) =
					(SELECT (src.row(k + 100, i)).*) WHERE id = k;
			END IF;
			k := 1 + (random() * 30)::int;
			dice := random();
			IF dice < 0.3 THEN
				INSERT INTO src.pairs VALUES ('2024-01-01'::date + k, k / 4.0, 'name ' || k, now(), i) ON CONFLICT DO NOTHING;
				INSERT INTO src.nokey SELECT i, 'b' || k, random() WHERE NOT EXISTS (SELECT FROM src.nokey WHERE b = 'b' || k);
			ELSIF dice < 0.6 THEN
				UPDATE src.pairs SET v = i, at = 'infinity' WHERE name = 'name ' || k;
				UPDATE src.nokey SET v = -i WHERE b = 'b' || k;
			ELSIF dice < 0.8 THEN
				UPDATE src.pairs SET amount = 1000 + i, day = day - 1 WHERE ctid = (SELECT ctid FROM src.pairs WHERE name = 'name ' || k LIMIT 1);
				UPDATE src.nokey SET b = b || 'x' WHERE b = 'b' || k AND NOT EXISTS (SELECT FROM src.nokey WHERE b = 'b' || k || 'x');
			ELSE
				DELETE FROM src.pairs WHERE name = 'name ' || k;
				DELETE FROM src.nokey WHERE b = 'b' || k || 'x';
			END IF;
			COMMIT;
		END LOOP;
	END\$\$;
	UPDATE src.moved SET id = 11 WHERE id = 1;
	TRUNCATE src.cut;
	INSERT INTO src.cut VALUES (1, 'new');
});
# Behind all that, in every partition.
sql(qq{
	INSERT INTO src.types (id) SELECT 900000 + i FROM generate_series(1, $sentinels) i;
	INSERT INTO src.mixed (id) SELECT 900000 + i FROM generate_series(1, $sentinels) i;
	INSERT INTO src.whole (id) SELECT 900000 + i FROM generate_series(1, $sentinels) i;
	INSERT INTO src.moved (id) SELECT 900000 + i FROM generate_series(1, $sentinels) i;
	INSERT INTO src.pairs SELECT '2000-01-01', i, 'sentinel' FROM generate_series(1, $sentinels) i;
	INSERT INTO src.nokey SELECT i, 'sentinel' || i FROM generate_series(1, $sentinels) i;
	INSERT INTO src.cut SELECT 900000 + i FROM generate_series(1, $sentinels) i;
});

# --- the end ---

# What is compared of a column: a time with a zone comes in UTC, a numeric
# without a scale without zeros at its end, and the mode "connect" has
# milliseconds.
sub shown
{
	my ($c, $name, $type) = @_;

	return "($name AT TIME ZONE 'UTC')::text" if $type eq 'time with time zone';
	return "date_trunc('milliseconds', $name)::text" if $c eq 'modes' && $type eq 'timestamp without time zone';
	return "date_trunc('milliseconds', $name)::text" if $c eq 'modes' && $type eq 'time without time zone';
	return "trim_scale($name)::text" if $type eq 'numeric';
	return "$name\::text";
}

# For whom it may concern: which values are not the same.
sub differences
{
	my ($c, $table, $columns) = @_;
	my $key = $keys{$table} // 'id';

	foreach (@$columns)
	{
		my ($name, $type) = @$_;
		my $shown = shown($c, $name, $type);
		my $s = sql("SELECT ROW($key)::text || ' ' || coalesce(left(s.v, 200), 'NULL') || ' -> ' || coalesce(left(t.v, 200), 'NULL')
			FROM (SELECT $key, $shown AS v FROM src.$table) s JOIN (SELECT $key, $shown AS v FROM t_$c.$table) t USING ($key)
			WHERE s.v IS DISTINCT FROM t.v ORDER BY 1 LIMIT 8");

		diag "$c $table.$name $type:\n$s" if length $s;
	}
	return;
}

foreach my $c (sort keys %connectors)
{
	foreach my $table (@tables)
	{
		my $sink = "${c}_$table";
		my $sentinel = { pairs => q{name = 'sentinel'}, nokey => q{b LIKE 'sentinel%'} }->{$table} // 'id > 900000';
		wait_until($node, "SELECT (SELECT count(*) FROM t_$c.$table WHERE $sentinel), state FROM kafka_sink.sinks WHERE sink = '$sink'",
			qr/^$sentinels\||halted/, "$sink: all has come");
		# (or has been idle for a minute, when its turn comes)
		like(sql("SELECT state, off, sqlstate, message, detail FROM kafka_sink.sinks WHERE sink = '$sink'"), qr/^(running|idle)\|\|\|\|$/, "$sink runs");
		my @columns = map { [ split /\|/ ] } split /\n/,
		  sql("SELECT quote_ident(attname), format_type(atttypid, -1) FROM pg_attribute
				WHERE attrelid = 't_$c.$table'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum");
		my $list = join ', ', map { shown($c, @$_) . " AS $_->[0]" } @columns;
		my $source = "src.$table" . ($table eq 'moved' ? ' WHERE id <> 11' : '');
		my $target = "t_$c.$table";
		is(sql("SELECT (SELECT count(*) FROM $target) - (SELECT count(*) FROM $source)"), 0, "$sink: as many rows");
		is(sql("SELECT count(*) FROM (SELECT $list FROM $source EXCEPT SELECT $list FROM $target) d"), 0, "$sink: nothing is missing")
		  & is(sql("SELECT count(*) FROM (SELECT $list FROM $target EXCEPT SELECT $list FROM $source) d"), 0, "$sink: nothing is too much")
		  or differences($c, $table, \@columns);
		is(sql("SELECT bool_and(consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched),
					bool_and(off - start_off = consumed + gaps), sum(consumed) > $sentinels FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
			't|t|t', "$sink: the accounts are exact");
	}
	# a change of the key alone, of a row that the connector does not have as a whole
	is(sql("SELECT sqlstate, message FROM kafka_sink.dead_letters WHERE sink = '${c}_moved'"), '22000|record lacks the value of a column, and there is no row that has it', "$c: a row that is not in the record");
}
note $connect->errors;

$connect->stop;
$node->stop('fast');
done_testing();
