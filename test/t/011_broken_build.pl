# Builds that are deliberately wrong, each in its own way.  A check that cannot
# see it is none.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;
use KafkaSinkBuild;
use KafkaSinkCrash;
use KafkaSinkProxy;
use KafkaSinkStale;

sub uses
{
	my ($node, $conf) = @_;
	my ($path) = $conf =~ /^dynamic_library_path = '(.*)'$/m;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($node->safe_psql('postgres', 'SHOW dynamic_library_path'), $path, 'the broken library is the one in use');
	return;
}

# --- offsets in a transaction of their own ---

{
	my $conf = build_with('KS_BREAK_ATOMICITY');
	my $campaign = KafkaSinkCrash->new(name => 'atomicity', events => { worker => 30 }, stop_early => 1, conf => $conf);

	uses($campaign->{node}, $conf);
	$campaign->run;
	my @violations = $campaign->violations;
	# each in its own way: what the accounting says is no proof, because this
	# build moves the offsets before it counts
	ok((grep { /^VIOLATION I5 (heap|ins|ups)/ } @violations), "the reader finds it out (seed $campaign->{seed})");
	ok((grep { /^VIOLATION I[13] / } @violations), 'so does the comparison with what was produced');
	ok((grep { /^VIOLATION I9 / } @violations), 'and so do the gaps, which nobody knows of');
	is((grep { /^VIOLATION (I8|halted|no progress)/ } @violations), 0, 'and nothing else is wrong with it');
	$campaign->stop;
}

my $kafka = shared_broker();

# --- ends of partitions that are told too late ---

{
	my $conf = build_with('KS_BREAK_STALE_EOF');
	my $node = new_node('stale_eof', conf => $conf);
	my $own = start_proxied_broker();

	uses($node, $conf);
	create_server($node, $own->through, name => 'own', options => "reconnect_backoff_max_ms '500'");
	hold_and_break($node, $own, 'many', sub { $own->proxy->command('cut'); }, sub { });
	cmp_ok(scalar lost_records($node, $own, 'many'), '>', 0, 'records are lost');
	cmp_ok($node->safe_psql('postgres', 'SELECT sum(gaps) FROM kafka_sink.txn_offsets'), '>', 0, 'and counted as gaps');
	$node->stop('immediate');
}

# --- logs that are not compared with what was read of them ---

{
	my $conf = build_with('KS_BREAK_TAIL_CHECK');
	my $node = new_node('tail_check', conf => $conf);

	uses($node, $conf);
	create_server($node, $kafka);
	make_another($node, $kafka, 'another');
	wait_until($node, q{SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'another'}, '200', 'another log: it goes on');
	is(scalar lost_records($node, $kafka, 'another'), 100, 'another log: and has not the records before');
	$node->stop('immediate');
}
done_testing();
