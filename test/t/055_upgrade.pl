# ALTER EXTENSION kafka_sink UPDATE: a new library meets a database whose extension
# is the one before.  Its sinks wait, functions say what to do, other databases go
# on; the update, made while records come, lets the sinks go on where they stood.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my ($version) = slurp_file("$FindBin::RealBin/../../kafka_sink.control") =~ /^default_version = '(.*)'/m;
my $node = new_node('main');
my $kafka = shared_broker();
my $manifest = PostgreSQL::Test::Utils::tempdir() . '/manifest';

sub sql { return $node->safe_psql($_[1] // 'old', $_[0]); }

sub refused
{
	my ($call, $what) = @_;
	my ($rc, $out, $err) = $node->psql('old', "\\set VERBOSITY verbose\n$call");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	like($err, qr/ERROR:  55000: extension "kafka_sink" of this database has version 0\.1, and the server's library version \Q$version\E.*HINT:  ALTER EXTENSION kafka_sink UPDATE\./s,
		$what);
	return;
}

my %topic = map { $_ => $kafka->topic("upgrade-$_", $_ eq 'load' ? 3 : 1) } qw(load letters stuck idle other);
my $columns = q{columns => '{"part": "@partition", "off": "@offset"}'};
my $table = q{(part int, off bigint, UNIQUE (part, off))};

# --- the database beside it ---

create_server($node, $kafka);
sql(qq{CREATE TABLE other $table;
	SELECT kafka_sink.create_sink('other', server => 'kafka', target => 'other', $columns);
	SELECT kafka_sink.register_topic('other', '$topic{other}')}, 'postgres');
my $other = $kafka->gen_bg($topic{other}, count => 0, rate => 500, manifest => "$manifest-other");

sub other_goes_on
{
	my ($what) = @_;
	my $count = sql('SELECT count(*) FROM other', 'postgres');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT count(*) > $count + 100 FROM other", 't', "the other database goes on: $what", undef, 'postgres');
}

# --- what version 0.1 has left when the server was stopped ---

$kafka->gen($topic{load}, count => 3000, partitions => 3, manifest => $manifest);
$kafka->produce($topic{letters}, 0, map { [ undef, $_ ] } '{"id": 1}', '{"id": "x"}', '{"id": 3}');
$kafka->produce($topic{stuck}, 0, map { [ undef, $_ ] } '{"id": 1}', '{"id": "x"}', '{"id": 3}');
$kafka->produce($topic{idle}, 0, [ undef, '{"id": 1}' ]);

sql('CREATE DATABASE old', 'postgres');
sql(q{CREATE EXTENSION kafka_sink VERSION '0.1'});
is(sql(q{SELECT extversion FROM pg_extension WHERE extname = 'kafka_sink'}), '0.1', 'version 0.1');
create_server($node, $kafka, dbname => 'old');
sql(q{CREATE TABLE load (part int, off bigint, UNIQUE (part, off))});
sql(qq{CREATE TABLE $_ (id int PRIMARY KEY)}) foreach qw(letters stuck idle);

# One sink as create_sink() of 0.1 would have defined it.
sub old_sink
{
	my ($name, %settings) = @_;
	my %row = (
		sink => "'$name'", owner => "'postgres'", server => "'kafka'", target => "'$name'", insert_mode => "'insert'",
		format => "'json'", key_format => "'json'", delete_enabled => 'false', on_tombstone => "'error'", on_error => "'stop'",
		on_nul => "'error'", on_nonfinite => "'accept'", isolation_level => "'read_committed'", synchronous_commit => "'off'",
		batch_bytes => 16777216, batch_linger_ms => 2, max_record_bytes => 8388608, workers => 1, envelope => "'none'",
		csv_delimiter => "','", csv_quote => "'\"'", csv_null => "''", strict => 'false', retry_within => "'10 s'",
		on_topic_error => "'halt_topic'", lock_timeout => "'2 s'", idle_after => "'1 min'", enabled => 'true', generation => 1000,
		system_identifier => '(SELECT system_identifier FROM pg_control_system())',
		database_oid => '(SELECT oid FROM pg_database WHERE datname = current_database())', %settings);
	my @columns = sort keys %row;

	sql("INSERT INTO kafka_sink.sink_catalog (@{[ join ', ', @columns ]}) VALUES (@{[ join ', ', map { $row{$_} } @columns ]})");
	sql("INSERT INTO kafka_sink.topic_catalog (sink, topic, start_at) VALUES ('$name', '$topic{$name}', 'earliest')") if $topic{$name};
	return;
}

old_sink('load', workers => 2, columns => q{'{"part": "@partition", "off": "@offset"}'});
sql(qq{INSERT INTO load SELECT p, o FROM generate_series(0, 2) p, generate_series(0, 99 + 100 * p) o;
	INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off, consumed, applied)
		SELECT 'load', '$topic{load}', p, 100 + 100 * p, 0, 100 + 100 * p, 100 + 100 * p FROM generate_series(0, 2) p;
	INSERT INTO kafka_sink.sink_state (sink, worker, state, since) VALUES ('load', 0, 'running', now()), ('load', 1, 'running', now())});
old_sink('letters', on_error => q{'dead_letter'});
sql(qq{INSERT INTO letters VALUES (1);
	INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off, consumed, applied, dead_lettered)
		VALUES ('letters', '$topic{letters}', 0, 2, 0, 2, 1, 1);
	INSERT INTO kafka_sink.dead_letters (sink, topic, part, off, value, sqlstate, message)
		VALUES ('letters', '$topic{letters}', 0, 1, '{"id": "x"}', '22P02', 'invalid input syntax')});
