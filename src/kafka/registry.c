/*
 * registry.c
 *	  A schema registry: one question at a time, by HTTP.
 *
 * The URLs are those of one registry.  They are tried in turn, beginning with the
 * one that answered last, until one answers; the errors of those that do not are
 * told together, with the class of the last one:
 *
 *	HV00N	it cannot be reached, does not answer in time, cannot agree on TLS, has
 *			failed (5xx), or is overloaded (429): all of this may pass
 *	28000	401
 *	42501	403
 *	HV000	anything else that is no answer, among it a 404 of whoever knows nothing
 *			of schemas
 *
 * A registry says that something does not exist by a 404 with an error_code of its
 * own.  One that comes from a web server, or from a registry that does not know the
 * path ("HTTP 404 Not Found"), says nothing of schemas, and is not taken for it.
 * A schema that was registered just now one of the URLs may know and another not yet, so
 * that there is none is believed when all have been asked, but for those that lately
 * did not answer.
 *
 * Of what a registry says "error_code" and "message" are shown, if no secret occurs
 * in the message, and nothing else.
 */
#include "postgres.h"

#include "common/base64.h"
#include "common/string.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "kafka/registry.h"
#include "kafka/registry_http.h"
#include "kafka/registry_url.h"
#include "kafka/registry_words.h"

#define DEFAULT_TIMEOUT_MS	"10000"
#define AWAY_MS		30000	/* who has not answered is so long not asked for what another says there is not */

struct KsRegistry
{
	KsHttp	   *http;
	int			nurls;
	char	  **urls;
	TimestampTz *away;			/* of each, when it did not answer; 0: it did, or was not asked */
	int			first;			/* that answered last */
	KsSecrets	secrets;
};

/* --- opening --- */

const char *
ks_registry_urls(const KsConf *conf)
{
	return ks_options_get(conf, "schema.registry.url");
}

/*
 * Where the encoding of the database is not known, it is what it is.  What is not ASCII is
 * converted in a transaction only.
 */
