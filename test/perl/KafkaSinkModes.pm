
=head1 NAME

KafkaSinkModes - random sinks of every kind and records for them, as SQL scripts

=head1 SYNOPSIS

  print KafkaSinkModel::setup();            # once
  my $case = KafkaSinkModes->new($seed, $nth);
  $case->{sql};       # the script: tables, sink, records, what they must do
  $case->{about};     # what it is about

A case is a function of its seed and number alone.  The generator decides what a
record means, writes that down as an ordinary statement over the schema
C<model> (or as the SQLSTATE by which it must be refused), and then spells it in
the sink's format.  See L<KafkaSinkModel> for what is made of both.

=cut

package KafkaSinkModes;

use strict;
use warnings FATAL => 'all';

use List::Util qw(min);

use KafkaSinkRows qw(q1 bytes);
use KafkaSinkSpell;
use KafkaSinkValues qw(chance one_of between);

our @ISA = qw(KafkaSinkRows KafkaSinkSpell);

our @ways = qw(insert ignore upsert update accumulate upsert_if update_if command);

sub new
{
	my ($class, $seed, $nth) = @_;
	my $self = bless { nth => $nth, sink => "s$nth", recs => [], mend => [] }, $class;

	srand($seed * 10007 + $nth);
	# all ways in turn, and on every round in another format
	$self->{way} = $ways[ ($nth - 1) % @ways ];
	$self->{format} = (qw(json csv connect debezium json raw))[ int(($nth - 1) / @ways) % 6 ];
	$self->{mode} = $self->{way} =~ s/_if$//r;
	$self->{asks} = $self->{way} =~ /_if$/ ? 1 : 0;
	$self->{superseding} = $self->{way} =~ /^(upsert|accumulate)$/ ? 1 : 0;
	$self->{bad} = one_of(0, 0.03, 0.1, 0.3);
	$self->_settings;
	$self->{mode} eq 'command' ? $self->_command : $self->_table;
	$self->_filter;
	$self->_records;
	$self->_script;
	$self->{about} = join ', ', $self->{way}, $self->{format}, map { $_ // () } @{ $self->{features} };
	return $self;
}

sub _feature { my ($self, @what) = @_; push @{ $self->{features} }, @what; return 1; }

# --- the sink ---

sub _settings
{
	my ($self) = @_;
	my $command = $self->{mode} eq 'command';

	$self->{format} = 'connect' if $command && $self->{format} eq 'debezium';
	$self->{on_error} = one_of(qw(dead_letter dead_letter dead_letter stop ignore));
	$self->{limit} = one_of('1', '3', '10', '25% of 8', '50% of 4', '12.5% of 16') if $self->{on_error} ne 'stop' && chance(0.25);
	$self->{batch_records} = one_of(1, 3, 10, 50000);
	$self->{deletes} = chance(0.6);
	$self->{ignores} = chance(0.5);
	$self->{key_format} =
	    $self->{format} =~ /^(connect|debezium)$/ ? one_of(qw(json json raw csv none))
	  : $self->{format} eq 'csv' ? one_of(qw(csv csv json raw none))
	  : one_of(qw(json json json raw csv none));
	$self->{key_format} = 'json' if $self->{key_format} eq 'none' && $self->{deletes} && !$command;
	$self->{strict} = $self->{format} ne 'raw' && chance(0.15);
	$self->{csv} = one_of([ ',', '"', '' ], [ ';', q('), '\N' ], [ "\t", '', '\N' ], [ '|', '"', 'null' ]);
	$self->{fast} = chance(0.6) ? 'on' : 'off';
	$self->{nparts} = between(1, 3);
	# the table is the topic's
	$self->{own_target} = !$command && chance(0.25);
	# as a rule a key stays in its partition
	$self->{tied} = $self->{mode} eq 'ignore' || chance(0.7);
	$self->_feature($self->{on_error}, $self->{limit} ? "limit $self->{limit}" : undef, $self->{deletes} ? 'deletes' : undef,
		"key $self->{key_format}", "fast $self->{fast}", $self->{own_target} ? 'target of the topic' : undef, $self->{tied} ? undef : 'keys in several partitions');
	return;
}

# The target: what it has, and what it refuses.
sub _table
{
	my ($self) = @_;
	my $mode = $self->{mode};
	my $raw = $self->{format} eq 'raw';
	my (@tail, @more);

	$self->{keys} = ['id'];
	$self->_column('id');
	if (!$raw && chance(0.25))
	{
		push @{ $self->{keys} }, 'k2';
		$self->_column('k2');
	}
	$self->_column($_) foreach $mode eq 'accumulate' ? qw(n total mn mx f l o) : qw(qty name note amount dom);
	my $keys = join ', ', @{ $self->{keys} };
	my $inserts = $mode =~ /^(insert|ignore)$/;
	my $partitioned = chance(0.12) && $self->_feature('partitioned');
	if ($mode ne 'accumulate' && chance(0.3))
	{
		$self->_column('ref');
		push @tail, 'FOREIGN KEY (ref) REFERENCES S.parent';
		push @{ $self->{mend} }, 'INSERT INTO S.parent VALUES (8), (9)';
		$self->_feature('foreign key');
	}
	if ($inserts && $self->{tied} && !$partitioned && !$raw && chance(0.3))
	{
		$self->_column('u');
		push @tail, 'UNIQUE (u)';
		$self->_feature('unique');
	}
	# insert has a key if it is said
	my $primary = $mode eq 'ignore' || $partitioned || chance(0.8);
	push @tail, $primary ? "PRIMARY KEY ($keys)" : "UNIQUE ($keys)";
	$self->{keyed} = !$inserts || $self->{deletes} || !$primary;
	$self->{pk_fields} = !$primary;
	push @more, $partitioned
	  ? ('CREATE TABLE S.t1 PARTITION OF S.t FOR VALUES FROM (0) TO (4)', 'CREATE TABLE S.t2 PARTITION OF S.t FOR VALUES FROM (4) TO (9)')
	  : ();
	if ($mode ne 'accumulate' && chance(0.2))
	{
		# with a batch's last record of a key, 'skip' would hide those before it
		$self->{trigger} = [ $mode eq 'upsert' ? 'raise' : ('skip', 'raise') ];
		push @more, 'CREATE TRIGGER b BEFORE INSERT OR UPDATE ON S.t FOR EACH ROW EXECUTE FUNCTION test.on_write()';
		push @{ $self->{mend} }, 'DROP TRIGGER b ON S.t';
		$self->_feature('trigger');
	}
	push @{ $self->{mend} }, $mode eq 'accumulate' ? ('ALTER TABLE S.t DROP CONSTRAINT mx', 'ALTER TABLE S.t DROP CONSTRAINT mn')
	  : ('ALTER TABLE S.t DROP CONSTRAINT qty', 'ALTER TABLE S.t ALTER note DROP NOT NULL');
	push @{ $self->{mend} }, 'DELETE FROM S.t WHERE id % 2 = 0' if $inserts;
	$self->{ddl} = [
		'CREATE TABLE S.parent (id int PRIMARY KEY)', 'INSERT INTO S.parent SELECT generate_series(0, 7)',
		'CREATE TABLE S.t (' . join(', ', (map { join ' ', $_->{name}, $_->{type}, defined $_->{default} ? "DEFAULT $_->{default}" : (), $_->{add} // () } @{ $self->{cols} }), @tail)
		  . ')' . ($partitioned ? ' PARTITION BY RANGE (id)' : ''), @more,
		chance($mode eq 'update' ? 0.95 : 0.5) ? "INSERT INTO S.t ($keys) SELECT i" . (@{ $self->{keys} } > 1 ? q(, 'a') : '') . ' FROM generate_series(0, 6, 2) i' : ()
	];
	$self->{tables} = ['t'];
	$self->{filled} = [ map { $_->{name} } @{ $self->{cols} } ];
	my $acc = $mode eq 'accumulate' ? '{' . join(', ', map { qq("$_->{name}": "$_->{fold}") } grep { $_->{fold} } @{ $self->{cols} }) . '}' : undef;
	my $columns;
	if ($raw)
	{
		my $value = $mode eq 'accumulate' ? one_of(qw(total mx)) : 'qty';

		$self->{filled} = [ 'id', $value ];
		$columns = qq({"id": "\@key", "$value": "\@value"});
		$acc = '{' . join(', ', map { qq("$_->{name}": "$_->{fold}") } grep { $_->{name} eq $value } @{ $self->{cols} }) . '}' if $acc;
	}
	$self->{set} = {
		target => 'sink.t', insert_mode => $mode, columns => $columns, accumulate => $acc,
		pk_fields => $self->{pk_fields} ? '{' . join(',', @{ $self->{keys} }) . '}' : undef,
		update_if => $self->{asks} ? one_of('t.qty <= excluded.qty', 't.qty IS NULL OR excluded.qty % 3 = 0', 't.id > 2', 't.qty IS NULL OR 100 / (excluded.qty - 3) < 20') : undef
	};
	return;
}

# A command and the tables it writes.  Totals: aggregate, then upsert.  Fan-out:
# one record to several rows of two tables; a delete to a third.
sub _command
{
	my ($self) = @_;
	my $format = $self->{format};
	my $type = $format eq 'raw' ? one_of('text', 'jsonb') : $format eq 'json' ? one_of('sink.val', 'sink.val', 'jsonb') : 'sink.val';
	my $fields = $type eq 'jsonb' ? q((value->>'id')::int AS id, (value->>'qty')::int AS qty, value->>'name' AS name)
	  : $type eq 'text' ? join(', ', map { "nullif(split_part(value, '|', $_->[0]), '')$_->[1]" } [ 1, '::int AS id' ], [ 2, '::int AS qty' ], [ 3, ' AS name' ])
	  : 'id, qty, name';
	my $from = "FROM (SELECT $fields, part, off, key FROM batch) b";
	my $totals = chance(0.5);
	my $ref = chance(0.4) ? ' REFERENCES S.parent' : '';

	$self->{value_type} = $type;
	# a value as a whole has no fields
	$self->{strict} = 0 if $type ne 'sink.val';
	$self->{totals} = $totals;
	$self->{keys} = ['id'];
	$self->_column($_) foreach qw(id qty name);
	$self->{filled} = [qw(id qty name)];
	$self->{ddl} = [ 'CREATE TABLE S.parent (id int PRIMARY KEY)', 'INSERT INTO S.parent SELECT i FROM generate_series(0, 8) i WHERE i <> 5',
		$totals ? "CREATE TABLE S.t (id int PRIMARY KEY$ref, n bigint, total bigint, mx int CONSTRAINT qty CHECK (mx < 1000), inv bigint)"
		: ("CREATE TABLE S.t (id int PRIMARY KEY$ref, qty int CONSTRAINT qty CHECK (qty < 1000), name varchar(8) NOT NULL)",
			'CREATE TABLE S.lines (part int, off bigint, line int, PRIMARY KEY (part, off, line))',
			'CREATE TABLE S.gone (part int, off bigint, key text)') ];
	$self->{mend} = [ 'ALTER TABLE S.t DROP CONSTRAINT qty', 'INSERT INTO S.parent VALUES (5)', $totals ? () : ('ALTER TABLE S.t ALTER name DROP NOT NULL', 'DELETE FROM S.t WHERE id % 2 = 0') ];
	$self->{tables} = $totals ? ['t'] : [qw(t lines gone)];
	my $none = 'id IS NULL AND qty IS NULL AND name IS NULL';
	my $command = $totals
	  ? "INSERT INTO sink.t AS t SELECT id, count(*), coalesce(sum(qty), 0), max(qty), sum(100 / (qty - 3)) $from GROUP BY id"
	  . ' ON CONFLICT (id) DO UPDATE SET n = t.n + EXCLUDED.n, total = t.total + EXCLUDED.total, mx = greatest(t.mx, EXCLUDED.mx), inv = coalesce(t.inv + EXCLUDED.inv, t.inv, EXCLUDED.inv)'
	  : "INSERT INTO sink.t SELECT id, qty, name $from WHERE NOT ($none);"
	  . " INSERT INTO sink.lines SELECT part, off, g $from, generate_series(1, qty % 4) g;"
	  . " INSERT INTO sink.gone SELECT part, off, convert_from(key, 'UTF8') $from WHERE $none";
	$self->{set} = { command => $command, value_type => $type };
	$self->_feature($totals ? 'totals' : 'fan-out', $type, $ref ? 'foreign key' : undef);
	return;
}

sub _filter
{
	my ($self) = @_;
	my %filled = map { $_ => 1 } @{ $self->{filled} };
	my ($col) = grep { $filled{$_} } qw(qty mx);

	return unless chance(0.3);
	$col = undef if $self->{value_type} && $self->{value_type} ne 'sink.val';
	my @of_column = $col ? ("$col IS DISTINCT FROM 5", "$col < 15", "100 / ($col - 4) < 30") : ();
	$self->{set}{filter} = one_of(@of_column, @of_column, 'part <> 1 OR off % 3 > 0', 'key IS NULL OR length(key) < 8');
	$self->_feature('filter');
	return;
}

# --- records ---

# A record without a row: a tombstone, or what an envelope has in its place.
sub _tombstone
{
	my ($self, $rec) = @_;
	my $format = $self->{format};
	my $command = $self->{mode} eq 'command';
	my $enveloped = $format eq 'debezium' ? chance(0.8) : $format eq 'connect' && chance(0.5);
	my %row;

	$row{$_} = [ $_ eq 'id' ? between(0, 8) : one_of('a', 'b') ] foreach @{ $self->{keys} };
	$self->_place($rec, \%row);
	$rec->{key} = $self->_key(\%row);
	$rec->{op} = 'delete';
	if ($format eq 'debezium' && !$enveloped)
	{
		# it stands behind a delete
		$rec->{op} = 'filtered';
		return;
	}
	my $by_before = $format eq 'debezium' && chance(0.6);
	if ($self->{deletes} && !$command && !$by_before && chance($self->{bad} / 2))
	{
		@$rec{qw(key state)} = @{ $self->_broken_key($enveloped) };
		$rec->{op} = 'error';
	}
	elsif ($self->{key_format} eq 'raw' && @{ $self->{keys} } > 1 && !$by_before)
	{
		# such a key is of one column
		@$rec{qw(op state)} = ('error', '22P02');
	}
	$rec->{value} = $format eq 'debezium' ? $self->_change('d', $by_before ? $self->_json_row(\%row) : 'null', 'null') : $self->_wrap('null') if $enveloped;
	$rec->{key} = undef if $by_before && chance(0.3);
	if (!$self->{deletes})
	{
		@$rec{qw(op state)} = $self->{ignores} ? ('filtered') : ('error', '22004');
	}
	elsif ($command)
	{
		$rec->{op} = 'command';
		$rec->{state} = undef;
		$rec->{key} = undef if chance(0.2);
		$rec->{sql} = $self->_effect({}, $rec);
	}
	elsif ($rec->{op} eq 'delete')
	{
		$rec->{k} = $self->_k(\%row);
		$rec->{complete} = 1;
		$rec->{sql} = 'DELETE FROM model.t WHERE ' . $self->_where(\%row);
	}
	$rec->{probe} = $self->_where(\%row) if $rec->{op} eq 'delete';
	return;
}

# A row: its values, what they mean, and how they are written.
sub _row
{
	my ($self, $rec) = @_;
	my $format = $self->{format};
	my %col = map { $_->{name} => $_ } @{ $self->{cols} };
	my %row;
	my $state;

	$rec->{op} = $self->{mode} eq 'command' ? 'command' : 'write';
	$row{id} = [ $self->_value($col{id}) ];
	$row{k2} = [ $self->_value($col{k2}) ] if $col{k2};
	$self->_place($rec, \%row);
	delete $row{id} if $format =~ /^(json|connect)$/ && chance(0.1 * $self->{bad});
	my $unavailable_too = $format eq 'debezium' && chance(0.3);
	foreach (@{ $self->{filled} })
	{
		next if $row{$_} || $_ eq 'id';
		next if $format =~ /^(json|connect)$/ && chance(0.12);
		$row{$_} = ($col{$_}{fold} // '') eq 'count' ? [ one_of('x', undef, 5) ] : [ $self->_value($col{$_}, $rec->{part}) ];
		if ($unavailable_too && $col{$_}{words} && chance(0.5))
		{
			$row{$_} = [ undef, $self->{mode} =~ /^(insert|ignore)$/ ? '22000' : undef, q("__debezium_unavailable_value") ];
			$rec->{op} = 'patch' if $self->{mode} eq 'upsert';
		}
	}
	# a raw value is never NULL
	$row{ $self->{filled}[1] } = [ '', '22P02' ] if $format eq 'raw' && $self->{mode} ne 'command' && !defined $row{ $self->{filled}[1] }[0];
	# the first that is refused says why; of a value as a whole, one is
	my $whole = ($self->{value_type} // 'sink.val') ne 'sink.val';
	$row{qty} = [5] if $whole && $row{id} && $row{id}[1];
	foreach (grep { $row{$_} } @{ $self->{filled} })
	{
		$state //= $row{$_}[1];
	}
	$rec->{key} = chance(0.7) || $format eq 'raw' ? $self->_key(\%row) : undef;
	$self->_spell($rec, \%row);
	$state = '22000' if $rec->{changes};
	# met on the way to the row
	if ($self->{strict} && $format ne 'raw' && ($self->{value_type} // '') !~ /jsonb/ && chance($self->{bad} / 3))
	{
		$self->_spell($rec, \%row, 1);
		$state = $format eq 'csv' ? '22P04' : '22P02';
	}
	delete $row{$_} foreach grep { $row{$_}[2] } keys %row;
	$rec->{k} = $self->_k(\%row);
	if ($state && !$whole)
	{
		@$rec{qw(op state)} = ('error', $state);
		return;
	}
	# the command takes such a value apart, behind the filter
	$rec->{late} = $state;
	$rec->{late} = '23502' if $self->{mode} ne 'command' && $self->{keyed} && !defined $rec->{k};
	$rec->{complete} = $rec->{op} eq 'write' && $self->{way} eq 'upsert';
	$rec->{probe} = $self->_where(\%row) if defined $rec->{k};
	$rec->{sql} = $self->{mode} eq 'command' ? $self->_effect(\%row, $rec) : $self->_statement(\%row, $rec);
	if ($self->{set}{filter})
	{
		my $defaults = $self->{mode} =~ /^(insert|ignore|upsert)$/ && $rec->{op} ne 'patch';

		$rec->{filter} = "SELECT $self->{set}{filter} FROM (SELECT " . ($whole ? '' : $self->_relation(\%row, $defaults) . ', ') . "$rec->{part} AS part, $rec->{off}\::bigint AS off, " . bytes($rec->{key}) . ' AS key) batch';
	}
	return;
}

sub _records
{
	my ($self) = @_;

	$self->{start} = [ map { 100 * $_ } 0 .. $self->{nparts} - 1 ];
	$self->{next} = [ @{ $self->{start} } ];
	for my $n (1 .. one_of(5, 20, 40, 80, 120))
	{
		my $rec = { n => $n };

		if (chance(0.15))
		{
			$self->_tombstone($rec);
		}
		elsif (chance($self->{bad} / 2))
		{
			$self->_place($rec, {});
			@$rec{qw(op key)} = ('error', one_of(undef, '1'));
			@$rec{qw(value state)} = @{ $self->_broken };
			$rec->{key} = '1' if $self->{format} eq 'raw';
		}
		else
		{
			$self->_row($rec);
		}
		push @{ $self->{recs} }, $rec;
	}
	return;
}

# --- the script ---

# Where batches end.
sub _ends
{
	my ($self) = @_;
	my $n = @{ $self->{recs} };
	my $most = one_of(1, 3, 10, 40, $n, $n);
	my @ends;

	for (my $at = 0; $at < $n;)
	{
		$at = min($n, $at + ($most == $n ? $n : between(1, $most)));
		push @ends, $at;
	}
	return @ends;
}

sub _both
{
	my ($sql) = @_;
	return map { $sql =~ s/\bS\./$_./gr . ';' } qw(sink model);
}

sub _create
{
	my ($self) = @_;
	my %set = (%{ $self->{set} }, max_record_bytes => 4096, on_error => $self->{on_error}, reject_limit => $self->{limit}, batch_records => $self->{batch_records},
		delete_enabled => $self->{deletes} ? 'true' : undef, on_tombstone => $self->{ignores} ? 'ignore' : undef,
		key_format => $self->{key_format}, strict => $self->{strict} ? 'true' : undef,
		format => $self->{format} =~ /^(csv|raw)$/ ? $self->{format} : undef,
		envelope => $self->{format} =~ /^(connect|debezium)$/ ? $self->{format} : undef);

	delete $set{insert_mode} if $self->{mode} eq 'command';
	@set{qw(csv_delimiter csv_quote csv_null)} = @{ $self->{csv} } if $self->{format} eq 'csv' || $self->{key_format} eq 'csv';
	my @topic = $self->{own_target} ? qw(target insert_mode columns pk_fields filter update_if accumulate) : ();
	my %topic = map { $_ => delete $set{$_} } @topic;
	my $list = sub { my (%s) = @_; return join '', map { ", $_ => " . q1($s{$_}) } grep { defined $s{$_} } sort keys %s };

	return ("SELECT kafka_sink.create_sink('$self->{sink}'" . $list->(%set) . ');',
		@topic ? "SELECT kafka_sink.register_topic('$self->{sink}', 't'" . $list->(%topic) . ');' : ());
}

sub _script
{
	my ($self) = @_;
	my @mend = grep { chance(0.6) } @{ $self->{mend} };
	my $compare = 'SELECT test.compare(' . q1('{' . join(',', @{ $self->{tables} }) . '}') . ');';
	my $by_part = $self->{tied} || !($self->{mode} eq 'insert' && $self->{deletes}) ? 'true' : 'false';
	my @rows = map {
		my $r = $_;
		'(' . join(', ', $r->{n}, $r->{part}, $r->{off}, bytes($r->{key}), bytes($r->{value}), (map { q1($r->{$_}) } qw(op state filter late sql)),
			q1($r->{probe} && "SELECT EXISTS (SELECT FROM model.t WHERE $r->{probe})"), q1($r->{k}), $r->{complete} ? 'true' : 'false') . ')'
	} @{ $self->{recs} };

	$self->{sql} = join "\n", 'TRUNCATE test.sink, test.recs, test.wrong, test.met;',
	  'DROP SCHEMA IF EXISTS sink, model CASCADE;', 'SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks;',
	  'CREATE SCHEMA sink;', 'CREATE SCHEMA model;', 'CREATE TYPE sink.val AS (id int, qty int, name varchar(8));',
	  (map { _both($_) } @{ $self->{ddl} }), $self->_create,
	  "SELECT kafka_sink.seek('$self->{sink}', '{\"t\": {" . join(', ', map { "\"$_\": $self->{start}[$_]" } 0 .. $self->{nparts} - 1) . "}}');",
	  "INSERT INTO test.sink VALUES ('$self->{sink}', '$self->{on_error}', " . q1($self->{limit}) . ", $self->{batch_records}, "
	  . ($self->{superseding} ? 'true' : 'false') . ', ' . ($self->{asks} ? 'true' : 'false') . ', ' . ($self->{mode} =~ /^(command|accumulate)$/ ? 'true' : 'false') . ", $by_part);",
	  'INSERT INTO test.recs (n, part, off, key, value, op, state, filter, late, sql, probe, k, complete) VALUES', join(",\n", @rows) . ';',
	  "SET kafka_sink.fast_path = $self->{fast};", 'SET client_min_messages = debug1;',
	  'SELECT test.feed(' . q1('{' . join(',', $self->_ends) . '}') . ');', 'RESET client_min_messages;', $compare,
	  (map { _both($_) } @mend),
	  chance(0.3) ? 'SELECT test.retry(' . q1(one_of(q(sqlstate LIKE '23%'), 'off % 2 = 1', 'value IS NOT NULL')) . ');' : (),
	  'SELECT test.retry(NULL);', $compare, 'SELECT test.discard();', $compare,
	  "SELECT 'wrong', * FROM test.wrong;", "SELECT 'met', what, count(*) FROM test.met GROUP BY 2;", "SELECT 'done';", '';
	return;
}

1;
