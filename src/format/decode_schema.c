/*
 * decode_schema.c
 *	  Formats by schemas, which sinks give or records name: what these have in common.
 */
#include "postgres.h"

#include "format/decode_format.h"
#include "format/framing.h"
#include "format/schema_cache.h"

void
ks_schemas_begin(KsDecoder *d, KsSchemaPart *part, const char *text,
				 void *(*compile) (KsDecoder *d, const KsSchemaText *text, bool of_keys))
{
	part->used = true;
	part->framing = ks_framing_of(&d->settings, text);
	part->unpacked.cxt = CurrentMemoryContext;
	if (text == NULL)
		part->cache = ks_schema_cache_create(d, part == &d->key_schemas, compile);
}

void
ks_schemas_unpack(KsDecoder *d, KsSchemaPart *part, const char **s, int *len, int skip)
{
	bool		packed = part->framing == KS_FRAMING_GLUE && (*s)[1] == KS_GLUE_ZLIB;

	*s += skip;
	*len -= skip;
	if (packed)
		ks_unpack(&part->unpacked, *s, *len, d->settings.max_record_bytes, s, len);
}

bool
ks_schemas_ask(const KsDecoder *d)
{
	return d->value_schemas.cache || d->key_schemas.cache;
}

bool
ks_schemas_tell_types(const KsDecoder *d)
{
	return d->value_schemas.used && d->value_schemas.framing != KS_FRAMING_NONE;
}

bool
ks_schemas_told(const KsDecoder *d, const KsRecord *rec, KsSchemaId *id)
{
	int			skip;

	return d->value_schemas.cache && rec->valuelen >= 0 &&
		ks_framing_read(d->value_schemas.framing, rec, false, id, &skip) == NULL;
}

bool
ks_schemas_want_headers(const KsDecoder *d)
{
	return (d->value_schemas.used && ks_framing_has_headers(d->value_schemas.framing)) ||
		(d->key_schemas.used && ks_framing_has_headers(d->key_schemas.framing));
}

/* What is wrong with the bytes is said when they are decoded. */
static void
list_unknown(KsSchemaPart *part, const KsRecord *rec, bool is_key, const KsSchemaPass *pass, List **unknown)
{
	KsSchemaId	id;
	int			skip;

	if (ks_framing_read(part->framing, rec, is_key, &id, &skip) == NULL &&
		unlikely(!ks_schema_cache_knows(part->cache, &id, pass)))
	{
		KsSchemaId *copy = palloc(sizeof(KsSchemaId));

		*copy = id;
		*unknown = lappend(*unknown, copy);
	}
}

void
ks_schemas_list_unknown(KsDecoder *d, const KsRecord *rec, const KsSchemaPass *pass, List **unknown)
{
	if (d->value_schemas.cache && rec->valuelen >= 0)
		list_unknown(&d->value_schemas, rec, false, pass, unknown);
	if (d->key_schemas.cache && rec->keylen >= 0)
		list_unknown(&d->key_schemas, rec, true, pass, unknown);
}

static bool
lacks(KsSchemaPart *part, const KsRecord *rec, bool is_key)
{
	KsSchemaId	id;
	int			skip;

	return ks_framing_read(part->framing, rec, is_key, &id, &skip) == NULL &&
		ks_schema_cache_lacks(part->cache, &id);
}

bool
ks_schemas_lack(KsDecoder *d, const KsRecord *rec)
{
	return (d->value_schemas.cache && rec->valuelen >= 0 && lacks(&d->value_schemas, rec, false)) ||
		(d->key_schemas.cache && rec->keylen >= 0 && lacks(&d->key_schemas, rec, true));
}

/* --- what the target is not ready for --- */

bool
ks_schemas_have_unsettled(const KsDecoder *d)
{
	return d->value_schemas.cache && ks_schema_cache_has_unsettled(d->value_schemas.cache);
}

KsShape *
ks_schemas_unsettled(KsDecoder *d, const KsRecord *rec, KsSchemaId *id)
{
	KsSchemaPart *part = &d->value_schemas;
	KsMessagePath path;
	int			skip;

	if (rec->valuelen < 0 ||
		(d->settings.format == KS_FORMAT_PROTOBUF ?
		 ks_framing_read_message(part->framing, rec, false, id, &path, &skip) :
		 ks_framing_read(part->framing, rec, false, id, &skip)) != NULL)
		return NULL;
	return ks_schema_cache_unsettled(part->cache, id, &path);
}

void
ks_schemas_settle(KsDecoder *d)
{
	ks_schema_cache_settle(d->value_schemas.cache);
}

void
ks_schemas_leave_out(KsDecoder *d)
{
	ks_schema_cache_leave_out(d->value_schemas.cache);
}

void
ks_schemas_all_settled(KsDecoder *d)
{
	ks_schema_cache_all_settled(d->value_schemas.cache);
}

KsShape *
ks_schemas_settled(KsDecoder *d, const char *name, KsSchemaId *id)
{
	return ks_schema_cache_settled(d->value_schemas.cache, name, id);
}
