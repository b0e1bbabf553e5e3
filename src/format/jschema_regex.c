/*
 * jschema_regex.c
 *	  Regular expressions as JSON Schema has them, by the server's own engine.
 *
 * It works by automata, so that no pattern takes exponential time but one that refers
 * back to what it has matched; and it can be interrupted.
 */
#include "postgres.h"

#include "catalog/pg_collation_d.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "format/jschema_int.h"

#define BASE_COST	100			/* of any, as if it had so many atoms */

struct KsRegex
{
	regex_t		re;
	MemoryContextCallback callback;
};

static void
free_regex(void *arg)
{
	pg_regfree(arg);
}

KsRegex *
ks_regex_compile(const char *s, int len, int64 *left)
{
	KsRegex    *regex = palloc0(sizeof(KsRegex));
	int64		atoms;
	int			n;
	int			rc;
	bool		refers;
	uint32	   *pattern = ks_regex_translate(s, len, &n, &atoms, &refers);

	*left -= BASE_COST + atoms;
	if (*left < 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the JSON schema is too large"),
				 errdetail("The limit is %d characters of regular expressions, with what bounds repeat.", KS_REGEX_MAX)));
	/* PostgreSQL 14 knows of no group then */
	rc = pg_regcomp(&regex->re, pattern, n, REG_ADVANCED | (refers ? 0 : REG_NOSUB), C_COLLATION_OID);
	if (rc != REG_OKAY)
	{
		char		why[100];

		CHECK_FOR_INTERRUPTS();
		pg_regerror(rc, &regex->re, why, sizeof(why));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
				 errmsg("the pattern of a JSON schema cannot be used"),
				 errdetail("\"%s\": %s.", ks_jschema_shown(s, len), why)));
	}
	regex->callback.func = free_regex;
	regex->callback.arg = &regex->re;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &regex->callback);
	pfree(pattern);
	return regex;
}

bool
ks_regex_matches(KsRegex *regex, const char *s, int len)
{
	uint32	   *wide = palloc((Size) (len + 1) * sizeof(uint32));
	int			n = ks_regex_characters(s, len, wide);
	int			rc = pg_regexec(&regex->re, wide, n, 0, NULL, 0, NULL, 0);

	pfree(wide);
	if (rc == REG_OKAY || rc == REG_NOMATCH)
		return rc == REG_OKAY;
	CHECK_FOR_INTERRUPTS();
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
			 errmsg("a regular expression of a JSON schema failed")));
}
