# evolve: targets follow the schemas of records, in one transaction with the rows and
# the offsets: in the middle of batches, in several workers, across a crash between the
# change and its commit, beside locks; what cannot be halts where it is met.
#
# Schemas are in the table as if they had been fetched: no registry is needed.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub becomes
{
	my ($query, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, $query, $expected, $what)
	  || diag sql('SELECT sink, state, waits_for, sqlstate, message, detail, hint FROM kafka_sink.sinks');
}

# --- schemas, and records by them ---

my $schemas = 0;

# A record's schema: "name" => type as JSON, ...; returns its id.
sub schema
{
	my (@fields) = @_;
	my $fields = join ', ', map { qq({"name": "$fields[2 * $_]", "type": $fields[2 * $_ + 1]}) } 0 .. $#fields / 2;

	$schemas++;
	sql(qq{INSERT INTO kafka_sink.schemas (server, registry, id, type, schema, refs)
		VALUES ('kafka', 'http://127.0.0.1:1', $schemas, 'AVRO', '{"type": "record", "name": "r", "fields": [$fields]}', '[]')});
	return $schemas;
}

sub long
{
	my ($v) = @_;
	my $out = '';

	$v = $v < 0 ? -2 * $v - 1 : 2 * $v;
	for (; $v >= 128; $v >>= 7) { $out .= chr($v % 128 + 128); }
	return $out . chr $v;
}

sub string { return long(length $_[0]) . $_[0]; }
sub value { my ($id, @fields) = @_; return pack('CN', 0, $id) . join '', @fields; }

# A sink of one topic, into a table of its name, which has an id.
sub sink
{
	my ($name, $partitions, $settings, $columns) = @_;
	my $topic = $kafka->topic($name, $partitions);

	$columns //= '';
	sql(qq{CREATE TABLE $name (id bigint PRIMARY KEY$columns)});
	sql(qq{SELECT kafka_sink.create_sink('$name', server => 'kafka', target => '$name', format => 'avro', idle_after => '0', $settings);
		SELECT kafka_sink.register_topic('$name', '$topic')});
	return $topic;
}

sub columns { return sql("SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$_[0]'::regclass AND attnum > 0 AND NOT attisdropped"); }
sub statements { return sql("SELECT topic, part, off, schema_id, statement FROM kafka_sink.ddl_history WHERE sink = '$_[0]' ORDER BY id"); }
sub accounts { return sql("SELECT sum(consumed), sum(applied), sum(gaps), bool_and(off - start_off = consumed + gaps) FROM kafka_sink.txn_offsets WHERE sink = '$_[0]'"); }

create_server($node, $kafka, options => "schema_registry_url 'http://127.0.0.1:1'");
my $id = schema(id => '"long"');
my $with_v = schema(id => '"long"', v => '"string"');
my $with_w = schema(id => '"long"', v => '"string"', w => '["null", "int"]');

# --- in the middle of a batch, with many records before and after ---

my $topic = sink('middle', 1, q{evolve => 'add', batch_linger_ms => 1000});
sql("SELECT kafka_sink.pause('middle')");
$kafka->produce($topic, 0,
	(map { [ undef, value($id, long($_)) ] } 1 .. 3000),
	(map { [ undef, $_ % 2 ? value($with_v, long($_), string("v$_")) : value($id, long($_)) ] } 3001 .. 6000),
	(map { [ undef, value($with_w, long($_), string("v$_"), "\x02", long($_)) ] } 6001 .. 7000));
sql("SELECT kafka_sink.resume('middle')");
becomes('SELECT count(*), count(v), count(w), min(id) FILTER (WHERE v IS NOT NULL), min(w) FROM middle', '7000|2500|1000|3001|6001', 'all rows, by all schemas');
is(columns('middle'), 'id bigint, v text, w integer', 'and a column for each field');
is(statements('middle'), "$topic|0|3000|$with_v|ALTER TABLE public.middle ADD COLUMN v text\n$topic|0|6000|$with_w|ALTER TABLE public.middle ADD COLUMN w integer",
	'each added once, at the first record');
is(accounts('middle'), '7000|7000|0|t', 'the accounts are exact');
is(sql(q{SELECT bool_and(v = 'v' || id) FROM middle WHERE v IS NOT NULL}), 't', 'values where they belong');

# --- a crash between the change and its commit ---

