/*
 * target_build.c
 *	  The target relation: its columns, where their values come from, its key.
 *
 * Each column that can be written is filled from the field of the same name
 * unless the sink's "columns" say otherwise; generated columns are the server's
 * own.  The key is the primary key, or the unique index over exactly pk_fields.
 *
 * An identity that is GENERATED ALWAYS is filled when a row is inserted, as any
 * other column (the statements override it); the server allows no update of it,
 * so rows that are there keep theirs.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/guc.h"
#include "catalog/extension.h"
#include "write/accumulate.h"
#include "write/apply.h"
#include "write/command.h"
#include "write/target_build.h"

/* The built targets of this process, which relcache events invalidate. */
static KsTarget *targets = NULL;

static void
relcache_callback(Datum arg, Oid relid)
{
	for (KsTarget *t = targets; t; t = t->next)
		if (relid == InvalidOid || list_member_oid(t->relids, relid) ||
			list_member_oid(t->watched, relid) || list_member_oid(t->types.relids, relid))
			t->valid = false;
}

/* A domain has another default. */
static void
type_callback(Datum arg, int cacheid, uint32 hash)
{
	for (KsTarget *t = targets; t; t = t->next)
		if (ks_target_has_domain(t, hash))
			t->valid = false;
}

/* A function does something else. */
static void
function_callback(Datum arg, int cacheid, uint32 hash)
{
	for (KsTarget *t = targets; t; t = t->next)
		if (t->calls)
			t->valid = false;
}

/* However its memory goes: plans are not in it. */
static void
release_target(void *arg)
{
	KsTarget   *target = arg;

	for (KsTarget **p = &targets; *p; p = &(*p)->next)
		if (*p == target)
		{
			*p = target->next;
			break;
		}
	if (target->insert_plan)
		SPI_freeplan(target->insert_plan);
	if (target->delete_plan)
		SPI_freeplan(target->delete_plan);
	if (target->patch_plan)
		SPI_freeplan(target->patch_plan);
	if (target->command)
		ks_command_free(target);
}

/* --- what may be a target --- */

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

static void
check_relation(KsTarget *target, const KsSink *sink, Relation rel)
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

	foreach(lc, list_members(target, sink, rel))
	{
		Oid			relid = lfirst_oid(lc);

		if (get_rel_persistence(relid) != RELPERSISTENCE_PERMANENT)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table \"%s\" is not permanent and cannot be the target of a sink",
							get_rel_name(relid)),
					 errdetail("A crash would empty it while the offsets stay."),
					 errhint("ALTER TABLE ... SET LOGGED.")));
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

/* --- columns --- */

/* The name of no column. */
static char *
free_name(Relation rel, const char *name)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, name);
	while (get_attnum(RelationGetRelid(rel), buf.data) != InvalidAttrNumber)
		appendStringInfoChar(&buf, '_');
	return buf.data;
}

/* What a decoded row looks like, to the statements too. */
static void
describe_rows(KsTarget *target, const KsSink *sink, Relation rel)
{
	/* an update leaves columns alone that a record does not have */
	bool		may_lack = sink->insert_mode == KS_UPDATE || ks_sink_patches(sink);

	target->nvalues = target->ncols + may_lack;
	target->rowdesc = CreateTemplateTupleDesc(target->nvalues);
	for (int i = 0; i < target->ncols; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), target->cols[i].attnum - 1);

		TupleDescInitEntry(target->rowdesc, i + 1, target->cols[i].name,
						   att->atttypid, att->atttypmod, att->attndims);
		TupleDescInitEntryCollation(target->rowdesc, i + 1, att->attcollation);
	}
	if (may_lack)
	{
		target->given = free_name(rel, "given");
		TupleDescInitEntry(target->rowdesc, target->nvalues, target->given, BYTEAOID, -1, 0);
	}
}

/* Does a column belong to the key?  As far as it can be told before the key is looked for. */
static bool
belongs_to_key(const KsSink *sink, Relation rel, Form_pg_attribute att)
{
	ListCell   *lc;

	if (sink->pk_fields == NIL)
		return bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber,
							 RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY));
	foreach(lc, sink->pk_fields)
		if (strcmp(lfirst(lc), NameStr(att->attname)) == 0)
			return true;
	return false;
}

