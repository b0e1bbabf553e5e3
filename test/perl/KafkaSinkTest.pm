
=head1 NAME

KafkaSinkTest - clusters, brokers and waiting for the Perl TAP tests

=head1 SYNOPSIS

  use KafkaSinkTest;

  my $node   = new_node('main');                 # started, with the extension
  my $kafka  = shared_broker();                  # the runner's, topics are ours
  my $topic  = $kafka->topic('orders', 4);       # a unique name, created
  $kafka->gen($topic, count => 1000, manifest => $file);
  create_server($node, $kafka);
  ...
  wait_until($node, 'SELECT count(*) FROM orders', '1000', 'all records are there');

  my $own = start_broker();                      # may be killed
  $own->kill9; $own->start;

Everything started here ends with the test.  Nothing here sleeps for a time:
all waiting is for a condition, with a deadline (PG_TEST_TIMEOUT_DEFAULT).

=cut

package KafkaSinkTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run ();
use Time::HiRes ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node create_server shared_broker start_broker start_cluster start_mock
  wait_until wait_for_log try_sql timed_out start_script freeze ascends unescaped kill_process);

my (@nodes, @ours);
our $timeout = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;

# A server that recovers, or writes all that it has, may take as long as all else.
$ENV{PGCTLTIMEOUT} //= $timeout;

# A session in the background has its time for each thing that it is asked, however long
# it is there.
{
	no warnings 'redefine';
	my $background_psql = \&PostgreSQL::Test::Cluster::background_psql;
	my $quit = \&PostgreSQL::Test::BackgroundPsql::quit;

	*PostgreSQL::Test::Cluster::background_psql = sub {
		my $session = $background_psql->(@_);

		$session->set_query_timer_restart;
		return $session;
	};
	*PostgreSQL::Test::BackgroundPsql::quit = sub {
		my ($session) = @_;

		$session->{timeout}->start;
		return $quit->($session);
	};
}

=head1 POSTGRESQL

=over

=item new_node($name, %opts)

A started cluster with the extension preloaded.  C<start =E<gt> 0> does not
start it, C<extension =E<gt> 0> does not create the extension in C<postgres>,
C<streaming =E<gt> 1> allows standbys, C<conf =E<gt> "..."> is appended to
postgresql.conf.

=cut

