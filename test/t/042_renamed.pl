# A column is renamed, dropped, added or changed while a worker fills it, or has another
# default, wherever that comes from.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

create_server($node, $kafka);

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $topic = $kafka->topic('renamed', 1);

sub produce { return $kafka->produce($topic, 0, map { [ undef, $_ ] } @_); }

sub reaches
{
	my ($rows, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT string_agg(t::text, ' ' ORDER BY id) FROM t", $rows, $what);
}

sql(q{CREATE TABLE t (id int PRIMARY KEY, v text, w text, never text);
	INSERT INTO t VALUES (1, 'a', 'b', 'c');
	SELECT kafka_sink.create_sink('s', server => 'kafka', target => 't', insert_mode => 'upsert',
		on_error => 'dead_letter', batch_linger_ms => 1)});
sql("SELECT kafka_sink.register_topic('s', '$topic')");
produce('{"id":1,"v":"x","w":"y"}');
reaches('(1,x,y,)', 'columns are filled from the fields of their names');

sql('ALTER TABLE t RENAME never TO ever');
produce('{"id":2,"v":"x","w":"y"}');
reaches('(1,x,y,) (2,x,y,)', 'one that no record fills may be renamed');

sql('ALTER TABLE t RENAME v TO u');
produce('{"id":1,"v":"x2","w":"y2"}');
wait_until($node, "SELECT state, sqlstate, message FROM kafka_sink.sinks",
	'halted|42703|column "v" of "t" has been renamed to "u"', 'one that records fill halts the sink');
like(sql('SELECT hint FROM kafka_sink.sinks'), qr/"u": "v"/, 'it says how to go on');
reaches('(1,x,y,) (2,x,y,)', 'and nothing is overwritten');
is(sql('SELECT count(*) FROM kafka_sink.dead_letters'), '0', 'nor is the record to blame');

sql(q{SELECT kafka_sink.alter_sink('s', columns => '{"u": "v"}'); SELECT kafka_sink.resume('s')});
reaches('(1,x2,y2,) (2,x,y,)', 'mapped, it goes on');

sql('BEGIN; ALTER TABLE t RENAME w TO old_w; ALTER TABLE t ADD w text; COMMIT');
produce('{"id":1,"v":"x3","w":"y3"}');
wait_until($node, "SELECT state, message FROM kafka_sink.sinks",
	'halted|column "w" of "t" has been renamed to "old_w"', 'also if another takes its name');
sql(q{SELECT kafka_sink.resume('s')});
reaches('(1,x3,,,y3) (2,x,y,,)', 'and goes on if that is what was meant');

sql('ALTER TABLE t DROP old_w, ALTER w TYPE varchar(5), ADD x int');
produce('{"id":1,"v":"x4","w":"y4","x":7,"old_w":"-"}');
reaches('(1,x4,,y4,7) (2,x,,,)', 'columns may be dropped, added, and change their types');

# --- while no worker is there ---

sql(q{CREATE TABLE a (id int PRIMARY KEY, v text, w text);
	SELECT kafka_sink.create_sink('a', server => 'kafka', target => 'a', insert_mode => 'upsert', batch_linger_ms => 1, idle_after => '100 ms')});
my $away = $kafka->topic('away', 1);
my $state = q{SELECT concat_ws(' ', state, sqlstate, message) FROM kafka_sink.sinks WHERE sink = 'a'};
sql("SELECT kafka_sink.register_topic('a', '$away')");
$kafka->produce($away, 0, [ undef, '{"id":1,"v":"x","w":"y"}' ]);
wait_until($node, 'SELECT a FROM a', '(1,x,y)', 'a sink whose workers leave');
wait_until($node, "SELECT split_part(($state), ' ', 1)", 'idle', 'the worker has left');
sql('ALTER TABLE a RENAME v TO u');
$kafka->produce($away, 0, [ undef, '{"id":1,"v":"x2","w":"y2"}' ]);
wait_until($node, $state, 'halted 42703 column "v" of "a" has been renamed to "u"', 'the next one notices a rename');
$node->restart;
is(sql('SELECT a FROM a'), '(1,x,y)', 'nothing is overwritten');
sql(q{ALTER TABLE a RENAME u TO v; SELECT kafka_sink.resume('a')});
wait_until($node, 'SELECT a FROM a', '(1,x2,y2)', 'renamed back, it goes on');
$node->stop;
$node->start;
wait_until($node, "SELECT split_part(($state), ' ', 1)", 'idle', 'after a restart');
sql('ALTER TABLE a RENAME w TO u');
$node->restart;
$kafka->produce($away, 0, [ undef, '{"id":1,"v":"x3","w":"y3"}' ]);
wait_until($node, $state, 'halted 42703 column "w" of "a" has been renamed to "u"', 'so is one before a restart');
sql(q{SELECT kafka_sink.drop_sink('a')});

# --- defaults ---

sql(q{
	CREATE FUNCTION inlined() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'i1'$$;
	CREATE FUNCTION called() RETURNS text LANGUAGE plpgsql STABLE AS $$BEGIN RETURN 'c1'; END$$;
	CREATE FUNCTION each() RETURNS text LANGUAGE sql VOLATILE AS $$SELECT 'e1'$$;
	CREATE FUNCTION bound() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1000';
	CREATE DOMAIN bare AS text;
	CREATE DOMAIN checked AS text DEFAULT 'k1' CHECK (VALUE <> 'never');
	CREATE TABLE d (id int, plain text DEFAULT 'p1', inlined text DEFAULT inlined(), called text DEFAULT called(), each text DEFAULT each(), bare bare, checked checked,
		x_plain text DEFAULT 'p1', x_inlined text DEFAULT inlined(), x_called text DEFAULT called(), x_bare bare, x_checked checked);
	SELECT kafka_sink.create_sink('d', server => 'kafka', target => 'd', batch_linger_ms => 1, idle_after => '0', filter => 'id < public.bound()',
		columns => '{"x_plain": null, "x_inlined": null, "x_called": null, "x_bare": null, "x_checked": null}')});
my $defaults = $kafka->topic('defaults', 1);
my $id = 0;
my $worker = q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'd'};

