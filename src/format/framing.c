/*
 * framing.c
 *	  What stands before values and keys, and in headers, and tells their schema.
 *
 * Confluent's serializers write a zero byte and the schema's id (four bytes, the
 * highest first), or the byte 1 and its GUID, before the payload; or the same into
 * a header, and then the payload stands bare.  So with a header that tells it, no
 * byte of the payload is looked at, whatever it is.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "format/framing.h"

#define ID_SIZE		5			/* with the byte before it */
#define GUID_SIZE	(1 + UUID_LEN)

char *
ks_schema_id_text(const KsSchemaId *id)
{
	if (id->id >= 0)
		return psprintf(INT64_FORMAT, id->id);
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id->guid)));
}

/* How many bytes tell the schema; 0: they do not. */
static int
read_id(const uint8 *p, int len, bool with_guid, KsSchemaId *id)
{
	memset(id, 0, sizeof(KsSchemaId));
	if (len >= ID_SIZE && p[0] == 0)
	{
		id->id = (uint32) p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4];
		return ID_SIZE;
	}
	id->id = -1;
	if (!with_guid || len < GUID_SIZE || p[0] != 1)
		return 0;
	memcpy(id->guid.data, p + 1, UUID_LEN);
	return GUID_SIZE;
}

/* The last one of that name: who adds one means it. */
static const KsHeader *
find_header(const KsRecord *rec, const char *name)
{
	for (int i = rec->nheaders - 1; i >= 0; i--)
		if (strcmp(rec->headers[i].name, name) == 0)
			return &rec->headers[i];
	return NULL;
}

const char *
ks_framing_read(KsFraming framing, const KsRecord *rec, bool is_key, KsSchemaId *id, int *skip)
{
	const uint8 *p = (const uint8 *) (is_key ? rec->key : rec->value);
	int			len = is_key ? rec->keylen : rec->valuelen;

	*skip = 0;
	if (ks_framing_has_headers(framing))
	{
		const KsHeader *h = find_header(rec, is_key ? "__key_schema_id" : "__value_schema_id");

		if (h && read_id((const uint8 *) h->value, h->valuelen, true, id) == 0)
			return "The header that tells the id of a schema is not in the form that is known";
		if (h)
			return NULL;
		if (framing == KS_FRAMING_HEADER)
			return "No header tells the id of a schema";
	}
	*skip = read_id(p, len, framing == KS_FRAMING_AUTO, id);
	if (*skip == 0)
		return "It does not begin with a zero byte and the id of a schema";
	return NULL;
}
