# A log that is not what it was: retention, truncation, topics deleted and made
# again.  The sink halts and says why; it never skips or reads on by itself.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Sinks by name: each has a topic of one partition and a table without a key,
# so that a record applied twice would be seen.
my %topic;

sub create_sink
{
	my ($sink) = @_;

	$topic{$sink} = $kafka->topic($sink, 1);
	$kafka->gen($topic{$sink}, count => 100);
	sql(qq{
		CREATE TABLE $sink (off bigint, id bigint);
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink', columns => '{"off": "\@offset"}', idle_after => '0');
		SELECT kafka_sink.register_topic('$sink', '$topic{$sink}');
		COMMIT;
	});
	return;
}

sub pause
{
	my ($sink) = @_;

	sql("SELECT kafka_sink.pause('$sink')");
	$node->poll_query_until('postgres',
		"SELECT pid IS NULL FROM kafka_sink.stat_sinks WHERE sink = '$sink'") or die "$sink is not paused";
	return;
}

# The topic again, with other records.
sub recreate
{
	my ($sink, $count) = @_;

	$kafka->delete_topic($topic{$sink});
	$kafka->create_topic($topic{$sink}, 1);
	$kafka->gen($topic{$sink}, count => $count, from => 1000);
	return;
}

sub resume { return sql("SELECT kafka_sink.resume('$_[0]')"); }

sub rows_and_offset
{
	my ($sink) = @_;

	return sql("SELECT count(*), count(DISTINCT id), (SELECT off FROM kafka_sink.txn_offsets WHERE sink = '$sink') FROM $sink");
}

# The SQLSTATE that the reference gives for what a sink has halted by, '' for what it does not say.
my %cause = (
	'records were deleted before they were consumed' => 'retention has deleted',
	'the log ends before the stored offset' => 'the log ends before',
	'the log is not the one that was consumed' => 'the record consumed last');

sub documented
{
	my ($message) = @_;
	my $cause = $cause{$message} or return '';
	my ($sqlstate) = slurp_file("$FindBin::RealBin/../../doc/reference.md") =~ /^\| \Q$cause\E[^|]* \| `(\w{5})` \|/m;

	return $sqlstate // "no $cause";
}

# Halted, untouched, and with advice.
sub halts
{
	my ($sink, $like, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node,
		"SELECT concat_ws('|', state, message, detail, hint, part, off) FROM kafka_sink.sinks WHERE sink = '$sink'",
		qr/^halted\|$like/, "$what: it halts");
	my ($sqlstate, $message) = split /\|/, sql("SELECT sqlstate, message FROM kafka_sink.sinks WHERE sink = '$sink'");
	is($sqlstate, documented($message) || $sqlstate, "$what: $sqlstate, as the reference says");
	is(rows_and_offset($sink), '100|100|100', "$what: nothing is touched");
	return;
}

