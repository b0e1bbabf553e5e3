/*
 * options_value.c
 *	  Values of properties: types, ranges, hosts, URLs.
 *
 * A value is checked by the table's own type first, so that librdkafka sees
 * only what we understood in the same way: integers are decimal (librdkafka
 * takes 010 for 8), Booleans are true or false, hosts are plain names and
 * addresses.  No message has any part of a value: a secret may have been put
 * into the wrong option.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "common/string.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "base/guc.h"
#include "kafka/options_table.h"
#include "kafka/registry_url.h"
#include "kafka/source.h"

#define MAX_VALUE		4096
#define MAX_PEM			(1024 * 1024)
#define MAX_URLS		2000	/* schemas are found by them, in an index */

static void
invalid_value(const char *name, const char *detail)
{
	ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for option \"%s\"", name),
					errdetail("%s", detail));
}

/* Nothing that a log line, a list or librdkafka's own trimming could twist. */
static void
check_text(const char *name, const char *value, bool pem)
{
	size_t		max = pem ? MAX_PEM : MAX_VALUE;

	if (value[0] == '\0')
		invalid_value(name, "It is empty.");
	if (strlen(value) > max)
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("value of option \"%s\" is too long", name),
						errdetail("The most is %zu bytes.", max));
	for (const char *p = value; *p; p++)
		if ((unsigned char) *p < ' ' ? !(pem && strchr("\r\n\t", *p)) : *p == 0x7f)
			invalid_value(name, "It contains a control character.");
	if (!pem && value[0] == ' ')
		invalid_value(name, "It begins with a space.");
	if (pem && strstr(value, "-----BEGIN ") == NULL)
		invalid_value(name, "It is not in PEM format: a line \"-----BEGIN ...\" is missing.");
}

static char *
normal_bool(const char *name, const char *value)
{
	bool		b;

	if (!parse_bool(value, &b))
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"%s\" requires a Boolean value", name));
	return pstrdup(b ? "true" : "false");
}

static char *
normal_int(const KsOption *opt, const char *name, const char *value)
{
	int			n;
	char	   *end;
	int64		max = opt->max;

	errno = 0;
	n = strtoint(value, &end, 10);
	if ((!isdigit((unsigned char) value[0]) && value[0] != '-') ||
		end == value || *end != '\0')
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"%s\" requires an integer value", name));
	if (opt->unit > 0)
		max = Min(max, (int64) ks_guc_max_fetch_memory * 1024 * 1024 / opt->unit);
	if (errno == ERANGE || n < opt->min || n > max)
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("value of option \"%s\" is out of range", name),
						opt->min == opt->max ?
						errdetail("It must be %d.", opt->min) :
						errdetail("It must be from %d to %lld.", opt->min, (long long) max),
						max < opt->max ?
						errhint("The maximum follows from kafka_sink.max_fetch_memory.") : 0);
	return psprintf("%d", n);
}

static char *
normal_enum(const KsOption *opt, const char *name, const char *value)
{
	size_t		len = strlen(value);
	const char *v = opt->values;

	while (*v)
	{
		size_t		vlen = strcspn(v, ",");

		if (vlen == len && pg_strncasecmp(v, value, len) == 0)
			return pnstrdup(v, len);
		v += vlen;
		v += strspn(v, ", ");
	}
	ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for option \"%s\"", name),
					errhint("Valid values are: %s.", opt->values));
	return NULL;
}

/*
 * One host[:port], an IPv6 address in brackets; destroys it.  True if it is
 * this machine in one of the plain notations: getaddrinfo() knows many more.
 */
