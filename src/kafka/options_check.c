/*
 * options_check.c
 *	  What the properties of a connection must be together, and what its role must have.
 *
 * Each of them is known, stands in its place, and has a value of its type.  As in options.c
 * no message has any part of a value, but for names of SASL mechanisms, which were checked.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "kafka/options_table.h"

static bool
value_is(const KsConf *conf, const char *property, const char *value)
{
	const char *v = ks_options_get(conf, property);

	return v && strcmp(v, value) == 0;
}

static bool
starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* What a non-superuser may not make a server do. */
static void
check_server_privileges(const KsConf *conf, bool tls)
{
	const char *mechanism = ks_options_get(conf, "sasl.mechanisms");

	if (mechanism &&
		(strcmp(mechanism, "GSSAPI") == 0 || strcmp(mechanism, "OAUTHBEARER") == 0))
		ks_option_error(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to use SASL mechanism %s", mechanism),
						errdetail("Only superusers may use it: it can authenticate as the server itself."),
						errhint("Use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."));
	if (!tls && !ks_option_hosts_local(ks_options_get(conf, "bootstrap.servers")))
		ks_option_error(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to use a connection without TLS to another host"),
						errdetail("Only superusers may do so: for others every host of \"bootstrap_servers\" must be localhost, in 127.0.0.0/8, or [::1]."),
						errhint("Set \"security_protocol\" to ssl or sasl_ssl."));
}

/* What the options of a server about a schema registry must be together. */
static void
check_registry(const KsConf *conf, Oid by)
{
	const char *urls = ks_options_get(conf, "schema.registry.url");
	bool		any_tls,
				any_bare;

	for (int i = 0; i < conf->nprops && urls == NULL; i++)
		if (conf->props[i].registry)
			ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("option \"%s\" has no effect without \"schema_registry_url\"",
								   ks_option_sql_name(conf->props[i].name)));
	if (urls == NULL)
		return;
	ks_option_urls_schemes(urls, &any_tls, &any_bare);
	if (ks_options_get(conf, "schema.registry.ssl.ca.pem") && !any_tls)
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"schema_registry_ssl_ca_pem\" has no effect with this \"schema_registry_url\""),
						errhint("Use https:// in \"schema_registry_url\"."));
	if (any_bare && OidIsValid(by) && !superuser_arg(by))
		ks_option_error(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to use a schema registry without TLS on another host"),
						errdetail("Only superusers may do so: for others every host of \"schema_registry_url\" behind http:// must be localhost, in 127.0.0.0/8, or [::1]."),
						errhint("Use https:// in \"schema_registry_url\"."));
}

void
ks_options_check_server(const KsConf *conf, Oid by)
{
	const char *protocol = ks_options_get(conf, "security.protocol");
	const char *mechanism = ks_options_get(conf, "sasl.mechanisms");
	const char *backoff = ks_options_get(conf, "reconnect.backoff.ms");
	const char *max_backoff = ks_options_get(conf, "reconnect.backoff.max.ms");
	bool		sasl = protocol && starts_with(protocol, "sasl_");
	bool		tls = protocol && (strcmp(protocol, "ssl") == 0 ||
								   strcmp(protocol, "sasl_ssl") == 0);

	if (ks_options_get(conf, "bootstrap.servers") == NULL)
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
								   ks_option_sql_name(conf->props[i].name)),
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
	/* unless it is set, the second is never below the first */
	if (max_backoff && (backoff ? atoi(backoff) : 100) > atoi(max_backoff))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"reconnect_backoff_ms\" must not exceed \"reconnect_backoff_max_ms\""),
						errdetail("Unless set, the first is 100, and the second 3000, or as much as the first."));
	check_registry(conf, by);
}

/* Errors if there is one of two properties that go together. */
static void
check_pair(const KsConf *conf, const char *one, const char *other, const char *detail)
{
	bool		has_one = ks_options_get(conf, one) != NULL;

	if (has_one != (ks_options_get(conf, other) != NULL))
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("option \"%s\" is required", ks_option_sql_name(has_one ? other : one)),
						errdetail("%s", detail));
}

/* What those of a user mapping about a schema registry must be together. */
static void
check_registry_mapping(const KsConf *conf)
{
	const char *username = ks_options_get(conf, "schema.registry.username");

	check_pair(conf, "schema.registry.username", "schema.registry.password",
			   "A user's name and password go together.");
	check_pair(conf, "schema.registry.ssl.key.pem", "schema.registry.ssl.certificate.pem",
			   "A client's key and certificate go together.");
	if (username && strchr(username, ':'))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid value for option \"schema_registry_username\""),
						errdetail("It contains a colon, which HTTP takes for the end of the name."));
	if (username && ks_options_get(conf, "schema.registry.bearer.token"))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("options \"schema_registry_bearer_token\" and \"schema_registry_username\" exclude each other"),
						errdetail("A registry is given either a token, or a user's name and password."));
	if (ks_options_get(conf, "schema.registry.ssl.key.password") &&
		!ks_options_get(conf, "schema.registry.ssl.key.pem"))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"schema_registry_ssl_key_password\" has no effect without \"schema_registry_ssl_key_pem\""));
}

void
ks_options_check_mapping(const KsConf *conf)
{
	bool		key = ks_options_get(conf, "ssl.key.pem") || ks_options_get(conf, "ssl.key.location");
	bool		cert = ks_options_get(conf, "ssl.certificate.pem") ||
		ks_options_get(conf, "ssl.certificate.location");

	if (key != cert)
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("option \"%s\" is required", key ? "ssl_certificate_pem" : "ssl_key_pem"),
						errdetail("A client's key and certificate go together."));
	if (ks_options_get(conf, "ssl.keystore.location") && !ks_options_get(conf, "ssl.keystore.password"))
		ks_option_error(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						errmsg("option \"ssl_keystore_password\" is required"));
	check_registry_mapping(conf);
}

void
ks_options_check_credentials(const KsConf *conf, const char *server, Oid role)
{
	const char *protocol = ks_options_get(conf, "security.protocol");
	const char *mechanism = ks_options_get(conf, "sasl.mechanisms");
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
	else if (!ks_options_get(conf, "sasl.username") || !ks_options_get(conf, "sasl.password"))
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
