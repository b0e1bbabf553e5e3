
=head1 NAME

KafkaSinkFeatures - what a table may have beside columns and a key

=head1 DESCRIPTION

Part of L<KafkaSinkTables>: constraints, indexes, triggers, partitions and the
like, each as a function that adds one and says whether it did.

=cut

package KafkaSinkFeatures;

use strict;
use warnings FATAL => 'all';
use utf8;

use List::Util qw(first shuffle uniq);

use KafkaSinkValues;

sub _some_column
{
	my ($self, $re, $type) = @_;
	my $col = first { $_->{type} =~ $re && !$_->{key} && !$_->{seq} && !$_->{later} && !$_->{generated} } @{ $self->{cols} };
	return $col // $self->_add_column($type);
}

sub _after { my ($self, @sql) = @_; push @{ $self->{after} }, @sql; return 1; }
sub _constraint { my ($self, $sql) = @_; push @{ $self->{extra} }, $sql; return 1; }

sub _trigger
{
	my ($self, $when, $body) = @_;
	push @{ $self->{triggers} }, [ $when, $body ];
	return 1;
}

# Each adds to the table and says whether it did.
my %common = (
	check => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^int4$/, 'int4');
		push @{ $self->{plants} }, [ $col, one_of(13, -91) ];
		return $self->_constraint("CHECK ($col->{quoted} IS NULL OR $col->{quoted} <> 13 AND $col->{quoted} > -90)");
	},
	check_text => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^(text|varchar)$/, 'text');
		push @{ $self->{plants} }, [ $col, '"longer than it may be"' ];
		return $self->_constraint("CONSTRAINT \"some check\" CHECK (length($col->{quoted}) < 11 OR length($col->{quoted}) > 900)");
	},
	unique => sub {
		my ($self) = @_;
		my $col = $self->_add_column(one_of(qw(int4 int8 numeric text)), few => 1);
		my $nulls = $self->{version} >= 150000 && chance(0.4) ? ' NULLS NOT DISTINCT' : '';
		return $self->_constraint("UNIQUE$nulls ($col->{quoted})");
	},
	partial_unique => sub {
		my ($self) = @_;
		my $col = $self->_add_column('int4', few => 1);
		return $self->_after("CREATE UNIQUE INDEX ON t ($col->{quoted}) WHERE $col->{quoted} > 4");
	},
	expression_unique => sub {
		my ($self) = @_;
		my $col = $self->_add_column('text', few => 1);
		return $self->_after("CREATE UNIQUE INDEX ON t (upper($col->{quoted}))");
	},
	expression => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^int4$/, 'int4');
		push @{ $self->{plants} }, [ $col, 17 ];
		# the second fails for 17: an error of the index, not of the table
		return $self->_after('CREATE INDEX ON t ((' . one_of("$col->{quoted}::numeric + 1", "100 / ($col->{quoted} - 17)") . '))');
	},
	btree => sub {
		my ($self) = @_;
		my $col = $self->_add_column(one_of(qw(int4 text timestamptz)));
		my $order = one_of('', ' DESC', ' NULLS FIRST', @{ $self->{key} } ? " INCLUDE ($self->{key}[0]{quoted})" : ());
		return $self->_after('CREATE INDEX ON t (' . ($order =~ /INCLUDE/ ? "$col->{quoted})$order" : "$col->{quoted}$order)"));
	},
	index => sub {
		my ($self) = @_;
		my @able = grep { !$_->{t}{nokey} && !$_->{later} } @{ $self->{cols} } or return 0;
		my $col = one_of(@able);
		return $self->_after("CREATE INDEX ON t ($col->{quoted})" . one_of('', ' WITH (fillfactor = 50)', " WHERE $col->{quoted} IS NOT NULL"));
	},
	hash => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^(int[48]|text|uuid|numeric)$/, 'int4');
		push @{ $self->{look} }, $col;
		return $self->_after("CREATE INDEX ON t USING hash ($col->{quoted})");
	},
	gin => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^(jsonb|int4\[\]|text\[\]|tsvector)$/, 'jsonb');
		push @{ $self->{look_gin} }, $col if $col->{type} eq 'jsonb';
		return $self->_after("CREATE INDEX ON t USING gin ($col->{quoted})" . one_of('', ' WITH (fastupdate = off)'));
	},
	brin => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^(int[48]|timestamptz)$/, 'int8');
		push @{ $self->{look} }, $col;
		return $self->_after("CREATE INDEX ON t USING brin ($col->{quoted}) WITH (pages_per_range = 1)");
	},
	dropped => sub {
		my ($self) = @_;
		push @{ $self->{dropped} }, map { one_of('int', 'text NOT NULL', 'text DEFAULT \'x\'') } 1 .. between(1, 2);
		return 1;
	},
	added => sub {
		my ($self) = @_;
		my $type = one_of(qw(int4 text));
		$self->_add_column($type, later => 1, default => $type eq 'int4' ? '42' : q('added'));
		return 1;
	},
	serial => sub { my ($self) = @_; $self->_add_column('int8', serial => 1, seq => 1); return 1; },
	identity => sub { my ($self) = @_; $self->_add_column('int8', identity => 1, seq => 1); return 1; },
	fillfactor => sub { my ($self) = @_; return $self->{with} = ' WITH (fillfactor = ' . between(10, 90) . ')'; },
	big => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^text$/, 'text');
		$col->{big} = 1;
		return $self->_after("ALTER TABLE t ALTER $col->{quoted} SET STORAGE " . one_of(qw(EXTERNAL EXTENDED MAIN)));
	},
);

