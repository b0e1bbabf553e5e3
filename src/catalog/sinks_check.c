/*
 * sinks_check.c
 *	  What must hold of a sink before something is done with it.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/message.h"
#include "catalog/sinks.h"

/*
 * Is 'part' in the topic's list?  With list NULL or part -1 it only checks the
 * syntax ('0-15,20'), and errors on a bad one.
 */
static bool
partition_list_has(const char *list, int32 part)
{
	const char *p = list;
	bool		found = false;

	if (list == NULL)
		return true;
	for (;;)
	{
		char	   *end;
		long		lo,
					hi;

		errno = 0;
		if (!isdigit((unsigned char) *p))
			break;
		lo = hi = strtol(p, &end, 10);
		p = end;
		if (*p == '-')
		{
			if (!isdigit((unsigned char) p[1]))
				break;
			hi = strtol(p + 1, &end, 10);
			p = end;
		}
		if (errno != 0 || lo > hi || hi > PG_INT32_MAX)
			break;
		if (part >= lo && part <= hi)
			found = true;
		if (*p == '\0')
			return found;
		if (*p++ != ',')
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid list of partitions: \"%s\"", list),
			 errhint("Write partitions and ranges of them with commas between, such as 0-15,20.")));
}

void
ks_catalog_check_topic(const char *topic)
{
	size_t		len = strlen(topic);

	if (len == 0 || len > KS_MAX_TOPIC_LEN || strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0 ||
		strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid topic name"),
				 errdetail("Kafka's topics have 1 to %d letters, digits, dots, underscores and hyphens, and are not \".\" or \"..\".",
						   KS_MAX_TOPIC_LEN)));
}

void
ks_catalog_check_name(const char *kind, const char *name)
{
	size_t		len = strlen(name);
	bool		printable = true;

	for (const char *p = name; *p; p++)
		printable &= (unsigned char) *p >= 0x20 && *p != 0x7f;
	if (len == 0 || len >= NAMEDATALEN || !printable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid %s name", kind),
				 errdetail("A name has 1 to %d bytes, and no control characters.", NAMEDATALEN - 1)));
}

bool
ks_topic_has_partition(const KsTopic *topic, int32 part)
{
	return partition_list_has(topic->partitions, part);
}

void
ks_catalog_check_partitions(const char *list)
{
	(void) partition_list_has(list, -1);
}

void
ks_catalog_check_owner(const KsSink *sink, bool exactly)
{
	Oid			user = GetUserId();

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(sink->owner)) && (exactly || !superuser()))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of sink \"%s\" does not exist any more", sink->name),
				 errhint("A superuser can drop the sink and create it again as another role.")));
	if (exactly && user != sink->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must run as the owner of sink \"%s\"", sink->name),
				 errdetail("Its triggers, defaults and constraints would run with the privileges of \"%s\".",
						   GetUserNameFromId(user, false)),
				 errhint("SET ROLE %s first.",
						 quote_identifier(GetUserNameFromId(sink->owner, false)))));
	if (!has_privs_of_role(user, sink->owner))
	{
		if (!is_member_of_role(user, sink->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be a member of the owner of sink \"%s\"", sink->name)));
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" does not inherit the privileges of the owner of sink \"%s\"",
						GetUserNameFromId(user, false), sink->name),
				 ks_can_set_role(user, sink->owner) ?
				 errhint("SET ROLE %s first.",
						 quote_identifier(GetUserNameFromId(sink->owner, false))) : 0));
	}
}

void
ks_catalog_check_definer(const KsSink *sink)
{
	Oid			user = GetUserId();

	ks_catalog_check_owner(sink, false);
	if (!ks_can_set_role(user, sink->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to SET ROLE \"%s\" to change sink \"%s\"",
						GetUserNameFromId(sink->owner, true), sink->name),
				 errdetail("What a sink is told to do, it does as its owner.")));
}

void
ks_catalog_check_writes(const KsSink *sink)
{
	if (!ks_sink_writes(sink))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has neither target nor command", sink->name),
				 errdetail("It is a ledger for kafka_sink.claim().")));
}

void
ks_catalog_check_consumes(const KsSink *sink, List *topics)
{
	ListCell   *lc;

	if (sink->server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no server to consume from", sink->name),
				 errhint("SELECT kafka_sink.alter_sink(%s, server => ...).", quote_literal_cstr(sink->name))));
	ks_catalog_check_writes(sink);
	if (topics == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no topics", sink->name),
				 errhint("SELECT kafka_sink.register_topic(%s, ...).", quote_literal_cstr(sink->name))));
	foreach(lc, topics)
	{
		const KsTopic *topic = lfirst(lc);

		if (!OidIsValid(topic->target) && !ks_sink_writes_by_default(sink))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("topic \"%s\" of sink \"%s\" has no target", topic->topic, sink->name),
					 errdetail("The sink has none, nor a command."),
					 errhint("SELECT kafka_sink.alter_topic(%s, %s, target => ...).",
							 quote_literal_cstr(sink->name), quote_literal_cstr(topic->topic))));
	}
}
