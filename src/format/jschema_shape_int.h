/*
 * jschema_shape_int.h
 *	  A JSON schema as a table: what is shared by the files that make one of it.
 *
 *	jschema_shape.c		the table: which columns there are
 *	jschema_column.c	a column: its type, and why
 *	jschema_walk.c		where parts of a schema lead, and which types values have
 */
#ifndef KS_JSCHEMA_SHAPE_INT_H
#define KS_JSCHEMA_SHAPE_INT_H

#include "format/jschema_int.h"
#include "format/shape.h"

/* --- jschema_walk.c --- */

/* Types of values, as bits. */
#define KS_WALK_NULL	0x01
#define KS_WALK_BOOLEAN	0x02
#define KS_WALK_INTEGER	0x04
#define KS_WALK_NUMBER	0x08
#define KS_WALK_STRING	0x10
#define KS_WALK_ARRAY	0x20
#define KS_WALK_OBJECT	0x40
#define KS_WALK_ANY		0x7f

#define KS_WALK_MAX_DEPTH	16	/* of schemas in schemas */

/* A schema, and the resource that it is of. */
typedef struct KsWalkPlace
{
	const KsTree *tree;
	KsResource *resource;
} KsWalkPlace;

typedef struct KsWalk
{
	KsDocuments *docs;
	int			budget;			/* so many schemas may still be looked at */
} KsWalk;

/*
 * In the server's encoding; NULL: it has a character of code 0, or one that the encoding
 * has not, or nothing.  For what can be left out.
 */
extern char *ks_walk_text(const char *s, int len);

/* A member, if it is of the type, or NULL; a string's text. */
extern const KsTree *ks_walk_member(const KsTree *tree, const char *name, KsJsonType type);
extern char *ks_walk_text_member(const KsTree *tree, const char *name);

/* A part of a schema. */
extern KsWalkPlace ks_walk_inside(const KsWalk *w, KsWalkPlace of, const KsTree *tree);

/* Where references and choices that are none lead; *nullable is set if null is the other one. */
extern KsWalkPlace ks_walk_follow(const KsWalk *w, KsWalkPlace p, bool *nullable);

/* Which types values have, of a schema that follow() has found; and a value itself. */
extern int	ks_walk_types(KsWalk *w, KsWalkPlace p, int depth);
extern int	ks_walk_type_of_value(const KsTree *v);

/* The words of types. */
extern void ks_walk_append_types(int bits, StringInfo out);

/* --- jschema_column.c --- */

/*
 * A column for values of the schema; its node are the bits of their types.  It looks at
 * some of the schemas that are left for all columns.
 */
extern void ks_jschema_column(KsDocuments *docs, KsShapeColumn *col, KsWalkPlace p, int *left);

#endif
