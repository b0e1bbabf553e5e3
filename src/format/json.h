/*
 * json.h
 *	  A validating JSON scanner (RFC 8259) that hands out slices of its input.
 *
 * Nothing is built and nothing is copied: a token points into the record.
 * Strings are unescaped only when somebody asks for their value.  Errors are
 * 22P02 with the byte position, never with the text; nesting is bounded by
 * KS_JSON_MAX_DEPTH (54001).  The input must be valid in the encoding it is
 * in, which is checked once per record by the caller.
 */
#ifndef KS_JSON_H
#define KS_JSON_H

#include "postgres.h"

#include "lib/stringinfo.h"

#define KS_JSON_MAX_DEPTH	512

typedef enum KsJsonType
{
	KS_JSON_NULL,
	KS_JSON_TRUE,
	KS_JSON_FALSE,
	KS_JSON_NUMBER,
	KS_JSON_STRING,				/* slice without the quotes */
	KS_JSON_OBJECT,				/* slice with the braces */
	KS_JSON_ARRAY
} KsJsonType;

typedef struct KsJsonToken
{
	KsJsonType	type;
	bool		escaped;		/* a backslash somewhere in the slice */
	int			len;
	const char *p;
} KsJsonToken;

/* The text being scanned. */
typedef struct KsJson
{
	const char *start;
	const char *end;
	const uint64 *marks;		/* of its bytes (json_marks.h), or NULL */
} KsJson;

/* Scans a whole document: one value, white space around it. */
extern void ks_json_document(const KsJson *json, KsJsonToken *tok);

/*
 * Walks the members of an object or the elements of an array: begin gives the
 * position behind the bracket; next scans one, checks what follows it, and
 * gives the next position.  At the closing bracket it sets value->p to NULL
 * and gives the position behind.
 */
extern const char *ks_json_begin(const KsJson *json, const char *p);
extern const char *ks_json_next_member(const KsJson *json, const char *p,
									   KsJsonToken *name, KsJsonToken *value);
extern const char *ks_json_next_element(const KsJson *json, const char *p,
										KsJsonToken *value);

/* After the last member or element: checks that nothing but space follows. */
extern void ks_json_finish(const KsJson *json, const char *p);

/*
 * Appends the value of a string to 'out', in the server's encoding; \u0000 is
 * an error (22P05) or left out: true then.
 */
extern bool ks_json_unescape(const KsJsonToken *tok, bool strip_nul,
							 StringInfo out);

/* A name without escapes, in 'buf'; false if it has \u0000, and is nobody's. */
extern bool ks_json_plain_name(const KsJsonToken *name, StringInfo buf, KsJsonToken *plain);

/* Does the name stand there?  Unescapes where it must. */
extern bool ks_json_name_is(const KsJsonToken *name, const char *s, int len);

/*
 * Appends the text of any token for the json types: quotes put back, \u0000
 * an error or left out.
 */
extern void ks_json_append_raw(const KsJsonToken *tok, bool strip_nul,
							   StringInfo out);

#endif
