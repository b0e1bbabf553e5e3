/*
 * batch_relation.c
 *	  The ephemeral relation "batch", which statements read.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/memutils.h"

#include "write/apply_int.h"

void
ks_apply_register_rows(KsApply *ap, const KsRoute *r)
{
	MemoryContext old;

	if (ap->enr == r->enr)
		return;
	/* SPI's list of relations outlives the attempt */
	old = MemoryContextSwitchTo(ap->batch_cxt);
	if (ap->enr)
		(void) SPI_unregister_relation("batch");
	ap->enr = r->enr;
	if (SPI_register_relation(ap->enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the relation \"batch\"");
	MemoryContextSwitchTo(old);
}
