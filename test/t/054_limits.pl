# Nobody takes what is everybody's: workers of a role, processes of the server,
# a supervisor's time.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => <<'EOF');
kafka_sink.max_workers_per_role = 2
kafka_sink.max_sinks_per_role = 0
EOF
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub setting
{
	my ($name, $value) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$node->append_conf('postgresql.conf', "$name = $value");
	$node->reload;
	return wait_until($node, "SHOW $name", $value, "$name = $value");
}

# A busy sink of a role, with a table of its own.
sub create_sink
{
	my ($role, $sink, $topic, $settings) = @_;

	$settings = $settings ? ", $settings" : '';
	sql(qq{
		CREATE TABLE $sink (part int, off bigint, id bigint);
		ALTER TABLE $sink OWNER TO $role;
		SET ROLE $role;
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink', idle_after => '0',
			columns => '{"part": "\@partition", "off": "\@offset"}'$settings);
		SELECT kafka_sink.register_topic('$sink', '$topic');
		COMMIT;
	});
	return;
}

sub drop_sinks
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql('SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks');
	return wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'}, '0', $what);
}

sub states_of
{
	return qq{SELECT string_agg(concat_ws(' ', sink, state, waits_for), ', ' ORDER BY sink) FROM kafka_sink.sinks WHERE owner = '$_[0]'::regrole};
}

create_server($node, $kafka, options => "topic_metadata_refresh_interval_ms '1000'");
sql(q{
	CREATE ROLE alice LOGIN;
	CREATE ROLE bob LOGIN;
	GRANT USAGE ON FOREIGN SERVER kafka TO alice, bob;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO alice, bob;
});
my $topic = $kafka->topic('limits', 1);
$kafka->gen($topic, count => 10);

SKIP:
{
	skip 'no infinite intervals', 2 if $node->pg_version < 17;
	foreach my $value (qw(infinity -infinity))
	{
		my (undef, undef, $err) = $node->psql('postgres', "SELECT kafka_sink.create_sink('infinite', dead_letter_retention => '$value')");
		like($err, qr/ERROR:  $value is outside the valid range for setting "dead_letter_retention"/, "an interval of $value");
	}
}

# --- two sessions of a role at once ---

setting('kafka_sink.max_sinks_per_role', 1);
my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
$_->query_safe('SET ROLE alice; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1') foreach @sessions;
$sessions[0]->query_safe(q{SELECT kafka_sink.create_sink('first')});
$sessions[1]->query_until(qr/asked/, qq{\\echo asked\nSELECT kafka_sink.create_sink('second');\n});
wait_until($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND NOT granted}, '1', 'the second waits for the first');
create_sink('bob', 'other', $kafka->topic('nowhere'), "enabled => false");
is(sql(q{SELECT count(*) FROM kafka_sink.sinks WHERE sink = 'other'}), '1', 'another role does not');
$_->query('COMMIT') foreach @sessions;
is(sql(q{SELECT string_agg(sink, ', ') FROM kafka_sink.sinks WHERE owner = 'alice'::regrole}), 'first', 'together they have no more than the role may');
$_->quit foreach @sessions;
sql('SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks');
setting('kafka_sink.max_sinks_per_role', 0);

# --- workers of a role ---

create_sink('alice', "a$_", $topic) foreach 1 .. 2;
wait_until($node, states_of('alice'), 'a1 running, a2 running', 'as many as the role may have');
create_sink('alice', 'a3', $topic);
wait_until($node, q{SELECT state, waits_for, sqlstate, message, hint FROM kafka_sink.sinks WHERE sink = 'a3'},
	'waiting|process|53400|role "alice" has as many workers as it may: worker 0 of 1 of sink "a3" waits|'
	  . 'Pause a sink, use fewer workers, or let a superuser raise kafka_sink.max_workers_per_role.', 'one more waits, and says for what');
