/*
 * json_marks.h
 *	  Where JSON text has quotes, backslashes and control characters, found for the whole
 *	  text at once.
 *
 * That takes no branches, and the look for what is no ASCII, which every record needs, is
 * in it; the end of a string is a few instructions then, however long it is.
 */
#ifndef KS_JSON_MARKS_H
#define KS_JSON_MARKS_H

#include "postgres.h"

#ifdef __SSE2__
#define KS_JSON_MARKS

/* Longer texts are not marked. */
#define KS_MARKED_BYTES	65536

/* A bit for each byte, all set behind the end, and a word more than that takes. */
#define KS_MARK_WORDS	(KS_MARKED_BYTES / 64 + 2)

/*
 * Marks a text; false if it has anything but printable ASCII, and may not be valid in
 * the encoding that it is in.
 */
extern bool ks_json_mark(const char *s, int len, uint64 *marks);
#endif

#endif
