# JSON Schema with a registry: records that Confluent's own serializer wrote, with and
# without validation; schemas that refer to others; the registry is asked only where
# somebody wants to know; and schemas by Apicurio's global ids.
use strict;
use warnings FATAL => 'all';

use HTTP::Tiny ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkRegistry qw(test_format sink becomes);
use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();
my $registry = KafkaSinkRegistry->start;
my $guids = $registry->with_guids;
my $producer = $registry->producer($kafka);
my $json = JSON::PP->new->canonical;

sub sql { return $node->safe_psql('postgres', $_[0]); }

test_format($node, 'json_schema');
create_server($node, $kafka, options => "schema_registry_url '" . $registry->url . "'");
create_server($node, $kafka, name => 'guids', options => "schema_registry_url '" . $guids->url . "'");

# --- records of a serializer ---

my $schema = $json->encode({
	'$schema' => 'http://json-schema.org/draft-07/schema#', '$id' => 'http://example.com/order.json', title => 'Order', type => 'object',
	properties => { id => { type => 'integer' }, name => { type => 'string', maxLength => 20 }, price => { type => 'number', multipleOf => 0.25 },
		tags => { type => 'array', items => { type => 'string' }, uniqueItems => JSON::PP::true } },
	required => [ 'id', 'name' ] });
my @types = (value_type => 'JSON', value_schema => $schema);
my $orders = $kafka->topic('orders', 1);
my $rows = 30;

sql('CREATE TABLE plain (id int PRIMARY KEY, name text, price numeric, tags text[], sid bigint)');
sql('CREATE TABLE checked (LIKE plain INCLUDING ALL, schema text, rest jsonb, whole jsonb)');
sink('plain', $orders, q{columns => '{"sid": "@schema_id"}'});
my @sent = $producer->produce(map { {
		topic => $orders, @types, value_ids => $_ % 3 ? 'payload' : 'header_id',
		value => { id => $_, name => "n\x{e9}$_", price => $_ / 4, tags => [ map { "t$_" } 1 .. $_ % 4 ], more => $_ } } } 1 .. $rows);
my $expected = join "\n", map { "$_|n\x{e9}$_|" . ($_ / 4) . '|{' . join(',', map { "t$_" } 1 .. $_ % 4) . "}|$sent[0]{value_id}" } 1 .. $rows;
utf8::encode($expected);
becomes('SELECT count(*) FROM plain', $rows, 'records of the serializer are there');
is(sql('SELECT * FROM plain ORDER BY id'), $expected, 'and what they were');
is(sql('SELECT count(*) FROM kafka_sink.schemas'), 0, 'their schema was not fetched');

sink('checked', $orders, q{validate => true, columns => '{"sid": "@schema_id", "schema": "@schema", "rest": "@rest", "whole": "@value"}'});
becomes('SELECT count(*) FROM checked', $rows, 'all of them are by it');
is(sql('SELECT id, name, price, tags, sid FROM checked ORDER BY id'), $expected, 'and are the same');
is(sql(q{SELECT DISTINCT schema, rest = jsonb_build_object('more', id), whole ->> 'name' = name FROM checked}), 'Order|t|t', '@schema, @rest, @value');

# by a GUID in a header
sql('CREATE TABLE by_guid (LIKE plain INCLUDING ALL)');
my $guided = $kafka->topic('guided', 1);
sink('by_guid', $guided, 'validate => true', 'guids');
$guids->producer($kafka)->produce({ topic => $guided, @types, value_ids => 'header', value => { id => 1, name => 'g' } });
becomes('SELECT id, name FROM by_guid', '1|g', 'by a GUID in a header');

# --- what is not by the schema ---

my $bad = $kafka->topic('bad', 1);
sql('CREATE TABLE bad (id int PRIMARY KEY, name text)');
sink('bad', $bad, q{validate => true, on_error => 'dead_letter'});
my $id = $sent[0]{value_id};
my @bad = ('{"id": 1, "name": "fine"}', '{"id": "2", "name": "x"}', '{"id": 3}', '{"id": 4, "name": "x", "tags": ["a", "b", "a"]}', '{"id": 5, "name": "x", "price": 0.005}', '{"id": 6,');
$kafka->produce($bad, 0, (map { [ undef, pack('CNa*', 0, $id, $_) ] } @bad), [ undef, '{"id": 7, "name": "bare"}' ],
	[ undef, pack('CNa*', 0, $id, '{"id": 8, "name": "last"}') ]);
