
=head1 NAME

KafkaSinkFeedLoad - transactions of all kinds, for feeds to publish

=head1 SYNOPSIS

  my $load = KafkaSinkFeedLoad->new(node => $node, kafka => $kafka, rate => 100);
  $load->start;                  # goes on while the server comes and goes
  $load->hold(1);                # for a while
  $load->stop;                   # returns when nobody writes any more
  my $ledger = $load->ledger;    # { rows => { xid => n }, messages => { xid => n } }

Two feeds: C<rows> publishes three tables in Debezium's envelope, and messages in
between; C<messages> publishes messages alone.  pgbench runs transactions that are small
and large, with savepoints, asynchronous, aborted, prepared, and such that change the
tables.

Each record has the number of its transaction, its own number in it, counted by feed
from 1, and how many there are.  What was committed is in the table C<ledger>, which is
written by the same transactions.  What is rolled back, be it a transaction or a
part of one, has the number -1.

The third record of a deletion has no value: it follows the second, whose C<before> is the
row as the same transaction has left it; so their numbers are the row's, and those
after it.  A row says how many columns its table had when it was written.

=cut

package KafkaSinkFeedLoad;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Utils;

use KafkaSinkTest;

our @EXPORT = qw(start_pgbench hold_pgbench stop_pgbench);

# Partitions by topic.
our %topics = (
	rows => { 'crash.plain' => 3, 'crash.whole' => 4, 'crash.parted' => 2, 'crash.events' => 3 },
	messages => { 'crash.one' => 1, 'crash.many' => 5 });

# Weights, and the transaction.
my %scripts = (
	small => [ 40, 'SELECT work(1 + (random() * 3)::int);' ],
	subs => [ 12, 'SELECT work(10 + (random() * 20)::int, true);' ],
	async => [ 12, "BEGIN;\nSET LOCAL synchronous_commit = off;\nSELECT work(3);\nCOMMIT;" ],
	aborted => [ 8, "BEGIN;\nSELECT work(5);\nROLLBACK;" ],
	savepoints => [ 10, join("\n", 'BEGIN;', 'SAVEPOINT a;', 'SELECT junk();', 'ROLLBACK TO a;', 'SELECT work(5);',
			'SAVEPOINT b;', 'SAVEPOINT c;', 'SELECT junk();', 'RELEASE c;', 'ROLLBACK TO b;', 'COMMIT;') ],
	prepared => [ 6, join("\n", '\set g random(1, 1000000000000)', 'BEGIN;', 'SELECT work(4);', "PREPARE TRANSACTION 'g:g';",
			'\if :g % 4 = 0', "ROLLBACK PREPARED 'g:g';", '\else', "COMMIT PREPARED 'g:g';", '\endif') ],
	large => [ 2, 'SELECT large(500 + (random() * 1500)::int);' ],
	ddl => [ 4, 'SELECT change();' ],
	within => [ 2, 'SELECT change_within();' ]);

my $schema = <<'EOSQL';
CREATE SEQUENCE ids;
CREATE TABLE plain (id bigint PRIMARY KEY DEFAULT nextval('ids'), xid bigint, i int, n int, cols int, pad text);
CREATE TABLE whole (LIKE plain INCLUDING ALL);
CREATE TABLE parted (LIKE plain INCLUDING ALL) PARTITION BY HASH (id);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE whole REPLICA IDENTITY FULL;
ALTER TABLE parted_0 REPLICA IDENTITY FULL;
ALTER TABLE parted_1 REPLICA IDENTITY FULL;
CREATE TABLE ledger (xid bigint PRIMARY KEY, rows int NOT NULL, messages int NOT NULL);
CREATE PUBLICATION load FOR TABLE plain, whole, parted WITH (publish_via_partition_root = true);

CREATE FUNCTION count_columns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	new.cols := (SELECT count(*) FROM pg_attribute WHERE attrelid = tg_relid AND attnum > 0 AND NOT attisdropped);
	RETURN new;
END $$;
CREATE TRIGGER cols BEFORE INSERT OR UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION count_columns();
CREATE TRIGGER cols BEFORE INSERT OR UPDATE ON whole FOR EACH ROW EXECUTE FUNCTION count_columns();
CREATE TRIGGER cols BEFORE INSERT OR UPDATE ON parted_0 FOR EACH ROW EXECUTE FUNCTION count_columns();
CREATE TRIGGER cols BEFORE INSERT OR UPDATE ON parted_1 FOR EACH ROW EXECUTE FUNCTION count_columns();

