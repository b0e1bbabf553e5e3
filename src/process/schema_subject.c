/*
 * schema_subject.c
 *	  Fetches schemas by the subjects that they are versions of.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "process/schema_fetch_int.h"

/* What is stored is what records are read by: to go on with the other one would not help. */
static void
refuse_other(const KsSchemaFetcher *f, const KsSchemaId *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(KS_SCHEMA_DIFFERS, ks_schema_id_text(id)),
			 errdetail(KS_SCHEMA_DIFFERS_DETAIL),
			 errhint(KS_SCHEMA_DIFFERS_HINT, quote_literal_cstr(f->server))));
}

/* A version of a subject, "latest" too; false: there is none, or 'absent' says why it cannot be had. */
static bool
fetch_subject(KsFetched *s, const char *subject, const char *which, KsSchemaId *id, int *version)
{
	Jsonb	   *answer = ks_answer_ask(s, psprintf("/subjects/%s/versions/%s", ks_answer_encode(s, subject), which));

	if (answer)
	{
		memset(id, 0, sizeof(KsSchemaId));
		id->id = ks_answer_int(&answer->root, "id", PG_INT64_MAX);
		*version = (int) ks_answer_int(&answer->root, "version", PG_INT32_MAX);
		if (id->id < 0)
			ks_answer_not_understood("Its member \"id\" is negative.");
		(void) pushJsonbValue(&s->refs, WJB_BEGIN_ARRAY, NULL);
		ks_fetch_read(s, answer);
	}
	if (answer == NULL || s->absent)
		return false;
	ks_fetch_store(s, id);
	if (ks_fetch_differs(s->f, id, s->schema))
		refuse_other(s->f, id);
	return true;
}

/* There is one, but it cannot be had. */
static void
refuse_subject(const KsFetched *s, const char *subject)
{
	if (s->unreadable)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("the schema of subject \"%s\" cannot be kept in this database", subject),
				 errdetail_internal("%s", s->absent)));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the schema of subject \"%s\" is not whole", subject),
			 errdetail_internal("%s", s->absent)));
}

bool
ks_schemas_fetch_newest(KsSchemaFetcher *f, const char *subject, KsSchemaId *id, int *version)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink fetched schema",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsFetched		s = {.f = f};
	bool		found;

	if (f->registry == NULL)
		ks_fetch_open(f);
	found = fetch_subject(&s, subject, "latest", id, version);
	if (s.absent)
		refuse_subject(&s, subject);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return found;
}

const char *
ks_schemas_fetch_version(KsSchemaFetcher *f, const char *subject, int version, KsSchemaId *id)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink fetched schema",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsFetched		s = {.f = f};
	const char *why = NULL;

	if (f->registry == NULL)
		ks_fetch_open(f);
	if (!fetch_subject(&s, subject, psprintf("%d", version), id, &version))
		why = s.absent ? s.absent : "The registry has no such version.";
	MemoryContextSwitchTo(old);
	why = why ? pstrdup(why) : NULL;
	MemoryContextDelete(cxt);
	return why;
}

List *
ks_schemas_fetch_versions(KsSchemaFetcher *f, const char *subject)
{
	KsFetched		s = {.f = f};
	List	   *result = NIL;
	char	   *body;
	Jsonb	   *array;

	if (f->registry == NULL)
		ks_fetch_open(f);
	body = ks_answer_get(&s, psprintf("/subjects/%s/versions", ks_answer_encode(&s, subject)));
	array = body ? ks_answer_parse(&s, body) : NULL;
	if (array && !JB_ROOT_IS_ARRAY(array))
		ks_answer_not_understood("Versions are not an array.");
	for (uint32 i = 0; array && i < JB_ROOT_COUNT(array); i++)
	{
		int64		version;

		if (!ks_answer_number(getIthJsonbValueFromContainer(&array->root, i), PG_INT32_MAX, &version))
			ks_answer_not_understood("A version is not a number, or not such a one.");
		result = lappend_int(result, (int) version);
	}
	return result;
}
