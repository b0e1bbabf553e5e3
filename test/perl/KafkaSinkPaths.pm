
=head1 NAME

KafkaSinkPaths - random tables, sinks and records, as SQL scripts

=head1 SYNOPSIS

  print KafkaSinkPaths::setup($version, $icu);       # types and helpers, once
  my $case = KafkaSinkPaths->new($seed, $nth, $version, $icu);
  $case->{sql};       # the script: table, sink, batches, dumps
  $case->{about};     # what is special about it
  $case->{mode};      # insert_mode

A case is a function of its seed and number alone.  Its script is run twice by
psql, with the fast paths (C<-v fast=on>) and without them (C<-v fast=off>;
C<-v setting=> names the setting), and must print the same; see
C<normalise()>.  What it prints can be read as it is, and the script is the
reproduction of what it finds.

Half of the tables are plain ones, as the fast paths want them; the others have
one to three features that they may have to leave to SQL.

=cut

package KafkaSinkPaths;

use strict;
use warnings FATAL => 'all';
use utf8;

use List::Util qw(first shuffle);

use KafkaSinkTables;
use KafkaSinkValues;

our @ISA = qw(KafkaSinkTables);

# --- the server's side, once per database ---

sub setup
{
	my ($version, $icu) = @_;

	return "CREATE EXTENSION amcheck;\n" . KafkaSinkTables::types($icu) . KafkaSinkTables::check_indexes() . <<'EOF';
CREATE FUNCTION public.r(part int, off bigint, key text, value text) RETURNS kafka_sink.record LANGUAGE sql AS
$$SELECT ROW('t', part, off, timestamptz '2026-01-01 00:00:00.123Z' + make_interval(secs => coalesce(off, 0)), convert_to(key, 'UTF8'), convert_to(value, 'UTF8'),
             CASE WHEN off % 3 = 1 THEN ARRAY[ROW('h', '\x6162'), ROW('n', NULL)]::kafka_sink.header[] END)::kafka_sink.record$$;
-- offsets that follow those stored
CREATE FUNCTION public.at(s text, recs kafka_sink.record[]) RETURNS kafka_sink.record[] LANGUAGE sql VOLATILE AS $$
    SELECT array_agg(ROW(x.topic, x.part, x.off - x.low + o.off, x.ts, x.key, x.value, x.headers)::kafka_sink.record ORDER BY nth)
      FROM (SELECT *, min(off) OVER (PARTITION BY part) AS low FROM unnest(recs) WITH ORDINALITY u (topic, part, off, ts, key, value, headers, nth)) x
      LEFT JOIN kafka_sink.txn_offsets o ON o.sink = s AND o.part = x.part$$;
-- record by record past those that are refused, as a sink is led by skip(): past
-- so many that a table which takes none of a large batch is not tried for each of it
CREATE FUNCTION public.feed(s text, recs kafka_sink.record[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text; col text; con text; typ text; tab text; sch text; context text;
    k int;
    refused int := 0;
BEGIN
    WHILE cardinality(recs) > 0 AND refused < 60 LOOP
        k := 0;
        BEGIN
            RETURN NEXT 'result ' || kafka_sink.ingest(s, public.at(s, recs))::text;
            RETURN;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, col = COLUMN_NAME,
                con = CONSTRAINT_NAME, typ = PG_DATATYPE_NAME, tab = TABLE_NAME, sch = SCHEMA_NAME, context = PG_EXCEPTION_CONTEXT;
            RETURN NEXT format('error %s: %s|%s|%s|%s|%s|%s|%s|%s', sqlstate, message, detail, hint, sch, tab, col, typ, con);
            RETURN NEXT coalesce('at ' || substring(context FROM 'sink "[^\n]*'), 'no record');
            k := substring(context FROM 'sink "[^"]*", record (\d+)');
        END;
        EXIT WHEN k IS NULL;
        refused := refused + 1;
        IF k > 1 THEN
            BEGIN
                RETURN NEXT 'before it ' || kafka_sink.ingest(s, public.at(s, recs[:k - 1]))::text;
            EXCEPTION WHEN OTHERS THEN
                RETURN NEXT format('error %s: before it: %s', sqlstate, sqlerrm);
                RETURN;
            END;
        END IF;
        recs := recs[k + 1:];
    END LOOP;
END$$;
-- rows of the caller's own, one by one in an order that is not the heap's
CREATE PROCEDURE public.delete_some(how_many int) LANGUAGE plpgsql AS $$
DECLARE found record;
BEGIN
    FOR found IN SELECT tableoid AS o, ctid AS c FROM t ORDER BY t::text COLLATE "C" LIMIT how_many LOOP
        DELETE FROM t WHERE tableoid = found.o AND ctid = found.c;
    END LOOP;
END$$;
EOF
}

# --- a case ---

sub new
{
	my ($class, $seed, $nth, $version, $icu) = @_;
	my $self = bless {
		nth => $nth, schema => "c$nth", sink => "s$nth", version => $version, icu => $icu,
		top => 't', made => 0, cols => [], about => [], after => [], extra => [], triggers => [],
		dropped => [], loaded => [], look => [], look_gin => [], dump => []
	}, $class;

	srand($seed * 10007 + $nth);
	$self->{plain} = chance(0.5);
	$self->{mode} = one_of(qw(insert insert insert insert upsert upsert upsert upsert accumulate accumulate ignore));
	# keys and indexes as the fast path of upserts wants them
	$self->{swift} = $self->{plain} && $self->{mode} =~ /^(upsert|accumulate)$/ && chance(0.8);
	$self->{bad} = one_of(0, 0, 0, 0.005, 0.03);
	$self->{keys} = one_of(8, 8, 5);
	# partitions go with few other features
	$self->{asked} = one_of(qw(partitioned partitioned partition)) if $nth % 5 == 0;
	$self->_columns;
	$self->_key;
	$self->_features;
	$self->_sink;
	$self->_script;
	$self->{about} = join ', ', $self->{mode}, @{ $self->{about} };
	return $self;
}


# --- the sink ---

sub _plain_json { return '"' . $_[0] =~ s/(["\\])/\\$1/gr . '"'; }

sub _sink
{
	my ($self) = @_;
	my @options;
	my %map;
	my $mode = $self->{mode};

	push @options, "insert_mode => '$mode'" if $mode ne 'insert';
	$self->{deletes} = @{ $self->{key} } > 0 && chance($mode eq 'insert' ? 0.15 : 0.3);
	if ($self->{unique_key} && @{ $self->{key} } && ($mode =~ /^(upsert|accumulate)$/ || $self->{deletes}))
	{
		push @options, 'pk_fields => ARRAY[' . join(', ', map { "'$_->{name}'" } reverse @{ $self->{key} }) . ']';
		$self->_about('pk_fields');
	}
	if ($self->{deletes})
	{
		push @options, 'delete_enabled => true';
		$self->_about('deletes');
		if (@{ $self->{key} } == 1 && chance(0.2))
		{
			$self->{raw} = 1;
			push @options, "key_format => 'raw'";
		}
	}
	elsif (chance(0.3))
	{
		push @options, "on_tombstone => 'ignore'";
	}
	push @options, "on_nul => 'strip'" if chance(0.1);
	push @options, "on_nonfinite => 'error'" if chance(0.1);
	if (chance(0.35))
	{
		foreach my $col (@{ $self->{cols} })
		{
			next if KafkaSinkTables::_fixed($col) || $col->{later} || $col->{few} || !chance(0.4);
			my $from = $col->{key} ? one_of("f_$col->{name}", undef)
			  : $col->{type} eq 'jsonb' ? one_of(qw(@rest @headers @value @key))
			  : $col->{type} eq 'text' ? one_of(qw(@topic @offset @timestamp @value))
			  : $col->{type} =~ /^(int8|numeric)$/ ? one_of(qw(@offset @partition @timestamp))
			  : $col->{type} eq 'timestamptz' ? '@timestamp'
			  : $col->{type} eq 'bytea' ? one_of(qw(@key @value))
			  : one_of("f_$col->{name}", '$.deep.v', '$.deep.list[1]', undef, undef);
			$map{ $col->{name} } = $col->{from} = $from if defined $from;
		}
		my $left = first { !$_->{key} && !$_->{notnull} && !$_->{t}{never_null} && !KafkaSinkTables::_fixed($_) && !$_->{later} && !exists $map{ $_->{name} } } reverse @{ $self->{cols} };
		if ($left && chance(0.3))
		{
			$map{ $left->{name} } = undef;
			# an upsert leaves alone what is there
			push @{ $self->{loaded} }, "UPDATE t SET $left->{quoted} = " . ($left->{type} eq 'text' ? q(repeat('not from a record', 500)) : '7')
			  if $left->{type} =~ /^(int[248]|text|numeric)$/ && !$left->{few} && !@{ $self->{extra} };
			$self->_about('excluded');
		}
		$self->_about('columns') if %map;
	}
	if (%map)
	{
		my $json = join ', ', map { _plain_json($_) . ': ' . (defined $map{$_} ? _plain_json($map{$_}) : 'null') } sort keys %map;
		push @options, "columns => \$j\${$json}\$j\$";
	}
	if ($mode eq 'accumulate')
	{
		my %how;
		foreach my $col (@{ $self->{cols} })
		{
			next if $col->{key} || KafkaSinkTables::_fixed($col) || $col->{later} || (exists $map{ $col->{name} } && !defined $map{ $col->{name} }) || chance(0.2);
			$how{ $col->{name} } = one_of(qw(first last),
				$col->{type} =~ /^(int[248]|numeric|float[48])$/ ? qw(sum sum min max) : (),
				$col->{type} =~ /^(int[48]|numeric)$/ ? 'count' : (),
				$col->{type} =~ /^(text|timestamptz|date|uuid)$/ ? qw(min max) : ());
		}
		push @options, 'accumulate => $j${' . join(', ', map { _plain_json($_) . qq(: "$how{$_}") } sort keys %how) . '}$j$';
	}
	$self->{options} = join '', map { ", $_" } @options;
	$self->{guarded} = chance(0.7);
	$self->{parts} = one_of(1, 1, 3);
	return;
}

# --- records ---

# A column that tells the partition, and does not need to be another each time?
sub _is_bound
{
	my ($self, $col) = @_;
	return $self->{part_col} && $self->{part_col} == $col && @{ $self->{key} } != 1;
}

# Which of its values: one of few, or one that no record had.
sub _number
{
	my ($self, $col, $nth) = @_;
	my $fresh = $self->_is_bound($col) ? 0 : $self->{many} ? 0.999 : $col->{few} ? 0.9 : $self->{mode} eq 'insert' ? 0.97 : 0.4;

	return chance($fresh) ? 10 + $nth : between(0, $self->{keys});
}

sub _value_of
{
	my ($self, $col, $nth) = @_;
	my $t = $col->{t};

	return one_of(@{ $t->{bad} }) if @{ $t->{bad} } && chance($self->{bad});
	return js(big_text()) if $col->{big} && chance(0.2);
	return $t->{key}->($self->_number($col, $nth)) if $col->{key} || $col->{few};
	return $t->{good}->();
}

# Key and value: members by column, in order or not, with others between them.
sub _record
{
	my ($self, $nth) = @_;
	my (%key, @members, $key);
	my $tombstone = $self->{deletes} ? 0.15 : $self->{bad};

	foreach my $col (@{ $self->{cols} })
	{
		next if KafkaSinkTables::_servers($col) && !chance(0.1);
		my $optional = !$col->{key} && !$col->{notnull} && !$col->{t}{never_null} && !$col->{seq};
		my $rare = $self->{bad} / 2;
		my $v = $self->_value_of($col, $nth);

		$v = 'null' if chance($optional ? 0.08 : $rare);
		$key{ $col->{name} } = $v if $col->{key};
		next if chance($optional || defined $col->{default} ? 0.12 : $rare);
		next if $col->{seq} && !chance(0.15);
		my $from = $col->{from};
		if ($from eq '$.deep.v') { push @members, qq("deep":{"v":$v, "w": 1}); }
		elsif ($from eq '$.deep.list[1]') { push @members, qq("deep":{"list":[null,$v]}); }
		elsif ($from !~ /^[\@\$]/) { push @members, (chance(0.03) ? js($from) : _plain_json($from)) . (chance(0.9) ? ':' : ' : ') . $v; }
	}
	push @members, one_of('"unknown":{"deep":[{}]}', '"other":null', '"":1', '"unknown":"\\ud83d\\ude00"') if chance(0.1);
	push @members, one_of(@members) if @members && chance(0.02);
	@members = shuffle(@members) if chance(0.1);

	if ($self->{raw})
	{
		($key) = values %key;
		$key =~ s/^"(.*)"$/$1/;
	}
	elsif (keys %key == 1 && chance(0.5)) { ($key) = values %key; }
	elsif (%key) { $key = '{' . join(',', map { _plain_json($self->_source_of($_)) . ":$key{$_}" } sort keys %key) . '}'; }
	else { $key = one_of('5', '{"id":1}', undef); }
	$key = one_of(undef, '{', '{"no":1}', 'null') if chance($self->{bad} / 3);
	return ($key, undef) if chance($tombstone);
	my $value = '{' . join(chance(0.9) ? ',' : ', ', @members) . '}' . (chance(0.05) ? " \n" : '');
	$value = one_of('[1]', '', substr($value, 0, length($value) / 2), "$value}", '"x"', 'nul') if chance($self->{bad} / 2);
	return ($key, $value);
}

sub _source_of
{
	my ($self, $name) = @_;
	my $col = first { $_->{name} eq $name } @{ $self->{cols} };
	return chance(0.7) && $col->{from} !~ /^[\@\$]/ ? $col->{from} : $name;
}

sub _literal { my ($s) = @_; return defined $s ? "\$j\$$s\$j\$" : 'NULL'; }

sub _batch
{
	my ($self) = @_;
	my @records;
	my @off = (0) x 3;
	# now and then more than a path takes at once, then without what is refused
	local @$self{qw(many bad)} = (1, 0) if $self->{made} < 100 && chance(0.02);

	my $n = $self->{many} ? between(900, 1600) : one_of(1, between(2, 8), between(5, 40), between(20, 60));

	for (1 .. $n)
	{
		my ($key, $value) = $self->_record($self->{made}++);
		my $part = between(0, $self->{parts} - 1);
		my $off = $self->{guarded} ? $off[$part] : 'NULL';

		$off[$part] += chance(0.05) ? between(2, 9) : 1;
		push @records, "public.r($part, $off, " . _literal($key) . ', ' . _literal($value) . ')';
	}
	return "ARRAY[\n" . join(",\n", @records) . ']';
}

# --- the script ---

# What the table has now, and the offsets.
sub _state
{
	my ($self, $row) = @_;
	return ('RESET ROLE;',
		"SELECT 'state', count(*), md5(string_agg(r, E'\\n' ORDER BY r COLLATE \"C\")) FROM (SELECT tableoid::regclass || $row AS r FROM t) x;",
		"SELECT 'offsets', part, off, consumed, applied, deleted, filtered, ignored, superseded, unmatched, gaps FROM kafka_sink.txn_offsets WHERE sink = '$self->{sink}' ORDER BY part;");
}

sub _ingest
{
	my ($self) = @_;
	return "SELECT 'result', * FROM kafka_sink.ingest('$self->{sink}', public.at('$self->{sink}', " . $self->_batch . '));';
}

# One batch, or two: by the helper that passes over records, by themselves, or
# in a transaction of the caller's.
sub _write
{
	my ($self) = @_;
	my $how = rand;

	# deferred constraints are more the caller's business
	$how = 1 - $how * 0.6 if $self->{deferred};
	return "SELECT * FROM public.feed('$self->{sink}', " . $self->_batch . ');' if $how < 0.7;
	return $self->_ingest if $how < 0.73;
	if ($how < 0.77)
	{
		# two calls of one statement
		return 'SELECT ' . join(",\n", map { "kafka_sink.ingest('$self->{sink}', public.at('$self->{sink}', " . $self->_batch . '))' } 1, 2) . ';';
	}
	my @sql = ('BEGIN' . one_of('', '', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE') . ';');
	push @sql, 'SET CONSTRAINTS ALL ' . one_of('DEFERRED', 'IMMEDIATE') . ';' if chance(0.3);
	push @sql, 'SAVEPOINT s;', $self->_ingest, 'ROLLBACK TO s;' if chance(0.3);
	push @sql, $self->_ingest;
	push @sql, $self->_ingest if chance(0.4);
	return (@sql, '\echo commit', one_of('COMMIT;', 'COMMIT;', 'COMMIT;', 'ROLLBACK;'));
}

# What the table and its indexes have at the end.
sub _contents
{
	my ($self, $row) = @_;
	my $seq = join ', ', map { $_->{quoted} } grep { $_->{seq} } @{ $self->{cols} };
	my $found = "SELECT 'found', count(*) FROM t x, LATERAL (SELECT 1 FROM t y WHERE y.%1\$s %2\$s x.%1\$s OFFSET 0) z;";
	# the fast path changes rows before it inserts others, and a row that is changed spends a number, too
	my $numbers = $self->{mode} eq 'insert' ? "ROW($seq)::text AS r" : "count(*), count(DISTINCT ROW($seq)) AS r";
	my @found = ((map { sprintf $found, $_->{quoted}, '=' } @{ $self->{look} }), map { sprintf $found, $_->{quoted}, '@>' } @{ $self->{look_gin} });

	return ("SELECT 'row', * FROM (SELECT tableoid::regclass, $row AS r FROM t) x ORDER BY r COLLATE \"C\", tableoid;",
		$seq
		? ("SELECT 'seq', x.* FROM (SELECT $numbers FROM t) x ORDER BY r::text COLLATE \"C\";",
			"SELECT 'seq', sequencename, last_value FROM pg_sequences WHERE schemaname = '$self->{schema}' AND sequencename NOT LIKE 'log%' ORDER BY 2;")
		: (),
		"SELECT 'log', op, what FROM log ORDER BY n;", (map { "$_;" } @{ $self->{dump} }),
		"SELECT * FROM public.check_indexes('t');",
		@found, (map { "SET enable_$_ = off;" } qw(seqscan hashjoin mergejoin)), @found);
}

# Which way does a row go?  A debug message tells.
sub _probe
{
	my ($self) = @_;
	local @$self{qw(bad deletes)} = (0, 0);
	my ($key, $value) = $self->_record(77);

	return ('\echo probe', 'BEGIN;', 'SET LOCAL client_min_messages = debug1;',
		$self->{owner} ? "SET ROLE $self->{owner};" : (),
		"SELECT * FROM kafka_sink.ingest('$self->{sink}', ARRAY[public.r(0, NULL, " . _literal($key) . ', ' . _literal($value) . ')]);', 'ROLLBACK;', 'RESET ROLE;');
}

sub _script
{
	my ($self) = @_;
	my @role = $self->{owner} ? "SET ROLE $self->{owner};" : ();
	my @cols = grep { !$_->{seq} && !$_->{later} } @{ $self->{cols} };
	my $row = sub { 'ROW(' . join(', ', map { $_->{quoted} } @cols) . ')::text' };
	my @sql = ("CREATE SCHEMA $self->{schema};", "SET search_path = $self->{schema};", $self->_ddl, @role,
		"SELECT kafka_sink.create_sink('$self->{sink}', target => '$self->{schema}.t'$self->{options});",
		"SELECT kafka_sink.seek('$self->{sink}', '{\"t\": {\"0\": 0, \"1\": 0, \"2\": 0}}');");

	if (chance(0.6))
	{
		push @sql, 'SET :setting = off;', "SELECT * FROM public.feed('$self->{sink}', " . $self->_batch . ');', $self->_state($row->()),
		  map { "$_;" } @{ $self->{loaded} };
	}
	push @sql, 'SET :setting = :fast;';
	for my $nth (1 .. between(2, 4))
	{
		foreach my $col (grep { $_->{later} && $nth == 2 } @{ $self->{cols} })
		{
			push @sql, "ALTER TABLE t ADD COLUMN $col->{quoted} $col->{type} DEFAULT $col->{default};";
			push @sql, map { "GRANT $_ ($col->{quoted}) ON t TO app;" } split /, /, $self->{column_grants} if $self->{column_grants};
			push @cols, $col;
		}
		push @sql, 'CALL public.delete_some(' . between(1, 5) . ');' if chance(0.2);
		push @sql, 'VACUUM t;' if chance(0.05);
		push @sql, @role, $self->_write, $self->_state($row->());
	}
	push @sql, $self->_contents($row->()), $self->_probe, "SELECT kafka_sink.drop_sink('$self->{sink}');";
	$self->{sql} = join("\n", @sql) . "\n";
	return;
}

=head2 normalise($output, $case)

The lines of what psql printed, without what may differ: where in the server's
source an error was raised and where in the heap, the context of statements, and, once something was
refused, which numbers a sequence has given: attempts that were rolled back
have spent some.

=cut

sub normalise
{
	my ($output, $case) = @_;
	my @lines;
	my $context = 0;
	my $refused = 0;

	$output =~ s/^probe\n.*//ms;
	# (a row may have lines)
	$output =~ s/Failing row contains \(.*?\)\.(?=\||\n)/Failing row/gs if $case->{seq};
	foreach (split /\n/, $output)
	{
		s/^psql:\S+: //;
		$context = 0 if /^(SCHEMA|TABLE|COLUMN|DATATYPE|CONSTRAINT) NAME:|^LOCATION:/;
		next if /^LOCATION:/;
		$context = 1 if s/^CONTEXT:  //;
		if ($context)
		{
			push @lines, "at $_" if /^sink "/;
			next;
		}
		$refused = 1 if /^(error|ERROR:)/;
		s/Failing row contains.*/Failing row/ if $case->{seq};
		s/(Index row references tuple) \(\d+,\d+\)/$1/;
		push @lines, $_ unless /^seq / && $refused;
	}
	return @lines;
}

=head2 way($output)

What the probe at the end of a script says: C<fast>, C<general>, or undef where
its record was refused.

=cut

sub way
{
	my ($output) = @_;

	$output =~ s/.*^probe\n//ms or return;
	return unless $output =~ /applied 1 of 1 records (without|by) SQL/;
	return $1 eq 'without' ? 'fast' : 'general';
}

1;
