=head1 NAME

KafkaSinkCrash - a campaign of kills, and the checks behind it

=head1 SYNOPSIS

  my $campaign = KafkaSinkCrash->new(worker => 100, postmaster => 20, broker => 10);
  $campaign->run;
  my @violations = $campaign->violations;

A producer writes all the time to several partitions of a broker of the
campaign's own.  Three sinks consume them at once: C<ins> inserts under a
primary key, C<heap> inserts into a table that would take a record twice, and
C<ups> upserts few keys.  Workers, the postmaster and the broker are killed with
SIGKILL, in random order, each when the sinks have moved on since the last kill
by a random number of records, some workers already while they start.  A reader in REPEATABLE READ compares tables and
offsets all along.

Options: the numbers of kills, C<partitions>, C<rate> (records/s), C<seed>,
C<until> (a time at which it ends earlier), C<stop_early> (it ends with the
first lost or doubled record), C<conf>, C<name>.

SIGKILL of processes loses nothing that the kernel has, so fsync is off.

=cut

package KafkaSinkCrash;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use POSIX ();
use List::Util qw(max shuffle);
use Time::HiRes qw(time sleep);
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my @sinks = qw(heap ins ups);
my $reader;

# a test that dies must not leave its reader behind
END { kill 'KILL', $reader if $reader; }