create_sink('bob', 'b1', $topic);
wait_until($node, states_of('bob'), 'b1 running', "which is no other role's affair");
create_sink('postgres', "p$_", $topic) foreach 1 .. 3;
wait_until($node, states_of('postgres'), 'p1 running, p2 running, p3 running', "nor a superuser's");
sql(q{SELECT kafka_sink.pause('a1')});
wait_until($node, states_of('alice'), 'a1 paused, a2 running, a3 running', 'when one leaves, it starts');
wait_until($node, 'SELECT count(*) FROM a3', '10', 'and consumes');
sql(q{SELECT kafka_sink.resume('a1')});
wait_until($node, states_of('alice'), 'a1 waiting process, a2 running, a3 running', 'the other one waits now');
setting('kafka_sink.max_workers_per_role', 3);
wait_until($node, states_of('alice'), 'a1 running, a2 running, a3 running', 'a limit that is raised');
# they are the server's, whatever the database
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION kafka_sink; CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '}
	  . $kafka->bootstrap . qq{'); CREATE TABLE a4 (id bigint); ALTER TABLE a4 OWNER TO alice; GRANT USAGE ON FOREIGN SERVER kafka TO alice;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO alice; SET ROLE alice;
	SELECT kafka_sink.create_sink('a4', server => 'kafka', target => 'a4', idle_after => '0'), kafka_sink.register_topic('a4', '$topic')});
my $a4 = q{SELECT state, waits_for FROM kafka_sink.sinks WHERE sink = 'a4'};
wait_until($node, $a4, 'waiting|process', 'one of another database waits', undef, 'other');
sql(q{SELECT kafka_sink.pause('a2')});
wait_until($node, $a4, 'running|', 'for one of this', undef, 'other');
$node->safe_psql('other', q{SELECT kafka_sink.drop_sink('a4')});
$node->safe_psql('postgres', 'DROP DATABASE other');
drop_sinks('all leave');

# --- live figures of partitions ---

my $parts = $kafka->topic('parts', 5);
$kafka->gen($parts, count => 10, partitions => 5);
my $figures = q{SELECT string_agg(sink || ' ' || n, ', ' ORDER BY sink) FROM (SELECT sink, count(*) AS n FROM kafka_sink.partition_stats() GROUP BY 1) f};
setting('kafka_sink.max_partitions_per_role', 7);
# (one after the other: each takes what there is, partition by partition)
create_sink('alice', 'f1', $parts);
wait_until($node, states_of('alice'), 'f1 running', 'a role with some partitions');
create_sink('alice', 'f2', $parts);
wait_until($node, states_of('alice'), 'f1 running, f2 running', 'a role with many partitions');
is(sql($figures), 'f1 5, f2 2', 'not all of them have live figures');
create_sink('bob', 'g1', $parts);
create_sink('postgres', $_, $parts) foreach qw(h1 h2);
wait_until($node, $figures, qr/^f1 \d, f2 \d, g1 5, h1 5, h2 5$/, "others' do, and all of a superuser's");
wait_until($node, 'SELECT count(*) FROM f1 UNION ALL SELECT count(*) FROM f2', "10\n10", 'which keeps none from being consumed');
sql(q{SELECT kafka_sink.drop_sink('f2')});
wait_until($node, $figures, qr/^f1 \d, g1 5, h1 5, h2 5$/, 'one is dropped');
create_sink('alice', 'f3', $parts, q{batch_linger_ms => 1});
sql(q{SELECT kafka_sink.alter_sink('f3', idle_after => '1 ms')});
wait_until($node, states_of('alice'), 'f1 running, f3 idle', 'another is watched');
wait_until($node, q{SELECT count(*) FROM kafka_sink.partition_stats() WHERE sink IN ('f1', 'f3')}, '7', 'together they have what is theirs');
sql(q{SELECT kafka_sink.drop_sink('f1')});
setting('kafka_sink.max_partitions_per_role', 0);
$kafka->gen($parts, count => 10, from => 10, partitions => 5);
wait_until($node, 'SELECT count(*) FROM f3', '20', 'it is woken');
wait_until($node, $figures, 'f3 5, g1 5, h1 5, h2 5', 'a limit that is raised');
setting('kafka_sink.max_partitions_per_role', -1);
drop_sinks('all leave');
wait_until($node, 'SELECT count(*) FROM kafka_sink.partition_stats()', '0', 'and leave nothing');

