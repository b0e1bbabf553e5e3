# Protobuf whose schemas are in a registry: records that Confluent's own serializers
# wrote are in the table what they were; nested messages, several of a topic, schemas that
# evolve, and import others; keys; ids in headers; and what cannot be read.
use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkRegistry qw(test_format sink becomes);
use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();
my $registry = KafkaSinkRegistry->start;
my $guids = $registry->with_guids;
my $producer = $registry->producer($kafka);
my $seed = $ENV{KAFKA_SINK_SEED} // int rand 2**31;

print "# KAFKA_SINK_SEED=$seed\n";
srand $seed;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A record; one file, if it is given as a text.
sub record
{
	my ($topic, $files, $message, $value, %more) = @_;

	return { topic => $topic, value_files => ref $files ? $files : { "$message.proto" => $files }, value_message => $message, value => $value, %more };
}

test_format($node, 'protobuf');
create_server($node, $kafka, options => "schema_registry_url '" . $registry->url . "'");
create_server($node, $kafka, name => 'guids', options => "schema_registry_url '" . $guids->url . "'");

# --- every type ---

# Each field: its type, the column's type, and what makes a value: in Protobuf's JSON for
# the producer, and as an expression of SQL.
my @letters = ('a' .. 'z', ' ', '"', '\\', "\n", "\x{e9}", "\x{20ac}");

