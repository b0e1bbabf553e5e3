/*
 * json_value.h
 *	  Values as to_json() writes them, out of their texts.
 */
#ifndef KS_FEED_JSON_VALUE_H
#define KS_FEED_JSON_VALUE_H

#include "lib/stringinfo.h"

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
	KS_JSON_COMPOSITE
} KsJsonForm;

/* Of a type that is no domain. */
extern KsJsonForm ks_json_form(Oid type);

/* The text of a value that is not NULL; the session has DateStyle ISO and zone UTC. */
extern void ks_json_append(StringInfo buf, Oid type, KsJsonForm form, char *s);

#endif