# --- no more workers than partitions ---

my $grown = $kafka->topic('grown', 1);
$kafka->gen($grown, count => 10);
create_sink('postgres', 'wide', $grown, 'workers => 64');
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'wide'}, 'running', 'one partition, and 64 workers');
my $processes = q{SELECT count(*) FILTER (WHERE pid IS NOT NULL), count(*) FILTER (WHERE state = 'idle'), count(*) FROM kafka_sink.stat_sinks WHERE sink = 'wide'};
wait_until($node, $processes, '1|63|64', 'one of them has a process, the others are idle');
$kafka->add_partitions($grown, 3);
$kafka->gen($grown, count => 30, from => 10, partitions => 3);
wait_until($node, 'SELECT count(*), count(DISTINCT (part, off)), count(DISTINCT part) FROM wide', '40|40|3', 'partitions that are added are read');
wait_until($node, $processes, '3|61|64', 'by workers of their own');
is(sql('SELECT count(*) FROM wide'), '40', 'once');
sql(q{SELECT kafka_sink.alter_sink('wide', idle_after => '100 ms')});
wait_until($node, $processes, '0|64|64', 'and all of them can park');
# (also for what the watcher says below)
$node->append_conf('postgresql.conf', 'log_min_messages = debug1');
$node->restart;
$kafka->gen($grown, count => 30, from => 100, partitions => 3);
wait_until($node, 'SELECT count(*), count(DISTINCT (part, off)) FROM wide', '70|70', 'after a restart they are found again');
sql(q{SELECT kafka_sink.pause('wide')});
wait_until($node, q{SELECT count(*) FROM kafka_sink.sink_state WHERE sink = 'wide'}, '0', 'pause() leaves no state');
drop_sinks('it is dropped');

# --- the watcher of all idle sinks ---

sql(q{CREATE USER MAPPING FOR alice SERVER kafka});
foreach my $role (qw(alice bob))
{
	create_sink($role, "idle_$role", $topic);
	sql(qq{SELECT kafka_sink.alter_sink('idle_$role', idle_after => '100 ms')});
}
my $parked = q{SELECT count(*) FROM kafka_sink.stat_sinks WHERE state = 'idle' AND pid IS NULL};
my $watcher = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink watcher'};
wait_until($node, $parked, '2', 'sinks of two roles are idle');
# (what is newer than that they are idle, no worker has told)
wait_until($node, q{SELECT count(*) FROM kafka_sink.lag l JOIN kafka_sink.stat_sinks s USING (sink) WHERE sink ~ '^idle' AND l.as_of > s.since}, '2', 'and watched');
my $pid = sql($watcher);
my $bob = sql(q{SELECT since FROM kafka_sink.stat_sinks WHERE sink = 'idle_bob'});
# (who has looked already at what it is now has nothing to tell)
my $connects = qr/kafka_sink watcher connects to server/;
foreach my $i (1 .. 8)
{
	my $alice = sql(q{SELECT since FROM kafka_sink.stat_sinks WHERE sink = 'idle_alice'});
	my $log = -s $node->logfile;

	sql(qq{SET ROLE alice; ALTER USER MAPPING FOR alice SERVER kafka OPTIONS (@{[ $i == 1 ? 'ADD' : 'SET' ]} sasl_username 'r$i')});
	wait_until($node, qq{SELECT count(*) FROM kafka_sink.stat_sinks WHERE sink = 'idle_alice' AND state = 'idle' AND pid IS NULL AND since > '$alice'}, '1',
		"a role's connection is changed: its sink begins anew");
	$node->wait_for_log($connects, $log);
}
$node->append_conf('postgresql.conf', 'log_min_messages = warning');
$node->reload;
is(sql($watcher), $pid, 'in the eyes of the same watcher');
is(sql(q{SELECT since FROM kafka_sink.stat_sinks WHERE sink = 'idle_bob'}), $bob, "and another role's sink was not touched");
$kafka->gen($topic, count => 10, from => 10);
wait_until($node, 'SELECT (SELECT count(*) FROM idle_alice), (SELECT count(*) FROM idle_bob)', '20|20', 'both are woken by records');
drop_sinks('all leave');

