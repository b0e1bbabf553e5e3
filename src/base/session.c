/*
 * session.c
 *	  Settings that decide what values mean, fixed while records are applied.
 *
 * The same record must give the same row wherever it is applied, whatever
 * somebody has set for the role, the database or the session.
 */
#include "postgres.h"

#include <stdlib.h>
#include <unistd.h>
#ifdef KS_COVERAGE
#include <gcov.h>
#endif

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"

#include "base/error.h"
#include "base/session.h"

typedef struct KsSetting
{
	const char *name;
	const char *value;			/* NULL: what the session began with, so the role's and the database's */
	bool		worker_only;
} KsSetting;

static const KsSetting settings[] = {
	{"search_path", "pg_catalog, pg_temp", false},
	{"TimeZone", "UTC", false},
	{"DateStyle", "ISO, YMD", false},
	{"IntervalStyle", "postgres", false},
	{"bytea_output", "hex", false},
	{"extra_float_digits", "1", false},
	{"array_nulls", "on", false},
	{"standard_conforming_strings", "on", false},
	{"transform_null_equals", "off", false},
	{"xmloption", "content", false},
	{"xmlbinary", "base64", false},
	{"quote_all_identifiers", "off", false},	/* in the texts of regclass and others */
	{"lc_monetary", NULL, false},	/* how money is read, and how many digits an amount has */
	{"lc_numeric", NULL, false},
	{"lc_time", NULL, false},
	{"default_text_search_config", NULL, false},
	{"timezone_abbreviations", "Default", false},
	{"row_security", "on", false},
	{"statement_timeout", "0", true},
	{"idle_in_transaction_session_timeout", "0", true},
	{"idle_session_timeout", "0", true},
	{"transaction_timeout", "0", true}, /* 17 and later */
	{"default_transaction_isolation", "read committed", true},
	{"default_transaction_read_only", "off", true},
	{"default_transaction_deferrable", "off", true},
	{"session_replication_role", "origin", true},
	{"jit", "off", true},
	{"role", "none", true},		/* a sink runs as its owner, not as what his sessions are set to be */
	{"exit_on_error", "off", true}, /* or the first bad record ended the worker */
};

void
ks_session_fix(void)
{
	/* the server's own plugin writes texts for a client, whom we read instead of */
	SetConfigOption("client_encoding", GetDatabaseEncodingName(), PGC_SUSET, PGC_S_OVERRIDE);
	for (int i = 0; i < (int) lengthof(settings); i++)
		if (settings[i].value && GetConfigOption(settings[i].name, true, false) != NULL)
			SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET, PGC_S_OVERRIDE);
}

/* (not reached by tests: a system that is out of files) */
struct WaitEventSet *
ks_session_wait_events(int n)
{
	MemoryContext cxt = CurrentMemoryContext;
	struct WaitEventSet *volatile events = NULL;

	PG_TRY();
	{
		events = ks_create_wait_event_set(n);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg_internal("%s", edata->message)));
	}
	PG_END_TRY();
	return events;
}

static const char *
wanted_value(const KsSetting *setting)
{
	return setting->value ? setting->value : GetConfigOptionResetString(setting->name);
}

/* Some are costly to set: a file is read for each. */
static bool
is_set(const KsSetting *setting)
{
	const char *value = GetConfigOption(setting->name, true, false);

	return value != NULL && strcmp(value, wanted_value(setting)) == 0;
}

int
ks_session_enter(void)
{
	int			nestlevel = NewGUCNestLevel();

	for (int i = 0; i < (int) lengthof(settings); i++)
		if (!settings[i].worker_only && !is_set(&settings[i]))
			(void) set_config_option(settings[i].name, wanted_value(&settings[i]), PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nestlevel;
}

void
ks_session_leave(int nestlevel)
{
	AtEOXact_GUC(true, nestlevel);
}

ErrorData *
ks_session_catch_subtransaction(ResourceOwner owner, MemoryContext cxt)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(cxt);
	edata = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return edata;
}

void
ks_session_leave_subtransaction(ResourceOwner owner, MemoryContext cxt)
{
	ks_error_rethrow(ks_session_catch_subtransaction(owner, cxt));
}

/* The last callback to run. */
static void
end_process(int code, Datum arg)
{
#ifdef KS_COVERAGE
	__gcov_dump();
#endif
	_exit(code);
}

void
ks_session_end_by_exit(void)
{
	on_proc_exit(end_process, (Datum) 0);
}

static int	exit_code;

static void
note_exit_code(int code, Datum arg)
{
	exit_code = code;
}

static void
end_session(void)
{
	end_process(exit_code, (Datum) 0);
}

void
ks_session_end_without_destructors(void)
{
	static bool registered = false;

	if (registered || atexit(end_session) != 0)
		return;
	registered = true;
	on_proc_exit(note_exit_code, (Datum) 0);
}