# Whether what is there allows partitions: no unique constraint without the
# column that they are made by, no sequences that they do not inherit.
sub _may_have_partitions
{
	my ($self) = @_;
	return $self->{top} eq 't' && !$self->{partitioned} && !$self->{alone} &&
	  !grep({ $_->{seq} || $_->{later} } @{ $self->{cols} }) && !grep({ /UNIQUE|EXCLUDE/ } @{ $self->{extra} }, @{ $self->{after} });
}

# Those that a fast path may have to leave to SQL.
my %rich = (
	partitioned => sub {
		my ($self) = @_;
		$self->_may_have_partitions or return 0;
		my $how = one_of(qw(range list hash));
		my $col = $how eq 'hash' ? first { $_->{type} =~ /^(int[48]|text|numeric|uuid|timestamptz|varchar\(5\)|bytea)$/ } @{ $self->{key} }
		  : first { $_->{type} =~ /^int[48]$/ } @{ $self->{key} };

		if (!$col)
		{
			$col = $self->_add_column('int4', few => 1);
			if (@{ $self->{key} })
			{
				push @{ $self->{key} }, $col;
				$col->{key} = 1;
			}
		}
		$self->{partitioned} = $how;
		$self->{part_col} = $col;
		delete $self->{with};
		return $self->_about("by $how");
	},
	partition => sub {
		my ($self) = @_;
		$self->_may_have_partitions or return 0;
		my $col = first { $_->{type} =~ /^int[48]$/ } @{ $self->{key} };
		return 0 if !$col && @{ $self->{key} };
		$col //= $self->_add_column('int4', few => 1);
		$self->{part_col} = $col;
		delete $self->{with};
		return $self->{top} = 'whole';
	},
	before => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^text$/, 'text');
		return $self->_trigger('BEFORE INSERT' . one_of('', ' OR UPDATE') . ' ON t FOR EACH ROW', "NEW.$col->{quoted} := upper(NEW.$col->{quoted}); RETURN NEW;");
	},
	skip => sub {
		my ($self) = @_;
		my $q = $self->{cols}[0]{quoted};
		return $self->_trigger(one_of('BEFORE INSERT', 'BEFORE UPDATE', 'BEFORE INSERT OR UPDATE', 'BEFORE DELETE') . ' ON t FOR EACH ROW',
			"IF abs(hashtext(coalesce(NEW.$q, OLD.$q)::text)) % 3 = 0 THEN RETURN NULL; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW;");
	},
	raises => sub {
		my ($self) = @_;
		my $q = $self->{cols}[0]{quoted};
		return $self->_trigger(one_of('BEFORE', 'AFTER') . ' INSERT OR UPDATE ON t FOR EACH ROW',
			"IF abs(hashtext(NEW.$q\::text)) % 7 = 0 THEN RAISE EXCEPTION 'not this one: %', NEW.$q; END IF; RETURN NEW;");
	},
	after => sub {
		my ($self) = @_;
		my $q = one_of(@{ $self->{key} }, $self->{cols}[0])->{quoted};
		return $self->_trigger('AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW', "INSERT INTO log (op, what) VALUES (TG_OP, coalesce(NEW.$q, OLD.$q)::text); RETURN NULL;");
	},
	statement => sub {
		my ($self) = @_;
		return $self->_trigger(one_of('BEFORE', 'AFTER') . ' INSERT OR UPDATE OR DELETE ON t FOR EACH STATEMENT', 'INSERT INTO log (op, what) VALUES (TG_OP, TG_WHEN); RETURN NULL;');
	},
	transition => sub {
		my ($self) = @_;
		return 0 if $self->{top} ne 't';
		return $self->_trigger('AFTER INSERT ON t REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT', 'INSERT INTO log (op, what) SELECT TG_OP, count(*)::text FROM fresh; RETURN NULL;');
	},
	constraint_trigger => sub {
		my ($self) = @_;
		return 0 if $self->{partitioned};
		my $q = $self->{cols}[0]{quoted};
		$self->{deferred} = $self->{alone} = 1;
		return $self->_trigger('CONSTRAINT AFTER INSERT OR UPDATE ON t DEFERRABLE INITIALLY ' . one_of('DEFERRED', 'DEFERRED', 'IMMEDIATE') . ' FOR EACH ROW',
			"IF abs(hashtext(NEW.$q\::text)) % 9 = 0 THEN RAISE EXCEPTION 'late: %', NEW.$q; END IF; RETURN NULL;");
	},
	security => sub {
		my ($self) = @_;
		my $q = one_of(grep { !$_->{later} } @{ $self->{cols} })->{quoted};
		$self->{owner} = 'app';
		return $self->_after('ALTER TABLE t ENABLE ROW LEVEL SECURITY',
			one_of([], ['ALTER TABLE t OWNER TO app'], [ 'ALTER TABLE t FORCE ROW LEVEL SECURITY', 'ALTER TABLE t OWNER TO app' ])->@*,
			'CREATE POLICY p ON t USING (' . one_of('true', 'true', "coalesce(abs(hashtext($q\::text)) % 5 <> 0, true)") . ') '
			  . one_of('', 'WITH CHECK (true)', "WITH CHECK (coalesce(abs(hashtext($q\::text)) % 6 <> 0, true))"));
	},
	exclude => sub {
		my ($self) = @_;
		return 0 if $self->{partitioned} || $self->{top} ne 't';
		my $defer = chance(0.3) ? ' DEFERRABLE INITIALLY DEFERRED' : '';
		$self->{deferred} = 1 if $defer;
		if (chance(0.5))
		{
			my $col = $self->_add_column('int4range', few => 1);
			return $self->_constraint("EXCLUDE USING gist ($col->{quoted} WITH &&)$defer");
		}
		my $col = $self->_add_column('int4', few => 1);
		return $self->_constraint('EXCLUDE USING ' . one_of('btree', 'hash') . " ($col->{quoted} WITH =)$defer");
	},
	deferrable => sub {
		my ($self) = @_;
		return 0 if $self->{partitioned} || $self->{top} ne 't';
		my $col = $self->_add_column('int4', few => 1);
		$self->{deferred} = 1;
		return $self->_constraint("UNIQUE ($col->{quoted}) DEFERRABLE" . one_of('', ' INITIALLY DEFERRED'));
	},
	references => sub {
		my ($self) = @_;
		my $col = $self->_add_column('int8', few => 1);
		my $defer = one_of('', ' DEFERRABLE', (' DEFERRABLE INITIALLY DEFERRED') x 3);
		$self->{deferred} = 1 if $defer;
		push @{ $self->{plants} }, [ $col, 24 ];
		return $self->_constraint("FOREIGN KEY ($col->{quoted}) REFERENCES public.parent$defer");
	},
	referenced => sub {
		my ($self) = @_;
		return 0 unless @{ $self->{key} } == 1 && !$self->{partitioned};
		my $col = $self->{key}[0];
		my $type = $col->{type} . ($col->{collation} ? " COLLATE $col->{collation}" : '');
		$self->{alone} = 1;
		push @{ $self->{loaded} }, "INSERT INTO ref SELECT $col->{quoted} FROM t ORDER BY 1 LIMIT 2";
		push @{ $self->{dump} }, 'SELECT \'ref \', k FROM ref ORDER BY k::text';
		return $self->_after("CREATE TABLE ref (k $type REFERENCES t ($col->{quoted}) ON DELETE " . one_of('CASCADE', 'SET NULL', 'NO ACTION') . ')');
	},
	generated => sub {
		my ($self) = @_;
		my $col = $self->_some_column(qr/^int4$/, 'int4');
		my $new = $self->_add_column('int8', generated => "($col->{quoted}::int8 * 2)");
		$self->_after("CREATE INDEX ON t ($new->{quoted})") if chance(0.5);
		return 1;
	},
	always => sub {
		my ($self) = @_;
		return 0 if $self->{partitioned} || $self->{top} ne 't';
		$self->_add_column('int8', always => 1, seq => 1);
		return 1;
	},
	inherits => sub {
		my ($self) = @_;
		return 0 if $self->{partitioned} || $self->{top} ne 't' || grep { $_ eq 'check_volatile' } @{ $self->{about} };
		$self->{alone} = 1;
		push @{ $self->{loaded} }, 'INSERT INTO child SELECT * FROM ONLY t ORDER BY t::text COLLATE "C" LIMIT 3';
		return $self->_after('CREATE TABLE child () INHERITS (t)');
	},
	publication => sub {
		my ($self) = @_;
		return $self->_after("CREATE PUBLICATION p$self->{nth} FOR TABLE t");
	},
	few_columns => sub {
		my ($self) = @_;
		$self->{owner} = 'app';
		return $self->{column_grants} = one_of('INSERT', 'INSERT, UPDATE', 'SELECT, INSERT, UPDATE', 'SELECT, INSERT, UPDATE');
	},
);

