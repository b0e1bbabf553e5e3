
=head1 NAME

KafkaSinkFeedCrash - a campaign of faults against feeds

=head1 SYNOPSIS

  my $campaign = KafkaSinkFeedCrash->new(events => { worker => 100, postmaster => 30, ... });
  $campaign->run;
  my @violations = $campaign->violations;

Transactions of all kinds (KafkaSinkFeedLoad) are published by two feeds to a broker of
the campaign's own, while faults (KafkaSinkFaults) strike in random order: each when the feeds
have gone on since the last one by a random amount of WAL, some before they can, and
some while another goes on.  Now and then, and at the end, Kafka is read
(KafkaSinkFeedChecks).

Options:

=over

=item events

Numbers by kind of fault.  The first of each kind come before all others.

=item rate

Transactions/s.

=item timeout

The feeds' transaction_timeout, in seconds; C<freeze> stops workers for longer.

=item longest

Seconds that other faults may go on.

=item seed, verbose

Of random numbers; whether each fault is told when it strikes.

=item until

A time at which it ends earlier, but not before one of each kind has struck; C<{cut_short}>
tells.

=back

SIGKILL of processes loses nothing that the kernel has, so fsync is off.

=cut

package KafkaSinkFeedCrash;

use strict;
use warnings FATAL => 'all';

use List::Util qw(min);
use Time::HiRes qw(time sleep);
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkFaults;
use KafkaSinkFeedChecks;
use KafkaSinkFeedLoad;
use KafkaSinkProxy;

my %topics = %KafkaSinkFeedLoad::topics;
my @feeds = sort keys %topics;
my $progress = 'crash.progress';
my $most_lag = 8 * 1024 * 1024;    # of WAL; beyond it the load waits

sub new
{
	my ($class, %opts) = @_;
	my $self = bless {
		events => {}, rate => 100, timeout => 8, longest => 3, verbose => 0,
		seed => $ENV{KAFKA_SINK_SEED} // int(rand(2**31)),
		%opts, took => {}
	}, $class;
	my $disk = PostgreSQL::Test::Utils::tempdir('disk') . '/full';

	note "KAFKA_SINK_SEED=$self->{seed}";
	# (a transaction that took too long is ended soon)
	$self->{kafka} = start_proxied_broker(properties => { 'transaction.abort.timed.out.transaction.cleanup.interval.ms' => 500 });
	$self->{kafka}->proxy->command("seed $self->{seed}");
	foreach my $feed (@feeds)
	{
		$self->{kafka}->create_topic($_, $topics{$feed}{$_}) foreach sort keys %{ $topics{$feed} };
	}
	local %ENV = (%ENV, KafkaSinkFaults::environment($disk));
	# (large transactions are written to disk; what has been written is kept for the check)
	my $node = $self->{node} = new_node('feed_crash', conf => <<'EOC');
wal_level = logical
fsync = off
max_prepared_transactions = 50
logical_decoding_work_mem = 256kB
wal_keep_size = 1GB
max_wal_size = 512MB
checkpoint_timeout = 30s
log_checkpoints = off
log_statement = none
EOC
	$self->{log_start} = -s $node->logfile;
	create_server($node, $self->{kafka}->through, options => "reconnect_backoff_max_ms '500'");
	my $start_lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
	$self->{load} = KafkaSinkFeedLoad->new(node => $node, kafka => $self->{kafka}, rate => $self->{rate});
	$self->{faults} = KafkaSinkFaults->new(
		node => $node, kafka => $self->{kafka}, disk => $disk, longest => $self->{longest},
		victims => 'feed', frozen => $self->{timeout} + 2);
	$self->{checks} = KafkaSinkFeedChecks->new(
		node => $node, kafka => $self->{kafka}, topics => \%topics, progress_topic => $progress, start_lsn => $start_lsn);
	$self->_create_feeds;
	return $self;
}

sub _create_feeds
{
	my ($self) = @_;
	my $common = "server => 'kafka', progress_topic => '$progress', transaction_timeout => '$self->{timeout} s'";

	$self->{node}->safe_psql('postgres', qq{
		SELECT kafka_sink.create_feed('rows', $common, publication => 'load', topic => 'crash.{table}', envelope => 'debezium');
		SELECT kafka_sink.create_feed('messages', $common)});
	$self->{node}->safe_psql('postgres', "CALL kafka_sink.wait_for('$_', timeout => '3 min')") foreach @feeds;
	return;
}

sub _violation { my ($self, @what) = @_; return $self->{checks}->violation(@what); }

# --- progress ---

# How far the feeds are, and the server, in bytes of WAL; undef while it is not there.
sub _look
{
	my ($self) = @_;
	my $answer = ($self->{watch} //= KafkaSinkTest::Watch->new($self->{node}, q{
		SELECT 'server', '', pg_current_wal_insert_lsn() - '0/0'
		UNION ALL SELECT feed, f.state || ' ' || coalesce(f.message, '') || ' ' || coalesce(f.detail, ''), coalesce(s.published_lsn - '0/0', 0)
		FROM kafka_sink.feeds f JOIN kafka_sink.stat_feeds s USING (feed)}))->answer;

	return undef unless defined $answer;
	my %look = map { my ($name, $words, $lsn) = /^(\w+)\|(.*)\|(\d+)$/ ? ($1, $2, $3) : (); defined $name ? ($name => [ $lsn, $words ]) : () } split /\n/, $answer;
	return undef if grep { !$look{$_} } 'server', @feeds;

	# a machine that is busy writes faster than it publishes
	my $lag = $look{server}[0] - min(map { $look{$_}[0] || $look{server}[0] } @feeds);
	$self->{load}->hold($lag > $most_lag) if $lag > $most_lag || $lag < $most_lag / 4;
	return \%look;
}

