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
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/guc.h"
#include "write/accumulate.h"
#include "write/apply_int.h"
#include "write/command.h"
#include "write/target_int.h"

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
	ks_functions_changed++;
	for (KsTarget *t = targets; t; t = t->next)
		if (t->calls)
			t->valid = false;
}

/* Of a schema: the statements call the target by its name, which may be another table's now. */
static void
schema_callback(Datum arg, int cacheid, uint32 hash)
{
	for (KsTarget *t = targets; t; t = t->next)
		if (hash == 0 || hash == t->schema_hash)
		{
			t->renamed = OidIsValid(t->relid);
			t->valid &= !t->renamed;
		}
}

/* Of an operator, a collation or an operator class, which statements call by their names, too. */
static void
name_callback(Datum arg, int cacheid, uint32 hash)
{
	for (KsTarget *t = targets; t; t = t->next)
		if (t->nkeys > 0)
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
	for (int i = 0; i < KS_BATCH_SIZES; i++)
	{
		if (target->insert_plans[i])
			SPI_freeplan(target->insert_plans[i]);
		if (target->delete_plans[i])
			SPI_freeplan(target->delete_plans[i]);
		if (target->patch_plans[i])
			SPI_freeplan(target->patch_plans[i]);
	}
	if (target->command)
		ks_command_free(target);
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
			col->by_order = sink->format == KS_FORMAT_CSV;
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
		ks_target_check_type(target, col);
		target->ncols++;
	}
	if (target->ncols == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no column of \"%s\" is left to fill", RelationGetRelationName(rel))));

	ks_target_build_defaults(target, sink, rel);
	ks_format_check(target, sink);
	ks_names_init(&target->names, target->fields, target->nfields);
	describe_rows(target, sink, rel);
}

bool
ks_target_shares_rows(const KsTarget *target, Oid relid)
{
	return OidIsValid(target->relid) &&
		(list_member_oid(target->relids, relid) || list_member_oid(target->ancestors, relid));
}

/* In the current context. */
static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

bool
ks_target_is_renamed(const KsTarget *target)
{
	/* schemas are not locked */
	return unlikely(target->renamed) && strcmp(qualified_name(target->relid), target->qualified_name) != 0;
}

void
ks_target_check_name(const KsTarget *target)
{
	if (ks_target_is_renamed(target))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the schema of table %s has been renamed", target->qualified_name),
				 errdetail("While records were written to it, it has become %s.", qualified_name(target->relid))));
}

static void
build_from_relation(KsTarget *target, const KsSink *sink, Relation rel)
{
	StringInfoData deletes;

	ks_target_check_relation(target, sink, rel);
	if (rel->rd_rel->relispartition)
		target->ancestors = get_partition_ancestors(RelationGetRelid(rel));
	target->schema_hash = GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(RelationGetNamespace(rel)));
	target->qualified_name = qualified_name(RelationGetRelid(rel));
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
	ks_target_find_acts(target, sink, rel);
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
		CacheRegisterSyscacheCallback(NAMESPACEOID, schema_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(OPEROID, name_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(COLLOID, name_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(CLAOID, name_callback, (Datum) 0);
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

	PG_TRY();
	{
		if (rel)
			build_from_relation(target, sink, rel);
		else
			ks_command_build(target, sink);
		if (sink->filter)
			target->filter = ks_filter_build(target, sink);
	}
	PG_CATCH();
	{
		/* a worker that waits for a lock comes again and again */
		ks_target_free(target);
		PG_RE_THROW();
	}
	PG_END_TRY();
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
