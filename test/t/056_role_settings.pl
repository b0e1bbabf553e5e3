
# What is set for a role or a database, and what keeps a role from a database:
# a worker runs as its sink's owner all the same, or the sink's state says what
# is in the way and how it is taken away.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', conf => "log_min_messages = warning\n");
my $kafka = start_mock();

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $topic = $kafka->topic('orders');
$kafka->produce($topic, 0, [ undef, '{"id": 0}' ]);
create_server($node, $kafka);
sql(qq{
	CREATE ROLE app LOGIN;
	CREATE ROLE other LOGIN;
	GRANT other TO app;
	GRANT USAGE ON FOREIGN SERVER kafka TO app;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO app;
	CREATE TABLE orders (id int PRIMARY KEY, usr name DEFAULT current_user, session name DEFAULT session_user);
	ALTER TABLE orders OWNER TO app;
	SET ROLE app;
	SELECT kafka_sink.create_sink('orders', server => 'kafka', target => 'orders', on_error => 'ignore', idle_after => '0');
	SELECT kafka_sink.register_topic('orders', '$topic');
});
my $state = q{SELECT state, sqlstate, message, detail, hint FROM kafka_sink.sinks WHERE sink = 'orders'};
my $runs = q{SELECT state FROM kafka_sink.stat_sinks WHERE sink = 'orders' AND pid IS NOT NULL};
wait_until($node, $runs, 'running', 'a sink');
is(sql(q{CREATE ROLE watchdog IN ROLE pg_monitor; SET ROLE watchdog; SELECT sink, pid > 0, batches >= 0 FROM kafka_sink.stat_sinks}),
	'orders|t|t', 'which members of pg_monitor see running');
is(sql(q{SET ROLE other; SELECT count(*) FROM kafka_sink.stat_sinks}), '0', 'and nobody else');

# Another worker, and another supervisor if that is wanted.
sub replace
{
	my ($supervisor) = @_;

	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN (} .
		($supervisor ? q{'kafka_sink supervisor', } : '') . q{'kafka_sink worker')});
	return;
}

# A record arrives, written by the owner.
my $id = 0;
sub works
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$id++;
	$kafka->produce($topic, 0, [ undef, qq({"id": $id}) ]);
	wait_until($node, qq{SELECT usr, session FROM orders WHERE id = $id}, 'app|app', $what);
	return;
}

# --- settings that are somebody's, which a worker does not take ---

foreach my $of ('ROLE app', 'DATABASE postgres')
{
	# (as the role, whom another session of this test is not)
	local $ENV{PGOPTIONS} = '-c role=none';

	foreach (
		[ role => 'other' ],
		[ exit_on_error => 'on' ],
		[ session_preload_libraries => "'no such library'" ],
		[ default_tablespace => 'no_such_tablespace' ],
		[ default_table_access_method => 'no_such_method' ],
		[ default_transaction_read_only => 'on' ],
		[ statement_timeout => '1' ])
	{
		my ($name, $value) = @$_;

		# what cannot be in a session of this test, either
		next if $of eq 'DATABASE postgres' && $name =~ /library|libraries|statement_timeout|read_only/;
		$node->psql('postgres', "ALTER $of SET $name = $value", on_error_stop => 0);
		replace($of =~ /DATABASE/);
		# one that is terminated again and again is started later each time
		sql(q{SELECT kafka_sink.resume('orders')});
		works("ALTER $of SET $name = $value");
		if ($name eq 'exit_on_error')
		{
			my $pid_now = q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'orders'};
			my ($pid, $then);

			# (one that has come before resume() leaves for another, once)
			for (1 .. 3)
			{
				$pid = sql($pid_now);
				$kafka->produce($topic, 0, [ undef, 'bad' ]);
				works('a bad record');
				$then = sql($pid_now);
				last if $then eq $pid;
			}
			is($then, $pid, 'ends no worker');
		}
		sql("ALTER $of RESET $name");
	}
}

# --- settings of the owner's code: those of one batch are not the next one's ---

