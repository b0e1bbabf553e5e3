/*
 * progress.c
 *	  The record of a feed's progress: what was written is read, and nothing else.
 *
 * Kafka is an array of records here, whose offsets are far from each other.  Records are given without a byte behind them, so
 * that the address sanitizer sees who looks there.
 */
#include "../fuzz/stubs.h"
#include "tap.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "feed/progress.h"
#include "kafka/reader.h"

#define MAX_LOG		16
#define STEP		700			/* offsets from one record to the next: what was between is compacted */

/* --- the server --- */

Oid			MyDatabaseId = 5;

TimestampTz
GetCurrentTimestamp(void)
{
	return 0;
}

uint64
GetSystemIdentifier(void)
{
	return PG_UINT64_MAX;
}

char *
MemoryContextStrdup(MemoryContext cxt, const char *s)
{
	return strcpy(MemoryContextAlloc(cxt, strlen(s) + 1), s);
}

/* --- Kafka --- */

static KsRecord records[MAX_LOG];
static int	nrecords;
static int	next;
static int	behind;				/* the range that is read */
static int64 first_off;			/* of what has been read, or the end */
static KsReader reader;
static int	nopen;
static bool open_uncommitted;
static int	npartitions = 1;

KsSource *
ks_source_open(const KsConf *conf, const KsSourceOptions *opts, MemoryContext cxt)
{
	nopen++;
	open_uncommitted = opts->read_uncommitted;
	return (KsSource *) &nopen;
}

void
ks_source_close(KsSource *src)
{
}

int
ks_source_partition_count(KsSource *src, const char *topic, int timeout_ms)
{
	return npartitions;
}

void
ks_source_query_offsets(KsSource *src, KsOffsetQuery *q, int n, int timeout_ms)
{
	/* where it ends, whatever is open */
	FUZZ_CHECK(open_uncommitted);
	first_off = nrecords * STEP;
	for (int i = 0; i < n; i++)
	{
		FUZZ_CHECK(q[i].part == 0);
		q[i].off = q[i].ts == KS_OFFSET_LATEST ? nrecords * STEP : 0;
	}
}

void
ks_source_release(KsRecord *recs, int n)
{
}

int
ks_reader_remaining_ms(TimestampTz deadline)
{
	return 1;
}

KsReader *
ks_reader_start(KsSource *source, KsPartition *parts, int nparts, bool check_tail, TimestampTz deadline)
{
	/* and no record of a transaction that is not committed */
	FUZZ_CHECK(!open_uncommitted && nparts == 1 && parts->part == 0);
	/* all of it, from the end on backwards */
	FUZZ_CHECK(parts->off >= 0 && parts->off < parts->until && parts->until == first_off);
	first_off = parts->off;
	/* the n-th has the last of its offsets */
	next = parts->off / STEP;
	behind = parts->until / STEP;
	reader = (KsReader) {0};
	return &reader;
}

/* A few at a time */
int
ks_reader_next(KsReader *r, KsRecord *recs, int max, Size max_bytes, Size *bytes)
{
	int			n = 0;

	while (n < 3 && n < max && next < behind)
		recs[n++] = records[next++];
	return n;
}

static void
put(const char *key, const char *value, int len)
{
	records[nrecords++] = (KsRecord)
	{
		.key = key,
			.keylen = key ? (int) strlen(key) : -1,
			.value = len >= 0 ? fuzz_copy(value, len) : NULL,
			.valuelen = len
	};
}

static void
forget_log(void)
{
	for (int i = 0; i < nrecords; i++)
		free(unconstify(char *, records[i].value));
	nrecords = 0;
}

/* --- written and read --- */

static bool
parses(const char *text, int len, KsProgress *p)
{
	char	   *copy = fuzz_copy(text, len);
	bool		fine = ks_progress_parse(copy, len, p);

	free(copy);
	return fine;
}

static bool
same(const KsProgress *a, const KsProgress *b)
{
	return a->feed_id == b->feed_id && a->system_identifier == b->system_identifier && a->timeline == b->timeline &&
		a->start_lsn == b->start_lsn && a->lsn == b->lsn && a->xid == b->xid && a->transactions == b->transactions && a->records == b->records &&
		a->skipped == b->skipped && a->inside == b->inside && a->inside_changes == b->inside_changes &&
		strcmp(a->as.publication, b->as.publication) == 0 && strcmp(a->as.topic, b->as.topic) == 0 &&
		strcmp(a->as.envelope, b->as.envelope) == 0 && a->copy == b->copy && a->copied == b->copied &&
		(a->copy_after == NULL) == (b->copy_after == NULL) &&
		(a->copy_after == NULL || strcmp(a->copy_after, b->copy_after) == 0);
}

