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

/* The spelling that needs no quotes in SQL. */
static char *
sql_name(const char *name)
{
	char	   *result = pstrdup(name);

	for (char *p = result; *p; p++)
		if (*p == '.')
			*p = '_';
	return result;
}

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
		char	   *candidate = sql_name(opt->name);
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

static const char *
get_value(const KsConf *conf, const char *property)
{
	for (int i = 0; i < conf->nprops; i++)
		if (strcmp(conf->props[i].name, property) == 0)
			return conf->props[i].value;
	return NULL;
}

static bool
value_is(const KsConf *conf, const char *property, const char *value)
{
	const char *v = get_value(conf, property);

	return v && strcmp(v, value) == 0;
}

static bool
starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

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
		if (get_value(conf, opt->name))
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

/* What a non-superuser may not make a server do. */
static void
check_server_privileges(const KsConf *conf, bool tls)
{
	const char *mechanism = get_value(conf, "sasl.mechanisms");

	if (mechanism &&
		(strcmp(mechanism, "GSSAPI") == 0 || strcmp(mechanism, "OAUTHBEARER") == 0))
		ks_option_error(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to use SASL mechanism %s", mechanism),
						errdetail("Only superusers may use it: it can authenticate as the server itself."),
						errhint("Use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."));
	if (!tls && !ks_option_hosts_local(get_value(conf, "bootstrap.servers")))
		ks_option_error(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to use a connection without TLS to another host"),
						errdetail("Only superusers may do so: for others every host of \"bootstrap_servers\" must be localhost, in 127.0.0.0/8, or [::1]."),
						errhint("Set \"security_protocol\" to ssl or sasl_ssl."));
}

/* What the options of a server about a schema registry must be together. */
static void
check_registry(const KsConf *conf, Oid by)
{
	const char *urls = get_value(conf, "schema.registry.url");
	bool		any_tls,
				any_bare;

	for (int i = 0; i < conf->nprops && urls == NULL; i++)
		if (conf->props[i].registry)
			ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("option \"%s\" has no effect without \"schema_registry_url\"",
								   sql_name(conf->props[i].name)));
	if (urls == NULL)
		return;
	ks_option_urls_look(urls, &any_tls, &any_bare);
	if (get_value(conf, "schema.registry.ssl.ca.pem") && !any_tls)
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"schema_registry_ssl_ca_pem\" has no effect with this \"schema_registry_url\""),
						errhint("Use https:// in \"schema_registry_url\"."));
	if (any_bare && OidIsValid(by) && !superuser_arg(by))
		ks_option_error(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to use a schema registry without TLS on another host"),
						errdetail("Only superusers may do so: for others every host of \"schema_registry_url\" behind http:// must be localhost, in 127.0.0.0/8, or [::1]."),
						errhint("Use https:// in \"schema_registry_url\"."));
}

/* What the options of a server must be together. */
static void
check_server(const KsConf *conf, Oid by)
{
	const char *protocol = get_value(conf, "security.protocol");
	const char *mechanism = get_value(conf, "sasl.mechanisms");
	const char *backoff = get_value(conf, "reconnect.backoff.ms");
	const char *max_backoff = get_value(conf, "reconnect.backoff.max.ms");
	bool		sasl = protocol && starts_with(protocol, "sasl_");
	bool		tls = protocol && (strcmp(protocol, "ssl") == 0 ||
								   strcmp(protocol, "sasl_ssl") == 0);

	if (get_value(conf, "bootstrap.servers") == NULL)
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("option \"bootstrap_servers\" is required"),
						errhint("Use OPTIONS (bootstrap_servers 'host:9092')."));
	if (sasl && mechanism == NULL)
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("option \"sasl_mechanisms\" is required with this \"security_protocol\""),
						errhint("Usual ones are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512."));
	if (mechanism && !sasl)
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"sasl_mechanisms\" has no effect with this \"security_protocol\""),
						errhint("Set \"security_protocol\" to sasl_ssl or sasl_plaintext."));
	for (int i = 0; i < conf->nprops && !tls; i++)
		if (starts_with(conf->props[i].name, "ssl.") ||
			starts_with(conf->props[i].name, "enable.ssl."))
			ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("option \"%s\" has no effect with this \"security_protocol\"",
								   sql_name(conf->props[i].name)),
							errhint("Set \"security_protocol\" to ssl or sasl_ssl."));
	if (OidIsValid(by) && !superuser_arg(by))
		check_server_privileges(conf, tls);

	/* nobody would get it a token */
	if (value_is(conf, "sasl.mechanisms", "OAUTHBEARER") &&
		!value_is(conf, "sasl.oauthbearer.method", "oidc") &&
		!value_is(conf, "enable.sasl.oauthbearer.unsecure.jwt", "true"))
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("SASL mechanism OAUTHBEARER requires the option \"sasl_oauthbearer_method\""),
						errdetail("It says where tokens come from."),
						errhint("Set it to oidc, and \"sasl_oauthbearer_token_endpoint_url\" to where tokens are given."));

	/* any other value lets librdkafka run kinit in a shell */
	if (value_is(conf, "sasl.mechanisms", "GSSAPI") &&
		!value_is(conf, "sasl.kerberos.min.time.before.relogin", "0"))
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("SASL mechanism GSSAPI requires the option \"sasl_kerberos_min_time_before_relogin\""),
						errdetail("It must be 0, so that librdkafka runs no shell command."),
						errhint("Refresh the ticket outside the server."));
	if ((backoff ? atoi(backoff) : 100) > (max_backoff ? atoi(max_backoff) : 10000))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"reconnect_backoff_ms\" must not exceed \"reconnect_backoff_max_ms\""),
						errdetail("Their defaults are 100 and 10000."));
	check_registry(conf, by);
}

