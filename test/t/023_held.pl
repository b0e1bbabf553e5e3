# A batch that cannot be applied for a while: by a lock on a table, a lock on a
# row, a batch that is full already.  What people see stays true meanwhile, and
# the worker's memory does not grow.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

sub create_sink
{
	my ($name, $partitions, $settings) = @_;
	my $topic = $kafka->topic($name, $partitions);

	sql(qq{
		CREATE TABLE $name (id bigint PRIMARY KEY, qty int);
		SELECT kafka_sink.create_sink('$name', server => 'kafka', target => '$name', idle_after => '0', $settings);
		SELECT kafka_sink.register_topic('$name', '$topic');
		CALL kafka_sink.wait_for('$name', timeout => '3 min');
	});
	return $topic;
}

# Private memory of a sink's worker, in kB.
sub memory
{
	my ($name) = @_;
	my $pid = sql("SELECT pid FROM kafka_sink.stat_sinks WHERE sink = '$name'");

	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s*(\d+) kB/m ? $1 : die 'no RssAnon';
}

sub retries { return sql("SELECT retries FROM kafka_sink.stat_sinks WHERE sink = '$_[0]'"); }

create_server($node, $kafka);

# --- a lock on the table ---

my $topic = create_sink('held', 300, "lock_timeout => '200 ms', statistics_interval => '100 ms'");
my $holder = $node->background_psql('postgres');
my $pid = $holder->query_safe('SELECT pg_backend_pid()');

$holder->query_safe('BEGIN; LOCK TABLE held');
$kafka->gen($topic, count => 500, partitions => 5);
becomes(qq{SELECT (state, waits_for, sqlstate, message, detail) =
		('waiting', 'lock', '55P03', 'waits for a lock on table "held"', 'It is held by process $pid (AccessExclusiveLock).')
		FROM kafka_sink.sinks WHERE sink = 'held'}, 'it says which lock it waits for, and who holds it');
my $since = sql("SELECT since FROM kafka_sink.sinks WHERE sink = 'held'");
becomes("SELECT sum(lag) = 500 AND sum(end_offset) = 500 FROM kafka_sink.lag WHERE sink = 'held'", 'its lag is the true one');
$kafka->gen($topic, count => 100, from => 500, partitions => 5);
becomes("SELECT sum(lag) = 600 FROM kafka_sink.lag WHERE sink = 'held'", 'and goes on');
# a second of statistics of 300 partitions is 2 MB
my $before = retries('held') + 5;
becomes("SELECT retries > $before FROM kafka_sink.stat_sinks WHERE sink = 'held'", 'it tries again');
my $memory = memory('held');
$before += 10;
becomes("SELECT retries > $before FROM kafka_sink.stat_sinks WHERE sink = 'held'", 'and again');
my $grown = memory('held') - $memory;
cmp_ok($grown, '<', 8192, "its memory does not grow ($grown kB)") unless $ENV{ASAN_OPTIONS};
is(sql("SELECT since FROM kafka_sink.sinks WHERE sink = 'held'"), $since, 'since when it waits');
becomes("SELECT min(as_of) > now() - interval '1 minute' FROM kafka_sink.lag WHERE sink = 'held' AND lag > 0", 'figures are not old');
$holder->query_safe('COMMIT');
becomes("SELECT count(*) = 600 FROM held", 'then it goes on');
becomes("SELECT state = 'running' AND waits_for IS NULL AND message IS NULL FROM kafka_sink.sinks WHERE sink = 'held'", 'and says so');
is(sql("SELECT sum(gaps), sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = 'held'"), '0|600', 'all of it, once');

# --- a row, and a batch that has no room for more ---

$topic = create_sink('rows', 1, "insert_mode => 'upsert', lock_timeout => '200 ms', batch_records => 10, batch_linger_ms => 0");
sql('INSERT INTO rows VALUES (3, 0)');
$holder->query_safe('BEGIN; UPDATE rows SET qty = -1 WHERE id = 3');
$kafka->gen($topic, count => 50);
becomes(q{SELECT state = 'waiting' AND waits_for = 'lock' AND message = 'waits for a row that another transaction has locked, as it writes to table "rows"'
		FROM kafka_sink.sinks WHERE sink = 'rows'}, 'a row that somebody has changed');
