/*
 * funcs_schema.c
 *	  Schemas of registries in sessions: schema(), decode(), and what preview() and
 *	  retry_dead_letters() need; and those that no registry has: add_schema().
 *
 * A session asks in its own transaction, which holds no offsets.  What it was told is
 * stored if that commits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "catalog/schemas.h"
#include "format/decode_format.h"
#include "format/framing.h"
#include "format/schema_cache.h"
#include "process/schema_fetch.h"
#include "sql/arguments.h"
#include "sql/funcs_schema.h"

#define MAX_SCHEMA		(1024 * 1024)	/* bytes of its text */
#define MAX_UNPACKED	(64 * 1024 * 1024)	/* of what decode() looks at */

PG_FUNCTION_INFO_V1(kafka_sink_schema);
PG_FUNCTION_INFO_V1(kafka_sink_schema_guid);
PG_FUNCTION_INFO_V1(kafka_sink_decode);
PG_FUNCTION_INFO_V1(kafka_sink_add_schema);
PG_FUNCTION_INFO_V1(kafka_sink_add_schema_guid);
PG_FUNCTION_INFO_V1(kafka_sink_drop_schema);
PG_FUNCTION_INFO_V1(kafka_sink_drop_schema_guid);

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

bool
ks_schemas_newest(const char *server, const KsConf *conf, const char *subject,
				  KsSchemaId *id, int *version, KsSchemaText *text)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink registry", ALLOCSET_SMALL_SIZES);
	KsSchemaFetcher f = {.server = server, .conf = conf, .cxt = cxt, .idle = check_interrupts};
	bool		found = ks_schemas_fetch_newest(&f, subject, id, version);

	MemoryContextDelete(cxt);	/* closes the registry */
	CommandCounterIncrement();
	return found && ks_schemas_find(server, id, text) == KS_SCHEMA_KNOWN;
}

static int
compare_versions(const ListCell *a, const ListCell *b)
{
	return lfirst_int(a) < lfirst_int(b) ? -1 : lfirst_int(a) > lfirst_int(b);
}

static void
take_version(KsSchemaFetcher *f, const char *subject, int version, KsVersionTaker take, void *arg)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink version", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsSchemaText text;
	KsSchemaId	id;
	const char *why = ks_schemas_fetch_version(f, subject, version, &id);

	CommandCounterIncrement();
	if (why == NULL && ks_schemas_find(f->server, &id, &text) != KS_SCHEMA_KNOWN)
		why = "It could not be stored.";
	MemoryContextSwitchTo(old);
	take(version, why ? NULL : &text, why, cxt, arg);
	MemoryContextDelete(cxt);
}

bool
ks_schemas_before(const char *server, const KsConf *conf, const char *subject, int newest,
				  int max, KsVersionTaker take, void *arg)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink registry", ALLOCSET_SMALL_SIZES);
	KsSchemaFetcher f = {.server = server, .conf = conf, .cxt = cxt, .idle = check_interrupts};
	List	   *versions = ks_schemas_fetch_versions(&f, subject);
	int			n = 0;

	list_sort(versions, compare_versions);
	for (int i = list_length(versions) - 1; i >= 0; i--)
	{
		int			version = list_nth_int(versions, i);

		if (version >= newest)
			continue;
		if (n++ < max)
			take_version(&f, subject, version, take, arg);
	}
	MemoryContextDelete(cxt);	/* closes the registry */
	return n <= max;
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
			 errhint("Fetch it before this transaction: SELECT kafka_sink.schema(%s, %s%s).",
					 quote_literal_cstr(ap->sink->server), id->id >= 0 ? text : quote_literal_cstr(text),
					 id->global ? ", true" : "")));
}

