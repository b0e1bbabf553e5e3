# The rows that are there before a feed begins: published in chunks, each once, in their
# place among the changes, whatever is killed or changed meanwhile.
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkBuild;
use KafkaSinkTest;

my $node = new_node('copy', conf => build_with('KS_FEED_STEPS') . "\nwal_level = logical\nautovacuum = off\nmax_wal_senders = 2\n");
my $kafka = shared_broker();
my $progress = $kafka->topic('progress');
my $v15;
my $offset = 0;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub published { return sql("CALL kafka_sink.wait_for('$_[0]', timeout => '3 min')"); }

# [ key, value ] of a topic's records, in the order of each key's
sub records_of { return map { [ map { $_ eq '\N' ? undef : unescaped($_) } @$_[ 2, 3 ] ] } $kafka->records($_[0]); }

# What stands for a record of Debezium's: "r1" is row 1 that was read, "d1-" its tombstone.
sub words_of
{
	my ($topic) = @_;

	# (a table that is emptied has no key)
	return join ' ', map {
		my $id = decode_json($_->[0])->{id};
		defined $_->[1] ? decode_json($_->[1])->{op} . $id : "-$id";
	} grep { defined $_->[0] } records_of($topic);
}

sub words_of_key { my ($topic, $id) = @_; return join ' ', grep { /\D$id$/ } split / /, words_of($topic); }

