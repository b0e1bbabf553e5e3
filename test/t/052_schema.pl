# The extension's schema and tables are its own: not those of a role that made the
# schema before, owns it or one of the tables, or has put others in their place.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use KafkaSinkTest;

my $node = new_node('main', extension => 0);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What a statement says to a role, as stdout and stderr.
sub as_role
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ], on_error_stop => 0);

	return wantarray ? ($out, $err) : $out . $err;
}

my $super = sql('SELECT current_user');

my ($out, $err);

sub supers { return sql(q{SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolsuper}); }

sql('CREATE ROLE evil LOGIN; CREATE ROLE nobody LOGIN; GRANT CREATE ON DATABASE postgres TO evil');

# --- a schema made beforehand ---

is(as_role('evil', 'CREATE SCHEMA kafka_sink'), '', 'a role makes the schema beforehand');
like(as_role($super, 'CREATE EXTENSION kafka_sink'), qr/ERROR:  schema "kafka_sink" belongs to role "evil", who is no superuser
DETAIL:  Whoever owns it can replace what is in it, which others run\.
HINT:  Drop it, or ALTER SCHEMA kafka_sink OWNER TO $super\./, 'the extension does not take it');
is(as_role('evil', q{CREATE FUNCTION kafka_sink.create_sink(text) RETURNS void LANGUAGE sql AS ''}), '', 'with a trap in it');
sql("ALTER SCHEMA kafka_sink OWNER TO $super");
like(as_role($super, 'CREATE EXTENSION kafka_sink'), qr/ERROR:  schema "kafka_sink" has things in it that are not the extension's
DETAIL:  One is function create_sink\(text\)\.
HINT:  Drop them, or move them to another schema\./, 'nor what is in it');
sql('DROP SCHEMA kafka_sink CASCADE; CREATE SCHEMA kafka_sink; GRANT CREATE ON SCHEMA kafka_sink TO evil');
like(as_role($super, 'CREATE EXTENSION kafka_sink'), qr/ERROR:  schema "kafka_sink" is open to evil
DETAIL:  .*
HINT:  REVOKE CREATE ON SCHEMA kafka_sink FROM evil\./, 'nor a schema of its own that others may fill');
sql('REVOKE CREATE ON SCHEMA kafka_sink FROM evil; GRANT ALL ON SCHEMA kafka_sink TO PUBLIC');
like(as_role($super, 'CREATE EXTENSION kafka_sink'), qr/ERROR:  schema "kafka_sink" is open to PUBLIC/, 'nor everybody');
# operators of the types that the script compares: none but the server's own is run, not even to find these
is(as_role('evil', q{
	CREATE FUNCTION kafka_sink.rob(a oid, b integer) RETURNS boolean LANGUAGE plpgsql AS
		$$BEGIN RAISE WARNING 'robbed as %', current_user; RETURN a = b::oid; END$$;
	CREATE OPERATOR kafka_sink.= (LEFTARG = oid, RIGHTARG = integer, FUNCTION = kafka_sink.rob);
	CREATE OPERATOR kafka_sink.<> (LEFTARG = oid, RIGHTARG = integer, FUNCTION = kafka_sink.rob);
}), '', 'operators in it');
($out, $err) = as_role($super, 'CREATE EXTENSION kafka_sink');
like($err, qr/ERROR:  schema "kafka_sink" is open to PUBLIC/, 'the extension does not take it');
unlike($err, qr/robbed/, 'nor does its script run them');
sql('DROP FUNCTION kafka_sink.rob CASCADE');
sql('REVOKE ALL ON SCHEMA kafka_sink FROM PUBLIC; CREATE EXTENSION kafka_sink');
is(sql(q{SELECT extversion FROM pg_extension WHERE extname = 'kafka_sink'}), '0.2', 'an empty one of a superuser is as good as none');

# --- the same by an older version, which took what was there ---

