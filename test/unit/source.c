/*
 * source.c
 *	  The source of records against a model of it.
 *
 * Random histories of up to 80 partitions: records come, connections break, logs
 * are cut, made again, or lose their beginning, errors and interrupts come at any
 * moment, batches end anywhere and are applied late.  A consumer, as simple as can
 * be, moves offsets over what it was handed and over ends that still hold.
 * What must hold, whatever happens:
 *	- an offset moves over exactly the records that were handed out, once and in
 *	  order, and over what is no record
 *	- no record of another log is handed out behind one of the log before
 *	- a queue that is said to be drained is
 *	- when the faults are over, everything is consumed, or the partition says why not
 *	- no message is left behind
 * Then what is told of errors, and what cannot happen by chance.
 *
 *	source [ROUNDS [SEED]]
 *
 * KAFKA_SINK_SEED: of a former run, if there is no SEED.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/ipc.h"

#include "kafka/source_int.h"

#define MAX_RECS	300

/* A partition, as consumer.c sees it. */
typedef struct Part
{
	KsPartition p;
	int			generation;		/* of the log that is consumed, 0: none yet */
	int64		end;
	uint32		end_epoch;
	int64		handed[MAX_LOG];	/* in the batch at hand */
	int			nhanded;
	uint64		hash;			/* of the last of them */
	Content		last;			/* of all, and what it holds */
	int64		furthest;		/* it has got that far, ever */
	bool		restart;		/* when the batch is applied */
	bool		halted;			/* the log is another one */
	bool		unchecked;		/* records of another log: it has to be told */
	bool		mixed;			/* the batch has records of two logs */
} Part;

static KsSource *src;
static Part parts[MAX_PARTS];
static KsRecord held[MAX_RECS * 100];
static int	nheld;
static KsRecord recs[MAX_RECS];
static int	tests;
static int	history[32];		/* what has happened, for the note */
static bool	transactions;		/* logs have markers at their ends */

/* The same histories everywhere (splitmix64). */
static uint64 chance;

static int
dice(int n)
{
	uint64		x = chance += UINT64CONST(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return (int) ((x ^ (x >> 31)) % n);
}

static void
ok(bool fine, const char *what)
{
	printf("%s %d - %s\n", fine ? "ok" : "not ok", ++tests, what);
	if (!fine)
		exit(1);
}

/* --- the log --- */

static void
append(Log *log, bool record)
{
	if (log->end == MAX_LOG)
		return;
	log->by[log->end] = log->leader;
	log->there[log->end++] = record;
}

static void
extend(int i, int n)
{
	Log		   *log = &logs[i];
	int64		before = STABLE(log);

	while (n-- > 0)
		append(log, dice(8) != 0);
	if (!transactions)
		return;
	/* the marker of one that ends, and what is open */
	append(log, false);
	log->open = dice(3) ? 0 : dice(log->end - before + 1);
}

/* What was not replicated is gone, when another leader takes over. */
static void
cut(int i)
{
	Log		   *log = &logs[i];
	int64		end = log->end - dice(dice(2) ? 3 : 30);

	end = Max(end, log->low);
	log->leader++;
	log->open = Max(log->open - (log->end - end), 0);
	log->end = end;
	log->cut = Min(log->cut, end);
	/* what was handed out before is not to be compared */
	parts[i].mixed = true;
}

/* Another log, of any length. */
static void
replace(int i)
{
	Log		   *log = &logs[i];

	log->generation++;
	log->low = log->end = log->open = 0;
	extend(i, dice(MAX_LOG / 2));
	/* often with a record to compare */
	if (dice(transactions ? 2 : 8) > 0)
		memset(log->there, true, log->end);
}

/* --- the consumer --- */

static void
start(int i)
{
	parts[i].restart = false;
	ks_source_start(src, i, &parts[i].p, true);
}

/* What was handed out is what the log has from the offset on. */
static void
check_handed(int i)
{
	Part	   *part = &parts[i];
	Log		   *log = &logs[i];
	int64		until = part->nhanded > 0 ? part->handed[part->nhanded - 1] + 1 : part->p.off;
	int			n = 0;
	/* (of a log that is no more, or has lost this, nothing is known but that records ascend) */
	bool		known = log->generation == part->generation && log->low <= part->p.off && !part->mixed;

	if (part->end_epoch == ks_source_epoch(src, i))
		until = Max(until, part->end);
	for (int64 off = part->p.off; off < until && known; off++)
	{
		if (!log->there[off])
			continue;
		FUZZ_CHECK(n < part->nhanded);
		FUZZ_CHECK(part->handed[n] == off);
		n++;
	}
	if (known)
		FUZZ_CHECK(n == part->nhanded);
	for (int j = 0; j < part->nhanded; j++)
		FUZZ_CHECK(part->handed[j] >= part->p.off && (j == 0 || part->handed[j] > part->handed[j - 1]));
	part->p.off = Max(part->p.off, until);
	if (part->nhanded > 0)
	{
		part->p.last_off = part->handed[part->nhanded - 1];
		part->p.last_hash = part->hash;
	}
	part->nhanded = 0;
	part->mixed = false;
}

static void
apply(void)
{
	for (int i = 0; i < nparts; i++)
		check_handed(i);
	/* some are given back late, or twice */
	ks_source_release(held, nheld);
	if (dice(10) == 0)
		ks_source_release(held, nheld);
	nheld = 0;
	for (int i = 0; i < nparts; i++)
		if (parts[i].restart && !parts[i].halted)
			start(i);
}

static void
take(KsRecord *rec)
{
	Part	   *part = &parts[rec->pidx];
	const Content *c = (const Content *) rec->value;

	FUZZ_CHECK(c->part == rec->pidx && c->off == rec->off && rec->valuelen == sizeof(Content));
	if (part->halted)
		return;
	FUZZ_CHECK(rec->off >= part->p.off);
	/* possible only where the record to compare is gone, which is told next */
	if (part->generation != 0 && c->generation != part->generation)
		part->unchecked = part->mixed = true;
	part->generation = c->generation;
	part->hash = ks_record_hash(rec);
	part->last = *c;
	part->furthest = Max(part->furthest, rec->off + 1);
	FUZZ_CHECK(part->nhanded < MAX_LOG);
	part->handed[part->nhanded++] = rec->off;
	held[nheld++] = *rec;
}

static void
handle(const KsSourceEvent *ev)
{
	Part	   *part = ev->pidx >= 0 ? &parts[ev->pidx] : NULL;

	history[ev->type]++;
	switch (ev->type)
	{
		case KS_EVENT_EOF:
			part->end = ev->off;
			part->end_epoch = ev->epoch;
			part->furthest = Max(part->furthest, ev->off);
			break;
		case KS_EVENT_TAIL_MISMATCH:
		case KS_EVENT_TRUNCATED:
		case KS_EVENT_OUT_OF_RANGE:
			/* nobody is accused in vain */
			FUZZ_CHECK(part->generation != logs[ev->pidx].generation || logs[ev->pidx].low > part->p.off ||
					   logs[ev->pidx].cut < part->furthest);
			part->halted = true;
			ks_source_stop(src, ev->pidx);
			break;
		case KS_EVENT_PARTITION_ERROR:
			FUZZ_CHECK(ev->message && strstr(ev->message, "could not fetch from topic \"t\", partition"));
			ks_source_stop(src, ev->pidx);
			part->restart = true;
			break;
		case KS_EVENT_TAIL_UNCHECKABLE:
			/* whatever comes now is believed; records that came with it are */
			if (!part->unchecked)
				part->generation = 0;
			part->mixed |= part->nhanded > 0;
			part->unchecked = false;
			break;
		default:
			break;
	}
}

static void
poll_source(void *arg)
{
	Size		bytes;
	bool		drained;
	int			max = 1 + dice(MAX_RECS);
	int			n = ks_source_poll(src, recs, max, 1 + dice(20000), &bytes, &drained);

	FUZZ_CHECK(n <= max);
	for (int i = 0; i < n; i++)
		take(&recs[i]);
	if (drained)
		FUZZ_CHECK(kafka_queued() == 0 && !ks_source_is_busy(src));
}

static void
next_events(void *arg)
{
	KsSourceEvent ev;

	while (ks_source_next_event(src, &ev))
		handle(&ev);
}

/* An error ends a poll: what it took is lost, and is not handed out again twice. */
static void
step(void)
{
	if (!unit_try(poll_source, NULL))
	{
		history[20]++;
		return;
	}
	FUZZ_CHECK(unit_try(next_events, NULL));
	for (int i = 0; i < nparts; i++)
		FUZZ_CHECK(!parts[i].unchecked);
	fuzz_reset();
}

/* --- faults --- */

static void
fault(int i)
{
	char		line[128];

	switch (dice(12))
	{
		case 0:					/* the connection breaks, and nothing else happens */
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "STATE", "localhost:9092/1: Broker changed state UP -> DOWN");
			break;
		case 1:					/* the leader moves, in silence sometimes, and may have another log */
			if (dice(2))
			{
				snprintf(line, sizeof(line), "localhost:9092/1: t [%d]: broker unavailable: fetch: Broker: Not leader for partition", i);
				kafka_say(RD_KAFKA_EVENT_LOG, 0, "BROKERUA", line);
				break;
			}
			snprintf(line, sizeof(line), "Topic t [%d]: migrating from broker 1 to 2 (leader is 2): leader updated", i);
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "TOPICUPD", line);
			if (dice(4) == 0)
				replace(i);
			break;
		case 2:					/* and meanwhile the topic is made again: all of it */
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "STATE", "localhost:9092/1: Broker changed state UPDATE -> DOWN");
			if (dice(4) == 0)
				for (int j = 0; j < nparts; j++)
					replace(j);
			break;
		case 3:					/* or one partition is cut and written again */
			snprintf(line, sizeof(line), "localhost:9092/1: t [%d]: broker unavailable: fetch: Broker: Unknown topic", i);
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "BROKERUA", line);
			if (dice(4) == 0)
				replace(i);
			else if (dice(3) == 0)
				cut(i);
			break;
		case 4:					/* retention */
			logs[i].low = logs[i].end > 0 && dice(8) == 0 ? dice(logs[i].end) : logs[i].low;
			break;
		case 5:
			kafka_error(i, dice(2) ? RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED : RD_KAFKA_RESP_ERR__BAD_MSG);
			logs[i].stuck |= dice(2);
			break;
		case 6:
			kafka_topic_error(i, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
			break;
		case 7:
			kafka_redeliver(i);
			break;
		case 8:
			kafka_say(RD_KAFKA_EVENT_LOG, 3, "FAIL", "localhost:9092/1: said aloud");
			unit_interrupt = dice(3) == 0;
			break;
		case 9:
			kafka_start_fails = true;
			break;
		case 10:
			kafka_silent = true;
			break;
		case 11:				/* logs that mean nothing */
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "BROKERUA", "t [1000]: broker unavailable: fetch");
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "BROKERUA", "other [0]: broker unavailable: fetch");
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "BROKERUA", "]: broker unavailable");
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "TOPICUPD", "Topic t [0]: migrating from broker 1 to 3 (leader is 1): preferred replica updated");
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "TOPICUPD", "leader updated");
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "TOPICUPD", ": leader updated");
			kafka_say(RD_KAFKA_EVENT_LOG, 0, "STATE", "localhost:9092/1: Broker changed state INIT -> TRY_CONNECT");
			break;
	}
}

