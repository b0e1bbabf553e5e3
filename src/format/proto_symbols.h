/*
 * proto_symbols.h
 *	  The names of several .proto texts: packages, and what is in them.
 *
 * A name is found in what it stands in, so that "a.b" is b in a; what all is in has
 * no name.
 */
#ifndef KS_PROTO_SYMBOLS_H
#define KS_PROTO_SYMBOLS_H

#include "format/proto_tree.h"

typedef enum KsProtoKind
{
	KS_PROTO_IS_PACKAGE,
	KS_PROTO_IS_MESSAGE,
	KS_PROTO_IS_ENUM,
	KS_PROTO_IS_SERVICE,
	KS_PROTO_IS_OTHER			/* fields, values, ... */
} KsProtoKind;

typedef struct KsProtoSymbol
{
	struct KsProtoSymbol *next;	/* of the same place in the table */
	struct KsProtoSymbol *parent;
	uint32		hash;
	KsProtoKind kind;
	const char *name;
	int			len;
	int			full_len;		/* with what it stands in */
	int			line;
	KsProtoFileDecl *file;		/* of packages: one of them */
	int			seen_by;		/* of packages: as of files */
	KsProtoMessage *message;
	KsProtoEnum *enumeration;
	bool		closed;
} KsProtoSymbol;

typedef struct KsProtoSymbols
{
	KsProtoSymbol root;
	int			n;
	uint32		mask;
	KsProtoSymbol **slots;
	int			ntypes;			/* messages and enums */
} KsProtoSymbols;

/* In the current context, as all of it. */
extern void ks_proto_symbols_init(KsProtoSymbols *symbols);

/* NULL: there is none. */
extern KsProtoSymbol *ks_proto_symbol_find(const KsProtoSymbols *symbols, const KsProtoSymbol *parent,
										   const char *name, int len);

/* An error if the name is taken; packages may be there already. */
extern KsProtoSymbol *ks_proto_symbol_add(KsProtoSymbols *symbols, KsProtoSymbol *parent, KsProtoKind kind,
										  KsProtoFileDecl *file, const KsProtoWord *word);

/* Its full name, in that context. */
extern char *ks_proto_symbol_name(const KsProtoSymbol *symbol, MemoryContext cxt);

#endif
