# pgbench on one server, a feed, Kafka, a sink, and the same tables on another server: while
# the processes of all three are being killed.
#
# KAFKA_SINK_TRIP_KILLS: how often each of the five kinds strikes (2); KAFKA_SINK_TRIP_RATE:
# transactions/s; KAFKA_SINK_SEED: of a former run.
use strict;
use warnings FATAL => 'all';

use List::Util qw(shuffle);
use Time::HiRes qw(sleep);
use Test::More;

use KafkaSinkTest;
use KafkaSinkFaults;
use KafkaSinkFeedLoad;

my $seed = $ENV{KAFKA_SINK_SEED} // int(rand(2**31));
my $kills = $ENV{KAFKA_SINK_TRIP_KILLS} // 2;
my @tables = map { "pgbench_$_" } qw(accounts branches tellers history);
my $kafka = start_broker();
my %node = (
	source => new_node('source', conf => "fsync = off\nwal_level = logical\n"),
	target => new_node('target', conf => "fsync = off\n"));
my %faults = (
	source => KafkaSinkFaults->new(node => $node{source}, kafka => $kafka, victims => 'feed'),
	target => KafkaSinkFaults->new(node => $node{target}, kafka => $kafka));

note "KAFKA_SINK_SEED=$seed";
srand($seed);
$kafka->create_topic("bank.$_", 3) foreach @tables;
foreach my $name (qw(source target))
{
	create_server($node{$name}, $kafka, options => "reconnect_backoff_max_ms '500'");
	# tables and primary keys
	$node{$name}->run_log([ $node{$name}->installed_command('pgbench'), '-i', '-q', '-I', 'dtp', '-h', $node{$name}->host,
			'-p', $node{$name}->port, 'postgres' ]) or BAIL_OUT('pgbench -i failed');
}
# (pgbench empties its tables before it fills them)
$node{source}->safe_psql('postgres', q{
	CREATE PUBLICATION bank FOR TABLE } . join(', ', @tables) . q{ WITH (publish = 'insert, update, delete');
	SELECT kafka_sink.create_feed('bank', server => 'kafka', publication => 'bank', topic => 'bank.{table}', envelope => 'debezium',
		transaction_timeout => '10 s')});
$node{source}->safe_psql('postgres', q{CALL kafka_sink.wait_for('bank', timeout => '3 min')});
# history has no key: all that happens to it is INSERT
$node{target}->safe_psql('postgres', q{
	SELECT kafka_sink.create_sink('bank', server => 'kafka', envelope => 'debezium', insert_mode => 'upsert',
		delete_enabled => true, on_tombstone => 'ignore', workers => 2);
	SELECT kafka_sink.register_topic('bank', 'bank.' || t, target => t::regclass)
	FROM unnest('{pgbench_accounts,pgbench_branches,pgbench_tellers}'::text[]) t;
	SELECT kafka_sink.create_sink('history', server => 'kafka', envelope => 'debezium', target => 'pgbench_history');
	SELECT kafka_sink.register_topic('history', 'bank.pgbench_history')});
$node{source}->run_log([ $node{source}->installed_command('pgbench'), '-i', '-q', '-I', 'G', '-h', $node{source}->host,
		'-p', $node{source}->port, 'postgres' ]) or BAIL_OUT('pgbench -i failed');

# What a server says that may be recovering from the last strike
sub ask
{
	my ($where, $sql) = @_;
	my $deadline = time + 3 * $KafkaSinkTest::timeout;
	my $answer;

	sleep 0.05 until defined($answer = try_sql($node{$where}, $sql)) || time > $deadline;
	return $answer // die "$where does not answer: $sql";
}

# --- the way there, under fire ---

my $history = 'SELECT count(*) FROM pgbench_history';
my $pgbench = start_pgbench($node{source}, '-c', 4, '-R', $ENV{KAFKA_SINK_TRIP_RATE} // 200);
my $arrived = 0;

# Each strikes at some moment after more has arrived.
foreach my $strike (shuffle(map { ($_) x $kills } 'source worker', 'source postmaster', 'source broker', 'target worker', 'target postmaster'))
{
	my ($where, $kind) = split / /, $strike;

	wait_until($node{target}, "SELECT (count(*) > $arrived)::text FROM pgbench_history", 'true', "before the next strike ($kind, $where) more has arrived", 3 * $KafkaSinkTest::timeout);
	$arrived = ask('target', $history);
	sleep rand 0.5;
	# (a worker may not be there at the moment)
	sleep 0.05 until $faults{$where}->strike($kind);
}
wait_until($node{target}, "SELECT (count(*) > $arrived)::text FROM pgbench_history", 'true', 'more has arrived after the last one', 3 * $KafkaSinkTest::timeout);
stop_pgbench($pgbench);

# --- equal tables ---

ask('source', q{CALL kafka_sink.wait_for('bank', timeout => '5 min')});
$kafka->settle(map { "bank.$_" } @tables);
ask('target', "CALL kafka_sink.wait_for('$_', timeout => '5 min')") foreach qw(bank history);
foreach my $table (@tables)
{
	my $sum = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM $table t";
	my $sent = ask('source', $sum);

	is(ask('target', $sum), $sent, "$table: equal (seed $seed)");
}
my $sums = 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
	(SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history)';
is(ask('target', $sums), 't|t', 'and the balances add up');
cmp_ok(ask('source', $history), '>', $arrived, 'after many transactions');
is(ask('target', 'SELECT sum(applied + superseded + filtered) = sum(consumed) FROM kafka_sink.txn_offsets'), 't', 'each record is accounted for');
done_testing();
