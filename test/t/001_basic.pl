# From create_sink to rows, with background workers: what arrives, what can be
# seen of it, and what a running sink does when something about it changes.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

# Waits for a broker that comes late: at the end of this file.
my $late = start_broker(start => 0);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Everything that is in Kafka now.
sub wait_for_sink { return sql("CALL kafka_sink.wait_for('$_[0]', timeout => '3 min')"); }

sub pid_of
{
	return try_sql($node, "SELECT pid FROM kafka_sink.stat_sinks WHERE sink = '$_[0]'") // '';
}

# Waits until another process serves the sink, and has said so itself: until then its row
# says what the one before has, and it may not have read how it is to connect.
sub replaced
{
	my ($sink, $pid, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node,
		"SELECT state = 'running' AND pid <> $pid AND since > started_at FROM kafka_sink.stat_sinks WHERE sink = '$sink'",
		't', $what);
	return;
}

# Count and sum of what was produced.
my @manifest;

sub gen
{
	my ($topic, %opts) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/manifest';

	push @manifest, $file;
	$kafka->gen($topic, %opts, manifest => $file);
	return;
}

sub produced
{
	my ($count, $sum) = (0, 0);

	foreach my $file (@manifest)
	{
		foreach (split /\n/, slurp_file($file))
		{
			my (undef, undef, undef, $qty) = split /\t/;
			$count++;
			$sum += $qty;
		}
	}
	return "$count|$sum";
}

my $accounting =
  'consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched '
  . 'AND off - start_off = consumed + gaps';

create_server($node, $kafka, options => "topic_metadata_refresh_interval_ms '1000'");
create_server($node, $late, name => 'late', options => "reconnect_backoff_max_ms '500'");
sql(q{
	CREATE TABLE late (id int PRIMARY KEY);
	SELECT kafka_sink.create_sink('late', server => 'late', target => 'late');
	SELECT kafka_sink.register_topic('late', 'late');
	CREATE TABLE missing (id int PRIMARY KEY);
	SELECT kafka_sink.create_sink('missing', server => 'kafka', target => 'missing', idle_after => '0');
});
my $missing = $kafka->topic('missing');
sql("SELECT kafka_sink.register_topic('missing', '$missing')");

# --- from nothing to rows ---

my $orders = $kafka->topic('orders', 2);
gen($orders, count => 2000);
sql(qq{
	CREATE TABLE orders (id bigint PRIMARY KEY, qty bigint, price numeric, at timestamptz, note text,
		session name DEFAULT session_user, usr name DEFAULT current_user);
	BEGIN;
	SELECT kafka_sink.create_sink('orders', server => 'kafka', target => 'orders', idle_after => '0');
	SELECT kafka_sink.register_topic('orders', '$orders');
	COMMIT;
});
wait_for_sink('orders');
is(sql('SELECT count(*), sum(qty) FROM orders'), produced(), 'what was there before arrives');
is(sql('SELECT sum(off), sum(consumed), sum(applied), count(*) FROM kafka_sink.txn_offsets WHERE sink = \'orders\''),
	'2000|2000|2000|2', 'its offsets with it');
is(sql('SELECT DISTINCT session, usr FROM orders'), 'postgres|postgres',
	'session and current user are the sink\'s owner');
gen($orders, count => 10, from => 2000);
wait_for_sink('orders');
is(sql('SELECT count(*), sum(qty) FROM orders'), produced(), 'and what comes later');

my $pid = pid_of('orders');
is(sql("SELECT backend_type, application_name, usename, datname FROM pg_stat_activity WHERE pid = $pid"),
	'kafka_sink worker|kafka_sink orders|postgres|postgres', 'the worker in pg_stat_activity');
wait_until($node, q{SELECT string_agg(DISTINCT backend_type, ', ' ORDER BY backend_type) FROM pg_stat_activity
		WHERE backend_type LIKE 'kafka_sink%'},
	'kafka_sink launcher, kafka_sink supervisor, kafka_sink worker', 'and its parents');

# --- the views ---

is(sql(q{SELECT state, topics, owner, sqlstate IS NULL, message IS NULL FROM kafka_sink.sinks WHERE sink = 'orders'}),
	"running|{$orders}|postgres|t|t", 'sinks');
