# Several workers for one sink: their partitions go from hand to hand while
# records arrive, and nothing is lost or doubled by it.  What halts one worker
# halts the sink; what ends one of them does not.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();
my $parts = 8;
my $topic = $kafka->topic('workers', $parts);
my $manifest = PostgreSQL::Test::Utils::tempdir() . '/manifest';

sub sql { return $node->safe_psql('postgres', $_[0]); }

# An error's SQLSTATE, message and hint.
sub error_of
{
	my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$_[0]");
	return $err;
}

# Numbers of the workers that have a row of state.
sub states { return qq{SELECT string_agg(worker || ' ' || state, ', ' ORDER BY worker) FROM kafka_sink.sink_state WHERE sink = '$_[0]'}; }

my $pids = '{}';

# Waits until $n workers run, none of which ran before, and nobody else.
sub settled
{
	my ($sink, $n, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, qq{
		SELECT string_agg(concat_ws(' ', s.worker, s.state, a.application_name), ', ' ORDER BY s.worker, a.pid)
		  FROM kafka_sink.stat_sinks s
		  FULL JOIN (SELECT * FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'
		              AND application_name ~ '^kafka_sink $sink( |\$)') a USING (pid)
		 WHERE (sink IS NULL OR sink = '$sink') AND pid <> ALL ('$pids')},
		join(', ', map { "$_ running kafka_sink $sink" . ($n > 1 ? " $_" : '') } 0 .. $n - 1),
		"$what: $n workers run");
	$pids = sql(qq{SELECT array_agg(pid) FROM kafka_sink.stat_sinks WHERE sink = '$sink'});
	# (what the rows say was said by those before, for a moment)
	wait_until($node, states($sink), join(', ', map { "$_ running" } 0 .. $n - 1), "$what: and have a state each, nobody else");
	wait_until($node, qq{SELECT state, message IS NULL, workers FROM kafka_sink.sinks WHERE sink = '$sink'}, "running|t|$n",
		"$what: the sink runs");
	return;
}

# A session that keeps a worker in the middle of a batch.
sub hold
{
	my ($part) = @_;
	my $holder = $node->background_psql('postgres');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$holder->query_safe("BEGIN; SELECT FROM kafka_sink.txn_offsets WHERE sink = 'w' AND part = $part FOR UPDATE");
	wait_until($node, "SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'kafka_sink w $part'", 'Lock',
		'a worker waits for its row');
	return $holder;
}

# Waits until each partition moves, by the worker whose it is.
sub moves
{
	my ($n, $what) = @_;
	my $mark = sql('SELECT coalesce(max(id), 0) FROM chain');
	my $who = $n > 1 ? "'kafka_sink w ' || part % $n" : "'kafka_sink w'";
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, "SELECT count(DISTINCT part) FROM chain WHERE id > $mark", $parts, "$what: all partitions move");
	is(sql("SELECT count(*) FROM chain WHERE id > $mark AND who <> $who"), 0, "$what: each by its worker");
	is(sql("SELECT sum(guard_mismatches) FROM kafka_sink.stat_sinks WHERE sink = 'w'"), 0, "$what: nobody met another");
	return;
}

create_server($node, $kafka, options => "topic_metadata_refresh_interval_ms '1000'");
sql(qq{
	CREATE TABLE t (topic text, part int, off bigint, id bigint, qty int, UNIQUE (topic, part, off));
	CREATE TABLE chain (id bigserial, part int, from_off bigint, until_off bigint,
		who text DEFAULT current_setting('application_name'));
	CREATE FUNCTION chain() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO public.chain (part, from_off, until_off) VALUES (new.part, old.off, new.off); RETURN NULL; END';
	CREATE TRIGGER chain AFTER UPDATE ON kafka_sink.txn_offsets FOR EACH ROW WHEN (new.sink = 'w') EXECUTE FUNCTION chain();
	SELECT kafka_sink.create_sink('w', server => 'kafka', target => 't', batch_records => 200, lock_timeout => '1 min',
		columns => '{"topic": "\@topic", "part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic('w', '$topic');
});
my $log = -s $node->logfile;
my $producer = $kafka->gen_bg($topic, count => 0, rate => 2000, partitions => $parts, manifest => $manifest);

# --- up and down while records arrive ---

settled('w', 1, 'at first');
moves(1, 'at first');
sql(q{SELECT kafka_sink.alter_sink('w', workers => 3)});
settled('w', 3, '1 -> 3');
moves(3, '1 -> 3');

# the end of one is of no concern to the others
my ($one, @others) = split /\n/, sql(q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'w' ORDER BY worker = 1 DESC, worker});
sql("SELECT pg_terminate_backend($one)");
wait_until($node, qq{SELECT count(*) FROM kafka_sink.stat_sinks WHERE sink = 'w' AND worker = 1 AND pid <> $one AND state = 'running'}, 1,
	'a worker that is terminated comes back');
