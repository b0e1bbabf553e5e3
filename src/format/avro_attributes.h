/*
 * avro_attributes.h
 *	  What the objects of an Avro schema say: the tokens of its JSON.
 */
#ifndef KS_AVRO_ATTRIBUTES_H
#define KS_AVRO_ATTRIBUTES_H

#include "format/avro_schema.h"
#include "format/json.h"

/* Those that are not there have no p. */
typedef struct KsAvroAttributes
{
	KsJsonToken type;
	KsJsonToken name;
	KsJsonToken namespace;
	KsJsonToken aliases;
	KsJsonToken fields;
	KsJsonToken symbols;
	KsJsonToken items;
	KsJsonToken values;
	KsJsonToken size;
	KsJsonToken logical;
	KsJsonToken precision;
	KsJsonToken scale;
	KsJsonToken connect_name;	/* Kafka Connect's logical type, */
	KsJsonToken connect_parameters; /* and what belongs to it */
	KsJsonToken connect_type;	/* int8 and int16, for which Avro has no type */
	KsJsonToken doc;
	KsJsonToken default_value;
} KsAvroAttributes;

extern void ks_avro_read_attributes(const KsJsonToken *object, KsAvroAttributes *a);

/* The text of an object or an array, to walk through. */
extern KsJson ks_avro_inside(const KsJsonToken *tok);

/* The value of a string; NULL: it is none. */
extern char *ks_avro_string_of(const KsJsonToken *tok);

/* A number of digits alone; -1: it is none, or too large. */
extern int	ks_avro_int_of(const KsJsonToken *tok);

/* How many elements an array has. */
extern int	ks_avro_count_elements(const KsJsonToken *array);

/* The logical type, if it fits; its size is known. */
extern void ks_avro_set_logical(KsAvroNode *node, const KsAvroAttributes *a);

#endif
