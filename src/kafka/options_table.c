/*
 * options_table.c
 *	  The table behind options.c: every property this extension knows.
 *
 * Names and meanings are those of librdkafka's CONFIGURATION.md, from 2.0 to
 * 2.15; a property that the installed library is too old for is refused by
 * ks_source_check_property().  Ranges are librdkafka's own, narrowed where a
 * value could only do harm (a retry without delay).
 */
#include "postgres.h"

#include "kafka/options_table.h"

#define KILOBYTE	1024

#define USER(name_, place_, type_) \
	{.name = name_, .class = KS_OPTION_USER, .place = place_, .type = type_}
#define USER_BOOL(name_) \
	USER(name_, KS_IN_SERVER, KS_OPTION_BOOL)
#define USER_STRING(name_) \
	USER(name_, KS_IN_SERVER, KS_OPTION_STRING)
#define USER_ENUM(name_, values_) \
	{.name = name_, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_ENUM, .values = values_}
#define USER_INT(name_, min_, max_) \
	{.name = name_, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_INT, .min = min_, .max = max_}
#define USER_MEMORY(name_, min_, max_, unit_) \
	{.name = name_, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_INT, .min = min_, .max = max_, .unit = unit_}

/* Of sinks alone, which consume. */
#define USER_INT_CONSUMER(name_, min_, max_) \
	{.name = name_, .side = KS_OF_CONSUMERS, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_INT, .min = min_, .max = max_}
#define USER_MEMORY_CONSUMER(name_, min_, max_, unit_) \
	{.name = name_, .side = KS_OF_CONSUMERS, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_INT, .min = min_, .max = max_, .unit = unit_}

/* Of feeds alone, which produce. */
#define USER_INT_PRODUCER(name_, min_, max_) \
	{.name = name_, .side = KS_OF_PRODUCERS, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_INT, .min = min_, .max = max_}
#define USER_MEMORY_PRODUCER(name_, min_, max_, unit_) \
	{.name = name_, .side = KS_OF_PRODUCERS, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_INT, .min = min_, .max = max_, .unit = unit_}
#define USER_ENUM_PRODUCER(name_, values_) \
	{.name = name_, .side = KS_OF_PRODUCERS, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_ENUM, .values = values_}

/* Of the schema registry. */
#define USER_REGISTRY(name_, place_, type_) \
	{.name = name_, .registry = true, .class = KS_OPTION_USER, .place = place_, .type = type_}
#define USER_INT_REGISTRY(name_, min_, max_) \
	{.name = name_, .registry = true, .class = KS_OPTION_USER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_INT, .min = min_, .max = max_}

#define SUPER(name_, place_, type_, why_) \
	{.name = name_, .class = KS_OPTION_SUPERUSER, .place = place_, \
	 .type = type_, .why = why_}
#define SUPER_HINT(name_, place_, type_, why_, hint_) \
	{.name = name_, .class = KS_OPTION_SUPERUSER, .place = place_, \
	 .type = type_, .why = why_, .hint = hint_}
#define SUPER_ENUM(name_, values_, why_) \
	{.name = name_, .class = KS_OPTION_SUPERUSER, .place = KS_IN_SERVER, \
	 .type = KS_OPTION_ENUM, .values = values_, .why = why_}
#define SUPER_INT(name_, place_, min_, max_, why_) \
	{.name = name_, .class = KS_OPTION_SUPERUSER, .place = place_, \
	 .type = KS_OPTION_INT, .min = min_, .max = max_, .why = why_}

#define SINK(name_, why_) \
	{.name = name_, .class = KS_OPTION_SINK, .why = why_}
#define SINK_HINT(name_, why_, hint_) \
	{.name = name_, .class = KS_OPTION_SINK, .why = why_, .hint = hint_}
#define NEVER(name_, why_) \
	{.name = name_, .class = KS_OPTION_NEVER, .why = why_}

/* Reasons of the class superuser, behind "Only superusers may set it: ". */
#define READS_FILE	"it makes the server read a file."
#define LOADS_CODE	"it loads code into the server."
#define UNVERIFIED	"it can turn off the verification of brokers."
#define TALKS		"it decides what librdkafka writes to the server's log."
#define OAUTH		"it decides which URLs the server contacts and as whom it authenticates."
#define KERBEROS	"GSSAPI authenticates as the operating-system user of the server."