static char *
long_place(int len)
{
	char	   *place = palloc(len + 16);
	int			n = sprintf(place, "{\"k text\": \"");

	memset(place + n, 'x', len);
	strcpy(place + n + len, "\"}");
	return place;
}

#define NPROGRESSES		7

static KsProgress
example(int i)
{
	KsProgress	p = {
		.feed_id = 81264, .system_identifier = UINT64CONST(7391000000000000001), .timeline = 1,
		.start_lsn = 0x1A000028, .lsn = 0x1A2B3C40, .xid = 773, .transactions = 12, .records = 40
	};

	switch (i)
	{
		case 1:
			p = (KsProgress) {
				.feed_id = PG_INT64_MAX, .system_identifier = PG_UINT64_MAX, .timeline = PG_UINT32_MAX,
				.start_lsn = PG_UINT64_MAX, .lsn = PG_UINT64_MAX,
				.xid = PG_UINT32_MAX, .transactions = PG_INT64_MAX, .records = PG_INT64_MAX, .skipped = PG_UINT64_MAX,
				.inside = PG_UINT64_MAX, .inside_changes = PG_INT64_MAX, .copy = PG_INT64_MAX, .copied = PG_INT64_MAX
			};
			break;
		case 2:
			strcpy(p.as.publication, "pieces of \"it\"");
			strcpy(p.as.topic, "{schema}.{table}");
			strcpy(p.as.envelope, "debezium");
			p.inside = 0x1A2B3C40;
			p.inside_changes = 3;
			break;
		case 3:
			strcpy(p.as.publication, "\\ \b\f\n\r\t \x01\x1f \", \"copy\": 7, \"copied\": 7, \"copy_after\": {}");
			strcpy(p.as.topic, "t");
			strcpy(p.as.envelope, "none");
			p.copy = 5;
			break;
		case 4:
			memset(p.as.publication, '\xc3', sizeof(p.as.publication) - 1);
			memset(p.as.topic, '"', sizeof(p.as.topic) - 1);
			memset(p.as.envelope, '\x02', sizeof(p.as.envelope) - 1);
			p.copy = 5;
			p.copied = 20000;
			p.copy_after = "{\"id integer\": \"20000\"}";
			break;
		case 5:
			p.copy = 5;
			p.copied = 1;
			p.copy_after = "{\"a \\\"copy_after\\\": text\": \"}\", \"b text\": \"null\"}";
			break;
		case 6:
			p.copy = 5;
			p.copied = 1;
			p.copy_after = long_place(200000);
			break;
	}
	return p;
}

static void
test_round_trip(void)
{
	static const char *const names[NPROGRESSES] = {
		"of messages", "the largest numbers", "of tables, cut", "a name of all that has to be escaped", "the longest names",
		"a place that looks like its record", "a long place"
	};

	for (int i = 0; i < NPROGRESSES; i++)
	{
		KsProgress	p = example(i);
		KsProgress	read;
		StringInfoData s;

		initStringInfo(&s);
		ks_progress_write(&p, &s);
		ok(parses(s.data, s.len, &read) && same(&p, &read), names[i]);
		fuzz_reset();
	}
}

/* What is read of a record, if anything is, writes that record. */
static bool
is_faithful(const char *text, int len, bool *read_it)
{
	KsProgress	p;
	StringInfoData s;

	*read_it = parses(text, len, &p);
	if (!*read_it)
		return true;
	initStringInfo(&s);
	ks_progress_write(&p, &s);
	return s.len == len && memcmp(s.data, text, len) == 0;
}

/* A place that is no UTF-8 is an error. */
static bool
is_faithful_or_refused(const char *text, int len)
{
	volatile bool fine = false;
	bool		read_it;

	if (!FUZZ_TRY(fine = is_faithful(text, len, &read_it)))
		fine = fuzz_sqlstate == ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
	return fine;
}

static void
test_damage(void)
{
	bool		cut = false;
	bool		longer = false;
	bool		fine = true;
	bool		read_it;

	for (int i = 0; i < NPROGRESSES - 1; i++)
	{
		KsProgress	p = example(i);
		StringInfoData s;
		int			len;

		initStringInfo(&s);
		ks_progress_write(&p, &s);
		len = s.len;
		for (int n = 0; n < len; n++)
		{
			fine &= is_faithful(s.data, n, &read_it);
			/* (what is in a place is not looked at) */
			cut |= read_it && s.data[n - 1] != '}';
		}
		appendStringInfoString(&s, " ");
		fine &= is_faithful(s.data, s.len, &read_it);
		longer |= read_it;
		for (int at = 0; at < len; at++)
			for (int bit = 0; bit < 8; bit++)
			{
				s.data[at] ^= 1 << bit;
				fine &= is_faithful_or_refused(s.data, len);
				s.data[at] ^= 1 << bit;
			}
		fuzz_reset();
	}
	ok(!cut, "none that was cut is read");
	ok(!longer, "none that has more");
	ok(fine, "whatever is read is what was written, to the letter");
}

