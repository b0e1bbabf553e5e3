# The code of a sink's owner in the session of somebody who may become the owner:
# whatever it tries, it stays the owner, and leaves nothing behind.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $kafka = shared_broker();
my $node = new_node('main');
my $loot = $node->basedir . '/loot';

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What a statement says to a role, as stdout and stderr.
sub as_role
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) =
	  $node->psql('postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ], on_error_stop => 0);

	return wantarray ? ($out, $err) : $out . $err;
}

my $super = sql('SELECT current_user');

# What was got by code that was somebody else; it is outside of the database, so
# that no rollback takes it away.
sub loot
{
	my $found = -e $loot ? slurp_file($loot) : '';

	unlink $loot;
	return $found;
}

create_server($node, $kafka);
sql(q{
	CREATE ROLE app LOGIN;
	CREATE ROLE alice LOGIN;
	GRANT app TO alice;
	CREATE SCHEMA app AUTHORIZATION app;
	GRANT USAGE ON FOREIGN SERVER kafka TO app;
	GRANT EXECUTE ON FUNCTION kafka_sink.create_sink TO app;
	CREATE TABLE alices (secret text);
	INSERT INTO alices VALUES ('what only alice knows');
	ALTER TABLE alices OWNER TO alice;
});

# Tries to be who the session was before, in all ways, and says so in a file if it
# is; and tries to leave things behind that will run later.
sql(qq{
	SET ROLE app;
	CREATE FUNCTION app.rob(place text) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		IF current_setting('is_superuser') = 'on' THEN
			EXECUTE format('COPY (SELECT %L) TO PROGRAM %L', place, 'cat >> $loot');
			ALTER ROLE app SUPERUSER;
		ELSE
			PERFORM secret FROM public.alices;
			RAISE WARNING 'robbed in %', place;
		END IF;
	END \$\$;
	CREATE FUNCTION app.trap(place text) RETURNS boolean LANGUAGE plpgsql AS \$\$
	DECLARE
		way text;
	BEGIN
		FOREACH way IN ARRAY ARRAY['SELECT set_config(''role'', ''none'', false)', 'SELECT set_config(''role'', ''none'', true)',
			'RESET ROLE', 'SET ROLE NONE', 'SET LOCAL ROLE NONE', 'SET SESSION AUTHORIZATION DEFAULT', 'RESET SESSION AUTHORIZATION',
			'SET SESSION AUTHORIZATION $super', 'SET LOCAL ROLE $super', 'SET ROLE alice',
			'SELECT set_config(''session_authorization'', ''$super'', false)', 'RESET ALL', 'DISCARD ALL']
		LOOP
			BEGIN
				EXECUTE way;
				PERFORM app.rob(place);
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
		FOREACH way IN ARRAY ARRAY['SET search_path = app, public', 'SET check_function_bodies = off',
			'PREPARE left_behind AS SELECT app.rob(''prepared'')', 'LISTEN left_behind',
			'DECLARE left_behind CURSOR WITH HOLD FOR SELECT app.rob(''cursor'')',
			'CREATE TEMP TABLE left_behind (id int DEFAULT 1 CHECK (app.trap(''temporary'')))']
		LOOP
			BEGIN
				EXECUTE way;
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
		RETURN true;
	END \$\$;
	CREATE FUNCTION app.trap() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN PERFORM app.trap(tg_argv[0]); RETURN new; END';
	CREATE FUNCTION app.fixed_trap(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
		'BEGIN PERFORM app.trap(''index''); RETURN x; END';
	CREATE DOMAIN app.number AS int CHECK (app.trap('domain'));
	CREATE TABLE app.t (id int PRIMARY KEY, n app.number, d bool DEFAULT app.trap('default'), CHECK (app.trap('check')));
	CREATE INDEX ON app.t (app.fixed_trap(id));
	CREATE TRIGGER before BEFORE INSERT OR UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.trap('before');
	CREATE TRIGGER after AFTER INSERT OR UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.trap('after');
	CREATE TRIGGER statement AFTER INSERT OR UPDATE ON app.t EXECUTE FUNCTION app.trap('statement');
	CREATE TABLE app.later (id int PRIMARY KEY);
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.later DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION app.trap('late');
	CREATE TABLE app.hidden (id int PRIMARY KEY);
	CREATE FUNCTION app.defer() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO app.later VALUES (new.id); RETURN new; END';
	CREATE TRIGGER hidden AFTER INSERT ON app.hidden FOR EACH ROW EXECUTE FUNCTION app.defer();
	CREATE TABLE app.quiet (id int PRIMARY KEY, n int);
	CREATE TABLE app.hiding (id int PRIMARY KEY, n int);
	CREATE FUNCTION app.hide() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		IF new.n = 1 THEN
			CREATE DOMAIN pg_temp.timestamptz AS pg_catalog.timestamptz CHECK (app.trap('type'));
		ELSE
			CREATE FUNCTION pg_temp.now() RETURNS pg_catalog.timestamptz LANGUAGE sql AS 'SELECT pg_catalog.now()';
		END IF;
		RETURN new;
	END \$\$;
	CREATE TRIGGER hide BEFORE INSERT ON app.hiding FOR EACH ROW EXECUTE FUNCTION app.hide();
});
unlink $loot;

# --- the trap is one ---

sql('SET ROLE app; INSERT INTO app.t VALUES (0, 0)');
like(loot(), qr/before/, 'an INSERT falls into the trap');
is(sql(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'app'; ALTER ROLE app NOSUPERUSER}), 't', 'and makes a superuser');
sql('SET ROLE app; INSERT INTO app.later VALUES (0)');
like(loot(), qr/late/, 'so does a deferred trigger');
like(as_role('alice', 'SET ROLE app; INSERT INTO app.t VALUES (-1, 0)'), qr/robbed in before/, 'an ordinary role is robbed, too');
sql('ALTER ROLE app NOSUPERUSER; TRUNCATE app.t, app.later');
loot();

