/*
 * framing.c
 *	  What stands before values and keys, and in headers, and tells their schema.
 *
 * Confluent's serializers write a zero byte and the schema's id (four bytes, the
 * highest first), or the byte 1 and its GUID, before the payload; or the same into
 * a header, and then the payload stands bare.  So with a header that tells it, no
 * byte of the payload is looked at, whatever it is.  For Protobuf, the place of the
 * message in the schema follows the id wherever that is: a count and so many numbers,
 * or a count of 0 for the first message.
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

static const KsHeader *
header_of(KsFraming framing, const KsRecord *rec, bool is_key)
{
	return ks_framing_has_headers(framing) ?
		find_header(rec, is_key ? "__key_schema_id" : "__value_schema_id") : NULL;
}

/* How many bytes of the header, if there is one, or else of the value tell it. */
static const char *
read_schema(KsFraming framing, const KsRecord *rec, bool is_key, const KsHeader *h, KsSchemaId *id, int *size)
{
	const uint8 *p = (const uint8 *) (is_key ? rec->key : rec->value);
	int			len = is_key ? rec->keylen : rec->valuelen;

	*size = 0;
	if (h)
	{
		*size = read_id((const uint8 *) h->value, h->valuelen, true, id);
		return *size == 0 ? "The header that tells the id of a schema is not in the form that is known" : NULL;
	}
	if (framing == KS_FRAMING_HEADER)
		return "No header tells the id of a schema";
	*size = read_id(p, len, framing == KS_FRAMING_AUTO, id);
	return *size == 0 ? "It does not begin with a zero byte and the id of a schema" : NULL;
}

const char *
ks_framing_read(KsFraming framing, const KsRecord *rec, bool is_key, KsSchemaId *id, int *skip)
{
	const KsHeader *h = header_of(framing, rec, is_key);
	int			size;
	const char *wrong = read_schema(framing, rec, is_key, h, id, &size);

	*skip = h ? 0 : size;
	return wrong;
}

/* --- which message --- */

/* A number as Avro writes it; false if it is cut off, or too long. */
static bool
read_zigzag(const uint8 **p, const uint8 *end, int64 *result)
{
	uint64		v = 0;

	for (int shift = 0; shift < 63 && *p < end; shift += 7)
	{
		uint8		b = *(*p)++;

		v |= (uint64) (b & 0x7f) << shift;
		if (b < 0x80)
		{
			*result = (int64) (v >> 1) ^ -(int64) (v & 1);
			return true;
		}
	}
	return false;
}

static const char *
read_path(const uint8 **p, const uint8 *end, KsMessagePath *path)
{
	int64		n;
	int64		at;

	if (*p == end)
		return "Nothing tells which message of the schema it is";
	if (!read_zigzag(p, end, &n))
		return "The indexes of the message are cut off";
	if (n < 0 || n > KS_MAX_MESSAGE_PATH)
		return "The number of the message's indexes is out of range";
	path->n = n == 0 ? 1 : (int) n;
	path->at[0] = 0;
	for (int i = 0; i < n; i++)
	{
		if (!read_zigzag(p, end, &at))
			return "The indexes of the message are cut off";
		if (at < 0 || at > PG_INT32_MAX)
			return "An index of the message is out of range";
		path->at[i] = (int) at;
	}
	return NULL;
}

const char *
ks_framing_read_message(KsFraming framing, const KsRecord *rec, bool is_key, KsSchemaId *id,
						KsMessagePath *path, int *skip)
{
	const KsHeader *h = header_of(framing, rec, is_key);
	int			size;
	const char *wrong = read_schema(framing, rec, is_key, h, id, &size);
	const uint8 *begin;
	const uint8 *p;
	const uint8 *end;

	*skip = 0;
	if (wrong)
		return wrong;
	begin = (const uint8 *) (h ? h->value : is_key ? rec->key : rec->value);
	end = begin + (h ? h->valuelen : is_key ? rec->keylen : rec->valuelen);
	p = begin + size;
	wrong = read_path(&p, end, path);
	if (wrong == NULL && h && p != end)
		wrong = "The header that tells the id of a schema is longer than the message's indexes";
	*skip = h ? 0 : (int) (p - begin);
	return wrong;
}
