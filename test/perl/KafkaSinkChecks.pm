
=head1 NAME

KafkaSinkChecks - what must hold during a campaign, and after it

=head1 DESCRIPTION

The campaign's tables C<ins>, C<heap>, C<nap> and C<hand> have a row for each record, with its
topic, partition and offset; C<ups> has one for each id of a topic, with those
of its last record.  C<chain> has the moves of C<txn_offsets>.

A topic is of a kind: C<plain>, each offset is a record; C<tx>, written in
transactions, some aborted; C<kv>, compacted all along.  What was produced is
in a file per topic, as F<test/tools/kfk.c> writes it (run_gen), what no reader
of committed records sees in another.

A violation is a line of words; none is success.

=cut

package KafkaSinkChecks;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use POSIX ();
use Time::HiRes qw(time sleep);
use PostgreSQL::Test::Utils;

use KafkaSinkTest;

my $reader;

# a test that dies must not leave its reader behind
END { kill 'KILL', $reader if $reader; }

=head1 THE READER

What one snapshot must show (I5): the tables hold what the offsets say.  For
the upserts: the last record of each partition, and the fold of the last records
wherever the snapshot has them in C<ins> (not where C<ins> may have records that
were compacted before C<ups> came to them).

Large tables are looked at in parts: an m-th of the partitions, and all of
C<heap>, which has no index, every m-th time.  The next snapshot is taken when
the sink has moved on; a worker that does not come within 2 s ends the session.

=cut

my $snapshot_check = q{
	SELECT clock_timestamp() AS began \gset
	SELECT 1 + (coalesce(sum(consumed), 0) / 1000000)::int AS m FROM kafka_sink.txn_offsets WHERE sink = 'ins' \gset
	SELECT (random() * 1000)::int % :m AS r, (random() * :m)::int < 1 AS whole \gset
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT 'VIOLATION I5 ins ' || o.topic || '/' || o.part || ': ' || o.consumed || ' records up to ' || o.off
		|| ', rows ' || t.n || ' up to ' || coalesce(t.max, -1) || ', sum ' || coalesce(t.sum, 0)
	  FROM kafka_sink.txn_offsets o,
	       LATERAL (SELECT count(*) AS n, max(off), sum(off) FROM ins i WHERE i.topic = o.topic AND i.part = o.part) t
	 WHERE o.sink = 'ins' AND o.part % :m = :r
	   AND (t.n <> o.consumed OR t.max IS DISTINCT FROM o.last_off OR o.last_off >= o.off
	        OR (o.gaps = 0 AND 2 * t.sum <> o.consumed * (o.start_off + o.last_off)));
	\if :whole
	SELECT 'VIOLATION I5 heap ' || o.topic || '/' || o.part || ': ' || o.consumed || ' records up to ' || o.off
		|| ', rows ' || coalesce(t.n, 0) || ' up to ' || coalesce(t.max, -1) || ', sum ' || coalesce(t.sum, 0)
	  FROM kafka_sink.txn_offsets o
	  LEFT JOIN (SELECT topic, part, count(*) AS n, max(off), sum(off) FROM heap GROUP BY topic, part) t USING (topic, part)
	 WHERE o.sink = 'heap'
	   AND (coalesce(t.n, 0) <> o.consumed OR t.max IS DISTINCT FROM o.last_off OR o.last_off >= o.off
	        OR (o.gaps = 0 AND 2 * t.sum <> o.consumed * (o.start_off + o.last_off)));
	\endif
	SELECT 'VIOLATION I5 ' || o.sink || ' ' || o.topic || '/' || o.part || ': ' || o.consumed || ' records up to ' || o.off
		|| ', rows ' || coalesce(t.n, 0) || ' up to ' || coalesce(t.max, -1)
	  FROM kafka_sink.txn_offsets o
	  LEFT JOIN (SELECT 'nap' AS sink, topic, part, count(*) AS n, max(off) FROM nap GROUP BY topic, part
	             UNION ALL SELECT 'hand', topic, part, count(*), max(off) FROM hand GROUP BY topic, part) t USING (sink, topic, part)
	 WHERE o.sink IN ('nap', 'hand')
	   AND (coalesce(t.n, 0) <> o.consumed OR t.max IS DISTINCT FROM o.last_off OR o.last_off >= o.off OR o.gaps > 0);
	SELECT 'VIOLATION I5 ups ' || o.topic || '/' || o.part || ': last record ' || coalesce(o.last_off, -1)
		|| ', last row ' || coalesce(u.max, -1)
	  FROM kafka_sink.txn_offsets o
	  LEFT JOIN (SELECT topic, part, max(off) FROM ups GROUP BY topic, part) u USING (topic, part)
	 WHERE o.sink = 'ups' AND (u.max IS DISTINCT FROM o.last_off OR o.last_off >= o.off);
	SELECT 'VIOLATION I5 ups ' || topic || '/' || part || ': ' || count(*) || ' keys are not the fold of the log'
	  FROM (SELECT DISTINCT ON (i.topic, i.id) i.topic, i.part, i.id, i.off, i.qty
	          FROM kafka_sink.txn_offsets o
	          JOIN kafka_sink.txn_offsets oi ON oi.sink = 'ins' AND oi.topic = o.topic AND oi.part = o.part AND oi.off >= o.off
	          JOIN ins i ON i.topic = o.topic AND i.part = o.part AND i.off >= o.off - 50 AND i.off < o.off
	         WHERE o.sink = 'ups' AND o.topic <> ALL (:'compacted'::text[]) AND o.part % :m = :r
	         ORDER BY i.topic, i.id, i.off DESC) f
	  LEFT JOIN ups u USING (topic, id, part)
	 WHERE (u.off, u.qty) IS DISTINCT FROM (f.off, f.qty) GROUP BY topic, part;
	SELECT 'SNAPSHOT';
	SELECT json_build_object(:'topic', json_build_object('0', coalesce((SELECT off FROM kafka_sink.txn_offsets
		WHERE sink = 'ins' AND topic = :'topic' AND part = 0), 0) + 2)) AS next \gset
	COMMIT;
	CALL kafka_sink.wait_for('ins', timeout => '2 s', until => :'next');
	SELECT FROM pg_sleep(:pause * extract(epoch FROM clock_timestamp() - :'began'));
};

