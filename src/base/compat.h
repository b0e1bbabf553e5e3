/*
 * compat.h
 *	  Differences between server and library versions: the only place that
 *	  looks at PG_VERSION_NUM.
 */
#ifndef KS_COMPAT_H
#define KS_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 190000
#error "kafka_sink supports PostgreSQL 14 to 18"
#endif

#define PG15_GE		(PG_VERSION_NUM >= 150000)
#define PG16_GE		(PG_VERSION_NUM >= 160000)
#define PG17_GE		(PG_VERSION_NUM >= 170000)
#define PG18_GE		(PG_VERSION_NUM >= 180000)

/* What is in datums of variable length is not in postgres.h from 16 on. */
#if PG16_GE
#include "varatt.h"
#endif

/* Functions that do not return; PostgreSQL has changed the spelling. */
#define KS_NORETURN	__attribute__((noreturn))

/* Owners without LOGIN can run workers from 17 on. */
#if PG17_GE
#define KS_BYPASS_ROLELOGINCHECK	BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define KS_BYPASS_ROLELOGINCHECK	0
#endif

/* Its first argument became a resource owner. */
#if PG17_GE
#define ks_create_wait_event_set(n)	CreateWaitEventSet(NULL, (n))
#else
#define ks_create_wait_event_set(n)	CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* A random number in [0, 1). */
#if PG15_GE
#include "common/pg_prng.h"
#define ks_random_double()	pg_prng_double(&pg_global_prng_state)
#else
#define ks_random_double()	((double) random() / ((double) MAX_RANDOM_VALUE + 1))
#endif

/* The transaction at hand, as a number that this process uses once. */
#if PG17_GE
#define ks_local_transaction()	(MyProc->vxid.lxid)
#else
#define ks_local_transaction()	(MyProc->lxid)
#endif

/* One function checks privileges on objects of every kind from 16 on. */
#if PG16_GE
#define ks_server_aclcheck(server, role, mode) \
	object_aclcheck(ForeignServerRelationId, (server), (role), (mode))
#else
#define ks_server_aclcheck(server, role, mode) \
	pg_foreign_server_aclcheck((server), (role), (mode))
#endif

#if PG16_GE
#include "catalog/pg_namespace_d.h"
#define ks_namespace_aclcheck(nsp, role, mode) \
	object_aclcheck(NamespaceRelationId, (nsp), (role), (mode))
#else
#define ks_namespace_aclcheck(nsp, role, mode) \
	pg_namespace_aclcheck((nsp), (role), (mode))
#endif

/* May a role become another?  From 16 on it may be a member, and yet not. */
#include "utils/acl.h"
#if PG16_GE
#define ks_can_set_role(member, role)	member_can_set_role((member), (role))
#else
#define ks_can_set_role(member, role)	is_member_of_role((member), (role))
#endif

/* Ownership checks, likewise. */
#if PG16_GE
#define ks_database_ownercheck(db, role)	object_ownercheck(DatabaseRelationId, (db), (role))
#define ks_extension_ownercheck(ext, role)	object_ownercheck(ExtensionRelationId, (ext), (role))
#define ks_server_ownercheck(server, role)	object_ownercheck(ForeignServerRelationId, (server), (role))
#define ks_relation_ownercheck(rel, role)	object_ownercheck(RelationRelationId, (rel), (role))
#else
#define ks_database_ownercheck(db, role)	pg_database_ownercheck((db), (role))
#define ks_extension_ownercheck(ext, role)	pg_extension_ownercheck((ext), (role))
#define ks_server_ownercheck(server, role)	pg_foreign_server_ownercheck((server), (role))
#define ks_relation_ownercheck(rel, role)	pg_class_ownercheck((rel), (role))
#endif

/* Set-returning functions that fill a tuplestore. */
#include "fmgr.h"
#include "funcapi.h"
#if PG15_GE
#define ks_init_materialized_srf(fcinfo)	InitMaterializedSRF((fcinfo), 0)
#else
#include "miscadmin.h"
#include "utils/tuplestore.h"
static inline void
ks_init_materialized_srf(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap(true, false, work_mem);
	rsinfo->setDesc = desc;
	MemoryContextSwitchTo(old);
}
#endif

