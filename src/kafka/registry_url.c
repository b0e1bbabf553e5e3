/*
 * registry_url.c
 *	  URLs of schema registries.
 *
 * They are read by libcurl, which will follow them, so that both mean the same
 * host; what could be read in two ways is refused before.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "kafka/curl.h"
#include "kafka/registry_url.h"

#define MALFORMED "It is not a comma-separated list of URLs, each http://host or https://host with an optional port and path."
#define CHARACTER "It contains a character that no URL has."
#define TAIL "A registry's URL has no query (?) and no fragment (#)."
#define CREDENTIALS "A user and a password belong in the user mapping: every role can read the options of a server."

/* Is the host, of so many characters, this machine in one of the plain notations? */
static bool
is_local(const char *host, size_t len)
{
	struct in_addr addr;
	struct in6_addr addr6;
	char		plain[INET6_ADDRSTRLEN];
	bool		in_brackets = len > 2 && host[0] == '[';

	if (in_brackets)
	{
		host++;
		len -= 2;
	}
	if (len >= sizeof(plain))
		return false;
	strlcpy(plain, host, len + 1);
	if (in_brackets)
		return inet_pton(AF_INET6, plain, &addr6) == 1 && IN6_IS_ADDR_LOOPBACK(&addr6);
	return pg_strcasecmp(plain, "localhost") == 0 ||
		(strncmp(plain, "127.", 4) == 0 && inet_pton(AF_INET, plain, &addr) == 1);
}

/* Of what stands behind the scheme. */
static size_t
host_length(const char *rest)
{
	size_t		in_brackets = strcspn(rest, "]/");

	if (rest[0] == '[' && rest[in_brackets] == ']')
		return in_brackets + 1;
	return strcspn(rest, ":/");
}

/* What libcurl makes of it; the caller frees the parts by curl_free(). */
static bool
parse(const char *url, char **scheme, char **host, char **port)
{
	CURLU	   *parsed = curl_url();
	bool		fine;

	*scheme = *host = *port = NULL;
	fine = parsed != NULL &&
		curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_SCHEME, scheme, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_HOST, host, 0) == CURLUE_OK &&
		curl_url_get(parsed, CURLUPART_PORT, port, CURLU_DEFAULT_PORT) == CURLUE_OK;
	curl_url_cleanup(parsed);
	return fine;
}

static void
free_parts(char *scheme, char *host, char *port)
{
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
}

const char *
ks_registry_url_check(const char *url, bool *tls, bool *local)
{
	char	   *scheme,
			   *host,
			   *port;
	const char *rest;
	bool		fine;

	*tls = pg_strncasecmp(url, "https://", 8) == 0;
	*local = false;
	if (!*tls && pg_strncasecmp(url, "http://", 7) != 0)
		return MALFORMED;
	rest = url + (*tls ? 8 : 7);
	for (const char *p = url; *p; p++)
		if ((unsigned char) *p <= ' ' || (unsigned char) *p > '~' || strchr("\\\"<>^`{|}", *p))
			return CHARACTER;
	if (strpbrk(rest, "?#"))
		return TAIL;
	if (memchr(rest, '@', strcspn(rest, "/")))
		return CREDENTIALS;
	fine = parse(url, &scheme, &host, &port);
	/* as it is written, and as libcurl reads it */
	if (fine)
		*local = is_local(rest, host_length(rest)) && is_local(host, strlen(host));
	fine = fine && rest[0] != '/' && atoi(port) > 0;
	free_parts(scheme, host, port);
	return fine ? NULL : MALFORMED;
}

char *
ks_registry_url_origin(const char *url)
{
	char	   *scheme,
			   *host,
			   *port;
	char	   *result = NULL;

	if (parse(url, &scheme, &host, &port))
		result = psprintf("%s://%s:%s", scheme, host, port);
	free_parts(scheme, host, port);
	return result;
}
