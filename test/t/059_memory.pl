# Records that are small in the log and large when they are unpacked, and others
# that take more memory than they seem to: a session gets its answer or an error,
# a worker gets through or halts at the record, and the server runs on.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

plan(skip_all => 'the system does not tell how much memory a process has') unless -r '/proc/self/status';

my $limit = 64;			# MB, the least that can be set
my $mb = 1_000_000;
my $node = new_node('main', conf => "kafka_sink.worker_memory_limit = '${limit}MB'\n");
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Output and error of a session that may fail.
sub session
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');

	$node->psql('postgres', $sql, on_error_stop => 0, stdout => \$out, stderr => \$err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return ($out, $err);
}

# A batch of records for each, packed by $codec.
sub packer
{
	my ($topic, $codec) = @_;

	return $kafka->script('compression.codec' => $codec, 'batch.num.messages' => 1,
		'message.max.bytes' => 400 * $mb, 'queue.buffering.max.kbytes' => 600_000)->to($topic);
}

sub create_sink
{
	my ($sink, $topics, $settings) = @_;

	sql(join ";\n", "CREATE TABLE $sink (id bigint, note text)",
		"SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink'" . ($settings // '') . ')',
		map { "SELECT kafka_sink.register_topic('$sink', '$_')" } @$topics);
	return;
}

sub exact
{
	my ($sink, $n, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, "SELECT count(*), count(DISTINCT id) FROM $sink", "$n|$n", $what, 600);
	is(sql("SELECT sum(consumed), sum(applied) + sum(ignored), sum(gaps) FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
		"$n|$n|0", "$sink: the accounts are exact");
	return;
}

create_server($node, $kafka);
my $started = sql('SELECT pg_postmaster_start_time()');

# --- 600 MB in an answer of 40 kB ---

my $bombs = $kafka->topic('bombs', 1);
my $script = packer($bombs, 'zstd');
$script->R(0, $_, 6 * $mb)->F foreach 1 .. 100;
$script->end;

is(sql("SELECT off, length(value) > 6 * $mb FROM kafka_sink.peek('kafka', '$bombs', 0, max_records => 1, timeout => '3 min')"), '0|t',
	'peek() of one record');
is(sql("SELECT count(*) FROM kafka_sink.peek('kafka', '$bombs', 0, max_records => 1, timeout => '3 min'); SELECT length(repeat('x', 400000000))"), "1\n400000000",
	'a session has as much memory as before when it has read');
is(sql("SELECT count(*) FROM kafka_sink.peek('kafka', '$bombs', 0, max_records => 30, timeout => '10 min')"), '30',
	'peek() of many');

create_sink('other', [ $kafka->topic('other', 1) ]);
my $other = sql("SELECT topic FROM kafka_sink.topic_catalog WHERE sink = 'other'");
my $log = -s $node->logfile;
create_sink('bombs', [$bombs]);
wait_for_log($node, qr/sink "bombs": worker exceeded kafka_sink\.worker_memory_limit/, $log, 'an answer is too much');
$kafka->gen($other, count => 1000);
wait_until($node, 'SELECT count(*) FROM other', '1000', 'another sink goes on meanwhile');
exact('bombs', 100, 'with less at a time the worker gets through');
sql("SELECT kafka_sink.pause('bombs')");

is(sql(q{SELECT count(*) FROM kafka_sink.preview('bombs', 5, timeout => '3 min')}), '0', 'preview() has nothing to show of a sink that is at its end');

# the same in a session
sql(q{TRUNCATE bombs; SELECT kafka_sink.seek('bombs', 'earliest')});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink bombs'}, '0', 'no worker');
is(sql(q{SELECT count(*), min(outcome) FROM kafka_sink.preview('bombs', 2, timeout => '3 min')}), '2|applied', 'preview() of a few');
my ($out, $err) = session(q{CALL kafka_sink.run('bombs')});
like($err, qr/53200: reading from Kafka takes more memory than kafka_sink\.worker_memory_limit/, 'run() is ended by an error');
# (what is asked for at a time gets less twice; how much there is at a time is chance, too)
for (1 .. 6)
{
	($out, $err) = session(q{CALL kafka_sink.run('bombs')});
	last unless $err =~ /53200/;
}
is(sql('SELECT count(*), count(DISTINCT id) FROM bombs'), '100|100', 'run() fetches less at a time when it is called again');

# --- one batch that is too much ---

my ($whole, $beside) = ($kafka->topic('whole', 1), $kafka->topic('beside', 1));
$script = packer($whole, 'gzip');
$script->R(0, $_, 10) foreach 1 .. 5;
$script->R(0, 6, 300 * $mb)->F;
$script->R(0, $_, 10) foreach 7 .. 10;
$script->F;
$script->end;

($out, $err) = session("SELECT count(*) FROM kafka_sink.peek('kafka', '$whole', 0, timeout => '3 min')");
like($err, qr/53200: reading from Kafka takes more memory than kafka_sink\.worker_memory_limit/, 'peek() is ended by an error');
# (the batch behind them may be unpacked before these are taken, which ends the session)
for (1 .. 50)
{
	($out, $err) = session("SELECT count(*) FROM kafka_sink.peek('kafka', '$whole', 0, max_records => 5, timeout => '3 min')");
	last if $out eq '5' || $err !~ /53200|terminating connection/;
}
is($out, '5', 'what is before can be seen');

create_sink('whole', [ $whole, $beside ], ", idle_after => '0'");
$kafka->gen($beside, count => 100, from => 1000);
wait_until($node, qq{SELECT state, sqlstate, part, off FROM kafka_sink.sink_topics WHERE sink = 'whole' AND topic = '$whole'},
	'halted|53200|0|5', 'the topic halts at the batch');
like(sql(qq{SELECT hint FROM kafka_sink.sink_topics WHERE sink = 'whole' AND topic = '$whole'}),
	qr/Raise kafka_sink\.worker_memory_limit, or pass over the record with kafka_sink\.skip\('whole', '$whole', 0, 5\)/,
	'and says how to go on');
wait_until($node, 'SELECT count(*) FILTER (WHERE id < 1000), count(*) FILTER (WHERE id >= 1000) FROM whole', '5|100',
	'what is before it is applied, and the other topic');
sql("SELECT kafka_sink.skip('whole', '$whole', 0, 5); SELECT kafka_sink.resume('whole')");
wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM whole', '109|109', 'after skip() it goes on');
sql("SELECT kafka_sink.drop_sink('whole')");

create_sink('raised', [$whole], ", on_error => 'ignore', idle_after => '0'");
wait_until($node, q{SELECT state, off FROM kafka_sink.sinks WHERE sink = 'raised'}, 'halted|5', 'a sink with this topic alone halts');
sql("ALTER SYSTEM SET kafka_sink.worker_memory_limit = '1GB'");
$node->reload;
$log = -s $node->logfile;
sql("SELECT kafka_sink.resume('raised')");
wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM raised', '9|9', 'with a higher limit it goes on');
is(sql(q{SELECT consumed, applied, ignored FROM kafka_sink.txn_offsets WHERE sink = 'raised'}), '10|9|1', 'and the record is one that is too large');
wait_for_log($node, qr/sink "raised" fetches more at a time again/, $log, 'when it has gone well for a while, it fetches more');
sql("ALTER SYSTEM RESET kafka_sink.worker_memory_limit");
$node->reload;
wait_until($node, 'SHOW kafka_sink.worker_memory_limit', "${limit}MB", 'the limit is as it was');

# --- a batch that librdkafka does not take ---

my $zstd = $kafka->topic('zstd', 1);
$script = packer($zstd, 'zstd');
$script->R(0, 1, 10)->R(0, 2, 200 * $mb)->F;
$script->R(0, 3, 10)->F;
$script->end;
create_sink('zstd', [$zstd]);
wait_until($node, q{SELECT state, sqlstate, off FROM kafka_sink.sinks WHERE sink = 'zstd'}, 'halted|XX001|1', 'a sink halts at it');
sql(qq{SELECT kafka_sink.accept_gap('zstd', '$zstd', 0, 1, 2); SELECT kafka_sink.resume('zstd')});
wait_until($node, 'SELECT count(*) FROM zstd', '2', 'and goes on behind it');

# --- what does not count as bytes of a record ---

my $headers = $kafka->topic('headers', 1);
$script = packer($headers, 'lz4');
$script->R(0, $_, $mb, 'h')->F foreach 1 .. 150;
$script->end;
create_sink('headers', [$headers]);
exact('headers', 150, 'headers of 150 MB');

# --- what a record needs when it is applied ---

my $greedy = $kafka->topic('greedy', 1);
$kafka->gen($greedy, count => 20);
sql(q{
	CREATE FUNCTION swell() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.id = 7 THEN
			PERFORM length(repeat('x', 500000000));
		END IF;
		RETURN NEW;
	END$$});
sql(qq{
	CREATE TABLE greedy (id bigint, qty int);
	CREATE TRIGGER swell BEFORE INSERT ON greedy FOR EACH ROW EXECUTE FUNCTION swell();
	SELECT kafka_sink.create_sink('greedy', server => 'kafka', target => 'greedy');
	SELECT kafka_sink.register_topic('greedy', '$greedy')});
wait_until($node, q{SELECT state, sqlstate, off FROM kafka_sink.sinks WHERE sink = 'greedy'}, 'halted|53200|7',
	'a worker halts at the record that needs too much');
is(sql('SELECT count(*) FROM greedy'), '7', 'all before it are applied');
sql(qq{SELECT kafka_sink.skip('greedy', '$greedy', 0, 7); SELECT kafka_sink.resume('greedy')});
wait_until($node, 'SELECT count(*) FROM greedy', '19', 'and those behind it after skip()');

is(sql('SELECT pg_postmaster_start_time()'), $started, 'the server is the same');
$log = -s $node->logfile;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|terminating any other active/, 'nothing crashed');

# --- what else aborts ---

kill 'ABRT', sql(q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'raised'});
wait_for_log($node, qr/terminated by signal 6/, $log, 'SIGABRT for another reason ends a worker as ever');
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'raised'}, 'running', 'and the server begins anew');
$kafka->gen($whole, count => 10, from => 2000);
wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM raised', '19|19', 'the sink goes on');
$node->stop('fast');

done_testing();
