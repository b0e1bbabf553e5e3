/*
 * framing.c
 *	  What stands before values and keys, and in headers, and tells their schema.
 *
 * Confluent's serializers write a zero byte and the schema's id (four bytes, the
 * highest first), or the byte 1 and its GUID, before the payload; or the same into
 * a header, and then the payload stands bare.  So with a header that tells it, no
 * byte of the payload is looked at, whatever it is.  Apicurio's own have other headers,
 * and ids of eight bytes, which nothing but the setting tells from those of four; Glue's
 * write the byte 3, how the payload is packed, and a GUID.  For Protobuf, the place of the
 * message in the schema follows the id wherever that is: a count and so many numbers,
 * or a count of 0 for the first message.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "format/framing.h"

#define GUID_SIZE	(1 + UUID_LEN)
#define LONG_ID_SIZE	9
#define GLUE_SIZE	(2 + UUID_LEN)

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
	if (len >= KS_FRAMING_ID_SIZE && p[0] == 0)
	{
		id->id = (uint32) p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4];
		return KS_FRAMING_ID_SIZE;
	}
	id->id = -1;
	if (!with_guid || len < GUID_SIZE || p[0] != 1)
		return 0;
	memcpy(id->guid.data, p + 1, UUID_LEN);
	return GUID_SIZE;
}

/* A number that nobody has is none. */
static bool
read_long_id(const uint8 *p, bool global, KsSchemaId *id)
{
	uint64		v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	memset(id, 0, sizeof(KsSchemaId));
	id->id = (int64) v;
	id->global = global;
	if (id->id >= 0)
		return true;
	id->id = -1;
	id->global = 0;
	return false;
}

/* A zero byte, and Apicurio's global id. */
static int
read_apicurio(const uint8 *p, int len, KsSchemaId *id)
{
	return len >= LONG_ID_SIZE && p[0] == 0 && read_long_id(p + 1, true, id) ? LONG_ID_SIZE : 0;
}

static int
read_glue(const uint8 *p, int len, KsSchemaId *id)
{
	memset(id, 0, sizeof(KsSchemaId));
	id->id = -1;
	if (len < GLUE_SIZE || p[0] != 3 || (p[1] != KS_GLUE_PLAIN && p[1] != KS_GLUE_ZLIB))
		return 0;
	memcpy(id->guid.data, p + 2, UUID_LEN);
	return GLUE_SIZE;
}

/* --- headers --- */

/* The one that counts before others comes first. */
static const struct
{
	const char *of_value;
	const char *of_key;
	bool		apicurio;
	bool		global;
}			header_names[] = {
	{"__value_schema_id", "__key_schema_id", false, false},
	{"apicurio.value.contentId", "apicurio.key.contentId", true, false},
	{"apicurio.value.globalId", "apicurio.key.globalId", true, true}
};

/* The last one of a name: who adds one means it.  *kind: which of the names. */
static const KsHeader *
find_header(const KsRecord *rec, bool is_key, int *kind)
{
	const KsHeader *result = NULL;

	*kind = lengthof(header_names);
	for (int i = rec->nheaders - 1; i >= 0; i--)
	{
		const char *name = rec->headers[i].name;

		if (*name != '_' && *name != 'a')
			continue;
		for (int k = 0; k < *kind; k++)
			if (strcmp(name, is_key ? header_names[k].of_key : header_names[k].of_value) == 0)
			{
				result = &rec->headers[i];
				*kind = k;
			}
	}
	return result;
}

static int
read_header(const KsHeader *h, int kind, KsSchemaId *id)
{
	const uint8 *p = (const uint8 *) h->value;

	if (!header_names[kind].apicurio)
		return read_id(p, h->valuelen, true, id);
	return h->valuelen == 8 && read_long_id(p, header_names[kind].global, id) ? 8 : 0;
}

static const KsHeader *
header_of(KsFraming framing, const KsRecord *rec, bool is_key, int *kind)
{
	return ks_framing_has_headers(framing) ? find_header(rec, is_key, kind) : NULL;
}

bool
ks_framing_in_header(const KsRecord *rec, bool is_key)
{
	int			kind;

	return find_header(rec, is_key, &kind) != NULL;
}

/* How many bytes of the header, if there is one, or else of the value tell it. */
static const char *
read_schema(KsFraming framing, const KsRecord *rec, bool is_key, const KsHeader *h, int kind, KsSchemaId *id, int *size)
{
	const uint8 *p = (const uint8 *) (is_key ? rec->key : rec->value);
	int			len = is_key ? rec->keylen : rec->valuelen;

	*size = 0;
	if (h)
	{
		*size = read_header(h, kind, id);
		return *size == 0 ? "The header that tells the id of a schema is not in the form that is known" : NULL;
	}
	switch (framing)
	{
		case KS_FRAMING_HEADER:
			return "No header tells the id of a schema";
		case KS_FRAMING_APICURIO8:
			*size = read_apicurio(p, len, id);
			return *size == 0 ? "It does not begin with a zero byte and a global id of 8 bytes" : NULL;
		case KS_FRAMING_GLUE:
			*size = read_glue(p, len, id);
			return *size == 0 ? "It does not begin with the byte 3, a known kind of compression and the id of a schema version" : NULL;
		default:
			*size = read_id(p, len, framing == KS_FRAMING_AUTO, id);
			return *size == 0 ? "It does not begin with a zero byte and the id of a schema" : NULL;
	}
}

const char *
ks_framing_read_any(KsFraming framing, const KsRecord *rec, bool is_key, KsSchemaId *id, int *skip)
{
	int			kind = 0;
	const KsHeader *h = header_of(framing, rec, is_key, &kind);
	int			size;
	const char *wrong = read_schema(framing, rec, is_key, h, kind, id, &size);

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
ks_framing_read_any_message(KsFraming framing, const KsRecord *rec, bool is_key, KsSchemaId *id,
							KsMessagePath *path, int *skip)
{
	int			kind = 0;
	const KsHeader *h = header_of(framing, rec, is_key, &kind);
	int			size;
	const char *wrong = read_schema(framing, rec, is_key, h, kind, id, &size);
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