# How to find the extension comes from the runner in TEMP_CONFIG, which
# PostgreSQL::Test::Cluster appends by itself.
sub new_node
{
	my ($name, %opts) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	push @nodes, $node;
	$node->init(
		allows_streaming => $opts{streaming} // 0,
		extra => [ '--no-locale', '--encoding=UTF8' ]);
	$node->append_conf('postgresql.conf', <<'EOF');
restart_after_crash = on
max_worker_processes = 32
log_line_prefix = '%m [%p] %b %a '
EOF
	$node->append_conf('postgresql.conf', "wal_level = replica\n") unless $opts{streaming};
	$node->append_conf('postgresql.conf', $opts{conf}) if defined $opts{conf};
	if ($opts{start} // 1)
	{
		$node->start;
		$node->safe_psql('postgres', 'CREATE EXTENSION kafka_sink')
		  if $opts{extension} // 1;
	}
	return $node;
}

=item create_server($node, $broker, %opts)

CREATE SERVER for a broker: C<name> (kafka), C<dbname> (postgres), C<options>
(more of them, as SQL).

=cut

sub create_server
{
	my ($node, $broker, %opts) = @_;
	my $name = $opts{name} // 'kafka';
	my $more = $opts{options} ? ", $opts{options}" : '';

	$node->safe_psql($opts{dbname} // 'postgres',
		"CREATE SERVER $name FOREIGN DATA WRAPPER kafka_sink "
		  . "OPTIONS (bootstrap_servers '"
		  . $broker->bootstrap
		  . "'$more)");
	return;
}

=item try_sql($node, $sql, $dbname)

The result of a query, or undef when the server is not there or says no: for
use while it restarts.

=cut

sub try_sql
{
	my ($node, $sql, $dbname) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run(
		[
			$node->installed_command('psql'), '-XAtq',
			'-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr($dbname // 'postgres') . ' connect_timeout=10',
			'-c', $sql
		],
		'<', \'', '>', \$out, '2>', \$err);

	chomp $out;
	return $ok ? $out : undef;
}

=item timed_out($node, $sql, $told)

The error, with its SQLSTATE, of a call that is to end by its time-out, which is written as
C<'%d s'>: a busy machine may need longer to hear from Kafka what there is to wait for (08006),
or to come as far as it is to come by then, which is when the error matches $told.

=cut

sub timed_out
{
	my ($node, $sql, $told) = @_;
	my $error;

	foreach my $seconds (3, 10, 30, 100)
	{
		(undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n" . sprintf $sql, $seconds);
		last if $told ? $error =~ $told : $error !~ /ERROR:  08006/;
	}
	return $error;
}

=item freeze($node, $pid)

SIGSTOP for a process of the server while it sleeps: one that is stopped elsewhere may
hold what all others need.

=cut

sub freeze
{
	my ($node, $pid) = @_;
	my $sleeps = "SELECT wait_event_type IN ('Extension', 'Lock') FROM pg_stat_activity WHERE pid = $pid";

	_poll(
		sub {
			kill 'STOP', $pid;
			return 1 if (try_sql($node, $sleeps) // '') eq 't';
			kill 'CONT', $pid;
			return 0;
		}) or die "process $pid does not sleep";
	return;
}

=item start_script($node, $script)

A session of its own that runs a script: C<h>, an IPC::Run harness to finish, C<out>
and C<err>, in which errors are SQLSTATEs.  From a file, because IPC::Run feeds standard
input only while somebody pumps.

=cut

sub start_script
{
	my ($node, $script) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir('script') . '/sql';
	my %run = (out => '', err => '');

	PostgreSQL::Test::Utils::append_to_file($file, $script);
	$run{h} = IPC::Run::start(
		[
			$node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=sqlstate',
			'-d', $node->connstr('postgres'), '-f', $file
		],
		'<', '/dev/null', '>', \$run{out}, '2>', \$run{err});
	return \%run;
}

=item wait_until($node, $sql, $expected, $what, $timeout, $dbname)

Passes as soon as the query's result equals $expected (a string, or a regular
expression); fails after $timeout seconds, showing the last result.  Survives
restarts of the server.

=cut

sub wait_until
{
	my ($node, $sql, $expected, $what, $limit, $dbname) = @_;
	my $is_re = ref($expected) eq 'Regexp';
	my $got;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$expected //= 't';
	_poll(
		sub {
			$got = try_sql($node, $sql, $dbname);
			return 0 unless defined $got;
			return $is_re ? $got =~ $expected : $got eq $expected;
		},
		$limit);
	return $is_re ? like($got // '(no answer)', $expected, $what)
	  : is($got // '(no answer)', $expected, $what);
}

=item wait_for_log($node, $regexp, $offset, $what, $timeout)

Passes when the server's log has it, at $offset or later; returns the offset
of the log's end.

=cut

sub wait_for_log
{
	my ($node, $regexp, $offset, $what, $limit) = @_;
	my $log = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok( _poll(
			sub {
				$log = slurp_file($node->logfile, $offset // 0);
				return $log =~ $regexp;
			},
			$limit),
		$what // "log: $regexp");
	return ($offset // 0) + length $log;
}

=item kill_process($node, $pid, $what)

Kills one of the server's processes, and passes when the server has noticed: until then it
answers as if nothing had been, and what it says of states is what was.  Returns whether the
process was there.

=cut

sub kill_process
{
	my ($node, $pid, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $killed = kill 'KILL', $pid;

	# (a process that is killed takes itself off this view as little as off anything else)
	wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', $what);
	return $killed;
}

# Call until true or until the deadline; a poll every 50 ms, as the server's
# own poll_query_until does.
sub _poll
{
	my ($condition, $limit) = @_;
	my $begin = Time::HiRes::time();

	# to ask costs a process or two: less often as it takes longer
	while (1)
	{
		return 1 if $condition->();
		my $elapsed = Time::HiRes::time() - $begin;
		return 0 if $elapsed > ($limit // $timeout);
		select(undef, undef, undef, $elapsed < 0.4 ? 0.05 : $elapsed < 2 ? $elapsed / 8 : 0.25);
	}
}

=back

=head1 BROKERS

=over

=item ascends($kafka, $topic, $count, $what)

Passes if the committed records of a topic are so many, and the numbers that are their values ascend in
each partition.

=cut

sub ascends
{
	my ($kafka, $topic, $count, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @records = $kafka->records($topic);
	my (%last, @wrong);

	foreach (@records)
	{
		my ($part, undef, undef, $value) = @$_;

		push @wrong, "$part: $value after $last{$part}" if ($last{$part} // 0) >= $value;
		$last{$part} = $value;
	}
	is_deeply(\@wrong, [], "$what: in order, none twice");
	return is(scalar @records, $count, "$what: all are there");
}

=item unescaped($field)

A field as kfk prints it; NULL stays C<\N>.

=cut

sub unescaped
{
	my ($field) = @_;
	my %letters = (t => "\t", n => "\n", r => "\r");

	return $field if $field eq '\N';
	$field =~ s/\\(?:x([0-9a-fA-F]{2})|(.))/defined $1 ? chr hex $1 : $letters{$2} \/\/ $2/ge;
	return $field;
}

=item shared_broker()

The broker of the runner, the same for all tests: use only topics of
C<-E<gt>topic>, and do not stop it.

=item start_broker(%opts)

A broker of this test's own.  C<properties =E<gt> { ... }> goes to its
configuration, C<start =E<gt> 0> does not start it.

=item start_cluster($n)

So many brokers of one cluster, each of which is a controller too, and that tables of topics
are replicated to all of; any of them may go while more than half stay.  Each knows all of
them (C<bootstrap>).

=item start_mock(brokers => N)

librdkafka's mock cluster in a process of its own; C<-E<gt>command("down 1")>
injects faults (see test/tools/kfk.c, run_mock).

=cut

sub shared_broker
{
	my $bootstrap = $ENV{KAFKA_SINK_TEST_BROKER}
	  or die "KAFKA_SINK_TEST_BROKER is not set: use test/run";

	return KafkaSinkTest::Broker->_new(bootstrap => $bootstrap);
}

sub start_broker
{
	my (%opts) = @_;
	my $port = $opts{port} // `$ENV{KAFKA_SINK_BROKER} free-port`;

	chomp $port;
	my $broker = KafkaSinkTest::Broker->_new(
		bootstrap => "127.0.0.1:$port",
		port => $port,
		dir => PostgreSQL::Test::Utils::tempdir('broker'),
		properties => $opts{properties} // {});
	push @ours, $broker;
	$broker->start if $opts{start} // 1;
	return $broker;
}

sub start_cluster
{
	my ($n) = @_;
	my @ports = map { my $port = `$ENV{KAFKA_SINK_BROKER} free-port`; chomp $port; $port } 1 .. $n;
	my $id = 'k' . substr(sprintf('%08x%08x%08x', map { rand 2**32 } 1 .. 3), 0, 20) . 'Q';
	my @brokers = map {
		my $node = $_;
		KafkaSinkTest::Broker->_new(
			bootstrap => join(',', map { "127.0.0.1:$_" } @ports),
			port => $ports[ $node - 1 ],
			dir => PostgreSQL::Test::Utils::tempdir("broker$node"),
			properties => {
				cluster => $id,
				'node.id' => $node,
				'controller.quorum.voters' => join(',', map { "$_\@127.0.0.1:" . ($ports[ $_ - 1 ] + 1) } 1 .. $n),
				'default.replication.factor' => $n,
				'offsets.topic.replication.factor' => $n,
				'transaction.state.log.replication.factor' => $n,
			})
	} 1 .. $n;

	push @ours, @brokers;
	# none of them is there before most are
	my @starts = map { $_->start_harness } @brokers;
	$_->finish or die 'a broker does not start' foreach @starts;
	return @brokers;
}

sub start_mock
{
	my (%opts) = @_;
	my $mock = KafkaSinkTest::Mock->_new(%opts);

	push @ours, $mock;
	return $mock;
}

# (what a coverage build has counted is written by a server that ends by itself)
END
{
	my $status = $?;
	if ($ENV{KAFKA_SINK_COVERAGE})
	{
		$_->stop('fast', fail_ok => 1) foreach grep { -e $_->data_dir . '/postmaster.pid' } @nodes;
	}
	$_->_end foreach reverse @ours;
	$? = $status;
}


package KafkaSinkTest::Broker;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use Test::More;

my $counter = 0;

sub _new
{
	my ($class, %self) = @_;
	return bless {%self}, $class;
}

sub bootstrap { return $_[0]->{bootstrap}; }
sub port { return $_[0]->{port}; }
sub dir { return $_[0]->{dir}; }

=item $broker->start, ->stop, ->kill9

start returns when the broker answers, on the same port and data as before;
stop and kill9 when its process is gone.

=cut

sub start
{
	my ($self) = @_;

	$self->_script($self->_start_args);
	return;
}

# The same, not waited for
sub start_harness
{
	my ($self) = @_;
	return IPC::Run::start([ $ENV{KAFKA_SINK_BROKER}, $self->_start_args ], '<', '/dev/null', '>&2');
}

sub _start_args
{
	my ($self) = @_;
	my %properties = %{ $self->{properties} };

	$self->{properties} = {};
	return ('start', $self->{dir}, $self->{port}, map { "$_=$properties{$_}" } sort keys %properties);
}

sub stop { return $_[0]->_script('stop', $_[0]->{dir}); }
sub kill9 { return $_[0]->_script('kill', $_[0]->{dir}); }

sub _script
{
	my ($self, @args) = @_;

	die "not a broker of this test's own" unless $self->{dir};
	IPC::Run::run([ $ENV{KAFKA_SINK_BROKER}, @args ], '<', \'', '>&2')
	  or die "broker @args failed";
	return;
}

sub _end
{
	my ($self) = @_;
	$self->_script('kill', $self->{dir});
	return;
}

=item $broker->kfk(@args)

What F<test/tools/kfk> prints; dies if it fails.

=cut

sub _kfk
{
	my ($self, @args) = @_;
	return ($ENV{KFK}, '-b', $self->bootstrap, '-t', $KafkaSinkTest::timeout, @args);
}

sub kfk
{
	my ($self, @args) = @_;
	my $out = '';

	IPC::Run::run([ $self->_kfk(@args) ], '<', \'', '>', \$out)
	  or die "kfk @args failed";
	chomp $out;
	return $out;
}

=item $broker->topic($base, $partitions, %config)

Creates a topic with a name that no other test has, and returns the name.
Without $partitions only the name is made.

=cut

sub topic
{
	my ($self, $base, $partitions, %config) = @_;
	my $name = sprintf('%s-%d-%d', $base, $$, ++$counter);

	$self->create_topic($name, $partitions, %config) if defined $partitions;
	return $name;
}

=item $broker->create_topic($name, $partitions, %config), ->delete_topic($name),
->add_partitions($name, $total), ->delete_records($name, $part, $before),
->alter_config($name, %config)

Return when the change can be seen.

=item $broker->watermarks($name)

One [part, low, high, last stable offset] per partition.

=item $broker->leaders($name)

One [part, leader or -1, replicas in sync] per partition, as far as the topic is there.

=item $broker->records($name)

One [part, offset, key, value] per committed record, escaped as kfk does.

=cut

sub create_topic
{
	my ($self, $name, $partitions, %config) = @_;
	return $self->kfk('create-topic', $name, $partitions,
		map { "$_=$config{$_}" } sort keys %config);
}

sub delete_topic { my ($self, $name) = @_; return $self->kfk('delete-topic', $name); }

sub add_partitions
{
	my ($self, $name, $total) = @_;
	return $self->kfk('add-partitions', $name, $total);
}

sub delete_records
{
	my ($self, $name, $part, $before) = @_;
	return $self->kfk('delete-records', $name, $part, $before // 'end');
}

sub alter_config
{
	my ($self, $name, %config) = @_;
	return $self->kfk('alter-config', $name, map { "$_=$config{$_}" } sort keys %config);
}

sub leaders
{
	my ($self, $name) = @_;
	return map { [ split /\t/ ] } split /\n/, $self->kfk('leaders', $name);
}

sub watermarks
{
	my ($self, $name) = @_;
	return map { [ split /\t/ ] } split /\n/, $self->kfk('watermarks', $name);
}

sub records
{
	my ($self, $name) = @_;
	return map { [ split /\t/, $_, -1 ] } split /\n/, $self->kfk('cat', $name);
}

=item $broker->settle(@topics)

Returns when no transaction is open there.  The end of a transaction is known to whoever
commits it before it is in its partitions: until then nothing of it is seen.

=cut

sub settle
{
	my ($self, @topics) = @_;

	foreach my $topic (@topics)
	{
		KafkaSinkTest::_poll(sub { return !grep { $_->[3] < $_->[2] } $self->watermarks($topic) })
		  or die "$topic: a transaction stays open";
	}
	return;
}

=item $broker->transactions($topic)

By partition, in the order of its log: the first and last offset of each batch, and a
name of the transaction that it was written in.

=cut

sub transactions
{
	my ($self, $topic) = @_;
	my ($out, %batches, %ended) = ('');

	IPC::Run::run([ $ENV{KAFKA_SINK_BROKER}, 'batches', $self->{dir}, $topic ], '<', \'', '>', \$out)
	  or die "broker batches $topic failed";
	foreach (split /\n/, $out)
	{
		my ($part, $first, $last, $producer, $epoch, $control) = split /\t/;
		my $of = "$part $producer $epoch";

		if ($control eq 'true') { $ended{$of}++; }
		else { push @{ $batches{$part} }, [ $first, $last, "$of " . ($ended{$of} // 0) ]; }
	}
	return \%batches;
}

=item $broker->gen($topic, %opts)

Synthetic records (kfk gen); returns when all are acknowledged.  C<count>,
C<from>, C<rate>, C<keys>, C<seed>, C<shape>, C<partitions>, C<codec>,
C<manifest>, C<copy>, for transactions C<txn>, C<abort>, C<hidden>, and
C<properties>, a hash for librdkafka.

=item $broker->gen_bg($topic, %opts)

The same, in the background: returns an object with C<finish>, which waits for
the end and says whether all were acknowledged, and C<stop>, which first tells
it to stop (C<count =E<gt> 0>: goes on until then).

=cut

sub _gen_args
{
	my ($topic, %opts) = @_;
	my %flags = (
		count => '-n', from => '--from', rate => '--rate', keys => '-k',
		seed => '--seed', shape => '--shape', partitions => '-p',
		codec => '-z', manifest => '--manifest', copy => '--copy',
		txn => '--txn', abort => '--abort', hidden => '--hidden');
	my %properties = %{ delete $opts{properties} // {} };

	$properties{'transactional.id'} = "gen-$topic-$$" if $opts{txn};

	return ((map { ('-X', "$_=$properties{$_}") } sort keys %properties), 'gen', $topic,
		map { ($flags{$_} // die("gen: no option $_"), $opts{$_}) } sort keys %opts);
}

sub gen
{
	my ($self, $topic, %opts) = @_;
	return $self->kfk(_gen_args($topic, %opts));
}

sub gen_bg
{
	my ($self, $topic, %opts) = @_;
	return KafkaSinkTest::Process->_new($self->_kfk(_gen_args($topic, %opts)));
}

=item $broker->script(%properties)

A producer driven command by command: C<-E<gt>P($part, $key, $value, ts =E<gt>
ms, headers =E<gt> [[name, value], ...])> after C<-E<gt>to($topic)>,
C<R($part, $id, $letters, $header)> (that many letters, in one record), C<F> (waits;
dies unless all were acknowledged), C<O> (offsets of the last acknowledged
records, { topic => { part => offset } }), C<B>, C<C>, C<A> (with
C<'transactional.id' =E<gt> ...>), C<end> (Q).  undef is NULL.

=cut

sub script
{
	my ($self, %properties) = @_;

	# (what a test does while one is open takes as long as it takes)
	$properties{'transaction.timeout.ms'} //= 600_000 if defined $properties{'transactional.id'};
	return KafkaSinkTest::Script->_new(
		$self->_kfk((map { ('-X', "$_=$properties{$_}") } sort keys %properties), 'script'));
}

=item $broker->produce($topic, $part, [ $key, $value ], ...)

A few records as one batch, acknowledged when it returns: a consumer gets all of
them or none.

=cut

sub produce
{
	my ($self, $topic, $part, @records) = @_;
	my $script = $self->script('linger.ms' => 120_000)->to($topic);

	$script->P($part, @$_) foreach @records;
	my $acked = $script->F;
	$script->end;
	die "$topic: $acked of " . @records . ' records acknowledged' if $acked != @records;
	return;
}


=item KafkaSinkTest::Watch->new($node, $query)

A session that is asked one query again and again, for less than a session each time:
C<answer> returns what try_sql() does.  Whoever has lost it connects with the next.

=cut

package KafkaSinkTest::Watch;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();

sub new
{
	my ($class, $node, $query) = @_;
	my $self = bless { node => $node, query => $query }, $class;

	push @ours, $self;
	return $self;
}

sub _connect
{
	my ($self) = @_;
	my $node = $self->{node};

	$self->{out} = '';
	$self->{in} = "PREPARE watch AS $self->{query};\n";
	$self->{run} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') . ' connect_timeout=10' ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err});
	return;
}

sub answer
{
	my ($self) = @_;
	my $answer;

	$self->_connect unless $self->{run};
	$self->{in} .= "EXECUTE watch;\n\\echo that is all\n";
	# (a server that is gone ends psql, and pump() may die of it)
	eval { $self->{run}->pump until $self->{out} =~ /^that is all\n/m || !$self->{run}->pumpable; };
	$answer = $1 if $self->{out} =~ s/\A(.*?)^that is all\n//ms;
	$self->_end unless defined $answer;
	chomp $answer if defined $answer;
	return $answer;
}

sub _end
{
	my ($self) = @_;
	my $run = delete $self->{run} or return;

	$run->kill_kill(grace => 1);
	return;
}


# A program in the background, ended with the test.
package KafkaSinkTest::Process;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();

sub _new
{
	my ($class, @command) = @_;
	my $self = bless { in => '', out => '', err => '', name => "@command" }, $class;

	$self->{timer} = IPC::Run::timeout($KafkaSinkTest::timeout);
	$self->{run} = IPC::Run::start(\@command, '<', \$self->{in}, '>', \$self->{out},
		$self->{timer});
	$self->{pid} = $self->{run}{KIDS}[0]{PID};
	push @ours, $self;
	return $self;
}

sub pid { return $_[0]->{pid}; }
sub output { return $_[0]->{out}; }

# Send a line and wait for the line of answer.
sub ask
{
	my ($self, $line) = @_;

	$self->{in} .= "$line\n";
	$self->{timer}->start($KafkaSinkTest::timeout);
	$self->{run}->pump until $self->{out} =~ s/^(.*)\n//;
	$self->{timer}->reset;
	return $1;
}

sub finish
{
	my ($self) = @_;
	my $run = delete $self->{run} or return $self->{ok};

	$self->{timer}->start($KafkaSinkTest::timeout);
	$self->{ok} = $run->finish;
	return $self->{ok};
}

sub stop
{
	my ($self) = @_;

	$self->{run}->signal('TERM') if $self->{run};
	return $self->finish;
}

sub _end
{
	my ($self) = @_;
	my $run = delete $self->{run} or return;

	$run->kill_kill(grace => 1);
	return;
}


package KafkaSinkTest::Script;

use strict;
use warnings FATAL => 'all';

our @ISA = ('KafkaSinkTest::Process');

sub to
{
	my ($self, $topic) = @_;

	$self->{topic} = $topic;
	return $self;
}

sub _field
{
	my ($value) = @_;

	return '\N' unless defined $value;
	$value =~ s/([\\\x00-\x1f\x7f])/sprintf('\\x%02x', ord $1)/ge;
	return $value;
}

sub _ok
{
	my ($self, @fields) = @_;
	my $answer = $self->ask(join("\t", @fields));

	die "$fields[0]: $answer" if $answer =~ /^E /;
	return $answer;
}

sub P
{
	my ($self, $part, $key, $value, %opts) = @_;

	$self->_ok('P', $self->{topic}, $part, _field($key), _field($value), $opts{ts} // '',
		map { "$_->[0]=" . _field($_->[1]) } @{ $opts{headers} // [] });
	return $self;
}

# {"id": $id, "note": "xxx..."}, or the letters in a header.
sub R
{
	my ($self, $part, $id, $letters, $header) = @_;

	$self->_ok('R', $self->{topic}, $part, $id, $letters, $header // ());
	return $self;
}

sub F
{
	my ($self) = @_;
	my (undef, $acked, $failed) = split / /, $self->_ok('F');

	die "$failed records failed" if $failed;
	return $acked;
}

sub O
{
	my ($self) = @_;
	my %offsets;

	foreach (split / /, $self->_ok('O') =~ s/^O ?//r)
	{
		/^(.*):(\d+):(\d+)$/ or die "O: $_";
		$offsets{$1}{$2} = $3;
	}
	return \%offsets;
}

sub B { $_[0]->_ok('B'); return $_[0]; }
sub C { $_[0]->_ok('C'); return $_[0]; }
sub A { $_[0]->_ok('A'); return $_[0]; }

# Quit.  An open transaction stays open until its timeout: a hanging one.
sub end
{
	my ($self) = @_;

	$self->{in} .= "Q\n";
	return $self->finish;
}


package KafkaSinkTest::Mock;

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils ();

our @ISA = ('KafkaSinkTest::Process', 'KafkaSinkTest::Broker');

sub _new
{
	my ($class, %opts) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir('mock') . '/bootstrap';
	my $self = KafkaSinkTest::Process::_new($class, $ENV{KFK}, 'mock', $file,
		$opts{brokers} // 1);

	# It answers its first command when the file is there.
	$self->ask('ready?');
	$self->{bootstrap} = PostgreSQL::Test::Utils::slurp_file($file);
	chomp $self->{bootstrap};
	return $self;
}

sub command
{
	my ($self, $command) = @_;
	my $answer = $self->ask($command);

	die "$command: $answer" if $answer ne 'OK';
	return;
}

=back

=cut

1;
