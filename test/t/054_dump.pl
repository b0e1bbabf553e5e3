
# pg_dump by everybody who can dump the database: a superuser, a member of
# pg_read_all_data, the database's owner.  Each takes along what it may see, and
# what is restored elsewhere is what was dumped; what was gone, or is not there, is
# nobody else's.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('main', extension => 0, conf => "kafka_sink.enabled = off\n");
my $second = new_node('second', extension => 0, conf => "kafka_sink.enabled = off\n");

sub sql { return $node->safe_psql($_[1] // 'shop', $_[0]); }

my $roles = q{CREATE ROLE keeper LOGIN; CREATE ROLE "The Owner" LOGIN; CREATE ROLE other LOGIN;
	CREATE ROLE reader LOGIN IN ROLE pg_read_all_data};
sql("$roles; CREATE ROLE short_lived", 'postgres');
# where the same numbers are others'
$second->safe_psql('postgres', join(';', map { "CREATE ROLE pad$_" } 1 .. 50) . "; $roles");
sql('CREATE DATABASE shop OWNER keeper', 'postgres');
sql(q{
	CREATE EXTENSION kafka_sink;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC;
	CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
	GRANT USAGE ON FOREIGN SERVER kafka TO PUBLIC;
	CREATE SERVER glue FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
	SELECT kafka_sink.add_schema('glue', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'AVRO', E'{"type": "int", \n"doc": "\\\\t"}', '[{"name": "x", "schema": "y"}]');
	CREATE SCHEMA "Sch ema" AUTHORIZATION keeper;
	GRANT USAGE ON SCHEMA "Sch ema" TO PUBLIC;
	SET ROLE keeper;
	CREATE TABLE "Sch ema"."Tar get" (id int PRIMARY KEY, note text);
	CREATE TABLE "Sch ema".more (id int PRIMARY KEY, note text);
	CREATE TYPE "Sch ema".event AS (id int);
	GRANT ALL ON "Sch ema"."Tar get", "Sch ema".more TO PUBLIC;
	RESET ROLE;

	SET ROLE "The Owner";
	SELECT kafka_sink.create_sink('the "sink"', server => 'kafka', target => '"Sch ema"."Tar get"',
		columns => '{"note": "a.b\\\\c"}', pk_fields => '{id}', on_error => 'dead_letter',
		insert_mode => 'upsert', filter => E'id > 0 -- it''s\n', dead_letter_retention => '3 days 4:05');
	SELECT kafka_sink.register_topic('the "sink"', 't1', partitions => '0-3');
	SELECT kafka_sink.register_topic('the "sink"', 't2', target => '"Sch ema".more');
	SELECT kafka_sink.seek('the "sink"', '{"t1": {"0": 0}, "t2": {"0": 9007199254740993}}');
	SELECT kafka_sink.ingest('the "sink"', array_agg(ROW('t1', 0, i, now(), NULL,
		convert_to(CASE i % 3 WHEN 0 THEN 'bad' ELSE format('{"id": %s}', i) END, 'UTF8'),
		ARRAY[ROW(E'h"\\\\\t', '\x00ff')]::kafka_sink.header[])::kafka_sink.record ORDER BY i)) FROM generate_series(0, 99) i;
	RESET ROLE;

	SET ROLE other;
	SELECT kafka_sink.create_sink('others', server => 'kafka', command => 'SELECT count(*) FROM batch', value_type => '"Sch ema".event');
	SELECT kafka_sink.register_topic('others', 't1');
	SELECT kafka_sink.advance('others', 't1', 0, NULL, 7);
	RESET ROLE;
	INSERT INTO kafka_sink.sink_state VALUES ('others', 0, 'halted', now(), '22P02', 'why', 'detail', 'hint', 't1', 0, 7, 'id');
	INSERT INTO kafka_sink.topic_state VALUES ('others', 't1', 'halted', now(), '22P02', 'why', NULL, NULL, 0, 7);
	INSERT INTO kafka_sink.partition_ends VALUES ('others', 't1', 0, 0, 9, 8, now());
});

# All rows of all tables, as text, without what is random.
sub content
{
	my ($n, $db, $where) = @_;
	my $tables = $n->safe_psql($db, q{SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
		 WHERE relnamespace = 'kafka_sink'::regnamespace AND relkind = 'r' AND relname <> 'filled_columns'});

	return join "\n", map {
		$n->safe_psql($db, "SET TimeZone = 'UTC'; SET search_path = ''; SELECT '$_', t.* FROM kafka_sink.$_ t WHERE "
			. ($where // 'true') . " ORDER BY t.*::text") } split / /, $tables;
}

# pg_dump as a role, and what it said.
sub dump_as
{
	my ($role, @options) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ $node->installed_command('pg_dump'), '-d', $node->connstr('shop') . " user=$role",
			@options ], '<', \'', '>', \$out, '2>', \$err);

	ok($ok, "pg_dump @options by $role") or diag($err);
	return ($out, $err);
}

# Restores a dump into a new database of the second cluster.
my $n = 0;
sub restored
{
	my ($file, @options) = @_;
	my $db = 'restored' . ++$n;
	my ($out, $err) = ('', '');
	my $plain = $file =~ /\.sql$/;

	$second->safe_psql('postgres', "CREATE DATABASE $db");
	ok( IPC::Run::run(
			$plain ? [ $second->installed_command('psql'), '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $second->connstr($db), '-f', $file ]
			: [ $second->installed_command('pg_restore'), '-d', $second->connstr($db), @options, $file ],
			'<', \'', '>', \$out, '2>', \$err), "restored from $file @options") or diag($err);
	return ($db, $err);
}

my $all = content($node, 'shop');
my $mine = content($node, 'shop', q{coalesce(to_jsonb(t) ->> 'sink', '') = 'the "sink"'});
like($all, qr/^dead_letters.*^offset_history.*^partition_ends.*^schemas.*^sink_catalog.*^sink_state.*^topic_catalog.*^topic_state.*^txn_offsets/ms,
	'there are rows of every kind');

# --- those who see all ---

foreach my $role ('postgres', 'reader')
{
	foreach my $options ([], ['--inserts'], [ '-Fc' ])
	{
		my $file = "$dir/$role" . join('', @$options) . (@$options && $options->[0] eq '-Fc' ? '.dump' : '.sql');
		my (undef, $err) = dump_as($role, @$options, '-f', $file);

		is($err, '', 'without a warning');
		my ($db, $said) = restored($file, $role eq 'reader' ? ('-j', 2) : '--exit-on-error');
		is($said, '', 'restored without a warning');
		is(content($second, $db), $all, 'it has all rows');
	}
}
is($second->safe_psql('restored1', q{SELECT DISTINCT owner::oid IN (SELECT oid FROM pg_roles WHERE rolname IN ('The Owner', 'other'))
	  FROM kafka_sink.sink_catalog}), 't', 'owners are those of that name');
is($second->safe_psql('restored1', q{SET ROLE "The Owner"; SELECT count(*) FROM kafka_sink.dead_letters;
	SELECT consumed FROM kafka_sink.ingest('the "sink"', ARRAY[ROW('t1', 0, 100, NULL, NULL, 'bad', NULL)::kafka_sink.record]);
	SELECT count(*), count(DISTINCT id), max(id) FROM kafka_sink.dead_letters}), "34\n1\n35|35|35", 'numbers go on where they were');
like(($second->psql('restored1', q{SET ROLE "The Owner"; SELECT kafka_sink.seek('the "sink"', '{"t2": {"1": 1}}')}))[2], qr/^$/,
	'those of the history, too');
is($second->safe_psql('restored1', 'SELECT count(*) FROM kafka_sink.dump'), '0', 'the table of the dump is empty');

# --- those who see some ---

(undef, my $err) = dump_as('keeper', '-v', '-f', "$dir/keeper.sql");
like($err, qr/WARNING:  sinks and feeds of other roles are not in this dump\nDETAIL:  .*role "keeper" has\.\nHINT:  Members of pg_read_all_data/,
	'the owner of the database is told that sinks are missing');
my ($none, $told) = restored("$dir/keeper.sql");
like($told, qr/WARNING:  the dump does not have all sinks and feeds\nDETAIL:  .*"keeper"/, 'and so is who restores it');
is(content($second, $none) =~ s/\n//gr, '', 'they are all');
sql('GRANT "The Owner" TO keeper', 'postgres');
dump_as('keeper', '-Fc', '-f', "$dir/keeper.dump");
is(content($second, (restored("$dir/keeper.dump"))[0]), $mine, 'a member of an owner has its sinks');
foreach my $role ('keeper', 'reader', 'other')
{
	my ($out) = dump_as($role, '--schema-only');

	like($out, qr/CREATE EXTENSION IF NOT EXISTS kafka_sink/, 'the schema alone');
	unlike($out, qr/the \\*"sink/, 'has no sinks');
}
sql('REVOKE "The Owner" FROM keeper', 'postgres');

# nothing but rows of this kind can be put there
$second->safe_psql('postgres', 'CREATE DATABASE odd');
$second->safe_psql('odd', 'CREATE EXTENSION kafka_sink');
foreach (
	[ q{'pg_class', '{}'}, qr/has rows of "pg_class", which this version does not know/ ],
	[ q{'dump', '{}'}, qr/has rows of "dump", which this version/ ],
	[ q{'sinks', '{}'}, qr/has rows of "sinks", which this version/ ],
	[ q{NULL, '{}'}, qr/must not have NULLs/ ],
	[ q{'sink_catalog', '{"sink": "x", "owner": "postgres", "of_the_future": 1}'}, qr/null value in column "insert_mode"/ ],
	[ q{'txn_offsets', '{"sink": "x", "topic": "t", "part": 0, "off": 1, "start_off": 1, "of_the_future": 1}'}, qr/violates foreign key/ ])
{
	like(($second->psql('odd', "INSERT INTO kafka_sink.dump VALUES ($_->[0])"))[2], $_->[1], "refused: $_->[0]");
}
like(($second->psql('odd', q{SET session_replication_role = replica; INSERT INTO kafka_sink.dump VALUES ('sink_catalog', '{}')}))[2],
	qr/violates check constraint "taken_by_trigger"/, 'without the trigger, nothing is');
# nor through a table of somebody's own
$second->safe_psql('odd', 'GRANT ALL ON SCHEMA public TO PUBLIC');
my $own = q{CREATE TABLE IF NOT EXISTS own (relation text, data json); CREATE TABLE IF NOT EXISTS sink_catalog (sink text, owner text);
	CREATE TRIGGER restore BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION kafka_sink.restore_dump();
	INSERT INTO own VALUES ('sink_catalog', '{"sink": "x", "owner": "postgres"}')};
like(($second->psql('odd', "SET ROLE other; $own"))[2], qr/permission denied for function (kafka_sink\.)?restore_dump/, 'no role has a trigger of its own');
like(($second->psql('odd', $own))[2], qr/permission denied to restore from table "own"/, 'and it would do nothing');
like(($second->psql('odd', q{SET ROLE other; INSERT INTO kafka_sink.dump VALUES ('sink_catalog', '{}')}))[2],
	qr/permission denied for table dump/, 'nor by anybody');

# --- what is gone ---

sql(q{
	GRANT ALL ON SCHEMA public TO PUBLIC;
	CREATE TABLE lost (id int PRIMARY KEY);
	CREATE TABLE lost_too (id int PRIMARY KEY);
	SELECT kafka_sink.create_sink('of nobody', server => 'kafka', target => '"Sch ema"."Tar get"');
	UPDATE kafka_sink.sink_catalog SET owner = 'short_lived' WHERE sink = 'of nobody';
	SELECT kafka_sink.create_sink('into nothing', server => 'kafka', target => 'lost');
	SELECT kafka_sink.register_topic('into nothing', 't1');
	SELECT kafka_sink.register_topic('into nothing', 't2', target => 'lost_too');
	SET client_min_messages = error;
	DROP TABLE lost, lost_too;
});
like(($node->psql('shop', 'DROP ROLE short_lived'))[2], qr/ERROR: .*cannot be dropped.*\n.*owns the sinks and feeds "of nobody"/,
	'an owner is not dropped in the database of its sinks');
sql('DROP ROLE short_lived', 'postgres');
my ($out) = dump_as('postgres', '-f', "$dir/gone.sql");
my ($db, $said) = restored("$dir/gone.sql");
like($said, qr/WARNING:  owner \d+ of a row of kafka_sink.sink_catalog does not exist/, 'an owner that is gone');
like($said, qr/WARNING:  target \d+ of a row of kafka_sink.$_ does not exist/, "a target of $_") foreach 'sink_catalog', 'topic_catalog';
is($second->safe_psql($db, q{SELECT sink, owner::oid FROM kafka_sink.sink_catalog WHERE owner::oid NOT IN (SELECT oid FROM pg_roles);
	SELECT sink, target::oid FROM kafka_sink.sink_catalog WHERE target::oid NOT IN (SELECT oid FROM pg_class);
	SELECT sink, topic, target::oid FROM kafka_sink.topic_catalog WHERE target::oid NOT IN (SELECT oid FROM pg_class)}),
	"of nobody|1\ninto nothing|1\ninto nothing|t2|1", 'is nobody');

# roles that were not restored first
$second->safe_psql('postgres', 'ALTER ROLE "The Owner" RENAME TO renamed');
($db, $said) = restored("$dir/gone.sql");
like($said, qr/WARNING:  owner "The Owner" of a row/, 'an owner that is not there');
is($second->safe_psql($db, q{SELECT owner FROM kafka_sink.sink_catalog WHERE sink = 'the "sink"'}), '1', 'is nobody either');

# they say so when they are to run
$second->append_conf('postgresql.conf', 'kafka_sink.enabled = on');
$second->reload;
$second->safe_psql($db, q{SELECT kafka_sink.resume(sink) FROM kafka_sink.sinks});
wait_until($second, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'into nothing'},
	'halted|the table that the sink wrote to did not exist when it was dumped, or was not restored', 'a sink without its table', undef, $db);
$second->safe_psql($db, q{SELECT kafka_sink.register_topic('of nobody', 't1')});
wait_until($second, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'of nobody'},
	q{backoff|the sink's owner does not exist any more}, 'a sink without an owner', undef, $db);
$second->safe_psql($db, q{SELECT kafka_sink.alter_sink('of nobody', owner => 'other')});
wait_until($second, q{SELECT owner, coalesce(message, '') ~ 'owner' FROM kafka_sink.sinks WHERE sink = 'of nobody'},
	'other|f', 'until it is given to another', undef, $db);

done_testing();
