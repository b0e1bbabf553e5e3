# Foreign keys, checked for a batch at once by the fast path, against the server's
# own triggers: the same rows of the other table are locked, and what others do to
# them at the same time has the same outcome.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $seed = $ENV{KAFKA_SINK_SEED} // int(rand(2**31));

note "KAFKA_SINK_SEED=$seed";
srand($seed);

my $node = new_node('main', conf => <<'EOC');
fsync = off
kafka_sink.enabled = off
autovacuum = off
EOC
my $dir = PostgreSQL::Test::Utils::tempdir('scripts');
my $scripts = 0;
my @ways = qw(on off);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Two tables that refer to two others, one by two columns, for each way.
sub create
{
	foreach my $way (@ways)
	{
		sql(qq{
			DROP SCHEMA IF EXISTS way_$way CASCADE;
			CREATE SCHEMA way_$way;
			SET search_path = way_$way;
			SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks WHERE sink LIKE '%_$way';
			CREATE TABLE parent (id int PRIMARY KEY, v int);
			CREATE TABLE pairs (a text COLLATE "C", b numeric, UNIQUE (b, a));
			CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent, a text COLLATE "C", b numeric,
				FOREIGN KEY (a, b) REFERENCES pairs (a, b));
			INSERT INTO parent SELECT i, 0 FROM generate_series(0, 29) i;
			INSERT INTO pairs SELECT a, b FROM unnest('{x,y,z}'::text[]) a, generate_series(0, 9) b;
			SELECT kafka_sink.create_sink('insert_$way', target => 'way_$way.child');
			SELECT kafka_sink.create_sink('upsert_$way', target => 'way_$way.child', insert_mode => 'upsert', delete_enabled => true);
		});
	}
	return;
}

# What a way's session says before all else, and a call for records, each [key, value].
sub settings { return "SET search_path = way_$_[0]; SET kafka_sink.fast_path = $_[0]; SET client_min_messages = debug1;\n"; }

sub ingest
{
	my ($sink, $way, @records) = @_;

	return "SELECT 'done', * FROM kafka_sink.ingest('${sink}_$way', ARRAY["
	  . join(', ', map { "ROW(NULL, NULL, NULL, NULL, '$_->[0]', " . (defined $_->[1] ? "'$_->[1]'" : 'NULL') . ", NULL)::kafka_sink.record" } @$_)
	  . "]);\n"
	  foreach [@records];
}

sub row
{
	my ($id, $p, $a, $b) = @_;
	return [ $id, qq({"id": $id, "p": $p, "a": $a, "b": $b}) ];
}

# The rows that somebody holds FOR KEY SHARE, or more.
sub locked
{
	my ($way) = @_;

	return join '; ', map {
		sql("SET search_path = way_$way; SELECT coalesce(string_agg(x::text, ' ' ORDER BY x), '') FROM (TABLE $_ EXCEPT SELECT * FROM (SELECT * FROM $_ FOR UPDATE SKIP LOCKED) free) x")
	} qw(parent pairs);
}

# Nobody holds more than that.
sub too_much
{
	my ($way) = @_;
	return sql("SET search_path = way_$way; SELECT count(*) FROM (TABLE parent EXCEPT SELECT * FROM (SELECT * FROM parent FOR NO KEY UPDATE SKIP LOCKED) free) x");
}

sub rows { return sql("SELECT string_agg(t::text, ' ' ORDER BY id) FROM way_$_[0].child t"); }

