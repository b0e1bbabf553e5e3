# What one role, one database or one error does to the others: nothing.  The
# launcher and the supervisors go on whatever is locked, dropped, unreadable or
# terminated, without spinning, and say what is the matter.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', extension => 0, conf => "max_prepared_transactions = 2\n");
my $kafka = shared_broker();
my $topic = $kafka->topic('idle', 1);
$kafka->gen($topic, count => 10);

sub sql { return $node->safe_psql($_[1] // 'app', $_[0]); }

# The process of that kind that serves the database ('': the launcher).
sub pid_of
{
	my ($kind, $dbname) = @_;

	return try_sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink $kind'"
		  . ($dbname ? " AND datname = '$dbname'" : ''), 'postgres') // '';
}

# How often a process has gone to sleep since it began.
sub sleeps
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m ? $1 : die "no such process: $pid";
}

# Terminates a process, and waits until another does its work.
sub replace
{
	my ($kind, $dbname) = @_;
	my $pid = pid_of($kind, $dbname);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql("SELECT pg_terminate_backend($pid)", 'postgres');
	wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink $kind' AND pid <> $pid"
		  . ($dbname ? " AND datname = '$dbname'" : ''), '1', "another $kind", undef, 'postgres');
	return;
}

# A sink with a table of its own.
sub create_sink
{
	my ($sink, $dbname, $role) = @_;

	sql(qq{
		CREATE TABLE $sink (id bigint);
		@{[ $role ? "ALTER TABLE $sink OWNER TO $role; SET ROLE $role;" : '' ]}
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink', idle_after => '0');
		SELECT kafka_sink.register_topic('$sink', '$topic');
		COMMIT;
	}, $dbname);
	return;
}

