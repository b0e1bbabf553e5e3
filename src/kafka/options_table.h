/*
 * options_table.h
 *	  The table behind options.c: every property this extension knows.
 *
 * It is an allow-list.  A property that is not in it is unknown and refused,
 * whatever a newer librdkafka may make of it; one with the class KS_OPTION_SINK
 * or KS_OPTION_NEVER is refused with the reason.
 */
#ifndef KS_OPTIONS_TABLE_H
#define KS_OPTIONS_TABLE_H

#include "postgres.h"

#include "kafka/options.h"

/* Who may set it. */
typedef enum KsOptionClass
{
	KS_OPTION_USER,				/* whoever may create the server or mapping */
	KS_OPTION_SUPERUSER,
	KS_OPTION_SINK,				/* nobody: the sink sets it */
	KS_OPTION_NEVER				/* nobody */
} KsOptionClass;

/*
 * Where it stands.  No option has two places: a mapping cannot override what
 * the server's owner chose, and a server cannot lend credentials.
 */
typedef enum KsOptionPlace
{
	KS_IN_SERVER,				/* readable by every role */
	KS_IN_MAPPING				/* hidden from others: identities and secrets */
} KsOptionPlace;

typedef enum KsOptionType
{
	KS_OPTION_STRING,
	KS_OPTION_USERNAME,			/* a string, which is no secret in a mapping either */
	KS_OPTION_HOSTS,			/* comma-separated host[:port] */
	KS_OPTION_URLS,				/* comma-separated, of schema registries */
	KS_OPTION_PEM,				/* may contain line breaks */
	KS_OPTION_BOOL,
	KS_OPTION_INT,
	KS_OPTION_ENUM
} KsOptionType;

typedef struct KsOption
{
	const char *name;			/* librdkafka's spelling */
	bool		registry;		/* of the schema registry: librdkafka never sees it */
	KsSide		side;
	KsOptionClass class;
	KsOptionPlace place;
	KsOptionType type;
	int			min;			/* KS_OPTION_INT */
	int			max;
	int			unit;			/* bytes per unit if kafka_sink.max_fetch_memory
								 * caps it, or 0 */
	const char *values;			/* KS_OPTION_ENUM: comma-separated */
	const char *why;			/* why not everyone may set it */
	const char *hint;			/* what to do instead, or NULL */
} KsOption;

/* Ends with a NULL name; a '*' at either end of a name stands for anything. */
extern const KsOption ks_options[];

/* By any of its spellings; NULL if unknown. */
extern const KsOption *ks_option_find(const char *name);

/* The spelling that needs no quotes in SQL. */
extern char *ks_option_sql_name(const char *name);

/*
 * All errors of the validator.  Their statement holds the password, so it is
 * kept from the server's log; and so does the context of whoever executes the
 * statement from a function, so there is none.  (Whoever catches the error has
 * his contexts back.)
 */
#define ks_option_error(...) \
	do { \
		error_context_stack = NULL; \
		ereport(ERROR, (errhidestmt(true), __VA_ARGS__)); \
	} while (0)

/*
 * options_value.c: a value as librdkafka gets it, or an error that names the
 * option as 'name' and has no part of the value.
 */
extern char *ks_option_value(const KsOption *opt, const char *name,
							 const char *value);

/* Is every host in a checked list of hosts this machine? */
extern bool ks_option_hosts_local(const char *value);

/* Of a checked list of URLs: is any reached by TLS, is any of those that are not on another machine? */
extern void ks_option_urls_schemes(const char *value, bool *any_tls, bool *any_bare);

/*
 * options_check.c: what the options of a server, or of a user mapping, must be together.
 * 'by' is the role that sets them, or invalid if that was checked before.
 */
extern void ks_options_check_server(const KsConf *conf, Oid by);
extern void ks_options_check_mapping(const KsConf *conf);

/*
 * Errors (28000) unless the role has what the server's SASL mechanism asks
 * for.  Only a superuser may authenticate as the server itself: GSSAPI takes
 * the ticket of its operating-system user, OAUTHBEARER may take its machine's
 * identity.
 */
extern void ks_options_check_credentials(const KsConf *conf, const char *server, Oid role);

#endif