my $moments = $kafka->topic('moments');
$kafka->produce($moments, 0, [ undef, '{"id": 0}' ]);
sql(qq{
	CREATE TABLE moments (id int PRIMARY KEY, at timestamptz, usr name DEFAULT current_user);
	ALTER TABLE moments OWNER TO app;
	CREATE FUNCTION sets() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN
		PERFORM set_config(name, value, false) FROM (VALUES ('TimeZone', 'Asia/Tokyo'), ('search_path', 'public'),
			('exit_on_error', 'on'), ('default_transaction_read_only', 'on'), ('role', 'other')) v (name, value);
		RETURN NULL;
	END\$\$;
	CREATE TRIGGER sets AFTER INSERT ON moments EXECUTE FUNCTION sets();
	SET ROLE app;
	SELECT kafka_sink.create_sink('moments', server => 'kafka', target => 'moments', idle_after => '0');
	SELECT kafka_sink.register_topic('moments', '$moments');
});
my %pids;
foreach my $nth (1, 2)
{
	$kafka->produce($moments, 0, [ undef, qq({"id": $nth, "at": "2026-01-01 00:00:00"}) ]);
	wait_until($node, qq{SELECT at = '2026-01-01 00:00:00+00', usr FROM moments WHERE id = $nth}, 't|app', "a moment, batch $nth");
	$pids{ sql(q{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = 'moments'}) } = 1;
}
is(keys %pids, 1, 'written by the same worker');
sql(q{SELECT kafka_sink.drop_sink('moments')});

# --- what is about passwords and sessions of people ---

sql(q{ALTER ROLE app VALID UNTIL 'yesterday' CONNECTION LIMIT 0; ALTER DATABASE postgres CONNECTION LIMIT 0});
replace(1);
works('an expired password, no connections: that is about passwords, and people');
sql(q{ALTER ROLE app VALID UNTIL 'infinity' CONNECTION LIMIT -1; ALTER DATABASE postgres CONNECTION LIMIT -1});

# --- what is in the way ---

sql('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
replace();
wait_until($node, $state,
	'backoff|42501|the worker ended: permission denied for database "postgres"|User does not have CONNECT privilege.|'
	  . 'GRANT CONNECT ON DATABASE postgres TO app.', 'an owner who may not connect');
replace(1);
is(sql($state) =~ s/\|.*//r, 'backoff', 'it stays');
sql('GRANT CONNECT ON DATABASE postgres TO app');
works('and goes on by itself');
wait_until($node, $state, 'running||||', 'its state says nothing of it any more');

my $session = $node->background_psql('postgres', on_error_stop => 0);
$node->safe_psql('template1', 'ALTER DATABASE postgres ALLOW_CONNECTIONS false');
$session->query_safe(q{SELECT pg_terminate_backend(pid) FROM kafka_sink.stat_sinks WHERE sink = 'orders'});
my $deadline = time + $KafkaSinkTest::timeout;
my $said = '';
$said = $session->query_safe($state) until $said =~ /not currently accepting/ || time > $deadline;
is($said, 'backoff|55000|the worker ended: database "postgres" is not currently accepting connections||'
	  . 'ALTER DATABASE postgres ALLOW_CONNECTIONS true.', 'a database that takes no connections');
$node->safe_psql('template1', 'ALTER DATABASE postgres ALLOW_CONNECTIONS true');
$session->quit;
works('until it does');

# nor is it tried as long as it is known, and the server may have come up meanwhile
$node->safe_psql('template1', 'ALTER DATABASE postgres ALLOW_CONNECTIONS false');
my $log = -s $node->logfile;
$node->restart;
wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink launcher' AND wait_event_type = 'Extension'}, '1',
	'the launcher has looked for databases', undef, 'template1');
unlike(slurp_file($node->logfile, $log), qr/FATAL:.*not currently accepting connections/, 'nobody tries');
$node->safe_psql('template1', 'ALTER DATABASE postgres ALLOW_CONNECTIONS true');
works('from then on');

# --- somebody ends it ---

wait_until($node, $state, 'running||||', 'it runs');
replace();
wait_until($node, $state, qr/^backoff\|57P01\|the worker ended: terminating background worker .*\|\|It is started again after a while\.|^running/,
	'a worker that is terminated');
works('is started again');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