wait_until($node,
	q{SELECT string_agg(concat_ws(' ', part, off = 1005, end_offset, lag, high_watermark, open_transaction_lag), ', ' ORDER BY part)
		FROM kafka_sink.lag WHERE sink = 'orders'},
	'0 t 1005 0 1005 0, 1 t 1005 0 1005 0', 'lag');
# (a batch is counted when it is committed, a moment later)
wait_until($node, q{SELECT worker, state, batches > 0, records, bytes > records * 50, retries, guard_mismatches, redelivered,
			started_at < now(), first_record >= started_at, last_commit >= first_record, wait_ms > 0,
			decode_ms > 0, apply_ms > 0, commit_ms > 0, rss_anon_peak > 1000000
		FROM kafka_sink.stat_sinks WHERE sink = 'orders'},
	'0|running|t|2010|t|0|0|0|t|t|t|t|t|t|t|t', 'stat_sinks');
is(sql(qq{SELECT part, low_watermark, end_offset, high_watermark, consumed, redelivered, tail_check, $accounting
		FROM kafka_sink.stat_partitions WHERE sink = 'orders' ORDER BY part}),
	"0|0|1005|1005|1005|0|none|t\n1|0|1005|1005|1005|0|none|t", 'stat_partitions');

# --- a topic that does not exist: it comes now, and is looked for at the end ---

wait_until($node, q{SELECT state, sqlstate, message, hint FROM kafka_sink.sinks WHERE sink = 'missing'},
	qr/^waiting\|42704\|topic "$missing" does not exist on server "kafka"\|Create it, or kafka_sink\.unregister_topic/,
	'the sink waits and says what to do');
$kafka->create_topic($missing, 1);
$kafka->produce($missing, 0, [ undef, '{"id": 1}' ]);

# --- where partitions begin ---