# --- the reserve ---

# the launcher, the supervisor, the server's own for logical replication, and 5
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nkafka_sink.reserved_worker_processes = 2\n");
$node->restart;
create_sink('postgres', "r$_", $topic) foreach 1 .. 5;
wait_until($node, q{SELECT count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE state = 'waiting' AND waits_for = 'process') FROM kafka_sink.sinks},
	'3|2', 'some processes are left to others');
like(sql(q{SELECT DISTINCT hint FROM kafka_sink.sinks WHERE state = 'waiting'}),
	qr/^You might need to increase max_worker_processes, of which kafka_sink.reserved_worker_processes are left to others\.$/, 'and those that wait say so');
sql(q{CREATE TABLE big AS SELECT generate_series(1, 1000) AS i; ANALYZE big});
# (the slot of a process that has ended is free a moment later)
wait_until($node, q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
	EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT count(*) FROM big}, qr/Workers Launched: 2/, 'such as a parallel query');
setting('kafka_sink.reserved_worker_processes', 1);
wait_until($node, q{SELECT count(*) FILTER (WHERE state = 'running') FROM kafka_sink.sinks}, '4', 'a reserve that is lowered', 180);
drop_sinks('all leave');

# --- no process for a supervisor ---

# the launcher, the server's own for logical replication, and one
$node->safe_psql('postgres', 'CREATE DATABASE crowded');
$node->safe_psql('crowded', q{CREATE EXTENSION kafka_sink; CREATE TABLE second (id bigint);
	CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '} . $kafka->bootstrap . q{')});
$node->append_conf('postgresql.conf', "max_worker_processes = 3\nkafka_sink.reserved_worker_processes = 0\nwal_level = logical\n");
$node->restart;
create_sink('postgres', 'first', $topic);
wait_until($node, q{SELECT state, waits_for FROM kafka_sink.sinks WHERE sink = 'first'}, 'waiting|process', 'a supervisor, and no process for its worker');
$node->safe_psql('crowded', qq{SELECT kafka_sink.create_sink('second', server => 'kafka', target => 'second'), kafka_sink.register_topic('second', '$topic')});
my $lonely = q{SELECT concat_ws('|', state, waits_for, sqlstate, message, hint, since <= now()) FROM kafka_sink.sinks WHERE sink = 'second'};
my $no_supervisor = 'waiting|process|53400|no background worker slot is free for the launcher, or for a supervisor of the database|You might need to increase max_worker_processes.|t';
wait_until($node, $lonely, $no_supervisor, 'nor for the supervisor of another database', undef, 'crowded');
# whatever a process has said that is gone
$node->safe_psql('crowded', q{INSERT INTO kafka_sink.sink_state (sink, worker, state, since) VALUES ('second', 0, 'running', now())});
is($node->safe_psql('crowded', $lonely), $no_supervisor, 'which is told in place of what was said before');
is($node->safe_psql('crowded', q{SELECT state, waits_for FROM kafka_sink.stat_sinks WHERE sink = 'second'}), 'waiting|process', 'in stat_sinks, too');
# and so it is with feeds
$node->safe_psql('crowded', q{SELECT kafka_sink.create_feed('feed', server => 'kafka'); INSERT INTO kafka_sink.feed_state (feed, state, since) VALUES ('feed', 'running', now())});
is($node->safe_psql('crowded', qq{SELECT state, waits_for, sqlstate FROM kafka_sink.$_}), 'waiting|process|53400', "$_ tell it, too") foreach qw(feeds stat_feeds);
$node->safe_psql('crowded', q{SELECT kafka_sink.drop_feed('feed')});
sql(q{SELECT kafka_sink.drop_sink('first')});
wait_until($node, q{SELECT state, waits_for, message FROM kafka_sink.sinks WHERE sink = 'second'},
	qr/^waiting\|process\|no background worker slot is free for worker 0 of 1 of sink "second"/, 'when it leaves, the other has its turn', undef, 'crowded');
