/*
 * json_value.h
 *	  Values as to_json() writes them, out of their texts.
 */
#ifndef KS_FEED_JSON_VALUE_H
#define KS_FEED_JSON_VALUE_H

#include "lib/stringinfo.h"

/* Debezium's word for a value that is not in the WAL, and its bytes. */
#define KS_JSON_UNAVAILABLE			"\"__debezium_unavailable_value\""
#define KS_JSON_UNAVAILABLE_BASE64	"\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\""

/* How a text of a type is written. */
typedef enum KsJsonForm
{
	KS_JSON_STRING,
	KS_JSON_NUMBER,				/* or a string, if it is none for JSON */
	KS_JSON_BOOL,
	KS_JSON_JSON,
	KS_JSON_TIMESTAMP,
	KS_JSON_TIMESTAMPTZ,
	KS_JSON_ARRAY,
	KS_JSON_COMPOSITE,

	/* what Debezium's connector makes of some types, whose readers expect that */
	KS_JSON_JSON_TEXT,			/* JSON in a string */
	KS_JSON_BASE64,
	KS_JSON_BITS,				/* likewise, the last one first; a single one is a Boolean */
	KS_JSON_DEBEZIUM_ARRAY		/* of these */
} KsJsonForm;

/* Of a type that is no domain. */
extern KsJsonForm ks_json_form(Oid type, bool debezium);

/* The text of a value that is not NULL; the session has DateStyle ISO and zone UTC. */
extern void ks_json_append(StringInfo buf, Oid type, KsJsonForm form, char *s);

/* A string of the bytes that the text of a bytea has. */
extern void ks_json_append_base64(StringInfo buf, char *s);

#endif
