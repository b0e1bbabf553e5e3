/*
 * convert.h
 *	  JSON tokens and strings to Datums of a column's type.
 *
 * Every type goes through its own input function; the types below have fast
 * paths that accept a subset of the input and give the same Datum.  Arrays and
 * composite types are built from JSON arrays and objects, element by element.
 * Numbers for dates and times count what the column says, or are refused.
 */
#ifndef KS_CONVERT_H
#define KS_CONVERT_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

#include "format/json.h"
#include "format/names.h"

typedef enum KsTypeKind
{
	KS_TYPE_GENERIC,
	KS_TYPE_BOOL,
	KS_TYPE_INT2,
	KS_TYPE_INT4,
	KS_TYPE_INT8,
	KS_TYPE_FLOAT,				/* float4, float8: generic, but may be NaN */
	KS_TYPE_NUMERIC,
	KS_TYPE_TEXT,				/* text and varchar */
	KS_TYPE_UUID,
	KS_TYPE_DATE,
	KS_TYPE_TIMESTAMP,			/* in microseconds */
	KS_TYPE_TIMESTAMPTZ,		/* likewise */
	KS_TYPE_DATETIME,			/* other dates and times, and intervals */
	KS_TYPE_JSON,				/* json and jsonb */
	KS_TYPE_RANGE,
	KS_TYPE_MULTIRANGE,
	KS_TYPE_ARRAY,
	KS_TYPE_COMPOSITE,
	KS_TYPE_DOMAIN
} KsTypeKind;

struct KsComposite;

typedef struct KsType
{
	KsTypeKind	kind;
	Oid			typid;
	int32		typmod;
	FmgrInfo	input;
	Oid			ioparam;
	int16		typlen;
	bool		typbyval;
	int			max_len;		/* of text: so many bytes are short enough */
	bool		is_string;		/* text and its like, domains over them */
	bool		has_time;		/* a date or time is in it */
	bool		has_float;		/* something that can be NaN or infinite is in it */
	/* array, range, multirange, domain: element, bound, range or base */
	struct KsType *elem;
	int16		elemlen;
	bool		elembyval;
	char		elemalign;
	struct KsComposite *composite;
	/* domain */
	bool		check_later;	/* its constraints are whoever's who asks for a value */
	void	   *domain_cache;
	uint64		functions_seen;	/* ks_functions_changed when what it calls was looked up */
	MemoryContext cxt;
} KsType;

/*
 * How often functions have been changed, as far as this process knows.  What calls one is not
 * used again then: if a language has failed to compile the new one, what it has kept of the
 * old one at the place of the call is no function any more.
 */
extern uint64 ks_functions_changed;

/* Before its input function, or its checks, are called. */
static inline void
ks_type_look_up(KsType *type)
{
	if (type->functions_seen == ks_functions_changed)
		return;
	type->domain_cache = type->input.fn_extra = NULL;
	type->functions_seen = ks_functions_changed;
}

/* A composite type, which types of one KsTypes share however often it occurs. */
typedef struct KsComposite
{
	Oid			typid;
	int32		typmod;
	Oid			relid;			/* what catalogs know its attributes by; InvalidOid: they do not */
	TupleDesc	tupdesc;
	KsType	   *attrs;
	KsField    *fields;			/* by attribute; length -1: dropped */
	bool	   *filled;			/* by attribute: by some record, as far as is known */
	bool	   *stored;			/* and that is in the catalog, see write/filled.c */
	KsNames		names;
	bool		has_time;
	bool		has_float;
} KsComposite;

/* The types of one target. */
typedef struct KsTypes
{
	MemoryContext cxt;
	List	   *composites;
	List	   *relids;			/* of the composite types: their changes count */
} KsTypes;

/* What a number counts that stands for a date or time: since 1970, midnight, or
 * as an interval. */
typedef enum KsUnit
{
	KS_UNIT_NONE,				/* nobody knows: refused */
	KS_UNIT_DAYS,
	KS_UNIT_SECONDS,
	KS_UNIT_MILLISECONDS,
	KS_UNIT_MICROSECONDS,
	KS_UNIT_NANOSECONDS
} KsUnit;

typedef struct KsConvert
{
	bool		strip_nul;
	bool		refuse_nonfinite;
	KsUnit		unit;			/* of the column at hand */
	StringInfoData buf;			/* scratch: reset by each use */
} KsConvert;

/* A date, a time or both, or an interval. */
static inline bool
ks_type_is_time(const KsType *type)
{
	return type->kind >= KS_TYPE_DATE && type->kind <= KS_TYPE_DATETIME;
}

extern void ks_type_init(KsType *type, Oid typid, int32 typmod, KsTypes *types);

/* What it is underneath, if it is a domain. */
static inline KsType *
ks_type_base(KsType *type)
{
	while (type->kind == KS_TYPE_DOMAIN)
		type = type->elem;
	return type;
}

/*
 * Errors if the type is a domain that refuses a value of its base type; with 'now',
 * also if that is to be asked later.
 */
extern void ks_type_check(KsType *type, Datum value, bool isnull);
extern void ks_type_check_now(KsType *type, Datum value, bool isnull);

/* In the current context. */
extern Datum ks_convert_json(KsConvert *cv, KsType *type,
							 const KsJsonToken *tok, bool *isnull);

/*
 * An array of any number of dimensions, as it is collected in row-major order: every
 * sub-array must have the shape of the first (22P02).  Level 0 is the array itself.
 */
typedef struct KsArrayBuild
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	int			max;
	int			ndims;			/* -1: not known yet */
	int			dims[MAXDIM];
} KsArrayBuild;

extern void ks_array_begin(KsArrayBuild *b);
extern void ks_array_enter(const KsArrayBuild *b, int level);
extern int	ks_array_add(KsArrayBuild *b, int level);	/* an element: where it is to be written */
extern void ks_array_leave(KsArrayBuild *b, int level, int count);
extern Datum ks_array_end(KsArrayBuild *b, const KsType *type);

/* Through the input function; s need not be NUL-terminated. */
extern Datum ks_convert_text(KsConvert *cv, KsType *type, const char *s, int len);

/* Text that a format has: units count here too. */
extern Datum ks_convert_field(KsConvert *cv, KsType *type, const char *s, int len);

/* --- convert_type.c, convert_unit.c, convert_finite.c --- */

/* false if there is no such unit. */
extern bool ks_unit_parse(const char *name, KsUnit *unit);

/*
 * A value of a date or time type from text that is a number; false if it is
 * none, and not said to be one.  Errors where nothing tells what it counts.
 */
extern bool ks_unit_convert(const KsConvert *cv, const KsType *type, const char *s, int len,
							bool is_number, Datum *value);

/* Errors (22003) if a value has NaN or an infinity in it. */
extern void ks_finite_check(const KsType *type, Datum value);

#endif
