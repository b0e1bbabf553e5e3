# A command in real workers: aggregate-then-upsert exactly once over kill -9,
# headers, errors that name the statement, run(), MERGE.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();
my $topic = $kafka->topic('sales', 4);

sub sql { return $node->safe_psql('postgres', $_[0]); }

create_server($node, $kafka);
sql(q{
	CREATE TYPE sale AS (id bigint, qty int);
	CREATE TABLE totals (id bigint PRIMARY KEY, qty bigint NOT NULL, n bigint NOT NULL);
	CREATE TABLE raw (part int, off bigint, id bigint, qty int, PRIMARY KEY (part, off));
	SELECT kafka_sink.create_sink('totals', server => 'kafka', value_type => 'sale', workers => 2, batch_records => 500,
		filter => 'qty % 10 <> 3',
		command => 'INSERT INTO public.totals AS t SELECT id, sum(qty), count(*) FROM batch GROUP BY id ORDER BY id
			ON CONFLICT (id) DO UPDATE SET qty = t.qty + EXCLUDED.qty, n = t.n + EXCLUDED.n');
	SELECT kafka_sink.create_sink('raw', server => 'kafka', target => 'raw',
		columns => '{"part": "@partition", "off": "@offset"}')});
sql("SELECT kafka_sink.register_topic(s, '$topic') FROM unnest('{totals,raw}'::text[]) s");

# --- kills while records arrive ---

my $gen = $kafka->gen_bg($topic, count => 0, rate => 5000, keys => 'rand:50');
my $consumed = 0;
foreach my $kill (1 .. 5)
{
	wait_until($node, "SELECT sum(consumed) > $consumed + 2000 FROM kafka_sink.txn_offsets WHERE sink = 'totals'", 't',
		"kill $kill: records arrive");
	my $pid = sql("SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'totals' AND pid IS NOT NULL ORDER BY worker LIMIT 1");
	$consumed = sql("SELECT sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = 'totals'");
	is(kill('KILL', $pid), 1, "kill $kill: a worker is killed");
	# shared memory, and the pid with it, is gone when the server is back
	wait_until($node, "SELECT count(*) FROM kafka_sink.stat_sinks WHERE pid = $pid", '0', "kill $kill: the server is back");
	is(sql(q{SELECT (SELECT sum(n) FROM totals) = (SELECT sum(applied) FROM kafka_sink.txn_offsets WHERE sink = 'totals')}),
		't', "kill $kill: totals and offsets agree");
}
$gen->stop;
sql("CALL kafka_sink.wait_for('$_', timeout => '3 min')") foreach qw(totals raw);
cmp_ok(sql('SELECT count(*) FROM raw'), '>', $consumed, 'all records are there');
is(sql(q{SELECT count(*) FROM (SELECT id, sum(qty) AS qty, count(*) AS n FROM raw WHERE qty % 10 <> 3 GROUP BY id) r
	FULL JOIN totals t USING (id) WHERE (r.qty, r.n) IS DISTINCT FROM (t.qty, t.n)}), '0',
	'each total is that of the records, each counted once');
is(sql(q{SELECT bool_and(consumed = applied + filtered), sum(filtered) = (SELECT count(*) FROM raw WHERE qty % 10 = 3), sum(filtered) > 0
	FROM kafka_sink.txn_offsets WHERE sink = 'totals'}), 't|t|t', 'the accounting adds up');

# --- headers from the broker ---

my $routed = $kafka->topic('routed', 1);
sql(qq{
	CREATE TABLE by_tenant (tenant text, n int);
	SELECT kafka_sink.create_sink('routed', server => 'kafka', command => \$\$
		INSERT INTO public.by_tenant
		SELECT convert_from(h.value, 'UTF8'), (b.value->>'n')::int FROM batch b, unnest(b.headers) h WHERE h.name = 'tenant';
		SELECT 1 / (value->>'n')::int FROM batch\$\$);
	SELECT kafka_sink.register_topic('routed', '$routed')});
my $script = $kafka->script->to($routed);
$script->P(0, undef, '{"n": 1}', headers => [ [ 'tenant', 'a' ], [ 'other', 'x' ] ]);
$script->P(0, undef, '{"n": 2}', headers => [ [ 'tenant', 'b' ] ]);
$script->F;
wait_until($node, q{SELECT string_agg(tenant || n, ' ' ORDER BY n) FROM by_tenant}, 'a1 b2', 'headers are columns of batch');

# --- an error names the statement, and the record ---

$script->P(0, undef, '{"n": 3}', headers => [ [ 'tenant', 'c' ] ]);
$script->P(0, undef, '{"n": 0}', headers => [ [ 'tenant', 'd' ] ]);
$script->P(0, undef, '{"n": 4}', headers => [ [ 'tenant', 'e' ] ]);
$script->F;
$script->end;
wait_until($node, q{SELECT state, sqlstate, message, detail, off FROM kafka_sink.sinks WHERE sink = 'routed'},
	'halted|22012|division by zero|Statement 2 of 2 of the command.|3', 'it halts at the record and tells the statement');
is(sql(q{SELECT string_agg(tenant || n, ' ' ORDER BY n) FROM by_tenant}), 'a1 b2 c3', 'what is before the record is applied');
sql(qq{SELECT kafka_sink.alter_sink('routed', filter => 'value->>''n'' <> ''0'''); SELECT kafka_sink.resume('routed')});
wait_until($node, q{SELECT string_agg(tenant || n, ' ' ORDER BY n) FROM by_tenant}, 'a1 b2 c3 e4', 'a filter lets it go on');
is(sql(q{SELECT consumed, applied, filtered FROM kafka_sink.txn_offsets WHERE sink = 'routed'}), '5|4|1', 'it is counted');

# a table that goes away is nobody's record
sql('DROP TABLE by_tenant');
$kafka->produce($routed, 0, [ undef, '{"n": 5}' ]);
wait_until($node, q{SELECT state, sqlstate, message, detail, off FROM kafka_sink.sinks WHERE sink = 'routed'},
	'halted|42P01|relation "public.by_tenant" does not exist|Statement 1 of 2 of the command.|5', 'a table is missing: halted, where it was met');
like(sql(q{SELECT hint FROM kafka_sink.sinks WHERE sink = 'routed'}), qr/need their schema/, 'with a hint');
sql(q{CREATE TABLE by_tenant (tenant text, n int); SELECT kafka_sink.resume('routed')});
wait_until($node, q{SELECT consumed FROM kafka_sink.txn_offsets WHERE sink = 'routed'}, '6', 'it is back: it goes on');

# --- run(), MERGE ---

SKIP:
{
	skip 'no MERGE in this version', 3 if $node->pg_version < 15;
	my $merged = $kafka->topic('merged', 1);
	sql(qq{
		CREATE TABLE stock (item text PRIMARY KEY, n int);
		INSERT INTO stock VALUES ('pen', 5), ('ink', 1);
		SELECT kafka_sink.create_sink('merged', server => 'kafka', enabled => false, command => \$\$
			MERGE INTO public.stock s
			USING (SELECT value->>'item' AS item, sum((value->>'change')::int) AS change FROM batch GROUP BY 1) b
			   ON s.item = b.item
			 WHEN MATCHED AND s.n + b.change = 0 THEN DELETE
			 WHEN MATCHED THEN UPDATE SET n = s.n + b.change
			 WHEN NOT MATCHED THEN INSERT VALUES (b.item, b.change)\$\$);
		SELECT kafka_sink.register_topic('merged', '$merged')});
	$kafka->produce($merged, 0, map { [ undef, qq({"item": "$_->[0]", "change": $_->[1]}) ] }
		[ 'pen', -1 ], [ 'ink', -1 ], [ 'cap', 7 ], [ 'pen', -2 ]);
	is(sql(q{SELECT outcome, row FROM kafka_sink.preview('merged', 2, timeout => '2 min')}),
		qq(applied|{"value": {"item": "pen", "change": -1}}\napplied|{"value": {"item": "ink", "change": -1}}),
		'preview() of a command');
	is(sql('SELECT item, n FROM stock ORDER BY item'), "ink|1\npen|5", 'leaves nothing');
	sql(q{CALL kafka_sink.run('merged')});
	is(sql('SELECT item, n FROM stock ORDER BY item'), "cap|7\npen|2", 'run() with MERGE');
}

# --- the reference shows what sql/examples.sql runs ---

my $top = dirname(__FILE__) . '/../..';
my $examples = slurp_file("$top/sql/examples.sql");
my ($shown) = slurp_file("$top/doc/reference.md") =~ /^### Examples\n(.*?)^## /ms;
my @blocks = map { s/^    //gmr } $shown =~ /^((?:    .*\n|\n(?=    ))+)/mg;
is(scalar(@blocks), 6, 'the reference has examples');
ok(index($examples, $_) >= 0, 'run as it stands: ' . (/create_sink\('(\w+)'/)[0]) foreach @blocks;

done_testing();