/* Reasons for refusing everyone. */
#define SHELL		"librdkafka would hand it to a shell."
#define CODE		"It would load code into the server."
#define WRITES		"It would make the server write files."
#define SIGNALS		"It would interfere with the server's own signals."
#define TESTS		"It replaces the brokers by simulated ones."
#define API			"It cannot be given as text."
#define PRODUCER	"Feeds set it themselves: what they promise depends on it."
#define GROUP		"A sink is in no consumer group: its offsets are rows of kafka_sink.txn_offsets."
#define VERSION		"The version of the protocol is negotiated with the brokers."
#define INTERNAL	"It is internal to librdkafka."
#define OFFSETS		"A sink's offsets are rows of kafka_sink.txn_offsets and are never committed to Kafka."
#define ALWAYS(v)	"It is always " v "."

const KsOption ks_options[] = {
	/* the brokers: only the server's owner can choose them */
	USER("bootstrap.servers", KS_IN_SERVER, KS_OPTION_HOSTS),
	USER_STRING("client.rack"),
	USER_ENUM("client.dns.lookup",
			  "use_all_dns_ips, resolve_canonical_bootstrap_servers_only"),
	USER_ENUM("broker.address.family", "any, v4, v6"),
	USER_INT("broker.address.ttl", 0, 86400000),

	/* authentication and TLS */
	USER_ENUM("security.protocol", "plaintext, ssl, sasl_plaintext, sasl_ssl"),
	USER_ENUM("sasl.mechanisms",
			  "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, GSSAPI, OAUTHBEARER"),
	USER("sasl.username", KS_IN_MAPPING, KS_OPTION_USERNAME),
	USER("sasl.password", KS_IN_MAPPING, KS_OPTION_STRING),
	USER("ssl.ca.pem", KS_IN_SERVER, KS_OPTION_PEM),
	USER("ssl.certificate.pem", KS_IN_MAPPING, KS_OPTION_PEM),
	USER("ssl.key.pem", KS_IN_MAPPING, KS_OPTION_PEM),
	USER("ssl.key.password", KS_IN_MAPPING, KS_OPTION_STRING),
	USER("ssl.keystore.password", KS_IN_MAPPING, KS_OPTION_STRING),
	USER_STRING("ssl.cipher.suites"),
	USER_STRING("ssl.curves.list"),
	USER_STRING("ssl.sigalgs.list"),

	SUPER_HINT("ssl.ca.location", KS_IN_SERVER, KS_OPTION_STRING, READS_FILE,
			   "Use \"ssl_ca_pem\"."),
	SUPER("ssl.crl.location", KS_IN_SERVER, KS_OPTION_STRING, READS_FILE),
	SUPER_HINT("ssl.certificate.location", KS_IN_MAPPING, KS_OPTION_STRING,
			   READS_FILE, "Use \"ssl_certificate_pem\"."),
	SUPER_HINT("ssl.key.location", KS_IN_MAPPING, KS_OPTION_STRING, READS_FILE,
			   "Use \"ssl_key_pem\"."),
	SUPER_HINT("ssl.keystore.location", KS_IN_MAPPING, KS_OPTION_STRING,
			   READS_FILE, "Use \"ssl_certificate_pem\" and \"ssl_key_pem\"."),
	SUPER("https.ca.location", KS_IN_SERVER, KS_OPTION_STRING, READS_FILE),
	SUPER("https.ca.pem", KS_IN_SERVER, KS_OPTION_PEM, OAUTH),
	SUPER("ssl.providers", KS_IN_SERVER, KS_OPTION_STRING, LOADS_CODE),
	SUPER("enable.ssl.certificate.verification", KS_IN_SERVER, KS_OPTION_BOOL,
		  UNVERIFIED),
	SUPER_ENUM("ssl.endpoint.identification.algorithm", "none, https",
			   UNVERIFIED),

	SUPER("sasl.kerberos.service.name", KS_IN_SERVER, KS_OPTION_STRING, KERBEROS),
	SUPER_INT("sasl.kerberos.min.time.before.relogin", KS_IN_SERVER, 0, 0,
			  KERBEROS),

	SUPER_ENUM("sasl.oauthbearer.method", "default, oidc", OAUTH),
	SUPER("enable.sasl.oauthbearer.unsecure.jwt", KS_IN_SERVER, KS_OPTION_BOOL,
		  OAUTH),
	SUPER("sasl.oauthbearer.token.endpoint.url", KS_IN_SERVER, KS_OPTION_STRING,
		  OAUTH),
	SUPER_ENUM("sasl.oauthbearer.grant.type",
			   "client_credentials, urn:ietf:params:oauth:grant-type:jwt-bearer",
			   OAUTH),
	SUPER_ENUM("sasl.oauthbearer.metadata.authentication.type",
			   "none, azure_imds, aws_iam", OAUTH),
	SUPER("sasl.oauthbearer.sub.claim.name", KS_IN_SERVER, KS_OPTION_STRING,
		  OAUTH),
	SUPER("sasl.oauthbearer.config", KS_IN_MAPPING, KS_OPTION_STRING, OAUTH),
	SUPER("sasl.oauthbearer.client.id", KS_IN_MAPPING, KS_OPTION_STRING, OAUTH),
	SUPER("sasl.oauthbearer.client.secret", KS_IN_MAPPING, KS_OPTION_STRING,
		  OAUTH),
	SUPER("sasl.oauthbearer.scope", KS_IN_MAPPING, KS_OPTION_STRING, OAUTH),
	SUPER("sasl.oauthbearer.extensions", KS_IN_MAPPING, KS_OPTION_STRING, OAUTH),
	{
		.name = "sasl.oauthbearer.assertion.algorithm",
		.class = KS_OPTION_SUPERUSER, .place = KS_IN_MAPPING,
		.type = KS_OPTION_ENUM, .values = "RS256, ES256", .why = OAUTH
	},
	SUPER("sasl.oauthbearer.assertion.file", KS_IN_MAPPING, KS_OPTION_STRING,
		  READS_FILE),
	SUPER("sasl.oauthbearer.assertion.jwt.template.file", KS_IN_MAPPING,
		  KS_OPTION_STRING, READS_FILE),
	SUPER("sasl.oauthbearer.assertion.private.key.file", KS_IN_MAPPING,
		  KS_OPTION_STRING, READS_FILE),
	SUPER("sasl.oauthbearer.assertion.private.key.pem", KS_IN_MAPPING,
		  KS_OPTION_PEM, OAUTH),
	SUPER("sasl.oauthbearer.assertion.private.key.passphrase", KS_IN_MAPPING,
		  KS_OPTION_STRING, OAUTH),
	SUPER("sasl.oauthbearer.assertion.claim.aud", KS_IN_MAPPING,
		  KS_OPTION_STRING, OAUTH),
	SUPER("sasl.oauthbearer.assertion.claim.iss", KS_IN_MAPPING,
		  KS_OPTION_STRING, OAUTH),
	SUPER("sasl.oauthbearer.assertion.claim.sub", KS_IN_MAPPING,
		  KS_OPTION_STRING, OAUTH),
	SUPER("sasl.oauthbearer.assertion.claim.jti.include", KS_IN_MAPPING,
		  KS_OPTION_BOOL, OAUTH),
	SUPER_INT("sasl.oauthbearer.assertion.claim.exp.seconds", KS_IN_MAPPING,
			  1, PG_INT32_MAX, OAUTH),
	SUPER_INT("sasl.oauthbearer.assertion.claim.nbf.seconds", KS_IN_MAPPING,
			  0, PG_INT32_MAX, OAUTH),

	/* the schema registry, which is no business of librdkafka's */
	USER_REGISTRY("schema.registry.url", KS_IN_SERVER, KS_OPTION_URLS),
	USER_REGISTRY("schema.registry.ssl.ca.pem", KS_IN_SERVER, KS_OPTION_PEM),
	USER_INT_REGISTRY("schema.registry.timeout.ms", 100, 300000),
	USER_REGISTRY("schema.registry.username", KS_IN_MAPPING, KS_OPTION_USERNAME),
	USER_REGISTRY("schema.registry.password", KS_IN_MAPPING, KS_OPTION_STRING),
	USER_REGISTRY("schema.registry.bearer.token", KS_IN_MAPPING, KS_OPTION_STRING),
	USER_REGISTRY("schema.registry.ssl.certificate.pem", KS_IN_MAPPING, KS_OPTION_PEM),
	USER_REGISTRY("schema.registry.ssl.key.pem", KS_IN_MAPPING, KS_OPTION_PEM),
	USER_REGISTRY("schema.registry.ssl.key.password", KS_IN_MAPPING, KS_OPTION_STRING),

	/* connections */
	USER_INT("socket.timeout.ms", 1000, 300000),
	USER_INT("socket.connection.setup.timeout.ms", 1000, 300000),
	USER_BOOL("socket.keepalive.enable"),
	USER_BOOL("socket.nagle.disable"),
	USER_INT("socket.max.fails", 0, 1000000),
	USER_MEMORY("socket.send.buffer.bytes", 0, 100000000, 1),
	USER_MEMORY("socket.receive.buffer.bytes", 0, 100000000, 1),
	USER_INT("connections.max.idle.ms", 0, 86400000),
	USER_INT("reconnect.backoff.ms", 10, 3600000),
	USER_INT("reconnect.backoff.max.ms", 10, 3600000),
	USER_INT("retry.backoff.ms", 10, 300000),	/* consumers ignore it before 2.3 */
	USER_INT("retry.backoff.max.ms", 10, 300000),
	USER_INT("topic.metadata.refresh.interval.ms", 1000, 3600000),
	USER_INT("topic.metadata.refresh.fast.interval.ms", 10, 60000),
	USER_BOOL("topic.metadata.refresh.sparse"),
	USER_INT("topic.metadata.propagation.max.ms", 0, 3600000),
	USER_INT("metadata.max.age.ms", 1000, 86400000),
	USER_ENUM("metadata.recovery.strategy", "none, rebootstrap"),
	USER_INT("metadata.recovery.rebootstrap.trigger.ms", 0, PG_INT32_MAX),
	USER_BOOL("log.connection.close"),
	SUPER("debug", KS_IN_SERVER, KS_OPTION_STRING, TALKS),
	SUPER_INT("log_level", KS_IN_SERVER, 0, 7, TALKS),

	/*
	 * Fetching.  librdkafka refuses fetch.max.bytes below message.max.bytes,
	 * whose default is 1000000.
	 */
	USER_INT_CONSUMER("fetch.wait.max.ms", 1, 60000),
	USER_INT_CONSUMER("fetch.error.backoff.ms", 10, 300000),
	USER_INT_CONSUMER("fetch.queue.backoff.ms", 0, 300000),
	USER_MEMORY_CONSUMER("fetch.min.bytes", 1, 100000000, 1),
	USER_MEMORY_CONSUMER("fetch.max.bytes", 1000000, 2147483135, 1),
	USER_MEMORY_CONSUMER("fetch.message.max.bytes", KILOBYTE, 1000000000, 1),
	USER_INT_CONSUMER("queued.min.messages", 1, 10000000),
	USER_MEMORY_CONSUMER("queued.max.messages.kbytes", KILOBYTE, 2097151, KILOBYTE),

	/* producing: what is sent at a time, and how it is packed */
	USER_ENUM_PRODUCER("compression.type", "none, gzip, snappy, lz4, zstd"),
	USER_INT_PRODUCER("compression.level", 0, 12),
	USER_INT_PRODUCER("linger.ms", 0, 1000),
	USER_INT_PRODUCER("batch.num.messages", 1, 1000000),
	USER_MEMORY_PRODUCER("batch.size", KILOBYTE, 2147483647, 1),

	/* set by the sink */
	SINK("enable.auto.commit", OFFSETS),
	SINK("auto.commit.enable", OFFSETS),
	SINK("auto.commit.interval.ms", OFFSETS),
	SINK("enable.auto.offset.store", OFFSETS),
	SINK_HINT("auto.offset.reset",
			  "It is always error: a sink never jumps to another offset by itself.",
			  "Use the argument \"start_at\" of kafka_sink.register_topic()."),
	SINK_HINT("isolation.level", "Each sink has its own.",
			  "Use the argument \"isolation_level\" of kafka_sink.create_sink()."),
	SINK("check.crcs", ALWAYS("true")),
	SINK("enable.partition.eof", ALWAYS("true")),
	SINK("allow.auto.create.topics", ALWAYS("false")),
	SINK("enable.metrics.push", ALWAYS("false")),
	SINK("log.queue", ALWAYS("true")),
	SINK("enabled_events", INTERNAL),
	SINK("client.id", "It names the sink."),
	SINK("statistics.interval.ms", "The sink's own statistics depend on it."),
	SINK("receive.message.max.bytes", "It follows \"fetch_max_bytes\"."),

	/* refused */
	NEVER("sasl.kerberos.kinit.cmd", SHELL),
	NEVER("sasl.kerberos.keytab", SHELL),
	NEVER("sasl.kerberos.principal", SHELL),
	NEVER("plugin.library.paths", CODE),
	NEVER("interceptors", CODE),
	NEVER("ssl.engine.*", CODE),
	NEVER("offset.store.*", WRITES),
	NEVER("internal.termination.signal", SIGNALS),
	NEVER("test.mock.*", TESTS),
	NEVER("*_cb", API),
	NEVER("opaque", API),
	NEVER("default_topic_conf", API),
	NEVER("ssl_key", API),
	NEVER("ssl_ca", API),
	NEVER("ssl_certificate", API),
	NEVER("broker.version.fallback", VERSION),
	NEVER("api.version.*", VERSION),
	NEVER("client.software.*", INTERNAL),
	NEVER("enable.sparse.connections", INTERNAL),
	NEVER("enable_sasl_queue", INTERNAL),
	NEVER("metadata.request.timeout.ms", INTERNAL),
	NEVER("ut_handle_*", INTERNAL),

	NEVER("group.*", GROUP),
	NEVER("partition.assignment.strategy", GROUP),
	NEVER("session.timeout.ms", GROUP),
	NEVER("heartbeat.interval.ms", GROUP),
	NEVER("coordinator.query.interval.ms", GROUP),
	NEVER("max.poll.interval.ms", GROUP),
	NEVER("max.poll.records", GROUP),
	NEVER("share.*", GROUP),

	NEVER("transactional.id", PRODUCER),
	NEVER("transaction.timeout.ms", PRODUCER),
	NEVER("enable.idempotence", PRODUCER),
	NEVER("enable.gapless.guarantee", PRODUCER),
	NEVER("queue.buffering.*", PRODUCER),
	NEVER("message.send.max.retries", PRODUCER),
	NEVER("retries", PRODUCER),
	NEVER("delivery.*", PRODUCER),
	NEVER("sticky.partitioning.linger.ms", PRODUCER),
	NEVER("request.required.acks", PRODUCER),
	NEVER("acks", PRODUCER),
	NEVER("request.timeout.ms", PRODUCER),
	NEVER("message.timeout.ms", PRODUCER),
	NEVER("message.max.bytes", PRODUCER),
	NEVER("message.copy.max.bytes", PRODUCER),
	NEVER("queuing.strategy", PRODUCER),
	NEVER("produce.offset.report", PRODUCER),
	NEVER("partitioner", PRODUCER),
	NEVER("msg_order_cmp", PRODUCER),
	{.name = NULL}
};