# Those that only KafkaSinkOutside asks for.
my %own = (
	# a default that writes: numbers without gaps, since an insert that fails is undone
	counter => sub {
		my ($self) = @_;
		my $s = $self->{schema};
		push @{ $self->{functions} }, 'CREATE TABLE tally (n int8)', 'INSERT INTO tally VALUES (0)',
		  "CREATE FUNCTION nextno() RETURNS int8 LANGUAGE sql AS 'UPDATE $s.tally SET n = n + 1 RETURNING n'";
		return $self->_add_column('int8', default => "$s.nextno()", seq => 1, given => 0, exact => scalar $self->{mode} =~ /^(insert|ignore)$/);
	},
	# one that looks at the table
	highest => sub {
		my ($self) = @_;
		return 0 if $self->{partitioned} || $self->{top} ne 't';
		my $s = $self->{schema};
		$self->{alone} = 1;
		my $col = $self->_add_column('int8', default => "$s.next_one()", seq => 1, given => 0, exact => 1);
		push @{ $self->{functions} }, "CREATE FUNCTION next_one() RETURNS int8 LANGUAGE plpgsql AS \$f\$BEGIN RETURN (SELECT coalesce(max($col->{quoted}), 0) + 1 FROM $s.t); END\$f\$";
		return $self->_constraint("UNIQUE ($col->{quoted})");
	},
	random => sub { my ($self) = @_; return $self->_add_column('uuid', default => 'gen_random_uuid()', seq => 1, given => 0, random => 1); },
	itself => sub {
		my ($self) = @_;
		return 0 if @{ $self->{key} } != 1 || $self->{key}[0]{type} !~ /^int/ || $self->{partitioned} || $self->{top} ne 't';
		my $defer = one_of('', ' DEFERRABLE INITIALLY DEFERRED');
		$self->{alone} = 1;
		$self->{deferred} = 1 if $defer;
		my $col = $self->_add_column($self->{key}[0]{type}, itself => 1);
		push @{ $self->{plants} }, [ $col, 9999 ];
		return $self->_constraint("FOREIGN KEY ($col->{quoted}) REFERENCES t ($self->{key}[0]{quoted})$defer");
	},
	pair => sub {
		my ($self) = @_;
		my $a = $self->_add_column('int4', among => [ 0 .. 2, 'null' ]);
		my $b = $self->_add_column('text', among => [ '"k0"', '"k1"', 'null' ]);
		push @{ $self->{plants} }, [ $a, 7 ], [ $b, '"none"' ];
		return $self->_constraint("FOREIGN KEY ($a->{quoted}, $b->{quoted}) REFERENCES public.couples" . one_of('', ' MATCH FULL'));
	},
	# a check that looks at the rows before its own
	check_volatile => sub {
		my ($self) = @_;
		my $s = $self->{schema};
		return 0 if grep { $_ eq 'inherits' } @{ $self->{about} };
		push @{ $self->{functions} }, "CREATE FUNCTION has_room() RETURNS boolean LANGUAGE plpgsql AS \$f\$BEGIN RETURN (SELECT count(*) FROM $s.t) < " . between(3, 60) . '; END$f$';
		return $self->_constraint("CONSTRAINT room CHECK ($s.has_room())");
	},
	# one that looks at another table
	check_stable => sub {
		my ($self) = @_;
		my $s = $self->{schema};
		my $col = $self->_add_column('int8', few => 1);
		push @{ $self->{plants} }, [ $col, 24 ];
		push @{ $self->{functions} }, "CREATE FUNCTION is_parent(int8) RETURNS boolean LANGUAGE plpgsql STABLE AS \$f\$BEGIN RETURN EXISTS (SELECT FROM public.parent WHERE id = \$1); END\$f\$";
		return $self->_constraint("CHECK ($s.is_parent($col->{quoted}))");
	},
	# a default that looks at what was done for another, which no record fills
	current => sub {
		my ($self) = @_;
		return 0 if $self->{partitioned} || $self->{top} ne 't';
		my $s = $self->{schema};
		push @{ $self->{functions} }, 'CREATE SEQUENCE own_seq';
		my $id = $self->_add_column('int8', default => "nextval('$s.own_seq')", seq => 1, left => 1, hidden => 1);
		my $root = $self->_add_column('int8', default => one_of("currval('$s.own_seq')", 'lastval()'), seq => 1, given => 0.3);
		push @{ $self->{looks} }, "SELECT 'roots', count(*) FROM t WHERE $root->{quoted} < 1000000 AND $root->{quoted} IS DISTINCT FROM $id->{quoted}";
		return 1;
	},
	# values whose check writes, within an array
	within => sub {
		my ($self) = @_;
		my $s = $self->{schema};
		push @{ $self->{functions} }, 'CREATE TABLE met (v int PRIMARY KEY)',
		  "CREATE FUNCTION is_new(int) RETURNS boolean LANGUAGE sql AS \$f\$WITH i AS (INSERT INTO $s.met VALUES (\$1) ON CONFLICT DO NOTHING RETURNING 1) SELECT EXISTS (SELECT FROM i)\$f\$",
		  "CREATE DOMAIN fresh AS int CHECK ($s.is_new(value))";
		my $col = $self->_add_column('int4[]', among => [ map { '[' . join(',', map { 10 * $_ + between(0, 9) } 0 .. between(0, 2)) . ']' } 1 .. 40 ]);
		$col->{type} = "$s.fresh[]";
		push @{ $self->{looks} }, "SELECT 'met', v FROM met ORDER BY v";
		return 1;
	},
	# another constraint of the same name
	namesake => sub {
		my ($self) = @_;
		my $col = $self->_add_column('int8', few => 1);
		$self->{deferred} = 1;
		push @{ $self->{plants} }, [ $col, 24 ];
		push @{ $self->{functions} }, 'CREATE TABLE namesake (id int8 PRIMARY KEY, up int8, CONSTRAINT same FOREIGN KEY (up) REFERENCES namesake DEFERRABLE, CONSTRAINT poison CHECK (id > 0))';
		return $self->_constraint("CONSTRAINT same FOREIGN KEY ($col->{quoted}) REFERENCES public.parent DEFERRABLE" . one_of('', ' INITIALLY DEFERRED'));
	},
	# see KafkaSinkOutside::_filter()
	filter => sub { my ($self) = @_; return $self->{filtered} = 1; },
);

# Adds the one of that name.
sub _feature { my ($self, $name) = @_; return ($common{$name} // $rich{$name} // $own{$name})->($self); }

sub _features
{
	my ($self) = @_;

	my @common = $self->{swift} ? qw(check check_text unique btree) : sort keys %common;

	foreach my $f ((shuffle(@common))[ 0 .. between(0, 3) ])
	{
		$self->_about($f) if $common{$f}->($self);
	}
	if ($self->{plain})
	{
		$self->{owner} = 'app' if chance(0.15);
	}
	else
	{
		my @f = (shuffle(sort keys %rich))[ 0 .. between(0, 2) ];

		# what fails at COMMIT, often enough to see it
		unshift @f, one_of(qw(constraint_trigger deferrable references)) if chance(0.4);
		foreach my $f (uniq @f)
		{
			$self->_about($f) if $rich{$f}->($self);
		}
	}
	# what a case is asked to have, if what it has goes with it
	foreach my $f (grep { defined } $self->{asked})
	{
		$self->_about($f) if $self->_feature($f);
	}
	$self->{seq} = grep { $_->{seq} } @{ $self->{cols} };
	return;
}

1;