is(sql(q{SELECT string_agg(pid::text, ' ' ORDER BY worker) FROM kafka_sink.stat_sinks WHERE sink = 'w' AND worker <> 1}), "@others",
	'the others stay');
moves(3, 'after it');

# nor of the supervisor: the next one finds them
my $supervisor = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor'});
my $kept = q{SELECT string_agg(pid::text, ' ' ORDER BY worker) FROM kafka_sink.stat_sinks WHERE sink = 'w'};
my $three = sql($kept);
sql("SELECT pg_terminate_backend($supervisor)");
wait_until($node, qq{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor' AND pid <> $supervisor}, 1,
	'another supervisor');
sql(qq{
	CREATE TABLE first_look (id bigint);
	SELECT kafka_sink.create_sink('first_look', server => 'kafka', target => 'first_look');
	SELECT kafka_sink.register_topic('first_look', '$topic', start_at => 'latest');
});
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'first_look'}, 'running', 'another supervisor: it has looked');
is(sql($kept), $three, 'another supervisor: the workers stay');
sql(q{SELECT kafka_sink.drop_sink('first_look')});
$pids = '{' . $three =~ tr/ /,/r . '}';
moves(3, 'another supervisor');

sql(q{SELECT kafka_sink.alter_sink('w', workers => 2)});
settled('w', 2, '3 -> 2');
moves(2, '3 -> 2');
sql(q{SELECT kafka_sink.alter_sink('w', workers => 8)});
settled('w', 8, '2 -> 8');
moves(8, '2 -> 8');

# one that waits keeps nobody waiting
my $holder = hold(3);
my $mark = sql('SELECT max(id) FROM chain');
wait_until($node, "SELECT count(DISTINCT part) FROM chain WHERE id > $mark", $parts - 1, 'the others go on');
is(sql("SELECT count(*) FROM chain WHERE id > $mark AND part = 3"), 0, 'without it');
$holder->query_safe('ROLLBACK');
$holder->quit;
moves(8, 'then');

# the server recovers, and all come back
my $victim = sql(q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'w' AND worker = 5});
kill 'KILL', $victim;
settled('w', 8, 'kill -9 of a worker');
moves(8, 'kill -9 of a worker');

# --- pause, run in a session, resume ---

like(error_of(q{CALL kafka_sink.run('w')}), qr/ERROR:  55006: sink "w" is being consumed by a background worker/,
	'run() beside workers is refused');
sql(q{SELECT kafka_sink.pause('w')});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'kafka_sink w%'}, 0, 'pause: all workers leave');
wait_until($node, q{SELECT state, worker IS NULL AND pid IS NULL FROM kafka_sink.stat_sinks WHERE sink = 'w'}, 'paused|t',
	'pause: one row tells it');
$mark = sql('SELECT max(id) FROM chain');
wait_until($node, q{SELECT count(*) FROM kafka_sink.lag('w', refresh => true) WHERE lag > 0}, $parts, 'there is something in each partition');
# the sessions of this test are called after it
sql(q{CALL kafka_sink.run('w')});
is(sql(qq{SELECT count(DISTINCT part), count(*) FILTER (WHERE who LIKE 'kafka_sink%') FROM chain WHERE id > $mark}), "$parts|0",
	'run() consumes all partitions');
sql(q{SELECT kafka_sink.resume('w')});
settled('w', 8, 'resume');
moves(8, 'resume');