static void
test_others(void)
{
	static const char *const texts[] = {
		"", "{}", "null", "{\"version\": 2}",
#define NUMBERS(version, xid) \
		"{\"version\": " version ", \"feed_id\": 1, \"system_identifier\": 2, \"timeline\": 1, " \
		"\"start_lsn\": \"0/00000002\", \"lsn\": \"0/00000003\", \"xid\": " xid ", \"transactions\": 5, \"records\": 6, \"skipped\": \"0/00000000\", \"inside\": \"0/00000000\", \"inside_changes\": 0"
		NUMBERS("2", "4") "}",
		NUMBERS("1", "-4") "}",
		NUMBERS("1", "99999999999") "}",
		NUMBERS("1", " 4") "}",
		NUMBERS("1", "4") ", \"more\": 1}",
		NUMBERS("1", "4") ", \"copy\": 1, \"copied\": 2, \"copy_after\": ",
		NUMBERS("1", "4") ", \"copy\": 1, \"copied\": 2, \"copy_after\": }",
		NUMBERS("1", "4") ", \"copy\": 0, \"copied\": 2, \"copy_after\": null}",
		NUMBERS("1", "4") ", \"copy_after\": null}",
		NUMBERS("1", "4") ", \"publication\": \"\", \"topic\": \"t\", \"envelope\": \"none\"}",
		NUMBERS("1", "4") ", \"publication\": \"p\", \"topic\": \"t\"}",
		NUMBERS("1", "4") ", \"publication\": \"a name that is longer than any publication can have, as it is of 64 bytes\", "
		"\"topic\": \"t\", \"envelope\": \"none\"}",
	};
	KsProgress	p;
	bool		fine = parses(NUMBERS("1", "4") "}", strlen(NUMBERS("1", "4") "}"), &p);

	for (int i = 0; i < (int) lengthof(texts); i++)
		if (parses(texts[i], strlen(texts[i]), &p))
		{
			printf("# %s\n", texts[i]);
			fine = false;
		}
	ok(fine, "what nobody has written is not read");
	ok(!parses("{\"version\": 1\0}", 15, &p) && !ks_progress_parse(NULL, -1, &p), "nor what is no text");
	fuzz_reset();
}

/* --- in Kafka --- */

static bool
finds(int64 records_of)
{
	KsProgress	p;
	bool		found = ks_progress_read(NULL, "topic", "me", 0, &p);

	return records_of < 0 ? !found : found && p.records == records_of;
}

static void
put_progress(const char *key, int64 records_of)
{
	KsProgress	p = example(4);
	StringInfoData s;

	p.records = records_of;
	initStringInfo(&s);
	ks_progress_write(&p, &s);
	put(key, s.data, s.len);
}

static void
test_read(void)
{
	KsProgress	p;

	ok(finds(-1), "an empty topic has none");
	put_progress("you", 1);
	put_progress(NULL, 2);
	put_progress("mee", 3);
	put_progress("m", 4);
	ok(finds(-1), "nor one of others");
	put_progress("me", 5);
	put_progress("me", 6);
	put_progress("you", 7);
	put_progress("you", 8);
	ok(finds(6), "the last one counts");
	ok(reader.patience_ms > 0 && strstr(reader.hint, "transaction_timeout"), "there is time while records come, and a reason if none do");
	ok(ks_progress_read(NULL, "topic", "me", 0, &p) && strcmp(p.copy_after, example(4).copy_after) == 0, "with its place");
	put("me", "{\"version\": 2}", 14);
	ok(finds(-1), "one that cannot be read hides those before");
	put_progress("me", 9);
	ok(finds(9), "and is hidden by those behind");
	put("me", NULL, -1);
	ok(finds(-1), "so is one without a value");
	forget_log();
	fuzz_reset();
	ok(ks_progress_has_topic(NULL, "topic", 0), "a topic with a partition");
	npartitions = 0;
	ok(!ks_progress_has_topic(NULL, "topic", 0), "is another than one without");
}

static void
test_names(void)
{
	ok(strcmp(ks_progress_name("f"), "kafka_sink/18446744073709551615/5/f") == 0, "the key");
	ok(strcmp(ks_progress_transactional_id("f", 0), ks_progress_name("f")) == 0, "the first producer");
	ok(strcmp(ks_progress_transactional_id("f", 1), "kafka_sink.1/18446744073709551615/5/f") == 0, "and another");
	fuzz_reset();
}

int
main(void)
{
	test_round_trip();
	test_damage();
	test_others();
	test_read();
	test_names();
	printf("1..%d\n", tests);
	return failed;
}
