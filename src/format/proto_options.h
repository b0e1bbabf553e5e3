/*
 * proto_options.h
 *	  Options of a .proto text: what they are called and have for a value.
 */
#ifndef KS_PROTO_OPTIONS_H
#define KS_PROTO_OPTIONS_H

#include "format/proto_tree.h"

typedef struct KsProtoOption
{
	KsProtoWord name;			/* of one plain name; p NULL: of others */
	KsProtoLiteral value;
	KsProtoMeta meta;			/* what it says, if it is one of these */
} KsProtoOption;

/* A name with dots, as one word without what stands between; 'absolute': a dot may be first. */
extern KsProtoWord ks_proto_take_path(KsProtoTokens *t, bool absolute, const char *what);

/* "option name = value;" if that is next. */
extern bool ks_proto_take_option(KsProtoTokens *t, KsProtoOption *option, KsProtoFeatures *features);

/* "[name = value, ...]" if that is next, of which this is called for each. */
typedef void (*KsProtoOptionTaker) (const KsProtoTokens *t, const KsProtoOption *option, void *arg);
extern void ks_proto_take_list(KsProtoTokens *t, KsProtoOptionTaker taker, void *arg, KsProtoFeatures *features);

extern bool ks_proto_option_is_true(const KsProtoOption *option, const char *name);

#endif
