# The fast write paths do what the general path does: the same random records
# to the same random tables, once with and once without them, must leave the
# same rows, counts and indexes, and refuse the same records for the same
# reasons.
#
# KAFKA_SINK_PATHS: number of cases; KAFKA_SINK_SEED: of a former run;
# KAFKA_SINK_CASE: that one alone (or several: 3,5-7).  The script of such a
# case, and of one that differs, is left in the directory of logs, with what each
# path printed.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use List::Util qw(sum);
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkPaths;

my $seed = $ENV{KAFKA_SINK_SEED} // int(rand(2**31));
my $cases = $ENV{KAFKA_SINK_PATHS} // 150;
my @cases = map { /^(\d+)-(\d+)$/ ? $1 .. $2 : $_ } split /,/, $ENV{KAFKA_SINK_CASE} // "1-$cases";
my $logs = $PostgreSQL::Test::Utils::log_path;

note "KAFKA_SINK_SEED=$seed";

my $node = new_node('main', extension => 0, conf => <<'EOC');
fsync = off
kafka_sink.enabled = off
log_min_messages = fatal
max_parallel_workers_per_gather = 0
autovacuum = off
EOC
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my $icu = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_collation WHERE collprovider = 'i'});
my ($setting) = split /\n/, $node->safe_psql('postgres',
	q{SELECT name FROM pg_settings WHERE name IN ('kafka_sink.fast_path', 'kafka_sink.direct_insert') ORDER BY name DESC});

BAIL_OUT('there is no setting that turns the fast paths off') unless $setting;
note "setting $setting";
$node->safe_psql('postgres', 'CREATE ROLE app');
$node->safe_psql('postgres', 'CREATE DATABASE "on"');
$node->safe_psql('on', 'CREATE EXTENSION kafka_sink; ' . KafkaSinkPaths::setup($version, $icu));
$node->safe_psql('postgres', 'CREATE DATABASE "off" TEMPLATE "on"');

# The script on both databases at once: what each says, and whether both
# servers were there to the end.
sub run_both
{
	my ($file) = @_;
	my %out = (on => '', off => '');
	my %run;
	my $ok = 1;

	foreach my $fast (qw(on off))
	{
		$run{$fast} = IPC::Run::start(
			[
				$node->installed_command('psql'), '-XAtq', '-F', ' ',
				'-v', "fast=$fast", '-v', "setting=$setting",
				'-v', 'VERBOSITY=verbose', '-v', 'SHOW_CONTEXT=always',
				'-d', $node->connstr($fast) . " options='-c client_min_messages=error'",
				'-f', $file
			],
			'<', \'', '>&', \$out{$fast},
			IPC::Run::timeout($KafkaSinkTest::timeout));
	}
	$ok &&= $run{$_}->finish foreach qw(on off);
	return (\%out, $ok);
}

# Is each record of txn_offsets accounted for, once?
sub accounts
{
	foreach (grep { /^offsets / } @_)
	{
		my (undef, $part, $off, $consumed, @became) = split / /;
		my $gaps = pop @became;

		return 0 if $consumed != sum(@became) || $off != $consumed + $gaps || grep { $_ < 0 } @became;
	}
	return 1;
}

# Leaves a case for a closer look.
sub keep
{
	my ($case, $out) = @_;
	my $base = "$logs/paths_$case->{nth}";
	my %text = (sql => $case->{sql}, %$out);

	foreach (sort keys %text)
	{
		open my $fh, '>', "$base.$_" or die "$base.$_: $!";
		binmode $fh, $_ eq 'sql' ? ':encoding(UTF-8)' : ':raw';
		print $fh $text{$_};
		close $fh;
	}
	return;
}

# Shows what is wrong with a case, and where the paths differ.
sub report
{
	my ($case, $on, $off, @wrong) = @_;
	my $line = 0;

	diag join ', ', @wrong;
	$line++ while $line < @$on && $line < @$off && $on->[$line] eq $off->[$line];
	diag "KAFKA_SINK_SEED=$seed KAFKA_SINK_CASE=$case->{nth}: paths_$case->{nth}.sql, .on, .off";
	return if $line == @$on && $line == @$off;
	diag '  same: ' . substr($on->[ $line - 1 ], 0, 300) if $line > 0;
	diag '  on:   ' . substr($on->[$_] // '(end)', 0, 500) foreach $line .. $line + 2;
	diag '  off:  ' . substr($off->[$_] // '(end)', 0, 500) foreach $line .. $line + 2;
	return;
}

my %ways;
my %met = map { $_ => 0 } ('cases', 'refused', 'refused at commit', 'taken', 'rows');
my %states;
my $wrong_way = 0;
my $dir = PostgreSQL::Test::Utils::tempdir('paths');

foreach my $nth (@cases)
{
	my $case = KafkaSinkPaths->new($seed, $nth, $version, $icu);
	my $file = "$dir/$nth.sql";

	open my $fh, '>:encoding(UTF-8)', $file or die "$file: $!";
	print $fh $case->{sql};
	close $fh;
	my ($out, $ended) = run_both($file);
	my @on = KafkaSinkPaths::normalise($out->{on}, $case);
	my @off = KafkaSinkPaths::normalise($out->{off}, $case);
	my @wrong;

	push @wrong, 'a server ended' unless $ended;
	push @wrong, 'the paths differ' if join("\n", @on) ne join("\n", @off);
	push @wrong, 'an index or a table is damaged' if grep { /DAMAGED/ } @on, @off;
	push @wrong, 'records are not accounted for' unless accounts(@on, @off);
	ok(!@wrong, "case $nth: $case->{about}") or report($case, \@on, \@off, @wrong);
	keep($case, $out) if @wrong || defined $ENV{KAFKA_SINK_CASE};

	my $taken = grep { /^(result|before it) / } @on;
	$met{cases}++ if $taken;
	$met{taken} += $taken;
	$met{refused} += grep { /^(error|ERROR:) +(?!25P02)/ } @on;
	$met{rows} += grep { /^row / } @on;
	foreach (0 .. $#on)
	{
		next unless $on[$_] =~ /^(?:error|ERROR:) +(\w{5}):/;
		$states{$1}++;
		$met{'refused at commit'}++ if $on[ $_ - 1 ] eq 'commit';
	}
	$ways{ $case->{mode} }{ KafkaSinkPaths::way($out->{on}) // 'unknown' }++;
	$wrong_way++ if (KafkaSinkPaths::way($out->{off}) // '') eq 'fast';
}

note join ', ', map { "$_ $met{$_}" } sort keys %met;
note 'refused: ' . join ', ', map { "$_ $states{$_}" } sort keys %states;
foreach my $mode (sort keys %ways)
{
	note "$mode: " . join ', ', map { "$_ $ways{$mode}{$_}" } sort keys %{ $ways{$mode} };
}
is($wrong_way, 0, "$setting = off: all rows went the general way");
if (@cases >= 50)
{
	cmp_ok($met{cases}, '>', @cases * 0.6, 'most cases took records');
	cmp_ok($met{refused}, '>', @cases * 0.5, 'records were refused');
	cmp_ok($met{'refused at commit'}, '>', 0, 'some at COMMIT') if @cases >= 400;
	# direct_insert has a fast path for inserts alone
	cmp_ok($ways{$_}{fast} // 0, '>', @cases * 0.03, "$_: many cases went the fast way")
	  foreach $setting =~ /fast_path/ ? qw(insert upsert) : 'insert';
}
done_testing();
