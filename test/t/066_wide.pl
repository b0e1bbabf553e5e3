# A worker with 1,000 partitions, and a sink over 50 topics: all of it arrives,
# once, in bounded memory, also when it begins anew in the middle.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "log_min_messages = debug1\n");
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

sub exact
{
	my ($sink, $records) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(sql("SELECT sum(consumed), sum(applied), sum(gaps) FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
		"$records|$records|0", "$sink: the accounts are exact");
	is(sql("SELECT count(*), count(DISTINCT id) FROM $sink"), "$records|$records", "$sink: the rows, too");
	return;
}

create_server($node, $kafka);

# --- 1,000 partitions ---

my $small = $kafka->topic('small', 1);
sql(qq{
	CREATE TABLE small (id bigint, qty int);
	SELECT kafka_sink.create_sink('small', server => 'kafka', target => 'small', idle_after => '100 ms');
	SELECT kafka_sink.register_topic('small', '$small');
});
wait_for_log($node, qr/watcher connects to server "kafka", with statistics every 10010 ms/, 0, 'a small sink is watched');

my $topic = $kafka->topic('wide', 1000);

$kafka->gen($topic, count => 3000, partitions => 1000);
sql(qq{
	CREATE TABLE wide (id bigint, qty int);
	SELECT kafka_sink.create_sink('wide', server => 'kafka', target => 'wide', idle_after => '0');
	SELECT kafka_sink.register_topic('wide', '$topic');
});
becomes("SELECT count(*) = 3000 FROM wide", '1,000 partitions in one worker');
is(sql("SELECT count(*) FROM kafka_sink.txn_offsets WHERE sink = 'wide'"), 1000, 'each has its row');
my $pid = sql("SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'wide'");
$kafka->gen($topic, count => 3000, from => 3000, partitions => 1000);
sql("SELECT pg_terminate_backend($pid)");
$kafka->gen($topic, count => 4000, from => 6000, partitions => 1000);
becomes("SELECT count(*) = 10000 FROM wide", 'a worker that begins anew goes on where the other stood');
becomes("SELECT sum(lag) = 0 AND count(end_offset) = 1000 FROM kafka_sink.lag WHERE sink = 'wide'", 'lag is 0 and known, of all of them');
exact('wide', 10000);
my $peak = sql("SELECT rss_anon_peak / 1024 / 1024 FROM kafka_sink.stat_sinks WHERE sink = 'wide'");
cmp_ok($peak, '<', 256, "its memory ($peak MB)");

# what watches for it makes as few statistics as it does itself
my $log = -s $node->logfile;
sql(q{SELECT kafka_sink.alter_sink('wide', idle_after => '100 ms')});
wait_for_log($node, qr/watcher connects to server "kafka", with statistics every 20010 ms/, $log, 'so is one with many partitions, by another client');
becomes("SELECT count(*) = 2 AND bool_and(state = 'idle' AND pid IS NULL) FROM kafka_sink.stat_sinks", 'both are idle');
$kafka->gen($topic, count => 10, from => 10000, partitions => 1000);
becomes("SELECT count(*) = 10010 FROM wide", 'and are woken');
sql(q{SELECT kafka_sink.drop_sink('small'); SELECT kafka_sink.alter_sink('wide', idle_after => '0')});

# --- 50 topics ---

my @topics = map { $kafka->topic("many$_", 2) } 1 .. 50;
my $from = 0;

sub fill
{
	foreach (@topics)
	{
		$kafka->gen($_, count => 20, from => $from, partitions => 2);
		$from += 20;
	}
	return;
}

fill();
sql(q{
	CREATE TABLE many (id bigint, qty int);
	SELECT kafka_sink.create_sink('many', server => 'kafka', target => 'many', idle_after => '0', workers => 2)});
sql(join ';', map { "SELECT kafka_sink.register_topic('many', '$_')" } @topics);
becomes("SELECT count(*) = 1000 FROM many", '50 topics, registered one after the other');
fill();
becomes("SELECT count(*) = 2000 FROM many", 'and on');
exact('many', 2000);
is(sql("SELECT count(*) FROM kafka_sink.lag WHERE sink = 'many'"), 100, 'all are shown');

done_testing();
