
=head1 NAME

KafkaSinkFaults - what goes wrong in a campaign

=head1 SYNOPSIS

  my $faults = KafkaSinkFaults->new(node => $node, kafka => $kafka, tables => [ ... ]);
  $faults->strike('worker');      # true if it was done
  $faults->strike('lock');        # goes on for a while
  $faults->meanwhile;             # waits for a part of that
  $faults->settle;                # waits until none goes on

At once: C<worker> (of sinks now and then the watcher, or a session that calls run()), C<postmaster> and C<broker> are killed with SIGKILL,
C<terminate> ends one of the extension's processes, or a session that calls
run(), with pg_terminate_backend(): of the kind that was hit least.

For a while, at random up to C<longest> seconds: C<lock>, a session holds locks
that workers need; C<stop>, a process of the extension or the broker gets
SIGSTOP, and SIGCONT later; C<freeze>, a worker does (of sinks: any process), for the time of C<frozen>; C<proxy>,
connections are cut, delayed, throttled, stalled or refused; C<disk>, no file of a
database can grow.

Workers are those of sinks, or with C<victims =E<gt> 'feed'> those of feeds.

The broker is one of start_proxied_broker(); for C<disk> the server was started
with C<environment> of this module.

=cut

package KafkaSinkFaults;

use strict;
use warnings FATAL => 'all';

use File::Basename;
use IPC::Run ();
use List::Util qw(shuffle);
use Time::HiRes qw(time sleep);
use PostgreSQL::Test::Utils;

use KafkaSinkTest;

our @at_once = qw(worker postmaster broker terminate);
our @for_a_while = qw(lock stop freeze proxy disk);
our @kinds = (@at_once, @for_a_while);

my %stopped;

# a test that dies leaves no process stopped
END { kill 'CONT', keys %stopped if %stopped; }

sub new
{
	my ($class, %self) = @_;
	return bless { longest => 5, frozen => 5, victims => 'worker', kills => {}, struck => {}, hit => {}, active => [], words => [], %self }, $class;
}

=item KafkaSinkFaults::environment($flag)

What has to be in the environment of a server whose disk is full while the file
$flag exists: a list of names and values.

=cut

