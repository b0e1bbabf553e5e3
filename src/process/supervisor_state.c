/*
 * supervisor_state.c
 *	  States that no worker can write: it cannot start, or is not to.
 *
 * What is to be said follows from what is known now, and is compared with what
 * the row says: so nothing that was said once stays when the reason changes.
 * Each sink's rows are written in a transaction of their own, whose locks time
 * out: a sink that somebody holds is tried again later.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/guc.h"
#include "catalog/feeds.h"
#include "catalog/needs.h"
#include "process/supervisor_int.h"

#define WARNINGS_A_MINUTE	20

/* How all that we say of an end begins. */
#define ENDED	"the worker ended"

/* What a sink and a feed are called. */
static const char *
kind_of(const KsSupervised *s)
{
	return s->feed ? "feed" : "sink";
}

static void
set_state(const KsSupervised *s, int worker, const char *state, const KsStateError *error)
{
	if (s->feed)
		ks_feeds_set_state(s->name, state, error, InvalidXLogRecPtr, InvalidXLogRecPtr);
	else
		ks_catalog_set_state(s->name, worker, state, error);
}

static bool
row_is(const KsSupervised *s, int worker, const char *state)
{
	const KsStateRow *row = ks_supervised_row(s, worker);

	return row != NULL && strcmp(row->state, state) == 0;
}

/* Should it run, but for a table that is gone? */
static bool
has_lost_table(const KsSupervised *s)
{
	return s->runs && ks_supervised_has_dropped_table(s);
}

static bool
any_alive(const KsSupervised *s)
{
	for (int i = 0; i < s->nmanaged; i++)
		if (ks_managed_is_alive(s->managed[i]))
			return true;
	return false;
}

/* Is one of its workers of an older definition?  It may still write its state. */
static bool
any_old(const KsSupervised *s)
{
	for (int i = 0; i < s->nmanaged; i++)
		if (ks_managed_is_alive(s->managed[i]) && s->managed[i]->definition != s->generation)
			return true;
	return false;
}

/* States of workers from this number on are of nobody. */
static int
first_of_nobody(const KsSupervised *s)
{
	return (ks_guc_enabled && s->runs) || any_alive(s) ? s->workers : 0;
}

static bool
has_rows_of_nobody(const KsSupervised *s)
{
	int			from = first_of_nobody(s);

	if (any_old(s))
		return false;
	for (int i = 0; i < s->nrows; i++)
		if (s->rows[i].worker >= from && strcmp(s->rows[i].state, "halted") != 0 &&
			strcmp(s->rows[i].state, "suspended") != 0)
			return true;
	return false;
}

/* Words that were kept before the process knew its encoding. */
static const char *
valid_words(const char *words)
{
	char	   *result = pstrdup(words);

	if (!pg_verifymbstr(words, strlen(words), true))
		for (char *p = result; *p; p++)
			if (IS_HIGHBIT_SET(*p))
				*p = '?';
	return result;
}

/* In our words. */
static const char *
trouble_message(const KsSupervised *s, const KsManaged *m, KsTrouble trouble)
{
	switch (trouble)
	{
		case KS_TROUBLE_NONE:
			break;
		case KS_TROUBLE_ENDED:
			return m->last_words.sqlstate == 0 ? ENDED " unexpectedly" :
				psprintf(ENDED ": %s", valid_words(m->last_words.message));
		case KS_TROUBLE_NO_SLOT:
			return s->feed ? psprintf("no background worker slot is free for feed \"%s\"", s->name) :
				psprintf("no background worker slot is free for worker %d of %d of sink \"%s\"",
						 m->worker, s->workers, s->name);
		case KS_TROUBLE_ROLE_LIMIT:
			return s->feed ? psprintf("role \"%s\" has as many workers as it may: feed \"%s\" waits", s->owner_name, s->name) :
				psprintf("role \"%s\" has as many workers as it may: worker %d of %d of sink \"%s\" waits",
						 s->owner_name, m->worker, s->workers, s->name);
		case KS_TROUBLE_NO_OWNER:
			return psprintf("the %s's owner does not exist any more", kind_of(s));
		case KS_TROUBLE_NO_LOGIN:
			return psprintf("role \"%s\" cannot log in, so its %ss cannot run", s->owner_name, kind_of(s));
	}
	return NULL;
}

