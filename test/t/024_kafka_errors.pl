# What Kafka refuses, and what becomes of it: codes that a mock cluster answers
# with, brokers that are away, slow, or something else.  A sink halts with the
# right words or goes on by itself, and neither loses a record nor applies one twice.
use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();
my $mock = start_mock(brokers => 2);
my $fetch = 1;		# the request of the protocol

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub error_of
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1);

	return $rc == 0 ? "none: $out" : $err;
}

create_server($node, $mock, name => 'mock', options => "reconnect_backoff_max_ms '200'");

# --- a function that reads: codes that end it, codes that pass ---

my %halts = (
	2 => [ 'XX001', 'Invalid message', 'accept_gap' ],
	10 => [ '54000', 'Message size too large', 'max_record_bytes' ],
	17 => [ '42602', 'Invalid topic', 'unregister_topic' ],
	18 => [ '54000', 'Message batch larger', 'max_record_bytes' ],
	35 => [ '0A000', 'version not supported', 'librdkafka' ],
	76 => [ '0A000', 'Unsupported compression', 'librdkafka' ],
	87 => [ 'XX001', 'failed to validate', 'accept_gap' ]);
my %passes = (
	3 => 'no such topic', 5 => 'no leader', 6 => 'another leader', 7 => 'timed out', 8 => 'no broker', 9 => 'no replica',
	13 => 'network', 29 => 'denied', 31 => 'denied', 33 => 'mechanism', 34 => 'SASL', 42 => 'any other', 56 => 'storage',
	58 => 'not authenticated', 74 => 'fenced', 75 => 'epoch', 78 => 'not yet');

$mock->command('topic look 1');
$mock->produce('look', 0, [ undef, '{"id": 1}' ], [ undef, '{"id": 2}' ]);
foreach my $code (sort { $a <=> $b } keys %halts, keys %passes)
{
	my $h = $halts{$code};
	my $said;

	# (a request that the session before has left behind can take the answer)
	KafkaSinkTest::_poll(
		sub {
			$mock->command("push_errors $fetch $code");
			$said = error_of(q{SELECT string_agg(off::text, ' ') FROM kafka_sink.peek('mock', 'look', 0, timeout => '2 min')});
			return !$h || $said !~ /^none: 0 1$/;
		});
	if ($h)
	{
		like($said, qr/ERROR:  $h->[0]: could not fetch from topic "look", partition 0\nDETAIL:  Broker: .*$h->[1].*\nHINT:  .*$h->[2]/,
			"peek: $code is an error");
	}
	else
	{
		is($said, 'none: 0 1', "peek: $code ($passes{$code}) is tried again, and nothing is missing or twice");
	}
}
# one that does not pass: the time is up, and Kafka's word is told (if it has said
# any by then)
my $said;
KafkaSinkTest::_poll(
	sub {
		$mock->command("clear_errors $fetch");
		$mock->command("push_errors $fetch" . ' 42' x 15);
		$said = error_of(q{SELECT * FROM kafka_sink.peek('mock', 'look', 0, timeout => '1 s')});
		return $said !~ /ERROR:  57014: timed out while reading from Kafka\nHINT/;
	});
like($said, qr/ERROR:  57014: timed out while reading from Kafka\nDETAIL:  Kafka said: could not fetch from topic "look", partition 0\.\nHINT/,
	'peek: what does not pass');
$mock->command("clear_errors $fetch");
is(error_of(q{SELECT string_agg(off::text, ' ') FROM kafka_sink.peek('mock', 'look', 0, timeout => '3 min')}), 'none: 0 1', 'until it does');

# --- the log is not what it should be ---

my $short = $kafka->topic('short', 1);
create_server($node, $kafka);
$kafka->produce($short, 0, map { [ undef, qq({"id": $_}) ] } 1 .. 5);
sql(qq{
	CREATE TABLE short (id int);
	SELECT kafka_sink.create_sink('short', server => 'kafka', target => 'short', enabled => false);
	SELECT kafka_sink.register_topic('short', '$short');
	CALL kafka_sink.run('short')});
