# A feed whose rights are taken away in Kafka, or whose slot or server is taken away here,
# while it runs: it says what it waits for, and of which transaction, and loses nothing.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my ($port, $sasl) = map { chomp(my $p = `$ENV{KAFKA_SINK_BROKER} free-port`); $p } 1 .. 2;
# where nobody has a right, everybody has all; where somebody has one, others have none
my $kafka = start_broker(
	port => $port,
	properties => {
		'listeners' => "PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl,CONTROLLER://127.0.0.1:" . ($port + 1),
		'advertised.listeners' => "PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl",
		'listener.security.protocol.map' => 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT',
		'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'super.users' => 'User:ANONYMOUS',
		'allow.everyone.if.no.acl.found' => 'true',
		'listener.name.sasl.sasl.enabled.mechanisms' => 'PLAIN',
		'listener.name.sasl.plain.sasl.jaas.config' =>
		  'org.apache.kafka.common.security.plain.PlainLoginModule required user_app="secret";' });
my $node = new_node('main', conf => "wal_level = logical\n");
my $progress = $kafka->topic('progress', 1, 'cleanup.policy' => 'compact');
my ($open, $closed) = map { $kafka->topic($_, 1) } qw(open closed);
my @between;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub published { return sql("CALL kafka_sink.wait_for('f', timeout => '3 min')"); }
sub values_of { return join ' ', map { $_->[3] } $kafka->records($_[0]); }

sub state_is
{
	my ($state, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT concat_ws(' ', state, waits_for, topic) FROM kafka_sink.feeds", $state, $what);
}

# A transaction over two topics, and the places of the WAL around its commit
sub emit_both
{
	my ($value) = @_;

	$between[0] = sql('SELECT pg_current_wal_insert_lsn()');
	sql("SELECT kafka_sink.emit('f', t, 'k', '$value') FROM unnest('{$open,$closed}'::text[]) t");
	$between[1] = sql('SELECT pg_current_wal_insert_lsn()');
	return;
}

sub emit { return sql("SELECT kafka_sink.emit('f', '$_[0]', 'k', '$_[1]')"); }

sub culprit_is_found
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT lsn >= '$between[0]' AND lsn < '$between[1]' FROM kafka_sink.feeds", 't', $what);
}

my $create_server = qq{
	CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:$sasl', security_protocol 'sasl_plaintext',
		sasl_mechanism 'PLAIN', reconnect_backoff_max_ms '500');
	CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS (sasl_username 'app', sasl_password 'secret');
};
sql(qq{
	$create_server
	SELECT kafka_sink.create_feed('f', server => 'kafka', progress_topic => '$progress', transaction_timeout => '20 s');
});
state_is('running', 'it runs');
emit_both('1');
published();
is(values_of($closed), '1', 'and publishes');

# --- the right to write to a topic ---

$kafka->kfk('grant', 'User:nobody', $closed, 'write');
emit($open, '2');
published();
emit_both('3');
emit($open, '4');
wait_until($node, "SELECT state || ' ' || sqlstate FROM kafka_sink.feeds", 'waiting 42501', 'a right that is taken away is waited for');
culprit_is_found('at the transaction that needs it');
like(sql('SELECT hint FROM kafka_sink.feeds'), qr/Grant the principal WRITE/, 'and the hint says which');
is(values_of($open), '1 2', 'what is ahead of it is published, and of it nothing');
$kafka->kfk('revoke', 'User:nobody', $closed, 'write');
published();
is(values_of($open) . ' / ' . values_of($closed), '1 2 3 4 / 1 3', 'when it is back it goes on');

# ... for good, but the topic can be seen: what needs it is skipped
$kafka->kfk('grant', 'User:app', $closed, 'describe');
emit_both('5');
emit($open, '6');
culprit_is_found('a right is taken again');
sql("SELECT kafka_sink.skip('f')");
published();
is(values_of($open) . ' / ' . values_of($closed), '1 2 3 4 6 / 1 3', 'a transaction that needs it can be skipped, in all of its topics');
$kafka->kfk('revoke', 'User:app', $closed, 'describe');

# --- the right to write the progress is nobody's fault ---

$kafka->kfk('grant', 'User:app', $progress, 'read');
emit($open, '7');
wait_until($node, "SELECT state || ' ' || sqlstate FROM kafka_sink.feeds", 'waiting 42501', 'without its progress it publishes nothing');
is(sql('SELECT lsn IS NULL FROM kafka_sink.feeds'), 't', 'and blames no transaction');
my (undef, undef, $error) = $node->psql('postgres', "SELECT kafka_sink.skip('f')");
like($error, qr/has not stopped at a transaction/, 'so that none is skipped');
is(values_of($open), '1 2 3 4 6', 'nothing is seen');
$kafka->kfk('revoke', 'User:app', $progress, 'read');
published();
is(values_of($open), '1 2 3 4 6 7', 'when it is back it goes on');

# --- the slot, while the worker has it ---

my $pid = sql('SELECT pid FROM kafka_sink.stat_feeds');
kill 'STOP', $pid;
sql('CREATE TABLE noise (t text)');
sql(q{ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'; SELECT pg_reload_conf()});
sql("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000); SELECT pg_switch_wal()") foreach 1 .. 2;
my $checkpoint = $node->background_psql('postgres');
$checkpoint->query_until(qr/begun/, "\\echo begun\nCHECKPOINT;\n\\echo done\n");
wait_for_log($node, qr/terminating process $pid to release replication slot/, 0, 'the worker is told to give its slot away');
kill 'CONT', $pid;
state_is('halted', 'and halts');
$checkpoint->quit;
like(sql('SELECT message || hint FROM kafka_sink.feeds'), qr/has lost WAL.*accept_gap/, 'it says what is lost, and what to do');
is(sql('SELECT lsn IS NULL FROM kafka_sink.feeds'), 't', 'which is no single transaction');
sql('ALTER SYSTEM RESET max_slot_wal_keep_size; SELECT pg_reload_conf()');
sql("SELECT kafka_sink.accept_gap('f')");
published();
emit($open, '8');
published();
is(values_of($open), '1 2 3 4 6 7 8', 'and goes on when told so');

# --- the server that tells where Kafka is ---

sql('DROP SERVER kafka CASCADE');
state_is('waiting server', 'a server that is dropped is waited for');
like(sql('SELECT message || hint FROM kafka_sink.feeds'), qr/server "kafka" does not exist.*CREATE SERVER kafka/, 'and the hint says how to make it');
emit($open, '9');
sql($create_server);
published();
is(values_of($open), '1 2 3 4 6 7 8 9', 'when it is there again it goes on');
state_is('running', 'as before');

done_testing();
