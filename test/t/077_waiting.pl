# Records that wait for a row, and what else can happen meanwhile: refused
# records behind them, ends of the log, bounds of run(), errors that are nobody's
# fault, timestamps that lie.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { local $Test::Builder::Level = $Test::Builder::Level + 1; return wait_until($node, $_[0], 't', $_[1]); }

# A table of lines that refer to orders, order 1 is there; records by partition.
sub lines_of
{
	my ($name, $settings, @partitions) = @_;
	my $topic = $kafka->topic($name, scalar @partitions);

	$kafka->produce($topic, $_, @{ $partitions[$_] }) foreach 0 .. $#partitions;
	sql(qq{
		CREATE SCHEMA $name;
		CREATE TABLE $name.orders (id int PRIMARY KEY);
		INSERT INTO $name.orders VALUES (1);
		CREATE TABLE $name.lines (order_id int REFERENCES $name.orders, line int);
		SELECT kafka_sink.create_sink('$name', server => 'kafka', target => '$name.lines', $settings);
		SELECT kafka_sink.register_topic('$name', '$topic');
	});
	return $topic;
}

sub line { my ($order, $line, @more) = @_; return [ undef, qq({"order_id": $order, "line": $line}), @more ]; }

sub accounts_are_exact
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( sql(qq{
		SELECT bool_and(consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched),
		       bool_and(off - start_off = consumed), sum(gaps)
		  FROM kafka_sink.txn_offsets WHERE sink = '$name'}),
		't|t|0', "$name: the accounts are exact");
	return;
}

create_server($node, $kafka);

# --- what is behind a record that waits was not refused yet ---

my $topic = lines_of('behind', "on_error => 'dead_letter', reject_limit => '2', retry_within => '1 hour'",
	[ line(7, 1), [ undef, 'not JSON' ] ], [ line(7, 2) ]);
becomes("SELECT batches >= 16 FROM kafka_sink.stat_sinks WHERE sink = 'behind'", 'records are tried again and again');
is(sql("SELECT state, off FROM kafka_sink.sinks WHERE sink = 'behind'"), 'waiting|0', 'and waits');
is(scalar(() = slurp_file($node->logfile) =~ /LOG: .*sink "behind": insert or update on table "lines"/g), 1, 'one of them is told of, once');
sql('INSERT INTO behind.orders VALUES (7)');
becomes("SELECT sum(applied) = 2 AND sum(dead_lettered) = 1 FROM kafka_sink.txn_offsets WHERE sink = 'behind'", 'they are applied, and the next one refused');
becomes("SELECT state = 'running' FROM kafka_sink.sinks WHERE sink = 'behind'", 'within the limit');
accounts_are_exact('behind');

# --- a timestamp from the future ---

lines_of('future', "on_error => 'ignore', retry_within => '500 ms'", [ line(7, 1, ts => (time + 1800) * 1000), line(1, 1) ]);
becomes("SELECT applied = 1 AND ignored = 1 FROM kafka_sink.txn_offsets WHERE sink = 'future'", 'no record waits longer than retry_within');

# --- an error in the search for the record ---

foreach my $how ('in a worker', 'in a session')
{
	my $name = $how =~ /worker/ ? 'locked' : 'called';

	lines_of($name, "on_error => 'dead_letter', batch_linger_ms => 500, enabled => false", [ line(1, -1), line(1, 1), line(1, 2) ]);
	sql("ALTER TABLE $name.lines ADD CHECK (line > 0), ADD UNIQUE (line)");

	my $blocker = $node->background_psql('postgres');
	$blocker->query_safe("BEGIN; INSERT INTO $name.lines VALUES (1, 1)");
	# (not for what comes before, which a worker that is about to leave may keep waiting)
	sql(q{ALTER DATABASE postgres SET lock_timeout = '300 ms'});
	if ($name eq 'locked')
	{
		sql("SELECT kafka_sink.resume('$name')");
		becomes("SELECT state = 'waiting' AND sqlstate = '55P03' FROM kafka_sink.sinks WHERE sink = '$name'", "$how: a lock is not got");
		$blocker->query_safe('ROLLBACK');
		becomes("SELECT applied = 2 AND dead_lettered = 1 FROM kafka_sink.txn_offsets WHERE sink = '$name'", "$how: and then it is");
	}
	else
	{
		my ($out, $err);

		$node->psql('postgres', "CALL kafka_sink.run('$name');\nSELECT 'still ' || count(*) FROM $name.lines;\n",
			on_error_stop => 0, stdout => \$out, stderr => \$err);
		like($err, qr/lock timeout/, "$how: a lock is not got");
		is($out, 'still 0', "$how: which leaves the session as it was");
		$blocker->query_safe('ROLLBACK');
		sql("CALL kafka_sink.run('$name')");
	}
	is(sql("SELECT string_agg(line::text, ',' ORDER BY line) FROM $name.lines"), '1,2', "$how: all is there");
	$blocker->quit;
	sql(q{ALTER DATABASE postgres RESET lock_timeout});
	accounts_are_exact($name);
}

# --- run() up to a number of records, some of which wait ---

lines_of('bounded', "batch_linger_ms => 1000, retry_within => '1 hour', enabled => false",
	map { my $p = $_; [ (map { line(1, $_) } 1 .. 5), line(100 + $p, 6), (map { line(1, $_) } 7 .. 11) ] } 0 .. 3);
my $run = $node->background_psql('postgres', on_error_stop => 0);
$run->query_until(qr/begun/, "\\echo begun\nCALL kafka_sink.run('bounded', max_records => 24);\n\\echo ended\n");
becomes('SELECT count(*) = 20 FROM bounded.lines', 'run() applies what it can');
sql('INSERT INTO bounded.orders SELECT generate_series(100, 103)');
$run->query_until(qr/ended/, '');
is(sql("SELECT sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = 'bounded'"), '24', 'and no more than it may');
$run->quit;
accounts_are_exact('bounded');
sql(q{CALL kafka_sink.run('bounded')});
is(sql('SELECT count(*) FROM bounded.lines'), '44', 'the rest comes later');
accounts_are_exact('bounded');

done_testing();
