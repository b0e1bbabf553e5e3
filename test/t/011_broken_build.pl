# Builds that are deliberately wrong, each in its own way.  A check that cannot
# see it is none.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkCrash;
use KafkaSinkProxy;
use KafkaSinkStale;

my $source = "$FindBin::RealBin/../..";

# Builds with a macro; returns what a server needs to use it.  What the macro
# does not touch is there already, unless the build has flags of its own.
sub build_with
{
	my ($macro) = @_;
	my $build = PostgreSQL::Test::Utils::tempdir(lc $macro);
	my @touched = grep { slurp_file($_) =~ /\b$macro\b/ } glob("$source/src/*/*.c");

	ok(scalar @touched, "$macro: the source knows it");
	system_or_bail('cp', '-a', "$source/src", "$source/sql", "$source/expected", "$source/Makefile",
		"$source/kafka_sink.control", glob("$source/kafka_sink--*.sql"), $build);
	unlink $ENV{MAKE_ARGS} ? glob("$build/src/*.o $build/src/*/*.o") : map { s{^\Q$source\E/(.*)\.c$}{$build/$1.o}r } @touched;
	mkdir "$build/test";
	mkdir "$build/test/tools";
	system_or_bail('make', '-s', '-j2', '-C', $build, "PG_CONFIG=$ENV{PG_CONFIG}", "DESTDIR=$build/inst",
		"COPT=-D$macro", 'install');

	# the same settings as for the good one, with the other place
	my $conf = slurp_file($ENV{TEMP_CONFIG});
	$conf =~ s{'[^']*/inst\b}{'$build/inst}g;
	return ($build, $conf);
}

sub uses
{
	my ($node, $build) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	like($node->safe_psql('postgres', 'SHOW dynamic_library_path'), qr/^\Q$build\E/, 'the broken library is the one in use');
	return;
}

# --- offsets in a transaction of their own ---

{
	my ($build, $conf) = build_with('KS_BREAK_ATOMICITY');
	my $campaign = KafkaSinkCrash->new(name => 'atomicity', events => { worker => 30 }, stop_early => 1, conf => $conf);

	uses($campaign->{node}, $build);
	$campaign->run;
	my @violations = $campaign->violations;
	# each in its own way: what the accounting says is no proof, because this
	# build moves the offsets before it counts
	ok((grep { /^VIOLATION I5 (heap|ins|ups)/ } @violations), "the reader finds it out (seed $campaign->{seed})");
	ok((grep { /^VIOLATION I[13] / } @violations), 'so does the comparison with what was produced');
	ok((grep { /^VIOLATION I9 / } @violations), 'and so do the gaps, which nobody knows of');
	is((grep { /^VIOLATION (I8|halted|no progress)/ } @violations), 0, 'and nothing else is wrong with it');
	$campaign->stop;
}

my $kafka = shared_broker();

# --- ends of partitions that are told too late ---

{
	my ($build, $conf) = build_with('KS_BREAK_STALE_EOF');
	my $node = new_node('stale_eof', conf => $conf);
	my $own = start_proxied_broker();

	uses($node, $build);
	create_server($node, $own->through, name => 'own', options => "reconnect_backoff_max_ms '500'");
	hold_and_break($node, $own, 'many', sub { $own->proxy->command('cut'); }, sub { });
	cmp_ok(scalar lost_records($node, $own, 'many'), '>', 0, 'records are lost');
	cmp_ok($node->safe_psql('postgres', 'SELECT sum(gaps) FROM kafka_sink.txn_offsets'), '>', 0, 'and counted as gaps');
	$node->stop('immediate');
}

# --- logs that are not compared with what was read of them ---

{
	my ($build, $conf) = build_with('KS_BREAK_TAIL_CHECK');
	my $node = new_node('tail_check', conf => $conf);

	uses($node, $build);
	create_server($node, $kafka);
	make_another($node, $kafka, 'another');
	wait_until($node, q{SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'another'}, '200', 'another log: it goes on');
	is(scalar lost_records($node, $kafka, 'another'), 100, 'another log: and has not the records before');
	$node->stop('immediate');
}
done_testing();
