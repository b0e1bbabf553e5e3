# Offsets without a visible record: transactions (markers, aborted records,
# open ones) and compaction.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $accounting =
  'bool_and(consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched '
  . 'AND off - start_off = consumed + gaps)';

# Positions of the sink, and ends of the log that Kafka shows.
sub positions
{
	return sql("SELECT part, off FROM kafka_sink.txn_offsets WHERE sink = '$_[0]' ORDER BY part");
}

sub last_stable { return join "\n", map { "$_->[0]|$_->[3]" } $kafka->watermarks($_[0]); }

# (the end of a transaction is known before its partitions are)
sub is_at_end
{
	my ($sink, $topic, $what) = @_;
	my ($is, $end);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	KafkaSinkTest::_poll(sub { ($is, $end) = (positions($sink), last_stable($topic)); return $is eq $end });
	return is($is, $end, $what);
}

sub create_sink
{
	my ($sink, $topic, $more) = @_;
	my $columns = '{"part": "@partition", "off": "@offset"}';

	sql(qq{
		CREATE TABLE "$sink" (part int, off bigint, id bigint NOT NULL, PRIMARY KEY (part, off));
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '"$sink"', columns => '$columns'$more);
		SELECT kafka_sink.register_topic('$sink', '$topic');
		COMMIT;
	});
	return;
}

create_server($node, $kafka);

# A producer that dies in a transaction; the broker aborts it after a while.
my $dead = $kafka->topic('dead', 1);
my $dying = $kafka->script('transactional.id' => "dead-$$", 'transaction.timeout.ms' => 10000)->to($dead);
$dying->B;
$dying->P(0, undef, '{"id": -1}') foreach 1 .. 3;
$dying->F;
$dying->end;
$kafka->produce($dead, 0, [ undef, '{"id": 1}' ]);
create_sink('dead', $dead, '');

# --- committed, aborted and empty transactions over three partitions ---

my $topic = $kafka->topic('tx', 3);
create_sink('tx', $topic, '');
create_sink('dirty', $topic, ", isolation_level => 'read_uncommitted'");

my $seed = $ENV{KAFKA_SINK_TEST_SEED} // int(rand(2**31));
note "seed $seed";
srand($seed);
my $producer = $kafka->script('transactional.id' => "tx-$$")->to($topic);
my ($id, $all) = (0, 0);
my @committed;
foreach my $n (1 .. 80)
{
	my $abort = rand() < 0.4;

	$producer->B;
	foreach (1 .. int(rand(8)))
	{
		$producer->P(int(rand(3)), undef, sprintf('{"id": %d}', ++$id));
		$all++;
		push @committed, $id unless $abort;
	}
	# some reach the log before it is decided
	$producer->F if rand() < 0.5;
	$abort ? $producer->A : $producer->C;
}
wait_until($node, "SELECT string_agg(id::text, ',' ORDER BY id) FROM tx", join(',', @committed),
	'committed records arrive, aborted ones do not');
is_at_end('tx', $topic, 'offsets go behind the last control record');
is(sql("SELECT sum(consumed), sum(gaps) > 0, $accounting FROM kafka_sink.txn_offsets WHERE sink = 'tx'"),
	@committed . '|t|t', 'the accounts: what is not seen is a gap');
wait_until($node, q{SELECT string_agg(lag || ' ' || open_transaction_lag || ' ' || (off = high_watermark), ', ')
		FROM kafka_sink.lag WHERE sink = 'tx'}, '0 0 true, 0 0 true, 0 0 true', 'lag is 0');
sql("CALL kafka_sink.wait_for('dirty', timeout => '3 min')");
is(sql('SELECT count(*), count(DISTINCT id) FROM dirty'), "$all|$all", 'read_uncommitted sees aborted ones too');
is_at_end('dirty', $topic, 'and comes as far');

# --- an open transaction holds the sink back ---

$producer->B;
$producer->P(0, undef, sprintf('{"id": %d}', ++$id)) foreach 1 .. 5;
$producer->F;
my $lso = (last_stable($topic) =~ /^0\|(\d+)$/m)[0];
$kafka->produce($topic, 0, map { [ undef, sprintf('{"id": %d}', 1000 + $_) ] } 1 .. 3);
$kafka->produce($topic, 1, [ undef, '{"id": 1004}' ]);
wait_until($node, 'SELECT count(*) FROM tx WHERE id > 1000', '1', 'another partition goes on');
sql("CALL kafka_sink.wait_for('tx', timeout => '3 min')");
is(sql("SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'tx' AND part = 0"), $lso,
	'an open transaction: the sink stops at the last stable offset');
wait_until($node, q{SELECT lag, open_transaction_lag, end_offset FROM kafka_sink.lag WHERE sink = 'tx' AND part = 0},
	"0|8|$lso", 'lag says what holds it back');