CREATE FUNCTION me() RETURNS bigint LANGUAGE sql AS 'SELECT pg_current_xact_id()::text::bigint';
CREATE FUNCTION some_key() RETURNS text LANGUAGE sql AS $$SELECT CASE WHEN random() < 0.9 THEN (random() * 50)::int::text END$$;
CREATE FUNCTION say(feed text, i int, n int) RETURNS void LANGUAGE sql AS $$
	SELECT kafka_sink.emit(feed, CASE WHEN feed = 'rows' THEN 'crash.events' WHEN random() < 0.4 THEN 'crash.one' ELSE 'crash.many' END,
		some_key(), format('{"xid":%s,"i":%s,"n":%s,"pad":"%s"}', me(), i, n, repeat('y', (random() * 200)::int)))$$;

-- what is not to be seen; rows are others than those of work(): where a transaction holds one
-- that a savepoint of it has changed in vain, an assert of the server's own fails (heap_update())
CREATE FUNCTION junk() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO plain (xid, i, n) SELECT me(), -1, -1 FROM generate_series(1, 1 + (random() * 20)::int);
	UPDATE whole SET i = -1 WHERE id IN (SELECT id FROM whole WHERE id % 7 = 0 LIMIT 2 FOR UPDATE SKIP LOCKED);
	PERFORM say('rows', -1, -1), say('messages', -1, -1);
END $$;

