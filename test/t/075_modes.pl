# Every way to write against a model in SQL: random records (keys that repeat,
# tombstones, values that cannot be decoded or that the table refuses) to sinks
# of every mode, format, envelope and way to treat errors, in batches that end
# anywhere.  Tables, dead letters and counts must be those of the model, which
# applies one record at a time by ordinary statements; then what is wrong is
# mended, dead letters are retried, and it must hold again.
#
# All modes promise that the table does not depend on where batches end, and
# are held to it here.  It holds for accumulate as long as what the table
# refuses does not depend on the sum of several records, and for commands that
# add up.
#
# KAFKA_SINK_MODES: number of cases; KAFKA_SINK_SEED: of a former run;
# KAFKA_SINK_CASE: that one alone (or several: 3,5-7).  The script of such a
# case, and of one that fails, is left in the directory of logs, with what it
# printed.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkModel;
use KafkaSinkModes;

my $seed = $ENV{KAFKA_SINK_SEED} // int(rand(2**31));
my $cases = $ENV{KAFKA_SINK_MODES} // 144;
my @cases = map { /^(\d+)-(\d+)$/ ? $1 .. $2 : $_ } split /,/, $ENV{KAFKA_SINK_CASE} // "1-$cases";
my $logs = $PostgreSQL::Test::Utils::log_path;
my $dir = PostgreSQL::Test::Utils::tempdir('modes');

note "KAFKA_SINK_SEED=$seed";

my $node = new_node('main', conf => <<'EOC');
fsync = off
kafka_sink.enabled = off
log_min_messages = fatal
max_parallel_workers_per_gather = 0
autovacuum = off
EOC
$node->safe_psql('postgres', KafkaSinkModel::setup());

sub write_file
{
	my ($file, $text) = @_;

	open my $fh, '>:raw', $file or die "$file: $!";
	print $fh $text;
	close $fh;
	return $file;
}

my %met;
foreach my $nth (@cases)
{
	my $case = KafkaSinkModes->new($seed, $nth);
	my $file = write_file("$dir/$nth.sql", $case->{sql});
	my $out = '';
	my $ended = IPC::Run::run(
		[
			$node->installed_command('psql'), '-XAtq', '-F', ' ', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr('postgres') . " options='-c client_min_messages=warning'", '-f', $file
		],
		'<', \'', '>&', \$out,
		IPC::Run::timeout($KafkaSinkTest::timeout));
	my @wrong = grep { /^wrong / } split /\n/, $out;

	push @wrong, grep { /ERROR|FATAL|PANIC|server closed/ } split /\n/, $out unless $ended && $out =~ /^done$/m;
	ok($ended && $out =~ /^done$/m && !@wrong, "case $nth: $case->{about}") or do
	{
		diag "KAFKA_SINK_SEED=$seed KAFKA_SINK_CASE=$nth: modes_$nth.sql, .out";
		diag "  $_" foreach grep { defined } @wrong[ 0 .. 4 ];
	};
	if (!$ended || @wrong || defined $ENV{KAFKA_SINK_CASE})
	{
		write_file("$logs/modes_$nth.sql", $case->{sql});
		write_file("$logs/modes_$nth.out", $out);
	}
	$met{$1}++ while $out =~ /^met (\S+) /mg;
	$met{'without SQL'}++ if $out =~ /records without SQL/;
}
note join ', ', map { "$_ $met{$_}" } sort keys %met;
if (@cases >= 100)
{
	cmp_ok($met{$_} // 0, '>', 0, "cases with $_")
	  foreach qw(applied deleted filtered dead_lettered ignored superseded unmatched stopped limited searched mended),
	  qw(22001 22003 22004 22012 22021 22023 22P02 22P04 22P05 23502 23503 23505 23514 P0001), 'without SQL';
}
done_testing();
