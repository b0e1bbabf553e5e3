# Without shared_preload_libraries there are no workers; everything else works,
# and CALL run() consumes in the session.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "shared_preload_libraries = ''\n");
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What a statement says: errors, warnings, INFO.
sub said
{
	my ($sql, @params) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 0, @params);

	return $err;
}

my $orders = $kafka->topic('orders', 3);
create_server($node, $kafka);
sql('CREATE TABLE orders (id bigint PRIMARY KEY, qty bigint, topic text, part int, off bigint)');

# --- define ---

is(said(q{SELECT kafka_sink.create_sink('orders', server => 'kafka', target => 'orders',
		columns => '{"topic": "@topic", "part": "@partition", "off": "@offset"}')}), '', 'create_sink');
my $said = said("SELECT kafka_sink.register_topic('orders', '$orders')");
like($said, qr/^psql:<stdin>:1: WARNING: .*no background worker will consume for sink "orders"/,
	'register_topic warns that nothing will consume');
like($said, qr/shared_preload_libraries.*CALL kafka_sink\.run\('orders'\)/s, 'and says how to');
is(sql("SELECT partitions, replicas, error IS NULL FROM kafka_sink.topics('kafka') WHERE topic = '$orders'"),
	'3|1|t', 'topics()');
is(sql('SELECT sink, state, pid, batches, rss_anon_peak FROM kafka_sink.stat_sinks'), 'orders||||',
	'stat_sinks has no live columns');
is(sql('SELECT sink, state FROM kafka_sink.sinks'), 'orders|idle', 'sinks');
is(sql('SELECT count(*) FROM kafka_sink.lag'), '0', 'lag is empty before the first run');
$said = said("CALL kafka_sink.wait_for('orders')");
like($said, qr/ERROR: .*no background workers to wait for/, 'wait_for has nobody to wait for');
like($said, qr/shared_preload_libraries.*CALL kafka_sink\.run\('orders'\)/s, 'and says what to do');

# --- run ---

like(said("CALL kafka_sink.run('orders')"), qr/^psql:<stdin>:1: INFO:  sink "orders": 0 records, 0 offsets to go$/m,
	'run with nothing to do');
is(sql('SELECT sum(off) FROM kafka_sink.txn_offsets'), '0', 'it has settled the offsets');
$kafka->gen($orders, count => 3000);
like(said("CALL kafka_sink.run('orders')"), qr/INFO:  sink "orders": 3000 records, 0 offsets to go$/m, 'run');
is(sql('SELECT count(*), sum(off) FROM orders'), '3000|' . 3 * (999 * 1000 / 2), 'all rows are there');
is(sql('SELECT part, off, consumed, gaps, last_off FROM kafka_sink.txn_offsets ORDER BY part'),
	"0|1000|1000|0|999\n1|1000|1000|0|999\n2|1000|1000|0|999", 'and the offsets with them');
is(sql('SELECT part, off, end_offset, lag, high_watermark FROM kafka_sink.lag ORDER BY part'),
	"0|1000|||\n1|1000|||\n2|1000|||", 'lag has no live columns');
is(sql('SELECT part, off, consumed, end_offset, tail_check FROM kafka_sink.stat_partitions ORDER BY part LIMIT 1'),
	'0|1000|1000||', 'nor has stat_partitions');

# --- its bounds ---

$kafka->gen($orders, count => 3000, from => 3000);
like(said(qq{CALL kafka_sink.run('orders', until => '{"$orders": {"1": 1500, "2": 1001}}')}),
	qr/INFO:  sink "orders": 501 records, 0 offsets to go$/m, 'until');
is(sql('SELECT part, count(*), max(off) FROM orders GROUP BY part ORDER BY part'),
	"0|1000|999\n1|1500|1499\n2|1001|1000", 'exactly up to it');
is(sql('SELECT off FROM kafka_sink.txn_offsets ORDER BY part'), "1000\n1500\n1001", 'and the offsets');
like(said(qq{CALL kafka_sink.run('orders', until => '{"nope": {"0": 1}}')}),
	qr/ERROR:  sink "orders" does not consume topic "nope" partition 0/, 'until of another topic');
like(said("CALL kafka_sink.run('orders', max_records => 700)"),
	qr/INFO:  sink "orders": 700 records, 1799 offsets to go$/m, 'max_records');