# --- who calls ---

my $topic = $kafka->topic('traps', 1);
$kafka->produce($topic, 0, map { [ $_, qq({"id": $_, "n": $_}) ] } 1 .. 3);

# Each with whoever is called by the sink's own settings.
as_role('app', qq{
	SELECT kafka_sink.create_sink('t', server => 'kafka', target => 'app.t', insert_mode => 'upsert', enabled => false,
		on_error => 'dead_letter', filter => 'app.trap(''filter'')', update_if => 'app.trap(''update_if'')');
	SELECT kafka_sink.create_sink('c', server => 'kafka', enabled => false,
		command => 'INSERT INTO app.quiet SELECT (value->>''id'')::int FROM batch WHERE app.trap(''command'') ON CONFLICT DO NOTHING');
	SELECT kafka_sink.create_sink('late', server => 'kafka', target => 'app.later', insert_mode => 'ignore', enabled => false);
	SELECT kafka_sink.create_sink('hidden', server => 'kafka', target => 'app.hidden', insert_mode => 'ignore', enabled => false);
	SELECT kafka_sink.register_topic(sink, '$topic') FROM unnest('{t,c,late,hidden}'::text[]) sink;
});
is(sql('SELECT count(*) FROM kafka_sink.sinks'), '4', 'four sinks');

my %record = map { $_ => "ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, '$_', NULL)::kafka_sink.record]" }
  ('{"id": 1, "n": 1}', '{"id": 2, "n": 2}', '{"id": 3}', 'bad');
my $record = $record{'{"id": 1, "n": 1}'};
my $left = q{
	SELECT current_setting('search_path'), current_setting('check_function_bodies'), (SELECT count(*) FROM pg_prepared_statements),
		(SELECT count(*) FROM pg_cursors WHERE is_holdable), (SELECT count(*) FROM pg_listening_channels()),
		to_regclass('pg_temp.left_behind') IS NULL, to_regtype('timestamptz') = 'pg_catalog.timestamptz'::regtype;
};
my $nothing = '"$user", public|on|0|0|0|t|t';