static void
open_source(bool in_worker, bool want_headers)
{
	static KsProperty props[] = {
		{.name = "bootstrap.servers", .value = "localhost"}, {.name = "security.protocol", .value = "sasl_plaintext"},
		{.name = "sasl.username", .value = "me"}, {.name = "sasl.password", .value = "hunter2", .secret = true},
		{.name = "debug", .value = "all"}, {.name = "client.rack", .value = ""}};
	static KsConf conf = {.nprops = 6, .props = props};
	KsSourceOptions opts = {.in_worker = in_worker, .want_headers = want_headers};
	static MemoryContext cxt;

	if (cxt)
	{
		unit_reset(cxt);
		MemoryContextDelete(cxt);
	}
	cxt = AllocSetContextCreate(TopMemoryContext, "source", ALLOCSET_DEFAULT_SIZES);
	src = ks_source_open(&conf, &opts, cxt);
}

static void
history_of(void)
{
	int			steps = 50 + dice(300);

	kafka_reset();
	memset(parts, 0, sizeof(parts));
	nparts = 1 + dice(dice(2) ? 4 : MAX_PARTS);
	open_source(dice(2), dice(4) == 0);
	transactions = dice(2);
	for (int i = 0; i < nparts; i++)
	{
		logs[i].generation = 1;
		logs[i].cut = MAX_LOG;
		extend(i, dice(40));
		parts[i].p = (KsPartition) {.topic = "t", .part = i, .last_off = -1};
		start(i);
	}
	while (steps-- > 0)
	{
		int			i = dice(nparts);

		extend(i, dice(10));
		for (int j = 0; j < nparts; j += 1 + dice(10))
			kafka_fetch(j, dice(30));
		if (dice(10) == 0)
			fault(i);
		if (dice(2))
			step();
		kafka_start_fails &= dice(3) > 0;
		kafka_silent &= dice(3) > 0;
		if (dice(10) == 0 || nheld > MAX_RECS * 98)
			apply();
	}

	/* the faults are over */
	kafka_start_fails = kafka_silent = unit_interrupt = false;
	for (int quiet = 0; quiet < 12; quiet++)
	{
		for (int i = 0; i < nparts; i++)
		{
			logs[i].open = 0;
			kafka_fetch(i, MAX_LOG);
		}
		step();
		for (int j = 0; kafka_queued() > 0 || ks_source_is_busy(src); j++)
		{
			FUZZ_CHECK(j < MAX_PARTS * MAX_LOG);
			step();
		}
		apply();
	}
	for (int i = 0; i < nparts; i++)
	{
		history[21] += parts[i].halted;
		history[22]++;
		if (parts[i].halted)
			continue;
		/* (a log that was made again before a record of it was read is another, and all is well) */
		FUZZ_CHECK(parts[i].p.off == logs[i].end);
		FUZZ_CHECK(parts[i].generation == 0 || parts[i].generation == logs[i].generation);
		/* what was read last, if it can be had, is in the log */
		if (parts[i].p.last_off >= logs[i].low && logs[i].there[parts[i].p.last_off])
			FUZZ_CHECK(parts[i].last.generation == logs[i].generation &&
					   parts[i].last.by == logs[i].by[parts[i].p.last_off]);
	}
	ks_source_close(src);
	FUZZ_CHECK(kafka_out == kafka_queued());
	ks_source_close(src);
}

