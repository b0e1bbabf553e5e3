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
use KafkaSinkStale;

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

create_server($node, $kafka);
create_server($node, $own->through, name => 'own', options => "reconnect_backoff_max_ms '500'");

# --- a connection breaks while a batch waits, with many partitions ---

my %breaks = (
	killed => [ sub { $own->kill9; }, sub { $own->start; } ],
	cut => [ sub { $own->proxy->command('cut'); }, sub { } ]);
foreach my $sink (qw(killed cut))
{
	hold_and_break($node, $own, $sink, @{ $breaks{$sink} });
	is(sql("SELECT count(*), count(DISTINCT id) FROM $sink"), '696|696', "$sink: every record is there, once");
	is(sql("SELECT sum(consumed), sum(applied), sum(gaps) FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
		'696|696|0', "$sink: and none is counted as a gap");
	is_deeply([ lost_records($node, $own, $sink) ], [], "$sink: they are those of the log");
	sql("SELECT kafka_sink.drop_sink('$sink')");
}

# --- a log that ends before the stored offset, and the last record is the same ---

my $topic = make_shorter($node, $kafka, 'shorter');
becomes(q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'shorter'},
	'halted|the log ends before the stored offset', 'a log that ends below what was passed over');
$kafka->produce($topic, 0, map { [ undef, qq({"id": $_}) ] } 6, 7);
is(sql(q{SELECT string_agg(id::text, ',' ORDER BY off) FROM shorter}), '1,2,3,4,5', 'nothing more is applied');
is(sql(q{SELECT state, (SELECT off FROM kafka_sink.txn_offsets o WHERE o.sink = s.sink) FROM kafka_sink.sinks s WHERE sink = 'shorter'}),
	'halted|6', 'and no offset moves over a record that nobody has seen');
sql(qq{SELECT kafka_sink.seek('shorter', '{"$topic": {"0": 5}}'); SELECT kafka_sink.resume('shorter')});
becomes(q{SELECT string_agg(id::text, ',' ORDER BY off) FROM shorter}, '1,2,3,4,5,6,7', 'after a seek it goes on with them');

# --- wake-ups ---

# Returns at once, not at the end of its time, which is five minutes.
sub prompt
{
	my ($call, $what) = @_;
	my $start = time;
	my $result;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$result = sql($call);
	cmp_ok(time - $start, '<', 150, "$what returns at once");
	return $result;
}

$topic = $kafka->topic('look', 6);
stale_sink($node, 'kafka', 'look', $topic, 'batch_linger_ms => 0');
$kafka->gen($topic, count => 60);
becomes('SELECT count(*) FROM look', '60', 'a sink has consumed');
sql(q{CALL kafka_sink.pause('look', wait => true)});
$kafka->gen($topic, count => 6, from => 60);
is(prompt(q{SELECT count(*) FROM kafka_sink.preview('look', 1, timeout => '5 min')}, 'preview() of one record'),
	'1', 'and shows it');
is(prompt(q{SELECT count(*) FROM kafka_sink.preview('look', 6, timeout => '5 min')}, 'preview() of all'),
	'6', 'and shows them');

$topic = $kafka->topic('one_by_one', 5);
stale_sink($node, 'kafka', 'one_by_one', $topic, 'enabled => false, batch_records => 1');
$kafka->gen($topic, count => 5);
prompt(q{CALL kafka_sink.run('one_by_one', timeout => '5 min')}, 'run() with batches of one record');
is(sql('SELECT count(*), count(DISTINCT id) FROM one_by_one'), '5|5', 'and has applied all');
$kafka->gen($topic, count => 5, from => 5);
prompt(q{CALL kafka_sink.run('one_by_one', timeout => '5 min')}, 'run() again, with tails to check,');
is(sql('SELECT count(*), count(DISTINCT id) FROM one_by_one'), '10|10', 'and has applied all');

# what wakes first are the ends of all partitions, more than a batch takes
$topic = $kafka->topic('narrow', 100);
stale_sink($node, 'kafka', 'narrow', $topic, 'batch_records => 5, batch_linger_ms => 0');
sql(q{CALL kafka_sink.wait_for('narrow', timeout => '3 min')});
$kafka->gen($topic, count => 400);
becomes('SELECT count(*), count(DISTINCT id) FROM narrow', '400|400', 'batches smaller than the partitions are many');
is(sql(q{SELECT sum(consumed), sum(gaps) FROM kafka_sink.txn_offsets WHERE sink = 'narrow'}), '400|0', 'the accounts');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
