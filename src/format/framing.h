/*
 * framing.h
 *	  What stands before values and keys, and in headers, and tells their schema.
 */
#ifndef KS_FRAMING_H
#define KS_FRAMING_H

#include "base/message.h"
#include "format/format.h"
#include "format/schemas.h"

/* The framing of a value, or a key, for the setting 'auto' depends on who gives the schema. */
static inline KsFraming
ks_framing_of(const KsFormatSettings *settings, const char *schema)
{
	if (settings->framing != KS_FRAMING_AUTO)
		return settings->framing;
	return schema ? KS_FRAMING_NONE : KS_FRAMING_AUTO;
}

/* The second byte of Glue's: how what follows the GUID is packed. */
#define KS_GLUE_PLAIN	0
#define KS_GLUE_ZLIB	5

/* Does a header tell it, in records that have one? */
#define ks_framing_has_headers(framing) ((framing) == KS_FRAMING_AUTO || (framing) == KS_FRAMING_HEADER)

/*
 * Which schema the bytes are by, and where they begin: *id and *skip.  NULL, or what
 * is wrong.  Not for KS_FRAMING_NONE and KS_FRAMING_SINGLE_OBJECT.
 */
extern const char *ks_framing_read(KsFraming framing, const KsRecord *rec, bool is_key,
								   KsSchemaId *id, int *skip);

/* Is there a header that should tell it? */
extern bool ks_framing_in_header(const KsRecord *rec, bool is_key);

/* Which message of a Protobuf schema: the place of each in the one around it. */
#define KS_MAX_MESSAGE_PATH		64
typedef struct KsMessagePath
{
	int			n;
	int			at[KS_MAX_MESSAGE_PATH];
} KsMessagePath;

/* The same, and which message of the schema. */
extern const char *ks_framing_read_message(KsFraming framing, const KsRecord *rec, bool is_key,
										   KsSchemaId *id, KsMessagePath *path, int *skip);

#endif