/* --- what errors mean --- */

#define ERR(code) RD_KAFKA_RESP_ERR_##code

static bool
is_one_of(int err, const int *list, int n)
{
	for (int i = 0; i < n; i++)
		if (list[i] == err)
			return true;
	return false;
}

static void
errors(void)
{
	/* what ends a partition at once, and what takes its time; all else is tried again soon */
	static const int halt[] = {
		ERR(TOPIC_EXCEPTION), ERR(MSG_SIZE_TOO_LARGE), ERR(RECORD_LIST_TOO_LARGE), ERR(_BAD_MSG), ERR(_BAD_COMPRESSION),
		ERR(INVALID_MSG), ERR(INVALID_RECORD), ERR(_NOT_IMPLEMENTED), ERR(UNSUPPORTED_COMPRESSION_TYPE),
		ERR(UNSUPPORTED_VERSION), ERR(_UNSUPPORTED_FEATURE), ERR(_FATAL)};
	static const int slow[] = {
		ERR(_AUTHENTICATION), ERR(_SSL), ERR(SASL_AUTHENTICATION_FAILED), ERR(UNSUPPORTED_SASL_MECHANISM),
		ERR(ILLEGAL_SASL_STATE), ERR(TOPIC_AUTHORIZATION_FAILED), ERR(CLUSTER_AUTHORIZATION_FAILED), ERR(_UNDERFLOW),
		ERR(_CRIT_SYS_RESOURCE)};
	static const int later[] = {ERR(UNKNOWN_TOPIC_OR_PART), ERR(_UNKNOWN_TOPIC), ERR(_UNKNOWN_PARTITION)};
	static const struct
	{
		int			err;
		KsClientTrouble trouble;
		const char *message;
	}			client[] = {
		{ERR(_ALL_BROKERS_DOWN), KS_CLIENT_DOWN, "could not connect to Kafka"},
		{ERR(_AUTHENTICATION), KS_CLIENT_REFUSED, "could not authenticate to Kafka"},
		{ERR(_SSL), KS_CLIENT_REFUSED, "could not agree with Kafka on TLS"},
		{ERR(CLUSTER_AUTHORIZATION_FAILED), KS_CLIENT_REFUSED, "Kafka denies access"},
		{ERR(_BAD_MSG), KS_CLIENT_REFUSED, "could not understand an answer of Kafka"},
		{ERR(UNSUPPORTED_VERSION), KS_CLIENT_REFUSED, "could not speak to this version of Kafka"},
		{ERR(_FATAL), KS_CLIENT_FATAL, "librdkafka has failed"},
		{ERR(_CRIT_SYS_RESOURCE), KS_CLIENT_FATAL, "librdkafka has failed"},
		{ERR(_TRANSPORT), KS_CLIENT_FINE, NULL},
		{ERR(_RESOLVE), KS_CLIENT_FINE, NULL}};
	const struct rd_kafka_err_desc *descs;
	size_t		n;

	rd_kafka_get_err_descs(&descs, &n);
	for (size_t i = 0; i < n; i++)
	{
		int			err = descs[i].code;
		KsErrorAction action;

		if (descs[i].name == NULL)
			continue;
		action = ks_source_classify(err, false)->action;
		FUZZ_CHECK((action == KS_ERROR_HALT) == is_one_of(err, halt, lengthof(halt)));
		FUZZ_CHECK((action == KS_ERROR_RETRY_LONG) == is_one_of(err, slow, lengthof(slow)));
		FUZZ_CHECK((action == KS_ERROR_RETRY_THEN_HALT) == is_one_of(err, later, lengthof(later)));
	}
	FUZZ_CHECK(ks_source_classify(12345, false)->action == KS_ERROR_RETRY);
	ok(true, "what of a partition is tried again, and what is not");
	for (int i = 0; i < (int) lengthof(client); i++)
	{
		const KsErrorClass *class = ks_source_classify(client[i].err, true);

		FUZZ_CHECK(class->trouble == client[i].trouble);
		FUZZ_CHECK(client[i].message == NULL || strcmp(ks_source_client_message(class), client[i].message) == 0);
	}
	ok(true, "what is trouble of the whole client, and its words");
}

/* The next event, of that type. */
static KsSourceEvent
told(KsSourceEventType type)
{
	KsSourceEvent ev;

	FUZZ_CHECK(ks_source_next_event(src, &ev));
	FUZZ_CHECK(ev.type == type);
	return ev;
}

static bool
told_nothing(void)
{
	KsSourceEvent ev;

	return !ks_source_next_event(src, &ev);
}

static void
begin_in(bool in_worker, int n, int records)
{
	kafka_reset();
	memset(parts, 0, sizeof(parts));
	nparts = n;
	open_source(in_worker, false);
	for (int i = 0; i < n; i++)
	{
		logs[i].generation = 1;
		for (; logs[i].end < records; logs[i].end++)
			logs[i].there[logs[i].end] = true;
		parts[i].p = (KsPartition) {.topic = "t", .part = i, .last_off = -1};
		start(i);
	}
}

static void
begin(int n, int records)
{
	begin_in(true, n, records);
}

static int
poll_all(void)
{
	Size		bytes;
	bool		drained;
	int			n = 0;

	do
	{
		int			got = ks_source_poll(src, recs, MAX_RECS, 1 << 20, &bytes, &drained);

		ks_source_release(recs, got);
		n += got;
	} while (!drained);
	return n;
}

static void
end(void)
{
	ks_source_close(src);
}

