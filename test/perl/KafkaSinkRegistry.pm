
=head1 NAME

KafkaSinkRegistry - a schema registry, and records that Confluent's serializers wrote

=head1 SYNOPSIS

  use KafkaSinkRegistry;

  my $registry = KafkaSinkRegistry->start;
  my $id = $registry->register("$topic-value", $schema);
  my $producer = $registry->producer($kafka);
  $producer->produce({ topic => $topic, value => { ... }, value_schema => $schema }, ...);

The registry is Apicurio's, which speaks Confluent's API at C<-E<gt>url> and its own at
C<-E<gt>own_url>, and of this test's own; it ends with the test.  What is registered is there again after
C<stop> or C<kill9>, and C<resume>.

The registry and the serializers are the runner's (KAFKA_SINK_REGISTRY,
test/registry).

=cut

package KafkaSinkRegistry;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use HTTP::Tiny ();
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

our @EXPORT_OK = qw(test_format sink becomes);

my $dir = dirname(__FILE__) . '/../registry';
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my @ours;

sub start
{
	my ($class) = @_;
	my $port = `$ENV{KAFKA_SINK_BROKER} free-port`;

	$ENV{KAFKA_SINK_REGISTRY} or die 'KAFKA_SINK_REGISTRY is not set: use test/run';
	chomp $port;
	my $self = bless {
		port => $port,
		dir => PostgreSQL::Test::Utils::tempdir('registry'),
		http => HTTP::Tiny->new(timeout => $KafkaSinkTest::timeout)
	}, $class;
	push @ours, $self;
	return $self->resume;
}

sub own_url { return "http://127.0.0.1:$_[0]->{port}/apis/registry/v2"; }
sub url { return "http://127.0.0.1:$_[0]->{port}/apis/ccompat/v7"; }

sub _script
{
	my ($self, @args) = @_;

	IPC::Run::run([ "$dir/registry", @args ], '<', \'', '>&2') or die "registry @args failed";
	return $self;
}

sub resume { return $_[0]->_script('start', $_[0]->{dir}, $_[0]->{port}); }
sub stop { return $_[0]->_script('stop', $_[0]->{dir}); }
sub kill9 { return $_[0]->_script('kill', $_[0]->{dir}); }

END
{
	my $status = $?;
	$_->kill9 foreach @ours;
	$? = $status;
}

=over

=item test_format($node, $format)

On which server sinks are, and of what format, from here on.

=item sink($name, $topic, $settings, $server)

A sink of one topic, into the table of its name; settings as SQL, C<kafka> if no server is given.

=item becomes($query, $expected, $what)

wait_until(), which shows what became of all sinks if it fails.

=cut

my ($node, $format);

sub test_format
{
	($node, $format) = @_;
	return;
}

sub sink
{
	my ($name, $topic, $settings, $server) = @_;

	$server //= 'kafka';
	$settings = ", $settings" if length $settings;
	$node->safe_psql('postgres', qq{
		BEGIN;
		SELECT kafka_sink.create_sink('$name', server => '$server', target => '"$name"', format => '$format'$settings);
		SELECT kafka_sink.register_topic('$name', '$topic');
		COMMIT});
	return;
}

sub becomes
{
	my ($query, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, $query, $expected, $what)
	  || diag $node->safe_psql('postgres', 'SELECT sink, state, waits_for, sqlstate, message, detail, hint FROM kafka_sink.sinks')
		. $node->safe_psql('postgres', 'SELECT * FROM kafka_sink.dead_letters');
}

=item $registry->register($subject, $schema, %opts)

The id of a schema (text), which is registered.  C<type> is AVRO if not given,
C<references> are [name, subject, version] each.

=item $registry->versions($subject)

One [version, id] of each schema of a subject.

=item $registry->requests($path)

How many requests were answered of paths that match.

=cut

sub _ask
{
	my ($self, $method, $path, $body) = @_;
	my $answer = $self->{http}->request($method, $self->url . $path, {
			headers => { 'Content-Type' => 'application/vnd.schemaregistry.v1+json' },
			$body ? (content => $json->encode($body)) : () });

	$answer->{success} or die "$method $path: $answer->{status} $answer->{content}";
	return $json->decode($answer->{content});
}

sub register
{
	my ($self, $subject, $schema, %opts) = @_;
	my @references = map { { name => $_->[0], subject => $_->[1], version => $_->[2] } } @{ $opts{references} // [] };

	return $self->_ask('POST', "/subjects/$subject/versions",
		{ schema => $schema, schemaType => $opts{type} // 'AVRO', references => \@references })->{id};
}

sub versions
{
	my ($self, $subject) = @_;

	return map { [ $_, $self->_ask('GET', "/subjects/$subject/versions/$_")->{id} ] }
	  @{ $self->_ask('GET', "/subjects/$subject/versions") };
}

sub requests
{
	my ($self, $path) = @_;

	return scalar grep { /access method="\w+" path="([^"]*)"/ && $1 =~ $path } split /\n/, slurp_file("$self->{dir}/log");
}

=item $registry->with_guids

A registry before this one that has GUIDs too, as Confluent's; with C<url> and
C<producer>.

=item $registry->producer($kafka)

What writes records with Confluent's serializers, see test/registry/produce.py:
C<-E<gt>produce($record, ...)> returns a hash with C<offset>, C<key_id>, C<value_id> for
each, and dies if Kafka, the registry or the serializer refuses one.

=back

=cut

sub _python
{
	my ($class, $script, @args) = @_;
	local $ENV{PYTHONPATH} = "$ENV{KAFKA_SINK_REGISTRY}/python";
	local $ENV{PYTHONDONTWRITEBYTECODE} = 1;

	return KafkaSinkTest::Process::_new($class, 'python3', "$dir/$script", @args);
}

sub with_guids
{
	my ($self) = @_;

	return _python('KafkaSinkRegistry::Guids', 'guids.py', $self->url);
}

sub producer
{
	my ($self, $kafka) = @_;

	return _python('KafkaSinkRegistry::Producer', 'produce.py', $kafka->bootstrap, $self->url);
}


package KafkaSinkRegistry::Guids;

use strict;
use warnings FATAL => 'all';

our @ISA = ('KafkaSinkTest::Process');

sub url { return $_[0]->{url} //= $_[0]->ask('where?'); }
sub producer { return KafkaSinkRegistry::producer(@_); }


package KafkaSinkRegistry::Producer;

use strict;
use warnings FATAL => 'all';

our @ISA = ('KafkaSinkTest::Process');

sub produce
{
	my ($self, @records) = @_;
	my @answers;

	foreach my $record (@records)
	{
		my $answer = $json->decode($self->ask($json->encode($record)));

		die "$record->{topic}: $answer->{error}" if defined $answer->{error};
		push @answers, $answer;
	}
	return @answers;
}

1;
