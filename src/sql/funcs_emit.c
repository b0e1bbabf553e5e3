/*
 * funcs_emit.c
 *	  emit(): a message that is published if and when the transaction commits.
 *
 * It is a transactional logical message in the WAL: no table, no row, no index; one
 * that is rolled back, also to a savepoint, has never been.  The feed's worker is
 * woken by the commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "catalog/extension.h"
#include "catalog/feeds.h"
#include "feed/message.h"
#include "process/shmem.h"
#include "sql/arguments.h"

PG_FUNCTION_INFO_V1(kafka_sink_emit_text);
PG_FUNCTION_INFO_V1(kafka_sink_emit_jsonb);
PG_FUNCTION_INFO_V1(kafka_sink_emit_bytea);
PG_FUNCTION_INFO_V1(kafka_sink_emit_record);

/* The arguments of all but the last. */
enum
{
	ARG_FEED, ARG_TOPIC, ARG_KEY, ARG_VALUE, ARG_HEADERS, ARG_PART
};

/* --- waking the worker --- */

static List *emitted_to = NIL;	/* names of feeds, in the transaction's context */

static void
xact_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			foreach(lc, emitted_to)
				ks_shmem_wake_feed(lfirst(lc));
			emitted_to = NIL;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			emitted_to = NIL;
			break;
		default:
			break;
	}
}

static void
note_emitted(const char *feed)
{
	static bool registered = false;
	ListCell   *lc;
	MemoryContext old;

	if (!registered)
		RegisterXactCallback(xact_callback, NULL);
	registered = true;
	foreach(lc, emitted_to)
		if (strcmp(lfirst(lc), feed) == 0)
			return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	emitted_to = lappend(emitted_to, pstrdup(feed));
	MemoryContextSwitchTo(old);
}

/* --- what is emitted --- */

/* Kafka's texts are UTF-8. */
static const char *
utf8(const char *s, int *len)
{
	char	   *converted = pg_server_to_any(s, *len, PG_UTF8);

	if (converted != s)
		*len = strlen(converted);
	return converted;
}

/* With its end. */
static char *
header_name(const char *s, int len)
{
	const char *name = utf8(s, &len);

	return pnstrdup(name, len);
}

static void
set_text(Datum d, const char **bytes, int32 *len)
{
	text	   *t = DatumGetTextPP(d);
	int			n = VARSIZE_ANY_EXHDR(t);

	*bytes = utf8(VARDATA_ANY(t), &n);
	*len = n;
}

static void
set_bytes(Datum d, const char **bytes, int32 *len)
{
	bytea	   *b = DatumGetByteaPP(d);

	*bytes = VARDATA_ANY(b);
	*len = VARSIZE_ANY_EXHDR(b);
}

KS_NORETURN static void
too_many_headers(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("a message has too many headers"),
			 errdetail("The limit is %d.", KS_PRODUCER_MAX_HEADERS)));
}

/* A value of an object of headers. */
static void
set_json_header(KsHeader *header, const JsonbValue *v)
{
	const char *s;
	int			len;

	switch (v->type)
	{
		case jbvNull:
			header->value = NULL;
			header->valuelen = -1;
			return;
		case jbvString:
			s = v->val.string.val;
			len = v->val.string.len;
			break;
		case jbvNumeric:
			s = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
			len = strlen(s);
			break;
		case jbvBool:
			s = v->val.boolean ? "true" : "false";
			len = strlen(s);
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the value of header \"%s\" is no text, number, Boolean or null", header->name)));
	}
	header->value = utf8(s, &len);
	header->valuelen = len;
}

static int
read_json_headers(Jsonb *jb, KsHeader *headers)
{
	JsonbIterator *it = JsonbIteratorInit(&jb->root);
	JsonbValue	v;
	JsonbIteratorToken token;
	int			n = 0;

	if (JsonbIteratorNext(&it, &v, false) != WJB_BEGIN_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be an object"),
				 errhint("For example: {\"trace\": \"7f3a\"}.")));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			if (n == KS_PRODUCER_MAX_HEADERS)
				too_many_headers();
			headers[n].name = header_name(v.val.string.val, v.val.string.len);
		}
		else if (token == WJB_VALUE)
			set_json_header(&headers[n++], &v);
	}
	return n;
}

