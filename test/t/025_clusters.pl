# Another cluster behind the same server: what it knows of topics says nothing
# about the log that was consumed.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();
my $other = start_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub lead_to
{
	my ($broker) = @_;

	sql("ALTER SERVER kafka OPTIONS (SET bootstrap_servers '" . $broker->bootstrap . "')");
	return;
}

create_server($node, $kafka);
my $topic = $kafka->topic('clusters', 1);
$kafka->gen($topic, count => 10);
sql(qq{
	CREATE TABLE moved (off bigint);
	SELECT kafka_sink.create_sink('moved', server => 'kafka', target => 'moved', columns => '{"off": "\@offset"}');
	SELECT kafka_sink.register_topic('moved', '$topic');
});
wait_until($node, 'SELECT count(*) FROM moved', '10', 'it consumes');

# --- one that does not have the topic ---

lead_to($other);
wait_until($node, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'moved'},
	'halted|server "kafka" leads to another Kafka cluster than before', 'another cluster, without the topic');
unlike(sql(q{SELECT hint FROM kafka_sink.sinks WHERE sink = 'moved'}), qr/unregister_topic/,
	'nobody is told to forget the offsets');
unlike(($node->psql('postgres', q{SELECT kafka_sink.pause('moved'); CALL kafka_sink.run('moved', timeout => '20 s')}))[2],
	qr/deleted|does not exist/, 'nor in a session');
lead_to($kafka);
$kafka->gen($topic, count => 10, from => 10);
sql(q{SELECT kafka_sink.resume('moved')});
wait_until($node, 'SELECT count(*), count(DISTINCT off) FROM moved', '20|20', 'back again, it goes on');

# --- one whose topic exists not yet is not bound to the wrong cluster ---

my $new = $kafka->topic('new');
sql(qq{CREATE SERVER elsewhere FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '@{[ $other->bootstrap ]}');
	CREATE TABLE early (off bigint);
	SELECT kafka_sink.create_sink('early', server => 'elsewhere', target => 'early', columns => '{"off": "\@offset"}');
	SELECT kafka_sink.register_topic('early', '$new')});
wait_until($node, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'early'}, qr/^waiting\|.*does not exist/,
	'the topic is not there yet');
is(sql(q{SELECT cluster_id FROM kafka_sink.sink_topics WHERE sink = 'early'}), '', 'and the sink is of no cluster');
$kafka->create_topic($new, 1);
$kafka->gen($new, count => 5);
sql(q{ALTER SERVER elsewhere OPTIONS (SET bootstrap_servers '} . $kafka->bootstrap . q{')});
wait_until($node, 'SELECT count(*) FROM early', '5', 'it is in the cluster that has it');

# --- none ---

my $none = q{waiting|server|42704|server "elsewhere" does not exist|t};
my $said = q{SELECT state, waits_for, sqlstate, message, hint LIKE 'CREATE SERVER%' AND hint NOT LIKE '%unregister%' FROM kafka_sink.sinks WHERE sink = 'early'};
sql(q{DROP SERVER elsewhere});
wait_until($node, $said, $none, 'a server that is dropped is no topic that is missing');
$kafka->gen($new, count => 5, from => 5);
create_server($node, $kafka, name => 'elsewhere');
wait_until($node, 'SELECT count(*), count(DISTINCT off) FROM early', '10|10', 'one of its name is enough to go on');
sql(q{SELECT kafka_sink.alter_sink('early', idle_after => '100 ms')});
wait_until($node, q{SELECT state, pid IS NULL FROM kafka_sink.stat_sinks WHERE sink = 'early'}, 'idle|t', 'it parks');
sql(q{DROP SERVER elsewhere});
wait_until($node, $said, $none, 'without its server it is not idle');
sql(q{SELECT kafka_sink.alter_sink('early', server => 'kafka')});
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'early'}, 'idle', 'with another one it is');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
