/*
 * offsets_move.c
 *	  Moves rows of txn_offsets where they stand, without a statement.
 *
 * It does what the UPDATE of offsets.c does: a row moves only if it has the key
 * and the offset that is expected, the table's constraints hold for it, and its
 * triggers fire.  Two things are cheaper.  There is nothing to plan and to start
 * up; and the new version's entry in the index of the key, where it needs one,
 * is made without a check for other rows of that key, which would visit all old
 * versions that are still there (see offsets_place.c).
 *
 * Why no check is needed: the key does not change, and the version that has it
 * is locked by this transaction, visible to it, and replaced by it.  Whoever
 * looks whether the key is free meets that version or the new one, one of them
 * in the hands of this transaction, and waits for its end.  He could miss both
 * only if he passed the place of the new entry before it was made and came to
 * the old one after the commit: ks_offsets_pass_checks() waits for those who
 * are on their way.
 *
 * can_move() is the place that says which tables are moved here.  The statement
 * is for all others, and for rows that are not found where they were.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "catalog/offsets_int.h"

typedef struct Move
{
	const char *sink;
	Relation	rel;
	Oid			key;			/* the index of (sink, topic, part) */
	BlockNumber nblocks;
	EState	   *estate;
	ResultRelInfo *rri;
	TransitionCaptureState *capture;
	Snapshot	snapshot;
	Bitmapset  *updated;		/* columns, as offsets from the lowest of the system's */
	TupleTableSlot *old;
	TupleTableSlot *new;
} Move;

/* --- whether --- */

static bool
has_known_columns(TupleDesc desc)
{
	static const struct
	{
		const char *name;
		Oid			type;
	}			known[KS_OFFSETS_NCOLUMNS] = {
		{"sink", TEXTOID}, {"topic", TEXTOID}, {"part", INT4OID}, {"off", INT8OID},
		{"start_off", INT8OID}, {"last_off", INT8OID}, {"last_hash", INT8OID},
		{"topic_id", UUIDOID}, {"consumed", INT8OID}, {"applied", INT8OID},
		{"deleted", INT8OID}, {"filtered", INT8OID}, {"dead_lettered", INT8OID},
		{"ignored", INT8OID}, {"superseded", INT8OID}, {"unmatched", INT8OID},
		{"gaps", INT8OID}, {"updated_at", TIMESTAMPTZOID}
	};

	/* (columns that are dropped count) */
	Assert(desc->natts >= KS_OFFSETS_NCOLUMNS);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attgenerated != '\0')
			return false;
		if (i < KS_OFFSETS_NCOLUMNS &&
			(att->atttypid != known[i].type || strcmp(NameStr(att->attname), known[i].name) != 0))
			return false;
	}
	return true;
}

/* Is the key's index there, and are others such that entries are all they need? */
static bool
has_plain_indexes(Relation rel, Oid *key_oid)
{
	Relation	key = ks_offsets_open_key(rel, RowExclusiveLock);
	List	   *indexes;
	ListCell   *lc;
	bool		ok = true;

	if (key == NULL)
		return false;
	*key_oid = RelationGetRelid(key);
	index_close(key, NoLock);
	indexes = RelationGetIndexList(rel);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);

		ok &= index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indisvalid && index->rd_index->indimmediate &&
			!index->rd_index->indisexclusion &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL);
		index_close(index, NoLock);
	}
	list_free(indexes);
	return ok;
}

/* A trigger may change a row, or keep it, before it is moved. */
static bool
has_triggers_before_rows(const TriggerDesc *trigdesc)
{
	return trigdesc && (trigdesc->trig_update_before_row || trigdesc->trig_update_instead_row);
}

static bool
can_move(Relation rel, Oid *key)
{
	return rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		!rel->rd_rel->relispartition &&
		rel->rd_rules == NULL &&
		check_enable_rls(RelationGetRelid(rel), InvalidOid, true) != RLS_ENABLED &&
		!has_triggers_before_rows(rel->trigdesc) &&
		pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT | ACL_UPDATE) == ACLCHECK_OK &&
		has_known_columns(RelationGetDescr(rel)) &&
		has_plain_indexes(rel, key);
}

/* --- one row --- */

static void
set_int8(TupleTableSlot *slot, int attnum, int64 value)
{
	slot->tts_values[attnum - 1] = Int64GetDatum(value);
	slot->tts_isnull[attnum - 1] = false;
}

