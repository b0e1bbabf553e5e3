# Several topics in a sink: what a batch holds of them commits at once, in the
# order of the tables' foreign keys, and a record whose row has not come yet
# waits for it, while the other partitions go on.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();
my $seed = $ENV{KAFKA_SINK_SEED} // int(rand 2**31);

print "# KAFKA_SINK_SEED=$seed\n";
srand $seed;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Tables of orders and lines, and a sink of both topics.
sub shop
{
	my ($name, $orders, $lines, $settings, $fk) = @_;

	$fk //= '';
	sql(qq{
		CREATE SCHEMA $name;
		CREATE TABLE $name.orders (id int PRIMARY KEY, customer text);
		CREATE TABLE $name.lines (order_id int REFERENCES $name.orders $fk, line int, qty int, PRIMARY KEY (order_id, line));
		BEGIN;
		SELECT kafka_sink.create_sink('$name', server => 'kafka', $settings);
		SELECT kafka_sink.register_topic('$name', '$lines', target => '$name.lines');
		SELECT kafka_sink.register_topic('$name', '$orders', target => '$name.orders');
		COMMIT;
	});
	return;
}

sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

sub state_of { return sql("SELECT state, sqlstate, topic, part, off FROM kafka_sink.sinks WHERE sink = '$_[0]'"); }

