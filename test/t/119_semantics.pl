# The examples of doc/semantics.md, each with the crash that it tells of, leave what it says.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $doc = slurp_file("$FindBin::RealBin/../../doc/semantics.md");
my $node = new_node('main');
my $kafka = start_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The statements under a heading.
sub example
{
	my ($heading) = @_;
	my ($section) = $doc =~ /^## \Q$heading\E\n(.*?)(?=^## )/ms or die "no section $heading";
	my @blocks = map { s/^    //gmr } $section =~ /((?:^    .*\n|^\n(?=    ))+)/gm;

	return @blocks;
}

# It ends at the line of the crash; then all of it is done again, as often.
sub crashes
{
	my ($heading, $times) = @_;
	my ($block) = grep { /-- a crash here/ } example($heading);

	sql($block =~ s/^-- a crash here.*//msr);
	sql($block) foreach 1 .. $times;
	return;
}

sub done { return sql("SELECT count(*) FROM done WHERE how = '$_[0]'"); }

sql($_) foreach example('Two writes');

crashes('At most once', 1);
is(done('most_once'), 0, 'at most once: lost');
like($doc, qr/\*\*no row of\s+three\*\*/, 'as the text says');
crashes('At least once', 1);
is(done('least_once'), 6, 'at least once: doubled');
like($doc, qr/\*\*six rows of three\*\*/, 'as the text says');
crashes('Idempotent writes', 1);
is(sql("SELECT string_agg(account || ' ' || amount, ', ' ORDER BY account) FROM latest"), '7 30, 8 20', 'idempotent: nothing is seen of it');
crashes('Exactly once: transactional writes', 2);
is(done('exactly_once'), 3, 'exactly once');
is(sql("SELECT string_agg(sink || ' ' || off, ', ' ORDER BY sink) FROM kafka_sink.txn_offsets"),
	'exactly_once 3, idempotent 3, least_once 3, most_once 3', 'and all positions are behind the batch');

# --- the sinks, killed ---

create_server($node, $kafka);
$kafka->create_topic('payments', 3);
sql($_) foreach grep { !/-- a crash here/ } example('Exactly once: transactional writes');
my $n = 0;
my %sums;
for my $round (1 .. 3)
{
	my $script = $kafka->script->to('payments');

	for (1 .. 500)
	{
		my ($account, $amount) = ($n % 10, $n % 7);

		$script->P($n % 3, $account, sprintf('{"id": %d, "account": %d, "amount": %d}', $n++, $account, $amount));
		$sums{$account} += $amount;
	}
	$script->end;
	wait_until($node, "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker'", 't', "$round: there is a worker");
	my $pid = try_sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink worker' LIMIT 1");
	kill_process($node, $pid, "$round: it is killed") if $pid;
}
foreach my $sink (qw(payments sums))
{
	wait_until($node, "SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = '$sink'", $n, "$sink: all have arrived");
}
is(sql('SELECT count(*), count(DISTINCT id) FROM payments'), "$n|$n", 'nothing is missing, nothing is doubled');
is(sql('SELECT sum(payments) FROM account_sums'), $n, 'nor counted twice');
is(sql("SELECT string_agg(account || ' ' || amount, ', ' ORDER BY account) FROM account_sums"),
	join(', ', map { "$_ $sums{$_}" } sort { $a <=> $b } keys %sums), 'nor added up twice');

done_testing();
