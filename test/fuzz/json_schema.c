/*
 * json_schema.c
 *	  Fuzzes JSON schemas, and values by them: 0x1e stands between the two.
 *
 * Whatever a schema says of a value, its double negation says, too, and so does a
 * schema that asks for it and for nothing else.
 */
#include "stubs.h"

#include <string.h>

#include "mb/pg_wchar.h"

#include "format/jschema.h"
#include "format/shape.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

typedef enum Answer
{
	NO_SCHEMA,
	NO_VALUE,
	MATCHES,
	DIFFERS
} Answer;

static Answer
ask(const char *schema, const char *value, int len)
{
	KsSchemaText text = {.type = "JSON", .text = schema};
	KsJsonSchema *compiled = NULL;
	Answer		result = MATCHES;
	const void *type = NULL;

	if (!FUZZ_TRY(compiled = ks_jschema_compile(&text)))
		result = NO_SCHEMA;
	else
	{
		const char *name = ks_jschema_name(compiled);

		FUZZ_CHECK(name == NULL || *name);
		/* a place that nothing is checked by may refer to nothing */
		if (FUZZ_TRY(type = ks_jschema_shaper.parse(&text)))
			fuzz_describe(&ks_jschema_shaper, type);
		if (!FUZZ_TRY(ks_jschema_check(compiled, value, len)))
			result = fuzz_sqlstate == ERRCODE_DATA_EXCEPTION ? DIFFERS : NO_VALUE;
	}
	fuzz_reset();
	return result;
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	const uint8 *end = memchr(data, 0x1e, size);
	size_t		len = end ? (size_t) (end - data) : size;
	char	   *schema;
	char	   *wrapped;
	char	   *value;
	Answer		answer;

	if (memchr(data, '\0', len) || !pg_verify_mbstr(PG_UTF8, (const char *) data, (int) len, true))
		return 0;
	end = end ? end + 1 : data + size;
	size -= end - data;
	if (!pg_verify_mbstr(PG_UTF8, (const char *) end, (int) size, true))
		return 0;
	schema = malloc(len + 1);
	memcpy(schema, data, len);
	schema[len] = '\0';
	value = fuzz_copy(end, size);
	answer = ask(schema, value, (int) size);

	/* what refers to its root, or says its draft, is another one in another */
	if (answer >= MATCHES && strchr(schema, '$') == NULL && strstr(schema, "\"id\"") == NULL && strchr(schema, '\\') == NULL)
	{
		wrapped = malloc(2 * len + 64);
		sprintf(wrapped, "{\"allOf\": [{\"not\": {\"not\": %s}}]}", schema);
		FUZZ_CHECK(ask(wrapped, value, (int) size) == answer);
		sprintf(wrapped, "{\"oneOf\": [%s, false], \"if\": %s, \"else\": false}", schema, schema);
		FUZZ_CHECK(ask(wrapped, value, (int) size) == answer);
		free(wrapped);
	}
	free(schema);
	free(value);
	return 0;
}