$kafka->delete_topic($short);
$kafka->create_topic($short, 1);
like(error_of(q{SELECT * FROM kafka_sink.preview('short', 1, timeout => '3 min')}), qr/ERROR:  55000: the log ends before the offset\nDETAIL:  End of the log: 0\./,
	'preview: a log that is shorter than it was');
$kafka->produce($short, 0, map { [ undef, qq({"id": 10$_}) ] } 1 .. 7);
like(error_of(q{SELECT * FROM kafka_sink.preview('short', 1, timeout => '3 min')}),
	qr/ERROR:  55000: the log is not the one that was read\nDETAIL:  Another record stands at offset 4 now\./, 'preview: another log');
$kafka->delete_records($short, 0, 6);
like(error_of(q{SELECT * FROM kafka_sink.preview('short', 1, timeout => '3 min')}),
	qr/ERROR:  55000: records were deleted before they were read\nDETAIL:  The log begins at 6\./, 'preview: a log that has lost its beginning');

# --- sinks: halted, and on again ---

my $id = 0;

sub produce
{
	my ($topic, $part) = @_;

	$mock->produce($topic, $part // 0, [ undef, sprintf '{"id": %d}', ++$id ]);
	return;
}

sub create_sink
{
	my ($sink, $partitions, $settings) = @_;

	$mock->command("topic $sink $partitions");
	produce($sink, $_) foreach 0 .. $partitions - 1;
	sql(qq{
		CREATE TABLE $sink (id int);
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => 'mock', target => '$sink'$settings);
		SELECT kafka_sink.register_topic('$sink', '$sink');
		COMMIT;
	});
	wait_until($node, "SELECT count(*) FROM $sink", $partitions, "$sink: it runs");
	return;
}

sub accounts
{
	my ($sink) = @_;

	return sql(qq{SELECT count(*), count(DISTINCT id), (SELECT sum(consumed) || ' ' || sum(gaps) FROM kafka_sink.txn_offsets WHERE sink = '$sink') FROM $sink});
}

create_sink('halting', 1, '');
my $rows = 1;
foreach my $code (sort { $a <=> $b } keys %halts)
{
	my ($sqlstate, $detail, $hint) = @{ $halts{$code} };

	$mock->command("push_errors $fetch $code");
	wait_until($node, q{SELECT concat_ws('|', state, sqlstate, topic, part, off, message, detail, hint, waits_for) FROM kafka_sink.sinks WHERE sink = 'halting'},
		qr/^halted\|$sqlstate\|halting\|0\|$rows\|could not fetch from topic "halting", partition 0\|[^|]*$detail[^|]*\|[^|]*$hint[^|]*$/, "$code: it halts");
	is(accounts('halting'), "$rows|$rows|$rows 0", "$code: at its offset");
	produce('halting');
	$rows++;
	sql(q{SELECT kafka_sink.resume('halting')});
	wait_until($node, 'SELECT count(*) FROM halting', $rows, "$code: it goes on");
}
is(accounts('halting'), "$rows|$rows|$rows 0", 'nothing is missing or twice');

# (whose requests would take what is meant for others)
sql(q{SELECT kafka_sink.drop_sink('halting')});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink halting'}, 0, 'the worker leaves');

# --- sinks: what passes ---

create_sink('passing', 2, '');
foreach my $code (31, 42, 7)
{
	my $log = -s $node->logfile;
	my $count = sql('SELECT count(*) FROM passing') + 2;

	$mock->command("push_errors $fetch" . " $code" x 2);
	wait_for_log($node, qr/sink "passing": could not fetch from topic "passing", partition [01]/, $log, "$code: it says so");
	produce('passing', $_) foreach 0, 1;
	wait_until($node, 'SELECT count(*) FROM passing', $count, "$code: and goes on");
	wait_until($node, q{SELECT state, message IS NULL FROM kafka_sink.sinks WHERE sink = 'passing'}, 'running|t', "$code: it runs");
	is(accounts('passing'), "$count|$count|$count 0", "$code: nothing is missing or twice");
}