static void
client_trouble(void)
{
	KsSourceEvent ev;

	begin(1, 3);
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_TRANSPORT), NULL, "localhost: Connect failed (after 3ms in state CONNECT)");
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_ALL_BROKERS_DOWN), NULL, "1/1 brokers are down");
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_ALL_BROKERS_DOWN), NULL, "1/1 brokers are down");
	poll_all();
	ev = told(KS_EVENT_ERROR);
	FUZZ_CHECK(strcmp(ev.message, "could not connect to Kafka") == 0 && ev.action == KS_ERROR_RETRY);
	FUZZ_CHECK(strcmp(ev.detail, "localhost: Connect failed.") == 0);
	FUZZ_CHECK(told_nothing());
	/* what was fetched before says nothing */
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_SSL), NULL, "of hunter2");
	ks_source_serve(src);
	ev = told(KS_EVENT_ERROR);
	FUZZ_CHECK(strcmp(ev.message, "could not agree with Kafka on TLS") == 0 && ev.detail == NULL);
	kafka_fetch(0, 3);
	FUZZ_CHECK(poll_all() == 3);
	(void) told(KS_EVENT_EOF);
	FUZZ_CHECK(told_nothing());
	/* what comes after the queue was empty does */
	extend(0, 30);
	kafka_fetch(0, 30);
	poll_all();
	(void) told(KS_EVENT_RECOVERED);
	(void) told(KS_EVENT_EOF);
	/* or a broker that is up */
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_ALL_BROKERS_DOWN), NULL, "");
	ks_source_serve(src);
	(void) told(KS_EVENT_ERROR);
	kafka_say(RD_KAFKA_EVENT_STATS, 0, NULL, "{\"name\":\"x\\\"y\",\"brokers\":{\"a\":{\"state\":\"DOWN\",\"toppars\":{}},\"b\":{\"n\":[1,{\"x\":2}],\"state\":\"UP\"}}}");
	ks_source_serve(src);
	(void) told(KS_EVENT_RECOVERED);
	/* trouble that is over before it was told */
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_ALL_BROKERS_DOWN), NULL, "");
	kafka_say(RD_KAFKA_EVENT_STATS, 0, NULL, "{\"brokers\":{\"b\":{\"state\":\"UP\"}}}");
	ks_source_serve(src);
	FUZZ_CHECK(told_nothing());
	/* nothing is over when the handle is of no use */
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_FATAL), NULL, "fatal\001");
	kafka_say(RD_KAFKA_EVENT_STATS, 0, NULL, "{\"brokers\":{\"b\":{\"state\":\"UP\"}}}");
	ks_source_serve(src);
	ev = told(KS_EVENT_ERROR);
	FUZZ_CHECK(ev.action == KS_ERROR_HALT && strcmp(ev.detail, "fatal?.") == 0);
	FUZZ_CHECK(told_nothing());
	end();
	ok(true, "trouble of the client: told once, and when it is over");

	/* a broker's alert is of the certificate, or not */
	for (int alert = 40; alert <= 42; alert += 2)
	{
		char		text[100];

		begin(1, 3);
		snprintf(text, sizeof(text), "SSL handshake failed: tlsv1 alert: SSL alert number %d", alert);
		kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_TRANSPORT), NULL, text);
		ks_source_serve(src);
		ev = told(KS_EVENT_ERROR);
		FUZZ_CHECK(strcmp(ev.message, "could not agree with Kafka on TLS") == 0);
		FUZZ_CHECK(strstr(ev.hint, alert == 42 ? "ssl_certificate_pem" : "the broker's log may tell more"));
		end();
	}
	ok(true, "what a broker refuses by an alert of TLS");
}

static void
statistics(void)
{
	int64		low,
				high,
				lso;
	KsSourceEvent ev;

	begin(2, 3);
	kafka_fetch(0, 3);
	poll_all();
	kafka_say(RD_KAFKA_EVENT_STATS, 0, NULL,
			  "{\"topics\":{\"other\":{\"partitions\":{}},\"t\":{\"age\":1,\"partitions\":{\"0\":{\"lo_offset\":1,\"hi_offset\":9,\"ls_offset\":7,\"unknown\":false},"
			  "\"1\":{\"lo_offset\":-1,\"hi_offset\":-1001,\"unknown\":false},\"-1\":{\"unknown\":true}}}}}");
	ks_source_serve(src);
	FUZZ_CHECK(ks_source_watermarks(src, 0, &low, &high, &lso) != 0 && low == 1 && high == 9 && lso == 7);
	FUZZ_CHECK(ks_source_watermarks(src, 7, &low, &high, &lso) == 0 && low == -1 && high == -1 && lso == -1);
	(void) told(KS_EVENT_EOF);
	FUZZ_CHECK(told_nothing());
	kafka_say(RD_KAFKA_EVENT_STATS, 0, NULL, "{\"topics\":{\"t\":{\"partitions\":{\"0\":{\"unknown\":false},\"2\":{\"unknown\":false},\"3\":{\"unknown\":true}}}}}");
	ks_source_serve(src);
	ev = told(KS_EVENT_PARTITION_COUNT);
	FUZZ_CHECK(strcmp(ev.topic, "t") == 0 && ev.count == 3);
	FUZZ_CHECK(ks_source_known_count(src, "t") == 3 && ks_source_known_count(src, "other") == 0);
	FUZZ_CHECK(told_nothing());
	/* the ends, when they are asked for */
	extend(0, 20);
	ks_source_refresh(src, 1000);
	(void) ks_source_watermarks(src, 0, &low, &high, &lso);
	FUZZ_CHECK(lso == 23 && high == 23);
	kafka_silent = true;
	extend(0, 20);
	ks_source_refresh(src, 1000);
	(void) ks_source_watermarks(src, 0, &low, &high, &lso);
	FUZZ_CHECK(lso == 23);
	end();
	ok(true, "watermarks and partitions, from statistics and when asked");
}

/* Statistics of partitions 0 and 1, which are fetched from these brokers; 1 and 3 are up. */
static void
tell_brokers(int32 first, int32 second)
{
	char		json[512];

	snprintf(json, sizeof(json), "{\"brokers\":{\"a\":{\"nodeid\":1,\"state\":\"UP\"},\"b\":{\"nodeid\":2,\"state\":\"CONNECT\"},"
			 "\"c\":{\"nodeid\":3,\"state\":\"UPDATE\"},\"d\":{\"nodeid\":-1,\"state\":\"UP\"}},\"topics\":{\"t\":{\"partitions\":{"
			 "\"0\":{\"broker\":%d,\"leader\":%d,\"lo_offset\":0,\"hi_offset\":9,\"ls_offset\":9,\"unknown\":false},"
			 "\"1\":{\"broker\":%d,\"leader\":%d,\"lo_offset\":0,\"hi_offset\":9,\"ls_offset\":9,\"unknown\":false}}}}}",
			 first, first < 0 ? -1 : 1, second, second < 0 ? -1 : 1);
	kafka_say(RD_KAFKA_EVENT_STATS, 0, NULL, json);
	/* (for the figures to be those of now) */
	poll_all();
}

static void
leaders(void)
{
	int64		low,
				high,
				lso;
	TimestampTz as_of;
	KsSourceEvent ev;

	begin(2, 3);
	kafka_fetch(0, 3);
	kafka_fetch(1, 3);
	poll_all();
	(void) told(KS_EVENT_EOF);
	(void) told(KS_EVENT_EOF);
	tell_brokers(1, 3);
	FUZZ_CHECK(told_nothing());
	/* there is none, for long enough; the figures are of before */
	as_of = ks_source_watermarks(src, 1, &low, &high, &lso);
	tell_brokers(1, -1);
	FUZZ_CHECK(told_nothing());
	unit_now += 6 * USECS_PER_SEC;
	tell_brokers(1, -1);
	ev = told(KS_EVENT_LEADER_AWAY);
	FUZZ_CHECK(ev.pidx == 1 && ev.broker == -1);
	FUZZ_CHECK(told_nothing());
	FUZZ_CHECK(ks_source_watermarks(src, 1, &low, &high, &lso) == as_of);
	FUZZ_CHECK(ks_source_watermarks(src, 0, &low, &high, &lso) > as_of);
	/* once */
	unit_now += 6 * USECS_PER_SEC;
	tell_brokers(1, -1);
	FUZZ_CHECK(told_nothing());
	/* it is back; a short absence is none */
	tell_brokers(2, 1);
	ev = told(KS_EVENT_LEADER_BACK);
	FUZZ_CHECK(ev.pidx == 1);
	FUZZ_CHECK(told_nothing());
	tell_brokers(1, 1);
	unit_now += 6 * USECS_PER_SEC;
	tell_brokers(2, 1);
	FUZZ_CHECK(told_nothing());
	/* a broker that is not up; told again to whoever starts anew */
	unit_now += 6 * USECS_PER_SEC;
	tell_brokers(2, 1);
	ev = told(KS_EVENT_LEADER_AWAY);
	FUZZ_CHECK(ev.pidx == 0 && ev.broker == 2);
	start(0);
	tell_brokers(2, 1);
	FUZZ_CHECK(told_nothing());
	unit_now += 6 * USECS_PER_SEC;
	tell_brokers(2, 1);
	(void) told(KS_EVENT_LEADER_AWAY);
	/* when none is up, that is what is told */
	tell_brokers(1, 1);
	(void) told(KS_EVENT_LEADER_BACK);
	tell_brokers(1, 2);
	unit_now += 6 * USECS_PER_SEC;
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_ALL_BROKERS_DOWN), NULL, "");
	kafka_say(RD_KAFKA_EVENT_STATS, 0, NULL, "{\"brokers\":{\"b\":{\"nodeid\":2,\"state\":\"DOWN\"}},\"topics\":{\"t\":{\"partitions\":{"
			  "\"1\":{\"broker\":2,\"leader\":2,\"hi_offset\":9,\"unknown\":false}}}}}");
	ks_source_serve(src);
	(void) told(KS_EVENT_ERROR);
	FUZZ_CHECK(told_nothing());
	/* and when some are again, what is true still: told a second time, for the other has hidden it */
	for (int times = 0; times < 2; times++)
	{
		tell_brokers(1, 2);
		(void) told(KS_EVENT_RECOVERED);
		ev = told(KS_EVENT_LEADER_AWAY);
		FUZZ_CHECK(ev.pidx == 1 && ev.broker == 2);
		FUZZ_CHECK(told_nothing());
		kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_ALL_BROKERS_DOWN), NULL, "");
		ks_source_serve(src);
		(void) told(KS_EVENT_ERROR);
	}
	/* unless it is not any more */
	tell_brokers(1, 1);
	(void) told(KS_EVENT_RECOVERED);
	(void) told(KS_EVENT_LEADER_BACK);
	FUZZ_CHECK(told_nothing());
	end();
	ok(true, "leaders that are away while others are there");
}

