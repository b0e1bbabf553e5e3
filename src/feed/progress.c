/*
 * progress.c
 *	  How far a feed is: the record in Kafka that says so.
 *
 * The record is one line of JSON, for people who look at the topic; it is read with
 * as little as it is written with.  Of an unknown version nothing is read: then
 * nobody knows how far the feed is.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "base/memory.h"
#include "base/message.h"
#include "feed/progress.h"
#include "kafka/reader.h"

#define FORMAT \
	"{\"version\": 1, \"feed_id\": " INT64_FORMAT ", \"system_identifier\": " UINT64_FORMAT ", \"timeline\": %u, " \
	"\"start_lsn\": \"%X/%08X\", \"lsn\": \"%X/%08X\", \"xid\": %u, \"transactions\": " INT64_FORMAT ", \"records\": " INT64_FORMAT ", " \
	"\"skipped\": \"%X/%08X\", \"inside\": \"%X/%08X\", \"inside_changes\": " INT64_FORMAT

/* behind the numbers, if it has a publication */
#define PUBLICATION		", \"publication\": "
#define TOPIC			", \"topic\": "
#define ENVELOPE		", \"envelope\": "

#define COPY_FORMAT ", \"copy\": " INT64_FORMAT ", \"copied\": " INT64_FORMAT ", \"copy_after\": "

/* The place of a copy can be long: an index has keys of more bytes than its pages, if they
 * can be compressed. */
#define MAX_RECORD		(1024 * 1024)
#define READ_RECORDS	256
#define READ_BYTES		(1024 * 1024)

/* Of the topic the end is read first, so many offsets; then each time so many times as many
 * before that. */
#define END_OFFSETS		1000
#define END_TIMES		16

char *
ks_progress_name(const char *feed)
{
	return psprintf("kafka_sink/" UINT64_FORMAT "/%u/%s", GetSystemIdentifier(), MyDatabaseId, feed);
}

/* No feed can be called so that its id is another's. */
char *
ks_progress_transactional_id(const char *feed, int n)
{
	if (n == 0)
		return ks_progress_name(feed);
	return psprintf("kafka_sink.%d/" UINT64_FORMAT "/%u/%s", n, GetSystemIdentifier(), MyDatabaseId, feed);
}

void
ks_progress_write(const KsProgress *p, StringInfo buf)
{
	appendStringInfo(buf, FORMAT, p->feed_id, p->system_identifier, p->timeline,
					 LSN_FORMAT_ARGS(p->start_lsn), LSN_FORMAT_ARGS(p->lsn), p->xid, p->transactions, p->records,
					 LSN_FORMAT_ARGS(p->skipped), LSN_FORMAT_ARGS(p->inside), p->inside_changes);
	if (p->as.publication[0])
	{
		appendStringInfoString(buf, PUBLICATION);
		escape_json(buf, p->as.publication);
		appendStringInfoString(buf, TOPIC);
		escape_json(buf, p->as.topic);
		appendStringInfoString(buf, ENVELOPE);
		escape_json(buf, p->as.envelope);
	}
	if (p->copy != 0)
		appendStringInfo(buf, COPY_FORMAT "%s", p->copy, p->copied,
						 p->copy_after ? p->copy_after : "null");
	appendStringInfoChar(buf, '}');
}

/* Moves *s behind what is expected there; false if it is something else. */
static bool
read_word(const char **s, const char *word)
{
	if (strncmp(*s, word, strlen(word)) != 0)
		return false;
	*s += strlen(word);
	return true;
}

/* What escape_json() has written, without a check of what it could not have. */
static bool
read_text(const char **s, char *text, int size)
{
	static const char letters[] = "bfnrt",
				meant[] = "\b\f\n\r\t";
	int			len = 0;
	const char *letter;
	unsigned int code;

	if (!read_word(s, "\""))
		return false;
	for (; **s && **s != '"'; (*s)++)
	{
		char		c = **s;

		if (c == '\\' && (*s)[1])
		{
			c = *++(*s);
			if (c == 'u' && sscanf(*s + 1, "%4x", &code) == 1)
			{
				c = (char) code;
				*s += Min(strlen(*s) - 1, 4);
			}
			else if ((letter = strchr(letters, c)) != NULL)
				c = meant[letter - letters];
		}
		if (len == size - 1)
			return false;
		text[len++] = c;
	}
	text[len] = '\0';
	return read_word(s, "\"");
}

/* Behind the numbers. */
static bool
read_definition(const char *s, KsDefinition *as)
{
	if (!read_word(&s, PUBLICATION))
		return true;
	return read_text(&s, as->publication, sizeof(as->publication)) && read_word(&s, TOPIC) &&
		read_text(&s, as->topic, sizeof(as->topic)) && read_word(&s, ENVELOPE) &&
		read_text(&s, as->envelope, sizeof(as->envelope));
}

/* Of a table's copy, if there is one: up to the last brace. */
static void
parse_copy(char *text, KsProgress *p)
{
	char	   *copy = strstr(text, ", \"copy\": ");
	char	   *after = strstr(text, "\"copy_after\": ");

	if (copy == NULL || after == NULL || sscanf(copy, COPY_FORMAT, &p->copy, &p->copied) != 2)
		return;
	after += strlen("\"copy_after\": ");
	/* without the brace */
	after = pnstrdup(after, Max(strlen(after), 1) - 1);
	if (*after && strcmp(after, "null") != 0)
		p->copy_after = after;
}

