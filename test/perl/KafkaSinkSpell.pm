
=head1 NAME

KafkaSinkSpell - rows and keys in each format, and what is none

=head1 DESCRIPTION

Part of L<KafkaSinkModes>.

=cut

package KafkaSinkSpell;

use strict;
use warnings FATAL => 'all';

use List::Util qw(shuffle);

use KafkaSinkValues qw(chance one_of);

sub _json_value
{
	my ($self, $col, $text) = @_;

	return 'null' unless defined $text;
	if ($col->{words})
	{
		my $json = $text;

		$json =~ s/(["\\])/\\$1/g;
		$json =~ s/([\x00-\x1f])/sprintf '\u%04x', ord $1/ge;
		return qq("$json");
	}
	return $text =~ /^(-?\d+(\.\d+)?(e\d)?|true)$/ && chance(0.8) ? $text : qq("$text");
}

sub _json_row
{
	my ($self, $row, @more) = @_;
	my %col = map { $_->{name} => $_ } @{ $self->{cols} };
	my @members = map { qq("$_":) . (chance(0.5) ? ' ' : '') . ($row->{$_}[2] // $self->_json_value($col{$_}, $row->{$_}[0])) } grep { $row->{$_} } @{ $self->{filled} };

	return '{' . join(',', chance(0.3) ? shuffle(@members, @more) : (@members, @more)) . '}';
}

sub _csv_field
{
	my ($self, $text) = @_;
	my ($delimiter, $quote, $null) = @{ $self->{csv} };

	return $null unless defined $text;
	return $text if $quote eq '';
	return $text unless $text eq $null || $text eq '' || $text =~ /[\Q$delimiter$quote\E\n]/ || chance(0.1);
	return $quote . $text =~ s/\Q$quote\E/$quote$quote/gr . $quote;
}

# The schema of Connect's converter, or of Debezium's row.
sub _schema
{
	my ($self) = @_;
	my @fields = map { my $t = $_->{words} || $_->{name} eq 'amount' ? 'string' : 'int32'; qq({"type":"$t","optional":true,"field":"$_->{name}"}) } @{ $self->{cols} };

	return '"fields":[' . join(',', @fields) . ']';
}

sub _wrap
{
	my ($self, $row) = @_;
	return '{"schema":' . one_of('null', '{"type":"struct",' . $self->_schema . '}') . qq(,"payload":$row});
}

sub _change
{
	my ($self, $op, $before, $after) = @_;
	my $change = qq({"before":$before,"after":$after,"source":{"lsn":1},"op":"$op","ts_ms":1});

	return chance(0.6) ? $change
	  : '{"schema":{"type":"struct","fields":[' . join(',', map { '{"type":"struct",' . $self->_schema . qq(,"optional":true,"field":"$_"}) } qw(before after)) . qq(]},"payload":$change});
}