becomes('SELECT * FROM bad ORDER BY id', "1|fine\n8|last", 'what is by the schema is taken');
is(sql('SELECT off, sqlstate, message FROM kafka_sink.dead_letters ORDER BY off'), join("\n",
		(map { "$_|22000|value does not match its JSON schema" } 1 .. 4), '5|22P02|invalid JSON', '6|22P03|record does not tell its JSON schema'), 'what is not is not');
is(sql(q{SELECT encode(value, 'hex') FROM kafka_sink.dead_letters WHERE off = 1}), unpack('H*', pack('CNa*', 0, $id, $bad[1])), 'and keeps its bytes');
is(sql(qq{SELECT kafka_sink.decode('kafka', decode('} . unpack('H*', pack('CNa*', 0, $id, $bad[2])) . q{', 'hex'))}), '{"id": 3}', 'decode() looks, and does not check');
sql("SELECT kafka_sink.alter_sink('bad', validate => false)");
is(sql("SELECT consumed, applied, dead_lettered FROM kafka_sink.retry_dead_letters('bad', 'off IN (1, 2, 3, 4, 6)')"), '5|5|0', 'without validation they can be retried');
is(sql('SELECT * FROM bad ORDER BY id'), "1|fine\n2|x\n3|\n4|x\n5|x\n7|bare\n8|last", 'and are there');

# --- references ---

my $referring = $kafka->topic('referring', 1);
my $leaf = $json->encode({ '$schema' => 'http://json-schema.org/draft-07/schema#', definitions => { code => { type => 'string', pattern => '^[A-Z]{3}$' } } });
my $middle = $json->encode({ '$schema' => 'http://json-schema.org/draft-07/schema#', type => 'object', properties => { currency => { '$ref' => 'leaf.json#/definitions/code' } } });
my $top = $json->encode({ '$schema' => 'http://json-schema.org/draft-07/schema#', title => 'Top', type => 'object', properties => { price => { '$ref' => 'middle.json' } } });
$registry->register("leaf-$referring", $leaf, type => 'JSON');
$registry->register("middle-$referring", $middle, type => 'JSON', references => [ [ 'leaf.json', "leaf-$referring", 1 ] ]);
my $top_id = $registry->register("$referring-value", $top, type => 'JSON', references => [ [ 'middle.json', "middle-$referring", 1 ] ]);
sql('CREATE TABLE referring (id int PRIMARY KEY, price jsonb)');
sink('referring', $referring, q{validate => true, on_error => 'dead_letter'});
$kafka->produce($referring, 0, map { [ undef, pack('CNa*', 0, $top_id, $_) ] } '{"id": 1, "price": {"currency": "EUR"}}', '{"id": 2, "price": {"currency": "euro"}}', '{"id": 3}');
becomes('SELECT id FROM referring ORDER BY id', "1\n3", 'by schemas that a schema refers to');
is(sql("SELECT off, message FROM kafka_sink.dead_letters WHERE sink = 'referring'"), '1|value does not match its JSON schema', 'through two of them');

# --- Apicurio's global ids ---

my $global = $kafka->topic('global', 1);
# the same text under two names has one id, and two global ones
my $twice = $json->encode({ '$schema' => 'http://json-schema.org/draft-07/schema#', title => 'Twice', maxProperties => 2 });
$registry->register("$_-$global", $twice, type => 'JSON') foreach 'first', 'second';
my $http = HTTP::Tiny->new;
sub global_of { return $json->decode($http->get($registry->own_url . "/groups/default/artifacts/$_[0]/meta")->{content})->{globalId}; }
my @global = map { global_of("$_-$global") } 'first', 'second';
isnt($global[0], $global[1], 'one text, two global ids');
sql('CREATE TABLE global (id int PRIMARY KEY, price jsonb, sid bigint, schema text)');
sink('global', $global, q{framing => 'apicurio8', validate => true, on_error => 'dead_letter', columns => '{"sid": "@schema_id", "schema": "@schema"}'});
$kafka->produce($global, 0, map { [ undef, pack('Cq>a*', 0, @$_) ] } [ $global[0], '{"id": 1}' ], [ $global[1], '{"id": 2, "price": 1}' ], [ $global[1], '{"id": 3, "price": 1, "x": 1}' ],
	[ 1_000_000, '{"id": 4}' ], [ $global[0], '{"id": 5}' ]);
