/*
 * schema_fetch_int.h
 *	  A schema that is being fetched, for the files that do it.
 */
#ifndef KS_SCHEMA_FETCH_INT_H
#define KS_SCHEMA_FETCH_INT_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "base/compat.h"
#include "process/schema_fetch.h"

/* A schema, and what it refers to. */
typedef struct KsFetched
{
	KsSchemaFetcher *f;
	const char *type;
	char	   *schema;
	JsonbParseState *refs;		/* the array of the row */
	int			nrefs;
	List	   *names;			/* of those fetched, or being fetched: see fetch_reference() */
	Size		bytes;			/* answered so far, which stay until it is stored */
	const char *absent;			/* why it is, or NULL */
	bool		unreadable;		/* and it is there: of its text, or of a text that it refers to */
} KsFetched;

/* A transaction, where the caller has none. */
static inline void
ks_fetch_begin(const KsSchemaFetcher *f)
{
	MemoryContext cxt = CurrentMemoryContext;

	if (f->begin)
		f->begin();
	MemoryContextSwitchTo(cxt);
}

static inline void
ks_fetch_end(const KsSchemaFetcher *f)
{
	MemoryContext cxt = CurrentMemoryContext;

	if (f->commit)
		f->commit();
	MemoryContextSwitchTo(cxt);
}

/* --- schema_fetch.c --- */

/* The registry is open from here on, or an error. */
extern void ks_fetch_open(KsSchemaFetcher *f);

/* The schema of an answer (NULL: there is none), and what it refers to. */
extern void ks_fetch_read(KsFetched *s, Jsonb *answer);

extern void ks_fetch_store(KsFetched *s, const KsSchemaId *id);

/* Was another one fetched by that id before? */
extern bool ks_fetch_differs(KsSchemaFetcher *f, const KsSchemaId *id, const char *text);

/* --- schema_answer.c --- */

/* Errors (HV000): it is not what a registry answers. */
KS_NORETURN extern void ks_answer_not_understood(const char *detail);

/* The schema is not there, if nothing else is the matter. */
extern void ks_answer_note_missing(KsFetched *s, const char *why);

/* What the registry has at a path; NULL: nothing. */
extern char *ks_answer_get(KsFetched *s, const char *path);

/* The same, an object; NULL also, and noted, if the database cannot hold it. */
extern Jsonb *ks_answer_ask(KsFetched *s, const char *path);

/* *strange: the registry does not know such paths. */
extern Jsonb *ks_answer_ask_strange(KsFetched *s, const char *path, bool *strange);

/*
 * To the database's encoding: NULL, and noted, if that cannot be.  The server converts
 * in a transaction only.
 */
extern char *ks_answer_to_server(KsFetched *s, const char *body);

/*
 * What it was that was no JSON is not told: it may be anything.  NULL, and noted, if
 * the database cannot hold what it is.
 */
extern Jsonb *ks_answer_parse(KsFetched *s, const char *body);

/* A member's text, NULL: it has none, or null; its whole number of at most 'max', or as little below 0. */
extern char *ks_answer_text(JsonbContainer *object, const char *name);
extern int64 ks_answer_int(JsonbContainer *object, const char *name, int64 max);

/* False: it is no such number. */
extern bool ks_answer_number(const JsonbValue *v, int64 max, int64 *n);

/* In a path. */
extern char *ks_answer_encode(const KsFetched *s, const char *text);

#endif
