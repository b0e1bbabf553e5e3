# Many sinks in one database, and many databases: all of them start, not all at
# once, and all of them leave when a command needs the database.
use strict;
use warnings FATAL => 'all';

use Time::HiRes ();

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $sinks = 200;
my $databases = 20;
my $node = new_node('main', extension => 0,
	conf => "kafka_sink.max_workers = 250\nmax_worker_processes = 300\nmax_connections = 50\nshared_buffers = 32MB\n");
my $kafka = shared_broker();
my @topics = map { $kafka->topic("many$_", 1) } 1 .. 10;
$kafka->gen($_, count => 10) foreach @topics;

sub sql { return $node->safe_psql($_[1] // 'app', $_[0]); }

# A database with $n sinks.
sub create
{
	my ($dbname, $n) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	sql(join(";\n", 'CREATE EXTENSION kafka_sink',
			q{CREATE SERVER kafka FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '} . $kafka->bootstrap . q{')},
			'BEGIN',
			(map { (
				"CREATE TABLE t$_ (id bigint)",
				"SELECT kafka_sink.create_sink('s$_', server => 'kafka', target => 't$_', idle_after => '0')",
				"SELECT kafka_sink.register_topic('s$_', '$topics[$_ % @topics]')") } 1 .. $n),
			'COMMIT'), $dbname);
	return;
}

sub drop_quickly
{
	my ($dbname, $what) = @_;
	my $start = Time::HiRes::time();
	my ($rc, undef, $err) = $node->psql('postgres', "DROP DATABASE $dbname");
	my $seconds = Time::HiRes::time() - $start;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	# (it fails when workers are still there after five seconds)
	is($rc, 0, $what) or diag $err;
	note sprintf('%s: %.2f s', $what, $seconds);
	return $seconds;
}

# Seconds that the command takes on this machine, as busy as it is, if nobody is in its way.
sub drop_of_nobody
{
	$node->safe_psql('postgres', 'CREATE DATABASE nobody');
	my $start = Time::HiRes::time();
	$node->safe_psql('postgres', 'DROP DATABASE nobody');
	return Time::HiRes::time() - $start;
}

sub median { return (sort { $a <=> $b } @_)[ @_ / 2 ]; }

my $running = q{SELECT count(*) FROM kafka_sink.stat_sinks WHERE state = 'running' AND pid IS NOT NULL};

# --- many databases ---

create("app$_", 1) foreach 1 .. $databases;
foreach (1 .. $databases)
{
	wait_until($node, 'SELECT count(*) FROM t1', '10', "database $_ has its records", undef, "app$_");
}
$node->restart;
wait_until($node, q{SELECT count(DISTINCT datname), count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'},
	"$databases|$databases", 'after a restart all databases are found again', undef, 'postgres');
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor'}, $databases,
	'each by a supervisor of its own', undef, 'postgres');
my (@with, @without);
foreach (1 .. $databases)
{
	push @without, drop_of_nobody();
	push @with, drop_quickly("app$_", "DROP DATABASE $_");
}
cmp_ok(median(@with), '<', 2 + 2 * median(@without),
	sprintf('%.2f s for a database with a sink, %.2f s for one with nothing', median(@with), median(@without)));
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink worker', 'kafka_sink supervisor')}, '0',
	'nobody is left', undef, 'postgres');

# --- many sinks ---

create('app', $sinks);
wait_until($node, $running, $sinks, "$sinks sinks run", undef, 'app');
$node->restart;

# how many are on their way up at the same time, as far as it can be seen
my $most = 0;
my $deadline = Time::HiRes::time() + 180;
while (Time::HiRes::time() < $deadline)
{
	my $counts = try_sql($node, q{SELECT count(*) FILTER (WHERE s.state IS DISTINCT FROM 'running'), count(*)
		FROM kafka_sink.stat_sinks s JOIN pg_stat_activity a USING (pid) WHERE s.started_at > now() - interval '0.9 s'}, 'app') or next;
	my ($starting) = split /\|/, $counts;

	$most = $starting if $starting > $most;
	last if (try_sql($node, $running, 'app') // 0) == $sinks;
}
wait_until($node, $running, $sinks, 'after a restart, too', undef, 'app');
# (eight, and those that run and have not written yet that they do)
cmp_ok($most, '<=', 24, "not all at once: $most on their way up");
sql(q{SELECT kafka_sink.pause('s7')});
wait_until($node, q{SELECT count(*) FROM kafka_sink.stat_sinks WHERE pid IS NOT NULL}, $sinks - 1, 'one of many is paused', undef, 'app');
is(sql($running), $sinks - 1, 'which restarts no other');

# --- with nothing to do ---

# Sum over the processes of ours that are left, in kB and in clock ticks.
sub private_memory
{
	my $sum = 0;

	$sum += (eval { slurp_file("/proc/$_/status") } // '') =~ /^RssAnon:\s+(\d+) kB/m ? $1 : 0 foreach our_pids();
	return $sum;
}

sub ticks
{
	my $sum = 0;

	foreach (our_pids())
	{
		my $stat = eval { slurp_file("/proc/$_/stat") } // next;    # it has left
		my @stat = split ' ', $stat =~ s/^.*\) //r;

		$sum += $stat[11] + $stat[12];
	}
	return $sum;
}

sub our_pids
{
	return split /\n/, sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'kafka_sink%'}, 'postgres');
}

