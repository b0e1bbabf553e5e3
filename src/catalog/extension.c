/*
 * extension.c
 *	  The extension's own schema, tables and views, and who they belong to.
 *
 * What is found is kept until one of these, a schema or a role changes, which the
 * caches' invalidations tell.  (Nothing tells that the extension has lost a
 * member, which takes its owner: it is found when something else changes.)
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/extension.h"

#define NAME	"kafka_sink"

static const char *const names[] = {
	"sink_catalog", "topic_catalog", "txn_offsets", "sink_state", "topic_state",
	"partition_ends", "filled_columns", "offset_history", "sink_history", "dead_letters", "sinks",
	"sink_topics", "lag", "schemas", "ddl_history", "dump", "feed_catalog", "feed_secrets", "feed_grants",
	"feed_state", "feed_progress", "feed_copies", "feeds"
};

/* As it was found last. */
typedef struct Found
{
	Oid			oid;			/* InvalidOid: there is none */
	Oid			owner;
	Oid			schema;
	Oid			relids[KS_NRELATIONS];	/* InvalidOid: not in this version */
	Oid			tables_owner;
} Found;

static Found found;
static bool is_valid = false;
static bool is_changed = false; /* since the last look began */
static uint32 lookups = 0;

static void
syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	is_valid = false;
	is_changed = true;
}

static void
relcache_callback(Datum arg, Oid relid)
{
	bool		ours = !OidIsValid(relid);

	for (int i = 0; i < KS_NRELATIONS && !ours; i++)
		ours = found.relids[i] == relid;
	/* while looking, it is not known yet whose it is */
	is_changed = true;
	is_valid &= !ours;
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, syscache_callback, (Datum) 0);
	registered = true;
}

static bool
find_extension(Found *f)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tup;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tup = systable_getnext(scan);
	if (HeapTupleIsValid(tup))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tup);

		f->oid = form->oid;
		f->owner = form->extowner;
		f->schema = form->extnamespace;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return OidIsValid(f->oid);
}

/*
 * May the role own what the extension uses?  Whoever can write to its tables can
 * make a sink that runs as any role.
 */
static bool
is_trusted(Oid role)
{
	return superuser_arg(role);
}

/* For messages: the role may be gone. */
static const char *
role_name(Oid role)
{
	const char *name = GetUserNameFromId(role, true);

	return name ? name : psprintf("%u", role);
}

/* Who it had better belong to, for hints. */
static const char *
trusted_name(const Found *f)
{
	return quote_identifier(role_name(is_trusted(f->owner) ? f->owner : BOOTSTRAP_SUPERUSERID));
}

/* With 'quiet' false instead of an error, in these two. */
static bool
check_schema(const Found *f, bool quiet)
{
	char	   *name = get_namespace_name(f->schema);
	HeapTuple	tup;
	Oid			owner;

	if (name == NULL)
		elog(ERROR, "cache lookup failed for schema %u", f->schema);
	if (strcmp(name, NAME) != 0)
	{
		if (!quiet)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the schema of extension \"%s\" has another name: \"%s\"", NAME, name),
					 errhint("ALTER SCHEMA %s RENAME TO %s.", quote_identifier(name), NAME)));
		return false;
	}
	tup = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(f->schema));
	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for schema %u", f->schema);
	owner = ((Form_pg_namespace) GETSTRUCT(tup))->nspowner;
	ReleaseSysCache(tup);
	if (is_trusted(owner))
		return true;
	if (!quiet)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schema \"%s\" belongs to role \"%s\", who is no superuser", NAME, role_name(owner)),
				 errdetail("Whoever owns it can replace what is in it, which others run."),
				 errhint("ALTER SCHEMA %s OWNER TO %s, and see what is in it that \"%s\" has made.", NAME,
						 trusted_name(f), role_name(owner))));
	return false;
}