wait_until($node, 'SELECT count(*) FROM dirty WHERE id > 1000', '4', 'read_uncommitted does not wait');
create_sink('session', $topic, ', enabled => false');
like(($node->psql('postgres', "CALL kafka_sink.run('session')"))[2], qr/ 0 offsets to go/,
	'run does not wait for it');
is(sql("SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'session' AND part = 0"), $lso,
	'and stops at the same offset');
$producer->C;
push @committed, $id - 4 .. $id, 1001 .. 1004;
wait_until($node, "SELECT string_agg(id::text, ',' ORDER BY id) FROM tx", join(',', @committed),
	'when it is committed, all behind it comes');
is(sql('SELECT id FROM tx WHERE part = 0 ORDER BY off DESC LIMIT 8'),
	join("\n", 1003, 1002, 1001, reverse $id - 4 .. $id), 'in order');
is_at_end('tx', $topic, 'up to the end');
$producer->end;

# --- compaction ---

my $kv = $kafka->topic('kv', 1, 'cleanup.policy' => 'compact', 'segment.ms' => 20,
	'min.cleanable.dirty.ratio' => '0.01', 'delete.retention.ms' => 600_000);
my %table;
my $round = 0;

# Each round writes all keys, some of them as tombstones.
sub produce_round
{
	my (@keys) = @_;
	my @records;

	$round++;
	foreach my $key (@keys)
	{
		my $gone = ($key + $round) % 7 == 0;

		push @records, [ $key, $gone ? undef : qq({"id": $key, "v": $round}) ];
		$gone ? delete $table{$key} : ($table{$key} = $round);
	}
	$kafka->produce($kv, 0, @records);
	return;
}

sub expected_table { return join "\n", map { "$_|$table{$_}" } sort { $a <=> $b } keys %table; }

# Compacted: fewer records than that are left.  A segment is closed by the
# first record after it.
sub wait_compacted
{
	my ($limit, $what) = @_;
	my $left;

	ok( KafkaSinkTest::_poll(
			sub {
				$left = $kafka->records($kv);
				return 1 if $left < $limit;
				produce_round(0);
				return 0;
			}),
		$what) or diag "$left records are left";
	return $left;
}

sql(qq{
	CREATE TABLE kv (id int PRIMARY KEY, v int);
	BEGIN;
	SELECT kafka_sink.create_sink('kv', server => 'kafka', target => 'kv', insert_mode => 'upsert',
		delete_enabled => true);
	SELECT kafka_sink.register_topic('kv', '$kv');
	SELECT kafka_sink.pause('kv');
	COMMIT;
});
produce_round(1 .. 100) foreach 1 .. 4;
wait_compacted(250, 'the topic is compacted');
sql("SELECT kafka_sink.resume('kv')");
sql("CALL kafka_sink.wait_for('kv', timeout => '3 min')");
is(sql('SELECT id, v FROM kv ORDER BY id'), expected_table(), 'the table is what the log says');
is(positions('kv'), last_stable($kv), 'offsets are at the end');
is(sql("SELECT gaps > 0, consumed < 400, $accounting FROM kafka_sink.txn_offsets WHERE sink = 'kv' GROUP BY 1, 2"),
	't|t|t', 'what was compacted away is a gap');

# The last record that was consumed is compacted away too.
sql("CALL kafka_sink.pause('kv', wait => true)");
my $last = sql("SELECT last_off FROM kafka_sink.txn_offsets WHERE sink = 'kv'");
produce_round(0 .. 100) foreach 1 .. 4;
ok( KafkaSinkTest::_poll(
		sub {
			return 1 unless grep { $_->[1] == $last } $kafka->records($kv);
			produce_round(0);
			return 0;
		}),
	'the last record consumed is compacted away');
sql("SELECT kafka_sink.resume('kv')");
sql("CALL kafka_sink.wait_for('kv', timeout => '3 min')");
is(sql('SELECT id, v FROM kv ORDER BY id'), expected_table(), 'the sink goes on without it');
is(positions('kv'), last_stable($kv), 'up to the end');
wait_until($node, "SELECT state, tail_check FROM kafka_sink.stat_partitions JOIN kafka_sink.sinks USING (sink) WHERE sink = 'kv'",
	'running|uncheckable', 'its tail could not be checked');
is(sql("SELECT $accounting FROM kafka_sink.txn_offsets WHERE sink = 'kv'"), 't', 'the accounts');

# --- the producer that died ---

wait_until($node, 'SELECT id FROM dead', '1', 'the broker aborts a transaction whose producer is dead');
sql("CALL kafka_sink.wait_for('dead', timeout => '3 min')");
is(positions('dead'), last_stable($dead), 'the sink is at the end');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
