# Copies of a server: the one that is written to consumes, and goes on from the
# offset in its own data: a standby that is promoted, a base backup, recovery
# to a point in time.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $kafka = shared_broker();
my $topic = $kafka->topic('orders', 2);
my $manifest = PostgreSQL::Test::Utils::tempdir() . '/manifest';
my $producer = $kafka->gen_bg($topic, count => 0, rate => 3000, manifest => $manifest);

my $primary = new_node('primary', streaming => 1, start => 0);
$primary->enable_archiving;
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION kafka_sink');
create_server($primary, $kafka);
$primary->safe_psql('postgres', qq{
	CREATE TABLE orders (part int, off bigint, id bigint, qty bigint, PRIMARY KEY (part, off));
	SELECT kafka_sink.create_sink('orders', server => 'kafka', target => 'orders',
		columns => '{"part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic('orders', '$topic');
});

my $processes = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink worker', 'kafka_sink supervisor')};
my $agreement = q{SELECT (SELECT count(*) FROM orders) = (SELECT sum(off) FROM kafka_sink.txn_offsets)};

sub count_rows { return $_[0]->safe_psql('postgres', 'SELECT count(*) FROM orders'); }

wait_until($primary, 'SELECT count(*) > 1000 FROM orders', 't', 'the primary consumes');

# --- a standby, and other copies for later ---

$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
# copies write nothing to the archive of the primary, which another one reads
$standby->append_conf('postgresql.conf', 'archive_mode = off');
$standby->start;
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $processes), '0', 'no workers on the standby');
is($standby->safe_psql('postgres', $agreement), 't', 'there, rows and offsets agree');
my $count = count_rows($standby);
wait_until($standby, "SELECT count(*) > $count FROM orders", 't', 'it follows');
is($standby->safe_psql('postgres', q{SELECT sink, state, pid, records FROM kafka_sink.stat_sinks}), 'orders|running||',
	'its views show the state of the primary, and no worker of its own');
like(($standby->psql('postgres', q{CALL kafka_sink.run('orders')}))[2], qr/ERROR: .*(read-only|recovery)/,
	'run cannot consume there');
like(($standby->psql('postgres', q{SELECT kafka_sink.pause('orders')}))[2], qr/ERROR: .*(read-only|recovery)/,
	'nor can anything be changed');

# A point in time to come back to.
my ($snapshot, $segment) = split /\n/, $primary->safe_psql('postgres', q{
	BEGIN;
	LOCK TABLE orders IN SHARE MODE;
	SELECT count(*) FROM orders;
	SELECT pg_walfile_name(pg_create_restore_point('here'));
	COMMIT;
});
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver")
  or die "$segment is not archived";

# --- the primary is lost ---

$count = count_rows($primary);
wait_until($primary, "SELECT count(*) > $count FROM orders", 't', 'the primary goes on');
$primary->stop('immediate');
$standby->promote;
$count = count_rows($standby);
is($standby->safe_psql('postgres', $agreement), 't', 'the new primary: rows and offsets agree');
wait_until($standby, "SELECT count(*) > $count FROM orders", 't', 'it goes on by itself');
# (one more looks into each other database, once)
wait_until($standby, $processes, '2', 'with workers');

# --- a clone: harmless, it reads the same log into its own copy ---

my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($primary, 'copy');
$clone->append_conf('postgresql.conf', "kafka_sink.enabled = off\narchive_mode = off");
$clone->start;
is($clone->safe_psql('postgres', $agreement), 't', 'a clone: rows and offsets agree');
is($clone->safe_psql('postgres', $processes), '0', 'with kafka_sink.enabled = off it does not consume');
is($clone->safe_psql('postgres', q{SELECT state, message FROM kafka_sink.sinks}), 'idle|kafka_sink.enabled is off', 'nor says that it does');
is($clone->safe_psql('postgres', q{SELECT sink, state, pid FROM kafka_sink.stat_sinks}), 'orders||', 'in stat_sinks neither');
$clone->append_conf('postgresql.conf', 'kafka_sink.enabled = on');
$clone->reload;

# --- recovery to a point in time ---

my $past = PostgreSQL::Test::Cluster->new('past');
$past->init_from_backup($primary, 'copy', has_restoring => 1, standby => 0);
$past->append_conf('postgresql.conf', <<'END');
recovery_target_name = 'here'
recovery_target_action = 'pause'
END
$past->start;
wait_until($past, q{SELECT pg_get_wal_replay_pause_state()}, 'paused', 'recovery to a point in time');
is(count_rows($past), $snapshot, 'the rows of then');
is($past->safe_psql('postgres', $agreement), 't', 'and the offsets of then');
is($past->safe_psql('postgres', $processes), '0', 'without workers, as long as it is in recovery');
$past->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
wait_until($past, "SELECT count(*) > $snapshot FROM orders", 't', 'it goes on from there');

# --- nothing lost, nothing twice, anywhere ---

ok($producer->stop, 'all was produced');
my ($produced, $sum) = (0, 0);
foreach (split /\n/, slurp_file($manifest))
{
	$produced++;
	$sum += (split /\t/)[3];
}
foreach my $node ($standby, $clone, $past)
{
	$node->safe_psql('postgres', q{CALL kafka_sink.wait_for('orders', timeout => '3 min')});
	is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), sum(qty) FROM orders'),
		"$produced|$produced|$sum", $node->name . ': all of the log, once');
	$node->stop('fast');
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, $node->name . ': nothing crashed');
}

done_testing();
