# The reference's table of types is what sql/types.sql shows, line by line.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my @tested = grep { /^\| `/ } split /\n/, slurp_file("$top/expected/types.out");
my ($section) = slurp_file("$top/doc/reference.md") =~ /^### Types\n(.*?)^##/ms;
my @written = grep { /^\| `/ } split /\n/, $section;

cmp_ok(scalar @tested, '>', 20, 'types that are tested');
is($written[$_] // '(missing)', $tested[$_], $tested[$_] =~ s/^\| (`[^`]*`).*/$1/r) foreach 0 .. $#tested;
is(scalar @written, scalar @tested, 'and no more are in the reference');

done_testing();
