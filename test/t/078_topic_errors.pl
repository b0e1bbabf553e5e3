# An error of one topic halts that topic, and the sink's others go on: unless
# foreign keys link their targets, or the sink is to halt as a whole.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

sub error_of { return ($node->psql('postgres', "\\set VERBOSITY verbose\n$_[0]"))[2]; }

# A sink over topics of two partitions, one table for all.
sub create_sink
{
	my ($name, $topics, $settings) = @_;
	my @topics = map { $kafka->topic("$name-$_", 2) } @$topics;

	sql(qq{
		CREATE TABLE $name (id int, topic text);
		SELECT kafka_sink.create_sink('$name', server => 'kafka', target => '$name', columns => '{"topic": "\@topic"}', $settings);
		SELECT kafka_sink.register_topic('$name', t) FROM unnest('{@{[ join ',', @topics ]}}'::text[]) t;
		CALL kafka_sink.wait_for('$name', timeout => '3 min')});
	return @topics;
}

# Records into partition 0 (or another), with ids from ... to.
sub produce
{
	my ($topic, $from, $to, $part) = @_;

	return $kafka->produce($topic, $part // 0, map { [ undef, qq({"id": $_}) ] } $from .. $to);
}

sub produce_bad { return $kafka->produce($_[0], $_[1] // 0, [ undef, '{"id": "bad"}' ]); }

sub has
{
	my ($sink, $topic, $n, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT count(*), count(DISTINCT id) FROM $sink WHERE topic = '$topic'", "$n|$n", $what);
}

create_server($node, $kafka);

# --- a bad record ---

my ($good, $bad) = create_sink('alone', [qw(good bad)], "idle_after => '0'");
produce($bad, 1, 3);
produce_bad($bad);
produce($bad, 4, 6);
produce($bad, 7, 9, 1);
becomes("SELECT halted_topics = '{$bad}' FROM kafka_sink.sinks WHERE sink = 'alone'", 'a topic halts');
produce($good, 1, 5);
has('alone', $good, 5, 'the other one goes on');
becomes("SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'alone'", 'so does the sink');
is(sql(qq{SELECT state, sqlstate, part, off, column_name, since > now() - interval '5 min', message ~ 'integer',
		hint ~ 'skip.*$bad.*, 0, 3.*resume' FROM kafka_sink.sink_topics WHERE topic = '$bad'}), 'halted|22P02|0|3|id|t|t|t', 'its error');
is(sql("SELECT state FROM kafka_sink.sink_topics WHERE topic = '$good'"), '', 'the other one has none');
is(sql("SELECT off FROM kafka_sink.txn_offsets WHERE topic = '$bad' AND part = 0"), '3', 'what is before it is there');
wait_for_log($node, qr/topic "$bad" of sink "alone" halted: /, 0, 'the log tells');
like(error_of("CALL kafka_sink.wait_for('alone')"),
	qr/ERROR:  22P02: invalid input syntax.*HINT:  .*skip.*CONTEXT:  topic "$bad" of sink "alone" is halted: topic "$bad", partition 0, offset 3, column "id"/s,
	'wait_for raises it');
sql(qq{CALL kafka_sink.wait_for('alone', until => '{"$good": {"0": 5}}')});
pass('unless something else is waited for');
like(error_of(qq{CALL kafka_sink.wait_for('alone', until => '{"$good": {"0": 5}, "$bad": {"0": 4}}')}), qr/22P02/, 'both are');
# (it may have halted before the last records were there)
is(sql("SELECT end_offset, lag, as_of > now() - interval '5 min' FROM kafka_sink.lag('alone', refresh => true, timeout => '2 min') WHERE topic = '$bad' AND part = 0"), '7|4|t',
	'how far it is behind is known');
is(sql("SELECT count(*) > 0 FROM kafka_sink.preview('alone', 10, timeout => '2 min') WHERE topic = '$bad' AND sqlstate = '22P02'"), 't', 'preview shows it');
is(sql(qq{SELECT applied FROM kafka_sink.ingest('alone', ARRAY[ROW('$bad', NULL, NULL, NULL, NULL, '{"id": 100}', NULL)::kafka_sink.record])}),
	'1', 'ingest does not mind');
sql("DELETE FROM alone WHERE id = 100");

# over a restart, and by its own
$node->restart;
produce($good, 6, 10, 1);
has('alone', $good, 10, 'after a restart the other one goes on');
is(sql("SELECT halted_topics FROM kafka_sink.sinks WHERE sink = 'alone'"), "{$bad}", 'it is halted still');
sql("SELECT kafka_sink.resume('alone', '$bad')");
becomes("SELECT count(*) = 1 FROM kafka_sink.sink_topics WHERE topic = '$bad' AND state = 'halted' AND off = 3", 'resume alone does not help');
sql("SELECT kafka_sink.skip('alone', '$bad', 0, 3); SELECT kafka_sink.resume('alone', '$bad')");
has('alone', $bad, 9, 'skip and resume: it goes on');
is(sql("SELECT state, halted_topics FROM kafka_sink.sinks WHERE sink = 'alone'"), 'running|', 'and says so');
sql("CALL kafka_sink.wait_for('alone', timeout => '3 min')");

# --- the last one halts the sink ---

produce_bad($bad);
becomes("SELECT halted_topics = '{$bad}' FROM kafka_sink.sinks WHERE sink = 'alone'", 'a topic halts');
produce_bad($good);
wait_until($node, "SELECT state, sqlstate, topic, part, off FROM kafka_sink.sinks WHERE sink = 'alone'", "halted|22P02|$good|0|5",
	'the last one halts the sink');
becomes("SELECT count(*) = 0 FROM kafka_sink.stat_sinks WHERE sink = 'alone' AND pid IS NOT NULL", 'no worker is left');
is(sql("SELECT sum(lag) FROM kafka_sink.lag WHERE sink = 'alone'"), '2', 'its lag is known');
sql(qq{SELECT kafka_sink.skip('alone', '$good', 0, 5); SELECT kafka_sink.skip('alone', '$bad', 0, 7); SELECT kafka_sink.resume('alone');
	CALL kafka_sink.wait_for('alone', timeout => '3 min')});
is(sql("SELECT halted_topics FROM kafka_sink.sinks WHERE sink = 'alone'"), '', 'resume clears all');

# --- a record that waits for long: what becomes of it is seen at the end of this file ---

my $patient = $kafka->topic('patient', 1);
sql(qq{
	CREATE TABLE parents (id int PRIMARY KEY);
	CREATE TABLE children (id int REFERENCES parents);
	SELECT kafka_sink.create_sink('patient', server => 'kafka', target => 'children', retry_within => '1 day');
	SELECT kafka_sink.register_topic('patient', '$patient')});
produce($patient, 1, 1);
my $patience = "SELECT concat_ws('|', state, waits_for) FROM kafka_sink.sinks WHERE sink = 'patient'";
wait_until($node, $patience, 'waiting|row', 'a record waits for a row');

# --- as a whole ---

my ($one, $two) = create_sink('whole', [qw(one two)], "on_topic_error => 'halt_sink'");
produce_bad($two);
wait_until($node, "SELECT state, topic, halted_topics FROM kafka_sink.sinks WHERE sink = 'whole'", "halted|$two|", 'halt_sink');

# --- linked by foreign keys ---

my ($orders, $lines) = map { $kafka->topic($_, 1) } qw(orders lines);
sql(qq{
	CREATE TABLE orders (id int PRIMARY KEY);
	CREATE TABLE lines (id int REFERENCES orders, line int);
	SELECT kafka_sink.create_sink('linked', server => 'kafka');
	SELECT kafka_sink.register_topic('linked', '$orders', target => 'orders');
	SELECT kafka_sink.register_topic('linked', '$lines', target => 'lines')});
produce_bad($lines);
wait_until($node, "SELECT state, topic, halted_topics FROM kafka_sink.sinks WHERE sink = 'linked'", "halted|$lines|", 'linked topics: all of the sink');

# one that is not linked goes on, whichever of the three halts
my ($customers, $news);
($customers, $orders, $lines, $news) = map { $kafka->topic($_, 1) } qw(customers orders2 lines2 news);
my %table = ($customers => 'c_customers', $orders => 'c_orders', $lines => 'c_lines', $news => 'c_news');
sql(qq{
	CREATE TABLE c_customers (id int PRIMARY KEY);
	CREATE TABLE c_orders (id int PRIMARY KEY REFERENCES c_customers);
	CREATE TABLE c_lines (id int REFERENCES c_orders);
	CREATE TABLE c_news (id int);
	SELECT kafka_sink.create_sink('chain', server => 'kafka', idle_after => '0');
	SELECT kafka_sink.register_topic('chain', t, target => r::regclass)
		FROM unnest('{@{[ join ',', sort keys %table ]}}'::text[], '{@{[ join ',', @table{sort keys %table} ]}}'::text[]) u (t, r)});
my $news_id = 0;
foreach my $first ($lines, $customers, $orders)
{
	my @linked = sort $customers, $orders, $lines;

	produce_bad($first);
	becomes("SELECT halted_topics = '{@{[ join ',', @linked ]}}' AND state = 'running' FROM kafka_sink.sinks WHERE sink = 'chain'",
		"$table{$first} halts, with what foreign keys link with it");
	produce($news, $news_id + 1, $news_id + 3);
	$news_id += 3;
	wait_until($node, 'SELECT count(*) FROM c_news', $news_id, 'the one that is not linked goes on');
	is(sql(qq{SELECT string_agg(sqlstate || ' ' || (message = (SELECT message FROM kafka_sink.sink_topics WHERE topic = '$first')) || ' '
			|| (message LIKE 'topic "$first" halted: invalid input syntax%') || ' ' || COALESCE(part || ':' || off, '-'), ', ' ORDER BY topic <> '$first')
			FROM kafka_sink.sink_topics WHERE sink = 'chain' AND state = 'halted'}),
		"22P02 true false 0:0, 22P02 false true -, 22P02 false true -", 'each tells whose error it is');
	like(error_of("CALL kafka_sink.wait_for('chain')"), qr/ERROR:  22P02: .*HINT:  .*skip\('chain', '\Q$first\E', 0, 0\)/s, 'so does wait_for');
	# of another than the one that has met it
	my ($other) = grep { $_ ne $first } @linked;
	sql(qq{SELECT kafka_sink.skip('chain', '$first', 0, 0); SELECT kafka_sink.resume('chain', '$other')});
	becomes("SELECT halted_topics IS NULL AND state = 'running' FROM kafka_sink.sinks WHERE sink = 'chain'", 'they go on together');
}
produce_bad($orders);
becomes("SELECT cardinality(halted_topics) = 3 FROM kafka_sink.sinks WHERE sink = 'chain'", 'again');
sql(qq{SELECT kafka_sink.unregister_topic('chain', '$orders')});
becomes("SELECT halted_topics IS NULL AND state = 'running' FROM kafka_sink.sinks WHERE sink = 'chain'", 'without that topic nothing is halted');
produce_bad($lines);
becomes("SELECT halted_topics = '{$lines}' FROM kafka_sink.sinks WHERE sink = 'chain'", 'and the others are not linked any more');

# topics of one table, which refers to itself
my @trees = map { $kafka->topic("tree-$_", 1) } qw(a b);
my $apart = $kafka->topic('tree-apart', 1);
sql(qq{
	CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree);
	SELECT kafka_sink.create_sink('tree', server => 'kafka', target => 'tree');
	SELECT kafka_sink.register_topic('tree', t) FROM unnest('{$trees[0],$trees[1]}'::text[]) t;
	SELECT kafka_sink.register_topic('tree', '$apart', target => 'c_news')});
produce_bad($trees[1]);
becomes("SELECT halted_topics = '{$trees[0],$trees[1]}' AND state <> 'halted' FROM kafka_sink.sinks WHERE sink = 'tree'",
	'topics of a table that refers to itself halt together');

# --- several workers ---

($good, $bad) = create_sink('many', [qw(good bad)], "workers => 2, idle_after => '0'");
produce($bad, 1, 3, 1);
produce_bad($bad, 1);
becomes("SELECT halted_topics = '{$bad}' FROM kafka_sink.sinks WHERE sink = 'many'", 'with two workers');
produce($good, 1, 5, 0);
produce($good, 6, 10, 1);
produce($bad, 11, 12, 0);
has('many', $good, 10, 'both go on');
has('many', $bad, 3, 'without any of its partitions');
becomes("SELECT state = 'running' FROM kafka_sink.sinks WHERE sink = 'many'", 'in good health');
sql(qq{SELECT kafka_sink.skip('many', '$bad', 1, 3); SELECT kafka_sink.resume('many')});
has('many', $bad, 5, 'resume');

# --- a topic that does not exist yet ---

my $late = $kafka->topic('many-late');
sql("SELECT kafka_sink.register_topic('many', '$late')");
becomes("SELECT (state, waits_for, topic) = ('waiting', 'topic', '$late') AND message ~ 'does not exist' FROM kafka_sink.sinks WHERE sink = 'many'",
	'a topic that is missing');
produce($_, 21, 22, $_ eq $good ? 1 : 0) foreach $good, $bad;
has('many', $good, 12, 'the others go on');
has('many', $bad, 7, 'all of them');
is(sql("SELECT cluster_id FROM kafka_sink.sink_topics WHERE topic = '$late'"), '', 'it is of no cluster yet');
$kafka->create_topic($late, 2);
produce($late, 1, 3, $_) foreach 0, 1;
wait_until($node, "SELECT count(*) FROM many WHERE topic = '$late'", 6, 'it is there');
becomes("SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'many'", 'in good health');

# --- one that is missing goes on when it is there ---

($bad) = create_sink('apart', ['bad'], "idle_after => '0'");
$late = $kafka->topic('apart-late');
sql("SELECT kafka_sink.register_topic('apart', '$late')");
becomes("SELECT (state, topic) = ('waiting', '$late') FROM kafka_sink.sinks WHERE sink = 'apart'", 'a topic is missing');
produce_bad($bad);
becomes("SELECT state = 'waiting' AND halted_topics = '{$bad}' FROM kafka_sink.sinks WHERE sink = 'apart'", 'the other one halts alone');
$kafka->create_topic($late, 2);
produce($late, 1, 3);
has('apart', $late, 3, 'and does not keep it from coming');

# --- one that is denied ---

my $mock = start_mock(brokers => 1);
create_server($node, $mock, name => 'mock');
$mock->command("topic $_ 2") foreach qw(open shut);
$mock->produce($_, 0, map { [ undef, qq({"id": $_}) ] } 1 .. 3) foreach qw(open shut);
$mock->command('topic_error shut 29');
sql(q{
	CREATE TABLE denied (id int, topic text);
	SELECT kafka_sink.create_sink('denied', server => 'mock', target => 'denied', columns => '{"topic": "@topic"}', idle_after => '0');
	SELECT kafka_sink.register_topic('denied', t) FROM unnest('{open,shut}'::text[]) t});
has('denied', 'open', 3, 'the other one is consumed');
my $denial = q{waiting|broker|42501|shut|could not ask for the partitions of topic "shut": Broker: Topic authorization failed|The sink's other topics are consumed.|Grant the principal READ and DESCRIBE on the topic in Kafka.};
my $said = q{SELECT state, waits_for, sqlstate, topic, message, detail, hint FROM kafka_sink.sinks WHERE sink = 'denied'};
wait_until($node, $said, $denial, 'and its state says so');
$mock->produce('open', 1, map { [ undef, qq({"id": $_}) ] } 4 .. 6);
has('denied', 'open', 6, 'it goes on');
is(sql($said), $denial, 'and so does the error');
like(error_of(q{SELECT kafka_sink.pause('denied')}), qr/^$/, 'paused');
becomes("SELECT count(*) = 0 FROM kafka_sink.stat_sinks WHERE sink = 'denied' AND pid IS NOT NULL", 'it ends');
like(error_of(q{CALL kafka_sink.run('denied')}), qr/ERROR:  42501: could not ask for the partitions of topic "shut": Broker: Topic authorization failed\nHINT:  Grant/, 'run() says it, too');
$mock->command('topic_error open 29');
sql(q{SELECT kafka_sink.resume('denied')});
wait_until($node, $said =~ s/waits_for, sqlstate, .*? FROM/waits_for, sqlstate, topic, message LIKE 'could not ask for the partitions%', detail, hint IS NOT NULL FROM/r,
	qr/^waiting\|broker\|42501\|(shut)?\|t\|\|t$/, 'if all are denied, it waits as a whole');
$mock->command("topic_error $_ 0") foreach qw(open shut);
has('denied', 'shut', 3, 'when it is allowed, it is consumed');
has('denied', 'open', 6, 'and nothing twice');
becomes("SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'denied'", 'in good health');
sql(q{SELECT kafka_sink.pause('denied')});
becomes("SELECT count(*) = 0 FROM kafka_sink.stat_sinks WHERE sink = 'denied' AND pid IS NOT NULL", 'a right that is taken away');
$mock->produce($_, 0, map { [ undef, qq({"id": $_}) ] } 11 .. 12) foreach qw(open shut);
$mock->command('topic_error shut 29');
sql(q{SELECT kafka_sink.resume('denied')});
has('denied', 'open', 8, 'keeps no other from going on');
wait_until($node, $said, $denial, 'and is said');
$mock->command('topic_error shut 0');
has('denied', 'shut', 5, 'given again, all of it is there');

# --- a new one that has a partition without a leader ---

# Records into the partitions of a topic, each of which is one of @ids.
sub produce_led
{
	my ($topic, $part, @ids) = @_;

	return $mock->produce($topic, $part, map { [ undef, qq({"id": $_}) ] } @ids);
}
$mock->command("topic $_ 2") foreach qw(led headless later);
foreach my $topic (qw(led headless later))
{
	produce_led($topic, 0, 1 .. 3);
	produce_led($topic, 1, 4 .. 6);
}
sql(q{
	CREATE TABLE headless (id int, topic text);
	SELECT kafka_sink.create_sink('headless', server => 'mock', target => 'headless', columns => '{"topic": "@topic"}', idle_after => '0');
	SELECT kafka_sink.register_topic('headless', 'led')});
has('headless', 'led', 6, 'a topic is consumed');
$mock->command("leader $_ 1 -1") foreach qw(headless later);
sql(q{SELECT kafka_sink.register_topic('headless', 'headless')});
my $without = q{waiting|broker|08006|headless|1|partition 1 of topic "headless" has no leader|Where it begins cannot be found out.  What the sink has begun to consume is consumed.|See to the brokers that have its replicas.};
$said = q{SELECT state, waits_for, sqlstate, topic, part, message, detail, hint FROM kafka_sink.sinks WHERE sink = 'headless'};
wait_until($node, $said, $without, 'a partition of another one has no leader: the state says so');
produce_led('led', 0, 11 .. 13);
has('headless', 'led', 9, 'the first one goes on');
has('headless', 'headless', 3, 'and of the other one what can be consumed is');
sql(q{SELECT kafka_sink.register_topic('headless', 'later', start_at => 'latest')});
produce_led('led', 1, 14);
has('headless', 'led', 10, 'with a third one');
wait_until($node, $said, $without =~ s/headless/later/gr, 'which waits, too');
is(sql(q{SELECT string_agg(topic || part, ' ' ORDER BY topic, part) FROM kafka_sink.txn_offsets WHERE sink = 'headless'}), 'headless0 led0 led1',
	'a topic that does not begin at its beginning waits for all of its partitions');
$mock->command("leader headless 1 1");
has('headless', 'headless', 6, 'with a leader it is consumed, from its beginning');
wait_until($node, q{SELECT topic, part FROM kafka_sink.sinks WHERE sink = 'headless'}, 'later|1', 'the other one waits');
$mock->command("leader later 1 1");
becomes("SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'headless'", 'in good health');
is(sql(q{SELECT string_agg(part || ' ' || start_off, ', ' ORDER BY part) FROM kafka_sink.txn_offsets WHERE sink = 'headless' AND topic = 'later'}), '0 3, 1 3',
	'which begins where start_at says, in all of its partitions');
produce_led('later', $_, 20 + $_) foreach 0, 1;
has('headless', 'later', 2, 'and goes on');

# --- one that loses its leader ---

$mock->command('leader led 1 -1');
my $lost = q{waiting|broker|08006|led|1|partition 1 of topic "led" has no leader||See to the brokers that have its replicas.};
wait_until($node, $said, $lost, 'a partition that loses its leader: the state says so');
produce_led('led', 0, 31);
has('headless', 'led', 11, 'others are consumed');
becomes(q{SELECT a.as_of > b.as_of FROM kafka_sink.lag a, kafka_sink.lag b WHERE (a.sink, a.topic, a.part) = ('headless', 'led', 0) AND (b.sink, b.topic, b.part) = ('headless', 'led', 1)},
	'what is known of its end is from before');
$mock->command('down 1');
wait_until($node, $said, qr/^waiting\|broker\|08006\|\|\|could not connect to Kafka\|/, 'all brokers are away: that is what is said');
$mock->command('up 1');
wait_until($node, $said, $lost, 'and when they are back, what is true still');
$mock->command('leader led 1 1');
becomes("SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'headless'", 'when it has one, all is well');
produce_led('led', 1, 32);
has('headless', 'led', 12, 'and consumed');

# --- a log that is lost, a topic that is gone ---

($good, $bad) = create_sink('lost', [qw(good bad)], "idle_after => '0'");
my $gone = $kafka->topic('lost-gone', 1);
sql("SELECT kafka_sink.register_topic('lost', '$gone')");
produce($_, 1, 3) foreach $bad, $gone;
has('lost', $_, 3, 'consumed') foreach $bad, $gone;
sql("SELECT kafka_sink.pause('lost')");
becomes("SELECT count(*) = 0 FROM kafka_sink.stat_sinks WHERE sink = 'lost' AND pid IS NOT NULL", 'paused');
is(sql("SELECT sum(lag), count(as_of) FROM kafka_sink.lag WHERE sink = 'lost'"), '0|5', 'a paused sink has its last known lag');
$kafka->delete_topic($_) foreach $bad, $gone;
$kafka->create_topic($bad, 2);
produce($bad, 11, 20);
sql("SELECT kafka_sink.resume('lost')");
wait_until($node, "SELECT string_agg(topic || ' ' || message, ', ' ORDER BY topic) FROM kafka_sink.sink_topics WHERE sink = 'lost' AND state = 'halted'",
	qq{$bad the log is not the one that was consumed, $gone topic "$gone" was deleted}, 'each has its own error');
produce($good, 1, 5);
has('lost', $good, 5, 'the other one goes on');
is(sql("SELECT part IS NULL AND off IS NULL FROM kafka_sink.sink_topics WHERE topic = '$gone'"), 't', 'a whole topic has no place');
sql(qq{SELECT kafka_sink.unregister_topic('lost', '$gone'); SELECT kafka_sink.seek('lost', '{"$bad": {"0": 0}}'); SELECT kafka_sink.resume('lost', '$bad');
	CALL kafka_sink.wait_for('lost', timeout => '3 min')});
has('lost', $bad, 13, 'seek and resume');
is(sql("SELECT state, halted_topics FROM kafka_sink.sinks WHERE sink = 'lost'"), 'running|', 'all is well');

# --- a topic is given its time, however long its partitions have had other errors ---

becomes("SELECT since < now() - interval '31 s' FROM kafka_sink.sinks WHERE sink = 'patient'", 'a record has waited for longer than that');
is(sql($patience), 'waiting|row', 'and waits');
$kafka->delete_topic($patient);
my $then;
KafkaSinkTest::_poll(sub { return ($then = sql($patience)) ne 'waiting|row' });
is($then, 'waiting|topic', 'when its topic is gone, that is waited for');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