bool
ks_progress_parse(const char *text, int len, KsProgress *p)
{
	char	   *buf;
	StringInfoData again;
	uint32		start_lsn[2],
				lsn[2],
				skipped[2],
				inside[2];
	int			behind = 0;
	bool		same;

	if (len < 0 || len > MAX_RECORD)
		return false;
	buf = pnstrdup(text, len);
	memset(p, 0, sizeof(KsProgress));
	if (sscanf(buf, "{\"version\": 1, \"feed_id\": " INT64_FORMAT ", \"system_identifier\": " UINT64_FORMAT ", \"timeline\": %u, "
			   "\"start_lsn\": \"%X/%X\", \"lsn\": \"%X/%X\", \"xid\": %u, \"transactions\": " INT64_FORMAT ", \"records\": " INT64_FORMAT ", "
			   "\"skipped\": \"%X/%X\", \"inside\": \"%X/%X\", \"inside_changes\": " INT64_FORMAT "%n",
			   &p->feed_id, &p->system_identifier, &p->timeline, &start_lsn[0], &start_lsn[1],
			   &lsn[0], &lsn[1], &p->xid, &p->transactions, &p->records, &skipped[0], &skipped[1], &inside[0], &inside[1], &p->inside_changes, &behind) != 15 ||
		!read_definition(buf + behind, &p->as))
		return false;
	p->start_lsn = ((uint64) start_lsn[0] << 32) | start_lsn[1];
	p->lsn = ((uint64) lsn[0] << 32) | lsn[1];
	p->skipped = ((uint64) skipped[0] << 32) | skipped[1];
	p->inside = ((uint64) inside[0] << 32) | inside[1];
	parse_copy(buf, p);
	/* what is read is what would be written, to the letter */
	initStringInfo(&again);
	ks_progress_write(p, &again);
	same = again.len == len && memcmp(again.data, buf, len) == 0;
	pfree(again.data);
	return same;
}

/* --- in Kafka --- */

/* Aborted records, and those of open transactions, are seen by 'uncommitted' only. */
static KsSource *
open_source(const KsConf *conf, bool uncommitted, MemoryContext cxt)
{
	KsSourceOptions opts = {
		.client_id = "kafka_sink/progress",
		.read_uncommitted = uncommitted,
		.max_record_bytes = MAX_RECORD
	};

	return ks_source_open(conf, &opts, cxt);
}

bool
ks_progress_has_topic(const KsConf *conf, const char *topic, TimestampTz deadline)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink progress", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	bool		exists;

	exists = ks_source_partition_count(open_source(conf, true, cxt), topic, ks_reader_remaining_ms(deadline)) > 0;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);	/* closes the source */
	return exists;
}

/* Where the log ends, whatever is open in it. */
static void
find_ends(const KsConf *conf, const char *topic, TimestampTz deadline, MemoryContext cxt, KsPartition *part)
{
	KsOffsetQuery q[2] = {
		{.topic = topic, .ts = KS_OFFSET_EARLIEST},
		{.topic = topic, .ts = KS_OFFSET_LATEST}
	};
	KsSource   *source = open_source(conf, true, cxt);

	ks_source_query_offsets(source, q, 2, ks_reader_remaining_ms(deadline));
	ks_source_close(source);
	part->topic = topic;
	part->off = q[0].off;
	part->until = q[1].off;
	part->last_off = -1;
}

/* The last record of that name in a range; false if there is none.  'found': and it is one of ours. */
static bool
read_range(const KsConf *conf, KsPartition *range, const char *name, int patience_ms, MemoryContext cxt, KsProgress *progress, bool *found)
{
	KsRecord   *recs = palloc(READ_RECORDS * sizeof(KsRecord));
	int			namelen = strlen(name);
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), patience_ms);
	KsSource   *source = open_source(conf, false, cxt);
	KsReader   *reader = ks_reader_start(source, range, 1, false, deadline);
	bool		is_there = false;
	Size		bytes;
	int			n;

	/* a topic that nobody compacts takes its time, and is no reason to begin again and again */
	reader->patience_ms = patience_ms;
	reader->hint = "A transaction of another feed may be open in the topic of progress; Kafka ends it after that feed's transaction_timeout.";
	while ((n = ks_reader_next(reader, recs, READ_RECORDS, READ_BYTES, &bytes)) > 0)
	{
		for (int i = 0; i < n; i++)
			if (recs[i].keylen == namelen && memcmp(recs[i].key, name, namelen) == 0)
			{
				is_there = true;
				*found = ks_progress_parse(recs[i].value, recs[i].valuelen, progress);
			}
		ks_source_release(recs, n);
	}
	ks_source_close(source);
	return is_there;
}

bool
ks_progress_read(const KsConf *conf, const char *topic, const char *name, TimestampTz deadline, KsProgress *progress)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink progress", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	int			patience_ms = ks_reader_remaining_ms(deadline);
	KsPartition part = {0};
	int64		first;
	int64		span = END_OFFSETS;
	bool		found = false;

	find_ends(conf, topic, deadline, cxt, &part);
	/* what comes last counts, so nothing before it is looked at */
	for (first = part.off; part.until > first; span *= END_TIMES)
	{
		int64		from = Max(first, part.until - span);

		part.off = from;
		if (read_range(conf, &part, name, patience_ms, cxt, progress, &found))
			break;
		part.until = from;
	}
	if (found && progress->copy_after)
		progress->copy_after = MemoryContextStrdup(old, progress->copy_after);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);	/* closes the sources */
	return found;
}
