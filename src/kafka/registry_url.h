/*
 * registry_url.h
 *	  URLs of schema registries.
 */
#ifndef KS_REGISTRY_URL_H
#define KS_REGISTRY_URL_H

#include "postgres.h"

/*
 * Why this is no URL of a registry, or NULL, if it is one: then *tls becomes
 * whether it is reached by TLS, and *local whether it is on this machine.
 */
extern const char *ks_registry_url_check(const char *url, bool *tls, bool *local);

/* Scheme, host and port of any URL, as "https://host:8443"; NULL: it is none. */
extern char *ks_registry_url_origin(const char *url);

#endif
