# A target that somebody has locked when a worker comes up, rows that are locked, and
# workers that are ended while they wait: what people see is true, and what was waited
# for is had as soon as it is free.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => 'max_prepared_transactions = 10');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

# Created, and nothing to do.
sub create_sink
{
	my ($name, $partitions, $settings) = @_;
	my $topic = $kafka->topic($name, $partitions);

	sql(qq{
		CREATE TABLE $name (id bigint PRIMARY KEY, qty int);
		SELECT kafka_sink.create_sink('$name', server => 'kafka', target => '$name', $settings);
		SELECT kafka_sink.register_topic('$name', '$topic');
		CALL kafka_sink.wait_for('$name', timeout => '3 min');
	});
	return $topic;
}

sub holder
{
	my $holder = $node->background_psql('postgres');

	return ($holder, $holder->query_safe('SELECT pg_backend_pid()'));
}

sub waits
{
	my ($sink, $lock, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return becomes("SELECT (state, waits_for, message, detail) = ('waiting', 'lock', $lock) FROM kafka_sink.sinks WHERE sink = '$sink'", $what)
	  || diag(sql("SELECT state, waits_for, message, detail FROM kafka_sink.sinks WHERE sink = '$sink'"));
}

sub lags
{
	my ($sink, $lag, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT sum(lag) FROM kafka_sink.lag WHERE sink = '$sink'", $lag, $what);
}

sub pid_of { return sql("SELECT pid FROM kafka_sink.stat_sinks WHERE sink = '$_[0]'"); }

sub gone
{
	my ($sink) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return becomes("SELECT count(*) = 0 FROM kafka_sink.stat_sinks WHERE sink = '$sink' AND pid IS NOT NULL", 'no worker');
}

create_server($node, $kafka);
my ($holder, $pid) = holder();

# --- a sink that was idle ---

my $topic = create_sink('idle', 3, "idle_after => '1 s', lock_timeout => '300 ms'");
becomes("SELECT state = 'idle' FROM kafka_sink.sinks WHERE sink = 'idle'", 'idle');
$holder->query_safe('BEGIN; LOCK TABLE idle');
$kafka->gen($topic, count => 500, partitions => 3);
my $lock = "'waits for a lock on table \"idle\"', 'It is held by process $pid (AccessExclusiveLock).'";
waits('idle', $lock, 'woken, it says which lock it waits for, and who has it');
lags('idle', 500, 'its lag is the true one');
my $worker = pid_of('idle');
my $since = sql("SELECT since FROM kafka_sink.sinks WHERE sink = 'idle'");
$kafka->gen($topic, count => 100, from => 500, partitions => 3);
lags('idle', 600, 'and goes on');
becomes("SELECT retries >= 4 FROM kafka_sink.stat_sinks WHERE sink = 'idle'", 'it tries again');
is(pid_of('idle'), $worker, 'in the same process');
is(sql("SELECT since FROM kafka_sink.sinks WHERE sink = 'idle'"), $since, 'since when it waits');

# --- the same after what makes it begin anew ---

sql("SELECT kafka_sink.pause('idle')");
gone('idle');
sql("SELECT kafka_sink.resume('idle')");
waits('idle', $lock, 'resumed');
lags('idle', 600, 'it has its lag');
sql("ALTER SERVER kafka OPTIONS (ADD client_rack 'here')");
$kafka->gen($topic, count => 100, from => 600, partitions => 3);
lags('idle', 700, 'with another connection');
$kafka->add_partitions($topic, 4);
$kafka->produce($topic, 3, [ undef, '{"id": 10000, "qty": 1}' ]);
lags('idle', 701, 'with a new partition');
waits('idle', $lock, 'it waits');
$worker = pid_of('idle');
$holder->query_safe('COMMIT');
becomes('SELECT count(*) = 701 FROM idle', 'then it goes on');
becomes("SELECT state IN ('running', 'idle') AND waits_for IS NULL AND message IS NULL AND hint IS NULL FROM kafka_sink.sinks WHERE sink = 'idle'", 'and says so');
is(sql("SELECT sum(gaps), sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = 'idle'"), '0|701', 'all of it, once');

# an index that is built keeps writers out, not readers
sql("SELECT kafka_sink.pause('idle')");
gone('idle');
$holder->query_safe('BEGIN; LOCK TABLE idle IN SHARE MODE');
$kafka->gen($topic, count => 10, from => 700, partitions => 3);
sql("SELECT kafka_sink.resume('idle')");
waits('idle', $lock =~ s/AccessExclusive/Share/r, 'any lock that it conflicts with');
lags('idle', 10, 'with its lag');
$holder->query_safe('COMMIT');
becomes('SELECT count(*) = 711 FROM idle', 'it goes on');

# who asks for the table first stands in the way, too
sql("SELECT kafka_sink.pause('idle')");
gone('idle');
my ($altering, $altering_pid) = holder();
$holder->query_safe('BEGIN; SELECT count(*) FROM idle');
$altering->query_until(qr/begun/, "\\echo begun\nBEGIN;\nLOCK TABLE idle;\nCOMMIT;\n");
becomes("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $altering_pid", 'another one waits for the table');
$kafka->gen($topic, count => 10, from => 710, partitions => 3);
sql("SELECT kafka_sink.resume('idle')");
waits('idle', "'waits for a lock on table \"idle\"', 'It was asked for before by process $altering_pid (AccessExclusiveLock).'", 'one that waits itself');
$holder->query_safe('COMMIT');
$altering->quit;
becomes('SELECT count(*) = 721 FROM idle', 'it goes on');

# others that can hold a lock
sql("BEGIN; LOCK TABLE idle IN SHARE MODE; PREPARE TRANSACTION 'p$_'") foreach 1 .. 7;
$kafka->gen($topic, count => 10, from => 720, partitions => 3);
waits('idle', q{'waits for a lock on table "idle"', 'It is held by ' || rtrim(repeat('a prepared transaction (ShareLock), ', 5), ', ') || ' and 2 more.'},
	'transactions without a process');
sql("ROLLBACK PREPARED 'p$_'") foreach 1 .. 7;
becomes('SELECT count(*) = 731 FROM idle', 'it goes on');
$holder->query_safe('BEGIN; ALTER INDEX idle_pkey SET TABLESPACE pg_default');
$kafka->gen($topic, count => 10, from => 730, partitions => 3);
waits('idle', "'waits for a lock on index \"idle_pkey\"', 'It is held by process $pid (AccessExclusiveLock).'", 'an index');
$holder->query_safe('ROLLBACK');
becomes('SELECT count(*) = 741 FROM idle', 'it goes on');

# --- topics that may be linked ---

my @linked = map { $kafka->topic($_, 1) } 'parent', 'child', 'other';
sql(qq{
	CREATE TABLE parent (id bigint PRIMARY KEY);
	CREATE TABLE child (id bigint PRIMARY KEY REFERENCES parent);
	SELECT kafka_sink.create_sink('linked', server => 'kafka', lock_timeout => '0', idle_after => '0');
	SELECT kafka_sink.register_topic('linked', '$linked[0]', target => 'parent');
	SELECT kafka_sink.register_topic('linked', '$linked[1]', target => 'child')});
$kafka->produce($linked[0], 0, [ undef, '{"id": 1}' ]);
sql("CALL kafka_sink.wait_for('linked', timeout => '3 min'); SELECT kafka_sink.pause('linked')");
gone('linked');
$kafka->produce($linked[0], 0, map { [ undef, qq({"id": $_}) ] } 2 .. 9);
$kafka->delete_records($linked[0], 0, 5);
$holder->query_safe('BEGIN; LOCK TABLE child');
sql("SELECT kafka_sink.resume('linked')");
becomes("SELECT (state, topic) = ('halted', '$linked[0]') AND halted_topics IS NULL FROM kafka_sink.sinks WHERE sink = 'linked'",
	'as long as the tables are not known, an error of one topic halts all');
$holder->query_safe('COMMIT');

# --- rows ---

$topic = create_sink('rows', 1, "insert_mode => 'upsert', idle_after => '0', lock_timeout => '2 s'");
sql('INSERT INTO rows VALUES (3, 0)');
$holder->query_safe('BEGIN; UPDATE rows SET qty = -1 WHERE id = 3');
$kafka->gen($topic, count => 50);
my $row = q{waits for a row that another transaction has locked, as it writes to table "rows"};
becomes("SELECT (state, waits_for, message) = ('waiting', 'lock', '$row') AND detail LIKE 'It is held by process $pid.%' FROM kafka_sink.sinks WHERE sink = 'rows'",
	'a row: of which table, and who has it');
$since = sql("SELECT since FROM kafka_sink.sinks WHERE sink = 'rows'");
becomes("SELECT state = 'waiting' AND detail LIKE '% The row was met while % in relation \"rows\".' FROM kafka_sink.sink_state WHERE sink = 'rows'", 'and which');
is(sql("SELECT since FROM kafka_sink.sinks WHERE sink = 'rows'"), $since, 'since when it has waited, not since when it gave up');
is(sql("SELECT since FROM kafka_sink.sink_state WHERE sink = 'rows'"), $since, 'also where it is written');
is(sql("SELECT message FROM kafka_sink.sinks WHERE sink = 'rows'"), $row, 'in the same words, whenever one looks');
$holder->query_safe('ROLLBACK');
becomes("SELECT off = 50 FROM kafka_sink.txn_offsets WHERE sink = 'rows'", 'it goes on');

# the second one who waits for a row waits for the first
sql("SELECT kafka_sink.alter_sink('rows', lock_timeout => '20 ms')");
becomes("SELECT state = 'running' FROM kafka_sink.sinks WHERE sink = 'rows'", 'with a short timeout');
$holder->query_safe('BEGIN; UPDATE rows SET qty = -1 WHERE id = 3');
my ($second, $second_pid) = holder();
$second->query_until(qr/begun/, "\\echo begun\nUPDATE rows SET qty = -2 WHERE id = 3;\n");
becomes("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $second_pid", 'another one waits for the row');
$kafka->produce($topic, 0, [ undef, '{"id": 3, "qty": 7}' ]);
waits('rows', "'waits for a row of table \"rows\" that another transaction has locked', 'It is held by process $second_pid, which waits for process $pid.'",
	'whose lock it is, and who is behind that');
$holder->query_safe('ROLLBACK');
$second->quit;
becomes('SELECT qty = 7 FROM rows WHERE id = 3', 'it goes on');
$holder->query_safe('BEGIN; LOCK TABLE rows');
$kafka->produce($topic, 0, [ undef, '{"id": 3, "qty": 8}' ]);
waits('rows', "'waits for a lock on table \"rows\"', 'It is held by process $pid (AccessExclusiveLock).'", 'a table, with a short timeout');
$holder->query_safe('ROLLBACK');
becomes('SELECT qty = 8 FROM rows WHERE id = 3', 'it goes on');

# a command does not say what it writes to
$topic = $kafka->topic('command', 1);
sql(qq{
	SELECT kafka_sink.create_sink('command', server => 'kafka', lock_timeout => '0', idle_after => '0',
		command => \$\$UPDATE public.rows SET qty = (b.value ->> 'qty')::int FROM batch b WHERE rows.id = (b.value ->> 'id')::bigint\$\$);
	SELECT kafka_sink.register_topic('command', '$topic')});
$holder->query_safe('BEGIN; UPDATE rows SET qty = -1 WHERE id = 3');
$kafka->produce($topic, 0, [ undef, '{"id": 3, "qty": 9}' ]);
waits('command', "'waits for a row of table \"rows\" that another transaction has locked', 'It is held by process $pid.'", 'but whose row it waits for is seen');
$holder->query_safe('ROLLBACK');
becomes('SELECT qty = 9 FROM rows WHERE id = 3', 'it goes on');
sql(q{SELECT kafka_sink.alter_sink('command', command => 'LOCK public.rows IN SHARE MODE NOWAIT')});
$holder->query_safe('BEGIN; LOCK TABLE rows');
$kafka->produce($topic, 0, [ undef, '{"id": 3, "qty": 9}' ]);
becomes(q{SELECT (state, waits_for, message) = ('waiting', 'lock', 'could not obtain lock on relation "public.rows"') FROM kafka_sink.sinks WHERE sink = 'command'},
	'one that does not wait says what it has not got');
$holder->query_safe('ROLLBACK');
becomes("SELECT off = 2 FROM kafka_sink.txn_offsets WHERE sink = 'command'", 'it goes on');

# --- one that is ended while it waits ---

$topic = create_sink('ended', 1, "idle_after => '0', lock_timeout => '0'");
becomes("SELECT as_of IS NOT NULL FROM kafka_sink.lag WHERE sink = 'ended'", 'it knows where its partition ends');
$holder->query_safe('BEGIN; LOCK TABLE ended');
$kafka->produce($topic, 0, map { [ undef, qq({"id": $_}) ] } 1 .. 5);
waits('ended', "'waits for a lock on table \"ended\"', 'It is held by process $pid (AccessExclusiveLock).'", 'it waits');
lags('ended', 5, 'with its lag');
sql("SELECT kafka_sink.pause('ended')");
gone('ended');
lags('ended', 5, 'which is not lost when it is ended');
wait_until($node, "SELECT high, last_stable FROM kafka_sink.partition_ends WHERE sink = 'ended'", '5|5', 'as it was seen last');
$holder->query_safe('COMMIT');

# --- what a worker needs before it has a batch ---

my $offset = -s $node->logfile;
$topic = $kafka->topic('begins', 2);
$holder->query_safe('BEGIN; LOCK TABLE kafka_sink.txn_offsets IN SHARE MODE');
sql(qq{
	CREATE TABLE begins (id bigint PRIMARY KEY, qty int);
	SELECT kafka_sink.create_sink('begins', server => 'kafka', target => 'begins', idle_after => '0', lock_timeout => '200 ms');
	SELECT kafka_sink.register_topic('begins', '$topic')});
becomes("SELECT (state, waits_for, message) = ('waiting', 'lock', 'waits for a lock on table \"txn_offsets\"') FROM kafka_sink.sink_state WHERE sink = 'begins'",
	'where its partitions begin cannot be stored');
$lock = "'waits for a lock on table \"txn_offsets\"', 'It is held by process $pid (ShareLock).'";
waits('begins', $lock, 'which lock, and who has it');
like(sql("SELECT hint FROM kafka_sink.sink_state WHERE sink = 'begins'"), qr/^The worker tries again until it gets the lock/, 'and what it does');
$worker = pid_of('begins');
$holder->query_safe('COMMIT');
becomes("SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'begins'", 'it goes on');
is(pid_of('begins'), $worker, 'in the same process');

# it can be stopped meanwhile
$holder->query_safe('BEGIN; LOCK TABLE kafka_sink.txn_offsets IN SHARE MODE');
$kafka->add_partitions($topic, 3);
sql("SELECT kafka_sink.pause('begins')");
gone('begins');
sql("SELECT kafka_sink.resume('begins')");
waits('begins', $lock, 'a partition that is new');
sql("SELECT kafka_sink.pause('begins')");
gone('begins');
$holder->query_safe('COMMIT');
sql("SELECT kafka_sink.resume('begins')");
$kafka->produce($topic, $_, [ undef, qq({"id": $_}) ]) foreach 0 .. 2;
becomes('SELECT count(*) = 3 FROM begins', 'all of it');
is(sql("SELECT sum(consumed), sum(gaps) FROM kafka_sink.txn_offsets WHERE sink = 'begins'"), '3|0', 'once');

# who is about to change the sink
$holder->query_safe(q{BEGIN; SELECT kafka_sink.alter_sink('begins', batch_linger_ms => 3)});
$kafka->add_partitions($topic, 4);
sql('SELECT pg_terminate_backend(' . pid_of('begins') . ')');
becomes(q{SELECT (state, waits_for, message) = ('waiting', 'lock', 'waits for a row that another transaction has locked') FROM kafka_sink.sink_state WHERE sink = 'begins'},
	'a new partition of a sink that somebody changes');
$holder->query_safe('ROLLBACK');
becomes("SELECT count(*) = 4 FROM kafka_sink.txn_offsets WHERE sink = 'begins'", 'when he has done, it goes on');
unlike(slurp_file($node->logfile, $offset), qr/worker of sink "begins" ends/, 'no lock has ended it');

# --- run() ---

$topic = $kafka->topic('session', 1);
sql(qq{
	CREATE TABLE session (id bigint PRIMARY KEY);
	SELECT kafka_sink.create_sink('session', server => 'kafka', target => 'session', enabled => false, lock_timeout => '100 ms');
	SELECT kafka_sink.register_topic('session', '$topic')});
$kafka->produce($topic, 0, map { [ undef, qq({"id": $_}) ] } 1 .. 20);
$holder->query_safe('BEGIN; LOCK TABLE session');
my $told = qr/waits for a lock on table "session"\.  It is held by process $pid \(AccessExclusiveLock\)\./;
my $timed_out = qr/ERROR:  57014: timed out.*\nDETAIL:  It $told/;
like(timed_out($node, "CALL kafka_sink.run('session', timeout => '%d s')", $timed_out), $timed_out, 'run() waits until its timeout, and says for what');
my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET lock_timeout = '1 s'; CALL kafka_sink.run('session', timeout => '3 min')");
like($err, qr/ERROR:  55P03: .*\nDETAIL:  It $told/, 'or until that of the session');
is(sql("SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'session'"), 0, 'nothing is applied');
$offset = -s $node->logfile;
my $running = $node->background_psql('postgres');
$running->query_until(qr/begun/, "\\echo begun\nCALL kafka_sink.run('session', max_records => 10, timeout => '3 min');\n");
wait_for_log($node, qr/WARNING:  sink "session": waits for a lock on table "session"/, $offset, 'it tells that it waits');
becomes("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'CALL kafka_sink.run(%' AND backend_xid IS NULL AND backend_xmin IS NULL AND wait_event_type IS DISTINCT FROM 'Lock'",
	'and holds nothing between its attempts');
$holder->query_safe('COMMIT');
$running->quit;
unlike($running->{stderr}, qr/ERROR/, 'it goes on');
is(sql('SELECT count(*) FROM session'), 10, 'with as many records as were asked for');
sql("CALL kafka_sink.run('session')");
is(sql("SELECT count(*), (SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'session') FROM session"), '20|20', 'all of it, once');

$holder->quit;
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