/* --- out of range --- */

static void
ranges(void)
{
	KsSourceEvent ev;

	/* asked in vain: it is tried again */
	begin(1, 10);
	kafka_fetch(0, 10);
	poll_all();
	(void) told(KS_EVENT_EOF);
	parts[0].p.off = 10;
	logs[0].low = 20;
	logs[0].end = 30;
	kafka_silent = true;
	start(0);
	kafka_fetch(0, 10);
	poll_all();
	ev = told(KS_EVENT_PARTITION_ERROR);
	FUZZ_CHECK(ev.action == KS_ERROR_RETRY);
	/* and then it is known */
	kafka_silent = false;
	start(0);
	kafka_fetch(0, 10);
	poll_all();
	ev = told(KS_EVENT_OUT_OF_RANGE);
	FUZZ_CHECK(ev.off == 20);
	/* back in range when it is asked: it is tried again */
	logs[0].low = 0;
	logs[0].end = 5;
	start(0);
	kafka_fetch(0, 10);
	poll_all();
	logs[0].end = 40;
	(void) told(KS_EVENT_PARTITION_ERROR);
	/* librdkafka's own word for it */
	start(0);
	kafka_error(0, KS_ERR_LOG_TRUNCATION);
	poll_all();
	ev = told(KS_EVENT_TRUNCATED);
	FUZZ_CHECK(ev.off == 40);
	/* what lies before the position is gone, the position is not */
	parts[0].p.last_off = 3;
	parts[0].p.off = 35;
	logs[0].low = 30;
	logs[0].there[35] = true;
	start(0);
	kafka_fetch(0, 10);
	poll_all();
	(void) told(KS_EVENT_TAIL_UNCHECKABLE);
	kafka_fetch(0, 1);
	FUZZ_CHECK(poll_all() == 1);
	FUZZ_CHECK(told_nothing());
	end();
	ok(true, "out of range: on which side, or not any more");

	/* all was consumed, markers at the end too, when retention took it and a connection broke */
	begin(1, 10);
	logs[0].there[8] = logs[0].there[9] = false;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 8);
	FUZZ_CHECK(told(KS_EVENT_EOF).off == 10);
	logs[0].low = 10;
	kafka_say(RD_KAFKA_EVENT_LOG, 0, "STATE", "localhost:9092/1: Broker changed state UP -> DOWN");
	poll_all();
	kafka_fetch(0, 10);
	poll_all();
	(void) told(KS_EVENT_TAIL_UNCHECKABLE);
	extend(0, 60);
	kafka_fetch(0, 60);
	FUZZ_CHECK(poll_all() > 0 && told(KS_EVENT_EOF).off == 70);
	end();
	/* the same, with one more record and the end behind it given back */
	begin(1, 10);
	logs[0].there[8] = logs[0].there[9] = false;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 8);
	(void) told(KS_EVENT_EOF);
	logs[0].there[logs[0].end++] = true;
	logs[0].low = 10;
	kafka_fetch(0, 10);
	kafka_say(RD_KAFKA_EVENT_LOG, 0, "STATE", "localhost:9092/1: Broker changed state UP -> DOWN");
	FUZZ_CHECK(poll_all() == 0 && told_nothing());
	kafka_fetch(0, 10);
	poll_all();
	(void) told(KS_EVENT_TAIL_UNCHECKABLE);
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 1 && told(KS_EVENT_EOF).off == 11);
	end();
	ok(true, "retention behind what was consumed, and a connection that breaks");

	/* a record behind the offset that was stored cannot be compared: seek() */
	begin(1, 10);
	parts[0].p.last_off = 7;
	parts[0].p.off = 5;
	start(0);
	(void) told(KS_EVENT_TAIL_UNCHECKABLE);
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 5);
	end();

	/* a gap that was accepted is not read */
	begin(1, 10);
	logs[0].generation = 1;
	kafka_fetch(0, 1);
	{
		Size		bytes;
		bool		drained;

		FUZZ_CHECK(ks_source_poll(src, recs, 1, 1000, &bytes, &drained) == 1);
		parts[0].p.last_off = recs[0].off;
		parts[0].p.last_hash = ks_record_hash(&recs[0]);
		ks_source_release(recs, 1);
	}
	parts[0].p.off = 5000;
	start(0);
	/* what was taken with it, the end too, is of a time that is over */
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 0);
	(void) told(KS_EVENT_TAIL_OK);
	FUZZ_CHECK(told_nothing());
	FUZZ_CHECK(logs[0].started && logs[0].pos == 5000);
	end();
	ok(true, "behind a gap: the tail is checked, what lies between is not read");
}

/* --- ends behind the last record --- */

static void
interrupted(void)
{
	kafka_say(RD_KAFKA_EVENT_LOG, 0, "STATE", "localhost:9092/1: Broker changed state UP -> DOWN");
	FUZZ_CHECK(poll_all() == 0 && told_nothing());
}

/* Nine records and a marker are consumed, and then their connection breaks. */
static void
begin_with_marker(void)
{
	Size		bytes;
	bool		drained;
	int			n;

	begin(1, 10);
	logs[0].there[9] = false;
	kafka_fetch(0, 10);
	n = ks_source_poll(src, recs, MAX_RECS, 1 << 20, &bytes, &drained);
	FUZZ_CHECK(n == 9 && told(KS_EVENT_EOF).off == 10);
	parts[0].p.off = 10;
	parts[0].p.last_off = 8;
	parts[0].p.last_hash = ks_record_hash(&recs[8]);
	ks_source_release(recs, n);
	interrupted();
}

