/*
 * registry_http.c
 *	  Requests by HTTP, with libcurl.
 *
 * One handle for one registry, which keeps its connections.  What libcurl would
 * take from its environment (proxies, .netrc, cookies) it does not, it follows no
 * redirects, verifies certificates and hosts always, and takes so much of an
 * answer and no more.
 *
 * libcurl has names resolved by threads of its own.  They run nothing of ours, and
 * begin with all signals blocked, as librdkafka's do (source.c): the server's
 * handlers belong to the main thread.  A thread that still asks a name server when
 * its request is given up is left to itself, where libcurl can do that (curl.h).
 *
 * What libcurl calls of ours (take_body(), take_header()) raises no error.
 *
 * How long a request has taken is counted here: the time in idle(), which may do much, is
 * not the other side's, and what it has answered meanwhile is read.
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>

#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "kafka/curl.h"
#include "kafka/registry_http.h"

#define POLL_MS			50
#define CONNECT_MAX_MS	5000
#define MAX_BODY		(4 * 1024 * 1024)
#define MAX_HEADERS		65536
#define FIRST_ROOM		16384

#define HINT_CA "Put the certificate of the authority that signed the registry's, in PEM format, into the option schema_registry_ssl_ca_pem of the server."
#define HINT_CA_WRONG "Check schema_registry_ssl_ca_pem of the server."
#define HINT_DATES "Give the registry a certificate that is valid now, and see that the clocks are right."
#define HINT_HOST "Name the registry as its certificate does, in the option schema_registry_url of the server."
#define HINT_CLIENT "Check schema_registry_ssl_certificate_pem, schema_registry_ssl_key_pem and schema_registry_ssl_key_password of the user mapping."
#define HINT_PORT "Check the option schema_registry_url of the server: is it a port that speaks https?"

struct KsHttp
{
	CURLM	   *multi;
	CURL	   *easy;
	struct curl_slist *headers;
	int			nfds;			/* reserved */
	int			timeout_ms;
	/* the answer at hand, by malloc() */
	char	   *body;
	size_t		len;
	size_t		room;
	size_t		header_bytes;
	bool		headers_complete;
	bool		too_large;
	char		error[CURL_ERROR_SIZE];
	char		words[CURL_ERROR_SIZE + 64];
	MemoryContextCallback callback;
};

/* --- the handle --- */

void
ks_http_forget(KsHttp *http)
{
	free(http->body);
	http->body = NULL;
	http->len = http->room = 0;
}

static void
close_handle(void *arg)
{
	KsHttp	   *http = arg;

	if (http->easy)
		curl_easy_cleanup(http->easy);
	if (http->multi)
		(void) curl_multi_cleanup(http->multi);
	curl_slist_free_all(http->headers);
	ks_http_forget(http);
	for (; http->nfds > 0; http->nfds--)
		ReleaseExternalFD();
}

/* For each line of the headers. */
static size_t
take_header(char *data, size_t size, size_t n, void *arg)
{
	KsHttp	   *http = arg;

	http->header_bytes += n;
	http->too_large |= http->header_bytes > MAX_HEADERS;
	/* several may come before the last, as 100 Continue; trailers have no end of their own */
	if (n > 5 && memcmp(data, "HTTP/", 5) == 0)
		http->headers_complete = false;
	else if (n > 0 && (data[0] == '\r' || data[0] == '\n'))
		http->headers_complete = true;
	return http->too_large ? 0 : n;
}

/* For each part of the body. */
static size_t
take_body(char *data, size_t size, size_t n, void *arg)
{
	KsHttp	   *http = arg;
	size_t		needed = http->len + n + 1;

	if (needed - 1 > MAX_BODY)
	{
		http->too_large = true;
		return 0;
	}
	if (needed > http->room)
	{
		size_t		room = Max(Max(needed, http->room * 2), FIRST_ROOM);
		char	   *body = realloc(http->body, room);

		if (body == NULL)
			return 0;
		http->body = body;
		http->room = room;
	}
	memcpy(http->body + http->len, data, n);
	http->len += n;
	http->body[http->len] = '\0';
	return n;
}

