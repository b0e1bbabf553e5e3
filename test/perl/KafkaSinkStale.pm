
=head1 NAME

KafkaSinkStale - situations in which what was told of a log is not true any more

=head1 SYNOPSIS

  use KafkaSinkStale;

  hold_and_break($node, $own, 'many', sub { $own->kill9; }, sub { $own->start; });
  make_shorter($node, $kafka, 'shorter');
  make_another($node, $kafka, 'another');
  is_deeply([ lost_records($node, $kafka, 'shorter') ], []);

Each makes a sink and its table of that name, without a key, so that a record
applied twice would be seen.  The tests of what then has to happen are the
caller's: of a build that is deliberately wrong they must fail.

=cut

package KafkaSinkStale;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use Test::More;

use KafkaSinkTest;

our @EXPORT = qw(stale_sink hold_and_break make_shorter make_another lost_records);

my %topics;

=item stale_sink($node, $server, $sink, $topic, $settings)

Makes the table (part, off, id) and the sink.

=cut

sub stale_sink
{
	my ($node, $server, $sink, $topic, $settings) = @_;

	$topics{$sink} = $topic;
	$node->safe_psql('postgres', qq{
		CREATE TABLE $sink (part int, off bigint, id bigint NOT NULL);
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => '$server', target => '$sink',
			columns => '{"part": "\@partition", "off": "\@offset"}', $settings);
		SELECT kafka_sink.register_topic('$sink', '$topic');
		COMMIT;
	});
	return;
}

=item hold_and_break($node, $own, $sink, $break, $mend)

200 partitions of a broker behind a proxy, known as server C<own>.  The worker
is held in a batch; what librdkafka has fetched meanwhile, ends of partitions
included, waits behind it when the connections break.  696 records in all.

=cut

sub hold_and_break
{
	my ($node, $own, $sink, $break, $mend) = @_;
	my $topic = $own->topic($sink, 200);
	my $producer = $own->script->to($topic);
	my $value = sub { return sprintf '{"id": %d, "note": "%s"}', $_[0], 'x' x 200; };
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	stale_sink($node, 'own', $sink, $topic, q{lock_timeout => '0', batch_linger_ms => 0});
	$producer->P($_, undef, $value->($_)) foreach 0 .. 199;
	$producer->F;
	wait_until($node, "SELECT count(*) FROM $sink", '200', "$sink: a record of each of 200 partitions");
	$node->safe_psql('postgres', "CALL kafka_sink.wait_for('$sink', timeout => '3 min')");

	my $holder = $node->background_psql('postgres');
	$holder->query_safe("BEGIN; LOCK TABLE $sink");
	$producer->P(0, undef, $value->(200))->F;
	wait_until($node, qq{
		SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		 WHERE l.relation = '$sink'::regclass AND NOT l.granted AND a.backend_type = 'kafka_sink worker'},
		'1', "$sink: the worker waits in a batch");

	my (undef, $before) = $own->proxy->count;
	for my $part (1 .. 99)
	{
		$producer->P($part, undef, $value->(1000 * $part + $_)) foreach 1 .. 5;
	}
	$producer->F;
	ok( KafkaSinkTest::_poll(sub { return ($own->proxy->count)[1] - $before > 495 * 200; }),
		"$sink: all records are fetched");

	my ($asked) = $own->proxy->count;
	$break->();
	ok(KafkaSinkTest::_poll(sub { return ($own->proxy->count)[0] > $asked; }), "$sink: the worker's side has noticed");
	$holder->query_safe('COMMIT');
	$holder->quit;
	$mend->();

	# what was passed over does not come later: it is enough to see the ends
	wait_until($node, "SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = '$sink'", '696', "$sink: it is at the ends");
	$producer->end;
	return;
}

=item make_shorter($node, $kafka, $sink)

The last of six records was passed over with skip(); the topic is made again
with the same five before it.

=cut

sub make_shorter
{
	my ($node, $kafka, $sink) = @_;
	my $topic = $kafka->topic($sink, 1);
	my @same = map { [ undef, qq({"id": $_}), ts => 1_700_000_000_000 + $_ ] } 1 .. 5;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	stale_sink($node, 'kafka', $sink, $topic, q{on_error => 'stop'});
	$kafka->produce($topic, 0, @same, [ undef, 'not JSON' ]);
	wait_until($node, "SELECT state, off FROM kafka_sink.sinks WHERE sink = '$sink'", 'halted|5', "$sink: a bad record halts it");
	$node->safe_psql('postgres', "SELECT kafka_sink.skip('$sink', '$topic', 0, 5)");
	is($node->safe_psql('postgres', "SELECT off, last_off FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
		'6|4', "$sink: it is passed over");
	$kafka->delete_topic($topic);
	$kafka->create_topic($topic, 1);
	$kafka->produce($topic, 0, @same);
	$node->safe_psql('postgres', "SELECT kafka_sink.resume('$sink')");
	return $topic;
}

=item make_another($node, $kafka, $sink)

100 records were consumed; the topic is made again with 200 others.

=cut

sub make_another
{
	my ($node, $kafka, $sink) = @_;
	my $topic = $kafka->topic($sink, 1);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	stale_sink($node, 'kafka', $sink, $topic, q{on_error => 'stop'});
	$kafka->gen($topic, count => 100);
	wait_until($node, "SELECT count(*) FROM $sink", '100', "$sink: has consumed");
	$node->safe_psql('postgres', "SELECT kafka_sink.pause('$sink')");
	wait_until($node, "SELECT pid IS NULL FROM kafka_sink.stat_sinks WHERE sink = '$sink'", 't', "$sink: is paused");
	$kafka->delete_topic($topic);
	$kafka->create_topic($topic, 1);
	$kafka->gen($topic, count => 200, from => 1000);
	$node->safe_psql('postgres', "SELECT kafka_sink.resume('$sink')");
	return $topic;
}

=item lost_records($node, $kafka, $sink)

Partition and offset of each record of the log, as it is now, that lies below
the sink's offset and is not in its table, or is another there.

=cut

sub lost_records
{
	my ($node, $kafka, $sink) = @_;
	my %rows = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', "SELECT part, off, id FROM $sink");
	my %off = map { split /\|/ } split /\n/,
	  $node->safe_psql('postgres', "SELECT part, off FROM kafka_sink.txn_offsets WHERE sink = '$sink'");
	my @lost;

	foreach ($kafka->records($topics{$sink}))
	{
		my ($part, $off, undef, $value) = @$_;
		my ($id) = $value =~ /"id": ?(\d+)/;

		push @lost, "$part/$off" if $off < $off{$part} && !$rows{"$part|$off|$id"};
	}
	return @lost;
}

1;
