# Faults of all kinds while records arrive: nothing missing, nothing twice, no
# gap that is none, and no snapshot that says otherwise.
#
# KAFKA_SINK_CRASH_WORKER, _POSTMASTER, _BROKER, _TERMINATE, _LOCK, _STOP, _FREEZE,
# _PROXY, _DISK: how often each strikes; KAFKA_SINK_CRASH_RECORDS: it goes on until there
# are so many; _RATE: records/s; _LONGEST, _FROZEN: seconds that a fault may go on, and a freeze does;
# _SECONDS: ends it earlier, 0: does not; _VERBOSE: tells of each.
# KAFKA_SINK_SEED: of a former run.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;
use KafkaSinkCrash;

sub setting { my ($name, $default) = @_; return $ENV{"KAFKA_SINK_CRASH_\U$name"} // $default; }

my %events = (
	worker => 30, postmaster => 8, broker => 8, terminate => 10,
	lock => 12, stop => 8, freeze => 0, proxy => 12, disk => 5);
my $seconds = setting('seconds', 150);
my $campaign = KafkaSinkCrash->new(
	($seconds ? (until => time + $seconds) : ()),
	events => { map { $_ => setting($_, $events{$_}) } keys %events },
	rate => setting('rate', 2000), records => setting('records', 0),
	longest => setting('longest', 4), frozen => setting('frozen', 35), verbose => setting('verbose', 0));

$campaign->run;
is_deeply([ $campaign->violations ], [], "no violation (seed $campaign->{seed})");
for my $kind (sort keys %events)
{
	# a time limit ends it where it stands
	my $wanted = $campaign->{events}{$kind};

	$wanted = 1 if $wanted && $seconds;
	cmp_ok($campaign->struck($kind), '>=', $wanted, "$kind: it struck");
}
# (each time a kind that was hit least)
cmp_ok($campaign->hit($_), '>=', 1, "$_: it was hit") foreach $campaign->struck('terminate') >= 8 ? qw(worker watcher run supervisor launcher) : ();
cmp_ok($campaign->{checks}{snapshots}, '>', 10, 'the reader saw snapshots');
my %counts = %{ $campaign->{counts} };
cmp_ok($counts{records}, '>=', setting('records', 1000), 'records were produced');
cmp_ok($counts{$_}, '>', 0, "there were some: $_") foreach qw(aborted markers compacted);
cmp_ok($campaign->deleted, '>', 0, 'records were deleted behind the sinks');
done_testing();