bool
ks_schemas_evolve(KsApply *ap, KsRecordError *err)
{
	const KsEvolution *e = &ap->evolution;

	CHECK_FOR_INTERRUPTS();
	memset(err, 0, sizeof(KsRecordError));
	ks_apply_finish(ap);
	err->edata = ks_evolve_run(ap);
	ks_apply_prepare(ap);
	if (err->edata == NULL)
	{
		ereport(NOTICE,
				(errmsg("schema %s of the registry needs: %s", ks_schema_id_text(&e->id), e->statement)));
		return true;
	}
	err->index = e->at;
	err->of_record = true;
	ap->decoding = 0;			/* nothing is */
	return false;
}

int
ks_schemas_apply(KsApply *ap, const KsRecord *recs, int n, KsPartition *parts, int nparts,
				 KsRecordError *err)
{
	KsSchemaId	asked = {0};
	bool		fetched = false;	/* just now, that one first */

	for (;;)
	{
		int			done = ks_apply(ap, recs, n, parts, nparts, err);

		/* (a target that was altered has its schemas looked for anew) */
		if (ap->unknown != NIL)
		{
			if (fetched && ks_schema_id_equal(linitial(ap->unknown), &asked))
				ks_schemas_refuse_unknown(ap);
			asked = *(const KsSchemaId *) linitial(ap->unknown);
			fetch(ap->sink->server, ks_options_load(ap->sink->server, ap->sink->owner), ap->unknown);
			ap->again = fetched = true;
			continue;
		}
		fetched = false;
		if (ap->evolution.at < 0 || !ks_schemas_evolve(ap, err))
			return done;
	}
}

/* Fetched if nobody has done so yet. */
static KsSchemaText
find_schema(const char *server, const KsSchemaId *id)
{
	/* checks that the role may use the server, whatever is known already */
	KsConf	   *conf = ks_options_load(server, GetUserId());
	KsSchemaText text;
	KsSchemaState state = ks_schemas_find(server, id, &text);

	if (state != KS_SCHEMA_KNOWN && ks_schemas_registry(server))
	{
		fetch(server, conf, list_make1(unconstify(KsSchemaId *, id)));
		state = ks_schemas_find(server, id, &text);
	}
	if (state == KS_SCHEMA_ABSENT && text.unreadable)
		ks_schema_refuse_unreadable(id, &text);
	if (state != KS_SCHEMA_KNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("schema %s is not in the registry of server \"%s\"", ks_schema_id_text(id), server),
				 state == KS_SCHEMA_ABSENT ? errdetail_internal("%s", text.text) : 0));
	return text;
}

/* An argument that is an id. */
static KsSchemaId
id_argument(FunctionCallInfo fcinfo, int arg)
{
	KsSchemaId	id = {.id = PG_GETARG_INT64(arg)};

	if (id.id < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("id must not be negative")));
	return id;
}

static KsSchemaId
guid_argument(FunctionCallInfo fcinfo, int arg)
{
	KsSchemaId	id = {.id = -1};

	id.guid = *PG_GETARG_UUID_P(arg);
	return id;
}

/* kafka_sink.schema(server text, id bigint, global boolean) */
Datum
kafka_sink_schema(PG_FUNCTION_ARGS)
{
	KsSchemaId	id;

	ks_refuse_nulls(fcinfo);
	id = id_argument(fcinfo, 1);
	id.global = PG_GETARG_BOOL(2);
	PG_RETURN_TEXT_P(cstring_to_text(find_schema(ks_text_argument(fcinfo, 0), &id).text));
}

/* kafka_sink.schema(server text, guid uuid) */
Datum
kafka_sink_schema_guid(PG_FUNCTION_ARGS)
{
	KsSchemaId	id;

	ks_refuse_nulls(fcinfo);
	id = guid_argument(fcinfo, 1);
	PG_RETURN_TEXT_P(cstring_to_text(find_schema(ks_text_argument(fcinfo, 0), &id).text));
}

/* --- schemas that are given --- */