/* May records fill it?  If not, "columns" must not say that they do. */
static bool
can_fill(const KsSink *sink, Relation rel, Form_pg_attribute att, bool mapped)
{
	bool		generated = att->attgenerated != '\0';

	if (!generated && (att->attidentity != ATTRIBUTE_IDENTITY_ALWAYS ||
					   sink->insert_mode != KS_UPDATE || belongs_to_key(sink, rel, att)))
		return true;
	if (mapped)
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("column \"%s\" cannot be %s from a record", NameStr(att->attname),
						generated ? "filled" : "updated"),
				 generated ? errdetail("It is generated always.") :
				 errdetail("It is an identity column that is generated always."),
				 generated ? 0 : errhint("ALTER TABLE ... ALTER COLUMN %s SET GENERATED BY DEFAULT.",
										 quote_identifier(NameStr(att->attname)))));
	return false;
}

static void
build_columns(KsTarget *target, const KsSink *sink, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	ks_columns_check_names(sink, rel);
	target->cols = palloc0(desc->natts * sizeof(KsColumn));
	target->fields = palloc0(desc->natts * sizeof(KsField));
	target->econtext = CreateStandaloneExprContext();
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		KsColumn   *col = &target->cols[target->ncols];
		KsMapping	mapping;
		char	   *source;
		bool		excluded;

		if (att->attisdropped)
			continue;
		mapping = ks_columns_mapping(sink, NameStr(att->attname));
		if (mapping.excluded)
			continue;
		source = mapping.source;
		if (!can_fill(sink, rel, att, source != NULL))
			continue;
		if (source == NULL && !ks_format_has_names(sink->format))
		{
			source = ks_format_source(target, sink, rel, att->attnum, &excluded);
			if (excluded)
				continue;
		}
		col->name = pstrdup(NameStr(att->attname));
		col->attnum = att->attnum;
		col->keyno = -1;
		col->insert_only = att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS &&
			!belongs_to_key(sink, rel, att);
		ks_type_init(&col->type, att->atttypid, att->atttypmod, &target->types);
		if (source)
			ks_columns_set_source(target, col, source);
		else
		{
			col->source = KS_FROM_VALUE_FIELD;
			col->field = ks_columns_add_field(target, col->name, strlen(col->name));
			col->by_name = true;
		}
		if (mapping.unit != KS_UNIT_NONE)
			ks_columns_set_unit(col, mapping.unit);
		col->when = ks_volatility_of_domain(att->atttypid);
		col->type.check_later = col->when != KS_WITH_RECORD;
		col->default_expr = ks_target_plan_default(target, rel, att, false);
		if (col->default_expr)
		{
			col->when = Max(col->when, ks_volatility_of((Node *) col->default_expr));
			if (col->when == KS_WITH_RECORD)
				col->defexpr = ExecInitExpr(col->default_expr, NULL);
		}
		target->ncols++;
	}
	if (target->ncols == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no column of \"%s\" is left to fill", RelationGetRelationName(rel))));

	ks_format_check(target, sink);
	ks_names_init(&target->names, target->fields, target->nfields);
	describe_rows(target, sink, rel);
}

static void
build_from_relation(KsTarget *target, const KsSink *sink, Relation rel)
{
	StringInfoData deletes;

	check_relation(target, sink, rel);
	target->qualified_name =
		quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
								   RelationGetRelationName(rel));
	target->rows_may_vanish = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		(rel->trigdesc && (rel->trigdesc->trig_insert_before_row ||
						   rel->trigdesc->trig_update_before_row ||
						   rel->trigdesc->trig_delete_before_row));
	build_columns(target, sink, rel);
	for (int i = 0; i < target->ncols; i++)
		target->written_cols = bms_add_member(target->written_cols,
											  target->cols[i].attnum - FirstLowInvalidHeapAttributeNumber);
	ks_target_check_privileges(sink, target);
	initStringInfo(&deletes);
	if ((sink->insert_mode != KS_INSERT && sink->insert_mode != KS_IGNORE) ||
		sink->delete_enabled || sink->pk_fields != NIL)
		ks_target_build_key(target, sink, rel, &deletes);
	if (sink->insert_mode == KS_ACCUMULATE)
		ks_accumulate_plan(sink, rel, target);
	ks_target_build_sql(target, sink, rel, deletes.data);
	ks_target_plan(target);
	if (ks_guc_fast_path)
		target->fast = ks_fast_plan(sink, rel, target);
}

