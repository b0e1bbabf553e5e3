/*
 * target_acts.c
 *	  What goes, or is changed, with a row of a target that is deleted.
 *
 * By foreign keys with an action (ON DELETE CASCADE, SET NULL, SET DEFAULT) a delete acts
 * on rows of other tables, or of its own.  If a batch writes these too, it matters which
 * comes first: a row that was moved away from another is not to go with it.
 */
#include "postgres.h"

#include "access/relation.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "write/target_int.h"

/* The tables on whose rows deletes of the relation's act directly; of *cascades, they delete them. */
static void
add_referring(Relation rel, List **acts_on, List **cascades)
{
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		switch (trigger->tgfoid)
		{
			case F_RI_FKEY_CASCADE_DEL:
				*cascades = list_append_unique_oid(*cascades, trigger->tgconstrrelid);
				/* FALLTHROUGH */
			case F_RI_FKEY_SETNULL_DEL:
			case F_RI_FKEY_SETDEFAULT_DEL:
				*acts_on = list_append_unique_oid(*acts_on, trigger->tgconstrrelid);
		}
	}
}

void
ks_target_find_acts(KsTarget *target, const KsSink *sink, Relation rel)
{
	List	   *cascades = NIL;

	if (!sink->delete_enabled)
		return;
	add_referring(rel, &target->acts_on, &cascades);
	for (int i = 0; i < list_length(cascades); i++)
	{
		Oid			relid = list_nth_oid(cascades, i);
		Relation	next;

		CHECK_FOR_INTERRUPTS();
		if (relid == RelationGetRelid(rel))
			continue;
		next = try_relation_open(relid, AccessShareLock);
		if (next == NULL)
			continue;
		target->watched = list_append_unique_oid(target->watched, relid);
		add_referring(next, &target->acts_on, &cascades);
		relation_close(next, NoLock);
	}
	list_free(cascades);
}
