/*
 * evolve_plan.c
 *	  What a table lacks for records of a schema, and whether it may be altered for it.
 *
 * Decided by the schema and the table as it is, and by nothing else: the same records
 * find the same table, and ask for the same, however often they are read.
 *
 * Fields that a column takes by its name, or by what "columns" says, have their place;
 * so has one whose name a column has that records do not fill (null in "columns", a
 * generated column).  Others get a column, but those that are never anything but null: what
 * type it is to have, a later schema tells.  Nothing is ever dropped or renamed, no
 * constraint is added or taken away.
 */
#include "postgres.h"

#include "catalog/heap.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"

#include "write/evolve.h"

#define DIGITS_OF_INT2	5
#define DIGITS_OF_INT4	10
#define DIGITS_OF_INT8	19

typedef struct Draft
{
	const KsRoute *r;
	const KsShape *shape;
	bool	   *taken;			/* fields that have a place, by their number */
	StringInfoData actions;		/* of ALTER TABLE */
	StringInfoData wrong;		/* why it cannot be, in words */
	int			sqlstate;		/* of the first of these */
} Draft;

/* --- types --- */

/* Digits before the point and behind it, of integers too; false: as many as there are. */
static bool
digits_of(Oid typid, int32 typmod, int *before, int *behind)
{
	*behind = 0;
	switch (typid)
	{
		case INT2OID:
			*before = DIGITS_OF_INT2;
			return true;
		case INT4OID:
			*before = DIGITS_OF_INT4;
			return true;
		case INT8OID:
			*before = DIGITS_OF_INT8;
			return true;
		default:
			if (typmod < (int32) VARHDRSZ)
				return false;
			/* the scale has 11 bits, and a sign */
			*behind = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
			*before = ((typmod - VARHDRSZ) >> 16 & 0xffff) - *behind;
			return true;
	}
}

static bool
is_integer(Oid typid)
{
	return typid == INT2OID || typid == INT4OID || typid == INT8OID;
}

static bool
holds_digits(Oid from, int32 from_mod, Oid to, int32 to_mod)
{
	int			before,
				behind,
				new_before,
				new_behind;

	if (!digits_of(to, to_mod, &new_before, &new_behind))
		return true;
	return digits_of(from, from_mod, &before, &behind) && new_before >= before && new_behind >= behind;
}

/* Does the second type have all values of the first, as they are, and more? */
static bool
is_wider(Oid from, int32 from_mod, Oid to, int32 to_mod)
{
	Oid			from_elem = get_element_type(from);
	Oid			to_elem = get_element_type(to);

	if (OidIsValid(from_elem) && OidIsValid(to_elem))
		return is_wider(from_elem, from_mod, to_elem, to_mod);
	if (from == to && from_mod == to_mod)
		return false;
	switch (to)
	{
		case INT4OID:
			return from == INT2OID;
		case INT8OID:
			return from == INT2OID || from == INT4OID;
		case FLOAT4OID:
			return from == INT2OID;
		case FLOAT8OID:
			return from == INT2OID || from == INT4OID || from == FLOAT4OID;
		case NUMERICOID:
			return (is_integer(from) || from == NUMERICOID) && holds_digits(from, from_mod, to, to_mod);
		case TEXTOID:
			/* without a length it has all of them */
			return from == VARCHAROID && from_mod >= (int32) VARHDRSZ;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case TIMEOID:
		case TIMETZOID:
			/* digits of seconds, of which there are no more */
			return from == to && to_mod < 0 && from_mod < MAX_TIMESTAMP_PRECISION;
		default:
			return false;
	}
}

/* --- what is wrong --- */

static void
add_wrong(Draft *p, int sqlstate, const char *words)
{
	if (p->sqlstate == 0)
		p->sqlstate = sqlstate;
	appendStringInfo(&p->wrong, "%s%s", p->wrong.len > 0 ? "\n" : "", words);
}

static void
add_action(Draft *p, const char *action)
{
	appendStringInfo(&p->actions, "%s%s", p->actions.len > 0 ? ", " : "", action);
}

/* --- columns --- */

static void
widen(Draft *p, const KsColumn *col, const KsShapeColumn *field)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(p->r->rel), col->attnum - 1);
	StringInfoData action;

	initStringInfo(&action);
	appendStringInfo(&action, "ALTER COLUMN %s TYPE %s", quote_identifier(col->name),
					 format_type_with_typemod(field->typid, field->typmod));
	/* or it would become the type's own */
	if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
		appendStringInfo(&action, " COLLATE %s", generate_collation_name(att->attcollation));
	add_action(p, action.data);
}

