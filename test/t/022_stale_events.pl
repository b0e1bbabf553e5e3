# What was told of a partition and is not true any more: ends of a log behind
# records that were given back, logs that end before the stored offset, and
# wake-ups that are lost because what woke was no record.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use KafkaSinkTest;
use KafkaSinkProxy;

my $node = new_node('main');
my $own = start_proxied_broker();
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub becomes
{
	my ($query, $expected, $what, $limit) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, $query, $expected, $what, $limit);
}

# A table without a key, so that a record applied twice would be seen.
sub create_sink
{
	my ($sink, $topic, $settings) = @_;
	my $server = $sink =~ /^many/ ? 'own' : 'kafka';

	sql(qq{
		CREATE TABLE $sink (part int, off bigint, id bigint NOT NULL);
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => '$server', target => '$sink',
			columns => '{"part": "\@partition", "off": "\@offset"}', $settings);
		SELECT kafka_sink.register_topic('$sink', '$topic');
		COMMIT;
	});
	return;
}

create_server($node, $kafka);
create_server($node, $own->through, name => 'own', options => "reconnect_backoff_max_ms '500'");

# --- a connection breaks while a batch waits, with many partitions ---

# The worker is held in a batch; what librdkafka has fetched meanwhile, ends of
# partitions included, waits behind it when the broker dies.
foreach my $how ('the broker is killed', 'the connections are cut')
{
	my $sink = $how =~ /killed/ ? 'many' : 'many_cut';
	my $topic = $own->topic($sink, 200);
	my $producer = $own->script->to($topic);
	my $value = sub { return sprintf '{"id": %d, "note": "%s"}', $_[0], 'x' x 200; };

	create_sink($sink, $topic, q{lock_timeout => '0', batch_linger_ms => 0});
	$producer->P($_, undef, $value->($_)) foreach 0 .. 199;
	$producer->F;
	becomes("SELECT count(*) FROM $sink", '200', "$how: a record of each of 200 partitions");
	sql("CALL kafka_sink.wait_for('$sink')");

	my $holder = $node->background_psql('postgres');
	$holder->query_safe("BEGIN; LOCK TABLE $sink");
	$producer->P(0, undef, $value->(200))->F;
	becomes(qq{
		SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		 WHERE l.relation = '$sink'::regclass AND NOT l.granted AND a.backend_type = 'kafka_sink worker'},
		'1', "$how: the worker waits in a batch");

	my (undef, $before) = $own->proxy->count;
	for my $part (1 .. 99)
	{
		$producer->P($part, undef, $value->(1000 * $part + $_)) foreach 1 .. 5;
	}
	$producer->F;
	ok( KafkaSinkTest::_poll(sub { return ($own->proxy->count)[1] - $before > 495 * 200; }),
		"$how: all records are fetched");

	my ($asked) = $own->proxy->count;
	$how =~ /killed/ ? $own->kill9 : $own->proxy->command('cut');
	ok(KafkaSinkTest::_poll(sub { return ($own->proxy->count)[0] > $asked; }), "$how: and the worker's side has noticed");
	$holder->query_safe('COMMIT');
	$holder->quit;
	$own->start if $how =~ /killed/;

	# what was passed over does not come later: it is enough to see the ends
	my $ends = 200 + 1 + 495;
	becomes("SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = '$sink'", "$ends", "$how: the sink is at the ends");
	is(sql("SELECT count(*), count(DISTINCT id) FROM $sink"), '696|696', "$how: every record is there, once");
	is(sql("SELECT sum(consumed), sum(applied), sum(gaps) FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
		'696|696|0', "$how: and none is counted as a gap");
	$producer->end;
	sql("SELECT kafka_sink.drop_sink('$sink')");
}

# --- a log that ends before the stored offset, and the last record is the same ---

my $topic = $kafka->topic('shorter', 1);
my @same = map { [ undef, qq({"id": $_}), ts => 1_700_000_000_000 + $_ ] } 1 .. 5;

create_sink('shorter', $topic, q{on_error => 'stop'});
$kafka->produce($topic, 0, @same, [ undef, 'not JSON' ]);
becomes(q{SELECT state, off FROM kafka_sink.sinks WHERE sink = 'shorter'}, 'halted|5', 'a bad record halts the sink');
sql(qq{SELECT kafka_sink.skip('shorter', '$topic', 0, 5)});
is(sql(q{SELECT off, last_off FROM kafka_sink.txn_offsets WHERE sink = 'shorter'}), '6|4', 'it is passed over');
$kafka->delete_topic($topic);
$kafka->create_topic($topic, 1);
$kafka->produce($topic, 0, @same);
sql(q{SELECT kafka_sink.resume('shorter')});
becomes(q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'shorter'},
	'halted|the log ends before the stored offset', 'a log that ends below what was passed over');
