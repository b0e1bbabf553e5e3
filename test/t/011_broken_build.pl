# The same campaign against a build that is deliberately wrong: it moves the
# offsets in a transaction of their own.  A check that cannot see it is none.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkCrash;

my $source = "$FindBin::RealBin/../..";
my $build = PostgreSQL::Test::Utils::tempdir('broken');

system_or_bail('cp', '-r', "$source/src", "$source/sql", "$source/expected", "$source/Makefile",
	"$source/kafka_sink.control", glob("$source/kafka_sink--*.sql"), $build);
unlink glob("$build/src/*.o");
mkdir "$build/test";
mkdir "$build/test/tools";
system_or_bail('make', '-s', '-C', $build, "PG_CONFIG=$ENV{PG_CONFIG}", "DESTDIR=$build/inst",
	'COPT=-DKS_BREAK_ATOMICITY', 'install');

# the same settings as for the good one, with the other place
my $conf = slurp_file($ENV{TEMP_CONFIG});
$conf =~ s{'[^']*/inst\b}{'$build/inst}g;

my $campaign = KafkaSinkCrash->new(worker => 30, library => $build, stop_early => 1, conf => $conf);

like($campaign->{node}->safe_psql('postgres', 'SHOW dynamic_library_path'),
	qr/^\Q$build\E/, 'the broken library is the one in use');
$campaign->run;
my @violations = $campaign->violations;
note $_ for @violations;
# each in its own way: what the accounting says is no proof, because this build
# moves the offsets before it counts
ok((grep { /^VIOLATION I5 (heap|ins|ups)/ } @violations), "the reader finds it out (seed $campaign->{seed})");
ok((grep { /^VIOLATION I[13] / } @violations), 'so does the comparison with the manifest');
done_testing();