/* Other names of options. */
static const struct
{
	const char *alias;
	const char *name;
}			aliases[] = {
	{"metadata.broker.list", "bootstrap.servers"},
	{"sasl.mechanism", "sasl.mechanisms"},
	{"max.partition.fetch.bytes", "fetch.message.max.bytes"},
	{"compression.codec", "compression.type"},
	{"queue.buffering.max.ms", "linger.ms"},
	{"sasl.oauthbearer.client.credentials.client.id",
	"sasl.oauthbearer.client.id"},
	{"sasl.oauthbearer.client.credentials.client.secret",
	"sasl.oauthbearer.client.secret"}
};

static inline char
dotted(char c)
{
	return c == '_' ? '.' : c;
}

static bool
same_chars(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (dotted(a[i]) != dotted(b[i]))
			return false;
	return true;
}

/* Is it this name, of which either end may be a '*'? */
static bool
name_matches(const char *name, const char *pattern)
{
	size_t		len = strlen(name);
	size_t		plen = strlen(pattern);

	if (pattern[plen - 1] == '*')
		return len >= plen && same_chars(name, pattern, plen - 1);
	if (pattern[0] == '*')
		return len >= plen &&
			same_chars(name + len - (plen - 1), pattern + 1, plen - 1);
	return len == plen && same_chars(name, pattern, len);
}

const KsOption *
ks_option_find(const char *name)
{
	for (int i = 0; i < (int) lengthof(aliases); i++)
		if (name_matches(name, aliases[i].alias))
			name = aliases[i].name;
	for (const KsOption *opt = ks_options; opt->name; opt++)
		if (name_matches(name, opt->name))
			return opt;
	return NULL;
}

char *
ks_option_sql_name(const char *name)
{
	char	   *result = pstrdup(name);

	for (char *p = result; *p; p++)
		if (*p == '.')
			*p = '_';
	return result;
}