static void
check_set(CURLcode code, const char *what)
{
	if (code == CURLE_OK)
		return;
	ereport(ERROR,
			(errcode(code == CURLE_OUT_OF_MEMORY ? ERRCODE_OUT_OF_MEMORY : ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("libcurl %s cannot be used for %s: %s",
					curl_version_info(CURLVERSION_NOW)->version, what, curl_easy_strerror(code))));
}

#define SET(option, value) \
	check_set(curl_easy_setopt(http->easy, option, value), #option)

static void
set_pem(KsHttp *http, CURLoption option, const char *pem, const char *name)
{
	struct curl_blob blob;

	if (pem == NULL)
		return;
	blob.data = unconstify(char *, pem);
	blob.len = strlen(pem);
	blob.flags = CURL_BLOB_COPY;
	check_set(curl_easy_setopt(http->easy, option, &blob), name);
}

static void
set_tls(KsHttp *http, const KsHttpOptions *options)
{
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (options->ca)
	{
		/* these and no others */
		SET(CURLOPT_CAINFO, NULL);
		SET(CURLOPT_CAPATH, NULL);
	}
	set_pem(http, CURLOPT_CAINFO_BLOB, options->ca, "schema_registry_ssl_ca_pem");
	set_pem(http, CURLOPT_SSLCERT_BLOB, options->certificate, "schema_registry_ssl_certificate_pem");
	set_pem(http, CURLOPT_SSLKEY_BLOB, options->key, "schema_registry_ssl_key_pem");
	/* or OpenSSL would ask for it at the server's terminal */
	SET(CURLOPT_KEYPASSWD, options->key_password ? options->key_password : "");
}

static void
add_header(KsHttp *http, const char *line)
{
	struct curl_slist *headers = curl_slist_append(http->headers, line);

	if (headers == NULL)
		check_set(CURLE_OUT_OF_MEMORY, "headers");
	http->headers = headers;
}

static void
set_request(KsHttp *http, const KsHttpOptions *options)
{
	add_header(http, "Accept: application/vnd.schemaregistry.v1+json, application/json");
	if (options->authorization)
	{
		char	   *line = psprintf("Authorization: %s", options->authorization);

		add_header(http, line);
		explicit_bzero(line, strlen(line));
		pfree(line);
	}
	SET(CURLOPT_HTTPHEADER, http->headers);
	SET(CURLOPT_USERAGENT, "kafka_sink");
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PATH_AS_IS, 1L);	/* a subject may be called ".." */
	check_set(KS_CURL_PROTOCOLS(http->easy), "its protocols");
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_NOSIGNAL, 1L);
	KS_CURL_QUICK_EXIT(http->easy, http->multi);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) Min(options->timeout_ms / 2, CONNECT_MAX_MS));
	SET(CURLOPT_ERRORBUFFER, http->error);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, http);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, http);
}

KsHttp *
ks_http_open(const KsHttpOptions *options)
{
	KsHttp	   *http = palloc0(sizeof(KsHttp));

	check_set(curl_global_init(CURL_GLOBAL_DEFAULT), "anything");
	http->callback.func = close_handle;
	http->callback.arg = http;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &http->callback);
	http->timeout_ms = options->timeout_ms;
	/* its connections, and what libcurl wakes itself with */
	for (int i = 0; i < options->nhosts + 2; i++, http->nfds++)
		ReserveExternalFD();
	http->multi = curl_multi_init();
	http->easy = curl_easy_init();
	if (http->multi == NULL || http->easy == NULL)
		check_set(CURLE_OUT_OF_MEMORY, "a handle");
	(void) curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long) options->nhosts);
	set_request(http, options);
	set_tls(http, options);
	return http;
}

char *
ks_http_encode(KsHttp *http, const char *text)
{
	char	   *encoded = curl_easy_escape(http->easy, text, (int) strlen(text));
	char	   *result;

	if (encoded == NULL)
		check_set(CURLE_OUT_OF_MEMORY, "a URL");
	result = MemoryContextStrdup(CurrentMemoryContext, encoded);
	curl_free(encoded);
	return result;
}

/* --- one request --- */

/* Threads inherit which signals are blocked. */
static CURLMcode
perform(KsHttp *http, int *running)
{
	sigset_t	all,
				before;
	CURLMcode	code;

	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
		return CURLM_INTERNAL_ERROR;
	code = curl_multi_perform(http->multi, running);
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
	return code;
}

static double
ms_since(instr_time start)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return INSTR_TIME_GET_MILLISEC(now);
}

/* How the request has ended. */
static CURLcode
run_request(KsHttp *http, void (*idle) (void *arg), void *arg)
{
	CURLcode	code = CURLE_FAILED_INIT;
	CURLMsg    *msg;
	double		taken = 0;
	int			running = 1;
	int			left;

	while (perform(http, &running) == CURLM_OK && running > 0)
	{
		CURLMcode	polled;
		instr_time	start;

		if (taken >= http->timeout_ms)
			return CURLE_OPERATION_TIMEDOUT;
		idle(arg);
		INSTR_TIME_SET_CURRENT(start);
		pgstat_report_wait_start(PG_WAIT_EXTENSION);
		polled = curl_multi_poll(http->multi, NULL, 0, (int) Min(POLL_MS, http->timeout_ms - taken + 1), NULL);
		pgstat_report_wait_end();
		taken += ms_since(start);
		if (polled != CURLM_OK)
			break;
	}
	while ((msg = curl_multi_info_read(http->multi, &left)) != NULL)
		if (msg->msg == CURLMSG_DONE)
			code = msg->data.result;
	return code;
}