static char *
to_utf8(const char *text)
{
	if (text == NULL || GetDatabaseEncoding() == PG_SQL_ASCII || pg_is_ascii(text))
		return text ? pstrdup(text) : NULL;
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

static void
add_secret(KsRegistry *reg, const char *text)
{
	if (text && text[0])
		reg->secrets.texts[reg->secrets.n++] = pstrdup(text);
}

/* Both as they are and as they are sent. */
static void
keep_secrets(KsRegistry *reg, const KsConf *conf, const char *encoded)
{
	reg->secrets.texts = palloc((conf->nprops * 2 + 1) * sizeof(char *));
	for (int i = 0; i < conf->nprops; i++)
	{
		if (!conf->props[i].registry || !conf->props[i].secret)
			continue;
		add_secret(reg, conf->props[i].value);
		add_secret(reg, to_utf8(conf->props[i].value));
	}
	add_secret(reg, encoded);
}

static char *
encode_base64(const char *text)
{
	int			len = strlen(text);
	int			room = pg_b64_enc_len(len) + 1;
	char	   *result = palloc(room);

	/* (what it takes the address of has changed its type) */
	len = pg_b64_encode((const void *) text, len, result, room);
	if (len < 0)
		elog(ERROR, "could not encode credentials");
	result[len] = '\0';
	return result;
}

/* What says who we are; *encoded becomes what of it is a secret that the options do not have. */
static char *
make_authorization(const KsConf *conf, char **encoded)
{
	char	   *username = to_utf8(ks_options_get(conf, "schema.registry.username"));
	char	   *password = to_utf8(ks_options_get(conf, "schema.registry.password"));
	char	   *token = to_utf8(ks_options_get(conf, "schema.registry.bearer.token"));

	*encoded = NULL;
	if (token)
		return psprintf("Bearer %s", token);
	if (username == NULL || password == NULL)
		return NULL;
	*encoded = encode_base64(psprintf("%s:%s", username, password));
	return psprintf("Basic %s", *encoded);
}

static void
split_urls(KsRegistry *reg, const char *value)
{
	reg->urls = palloc((strlen(value) / 2 + 1) * sizeof(char *));
	for (;;)
	{
		size_t		len = strcspn(value, ",");

		reg->urls[reg->nurls++] = pnstrdup(value, len);
		value += len;
		if (*value++ == '\0')
			break;
	}
	reg->away = palloc0(reg->nurls * sizeof(TimestampTz));
}

KsRegistry *
ks_registry_open(const KsConf *conf)
{
	const char *urls = ks_registry_urls(conf);
	const char *timeout = ks_options_get(conf, "schema.registry.timeout.ms");
	KsHttpOptions options = {0};
	KsRegistry *reg;
	char	   *encoded;

	if (urls == NULL)
		return NULL;
	reg = palloc0(sizeof(KsRegistry));
	split_urls(reg, urls);
	options.timeout_ms = atoi(timeout ? timeout : DEFAULT_TIMEOUT_MS);
	options.nhosts = reg->nurls;
	options.authorization = make_authorization(conf, &encoded);
	options.ca = ks_options_get(conf, "schema.registry.ssl.ca.pem");
	options.certificate = ks_options_get(conf, "schema.registry.ssl.certificate.pem");
	options.key = ks_options_get(conf, "schema.registry.ssl.key.pem");
	options.key_password = to_utf8(ks_options_get(conf, "schema.registry.ssl.key.password"));
	keep_secrets(reg, conf, encoded);
	reg->http = ks_http_open(&options);
	return reg;
}

char *
ks_registry_encode(KsRegistry *reg, const char *text)
{
	return ks_http_encode(reg->http, to_utf8(text));
}

/* What begins with /apis/ stands in the place of what the URL has from there on. */
static char *
make_url(const char *url, const char *path)
{
	const char *own = strncmp(path, "/apis/", 6) == 0 ? strstr(url, "/apis/") : NULL;

	return own ? psprintf("%.*s%s", (int) (own - url), url, path) : psprintf("%s%s", url, path);
}

/* --- what an answer says --- */

/* Is another URL to be asked? */
static bool
may_pass(const KsHttpAnswer *answer)
{
	if (answer->result == KS_HTTP_ANSWERED)
		return answer->status >= 500 || answer->status == 429;
	return answer->result != KS_HTTP_RUBBISH;
}

static bool
is_fine(const KsHttpAnswer *answer)
{
	return answer->result == KS_HTTP_ANSWERED && answer->status >= 200 && answer->status < 300;
}

static bool
is_not_found(const KsHttpAnswer *answer)
{
	return answer->result == KS_HTTP_ANSWERED && answer->status == 404;
}

/* A 404 that tells of a schema, subject or version. */
static bool
says_there_is_none(const KsHttpAnswer *answer, const KsRegistryWords *words)
{
	if (!is_not_found(answer) || words->code == 0)
		return false;
	return words->code != 404 || words->message == NULL ||
		strncmp(words->message, "HTTP 404", 8) != 0;
}

/* A line about the answer: where, and what was said. */
static void
describe(const KsRegistry *reg, const char *url, const KsHttpAnswer *answer,
		 const KsRegistryWords *words, StringInfo buf)
{
	appendStringInfo(buf, "%s%s: ", buf->len > 0 ? "\n" : "", url);
	if (answer->result != KS_HTTP_ANSWERED)
	{
		char	   *shown = ks_registry_shown(answer->words, &reg->secrets);

		appendStringInfoString(buf, shown ? shown : "the reason holds a secret, and is not shown");
		return;
	}
	appendStringInfo(buf, "HTTP status %d", answer->status);
	if (words->code)
		appendStringInfo(buf, ", error_code %d", words->code);
	if (words->message)
		appendStringInfo(buf, ": %s", words->message);
	if (answer->elsewhere && answer->status >= 300 && answer->status < 400)
	{
		char	   *origin = ks_registry_url_origin(answer->elsewhere);
		char	   *shown = origin ? ks_registry_shown(origin, &reg->secrets) : NULL;

		if (shown)
			appendStringInfo(buf, ", redirects to %s", shown);
	}
}

KS_NORETURN static void raise_status(int status, const char *url, const char *detail);

static void
raise_status(int status, const char *url, const char *detail)
{
	if (status == 401)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("could not authenticate to the schema registry"),
				 errdetail_internal("%s", detail),
				 errhint("Check schema_registry_username and schema_registry_password, or schema_registry_bearer_token, of the user mapping.")));
	if (status == 403)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the schema registry denies access"),
				 errdetail_internal("%s", detail),
				 errhint("Give the registry's user the right to read the subject.")));
	if (status == 404)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("there is no schema registry at \"%s\"", url),
				 errdetail_internal("%s", detail),
				 errhint("Check the option schema_registry_url of the server: it may lack a path, as Apicurio's /apis/ccompat/v7.")));
	if (status == 429)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("the schema registry is overloaded"),
				 errdetail_internal("%s", detail)));
	if (status >= 500)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("the schema registry has failed"),
				 errdetail_internal("%s", detail)));
	if (status >= 300 && status < 400)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("the schema registry redirects, which is not followed"),
				 errdetail_internal("%s", detail),
				 errhint("Name the place itself in the option schema_registry_url of the server.")));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("the schema registry refuses the request"),
			 errdetail_internal("%s", detail)));
}

