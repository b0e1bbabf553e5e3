
=head1 NAME

KafkaSinkRows - columns, their values, and what a row of them does

=head1 DESCRIPTION

Part of L<KafkaSinkModes>.  A row is a hash by column: [ text or undef for NULL,
SQLSTATE if it cannot be decoded, JSON if it is not that of the text ].  Columns
that a record does not have are not in it.

=cut

package KafkaSinkRows;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';

use KafkaSinkValues qw(chance one_of between);

our @EXPORT_OK = qw(q1 bytes);

sub q1 { my ($s) = @_; return defined $s ? "'" . $s =~ s/'/''/gr . "'" : 'NULL'; }
sub bytes { my ($s) = @_; return defined $s ? q('\x) . unpack('H*', $s) . q('::bytea) : 'NULL'; }

# --- values ---

# Columns by name: type, default, and what random values they get.
my %columns = (
	id => { type => 'int' },
	k2 => { type => 'text', words => 1 },
	qty => { type => 'int', default => '7', add => 'CONSTRAINT qty CHECK (qty < 1000)', refused => sub { between(1000, 1009) } },
	name => { type => 'varchar(8)', words => 1 },
	note => { type => 'text', default => q('none'), add => 'NOT NULL', words => 1, given => 1 },
	amount => { type => 'numeric(6,2)', good => sub { one_of('1.50', '-0.005', '9999.99', '1e2', between(0, 99)) },
		bad => [ [ '100000', '22003' ], [ 'x', '22P02' ], [ '1,5', '22P02' ] ] },
	dom => { type => 'test.small', good => sub { between(-5, 99) }, bad => [ [ '100', '23514' ], [ 'x', '22P02' ] ] },
	ref => { type => 'int', good => sub { between(0, 7) }, refused => sub { between(8, 9) } },
	u => { type => 'int' },
	n => { type => 'bigint', fold => 'count' },
	total => { type => 'bigint', fold => 'sum', good => sub { between(-100, 100) }, bad => [ [ 'x', '22P02' ], [ '1.5', '22P02' ] ] },
	mn => { type => 'int', fold => 'min', add => 'CONSTRAINT mn CHECK (mn > -1000)', good => sub { between(-50, 50) }, refused => sub { -between(1000, 1009) } },
	mx => { type => 'int', fold => 'max', add => 'CONSTRAINT mx CHECK (mx < 1000)', good => sub { between(-50, 50) }, refused => sub { between(1000, 1009) } },
	f => { type => 'text', fold => 'first', words => 1 },
	l => { type => 'varchar(8)', fold => 'last', words => 1 },
	o => { type => 'varchar(8)', words => 1 },
);

# Adds one to the target.
sub _column { my ($self, $name) = @_; push @{ $self->{cols} }, { name => $name, %{ $columns{$name} } }; return; }

my @words = ('a', 'bc', 'd e', q(it's), 'x"y', 'p,q', 'r;s', "\xc3\xa9");
my @bad_ints = ([ 'x', '22P02' ], [ '3000000000', '22003' ], [ '1.5', '22P02' ], [ 'true', '22P02' ]);

# A text, or one that the column refuses and why.
sub _word
{
	my ($self, $col, $bad) = @_;
	my $format = $self->{format};
	my $whole = ($self->{value_type} // 'sink.val') ne 'sink.val';

	return one_of([ 'much too long', '22001' ], $format =~ /^(csv|raw)$/ || $whole ? () : [ "a\0b", '22P05' ])->@*
	  if $bad && $col->{type} =~ /varchar/;
	return one_of(@{ $self->{trigger} }) if $self->{trigger} && $col->{name} eq 'name' && chance(0.15);
	return one_of('a', 'b') if $col->{name} eq 'k2';
	return one_of(@words, $format eq 'raw' ? () : ('', 'v|w'), $format eq 'csv' && $self->{csv}[1] eq '' ? () : ("t\tu", "l\nm"));
}

# A value of a column: its text (undef: NULL), and why it is refused, if it
# cannot be decoded.
sub _value
{
	my ($self, $col, $part) = @_;
	my $name = $col->{name};
	my $bad = chance($self->{bad} / 4) && !($self->{totals} && $name eq 'name');

	return (undef) if chance($col->{given} ? 0.3 * $self->{bad} : $name =~ /^(id|k2)$/ ? 0.1 * $self->{bad} : 0.1);
	return $self->_word($col, $bad) if $col->{words};
	return one_of(@{ $col->{bad} // \@bad_ints })->@* if $bad;
	return $col->{refused}->() if $col->{refused} && chance($self->{bad} / 2);
	return int(rand 12) * $self->{nparts} + $part if $name eq 'u';
	return between(0, chance($self->{bad} / 4) ? 9 : 8) if $name eq 'id';
	return $col->{good} ? $col->{good}->() : between(0, 20);
}

# Where a record goes: by its key, if it tells; not all offsets are there.
sub _place
{
	my ($self, $rec, $row) = @_;
	my $id = $row->{id} ? $row->{id}[0] : undef;

	$rec->{part} = int rand $self->{nparts};
	$rec->{part} = ($id + ($row->{k2} && ($row->{k2}[0] // 'a') eq 'b' ? 1 : 0)) % $self->{nparts} if $self->{tied} && defined $id && $id =~ /^\d{1,4}$/;
	$self->{next}[ $rec->{part} ] += between(1, 3) if chance(0.1);
	$rec->{off} = $self->{next}[ $rec->{part} ]++;
	return;
}

# --- statements ---

# The key as text, to tell rows apart; undef if it names none.
sub _k
{
	my ($self, $row) = @_;
	my @v = map { $row->{$_} ? $row->{$_}[0] : undef } @{ $self->{keys} };

	return (grep { !defined } @v) ? undef : join ' ', @v;
}

sub _is_key { my ($self, $name) = @_; return grep { $_ eq $name } @{ $self->{keys} }; }

sub _where
{
	my ($self, $row) = @_;
	return join ' AND ', map { "$_ = " . q1($row->{$_}[0]) } @{ $self->{keys} };
}

# All that a row gives, as a relation with the columns that are filled.
sub _relation
{
	my ($self, $row, $defaults) = @_;
	my %col = map { $_->{name} => $_ } @{ $self->{cols} };

	return join ', ', map {
		my $v = $row->{$_} ? q1($row->{$_}[0]) : $defaults && $col{$_}{default} ? $col{$_}{default} : 'NULL';
		"$v\::$col{$_}{type} AS $_"
	} grep { ($col{$_}{fold} // '') ne 'count' } @{ $self->{filled} };
}

# What a row does, as a statement of its own.
sub _statement
{
	my ($self, $row, $rec) = @_;
	my $mode = $self->{mode};
	my @given = grep { $row->{$_} } @{ $self->{filled} };
	my @others = grep { !$self->_is_key($_) } @{ $self->{filled} };
	my $keys = join ', ', @{ $self->{keys} };
	my $if = $self->{set}{update_if};
	my %v = map { $_ => q1($row->{$_}[0]) } @given;

	if ($mode eq 'update' || $rec->{op} eq 'patch')
	{
		my @set = map { "$_ = excluded.$_" } grep { !$self->_is_key($_) } @given;

		@set = 'id = excluded.id' unless @set;
		# (OFFSET 0: not to be computed unless the row is there)
		return 'UPDATE model.t SET ' . join(', ', @set) . ' FROM (SELECT ' . $self->_relation($row, 0) . ' OFFSET 0) excluded WHERE '
		  . join(' AND ', (map { "t.$_ = excluded.$_" } @{ $self->{keys} }), $if ? "($if)" : ());
	}
	if ($mode eq 'accumulate')
	{
		my %fold = map { $_->{name} => $_->{fold} // 'last' } @{ $self->{cols} };
		my %set = (
			count => 'coalesce(t.%1$s + 1, 1)', sum => 'coalesce(t.%1$s + EXCLUDED.%1$s, t.%1$s, EXCLUDED.%1$s)',
			min => 'least(t.%1$s, EXCLUDED.%1$s)', max => 'greatest(t.%1$s, EXCLUDED.%1$s)',
			first => 'coalesce(t.%1$s, EXCLUDED.%1$s)', last => 'coalesce(EXCLUDED.%1$s, t.%1$s)');

		return "INSERT INTO model.t AS t (" . join(', ', @{ $self->{filled} }) . ') VALUES (' . join(', ', map { $fold{$_} eq 'count' ? 1 : $v{$_} // 'NULL' } @{ $self->{filled} })
		  . ") ON CONFLICT ($keys) DO UPDATE SET " . join(', ', map { "$_ = " . sprintf $set{ $fold{$_} }, $_ } @others);
	}
	my $sql = @given ? 'INSERT INTO model.t (' . join(', ', @given) . ') VALUES (' . join(', ', @v{@given}) . ')' : 'INSERT INTO model.t DEFAULT VALUES';
	$sql .= ' ON CONFLICT DO NOTHING' if $mode eq 'ignore';
	$sql .= " ON CONFLICT ($keys) DO UPDATE SET " . join(', ', map { "$_ = EXCLUDED.$_" } @others) . ($if ? " WHERE $if" : '') if $mode eq 'upsert';
	return $sql;
}

# What a row does to a command's tables.
sub _effect
{
	my ($self, $row, $rec) = @_;
	my ($id, $qty, $name) = map { q1($row->{$_} ? $row->{$_}[0] : undef) } qw(id qty name);
	my $place = "$rec->{part}, $rec->{off}";

	return "INSERT INTO model.t AS t VALUES ($id, 1, coalesce($qty, 0), $qty, 100 / ($qty\::int - 3))"
	  . " ON CONFLICT (id) DO UPDATE SET n = t.n + 1, total = t.total + coalesce($qty, 0), mx = greatest(t.mx, $qty), inv = coalesce(t.inv + 100 / ($qty\::int - 3), t.inv, 100 / ($qty\::int - 3))"
	  if $self->{totals};
	return "INSERT INTO model.gone VALUES ($place, convert_from(" . bytes($rec->{key}) . ", 'UTF8'))" if "$id$qty$name" eq 'NULLNULLNULL';
	return "INSERT INTO model.t VALUES ($id, $qty, $name); INSERT INTO model.lines SELECT $place, g FROM generate_series(1, $qty\::int % 4) g";
}

1;
