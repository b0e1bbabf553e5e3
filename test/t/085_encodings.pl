# Databases in other encodings than UTF8: what becomes of characters that these have, and
# that they do not have, as bytes and as escapes, where a column takes them and elsewhere.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', extension => 0);
my ($cafe, $euro) = ("caf\xc3\xa9", "\xe2\x82\xac");

# [ what, record, in LATIN1, in SQL_ASCII ]: the bytes of the column, or the error
my @cases = (
	[ 'a character that LATIN1 has', qq({"v": "$cafe"}), '\x636166e9', '\x636166c3a9' ],
	[ 'its escape', '{"v": "caf\u00e9"}', '\x636166e9', '0A000' ],
	[ 'one that it does not have', qq({"v": "$euro"}), '22P05', '\xe282ac' ],
	[ 'its escape', '{"v": "\u20ac"}', '22P05', '0A000' ],
	[ 'in a value that nobody takes', qq({"v": "x", "w": "$euro"}), '22P05', '\x78' ],
	[ 'its escape', '{"v": "x", "w": "\u20ac"}', '\x78', '\x78' ],
	[ 'in a name that is no column', qq({"v": "x", "$euro": 1}), '22P05', '\x78' ],
	[ 'its escape', '{"v": "x", "\u20ac": 1}', '22P05', '0A000' ],
	[ 'an escape of ASCII', '{"\u0076": "\u0078"}', '\x78', '\x78' ],
	[ 'bytes that are no UTF-8', qq({"v": "caf\xe9"}), '22021', '22021' ]);

foreach my $encoding ('LATIN1', 'SQL_ASCII')
{
	my $db = lc $encoding;
	my $sql = sub { return $node->safe_psql($db, $_[0]); };

	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	$sql->(q{
		CREATE EXTENSION kafka_sink;
		CREATE TABLE t (v text);
		SELECT kafka_sink.create_sink('s', target => 't');
		CREATE FUNCTION try(value bytea) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			DELETE FROM t;
			PERFORM kafka_sink.ingest('s', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, value, NULL)::kafka_sink.record]);
			RETURN (SELECT v::bytea FROM t);
		EXCEPTION WHEN OTHERS THEN
			RETURN sqlstate;
		END$$;
	});
	foreach (@cases)
	{
		my ($what, $record, %expected) = ($_->[0], $_->[1], LATIN1 => $_->[2], SQL_ASCII => $_->[3]);

		is($sql->("SELECT try('\\x" . unpack('H*', $record) . "')"), $expected{$encoding}, "$encoding: $what");
	}
}

done_testing();