sql('DROP EXTENSION kafka_sink; DROP SCHEMA kafka_sink');
as_role('evil', 'CREATE SCHEMA kafka_sink');
sql(q{CREATE EXTENSION kafka_sink VERSION '0.1'});
as_role('evil', q{CREATE FUNCTION kafka_sink.trap(text) RETURNS void LANGUAGE sql AS ''});
like(as_role($super, 'ALTER EXTENSION kafka_sink UPDATE'), qr/ERROR:  schema "kafka_sink" belongs to role "evil"/,
	'no update until the schema is the owner\'s');
like(as_role($super, q{SELECT kafka_sink.drop_sink('none')}), qr/ERROR:  schema "kafka_sink" belongs to role "evil"/,
	'nor does a function do anything');
sql("ALTER SCHEMA kafka_sink OWNER TO $super");
like(as_role($super, 'ALTER EXTENSION kafka_sink UPDATE'),
	qr/ERROR:  schema "kafka_sink" has things in it.*\n.*function trap\(text\)/, 'and nothing in it is another\'s');
sql("ALTER FUNCTION kafka_sink.trap(text) OWNER TO $super");
sql('ALTER EXTENSION kafka_sink UPDATE');
is(sql(q{SELECT extversion FROM pg_extension WHERE extname = 'kafka_sink'}), '0.2', 'what the owner has put there may stay');
sql('DROP FUNCTION kafka_sink.trap(text)');

# --- false tables: a commit of the supervisor's would run the trigger of one ---

# sinks of another server, of which the supervisor writes that they are suspended
sub make_sink
{
	sql(q{
		BEGIN;
		SELECT kafka_sink.drop_sink(sink) FROM kafka_sink.sinks;
		SELECT kafka_sink.create_sink('s');
		UPDATE kafka_sink.sink_catalog SET system_identifier = 0;
		COMMIT;
	});
	return;
}

make_sink();
sql(q{
	ALTER SCHEMA kafka_sink OWNER TO evil;
	SET ROLE evil;
	ALTER SCHEMA kafka_sink RENAME TO taken;
	CREATE SCHEMA kafka_sink;
	RESET ROLE;
	CREATE TABLE kafka_sink.sink_catalog (LIKE taken.sink_catalog INCLUDING ALL);
	INSERT INTO kafka_sink.sink_catalog SELECT (c).* FROM (SELECT c FROM taken.sink_catalog c) c;
	CREATE TABLE kafka_sink.topic_catalog (LIKE taken.topic_catalog INCLUDING ALL);
	CREATE TABLE kafka_sink.topic_state (LIKE taken.topic_state INCLUDING ALL);
	CREATE TABLE kafka_sink.sink_state (LIKE taken.sink_state INCLUDING ALL);
	CREATE TABLE kafka_sink.txn_offsets (LIKE taken.txn_offsets INCLUDING ALL);
	CREATE FUNCTION kafka_sink.rise() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			PERFORM set_config('role', 'none', false);
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
			ALTER ROLE evil SUPERUSER;
		END IF;
		RETURN NULL;
	END $$;
	DO $$
	DECLARE t regclass;
	BEGIN
		FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'kafka_sink'::regnamespace AND relkind = 'r' LOOP
			EXECUTE format('ALTER TABLE %s OWNER TO evil', t);
			EXECUTE format('CREATE CONSTRAINT TRIGGER rise AFTER INSERT OR UPDATE OR DELETE ON %s DEFERRABLE INITIALLY DEFERRED
				FOR EACH ROW EXECUTE FUNCTION kafka_sink.rise()', t);
			EXECUTE format('GRANT ALL ON %s TO PUBLIC', t);
		END LOOP;
	END $$;
	ALTER FUNCTION kafka_sink.rise() OWNER TO evil;
});
my $renamed = qr/ERROR:  the schema of extension "kafka_sink" has another name: "taken"\nHINT:  ALTER SCHEMA taken RENAME TO kafka_sink\./;
my $at = -s $node->logfile;
foreach ("create_sink('mine')", "pause('s')", "resume('s')", "seek('s', 'earliest')", "drop_sink('s')", "advance('s', 't', 0, 0, 1)",
	"ingest('s', '{}')", "retry_dead_letters('s')", "lag('s', false)")
{
	like(as_role($_ eq "pause('s')" ? 'evil' : $super, "SELECT taken.$_"), $renamed, $_);
}
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('kafka_sink supervisor', 'kafka_sink launcher')});
wait_for_log($node, qr/kafka_sink supervisor.*has another name: "taken"/, $at, 'nor does a supervisor, which says so');
is(sql('SELECT count(*) FROM kafka_sink.sink_state'), '0', 'nothing was written to the false tables');
is(supers(), $super, 'nobody has become a superuser');

