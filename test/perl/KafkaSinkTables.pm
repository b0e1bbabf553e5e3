
=head1 NAME

KafkaSinkTables - random tables

=head1 DESCRIPTION

Part of L<KafkaSinkPaths> and L<KafkaSinkOutside>: columns, a key, what
L<KafkaSinkFeatures> adds to them, and the statements that create all of it.  The
table is C<t> in the schema of the case.

=cut

package KafkaSinkTables;

use strict;
use warnings FATAL => 'all';
use utf8;

use List::Util qw(min shuffle);

use KafkaSinkFeatures;
use KafkaSinkValues;

our @ISA = qw(KafkaSinkFeatures);

# Types that columns are of and what they refer to, once per database.
sub types
{
	my ($icu) = @_;
	my $collation = $icu
	  ? q{CREATE COLLATION public.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);}
	  : '';

	return $collation . <<'EOF';
CREATE TYPE public.colour AS ENUM ('red', 'green', 'blue');
CREATE DOMAIN public.small AS int CHECK (value < 1000);
CREATE DOMAIN public.required AS text NOT NULL CHECK (value <> '');
CREATE DOMAIN public.padded AS char(5) DEFAULT 'pad' CHECK (value <> 'no');
CREATE DOMAIN public.amount AS numeric(9,3) DEFAULT 1.5 CHECK (value > -999);
CREATE TYPE public.pair AS (a int, b text, c numeric(6,2));
CREATE TYPE public.nest AS (p public.pair, q public.pair[], s public.small);
CREATE TABLE public.parent (id bigint PRIMARY KEY);
INSERT INTO public.parent SELECT i FROM generate_series(0, 999) i WHERE i % 19 <> 5;
GRANT SELECT, REFERENCES ON public.parent TO app;
CREATE TABLE public.couples (a int, b text, PRIMARY KEY (a, b));
INSERT INTO public.couples SELECT a, b FROM generate_series(0, 2) a, unnest('{k0,k1}'::text[]) b;
EOF
}

# Needs the extension amcheck.
sub check_indexes
{
	return <<'EOF';
-- each index of a table against its heap
CREATE FUNCTION public.check_indexes(t regclass) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE tab regclass; ind record; n bigint;
BEGIN
    FOR tab IN SELECT relid FROM pg_partition_tree(t) WHERE isleaf UNION SELECT t FROM pg_class WHERE oid = t AND relkind = 'r' ORDER BY 1 LOOP
        FOR ind IN SELECT i.indexrelid::regclass AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
                    WHERE i.indrelid = tab AND a.amname = 'btree' ORDER BY i.indexrelid LOOP
            BEGIN
                PERFORM public.bt_index_parent_check(ind.name, true);
            EXCEPTION WHEN OTHERS THEN
                RETURN NEXT format('DAMAGED %s: %s', ind.name, sqlerrm);
            END;
        END LOOP;
        SELECT count(*) INTO n FROM public.verify_heapam(tab);
        IF n > 0 THEN RETURN NEXT format('DAMAGED %s: %s findings', tab, n); END IF;
    END LOOP;
    RETURN NEXT 'indexes checked';
END$$;
EOF
}

# --- columns ---

sub _about { my ($self, @what) = @_; push @{ $self->{about} }, @what; return 1; }

my @names = ('a' .. 'h', 'Odd Name', 'select', 'ключ', 'x"y', 'm' .. 'z');