# A record that has none of the columns is the row that the server inserts.
sub as_inserted
{
	my ($change, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql($change) if $change;
	$id++;
	my $expected = sql("BEGIN; INSERT INTO d (id) VALUES ($id) RETURNING d; ROLLBACK");
	$kafka->produce($defaults, 0, [ undef, qq({"id":$id}) ]);
	wait_until($node, "SELECT d FROM d WHERE id = $id", $expected, $what);
	return;
}

sql("SELECT kafka_sink.register_topic('d', '$defaults')");
as_inserted('', 'defaults');
my $pid = sql($worker);
as_inserted(q{ALTER TABLE d ALTER plain SET DEFAULT 'p2', ALTER x_plain SET DEFAULT 'p2'}, 'another default of a column');
as_inserted(q{CREATE OR REPLACE FUNCTION inlined() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'i2'$$}, 'another function, that was put in its place');
as_inserted(q{CREATE OR REPLACE FUNCTION called() RETURNS text LANGUAGE sql STABLE AS $$SELECT 'c2'$$}, 'in another language');
as_inserted(q{CREATE OR REPLACE FUNCTION inlined() RETURNS text LANGUAGE plpgsql VOLATILE AS $$BEGIN RETURN 'i' || count(*) FROM public.d; END$$},
	'that is evaluated when rows are written');
as_inserted(q{ALTER DOMAIN bare SET DEFAULT 'b2'}, 'a default of a domain');
as_inserted(q{ALTER DOMAIN checked SET DEFAULT 'k2'}, 'another one');
as_inserted(q{ALTER DOMAIN checked DROP DEFAULT}, 'none any more');
as_inserted(q{CREATE OR REPLACE FUNCTION each() RETURNS text LANGUAGE sql VOLATILE AS $$SELECT 'e2'$$}, 'one that is called each time');
as_inserted(q{ALTER TABLE d ALTER each DROP DEFAULT, ALTER x_called DROP DEFAULT}, 'no default any more');
sql(q{CREATE OR REPLACE FUNCTION bound() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0'});
$kafka->produce($defaults, 0, [ undef, '{"id":1}' ]);
wait_until($node, q{SELECT filtered FROM kafka_sink.txn_offsets WHERE sink = 'd'}, '1', "another function of the filter's");
is(sql($worker), $pid, 'by the same worker');
my $letters = q{SELECT off, sqlstate FROM kafka_sink.dead_letters WHERE sink = 'd'};
sql(q{SELECT kafka_sink.alter_sink('d', on_error => 'dead_letter'); ALTER DOMAIN checked SET DEFAULT 'never'});
$kafka->produce($defaults, 0, [ undef, '{"id":-1}' ]);
wait_until($node, $letters, $id + 1 . '|23514', 'a default that its domain refuses');

# --- schemas ---

# Of a target that is written by SQL, which calls it by its name, and of one that is not.
foreach my $mode (qw(ignore insert))
{
	my $of_schema = $kafka->topic("schema_$mode", 1);
	sql(qq{CREATE SCHEMA app_$mode; CREATE TABLE app_$mode.t (id int PRIMARY KEY);
		CREATE SCHEMA next_$mode; CREATE TABLE next_$mode.t (id int PRIMARY KEY);
		BEGIN;
		SELECT kafka_sink.create_sink('app_$mode', server => 'kafka', target => 'app_$mode.t', insert_mode => '$mode', batch_linger_ms => 1, idle_after => '0');
		SELECT kafka_sink.register_topic('app_$mode', '$of_schema');
		COMMIT});
	$kafka->produce($of_schema, 0, [ undef, '{"id":1}' ]);
	wait_until($node, "SELECT id FROM app_$mode.t", '1', "$mode: a table in a schema");
	my $process = sql("SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'app_$mode'");
	sql("BEGIN; ALTER SCHEMA app_$mode RENAME TO before_$mode; ALTER SCHEMA next_$mode RENAME TO app_$mode; COMMIT");
	$kafka->produce($of_schema, 0, [ undef, '{"id":2}' ]);
	wait_until($node, "SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'app_$mode'", '2', "$mode: another schema gets its name");
	is(sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM before_$mode.t"), '1 2', 'rows go where they went');
	is(sql("SELECT count(*) FROM app_$mode.t"), '0', 'and not to the other table');
	is(sql("SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'app_$mode'"), $process, 'by the same worker');
}

# Nor is what a batch meets meanwhile anybody's fault.
my $meanwhile = $kafka->topic('meanwhile', 1);
sql(qq{CREATE SCHEMA held; CREATE TABLE held.t (id int PRIMARY KEY);
	CREATE FUNCTION wait_for_gate(int) RETURNS boolean LANGUAGE plpgsql AS \$\$BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(7); RETURN true; END\$\$;
	BEGIN;
	SELECT kafka_sink.create_sink('held', server => 'kafka', target => 'held.t', insert_mode => 'ignore', filter => 'public.wait_for_gate(id)',
		on_error => 'dead_letter', batch_linger_ms => 1, idle_after => '0');
	SELECT kafka_sink.register_topic('held', '$meanwhile');
	COMMIT});
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(7)');
$kafka->produce($meanwhile, 0, [ undef, '{"id":1}' ]);
wait_until($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, '1', 'a batch is at it');
sql('ALTER SCHEMA held RENAME TO let_go');
$gate->quit;
wait_until($node, 'SELECT id FROM let_go.t', '1', 'and is written after all');
is(sql(q{SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = 'held'}), '0', 'no record is to blame');

# --- what statements call by its name ---

my $collated = $kafka->topic('collated', 1);
sql(qq{CREATE COLLATION before FROM "C"; CREATE TABLE collated (k text); CREATE UNIQUE INDEX ON collated (k COLLATE before);
	BEGIN;
	SELECT kafka_sink.create_sink('collated', server => 'kafka', target => 'collated', insert_mode => 'ignore', pk_fields => '{k}', delete_enabled => true,
		batch_linger_ms => 1, idle_after => '0');
	SELECT kafka_sink.register_topic('collated', '$collated');
	COMMIT});
$kafka->produce($collated, 0, [ undef, '{"k":"a"}' ]);
wait_until($node, 'SELECT k FROM collated', 'a', 'a key by another collation than its column has');
sql('ALTER COLLATION before RENAME TO behind');
$kafka->produce($collated, 0, [ '"a"', undef ]);
wait_until($node, q{SELECT off, deleted FROM kafka_sink.txn_offsets WHERE sink = 'collated'}, '2|1', 'which is renamed');

done_testing();