# so it can be mended
sql("DROP SCHEMA kafka_sink CASCADE; ALTER SCHEMA taken RENAME TO kafka_sink");
like(as_role('nobody', q{SELECT kafka_sink.pause('none')}),
	qr/ERROR:  schema "kafka_sink" belongs to role "evil", who is no superuser\n.*\nHINT:  ALTER SCHEMA kafka_sink OWNER TO $super, and see/, 'half mended');
sql("ALTER SCHEMA kafka_sink OWNER TO $super");
wait_until($node, q{SELECT state FROM kafka_sink.sink_state}, 'suspended', 'mended: the supervisor writes to the true table');

# --- one table ---

sql('ALTER TABLE kafka_sink.sink_state OWNER TO evil');
like(as_role('nobody', q{SELECT kafka_sink.pause('none')}),
	qr/ERROR:  "kafka_sink\.sink_state" belongs to role "evil", who is no superuser\nDETAIL:  .*\nHINT:  ALTER TABLE kafka_sink\.sink_state OWNER TO $super\./,
	'a table of somebody else\'s');
sql("ALTER TABLE kafka_sink.sink_state OWNER TO $super; ALTER VIEW kafka_sink.lag OWNER TO evil");
like(as_role('nobody', q{SELECT kafka_sink.pause('none')}), qr/HINT:  ALTER VIEW kafka_sink\.lag OWNER TO $super\./, 'a view');
sql("ALTER VIEW kafka_sink.lag OWNER TO $super; ALTER EXTENSION kafka_sink DROP TABLE kafka_sink.partition_ends");
like(as_role($super, q{SELECT kafka_sink.drop_sink('none')}),
	qr/ERROR:  "kafka_sink\.partition_ends" is not part of extension "kafka_sink"/, 'one that is not the extension\'s');
sql('ALTER EXTENSION kafka_sink ADD TABLE kafka_sink.partition_ends');

# in one session, as things change
is(as_role($super, q{
	BEGIN;
	SELECT kafka_sink.pause('s');
	ALTER SCHEMA kafka_sink RENAME TO taken;
	SAVEPOINT a;
	SELECT taken.pause('s');
	ROLLBACK TO a;
	ALTER SCHEMA taken RENAME TO kafka_sink;
	SELECT kafka_sink.pause('s');
	ROLLBACK;
	DROP EXTENSION kafka_sink;
	CREATE EXTENSION kafka_sink;
	SELECT kafka_sink.create_sink('s');
	SELECT kafka_sink.pause('s')}),
	"\n\n\n" . q{psql:<stdin>:6: ERROR:  the schema of extension "kafka_sink" has another name: "taken"
HINT:  ALTER SCHEMA taken RENAME TO kafka_sink.}, 'in one session');

# --- what is dumped and restored goes to all tables: by one trigger of one table ---

as_role('evil', q{
	CREATE SCHEMA evil;
	CREATE TABLE evil.dump (relation text, data json);
	CREATE TABLE evil.sink_catalog (LIKE evil.dump);
});
my $trigger = 'CREATE TRIGGER restore BEFORE INSERT ON evil.dump FOR EACH ROW EXECUTE FUNCTION kafka_sink.restore_dump()';
my $row = qq{INSERT INTO evil.dump VALUES ('sink_catalog', '{"sink": "risen", "owner": "$super", "command": "ALTER ROLE evil SUPERUSER"}')};
like(as_role('evil', $trigger), qr/ERROR:  permission denied for function kafka_sink.restore_dump/, 'nobody else has that trigger');
sql('GRANT EXECUTE ON FUNCTION kafka_sink.restore_dump TO evil');
is(as_role('evil', $trigger), '', 'or with a grant');
like(as_role('evil', $row), qr/ERROR:  permission denied to restore from table "dump"/, 'it does nothing');
like(as_role('evil', $row =~ s/evil\.dump/kafka_sink.dump/r), qr/ERROR:  permission denied for table dump/, 'nor is the table open');
is(sql(q{SELECT count(*) FROM kafka_sink.sink_catalog WHERE sink = 'risen'}), '0', 'no sink was made');
sql('DROP SCHEMA evil CASCADE');

