# The example of doc/feeds.md: payments in, balances in a table, alerts out, in one commit,
# while the processes of both directions are killed.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my ($section) = slurp_file("$FindBin::RealBin/../../doc/feeds.md") =~ /^## In, state and out in one commit\n(.*?)^## /ms
  or die 'the example is gone';
my @statements = map { s/^    //gmr } $section =~ /((?:^    .*\n|^\n(?=    ))+)/gm;
my $node = new_node('main', conf => "wal_level = logical\n");
my $kafka = start_broker();
my ($payments, $accounts) = (3000, 20);
my (%balance, @expected);

sub sql { return $node->safe_psql('postgres', $_[0]); }

create_server($node, $kafka);
$kafka->create_topic('payments', 3);
$kafka->create_topic('alerts', 2);
sql($_) foreach @statements;

# --- payments, and what is to come of them ---

my $script = $kafka->script->to('payments');
srand(7);
for my $n (1 .. $payments)
{
	my $account = 1 + int(rand($accounts));
	my $cents = int(rand(20000)) - 10000;
	my $before = $balance{$account} // 0;

	$balance{$account} = $before + $cents;
	push @expected, "$account $balance{$account}" if $before >= 0 && $balance{$account} < 0;
	$script->P($account % 3, $account, sprintf('{"account": %d, "amount": %.2f}', $account, $cents / 100));
	next if $n % 1000;
	# some have arrived; then it strikes
	$script->F;
	wait_until($node, 'SELECT sum(consumed) > 0 FROM kafka_sink.txn_offsets', 't', "$n: some have arrived");
	foreach my $kind ('worker', 'feed')
	{
		wait_until($node, "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'kafka_sink $kind'", 't', "$n: there is a $kind");
		my $pid = try_sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'kafka_sink $kind' LIMIT 1");
		kill_process($node, $pid, "$n: it is killed") if $pid;
	}
}
$script->end;
wait_until($node, "SELECT sum(off) FROM kafka_sink.txn_offsets WHERE sink = 'payments'", $payments, 'all have arrived');
sql("CALL kafka_sink.wait_for('alerts', timeout => '3 min')");

# --- state, and what came out ---

is(sql("SELECT string_agg(account || ' ' || (balance * 100)::int, ',' ORDER BY account) FROM balances"),
	join(',', map { "$_ $balance{$_}" } sort { $a <=> $b } keys %balance), 'balances');
my @alerts = map { my ($account, $b) = $_->[3] =~ /"account": (\d+), "balance": (-?[\d.]+)/; "$account " . sprintf('%.0f', 100 * $b) } $kafka->records('alerts');
cmp_ok(scalar @expected, '>', 50, 'there were reasons for alerts');
is_deeply([ sort @alerts ], [ sort @expected ], 'alerts, each once');
foreach my $account (1 .. $accounts)
{
	is_deeply([ grep { /^$account / } @alerts ], [ grep { /^$account / } @expected ], "account $account: in the order of its payments");
}
done_testing();