# the last of the old ones leaves before the first of the new ones comes (a worker that
# is asked to leave is ended after ten seconds, unless it does not run at all)
$holder = hold(5);
$mark = sql('SELECT max(id) FROM chain');
my $last = sql(q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'w' AND worker = 5});
freeze($node, $last);
sql(q{SELECT kafka_sink.alter_sink('w', reset => '{workers}')});
my $names = q{SELECT string_agg(application_name, ', ') FROM pg_stat_activity
	WHERE backend_type = 'kafka_sink worker' AND application_name NOT LIKE '%probe'};
wait_until($node, $names, 'kafka_sink w 5', 'the others leave');
# another sink runs: the supervisor has looked again since they left
sql(qq{
	CREATE TABLE probe (id bigint);
	BEGIN;
	SELECT kafka_sink.create_sink('probe', server => 'kafka', target => 'probe');
	SELECT kafka_sink.register_topic('probe', '$topic', start_at => 'latest');
	COMMIT;
});
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'probe'}, 'running', 'another sink starts meanwhile');
is(sql($names), 'kafka_sink w 5', 'the new one does not');
sql(q{SELECT kafka_sink.drop_sink('probe')});
$holder->query_safe('ROLLBACK');
$holder->quit;
kill 'CONT', $last;
settled('w', 1, '8 -> 1');
moves(1, '8 -> 1');
# (it had none of its rows yet when the sink was changed)
is(sql("SELECT count(*) FROM chain WHERE id > $mark AND who = 'kafka_sink w 5'"), 0, 'the batch at hand, which had not begun, is for the new one');

# several changes in a row, none of which waits for the one before
sql(qq{SELECT kafka_sink.alter_sink('w', workers => $_)}) for (5, 1, 7, 2);
my $since = sql('SELECT clock_timestamp()');
sql(q{SELECT kafka_sink.alter_sink('w', workers => 4)});
# (by those of seven that have not left yet it cannot be told)
wait_until($node, qq{SELECT string_agg(application_name, ', ' ORDER BY worker) FROM kafka_sink.stat_sinks s JOIN pg_stat_activity a USING (pid)
	WHERE sink = 'w' AND s.state = 'running' AND started_at > '$since' AND application_name LIKE 'kafka_sink w%'},
	join(', ', map { "kafka_sink w $_" } 0 .. 3), 'the last of several changes counts');
moves(4, 'several changes');

ok($producer->stop, 'all was acknowledged');
sql(q{CALL kafka_sink.wait_for('w', timeout => '3 min')});

# --- nothing lost, nothing doubled ---

sql(qq{
	CREATE TABLE manifest (part int, off bigint, id bigint, qty int);
	COPY manifest FROM '$manifest';
});
note sql(q{SELECT count(*) || ' records, ' || (SELECT count(*) FROM chain) || ' ranges, ' ||
	(SELECT count(DISTINCT who) FROM chain) || ' hands' FROM manifest});
is(sql('SELECT count(*), sum(qty) FROM t'), sql('SELECT count(*), sum(qty) FROM manifest'), 'count and sum are those of the manifest');
is(sql('SELECT count(*) FROM (SELECT FROM t GROUP BY topic, part, off HAVING count(*) > 1) d'), 0, 'nothing is there twice');
is(sql('SELECT count(*) FROM (SELECT part, off, id, qty FROM manifest EXCEPT SELECT part, off, id, qty FROM t) m'), 0, 'nothing is missing');
is(sql(q{
	SELECT count(*) FROM (
		SELECT part, from_off, lag(until_off, 1, start_off) OVER (PARTITION BY part ORDER BY from_off, until_off) AS before
		  FROM (SELECT c.part, c.from_off, c.until_off, o.start_off FROM chain c JOIN kafka_sink.txn_offsets o ON o.sink = 'w' AND o.part = c.part
		        UNION ALL SELECT part, off, off, start_off FROM kafka_sink.txn_offsets WHERE sink = 'w') x) y
	 WHERE from_off <> before}), 0, 'the ranges of each partition make a chain');
