# What a table refuses, and what passes by itself: the record is found and the
# sink halts at it, or it tries again until it works.  Nothing is lost or
# applied twice by either.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A sink of a topic that is written already: $good records, one that is bad,
# $more good ones.
my %topic;

sub create_sink
{
	my ($sink, %opts) = @_;
	my $good = $opts{good} // 300;

	$topic{$sink} = $kafka->topic($sink, 1);
	$kafka->gen($topic{$sink}, count => $good);
	$kafka->produce($topic{$sink}, 0, [ undef, $opts{bad} ]) if defined $opts{bad};
	$kafka->gen($topic{$sink}, count => $opts{more} // 100, from => $good);
	sql(
		join ";\n",
		$opts{ddl} // "CREATE TABLE $sink (id bigint PRIMARY KEY, qty int, note text)",
		"SET ROLE " . ($opts{owner} // 'postgres'),
		'BEGIN',
		"SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink', idle_after => '0', retry_within => '0', lock_timeout => '"
		  . ($opts{lock_timeout} // '300 ms') . "')",
		"SELECT kafka_sink.register_topic('$sink', '$topic{$sink}')",
		'COMMIT');
	return;
}

sub count_and_offset
{
	my ($sink) = @_;

	return sql("SELECT count(*), (SELECT off FROM kafka_sink.txn_offsets WHERE sink = '$sink') FROM $sink");
}

# Halted, with everything before the record and nothing of what follows.
sub halts
{
	my ($sink, $off, $like, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node,
		"SELECT concat_ws('|', state, part, off, coalesce(column_name, '-'), sqlstate, message) "
		  . "FROM kafka_sink.sinks WHERE sink = '$sink' AND topic = '$topic{$sink}'",
		qr/^halted\|0\|$off\|$like/, "$what: it halts at the record");
	is(count_and_offset($sink), "$off|$off", "$what: what is before it is committed");
	return;
}

sub passes_over
{
	my ($sink, $off, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql("SELECT kafka_sink.skip('$sink'); SELECT kafka_sink.resume('$sink'); CALL kafka_sink.wait_for('$sink', timeout => '3 min')");
	is(count_and_offset($sink), $expected, "$what: skip and resume");
	is(sql("SELECT max(from_off) FROM kafka_sink.offset_history WHERE sink = '$sink' AND action = 'skip'"), $off, 'that record');
	return;
}

create_server($node, $kafka);
sql(q{
	CREATE ROLE app LOGIN;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO app;
	GRANT USAGE ON FOREIGN SERVER kafka TO app;
	GRANT CREATE ON SCHEMA public TO app;
});

# --- one bad record among thousands ---

create_sink('stop', good => 3000, bad => '{"id": 3001000, "qty": "many"}', more => 2000);
halts('stop', 3000, qr/qty\|22P02\|invalid input syntax for type integer/, 'a value of the wrong type');
is(sql(q{SELECT consumed, applied, last_off, off - start_off = consumed + gaps FROM kafka_sink.txn_offsets WHERE sink = 'stop'}),
	'3000|3000|2999|t', 'the accounts up to it');
unlike(sql(q{SELECT row_to_json(s) FROM kafka_sink.sinks s WHERE sink = 'stop'}), qr/3001000/,
	'the state does not show the payload');
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink stop'}, '0', 'the worker is gone');
my $state = sql(q{SELECT s FROM kafka_sink.sinks s WHERE sink = 'stop'});
$node->restart;
create_sink('other');
sql(q{CALL kafka_sink.wait_for('other', timeout => '3 min')});
is(sql(q{SELECT s FROM kafka_sink.sinks s WHERE sink = 'stop'}), $state, 'it is still halted after a restart');
$node->kill9;
ok( KafkaSinkTest::_poll(
		sub {
			return 1 if $node->start(fail_ok => 1);
			$node->stop('fast', fail_ok => 1);
			return 0;
		}),
	'kill -9 of the postmaster, and a start');
$kafka->gen($topic{other}, count => 10, from => 1000);
wait_until($node, 'SELECT count(*) FROM other', '410', 'another sink goes on');
is(sql(q{SELECT s FROM kafka_sink.sinks s WHERE sink = 'stop'}), $state, 'it is still halted');
is(count_and_offset('stop'), '3000|3000', 'and where it was');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink stop'}), '0', 'without a worker');
passes_over('stop', 3000, '5000|5001', 'a value of the wrong type');
is(sql(q{SELECT consumed, gaps, off - start_off FROM kafka_sink.txn_offsets WHERE sink = 'stop'}), '5000|1|5001',
	'the accounts');
is(sql(q{SELECT action, from_off, until_off, role FROM kafka_sink.offset_history WHERE sink = 'stop'}),
	'skip|3000|3001|postgres', 'the skip is in the history');

$kafka->produce($topic{stop}, 0, [ undef, '{"id": 3000000, "qty": 99999999999}' ], [ undef, '{"id": 3000001, "qty": 1}' ]);
wait_until($node, q{SELECT state, off, column_name, sqlstate FROM kafka_sink.sinks WHERE sink = 'stop'},
	'halted|5001|qty|22003', 'a number out of range halts it');
sql(q{SELECT kafka_sink.resume('stop')});
wait_until($node, q{SELECT state, off, column_name, sqlstate FROM kafka_sink.sinks WHERE sink = 'stop'},
	'halted|5001|qty|22003', 'again, after resume alone');
sql(q{ALTER TABLE stop ALTER qty TYPE bigint; SELECT kafka_sink.resume('stop'); CALL kafka_sink.wait_for('stop', timeout => '3 min')});
is(sql('SELECT qty FROM stop WHERE id >= 3000000 ORDER BY id'), "99999999999\n1", 'ALTER TABLE and resume mend it');

# --- what tables refuse ---

my $bad = '{"id": 100000, "qty": 666666, "note": "bad"}';
my $long = '{"id": 100000, "note": "' . join('', map { sprintf '%x', rand 16 } 1 .. 20000) . '"}';
sql(q{
	CREATE TABLE parent (qty int PRIMARY KEY);
	INSERT INTO parent SELECT generate_series(1, 1000);
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF new.qty = 666666 THEN RAISE 'not that one'; END IF;
		RETURN new;
	END $$;
});
my %refusals = (
	duplicate => {
		bad => '{"id": 5}', like => qr/-\|23505\|duplicate key value violates unique constraint "duplicate_pkey"/ },
	not_null => {
		bad => '{"id": null}', like => qr/id\|23502\|null value in column "id"/ },
	too_long => {
		ddl => 'CREATE TABLE too_long (id bigint PRIMARY KEY, note varchar(200))',
		bad => $long, like => qr/note\|22001\|value too long/ },
	checked => {
		ddl => 'CREATE TABLE checked (id bigint PRIMARY KEY, qty int CHECK (qty < 100000))',
		bad => $bad, like => qr/-\|23514\|new row for relation "checked" violates check constraint/ },
	no_partition => {
		ddl => 'CREATE TABLE no_partition (id bigint PRIMARY KEY, qty int) PARTITION BY RANGE (id);'
		  . 'CREATE TABLE no_partition_1 PARTITION OF no_partition FOR VALUES FROM (0) TO (100000)',
		bad => $bad, like => qr/-\|23514\|no partition of relation "no_partition" found for row/ },
	raised => {
		ddl => 'CREATE TABLE raised (id bigint PRIMARY KEY, qty int);'
		  . 'CREATE TRIGGER t BEFORE INSERT ON raised FOR EACH ROW EXECUTE FUNCTION refuse()',
		bad => $bad, like => qr/-\|P0001\|not that one/ },
	raised_late => {
		ddl => 'CREATE TABLE raised_late (id bigint PRIMARY KEY, qty int);'
		  . 'CREATE CONSTRAINT TRIGGER t AFTER INSERT ON raised_late DEFERRABLE INITIALLY DEFERRED '
		  . 'FOR EACH ROW EXECUTE FUNCTION refuse()',
		bad => $bad, like => qr/-\|P0001\|not that one/ },
	row_security => {
		owner => 'app',
		ddl => 'CREATE TABLE row_security (id bigint PRIMARY KEY, qty int);'
		  . 'ALTER TABLE row_security ENABLE ROW LEVEL SECURITY;'
		  . 'CREATE POLICY p ON row_security TO app USING (true) WITH CHECK (qty < 100000);'
		  . 'GRANT INSERT ON row_security TO app',
		bad => $bad, like => qr/-\|42501\|new row violates row-level security policy/ },
	indexed => {
		ddl => 'CREATE TABLE indexed (id bigint PRIMARY KEY, note text); CREATE INDEX ON indexed (note)',
		bad => $long, like => qr/-\|54000\|index row / },
	deferred => {
		ddl => 'CREATE TABLE deferred (id bigint PRIMARY KEY, qty int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)',
		bad => $bad, like => qr/-\|23503\|insert or update on table "deferred" violates foreign key/ });
create_sink($_, %{ $refusals{$_} }) foreach sort keys %refusals;
halts($_, 300, $refusals{$_}{like}, $_) foreach sort keys %refusals;
passes_over($_, 300, '400|401', $_) foreach sort keys %refusals;

# --- what passes by itself ---

# Sinks whose tables have a trigger that misbehaves as long as it is told to.
sql(q{
	CREATE TABLE fault (kind text PRIMARY KEY);
	INSERT INTO fault VALUES ('serialization'), ('disk'), ('temp');
	GRANT SELECT ON fault TO app;
	ALTER ROLE app SET deadlock_timeout = '200ms';
	ALTER ROLE app SET temp_file_limit = '64kB';
	CREATE FUNCTION misbehave() RETURNS trigger LANGUAGE plpgsql SET work_mem = '64kB' AS $$
	BEGIN
		IF EXISTS (SELECT FROM public.fault WHERE kind = tg_argv[0]) THEN
			CASE tg_argv[0]
				WHEN 'serialization' THEN RAISE serialization_failure;
				WHEN 'disk' THEN RAISE disk_full;
				WHEN 'temp' THEN PERFORM count(*) FROM (SELECT g FROM generate_series(1, 100000) g ORDER BY g::text) x;
			END CASE;
		END IF;
		RETURN NULL;
	END $$;
});
my %transient = (
	serialization => 'backoff|40001|serialization_failure',
	disk => 'waiting|53100|disk_full',
	temp => qr/^waiting\|53400\|temporary file size exceeds "?temp_file_limit"? \(64kB\)$/,
	locked => 'waiting|55P03|waits for a lock on table "locked"');
create_sink($_, owner => 'app', ddl => "CREATE TABLE $_ (id bigint PRIMARY KEY, qty int); GRANT INSERT ON $_ TO app;"
	  . "CREATE TRIGGER t AFTER INSERT ON $_ FOR EACH STATEMENT EXECUTE FUNCTION misbehave('$_')")
  foreach sort keys %transient;
sql(q{CALL kafka_sink.wait_for('locked', timeout => '3 min')});
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE locked');
$kafka->gen($topic{locked}, count => 100, from => 400);
foreach my $sink (sort keys %transient)
{
	wait_until($node, "SELECT state, sqlstate, message FROM kafka_sink.sinks WHERE sink = '$sink'",
		$transient{$sink}, "$sink: it tries again and says so");
	is(sql("SELECT DISTINCT off FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
		$sink eq 'locked' ? 400 : 0, "$sink: the offset stays");
	is(sql("SELECT retries > 0 FROM kafka_sink.stat_sinks WHERE sink = '$sink'"), 't', "$sink: tries are counted");
}
is(sql('SELECT count(*) FROM disk') . sql('SELECT count(*) FROM temp'), '00', 'nothing is applied');
$holder->query_safe('COMMIT');
sql('DELETE FROM fault');
foreach my $sink (sort keys %transient)
{
	my $all = $sink eq 'locked' ? 500 : 400;

	wait_until($node, "SELECT count(*), count(DISTINCT id) FROM $sink", "$all|$all", "$sink: it heals by itself");
	wait_until($node, "SELECT state, message IS NULL FROM kafka_sink.sinks WHERE sink = '$sink'", 'running|t',
		"$sink: and says so");
	is(count_and_offset($sink), "$all|$all", "$sink: the offset is with the rows");
}

# A deadlock: the sink holds a key and wants a row, another session the other
# way round.  The sink's timeout is the shorter one, so it is the victim.  It looks but
# once, a while after it has begun to wait for the row: by then the other one waits.
sql(q{
	CREATE TABLE wanted (id int PRIMARY KEY);
	INSERT INTO wanted VALUES (1);
	GRANT SELECT, UPDATE ON wanted TO app;
	CREATE FUNCTION want() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_catalog.pg_advisory_xact_lock_shared(30);
		PERFORM FROM public.wanted FOR UPDATE;
		RETURN NULL;
	END $$;
});
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(30)');
my $holds = $holder->query_safe('SELECT pg_backend_pid()');
$holder->query_safe(q{SET deadlock_timeout = '10min'; BEGIN; SELECT FROM wanted FOR UPDATE});
create_sink('deadlock', owner => 'app', lock_timeout => '0', ddl => q{
	CREATE TABLE deadlock (id bigint PRIMARY KEY, qty int);
	GRANT INSERT ON deadlock TO app;
	CREATE TRIGGER t AFTER INSERT ON deadlock FOR EACH STATEMENT EXECUTE FUNCTION want()});
wait_until($node, q{SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'kafka_sink deadlock'}, 'Lock',
	'deadlock: the sink has keys');
my $log = -s $node->logfile;
$holder->query_until(qr/asks/, "\\echo asks\nINSERT INTO deadlock VALUES (5);\n");
wait_until($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $holds", 'Lock', 'deadlock: another one waits for them');
$gate->quit;
wait_for_log($node, qr/sink "deadlock" tries again: deadlock detected/, $log, 'deadlock: the sink gives way');
$holder->query_safe('ROLLBACK');
wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM deadlock', '400|400', 'deadlock: it heals by itself');
is(count_and_offset('deadlock'), '400|400', 'deadlock: the offset is with the rows');
$holder->quit;

# --- memory ---

SKIP: {
	skip 'ASan keeps what is freed for a while', 1 if $ENV{ASAN_OPTIONS};

	sql("SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks");
	sql("ALTER SYSTEM SET kafka_sink.worker_memory_limit = '64MB'");
	$node->reload;
	$log = -s $node->logfile;
	create_sink('memory', good => 300_000, more => 100_000);
	wait_for_log($node, qr/sink "memory": worker exceeded kafka_sink\.worker_memory_limit/, $log, 'a worker that needs too much memory leaves');
	wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM memory', '400000|400000', 'with less at a time it gets through, nothing twice', 900);
	is(count_and_offset('memory'), '400000|400000', 'exactly');
	unlike(slurp_file($node->logfile, $log), qr/terminating any other active server processes/, 'and it took nobody along');

	# the same in a session, which has librdkafka's memory too
	sql(q{
		SELECT kafka_sink.pause('memory');
		SELECT kafka_sink.alter_sink('memory', batch_records => 1000000, batch_bytes => 500000000, batch_linger_ms => 60000);
		TRUNCATE memory;
		SELECT kafka_sink.seek('memory', 'earliest')});
	wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink memory'}, '0', 'no worker');
	my @errors;
	foreach (1 .. 6)
	{
		my $err;

		$node->psql('postgres', q{CALL kafka_sink.run('memory')}, on_error_stop => 0, stderr => \$err,
			extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		last unless $err =~ /ERROR/;
		push @errors, $err;
	}
	is(count_and_offset('memory'), '400000|400000', 'run() gets through as well, when it is called again');
	is(sql('SELECT count(DISTINCT id) FROM memory'), '400000', 'nothing twice');
	is(scalar(grep { !/53200: reading from Kafka takes more memory than kafka_sink\.worker_memory_limit/ } @errors), 0,
		'it was ended by that alone, if at all');
}

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
