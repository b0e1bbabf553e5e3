/*
 * registry.h
 *	  A schema registry: one question at a time, by HTTP.
 */
#ifndef KS_REGISTRY_H
#define KS_REGISTRY_H

#include "postgres.h"

#include "kafka/options.h"

typedef struct KsRegistry KsRegistry;

/* The registry's URLs as the server's option has them, for what ids mean depends on them; NULL: it has none. */
extern const char *ks_registry_urls(const KsConf *conf);

/* Its handle ends with the current memory context.  NULL: the server has none. */
extern KsRegistry *ks_registry_open(const KsConf *conf);

/*
 * Asks for a path ("/schemas/ids/1"; the caller has URL-encoded it; "/apis/...": Apicurio's own, whatever
 * interface of it the URL is of), at the first of the URLs that
 * answers.  The answer's body (UTF-8, NUL-terminated, without NULs inside) in the current context; NULL: the registry says
 * that there is no such thing (404 with an error_code in a JSON body).  idle is called at least every 100 ms
 * while it waits, and does CHECK_FOR_INTERRUPTS() or more; what it throws ends the request.  Errors: see registry.c.
 * Of a path that not every registry knows: *strange, and NULL, if this one does not; else strange is NULL.
 */
extern char *ks_registry_get(KsRegistry *reg, const char *path, bool *strange, void (*idle) (void *arg), void *arg);

/* Text for a URL, percent-encoded, in the current context. */
extern char *ks_registry_encode(KsRegistry *reg, const char *text);

#endif
