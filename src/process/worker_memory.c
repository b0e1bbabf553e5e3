/*
 * worker_memory.c
 *	  A worker that meets the limit of memory leaves, and begins anew with less at
 *	  a time; at the third time in one place it halts there.
 *
 * The place is that of the batch of records that is being unpacked, if all before
 * it is committed, or that of the batch that could not be applied, which is of one
 * record after the first time.  What does not fit in the end is there to be looked
 * at, and nothing else is to blame.
 */
#include "postgres.h"

#include "storage/ipc.h"
#include "utils/builtins.h"

#include "base/memory.h"
#include "process/worker_int.h"

static const char exceeded[] = "worker exceeded kafka_sink.worker_memory_limit";

/* Index of the partition in whose next record it is stuck, or -1. */
static int
find_place(const KsConsumer *c, bool applying)
{
	int64		off;
	int			pidx;

	if (applying)
		return c->nrecs > 0 ? c->recs[0].pidx : -1;
	if (c->source == NULL || c->nrecs > 0)
		return -1;
	pidx = ks_source_unpacking(c->source, &off);
	return pidx >= 0 && pidx < c->nparts && c->parts[pidx].off == off ? pidx : -1;
}

/* It cannot be passed, however little is asked for at a time. */
KS_NORETURN static void
halt_at(const KsPartition *p, int64 off, bool applying, const char *detail)
{
	const char *sink = quote_literal_cstr(ks_worker.sink->name);
	const char *topic = quote_literal_cstr(p->topic);
	KsStateError error = {
		.sqlstate = ERRCODE_OUT_OF_MEMORY,
		.message = applying ? "a record cannot be applied within kafka_sink.worker_memory_limit" :
		"a batch of records cannot be unpacked within kafka_sink.worker_memory_limit",
		.detail = psprintf("%s  It was met %d times, at last with one %s at a time.", detail,
						   KS_MEMORY_EXITS, applying ? "record" : "batch"),
		.topic = p->topic,
		.part = p->part,
		.off = off
	};

	error.hint = psprintf("Raise kafka_sink.worker_memory_limit, or pass over the record with kafka_sink.skip(%s, %s, %d, "
						  INT64_FORMAT ")%s; then kafka_sink.resume(%s).", sink, topic, p->part, off,
						  applying ? "" : ", and over others of its batch with kafka_sink.accept_gap()", sink);
	ks_worker_halt(&error, 1);
}

/* What happened, in a sentence. */
static const char *
describe(const ErrorData *edata)
{
	if (edata == NULL)
		return ks_memory_describe();
	return psprintf("While it applied records: %s.  %s", edata->message, edata->detail ? edata->detail : "");
}

void
ks_worker_leave_for_memory(const ErrorData *edata)
{
	const KsConsumer *c = ks_worker.consumer;
	bool		applying = edata != NULL;
	int			pidx = find_place(c, applying);
	const KsPartition *p = pidx >= 0 ? &c->parts[pidx] : NULL;
	int64		off = p == NULL ? -1 : applying ? c->recs[0].off : p->off;
	int			exits = ks_shmem_note_memory_exit(ks_worker.sink->name, ks_worker.slot->worker, applying,
												  p ? p->topic : NULL, p ? p->part : -1, off);
	KsStateError error = {
		.sqlstate = ERRCODE_OUT_OF_MEMORY,
		.message = exceeded,
		.detail = describe(edata),
		.hint = "It goes on with less at a time.  Lower batch_bytes or the server's fetch sizes, or raise the limit.",
		.topic = p ? p->topic : NULL,
		.part = p ? p->part : -1,
		.off = off
	};

	if (p && exits >= KS_MEMORY_EXITS)
		halt_at(p, off, applying, error.detail);
	ereport(LOG,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("sink \"%s\": %s", ks_worker.sink->name, exceeded),
			 errdetail_internal("%s", error.detail),
			 p ? errcontext("topic \"%s\", partition %d, offset " INT64_FORMAT, p->topic, p->part, off) : 0));
	ks_worker_write_state("backoff", &error);
	proc_exit(1);
}

void
ks_worker_begin_memory_level(void)
{
	KsConsumer *c = ks_worker.consumer;
	int			quiet_s;

	c->memory_level = ks_shmem_memory_level(ks_worker.sink->name, ks_worker.slot->worker, &quiet_s, &c->single);
	if (c->memory_level > 0)
		ks_worker.lower_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), quiet_s * 1000);
}

bool
ks_worker_lower_memory_level(void)
{
	const KsConsumer *c = ks_worker.consumer;
	TimestampTz now;

	if (ks_worker.lower_at == 0 || c->batch_since != 0 ||
		pg_atomic_read_u64(&ks_worker.slot->counters.last_commit) == 0)
		return false;
	now = GetCurrentTimestamp();
	if (now < ks_worker.lower_at)
		return false;
	ks_shmem_lower_memory_level(ks_worker.sink->name, ks_worker.slot->worker);
	ereport(LOG,
			(errmsg("sink \"%s\" fetches more at a time again", ks_worker.sink->name)));
	return true;
}
