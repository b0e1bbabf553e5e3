# What a record that waits for its row awaits: the ends of the logs that the row can
# still come from, as of when that record began to wait, whatever others wait for, or
# have waited for in vain.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

sub order { return [ undef, qq({"id": $_[0]}) ]; }
sub line { return [ undef, qq({"order_id": $_[0]}) ]; }

# Tables of orders, each statement on which takes its time, and of lines, and a sink of
# batches of ten that makes dead letters; where a server is named, of its topics.
sub shop
{
	my ($name, $settings, $orders, $lines, $server) = @_;

	sql(qq{
		CREATE SCHEMA $name;
		CREATE TABLE $name.orders (id int PRIMARY KEY);
		CREATE TABLE $name.lines (order_id int REFERENCES $name.orders);
		CREATE TRIGGER slow AFTER INSERT ON $name.orders FOR EACH STATEMENT EXECUTE FUNCTION public.take_time();
		BEGIN;
		SELECT kafka_sink.create_sink('$name', server => '@{[ $server // 'kafka' ]}', batch_records => 10, on_error => 'dead_letter',
			idle_after => '0', $settings);
		SELECT kafka_sink.register_topic('$name', '$orders', target => '$name.orders');
		SELECT kafka_sink.register_topic('$name', '$lines', target => '$name.lines');
		COMMIT});
	return;
}

# So many orders, which are to be seen when a line of the last of them has been tried.
sub load
{
	my ($name, $orders, $lines, $part, $count) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $producer = $kafka->script('transactional.id' => "$orders-$$", 'batch.num.messages' => 10)->to($orders);

	$producer->B;
	$producer->P(0, @{ order($_) }) foreach 2 .. $count;
	$producer->F;
	$kafka->produce($lines, $part, line($count));
	is_tried($name, 'a line of the last order');
	$producer->C->end;
	return;
}

