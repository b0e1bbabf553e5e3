# A transaction that cannot be published: it is found among others, and it alone is
# skipped, once, whatever is killed meanwhile.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkBuild;
use KafkaSinkTest;

my $node = new_node('main', conf => build_with('KS_FEED_STEPS') . "\nwal_level = logical\n");
my $kafka = shared_broker();
my $progress = $kafka->topic('progress');
my $topic = $kafka->topic('events', 1);
my $narrow = $kafka->topic('narrow', 1, 'max.message.bytes' => 2000);
my $offset = 0;
my (@expected, @between);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub fails
{
	my ($sql, $error, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my (undef, undef, $err) = $node->psql('postgres', $sql);
	return like($err, $error, $what);
}

sub published { return sql("CALL kafka_sink.wait_for('$_[0]', timeout => '3 min')"); }
sub values_of { return join ' ', map { $_->[3] } $kafka->records($_[0]); }

sub history { return sql("SELECT coalesce(string_agg(action, ' ' ORDER BY id), '') FROM kafka_sink.sink_history WHERE sink = '$_[0]' AND action ~ 'skip|resume' AND id > " . ($_[1] // 0)); }
sub history_now { return sql('SELECT coalesce(max(id), 0) FROM kafka_sink.sink_history'); }

sub state_is
{
	my ($feed, $state, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT concat_ws(' ', state, waits_for, topic) FROM kafka_sink.feeds WHERE feed = '$feed'", $state, $what);
}

sub stop_at { return set_step($node, @_); }

sub stops_at
{
	my ($step, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	(my $pid, $offset) = wait_for_step($node, $step, $offset, $what);
	return $pid;
}

sub kill_at
{
	my ($step) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $pid = stops_at($step);

	stop_at('');
	return kill_process($node, $pid, "and is killed at $step");
}

# A message of its own, that is to come
sub emit
{
	my ($value) = @_;

	push @expected, $value;
	return sql("SELECT kafka_sink.emit('f', '$topic', 'k', '$value')");
}

# A transaction that is not to come, and the places of the WAL around its commit
sub emit_bad
{
	my ($more) = @_;

	$between[0] = sql('SELECT pg_current_wal_insert_lsn()');
	sql("BEGIN; SELECT kafka_sink.emit('f', '$topic', 'k', 'lost'); $more; SELECT kafka_sink.emit('f', '$topic', 'k', 'lost, too'); COMMIT");
	$between[1] = sql('SELECT pg_current_wal_insert_lsn()');
	return;
}

sub too_large { return "SELECT kafka_sink.emit('f', '$narrow', 'k', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 100)))"; }

# The state names the transaction by its commit.
sub culprit_is_found
{
	my ($feed, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT lsn >= '$between[0]' AND lsn < '$between[1]' FROM kafka_sink.feeds WHERE feed = '$feed'", 't', $what);
}

sub all_expected
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	published('f');
	return is(values_of($topic), join(' ', @expected), $what);
}

create_server($node, $kafka);
sql("SELECT kafka_sink.create_feed('f', server => 'kafka', progress_topic => '$progress')");
state_is('f', 'running', 'the feed runs');
fails("SELECT kafka_sink.skip('f')", qr/feed "f" has not stopped at a transaction/, 'nothing is to be skipped of one that runs');
fails("SELECT kafka_sink.skip('f', '0/1')", qr/feed "f" has not stopped at a transaction/, 'by no name');
fails("SELECT kafka_sink.skip('nobody', '0/1')", qr/feed "nobody" does not exist/, 'of nobody');

# --- brokers refuse batches: no reason to halt if each message by itself is taken ---

sql("SELECT kafka_sink.emit('f', '$narrow', i::text, (SELECT string_agg(md5(random()::text || i || j), '') FROM generate_series(1, 16) j)) FROM generate_series(1, 100) i");
sql("SELECT kafka_sink.emit('f', '$narrow', '$_', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 16)))") foreach 101 .. 110;
published('f');
is(scalar $kafka->records($narrow), 110, 'a batch that is too large is sent again in smaller ones');
is(sql("SELECT count(*) FROM kafka_sink.sink_history WHERE action ~ 'skip'"), 0, 'nothing is skipped');

# --- one among others ---

sql("CALL kafka_sink.pause('f', true)");
emit('a');
emit_bad(too_large());
emit('b');
sql("SELECT kafka_sink.resume('f')");
state_is('f', "halted $narrow", 'a message that is too large halts it');
fails("\\set VERBOSITY verbose\nCALL kafka_sink.wait_for('f')", qr/ERROR:  \w{5}: .*HINT:  .*skip\(.*CONTEXT:  feed "f" is halted: topic "$narrow"/s, 'and wait_for() says what has halted it');
culprit_is_found('f', 'at its transaction');
is(values_of($topic), 'a', 'those ahead of it are published');
is(sql("SELECT r.lsn = f.lsn FROM kafka_sink.stat_feeds r JOIN kafka_sink.feeds f USING (feed)"), 't', 'which stat_feeds shows, too');
like(sql('SELECT hint FROM kafka_sink.feeds'), qr/kafka_sink.skip\(\)/, 'and the hint what to do');
my $lsn = sql('SELECT lsn FROM kafka_sink.feeds');
my $history = history_now();
sql("SELECT kafka_sink.resume('f')");
state_is('f', "halted $narrow", 'resumed, it halts again');
is(sql('SELECT lsn FROM kafka_sink.feeds'), $lsn, 'at the same');

sql('CREATE ROLE stranger LOGIN');
fails("SET ROLE stranger; SELECT kafka_sink.skip('f')", qr/permission denied for feed "f"/, 'a stranger may not skip it');
fails("SET ROLE stranger; SELECT kafka_sink.skip('f', '$lsn')", qr/permission denied for feed "f"/, 'by no name');
fails("SELECT kafka_sink.skip('f', '$between[0]')", qr/feed "f" has not stopped at $between[0].*DETAIL:  It has stopped at the transaction with its commit at $lsn/s, 'nor anybody another one');
fails("SELECT kafka_sink.skip('f', NULL)", qr/must not be null/i, 'or none');
is(sql('SELECT skip_lsn IS NULL FROM kafka_sink.feeds'), 't', 'so nothing is skipped');
sql("BEGIN; SELECT kafka_sink.skip('f'); ROLLBACK");
is(sql('SELECT skip_lsn IS NULL FROM kafka_sink.feeds'), 't', 'nor by a transaction that is rolled back');
sql("SELECT kafka_sink.skip('f', '$lsn')");
is(sql('SELECT skip_lsn FROM kafka_sink.feeds'), $lsn, 'the one that it is may be skipped');
state_is('f', "halted $narrow", 'when it is resumed');
$node->restart;
is(sql('SELECT skip_lsn FROM kafka_sink.feeds'), $lsn, 'or later');
sql("SELECT kafka_sink.resume('f')");
all_expected('all but the one are published');
is(scalar $kafka->records($narrow), 110, 'of which nothing is');
is(sql('SELECT skip_lsn IS NULL AND lsn IS NULL FROM kafka_sink.feeds'), 't', 'and it is forgotten');
is(history('f', $history), 'resume skip resume skipped', 'but in the history');
is(sql("SELECT string_agg(coalesce(old, new)->>'lsn', ' ') FROM kafka_sink.sink_history WHERE action ~ 'skip'"), "$lsn $lsn", 'with its name');

# --- killed at each step ---

foreach my $step (qw(fenced begun progress_sent committed confirmed))
{
	emit("before-$step");
	emit_bad(too_large());
	emit("behind-$step");
	state_is('f', "halted $narrow", "$step: halted");
	$history = history_now();
	culprit_is_found('f', "$step: at its transaction");
	stop_at($step);
	sql("SELECT kafka_sink.skip('f'); SELECT kafka_sink.resume('f')");
	kill_at($step);
	all_expected("$step: all but the one are published, once");
	is(sql('SELECT skip_lsn IS NULL FROM kafka_sink.feeds'), 't', "$step: it is forgotten");
	is(history('f', $history), 'skip resume skipped', "$step: skipped once");
}

# --- a topic that does not come: nothing has halted ---

my $missing = $kafka->topic('missing');
sql("CALL kafka_sink.pause('f', true); SELECT kafka_sink.alter_feed('f', transaction_timeout => '20 s')");
emit('c');
emit_bad("SELECT kafka_sink.emit('f', '$missing', 'k', 'lost')");
emit('d');
sql("SELECT kafka_sink.resume('f')");
state_is('f', "waiting topic $missing", 'a topic that is missing is waited for');
culprit_is_found('f', 'by its transaction');
fails("CALL kafka_sink.wait_for('f', timeout => '10 ms')", qr/DETAIL:  It is at .*; wanted is .*\.  Its state is \w+/, 'wait_for() says so, too');
is(values_of($topic), join(' ', grep { $_ ne 'd' } @expected), 'those ahead of it are published');
$history = history_now();
sql("SELECT kafka_sink.skip('f')");
all_expected('which can be skipped');
is(history('f', $history), 'skip skipped', 'without another word');

# --- the topic comes before that: what was published cannot be skipped ---

emit('e');
published('f');
$history = history_now();
sql("CALL kafka_sink.pause('f', true); UPDATE kafka_sink.feed_catalog SET skip_lsn = '$lsn'; SELECT kafka_sink.resume('f')");
emit('g');
all_expected('what is behind is not skipped');
is(history('f', $history), 'resume not_skipped', 'and the history says so');

# --- a topic that is deleted under a feed that runs ---

my $deleted = $kafka->topic('deleted', 1);
sql("SELECT kafka_sink.emit('f', '$deleted', 'k', 'one')");
published('f');
$kafka->delete_topic($deleted);
$between[0] = sql('SELECT pg_current_wal_insert_lsn()');
sql("SELECT kafka_sink.emit('f', '$deleted', 'k', 'two')");
$between[1] = sql('SELECT pg_current_wal_insert_lsn()');
emit('h');
state_is('f', "waiting topic $deleted", 'a topic that was deleted is waited for');
culprit_is_found('f', 'and who wants it is told');
$kafka->create_topic($deleted, 1);
all_expected('when it is there again it goes on');
is(values_of($deleted), 'two', 'with what was waiting');

# --- tables: what cannot be read, or is not what the publication says ---

sql(q{
	CREATE ROLE feeder LOGIN;
	CREATE TABLE shown (id int PRIMARY KEY, v text);
	CREATE TABLE secret (id int PRIMARY KEY);
	GRANT SELECT ON shown TO feeder;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_feed TO feeder;
	GRANT USAGE ON FOREIGN SERVER kafka TO feeder;
	CREATE PUBLICATION mixed FOR TABLE shown, secret;
});
my $shown = $kafka->topic('shown', 1);
sql("SET ROLE feeder; SELECT kafka_sink.create_feed('rows', server => 'kafka', publication => 'mixed', topic => '$shown', progress_topic => '$progress', max_message_bytes => 2000)");
state_is('rows', 'running', 'a feed of tables runs');
sql("INSERT INTO shown VALUES (1, 'a')");
@between = (sql('SELECT pg_current_wal_insert_lsn()'));
sql("BEGIN; INSERT INTO shown VALUES (2, 'a'); INSERT INTO secret VALUES (1); INSERT INTO shown VALUES (3, 'a'); COMMIT");
push @between, sql('SELECT pg_current_wal_insert_lsn()');
sql("INSERT INTO shown VALUES (4, 'a')");
wait_until($node, "SELECT state || ' ' || message FROM kafka_sink.feeds WHERE feed = 'rows'", 'backoff permission denied for table public.secret', 'a table that may not be read stops it');
culprit_is_found('rows', 'at its transaction');
sql("SET ROLE feeder; SELECT kafka_sink.skip('rows')");
published('rows');
is(join(' ', map { $_->[2] } $kafka->records($shown)), '1 4', 'which can be skipped');

@between = (sql('SELECT pg_current_wal_insert_lsn()'));
sql("BEGIN; INSERT INTO shown VALUES (5, 'a'); INSERT INTO shown SELECT 6, string_agg(md5(i::text), '') FROM generate_series(1, 200) i; COMMIT");
push @between, sql('SELECT pg_current_wal_insert_lsn()');
sql("INSERT INTO shown VALUES (7, 'a')");
state_is('rows', "halted $shown", 'a row that is too large halts it');
culprit_is_found('rows', 'at its transaction');
like(sql("SELECT hint FROM kafka_sink.feeds WHERE feed = 'rows'"), qr/max_message_bytes of the feed/, 'and the hint says of what');
sql("SELECT kafka_sink.alter_feed('rows', max_message_bytes => 100000); SELECT kafka_sink.resume('rows')");
published('rows');
is(join(' ', map { $_->[2] } $kafka->records($shown)), '1 4 5 6 7', 'which can be raised');

@between = (sql('SELECT pg_current_wal_insert_lsn()'));
# (in one transaction: others never miss it)
sql("BEGIN; DROP PUBLICATION mixed; INSERT INTO shown VALUES (8, 'a'); CREATE PUBLICATION mixed FOR TABLE shown; COMMIT");
push @between, sql('SELECT pg_current_wal_insert_lsn()');
sql("INSERT INTO shown VALUES (9, 'a')");
wait_until($node, "SELECT state || ' ' || message FROM kafka_sink.feeds WHERE feed = 'rows'", 'halted publication "mixed" does not exist', 'a publication that was missing then halts it');
culprit_is_found('rows', 'at what was written meanwhile');
like(sql("SELECT hint FROM kafka_sink.feeds WHERE feed = 'rows'"), qr/Make it again.*accept_gap/, 'and the hint says what can be done');
sql("SELECT kafka_sink.skip('rows'); SELECT kafka_sink.resume('rows')");
published('rows');
is(join(' ', map { $_->[2] } $kafka->records($shown)), '1 4 5 6 7 9', 'which can be skipped');

# what this extension itself writes meanwhile does not miss it
sql('DROP PUBLICATION mixed');
sql("INSERT INTO shown VALUES (11, 'a')");
wait_until($node, "SELECT state || ' ' || message FROM kafka_sink.feeds WHERE feed = 'rows'", 'halted publication "mixed" does not exist', 'without a publication it halts');
sql("SELECT kafka_sink.skip('rows'); SELECT kafka_sink.resume('rows')");
sql('TRUNCATE kafka_sink.feed_progress');
published('rows');
state_is('rows', 'running', 'at changes of others, not at what has let it go on');
sql("CREATE PUBLICATION mixed FOR TABLE shown; INSERT INTO shown VALUES (12, 'a')");
published('rows');
is(join(' ', map { $_->[2] } $kafka->records($shown)), '1 4 5 6 7 9 12', 'and publishes when there is one again');

# --- a transaction that is cut, and changed or skipped between a part and the rest ---

my $cut = 4;
sql("CALL kafka_sink.pause('f', true)");

# Stopped with its first record for longer than Kafka's transaction may take, it is cut
# behind that, and killed there; something else is done before it goes on.
sub cut_it
{
	my ($sql, $meanwhile) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	stop_at('begun');
	sql($sql);
	my $pid = stops_at('begun', 'it stops with the first record');
	my $until = sql("SELECT clock_timestamp() + interval '$cut s'");
	wait_until($node, "SELECT clock_timestamp() > '$until'", 't', 'for long');
	stop_at('cut');
	kill $_, $pid foreach qw(HUP CONT);
	$pid = stops_at('cut', 'it is cut');
	stop_at('fenced');
	kill 'KILL', $pid;
	$pid = stops_at('fenced', 'another one begins');
	sql($meanwhile) if $meanwhile;
	stop_at('');
	return kill_process($node, $pid, 'and yet another goes on');
}

my @cuts = map { $kafka->topic("cut$_", 1) } 1 .. 2;
sql('CREATE TABLE pieces (id int PRIMARY KEY, v text); GRANT SELECT ON pieces TO feeder; CREATE PUBLICATION "pieces of ""it""" FOR TABLE pieces; CREATE PUBLICATION others FOR TABLE shown');
sql("SELECT kafka_sink.alter_feed('rows', publication => 'pieces of \"it\"', topic => '$cuts[0]', envelope => 'debezium', transaction_timeout => '" . 2 * $cut . " s')");
published('rows');
sql("INSERT INTO pieces SELECT i, 'old' FROM generate_series(1, 10) i");
published('rows');
is(scalar $kafka->records($cuts[0]), 10, 'rows to be changed');
cut_it(q{BEGIN; DELETE FROM pieces WHERE id <= 3; UPDATE pieces SET v = 'new' WHERE id > 8; TRUNCATE pieces; INSERT INTO pieces VALUES (1, 'new'); COMMIT},
	"SELECT kafka_sink.alter_feed('rows', publication => 'others', topic => '$cuts[1]', envelope => 'none')");
sql("INSERT INTO shown VALUES (10, 'a')");
published('rows');
my @values = map { unescaped($_->[3]) } $kafka->records($cuts[0]);
is(join(' ', map { /"op":"(.)"/ ? $1 : $_ } @values[ 10 .. $#values ]), 'd \N d \N d \N u u t c', 'the rest has the envelope of the beginning, whole and once');
is(join(' ', map { "$_->[2]=" . unescaped($_->[3]) } $kafka->records($cuts[1])), '10={"id":10,"v":"a"}', 'what comes behind it is published as the feed is now');

# skipped in the middle, what is in Kafka stays
sql("SELECT kafka_sink.alter_feed('rows', publication => 'pieces of \"it\"', topic => '$cuts[0]')");
published('rows');
cut_it(q{INSERT INTO pieces SELECT i, CASE i WHEN 22 THEN repeat(md5(i::text), 10000) ELSE 'a' END FROM generate_series(20, 23) i});
state_is('rows', "halted $cuts[0]", 'the rest is refused');
sql("SELECT kafka_sink.skip('rows'); SELECT kafka_sink.resume('rows'); INSERT INTO pieces VALUES (24, 'a')");
published('rows');
is(join(' ', map { $_->[2] } ($kafka->records($cuts[0]))[ 20 .. 21 ]), '20 24', 'and skipped');
is(scalar $kafka->records($cuts[0]), 22, 'nothing else comes');

# --- a row that was there before, which the brokers refuse, or the feed's own limit ---

sql(q{
	CREATE TABLE old (id int PRIMARY KEY, v text);
	INSERT INTO old SELECT i, md5(i::text) FROM generate_series(1, 300) i;
	UPDATE old SET v = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 200)) WHERE id = 123;
	CREATE PUBLICATION old FOR TABLE old;
});
# (which is told at once, not when the transaction would have timed out)
foreach ([ 'copied', ', copy_data => true', 'max.message.bytes' => 2000 ], [ 'limited', ', copy_data => true, max_message_bytes => 2000' ])
{
	my ($feed, $settings, @config) = @$_;
	my $rows = $kafka->topic($feed, 1, @config);

	sql("SELECT kafka_sink.create_feed('$feed', server => 'kafka', publication => 'old', topic => '$rows', progress_topic => '$progress', transaction_timeout => '10 min'$settings)");
	$history = history_now();
	foreach my $again ('', ' again')
	{
		state_is($feed, "halted $rows", "$feed: a row that is too large halts it$again");
		is(sql("SELECT stopped_at FROM kafka_sink.feed_copies WHERE feed = '$feed'"), '{"id integer": "123"}', 'its key is told');
		like(sql("SELECT detail FROM kafka_sink.feeds WHERE feed = '$feed'"), qr/row of table public\.old that was there before/, 'and of which table it is');
		is(join(' ', map { $_->[2] } $kafka->records($rows)), join(' ', 1 .. 122), 'those ahead of it are published');
		fails("SELECT kafka_sink.skip('$feed', '0/1')", qr/has not stopped at a transaction/, 'no transaction is to be skipped');
		sql("SELECT kafka_sink.resume('$feed')") unless $again;
		# (until it is told by the next one)
		wait_until($node, "SELECT count(*) FROM kafka_sink.sink_history WHERE sink = '$feed' AND action = 'resume'", '1', 'resumed');
	}
	sql("SELECT kafka_sink.skip('$feed')");
	is(sql("SELECT skip_at FROM kafka_sink.feed_copies WHERE feed = '$feed'"), '{"id integer": "123"}', 'the row can be skipped');
	fails("SELECT kafka_sink.skip('$feed')", qr/has not stopped at a transaction/, 'once');
	sql("SELECT kafka_sink.resume('$feed')");
	published($feed);
	is(join(' ', map { $_->[2] } $kafka->records($rows)), join(' ', 1 .. 122, 124 .. 300), 'and all others are published, once');
	is(history($feed, $history), 'resume skip resume skipped', 'which the history has');
	is(sql("SELECT coalesce(old, new)->>'key' FROM kafka_sink.sink_history WHERE sink = '$feed' AND action = 'skipped'"), '{"id integer": "123"}', 'with its key');
	is(sql("SELECT skip_at IS NULL AND stopped_at IS NULL FROM kafka_sink.feed_copies WHERE feed = '$feed'"), 't', 'and it is forgotten');
	sql("UPDATE old SET v = 'small' WHERE id = 123");
	published($feed);
	is(join(' ', map { $_->[2] } ($kafka->records($rows))[299]), '123', 'when it is changed it comes');
	sql("UPDATE old SET v = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 200)) WHERE id = 123; SELECT kafka_sink.drop_feed('$feed')");
}

done_testing();
