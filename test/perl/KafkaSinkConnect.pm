
=head1 NAME

KafkaSinkConnect - Debezium's connectors in Kafka Connect standalone

=head1 SYNOPSIS

  use KafkaSinkConnect;

  my $connect = KafkaSinkConnect->start($kafka, $node,
	prefix => { 'schema.include.list' => 'src', ... }, ...);
  $connect->wait_streaming;

  my $sinks = KafkaSinkConnect->start_jdbc($kafka, $node,
	name => { topics => '...', 'collection.name.format' => '...' }, ...);

One connector for each prefix of topics: it is its name too, and that of its
slot and publication, and the default of its settings is what reads the tables
of database C<postgres> with pgoutput.  Connect ends with the test, whatever
ends the test.

start_jdbc() runs Debezium's JDBC sink, which writes to database C<postgres> what it reads of committed
records with their schemas, by the keys of the records.

The jars are the runner's (KAFKA_SINK_DEBEZIUM_JARS, test/debezium/pom.xml; KAFKA_SINK_PEER_JARS, bench/pom.xml).

=cut

package KafkaSinkConnect;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

sub start
{
	my ($class, $kafka, $node, %connectors) = @_;
	my $jars = $ENV{KAFKA_SINK_DEBEZIUM_JARS}
	  or die 'KAFKA_SINK_DEBEZIUM_JARS is not set: use test/run';

	return $class->_run($kafka, $node, $jars, map {
		$_ => {
			'connector.class' => 'io.debezium.connector.postgresql.PostgresConnector',
			'plugin.name' => 'pgoutput',
			'publication.autocreate.mode' => 'filtered',
			'database.hostname' => '127.0.0.1',
			'database.port' => $node->port,
			'database.dbname' => 'postgres',
			'database.user' => $node->safe_psql('postgres', 'SELECT current_user'),
			'database.password' => 'none',
			'topic.prefix' => $_,
			'slot.name' => $_,
			'publication.name' => $_,
			%{ $connectors{$_} } } } keys %connectors);
}

sub start_jdbc
{
	my ($class, $kafka, $node, %connectors) = @_;
	my $jars = $ENV{KAFKA_SINK_PEER_JARS}
	  or die 'KAFKA_SINK_PEER_JARS is not set: use test/run';

	return $class->_run($kafka, $node, $jars, map {
		$_ => {
			'connector.class' => 'io.debezium.connector.jdbc.JdbcSinkConnector',
			# (numbers come as texts)
			'connection.url' => 'jdbc:postgresql://127.0.0.1:' . $node->port . '/postgres?stringtype=unspecified',
			'connection.username' => $node->safe_psql('postgres', 'SELECT current_user'),
			'connection.password' => 'none',
			'insert.mode' => 'upsert',
			'delete.enabled' => 'true',
			'primary.key.mode' => 'record_key',
			'schema.evolution' => 'none',
			'consumer.override.isolation.level' => 'read_committed',
			%{ $connectors{$_} } } } keys %connectors);
}

sub _run
{
	my ($class, $kafka, $node, $jars, %connectors) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('connect');
	my $port = `$ENV{KAFKA_SINK_BROKER} free-port`;
	my $self = bless { node => $node, dir => $dir, connectors => [ sort keys %connectors ] }, $class;

	chomp $port;
	_properties("$dir/worker", {
		'bootstrap.servers' => $kafka->bootstrap,
		'listeners' => "http://127.0.0.1:$port",
		'key.converter' => 'org.apache.kafka.connect.json.JsonConverter',
		'value.converter' => 'org.apache.kafka.connect.json.JsonConverter',
		'offset.storage.file.filename' => "$dir/offsets",
		'plugin.discovery' => 'service_load' });
	_properties("$dir/$_", { 'name' => $_, %{ $connectors{$_} } }) foreach keys %connectors;
	# ends with this process, even if that is killed
	$self->{run} = IPC::Run::start(
		[
			'setpriv', '--pdeathsig', 'KILL',
			'java', '-XX:-UsePerfData', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xms256m', '-Xmx512m',
			"-Djava.io.tmpdir=$dir", '-Duser.timezone=UTC', '-cp', "$jars/*",
			'org.apache.kafka.connect.cli.ConnectStandalone',
			map { "$dir/$_.properties" } 'worker', @{ $self->{connectors} }
		],
		'<', \'', '>', "$dir/log", '2>&1');
	return $self;
}

sub _properties
{
	my ($file, $properties) = @_;

	append_to_file("$file.properties", join '', map { "$_=$properties->{$_}\n" } sort keys %$properties);
	return;
}

# The snapshots are written, and the connectors follow the log.
sub wait_streaming
{
	my ($self) = @_;
	my $names = join ',', map { "'$_'" } @{ $self->{connectors} };
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($self->{node},
		"SELECT count(*) FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid
		  WHERE s.slot_name IN ($names) AND r.state = 'streaming'",
		scalar @{ $self->{connectors} }, 'the connectors stream', 3 * $KafkaSinkTest::timeout)
	  or diag $self->errors;
	return;
}

sub errors
{
	my ($self) = @_;

	return join '', map { substr($_, 0, 400) . "\n" } grep { / ERROR |Caused by/ } split /\n/, slurp_file("$self->{dir}/log");
}

sub stop
{
	my ($self) = @_;

	$self->{run}->kill_kill(grace => 20);
	return;
}

1;
