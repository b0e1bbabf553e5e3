/*
 * message.c
 *	  A message of emit() as it stands in the WAL.
 *
 *	version, 1 byte | HMAC, 32 bytes | fixed part | topic\0 | key | value
 *	| lengths of headers | name\0 and value of each
 *
 * Numbers are the server's own: the WAL is read where it was written.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"

#include "feed/message.h"

#define VERSION		1
#define MAC_LEN		PG_SHA256_DIGEST_LENGTH
#define BODY		(1 + MAC_LEN)

/* The fixed part: what of it is the feed's and the transaction's comes first. */
typedef struct Fixed
{
	int64		feed_id;
	uint64		xid;
	int32		part;
	int32		keylen;
	int32		valuelen;
	uint16		topiclen;
	uint16		nheaders;
} Fixed;

typedef struct HeaderLengths
{
	int32		namelen;
	int32		valuelen;
} HeaderLengths;

StaticAssertDecl(sizeof(Fixed) == 32, "the fixed part of a message has no padding");

/* --- the proof --- */

void
ks_message_make_key(const uint8 *secret, KsMessageKey *key)
{
	memset(key->inner, 0x36, sizeof(key->inner));
	memset(key->outer, 0x5c, sizeof(key->outer));
	for (int i = 0; i < KS_MESSAGE_SECRET_LEN; i++)
	{
		key->inner[i] ^= secret[i];
		key->outer[i] ^= secret[i];
	}
}

/* SHA-256 of two parts, one after the other. */
static void
hash_parts(const uint8 *a, Size alen, const uint8 *b, Size blen, uint8 *result)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (ctx == NULL || pg_cryptohash_init(ctx) < 0 || pg_cryptohash_update(ctx, a, alen) < 0 ||
		pg_cryptohash_update(ctx, b, blen) < 0 || pg_cryptohash_final(ctx, result, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute a message's HMAC");
	pg_cryptohash_free(ctx);
}

/* RFC 2104 with SHA-256. */
static void
prove(const KsMessageKey *key, const char *body, Size len, uint8 *mac)
{
	uint8		inner[PG_SHA256_DIGEST_LENGTH];

	hash_parts(key->inner, sizeof(key->inner), (const uint8 *) body, len, inner);
	hash_parts(key->outer, sizeof(key->outer), inner, sizeof(inner), mac);
}

/* Takes as long whatever differs. */
static bool
is_proven(const KsMessageKey *key, const char *data, Size len)
{
	uint8		mac[MAC_LEN];
	uint8		differs = 0;

	prove(key, data + BODY, len - BODY, mac);
	for (int i = 0; i < MAC_LEN; i++)
		differs |= mac[i] ^ (uint8) data[1 + i];
	return differs == 0;
}

/* --- writing --- */

static char *
put(char *p, const void *bytes, Size len)
{
	if (len > 0)
		memcpy(p, bytes, len);
	return p + len;
}

char *
ks_message_write(const KsProducerRecord *rec, int64 feed_id, FullTransactionId xid, const KsMessageKey *key, Size *len)
{
	Fixed		fixed = {
		.feed_id = feed_id,
		.xid = U64FromFullTransactionId(xid),
		.part = rec->part,
		.keylen = rec->keylen,
		.valuelen = rec->valuelen,
		.topiclen = strlen(rec->topic),
		.nheaders = rec->nheaders
	};
	Size		size = BODY + sizeof(fixed) + fixed.topiclen + 1 + Max(rec->keylen, 0) + Max(rec->valuelen, 0);
	char	   *data,
			   *p;

	for (int i = 0; i < rec->nheaders; i++)
		size += sizeof(HeaderLengths) + strlen(rec->headers[i].name) + 1 + Max(rec->headers[i].valuelen, 0);
	data = palloc(size);
	data[0] = VERSION;
	p = put(data + BODY, &fixed, sizeof(fixed));
	p = put(p, rec->topic, fixed.topiclen + 1);
	p = put(p, rec->key, Max(rec->keylen, 0));
	p = put(p, rec->value, Max(rec->valuelen, 0));
	for (int i = 0; i < rec->nheaders; i++)
	{
		HeaderLengths lengths = {strlen(rec->headers[i].name), rec->headers[i].valuelen};

		p = put(p, &lengths, sizeof(lengths));
	}
	for (int i = 0; i < rec->nheaders; i++)
	{
		p = put(p, rec->headers[i].name, strlen(rec->headers[i].name) + 1);
		p = put(p, rec->headers[i].value, Max(rec->headers[i].valuelen, 0));
	}
	Assert(p == data + size);
	prove(key, data + BODY, size - BODY, (uint8 *) data + 1);
	*len = size;
	return data;
}

/* --- reading --- */

/* The next bytes of a message, NULL if it has not so many. */
static const char *
take(const char **p, const char *end, int64 len)
{
	const char *bytes = *p;

	if (len < 0 || end - bytes < len)
		return NULL;
	*p += len;
	return bytes;
}

/* False if the bytes are not what they say; one that is proven is always right. */
static bool
parse(const char *p, const char *end, const Fixed *fixed, KsProducerRecord *rec, KsHeader *headers)
{
	const char *lengths;

	if (fixed->nheaders > KS_PRODUCER_MAX_HEADERS)
		return false;
	rec->topic = take(&p, end, (int64) fixed->topiclen + 1);
	rec->key = take(&p, end, Max(fixed->keylen, 0));
	rec->value = take(&p, end, Max(fixed->valuelen, 0));
	lengths = take(&p, end, fixed->nheaders * sizeof(HeaderLengths));
	if (!rec->topic || !rec->key || !rec->value || !lengths)
		return false;
	for (int i = 0; i < fixed->nheaders; i++)
	{
		HeaderLengths l;

		memcpy(&l, lengths + i * sizeof(l), sizeof(l));
		headers[i].name = take(&p, end, (int64) l.namelen + 1);
		headers[i].value = take(&p, end, Max(l.valuelen, 0));
		headers[i].valuelen = l.valuelen;
		if (!headers[i].name || !headers[i].value)
			return false;
	}
	rec->part = fixed->part;
	rec->keylen = fixed->keylen;
	rec->valuelen = fixed->valuelen;
	rec->nheaders = fixed->nheaders;
	rec->headers = headers;
	return p == end;
}

bool
ks_message_defines(const char *data, Size len)
{
	Fixed		fixed;

	if (len < BODY + sizeof(fixed) || data[0] != VERSION)
		return false;
	memcpy(&fixed, data + BODY, sizeof(fixed));
	return fixed.part == KS_MESSAGE_DEFINES;
}

KsMessageVerdict
ks_message_read(const char *data, Size len, int64 feed_id, FullTransactionId xid, const KsMessageKey *key,
				KsProducerRecord *rec, KsHeader *headers)
{
	Fixed		fixed;

	if (len < BODY + sizeof(fixed) || data[0] != VERSION)
		return KS_MESSAGE_OTHERS;
	memcpy(&fixed, data + BODY, sizeof(fixed));
	if (fixed.feed_id != feed_id)
		return KS_MESSAGE_OTHERS;
	if (fixed.xid != U64FromFullTransactionId(xid) || !is_proven(key, data, len) ||
		!parse(data + BODY + sizeof(fixed), data + len, &fixed, rec, headers))
		return KS_MESSAGE_FORGED;
	return KS_MESSAGE_OURS;
}
