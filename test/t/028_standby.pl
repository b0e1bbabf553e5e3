# A synchronous standby that is not there: a sink whose commits wait for it is seen to wait,
# and nobody else waits for it, neither other sinks nor what processes say of themselves.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', streaming => 1);
my $kafka = shared_broker();
my $mock = start_mock(brokers => 1);

# (the test's own commits)
$ENV{PGOPTIONS} = '-c synchronous_commit=local';

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

# The standbys that are asked for.
sub ask_for
{
	my ($names) = @_;

	$node->append_conf('postgresql.conf', "synchronous_standby_names = '$names'");
	$node->reload;
	return;
}

sub create_sink
{
	my ($sink, $server, $broker, $settings) = @_;
	my $topic = $broker->topic($sink, $broker == $kafka ? 1 : undef);

	$mock->command("topic $topic 1") if $broker == $mock;
	sql(qq{
		CREATE TABLE $sink (id int);
		SELECT kafka_sink.create_sink('$sink', server => '$server', target => '$sink', $settings);
		SELECT kafka_sink.register_topic('$sink', '$topic')});
	$broker->produce($topic, 0, map { [ undef, qq({"id": $_}) ] } 1 .. 10);
	becomes("SELECT count(*) = 10 FROM $sink", "$sink: it consumes");
	return $topic;
}

my $seen = q{SELECT concat_ws('|', state, waits_for, message, detail, sqlstate) FROM kafka_sink.sinks WHERE sink = 'strict'};
my $pid = q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'strict'};

create_server($node, $kafka);
create_server($node, $mock, name => 'mock', options => "reconnect_backoff_max_ms '200'");
my $strict = create_sink('strict', 'kafka', $kafka, q(synchronous_commit => 'on', idle_after => '0'));
my $other = create_sink('other', 'kafka', $kafka, q(idle_after => '0'));
my $idle = create_sink('idle', 'mock', $mock, q(idle_after => '100 ms'));
becomes(q{SELECT state = 'idle' FROM kafka_sink.sinks WHERE sink = 'idle'}, 'one that has nothing to do');

ask_for('nobody');
# who commits, waits: so do all from now on
my $waiting = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'),
		'-c', 'SET synchronous_commit = on', '-c', 'CREATE TABLE probe ()' ], '<', \undef, '>', \my $out, '2>', \my $err);
becomes(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CREATE TABLE probe%' AND wait_event = 'SyncRep'}, 'no standby answers');

# --- a sink that wants its standby ---

$kafka->produce($strict, 0, [ undef, '{"id": 11}' ]);
wait_until($node, $seen, 'waiting|standby|waits for a synchronous standby', 'what it waits for');
is(sql(q{SELECT since > now() - interval '5 min' AND hint LIKE '%synchronous_standby_names%' FROM kafka_sink.sinks WHERE sink = 'strict'}), 't',
	'since when, and where to look');
is(sql(q{SELECT state, waits_for, pid IS NOT NULL FROM kafka_sink.stat_sinks WHERE sink = 'strict'}), 'waiting|standby|t', 'in stat_sinks, too');
is(sql('SELECT count(*) FROM strict'), '10', 'nobody sees before what the standby has not got');
like(timed_out($node, "CALL kafka_sink.wait_for('strict', timeout => '%d s')"),
	qr/ERROR:  57014: timed out .*DETAIL:  Topic "$strict", partition 0 is at offset 10, wanted is 11\.  The sink is in state waiting: waits for a synchronous standby/s,
	'wait_for says so');

# one that is ended has committed, and the next one begins
my $ended = sql($pid);
sql("SELECT pg_terminate_backend($ended)");
becomes(qq{SELECT state = 'running' AND pid <> $ended FROM kafka_sink.stat_sinks WHERE sink = 'strict'}, 'another worker says that it runs');
is(sql('SELECT count(*) FROM strict'), '11', 'what was committed here is there');
$kafka->produce($strict, 0, [ undef, '{"id": 12}' ]);
wait_until($node, $seen, 'waiting|standby|waits for a synchronous standby', 'and waits with the next record');

# --- those that do not ---

$kafka->produce($other, 0, [ undef, '{"id": 11}' ]);
becomes('SELECT count(*) = 11 FROM other', 'another sink goes on');
$mock->command('down 1');
becomes(q{SELECT (state, waits_for) = ('waiting', 'broker') FROM kafka_sink.sinks WHERE sink = 'idle'}, 'the watcher says that a broker is away');
$mock->command('up 1');
becomes(q{SELECT state = 'idle' FROM kafka_sink.sinks WHERE sink = 'idle'}, 'and that it is back');
$mock->produce($idle, 0, [ undef, '{"id": 11}' ]);
becomes('SELECT count(*) = 11 FROM idle', 'and wakes the sink');
# a bad record halts one of them
$kafka->produce($other, 0, [ undef, 'bad' ]);
becomes(q{SELECT state = 'halted' FROM kafka_sink.sinks WHERE sink = 'other'}, 'one that halts says so');

# --- the end of it ---

ask_for('');
$waiting->finish;
becomes(q{SELECT state = 'running' AND waits_for IS NULL FROM kafka_sink.sinks WHERE sink = 'strict'}, 'when no standby is asked for, it goes on');
is(sql('SELECT count(*), count(DISTINCT id) FROM strict'), '12|12', 'with all, once');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
