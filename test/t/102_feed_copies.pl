# Copies of a server or database with a feed: none of them publishes what the original
# does, or keeps it from publishing, until somebody says so.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', streaming => 1, conf => "wal_level = logical\nwal_keep_size = 1GB\n");
my $kafka = shared_broker();
my $topic = $kafka->topic('events', 1);
my $progress = $kafka->topic('progress');

sub values_of { return join ' ', map { $_->[3] } $kafka->records($topic); }

sub state_is
{
	my ($server, $state, $what, $dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($server, "SELECT state FROM kafka_sink.feeds WHERE feed = 'f'", $state, $what, undef, $dbname);
}

sub emit
{
	my ($server, $value, $dbname) = @_;

	$server->safe_psql($dbname // 'postgres', "SELECT kafka_sink.emit('f', '$topic', 'k', '$value')");
	return $server->safe_psql($dbname // 'postgres', "CALL kafka_sink.wait_for('f', timeout => '2 min')");
}

# What nobody would ever publish
sub takes_nothing
{
	my ($dbname) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, undef, $error) = $node->psql($dbname, "SELECT kafka_sink.emit('f', '$topic', 'k', 'lost')");

	return like($error, qr/feed "f" is suspended.*kafka_sink\.resume\('f'\)/s, 'and takes no message');
}

create_server($node, $kafka);
$node->safe_psql('postgres', "SELECT kafka_sink.create_feed('f', server => 'kafka', progress_topic => '$progress')");
state_is($node, 'running', 'the feed runs');
emit($node, 'one');
my $pid = $node->safe_psql('postgres', 'SELECT pid FROM kafka_sink.stat_feeds');

# --- a base backup beside the original ---

$node->backup('base');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'base');
$copy->start;
state_is($copy, 'halted', 'a copy halts');
like($copy->safe_psql('postgres', 'SELECT message FROM kafka_sink.feeds'), qr/slot does not exist/, 'without a slot');
emit($node, 'two');
is($node->safe_psql('postgres', 'SELECT pid FROM kafka_sink.stat_feeds'), $pid, 'the original was not disturbed');
is(values_of(), 'one two', 'and publishes');
$copy->stop;

# --- and one that somebody lets go on, where the original has more to publish ---

$node->safe_psql('postgres', "CALL kafka_sink.pause('f', true)");
$node->backup('later');
# (it begins behind that, and does not come so far)
$node->safe_psql('postgres', "SELECT kafka_sink.emit('f', '$topic', 'k', 'left')");
$node->safe_psql('postgres', q{SELECT length(pg_logical_emit_message(false, 'noise', repeat('x', 30000000))::text)});
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($node, 'later');
$clone->start;
$clone->safe_psql('postgres', "SELECT kafka_sink.resume('f')");
state_is($clone, 'halted', 'another copy halts');
$clone->safe_psql('postgres', "SELECT kafka_sink.accept_gap('f')");
state_is($clone, 'running', 'until somebody says so');
emit($clone, 'clone');
$clone->stop;
$node->safe_psql('postgres', "SELECT kafka_sink.resume('f')");
state_is($node, 'halted', 'then the original does not go on from where the copy is');
like($node->safe_psql('postgres', 'SELECT message || hint FROM kafka_sink.feeds'), qr/another server has begun this feed anew.*accept_gap/, 'and says why');
$node->safe_psql('postgres', "SELECT kafka_sink.accept_gap('f')");
state_is($node, 'running', 'until somebody says so, too');
is(values_of(), 'one two clone', 'that what it had to publish is lost');

# --- a restored dump, and a database made from a template ---

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'a dump');
unlike(slurp_file($dump), qr/feed_secrets/, 'has no secrets');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'is restored');
state_is($node, 'suspended', 'there the feed is suspended', 'restored');
takes_nothing('restored');
$node->safe_psql('restored', "SELECT kafka_sink.resume('f')");
state_is($node, 'running', 'until it is resumed', 'restored');
emit($node, 'restored', 'restored');
emit($node, 'three');
is(values_of(), 'one two clone restored three', 'both publish what is theirs');
$node->safe_psql('postgres', 'CREATE DATABASE templated TEMPLATE restored');
state_is($node, 'suspended', 'and so it is in a database that is made from it', 'templated');
takes_nothing('templated');
$node->safe_psql('templated', "SELECT kafka_sink.resume('f')");
state_is($node, 'running', 'until it is resumed', 'templated');
emit($node, 'templated', 'templated');
is(values_of(), 'one two clone restored three templated', 'then it takes messages');
$node->safe_psql('postgres', "DROP DATABASE $_") foreach qw(templated restored);

# --- failover to a standby that has no slot ---

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT state FROM kafka_sink.stat_feeds'), 'running', 'a standby shows what the primary wrote');
$node->stop;
$standby->promote;
state_is($standby, 'halted', 'promoted, the feed halts');
like($standby->safe_psql('postgres', 'SELECT message || detail || hint FROM kafka_sink.feeds'),
	qr/slot does not exist.*a standby that is promoted.*accept_gap\('f'\).*not published/s, 'and says why, and what to do');
is($standby->safe_psql('postgres', "SELECT count(*) FROM kafka_sink.sink_history WHERE action = 'accept_gap' AND old->>'message' ~ 'slot'"), 0, 'which nobody has done yet');
$standby->safe_psql('postgres', "SELECT kafka_sink.accept_gap('f')");
$standby->safe_psql('postgres', "CALL kafka_sink.wait_for('f', timeout => '2 min')");
is($standby->safe_psql('postgres', "SELECT old->>'message' FROM kafka_sink.sink_history WHERE action = 'accept_gap' ORDER BY id DESC LIMIT 1"), "the feed's replication slot does not exist", 'the history has it');
emit($standby, 'four');
is(values_of(), 'one two clone restored three templated four', 'and goes on when told so');

# whoever was the primary before comes back
$node->start;
$node->psql('postgres', "SELECT kafka_sink.emit('f', '$topic', 'k', 'zombie')");
wait_until($node, "SELECT state FROM kafka_sink.feeds", qr/halted|waiting|backoff/, 'it does not go on as if nothing had been');
$node->stop;
emit($standby, 'five');
like(values_of(), qr/ four (zombie )?five$/, 'the new one does');

done_testing();