$node->safe_psql('postgres', 'DROP DATABASE crowded');
# (the only one is the server's own, which comes first)
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
create_sink('postgres', 'third', $topic);
wait_until($node, $lonely =~ s/second/third/r, $no_supervisor, 'nor for the launcher');
sql(q{SELECT kafka_sink.drop_sink('third')});

# --- a role with very many sinks ---

# What the supervisor's looks at changes take, in clock ticks of its own.
sub ticks_of_changes
{
	my ($n) = @_;
	my ($pid) = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor'});
	my $ticks = sub {
		my @stat = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //r;
		return $stat[11] + $stat[12];
	};
	my $before = $ticks->();

	foreach my $i (1 .. $n)
	{
		sql(q{SELECT kafka_sink.resume('b2')});
		wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'b2'}, 'running', "a change is seen: $i");
		sql(q{SELECT kafka_sink.pause('b2')});
		wait_until($node, q{SELECT count(*) FROM kafka_sink.stat_sinks WHERE sink = 'b2' AND pid IS NOT NULL}, '0', "and the next one: $i");
	}
	return $ticks->() - $before;
}

# Sinks of alice up to number $n, all of which wait for a process.
sub many
{
	my ($from, $n) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql(qq{
		SET ROLE alice;
		BEGIN;
		SELECT count(*) FROM (SELECT kafka_sink.create_sink('m' || i, server => 'kafka', command => 'SELECT FROM batch', idle_after => '0'),
			kafka_sink.register_topic('m' || i, '$topic') FROM generate_series($from, $n) i) s;
		COMMIT;
	});
	return wait_until($node, q{SELECT count(*) FILTER (WHERE state = 'waiting' AND waits_for = 'process') FROM kafka_sink.sinks WHERE owner = 'alice'::regrole},
		$n - 1, "$n sinks of a role: all but one wait");
}

$node->append_conf('postgresql.conf', "max_worker_processes = 32\nkafka_sink.max_workers_per_role = 1\n");
$node->restart;
create_sink('bob', 'b2', $topic);
wait_until($node, states_of('bob'), 'b2 running', 'a sink of somebody else');
many(1, 500);
my $few = ticks_of_changes(20);
many(501, 2000);
my $many = ticks_of_changes(20);
note "$few ticks of the supervisor with 500 sinks, $many with 2000";
# four times as many sinks: four times the work, not sixteen times
cmp_ok($many, '<', 8 * $few + 20, 'the work of a look grows with the number of sinks, not with its square');

# who holds very many of them keeps nobody waiting
my $alice = $node->background_psql('postgres');
$alice->query_safe(q{SET ROLE alice; BEGIN; SELECT count(kafka_sink.drop_sink('m' || i)) FROM generate_series(1, 2000) i});
setting('kafka_sink.max_workers_per_role', 0);
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor'});
sql(q{SELECT kafka_sink.resume('b2')});
wait_until($node, states_of('bob'), 'b2 running', 'a role that holds its sinks keeps no other from starting');
$alice->query_safe('COMMIT');
$alice->quit;
wait_until($node, q{SELECT count(*) FROM kafka_sink.stat_sinks WHERE pid IS NOT NULL}, '1', 'nor from going on when they are dropped');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
