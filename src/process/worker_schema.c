/*
 * worker_schema.c
 *	  Whether a schema is still the one that was fetched.
 *
 * A schema never changes, so it is fetched once.  But a registry may be set up anew, or
 * restored from a backup, and give an id again: then records by a new schema are read by
 * an old one.  Mostly that cannot be done; so when a record's value is refused for what
 * stands in it, the registry is asked for its schema once more, once in a worker's life
 * for each.  If that is another one now the sink halts, and says so: all that is read by
 * it may be wrong.  A registry that does not answer changes nothing, and is left alone
 * for a while.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "process/transaction.h"
#include "process/worker_int.h"

#define MAX_ASKED		64		/* so many are remembered */
#define REST_MS			300000

static TimestampTz no_answer_at = 0;

static bool
was_asked(const KsSchemaId *id)
{
	static KsSchemaId asked[MAX_ASKED];
	static int	n = 0;

	for (int i = 0; i < Min(n, MAX_ASKED); i++)
		if (ks_schema_id_equal(&asked[i], id))
			return true;
	asked[n++ % MAX_ASKED] = *id;
	return false;
}

static bool
is_of_value(const ErrorData *edata)
{
	return ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION);
}

bool
ks_worker_suspects_schema(const KsRecordError *stopped, KsSchemaId *id)
{
	const KsApply *ap = ks_worker.consumer->apply;

	if (stopped == NULL && ap->rejects.n == 0)
		return false;
	/* it is asked for something else, and does not answer */
	if (ks_worker.consumer->asking)
		return false;
	if (no_answer_at != 0 && !TimestampDifferenceExceeds(no_answer_at, GetCurrentTimestamp(), REST_MS))
		return false;
	if (stopped && stopped->of_record && is_of_value(stopped->edata) &&
		ks_apply_schema_of(ap, stopped->index, id) && !was_asked(id))
		return true;
	for (int i = 0; i < ap->rejects.n; i++)
		if (is_of_value(ap->rejects.items[i].edata) &&
			ks_apply_schema_of(ap, ap->rejects.items[i].index, id) && !was_asked(id))
			return true;
	return false;
}

static bool
differs(const KsSchemaId *id, void (*idle) (void))
{
	MemoryContext cxt = CurrentMemoryContext;
	volatile bool result = false;

	PG_TRY();
	{
		result = ks_consumer_schema_differs(ks_worker.consumer, id, idle);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		if (ks_worker.consumer->fetcher.serving)
			PG_RE_THROW();
		edata = ks_transaction_catch(cxt);
		no_answer_at = GetCurrentTimestamp();
		ereport(DEBUG1,
				(errmsg_internal("schema %s cannot be compared with the registry's: %s",
								 ks_schema_id_text(id), edata->message)));
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	return result;
}

void
ks_worker_check_schema(const KsSchemaId *id, const KsStateError *place, void (*idle) (void))
{
	KsStateError error = {.part = -1, .off = -1};

	if (!differs(id, idle))
		return;
	if (place)
		error = *place;
	error.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	error.message = psprintf(KS_SCHEMA_DIFFERS, ks_schema_id_text(id));
	error.detail = KS_SCHEMA_DIFFERS_DETAIL;
	error.hint = psprintf(KS_SCHEMA_DIFFERS_HINT, quote_literal_cstr(ks_worker.sink->server));
	error.of_sink = true;
	ks_worker_halt(&error, 1);
}
