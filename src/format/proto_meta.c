/*
 * proto_meta.c
 *	  What Kafka Connect, and who documents data, say in options of a .proto text.
 *
 * Confluent's options field_meta and message_meta are a text and a list of parameters:
 *
 *	  confluent.type.Decimal price = 1 [(confluent.field_meta) = {
 *	    doc: "in euros", params: [ { value: "2", key: "scale" }, { value: "10", key: "precision" } ] }];
 *
 * Connect's ProtobufConverter writes precision and scale of its decimals there, and
 * "connect.type" (int8, int16) of what is an int32 here for want of a smaller type.  Dates,
 * times and timestamps are messages that say so by themselves; names of other types, such
 * as Debezium's, it does not write at all.
 *
 * Nothing in there is an error: who does not know the options passes over them.
 */
#include "postgres.h"

#include "format/proto_literals.h"
#include "format/proto_meta.h"

#define MAX_DIGITS	6			/* of a number in a parameter */

bool
ks_proto_is_meta(const KsProtoWord *name)
{
	KsProtoWord word = *name;

	if (word.len > 0 && *word.p == '.')
	{
		word.p++;
		word.len--;
	}
	return ks_proto_word_is(&word, "confluent.field_meta") || ks_proto_word_is(&word, "confluent.message_meta");
}

/* --- parameters --- */

/* -1: it is none. */
static int
number_of(const char *text)
{
	int			len = strlen(text);

	return len >= 1 && len <= MAX_DIGITS && strspn(text, "0123456789") == (Size) len ? atoi(text) : -1;
}

static void
use_parameter(KsProtoMeta *meta, const char *key, const char *value)
{
	if (strcmp(key, "precision") == 0)
		meta->precision = Max(number_of(value), 0);
	else if (strcmp(key, "scale") == 0)
		meta->scale = number_of(value);
	else if (strcmp(key, "connect.type") == 0)
		meta->connect_type = strcmp(value, "int8") == 0 ? "int8" : strcmp(value, "int16") == 0 ? "int16" : NULL;
}

/* --- values --- */

/* Where in a value: level 1 has the fields of the option, 2 those of a parameter. */
typedef struct Place
{
	int			level;
	KsProtoWord field;			/* of the option, */
	KsProtoWord inner;			/* and of a parameter */
	char	   *key;
	char	   *value;
} Place;

static void
take_text(KsProtoTokens *t, Place *at, KsProtoMeta *meta)
{
	int			len;
	char	   *text = ks_proto_take_string(t, "a string", &len);

	if ((int) strlen(text) != len)
		return;
	if (at->level == 1 && ks_proto_word_is(&at->field, "doc"))
		meta->doc = text;
	else if (at->level == 2 && ks_proto_word_is(&at->inner, "key"))
		at->key = text;
	else if (at->level == 2 && ks_proto_word_is(&at->inner, "value"))
		at->value = text;
}

static void
end_level(Place *at, KsProtoMeta *meta)
{
	if (--at->level != 1)
		return;
	if (at->key && at->value && ks_proto_word_is(&at->field, "params"))
		use_parameter(meta, at->key, at->value);
	at->key = at->value = NULL;
}

void
ks_proto_take_meta(KsProtoTokens *t, const KsProtoWord *part, KsProtoMeta *meta)
{
	Place		at = {.level = part ? 1 : 0};
	int			line = t->word.line;
	int			open = 0;

	if (part)
		at.field = *part;
	do
	{
		(void) ks_proto_accept(t, "-");
		if (t->type == KS_PROTO_TOKEN_END)
			ks_proto_bad(t->file, line, "The value that begins there with \"{\" does not end.");
		if (t->type == KS_PROTO_TOKEN_STRING)
		{
			take_text(t, &at, meta);
			continue;
		}
		if (t->type == KS_PROTO_TOKEN_NAME && at.level == 1 && open > 0)
			at.field = t->word;
		else if (t->type == KS_PROTO_TOKEN_NAME && at.level == 2)
			at.inner = t->word;
		else if (ks_proto_at(t, "{") || ks_proto_at(t, "<"))
		{
			at.level++;
			open++;
		}
		else if (ks_proto_at(t, "}") || ks_proto_at(t, ">"))
		{
			end_level(&at, meta);
			open--;
		}
		else if (ks_proto_at(t, "["))
			open++;
		else if (ks_proto_at(t, "]"))
			open--;
		ks_proto_next(t);
	} while (open > 0);
}

void
ks_proto_merge_meta(KsProtoMeta *meta, const KsProtoMeta *other)
{
	if (other->doc)
		meta->doc = other->doc;
	if (other->connect_type)
		meta->connect_type = other->connect_type;
	if (other->precision > 0)
		meta->precision = other->precision;
	if (other->scale != 0)
		meta->scale = other->scale;
}
