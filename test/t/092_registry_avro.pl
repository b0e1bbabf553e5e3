# Avro whose schemas are in a registry: records that Confluent's own serializers
# wrote are in the table what they were; schemas that evolve, change from record to
# record, and refer to others; keys; ids in headers; and a registry that is away.
use strict;
use warnings FATAL => 'all';

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
my $seed = $ENV{KAFKA_SINK_SEED} // int rand 2**31;

print "# KAFKA_SINK_SEED=$seed\n";
srand $seed;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A schema: of a record if it has fields, "name type" each, types in JSON or the
# name of a primitive one.
sub record
{
	my ($name, @fields) = @_;

	return $json->encode({ type => 'record', name => $name, fields => [ map { field(@$_) } @fields ] });
}

sub field
{
	my ($name, $type, %more) = @_;

	return { name => $name, type => $type, %more };
}

sub nullable { return [ 'null', $_[0] ]; }
sub logical { my ($type, $logical, %more) = @_; return { type => $type, logicalType => $logical, %more }; }

test_format($node, 'avro');
# (what is not answered in time is asked for again, which the end counts)
create_server($node, $kafka, options => "schema_registry_timeout_ms '120000', schema_registry_url '" . $registry->url . "'");
create_server($node, $kafka, name => 'guids', options => "schema_registry_timeout_ms '120000', schema_registry_url '" . $guids->url . "'");

# --- every type ---

# Each field: its type, the column's type, and what makes a value: in JSON for the
# producer, and as an expression of SQL.
my @letters = ('a' .. 'z', ' ', '"', '\\', "\n", "\x{e9}", "\x{20ac}");
my $json_text = JSON::PP->new->utf8->allow_nonref;