sub quoted { my $text = $_[0] =~ s/'/''/gr; utf8::encode($text); return "'$text'"; }
sub either { my @values = @_; return $values[ rand @values ]; }
sub text { my $text = join '', map { $letters[ rand @letters ] } 1 .. rand 20; return ($text, quoted($text)); }
sub signed { my $v = int(rand 2**$_[0]) * (rand() < 0.5 ? 1 : -1); return ("$v", "$v"); }
sub unsigned { my $v = int rand 2**$_[0]; return ("$v", "$v"); }
sub binary { my $v = (int(rand 2**20) - 2**19) / 8; return ($v + 0, "'$v'"); }
sub truth { my $v = either(0, 1); return ($v ? JSON::PP::true : JSON::PP::false, $v ? 'true' : 'false'); }
sub some_bytes { my $v = join '', map { chr rand 256 } 1 .. rand 9; return (encode_base64($v, ''), "'\\x" . unpack('H*', $v) . "'"); }
sub moment { return sprintf '%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', 1600 + rand 800, 1 + rand 12, 1 + rand 28, rand 24, rand 60, rand 60, rand 1e6; }
sub seconds { return sprintf '%s%d.%06ds', either('', '-'), rand 1e6, rand 1e6; }

# Some of them, in JSON and in SQL.
sub several
{
	my ($one) = @_;
	my @both = map { [ $one->() ] } 1 .. rand 4;

	return ([ map { $_->[0] } @both ], 'ARRAY[' . join(', ', map { $_->[1] } @both) . ']');
}

sub address
{
	my ($city) = text();
	my %address = (city => $city, zip => either('', '12345'), at => { lat => 1.5, lon => -2 });
	my %expected = %address;

	# (what is the type's default is not written)
	delete $expected{$_} foreach grep { $expected{$_} eq '' } 'city', 'zip';
	return (\%address, quoted(JSON::PP->new->encode(\%expected)));
}

my @types = (
	id => 'int64', 'bigint', undef,
	i => 'int32', 'int', sub { return signed(31) },
	l => 'optional sint64', 'bigint', sub { return signed(52) },
	u => 'uint32', 'bigint', sub { return unsigned(32) },
	ul => 'optional uint64', 'numeric', sub { return rand() < 0.3 ? ('18446744073709551615', '18446744073709551615') : unsigned(52) },
	fi => 'fixed32', 'bigint', sub { return unsigned(32) },
	sf => 'optional sfixed64', 'bigint', sub { return signed(52) },
	f => 'float', 'real', \&binary,
	d => 'optional double', 'float8', sub { return rand() < 0.2 ? ('NaN', q{'NaN'}) : binary() },
	b => 'bool', 'boolean', \&truth,
	s => 'string', 'text', \&text,
	os => 'optional string', 'varchar(40)', \&text,
	by => 'bytes', 'bytea', \&some_bytes,
	e => 'color', 'color', sub { my $v = either(qw(RED GREEN BLUE)); return ($v, "'$v'") },
	en => 'color', 'int', sub { my $v = int rand 3; return ((qw(RED GREEN BLUE))[$v], $v) },
	es => 'repeated color', 'color[]', sub { return several(sub { my $v = either(qw(RED BLUE)); return ($v, "'$v'") }) },
	ss => 'repeated string', 'text[]', sub { return several(\&text) },
	ls => 'repeated int64', 'bigint[]', sub { return several(sub { return signed(40) }) },
	ds => 'repeated double', 'float8[]', sub { return several(\&binary) },
	m => 'map<string, int32>', 'jsonb', sub { my %m = map { ((text())[0] => int rand 100) } 1 .. rand 3; return (\%m, quoted(JSON::PP->new->encode(\%m))) },
	ts => 'google.protobuf.Timestamp', 'timestamptz', sub { my $v = moment(); return ($v, "'$v'") },
	tl => 'repeated google.protobuf.Timestamp', 'timestamptz[]', sub { return several(sub { my $v = moment(); return ($v, "'$v'") }) },
	du => 'google.protobuf.Duration', 'interval', sub { my $v = seconds(); return ($v, q{'} . $v =~ s/s$/ seconds'/r) },
	wi => 'google.protobuf.Int64Value', 'bigint', sub { return signed(52) },
	ws => 'google.protobuf.StringValue', 'text', \&text,
	st => 'google.protobuf.Struct', 'jsonb', sub { my %v = map { ($_ => either(1.5, 'x', [ 1, 'two' ], { in => undef })) } 'a', 'b'; return (\%v, quoted(JSON::PP->new->encode(\%v))) },
	home => 'address', 'jsonb', \&address,
	articles => 'repeated article', 'article[]', sub {
		return several(sub {
				my ($amount, $amount_sql) = signed(20);
				my ($item, $item_sql) = text();

				return ({ amount => $amount, item => $item }, "ROW($amount_sql, $item_sql)::article") }) });
my $schema = <<'EOS';
syntax = "proto3";
package every;
import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto"; import "google/protobuf/struct.proto";
enum color { RED = 0; GREEN = 1; BLUE = 2; }
message address { message position { double lat = 1; double lon = 2; } string city = 1; string zip = 2; position at = 3; }
message article { int32 amount = 1; string item = 2; }
EOS
my (@fields, @columns, %make, $body);

while (my ($name, $type, $column, $make) = splice @types, 0, 4)
{
	push @fields, [ $name, $type ];
	push @columns, [ $name, $column ];
	$make{$name} = $make;
	# small numbers and large ones
	$body .= "  $type $name = " . (@fields * @fields) . ";\n";
}
$schema .= "message type {\n$body}\n";
my $rows = 60;
my $types = $kafka->topic('types', 2);
my @expected;
my %absent = (
	i => 0, u => 0, fi => 0, f => 0, b => 'false', s => q{''}, by => q{''}, e => q{'RED'}, en => 0, es => q{'{}'}, ss => q{'{}'},
	ls => q{'{}'}, ds => q{'{}'}, m => q{'{}'}, tl => q{'{}'}, articles => q{'{}'});

foreach my $id (1 .. $rows)
{
	my (%value, @row);

	foreach (@fields)
	{
		my ($name) = @$_;

		if ($name ne 'id' && rand() < 0.25)
		{
			push @row, $absent{$name} // 'NULL';
			next;
		}
		($value{$name}, my $expected) = $name eq 'id' ? ("$id", "$id") : $make{$name}->();
		push @row, $expected;
	}
	push @expected, \@row;
	$producer->produce(record($types, $schema, 'every.type', \%value, partition => $id % 2));
}
my $ddl = join ', ', map { "$_->[0] $_->[1]" } @columns;
sql("CREATE TYPE color AS ENUM ('RED', 'GREEN', 'BLUE'); CREATE TYPE article AS (amount int, item text);
	CREATE TABLE types ($ddl); CREATE TABLE expected ($ddl); CREATE TABLE positions (id bigint, lat float8, zip text, rest jsonb, whole jsonb, schema bigint, type text)");
sql(join ";\n", map {
	my $row = $_;
	'INSERT INTO expected VALUES (' . join(', ', map { "($row->[$_])::$columns[$_][1]" } 0 .. $#columns) . ')' } @expected);
sink('types', $types, '');
sink('positions', $types, q{columns => '{"lat": "$.home.at.lat", "zip": "$.home.zip", "rest": "@rest", "whole": "@value", "schema": "@schema_id", "type": "@schema"}'});
becomes('SELECT count(*) FROM types', $rows, 'every type: all records are there');
is(sql('SELECT count(*) FROM (TABLE types EXCEPT TABLE expected) d'), 0, 'and what they were')
  & is(sql('SELECT count(*) FROM (TABLE expected EXCEPT TABLE types) d'), 0, 'each of them')
  or diag sql('SELECT t.id, j.key, j.value, e.value FROM types t JOIN expected x USING (id), jsonb_each_text(to_jsonb(t)) j
		JOIN LATERAL jsonb_each_text(to_jsonb(x)) e ON e.key = j.key WHERE j.value IS DISTINCT FROM e.value LIMIT 20');
becomes(q{SELECT count(*), count(lat) = (SELECT count(home) FROM types), count(zip) = (SELECT count(home) FROM types), count(rest -> 'home'),
		bool_and(whole -> 'home' IS NOT DISTINCT FROM home), bool_and(coalesce(whole ->> 's', '') = s) FROM positions JOIN types USING (id)},
	"$rows|t|t|0|t|t", 'by paths, as JSON');
my ($types_id) = map { $_->[1] } $registry->versions("$types-value");
is(sql('SELECT DISTINCT schema, type FROM positions'), "$types_id|every.type", '@schema_id is the id in the registry, @schema the message');
is(sql("SELECT kafka_sink.schema('kafka', $types_id) = " . quoted($schema)), 't', 'schema() has its text');

# --- schemas that evolve ---

sub version { return "syntax = \"proto3\"; message person { $_[0] }"; }
my @versions = (
	version('int32 id = 1; string name = 2; int32 qty = 3; optional string gone = 4;'),
	version('int32 id = 1; string name = 2; int32 qty = 3; optional string gone = 4; string city = 5;'),
	version('int64 id = 1; string name = 2; int64 qty = 3; reserved 4; string city = 5; repeated string new = 6;'));
my $evolved = $kafka->topic('evolved', 1);

# The value that a version has of a record
sub person
{
	my ($id, $version) = @_;
	my %value = (id => $id, name => "name $id", qty => $id * 10);

	$value{gone} = "gone $id" if $version < 2;
	$value{city} = "city $id" if $version > 0;
	$value{new} = ["new $id"] if $version == 2;
	return record($evolved, $versions[$version], 'person', \%value);
}

sql(q{CREATE TABLE evolved (id bigint PRIMARY KEY, name text, qty numeric, gone text DEFAULT 'left', city text DEFAULT 'nowhere', new text[] DEFAULT '{none}', schema int)});
sink('evolved', $evolved, q{columns => '{"schema": "@schema_id"}'});
my @people = map { person($_, int(($_ - 1) / 5)) } 1 .. 15;

push @people, map { person(100 + $_, $_ % 2 ? 0 : 2) } 1 .. 60;
my @sent = $producer->produce(@people);
my $first = "(SELECT min(schema) FROM evolved)";
becomes('SELECT count(*) FROM evolved', 75, 'a schema that evolves: all records are there');
is(sql(q{SELECT schema - } . $first . q{, count(*), bool_and(name = 'name ' || id), bool_and(qty = id * 10), min(gone), min(city), min(new::text)
		FROM evolved WHERE id <= 15 GROUP BY 1 ORDER BY 1}),
	"0|5|t|t|gone 1|nowhere|{none}\n1|5|t|t|gone 10|city 10|{none}\n2|5|t|t|left|city 11|{\"new 11\"}",
	'fields that are new, have another type, or are gone');
is(sql(q{SELECT schema - } . $first . q{, count(*), bool_and(name = 'name ' || id), bool_and(gone = 'left'), bool_and(city = 'nowhere') FROM evolved WHERE id > 100 GROUP BY 1 ORDER BY 1}),
	"0|30|t|f|t\n2|30|t|t|f", 'two schemas in turns');
is_deeply([ split /\n/, sql('SELECT schema FROM evolved ORDER BY id') ], [ map { $_->{value_id} } @sent ], 'each by the schema that wrote it');

# --- several messages of a schema ---

my $events = $kafka->topic('events', 1);
my $shop = <<'EOS';
syntax = "proto3"; package shop;
message Created { int32 id = 1; string by = 2; }
message Order {
  message Moved { string to = 1; int32 id = 2; message Back { int32 id = 7; } }
  message Item { string name = 1; }
  int32 id = 1; repeated Item items = 2;
}
EOS
my $texts = { 'shop/events.proto' => $shop };
sql(q{CREATE TABLE events (id int, by text DEFAULT 'nobody', "to" text, items jsonb, type text)});
sink('events', $events, q{columns => '{"type": "@schema"}', filter => $$type <> 'shop.Order.Item'$$});
foreach my $i (1 .. 2)
{
	$producer->produce(
		record($events, $texts, 'shop.Created', { id => 10 * $i, by => 'me' }),
		record($events, $texts, 'shop.Order', { id => 10 * $i + 1, items => [ { name => 'nail' }, {} ] }),
		record($events, $texts, 'shop.Order.Moved', { id => 10 * $i + 2, to => 'there' }),
		record($events, $texts, 'shop.Order.Moved.Back', { id => 10 * $i + 3 }),
		record($events, $texts, 'shop.Order.Item', { name => 'bolt' }),
		record($events, $texts, 'shop.Created', {}));
}
becomes('SELECT * FROM events WHERE id <> 0 ORDER BY id', join("\n", map {
			("${_}0|me|||shop.Created", qq(${_}1|nobody||[{"name": "nail"}, {}]|shop.Order), "${_}2|nobody|there||shop.Order.Moved", "${_}3|nobody|||shop.Order.Moved.Back") } 1, 2),
	'messages of a schema, nested ones too, in one topic');
becomes('SELECT count(*), min(by) FROM events WHERE id = 0', '2|', 'an empty one is of defaults');

# --- what is imported ---

my $invoices = $kafka->topic('invoices', 1);
my %files = (
	'common/money.proto' => 'syntax = "proto3"; package common; import "common/currency.proto"; message Money { int64 cents = 1; Currency currency = 2; }',
	'common/currency.proto' => 'syntax = "proto3"; package common; enum Currency { NONE = 0; EUR = 1; USD = 2; }',
	'shop/tax.proto' => 'syntax = "proto3"; package shop; import "common/money.proto"; import "common/currency.proto"; message Tax { float rate = 1; common.Money sum = 2; common.Currency currency = 3; }',
	'shop/invoice.proto' => 'syntax = "proto3"; package shop; import "shop/tax.proto"; import "common/money.proto"; import "google/protobuf/timestamp.proto";
		message Invoice { int32 id = 1; Tax tax = 2; common.Money total = 3; google.protobuf.Timestamp at = 4; }');
sql('CREATE TABLE invoices (id int, tax bigint, currency text, total jsonb, at timestamptz)');
sink('invoices', $invoices, q{columns => '{"tax": "$.tax.sum.cents", "currency": "$.tax.currency"}'});
my ($invoice_sent) = $producer->produce(map {
		record($invoices, \%files, 'shop.Invoice', { id => $_, total => { cents => -200, currency => 'EUR' }, at => '2024-02-29T01:02:03Z',
				$_ == 1 ? (tax => { rate => 0.5, sum => { cents => 75 }, currency => 'USD' }) : () }) } 1, 2);
becomes('SELECT * FROM invoices ORDER BY id',
	qq(1|75|USD|{"cents": -200, "currency": "EUR"}|2024-02-29 01:02:03+00\n2|||{"cents": -200, "currency": "EUR"}|2024-02-29 01:02:03+00),
	'files of other subjects, one of them by two ways');
is(sql("SELECT string_agg(r ->> 'name', ' ' ORDER BY n) FROM kafka_sink.schemas, jsonb_array_elements(refs) WITH ORDINALITY x(r, n) WHERE server = 'kafka' AND id = $invoice_sent->{value_id}"),
	'common/currency.proto common/money.proto shop/tax.proto', 'each behind what it imports');

# What the serializer registers is no text, and this registry answers with what it was given.
my $binary = $kafka->topic('binary', 1);
my %descriptors = (
	'binary/money.proto' => $files{'common/money.proto'} =~ s/import "common\/currency.proto";|package common;|Currency currency = 2;//gr,
	'binary/bill.proto' => 'syntax = "proto3"; import "binary/money.proto"; message Other { } message Bill { map<string, int32> tags = 3; message Part { map<string, Money> parts = 1; optional int32 id = 2; } int32 id = 1; Money money = 2; }');
sql('CREATE TABLE "binary" (id int, cents bigint, parts jsonb)');
sink('binary', $binary, q{columns => '{"cents": "$.money.cents"}'});
$producer->produce(
	record($binary, \%descriptors, 'Bill', { id => 1, money => { cents => 5 } }, value_descriptors => JSON::PP::true),
	record($binary, \%descriptors, 'Bill.Part', { id => 0, parts => { a => { cents => 7 }, b => {} } }, value_descriptors => JSON::PP::true));
becomes('SELECT * FROM "binary"', qq(1|5|\n0||{"a": {"cents": 7}, "b": {}}), 'schemas that are descriptors, in which entries of maps count as messages');
like(sql("SELECT schema FROM kafka_sink.schemas WHERE refs -> 0 ->> 'name' = 'binary/money.proto'"), qr{^[A-Za-z0-9+/=]+$}, 'in base64');

# --- keys, and tombstones ---

my $keyed = $kafka->topic('keyed', 2);
my $key_files = { 'place.proto' => 'syntax = "proto3"; message place { string region = 1; int32 id = 2; }' };
my $value_schema = 'syntax = "proto3"; message v { string v = 1; optional int32 w = 2; }';
sql('CREATE TABLE keyed (region text, id int, v text, w int, key jsonb, PRIMARY KEY (region, id))');
sink('keyed', $keyed, q{key_format => 'protobuf', insert_mode => 'upsert', delete_enabled => true,
	columns => '{"region": "@key.region", "id": "@key.id", "key": "@key"}'});

sub keyed
{
	my ($id, $value) = @_;

	return record($keyed, $value_schema, 'v', $value, partition => $id % 2, key => { region => 'r', id => $id }, key_files => $key_files, key_message => 'place');
}
$producer->produce((map { keyed($_, { v => "one $_" }) } 0 .. 6), (map { keyed($_, { v => "two $_", w => $_ }) } 2 .. 4), map { keyed($_) } 4 .. 5);
becomes('SELECT id, v, w FROM keyed ORDER BY id', "0|one 0|\n1|one 1|\n2|two 2|2\n3|two 3|3\n6|one 6|", 'upserts and deletes by keys in Protobuf');
is(sql('SELECT DISTINCT region, key FROM keyed WHERE id = 0'), 'r|{"id": 0, "region": "r"}', 'and the keys, which may be 0');
$producer->produce(keyed(0));
becomes('SELECT count(*) FROM keyed WHERE id = 0', 0, 'deleted, too');

# --- Debezium's changes, in messages as Connect's converter has them ---

my $changes = $kafka->topic('changes', 1);
my $envelope = { 'changes.proto' => <<'EOS' };
syntax = "proto3"; package inventory.public.item;
import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
message Envelope {
  Value before = 1; Value after = 2; Source source = 3; string op = 5; optional int64 ts_ms = 6;
  message Value {
    int32 id = 1; optional string v = 2; google.protobuf.Int32Value n = 3; google.protobuf.Timestamp at = 4; string big = 5;
    optional string doc = 6; google.protobuf.Int32Value day = 7; VariableScaleDecimal price = 8;
  }
  message Source { int64 lsn = 1; string table = 2; }
  message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }
}
EOS
my $key_of_changes = { 'key.proto' => 'syntax = "proto3"; package inventory.public.item; message Key { int32 id = 1; }' };

sub change
{
	my ($op, $id, %rows) = @_;

	return record($changes, $envelope, 'inventory.public.item.Envelope', $op ? { op => $op, source => { lsn => '4711', table => 'item' }, %rows } : undef,
		key => { id => $id }, key_files => $key_of_changes, key_message => 'inventory.public.item.Key');
}

sql(q{CREATE TABLE changes (id int PRIMARY KEY, v text DEFAULT 'default', n int DEFAULT 7, at timestamptz, big text, doc jsonb, day date, price numeric)});
sink('changes', $changes, q{key_format => 'protobuf', envelope => 'debezium', insert_mode => 'upsert', delete_enabled => true});
$producer->produce(
	(map { change('c', $_, after => { id => $_, v => "v $_", n => $_, at => '2024-02-29T01:02:03.5Z', big => "big $_", doc => '{"a": [1]}', day => 19782,
				price => { scale => 2, value => 'MDk=' } }) } 0 .. 3),
	change('u', 1, before => { id => 1, v => 'v 1' }, after => { id => 1, n => 0, big => '__debezium_unavailable_value' }),
	change('d', 2), change(undef, 2), change('d', 3, before => { id => 3 }), change(undef, 3));
becomes('SELECT * FROM changes ORDER BY id',
	qq(0|v 0|0|2024-02-29 01:02:03.5+00|big 0|{"a": [1]}|2024-02-29|123.45\n1||0||big 1|||),
	"Debezium's changes: what an update has not is NULL, what it says is not there stays");
$producer->produce(change('d', 0, before => {}), change('r', 4, after => { id => 4 }));
becomes('SELECT id, v, n, big FROM changes ORDER BY id', "1||0|big 1\n4|||", 'a key of 0');

# --- ids in headers ---

my $headers = $kafka->topic('headers', 1);
my $guid_producer = $guids->producer($kafka);
my $two = { 'two.proto' => 'syntax = "proto3"; message a { int32 id = 1; } message b { message c { int32 id = 3; } string v = 2; }' };
sql('CREATE TABLE headers (n serial, id int, v text)');
sink('headers', $headers, q{columns => '{"n": null}'}, 'guids');
my $n = 0;

foreach my $where ('payload', 'header', 'header_id')
{
	$guid_producer->produce(
		record($headers, $two, 'a', { id => ++$n }, value_ids => $where),
		record($headers, $two, 'b', { v => "v $n" }, value_ids => $where),
		record($headers, $two, 'b.c', { id => $n + 10 }, value_ids => $where));
}
becomes('SELECT id, v FROM headers ORDER BY n', join("\n", map { ("$_|", "|v $_", ($_ + 10) . '|') } 1 .. 3), 'ids and GUIDs with the message, in headers and before values');

# --- what cannot be read ---

my $bad = $kafka->topic('bad', 1);
my $fits = 'syntax = "proto3"; message r { int32 id = 1; string v = 2; }';
sql('CREATE TABLE bad (id int, v text)');
sink('bad', $bad, q{on_error => 'dead_letter'});
my @bad_sent = $producer->produce(
	record($bad, $fits, 'r', { id => 1, v => 'a' }),
	record($bad, 'syntax = "proto3"; message r { bytes id = 1; string v = 2; }', 'r', { id => '/w==', v => 'b' }, value_subject => 'other'),
	record($bad, 'syntax = "proto3"; message s { int32 other = 1; }', 's', { other => 1 }, value_subject => 'another'));
my ($good) = map { $_->{value_id} } @bad_sent;
my $json_id = $registry->register('avro', '{"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}]}');
$kafka->produce($bad, 0, [ undef, pack('CNC', 0, $good, 2) ], [ undef, pack('CNC2', 0, $good, 2, 8) ], [ undef, pack('CNC', 0, $json_id, 0) ], [ undef, 'no prefix' ]);
$producer->produce(record($bad, $fits, 'r', { id => 2, v => 'last' }));
becomes('SELECT id, v FROM bad ORDER BY id', "1|a\n2|last", 'others go on');
is(sql("SELECT off, sqlstate, message FROM kafka_sink.dead_letters WHERE sink = 'bad' ORDER BY off"), join("\n",
		"1|42804|schema $bad_sent[1]{value_id} of the registry: column \"id\" cannot take its value from the Protobuf schema",
		"2|22023|schema $bad_sent[2]{value_id} of the registry: the Protobuf schema has no field that a column takes",
		'3|22P03|invalid Protobuf', '4|22P03|invalid Protobuf',
		"5|42804|schema $json_id of the registry: the schema is not a Protobuf schema",
		'6|22P03|invalid Protobuf'),
	'what does not fit, or tells no message, is a record error');
sql('ALTER TABLE bad ALTER id TYPE bytea USING int4send(id)');
is(sql("SELECT consumed, dead_lettered FROM kafka_sink.retry_dead_letters('bad', 'off = 1')"), '1|0', 'which is read again when the table takes it');
is(sql(q{SELECT encode(id, 'hex') FROM bad WHERE v = 'b'}), 'ff', 'byte by byte');

# --- looking ---

is(sql("SELECT string_agg(kafka_sink.decode('kafka', value)::text, ' ' ORDER BY off) FROM kafka_sink.peek('kafka', '$events', 0, until_off => 3, timeout => '2 min')"),
	'{"by": "me", "id": 10} {"id": 11, "items": [{"name": "nail"}, {}]} {"id": 12, "to": "there"}', 'decode()');

# --- the table by the schema, and one that follows it ---

my $evolving = $kafka->topic('evolving', 1);
my @first = ({ 'evolving.proto' => 'syntax = "proto3"; package ev; message Event { int64 id = 1; string name = 2; }' }, 'ev.Event');
my @second = ({ 'evolving.proto' => 'syntax = "proto3"; package ev; message Event { int64 id = 1; string name = 2; optional double weight = 3; repeated int32 sizes = 4; }' }, 'ev.Event');

$producer->produce(map { record($evolving, @first, { id => $_, name => "n$_" }) } 1 .. 3);
my $described = sql("SELECT kafka_sink.describe('kafka', '$evolving', table_name => 'evolving')");
my ($create, $calls) = $described =~ /(CREATE .*?\n)((?:-- SELECT .*\n?)+)$/s or diag $described;
is($create, "CREATE TABLE evolving (\n    id bigint NOT NULL,  -- int64\n    name text NOT NULL  -- string\n);\n", 'describe(): the newest schema');
sql("BEGIN; $create" . ($calls =~ s/^-- //mgr) . "; SELECT kafka_sink.alter_sink('evolving', evolve => 'add'); COMMIT");
becomes('SELECT * FROM evolving ORDER BY id', "1|n1\n2|n2\n3|n3", 'what it proposes consumes the topic');
$producer->produce(record($evolving, @second, { id => 4, name => 'n4', weight => 1.5, sizes => [ 1, 2 ] }), record($evolving, @first, { id => 5, name => 'n5' }));
becomes(q{SELECT id, name, weight, sizes FROM evolving WHERE id > 3 ORDER BY id}, "4|n4|1.5|{1,2}\n5|n5||", 'evolve: a new field, and records without it');
is(sql(q{SELECT topic, off, statement FROM kafka_sink.ddl_history}), "$evolving|3|ALTER TABLE public.evolving ADD COLUMN weight double precision, ADD COLUMN sizes integer[]", 'in one statement, once');
like(sql("SELECT kafka_sink.describe('kafka', '$evolving')"), qr/^    weight double precision,  -- optional double\n    sizes integer\[\] NOT NULL DEFAULT '\{\}'  -- repeated int32; not in version 1: empty\n/m, 'describe(): the newest of two');

# A registry that is away: what is known goes on.
$registry->stop;
$producer->produce(person(1002, 0));
becomes('SELECT name FROM evolved WHERE id = 1002', 'name 1002', 'registry away: what is known goes on');
is(sql('SELECT bool_and(consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched) FROM kafka_sink.txn_offsets'), 't', 'the accounts are exact');

$node->stop('fast');
done_testing();
