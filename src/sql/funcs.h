/*
 * funcs.h
 *	  What functions that ask Kafka share (funcs_kafka.c), and procedures that
 *	  commit as they go (funcs_call.c).
 */
#ifndef KS_FUNCS_H
#define KS_FUNCS_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "catalog/sinks.h"
#include "kafka/source.h"

/* A positive interval in milliseconds, at least 1; errors (22023) if it is out of range. */
extern int	ks_timeout_ms(const Interval *timeout);

/* A tuplestore for the result of a set-returning function. */
extern ReturnSetInfo *ks_materialize(FunctionCallInfo fcinfo);

/* --- functions that only look at records (funcs_kafka.c) --- */

#define KS_LOOK_CHUNK	512		/* records that are read at once */

/* Errors (22023) if it is no number of records that may be asked for. */
extern void ks_look_check_count(const char *name, int n);

/* What KsSourceOptions has for so many records. */
extern int32 ks_look_answer_bytes(int n);

/* When a timeout that begins now is over. */
extern TimestampTz ks_look_deadline(const Interval *timeout);

/* --- ends of partitions (funcs_lag.c) --- */

/* A client that sees last stable offsets, or with read_uncommitted the high
 * watermarks, as KS_OFFSET_LATEST. */
extern KsSource *ks_lag_open_source(const KsSink *sink, const KsConf *conf, bool read_uncommitted,
									MemoryContext cxt);

/* --- procedures --- */

/* Errors (2D000) in a transaction block. */
extern void ks_call_require_nonatomic(FunctionCallInfo fcinfo, const char *name);

/* The first argument; errors (22004) if it is NULL. */
extern char *ks_call_sink(FunctionCallInfo fcinfo);

/* The end of a timeout argument; 0: none; errors (22023) if it is out of range. */
extern TimestampTz ks_call_deadline(FunctionCallInfo fcinfo, int arg);

/* For a call that waits for a broker, in ms: no longer than the caller wants. */
extern int	ks_call_broker_timeout(TimestampTz deadline);

/* Errors (57014) after the deadline; 0: never.  'detail' or NULL. */
extern void ks_call_check_deadline(TimestampTz deadline, const char *sink, const char *detail);

/* Errors as what has halted a sink, one of its topics, or a feed. */
KS_NORETURN extern void ks_call_raise_halted(const char *what, const KsStateError *e);

/* A snapshot, and settings that decide what values mean; SPI is connected. */
extern void ks_call_begin(void);
extern void ks_call_commit(void);

#endif