sub new
{
	my ($class, %opts) = @_;
	my $self = bless {
		worker => 0, postmaster => 0, broker => 0, partitions => 4, rate => 2000,
		seed => $ENV{KAFKA_SINK_SEED} // int(rand(2**31)), name => 'crash', topic => 'crash',
		%opts, kills => {}, took => {}, killed => {}, violations => []
	}, $class;

	note "KAFKA_SINK_SEED=$self->{seed}";
	$self->{kafka} = start_broker();
	$self->{kafka}->create_topic($self->{topic}, $self->{partitions});
	$self->{node} = new_node($self->{name}, conf => <<"EOC" . ($self->{conf} // ''));
fsync = off
shared_buffers = 64MB
checkpoint_timeout = 30s
max_wal_size = 256MB
log_checkpoints = off
log_statement = none
max_parallel_workers_per_gather = 0
EOC
	$self->{log_start} = -s $self->{node}->logfile;
	create_server($self->{node}, $self->{kafka}, options => "reconnect_backoff_max_ms '500'");
	$self->{manifest} = PostgreSQL::Test::Utils::tempdir('manifest') . '/manifest';
	$self->_create_sinks;
	return $self;
}

sub _create_sinks
{
	my ($self) = @_;

	$self->{node}->safe_psql('postgres', qq{
		CREATE TABLE ins (topic text, part int, off bigint, id bigint, qty int, PRIMARY KEY (part, off));
		CREATE TABLE heap (topic text, part int, off bigint, id bigint, qty int);
		CREATE TABLE ups (id bigint PRIMARY KEY, part int, off bigint, qty int, note text);
		CREATE TABLE chain (sink text, part int, from_off bigint, until_off bigint);
		CREATE FUNCTION chain() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.chain VALUES (new.sink, new.part, old.off, new.off); RETURN NULL; END';
		CREATE TRIGGER chain AFTER UPDATE ON kafka_sink.txn_offsets FOR EACH ROW EXECUTE FUNCTION chain();
		SELECT kafka_sink.create_sink(s, server => 'kafka', target => s::regclass,
			insert_mode => CASE s WHEN 'ups' THEN 'upsert' ELSE 'insert' END,
			columns => CASE s WHEN 'ups' THEN '{"part": "\@partition", "off": "\@offset"}'::jsonb
				ELSE '{"topic": "\@topic", "part": "\@partition", "off": "\@offset"}' END,
			batch_records => 500)
		FROM unnest('{@{[join ',', @sinks]}}'::text[]) s;
		SELECT kafka_sink.register_topic(s, '$self->{topic}') FROM unnest('{@{[join ',', @sinks]}}'::text[]) s;
	});
	return;
}

sub _violation
{
	my ($self, @what) = @_;
	push @{ $self->{violations} }, map { "VIOLATION $_" } @what;
	return;
}

# --- the reader ---

# What one snapshot must show (I5): the tables hold what the offsets say.  For
# the upserts: the last record of each partition, and the fold of the last few
# hundred wherever the snapshot has them in "ins".  The next one is taken when
# the sink has moved on by some records; a worker that does not come within 2 s
# ends the session.
my $snapshot_check = q{
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT 'VIOLATION I5 ' || o.sink || ' ' || o.part || ': ' || o.consumed || ' records up to ' || o.off
		|| ', rows ' || coalesce(t.n, 0) || ' up to ' || coalesce(t.max, -1) || ', sum ' || coalesce(t.sum, 0)
	  FROM kafka_sink.txn_offsets o
	  LEFT JOIN (SELECT 'ins' AS sink, part, count(*) AS n, max(off), sum(off) FROM ins GROUP BY part
	        UNION ALL SELECT 'heap', part, count(*), max(off), sum(off) FROM heap GROUP BY part) t
	    ON t.sink = o.sink AND t.part = o.part
	 WHERE o.sink <> 'ups'
	   AND (coalesce(t.n, 0) <> o.consumed OR t.max IS DISTINCT FROM o.last_off OR o.last_off >= o.off
	        OR (o.gaps = 0 AND 2 * t.sum <> o.consumed * (o.start_off + o.last_off)));
	SELECT 'VIOLATION I5 ups ' || o.part || ': last record ' || coalesce(o.last_off, -1) || ', last row ' || coalesce(u.max, -1)
	  FROM kafka_sink.txn_offsets o
	  LEFT JOIN (SELECT part, max(off) FROM ups GROUP BY part) u ON u.part = o.part
	 WHERE o.sink = 'ups' AND (u.max IS DISTINCT FROM o.last_off OR o.last_off >= o.off);
	SELECT 'VIOLATION I5 ups ' || part || ': ' || count(*) || ' keys are not the fold of the log'
	  FROM (SELECT DISTINCT ON (i.id) i.part, i.id, i.off, i.qty
	          FROM kafka_sink.txn_offsets o
	          JOIN kafka_sink.txn_offsets oi ON oi.sink = 'ins' AND oi.part = o.part AND oi.off >= o.off
	          JOIN ins i ON i.part = o.part AND i.off >= o.off - 500 AND i.off < o.off
	         WHERE o.sink = 'ups' ORDER BY i.id, i.off DESC) f
	  LEFT JOIN ups u USING (id, part)
	 WHERE (u.off, u.qty) IS DISTINCT FROM (f.off, f.qty) GROUP BY part;
	SELECT 'SNAPSHOT';
	SELECT json_build_object(:'topic', json_build_object('0', coalesce((SELECT off FROM kafka_sink.txn_offsets
		WHERE sink = 'ins' AND part = 0), 0) + 200)) AS next \gset
	COMMIT;
	CALL kafka_sink.wait_for('ins', timeout => '2 s', until => :'next');
};

# A process of its own: the server and its sessions come and go.
sub _start_reader
{
	my ($self) = @_;
	my $node = $self->{node};
	my $file = PostgreSQL::Test::Utils::tempdir('reader') . '/out';
	my $parent = $$;
	my $pid = fork // die "fork: $!";

	$self->{reader_output} = $file;
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
					'-v', "topic=$self->{topic}", '-d', $node->connstr('postgres') . ' connect_timeout=10', '-f', "$file.sql" ],
				'<', '/dev/null', '>>', $file, '2>>', "$file.err")
			  or sleep 0.05;
		};
	}
	POSIX::_exit(0);
}

sub _snapshots
{
	my ($self) = @_;
	return scalar(() = PostgreSQL::Test::Utils::slurp_file($self->{reader_output}) =~ /^SNAPSHOT$/mg);
}

