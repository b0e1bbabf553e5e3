/*
 * funcs.h
 *	  What set-returning functions that ask Kafka share (funcs_kafka.c).
 */
#ifndef KS_FUNCS_H
#define KS_FUNCS_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/timestamp.h"

/* A positive interval in milliseconds; a month counts 30 days. */
extern int	ks_timeout_ms(const Interval *timeout);

/* A tuplestore for the result of a set-returning function. */
extern ReturnSetInfo *ks_materialize(FunctionCallInfo fcinfo);

#endif
