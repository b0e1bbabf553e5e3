# Avro: records that fastavro wrote, of random schemas, are what they were before;
# and workers, preview() and dead letters with records of a topic.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use Test::More;

use PostgreSQL::Test::Utils;
use KafkaSinkTest;

my $modules = $ENV{KAFKA_SINK_FASTAVRO} or die 'KAFKA_SINK_FASTAVRO is not set: use test/run';
my $seed = $ENV{KAFKA_SINK_SEED} // int rand 1e6;
my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# --- the other side ---

print "# KAFKA_SINK_SEED=$seed\n";
my $schemas = 150;
my ($script, $problems);
{
	local $ENV{PYTHONPATH} = $modules;
	ok(IPC::Run::run([ 'python3', dirname(__FILE__) . '/../avro/oracle.py', $seed, $schemas ],
			'<', \undef, '>', \$script, '2>', \$problems), 'random schemas and records')
	  or diag $problems;
}
$node->safe_psql('postgres', 'CREATE DATABASE oracle');
$node->safe_psql('oracle', 'CREATE EXTENSION kafka_sink');
my @answers = split /\n(?=ok$|t\d+[.:])/m, $node->safe_psql('oracle', $script);
is(scalar @answers, 2 * $schemas, 'each schema was taken');
is_deeply([ grep { $_ ne 'ok' } @answers ], [], 'and each of its records is what it was');

# --- a topic ---

create_server($node, $kafka);
my $topic = $kafka->topic('avro', 2);
my $producer = $kafka->script->to($topic);

# zigzag numbers below 64, short strings
sub number { return chr(2 * $_[0]); }
sub string { return number(length $_[0]) . $_[0]; }
sub prefix { return pack('CN', 0, $_[0]); }

$producer->P($_ % 2, prefix(1) . number($_), prefix(7) . number($_) . string("name $_")) foreach 1 .. 20;
$producer->P(0, prefix(1) . number(21), prefix(8) . number(21) . string('cut off') x 2);
$producer->P(1, prefix(1) . number(3), undef);
$producer->F;

sql('CREATE TABLE people (id int PRIMARY KEY, name text, schema int)');
my $settings = q{target => 'people', insert_mode => 'upsert', delete_enabled => true, format => 'avro', key_format => 'avro',
	framing => 'confluent', columns => '{"schema": "@schema_id"}', key_schema => '"int"',
	value_schema => '{"type": "record", "name": "person", "fields": [{"name": "id", "type": "int"}, {"name": "name", "type": "string"}]}'};
sql("SELECT kafka_sink.create_sink('people', server => 'kafka', on_error => 'dead_letter', enabled => false, $settings)");
sql("SELECT kafka_sink.register_topic('people', '$topic')");
is(sql("SELECT outcome, count(*), min(row ->> 'name'), count(DISTINCT row ->> 'schema'), min(sqlstate) FROM kafka_sink.preview('people', 100, timeout => '2 min') GROUP BY 1 ORDER BY 1"),
	"applied|20|name 1|1|\ndeleted|1||0|\nerror|1||0|22P03", 'preview() decodes as the sink would');
is(sql('SELECT count(*) FROM people'), '0', 'and writes nothing');
is(sql("SELECT encode(key, 'hex') || ' ' || encode(value, 'hex') FROM kafka_sink.peek('kafka', '$topic', 1, until_off => 1, timeout => '2 min')"),
	unpack('H*', prefix(1) . number(1)) . ' ' . unpack('H*', prefix(7) . number(1) . string('name 1')), 'peek() shows bytes');

sql("SELECT kafka_sink.resume('people')");
wait_until($node, 'SELECT count(*), sum(id), min(name), min(schema), max(schema) FROM people', '19|207|name 1|7|7',
	'a worker writes and deletes');
# (which may come with the next batch)
wait_until($node, 'SELECT sqlstate, message, column_name, encode(value, \'hex\') FROM kafka_sink.dead_letters',
	'22P03|invalid Avro||' . unpack('H*', prefix(8) . number(21) . string('cut off') x 2), 'a record that is none is a dead letter, byte by byte');
$producer->P(0, prefix(1) . number(22), prefix(9) . number(22) . string('last'));
$producer->F;
$producer->end;
wait_until($node, 'SELECT name, schema FROM people WHERE id = 22', 'last|9', 'and goes on');

done_testing();
