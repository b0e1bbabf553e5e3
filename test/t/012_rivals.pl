# Two rivals on one partition: one wins, the other rolls back, nothing twice.
use strict;
use warnings FATAL => 'all';

use Test::More;

use PostgreSQL::Test::Utils;
use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

create_server($node, $kafka);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Runs the scripts at once: all wait for one lock first.  Their errors.
sub at_once
{
	my (@scripts) = @_;
	my $gate = $node->background_psql('postgres');

	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my @runs = map { start_script($node, "SELECT pg_advisory_lock_shared(1);\n$_") } @scripts;
	$node->poll_query_until('postgres', q{SELECT count(*) = } . @scripts
		  . q{ FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) or die 'the rivals do not line up';
	$gate->quit;
	$_->{h}->finish for @runs;
	return map { $_->{err} } @runs;
}

# --- ingest() and advance() of clients ---

sql(q{
	CREATE TABLE t (off bigint, rival int);
	SELECT kafka_sink.create_sink('client', target => 't', columns => '{"off": "@offset"}');
	SELECT kafka_sink.seek('client', '{"x": {"0": 0}}');
	CREATE TABLE mine (off bigint, rival int);
	SELECT kafka_sink.create_sink('ledger');
	SELECT kafka_sink.advance('ledger', 'x', 0, NULL, 0);
	-- what a client does: reads where it stands, does its work, moves
	CREATE FUNCTION ingest_next(rival int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE at bigint := (SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'client');
	BEGIN
		PERFORM kafka_sink.ingest('client', ARRAY(SELECT ROW('x', 0, at + i, NULL, NULL,
			convert_to(format('{"rival": %s}', rival), 'UTF8'), NULL)::kafka_sink.record FROM generate_series(0, 9) i));
	END$$;
	CREATE FUNCTION advance_next(rival int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE at bigint := (SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'ledger');
	BEGIN
		INSERT INTO mine SELECT at + i, rival FROM generate_series(0, 9) i;
		PERFORM kafka_sink.advance('ledger', 'x', 0, at, at + 10);
	END$$;
});
for my $what (['ingest_next', 't', 'client'], ['advance_next', 'mine', 'ledger'])
{
	my ($function, $table, $sink) = @$what;
	my $rounds = 200;
	my ($calls, $failed, $other) = (0, 0, 0);

	# (on a busy machine one may be through before the next gets his turn)
	for (1 .. 10)
	{
		my @errors = at_once(map { "SELECT $function($_);\n" x $rounds } 1 .. 3);

		$calls += 3 * $rounds;
		$failed += () = "@errors" =~ /ERROR/g;
		$other += grep { !/ERROR:  KS00[23]/ } map { split /\n/ } @errors;
		last if $failed;
	}
	my $won = $calls - $failed;

	is($other, 0, "$function: losers are told that it is applied");
	note "$function: $won won, $failed lost";
	cmp_ok($failed, '>', 0, "$function: they did meet");
	is(sql("SELECT count(*), count(DISTINCT off), min(off), max(off) FROM $table"),
		join('|', $won * 10, $won * 10, 0, $won * 10 - 1), "$function: each offset once, no hole");
	is(sql("SELECT off, consumed FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
		$won * 10 . '|' . $won * 10, "$function: the offset tells the winners' work");
	is(sql("SELECT count(*) FROM (SELECT off / 10 FROM $table GROUP BY 1 HAVING count(DISTINCT rival) > 1) x"),
		0, "$function: a range is of one rival");
}

# both from the same offset: the second waits for the first, then fails
my $holder = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe(q{BEGIN; SELECT kafka_sink.advance('ledger', 'x', 0, off, off + 1)
	FROM kafka_sink.txn_offsets WHERE sink = 'ledger'});
my $at = sql("SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'ledger'");
my $second = start_script($node, "SELECT kafka_sink.advance('ledger', 'x', 0, $at, $at + 1);\n");
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%advance%'},
	'1', 'the second waits for the first');
$holder->query_safe('COMMIT');
$second->{h}->finish;
like($second->{err}, qr/ERROR:  KS002/, 'and fails when the first has committed');
$holder->quit;

# --- run() against run(), and against a worker ---

my $topic = $kafka->topic('rivals', 2);
$kafka->gen($topic, count => 20000, partitions => 2);
sql(qq{
	CREATE TABLE r (part int, off bigint, id bigint);
	SELECT kafka_sink.create_sink('r', server => 'kafka', target => 'r', enabled => false, batch_records => 100, lock_timeout => '0',
		columns => '{"part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic('r', '$topic');
});
# both with the same records at hand: the offset is locked until they have them
sql("CALL kafka_sink.run('r', max_records => 0)");
$holder = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe("BEGIN; SELECT FROM kafka_sink.txn_offsets WHERE sink = 'r' FOR UPDATE");
my @two = map { start_script($node, qq{CALL kafka_sink.run('r', until => '{"$topic": {"0": 100}}');\n}) } 1 .. 2;
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CALL kafka_sink.run%'},
	'2', 'both wait for the offset');
$holder->query_safe('COMMIT');
$holder->quit;
$_->{h}->finish foreach @two;
is(join('', sort map { $_->{err} =~ /ERROR:  (\d+)/ ? $1 : '-' } @two), '-55000', 'the loser fails');
# again and again until all is there; a loser says 55000 and comes back
my $lost = 0;
for (1 .. 50)
{
	my @errors = at_once(("CALL kafka_sink.run('r', max_records => 3000);\n") x 2);
	my $other = grep { /ERROR/ && !/ERROR:  (55000|40P01)/ } map { split /\n/ } @errors;
	is($other, 0, 'rivals fail with 55000 only') if $other;
	$lost += grep { /ERROR/ } @errors;
	last if sql("SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'r'") eq '20000';
}
is(sql('SELECT count(*), count(DISTINCT (part, off)) FROM r'), '20000|20000', 'run() twice at once: each record once');
note "$lost lost";
sql("SELECT kafka_sink.resume('r')");
wait_until($node, "SELECT state FROM kafka_sink.sinks WHERE sink = 'r'", 'running', 'a worker takes over');
like((at_once("CALL kafka_sink.run('r');\n"))[0], qr/ERROR:  55006/, 'run() beside a worker is refused');

# --- a worker against clients ---

# They take from it what is in Kafka; it reads the offsets again and goes on.
sql("SELECT kafka_sink.pause('r')");
$kafka->gen($topic, count => 40000, partitions => 2, from => 20000);
sql(qq{
	CREATE FUNCTION take(rival int) RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE at bigint := (SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'r' AND part = rival % 2);
	BEGIN
		PERFORM kafka_sink.ingest('r', ARRAY(SELECT ROW('$topic', rival % 2, i, NULL, NULL,
			convert_to('{"id": -1}', 'UTF8'), NULL)::kafka_sink.record FROM generate_series(at, least(at + 9, 29999)) i));
	END\$\$;
});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'}, '0', 'no worker');
my @errors = at_once("SELECT kafka_sink.resume('r');\n", map { "SELECT take($_);\n" x 400 } 1 .. 4);
# (or, while resume() commits, that the sink has changed)
is(join("\n", grep { /ERROR/ && !/ERROR:  (?:KS00[23]|55000)/ } map { split /\n/ } @errors), '', 'clients are told that it is applied');
$node->safe_psql('postgres', "CALL kafka_sink.wait_for('r', timeout => '3 min')");
is(sql('SELECT count(*), count(DISTINCT (part, off)), max(off) FROM r'), '60000|60000|29999',
	'a worker and clients at once: each record once');
note sql(q{SELECT count(*) || ' records taken by clients' FROM r WHERE id = -1});
is(sql(q{SELECT bool_and(consumed = off AND applied = off AND gaps = 0), sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'r'}),
	't|60000', 'and counted once');
# a client has taken what the worker has at hand
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe(q{SELECT kafka_sink.advance('r', topic, 0, off, off + 10) FROM kafka_sink.txn_offsets WHERE sink = 'r' AND part = 0});
my $before = sql(q{SELECT guard_mismatches FROM kafka_sink.stat_sinks WHERE sink = 'r'});
$kafka->gen($topic, count => 40, partitions => 2, from => 60000);
wait_until($node, q{SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'kafka_sink r'}, 'Lock', 'the worker waits for a client');
$holder->query_safe('COMMIT');
$holder->quit;
$node->safe_psql('postgres', "CALL kafka_sink.wait_for('r', timeout => '3 min')");
is(sql('SELECT count(*), count(DISTINCT (part, off)), min(off) FILTER (WHERE part = 0 AND off >= 30000) FROM r'), '60030|60030|30010',
	'which has taken ten records from it');
cmp_ok(sql(q{SELECT guard_mismatches FROM kafka_sink.stat_sinks WHERE sink = 'r'}), '>', $before,
	'the worker has lost, and says how often');
is(sql(q{SELECT state FROM kafka_sink.sinks WHERE sink = 'r'}), 'running', 'it runs');
done_testing();
