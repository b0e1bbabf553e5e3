# Calls that change who or what a sink is while its workers consume: another name,
# another owner, a pause that is waited for.  Nothing is lost or applied twice.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

create_server($node, $kafka);

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $topic = $kafka->topic('calls', 3);
my $manifest = PostgreSQL::Test::Utils::tempdir() . '/manifest';

sql(qq{
	CREATE ROLE first LOGIN;
	CREATE ROLE second LOGIN;
	GRANT USAGE ON FOREIGN SERVER kafka TO first, second;
	CREATE TABLE t (part int, off bigint, who text DEFAULT current_user, UNIQUE (part, off));
	GRANT SELECT, INSERT ON t TO first, second;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO first, second;
	SET ROLE first;
	SELECT kafka_sink.create_sink('before', server => 'kafka', target => 't', batch_records => 100, workers => 2,
		columns => '{"part": "\@partition", "off": "\@offset", "who": null}', on_error => 'dead_letter');
	SELECT kafka_sink.register_topic('before', '$topic');
});
my $producer = $kafka->gen_bg($topic, count => 0, rate => 2000, partitions => 3, manifest => $manifest);

# Rows and offsets agree at any time, and there come more of them.
sub goes_on
{
	my ($sink, $what) = @_;
	my $count = sql('SELECT count(*) FROM t');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(sql(q{BEGIN ISOLATION LEVEL REPEATABLE READ;
			SELECT (SELECT count(*) FROM t) = (SELECT coalesce(sum(off), 0) FROM kafka_sink.txn_offsets)}), 't',
		"$what: rows and offsets agree");
	wait_until($node, "SELECT count(*) > $count + 1000 FROM t", 't', "$what: it goes on");
	wait_until($node, "SELECT state FROM kafka_sink.sinks WHERE sink = '$sink'", 'running', "$what: and runs");
	return;
}

goes_on('before', 'at first');

# --- another name, there and back ---

my $log = -s $node->logfile;
my ($one, $other) = qw(before after);
foreach my $turn (1 .. 4)
{
	sql("SET ROLE first; SELECT kafka_sink.rename_sink('$one', '$other')");
	is(sql(q{SELECT string_agg(sink, ' ') FROM kafka_sink.sinks}), $other, "renamed ($turn): there is one sink");
	goes_on($other, "renamed ($turn)");
	# (a process is in this view a little longer than it has work)
	wait_until($node, qq{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'kafka_sink $one %'}, '0',
		"renamed ($turn): no worker has the name from before");
	($one, $other) = ($other, $one);
}
is(sql(q{SELECT string_agg(new->>'sink', ' ' ORDER BY id) FROM kafka_sink.sink_history WHERE action = 'rename_sink' AND sink = 'before'}),
	'after before after before', 'its history goes with it');

# --- a name that workers still have is not another sink's at once ---

my ($code, undef, $refused) = $node->psql('postgres', q{BEGIN; SET ROLE first;
	SELECT kafka_sink.create_sink('heir', server => 'kafka', target => 't');
	SELECT kafka_sink.rename_sink('before', 'away'); SELECT kafka_sink.rename_sink('heir', 'before'); COMMIT}, on_error_stop => 1);
like($refused, qr/workers of a sink that was called "before" have not ended yet/, 'no swap of names under a batch');
goes_on('before', 'not swapped');

# --- a lock keeps a batch, and the rename waits for it ---

my $holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->query_safe('BEGIN; LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE');
wait_until($node, q{SELECT count(*) FROM kafka_sink.sinks WHERE state = 'waiting' AND waits_for = 'lock'}, '1', 'a batch waits for a lock');
my ($rc, $out, $err) = $node->psql('postgres', q{SET ROLE first; SET lock_timeout = '10 min'; SELECT kafka_sink.rename_sink('before', 'after')});
is($rc, 0, 'renamed while a batch waits') or diag $err;
$holder->query_safe('COMMIT');
$holder->quit;
goes_on('after', 'renamed while a batch waited');

# --- another owner ---

($rc, $out, $err) = $node->psql('postgres', q{SET ROLE first; SELECT kafka_sink.alter_sink('after', owner => 'second')});
like($err, qr/must be able to SET ROLE "second"/, 'to give a sink away, one must be able to become its owner');
sql(q{GRANT second TO first; SET ROLE first; SELECT kafka_sink.alter_sink('after', owner => 'second')});
sql(q{REVOKE second FROM first});
wait_until($node, q{SELECT count(*) > 1000 FROM t WHERE who = 'second'}, 't', 'another owner: its workers are his');
goes_on('after', 'another owner');
wait_until($node, q{SELECT count(DISTINCT usename) || ' ' || min(usename) FROM pg_stat_activity WHERE application_name LIKE 'kafka_sink after %'},
	'1 second', 'all of them');
is(sql(q{SET ROLE first; SELECT count(*) FROM kafka_sink.txn_offsets}), '0', 'who had it sees it no more');
wait_until($node, q{SELECT count(*) FROM kafka_sink.stat_sinks WHERE state = 'running' AND pid IS NOT NULL}, '2', 'both workers run');

# --- who has given it away defines it no more, even if he has asked before ---

$holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->query_safe(q{BEGIN; SELECT kafka_sink.alter_sink('after', owner => 'first')});
foreach my $call (q{alter_sink('after', batch_records => 77)}, qq{alter_topic('after', '$topic', filter => 'true')},
	qq{register_topic('after', 'another')}, q{resume('after')}, q{drop_sink('after')})
{
	my $late = $node->background_psql('postgres', on_error_stop => 0);
	$late->query_until(qr/asked/, "SET ROLE second; \\echo asked\nSELECT kafka_sink.$call;\n\\echo answered\n");
	wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%kafka_sink.%' AND backend_type = 'client backend'},
		'1', "$call waits for the change of the owner");
	$holder->query_safe(q{COMMIT});
	$late->query_until(qr/answered/, '');
	like($late->{stderr}, qr/sink "after" was given to another role meanwhile/, "$call: refused");
	$late->quit;
	$holder->query_safe(q{SELECT kafka_sink.alter_sink('after', owner => 'second')});
	$holder->query_safe(q{BEGIN; SELECT kafka_sink.alter_sink('after', owner => 'first')});
}
$holder->query_safe('ROLLBACK');
$holder->query_safe(q{BEGIN; SELECT kafka_sink.alter_sink('after', batch_records => 99)});
my $giver = $node->background_psql('postgres', on_error_stop => 0);
$giver->query_until(qr/asked/, "\\echo asked\nSELECT kafka_sink.alter_sink('after', owner => 'first');\n\\echo answered\n");
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%owner =>%' AND backend_type = 'client backend'},
	'1', 'a gift waits for a change');
$holder->query_safe('COMMIT');
$giver->query_until(qr/answered/, '');
like($giver->{stderr}, qr/sink "after" was changed meanwhile/, 'a gift of what was not seen is refused');
$giver->quit;
$holder->quit;
goes_on('after', 'still his');

# --- a pause that is waited for ---

foreach my $turn (1 .. 3)
{
	my $rows = sql(q{SET ROLE second; CALL kafka_sink.pause('after', wait => true, timeout => '5 min'); RESET ROLE; SELECT count(*) FROM t});
	wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'kafka_sink after %'}, '0', "paused ($turn): no worker is left");
	my $produced = $kafka->watermarks($topic);
	wait_until($node, q{SELECT state FROM kafka_sink.sinks}, 'paused', "paused ($turn): says so");
	is(sql('SELECT count(*) FROM t'), $rows, "paused ($turn): nothing comes any more");
	sql(q{SELECT kafka_sink.resume('after')});
	goes_on('after', "resumed ($turn)");
}

# one that takes too long: it can be canceled, and the sink is paused all the same
# (workers that know the setting from before would give up after 2 s, and end)
$holder = $node->background_psql('postgres', on_error_stop => 1);
sql(q{CALL kafka_sink.pause('after', wait => true)});
sql(q{SELECT kafka_sink.alter_sink('after', lock_timeout => '0')});
sql(q{SELECT kafka_sink.resume('after')});
goes_on('after', 'with an endless lock_timeout');
$holder->query_safe('BEGIN; LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE');
wait_until($node, q{SELECT count(*) FROM kafka_sink.sinks WHERE state = 'waiting' AND waits_for = 'lock'}, '1', 'its workers wait for a lock');
# (in one session: ten seconds from the first they are ended all the same)
($rc, $out, $err) = $node->psql('postgres', q{CALL kafka_sink.pause('after', wait => true, timeout => '500 ms');
	SELECT state FROM kafka_sink.sinks;
	SET statement_timeout = '500 ms'; CALL kafka_sink.pause('after', wait => true)}, on_error_stop => 0);
like($err, qr/timed out while waiting for the workers of sink "after" to end/, 'pause: a timeout');
is($out, 'paused', 'paused all the same');
like($err, qr/canceling statement due to statement timeout/, 'pause: canceled');
$holder->query_safe('COMMIT');
$holder->quit;
sql(q{CALL kafka_sink.pause('after', wait => true)});
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'kafka_sink after %'}, '0', 'then they end');

# --- created by several at once, as by all instances of an application ---

$holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->query_safe(q{BEGIN; SELECT kafka_sink.create_sink('twin', if_not_exists => true)});
my %late = map { $_ => start_script($node, "SELECT kafka_sink.create_sink('twin', if_not_exists => $_);\n") } qw(true false);
wait_until($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND NOT granted}, '2', 'others wait for who is first');
$holder->query_safe('COMMIT');
$holder->quit;
$_->{h}->finish foreach values %late;
like($late{true}{err}, qr/^psql:\S+ NOTICE:  42710$/, 'if_not_exists: it is there');
like($late{false}{err}, qr/^psql:\S+ ERROR:  42710$/, 'else that is an error of its own');
sql(q{SELECT kafka_sink.drop_sink('twin')});

# --- all of it ---

ok($producer->stop, 'all records are acknowledged');
sql(q{SELECT kafka_sink.resume('after'); CALL kafka_sink.wait_for('after', timeout => '10 min')});
my $records = 0;
$records += $_->[2] - $_->[1] foreach $kafka->watermarks($topic);
is(sql('SELECT count(*) FROM t'), $records, 'each record is there, once');
is(sql(q{SELECT sum(applied) FROM kafka_sink.txn_offsets}), $records, 'in the accounts');
is(sql(q{SELECT count(*) FROM kafka_sink.dead_letters}), '0', 'none of them a second time');
unlike(slurp_file($node->logfile, $log), qr/PANIC|TRAP|terminated by signal|halted/, 'and the log has no trouble');

done_testing();
