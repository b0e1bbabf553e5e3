# Topics that are gone keep no other topic waiting, and wait side by side; a halt
# is written only for the definition that it is about, and told when somebody
# keeps it from being written.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

# A sink over topics, one table for all, which says when each row was written.
sub create_sink
{
	my ($name, $settings, @topics) = @_;

	sql(qq{
		CREATE TABLE $name (id int, topic text, at timestamptz DEFAULT clock_timestamp());
		BEGIN;
		SELECT kafka_sink.create_sink('$name', server => 'kafka', target => '$name', columns => '{"topic": "\@topic"}', $settings);
		SELECT kafka_sink.register_topic('$name', t) FROM unnest('{@{[ join ',', @topics ]}}'::text[]) t;
		COMMIT});
	return;
}

sub topics { my ($n, $base, $parts) = @_; return map { $kafka->topic("$base$_", $parts // 1) } 1 .. $n; }

sub produce
{
	my ($topic, @values) = @_;
	return $kafka->produce($topic, 0, map { [ undef, qq({"id": $_}) ] } @values);
}

sub settles
{
	my ($sink, $n) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT count(*) FROM kafka_sink.txn_offsets WHERE sink = '$sink'", $n, "$sink: offsets are settled");
}

sub pauses
{
	my ($sink) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql("SELECT kafka_sink.pause('$sink')");
	return becomes("SELECT count(*) = 0 FROM kafka_sink.stat_sinks WHERE sink = '$sink' AND pid IS NOT NULL", "$sink: paused");
}

sub state_of { return "SELECT state, sqlstate, topic FROM kafka_sink.sinks WHERE sink = '$_[0]'"; }

create_server($node, $kafka, options => "topic_metadata_refresh_interval_ms '1000'");

# --- topics that are deleted while the sink is down ---

my @t = topics(5, 'five');
my $late = $kafka->topic('five-late');
create_sink('five', "workers => 2, idle_after => '0'", @t);
produce($_, 1 .. 3) foreach @t;
wait_until($node, 'SELECT count(*) FROM five', 15, 'all are consumed');
sql("SELECT kafka_sink.register_topic('five', '$late')");
becomes("SELECT (state, topic) = ('waiting', '$late') FROM kafka_sink.sinks WHERE sink = 'five'", 'and one that does not exist yet');
pauses('five');
$kafka->delete_topic($_) foreach @t[0 .. 2];
produce($_, 4 .. 6) foreach @t[3, 4];
sql("SELECT kafka_sink.resume('five')");
becomes("SELECT (state, waits_for, sqlstate, topic) = ('waiting', 'topic', '42704', '$t[0]') AND message ~ 'does not exist' AND detail ~ 'consumed before' AND hint IS NOT NULL
	FROM kafka_sink.sinks WHERE sink = 'five'", 'the sink says what it waits for');
wait_until($node, q{SELECT count(*) FROM five}, 21, 'the others are read');
becomes("SELECT halted_topics = (SELECT array_agg(t ORDER BY t) FROM unnest('{@{[ join ',', @t[0 .. 2] ]}}'::text[]) t) FROM kafka_sink.sinks WHERE sink = 'five'",
	'all that are gone halt');
is(sql(q{SELECT (SELECT max(at) FROM five) < min(since), count(DISTINCT xmin::text) FROM kafka_sink.topic_state WHERE sink = 'five'}), 't|1',
	'side by side, and after the others were read');
is(sql(qq{SELECT count(*) FROM kafka_sink.sink_topics WHERE sink = 'five' AND sqlstate = '55000' AND message ~ 'was deleted' AND hint ~ 'unregister_topic' AND part IS NULL}),
	'3', 'each with its error');
produce($t[3], 7);
wait_until($node, q{SELECT count(*) FROM five}, 22, 'the others go on');
$kafka->create_topic($late, 1);
produce($late, 1);
wait_until($node, qq{SELECT count(*) FROM five WHERE topic = '$late'}, 1, 'with the one that comes into being');

# --- one that is only late ---

@t = topics(2, 'back');
create_sink('back', "idle_after => '0'", @t);
settles('back', 2);
pauses('back');
$kafka->delete_topic($t[0]);
sql("SELECT kafka_sink.resume('back')");
becomes("SELECT (state, topic) = ('waiting', '$t[0]') FROM kafka_sink.sinks WHERE sink = 'back'", 'a topic is missing');
$kafka->create_topic($t[0], 1);
produce($_, 1) foreach @t;
wait_until($node, 'SELECT count(*) FROM back', 2, 'and comes back');
becomes("SELECT state = 'running' AND message IS NULL AND halted_topics IS NULL FROM kafka_sink.sinks WHERE sink = 'back'", 'in good health');

# --- all of them; one of a sink that halts as a whole; fewer partitions ---

@t = (topics(3, 'all'), topics(2, 'whole'), topics(2, 'fewer', 3));
create_sink('every', "idle_after => '0'", @t[0 .. 2]);
create_sink('whole', "idle_after => '0', on_topic_error => 'halt_sink'", @t[3, 4]);
create_sink('fewer', "idle_after => '0'", @t[5, 6]);
settles('every', 3);
settles('whole', 2);
settles('fewer', 6);
pauses($_) foreach qw(every whole fewer);
$kafka->delete_topic($_) foreach @t[0 .. 3, 5];
$kafka->create_topic($t[5], 2);
produce($t[4], 1);
produce($t[6], 1);
sql("SELECT kafka_sink.resume(s) FROM unnest('{every,whole,fewer}'::text[]) s");
wait_until($node, 'SELECT (SELECT count(*) FROM whole), (SELECT count(*) FROM fewer)', '1|1', 'the others are read');
wait_until($node, state_of('every'), qr/^halted\|55000\|\Q$t[2]\E$/, 'all are gone: the sink halts');
is(sql(q{SELECT count(*), count(DISTINCT xmin::text) FROM kafka_sink.topic_state WHERE sink = 'every'}), '2|1', 'with the others of its topics');
is(sql(q{SELECT (SELECT xmin::text FROM kafka_sink.sink_state WHERE sink = 'every') = min(xmin::text) FROM kafka_sink.topic_state WHERE sink = 'every'}), 't',
	'at once');
wait_until($node, state_of('whole'), "halted|55000|$t[3]", 'halt_sink');
is(sql(q{SELECT max(at) < (SELECT since FROM kafka_sink.sinks WHERE sink = 'whole') FROM whole}), 't', 'after the other one was read');
is(sql(q{SELECT count(*) FROM kafka_sink.topic_state WHERE sink = 'whole'}), '0', 'none of its topics');
wait_until($node, qq{SELECT message, detail FROM kafka_sink.sink_topics WHERE topic = '$t[5]'},
	qr/^topic "\Q$t[5]\E" has fewer partitions than before\|Partition 2 has a stored offset/, 'fewer partitions than before');
is(sql(q{SELECT max(at) < (SELECT since FROM kafka_sink.topic_state WHERE sink = 'fewer') FROM fewer}), 't', 'after the other one was read');

# --- a halt is of the definition that it is about ---

# Somebody changes the sink while a worker meets an error: what commits is right.
sub meet_error
{
	my ($sink, $change, $topic, $end, $what) = @_;
	my $psql = $node->background_psql('postgres');

	$psql->query_safe("BEGIN; $change");
	produce($topic, '"bad"');
	becomes("SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker' AND application_name = 'kafka_sink $sink' AND wait_event_type = 'Lock'",
		"$what: an error is met meanwhile");
	$psql->query_safe($end);
	$psql->quit;
	return;
}

my @one = topics(1, 'one');
create_sink('changed', "idle_after => '0', lock_timeout => '10 min'", @one);
settles('changed', 1);
my $log = -s $node->logfile;
meet_error('changed', "SELECT kafka_sink.alter_sink('changed', on_error => 'ignore')", $one[0], 'COMMIT', 'alter_sink');
wait_until($node, q{SELECT off, ignored FROM kafka_sink.txn_offsets WHERE sink = 'changed'}, '1|1', 'which the change has mended');
becomes("SELECT state = 'running' AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'changed'", 'so the sink has not halted');
unlike(slurp_file($node->logfile, $log), qr/sink "changed" halted/, 'nor does the log say so');
sql("SELECT kafka_sink.alter_sink('changed', on_error => 'stop')");
meet_error('changed', "SELECT kafka_sink.alter_sink('changed', on_error => 'ignore')", $one[0], 'ROLLBACK', 'rolled back');
wait_until($node, state_of('changed'), "halted|22P02|$one[0]", 'then it halts');
wait_for_log($node, qr/sink "changed" halted: /, $log, 'and the log says so');

# the same of a table that is dropped, which the supervisor tells
@one = topics(1, 'one');
create_sink('table_changed', "idle_after => '0'", @one);
settles('table_changed', 1);
$log = -s $node->logfile;
my $psql = $node->background_psql('postgres');
sql('CREATE TABLE other (id int, topic text)');
$psql->query_safe("BEGIN; SELECT kafka_sink.alter_sink('table_changed', target => 'other')");
sql('DROP TABLE table_changed');
wait_for_log($node, qr/supervisor tries sink "table_changed" again: canceling statement due to lock timeout/, $log, 'a table is dropped');
$psql->query_safe('COMMIT');
$psql->quit;
produce($one[0], 1);
wait_until($node, 'SELECT count(*) FROM other', 1, 'by who has named another');
sql('DROP TABLE other');
wait_until($node, state_of('table_changed'), 'halted|42P01|', 'without it, it halts');
like(sql(q{SELECT hint FROM kafka_sink.sinks WHERE sink = 'table_changed'}), qr/created again.*alter_sink.*resume.*drop_sink/, 'and says what to do');

# --- somebody has the sink's row ---

foreach my $case ([ 'held', 2, "halt_topic" ], [ 'held_whole', 1, "halt_sink" ])
{
	my ($sink, $n, $on_topic_error) = @$case;
	my @topics = topics($n, $sink);
	create_sink($sink, "idle_after => '0', lock_timeout => '100 ms', on_topic_error => '$on_topic_error'", @topics);
	settles($sink, $n);
	$log = -s $node->logfile;
	$psql = $node->background_psql('postgres');
	$psql->query_safe("BEGIN; SELECT 1 FROM kafka_sink.sink_catalog WHERE sink = '$sink' FOR NO KEY UPDATE");
	produce($topics[0], 1, '"bad"', 2);
	wait_until($node, "SELECT state, sqlstate, topic, message ~ 'integer' FROM kafka_sink.sinks WHERE sink = '$sink'", "backoff|22P02|$topics[0]|t",
		"$sink: the error is told all the same");
	wait_until($node, "SELECT count(*) FROM $sink", 1, 'what is before it is there');
	$log = wait_for_log($node, qr/canceling statement due to lock timeout.*canceling statement due to lock timeout/s, $log, 'the halt is tried again');
	# (who is about to give up may be seen to wait for the lock)
	like(sql("SELECT state FROM kafka_sink.sinks WHERE sink = '$sink'"), qr/^(backoff|running|starting|waiting)$/, 'and is not there');
	$psql->query_safe('ROLLBACK');
	$psql->quit;
	wait_until($node, $n > 1 ? "SELECT halted_topics FROM kafka_sink.sinks WHERE sink = '$sink'" : state_of($sink),
		$n > 1 ? "{$topics[0]}" : "halted|22P02|$topics[0]", 'until it can be written');
	if ($n > 1)
	{
		produce($topics[1], 11);
		wait_until($node, "SELECT count(*) FROM $sink WHERE topic = '$topics[1]'", 1, 'the other topic goes on');
	}
}

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
