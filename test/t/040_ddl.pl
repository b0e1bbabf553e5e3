# Commands that need a database to themselves, or take something away from a
# running sink: they succeed at once, workers leave and come back, and nothing
# is lost or applied twice.
use strict;
use warnings FATAL => 'all';

use Time::HiRes ();

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', extension => 0);
my $kafka = shared_broker();

my $topic = $kafka->topic('busy', 2);
my $manifest = PostgreSQL::Test::Utils::tempdir() . '/manifest';
my $producer = $kafka->gen_bg($topic, count => 0, rate => 2000, manifest => $manifest);

sub sql { return $node->safe_psql($_[1] // 'app', $_[0]); }

# The command succeeds.  That says that it was quick: those on databases fail when
# workers are still there after five seconds, and the others would wait for them.
sub quick
{
	my ($sql, $dbname, $what) = @_;
	my $start = Time::HiRes::time();
	my ($rc, $out, $err) = $node->psql($dbname, $sql, on_error_stop => 1, timeout => $KafkaSinkTest::timeout);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($rc, 0, $what) or diag $err;
	note sprintf('%s: %.2f s', $what, Time::HiRes::time() - $start);
	return;
}

# Rows and offsets agree, and both sinks of the database make progress.
sub goes_on
{
	my ($dbname, $what) = @_;
	my $count = sql('SELECT count(*) FROM busy', $dbname);
	my $other = sql('SELECT max(off) FROM busy_by_key', $dbname);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(agreement($dbname), 't|t', "$what: rows and offsets agree");
	wait_until($node, "SELECT count(*) > $count FROM busy", 't', "$what: it goes on", undef, $dbname);
	wait_until($node, "SELECT max(off) > $other FROM busy_by_key", 't', "$what: the other sink too", undef, $dbname);
	return;
}

sub agreement
{
	my ($dbname) = @_;

	return sql(q{BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT (SELECT count(*) FROM busy) = (SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'busy'),
			(SELECT max(off) + 1 FROM busy_by_key) = (SELECT max(off) FROM kafka_sink.txn_offsets WHERE sink = 'busy_by_key')},
		$dbname);
}

sub workers_of
{
	my ($dbname) = @_;

	return "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker' AND datname = '$dbname'";
}

$node->safe_psql('postgres', 'CREATE DATABASE app');
sql(qq{
	CREATE EXTENSION kafka_sink;
	CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '} . $kafka->bootstrap . qq{');
	CREATE TABLE busy (part int, off bigint, id bigint, qty bigint, PRIMARY KEY (part, off));
	CREATE TABLE busy_by_key (id int PRIMARY KEY, off bigint);
	SELECT kafka_sink.create_sink('busy', server => 'kafka', target => 'busy',
		columns => '{"part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.create_sink('busy_by_key', server => 'kafka', target => 'busy_by_key', insert_mode => 'upsert',
		columns => '{"id": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic(sink, '$topic') FROM kafka_sink.sinks;
});
wait_until($node, 'SELECT EXISTS (SELECT FROM busy) AND (SELECT count(*) FROM busy_by_key) = 2', 't', 'two sinks are busy',
	undef, 'app');
goes_on('app', 'at first');

# --- commands on databases ---

quick('ALTER DATABASE app RENAME TO renamed', 'postgres', 'ALTER DATABASE RENAME');
goes_on('renamed', 'renamed');
quick('ALTER DATABASE renamed RENAME TO app', 'postgres', 'ALTER DATABASE RENAME again');

quick('CREATE DATABASE copy TEMPLATE app', 'postgres', 'CREATE DATABASE TEMPLATE');
is(sql(workers_of('copy'), 'postgres'), '0', 'the copy has no workers');
is(agreement('copy'), 't|t', 'its rows and offsets agree');
wait_until($node, 'SELECT DISTINCT state FROM kafka_sink.sinks', 'suspended', 'its sinks are suspended', undef, 'copy');
like(sql(q{SELECT message || ' ' || hint FROM kafka_sink.sinks WHERE sink = 'busy'}, 'copy'),
	qr/another database or server .*kafka_sink\.resume\(/, 'and say so');
like(($node->psql('copy', q{CALL kafka_sink.run('busy')}))[2], qr/is suspended/, 'run does not consume either');
goes_on('app', 'the original');
sql('SELECT kafka_sink.resume(sink) FROM kafka_sink.sinks', 'copy');
goes_on('copy', 'the copy, resumed');

$node->safe_psql('postgres', q{SET allow_in_place_tablespaces = on; CREATE TABLESPACE place LOCATION ''});
quick('ALTER DATABASE copy SET TABLESPACE place', 'postgres', 'ALTER DATABASE SET TABLESPACE');
goes_on('copy', 'moved');

# A command that fails lets the workers come back.
my $visitor = $node->background_psql('copy');
like(($node->psql('postgres', 'DROP DATABASE copy'))[2], qr/being accessed by other users.*\n.*There is 1 other session/s,
	'DROP DATABASE fails because of another session, and of no worker');
goes_on('copy', 'after a DROP DATABASE that failed');
$visitor->quit;
like(($node->psql('postgres', 'SET ROLE pg_monitor; DROP DATABASE copy'))[2], qr/must be owner/,
	'DROP DATABASE by somebody who may not');
goes_on('copy', 'which does not disturb it');

# --- commands on the extension ---

quick('BEGIN; DROP EXTENSION kafka_sink CASCADE; ROLLBACK', 'copy', 'DROP EXTENSION, rolled back');
goes_on('copy', 'after ROLLBACK');
quick('ALTER EXTENSION kafka_sink UPDATE', 'copy', 'ALTER EXTENSION UPDATE');
goes_on('copy', 'after an update');
quick('DROP EXTENSION kafka_sink CASCADE', 'copy', 'DROP EXTENSION');
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'copy' AND backend_type LIKE 'kafka_sink%'}, '0',
	'nobody is left', undef, 'postgres');
cmp_ok(sql('SELECT count(*) FROM busy', 'copy'), '>', 0, 'the rows stay');
quick('DROP DATABASE copy', 'postgres', 'DROP DATABASE without the extension');

# --- dump and restore ---

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('app') ], 'pg_dump of running sinks');
my $second = new_node('second', extension => 0);
$second->safe_psql('postgres', 'CREATE DATABASE restored');
$second->command_ok([ 'pg_restore', '--exit-on-error', '-d', $second->connstr('restored'), $dump ], 'pg_restore elsewhere');
wait_until($second, 'SELECT DISTINCT state FROM kafka_sink.sinks', 'suspended', 'restored sinks are suspended', undef,
	'restored');
