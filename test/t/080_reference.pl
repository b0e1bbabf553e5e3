# What the reference says of settings, options and functions is what the code
# does: names, defaults, ranges, valid words, signatures.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $top = "$FindBin::RealBin/../..";
my $reference = slurp_file("$top/doc/reference.md");
my $node = new_node('main', conf => "wal_level = logical\n");

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub error_of
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN;\n$sql;\nROLLBACK", on_error_stop => 1);

	return $rc == 0 ? '' : $err;
}

# The rows of the first table under a heading: [ cell, ... ], as they stand there.
sub table_of
{
	my ($heading) = @_;
	my ($section) = $reference =~ /^#+ \Q$heading\E\n(.*?)(?=^#)/ms or die "no section $heading";
	my ($table) = $section =~ /^(\|.*?\n)(?!\|)/ms or die "no table in $heading";
	my @rows = map { s/^\| | \|$//gr } split /\n/, $table;

	# (head and rule)
	return map { [ split / \| / ] } @rows[ 2 .. $#rows ];
}

sub words { return $_[0] =~ /`([^`]+)`/g; }

# --- settings of a sink, and of a feed ---

sub arguments_of { return split /,/, sql("SELECT array_to_string(proargnames, ',') FROM pg_proc WHERE oid::regproc = 'kafka_sink.$_[0]'::regproc"); }

# What the table under a heading tells of each is so; $alter changes one of that view.
sub check_settings
{
	my ($heading, $view, $alter) = @_;
	my %default = map { split /=/, $_, 2 } split /\n/,
	  sql("SELECT key || '=' || coalesce(value, 'NULL') FROM kafka_sink.$view v, jsonb_each_text(to_jsonb(v)) WHERE coalesce(to_jsonb(v)->>'sink', 'defaults') = 'defaults'");

	$default{topic} = $default{table_topic} if $view eq 'feeds';
	foreach (table_of($heading))
	{
		my ($name) = words($_->[0]);
		my ($type, $shown) = ($_->[1], $_->[2] =~ s/`//gr);
		my $value = "$name =>";
		my $refused = sub { like(error_of("$alter $value $_[0])"), qr/ERROR:  22023: .*$name/, "$name: $_[0] is refused"); };
		my $taken = sub { unlike(error_of("$alter $value $_[0])"), qr/outside the valid range/, "$name: $_[0] is not"); };

		next if $name eq 'enabled' || $shown eq 'required';
		# (where the code chooses, the table says NULL)
		if ($name eq 'batch_records' && $shown eq 'NULL')
		{
			like($_->[3], qr/\b$default{$name}\b/, "$name: what NULL means");
		}
		elsif ($type =~ /^interval/ && $shown ne 'NULL')
		{
			is(sql("SELECT interval '$shown' = interval '$default{$name}'"), 't', "$name: its default");
		}
		else
		{
			is($default{$name}, $shown eq 'empty' ? '' : $shown, "$name: its default");
		}
		if ($type =~ /^interval, (\d+(?: \w+)?) to (\d+ \w+)/)
		{
			my ($least, $most) = ("interval '$1'", "interval '$2'");

			$refused->($_) foreach "$least - interval '1 ms'", "$most + interval '1 ms'";
			$taken->($_) foreach $least, $most;
		}
		elsif ($type =~ /\b(\d+) to (\d+)\b/)
		{
			my ($min, $max) = ($1, $2);

			$refused->($_) foreach $min - 1, $max + 1;
			$taken->($_) foreach $min, $max;
		}
		elsif (my @words = words($type))
		{
			my $error = error_of("$alter $value 'no such word')");
			my ($valid) = $error =~ /^(?:HINT|DETAIL): +.*?: (.*?)\.?$/m;

			is(join(' ', sort @words), join(' ', sort split /, ?/, $valid =~ s/["`]//gr // ''), "$name: its words");
		}
	}
	return;
}

my @arguments = arguments_of('create_sink');
is(join(' ', sort qw(sink settings if_not_exists), map { words($_->[0]) } table_of('Settings of a sink')), join(' ', sort @arguments), 'settings: each is in the table, once');
my ($list) = $reference =~ /^`create_sink\((.*?)\)`/ms;
is($list =~ s/\s+/ /gr, join(', ', @arguments), 'create_sink(): the list of its arguments');
sql(q{SELECT kafka_sink.create_sink('defaults')});
check_settings('Settings of a sink', 'sinks', q{SELECT kafka_sink.alter_sink('defaults',});

@arguments = arguments_of('create_feed');
is( join(' ', sort qw(feed settings if_not_exists), map { words($_->[0]) } table_of('Settings of a feed')),
	join(' ', sort @arguments), 'settings of a feed: each is in the table, once');
($list) = $reference =~ /role: `create_feed\((.*?)\)`/s;
is($list =~ s/\s+/ /gr, join(', ', @arguments), 'create_feed(): the list of its arguments');
sql(q{CREATE SERVER nowhere FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'localhost:1');
	SELECT kafka_sink.create_feed('none', server => 'nowhere', enabled => false)});
check_settings('Settings of a feed', 'feeds', q{SELECT kafka_sink.alter_feed('none',});

# --- settings of the server ---

my %context = (reload => 'sighup', session => 'user', restart => 'postmaster', superuser => 'superuser');
is( join("\n",
		sort map {
			my ($name, $shown, $change, $meaning) = ((words($_->[0]))[0], @$_[ 1 .. 3 ]);
			my ($range) = $meaning =~ /(?<!\d)(-?\d+ to \d+)\b/;
			join '|', $name, $shown, $context{$change}, $range // ''
		} table_of('Server settings')),
	join(
		"\n",
		sort map {
			# only where the text tells a range
			my ($name, $shown, $change, $min, $max) = split /\|/;
			join '|', $name, $shown, $change, $reference =~ /^\| `\Q$name\E` .*\b\d+ to \d+\b/m ? "$min to $max" : ''
		} split /\n/,
		sql(q{SELECT name, boot_val || coalesce(' ' || unit, ''), context, min_val, max_val
			FROM pg_settings WHERE name LIKE 'kafka_sink.%'})),
	'settings of the server: names, defaults, how to change them');

# --- options of servers and user mappings ---

my $options = slurp_file((grep { -e } glob("$top/src/*/options_table.c"))[0]);
my $conf = slurp_file((grep { -e } glob("$top/src/*/source_conf.c"))[0]);
my %of = (KILOBYTE => 1024, PG_INT32_MAX => 2147483647);
my (%coded, %told);

while ($options =~ /^\tUSER(?:_(INT|MEMORY|BOOL|ENUM))?\w*\("([^"]+)"(?:,\s*([^()]*))?\)/mg)
{
	my ($kind, $name, $rest) = ($1 // '', $2 =~ tr/./_/r, $3 // '');
	my @args = map { $of{$_} // $_ } split /,\s*/, $rest;

	$coded{$name} =
	    $kind =~ /INT|MEMORY/ ? "$args[0] to $args[1]" . ($kind eq 'MEMORY' ? ' capped' : '')
	  : $kind eq 'ENUM' ? join(' ', sort split /, /, $rest =~ s/"//gr)
	  : $kind eq 'BOOL' ? 'Boolean'
	  : '';
}
foreach my $row (table_of('Server options for everyone'), table_of('User mapping options for everyone'))
{
	my ($names, $values) = @$row;
	my @names = words($names =~ s/\(or .*?\)//r);

	my ($range) = $values =~ /(\d+ to \d+)/;

	$told{$_} =
	    defined $range ? $range . ($values =~ /capped/ ? ' capped' : '')
	  : $values =~ /^Boolean/ ? 'Boolean'
	  : $values =~ /^`/ ? join(' ', sort map { split /, / } words($values))
	  : ''
	  foreach @names;
}
is(join("\n", map { "$_: $told{$_}" } sort keys %told), join("\n", map { "$_: $coded{$_}" } sort keys %coded),
	'options: names, ranges, words');
# those of superusers, with their words, and those that nobody may set
foreach ([ 'SUPER', 'Options for superusers' ], [ 'SINK', 'Properties set by the sink' ], [ 'NEVER', 'Properties refused' ])
{
	my ($kind, $heading) = @$_;
	my ($section) = $reference =~ /^### \Q$heading\E\n(.*?)^#/ms or die "no section $heading";
	my %said = map { tr/_/./r => 1 } map { ($_, "sasl_oauthbearer_assertion_$_") } words($section);
	my @coded = map { my ($name, $words) = /"([^"]+)"(?:,\s*"([^"]+)")?/; ($name, /^SUPER_ENUM/ ? split /, /, $words : ()) }
	  $options =~ /^\t($kind(?:_ENUM|_INT|_HINT)?\(.*?)\),?\n/msg;

	cmp_ok(scalar @coded, '>', 10, "$heading: there are some");
	is(join(' ', grep { !$said{tr/_/./r} } @coded), '', "$heading: each is told of");
}
# what they are unless set: where it is not librdkafka's own
my ($defaults) = $conf =~ /defaults\[\] = \{(.*?)\n\};/s or die 'no defaults';
while ($defaults =~ /\{"([^"]+)", "([^"]+)"\}/g)
{
	my ($name, $value) = ($1 =~ tr/./_/r, $2 eq 'true' ? 'on' : $2);

	like($reference, qr/^\| .*`\Q$name\E`.*\b\Q$value\E unless set/m, "$name: $value unless set");
}

# --- settings of the server while records are applied ---

my ($session) = $reference =~ /^## Session settings while records are applied\n(.*?)^## /ms;
my ($in_table, $in_workers) = split /^In workers also: /m, $session;
$in_workers =~ s/Other settings.*//s;
# what a transaction is by default is told in words
my %in_words = (default_transaction_isolation => qr/read committed/, default_transaction_read_only => qr/not read-only/,
	default_transaction_deferrable => qr/not\s+deferrable/);
my ($fixed) = slurp_file("$top/src/base/session.c") =~ /^static const KsSetting settings\[\] = \{\n(.*?)^\};/ms;
while ($fixed =~ /^\t\{"(\w+)", "([^"]*)", (true|false)\}/mg)
{
	my ($name, $value, $worker_only) = ($1, $2, $3 eq 'true');

	if ($worker_only)
	{
		like($in_workers, $in_words{$name} // qr/`$name`/, "$name in workers");
	}
	else
	{
		like($in_table, qr/^\| `$name` \| `\Q$value\E` \|$/m, "$name: $value");
	}
}
like($in_workers, qr/`$_`/, "$_ is the sink's") foreach slurp_file("$top/src/process/worker.c") =~ /SetConfigOption\("((?!application_name)\w+)"/g;

# --- pauses ---

# Seconds of a constant of that name in the file, wherever the file is.
sub seconds
{
	my ($file, $name) = @_;
	my ($ms) = slurp_file((grep { -e } glob("$top/src/*/$file"))[0]) =~ /^#define $name\s+(\d+)$/m;

	return defined $ms ? $ms / 1000 : "no $name in $file";
}
my @pauses = (seconds('consumer_event.c', 'BACKOFF_MS'), seconds('consumer_event.c', 'BACKOFF_LONG_MS'), seconds('consumer_event.c', 'BACKOFF_MAX_MS'),
	seconds('supervisor_int.h', 'KS_RETRY_FIRST_MS'), seconds('supervisor_int.h', 'KS_RETRY_MAX_MS'));
my ($said) = $reference =~ /^(Partitions are tried again after .*?\.  ?All pauses .*?)\n\n/ms;
is( ($said // '') =~ s/\s+/ /gr,
	sprintf('Partitions are tried again after %s s (%s s for "longer pauses"), then ever longer, up to %s s. '
		  . 'A worker that ended is started again after %s s, then ever longer, up to %s s. '
		  . 'All pauses are random between half and all of that.', @pauses),
	'pauses');
my ($batch, $lock) = $reference =~ /^(applied again from memory, .*?)\. \(After\n`lock_timeout` up to (\S+ s):/ms;
is( join(', ', ($batch // '') =~ s/\s+/ /gr, $lock // ''),
	sprintf('applied again from memory, after %s s and then ever longer, up to %s s, %s s', map { seconds('consumer.c', $_) } 'RETRY_FIRST_MS', 'RETRY_MAX_MS', 'RETRY_LOCK_MAX_MS'),
	'pauses of a batch');

# --- signatures ---

# The arguments that stand in a heading, or that the server tells: defaults by value.
sub arguments
{
	my ($text) = @_;
	my @arguments = grep { !/^OUT / } map { s/^IN(?:OUT)? (?=\S+ )//r } split /, (?=(?:IN |OUT )?"?\w+"? [a-z])/, $text;

	foreach (@arguments)
	{
		/^"?\w+"? (.*) DEFAULT (.*)$/ or next;
		my $value = sql("SELECT coalesce(CAST($2 AS $1)::text, 'NULL')");

		s/ DEFAULT .*$/ = $value/;
	}
	return join ', ', @arguments;
}
my %signature;
while ($reference =~ /^#### `(CALL )?(\w+)\(([^`]*)\)`/mg)
{
	push @{ $signature{$2} }, $3;
}
my @routines = map { [ split /\|/, $_, 2 ] } split /\n/, sql(q{SELECT proname, pg_get_function_arguments(p.oid) FROM pg_proc p
	WHERE pronamespace = 'kafka_sink'::regnamespace ORDER BY proname, pronargs});
foreach my $name (sort keys %signature)
{
	foreach my $told (grep { !/\.\.\./ } @{ $signature{$name} })
	{
		my @is = map { arguments($_->[1]) } grep { $_->[0] eq $name } @routines;
		my $says = arguments($told);

		ok((grep { $_ eq $says } @is), "$name(): its arguments") or diag "$says\nis none of\n", join "\n", @is;
	}
}
# where a heading has "...", the list of all of them
foreach my $name (qw(register_topic alter_topic describe))
{
	my ($names) = $reference =~ /^`$name\(([\w,\s]+)\)`/m;

	is(($names // '') =~ s/\s+/ /gr, join(', ', arguments_of($name)), "$name(): the list of its arguments");
}
# what they return, and the columns of sets that have no type
my %returns = map { my ($name, @all) = split /\|/; ($name => \@all) } split /\n/, sql(q{SELECT proname || '|' ||
	string_agg(DISTINCT CASE WHEN prokind = 'p' THEN 'CALL' WHEN proretset THEN 'a set' ELSE pg_get_function_result(oid) END, '|')
	FROM pg_proc WHERE pronamespace = 'kafka_sink'::regnamespace GROUP BY proname});
while ($reference =~ /^#### `(CALL )?(\w+)\(.*?\)`(?: returns (.*))?$/mg)
{
	my ($call, $name, $type) = ($1, $2, $3 // '');
	my $told = $call ? 'CALL' : $type =~ s/`//gr =~ s/^(?:a set|table) .*/a set/r;

	ok((grep { $_ eq $told } @{ $returns{$name} }), "$name(): it returns $told");
}
foreach my $name (qw(topics preview))
{
	my ($section) = $reference =~ /^#### `$name\(.*?\n(.*?)^####/ms or die "no $name()";

	is(join(' ', map { words($_) } $section =~ /^\| (`.*?) \|/mg),
		sql(qq{SELECT string_agg(a, ' ' ORDER BY n) FROM pg_proc, unnest(proargnames, proargmodes) WITH ORDINALITY u (a, m, n)
			WHERE oid = 'kafka_sink.$name'::regproc AND m = 'o'}), "$name(): its columns");
}

# --- upgrading ---

foreach my $script (glob("$top/kafka_sink--*--*.sql"))
{
	my ($from, $to) = $script =~ /--(.*)--(.*)\.sql$/;
	my ($anew) = $reference =~ /\(from \Q$from\E to \Q$to\E: (.*?)\)/s;

	is(join(' ', sort(words($anew // ''))), join(' ', sort(slurp_file($script) =~ /^DROP (?:FUNCTION|PROCEDURE) kafka_sink\.(\w+)/mg)), "from $from to $to: what is made anew");
}

# --- what stops a feed ---

my $feeds = slurp_file("$top/doc/feeds.md");
my %sqlstate = map { tr/',//dr } slurp_file(`pg_config --includedir-server` =~ s/\n//r . '/utils/errcodes.h') =~ /^#define (ERRCODE_\w+) MAKE_SQLSTATE\((.*)\)/mg;
my %stops = map { $_ => 1 } map { my ($codes, $state) = /^\| .*? \| (.*?) \| (.*?) \|$/; map { "$_: " . ($state =~ s/`|: .*//gr) } words($codes) }
  grep { /^\| .* \| `\w{5}`/ } split /\n/, ($feeds =~ /^### What stops a feed\n(.*?)^#/ms)[0];
my $producer = slurp_file("$top/src/kafka/producer_error.c");
my $worker = slurp_file("$top/src/process/feed_worker_start.c");
my @is = map { my ($code, $halts, $waits) = @$_; "$sqlstate{$code}: " . ($halts eq 'true' ? 'halted' : $waits eq 'NULL' ? 'backoff' : 'waiting for ' . $waits =~ s/"//gr) }
  map { [/\{ERR\(\w+\), (ERRCODE_\w+), (true|false), (NULL|"\w+"), /] } $producer =~ /^(\t\{ERR\(.*)$/mg;
push @is, map { "$sqlstate{$_}: halted" } $worker =~ /\bhalt\((ERRCODE_\w+)/g;
cmp_ok(scalar @is, '>', 15, 'what stops a feed: the code knows some');
is(join("\n", grep { !$stops{$_} } sort @is), '', 'what stops a feed');
# what is waited for: of feeds, and of sinks
my $waits = join '', map { slurp_file($_) } glob("$top/src/process/*.c $top/src/kafka/producer_error.c $top/src/process/*.h");
my ($table) = $reference =~ /^#### What is waited for\n(.*?)^#/ms;
my ($states) = $feeds =~ /^## States\n(.*?)^#/ms;
foreach my $what (sort { $a cmp $b } keys %{ { map { $_ => 1 } $waits =~ /\bwaits_for = [^;]*?"(\w+)"/g } })
{
	like("$table$states", qr/`$what`/, "waits for $what");
}

# --- routines, and columns of views, tables and types ---

my $told_of = join '', map { slurp_file("$top/doc/$_.md") } qw(reference feeds security);
is( join(' ', grep { $told_of !~ /\b\Q$_\E\(/ && $reference !~ /`\Q$_\E`/ } split /\n/,
		sql(q{SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'kafka_sink'::regnamespace ORDER BY 1})),
	'', 'routines: each is told of');

# and each SQLSTATE that is raised
my %raised = map { $_ => 1 } map { slurp_file($_) =~ /(?:errcode\(|sqlstate = )(ERRCODE_\w+)/g } glob("$top/src/*/*.c");
cmp_ok(scalar keys %raised, '>', 30, 'SQLSTATEs: there are some');
is(join(' ', grep { $told_of !~ /`$sqlstate{$_}`/ } sort keys %raised), '', 'SQLSTATEs: each is told of');

# What a table of columns names: `a`, `b`; "`a` ... `z`" are all between them, "settings" those of feeds.
sub columns_told
{
	my ($is, @rows) = @_;
	my %place = map { $is->[$_] => $_ } 0 .. $#$is;
	my @told;

	foreach (@rows)
	{
		my ($names, $type, $text) = (@$_, '', '');

		if ($names =~ /^`(\w+)` \.\.\. `(\w+)`$/)
		{
			push @told, @$is[ $place{$1} .. $place{$2} ];
		}
		elsif ($names eq 'settings')
		{
			push @told, map { s/^topic$/table_topic/r } grep { !/^(?:server|enabled)$/ } map { words($_->[0]) } table_of('Settings of a feed');
			push @told, grep { exists $place{$_} } words($text);
		}
		else
		{
			push @told, words($names);
		}
	}
	return @told;
}
foreach my $relation (split /\n/, sql(q{SELECT relname FROM pg_class WHERE relnamespace = 'kafka_sink'::regnamespace AND relkind IN ('r', 'v')
	AND (relname IN ('schemas') OR has_table_privilege('public', oid, 'SELECT')) ORDER BY 1}))
{
	my @is = split /\n/, sql(qq{SELECT attname FROM pg_attribute WHERE attrelid = 'kafka_sink.$relation'::regclass AND attnum > 0 ORDER BY attnum});
	my ($heading) = $reference =~ /^### ((?:Table|View) `\Q$relation\E`)$/m;

	print "# $relation: ", $heading // 'none', "\n";
	next unless $heading;
	my ($section) = $reference =~ /^### \Q$heading\E\n(.*?)(?=^#)/ms;
	my @told = $section =~ /^\|/m ? columns_told(\@is, table_of($heading)) : words($section);
	is(join(' ', sort @told), join(' ', sort @is), "$relation: its columns");
}

done_testing();
