/*
 * row_record.c
 *	  Rows as keys and values of records.
 *
 * Values come as texts, by the types' output functions, and are written as to_json()
 * writes them, or as Debezium does.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "replication/logicalproto.h"

#include "base/message.h"
#include "feed/rows_int.h"

/* An object of a row's columns, with 'keys' of those of the key alone; what is not known
 * is told as the envelope does. */
static void
append_row(KsRows *rows, StringInfo buf, const KsRowTable *t, LogicalRepTupleData *tup, bool keys)
{
	char		separator = '{';

	for (int i = 0; i < t->ncolumns && i < tup->ncols; i++)
	{
		const KsRowColumn *c = &t->columns[i];

		if (keys && !c->key)
			continue;
		if (tup->colstatus[i] == LOGICALREP_COLUMN_UNCHANGED && rows->envelope == KS_ROW_PLAIN)
			continue;
		appendStringInfoCharMacro(buf, separator);
		separator = ',';
		appendBinaryStringInfo(buf, c->name, c->namelen);
		if (tup->colstatus[i] == LOGICALREP_COLUMN_UNCHANGED)
			appendStringInfoString(buf, t->schemas ? ks_row_schema_unavailable(&t->schemas[i]) :
								   c->form == KS_JSON_BASE64 ? KS_JSON_UNAVAILABLE_BASE64 : KS_JSON_UNAVAILABLE);
		else if (tup->colstatus[i] == LOGICALREP_COLUMN_NULL)
			appendStringInfoString(buf, "null");
		else if (t->schemas)
			ks_row_schema_append_value(buf, &t->schemas[i], tup->colvalues[i].data);
		else
			ks_json_append(buf, c->type, c->form, tup->colvalues[i].data);
	}
	appendStringInfoString(buf, separator == '{' ? "{}" : "}");
}

char *
ks_row_record_key(KsRows *rows, const KsRowTable *t, LogicalRepTupleData *tup)
{
	StringInfoData buf;

	if (t->nkeys == 0)
		return NULL;
	initStringInfo(&buf);
	for (int i = 0; i < t->ncolumns && i < tup->ncols && t->nkeys == 1 && rows->envelope == KS_ROW_PLAIN; i++)
		if (t->columns[i].key)
			return tup->colstatus[i] == LOGICALREP_COLUMN_NULL ? NULL : tup->colvalues[i].data;
	append_row(rows, &buf, t, tup, true);
	return buf.data;
}

char *
ks_row_record_plain(KsRows *rows, const KsRowTable *t, LogicalRepTupleData *tup)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_row(rows, &buf, t, tup, false);
	return buf.data;
}

void
ks_row_record_make(KsRows *rows, KsProducerRecord *rec, const KsRowTable *t, const char *key, const char *value)
{
	*rec = (KsProducerRecord) {.topic = t->topic, .part = -1, .keylen = -1, .valuelen = -1};
	if (rows->schemas && key)
		key = psprintf("%s%s}", t->key_schema, key);
	if (rows->schemas && value)
		value = psprintf("%s%s}", t->change_schema, value);
	if (key)
	{
		rec->key = pg_server_to_any(key, strlen(key), PG_UTF8);
		rec->keylen = strlen(rec->key);
	}
	if (value)
	{
		rec->value = pg_server_to_any(value, strlen(value), PG_UTF8);
		rec->valuelen = strlen(rec->value);
	}
}

char *
ks_row_record_envelope(KsRows *rows, const KsWalTransaction *txn, const KsRowTable *t, char op,
						 LogicalRepTupleData *before, LogicalRepTupleData *after)
{
	StringInfoData buf;
	int64		ms = ks_timestamp_to_ms(txn->committed_at);

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"before\":");
	if (before)
		append_row(rows, &buf, t, before, false);
	else
		appendStringInfoString(&buf, "null");
	appendStringInfoString(&buf, ",\"after\":");
	if (after)
		append_row(rows, &buf, t, after, false);
	else
		appendStringInfoString(&buf, "null");
	appendStringInfoString(&buf, t->source);
	appendStringInfo(&buf, "\"snapshot\":\"%s\",\"ts_ms\":" INT64_FORMAT ",\"txId\":", op == 'r' ? "incremental" : "false", ms);
	/* a row that was read is no transaction's */
	if (op == 'r')
		appendStringInfoString(&buf, "null");
	else
		appendStringInfo(&buf, UINT64_FORMAT, U64FromFullTransactionId(txn->xid));
	appendStringInfo(&buf, ",\"lsn\":" UINT64_FORMAT "},\"op\":\"%c\",\"ts_ms\":" INT64_FORMAT "}", (uint64) txn->commit_lsn, op, ms);
	return buf.data;
}

void
ks_rows_make_copied(KsRows *rows, const KsRowTable *t, LogicalRepTupleData *row, const KsWalTransaction *at,
					KsProducerRecord *rec, char **key)
{
	char	   *value;

	*key = ks_row_record_key(rows, t, row);
	value = rows->envelope == KS_ROW_DEBEZIUM ? ks_row_record_envelope(rows, at, t, 'r', NULL, row) : ks_row_record_plain(rows, t, row);
	ks_row_record_make(rows, rec, t, *key, value);
	rec->ts_ms = ks_timestamp_to_ms(at->committed_at);
}
