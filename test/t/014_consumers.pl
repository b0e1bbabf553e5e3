# The example of doc/reference.md on consumer groups, as it is printed: several
# copies, which are killed, lose their connections and take over from each other,
# apply each record once.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use IPC::Run ();
use Test::More;

use PostgreSQL::Test::Utils;
use KafkaSinkTest;

my $python = $ENV{KAFKA_SINK_PYTHON} or die 'KAFKA_SINK_PYTHON is not set: use test/run';
my $node = new_node('main');
my $kafka = shared_broker();
my $topic = $kafka->topic('pay', 6);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# --- the example, with this test's names ---

my $reference = slurp_file(dirname(__FILE__) . '/../../doc/reference.md');
my ($code) = $reference =~ /^```python\n(import json\nimport time\n.*?)^```/ms;
ok(defined $code, 'the reference has the example');
my %ours = (
	'"dbname=app"' => "'" . $node->connstr('postgres') =~ s/'/\\'/gr . "'",
	'"localhost:9092"' => '"' . $kafka->bootstrap . '"',
	'"totals", "pay"' => qq{"totals", "$topic"},
	'"group.id": SINK' => qq{"group.id": "$topic", "session.timeout.ms": 6000});
foreach my $theirs (keys %ours)
{
	is(scalar(() = $code =~ /\Q$theirs\E/g), 1, "it says $theirs");
	$code =~ s/\Q$theirs\E/$ours{$theirs}/;
}
my $dir = PostgreSQL::Test::Utils::tempdir('example');
my $program = "$dir/example.py";
PostgreSQL::Test::Utils::append_to_file($program, $code);

my @copies;
sub start_copy
{
	local $ENV{PGAPPNAME} = 'copy ' . @copies;

	push @copies, { h => IPC::Run::start([ $python, $program ], '<', '/dev/null', '>>', "$dir/out", '2>>', "$dir/err") };
	return;
}
END
{
	my $status = $?;
	$_->{h}->kill_kill(grace => 0) foreach @copies;
	$? = $status;
}

# --- records: some in transactions, so that there are offsets without one ---

my ($produced, %expected) = (0);
my $plain = $kafka->script->to($topic);
my $transactional = $kafka->script('transactional.id' => $topic)->to($topic);
sub produce
{
	my ($count) = @_;

	for (my $n = 0; $n < $count; $n += 10)
	{
		my $kind = int(rand(3));
		my $script = $kind ? $transactional : $plain;
		my $part = int(rand(6));

		$transactional->B if $kind;
		foreach (1 .. 10)
		{
			my ($account, $amount) = (int(rand(5)), 1 + int(rand(1000)));

			$script->P($part, undef, qq({"account": $account, "amount": $amount}));
			next if $kind == 2;
			$expected{$account} += $amount;
			$produced++;
		}
		$script->F;
		$kind == 1 ? $transactional->C : $transactional->A if $kind;
	}
	return;
}

sql(q{
	SELECT kafka_sink.create_sink('totals');
	CREATE TABLE totals (account int PRIMARY KEY, sum numeric);
});
my $taken = q{SELECT coalesce(sum(consumed), 0) FROM kafka_sink.txn_offsets WHERE sink = 'totals'};

produce(600);
start_copy() for 1 .. 3;
wait_until($node, $taken, $produced, 'all is taken');
# killed in the middle, with others to take over and a new one that joins
produce(300);
$copies[0]{h}->signal('KILL');
produce(300);
start_copy();
wait_until($node, $taken, $produced, 'also when one is killed');
# connections that are lost
foreach (1 .. 5)
{
	produce(200);
	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'claim|totals' AND pid <> pg_backend_pid()});
}
# one that is taken for dead, and is not (in a transaction it would hold what the others need)
ok( KafkaSinkTest::_poll(
		sub {
			$copies[1]{h}->signal('STOP');
			return 1 if sql(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'copy 1'}) eq '0';
			$copies[1]{h}->signal('CONT');
			return 0;
		}),
	'one is stopped');
produce(300);
wait_until($node, $taken, $produced, 'or lost its connection, or does not answer');
$copies[1]{h}->signal('CONT');
produce(300);
wait_until($node, $taken, $produced, 'and comes back');
is(sql('SELECT account, sum FROM totals ORDER BY 1'), join("\n", map { "$_|$expected{$_}" } sort keys %expected),
	'each record is applied once');
is(sql(q{SELECT bool_and(start_off = 0 AND off = consumed + gaps), sum(gaps) > 0, count(*) FROM kafka_sink.txn_offsets WHERE sink = 'totals'}),
	't|t|6', 'and the accounts tell what had no record');
note slurp_file("$dir/out") if -e "$dir/out";
note slurp_file("$dir/err") if -e "$dir/err";
done_testing();
