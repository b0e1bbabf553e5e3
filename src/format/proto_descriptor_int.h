/*
 * proto_descriptor_int.h
 *	  What descriptors are read and written with.
 */
#ifndef KS_PROTO_DESCRIPTOR_INT_H
#define KS_PROTO_DESCRIPTOR_INT_H

#include "lib/stringinfo.h"

#include "format/proto_read.h"

/* Of FieldDescriptorProto. */
typedef struct KsProtoFieldParts
{
	KsProtoValue name;
	KsProtoValue type_name;		/* of messages and enums, with a dot before */
	KsProtoValue fallback;		/* its default; len -1: none */
	KsProtoValue json_name;		/* len -1: none */
	KsProtoValue options;
	int			number;
	int			label;			/* 2: required, 3: repeated */
	int			type;
	int			oneof;			/* -1: none */
	bool		optional;		/* proto3's word */
} KsProtoFieldParts;

typedef struct KsProtoPrinter
{
	KsProtoReader r;
	StringInfoData out;
	StringInfoData scope;		/* the full name of what is around, with a dot before */
	bool		proto3;
	bool		edition;
	int64		before;			/* bytes of the files that are written */
	int64	   *work;			/* what was looked at, see KS_PROTO_MAX_WORK */
} KsProtoPrinter;

/* A small descriptor can name one message in many groups, and any message in many fields. */
#define KS_PROTO_MAX_WORK	INT64CONST(200000000)

/* Errors (54000) if that is more than a schema takes. */
extern void ks_proto_count_work(const KsProtoPrinter *p, int64 amount);

/* A number, or bytes, and its field's; false at the end. */
extern bool ks_proto_next_part(KsProtoReader *r, int *number, KsProtoValue *value);

/* A reader of what is inside of a value. */
extern KsProtoReader ks_proto_inside(const KsProtoPrinter *p, const KsProtoValue *value);

/* The last value of that number; false if there is none. */
extern bool ks_proto_find_part(const KsProtoPrinter *p, const KsProtoValue *message, int number, KsProtoValue *result);

extern KsProtoFieldParts ks_proto_read_field(const KsProtoPrinter *p, const KsProtoValue *descriptor);

extern void ks_proto_put(KsProtoPrinter *p, const KsProtoValue *text);
extern void ks_proto_put_type(KsProtoPrinter *p, const KsProtoFieldParts *f);

/* What stands in [] behind a field, if anything does. */
extern void ks_proto_put_options(KsProtoPrinter *p, const KsProtoFieldParts *f);

/* What options of this say of an edition's features, each as an option of its own.  number: their field. */
extern void ks_proto_put_features(KsProtoPrinter *p, const KsProtoValue *options, int number);

/* "option (confluent.message_meta) = ...;", if a message's options have that. */
extern void ks_proto_put_message_meta(KsProtoPrinter *p, const KsProtoValue *options);

extern void ks_proto_put_enum(KsProtoPrinter *p, const KsProtoValue *descriptor);

#endif
