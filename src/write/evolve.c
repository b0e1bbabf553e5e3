/*
 * evolve.c
 *	  Targets that are altered for schemas of records (the setting evolve).
 *
 * A batch is not decoded before its targets are ready for the schemas of all its
 * records (ks_evolve_ready()).  The first record whose table is not ends the batch
 * before it; and when it is the first of a batch the table is altered, in the
 * transaction that applies it and moves the offsets.  Types that the filter leaves out
 * need no table.
 *
 * For that the table is locked first of all, in a transaction that has touched nothing
 * of it (the offsets' rows are locked before, which nobody else waits for with a lock
 * on the table): so two workers, or two sinks into one table, queue for it, and who
 * comes second finds nothing to do.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/error.h"
#include "base/session.h"
#include "write/apply_int.h"
#include "write/command.h"
#include "write/evolve.h"

/* --- before a batch --- */

/* In a subtransaction: an error of the filter is each record's, and later. */
static bool
passes(const KsRoute *r, const Datum *values, const bool *isnull)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;
	volatile bool result = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		result = ks_filter_passes(r->target->filter, r->decoder, NULL, NULL, values, isnull);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		edata = ks_session_catch_subtransaction(owner, cxt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	r->decoder->evaluating = false;
	if (edata && ks_error_passes(edata))
		ks_error_rethrow(edata);
	return result;
}

/* Does the filter leave out all that are of a type of that name (NULL: it has none)? */
static bool
is_left_out(const KsRoute *r, const char *type)
{
	const KsTarget *target = r->target;
	Datum	   *values;
	bool	   *isnull;

	if (target->filter == NULL || type == NULL || !ks_filter_is_of_type(target->filter))
		return false;
	values = palloc0(target->ncols * sizeof(Datum));
	isnull = palloc(target->ncols * sizeof(bool));
	for (int i = 0; i < target->ncols; i++)
	{
		const KsType *t = &target->cols[i].type;

		isnull[i] = !target->cols[i].in_filter;
		if (isnull[i])
			continue;
		if (t->kind != KS_TYPE_TEXT || (int) strlen(type) > t->max_len)
			return false;
		values[i] = CStringGetTextDatum(type);
	}
	return !passes(r, values, isnull);
}

static bool
is_ready(KsApply *ap, KsRoute *r, int record)
{
	KsEvolution *e = &ap->evolution;
	KsShape    *shape = ks_schemas_unsettled(r->decoder, &ap->recs[record], &e->id);

	if (shape == NULL)
		return true;
	if (is_left_out(r, shape->name))
	{
		ks_schemas_leave_out(r->decoder);
		return true;
	}
	if (!ks_evolve_plan(r, shape, &e->id, e))
	{
		e->at = record;
		e->relid = r->target->relid;
		return false;
	}
	ks_schemas_settle(r->decoder);
	return true;
}

bool
ks_evolve_ready(KsApply *ap)
{
	ap->evolution.at = -1;
	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		if (r->lo == r->hi || !ks_schemas_have_unsettled(r->decoder))
			continue;
		for (int j = r->lo; j < r->hi; j++)
			if (!is_ready(ap, r, j))
				return false;
		ks_schemas_all_settled(r->decoder);
	}
	return true;
}

/* --- the change --- */

void
ks_evolve_lock(const KsApply *ap, Oid relid)
{
	/* whoever may not alter it is told so by the statement */
	if (get_rel_relkind(relid) != '\0' && ks_relation_ownercheck(relid, ap->sink->owner))
		LockRelationOid(relid, AccessExclusiveLock);
}

static void
note(const KsApply *ap)
{
	const KsEvolution *e = &ap->evolution;
	const KsRecord *rec = &ap->recs[e->at];
	const KsPartition *p = &ap->parts[rec->pidx];
	Oid			types[] = {TEXTOID, OIDOID, TEXTOID, INT4OID, INT8OID, INT8OID, UUIDOID, TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(ap->sink->name), ObjectIdGetDatum(ap->sink->owner),
		CStringGetTextDatum(p->topic), Int32GetDatum(p->part), Int64GetDatum(rec->off), Int64GetDatum(e->id.id),
		UUIDPGetDatum(&e->id.guid), CStringGetTextDatum(e->statement),
	CStringGetTextDatum(GetUserNameFromId(GetUserId(), false))};

	ks_catalog_execute("INSERT INTO kafka_sink.ddl_history "
					   "(sink, owner, topic, part, off, schema_id, schema_guid, statement, role) "
					   "VALUES ($1, $2::pg_catalog.regrole, $3, $4, $5, $6, $7, $8, $9)",
					   lengthof(types), types, values, e->id.id >= 0 ? "      n  " : "     n   ");
}

/* As SQL, so that event triggers, and whatever looks at statements, see it. */
static void
alter(const KsApply *ap)
{
	SPI_connect();
	if (SPI_execute(ap->evolution.statement, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\"", ap->evolution.statement);
	note(ap);
	SPI_finish();
}

/* With what was to be done, and for which schema. */
static void
explain(const KsApply *ap, ErrorData *edata)
{
	const KsEvolution *e = &ap->evolution;
	char	   *what = psprintf("Schema %s of the registry needs: %s", ks_schema_id_text(&e->id), e->statement);

	edata->detail = edata->detail ? psprintf("%s\n%s", edata->detail, what) : what;
	if (edata->hint == NULL)
		edata->hint = pstrdup("Mend that, or run the statement by hand, and go on; with evolve => 'none' the table stays as it is.");
}

ErrorData *
ks_evolve_run(KsApply *ap)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;

	if (ap->evolution.refused)
		return ap->evolution.refused;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		alter(ap);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		edata = ks_session_catch_subtransaction(owner, ap->batch_cxt);
		MemoryContextSwitchTo(cxt);
	}
	PG_END_TRY();
	if (edata)
	{
		if (ks_error_passes(edata))
			ks_error_rethrow(edata);
		/* told when the transaction has ended */
		MemoryContextSwitchTo(ap->batch_cxt);
		explain(ap, edata);
		MemoryContextSwitchTo(cxt);
		return edata;
	}
	/* rows may have been written anew: the snapshot is to see them */
	CommandCounterIncrement();
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	return NULL;
}
