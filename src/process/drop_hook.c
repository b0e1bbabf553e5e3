/*
 * drop_hook.c
 *	  Tells a database's supervisor that a table is gone that a sink may write to.
 *
 * A sink whose target is dropped is to halt at once, and not with the next
 * record.  Databases drop tables all the time, most of them temporary: so the
 * supervisor keeps a bit for each table that sinks write to, by a hash of its
 * OID, a transaction collects the bits of what it drops, and at its commit the
 * supervisor is woken if they have one in common.  A bit that is shared by
 * chance costs a look at the catalog.
 *
 * The bits are compared after the commit can be seen.  A supervisor that is
 * about to read the catalog sets all of its bits before, so a drop that its
 * snapshot does not see yet finds its bit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"

#include "process/drop_hook.h"
#include "process/shmem_int.h"

static object_access_hook_type prev_hook = NULL;
static uint64 dropped[KS_TARGET_BITS / 64];
static bool any_dropped = false;

static void
object_access(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (prev_hook)
		prev_hook(access, classid, objid, subid, arg);
	if (access == OAT_DROP && classid == RelationRelationId && subid == 0)
	{
		int			bit = ks_shmem_target_bit(objid);

		dropped[bit / 64] |= UINT64CONST(1) << (bit % 64);
		any_dropped = true;
	}
}

/* Does the supervisor care for any of these? */
static bool
is_watched(const uint64 *bits)
{
	KsDatabase *db;
	bool		found = false;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	db = ks_shmem_database(MyDatabaseId, false);
	if (db && db->supervisor != 0)
		for (int i = 0; i < KS_TARGET_BITS / 64 && !found; i++)
			found = (db->targets[i] & bits[i]) != 0;
	LWLockRelease(ks_shared->lock);
	return found;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (!any_dropped || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
						 event != XACT_EVENT_PREPARE))
		return;
	if (event == XACT_EVENT_COMMIT && ks_shmem_available() && is_watched(dropped))
		ks_shmem_mark_changed(MyDatabaseId);
	memset(dropped, 0, sizeof(dropped));
	any_dropped = false;
}

void
ks_drop_hook_prepared(void)
{
	uint64		all[KS_TARGET_BITS / 64];

	memset(all, 0xff, sizeof(all));
	if (is_watched(all))
		ks_shmem_mark_changed(MyDatabaseId);
}

void
ks_drop_hook_init(void)
{
	prev_hook = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(xact_callback, NULL);
}
