# What the server runs out of, for all sessions together, is no record's fault, nor that of the
# memory of a worker, and passes.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "autovacuum = off\nmax_prepared_transactions = 1\n");
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

create_server($node, $kafka);

# --- room for locks ---

my $locks = $kafka->topic('locks', 1);
sql(qq{
	CREATE TABLE locks (id int PRIMARY KEY, n int);
	CREATE FUNCTION take_locks() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN PERFORM pg_advisory_xact_lock(NEW.id, g) FROM generate_series(1, NEW.n) g; RETURN NEW; END';
	CREATE TRIGGER take_locks BEFORE INSERT ON locks FOR EACH ROW EXECUTE FUNCTION take_locks();
	SELECT kafka_sink.create_sink('locks', server => 'kafka', target => 'locks', on_error => 'dead_letter', idle_after => '0', enabled => false);
	SELECT kafka_sink.register_topic('locks', '$locks')});
# (others may be refused a lock at the same moment, so they are asked again and again)
my $log = -s $node->logfile;
$kafka->produce($locks, 0, map { [ undef, qq({"id": $_, "n": 100}) ] } 1 .. 500);
sql(q{SELECT kafka_sink.resume('locks')});
wait_until($node, 'SELECT count(*) FROM locks', '500', 'a batch that takes too many locks is made smaller');
is(sql(q{SELECT consumed, applied, gaps FROM kafka_sink.txn_offsets WHERE sink = 'locks'}), '500|500|0', 'all of it, once');
like(slurp_file($node->logfile, $log), qr/sink "locks" tries again: out of shared memory/, 'what was missing is said');
$kafka->produce($locks, 0, [ undef, '{"id": 501, "n": 200000}' ]);
wait_until($node, q{SELECT retries > 4 FROM kafka_sink.stat_sinks WHERE sink = 'locks'}, 't', 'a record that takes too many is tried again');
wait_until($node, q{SELECT concat_ws('|', state, sqlstate, message, hint) FROM kafka_sink.sinks WHERE sink = 'locks'},
	qr/^backoff\|53200\|out of shared memory\|.*max_locks_per_transaction/, 'and its state says what is missing');
wait_until($node, 'ALTER TABLE locks DISABLE TRIGGER take_locks; SELECT 1', '1', 'it takes none any more');
wait_until($node, 'SELECT count(*) FROM locks', '501', 'and goes on');
is(sql('SELECT count(*) FROM kafka_sink.dead_letters'), '0', 'no record is to blame');
unlike(slurp_file($node->logfile, $log), qr/worker_memory_limit/, 'nor is the memory of the worker');

# --- groups of transactions that lock a row: the numbers of these ---

# Until it has been vacuumed, a row that another transaction refers to can be referred to by
# nobody else.
my $topic = $kafka->topic('exhausted', 1);
sql(qq{
	CREATE TABLE kept (id int);
	CREATE TABLE parent (id int PRIMARY KEY);
	INSERT INTO parent VALUES (1), (2);
	CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
	CREATE TABLE called (LIKE child INCLUDING ALL, FOREIGN KEY (parent) REFERENCES parent);
	SELECT kafka_sink.create_sink('called', target => 'called', on_error => 'dead_letter');
	SELECT kafka_sink.create_sink('child', server => 'kafka', target => 'child', on_error => 'dead_letter', idle_after => '0', enabled => false);
	SELECT kafka_sink.register_topic('child', '$topic')});

# (a table that cannot be vacuumed keeps the oldest, whatever the server does as soon as it comes up)
sql(q{BEGIN; LOCK TABLE kept IN SHARE UPDATE EXCLUSIVE MODE; PREPARE TRANSACTION 'keeper'});
# the last but some thousands, at the beginning of a page of them
$node->stop;
$node->command_ok([ $node->installed_command('pg_resetwal'), '-D', $node->data_dir, '-m', 65536 * 32767 . ',1' ], 'the numbers are used up');
$node->start;
my $rival = $node->background_psql('postgres');
$rival->query_safe('BEGIN; INSERT INTO child VALUES (100, 1)');

my $ingest = q{SELECT applied, dead_lettered FROM kafka_sink.ingest('called', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, '{"id": %d, "parent": %d}', NULL)::kafka_sink.record])};
my (undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n" . sprintf $ingest, 1, 1);
like($error, qr/ERROR:  54000: database is not accepting commands that (generate new|assign new) MultiXactIds/, 'ingest() raises it');
is(sql(sprintf $ingest, 2, 2), '1|0', 'a row that nobody else refers to can be referred to');

$kafka->produce($topic, 0, [ undef, '{"id": 1, "parent": 1}' ]);
sql(q{SELECT kafka_sink.resume('child')});
wait_until($node, q{SELECT concat_ws('|', state, sqlstate, message, detail) FROM kafka_sink.sinks WHERE sink = 'child'},
	qr/^backoff\|54000\|/, 'a worker tries again');
is(sql('SELECT count(*) FROM kafka_sink.dead_letters'), '0', 'no record is to blame');
$rival->query_safe('ROLLBACK');
wait_until($node, 'SELECT id, parent FROM child', '1|1', 'and goes on when the other transaction has ended');
wait_until($node, q{SELECT state, message IS NULL FROM kafka_sink.sinks WHERE sink = 'child'}, 'running|t', 'in good health');
$rival->quit;
sql(q{ROLLBACK PREPARED 'keeper'});

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
