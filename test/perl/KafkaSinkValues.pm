
=head1 NAME

KafkaSinkValues - random JSON for each type of column

=head1 SYNOPSIS

  my $t = type('numeric(8,2)');       # of type_names()
  $t->{good}->();                     # a JSON value that it takes
  $t->{key}->(7);                     # its value number 7, spelled in some way
  one_of(@{ $t->{bad} });             # one that it refuses

Values of one number are equal to the type, however they are spelled: C<1.0> and
C<1.00>, or one moment in two time zones.  Types with C<nokey> have no equality
(or none that is used), C<narrow> ones few values, those with C<collates> a
collation; C<never_null> ones refuse NULL.

=cut

package KafkaSinkValues;

use strict;
use warnings FATAL => 'all';
use utf8;

use Exporter 'import';

our @EXPORT = qw(chance one_of between js big_text type type_names);

# --- chance ---

sub chance { return rand() < $_[0]; }
sub one_of { return $_[ int rand @_ ]; }
sub between { return $_[0] + int rand($_[1] - $_[0] + 1); }

# --- JSON ---

# A string, some of its characters escaped without need.
sub js
{
	my ($s) = @_;
	my $out = '';

	foreach my $c (split //, $s)
	{
		my $n = ord $c;
		if ($n < 32 || $n == 34 || $n == 92 || chance(0.02))
		{
			$out .= $n > 0xffff
			  ? sprintf('\u%04x\u%04x', 0xd800 + (($n - 0x10000) >> 10), 0xdc00 + (($n - 0x10000) & 0x3ff))
			  : ($n == 34 || $n == 92) && chance(0.7) ? "\\$c"
			  : $n == 10 && chance(0.5) ? '\n'
			  : sprintf('\u%04x', $n);
		}
		else
		{
			$out .= $c;
		}
	}
	return qq("$out");
}

sub text_value
{
	my ($max) = @_;
	my @chars = ('a' .. 'e', ' ', 'X', '"', '\\', "\n", "\t", 'é', "e\x{301}", '日', "\x{1f600}", '/', "'", '%');
	my $s = join '', map { one_of(@chars) } 1 .. between(0, $max // 12);

	return defined $max ? substr($s, 0, $max) : $s;
}

# Beyond what a page takes, compressible or not.
sub big_text
{
	my $n = between(1000, 9000);

	return chance(0.5) ? 'abc' x $n : join '', map { chr between(48, 122) } 1 .. $n;
}

# --- types ---

sub spelled
{
	my ($s) = @_;
	return chance(0.2) ? qq("$s") : $s;
}

sub integer
{
	my ($max) = @_;
	return spelled(one_of(0, -1, between(-100, 100), between(0, $max), '-0'));
}

my @numbers = qw(0 -0 1.50 -1.5 1e3 1E-3 2.50e2 0.1 7 123456.789 100.00);
my @floats = (@numbers, '1e-7', '"NaN"', '"Infinity"', '"-Infinity"', '12345678', '0.30000000000000004');
my @moments = ('2026-01-02T03:04:05Z', '2026-01-02 03:04:05.678901+02', '2026-05-05 1:2:3+2', '2024-02-29T23:59:59.999999-11:30',
	'0099-01-01 00:00:00+00', 'infinity', '-infinity', '2026-06-07', '44 BC-03-15 BC' =~ s/^44 BC/0044/r, '2026-01-02T03:04:05.1234567Z');
my @bad_moments = ('"2026-02-30"', '"2026-13-01T00:00:00Z"', '"yesterday?"', '5', '"2026-01-02T25:00:00Z"');

# one number in several spellings, the same to the type
sub same_number
{
	my ($n) = @_;
	return spelled(one_of("$n", "$n", "$n.0", "$n.00", "${n}e0", $n == 0 ? '-0' : "$n"));
}

my %types = (
	int2 => { good => sub { integer(32767) }, key => sub { spelled($_[0]) }, bad => [ '40000', '1.5', '"x"', '[1]', 'true' ] },
	int4 => { good => sub { integer(2147483647) }, key => sub { spelled($_[0]) }, bad => [ '3000000000', '1e3', '"0x1"', '{}', '""' ] },
	int8 => { good => sub { one_of(integer(1e12), '9007199254740993', '-9223372036854775808') }, key => sub { spelled($_[0]) },
		bad => [ '9223372036854775808', '1.0', 'false' ] },
	bool => { good => sub { one_of(qw(true false 1 0 "yes" "off")) }, key => sub { one_of($_[0] % 2 ? qw(true 1 "t") : qw(false 0 "f")) }, narrow => 1, bad => [ '2', '"perhaps"' ] },
	float4 => { good => sub { one_of(@floats, '3.4e38') }, key => \&same_number, bad => [ '1e39', '"x"', '[]' ] },
	float8 => { good => sub { one_of(@floats, '1e300') }, key => sub { $_[0] == 7 ? '"NaN"' : same_number($_[0]) }, bad => [ '1e999', '"1,5"' ] },
	numeric => { good => sub { one_of(@floats, '12345678901234567890.123456789', '" 7 "', '1e20') }, key => sub { $_[0] == 7 ? '"NaN"' : same_number($_[0]) },
		bad => [ '"x"', '"1,5"', 'true' ] },
	'numeric(8,2)' => { good => sub { one_of(@numbers, '1.005', '99999.994', '-0.001', '"NaN"') }, key => sub { one_of(same_number($_[0]), "$_[0].001") }, bad => [ '1e7', '"Infinity"', '999999.995' ] },
	text => { good => sub { one_of(js(text_value()), js(text_value()), '5', '1.50', '{"a": [1, 2]}', 'true') }, key => sub { js("k$_[0]") }, bad => ['"\u0000"'], collates => 1 },
	varchar => { good => sub { js(text_value()) }, key => sub { js("k$_[0]") }, bad => ['"x\u0000"'], collates => 1 },
	'varchar(5)' => { good => sub { one_of(js(text_value(5)), '"abc         "', '12345') }, key => sub { one_of(js("k$_[0]"), js("k$_[0]" . ' ' x 9)) }, bad => [ '"too long"', '123456' ], collates => 1 },
	'char(4)' => { good => sub { one_of('"ab"', '"ab  "', '"abcd  "', '""', '"é"') }, key => sub { one_of(js("k$_[0]"), js("k$_[0] ")) }, bad => [ '"abcde"' ], collates => 1 },
	name => { good => sub { js(text_value(8)) }, key => sub { js("n$_[0]") }, bad => [] },
	bytea => { good => sub { one_of('"\\\\x00ff"', '"abc"', '""', '"\\\\001"') }, key => sub { one_of(sprintf('"\\\\x%04x"', $_[0]), sprintf('"\\\\%03o\\\\%03o"', $_[0] >> 8, $_[0] & 255)) }, bad => [ '"\\\\x0g"', '"\\\\x0"' ] },
	date => { good => sub { one_of(map { qq("$_") } '2026-01-02', '2024-02-29', '2026-1-5', 'infinity', '20260103', '2026-01-02T05:00:00Z') },
		key => sub { sprintf one_of('"%04d-01-05"', '"%04d-1-5"', '"%04d0105"'), 2000 + $_[0] }, bad => [ '"2026-02-30"', '"x"', 'true' ] },
	time => { good => sub { one_of('"03:04:05"', '"23:59:59.999999"', '"24:00"', '"3:4"') }, key => sub { sprintf '"%02d:%02d"', $_[0] / 60 % 24, $_[0] % 60 }, bad => ['"25:00"'] },
	'time(1)' => { good => sub { one_of('"03:04:05.06"', '"23:59:59.99"') }, key => sub { sprintf '"%02d:%02d:00.%02d"', $_[0] / 60 % 24, $_[0] % 60, between(0, 4) }, bad => ['"12:61"'] },
	timetz => { good => sub { one_of('"03:04:05+02"', '"23:59:59Z"') }, key => sub { sprintf '"%02d:%02d%s"', $_[0] / 60 % 24, $_[0] % 60, one_of('Z', '+00', '+02') }, bad => ['"3 o clock"'] },
	timestamp => { good => sub { '"' . one_of(@moments) . '"' }, key => sub { sprintf '"%04d-01-01%s00:00:00"', 2000 + $_[0], one_of(' ', 'T') }, bad => \@bad_moments },
	'timestamp(0)' => { good => sub { '"' . one_of(@moments) . '"' }, key => sub { sprintf '"%04d-01-01 00:00:00.%d"', 2000 + $_[0], between(0, 4) }, bad => \@bad_moments },
	timestamptz => { good => sub { '"' . one_of(@moments) . '"' },
		key => sub { my $z = between(0, 2); sprintf '"%04d-01-01%s%02d:00:00%s"', 2000 + $_[0], one_of(' ', 'T'), $z, $z ? "+0$z" : one_of('Z', '+00', '+00:00', '.000Z') }, bad => \@bad_moments },
	'timestamptz(3)' => { good => sub { '"' . one_of(@moments) . '"' }, key => sub { sprintf '"2026-01-01 00:00:00.%03d%dZ"', $_[0], between(0, 4) }, bad => \@bad_moments },
	interval => { good => sub { one_of('"1 day 02:03:04.5"', '"P1DT2H"', '"-3 mons"', '"1 year 2 mons"') }, key => sub { one_of("\"$_[0] days\"", '"' . 24 * $_[0] . ' hours"') }, bad => [ '"soon"', '"1 dayz"' ] },
	uuid => { good => sub { sprintf '"%08x-0000-4000-8000-%012x"', rand 2**32, rand 2**31 },
		key => sub { my $u = sprintf '%08x-abcd-4000-8000-%012x', ($_[0]) x 2; sprintf one_of('"%s"', '"{%s}"'), chance(0.5) ? uc $u : $u }, bad => [ '"no uuid"', '7' ] },
	json => { good => sub { one_of('{"x": [1, 2.50, "\u0041"]}', '"s"', '5', '[ ]', '{"a":1,"a":2}', '-0') }, bad => [ '"\ud800"', '"\u0000"' ], nokey => 1 },
	jsonb => { good => sub { one_of('{"x": [1, 2.50, "\u0041"]}', '"s"', '1e2', '[]', '{"b":1,"a":{"c":null},"b":2}') },
		key => sub { my $n = $_[0]; one_of(qq({"a":$n,"b":1}), qq({"b": 1.0, "a": $n}), qq({"b":2,"a":$n.0,"b":1})) }, bad => [ '"\u0000"', '"\udc00"' ], gin => 1 },
	inet => { good => sub { one_of('"10.0.0.1/8"', '"::1"', '"192.168.1.5"') }, key => sub { sprintf '"10.0.%d.%d%s"', $_[0] >> 8, $_[0] & 255, one_of('', '/32') }, bad => ['"10.0.0.256"'] },
	macaddr => { good => sub { '"08:00:2b:01:02:03"' }, key => sub { sprintf one_of('"08:00:2b:00:%02x:%02x"', '"08002b00%02x%02x"'), $_[0] >> 8, $_[0] & 255 }, bad => ['"xx"'] },
	'bit(4)' => { good => sub { '"' . join('', map { between(0, 1) } 1 .. 4) . '"' }, key => sub { sprintf one_of('"%04b"', '"B%04b"', '"x%x"'), $_[0] % 16 }, narrow => 1, bad => [ '"011"', '"01012"' ] },
	'varbit(6)' => { good => sub { '"' . '01' x between(0, 3) . '"' }, key => sub { sprintf '"%b"', $_[0] % 64 }, narrow => 1, bad => ['"0000000"'] },
	'public.colour' => { good => sub { one_of(qw("red" "green" "blue")) }, key => sub { (qw("red" "green" "blue"))[ $_[0] % 3 ] }, narrow => 1, bad => [ '"pink"', '1' ] },
	'public.small' => { good => sub { integer(999) }, key => sub { spelled($_[0]) }, bad => [ '1000', '"x"' ] },
	'public.required' => { good => sub { js('r' . text_value()) }, key => sub { js("k$_[0]") }, bad => [ 'null', '""' ], never_null => 1 },
	'public.padded' => { good => sub { one_of('"a"', '"ab   "') }, key => sub { one_of(js("k$_[0]"), js("k$_[0] ")) }, bad => [ '"abcdef"', '"no"' ] },
	'public.amount' => { good => sub { one_of(@numbers) }, key => \&same_number, bad => [ '-1000', '1e9' ] },
	'int4[]' => { good => sub { one_of('[1,2,null]', '[[1],[2]]', '[]', '"{3,4}"', '"[0:1]={1,2}"', '[[[1,2]],[[3,null]]]') }, key => sub { one_of("[1,$_[0]]", "\"{1,$_[0]}\"") }, bad => [ '[1,"x"]', '[[1],[1,2]]', '1' ], gin => 1 },
	'text[]' => { good => sub { one_of('["a","b c",null]', '[["\u00e9"],["\\""]]', '[]') }, key => sub { "[\"k$_[0]\"]" }, bad => [ '["a",["b"]]', '["\u0000"]' ], gin => 1 },
	'numeric(6,2)[]' => { good => sub { one_of('[1.5,2.005]', '["NaN"]') }, key => sub { '[' . same_number($_[0]) . ']' }, bad => ['[100000]'] },
	'public.small[]' => { good => sub { one_of('[1,2]', '[null]') }, key => sub { "[$_[0]]" }, bad => ['[1,1000]'] },
	'public.pair' => { good => sub { one_of('{"a":1,"b":"x"}', '{"b":null,"c":1.5}', '"(1,x,)"', '{}', '{"a":"5","z":[]}') }, key => sub { my $n = $_[0]; one_of(qq({"a":$n}), qq({"a":"$n","b":null}), qq("($n,,)")) }, bad => [ '{"a":"x"}', '{"c":100000}', '[1]' ] },
	'public.pair[]' => { good => sub { one_of('[{"a":1},{"b":"x"}]', '[null]') }, key => sub { "[{\"a\":$_[0]}]" }, bad => ['[{"a":"x"}]'] },
	'public.nest' => { good => sub { one_of('{"p":{"a":1},"q":[{"b":"y"}],"s":5}', '{"q":[],"s":1}', '{"s":2}') }, key => sub { "{\"p\":{\"a\":$_[0]},\"s\":1}" }, bad => [ '{"s":1000}', '{"p":{"c":"x"}}' ] },
	int4range => { good => sub { one_of('"[1,5)"', '"(1,5]"', '"empty"', '"[,3]"') }, key => sub { my $n = $_[0]; one_of("\"[$n," . ($n + 1) . ')"', "\"[$n,$n]\"") }, bad => [ '"[5,1)"', '"1,2"' ] },
	numrange => { good => sub { one_of('"[1.0,2.50)"', '"(,)"') }, key => sub { one_of("\"[$_[0],5000]\"", "\"[$_[0].0,5000.00]\"") }, bad => ['"[2,1]"'] },
	tstzrange => { good => sub { '"[2026-01-01 00:00:00+00,2026-02-01 00:00:00+01)"' }, key => sub { sprintf '"[%04d-01-01 00:00Z,)"', 2000 + $_[0] }, bad => ['"[x,)"'] },
	tsvector => { good => sub { '"a b:1 c:2A"' }, key => sub { "\"k$_[0]\"" }, bad => [], gin => 1 },
	point => { good => sub { one_of('"(1,2)"', '"3.5,-0"') }, bad => ['"(1"'], nokey => 1 },
);

sub type { return $types{ $_[0] }; }
sub type_names { return sort keys %types; }

1;
