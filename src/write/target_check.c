/*
 * target_check.c
 *	  What may be the target of a sink: kinds of relations, and privileges of its owner.
 *
 * The kind of a relation is looked at when the target is built, and its tables are watched
 * from then on; privileges are asked for again, since they change without a word.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "catalog/catalog.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "catalog/extension.h"
#include "write/target_int.h"

/*
 * The tables that statements write to.  Those of a partitioned table are watched.
 * Inheritance children have what updates and deletes find there; what others make
 * of inserts (a trigger, an extension) is theirs to answer for.
 */
static List *
list_members(KsTarget *target, const KsSink *sink, Relation rel)
{
	List	   *members = list_make1_oid(RelationGetRelid(rel));

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		members = find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL);
		target->relids = list_concat(target->relids, members);
	}
	else if (rel->rd_rel->relhassubclass &&
			 (sink->delete_enabled || sink->insert_mode == KS_UPDATE || ks_sink_patches(sink)))
	{
		ListCell   *lc;

		foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
			if (lfirst_oid(lc) != RelationGetRelid(rel) &&
				get_rel_persistence(lfirst_oid(lc)) != RELPERSISTENCE_TEMP)
				members = lappend_oid(members, lfirst_oid(lc));
	}
	return members;
}

/* DO NOTHING may meet any of them, and the server refuses those that are checked later. */
static void
check_no_deferrable(Relation rel)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if ((index->rd_index->indisunique || index->rd_index->indisexclusion) && !index->rd_index->indimmediate)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("insert_mode ignore does not go with the deferrable constraint \"%s\" of \"%s\"",
							RelationGetRelationName(index), RelationGetRelationName(rel)),
					 errhint("Use another insert_mode, or make the constraint one that is NOT DEFERRABLE.")));
		index_close(index, NoLock);
	}
}

void
ks_target_check_relation(KsTarget *target, const KsSink *sink, Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" cannot be the target of a sink", name),
				 errdetail("A target is a table or a partitioned table.")));
	if (IsCatalogRelation(rel) ||
		RelationGetNamespace(rel) == ks_extension_schema())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" cannot be the target of a sink", name),
				 errdetail("It is a system table.")));
	if (rel->rd_rules != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" has rules and cannot be the target of a sink", name),
				 errdetail("A rule can make rows vanish without a trace."),
				 errhint("Use a trigger instead.")));
	if (sink->insert_mode == KS_IGNORE)
		check_no_deferrable(rel);

	foreach(lc, list_members(target, sink, rel))
	{
		Oid			relid = lfirst_oid(lc);

		char		persistence = get_rel_persistence(relid);

		if (persistence != RELPERSISTENCE_PERMANENT)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table \"%s\" is not permanent and cannot be the target of a sink",
							get_rel_name(relid)),
					 persistence == RELPERSISTENCE_TEMP ?
					 errdetail("It goes with its session while the offsets stay.") :
					 errdetail("A crash would empty it while the offsets stay."),
					 errhint(persistence == RELPERSISTENCE_TEMP ? "Use a table that is not temporary." :
							 "ALTER TABLE ... SET LOGGED.")));
		if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("foreign table \"%s\" cannot be part of the target of a sink",
							get_rel_name(relid)),
					 errdetail("Its rows do not commit together with the offsets.")));
	}
}

/* Privilege on the table or on each of the columns. */
static bool
has_privilege(const KsSink *sink, const Bitmapset *cols, AclMode mode)
{
	int			c = -1;

	if (pg_class_aclcheck(sink->target, sink->owner, mode) == ACLCHECK_OK)
		return true;
	while ((c = bms_next_member(cols, c)) >= 0)
		if (pg_attribute_aclcheck(sink->target, c + FirstLowInvalidHeapAttributeNumber,
								  sink->owner, mode) != ACLCHECK_OK)
			return false;
	return !bms_is_empty(cols);
}

/* Statements look for it when they are parsed; the fast path has nothing to parse. */
static bool
has_usage(const KsSink *sink)
{
	return ks_namespace_aclcheck(get_rel_namespace(sink->target), sink->owner,
								 ACL_USAGE) == ACLCHECK_OK;
}

static const char *
missing_privilege(const KsSink *sink, const Bitmapset *cols)
{
	bool		changes = sink->insert_mode == KS_UPSERT || sink->insert_mode == KS_UPDATE ||
		sink->insert_mode == KS_ACCUMULATE;

	if (sink->insert_mode != KS_UPDATE && !has_privilege(sink, cols, ACL_INSERT))
		return "INSERT";
	if (changes && !has_privilege(sink, cols, ACL_UPDATE))
		return "UPDATE";
	if ((changes || sink->delete_enabled) &&
		!has_privilege(sink, cols, ACL_SELECT))
		return "SELECT";
	if (sink->delete_enabled &&
		pg_class_aclcheck(sink->target, sink->owner, ACL_DELETE) != ACLCHECK_OK)
		return "DELETE";
	return NULL;
}

bool
ks_target_has_privileges(const KsSink *sink, const KsTarget *target)
{
	return has_usage(sink) && missing_privilege(sink, target->written_cols) == NULL;
}

void
ks_target_check_privileges(const KsSink *sink, const KsTarget *target)
{
	const char *missing;
	char	   *schema = get_namespace_name(get_rel_namespace(sink->target));

	if (!has_usage(sink))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not write to \"%s\" as sink \"%s\" does",
						GetUserNameFromId(sink->owner, false),
						get_rel_name(sink->target), sink->name),
				 errdetail("Privilege USAGE on schema \"%s\" is missing.", schema),
				 errhint("GRANT USAGE ON SCHEMA %s TO %s.", quote_identifier(schema),
						 quote_identifier(GetUserNameFromId(sink->owner, false)))));
	pfree(schema);
	missing = missing_privilege(sink, target->written_cols);
	if (missing)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not write to \"%s\" as sink \"%s\" does",
						GetUserNameFromId(sink->owner, false),
						get_rel_name(sink->target), sink->name),
				 errdetail("Privilege %s is missing.", missing),
				 errhint("GRANT %s ON %s TO %s.", missing,
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(sink->target)),
													get_rel_name(sink->target)),
						 quote_identifier(GetUserNameFromId(sink->owner, false)))));
}