# --- triggers on the extension's tables, at a commit of somebody else's ---

make_sink();
wait_until($node, q{SELECT state FROM kafka_sink.sink_state}, 'suspended', 'the supervisor writes');
sql(q{
	CREATE TABLE seen (trigger name, usr name, session name);
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.seen VALUES (tg_name, current_user, session_user); RETURN NULL; END';
	-- (as one: the supervisor writes the row again when it misses it)
	BEGIN;
	DELETE FROM kafka_sink.sink_state;
	CREATE TRIGGER at_once AFTER INSERT OR UPDATE ON kafka_sink.sink_state FOR EACH ROW EXECUTE FUNCTION see();
	SELECT kafka_sink.alter_sink('s', batch_records => 1);
	COMMIT;
});
wait_until($node, q{SELECT DISTINCT trigger, usr FROM seen}, "at_once|$super", 'runs as the tables\' owner');
$at = -s $node->logfile;
sql(q{
	BEGIN;
	DROP TRIGGER at_once ON kafka_sink.sink_state;
	DELETE FROM kafka_sink.sink_state;
	TRUNCATE seen;
	CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE OR DELETE ON kafka_sink.sink_state DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION see();
	SELECT kafka_sink.alter_sink('s', batch_records => 2);
	COMMIT;
});
wait_for_log($node, qr/kafka_sink supervisor.*cannot fire deferred trigger/, $at, 'one that would run at the commit is refused');
sql(q{
	CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON kafka_sink.sink_catalog DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION see();
});
like(as_role($super, q{SELECT kafka_sink.pause('s')}), qr/ERROR:  cannot fire deferred trigger/, 'in a session, too');
is(sql('SELECT count(*) FROM seen'), '0', 'and did not run');
sql('DROP TRIGGER later ON kafka_sink.sink_state; DROP TRIGGER later ON kafka_sink.sink_catalog');

# --- who owns the tables can make sinks that run as anybody ---

sql(q{
	CREATE ROLE manager LOGIN SUPERUSER;
	DROP EXTENSION kafka_sink;
	DROP SCHEMA kafka_sink;
	SET ROLE manager;
	CREATE EXTENSION kafka_sink;
});
make_sink();
wait_until($node, q{SELECT state FROM kafka_sink.sink_state}, 'suspended', 'any superuser');
$at = -s $node->logfile;
sql('ALTER ROLE manager NOSUPERUSER');
as_role('manager', qq{
	DELETE FROM kafka_sink.sink_state;
	UPDATE kafka_sink.sink_catalog SET owner = '$super', command = 'ALTER ROLE manager SUPERUSER'});
like(as_role('manager', q{SELECT kafka_sink.resume('s')}), qr/ERROR:  schema "kafka_sink" belongs to role "manager", who is no superuser/,
	'nobody who is none');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'kafka_sink supervisor'});
wait_for_log($node, qr/kafka_sink supervisor.*belongs to role "manager", who is no superuser/, $at, 'so the supervisor starts nothing');
sql("ALTER SCHEMA kafka_sink OWNER TO $super");
like(as_role($super, q{SELECT kafka_sink.resume('s')}),
	qr/ERROR:  "kafka_sink\.sink_catalog" belongs to role "manager", who is no superuser\n.*\nHINT:  REASSIGN OWNED BY manager TO $super\./,
	'a hint for all of it');
is(as_role($super, 'DROP TABLE seen; DROP ROLE nobody; CREATE ROLE nobody LOGIN'), '', 'other commands are not stopped by it');
sql("REASSIGN OWNED BY manager TO $super");
wait_until($node, q{SELECT state FROM kafka_sink.sink_state}, 'suspended', 'mended');
is(supers(), $super, 'nobody has become a superuser');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');

done_testing();
