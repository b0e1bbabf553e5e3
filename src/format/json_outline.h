/*
 * json_outline.h
 *	  What the objects, or arrays, at one place of one record after the other have in
 *	  common: all but their scalars.
 *
 * Producers write them from the same struct again and again.  What stands around the
 * scalars is as valid as it was when it was scanned, so it is only compared.
 */
#ifndef KS_JSON_OUTLINE_H
#define KS_JSON_OUTLINE_H

#include "format/json.h"

struct KsOutline;

/* Of the values at one place; zeros at first. */
typedef struct KsOutlined
{
	struct KsOutline *outline;	/* of one of the last, or NULL */
	uint32		misses;			/* how many had another one */
} KsOutlined;

/*
 * Scans an object or array with all that is in it, p at its bracket; *escaped: if there
 * is a backslash.  Returns the position behind it.  Outlines are kept in the context.
 */
extern const char *ks_json_scan_outlined(const KsJson *json, const char *p, KsOutlined *at,
										 MemoryContext cxt, bool *escaped);

#endif
