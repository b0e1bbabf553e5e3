# Values of all types from a table to Kafka, by each envelope, and by a sink into an equal
# table; and the keys of tables that are published by another's replica identity, or in part.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "wal_level = logical\n");
my $kafka = shared_broker();
my $progress = $kafka->topic('progress');
my $prefix = $kafka->topic('values');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub published { return sql("CALL kafka_sink.wait_for('$_[0]', timeout => '2 min')"); }

# key=value of a topic's records, in their order
sub records_of { return join "\n", map { unescaped($_->[2]) . '=' . unescaped($_->[3]) } $kafka->records("$prefix.$_[0]"); }

sub create_feed
{
	my ($feed, $more) = @_;

	sql("SELECT kafka_sink.create_feed('$feed', server => 'kafka', progress_topic => '$progress', $more)");
	return published($feed);
}

sub halts
{
	my ($feed, $message, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, "SELECT state || ' ' || message FROM kafka_sink.feeds WHERE feed = '$feed'", $message, $what);
	sql("SELECT kafka_sink.skip('$feed'); SELECT kafka_sink.resume('$feed')");
	return published($feed);
}

create_server($node, $kafka);
my $v15 = sql('SHOW server_version_num') >= 150000;

# --- there and back ---

my @envelopes = qw(none debezium debezium_schema);
sql(q{
	CREATE TYPE mood AS ENUM ('ok', 'so so');
	CREATE DOMAIN small AS int CHECK (VALUE < 100);
	CREATE TYPE spot AS (x int, "a t" timestamptz, names text[]);
	CREATE TABLE source (id int PRIMARY KEY, gone text, b boolean, i2 smallint, i8 bigint, f4 real, f8 float8, n numeric, n3 numeric(12,3),
		t text, v varchar(20), c char(5), na name, d date, tm time, tmz timetz, ts timestamp, tz timestamptz, iv interval, u uuid,
		j json, jb jsonb, ba bytea, b5 bit(5), b8 bit(8), b1 bit(1), mo money, ip inet, mac macaddr, ir int4range, tr tstzrange, p point, bx box,
		tsv tsvector, "Quoted ""name""" text, m mood, sm small, sp spot,
		ia int[], ia2 int[][], ta text[], na2 numeric[], boa bool[], fa float8[], tza timestamptz[], da date[], ua uuid[], baa bytea[], jba jsonb[], ma mood[], spa spot[],
		g int GENERATED ALWAYS AS (id * 2) STORED);
	ALTER TABLE source DROP COLUMN gone;
	CREATE PUBLICATION source FOR TABLE source;
});
foreach my $envelope (@envelopes)
{
	sql("CREATE TABLE ${envelope}_copy (LIKE source INCLUDING ALL)");
	$kafka->create_topic("$prefix.$envelope", 1);
	create_feed("to_$envelope", "publication => 'source', topic => '$prefix.$envelope', envelope => '$envelope'");
	sql(qq{
		BEGIN;
		SELECT kafka_sink.create_sink('$envelope', server => 'kafka', target => '${envelope}_copy', envelope => '}
		  . ($envelope eq 'none' ? 'none' : 'debezium') . qq{', insert_mode => 'upsert', delete_enabled => true}
		  . ($envelope eq 'none' ? '' : q{, on_tombstone => 'ignore'}) . qq{);
		SELECT kafka_sink.register_topic('$envelope', '$prefix.$envelope');
		COMMIT});
}
sql(q{
	INSERT INTO source VALUES
		(1, true, -32768, 9223372036854775807, 1.5, 0.1, 12345678901234567890.123456789, -1.500, E'a\t"b"\\ \u00e9\u20ac', 'v', 'ab', 'n',
		 '2026-01-02', '23:59:59.999999', '23:59:59.9+02', '2026-01-02 03:04:05.678901', '2026-01-02 03:04:05.5+02', '1 mon 2 days 03:04:05.6',
		 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a":  [1, 2.50]}', '{"n": 12345678901234567890.123456789012345678}', '\x00deadbeef', '10110', '10110010', '1', '$1,234.50',
		 '10.0.0.1/8', '08:00:2b:01:02:03', '[1,5)', '["2026-01-01 00:00:00+00",)', '(1.5,-2)', '(1,1),(0,0)', 'a:1 b:2', 'q', 'so so', 7,
		 ROW(1, '2026-01-02 03:04:05+02', '{"a \"b\"","c,d"}'),
		 '{1,NULL,-3}', '{{1,2},{3,NULL}}', '{"x y",z,NULL,"","NULL"}', '{1.50,NaN}', '{t,f,NULL}', '{0.1,Infinity}', '{"2026-01-02 03:04:05+02",infinity}',
		 '{2026-01-02,0044-03-15 BC}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{"\\\\xdead","\\\\x",NULL}', '{"{\"a\": 1}","\"s\"","1",NULL}', '{"so so",ok}',
		 ARRAY[ROW(NULL, NULL, NULL)::spot, NULL, ROW(2, 'infinity', '{}')::spot]),
		(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
		 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
		(3, false, 0, -9223372036854775808, 'NaN', 'Infinity', 'NaN', 0, '', '', '', '', 'infinity', '24:00', '00:00-12', 'infinity', 'infinity', '-1 year -1 us',
		 '00000000-0000-0000-0000-000000000000', '"text"', '"123"', '', '00000', '00000000', '0', '-$0.01', '::1', '08:00:2b:01:02:03', 'empty', '(,)', '(0,0)', '(0,0),(0,0)',
		 '', '', 'ok', -1, ROW(NULL, NULL, NULL), '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
		(4, false, 32767, 0, '-Infinity', 5e-324, '-Infinity', 999999999.999, repeat('x', 3000), 'v', 'abcde', 'n', '-infinity', '00:00', '12:00:00.000001+00', '-infinity', '-infinity',
		 '0', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'true', '"true"', decode(repeat('00ff', 3000), 'hex'), '11111', '00000001', '1', '$0.00', '10.0.0.0/8', '00:00:00:00:00:00',
		 '(,)', 'empty', '(1e-300,1e300)', '(1,2),(-3,-4)', 'x', E'\n', 'ok', 99, ROW(5, '0044-03-15 12:00:00+00 BC', NULL), '[2:3]={1,2}', '{{1},{2}}', '{a}', '{Infinity,-Infinity}',
		 '{t}', '{-Infinity,NaN}', '{-infinity}', '{infinity,-infinity}', '{}', '{NULL}', '{null}', '{ok}', ARRAY[NULL]::spot[]);
	INSERT INTO source (id, d, ts, tz, n, n3, f8, j, jb, t) VALUES
		(5, '0044-03-15 BC', '0044-03-15 12:00:00 BC', '0044-03-15 12:00:00+00 BC', 1e-30, 0.001, 1.7976931348623157e308, '[]', '"a \"b\""', 'null'),
		(6, '5874897-12-31', '9999-12-31 23:59:59.999999', '10000-01-01 00:00:00+00', 1e40, -0.001, -0.0, '"null"', '"null"', '\N'),
		(7, '0001-12-31 BC', '0001-12-31 00:00:00 BC', '294276-12-31 23:59:59.999999+00', -0.000, 5, 1, '1.50', '1.50', '{}'),
		(8, '1582-10-04', '1500-02-28', '1500-03-01 00:00:00+00', 100, 100, 100, '{"a":1}', '[]', '[]');
	UPDATE source SET t = 'changed', ba = '\x01' WHERE id = 3;
	UPDATE source SET id = 9 WHERE id = 5;
	DELETE FROM source WHERE id = 8;
});
foreach my $envelope (@envelopes)
{
	published("to_$envelope");
	$kafka->settle("$prefix.$envelope");
	sql("CALL kafka_sink.wait_for('$envelope', timeout => '2 min')");
	is(sql("SELECT count(*) FROM ${envelope}_copy"), 7, "$envelope: all rows");
	# (an array's lower bound is not JSON's)
	is( sql("SELECT string_agg(format('%s: %s is %s', s.id, k.key, c.value), E'\\n')
			FROM (SELECT id, to_jsonb(x) || jsonb_build_object('text', replace(x::text, '[2:3]=', '')) AS r FROM source x) s
			CROSS JOIN LATERAL jsonb_each_text(s.r) k
			LEFT JOIN (SELECT id, to_jsonb(x) || jsonb_build_object('text', x::text) AS r FROM ${envelope}_copy x) y USING (id)
			LEFT JOIN LATERAL jsonb_each_text(y.r) c USING (key) WHERE k.value IS DISTINCT FROM c.value"), '', "$envelope: they are equal");
}

# what those expect who read Debezium's
my ($first) = grep { /"id":1,/ } map { unescaped($_->[3]) } $kafka->records("$prefix.debezium");
like($first, qr/"ba":"AN6tvu8=","b5":"Fg==","b8":"sg==","b1":true,/, 'debezium: bytes and bits in base64');
like($first, qr/"j":"\{\\"a\\":  \[1, 2\.50\]\}","jb":"\{\\"n\\": 12345678901234567890\.123456789012345678\}"/, 'JSON in a string');
like($first, qr/"baa":\["3q0=","",null\],"jba":\["\{\\"a\\": 1\}","\\"s\\"","1",null\]/, 'in arrays, too');
my @rows = map { unescaped($_->[3]) } $kafka->records("$prefix.debezium_schema");
my ($third) = grep { /"id":3,/ } @rows;
like($third, qr/"d":-2147472692,.*"ts":9223372036825200000,"tz":"infinity"/, 'debezium_schema: infinity, as Debezium has it');
my ($fifth) = grep { /"id":5,"b"/ } @rows;
like($fifth, qr/"tz":"-0043-03-15T12:00:00Z"/, 'years before the first, as Java has them');
my ($sixth) = grep { /"id":6,/ } @rows;
like($sixth, qr/"tz":"\+10000-01-01T00:00:00Z"/, 'and those behind 9999');
like($third, qr/\{"type":"array","optional":true,"items":\{"type":"int32","optional":true\},"field":"ia"\},\{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1,"field":"ia2"\}/,
	'an array of more dimensions is JSON');
sql("SELECT kafka_sink.drop_feed('to_$_'); SELECT kafka_sink.drop_sink('$_')") foreach @envelopes;

# --- whatever the role's sessions have set ---

sql(q{
	CREATE ROLE styled LOGIN;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_feed TO styled;
	GRANT USAGE ON FOREIGN SERVER kafka TO styled;
	ALTER ROLE styled SET DateStyle = 'German, DMY';
	ALTER ROLE styled SET TimeZone = 'Asia/Tokyo';
	ALTER ROLE styled SET IntervalStyle = 'sql_standard';
	ALTER ROLE styled SET extra_float_digits = -10;
	ALTER ROLE styled SET bytea_output = 'escape';
	ALTER ROLE styled SET quote_all_identifiers = on;
	ALTER ROLE styled SET search_path = public;
	ALTER ROLE styled SET standard_conforming_strings = off;
	ALTER ROLE styled SET client_encoding = 'LATIN1';
	CREATE TABLE styled (id int PRIMARY KEY, d date, tz timestamptz, iv interval, f float8, ba bytea, r regclass, tza timestamptz[], t text, U&"caf\00e9" text);
	INSERT INTO styled VALUES (1, '2026-01-02', '2026-01-02 03:04:05+00', '1 day 02:00', 0.1::float8 + 0.2, '\x00ff', 'styled', '{2026-01-02 03:04:05+00}', E'caf\u00e9 1 \u20ac', 'x');
	GRANT SELECT ON styled TO styled;
	CREATE PUBLICATION styled FOR TABLE styled;
});
$kafka->create_topic("$prefix.styled", 1);
sql("SET ROLE styled; SELECT kafka_sink.create_feed('styled', server => 'kafka', progress_topic => '$progress', publication => 'styled', topic => '$prefix.styled', copy_data => true)");
published('styled');
sql('UPDATE styled SET id = id + 1');
published('styled');
my $styled = q("d":"2026-01-02","tz":"2026-01-02T03:04:05+00:00","iv":"1 day 02:00:00","f":0.30000000000000004,"ba":"\\\x00ff","r":"public.styled","tza":["2026-01-02T03:04:05+00:00"],"t":"caf) . "\xc3\xa9 1 \xe2\x82\xac" . q(","caf) . "\xc3\xa9" . q(":"x"});
is(records_of('styled'), qq(1={"id":1,$styled\n1=\\N\n2={"id":2,$styled), 'rows and changes are written alike');
sql("SELECT kafka_sink.drop_feed('styled')");

# --- what a schema cannot say ---

sql(q{
	CREATE TABLE dims (id int PRIMARY KEY, a int[]);
	CREATE TABLE whole (a int, b text);
	ALTER TABLE whole REPLICA IDENTITY FULL;
	CREATE PUBLICATION schemas FOR TABLE dims, whole;
});
$kafka->create_topic("$prefix.$_", 1) foreach qw(dims whole);
create_feed('schemas', "publication => 'schemas', topic => '$prefix.{table}', envelope => 'debezium_schema'");
sql(q{INSERT INTO dims VALUES (1, '{1,2}'); INSERT INTO dims VALUES (2, '{{1,2},{3,4}}'); INSERT INTO dims VALUES (3, '[0:1]={1,2}')});
halts('schemas', 'halted an array of column "a" has more dimensions than one', 'an array of more dimensions than its column says');
is(scalar(my @dims = records_of('dims') =~ /"op":"c"/g), 2, 'is not published as something else');
sql(q{INSERT INTO whole VALUES (1, NULL); DELETE FROM whole});
published('schemas');
my ($key) = records_of('whole') =~ /^(.*?\})=/;
like($key, qr/\{"type":"int32","optional":true,"field":"a"\},\{"type":"string","optional":true,"field":"b"\}.*"payload":\{"a":1,"b":null\}\}/,
	'a key that can be NULL says so');
sql("SELECT kafka_sink.drop_feed('schemas')");

# --- keys ---

sql(q{
	CREATE TABLE parted (id int, v text, big text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
	ALTER TABLE parted_1 ALTER big SET STORAGE EXTERNAL;
	ALTER TABLE parted REPLICA IDENTITY FULL;
	CREATE TABLE coded (id int PRIMARY KEY, code int NOT NULL, v text) PARTITION BY RANGE (id);
	CREATE UNIQUE INDEX coded_code ON coded (code, id);
	CREATE TABLE coded_1 PARTITION OF coded FOR VALUES FROM (0) TO (100);
	ALTER TABLE coded REPLICA IDENTITY USING INDEX coded_code;
	CREATE TABLE pair (a int, b int, v text, PRIMARY KEY (a, b));
	CREATE PUBLICATION roots FOR TABLE parted, coded WITH (publish_via_partition_root = true);
});
$kafka->create_topic("$prefix.$_", 1) foreach qw(parted coded pair);
create_feed('roots', "publication => 'roots', topic => '$prefix.{table}'");
sql(q{INSERT INTO parted VALUES (1, 'a', repeat('x', 3000)); UPDATE parted SET id = 2; DELETE FROM parted});
published('roots');
my $big = 'x' x 3000;
is(records_of('parted'), join("\n", qq(1={"id":1,"v":"a","big":"$big"}), '1=\N', '2={"id":2,"v":"a"}', '2=\N'),
	'what a partition has not written to the WAL is not NULL, whatever its root says');
sql(q{INSERT INTO coded VALUES (1, 10, 'a'); DELETE FROM coded; INSERT INTO coded VALUES (2, 20, 'b')});
halts('roots', qr/^halted the key of a row of table public.coded that was deleted or got another key is not in the WAL/, 'a key that is not in the WAL');
is(records_of('coded'), join("\n", '{"code":10,"id":1}={"id":1,"code":10,"v":"a"}', '{"code":20,"id":2}={"id":2,"code":20,"v":"b"}') =~ s/\{"code":(\d+),"id":(\d)\}=/{"id":$2,"code":$1}=/gr,
	'is no deletion of nothing');
SKIP:
{
	skip 'column lists came with 15', 1 unless $v15;
	sql(q{CREATE PUBLICATION partly FOR TABLE pair (a, v) WITH (publish = 'insert')});
	create_feed('partly', "publication => 'partly', topic => '$prefix.{table}'");
	sql(q{INSERT INTO pair VALUES (1, 1, 'x'), (1, 2, 'y')});
	published('partly');
	is(records_of('pair'), qq(\\N={"a":1,"v":"x"}\n\\N={"a":1,"v":"y"}), 'a part of a key is none');
	sql("SELECT kafka_sink.drop_feed('partly')");
}

# --- the topic of progress is for progress (103 has a table of its name) ---

my (undef, undef, $err) = $node->psql('postgres', "SELECT kafka_sink.alter_feed('roots', topic => '$progress')");
like($err, qr/tables cannot be published to topic "\Q$progress\E"/, 'no table is published there');
(undef, undef, $err) = $node->psql('postgres', "SELECT kafka_sink.emit('roots', '$progress', 'k', 'v')");
like($err, qr/permission denied to emit to topic "\Q$progress\E"/, 'nor do messages go there');

# ... of whatever feed
sql('CREATE TABLE others (id text PRIMARY KEY); CREATE PUBLICATION others FOR TABLE others');
$kafka->create_topic("$prefix.others", 1, 'cleanup.policy' => 'compact');
sql("SELECT kafka_sink.create_feed('second', server => 'kafka', progress_topic => '$prefix.others', enabled => false)");
create_feed('others', "publication => 'others', topic => '$prefix.{table}'");
sql("INSERT INTO others VALUES ('a key')");
halts('others', qq(halted the topic of table public.others would be "$prefix.others", which has the progress of feeds), "nor do tables of others");
is(scalar $kafka->records("$prefix.others"), 0, 'which has nothing of it');
sql("SELECT kafka_sink.drop_feed('second'); SELECT kafka_sink.drop_feed('others')");

# --- another encoding than Kafka's, also of the place at which a copy has stopped ---

$node->safe_psql('postgres', q{CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql('latin1', 'CREATE EXTENSION kafka_sink');
create_server($node, $kafka, dbname => 'latin1');
$kafka->create_topic("$prefix.$_", 1) foreach qw(names said);
sub latin1 { return $node->safe_psql('latin1', $_[0]); }
latin1(qq{
	CREATE TABLE names (n text PRIMARY KEY, v text);
	INSERT INTO names SELECT chr(233) || i, CASE i WHEN 4 THEN repeat('x', 5000) ELSE 'caf' || chr(233) END FROM generate_series(1, 7) i;
	CREATE PUBLICATION names FOR TABLE names;
	SELECT kafka_sink.create_feed('names', server => 'kafka', publication => 'names', topic => '$prefix.names', progress_topic => '$progress',
		copy_data => true, batch_records => 2, max_message_bytes => 2000);
});
wait_until($node, 'SELECT state FROM kafka_sink.feeds', 'halted', 'a row of a copy is too large', undef, 'latin1');
is(latin1('SELECT stopped_at = format(\'{"n text": "%s4"}\', chr(233)) FROM kafka_sink.feed_copies'), 't', 'with its key');
latin1(q{SELECT kafka_sink.alter_feed('names', max_message_bytes => 20000); SELECT kafka_sink.resume('names')});
latin1(q{CALL kafka_sink.wait_for('names', timeout => '2 min')});
latin1(qq{BEGIN; UPDATE names SET v = chr(228) WHERE n = chr(233) || '7'; SELECT kafka_sink.emit('names', '$prefix.said', chr(252), chr(246)); COMMIT});
latin1(q{CALL kafka_sink.wait_for('names', timeout => '2 min')});
is(records_of('names'), join("\n", map({ qq(\xc3\xa9$_={"n":"\xc3\xa9$_","v":") . ($_ == 4 ? 'x' x 5000 : "caf\xc3\xa9") . '"}' } 1 .. 7), qq(\xc3\xa97={"n":"\xc3\xa97","v":"\xc3\xa4"})),
	'rows and changes are in UTF-8, each once');
is(records_of('said'), "\xc3\xbc=\xc3\xb6", 'and so are messages');

# --- an encoding that says nothing: what is no UTF-8 is nothing for Kafka ---

$node->safe_psql('postgres', q{CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql('ascii', 'CREATE EXTENSION kafka_sink');
create_server($node, $kafka, dbname => 'ascii');
$kafka->create_topic("$prefix.bytes", 1);
sub ascii { return $node->safe_psql('ascii', $_[0]); }
ascii(qq{
	CREATE TABLE bytes (id int PRIMARY KEY, v text);
	CREATE PUBLICATION bytes FOR TABLE bytes;
	SELECT kafka_sink.create_feed('bytes', server => 'kafka', publication => 'bytes', topic => '$prefix.bytes', progress_topic => '$progress');
});
ascii(q{CALL kafka_sink.wait_for('bytes', timeout => '2 min')});
(undef, undef, $err) = $node->psql('ascii', "\\set VERBOSITY sqlstate\nSELECT kafka_sink.emit('bytes', '$prefix.bytes', 'k', E'\\351')");
like($err, qr/ERROR:  22021/, 'emit() refuses text that is no UTF-8');
ascii(q{INSERT INTO bytes VALUES (1, E'caf\303\251'); INSERT INTO bytes VALUES (2, E'caf\351'); INSERT INTO bytes VALUES (3, 'coffee')});
wait_until($node, 'SELECT state, sqlstate, lsn IS NOT NULL FROM kafka_sink.feeds', 'halted|22021|t', 'a row that is none halts the feed', undef, 'ascii');
is(records_of('bytes'), qq(1={"id":1,"v":"caf\xc3\xa9"}), 'what is before it is there');
ascii(q{SELECT kafka_sink.skip('bytes'); SELECT kafka_sink.resume('bytes')});
ascii(q{CALL kafka_sink.wait_for('bytes', timeout => '2 min')});
is(records_of('bytes'), qq(1={"id":1,"v":"caf\xc3\xa9"}\n3={"id":3,"v":"coffee"}), 'and what is behind it, when it is skipped');

done_testing();
