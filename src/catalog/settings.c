/*
 * settings.c
 *	  What create_sink() and its like can set, and which values are valid.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/interval.h"
#include "catalog/limits.h"
#include "catalog/reject_limit.h"
#include "catalog/settings.h"

static const KsSetting sink_settings[KS_SINK_SETTINGS] = {
	{"server", TEXTOID, NULL, NULL, 0, 0},
	{"target", REGCLASSOID, NULL, NULL, 0, 0},
	{"insert_mode", TEXTOID, "insert", "insert,ignore,upsert,update,accumulate", 0, 0},
	{"columns", JSONBOID, NULL, NULL, 0, 0},
	{"pk_fields", TEXTARRAYOID, NULL, NULL, 0, 0},
	{"format", TEXTOID, "json", "json,raw,csv,avro,protobuf,json_schema", 0, 0},
	{"key_format", TEXTOID, "json", "json,raw,csv,avro,protobuf,json_schema,none", 0, 0},
	{"delete_enabled", BOOLOID, "false", NULL, 0, 0},
	{"on_tombstone", TEXTOID, "error", "error,ignore", 0, 0},
	{"on_error", TEXTOID, "stop", "stop,dead_letter,ignore", 0, 0},
	{"on_nul", TEXTOID, "error", "error,strip", 0, 0},
	{"on_nonfinite", TEXTOID, "accept", "accept,error", 0, 0},
	{"isolation_level", TEXTOID, "read_committed", "read_committed,read_uncommitted", 0, 0},
	{"synchronous_commit", TEXTOID, "off", "off,local,remote_write,on,remote_apply", 0, 0},
	{"batch_records", INT4OID, NULL, NULL, 1, 1000000},
	{"batch_bytes", INT4OID, "16777216", NULL, 1024, 1024 * 1024 * 1024},
	{"batch_linger_ms", INT4OID, "2", NULL, 0, 60000},
	{"max_record_bytes", INT4OID, "8388608", NULL, 1024, 512 * 1024 * 1024},
	{"workers", INT4OID, "1", NULL, 1, 64},
	{"command", TEXTOID, NULL, NULL, 0, 0},
	{"value_type", REGTYPEOID, NULL, NULL, 0, 0},
	{"filter", TEXTOID, NULL, NULL, 0, 0},
	{"update_if", TEXTOID, NULL, NULL, 0, 0},
	{"accumulate", JSONBOID, NULL, NULL, 0, 0},
	{"reject_limit", TEXTOID, NULL, NULL, 0, 0},
	{"dead_letter_retention", INTERVALOID, NULL, NULL, 0, 0},
	{"envelope", TEXTOID, "none", "none,debezium,connect", 0, 0},
	{"csv_delimiter", TEXTOID, ",", NULL, 0, 0},
	{"csv_quote", TEXTOID, "\"", NULL, 0, 0},
	{"csv_null", TEXTOID, "", NULL, 0, 0},
	{"strict", BOOLOID, "false", NULL, 0, 0},
	{"retry_within", INTERVALOID, "10 s", NULL, 0, 0},
	{"on_topic_error", TEXTOID, "halt_topic", "halt_topic,halt_sink", 0, 0},
	{"lock_timeout", INTERVALOID, "2 s", NULL, 0, 0},
	{"idle_after", INTERVALOID, "1 min", NULL, 0, 0},
	{"statistics_interval", INTERVALOID, NULL, NULL, 0, 0},
	{"value_schema", TEXTOID, NULL, NULL, 0, 0},
	{"key_schema", TEXTOID, NULL, NULL, 0, 0},
	{"framing", TEXTOID, "auto", "auto,confluent,header,apicurio8,glue,none,single_object", 0, 0},
	{"message_type", TEXTOID, NULL, NULL, 0, 0},
	{"validate", BOOLOID, "false", NULL, 0, 0},
	{"evolve", TEXTOID, "none", "none,add,widen", 0, 0},
};

static bool
is_word_of(const char *value, const char *values)
{
	const char *p = values;
	size_t		len = strlen(value);

	for (;;)
	{
		const char *end = p + strcspn(p, ",");

		if ((size_t) (end - p) == len && memcmp(p, value, len) == 0)
			return true;
		if (*end == '\0')
			return false;
		p = end + 1;
	}
}

/* One character of one byte that cannot be part of another. */
static bool
is_csv_character(const char *s)
{
	return strlen(s) == 1 && !IS_HIGHBIT_SET(*s) && *s != '\n' && *s != '\r';
}

static void
check_csv(const char *name, const char *value)
{
	bool		quote = strcmp(name, "csv_quote") == 0;

	if (strcmp(name, "csv_null") == 0)
	{
		if (strpbrk(value, "\r\n") != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" must not contain a line break", name)));
		return;
	}
	if (!is_csv_character(value) && !(quote && *value == '\0'))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" must be a single ASCII character, not a line break", name),
				 quote ? errhint("An empty text means that fields are never quoted.") : 0));
}

