# Sinks with nothing to do have no process: one that watches for all of them
# wakes those that have.  Nothing is lost or doubled however often that happens,
# and whatever happens to the log, the broker and the processes meanwhile.
use strict;
use warnings FATAL => 'all';

use Time::HiRes ();

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "max_worker_processes = 24\n");
my $kafka = shared_broker();
my $own = start_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub create_sink
{
	my ($sink, $topic, %opts) = @_;
	my $server = delete $opts{server} // 'kafka';
	$opts{idle_after} //= q{'100 ms'};
	my $more = join '', map { ", $_ => $opts{$_}" } sort keys %opts;

	sql(qq{
		CREATE TABLE $sink (part int, off bigint, id bigint, qty bigint);
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => '$server', target => '$sink',
			columns => '{"part": "\@partition", "off": "\@offset"}'$more);
		SELECT kafka_sink.register_topic('$sink', '$topic');
		COMMIT;
	});
	return;
}

# Its workers have left, and say so.
sub parks
{
	my ($sink, $what, $n) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT count(*) FILTER (WHERE state = 'idle' AND pid IS NULL), count(*) FROM kafka_sink.stat_sinks WHERE sink = '$sink'",
		($n // 1) . '|' . ($n // 1), $what);
}

sub watcher { return sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink watcher'}); }

sub watched
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink watcher'}, '1', $what);
}

my $no_workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'};
my $accounting = q{SELECT bool_and(consumed = applied AND off - start_off = consumed + gaps) FROM kafka_sink.txn_offsets};

create_server($node, $kafka, options => "topic_metadata_refresh_interval_ms '1000'");
create_server($node, $own, name => 'own', options => "reconnect_backoff_max_ms '500'");

# --- to and fro ---

my $topic = $kafka->topic('idle', 2);
$kafka->gen($topic, count => 10, partitions => 2);
create_sink('a', $topic);
create_sink('b', $topic, workers => 2);
wait_until($node, 'SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)', '10|10', 'records arrive');
parks('a', 'then the worker leaves');
parks('b', 'so do both of another sink', 2);
# (a process is in this view a little longer than it works, and not as soon as it is wanted)
wait_until($node, $no_workers, '0', 'no worker runs');
watched('one process watches');
wait_until($node, q{SELECT sum(lag), count(*) FILTER (WHERE as_of > now() - interval '1 min') FROM kafka_sink.lag WHERE sink = 'a'}, '0|2',
	'lag is known all the same');
# the watcher has not noticed yet that others read the partitions, who have figures of their own
my $pid = watcher();
freeze($node, $pid);
sql(q{SELECT kafka_sink.alter_sink('b', idle_after => '0')});
wait_until($node, q{SELECT count(pid) FROM kafka_sink.stat_sinks WHERE sink = 'b' AND state = 'running'}, '2', 'workers are taken back');
is(sql(q{SELECT count(*), count(DISTINCT (topic, part)) FROM kafka_sink.lag WHERE sink = 'b'}), '2|2', 'no partition is there twice');
kill 'CONT', $pid;
sql(q{SELECT kafka_sink.alter_sink('b', idle_after => '100 ms')});
parks('b', 'they leave again', 2);
my $start = Time::HiRes::time();
$kafka->gen($topic, count => 10, from => 10, partitions => 2);
sql(q{CALL kafka_sink.wait_for('a', timeout => '3 min'); CALL kafka_sink.wait_for('b', timeout => '3 min')});
note sprintf('%.2f s from produce to visible', Time::HiRes::time() - $start);
is(sql('SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)'), '20|20', 'records wake them');
like(($node->psql('postgres', q{CALL kafka_sink.run('a')}))[2], qr/is being consumed by a background worker/, 'run() beside it is refused');

# --- what is done to a sink that is parked ---

parks('a', 'the worker leaves again');
sql(q{SELECT kafka_sink.pause('a')});
wait_until($node, q{SELECT state, worker IS NULL FROM kafka_sink.stat_sinks WHERE sink = 'a'}, 'paused|t', 'pause');
$kafka->gen($topic, count => 10, from => 20, partitions => 2);
sql(q{CALL kafka_sink.wait_for('b', timeout => '3 min')});
is(sql('SELECT count(*) FROM a'), '20', 'a paused sink is not woken');
sql(q{SELECT kafka_sink.resume('a'); CALL kafka_sink.wait_for('a', timeout => '3 min')});
is(sql('SELECT count(*) FROM a'), '30', 'resume');
parks('a', 'it parks');
sql(q{SELECT kafka_sink.seek('a', 'earliest'); CALL kafka_sink.wait_for('a', timeout => '3 min')});
is(sql('SELECT count(*) FROM a'), '60', 'seek');
parks('a', 'it parks');
sql(q{UPDATE kafka_sink.txn_offsets SET off = off - 1 WHERE sink = 'a' AND part = 0});
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'kafka_sink watcher'});
wait_until($node, 'SELECT count(*) FROM a', '61', 'offsets that were moved while nobody watched');
parks('a', 'it parks');
sql(q{SELECT kafka_sink.alter_sink('a', workers => 2)});
parks('a', 'alter_sink', 2);
$kafka->add_partitions($topic, 3);
$kafka->gen($topic, count => 30, from => 100, partitions => 3);
wait_until($node, 'SELECT count(*), count(DISTINCT part) FROM a', '91|3', 'partitions that are added');
wait_until($node, 'SELECT count(*), count(DISTINCT part) FROM b', '60|3', 'for both sinks');
parks('a', 'it parks', 2);
sql(q{ALTER SERVER kafka OPTIONS (ADD fetch_wait_max_ms '100')});
$kafka->gen($topic, count => 30, from => 200, partitions => 3);
wait_until($node, 'SELECT count(*) FROM a', '121', 'a server that is altered');
parks('a', 'it parks', 2);
sql(q{DROP TABLE a});
wait_until($node, q{SELECT state, sqlstate FROM kafka_sink.sinks WHERE sink = 'a'}, 'halted|42P01', 'its table is dropped');
sql(q{SELECT kafka_sink.drop_sink('a')});

