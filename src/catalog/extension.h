/*
 * extension.h
 *	  The extension's own schema, tables and views, and who they belong to.
 *
 * They are found by their membership in the extension.  The schema's name alone
 * says nothing: whoever may create schemas can make one of that name, before the
 * extension comes or when its schema has been renamed.  Statements that name
 * "kafka_sink.something" are run after ks_extension_check().
 */
#ifndef KS_EXTENSION_H
#define KS_EXTENSION_H

#include "postgres.h"

/* What statements of ours name; test/floors compares.  The order of names[]. */
typedef enum KsRelation
{
	KS_SINK_CATALOG, KS_TOPIC_CATALOG, KS_TXN_OFFSETS, KS_SINK_STATE, KS_TOPIC_STATE,
	KS_PARTITION_ENDS, KS_FILLED_COLUMNS, KS_OFFSET_HISTORY, KS_SINK_HISTORY, KS_DEAD_LETTERS, KS_SINKS,
	KS_SINK_TOPICS, KS_LAG, KS_SCHEMAS, KS_DDL_HISTORY, KS_DUMP, KS_FEED_CATALOG, KS_FEED_SECRETS, KS_FEED_GRANTS,
	KS_FEED_STATE, KS_FEED_PROGRESS, KS_FEED_COPIES, KS_FEEDS
} KsRelation;

#define KS_NRELATIONS	(KS_FEEDS + 1)

/* Does the extension exist in this database? */
extern bool ks_extension_exists(void);

/* Another number when it may have changed since it was asked for; 0: it may have now. */
extern uint32 ks_extension_serial(void);

/*
 * Errors (42704) if it does not, and (55000) unless schema and relations are its
 * own and belong to superusers.  Costs nothing while nothing changes.
 */
extern void ks_extension_check(void);

/* The same as a question: for what must not fail because of us. */
extern bool ks_extension_is_sound(void);

/* The same, and what was asked for. */
extern Oid	ks_extension_schema(void);
extern Oid	ks_extension_relation(KsRelation which);

/* Is it a member of the extension, whatever it is? */
extern bool ks_extension_has_relation(Oid relid);

/* Who the tables belong to: whoever the sinks' table belongs to. */
extern Oid	ks_extension_tables_owner(void);

/* A type of the extension's that was created as one, by name. */
extern Oid	ks_extension_type(const char *name);

#endif
