/*
 * jschema_nodes.c
 *	  The nodes of a JSON schema that is being compiled, by where they stand in its text.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "format/jschema_int.h"

#define MAX_NODES	50000

static int *
find_slot(KsCompiler *c, const KsTree *tree)
{
	uint32		at = murmurhash32((uint32) ((uintptr_t) tree >> 3)) & (c->nslots - 1);

	while (c->slots[at] && c->made[c->slots[at] - 1].tree != tree)
		at = (at + 1) & (c->nslots - 1);
	return &c->slots[at];
}

static void
make_room(KsCompiler *c)
{
	c->room = c->room ? c->room * 2 : 64;
	c->made = c->made ? repalloc(c->made, c->room * sizeof(KsMade)) : palloc(c->room * sizeof(KsMade));
	c->nslots = c->room * 2;
	c->slots = palloc0(c->nslots * sizeof(int));
	for (int i = 0; i < c->n; i++)
		*find_slot(c, c->made[i].tree) = i + 1;
}

KsNode *
ks_jschema_node(KsCompiler *c, const KsTree *tree, KsResource *res, const char *place)
{
	KsNode	   *node;
	int		   *slot;

	if (c->n == c->room)
		make_room(c);
	slot = find_slot(c, tree);
	if (*slot)
		return c->made[*slot - 1].node;
	if (c->n == MAX_NODES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the JSON schema is too large"),
				 errdetail("The limit is %d schemas in it.", MAX_NODES)));
	node = palloc0(sizeof(KsNode));
	node->resource = ks_documents_resource(c->docs, res, tree);
	node->place = node->resource == res ? place : psprintf("%s#", node->resource->uri);
	node->resource->used = true;
	c->made[c->n++] = (KsMade) {tree, node};
	*slot = c->n;
	return node;
}