KS_NORETURN static void raise_rubbish(const char *url, const char *why);

static void
raise_rubbish(const char *url, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("could not understand the answer of the schema registry"),
			 errdetail_internal("%s: %s", url, why),
			 errhint("Check the option schema_registry_url of the server.")));
}

KS_NORETURN static void raise_failure(const KsHttpAnswer *answer, const char *url, const char *detail);

static void
raise_failure(const KsHttpAnswer *answer, const char *url, const char *detail)
{
	switch (answer->result)
	{
		case KS_HTTP_TLS:
			ereport(ERROR,
					(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
					 errmsg("could not agree with the schema registry on TLS"),
					 errdetail_internal("%s", detail),
					 errhint("%s", answer->hint)));
			break;
		case KS_HTTP_RUBBISH:
			raise_rubbish(url, answer->words);
			break;
		case KS_HTTP_ANSWERED:
			raise_status(answer->status, url, detail);
			break;
		default:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
			 errmsg("could not reach the schema registry"),
			 errdetail_internal("%s", detail),
			 errhint("Check that the registry runs, and the option schema_registry_url of the server.")));
}

/* The body, which must be text. */
static char *
take_body(KsRegistry *reg, const char *url, const KsHttpAnswer *answer)
{
	char	   *result;

	if (memchr(answer->body, '\0', answer->len))
		raise_rubbish(url, "a NUL is in it");
	if (pg_encoding_verifymbstr(PG_UTF8, answer->body, (int) answer->len) != (int) answer->len)
		raise_rubbish(url, "it is no text in UTF-8");
	result = pnstrdup(answer->body, answer->len);
	ks_http_forget(reg->http);
	return result;
}

static bool
was_away(const KsRegistry *reg, int n)
{
	return reg->away[n] != 0 && !TimestampDifferenceExceeds(reg->away[n], GetCurrentTimestamp(), AWAY_MS);
}

char *
ks_registry_get(KsRegistry *reg, const char *path, bool *strange, void (*idle) (void *arg), void *arg)
{
	StringInfoData failures;
	KsHttpAnswer answer = {0};
	KsRegistryWords words = {0};
	char	   *url = NULL;
	char	   *result = NULL;
	int			first = reg->first;
	bool		none = false;
	bool		answered = false;

	initStringInfo(&failures);
	for (int i = 0; i < reg->nurls && !answered; i++)
	{
		int			n = (first + i) % reg->nurls;

		if (none && was_away(reg, n))
			continue;
		if (url)
			pfree(url);
		url = make_url(reg->urls[n], path);
		ks_http_get(reg->http, url, idle, arg, &answer);
		answered = !may_pass(&answer);
		reg->away[n] = answered ? 0 : GetCurrentTimestamp();
		if (is_fine(&answer))
		{
			reg->first = n;
			result = take_body(reg, url, &answer);
			break;
		}
		ks_registry_words(answer.body, answer.len, &reg->secrets, &words);
		if (says_there_is_none(&answer, &words))
		{
			if (!none)
				reg->first = n;
			none = true;
			answered = false;
		}
		else if (!none)
		{
			if (answered)
			{
				/* what others have said does not matter any more */
				resetStringInfo(&failures);
				reg->first = n;
			}
			describe(reg, url, &answer, &words, &failures);
		}
		if (words.message)
			pfree(words.message);
	}
	if (strange)
		*strange = result == NULL && !none && is_not_found(&answer);
	if (result == NULL && !none && (strange == NULL || !*strange))
		raise_failure(&answer, url, failures.data);
	pfree(url);
	pfree(failures.data);
	return result;
}