old_sink('stuck');
sql(qq{INSERT INTO stuck VALUES (1);
	INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off, consumed, applied) VALUES ('stuck', '$topic{stuck}', 0, 1, 0, 1, 1);
	INSERT INTO kafka_sink.sink_state (sink, worker, state, since, sqlstate, message, topic, part, off)
		VALUES ('stuck', 0, 'halted', now(), '22P02', 'invalid input syntax', '$topic{stuck}', 0, 1)});
old_sink('idle', idle_after => q{'1 s'});
sql(qq{INSERT INTO idle VALUES (1);
	INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off, consumed, applied) VALUES ('idle', '$topic{idle}', 0, 1, 0, 1, 1);
	INSERT INTO kafka_sink.sink_state (sink, worker, state, since) VALUES ('idle', 0, 'idle', now())});
old_sink('ledger', server => 'NULL', target => 'NULL');
sql(q{INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off) VALUES ('ledger', 'any', 0, 42, 0);
	INSERT INTO kafka_sink.offset_history (sink, owner, topic, part, action, until_off, role) VALUES ('ledger', 'postgres', 'any', 0, 'seek', 42, 'postgres')});
my $before = sql('TABLE kafka_sink.txn_offsets ORDER BY sink, topic, part');

# --- the server comes up with the new library ---

other_goes_on('before');
my $log = -s $node->logfile;
$node->restart;
wait_until($node, q{SELECT string_agg(concat_ws(' ', sink, state, waits_for), ', ' ORDER BY sink) FROM kafka_sink.sinks WHERE server IS NOT NULL},
	'idle waiting update, letters waiting update, load waiting update, stuck halted', 'its sinks wait for the update', undef, 'old');
is(sql(q{SELECT DISTINCT sqlstate, message, hint FROM kafka_sink.sinks WHERE state = 'waiting'}),
	"55000|extension kafka_sink of this database has version 0.1, and the server's library version $version|ALTER EXTENSION kafka_sink UPDATE.",
	'and say so');
is(sql(q{SELECT message FROM kafka_sink.sinks WHERE sink = 'stuck'}), 'invalid input syntax', 'a halt stays what it was');
wait_for_log($node, qr/LOG:  kafka_sink: 3 sinks of database \d+ wait for an update of the extension/, $log, 'so does the log');
refused($_, "refused: $_")
  foreach "SELECT kafka_sink.create_sink('new')", "SELECT kafka_sink.alter_sink('load', workers => 3)", "SELECT kafka_sink.drop_sink('load')",
  "SELECT kafka_sink.register_topic('load', 'new')", "SELECT kafka_sink.unregister_topic('load', '$topic{load}')",
  "SELECT kafka_sink.pause('load')", "SELECT kafka_sink.resume('stuck')", "SELECT kafka_sink.seek('load', 'earliest')",
  "SELECT kafka_sink.skip('stuck', '$topic{stuck}', 0, 1)", "SELECT kafka_sink.claim('ledger', 'any', 0, 42, 43)",
  "SELECT kafka_sink.ingest('load', '{}')", "CALL kafka_sink.run('load')", "CALL kafka_sink.wait_for('load')",
  "SELECT kafka_sink.retry_dead_letters('letters')", "SELECT * FROM kafka_sink.preview('load')", "SELECT * FROM kafka_sink.lag('load', true)";
