/*
 * proto_runs.h
 *	  Where the fields of a Protobuf message are.
 */
#ifndef KS_PROTO_RUNS_H
#define KS_PROTO_RUNS_H

#include "format/proto_read.h"

/*
 * Adds those of a message's fields to the reader's runs, in the order of the schema, but
 * for those that are left out (NULL: none).  The caller forgets them again.
 */
extern void ks_proto_list_runs(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value,
							   const bool *left_out);

/*
 * All runs of the field of the run at 'i' as one, in *buffer (to be freed; NULL: not
 * needed) if they had to be put together: i becomes the one behind them.
 */
extern void ks_proto_join_runs(KsProtoReader *r, int *i, KsProtoRun *joined, char **buffer);

#endif
