/*
 * funcs_schema.h
 *	  Schemas of registries in sessions.
 */
#ifndef KS_FUNCS_SCHEMA_H
#define KS_FUNCS_SCHEMA_H

#include "kafka/options.h"
#include "write/apply.h"

/*
 * After ks_apply(), for the record evolution.at: alters its target, in a transaction of
 * the session's; then it is called again.  False: *err says why it cannot be.
 */
extern bool ks_schemas_evolve(KsApply *ap, KsRecordError *err);

/* ks_apply(), in a transaction of the session's in which schemas may be fetched, and
 * targets altered. */
extern int	ks_schemas_apply(KsApply *ap, const KsRecord *recs, int n, KsPartition *parts, int nparts,
							 KsRecordError *err);

/* In one in which they may not: errors (55000) for those that ks_apply() has found to be unknown. */
KS_NORETURN extern void ks_schemas_refuse_unknown(const KsApply *ap);

/*
 * The newest schema of a subject of the server's registry, asked with the options of
 * the role; false: the registry has no such subject.
 */
extern bool ks_schemas_newest(const char *server, const KsConf *conf, const char *subject,
							  KsSchemaId *id, int *version, KsSchemaText *text);

/*
 * What versions of a subject before the newest one are, the newer ones first, and no more
 * than 'max' of them; text NULL: why it cannot be had.  The text, and what else is in 'cxt',
 * is gone with the next one.  False: there are more.
 */
typedef void (*KsVersionTaker) (int version, const KsSchemaText *text, const char *why, MemoryContext cxt, void *arg);
extern bool ks_schemas_before(const char *server, const KsConf *conf, const char *subject, int newest,
							  int max, KsVersionTaker take, void *arg);

#endif
