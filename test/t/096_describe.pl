# describe() by the versions of a subject: the table takes records by all of them.  And
# schemas that a database in another encoding than UTF8 cannot hold.
use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkStub;
use KafkaSinkTest;

my $node = new_node('main');
my $registry = KafkaSinkStub->new;
my $json = JSON::PP->new->canonical->utf8;
my $characters = JSON::PP->new->canonical;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub literal { return "'" . ($_[0] =~ s/'/''/gr) . "'"; }

# A subject with these versions: each is a schema as characters, or an answer.
my $id = 0;
sub subject
{
	my ($name, $type, @schemas) = @_;
	my @ids;

	foreach my $version (1 .. @schemas)
	{
		my $schema = $schemas[ $version - 1 ];
		my %answer = ref $schema ? %$schema : (body => $json->encode({ subject => $name, version => $version, id => ++$id, schemaType => $type, schema => $schema }));

		$registry->answer("/subjects/$name/versions/$_", %answer) foreach $version, $version == @schemas ? 'latest' : ();
		push @ids, $id;
	}
	$registry->answer("/subjects/$name/versions", body => $json->encode([ 1 .. @schemas ]));
	return @ids;
}

sub described { return sql("SELECT kafka_sink.describe('reg', '$_[0]')"); }

# The columns of what is described, and the notes on it.
sub columns
{
	my ($text) = @_;
	my ($columns) = $text =~ /^CREATE TABLE \S+ \(\n(.*?)^\);/ms;

	return $columns;
}

sub notes { return join "\n", map { /^-- (?!Value: |Key: |SELECT )(.*)/ ? $1 : () } split /\n/, $_[0]; }

# Makes the table and the sink that is proposed, into which records of hex digits go.
sub consumes
{
	my ($text, @values) = @_;
	my ($create, $calls) = $text =~ /(CREATE .*?\n\);\n)(?:COMMENT .*\n)*(-- SELECT .*?\);)$/ms or die $text;
	my $records = join ', ', map { "ROW(NULL, NULL, NULL, NULL, NULL, '\\x$_', NULL)::kafka_sink.record" } @values;
	my ($sink) = $calls =~ /create_sink\('(\w+)'/;

	sql($create . ($calls =~ s/^-- //r =~ s/\);$/, enabled => false);/r) . "SELECT kafka_sink.ingest('$sink', ARRAY[$records])");
}

sub framed { my ($schema, $hex) = @_; return sprintf '00%08x%s', $schema, $hex; }

sql("CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1', schema_registry_url '" . $registry->url . "')");

# --- Protobuf: what is absent is empty ---

sub proto { return "syntax = \"proto3\"; message event { $_[0] } message other { bool b = 1; }"; }
my @ids = subject('proto-value', 'PROTOBUF', proto('int32 id = 1;'),
	proto('int32 id = 1; optional string name = 2; repeated int32 sizes = 3; map<string, int32> m = 4;'),
	'syntax = "proto3"; message other { int32 gone = 1; }',
	proto('int32 id = 1; string name = 2; repeated int32 sizes = 3; map<string, int32> m = 4; repeated other others = 5; bytes raw = 6; bool b = 7; double d = 8; E e = 9; enum E { NONE = 0; } google.protobuf.Timestamp at = 10;')
	  =~ s/; /; import "google\/protobuf\/timestamp.proto"; /r);
my $text = sql("SELECT kafka_sink.describe('reg', 'proto', message_type => 'event')");
is(columns($text), <<'COLUMNS', 'Protobuf: defaults for what older records lack');
    id integer NOT NULL,  -- int32
    name text NOT NULL DEFAULT '',  -- string; can be absent in version 2: empty
    sizes integer[] NOT NULL DEFAULT '{}',  -- repeated int32; not in version 1: empty
    m jsonb NOT NULL DEFAULT '{}',  -- map<string, int32>; not in version 1: empty
    others jsonb NOT NULL DEFAULT '[]',  -- repeated message other; not in version 2: empty
    raw bytea NOT NULL DEFAULT E'\\x',  -- bytes; not in version 2: empty
    b boolean NOT NULL DEFAULT false,  -- bool; not in version 2: false
    d double precision NOT NULL DEFAULT 0,  -- double; not in version 2: 0
    e text NOT NULL DEFAULT 'NONE',  -- enum event.E: NONE; not in version 2: NONE
    at timestamp with time zone  -- message google.protobuf.Timestamp, cut to microseconds
COLUMNS
is(notes($text), 'To leave out records of other messages, let a column take "@schema", and filter by it.', 'and no notes');
consumes($text, framed($ids[0], '00' . '0801'), framed($ids[1], '00' . '0802'), framed($ids[1], '00' . '08031a0105'), framed($ids[3], '00' . '0804'));
is(sql('SELECT id, name, sizes, m, others, raw, b, d, e, at FROM proto ORDER BY id'), <<'ROWS' =~ s/\n$//r, 'records by all of them');
1||{}|{}|[]|\x|f|0|NONE|
2||{}|{}|[]|\x|f|0|NONE|
3||{5}|{}|[]|\x|f|0|NONE|
4||{}|{}|[]|\x|f|0|NONE|
ROWS
subject('empty-value', 'PROTOBUF', 'syntax = "proto3"; message e {}', 'syntax = "proto3"; message e { int64 n = 1; optional string o = 2; }');
is(columns(described('empty')), <<'COLUMNS', 'a message that had no fields');
    n bigint NOT NULL DEFAULT 0,  -- int64; not in version 1: 0
    o text  -- optional string
COLUMNS
# a required field has no such thing
subject('two-value', 'PROTOBUF', 'message two { optional int32 id = 1; optional int32 d = 2; }', 'message two { required int32 id = 1; required string added = 3; optional int32 d = 2 [default = 5]; }');
is(columns(described('two')), <<'COLUMNS', 'proto2: required fields that were not');
    id integer,  -- required int32; can be absent in version 1
    added text,  -- required string; not in version 1
    d integer NOT NULL DEFAULT 5  -- optional int32
COLUMNS

# --- Avro: defaults, arrays and maps ---

sub avro { return $characters->encode({ type => 'record', name => 'r', fields => [@_] }); }
my $array = { type => 'array', items => 'int' };
@ids = subject('avro-value', 'AVRO',
	avro({ name => 'id', type => [ 'null', 'int' ] }),
	avro({ name => 'id', type => 'int' }, { name => 'was', type => 'string' }, { name => 'a', type => $array }),
	avro({ name => 'id', type => 'int' }, { name => 'now', aliases => ['was'], type => 'string' }, { name => 'a', type => $array }, { name => 'b', type => $array, default => [] },
		{ name => 'c', type => $array, default => [1] }, { name => 'm', type => { type => 'map', values => 'int' }, default => {} }, { name => 's', type => 'string', default => 'x' }));
$text = described('avro');
is(columns($text), <<'COLUMNS', 'Avro: what older records lack, unless there is a default');
    id integer,  -- int; can be null in version 1
    now text,  -- string; not in version 1; "was" in older versions
    a integer[],  -- array of int; not in version 1
    b integer[] NOT NULL DEFAULT '{}',  -- array of int
    c integer[],  -- array of int; not in version 2
    m jsonb NOT NULL DEFAULT '{}',  -- map of int
    s text NOT NULL DEFAULT 'x'  -- string
COLUMNS
consumes($text, framed($ids[0], '00'), framed($ids[0], '0202'), framed($ids[1], '04' . '0277' . '00'), framed($ids[2], '06' . '0277' . '020200' . '00' . '00' . '00' . '0279'));
is(sql('SELECT id, now, a, b, c, m, s FROM avro ORDER BY id'), <<'ROWS' =~ s/\n$//r, 'records by all of them');
1|||{}||{}|x
2|w|{}|{}||{}|x
3|w|{1}|{}|{}|{}|y
|||{}||{}|x
ROWS
like($text, qr/columns => '\{"now": "\$\.was"\}'/, 'what has another name in them is taken by its alias');
# of several names the one that the most versions have; not that of another field
subject('renamed-value', 'AVRO', avro({ name => 'a', type => 'int' }, { name => 'x', type => 'int' }), avro({ name => 'b', aliases => ['a'], type => 'int' }, { name => 'x', type => 'int' }),
	avro({ name => 'c', aliases => [ 'b', 'a', 'x' ], type => 'int' }, { name => 'x', type => 'int' }, { name => 'y', aliases => [ 'c', 'none' ], type => [ 'null', 'int' ] }));
$text = described('renamed');
is(columns($text), <<'COLUMNS', 'renamed twice');
    c integer NOT NULL,  -- int; "a" in older versions
    x integer NOT NULL,  -- int
    y integer  -- int
COLUMNS
like($text, qr/columns => '\{"c": "\$\.a"\}'/, 'by the name that all know');
# the key tells what not all values do
subject('keyed-value', 'AVRO', avro({ name => 'v', type => 'string' }), avro({ name => 'v', type => 'string' }, { name => 'id', type => 'int' }));
subject('keyed-key', 'AVRO', avro({ name => 'id', type => 'int' }));
like(described('keyed'), qr/columns => '\{"id": "\@key\.id"\}'/, 'a key column that a version lacks is taken from the key');
# a value as a whole
subject('whole-value', 'AVRO', '["null", "int"]', '"int"');
is(columns(described('whole')), "    value integer  -- int; can be null in version 1\n", 'values that are no records');

# --- JSON Schema: what was not required ---

sub rules { my ($required, %more) = @_; return $characters->encode({ type => 'object', title => 'rules', properties => { map { $_ => { type => 'integer' } } qw(a b c) }, required => $required, %more }); }
subject('json-value', 'JSON', rules([qw(a)]), rules([qw(a b)], properties => { a => { type => 'integer' }, b => { type => [ 'integer', 'null' ] } }), rules([qw(a b c)]));
is(columns(described('json')), <<'COLUMNS', 'JSON Schema: what is required by all');
    a bigint NOT NULL,  -- integer
    b bigint,  -- integer; can be null in version 2
    c bigint  -- integer; not in version 2
COLUMNS

# --- versions that cannot be looked at ---

sub change { return avro({ name => 'before', type => 'null' }, { name => 'after', type => [ 'null', { type => 'record', name => 'v', fields => [ { name => 'id', type => 'int' } ] } ] }, { name => 'op', type => 'string' }); }
subject('odd-value', 'AVRO', '"int', { status => 404, body => '{"error_code": 40402}' }, { body => $json->encode({ version => 3, id => 9001, schema => '"a.b"', references => [ { name => 'b', subject => 'b', version => 1 } ] }) },
	{ body => $json->encode({ version => 4, id => 9002, schemaType => 'JSON', schema => '{}' }) }, change(), avro({ name => 'id', type => 'int' }));
$text = described('odd');
is(notes($text), <<'NOTES' =~ s/\n$//r, 'versions that cannot be looked at are told');
Version 5 was not looked at: It is not of Debezium's changes as the newest one is, or the other way around.
Version 4 was not looked at: Its type is JSON.
Version 3 was not looked at: It refers to subject "b", version 1, which the registry does not have.
Version 2 was not looked at: The registry has no such version.
Version 1 was not looked at: invalid JSON
NOTES
is(columns($text), "    id integer NOT NULL  -- int\n", 'and the others count');
subject('many-value', 'AVRO', avro({ name => 'x', type => 'int' }), map { avro({ name => 'id', type => 'int' }) } 1 .. 101);
is(notes(described('many')), 'Of the versions before it, only the newest 100 were looked at.', 'so many versions');
is($registry->requests('/subjects/many-value/versions/2') . $registry->requests('/subjects/many-value/versions/1'), '10', 'each is a request');
$registry->answer('/subjects/many-value/versions', body => '{}');
like(($node->psql('postgres', "SELECT kafka_sink.describe('reg', 'many')"))[2], qr/answer cannot be understood\nDETAIL:  Versions are not an array/, 'what is no list of versions');
foreach ('[1, 3000000000]', '["1"]', '[1.5]')
{
	$registry->answer('/subjects/many-value/versions', body => $_);
	like(($node->psql('postgres', "SELECT kafka_sink.describe('reg', 'many')"))[2], qr/answer cannot be understood\nDETAIL:  A version is not a number, or not such a one/, "versions that are none: $_");
}
foreach ('1e30', '1.5', 'null')
{
	$registry->answer('/subjects/large-value/versions/latest', body => qq({"subject": "large-value", "version": 1, "id": $_, "schema": "\\"int\\""}));
	like(($node->psql('postgres', "SELECT kafka_sink.describe('reg', 'large')"))[2], qr/answer cannot be understood\nDETAIL:  Its member "id" is not a number, or not such a one/, "an id that is none: $_");
}

# --- a database that cannot hold all schemas ---

sql(q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
my $latin = sub { return $node->safe_psql('latin', $_[0]) };
my $said = sub { return ($node->psql('latin', "\\set VERBOSITY verbose\n$_[0]"))[2] };
my $why = 'It, or a schema that it refers to, has a character that a database in LATIN1 cannot hold';

$latin->("CREATE EXTENSION kafka_sink; CREATE SERVER reg FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1', schema_registry_url '" . $registry->url . "')");
subject('euro-value', 'AVRO', avro({ name => 'id', type => 'int', doc => "in \x{20ac}" }));
subject('plain-value', 'AVRO', avro({ name => 'id', type => 'int', doc => "in \x{20ac}" }), avro({ name => 'id', type => 'int' }));
subject('plain-key', 'AVRO', avro({ name => 'id', type => 'int' }));
subject('key-value', 'AVRO', avro({ name => 'id', type => 'int' }));
subject('key-key', 'AVRO', avro({ name => 'id', type => 'int', doc => "in \x{20ac}" }));
$registry->answer('/subjects/refers-value/versions/latest', body => $json->encode({ version => 1, id => 9100, schema => '"a.b"', references => [ { name => 'b', subject => 'euro-value', version => 1 } ] }));
like($said->("SELECT kafka_sink.describe('reg', '$_')"), qr/ERROR:  22P05: the schema of subject "$_-value" cannot be kept in this database\nDETAIL:  $why/, "describe(): a schema that it cannot hold: $_") foreach qw(euro refers);
like($said->("SELECT kafka_sink.describe('reg', 'key')"), qr/ERROR:  22P05: the schema of subject "key-key" cannot be kept in this database\n/, 'nor passes it over as a key');
$text = $latin->("SELECT kafka_sink.describe('reg', 'plain')");
like(notes($text), qr/^Version 1 was not looked at: $why/, 'of an older one it says so');
like($text, qr/PRIMARY KEY \(id\)/, 'with its key');

# what only people read can be left out; a name cannot
my $escaped = sub { return JSON::PP->new->canonical->ascii->encode($_[0]) };
my @described = map { $latin->("SELECT kafka_sink.describe(format => 'json_schema', value_schema => " . literal($_) . ')') } map { $escaped->($_) }
  { properties => { id => { type => 'integer', description => "in \x{20ac}" }, w => { enum => [ "\x{20ac}", 'caf' . "\x{e9}" ], default => "\x{20ac}" } }, description => "\x{20ac}" };
is(columns($described[0]), "    id bigint,  -- integer\n    w text  -- string: caf\x{e9}\n", 'JSON Schema: comments and words with other characters are left out');
unlike($described[0], qr/COMMENT|DEFAULT/, 'all of them');
my $named = $escaped->({ title => 'named', type => 'object', properties => { id => { type => 'integer' }, "\x{20ac}" => { type => 'integer' }, new => { type => 'integer' } } });
like($said->("SELECT kafka_sink.describe(format => 'json_schema', value_schema => " . literal($named) . ')'), qr/ERROR:  22P05: a property's name has characters that a database in LATIN1 cannot hold\nHINT:  Use a database in UTF8/, 'a name with one is an error');

# evolve follows what it can read, and passes nothing over
$latin->(q{CREATE TABLE t (id int); SELECT kafka_sink.create_sink('s', server => 'reg', target => 't', format => 'json_schema', evolve => 'add', enabled => false)});
my $add = sub { my ($schema, $text) = @_; $latin->("SELECT kafka_sink.add_schema('reg', $schema, 'JSON', " . literal($text) . ')'); };
my $ingest = sub { my ($schema, $value) = @_; return "SELECT kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, '\\x" . framed($schema, unpack 'H*', $value) . "', NULL)::kafka_sink.record])"; };
$add->(8001, $escaped->({ title => 'worded', type => 'object', properties => { id => { type => 'integer' }, words => { type => 'string', description => "in \x{20ac}", default => "\x{20ac}" } } }));
$add->(8002, $named);
$add->(8003, '{"title": "broken", "type": "object", "properties": {"id": {"type": "integer"}, "x": {"$ref": "#/none"}}}');
$latin->($ingest->(8001, '{"id": 1, "words": "a"}'));
is($latin->('SELECT * FROM t'), '1|a', 'evolve: a column whose documentation cannot be held');
like($said->($ingest->(8002, '{"id": 2, "new": 3}')), qr/ERROR:  22P05: schema 8002 of the registry: a property's name has characters that a database in LATIN1 cannot hold\nHINT:  Use a database in UTF8/, 'a schema with a name that cannot is an error');
like($said->($ingest->(8003, '{"id": 2, "x": 3}')), qr/ERROR:  \w+: schema 8003 of the registry: /, 'and so is one that no table can be made of');
is($latin->('SELECT count(*) FROM t'), '1', 'of which no record is stored without its fields');
$latin->(q{SELECT kafka_sink.alter_sink('s', evolve => 'none')});
$latin->($ingest->(8003, '{"id": 2, "x": 3}'));
is($latin->('SELECT id FROM t ORDER BY id'), "1\n2", 'without evolve nobody asks');

$node->stop('fast');
done_testing();
