# What must come through while other records keep coming: that a partition's log
# is lost, that a topic has grown.  And what must not be taken for a lost log: a
# replica that does not know yet how far it goes.  Nor another sink's offsets, which has
# got the name, for its own.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "log_min_messages = debug1\n");
my $kafka = shared_broker();
my $mock = start_mock(brokers => 2);

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

sub create_sink
{
	my ($name, $server, $topics, $settings) = @_;

	sql(qq{
		CREATE TABLE $name (id bigint);
		SELECT kafka_sink.create_sink('$name', server => '$server', target => '$name', batch_linger_ms => 100, idle_after => '0'$settings);
	} . join('', map { "SELECT kafka_sink.register_topic('$name', '$_');" } @$topics)
	  . "CALL kafka_sink.wait_for('$name', timeout => '3 min');");
	return;
}

create_server($node, $kafka);
create_server($node, $mock, name => 'mock');

# --- a replica that is behind ---

$mock->command('topic behind 1');
$mock->command('leader behind 0 1');
$mock->produce('behind', 0, map { [ undef, qq({"id": $_}) ] } 1 .. 10);
# (the mock cluster tells the leader's last stable offset)
create_sink('behind', 'mock', ['behind'], q(, isolation_level => 'read_uncommitted'));
is(sql('SELECT count(*) FROM behind'), '10', 'all of it, from the leader');
# the last record is not known there, which is where the log is read again from
$mock->command('follower behind 0 2 0 9');
$mock->command('push_errors 1 6 6');
becomes(q{SELECT state = 'waiting' AND waits_for = 'broker' AND message LIKE 'could not fetch%' FROM kafka_sink.sinks WHERE sink = 'behind'},
	'an end below the offset is not believed when the leader knows of none');
$mock->command('follower behind 0 2 -1 -1');
$mock->produce('behind', 0, map { [ undef, qq({"id": $_}) ] } 11 .. 15);
becomes('SELECT count(*) = 15 AND count(DISTINCT id) = 15 FROM behind', 'it goes on, with nothing twice');
becomes(q{SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'behind'}, 'and says so');

# --- another leader, of which nothing tells but metadata ---

create_server($node, $mock, name => 'still', options => "topic_metadata_refresh_interval_ms '1000', fetch_wait_max_ms '10000', debug 'topic'");
$mock->command('topic moved 1');
$mock->command('leader moved 0 1');
$mock->produce('moved', 0, map { [ undef, qq({"id": $_}) ] } 1 .. 10);
create_sink('moved', 'still', ['moved'], '');
# (the fetch that is under way will be answered when it is too late)
my $log = -s $node->logfile;
$mock->command('leader moved 0 2');
wait_for_log($node, qr/librdkafka: TOPICUPD: \S+ Topic moved \[0\]: migrating from broker 1 to 2 /, $log, 'librdkafka goes to another leader');
wait_for_log($node, qr/librdkafka: \w+: \S+ Start consuming moved \[0\] at offset 9 /, $log, 'whose log is compared with what was read of it');
$mock->produce('moved', 0, [ undef, '{"id": 11}' ]);
becomes('SELECT count(*) = 11 AND count(DISTINCT id) = 11 FROM moved', 'it goes on, with nothing twice');

# --- a broker that is away, while others are there ---

$mock->command('topic apart 2');
$mock->command("leader apart $_ @{[ $_ + 1 ]}") foreach 0, 1;
$mock->produce('apart', $_, [ undef, '{"id": 1}' ]) foreach 0, 1;
create_sink('apart', 'mock', ['apart'], '');
$mock->command('down 2');
wait_until($node, q{SELECT state, waits_for, topic, part, message FROM kafka_sink.sinks WHERE sink = 'apart'},
	'waiting|broker|apart|1|broker 2, which has partition 1 of topic "apart", cannot be reached', 'whose partitions are waited for');
