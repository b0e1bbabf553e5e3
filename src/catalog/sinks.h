/*
 * sinks.h
 *	  Rows of the extension's tables as structs, and the tables' owner.
 *
 * The tables grant nothing (but SELECT on txn_offsets): every access runs
 * between ks_catalog_enter() and ks_catalog_leave(), which switch to the
 * tables' owner around that access alone.  An error restores the user by
 * (sub)transaction abort.
 */
#ifndef KS_SINKS_H
#define KS_SINKS_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "catalog/reject_limit.h"
#include "format/format.h"

/* What one worker has said last: its row of sink_state. */
typedef struct KsWorkerState
{
	int			worker;
	char	   *state;
} KsWorkerState;

/* May a target be altered for schemas of records? */
typedef enum KsEvolve
{
	KS_EVOLVE_NONE,
	KS_EVOLVE_ADD,				/* columns are added */
	KS_EVOLVE_WIDEN				/* and types become larger */
} KsEvolve;

/* Names of sinks and topics, and settings, as the catalog has them. */
typedef struct KsSink
{
	char	   *name;
	Oid			owner;
	char	   *server;			/* NULL: no broker (ingest only, or a ledger) */
	Oid			target;			/* InvalidOid: a command, or a ledger */
	KsInsertMode insert_mode;
	Jsonb	   *columns;		/* NULL: every column from its own name */
	List	   *pk_fields;		/* of char *; NIL: the primary key */
	KsFormat	key_format;
	bool		delete_enabled;
	bool		tombstone_ignore;
	bool		strip_nul;
	bool		refuse_nonfinite;
	bool		read_uncommitted;
	char	   *synchronous_commit;
	int			batch_records;
	int			batch_bytes;
	int			batch_linger_ms;
	int			max_record_bytes;
	int			workers;		/* partition p is of worker p mod workers */
	char	   *command;		/* instead of a target; NULL: none */
	Oid			value_type;		/* of the command's relation; InvalidOid: jsonb */
	char	   *filter;			/* NULL: all records */
	char	   *update_if;		/* NULL: always */
	Jsonb	   *accumulate;		/* column: how; NULL: not KS_ACCUMULATE */
	KsOnError	on_error;
	KsRejectLimit reject_limit;
	Interval   *dead_letter_retention;	/* NULL: for ever */
	KsFormat	format;
	KsEnvelope	envelope;
	char		csv_delimiter;
	char		csv_quote;		/* '\0': none */
	char	   *csv_null;		/* what stands for NULL, if not quoted */
	char	   *value_schema;	/* of a format by schemas; NULL: none */
	char	   *key_schema;
	KsFraming	framing;
	bool		framing_given;	/* it is not left to the format */
	char	   *message_type;	/* the message of value_schema in Protobuf; NULL: none */
	bool		validate;		/* values are checked by their JSON schema */
	KsEvolve	evolve;
	bool		strict;			/* a field that no column takes is an error */
	int64		retry_within_us;	/* a foreign key's row may come so much later */
	bool		halt_as_a_whole;	/* on_topic_error => 'halt_sink' */
	int64		lock_timeout_us;	/* a batch waits so long for a lock; 0: for ever */
	int64		idle_after_us;	/* a worker with nothing to do leaves then; 0: never */
	int64		statistics_us;	/* interval of librdkafka's statistics; 0: by partitions */
	bool		topic_targets;	/* a topic has a target of its own */
	const char *topic;			/* whose settings these are; NULL: the sink's own */
	bool		enabled;
	int64		generation;		/* begins at the time of creation, +1 by each
								 * change that a worker must see */
	bool		suspended;		/* stored identity is not this database's */
	KsWorkerState *states;		/* of those that have said something */
	int			nstates;
	bool		halted;			/* a worker is: all are to stop until resume() */
} KsSink;

/* One registered topic. */
typedef struct KsTopic
{
	char	   *topic;
	char	   *partitions;		/* NULL: all; else '0-15,20' */
	char	   *start_at;
	char	   *cluster_id;		/* NULL: not yet known */

	/* instead of the sink's target or command, if target is valid */
	Oid			target;
	char	   *insert_mode;	/* NULL: the sink's */
	Jsonb	   *columns;
	List	   *pk_fields;
	char	   *filter;
	char	   *update_if;
	Jsonb	   *accumulate;
	char	   *value_schema;
	char	   *key_schema;
	char	   *framing;
	char	   *message_type;
	bool		validate;
	bool		validate_given;
	char	   *evolve;

	bool		halted;			/* alone: workers leave it out until resume() */
} KsTopic;

typedef struct KsCatalogUser
{
	Oid			userid;
	int			sec_context;
} KsCatalogUser;

/* Does it write anything itself, or is it a ledger? */
#define ks_sink_writes(sink) (ks_sink_writes_by_default(sink) || (sink)->topic_targets)

/* Is there a place for records of topics without a target of their own? */
#define ks_sink_writes_by_default(sink) (OidIsValid((sink)->target) || (sink)->command != NULL)

/* May it have rows without the values of some columns, which stay as they are? */
#define ks_sink_patches(sink) \
	((sink)->envelope == KS_DEBEZIUM && (sink)->insert_mode == KS_UPSERT)

/* Of several records of a key, does the last one alone count? */
#define ks_sink_last_counts(sink) ((sink)->insert_mode == KS_UPSERT && (sink)->update_if == NULL)