static int
read_header_array(ArrayType *array, KsHeader *headers)
{
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &typlen, &typbyval, &typalign);
	deconstruct_array(array, ARR_ELEMTYPE(array), typlen, typbyval, typalign, &elems, &nulls, &n);
	if (n > KS_PRODUCER_MAX_HEADERS)
		too_many_headers();
	for (int i = 0; i < n; i++)
	{
		HeapTupleHeader tup = nulls[i] ? NULL : DatumGetHeapTupleHeader(elems[i]);
		bool		isnull = true;
		Datum		name = tup ? GetAttributeByNum(tup, 1, &isnull) : (Datum) 0;
		Datum		value;
		char	   *in_server;

		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the name of a header must not be null")));
		in_server = TextDatumGetCString(name);
		headers[i].name = header_name(in_server, strlen(in_server));
		value = GetAttributeByNum(tup, 2, &isnull);
		headers[i].value = NULL;
		headers[i].valuelen = -1;
		if (!isnull)
			set_bytes(value, &headers[i].value, &headers[i].valuelen);
	}
	return n;
}

static void
check_topic(const KsProducerRecord *rec, const KsEmitter *e)
{
	if (ks_feeds_is_progress_topic(e, rec->topic))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to emit to topic \"%s\"", rec->topic),
				 errdetail("It has the progress of feeds; what is written there says how far they are.")));
}

static void
check_size(const KsProducerRecord *rec, const KsEmitter *e)
{
	int64		size = (int64) Max(rec->keylen, 0) + Max(rec->valuelen, 0);

	for (int i = 0; i < rec->nheaders; i++)
		size += strlen(rec->headers[i].name) + Max(rec->headers[i].valuelen, 0);
	if (size > e->max_message_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the message is too large for feed \"%s\"", e->name),
				 errdetail("Key, value and headers have " INT64_FORMAT " bytes, the limit is %d.", size, e->max_message_bytes),
				 errhint("Raise max_message_bytes of the feed with kafka_sink.alter_feed(), and what the topic takes.")));
}

