
=head1 NAME

KafkaSinkCrash - a campaign of faults, and the checks behind it

=head1 SYNOPSIS

  my $campaign = KafkaSinkCrash->new(events => { worker => 100, lock => 20, ... });
  $campaign->run;
  my @violations = $campaign->violations;

Producers write all the time to topics of a broker of the campaign's own,
150 partitions in all: C<crash> is large and plain, C<tx> is written in
transactions, some of which are aborted, C<kv> is compacted, and of C<short> the
records that all sinks have consumed are deleted.  Three sinks consume these four:
C<ins> inserts under a primary key, C<heap>, with two workers, inserts into a
table that would take a record twice, and C<ups> upserts few keys.  Of a fifth,
C<rare>, records come now and then: the worker of the sink C<nap> has left by then,
and a watcher has it started; and a session calls run() for the sink C<hand>.  Both
insert into tables that would take a record twice.

Faults (KafkaSinkFaults) strike in random order, each when the sinks have moved on
since the last one by a random number of records, some before they can, and some
while another goes on.  A reader in REPEATABLE READ compares tables and offsets
all along, and at the end all is compared with what was produced
(KafkaSinkChecks).

Options:

=over

=item events

Numbers by kind of fault.  The first of each kind come before all others.

=item partitions

Factor by which the topics have more or fewer partitions (1).

=item rate, records

Records/s of all topics; it goes on until there are so many records.

=item until

A time at which it ends earlier, but not before one of each kind has struck.

=item longest, frozen

Seconds that a fault may go on (5), and that a C<freeze> does (35: longer than what
waits in librdkafka, in Kafka and in the extension).

=item seed, name, conf, verbose

Of random numbers, of the server, more lines for it, and whether each fault is
told when it strikes.

=item stop_early

It ends with the first lost or doubled record, and does not wait long for sinks
that do not come to the end.

=back

SIGKILL of processes loses nothing that the kernel has, so fsync is off.

=cut

package KafkaSinkCrash;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use List::Util qw(min sum0);
use POSIX ();
use Time::HiRes qw(time sleep);
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkChecks;
use KafkaSinkFaults;
use KafkaSinkProxy;

my @sinks = qw(heap ins ups);
my @seldom = qw(hand nap);

my $runner;

# a test that dies leaves no session behind
END { kill 'KILL', $runner if $runner; }

# A broker that was killed goes through all segments that it has not flushed, and
# it flushes those that are full: with long ones each start takes longer.
my %short_segments = ('segment.bytes' => 1024 * 1024);

# Partitions, share of the records, how kfk is to produce, and settings.
my @topics = (
	{ name => 'crash', kind => 'plain', partitions => 100, share => 0.5, gen => { keys => 'hot:4000' },
		config => \%short_segments },
	{ name => 'tx', kind => 'tx', partitions => 30, share => 0.2,
		gen => { keys => 'hot:900', txn => 100, abort => 30 }, config => \%short_segments },
	{ name => 'kv', kind => 'kv', partitions => 10, share => 0.15, gen => { keys => 'rand:3000' },
		config => { 'cleanup.policy' => 'compact', 'segment.ms' => 3000, 'min.cleanable.dirty.ratio' => '0.01',
			'delete.retention.ms' => 3_600_000 } },
	{ name => 'short', kind => 'plain', partitions => 10, share => 0.15, gen => { keys => 'seq' },
		config => { 'segment.ms' => 5000 } },
	{ name => 'rare', kind => 'plain', partitions => 4, share => 0, gen => { keys => 'seq', rate => 0.5 }, sinks => \@seldom });