/* Has the server said why it ended it?  That somebody wanted it is no reason. */
static bool
has_reason(const KsLastWords *words)
{
	return words->sqlstate != 0 && ERRCODE_TO_CATEGORY(words->sqlstate) != ERRCODE_OPERATOR_INTERVENTION;
}

/* Is it what we say of a worker, whether it is so now or was? */
static bool
is_ours(const KsSupervised *s, const KsManaged *m, const char *message)
{
	if (strncmp(message, ENDED, strlen(ENDED)) == 0)
		return true;
	for (KsTrouble said = KS_TROUBLE_NO_SLOT; said <= KS_TROUBLE_NO_LOGIN; said++)
		if (trouble_message(s, m, said) && strcmp(message, trouble_message(s, m, said)) == 0)
			return true;
	return false;
}

/*
 * Why a worker that is wanted is not there, if that is to be written.  What the
 * worker has said itself is better than that it has ended, but not better than
 * why it cannot start; and what we have said is not the worker's word.
 */
static KsTrouble
trouble_to_report(const KsSupervised *s, const KsManaged *m)
{
	KsTrouble	trouble = s->owner_trouble != KS_TROUBLE_NONE ? s->owner_trouble : m->trouble;
	const KsStateRow *row;

	if (m->state != KS_MANAGED_DUE || trouble == KS_TROUBLE_NONE)
		return KS_TROUBLE_NONE;
	row = ks_supervised_row(s, m->worker);
	if (row == NULL || row->message == NULL)
		return trouble;
	if (strcmp(row->message, trouble_message(s, m, trouble)) == 0)
		return KS_TROUBLE_NONE;
	if (trouble == KS_TROUBLE_ENDED && !has_reason(&m->last_words) && !is_ours(s, m, row->message))
		return KS_TROUBLE_NONE;
	return trouble;
}

/*
 * A worker without partitions has no process, and its row says that it is idle:
 * as long as nobody knows of any partition, nobody does.
 */
static bool
is_idle_untold(const KsSupervised *s, int worker)
{
	return s->used_known && s->used != 0 && ks_guc_enabled && s->runs && worker < s->workers &&
		!ks_supervised_needs(s, worker) && !ks_managed_is_alive(s->managed[worker]) &&
		!row_is(s, worker, "idle");
}

static bool
any_idle_untold(const KsSupervised *s)
{
	if (s->workers == 1 || any_old(s))
		return false;
	for (int i = 0; i < s->nmanaged; i++)
		if (is_idle_untold(s, i))
			return true;
	return false;
}

/* Do its rows not say what is known? */
bool
ks_supervised_states_differ(const KsSupervised *s)
{
	if (!s->loaded || s->workers == 0)
		return false;
	if (ks_supervised_has_ends(s))
		return true;
	if ((s->report_suspended && !row_is(s, 0, "suspended")) || has_lost_table(s) ||
		has_rows_of_nobody(s) || any_idle_untold(s))
		return true;
	for (int i = 0; i < s->nmanaged; i++)
		if (trouble_to_report(s, s->managed[i]) != KS_TROUBLE_NONE)
			return true;
	return false;
}

/* --- what is written --- */

static void
write_suspended(const KsSupervised *s)
{
	const char *name = quote_literal_cstr(s->name);
	KsStateError error = {
		.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		.message = s->feed ? "the feed was created in another database or server" :
			"the sink's offsets were written in another database or server",
		.detail = "This is a copy: a restored dump, a database made from a template, or an upgraded server.",
		.hint = s->feed ?
			psprintf("To publish what is committed here from now on: SELECT kafka_sink.resume(%s); otherwise kafka_sink.drop_feed(%s).", name, name) :
			psprintf("To go on from them here: SELECT kafka_sink.resume(%s); otherwise kafka_sink.drop_sink(%s).", name, name),
		.off = -1
	};

	set_state(s, 0, "suspended", &error);
}