sub digits { return join '', map { int rand 10 } 1 .. $_[0]; }
sub hex_of { return join '', map { sprintf '%02x', rand 256 } 1 .. $_[0]; }
sub text { return join '', map { $letters[ rand @letters ] } 1 .. rand 20; }
sub quoted { my $text = $_[0] =~ s/'/''/gr; utf8::encode($text); return "'$text'"; }
sub of_text { my $text = text(); return ($text, quoted($text)); }
sub whole { my $v = int(rand 2**$_[0]) * (rand() < 0.5 ? 1 : -1); return ($v + 0, "$v"); }
sub binary { my $v = (int(rand 2**20) - 2**19) / 8; return ($v + 0, "'$v'"); }
sub day { return sprintf '%04d-%02d-%02d', 1600 + rand 800, 1 + rand 12, 1 + rand 28; }
sub clock { return sprintf '%02d:%02d:%02d.%s', rand 24, rand 60, rand 60, digits($_[0]) . '0' x (6 - $_[0]); }
sub either { my @values = @_; return $values[ rand @values ]; }

sub decimal
{
	my ($precision, $scale) = @_;
	my $v = either('', '-') . (1 + int rand 9) . digits(rand($precision - $scale - 1)) . '.' . digits($scale);

	return ({ '$decimal' => $v }, $v);
}

# Some of them, in JSON and in SQL.
sub several
{
	my ($one) = @_;
	my @both = map { [ $one->() ] } 1 .. rand 4;

	return ([ map { $_->[0] } @both ], 'ARRAY[' . join(', ', map { $_->[1] } @both) . ']');
}

sub address
{
	my ($city) = of_text();
	my %address = (city => $city, zip => either(undef, digits(5)), at => { lat => 1.5, lon => -2 });

	return (\%address, quoted(JSON::PP->new->encode(\%address)));
}

my $color = { type => 'enum', name => 'color', symbols => [qw(red green blue)] };
my $address = { type => 'record', name => 'address', fields => [
		field(city => 'string'), field(zip => nullable('string')),
		field(at => { type => 'record', name => 'position', namespace => 'geo', fields => [ field(lat => 'double'), field(lon => 'double') ] }) ] };
my $article = { type => 'record', name => 'article', fields => [ field(amount => 'int'), field(item => nullable('string')) ] };

my @types = (
	id => 'long', 'bigint', undef,
	i => 'int', 'int', sub { return whole(31) },
	n_i => nullable('int'), 'int', sub { return whole(31) },
	i_n => [ 'int', 'null' ], 'bigint', sub { return whole(31) },
	l => nullable('long'), 'bigint', sub { return whole(62) },
	f => 'float', 'real', \&binary,
	d => nullable('double'), 'float8', sub { return rand() < 0.2 ? ({ '$float' => 'nan' }, q{'NaN'}) : binary() },
	b => nullable('boolean'), 'boolean', sub { my $v = either(0, 1); return ($v ? JSON::PP::true : JSON::PP::false, $v ? 'true' : 'false') },
	s => 'string', 'text', \&of_text,
	n_s => nullable('string'), 'varchar(40)', \&of_text,
	by => nullable('bytes'), 'bytea', sub { my $v = hex_of(rand 9); return ({ '$bytes' => $v }, "'\\x$v'") },
	fx => { type => 'fixed', name => 'four', size => 4 }, 'bytea', sub { my $v = hex_of(4); return ({ '$bytes' => $v }, "'\\x$v'") },
	e => $color, 'color', sub { my $v = either(qw(red green blue)); return ($v, "'$v'") },
	es => nullable({ type => 'array', items => 'color' }), 'color[]', sub { return several(sub { my $v = either(qw(red blue)); return ($v, "'$v'") }) },
	ss => { type => 'array', items => 'string' }, 'text[]', sub { return several(\&of_text) },
	ls => nullable({ type => 'array', items => nullable('long') }), 'bigint[]', sub { return several(sub { return rand() < 0.3 ? (undef, 'NULL') : whole(40) }) },
	m => { type => 'map', values => 'int' }, 'jsonb', sub { my %m = map { (text() => int rand 100) } 1 .. rand 3; return (\%m, quoted(JSON::PP->new->encode(\%m))) },
	dec => logical('bytes', 'decimal', precision => 12, scale => 2), 'numeric(12,2)', sub { return decimal(12, 2) },
	n_dec => nullable(logical('bytes', 'decimal', precision => 38, scale => 9)), 'numeric', sub { return decimal(38, 9) },
	f_dec => nullable(logical('fixed', 'decimal', name => 'twelve', size => 12, precision => 20, scale => 4)), 'numeric', sub { return decimal(20, 4) },
	da => nullable(logical('int', 'date')), 'date', sub { my $v = day(); return ({ '$date' => $v }, "'$v'") },
	t_ms => logical('int', 'time-millis'), 'time', sub { my $v = clock(3); return ({ '$time' => $v }, "'$v'") },
	t_us => nullable(logical('long', 'time-micros')), 'time', sub { my $v = clock(6); return ({ '$time' => $v }, "'$v'") },
	ts_ms => nullable(logical('long', 'timestamp-millis')), 'timestamptz', sub { my $v = day() . 'T' . clock(3) . '+00:00'; return ({ '$timestamp' => $v }, "'$v'") },
	ts_us => logical('long', 'timestamp-micros'), 'timestamptz', sub { my $v = day() . 'T' . clock(6) . '+02:00'; return ({ '$timestamp' => $v }, "'$v'") },
	lts => nullable(logical('long', 'local-timestamp-micros')), 'timestamp', sub { my $v = day() . 'T' . clock(6); return ({ '$timestamp' => $v }, "'$v'") },
	u => logical('string', 'uuid'), 'uuid', sub { my $v = join '-', map { hex_of($_) } 4, 2, 2, 2, 6; return ({ '$uuid' => $v }, "'$v'") },
	home => $address, 'jsonb', \&address,
	work => nullable('address'), 'jsonb', \&address,
	articles => { type => 'array', items => $article }, 'article[]', sub {
		return several(sub {
				my ($amount, $amount_sql) = whole(20);
				my ($item, $item_sql) = rand() < 0.3 ? (undef, 'NULL') : of_text();

				return ({ amount => $amount, item => $item }, "ROW($amount_sql, $item_sql)::article") }) },
	any_of => [ 'null', 'long', 'string' ], 'text', sub { return rand() < 0.5 ? whole(30) : of_text() });
my (@fields, @columns, %make);

while (my ($name, $type, $column, $make) = splice @types, 0, 4)
{
	push @fields, [ $name, $type ];
	push @columns, [ $name, $column ];
	$make{$name} = $make;
}
my $rows = 60;
my $types = $kafka->topic('types', 2);
my $types_schema = record('every.type', @fields);
my @expected;

foreach my $id (1 .. $rows)
{
	my (%value, @row);

	foreach (@fields)
	{
		my ($name, $type) = @$_;
		my $null = ref $type eq 'ARRAY' && rand() < 0.25;

		($value{$name}, my $expected) = $name eq 'id' ? ($id + 0, "$id") : $null ? (undef, 'NULL') : $make{$name}->();
		push @row, $expected;
	}
	push @expected, \@row;
	$producer->produce({ topic => $types, partition => $id % 2, value => \%value, value_schema => $types_schema });
}
my $ddl = join ', ', map { "$_->[0] $_->[1]" } @columns;
sql("CREATE TYPE color AS ENUM ('red', 'green', 'blue'); CREATE TYPE article AS (amount int, item text);
	CREATE TABLE types ($ddl); CREATE TABLE expected ($ddl); CREATE TABLE positions (id bigint, lat float8, zip text, rest jsonb, whole jsonb, schema bigint)");
sql(join ";\n", map {
	my $row = $_;
	'INSERT INTO expected VALUES (' . join(', ', map { "($row->[$_])::$columns[$_][1]" } 0 .. $#columns) . ')' } @expected);
sink('types', $types, '');
sink('positions', $types, q{columns => '{"lat": "$.home.at.lat", "zip": "$.work.zip", "rest": "@rest", "whole": "@value", "schema": "@schema_id"}'});
becomes('SELECT count(*) FROM types', $rows, 'every type: all records are there');
is(sql('SELECT count(*) FROM (TABLE types EXCEPT TABLE expected) d'), 0, 'and what they were')
  & is(sql('SELECT count(*) FROM (TABLE expected EXCEPT TABLE types) d'), 0, 'each of them')
  or diag sql('SELECT t.id, j.key, j.value, e.value FROM types t JOIN expected x USING (id), jsonb_each_text(to_jsonb(t)) j
		JOIN LATERAL jsonb_each_text(to_jsonb(x)) e ON e.key = j.key WHERE j.value IS DISTINCT FROM e.value LIMIT 20');
becomes(q{SELECT count(*), sum(lat), count(zip) = (SELECT count(work ->> 'zip') FROM types), count(rest -> 'home'),
		bool_and(whole -> 'work' IS NOT DISTINCT FROM coalesce(work, 'null')), bool_and(whole ->> 'u' = u::text) FROM positions JOIN types USING (id)},
	"$rows|" . 1.5 * $rows . "|t|0|t|t", 'by paths, as JSON');
my ($types_id) = map { $_->[1] } $registry->versions("$types-value");
is(sql('SELECT DISTINCT schema FROM positions'), $types_id, '@schema_id is the id in the registry');
is(sql("SELECT kafka_sink.schema('kafka', $types_id)::jsonb = " . quoted($types_schema) . '::jsonb'), 't', 'schema() has its text');

# --- schemas that evolve ---

# The same type each time, under one name
sub version { return record('person', @_); }
my @versions = (
	version([ id => 'int' ], [ name => 'string' ], [ qty => 'int' ], [ gone => nullable('string') ]),
	version([ id => 'int' ], [ name => 'string' ], [ qty => 'int' ], [ gone => nullable('string') ], [ city => 'string', default => 'unknown' ]),
	version([ id => 'int' ], [ full_name => 'string', aliases => ['name'] ], [ qty => 'long' ], [ city => nullable('string') ]),
	version([ qty => 'double' ], [ city => nullable('string') ], [ id => 'long' ], [ name => nullable('string') ], [ new => { type => 'array', items => 'string' } ]));
my $evolved = $kafka->topic('evolved', 1);

# The value that a version has of a record
sub person
{
	my ($id, $version) = @_;
	my %value = (id => $id, ($version == 2 ? 'full_name' : 'name') => "name $id", qty => $id * 10);

	$value{gone} = "gone $id" if $version < 2;
	$value{city} = "city $id" if $version > 0;
	$value{new} = ["new $id"] if $version == 3;
	return { topic => $evolved, value => \%value, value_schema => $versions[$version] };
}

sql(q{CREATE TABLE evolved (id bigint PRIMARY KEY, name text, qty numeric, gone text DEFAULT 'left', city text DEFAULT 'nowhere', new text[] DEFAULT '{}', schema int)});
sink('evolved', $evolved, q{columns => '{"schema": "@schema_id"}'});
my @people = map { person($_, int(($_ - 1) / 5)) } 1 .. 20;
my $mixed = 100;

push @people, map { person(100 + $_, $_ % 2 ? 0 : 3) } 1 .. $mixed;
my @sent = $producer->produce(@people);
my $first = "(SELECT min(schema) FROM evolved)";
becomes('SELECT count(*) FROM evolved', 20 + $mixed, 'a schema that evolves: all records are there');
is(sql(q{SELECT schema - } . $first . q{, count(*), bool_and(name = 'name ' || id), bool_and(qty = id * 10), min(gone), min(city), min(new::text)
		FROM evolved WHERE id <= 20 GROUP BY 1 ORDER BY 1}),
	"0|5|t|t|gone 1|nowhere|{}\n1|5|t|t|gone 10|city 10|{}\n2|5|t|t|left|city 11|{}\n3|5|t|t|left|city 16|{\"new 16\"}",
	'fields that are new, have another name, another type, or are gone');
is(sql(q{SELECT schema - } . $first . q{, count(*), bool_and(name = 'name ' || id), bool_and(qty = id * 10), bool_and(gone = 'left'), bool_and(city = 'nowhere'), bool_and(cardinality(new) = 0)
		FROM evolved WHERE id > 100 GROUP BY 1 ORDER BY 1}),
	"0|50|t|t|f|t|t\n3|50|t|t|t|f|f", 'two schemas in turns');
is_deeply([ split /\n/, sql('SELECT schema FROM evolved ORDER BY id') ], [ map { $_->{value_id} } @sent ], 'each by the schema that wrote it');

# --- many schemas, at random ---

my $many = $kafka->topic('many', 1);
my @names = map { "c$_" } 0 .. 5;
my (@many, @many_expected);

foreach (0 .. 39)
{
	my @of = grep { rand() < 0.6 } @names;

	push @many, [ [ id => 'int' ], map { [ $_, either('long', 'string', nullable('string'), [ 'int', 'null' ]) ] } @of ];
	my $fields = $many[-1];
	@$fields[ 0, $_ ] = @$fields[ $_, 0 ] foreach int rand @$fields;
}
sql('CREATE TABLE many (id int, ' . join(', ', map { "$_ text DEFAULT 'none'" } @names) . ')');
sink('many', $many, '');
foreach my $id (1 .. 300)
{
	my $fields = either(@many);
	my (%value, %row);

	foreach (@$fields)
	{
		my ($name, $type) = @$_;
		my $null = ref $type && rand() < 0.5;
		my $number = grep { /int|long/ } ref $type ? @$type : $type;

		my $v = $name eq 'id' ? $id + 0 : $null ? undef : $number ? int rand 1000 : 'v' . int rand 1000;

		$value{$name} = $v;
		$row{$name} = $v // '';
	}
	push @many_expected, join '|', $id, map { $row{$_} // 'none' } @names;
	$producer->produce({ topic => $many, value => \%value, value_schema => record('one', @$fields) });
}
becomes('SELECT count(*) FROM many', 300, 'many schemas: all records are there');
is(sql('SELECT * FROM many ORDER BY id'), join("\n", @many_expected), 'each by its own');

# --- several types in a topic ---

my $events = $kafka->topic('events', 1);
my @events = (
	record('shop.Created', [ id => 'int' ], [ by => 'string' ]),
	record('shop.Moved', [ to => 'string' ], [ id => 'int' ], [ why => nullable('string') ]));
sql(q{CREATE TABLE events (id int, by text DEFAULT 'nobody', "to" text, why text)});
sink('events', $events, '');
$producer->produce(map {
	$_ % 2
	? { topic => $events, value => { id => $_, by => 'me' }, value_schema => $events[0], value_subject => 'shop.Created' }
	: { topic => $events, value => { id => $_, to => 'there' }, value_schema => $events[1], value_subject => 'shop.Moved' } } 1 .. 4);
becomes('SELECT id, by, "to", why FROM events ORDER BY id', "1|me||\n2|nobody|there|\n3|me||\n4|nobody|there|", 'two types in one topic');

# --- references ---

my $invoices = $kafka->topic('invoices', 1);
my $money = $json->encode({ type => 'record', name => 'Money', namespace => 'common', fields => [
			field(amount => logical('bytes', 'decimal', precision => 9, scale => 2)), field(currency => { type => 'enum', name => 'Currency', symbols => [qw(EUR USD)] }) ] });
my $item = record('shop.Item', [ name => 'string' ], [ price => 'common.Money' ]);
my $tax = record('shop.Tax', [ rate => 'float' ], [ sum => 'common.Money' ], [ currency => nullable('common.Currency') ]);
my $invoice = record('shop.Invoice', [ id => 'int' ], [ item => 'Item' ], [ tax => nullable('shop.Tax') ], [ total => 'common.Money' ]);
my @of_money = ([ 'common.Money', "money-$invoices", 1 ]);

$registry->register("money-$invoices", $money);
$registry->register("item-$invoices", $item, references => \@of_money);
$registry->register("tax-$invoices", $tax, references => \@of_money);
sub euros { return { amount => { '$decimal' => $_[0] }, currency => 'EUR' }; }
sql('CREATE TABLE invoices (id int, item jsonb, price numeric, tax numeric, currency text, total jsonb)');
sink('invoices', $invoices, q{columns => '{"price": "$.item.price.amount", "tax": "$.tax.sum.amount", "currency": "$.tax.currency"}'});
my ($invoice_sent) = $producer->produce(map { {
		topic => $invoices, value_schema => $invoice,
		value_references => [ [ 'shop.Item', "item-$invoices", 1 ], [ 'shop.Tax', "tax-$invoices", 1 ], @of_money ],
		value => { id => $_, item => { name => 'nail', price => euros('1.50') }, total => euros('-2.00'),
			tax => $_ == 1 ? { rate => 0.5, sum => euros('0.75'), currency => 'USD' } : undef } } } 1 .. 2);
becomes('SELECT * FROM invoices ORDER BY id',
	qq(1|{"name": "nail", "price": {"amount": 1.50, "currency": "EUR"}}|1.50|0.75|USD|{"amount": -2.00, "currency": "EUR"}\n)
	  . qq(2|{"name": "nail", "price": {"amount": 1.50, "currency": "EUR"}}|1.50|||{"amount": -2.00, "currency": "EUR"}),
	'types of other subjects, one of them by two ways');

# --- keys, and tombstones ---

my $keyed = $kafka->topic('keyed', 2);
my $key_schema = record('place', [ region => nullable('string') ], [ id => 'int' ]);
my @value_schemas = (record('v', [ v => 'string' ]), record('v', [ v => 'string' ], [ w => 'int' ]));
sql('CREATE TABLE keyed (region text, id int, v text, w int, key jsonb, PRIMARY KEY (region, id))');
sink('keyed', $keyed, q{key_format => 'avro', insert_mode => 'upsert', delete_enabled => true,
	columns => '{"region": "@key.region", "id": "@key.id", "key": "@key"}'});

sub keyed
{
	my ($id, $value, $version) = @_;

	return { topic => $keyed, partition => $id % 2, key => { region => 'r', id => $id }, key_schema => $key_schema,
		value => $value, value_schema => $value_schemas[ $version // 0 ] };
}
$producer->produce((map { keyed($_, { v => "one $_" }) } 1 .. 6), (map { keyed($_, { v => "two $_", w => $_ }, 1) } 2 .. 4), map { keyed($_) } 4 .. 5);
becomes('SELECT id, v, w FROM keyed ORDER BY id', "1|one 1|\n2|two 2|2\n3|two 3|3\n6|one 6|", 'upserts and deletes by keys in Avro');
is(sql('SELECT DISTINCT region, key FROM keyed WHERE id = 1'), 'r|{"id": 1, "region": "r"}', 'and the keys');

# --- ids in headers ---

my $headers = $kafka->topic('headers', 1);
my $guid_producer = $guids->producer($kafka);
sql('CREATE TABLE headers (id int PRIMARY KEY, v text, w int)');
sink('headers', $headers, q{key_format => 'avro', insert_mode => 'upsert', delete_enabled => true, columns => '{"id": "@key"}'}, 'guids');
my $n = 0;

foreach my $ids ([ 'payload', 'payload' ], [ 'header', 'header' ], [ 'header_id', 'header_id' ], [ 'payload', 'header' ], [ 'header', 'payload' ])
{
	$guid_producer->produce(map { {
			topic => $headers, key => ++$n, key_schema => '{"type": "int"}', key_ids => $ids->[0],
			value => { v => "v $n", w => $n }, value_schema => $value_schemas[$_], value_ids => $ids->[1] } } 0, 1);
}
$guid_producer->produce({ topic => $headers, key => 3, key_schema => '{"type": "int"}', key_ids => 'header' });
becomes('SELECT * FROM headers ORDER BY id', join("\n", map { $_ % 2 ? "$_|v $_|" : "$_|v $_|$_" } grep { $_ != 3 } 1 .. 10),
	'ids and GUIDs, in headers and before values');

# --- tables by the newest schemas ---

my $described = sql("SELECT kafka_sink.describe('kafka', '$invoices', table_name => 'described')");
my ($about, $create, $calls) = $described =~ /^(-- .*?\n)(CREATE .*?\n)((?:-- SELECT .*\n?)+)$/s or diag $described;
is($about, qq(-- Value: schema $invoice_sent->{value_id} of subject "$invoices-value", version 1, shop.Invoice\n), 'describe(): which schema it is');
is($create, 'CREATE TABLE described (
    id integer NOT NULL,  -- int
    item jsonb NOT NULL,  -- record shop.Item
    tax jsonb,  -- record shop.Tax
    total jsonb NOT NULL  -- record common.Money
);
', 'describe(): types of other subjects');
sql("BEGIN; $create" . ($calls =~ s/^-- //mgr) . '; COMMIT');
becomes('SELECT count(*), bool_and(d.item = i.item AND d.total = i.total AND (d.tax IS NULL) = (i.tax IS NULL)) FROM described d JOIN invoices i USING (id)', '2|t', 'what it proposes consumes the topic');
my $described_key = sql("SELECT kafka_sink.describe('kafka', '$keyed')");
like($described_key, qr/^-- Value: schema \d+ of subject "$keyed-value", version 2, v\n-- Key: schema \d+ of subject "$keyed-key", version 1, place\n/, 'describe(): the newest of two, and the key');
like($described_key, qr/\n    PRIMARY KEY \(region, id\)\n/, 'which is the primary key');
like(sql("SELECT kafka_sink.describe('kafka', 'x', value_subject => 'money-$invoices')"), qr/^CREATE TABLE x \(\n    amount numeric\(9,2\) NOT NULL,  -- bytes, decimal\(9,2\)\n    currency text NOT NULL  -- enum common\.Currency: EUR, USD\n/m,
	'describe(): another subject');
foreach ("'kafka', 'no such topic'", "'kafka', '$keyed', key_subject => 'no such topic-value'")
{
	my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT kafka_sink.describe($_)");
	like($err, qr/ERROR:  42704: the registry of server "kafka" has no subject "no such topic-value"/, 'describe(): none');
}

# --- what has been fetched ---

is(sql('SELECT count(*) > 0, count(*) = count(DISTINCT (server, registry, id)), bool_and(type = \'AVRO\'), bool_and(fetched_at > now() - interval \'1 hour\')
		FROM kafka_sink.schemas WHERE id IS NOT NULL'), 't|t|t|t', 'each schema is there once');
is(sql("SELECT count(*) FROM kafka_sink.schemas WHERE server = 'kafka' AND id IN (" . join(', ', map { $_->{value_id} } @sent) . ')'), 4, 'each that was read');
is(sql('SELECT DISTINCT registry FROM kafka_sink.schemas ORDER BY 1'), join("\n", sort $registry->url, $guids->url), 'with the registry');
is(sql("SELECT jsonb_array_length(refs) FROM kafka_sink.schemas WHERE server = 'kafka' AND id = $invoice_sent->{value_id}"), 3, 'and its references');

# --- what cannot be read ---

my $bad = $kafka->topic('bad', 1);
my $fits = record('r', [ id => 'int' ], [ v => 'string' ]);
sql('CREATE TABLE bad (id int, v text)');
sink('bad', $bad, q{on_error => 'dead_letter'});
my @bad_sent = $producer->produce(
	{ topic => $bad, value => { id => 1, v => 'a' }, value_schema => $fits },
	{ topic => $bad, value => { id => { '$bytes' => 'ff' }, v => 'b' }, value_schema => record('r', [ id => 'bytes' ], [ v => 'string' ]) },
	{ topic => $bad, value => { other => 1 }, value_schema => record('s', [ other => 'int' ]) });
# Ids are given in turn: the next one is not there yet.
my $next = $registry->register('next', record('next', [ n => 'int' ])) + 1;
my $unknown = pack('CNCa*', 0, $next, 6, "\x02c");
$kafka->produce($bad, 0, [ undef, $unknown ], [ undef, 'no prefix' ]);
$producer->produce({ topic => $bad, value => { id => 2, v => 'last' }, value_schema => $fits });
becomes('SELECT id, v FROM bad ORDER BY id', "1|a\n2|last", 'others go on');
is(sql('SELECT count(*) FROM kafka_sink.dead_letters'), 4, 'what does not fit, or is of no schema, is a record error');
is(sql('SELECT off, sqlstate, message FROM kafka_sink.dead_letters ORDER BY off'), join("\n",
		"1|42804|schema $bad_sent[1]{value_id} of the registry: column \"id\" cannot take its value from the Avro schema",
		"2|22023|schema $bad_sent[2]{value_id} of the registry: the Avro schema has no field that a column takes",
		"3|42704|schema $next is not in the registry of server \"kafka\"",
		'4|22P03|invalid Avro'),
	'and says so');
is(sql("SELECT encode(value, 'hex') FROM kafka_sink.dead_letters WHERE off = 3"), unpack('H*', $unknown), 'which keeps the bytes');
is(sql("SELECT consumed, dead_lettered FROM kafka_sink.retry_dead_letters('bad', 'off = 3')"), '1|1', 'the schema is not there yet');
is($registry->register("late", record('late', [ id => 'int' ], [ v => 'string' ])), $next, 'it is registered');
is(sql("SELECT consumed, dead_lettered FROM kafka_sink.retry_dead_letters('bad')"), '4|3', 'and its record can be read');
is(sql('SELECT v FROM bad WHERE id = 3'), 'c', 'and is there');

# A sink that stops there is to go on when it is resumed.
my $strict = $kafka->topic('strict', 1);
sql('CREATE TABLE strict (id int, v text)');
sink('strict', $strict, '');
$next = $registry->register('next', record('next', [ n => 'long' ])) + 1;
$kafka->produce($strict, 0, [ undef, pack('CNCa*', 0, $next, 8, "\x02d\x00") ]);
becomes("SELECT state, sqlstate FROM kafka_sink.sinks WHERE sink = 'strict'", 'halted|42704', 'or halts the sink');
is($registry->register('late', record('late', [ id => 'int' ], [ v => 'string' ], [ more => nullable('int') ])), $next, 'until the schema is registered');
$producer->produce({ topic => $strict, value => { id => 5, v => 'e' }, value_schema => $fits });
is(sql("SELECT count(*) FROM strict"), 0, 'nothing goes past it');
sql("SELECT kafka_sink.resume('strict')");
becomes('SELECT * FROM strict ORDER BY id', "4|d\n5|e", 'and it is resumed');

# --- a registry that is away ---

my $url = $registry->url;
# more ids than are asked for at a time, of which the registry has none
my $strange = $kafka->topic('strange', 1);
$kafka->produce($strange, 0, map { [ undef, pack('CN', 0, 1000000 + $_) ] } 1 .. 2500);
sql('CREATE TABLE strange (id int)');
sink('strange', $strange, "on_error => 'dead_letter'");
becomes("SELECT count(*), min(sqlstate), max(message) FROM kafka_sink.dead_letters WHERE sink = 'strange'",
	'2500|42704|schema 1002500 is not in the registry of server "kafka"', 'ids of nothing are dead letters');

# a record of a schema that nobody has read yet
sql("SELECT kafka_sink.pause('evolved')");
my $newer = version([ id => 'int' ], [ name => 'string' ], [ qty => 'int' ], [ newer => 'int' ]);
$producer->produce({ topic => $evolved, value => { id => 1001, name => 'new', qty => 1, newer => 1 }, value_schema => $newer });
$registry->stop;
$producer->produce(person(1002, 0), keyed(7, { v => 'seven' }));
becomes("SELECT v FROM keyed WHERE id = 7", 'seven', 'registry away: what is known goes on');
sql("SELECT kafka_sink.resume('evolved')");
becomes("SELECT state FROM kafka_sink.sinks WHERE sink = 'evolved'", 'waiting', 'what is not waits');
like(sql("SELECT waits_for, sqlstate, message, detail FROM kafka_sink.sinks WHERE sink = 'evolved'"),
	qr{^registry\|HV00N\|could not reach the schema registry\|\Q$url\E/schemas/ids/\d+: no connection: Connection refused$}, 'for the registry, which is named');
is(sql("SELECT count(*) FROM kafka_sink.dead_letters WHERE sink NOT IN ('bad', 'strange')"), 0, 'and nothing is refused');
# a worker that is new knows what others have read
sql("SELECT kafka_sink.pause('keyed')");
sql("SELECT kafka_sink.resume('keyed')");
$producer->produce(keyed(8, { v => 'eight', w => 8 }, 1));
becomes("SELECT v, w FROM keyed WHERE id = 8", 'eight|8', 'a new worker reads by what is in the table');
is(sql('SELECT count(*) FROM evolved WHERE id > 1000'), 0, 'the other one still waits');
$registry->resume;
becomes('SELECT id, name FROM evolved WHERE id > 1000 ORDER BY id', "1001|new\n1002|name 1002", 'registry back: all goes on');
becomes("SELECT string_agg(DISTINCT state, ',') FROM kafka_sink.sinks WHERE state NOT IN ('running', 'idle')", '', 'everywhere');

# (it has written all of its log)
$registry->stop;
my %ids = map { $_->{value_id} => $registry->requests(qr{/schemas/ids/$_->{value_id}$}) } @sent;
is(join(' ', values %ids), '1 1 1 1', 'each schema was asked for once');
is($registry->requests(qr{/schemas/ids/100[0-2]\d{3}$}), 2500, 'so was each that there is not');
is(sql('SELECT bool_and(consumed = applied + deleted + filtered + dead_lettered + ignored + superseded + unmatched), bool_and(off - start_off = consumed + gaps) FROM kafka_sink.txn_offsets'),
	't|t', 'the accounts are exact');
$node->stop('fast');
done_testing();