=over

=item KafkaSinkChecks->new(node =>, topics =>, patience =>, every =>, pause =>)

C<topics>: a list of { name, kind, partitions, manifest, hidden, sinks }; the first is
the one whose offsets tell the reader to go on.  C<chain> has the partitions whose
number can be divided by C<every> (1).  The reader rests C<pause> (0) times as long as it
works.

=cut

sub new
{
	my ($class, %self) = @_;
	return bless { violations => [], patience => 120, every => 1, pause => 0, %self }, $class;
}

sub violation
{
	my ($self, @what) = @_;

	push @{ $self->{violations} }, map { "VIOLATION $_" } @what;
	return;
}

sub _names
{
	my ($self, $kind) = @_;
	return join ',', map { $_->{name} } grep { $_->{kind} eq $kind } @{ $self->{topics} };
}

=item start_reader, stop_reader

A process of its own: the server and its sessions come and go.  It is stopped
after a snapshot that began when all was done.

=cut

sub start_reader
{
	my ($self) = @_;
	my $node = $self->{node};
	my $file = PostgreSQL::Test::Utils::tempdir('reader') . '/out';
	my $parent = $$;
	my $pid = fork // die "fork: $!";

	$self->{output} = $file;
	if ($pid)
	{
		$reader = $self->{reader} = $pid;
		return;
	}
	# Nothing of the parent's may be cleaned up from here: no die, no exit.
	local $SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	PostgreSQL::Test::Utils::append_to_file("$file.sql", $snapshot_check x 20);
	while (!-e "$file.stop" && getppid() == $parent)
	{
		# a session for several snapshots; it ends with the server's restarts
		eval {
			IPC::Run::run([ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1',
					'-v', "topic=$self->{topics}[0]{name}", '-v', "pause=$self->{pause}", '-v', 'compacted={' . $self->_names('kv') . '}',
					'-d', $node->connstr('postgres') . ' connect_timeout=10', '-f', "$file.sql" ],
				'<', '/dev/null', '>>', $file, '2>>', "$file.err")
			  or sleep 0.05;
		};
	}
	POSIX::_exit(0);
}