sub runs
{
	my ($sink, $what, $dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT state FROM kafka_sink.stat_sinks WHERE sink = '$sink' AND pid IS NOT NULL", 'running',
		$what, undef, $dbname // 'app');
}

sub stops
{
	my ($sink, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT count(*) FROM kafka_sink.stat_sinks WHERE sink = '$sink' AND pid IS NOT NULL", '0',
		$what, undef, 'app');
}

my $worker_pids = q{SELECT string_agg(sink || ' ' || pid, ', ' ORDER BY sink) FROM kafka_sink.stat_sinks WHERE sink IN ('s_bob', 's_carol')};

foreach my $dbname (qw(app other third))
{
	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	sql(q{CREATE EXTENSION kafka_sink; CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '}
		  . $kafka->bootstrap . q{'); GRANT USAGE ON FOREIGN SERVER kafka TO PUBLIC;
		GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC}, $dbname);
}
sql('CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE carol LOGIN');
create_sink("s_$_", 'app', $_) foreach qw(alice bob carol);
runs("s_$_", "$_\'s sink runs") foreach qw(alice bob carol);
my $workers = sql($worker_pids);

# --- a launcher that comes later ---

replace('launcher');
my $launcher = pid_of('launcher');
create_sink('there', 'other');
runs('there', 'a sink in another database starts', 'other');
is(sql($worker_pids), $workers, 'what ran before goes on');
cmp_ok(sleeps($launcher), '<', 200, 'without a launcher that spins');

# --- a database that is locked ---

# nobody is there: it is to be visited
replace('supervisor', 'app');
my $locker = $node->background_psql('app');
$locker->query_safe('BEGIN; LOCK TABLE kafka_sink.sink_catalog');
my $log = -s $node->logfile;
sql('SELECT pg_terminate_backend(' . pid_of('supervisor', 'app') . ')', 'postgres');
$log = wait_for_log($node, qr/kafka_sink supervisor tries again: canceling statement due to lock timeout/, $log,
	'a database whose catalog is locked cannot be looked at');
create_sink('third', 'third');
runs('third', 'which keeps no other database waiting', 'third');
replace('launcher');
$launcher = pid_of('launcher');
sql(q{SELECT kafka_sink.pause('third')}, 'third');
wait_until($node, q{SELECT count(*) FROM kafka_sink.stat_sinks WHERE pid IS NOT NULL}, '0', 'nor does it with another launcher',
	undef, 'third');
cmp_ok(sleeps($launcher), '<', 200, 'nobody spins');
$locker->query_safe('COMMIT');
$locker->quit;
sql(q{SELECT kafka_sink.pause('s_bob')});
stops('s_bob', 'when the lock is gone, it is looked at');
sql(q{SELECT kafka_sink.resume('s_bob')});
runs('s_bob', 'and goes on');
like(sql($worker_pids), qr/@{[ $workers =~ s{.*, }{}r ]}$/, "nobody else's worker was restarted");

# --- one role's transaction ---

my $alice = $node->background_psql('app');
$alice->query_safe(q{SET ROLE alice; BEGIN; SELECT kafka_sink.drop_sink('s_alice')});
$log = -s $node->logfile;
sql(q{SELECT pg_terminate_backend(pid) FROM kafka_sink.stat_sinks WHERE sink = 's_alice'});
wait_for_log($node, qr/kafka_sink supervisor tries sink "s_alice" again: canceling statement due to lock timeout/, $log,
	'the state of a sink that somebody is about to drop cannot be written');
my $supervisor = pid_of('supervisor', 'app');
sql(q{SELECT kafka_sink.pause('s_bob')});
stops('s_bob', "which does not concern bob's pause()");
create_sink('s_dora', 'app', 'bob');
runs('s_dora', 'nor a new sink');
sql(q{SELECT kafka_sink.resume('s_bob')});
runs('s_bob', 'nor resume()');
$alice->query_safe('ROLLBACK');
$alice->quit;
runs('s_alice', 'alice has changed her mind: her sink runs again');
$workers = sql($worker_pids);

# --- what cannot be read ---

$log = -s $node->logfile;
sql(q{UPDATE kafka_sink.sink_catalog SET reject_limit = 'nonsense' WHERE sink = 's_bob'; SELECT kafka_sink.drop_sink('s_dora')});
stops('s_dora', 'a sink whose row is damaged keeps no other from being stopped');
create_sink('s_erin', 'app', 'bob');
runs('s_erin', 'nor from being started');
is(sql($worker_pids), $workers, 'no worker was restarted, not even its own');
sql("SELECT pg_cancel_backend($supervisor)");
sql(q{UPDATE kafka_sink.sink_catalog SET reject_limit = NULL WHERE sink = 's_bob'; SELECT kafka_sink.drop_sink('s_erin')});
stops('s_erin', 'a supervisor whose statement is canceled goes on');
is(pid_of('supervisor', 'app'), $supervisor, 'it was the same all the time');
is(sql($worker_pids), $workers, 'and nobody was restarted');

# --- why a worker does not run ---

# Terminates the sink's worker until its state says so.
sub knock_down
{
	my ($sink) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, qq{
		SELECT state, message, (SELECT count(pg_terminate_backend(pid)) >= 0 FROM kafka_sink.stat_sinks WHERE sink = '$sink')
		  FROM kafka_sink.sinks WHERE sink = '$sink'}, qr/^backoff\|the worker ended: terminating .*administrator command\|t$/, 'a worker is terminated', undef, 'app');
	return;
}

my $message = q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 's_carol'};
SKIP:
{
	skip 'owners need no LOGIN', 4 if $node->pg_version >= 17;
	knock_down('s_carol');
	sql('ALTER ROLE carol NOLOGIN');
	wait_until($node, $message, 'backoff|role "carol" cannot log in, so its sinks cannot run',
		'the true reason replaces it as soon as it is there', undef, 'app');
	replace('supervisor', 'app');
	is(sql($message), 'backoff|role "carol" cannot log in, so its sinks cannot run', 'it stays');
	sql('ALTER ROLE carol LOGIN');
	runs('s_carol', 'when it is mended, the sink runs at once');
}
knock_down('s_carol');
sql(q{ALTER TABLE s_carol OWNER TO postgres});
# (where nobody knows of the sink)
sql('DROP ROLE carol', 'postgres');
wait_until($node, $message, q{backoff|the sink's owner does not exist any more}, 'the owner is dropped', undef, 'app');
sql(q{SELECT kafka_sink.drop_sink('s_carol')});
stops('s_carol', 'its sink can be dropped');

# --- roles that change all the time ---

# How often all sinks of all databases were read.
sub reads { my @found = slurp_file($node->logfile, $_[0]) =~ /supervisor reads its sinks/g; return scalar @found; }

sql('CREATE ROLE dave LOGIN; CREATE ROLE other');
create_sink('s_dave', 'app', 'dave');
runs('s_dave', 'a sink of a role');
$node->append_conf('postgresql.conf', 'log_min_messages = debug1');
$node->reload;
my $offset = -s $node->logfile;
my $dbs = sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor'});
sql('ALTER ROLE other LOGIN');
wait_for_log($node, qr/supervisor reads its sinks/, $offset, 'a supervisor looks when a role changes');
$offset = -s $node->logfile;
my $begun = time;
sql(q{DO $$BEGIN FOR i IN 1 .. 500 LOOP EXECUTE 'ALTER ROLE other ' || CASE i % 2 WHEN 0 THEN 'LOGIN' ELSE 'NOLOGIN' END; COMMIT; END LOOP; END$$});
my $seconds = time - $begun;
my $reads = reads($offset);
cmp_ok($reads, '<=', $dbs * ($seconds + 3), "500 changes in $seconds s: $reads looks of $dbs supervisors");
$offset = -s $node->logfile;
sql(q{ALTER TABLE s_dave OWNER TO postgres});
sql('DROP ROLE dave', 'postgres');
sql(q{SELECT pg_terminate_backend(pid) FROM kafka_sink.stat_sinks WHERE sink = 's_dave'});
wait_until($node, q{SELECT message FROM kafka_sink.sinks WHERE sink = 's_dave'}, q{the sink's owner does not exist any more}, 'the last one is seen', undef, 'app');
sql(q{SELECT kafka_sink.drop_sink('s_dave')});
$node->append_conf('postgresql.conf', 'log_min_messages = warning');
$node->reload;

# --- a target that is dropped ---

my $said = q{SELECT state, sqlstate, message, hint FROM kafka_sink.sinks WHERE sink = '%s'};

sub halts
{
	my ($sink, $table, $hint, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, sprintf($said, $sink), qr/^halted\|42P01\|table $table does not exist any more\|.*$hint/, $what, undef, 'app');
	stops($sink, "$what: its worker leaves");
	return;
}

create_sink('gone');
runs('gone', 'a sink whose topic is idle');
sql('BEGIN; DROP TABLE gone; ROLLBACK');
sql('DROP TABLE gone');
halts('gone', 'public.gone', q{alter_sink\('gone', target => ...\)}, 'DROP TABLE');
sql(q{CREATE TABLE gone (id bigint); SELECT kafka_sink.alter_sink('gone', target => 'gone'); SELECT kafka_sink.resume('gone')});
runs('gone', 'with another table it goes on');
sql(q{BEGIN; DROP TABLE gone; PREPARE TRANSACTION 'drop'});
sql(q{COMMIT PREPARED 'drop'});
halts('gone', 'public.gone', 'alter_sink', 'DROP TABLE in a prepared transaction');
sql(qq{
	CREATE SCHEMA deep;
	CREATE TABLE deep.own (id bigint);
	CREATE TABLE gone (id bigint);
	BEGIN;
	SELECT kafka_sink.alter_sink('gone', target => 'gone');
	SELECT kafka_sink.unregister_topic('gone', '$topic');
	SELECT kafka_sink.register_topic('gone', '$topic', target => 'deep.own');
	SELECT kafka_sink.resume('gone');
	COMMIT;
});
runs('gone', 'a topic with a target of its own');
sql('DROP SCHEMA deep CASCADE');
halts('gone', 'deep.own', q{alter_topic\('gone', '} . quotemeta($topic) . q{', target => ...\)}, 'DROP SCHEMA');

# of several topics the one
my $second = $kafka->topic('second', 1);
sql(qq{
	CREATE SCHEMA deep;
	CREATE TABLE deep.own (id bigint);
	CREATE TABLE second (id bigint);
	BEGIN;
	SELECT kafka_sink.alter_topic('gone', '$topic', target => 'deep.own');
	SELECT kafka_sink.register_topic('gone', '$second', target => 'second');
	SELECT kafka_sink.resume('gone');
	COMMIT;
});
runs('gone', 'two topics with a target each');
sql('DROP TABLE deep.own');
wait_until($node, q{SELECT topic = '} . $topic . q{', sqlstate, message FROM kafka_sink.sink_topics WHERE sink = 'gone' AND state = 'halted'},
	't|42P01|table deep.own does not exist any more', 'the target of one of them is dropped', undef, 'app');
$kafka->produce($second, 0, [ undef, '{"id": 1}' ]);
wait_until($node, q{SELECT count(*) FROM second}, '1', 'the other goes on', undef, 'app');
sql(qq{SELECT kafka_sink.unregister_topic('gone', '$second')});

# one that was dropped while nobody looked
sql(qq{SELECT kafka_sink.alter_topic('gone', '$topic', target => 'gone'); SELECT kafka_sink.resume('gone')});
runs('gone', 'it goes on');
$node->append_conf('postgresql.conf', 'kafka_sink.enabled = off');
$node->reload;
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink worker', 'kafka_sink supervisor')}, '0',
	'all leave', undef, 'postgres');
sql('DROP TABLE gone');
$node->append_conf('postgresql.conf', 'kafka_sink.enabled = on');
$node->reload;
wait_until($node, sprintf($said, 'gone'), qr/^halted\|42P01\|the table with OID \d+ does not exist any more\|/,
	'a table that was dropped while nobody looked', undef, 'app');

# other tables come and go, and wake nobody
runs('s_bob', 'the others run');
$supervisor = pid_of('supervisor', 'app');
my $before = sleeps($supervisor);
sql(q{SET client_min_messages = warning; DO $$ BEGIN FOR i IN 1 .. 300 LOOP CREATE TEMP TABLE x (t text); DROP TABLE x; COMMIT; END LOOP; END $$});
cmp_ok(sleeps($supervisor) - $before, '<', 100, 'tables that no sink writes to wake nobody');

# --- a commit while the supervisor waits for a lock ---

# Whatever waits for a lock resets the process's latch: of a commit that comes then only
# the mark is left, and in a database with little else there is nothing to wake it later,
# but for the alarm of lock_timeout, which the server leaves set.
$node->safe_psql('postgres', 'CREATE DATABASE quiet');
sql(q{CREATE EXTENSION kafka_sink; CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '}
	  . $kafka->bootstrap . q{'); CREATE TABLE still (id bigint); CREATE TABLE missed (id bigint);
	SELECT kafka_sink.create_sink('still', server => 'kafka', target => 'still')}, 'quiet');
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor' AND datname = 'quiet'
	AND wait_event_type = 'Extension'}, '1', 'a sink without topics: its supervisor has nothing to do', undef, 'postgres');
my $holder = $node->background_psql('quiet');
$holder->query_safe(qq{
	BEGIN;
	LOCK TABLE kafka_sink.sink_state;
	SELECT kafka_sink.create_sink('missed', server => 'kafka', target => 'missed'), kafka_sink.register_topic('missed', '$topic');
});
# It is told, reads which sinks there are, and waits for their states: it times out and comes
# again, so what follows is one step of the server's.
sql('DROP TABLE still', 'quiet');
$holder->query_safe(qq{
	DO \$\$
	DECLARE
		given_up timestamptz := clock_timestamp() + '$KafkaSinkTest::timeout s';
	BEGIN
		WHILE NOT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
						   WHERE d.datname = current_database() AND NOT granted AND relation = 'kafka_sink.sink_state'::regclass)
		LOOP
			IF clock_timestamp() > given_up THEN
				RAISE 'nobody waits for the lock';
			END IF;
		END LOOP;
	END
	\$\$;
	COMMIT;
});
$holder->quit;
runs('missed', 'a sink that was created while it waited starts', 'quiet');

# --- a commit while the supervisor reads ---

# Who has read all rests before the next time.  What is committed meanwhile is told, and yet
# to be read: a supervisor that has found nothing does not leave before.
$node->safe_psql('postgres', 'CREATE DATABASE brief');
sql(q{CREATE EXTENSION kafka_sink; CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '}
	  . $kafka->bootstrap . q{')}, 'brief');
foreach my $sink (map { "late$_" } 1 .. 5)
{
	my $late = $node->background_psql('brief');

	wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor' AND datname = 'brief'}, '0',
		'a database without sinks has no supervisor', undef, 'postgres');
	$late->query_safe(qq{
		BEGIN;
		CREATE TABLE $sink (id bigint);
		SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink'), kafka_sink.register_topic('$sink', '$topic');
	});
	$late->query_until(qr/looking/, qq{\\echo looking
		DO \$\$
		DECLARE
			given_up timestamptz := clock_timestamp() + '$KafkaSinkTest::timeout s';
		BEGIN
			LOOP
				PERFORM pg_stat_clear_snapshot();
				EXIT WHEN EXISTS (SELECT FROM pg_stat_activity
								   WHERE backend_type = 'kafka_sink supervisor' AND datname = current_database() AND state = 'active');
				IF clock_timestamp() > given_up THEN
					RAISE 'nobody looks';
				END IF;
			END LOOP;
		END
		\$\$;
		COMMIT;
	});
	# it is called for nothing, and again if nobody has seen it look
	my ($there, $calls) = (0, 0);
	until ($there)
	{
		die 'nobody has seen it look' if ++$calls > 100;
		sql(q{BEGIN; SELECT kafka_sink.create_sink('never'); SELECT kafka_sink.drop_sink('never'); COMMIT}, 'brief');
		foreach (1 .. 50)
		{
			last if $there = sql("SELECT count(*) FROM kafka_sink.sink_catalog WHERE sink = '$sink'", 'brief');
		}
	}
	$late->quit;
	runs($sink, 'a sink that was created while it looked starts', 'brief');
	sql("SELECT kafka_sink.drop_sink('$sink')", 'brief');
}

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