# many partitions, each of which is tried again in its own time: one of them is told of
my $crowd = 12;
create_sink('crowd', $crowd, '');
my $log = -s $node->logfile;
$mock->command("push_errors $fetch" . ' 42' x 30);
wait_for_log($node, qr/sink "crowd": could not fetch from topic "crowd", partition \d/, $log, 'many partitions fail');
produce('crowd', $_) foreach 0 .. $crowd - 1;
wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM crowd', 2 * $crowd . '|' . 2 * $crowd, 'all of them go on');
wait_until($node, q{SELECT state, message IS NULL FROM kafka_sink.sinks WHERE sink = 'crowd'}, 'running|t', 'and it runs');
cmp_ok(scalar(() = slurp_file($node->logfile, $log) =~ /sink "crowd": could not fetch/g), '<', 4, 'and not each of them was told of');
sql(q{SELECT kafka_sink.drop_sink('crowd')});

# --- brokers that are away ---

# seen to be back by what arrives, or by the statistics
foreach my $interval ('10 minutes', '100 ms')
{
	my $sink = $interval eq '10 minutes' ? 'arrival' : 'statistics';

	create_sink($sink, 2, ", statistics_interval => '$interval'");
	# several times: each is trouble, and the end of it
	foreach my $round (1, 2)
	{
		$mock->command("down $_") foreach 1, 2;
		wait_until($node, "SELECT state, sqlstate, message FROM kafka_sink.sinks WHERE sink = '$sink'",
			qr/^waiting\|08\d\d\d\|could not connect to Kafka/, "$sink: no broker, round $round");
		$mock->command("up $_") foreach 1, 2;
		produce($sink, $_) foreach 0, 1;
		wait_until($node, "SELECT count(*), count(DISTINCT id) FROM $sink", (2 + 2 * $round) . '|' . (2 + 2 * $round), "$sink: it goes on");
		wait_until($node, "SELECT state, message IS NULL FROM kafka_sink.sinks WHERE sink = '$sink'", 'running|t', "$sink: and says so");
	}
}

# what is known of a topic that is not there outlives it
my $own = start_broker();
create_server($node, $own, name => 'own', options => "reconnect_backoff_max_ms '200'");
$own->create_topic('there', 1);
sql(q{
	CREATE TABLE two (id int);
	BEGIN;
	SELECT kafka_sink.create_sink('two', server => 'own', target => 'two');
	SELECT kafka_sink.register_topic('two', t) FROM unnest('{there,not-there}'::text[]) t;
	COMMIT});
my $missing = qr/^(waiting|backoff)\|42704\|topic "not-there" does not exist/;
my $two = q{SELECT state, sqlstate, message FROM kafka_sink.sinks WHERE sink = 'two'};
wait_until($node, $two, $missing, 'one of two topics is not there');
$own->stop;
wait_until($node, $two, qr/^waiting\|08\d+\|could not connect to Kafka/, 'then no broker is');
$own->start;
$own->produce('there', 0, [ undef, '{"id": 1}' ]);
wait_until($node, 'SELECT id FROM two', '1', 'then it is');
wait_until($node, $two, $missing, 'and the topic is not');
sql(q{SELECT kafka_sink.drop_sink('two')});

# a state that could not be written, since somebody held the sink
sql(q{
	CREATE TABLE untold (id int);
	SELECT kafka_sink.create_sink('untold', server => 'own', target => 'untold', idle_after => '0', lock_timeout => '100 ms');
	SELECT kafka_sink.register_topic('untold', 'there')});
