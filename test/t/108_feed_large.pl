# A transaction that is much larger than the memory of the worker that publishes it, killed
# in the middle; and a disk that has no room for it.
#
# KAFKA_SINK_FEED_MEGABYTES: how large (200).
use strict;
use warnings FATAL => 'all';

use List::Util qw(max sum0);
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkFaults;

my $megabytes = $ENV{KAFKA_SINK_FEED_MEGABYTES} // 200;
# a kB each, in turns rows and messages
my $records = 1000 * $megabytes;
my $allowed = 128;    # MB of private memory: 4 for decoding, 32 that wait to be sent, and the rest
my $disk = PostgreSQL::Test::Utils::tempdir('disk') . '/full';
my $kafka = shared_broker();
my $topic = $kafka->topic('large', 2, 'segment.bytes' => 64 * 1024 * 1024, 'max.message.bytes' => 50_000_000);
my $progress = $kafka->topic('progress');
my $node = do
{
	local %ENV = (%ENV, KafkaSinkFaults::environment($disk));
	new_node('large', conf => "fsync = off\nwal_level = logical\nlogical_decoding_work_mem = 4MB\nmax_wal_size = 1GB\n");
};

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub pid_of_feed { return try_sql($node, "SELECT pid FROM kafka_sink.stat_feeds WHERE pid IS NOT NULL") || undef; }

# Records that are committed.
sub committed { return sum0(map { my (undef, $from, $until) = split /\t/; $until - $from } split /\n/, $kafka->kfk('ranges', $topic)); }

# What is in the topic, committed or not.
sub written { return sum0(map { $_->[2] } $kafka->watermarks($topic)); }

# Private memory of the worker, MB; 0 if it is not there.
sub memory_of
{
	my ($pid) = @_;
	my $status = $pid && -e "/proc/$pid/status" ? slurp_file("/proc/$pid/status") : '';

	return $status =~ /^RssAnon:\s*(\d+) kB/m ? $1 / 1024 : 0;
}

create_server($node, $kafka);
sql(qq{
	CREATE TABLE large (id bigint PRIMARY KEY, v text);
	ALTER TABLE large ALTER v SET STORAGE EXTERNAL;
	CREATE PUBLICATION large FOR TABLE large;
	SELECT kafka_sink.create_feed('large', server => 'kafka', publication => 'large', topic => '$topic', transaction_timeout => '15 min',
		progress_topic => '$progress')});
sql("CALL kafka_sink.wait_for('large', timeout => '3 min')");

sub write_large
{
	my ($from, $count) = @_;

	return sql(qq{
		BEGIN;
		INSERT INTO large SELECT i, repeat(md5(i::text), 31) FROM generate_series($from, $from + $count - 2, 2) i;
		SELECT kafka_sink.emit('large', topic => '$topic', key => i::text, value => repeat(md5(i::text), 31))
		  FROM generate_series($from + 1, $from + $count - 1, 2) i;
		COMMIT});
}

# --- memory, and a kill when a part of it is sent ---

my $most = 0;
my $killed;
write_large(1, $records);
my $end = sql('SELECT pg_current_wal_lsn()');
my $deadline = time + 10 * $KafkaSinkTest::timeout;
while (time < $deadline)
{
	my $pid = pid_of_feed();

	$most = max($most, memory_of($pid));
	if ($pid && !$killed && written() > $records / 4)
	{
		kill 'STOP', $pid;
		is(committed(), 0, 'a part of it is in the topic, and is not to be seen');
		$killed = kill 'KILL', $pid;
	}
	last if $killed && (try_sql($node, "SELECT decoded_lsn >= '$end' FROM kafka_sink.stat_feeds") // '') eq 't';
	select undef, undef, undef, 0.05;
}
ok($killed, 'the worker was killed in the middle');
sql("CALL kafka_sink.wait_for('large', timeout => '10 min')");
is(committed(), $records, "a transaction of $megabytes MB: each record once");
is(sql('SELECT cuts FROM kafka_sink.stat_feeds'), 0, 'in one transaction of Kafka');
cmp_ok($most, '>', 1, 'the memory was looked at');
cmp_ok($most, '<', $allowed, sprintf 'and was %.0f MB at most', $most);

# --- no room for what does not fit in memory ---

append_to_file($disk, '');
sql("SELECT kafka_sink.emit('large', topic => '$topic', key => i::text, value => repeat(md5(i::text), 31)) FROM generate_series(1, 20000) i");
wait_until($node, 'SELECT state, waits_for, sqlstate FROM kafka_sink.feeds', 'waiting|disk|53100', 'a disk that is full is waited for');
is(committed(), $records, 'and nothing of it is to be seen');
unlink $disk;
sql("CALL kafka_sink.wait_for('large', timeout => '3 min')");
is(committed(), $records + 20000, 'when there is room, it is published');
wait_until($node, 'SELECT state FROM kafka_sink.feeds', 'running', 'and the feed goes on');
is(join(' ', map { glob "$_/*.spill" } glob $node->data_dir . '/pg_replslot/*'), '', 'nothing is left on the disk');

# --- a message that takes more memory than the worker may have ---

$node->append_conf('postgresql.conf', "kafka_sink.worker_memory_limit = 64MB\n");
$node->reload;
sql(q{SELECT kafka_sink.alter_feed('large', max_message_bytes => 50000000)});
sql("SELECT kafka_sink.emit('large', topic => '$topic', key => 'k', value => repeat('0123456789abcdef', 2500000))");
wait_until($node, q{SELECT state, sqlstate, message LIKE '%worker of feed "large" exceeded kafka_sink.worker_memory_limit' FROM kafka_sink.feeds},
	'backoff|53200|t', 'the memory that a message takes is bounded');
$node->append_conf('postgresql.conf', "kafka_sink.worker_memory_limit = 512MB\n");
$node->reload;
sql("CALL kafka_sink.wait_for('large', timeout => '3 min')");
is(committed(), $records + 20001, 'with more of it, it is published');
done_testing();