is(sql(q{SELECT count(*) FROM kafka_sink.stat_partitions}), '7', 'what is stored can be looked at');
my ($rc, $out, $err) = $node->psql('old', q{BEGIN; DROP TABLE load; DROP EXTENSION kafka_sink CASCADE; ROLLBACK}, on_error_stop => 1);
is($rc, 0, 'the extension can be dropped') or diag $err;
is(sql('TABLE kafka_sink.txn_offsets ORDER BY sink, topic, part'), $before, 'nothing has moved');
other_goes_on('beside one that waits');

# --- the update, refused and made, while records come ---

my $producer = $kafka->gen_bg($topic{load}, count => 0, from => 3000, rate => 2000, partitions => 3, manifest => "$manifest-more");
sql('BEGIN; ALTER EXTENSION kafka_sink UPDATE; SELECT kafka_sink.create_sink(\'new\'); ROLLBACK');
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'load'}, 'waiting', 'an update that is rolled back', undef, 'old');
refused(q{SELECT kafka_sink.create_sink('new')}, 'is none');
sql('ALTER EXTENSION kafka_sink UPDATE');
is(sql(q{SELECT extversion FROM pg_extension WHERE extname = 'kafka_sink'}), $version, 'updated');
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'load'}, 'running', 'the sinks run', undef, 'old');
wait_until($node, q{SELECT count(*) > 10000 FROM load}, 't', 'and consume', undef, 'old');
# with nothing left to do it is a command that sends workers away, and lets them come again
sql('ALTER EXTENSION kafka_sink UPDATE');
my $count = sql('SELECT count(*) FROM load');
wait_until($node, "SELECT count(*) > $count + 2000 FROM load", 't', 'an update of what is up to date', undef, 'old');
ok($producer->stop, 'all records are acknowledged');
sql(q{CALL kafka_sink.wait_for('load', timeout => '10 min')});
my $records = 0;
$records += $_->[2] - $_->[1] foreach $kafka->watermarks($topic{load});
is(sql('SELECT count(*) FROM load'), $records, 'each record is there, once');
is(sql(q{SELECT sum(applied), sum(consumed), sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'load'}), "$records|$records|$records",
	'the accounts go on where they were');
is(sql(q{SELECT count(*) FROM kafka_sink.dead_letters WHERE sink <> 'letters'}), '0', 'none was tried a second time');

# --- all of the others, with what is new ---

is(sql(q{SELECT concat_ws(' ', state, message, created_by) FROM kafka_sink.sinks WHERE sink = 'stuck'}), 'halted invalid input syntax',
	'what was halted is');
sql(q{SELECT kafka_sink.skip('stuck'); SELECT kafka_sink.resume('stuck'); CALL kafka_sink.wait_for('stuck', timeout => '10 min')});
is(sql('SELECT string_agg(id::text, \' \' ORDER BY id) FROM stuck'), '1 3', 'and goes on');
sql(q{CALL kafka_sink.wait_for('letters', timeout => '10 min')});
is(sql('SELECT string_agg(id::text, \' \' ORDER BY id) FROM letters'), '1 3', 'so does one with dead letters');
is(sql(q{SELECT off, sqlstate FROM kafka_sink.dead_letters}), '1|22P02', 'which are there');
like(sql(q{SELECT kafka_sink.retry_dead_letters('letters')}), qr/^\(1,0,0,0,1,/, 'and can be tried again');
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'idle'}, 'idle', 'what had nothing to do has nothing to do', undef, 'old');
$kafka->produce($topic{idle}, 0, [ undef, '{"id": 2}' ]);
wait_until($node, 'SELECT count(*) FROM idle', '2', 'until there is something', undef, 'old');
is(sql(q{SELECT kafka_sink.claim('ledger', 'any', 0, 42, 43)}), '42', 'the ledger stands where it was');
is(sql(q{SELECT state FROM kafka_sink.sinks WHERE sink = 'ledger'}), 'ledger', 'and is one');
sql(q{SELECT kafka_sink.rename_sink('letters', 'post')});
is(sql(q{SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = 'post'}), '1', 'foreign keys follow a new name');
is(sql(q{SELECT sink || ' ' || action FROM kafka_sink.offset_history ORDER BY id LIMIT 1}), 'ledger seek', 'the history is kept');

ok($other->stop, 'the other database: all records are acknowledged');
sql(q{CALL kafka_sink.wait_for('other', timeout => '10 min')}, 'postgres');
my ($watermarks) = $kafka->watermarks($topic{other});
is(sql('SELECT count(*) FROM other', 'postgres'), $watermarks->[2], 'each of them is there, once');
unlike(slurp_file($node->logfile, $log), qr/PANIC|TRAP|terminated by signal/, 'and the log has no trouble');

done_testing();
