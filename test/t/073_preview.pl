# Look before you leap: peek() at records, preview() of what a sink would do.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Fails with this SQLSTATE and message.
sub fails
{
	my ($statement, $sqlstate, $re, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$statement");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	like($err, qr/ERROR:  $sqlstate: .*$re/s, $what);
	return;
}

create_server($node, $kafka);

# --- peek: what a record has ---

my $topic = $kafka->topic('peek', 2, 'retention.ms' => -1);
my $producer = $kafka->script->to($topic);
$producer->P(1, '{"k": 7}', '{"id": 1}', ts => 1767225600123,
	headers => [ [ 'trace', 'abc' ], [ 'trace', "\x00\xff" ], [ 'empty', '' ], [ 'null', undef ] ]);
$producer->P(1, 'gone', undef, ts => 1767225601000);
$producer->P(1, undef, "\x00\xfe", ts => 1767225602000);
$producer->P(1, '', '', ts => 1767225603000);
$producer->F;
$producer->end;

is(sql("SELECT topic = '$topic', part, off, ts AT TIME ZONE 'UTC', key, value, cardinality(headers)
		FROM kafka_sink.peek('kafka', '$topic', 1, timeout => '2 min')"),
	join("\n",
		't|1|0|2026-01-01 00:00:00.123|\x7b226b223a20377d|\x7b226964223a20317d|4',
		't|1|1|2026-01-01 00:00:01|\x676f6e65||0',
		't|1|2|2026-01-01 00:00:02||\x00fe|0',
		't|1|3|2026-01-01 00:00:03|\x|\x|0'),
	'keys, values, tombstones, bytes of any kind');
is(sql("SELECT n, h.name, h.value, h.value IS NULL FROM kafka_sink.peek('kafka', '$topic', 1, until_off => 1, timeout => '2 min'),
		unnest(headers) WITH ORDINALITY AS h (name, value, n) ORDER BY n"),
	"1|trace|\\x616263|f\n2|trace|\\x00ff|f\n3|empty|\\x|f\n4|null||t", 'headers, in their order');
is(sql("SELECT count(*) FROM kafka_sink.peek('kafka', '$topic', 0, timeout => '2 min')"), '0', 'an empty partition has none');
is(sql('SELECT count(*) FROM pg_class WHERE relname = \'sink_catalog\' AND pg_relation_size(oid) > 0'), '0',
	'and no sink was needed');

# --- peek: ranges ---

sub offsets
{
	my ($name, $part, $args) = @_;

	return sql("SELECT string_agg(off::text, ' ' ORDER BY off) FROM kafka_sink.peek('kafka', '$name', $part$args, timeout => '2 min')");
}

is(offsets($topic, 1, ', 1, 3'), '1 2', 'from an offset to below another');
is(offsets($topic, 1, ', 2'), '2 3', 'to the end');
is(offsets($topic, 1, ', 2, 2'), '', 'nothing');
is(offsets($topic, 1, ', 3, 1000'), '3', 'not beyond the end');
is(offsets($topic, 1, ', 1000'), '', 'nor from there');
is(offsets($topic, 1, ', max_records => 3'), '0 1 2', 'not more than max_records');
is(offsets($topic, 1, ', 1, max_records => 1'), '1', 'from where it is said');

my $many = $kafka->topic('many', 1);
$kafka->gen($many, count => 5000, manifest => PostgreSQL::Test::Utils::tempdir() . '/manifest');
is(sql("SELECT count(*), min(off), max(off) FROM kafka_sink.peek('kafka', '$many', 0, timeout => '2 min')"), '100|0|99',
	'100 if nothing is said');
is(sql("SELECT count(*), count(DISTINCT off), min(off), max(off) FROM kafka_sink.peek('kafka', '$many', 0, 10, max_records => 1000000, timeout => '2 min')"),
	'4990|4990|10|4999', 'or all');
$kafka->delete_records($many, 0, 4000);
is(sql("SELECT count(*), min(off), max(off) FROM kafka_sink.peek('kafka', '$many', 0, 0, max_records => 10, timeout => '2 min')"),
	'10|4000|4009', 'what retention has taken is not there');
is(offsets($many, 0, ', 5, 10'), '', 'nor in a range before the log');

# --- peek: gaps ---

my $tx = $kafka->topic('tx', 1);
$producer = $kafka->script('transactional.id' => "look-$$")->to($tx);
foreach my $end ('C', 'A', 'C')
{
	$producer->B;
	$producer->P(0, undef, "{\"id\": $_}") foreach 1 .. 2;
	$producer->F;
	$producer->$end;
}
is(offsets($tx, 0, ''), '0 1 6 7', 'no aborted records, no markers');
is(offsets($tx, 0, ', 2, 6'), '', 'a range of nothing else');
is(offsets($tx, 0, ', 8'), '', 'the marker at the end');
$producer->B;
$producer->P(0, undef, '{"id": 9}');
$producer->F;
is(offsets($tx, 0, ', 6'), '6 7', 'nothing of an open transaction');
$producer->C;
$producer->end;
is(offsets($tx, 0, ', 6'), '6 7 9', 'but when it is committed');

my $kv = $kafka->topic('kv', 1, 'cleanup.policy' => 'compact', 'segment.ms' => 20,
	'min.cleanable.dirty.ratio' => '0.01');
$kafka->produce($kv, 0, map { [ 'k' . $_ % 2, "{\"id\": $_}" ] } 1 .. 20);
ok( KafkaSinkTest::_poll(
		sub {
			# a segment is compacted when there is one behind it
			$kafka->produce($kv, 0, [ 'roll', '{}' ]);
			return sql("SELECT count(*) < 20 FROM kafka_sink.peek('kafka', '$kv', 0, 0, 20, timeout => '2 min')") eq 't';
		}),
	'a topic is compacted');
is(offsets($kv, 0, ', 0, 20'), '18 19', 'compaction leaves gaps');

# --- peek: refused ---

foreach (
	[ "'nowhere', '$topic', 0", '42704', 'server "nowhere" does not exist', 'no such server' ],
	[ "'kafka', 'no-such-topic', 0", '42704', 'topic "no-such-topic" does not exist on server "kafka".*topics', 'no such topic' ],
	[ "'kafka', 'no such topic', 0", '42\w+', 'no such topic', 'a name that cannot be' ],
	[ "'kafka', '$topic', 2", '22023', 'has no partition 2.*0 to 1', 'no such partition' ],
	[ "'kafka', '$topic', -1", '22023', 'has no partition -1', 'nor this one' ],
	[ "'kafka', '$topic', 0, -1", '22023', 'from_off must not be negative', 'negative offset' ],
	[ "'kafka', '$topic', 0, 5, 4", '22023', 'until_off must not be below from_off', 'range upside down' ],
	[ "'kafka', '$topic', 0, max_records => 0", '22023', 'max_records must be between 1 and', 'no records' ],
	[ "'kafka', '$topic', 0, timeout => '0'", '22023', '00:00:00 is outside the valid range for timeout', 'no time' ],
	[ "'kafka', NULL, 0", '22004', 'topic must not be null', 'NULL' ])
{
	my ($args, $sqlstate, $re, $what) = @$_;
	fails("SELECT * FROM kafka_sink.peek($args)", $sqlstate, $re, "peek: $what");
}
sql(q{CREATE SERVER dead FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1')});
fails("SELECT * FROM kafka_sink.peek('dead', 't', 0, timeout => '500 milliseconds')", '08006', '', 'peek: no broker');

my $mock = start_mock();
create_server($node, $mock, name => 'mock');
$mock->command('topic slow 1');
$mock->produce('slow', 0, [ undef, '{"id": 1}' ]);
is(sql(q{SELECT off FROM kafka_sink.peek('mock', 'slow', 0, timeout => '2 min')}), '0', 'a broker that answers');
$mock->command('push_errors 1' . ' 6' x 10) foreach 1 .. 50;
like(timed_out($node, q{SELECT * FROM kafka_sink.peek('mock', 'slow', 0, timeout => '%d s')}),
	qr/ERROR:  57014: timed out while reading from Kafka/, 'one that gives no records in time');
fails(q{SET statement_timeout = 500; SELECT * FROM kafka_sink.peek('mock', 'slow', 0)}, '57014',
	'canceling statement due to statement timeout', 'it can be cancelled');

# --- preview ---

my $in = $kafka->topic('preview', 1);
$kafka->produce($in, 0,
	[ '{"id": 1}', '{"id": 1, "v": "one", "j": {"a": [1, null]}, "at": "2026-01-02T03:04:05Z"}' ],
	[ '{"id": 2}', '{"id": 2, "v": "two", "n": 1.50}' ],
	[ '{"id": 3}', '{"id": 3, "v": "bad"}' ],
	[ '{"id": 1}', '{"id": 1, "v": "again"}' ],
	[ '{"id": 4}', '{"id": "x"}' ],
	[ '{"id": 5}', '{"id": 5' ],
	[ '{"id": 2}', undef ],
	[ '{"id": 7}', undef ],
	[ undef, '{"v": "no id"}' ],
	[ '{"id": 8}', '{"id": 8, "v": "last"}' ]);
sql(qq{
	CREATE TABLE preview (id int PRIMARY KEY, v text CHECK (v <> 'bad'), n numeric DEFAULT 7.5, j jsonb,
		at timestamptz DEFAULT '2026-05-05 05:05:05+00', s bigint GENERATED ALWAYS AS IDENTITY);
	CREATE TABLE audit (who name, id int);
	CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
		\$\$BEGIN INSERT INTO public.audit VALUES (session_user, NEW.id); RETURN NEW; END\$\$;
	SELECT kafka_sink.create_sink('preview', server => 'kafka', target => 'preview', insert_mode => 'upsert',
		delete_enabled => true, enabled => false);
	SELECT kafka_sink.register_topic('preview', '$in');
});
my $expected = join("\n",
	'0|applied|{"at": "2026-01-02T03:04:05+00:00", "id": 1, "j": {"a": [1, null]}, "n": 7.5, "v": "one"}|||',
	'1|applied|{"at": "2026-05-05T05:05:05+00:00", "id": 2, "j": null, "n": 1.50, "v": "two"}|||',
	'2|error|{"at": "2026-05-05T05:05:05+00:00", "id": 3, "j": null, "n": 7.5, "v": "bad"}|23514|new row for relation "preview" violates check constraint "preview_v_check"|',
	'3|applied|{"at": "2026-05-05T05:05:05+00:00", "id": 1, "j": null, "n": 7.5, "v": "again"}|||',
	'4|error||22P02|invalid input syntax for type integer: "x"|id',
	'5|error||22P02|invalid JSON|',
	'6|deleted|{"id": 2}|||',
	'7|unmatched|{"id": 7}|||',
	'8|error||23502|null value in key column "id"|id',
	'9|applied|{"at": "2026-05-05T05:05:05+00:00", "id": 8, "j": null, "n": 7.5, "v": "last"}|||');

# As text, with keys in alphabetical order.
# (s is the next number of a sequence)
sub preview
{
	my ($args) = @_;

	return sql(qq{SELECT off, outcome, (SELECT '{' || string_agg(format('"%s": %s', key, value), ', ' ORDER BY key COLLATE "C") || '}'
				FROM jsonb_each("row" - 's')), sqlstate, message, column_name
			FROM kafka_sink.preview($args, timeout => '2 min') WHERE topic = '$in' AND part = 0});
}

# Everything that a preview could have changed.
sub state
{
	return sql(q{SELECT (SELECT coalesce(jsonb_agg(p ORDER BY id), '[]') FROM preview p),
		(SELECT count(*) FROM audit),
		(SELECT coalesce(jsonb_agg(o), '[]') FROM kafka_sink.txn_offsets o WHERE sink = 'preview'),
		(SELECT state FROM kafka_sink.sinks WHERE sink = 'preview'), current_setting('TimeZone'), current_setting('search_path')});
}

my $before = state();
like($before, qr/^\[\]\|0\|\[\]\|paused\|/, 'a sink that has done nothing yet');
is(preview("'preview', 100"), $expected, 'what would become of each record');
is(state(), $before, 'nothing came of it');
is(preview("'preview', 2"), join("\n", (split /\n/, $expected)[ 0 .. 1 ]), 'of the first n');
is(sql(q{SELECT detail FROM kafka_sink.preview('preview', timeout => '2 min') WHERE off = 5}),
	'The input ends unexpectedly after 8 bytes.', 'details');
is(sql(q{BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; SELECT count(*) FROM kafka_sink.preview('preview', timeout => '2 min');
		SELECT current_setting('TimeZone'), count(*) FROM preview; COMMIT}), "10\nAsia/Tokyo|0",
	'in a transaction too, whose settings stay');
is(sql(q{SELECT a.off, b.off FROM kafka_sink.preview('preview', 1, timeout => '2 min') a, kafka_sink.preview('preview', 1, timeout => '2 min') b}), '0|0',
	'two at once');

# A trigger runs, and what it does is gone.  It also turns the fast path off.
sql(q{CREATE TRIGGER audit AFTER INSERT ON preview FOR EACH ROW EXECUTE FUNCTION audit()});
is(preview("'preview', 100"), $expected, 'the same with a trigger');
is(state(), $before, 'and nothing came of it');
sql(q{CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN IF NEW.id = 8 THEN RETURN NULL; END IF; RETURN NEW; END$$;
	CREATE TRIGGER stop BEFORE INSERT ON preview FOR EACH ROW EXECUTE FUNCTION stop()});
is(sql(q{SELECT outcome FROM kafka_sink.preview('preview', timeout => '2 min') WHERE off = 9}), 'unmatched', 'a trigger that says no');
sql('DROP TRIGGER audit ON preview; DROP TRIGGER stop ON preview');

# What is not a record's fault is the call's error.
sql('ALTER TABLE preview DROP CONSTRAINT preview_pkey');
fails("SELECT * FROM kafka_sink.preview('preview', timeout => '2 min')", '42P10', 'key', 'a target that does not fit');
sql('ALTER TABLE preview ADD PRIMARY KEY (id)');

# A halted sink: from where it stands.
sql("SELECT kafka_sink.resume('preview')");
wait_until($node, q{SELECT state, off FROM kafka_sink.sinks WHERE sink = 'preview'}, 'halted|2', 'it halts where it was foretold');
$before = state();
is(preview("'preview', 1"), (split /\n/, $expected)[2], 'and tells again why');
is(state(), $before, 'nothing moved');

# A running one, which is not disturbed.
my $run = $kafka->topic('running', 1);
sql(qq{
	CREATE TABLE running (id bigint PRIMARY KEY, qty bigint);
	SELECT kafka_sink.create_sink('running', server => 'kafka', target => 'running', insert_mode => 'upsert');
	SELECT kafka_sink.register_topic('running', '$run');
	CALL kafka_sink.wait_for('running', timeout => '3 min');
});
is(sql(q{SELECT count(*) FROM kafka_sink.preview('running', timeout => '2 min')}), '0', 'nothing to be foretold');
my $bg = $kafka->gen_bg($run, count => 20000, rate => 5000, manifest => PostgreSQL::Test::Utils::tempdir() . '/running');
wait_until($node, 'SELECT count(*) > 0 FROM running', 't', 'a worker is at work');
my $outcomes = '';
$outcomes .= sql(q{SELECT string_agg(DISTINCT outcome, ',') FROM kafka_sink.preview('running', 1000, timeout => '2 min')}) foreach 1 .. 10;
unlike($outcomes, qr/error/, 'previews of its records');
ok($bg->finish, 'all was produced');
sql("CALL kafka_sink.wait_for('running', timeout => '3 min')");
is(sql('SELECT count(*), count(DISTINCT id) FROM running'), '20000|20000', 'all records are there');
is(sql(q{SELECT state, guard_mismatches FROM kafka_sink.stat_sinks WHERE sink = 'running'}), 'running|0', 'the worker did not notice');
is(sql(q{SELECT off, consumed, applied + superseded FROM kafka_sink.txn_offsets WHERE sink = 'running'}), '20000|20000|20000',
	'nor did the offsets');

# What is told of a record is what its last attempt has made of it: the one before, which
# found the key taken, has made a text by default, too.
my $twice = $kafka->topic('twice', 1);
$kafka->produce($twice, 0, [ undef, '{"id": 1}' ], [ undef, '{"id": 1}' ]);
sql(qq{
	CREATE SEQUENCE turns;
	CREATE FUNCTION turn() RETURNS bigint LANGUAGE plpgsql AS
		\$\$BEGIN IF nextval('public.turns') > 2 THEN RAISE 'enough'; END IF; RETURN currval('public.turns'); END\$\$;
	CREATE FUNCTION long() RETURNS text LANGUAGE plpgsql AS \$\$BEGIN RETURN repeat('x', 100000); END\$\$;
	CREATE TABLE twice (id int PRIMARY KEY, turn bigint DEFAULT turn(), t text DEFAULT long());
	SELECT kafka_sink.create_sink('twice', server => 'kafka', target => 'twice', enabled => false);
	SELECT kafka_sink.register_topic('twice', '$twice');
});
is(sql(q{SELECT outcome, sqlstate, message, "row" - 't', length("row"->>'t') FROM kafka_sink.preview('twice')}),
	qq(applied|||{"id": 1, "turn": 1}|100000\nerror|P0001|enough|{"id": 1, "turn": null}|), 'a default that fails the second time');

# Lost logs are told as the worker tells them.
sql("SELECT kafka_sink.pause('preview')");
$kafka->delete_records($in, 0, 5);
fails("SELECT * FROM kafka_sink.preview('preview', timeout => '2 min')", '55000', 'records were deleted before they were read.*begins at 5',
	'preview: retention has overtaken it');
sql("SELECT kafka_sink.seek('preview', '{\"$in\": {\"0\": 6}}')");
is(sql(q{SELECT string_agg(off || ' ' || outcome, ', ') FROM kafka_sink.preview('preview', timeout => '2 min')}),
	'6 deleted, 7 unmatched, 8 error, 9 applied', 'from where seek() has put it');

# An offset in the middle of a transaction that is open still.
my $open = $kafka->topic('preview-open', 2);
my $trx = $kafka->script('transactional.id' => "preview-$$")->to($open);
$trx->B;
$trx->P(0, undef, qq({"id": $_})) foreach 1 .. 5;
$trx->F;
$kafka->produce($open, 1, [ undef, '{"id": 6}' ]);
sql(qq{
	CREATE TABLE open (id int);
	SELECT kafka_sink.create_sink('open', server => 'kafka', target => 'open', enabled => false);
	SELECT kafka_sink.register_topic('open', '$open');
	SELECT kafka_sink.seek('open', '{"$open": {"0": 3, "1": 0}}')});
is(sql(q{SELECT part, off FROM kafka_sink.preview('open', timeout => '10 min')}), '1|0', 'what is not committed is not waited for');
sql(qq{SELECT kafka_sink.seek('open', '{"$open": {"0": 6}}')});
fails(q{SELECT * FROM kafka_sink.preview('open', timeout => '2 min')}, '55000', 'the log ends before the offset', 'what is no transaction is an error');
$trx->C;
$trx->end;
sql(qq{SELECT kafka_sink.seek('open', '{"$open": {"0": 3}}')});
is(sql(q{SELECT part, off FROM kafka_sink.preview('open', timeout => '2 min') ORDER BY part, off}), "0|3\n0|4\n1|0", 'when it is committed it is there');

sql(q{CREATE TABLE x (id int); SELECT kafka_sink.create_sink('ledger'); SELECT kafka_sink.create_sink('local', target => 'x');
	SELECT kafka_sink.create_sink('topicless', server => 'kafka', target => 'x')});
foreach (
	[ "'nobody'", '42704', 'sink "nobody" does not exist', 'no such sink' ],
	[ "'ledger'", '55000', 'has no server', 'a ledger' ],
	[ "'local'", '55000', 'has no server', 'no server' ],
	[ "'topicless'", '55000', 'has no topics', 'no topics' ],
	[ "'preview', 0", '22023', 'n must be between 1 and', 'no records' ],
	[ "'preview', 1, '-1 s'", '22023', '-00:00:01 is outside the valid range for timeout', 'no time' ])
{
	my ($args, $sqlstate, $re, $what) = @$_;
	fails("SELECT * FROM kafka_sink.preview($args)", $sqlstate, $re, "preview: $what");
}

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
