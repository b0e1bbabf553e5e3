/*
 * schema_fetch.h
 *	  Fetches schemas from a server's registry into kafka_sink.schemas.
 */
#ifndef KS_SCHEMA_FETCH_H
#define KS_SCHEMA_FETCH_H

#include "nodes/pg_list.h"

#include "format/schemas.h"
#include "kafka/options.h"

typedef struct KsSchemaFetcher
{
	const char *server;
	const KsConf *conf;			/* of whoever asks */
	struct KsRegistry *registry;	/* NULL: not opened yet; as long as ... */
	MemoryContext cxt;			/* ... this */
	void		(*begin) (void);	/* transaction and snapshot of what is stored; */
	void		(*commit) (void);	/* NULL: the caller's */
	void		(*idle) (void *arg);	/* now and then while the registry is waited for */
	void	   *arg;
	bool		serving;		/* set by that: what is thrown now is no registry's error */
} KsSchemaFetcher;

/*
 * Those of the list (KsSchemaId *) are stored, or noted as absent, from the first on; if that
 * takes long not all of them.  Errors of the registry's (registry.h) leave those before it,
 * and others, if it is one of a schema only.
 * With begin and commit outside a transaction.
 */
extern void ks_schemas_fetch(KsSchemaFetcher *f, List *ids);

/*
 * Has the registry another schema by that id now than the one that was fetched?  Errors of
 * the registry's.
 */
extern bool ks_schemas_fetch_differs(KsSchemaFetcher *f, const KsSchemaId *id);

/* What is said of that: with the id, and the server's name as a literal. */
#define KS_SCHEMA_DIFFERS "schema %s is another one in the registry than in kafka_sink.schemas"
#define KS_SCHEMA_DIFFERS_DETAIL "The registry was set up anew, or restored from a backup, and has given the id again.  Records are read by what was fetched before."
#define KS_SCHEMA_DIFFERS_HINT "DELETE FROM kafka_sink.schemas WHERE server = %s AND registry <> '', as the extension's owner, and let the server's sinks begin anew with pause() and resume()."

/*
 * The newest schema of a subject is stored, by its id; false: the registry has no such
 * subject.  In the same manner.
 */
extern bool ks_schemas_fetch_newest(KsSchemaFetcher *f, const char *subject, KsSchemaId *id, int *version);

/* (Errors, 55000, of both: by its id another one was fetched before.) */

/* The numbers of its versions, in any order; and one of these: NULL, or why it cannot be had. */
extern List *ks_schemas_fetch_versions(KsSchemaFetcher *f, const char *subject);
extern const char *ks_schemas_fetch_version(KsSchemaFetcher *f, const char *subject, int version, KsSchemaId *id);

#endif
