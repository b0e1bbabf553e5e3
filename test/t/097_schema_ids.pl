# Ids of schemas that records tell, in workers: those that no registry has keep nothing
# from going on, whatever it says of them; one that keys and values share is asked for
# once; and one that the registry gives again, for another schema, is noticed.
use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkRegistry qw(test_format sink becomes);
use KafkaSinkStub;
use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();
my $registry = KafkaSinkStub->new;
my $json = JSON::PP->new->canonical->utf8;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A record's schema: "name" => type, ...
sub record
{
	my (@fields) = @_;

	return $json->encode({ type => 'record', name => 'r', fields => [ map { { name => $fields[ 2 * $_ ], type => $fields[ 2 * $_ + 1 ] } } 0 .. $#fields / 2 ] });
}

# Values below 64, short strings
sub long { return chr 2 * $_[0]; }
sub string { return long(length $_[0]) . $_[0]; }
sub value { my ($id, @fields) = @_; return pack('CN', 0, $id) . join '', @fields; }
sub dead_letters { return sql("SELECT off, sqlstate, message FROM kafka_sink.dead_letters WHERE sink = '$_[0]' ORDER BY off"); }

test_format($node, 'avro');
create_server($node, $kafka, options => "schema_registry_url '" . $registry->url . "'");
$registry->schema(1, record(id => 'int', v => 'string'));

# --- ids that no registry has ---

my $guid = '02030405-0607-0809-0a0b-0c0d0e0f1011';
my $strange = $kafka->topic('strange', 1);
$registry->answer([ '/schemas/ids/4294967295', "/schemas/guids/$guid" ], status => 404, body => '{"error_code":404,"message":"HTTP 404 Not Found"}');
sql('CREATE TABLE strange (id int, v text)');
sink('strange', $strange, q{on_error => 'dead_letter', idle_after => '0'});
$kafka->produce($strange, 0, [ undef, value(1, long(1), string('a')) ], [ undef, value(0xffffffff, long(2), string('b')) ],
	[ undef, pack('C*', 1 .. 20) ], [ undef, value(1, long(3), string('c')) ]);
becomes('SELECT * FROM strange ORDER BY id', "1|a\n3|c", 'others go on');
is(dead_letters('strange'), qq(1|42704|schema 4294967295 is not in the registry of server "kafka"\n2|42704|schema $guid is not in the registry of server "kafka"),
	'what no registry has is a record error');

# --- the same id in keys and values, and of two topics ---

my @both = map { $kafka->topic($_, 1) } 'twice', 'other';
$registry->schema(2, record(id => 'int'));
sql(qq{CREATE TABLE twice (id int PRIMARY KEY, k jsonb); CREATE TABLE other (id int PRIMARY KEY, k jsonb);
	SELECT kafka_sink.create_sink('twice', server => 'kafka', format => 'avro', key_format => 'avro', enabled => false);
	SELECT kafka_sink.register_topic('twice', '$both[0]', target => 'twice', columns => '{"k": "\@key"}'),
		kafka_sink.register_topic('twice', '$both[1]', target => 'other', columns => '{"k": "\@key"}')});
$kafka->produce($both[$_], 0, [ value(2, long(7)), value(2, long(8)) ]) foreach 0, 1;
sql(q{CALL kafka_sink.run('twice')});
is(sql('SELECT * FROM twice UNION ALL TABLE other'), qq(8|{"id": 7}\n8|{"id": 7}), 'keys and values of one schema');
is($registry->requests('/schemas/ids/2'), 1, 'which is asked for once');

# --- a schema that is registered late, in the same session ---

my $late = $kafka->topic('late', 1);
sql('CREATE TABLE late (id int)');
sink('late', $late, q{on_error => 'dead_letter', enabled => false});
$kafka->produce($late, 0, [ undef, value(3, long(1)) ], [ undef, value(3, long(2)) ]);
my $session = $node->background_psql('postgres');
my $retry = q{SELECT applied, dead_lettered FROM kafka_sink.retry_dead_letters('late')};
my $preview = q{SELECT outcome FROM kafka_sink.preview('late', timeout => '2 min')};

sql(q{CALL kafka_sink.run('late', max_records => 1)});
is($session->query_safe($retry), '0|1', 'there is no such schema');
is($session->query_safe($preview), 'error', 'preview() says so');
$registry->schema(3, record(id => 'int'));
is($session->query_safe($preview), 'applied', 'it is registered: preview() asks again');
is($session->query_safe($retry), '1|0', 'so does retry_dead_letters()');
$session->quit;

# --- what is absent, and asked for again when the target has been altered for another schema ---

my $altered = $kafka->topic('altered', 1);
$registry->schema(5, record(id => 'int', w => 'string'));
sql(q{CREATE TABLE altered (id int);
	CREATE FUNCTION forget() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM kafka_sink.retry_dead_letters('late', 'false'); END$$;
	CREATE EVENT TRIGGER forget ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION forget()});
sink('altered', $altered, q{key_format => 'avro', evolve => 'add', enabled => false});
$kafka->produce($altered, 0, [ value(9, long(1)), value(5, long(1), string('new')) ]);
is(sql(q{SELECT outcome, row FROM kafka_sink.preview('altered')}), 'applied|{"w": "new", "id": 1}', 'a key by what no registry has, a value by what the target is altered for');
is($registry->requests('/schemas/ids/9'), 2, 'and was forgotten then');
sql('DROP EVENT TRIGGER forget');

# --- a registry that does not answer in time ---

my $patient = $kafka->topic('patient', 1);
create_server($node, $kafka, name => 'patient', options => "schema_registry_timeout_ms '300000', schema_registry_url '" . $registry->url . "'");
$registry->answer('/schemas/ids/4', hang => 'before');
sql('CREATE TABLE patient (id int)');
sink('patient', $patient, 'enabled => false', 'patient');
$kafka->produce($patient, 0, [ undef, value(4, long(1)) ]);
like(timed_out($node, q{CALL kafka_sink.run('patient', timeout => '%d s')}), qr/ERROR:  57014: timed out/, 'run() ends with its own timeout');

# --- a registry that fails: who waits for it ---

my $state = q{SELECT state, waits_for, part, off FROM kafka_sink.sinks WHERE sink = '%s'};
my $held = $kafka->topic('held', 2);
$registry->schema(21, record(id => 'int'));
sql('CREATE TABLE held (id int)');
sink('held', $held, q{idle_after => '0'});
$kafka->produce($held, $_, [ undef, value(21, long(1 + $_)) ]) foreach 0, 1;
becomes('SELECT id FROM held ORDER BY id', "1\n2", 'two partitions');
$registry->stop;
$kafka->produce($held, 1, map { [ undef, value(@$_) ] } [ 21, long(3) ], [ 22, long(4) ], [ 21, long(5) ]);
becomes(sprintf($state, 'held'), 'waiting|registry|1|2', 'no registry: a record waits, and says where it is');
becomes('SELECT id FROM held ORDER BY id', "1\n2\n3", 'what is before it does not');
$kafka->produce($held, 0, [ undef, value(21, long(6)) ]);
becomes('SELECT id FROM held ORDER BY id', "1\n2\n3\n6", 'nor do other partitions');
is(sql(sprintf $state, 'held'), 'waiting|registry|1|2', 'while it waits');
is(sql(q{SELECT part, off FROM kafka_sink.txn_offsets WHERE sink = 'held' ORDER BY part}), "0|2\n1|2", 'at its offset');
$registry->schema(22, record(id => 'int'));
$registry->start;
becomes('SELECT id FROM held ORDER BY id', join("\n", 1 .. 6), 'the registry is there');
becomes(sprintf($state, 'held'), 'running|||', 'and nothing is wrong any more');

# one schema that is denied keeps no others from being fetched, whichever is the first
my $denied = $kafka->topic('denied', 3);
$registry->answer('/schemas/ids/23', status => 403, body => '{"error_code":40301,"message":"User is denied operation Read"}');
$registry->schema(24, record(id => 'int'));
sql('CREATE TABLE denied (id int)');
sink('denied', $denied, q{idle_after => '0', enabled => false});
$kafka->produce($denied, 0, [ undef, value(23, long(1)) ]);
$kafka->produce($denied, 1, [ undef, value(24, long(2)) ]);
$kafka->produce($denied, 2, [ undef, value(23, long(3)) ]);
sql(q{SELECT kafka_sink.resume('denied')});
becomes('SELECT id FROM denied', '2', 'one of three is denied');
becomes(q{SELECT state, waits_for, message FROM kafka_sink.sinks WHERE sink = 'denied'}, 'waiting|registry|the schema registry denies access', 'which is told');
$registry->schema(23, record(id => 'int'));
becomes('SELECT id FROM denied ORDER BY id', "1\n2\n3", 'until it is not');

# rows that others refer to, whose records would be refused without them
my @linked = map { $kafka->topic($_, 1) } 'parents', 'children';
$registry->answer('/schemas/ids/25', status => 500);
sql(qq{CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (id int REFERENCES parents);
	SELECT kafka_sink.create_sink('linked', server => 'kafka', format => 'avro', on_error => 'dead_letter',
		retry_within => '1 ms', idle_after => '0');
	SELECT kafka_sink.register_topic('linked', '$linked[0]', target => 'parents'),
		kafka_sink.register_topic('linked', '$linked[1]', target => 'children')});
$kafka->produce($linked[0], 0, [ undef, value(25, long(1)) ]);
becomes(sprintf($state, 'linked'), 'waiting|registry|0|0', 'a row that others may refer to waits');
$kafka->produce($linked[1], 0, [ undef, value(21, long(1)) ]);
becomes(qq{SELECT lag FROM kafka_sink.lag WHERE sink = 'linked' AND topic = '$linked[1]'}, '1', 'a record that does is there');
my $asked = $registry->requests('/schemas/ids/25');
ok(KafkaSinkTest::_poll(sub { $registry->requests('/schemas/ids/25') >= $asked + 2 }), 'the batch is tried with it');
is(sql(q{SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = 'linked'}), '0', 'and it waits, too');
$registry->schema(25, record(id => 'int'));
becomes('SELECT * FROM children', '1', 'the schema is there: so are both');
becomes(sprintf($state, 'linked'), 'running|||', 'and nothing is wrong any more');

# a batch that waits as a whole keeps nobody from beginning anew
my $whole = $kafka->topic('whole', 1);
$registry->answer('/schemas/ids/29', status => 500);
sql('CREATE TABLE whole (id int)');
create_server($node, $kafka, name => 'brisk', options => "topic_metadata_refresh_interval_ms '1000', schema_registry_url '" . $registry->url . "'");
sink('whole', $whole, q{on_topic_error => 'halt_sink', idle_after => '0'}, 'brisk');
$kafka->produce($whole, 0, [ undef, value(29, long(1)) ]);
becomes(sprintf($state, 'whole'), 'waiting|registry|0|0', 'a sink that halts as a whole waits as a whole');
$kafka->add_partitions($whole, 2);
becomes(q{SELECT count(*) FROM kafka_sink.txn_offsets WHERE sink = 'whole'}, '2', 'a new partition is found meanwhile');
$registry->schema(29, record(id => 'int'));
becomes('SELECT * FROM whole', '1', 'the schema is there');

# a command, of which nobody knows what it refers to
my $sets = $kafka->topic('sets', 2);
$registry->answer('/schemas/ids/26', status => 500);
sql(qq{CREATE TABLE heads (id int PRIMARY KEY); CREATE TABLE tails (id int REFERENCES heads);
	SELECT kafka_sink.create_sink('sets', server => 'kafka', format => 'avro', on_error => 'dead_letter', retry_within => '1 ms', idle_after => '0',
		command => \$\$WITH h AS (INSERT INTO public.heads SELECT (value ->> 'id')::int FROM batch WHERE part = 0)
			INSERT INTO public.tails SELECT (value ->> 'id')::int FROM batch WHERE part = 1\$\$);
	SELECT kafka_sink.register_topic('sets', '$sets')});
$kafka->produce($sets, 0, [ undef, value(26, long(1)) ]);
becomes(sprintf($state, 'sets'), 'waiting|registry|0|0', 'a command: a row that others may refer to waits');
$kafka->produce($sets, 1, [ undef, value(21, long(1)) ]);
becomes(q{SELECT waits_for, part FROM kafka_sink.sinks WHERE sink = 'sets'}, 'row|1', 'and one that does');
$asked = $registry->requests('/schemas/ids/26');
ok(KafkaSinkTest::_poll(sub { $registry->requests('/schemas/ids/26') >= $asked + 2 }), 'for longer than retry_within');
is(sql(q{SELECT count(*) FROM kafka_sink.dead_letters WHERE sink = 'sets'}), '0', 'and is not refused');
$registry->schema(26, record(id => 'int'));
becomes('SELECT * FROM tails', '1', 'the schema is there: so are both');
$kafka->produce($sets, 1, [ undef, value(21, long(2)) ]);
becomes(q{SELECT off, sqlstate FROM kafka_sink.dead_letters WHERE sink = 'sets'}, '1|23503', 'from then on, who waits in vain is refused');

# one that does not answer: nobody waits for it but who must, however long it may take
my $mute = $kafka->topic('mute', 2);
$registry->answer('/schemas/ids/27', hang => 'before');
sql('CREATE TABLE mute (id int)');
sink('mute', $mute, q{idle_after => '0'}, 'patient');
$kafka->produce($mute, 0, [ undef, value(21, long(1)) ]);
becomes('SELECT id FROM mute ORDER BY id', '1', 'a partition');
$kafka->produce($mute, 1, map { [ undef, value(@$_) ] } [ 21, long(2) ], [ 27, long(3) ], [ 21, long(4) ]);
becomes(sprintf($state, 'mute'), 'waiting|registry|1|1', 'no answer, for 5 minutes: a record waits');
is(sql(q{SELECT sqlstate, message FROM kafka_sink.sinks WHERE sink = 'mute'}), 'HV00N|the schema registry has not given the schema yet', 'and says for what');
$kafka->produce($mute, 0, [ undef, value(21, long(5)) ]);
becomes('SELECT id FROM mute ORDER BY id', "1\n2\n5", 'others go on');
is($registry->requests('/schemas/ids/27'), 1, 'before there is an answer');
sql(qq{SELECT kafka_sink.advance('mute', '$mute', 0, 2, 3)});
$kafka->produce($mute, 0, map { [ undef, value(21, long($_)) ] } 6, 7);
becomes('SELECT id FROM mute ORDER BY id', "1\n2\n5\n7", 'also if somebody moves offsets');
is($registry->requests('/schemas/ids/27'), 1, 'the same question is open');
sql(q{ALTER SERVER patient OPTIONS (SET schema_registry_timeout_ms '299000')});
ok(KafkaSinkTest::_poll(sub { $registry->requests('/schemas/ids/27') == 2 }), 'until the connection is changed');
sql(q{SELECT kafka_sink.pause('mute')});
becomes(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kafka_sink mute'}, '0', 'who asks can be stopped');
$registry->schema(27, record(id => 'int'));
sql(q{SELECT kafka_sink.resume('mute')});
becomes('SELECT id FROM mute WHERE id IN (2, 3, 4) ORDER BY id', "2\n3\n4", 'an answer: all are there');

# nor is an answer that comes late taken for none
$registry->answer('/schemas/ids/28', delay => 4, body => $json->encode({ schema => record(id => 'int') }));
sql('TRUNCATE mute');
$kafka->produce($mute, 1, [ undef, value(28, long(6)) ]);
becomes(sprintf($state, 'mute'), 'waiting|registry|1|3', 'an answer takes its time');
becomes('SELECT id FROM mute', '6', 'and comes');
becomes(sprintf($state, 'mute'), 'running|||', 'that was all');
is($registry->requests('/schemas/ids/28'), 1, 'to one question');

# ids at random, more than are asked for at a time, while the registry is away
my $flood = $kafka->topic('flood', 2);
sql('CREATE TABLE flood (id int)');
sink('flood', $flood, q{on_error => 'dead_letter', idle_after => '0', batch_linger_ms => 500, enabled => false});
$registry->always(status => 503);
$kafka->produce($flood, 0, map { [ undef, value(100000 + $_, long(1)) ] } 1 .. 1500);
$kafka->produce($flood, 1, [ undef, value(21, long(2)) ]);
sql(q{SELECT kafka_sink.resume('flood')});
becomes(sprintf($state, 'flood'), 'waiting|registry|0|0', 'ids at random: their partition waits');
becomes('SELECT id FROM flood', '2', 'and no other');
$registry->always;
becomes(q{SELECT count(*), min(sqlstate), max(sqlstate) FROM kafka_sink.dead_letters WHERE sink = 'flood'}, '1500|42704|42704', 'until the registry says that there are none');

# --- a registry that gives ids again ---

my %old = (dead_letter => 11, stop => 12, 'ignore' => 13);
my %topic = map { $_ => $kafka->topic("anew_$_", 1) } keys %old;
my $detail = 'The registry was set up anew, or restored from a backup, and has given the id again.  Records are read by what was fetched before.';
my $delete = q{DELETE FROM kafka_sink.schemas WHERE server = 'kafka' AND registry <> ''};

foreach my $on_error (sort keys %old)
{
	$registry->schema($old{$on_error}, record(id => 'int', v => 'string'));
	sql("CREATE TABLE anew_$on_error (id int, v text)");
	sink("anew_$on_error", $topic{$on_error}, "on_error => '$on_error', idle_after => '0'");
	# what is no value of it, and nothing else is wrong
	$kafka->produce($topic{$on_error}, 0, [ undef, value($old{$on_error}, long(1), string('a')) ],
		$on_error eq 'stop' ? () : [ undef, value($old{$on_error}, long(2), 'c') ], [ undef, value($old{$on_error}, long(3), string('c')) ]);
	becomes("SELECT * FROM anew_$on_error ORDER BY id", "1|a\n3|c", "$on_error: records by a schema");
}
sql(q{SELECT kafka_sink.pause(sink), kafka_sink.resume(sink) FROM kafka_sink.sinks WHERE sink LIKE 'anew%'});
foreach my $on_error (sort keys %old)
{
	my $id = $old{$on_error};

	# as far as the old one can read it, it is right
	$registry->schema($id, record(v => 'string', id => 'int'));
	$kafka->produce($topic{$on_error}, 0, [ undef, value($id, string('b'), long(4)) ]);
	becomes("SELECT state, sqlstate, message, detail FROM kafka_sink.sinks WHERE sink = 'anew_$on_error'",
		"halted|55000|schema $id is another one in the registry than in kafka_sink.schemas|$detail", "$on_error: its id is that of another schema");
	is(sql("SELECT left(hint, length(\$\$$delete\$\$)) FROM kafka_sink.sinks WHERE sink = 'anew_$on_error'"), $delete, 'and says what to do');
}
is(sql(q{SELECT topic, off FROM kafka_sink.sinks WHERE sink = 'anew_stop'}), "$topic{stop}|2", 'stop: at the record');
is(dead_letters('anew_dead_letter') =~ s/\|[^|]*$//mgr, "1|22P03\n3|22P03", 'dead_letter: what was refused is there');
$registry->answer("/subjects/$topic{stop}-value/versions/latest", body => $json->encode({ id => 12, version => 1, schema => record(v => 'string', id => 'int') }));
$registry->answer("/subjects/$topic{stop}-value/versions", body => '[1]');
my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT kafka_sink.describe('kafka', '$topic{stop}')");
like($err, qr/ERROR:  55000: schema 12 is another one in the registry than in kafka_sink\.schemas\nDETAIL:  \Q$detail\E\nHINT:  \Q$delete\E/, 'describe() says so, too');
sql($delete);
sql(q{SELECT kafka_sink.pause(sink), kafka_sink.resume(sink) FROM kafka_sink.sinks WHERE sink LIKE 'anew%'});
$kafka->produce($topic{$_}, 0, [ undef, value($old{$_}, string('d'), long(5)) ]) foreach keys %old;
becomes('SELECT * FROM anew_stop ORDER BY id', "1|a\n3|c\n4|b\n5|d", 'it is forgotten: all are read by the new one');
becomes("SELECT count(*) FROM $_", '3', 'and by others') foreach 'anew_dead_letter', 'anew_ignore';
is(sql(q{SELECT consumed, applied FROM kafka_sink.retry_dead_letters('anew_dead_letter', 'off = 3')}), '1|1', 'what was refused, too');
is(sql('SELECT v FROM anew_dead_letter WHERE id = 4'), 'b', 'and is there');
like(sql("SELECT kafka_sink.describe('kafka', '$topic{stop}')"), qr/^    v text NOT NULL,  -- string\n    id integer NOT NULL  -- int$/m, 'describe() shows the new one');

# white space is no difference, and a registry that is away says nothing
my $quiet = $kafka->topic('quiet', 1);
$registry->schema(14, record(id => 'int', v => 'string'));
sql('CREATE TABLE quiet (id int, v text)');
sink('quiet', $quiet, q{on_error => 'ignore', idle_after => '0'});
$kafka->produce($quiet, 0, [ undef, value(14, long(1), string('a')) ]);
becomes('SELECT * FROM quiet', '1|a', 'a schema that stays');
$registry->schema(14, record(id => 'int', v => 'string') =~ s/,/,\n  /gr);
$kafka->produce($quiet, 0, [ undef, value(14, long(2), 'b') ], [ undef, value(14, long(3), string('c')) ]);
becomes('SELECT * FROM quiet ORDER BY id', "1|a\n3|c", 'its text is written in another way');
sql(q{SELECT kafka_sink.pause('quiet')});
$registry->stop;
sql(q{SELECT kafka_sink.resume('quiet')});
$kafka->produce($quiet, 0, [ undef, value(14, long(4), 'd') ], [ undef, value(14, long(5), string('e')) ]);
becomes('SELECT * FROM quiet ORDER BY id', "1|a\n3|c\n5|e", 'the registry is away');
is(sql(q{SELECT state FROM kafka_sink.sinks WHERE sink = 'quiet'}), 'running', 'and nothing halts');
is(sql('SELECT bool_and(consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched), bool_and(off - start_off = consumed + gaps) FROM kafka_sink.txn_offsets'),
	't|t', 'the accounts are exact');

$node->stop('fast');
done_testing();