/* The row as it is to be. */
static void
form_new(Move *m, const KsPartition *p)
{
	TupleTableSlot *old = m->old;
	TupleTableSlot *new = m->new;
	const int64 *counts = (const int64 *) &p->counts;
	int			natts = RelationGetDescr(m->rel)->natts;

	ExecClearTuple(new);
	memcpy(new->tts_values, old->tts_values, natts * sizeof(Datum));
	memcpy(new->tts_isnull, old->tts_isnull, natts * sizeof(bool));
	set_int8(new, KS_OFFSETS_OFF, p->until);
	if (p->new_last_off >= 0)
	{
		set_int8(new, KS_OFFSETS_LAST_OFF, p->new_last_off);
		set_int8(new, KS_OFFSETS_LAST_HASH, (int64) p->new_last_hash);
	}
	for (int i = 0; i <= KS_OFFSETS_GAPS - KS_OFFSETS_CONSUMED; i++)
	{
		int			a = KS_OFFSETS_CONSUMED + i - 1;

		/* an error where a sum is too large */
		new->tts_values[a] = DirectFunctionCall2(int8pl, old->tts_values[a], Int64GetDatum(counts[i]));
	}
	new->tts_values[KS_OFFSETS_UPDATED_AT - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	new->tts_isnull[KS_OFFSETS_UPDATED_AT - 1] = false;
	ExecStoreVirtualTuple(new);
	new->tts_tableOid = RelationGetRelid(m->rel);
}

static bool
is_changed(Move *m, const IndexInfo *info)
{
	for (int i = 0; i < info->ii_NumIndexAttrs; i++)
		if (bms_is_member(info->ii_IndexAttrNumbers[i] - FirstLowInvalidHeapAttributeNumber, m->updated))
			return true;
	return false;
}

static void
insert_entries(Move *m)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	if (m->rri->ri_IndexRelationDescs == NULL)
		ExecOpenIndices(m->rri, false);
	for (int i = 0; i < m->rri->ri_NumIndices; i++)
	{
		Relation	index = m->rri->ri_IndexRelationDescs[i];
		IndexInfo  *info = m->rri->ri_IndexRelationInfo[i];
		bool		is_key = RelationGetRelid(index) == m->key;

		if (!info->ii_ReadyForInserts)
			continue;
		FormIndexDatum(info, m->new, m->estate, values, isnull);
		index_insert(index, values, isnull, &m->new->tts_tid, m->rel,
					 info->ii_Unique && !is_key ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
					 !is_changed(m, info), info);
		if (is_key)
			ks_offsets_pass_checks(m->rel, index, m->new);
	}
}

/* The version to be replaced; false if it is not there as it is expected. */
static bool
fetch_old(Move *m, const KsPartition *p)
{
	ItemPointer place = ks_offsets_place(m->sink, p);

	return place != NULL &&
		ItemPointerGetBlockNumber(place) < m->nblocks &&
		table_tuple_fetch_row_version(m->rel, place, m->snapshot, m->old) &&
		ks_offsets_is_row(m->old, m->sink, p) &&
		!m->old->tts_isnull[KS_OFFSETS_OFF - 1] &&
		DatumGetInt64(m->old->tts_values[KS_OFFSETS_OFF - 1]) == p->off;
}

/* The guard: false, and nothing done, unless the row stands at p->off. */
static bool
move_row(Move *m, const KsPartition *p)
{
	TM_FailureData tmfd;
	LockTupleMode lockmode;
	KsUpdateIndexes update_indexes;
	ItemPointerData tid;

	if (!fetch_old(m, p))
		return false;
	tid = m->old->tts_tid;
	form_new(m, p);
	if (RelationGetDescr(m->rel)->constr != NULL)
		ExecConstraints(m->rri, m->new, m->estate);
	/* another result: somebody has changed it, so it is not locked; the statement sees to it */
	if (table_tuple_update(m->rel, &tid, m->new, m->estate->es_output_cid, m->snapshot,
						   InvalidSnapshot, true, &tmfd, &lockmode, &update_indexes) != TM_Ok)
		return false;
	if (KS_UPDATE_ALL_INDEXES(update_indexes))
		insert_entries(m);
	ks_exec_ar_update_triggers(m->estate, m->rri, &tid, m->new, m->capture);
	ks_offsets_placed(m->sink, p, &m->new->tts_tid);
	ResetPerTupleExprContext(m->estate);
	return true;
}

/* --- all rows --- */

static void
begin(Move *m)
{
	Relation	rel = m->rel;

	PreventCommandIfReadOnly("UPDATE");
	CheckCmdReplicaIdentity(rel, CMD_UPDATE);
	for (int a = KS_OFFSETS_OFF; a <= KS_OFFSETS_NCOLUMNS; a++)
		if (a != KS_OFFSETS_START_OFF && a != KS_OFFSETS_TOPIC_ID)
			m->updated = bms_add_member(m->updated, a - FirstLowInvalidHeapAttributeNumber);

	/* what is there is seen as a statement sees it */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	m->snapshot = GetActiveSnapshot();
	m->estate = CreateExecutorState();
	ks_init_range_table(m->estate, rel, NULL, m->updated);
	m->estate->es_output_cid = GetCurrentCommandId(true);
	m->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(m->rri, rel, 1, NULL, 0);
	m->estate->es_opened_result_relations = list_make1(m->rri);
	m->old = ExecInitExtraTupleSlot(m->estate, RelationGetDescr(rel), table_slot_callbacks(rel));
	m->new = ExecInitExtraTupleSlot(m->estate, RelationGetDescr(rel), table_slot_callbacks(rel));

	AfterTriggerBeginQuery();
	m->capture = MakeTransitionCaptureState(rel->trigdesc, RelationGetRelid(rel), CMD_UPDATE);
	ExecBSUpdateTriggers(m->estate, m->rri);
}

/* Triggers of the rows and the statement fire here, those that do not wait. */
static void
end(Move *m)
{
	ExecASUpdateTriggers(m->estate, m->rri, m->capture);
	AfterTriggerEndQuery(m->estate);
	ExecResetTupleTable(m->estate->es_tupleTable, false);
	ExecCloseResultRelations(m->estate);
	FreeExecutorState(m->estate);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

bool
ks_offsets_move_in_place(const char *sink, KsPartition *const *parts, int n, bool *hit)
{
	Relation	rel = ks_offsets_open(RowExclusiveLock);
	Move		m = {.sink = sink, .rel = rel, .nblocks = RelationGetNumberOfBlocks(rel)};
	bool		can = can_move(rel, &m.key);

	if (can)
	{
		begin(&m);
		for (int i = 0; i < n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			hit[i] = move_row(&m, parts[i]);
		}
		end(&m);
	}
	table_close(rel, NoLock);
	return can;
}