/* A column that takes the field as a whole. */
static void
check_column(Draft *p, KsColumn *col, const KsShapeColumn *field)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(p->r->rel), col->attnum - 1);

	if (field->nothing)
		return;
	if (p->r->sink->evolve == KS_EVOLVE_WIDEN && col->by_name &&
		is_wider(att->atttypid, att->atttypmod, field->typid, field->typmod))
		widen(p, col, field);
	else if (!p->shape->ops->fits(field, &col->type, col->unit, p->r->sink->envelope != KS_NO_ENVELOPE))
		add_wrong(p, ERRCODE_DATATYPE_MISMATCH,
				  psprintf("Field \"%.*s\" is %s, and column \"%s\" of type %s takes no such values.",
						   field->field.len, field->field.name, field->reason, col->name,
						   format_type_with_typemod(att->atttypid, att->atttypmod)));
}

static void
add_column(Draft *p, const KsShapeColumn *field)
{
	char	   *name = pnstrdup(field->field.name, field->field.len);
	const char *default_text = ks_shape_default(field);
	StringInfoData action;

	if (field->field.len >= NAMEDATALEN)
	{
		add_wrong(p, ERRCODE_NAME_TOO_LONG,
				  psprintf("The name of field \"%s\" is longer than that of a column can be.", name));
		return;
	}
	if (SystemAttributeByName(name))
	{
		add_wrong(p, ERRCODE_DUPLICATE_COLUMN,
				  psprintf("Field \"%s\" has the name of a system column.", name));
		return;
	}
	initStringInfo(&action);
	appendStringInfo(&action, "ADD COLUMN %s %s", quote_identifier(name),
					 format_type_with_typemod(field->typid, field->typmod));
	if (default_text)
		appendStringInfo(&action, " DEFAULT %s", quote_literal_cstr(default_text));
	add_action(p, action.data);
}

/* Fields that columns take; of those that they take as a whole, the types. */
static void
look_at_columns(Draft *p)
{
	const KsTarget *target = p->r->target;

	for (int i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];
		const KsField *f;
		const KsShapeColumn *field;

		if (col->source != KS_FROM_VALUE_FIELD)
			continue;
		f = &target->fields[col->field];
		field = ks_shape_find(p->shape, f->name, f->len);
		if (field == NULL)
			continue;
		p->taken[field - p->shape->cols] = true;
		if (col->npath == 0 && !col->unused)
			check_column(p, col, field);
	}
}

static void
look_at_fields(Draft *p)
{
	for (int i = 0; i < p->shape->n; i++)
	{
		const KsShapeColumn *field = &p->shape->cols[i];

		if (!p->taken[i] && field->field.name && !field->nothing &&
			get_attnum(RelationGetRelid(p->r->rel), pnstrdup(field->field.name, field->field.len)) <= 0)
			add_column(p, field);
	}
}

/* --- the whole --- */

/* What the schema before it was like, if that is known. */
static void
append_difference(StringInfo detail, const KsRoute *r, const KsShape *shape, const char *schema)
{
	KsSchemaId	id;
	KsShape    *before = ks_schemas_settled(r->decoder, shape->name, &id);
	StringInfoData words;

	initStringInfo(&words);
	if (before && ks_shape_difference(before, shape, &words))
		appendStringInfo(detail, "\nSchema %s differs from schema %s, by which records were before: %s.",
						 schema, ks_schema_id_text(&id), words.data);
}

static ErrorData *
refuse(const Draft *p, const KsSchemaId *id)
{
	ErrorData  *edata = palloc0(sizeof(ErrorData));
	StringInfoData detail;
	const char *schema = ks_schema_id_text(id);

	initStringInfo(&detail);
	appendStringInfoString(&detail, p->wrong.data);
	append_difference(&detail, p->r, p->shape, schema);
	edata->elevel = ERROR;
	edata->output_to_server = edata->output_to_client = true;
	edata->sqlerrcode = p->sqlstate;
	edata->message = psprintf("table \"%s\" cannot be made ready for schema %s of the registry",
							  RelationGetRelationName(p->r->rel), schema);
	edata->detail = detail.data;
	edata->hint = "Alter the table by hand, say in \"columns\" which column takes the field (null: that column takes none), or set evolve => 'none', with which what does not fit is an error of each record.";
	edata->assoc_context = CurrentMemoryContext;
	return edata;
}

bool
ks_evolve_plan(const KsRoute *r, const KsShape *shape, const KsSchemaId *id, KsEvolution *e)
{
	Draft		p = {.r = r, .shape = shape, .taken = palloc0((shape->n + 1) * sizeof(bool))};

	initStringInfo(&p.actions);
	initStringInfo(&p.wrong);
	look_at_columns(&p);
	look_at_fields(&p);
	e->refused = NULL;
	e->statement = NULL;
	if (p.wrong.len > 0)
		e->refused = refuse(&p, id);
	else if (p.actions.len > 0)
		e->statement = psprintf("ALTER TABLE %s %s", r->target->qualified_name, p.actions.data);
	return e->refused == NULL && e->statement == NULL;
}