/* Reserving the prefix of settings. */
#if !PG15_GE
#define MarkGUCPrefixReserved(prefix)	EmitWarningsOnPlaceholders(prefix)
#endif

/* An executor state over one relation that is written to. */
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "utils/rel.h"
static inline void
ks_init_range_table(EState *estate, Relation rel, Bitmapset *inserted, Bitmapset *updated)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#if PG16_GE
	{
		List	   *perminfos = NIL;
		RTEPermissionInfo *perminfo = addRTEPermissionInfo(&perminfos, rte);

		perminfo->insertedCols = bms_copy(inserted);
		perminfo->updatedCols = bms_copy(updated);
#if PG18_GE
		ExecInitRangeTable(estate, list_make1(rte), perminfos, bms_make_singleton(1));
#else
		ExecInitRangeTable(estate, list_make1(rte), perminfos);
#endif
	}
#else
	rte->insertedCols = bms_copy(inserted);
	rte->updatedCols = bms_copy(updated);
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/* Queues what follows an update, of a table that is no partition. */
#include "commands/trigger.h"
static inline void
ks_exec_ar_update_triggers(EState *estate, ResultRelInfo *rri, ItemPointer old,
						   TupleTableSlot *new, TransitionCaptureState *capture)
{
#if PG15_GE
	ExecARUpdateTriggers(estate, rri, NULL, NULL, old, NULL, new, NIL, capture, false);
#else
	ExecARUpdateTriggers(estate, rri, old, NULL, new, NIL, capture);
#endif
}

/* What a scan is begun with, whether NULLs are alike, and what an update tells of indexes. */
#include "access/genam.h"
#include "access/tableam.h"
#if PG18_GE
#define ks_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0)
#else
#define ks_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), 0)
#endif
/* Does an index hold anything from one insert to the next, such as pages (brin, from 17 on)? */
#if PG17_GE
#include "access/amapi.h"
#define ks_index_holds(index)	((index)->rd_indam->aminsertcleanup != NULL)
#else
#define ks_index_holds(index)	false
#endif
#if PG15_GE
#define KS_NULLS_NOT_DISTINCT(index)	((index)->rd_index->indnullsnotdistinct)
#else
#define KS_NULLS_NOT_DISTINCT(index)	false
#endif
#if PG16_GE
typedef TU_UpdateIndexes KsUpdateIndexes;
#define KS_UPDATE_ALL_INDEXES(u)	((u) == TU_All)
#else
typedef bool KsUpdateIndexes;
#define KS_UPDATE_ALL_INDEXES(u)	(u)
#endif

/* How to compare in the order of an index. */
#include "access/stratnum.h"
#include "utils/sortsupport.h"
#if PG18_GE
#define ks_sort_support_from_index(index, descending, ssup) \
	PrepareSortSupportFromIndexRel((index), (descending), (ssup))
#else
#define ks_sort_support_from_index(index, descending, ssup) \
	PrepareSortSupportFromIndexRel((index), (descending) ? BTGreaterStrategyNumber : \
								   BTLessStrategyNumber, (ssup))
#endif

#if PG16_GE
#define ks_exec_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, false, NULL, NIL, false)
#else
#define ks_exec_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, false, NULL, NIL)
#endif