sub _add_column
{
	my ($self, $type, %more) = @_;
	my $name = $names[ @{ $self->{cols} } ];
	my $col = { name => $name, quoted => '"' . $name =~ s/"/""/gr . '"', type => $type, t => type($type), from => $name, %more };

	push @{ $self->{cols} }, $col;
	return $col;
}

# Columns with what a plain table may have: defaults, NOT NULL, collations.
sub _columns
{
	my ($self) = @_;

	for (1 .. between(2, 8))
	{
		my $type = chance(0.25) ? one_of(qw(int4 int8 text numeric timestamptz bool)) : one_of(type_names());
		my $col = $self->_add_column($type);

		$col->{collation} = one_of('"C"', $self->{icu} ? ('public.loose') : ()) if $col->{t}{collates} && chance(0.3);
		$col->{notnull} = 1 if chance(0.12);
		if (chance(0.2))
		{
			$col->{default} = $type =~ /^int[48]$/ ? one_of('1 + 2', "length('abcd')")
			  : $type eq 'text' ? one_of(q('none'), q('de' || 'fault'), 'NULL')
			  : $type =~ /^numeric/ && $type !~ /\[/ ? '1.50'
			  : $type eq 'timestamptz' ? q('2026-01-01 00:00:00+01')
			  : $type eq 'int4[]' ? q('{1,2}')
			  : undef;
		}
	}
	return;
}

sub _key
{
	my ($self) = @_;
	my $mode = $self->{mode};
	my @able = shuffle(grep { !$_->{t}{nokey} && !($mode eq 'insert' && $_->{t}{narrow}) } @{ $self->{cols} });

	# most keys are what keys are
	unshift @able, $self->_add_column(one_of(qw(int4 int8 int8 text uuid))) if chance(0.5) || !@able;
	$self->{key} = [];
	return if $mode eq 'insert' && chance(0.2);
	@able = map { $self->_add_column(one_of(qw(int2 int4 int8 int8 text uuid date timestamptz))) } 1 .. 3
	  if $self->{swift};
	my $n = one_of(1, 1, 1, 2, 3);
	$self->{key} = [ @able[ 0 .. min($n - 1, $#able) ] ];
	$_->{key} = 1 foreach @{ $self->{key} };
	# one that is unique but not primary, named by pk_fields
	$self->{unique_key} = $mode ne 'ignore' && chance(0.2);
	return;
}

sub _key_list { my ($self) = @_; return join ', ', map { $_->{quoted} } @{ $self->{key} }; }

# Does the server fill it, whatever a record has?
sub _servers { my ($col) = @_; return $col->{generated}; }

# Or does it allow no update?
sub _fixed { my ($col) = @_; return $col->{generated} || $col->{always}; }

# --- statements ---

sub _column_ddl
{
	my ($col) = @_;
	my $type = $col->{serial} ? 'bigserial' : $col->{type};

	return join ' ', $col->{quoted}, $type,
	  $col->{collation} ? "COLLATE $col->{collation}" : (),
	  defined $col->{default} ? "DEFAULT $col->{default}" : (),
	  $col->{notnull} ? 'NOT NULL' : (),
	  $col->{identity} ? 'GENERATED BY DEFAULT AS IDENTITY' : (),
	  $col->{always} ? 'GENERATED ALWAYS AS IDENTITY' : (),
	  $col->{generated} ? "GENERATED ALWAYS AS $col->{generated} STORED" : ();
}

sub _partitions
{
	my ($self) = @_;
	my $how = $self->{partitioned};
	my @bounds = $how eq 'hash' ? map { "FOR VALUES WITH (MODULUS 3, REMAINDER $_)" } 0 .. (chance(0.2) ? 1 : 2)
	  : $how eq 'range' ? ('FOR VALUES FROM (MINVALUE) TO (3)', 'FOR VALUES FROM (3) TO (6)', one_of('DEFAULT', 'FOR VALUES FROM (7) TO (5000)'))
	  : ('FOR VALUES IN (0, 1, 2, 7)', 'FOR VALUES IN (3, 4, NULL)', @{ $self->{key} } == 1 || chance(0.5) ? 'DEFAULT' : 'FOR VALUES IN (5, 6)');
	my @sql;
	my $n = 0;

	foreach my $bound (@bounds)
	{
		$n++;
		# the first may be divided itself
		if ($n == 1 && chance(0.25))
		{
			push @sql, "CREATE TABLE t1 PARTITION OF t $bound PARTITION BY HASH ($self->{part_col}{quoted})",
			  map { "CREATE TABLE t1_$_ PARTITION OF t1 FOR VALUES WITH (MODULUS 2, REMAINDER $_)" } 0, 1;
			next;
		}
		# the second is laid out in another way
		push @sql, $n == 2
		  ? ("CREATE TABLE t2 (gone int, LIKE t INCLUDING CONSTRAINTS INCLUDING GENERATED)", 'ALTER TABLE t2 DROP gone', "ALTER TABLE t ATTACH PARTITION t2 $bound")
		  : "CREATE TABLE t$n PARTITION OF t $bound";
		# what one has alone
		push @sql, "CREATE INDEX ON t$n (($self->{part_col}{quoted}))" . one_of('', " WHERE $self->{part_col}{quoted} IS NOT NULL") if chance(0.2);
		push @sql, "ALTER TABLE t$n ADD CONSTRAINT own CHECK ($self->{part_col}{quoted} <> 4)"
		  if $n == 2 && $how ne 'hash' && $self->{mode} eq 'insert' && chance(0.3);
	}
	return @sql;
}

sub _grants
{
	my ($self) = @_;
	my @sql = map { "GRANT ALL ON ALL $_ IN SCHEMA $self->{schema} TO app" } qw(TABLES SEQUENCES);

	unshift @sql, "GRANT USAGE ON SCHEMA $self->{schema} TO app";
	if ($self->{column_grants})
	{
		my $list = join ', ', map { $_->{quoted} } grep { !$_->{later} && !_servers($_) } @{ $self->{cols} };

		push @sql, 'REVOKE ALL ON t FROM app', map { "GRANT $_ ($list) ON t TO app" } split /, /, $self->{column_grants};
		push @sql, 'GRANT DELETE ON t TO app' if $self->{deletes};
	}
	return @sql;
}

sub _ddl
{
	my ($self) = @_;
	my @parts = map { _column_ddl($_) } grep { !$_->{later} } @{ $self->{cols} };
	my @drops;
	my @sql;
	my $part_col = $self->{part_col} && $self->{part_col}{quoted};

	foreach my $type (@{ $self->{dropped} })
	{
		my $name = 'dropped' . @drops;

		splice @parts, between(0, scalar @parts), 0, "$name $type";
		push @drops, "ALTER TABLE $self->{top} DROP COLUMN $name";
	}
	push @parts, ($self->{unique_key} ? 'UNIQUE (' : 'PRIMARY KEY (') . $self->_key_list . ')' if @{ $self->{key} };
	my $table = '(' . join(",\n    ", @parts, @{ $self->{extra} }) . ')';
	if ($self->{top} eq 'whole')
	{
		@sql = ("CREATE TABLE whole $table PARTITION BY RANGE ($part_col)", 'CREATE TABLE t PARTITION OF whole FOR VALUES FROM (2) TO (5000)', @drops);
	}
	elsif ($self->{partitioned})
	{
		@sql = ("CREATE TABLE t $table PARTITION BY $self->{partitioned} ($part_col)", @drops, $self->_partitions);
	}
	else
	{
		@sql = ("CREATE TABLE t $table" . ($self->{with} // ''), @drops);
	}
	push @sql, 'CREATE TABLE log (n bigserial, op text, what text)';
	my $n = 0;
	foreach (@{ $self->{triggers} })
	{
		my ($when, $body) = @$_;
		my $constraint = $when =~ s/^CONSTRAINT // ? 'CONSTRAINT ' : '';

		$n++;
		push @sql, "CREATE FUNCTION trig$n() RETURNS trigger LANGUAGE plpgsql SET search_path = $self->{schema} AS \$f\$BEGIN $body END\$f\$",
		  "CREATE ${constraint}TRIGGER trig$n $when EXECUTE FUNCTION trig$n()";
	}
	push @sql, @{ $self->{after} };
	push @sql, $self->_grants if $self->{owner};
	return map { "$_;" } @sql;
}

1;