# A key in the sink's format.
sub _key
{
	my ($self, $row) = @_;
	my $format = $self->{key_format};
	my @v = map { $row->{$_} ? $row->{$_}[0] : undef } @{ $self->{keys} };

	return undef if grep { !defined } @v;
	return join $self->{csv}[0], map { $self->_csv_field($_) } @v if $format eq 'csv' && $self->{format} ne 'raw';
	return "$v[0]" if $format ne 'json' || $self->{format} eq 'raw';
	my %col = map { $_->{name} => $_ } @{ $self->{cols} };
	my @json = map { $self->_json_value($col{ $self->{keys}[$_] }, $v[$_]) } 0 .. $#v;
	my $object = '{' . join(', ', map { qq("$self->{keys}[$_]": $json[$_]) } 0 .. $#v) . '}';
	my $key = @v == 1 && chance(0.4) ? $json[0] : $object;
	return $self->{format} =~ /connect|debezium/ && chance(0.3) ? qq({"schema":null,"payload":$key}) : $key;
}

# Values that mean nothing, and why.
sub _broken
{
	my ($self) = @_;
	my $format = $self->{format};
	my ($delimiter, $quote) = @{ $self->{csv} };
	my @json = ([ '{', '22P02' ], [ '', '22P02' ], [ '{"id": 1', '22P02' ], [ '{"id": 1,}', '22P02' ], [ '{"id": 1} x', '22P02' ], [ "{\"name\": \"\xff\"}", '22021' ], [ "{\0}", '22021' ]);

	return [ '7' x 4097, '54000' ] if chance(0.05);
	pop @json if $format eq 'raw';
	return one_of(@json) if ($self->{value_type} // '') eq 'jsonb';
	return one_of(@json, [ '[1]', '22P02' ], [ '"x"', '22P02' ]) if $format eq 'json';
	return one_of(@json, [ '[1]', '22P02' ], [ '{"id": 1}', '22P02' ], [ '{"schema":null,"payload":[1]}', '22P02' ], [ '{"payload":{"id":1}}', '22P02' ]) if $format eq 'connect';
	return one_of(@json, [ '{}', '22P02' ], [ '{"op":"x"}', '22P02' ], [ '{"op":"c","after":null}', '22P02' ], [ '{"op":"u","after":[1]}', '22P02' ]) if $format eq 'debezium';
	return one_of([ '1', '22P04' ], [ '', '22P04' ], [ "1$delimiter\n$delimiter", '22P04' ], [ "\xc3\x28", '22021' ], $quote ne '' ? [ "1$delimiter${quote}x", '22P04' ] : ()) if $format eq 'csv';
	# a command takes the text apart by itself, behind the filter
	return [ "\xff", '22021' ] if $self->{mode} eq 'command';
	return one_of([ 'x', '22P02' ], [ "\xff", '22021' ], [ '1 2', '22P02' ]);
}

# Keys that name no row, and why.
sub _broken_key
{
	my ($self, $enveloped) = @_;
	my $single = @{ $self->{keys} } == 1;
	my $format = $self->{key_format};

	return one_of([ 'not json', '22P02' ], [ '"x"', '22P02' ], [ '{"no": 1}', '22P02' ], $single ? [ 'null', $self->{format} =~ /connect|debezium/ ? '22P02' : '23502' ] : ([ '1', '22P02' ]), $enveloped ? [ undef, '22P02' ] : [ undef, '22004' ]) if $format eq 'json';
	return one_of([ 'x', '22P02' ], [ '3000000000', $single ? '22003' : '22P02' ], $enveloped ? [ undef, $single ? '23502' : '22P02' ] : [ undef, '22004' ]) if $format eq 'raw' || $self->{format} eq 'raw';
	return one_of([ $single ? 'x' : "x$self->{csv}[0]a", '22P02' ], [ $single ? "1$self->{csv}[0]2" : '1', '22P04' ], [ undef, $enveloped ? '23502' : '22004' ]);
}

# The value of a record; one that is strange has what no column takes.
sub _spell
{
	my ($self, $rec, $row, $strange) = @_;
	my $format = $self->{format};
	my @more = $strange || (!$self->{strict} && chance(0.2)) ? '"strange":[1,{"id":2}]' : ();

	if ($format eq 'csv')
	{
		$rec->{value} = join($self->{csv}[0], (map { $self->_csv_field($row->{$_}[0]) } @{ $self->{filled} }), @more ? 'more' : ()) . one_of('', "\n", "\r\n");
	}
	elsif ($format eq 'raw' && $self->{mode} eq 'command' && $self->{value_type} eq 'text')
	{
		$rec->{value} = join '|', map { $row->{$_}[0] // '' } @{ $self->{filled} };
	}
	elsif ($format eq 'raw' && $self->{mode} ne 'command')
	{
		$rec->{value} = $row->{ $self->{filled}[1] }[0] // '';
	}
	elsif ($format eq 'debezium')
	{
		# the key as it was, if that is told: another one is refused
		my %col = map { $_->{name} => $_ } @{ $self->{cols} };
		my %spelled = (%$row, map { $_ => [ $row->{$_}[0], undef, $self->_json_value($col{$_}, $row->{$_}[0]) ] } @{ $self->{keys} });
		my $op = one_of(qw(c u r));
		my $changes = $op eq 'u' && chance($self->{bad} / 3);
		my $before = '{' . join(',', map { qq("$_":) . ($changes ? '99' : $spelled{$_}[2]) } @{ $self->{keys} }) . '}';

		$rec->{changes} = $changes && $self->{mode} !~ /^(insert|ignore)$/;
		$rec->{value} = $self->_change($op, $changes || ($op eq 'u' && chance(0.5)) ? $before : 'null', $self->_json_row(\%spelled, @more));
	}
	else
	{
		$rec->{value} = $self->_json_row($row, @more);
		$rec->{value} = $self->_wrap($rec->{value}) if $format eq 'connect';
	}
	return;
}

1;