/* The end comes before one that was told before: it starts where the consumer is. */
static void
start_after_error(void)
{
	FUZZ_CHECK(told(KS_EVENT_PARTITION_ERROR).action == KS_ERROR_RETRY && told_nothing());
	start(0);
	kafka_fetch(0, 10);
	poll_all();
}

static void
poll_once(void *arg)
{
	Size		bytes;
	bool		drained;

	(void) ks_source_poll(src, recs, MAX_RECS, 1 << 20, &bytes, &drained);
}

static void
markers(void)
{
	/* the marker is not in the log any more; nor, then, the record before it */
	for (int same = 1; same >= 0; same--)
	{
		begin_with_marker();
		logs[0].there[8] = same;
		logs[0].end = 9;
		kafka_fetch(0, 10);
		poll_all();
		if (same)
			(void) told(KS_EVENT_TAIL_OK);
		start_after_error();
		if (same)
			(void) told(KS_EVENT_TAIL_OK);
		FUZZ_CHECK(told(KS_EVENT_TRUNCATED).off == 9 && told_nothing());
		end();
	}

	/* it was away for a moment: the leader did not know yet */
	begin_with_marker();
	logs[0].end = 9;
	kafka_fetch(0, 10);
	poll_all();
	logs[0].end = 10;
	(void) told(KS_EVENT_TAIL_OK);
	start_after_error();
	(void) told(KS_EVENT_TAIL_OK);
	FUZZ_CHECK(told(KS_EVENT_EOF).off == 10 && told_nothing());
	end();

	/* a record stands in its place */
	begin_with_marker();
	logs[0].there[9] = logs[0].there[10] = true;
	logs[0].end = 11;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 0);
	(void) told(KS_EVENT_TAIL_OK);
	FUZZ_CHECK(told(KS_EVENT_TAIL_MISMATCH).off == 9 && told_nothing());
	end();

	/* and so where there is no record at all to compare */
	begin(1, 0);
	logs[0].end = 5;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 0 && told(KS_EVENT_EOF).off == 5);
	interrupted();
	logs[0].there[3] = true;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 0 && told(KS_EVENT_TAIL_MISMATCH).off == 3);
	end();

	/* an end that nobody was told of is held against none */
	begin(1, 10);
	logs[0].there[9] = false;
	kafka_fetch(0, 10);
	interrupted();
	logs[0].end = 9;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 9 && told(KS_EVENT_EOF).off == 9 && told_nothing());
	end();

	/* a record that was read counts as well, without an end behind it */
	begin(1, 10);
	kafka_fetch(0, 5);
	FUZZ_CHECK(poll_all() == 5);
	interrupted();
	logs[0].end = 4;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 0 && told(KS_EVENT_TRUNCATED).off == 4 && told_nothing());
	end();

	/* no end is known while records that are not stable follow: it is seen when they are */
	begin_with_marker();
	logs[0].there[9] = logs[0].there[10] = true;
	logs[0].end = 11;
	logs[0].open = 2;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 0);
	(void) told(KS_EVENT_TAIL_OK);
	FUZZ_CHECK(told_nothing());
	logs[0].open = 0;
	kafka_fetch(0, 10);
	FUZZ_CHECK(poll_all() == 0 && told(KS_EVENT_TAIL_MISMATCH).off == 9);
	end();
	ok(true, "what was consumed behind the last record is not there, or a record is");

	/* a record, a marker, the end, and word that this is out of range, which it is not */
	for (int lost = 0; lost <= 1; lost++)
	{
		begin(1, 9);
		kafka_fetch(0, 10);
		FUZZ_CHECK(poll_all() == 9 && told(KS_EVENT_EOF).off == 9);
		logs[0].there[9] = true;
		logs[0].end = 11;
		kafka_fetch(0, 10);
		kafka_error(0, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET);
		logs[0].low = 11;
		if (!lost)
		{
			FUZZ_CHECK(poll_all() == 1 && told_nothing());
			kafka_fetch(0, 10);
			FUZZ_CHECK(poll_all() == 0 && told(KS_EVENT_EOF).off == 11);
		}
		else
		{
			/* an error ends the poll that took the record */
			kafka_say(RD_KAFKA_EVENT_LOG, 3, "FAIL", "localhost:9092/1: said aloud");
			unit_interrupt = true;
			FUZZ_CHECK(!unit_try(poll_once, NULL));
			FUZZ_CHECK(poll_all() == 0);
			FUZZ_CHECK(told(KS_EVENT_PARTITION_ERROR).action == KS_ERROR_RETRY);
		}
		FUZZ_CHECK(told_nothing());
		end();
	}
	ok(true, "what is gone behind an end is no loss, unless a record is");
}

/* --- questions --- */

static int	answer;
static KsOffsetQuery queries[5];

static void
count_partitions(void *arg)
{
	answer = ks_source_partition_count(src, "t", 2000);
}

static void
count_partitions_long(void *arg)
{
	answer = ks_source_partition_count(src, "t", 30000);
}

static void
query_offsets(void *arg)
{
	ks_source_query_offsets(src, queries, lengthof(queries), 2000);
}

static void
query_offsets_long(void *arg)
{
	ks_source_query_offsets(src, queries, lengthof(queries), 30000);
}

static void
list_topics(void *arg)
{
	KsTopicInfo *info = ks_source_list_topics(src, 2000, &answer);

	FUZZ_CHECK(answer == 2 && strcmp(info[0].topic, "t") == 0 && info[0].partitions == 2 && info[0].replicas == 3 && info[0].error == NULL);
	FUZZ_CHECK(strcmp(info[1].topic, "hidden") == 0 && info[1].partitions == 0 && strcmp(info[1].error, "Broker: Topic authorization failed") == 0);
}

/* The call, with that answer to so many questions for metadata. */
static bool
answered(void (*call) (void *), rd_kafka_resp_err_t err, int times)
{
	bool		fine;

	kafka_metadata_err = err;
	kafka_metadata_left = times;
	answer = -7;
	fine = unit_try(call, NULL);
	kafka_metadata_err = RD_KAFKA_RESP_ERR_NO_ERROR;
	return fine;
}