/* Errors if there is one of two properties that go together. */
static void
check_pair(const KsConf *conf, const char *one, const char *other, const char *detail)
{
	bool		has_one = get_value(conf, one) != NULL;

	if (has_one != (get_value(conf, other) != NULL))
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("option \"%s\" is required", sql_name(has_one ? other : one)),
						errdetail("%s", detail));
}

/* What those of a user mapping about a schema registry must be together. */
static void
check_registry_mapping(const KsConf *conf)
{
	const char *username = get_value(conf, "schema.registry.username");

	check_pair(conf, "schema.registry.username", "schema.registry.password",
			   "A user's name and password go together.");
	check_pair(conf, "schema.registry.ssl.key.pem", "schema.registry.ssl.certificate.pem",
			   "A client's key and certificate go together.");
	if (username && strchr(username, ':'))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid value for option \"schema_registry_username\""),
						errdetail("It contains a colon, which HTTP takes for the end of the name."));
	if (username && get_value(conf, "schema.registry.bearer.token"))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("options \"schema_registry_bearer_token\" and \"schema_registry_username\" exclude each other"),
						errdetail("A registry is given either a token, or a user's name and password."));
	if (get_value(conf, "schema.registry.ssl.key.password") &&
		!get_value(conf, "schema.registry.ssl.key.pem"))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"schema_registry_ssl_key_password\" has no effect without \"schema_registry_ssl_key_pem\""));
}

/* What the options of a user mapping must be together. */
static void
check_mapping(const KsConf *conf)
{
	bool		key = get_value(conf, "ssl.key.pem") || get_value(conf, "ssl.key.location");
	bool		cert = get_value(conf, "ssl.certificate.pem") ||
		get_value(conf, "ssl.certificate.location");

	if (key != cert)
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("option \"%s\" is required", key ? "ssl_certificate_pem" : "ssl_key_pem"),
						errdetail("A client's key and certificate go together."));
	if (get_value(conf, "ssl.keystore.location") && !get_value(conf, "ssl.keystore.password"))
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("option \"ssl_keystore_password\" is required"));
	check_registry_mapping(conf);
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
		check_server(conf, GetUserId());
	}
	else if (catalog == UserMappingRelationId)
	{
		read_options(conf, defs, KS_IN_MAPPING, GetUserId());
		check_mapping(conf);
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

/*
 * Errors (28000) unless the role has what the server's SASL mechanism asks
 * for.  Only a superuser may authenticate as the server itself: GSSAPI takes
 * the ticket of its operating-system user, OAUTHBEARER may take its machine's
 * identity.
 */
static void
check_credentials(const KsConf *conf, const char *server, Oid role)
{
	const char *protocol = get_value(conf, "security.protocol");
	const char *mechanism = get_value(conf, "sasl.mechanisms");
	const char *needs = NULL;

	if (protocol == NULL || !starts_with(protocol, "sasl_"))
		return;
	if (strcmp(mechanism, "GSSAPI") == 0)
	{
		if (!superuser_arg(role))
			needs = "a superuser.";
	}
	else if (strcmp(mechanism, "OAUTHBEARER") == 0)
	{
		bool		own = false;

		for (int i = 0; i < conf->nprops; i++)
		{
			const char *name = conf->props[i].name;

			if (starts_with(name, "sasl.oauthbearer.") &&
				ks_option_find(name)->place == KS_IN_MAPPING)
				own = true;
		}
		if (!own && !superuser_arg(role))
			needs = "options sasl_oauthbearer_... in the role's own user mapping.";
	}
	else if (!get_value(conf, "sasl.username") || !get_value(conf, "sasl.password"))
		needs = "\"sasl_username\" and \"sasl_password\" in the role's own user mapping.";

	if (needs)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" has no credentials for server \"%s\"",
						GetUserNameFromId(role, false), server),
				 errdetail("SASL mechanism %s needs %s", mechanism, needs),
				 strcmp(mechanism, "GSSAPI") != 0 ?
				 errhint("Use CREATE USER MAPPING FOR %s SERVER %s OPTIONS (...), or ALTER USER MAPPING.",
						 quote_identifier(GetUserNameFromId(role, false)),
						 quote_identifier(server)) : 0));
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
	check_server(conf, InvalidOid);
	read_options(conf, defs, KS_IN_MAPPING, InvalidOid);
	check_mapping(conf);
	check_credentials(conf, server, role);
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
