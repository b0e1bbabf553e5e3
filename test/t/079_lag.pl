# What people are told of a sink: how far behind it is when nothing runs, what a
# worker waits for, and what CALL wait_for says when it cannot arrive.
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

sub lag { return sql("SELECT part, off, end_offset, lag, high_watermark, open_transaction_lag FROM kafka_sink.lag WHERE sink = '$_[0]' ORDER BY part"); }

sub refresh
{
	return sql("SELECT part, off, end_offset, lag, high_watermark, open_transaction_lag FROM kafka_sink.lag('$_[0]', refresh => true, timeout => '2 min')");
}

create_server($node, $kafka);

# --- a sink that is paused ---

my $topic = $kafka->topic('paused', 2);
sql(qq{
	CREATE TABLE paused (id int);
	SELECT kafka_sink.create_sink('paused', server => 'kafka', target => 'paused', idle_after => '0');
	SELECT kafka_sink.register_topic('paused', '$topic')});
$kafka->produce($topic, 0, map { [ undef, qq({"id": $_}) ] } 1 .. 5);
sql("CALL kafka_sink.wait_for('paused', timeout => '3 min')");
becomes("SELECT count(as_of) = 2 AND bool_and(as_of > now() - interval '5 min') FROM kafka_sink.lag WHERE sink = 'paused'",
	'figures of a running worker have an age');
sql("SELECT kafka_sink.pause('paused')");
becomes("SELECT count(*) = 0 FROM kafka_sink.stat_sinks WHERE sink = 'paused' AND pid IS NOT NULL", 'paused');
is(lag('paused'), "0|5|5|0|5|0\n1|0|0|0|0|0", 'the last known lag');
my $as_of = sql("SELECT as_of FROM kafka_sink.lag WHERE sink = 'paused' AND part = 0");
$kafka->produce($topic, 0, map { [ undef, qq({"id": $_}) ] } 6 .. 8);
is(lag('paused'), "0|5|5|0|5|0\n1|0|0|0|0|0", 'nobody knows of what came later');
is(refresh('paused'), "0|5|8|3|8|0\n1|0|0|0|0|0", 'unless Kafka is asked');
is(lag('paused'), "0|5|8|3|8|0\n1|0|0|0|0|0", 'which is remembered');
is(sql("SELECT as_of > '$as_of' AND low_watermark = 0 FROM kafka_sink.stat_partitions WHERE sink = 'paused' AND part = 0"), 't', 'as of then');

# behind an open transaction
my $open = $kafka->script('transactional.id' => "lag-$$")->to($topic);
$open->B->P(1, undef, '{"id": 100}')->P(1, undef, '{"id": 101}')->F;
is(refresh('paused'), "0|5|8|3|8|0\n1|0|0|0|2|2", 'both ends are asked for');
$open->C;
$open->end;
# (the end of the transaction is known before its partitions are)
wait_until($node, "SELECT part, off, end_offset, lag, high_watermark, open_transaction_lag FROM kafka_sink.lag('paused', refresh => true, timeout => '2 min')",
	"0|5|8|3|8|0\n1|0|3|3|3|0", 'until it is committed');
sql("SELECT kafka_sink.seek('paused', '{\"$topic\": {\"0\": 2}}')");
is(lag('paused'), "0|2||||\n1|0|3|3|3|0", 'seek() forgets');
is(refresh('paused'), "0|2|8|6|8|0\n1|0|3|3|3|0", 'ask again');

# nothing that is older takes the place of what a worker sees
sql("SELECT kafka_sink.resume('paused'); CALL kafka_sink.wait_for('paused', timeout => '3 min')");
becomes("SELECT bool_and(lag = 0) AND sum(end_offset) = 11 FROM kafka_sink.lag WHERE sink = 'paused'", 'resumed');
is(refresh('paused'), "0|8|8|0|8|0\n1|3|3|0|3|0", 'a sink that runs can be asked, too');

# figures of a clock that was set back since
sql("UPDATE kafka_sink.partition_ends SET as_of = now() + interval '1 day', last_stable = last_stable + 5, high = high + 5 WHERE sink = 'paused'");
wait_until($node, "SELECT part, off, end_offset, lag, high_watermark, open_transaction_lag FROM kafka_sink.lag WHERE sink = 'paused' ORDER BY part",
	"0|8|8|0|8|0\n1|3|3|0|3|0", 'figures from the future are not newer than what a worker sees');
is(refresh('paused'), "0|8|8|0|8|0\n1|3|3|0|3|0", 'nor than what Kafka says');
is(sql("SELECT bool_and(as_of <= now()) FROM kafka_sink.partition_ends WHERE sink = 'paused'"), 't', 'and are replaced');