sub new
{
	my ($class, %opts) = @_;
	my $self = bless {
		events => {}, partitions => 1, rate => 2000, records => 0, longest => 5, frozen => 35, verbose => 0,
		seed => $ENV{KAFKA_SINK_SEED} // int(rand(2**31)), name => 'crash',
		%opts, took => {}, gone => {}
	}, $class;
	my $dir = PostgreSQL::Test::Utils::tempdir('manifest');
	my $disk = "$dir/full";

	# With so many partitions, what a broker needs for each request would be most of
	# what the machine has: producers gather records, and of large campaigns, of which
	# there are several side by side, workers do, too.
	$self->{gathers} = $self->{records} >= 1_000_000;
	note "KAFKA_SINK_SEED=$self->{seed}";
	$self->{kafka} = start_proxied_broker();
	$self->{kafka}->proxy->command("seed $self->{seed}");
	foreach (@topics)
	{
		my %topic = (sinks => \@sinks, %$_, manifest => "$dir/$_->{name}", hidden => "$dir/$_->{name}.hidden");

		$topic{partitions} = int($topic{partitions} * $self->{partitions}) || 1;
		append_to_file($topic{hidden}, '');
		$self->{kafka}->create_topic($topic{name}, $topic{partitions}, %{ $topic{config} // {} });
		push @{ $self->{topics} }, \%topic;
	}
	local %ENV = (%ENV, KafkaSinkFaults::environment($disk));
	$self->{node} = new_node($self->{name}, conf => <<"EOC" . ($self->{conf} // ''));
fsync = off
shared_buffers = 128MB
checkpoint_timeout = 30s
max_wal_size = 512MB
log_checkpoints = off
log_statement = none
max_parallel_workers_per_gather = 0
EOC
	$self->{log_start} = -s $self->{node}->logfile;
	create_server($self->{node}, $self->{kafka}->through, options => "reconnect_backoff_max_ms '500'"
		  . ($self->{gathers} ? ", fetch_min_bytes '100000', fetch_wait_max_ms '300'" : ''));
	$self->{faults} = KafkaSinkFaults->new(
		node => $self->{node}, kafka => $self->{kafka}, tables => [ @sinks, @seldom ], disk => $disk,
		longest => $self->{longest}, frozen => $self->{frozen});
	$self->{checks} = KafkaSinkChecks->new(node => $self->{node}, topics => $self->{topics},
		# of millions of records, the moves of some partitions are enough
		every => 1 + int($self->{records} / 2_000_000), pause => $self->{gathers} ? 2 : 0,
		$self->{stop_early} ? (patience => 5) : ());
	$self->_create_sinks;
	return $self;
}

sub _create_sinks
{
	my ($self) = @_;
	my $sinks = join ',', @sinks;
	my $topics = join ',', map { $_->{name} } grep { $_->{sinks} == \@sinks } @{ $self->{topics} };
	$self->{node}->safe_psql('postgres', qq{
		CREATE TABLE ins (topic text, part int, off bigint, id bigint, qty int, PRIMARY KEY (topic, part, off));
		CREATE TABLE heap (topic text, part int, off bigint, id bigint, qty int);
		CREATE TABLE ups (topic text, id bigint, part int, off bigint, qty int, note text, PRIMARY KEY (topic, id));
		CREATE TABLE deleted (part int, off bigint);
		CREATE TABLE chain (sink text, topic text, part int, from_off bigint, until_off bigint);
		CREATE FUNCTION chain() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.chain VALUES (new.sink, new.topic, new.part, old.off, new.off); RETURN NULL; END';
		CREATE TRIGGER chain AFTER UPDATE ON kafka_sink.txn_offsets FOR EACH ROW
			WHEN (new.part % $self->{checks}{every} = 0) EXECUTE FUNCTION chain();
		SELECT kafka_sink.create_sink(s, server => 'kafka', target => s::regclass,
			insert_mode => CASE s WHEN 'ups' THEN 'upsert' ELSE 'insert' END,
			columns => '{"topic": "\@topic", "part": "\@partition", "off": "\@offset"}',
			workers => CASE s WHEN 'heap' THEN 2 ELSE 1 END,
			batch_records => 500)
		FROM unnest('{$sinks}'::text[]) s;
		SELECT kafka_sink.register_topic(s, t)
		FROM unnest('{$sinks}'::text[]) s, unnest('{$topics}'::text[]) t;
		CREATE TABLE nap (LIKE heap);
		CREATE TABLE hand (LIKE heap);
		SELECT kafka_sink.create_sink(s, server => 'kafka', target => s::regclass, idle_after => '200 ms', enabled => s = 'nap',
			columns => '{"topic": "\@topic", "part": "\@partition", "off": "\@offset"}')
		FROM unnest('{nap,hand}'::text[]) s;
		SELECT kafka_sink.register_topic(s, 'rare') FROM unnest('{nap,hand}'::text[]) s;
	});
	return;
}

sub _violation { my ($self, @what) = @_; return $self->{checks}->violation(@what); }

# --- progress ---

# Where the sinks stand, by name, and their workers; undef while the server is
# not there.
sub _look
{
	my ($self) = @_;
	my $answer = ($self->{watch} //= KafkaSinkTest::Watch->new($self->{node}, q{
		SELECT 'off', sink, sum(off) FROM kafka_sink.txn_offsets GROUP BY sink
		UNION ALL SELECT 'pid', pid::text, pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'
		UNION ALL SELECT 'halted', sink || ': ' || concat_ws(' ', message, detail), 1 FROM kafka_sink.sinks WHERE state = 'halted'}))->answer;
	my %look = (off => {}, pid => {}, halted => {});

	return undef unless defined $answer;
	foreach (split /\n/, $answer)
	{
		my ($kind, $name, $value) = /^(\w+)\|(.*)\|(\d+)$/ or next;
		$look{$kind}{$name} = $value;
	}
	return \%look;
}

# A session that consumes for a sink without workers, again and again.
sub _start_runner
{
	my ($self) = @_;
	my $node = $self->{node};
	my $dir = PostgreSQL::Test::Utils::tempdir('runner');
	my $parent = $$;
	my $pid = fork // die "fork: $!";

	$self->{runner_stop} = "$dir/stop";
	if ($pid)
	{
		$runner = $pid;
		return;
	}
	# Nothing of the parent's may be cleaned up from here: no die, no exit.
	local $SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	append_to_file("$dir/sql", "CALL kafka_sink.run('hand', timeout => '20 s');\nSELECT pg_sleep(random());\n" x 5);
	while (!-e "$dir/stop" && getppid() == $parent)
	{
		# (it ends with an error when the server, the broker or the session are ended)
		eval {
			IPC::Run::run([ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1',
					'-d', $node->connstr('postgres') . " connect_timeout=10 application_name='kafka_sink run'", '-f', "$dir/sql" ],
				'<', '/dev/null', '>', '/dev/null', '2>>', "$dir/err")
			  or sleep 0.2;
		};
	}
	POSIX::_exit(0);
}

sub _stop_runner
{
	my ($self) = @_;

	append_to_file($self->{runner_stop}, '');
	waitpid $runner, 0;
	undef $runner;
	return;
}

# Waits until every sink stands beyond where it stood, by a number of records;
# after a crash of the server, beyond where its new worker found it.  False
# if one will not: nothing moves for three minutes.
sub _await_progress
{
	my ($self, $records) = @_;
	my $moved = time;
	my $before = '';
	my $look;

	until ($look && !%{ $look->{halted} } && $self->{base}
		  && !grep { ($look->{off}{$_} // 0) < $self->{base}{$_} + $records } @sinks)
	{
		my $now = $look ? join ' ', map { "$_ " . ($look->{off}{$_} // 0) } @sinks : 'no answer';

		if ($look && %{ $look->{halted} })
		{
			$self->_violation('halted: ' . join '; ', sort keys %{ $look->{halted} });
			return 0;
		}
		# a server that comes and goes does not move
		if ($look && $now ne $before)
		{
			$before = $now;
			$moved = time;
		}
		if (time > $moved + 180)
		{
			$self->_violation("no progress: $now, $before before");
			return 0;
		}
		# what looks on takes no less than what is looked at
		sleep($self->{gathers} ? 0.2 : 0.05);
		$look = $self->_look or next;
		if (!$self->{base} && !grep { $self->{gone}{$_} } keys %{ $look->{pid} })
		{
			$self->{base} = { map { $_ => $look->{off}{$_} // 0 } @sinks };
		}
	}
	$self->{pids} = $look->{pid};
	$self->{base} = $look->{off};
	return 1;
}

# Do the tables have less, or more, than their last offset says?  It stays so,
# and no crash does that to a batch.
sub _torn
{
	my ($self) = @_;
	my $torn = try_sql($self->{node}, q{
		SELECT count(*) FROM (SELECT FROM ins WHERE topic IN ('crash', 'short') GROUP BY topic, part HAVING count(*) <> max(off) + 1
		            UNION ALL SELECT FROM heap WHERE topic IN ('crash', 'short') GROUP BY topic, part HAVING count(*) <> max(off) + 1) t});
	return defined $torn && $torn ne '0';
}

# Deletes what all sinks have consumed for certain: a server that is killed may
# forget the last commits, but not what it said in a commit that was waited for.
sub _delete_consumed
{
	my ($self) = @_;
	my $answer = try_sql($self->{node}, qq{
		SET synchronous_commit = on;
		INSERT INTO deleted SELECT part, min(off) FROM kafka_sink.txn_offsets WHERE topic = 'short'
		GROUP BY part HAVING count(*) = ${\scalar @sinks} AND min(off) > 0 RETURNING part, off}) or return;

	# a broker that has just started may say no; there is a next time
	eval {
		$self->{kafka}->kfk('delete-records', 'short', map { split /\|/ } split /\n/, $answer);
		$self->{has_deleted} = 1;
	};
	return;
}

# Once at least, in however short a time.
sub _delete_some
{
	my ($self) = @_;

	for (1 .. 100)
	{
		last if $self->{has_deleted} || @{ $self->{checks}{violations} };
		$self->_await_progress(10) or last;
		$self->_delete_consumed;
	}
	return;
}

# --- the campaign ---

sub _start_producers
{
	my ($self) = @_;

	foreach my $topic (@{ $self->{topics} })
	{
		my %gen = (
			count => 0, rate => $self->{rate} * $topic->{share}, seed => $self->{seed},
			partitions => $topic->{partitions}, manifest => $topic->{manifest}, %{ $topic->{gen} },
			# with more, librdkafka's idempotent producer gives up when a broker
			# that was killed refuses one of them
			properties => { 'max.in.flight.requests.per.connection' => 1, 'linger.ms' => $self->{gathers} ? 2000 : 200 });

		$gen{hidden} = $topic->{hidden} if $gen{txn};
		$topic->{producer} = $self->{kafka}->gen_bg($topic->{name}, %gen);
	}
	return;
}

sub _stop_producers
{
	my ($self) = @_;

	foreach my $topic (@{ $self->{topics} })
	{
		$self->_violation("producer of $topic->{name}: a record was not acknowledged") unless $topic->{producer}->stop;
	}
	return;
}

# Strikes; what has to happen before the sinks count as having gone on depends
# on who died.
sub _strike
{
	my ($self, $kind) = @_;
	my $faults = $self->{faults};

	return 0 unless $faults->strike($kind);
	diag sprintf '%.1f %s', time - $self->{start}, $faults->{words}[-1] if $self->{verbose};
	undef $self->{base};
	# (who was about to leave when he was killed takes nobody along)
	$self->{gone} = $kind eq 'worker' ? { $faults->{killed} => 1 } : $kind eq 'postmaster' ? $self->{pids} : {};
	return 1;
}

# Has each kind that was asked for, on a machine that is busy, too?
sub _all_struck
{
	my ($self) = @_;

	return !grep { $self->{events}{$_} && !$self->struck($_) } keys %{ $self->{events} };
}

=item $campaign->run

Produces, reads and strikes; then lets the sinks finish.

=cut

sub run
{
	my ($self) = @_;
	my $faults = $self->{faults};
	my $events;
	my ($struck, $at);

	$self->{start} = time;
	srand($self->{seed});
	$events = KafkaSinkFaults::draw($self->{events});
	$self->_start_producers;
	$self->{checks}->start_reader;
	$self->_start_runner;
	while (@$events)
	{
		my $event = $events->[0];

		last if $self->{until} && time > $self->{until} && $self->_all_struck;
		if ($faults->active && rand() < 0.6)
		{
			# in the middle of another
			$faults->meanwhile;
		}
		else
		{
			# some strike before all go on again; most then, at a random moment
			my $hasty = rand() < 0.15;

			$faults->settle;
			$at = time;
			last unless $self->_await_progress($hasty ? 0 : 1);
			if (!$hasty)
			{
				push @{ $self->{took}{$struck} }, time - $at if $struck;
				last if $self->{stop_early} && $self->_torn;
				$self->_delete_consumed if rand() < 0.3;
				last unless $self->_await_progress(int(rand($self->{rate} / 2)));
			}
		}
		if ($self->_strike($event))
		{
			shift @$events;
			$struck = $event;
		}
	}
	$faults->settle;
	$self->_delete_some;
	$self->_await_records if !@{ $self->{checks}{violations} };
	$faults->end_all;
	$self->_stop_producers;
	$self->{checks}->finish($self->{kafka});
	$self->_stop_runner;
	$self->{checks}->stop_reader;
	$self->_tell_times;
	return;
}

# All that was asked for has been produced, and consumed.
sub _await_records
{
	my ($self) = @_;
	my $wanted = $self->{records};

	until ($self->{until} && time > $self->{until})
	{
		# (nap and hand are of topics with few)
		my $consumed = try_sql($self->{node}, sprintf q{
			SELECT min(n) FROM (SELECT sum(consumed) AS n FROM kafka_sink.txn_offsets
				WHERE sink IN (%s) GROUP BY sink) x}, join ', ', map { "'$_'" } @sinks);

		last if defined $consumed && $consumed =~ /^\d+$/ && $consumed >= $wanted;
		last unless $self->_await_progress(min($wanted, $self->{rate}));
	}
	return;
}

sub _tell_times
{
	my ($self) = @_;

	foreach my $kind (@KafkaSinkFaults::kinds)
	{
		my @took = sort { $a <=> $b } @{ $self->{took}{$kind} // [] } or next;

		note sprintf '%s: %d, all sinks go on after %.2f s (median), %.2f s (most)',
		  $kind, $self->{faults}{struck}{$kind}, $took[ @took / 2 ], $took[-1];
	}
	return;
}

=item $campaign->struck($kind)

How often it did.

=item $campaign->hit($kind)

How often a fault has hit a process of that kind: worker, watcher, supervisor, launcher, run.

=item $campaign->violations

All that is not as it must be, in words; an empty list is success.

=cut

sub struck { my ($self, $kind) = @_; return $self->{faults}{struck}{$kind} // 0; }

sub hit { my ($self, $kind) = @_; return $self->{faults}{hit}{"kafka_sink $kind"} // 0; }

sub violations
{
	my ($self) = @_;
	my %struck = %{ $self->{faults}{struck} };
	my @violations;

	# I8: at most a restart for each worker killed, and none of the server's own
	my $log = PostgreSQL::Test::Utils::slurp_file($self->{node}->logfile, $self->{log_start});
	my $restarts = () = $log =~ /all server processes terminated; reinitializing/g;
	$self->_violation("I8: $restarts restarts") if $restarts > ($struck{worker} // 0);
	$self->_violation("I8: $1") if $log =~ /(terminated by signal (?!9\b)\d+.*|PANIC: .*)/;
	@violations = $self->{checks}->final($self->{kafka}, %struck);
	$self->{counts} = { $self->{checks}->counts };
	$self->_keep_traces if @violations;
	note "$_ (seed $self->{seed})" foreach @violations;
	note 'hit: ' . join ', ', map { "$self->{faults}{hit}{$_} $_" } sort keys %{ $self->{faults}{hit} };
	note $self->summary;
	return @violations;
}

# What to look at: beside the server's log the broker's, and what the sinks say.
sub _keep_traces
{
	my ($self) = @_;

	append_to_file("$PostgreSQL::Test::Utils::log_path/$self->{name}_broker.log",
		slurp_file($self->{kafka}->dir . '/log'));
	note $_ foreach @{ $self->{faults}{words} };
	note $self->{node}->safe_psql('postgres', q{
		SELECT sink, state, since, message, detail, topic, part, off FROM kafka_sink.sinks});
	return;
}

# One line: what was done, and on what.
sub summary
{
	my ($self) = @_;
	my $struck = $self->{faults}{struck};
	my $counts = $self->{counts};

	return sprintf 'summary: seed %d; %s; %d records committed, %d aborted, %d markers, %d compacted, %d deleted; '
	  . '%d snapshots; caught up in %d s; %d s; %d violations',
	  $self->{seed}, join(', ', map { "$struck->{$_} $_" } grep { $struck->{$_} } @KafkaSinkFaults::kinds),
	  @$counts{qw(records aborted markers compacted)}, $self->deleted,
	  $self->{checks}{snapshots}, $self->{checks}{caught_up}, time - $self->{start}, scalar $self->{checks}->violations;
}

# Ends the servers, if the test goes on with others.
sub stop
{
	my ($self) = @_;

	$self->{node}->stop('immediate');
	$self->{kafka}->kill9;
	return;
}

# Records of which only the sinks have a copy.
sub deleted
{
	my ($self) = @_;

	return sum0(map { values %{ $_->{low} } } grep { $_->{name} eq 'short' } @{ $self->{topics} });
}

1;