/* How long intervals may be. */
static const struct
{
	const char *name;
	int64		min;			/* microseconds */
	int64		max;
	const char *range;
	const char *hint;
}			interval_ranges[] = {
	{"dead_letter_retention", 1, KS_INTERVAL_MAX_US, "more than 0, to 1000 years",
	"Without it, dead letters are kept until they are retried or discarded."},
	{"retry_within", 0, KS_DAYS(30), "0 to 30 days",
	"With 0, a record whose foreign key finds no row is refused at once."},
	{"lock_timeout", 0, KS_TIMEOUT_MAX_US, "0 to " KS_TIMEOUT_MAX,
	"With 0, a batch waits for a lock until it gets it."},
	{"idle_after", 0, KS_TIMEOUT_MAX_US, "0 to " KS_TIMEOUT_MAX,
	"With 0, a worker stays however long its sink is idle."},
	{"transaction_timeout", USECS_PER_SEC, 15 * USECS_PER_MINUTE, "1 s to 15 minutes",
	"The brokers' transaction.max.timeout.ms limits it, too."},
	{"statistics_interval", 100 * KS_US_PER_MS, 10 * USECS_PER_MINUTE, "100 ms to 10 minutes",
	"Without it, the number of partitions decides."},
};

static void
check_interval(const char *name, const Interval *value)
{
	for (int i = 0; i < (int) lengthof(interval_ranges); i++)
		if (strcmp(interval_ranges[i].name, name) == 0)
		{
			(void) ks_interval_check(value, psprintf("setting \"%s\"", name), interval_ranges[i].min,
									 interval_ranges[i].max, interval_ranges[i].range, interval_ranges[i].hint);
			return;
		}
	elog(ERROR, "no range is known for setting \"%s\"", name);
}

void
ks_setting_check(const KsSetting *s, Datum value)
{
	if (s->type == TEXTOID || s->type == TEXTARRAYOID || s->type == JSONBOID)
		ks_limits_check_size(psprintf("setting \"%s\"", s->name), value, KS_MAX_SETTING_BYTES);
	if (s->values)
	{
		char	   *word = TextDatumGetCString(value);

		if (!is_word_of(word, s->values))
		{
			StringInfoData list;

			initStringInfo(&list);
			for (const char *p = s->values; *p; p++)
			{
				if (*p == ',')
					appendStringInfoString(&list, ", ");
				else
					appendStringInfoChar(&list, *p);
			}
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for setting \"%s\": \"%s\"", s->name, word),
					 errhint("Valid values: %s.", list.data)));
		}
	}
	if (strncmp(s->name, "csv_", 4) == 0)
		check_csv(s->name, TextDatumGetCString(value));
	if (s->type == INT4OID &&
		(DatumGetInt32(value) < s->min || DatumGetInt32(value) > s->max))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d is outside the valid range for setting \"%s\" (%d .. %d)",
						DatumGetInt32(value), s->name, s->min, s->max),
				 strcmp(s->name, "workers") == 0 ?
				 errdetail("Partition p of every topic goes to worker p mod workers.") : 0,
				 strcmp(s->name, "workers") == 0 ?
				 errhint("More workers than a topic has partitions have nothing to do.  To stop a sink use kafka_sink.pause().") : 0));
	if (s->type == TEXTARRAYOID)
	{
		ArrayType  *array = DatumGetArrayTypeP(value);

		if (ARR_NDIM(array) != 1 || array_contains_nulls(array))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" must be a list of column names", s->name)));
	}
	if (strcmp(s->name, "reject_limit") == 0)
	{
		KsRejectLimit limit;

		ks_reject_limit_parse(TextDatumGetCString(value), &limit);
	}
	if (s->type == INTERVALOID)
		check_interval(s->name, DatumGetIntervalP(value));
}

const KsSetting *
ks_sink_setting(int i)
{
	return &sink_settings[i];
}

/* Of topics with targets of their own: those of sinks that belong to a target. */
static const char *const topic_settings[] = {
	"target", "insert_mode", "columns", "pk_fields", "filter", "update_if", "accumulate",
	"value_schema", "key_schema", "framing", "message_type", "validate",
	"evolve"
};

const KsSetting *
ks_topic_setting(int i)
{
	for (int j = 0; j < KS_SINK_SETTINGS; j++)
		if (strcmp(sink_settings[j].name, topic_settings[i]) == 0)
			return &sink_settings[j];
	elog(ERROR, "unknown setting \"%s\"", topic_settings[i]);
}

static const KsSetting feed_settings[KS_FEED_SETTINGS] = {
	{"server", TEXTOID, NULL, NULL, 0, 0},
	{"publication", TEXTOID, NULL, NULL, 0, 0},
	{"topic", TEXTOID, "{schema}.{table}", NULL, 0, 0},
	{"envelope", TEXTOID, "none", "none,debezium,debezium_schema", 0, 0},
	{"progress_topic", TEXTOID, "kafka_sink.progress", NULL, 0, 0},
	{"batch_records", INT4OID, "50000", NULL, 1, 1000000},
	{"batch_bytes", INT4OID, "16777216", NULL, 1024, 1024 * 1024 * 1024},
	{"max_message_bytes", INT4OID, "1000000", NULL, 1024, 64 * 1024 * 1024},
	{"transaction_timeout", INTERVALOID, "1 min", NULL, 0, 0},
	{"failover", BOOLOID, "false", NULL, 0, 0},
	{"copy_data", BOOLOID, "false", NULL, 0, 0},
};

const KsSetting *
ks_feed_setting(int i)
{
	return &feed_settings[i];
}