is(sql(q{
	SELECT bool_and(consumed = applied AND off - start_off = consumed + gaps), sum(consumed) = (SELECT count(*) FROM manifest)
	  FROM kafka_sink.txn_offsets WHERE sink = 'w'}), 't|t', 'the accounts are right');
wait_until($node, q{SELECT count(*), sum(lag) FROM kafka_sink.lag WHERE sink = 'w'}, "$parts|0", 'lag is 0');
is(sql(q{SELECT count(*), count(end_offset) FROM kafka_sink.stat_partitions WHERE sink = 'w'}), "$parts|$parts",
	'stat_partitions has each partition once');
# (of the probe it did: its rows went while it ran)
is(scalar(grep { /sink "w": offsets were moved by another session/ } split /\n/, slurp_file($node->logfile, $log)), 0,
	'no hand-over met the guard');

# --- a bad record halts all ---

my $bad = $kafka->topic('bad', 4);
$kafka->gen($bad, count => 400, partitions => 4);
sql(qq{
	SELECT kafka_sink.drop_sink('w');
	CREATE TABLE bad (id bigint, part int, qty int);
	SELECT kafka_sink.create_sink('bad', server => 'kafka', target => 'bad', workers => 4, idle_after => '0', columns => '{"part": "\@partition"}');
	SELECT kafka_sink.register_topic('bad', '$bad');
	CALL kafka_sink.wait_for('bad', timeout => '3 min');
});
$pids = '{}';
settled('bad', 4, 'before');
$kafka->produce($bad, 2, [ undef, '{"id": 1, "qty": "many"}' ]);
wait_until($node, q{SELECT state, part, off, column_name, sqlstate FROM kafka_sink.sinks WHERE sink = 'bad'}, 'halted|2|100|qty|22P02',
	'a bad record: the sink is halted');
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'kafka_sink bad%'}, 0, 'all its workers leave');
wait_until($node, q{SELECT worker, state FROM kafka_sink.sink_state WHERE sink = 'bad'}, '2|halted', 'one of them says why');
$kafka->gen($bad, count => 400, partitions => 4, from => 400);
like(error_of(q{CALL kafka_sink.wait_for('bad')}), qr/ERROR:  22P02: .*CONTEXT:  sink "bad" is halted: topic "$bad", partition 2, offset 100, column "qty"/s, 'wait_for knows why');
# the worker that halted is none of theirs any more
sql(q{SELECT kafka_sink.alter_sink('bad', workers => 2)});
$node->restart;
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor'}, 1, 'the server is back');
is(sql(q{SELECT state, part, off, workers FROM kafka_sink.sinks WHERE sink = 'bad'}), 'halted|2|100|2',
	'it stays halted, by other definitions and through restarts');
is(sql('SELECT count(*) FROM bad'), 400, 'and nothing moves');
sql(qq{SELECT kafka_sink.skip('bad', '$bad', 2, 100); SELECT kafka_sink.resume('bad'); CALL kafka_sink.wait_for('bad', timeout => '3 min')});
settled('bad', 2, 'resume');
is(sql('SELECT count(*), count(DISTINCT id) FROM bad'), '800|800', 'resume lets all of them go on');

# --- another sink by the same name ---

$bad = $kafka->topic('again', 2);
$kafka->gen($bad, count => 20, partitions => 2);
for my $target (qw(first second))
{
	sql(qq{
		CREATE TABLE $target (part int, off bigint, id bigint);
		BEGIN;
		SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks;
		SELECT kafka_sink.create_sink('again', server => 'kafka', target => '$target', workers => 2);
		SELECT kafka_sink.register_topic('again', '$bad');
		COMMIT;
		CALL kafka_sink.wait_for('again', timeout => '3 min');
	});
	is(sql("SELECT count(*) FROM $target"), 20, "$target: what is created anew begins anew");
}
is(sql('SELECT count(*) FROM first'), 20, 'and nobody goes on with what was dropped');

# --- more workers than partitions, and partitions that come later ---

