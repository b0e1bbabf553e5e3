/*
 * proto_options.c
 *	  Options of a .proto text: what they are called and have for a value.
 *
 * Nearly all of them mean nothing for reading records, so that their names need
 * not be known: custom options come with imports of their own, and are passed over,
 * but for those that proto_meta.c reads.
 */
#include "postgres.h"

#include "format/proto_literals.h"
#include "format/proto_meta.h"
#include "format/proto_options.h"

KsProtoWord
ks_proto_take_path(KsProtoTokens *t, bool absolute, const char *what)
{
	KsProtoWord path = t->word;
	const char *end = path.p;	/* of what stands side by side */

	resetStringInfo(&t->buf);
	for (;;)
	{
		bool		dot = ks_proto_at(t, ".");

		/* a name, or a dot before or behind one */
		if (dot ? !absolute : t->type != KS_PROTO_TOKEN_NAME)
			ks_proto_unexpected(t, what);
		if (end == t->word.p)
			end += t->word.len;
		appendBinaryStringInfo(&t->buf, t->word.p, t->word.len);
		ks_proto_next(t);
		if (!dot && !ks_proto_at(t, "."))
			break;
		absolute = !dot;
	}
	path.len = t->buf.len;
	if (end - path.p < path.len)
		path.p = pnstrdup(t->buf.data, t->buf.len);
	return path;
}

/* --- features --- */

static const struct
{
	const char *name;
	const char *values[3];
	size_t		offset;
}			features_known[] = {
	{"field_presence", {"EXPLICIT", "IMPLICIT", "LEGACY_REQUIRED"}, offsetof(KsProtoFeatures, presence)},
	{"enum_type", {"OPEN", "CLOSED"}, offsetof(KsProtoFeatures, enum_type)},
	{"message_encoding", {"LENGTH_PREFIXED", "DELIMITED"}, offsetof(KsProtoFeatures, encoding)}
};

/* Those that change what bytes mean; others are passed over. */
static void
set_feature(const KsProtoTokens *t, KsProtoFeatures *features, const KsProtoWord *name, const KsProtoWord *value)
{
	if (!t->editions)
		ks_proto_bad(t->file, name->line, "Features are of editions, not of proto2 and proto3.");
	for (int i = 0; i < (int) lengthof(features_known); i++)
	{
		if (!ks_proto_word_is(name, features_known[i].name))
			continue;
		for (int v = 0; v < (int) lengthof(features_known[i].values) && features_known[i].values[v]; v++)
			if (ks_proto_word_is(value, features_known[i].values[v]))
			{
				*(int *) ((char *) features + features_known[i].offset) = v + 1;
				return;
			}
		ks_proto_bad(t->file, name->line,
					 psprintf("The feature \"%s\" has a value that is unknown.", features_known[i].name));
	}
}

/* --- values --- */

/*
 * { ... }: only what is closed counts.  With 'features', pairs of a name and a name in it are
 * some.  Or a list, which protoc reads in no option, but Confluent's registry writes.
 */
static void
skip_aggregate(KsProtoTokens *t, KsProtoFeatures *features)
{
	int			depth = 0;
	int			line = t->word.line;
	char		begin = *t->word.p;
	KsProtoWord name = {0};

	do
	{
		if (t->type == KS_PROTO_TOKEN_END)
			ks_proto_bad(t->file, line, psprintf("The value that begins there with \"%c\" does not end.", begin));
		if (t->type == KS_PROTO_TOKEN_NAME && depth == 1 && features)
		{
			if (name.p)
			{
				set_feature(t, features, &name, &t->word);
				name.p = NULL;
			}
			else
				name = t->word;
		}
		else if (!ks_proto_at(t, ":"))
			name.p = NULL;
		if (ks_proto_at(t, "{") || ks_proto_at(t, "["))
			depth++;
		else if (ks_proto_at(t, "}") || ks_proto_at(t, "]"))
			depth--;
		ks_proto_next(t);
	} while (depth > 0);
}

static void
read_value(KsProtoTokens *t, KsProtoLiteral *value, KsProtoFeatures *features)
{
	value->minus = ks_proto_accept(t, "-");
	value->type = t->type;
	value->word = t->word;
	value->bytes = NULL;
	value->len = 0;
	switch (t->type)
	{
		case KS_PROTO_TOKEN_NAME:
			if (value->minus && !ks_proto_at(t, "inf") && !ks_proto_at(t, "nan"))
				ks_proto_unexpected(t, "a number");
			ks_proto_next(t);
			return;
		case KS_PROTO_TOKEN_INTEGER:
		case KS_PROTO_TOKEN_REAL:
			ks_proto_next(t);
			return;
		case KS_PROTO_TOKEN_STRING:
			if (value->minus)
				ks_proto_unexpected(t, "a number");
			value->bytes = ks_proto_take_string(t, "a string", &value->len);
			return;
		default:
			if (value->minus || (!ks_proto_at(t, "{") && !ks_proto_at(t, "[")))
				ks_proto_unexpected(t, "a value");
			skip_aggregate(t, features);
	}
}

/* --- options --- */

/* One part of a name; of extensions p is NULL. */
static KsProtoWord
take_part(KsProtoTokens *t, bool *is_meta)
{
	KsProtoWord word = {.line = t->word.line};
	KsProtoWord path;

	*is_meta = false;
	if (!ks_proto_accept(t, "("))
		return ks_proto_take_name(t, "the name of an option");
	path = ks_proto_take_path(t, true, "the name of an option");
	*is_meta = ks_proto_is_meta(&path);
	ks_proto_expect(t, ")");
	return word;
}

/* "name = value"; features go to where they belong. */
static void
read_option(KsProtoTokens *t, KsProtoOption *option, KsProtoFeatures *features)
{
	bool		is_meta;
	bool		ignored;
	KsProtoWord first = take_part(t, &is_meta);
	KsProtoWord second = {0};
	bool		is_features = ks_proto_word_is(&first, "features");
	int			parts = 1;

	memset(option, 0, sizeof(KsProtoOption));
	for (; ks_proto_accept(t, "."); parts++)
		second = take_part(t, &ignored);
	ks_proto_expect(t, "=");
	if (is_meta && parts <= 2)
	{
		ks_proto_take_meta(t, parts == 2 ? &second : NULL, &option->meta);
		return;
	}
	read_value(t, &option->value, is_features && parts == 1 ? features : NULL);
	if (is_features && parts == 2 && second.p)
		set_feature(t, features, &second, &option->value.word);
	option->name = first;
	if (parts > 1)
		option->name.p = NULL;
}

bool
ks_proto_take_option(KsProtoTokens *t, KsProtoOption *option, KsProtoFeatures *features)
{
	if (!ks_proto_accept(t, "option"))
		return false;
	read_option(t, option, features);
	ks_proto_expect(t, ";");
	return true;
}

void
ks_proto_take_list(KsProtoTokens *t, KsProtoOptionTaker taker, void *arg, KsProtoFeatures *features)
{
	if (!ks_proto_accept(t, "["))
		return;
	do
	{
		KsProtoOption option;

		read_option(t, &option, features);
		if (taker)
			taker(t, &option, arg);
	} while (ks_proto_accept(t, ","));
	ks_proto_expect(t, "]");
}

bool
ks_proto_option_is_true(const KsProtoOption *option, const char *name)
{
	return ks_proto_word_is(&option->name, name) && option->value.type == KS_PROTO_TOKEN_NAME &&
		ks_proto_word_is(&option->value.word, "true");
}