# --- partitions that are not there yet ---

my $beyond = $kafka->topic('beyond', 2);
my $beside = $kafka->topic('beside', 1);
sql(qq{
	CREATE TABLE beyond (part int, off bigint, id bigint, qty bigint);
	CREATE TABLE wakings (state text);
	CREATE FUNCTION waking() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.wakings VALUES (new.state); RETURN NULL; END';
	CREATE TRIGGER waking AFTER INSERT OR UPDATE ON kafka_sink.sink_state FOR EACH ROW
		WHEN (new.sink = 'beyond') EXECUTE FUNCTION waking();
	BEGIN;
	SELECT kafka_sink.create_sink('beyond', server => 'kafka', target => 'beyond', idle_after => '100 ms',
		columns => '{"part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic('beyond', '$beyond', partitions => '2-5');
	SELECT kafka_sink.register_topic('beyond', '$beside');
	COMMIT});
parks('beyond', 'a sink whose topic has none of its partitions parks');
# the watcher has it when it passes on what it hears of its other topic, and others after it
foreach my $i (1 .. 3)
{
	create_sink("after$i", $beside);
	parks("after$i", 'others come and go');
	wait_until($node, "SELECT count(*) FROM kafka_sink.lag WHERE sink IN ('beyond', 'after$i') AND as_of > now() - interval '1 min'", '2',
		'and are watched');
}
is(sql(q{SELECT string_agg(state, ' ') FROM wakings}), 'starting running idle', 'it stays so');
$kafka->gen($beside, count => 1);
wait_until($node, 'SELECT count(*) FROM beyond', '1', 'until there is something to do');
parks('beyond', 'it parks again');
$kafka->add_partitions($beyond, 3);
$kafka->gen($beyond, count => 30, partitions => 3);
wait_until($node, 'SELECT count(*), max(part) FROM beyond', '11|2', 'or one of its partitions is made');
sql(q{SELECT kafka_sink.drop_sink(s) FROM unnest('{beyond,after1,after2,after3}'::text[]) s; DROP TRIGGER waking ON kafka_sink.sink_state});

# --- transactions ---

my $trx = $kafka->topic('trx', 1);
create_sink('t', $trx);
parks('t', 'an empty topic');
my $script = $kafka->script('transactional.id' => "idle-$$")->to($trx);
$script->B;
$script->P(0, undef, '{"id": 1, "qty": 1}');
$script->F;
$script->A;
wait_until($node, q{SELECT off, gaps FROM kafka_sink.txn_offsets WHERE sink = 't'}, '2|2', 'an aborted record and its marker are passed over');
parks('t', 'it parks');
$script->B;
$script->P(0, undef, '{"id": 2, "qty": 1}');
$script->F;
$script->C;
$script->end;
wait_until($node, q{SELECT off, gaps, consumed FROM kafka_sink.txn_offsets WHERE sink = 't'}, '4|3|1', 'a committed one is applied');

# --- a trickle ---

my $trickle = $kafka->topic('trickle', 4);
my $manifest = PostgreSQL::Test::Utils::tempdir() . '/manifest';
create_sink('slow', $trickle, workers => 2, idle_after => q{'1 ms'});
sql(q{
	CREATE TABLE parkings (worker int);
	CREATE FUNCTION parking() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.parkings VALUES (new.worker); RETURN NULL; END';
	CREATE TRIGGER parking AFTER INSERT OR UPDATE ON kafka_sink.sink_state FOR EACH ROW
		WHEN (new.sink = 'slow' AND new.state = 'idle') EXECUTE FUNCTION parking();
});
my $producer = $kafka->gen_bg($trickle, count => 0, rate => 15, partitions => 4, manifest => $manifest);
wait_until($node, 'SELECT count(*) > 10 FROM parkings', 't', 'records trickle in, and workers come and go');
ok($producer->stop, 'all are produced');
sql(q{CALL kafka_sink.wait_for('slow', timeout => '3 min')});
my $trickled = () = slurp_file($manifest) =~ /\n/g;
sql("CREATE TABLE manifest (part int, off bigint, id bigint, qty bigint); COPY manifest FROM '$manifest'");
is(sql('SELECT count(*), count(DISTINCT (part, off)), sum(qty) FROM slow'), sql('SELECT count(*), count(*), sum(qty) FROM manifest'),
	'none is lost and none is doubled, however often the workers come and go');
is(sql($accounting), 't', 'the accounts are right');
sql('DROP TRIGGER parking ON kafka_sink.sink_state');

# --- the watcher dies, the server is restarted ---

parks('slow', 'it parks', 2);
$pid = watcher();
kill 'KILL', $pid;
$kafka->gen($trickle, count => 40, from => 100_000, partitions => 4);
wait_until($node, 'SELECT count(*) FROM slow', $trickled + 40, 'kill -9 of the watcher');
parks('slow', 'it parks', 2);
parks('t', 'so do all others');
parks('b', 'so do all others', 2);
$node->restart;
watched('after a restart somebody watches');
is(sql($no_workers), '0', 'and no worker was started');
$kafka->gen($trickle, count => 40, from => 200_000, partitions => 4);
wait_until($node, 'SELECT count(*) FROM slow', $trickled + 80, 'who is woken goes on');

# --- the broker ---

my $mine = $own->topic('mine', 2);
$own->gen($mine, count => 20, partitions => 2);
create_sink('m', $mine, server => 'own');
wait_until($node, 'SELECT count(*) FROM m', '20', 'a broker of its own');
parks('m', 'it parks');
$own->kill9;
wait_until($node, q{SELECT state, waits_for, message FROM kafka_sink.sinks WHERE sink = 'm'}, 'waiting|broker|could not connect to Kafka',
	'the broker is killed: the sink says so, without a worker');
is(sql(q{SELECT count(pid) FROM kafka_sink.stat_sinks WHERE sink = 'm'}), '0', 'which has none');
$own->start;
parks('m', 'the broker is back');
# one that ends before it has heard of it
$own->kill9;
wait_until($node, q{SELECT state, waits_for FROM kafka_sink.sinks WHERE sink = 'm'}, 'waiting|broker', 'killed again');
$pid = watcher();
freeze($node, $pid);
$own->start;
kill $_, $pid foreach qw(TERM CONT);
parks('m', 'the broker is back while nobody watches');
$own->gen($mine, count => 20, from => 20, partitions => 2);
wait_until($node, 'SELECT count(*) FROM m', '40', 'and records arrive');
parks('m', 'it parks');
$own->delete_topic($mine);
$own->create_topic($mine, 2);
$own->gen($mine, count => 60, partitions => 2);
# (one that is away for long, or is empty when somebody looks, is another case: told to go on, the
# sink sees what it is)
my $halted = q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'm'};
wait_until($node, $halted, qr/^halted\|/, 'a topic that is made again halts the sink');
sql(q{SELECT kafka_sink.resume('m')}) if sql($halted) !~ /the log is not/;
wait_until($node, $halted, 'halted|the log is not the one that was consumed',
	'a topic that is made again is not taken for the old one');

