/*
 * proto_symbols.c
 *	  The names of several .proto texts: packages, and what is in them.
 *
 * Full names are put together only where somebody wants them, and are limited: what
 * a text says in one long name and many short ones in it must not grow.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "format/proto_symbols.h"

#define MAX_NAME	1000		/* bytes of a full name */
#define MAX_TYPES	10000		/* messages and enums */

static uint32
hash_of(const KsProtoSymbol *parent, const char *name, int len)
{
	return hash_combine(parent->hash, hash_bytes((const unsigned char *) name, len));
}

void
ks_proto_symbols_init(KsProtoSymbols *symbols)
{
	memset(symbols, 0, sizeof(KsProtoSymbols));
	symbols->mask = 255;
	symbols->slots = palloc0((symbols->mask + 1) * sizeof(KsProtoSymbol *));
}

KsProtoSymbol *
ks_proto_symbol_find(const KsProtoSymbols *symbols, const KsProtoSymbol *parent, const char *name, int len)
{
	uint32		hash = hash_of(parent, name, len);

	for (KsProtoSymbol *s = symbols->slots[hash & symbols->mask]; s; s = s->next)
		if (s->hash == hash && s->parent == parent && s->len == len && memcmp(s->name, name, len) == 0)
			return s;
	return NULL;
}

static void
grow(KsProtoSymbols *symbols)
{
	KsProtoSymbol **old = symbols->slots;
	uint32		n = symbols->mask + 1;

	symbols->mask = symbols->mask << 1 | 1;
	symbols->slots = palloc0((symbols->mask + 1) * sizeof(KsProtoSymbol *));
	for (uint32 i = 0; i < n; i++)
		for (KsProtoSymbol *s = old[i], *next; s; s = next)
		{
			next = s->next;
			s->next = symbols->slots[s->hash & symbols->mask];
			symbols->slots[s->hash & symbols->mask] = s;
		}
	pfree(old);
}

KS_NORETURN static void too_large(const char *detail, int max);

/* detail has one %d, for the limit */
static void
too_large(const char *detail, int max)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("Protobuf schema is too large"),
			 errdetail_internal(detail, max)));
}

KS_NORETURN static void taken(const KsProtoSymbol *s, const KsProtoFileDecl *file, int line);

static void
taken(const KsProtoSymbol *s, const KsProtoFileDecl *file, int line)
{
	const char *name = ks_proto_symbol_name(s, CurrentMemoryContext);

	/* the one of them that comes later */
	if (s->file == file)
		line = Max(line, s->line);
	ks_proto_bad(file->name, line, psprintf("The name \"%s\" is defined twice.", name));
}

KsProtoSymbol *
ks_proto_symbol_add(KsProtoSymbols *symbols, KsProtoSymbol *parent, KsProtoKind kind,
					KsProtoFileDecl *file, const KsProtoWord *word)
{
	KsProtoSymbol *s = ks_proto_symbol_find(symbols, parent, word->p, word->len);

	if (s && s->kind == KS_PROTO_IS_PACKAGE && kind == KS_PROTO_IS_PACKAGE)
		return s;
	if (s)
		taken(s, file, word->line);
	if (word->len + 1 > MAX_NAME - parent->full_len)
		too_large("The limit is %d bytes of a name with what it stands in.", MAX_NAME);
	if ((kind == KS_PROTO_IS_MESSAGE || kind == KS_PROTO_IS_ENUM) && ++symbols->ntypes > MAX_TYPES)
		too_large("The limit is %d messages and enums.", MAX_TYPES);
	if ((uint32) ++symbols->n > symbols->mask)
		grow(symbols);
	s = palloc0(sizeof(KsProtoSymbol));
	s->parent = parent;
	s->kind = kind;
	s->name = word->p;
	s->len = word->len;
	s->full_len = parent->full_len + (parent->full_len > 0 ? 1 : 0) + word->len;
	s->line = word->line;
	s->file = file;
	s->hash = hash_of(parent, word->p, word->len);
	s->next = symbols->slots[s->hash & symbols->mask];
	symbols->slots[s->hash & symbols->mask] = s;
	return s;
}

char *
ks_proto_symbol_name(const KsProtoSymbol *symbol, MemoryContext cxt)
{
	char	   *name = MemoryContextAlloc(cxt, symbol->full_len + 1);

	name[symbol->full_len] = '\0';
	for (; symbol->parent; symbol = symbol->parent)
	{
		int			begin = symbol->full_len - symbol->len;

		memcpy(name + begin, symbol->name, symbol->len);
		if (begin > 0)
			name[begin - 1] = '.';
	}
	return name;
}