-- one step; returns the number of the last record
CREATE FUNCTION act(kind text, tab text, id bigint, i int, n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	CASE kind
		WHEN 'insert' THEN
			EXECUTE format('INSERT INTO %I (xid, i, n, pad) VALUES ($1, $2, $3, repeat(''x'', (random() * 300)::int))', tab) USING me(), i + 1, n;
			RETURN i + 1;
		WHEN 'emit' THEN
			PERFORM say('rows', i + 1, n);
			RETURN i + 1;
		ELSE
			EXECUTE format('UPDATE %I SET xid = $1, i = $2, n = $3 WHERE id = $4', tab) USING me(), i + 1, n, id;
			IF kind = 'delete' THEN
				EXECUTE format('DELETE FROM %I WHERE id = $1', tab) USING id;
				RETURN i + 3;
			ELSIF kind = 'rekey' THEN
				EXECUTE format('UPDATE %I SET id = nextval(''ids''), i = $1 WHERE id = $2', tab) USING i + 4, id;
				RETURN i + 4;
			END IF;
			RETURN i + 1;
	END CASE;
END $$;

-- first what is to be done, and how many records that will be; then it
CREATE FUNCTION work(steps int, subs boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	kinds text[];
	tabs text[];
	used bigint[] := '{0}';
	kind text;
	tab text;
	found_id bigint;
	n int := 0;
	messages int := 0;
	i int := 0;
	m int := 0;
BEGIN
	FOR s IN 1 .. steps LOOP
		kind := (ARRAY['insert', 'insert', 'update', 'delete', 'rekey', 'emit', 'message', 'message'])[1 + floor(random() * 8)];
		tab := (ARRAY['whole', 'parted', 'plain'])[1 + floor(random() * CASE WHEN kind IN ('delete', 'rekey') THEN 2 ELSE 3 END)];
		found_id := NULL;
		IF kind IN ('update', 'delete', 'rekey') THEN
			EXECUTE format('SELECT id FROM %I WHERE id > $1 AND id %% 7 <> 0 AND id <> ALL ($2) ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED', tab)
				INTO found_id USING (SELECT (random() * last_value)::bigint FROM ids), used;
			kind := CASE WHEN found_id IS NULL THEN 'insert' ELSE kind END;
		END IF;
		kinds := kinds || kind;
		tabs := tabs || tab;
		used := used || coalesce(found_id, 0);
		n := n + CASE kind WHEN 'delete' THEN 3 WHEN 'rekey' THEN 4 WHEN 'message' THEN 0 ELSE 1 END;
		messages := messages + (kind = 'message')::int;
	END LOOP;
	INSERT INTO ledger VALUES (me(), n, messages);
	FOR s IN 1 .. steps LOOP
		IF subs AND random() < 0.3 THEN
			BEGIN
				PERFORM junk();
				RAISE SQLSTATE 'ZZ001';
			EXCEPTION WHEN SQLSTATE 'ZZ001' THEN NULL;
			END;
		END IF;
		IF kinds[s] = 'message' THEN
			m := m + 1;
			PERFORM say('messages', m, messages);
		ELSIF subs AND random() < 0.5 THEN
			BEGIN
				i := act(kinds[s], tabs[s], used[s + 1], i, n);
			EXCEPTION WHEN SQLSTATE 'ZZ001' THEN NULL;
			END;
		ELSE
			i := act(kinds[s], tabs[s], used[s + 1], i, n);
		END IF;
	END LOOP;
END $$;

CREATE FUNCTION large(k int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO ledger VALUES (me(), 2 * k, k);
	INSERT INTO plain (xid, i, n, pad) SELECT me(), g, 2 * k, repeat('x', 300) FROM generate_series(1, k) g;
	PERFORM say('rows', k + g, 2 * k), say('messages', g, k) FROM generate_series(1, k) g;
END $$;

-- DDL gives up before it holds others up for long
CREATE FUNCTION change() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	tab text := (ARRAY['plain', 'whole', 'parted'])[1 + floor(random() * 3)];
BEGIN
	SET LOCAL lock_timeout = '100 ms';
	CASE floor(random() * 6)
		WHEN 0, 1 THEN EXECUTE format('ALTER TABLE %I ADD COLUMN IF NOT EXISTS extra int DEFAULT 7', tab);
		WHEN 2, 3 THEN EXECUTE format('ALTER TABLE %I DROP COLUMN IF EXISTS extra', tab);
		WHEN 4 THEN EXECUTE format('ALTER TABLE %I ALTER COLUMN pad TYPE %s', tab, CASE WHEN random() < 0.5 THEN 'varchar' ELSE 'text' END);
		ELSE
			-- written anew
			EXECUTE format('ALTER TABLE %I ALTER COLUMN n TYPE %s', CASE tab WHEN 'plain' THEN 'whole' ELSE tab END,
				CASE WHEN random() < 0.5 THEN 'bigint' ELSE 'int' END);
	END CASE;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN NULL;
END $$;

CREATE FUNCTION change_within() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL lock_timeout = '100 ms';
	INSERT INTO ledger VALUES (me(), 3, 0);
	PERFORM act('insert', 'plain', NULL, 0, 3);
	ALTER TABLE plain ADD COLUMN IF NOT EXISTS within text DEFAULT 'w';
	PERFORM act('insert', 'plain', NULL, 1, 3);
	ALTER TABLE plain DROP COLUMN within;
	PERFORM act('insert', 'plain', NULL, 2, 3);
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN NULL;
END $$;
EOSQL

sub new
{
	my ($class, %opts) = @_;
	my $self = bless { rate => 100, clients => 4, %opts }, $class;

	my $dir = PostgreSQL::Test::Utils::tempdir('load');
	$self->{node}->safe_psql('postgres', $schema);
	foreach my $name (sort keys %scripts)
	{
		append_to_file("$dir/$name.sql", "$scripts{$name}[1]\n");
		push @{ $self->{scripts} }, '-f', "$dir/$name.sql\@$scripts{$name}[0]";
	}
	return $self;
}

=item start_pgbench($node, @args), hold_pgbench($pgbench, $hold), stop_pgbench($pgbench)

pgbench until it is stopped.  A client that loses its connection ends, and with the last one
pgbench: then another follows, as it does every three seconds in any case, unless it is held.

=cut

sub start_pgbench
{
	my ($node, @args) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('pgbench');
	my $run = IPC::Run::start(
		[
			'setpriv', '--pdeathsig', 'KILL', 'sh', '-c', 'dir=$1; shift; until [ -e "$dir/stop" ]; do { [ ! -e "$dir/hold" ] && "$@"; } || sleep 0.1; done',
			'sh', $dir, $node->installed_command('pgbench'), '-n', '-T', '3', @args,
			'-h', $node->host, '-p', $node->port, 'postgres'
		],
		'<', \'', '>', "$dir/log", '2>&1');

	return { run => $run, dir => $dir };
}

sub hold_pgbench
{
	my ($pgbench, $hold) = @_;

	if ($hold) { append_to_file("$pgbench->{dir}/hold", ''); }
	else { unlink "$pgbench->{dir}/hold"; }
	return;
}

sub stop_pgbench
{
	my ($pgbench) = @_;

	append_to_file("$pgbench->{dir}/stop", '');
	$pgbench->{run}->finish;
	return;
}

sub start
{
	my ($self) = @_;

	$self->{pgbench} = start_pgbench($self->{node}, '-c', $self->{clients}, '-R', $self->{rate}, @{ $self->{scripts} });
	return;
}

# Whether it is to wait, until feeds that are slow have caught up.
sub hold { my ($self, $hold) = @_; return hold_pgbench($self->{pgbench}, $hold); }

sub stop
{
	my ($self) = @_;

	stop_pgbench($self->{pgbench});
	$self->resolve(0);
	return;
}

# Prepared transactions whose session is gone; each is committed, or not.
sub resolve
{
	my ($self, $seconds) = @_;
	my $gids = try_sql($self->{node}, "SELECT gid FROM pg_prepared_xacts WHERE prepared <= now() - interval '$seconds s'") // return;

	foreach (split /\n/, $gids)
	{
		try_sql($self->{node}, (rand() < 0.5 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$_'");
	}
	return;
}

sub ledger
{
	my ($self) = @_;
	my %ledger = (rows => {}, messages => {});

	foreach (split /\n/, $self->{node}->safe_psql('postgres', 'SELECT xid, rows, messages FROM ledger'))
	{
		my ($xid, $rows, $messages) = split /\|/;

		$ledger{rows}{$xid} = $rows if $rows > 0;
		$ledger{messages}{$xid} = $messages if $messages > 0;
	}
	return \%ledger;
}

1;
