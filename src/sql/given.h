/*
 * given.h
 *	  Settings as a call gives them: by arguments, in reset, or in settings.
 */
#ifndef KS_GIVEN_H
#define KS_GIVEN_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

#include "base/compat.h"
#include "catalog/settings.h"

/* What a call says of one setting. */
typedef struct KsGiven
{
	const KsSetting *setting;
	bool		given;			/* the value is valid by itself */
	bool		reset;			/* to its default */
	Datum		value;
} KsGiven;

extern void ks_given_init(KsGiven *g, int n, const KsSetting *(*setting) (int i));

/* Those among the arguments, from 'first' on, in the same order. */
extern void ks_given_arguments(KsGiven *g, int n, FunctionCallInfo fcinfo, int first);

/* Of a call that changes: errors (22004) if NULL is given where it would change
 * nothing. */
extern void ks_given_refuse_nulls(const KsGiven *g, int n, FunctionCallInfo fcinfo, int first);

/* Argument 'arg', reset => '{...}'; errors (22023) if one of them is given, too. */
extern void ks_given_reset(KsGiven *g, int n, FunctionCallInfo fcinfo, int arg);

/* Argument 'arg', settings => '{...}'; errors (22023) if one of them is given
 * otherwise, too: of a call that creates, an argument that is not the default. */
extern void ks_given_json(KsGiven *g, int n, FunctionCallInfo fcinfo, int arg, bool create);

/* The setting of this name; errors (22023) if there is none in 'where', and says
 * which may be meant. */
extern KsGiven *ks_given_find(KsGiven *g, int n, const char *name, const char *where);

/* The rest of an INSERT whose first n columns stand in 'sql', behind "(", none of them
 * NULL: all settings, and "VALUES"; returns the number of parameters. */
extern int	ks_given_insert(const KsGiven *g, int ngiven, StringInfo sql, int n, Oid *types, Datum *values, char *nulls);

/* What is changed, as assignments behind others (", name = $3"), with their parameters
 * from the n-th on; returns the number of parameters. */
extern int	ks_given_assign(const KsGiven *g, int ngiven, StringInfo sql, int n, Oid *types, Datum *values);

extern bool ks_given_any(const KsGiven *g, int n);

/* Errors (22023): the call changes nothing. */
extern void ks_given_nothing(const char *what);

#endif
