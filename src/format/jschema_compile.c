/*
 * jschema_compile.c
 *	  JSON schemas as graphs of nodes: one for each schema in the text that is reached.
 *
 * Nodes are made when they are first met, and filled one after the other, so that
 * neither circles nor long chains of references matter.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "format/jschema_int.h"

/* Schemas that $dynamicRef and $recursiveRef lead to only by way of where they are used. */
static void
take_dynamic(KsCompiler *c)
{
	for (KsResource *r = ks_documents_first(c->docs); r; r = r->next)
	{
		if (!r->used)
			continue;
		if (r->recursive)
			r->node = ks_jschema_node(c, r->root, r, psprintf("%s#", r->uri));
		for (KsAnchor *a = r->anchors; a; a = a->next)
			if (a->dynamic)
				a->node = ks_jschema_node(c, a->tree, r, psprintf("%s#%s", r->uri, a->name));
	}
}

static const char *
name_of(const KsTree *tree)
{
	static const char *const names[] = {"title", "$id", "id"};

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		const KsTree *v = ks_tree_member(tree, names[i]);

		if (v && v->type == KS_JSON_STRING && v->n > 0 && memchr(v->u.s, '\0', v->n) == NULL)
			return pg_any_to_server(pnstrdup(v->u.s, v->n), v->n, PG_UTF8);
	}
	return NULL;
}

const char *
ks_jschema_name_of(const char *text)
{
	char	   *utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);

	return name_of(ks_tree_parse(utf8, strlen(utf8), KS_JSON_MAX_DEPTH));
}

const char *
ks_jschema_name(const KsJsonSchema *schema)
{
	return schema->name;
}

KsJsonSchema *
ks_jschema_compile(const KsSchemaText *text)
{
	KsJsonSchema *schema = palloc0(sizeof(KsJsonSchema));
	KsCompiler	c = {.regex_left = KS_REGEX_MAX};
	KsResource *root;
	int			done = 0;

	c.docs = ks_documents_load(text, &root);
	schema->name = name_of(root->root);
	schema->root = ks_jschema_node(&c, root->root, root, psprintf("%s#", root->uri));
	if (root->root->type != KS_JSON_OBJECT && root->root->type != KS_JSON_TRUE && root->root->type != KS_JSON_FALSE)
		ks_jschema_bad("#", "a schema is an object, true or false");
	/* references may lead to metaschemas, which have anchors of their own */
	do
	{
		for (; done < c.n; done++)
		{
			CHECK_FOR_INTERRUPTS();
			ks_jschema_fill(&c, c.made[done].tree, c.made[done].node);
		}
		take_dynamic(&c);
	} while (done < c.n);
	return schema;
}