my %callers = (
	'SET ROLE' => [ $super, 'SET ROLE app' ],
	'SET SESSION AUTHORIZATION' => [ $super, 'SET SESSION AUTHORIZATION app' ],
	'both' => [ $super, 'SET SESSION AUTHORIZATION alice; SET ROLE app' ],
	'an ordinary role' => [ 'alice', 'SET ROLE app' ]);
foreach my $caller (sort keys %callers)
{
	my ($role, $become) = @{ $callers{$caller} };

	foreach my $sink ('t', 'c')
	{
		my @calls = (
			"SELECT (kafka_sink.ingest('$sink', $record)).applied >= 0",
			"SELECT count(*) >= 0 FROM kafka_sink.preview('$sink', timeout => '3 min')",
			"CALL kafka_sink.run('$sink', timeout => '3 min')");

		splice @calls, 1, 0, "SELECT (kafka_sink.ingest('t', $record{bad})).dead_lettered > 0",
		  "SELECT (kafka_sink.retry_dead_letters('t')).consumed > 0", "SELECT kafka_sink.discard_dead_letters('t') > 0"
		  if $sink eq 't';
		foreach my $call (@calls)
		{
			my ($out, $err) = as_role($role, "$become; $call; $left");

			is($out, ($call =~ /^CALL/ ? '' : "t\n") . $nothing, "$caller, $call: nothing is left behind");
			unlike($err, qr/ERROR|robbed/, 'nor robbed');
			is(loot(), '', 'nor more than that');
		}
		sql("SELECT kafka_sink.seek('$sink', 'earliest'); TRUNCATE app.t, app.quiet");
	}
}
is(sql(q{SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper}), $super, 'no superuser was made');