wait_until($node, "SELECT detail FROM kafka_sink.sinks WHERE sink = 'rows'", qr/^It is held by process $pid\./, 'and who');
becomes("SELECT lag >= 40 FROM kafka_sink.lag WHERE sink = 'rows'", 'a batch that is full does not hide the rest');
$kafka->gen($topic, count => 50, from => 50);
becomes("SELECT lag >= 90 FROM kafka_sink.lag WHERE sink = 'rows'", 'nor what comes later');
$holder->query_safe('ROLLBACK');
becomes("SELECT o.off = 100 AND s.state = 'running' FROM kafka_sink.txn_offsets o JOIN kafka_sink.sinks s USING (sink) WHERE sink = 'rows'", 'then it goes on');

# --- somebody else has moved the offset meanwhile ---

$holder->query_safe('BEGIN; LOCK TABLE rows');
$kafka->gen($topic, count => 5, from => 100);
becomes("SELECT state = 'waiting' FROM kafka_sink.sinks WHERE sink = 'rows'", 'it waits for the table');
sql("SELECT kafka_sink.advance('rows', '$topic', 0, 100, 102)");
$holder->query_safe('ROLLBACK');
becomes("SELECT off = 105 FROM kafka_sink.txn_offsets WHERE sink = 'rows'", 'it goes on from there');
becomes("SELECT state = 'running' FROM kafka_sink.sinks WHERE sink = 'rows'", 'and waits no more');

# --- stopped while it waits ---

$holder->query_safe('BEGIN; LOCK TABLE rows');
$kafka->gen($topic, count => 5, from => 105);
becomes("SELECT state = 'waiting' FROM kafka_sink.sinks WHERE sink = 'rows'", 'it waits');
sql("SELECT kafka_sink.pause('rows')");
becomes("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'kafka_sink rows'", 'pause() does not wait for the lock');
$holder->query_safe('ROLLBACK');
sql("SELECT kafka_sink.resume('rows')");
becomes("SELECT off = 110 FROM kafka_sink.txn_offsets WHERE sink = 'rows'", 'it goes on where it stood');

# --- behind an open transaction, when nothing is fetched ---

# a fetcher that has something stops
create_server($node, $kafka, name => 'small', options => q(queued_min_messages '1', fetch_message_max_bytes '1024'));
$topic = create_sink('open', 1, "lock_timeout => '200 ms', batch_records => 10, batch_linger_ms => 0");
sql("SELECT kafka_sink.alter_sink('open', server => 'small')");
$holder->query_safe('BEGIN; LOCK TABLE open');
$kafka->gen($topic, count => 50);
my $tx = $kafka->script('transactional.id' => $topic)->to($topic);
my $ends = "SELECT (end_offset, high_watermark, lag, open_transaction_lag) = (%s) FROM kafka_sink.lag WHERE sink = 'open'";
becomes(sprintf($ends, '50, 50, 50, 0'), 'a batch that is full, and more');
$tx->B;
$tx->P(0, undef, qq({"id": $_, "qty": 1})) foreach 1001 .. 1005;
$tx->F;
becomes(sprintf($ends, '50, 55, 50, 5'), 'a transaction that is open is seen');
$kafka->gen($topic, count => 10, from => 50);
becomes(sprintf($ends, '50, 65, 50, 15'), 'and what is behind it');
$tx->C;
$tx->end;
becomes(sprintf($ends, '66, 66, 66, 0'), 'until it is committed');
$holder->query_safe('ROLLBACK');
becomes("SELECT (off, consumed, gaps) = (66, 65, 1) FROM kafka_sink.txn_offsets WHERE sink = 'open'", 'all of it, once');
$holder->quit;

done_testing();
