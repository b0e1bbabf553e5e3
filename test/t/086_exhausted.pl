# The server has no number left for a group of transactions that lock a row: until it has been
# vacuumed, a row that another transaction refers to can be referred to by nobody else.  That is
# no record's fault, and passes.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "autovacuum = off\nmax_prepared_transactions = 1\n");
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

create_server($node, $kafka);
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