# a crash of the server forgets only what is newer
$node->stop('immediate');
$node->start;
becomes("SELECT count(lag) = 2 FROM kafka_sink.lag WHERE sink = 'paused'", 'after a crash');

# --- a ledger ---

sql("SELECT kafka_sink.create_sink('ledger', server => 'kafka');
	SELECT kafka_sink.advance('ledger', '$topic', 0, NULL, 3); SELECT kafka_sink.advance('ledger', 'nowhere-$$', 0, NULL, 3)");
like(($node->psql('postgres', "SELECT part, lag FROM kafka_sink.lag('ledger', refresh => true, timeout => '2 min')"))[2], qr/WARNING: .*topic "nowhere-$$" does not exist/,
	'a topic that is not there');
is(sql("SELECT topic, off, lag FROM kafka_sink.lag WHERE sink = 'ledger' ORDER BY off, topic DESC"), "$topic|3|5\nnowhere-$$|3|", 'a ledger has a lag, too');
is(sql("SELECT kafka_sink.drop_sink('ledger'); SELECT count(*) FROM kafka_sink.partition_ends WHERE sink = 'ledger'"), "\n0", 'until it is dropped');

# --- a broker that does not answer ---

my $port = `$ENV{KAFKA_SINK_BROKER} free-port`;
chomp $port;
sql("CREATE SERVER away FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:$port');
	SELECT kafka_sink.create_sink('away', server => 'away'); SELECT kafka_sink.advance('away', 't', 0, NULL, 3)");
like(error_of("SELECT * FROM kafka_sink.lag('away', refresh => true, timeout => '1 s')"), qr/ERROR:  08006/, 'the timeout bounds it');

# --- a lock that is waited for right now ---

my $holder = $node->background_psql('postgres');
my $pid = $holder->query_safe('SELECT pg_backend_pid()');
sql("CREATE ROLE reader; SELECT kafka_sink.alter_sink('paused', lock_timeout => '0')");
becomes("SELECT state = 'running' FROM kafka_sink.sinks WHERE sink = 'paused'", 'no limit for waits');
$holder->query_safe('BEGIN; LOCK TABLE paused');
$kafka->produce($topic, 0, [ undef, '{"id": 9}' ]);
becomes(qq{SELECT (state, waits_for, message) = ('waiting', 'lock', 'waits for a lock on table "paused"') AND detail = 'It is held by process $pid (AccessExclusiveLock).'
		FROM kafka_sink.sinks WHERE sink = 'paused'}, 'a worker that waits is seen to wait, before it gives up');
is(sql("SELECT state, waits_for, pid IS NOT NULL, since > now() - interval '5 min' FROM kafka_sink.stat_sinks WHERE sink = 'paused'"), 'waiting|lock|t|t', 'in stat_sinks, too');
is(sql("SET ROLE reader; SELECT count(*) FROM kafka_sink.lock_waits()"), 0, 'that is not shown to everybody');
like(timed_out($node, "CALL kafka_sink.wait_for('paused', timeout => '%d s')"),
	qr/ERROR:  57014: timed out .*DETAIL:  Topic "$topic", partition 0 is at offset 8, wanted is 9\.  The sink is in state waiting: waits for a lock on table "paused"/s,
	'wait_for tells why it took too long');
$holder->query_safe('COMMIT');
$holder->quit;
becomes("SELECT state = 'running' AND waits_for IS NULL FROM kafka_sink.sinks WHERE sink = 'paused'", 'then it goes on');

# --- a topic that does not exist ---

my $late = $kafka->topic('late');
sql(qq{
	CREATE TABLE late (id int);
	SELECT kafka_sink.create_sink('late', server => 'kafka', target => 'late');
	SELECT kafka_sink.register_topic('late', '$late')});
becomes(q{SELECT message ~ 'does not exist' FROM kafka_sink.sinks WHERE sink = 'late'}, 'a topic that does not exist');
like(timed_out($node, "CALL kafka_sink.wait_for('late', timeout => '%d s')"),
	qr/ERROR:  57014: timed out .*DETAIL:  Topic "$late" does not exist\.  The sink is in state \w+: topic "$late" does not exist/s, 'is waited for');
my $waiting = $node->background_psql('postgres');
$waiting->query_until(qr/begun/, "\\echo begun\nCALL kafka_sink.wait_for('late', timeout => '3 min');\n");
becomes("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL kafka_sink.wait_for%3 min%' AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
	'a session waits');
$kafka->create_topic($late, 3);
$kafka->produce($late, 2, map { [ undef, qq({"id": $_}) ] } 1 .. 4);
$waiting->quit;
unlike($waiting->{stderr}, qr/ERROR/, 'until it is there');
# (it can have seen the topic before its records)
sql("CALL kafka_sink.wait_for('late', timeout => '3 min')");
is(sql('SELECT count(*) FROM late'), '4', 'and all of it is consumed');

# --- an empty topic, of which the sink has not said yet where it begins ---

my $empty = $kafka->topic('empty', 2);
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE kafka_sink.txn_offsets IN SHARE MODE');
sql(qq{
	CREATE TABLE empty (id int);
	SELECT kafka_sink.create_sink('empty', server => 'kafka', target => 'empty', lock_timeout => '0');
	SELECT kafka_sink.register_topic('empty', '$empty', start_at => 'latest')});
like(timed_out($node, "CALL kafka_sink.wait_for('empty', timeout => '%d s')"),
	qr/ERROR:  57014: timed out .*DETAIL:  Topic "$empty", partition 0 has no offset yet, wanted is 0, 1 more/s, 'is waited for');
like(error_of(qq{CALL kafka_sink.wait_for('empty', timeout => '1 s', until => '{"$empty": {"1": 0}}')}),
	qr/ERROR:  57014: timed out .*DETAIL:  Topic "$empty", partition 1 has no offset yet, wanted is 0\./s, 'also if nothing of it is asked for');
$holder->query_safe('COMMIT');
$holder->quit;
sql("CALL kafka_sink.wait_for('empty', timeout => '3 min')");
$kafka->produce($empty, $_, [ undef, '{"id": 1}' ]) foreach 0, 1;
sql("CALL kafka_sink.wait_for('empty', timeout => '3 min')");
is(sql('SELECT count(*) FROM empty'), '2', 'what is produced after it is consumed');

# --- one that is given to another role meanwhile ---

sql(q{
	CREATE ROLE giver LOGIN; CREATE ROLE taker LOGIN;
	GRANT USAGE ON FOREIGN SERVER kafka TO giver, taker;
	GRANT ALL ON empty TO giver, taker;
	SELECT kafka_sink.alter_sink('empty', owner => 'giver')});
$waiting = $node->background_psql('postgres', on_error_stop => 0);
$waiting->query_until(qr/begun/, qq(SET ROLE giver;\n\\echo begun\nCALL kafka_sink.wait_for('empty', timeout => '3 min', until => '{"$empty": {"0": 1000}}');\n));
becomes("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL kafka_sink.wait_for(''empty''%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()",
	'its owner waits for it');
sql("SELECT kafka_sink.alter_sink('empty', owner => 'taker')");
$waiting->quit;
like($waiting->{stderr}, qr/ERROR:  must be a member of the owner of sink "empty"/, 'and is told nothing of what is another\'s');

# --- a topic that is taken from the sink meanwhile, and a server ---

sub taken_away
{
	my ($sql, $error, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$waiting = $node->background_psql('postgres', on_error_stop => 0);
	$waiting->query_until(qr/begun/, qq(\\echo begun\nCALL kafka_sink.wait_for('taken');\n));
	becomes("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL kafka_sink.wait_for(''taken''%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()",
		'a session waits, without a timeout');
	sql($sql);
	$waiting->quit;
	return like($waiting->{stderr}, $error, $what);
}

my ($no, $none) = map { $kafka->topic($_) } 'no', 'none';
sql(qq{
	CREATE TABLE taken (id int);
	SELECT kafka_sink.create_sink('taken', server => 'kafka', target => 'taken');
	SELECT kafka_sink.register_topic('taken', '$no');
	SELECT kafka_sink.register_topic('taken', '$none')});
taken_away("SELECT kafka_sink.unregister_topic('taken', '$no')",
	qr/ERROR:  topic "$no" is not registered with sink "taken" any more/, 'a topic that is unregistered is not waited for');
taken_away(q{SELECT kafka_sink.alter_sink('taken', reset => '{server}')},
	qr/ERROR:  sink "taken" has no server to consume from/, 'nor is anything without a server');

# --- a sink that is halted ---

$kafka->produce($late, 0, [ undef, '{"id": "bad"}' ]);
becomes("SELECT state = 'halted' FROM kafka_sink.sinks WHERE sink = 'late'", 'halted');
like(error_of("CALL kafka_sink.wait_for('late', timeout => '3 min')"), qr/ERROR:  22P02: invalid input syntax.*HINT:  .*skip.*CONTEXT:  sink "late" is halted: topic "$late", partition 0, offset 0, column "id"/s,
	'its error is that of wait_for');
is(sql("SELECT lag FROM kafka_sink.lag WHERE sink = 'late' AND part = 0"), 1, 'its lag is known');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
