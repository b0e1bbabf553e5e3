/*
 * protobuf.c
 *	  The decoder of Protobuf behind protobuf's own conformance runner.
 *
 * The runner writes requests to stdin and reads answers from stdout, each with its
 * length before it (conformance.proto).  Binary messages are answered as JSON;
 * what is to be read from or written as anything else is skipped.  Only bytes are
 * told otherwise than to a server: in base64, which the linker sees to (--wrap).
 *
 *	protobuf FILE...
 *
 * .proto texts with the messages of the tests.
 */
#include "../fuzz/stubs.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "format/decode_format.h"
#include "format/proto_json.h"
#include "format/scalar.h"

#define MAX_FILES		16

/* Numbers of fields. */
#define REQUEST_PROTOBUF	1
#define REQUEST_OUTPUT		3
#define REQUEST_TYPE		4
#define RESPONSE_PARSE_ERROR	1
#define RESPONSE_RUNTIME_ERROR	2
#define RESPONSE_PROTOBUF	3
#define RESPONSE_JSON		4
#define RESPONSE_SKIPPED	5
#define RESPONSE_SERIALIZE_ERROR	6

#define OUTPUT_JSON		2

static KsProtoFile *files[MAX_FILES];
static int	nfiles;

typedef struct Request
{
	bool		binary;
	uint64		output;
	KsProtoValue payload;
	KsProtoValue type;
} Request;

typedef struct Response
{
	int			field;
	const char *p;
	int			len;
} Response;

extern void __wrap_ks_scalar_set_hex(KsJsonToken *tok, const char *s, int len);

void
__wrap_ks_scalar_set_hex(KsJsonToken *tok, const char *s, int len)
{
	int			room = pg_b64_enc_len(len) + 1;
	char	   *out = palloc(room);

	ks_scalar_set(tok, KS_JSON_STRING, out, pg_b64_encode((const void *) s, len, out, room));
}

static void
load(const char *path)
{
	static char text[1024 * 1024];
	KsProtoText given = {NULL, text};
	FILE	   *f = fopen(path, "rb");
	size_t		len;

	FUZZ_CHECK(f != NULL && nfiles < MAX_FILES);
	len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	CurrentMemoryContext = TopMemoryContext;
	if (!FUZZ_TRY(files[nfiles] = ks_proto_parse(&given, 1)))
	{
		fprintf(stderr, "%s: %s: %s\n", path, fuzz_message, fuzz_detail);
		exit(1);
	}
	nfiles++;
	CurrentMemoryContext = fuzz_record_context;
}

static void
begin(KsProtoReader *r, KsDecoder *d, const KsProtoFile *file, const uint8 *p, int len)
{
	memset(d, 0, sizeof(KsDecoder));
	d->encoding = PG_UTF8;
	memset(r, 0, sizeof(KsProtoReader));
	r->start = r->p = p;
	r->end = r->limit = p + len;
	r->d = d;
	r->file = file;
	r->spare = KS_PROTO_SPARE + len;
	r->scratch = AllocSetContextCreate(CurrentMemoryContext, "scratch", ALLOCSET_SMALL_SIZES);
}

static void
read_request(const uint8 *p, int len, Request *request)
{
	KsDecoder	d;
	KsProtoReader r;

	begin(&r, &d, NULL, p, len);
	memset(request, 0, sizeof(Request));
	while (r.p < r.end)
	{
		uint32		tag = ks_proto_tag(&r);
		KsProtoValue *value = tag >> 3 == REQUEST_PROTOBUF ? &request->payload :
			tag >> 3 == REQUEST_TYPE ? &request->type : NULL;

		if (value)
		{
			value->len = (int) ks_proto_varint(&r);
			value->p = ks_proto_take(&r, value->len);
			request->binary |= tag >> 3 == REQUEST_PROTOBUF;
		}
		else if (tag >> 3 == REQUEST_OUTPUT)
			request->output = ks_proto_varint(&r);
		else
			ks_proto_skip(&r, tag);
	}
}

static bool
type_is(const Request *request, const char *name)
{
	return request->type.len == (int) strlen(name) && memcmp(request->type.p, name, request->type.len) == 0;
}

static const KsProtoMessage *
find_message(const Request *request, const KsProtoFile **file)
{
	for (int i = 0; i < nfiles; i++)
	{
		const KsProtoMessage *message = ks_proto_find_message(files[i], (const char *) request->type.p, request->type.len);

		*file = files[i];
		if (message)
			return message;
	}
	return NULL;
}

/* A message that is none, or one that JSON cannot tell? */
static int
kind_of_error(void)
{
	return strcmp(fuzz_message, "invalid Protobuf") == 0 || fuzz_sqlstate == ERRCODE_CHARACTER_NOT_IN_REPERTOIRE ?
		RESPONSE_PARSE_ERROR : RESPONSE_SERIALIZE_ERROR;
}

static void
decode(const Request *request, Response *response)
{
	KsDecoder	d;
	KsProtoReader r;
	const KsProtoFile *file;
	const KsProtoMessage *message = find_message(request, &file);
	/* not a byte more, so that a sanitizer sees what is read beyond it */
	char	   *bytes = fuzz_copy(request->payload.p, request->payload.len);
	KsProtoValue value = {.p = (const uint8 *) bytes, .len = request->payload.len};
	StringInfoData json;

	initStringInfo(&json);
	begin(&r, &d, file, value.p, value.len);
	if (message == NULL)
		*response = (Response) {RESPONSE_RUNTIME_ERROR, "no such message", 15};
	else if (FUZZ_TRY(ks_proto_append_message(&r, message, &value, NULL, NULL, &json)))
		*response = (Response) {RESPONSE_JSON, json.data, json.len};
	else
		*response = (Response) {kind_of_error(), fuzz_message, (int) strlen(fuzz_message)};
	free(bytes);
}

static void
answer(const Request *request, Response *response)
{
	/* tests that are known to fail are not told */
	if (type_is(request, "conformance.FailureSet"))
		*response = (Response) {RESPONSE_PROTOBUF, "", 0};
	else if (request->binary && request->output == OUTPUT_JSON)
		decode(request, response);
	else
		*response = (Response) {RESPONSE_SKIPPED, "only from binary to JSON", 24};
}

/* --- what goes through pipes --- */

static bool
read_bytes(void *to, size_t n)
{
	return fread(to, 1, n, stdin) == n;
}

static void
write_response(const Response *response)
{
	uint8		head[16];
	uint8		length[4];
	int			n = 0;
	uint32		all;

	head[n++] = (uint8) (response->field << 3 | KS_PROTO_WIRE_BYTES);
	for (uint32 left = response->len;; left >>= 7)
	{
		head[n++] = (left & 0x7f) | (left > 0x7f ? 0x80 : 0);
		if (left <= 0x7f)
			break;
	}
	all = n + response->len;
	for (int i = 0; i < 4; i++)
		length[i] = all >> (8 * i);
	fwrite(length, 1, 4, stdout);
	fwrite(head, 1, n, stdout);
	fwrite(response->p, 1, response->len, stdout);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	uint8		length[4];

	for (int i = 1; i < argc; i++)
		load(argv[i]);
	while (read_bytes(length, 4))
	{
		int			len = length[0] | length[1] << 8 | length[2] << 16 | length[3] << 24;
		uint8	   *bytes = malloc(len + 1);
		Request		request;
		Response	response;

		FUZZ_CHECK(bytes && read_bytes(bytes, len));
		read_request(bytes, len, &request);
		answer(&request, &response);
		write_response(&response);
		free(bytes);
		fuzz_reset();
	}
	return 0;
}