/* A statement without parameters, and all rows of one that is planned. */
#include "tcop/tcopprot.h"
#if PG15_GE
#define ks_analyze_and_rewrite(raw, sql)	pg_analyze_and_rewrite_fixedparams((raw), (sql), NULL, 0, NULL)
#else
#define ks_analyze_and_rewrite(raw, sql)	pg_analyze_and_rewrite((raw), (sql), NULL, 0, NULL)
#endif
/* Whose privileges the one table of a query is read by, whoever runs it. */
#if PG16_GE
#define ks_check_as(query, role)	(linitial_node(RTEPermissionInfo, (query)->rteperminfos)->checkAsUser = (role))
#else
#define ks_check_as(query, role)	(linitial_node(RangeTblEntry, (query)->rtable)->checkAsUser = (role))
#endif
#if PG18_GE
#define ks_executor_run(desc)	ExecutorRun((desc), ForwardScanDirection, 0)
#else
#define ks_executor_run(desc)	ExecutorRun((desc), ForwardScanDirection, 0, true)
#endif

/*
 * Replication slots, WAL and logical messages; who uses these includes what they
 * need.  A slot follows to standbys from 17 on.
 */
#if PG17_GE
#define ks_slot_create(name, failover)	ReplicationSlotCreate((name), true, RS_EPHEMERAL, false, (failover), false)
#define KS_SLOT_FOLLOWS(slot)	((slot)->data.failover)
#define ks_standbys_have(lsn, elevel)	StandbySlotsHaveCaughtup((lsn), (elevel))
#define ks_log_message(prefix, data, size)	LogLogicalMessage((prefix), (data), (size), true, false)
#else
#define ks_slot_create(name, failover)	ReplicationSlotCreate((name), true, RS_EPHEMERAL, false)
#define KS_SLOT_FOLLOWS(slot)	false
#define ks_standbys_have(lsn, elevel)	true
#define ks_log_message(prefix, data, size)	LogLogicalMessage((prefix), (data), (size), true)
#endif
#if PG18_GE
#define ks_slot_set_follows(name, follows)	ReplicationSlotAlter((name), &(follows), NULL)
#elif PG17_GE
#define ks_slot_set_follows(name, follows)	ReplicationSlotAlter((name), (follows))
#else
#define ks_slot_set_follows(name, follows)	((void) 0)
#endif
#if PG18_GE
#define ks_slot_acquire(name)	ReplicationSlotAcquire((name), true, true)
#else
#define ks_slot_acquire(name)	ReplicationSlotAcquire((name), true)
#endif
#if PG16_GE
#define KS_SLOT_IS_LOST(slot)	((slot)->data.invalidated != RS_INVAL_NONE)
#else
#define KS_SLOT_IS_LOST(slot)	(!XLogRecPtrIsInvalid((slot)->data.invalidated_at))
#endif
#if PG15_GE
#define ks_flushed_lsn()	GetFlushRecPtr(NULL)
#define ks_timeline()		GetWALInsertionTimeLine()
#define ks_determine_timeline(reader, page, len, tli)	XLogReadDetermineTimeline((reader), (page), (len), (tli))
#define KS_COMMIT_TIME(txn)	((txn)->xact_time.commit_time)
#else
#define ks_flushed_lsn()	GetFlushRecPtr()
#define ks_timeline()		((void) RecoveryInProgress(), ThisTimeLineID)
#define ks_determine_timeline(reader, page, len, tli)	XLogReadDetermineTimeline((reader), (page), (len))
#define KS_COMMIT_TIME(txn)	((txn)->commit_time)
#endif

/*
 * Btrees; who uses these includes access/nbtree.h.  (Before a version is let in, compare
 * apply_leaf.c with its _bt_doinsert(): what a page without WAL is given for an LSN, too.)
 */
#if PG17_GE
#define ks_bt_search(index, heap, key, buf)	_bt_search((index), (heap), (key), (buf), BT_WRITE)
#elif PG16_GE
#define ks_bt_search(index, heap, key, buf)	_bt_search((index), (heap), (key), (buf), BT_WRITE, NULL)
#else
#define ks_bt_search(index, heap, key, buf)	((void) (heap), _bt_search((index), (key), (buf), BT_WRITE, NULL))
#endif
#if PG15_GE
#define ks_bt_opaque(page)	BTPageGetOpaque(page)
#else
#define ks_bt_opaque(page)	((BTPageOpaque) PageGetSpecialPointer(page))
#endif

#endif
