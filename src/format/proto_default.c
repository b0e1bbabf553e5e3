/*
 * proto_default.c
 *	  Defaults that a .proto text gives to fields.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "format/proto_default.h"
#include "format/proto_literals.h"

typedef struct Given
{
	const KsProtoFileDecl *file;
	const KsProtoFieldDecl *f;
	const KsProtoLiteral *value;
} Given;

KS_NORETURN static void misfit(const Given *g, const char *what);

/* The default is not what the type has. */
static void
misfit(const Given *g, const char *what)
{
	ks_proto_bad(g->file->name, g->value->word.line,
				 psprintf("The default of \"%s\" is not %s.", pnstrdup(g->f->name.p, g->f->name.len), what));
}

/* Below 0 as well, or not; sign-extended. */
static uint64
integer(const Given *g, uint64 max, bool is_signed, const char *what)
{
	uint64		value;

	if (g->value->type != KS_PROTO_TOKEN_INTEGER || (g->value->minus && !is_signed))
		misfit(g, what);
	if (!ks_proto_integer_of(&g->value->word, &value) || value > max + (g->value->minus ? 1 : 0))
		misfit(g, what);
	return g->value->minus ? -value : value;
}

static double
real(const Given *g)
{
	double		value;

	if (g->value->type == KS_PROTO_TOKEN_NAME && ks_proto_word_is(&g->value->word, "inf"))
		value = get_float8_infinity();
	else if (g->value->type == KS_PROTO_TOKEN_NAME && ks_proto_word_is(&g->value->word, "nan"))
		value = get_float8_nan();
	else if ((g->value->type != KS_PROTO_TOKEN_INTEGER && g->value->type != KS_PROTO_TOKEN_REAL) ||
			 !ks_proto_real_of(&g->value->word, g->value->type, &value))
		misfit(g, "a number");
	return g->value->minus ? -value : value;
}

static bool
boolean(const Given *g)
{
	bool		yes = g->value->type == KS_PROTO_TOKEN_NAME && ks_proto_word_is(&g->value->word, "true");

	if (!yes && (g->value->type != KS_PROTO_TOKEN_NAME || !ks_proto_word_is(&g->value->word, "false")))
		misfit(g, "true or false");
	return yes;
}

static int32
enum_value(const Given *g, const KsProtoEnum *e)
{
	if (g->value->type == KS_PROTO_TOKEN_NAME)
		for (int i = 0; i < e->n; i++)
			if (ks_proto_word_is(&g->value->word, e->names[i]))
				return e->numbers[i];
	misfit(g, psprintf("a value of enum \"%s\"", e->name));
}

/* Valid but for zero bytes, as a record's text is. */
static bool
is_valid_text(const char *p, int len)
{
	while (len > 0)
	{
		int			n = strnlen(p, len);

		if (n > 0 && !pg_verify_mbstr(GetDatabaseEncoding(), p, n, true))
			return false;
		n = Min(n + 1, len);
		p += n;
		len -= n;
	}
	return true;
}

static void
set_bytes(const Given *g, KsProtoField *field, bool is_text, MemoryContext keep)
{
	char	   *copy;

	if (g->value->type != KS_PROTO_TOKEN_STRING)
		misfit(g, "a string");
	if (is_text && !is_valid_text(g->value->bytes, g->value->len))
		misfit(g, "valid text");
	copy = MemoryContextAlloc(keep, g->value->len + 1);
	memcpy(copy, g->value->bytes, g->value->len + 1);
	field->default_bytes = copy;
	field->default_len = g->value->len;
}

/* Like protoc: what is too large for a float is infinite. */
static double
as_float(double value)
{
	float		narrow = (float) value;

	return narrow;
}

void
ks_proto_set_default(const KsProtoFileDecl *file, const KsProtoFieldDecl *f, KsProtoField *field, MemoryContext keep)
{
	Given		g = {file, f, &f->default_value};

	if (field->repeated || field->message)
		misfit(&g, "possible, as it is a message or repeated");
	if (file->syntax == KS_PROTO_3 || !field->presence)
		misfit(&g, "possible, as it cannot be told from 0");
	field->has_default = true;
	switch (field->type)
	{
		case KS_PROTO_DOUBLE:
			field->default_value.real = real(&g);
			break;
		case KS_PROTO_FLOAT:
			field->default_value.real = as_float(real(&g));
			break;
		case KS_PROTO_INT64:
		case KS_PROTO_SFIXED64:
		case KS_PROTO_SINT64:
			field->default_value.bits = integer(&g, PG_INT64_MAX, true, "an integer of 64 bits");
			break;
		case KS_PROTO_UINT64:
		case KS_PROTO_FIXED64:
			field->default_value.bits = integer(&g, PG_UINT64_MAX, false, "an integer of 64 bits without a sign");
			break;
		case KS_PROTO_INT32:
		case KS_PROTO_SFIXED32:
		case KS_PROTO_SINT32:
			field->default_value.bits = integer(&g, PG_INT32_MAX, true, "an integer of 32 bits");
			break;
		case KS_PROTO_UINT32:
		case KS_PROTO_FIXED32:
			field->default_value.bits = integer(&g, PG_UINT32_MAX, false, "an integer of 32 bits without a sign");
			break;
		case KS_PROTO_BOOL:
			field->default_value.bits = boolean(&g);
			break;
		case KS_PROTO_ENUM:
			field->default_value.bits = (uint64) (int64) enum_value(&g, field->enumeration);
			break;
		case KS_PROTO_STRING:
		case KS_PROTO_BYTES:
			set_bytes(&g, field, field->type == KS_PROTO_STRING, keep);
			break;
		default:
			misfit(&g, "possible");
	}
}
