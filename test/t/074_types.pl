# The reference's tables of types are what sql/types.sql, sql/avro_types.sql and
# sql/protobuf_types.sql show, line by line.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
foreach ([ 'types', 'Types' ], [ 'avro_types', "Avro's types" ], [ 'protobuf_types', "Protobuf's types" ])
{
	my ($test, $title) = @$_;
	my @tested = grep { /^\| `/ } split /\n/, slurp_file("$top/expected/$test.out");
	my ($section) = slurp_file("$top/doc/reference.md") =~ /^### \Q$title\E\n(.*?)^##/ms;
	my @written = grep { /^\| `/ } split /\n/, $section;

	cmp_ok(scalar @tested, '>', 20, "$title that are tested");
	is($written[$_] // '(missing)', $tested[$_], $tested[$_] =~ s/^\| (`[^`]*`).*/$1/r) foreach 0 .. $#tested;
	is(scalar @written, scalar @tested, 'and no more are in the reference');
}

done_testing();