# --- off and gone ---

$node->append_conf('postgresql.conf', 'kafka_sink.enabled = off');
$node->reload;
my $ours = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink worker', 'kafka_sink supervisor', 'kafka_sink watcher')};
wait_until($node, $ours, '0', 'kafka_sink.enabled = off: all leave');
$node->append_conf('postgresql.conf', 'kafka_sink.enabled = on');
$node->reload;
parks('slow', 'on again', 2);
sql(q{BEGIN; DROP EXTENSION kafka_sink CASCADE; ROLLBACK});
parks('slow', 'DROP EXTENSION, rolled back', 2);
$kafka->gen($trickle, count => 40, from => 300_000, partitions => 4);
wait_until($node, 'SELECT count(*) FROM slow', $trickled + 120, 'who was parked is watched again');
parks('slow', 'it parks', 2);
sql(q{SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks});
wait_until($node, $ours, '0', 'drop_sink: nobody is left');

# --- nobody can watch ---

# for launcher, supervisor and the server's own, and one worker
$node->append_conf('postgresql.conf', "max_worker_processes = 4\nkafka_sink.reserved_worker_processes = 0\n");
$node->restart;
my $log = -s $node->logfile;
my $busy = $kafka->topic('busy', 1);
create_sink('busy', $busy, idle_after => q{'0'});
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'busy'}, 'running', 'one takes the last worker process');
sql(qq{SELECT kafka_sink.alter_sink('busy', idle_after => '100 ms')});
parks('busy', 'it leaves, and gives it to the watcher');
watched('who comes');
$kafka->gen($busy, count => 10);
wait_for_log($node, qr/WARNING:  no background worker slot is free for worker 0 of 1 of sink "busy"/, $log,
	'which is in its way when it is needed again');