my $few = $kafka->topic('few', 2);
$kafka->gen($few, count => 200, partitions => 2);
my @few = map { "few$_" } 1 .. 4;
sql(join ";\n", q{SELECT kafka_sink.drop_sink('again')}, 'BEGIN', (map { qq{
	CREATE TABLE $_ (part int, off bigint, id bigint);
	SELECT kafka_sink.create_sink('$_', server => 'kafka', target => '$_', workers => 5, idle_after => '0',
		columns => '{"part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic('$_', '$few', start_at => 'latest')} } @few), 'COMMIT');
for my $sink (@few)
{
	wait_until($node, qq{SELECT string_agg(concat_ws(' ', worker, state, pid IS NOT NULL), ', ' ORDER BY worker) FROM kafka_sink.stat_sinks WHERE sink = '$sink'},
		'0 running t, 1 running t, 2 idle f, 3 idle f, 4 idle f', "$sink: more workers than partitions: no more processes than these");
	is(sql(qq{SELECT state, message IS NULL, workers FROM kafka_sink.sinks WHERE sink = '$sink'}), 'running|t|5', "$sink: the sink runs");
	# whoever settles first does not make the rest of the topic one that is under way
	is(sql(qq{SELECT string_agg(part || ' ' || start_off, ', ' ORDER BY part) FROM kafka_sink.txn_offsets WHERE sink = '$sink'}),
		'0 100, 1 100', "$sink: all begin at start_at");
}
$kafka->add_partitions($few, 9);
$kafka->gen($few, count => 900, partitions => 9, from => 1000);
for my $sink (@few)
{
	wait_until($node, "SELECT count(*), count(DISTINCT (part, off)), count(DISTINCT part) FROM $sink", '900|900|9',
		"$sink: new partitions are found, by those who had none too, and read from their beginning");
	wait_until($node, qq{SELECT count(*) FROM kafka_sink.stat_sinks WHERE sink = '$sink' AND state = 'running' AND pid IS NOT NULL}, '5',
		"$sink: all have partitions now, and run");
	wait_until($node, qq{SELECT state FROM kafka_sink.sinks WHERE sink = '$sink'}, 'running', "$sink: it runs");
}
wait_until($node, q{SELECT sum(lag), count(lag) FROM kafka_sink.lag}, '0|36', 'lag is 0');
$log = -s $node->logfile;
sql(qq{SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'}, 0, 'drop_sink: all leave');
unlike(join("\n", grep { /kafka_sink/ } split /\n/, slurp_file($node->logfile, $log)), qr/ERROR|WARNING/, 'without a word');

# --- fewer slots than workers ---

sql('ALTER SYSTEM SET kafka_sink.max_workers = 2');
$node->restart;
$log = -s $node->logfile;
my $narrow = $kafka->topic('narrow', 3);
$kafka->gen($narrow, count => 300, partitions => 3);
sql(qq{
	CREATE TABLE narrow (part int, id bigint);
	SELECT kafka_sink.create_sink('narrow', server => 'kafka', target => 'narrow', workers => 3, idle_after => '0', columns => '{"part": "\@partition"}');
	SELECT kafka_sink.register_topic('narrow', '$narrow');
});
wait_until($node, 'SELECT part, count(*) FROM narrow GROUP BY 1 ORDER BY 1', "0|100\n1|100", 'too few slots: those that run go on');
wait_until($node, q{SELECT state, sqlstate, message, hint FROM kafka_sink.sinks WHERE sink = 'narrow'},
	'waiting|53400|no background worker slot is free for worker 2 of 3 of sink "narrow"|You might need to increase kafka_sink.max_workers.',
	'and the sink says what is missing');
wait_for_log($node, qr/WARNING:  no background worker slot is free for worker 2 of 3 of sink "narrow"/, $log, 'so does the log');
sql(q{SELECT kafka_sink.alter_sink('narrow', workers => 2); CALL kafka_sink.wait_for('narrow', timeout => '3 min')});
is(sql('SELECT part, count(*) FROM narrow GROUP BY 1 ORDER BY 1'), "0|100\n1|100\n2|100", 'with fewer workers all is consumed');
$pids = '{}';
settled('narrow', 2, 'with fewer');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9:)/, 'nothing crashed by itself');

done_testing();
