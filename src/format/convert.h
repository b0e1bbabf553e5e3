/*
 * convert.h
 *	  JSON tokens and strings to Datums of a column's type.
 *
 * Every type goes through its own input function; the types below have fast
 * paths that accept a subset of the input and give the same Datum.  Arrays and
 * composite types are built from JSON arrays and objects, element by element.
 */
#ifndef KS_CONVERT_H
#define KS_CONVERT_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"
#include "format/json.h"

typedef enum KsTypeKind
{
	KS_TYPE_GENERIC,
	KS_TYPE_BOOL,
	KS_TYPE_INT2,
	KS_TYPE_INT4,
	KS_TYPE_INT8,
	KS_TYPE_FLOAT,				/* float4, float8: generic, but may be NaN */
	KS_TYPE_NUMERIC,
	KS_TYPE_TEXT,				/* text, and varchar without length */
	KS_TYPE_TIMESTAMPTZ,
	KS_TYPE_JSON,				/* json and jsonb */
	KS_TYPE_ARRAY,
	KS_TYPE_COMPOSITE,
	KS_TYPE_DOMAIN
} KsTypeKind;

typedef struct KsType
{
	KsTypeKind	kind;
	Oid			typid;
	int32		typmod;
	FmgrInfo	input;
	Oid			ioparam;
	int16		typlen;
	bool		typbyval;
	bool		is_string;		/* text and its like, domains over them */
	/* array, domain: element or base */
	struct KsType *elem;
	int16		elemlen;
	bool		elembyval;
	char		elemalign;
	/* composite */
	TupleDesc	tupdesc;
	struct KsType *attrs;
	/* domain */
	void	   *domain_cache;
	MemoryContext cxt;
} KsType;

typedef struct KsConvert
{
	bool		strip_nul;
	bool		refuse_nonfinite;
	StringInfoData buf;			/* scratch: reset by each use */
} KsConvert;

extern void ks_type_init(KsType *type, Oid typid, int32 typmod,
						 MemoryContext cxt);

/* In the current context. */
extern Datum ks_convert_json(KsConvert *cv, KsType *type,
							 const KsJsonToken *tok, bool *isnull);

/* Through the input function; s need not be NUL-terminated. */
extern Datum ks_convert_text(KsConvert *cv, KsType *type, const char *s, int len);

#endif