my $begin = $kafka->topic('begin', 3);
$kafka->gen($begin, count => 30);
sql(qq{
	CREATE TABLE begin_ (part int, off bigint);
	SELECT kafka_sink.create_sink('begin', server => 'kafka', target => 'begin_', columns => '{"part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic('begin', '$begin', start_at => '{"0": 5, "2": 10}')});
wait_for_sink('begin');
is(sql('SELECT part, count(*), min(off) FROM begin_ GROUP BY part ORDER BY part'), "0|5|5\n1|10|0", 'start_at: offsets by partition');
is(sql(q{SELECT part, start_off, off FROM kafka_sink.txn_offsets WHERE sink = 'begin' ORDER BY part}), "0|5|10\n1|0|10\n2|10|10", 'as settled');
sql(q{SELECT kafka_sink.drop_sink('begin')});

# --- changes of a running sink ---

my $bg = do
{
	push @manifest, PostgreSQL::Test::Utils::tempdir() . '/manifest';
	$kafka->gen_bg($orders, count => 6000, from => 2010, rate => 3000, manifest => $manifest[-1]);
};
wait_until($node, 'SELECT count(*) > 2100 FROM orders', 't', 'records arrive');
sql("SELECT kafka_sink.alter_sink('orders', insert_mode => 'upsert', batch_records => 100)");
replaced('orders', $pid, 'alter_sink restarts the worker');
$pid = pid_of('orders');
sql("ALTER SERVER kafka OPTIONS (ADD client_rack 'here')");
replaced('orders', $pid, 'so does a changed option of the server');
$pid = pid_of('orders');
sql("ALTER SERVER kafka OPTIONS (SET client_rack 'here')");
ok($bg->finish, 'all was produced');
wait_for_sink('orders');
is(sql('SELECT count(*), sum(qty) FROM orders'), produced(), 'nothing is lost, nothing comes twice');
is(pid_of('orders'), $pid, 'a change that changes nothing does not restart it');

# --- pause and resume ---

sql("SELECT kafka_sink.pause('orders')");
wait_until($node, q{SELECT state, pid IS NULL FROM kafka_sink.stat_sinks WHERE sink = 'orders'},
	'paused|t', 'pause: the worker is gone');
gen($orders, count => 10, from => 8010);
my ($rc, $out, $err) = $node->psql('postgres', "CALL kafka_sink.wait_for('orders')");
like($err, qr/sink "orders" is paused.*kafka_sink\.resume\('orders'\)/s, 'wait_for does not wait for it');
is(sql('SELECT count(*) FROM orders'), '8010', 'nothing moves');
sql("SELECT kafka_sink.resume('orders')");
wait_for_sink('orders');
is(sql('SELECT count(*), sum(qty) FROM orders'), produced(), 'resume: it goes on');
wait_until($node, "SELECT string_agg(DISTINCT tail_check, ',') FROM kafka_sink.stat_partitions WHERE sink = 'orders'",
	'ok', 'and the log is the one it had read');

# --- seek ---

sql(q{UPDATE orders SET qty = -1; SELECT kafka_sink.seek('orders', 'earliest')});
wait_for_sink('orders');
is(sql('SELECT count(*), sum(qty) FROM orders'), produced(), 'seek earliest applies all again');
is(sql("SELECT sum(start_off), sum(consumed), sum(applied), bool_and($accounting) FROM kafka_sink.txn_offsets WHERE sink = 'orders'"),
	'0|8020|8020|t', 'and counts anew');
is(sql(q{SELECT action, part, from_off, until_off, role FROM kafka_sink.offset_history WHERE sink = 'orders' ORDER BY part}),
	"seek|0|4010|0|postgres\nseek|1|4010|0|postgres", 'it is audited');

# --- two topics in one sink, partitions added to one of them ---

my ($a, $b) = ($kafka->topic('a', 1), $kafka->topic('b', 1));
$kafka->produce($a, 0, [ undef, '{"id": 1}' ], [ undef, '{"id": 2}' ]);
$kafka->produce($b, 0, [ undef, '{"id": 100}' ]);
sql(qq{
	CREATE TABLE two (topic text, part int, off bigint, id int, PRIMARY KEY (topic, part, off));
	BEGIN;
	SELECT kafka_sink.create_sink('two', server => 'kafka', target => 'two',
		columns => '{"topic": "\@topic", "part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic('two', '$a', start_at => 'latest');
	SELECT kafka_sink.register_topic('two', '$b');
	COMMIT;
});
wait_for_sink('two');
is(sql('SELECT topic, part, off, id FROM two'), "$b|0|0|100", 'latest and earliest');
$kafka->add_partitions($a, 2);
$kafka->produce($a, 1, [ undef, '{"id": 3}' ], [ undef, '{"id": 4}' ]);
$kafka->produce($a, 0, [ undef, '{"id": 5}' ]);
wait_until($node, qq{SELECT part, off, id FROM two WHERE topic = '$a' ORDER BY part, off},
	"0|2|5\n1|0|3\n1|1|4", 'a new partition is found and read from its beginning');
is(sql(qq{SELECT topic = '$a', part, start_off, off FROM kafka_sink.txn_offsets WHERE sink = 'two' ORDER BY 1, 2}),
	"f|0|0|1\nt|0|2|3\nt|1|0|2", 'offsets of both');
sql("SELECT kafka_sink.unregister_topic('two', '$a')");
$kafka->produce($b, 0, [ undef, '{"id": 101}' ]);
wait_for_sink('two');
is(sql(q{SELECT count(*) FROM two WHERE id > 100}), '1', 'one topic less');

# --- what else a record carries ---

my $meta = $kafka->topic('meta', 2, 'retention.ms' => -1);
my $producer = $kafka->script->to($meta);
$producer->P(1, '{"k": 7}', '{"id": 1, "x": {"y": [10, 20]}, "other": true}', ts => 1767225600123,
	headers => [ [ 'trace', 'abc' ], [ 'trace', 'd e' ], [ 'empty', '' ], [ 'null', undef ] ]);
$producer->P(1, undef, '{"id": 2}', ts => 1767225601000);
$producer->F;
$producer->end;
sql(qq{
	CREATE TABLE meta (id int PRIMARY KEY, topic text, part int, off bigint, ts timestamptz, key bytea, k int,
		y int, headers kafka_sink.header[], headers_json jsonb, rest jsonb, value text);
	SELECT kafka_sink.create_sink('meta', server => 'kafka', target => 'meta', columns => '{"topic": "\@topic",
		"part": "\@partition", "off": "\@offset", "ts": "\@timestamp", "key": "\@key", "k": "\@key.k", "y": "\$.x.y[1]",
		"headers": "\@headers", "headers_json": "\@headers", "rest": "\@rest", "value": "\@value"}');
	SELECT kafka_sink.register_topic('meta', '$meta', start_at => '2026-01-01');
});
wait_for_sink('meta');
is(sql(qq{SELECT id, topic = '$meta', part, off, ts AT TIME ZONE 'UTC', convert_from(key, 'UTF8'), k, y FROM meta ORDER BY id}),
	qq{1|t|1|0|2026-01-01 00:00:00.123|{"k": 7}|7|20\n2|t|1|1|2026-01-01 00:00:01|||},
	'metadata as columns');
is(sql(q{SELECT convert_from(h.value, 'UTF8') IS NULL, h.name, convert_from(h.value, 'UTF8')
		FROM meta, unnest(headers) WITH ORDINALITY AS h (name, value, n) WHERE id = 1 ORDER BY n}),
	"f|trace|abc\nf|trace|d e\nf|empty|\nt|null|", 'headers in their order');
is(sql(q{SELECT rest, value, headers IS NULL OR cardinality(headers) = 0 FROM meta WHERE id = 2}),
	qq[{}|{"id": 2}|t], 'a record without any');

# --- nothing stays of what is rolled back ---

sql(qq{
	BEGIN;
	SELECT kafka_sink.create_sink('gone', server => 'kafka', target => 'two');
	SELECT kafka_sink.register_topic('gone', '$a');
	ROLLBACK;
	BEGIN;
	SAVEPOINT s;
	SELECT kafka_sink.create_sink('gone', server => 'kafka', target => 'two');
	ROLLBACK TO s;
	COMMIT;
});

# --- another database ---

sql('CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION kafka_sink');
create_server($node, $kafka, dbname => 'other');
$node->safe_psql('other', qq{
	CREATE TABLE orders (id bigint PRIMARY KEY, qty bigint);
	SELECT kafka_sink.create_sink('orders', server => 'kafka', target => 'orders');
	SELECT kafka_sink.register_topic('orders', '$orders');
	CALL kafka_sink.wait_for('orders', timeout => '3 min');
});
is($node->safe_psql('other', 'SELECT count(*), sum(qty) FROM orders'), produced(),
	'a sink of the same name in another database');
is(sql(q{SELECT string_agg(datname || ' ' || application_name, ', ' ORDER BY datname) FROM pg_stat_activity
		WHERE application_name LIKE 'kafka_sink orders'}),
	'other kafka_sink orders, postgres kafka_sink orders', 'each has its worker');
is($node->safe_psql('other', 'SELECT count(*), count(pid) FROM kafka_sink.stat_sinks'), '1|1',
	'and sees its own');
is(sql(q{SELECT count(*) FROM kafka_sink.sinks WHERE sink = 'gone'}), '0', 'no sink was left by ROLLBACK');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink gone'}), '0', 'nor a worker');

# --- drop ---

sql(q{SELECT kafka_sink.drop_sink('meta')});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink meta'}, '0',
	'drop_sink: the worker leaves');
is(sql(q{SELECT count(*) FROM kafka_sink.txn_offsets WHERE sink = 'meta'}), '0', 'its offsets are forgotten');
is(sql(q{SELECT count(*) FROM meta}), '2', 'its rows are not');

# --- what was missing, and comes ---

wait_until($node, 'SELECT id FROM missing', '1', 'it goes on when the topic is there');
wait_until($node, q{SELECT state, message IS NULL FROM kafka_sink.sinks WHERE sink = 'missing'}, 'running|t',
	'and has forgotten the error');

wait_until($node, q{SELECT state, sqlstate, message, hint FROM kafka_sink.sinks WHERE sink = 'late'},
	qr/^waiting\|08006\|could not .*connect.*bootstrap_servers/, 'no broker: it waits, and says what to do');
$late->start;
$late->create_topic('late', 1);
$late->produce('late', 0, [ undef, '{"id": 1}' ]);
wait_until($node, 'SELECT id FROM late', '1', 'it goes on when the broker is there');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
