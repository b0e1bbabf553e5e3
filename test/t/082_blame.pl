# Which record a worker halts at, and what it does not blame on any.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main');
my $kafka = shared_broker();

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Values into partition 0 of the topic, as one batch where they are few: of the producer
# too, else a worker may have the first of them before the next is there.
sub produce
{
	my ($topic, @values) = @_;
	my $script = $kafka->script('linger.ms' => 120_000)->to($topic);

	$script->P(0, ref $_ ? @$_ : (undef, $_)) foreach @values;
	$script->F;
	$script->end;
	return;
}

sub create_sink
{
	my ($sink, $topic, $settings) = @_;

	sql(qq{BEGIN;
		SELECT kafka_sink.create_sink('$sink', server => 'kafka', target => '$sink', retry_within => '0 s', $settings);
		SELECT kafka_sink.register_topic('$sink', '$topic');
		COMMIT});
	return;
}

sub halts_at
{
	my ($sink, $off, $sqlstate, $stored, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, "SELECT state, off, sqlstate FROM kafka_sink.sinks WHERE sink = '$sink'", "halted|$off|$sqlstate", "$what: it halts at $off");
	is(sql("SELECT off FROM kafka_sink.txn_offsets WHERE sink = '$sink'"), $stored, 'what can be applied before it is');
	return;
}

create_server($node, $kafka);

# --- a tree whose children come first ---

my $tree = '(id int PRIMARY KEY, parent int REFERENCES %s DEFERRABLE INITIALLY %s, n int CHECK (n < 100))';
my $topic = $kafka->topic('tree', 1);

