/*
 * avro_schema.c
 *	  Avro schemas: their JSON text as a graph of types.
 *
 * What the specification asks of names, defaults and documentation, but decoding
 * does not need, is not checked: schemas come from elsewhere, and have been used
 * to write what is to be read.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "base/compat.h"
#include "format/avro_attributes.h"

#define MAX_NAMED		4096	/* records, enums and fixed */
#define MAX_NODES		65536

typedef struct Parser
{
	int			nnamed;
	int			maxnamed;
	KsAvroNode **named;
	uint32	   *hashes;			/* of their names */
	int			nnodes;
	int			maxnodes;
	KsAvroNode **nodes;
} Parser;

static const char *const type_names[] = {
	"null", "boolean", "int", "long", "float", "double", "bytes", "string",
	"record", "enum", "fixed", "array", "map", "union"
};

static KsAvroNode *parse_type(Parser *p, const KsJsonToken *tok, const char *namespace, int depth);

KS_NORETURN static void bad_schema(const char *detail, const char *name);

/* detail has one %s, for the name */
static void
bad_schema(const char *detail, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid Avro schema"),
			 errdetail_internal(detail, name)));
}

KS_NORETURN static void too_large(const char *what, int max);

static void
too_large(const char *what, int max)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("Avro schema is too large"),
			 errdetail("The limit is %d %s.", max, what)));
}

const char *
ks_avro_type_name(const KsAvroNode *node)
{
	return type_names[node->type];
}

static KsAvroNode *
new_node(Parser *p, KsAvroType type)
{
	KsAvroNode *node = palloc0(sizeof(KsAvroNode));

	if (p->nnodes >= MAX_NODES)
		too_large("types", MAX_NODES);
	if (p->nnodes >= p->maxnodes)
	{
		p->maxnodes *= 2;
		p->nodes = repalloc(p->nodes, p->maxnodes * sizeof(KsAvroNode *));
	}
	p->nodes[p->nnodes++] = node;
	node->type = type;
	node->width = -1;
	return node;
}

/* --- names --- */

/* With its namespace, which goes to *namespace for what is inside. */
static char *
full_name(const KsAvroAttributes *a, const char *enclosing, const char **namespace)
{
	char	   *name = ks_avro_string_of(&a->name);
	char	   *dot;
	const char *ns = ks_avro_string_of(&a->namespace);

	if (name == NULL || *name == '\0')
		bad_schema("A type has no name%s.", "");
	dot = strrchr(name, '.');
	if (dot)
		*namespace = pnstrdup(name, dot - name);
	else
	{
		*namespace = ns ? ns : enclosing;
		if (**namespace)
			name = psprintf("%s.%s", *namespace, name);
	}
	return name;
}

static KsAvroNode *
find_named(const Parser *p, const char *name)
{
	uint32		hash = hash_bytes((const unsigned char *) name, strlen(name));

	for (int i = 0; i < p->nnamed; i++)
		if (p->hashes[i] == hash && strcmp(p->named[i]->name, name) == 0)
			return p->named[i];
	return NULL;
}

static void
add_named(Parser *p, KsAvroNode *node, const char *name)
{
	if (p->nnamed >= MAX_NAMED)
		too_large("named types", MAX_NAMED);
	if (find_named(p, name))
		bad_schema("The name \"%s\" is defined twice.", name);
	if (p->nnamed >= p->maxnamed)
	{
		p->maxnamed *= 2;
		p->named = repalloc(p->named, p->maxnamed * sizeof(KsAvroNode *));
		p->hashes = repalloc(p->hashes, p->maxnamed * sizeof(uint32));
	}
	node->name = name;
	p->hashes[p->nnamed] = hash_bytes((const unsigned char *) name, strlen(name));
	p->named[p->nnamed++] = node;
}

/* A word: a primitive type, or a name that was defined before. */
static KsAvroNode *
parse_name(Parser *p, const KsJsonToken *tok, const char *namespace)
{
	char	   *name = ks_avro_string_of(tok);
	KsAvroNode *node = NULL;

	for (int i = 0; i <= KS_AVRO_STRING; i++)
		if (strcmp(name, type_names[i]) == 0)
			return new_node(p, (KsAvroType) i);
	if (strchr(name, '.') == NULL && *namespace)
		node = find_named(p, psprintf("%s.%s", namespace, name));
	if (node == NULL)
		node = find_named(p, name);
	if (node == NULL)
		bad_schema("The type \"%s\" is not defined, or only later.", name);
	return node;
}