sub is_tried
{
	my ($name, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $batches = sql("SELECT batches FROM kafka_sink.stat_sinks WHERE sink = '$name'");

	becomes("SELECT batches > $batches + 5 FROM kafka_sink.stat_sinks WHERE sink = '$name'", "$name: $what is tried");
	return;
}

# The first order is there, and the end of its log is known.
sub begin
{
	my ($name, $orders) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$kafka->produce($orders, 0, order(1));
	becomes("SELECT (off, end_offset) = (1, 1) FROM kafka_sink.lag WHERE sink = '$name' AND topic = '$orders'", "$name: an order");
	return;
}

sub letters
{
	return sql("SELECT string_agg(convert_from(value, 'UTF8'), ' ' ORDER BY failed_at) FROM kafka_sink.dead_letters WHERE sink = '$_[0]'");
}

create_server($node, $kafka);
# (where what is read again is not behind all of a load)
create_server($node, $kafka, name => 'narrow', options => q{queued_min_messages '1', fetch_message_max_bytes '1024'});
sql(q{CREATE FUNCTION public.take_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END $$});

# --- others have waited ---

my ($orders, $lines) = ($kafka->topic('orders', 1), $kafka->topic('lines', 1));
shop('after', "retry_within => '1 ms'", $orders, $lines, 'narrow');
begin('after', $orders);
$kafka->produce($lines, 0, line(0));
becomes("SELECT sum(dead_lettered) = 1 FROM kafka_sink.txn_offsets WHERE sink = 'after'", 'a line without an order is refused');
load('after', $orders, $lines, 0, 300);
sql(q{CALL kafka_sink.wait_for('after', timeout => '3 min')});
is(sql('SELECT string_agg(order_id::text, $$ $$) FROM after.lines'), '300', 'behind one that was refused, a line waits for what is to be read then');
is(letters('after'), '{"order_id": 0}', 'and no other is refused');

# --- others wait ---

($orders, $lines) = ($kafka->topic('orders', 1), $kafka->topic('lines', 2));
shop('beside', "retry_within => '3 s'", $orders, $lines, 'narrow');
begin('beside', $orders);
$kafka->produce($lines, 0, line(0));
becomes("SELECT state = 'waiting' AND waits_for = 'row' FROM kafka_sink.sinks WHERE sink = 'beside'", 'a line waits');
load('beside', $orders, $lines, 1, 2000);
becomes("SELECT sum(dead_lettered) = 1 FROM kafka_sink.txn_offsets WHERE sink = 'beside'", 'and is refused');
sql(q{CALL kafka_sink.wait_for('beside', timeout => '3 min')});
is(sql('SELECT string_agg(order_id::text, $$ $$) FROM beside.lines'), '2000', 'beside one that waits, another one waits for what is to be read then');
is(letters('beside'), '{"order_id": 0}', 'and is not refused');

# --- what is referred to waits itself, in vain ---

($orders, $lines) = ($kafka->topic('orders', 1), $kafka->topic('lines', 1));
my $customers = $kafka->topic('customers', 1);
$kafka->produce($customers, 0, order(1));
$kafka->produce($orders, 0, map { [ undef, qq({"id": $_, "customer": ) . ($_ == 1 ? 9 : 1) . '}' ] } 1 .. 200);
$kafka->produce($lines, 0, line(200), line(201));
sql(qq{
	CREATE SCHEMA chain;
	CREATE TABLE chain.customers (id int PRIMARY KEY);
	CREATE TABLE chain.orders (id int PRIMARY KEY, customer int REFERENCES chain.customers);
	CREATE TABLE chain.lines (order_id int REFERENCES chain.orders);
	BEGIN;
	SELECT kafka_sink.create_sink('chain', server => 'kafka', batch_records => 10, on_error => 'dead_letter', retry_within => '1 s', idle_after => '1 s');
	SELECT kafka_sink.register_topic('chain', '$lines', target => 'chain.lines');
	SELECT kafka_sink.register_topic('chain', '$orders', target => 'chain.orders');
	SELECT kafka_sink.register_topic('chain', '$customers', target => 'chain.customers');
	COMMIT;
	CALL kafka_sink.wait_for('chain', timeout => '3 min')});
is(letters('chain'), '{"id": 1, "customer": 9} {"order_id": 201}', 'a line is not refused for an order before its own');
is(sql('SELECT (SELECT count(*) FROM chain.orders), (SELECT count(*) FROM chain.lines)'), '199|1', 'and all others are there');
becomes("SELECT state = 'idle' FROM kafka_sink.sinks WHERE sink = 'chain'", 'behind one that was refused a worker has nothing to do');

# --- in partitions of another worker ---

($orders, $lines) = ($kafka->topic('orders', 2), $kafka->topic('lines', 2));
$kafka->produce($orders, 1, map { order($_) } 1 .. 400);
$kafka->produce($lines, 0, line(400), line(0));
shop('workers', "workers => 2, retry_within => '1 ms'", $orders, $lines, 'narrow');
sql(q{CALL kafka_sink.wait_for('workers', timeout => '3 min')});
is(sql('SELECT string_agg(order_id::text, $$ $$) FROM workers.lines'), '400', 'a line waits for what another worker is to read');
is(letters('workers'), '{"order_id": 0}', 'and is refused when that has been read');

($orders, $lines, $customers) = map { $kafka->topic($_, 2) } qw(orders lines customers);
$kafka->produce($customers, 0, order(1));
$kafka->produce($orders, 1, map { [ undef, qq({"id": $_, "customer": ) . ($_ == 1 ? 9 : 1) . '}' ] } 1 .. 200);
$kafka->produce($lines, 0, line(200), line(201));
my $tree = $kafka->topic('tree', 2);
$kafka->produce($tree, $_, [ undef, qq({"id": $_, "parent": 1$_}) ]) foreach 0, 1;
sql(qq{
	CREATE SCHEMA two;
	CREATE TABLE two.customers (id int PRIMARY KEY);
	CREATE TABLE two.orders (id int PRIMARY KEY, customer int REFERENCES two.customers);
	CREATE TABLE two.lines (order_id int REFERENCES two.orders);
	CREATE TABLE two.tree (id int PRIMARY KEY, parent int REFERENCES two.tree);
	BEGIN;
	SELECT kafka_sink.create_sink('two', server => 'kafka', workers => 2, batch_records => 10, on_error => 'dead_letter', retry_within => '1 s');
	SELECT kafka_sink.register_topic('two', '$lines', target => 'two.lines');
	SELECT kafka_sink.register_topic('two', '$orders', target => 'two.orders');
	SELECT kafka_sink.register_topic('two', '$customers', target => 'two.customers');
	SELECT kafka_sink.register_topic('two', '$tree', target => 'two.tree');
	COMMIT;
	CALL kafka_sink.wait_for('two', timeout => '3 min')});
is(sql(q{SELECT string_agg(convert_from(value, 'UTF8'), ' ' ORDER BY value) FROM kafka_sink.dead_letters WHERE sink = 'two'}),
	'{"id": 0, "parent": 10} {"id": 1, "customer": 9} {"id": 1, "parent": 11} {"order_id": 201}',
	'what waits in vain in two workers is refused, wherever it may come from');
is(sql('SELECT (SELECT count(*) FROM two.orders), (SELECT count(*) FROM two.lines)'), '199|1', 'and all others are there');

# --- and that has just begun anew, and has not said yet where it is ---

($orders, $lines) = ($kafka->topic('orders', 2), $kafka->topic('lines', 2));
$kafka->produce($orders, 1, map { order($_) } 1 .. 3000);
$kafka->produce($lines, 0, line(3000));
shop('anew', "workers => 2, retry_within => '1 ms', lock_timeout => '10 min'", $orders, $lines, 'narrow');
my $first = "SELECT batches FROM kafka_sink.stat_sinks WHERE sink = 'anew' AND worker = 0";
my $second = "SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'anew' AND worker = 1";
becomes("SELECT state = 'waiting' AND waits_for = 'row' FROM kafka_sink.sinks WHERE sink = 'anew'", 'a line waits');
my $since = sql('SELECT clock_timestamp()');
becomes("SELECT as_of > '$since' FROM kafka_sink.lag WHERE sink = 'anew' AND topic = '$orders' AND part = 1", 'the end of the orders is told');
my $batches = sql($first);
becomes("SELECT ($first) > $batches + 1", 'and heard of');
my $gate = $node->background_psql('postgres');
$gate->query_safe(q{
	CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$;
	CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON kafka_sink.sink_state FOR EACH ROW
		WHEN (new.sink = 'anew' AND new.worker = 1 AND new.state = 'running') EXECUTE FUNCTION public.gate();
	SELECT pg_advisory_lock(77)});
sql("SELECT pg_terminate_backend(($second))");
becomes("SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'the other worker begins anew');
$batches = sql($first);
becomes("SELECT ($first) > $batches + 2 OR EXISTS (SELECT FROM kafka_sink.dead_letters WHERE sink = 'anew')", 'the line is tried meanwhile');
is(letters('anew'), '', 'and is not refused');
$gate->quit;
sql(q{CALL kafka_sink.wait_for('anew', timeout => '3 min')});
is(sql('SELECT count(*) FROM anew.lines'), '1', 'its order comes');
sql('DROP TRIGGER gate ON kafka_sink.sink_state; DROP FUNCTION public.gate()');

# --- two that wait for each other in a cycle that was not there when one of them began ---

# (the first by name refers to the other at first)
my ($eggs, $hens) = map { $kafka->topic($_, 2) } qw(z-eggs hens);
sql(qq{
	CREATE SCHEMA cycle;
	CREATE TABLE cycle.eggs (id int PRIMARY KEY, hen int);
	CREATE TABLE cycle.hens (id int PRIMARY KEY, egg int REFERENCES cycle.eggs);
	BEGIN;
	SELECT kafka_sink.create_sink('cycle', server => 'kafka', workers => 2, idle_after => '0', on_error => 'dead_letter', retry_within => '1 s');
	SELECT kafka_sink.register_topic('cycle', '$hens', target => 'cycle.hens');
	SELECT kafka_sink.register_topic('cycle', '$eggs', target => 'cycle.eggs');
	COMMIT});
$kafka->produce($_, 0, [ undef, '{"id": 0}' ]) foreach $hens, $eggs;
$kafka->produce($_, 1, [ undef, '{"id": 1}' ]) foreach $hens, $eggs;
becomes('SELECT (SELECT count(*) FROM cycle.hens) + (SELECT count(*) FROM cycle.eggs) = 4', 'both workers know the first of two foreign keys');
sql('ALTER TABLE cycle.eggs ADD FOREIGN KEY (hen) REFERENCES cycle.hens');
$second = "SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'cycle' AND worker = 1 AND state = 'running'";
my $pid = sql($second);
sql("SELECT pg_terminate_backend($pid)");
becomes("SELECT ($second) <> $pid", 'one begins anew');
my @pids = split /\n/, sql("SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'cycle'");
freeze($node, $_) foreach @pids;
$kafka->produce($hens, 0, [ undef, '{"id": 2, "egg": 77}' ]);
$kafka->produce($eggs, 1, [ undef, '{"id": 3, "hen": 77}' ]);
kill 'CONT', @pids;
becomes("SELECT count(*) = 2 FROM kafka_sink.dead_letters WHERE sink = 'cycle'", 'neither of two that wait in vain waits for the other');

# --- a transaction that is open hides the row ---

($orders, $lines) = ($kafka->topic('orders', 1), $kafka->topic('lines', 1));
shop('hidden', "retry_within => '1 ms'", $orders, $lines);
my $open = $kafka->script('transactional.id' => "open-$$")->to($orders);
$open->B->P(0, @{ order(1) });
$open->F;
$kafka->produce($orders, 0, order(7));
$kafka->produce($lines, 0, line(7));
becomes("SELECT state = 'waiting' AND waits_for = 'row' FROM kafka_sink.sinks WHERE sink = 'hidden'", 'a line waits');
is_tried('hidden', 'it');
$open->C->end;
sql(q{CALL kafka_sink.wait_for('hidden', timeout => '3 min')});
is(letters('hidden'), '', 'none is refused for an order that an open transaction hides');
is(sql('SELECT count(*) FROM hidden.lines'), '1', 'which is there in the end');

# --- a topic that is denied, or has no leader ---

my $mock = start_mock(brokers => 1);
create_server($node, $mock, name => 'mock');
foreach my $name (qw(denied headless))
{
	($orders, $lines) = ("$name-orders", "$name-lines");
	$mock->command("topic $_ 1") foreach $orders, $lines;
	$mock->produce($orders, 0, order(1));
	$mock->produce($lines, 0, line(1));
	$mock->command($name eq 'denied' ? "topic_error $orders 29" : "leader $orders 0 -1");
	shop($name, "retry_within => '1 ms'", $orders, $lines, 'mock');
	is_tried($name, 'a line');
	is(letters($name), '', 'as long as its order cannot be read');
	is(sql("SELECT state, waits_for, topic FROM kafka_sink.sinks WHERE sink = '$name'"), "waiting|broker|$orders", 'which is what is told');
	$mock->command($name eq 'denied' ? "topic_error $orders 0" : "leader $orders 0 1");
	becomes("SELECT count(*) = 1 FROM $name.lines", 'until it can');
	is(letters($name), '', 'none is refused');
}

done_testing();
