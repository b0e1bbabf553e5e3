/*
 * shape_default.c
 *	  Defaults of schemas, as far as they are defaults of columns.
 *
 * In a schema stands what somebody wrote there: an empty text for a uuid, a number that no
 * double has.  What the column's type does not read would have the statement refused that
 * makes the column.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/lsyscache.h"

#include "format/shape.h"

/* Of the type, and not of the moment? */
static bool
is_refusal(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED);
}

/* The types are the server's own, whose input functions hold nothing but memory. */
static bool
is_read(const KsShapeColumn *col)
{
	MemoryContext cxt = CurrentMemoryContext;
	volatile bool result = true;
	Oid			input;
	Oid			ioparam;

	getTypeInputInfo(col->typid, &input, &ioparam);
	PG_TRY();
	{
		(void) OidInputFunctionCall(input, col->default_text, ioparam, col->typmod);
	}
	PG_CATCH();
	{
		if (!is_refusal(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		result = false;
	}
	PG_END_TRY();
	return result;
}

char *
ks_shape_default(const KsShapeColumn *col)
{
	return col->default_text && is_read(col) ? col->default_text : NULL;
}
