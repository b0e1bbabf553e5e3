=pod

=head1 NAME

KafkaSinkBuild - other builds of the extension, for single tests

=head1 SYNOPSIS

  use KafkaSinkBuild;
  my $node = new_node('steps', conf => build_with('KS_FEED_STEPS'));

=head1 METHODS

=over

=item build_with(@macros)

Builds the extension with these macros, beside the one under test; what they do not
touch is taken from there.  Returns the configuration of a server that loads it.

=back

=cut

package KafkaSinkBuild;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;

our @EXPORT = qw(build_with);

my $source = dirname(__FILE__) . '/../..';

sub build_with
{
	my (@macros) = @_;
	my $build = PostgreSQL::Test::Utils::tempdir(lc $macros[-1]);
	my $any = join '|', (grep({ $_ eq 'KS_FEED_STEPS' } @macros) ? 'ks_feed_step' : ()), @macros;
	my @touched = grep { slurp_file($_) =~ /\b(?:$any)\b/ } glob("$source/src/*/*.c");

	system_or_bail('cp', '-a', "$source/src", "$source/sql", "$source/expected", "$source/Makefile",
		"$source/kafka_sink.control", glob("$source/kafka_sink--*.sql"), $build);
	unlink $ENV{MAKE_ARGS} ? glob("$build/src/*.o $build/src/*/*.o") : map { s{^\Q$source\E/(.*)\.c$}{$build/$1.o}r } @touched;
	mkdir "$build/test";
	mkdir "$build/test/tools";
	system_or_bail('make', '-s', '-j2', '-C', $build, "PG_CONFIG=$ENV{PG_CONFIG}", "DESTDIR=$build/inst",
		'COPT=' . join(' ', map { "-D$_" } @macros), 'install');
	my $conf = slurp_file($ENV{TEMP_CONFIG});
	$conf =~ s{'[^']*/inst\b}{'$build/inst}g;
	return $conf;
}

1;