static void
questions(void)
{
	const char *id;
	int64		low,
				high,
				lso;

	/* until a broker was reached, nobody is kept from ending; then one that takes its time is waited for */
	begin(2, 10);
	kafka_longest = 0;
	FUZZ_CHECK(!answered(count_partitions_long, ERR(_TIMED_OUT), 0) && kafka_longest > 500 && kafka_longest <= 1000);
	kafka_say(RD_KAFKA_EVENT_LOG, 7, "STATE", "localhost:9092/1: Broker changed state APIVERSION_QUERY -> UP");
	FUZZ_CHECK(!answered(count_partitions_long, ERR(_TIMED_OUT), 0) && kafka_longest >= 2000);
	end();
	begin(2, 10);
	FUZZ_CHECK(answered(count_partitions, 0, 0) && answer == 2);
	/* what passes is waited out */
	FUZZ_CHECK(answered(count_partitions, ERR(_TIMED_OUT), 2) && answer == 2);
	FUZZ_CHECK(answered(count_partitions, ERR(LEADER_NOT_AVAILABLE), 2) && answer == 2);
	kafka_leaderless = 2;
	FUZZ_CHECK(answered(count_partitions, 0, 0) && answer == 2);
	/* which partitions have a leader is as of the last answer */
	FUZZ_CHECK(ks_source_has_leader(src, "t", 0) && ks_source_has_leader(src, "t", 1));
	kafka_headless = true;
	FUZZ_CHECK(ks_source_has_leader(src, "t", 1));
	FUZZ_CHECK(answered(count_partitions, 0, 0) && answer == 2);
	FUZZ_CHECK(ks_source_has_leader(src, "t", 0) && !ks_source_has_leader(src, "t", 1) && ks_source_has_leader(src, "t", 2));
	kafka_headless = false;
	FUZZ_CHECK(answered(count_partitions, 0, 0) && ks_source_has_leader(src, "t", 1));
	/* no such topic is an answer */
	FUZZ_CHECK(answered(count_partitions, ERR(UNKNOWN_TOPIC_OR_PART), 0) && answer == -1);
	FUZZ_CHECK(answered(count_partitions, ERR(TOPIC_EXCEPTION), 0) && answer == -1);
	/* what does not pass, and silence */
	FUZZ_CHECK(!answered(count_partitions, ERR(TOPIC_AUTHORIZATION_FAILED), 0) && unit_sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE);
	FUZZ_CHECK(!answered(count_partitions, ERR(_TIMED_OUT), 0) && unit_sqlstate == ERRCODE_CONNECTION_FAILURE);
	FUZZ_CHECK(strstr(unit_message, ": Kafka does not answer"));
	FUZZ_CHECK(!answered(list_topics, ERR(_TRANSPORT), 0) && strstr(unit_message, "could not list the topics: Kafka does not answer"));
	FUZZ_CHECK(answered(list_topics, 0, 0));
	/* why nobody answers is told, if it is known; and then it is not waited for */
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_ALL_BROKERS_DOWN), NULL, "1/1 brokers are down");
	FUZZ_CHECK(!answered(list_topics, ERR(_TRANSPORT), 0) && strstr(unit_message, ": could not connect to Kafka"));
	FUZZ_CHECK(!answered(count_partitions, ERR(TOPIC_AUTHORIZATION_FAILED), 0) && unit_sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE);
	kafka_say(RD_KAFKA_EVENT_ERROR, ERR(_AUTHENTICATION), NULL, "no");
	FUZZ_CHECK(!answered(list_topics, ERR(_TIMED_OUT), 0) && strstr(unit_message, ": could not authenticate to Kafka"));
	kafka_cluster = NULL;
	FUZZ_CHECK(ks_source_cluster_id(src, 2000) == NULL);
	end();
	ok(true, "questions: answers, what is waited out, and what is an error");

	begin(2, 10);
	FUZZ_CHECK(ks_source_cluster_id(src, 2000) == NULL);
	kafka_cluster = "one";
	id = ks_source_cluster_id(src, 2000);
	FUZZ_CHECK(id && strcmp(id, "one") == 0);
	/* a partition can be asked for several times in one call */
	logs[0].low = 2;
	for (int times = 0; times < 2; times++)
	{
		kafka_no_times = times == 1;
		queries[0] = (KsOffsetQuery) {.topic = "t", .part = 0, .ts = KS_OFFSET_EARLIEST};
		queries[1] = (KsOffsetQuery) {.topic = "t", .part = 0, .ts = KS_OFFSET_LATEST};
		queries[2] = (KsOffsetQuery) {.topic = "t", .part = 1, .ts = 5};
		queries[3] = (KsOffsetQuery) {.topic = "t", .part = 1, .ts = 5000};
		queries[4] = (KsOffsetQuery) {.topic = "t", .part = 1, .ts = KS_OFFSET_EARLIEST};
		FUZZ_CHECK(unit_try(query_offsets, NULL));
		FUZZ_CHECK(queries[0].off == 2 && queries[1].off == 10 && queries[4].off == 0);
		FUZZ_CHECK(queries[2].off == (times ? 10 : 5) && queries[2].ts == (times ? KS_OFFSET_LATEST : 5));
		FUZZ_CHECK(queries[3].off == 10 && queries[3].ts == KS_OFFSET_LATEST);
	}
	kafka_no_times = false;
	/* a partition that the library does not know yet is looked for, for a while */
	kafka_unknown = 2;
	FUZZ_CHECK(unit_try(query_offsets_long, NULL) && queries[4].off == 0 && kafka_unknown == 0);
	kafka_unknown = 1000;
	FUZZ_CHECK(!unit_try(query_offsets_long, NULL) && strstr(unit_message, "could not ask for offsets: Local: Unknown partition"));
	FUZZ_CHECK(kafka_unknown > 900 && kafka_unknown < 1000);
	kafka_unknown = 0;
	kafka_silent = true;
	FUZZ_CHECK(!unit_try(query_offsets, NULL) && strstr(unit_message, "could not ask for offsets: Kafka does not answer"));
	kafka_silent = false;
	kafka_no_times = kafka_no_ends = true;
	queries[0].ts = KS_OFFSET_EARLIEST;
	FUZZ_CHECK(!unit_try(query_offsets, NULL) && strstr(unit_message, "could not ask for offsets: Kafka does not answer"));
	kafka_no_times = kafka_no_ends = false;
	/* what is neither an error nor statistics nor a log is nothing */
	kafka_say(RD_KAFKA_EVENT_OFFSET_COMMIT, 0, NULL, "");
	kafka_say(RD_KAFKA_EVENT_LOG, 0, NULL, "");
	ks_source_serve(src);
	FUZZ_CHECK(told_nothing());
	/* without statistics, what the last fetch said */
	(void) ks_source_watermarks(src, 0, &low, &high, &lso);
	FUZZ_CHECK(low == 2 && high == 10 && lso == -1);
	FUZZ_CHECK(ks_source_epoch(src, 77) == 0 && ks_source_redelivered(src, 77) == 0);
	/* the pipe is there, and empty */
	ks_source_clear_fd(src);
	FUZZ_CHECK(ks_source_fd(src) >= 0);
	/* messages of nobody are nobody's */
	kafka_stranger();
	FUZZ_CHECK(poll_all() == 0 && told_nothing());
	/* where the credentials cannot be set, fetchers wake up later */
	kafka_refuses_wakeup = true;
	kafka_wakeups = 0;
	extend(1, 300);
	kafka_fetch(1, 300);
	poll_all();
	FUZZ_CHECK(kafka_wakeups > 0);
	kafka_refuses_wakeup = false;
	/* when the memory goes, so does the source; not in a worker that ends */
	proc_exit_inprogress = true;
	unit_reset(TopMemoryContext);
	FUZZ_CHECK(!src->closed);
	proc_exit_inprogress = false;
	unit_exit();
	FUZZ_CHECK(src->closed);
	ok(true, "offsets by time, and by what brokers tell that know no time");
}

/* --- what is refused --- */

static void
start_negative(void *arg)
{
	parts[0].p.off = -1;
	start(0);
}

static void
start_beyond(void *arg)
{
	KsPartition p = {.topic = "t", .part = 1000001, .last_off = -1};

	ks_source_start(src, 1, &p, false);
}

static void
start_twice(void *arg)
{
	KsPartition p = {.topic = "t", .part = 0, .last_off = -1};

	ks_source_start(src, 1, &p, false);
}

static void
start_other(void *arg)
{
	KsPartition p = {.topic = "t", .part = 1, .last_off = -1};

	ks_source_start(src, 0, &p, false);
}

