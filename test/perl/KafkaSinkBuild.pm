=pod

=head1 NAME

KafkaSinkBuild - other builds of the extension, for single tests

=head1 SYNOPSIS

  use KafkaSinkBuild;
  my $node = new_node('steps', conf => build_with('KS_FEED_STEPS'));
  my ($pid, $end) = wait_for_step($node, 'begun', $offset);

=head1 METHODS

=over

=item build_with(@macros)

Builds the extension with these macros, beside the one under test; what they do not
touch is taken from there.  Returns the configuration of a server that loads it.

=item set_step($node, $step)

Feeds of such a build stop at this step from now on; at none, if it is empty.

=item wait_for_step($node, $step, $offset, $what)

Passes when the log says, at $offset or later, that a feed stops at a step, and its
process has: SIGCONT finds it so.  Returns its pid, and the offset of the log's end.

=back

=cut

package KafkaSinkBuild;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;

use KafkaSinkTest;

our @EXPORT = qw(build_with set_step wait_for_step);

my $source = dirname(__FILE__) . '/../..';

# The arguments of make that the build under test was made with (MAKE_ARGS is quoted as for
# a shell), with these macros.
sub _arguments
{
	my @args = map { s/\\(.)/$1/gr } ($ENV{MAKE_ARGS} // '') =~ /((?:\\.|[^\s\\])+)/g;
	my $flags = join ' ', (map { /^COPT=(.*)/ } @args), map { "-D$_" } @_;

	return ((grep { !/^COPT=/ } @args), "COPT=$flags");
}

sub build_with
{
	my (@macros) = @_;
	my $build = PostgreSQL::Test::Utils::tempdir(lc $macros[-1]);
	my @words = ((grep { $_ eq 'KS_FEED_STEPS' } @macros) ? 'ks_feed_step' : (), @macros);
	my %touched;

	foreach my $file (glob("$source/src/*/*.c"))
	{
		my $text = slurp_file($file);

		$touched{$_}{$file} = 1 foreach grep { $text =~ /\b$_\b/ } @words;
	}
	$touched{$_} or die "no file knows $_" foreach @words;
	system_or_bail('cp', '-a', "$source/src", "$source/sql", "$source/expected", "$source/Makefile",
		"$source/kafka_sink.control", glob("$source/kafka_sink--*.sql"), $build);
	unlink map { s{^\Q$source\E/(.*)\.c$}{$build/$1.o}r } map { keys %$_ } values %touched;
	mkdir "$build/test";
	mkdir "$build/test/tools";
	system_or_bail('make', '-s', '-j2', '-C', $build, "PG_CONFIG=$ENV{PG_CONFIG}", "DESTDIR=$build/inst", _arguments(@macros), 'install');
	# the same settings, with the other place
	my $conf = slurp_file($ENV{TEMP_CONFIG});
	$conf =~ s{'[^']*/inst\b}{'$build/inst}g;
	return $conf;
}

sub set_step
{
	my ($node, $step) = @_;

	$node->append_conf('postgresql.auto.conf', "kafka_sink.feed_stop_at = '$step'");
	$node->reload;
	return;
}

# The state of a process, as /proc has it; '' if it is gone.
sub _state_of
{
	my ($pid) = @_;

	open my $file, '<', "/proc/$pid/stat" or return '';
	return (<$file> // '') =~ /\) (\w) / ? $1 : '';
}

sub wait_for_step
{
	my ($node, $step, $offset, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $end = wait_for_log($node, qr/feed stops at step $step$/m, $offset, $what // "it stops at $step");
	my ($pid) = slurp_file($node->logfile, $offset) =~ /\[(\d+)\] kafka_sink feed .*feed stops at step $step$/m
	  or die "nobody stops at step $step";

	# (it is said before it is done)
	KafkaSinkTest::_poll(sub { return _state_of($pid) !~ /[RSD]/ }) or die "process $pid does not stop at step $step";
	return ($pid, $end);
}

1;
