# Kafka's own Java clients beside a feed: keys are in the partitions where a Java producer puts
# them, and a Java consumer of committed records reads each message once.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $jars = $ENV{KAFKA_SINK_JARS} or die 'KAFKA_SINK_JARS is not set: use test/run';
my $kafka = shared_broker();
my $node = new_node('main', conf => "wal_level = logical\n");
my $progress = $kafka->topic('progress');
my ($by_java, $by_feed) = map { $kafka->topic($_, 7) } qw(by-java by-feed);
# numbers, texts of all lengths, letters of more than a byte
my @keys = ((map { 37 * $_ } 1 .. 200), (map { 'k' x $_ } 1 .. 40), (map { "\xc3\xa9$_\xe2\x82\xac" } 1 .. 60), '{"a":1,"b":"x"}');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What one of Kafka's tools says.
sub java
{
	my ($class, $in, @args) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'java', '-XX:TieredStopAtLevel=1', '-Xmx256m', '-cp', "$jars/*", "org.apache.kafka.tools.$class",
			'--bootstrap-server', $kafka->bootstrap, @args ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(3 * $KafkaSinkTest::timeout))
	  or die "$class: $err";
	return $out;
}

# partition by key
sub partitions { return map { $_->[2] => $_->[0] } $kafka->records($_[0]); }

create_server($node, $kafka);
sql("SELECT kafka_sink.create_feed('f', server => 'kafka', progress_topic => '$progress')");
sql("CALL kafka_sink.wait_for('f', timeout => '2 min')");
my $list = join ', ', map { '$k$' . $_ . '$k$' } @keys;
sql("SELECT kafka_sink.emit('f', '$by_feed', k, 'value of ' || k) FROM unnest(ARRAY[$list]) k");
# not to be seen: of a transaction that is rolled back here, and of one that Kafka aborts
sql("BEGIN; SELECT kafka_sink.emit('f', '$by_feed', 'x', 'rolled back'); ROLLBACK");
my $other = $kafka->script('transactional.id' => "aborted-$$")->to($by_feed);
$other->B;
$other->P($_, 'x', 'aborted') foreach 0 .. 6;
$other->F;
$other->A;
$other->end;
sql("SELECT kafka_sink.emit('f', '$by_feed', k, 'again') FROM unnest(ARRAY[$list]) k");
sql("CALL kafka_sink.wait_for('f', timeout => '2 min')");

java('ConsoleProducer', join('', map { "$_\t$_\n" } @keys), '--topic', $by_java, '--property', 'parse.key=true');
my %java = partitions($by_java);
my %feed = partitions($by_feed);
is(scalar keys %java, scalar @keys, 'the Java producer has sent all');
is_deeply(\%feed, \%java, 'each key is in the partition where it puts it');

my @read = split /\n/, java('consumer.ConsoleConsumer', '', '--topic', $by_feed, '--from-beginning', '--isolation-level', 'read_committed',
	'--max-messages', 2 * @keys, '--property', 'print.key=true', '--property', 'print.partition=true', '--property', 'key.separator=|');
my %values;
foreach (@read)
{
	my ($part, $key, $value) = /^Partition:(\d+)\|(.*)\|(.*)$/ or die $_;

	push @{ $values{$key} }, $value;
}
is_deeply(\%values, { map { $_ => [ "value of $_", 'again' ] } @keys }, 'a Java consumer reads each message once, in order, and nothing else');
done_testing();