wait_until($node, q{SELECT state, (SELECT count(*) FROM untold) FROM kafka_sink.sinks WHERE sink = 'untold'}, 'running|1', 'a sink runs');
my $holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; SELECT kafka_sink.drop_sink('untold')});
$log = -s $node->logfile;
$own->stop;
wait_for_log($node, qr/ERROR:  canceling statement due to lock timeout\n.*CONTEXT:  .* in relation "sink_catalog"/, $log, 'what it waits for cannot be written');
$holder->query_safe('ROLLBACK');
wait_until($node, q{SELECT state, waits_for FROM kafka_sink.sinks WHERE sink = 'untold'}, 'waiting|broker', 'later it is');
$holder->quit;
sql(q{SELECT kafka_sink.drop_sink('untold')});

# --- a queue that is full, and a batch that cannot be applied ---

# nothing is fetched any more, so that the ends are asked for
my $full = $kafka->topic('full', 2);
my @large = map { [ undef, sprintf '{"id": %d, "pad": "%s"}', $_, 'x' x 100_000 ] } 1 .. 60;
create_server($node, $kafka, name => 'small', options => "queued_min_messages '1', queued_max_messages_kbytes '1024'");
sql(qq{
	CREATE TABLE full_ (id int);
	SELECT kafka_sink.create_sink('full', server => 'small', target => 'full_', batch_records => 5, lock_timeout => '100 ms');
	SELECT kafka_sink.register_topic('full', '$full');
	CALL kafka_sink.wait_for('full', timeout => '3 min')});
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('LOCK TABLE full_');
$kafka->produce($full, $_, @large) foreach 0, 1;
wait_until($node, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'full'}, 'waiting|waits for a lock on table "full_"', 'it waits for a lock');
$kafka->produce($full, $_, [ undef, '{"id": 61}' ]) foreach 0, 1;
wait_until($node, q{SELECT part, off, end_offset FROM kafka_sink.lag WHERE sink = 'full' ORDER BY part}, "0|0|61\n1|0|61", 'and knows how much there is to do');
$holder->query_safe('ROLLBACK');
$holder->quit;
wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM full_', '122|61', 'which it does then');

# --- brokers that are slow ---

$mock->command("rtt $_ 20000") foreach 1, 2;
like(error_of(q{SELECT * FROM kafka_sink.topics('mock', timeout => '1 s')}), qr/ERROR:  08\w+: could not list the topics: .*\n(DETAIL.*\n)?HINT:  .*bootstrap_servers/,
	'topics(): no answer in time');
like(error_of(q{SET statement_timeout = '1 s'; SELECT * FROM kafka_sink.topics('mock', timeout => '1 min')}), qr/ERROR:  57014: canceling statement due to statement timeout/,
	'which can be cancelled');
$mock->command("rtt $_ 0") foreach 1, 2;

# --- what is not Kafka, or not with whom it talks ---

# a port that answers with something else
my $web = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "listen: $!";
my $child = fork // die "fork: $!";
if ($child == 0)
{
	$SIG{PIPE} = 'IGNORE';
	while (my $client = $web->accept)
	{
		$client->sysread(my $request, 4096);
		$client->syswrite("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
		$client->close;
	}
	POSIX::_exit(0);
}
my $port = $web->sockport;
$web->close;
sql(qq{
	CREATE SERVER web FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:$port', reconnect_backoff_max_ms '200');
	CREATE SERVER tls FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '} . $kafka->bootstrap . q{', security_protocol 'ssl', reconnect_backoff_max_ms '200');
});
like(error_of(q{SELECT * FROM kafka_sink.topics('web', timeout => '1 min')}),
	qr/ERROR:  08P01: could not list the topics: could not understand an answer of Kafka\n.*HINT:  .*security_protocol/s, 'a web server');
my $no_tls = qr/ERROR:  08006: .*\nDETAIL:  .*(?:SSL |unexpected eof).*\nHINT:  .*security_protocol/;
like(timed_out($node, q{SELECT * FROM kafka_sink.topics('tls', timeout => '%d s')}, $no_tls), $no_tls, 'TLS to a port that has none');
kill 'KILL', $child;
waitpid $child, 0;

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
