# Debezium's JDBC sink, which nobody here wrote, reads what a feed publishes in Debezium's
# envelope with schemas, and writes an equal table; so does a sink of ours.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkConnect;
use KafkaSinkTest;

my $node = new_node('main', conf => "wal_level = logical\nlisten_addresses = '127.0.0.1'\n");
my $kafka = shared_broker();
my $progress = $kafka->topic('progress');
my $prefix = $kafka->topic('jdbc');

sub sql { return $node->safe_psql('postgres', $_[0]); }

create_server($node, $kafka);
sql(q{
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
	CREATE TABLE types (id int PRIMARY KEY, b boolean, s smallint, l bigint, f real, d float8, n numeric, m numeric(12,3), t text, v varchar(20),
		u uuid, j json, jb jsonb, ba bytea, da date, tm time, ts timestamp, tz timestamptz, ia int[], ta text[], e mood);
	CREATE TABLE pair (a int, b text, v text, PRIMARY KEY (a, b));
	CREATE TABLE types_jdbc (LIKE types INCLUDING ALL);
	CREATE TABLE pair_jdbc (LIKE pair INCLUDING ALL);
	CREATE TABLE types_ours (LIKE types INCLUDING ALL);
	CREATE TABLE pair_ours (LIKE pair INCLUDING ALL);
	CREATE PUBLICATION both_tables FOR TABLE types, pair;
});
$kafka->create_topic("$prefix.$_", 2) foreach qw(types pair);
sql("SELECT kafka_sink.create_feed('f', server => 'kafka', publication => 'both_tables', topic => '$prefix.{table}', envelope => 'debezium_schema',
	progress_topic => '$progress')");
sql("CALL kafka_sink.wait_for('f', timeout => '2 min')");

my $connect = KafkaSinkConnect->start_jdbc($kafka, $node,
	map { $_ => { topics => "$prefix.$_", 'collection.name.format' => "${_}_jdbc" } } qw(types pair));
sql(qq{
	BEGIN;
	SELECT kafka_sink.create_sink('ours', server => 'kafka', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true, on_tombstone => 'ignore');
	SELECT kafka_sink.register_topic('ours', '$prefix.types', target => 'types_ours'), kafka_sink.register_topic('ours', '$prefix.pair', target => 'pair_ours');
	COMMIT});

# --- rows of all types, and what happens to rows ---

sql(q{
	INSERT INTO types VALUES
		(1, true, -32768, 9223372036854775807, 1.5, -2.5e-300, 12345678901234567890.123456789, -1234.500, E'a\t"b" \\\\ \\u00e9\\u20ac', 'v',
		 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, 2]}', '{"b":null}', '\x00deadbeef', '2026-01-02', '23:59:59.999999', '2026-01-02 03:04:05.678901',
		 '2026-01-02 03:04:05.5+02', '{1,NULL,-3}', '{"x y",z,NULL}', 'happy'),
		(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
		(3, false, 0, 0, 0, 0, 0, 0, '', '', '00000000-0000-0000-0000-000000000000', 'null', '""', '', '1969-12-31', '00:00', '1960-02-29 23:59:59',
		 '1970-01-01 00:00:00+00', '{}', '{}', 'sad');
	INSERT INTO types SELECT i, i % 2 = 0, i % 1000, i, i, i / 7.0, i / 3.0, i / 8.0, md5(i::text), 'v' || i, md5(i::text)::uuid, to_json(i), to_jsonb(i::text),
		decode(md5(i::text), 'hex'), '2000-01-01'::date + i, '12:00'::time + i * interval '1 ms', '1999-12-31'::timestamp + i * interval '1 hour 1 us',
		'2026-01-01'::timestamptz + i * interval '1 s', ARRAY[i, i + 1], ARRAY['x' || i], 'ok' FROM generate_series(10, 500) i;
	UPDATE types SET t = 'changed', n = n + 0.001 WHERE id % 3 = 0;
	DELETE FROM types WHERE id % 7 = 0;
	UPDATE types SET id = id + 1000 WHERE id % 11 = 0;
	INSERT INTO pair SELECT i, 'b' || i % 3, 'v' FROM generate_series(1, 100) i;
	UPDATE pair SET b = b || '+' WHERE a % 5 = 0;
	DELETE FROM pair WHERE a % 4 = 0;
	BEGIN;
	INSERT INTO types (id) VALUES (-1);
	ROLLBACK;
	INSERT INTO types (id) VALUES (9999);
	INSERT INTO pair VALUES (9999, '', 'the last')});
sql("CALL kafka_sink.wait_for('f', timeout => '2 min')");
$kafka->settle(map { "$prefix.$_" } qw(types pair));
sql("CALL kafka_sink.wait_for('ours', timeout => '2 min')");
foreach my $table (qw(types pair))
{
	my $difference = sub { "SELECT count(*) FROM ((SELECT x::text FROM $table x EXCEPT SELECT x::text FROM $_[0] x) UNION ALL
		(SELECT x::text FROM $_[0] x EXCEPT SELECT x::text FROM $table x)) d" };

	is(sql($difference->("${table}_ours")), 0, "$table: a sink of ours has written an equal table");
	wait_until($node, $difference->("${table}_jdbc"), '0', "$table: so has Debezium's", 3 * $KafkaSinkTest::timeout) or diag $connect->errors;
	cmp_ok(sql("SELECT count(*) FROM $table"), '>', 50, "$table: of many rows");
}
$connect->stop;
done_testing();