sub _snapshots
{
	my ($self) = @_;
	return scalar(() = PostgreSQL::Test::Utils::slurp_file($self->{output}) =~ /^SNAPSHOT$/mg);
}

sub stop_reader
{
	my ($self) = @_;
	my $before = $self->_snapshots;
	my $deadline = time + 300;

	# one at least that begins after all is done
	sleep 0.05 until $self->_snapshots >= $before + 2 || time > $deadline;
	PostgreSQL::Test::Utils::append_to_file("$self->{output}.stop", '');
	waitpid $self->{reader}, 0;
	undef $reader;
	my $out = PostgreSQL::Test::Utils::slurp_file($self->{output});
	my $err = PostgreSQL::Test::Utils::slurp_file("$self->{output}.err");
	$self->{snapshots} = $self->_snapshots;
	$self->violation('reader: no snapshot at the end') if $self->{snapshots} < $before + 2;
	my %seen;
	$self->violation(grep { !$seen{ s/\d+/N/gr }++ } $out =~ /^VIOLATION (.*)$/mg);
	# of a server that goes down it hears FATAL and WARNING, and of errors those
	# of its own patience and of the disk that is full for it too
	$self->violation("reader: $1") if $err =~ /(ERROR:(?!  timed out while waiting|.*No space left|.*wrote only).*)/;
	return;
}

=item finish($kafka)

I7: when the faults are over, all sinks come to the ends of all logs, and lag
is 0.  It may take as long as it likes while it goes on, but not stand still
for C<patience> seconds (120).

=cut

sub finish
{
	my ($self, $kafka) = @_;
	my $start = time;
	my (%end, $wanted);
	my ($left, $moved) = ('', time);
	my $before = '';

	foreach my $topic (@{ $self->{topics} })
	{
		my @marks;

		# the markers of a transaction come after its commit was answered
		do { @marks = $kafka->watermarks($topic->{name}); }
		  while ((grep { $_->[2] != $_->[3] } @marks) && time < $moved + $self->{patience});
		$topic->{ends} = { map { $_->[0] => $_->[3] } @marks };
		$topic->{low} = { map { $_->[0] => $_->[1] } @marks };
		foreach my $sink (@{ $topic->{sinks} })
		{
			$end{$sink} += $_->[3] foreach @marks;
		}
	}
	$wanted = join ', ', map { "('$_', $end{$_})" } sort keys %end;
	$moved = time;
	while (1)
	{
		# by the broker's count, and by the sinks' own (of one without workers nobody looks at Kafka)
		$left = try_sql($self->{node}, qq{
			SELECT string_agg(sink || ' at ' || coalesce(off::text, '?') || ' of ' || wanted || ' lag ' || coalesce(lag::text, '?'), ', ')
			  FROM (VALUES $wanted) w (sink, wanted)
			  LEFT JOIN (SELECT sink, sum(off) AS off, sum(lag) AS lag FROM kafka_sink.lag GROUP BY sink) o USING (sink)
			 WHERE off IS DISTINCT FROM wanted OR (sink <> 'hand' AND lag IS DISTINCT FROM 0)}) // 'no answer';
		last if $left eq '';
		if ($left ne 'no answer' && $left ne $before)
		{
			$before = $left;
			$moved = time;
		}
		if (time > $moved + $self->{patience})
		{
			$self->violation("I7: nothing moves for $self->{patience} s, and not all is there: $left");
			last;
		}
		sleep 0.1;
	}
	$self->{caught_up} = time - $start;
	return;
}

=item final($kafka, %kills)

All that must hold at the end; returns the violations of the whole campaign.

=cut

sub final
{
	my ($self, $kafka, %kills) = @_;

	$self->_load($kafka);
	$self->_check_logs(%kills);
	$self->_check_records;
	$self->_check_offsets;
	return $self->violations;
}

