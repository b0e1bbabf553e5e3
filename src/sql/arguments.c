/*
 * arguments.c
 *	  Arguments of SQL functions that are NULL, and must not be.
 *
 * No function of ours is STRICT that does something: a call that does nothing
 * because a variable was NULL looks like one that has done it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "funcapi.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "sql/arguments.h"

/* What people may want to know of an argument that they have left NULL. */
static const struct
{
	const char *name;
	const char *hint;
}			hints[] = {
	{"sink", "Write the sink's name; the view kafka_sink.sinks lists the sinks."},
	{"feed", "Write the feed's name; the view kafka_sink.feeds lists the feeds."},
	{"new_name", "Write the name that the sink is to have."},
	{"server", "Write the name of a foreign server of the foreign-data wrapper kafka_sink."},
	{"topic", "Write the topic's name."},
	{"part", "Write the number of a partition; the first one is 0."},
	{"to", "Write earliest, latest, a timestamp, or offsets such as {\"orders\": {\"0\": 42}}."},
	{"start_at", "Write earliest, latest, a timestamp, or offsets by partition such as {\"0\": 42}."},
	{"ranges", "Write topics, partitions and ranges: {\"orders\": {\"0\": [from_off, until_off]}}."},
	{"records", "Write an array of kafka_sink.record; one without elements is '{}'."},
	{"lsn", "Write what the view kafka_sink.feeds shows of the transaction, or leave it out."},
	{"timeout", "Write an interval such as '10 seconds', or leave it out."},
};

/* The name of an argument, as it is in the catalog. */
static char *
argument_name(FunctionCallInfo fcinfo, int arg)
{
	HeapTuple	tup = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	char	   *name = NULL;
	bool		nonames;
	bool		nomodes;
	Datum		names;
	Datum		modes;
	char	  **list;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	names = SysCacheGetAttr(PROCOID, tup, Anum_pg_proc_proargnames, &nonames);
	modes = SysCacheGetAttr(PROCOID, tup, Anum_pg_proc_proargmodes, &nomodes);
	if (!nonames && get_func_input_arg_names(names, nomodes ? (Datum) 0 : modes, &list) > arg)
		name = list[arg];
	ReleaseSysCache(tup);
	return name ? name : psprintf("argument %d", arg + 1);
}

void
ks_refuse_null(FunctionCallInfo fcinfo, int arg)
{
	const char *hint = NULL;
	char	   *name;

	if (!PG_ARGISNULL(arg))
		return;
	name = argument_name(fcinfo, arg);
	for (int i = 0; i < (int) lengthof(hints); i++)
		if (strcmp(hints[i].name, name) == 0)
			hint = hints[i].hint;
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", name),
			 hint ? errhint("%s", hint) : 0));
}

void
ks_refuse_nulls(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < PG_NARGS(); i++)
		ks_refuse_null(fcinfo, i);
}

int64
ks_optional_number(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		return -1;
	if (PG_GETARG_INT64(arg) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", argument_name(fcinfo, arg))));
	return PG_GETARG_INT64(arg);
}

char *
ks_text_argument(FunctionCallInfo fcinfo, int arg)
{
	ks_refuse_null(fcinfo, arg);
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/*
 * A default comes from the catalog, as a constant without a place in the
 * statement.  What stands there has a place, also a parameter whose value is
 * planned for, or is no constant; only a constant that was computed, or comes
 * from a view, looks like a default.
 */
bool
ks_null_is_given(FunctionCallInfo fcinfo, int arg)
{
	const FuncExpr *call = (const FuncExpr *) fcinfo->flinfo->fn_expr;
	const Const *value;			/* if it is one */

	if (!PG_ARGISNULL(arg) || call == NULL || !IsA(call, FuncExpr) || arg >= list_length(call->args))
		return false;
	value = list_nth(call->args, arg);
	return !IsA(value, Const) || value->location >= 0;
}