# The table that records of Debezium's make, as text of its rows; errors of their order.
sub rebuilt
{
	my ($topic, $ordered) = @_;
	my (%rows, %last, @wrong);

	foreach (records_of($topic))
	{
		my ($key, $value) = @$_;
		next unless defined $value;
		my $change = decode_json($value);
		my $row = $change->{after};

		%rows = () if $change->{op} eq 't';
		delete $rows{$key} if $change->{op} eq 'd';
		next unless $row;
		foreach (keys %$row)
		{
			$row->{$_} = $rows{$key}{$_} if defined $row->{$_} && $row->{$_} eq '__debezium_unavailable_value';
		}
		push @wrong, "$key: $change->{op} $row->{n} behind $last{$key}"
		  if $ordered && defined $last{$key} && ($change->{op} eq 'r' ? $row->{n} < $last{$key} : $row->{n} <= $last{$key});
		$last{$key} = $row->{n};
		$rows{$key} = $row;
	}
	return (\@wrong, map { my $r = $_; join '|', map { $r->{$_} // '' } sort keys %$r } values %rows);
}

sub is_equal
{
	my ($topic, $table, $what, $ordered) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($wrong, @got) = rebuilt($topic, $ordered);
	my @columns = split /\n/, sql("SELECT attname FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname COLLATE \"C\"");
	my @expected = split /\n/, sql("SELECT concat_ws('|', " . join(', ', map { "coalesce($_\::text, '')" } @columns) . ") FROM $table");

	is_deeply($wrong, [], "$what: no row goes back") if $ordered;
	return is_deeply([ sort @got ], [ sort @expected ], "$what: the table");
}

sub stop_at
{
	my ($step) = @_;

	set_step($node, $step);
	# (a reload is seen by each process when it comes to it)
	return wait_until($node, 'SHOW kafka_sink.feed_stop_at', $step, "to stop at '$step'");
}

sub stops_at
{
	my ($step) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	(my $pid, $offset) = wait_for_step($node, $step, $offset);
	return $pid;
}

my $feeds = 0;

# A feed of its own topics; returns what they begin with.
sub create_feed
{
	my ($publication, $more) = @_;
	my $prefix = $kafka->topic('copy' . ++$feeds);

	$kafka->create_topic("$prefix.$_", 1) foreach split /\n/, sql("SELECT tablename FROM pg_publication_tables WHERE pubname = '$publication'");
	my $envelope = ($more // '') =~ /envelope/ ? '' : "envelope => 'debezium', ";
	sql("SELECT kafka_sink.create_feed('f', server => 'kafka', publication => '$publication', topic => '$prefix.{table}', "
		  . "${envelope}progress_topic => '$progress', copy_data => true" . ($more // '') . ')');
	return $prefix;
}

sub drop_feed
{
	sql("SELECT kafka_sink.drop_feed('f')");
	return wait_until($node, 'SELECT count(*) FROM pg_replication_slots', '0', 'the slot is gone');
}

sub copies { return sql("SELECT string_agg(relation || ' ' || state || ' ' || rows, ', ' ORDER BY relation::text) FROM kafka_sink.feed_copies"); }

create_server($node, $kafka);
# (of what waits for a standby)
sql('ALTER DATABASE postgres SET synchronous_commit = local');
$v15 = sql('SHOW server_version_num') >= 150000;
sql(q{
	CREATE SEQUENCE seq;
	CREATE TABLE big (id int PRIMARY KEY, n int DEFAULT nextval('seq'), wide text);
	ALTER TABLE big ALTER wide SET STORAGE EXTERNAL;
	CREATE TABLE small (id int PRIMARY KEY, n int DEFAULT nextval('seq'));
	CREATE TABLE pair (a int, b text COLLATE "C", n int, PRIMARY KEY (b, a));
	CREATE TABLE parted (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (50);
	CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (50) TO (1000);
	CREATE TABLE filtered (id int PRIMARY KEY, n int, hidden text);
	CREATE TABLE empty (id int PRIMARY KEY, n int);
	CREATE TABLE nokey (id int);
	INSERT INTO big SELECT i, nextval('seq'), CASE WHEN i % 3 = 0 THEN repeat('x', 2500) ELSE 'y' END FROM generate_series(1, 1000) i;
	INSERT INTO small SELECT i FROM generate_series(1, 20) i;
	INSERT INTO pair SELECT i % 7, 'b' || i, i FROM generate_series(1, 100) i;
	INSERT INTO parted SELECT i, i FROM generate_series(1, 100) i;
	INSERT INTO filtered SELECT i, i, 'h' FROM generate_series(1, 100) i;
	INSERT INTO nokey VALUES (1);
});
sql('CREATE PUBLICATION all_of FOR TABLE big, small, pair, parted, empty' . ($v15 ? ', filtered (id, n) WHERE (n > 50)' : '')
	  . ' WITH (publish_via_partition_root = true)');
sql('CREATE PUBLICATION two_of FOR TABLE big, small');

# --- what is there, and no more ---

my $prefix = create_feed('all_of', ', batch_records => 30');
published('f');
is_equal("$prefix.$_", $_, "copied: $_") foreach qw(big small pair parted empty);
if ($v15)
{
	is(scalar(grep { $_->[1] =~ /"after":\{"id":\d+,"n":\d+\}/ } records_of("$prefix.filtered")), 50, 'by row filter and column list');
	is(scalar records_of("$prefix.filtered"), 50, 'and nothing else');
}
is(scalar(grep { $_->[1] =~ /"snapshot":"incremental",.*"txId":null,"lsn":\d+\},"op":"r"/ } records_of("$prefix.big")), 1000, 'each row once, as one that was read');
is(copies(), 'big copied 1000, empty copied 0, ' . ($v15 ? 'filtered copied 50, ' : '') . 'pair copied 100, parted copied 100, small copied 20', 'which is told');
is(sql('SELECT copied_rows, copied_tables, tables_to_copy FROM kafka_sink.stat_feeds'), $v15 ? '1270|6|0' : '1220|5|0', 'and counted');
sql("UPDATE small SET n = nextval('seq') WHERE id = 1; CALL kafka_sink.pause('f', true); SELECT kafka_sink.resume('f')");
published('f');
is(words_of_key("$prefix.small", 1), 'r1 u1', 'it is not copied again');
# one who sleeps is woken by whoever commits (unless he has just been, for nothing)
stop_at('woken');
foreach (1 .. 1000)
{
	sql("UPDATE small SET n = nextval('seq') WHERE id = 3");
	last if slurp_file($node->logfile) =~ /feed stops at step woken/;
}
my $pid = stops_at('woken');
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
published('f');
# (where a segment has just ended, the next one's head is not there yet)
sql("SELECT pg_switch_wal(); CALL kafka_sink.wait_for('f', timeout => '3 min')");
drop_feed();
is(copies(), '', 'and forgotten with the feed');

# --- changes while a chunk waits ---

stop_at('chunk_read');
sql(q{
	CREATE TABLE win (id int PRIMARY KEY, n int DEFAULT nextval('seq'), wide text);
	ALTER TABLE win ALTER wide SET STORAGE EXTERNAL;
	INSERT INTO win SELECT i, nextval('seq'), CASE WHEN i < 3 THEN repeat('x', 2500) END FROM generate_series(1, 9) i;
	CREATE PUBLICATION win FOR TABLE win;
});
$prefix = create_feed('win');
$pid = stops_at('chunk_read');
sql(q{
	UPDATE win SET n = nextval('seq') WHERE id = 1;
	UPDATE win SET n = nextval('seq') WHERE id = 3;
	DELETE FROM win WHERE id = 4;
	INSERT INTO win VALUES (10);
	UPDATE win SET id = 11, n = nextval('seq') WHERE id = 5;
	BEGIN;
	UPDATE win SET n = nextval('seq') WHERE id = 6;
	ROLLBACK;
});
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
published('f');
is(words_of("$prefix.win"), 'r1 u1 u3 d4 -4 c10 d5 -5 c11 r2 r6 r7 r8 r9', 'a change takes the place of a row, unless it has not all of it');
is_equal("$prefix.win", 'win', 'changed in a window', 1);

# those that the chunk's snapshot has seen: the worker is stopped between reading the WAL and reading the table
sql('CREATE TABLE seen (LIKE win INCLUDING ALL); INSERT INTO seen TABLE win');
$kafka->create_topic("$prefix.seen", 1);
stop_at('copy_listed');
sql('ALTER PUBLICATION win ADD TABLE seen');
$pid = stops_at('copy_listed');
sql(q{
	UPDATE seen SET n = nextval('seq') WHERE id = 1;
	UPDATE seen SET n = nextval('seq') WHERE id = 3;
	DELETE FROM seen WHERE id = 6;
	INSERT INTO seen VALUES (12);
	DELETE FROM seen WHERE id = 7;
	INSERT INTO seen VALUES (7);
});
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
published('f');
is_equal("$prefix.seen", 'seen', 'changed before, and published behind', 1);
is(words_of_key("$prefix.seen", 12), 'c12', 'a row that its own change has published is not sent again');
is(words_of_key("$prefix.seen", 2), 'r2', 'nor is one that nobody has changed');

# a table that is another: emptied, changed, of another key
my $redo = 0;
foreach (
	[ 'emptied', 'TRUNCATE %1$s; INSERT INTO %1$s VALUES (100)' ],
	[ 'changed', 'ALTER TABLE %1$s ADD more int DEFAULT 7; UPDATE %1$s SET more = 8 WHERE id = 1' ],
	[ 'of another key', 'ALTER TABLE %1$s DROP CONSTRAINT %1$s_pkey, ADD k int NOT NULL GENERATED ALWAYS AS IDENTITY; '
		  . 'ALTER TABLE %1$s ADD PRIMARY KEY (k, id); UPDATE %1$s SET n = 7 WHERE id = 1' ])
{
	my ($what, $ddl) = @$_;
	my $table = 'redo' . ++$redo;

	sql("CREATE TABLE $table (id int PRIMARY KEY, n int); INSERT INTO $table SELECT generate_series(1, 10)");
	$kafka->create_topic("$prefix.$table", 1);
	stop_at('chunk_read');
	sql("ALTER PUBLICATION win ADD TABLE $table");
	$pid = stops_at('chunk_read');
	sql(sprintf $ddl, $table);
	stop_at('');
	kill $_, $pid foreach qw(HUP CONT);
	published('f');
	is_equal("$prefix.$table", $table, "$what in a window");
	sql("DROP TABLE $table");
	wait_until($node, 'SELECT count(*) FROM kafka_sink.feed_copies', '2', 'and forgotten with the table');
}
sql("CREATE TABLE gone (id int PRIMARY KEY, n int); INSERT INTO gone SELECT generate_series(1, 10)");
$kafka->create_topic("$prefix.gone", 1);
stop_at('chunk_read');
sql('ALTER PUBLICATION win ADD TABLE gone');
$pid = stops_at('chunk_read');
sql('DROP TABLE gone');
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
published('f');
is(sql("SELECT state FROM kafka_sink.feeds"), 'running', 'a table that is dropped meanwhile');

# who holds a lock does not hold up changes
sql('CREATE TABLE locked (id int PRIMARY KEY, n int); INSERT INTO locked SELECT generate_series(1, 10010)');
$kafka->create_topic("$prefix.locked", 1);
my $session = $node->background_psql('postgres');
stop_at('chunk_read');
sql('ALTER PUBLICATION win ADD TABLE locked');
$pid = stops_at('chunk_read');
$session->query_safe('BEGIN; LOCK TABLE locked');
stop_at('');
my $records = sql('SELECT records FROM kafka_sink.stat_feeds');
kill $_, $pid foreach qw(HUP CONT);
wait_until($node, "SELECT records >= $records + 10000 FROM kafka_sink.stat_feeds", 't', 'a table that is locked between two chunks');
$records = sql('SELECT records FROM kafka_sink.stat_feeds');
sql('INSERT INTO win VALUES (200)');
wait_until($node, "SELECT records > $records FROM kafka_sink.stat_feeds", 't', 'does not hold up changes');
wait_until($node, "SELECT state || rows || message FROM kafka_sink.feed_copies WHERE relation = 'locked'::regclass",
	'copying10000canceling statement due to lock timeout', 'and waits');
$session->query_safe('COMMIT');
published('f');
is_equal("$prefix.locked", 'locked', 'until it is copied');

# nor does who rewrites it between two chunks make it look empty: it is locked before it is seen
sql('CREATE TABLE rewritten (id int PRIMARY KEY, n int); INSERT INTO rewritten SELECT generate_series(1, 10010)');
$kafka->create_topic("$prefix.rewritten", 1);
stop_at('chunk_read');
sql('ALTER PUBLICATION win ADD TABLE rewritten');
$pid = stops_at('chunk_read');
$session->query_safe('BEGIN; ALTER TABLE rewritten ALTER n TYPE bigint');
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
$session->query_safe(q{
	SET statement_timeout = '3min';
	DO $$BEGIN
		LOOP
			EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE relation = 'rewritten'::regclass AND NOT granted);
		END LOOP;
	END$$;
	COMMIT;
	RESET statement_timeout});
published('f');
is_equal("$prefix.rewritten", 'rewritten', 'a table that is rewritten meanwhile');

# who has changed a table before it was in the publication
sql("CREATE TABLE early (id int PRIMARY KEY, n int)");
$kafka->create_topic("$prefix.early", 1);
$session->query_safe('BEGIN; INSERT INTO early VALUES (1, 1)');
sql('ALTER PUBLICATION win ADD TABLE early');
wait_until($node, "SELECT count(*) FROM kafka_sink.feed_copies WHERE relation = 'early'::regclass", '1', 'a table that somebody is changing');
sql('INSERT INTO early VALUES (2, 2)');
my (undef, undef, $err) = $node->psql('postgres', "CALL kafka_sink.wait_for('f', timeout => '1 s')");
like($err, qr/timed out while waiting for feed "f"/, 'waits for him');
wait_until($node, "SELECT state || ': ' || message FROM kafka_sink.feed_copies WHERE relation = 'early'::regclass",
	'waiting: it waits for transactions that were open when it was found', 'which it tells');
$session->query_safe('COMMIT');
published('f');
is_equal("$prefix.early", 'early', 'and has his changes');

$session->quit;

# one without a key
$kafka->create_topic("$prefix.nokey", 1);
sql("ALTER PUBLICATION win SET (publish = 'insert'); ALTER PUBLICATION win ADD TABLE nokey");
published('f');
wait_until($node, "SELECT state || ': ' || message FROM kafka_sink.feed_copies WHERE relation = 'nokey'::regclass",
	'refused: table public.nokey has no key by which it could be copied', 'a table without a key is refused');
sql('INSERT INTO nokey VALUES (2)');
published('f');
is(scalar $kafka->records("$prefix.nokey"), 1, 'and its changes are published');
drop_feed();

# --- a key that is another where the table is read, and not yet where the WAL is ---

sql(q{
	CREATE TABLE keyed (a int PRIMARY KEY, b int NOT NULL, n int);
	INSERT INTO keyed SELECT i, 7 - i, 0 FROM generate_series(1, 6) i;
	CREATE PUBLICATION keyed FOR TABLE keyed;
});
stop_at('chunk_read');
$prefix = create_feed('keyed', ", envelope => 'none', batch_records => 3");
$pid = stops_at('chunk_read');
# (what is told of the table is known from then on)
sql('UPDATE keyed SET n = 1 WHERE a = 6');
stop_at('chunk_sent');
kill $_, $pid foreach qw(HUP CONT);
$pid = stops_at('chunk_sent');
sql('UPDATE keyed SET n = 2 WHERE a = 1; ALTER TABLE keyed DROP CONSTRAINT keyed_pkey, ADD PRIMARY KEY (b)');
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
published('f');
my %last = map { @$_ } records_of("$prefix.keyed");
is(join(' ', map { decode_json($last{$_})->{b} } sort keys %last), '1 2 3 4 5 6', 'a change by the former key takes the place of no row');
drop_feed();

# --- a commit that is published before others see it: its standby is waited for ---

stop_at('chunk_read');
$prefix = create_feed('two_of', ', batch_records => 100');
$pid = stops_at('chunk_read');
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
wait_until($node, 'SHOW synchronous_standby_names', 'nobody', 'nobody answers');
my $waiting = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'),
	'-c', 'SET synchronous_commit = on', '-c', "UPDATE big SET n = nextval('seq') WHERE id = 901" ], '<', \undef, '>', \my $out, '2>', \$err);
wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", '1', 'a commit that waits for a standby');
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
wait_until($node, 'SELECT transactions > 0 FROM kafka_sink.stat_feeds', 't', 'is published');
(undef, undef, $err) = $node->psql('postgres', "CALL kafka_sink.wait_for('f', timeout => '1 s')");
like($err, qr/timed out while waiting for feed "f".*, and tables are to be copied/s, 'and copying waits until it is seen');
wait_until($node, 'SELECT message FROM kafka_sink.feed_copies WHERE rows > 0', 'it waits for a commit that is published, and cannot be seen yet', 'which it tells');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$waiting->finish;
published('f');
is_equal("$prefix.big", 'big', 'which is behind it', 1);

# --- each window, killed, while others change the tables ---

my $script = PostgreSQL::Test::Utils::tempdir('load') . '/load.sql';
PostgreSQL::Test::Utils::append_to_file($script, <<'EOF2');
\set id random(1, 1100)
\set what random(1, 10)
\if :what < 7
UPDATE big SET n = nextval('seq') WHERE id = :id;
\elif :what < 9
INSERT INTO big VALUES (:id, nextval('seq'), 'new') ON CONFLICT (id) DO UPDATE SET n = excluded.n WHERE excluded.n > big.n;
\else
DELETE FROM big WHERE id = :id;
\endif
EOF2

for my $step (qw(copy_listed chunk_read chunk_sent progress_sent committed confirmed table_sent table_copied))
{
	drop_feed();
	stop_at($step eq 'copy_listed' ? $step : 'chunk_read');
	my $load = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', '2', '-T', '600', '--rate', '100', '-f', $script,
		'-d', $node->connstr('postgres') ], '<', \undef, '>', \my $pgbench_out, '2>', \my $pgbench_err);
	$prefix = create_feed('two_of', ', batch_records => 150');
	$pid = stops_at($step eq 'copy_listed' ? $step : 'chunk_read');
	if ($step !~ /^(?:copy_listed|chunk_read)$/)
	{
		stop_at($step);
		kill $_, $pid foreach qw(HUP CONT);
		$pid = stops_at($step);
	}
	stop_at('');
	kill_process($node, $pid, "killed at $step");
	published('f');
	# (it ends with the server that was killed)
	$load->kill_kill;
	published('f');
	is_equal("$prefix.$_", $_, "killed at $step: $_", 1) foreach qw(big small);
	is(sql("SELECT string_agg(state, ' ') FROM kafka_sink.feed_copies"), 'copied copied', 'all is copied');
	my %read;
	$read{$_->[0]}++ foreach grep { defined $_->[1] && $_->[1] =~ /"op":"r"/ && $_->[1] !~ /xxxx/ } records_of("$prefix.big");
	is_deeply([ grep { $read{$_} > 1 } keys %read ], [], "killed at $step: no row is read twice");
}

# --- stopped in the midst, and not wanted any more ---

drop_feed();
stop_at('chunk_read');
$prefix = create_feed('two_of', ', batch_records => 100');
$pid = stops_at('chunk_read');
kill $_, $pid foreach qw(HUP CONT);
$pid = stops_at('chunk_read');
sql("SELECT kafka_sink.pause('f')");
stop_at('');
kill $_, $pid foreach qw(HUP CONT);
wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'kafka_sink feed'", '0', 'paused in the midst');
like(copies(), qr/^big copying \d+, small waiting 0$/, 'some of it is copied');
sql("UPDATE big SET n = nextval('seq') WHERE id IN (1, 900)");
sql("SELECT kafka_sink.alter_feed('f', copy_data => false); SELECT kafka_sink.resume('f')");
published('f');
like(copies(), qr/^big copying \d+, small waiting 0$/, 'and no more');
# (the worker of before, which knows nothing of it, may be there for some time)
sql("SELECT kafka_sink.alter_feed('f', copy_data => true)");
published('f');
is(sql("SELECT count(*) FROM kafka_sink.feed_copies WHERE state = 'copied'"), '2', 'it is wanted again, and waited for');
is_equal("$prefix.$_", $_, "in parts: $_", 1) foreach qw(big small);
is(words_of_key("$prefix.small", 1), 'r1', 'each row once');

# another publication, and the former one is not there any more when a worker comes: what is in both is not copied again
sql("CREATE PUBLICATION instead FOR TABLE big, small; CALL kafka_sink.pause('f', true)");
sql(q{
	SELECT kafka_sink.alter_feed('f', publication => 'instead');
	DROP PUBLICATION two_of;
	UPDATE small SET n = nextval('seq') WHERE id = 1;
	SELECT kafka_sink.resume('f');
});
published('f');
is(words_of_key("$prefix.small", 1), 'r1 u1', 'by another publication: each row once');
sql("DROP PUBLICATION instead; SELECT pg_switch_wal()");
wait_until($node, "SELECT decoded_lsn >= pg_current_wal_lsn() FROM kafka_sink.stat_feeds", 't', 'without one nothing is copied');
is(sql("SELECT string_agg(state, ' ') FROM kafka_sink.feed_copies"), 'copied copied', 'and nothing is forgotten');
sql("CREATE PUBLICATION instead FOR TABLE big, small; CREATE PUBLICATION two_of FOR TABLE big, small; UPDATE small SET n = nextval('seq') WHERE id = 1");
published('f');
is(words_of_key("$prefix.small", 1), 'r1 u1 u1', 'nor copied again when it is there again');

# what was missed is copied with all else
sql("CALL kafka_sink.pause('f', true)");
sql("SELECT pg_drop_replication_slot(slot_name) FROM kafka_sink.feeds; UPDATE small SET n = nextval('seq') WHERE id = 1; SELECT kafka_sink.resume('f')");
wait_until($node, 'SELECT state FROM kafka_sink.feeds', 'halted', 'without its slot it halts');
sql("SELECT kafka_sink.accept_gap('f')");
wait_until($node, "SELECT count(*) FROM kafka_sink.feed_copies WHERE state = 'copied'", '2', 'all is copied again');
published('f');
is_equal("$prefix.$_", $_, "copied again: $_", 1) foreach qw(big small);
drop_feed();

# --- who may read it ---

sql(q{
	CREATE ROLE feeder LOGIN;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_feed TO feeder;
	GRANT USAGE ON FOREIGN SERVER kafka TO feeder;
	CREATE FUNCTION spy(i int) RETURNS boolean LANGUAGE plpgsql AS $$
		BEGIN IF session_user = 'feeder' THEN RAISE EXCEPTION 'code that is run as the owner of the feed'; END IF; RETURN true; END $$;
	CREATE DOMAIN spied AS int CHECK (spy(VALUE));
	CREATE TABLE secret (id spied PRIMARY KEY, n int);
	INSERT INTO secret SELECT generate_series(1, 10);
	CREATE PUBLICATION secret FOR TABLE secret;
});
$prefix = $kafka->topic('secret');
$kafka->create_topic("$prefix.secret", 1);
sql("SET ROLE feeder; SELECT kafka_sink.create_feed('f', server => 'kafka', publication => 'secret', topic => '$prefix.{table}', "
	  . "envelope => 'debezium', progress_topic => '$progress', copy_data => true, batch_records => 3)");
wait_until($node, "SELECT state || ' ' || message FROM kafka_sink.feeds", 'backoff permission denied for table public.secret',
	'a table that the owner may not read is not copied');
sql('GRANT SELECT ON secret TO feeder; ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE POLICY part ON secret USING (id < 5)');
wait_until($node, "SELECT state || ' ' || message FROM kafka_sink.feeds", 'backoff permission denied for table public.secret',
	'nor one of which he may see a part');
is(scalar $kafka->records("$prefix.secret"), 0, 'and nothing of it was');
sql('ALTER TABLE secret DISABLE ROW LEVEL SECURITY');
published('f');
is_equal("$prefix.secret", 'secret', 'and is when he may, without the code of others');

# code of the table's owner, that planning runs, has not the rights of the feed's
drop_feed();
sql(q{
	CREATE ROLE trapper;
	CREATE FUNCTION trap(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN IF current_user = 'feeder' THEN RAISE EXCEPTION 'code that is run as the owner of the feed'; END IF; RETURN i; END $$;
	CREATE TABLE trapped (id int PRIMARY KEY, n int);
	CREATE INDEX ON trapped ((id + trap(1)));
	INSERT INTO trapped SELECT generate_series(1, 10);
	ALTER TABLE trapped OWNER TO trapper;
	REVOKE SELECT ON trapped FROM trapper;
	GRANT SELECT ON trapped TO feeder;
	CREATE PUBLICATION trapped FOR TABLE trapped;
});
$prefix = $kafka->topic('trapped');
$kafka->create_topic("$prefix.trapped", 1);
sql("SET ROLE feeder; SELECT kafka_sink.create_feed('f', server => 'kafka', publication => 'trapped', topic => '$prefix.{table}', "
	  . "envelope => 'debezium', progress_topic => '$progress', copy_data => true, batch_records => 3)");
published('f');
is_equal("$prefix.trapped", 'trapped', "a table is read with its owner's rights");

# --- all tables, but not the extension's own ---

drop_feed();
$prefix = $kafka->topic('all');
$kafka->create_topic("$prefix.small", 1);
sql("CREATE PUBLICATION all_tables FOR ALL TABLES; SELECT kafka_sink.create_feed('f', server => 'kafka', publication => 'all_tables', "
	  . "topic => '$prefix.{table}', envelope => 'debezium', progress_topic => '$progress')");
published('f');
sql("SELECT kafka_sink.create_feed('other', server => 'kafka', progress_topic => '$progress', enabled => false); DELETE FROM small WHERE id = 2");
published('f');
is(words_of("$prefix.small"), 'd2 -2', "a secret of this extension's is not among all tables");
sql("SELECT kafka_sink.drop_feed('other')");
sql('TRUNCATE kafka_sink.feed_progress; BEGIN; TRUNCATE kafka_sink.feed_progress, small; INSERT INTO small VALUES (3); COMMIT');
published('f');
is(scalar(grep { !defined $_->[0] && $_->[1] =~ /"op":"t"/ } records_of("$prefix.small")), 1, 'nor that one was emptied');

# --- there and back ---

drop_feed();
sql(q{
	CREATE TABLE shop (id int PRIMARY KEY, n numeric, t text, ts timestamptz, j jsonb);
	CREATE TABLE shop_copy (LIKE shop INCLUDING ALL);
	CREATE PUBLICATION shop FOR TABLE shop;
	INSERT INTO shop SELECT i, i / 3.0, md5(i::text), '2026-01-01'::timestamptz + i * interval '1 s', jsonb_build_object('i', i) FROM generate_series(1, 500) i;
});
$prefix = create_feed('shop', ', batch_records => 70');
sql(qq{
	BEGIN;
	SELECT kafka_sink.create_sink('back', server => 'kafka', target => 'shop_copy', envelope => 'debezium', insert_mode => 'upsert',
		delete_enabled => true, on_tombstone => 'ignore');
	SELECT kafka_sink.register_topic('back', '$prefix.shop');
	COMMIT;
});
sql("UPDATE shop SET t = 'changed' WHERE id % 3 = 0; DELETE FROM shop WHERE id % 7 = 0");
published('f');
$kafka->settle("$prefix.shop");
sql("CALL kafka_sink.wait_for('back', timeout => '2 min')");
is(sql('SELECT count(*) FROM (TABLE shop EXCEPT TABLE shop_copy) d') . sql('SELECT count(*) FROM (TABLE shop_copy EXCEPT TABLE shop) d'), '00',
	'a sink makes the table of it');

done_testing();