sql(q{SELECT kafka_sink.resume('s7')});
sql(q{SELECT kafka_sink.alter_sink(sink, idle_after => '100 ms') FROM kafka_sink.sinks});
my $idle = q{SELECT count(*) FROM kafka_sink.stat_sinks WHERE state = 'idle' AND pid IS NULL};
wait_until($node, $idle, $sinks, 'none of them has anything to do, and all workers leave', undef, 'app');
my $as_of = 'SELECT min(as_of) FROM kafka_sink.lag';
my $kinds = q{SELECT string_agg(backend_type, ', ' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type LIKE 'kafka_sink%'};
wait_until($node, $kinds, 'kafka_sink launcher, kafka_sink supervisor, kafka_sink watcher', 'three processes are left', undef, 'app');
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nkafka_sink.max_workers = 64\n");
$node->restart;
wait_until($node, $kinds, 'kafka_sink launcher, kafka_sink supervisor, kafka_sink watcher',
	'after a restart they are the only ones, too, so that few worker processes are enough', undef, 'app');
wait_until($node, 'SELECT count(*) FILTER (WHERE lag = 0), count(*) FROM kafka_sink.lag', "$sinks|$sinks", 'all are watched', undef, 'app');
# from one time that all figures have been renewed to the next
my $then = sql($as_of);
wait_until($node, "SELECT min(as_of) > '$then' FROM kafka_sink.lag", 't', 'figures are renewed', undef, 'app');
my ($before, $since) = (ticks(), Time::HiRes::time());
$then = sql('SELECT max(as_of) FROM kafka_sink.lag');
wait_until($node, "SELECT min(as_of) > '$then' FROM kafka_sink.lag", 't', 'and again', undef, 'app');
# (processor time: a busy machine does not add to it, and makes the time that it is taken in longer)
my $percent = (ticks() - $before) / (Time::HiRes::time() - $since) / $sinks;
cmp_ok($percent, '<', 0.02, sprintf('%.4f %% of a core for an idle sink, in %.1f s', $percent, Time::HiRes::time() - $since));

# What the view costs is what it reads, and that it reads all of it once.
my $plan = sql('EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) SELECT * FROM kafka_sink.lag');
my ($hit, $read) = map { $plan =~ /"Shared $_ Blocks": (\d+)/ } qw(Hit Read);
my ($loops) = sort { $b <=> $a } $plan =~ /"Actual Loops": (\d+)/g;
my ($ms) = $plan =~ /"Execution Time": ([\d.]+)/;
cmp_ok(($hit + $read) / $sinks, '<', 5, sprintf('lag of %d sinks: %d pages, %d loops at most, %.1f ms', $sinks, $hit + $read, $loops, $ms));
cmp_ok($loops, '<=', 2 * $sinks, 'it grows with the sinks, and not with their square');
my $memory = private_memory();
cmp_ok($memory / $sinks, '<', 1024, sprintf('%.0f kB of private memory for an idle sink', $memory / $sinks)) unless $ENV{ASAN_OPTIONS};
is(sql($idle), $sinks, 'nobody was woken');
$kafka->gen($topics[3], count => 10, from => 10);
sql(q{CALL kafka_sink.wait_for('s3', timeout => '3 min')});
wait_until($node, 'SELECT ' . join('+', map { "(SELECT count(*) FROM t$_)" } grep { $_ % @topics == 3 } 1 .. $sinks),
	20 * $sinks / @topics, 'all that read the same topic are woken by its records', undef, 'app');
wait_until($node, $idle, $sinks, 'and leave again', undef, 'app');

# All processes are taken by workers that wait, and none is left to the watcher: the others
# go on by themselves when these are done, and none of them keeps a process from the next.
my $names = join ', ', map { "'s$_'" } grep { $_ % @topics == 4 } 1 .. $sinks;
my $holder = $node->background_psql('app');
my $log = -s $node->logfile;
$holder->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM kafka_sink.txn_offsets WHERE sink IN ($names) FOR UPDATE) o");
$kafka->gen($topics[4], count => 10, from => 10);
wait_for_log($node, qr/WARNING:  there is no watcher of idle sinks/, $log, 'no process is left for the watcher');
$holder->query_safe('COMMIT');
$holder->quit;
wait_until($node, $idle, $sinks, 'all have had their turn, and are watched again', undef, 'app');
wait_until($node, 'SELECT ' . join('+', map { "(SELECT count(*) FROM t$_)" } grep { $_ % @topics == 4 } 1 .. $sinks),
	20 * $sinks / @topics, 'nothing is left alone', undef, 'app');
drop_quickly('app', "DROP DATABASE with $sinks idle sinks");
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink worker', 'kafka_sink supervisor', 'kafka_sink watcher')}, '0',
	'nobody is left', undef, 'postgres');

# --- all of them busy ---

$node->append_conf('postgresql.conf', "max_worker_processes = 300\nkafka_sink.max_workers = 250\n");
$node->restart;
create('app', $sinks);
wait_until($node, $running, $sinks, "$sinks sinks run", undef, 'app');
drop_quickly('app', "DROP DATABASE with $sinks sinks");
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink worker', 'kafka_sink supervisor')}, '0',
	'nobody is left', undef, 'postgres');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
