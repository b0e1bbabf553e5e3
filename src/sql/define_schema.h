/*
 * define_schema.h
 *	  Settings that say by which schemas a sink, or a topic of its own, reads records.
 */
#ifndef KS_DEFINE_SCHEMA_H
#define KS_DEFINE_SCHEMA_H

#include "catalog/sinks.h"

/* Errors (22023, and those of the schemas) if they lack or exclude each other. */
extern void ks_define_check_schemas(const KsSink *sink);

#endif