/* May the topic whose table is gone, and with it all foreign keys to others, halt alone? */
static bool
can_halt_topic(const KsSink *sink, const char *topic)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, ks_catalog_topics(sink->name))
		n += !((KsTopic *) lfirst(lc))->halted;
	return topic != NULL && !sink->halt_as_a_whole && n > 1;
}

/* A table that it writes to was dropped. */
static void
write_lost_table(const KsSupervised *s)
{
	const KsWrittenTable *t = s->tables;
	const char *name = quote_literal_cstr(s->name);
	KsSink	   *sink = ks_catalog_sink(s->name, true);
	KsStateError error = {
		.sqlstate = ERRCODE_UNDEFINED_TABLE,
		.part = -1,
		.off = -1
	};
	bool		alone;

	/* changed since its tables were read: they will be read again */
	if (sink == NULL || sink->generation != s->generation)
		return;
	while (!t->dropped)
		t++;
	error.topic = t->topic;
	error.message = t->name ? psprintf("table %s does not exist any more", t->name) :
		t->relid == KS_GONE ? pstrdup("the table that the sink wrote to did not exist when it was dumped, or was not restored") :
		psprintf("the table with OID %u does not exist any more", t->relid);
	error.detail = t->topic ? psprintf("Sink \"%s\" writes the records of topic \"%s\" to it.", s->name, t->topic) :
		psprintf("Sink \"%s\" writes to it.", s->name);
	error.hint = t->topic ?
		psprintf("Name another, or one that was created again, with kafka_sink.alter_topic(%s, %s, target => ...), then kafka_sink.resume(%s); or kafka_sink.unregister_topic(%s, %s).",
				 name, quote_literal_cstr(t->topic), name, name, quote_literal_cstr(t->topic)) :
		psprintf("Name another, or one that was created again, with kafka_sink.alter_sink(%s, target => ...), then kafka_sink.resume(%s); or kafka_sink.drop_sink(%s).",
				 name, name, name);
	alone = can_halt_topic(sink, t->topic);
	if (!ks_catalog_halt(sink, 0, &error, 1, !alone))
		return;
	ks_shmem_note_change();
	ereport(LOG,
			(errcode(error.sqlstate),
			 alone ? errmsg("topic \"%s\" of sink \"%s\" halted: %s", t->topic, s->name, error.message) :
			 errmsg("sink \"%s\" halted: %s", s->name, error.message),
			 errhint("%s", error.hint)));
}

/* What is to be done about what the server said, where it does not say so. */
static const char *
hint_of_end(const KsSupervised *s, int sqlstate)
{
	const char *role = quote_identifier(s->owner_name ? s->owner_name : "");
	const char *database = quote_identifier(get_database_name(MyDatabaseId));

	switch (sqlstate)
	{
		case 0:
			return "The server log tells why; it is started again after a while.";
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return psprintf("GRANT CONNECT ON DATABASE %s TO %s.", database, role);
		case ERRCODE_TOO_MANY_CONNECTIONS:
			return psprintf("ALTER ROLE %s CONNECTION LIMIT, or ALTER DATABASE %s CONNECTION LIMIT.", role, database);
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return psprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true.", database);
		default:
			return "It is started again after a while.";
	}
}

/* Some warnings a minute tell as much as thousands, if very many sinks have no room. */
static bool
may_warn(void)
{
	static TimestampTz since = 0;
	static int	n = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (since == 0 || now < since || now - since > USECS_PER_MINUTE)
	{
		since = now;
		n = 0;
	}
	return n++ < WARNINGS_A_MINUTE;
}

