# A feed whose slot follows to a standby: Kafka never has what the standby does not, and
# when that is promoted the feed goes on as if nothing had been.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $kafka = shared_broker();
my $topic = $kafka->topic('events', 1);
my $progress = $kafka->topic('progress');
my $primary = new_node('primary', streaming => 1, conf => "wal_level = logical\n");

sub state_is
{
	my ($server, $state, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($server, "SELECT concat_ws(' ', state, waits_for) FROM kafka_sink.feeds", $state, $what);
}

my $create = "SELECT kafka_sink.create_feed('f', server => 'kafka', progress_topic => '$progress', failover => true)";

create_server($primary, $kafka);
if ($primary->safe_psql('postgres', 'SHOW server_version_num') < 170000)
{
	my (undef, undef, $error) = $primary->psql('postgres', $create);

	like($error, qr/replication slots do not follow to standbys before PostgreSQL 17/, 'before 17 there is no such slot');
	done_testing();
	exit;
}

# What is emitted is in a table, too: where the server has it, Kafka has to have it, and
# the other way round.
my $n = 0;

sub emit
{
	my ($server, $count) = @_;

	$server->safe_psql('postgres', "BEGIN; INSERT INTO emitted (v) SELECT i FROM generate_series($n + 1, $n + $count) i;
		SELECT kafka_sink.emit('f', '$topic', 'k', i::text) FROM generate_series($n + 1, $n + $count) i; COMMIT");
	$n += $count;
	return;
}

sub published { return $_[0]->safe_psql('postgres', "CALL kafka_sink.wait_for('f', timeout => '3 min')"); }
sub values_of { return join ' ', map { $_->[3] } $kafka->records($topic); }
sub emitted { return $_[0]->safe_psql('postgres', q{SELECT string_agg(v::text, ' ' ORDER BY v) FROM emitted}); }

$primary->safe_psql('postgres', "CREATE TABLE emitted (v int); SELECT pg_create_physical_replication_slot('standby')");
$primary->safe_psql('postgres', $create);
state_is($primary, 'running', 'the feed runs');
my $slot = $primary->safe_psql('postgres', 'SELECT slot_name FROM kafka_sink.feeds');
my $follows = "SELECT failover FROM pg_replication_slots WHERE slot_name = '$slot'";
is($primary->safe_psql('postgres', $follows), 't', 'its slot is one that follows');
emit($primary, 10);
published($primary);
is(values_of(), emitted($primary), 'without standbys none is waited for');

# --- the setting is changed ---

$primary->safe_psql('postgres', "SELECT kafka_sink.alter_feed('f', failover => false)");
wait_until($primary, $follows, 'f', 'a slot that follows no more');
$primary->safe_psql('postgres', "SELECT kafka_sink.alter_feed('f', failover => true)");
wait_until($primary, $follows, 't', 'and again');
emit($primary, 10);
published($primary);

# --- a standby that has to have what is published ---

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
my $connstr = $primary->connstr;
$standby->append_conf('postgresql.conf', qq{
hot_standby_feedback = on
primary_slot_name = 'standby'
primary_conninfo = '$connstr dbname=postgres'
sync_replication_slots = on
});
$primary->append_conf('postgresql.conf', "synchronized_standby_slots = 'standby'\n");
$primary->reload;
emit($primary, 10);
state_is($primary, 'waiting standby', 'a standby that is not there is waited for');
like($primary->safe_psql('postgres', 'SELECT hint FROM kafka_sink.feeds'), qr/synchronized_standby_slots/, 'and the hint says which');
is(scalar $kafka->records($topic), 20, 'nothing is published that it does not have');
$standby->start;
state_is($primary, 'running', 'when it comes it goes on');
published($primary);
is(values_of(), emitted($primary), 'with all');

# the slot follows when it has moved on the primary, which it does while something is published
my $deadline = time + 2 * $PostgreSQL::Test::Utils::timeout_default;
my $there = 0;
while (!$there && time < $deadline)
{
	$primary->safe_psql('postgres', 'SELECT pg_log_standby_snapshot()');
	emit($primary, 1);
	published($primary);
	$there = $standby->safe_psql('postgres', "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '$slot' AND synced AND NOT temporary");
}
is($there, 1, 'the slot is on the standby');
emit($primary, 1000) foreach 1 .. 5;
published($primary);
is(scalar $kafka->records($topic), $n, 'more is published');

# rows that are copied are none that it does not have
my $receiver = $standby->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'});
my $copied = $kafka->topic('copied', 1);
kill 'STOP', $receiver;
$primary->safe_psql('postgres', "CREATE TABLE here (id int PRIMARY KEY); INSERT INTO here SELECT generate_series(1, 10); CREATE PUBLICATION here FOR TABLE here");
$primary->safe_psql('postgres', "SELECT kafka_sink.create_feed('g', server => 'kafka', publication => 'here', topic => '$copied',
	progress_topic => '$progress', failover => true, copy_data => true)");
wait_until($primary, "SELECT concat_ws(' ', state, waits_for) FROM kafka_sink.feeds WHERE feed = 'g'", 'waiting standby', 'a standby is waited for by who copies');
is(scalar $kafka->records($copied), 0, 'and no row is published that it does not have');
kill 'CONT', $receiver;
$primary->safe_psql('postgres', "CALL kafka_sink.wait_for('g', timeout => '3 min')");
is(scalar $kafka->records($copied), 10, 'but all when it has them');
$primary->safe_psql('postgres', "SELECT kafka_sink.drop_feed('g')");

# what the standby does not get is not published, though it is committed
state_is($primary, 'running', 'it is there again');
kill 'STOP', $receiver;
my $had = $n;
emit($primary, 10);
state_is($primary, 'waiting standby', 'a standby that stands still is waited for');
is(scalar $kafka->records($topic), $had, 'nothing is published meanwhile');

# --- failover ---

$primary->stop('immediate');
# (the walreceiver would not end by itself)
kill 'CONT', $receiver;
$standby->promote;
state_is($standby, 'running', 'promoted, the feed goes on by itself');
published($standby);
is(values_of(), emitted($standby), 'nothing is lost, and nothing doubled');
emit($standby, 100);
published($standby);
is(values_of(), emitted($standby), 'nor what comes behind it');
is($standby->safe_psql('postgres', "SELECT count(*) FROM kafka_sink.sink_history WHERE action = 'accept_gap'"), 0, 'nobody had to say so');

done_testing();
