/*
 * error.c
 *	  Errors that were caught, to be thrown again.
 *
 * In recent releases CopyErrorData() copies the names of the place, too (which may
 * be of code that is unloaded), and ReThrowError() does not: it takes for granted that the
 * copy is there until the error is reported.  Whoever catches it on the way and frees what
 * was being made would leave names that are gone, and the report to the client would have
 * what is there by then.  So they are kept: there are not many.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/memutils.h"

#include "base/error.h"

/* Others could make texts that are new each time. */
#define KEEP_MAX	4096

/* The same text, for the life of the process; NULL if there are too many. */
static const char *
keep(const char *s)
{
	static List *kept = NIL;
	MemoryContext old;
	ListCell   *lc;

	if (s == NULL)
		return NULL;
	foreach(lc, kept)
		if (strcmp(s, lfirst(lc)) == 0)
			return lfirst(lc);
	if (list_length(kept) >= KEEP_MAX)
		return NULL;
	old = MemoryContextSwitchTo(TopMemoryContext);
	kept = lappend(kept, pstrdup(s));
	MemoryContextSwitchTo(old);
	return llast(kept);
}

void
ks_error_rethrow(ErrorData *edata)
{
	edata->filename = keep(edata->filename);
	edata->funcname = keep(edata->funcname);
	edata->domain = keep(edata->domain);
	edata->context_domain = keep(edata->context_domain);
	/* what the message is in no language, by which some are told apart */
	edata->message_id = keep(edata->message_id);
	ReThrowError(edata);
}
