/*
 * registry.c
 *	  Fuzzes what is read of the errors of a schema registry: any bytes as the
 *	  body of one.
 *
 * Nothing in it is an error, and what is shown is one line of ASCII without the
 * secret.  Of what the scanner for records takes for an object, it agrees on the
 * error_code.
 */
#include "stubs.h"

#include "mb/pg_wchar.h"

#include "format/json.h"
#include "kafka/registry_words.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

#define SECRET "hunter2"

/* The error_code of a JSON object, 0 if there is none; -1: that is none of ours. */
static int
expected_code(const char *body, size_t len)
{
	KsJson		json = {.start = body, .end = body + len};
	KsJsonToken tok,
				name,
				value;
	int			code = 0;

	if (!pg_verify_mbstr(PG_UTF8, body, len, true) ||
		!FUZZ_TRY(ks_json_document(&json, &tok)) || tok.type != KS_JSON_OBJECT)
		return -1;
	for (const char *p = ks_json_begin(&json, tok.p);
		 (p = ks_json_next_member(&json, p, &name, &value)) != NULL && value.p != NULL;)
	{
		char		digits[16];

		if (!ks_json_name_is(&name, "error_code", 10) || value.type != KS_JSON_NUMBER || value.p[0] == '-')
			continue;
		if (value.len > 9 || strspn(value.p, "0123456789") < (size_t) value.len)
			return -1;
		memcpy(digits, value.p, value.len);
		digits[value.len] = '\0';
		code = atoi(digits);
	}
	return code;
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	char	   *body = fuzz_copy(data, size);
	char		secret[] = SECRET;
	char	   *texts[] = {secret};
	KsSecrets	secrets = {lengthof(texts), texts};
	KsRegistryWords words;
	int			expected = -1;

	FUZZ_CHECK(FUZZ_TRY(ks_registry_words(body, size, &secrets, &words)));
	if (words.message)
	{
		FUZZ_CHECK(strlen(words.message) <= 200 && words.message[0] != '\0');
		FUZZ_CHECK(strstr(words.message, SECRET) == NULL);
		for (const char *c = words.message; *c; c++)
			FUZZ_CHECK(*c >= ' ' && *c <= '~');
	}
	if (size <= 65536)
		expected = expected_code(body, size);
	FUZZ_CHECK(expected < 0 || words.code == expected);
	free(body);
	fuzz_reset();
	return 0;
}
