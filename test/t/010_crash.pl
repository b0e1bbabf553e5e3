# Kills of the workers, the postmaster and the broker while records arrive:
# nothing missing, nothing twice, and no snapshot that says otherwise.
#
# KAFKA_SINK_CRASH_WORKER, _POSTMASTER, _BROKER: numbers of kills;
# KAFKA_SINK_CRASH_MINUTES: ends it earlier; KAFKA_SINK_SEED: of a former run.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;
use KafkaSinkCrash;

my $minutes = $ENV{KAFKA_SINK_CRASH_MINUTES};
my $campaign = KafkaSinkCrash->new(
	(defined $minutes ? (until => time + 60 * $minutes) : ()),
	worker => $ENV{KAFKA_SINK_CRASH_WORKER} // 100,
	postmaster => $ENV{KAFKA_SINK_CRASH_POSTMASTER} // 20,
	broker => $ENV{KAFKA_SINK_CRASH_BROKER} // 10);

$campaign->run;
for my $what (qw(worker postmaster broker))
{
	# a time limit ends it where it stands
	cmp_ok($campaign->{kills}{$what} // 0, '>=', defined $minutes ? 1 : $campaign->{$what}, "$what: kills done");
}
cmp_ok($campaign->{snapshots}, '>', 10, 'the reader saw snapshots');
cmp_ok($campaign->{end}, '>', 1000, 'records were produced');
is_deeply([ $campaign->violations ], [], "no violation (seed $campaign->{seed})");
done_testing();