sub _stop_reader
{
	my ($self) = @_;
	my $before = $self->_snapshots;
	my $deadline = time + 60;

	# one at least that begins after all is done
	sleep 0.02 until $self->_snapshots >= $before + 2 || time > $deadline;
	PostgreSQL::Test::Utils::append_to_file("$self->{reader_output}.stop", '');
	waitpid $self->{reader}, 0;
	undef $reader;
	my $out = PostgreSQL::Test::Utils::slurp_file($self->{reader_output});
	my $err = PostgreSQL::Test::Utils::slurp_file("$self->{reader_output}.err");
	$self->{snapshots} = $self->_snapshots;
	$self->_violation('reader: no snapshot at the end') if $self->{snapshots} < $before + 2;
	my %seen;
	$self->_violation(grep { !$seen{ s/\d+/N/gr }++ } $out =~ /^VIOLATION (.*)$/mg);
	# of a server that goes down it hears FATAL and WARNING, and no ERROR
	$self->_violation("reader: $1") if $err =~ /(ERROR:(?!  timed out while waiting).*)/;
	return;
}

# --- the kills ---

# Where the sinks stand, by name, and their workers; undef while the server is
# not there.
sub _look
{
	my ($self) = @_;
	my $answer = try_sql($self->{node}, q{
		SELECT 'off', sink, sum(off) FROM kafka_sink.txn_offsets GROUP BY sink
		UNION ALL SELECT 'pid', application_name, pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'
		UNION ALL SELECT 'halted', sink || ': ' || message, 1 FROM kafka_sink.sinks WHERE state = 'halted'});
	my %look = (off => {}, pid => {}, halted => {});

	return undef unless defined $answer;
	foreach (split /\n/, $answer)
	{
		my ($kind, $name, $value) = /^(\w+)\|(.*)\|(\d+)$/;
		$look{$kind}{$name} = $value;
	}
	return \%look;
}

