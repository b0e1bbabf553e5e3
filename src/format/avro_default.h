/*
 * avro_default.h
 *	  Defaults of an Avro schema's fields as the defaults of columns.
 */
#ifndef KS_AVRO_DEFAULT_H
#define KS_AVRO_DEFAULT_H

#include "format/avro_schema.h"

/*
 * A default of a type as text that a column of the PostgreSQL type reads, in the current
 * context.  NULL: it is null, it is none of the type, or it has no such text.
 */
extern char *ks_avro_default(const KsAvroNode *node, const KsJsonToken *tok, Oid typid);

/*
 * The value of a string, without characters of code 0; as it stands in the schema if it
 * has what the server's encoding has not.
 */
extern char *ks_avro_word(const KsJsonToken *tok);

#endif