$kafka->produce($topic, 0, map { [ undef, qq({"id": $_}) ] } 6, 7);
is(sql(q{SELECT string_agg(id::text, ',' ORDER BY off) FROM shorter}), '1,2,3,4,5', 'nothing more is applied');
is(sql(q{SELECT state, (SELECT off FROM kafka_sink.txn_offsets o WHERE o.sink = s.sink) FROM kafka_sink.sinks s WHERE sink = 'shorter'}),
	'halted|6', 'and no offset moves over a record that nobody has seen');
sql(qq{SELECT kafka_sink.seek('shorter', '{"$topic": {"0": 5}}'); SELECT kafka_sink.resume('shorter')});
becomes(q{SELECT string_agg(id::text, ',' ORDER BY off) FROM shorter}, '1,2,3,4,5,6,7', 'after a seek it goes on with them');

# --- wake-ups ---

# Returns at once, not at the end of its time.
sub prompt
{
	my ($call, $what) = @_;
	my $start = time;
	my $result;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$result = sql($call);
	cmp_ok(time - $start, '<', 30, "$what returns at once");
	return $result;
}

$topic = $kafka->topic('look', 6);
create_sink('look', $topic, 'batch_linger_ms => 0');
$kafka->gen($topic, count => 60);
becomes('SELECT count(*) FROM look', '60', 'a sink has consumed');
sql(q{SELECT kafka_sink.pause('look')});
$kafka->gen($topic, count => 6, from => 60);
is(prompt(q{SELECT count(*) FROM kafka_sink.preview('look', 1, timeout => '50 s')}, 'preview() of one record'),
	'1', 'and shows it');
is(prompt(q{SELECT count(*) FROM kafka_sink.preview('look', 6, timeout => '50 s')}, 'preview() of all'),
	'6', 'and shows them');

$topic = $kafka->topic('one_by_one', 5);
create_sink('one_by_one', $topic, 'enabled => false, batch_records => 1');
$kafka->gen($topic, count => 5);
prompt(q{CALL kafka_sink.run('one_by_one', timeout => '50 s')}, 'run() with batches of one record');
is(sql('SELECT count(*), count(DISTINCT id) FROM one_by_one'), '5|5', 'and has applied all');
$kafka->gen($topic, count => 5, from => 5);
prompt(q{CALL kafka_sink.run('one_by_one', timeout => '50 s')}, 'run() again, with tails to check,');
is(sql('SELECT count(*), count(DISTINCT id) FROM one_by_one'), '10|10', 'and has applied all');

# what wakes first are the ends of all partitions, more than a batch takes
$topic = $kafka->topic('narrow', 100);
create_sink('narrow', $topic, 'batch_records => 5, batch_linger_ms => 0');
sql(q{CALL kafka_sink.wait_for('narrow')});
$kafka->gen($topic, count => 400);
becomes('SELECT count(*), count(DISTINCT id) FROM narrow', '400|400', 'batches smaller than the partitions are many', 60);
is(sql(q{SELECT sum(consumed), sum(gaps) FROM kafka_sink.txn_offsets WHERE sink = 'narrow'}), '400|0', 'the accounts');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
