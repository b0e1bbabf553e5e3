# What a run with COPT=--coverage has reached, from what gcov makes of the counts:
# see test/coverage.  Called in the top of the tree that was built.
use strict;
use warnings FATAL => 'all';

use JSON::PP ();

my ($lines_to) = @ARGV;
my $watched = qr{^src/(?:.*/)?(?:source|consumer|reader|offsets|apply)[^/]*\.[ch]$};
my $wanted = 90;

# --- what gcov says: a file is told of once for each that includes it ---

my (%lines, %functions);
my @notes = glob('src/*.gcno src/*/*.gcno test/unit/counts/*/*.gcno') or die "nothing was built with --coverage\n";
open my $gcov, '-|', 'gcov', '--json-format', '--stdout', @notes or die "gcov: $!\n";
while (my $json = <$gcov>)
{
	foreach my $file (@{ JSON::PP::decode_json($json)->{files} })
	{
		my $name = $file->{file} =~ s{^.*(?=\bsrc/)}{}r;

		next unless $name =~ m{^src/} && -e $name;
		foreach my $f (@{ $file->{functions} })
		{
			@{ $functions{$name}{ $f->{start_line} } }{qw(name end)} = @$f{qw(name end_line)};
		}
		$lines{$name}{ $_->{line_number} } += $_->{count} foreach @{ $file->{lines} };
	}
}
close $gcov or die "gcov failed\n";

if ($lines_to ne '/dev/null')
{
	open my $out, '>', $lines_to or die "$lines_to: $!\n";
	foreach my $name (sort keys %lines)
	{
		print $out "$name:$_:$lines{$name}{$_}\n" foreach sort { $a <=> $b } keys %{ $lines{$name} };
		print $out "$name:$_:$functions{$name}{$_}{name}\n" foreach sort { $a <=> $b } keys %{ $functions{$name} };
	}
	close $out or die "$lines_to: $!\n";
}

# What cannot happen is not counted: elog() is for nothing else.
foreach my $name (keys %lines)
{
	open my $fh, '<', $name or die "$name: $!\n";
	my $never = 0;

	while (<$fh>)
	{
		$never = 1 if /^\s*elog\(/;
		delete $lines{$name}{$.} if $never;
		$never = 0 if /;$/;
	}
}

# Lines of a range, those of them that were run, and the share.
sub share
{
	my ($counts, $from, $until) = @_;
	my @all = grep { $_ >= $from && $_ <= $until } keys %$counts;
	my $run = grep { $counts->{$_} > 0 } @all;

	return (scalar @all, $run, @all ? 100 * $run / @all : 100);
}

# --- files ---

my ($all, $run) = (0, 0);
print "coverage of lines\n";
foreach my $name (sort keys %lines)
{
	my ($n, $reached, $percent) = share($lines{$name}, 0, 1e9);

	printf "%6.1f %%  %5d of %5d  %s\n", $percent, $reached, $n, $name;
	$all += $n;
	$run += $reached;
}
printf "%6.1f %%  %5d of %5d  all\n", 100 * $run / $all, $run, $all;

# --- functions ---

my ($unexplained, $explained) = (0, 0);
foreach my $name (grep { $_ =~ $watched } sort keys %functions)
{
	open my $fh, '<', $name or die "$name: $!\n";
	my @text = ('', <$fh>);
	my $before = 1;

	foreach my $start (sort { $a <=> $b } keys %{ $functions{$name} })
	{
		my $f = $functions{$name}{$start};
		my ($n, $reached, $percent) = share($lines{$name}, $start, $f->{end});
		my $source = join '', @text[ $before .. $f->{end} ];
		my ($why) = $source =~ m{not reached by tests: (.*?)\s*\*/}s;

		$before = $f->{end} + 1;
		next if $percent >= $wanted;
		$why =~ s/\s*\n\s*\*?\s*/ /g, $why =~ s/\)$// if defined $why;
		print "functions below $wanted %\n" unless $unexplained + $explained;
		defined $why ? $explained++ : $unexplained++;
		printf "%6.1f %%  %3d of %3d  %s:%d %s()%s\n", $percent, $reached, $n, $name, $start, $f->{name},
		  defined $why ? ": $why" : '';
		print '                       not run: ', ranges($lines{$name}, $start, $f->{end}), "\n" unless defined $why;
	}
}
print "functions below $wanted %: $unexplained, and $explained that say why\n";
exit($unexplained ? 1 : 0);

# Lines that were not run, as ranges.
sub ranges
{
	my ($counts, $from, $until) = @_;
	my @ranges;
	my $open = 0;

	foreach (sort { $a <=> $b } grep { $_ >= $from && $_ <= $until } keys %$counts)
	{
		if ($counts->{$_})
		{
			$open = 0;
		}
		elsif ($open)
		{
			$ranges[-1] =~ s/(?:-.*)?$/-$_/;
		}
		else
		{
			push @ranges, $_;
			$open = 1;
		}
	}
	return join ' ', @ranges;
}
