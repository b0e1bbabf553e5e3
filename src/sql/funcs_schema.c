/*
 * funcs_schema.c
 *	  Schemas of registries in sessions: schema(), decode(), and what preview() and
 *	  retry_dead_letters() need.
 *
 * A session asks in its own transaction, which holds no offsets.  What it was told is
 * stored if that commits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "catalog/schemas.h"
#include "format/decode_format.h"
#include "format/framing.h"
#include "process/schema_fetch.h"
#include "sql/arguments.h"
#include "sql/funcs_schema.h"

PG_FUNCTION_INFO_V1(kafka_sink_schema);
PG_FUNCTION_INFO_V1(kafka_sink_schema_guid);
PG_FUNCTION_INFO_V1(kafka_sink_decode);

static void
check_interrupts(void *arg)
{
	CHECK_FOR_INTERRUPTS();
}

/* With the rights of the role; its credentials are its own. */
static void
fetch(const char *server, const KsConf *conf, List *ids)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink registry", ALLOCSET_SMALL_SIZES);
	KsSchemaFetcher f = {.server = server, .conf = conf, .cxt = cxt, .idle = check_interrupts};

	ks_schemas_fetch(&f, ids);
	MemoryContextDelete(cxt);	/* closes the registry */
	CommandCounterIncrement();
}

void
ks_schemas_refuse_unknown(const KsApply *ap)
{
	const KsSchemaId *id = linitial(ap->unknown);
	char	   *text = ks_schema_id_text(id);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("schema %s has not been fetched from the registry of server \"%s\"", text, ap->sink->server),
			 errdetail_plural("%d schema of these records is not in kafka_sink.schemas.",
							  "%d schemas of these records are not in kafka_sink.schemas.",
							  list_length(ap->unknown), list_length(ap->unknown)),
			 errhint("Fetch it before this transaction: SELECT kafka_sink.schema(%s, %s).",
					 quote_literal_cstr(ap->sink->server), id->id >= 0 ? text : quote_literal_cstr(text))));
}

int
ks_schemas_apply(KsApply *ap, const KsRecord *recs, int n, KsPartition *parts, int nparts,
				 KsRecordError *err)
{
	int			done = ks_apply(ap, recs, n, parts, nparts, err);

	if (ap->unknown == NIL)
		return done;
	fetch(ap->sink->server, ks_options_load(ap->sink->server, ap->sink->owner), ap->unknown);
	done = ks_apply(ap, recs, n, parts, nparts, err);
	if (ap->unknown != NIL)
		ks_schemas_refuse_unknown(ap);
	return done;
}

/* Fetched if nobody has done so yet. */
static KsSchemaText
find_schema(const char *server, const KsSchemaId *id)
{
	/* checks that the role may use the server, whatever is known already */
	KsConf	   *conf = ks_options_load(server, GetUserId());
	KsSchemaText text;
	KsSchemaState state = ks_schemas_find(server, id, &text);

	if (state != KS_SCHEMA_KNOWN)
	{
		fetch(server, conf, list_make1(unconstify(KsSchemaId *, id)));
		state = ks_schemas_find(server, id, &text);
	}
	if (state != KS_SCHEMA_KNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("schema %s is not in the registry of server \"%s\"", ks_schema_id_text(id), server),
				 state == KS_SCHEMA_ABSENT ? errdetail_internal("%s", text.text) : 0));
	return text;
}

/* kafka_sink.schema(server text, id bigint) */
Datum
kafka_sink_schema(PG_FUNCTION_ARGS)
{
	KsSchemaId	id = {.id = PG_GETARG_INT64(1)};

	ks_refuse_nulls(fcinfo);
	if (id.id < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("id must not be negative")));
	PG_RETURN_TEXT_P(cstring_to_text(find_schema(ks_text_argument(fcinfo, 0), &id).text));
}

/* kafka_sink.schema(server text, guid uuid) */
Datum
kafka_sink_schema_guid(PG_FUNCTION_ARGS)
{
	KsSchemaId	id = {.id = -1};

	ks_refuse_nulls(fcinfo);
	id.guid = *PG_GETARG_UUID_P(1);
	PG_RETURN_TEXT_P(cstring_to_text(find_schema(ks_text_argument(fcinfo, 0), &id).text));
}

KS_NORETURN static void tells_no_schema(const char *detail);

static void
tells_no_schema(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("data tells no schema"),
			 errdetail("%s.", detail)));
}

/* kafka_sink.decode(server text, data bytea, header bytea) */
Datum
kafka_sink_decode(PG_FUNCTION_ARGS)
{
	char	   *server = ks_text_argument(fcinfo, 0);
	KsHeader	header = {.name = "__value_schema_id"};
	KsRecord	rec = {.keylen = -1, .headers = &header};
	StringInfoData json;
	KsSchemaText text;
	KsSchemaId	id;
	KsMessagePath path;
	int			skip;
	const char *wrong;
	bytea	   *data;

	/* a tombstone */
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	data = PG_GETARG_BYTEA_PP(1);
	rec.value = VARDATA_ANY(data);
	rec.valuelen = VARSIZE_ANY_EXHDR(data);
	if (!PG_ARGISNULL(2))
	{
		bytea	   *told = PG_GETARG_BYTEA_PP(2);

		header.value = VARDATA_ANY(told);
		header.valuelen = VARSIZE_ANY_EXHDR(told);
		rec.nheaders = 1;
	}
	wrong = ks_framing_read(KS_FRAMING_AUTO, &rec, false, &id, &skip);
	if (wrong)
		tells_no_schema(wrong);
	text = find_schema(server, &id);
	initStringInfo(&json);
	if (strcmp(text.type, "PROTOBUF") == 0)
	{
		wrong = ks_framing_read_message(KS_FRAMING_AUTO, &rec, false, &id, &path, &skip);
		if (wrong)
			tells_no_schema(wrong);
		ks_proto_decode_json(&text, &path, rec.value + skip, rec.valuelen - skip, &json);
	}
	else
		ks_avro_decode_json(&text, rec.value + skip, rec.valuelen - skip, &json);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