# A topic deleted and made again under a running sink.  One that stays away for
# too long is taken for deleted, which is what happens on a machine that has
# better to do: told to go on, the sink sees what it is.
sub halts_at_another
{
	my ($sink, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	KafkaSinkTest::_poll(sub { (try_sql($node, "SELECT state FROM kafka_sink.sinks WHERE sink = '$sink'") // '') eq 'halted' });
	resume($sink) if sql("SELECT message FROM kafka_sink.sinks WHERE sink = '$sink'") !~ /the log is not/;
	halts($sink, qr/the log is not the one that was consumed/, $what);
	return;
}

sub goes_on
{
	my ($sink, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql("CALL kafka_sink.wait_for('$sink', timeout => '3 min')");
	is(rows_and_offset($sink), $expected, "$what: it goes on");
	is(sql("SELECT off - start_off = consumed + gaps FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
		't', "$what: the accounts");
	return;
}

create_server($node, $kafka);
my @sinks = qw(retention fewer more same_length trimmed swapped deleted replaced gone);
create_sink($_) foreach @sinks;
sql("CALL kafka_sink.wait_for('$_', timeout => '3 min')") foreach @sinks;
is(rows_and_offset($_), '100|100|100', "$_ is at the end") foreach @sinks;
pause($_) foreach qw(retention fewer more same_length gone);
# all of its records are in one partition, and none is missing there
my $narrower = $kafka->topic('narrower', 3);
$kafka->produce($narrower, 0, map { [ undef, qq({"id": $_}) ] } 1 .. 100);
sql(qq{
	CREATE TABLE narrower (off bigint, id bigint);
	SELECT kafka_sink.create_sink('narrower', server => 'kafka', target => 'narrower', columns => '{"off": "\@offset"}');
	SELECT kafka_sink.register_topic('narrower', '$narrower');
	CALL kafka_sink.wait_for('narrower', timeout => '3 min');
});
pause('narrower');

# --- halts ---

$kafka->gen($topic{retention}, count => 100, from => 100);
$kafka->delete_records($topic{retention}, 0, 150);
resume('retention');
halts('retention', qr/records were deleted before they were consumed\|Stored offset 100, the log begins at 150.*\|0\|100$/,
	'retention');

recreate('fewer', 10);
resume('fewer');
# all that is there now lies before the stored offset, and nothing of it was consumed
like(($node->psql('postgres', q{CALL kafka_sink.wait_for('fewer', timeout => '3 min')}))[2],
	qr/ERROR:  the log ends before the stored offset\n.*CONTEXT:  sink "fewer" is halted/s, 'wait_for() does not say that it has arrived');
halts('fewer', qr/the log ends before the stored offset\|Stored offset 100, end of the log 10\b.*seek.*resume/,
	'a topic made again, shorter');

recreate('more', 200);
resume('more');
halts('more', qr/the log is not the one that was consumed\|The record at offset 99.*seek.*resume/,
	'a topic made again, longer');

recreate('same_length', 100);
resume('same_length');
halts('same_length', qr/the log is not the one that was consumed/, 'a topic made again, of the same length');

recreate('swapped', 200);
halts_at_another('swapped', 'a topic made again in a moment under a running sink');

# What is deleted behind the sink does not matter to it.
$kafka->delete_records($topic{trimmed}, 0);
$kafka->gen($topic{trimmed}, count => 10, from => 100);
goes_on('trimmed', '110|110|110', 'retention behind the sink');

# --- and stays halted ---

resume('retention');
halts('retention', qr/records were deleted/, 'resume alone');
my $before = sql(q{SELECT sink, since, message FROM kafka_sink.sinks WHERE state = 'halted' ORDER BY sink});
$node->restart;
$kafka->gen($topic{trimmed}, count => 10, from => 110);
goes_on('trimmed', '120|120|120', 'after a restart, one that works');
is(sql(q{SELECT sink, since, message FROM kafka_sink.sinks WHERE state = 'halted' ORDER BY sink}), $before,
	'those that are halted stay halted');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name IN
		('kafka_sink retention', 'kafka_sink fewer', 'kafka_sink more')}), '0', 'and have no workers');

# --- topics that are gone: seen at the end of this file ---

# (long before the list of topics is asked for again, which is after five minutes)
foreach my $sink (qw(deleted replaced))
{
	$kafka->delete_topic($topic{$sink});
	wait_until($node, "SELECT state, message IS NOT NULL FROM kafka_sink.sinks WHERE sink = '$sink'",
		qr/^(waiting|halted)\|t/, "a topic deleted under a running sink: $sink says so at once");
}
$kafka->delete_topic($topic{gone});
resume('gone');
$kafka->delete_topic($narrower);
$kafka->create_topic($narrower, 1);
resume('narrower');

# --- ways to go on ---

# What the hint says.
my ($accept, $resume) = sql(q{SELECT hint FROM kafka_sink.sinks WHERE sink = 'retention'})
  =~ /: (SELECT kafka_sink\.accept_gap\(.*?\)), then (kafka_sink\.resume\(.*?\))\.$/ or fail('hint of retention');
like(($node->psql('postgres', $accept =~ s/100, 150/99, 150/r))[2], qr/range begins behind the stored offset of sink "retention"/,
	'accept_gap from another offset is refused');
sql("BEGIN; $accept; ROLLBACK; BEGIN; SELECT kafka_sink.accept_gap('retention'); SELECT $resume; COMMIT");
goes_on('retention', '150|150|200', 'accept_gap');
is(sql(q{SELECT consumed, gaps FROM kafka_sink.txn_offsets WHERE sink = 'retention'}), '150|50',
	'the gap is in the accounts');
is(sql(q{SELECT action, part, from_off, until_off, role, at > now() - interval '1 hour'
		FROM kafka_sink.offset_history WHERE sink = 'retention'}),
	'accept_gap|0|100|150|postgres|t', 'and in the history');
is(sql('SELECT count(*) FROM retention WHERE off >= 100 AND off < 150'), '0', 'and not in the table');
wait_until($node, q{SELECT state, message, hint FROM kafka_sink.sinks WHERE sink = 'retention'}, 'running||',
	'the error is forgotten');

sql(q{SELECT kafka_sink.seek('fewer', 'earliest'); SELECT kafka_sink.resume('fewer')});
goes_on('fewer', '110|110|10', 'seek earliest');
sql(qq{SELECT kafka_sink.seek('more', '{"$topic{more}": {"0": 150}}'); SELECT kafka_sink.resume('more')});
goes_on('more', '150|150|200', 'seek to an offset');
sql(q{SELECT kafka_sink.seek('same_length', 'latest'); SELECT kafka_sink.resume('same_length')});
$kafka->gen($topic{same_length}, count => 1, from => 1100);
goes_on('same_length', '101|101|101', 'seek latest');

# --- the topics that are gone ---

wait_until($node, q{SELECT state, message, detail FROM kafka_sink.sinks WHERE sink = 'narrower'},
	qr/^halted\|topic "$narrower" has fewer partitions than before\|Partition 2 has a stored offset, .* knows 1 partitions/,
	'a topic made again with fewer partitions');
is(sql(q{SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'narrower'}), '100', 'its offsets are untouched');
halts('gone', qr/topic "$topic{gone}" was deleted\|.*seek.*unregister_topic/, 'a topic deleted while the sink was paused');
$kafka->create_topic($topic{replaced}, 1);
$kafka->gen($topic{replaced}, count => 200, from => 1000);
halts_at_another('replaced', 'a topic deleted under a running sink, and made again');
halts('deleted', qr/./, 'a topic deleted under a running sink');
like(sql(q{SELECT concat_ws(' ', message, detail, hint) FROM kafka_sink.sinks WHERE sink = 'deleted'}),
	qr/$topic{deleted}.*unregister_topic/, 'with advice');
$kafka->create_topic($topic{gone}, 1);
$kafka->gen($topic{gone}, count => 20, from => 1000);
sql(q{SELECT kafka_sink.seek('gone', 'earliest'); SELECT kafka_sink.resume('gone')});
goes_on('gone', '120|120|20', 'made again, and seek');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
