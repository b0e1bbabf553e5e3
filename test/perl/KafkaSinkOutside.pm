
=head1 NAME

KafkaSinkOutside - random tables and batches, for the sink and for a model of it

=head1 SYNOPSIS

  my $case = KafkaSinkOutside->new($seed, $nth, $version, $icu);
  $case->{batches};            # lists of records
  $case->way_script();         # for psql: table, sink, the batches
  $case->model_script($seen);  # the same for the model, which is told what
                               # became of what: see KafkaSinkOutsideModel
  $case->{about}; $case->{mode};

A case is a function of its seed and number alone.  A record is a hash: what the
sink gets (topic, part, off, key, value), and what it means (op; fields, the JSON
of each column that it gives; keys, the same of a tombstone's key; state and
decoded, if it cannot be decoded).

Scripts are made from C<batches> when they are asked for, so that records can be
left out.

=cut

package KafkaSinkOutside;

use strict;
use warnings FATAL => 'all';
use utf8;

use List::Util qw(first max min shuffle sum0);

use KafkaSinkTables;
use KafkaSinkValues;

our @ISA = qw(KafkaSinkTables);

# What is known to go wrong, and is left out as long as it does: name => why.
our %excluded = ();

our @ways = qw(insert ignore upsert update accumulate insert upsert upsert_if);

# The features that each way can be held to a model with.  What the table refuses
# of an accumulated record depends on what it is added up with.
my @indexes = qw(btree index hash gin brin dropped fillfactor big);
my @layout = qw(partitioned partition after statement generated inherits publication);
my @any = (@indexes, @layout, qw(check check_text unique partial_unique expression_unique expression serial identity before raises
	  exclude constraint_trigger deferrable references referenced itself pair counter random));
my %features = (
	insert => [ @any, qw(skip transition always highest) ],
	ignore => [ (grep { !/^(exclude|deferrable)$/ } @any), qw(skip transition always highest) ],
	upsert => [@any],
	update => [ @any, 'skip' ],
	accumulate => [ @indexes, @layout ]);

# Those that a case is asked for: whatever looks at rows, or writes, while records are
# applied, and names that are there twice.
our %special = (
	insert => [qw(check_volatile check_stable current within filter namesake)],
	ignore => [qw(check_volatile check_stable current within filter namesake)],
	upsert => [qw(check_stable namesake)],
	update => [qw(check_stable namesake)]);

my @key_types = qw(int2 int4 int8 int8 text text varchar varchar(5) char(4) uuid date timestamptz numeric bytea public.small);

sub new
{
	my ($class, $seed, $nth, $version, $icu, $asked) = @_;
	my $self = bless {
		nth => $nth, schema => "c$nth", sink => "s$nth", version => $version, icu => $icu, asked => $asked,
		top => 't', made => 0, cols => [], about => [], after => [], extra => [], triggers => [],
		dropped => [], loaded => [], look => [], look_gin => [], dump => [], plants => [], functions => [], looks => []
	}, $class;

	srand($seed * 10007 + $nth);
	$self->{way} = $ways[ ($nth - 1) % @ways ];
	$self->{mode} = $self->{way} =~ s/_if$//r;
	$self->{asked} //= $self->_special($seed);
	# a batch writes the last record of a key
	$self->{superseding} = $self->{way} =~ /^(upsert|accumulate)$/ ? 1 : 0;
	$self->{plain} = chance(0.5);
	$self->{bad} = one_of(0, 0.01, 0.05, 0.2, 0.5);
	$self->{keys} = one_of(4, 8, 30);
	$self->{on_error} = one_of(qw(dead_letter dead_letter stop stop ignore));
	$self->_columns;
	$self->_key;
	$self->_features;
	$self->_rules;
	$self->_sink;
	$self->{ddl} = [ $self->_ddl ];
	$self->_batches;
	$self->{about} = join ', ', $self->{way}, $self->{on_error}, @{ $self->{about} };
	return $self;
}