/* --- types --- */

static void
set_names(KsAvroNode *node, int n)
{
	node->n = n;
	node->names = palloc0((n + 1) * sizeof(KsField));
}

/* Records: all names differ, but aliases may be anything. */
static void
index_fields(KsAvroNode *node)
{
	ks_names_init(&node->index, node->names, node->n);
	for (int i = 0; i < node->n; i++)
		if (ks_names_find(&node->index, node->names[i].name, node->names[i].len) != i)
			bad_schema("The name \"%s\" is given twice in a record or an enum.", node->names[i].name);
}

static void
add_aliases(KsAvroNode *node, int field, const KsJsonToken *tok)
{
	KsJson		json = ks_avro_inside(tok);
	const char *at;
	KsJsonToken value;
	int			n;

	if (tok->p == NULL || tok->type != KS_JSON_ARRAY)
		return;
	n = node->naliases + ks_avro_count_elements(tok) + 1;
	node->aliases = node->aliases ? repalloc(node->aliases, n * sizeof(KsField)) : palloc(n * sizeof(KsField));
	node->alias_of = node->alias_of ? repalloc(node->alias_of, n * sizeof(int)) : palloc(n * sizeof(int));
	at = ks_json_begin(&json, tok->p);
	for (;;)
	{
		char	   *alias;

		at = ks_json_next_element(&json, at, &value);
		if (value.p == NULL)
			return;
		alias = ks_avro_string_of(&value);
		if (alias == NULL)
			continue;
		node->aliases[node->naliases] = (KsField) {alias, (int) strlen(alias)};
		node->alias_of[node->naliases++] = field;
	}
}

static void
parse_fields(Parser *p, KsAvroNode *node, const KsAvroAttributes *a, const char *namespace, int depth)
{
	KsJson		json = ks_avro_inside(&a->fields);
	const char *at;
	KsJsonToken value;

	if (a->fields.p == NULL || a->fields.type != KS_JSON_ARRAY)
		bad_schema("Record \"%s\" has no array of fields.", node->name);
	set_names(node, ks_avro_count_elements(&a->fields));
	node->types = palloc0((node->n + 1) * sizeof(KsAvroNode *));
	node->docs = palloc0((node->n + 1) * sizeof(KsJsonToken));
	node->defaults = palloc0((node->n + 1) * sizeof(KsJsonToken));
	at = ks_json_begin(&json, a->fields.p);
	for (int i = 0; i < node->n; i++)
	{
		KsAvroAttributes field;
		char	   *name;

		at = ks_json_next_element(&json, at, &value);
		if (value.type != KS_JSON_OBJECT)
			bad_schema("A field of record \"%s\" is not an object.", node->name);
		ks_avro_read_attributes(&value, &field);
		name = ks_avro_string_of(&field.name);
		if (name == NULL || *name == '\0')
			bad_schema("A field of record \"%s\" has no name.", node->name);
		if (field.type.p == NULL)
			bad_schema("The field \"%s\" has no type.", name);
		node->names[i] = (KsField) {name, (int) strlen(name)};
		node->docs[i] = field.doc;
		node->defaults[i] = field.default_value;
		add_aliases(node, i, &field.aliases);
		node->types[i] = parse_type(p, &field.type, namespace, depth + 1);
	}
	index_fields(node);
}

static void
parse_symbols(KsAvroNode *node, const KsAvroAttributes *a)
{
	KsJson		json = ks_avro_inside(&a->symbols);
	const char *at;
	KsJsonToken value;

	if (a->symbols.p == NULL || a->symbols.type != KS_JSON_ARRAY)
		bad_schema("Enum \"%s\" has no array of symbols.", node->name);
	set_names(node, ks_avro_count_elements(&a->symbols));
	at = ks_json_begin(&json, a->symbols.p);
	for (int i = 0; i < node->n; i++)
	{
		char	   *symbol;

		at = ks_json_next_element(&json, at, &value);
		symbol = ks_avro_string_of(&value);
		if (symbol == NULL)
			bad_schema("A symbol of enum \"%s\" is not a string.", node->name);
		node->names[i] = (KsField) {symbol, (int) strlen(symbol)};
	}
	index_fields(node);
}

