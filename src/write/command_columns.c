/*
 * command_columns.c
 *	  The columns of the relation "batch", which the statements of a command see.
 *
 * They are the fields of value_type, or one column "value", and the record's metadata.
 * All are unused until a statement or the filter mentions them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "catalog/extension.h"
#include "write/command.h"
#include "write/target_int.h"

const KsMetadata ks_metadata[KS_NMETADATA] = {
	{"topic", KS_FROM_TOPIC}, {"part", KS_FROM_PARTITION}, {"off", KS_FROM_OFFSET},
	{"ts", KS_FROM_TIMESTAMP}, {"key", KS_FROM_KEY}, {"headers", KS_FROM_HEADERS}
};

Oid
ks_metadata_type(int i)
{
	switch (ks_metadata[i].source)
	{
		case KS_FROM_TOPIC:
			return TEXTOID;
		case KS_FROM_PARTITION:
			return INT4OID;
		case KS_FROM_OFFSET:
			return INT8OID;
		case KS_FROM_TIMESTAMP:
			return TIMESTAMPTZOID;
		case KS_FROM_KEY:
			return BYTEAOID;
		default:
			Assert(ks_metadata[i].source == KS_FROM_HEADERS);
			return get_array_type(ks_extension_type("header"));
	}
}

static void
add_column(KsTarget *target, const char *name, Oid type, int32 typmod, Oid collation, int ndims)
{
	KsColumn   *col = &target->cols[target->ncols++];

	col->name = name;
	col->attnum = target->ncols;
	col->keyno = -1;
	ks_type_init(&col->type, type, typmod, &target->types);
	TupleDescInitEntry(target->rowdesc, col->attnum, name, type, typmod, ndims);
	TupleDescInitEntryCollation(target->rowdesc, col->attnum, collation);
}

static void
check_collision(const char *field)
{
	for (int i = 0; i < KS_NMETADATA; i++)
		if (strcmp(field, ks_metadata[i].name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("field \"%s\" of value_type has the name of a column of \"batch\"", field),
					 errdetail("topic, part, off, ts, key and headers are the record's metadata."),
					 errhint("Rename it (ALTER TYPE ... RENAME ATTRIBUTE); without value_type the value is one column of type jsonb.")));
}

void
ks_command_build_columns(KsTarget *target, const KsSink *sink)
{
	Oid			type = OidIsValid(sink->value_type) ? sink->value_type : JSONBOID;
	TupleDesc	fields = NULL;
	int			nfields = 1;
	int			live = 1;

	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the value_type of sink \"%s\" does not exist any more", sink->name),
				 errhint("SELECT kafka_sink.alter_sink(%s, value_type => ...), then kafka_sink.resume(%s).",
						 quote_literal_cstr(sink->name), quote_literal_cstr(sink->name))));
	if (get_typtype(type) == TYPTYPE_COMPOSITE)
	{
		TupleDesc	shared = lookup_rowtype_tupdesc(type, -1);

		fields = CreateTupleDescCopy(shared);
		ReleaseTupleDesc(shared);
		/* its attributes are the columns */
		target->relids = lappend_oid(target->relids, get_typ_typrelid(type));
		target->types.relids = lappend_oid(target->types.relids, get_typ_typrelid(type));
		nfields = fields->natts;
		live = 0;
		for (int i = 0; i < nfields; i++)
			live += !TupleDescAttr(fields, i)->attisdropped;
	}
	else if (type != JSONBOID && type != TEXTOID && type != BYTEAOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s cannot be the value_type of a sink", format_type_be(type)),
				 errhint("Use a composite type, whose attributes are taken from the value's fields, or jsonb, text or bytea.")));

	if (!ks_format_has_names(sink->format) && (fields == NULL) != (sink->format == KS_FORMAT_RAW) &&
		(fields || type == JSONBOID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s cannot be the value_type of this format", format_type_be(type)),
				 sink->format == KS_FORMAT_RAW ? errhint("A raw value is text, bytea or jsonb.") :
				 errhint("Use a composite type, whose attributes take the fields in order, or text or bytea.")));
	target->cols = palloc0((live + KS_NMETADATA) * sizeof(KsColumn));
	target->fields = palloc0((live + 1) * sizeof(KsField));
	target->rowdesc = CreateTemplateTupleDesc(live + KS_NMETADATA);
	target->econtext = CreateStandaloneExprContext();
	for (int i = 0; i < nfields; i++)
	{
		Form_pg_attribute att = fields ? TupleDescAttr(fields, i) : NULL;

		if (att == NULL)
			add_column(target, "value", type, -1, get_typcollation(type), 0);
		else if (!att->attisdropped)
		{
			check_collision(NameStr(att->attname));
			add_column(target, pstrdup(NameStr(att->attname)), att->atttypid, att->atttypmod,
					   att->attcollation, att->attndims);
		}
		else
			continue;
		if (att == NULL)
			target->cols[target->ncols - 1].source = KS_FROM_VALUE;
		else if (sink->format == KS_FORMAT_CSV)
		{
			target->cols[target->ncols - 1].source = KS_FROM_POSITION;
			target->cols[target->ncols - 1].position = target->npositions++;
		}
		else
			target->cols[target->ncols - 1].field =
				ks_columns_add_field(target, NameStr(att->attname), strlen(NameStr(att->attname)));
	}
	for (int i = 0; i < KS_NMETADATA; i++)
	{
		Oid			t = ks_metadata_type(i);

		add_column(target, ks_metadata[i].name, t, -1, get_typcollation(t), 0);
		target->cols[target->ncols - 1].source = ks_metadata[i].source;
	}
	target->nvalues = target->ncols;
	ks_names_init(&target->names, target->fields, target->nfields);
	for (int i = 0; i < target->ncols; i++)
		target->cols[i].unused = true;
}