is(sql('SELECT count(*) FROM orders'), '4201', 'exactly as many');
is(sql('SELECT sum(off) FROM kafka_sink.txn_offsets'), '4201', 'and the offsets');
like(said("CALL kafka_sink.run('orders', max_records => 0)"), qr/ 0 records, 1799 offsets to go$/m,
	'max_records 0: a look');
like(said("CALL kafka_sink.run('orders', max_records => -1)"), qr/ERROR: .*max_records/, 'max_records -1');
like(said("CALL kafka_sink.run('orders')"), qr/ 1799 records, 0 offsets to go$/m, 'the rest');
is(sql('SELECT count(*), count(DISTINCT (part, off)) FROM orders'), '6000|6000', 'nothing twice');

# An offset that does not come.
like(timed_out($node, qq{CALL kafka_sink.run('orders', until => '{"$orders": {"0": 2001}}', timeout => '%d s')}),
	qr/ERROR:  57014: timed out while waiting for sink "orders"/, 'timeout');
is(sql('SELECT count(*) FROM orders'), '6000', 'nothing happened');

# --- where it cannot be called ---

like(said("BEGIN; CALL kafka_sink.run('orders'); COMMIT"),
	qr/ERROR:  kafka_sink\.run\(\) cannot be called in a transaction block/, 'not in a transaction block');
sql('CREATE ROLE other SUPERUSER LOGIN');
$said = said("CALL kafka_sink.run('orders')", extra_params => [ '-U', 'other' ]);
like($said, qr/ERROR:  must run as the owner of sink "orders"/, 'another role, though a superuser, may not');
like($said, qr/SET ROLE postgres/, 'and is told what to do');
like(said("SET ROLE postgres; CALL kafka_sink.run('orders')", extra_params => [ '-U', 'other' ]),
	qr/INFO:  sink "orders": 0 records/, 'which helps');

# --- a bad record ---

$kafka->produce($orders, 0, [ undef, '{"id": 10001}' ], [ undef, '{"id": 10002}' ],
	[ undef, '{"id": "x"}' ], [ undef, '{"id": 10003}' ]);
$said = said("CALL kafka_sink.run('orders')");
like($said, qr/ERROR:  22P02|ERROR: .*invalid input syntax.*bigint/, 'run ends at a bad record');
like($said, qr/HINT: .*kafka_sink\.skip\('orders', '$orders', 0, 2002\)/, 'says how to pass over it');
like($said, qr/CONTEXT: .*partition 0, offset 2002, column "id"/, 'and where it is');
is(sql('SELECT count(*) FROM orders WHERE id > 10000'), '2', 'everything before it is committed');
is(sql('SELECT off FROM kafka_sink.txn_offsets WHERE part = 0'), '2002', 'and the offset');
like(said("CALL kafka_sink.run('orders')"), qr/invalid input syntax/, 'the next run meets it again');
sql("SELECT kafka_sink.skip('orders', '$orders', 0, 2002)");
like(said("CALL kafka_sink.run('orders')"), qr/ 1 records, 0 offsets to go$/m, 'after skip it goes on');
is(sql('SELECT count(*) FROM orders WHERE id > 10000'), '3', 'with the record behind it');

# --- settings of the session are left alone ---

$kafka->produce($orders, 1, [ undef, '{"id": 20001}' ]);
is(sql(q{SET TimeZone = 'Asia/Tokyo'; SET search_path = public, pg_catalog; SET DateStyle = 'German';
		CALL kafka_sink.run('orders');
		SELECT current_setting('TimeZone'), current_setting('search_path'), current_setting('DateStyle')}),
	'Asia/Tokyo|public, pg_catalog|German, DMY', 'run changes no settings of the session');

# --- cancel ---

my $waiting = $node->background_psql('postgres', on_error_stop => 0);
$waiting->query_until(qr/started/,
	qq{\\echo started\nCALL kafka_sink.run('orders', until => '{"$orders": {"0": 1000000}}');\n});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL kafka_sink.run%'
		AND pid <> pg_backend_pid() AND wait_event_type = 'Extension'}, '1', 'a run waits for records');
# (it may wait for an answer of Kafka's first, and store where it begins)
wait_until($node, q{SELECT backend_xid IS NULL AND backend_xmin IS NULL FROM pg_stat_activity
		WHERE query LIKE 'CALL kafka_sink.run%' AND pid <> pg_backend_pid() AND wait_event_type = 'Extension'}, 't',
	'without a transaction that would hold back vacuum');
