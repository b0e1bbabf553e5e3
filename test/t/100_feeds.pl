# Messages from here to Kafka: what emit() writes is there once when its transaction
# has committed, in the order of commits, whatever happens in between.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "wal_level = logical\nmax_prepared_transactions = 10\n");
my $kafka = shared_broker();
my $progress = $kafka->topic('progress');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub fails
{
	my ($sql, $error, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my (undef, undef, $err) = $node->psql('postgres', $sql);
	return like($err, $error, $what);
}

sub state_is
{
	my ($feed, $state, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT state FROM kafka_sink.feeds WHERE feed = '$feed'", $state, $what);
}

sub pid_of { return try_sql($node, "SELECT pid FROM kafka_sink.stat_feeds WHERE feed = '$_[0]'") // ''; }

# All that is committed before is in Kafka.
sub published
{
	my ($feed) = @_;

	return sql("CALL kafka_sink.wait_for('$feed', timeout => '2 min')");
}

# Values of a topic, partition by partition.
sub values_of { return join ' ', map { $_->[3] } $kafka->records($_[0]); }

sub create_feed
{
	my ($feed, $more) = @_;

	sql("SELECT kafka_sink.create_feed('$feed', server => 'kafka', progress_topic => '$progress'" . ($more // '') . ')');
	return state_is($feed, 'running', "feed $feed runs");
}

create_server($node, $kafka);

# --- what commits is published, and nothing else ---

my $topic = $kafka->topic('events', 1);

create_feed('f');
sql("SELECT kafka_sink.emit('f', '$topic', 'k', 'one')");
sql("BEGIN; SELECT kafka_sink.emit('f', '$topic', 'k', 'lost'); ROLLBACK");
sql(qq{
	BEGIN;
	SELECT kafka_sink.emit('f', '$topic', 'k', 'two');
	SAVEPOINT s;
	SELECT kafka_sink.emit('f', '$topic', 'k', 'lost, too');
	ROLLBACK TO s;
	SELECT kafka_sink.emit('f', '$topic', 'k', 'three');
	SAVEPOINT t;
	SELECT kafka_sink.emit('f', '$topic', 'k', 'four');
	COMMIT;
});
sql(qq{
	SELECT kafka_sink.emit('f', '$topic', 'k', to_jsonb('{5}'::int[]));
	SELECT kafka_sink.emit('f', '$topic', NULL, NULL::text);
	SELECT kafka_sink.emit('f', ROW('$topic', NULL, NULL, NULL, '\\x6b', '\\x736978', ARRAY[('h', '\\x01'), ('n', NULL)]::kafka_sink.header[])::kafka_sink.record);
	SELECT kafka_sink.emit('f', '$topic', 'k', '', '{"s": "x", "i": 1, "b": true, "n": null}', part => 0);
});
published('f');
is(values_of($topic), 'one two three four [5] \N six ', 'committed messages are in Kafka, in their order');
is(join(' ', map { $_->[2] } $kafka->records($topic)), 'k k k k k \N k k', 'and their keys');
is(sql("SELECT string_agg(format('%s=%s', h.name, coalesce(encode(h.value, 'hex'), 'null')), ' ' ORDER BY r.off, n)
	FROM kafka_sink.peek('kafka', '$topic', 0, timeout => '2 min') r, unnest(r.headers) WITH ORDINALITY h (name, value, n)"),
	'h=01 n=null b=74727565 i=31 n=null s=78', 'and their headers');
is(sql("SELECT count(*) FROM kafka_sink.peek('kafka', '$topic', 0, timeout => '2 min') WHERE abs(extract(epoch FROM now() - ts)) < 600"), 8, 'and the time of the commit');

# prepared, and committed by another session; and one that was open all the time
my $open = $node->background_psql('postgres');
$open->query_safe("BEGIN; SELECT kafka_sink.emit('f', '$topic', 'k', 'last')");
sql("BEGIN; SELECT kafka_sink.emit('f', '$topic', 'k', 'prepared'); PREPARE TRANSACTION 'p'");
sql("SELECT kafka_sink.emit('f', '$topic', 'k', 'before')");
published('f');
sql("COMMIT PREPARED 'p'");
published('f');
$open->query_safe('COMMIT');
$open->quit;
published('f');
like(values_of($topic), qr/ before prepared last$/, 'in the order of commits');

# one transaction is one of Kafka's, over topics and partitions
my @topics = map { $kafka->topic("split$_", 3) } 1 .. 2;
sql("SELECT kafka_sink.emit('f', t, i::text, i::text) FROM unnest('{" . join(',', @topics) . "}'::text[]) t, generate_series(1, 200) i");
published('f');
is(scalar $kafka->records($_), 200, "all of $_") foreach @topics;
is(sql("SELECT transactions FROM kafka_sink.stat_feeds WHERE feed = 'f'"), 10, 'transactions are counted');
is(sql("SELECT records FROM kafka_sink.stat_feeds WHERE feed = 'f'"), 411, 'and records');

# partitions as Java's producers choose them: murmur2 as in Kafka's own tests
my %murmur2 = ('21' => -973932308, 'foobar' => -790332482, 'a-little-bit-long-string' => -985981536,
	'a-little-bit-longer-string' => -1486304829, 'lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8' => -58897971, 'abc' => 479470107);
my $hashed = $kafka->topic('hashed', 7);
sql("SELECT kafka_sink.emit('f', '$hashed', k, k) FROM unnest('{" . join(',', sort keys %murmur2) . "}'::text[]) k");
published('f');
is_deeply({ map { $_->[2] => $_->[0] } $kafka->records($hashed) }, { map { $_ => ($murmur2{$_} & 0x7fffffff) % 7 } keys %murmur2 },
	'keys are where Java puts them');

# --- who may ---

sql('CREATE ROLE stranger LOGIN; CREATE ROLE writer LOGIN; CREATE ROLE member LOGIN IN ROLE writer');
fails("SET ROLE stranger; SELECT kafka_sink.emit('f', '$topic', 'k', 'v')", qr/permission denied to emit to feed "f"/, 'a stranger may not emit');
sql("SELECT kafka_sink.grant_emit('f', 'writer')");
sql("SET ROLE $_; SELECT kafka_sink.emit('f', '$topic', 'k', '$_')") foreach qw(writer member);
fails("SET ROLE writer; SELECT kafka_sink.grant_emit('f', 'stranger')", qr/permission denied for feed "f"/, 'nor hand it on');
sql("SELECT kafka_sink.revoke_emit('f', 'writer')");
fails("SET ROLE member; SELECT kafka_sink.emit('f', '$topic', 'k', 'v')", qr/permission denied to emit/, 'what was granted is taken back');
fails("SET ROLE stranger; TABLE kafka_sink.feed_secrets", qr/permission denied/, 'nobody reads the secrets');
fails("SELECT kafka_sink.emit('f', '$progress', 'f', '{}')", qr/permission denied to emit to topic "$progress"/, 'a progress is nothing that is emitted');
# nor that of others, however late they come
sql("SELECT kafka_sink.create_feed('g', server => 'kafka', progress_topic => '$progress-2', enabled => false)");
fails("SELECT kafka_sink.emit('f', '$progress-2', 'g', '{}')", qr/permission denied to emit to topic "$progress-2"/, 'nor is that of another feed');
sql("SELECT kafka_sink.drop_feed('g')");
fails("SELECT kafka_sink.emit('f', '$topic', 'k', repeat('x', 1000001))", qr/the message is too large for feed "f"/, 'what Kafka would not take is refused');

# made up
sql("SELECT kafka_sink.emit('f', '$topic', 'k', 'true')");
sql(qq{
	SET ROLE stranger;
	SELECT pg_logical_emit_message(true, 'kafka_sink', '\\x01'::bytea || repeat('a', 32)::bytea ||
		(SELECT string_agg(set_byte('\\x00'::bytea, 0, ((id >> (8 * i)) & 255)::int), ''::bytea ORDER BY i) FROM generate_series(0, 7) i) ||
		repeat('b', 40)::bytea)
	  FROM (SELECT split_part(slot_name, '_', 5)::bigint AS id FROM pg_replication_slots WHERE plugin = 'kafka_sink') f;
	SELECT pg_logical_emit_message(true, 'kafka_sink', 'nonsense');
	SELECT pg_logical_emit_message(false, 'kafka_sink', 'nonsense');
});
published('f');
like(values_of($topic), qr/ writer member true$/, 'forged messages are not published');
is(sql("SELECT forged FROM kafka_sink.stat_feeds WHERE feed = 'f'"), 1, 'but counted');
fails(q{SELECT pg_create_logical_replication_slot('x', 'kafka_sink')}, qr/may not be used as an output plugin|is for feeds only/, 'the plugin is for feeds only');

# --- whatever happens to the worker ---

my $many = $kafka->topic('many', 3);
my $n = 0;

sub emit_some
{
	my ($count) = @_;

	# the key tells the order within a transaction and between them
	sql("SELECT kafka_sink.emit('f', '$many', (i % 10)::text, i::text) FROM generate_series($n + 1, $n + $count) i");
	$n += $count;
	return;
}

sub all_once
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	published('f');
	return ascends($kafka, $many, $n, $what);
}

emit_some(100);
all_once('at first');
for my $round (1 .. 3)
{
	my $pid = pid_of('f');

	emit_some(500) foreach 1 .. 5;
	kill 'KILL', $pid;
	wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', 'the worker is gone');
	emit_some(10);
	wait_until($node, "SELECT state = 'running' AND pid <> $pid FROM kafka_sink.stat_feeds WHERE feed = 'f'", 't', 'another one runs');
	all_once("killed $round");
}
emit_some(1000);
$node->stop('immediate');
$node->start;
emit_some(10);
all_once('an immediate shutdown');
emit_some(1000);
$node->restart;
emit_some(10);
all_once('a restart');

# paused, and what is committed meanwhile
sql("CALL kafka_sink.pause('f', true)");
is(sql("SELECT state FROM kafka_sink.feeds WHERE feed = 'f'"), 'paused', 'it is paused');
emit_some(100);
sql("SELECT kafka_sink.resume('f')");
state_is('f', 'running', 'resumed');
all_once('paused and resumed');
sql("SELECT kafka_sink.alter_feed('f', batch_records => 7)");
emit_some(1000);
all_once('small batches');
cmp_ok(sql("SELECT transactions FROM kafka_sink.feed_progress WHERE feed = 'f'"), '>', 20, 'the progress was read back');
is(sql("SELECT string_agg(action, ' ' ORDER BY id) FROM kafka_sink.sink_history WHERE sink = 'f'"),
	'create_feed grant_emit revoke_emit pause resume alter_feed', 'and who did what');

# --- a large transaction ---

sql(q{ALTER SYSTEM SET logical_decoding_work_mem = '64kB'});
sql('SELECT pg_reload_conf()');
emit_some(30000);
all_once('a transaction that is spilled');

# --- the slot ---

my $slot = sql("SELECT slot_name FROM kafka_sink.feeds WHERE feed = 'f'");
wait_until($node, "SELECT confirmed_flush_lsn >= published_lsn FROM pg_replication_slots r, kafka_sink.stat_feeds f WHERE r.slot_name = '$slot'", 't', 'the slot is confirmed');
# others write, and nothing is for us
sql('CREATE TABLE noise (t text)');
my $before = sql("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = '$slot'");
wait_until($node, "INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 3000); CHECKPOINT;
	SELECT restart_lsn > '$before' FROM pg_replication_slots WHERE slot_name = '$slot'", 't', 'it moves by itself');

sql("CALL kafka_sink.pause('f', true)");
sql("SELECT pg_drop_replication_slot('$slot')");
sql("SELECT kafka_sink.resume('f')");
state_is('f', 'halted', 'without its slot the feed halts');
like(sql("SELECT message || hint FROM kafka_sink.feeds WHERE feed = 'f'"), qr/slot does not exist.*accept_gap/, 'and says what to do');
fails("BEGIN; SELECT kafka_sink.accept_gap('f'); SELECT kafka_sink.emit('f', '$many', 'k', 'too early')",
	qr/does not take messages yet/, 'it takes no message that would be lost');
my $writer = $node->background_psql('postgres');
$writer->query_safe("BEGIN; INSERT INTO noise VALUES ('open')");
sql("SELECT kafka_sink.accept_gap('f')");
wait_until($node, "SELECT concat_ws(' ', state, waits_for) FROM kafka_sink.feeds WHERE feed = 'f'", 'waiting transaction', 'who is in the way of a slot is told');
like(sql("SELECT hint FROM kafka_sink.feeds WHERE feed = 'f'"), qr/backend_xid/, 'and how to find them');
$writer->query_safe('COMMIT');
$writer->quit;
state_is('f', 'running', 'with a gap it goes on');
emit_some(10);
all_once('behind the gap');
is(sql("SELECT old->>'message' FROM kafka_sink.sink_history WHERE action = 'accept_gap'"), "the feed's replication slot does not exist", 'which is in the history');

# somebody has moved the slot
sql("CALL kafka_sink.pause('f', true)");
sql("INSERT INTO noise VALUES ('passed over')");
sql("SELECT pg_replication_slot_advance('$slot', pg_current_wal_insert_lsn())");
sql("SELECT kafka_sink.resume('f')");
state_is('f', 'halted', 'a slot that somebody has moved');
like(sql("SELECT detail || hint FROM kafka_sink.feeds WHERE feed = 'f'"), qr/somebody else has moved the slot.*accept_gap/, 'is told of');
sql("SELECT kafka_sink.accept_gap('f')");
state_is('f', 'running', 'and goes on when told so');
emit_some(10);
all_once('behind a slot that was moved');

# the slot has lost WAL
sql("CALL kafka_sink.pause('f', true)");
sql(q{ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'});
sql('SELECT pg_reload_conf()');
$slot = sql("SELECT slot_name FROM kafka_sink.feeds WHERE feed = 'f'");
wait_until($node, "INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 10000); SELECT pg_switch_wal(); CHECKPOINT;
	SELECT wal_status FROM kafka_sink.stat_feeds WHERE feed = 'f'", qr/lost$/, 'a slot is invalidated');
sql('ALTER SYSTEM RESET max_slot_wal_keep_size');
sql('SELECT pg_reload_conf()');
sql("SELECT kafka_sink.resume('f')");
state_is('f', 'halted', 'without its WAL the feed halts');
like(sql("SELECT message FROM kafka_sink.feeds WHERE feed = 'f'"), qr/has lost WAL/, 'and says so');
sql("SELECT kafka_sink.accept_gap('f')");
published('f');
emit_some(10);
all_once('behind a slot that was lost');

# the topic of progress is gone
sql("CALL kafka_sink.pause('f', true)");
$kafka->delete_topic($progress);
sql("SELECT kafka_sink.resume('f')");
wait_until($node, "SELECT concat_ws(' ', state, waits_for, topic) FROM kafka_sink.feeds WHERE feed = 'f'", "waiting topic $progress",
	'it is waited for: brokers that have just started may not know it yet');
$kafka->create_topic($progress, 1, 'cleanup.policy' => 'compact');
state_is('f', 'halted', 'without its progress the feed halts');
like(sql("SELECT message FROM kafka_sink.feeds WHERE feed = 'f'"), qr/progress is not in Kafka any more/, 'and says so');
sql("SELECT kafka_sink.accept_gap('f')");
state_is('f', 'running', 'and goes on when told so');
emit_some(10);
all_once('with another topic of progress');

# ... for good
sql("CALL kafka_sink.pause('f', true)");
$kafka->delete_topic($progress);
sql("SELECT kafka_sink.resume('f')");
state_is('f', 'halted', 'a topic that does not come back is not waited for for ever');
sql("SELECT kafka_sink.accept_gap('f')");
state_is('f', 'running', 'and is made again when told so');

# --- a topic that is missing, and comes ---

sql("SELECT kafka_sink.drop_feed('f')");
wait_until($node, "SELECT count(*) FROM pg_replication_slots", '0', 'the slot goes with the feed');
fails("SELECT kafka_sink.emit('f', '$topic', 'k', 'v')", qr/feed "f" does not exist/, 'which takes nothing any more');

# a feed of the same name is another one
create_feed('f');
sql("SELECT kafka_sink.emit('f', '$topic', 'k', 'again')");
published('f');
like(values_of($topic), qr/ true again$/, 'created again, it begins anew');

# nobody drops a slot while no workers are wanted
sql(q{ALTER SYSTEM SET kafka_sink.enabled = off; SELECT pg_reload_conf()});
wait_until($node, 'SHOW kafka_sink.enabled', 'off', 'no workers are wanted');
wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink feed'", '0', 'and there are none');
my (undef, undef, $warning) = $node->psql('postgres', "BEGIN; SELECT kafka_sink.drop_feed('f'); ROLLBACK");
like($warning, qr/WARNING:  replication slot "kafka_sink_feed_\w+" of feed "f" stays, and keeps WAL.*pg_drop_replication_slot/s, 'then a slot that stays is told of');
sql(q{ALTER SYSTEM RESET kafka_sink.enabled; SELECT pg_reload_conf()});
wait_until($node, 'SHOW kafka_sink.enabled', 'on', 'they are wanted again');
sql('DROP EXTENSION kafka_sink CASCADE');
wait_until($node, "SELECT count(*) FROM pg_replication_slots", '0', 'slots go with the extension');

done_testing();