sub violations { return @{ $_[0]->{violations} }; }

sub _sql
{
	my ($self, $sql) = @_;
	return $self->{node}->safe_psql('postgres', "SET work_mem = '256MB'; SET statement_timeout = 0; $sql", timeout => 3600);
}

# Each line that a query has is a violation.
sub _check
{
	my ($self, $what, $sql) = @_;

	$self->violation(map { "$what: $_" } split /\n/, $self->_sql($sql));
	return;
}

# What was produced, and what the log shows now to a reader without faults.
sub _load
{
	my ($self, $kafka) = @_;

	$self->_sql(q{
		CREATE TABLE topics (topic text, kind text);
		CREATE TABLE consumes (sink text, topic text);
		CREATE TABLE ends (topic text, part int, off bigint);
		CREATE TABLE manifest (topic text, part int, off bigint, id bigint, qty int);
		CREATE TABLE hidden (topic text, part int, off bigint, id bigint, qty int);
		CREATE TABLE visible (topic text, part int, from_off bigint, until_off bigint)});
	foreach my $topic (@{ $self->{topics} })
	{
		my $name = $topic->{name};
		my $ranges = "$topic->{manifest}.ranges";
		my $ends = join ',', map { "('$name', $_, $topic->{ends}{$_})" } sort keys %{ $topic->{ends} };

		$self->_sql(qq{
			INSERT INTO topics VALUES ('$name', '$topic->{kind}');
			INSERT INTO consumes SELECT unnest('{@{[ join ',', @{ $topic->{sinks} } ]}}'::text[]), '$name';
			INSERT INTO ends VALUES $ends;
			ALTER TABLE manifest ALTER topic SET DEFAULT '$name';
			COPY manifest (part, off, id, qty) FROM '$topic->{manifest}';
			ALTER TABLE hidden ALTER topic SET DEFAULT '$name';
			COPY hidden (part, off, id, qty) FROM '$topic->{hidden}'});
		next if $topic->{kind} eq 'plain';
		IPC::Run::run([ $kafka->_kfk('ranges', $name, $topic->{kind} eq 'tx' ? 'read_uncommitted' : 'read_committed') ],
			'<', \'', '>', $ranges) or die 'kfk ranges';
		$self->_sql(qq{
			ALTER TABLE visible ALTER topic SET DEFAULT '$name';
			COPY visible (part, from_off, until_off) FROM '$ranges'});
	}
	# later records of the same id: what compaction may take
	$self->_sql(q{
		CREATE INDEX ON visible (topic, part, from_off);
		CREATE TABLE superseded AS
		SELECT topic, part, off FROM (SELECT m.*, max(off) OVER (PARTITION BY topic, id) AS last
			FROM manifest m JOIN topics t USING (topic) WHERE t.kind = 'kv') x WHERE off < last;
		CREATE TABLE produced AS
		SELECT e.topic, e.part, e.off AS ends, t.kind, coalesce(m.n, 0) AS n, coalesce(m.uniq, 0) AS uniq, coalesce(m.max, -1) AS max,
		       coalesce(h.aborted, 0) AS aborted, coalesce(h.markers, 0) AS markers,
		       coalesce(v.seen, 0) AS seen, coalesce(s.old, 0) AS old
		  FROM ends e JOIN topics t USING (topic)
		  LEFT JOIN (SELECT topic, part, count(*) AS n, count(DISTINCT off) AS uniq, max(off)
		               FROM manifest GROUP BY 1, 2) m USING (topic, part)
		  LEFT JOIN (SELECT topic, part, count(off) AS aborted, count(*) - count(off) AS markers
		               FROM hidden GROUP BY 1, 2) h USING (topic, part)
		  LEFT JOIN (SELECT topic, part, sum(until_off - from_off) AS seen FROM visible GROUP BY 1, 2) v USING (topic, part)
		  LEFT JOIN (SELECT topic, part, count(*) AS old FROM superseded GROUP BY 1, 2) s USING (topic, part);
		ANALYZE});
	return;
}

