# Records that cannot be applied, through live workers: none is lost, none is
# there twice, whatever ends the worker, and the accounts are exact.  A sink that
# rejects too many halts.  Bad input costs time, but not much, and breaks nothing.
use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use List::Util qw(min);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

# (segments of WAL are used again, as on a server that has run for a while)
my $node = new_node('main', conf => "min_wal_size = 512MB\n");
my $kafka = shared_broker();
my $seed = $ENV{KAFKA_SINK_SEED} // int(rand 2**31);

print "# KAFKA_SINK_SEED=$seed\n";
srand $seed;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Many records at once: [ part, key, value ], acknowledged when it returns.
sub produce
{
	my ($topic, @records) = @_;
	my @lines;

	for my $i (0 .. $#records)
	{
		my ($part, $key, $value) = @{ $records[$i] };

		push @lines, join("\t", 'P', $topic, $part, map { KafkaSinkTest::Script::_field($_) } $key, $value) . "\t\n";
		push @lines, "F\n" if $i % 20000 == 19999;
	}
	my $in = join '', @lines, "F\n";
	my $out = '';
	IPC::Run::run([ $kafka->_kfk('script') ], '<', \$in, '>', \$out) or die 'kfk script failed';
	die "not all was acknowledged: $&" if $out =~ /^(?:E .*|F \d+ [1-9].*)$/m;
	return;
}

sub create_sink
{
	my ($sink, $topic, $settings, $ddl) = @_;

	sql(qq{
		CREATE TABLE $sink ($ddl);
		BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink', $settings);
		SELECT kafka_sink.register_topic('$sink', '$topic');
		COMMIT;
	});
	return;
}

sub accounts_are_exact
{
	my ($sink, $consumed, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( sql(qq{
		SELECT sum(consumed),
		       bool_and(consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched),
		       bool_and(off - start_off = consumed + gaps),
		       sum(applied) = (SELECT count(*) FROM $sink),
		       sum(dead_lettered) = (SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = '$sink')
		  FROM kafka_sink.txn_offsets WHERE sink = '$sink'}),
		"$consumed|t|t|t|t", "$what: the accounts are exact");
	return;
}

create_server($node, $kafka);

# --- 50,000 records, bad ones among them, and a worker that is killed ---

my $topic = $kafka->topic('letters', 3);
my @records = map {
	my $value =
	    $_ % 500 == 7 ? qq({"id": $_, "qty": "many"})
	  : $_ % 1000 == 400 ? qq({"id": $_, "qty": -1})
	  : $_ % 5000 == 1 && $_ > 1 ? '{"id": 0, "qty": 1}'
	  : qq({"id": $_, "qty": $_});
	[ $_ % 3, "k$_", $value ]
} 0 .. 49_999;
my ($undecodable, $refused, $duplicate) = (100, 50, 9);

# the first 10,000 are there before the worker, the others come while it is killed
produce($topic, @records[ 0 .. 9999 ]);
create_sink('letters', $topic, q{on_error => 'dead_letter', batch_records => 700, columns => '{"part": "@partition", "off": "@offset"}'},
	'id bigint PRIMARY KEY, qty int CHECK (qty >= 0), part int, off bigint, at timestamptz DEFAULT clock_timestamp()');
my $kills = 0;
for my $end (19_999, 29_999, 39_999, 49_999)
{
	my $done = sql(q{SELECT coalesce(sum(consumed), 0) FROM kafka_sink.txn_offsets WHERE sink = 'letters'});
	my $pid;

	produce($topic, @records[ $end - 9999 .. $end ]);
	ok( KafkaSinkTest::_poll(
			sub {
				my $row = try_sql($node, q{SELECT pid, (SELECT sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = 'letters')
					FROM kafka_sink.stat_sinks WHERE sink = 'letters' AND pid IS NOT NULL}) or return 0;
				my ($worker, $consumed) = split /\|/, $row;

				$pid = $worker if length $consumed && $consumed > $done;
				return $pid;
			}),
		'a worker that has moved on') or last;
	$kills += kill_process($node, $pid, 'is killed');
}
is($kills, 4, 'four times');
wait_until($node, q{SELECT sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = 'letters'}, 50_000, 'all is consumed');
accounts_are_exact('letters', 50_000, 'killed workers');
is(sql(q{SELECT sqlstate, coalesce(column_name, '-'), count(*), count(DISTINCT (part, off)) FROM kafka_sink.dead_letters
		WHERE sink = 'letters' GROUP BY 1, 2 ORDER BY 1}),
	"22P02|qty|$undecodable|$undecodable\n23505|-|$duplicate|$duplicate\n23514|-|$refused|$refused",
	'each bad record is a dead letter, once');
is(sql(q{SELECT count(*) FROM (SELECT part, off FROM letters UNION ALL SELECT part, off FROM kafka_sink.dead_letters) r
		GROUP BY part, off HAVING count(*) > 1}), '', 'no record is there twice');
is(sql(q{SELECT count(*) FROM kafka_sink.dead_letters
		WHERE convert_from(key, 'UTF8') !~ '^k[0-9]+$' OR topic IS NULL OR ts IS NULL OR headers IS NOT NULL
		   OR off * 3 + part <> substr(convert_from(key, 'UTF8'), 2)::int}), 0, 'with key, place and time');
# (or has been idle for a minute)
wait_until($node, q{SELECT state FROM kafka_sink.sinks WHERE sink = 'letters'}, qr/^(running|idle)$/, 'and the sink runs');

# mended and retried while the worker runs
sql(q{ALTER TABLE letters DROP CONSTRAINT letters_qty_check});
is(sql(q{SELECT consumed, applied, dead_lettered FROM kafka_sink.retry_dead_letters('letters')}),
	($undecodable + $refused + $duplicate) . "|$refused|" . ($undecodable + $duplicate), 'retry');
is(sql(q{SELECT count(*) FROM letters WHERE qty = -1}), $refused, 'those that are mended are there');

# headers, bad bytes in them too
my $script = $kafka->script->to($topic);
$script->P(0, undef, 'bad', headers => [ [ 'trace', "\x00\xff" ], [ 'none', undef ] ]);
$script->F;
$script->end;
wait_until($node, q{SELECT h.name, h.value, convert_from(d.value, 'UTF8') FROM kafka_sink.dead_letters d, unnest(headers) h},
	"trace|\\x00ff|bad\nnone||bad", 'headers are kept');

# retention
sql(q{SELECT kafka_sink.alter_sink('letters', dead_letter_retention => '1 day')});
sql(q{CALL kafka_sink.wait_for('letters', timeout => '3 min')});
isnt(sql(q{SELECT count(*) FROM kafka_sink.dead_letters}), 0, 'dead letters are kept');
sql(q{SELECT kafka_sink.alter_sink('letters', dead_letter_retention => '1 ms')});
wait_until($node, q{SELECT count(*) FROM kafka_sink.dead_letters}, 0, 'for as long as dead_letter_retention says');
sql(q{SELECT kafka_sink.drop_sink('letters')});

# --- too many: the sink halts at the record that is one too many ---

$topic = $kafka->topic('limit', 1);
produce($topic, map { [ 0, undef, $_ % 10 == 9 ? '{' : qq({"id": $_}) ] } 0 .. 999);
for my $on_error (qw(dead_letter ignore))
{
	my $sink = "limit_$on_error";

	create_sink($sink, $topic, "on_error => '$on_error', reject_limit => '40', batch_records => 64", 'id bigint PRIMARY KEY');
	my ($dead, $ignored) = $on_error eq 'ignore' ? (0, 1) : (1, 0);
	# the 41st bad record stands at 409, the 41st from there at 809
	for my $off (409, 809)
	{
		my $rejected = ($off - 9) / 10;

		wait_until($node, "SELECT state, off, sqlstate, message FROM kafka_sink.sinks WHERE sink = '$sink'",
			"halted|$off|53400|more records cannot be applied than reject_limit allows", "$on_error: the sink halts at $off");
		is(sql("SELECT off, consumed, applied, dead_lettered, ignored FROM kafka_sink.txn_offsets WHERE sink = '$sink'"),
			join('|', $off, $off, $off - $rejected, $dead * $rejected, $ignored * $rejected), 'all before it is consumed');
		sql("SELECT kafka_sink.resume('$sink')");
	}
	wait_until($node, "SELECT off, applied, dead_lettered, ignored FROM kafka_sink.txn_offsets WHERE sink = '$sink'",
		join('|', 1000, 900, 100 * $dead, 100 * $ignored), 'resume goes on');
	is(sql("SELECT count(*), count(DISTINCT off) FROM kafka_sink.dead_letters WHERE sink = '$sink'"), join('|', (100 * $dead) x 2),
		'each bad record once');
}
sql(q{SELECT kafka_sink.pause('limit_ignore')});
wait_until($node, q{SELECT count(pid) FROM kafka_sink.stat_sinks WHERE sink = 'limit_ignore'}, 0, 'again, in a session');
sql(q{SELECT kafka_sink.seek('limit_ignore', 'earliest'); TRUNCATE limit_ignore});
my ($rc, $out, $err) = $node->psql('postgres', q{CALL kafka_sink.run('limit_ignore')});
like($err, qr/ERROR:  more records cannot be applied than reject_limit allows/, 'run() stops at the limit');
is(sql(q{SELECT off, ignored FROM kafka_sink.txn_offsets WHERE sink = 'limit_ignore'}), '409|40', 'with all before it committed');

# a share of the last records: 10% of 100 is what there is, 9% is not
create_sink('share', $topic, q{on_error => 'ignore', reject_limit => '9.5% of 100', batch_records => 16}, 'id bigint PRIMARY KEY');
wait_until($node, q{SELECT state, off, detail FROM kafka_sink.sinks WHERE sink = 'share'},
	qr/^halted\|99\|The limit is 9\.5% of 100\.  This record would be one too many: .* \(22P02\)$/, 'a percentage: it halts');
sql(q{SELECT kafka_sink.alter_sink('share', reject_limit => '10% of 100'); SELECT kafka_sink.resume('share')});
wait_until($node, q{SELECT off, ignored FROM kafka_sink.txn_offsets WHERE sink = 'share'}, '1000|100', 'and does not where it need not');
sql(q{SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks});

# --- a batch that is all bad, by either kind of badness ---

my $n = 50_000;
my $batches = 2;
my $rounds = 3;
my %values = (
	good => sub { qq({"id": $_[0], "qty": 1, "note": "a good one"}) },
	undecodable => sub { qq({"id": $_[0], "qty": "many", "note": "a bad one"}) },
	duplicate => sub { qq({"id": 0, "qty": 1, "note": "a bad one"}) },
	negative => sub { qq({"id": $_[0], "qty": -1, "note": "a bad one"}) });
my %topics;
foreach my $what (keys %values)
{
	$topics{$what} = $kafka->topic("all_$what", 1);
	produce($topics{$what}, map { [ 0, undef, $values{$what}->($_) ] } 1 .. $n * $batches);
}

# a table for each, without and with a trigger, which is by SQL
sql(q{CREATE FUNCTION leave_alone() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'});
foreach my $way (qw(plain trigger))
{
	foreach my $what (keys %values)
	{
		my $sink = "${way}_$what";

		sql(qq{
			CREATE TABLE $sink (id bigint PRIMARY KEY, qty int CHECK (qty >= 0), note text);
			SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink', on_error => 'dead_letter', enabled => false);
			SELECT kafka_sink.register_topic('$sink', '$topics{$what}');
		});
		sql("CREATE TRIGGER t BEFORE INSERT ON $sink FOR EACH ROW EXECUTE FUNCTION leave_alone()") if $way eq 'trigger';
		# (full batches: none waits so long)
		sql("SELECT kafka_sink.alter_sink('$sink', batch_linger_ms => 60000, batch_records => $n)");
	}
}

# Milliseconds of the processor that a process has had by itself: what others
# have meanwhile does not count.  (Its other threads are those that fetch.)
sub cpu_of
{
	my ($pid) = @_;
	my @stat = split / /, slurp_file("/proc/$pid/task/$pid/stat") =~ s/.*\) //sr;

	return ($stat[11] + $stat[12]) * 1000 / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Milliseconds a batch, and megabytes of the worker.
sub run_once
{
	my ($sink) = @_;

	sql("TRUNCATE $sink");
	sql("INSERT INTO $sink VALUES (0)");
	sql("SELECT kafka_sink.seek('$sink', 'earliest')");
	sql('CHECKPOINT');
	sql("SELECT kafka_sink.resume('$sink')");
	sql("CALL kafka_sink.wait_for('$sink', timeout => '10 min')");
	wait_until($node, "SELECT batches, records FROM kafka_sink.stat_sinks WHERE sink = '$sink'", join('|', $batches, $n * $batches), "$sink: full batches");
	my ($pid, $mb) = split /\|/, sql("SELECT pid, rss_anon_peak / 1048576.0 FROM kafka_sink.stat_sinks WHERE sink = '$sink'");
	my @took = (cpu_of($pid) / $batches, $mb);
	sql("SELECT kafka_sink.pause('$sink')");
	return @took;
}

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[ @sorted / 2 ] }

foreach my $way (qw(plain trigger))
{
	my (%ms, %mb);

	foreach (1 .. $rounds)
	{
		foreach my $what (sort keys %values)
		{
			my ($ms, $mb) = run_once("${way}_$what");

			push @{ $ms{$what} }, $ms;
			push @{ $mb{$what} }, $mb;
		}
	}
	foreach my $what (sort keys %values)
	{
		note sprintf '%s, %s: %s ms a batch, %.0f MB', $way, $what, join(' ', map { sprintf '%.1f', $_ } @{ $ms{$what} }), median(@{ $mb{$what} });
		next if $what eq 'good';
		# (who shares the processor makes it slower, and never faster)
		my $ratio = min(@{ $ms{$what} }) / min(@{ $ms{good} });

		is(sql("SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = '${way}_$what'"), $n * $batches * $rounds, "$way, $what: all are dead letters");
		cmp_ok($ratio, '<', 15, sprintf '%s, %s: %.1f times the work of a good batch', $way, $what, $ratio);
		# what an error takes is given back before the next one (but ASan keeps it for a while)
		cmp_ok(median(@{ $mb{$what} }), '<', median(@{ $mb{good} }) + 100, "$way, $what: in little more memory") unless $ENV{ASAN_OPTIONS};
	}
}
sql(q{SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks});

# --- hostile input ---

# In every format: settings, share of the records, and what is mutated.
my $schema = '"fields":[{"type":"int32","field":"id"},{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"price"},'
  . '{"type":"int64","name":"org.apache.kafka.connect.data.Timestamp","field":"at"},{"type":"array","items":{"type":"string"},"field":"tags"},{"type":"string","name":"io.debezium.data.Json","field":"doc"}]';
my $row = '{"id":%d,"qty":12,"price":"BOI=","ok":true,"at":1700000000123,"note":"grüße","tags":["a",null],"doc":"{\"a\": [1]}"}';
my @hostile = (
	{ sink => 'hostile', count => 55_000, settings => q{columns => '{"part": "@partition", "off": "@offset", "rest": "@rest", "key": "@key"}'},
		samples => [
			'{"id": %d, "qty": 12, "price": 12.50, "ok": true, "at": "2026-01-02T03:04:05.678Z", "note": "grüße \u00e9 \"quoted\"", "tags": ["a", "b"], "doc": {"a": [1, {"b": null}]}}',
			'{"id":%d,"note":null,"tags":[],"doc":{}}',
			'{"id": %d, "at": "2026-02-28 10:00:00+02", "price": 1e3, "doc": "text", "more": [[[[[]]]]]}' ] },
	{ sink => 'hostile_csv', count => 15_000, settings => q{format => 'csv', columns => '{"part": "@partition", "off": "@offset", "rest": "@headers", "key": "@key"}'},
		samples => [
			'%d,12,12.50,true,2026-01-02T03:04:05.678Z,"grüße, ""quoted""","{a,b}","{""a"": [1, {""b"": null}]}"', "%d,,,,,\"\",,\"[1]\"\r\n",
			"%d,1,1e3,f,2026-02-28 10:00:00+02,\"on\nand on\",{},\"{\"\"doc\"\": \"\"text\"\"}\",more\n" ] },
	{ sink => 'hostile_connect', count => 15_000, settings => q{envelope => 'connect', columns => '{"part": "@partition", "off": "@offset", "rest": "@rest", "key": "@key"}'},
		samples => [
			qq({"schema":{"type":"struct",$schema},"payload":$row}), qq({"schema": null, "payload": {"id": %d, "price": "12.50", "tags": [], "doc": {"a": {}}}}),
			qq({"payload":{"id":%d,"doc":null,"more":[[]]},"schema":{"type":"struct",$schema,"optional":true}}) ] },
	{ sink => 'hostile_debezium', count => 15_000, settings => q{envelope => 'debezium', columns => '{"part": "@partition", "off": "@offset", "rest": "@rest", "key": "@key"}'},
		samples => [
			qq({"schema":{"type":"struct","fields":[{"type":"struct",$schema,"field":"before"},{"type":"struct",$schema,"field":"after"}]},"payload":{"before":null,"after":$row,"op":"c"}}),
			'{"before": {"id": %d}, "after": {"id": 7, "note": "x", "doc": {"a": 1}}, "source": {"lsn": 1}, "op": "u"}',
			'{"before": {"id": %d}, "after": null, "op": "d"}', '{"op":"r","after":{"id":%d,"note":"__debezium_unavailable_value"}}' ] });
my @mutations = (
	sub { my ($s) = @_; substr($s, int rand length $s, 1) ^= chr(1 << int rand 8); return $s },
	sub { my ($s) = @_; substr($s, int rand length $s, 1) = chr int rand 256; return $s },
	sub { my ($s) = @_; return substr $s, 0, int rand length $s },
	sub { my ($s) = @_; substr($s, int rand length $s, int rand 8) = ''; return $s },
	sub { my ($s) = @_; my $p = int rand length $s; substr($s, $p, 0) = substr $s, int rand length $s, int rand 40; return $s },
	sub { my ($s) = @_; $s =~ s/\d+/'9' x (1 + int rand 400)/e; return $s },
	sub { my ($s) = @_; $s =~ s/(: ?)[\d.]+/$1 . '-1e' . int(rand 100000)/e; return $s },
	sub { my ($s) = @_; my $d = 1 + int rand 2000; $s =~ s/"doc": ?.*\}/'"doc": ' . ('[' x $d) . (']' x (rand 2 < 1 ? $d : $d - 1)) . '}'/e; return $s },
	sub { my ($s) = @_; my $d = 1 + int rand 2000; $s =~ s/"doc": ?.*\}/'"doc": ' . ('{"a":' x $d) . '1' . ('}' x $d) . '}'/e; return $s },
	sub { my ($s) = @_; substr($s, int rand length $s, 0) = ("\xc3\x28", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80", "\xff", "\xc0\x80", "\xf4\x90\x80\x80")[ int rand 6 ]; return $s },
	sub { my ($s) = @_; substr($s, int rand length $s, 0) = "\0" x (1 + int rand 3); return $s },
	sub { my ($s) = @_; substr($s, int rand length $s, 0) = ('\u0000', '\ud800', '\udc00\ud800', '\uzzzz', '\\', '\x', '"')[ int rand 7 ]; return $s },
	sub { my ($s) = @_; return join '', map { chr int rand 256 } 1 .. int rand 60 },
	sub { my ($s) = @_; return $s });
my $started = sql('SELECT pg_postmaster_start_time()');
my $begin = time;
my $log = -s $node->logfile;
foreach my $h (@hostile)
{
	$h->{topic} = $kafka->topic($h->{sink}, 2);
	create_sink($h->{sink}, $h->{topic}, qq{on_error => 'dead_letter', key_format => 'raw', idle_after => '0', $h->{settings}},
		'id int, qty smallint, price numeric(10,2), ok bool, at timestamptz, note text, tags text[], doc jsonb, rest jsonb, key text, part int, off bigint, CHECK (qty <> 13)');
	ok( KafkaSinkTest::_poll(sub { $h->{pid} = sql(qq{SELECT pid FROM kafka_sink.stat_sinks WHERE sink = '$h->{sink}'}) }), "$h->{sink}: a worker");
}
foreach my $h (@hostile)
{
	$h->{records} = [
		map {
			my $value = sprintf $h->{samples}[ rand @{ $h->{samples} } ], $_;

			utf8::encode($value) if utf8::is_utf8($value);
			for my $i (0 .. int rand 3)
			{
				$value = $mutations[ int rand @mutations ]->($value) if length $value;
			}
			[ $_ % 2, rand 10 < 1 ? undef : substr($value, 0, 20), rand 50 < 1 ? undef : $value ]
		} 1 .. $h->{count} ];
	produce($h->{topic}, @{ $h->{records} });
}
foreach my $h (@hostile)
{
	my ($sink, $count) = @$h{qw(sink count)};

	wait_until($node, qq{SELECT sum(consumed) FROM kafka_sink.txn_offsets WHERE sink = '$sink'}, $count, "$sink: all is consumed");
	accounts_are_exact($sink, $count, $sink);
	my $filtered = sql(qq{SELECT sum(filtered) FROM kafka_sink.txn_offsets WHERE sink = '$sink'});
	my %taken = map { $_ => 1 } split /\n/, sql(qq{SELECT part || '/' || off FROM $sink});
	my %dead = map { my ($part, $off, $key, $value) = split /\|/, $_, -1; ("$part/$off" => [ $key, $value ]) }
	  split /\n/, sql(qq{SELECT part, off, coalesce(encode(key, 'hex'), '-'), coalesce(encode(value, 'hex'), '-') FROM kafka_sink.dead_letters WHERE sink = '$sink'});
	my @next = (0, 0);
	my %met = map { $_ => 0 } qw(taken dead filtered wrong);

	foreach (@{ $h->{records} })
	{
		my ($part, $key, $value) = @$_;
		my $place = "$part/" . $next[$part]++;
		my $letter = $dead{$place};

		# what Debezium says for nobody: a tombstone, a message, an empty payload
		my $left_out = $sink =~ /debezium/ && (!defined $value || $value =~ /"m"|null/);

		$met{ $letter ? 'dead' : $taken{$place} ? 'taken' : $left_out ? 'filtered' : 'wrong' }++;
		$met{wrong}++ if $letter && ($taken{$place} || $letter->[0] ne (defined $key ? unpack('H*', $key) : '-') || $letter->[1] ne (defined $value ? unpack('H*', $value) : '-'));
	}
	is("$met{wrong} $met{taken} $met{dead} $met{filtered}", join(' ', 0, scalar keys %taken, scalar keys %dead, $filtered),
		"$sink: each record is in the table or a dead letter, byte for byte");
	note "$sink: $met{taken} applied, $met{dead} dead letters, $filtered filtered, ",
	  sql(qq{SELECT string_agg(sqlstate || ' ' || n, ', ') FROM (SELECT sqlstate, count(*) n FROM kafka_sink.dead_letters WHERE sink = '$sink' GROUP BY 1 ORDER BY 1) s});
	cmp_ok($met{dead}, '>', $count / 10, 'many are bad');
	cmp_ok($met{taken}, '>', $count / 100, 'some are good');
	is(sql(qq{SELECT pid, state FROM kafka_sink.stat_sinks WHERE sink = '$sink'}), "$h->{pid}|running", 'the worker has not been restarted');
	# what failed fails again, and what is retried is not lost either
	is(sql(qq{SELECT consumed, dead_lettered FROM kafka_sink.retry_dead_letters('$sink')}), "$met{dead}|$met{dead}", 'retried, they fail again, and stay');
}
is(sql('SELECT pg_postmaster_start_time()'), $started, 'the server has not been restarted');
unlike(slurp_file($node->logfile, $log), qr/terminated by signal|all server processes terminated|PANIC|TRAP|invalid memory alloc|stack depth/,
	'nothing crashed');
note 'hostile input: ', time - $begin, ' s';

$node->stop('fast');
done_testing();