# Waits until every sink stands beyond where it stood, by a number of records;
# after a restart of the server, beyond where its new worker found it.  False
# if one will not.
sub _await_progress
{
	my ($self, $records) = @_;
	my $deadline = time + 120;
	my $look;

	until ($look && !%{ $look->{halted} } && $self->{base}
		  && !grep { ($look->{off}{$_} // 0) < $self->{base}{$_} + $records } @sinks)
	{
		if ($look && %{ $look->{halted} })
		{
			$self->_violation('halted: ' . join '; ', sort keys %{ $look->{halted} });
			return 0;
		}
		if (time > $deadline)
		{
			$self->_violation('no progress: ' . ($look ? join ' ', %{ $look->{off} } : 'no answer'));
			return 0;
		}
		sleep 0.02;
		$look = $self->_look or next;
		if (!$self->{base} && !grep { $self->{killed}{$_} } values %{ $look->{pid} })
		{
			$self->{base} = { map { $_ => $look->{off}{$_} // 0 } @sinks };
		}
	}
	$self->{killed} = { map { $_ => 1 } values %{ $look->{pid} } };
	$self->{base} = $look->{off};
	return 1;
}

# Do the tables have less, or more, than their last offset says?  It stays so,
# and no crash does that to a batch.
sub _torn
{
	my ($self) = @_;
	my $torn = try_sql($self->{node}, q{
		SELECT count(*) FROM (SELECT FROM ins GROUP BY part HAVING count(*) <> max(off) + 1
		            UNION ALL SELECT FROM heap GROUP BY part HAVING count(*) <> max(off) + 1) t});
	return defined $torn && $torn ne '0';
}

sub _kill_worker
{
	my ($self) = @_;
	my $look = $self->_look or return 0;
	my @names = sort keys %{ $look->{pid} } or return 0;

	return kill 'KILL', $look->{pid}{ $names[ int(rand(@names)) ] };
}

sub _kill_postmaster
{
	my ($self) = @_;
	my $node = $self->{node};
	my ($pid) = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my $deadline = time + 60;

	kill 'KILL', $pid or return 0;
	# its children notice by themselves; until then they keep the memory, and
	# a start is refused
	until (IPC::Run::run([ $node->installed_command('pg_ctl'), '-w', '-s', '-D', $node->data_dir,
			'-l', $node->logfile, 'start' ], '<', '/dev/null', '>', '/dev/null', '2>', '/dev/null'))
	{
		die "the server does not start" if time > $deadline;
		sleep 0.02;
	}
	$node->_update_pid(1);
	return 1;
}

# While it is away, every other time, a worker is killed too: sinks must start
# without a broker.
sub _kill_broker
{
	my ($self) = @_;

	$self->{kafka}->kill9;
	if (@{ $self->{events} } > 1 && rand() < 0.5)
	{
		my ($i) = grep { $self->{events}[$_] eq 'worker' } 1 .. $#{ $self->{events} };
		if (defined $i && $self->_kill_worker)
		{
			$self->{kills}{worker}++;
			splice @{ $self->{events} }, $i, 1;
		}
	}
	$self->{kafka}->start;
	return 1;
}

=item $campaign->run

Produces, reads and kills; then lets the sinks finish.

=cut

sub run
{
	my ($self) = @_;
	my $start = time;
	my ($killed, $at);

	srand($self->{seed});
	$self->{events} = [ shuffle(
		('worker') x $self->{worker}, ('postmaster') x $self->{postmaster},
		('broker') x $self->{broker}) ];
	my $producer = $self->{kafka}->gen_bg($self->{topic},
		count => 0, rate => $self->{rate}, keys => 'hot:2000', seed => $self->{seed},
		partitions => $self->{partitions}, manifest => $self->{manifest});

	$self->_start_reader;
	while (@{ $self->{events} })
	{
		my $event = $self->{events}[0];
		my $kill = "_kill_$event";

		last if $self->{until} && time > $self->{until};
		# some are killed while they start; for the rest all go on again, and
		# then to a random moment
		my $hasty = $event eq 'worker' && rand() < 0.15;
		last unless $self->_await_progress($hasty ? 0 : 1);
		if (!$hasty)
		{
			push @{ $self->{took}{$killed} }, time - $at if $at;
			last if $self->{stop_early} && $self->_torn;
			last unless $self->_await_progress(int(rand($self->{rate} / 2)));
		}
		$at = time;
		if ($self->$kill)
		{
			$self->{kills}{$event}++;
			undef $self->{base};
			shift @{ $self->{events} };
			$killed = $event;
			$self->{killed} = {} if $event eq 'broker';
		}
		else
		{
			undef $at;
		}
	}
	foreach my $event (qw(worker postmaster broker))
	{
		my @took = sort { $a <=> $b } @{ $self->{took}{$event} // [] };
		note sprintf '%s: %d kills, all sinks go on after %.2f s (median), %.2f s (most)',
		  $event, $self->{kills}{$event} // 0, $took[ @took / 2 ] // 0, $took[-1] // 0;
	}
	$self->{acknowledged} = $producer->stop;
	$self->_finish;
	$self->_stop_reader;
	note sprintf '%d records, %d snapshots, %d s', $self->{end}, $self->{snapshots}, time - $start;
	return;
}

# I7: lag is 0 within 60 s of the last fault.
sub _finish
{
	my ($self) = @_;
	my $end = 0;
	my $deadline = time + 60;
	my $left;

	$end += $_->[3] foreach $self->{kafka}->watermarks($self->{topic});
	$self->{end} = $end;
	do
	{
		# by the broker's count, and by the sinks' own
		$left = try_sql($self->{node}, qq{
			SELECT string_agg(sink || ' at ' || off || ' lag ' || coalesce(lag::text, '?'), ', ')
			  FROM (SELECT sink, sum(off) AS off, sum(lag) AS lag FROM kafka_sink.lag GROUP BY sink) o
			 WHERE off <> $end OR lag IS DISTINCT FROM 0}) // 'no answer';
		return if $left eq '';
		sleep 0.05;
	} while (time < $deadline);
	$self->_violation("I7: after 60 s not all of $end: $left");
	return;
}

=item $campaign->violations

All that is not as it must be, in words; an empty list is success.

=cut

sub violations
{
	my ($self) = @_;
	my $node = $self->{node};
	my $check = sub {
		my ($what, $sql) = @_;
		$self->_violation(map { "$what: $_" } split /\n/, $node->safe_psql('postgres', $sql));
		return;
	};

	$self->_violation('a record was not acknowledged') unless $self->{acknowledged};
	$node->safe_psql('postgres', qq{
		CREATE TABLE manifest (part int, off bigint, id bigint, qty int);
		COPY manifest FROM '$self->{manifest}';
		ANALYZE;
	});
	$check->('manifest', "SELECT count(*) || ' records of $self->{end}' FROM manifest HAVING count(*) <> $self->{end}");
	for my $table (qw(ins heap))
	{
		$check->("I1 $table", qq{
			SELECT 'rows ' || a.n || ' sum ' || a.s || ', manifest ' || m.n || ' sum ' || m.s
			  FROM (SELECT count(*) AS n, sum(qty) AS s FROM $table) a,
			       (SELECT count(*) AS n, sum(qty) AS s FROM manifest) m
			 WHERE (a.n, a.s) IS DISTINCT FROM (m.n, m.s)});
		$check->("I2 $table", qq{
			SELECT topic || '/' || part || '/' || off || ' ' || count(*) || ' times' FROM $table
			 GROUP BY topic, part, off HAVING count(*) > 1 ORDER BY topic, part, off LIMIT 5});
		$check->("I3 $table", qq{
			(SELECT topic || '/' || part || '/' || off || ' is missing or another' FROM
			 (SELECT '$self->{topic}' AS topic, part, off, id, qty FROM manifest
			  EXCEPT SELECT topic, part, off, id, qty FROM $table) x ORDER BY part, off LIMIT 5)});
	}
	# an id is always in the same partition, so offsets order its records
	$check->('I4 ups', q{
		SELECT count(*) || ' keys have another value than their last record' FROM
		(SELECT DISTINCT ON (id) id, part, off, qty FROM manifest ORDER BY id, off DESC) m
		FULL JOIN ups u USING (id)
		WHERE (m.part, m.off, m.qty) IS DISTINCT FROM (u.part, u.off, u.qty) HAVING count(*) > 0});
	# a row's creation is no move: the chain begins at start_off
	$check->('I6', q{
		SELECT sink || '/' || part || ': from ' || from_off || ' after ' || before FROM
		(SELECT sink, part, from_off,
		        lag(until_off, 1, start_off) OVER (PARTITION BY sink, part ORDER BY from_off, until_off) AS before FROM
		 (SELECT c.sink, c.part, c.from_off, c.until_off, o.start_off
		    FROM chain c JOIN kafka_sink.txn_offsets o USING (sink, part)
		  UNION ALL SELECT sink, part, off, off, start_off FROM kafka_sink.txn_offsets) x) y
		WHERE from_off <> before LIMIT 5});
	$check->('accounting', q{
		SELECT sink || '/' || part || ': ' || o::text FROM kafka_sink.txn_offsets o
		 WHERE consumed <> applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched
		    OR off - start_off <> consumed + gaps
		    OR sink <> 'ups' AND consumed <> applied});
	# I8: at most a restart for each worker killed, and none of the server's own
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $self->{log_start});
	my $restarts = () = $log =~ /all server processes terminated; reinitializing/g;
	$self->_violation("I8: $restarts restarts") if $restarts > ($self->{kills}{worker} // 0);
	$self->_violation("I8: $1") if $log =~ /(terminated by signal (?!9\b)\d+.*|PANIC: .*)/;
	return @{ $self->{violations} };
}

1;
