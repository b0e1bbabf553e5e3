/*
 * command.h
 *	  A sink's command: statements over the relation "batch", and the filter.
 */
#ifndef KS_COMMAND_H
#define KS_COMMAND_H

#include "format/decode.h"
#include "write/apply.h"
#include "write/target_build.h"

/* --- command.c --- */

/* Columns of "batch" and the statements, checked, into a target without table. */
extern void ks_command_build(KsTarget *target, const KsSink *sink);

extern void ks_command_free(KsTarget *target);

/* Says what can be done about an error of SQL text that a sink's owner wrote: a
 * command or its filter, or the filter of a target. */
extern void ks_command_explain(ErrorData *edata, bool has_command);

/* --- command_columns.c --- */

/* The metadata of a record that columns of "batch" hold. */
#define KS_NMETADATA	6
typedef struct KsMetadata
{
	const char *name;
	KsColumnSource source;
} KsMetadata;

extern const KsMetadata ks_metadata[KS_NMETADATA];
extern Oid	ks_metadata_type(int i);

/* The columns of "batch", of which none is used yet. */
extern void ks_command_build_columns(KsTarget *target, const KsSink *sink);

/* --- filter.c --- */

/* Columns that the filter reads are marked as used. */
extern struct KsFilter *ks_filter_build(KsTarget *target, const KsSink *sink);

/* A predicate and nothing behind it, as the parser makes it. */
extern Node *ks_filter_parse(const char *text, const char *what);

/* Has nothing changed that it depends on? */
extern bool ks_filter_valid(const struct KsFilter *filter);

/* When it is evaluated. */
extern KsWhen ks_filter_when(const struct KsFilter *filter);

/*
 * Does it read the type that the record tells?  And nothing else of rows, with the record?  And
 * nothing else at all?
 */
extern bool ks_filter_reads_type(const struct KsFilter *filter);
extern bool ks_filter_is_by_type(const struct KsFilter *filter);
extern bool ks_filter_is_of_type(const struct KsFilter *filter);

/* Its state anew, in the current context: after an error, or before the first time. */
extern void ks_filter_begin(struct KsFilter *filter);

extern bool ks_filter_passes(struct KsFilter *filter, KsDecoder *decoder, const KsRecord *rec,
							 const KsPartition *part, const Datum *values, const bool *isnull);

#endif
