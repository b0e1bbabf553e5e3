# A snapshot that is held for long (a dump, a replication slot).  Each move leaves a
# version of its row behind, which nothing may clean up as long as the snapshot can
# see it: some 400 pages of them, each with an entry in the index of the key.  What
# a move touches must not grow with them.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;

# (tables that are analyzed have statements planned anew, which touches pages, too)
my $node = new_node('main', conf => "autovacuum = off\n");

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $dump = $node->background_psql('postgres');

# Pages that this many moves touch, each in a transaction of its own, the most that
# one does; in this many sessions.  The first statement of a session has catalogs
# to look into, so it is about another row.
sub pages
{
	my ($sessions, $moves, $call) = @_;
	my $most = 0;

	foreach my $session (1 .. $sessions)
	{
		my $script = sql(q{SELECT format('SELECT kafka_sink.advance(%L, %L, 1, %s, %s);', 'ledger', 't', off, off + 1)
			FROM kafka_sink.txn_offsets WHERE sink = 'ledger' AND part = 1}) . "\n";
		my $off = sql(q{SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'ledger' AND part = 0});

		$script .= sprintf("EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT $call;\n", $off++, $off)
			foreach 1 .. $moves;
		# of a plan the first line with it is the sum, and what planning touches comes after it
		foreach my $plan (split /^\[$/m, sql($script))
		{
			my ($hit) = $plan =~ /"Shared Hit Blocks": (\d+)/ or next;
			my ($read) = $plan =~ /"Shared Read Blocks": (\d+)/;

			$most = $hit + $read if $hit + $read > $most;
		}
	}
	return $most;
}

my $advance = q{kafka_sink.advance('ledger', 't', 0, %d, %d)};
my $claim = q{kafka_sink.claim('ledger', 't', 0, %d, %d)};

sql(q{SELECT kafka_sink.create_sink('ledger'); SELECT kafka_sink.advance('ledger', 't', p, NULL, 0) FROM generate_series(0, 1) p});
$dump->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM kafka_sink.txn_offsets');
# more than a page of versions, so that a row leaves its page among them
my %first = (moves => pages(1, 100, $advance), advance => pages(3, 1, $advance), claim => pages(3, 1, $claim));
sql(q{DO $$
	DECLARE at bigint := (SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'ledger' AND part = 0);
	BEGIN
		FOR i IN 0 .. 19999 LOOP
			PERFORM kafka_sink.advance('ledger', 't', 0, at + i, at + i + 1);
			COMMIT;
		END LOOP;
	END$$});
cmp_ok(sql(q{SELECT pg_relation_size('kafka_sink.txn_offsets') / 8192}), '>', 300, 'old versions are still there');
my %then = (moves => pages(1, 100, $advance), advance => pages(3, 1, $advance), claim => pages(3, 1, $claim));
foreach my $what (sort keys %first)
{
	cmp_ok($first{$what}, '>', 0, "$what touches pages ($first{$what})");
	cmp_ok($then{$what}, '<', $first{$what} + 30, "$what touches no more of them under a snapshot that is held ($then{$what})");
}
is(sql(q{SET enable_seqscan = off; SELECT count(*) FROM kafka_sink.txn_offsets WHERE sink = 'ledger' AND topic = 't' AND part = 0}), 1, 'one row, by its key');
is(sql(q{SET enable_indexscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM kafka_sink.txn_offsets WHERE sink = 'ledger'}), 2, 'and by looking at all');
my ($rc, $out, $err) = $node->psql('postgres', q{INSERT INTO kafka_sink.txn_offsets (sink, topic, part, off, start_off) VALUES ('ledger', 't', 0, 0, 0)});
like($err, qr/duplicate key value violates unique constraint "txn_offsets_pkey"/, 'it cannot be made twice');
sql(q{CREATE EXTENSION amcheck; SELECT bt_index_check('kafka_sink.txn_offsets_pkey', true)});
$dump->quit;

done_testing();