produce($topic, '{"id": 1, "parent": 2}', '{"id": 2}', '{"id": 3, "n": 1000}', '{"id": 4}');
foreach my $mode (qw(immediate deferred))
{
	sql("CREATE TABLE tree_$mode " . sprintf $tree, "tree_$mode", $mode);
	create_sink("tree_$mode", $topic, "on_error => 'stop'");
	halts_at("tree_$mode", 2, 23514, 2, "$mode, the child of a later record is not to blame");
	like(sql("SELECT hint FROM kafka_sink.sinks WHERE sink = 'tree_$mode'"), qr/or pass over the record with kafka_sink\.skip\('tree_$mode', '$topic', 0, 2\)/, 'and the hint names the record');
	sql("SELECT kafka_sink.skip('tree_$mode', '$topic', 0, 2); SELECT kafka_sink.resume('tree_$mode')");
	wait_until($node, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM tree_$mode", '1 2 4', 'without it the sink goes on');
}

# what needs what is behind the bad record is not committed, and not blamed either
$topic = $kafka->topic('needs', 1);
produce($topic, '{"id": 1, "parent": 4}', '{"id": 2}', '{"id": 3, "n": 1000}', '{"id": 4}');
sql('CREATE TABLE needs ' . sprintf $tree, 'needs', 'immediate');
create_sink('needs', $topic, "on_error => 'stop'");
halts_at('needs', 2, 23514, 0, 'a record needs a later one');
like(sql("SELECT hint FROM kafka_sink.sinks WHERE sink = 'needs'"), qr/on_error => 'dead_letter'/, 'the hint tells what to do');
sql("SELECT kafka_sink.alter_sink('needs', on_error => 'dead_letter'); SELECT kafka_sink.resume('needs')");
wait_until($node, 'SELECT string_agg(id::text, \' \' ORDER BY id) FROM needs', '1 2 4', 'and that does it');
is(sql("SELECT string_agg(off || ' ' || sqlstate, ', ') FROM kafka_sink.dead_letters WHERE sink = 'needs'"), '2 23514', 'one record is bad');

# what is before those is committed and counted, once
foreach my $bad ('1000', '"x"')
{
	my $name = $bad =~ /x/ ? 'needs_text' : 'needs_more';
	my $t = $kafka->topic($name, 1);
	produce($t, '{"id": 5}', '{"id": 6}', '{"id": 1, "parent": 4}', '{"id": 2}', qq({"id": 3, "n": $bad}), '{"id": 4}');
	sql("CREATE TABLE $name " . sprintf $tree, $name, 'immediate');
	create_sink($name, $t, "on_error => 'stop'");
	halts_at($name, 4, $bad =~ /x/ ? '22P02' : '23514', 2, "$name: others need a later one");
	is(sql("SELECT consumed, applied FROM kafka_sink.txn_offsets WHERE sink = '$name'"), '2|2', 'and is counted once');
}

# --- deferred constraints are deferred in each attempt ---

$topic = $kafka->topic('moved', 1);
sql('CREATE TABLE moved ' . sprintf $tree, 'moved', 'deferred');
sql('INSERT INTO moved VALUES (1, NULL), (2, 1)');
produce($topic, '{"id": 5}', '{"id": 6, "n": 1000}', [ '1', undef ], '{"id": 2, "parent": null}', '{"id": 7, "n": 1000}', '{"id": 8, "parent": 99}');
create_sink('moved', $topic, "on_error => 'dead_letter', insert_mode => 'upsert', delete_enabled => true");
wait_until($node, q{SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'moved'}, 6, 'a delete that a later record makes legal');
is(sql('SELECT string_agg(id::text, \' \' ORDER BY id) FROM moved'), '2 5', 'is done');
is(sql("SELECT string_agg(off || ' ' || sqlstate, ', ' ORDER BY off) FROM kafka_sink.dead_letters WHERE sink = 'moved'"), '1 23514, 4 23514, 5 23503', 'the others are dead letters');

# --- a name may be that of several constraints ---

# beside a namesake that cannot be deferred, what is deferred is checked once for each row that is written
$topic = $kafka->topic('counted', 1);
sql(q{CREATE TABLE counted (id int PRIMARY KEY, n int CHECK (n < 100));
	CREATE SEQUENCE checks;
	CREATE FUNCTION count_check() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM nextval('public.checks'); RETURN NULL; END$$;
	CREATE CONSTRAINT TRIGGER namesake AFTER INSERT ON counted DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_check();
	CREATE TABLE not_counted (a int CONSTRAINT namesake CHECK (a > 0))});
produce($topic, map { $_ % 4 == 3 ? qq({"id": $_, "n": 1000}) : qq({"id": $_}) } 0 .. 399);
create_sink('counted', $topic, "on_error => 'dead_letter'");
wait_until($node, q{SELECT off, dead_lettered FROM kafka_sink.txn_offsets WHERE sink = 'counted'}, '400|100', 'many bad records');
cmp_ok(sql('SELECT last_value FROM checks'), '<', 4000, 'which cost checks of the others that are linear in their number');

# of others, which need not be deferrable, or are not deferred; of a domain; of one that is like it
my %namesakes = (
	check => 'CREATE TABLE other (a int CONSTRAINT same CHECK (a > 0))',
	immediate => 'CREATE TABLE other (a int CONSTRAINT same REFERENCES named DEFERRABLE)',
	domain => 'CREATE DOMAIN positive int CONSTRAINT same CHECK (VALUE > 0); CREATE TABLE other (a positive)',
	deferred => 'CREATE TABLE other (a int CONSTRAINT same REFERENCES named DEFERRABLE INITIALLY DEFERRED, CHECK (a > 0))');

$topic = $kafka->topic('named', 1);
produce($topic, '{"id": 5, "second": 5}', '{"id": 6, "n": 1000}', [ '1', undef ], '{"id": 2, "parent": null}', '{"id": 7, "n": 1000}', '{"id": 8, "parent": 99}');
foreach my $kind (sort keys %namesakes)
{
	sql(qq{CREATE SCHEMA named_$kind; SET search_path = named_$kind;
		CREATE TABLE named (id int PRIMARY KEY, parent int CONSTRAINT same REFERENCES named DEFERRABLE INITIALLY DEFERRED,
			second int REFERENCES named DEFERRABLE INITIALLY DEFERRED, n int CHECK (n < 100));
		$namesakes{$kind};
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			BEGIN
				INSERT INTO named_$kind.other VALUES (-1);
			EXCEPTION WHEN integrity_constraint_violation THEN
				NULL;
			END;
			RETURN NULL;
		END\$\$;
		CREATE TRIGGER note AFTER INSERT ON named FOR EACH ROW EXECUTE FUNCTION note();
		INSERT INTO named VALUES (1, NULL), (2, 1);
		DELETE FROM other;
		BEGIN;
		SELECT kafka_sink.create_sink('named_$kind', server => 'kafka', target => 'named', retry_within => '0 s', on_error => 'dead_letter',
			insert_mode => 'upsert', delete_enabled => true);
		SELECT kafka_sink.register_topic('named_$kind', '$topic');
		COMMIT});
}
my $all_at = sub {
	my ($off) = @_;

	wait_until($node, "SELECT off FROM kafka_sink.txn_offsets WHERE sink = 'named_$_'", $off, "a constraint's namesake, $_: nothing stops it before $off")
	  foreach sort keys %namesakes;
};
$all_at->(6);
# the next batch of the same process, and one behind the rename of a schema that has another
produce($topic, '{"id": 9, "parent": 10}', '{"id": 10}');
$all_at->(8);
sql('CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.t (a int CONSTRAINT moving REFERENCES tree_deferred DEFERRABLE INITIALLY DEFERRED)');
produce($topic, '{"id": 16, "n": 1000}', '{"id": 17}');
$all_at->(10);
sql('ALTER SCHEMA elsewhere RENAME TO somewhere');
produce($topic, '{"id": 11, "second": 12}', '{"id": 12, "parent": 11}', '{"id": 13, "n": 1000}', '{"id": 14, "parent": 15}', '{"id": 15}');
$all_at->(15);
foreach my $kind (sort keys %namesakes)
{
	is(sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM named_$kind.named"), '2 5 9 10 11 12 14 15 17', "$kind: rows");
	is(sql("SELECT string_agg(off || ' ' || sqlstate, ', ' ORDER BY off) FROM kafka_sink.dead_letters WHERE sink = 'named_$kind'"),
		'1 23514, 4 23514, 5 23503, 8 23514, 12 23514', "$kind: dead letters");
}

# preview() leaves the caller's modes alone
is( sql(q{
	SELECT kafka_sink.pause('moved'), kafka_sink.seek('moved', 'earliest');
	BEGIN;
	SET CONSTRAINTS tree_immediate_parent_fkey DEFERRED;
	SELECT count(*) FROM kafka_sink.preview('moved', 6, timeout => '2 min');
	INSERT INTO tree_immediate VALUES (10, 11);
	INSERT INTO moved VALUES (20, 21);
	INSERT INTO tree_immediate VALUES (11);
	INSERT INTO moved VALUES (21);
	COMMIT;
	SELECT count(*) FROM tree_immediate WHERE id > 9}) =~ s/^.*\n//sr, 2, 'what the caller has deferred stays deferred');

# --- a right that is missing to a trigger halts the sink, and drops nothing ---

$topic = $kafka->topic('rights', 1);
my $other = $kafka->topic('rights_too', 1);
sql(q{
	CREATE ROLE owner LOGIN;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO owner;
	GRANT CREATE ON SCHEMA public TO owner;
	GRANT USAGE ON FOREIGN SERVER kafka TO owner;
	SET ROLE owner;
	CREATE TABLE rights (id int PRIMARY KEY, v int);
	CREATE TABLE audit (id int);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN IF new.v > 1 THEN INSERT INTO public.audit VALUES (new.id); END IF; RETURN new; END$$;
	CREATE TRIGGER note BEFORE INSERT ON rights FOR EACH ROW EXECUTE FUNCTION note();
	REVOKE INSERT ON audit FROM owner;
});
produce($topic, map { qq({"id": $_, "v": $_}) } 0 .. 5);
sql(qq{SET ROLE owner; BEGIN;
	SELECT kafka_sink.create_sink('rights', server => 'kafka', target => 'rights', on_error => 'ignore');
	SELECT kafka_sink.register_topic('rights', '$topic'), kafka_sink.register_topic('rights', '$other');
	COMMIT});
wait_until($node, "SELECT state, topic, off, sqlstate, halted_topics FROM kafka_sink.sinks WHERE sink = 'rights'", "halted|$topic|2|42501|",
	'the sink halts as a whole, where it met it');
is(sql("SELECT off, applied, ignored FROM kafka_sink.txn_offsets WHERE sink = 'rights' AND topic = '$topic'"), '2|2|0', 'nothing is dropped');
sql(q{GRANT INSERT ON audit TO owner; SELECT kafka_sink.resume('rights')});
wait_until($node, 'SELECT count(*) FROM rights', 6, 'once it may, all is there');

# --- bad text, of whatever class its error is, holds nobody ---

$topic = $kafka->topic('text', 1);
produce($topic, '{"id": 1, "v": "a"}', q({"id": 2, "v": "'"}), '{"id": 3, "c": "no_such_table"}', '{"id": 4, "c": "pg_class"}');
sql('CREATE TABLE words (id int PRIMARY KEY, v tsvector, c regclass)');
create_sink('words', $topic, "on_error => 'dead_letter'");
wait_until($node, 'SELECT string_agg(id::text, \' \' ORDER BY id) FROM words', '1 4', 'good records behind bad text');
is(sql("SELECT string_agg(off || ' ' || sqlstate || ' ' || column_name, ', ' ORDER BY off) FROM kafka_sink.dead_letters WHERE sink = 'words'"),
	'1 42601 v, 2 42P01 c', 'which is in dead letters');

$node->stop('fast');
done_testing();
