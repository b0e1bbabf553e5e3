# Claims of rivals: two tasks of a job on one partition, retried, speculative and
# zombie tasks, many ranges at once; what a claim costs under an old snapshot; and
# what is locked while Kafka is asked.
use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use List::Util qw(shuffle);
use Test::More;

use PostgreSQL::Test::Utils;
use KafkaSinkTest;

# (pages are counted)
my $node = new_node('main', conf => "autovacuum = off\n");
my $kafka = shared_broker();

create_server($node, $kafka);

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $seed = $ENV{KAFKA_SINK_SEED} // time;
note "KAFKA_SINK_SEED=$seed";
srand($seed);

sub answer
{
	my ($run) = @_;

	$run->{h}->finish;
	return $run->{err} =~ /ERROR:  (\w+)/ ? $1 : $run->{out} =~ s/\n\z//r;
}

# The second claims while the first, a task of the same job, has its transaction
# open, and waits; what it is told after the first has ended.
sub second_of
{
	my ($first, $end, $second, $what) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_safe("BEGIN; $first");
	my $run = start_script($node, $second);
	wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%kafka\_sink.%'}, '1',
		"$what: waits");
	$session->query_safe($end);
	$session->quit;
	return answer($run);
}

sub claim { return "SELECT kafka_sink.claim('job', '$_[0]', 0, $_[1], $_[2]" . ($_[3] // '') . ");\n"; }
my $anew = ', start_at => 0';

sql(q{SELECT kafka_sink.create_sink('job')});
# no row yet: both want to make it
is(second_of(claim('a', 0, 100, $anew), 'COMMIT', claim('a', 100, 200, $anew), 'the later, after the earlier'), '100', 'and goes on');
is(second_of(claim('b', 0, 100, $anew), 'ROLLBACK', claim('b', 100, 200, $anew), 'the later, after one that fails'), 'KS001',
	'is told what is missing');
is(second_of(claim('c', 0, 100), 'COMMIT', claim('c', 0, 100), 'the same twice'), '', 'nothing is left');
is(second_of(claim('d', 100, 200), 'COMMIT', claim('d', 0, 100), 'the earlier, after the later has made the row'), 'KS006',
	'is not taken for applied');
is(second_of(claim('d2', 100, 200), 'ROLLBACK', claim('d2', 0, 100), 'the earlier, after the later has failed'), '0', 'makes the row');
# there is a row
is(second_of(claim('a', 200, 300), 'COMMIT', claim('a', 200, 300), 'a speculative task'), '', 'nothing is left');
is(second_of(claim('a', 300, 400), 'ROLLBACK', claim('a', 300, 400), 'after a task that fails'), '300', 'all is left');
is(second_of(claim('a', 400, 450), 'COMMIT', claim('a', 400, 500), 'a longer range'), '450', 'the rest is left');
is(second_of(claim('a', 500, 510), 'ROLLBACK', claim('a', 510, 520), 'the later, after one that fails'), 'KS001', 'is told what is missing');
is(second_of(claim('a', 500, 510), 'COMMIT', "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" . claim('a', 500, 510), 'repeatable read'),
	'40001', 'is to begin again');
is(second_of(claim('c', 100, 200), 'COMMIT', "BEGIN ISOLATION LEVEL SERIALIZABLE;\n" . claim('c', 100, 200), 'serializable'),
	'40001', 'likewise');
is(second_of(claim('e', 0, 10), 'COMMIT', "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" . claim('e', 0, 10), 'a row made meanwhile'), '40001', 'likewise');
is(second_of(claim('a', 510, 520), 'ROLLBACK', "SELECT kafka_sink.advance('job', 'a', 0, 520, 530);\n", 'advance'), 'KS001', 'is told too');
{
	my $session = $node->background_psql('postgres');

	$session->query_safe('BEGIN; ' . claim('a', 510, 520));
	is(answer(start_script($node, "SET lock_timeout = 1;\n" . claim('a', 510, 520))), '55P03', 'lock_timeout ends the wait');
	$session->query_safe('ROLLBACK');
	$session->quit;
}

# --- a job: ranges of each partition, cut into tasks that come in any order, twice,
# --- some at once, several partitions in a transaction

my ($parts, $tasks, $size) = (4, 12, 50);
sql(q{
	SELECT kafka_sink.create_sink('tasks');
	CREATE TABLE results (part int, off bigint);
	CREATE FUNCTION task(ranges jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO results SELECT part, generate_series(apply_from, until_off - 1)
		  FROM kafka_sink.claim('tasks', ranges) WHERE apply_from IS NOT NULL$$;
});
sub some_task
{
	my ($n, @of) = @_;
	my @ranges = map { sprintf('"%d": {"from_off": %d, "until_off": %d, "start_at": 0}', $_, $n * $size, ($n + 1 + int(rand(2))) * $size) } @of;

	return q[SELECT task('{"t": {] . join(', ', @ranges) . "}}');\n";
}
# each runs all of them, near the front, so that they meet and some are missing what is before
sub worker_of_job
{
	my @lines;

	foreach my $n (0 .. $tasks - 1)
	{
		push @lines, some_task($n, grep { rand() < 0.6 } 0 .. $parts - 1) for 1 .. 3;
		push @lines, some_task($n, shuffle(0 .. $parts - 1));
	}
	for (my $i = 0; $i < @lines; $i += 12)
	{
		my $end = $i + 11 > $#lines ? $#lines : $i + 11;

		@lines[ $i .. $end ] = shuffle(@lines[ $i .. $end ]);
	}
	return join '', @lines;
}
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(1)');
my @runs = map { start_script($node, "SELECT pg_advisory_lock_shared(1);\n" . worker_of_job()) } 1 .. 4;
$node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted})
  or die 'the rivals do not line up';
$gate->quit;
$_->{h}->finish foreach @runs;
my %states;
$states{$_}++ foreach map { $_->{err} =~ /ERROR:  (\w+)/g } @runs;
note join ', ', map { "$_: $states{$_}" } sort keys %states;
is_deeply([ keys %states ], ['KS001'], 'tasks at once: no deadlock, and no error but of what is missing');
sql(some_task($_, 0 .. $parts - 1)) foreach 0 .. $tasks - 1;
is(sql('SELECT count(*), count(DISTINCT (part, off)) FROM results'),
	sql(q{SELECT sum(off), sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'tasks'}), 'each record once, none left out');
is(sql(qq{SELECT bool_and(off >= $tasks * $size AND start_off = 0 AND consumed = off AND gaps = 0), count(*)
	FROM kafka_sink.txn_offsets WHERE sink = 'tasks'}), "t|$parts", 'and counted');

# --- an old snapshot keeps every version of a row ---

# the fewest pages that a claim touches, of as many as fill a page of the row's
my $pages = q{
	CREATE SEQUENCE n MINVALUE 0 START 0;
	CREATE FUNCTION claim_next() RETURNS bigint LANGUAGE sql AS $$
		SELECT kafka_sink.claim('long', 't', 0, currval('n'), nextval('n'))$$;
	CREATE PROCEDURE claims(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM claim_next();
			COMMIT;
		END LOOP;
	END$$;
	CREATE PROCEDURE pages(OUT pages int) LANGUAGE plpgsql AS $$
	DECLARE
		plan json;
	BEGIN
		FOR i IN 1 .. 60 LOOP
			EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT claim_next()' INTO plan;
			COMMIT;
			pages := least(pages, (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int);
		END LOOP;
	END$$;
	SELECT kafka_sink.create_sink('long');
};
sql($pages);
my $client = $node->background_psql('postgres');
$client->query_safe(q{SELECT nextval('n')});
my $bulk = q{SELECT pg_relation_size('kafka_sink.txn_offsets') / 8192};
my ($cleaned, $grown) = (sql($bulk));
# 50 pages each time, if none were used again (and none can be while a process that was
# about to look at the tables is not given time to)
for (1 .. 20)
{
	my $so_far = $cleaned;

	$client->query_safe('CALL claims(2000)');
	$cleaned = sql($bulk);
	$grown = $cleaned - $so_far;
	last if $grown < 25;
}
my $before = $client->query_safe('CALL pages(NULL)');
$cleaned = sql($bulk);
cmp_ok($grown, '<', 25, 'versions that nobody sees are cleaned away');
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM results');
$client->query_safe('CALL claims(4000)');
cmp_ok(sql($bulk) - $cleaned, '>', 50, 'an old snapshot keeps them');
my $after = $client->query_safe('CALL pages(NULL)');
cmp_ok($after, '<=', $before + 10, "a claim touches $after pages then, $before before");
# nor when the plan is made anew
sql('VACUUM ANALYZE kafka_sink.txn_offsets');
$after = $client->query_safe('CALL pages(NULL)');
cmp_ok($after, '<=', $before + 10, "$after after VACUUM");
$reader->quit;
# another session has to find the row first
is(sql(q{SELECT kafka_sink.claim('long', 't', 0, off, off + 1) = off FROM kafka_sink.txn_offsets WHERE sink = 'long'}), 't', 'from elsewhere');
isnt($client->query_safe(q{SELECT kafka_sink.claim('long', 't', 0, 0, off + 1) FROM kafka_sink.txn_offsets WHERE sink = 'long'}), '',
	'and here: it has moved');
$client->quit;

# --- where to start, with what Kafka knows ---

my $topic = $kafka->topic('starts', 3);
$kafka->produce($topic, $_, map { [ undef, $_ ] } 1 .. 5) foreach 0 .. 2;
sql(qq{
	SELECT kafka_sink.create_sink('starts', server => 'kafka');
	SELECT kafka_sink.register_topic('starts', '$topic', start_at => 'latest')});
is(sql(q{SELECT kafka_sink.starting_offsets('starts', refresh => true)}), qq[{"$topic":{"0":5,"1":5,"2":5}}],
	'partitions without a row begin at start_at')
  or diag explain [ $kafka->watermarks($topic) ];
sql(qq{SELECT kafka_sink.claim('starts', '$topic', 1, 0, 3, start_at => 0)});
is(sql(q{SELECT kafka_sink.starting_offsets('starts')}), qq[{"$topic":{"1":3}}], 'those that have one, where they stand');
is(sql(q{SELECT kafka_sink.starting_offsets('starts', 'flink', refresh => true)}),
	'partition:0,offset:0;partition:1,offset:3;partition:2,offset:0', 'and new ones of a topic under way at their beginning');
sql(q{SELECT kafka_sink.seek('starts', 'earliest')});
is(sql(q{SELECT kafka_sink.starting_offsets('starts')}), qq[{"$topic":{"0":0,"1":0,"2":0}}], 'seek makes all rows of a ledger');

# --- nothing is locked while Kafka is asked ---

my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5, Timeout => $KafkaSinkTest::timeout) or die $!;
sql(qq{
	CREATE SERVER silent FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:} . $silent->sockport . qq{');
	SELECT kafka_sink.create_sink('silent', server => 'silent');
	SELECT kafka_sink.register_topic('silent', 'x');
	SELECT kafka_sink.claim('silent', 'x', 0, 0, 10)});
my $seek = start_script($node, "SELECT kafka_sink.seek('silent', 'earliest');\n");
ok($silent->accept, 'seek asks Kafka, and gets no answer');
is(sql(q{SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE '%seek(''silent%' AND pid <> pg_backend_pid())
	AND (locktype = 'transactionid' OR mode NOT IN ('AccessShareLock', 'ExclusiveLock'))}), '0', 'and holds nothing');
is(sql(q{SET lock_timeout = '5s'; SELECT kafka_sink.claim('silent', 'x', 0, 10, 20); SELECT kafka_sink.pause('silent')}), "10\n", 'others go on');
sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%seek(''silent%' AND pid <> pg_backend_pid()});
is(answer($seek), '57014', 'it can be cancelled');
is(sql(q{SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'silent'}), '20', 'and has moved nothing');
done_testing();
