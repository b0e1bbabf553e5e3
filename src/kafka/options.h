/*
 * options.h
 *	  Properties of connections: which may be set, by whom, where; and their
 *	  redaction.
 */
#ifndef KS_OPTIONS_H
#define KS_OPTIONS_H

#include "postgres.h"

/* Whose handles have it. */
typedef enum KsSide
{
	KS_OF_BOTH,
	KS_OF_CONSUMERS,
	KS_OF_PRODUCERS
} KsSide;

typedef struct KsProperty
{
	const char *name;			/* librdkafka's spelling, dots */
	const char *value;
	bool		secret;			/* words in which it occurs are not shown */
	bool		registry;		/* of the schema registry: nothing for librdkafka */
	KsSide		side;
} KsProperty;

/* The properties of one connection; never printed. */
typedef struct KsConf
{
	int			nprops;
	KsProperty *props;
} KsConf;

/*
 * Properties for 'role' to reach 'server' (server options, then the role's own
 * user mapping), allocated in the current context.  Checks USAGE on the server
 * as 'role' and errors with SQLSTATE, detail and hint.  Must be called in a
 * transaction.
 */
extern KsConf *ks_options_load(const char *server, Oid role);

/* What a server has for a property, in the form that ks_options_load() has it in; NULL:
 * nothing, or there is no such server.  Everybody may see it.  Must be called in a
 * transaction. */
extern const char *ks_options_of_server(const char *server, const char *property);

/* The value of a property; NULL: it has none. */
static inline const char *
ks_options_get(const KsConf *conf, const char *property)
{
	for (int i = 0; i < conf->nprops; i++)
		if (strcmp(conf->props[i].name, property) == 0)
			return conf->props[i].value;
	return NULL;
}

/* 64-bit fingerprint of a configuration, to notice a change. */
extern uint64 ks_options_fingerprint(const KsConf *conf);

#endif