# What a script prints, without what tells the ways apart; and whether rows went by SQL.
sub told
{
	my ($text) = @_;
	my @by = $text =~ /applied \d+ of \d+ records (without|by) SQL/g;
	my @lines = map { s/^psql:\S+ //r } grep { /^(done|psql:.*ERROR|.*ERROR:)/ } split /\n/, $text;

	return (join("\n", map { s/_(on|off)\b/_WAY/gr } @lines), $by[-1] // 'not');
}

# --- which rows are locked ---

create();
my %by;
my @numbers = (0 .. 40);

foreach my $round (1 .. 20)
{
	my $bad = $round % 5 == 0;
	my $sink = $round % 3 == 0 ? 'insert' : 'upsert';
	my $id = 1000 * $round;
	my %last;
	my @records = map {
		my $key = $sink eq 'insert' ? $id++ : int rand 40;
		my $p = rand() < 0.2 ? 'null' : $bad && rand() < 0.05 ? 77 : int rand 30;
		my ($a, $b) = (rand() < 0.2 ? 'null' : '"' . (qw(x y z))[ rand 3 ] . '"', rand() < 0.2 ? 'null' : int(rand 10) . (rand() < 0.3 ? '.00' : ''));

		# most rows that are there keep what they have
		$last{$key} = rand() < 0.1 && $sink eq 'upsert' ? [ $key, undef ] : row($key, rand() < 0.5 ? $key % 30 : $p, rand() < 0.5 ? ('"x"', $key % 10) : ($a, $b))
	} 1 .. 1 + int rand 60;
	my (%said, %locked);

	foreach my $way (@ways)
	{
		my $session = $node->background_psql('postgres', on_error_stop => 0);

		$session->query_safe("SET search_path = way_$way; SET kafka_sink.fast_path = $way; BEGIN");
		my $out = $session->query(ingest($sink, $way, @records) =~ s/\n//r);
		my $err = $session->{stderr} // '';
		$said{$way} = (told("$out\n$err"))[0];
		$locked{$way} = locked($way);
		is(too_much($way), '0', "round $round: no more than that") if $way eq 'on';
		$session->query($said{$way} =~ /^done/ ? 'COMMIT' : 'ROLLBACK');
		$session->quit;
	}
	is($said{on}, $said{off}, "round $round, $sink: the same is said");
	is($locked{on}, $locked{off}, "round $round: the same rows are locked");
	is(rows('on'), rows('off'), "round $round: the same rows are there");
}

# --- others at work on the rows that are referred to ---

# Ours waits for somebody who has begun, if it must; then that one ends.
sub meet
{
	my ($way, $does, $end, $waits, $sink, $isolation) = @_;
	my $rival = $node->background_psql('postgres');
	my $file = "$dir/" . $scripts++;
	my $out = '';

	$rival->query_safe("SET search_path = way_$way; BEGIN");
	PostgreSQL::Test::Utils::append_to_file($file, settings($way) . "BEGIN$isolation; SELECT 1;\n" . ingest($sink, $way, row(5000, 3, '"x"', 1), row(5001, 4, 'null', 1))
		  . "SELECT pg_advisory_lock(1);\nCOMMIT;\nSELECT pg_advisory_lock(1);\n");
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	$rival->query_safe($does);
	my $ours = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-F', ' ', '-d', $node->connstr('postgres'), '-f', $file ],
		'<', '/dev/null', '>&', \$out);
	# for the rival, or for the gate
	my $blocker = sub {
		my ($session) = @_;
		return q{SELECT count(*) > 0 FROM pg_stat_activity WHERE } . $session->query_safe('SELECT pg_backend_pid()') . ' = ANY (pg_blocking_pids(pid))';
	};
	if ($waits)
	{
		$node->poll_query_until('postgres', $blocker->($rival)) or die 'ours does not wait';
		$rival->query_safe($end);
	}
	$node->poll_query_until('postgres', $blocker->($gate)) or die 'ours does not come to its end';
	$rival->query_safe($end) unless $waits;
	my $locked = locked($way);
	$gate->quit;
	$ours->finish;
	$rival->quit;
	my ($said, $by) = told($out);
	sql("DELETE FROM way_$way.child WHERE id >= 5000; UPDATE way_$way.parent SET id = 3 WHERE id = 103; INSERT INTO way_$way.parent VALUES (3, 0) ON CONFLICT DO NOTHING");
	return ($said, $locked, $by);
}

my %does = (
	'deletes it' => [ 'DELETE FROM child WHERE p = 3; DELETE FROM parent WHERE id = 3', 1 ],
	'changes its key' => [ 'UPDATE child SET p = NULL WHERE p = 3; UPDATE parent SET id = 103 WHERE id = 3', 1 ],
	'changes something else' => [ 'UPDATE parent SET v = v + 1 WHERE id = 3', 0 ],
	'locks it' => [ 'SELECT FROM parent WHERE id = 3 FOR UPDATE', 1 ],
	'refers to it' => [ q{INSERT INTO child VALUES (6000, 3, 'x', 1)}, 0 ]);

foreach my $does (sort keys %does)
{
	foreach my $end (qw(COMMIT ROLLBACK))
	{
		foreach my $isolation ('', ' ISOLATION LEVEL REPEATABLE READ')
		{
			my %got;

			create();
			$got{$_} = [ meet($_, @{ $does{$does} }[0], $end, @{ $does{$does} }[1], 'upsert', $isolation) ] foreach @ways;
			is($got{on}[0], $got{off}[0], "somebody $does, $end$isolation: the same is said");
			is($got{on}[1], $got{off}[1], "somebody $does, $end$isolation: the same rows are locked");
			is("$got{on}[2] $got{off}[2]", 'without by', "somebody $does, $end$isolation: without SQL")
			  if $end eq 'ROLLBACK' || $does !~ /deletes|key/;
		}
	}
}

# --- what the triggers' query is, ours is ---

# A script by both ways.
sub both
{
	my ($what, $script, %expected) = @_;
	my %got;

	foreach my $way (@ways)
	{
		my ($ret, $out, $err) = $node->psql('postgres', settings($way) . $script->($way), extra_params => [ '-F', ' ' ], on_error_stop => 0);
		$got{$way} = [ told("$out\n$err") ];
	}
	is($got{on}[0], $got{off}[0], "$what: the same is said");
	like($got{on}[0], $expected{like}, "$what: what is expected") if $expected{like};
	is($got{on}[1], $expected{by}, "$what: $expected{by} SQL") if $expected{by};
	return;
}

my @pair = (row(1, 3, '"x"', 1), row(2, 3, '"y"', 2));

create();
both('a plain batch', sub { ingest('insert', $_[0], @pair) }, like => qr/^done/, by => 'without');
both('one key is missing', sub { ingest('upsert', $_[0], row(1, 3, '"x"', 1), row(2, 99, '"x"', 1)) }, like => qr/violates foreign key/);
both('one of two columns is missing', sub { ingest('upsert', $_[0], row(1, 3, '"x"', 99)) }, like => qr/violates foreign key/);
both('a replica checks nothing', sub { "SET session_replication_role = replica;\n" . ingest('upsert', $_[0], row(3, 99, '"x"', 99)) }, like => qr/^done/);
both('what is left of that is not checked again', sub { ingest('upsert', $_[0], row(3, 99, '"x"', 99)) }, like => qr/^done/, by => 'without');
both('a row of the same transaction', sub { "BEGIN; INSERT INTO parent VALUES (50, 0);\n" . ingest('upsert', $_[0], row(4, 50, 'null', 1)) . 'COMMIT;' }, like => qr/^done/, by => 'without');
both('a row that the transaction has deleted', sub { "BEGIN; DELETE FROM parent WHERE id = 29;\n" . ingest('upsert', $_[0], row(5, 29, 'null', 1)) . 'ROLLBACK;' }, like => qr/violates foreign key/);
sql("REINDEX TABLE CONCURRENTLY way_$_.parent") foreach @ways;
both('a new index', sub { ingest('upsert', $_[0], row(6, 3, '"x"', 1)) }, like => qr/^done/, by => 'without');
sql("CREATE ROLE owner_$_; GRANT USAGE ON SCHEMA way_$_ TO owner_$_; ALTER TABLE way_$_.parent OWNER TO owner_$_; REVOKE UPDATE ON way_$_.parent FROM owner_$_") foreach @ways;
both('an owner who may not lock', sub { ingest('upsert', $_[0], row(7, 4, '"x"', 1)) }, like => qr/permission denied/);
sql("GRANT UPDATE ON way_$_.parent TO owner_$_; ALTER TABLE way_$_.parent ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY") foreach @ways;
both('row security of the other table', sub { ingest('upsert', $_[0], row(8, 5, '"x"', 1)) }, like => qr/^done/, by => 'without');
sql("ALTER TABLE way_$_.child ALTER CONSTRAINT child_p_fkey DEFERRABLE") foreach @ways;
both('a constraint that may be deferred', sub { ingest('upsert', $_[0], row(9, 6, '"x"', 1)) }, like => qr/^done/, by => 'by');
sql("ALTER TABLE way_$_.child DROP CONSTRAINT child_p_fkey, ADD FOREIGN KEY (p) REFERENCES way_$_.parent NOT VALID; ALTER TABLE way_$_.child DISABLE TRIGGER ALL") foreach @ways;
both('triggers that are off', sub { ingest('upsert', $_[0], row(10, 999, '"x"', 1)) }, like => qr/^done/, by => 'by');

# --- a table that others refer to ---

foreach my $way (@ways)
{
	sql(qq{
		SELECT kafka_sink.create_sink('up_$way', target => 'way_$way.parent', insert_mode => 'upsert', delete_enabled => true);
		SELECT kafka_sink.create_sink('in_$way', target => 'way_$way.parent');
		ALTER TABLE way_$way.parent OWNER TO postgres, DISABLE ROW LEVEL SECURITY;
		TRUNCATE way_$way.child;
		ALTER TABLE way_$way.child ENABLE TRIGGER ALL;
		INSERT INTO way_$way.child VALUES (1, 3);
	});
}
both('it is inserted into', sub { ingest('in', $_[0], [ 200, '{"id": 200, "v": 1}' ]) }, like => qr/^done/, by => 'without');
both('it is updated', sub { ingest('up', $_[0], [ 3, '{"id": 3, "v": 1}' ], [ 4, '{"id": 4, "v": 1}' ]) }, like => qr/^done/, by => 'without');
both('what nothing refers to is deleted', sub { ingest('up', $_[0], [ 200, undef ], [ 4, '{"id": 4, "v": 2}' ]) }, like => qr/^done/, by => 'by');
both('what is referred to is deleted', sub { ingest('up', $_[0], [ 3, undef ]) }, like => qr/violates foreign key/);

done_testing();