static CURLcode
request(KsHttp *http, const char *url, void (*idle) (void *arg), void *arg)
{
	volatile CURLcode code = CURLE_FAILED_INIT;

	http->len = http->header_bytes = 0;
	http->headers_complete = http->too_large = false;
	http->error[0] = '\0';
	SET(CURLOPT_URL, url);
	if (curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
		return CURLE_FAILED_INIT;
	PG_TRY();
	{
		code = run_request(http, idle, arg);
	}
	PG_FINALLY();
	{
		(void) curl_multi_remove_handle(http->multi, http->easy);
	}
	PG_END_TRY();
	return code;
}

/* --- what came of it --- */

/* Is it TLS that has failed? */
static bool
is_tls(const KsHttp *http, CURLcode code)
{
	switch (code)
	{
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_INVALIDCERTSTATUS:
		case CURLE_SSL_CLIENTCERT:
			return true;
		case CURLE_BAD_FUNCTION_ARGUMENT:
			/* a key of the client, from 8.20 on */
			return strstr(http->error, "private key") != NULL ||
				strstr(http->error, "certificate") != NULL;
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
			/* with TLS 1.3 a client is refused after it has begun to talk */
			return strstr(http->error, "alert") != NULL;
		default:
			return false;
	}
}

static const char *
tls_hint(const KsHttp *http, CURLcode code)
{
	long		verified = 0;

	if (strstr(http->error, "alert") != NULL)
		return HINT_CLIENT;
	switch (code)
	{
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CLIENTCERT:
		case CURLE_BAD_FUNCTION_ARGUMENT:
			return HINT_CLIENT;
		case CURLE_SSL_CACERT_BADFILE:
			return HINT_CA_WRONG;
		case CURLE_PEER_FAILED_VERIFICATION:
			(void) curl_easy_getinfo(http->easy, CURLINFO_SSL_VERIFYRESULT, &verified);
			/* X509_V_ERR_..., which are the same for ever */
			if (verified == 9 || verified == 10)
				return HINT_DATES;
			if (verified == 62 || verified == 64 || strstr(http->error, "subject name") != NULL)
				return HINT_HOST;
			return HINT_CA;
		default:
			return HINT_PORT;
	}
}

/* Why there is no answer, in words that are the same each time. */
static const char *
unreachable_words(KsHttp *http, CURLcode code)
{
	long		number = 0;
	long		sent = 0;

	switch (code)
	{
		case CURLE_COULDNT_RESOLVE_HOST:
			return "the name of the host cannot be resolved";
		case CURLE_COULDNT_CONNECT:
			(void) curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &number);
			snprintf(http->words, sizeof(http->words), "no connection%s%s",
					 number ? ": " : "", number ? strerror((int) number) : "");
			return http->words;
		case CURLE_OPERATION_TIMEDOUT:
			(void) curl_easy_getinfo(http->easy, CURLINFO_REQUEST_SIZE, &sent);
			if (sent == 0)
				return "no connection in time";
			snprintf(http->words, sizeof(http->words), "no complete answer within %d ms", http->timeout_ms);
			return http->words;
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
			return "the connection was closed before the answer was complete";
		default:
			return curl_easy_strerror(code);
	}
}

static void
describe_failure(KsHttp *http, CURLcode code, KsHttpAnswer *answer)
{
	if (http->too_large)
	{
		answer->result = KS_HTTP_RUBBISH;
		answer->words = http->header_bytes > MAX_HEADERS ? "headers of more than 64 kB" : "more than 4 MB";
	}
	else if (is_tls(http, code))
	{
		answer->result = KS_HTTP_TLS;
		answer->words = http->error[0] ? http->error : curl_easy_strerror(code);
		answer->hint = tls_hint(http, code);
	}
	else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
	{
		answer->result = KS_HTTP_RUBBISH;
		answer->words = "no answer by HTTP/1";
	}
	else
	{
		answer->result = KS_HTTP_UNREACHABLE;
		answer->words = unreachable_words(http, code);
	}
}

void
ks_http_get(KsHttp *http, const char *url, void (*idle) (void *arg), void *arg, KsHttpAnswer *answer)
{
	CURLcode	code = request(http, url, idle, arg);
	long		status = 0;

	/* what ends in its headers has no body: not every version calls that incomplete */
	if (code == CURLE_OK && !http->headers_complete)
		code = CURLE_PARTIAL_FILE;
	memset(answer, 0, sizeof(KsHttpAnswer));
	answer->body = "";
	if (code != CURLE_OK)
	{
		describe_failure(http, code, answer);
		return;
	}
	(void) curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	(void) curl_easy_getinfo(http->easy, CURLINFO_REDIRECT_URL, &answer->elsewhere);
	answer->result = KS_HTTP_ANSWERED;
	answer->status = (int) status;
	if (http->len > 0)
		answer->body = http->body;
	answer->len = http->len;
}
