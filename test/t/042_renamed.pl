# A column is renamed, dropped, added or changed while a worker fills it.
use strict;
use warnings FATAL => 'all';

use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

create_server($node, $kafka);

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $topic = $kafka->topic('renamed', 1);

sub produce { return $kafka->produce($topic, 0, map { [ undef, $_ ] } @_); }

sub reaches
{
	my ($rows, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return wait_until($node, "SELECT string_agg(t::text, ' ' ORDER BY id) FROM t", $rows, $what);
}

sql(q{CREATE TABLE t (id int PRIMARY KEY, v text, w text, never text);
	INSERT INTO t VALUES (1, 'a', 'b', 'c');
	SELECT kafka_sink.create_sink('s', server => 'kafka', target => 't', insert_mode => 'upsert',
		on_error => 'dead_letter', batch_linger_ms => 1)});
sql("SELECT kafka_sink.register_topic('s', '$topic')");
produce('{"id":1,"v":"x","w":"y"}');
reaches('(1,x,y,)', 'columns are filled from the fields of their names');

sql('ALTER TABLE t RENAME never TO ever');
produce('{"id":2,"v":"x","w":"y"}');
reaches('(1,x,y,) (2,x,y,)', 'one that no record fills may be renamed');

sql('ALTER TABLE t RENAME v TO u');
produce('{"id":1,"v":"x2","w":"y2"}');
wait_until($node, "SELECT state, sqlstate, message FROM kafka_sink.sinks",
	'halted|42703|column "v" of "t" has been renamed to "u"', 'one that records fill halts the sink');
like(sql('SELECT hint FROM kafka_sink.sinks'), qr/"u": "v"/, 'it says how to go on');
reaches('(1,x,y,) (2,x,y,)', 'and nothing is overwritten');
is(sql('SELECT count(*) FROM kafka_sink.dead_letters'), '0', 'nor is the record to blame');

sql(q{SELECT kafka_sink.alter_sink('s', columns => '{"u": "v"}'); SELECT kafka_sink.resume('s')});
reaches('(1,x2,y2,) (2,x,y,)', 'mapped, it goes on');

sql('BEGIN; ALTER TABLE t RENAME w TO old_w; ALTER TABLE t ADD w text; COMMIT');
produce('{"id":1,"v":"x3","w":"y3"}');
wait_until($node, "SELECT state, message FROM kafka_sink.sinks",
	'halted|column "w" of "t" has been renamed to "old_w"', 'also if another takes its name');
sql(q{SELECT kafka_sink.resume('s')});
reaches('(1,x3,,,y3) (2,x,y,,)', 'and goes on if that is what was meant');

sql('ALTER TABLE t DROP old_w, ALTER w TYPE varchar(5), ADD x int');
produce('{"id":1,"v":"x4","w":"y4","x":7,"old_w":"-"}');
reaches('(1,x4,,y4,7) (2,x,,,)', 'columns may be dropped, added, and change their types');

done_testing();
