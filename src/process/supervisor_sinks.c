/*
 * supervisor_sinks.c
 *	  The sinks and workers that the supervisor knows.
 *
 * supervisor_read.c fills them in, supervisor_worker.c moves the workers.  A
 * sink is kept until the catalog does not know it, and no worker of it is alive.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "process/supervisor_int.h"

MemoryContext ks_supervisor_cxt;
HTAB	   *ks_supervised_sinks;

void
ks_supervised_init(void)
{
	HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(KsSupervised)};

	ks_supervisor_cxt = AllocSetContextCreate(TopMemoryContext, "kafka_sink supervisor", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = ks_supervisor_cxt;
	ks_supervised_sinks = hash_create("kafka_sink sinks", 256, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

KsSupervised *
ks_supervised(const char *sink)
{
	char		key[NAMEDATALEN] = {0};
	bool		found;
	KsSupervised *s;

	strlcpy(key, sink, NAMEDATALEN);
	s = hash_search(ks_supervised_sinks, key, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) s + NAMEDATALEN, 0, sizeof(KsSupervised) - NAMEDATALEN);
		s->stale = true;
	}
	return s;
}

void
ks_supervised_forget(KsSupervised *s)
{
	for (int i = 0; i < s->nmanaged; i++)
	{
		if (s->managed[i]->ends_cxt)
			MemoryContextDelete(s->managed[i]->ends_cxt);
		pfree(s->managed[i]);
	}
	if (s->managed)
		pfree(s->managed);
	if (s->cxt)
		MemoryContextDelete(s->cxt);
	(void) hash_search(ks_supervised_sinks, s->name, HASH_REMOVE, NULL);
}

bool
ks_supervised_has_dropped_table(const KsSupervised *s)
{
	for (int i = 0; i < s->ntables; i++)
		if (s->tables[i].dropped)
			return true;
	return false;
}

const KsStateRow *
ks_supervised_row(const KsSupervised *s, int worker)
{
	return worker < KS_MAX_WORKERS ? s->row_of[worker] : NULL;
}

void
ks_supervised_note_row(KsSupervised *s, int worker, const char *state, const char *message)
{
	MemoryContext old = MemoryContextSwitchTo(s->cxt);

	if (s->row_of[worker] == NULL)
	{
		KsStateRow *rows = palloc((s->nrows + 1) * sizeof(KsStateRow));

		for (int i = 0; i < s->nrows; i++)
		{
			rows[i] = s->rows[i];
			if (rows[i].worker >= 0 && rows[i].worker < KS_MAX_WORKERS)
				s->row_of[rows[i].worker] = &rows[i];
		}
		s->row_of[worker] = &rows[s->nrows++];
		s->rows = rows;
		s->row_of[worker]->worker = worker;
	}
	s->row_of[worker]->state = pstrdup(state);
	s->row_of[worker]->message = message ? pstrdup(message) : NULL;
	s->noted |= UINT64CONST(1) << worker;
	MemoryContextSwitchTo(old);
}

void
ks_supervised_forget_notes(KsSupervised *s)
{
	uint64		noted = s->noted;

	for (int i = 0; i < KS_MAX_WORKERS; i++)
		if (noted & (UINT64CONST(1) << i))
			ks_supervised_note_row(s, i, "", NULL);
	s->noted = 0;
}

bool
ks_supervised_needs(const KsSupervised *s, int worker)
{
	return worker == 0 || (s->used & (UINT64CONST(1) << worker)) != 0;
}

bool
ks_managed_is_alive(const KsManaged *m)
{
	return m->state == KS_MANAGED_STARTING || m->state == KS_MANAGED_RUNNING ||
		m->state == KS_MANAGED_STOPPING;
}

KsManaged *
ks_managed(KsSupervised *s, int worker)
{
	MemoryContext old = MemoryContextSwitchTo(ks_supervisor_cxt);

	if (worker >= s->nmanaged)
	{
		int			n = worker + 1;

		s->managed = s->managed ? repalloc(s->managed, n * sizeof(KsManaged *)) :
			palloc(n * sizeof(KsManaged *));
		for (int i = s->nmanaged; i < n; i++)
		{
			s->managed[i] = palloc0(sizeof(KsManaged));
			s->managed[i]->sink = s;
			s->managed[i]->worker = i;
			s->managed[i]->slot = s->managed[i]->parked = -1;
		}
		s->nmanaged = n;
	}
	MemoryContextSwitchTo(old);
	return s->managed[worker];
}