static bool
check_host(const char *name, char *host)
{
	const char *malformed = "It is not a comma-separated list of host:port.";
	char	   *rest;
	bool		local;

	if (host[0] == '[')
	{
		struct in6_addr addr;

		host++;
		rest = host + strspn(host, "0123456789abcdefABCDEF:.");
		if (*rest != ']')
			invalid_value(name, malformed);
		*rest++ = '\0';
		if (inet_pton(AF_INET6, host, &addr) != 1)
			invalid_value(name, "It contains an invalid IPv6 address.");
		local = IN6_IS_ADDR_LOOPBACK(&addr);
	}
	else
	{
		struct in_addr addr;
		char		end;

		rest = host + strspn(host, "abcdefghijklmnopqrstuvwxyz"
							 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
		if (rest - host > 255 || !isalnum((unsigned char) host[0]))
			invalid_value(name, malformed);
		end = *rest;
		*rest = '\0';
		local = pg_strcasecmp(host, "localhost") == 0 ||
			(strncmp(host, "127.", 4) == 0 && inet_pton(AF_INET, host, &addr) == 1);
		*rest = end;
	}

	if (*rest == ':')
	{
		const char *port = rest + 1;

		if (strlen(port) > 5 || strspn(port, "0123456789") != strlen(port) ||
			atoi(port) < 1 || atoi(port) > 65535)
			invalid_value(name, "A port is a number from 1 to 65535, and an IPv6 address stands in brackets.");
	}
	else if (*rest != '\0')
		invalid_value(name, malformed);
	return local;
}

/*
 * Checks a list of hosts and gives it without spaces; *local becomes whether
 * each is this machine.
 */
static char *
normal_hosts(const char *name, const char *value, bool *local)
{
	StringInfoData buf;
	const char *p = value;

	initStringInfo(&buf);
	*local = true;
	for (;;)
	{
		int			len;
		int			hostlen;
		char	   *host;

		p += strspn(p, " ");
		len = hostlen = strcspn(p, ",");
		while (hostlen > 0 && p[hostlen - 1] == ' ')
			hostlen--;
		host = pnstrdup(p, hostlen);
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? "," : "", host);
		if (!check_host(name, host))
			*local = false;
		p += len;
		if (*p++ == '\0')
			return buf.data;
	}
}

bool
ks_option_hosts_local(const char *value)
{
	bool		local;

	normal_hosts("bootstrap_servers", value, &local);
	return local;
}

/*
 * Checks a list of URLs of registries and gives it without spaces, and without
 * slashes at their ends; what is told of them: see ks_option_urls_schemes().
 */
static char *
normal_urls(const char *name, const char *value, bool *any_tls, bool *any_bare)
{
	StringInfoData buf;
	const char *p = value;

	initStringInfo(&buf);
	*any_tls = *any_bare = false;
	for (;;)
	{
		int			len;
		int			urllen;
		char	   *url;
		const char *why;
		bool		tls,
					local;

		p += strspn(p, " ");
		len = urllen = strcspn(p, ",");
		while (urllen > 0 && (p[urllen - 1] == ' ' || p[urllen - 1] == '/'))
			urllen--;
		url = pnstrdup(p, urllen);
		why = ks_registry_url_check(url, &tls, &local);
		if (why)
			invalid_value(name, why);
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? "," : "", url);
		*any_tls |= tls;
		*any_bare |= !tls && !local;
		p += len;
		if (*p++ == '\0')
			break;
	}
	if (buf.len > MAX_URLS)
		ks_option_error(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("value of option \"%s\" is too long", name),
						errdetail("The most is %d bytes.", MAX_URLS));
	return buf.data;
}

void
ks_option_urls_schemes(const char *value, bool *any_tls, bool *any_bare)
{
	(void) normal_urls("schema_registry_url", value, any_tls, any_bare);
}

/* What librdkafka says of the property, where it is one. */
static void
check_with_librdkafka(const KsOption *opt, const char *name, const char *value)
{
	if (opt->registry)
		return;
	switch (ks_source_check_property(opt->name, value))
	{
		case 0:
			break;
		case 1:
			ks_option_error(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
							errmsg("option \"%s\" is not supported by the installed librdkafka", name));
			break;
		default:
			invalid_value(name, "librdkafka refuses it.");
			break;
	}
}

char *
ks_option_value(const KsOption *opt, const char *name, const char *value)
{
	char	   *result;
	bool		told,
				told_too;

	check_text(name, value, opt->type == KS_OPTION_PEM);
	switch (opt->type)
	{
		case KS_OPTION_BOOL:
			result = normal_bool(name, value);
			break;
		case KS_OPTION_INT:
			result = normal_int(opt, name, value);
			break;
		case KS_OPTION_ENUM:
			result = normal_enum(opt, name, value);
			break;
		case KS_OPTION_HOSTS:
			result = normal_hosts(name, value, &told);
			break;
		case KS_OPTION_URLS:
			result = normal_urls(name, value, &told, &told_too);
			break;
		default:
			result = pstrdup(value);
			break;
	}
	check_with_librdkafka(opt, name, result);
	return result;
}
