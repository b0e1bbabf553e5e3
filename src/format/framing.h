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
extern const char *ks_framing_read_any(KsFraming framing, const KsRecord *rec, bool is_key,
									   KsSchemaId *id, int *skip);

#define KS_FRAMING_ID_SIZE	5	/* a zero byte, and an id */

/* The id that most records begin with; false: it is told in another way, or not at all. */
static inline bool
ks_framing_read_id(KsFraming framing, const KsRecord *rec, const uint8 *p, int len, KsSchemaId *id)
{
	if (unlikely((framing != KS_FRAMING_AUTO && framing != KS_FRAMING_CONFLUENT) || rec->nheaders > 0 ||
				 len < KS_FRAMING_ID_SIZE || p[0] != 0))
		return false;
	*id = (KsSchemaId) {.id = (uint32) p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4]};
	return true;
}

static inline const char *
ks_framing_read(KsFraming framing, const KsRecord *rec, bool is_key, KsSchemaId *id, int *skip)
{
	const uint8 *p = (const uint8 *) (is_key ? rec->key : rec->value);
	int			len = is_key ? rec->keylen : rec->valuelen;

	if (unlikely(!ks_framing_read_id(framing, rec, p, len, id)))
		return ks_framing_read_any(framing, rec, is_key, id, skip);
	*skip = KS_FRAMING_ID_SIZE;
	return NULL;
}

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
extern const char *ks_framing_read_any_message(KsFraming framing, const KsRecord *rec, bool is_key,
											   KsSchemaId *id, KsMessagePath *path, int *skip);

static inline const char *
ks_framing_read_message(KsFraming framing, const KsRecord *rec, bool is_key, KsSchemaId *id,
						KsMessagePath *path, int *skip)
{
	const uint8 *p = (const uint8 *) (is_key ? rec->key : rec->value);
	int			len = is_key ? rec->keylen : rec->valuelen;

	/* a count of 0 is the first message */
	if (unlikely(!ks_framing_read_id(framing, rec, p, len, id) || len == KS_FRAMING_ID_SIZE || p[KS_FRAMING_ID_SIZE] != 0))
		return ks_framing_read_any_message(framing, rec, is_key, id, path, skip);
	path->n = 1;
	path->at[0] = 0;
	*skip = KS_FRAMING_ID_SIZE + 1;
	return NULL;
}

#endif
