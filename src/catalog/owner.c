/*
 * owner.c
 *	  Running the code of a sink's owner in somebody's session.
 *
 * Where the session is somebody else's, the owner's code runs as a
 * security-restricted operation, as that of an index does in REINDEX:
 *
 * - SECURITY_LOCAL_USERID_CHANGE: SET ROLE and SET SESSION AUTHORIZATION fail,
 *	 in all spellings.
 * - SECURITY_RESTRICTED_OPERATION: nothing is left for later, when the session is
 *	 what it was: deferred triggers (the server refuses to queue them, so none
 *	 fires at the commit, whoever commits), cursors WITH HOLD, prepared
 *	 statements, temporary tables.
 * - A level of settings that is rolled back: what is SET stays as little.
 * - Nothing may be new in the session's temporary schema, where types hide those of
 *	 pg_catalog.  Not all versions of the server see to that.
 *
 * Whoever the owner could become anyway need not be kept from him.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_namespace.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "base/session.h"
#include "catalog/owner.h"

/* May the session become nobody but who the owner may become? */
static bool
is_own_session(Oid owner)
{
	return ks_can_set_role(owner, GetSessionUserId()) &&
		ks_can_set_role(owner, GetAuthenticatedUserId());
}

/* What is in the session's temporary schema, as a number; 0: nothing. */
static uint64
temporary_objects(void)
{
	Oid			schema = LookupNamespaceNoError("pg_temp");
	Relation	rel;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tup;
	uint64		sum = 0;

	if (!OidIsValid(schema))
		return 0;
	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(NamespaceRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_depend dep = (Form_pg_depend) GETSTRUCT(tup);

		sum += ((uint64) murmurhash32(dep->classid) << 32) + murmurhash32(dep->objid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return sum;
}

static void
enter(const KsSink *sink, KsOwnerUser *user, bool restricted)
{
	user->sink = sink;
	user->restricted = restricted;
	user->temporary = restricted ? temporary_objects() : 0;
	GetUserIdAndSecContext(&user->save.userid, &user->save.sec_context);
	user->nestlevel = ks_session_enter();
	if (restricted)
		SetUserIdAndSecContext(sink->owner, user->save.sec_context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
}

void
ks_owner_enter(const KsSink *sink, KsOwnerUser *user)
{
	ks_catalog_check_owner(sink, true);
	enter(sink, user, !is_own_session(sink->owner));
}

void
ks_owner_enter_restricted(const KsSink *sink, KsOwnerUser *user)
{
	enter(sink, user, true);
}

void
ks_owner_leave(const KsOwnerUser *user)
{
	if (!user->restricted)
	{
		ks_session_leave(user->nestlevel);
		return;
	}
	if (temporary_objects() != user->temporary)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("code of sink \"%s\" has made or dropped temporary objects", user->sink->name),
				 errdetail("They would stay in a session that is not that of its owner.")));
	AtEOXact_GUC(false, user->nestlevel);
	SetUserIdAndSecContext(user->save.userid, user->save.sec_context);
}

bool
ks_owner_is_restricted(void)
{
	return InSecurityRestrictedOperation();
}

void
ks_owner_explain(const KsSink *sink, ErrorData *edata)
{
	const char *name;

	/* the server's own words, untranslated */
	if (!InSecurityRestrictedOperation() || edata->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE ||
		edata->message_id == NULL || strstr(edata->message_id, "within security-") == NULL)
		return;
	name = GetUserNameFromId(sink->owner, false);
	if (edata->detail == NULL)
		edata->detail = psprintf("The session is not that of \"%s\", who owns sink \"%s\": so that role's code can neither change roles nor leave anything for later.",
								 name, sink->name);
	if (edata->hint == NULL)
		edata->hint = strstr(edata->message_id, "deferred") ?
			psprintf("SET CONSTRAINTS ALL IMMEDIATE first, or connect as %s.", quote_identifier(name)) :
			psprintf("Connect as %s, or leave it to a worker.", quote_identifier(name));
}