# A quarter of the cases of new seeds are asked for something, without chance: those of
# the seeds before stay what they are.
sub _special
{
	my ($self, $seed) = @_;
	my @may = @{ $special{ $self->{mode} } // [] };

	return $seed > 5 && @may ? $may[ ($seed * 131 + $self->{nth} * 7) % (4 * @may) ] : undef;
}

# Keys of types that have one spelling for each value, or one that can be found.
sub _key
{
	my ($self) = @_;

	$self->{key} = [];
	return if $self->{mode} eq 'insert' && chance(0.2);
	foreach (1 .. one_of(1, 1, 1, 2, 3))
	{
		my $col = $self->_add_column(one_of(@key_types), key => 1);

		$col->{collation} = one_of('"C"', $self->{icu} ? 'public.loose' : ()) if $col->{t}{collates} && chance(0.3);
		push @{ $self->{key} }, $col;
	}
	$self->{unique_key} = $self->{mode} ne 'ignore' && chance(0.2);
	return;
}

sub _features
{
	my ($self) = @_;
	my @may = grep { !$excluded{$_} && !$excluded{"$self->{mode} $_"} } @{ $features{ $self->{mode} } };
	# one record of a key after the other, a statement each: no order that could be told
	@may = grep { !/unique|exclude|deferrable|itself/ } @may if $self->{way} =~ /update|_if/;
	my @plain = grep { /^(check|check_text|unique|btree|index|dropped|fillfactor|serial|identity)$/ } @may;

	my @f = grep { defined } (shuffle($self->{plain} ? @plain : @may))[ 0 .. between(0, 3) ];

	@f = ((grep { $_ ne $self->{asked} } @f), $self->{asked}) if $self->{asked};

	# how the table is laid out depends on what it has
	foreach my $f ((grep { !/^(partitioned|partition|inherits)$/ } @f), grep { /^(partitioned|partition|inherits)$/ } @f)
	{
		$self->_about($f) if $self->_feature($f);
	}
	$self->{seq} = grep { $_->{seq} } @{ $self->{cols} };
	return;
}

# What follows from the features for what can be compared.
sub _rules
{
	my ($self) = @_;
	my %has = map { $_ => 1 } @{ $self->{about} };
	my $mode = $self->{mode};
	my $unique = grep { $has{$_} } qw(unique partial_unique expression_unique exclude deferrable highest);

	# rows that are changed are published by their primary key
	$self->{unique_key} = 0 if $has{publication};
	# does it depend on other records of the batch, and on their order, what is refused?
	$self->{cross} = ($unique && $mode =~ /^(upsert|update)$/) || $self->{deferred} || $has{itself} ? 1 : 0;
	# then it must be told
	$self->{on_error} = 'dead_letter' if $self->{cross} && $self->{on_error} eq 'ignore';
	# the records of one partition after those of another: not the order of the batch
	$self->{parts} = ($unique && $mode eq 'ignore') || $has{counter} || $has{highest} || $has{itself} || $has{check_volatile} || $has{within} ? 1 : one_of(1, 1, 3);
	# a volatile default wants its rows one after the other: all of a key are written
	$self->{superseding} = 0 if $has{counter};
	# the row-level triggers see each record that is not superseded
	$self->{logs} = $has{after} && !$self->{superseding} && !$has{statement} && !$has{transition};
	# a record that is refused by a constraint of its own makes the others go one by one
	if ($mode eq 'insert' && !@{ $self->{triggers} })
	{
		$self->{poison} = $self->_add_column('int4', fixed => 1);
		$self->_constraint("CONSTRAINT poison CHECK ($self->{poison}{quoted} IS NULL OR $self->{poison}{quoted} > 0)");
	}
	if ($mode eq 'accumulate')
	{
		delete @$_{qw(notnull default)} foreach grep { !$_->{key} } @{ $self->{cols} };
	}
	return;
}

# --- the sink ---

sub _plain_json { return '"' . $_[0] =~ s/(["\\])/\\$1/gr . '"'; }

sub _filled { my ($self) = @_; return grep { !$_->{generated} && !($_->{always} && $excluded{'always filled'}) && !$_->{left} } @{ $self->{cols} }; }

sub _fold
{
	my ($col) = @_;

	return one_of(qw(first last),
		$col->{type} =~ /^(int[48]|numeric)$/ ? qw(sum sum min max count) : (),
		$col->{type} =~ /^(text|timestamptz|date|uuid)$/ ? qw(min max) : ());
}

# A filter of a function that is STABLE, that looks at the rows before, or that writes.
sub _filter
{
	my ($self) = @_;
	my $s = $self->{schema};
	my @able = grep { !$_->{seq} && !$_->{fixed} && !defined $_->{default} && $_->{from} !~ /^\@/ && $_->{type} !~ /padded|amount|fresh/ } $self->_filled;
	my $col = first { $_->{key} } @able;
	my $kind = one_of(qw(stable room met));

	# (what is converted twice by the model may be new but once)
	return if grep { $_ eq 'within' } @{ $self->{about} };
	$col //= one_of(@able) or return;
	push @{ $self->{functions} }, 'CREATE TABLE passed (v text PRIMARY KEY)', "CREATE FUNCTION passes(text) RETURNS boolean "
	  . ($kind eq 'stable' ? q{LANGUAGE plpgsql STABLE AS $f$BEGIN RETURN abs(hashtext(coalesce($1, ''))) % 4 > 0; END$f$}
		: $kind eq 'room' ? "LANGUAGE plpgsql AS \$f\$BEGIN RETURN (SELECT count(*) FROM $s.t) < " . between(3, 60) . '; END$f$'
		: "LANGUAGE sql AS \$f\$WITH i AS (INSERT INTO $s.passed VALUES (coalesce(\$1, '')) ON CONFLICT DO NOTHING RETURNING 1) SELECT EXISTS (SELECT FROM i)\$f\$");
	$self->{filter} = "$s.passes($col->{quoted}::text)";
	push @{ $self->{looks} }, q{SELECT 'passed', v FROM passed ORDER BY v COLLATE "C"};
	# one order of records, and none that is left out where it is to be refused
	$self->{parts} = 1;
	delete $self->{poison};
	$self->_about("filter $kind");
	return "filter => \$i\$$self->{filter}\$i\$";
}

sub _sink
{
	my ($self) = @_;
	my $mode = $self->{mode};
	my @options = ("insert_mode => '$mode'", "on_error => '$self->{on_error}'");
	my (%map, %fold);

	# (deletes keep their place among inserts, and cut the batch in statements)
	$self->{deletes} = @{ $self->{key} } > 0 && !($mode =~ /^(insert|ignore)$/ && grep { $_ eq 'itself' } @{ $self->{about} }) && chance(0.35);
	$self->_about('deletes') && push @options, 'delete_enabled => true' if $self->{deletes};
	$self->{ignores} = !$self->{deletes} && chance(0.4);
	push @options, "on_tombstone => 'ignore'" if $self->{ignores};
	push @options, 'pk_fields => ARRAY[' . join(', ', map { "'$_->{name}'" } reverse @{ $self->{key} }) . ']'
	  if $self->{unique_key} && @{ $self->{key} } && ($mode !~ /^(insert|ignore)$/ || $self->{deletes});
	if (chance(0.35))
	{
		foreach my $col ($self->_filled)
		{
			next if $col->{few} || $col->{fixed} || $col->{seq} || $col->{t}{never_null} || !chance(0.4);
			my $from = $col->{key} ? one_of("f_$col->{name}", undef)
			  : $col->{type} eq 'text' ? one_of(qw(@topic @value))
			  : $col->{type} =~ /^(int8|numeric)$/ ? one_of(qw(@offset @partition))
			  : one_of("f_$col->{name}", '$.deep.v', '$.deep.list[1]', undef, undef);
			next if !defined $from || $mode eq 'accumulate' && $from =~ /^\@/;
			next if $from =~ /^\$/ && grep { $_ eq $from } values %map;
			$map{ $col->{name} } = $col->{from} = $from;
		}
		my $left = first { !$_->{key} && !$_->{notnull} && !$_->{t}{never_null} && !$_->{fixed} && !exists $map{ $_->{name} } } reverse $self->_filled;
		if ($left && $self->_filled > @{ $self->{key} } + 1 && chance(0.4))
		{
			$left->{left} = 1;
			$map{ $left->{name} } = undef;
			$self->_about('excluded');
			# its default is the server's to evaluate, for the rows that are left
			@$self{qw(superseding logs)} = (1, 0) if $self->{way} eq 'upsert' && ($left->{default} // '') =~ /nextno/;
		}
		$self->_about('columns') if %map;
	}
	$map{ $_->{name} } = undef foreach grep { $_->{hidden} } @{ $self->{cols} };
	push @options, 'columns => $j${' . join(', ', map { _plain_json($_) . ': ' . (defined $map{$_} ? _plain_json($map{$_}) : 'null') } sort keys %map) . '}$j$' if %map;
	if ($mode eq 'accumulate')
	{
		$_->{fold} = $_->{t}{never_null} ? 'last' : _fold($_) foreach grep { !$_->{key} } $self->_filled;
		$fold{ $_->{name} } = $_->{fold} foreach grep { $_->{fold} && ($_->{fold} ne 'last' || chance(0.5)) } @{ $self->{cols} };
		push @options, 'accumulate => $j${' . join(', ', map { _plain_json($_) . qq(: "$fold{$_}") } sort keys %fold) . '}$j$';
	}
	if ($self->{way} =~ /_if$/)
	{
		my $col = first { $_->{type} =~ /^(int[248]|text|numeric|date)$/ && !$_->{key} } $self->_filled;
		my $q = $col ? $col->{quoted} : undef;

		$self->{update_if} = $q ? one_of("t.$q <= excluded.$q", "t.$q IS NULL OR excluded.$q >= t.$q") : 'true';
		push @options, "update_if => \$i\$$self->{update_if}\$i\$";
	}
	push @options, $self->_filter if $self->{filtered};
	$self->{options} = join '', map { ", $_" } @options;
	# a topic of its own for what rows refer to
	if (chance(0.2) && $self->{way} =~ /^(insert|upsert)$/ && !$self->{filter} && !$self->{partitioned} && $self->{top} eq 't' && !$excluded{routes})
	{
		my $col = $self->_add_column('int8', refers => 1, few => 1);
		my $defer = one_of('', '', ' DEFERRABLE INITIALLY DEFERRED');

		$self->_constraint("FOREIGN KEY ($col->{quoted}) REFERENCES above$defer");
		# (what a route comes before is not said by the order of the batch, so neither is where it stops)
		@$self{qw(routes cross on_error)} = (1, 1, 'dead_letter');
		$self->{options} =~ s/on_error => '\w+'/on_error => 'dead_letter'/;
		$self->_about("routes$defer");
	}
	return;
}

# --- records ---

sub _number
{
	my ($self, $col, $nth) = @_;
	my $fresh = $col->{few} ? 0.8 : $self->{mode} eq 'insert' ? 0.9 : $self->{mode} eq 'ignore' ? 0.6 : 0.2;

	$fresh = 0.3 if $self->{part_col} && $self->{part_col} == $col;
	return chance($fresh) ? 10 + $nth : between(0, $self->{keys});
}

sub _good
{
	my ($self, $col, $nth) = @_;
	my $t = $col->{t};

	return 1_000_000 + $nth if $col->{seq} && $col->{type} eq 'int8';
	return $self->{poisoned} ? -1 : between(1, 9) if $col->{fixed};
	return between(0, 12) if $col->{refers};
	return between(-100, 100) if ($col->{fold} // '') =~ /^(sum|count)$/;
	return js(big_text()) if $col->{big} && chance(0.2);
	return $t->{key}->($self->_number($col, $nth)) if $col->{few};
	return one_of(@{ $col->{among} }) if $col->{among};
	return one_of('null', 'null', between(0, $self->{keys}), 10 + max(0, $nth + between(-5, 3))) if $col->{itself};
	return $t->{good}->();
}

# What is planted in a record: a value that a column cannot be converted from, a
# NULL where none may be, what a feature refuses, a field that is not there.
sub _plant
{
	my ($self) = @_;
	my @cols = grep { !$_->{seq} } $self->_filled;
	my @plants = @{ $self->{plants} };
	my $kind = one_of(qw(convert convert null missing), @plants ? qw(feature feature) : ());

	return { col => $_->[0], json => $_->[1] } foreach $kind eq 'feature' ? one_of(@plants) : ();
	my $col = one_of($kind eq 'convert' ? grep { @{ $_->{t}{bad} } && ($_->{fold} // '') ne 'count' } @cols
		  : grep { $_->{key} || $_->{notnull} || $_->{t}{never_null} } @cols) or return {};
	$col = undef if $col->{from} =~ /^\@/ || $self->{mode} eq 'accumulate' && $kind ne 'convert' && !$col->{key};
	return {} unless $col;
	return { col => $col, missing => 1 } if $kind eq 'missing';
	return { col => $col, json => 'null' } if $kind eq 'null';
	return { col => $col, json => one_of(@{ $col->{t}{bad} }), convert => 1 };
}

# A member of a record, or what makes one.
sub _member
{
	my ($col, $v) = @_;
	my $from = $col->{from};

	return qq("deep":{"v":$v, "w": 1}) if $from eq '$.deep.v';
	return qq("deep":{"list":[null,$v]}) if $from eq '$.deep.list[1]';
	return (chance(0.03) ? js($from) : _plain_json($from)) . (chance(0.9) ? ':' : ' : ') . $v;
}

# States that are not those of an INSERT, or of json_to_record: the sink says more
# of a json, and arrays in an array are dimensions.
my %json_state = ('["a",["b"]]' => '22P02', '"\u0000"' => '22P05', '"\ud800"' => '22P02', '"\udc00"' => '22P02');

sub _row
{
	my ($self, $rec, $nth, $keys) = @_;
	my %plant = chance($self->{bad}) ? %{ $self->_plant } : ();
	my @members;
	my $deep = 0;

	$rec->{op} = 'write';
	$rec->{fields} = {};
	foreach my $col ($self->_filled)
	{
		my $from = $col->{from};
		my $v = $keys->{ $col->{name} } // $self->_good($col, $nth);
		my $optional = !$col->{key} && !$col->{t}{never_null} && !$col->{seq} && !$col->{fixed};

		next if $from =~ /^\@/;
		next if $optional && chance(0.15) && ($self->{mode} ne 'accumulate' || !$col->{notnull}) && (!$col->{notnull} || defined $col->{default});
		next if $col->{seq} && !chance($col->{given} // 0.15);
		$v = 'null' if $optional && !$col->{notnull} && chance(0.1);
		if ($plant{col} && $plant{col} == $col)
		{
			next if $plant{missing};
			$v = $plant{json};
			@$rec{qw(decoded loose)} = (0, $col->{type} =~ /\[\]|pair|nest|bit/ ? 1 : 0) if $plant{convert};
			@$rec{qw(op state)} = ('error', $json_state{$v}) if $col->{type} =~ /^(jsonb?|text\[\])$/ && exists $json_state{$v};
		}
		# one member of that name
		next if $from =~ /^\$\.deep/ && $deep++;
		$rec->{fields}{ $col->{name} } = $v;
		push @members, _member($col, $v);
	}
	push @members, one_of('"unknown":{"deeper":[{}]}', '"other":null', '"":1', '"unknown":"\\ud83d\\ude00"') if chance(0.1);
	@members = shuffle(@members) if chance(0.1);
	$rec->{value} = '{' . join(chance(0.9) ? ',' : ', ', @members) . '}' . (chance(0.05) ? " \n" : '');
	$rec->{key} = one_of(undef, '1', '{"no": 1}');
	if (chance($self->{bad} / 5))
	{
		$rec->{value} = one_of('[1]', '', substr($rec->{value}, 0, length($rec->{value}) / 2), "$rec->{value}}", '"x"', 'nul');
		@$rec{qw(op state decoded)} = ('error', '22P02', 0);
	}
	foreach my $col (grep { $_->{from} =~ /^\@/ } $self->_filled)
	{
		$rec->{fields}{ $col->{name} } = $col->{from} eq '@offset' ? $rec->{off} : $col->{from} eq '@partition' ? $rec->{part}
		  : _plain_json($col->{from} eq '@topic' ? $rec->{topic} : $rec->{value}) =~ s/\n/\\n/gr;
	}
	return;
}

sub _tombstone
{
	my ($self, $rec, $keys) = @_;
	my @k = map { [ chance(0.7) && $_->{from} !~ /^[\@\$]/ ? $_->{from} : $_->{name}, $keys->{ $_->{name} } ] } @{ $self->{key} };

	$rec->{key} = @k == 1 && chance(0.5) ? $k[0][1] : @k ? '{' . join(',', map { _plain_json($_->[0]) . ":$_->[1]" } @k) . '}' : '5';
	$rec->{op} = 'delete';
	$rec->{fields} = $keys;
	if (!$self->{deletes})
	{
		@$rec{qw(op state decoded)} = $self->{ignores} ? ('filtered') : ('error', '22004', 0);
	}
	elsif (chance($self->{bad} / 2))
	{
		@$rec{qw(key state)} = @{ one_of([ undef, '22004' ], [ '{', '22P02' ], [ '{"no":1}', @k == 1 && $self->{key}[0]{type} =~ /^(text|varchar|bytea)/ ? '22P02' : '22P02' ]) };
		@$rec{qw(op decoded)} = ('error', 0);
	}
	return;
}

# Of the topic that the table refers to.
sub _above
{
	my ($self, $rec) = @_;
	my $id = chance($self->{bad} / 3) ? '"x"' : between(0, 12);

	$rec->{op} = 'write';
	$rec->{decoded} = $id eq '"x"' ? 0 : 1;
	$rec->{fields} = { id => $id, v => js(one_of('a', 'b', 'c')) };
	$rec->{value} = qq({"id":$id, "v":$rec->{fields}{v}});
	return;
}

sub _record
{
	my ($self, $nth) = @_;
	my $rec = { topic => $self->{routes} && chance(0.4) ? 'p' : 't', decoded => 1, loose => 0 };
	my (%keys, $number);

	# a key stays in its partition
	foreach my $col (@{ $self->{key} })
	{
		my $n = $self->_number($col, $nth);

		$keys{ $col->{name} } = $col->{t}{key}->($n);
		$number += $n;
	}
	$rec->{part} = ($number // between(0, 2)) % $self->{parts};
	my $next = \($self->{next}{ $rec->{topic} }[ $rec->{part} ]);
	$$next += between(2, 9) if chance(0.05);
	$rec->{off} = $$next++ // 0;
	if ($rec->{topic} eq 'p') { $self->_above($rec); }
	elsif (chance($self->{deletes} ? 0.2 : $self->{bad} / 5)) { $self->_tombstone($rec, \%keys); }
	else { $self->_row($rec, $nth, \%keys); }
	return $rec;
}

sub _batches
{
	my ($self) = @_;

	foreach (1 .. between(2, 4))
	{
		my $n = one_of(1, between(2, 8), between(5, 40), between(20, 60), chance(0.2) ? between(100, 300) : 10);

		push @{ $self->{batches} }, [ map { $self->_record($self->{made}++) } 1 .. $n ];
	}
	if ($self->{poison})
	{
		local @$self{qw(bad poisoned)} = (0, 1);
		my $rec = { topic => 't', part => 9, off => 0, decoded => 1, loose => 0 };

		$self->_row($rec, 5000, { map { $_->{name} => $_->{t}{key}->(5000) } @{ $self->{key} } });
		$self->{poison}{value} = $rec->{value};
	}
	return;
}

# --- scripts ---

# The columns of the table that can be compared, in a form that has one spelling.
sub _compared
{
	my ($self) = @_;
	my $keeps = $self->{mode} =~ /^(upsert|accumulate)$/;

	return join ', ', map {
		my $q = $_->{quoted};
		!$keeps || !$_->{key} ? $q : $_->{type} eq 'numeric' ? "trim_scale($q)" : ($_->{collation} // '') =~ /loose/ ? "lower($q COLLATE \"C\")" : $q
	} grep { !$_->{seq} || $_->{exact} } @{ $self->{cols} };
}

# What the tables hold, in lines.
sub _state
{
	my ($self, $nth) = @_;
	my $row = 'ROW(' . $self->_compared . ')::text';

	return ("\\echo state $nth",
		"SELECT 'row', r FROM (SELECT tableoid::regclass || $row AS r FROM t) x ORDER BY r COLLATE \"C\";",
		(map { "SELECT 'different $_->{name}', count(*) = count(DISTINCT $_->{quoted}) FROM t;" } grep { $_->{random} } @{ $self->{cols} }),
		(map { "SELECT 'given', $_->{quoted} FROM t WHERE $_->{quoted} >= 1000000 ORDER BY 2;" } grep { $_->{seq} && !$_->{exact} && $_->{type} eq 'int8' } @{ $self->{cols} }),
		$self->{logs} ? "SELECT 'log', op, what FROM log ORDER BY op, what COLLATE \"C\";" : (),
		$self->{routes} ? "SELECT 'above', id, v FROM above ORDER BY id;" : (), (map { "$_;" } @{ $self->{looks} }),
		'\echo end');
}

sub _begin
{
	my ($self) = @_;
	return ("DROP SCHEMA IF EXISTS $self->{schema} CASCADE;", "DROP PUBLICATION IF EXISTS p$self->{nth};", "CREATE SCHEMA $self->{schema};", "SET search_path = $self->{schema};", (map { "$_;" } @{ $self->{functions} }), $self->{routes} ? 'CREATE TABLE above (id int8 PRIMARY KEY, v text);' : (), @{ $self->{ddl} });
}

sub _text { my ($s) = @_; return defined $s ? "\$q\$$s\$q\$" : 'NULL'; }

# Records by number, from 1 on over all batches.
sub numbered
{
	my ($self) = @_;
	my $n = 0;

	return map { my $b = $_; [ map { { %$_, n => ++$n } } @$b ] } @{ $self->{batches} };
}

# What happens between batches, beside them.
sub _between
{
	my ($self, $nth) = @_;
	my $copies = !grep { $_->{generated} || $_->{always} } @{ $self->{cols} };

	return $nth == 1 ? map { "$_;" } grep { $copies || !/SELECT \*/ } @{ $self->{loaded} } : ();
}

sub way_script
{
	my ($self) = @_;
	my @sql = ("SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks WHERE sink = '$self->{sink}';", $self->_begin,
		"SELECT kafka_sink.create_sink('$self->{sink}', target => '$self->{schema}.t'$self->{options});");
	my %starts = map { $_ => 0 } 0 .. 2, 9;
	my @topics = $self->{routes} ? qw(t p) : 't';
	my $nth = 0;

	push @sql, "SELECT kafka_sink.register_topic('$self->{sink}', 't');",
	  "SELECT kafka_sink.register_topic('$self->{sink}', 'p', target => '$self->{schema}.above', insert_mode => 'upsert');" if $self->{routes};
	my $seek = join ', ', map { my $t = $_; qq("$t": {) . join(', ', map { qq("$_": 0) } 0 .. 2, 9) . '}' } @topics;
	push @sql, "SELECT kafka_sink.seek('$self->{sink}', '{$seek}');", 'TRUNCATE test.recs;', 'SET kafka_sink.fast_path = :fast;';
	foreach my $batch ($self->numbered)
	{
		$nth++;
		next unless @$batch;
		push @sql, 'INSERT INTO test.recs VALUES ' . join(",\n", map { "($_->{n}, '$_->{topic}', $_->{part}, $_->{off}, convert_to(" . _text($_->{key}) . ", 'UTF8'), convert_to(" . _text($_->{value}) . ", 'UTF8'))" } @$batch) . ';',
		  "\\echo batch $nth",
		  "SELECT * FROM test.feed('$self->{sink}', $batch->[0]{n}, $batch->[-1]{n}, :'way', " . _text($self->{poison} && $self->{poison}{value}) . ", '$self->{on_error}');",
		  $self->_state($nth), $self->_between($nth);
	}
	return join "\n", @sql, "SELECT 'offsets', topic, part, off - start_off, consumed, applied, deleted, filtered, dead_lettered, ignored, superseded, unmatched, gaps FROM kafka_sink.txn_offsets WHERE sink = '$self->{sink}' ORDER BY 2, 3;",
	  '\echo probe', 'SET client_min_messages = debug1;', 'BEGIN;', $self->_probe, 'ROLLBACK;', 'RESET client_min_messages;', "SELECT * FROM public.check_indexes('t');", '\echo done', '';
}

# Which way does a row go?  A debug message tells.
sub _probe
{
	my ($self) = @_;
	my ($rec) = grep { $_->{topic} eq 't' && $_->{op} eq 'write' } map { @$_ } @{ $self->{batches} };

	return $rec ? "SELECT kafka_sink.ingest('$self->{sink}', ARRAY[ROW('t', 0, NULL, NULL, NULL, convert_to(" . _text($rec->{value}) . ", 'UTF8'), NULL)::kafka_sink.record]);" : ();
}

sub _json_fields
{
	my ($fields) = @_;
	return '{' . join(', ', map { _plain_json($_) . ": $fields->{$_}" } sort keys %$fields) . '}';
}

sub _array { my (@names) = @_; return 'ARRAY[' . join(', ', map { _text($_) } @names) . ']::text[]'; }

# $seen: what a way has printed, by batch: see KafkaSinkOutsideModel::parse().
sub model_script
{
	my ($self, $seen) = @_;
	my $folds = _json_fields({ map { $_->{name} => _plain_json($_->{fold}) } grep { $_->{fold} } @{ $self->{cols} } });
	# what refers to rows of the batch is looked at when all of them are there
	my @sql = ((map { s/(REFERENCES (?:t \([^()]*\)|above))(?! DEF| ON)/$1 DEFERRABLE INITIALLY DEFERRED/r } $self->_begin), 'TRUNCATE model.recs, model.route;',
		"INSERT INTO model.route VALUES ('t', '$self->{schema}.t', '$self->{mode}', " . _array(map { $_->{name} } @{ $self->{key} }) . ', ' . _array(map { $_->{name} } $self->_filled)
		  . ", '" . $folds . "', " . _text($self->{update_if}) . ', ' . join(', ', map { $_ ? 'true' : 'false' } !$self->{partitioned}, @$self{qw(superseding cross)}, $self->{mode} !~ /^(insert|ignore)$/ || $self->{deletes}) . ', ' . _text($self->{filter}) . ');',
		$self->{routes} ? "INSERT INTO model.route VALUES ('p', '$self->{schema}.above', 'upsert', '{id}', '{id,v}', '{}', NULL, false, true, true, true, NULL);" : (),
		'SELECT model.begin();');
	my $nth = 0;

	foreach my $batch ($self->numbered)
	{
		$nth++;
		next unless @$batch;
		push @sql, 'INSERT INTO model.recs (n, topic, op, state, decoded, loose, fields) VALUES ' . join(",\n", map {
				"($_->{n}, '$_->{topic}', '$_->{op}', " . _text($_->{state}) . ', ' . join(', ', map { $_ ? 'true' : 'false' } @$_{qw(decoded loose)}) . ', ' . _text(_json_fields($_->{fields} // {})) . ')'
			} @$batch) . ';', "\\echo batch $nth";
		my @steps = @{ $seen->{$nth}{steps} // [] };
		my $next = $batch->[0]{n};	# what is before it has been applied, or has stopped the sink
		foreach my $i (0 .. $#steps)
		{
			my ($what, @args) = @{ $steps[$i] };

			push @sql, $what eq 'late' ? "SELECT * FROM model.late($args[0], $args[1], '$args[2]');"
			  : $what eq 'step' ? "SELECT * FROM model.step($args[0], $args[1], '$args[2]', " . ($self->{on_error} eq 'ignore' ? 'NULL' : "'" . _json_fields({ map { $_ => qq("$seen->{$nth}{rejected}{$_}") } keys %{ $seen->{$nth}{rejected} } }) . "'") . ');'
			  : "SELECT * FROM model.stop(" . min($next, $args[0]) . ", $args[0], '$args[1]', $batch->[-1]{n}); DELETE FROM model.recs WHERE n = $args[0];";
			$next = $args[1] + 1 unless $what eq 'stop';
		}
		push @sql, $self->_state($nth), $self->_between($nth);
	}
	return join "\n", @sql, '\echo done', '';
}

1;