becomes('SELECT id, sid, schema FROM global ORDER BY id', "1|$global[0]|Twice\n2|$global[1]|Twice\n5|$global[0]|Twice", 'by global ids');
is(sql("SELECT off, sqlstate FROM kafka_sink.dead_letters WHERE sink = 'global' ORDER BY off"), "2|22000\n3|42704", 'and what is not, or of none');
my $with_refs = global_of("$referring-value");
is(sql("SELECT kafka_sink.schema('kafka', $with_refs, true)::jsonb ->> 'title'"), 'Top', 'one that refers to others');
is(sql("SELECT jsonb_path_query_array(refs, '\$[*].name') FROM kafka_sink.schemas WHERE global_id = $with_refs"), '["leaf.json", "middle.json"]', 'each before what refers to it');
is(sql("SELECT id IS NULL, type FROM kafka_sink.schemas WHERE global_id = $global[0]"), 't|JSON', 'and its type');
my $avro = $registry->register("avro-$global", '{"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}]}');
my $avro_global = global_of("avro-$global");
is(sql("SELECT kafka_sink.decode('kafka', '\\x00'::bytea || int8send($avro_global) || '\\x02', framing => 'apicurio8')"), '{"id": 1}', 'Avro by a global id');

# --- the table by the schema, and one that follows it ---

my $evolving = $kafka->topic('evolving', 1);
sub event { return $json->encode({ '$schema' => 'http://json-schema.org/draft-07/schema#', title => 'Event', type => 'object', additionalProperties => JSON::PP::true, required => ['id'], properties => { id => { type => 'integer' }, @_ } }); }
my @first = (topic => $evolving, value_type => 'JSON', value_schema => event());
my @second = (topic => $evolving, value_type => 'JSON', value_schema => event(at => { type => 'string', format => 'date-time', description => 'when' }, sizes => { type => 'array', items => { type => 'integer' } }));

$producer->produce(map { { @first, value => { id => $_ } } } 1 .. 3);
my $described = sql("SELECT kafka_sink.describe('kafka', '$evolving', table_name => 'evolving')");
my ($create, $calls) = $described =~ /(CREATE .*?\n)((?:-- SELECT .*\n?)+)$/s or diag $described;
is($create, "CREATE TABLE evolving (\n    id bigint NOT NULL  -- integer\n);\n", 'describe(): the newest schema');
sql("BEGIN; $create" . ($calls =~ s/^-- //mgr) . "; SELECT kafka_sink.alter_sink('evolving', evolve => 'add'); COMMIT");
becomes('SELECT * FROM evolving ORDER BY id', "1\n2\n3", 'what it proposes consumes the topic');
$producer->produce({ @second, value => { id => 4, at => '2026-01-02T03:04:05Z', sizes => [ 1, 2 ] } }, { @first, value => { id => 5 } });
becomes(q{SELECT id, extract(epoch FROM at)::int, sizes FROM evolving WHERE id > 3 ORDER BY id}, "4|1767323045|{1,2}\n5||", 'evolve: new properties, and records without them');
like(sql(q{SELECT topic, off, statement FROM kafka_sink.ddl_history}), qr/^\Q$evolving\E\|3\|ALTER TABLE public\.evolving ADD COLUMN (at timestamp with time zone, ADD COLUMN sizes bigint\[\]|sizes bigint\[\], ADD COLUMN at timestamp with time zone)$/, 'in one statement, once');
like(sql("SELECT kafka_sink.describe('kafka', '$evolving')"), qr/^COMMENT ON COLUMN \S+\.at IS 'when';$/m, 'describe(): the newest of two');

$node->stop('fast');
done_testing();