static void
start_nameless(void *arg)
{
	KsPartition p = {.topic = "no such name", .part = 0, .last_off = -1};

	ks_source_start(src, 1, &p, false);
}

static void
open_refused(void *arg)
{
	open_source(true, false);
}

static void
refused(void)
{
	begin(1, 3);
	FUZZ_CHECK(!unit_try(start_negative, NULL));
	parts[0].p.off = 0;
	FUZZ_CHECK(!unit_try(start_beyond, NULL) && unit_sqlstate == ERRCODE_INVALID_PARAMETER_VALUE);
	FUZZ_CHECK(!unit_try(start_twice, NULL));
	FUZZ_CHECK(!unit_try(start_other, NULL));
	FUZZ_CHECK(!unit_try(start_nameless, NULL) && unit_sqlstate == ERRCODE_INVALID_NAME);
	/* the source goes on */
	start(0);
	kafka_fetch(0, 3);
	FUZZ_CHECK(poll_all() == 3);
	end();
	kafka_start_fails = true;
	FUZZ_CHECK(!unit_try(open_refused, NULL) && unit_sqlstate == ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE);
	kafka_start_fails = false;
	ok(true, "partitions that cannot be, and a handle that librdkafka refuses");

	/* damaged headers are a damaged record */
	kafka_reset();
	nparts = 1;
	open_source(false, true);
	logs[0] = (Log) {.generation = 1, .end = 3, .there = {true, true, true}};
	start(0);
	kafka_bad_headers = true;
	kafka_fetch(0, 3);
	FUZZ_CHECK(poll_all() == 0);
	FUZZ_CHECK(told(KS_EVENT_PARTITION_ERROR).action == KS_ERROR_HALT);
	end();
	ok(true, "headers that cannot be read");
}

/* --- the end of a handle --- */

/* Closes the source: was the handle destroyed, and is the pipe closed that it writes to? */
static bool
is_destroyed(void)
{
	int			before = kafka_destroyed;

	end();
	return kafka_destroyed > before;
}

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* The session was not told to end by that, or it was. */
static bool
session_ends(void)
{
	bool		ends = InterruptPending && ProcDiePending;

	FUZZ_CHECK(InterruptPending == ends && ProcDiePending == ends);
	InterruptPending = ProcDiePending = false;
	return ends;
}

static void
closing(void)
{
	char		fill[4096] = {0};
	int			fd;

	/* by a thread, or where there is no room for one; with a pipe that is full, or not */
	for (int i = 0; i < 4; i++)
	{
		begin_in(false, 1, 3);
		fd = src->pipe[1];
		unit_no_thread = i & 1;
		while (i & 2 && write(fd, fill, sizeof(fill)) > 0)
			;
		FUZZ_CHECK(is_destroyed() && !is_open(fd) && !logs[0].started);
	}
	unit_no_thread = false;
	FUZZ_CHECK(unit_left == 0);
	ok(true, "a handle is destroyed by a thread, or without one");

	/* a thread does not end when the session is to: it is waited for no longer than a while */
	begin_in(false, 1, 3);
	fd = src->pipe[1];
	ProcDiePending = InterruptPending = true;
	unit_step = 11 * USECS_PER_SEC;
	kafka_hold_end(false);
	FUZZ_CHECK(!is_destroyed() && is_open(fd) && unit_left == 1 && session_ends());
	unit_step = 1;
	kafka_let_end();
	/* or is refused memory: with it the session ends, and says why */
	begin_in(false, 1, 3);
	fd = src->pipe[1];
	kafka_hold_end(true);
	FUZZ_CHECK(!is_destroyed() && is_open(fd) && unit_left == 2 && session_ends());
	FUZZ_CHECK(strstr(unit_log, "the session ends: librdkafka was refused memory"));
	kafka_let_end();
	/* the same while the session ends anyway */
	unit_refuse(false);
	begin_in(false, 1, 3);
	fd = src->pipe[1];
	unit_refuse(true);
	proc_exit_inprogress = true;
	FUZZ_CHECK(!is_destroyed() && is_open(fd) && unit_left == 3 && !session_ends());
	proc_exit_inprogress = false;
	unit_refuse(false);
	ok(true, "a handle that cannot be destroyed keeps no session, and keeps its pipe");

	/* what is to be destroyed cannot be listed, or it can in part */
	for (int i = 1; i <= 4; i++)
	{
		begin_in(false, 1, 3);
		fd = src->pipe[1];
		unit_no_memory = i;
		FUZZ_CHECK(!is_destroyed() && is_open(fd) && unit_no_memory == 0 && !session_ends());
	}
	/* a worker leaves the handle in any case, without partitions ... */
	begin(1, 3);
	fd = src->pipe[1];
	FUZZ_CHECK(!is_destroyed() && !is_open(fd) && !logs[0].started);
	/* ... which write to the pipe if they cannot be stopped */
	for (int i = 1; i <= 4; i++)
	{
		begin(1, 3);
		fd = src->pipe[1];
		unit_no_memory = i;
		FUZZ_CHECK(!is_destroyed() && is_open(fd) && logs[0].started);
	}
	begin(1, 3);
	fd = src->pipe[1];
	unit_refuse(true);
	FUZZ_CHECK(!is_destroyed() && is_open(fd) && logs[0].started && !session_ends());
	unit_refuse(false);
	ok(true, "nothing writes to a pipe that is closed, also where there is no memory");
}

static volatile unsigned at;
static volatile bool in_history;

static void
on_abort(int sig)
{
	if (in_history)
		dprintf(1, "not ok %d - history %u (test/unit/run source 1 %u)\n", tests + 1, at, at);
}

int
main(int argc, char **argv)
{
	int			rounds = argc > 1 ? atoi(argv[1]) : 3000;
	const char *given = argc > 2 ? argv[2] : getenv("KAFKA_SINK_SEED");
	unsigned	seed = given ? strtoul(given, NULL, 10) : ((unsigned) time(NULL) * 3001 + getpid() * 7919) % 1000000000;

	signal(SIGABRT, on_abort);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("# KAFKA_SINK_SEED=%u, %d histories\n", seed, rounds);
	errors();
	client_trouble();
	statistics();
	leaders();
	ranges();
	markers();
	questions();
	refused();
	closing();
	for (int i = 0; i < rounds; i++)
	{
		/* each can be had by itself: source 1 SEED */
		at = seed + i;
		in_history = true;
		chance = at;
		history_of();
	}
	printf("# %d ends, tails: %d as they were, %d not to be checked, %d others; %d truncated, %d out of range, %d errors; %d interrupts, %d of %d partitions halted\n",
		   history[KS_EVENT_EOF], history[KS_EVENT_TAIL_OK], history[KS_EVENT_TAIL_UNCHECKABLE], history[KS_EVENT_TAIL_MISMATCH],
		   history[KS_EVENT_TRUNCATED], history[KS_EVENT_OUT_OF_RANGE], history[KS_EVENT_PARTITION_ERROR], history[20], history[21], history[22]);
	for (int i = KS_EVENT_EOF; i <= KS_EVENT_PARTITION_ERROR; i++)
		FUZZ_CHECK(history[i] > 0 || rounds < 1000);
	FUZZ_CHECK(history[20] > 0 || rounds < 1000);
	ok(true, "random histories: nothing is lost, nothing twice, nothing of another log");
	printf("1..%d\n", tests);
	return 0;
}
