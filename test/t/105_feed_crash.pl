# Faults of all kinds while feeds publish: nothing lost, nothing twice, commits in their
# order, no transaction torn, as readers of committed records see it.
#
# KAFKA_SINK_FEED_WORKER, _POSTMASTER, _BROKER, _TERMINATE, _STOP, _FREEZE, _PROXY, _DISK:
# how often each strikes; _RATE: transactions/s; _TIMEOUT: the feeds' transaction_timeout,
# in seconds; _LONGEST: seconds that a fault may go on; _SECONDS: ends it earlier (900), 0: does
# not; _VERBOSE: tells of each.
# KAFKA_SINK_SEED: of a former run.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;
use KafkaSinkFeedChecks;
use KafkaSinkFeedCrash;

# --- the check: it finds what is wrong, and nothing else ---

{
	# What Kafka has, by topic, as kfk tells it.
	package MadeUpChecks;
	our @ISA = ('KafkaSinkFeedChecks');

	sub _each { my ($self, $topic, $do) = @_; $do->(@$_) foreach @{ $self->{records}{$topic} // [] }; return; }
	sub transactions { my ($self, $topic) = @_; return { 0 => $self->{batches}{$topic} }; }
	sub read_commits { return; }
}

# Of transactions of Kafka, each a list of [ xid, topic of each record, '' if it is not in this one ];
# returns the kinds of violations.
sub violations_of
{
	my ($spoil, @kafka) = @_;
	my (%offset, %records, %batches, %ledger, %position);

	foreach my $transaction (@kafka)
	{
		my %from = %offset;

		foreach (@$transaction)
		{
			my ($xid, @topics) = @$_;

			$ledger{$xid} = @topics;
			$position{$xid} //= keys %position;
			foreach my $i (grep { $topics[ $_ - 1 ] } 1 .. @topics)
			{
				push @{ $records{ $topics[ $i - 1 ] } },
				  [ 0, $offset{ $topics[ $i - 1 ] }++ // 0, 'key', sprintf '{"xid":%d,"i":%d,"n":%d,', $xid, $i, scalar @topics ];
			}
		}
		foreach (grep { $offset{$_} > ($from{$_} // 0) } keys %offset)
		{
			# and behind it the marker
			push @{ $batches{$_} }, [ $from{$_} // 0, $offset{$_}++ - 1, $transaction ];
		}
	}
	$spoil->(\%records);
	my $checks = MadeUpChecks->new(topics => { f => { a => 1, b => 1, c => 1 } }, progress_topic => 'none',
		records => \%records, batches => \%batches);
	$checks->{kafka} = $checks;
	$checks->{position} = \%position;
	$checks->final({ f => \%ledger });
	return join ' ', sort keys %{ $checks->{told} };
}

my @good = ([ [ 1, 'a', 'b' ], [ 2, 'a', 'c', 'a' ] ], [ [ 3, 'b', 'b' ] ], [ [ 4, 'a', 'b', 'c' ], [ 5, 'c' ] ]);
is(violations_of(sub { }, @good), '', 'the check finds nothing where nothing is wrong');
is(violations_of(sub { pop @{ $_[0]{b} } }, @good), 'F1', 'a lost record');
is(violations_of(sub { push @{ $_[0]{b} }, $_[0]{b}[-1] }, @good), 'F2', 'a record that is there twice');
is(violations_of(sub { @{ $_[0]{b} }[ 1, 3 ] = @{ $_[0]{b} }[ 3, 1 ] }, @good), 'F2', 'records in another order');
is(violations_of(sub { push @{ $_[0]{b} }, [ 0, 99, 'key', '{"xid":9,"i":1,"n":1,' ] }, @good), 'F1', 'a record of a transaction that was rolled back');
is(violations_of(sub { }, [ [ 1, 'a' ] ], [ [ 2, 'a', '' ] ], [ [ 2, '', 'a' ] ]), 'F3', 'a transaction that is torn in a partition');
is(violations_of(sub { }, [ [ 1, 'a', 'b', 'c' ], [ 2, 'a', '' ] ], [ [ 2, '', 'b' ], [ 3, 'b', 'c' ] ]), 'F3', 'a transaction that is torn between partitions');

# --- the campaign ---

sub setting { my ($name, $default) = @_; return $ENV{"KAFKA_SINK_FEED_\U$name"} // $default; }

my %events = (
	worker => 6, postmaster => 3, broker => 3, terminate => 2, stop => 2, freeze => 1, proxy => 3, disk => 1);
my $seconds = setting('seconds', 900);
my $campaign = KafkaSinkFeedCrash->new(
	($seconds ? (until => time + $seconds) : ()),
	events => { map { $_ => setting($_, $events{$_}) } keys %events },
	rate => setting('rate', 100), timeout => setting('timeout', 8), longest => setting('longest', 3),
	verbose => setting('verbose', 0));

$campaign->run;
is_deeply([ $campaign->violations ], [], "no violation (seed $campaign->{seed})");
foreach my $kind (sort keys %events)
{
	# a time limit ends it where it stands
	my $wanted = $campaign->{events}{$kind};

	cmp_ok($campaign->struck($kind), '>=', $wanted && $campaign->{cut_short} ? 1 : $wanted, "$kind: it struck");
}
cmp_ok($campaign->{checks}{transactions}, '>', 100, 'transactions were published');
cmp_ok($campaign->{checks}{records}, '>', 1000, 'of many records');
cmp_ok($campaign->{checks}{stretches}, '>', 20, 'in many transactions of Kafka');
cmp_ok($campaign->{checks}{looks}, '>', 0, 'a reader looked on');
done_testing();