sub environment
{
	my ($flag) = @_;
	my $library = dirname($ENV{KFK}) . '/full.so';

	return (
		LD_PRELOAD => join(':', grep { length } $ENV{LD_PRELOAD} // '', $library),
		KAFKA_SINK_DISK_FULL => $flag);
}

=item $faults->strike($kind)

True if it was done: there may be no process to kill.  C<-E<gt>{struck}> counts,
C<-E<gt>{words}> says what was done.

=cut

sub strike
{
	my ($self, $kind) = @_;
	my $do = "_strike_$kind";
	my $words = $self->$do or return 0;

	$self->{struck}{$kind}++;
	push @{ $self->{words} }, $words;
	return 1;
}

=item KafkaSinkFaults::draw($numbers)

Kinds, as many as asked for of each: the first of each, then all others, each in random order.

=cut

sub draw
{
	my %n = %{ $_[0] };
	my @asked = grep { $n{$_} } @kinds;

	return [ shuffle(@asked), shuffle(map { ($_) x ($n{$_} - 1) } @asked) ];
}

sub active
{
	my ($self) = @_;

	$self->_end_those_over;
	return scalar @{ $self->{active} };
}

# Waits for a random part of what is left of the longest.
sub meanwhile
{
	my ($self) = @_;
	my $left = $self->_last_end - time;

	sleep rand $left if $left > 0;
	return;
}

sub settle
{
	my ($self) = @_;

	while ($self->active)
	{
		my $left = $self->_last_end - time;

		sleep($left < 0.05 ? $left : 0.05) if $left > 0;
	}
	return;
}

# Ends all at once, whatever time they have.
sub end_all
{
	my ($self, @kinds) = @_;
	my %wanted = map { $_ => 1 } @kinds ? @kinds : @for_a_while;

	$_->{until} = 0 foreach grep { $wanted{ $_->{kind} } } @{ $self->{active} };
	$self->_end_those_over;
	return;
}

sub _last_end
{
	my ($self) = @_;
	my $last = 0;

	foreach (@{ $self->{active} })
	{
		$last = $_->{until} if $_->{until} > $last;
	}
	return $last;
}

sub _end_those_over
{
	my ($self) = @_;
	my $now = time;
	my @over = grep { $_->{until} <= $now } @{ $self->{active} };

	$self->{active} = [ grep { $_->{until} > $now } @{ $self->{active} } ];
	$_->{end}->() foreach @over;
	return;
}

sub _goes_on
{
	my ($self, $kind, $words, $end, $seconds) = @_;

	$seconds //= 0.2 + rand($self->{longest} - 0.2);

	push @{ $self->{active} }, { kind => $kind, until => time + $seconds, end => $end };
	return sprintf '%s: %s for %.1f s', $kind, $words, $seconds;
}

# One of a list.
sub _any { return $_[ int(rand(@_)) ]; }

# The extension's processes, of a kind or of all, and sessions that call run() beside
# them: [ kind, pid ].
sub _processes
{
	my ($self, $like) = @_;
	my $answer = try_sql($self->{node}, "SELECT kind, pid FROM (SELECT application_name, pid,
			CASE WHEN backend_type = 'client backend' AND application_name = 'kafka_sink run' THEN application_name ELSE backend_type END AS kind
			FROM pg_stat_activity) a
		WHERE kind LIKE 'kafka_sink $like' ORDER BY kind, application_name, pid") // return;

	return map { [ split /\|/ ] } split /\n/, $answer;
}

# Of the kinds that are there, one that was hit least, and of it a random one.  Those that
# are not always there come first.
sub _any_process
{
	my ($self) = @_;
	my @all = $self->_processes('%') or return;
	my %kinds = map { $_->[0] => $self->{hit}{ $_->[0] } // 0 } @all;
	my ($least) = sort { $a <=> $b } values %kinds;
	my @least = grep { $kinds{$_} == $least } sort keys %kinds;
	my @seldom = grep { /watcher|run/ } @least;
	my $kind = _any(@seldom ? @seldom : @least);

	return _any(grep { $_->[0] eq $kind } @all);
}

sub _hits { my ($self, $kind) = @_; $self->{hit}{$kind}++; return; }

# --- at once ---

sub _strike_worker
{
	my ($self) = @_;
	my @workers = $self->_processes($self->{victims});
	my @seldom = $self->{victims} eq 'worker' && rand() < 0.2 ? grep { $_->[0] =~ /watcher|run/ } $self->_processes('%') : ();
	my ($kind, $pid) = @{ _any(@seldom ? @seldom : @workers) // return };

	# no room for recovery is the end of a server
	$self->end_all('disk');
	kill 'KILL', $pid or return;
	$self->_hits($kind);
	$self->{killed} = $pid;
	return "worker: $kind $pid is killed";
}

# Its children notice by themselves; until then they keep the memory, and a
# start is refused.
sub _strike_postmaster
{
	my ($self) = @_;
	my $node = $self->{node};
	my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my $deadline = time + 300;
	local %ENV = (%ENV, environment($self->{disk} // ''));

	$self->end_all('disk');
	kill 'KILL', $pid or return;
	$self->end_all('stop', 'freeze');
	until (IPC::Run::run([ $node->installed_command('pg_ctl'), '-w', '-s', '-D', $node->data_dir,
			'-l', $node->logfile, 'start' ], '<', '/dev/null', '>', '/dev/null', '2>', '/dev/null'))
	{
		die "the server does not start" if time > $deadline;
		sleep 0.02;
	}
	$node->_update_pid(1);
	return "postmaster: $pid is killed";
}

# While it is away, sinks that start must do without it: a worker ends then,
# every other time.
sub _strike_broker
{
	my ($self) = @_;
	my $also = '';

	$self->{kafka}->kill9;
	if (rand() < 0.5)
	{
		my @workers = $self->_processes($self->{victims});
		my $pid = @workers ? _any(@workers)->[1] : undef;

		$also = ", and $pid ends"
		  if defined $pid && (try_sql($self->{node}, "SELECT pg_terminate_backend($pid)") // '') eq 't';
	}
	$self->{kafka}->start;
	return "broker: is killed$also";
}

sub _strike_terminate
{
	my ($self) = @_;
	my $process = $self->_any_process or return;
	my ($kind, $pid) = @$process;

	return unless (try_sql($self->{node}, "SELECT pg_terminate_backend($pid)") // '') eq 't';
	$self->_hits($kind);
	return "terminate: $kind $pid";
}

# --- for a while ---

# What others do with what a worker needs.  A batch waits behind it, or gives up
# and comes again.
sub _strike_lock
{
	my ($self) = @_;
	my $table = _any(@{ $self->{tables} });
	my $sink = $table;
	my $what = _any(
		"LOCK TABLE $table IN ACCESS EXCLUSIVE MODE",
		"LOCK TABLE $table IN SHARE MODE",
		"SELECT FROM kafka_sink.txn_offsets WHERE sink = '$sink' FOR UPDATE",
		"SELECT FROM kafka_sink.txn_offsets WHERE sink = '$sink' AND part % 10 = ${\int(rand(10))} FOR UPDATE",
		"SELECT FROM ups WHERE id % 50 = ${\int(rand(50))} FOR UPDATE",
		"SELECT kafka_sink.pause('$sink')");
	my @command = ($self->{node}->installed_command('psql'), '-XAtq', '-d',
		$self->{node}->connstr('postgres') . ' connect_timeout=10');
	local $SIG{PIPE} = 'IGNORE';
	my $pid = open my $session, '|-', 'sh', '-c', 'exec "$@" > /dev/null 2>&1', 'sh', @command;

	return unless $pid;
	# the end of its input is the end of the transaction
	print {$session} "SET lock_timeout = '5 s'; BEGIN; $what;\n";
	$session->flush;
	return $self->_goes_on('lock', $what, sub { local $SIG{PIPE} = 'IGNORE'; close $session; return; });
}

sub _strike_stop
{
	my ($self) = @_;
	my $process = rand() < 0.3
	  ? [ 'broker', slurp_file($self->{kafka}->dir . '/pid') + 0 ]
	  : $self->_any_process // return;
	my ($kind, $pid) = @$process;
	my $words = $self->_stop('stop', "$kind $pid", $pid) or return;

	$self->_hits($kind);
	return $words;
}

# For longer than others wait for it.
sub _strike_freeze
{
	my ($self) = @_;
	my ($kind, $pid);

	if ($self->{victims} eq 'worker')
	{
		($kind, $pid) = @{ $self->_any_process // return };
	}
	else
	{
		my @workers = $self->_processes($self->{victims}) or return;

		($kind, $pid) = @{ _any(@workers) };
	}
	my $words = $self->_stop('freeze', "$kind $pid", $pid, $self->{frozen}) or return;

	$self->_hits($kind);
	return $words;
}

sub _stop
{
	my ($self, $kind, $words, $pid, $seconds) = @_;

	kill 'STOP', $pid or return;
	$stopped{$pid} = 1;
	return $self->_goes_on($kind, $words, sub { kill 'CONT', $pid; delete $stopped{$pid}; return; }, $seconds);
}

sub _strike_proxy
{
	my ($self) = @_;
	my $proxy = $self->{kafka}->proxy;
	my @commands = _any(
		['cut'],
		[ 'cut-after ' . (1 + int(rand(100_000))) ],
		[ 'delay ' . (20 + int(rand(2000))) ],
		[ 'throttle ' . (2000 + int(rand(100_000))) ],
		[ 'delay ' . int(rand(200)), 'cut-after ' . (1 + int(rand(20_000))) ],
		['stall'],
		[ 'stall', 'cut' ],
		[ 'refuse', 'cut' ]);

	$proxy->command($_) foreach @{ $commands[0] };
	return $self->_goes_on('proxy', join(', ', @{ $commands[0] }), sub { $proxy->command('pass'); return; });
}

# Not while the server starts: recovery without room is its end.
sub _strike_disk
{
	my ($self) = @_;

	return unless defined try_sql($self->{node}, 'SELECT 1');
	append_to_file($self->{disk}, '');
	return $self->_goes_on('disk', 'is full', sub { unlink $self->{disk}; return; });
}

1;
