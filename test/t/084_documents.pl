# README.md: the examples run as they stand there, in the order of the text, and do what it
# says; definitions of doc/reference.md are taken; the moves that src/README.md draws are
# those that the code knows; and what links and names of files lead to is there.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $top = "$FindBin::RealBin/../..";
my ($port, $sasl) = map { chomp(my $p = `$ENV{KAFKA_SINK_BROKER} free-port`); $p } 1 .. 2;
my $kafka = start_broker(
	port => $port,
	properties => {
		'listeners' => "PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl,CONTROLLER://127.0.0.1:" . ($port + 1),
		'advertised.listeners' => "PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl",
		'listener.security.protocol.map' => 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT',
		'listener.name.sasl.sasl.enabled.mechanisms' => 'PLAIN',
		'listener.name.sasl.plain.sasl.jaas.config' =>
		  'org.apache.kafka.common.security.plain.PlainLoginModule required user_app="secret";' });
my $node = new_node('main', conf => "wal_level = logical\n");

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub blocks { return map { s/^    //gmr } $_[0] =~ /((?:^    .*\n|^\n(?=    ))+)/gm; }

# Of README.md, from one heading to another
sub sections
{
	my ($from, $to) = @_;
	my ($text) = slurp_file("$top/README.md") =~ /^(## \Q$from\E\n.*?)^## \Q$to\E\n/ms or die "no $from before $to";

	return $text;
}

# --- README.md ---

sql(q{CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app});
$kafka->create_topic($_, 2) foreach qw(orders lines events shop.orders);
$kafka->produce('orders', 0, [ '1', '{"id": 1, "customer": {"name": "ann"}, "total": 9.5, "placed_at": "2026-01-02"}' ]);
$kafka->produce('orders', 1, [ '7', '{"id": 7, "customer": {"name": "bob"}, "total": 3}' ]);
foreach (map { blocks($_) } sections('Connect a cluster', 'Operate'), sections('Consumers of your own', 'Compared with'))
{
	my $user = /^(?:CREATE|ALTER) SERVER|^GRANT/m ? 'postgres' : 'app';
	my ($what) = /^(\S.*)/m;

	# the text's cluster has TLS
	s/'broker1:9093,broker2:9093'/'127.0.0.1:$sasl'/;
	s/'sasl_ssl'/'sasl_plaintext'/;
	s/'SCRAM-SHA-512'/'PLAIN'/;
	s/sasl_password '\.\.\.'/sasl_password 'secret'/;
	# its orders would undo the update that comes behind
	s/(create_sink\('shop', [^)]*)/$1, enabled => false/;
	# what it says nothing of
	$node->safe_psql('postgres', 'CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint REFERENCES orders)', extra_params => [ '-U', 'app' ])
	  if /register_topic\('shop', 'lines'/;
	my ($failed, undef, $error) = $node->psql('postgres', $_, extra_params => [ '-U', $user ]);

	is("$failed$error", '0', "README: $what");
}
is(sql('SELECT id, customer, total, placed_at, seen_at > now() - interval \'1 hour\' FROM orders ORDER BY id'),
	"1|ann|9.50|2026-01-02 00:00:00+00|t\n7|bob|0.00||t", 'README: its orders are there, and its update');
sql(q{CALL kafka_sink.wait_for('order_events', timeout => '3 min')});
is(join(' ', sort map { "$_->[2]:" . ($_->[3] =~ /"total":\s*([\d.]+)/)[0] } $kafka->records('shop.orders')),
	'1:9.50 7:0.00 7:3.00', 'README: records of its rows');
is(join(' ', map { "$_->[2] $_->[3]" } $kafka->records('events')), '7 {"order": 7, "event": "cancelled"}', 'README: and what it emits');

# --- doc/reference.md ---

# Each by itself, with what it takes for granted (sql/examples.sql has those of commands)
$node->safe_psql('postgres', 'CREATE DATABASE reference');
$node->safe_psql('reference', 'CREATE EXTENSION kafka_sink');
my ($reference) = slurp_file("$top/doc/reference.md") =~ /^(.*?)^## Commands: SQL over a batch\n/ms;
my @definitions = grep { /create_sink\(/ && !/\.\.\.|protoc/ } blocks($reference);
my %granted = (
	'SERVER kafka' => q{FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1', schema_registry_url 'http://localhost:2')},
	'TABLE orders' => '(id bigint PRIMARY KEY, customer text)',
	'TABLE flights' => '(id bigint PRIMARY KEY, departed timestamptz, origin text)');
cmp_ok(scalar @definitions, '>', 6, 'reference: there are definitions');
foreach my $definition (@definitions)
{
	my $needs = join ";\n", map { "CREATE $_ $granted{$_}" } grep { $definition !~ /CREATE \Q$_\E / } sort keys %granted;
	my ($failed, undef, $error) = $node->psql('reference', "BEGIN;\n$needs;\n$definition\nROLLBACK");
	my ($what) = $definition =~ /(\w+\('.*)/;

	is("$failed$error", '0', "reference: $what");
}

# --- src/README.md: which moves its state machines have ---

my $inside = slurp_file("$top/src/README.md");
foreach ([ 'Database entry', 'shmem_database' ], [ 'Worker slot', 'shmem_slot' ], [ 'A worker as its supervisor sees it', 'supervisor_worker' ], [ 'A parked worker', 'shmem_parked' ])
{
	my ($title, $file) = @$_;
	my ($section) = $inside =~ /^### \Q$title\E .*?\n(.*?)^#/ms or die "no $title";
	my ($moves) = slurp_file("$top/src/process/$file.c") =~ /moves\[\].*?\{\n(.*?)^\};/ms or die "no moves in $file.c";
	my %coded = map { /\[KS_[A-Z]+_(\w+)\] = (.*)/ ? (lc $1 => [ map { lc } $2 =~ /TO\((\w+)\)/g ]) : () } split /\n/, $moves;
	my %told;

	foreach ($section =~ /^\| (.*? \| .*?) \|/mg)
	{
		my ($from, $to) = map { [ grep { exists $coded{$_} } split /, / ] } split / \| /;

		foreach my $state (@$from) { $told{"$state -> $_"} = 1 foreach grep { $_ ne $state } @$to; }
	}
	is(join("\n", sort keys %told), join("\n", sort map { my $from = $_; map { "$from -> $_" } @{ $coded{$from} } } keys %coded), "src/README.md: $title");
}

# --- what can be made ---

my $makefile = slurp_file("$top/Makefile");
my ($scripts) = $makefile =~ /^ks_scripts = (.*)$/m;
my %target = map { $_ => 1 } 'install', map { split / / } $scripts, $makefile =~ /^([a-z][\w -]*):/mg;
my %made = map { $_ => 1 } map { slurp_file("$top/$_") =~ /(?:`|^    (?:sudo )?)make ([a-z][\w-]*)/mg }
  qw(README.md CONTRIBUTING.md src/README.md doc/performance.md doc/conformance.md);
is(join(' ', grep { !$made{$_} } sort split / /, $scripts), '', 'each target of make is told of');
is(join(' ', grep { !$target{$_} } sort keys %made), '', 'and is there');

# --- links, and names of files ---

# As GitHub makes them of headings
sub anchors
{
	my %n;

	return map { my $name = lc s/[^\w\- ]//gr =~ tr/ /-/r; $n{$name}++ ? "$name-" . ($n{$name} - 1) : $name }
	  slurp_file($_[0]) =~ s/^```.*?^```//gmsr =~ /^#+ (.*)$/mg;
}
my @lost;
foreach my $file ('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'src/README.md', map { s/^\Q$top\E\///r } glob("$top/doc/*.md"))
{
	my ($dir) = "$top/$file" =~ m{(.*)/};

	foreach my $link (slurp_file("$top/$file") =~ /\]\(((?!http)[^)\s]+)\)/g)
	{
		my ($path, $anchor) = split /#/, $link;
		my $to = $path eq '' ? "$top/$file" : "$dir/$path";

		push @lost, "$file: $link" unless -e $to && (!defined $anchor || grep { $_ eq $anchor } anchors($to));
	}
}
is(join("\n", @lost), '', 'links lead to something');
my %file = map { (split m{/})[-1] => 1 } glob("$top/src/*.[ch] $top/src/*/*.[ch] $top/test/t/*.pl $top/test/pgtap/*.sql $top/sql/*.sql");
is( join(' ', grep { !$file{ (split m{/})[-1] } && !/^(?:rdkafka\.h|_int\.h)$/ }
		map { slurp_file("$top/$_") =~ m{`?\b([\w/]+\.(?:c|h|pl))\b}g } 'CONTRIBUTING.md', 'src/README.md', map { s/^\Q$top\E\///r } glob("$top/doc/*.md")),
	'', 'files that are named are there');

done_testing();