# Is each offset of the logs known?  Else nothing that follows says much.
sub _check_logs
{
	my ($self, %kills) = @_;

	$self->_check('log', q{
		SELECT topic || '/' || part || ' ends at ' || ends || ', ' || n || ' records up to ' || max
		  FROM produced WHERE kind <> 'tx' AND (n <> ends OR uniq <> ends OR max + 1 <> ends) LIMIT 5});
	# what is neither committed nor aborted is a marker: the log has no record
	# there, and there are as many as transactions (after a broker's death,
	# a marker may have been written again)
	$self->_check('log', qq{
		SELECT topic || '/' || part || ': ' || n || ' records committed and ' || aborted || ' aborted, ' || seen || ' in the log, '
			|| ends - n - aborted || ' markers, ' || markers || ' known'
		  FROM produced
		 WHERE kind = 'tx' AND (n + aborted <> seen OR ends - n - aborted < markers
		       OR ends - n - aborted > markers + ${\($kills{broker} // 0)}) LIMIT 5});
	# (each in the last range that begins before it)
	$self->_check('log', q{
		SELECT topic || '/' || part || '/' || off || ' was acknowledged and is not in the log' FROM
		(SELECT topic, part, off FROM manifest UNION ALL SELECT topic, part, off FROM hidden WHERE off IS NOT NULL) m
		  JOIN topics t USING (topic)
		  LEFT JOIN LATERAL (SELECT until_off FROM visible v
			WHERE v.topic = m.topic AND v.part = m.part AND v.from_off <= m.off ORDER BY v.from_off DESC LIMIT 1) v ON true
		 WHERE t.kind = 'tx' AND coalesce(v.until_off, 0) <= m.off LIMIT 5});
	return;
}

sub _check_records
{
	my ($self) = @_;

	for my $table (qw(ins heap nap hand))
	{
		my $its = "topic IN (SELECT topic FROM consumes WHERE sink = '$table')";

		$self->_check("I1 $table", qq{
			SELECT topic || ': rows ' || coalesce(a.n, 0) || ' sum ' || coalesce(a.s, 0) || ', manifest ' || m.n || ' sum ' || m.s
			  FROM (SELECT topic, count(*) AS n, sum(qty) AS s FROM manifest JOIN topics USING (topic)
			         WHERE kind <> 'kv' AND $its GROUP BY topic) m
			  LEFT JOIN (SELECT topic, count(*) AS n, sum(qty) AS s FROM $table GROUP BY topic) a USING (topic)
			 WHERE (a.n, a.s) IS DISTINCT FROM (m.n, m.s)});
		$self->_check("I2 $table", qq{
			SELECT topic || '/' || part || '/' || off || ' ' || count(*) || ' times' FROM $table
			 GROUP BY topic, part, off HAVING count(*) > 1 ORDER BY topic, part, off LIMIT 5});
		$self->_check("I3 $table", qq{
			SELECT topic || '/' || part || '/' || off || ' was never produced or not committed, or is another' FROM
			 (SELECT topic, part, off, id, qty FROM $table
			  EXCEPT SELECT topic, part, off, id, qty FROM manifest) x ORDER BY topic, part, off LIMIT 5});
		# of a compacted topic a record may be missing, if there was a later one
		# of its key, and if it is not in the log any more
		$self->_check("I3 $table", qq{
			SELECT topic || '/' || part || '/' || off || ' is missing or another' FROM
			 (SELECT topic, part, off, id, qty FROM manifest WHERE $its
			  EXCEPT SELECT topic, part, off, id, qty FROM $table) x
			 WHERE NOT EXISTS (SELECT FROM superseded s WHERE s.topic = x.topic AND s.part = x.part AND s.off = x.off)
			    OR EXISTS (SELECT FROM visible v WHERE v.topic = x.topic AND v.part = x.part
			               AND x.off >= v.from_off AND x.off < v.until_off)
			 ORDER BY topic, part, off LIMIT 5});
		$self->_check("I9 $table", qq{
			SELECT o.topic || '/' || o.part || ': ' || o.gaps || ' gaps up to ' || o.off || ', and '
				|| o.off - o.start_off - coalesce(r.n, 0) || ' offsets without a row'
			  FROM kafka_sink.txn_offsets o
			  LEFT JOIN (SELECT topic, part, count(*) AS n FROM $table GROUP BY topic, part) r USING (topic, part)
			 WHERE o.sink = '$table' AND (o.gaps <> o.off - o.start_off - coalesce(r.n, 0) OR o.start_off <> 0) LIMIT 5});
	}
	# an id is always in the same partition, so offsets order its records
	$self->_check('I4 ups', q{
		SELECT topic || ': ' || count(*) || ' keys have another value than their last record' FROM
		(SELECT DISTINCT ON (topic, id) topic, id, part, off, qty FROM manifest
		   WHERE topic IN (SELECT topic FROM consumes WHERE sink = 'ups') ORDER BY topic, id, off DESC) m
		FULL JOIN ups u USING (topic, id)
		WHERE (m.part, m.off, m.qty) IS DISTINCT FROM (u.part, u.off, u.qty) GROUP BY topic});
	return;
}

sub _check_offsets
{
	my ($self) = @_;

	# where nothing is compacted, what is not a gap is what was committed;
	# where it is, no more than what had a later record
	$self->_check('I9', q{
		SELECT o.sink || ' ' || o.topic || '/' || o.part || ': ' || o.gaps || ' gaps and ' || o.consumed || ' records, of '
			|| p.ends || ' offsets ' || p.n || ' are records, ' || p.old || ' with a later one of the same key'
		  FROM kafka_sink.txn_offsets o JOIN produced p USING (topic, part)
		 WHERE o.off = p.ends AND o.start_off = 0
		   AND (p.kind <> 'kv' AND (o.consumed <> p.n OR o.gaps <> p.ends - p.n)
		        OR p.kind = 'kv' AND (o.gaps > p.old OR o.consumed + o.gaps <> p.ends)) LIMIT 5});
	$self->_check('I7', q{
		SELECT s.sink || ' ' || topic || '/' || e.part || ': off ' || coalesce(o.off, -1) || ', end ' || e.off
		  FROM consumes s JOIN ends e USING (topic)
		  LEFT JOIN kafka_sink.txn_offsets o USING (sink, topic, part) WHERE o.off IS DISTINCT FROM e.off LIMIT 5});
	# a row's creation is no move: the chain begins at start_off
	$self->_check('I6', qq{
		SELECT sink || ' ' || topic || '/' || part || ': from ' || from_off || ' after ' || before FROM
		(SELECT sink, topic, part, from_off,
		        lag(until_off, 1, start_off) OVER (PARTITION BY sink, topic, part ORDER BY from_off, until_off) AS before FROM
		 (SELECT c.sink, c.topic, c.part, c.from_off, c.until_off, o.start_off
		    FROM chain c JOIN kafka_sink.txn_offsets o USING (sink, topic, part)
		  UNION ALL SELECT sink, topic, part, off, off, start_off FROM kafka_sink.txn_offsets
		   WHERE part % $self->{every} = 0) x) y
		WHERE from_off <> before LIMIT 5});
	$self->_check('accounting', q{
		SELECT sink || ' ' || topic || '/' || part || ': ' || o::text FROM kafka_sink.txn_offsets o
		 WHERE consumed <> applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched
		    OR off - start_off <> consumed + gaps
		    OR sink <> 'ups' AND consumed <> applied LIMIT 5});
	return;
}

=item counts

Records that were committed and aborted, markers, and records that compaction
took.

=cut

sub counts
{
	my ($self) = @_;
	my %counts;

	@counts{qw(records aborted markers compacted)} = split /\|/, $self->_sql(q{
		SELECT (SELECT count(*) FROM manifest), (SELECT count(off) FROM hidden), (SELECT count(*) FROM hidden WHERE off IS NULL),
		       (SELECT count(*) FROM manifest JOIN topics USING (topic) WHERE kind = 'kv')
		       - (SELECT coalesce(sum(until_off - from_off), 0) FROM visible JOIN topics USING (topic) WHERE kind = 'kv')});
	return %counts;
}

=back

=cut

1;