/* Two branches of the same type could not be told apart. */
static void
check_branches(const KsAvroNode *node)
{
	unsigned int words = 0;

	for (int i = 0; i < node->n; i++)
	{
		const KsAvroNode *branch = node->types[i];

		if (branch->type == KS_AVRO_UNION)
			bad_schema("A union is directly in a union%s.", "");
		if (branch->name)
		{
			/* a name is a node, so that the same one is the same */
			if (branch->seen)
				bad_schema("The type \"%s\" is twice in a union.", branch->name);
			node->types[i]->seen = true;
		}
		else if (words & (1U << branch->type))
			bad_schema("The type \"%s\" is twice in a union.", ks_avro_type_name(branch));
		else
			words |= 1U << branch->type;
	}
	for (int i = 0; i < node->n; i++)
		node->types[i]->seen = false;
}

static KsAvroNode *
parse_union(Parser *p, const KsJsonToken *tok, const char *namespace, int depth)
{
	KsAvroNode *node = new_node(p, KS_AVRO_UNION);
	KsJson		json = ks_avro_inside(tok);
	const char *at = ks_json_begin(&json, tok->p);
	KsJsonToken value;

	node->n = ks_avro_count_elements(tok);
	node->types = palloc0((node->n + 1) * sizeof(KsAvroNode *));
	for (int i = 0; i < node->n; i++)
	{
		at = ks_json_next_element(&json, at, &value);
		node->types[i] = parse_type(p, &value, namespace, depth + 1);
	}
	check_branches(node);
	return node;
}

/* Is it one of these words, and which? */
static int
complex_type(const char *word)
{
	if (strcmp(word, "error") == 0)
		return KS_AVRO_RECORD;
	for (int i = KS_AVRO_RECORD; i < KS_AVRO_UNION; i++)
		if (strcmp(word, type_names[i]) == 0)
			return i;
	return -1;
}

static KsAvroNode *
parse_container(Parser *p, KsAvroType type, const KsJsonToken *inner, const char *namespace, int depth)
{
	KsAvroNode *node = new_node(p, type);

	if (inner->p == NULL)
		bad_schema("A type \"%s\" does not say of what.", type_names[type]);
	node->n = 1;
	node->types = palloc(sizeof(KsAvroNode *));
	node->types[0] = parse_type(p, inner, namespace, depth + 1);
	return node;
}

static KsAvroNode *
parse_object(Parser *p, const KsJsonToken *tok, const char *namespace, int depth)
{
	KsAvroAttributes a;
	KsAvroNode *node;
	int			type;

	ks_avro_read_attributes(tok, &a);
	if (a.type.p == NULL)
		bad_schema("A type has no attribute \"%s\".", "type");
	/* {"type": {"type": ...}} is what is inside */
	if (a.type.type != KS_JSON_STRING)
		return parse_type(p, &a.type, namespace, depth + 1);
	type = complex_type(ks_avro_string_of(&a.type));
	switch (type)
	{
		case KS_AVRO_ARRAY:
			return parse_container(p, KS_AVRO_ARRAY, &a.items, namespace, depth);
		case KS_AVRO_MAP:
			return parse_container(p, KS_AVRO_MAP, &a.values, namespace, depth);
		case KS_AVRO_RECORD:
		case KS_AVRO_ENUM:
		case KS_AVRO_FIXED:
			node = new_node(p, (KsAvroType) type);
			add_named(p, node, full_name(&a, namespace, &namespace));
			node->doc = a.doc;
			node->connect_name = a.connect_name;
			break;
		default:
			node = parse_name(p, &a.type, namespace);
			if (node->name == NULL)
			{
				node->connect_name = a.connect_name;
				node->connect_type = a.connect_type;
				ks_avro_set_logical(node, &a);
			}
			return node;
	}
	if (type == KS_AVRO_RECORD)
	{
		parse_fields(p, node, &a, namespace, depth);
		ks_avro_set_logical(node, &a);
	}
	else if (type == KS_AVRO_ENUM)
		parse_symbols(node, &a);
	else
	{
		node->size = ks_avro_int_of(&a.size);
		if (node->size < 0)
			bad_schema("Fixed \"%s\" has no valid size.", node->name);
		ks_avro_set_logical(node, &a);
	}
	return node;
}

