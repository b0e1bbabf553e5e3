/*
 * options.c
 *	  Properties of connections: which may be set, by whom, where; and their
 *	  redaction.
 *
 * A property reaches librdkafka, or libcurl, only through read_options(), which knows the
 * names in options_table.c and refuses every other.  It runs when a server or
 * a user mapping is created or altered, and again at each ks_options_load(),
 * because a catalog can hold what today's table refuses (an older version, a
 * wrapper without validator).  Only the question who sets an option is asked
 * once, in the validator.
 *
 * No value is ever part of a message of the validator: a secret may have been
 * put into the wrong option.  Its errors also hide the statement, which holds
 * the password, from the server's log and from contexts.  Of a connection, what
 * librdkafka and brokers say is shown unless a value of a user mapping occurs in
 * it; the user's name may, and options of a server, which every role can read.
 *
 * In option names '_' and '.' are the same.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/compat.h"
#include "kafka/options.h"
#include "kafka/options_table.h"

PG_FUNCTION_INFO_V1(kafka_sink_validate_options);

/* --- errors about names --- */

KS_NORETURN static void unknown_option(const char *name, KsOptionPlace place);

static void
unknown_option(const char *name, KsOptionPlace place)
{
	StringInfoData valid;
	const char *closest = NULL;
	int			distance = 5;
	int			len = strlen(name);

	initStringInfo(&valid);
	for (const KsOption *opt = ks_options; opt->name; opt++)
	{
		char	   *candidate = ks_option_sql_name(opt->name);
		int			d;

		if (opt->class >= KS_OPTION_SINK || opt->place != place)
			continue;
		appendStringInfo(&valid, "%s%s", valid.len > 0 ? ", " : "", candidate);
		if (len >= NAMEDATALEN)
			continue;
		d = varstr_levenshtein_less_equal(name, len, candidate, strlen(candidate),
										  1, 1, 1, distance, true);
		if (d < distance && d <= len / 2)
		{
			closest = candidate;
			distance = d;
		}
	}
	ks_option_error(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					errmsg("invalid option \"%s\"", name),
					closest ?
					errhint("Perhaps you meant \"%s\". Valid options of a %s are: %s.", closest,
							place == KS_IN_SERVER ? "server" : "user mapping", valid.data) :
					errhint("Valid options of a %s are: %s.",
							place == KS_IN_SERVER ? "server" : "user mapping", valid.data));
}

/* Errors unless the option may stand in that place. */
static void
check_place(const KsOption *opt, const char *name, KsOptionPlace place)
{
	if (opt->class == KS_OPTION_NEVER)
		ks_option_error(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						errmsg("option \"%s\" is refused", name),
						errdetail("%s", opt->why));
	if (opt->class == KS_OPTION_SINK)
		ks_option_error(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						errmsg("option \"%s\" is set by the sink", name),
						errdetail("%s", opt->why),
						opt->hint ? errhint("%s", opt->hint) : 0);
	if (opt->place == KS_IN_MAPPING && place == KS_IN_SERVER)
		ks_option_error(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						errmsg("option \"%s\" belongs in a user mapping", name),
						errdetail("Every role can read the options of a server."),
						errhint("Use CREATE USER MAPPING."));
	if (opt->place == KS_IN_SERVER && place == KS_IN_MAPPING)
		ks_option_error(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						errmsg("option \"%s\" belongs in the server", name),
						errdetail("Only the server's owner may choose it."),
						errhint("Use ALTER SERVER."));
}

/* --- sets of options --- */

/* A text that only the mapping's role may know; flags and numbers are none. */
static bool
is_secret(const KsOption *opt)
{
	return opt->place == KS_IN_MAPPING &&
		(opt->type == KS_OPTION_STRING || opt->type == KS_OPTION_PEM);
}

/*
 * Adds a list of DefElem to 'conf', which has room.  'by' is the role that
 * sets them, or invalid if that was checked before.
 */