is($second->safe_psql('restored', q{SELECT (SELECT count(*) FROM busy) =
		(SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'busy')}), 't', 'rows and offsets of the dump agree');
$second->safe_psql('restored', 'SELECT kafka_sink.resume(sink) FROM kafka_sink.sinks');

# --- settings ---

$node->append_conf('postgresql.conf', 'kafka_sink.enabled = off');
$node->reload;
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink worker', 'kafka_sink supervisor')},
	'0', 'kafka_sink.enabled = off: workers leave', undef, 'postgres');
is(agreement('app'), 't|t', 'rows and offsets agree');
$node->append_conf('postgresql.conf', 'kafka_sink.enabled = on');
$node->reload;
goes_on('app', 'kafka_sink.enabled = on');

# --- the target ---

sql('ALTER TABLE busy ADD COLUMN note text');
wait_until($node, 'SELECT count(*) > 0 FROM busy WHERE note IS NOT NULL', 't', 'a new column is filled', undef, 'app');
is(sql(q{SELECT bool_and(note IS NOT NULL) FROM busy JOIN (SELECT part, min(off) FROM busy WHERE note IS NOT NULL GROUP BY part) f USING (part) WHERE off >= min}),
	't', 'from then on');
sql('ALTER TABLE busy DROP COLUMN qty, ALTER COLUMN id TYPE numeric; CREATE INDEX ON busy (id)');
goes_on('app', 'a column less, another type, an index more');

sql('ALTER TABLE busy_by_key RENAME TO moved; DROP TABLE moved');
wait_until($node, q{SELECT state, sqlstate, message IS NOT NULL, hint IS NOT NULL FROM kafka_sink.sinks WHERE sink = 'busy_by_key'},
	qr/^halted\|42P01\|t/, 'a target that is dropped: the sink halts', undef, 'app');
