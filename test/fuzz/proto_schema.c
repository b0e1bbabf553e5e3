/*
 * proto_schema.c
 *	  Fuzzes .proto texts: zero bytes are between one and the next, which may import
 *	  those before it as "0", "1", ...
 *
 * They are refused with an error of the one who gives them, or are a graph in which
 * everything is found again.  Either way the memory is in proportion to the text.
 */
#include "stubs.h"

#include "utils/memutils.h"

#include "format/proto_schema.h"
#include "format/shape.h"

#define MAX_TEXTS	8

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

/* Of a definition that is refused. */
static bool
blames_definition(int sqlstate)
{
	return sqlstate == ERRCODE_INVALID_PARAMETER_VALUE || sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX;
}

static void
check_field(const KsProtoMessage *m, int i)
{
	const KsProtoField *field = &m->fields[i];
	bool		is_message = field->type == KS_PROTO_MESSAGE || field->type == KS_PROTO_GROUP;

	FUZZ_CHECK(ks_proto_find_number(m, field->number) == field);
	FUZZ_CHECK(ks_names_find(&m->index, field->name.name, field->name.len) == i);
	FUZZ_CHECK(field->name.name[field->name.len] == '\0');
	FUZZ_CHECK(is_message == (field->message != NULL));
	FUZZ_CHECK((field->type == KS_PROTO_ENUM) == (field->enumeration != NULL));
	FUZZ_CHECK(!field->enumeration || field->enumeration->n > 0);
	FUZZ_CHECK(!(field->presence || field->required) || !field->repeated);
	FUZZ_CHECK(!is_message || field->presence || field->repeated);
	FUZZ_CHECK(field->oneof >= -1 && field->oneof < m->noneofs);
	FUZZ_CHECK(!field->map || (field->repeated && field->message->map_entry && field->message->nfields == 2));
	FUZZ_CHECK(!field->has_default || field->presence);
	fuzz_read += strlen(ks_proto_type_name(field)) + strlen(field->json_name);
	if (m->comments[i])
		fuzz_read += strlen(m->comments[i]);
}

static void
check_message(const KsProtoFile *file, const KsProtoMessage *m)
{
	FUZZ_CHECK(ks_proto_find_message(file, m->name, strlen(m->name)) == m);
	for (int i = 0; i < m->nfields; i++)
	{
		check_field(m, i);
		FUZZ_CHECK(i == 0 || m->fields[m->by_number[i - 1]].number < m->fields[m->by_number[i]].number);
	}
	fuzz_describe(&ks_proto_shaper, m);
	for (int i = 0; i < m->nmessages; i++)
		check_message(file, m->messages[i]);
	if (m->comment)
		fuzz_read += strlen(m->comment);
}

static void
check_graph(const KsProtoFile *file)
{
	FUZZ_CHECK(ks_proto_message_at(file, &(int) {file->nmessages}, 1) == NULL);
	for (int i = 0; i < file->nmessages; i++)
	{
		FUZZ_CHECK(ks_proto_message_at(file, &i, 1) == file->messages[i]);
		check_message(file, file->messages[i]);
	}
}

/* With the zero that ends it, and not a byte more. */
static char *
text_of(const uint8 *data, size_t len)
{
	char	   *text = malloc(len + 1);

	if (text == NULL)
		abort();
	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	return text;
}

static void
check_texts(const KsProtoText *texts, int n)
{
	KsProtoFile *file;

	if (FUZZ_TRY(file = ks_proto_parse(texts, n)))
		check_graph(file);
	else
		FUZZ_CHECK(blames_definition(fuzz_sqlstate));
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static const char *const names[MAX_TEXTS] = {"0", "1", "2", "3", "4", "5", "6", "7"};
	KsProtoText texts[MAX_TEXTS];
	char	   *copies[MAX_TEXTS];
	const uint8 *end = data + size;
	size_t		before = fuzz_held;
	int			n = 0;

	if (size > 65536)
		return 0;
	do
	{
		const uint8 *zero = size > 0 ? memchr(data, '\0', end - data) : NULL;
		size_t		len = zero ? (size_t) (zero - data) : (size_t) (end - data);

		copies[n] = text_of(data, len);
		texts[n] = (KsProtoText) {names[n], copies[n]};
		n++;
		data = zero ? zero + 1 : end;
	} while (data < end && n < MAX_TEXTS);
	texts[n - 1].name = NULL;
	fuzz_peak = fuzz_held;
	check_texts(texts, n);
	FUZZ_CHECK((fuzz_peak - before) / (size + 131072) <= 100);
	fuzz_reset();
	for (int i = 0; i < n; i++)
		free(copies[i]);
	return 0;
}