static void
read_options(KsConf *conf, List *defs, KsOptionPlace place, Oid by)
{
	ListCell   *lc;

	foreach(lc, defs)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		const char *name = def->defname;
		const KsOption *opt = ks_option_find(name);

		if (opt == NULL)
			unknown_option(name, place);
		check_place(opt, name, place);
		if (ks_options_get(conf, opt->name))
			ks_option_error(errcode(ERRCODE_DUPLICATE_OBJECT),
							errmsg("option \"%s\" is given twice", name),
							errdetail("Each of its spellings sets the property \"%s\".",
									  opt->name));
		if (opt->class == KS_OPTION_SUPERUSER && OidIsValid(by) && !superuser_arg(by))
			ks_option_error(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("permission denied to set option \"%s\"", name),
							errdetail("Only superusers may set it: %s", opt->why),
							opt->hint ? errhint("%s", opt->hint) : 0);
		conf->props[conf->nprops].name = opt->name;
		conf->props[conf->nprops].value = ks_option_value(opt, name, defGetString(def));
		conf->props[conf->nprops].secret = is_secret(opt);
		conf->props[conf->nprops].registry = opt->registry;
		conf->props[conf->nprops].side = opt->side;
		conf->nprops++;
	}
}

static KsConf *
create_conf(int n)
{
	KsConf	   *conf = palloc(sizeof(KsConf));

	conf->nprops = 0;
	conf->props = palloc0(sizeof(KsProperty) * Max(n, 1));
	return conf;
}

/* Validates the options of a server or a user mapping; nothing else has any. */
Datum
kafka_sink_validate_options(PG_FUNCTION_ARGS)
{
	List	   *defs = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	KsConf	   *conf = create_conf(list_length(defs));

	if (catalog == ForeignServerRelationId)
	{
		read_options(conf, defs, KS_IN_SERVER, GetUserId());
		ks_options_check_server(conf, GetUserId());
	}
	else if (catalog == UserMappingRelationId)
	{
		read_options(conf, defs, KS_IN_MAPPING, GetUserId());
		ks_options_check_mapping(conf);
	}
	else if (defs != NIL)
		ks_option_error(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						errmsg("invalid option \"%s\"", linitial_node(DefElem, defs)->defname),
						errdetail("Only servers and user mappings of kafka_sink have options."));
	PG_RETURN_VOID();
}

/* --- loading --- */

/* The options of a role's own mapping; a superuser may use that of PUBLIC. */
static List *
mapping_options(Oid serverid, Oid role)
{
	HeapTuple	tuple;
	Datum		datum;
	bool		isnull;
	List	   *defs = NIL;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role),
							ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple) && superuser_arg(role))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		defs = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return defs;
}

KsConf *
ks_options_load(const char *server, Oid role)
{
	Oid			serverid = get_foreign_server_oid(server, true);
	ForeignServer *fs;
	List	   *defs;
	KsConf	   *conf;

	if (!OidIsValid(serverid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", server),
				 errhint("CREATE SERVER %s FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers 'host:9092').",
						 quote_identifier(server))));
	fs = GetForeignServer(serverid);
	if (strcmp(GetForeignDataWrapper(fs->fdwid)->fdwname, "kafka_sink") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a Kafka server", server),
				 errdetail("Its foreign-data wrapper is not kafka_sink.")));
	if (ks_server_aclcheck(serverid, role, ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for server \"%s\"", server),
				 errdetail("Role \"%s\" has no privilege USAGE on it.",
						   GetUserNameFromId(role, false)),
				 errhint("GRANT USAGE ON FOREIGN SERVER %s TO %s.",
						 quote_identifier(server),
						 quote_identifier(GetUserNameFromId(role, false)))));

	defs = mapping_options(serverid, role);
	conf = create_conf(list_length(fs->options) + list_length(defs));
	read_options(conf, fs->options, KS_IN_SERVER, InvalidOid);
	ks_options_check_server(conf, InvalidOid);
	read_options(conf, defs, KS_IN_MAPPING, InvalidOid);
	ks_options_check_mapping(conf);
	ks_options_check_credentials(conf, server, role);
	return conf;
}

const char *
ks_options_of_server(const char *server, const char *property)
{
	Oid			serverid = get_foreign_server_oid(server, true);
	ListCell   *lc;

	if (!OidIsValid(serverid))
		return NULL;
	foreach(lc, GetForeignServer(serverid)->options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		const KsOption *opt = ks_option_find(def->defname);

		if (opt && strcmp(opt->name, property) == 0)
			return ks_option_value(opt, def->defname, defGetString(def));
	}
	return NULL;
}

uint64
ks_options_fingerprint(const KsConf *conf)
{
	uint64		hash = 0;

	/* with their terminators, so that nothing runs into the next */
	for (int i = 0; i < conf->nprops; i++)
	{
		const KsProperty *p = &conf->props[i];

		hash = hash_bytes_extended((const unsigned char *) p->name,
								   strlen(p->name) + 1, hash);
		hash = hash_bytes_extended((const unsigned char *) p->value,
								   strlen(p->value) + 1, hash);
	}
	return hash;
}