$mock->produce('apart', 0, [ undef, '{"id": 2}' ]);
becomes('SELECT count(*) = 3 FROM apart', 'others are consumed');
$mock->command('up 2');
becomes(q{SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'apart'}, 'when it is back, all is well');
$mock->produce('apart', 1, [ undef, '{"id": 2}' ]);
becomes('SELECT count(*) = 4 FROM apart', 'and consumed');

# --- an offset inside of an open transaction, behind its last stable one ---

my $open = $kafka->topic('open', 1);
my $tx = $kafka->script('transactional.id' => $open)->to($open);

$kafka->produce($open, 0, map { [ undef, qq({"id": $_}) ] } 1 .. 10);
create_sink('open', 'kafka', [$open], '');
$tx->B;
$tx->P(0, undef, qq({"id": $_})) foreach 11 .. 20;
$tx->F;
sql(q{SELECT kafka_sink.pause('open')});
becomes(q{SELECT pid IS NULL FROM kafka_sink.stat_sinks WHERE sink = 'open'}, 'paused');
sql(qq{SELECT kafka_sink.accept_gap('open', '$open', 0, 10, 15); SELECT kafka_sink.resume('open')});
becomes(q{SELECT tail_check = 'ok' FROM kafka_sink.stat_partitions WHERE sink = 'open'}, 'it has read up to the transaction');
$tx->C;
becomes('SELECT count(*) = 15 AND max(id) = 20 FROM open', 'and waited for its end');
$tx->end;

# --- retention overtakes what is fetched, behind records that are not applied yet ---

create_server($node, $kafka, name => 'small', options => q(queued_min_messages '1', fetch_message_max_bytes '1024'));
my $overtaken = $kafka->topic('overtaken', 1);
my $holder = $node->background_psql('postgres');
my $script = $kafka->script('batch.num.messages' => 1)->to($overtaken);

create_sink('overtaken', 'small', [$overtaken], q(, batch_records => 5, lock_timeout => '200 ms'));
sql(q{SELECT kafka_sink.alter_sink('overtaken', batch_linger_ms => 2000); CALL kafka_sink.wait_for('overtaken', timeout => '3 min')});
$holder->query_safe('BEGIN; LOCK TABLE overtaken');
$script->P(0, undef, sprintf('{"id": %d, "filler": "%s"}', $_, 'x' x 900)) foreach 1 .. 100;
$script->F;
becomes(q{SELECT state = 'waiting' FROM kafka_sink.sinks WHERE sink = 'overtaken'}, 'a batch is held');
$kafka->delete_records($overtaken, 0, 90);
$holder->query_safe('COMMIT');
becomes(q{SELECT state = 'halted' FROM kafka_sink.sinks WHERE sink = 'overtaken'}, 'the rest is gone');
my $stored = sql(q{SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'overtaken'});
like(sql(q{SELECT message || '|' || detail || '|' || off FROM kafka_sink.sinks WHERE sink = 'overtaken'}),
	qr/^records were deleted before they were consumed\|Stored offset $stored, the log begins at 90:.*\|$stored$/,
	'it tells the offset that is stored');
my ($accept, $resume) = sql(q{SELECT hint FROM kafka_sink.sinks WHERE sink = 'overtaken'})
  =~ /: (SELECT kafka_sink\.accept_gap\(.*?\)), then (kafka_sink\.resume\(.*?\))\.$/ or fail('hint');
sql("$accept; SELECT $resume");
becomes("SELECT count(*) = $stored + 10 FROM overtaken", 'its advice is good');
$script->end;
$holder->quit;

# --- while there is always more to do ---

my ($flow, $other) = map { $kafka->topic($_, 1) } qw(flow other);

sql('CREATE TABLE flow (id bigint)');
# a slow table: there is work for minutes
sql(q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END';
	CREATE TRIGGER slow BEFORE INSERT ON flow EXECUTE FUNCTION slow();
	SELECT kafka_sink.create_sink('flow', server => 'kafka', target => 'flow', batch_records => 10, on_topic_error => 'halt_sink')});