# Waits until the feeds have published what was written when this was called, and so much more.
# False if they will not: nothing moves for as long as a test may wait.
sub _await_progress
{
	my ($self, $bytes) = @_;
	my $moved = time;
	my ($before, $target) = ('');

	while (1)
	{
		my $look = $self->_look;

		if ($look)
		{
			my $now = join '; ', map { "$_ @{ $look->{$_} }" } @feeds;
			my @halted = grep { $look->{$_}[1] =~ /^halted/ } @feeds;

			$target //= $look->{server}[0] + $bytes;
			if (@halted)
			{
				$self->_violation('halted', $now);
				return 0;
			}
			return 1 unless grep { $look->{$_}[0] < $target } @feeds;
			if ($now ne $before)
			{
				$before = $now;
				$moved = time;
			}
		}
		if (time > $moved + $KafkaSinkTest::timeout)
		{
			$self->_violation('no progress', ($look ? 'the server answers' : 'no answer') . "; before: $before");
			return 0;
		}
		sleep 0.05;
	}
}

# --- the campaign ---

sub _strike
{
	my ($self, $kind) = @_;
	my $faults = $self->{faults};

	return 0 unless $faults->strike($kind);
	diag sprintf '%.1f %s', time - $self->{start}, $faults->{words}[-1] if $self->{verbose};
	return 1;
}

# Has each kind that was asked for, on a machine that is busy, too?
sub _all_struck
{
	my ($self) = @_;

	return !grep { $self->{events}{$_} && !$self->struck($_) } keys %{ $self->{events} };
}

=item $campaign->run

Writes, strikes and looks; then lets the feeds finish.

=cut

sub run
{
	my ($self) = @_;
	my ($faults, $checks) = @$self{qw(faults checks)};
	my ($struck, $n) = (undef, 0);

	$self->{start} = time;
	srand($self->{seed});
	my $events = KafkaSinkFaults::draw($self->{events});
	$self->{load}->start;
	while (@$events)
	{
		last if $self->{cut_short} = $self->{until} && time > $self->{until} && $self->_all_struck;
		if ($faults->active && rand() < 0.6)
		{
			# in the middle of another
			$faults->meanwhile;
		}
		else
		{
			# some strike before all go on again; most then, at a random moment
			$faults->settle;
			$self->{load}->resolve(5);
			$checks->read_commits;
			if (rand() > 0.15)
			{
				my $at = time;

				last unless $self->_await_progress(0);
				push @{ $self->{took}{$struck} }, time - $at if $struck;
				last unless $self->_await_progress(int(rand(300_000)));
				$checks->look if $n++ % 8 == 0;
			}
		}
		if ($self->_strike($events->[0]))
		{
			$struck = shift @$events;
		}
	}
	$faults->end_all;
	# what was written after the last fault goes on, too
	$self->_await_progress(0);
	$self->_finish;
	return;
}

# All that was committed has been published; Kafka is read to its end.
sub _finish
{
	my ($self) = @_;
	my $node = $self->{node};

	$self->{load}->stop;
	foreach my $feed (@feeds)
	{
		my (undef, undef, $error) = $node->psql('postgres', "CALL kafka_sink.wait_for('$feed', timeout => '$KafkaSinkTest::timeout s')");

		$self->_violation('does not finish', "$feed: $error") if $error;
	}
	$self->{checks}->final($self->{load}->ledger);
	$self->{seconds} = time - $self->{start};
	foreach my $kind (@KafkaSinkFaults::kinds)
	{
		my @took = sort { $a <=> $b } @{ $self->{took}{$kind} // [] } or next;

		note sprintf '%s: %d, feeds go on after %.2f s (median), %.2f s (most)',
		  $kind, $self->struck($kind), $took[ @took / 2 ], $took[-1];
	}
	return;
}

=item $campaign->struck($kind)

How often it did.

=item $campaign->violations

All that is not as it must be, in words; an empty list is success.

=cut

sub struck { my ($self, $kind) = @_; return $self->{faults}{struck}{$kind} // 0; }

sub violations
{
	my ($self) = @_;
	my $checks = $self->{checks};

	# at most a restart for each worker that was killed, and none of the server's own
	my $log = slurp_file($self->{node}->logfile, $self->{log_start});
	my $restarts = () = $log =~ /all server processes terminated; reinitializing/g;
	$self->_violation('restarts', "$restarts") if $restarts > $self->struck('worker');
	$self->_violation('crash', $1) if $log =~ /(terminated by signal (?!9\b)\d+.*|PANIC: .*|TRAP: .*)/;
	if ($checks->violations)
	{
		append_to_file("$PostgreSQL::Test::Utils::log_path/feed_crash_broker.log", slurp_file($self->{kafka}->dir . '/log'));
		note $_ foreach @{ $self->{faults}{words} };
		note $self->{node}->safe_psql('postgres', 'SELECT feed, state, since, message, detail FROM kafka_sink.feeds');
		diag "$_ (seed $self->{seed})" foreach $checks->violations;
	}
	note $self->summary;
	return $checks->violations;
}

# One line: what was done, and on what.
sub summary
{
	my ($self) = @_;
	my ($checks, $struck) = ($self->{checks}, $self->{faults}{struck});

	return sprintf 'summary: seed %d; %s; %d transactions published, %d records, %d stretches, %d transactions cut; %d looks; %d s; %d violations',
	  $self->{seed}, join(', ', map { "$struck->{$_} $_" } grep { $struck->{$_} } @KafkaSinkFaults::kinds),
	  $checks->{transactions} // 0, $checks->{records} // 0, $checks->{stretches} // 0, scalar keys %{ $checks->{cut} },
	  $checks->{looks} // 0, $self->{seconds}, scalar $checks->violations;
}

1;