my $crash = sink('crash', 1, q{evolve => 'add', lock_timeout => '0'});
sql(q{CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_catalog.pg_advisory_xact_lock(42); END$$;
	CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION hold();
	ALTER EVENT TRIGGER hold ENABLE ALWAYS});
foreach my $how (qw(worker server))
{
	my $field = "f_$how";
	my $newer = schema(id => '"long"', v => '"string"', $field => '"int"');
	my $holder = $node->background_psql('postgres');
	my $from = sql('SELECT coalesce(max(id), 0) FROM crash');

	$holder->query_safe('SELECT pg_advisory_lock(42)');
	$kafka->produce($crash, 0, (map { [ undef, value($how eq 'worker' ? $id : $with_v, long($from + $_), $how eq 'worker' ? () : string('v')) ] } 1 .. 500),
		map { [ undef, value($newer, long($from + $_), string("v$_"), long($_)) ] } 501 .. 1000);
	becomes(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink crash' AND wait_event = 'advisory'}, '1', "$how: the table is altered, and not committed");
	is(sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'crash'::regclass AND attname = '$field'"), '0', 'nobody sees it');
	is(sql(q{SELECT consumed FROM kafka_sink.txn_offsets WHERE sink = 'crash'}), $from + 500, 'what is before is committed');
	if ($how eq 'worker')
	{
		my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'kafka_sink crash'});
		kill 'KILL', $pid;
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	becomes("SELECT count(*) - $from, max(id) - $from, count($field) FROM crash", '1000|1000|500', "$how is killed: then all is there");
	is(sql("SELECT count(*), min(off) FROM kafka_sink.ddl_history WHERE sink = 'crash' AND statement LIKE '%$field%'"), '1|' . ($from + 500), 'altered once');
	eval { $holder->quit };
}
is(accounts('crash'), '2000|2000|0|t', 'each record once');
is(columns('crash'), 'id bigint, v text, f_worker integer, f_server integer', 'each column once');
sql('DROP EVENT TRIGGER hold');

# --- workers of one sink, sinks of one table, somebody else ---

my $many = sink('many', 6, q{evolve => 'widen', insert_mode => 'ignore', workers => 3}, ', n smallint');
sql(qq{SELECT kafka_sink.create_sink('many2', server => 'kafka', target => 'many', format => 'avro', evolve => 'widen', insert_mode => 'ignore', idle_after => '0');
	SELECT kafka_sink.register_topic('many2', '$many')});
my @kinds = ([ schema(id => '"long"', n => '"int"'), sub { long(70000) } ], [ schema(id => '"long"', n => '"long"'), sub { long(2**40) } ],
	[ schema(id => '"long"', n => '"int"', x => '"double"'), sub { long(1) . pack 'd<', 0.5 } ], [ schema(id => '"long"', y => '"string"'), sub { string('y') } ]);
foreach my $part (0 .. 5)
{
	$kafka->produce($many, $part, map { my $kind = $kinds[ ($_ + $part) % 4 ]; [ undef, value($kind->[0], long($part * 1000 + $_), $kind->[1]->()) ] } 1 .. 200);
}
becomes('SELECT count(*), count(n), count(x), count(y) FROM many', '1200|900|300|300', 'workers and sinks of one table: all rows');
becomes(q{SELECT sum(off - start_off) FROM kafka_sink.txn_offsets WHERE sink LIKE 'many%'}, '2400', 'of both');
like(columns('many'), qr/^id bigint, n bigint, (x double precision, y text|y text, x double precision)$/, 'the table is what all of them need');
is(sql(q{SELECT count(*) FILTER (WHERE statement LIKE '%ADD COLUMN x%'), count(*) FILTER (WHERE statement LIKE '%ADD COLUMN y%'), count(*) FILTER (WHERE statement LIKE '%TYPE bigint%')
	FROM kafka_sink.ddl_history WHERE sink LIKE 'many%'}), '1|1|1', 'nothing twice');
becomes(q{SELECT string_agg(DISTINCT state, ',') FROM kafka_sink.sinks WHERE sink LIKE 'many%'}, 'running', 'nobody halts');
sql('ALTER TABLE many ADD COLUMN z int');
$kafka->produce($many, 0, [ undef, value(schema(id => '"long"', z => '"int"'), long(100000), long(5)) ]);
becomes('SELECT z FROM many WHERE id = 100000', '5', 'a column that somebody has added is taken');
is(sql(q{SELECT count(*) FROM kafka_sink.ddl_history WHERE statement LIKE '% z %'}), '0', 'as it is');

# --- beside a topic that always has records, whose table comes first ---

my ($busy, $seldom) = map { $kafka->topic($_, 1) } 'busy', 'seldom';
sql(qq{CREATE TABLE busy (id bigint PRIMARY KEY); CREATE TABLE seldom (id bigint PRIMARY KEY, busy bigint REFERENCES busy);
	SELECT kafka_sink.create_sink('beside', server => 'kafka', format => 'avro', evolve => 'add', batch_linger_ms => 1000, idle_after => '0');
	SELECT kafka_sink.register_topic('beside', '$busy', target => 'busy'), kafka_sink.register_topic('beside', '$seldom', target => 'seldom')});
my ($sent, $until) = (0, time + $KafkaSinkTest::timeout);
do
{
	$kafka->produce($busy, 0, map { [ undef, value($id, long(++$sent)) ] } 1 .. 20);
	$kafka->produce($seldom, 0, [ undef, value($with_v, long(1), string('one')) ]) if $sent == 20;
} until sql('SELECT count(*) FROM seldom') > 0 || time > $until;
is(sql('SELECT id, to_jsonb(s) ->> \'v\' FROM seldom s'), '1|one', 'the table is altered, and has the row');
becomes('SELECT count(*) FROM busy', $sent, 'the other topic goes on');
is(accounts('beside'), $sent + 1 . '|' . ($sent + 1) . '|0|t', 'each record once');
is(statements('beside'), "$seldom|0|0|$with_v|ALTER TABLE public.seldom ADD COLUMN v text", 'altered once');

# --- a lock that is not got ---

my $locked = sink('locked', 1, q{evolve => 'add', lock_timeout => '100 ms'});
my $reader = $node->background_psql('postgres');
my $pid = $reader->query_safe('BEGIN; SELECT count(*) FROM locked; SELECT pg_backend_pid()') =~ s/^0\n//r;
$kafka->produce($locked, 0, [ undef, value($id, long(1)) ], [ undef, value($with_v, long(2), string('two')) ]);
becomes(q{SELECT state, waits_for, sqlstate, detail FROM kafka_sink.sinks WHERE sink = 'locked'}, qr/^waiting\|lock\|55P03\|It is held by process $pid /, 'a reader: it waits for the lock');
is(sql('SELECT count(*) FROM locked'), '1', 'what is before is there, and can be read');
$reader->query_safe('COMMIT');
becomes('SELECT id, v FROM locked ORDER BY id', "1|\n2|two", 'the reader is done: it goes on');
becomes(q{SELECT state FROM kafka_sink.sinks WHERE sink = 'locked'}, 'running', 'and says so');
$reader->quit;

# --- what cannot be ---

my $refused = sink('refused', 1, q{evolve => 'add', on_error => 'dead_letter'});
my $array = schema(id => '"long"', v => '{"type": "array", "items": "int"}', x => '"int"');
sql('ALTER TABLE refused ADD COLUMN v text, ADD COLUMN u uuid');
my $numbered = schema(id => '"long"', u => '"long"', more => '"int"');
$kafka->produce($refused, 0, (map { [ undef, value($with_v, long($_), string('v')) ] } 1 .. 10), [ undef, value($numbered, long(11), long(1), long(2)) ],
	[ undef, value($with_v, long(12), string('v')) ]);
becomes(q{SELECT state, sqlstate, topic, part, off FROM kafka_sink.sinks WHERE sink = 'refused'}, "halted|42804|$refused|0|10", 'a type that the column does not take: it halts there');
is(sql('SELECT count(*) FROM refused'), '10', 'all before it is committed');
is(sql(q{SELECT message, detail FROM kafka_sink.sinks WHERE sink = 'refused'}),
	qq(table "refused" cannot be made ready for schema $numbered of the registry|Field "u" is long, and column "u" of type uuid takes no such values.\n)
	  . qq(Schema $numbered differs from schema $with_v, by which records were before: "u" is new: long, "more" is new: int, "v" is gone.), 'and says what is different');
like(sql(q{SELECT hint FROM kafka_sink.sinks WHERE sink = 'refused'}), qr/Alter the table by hand.*evolve => 'none'.*kafka_sink\.resume\('refused'\)/s, 'and what to do');
is(columns('refused'), 'id bigint, v text, u uuid', 'the table is as it was');
is(sql('SELECT count(*) FROM kafka_sink.dead_letters'), '0', 'nothing is a dead letter for it');
sql(q{ALTER TABLE refused ALTER COLUMN u TYPE bigint USING NULL; SELECT kafka_sink.resume('refused')});
becomes('SELECT id, u, more FROM refused WHERE id > 10 ORDER BY id', "11|1|2\n12||", 'the table is altered by hand: it goes on, and adds the rest');
# an event trigger's error is told with the statement
sql(q{CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no changes on Fridays'; END$$;
	CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION no()});
$kafka->produce($refused, 0, [ undef, value($with_w, long(13), string('v'), "\x00") ]);
becomes(q{SELECT state, sqlstate, off, message, detail FROM kafka_sink.sinks WHERE sink = 'refused'},
	"halted|P0001|12|no changes on Fridays|Schema $with_w of the registry needs: ALTER TABLE public.refused ADD COLUMN w integer", 'an event trigger that says no');
sql(q{DROP EVENT TRIGGER no; SELECT kafka_sink.resume('refused')});
becomes('SELECT count(*) FROM refused WHERE id = 13', '1', 'until it is gone');

# --- without it, all is as it was ---

my $none = sink('none', 1, q{on_error => 'dead_letter'});
$kafka->produce($none, 0, [ undef, value($with_v, long(1), string('v')) ], [ undef, value(schema(id => '"boolean"'), "\x01") ], [ undef, value($id, long(2)) ]);
becomes('SELECT * FROM none ORDER BY id', "1\n2", 'none: fields are passed over');
is(sql(q{SELECT sqlstate FROM kafka_sink.dead_letters WHERE sink = 'none'}), '42804', 'what does not fit is an error of its record');
is(columns('none'), 'id bigint', 'nothing is altered');

# --- sessions: preview() is the dry run, run() does it ---

my $session = sink('session', 1, q{evolve => 'add', enabled => false});
$kafka->produce($session, 0, [ undef, value($id, long(1)) ], [ undef, value($with_v, long(2), string('two')) ], [ undef, value($id, long(3)) ], [ undef, value($with_w, long(4), string('four'), "\x02", long(4)) ]);
my ($rc, $out, $err) = $node->psql('postgres', q{SELECT off, outcome, row FROM kafka_sink.preview('session', timeout => '2 min')});
is($out, qq(0|applied|{"id": 1}\n1|applied|{"v": "two", "id": 2}\n2|applied|{"v": null, "id": 3}\n3|applied|{"v": "four", "w": 4, "id": 4}), 'preview(): the rows');
like($err, qr/NOTICE:  schema $with_v of the registry needs: ALTER TABLE public\.session ADD COLUMN v text\n.*NOTICE:  schema $with_w of the registry needs: ALTER TABLE public\.session ADD COLUMN w integer$/s,
	'and the statements');
is(columns('session'), 'id bigint', 'and nothing is left of them');
is(statements('session'), '', 'nowhere');
($rc, $out, $err) = $node->psql('postgres', q{CALL kafka_sink.run('session')});
is(sql('SELECT * FROM session ORDER BY id'), "1||\n2|two|\n3||\n4|four|4", 'run(): the rows');
like($err, qr/INFO:  sink "session" alters its target for schema $with_v of the registry: ALTER TABLE/, 'which says what it does');
is(accounts('session'), '4|4|0|t', 'each record once');
$kafka->produce($session, 0, [ undef, value($array, long(5), "\x00", long(1)) ]);
($rc, $out, $err) = $node->psql('postgres', q{SELECT outcome, sqlstate, message FROM kafka_sink.preview('session', timeout => '2 min')});
is($out, 'applied||', 'preview(): an array goes into a text');
sql('ALTER TABLE session ALTER COLUMN v TYPE uuid USING NULL');
($rc, $out, $err) = $node->psql('postgres', q{SELECT outcome, sqlstate, message FROM kafka_sink.preview('session', timeout => '2 min')});
is($out, qq(error|42804|table "session" cannot be made ready for schema $array of the registry), 'preview(): what cannot be is shown');
($rc, $out, $err) = $node->psql('postgres', q{CALL kafka_sink.run('session')});
like($err, qr/ERROR:  table "session" cannot be made ready for schema $array of the registry\n.*offset 4/s, 'run(): is an error');
is(accounts('session'), '4|4|0|t', 'and nothing is passed over');

$node->stop('fast');
done_testing();
