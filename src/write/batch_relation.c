/*
 * batch_relation.c
 *	  The ephemeral relation "batch", which statements read.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/memutils.h"

#include "write/apply_int.h"

/* Plans by the number of rows: up to 'until' they are made for 'rows'. */
static const struct
{
	int			until;
	int			rows;
}			sizes[KS_BATCH_SIZES] = {{8, 1}, {200, 30}, {6000, 1000}, {PG_INT32_MAX, 50000}};

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

int
ks_batch_size(const KsRoute *r, int n)
{
	/* a target's rows are looked up by the key, however many there are */
	int			max = r->target->command ? KS_BATCH_SIZES - 1 : 1;
	int			size = 0;

	while (size < max && n > sizes[size].until)
		size++;
	r->enr->md.enrtuples = sizes[size].rows;
	return size;
}