/* What it says is believed by all who use the server. */
static Oid
owned_server(const char *server)
{
	Oid			oid = get_foreign_server_oid(server, false);

	if (!ks_server_ownercheck(oid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_SERVER, server);
	return oid;
}

/* Whoever drops or renames the server waits, and sees what is given here. */
static void
check_owner(const char *server)
{
	Oid			oid = owned_server(server);

	for (;;)
	{
		Oid			now;

		LockDatabaseObject(ForeignServerRelationId, oid, 0, AccessShareLock);
		now = owned_server(server);
		if (now == oid)
			return;
		UnlockDatabaseObject(ForeignServerRelationId, oid, 0, AccessShareLock);
		oid = now;
	}
}

/* One that is there is the same, or stays. */
static void
check_same(const char *server, const KsSchemaId *id, const char *type, const char *schema)
{
	KsSchemaText text;

	if (ks_schemas_find(server, id, &text) == KS_SCHEMA_KNOWN && strcmp(text.type, type) == 0 &&
		strcmp(text.text, schema) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("schema %s of server \"%s\" is another one", ks_schema_id_text(id), server),
			 errhint("A schema does not change.  If it was given by mistake, kafka_sink.drop_schema() forgets it.")));
}

/* An array of objects with a name and a schema each. */
static void
check_refs(Jsonb *refs)
{
	static const char *const members[] = {"name", "schema"};

	if (!JB_ROOT_IS_ARRAY(refs) || JB_ROOT_IS_SCALAR(refs))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("refs must be an array")));
	for (uint32 i = 0; i < JB_ROOT_COUNT(refs); i++)
	{
		JsonbValue *ref = getIthJsonbValueFromContainer(&refs->root, i);
		JsonbValue	v;

		for (int k = 0; k < (int) lengthof(members); k++)
			if (ref->type != jbvBinary || !JsonContainerIsObject(ref->val.binary.data) ||
				getKeyJsonValueFromContainer(ref->val.binary.data, members[k], strlen(members[k]), &v) == NULL ||
				v.type != jbvString)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("refs must be an array of objects with texts \"name\" and \"schema\""),
						 errhint("A reference stands behind those that it refers to itself.")));
	}
}

/* Is it one?  What it refers to is only looked at when records are by it. */
static void
check_schema(const char *type, const char *schema)
{
	if (strcmp(type, "AVRO") != 0 && strcmp(type, "PROTOBUF") != 0 && strcmp(type, "JSON") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type of a schema: \"%s\"", type),
				 errhint("Valid types: AVRO, PROTOBUF, JSON.")));
	if (strlen(schema) > MAX_SCHEMA)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("schema is too large"),
				 errdetail("The limit is %d bytes.", MAX_SCHEMA)));
}

static void
add_schema(FunctionCallInfo fcinfo, const KsSchemaId *id)
{
	char	   *server = ks_text_argument(fcinfo, 0);
	char	   *type = ks_text_argument(fcinfo, 2);
	char	   *schema = ks_text_argument(fcinfo, 3);
	Jsonb	   *refs = PG_GETARG_JSONB_P(4);

	check_owner(server);
	check_schema(type, schema);
	check_refs(refs);
	if (!ks_schemas_store(server, "", id, type, schema, refs))
		check_same(server, id, type, schema);
}

/* kafka_sink.add_schema(server text, id bigint, type text, schema text, refs jsonb) */
Datum
kafka_sink_add_schema(PG_FUNCTION_ARGS)
{
	KsSchemaId	id;

	ks_refuse_nulls(fcinfo);
	id = id_argument(fcinfo, 1);
	add_schema(fcinfo, &id);
	PG_RETURN_VOID();
}

/* The same, by a GUID. */
Datum
kafka_sink_add_schema_guid(PG_FUNCTION_ARGS)
{
	KsSchemaId	id;

	ks_refuse_nulls(fcinfo);
	id = guid_argument(fcinfo, 1);
	add_schema(fcinfo, &id);
	PG_RETURN_VOID();
}

