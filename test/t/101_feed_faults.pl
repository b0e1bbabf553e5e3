# A feed whose broker, or whose protocol, is interrupted at a place that has a name.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkBuild;
use KafkaSinkTest;

my $conf = build_with('KS_FEED_STEPS');
my $node = new_node('steps', conf => "$conf\nwal_level = logical\n");
my $kafka = start_broker();
my $topic = $kafka->topic('events', 2);
my $n = 0;
my $offset = 0;    # of the log

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub emit
{
	my ($count) = @_;

	sql("SELECT kafka_sink.emit('f', '$topic', (i % 5)::text, i::text) FROM generate_series($n + 1, $n + $count) i");
	$n += $count;
	return;
}

sub all_once
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql("CALL kafka_sink.wait_for('f', timeout => '3 min')");
	return ascends($kafka, $topic, $n, $what);
}

sub stop_at { return set_step($node, @_); }

# It stops at a step; returns its pid.
sub stops_at
{
	my ($step, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	(my $pid, $offset) = wait_for_step($node, $step, $offset, $what);
	return $pid;
}

# Of changes of tables: the key and what became of it
sub words_of
{
	my ($name) = @_;

	return join ' ', map {
		my ($id) = unescaped($_->[2]) =~ /(-?\d+)/;
		my ($op) = unescaped($_->[3]) =~ /"op":"(.)"/;
		$id . ($op // '-');
	} $kafka->records($name);
}

sub runs
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return wait_until($node, "SELECT state FROM kafka_sink.feeds WHERE feed = 'f'", 'running', $_[0]);
}

create_server($node, $kafka);

# --- the first start: nothing is promised before it is done ---

for my $step (qw(fenced slot_made started))
{
	stop_at($step);
	sql("SELECT kafka_sink.create_feed('f', server => 'kafka')") if $step eq 'fenced';
	my $pid = stops_at($step);
	like($step, qr/started/, "at $step it takes no messages")
	  if sql("SELECT start_lsn IS NULL FROM kafka_sink.feeds") ne 't';
	stop_at('');
	kill_process($node, $pid, "it is killed at $step");
	runs('it runs after all');
	is(sql("SELECT count(*) FROM pg_replication_slots"), 1, 'with one slot');
	last if $step eq 'started';
	# anew for the next step
	stop_at('none');
	sql("SELECT kafka_sink.drop_feed('f')");
	wait_until($node, "SELECT count(*) FROM pg_replication_slots", '0', 'the slot is gone');
	stop_at($step eq 'fenced' ? 'slot_made' : 'started');
	sql("SELECT kafka_sink.create_feed('f', server => 'kafka')");
}
emit(10);
all_once('begun');

# --- each window of a commit ---

for my $step (qw(begun records_sent progress_sent committed confirmed))
{
	stop_at($step);
	emit(100);
	my $pid = stops_at($step);
	stop_at('');
	kill_process($node, $pid, "it is killed at $step");
	runs('it goes on');
	emit(10);
	all_once("killed at $step");
}

# --- a slot that keeps much more than what is to be published: somebody's transaction is open ---

my $open = $node->background_psql('postgres');
$open->query_safe("CREATE TABLE noise (t text); BEGIN; INSERT INTO noise VALUES ('open')");
# (more than is read between two looks at the clock)
sql("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 5000)");
emit(100);
all_once('while a transaction is open');
stop_at('catching_up');
sql("SELECT kafka_sink.alter_feed('f', batch_records => 60)");
my $slow = stops_at('catching_up', 'another worker reads what was published before');
$open->query_safe('COMMIT');
$open->quit;
# (so long that the slot could be moved, if there were something to move it over)
my $until = sql("SELECT clock_timestamp() + interval '11 s'");
wait_until($node, "SELECT clock_timestamp() > '$until'", 't', 'which takes long');
stop_at('confirmed');
emit(10);
kill $_, $slow foreach qw(HUP CONT);
$slow = stops_at('confirmed', 'it commits');
stop_at('');
kill_process($node, $slow, 'it is killed then');
runs('it goes on');
emit(10);
all_once('while much was read again');

# --- promoted, with transactions of the timeline before that are still to be published ---

sql("CALL kafka_sink.pause('f', true)");
emit(100) foreach 1 .. 4;
$node->stop;
append_to_file($node->data_dir . '/standby.signal', '');
$node->start;
$node->promote;
is(sql('SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)'), '00000002', 'the server is on another timeline');
stop_at('confirmed');
sql("SELECT kafka_sink.resume('f')");
my $promoted = stops_at('confirmed', 'a part of them is published there');
stop_at('');
kill_process($node, $promoted, 'it is killed then');
runs('it goes on');
emit(10);
all_once('on another timeline');

# --- fenced, and not dead yet ---

my @names = map { sql("SELECT format('$_/%s/%s/f', system_identifier, (SELECT oid FROM pg_database WHERE datname = 'postgres')) FROM pg_control_system()") } qw(kafka_sink kafka_sink.1);
for my $step (qw(begun records_sent progress_sent))
{
	stop_at($step);
	emit(100);
	my $pid = stops_at($step);
	stop_at('');
	for my $name (@names)
	{
		my $other = $kafka->script('transactional.id' => $name)->to($topic);
		$other->B;
		$other->A;
		$other->end;
	}
	is(scalar $kafka->records($topic), $n - 100, 'nothing of it is seen');
	kill $_, $pid foreach qw(HUP CONT);
	wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', 'it ends');
	runs('and begins anew');
	emit(10);
	all_once("fenced at $step");
}

# --- the broker ---

emit(100);
$kafka->kill9;
emit(100);
wait_until($node, "SELECT state || ' ' || waits_for FROM kafka_sink.feeds", 'waiting broker', 'without a broker it waits');
emit(100);
$kafka->start;
runs('and goes on');
all_once('the broker was killed');

# a broker that stands still in the middle of a commit
stop_at('progress_sent');
emit(100);
my $pid = stops_at('progress_sent', 'it stops before the commit');
stop_at('');
$kafka->stop;
kill $_, $pid foreach qw(HUP CONT);
wait_until($node, "SELECT state FROM kafka_sink.feeds", 'waiting', 'it waits for an answer');
$kafka->start;
runs('which comes');
all_once('the broker went in the middle of a commit');

# --- a topic that is not there, and a message that is too large for it ---

my $missing = $kafka->topic('missing');
sql("SELECT kafka_sink.alter_feed('f', transaction_timeout => '10 s')");
runs('with less patience');
sql("SELECT kafka_sink.emit('f', '$missing', 'k', 'v')");
emit(10);
wait_until($node, "SELECT state || ' ' || waits_for || ' ' || topic FROM kafka_sink.feeds", "waiting topic $missing", 'a topic that is missing is waited for');
$kafka->create_topic($missing, 1);
all_once('behind a topic that was missing');
is(scalar $kafka->records($missing), 1, 'which is there');

$kafka->alter_config($missing, 'max.message.bytes' => 1000);
sql("SELECT kafka_sink.emit('f', '$missing', 'k', repeat(md5('x'), 200) || md5(random()::text) || string_agg(md5(i::text), '')) FROM generate_series(1, 200) i");
emit(10);
wait_until($node, "SELECT state || ' ' || topic FROM kafka_sink.feeds", "halted $missing", 'what Kafka refuses halts it');
like(sql('SELECT hint FROM kafka_sink.feeds'), qr/max.message.bytes/, 'and says why');
$kafka->alter_config($missing, 'max.message.bytes' => 1000000);
sql("SELECT kafka_sink.resume('f')");
runs('when that is mended');
all_once('behind a message that was too large');

# --- a transaction that takes longer than Kafka allows is cut ---

sql("SELECT kafka_sink.alter_feed('f', transaction_timeout => '4 s')");
runs('with no patience');
my $cuts = 0;
# (how many it takes is the machine's business)
for my $round (0 .. 5)
{
	my $count = 100000 * 2**$round;

	# (what is not the value makes it longer)
	sql("SELECT kafka_sink.emit('f', '$topic', (i % 5)::text, (i + $n)::text, headers => jsonb_build_object('h', repeat('x', 500))) FROM generate_series(1, $count) i");
	$n += $count;
	sql("CALL kafka_sink.wait_for('f', timeout => '3 min')");
	last if ($cuts = sql('SELECT cuts FROM kafka_sink.stat_feeds')) > 0;
}
cmp_ok($cuts, '>', 0, 'it was cut');
all_once('cut');

# --- what is published does not wait for what is not, however much there is of it ---

# Returns its pid.
sub stops_passing
{
	my ($what, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $passing = stops_at('passing', $what);

	my $since = sql("SELECT clock_timestamp() + interval '$seconds s'");
	wait_until($node, "SELECT clock_timestamp() > '$since'", 't', "for $seconds s");
	return $passing;
}

# (half of it is for what the test does while a process stands still)
sql("SELECT kafka_sink.alter_feed('f', transaction_timeout => '30 s')");
# (both are there when they are read)
sql("CALL kafka_sink.pause('f', true)");
emit(1);
sql("INSERT INTO noise SELECT 'y' FROM generate_series(1, 600)");
stop_at('passing');
sql("SELECT kafka_sink.resume('f')");
$pid = stops_passing('changes of another table are passed over', 0.2);
kill 'CONT', $pid;
$pid = stops_passing('for some time', 0);
is(scalar $kafka->records($topic), $n, 'what was committed before is published meanwhile');
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
all_once('before and behind a load of another table');

# nor for a table that is rewritten, whose rows are no changes, or for messages of others
foreach ([ 'a table that is rewritten', 'ALTER TABLE noise ADD u uuid DEFAULT gen_random_uuid()' ],
	[ 'messages of others', q{SELECT count(pg_logical_emit_message(true, 'others', 'm')) FROM generate_series(1, 600)} ])
{
	my ($what, $sql) = @$_;

	sql("CALL kafka_sink.pause('f', true)");
	emit(1);
	sql($sql);
	stop_at('passing');
	sql("SELECT kafka_sink.resume('f')");
	$pid = stops_passing($what, 0);
	stop_at('');
	kill $_, $pid foreach qw(HUP CONT);
	all_once($what);
}

# the same within a transaction
stop_at('passing');
sql("BEGIN; SELECT kafka_sink.emit('f', '$topic', ($n + 1)::text, ($n + 1)::text); INSERT INTO noise SELECT 'y' FROM generate_series(1, 600);
	SELECT kafka_sink.emit('f', '$topic', ($n + 1)::text, ($n + 2)::text); COMMIT");
$n += 2;
$pid = stops_passing('a transaction that does something else', 16);
kill 'CONT', $pid;
$pid = stops_passing('and goes on with it', 0);
is(scalar $kafka->records($topic), $n - 1, 'is cut');
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
all_once('a transaction that was cut where nothing was published');

# and of which nothing more comes: that it has ended is known before anything else is published
stop_at('passing');
sql("BEGIN; SELECT kafka_sink.emit('f', '$topic', ($n + 1)::text, ($n + 1)::text); INSERT INTO noise SELECT 'y' FROM generate_series(1, 300); COMMIT");
$n++;
$pid = stops_passing('a transaction that publishes nothing any more', 16);
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
all_once('a transaction that was cut behind its last record');
my @progress = grep { $_->[2] =~ m{/f$} } $kafka->records('kafka_sink.progress');
like(unescaped($progress[-1][3]), qr{"inside": "0/00000000"}, 'of which no part is left');
wait_until($node, 'SELECT published_lsn = confirmed_flush_lsn FROM kafka_sink.stat_feeds, pg_replication_slots', 't', 'and the slot knows');

# nor for one that begins with a file for each of its savepoints
sql("CALL kafka_sink.pause('f', true)");
emit(1);
my $before_it = $n;
sql("DO \$\$ BEGIN FOR i IN $n + 1 .. $n + 1100 LOOP BEGIN PERFORM kafka_sink.emit('f', '$topic', (i % 5)::text, i::text);
	EXCEPTION WHEN OTHERS THEN RAISE; END; END LOOP; END\$\$");
$n += 1100;
stop_at('committed');
sql("SELECT kafka_sink.resume('f')");
$pid = stops_at('committed', 'before a transaction of many savepoints');
is(scalar $kafka->records($topic), $before_it, 'is committed what was there');
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
all_once('many savepoints');

# --- what is published of a transaction that was cut is another when it is read again ---

# (a table that may be read by now, and is no table of the publication any more then)
my $shown = $kafka->topic('shown', 1);
sql(q{
	CREATE ROLE feeder LOGIN;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_feed TO feeder;
	GRANT USAGE ON FOREIGN SERVER kafka TO feeder;
	CREATE TABLE hidden (id int PRIMARY KEY);
	CREATE TABLE shown (id int PRIMARY KEY);
	GRANT SELECT ON shown TO feeder;
	CREATE PUBLICATION tables FOR TABLE hidden, shown;
});
sql("SELECT kafka_sink.drop_feed('f')");
wait_until($node, 'SELECT count(*) FROM pg_replication_slots', '0', 'another feed');
sql("SET ROLE feeder; SELECT kafka_sink.create_feed('f', server => 'kafka', publication => 'tables', topic => '$shown', envelope => 'debezium', transaction_timeout => '30 s')");
sql("CALL kafka_sink.wait_for('f', timeout => '1 min'); CALL kafka_sink.pause('f', true)");
sql("INSERT INTO shown VALUES (0)");
sql("BEGIN; INSERT INTO hidden VALUES (-1), (-2); INSERT INTO shown VALUES (1); INSERT INTO noise SELECT 'y' FROM generate_series(1, 600);
	UPDATE shown SET id = 2 WHERE id = 1; INSERT INTO shown VALUES (3); COMMIT");
sql('GRANT SELECT ON hidden TO feeder');
stop_at('passing');
sql("SELECT kafka_sink.resume('f')");
$pid = stops_passing('a transaction of tables that may be read by now', 16);
kill 'CONT', $pid;
my $cut = stops_at('passing', 'is cut');
is(words_of($shown), '0c -1c -2c 1c', 'behind its first rows');
stop_at('');
# (nobody reads it again before)
sql('BEGIN; ALTER PUBLICATION tables DROP TABLE hidden; REVOKE SELECT ON hidden FROM feeder; COMMIT');
kill 'KILL', $cut;
wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $cut", '0', 'and killed there');
sql("CALL kafka_sink.wait_for('f', timeout => '3 min')");
is(words_of($shown), '0c -1c -2c 1c 1d 1- 2c 3c', 'its rest is published, each row once');
sql("SELECT kafka_sink.drop_feed('f')");

# --- builds that are wrong, each in its own way: the checks above would see it ---

$node->stop;
$topic = $kafka->topic('broken', 2);
for my $break (['KS_BREAK_FEED_PROGRESS', 'torn'], ['KS_BREAK_FEED_CONFIRM', 'progress_sent'])
{
	my ($macro, $step) = @$break;

	$conf = build_with('KS_FEED_STEPS', $macro);
	$node = new_node(lc $macro, conf => "$conf\nwal_level = logical\n");
	create_server($node, $kafka);
	sql("SELECT kafka_sink.create_feed('f', server => 'kafka', progress_topic => '" . $kafka->topic('progress') . "')");
	runs("$macro: it runs");
	my $before = $kafka->records($topic);
	stop_at($step);
	sql("SELECT kafka_sink.emit('f', '$topic', i::text, i::text) FROM generate_series(1, 100) i");
	($pid) = wait_for_step($node, $step, 0, "$macro: it stops at $step");
	stop_at('');
	kill_process($node, $pid, "$macro: it is killed");
	my (undef, undef, $error) = $node->psql('postgres', "CALL kafka_sink.wait_for('f', timeout => '2 min')");
	my $lost = $error =~ /is halted/ ? sql('SELECT message FROM kafka_sink.feeds') : '';
	my $doubled = $kafka->records($topic) - $before - 100;
	ok($doubled > 0 || $lost =~ /Kafka has lost transactions/, "$macro: it is found out ($doubled more, '$lost')");
	$node->stop;
}

done_testing();