# a function of the owner's is another way to become the owner
sql(qq{
	SET ROLE app;
	CREATE FUNCTION app.feed(sink text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
		\$\$SELECT (kafka_sink.ingest(sink, $record)).applied\$\$;
});
is(sql("SELECT app.feed('t')"), '1', 'a security definer function of the owner');
is(loot(), '', 'it stays the owner');
like((as_role($super, "SELECT app.feed('late')"))[1], qr/ERROR:  42501: cannot fire deferred trigger/, 'and leaves nothing for later');

# --- what is deferred ---

my ($out, $err) = as_role($super, "SET ROLE app; SELECT (kafka_sink.ingest('late', $record)).applied");
like($err, qr/ERROR:  42501: cannot fire deferred trigger within security-restricted operation
DETAIL:  The session is not that of "app", who owns sink "late": .*
HINT:  SET CONSTRAINTS ALL IMMEDIATE first, or connect as app\./, 'a deferred trigger is refused in a transaction of somebody else\'s');
is(loot(), '', 'it did not run');
is((as_role($super, "SET ROLE app; BEGIN; SET CONSTRAINTS ALL IMMEDIATE; SELECT (kafka_sink.ingest('late', $record)).applied; COMMIT"))[0],
	'1', 'one that is not deferred is not');
is(loot(), '', 'and stays the owner');
sql('TRUNCATE app.later');
is((as_role($super, "SET ROLE app; SELECT string_agg(outcome, ' ') FROM kafka_sink.preview('late', timeout => '3 min')"))[0], 'applied applied applied',
	'preview has nothing deferred');
is((as_role($super, "SET ROLE app; CALL kafka_sink.run('late'); SELECT count(*) FROM app.later"))[0], '3', 'nor has run');
is(loot(), '', 'both as the owner');
sql('TRUNCATE app.later');
foreach ("SELECT kafka_sink.ingest('hidden', $record)", "SELECT kafka_sink.preview('hidden', timeout => '3 min')", "CALL kafka_sink.run('hidden')")
{
	like((as_role($super, "SET ROLE app; $_"))[1], qr/42501: cannot fire deferred trigger/, "a trigger that defers: $_");
	is(loot(), '', 'does not run');
}
is(sql('SELECT count(*) FROM app.hidden'), '0', 'and writes nothing');
# --- what hides things in the session's temporary schema ---

as_role('app', qq{
	SELECT kafka_sink.create_sink('hiding', server => 'kafka', target => 'app.hiding', enabled => false);
	SELECT kafka_sink.register_topic('hiding', '$topic')});
my $second = $record{'{"id": 2, "n": 2}'};
foreach my $call ("SELECT kafka_sink.ingest('hiding', $record)", "SELECT kafka_sink.ingest('hiding', $second)",
	"CALL kafka_sink.run('hiding')")
{
	($out, $err) = as_role($super, "CREATE TEMP TABLE mine (id int); SET ROLE app; $call; $left");
	like($err, qr/ERROR:  42501: (?:cannot create a type in a temporary schema within|code of sink "hiding" has made or dropped temporary)/,
		"temporary objects: $call");
	is($out, $nothing, 'none is there');
}
is(sql('SELECT count(*) FROM app.hiding'), '0', 'nor anything else');

# --- each transaction asks anew ---

as_role('app', "SELECT kafka_sink.alter_sink('t', batch_records => 1); SELECT kafka_sink.seek('t', 'earliest'); TRUNCATE app.t");
($out, $err) = as_role($super, q{DO $$BEGIN SET LOCAL ROLE app; CALL kafka_sink.run('t'); END$$});
like($err, qr/ERROR:  42501: must run as the owner of sink "t"\n.*\nHINT:  SET ROLE app first\./, 'SET LOCAL ROLE ends with the transaction');
is(loot(), '', 'nothing ran as the caller');
is(sql('SELECT count(*) FROM app.t'), '0', 'nor at all');
is((as_role($super, q{SET ROLE app; DO $$BEGIN CALL kafka_sink.run('t'); END$$; SELECT count(*) FROM app.t}))[0], '3', 'SET ROLE does not');
is(loot(), '', 'nothing ran as the caller');

# --- a definition is looked at as the owner, by whoever may change it ---

foreach my $role ($super, 'alice')
{
	($out, $err) = as_role($role, qq{
		SELECT kafka_sink.alter_sink('t', filter => 'app.fixed_trap(1) = 1');
		SELECT kafka_sink.alter_topic('t', '$topic', target => 'app.quiet', filter => 'app.fixed_trap(1) = 1');
		SELECT kafka_sink.alter_topic('t', '$topic', reset => '{target,filter}');
		$left});
	is($out, "\n\n\n$nothing", "$role changes a sink: nothing is left behind");
	unlike($err, qr/ERROR|robbed/, 'nor robbed');
	is(loot(), '', 'nor more than that');
}
is(sql(q{SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper}), $super, 'no superuser was made');

# --- a member of the owner's role who has not its privileges, or cannot become it ---

# All that shows something of sinks.
my @shown = map { "kafka_sink.$_" } qw(sinks sink_topics lag stat_sinks stat_partitions txn_offsets offset_history sink_history
  dead_letters visible_sinks worker_states);
my $shown = join ', ', map { "EXISTS (SELECT FROM $_)" } @shown;
my $all = join '|', map { /worker_states/ ? 'f' : 't' } @shown;	# there was no worker
my $none = join '|', ('f') x @shown;

# What the privileges are enough for, and what makes the owner's code another.
my @calls = ("pause('t')", "resume('t')", "seek('t', 'earliest')", "advance('l', 't', 0, 0, 10)", "claim('l', 't', 0, 0, 10)",
	"skip('t', '$topic', 0, 0)", "lag('t', false)", "discard_dead_letters('t')", "unregister_topic('c', '$topic')", "drop_sink('c')");
my @definitions = ("alter_sink('t', batch_records => 1)", "alter_sink('t', filter => 'true')", "register_topic('t', 'x')",
	"alter_topic('t', '$topic', target => 'open')");

sql(q{
	CREATE OR REPLACE FUNCTION app.rob(place text) RETURNS void LANGUAGE sql AS '';
	CREATE TABLE open (id int PRIMARY KEY);
	ALTER TABLE open OWNER TO app;
});
as_role('app', qq{SELECT kafka_sink.create_sink('l'); SELECT kafka_sink.advance('l', 't', 0, NULL, 0);
	SELECT kafka_sink.ingest('t', $record{bad}); SELECT kafka_sink.seek('t', 'earliest')});
is(sql("SELECT $shown"), $all, 'a superuser sees all of it');

# Refused, for the reason given; allowed, and rolled back.
sub refused
{
	my ($role, $why, @what) = @_;

	like(as_role($role, "SELECT kafka_sink.$_"), $why, "$role: $_ is refused") foreach @what;
	return;
}

sub allowed
{
	my ($role, @what) = @_;

	unlike(as_role($role, "BEGIN; SELECT kafka_sink.$_; ROLLBACK"), qr/ERROR/, "$role: $_") foreach @what;
	return;
}

my $noinherit = sub {
	my ($role, $hint) = @_;
	my $why = qr/ERROR:  42501: role "$role" does not inherit the privileges of the owner of sink "[tcl]"\n\Q$hint\E/;

	is(as_role($role, "SELECT $shown"), $none, "$role sees nothing");
	refused($role, $why, @calls, @definitions);
	refused($role, qr/42501: must run as the owner of sink "t"/, "ingest('t', $record)", "preview('t')", "retry_dead_letters('t')");
};

sql('CREATE ROLE stranger LOGIN; CREATE ROLE heir LOGIN; GRANT app TO heir; CREATE ROLE distant LOGIN NOINHERIT; GRANT app TO distant');
is(as_role('stranger', "SELECT $shown"), $none, 'a stranger sees nothing');
refused('stranger', qr/42501: must be a member of the owner of sink/, @calls, @definitions);
is(as_role('heir', "SELECT $shown"), $all, 'a member sees all');
allowed('heir', @calls, @definitions);
$noinherit->('distant', 'HINT:  SET ROLE app first.');
is(as_role('distant', "SET ROLE app; SELECT $shown"), $all, 'who becomes the owner sees all');
allowed('distant', "pause('t') FROM set_config('role', 'app', false)", "alter_sink('t', batch_records => 1) FROM set_config('role', 'app', false)");

SKIP:
{
	skip 'members have SET and INHERIT from PostgreSQL 16 on', 1 if sql('SHOW server_version_num') < 160000;

	sql(q{
		CREATE ROLE bare LOGIN; GRANT app TO bare WITH INHERIT FALSE, SET FALSE;
		CREATE ROLE setter LOGIN; GRANT app TO setter WITH INHERIT FALSE, SET TRUE;
		CREATE ROLE sharer LOGIN; GRANT app TO sharer WITH INHERIT TRUE, SET FALSE;
		CREATE ROLE chief LOGIN; GRANT app TO chief WITH INHERIT FALSE, SET FALSE, ADMIN TRUE;
	});
	foreach my $role ('bare', 'chief')
	{
		$noinherit->($role, 'LOCATION');
		like(as_role($role, 'SET ROLE app'), qr/42501: permission denied/, "and $role cannot become the owner");
	}
	$noinherit->('setter', 'HINT:  SET ROLE app first.');
	is(as_role('sharer', "SELECT $shown"), $all, 'with INHERIT it sees all');
	allowed('sharer', @calls);
	refused('sharer', qr/ERROR:  42501: must be able to SET ROLE "app" to change sink "t"\nDETAIL:  What a sink is told to do, it does as its owner\./,
		@definitions);

	# a session of a member's is not the owner's, although he has all of its privileges
	like(as_role('app', "SET ROLE sharer"), qr/42501: permission denied/, 'nor is the owner the member');
	($out, $err) = as_role('setter', "SET ROLE app; SELECT (kafka_sink.ingest('late', $record)).applied");
	like($err, qr/cannot fire deferred trigger/, 'nothing is left in a session of another role\'s');
}

# --- the owner's own session ---

($out, $err) = as_role('app', qq{
	SELECT (kafka_sink.ingest('hidden', $record)).applied;
	CALL kafka_sink.run('hidden');
	SELECT count(*) FROM app.later});
is($out, "1\n3", 'may defer');
unlike($err, qr/ERROR/, 'without an error');

done_testing();
