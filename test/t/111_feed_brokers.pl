# A cluster of three brokers, of which the one goes that coordinates a feed's transactions, at
# each step of one and at any time; and what leads partitions goes with it.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkBuild;
use KafkaSinkTest;

my $conf = build_with('KS_FEED_STEPS');
my $node = new_node('brokers', conf => "$conf\nwal_level = logical\n");
my @brokers = start_cluster(3);
my $kafka = $brokers[0];
my $topic = $kafka->topic('events', 3);
my $n = 0;
my $offset = 0;    # of the log

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Transactions of one record each
sub transactions
{
	my ($count) = @_;
	my $sql = join "\n", map { "SELECT kafka_sink.emit('f', '$topic', '" . $_ % 5 . "', '$_');" } $n + 1 .. $n + $count;

	$n += $count;
	return $sql;
}

sub emit { return sql(transactions(@_)); }

sub all_once
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql("CALL kafka_sink.wait_for('f', timeout => '3 min')");
	return ascends($kafka, $topic, $n, $what);
}

sub stop_at { return set_step($node, @_); }

# Of the one partition of the coordinators' table
sub coordinator
{
	my ($leader) = map { $_->[1] } $kafka->leaders('__transaction_state');
	return $leader;
}

# Another one coordinates, and no partition is without a leader.
sub moves
{
	my ($from, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok(
		KafkaSinkTest::_poll(
			sub {
				return !grep { $_->[1] < 0 || $_->[1] == $from } map { $kafka->leaders($_) } '__transaction_state', $topic, 'kafka_sink.progress';
			}),
		$what);
}

# All copies of all partitions have what the leaders have: any broker may go.
sub returns
{
	my ($number) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$brokers[ $number - 1 ]->start;
	return ok(
		KafkaSinkTest::_poll(
			sub {
				return !grep { $_->[1] < 0 || $_->[2] < 3 } map { $kafka->leaders($_) } '__transaction_state', $topic, 'kafka_sink.progress';
			}),
		'it comes back');
}

create_server($node, $kafka);
sql(qq{CREATE TABLE events (value int);
	SELECT kafka_sink.create_sink('events', server => 'kafka', format => 'raw', target => 'events', columns => '{"value": "\@value"}');
	SELECT kafka_sink.register_topic('events', '$topic')});
sql("SELECT kafka_sink.create_feed('f', server => 'kafka', transaction_timeout => '1 min')");
sql("CALL kafka_sink.wait_for('f', timeout => '3 min')");
emit(10);
all_once('begun');

# --- at each step of a commit ---

foreach my $step (qw(begun records_sent progress_sent committed))
{
	stop_at($step);
	emit(20);
	(my $pid, $offset) = wait_for_step($node, $step, $offset, "it stops at $step");
	my $coordinator = coordinator();
	$brokers[ $coordinator - 1 ]->kill9;
	moves($coordinator, 'another broker coordinates');
	stop_at('');
	kill $_, $pid foreach qw(HUP CONT);
	all_once("coordinator killed at $step");
	emit(10);
	all_once('and goes on');
	returns($coordinator);
}

# --- while it publishes ---

foreach my $how (qw(stop kill9))
{
	my $coordinator = coordinator();
	my $script = start_script($node, transactions(3000));

	$brokers[ $coordinator - 1 ]->$how;
	$script->{h}->finish;
	moves($coordinator, "$how: another broker coordinates");
	all_once("$how under load");
	returns($coordinator);
}
is(sql("SELECT string_agg(DISTINCT state, ',') FROM kafka_sink.feeds"), 'running', 'the feed runs');

# --- who has read it meanwhile ---

wait_until($node, 'SELECT count(*) FROM events', $n, 'the sink has all of it');
is(sql('SELECT count(DISTINCT value), min(value), max(value) FROM events'), "$n|1|$n", 'each once');
is(sql('SELECT sum(applied), bool_and(off - start_off = consumed + gaps) FROM kafka_sink.txn_offsets'), "$n|t", 'and its accounts are exact');
$node->stop('fast');
done_testing();