static bool
drop_schema(FunctionCallInfo fcinfo, const KsSchemaId *id)
{
	char	   *server = ks_text_argument(fcinfo, 0);

	check_owner(server);
	return ks_schemas_remove_given(server, id);
}

/* kafka_sink.drop_schema(server text, id bigint) */
Datum
kafka_sink_drop_schema(PG_FUNCTION_ARGS)
{
	KsSchemaId	id;

	ks_refuse_nulls(fcinfo);
	id = id_argument(fcinfo, 1);
	PG_RETURN_BOOL(drop_schema(fcinfo, &id));
}

/* The same, by a GUID. */
Datum
kafka_sink_drop_schema_guid(PG_FUNCTION_ARGS)
{
	KsSchemaId	id;

	ks_refuse_nulls(fcinfo);
	id = guid_argument(fcinfo, 1);
	PG_RETURN_BOOL(drop_schema(fcinfo, &id));
}

/* --- decode() --- */

static KsFraming
framing_argument(FunctionCallInfo fcinfo, int arg)
{
	const char *word = ks_text_argument(fcinfo, arg);

	if (strcmp(word, "auto") == 0)
		return KS_FRAMING_AUTO;
	if (strcmp(word, "apicurio8") == 0)
		return KS_FRAMING_APICURIO8;
	if (strcmp(word, "glue") == 0)
		return KS_FRAMING_GLUE;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid framing: \"%s\"", word),
			 errhint("Valid framings: auto, apicurio8, glue.")));
}

/* A value behind what tells its schema, as JSON. */
static void
decode_json(const KsSchemaText *text, const char *s, int len, StringInfo json)
{
	if (strcmp(text->type, "JSON") != 0)
	{
		ks_avro_decode_json(text, s, len, json);
		return;
	}
	(void) pg_verify_mbstr(PG_UTF8, s, len, false);
	appendStringInfoString(json, pg_any_to_server(pnstrdup(s, len), len, PG_UTF8));
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

/* By a schema of Protobuf, of which the bytes tell the message, too. */
static void
decode_message(const KsSchemaText *text, KsFraming framing, const KsRecord *rec, StringInfo json)
{
	KsSchemaId	id;
	KsMessagePath path;
	const char *wrong;
	int			skip;

	if (framing == KS_FRAMING_APICURIO8 || framing == KS_FRAMING_GLUE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("framings apicurio8 and glue do not go with a Protobuf schema"),
				 errdetail("Their serializers tell the message in ways of their own.")));
	wrong = ks_framing_read_message(framing, rec, false, &id, &path, &skip);
	if (wrong)
		tells_no_schema(wrong);
	ks_proto_decode_json(text, &path, rec->value + skip, rec->valuelen - skip, json);
}

/* kafka_sink.decode(server text, data bytea, header bytea, framing text) */
Datum
kafka_sink_decode(PG_FUNCTION_ARGS)
{
	char	   *server = ks_text_argument(fcinfo, 0);
	KsHeader	header = {.name = "__value_schema_id"};
	KsRecord	rec = {.keylen = -1, .headers = &header};
	StringInfoData json;
	KsSchemaText text;
	KsSchemaId	id;
	int			skip;
	const char *wrong;
	bytea	   *data;
	KsDecoder	d = {.settings.max_record_bytes = MAX_UNPACKED};
	KsSchemaPart part = {.framing = framing_argument(fcinfo, 3), .unpacked.cxt = CurrentMemoryContext};

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
	wrong = ks_framing_read(part.framing, &rec, false, &id, &skip);
	if (wrong)
		tells_no_schema(wrong);
	text = find_schema(server, &id);
	initStringInfo(&json);
	if (strcmp(text.type, "PROTOBUF") == 0)
		decode_message(&text, part.framing, &rec, &json);
	else
	{
		ks_schemas_unpack(&d, &part, &rec.value, &rec.valuelen, skip);
		decode_json(&text, rec.value, rec.valuelen, &json);
	}
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