static KsAvroNode *
parse_type(Parser *p, const KsJsonToken *tok, const char *namespace, int depth)
{
	check_stack_depth();
	if (depth > KS_AVRO_MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("Avro schema is nested too deeply"),
				 errdetail("The limit is %d levels.", KS_AVRO_MAX_DEPTH)));
	switch (tok->type)
	{
		case KS_JSON_STRING:
			return parse_name(p, tok, namespace);
		case KS_JSON_ARRAY:
			return parse_union(p, tok, namespace, depth);
		case KS_JSON_OBJECT:
			return parse_object(p, tok, namespace, depth);
		default:
			bad_schema("A type is a name, an object or an array%s.", "");
	}
}

/* --- bytes of values --- */

static void
measure(KsAvroNode *node)
{
	check_stack_depth();
	switch (node->type)
	{
		case KS_AVRO_NULL:
			node->width = 0;
			break;
		case KS_AVRO_FLOAT:
			node->width = 4;
			break;
		case KS_AVRO_DOUBLE:
			node->width = 8;
			break;
		case KS_AVRO_BOOLEAN:
			node->width = 1;
			break;
		case KS_AVRO_FIXED:
			node->width = node->size;
			break;
		case KS_AVRO_RECORD:
			if (node->measuring)
				bad_schema("Record \"%s\" contains itself, without end.", node->name);
			if (node->least > 0 || node->width == 0)
				return;
			node->measuring = true;
			node->least = node->width = 0;
			for (int i = 0; i < node->n; i++)
			{
				KsAvroNode *field = node->types[i];

				node->width = -1;
				measure(field);
				node->least = Min(node->least + field->least, PG_INT32_MAX);
			}
			node->measuring = false;
			/* of a fixed width, if all of it is */
			for (int i = 0; i < node->n && node->types[i]->width >= 0; i++)
				if (i == node->n - 1)
					node->width = node->least;
			return;
		default:
			node->least = 1;
			return;
	}
	node->least = node->width;
}

static KsAvroNode *
parse_text(Parser *p, const char *text, int len)
{
	KsJson		json = {.start = text, .end = text + len};
	KsJsonToken tok;

	ks_json_document(&json, &tok);
	return parse_type(p, &tok, "", 1);
}

static void
begin_parser(Parser *p)
{
	memset(p, 0, sizeof(Parser));
	p->maxnamed = 16;
	p->maxnodes = 64;
	p->named = palloc(p->maxnamed * sizeof(KsAvroNode *));
	p->hashes = palloc(p->maxnamed * sizeof(uint32));
	p->nodes = palloc(p->maxnodes * sizeof(KsAvroNode *));
}

static void
end_parser(Parser *p)
{
	for (int i = 0; i < p->nnodes; i++)
		measure(p->nodes[i]);
	pfree(p->named);
	pfree(p->hashes);
	pfree(p->nodes);
}

KsAvroNode *
ks_avro_parse(const char *text, int len)
{
	Parser		p;
	KsAvroNode *schema;

	if (len > KS_AVRO_MAX_SCHEMA)
		too_large("bytes", KS_AVRO_MAX_SCHEMA);
	begin_parser(&p);
	schema = parse_text(&p, text, len);
	end_parser(&p);
	return schema;
}

KsAvroNode *
ks_avro_parse_text(const KsSchemaText *text)
{
	Parser		p;
	KsAvroNode *schema;
	Size		bytes = strlen(text->text);

	if (strcmp(text->type, "AVRO") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the schema is not an Avro schema"),
				 errdetail("Its type is %s.", text->type)));
	for (int i = 0; i < text->nrefs; i++)
		bytes += strlen(text->refs[i]);
	if (bytes > KS_AVRO_MAX_SCHEMA)
		too_large("bytes", KS_AVRO_MAX_SCHEMA);
	begin_parser(&p);
	for (int i = 0; i < text->nrefs; i++)
		/* (those that are given may have any names) */
		if (ks_schema_ref_counts(text, i) || find_named(&p, text->ref_names[i]) == NULL)
			(void) parse_text(&p, text->refs[i], strlen(text->refs[i]));
	schema = parse_text(&p, text->text, strlen(text->text));
	end_parser(&p);
	return schema;
}

int
ks_avro_find_field(const KsAvroNode *record, const char *name, int len)
{
	int			i = ks_names_find(&record->index, name, len);

	for (int a = 0; i < 0 && a < record->naliases; a++)
		if (ks_name_is(&record->aliases[a], name, len))
			i = record->alias_of[a];
	return i;
}
