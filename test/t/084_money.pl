# Money where the database's locale has a comma for the point.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

# a locale of our own, since the machine may have none
my $locales = PostgreSQL::Test::Utils::tempdir();

plan skip_all => 'no source of the locale de_DE, or nothing to compile it with'
  unless -r '/usr/share/i18n/locales/de_DE' && system("localedef -i de_DE -f UTF-8 $locales/de_DE.utf8 >/dev/null 2>&1") == 0;
$ENV{LOCPATH} = $locales;

my $node = new_node('main');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub put
{
	my ($sink, $value) = @_;

	return sql(qq{SELECT kafka_sink.ingest('$sink', ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, convert_to('$value', 'UTF8'), NULL)::kafka_sink.record])});
}

sql(q{ALTER DATABASE postgres SET lc_monetary = 'de_DE.utf8';
	CREATE TABLE bills (id int, m money, ms money[]);
	SELECT kafka_sink.create_sink('bills', target => 'bills'), kafka_sink.create_sink('changes', target => 'bills', envelope => 'connect')});
is(sql(q{SELECT '1.234,50'::money::numeric}), '1234.50', 'text has a comma');
put('bills', '{"id": 1, "m": 1234.5, "ms": [0.05, -7, 1e3]}');
put('bills', '{"id": 2, "m": "1.234,50", "ms": ["0,05", "-7", "1.000"]}');
put('changes', '{"schema": {"type": "struct", "fields": [{"field": "id", "type": "int32"}, {"field": "m", "type": "bytes", '
	  . '"name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}]}, "payload": {"id": 3, "m": "AeI6"}}');
is(sql('SELECT id, m::numeric, ms[1]::numeric, ms[2]::numeric, ms[3]::numeric FROM bills ORDER BY id'),
	"1|1234.50|0.05|-7.00|1000.00\n2|1234.50|0.05|-7.00|1000.00\n3|1234.50|||", 'numbers, and decimals, have a point');

done_testing();