sql(q{
	CREATE TABLE busy_by_key (id int PRIMARY KEY, off bigint);
	SELECT kafka_sink.alter_sink('busy_by_key', target => 'busy_by_key'), kafka_sink.resume('busy_by_key');
});
wait_until($node, 'SELECT count(*) FROM busy_by_key', '2', 'with another table it goes on', undef, 'app');

# --- the owner ---

sql(qq{
	CREATE ROLE owner LOGIN;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO PUBLIC;
	CREATE TABLE owned (part int, off bigint, PRIMARY KEY (part, off));
	GRANT INSERT ON owned TO PUBLIC;
	GRANT USAGE ON FOREIGN SERVER kafka TO PUBLIC;
	SET ROLE owner;
	SELECT kafka_sink.create_sink('owned', server => 'kafka', target => 'owned',
		columns => '{"part": "\@partition", "off": "\@offset"}');
	SELECT kafka_sink.register_topic('owned', '$topic', start_at => 'latest');
});
wait_until($node, 'SELECT count(*) > 0 FROM owned', 't', 'a sink of another owner', undef, 'app');
sql(q{ALTER ROLE owner NOLOGIN; SELECT pg_terminate_backend(pid) FROM kafka_sink.stat_sinks WHERE sink = 'owned'});
SKIP:
{
	skip 'owners need no LOGIN', 2 if $node->pg_version >= 17;
	wait_until($node, q{SELECT state, message, hint FROM kafka_sink.sinks WHERE sink = 'owned'},
		qr/^backoff\|role "owner" cannot log in.*\|ALTER ROLE owner LOGIN/, 'an owner without LOGIN', undef, 'app');
	sql('ALTER ROLE owner LOGIN');
	wait_until($node, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'owned'}, 'running|',
		'with LOGIN it goes on', undef, 'app');
}
like(($node->psql('app', 'DROP ROLE owner'))[2], qr/role "owner" cannot be dropped.*\n.*owns the sinks and feeds "owned"/, 'an owner is needed');
sql('DROP ROLE owner', 'postgres');
sql(q{SELECT pg_terminate_backend(pid) FROM kafka_sink.stat_sinks WHERE sink = 'owned'});
wait_until($node, q{SELECT state, message FROM kafka_sink.sinks WHERE sink = 'owned'},
	qr/^(backoff|halted)\|the sink's owner does not exist any more/, 'an owner that is dropped', undef, 'app');
sql(q{SELECT kafka_sink.drop_sink('owned')});
goes_on('app', 'the others');

# --- what an interrupted DROP DATABASE leaves: it can only be dropped again ---

$node->safe_psql('postgres', 'CREATE DATABASE half ALLOW_CONNECTIONS false');
$node->safe_psql('postgres', q{UPDATE pg_database SET datconnlimit = -2, datallowconn = true WHERE datname = 'half'});

# --- shutdown under load, and the sum of it all ---

# (which nothing ends but that all have left)
my $start = Time::HiRes::time();
$node->stop('fast');
note sprintf('fast shutdown: %.2f s', Time::HiRes::time() - $start);
$node->start;
goes_on('app', 'after a restart');
ok($producer->stop, 'all was produced');
my $produced = () = slurp_file($manifest) =~ /\n/g;
foreach ([ $node, 'app' ], [ $second, 'restored' ])
{
	my ($server, $dbname) = @$_;

	$server->safe_psql($dbname, q{CALL kafka_sink.wait_for('busy', timeout => '3 min')});
	is($server->safe_psql($dbname, 'SELECT count(*), count(DISTINCT id) FROM busy'), "$produced|$produced",
		"$dbname: nothing lost, nothing twice");
}
unlike(slurp_file($node->logfile), qr/invalid database "half"/, 'a database that is not one any more is not visited');
quick('DROP DATABASE half', 'postgres', 'DROP DATABASE again');
quick('DROP DATABASE app', 'postgres', 'DROP DATABASE');
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink worker', 'kafka_sink supervisor')},
	'0', 'nobody is left', undef, 'postgres');

foreach ($node, $second)
{
	$_->stop('fast');
	unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/, $_->name . ': nothing crashed');
}

done_testing();
