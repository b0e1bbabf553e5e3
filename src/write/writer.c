/*
 * writer.c
 *	  Which writer a route has.
 */
#include "postgres.h"

#include "write/writer.h"

void
ks_writer_end(KsRoute *r)
{
	if (r->writer && r->writer->end)
		r->writer->end(r);
	r->writer = NULL;
}

void
ks_writer_choose(KsRoute *r, bool fast)
{
	ks_writer_end(r);
	r->fast = fast && ks_fast_may_try(r->target);
	r->store = r->fast ? &ks_fast_writer : &ks_sql_writer;
	if (r->target->command)
		r->writer = &ks_command_writer;
	else if (r->sink->insert_mode == KS_ACCUMULATE)
		r->writer = &ks_accumulate_writer;
	else
		r->writer = r->store;
}