$kafka->produce($orders, 0, [ undef, '{"id": 10004}' ]);
wait_until($node, 'SELECT count(*) FROM orders WHERE id = 10004', '1', 'and consumes what comes');
sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL kafka_sink.run%'
		AND pid <> pg_backend_pid()});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL kafka_sink.run%'
		AND pid <> pg_backend_pid() AND state = 'active'}, '0', 'it can be cancelled');
$kafka->produce($orders, 2, [ undef, '{"id": 10005}' ]);
$waiting->query_until(qr/again/, "CALL kafka_sink.run('orders');\n\\echo again\n");
is(sql('SELECT count(*) FROM orders WHERE id = 10005'), '1', 'the session can run again');
$waiting->quit;

# --- two at once: one loses, and nothing is applied twice ---

$kafka->gen($orders, count => 20000, from => 100_000);
sql("SELECT kafka_sink.alter_sink('orders', batch_records => 50)");
my @runs = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
$_->query_until(qr/started/, "\\echo started\nCALL kafka_sink.run('orders');\n\\echo ended\n") foreach @runs;
$_->query_until(qr/ended/, "\\echo ended\n") foreach @runs;
$_->quit foreach @runs;
sql("CALL kafka_sink.run('orders')");
is(sql('SELECT count(*), count(DISTINCT (part, off)) FROM orders WHERE id >= 100000'), '20000|20000',
	'two runs at the same time');

# --- a topic that is not there, or not any more ---

my $gone = $kafka->topic('gone', 3);
sql(qq{CREATE TABLE gone (id bigint);
	SELECT kafka_sink.create_sink('gone', server => 'kafka', target => 'gone');
	SELECT kafka_sink.register_topic('gone', '$gone');
	SELECT kafka_sink.create_sink('never', server => 'kafka', target => 'gone')});
said("SELECT kafka_sink.register_topic('never', 'never-there')");
like(said("\\set VERBOSITY verbose\nCALL kafka_sink.run('never')"), qr/ERROR:  42704: topic "never-there" does not exist on server "kafka"\nHINT:  Create it/,
	'a topic that was never there is an error at once');
like(said("CALL kafka_sink.run('gone')"), qr/ 0 records, 0 offsets to go$/m, 'one that is there');
$kafka->delete_topic($gone);
# (a time-out ends the search for it, too)
my $lost = qr/ERROR:  55000: topic "$gone" was deleted\nDETAIL:  It was consumed before.*\nHINT:  If it comes back.*seek.*unregister_topic/;
like(timed_out($node, "CALL kafka_sink.run('gone', timeout => '%d s')", $lost), $lost, 'one that is gone is looked for, and then an error');
$kafka->create_topic($gone, 1);
$lost = qr/ERROR:  55000: topic "$gone" has fewer partitions than before\nDETAIL:  Partition 2 has a stored offset, and server "kafka" knows 1 partitions/;
like(timed_out($node, "CALL kafka_sink.run('gone', timeout => '%d s')", $lost), $lost, 'so is one that has fewer partitions');
is(sql("SELECT count(*), sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'gone'"), '3|0', 'its offsets are untouched');
# (30 seconds are enough for all of this, but a busy machine may need more than one run)
my $search = start_script($node, "CALL kafka_sink.run('gone');\n");
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL kafka_sink.run%'
		AND pid <> pg_backend_pid() AND wait_event_type = 'Extension'}, '1', 'a run waits for partitions');
$kafka->add_partitions($gone, 3);
$kafka->produce($gone, $_, [ undef, qq({"id": $_}) ]) foreach 0 .. 2;
$search->{h}->finish;
like($search->{err}, qr/^(psql:\S+ (INFO|ERROR):  (00000|55000)\n)*$/, 'and ends');
sql("CALL kafka_sink.run('gone')");
is(sql('SELECT count(*), sum(id) FROM gone'), '3|3', 'when they are back, all of it is consumed, once');

# --- the broker is away ---

create_server($node, $kafka, name => 'nowhere');
sql(q{ALTER SERVER nowhere OPTIONS (SET bootstrap_servers '127.0.0.1:1');
	SELECT kafka_sink.create_sink('nowhere', server => 'nowhere', target => 'orders')});
said("SELECT kafka_sink.register_topic('nowhere', 'nowhere')");
like(said("SELECT * FROM kafka_sink.topics('nowhere', timeout => '1 second')"), qr/ERROR:  could not list the topics/,
	'topics() of a broker that is away ends at its timeout');
# (which is what ends it: nothing else would)
like(said("CALL kafka_sink.run('nowhere', timeout => '2 seconds')"), qr/ERROR: /, 'so does run()');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