static void
set_part(KsProducerRecord *rec, int32 part)
{
	if (part < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a partition must not be negative")));
	rec->part = part;
}

static void
emit(const char *feed, const KsProducerRecord *rec)
{
	const KsEmitter *e;
	KsMessageKey key;
	char	   *data;
	Size		len;

	ks_catalog_check_topic(rec->topic);
	PreventCommandIfReadOnly("emit()");
	e = ks_feeds_emitter(feed);
	check_topic(rec, e);
	check_size(rec, e);
	ks_message_make_key(e->secret, &key);
	data = ks_message_write(rec, e->id, GetTopFullTransactionId(), &key, &len);
	explicit_bzero(&key, sizeof(key));
	(void) ks_log_message(KS_MESSAGE_PREFIX, data, len);
	pfree(data);
	note_emitted(feed);
}

/* All but key and value, which the record has. */
static void
emit_arguments(FunctionCallInfo fcinfo, KsProducerRecord *rec)
{
	KsHeader	headers[KS_PRODUCER_MAX_HEADERS];
	char	   *feed = ks_text_argument(fcinfo, ARG_FEED);

	rec->topic = ks_text_argument(fcinfo, ARG_TOPIC);
	rec->part = -1;
	if (!PG_ARGISNULL(ARG_PART))
		set_part(rec, PG_GETARG_INT32(ARG_PART));
	rec->headers = headers;
	rec->nheaders = PG_ARGISNULL(ARG_HEADERS) ? 0 : read_json_headers(PG_GETARG_JSONB_P(ARG_HEADERS), headers);
	emit(feed, rec);
}

static void
set_text_key(FunctionCallInfo fcinfo, KsProducerRecord *rec)
{
	if (!PG_ARGISNULL(ARG_KEY))
		set_text(PG_GETARG_DATUM(ARG_KEY), &rec->key, &rec->keylen);
}

Datum
kafka_sink_emit_text(PG_FUNCTION_ARGS)
{
	KsProducerRecord rec = {.keylen = -1, .valuelen = -1};

	set_text_key(fcinfo, &rec);
	if (!PG_ARGISNULL(ARG_VALUE))
		set_text(PG_GETARG_DATUM(ARG_VALUE), &rec.value, &rec.valuelen);
	emit_arguments(fcinfo, &rec);
	PG_RETURN_VOID();
}

Datum
kafka_sink_emit_jsonb(PG_FUNCTION_ARGS)
{
	KsProducerRecord rec = {.keylen = -1, .valuelen = -1};

	set_text_key(fcinfo, &rec);
	if (!PG_ARGISNULL(ARG_VALUE))
	{
		Jsonb	   *jb = PG_GETARG_JSONB_P(ARG_VALUE);
		char	   *s = JsonbToCString(NULL, &jb->root, VARSIZE(jb));
		int			len = strlen(s);

		rec.value = utf8(s, &len);
		rec.valuelen = len;
	}
	emit_arguments(fcinfo, &rec);
	PG_RETURN_VOID();
}

Datum
kafka_sink_emit_bytea(PG_FUNCTION_ARGS)
{
	KsProducerRecord rec = {.keylen = -1, .valuelen = -1};

	if (!PG_ARGISNULL(ARG_KEY))
		set_bytes(PG_GETARG_DATUM(ARG_KEY), &rec.key, &rec.keylen);
	if (!PG_ARGISNULL(ARG_VALUE))
		set_bytes(PG_GETARG_DATUM(ARG_VALUE), &rec.value, &rec.valuelen);
	emit_arguments(fcinfo, &rec);
	PG_RETURN_VOID();
}

/* The attributes of kafka_sink.record, counted from 1. */
enum
{
	RECORD_TOPIC = 1, RECORD_PART, RECORD_OFF, RECORD_TS, RECORD_KEY, RECORD_VALUE, RECORD_HEADERS
};

Datum
kafka_sink_emit_record(PG_FUNCTION_ARGS)
{
	char	   *feed = ks_text_argument(fcinfo, 0);
	KsProducerRecord rec = {.part = -1, .keylen = -1, .valuelen = -1};
	KsHeader	headers[KS_PRODUCER_MAX_HEADERS];
	HeapTupleHeader tup;
	Datum		d;
	bool		isnull;
	bool		has_off;
	bool		has_ts;

	ks_refuse_null(fcinfo, 1);
	tup = PG_GETARG_HEAPTUPLEHEADER(1);
	d = GetAttributeByNum(tup, RECORD_TOPIC, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the topic of a record must not be null")));
	rec.topic = TextDatumGetCString(d);
	(void) GetAttributeByNum(tup, RECORD_OFF, &isnull);
	has_off = !isnull;
	(void) GetAttributeByNum(tup, RECORD_TS, &isnull);
	has_ts = !isnull;
	if (has_off || has_ts)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" of a record that is emitted must be null", has_off ? "off" : "ts"),
				 errdetail("Kafka decides the offset, and the commit the time.")));
	d = GetAttributeByNum(tup, RECORD_PART, &isnull);
	if (!isnull)
		set_part(&rec, DatumGetInt32(d));
	d = GetAttributeByNum(tup, RECORD_KEY, &isnull);
	if (!isnull)
		set_bytes(d, &rec.key, &rec.keylen);
	d = GetAttributeByNum(tup, RECORD_VALUE, &isnull);
	if (!isnull)
		set_bytes(d, &rec.value, &rec.valuelen);
	d = GetAttributeByNum(tup, RECORD_HEADERS, &isnull);
	rec.headers = headers;
	rec.nheaders = isnull ? 0 : read_header_array(DatumGetArrayTypeP(d), headers);
	emit(feed, &rec);
	PG_RETURN_VOID();
}
