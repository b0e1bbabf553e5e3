/*
 * registry_http.h
 *	  Requests by HTTP.
 */
#ifndef KS_REGISTRY_HTTP_H
#define KS_REGISTRY_HTTP_H

#include "postgres.h"

typedef struct KsHttp KsHttp;

/* All texts in UTF-8, or NULL. */
typedef struct KsHttpOptions
{
	int			timeout_ms;		/* of one request */
	int			nhosts;			/* so many connections are kept */
	const char *authorization;	/* "Basic ..." */
	const char *ca;				/* PEM */
	const char *certificate;
	const char *key;
	const char *key_password;
} KsHttpOptions;

typedef enum KsHttpResult
{
	KS_HTTP_ANSWERED,			/* with a status, whatever it is */
	KS_HTTP_UNREACHABLE,		/* no connection, or no complete answer in time */
	KS_HTTP_TLS,				/* no agreement on TLS */
	KS_HTTP_RUBBISH				/* what came is no answer */
} KsHttpResult;

typedef struct KsHttpAnswer
{
	KsHttpResult result;
	const char *words;			/* why there is no answer; for nobody's eyes yet */
	const char *hint;			/* KS_HTTP_TLS: what to do about it */
	int			status;
	const char *body;			/* NUL-terminated; until the next request */
	size_t		len;
	char	   *elsewhere;		/* a redirect's target, or NULL */
} KsHttpAnswer;

/* Ends with the current memory context. */
extern KsHttp *ks_http_open(const KsHttpOptions *options);

/* Asks once; idle is called at least every 100 ms, and may throw. */
extern void ks_http_get(KsHttp *http, const char *url, void (*idle) (void *arg), void *arg,
						KsHttpAnswer *answer);

/* Gives memory back that the last answer has taken. */
extern void ks_http_forget(KsHttp *http);

extern char *ks_http_encode(KsHttp *http, const char *text);

#endif