sub accounts_are_exact
{
	my ($name, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( sql(qq{
		SELECT bool_and(consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched),
		       bool_and(off - start_off = consumed + gaps)
		  FROM kafka_sink.txn_offsets WHERE sink = '$name'}),
		't|t', "$what: the accounts are exact");
	return;
}

create_server($node, $kafka);

# --- the whole of two topics, lines of an order before and after it ---

my $orders = $kafka->topic('orders', 2);
my $lines = $kafka->topic('lines', 3);
my $n = 3000;
$kafka->produce($lines, $_->[0] % 3, [ undef, qq({"order_id": $_->[0], "line": $_->[1], "qty": 1}) ])
  foreach map { [ $_, 1 ] } 1 .. 3;
my (@orders, @lines);
foreach my $id (1 .. $n)
{
	push @{ $orders[ $id % 2 ] }, [ "$id", qq({"id": $id, "customer": "c$id"}) ];
	push @{ $lines[ int rand 3 ] }, [ undef, qq({"order_id": $id, "line": $_, "qty": $_}) ] foreach 2 .. 4;
}

# the log begins with lines whose orders nobody has written yet
shop('shop', $orders, $lines, "insert_mode => 'upsert', batch_records => 500, retry_within => '1 hour'");
becomes("SELECT count(*) = 3 FROM kafka_sink.lag WHERE topic = '$lines' AND sink = 'shop' AND end_offset = 1",
	'lines are there');
becomes("SELECT state = 'waiting' AND sqlstate = '23503' AND topic = '$lines' FROM kafka_sink.sinks WHERE sink = 'shop'",
	'a line without its order waits');
like(sql("SELECT hint FROM kafka_sink.sinks WHERE sink = 'shop'"), qr/waits for that row.*retry_within/, 'and says so');
$kafka->produce($lines, $_, @{ $lines[$_] }) foreach 0 .. 2;
$kafka->produce($orders, $_, @{ $orders[$_] }) foreach 0 .. 1;
sql(q{CALL kafka_sink.wait_for('shop', timeout => '2 min')});
is(sql("SELECT (SELECT count(*) FROM shop.orders), (SELECT count(*) FROM shop.lines)"), "$n|" . (3 * $n + 3), 'all is there');
accounts_are_exact('shop', 'orders and lines');
becomes("SELECT state = 'running' FROM kafka_sink.sinks WHERE sink = 'shop'", 'and the sink runs');

# both tables in one transaction
sql(q{
	CREATE TABLE public.moves (xid xid8, topic text);
	CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.moves VALUES (pg_current_xact_id(), new.topic);
		RETURN new;
	END $$;
	CREATE TRIGGER note BEFORE UPDATE ON kafka_sink.txn_offsets FOR EACH ROW WHEN (new.sink = 'shop') EXECUTE FUNCTION public.note();
	CALL kafka_sink.pause('shop', wait => true);
});
$kafka->produce($lines, 0, [ undef, qq({"order_id": 100001, "line": 1, "qty": 1}) ]);
$kafka->produce($orders, 0, [ undef, qq({"id": 100001, "customer": "late"}) ]);
sql(q{SELECT kafka_sink.alter_sink('shop', batch_records => 2, batch_linger_ms => 60000)});
sql(q{SELECT kafka_sink.resume('shop')});
becomes('SELECT count(*) = 1 FROM shop.lines WHERE order_id = 100001', 'a line and its order');
is(sql('SELECT count(DISTINCT topic), count(DISTINCT xid) FROM public.moves'), '2|1', 'commit in one transaction');
sql('DROP TRIGGER note ON kafka_sink.txn_offsets');

# --- a record that waits holds its partition, and no other ---

my $others = $kafka->topic('others', 2);
my $parents = $kafka->topic('parents', 1);
shop('hold', $parents, $others, "retry_within => '1 hour'");
$kafka->produce($others, 0, [ undef, '{"order_id": 1, "line": 1}' ], [ undef, '{"order_id": 2, "line": 1}' ],
	[ undef, '{"order_id": 1, "line": 2}' ]);
$kafka->produce($parents, 0, [ undef, '{"id": 1, "customer": "a"}' ]);
becomes('SELECT count(*) = 1 FROM hold.lines', 'what is before the record that waits is there');
$kafka->produce($others, 1, [ undef, '{"order_id": 1, "line": 3}' ]);
becomes('SELECT count(*) = 2 FROM hold.lines', 'other partitions go on');
becomes("SELECT state = 'waiting' FROM kafka_sink.sinks WHERE sink = 'hold'", 'while one waits');
wait_until($node, "SELECT state, sqlstate, topic, part, off FROM kafka_sink.sinks WHERE sink = 'hold'", "waiting|23503|$others|0|1", 'for a row');
is(sql("SELECT string_agg(format('%s %s %s', part, off, consumed), ',' ORDER BY part) FROM kafka_sink.txn_offsets WHERE topic = '$others'"),
	'0 1 1,1 1 1', 'at its offset');
# it comes from somebody else
sql(q{INSERT INTO hold.orders VALUES (2, 'by hand')});
becomes('SELECT count(*) = 4 FROM hold.lines', 'until it comes');
accounts_are_exact('hold', 'held');

# a delete that is still referred to waits as well
my $cdc_orders = $kafka->topic('cdc_orders', 1);
my $cdc_lines = $kafka->topic('cdc_lines', 1);
shop('cdc', $cdc_orders, $cdc_lines, "insert_mode => 'upsert', delete_enabled => true, retry_within => '1 hour'");
$kafka->produce($cdc_orders, 0, [ '1', '{"id": 1, "customer": "a"}' ]);
$kafka->produce($cdc_lines, 0, [ undef, '{"order_id": 1, "line": 1}' ]);
becomes('SELECT count(*) = 1 FROM cdc.lines', 'a line');
$kafka->produce($cdc_orders, 0, [ '1', undef ]);
becomes("SELECT state = 'waiting' AND sqlstate = '23503' FROM kafka_sink.sinks WHERE sink = 'cdc'", 'its order cannot go');
$kafka->produce($cdc_lines, 0, [ '{"order_id": 1, "line": 1}', undef ]);
becomes('SELECT count(*) = 0 FROM cdc.orders', 'before the line is gone');
sql('ALTER TABLE cdc.lines DROP CONSTRAINT lines_order_id_fkey, ADD FOREIGN KEY (order_id) REFERENCES cdc.orders ON DELETE RESTRICT');
$kafka->produce($cdc_orders, 0, [ '2', '{"id": 2, "customer": "b"}' ]);
$kafka->produce($cdc_lines, 0, [ undef, '{"order_id": 2, "line": 1}' ]);
becomes('SELECT count(*) = 1 FROM cdc.lines', 'a line of another order');
$kafka->produce($cdc_orders, 0, [ '2', undef ]);
becomes("SELECT state = 'waiting' AND sqlstate IN ('23503', '23001') FROM kafka_sink.sinks WHERE sink = 'cdc'", 'with RESTRICT its order cannot go');
$kafka->produce($cdc_lines, 0, [ '{"order_id": 2, "line": 1}', undef ]);
becomes('SELECT count(*) = 0 FROM cdc.orders', 'before that line is gone');

# two of a batch that wait, for rows of which no more is known than that it might bring them
my $kin = $kafka->topic('kin', 1);
$kafka->produce($kin, 0, [ undef, '{"id": 2, "parent": 8}' ], [ undef, '{"id": 3, "parent": 9}' ], [ undef, '{"id": 4}' ]);
sql(qq{
	CREATE TABLE public.kin (id bigint PRIMARY KEY, parent int REFERENCES public.kin);
	BEGIN;
	SELECT kafka_sink.create_sink('kin', server => 'kafka', target => 'kin', retry_within => '1 hour', batch_records => 2, batch_linger_ms => 2000);
	SELECT kafka_sink.register_topic('kin', '$kin');
	COMMIT});
becomes("SELECT state = 'waiting' AND sqlstate = '23503' AND off = 0 FROM kafka_sink.sinks WHERE sink = 'kin'", 'the first one waits');
sql('INSERT INTO public.kin VALUES (8)');
becomes("SELECT state = 'waiting' AND sqlstate = '23503' AND off = 1 FROM kafka_sink.sinks WHERE sink = 'kin'", 'then the next one');
sql('INSERT INTO public.kin VALUES (9)');
becomes('SELECT count(*) = 5 FROM public.kin', 'and all is there');
accounts_are_exact('kin', 'two that wait');

# a load of the parents takes longer than retry_within, which does not run meanwhile
my ($many, $few) = ($kafka->topic('many', 1), $kafka->topic('few', 2));
my $load = 30000;
$kafka->produce($many, 0, map { [ undef, qq({"id": $_, "customer": "c"}) ] } 1 .. $load);
$kafka->produce($few, 0, [ undef, qq({"order_id": $load, "line": 1}) ]);
$kafka->produce($few, 1, [ undef, qq({"order_id": 0, "line": 1}) ]);
shop('load', $many, $few, "batch_records => 100, on_error => 'dead_letter', retry_within => '1 ms'");
sql(q{CALL kafka_sink.wait_for('load', timeout => '2 min')});
is(sql("SELECT string_agg(order_id::text, ' ') FROM load.lines"), $load, 'a line waits while its order is still to be read');
is(sql("SELECT string_agg(convert_from(value, 'UTF8'), ' ') FROM kafka_sink.dead_letters WHERE sink = 'load'"),
	'{"order_id": 0, "line": 1}', 'and one without an order until all of them are');
accounts_are_exact('load', 'a load');
# nor does run() wait for what it will not read
sql(q{CALL kafka_sink.pause('load', wait => true)});
$kafka->produce($few, 0, [ undef, qq({"order_id": -1, "line": 1}) ]);
sql(qq{CALL kafka_sink.run('load', timeout => '1 min', until => '{"$few": {"0": 2}}')});
is(sql("SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = 'load'"), '2', 'where all parents are there before, a line without an order is refused at once');

# those that need each other meet in one batch, though others go on and they come one by one
my $pairs = 12;
my ($left, $right, $busy) = ($kafka->topic('left', $pairs), $kafka->topic('right', $pairs), $kafka->topic('busy', 1));
sql(qq{
	CREATE SCHEMA pairs;
	CREATE TABLE pairs.lefts (id int PRIMARY KEY, other int);
	CREATE TABLE pairs.rights (id int PRIMARY KEY, other int REFERENCES pairs.lefts DEFERRABLE INITIALLY DEFERRED);
	ALTER TABLE pairs.lefts ADD FOREIGN KEY (other) REFERENCES pairs.rights DEFERRABLE INITIALLY DEFERRED;
	CREATE TABLE pairs.busy (id bigint PRIMARY KEY);
	BEGIN;
	SELECT kafka_sink.create_sink('pairs', server => 'kafka', insert_mode => 'upsert', on_error => 'dead_letter', retry_within => '1 hour');
	SELECT kafka_sink.register_topic('pairs', '$left', target => 'pairs.lefts');
	SELECT kafka_sink.register_topic('pairs', '$right', target => 'pairs.rights');
	SELECT kafka_sink.register_topic('pairs', '$busy', target => 'pairs.busy', columns => '{"id": "\@offset"}');
	COMMIT});
my $others_go_on = $kafka->gen_bg($busy, count => 0, rate => 300);
foreach my $id (1 .. $pairs)
{
	$kafka->produce($left, $id - 1, [ undef, qq({"id": $id, "other": $id}) ]);
	wait_until($node, "SELECT state = 'waiting' AND waits_for = 'row' FROM kafka_sink.sinks WHERE sink = 'pairs'", 't', 'one of a pair waits') if $id == 1;
}
$kafka->produce($right, $_ - 1, [ undef, qq({"id": $_, "other": $_}) ]) foreach 1 .. $pairs;
wait_until($node, 'SELECT count(*) FROM pairs.lefts JOIN pairs.rights ON rights.id = lefts.other', $pairs, 'pairs of rows that refer to each other', 60);
$others_go_on->stop;
accounts_are_exact('pairs', 'pairs');

# --- when the row does not come ---

sub orphans
{
	my ($name, $settings, @records) = @_;
	my $topic = $kafka->topic($name, 1);
	my $parent = $kafka->topic("$name-parent", 1);

	$kafka->produce($topic, 0, map { [ undef, qq({"order_id": $_, "line": 1}) ] } @records);
	$kafka->produce($parent, 0, [ undef, '{"id": 1}' ]);
	shop($name, $parent, $topic, $settings);
	return $topic;
}

# (in which time the topic that the first one needs is read, too)
my $topic = orphans('late', "retry_within => '3 s'", 1, 7, 1);
becomes("SELECT state = 'halted' FROM kafka_sink.sinks WHERE sink = 'late'", 'the sink halts in the end');
is(state_of('late'), "halted|23503|$topic|0|1", 'at the record');
is(sql("SELECT off FROM kafka_sink.txn_offsets WHERE topic = '$topic'"), '1', 'which is not passed over');
sql(q{INSERT INTO late.orders VALUES (7)});
sql(q{UPDATE late.lines SET line = 2});
sql(q{SELECT kafka_sink.resume('late')});
becomes('SELECT count(*) = 3 FROM late.lines', 'and goes on when it is mended');

# a run of such records waits once, not once for each, nor for each of its batches
my $count = 20000;
$topic = orphans('letters', "on_error => 'dead_letter', retry_within => '4 s', batch_records => 100", 1, map { 10 + $_ } 1 .. $count);
becomes("SELECT sum(dead_lettered) = $count FROM kafka_sink.txn_offsets WHERE sink = 'letters'",
	'orphans become dead letters');
is(sql("SELECT count(*), count(DISTINCT off), min(sqlstate), max(sqlstate) FROM kafka_sink.dead_letters WHERE sink = 'letters'"),
	"$count|$count|23503|23503", 'each of them once');
cmp_ok(sql("SELECT extract(epoch FROM min(failed_at) - min(ts)) FROM kafka_sink.dead_letters WHERE sink = 'letters'"),
	'>=', 4, 'not before their time');
accounts_are_exact('letters', 'orphans');
sql("INSERT INTO letters.orders SELECT g FROM generate_series(11, 10 + $count) g");
is(sql("SELECT applied, dead_lettered FROM kafka_sink.retry_dead_letters('letters')"), "$count|0", 'and can be applied when their orders are there');
$kafka->produce($topic, 0, [ undef, '{"order_id": 1, "line": 5}' ]);
becomes('SELECT count(*) = 1 FROM letters.lines WHERE line = 5', 'the sink goes on');

orphans('at_once', "on_error => 'ignore', retry_within => '0'", 7);
becomes("SELECT sum(ignored) = 1 FROM kafka_sink.txn_offsets WHERE sink = 'at_once'", 'with 0 none waits');

# deferred constraints blame their records, and these wait
$topic = orphans('deferred', "retry_within => '1 hour'", 1, 7, 1);
sql(q{CALL kafka_sink.pause('deferred', wait => true)});
sql(q{ALTER TABLE deferred.lines ALTER CONSTRAINT lines_order_id_fkey DEFERRABLE INITIALLY DEFERRED;
	TRUNCATE deferred.lines;});
sql("SELECT kafka_sink.seek('deferred', '{\"$topic\": {\"0\": 0}}')");
sql(q{SELECT kafka_sink.resume('deferred')});
becomes('SELECT count(*) = 1 FROM deferred.lines', 'deferred: what is before it is there');
becomes("SELECT state = 'waiting' AND off = 1 FROM kafka_sink.sinks WHERE sink = 'deferred'", 'it waits');
sql(q{INSERT INTO deferred.orders VALUES (7)});
becomes('SELECT count(*) = 2 FROM deferred.lines', 'until its row comes');

# --- a truncation needs a topic whose only partition tells the order ---

foreach my $workers (1, 2)
{
	foreach my $partitions (1, 2)
	{
		my $name = "cut_${workers}_$partitions";
		my $cut = $kafka->topic($name, $partitions);

		$kafka->produce($cut, 0, [ undef, '{"op": "c", "after": {"id": 1}}' ], [ undef, '{"op": "t"}' ],
			[ undef, '{"op": "c", "after": {"id": 2}}' ]);
		sql(qq{
			CREATE TABLE $name (id int PRIMARY KEY);
			BEGIN;
			SELECT kafka_sink.create_sink('$name', server => 'kafka', target => '$name', envelope => 'debezium', workers => $workers,
				insert_mode => 'upsert', delete_enabled => true, on_error => 'dead_letter');
			SELECT kafka_sink.register_topic('$name', '$cut');
			COMMIT;
			CALL kafka_sink.wait_for('$name', timeout => '3 min')});
		is(sql("SELECT string_agg(id::text, ' ' ORDER BY id), (SELECT string_agg(off || sqlstate, ' ') FROM kafka_sink.dead_letters WHERE sink = '$name') FROM $name"),
			$partitions == 1 ? '2|' : '1 2|122023', "$workers workers, a truncation in one of $partitions partitions");
	}
}

my $part_of = $kafka->topic('cut_list', 2);
$kafka->produce($part_of, 0, [ undef, '{"op": "c", "after": {"id": 1}}' ], [ undef, '{"op": "t"}' ]);
sql(qq{
	CREATE TABLE cut_list (id int PRIMARY KEY);
	BEGIN;
	SELECT kafka_sink.create_sink('cut_list', server => 'kafka', target => 'cut_list', envelope => 'debezium',
		insert_mode => 'upsert', delete_enabled => true, on_error => 'dead_letter');
	SELECT kafka_sink.register_topic('cut_list', '$part_of', partitions => '0');
	COMMIT;
	CALL kafka_sink.wait_for('cut_list', timeout => '3 min')});
is(sql("SELECT count(*), (SELECT string_agg(off || sqlstate, ' ') FROM kafka_sink.dead_letters WHERE sink = 'cut_list') FROM cut_list"),
	'1|122023', 'nor is it known where others consume the rest');

# --- run() in a session waits too ---

$topic = orphans('session', "retry_within => '1 hour'", 7);
sql(q{CALL kafka_sink.pause('session', wait => true)});
becomes("SELECT count(*) = 0 FROM kafka_sink.stat_sinks WHERE sink = 'session' AND pid IS NOT NULL", 'paused');
my $run = $node->background_psql('postgres', on_error_stop => 0);
$run->query_until(qr/begun/, "\\echo begun\nCALL kafka_sink.run('session');\n");
becomes("SELECT count(*) = 1 FROM session.orders", 'run() applies what it can');
sql(q{INSERT INTO session.orders VALUES (7)});
becomes('SELECT count(*) = 1 FROM session.lines', 'and the rest when its row is there');
$run->quit;

done_testing();
