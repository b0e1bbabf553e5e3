# The fast path in a worker: that it is taken, that hot tables stay small, that
# it waits for others as SQL does, and that partitions may change meanwhile.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "autovacuum = off\n");
my $kafka = shared_broker();

create_server($node, $kafka);

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $columns = 'id bigint, qty int, price numeric(12,2), at timestamptz, note text';

# Consumes a topic to its end, by a worker; what the view says of it, when the last
# batch is counted, too.
sub consume
{
	my ($sink, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql("SELECT kafka_sink.resume('$sink')");
	sql("CALL kafka_sink.wait_for('$sink', timeout => '10 min')");
	return wait_until($node, "SELECT batches > 0, fast_batches = batches, fast_batches = 0, index_ms > 0
		FROM kafka_sink.stat_sinks WHERE sink = '$sink'
		 AND records = (SELECT sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = '$sink')", $expected, $what);
}

# --- hot keys ---

# (of one partition: which keys meet in a batch is no chance)
my $hot = $kafka->topic('hot', 1);
# (batches that are full, all of them, however slowly records come)
$kafka->gen($hot, count => 27 * 15000, keys => 'rand:4000');

sub create_hot
{
	my ($on, $sink) = @_;

	$on->safe_psql('postgres', "CREATE TABLE $sink ($columns, PRIMARY KEY (id));
		SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink', insert_mode => 'upsert',
			batch_records => 15000, batch_linger_ms => 60000, enabled => false);
		SELECT kafka_sink.register_topic('$sink', '$hot');");
	return;
}

create_hot($node, $_) foreach qw(hot general);
consume('hot', 't|t|f|t', 'plain upserts are written without SQL');
sql('ALTER DATABASE postgres SET kafka_sink.fast_path = off');
consume('general', 't|f|t|f', 'and by SQL where the setting is off');
sql('ALTER DATABASE postgres RESET kafka_sink.fast_path');
is(sql('SELECT count(*) FROM (TABLE hot EXCEPT ALL TABLE general) x'), '0', 'both tables are the same');
is(sql('SELECT count(*) FROM hot'), sql('SELECT count(*) FROM general'), 'in number too');

# Where rows go, in a server that does nothing else: what a snapshot of somebody
# else needs, or a page that is being written, cannot be pruned, so that among
# others it is chance where a row finds room.
my $alone = new_node('alone', conf => <<'EOF');
shared_preload_libraries = ''
autovacuum = off
bgwriter_lru_maxpages = 0
checkpoint_timeout = 1d
max_wal_size = 10GB
EOF
create_server($alone, $kafka);
my %place;
foreach my $way (qw(on off))
{
	my $sink = "hot_$way";

	create_hot($alone, $sink);
	foreach my $round (0, 1)
	{
		$alone->safe_psql('postgres', "SELECT kafka_sink.seek('$sink', 'earliest'), pg_stat_reset()") if $round;
		$alone->safe_psql('postgres', "SET kafka_sink.fast_path = $way; CALL kafka_sink.run('$sink')");
		# (each record is an insert or an update, or superseded within its batch)
		wait_until($alone, "SELECT n_tup_ins + n_tup_upd = (SELECT sum(applied) FROM kafka_sink.txn_offsets WHERE sink = '$sink')
			FROM pg_stat_user_tables WHERE relname = '$sink'", 't', "fast_path = $way: all is counted");
		my ($updates, @place) = split /\|/, $alone->safe_psql('postgres',
			"SELECT n_tup_upd, n_tup_upd - n_tup_hot_upd, pg_relation_size(relid) / 8192
			   FROM pg_stat_user_tables WHERE relname = '$sink'");
		note sprintf 'fast_path = %s: %d updates, %d of them to other pages; %d pages', $way, $updates, @place;
		$place{$way}[$round] = { moved => $place[0] / $updates, pages => $place[1] };
	}
}
# by SQL it is 280 pages on PostgreSQL 15, without SQL 130
cmp_ok($place{on}[$_]{pages}, '<', $place{off}[$_]{pages} * 0.8, 'hot rows find room in pages that they have left') foreach 0, 1;
cmp_ok($place{on}[0]{moved}, '<', $place{off}[0]{moved} * 0.8, 'fewer of them move');
cmp_ok($place{on}[1]{moved}, '<', 0.01, 'and after a few batches hardly one');

# --- others at work on the same keys ---

my $rival = $kafka->topic('rival', 1);
sql("CREATE TABLE rival ($columns, PRIMARY KEY (id));
	SELECT kafka_sink.create_sink('rival', server => 'kafka', target => 'rival', insert_mode => 'upsert', enabled => false);
	SELECT kafka_sink.register_topic('rival', '$rival');
	INSERT INTO rival (id, note) VALUES (5, 'old'), (6, 'old'), (7, 'old');");
$kafka->gen($rival, count => 100);

foreach my $end (qw(COMMIT ROLLBACK))
{
	my $session = $node->background_psql('postgres');

	$session->query_safe('BEGIN');
	$session->query_safe("INSERT INTO rival (id, note) VALUES (50, 'new')
		ON CONFLICT (id) DO UPDATE SET note = 'new'");
	$session->query_safe("UPDATE rival SET note = 'changed' WHERE id = 5");
	$session->query_safe('DELETE FROM rival WHERE id = 6');
	sql("SELECT kafka_sink.seek('rival', 'earliest'), kafka_sink.resume('rival')");
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.application_name = 'kafka_sink rival' AND NOT l.granted}) or die 'the sink does not wait';
	$session->query_safe($end);
	$session->quit;
	sql("CALL kafka_sink.wait_for('rival', timeout => '3 min')");
	is(sql(q{SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE note IN ('old', 'new', 'changed')) FROM rival}),
		'100|100|0', "$end of a rival: every row is the record's");
	is(sql(q{SELECT consumed, applied, superseded FROM kafka_sink.txn_offsets WHERE sink = 'rival'}),
		'100|100|0', 'and counted');
	# it may have waited for the lock for long enough to say so
	wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'rival'}, 'running', 'the sink goes on');
	sql("SELECT kafka_sink.pause('rival')");
}

# --- partitions ---

my $records = 100000;
my $parted = $kafka->topic('parted', 2);
$kafka->gen($parted, count => $records);
sql("CREATE TABLE parted ($columns) PARTITION BY RANGE (id)");
sql("CREATE TABLE parted_$_ PARTITION OF parted FOR VALUES FROM (" . $_ * $records / 5 . ') TO (' . ($_ + 1) * $records / 5 . ')') foreach 0, 1, 3, 4;
# one in an order of its own
sql("CREATE TABLE parted_2 (gone int, note text, at timestamptz, id bigint, price numeric(12,2), qty int);
	ALTER TABLE parted_2 DROP gone;
	ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (" . 2 * $records / 5 . ') TO (' . 3 * $records / 5 . ");
	CREATE TABLE parted_far PARTITION OF parted FOR VALUES FROM (1000000000) TO (2000000000);
	CREATE INDEX ON parted (id);
	SELECT kafka_sink.create_sink('parted', server => 'kafka', target => 'parted', batch_records => 5000, enabled => false);
	SELECT kafka_sink.register_topic('parted', '$parted');");
consume('parted', 't|t|f|t', 'partitions are written without SQL');
is(sql('SELECT count(*), count(DISTINCT id), count(DISTINCT tableoid) FROM parted'), "$records|$records|5", 'and every row is there');

# Partitions come and go, and get indexes and constraints, while rows are written.
sql("SELECT kafka_sink.pause('parted')");
sql('TRUNCATE parted');
sql("SELECT kafka_sink.alter_sink('parted', batch_records => 20), kafka_sink.seek('parted', 'earliest')");
sql("SELECT kafka_sink.resume('parted')");
my $deadline = time + $KafkaSinkTest::timeout;
my $rounds = 0;
while (sql(q{SELECT sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = 'parted'}) < $records && time < $deadline)
{
	my $p = 'parted_' . $rounds++ % 5;

	sql('ALTER TABLE parted DETACH PARTITION parted_far CONCURRENTLY');
	sql("CREATE INDEX CONCURRENTLY made ON $p (qty)");
	sql('ALTER TABLE parted ATTACH PARTITION parted_far FOR VALUES FROM (1000000000) TO (2000000000)');
	sql("ALTER TABLE $p ADD CONSTRAINT positive CHECK (id >= 0)");
	sql("CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM (2000000000) TO (3000000000)");
	sql("ALTER TABLE $p DROP CONSTRAINT positive");
	sql('DROP TABLE parted_new');
	is(sql("SET enable_seqscan = off; SELECT (SELECT count(*) FROM $p WHERE qty >= -1000000) = (SELECT count(*) FROM $p WHERE ctid IS NOT NULL)"),
		't', "an index that was made meanwhile has all rows of $p");
	sql('DROP INDEX CONCURRENTLY made');
}
sql("CALL kafka_sink.wait_for('parted', timeout => '3 min')");
note "$rounds rounds of changes";
cmp_ok($rounds, '>', 0, 'partitions were changed meanwhile');
is(sql('SELECT count(*), count(DISTINCT id) FROM parted'), "$records|$records", 'every row is there once');
is(sql('SET enable_seqscan = off; SELECT count(*) FROM parted WHERE id >= 0'), $records, 'and in the index');
is(sql(q{SELECT sum(consumed), sum(applied) FROM kafka_sink.txn_offsets WHERE sink = 'parted'}), "$records|$records", 'and counted');
is(sql(q{SELECT fast_batches > 0 FROM kafka_sink.stat_sinks WHERE sink = 'parted'}), 't', 'most batches without SQL');

done_testing();
