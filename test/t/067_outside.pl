# The sink from outside: random tables (types, domains, defaults and checks that write,
# identities, generated columns, partitions, inheritance, foreign keys, indexes and
# triggers of every kind) and batches with bad records of every kind, by the fast
# paths, by SQL, one by one, and by a model that applies each record by a plain
# statement in a database of its own.  Rows, counts and what is refused must be
# the same for all four; see KafkaSinkOutsideModel for what may differ, and why.
#
# The seeds are fixed: a new case can show what is wrong elsewhere, and that is for a
# run that looks for it.
#
# KAFKA_SINK_OUTSIDE: cases of each seed; KAFKA_SINK_MINUTES: go on with new seeds
# so long; KAFKA_SINK_SEED: that one alone; KAFKA_SINK_CASE: that one of it (or
# several: 3,5-7).  Of a case that fails, the records that it takes to fail are
# looked for (for KAFKA_SINK_SHRINK seconds), and its scripts are left in the
# directory of logs.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use KafkaSinkTest;
use KafkaSinkOutside;
use KafkaSinkOutsideModel;

my $fresh = int(rand(2**31));
my @seeds = defined $ENV{KAFKA_SINK_SEED} ? $ENV{KAFKA_SINK_SEED} : (1, 2, 3);
my $cases = $ENV{KAFKA_SINK_OUTSIDE} // 30;
my @cases = map { /^(\d+)-(\d+)$/ ? $1 .. $2 : $_ } split /,/, $ENV{KAFKA_SINK_CASE} // "1-$cases";
my $until = time + 60 * ($ENV{KAFKA_SINK_MINUTES} // 0);
my $logs = $PostgreSQL::Test::Utils::log_path;
my $dir = PostgreSQL::Test::Utils::tempdir('outside');
my @ways = qw(fast sql rows);

note "KAFKA_SINK_SEED=$fresh" if $ENV{KAFKA_SINK_MINUTES} && !defined $ENV{KAFKA_SINK_SEED};
note "left out: $_: $KafkaSinkOutside::excluded{$_}" foreach sort keys %KafkaSinkOutside::excluded;

my $node = new_node('main', extension => 0, conf => <<'EOC');
fsync = off
kafka_sink.enabled = off
log_min_messages = fatal
max_parallel_workers_per_gather = 0
autovacuum = off
timezone = 'UTC'
datestyle = 'ISO, YMD'
EOC
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my $icu = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_collation WHERE collprovider = 'i'});

$node->safe_psql('postgres', 'CREATE ROLE app');
$node->safe_psql('postgres', 'CREATE DATABASE model');
$node->safe_psql('model', KafkaSinkTables::types($icu) . KafkaSinkOutsideModel::model_setup());
$node->safe_psql('postgres', 'CREATE DATABASE fast');
$node->safe_psql('fast', 'CREATE EXTENSION kafka_sink; CREATE EXTENSION amcheck; ' . KafkaSinkTables::types($icu) . KafkaSinkTables::check_indexes() . KafkaSinkOutsideModel::sink_setup());
$node->safe_psql('postgres', "CREATE DATABASE \"$_\" TEMPLATE fast") foreach qw(sql rows);

sub write_file
{
	my ($file, $text) = @_;

	open my $fh, '>:encoding(UTF-8)', $file or die "$file: $!";
	print $fh $text;
	close $fh;
	return $file;
}

# A script in several databases at once: what each says.
sub run_script
{
	my ($script, @dbs) = @_;
	my $file = write_file("$dir/script.sql", $script);
	my (%out, @runs);

	foreach my $db (@dbs)
	{
		$out{$db} = '';
		push @runs, IPC::Run::start(
			[
				$node->installed_command('psql'), '-XAtq', '-F', ' ', '-v', "way=$db", '-v', 'fast=' . ($db eq 'sql' ? 'off' : 'on'),
				'-d', $node->connstr($db) . " options='-c client_min_messages=error'", '-f', $file
			],
			'<', \'', '>&', \$out{$db},
			IPC::Run::timeout($KafkaSinkTest::timeout));
	}
	$_->finish foreach @runs;
	s/^psql:\S+: //mg foreach values %out;
	return \%out;
}

# Runs a case: what is wrong with it, and what all have printed.
sub run_case
{
	my ($case) = @_;
	my $out = run_script($case->way_script, @ways);
	my %seen = map { $_ => KafkaSinkOutsideModel::parse($out->{$_}) } @ways;
	my $script = $case->model_script($seen{fast});

	$out->{model} = run_script($script, 'model')->{model};
	$seen{model} = KafkaSinkOutsideModel::parse($out->{model});
	return ([ KafkaSinkOutsideModel::differences($case, \%seen) ], \%seen, $out, $script);
}