static void
write_trouble(const KsSupervised *s, const KsManaged *m, KsTrouble trouble)
{
	KsStateError error = {
		.sqlstate = ERRCODE_INTERNAL_ERROR,
		.message = trouble_message(s, m, trouble),
		.off = -1
	};
	const char *state = "backoff";

	switch (trouble)
	{
		case KS_TROUBLE_NONE:
			return;
		case KS_TROUBLE_ENDED:
			error.hint = hint_of_end(s, m->last_words.sqlstate);
			if (m->last_words.sqlstate == 0)
				break;
			error.sqlstate = m->last_words.sqlstate;
			if (m->last_words.detail[0])
				error.detail = valid_words(m->last_words.detail);
			if (m->last_words.hint[0])
				error.hint = valid_words(m->last_words.hint);
			break;
		case KS_TROUBLE_NO_SLOT:
			/* the others of the sink go on, this one's partitions do not */
			state = "waiting";
			error.waits_for = "process";
			error.sqlstate = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
			error.detail = s->feed ? "Nothing is published until there is one." :
				"Its partitions are not consumed until there is one.";
			error.hint = psprintf("You might need to increase %s.", m->setting);
			if (may_warn())
				ereport(WARNING,
						(errcode(error.sqlstate), errmsg("%s", error.message),
						 errdetail("%s", error.detail), errhint("%s", error.hint)));
			break;
		case KS_TROUBLE_ROLE_LIMIT:
			/* the role's own affair: the server's log is not for that */
			state = "waiting";
			error.waits_for = "process";
			error.sqlstate = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
			error.detail = s->feed ? "Nothing is published until another worker of the role leaves." :
				"Its partitions are not consumed until another worker of the role leaves.";
			error.hint = psprintf("Pause a sink, use fewer workers, or let a superuser raise %s.", m->setting);
			break;
		case KS_TROUBLE_NO_OWNER:
			error.sqlstate = ERRCODE_UNDEFINED_OBJECT;
			error.hint = psprintf("Give it to another role with kafka_sink.alter_%s(%s, owner => ...), or drop it.",
								  kind_of(s), quote_literal_cstr(s->name));
			break;
		case KS_TROUBLE_NO_LOGIN:
			error.sqlstate = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
			error.hint = psprintf("ALTER ROLE %s LOGIN.", quote_identifier(s->owner_name));
			break;
	}
	set_state(s, m->worker, state, &error);
	ks_supervised_note_row(m->sink, m->worker, state, error.message);
}

/*
 * Makes the rows say what is known, beginning with what they say now.  What was
 * written is taken down, or read again, so that nothing is written twice; who calls forgets
 * it if this fails.
 */
void
ks_supervised_write_states(void *arg)
{
	KsSupervised *s = arg;
	bool		read_again;

	ks_supervised_read(s);
	ks_supervised_store_ends(s);
	if (!ks_supervised_states_differ(s))
		return;
	read_again = has_rows_of_nobody(s) || s->report_suspended || has_lost_table(s);
	if (has_rows_of_nobody(s) && s->feed)
		ks_feeds_clear_state(s->name);
	else if (has_rows_of_nobody(s))
	{
		KsSink	   *sink = ks_catalog_sink(s->name, true);

		if (sink)
			ks_catalog_clear_states(sink, first_of_nobody(s));
	}
	if (s->report_suspended && !row_is(s, 0, "suspended"))
		write_suspended(s);
	else if (has_lost_table(s))
		write_lost_table(s);
	else
	{
		bool		tell_idle = any_idle_untold(s);

		for (int i = 0; i < s->nmanaged; i++)
		{
			if (tell_idle && is_idle_untold(s, i))
			{
				ks_catalog_set_state(s->name, i, "idle", NULL);
				ks_supervised_note_row(s, i, "idle", NULL);
			}
			write_trouble(s, s->managed[i], trouble_to_report(s, s->managed[i]));
		}
	}
	/* of very many that wait for room, each is read once */
	if (read_again)
		ks_supervised_read(s);
}