KsTarget *
ks_target_build(const KsSink *sink, MemoryContext parent)
{
	static bool registered = false;
	MemoryContext cxt;
	MemoryContext old;
	MemoryContextCallback *cb;
	Relation	rel;
	KsTarget   *target;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, type_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(PROCOID, function_callback, (Datum) 0);
		registered = true;
	}
	rel = sink->command ? NULL : try_relation_open(sink->target, RowExclusiveLock);
	if (rel == NULL && sink->command == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the target of sink \"%s\" does not exist any more", sink->name),
				 sink->topic ?
				 errhint("SELECT kafka_sink.alter_topic(%s, %s, target => ...), then kafka_sink.resume(%s).",
						 quote_literal_cstr(sink->name), quote_literal_cstr(sink->topic),
						 quote_literal_cstr(sink->name)) :
				 errhint("SELECT kafka_sink.alter_sink(%s, target => ...), then kafka_sink.resume(%s).",
						 quote_literal_cstr(sink->name), quote_literal_cstr(sink->name))));
	cxt = AllocSetContextCreate(parent, "kafka_sink target", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	target = palloc0(sizeof(KsTarget));
	target->cxt = target->types.cxt = cxt;
	target->relid = sink->target;
	target->valid = true;
	target->deletes = sink->delete_enabled;
	target->format = sink->format;
	target->envelope = sink->envelope;
	cb = palloc0(sizeof(MemoryContextCallback));
	cb->func = release_target;
	cb->arg = target;
	MemoryContextRegisterResetCallback(cxt, cb);
	/* watched from here on: a change while it is built counts */
	target->relids = list_make1_oid(sink->target);
	target->next = targets;
	targets = target;

	if (rel)
		build_from_relation(target, sink, rel);
	else
		ks_command_build(target, sink);
	if (sink->filter)
		target->filter = ks_filter_build(target, sink);
	MemoryContextSwitchTo(old);
	if (rel)
		table_close(rel, NoLock);
	return target;
}

void
ks_target_free(KsTarget *target)
{
	MemoryContextDelete(target->cxt);
}

void
ks_target_check_names(const KsSink *sink, const KsTarget *old, KsTarget *target)
{
	for (int i = 0; i < old->ncols; i++)
	{
		const KsColumn *was = &old->cols[i];
		int			c = was->by_name ? ks_target_find_column(target, was->attnum) : -1;
		KsColumn   *col = c >= 0 ? &target->cols[c] : NULL;

		if (col == NULL)
			continue;			/* dropped: its field has no place any more */
		if (col->by_name && was->filled && strcmp(was->name, col->name) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of \"%s\" has been renamed to \"%s\"", was->name,
							get_rel_name(target->relid), col->name),
					 errdetail("Records have filled it from their field \"%s\".", was->name),
					 errhint("Map the field in \"columns\" (\"%s\": \"%s\") or let records have one of the new name; then kafka_sink.resume(%s).",
							 col->name, was->name, quote_literal_cstr(sink->name))));
		col->filled = was->filled;
	}
}

bool
ks_target_valid(KsTarget *target)
{
	/* taking the lock processes invalidations */
	if (OidIsValid(target->relid))
		LockRelationOid(target->relid, RowExclusiveLock);
	else
		AcceptInvalidationMessages();
	return target->valid && (target->command || ks_target_plan_valid(target)) &&
		(target->filter == NULL || ks_filter_valid(target->filter));
}