/* The relation of that name, if there is one, and its owner. */
static bool
find_relation(const Found *f, const char *name, bool quiet, Oid *relid, Oid *owner)
{
	HeapTuple	tup;
	bool		is_view;

	*relid = get_relname_relid(name, f->schema);
	tup = OidIsValid(*relid) ? SearchSysCache1(RELOID, ObjectIdGetDatum(*relid)) : NULL;
	if (!HeapTupleIsValid(tup))
		return true;
	*owner = ((Form_pg_class) GETSTRUCT(tup))->relowner;
	is_view = ((Form_pg_class) GETSTRUCT(tup))->relkind == RELKIND_VIEW;
	ReleaseSysCache(tup);
	if (getExtensionOfObject(RelationRelationId, *relid) == f->oid && is_trusted(*owner))
		return true;
	if (quiet)
		return false;
	if (getExtensionOfObject(RelationRelationId, *relid) != f->oid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s.%s\" is not part of extension \"%s\"", NAME, name, NAME),
				 errdetail("It belongs to role \"%s\".", role_name(*owner)),
				 errhint("Drop it, or give it another name.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"%s.%s\" belongs to role \"%s\", who is no superuser", NAME, name, role_name(*owner)),
			 errdetail("Whoever owns it can have others run what he likes."),
			 *owner == f->owner ? errhint("REASSIGN OWNED BY %s TO %s.", quote_identifier(role_name(*owner)), trusted_name(f)) :
			 errhint("ALTER %s %s.%s OWNER TO %s.", is_view ? "VIEW" : "TABLE", NAME, name, trusted_name(f))));
	return false;				/* keep the compiler quiet */
}

/* Fills found; false, or an error unless 'quiet', if it is not as it should be. */
static bool
find_all(bool quiet)
{
	Found		f = {0};

	StaticAssertStmt(lengthof(names) == KS_NRELATIONS, "names must agree with KsRelation");
	register_callbacks();
	memset(&found, 0, sizeof(found));
	lookups++;
	is_changed = false;
	if (find_extension(&f))
	{
		if (!check_schema(&f, quiet))
			return false;
		for (int i = 0; i < KS_NRELATIONS; i++)
		{
			Oid			owner = InvalidOid;

			if (!find_relation(&f, names[i], quiet, &f.relids[i], &owner))
				return false;
			if (i == KS_SINK_CATALOG)
				f.tables_owner = owner;
		}
	}
	if (!OidIsValid(f.relids[KS_SINK_CATALOG]))
	{
		if (!quiet)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("extension \"%s\" is not installed in this database", NAME),
					 errhint("Run CREATE EXTENSION %s.", NAME)));
		return false;
	}
	found = f;
	is_valid = !is_changed;
	return true;
}

bool
ks_extension_exists(void)
{
	return OidIsValid(get_extension_oid(NAME, true));
}

void
ks_extension_check(void)
{
	if (unlikely(!is_valid))
		(void) find_all(false);
}

bool
ks_extension_is_sound(void)
{
	return is_valid || (ks_extension_exists() && find_all(true));
}

uint32
ks_extension_serial(void)
{
	return is_valid ? lookups : 0;
}

Oid
ks_extension_schema(void)
{
	ks_extension_check();
	return found.schema;
}

Oid
ks_extension_relation(KsRelation which)
{
	ks_extension_check();
	if (!OidIsValid(found.relids[which]))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", NAME, names[which]),
				 errhint("ALTER EXTENSION %s UPDATE.", NAME)));
	return found.relids[which];
}

bool
ks_extension_has_relation(Oid relid)
{
	ks_extension_check();
	return getExtensionOfObject(RelationRelationId, relid) == found.oid;
}

Oid
ks_extension_tables_owner(void)
{
	ks_extension_check();
	return found.tables_owner;
}

Oid
ks_extension_type(const char *name)
{
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
									   ObjectIdGetDatum(ks_extension_schema()));

	if (!OidIsValid(type) || getExtensionOfObject(TypeRelationId, type) != found.oid)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" has no type \"%s\"", NAME, name)));
	return type;
}