# What two messages of one kind have in common.
sub kind { return defined $_[0] ? $_[0] =~ s/\d+/N/gr =~ s/: .*//r : ''; }

# Leaves out what it does not take for the case to go wrong in the same way: the
# batches behind, halves, then single records, as long as a minute.
sub shrink
{
	my ($case, $wrong) = @_;
	my $kind = kind($wrong->[0]);
	my $end = time + ($ENV{KAFKA_SINK_SHRINK} // 60);
	my $try = sub {
		my ($batches) = @_;
		local $case->{batches} = $batches;
		my ($found) = run_case($case);
		return kind($found->[0]) eq $kind;
	};

	my ($nth) = $wrong->[0] =~ /^(\d+)/;
	if ($nth > 0)
	{
		my $short = [ @{ $case->{batches} }[ 0 .. $nth - 1 ] ];
		$case->{batches} = $short if $try->($short);
	}
	foreach my $b (reverse 0 .. $#{ $case->{batches} })
	{
		for (my $size = @{ $case->{batches}[$b] }; $size >= 1; $size = int($size / 2))
		{
			for (my $at = 0; $at < @{ $case->{batches}[$b] } && time < $end;)
			{
				my @batches = map { [@$_] } @{ $case->{batches} };

				splice @{ $batches[$b] }, $at, $size;
				if ($try->(\@batches)) { $case->{batches} = \@batches; }
				else { $at += $size; }
			}
		}
	}
	return;
}

sub report
{
	my ($case, $seed, $wrong) = @_;

	diag "KAFKA_SINK_SEED=$seed KAFKA_SINK_CASE=$case->{nth}";
	diag "  $_" foreach grep { defined } @$wrong[ 0 .. 5 ];
	shrink($case, $wrong);
	my ($again, undef, $out, $script) = run_case($case);
	my $base = "$logs/outside_${seed}_$case->{nth}";

	write_file("$base.ways.sql", $case->way_script);
	write_file("$base.model.sql", $script);
	foreach my $db (keys %$out)
	{
		open my $fh, '>:raw', "$base.$db" or die "$base.$db: $!";
		print $fh $out->{$db};
		close $fh;
	}
	diag '  with the fewest records: ' . ($again->[0] // 'nothing is wrong');
	my @records = map { @$_ } $case->numbered;
	diag "  $_->{n}: $_->{topic} $_->{part} $_->{off} " . substr($_->{key} // 'NULL', 0, 100) . ' -> ' . substr($_->{value} // 'NULL', 0, 400)
	  foreach grep { defined } @records[ 0 .. 9 ];
	diag "  scripts and output: $base.*";
	return;
}

my %met = map { $_ => 0 } qw(cases records fast rejected stopped superseded unmatched deleted);
my %states;

sub one
{
	my ($seed, $nth, $asked) = @_;
	my $case = KafkaSinkOutside->new($seed, $nth, $version, $icu, $asked);
	my $about = $case->{about};
	my ($wrong, $seen) = run_case($case);

	ok(!@$wrong, "seed $seed, case $nth: $about") or report($case, $seed, $wrong);
	$met{cases}++;
	$met{fast}++ if $seen->{fast}{fast};
	$met{records} += @$_ foreach @{ $case->{batches} };
	foreach my $batch (map { $seen->{fast}{$_} } grep { /^\d+$/ } keys %{ $seen->{fast} })
	{
		foreach (values %{ $batch->{rejected} }) { $met{rejected}++; $states{$_}++; }
		foreach (@{ $batch->{steps} })
		{
			my ($what, undef, $state, $counts) = @$_;

			if ($what eq 'stop') { $met{stopped}++; $states{$state}++; }
			else { $met{$1} += $2 while $counts =~ /"(superseded|unmatched|deleted)": (\d+)/g; }
		}
	}
	return;
}

foreach my $seed (@seeds)
{
	one($seed, $_) foreach @cases;
}
# what is written partition by partition, as often as there are ways to write
if (!defined $ENV{KAFKA_SINK_SEED})
{
	one(4, 1000 + $_, 'partitioned') foreach 1 .. 16;
	# and what looks at rows or writes while records are applied, by ways that have an order
	my %way = (check_stable => [ 1, 2, 3, 4 ], namesake => [ 1 .. 4 ]);
	my $nth = 2000;

	foreach my $feature (@{ $KafkaSinkOutside::special{insert} })
	{
		one(5, $nth + $_, $feature) foreach map { $_, $_ + 8 } @{ $way{$feature} // [ 1, 2, 6 ] };
		$nth += 16;
	}
}
while (time < $until)
{
	one(++$fresh, $_) foreach grep { time < $until } @cases;
}
note join ', ', map { "$_ $met{$_}" } sort keys %met;
note 'refused: ' . join ', ', map { "$_ $states{$_}" } sort keys %states;
if ($met{cases} >= 100)
{
	cmp_ok($met{$_}, '>', 0, "cases with $_") foreach qw(rejected stopped superseded unmatched deleted);
	cmp_ok($states{$_} // 0, '>', 0, "cases with $_") foreach qw(22P02 23502 23505 23503 23514);
	cmp_ok($met{fast}, '>', $met{cases} * 0.1, 'many went the fast way');
}
done_testing();