sql("SELECT kafka_sink.register_topic('flow', '$_')") foreach $flow, $other;
sql(q{CALL kafka_sink.wait_for('flow', timeout => '3 min')});
$kafka->gen($flow, count => 50000);
becomes(q{SELECT off > 0 FROM kafka_sink.txn_offsets WHERE sink = 'flow' AND off < 50000 AND topic LIKE 'flow%'}, 'it has begun');
$kafka->add_partitions($flow, 2);
becomes(q{SELECT count(*) = 3 AND max(off) < 50000 FROM kafka_sink.txn_offsets WHERE sink = 'flow'}, 'a topic that grows');
sql(qq{SELECT kafka_sink.seek('flow', '{"$other": {"0": 100}}')});
wait_until($node, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'flow'},
	'halted|the log ends before the stored offset', 'a log that is lost');
is(sql(q{SELECT count(*) FROM kafka_sink.txn_offsets WHERE sink = 'flow' AND off = 50000}), '0', 'and there is still more to do');

# --- another sink of that name, at the same offset ---

my $same = $kafka->topic('same', 1);
my $sink_at = sub {
	my ($target, $off) = @_;

	return qq{SELECT kafka_sink.create_sink('same', server => 'kafka', target => '$target', batch_linger_ms => 1, idle_after => '0');
		SELECT kafka_sink.register_topic('same', '$same');
		SELECT kafka_sink.seek('same', '{"$same": {"0": $off}}');};
};
my $id = 0;

# The old sink's worker has a batch, and waits for what the transaction holds; what it
# has read is for the new one's table.
sub replaced
{
	my ($target, $change, $expected, $what) = @_;
	my $session = $node->background_psql('postgres');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$kafka->produce($same, 0, map { [ undef, sprintf('{"id": %d}', ++$id) ] } 1 .. 3);
	sql(q{CALL kafka_sink.wait_for('same', timeout => '3 min')});
	$session->query_safe("BEGIN; $change");
	$kafka->produce($same, 0, map { [ undef, sprintf('{"id": %d}', ++$id) ] } 1 .. 2);
	becomes(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'kafka_sink same' AND wait_event_type = 'Lock'},
		"$what: the old one waits");
	$session->query_safe('COMMIT');
	$session->quit;
	becomes("SELECT string_agg(id::text, ' ' ORDER BY id) = '$expected' FROM $target", "$what: the new one has what is its own");
	is(sql(q{SELECT count(*) FROM kafka_sink.txn_offsets WHERE sink = 'same' AND consumed = off - start_off}), '1', "$what: and has counted it");
	return;
}

sql('CREATE TABLE same_a (id bigint); CREATE TABLE same_b (id bigint); CREATE TABLE same_c (id bigint); CREATE TABLE same_d (id bigint);'
	  . $sink_at->('same_a', 0));
replaced('same_b', q{SELECT kafka_sink.drop_sink('same');} . $sink_at->('same_b', 3), '4 5', 'dropped and created at the same offset');
replaced('same_c', q{SELECT kafka_sink.drop_sink('same');} . $sink_at->('same_c', 2), join(' ', 3 .. 10), 'at another offset');
replaced('same_d', q{SELECT kafka_sink.rename_sink('same', 'former');} . $sink_at->('same_d', 13), '14 15', 'renamed, and another created');
sql(q{SELECT kafka_sink.drop_sink('former')});
replaced('same_a', qq{SELECT kafka_sink.alter_sink('same', target => 'same_a'); SELECT kafka_sink.seek('same', '{"$same": {"0": 18}}');},
	'1 2 3 19 20', 'altered and moved to where it was');
is(sql(q{SELECT (SELECT string_agg(id::text, ' ' ORDER BY id) FROM same_b), (SELECT string_agg(id::text, ' ' ORDER BY id) FROM same_d)}),
	join(' ', 4 .. 8) . '|' . join(' ', 14 .. 18), 'and the old ones no more than theirs');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