/* What its decoders have to know; borrows the sink's texts. */
extern KsFormatSettings ks_catalog_format(const KsSink *sink);

extern void ks_catalog_enter(KsCatalogUser *save);
extern void ks_catalog_leave(const KsCatalogUser *save);

/* Runs a statement as the tables' owner, which sees what this command has done
 * before; SPI is connected by the caller. */
extern void ks_catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls);

/* Its i-th parameter: a text, or NULL. */
extern void ks_catalog_set_text(Datum *values, char *nulls, int i, const char *s);

/* NULL if there is none and missing_ok; in the current context. */
extern KsSink *ks_catalog_sink(const char *name, bool missing_ok);
extern List *ks_catalog_topics(const char *sink);	/* List of KsTopic * */
extern bool ks_topic_has_partition(const KsTopic *topic, int32 part);

/* The sink as it writes the records of a topic that has a target of its own;
 * shares what it points to. */
extern KsSink *ks_catalog_topic_sink(const KsSink *sink, const KsTopic *topic);

/* Errors (42602) unless a sink or feed (kind), or a topic of Kafka's, can have this name. */
extern void ks_catalog_check_name(const char *kind, const char *name);
extern void ks_catalog_check_topic(const char *topic);

/* Errors (22023) unless the list is NULL or of the form 0-15,20. */
extern void ks_catalog_check_partitions(const char *list);

/*
 * Is this still the definition?  Holds it unchanged until the transaction's
 * end if so.
 */
extern bool ks_catalog_is_current(const KsSink *sink);

/*
 * Is it, as far as is committed now?  Who has locked rows of txn_offsets knows by this
 * that they are not those of another sink, that has got the name and perhaps the
 * offsets meanwhile.  Cheap, for each batch.
 */
extern bool ks_catalog_is_unchanged(const KsSink *sink);

/* Errors (42501) unless the current user has the privileges of the sink's owner,
 * or with 'exactly' is the owner. */
extern void ks_catalog_check_owner(const KsSink *sink, bool exactly);

/* The same for those who say what the owner's code is: they may become the owner, too. */
extern void ks_catalog_check_definer(const KsSink *sink);

/* Errors (55000) unless the sink has something to write to. */
extern void ks_catalog_check_writes(const KsSink *sink);

/* Errors (55000) unless it has something to read from, too, and a place for it. */
extern void ks_catalog_check_consumes(const KsSink *sink, List *topics);

/* The server's lock_timeout for a batch: 0 is for ever. */
static inline int
ks_sink_lock_ms(const KsSink *sink)
{
	/* less than 1 ms is not */
	return (int) Min((sink->lock_timeout_us + 999) / 1000, PG_INT32_MAX);
}

/*
 * Writes a sink's state ('starting', 'running', 'waiting', 'backoff', 'halted',
 * 'suspended') for one worker; NULL error: cleared.  In a transaction of the
 * caller's, who broadcasts the sink's CV after its commit.
 */
typedef struct KsStateError
{
	int			sqlstate;
	const char *message;
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
	const char *topic;			/* or NULL */
	int32		part;			/* of the topic; -1: of none, or all of them */
	int64		off;			/* -1: none */
	const char *column;			/* or NULL */
	const char *waits_for;		/* in the state waiting: lock, disk, broker, server, topic, ... */
	bool		of_sink;		/* the topic is but where it was met: it halts the sink */
	const char *halted_by;		/* another topic, whose error it is, or NULL */
	TimestampTz since;			/* the state began then; 0: now */
} KsStateError;

extern void ks_catalog_set_state(const char *sink, int worker,
								 const char *state, const KsStateError *error);

/* The state of one worker, NULL if it has said nothing yet. */
extern const char *ks_sink_worker_state(const KsSink *sink, int worker);

/*
 * Halts the topics of these errors, of which the sink's workers are started anew
 * without them, or, if 'whole', the sink because of the last error and the
 * topics of the others alone.  Does nothing and returns false if the sink was
 * changed since it was read: the error may be mended by that.  Waits for whoever
 * is changing it.  In a transaction of the caller's, who notes the change
 * (ks_shmem_note_change()) and broadcasts the sink's CV after its commit.
 */
extern bool ks_catalog_halt(const KsSink *sink, int worker, const KsStateError *errors, int n, bool whole);

/* A sink none of whose topics would go on is halted as a whole. */
extern void ks_catalog_halt_if_all_topics_are(const char *sink);

/*
 * The error behind the sink's state (see the view sinks) or, with a topic, the
 * one that has halted that topic; NULL if there is none.  The state goes to
 * *state, which may be NULL as in the view.
 */
extern KsStateError *ks_catalog_read_error(const char *sink, const char *topic, const char **state);

/* The same for a feed (see the view feeds). */
extern KsStateError *ks_catalog_read_feed_error(const char *feed, const char **state);

/* What a partition's log says when it is not what was expected. */
#define KS_LOG_DELETED		"records were deleted before they were consumed"
#define KS_LOG_REPLACED		"the log is not the one that was consumed"
#define KS_LOG_TRUNCATED	"the log ends before the stored offset"

/* The errors with a place (topic, part, off) that have halted the sink or topics
 * of it, by place; of each place one. */
extern KsStateError *ks_catalog_halted_places(const char *sink, int *n);

/* Forgets the states, of this worker and those behind it, that only a running
 * worker can be in; does nothing if the sink has none. */
extern void ks_catalog_clear_states(const KsSink *sink, int from_worker);

#endif
