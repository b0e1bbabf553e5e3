/*
 * envelope_change.h
 *	  The members of Debezium's changes.
 */
#ifndef KS_ENVELOPE_CHANGE_H
#define KS_ENVELOPE_CHANGE_H

#include "format/decode.h"

/* A member of an object that nobody asks for, as it was last: equal bytes are valid. */
typedef struct KsSeen
{
	int			len;			/* 0: none, or it is too long */
	int			changes;		/* in a row */
	char		text[48];
} KsSeen;

#define KS_SEEN_MEMBERS	24

/* In place of a TOASTed value: as text and bytes, as a uuid, and as a hstore in either mode. */
#define KS_UNAVAILABLE		"__debezium_unavailable_value"
#define KS_UNAVAILABLE_UUID	"b68a35a7-17ad-35b3-af2a-ae46edb4545a"
#define KS_UNAVAILABLE_JSON	"{\"" KS_UNAVAILABLE "\":\"" KS_UNAVAILABLE "\"}"

/* Errors: of a value that is not in the envelope (22P02), of an update that changes the key (22000). */
KS_NORETURN extern void ks_envelope_bad(const char *detail);
KS_NORETURN extern void ks_envelope_other_key(const KsColumn *col);

/* What a change is to the table, by its "op"; errors if it is none. */
extern KsRowOp ks_change_op(char op);

/* What has been found of a row, by columns. */
typedef struct KsChangeRow
{
	const Datum *values;
	const bool *isnull;
	const bool *found;
} KsChangeRow;

/*
 * The connector writes a change of the key as a delete and a create, if it knows the key.
 * Else it is an update, and would leave the row of the old key behind: an error.
 */
extern void ks_change_check_key(const KsDecoder *d, const KsChangeRow *before, const KsChangeRow *after);

/* What is asked for of a change, and what may be around it. */
typedef enum KsChangeMember
{
	KS_CHANGE_OP,
	KS_CHANGE_BEFORE,
	KS_CHANGE_AFTER,
	KS_CHANGE_SCHEMA,
	KS_CHANGE_PAYLOAD,
	KS_CHANGE_SOURCE,			/* nobody asks for it */
	KS_CHANGE_OTHER
} KsChangeMember;

#define KS_CHANGE_MEMBERS	(KS_CHANGE_PAYLOAD + 1)

/*
 * The members of a change to v[KS_CHANGE_MEMBERS], p at its brace; the last of a name
 * counts.  Returns the position behind it.  If nothing can be wrong with the row
 * after it but its JSON, its fields are in the decoder's tokens; then that is where
 * *scanned is.  source: what its members were (KS_SEEN_MEMBERS), zeros at first.
 */
extern const char *ks_change_scan(KsDecoder *d, KsSeen *source, const KsJson *json, const char *p,
								  KsJsonToken *v, const char **scanned);

#endif