wait_until($node, 'SELECT count(*) FROM busy', '10', 'until it has left, with nothing to watch');

# two sinks that are idle, and one process for both and for the watcher
parks('busy', 'it parks again');
my $second = $kafka->topic('second', 1);
create_sink('second', $second);
$kafka->gen($second, count => 10);
wait_until($node, 'SELECT count(*) FROM second', '10', 'a watcher gives way to another sink');
$log = -s $node->logfile;
$kafka->gen($busy, count => 10, from => 10);
wait_until($node, 'SELECT count(*) FROM busy', '20', 'and nobody is left alone');
$kafka->gen($second, count => 10, from => 10);
wait_until($node, 'SELECT count(*) FROM second', '20', 'neither is the other one');

# no watcher ever stays: workers do
$node->append_conf('postgresql.conf', 'max_worker_processes = 10');
$node->restart;
parks($_, 'both park') foreach qw(busy second);
$log = -s $node->logfile;
wait_until($node, q{SELECT count(pg_terminate_backend(pid)) >= 0, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker')
	FROM pg_stat_activity WHERE backend_type = 'kafka_sink watcher'}, 't|2', 'no watcher stays: both workers are started');
wait_for_log($node, qr/WARNING:  there is no watcher of idle sinks/, $log, 'and the log tells');
my $pids = sql(q{SELECT string_agg(pid::text, ',' ORDER BY pid) FROM kafka_sink.stat_sinks});
$kafka->gen($_, count => 10, from => 20) foreach $busy, $second;
wait_until($node, 'SELECT (SELECT count(*) FROM busy), (SELECT count(*) FROM second)', '30|30', 'they are served');
is(sql(q{SELECT string_agg(pid::text, ',' ORDER BY pid) FROM kafka_sink.stat_sinks}), $pids, 'by workers that stay awake, idle or not');
parks('busy', 'until there may be a watcher again');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9:)/, 'nothing crashed by itself');

done_testing();
