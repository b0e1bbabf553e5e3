/*
 * source_words.c
 *	  What librdkafka and the brokers tell in words only: which option mends it.
 *
 * An error code stands for many things, "authentication" for a wrong password as
 * for a token that was not to be had.  The words are those of librdkafka 2.0 to
 * 2.14, of OpenSSL and of Apache Kafka; what is not found here has the hint of its
 * code.  A broker that refuses the client's certificate says so only after the
 * client believes that all is well (TLS 1.3), and librdkafka takes the alert for a
 * connection that broke.
 */
#include "postgres.h"

#include "kafka/source_int.h"

#define HINT_CLIENT_CERT "Check ssl_certificate_pem and ssl_key_pem of the user mapping: they must be there, valid now, and signed by an authority that the brokers trust."
#define HINT_ALERT "Check the options security_protocol and ssl_... of the server; the broker's log may tell more."
#define HINT_PROTOCOL "Check that the brokers run, and that the option security_protocol of the server is what this port speaks."
#define HINT_NO_SASL "Set the option security_protocol of the server to ssl or plaintext: this port asks for no SASL."
#define HINT_MECHANISM "Set the option sasl_mechanisms of the server to one that the brokers support."
#define HINT_PASSWORD "Check sasl_username and sasl_password of the user mapping."
#define HINT_TOKEN "Check the options sasl_oauthbearer_... of the server and of the user mapping, and that the token endpoint answers."
#define HINT_TOKEN_REFUSED "The brokers refuse what the token says (issuer, audience, subject, expiry): check the options sasl_oauthbearer_... of the server and of the user mapping."

#define ALERT			"SSL alert number "
#define OPENSSL_ERROR	"error:"

typedef struct KsErrorWords
{
	const char *phrase;
	rd_kafka_resp_err_t err;	/* what it is, whatever librdkafka says; 0: as it says */
	const char *hint;
} KsErrorWords;

/* Where the reason is not known: source_verify.c has it. */
const char	ks_source_unverified_hint[] =
"Check that the option ssl_ca_pem of the server holds the certificate of the authority that signed the broker's.";

/* The first that is found counts. */
static const KsErrorWords words[] = {
	{"certificate verify failed", RD_KAFKA_RESP_ERR__SSL, ks_source_unverified_hint},
	{"client SSL authentication might be required", RD_KAFKA_RESP_ERR__SSL, HINT_CLIENT_CERT},
	/* newer versions say themselves that the connection broke */
	{"unexpected eof", RD_KAFKA_RESP_ERR__TRANSPORT, HINT_PROTOCOL},
	{"wrong version number", 0, HINT_PROTOCOL},
	{"PLAINTEXT broker listener", 0, HINT_PROTOCOL},
	{"security.protocol", 0, HINT_PROTOCOL},
	{"while requesting ApiVersion", 0, HINT_PROTOCOL},
	{"current SASL state", 0, HINT_NO_SASL},
	{"Unsupported SASL mechanism", 0, HINT_MECHANISM},
	{"acquire SASL OAUTHBEARER token", RD_KAFKA_RESP_ERR__AUTHENTICATION, HINT_TOKEN},
	{"invalid_token", 0, HINT_TOKEN_REFUSED},
	{"SASL authentication error", 0, HINT_PASSWORD}
};

/* What librdkafka advises in terms of options that are not ours. */
static const char *const advice[] = {
	": broker certificate could not be verified",
	" (see ssl.key.location",
	" (see api.version.request"
};

/* Is an alert of TLS about the certificate of the client? */
static bool
blames_certificate(int alert)
{
	switch (alert)
	{
		case 41:				/* none */
		case 42:				/* bad, or none */
		case 43:				/* unsupported */
		case 44:				/* revoked */
		case 45:				/* expired */
		case 46:				/* unknown: any of these */
		case 48:				/* unknown authority */
		case 116:				/* required */
			return true;
		default:
			return false;
	}
}

/* A password that is right is refused, too. */
static const char *
scram_hint(void)
{
	static char hint[300] = "";

	if (hint[0] == '\0')
		snprintf(hint, sizeof(hint),
				 "librdkafka %s cannot use SCRAM with Kafka 4: use librdkafka 2.6.1 or later, or the mechanism PLAIN.  With older brokers, check sasl_username and sasl_password of the user mapping.",
				 rd_kafka_version_str());
	return hint;
}

/* What to do about an error of the client, or NULL; corrects its code. */
const char *
ks_source_words(const KsSource *src, rd_kafka_resp_err_t *err, const char *text)
{
	const char *alert = text ? strstr(text, ALERT) : NULL;

	if (alert != NULL)
	{
		*err = RD_KAFKA_RESP_ERR__SSL;
		return blames_certificate(atoi(alert + strlen(ALERT))) ? HINT_CLIENT_CERT : HINT_ALERT;
	}
	for (int i = 0; text && i < (int) lengthof(words); i++)
	{
		if (strstr(text, words[i].phrase) == NULL)
			continue;
		if (words[i].err != 0)
			*err = words[i].err;
		if (strcmp(words[i].hint, HINT_PASSWORD) == 0 && src->scram && rd_kafka_version() < KS_RDKAFKA_SCRAM)
			return scram_hint();
		return words[i].hint;
	}
	return NULL;
}

/*
 * OpenSSL's errors without the line of its source and the numbers: what is left
 * of "x.c:1889:f error:0A000086:SSL routines::certificate verify failed" is its end.
 */
static void
tidy_openssl(char *text)
{
	char	   *error = strstr(text, OPENSSL_ERROR);
	char	   *end = error;
	char	   *start = error;

	/* the code, the library, the function */
	for (int i = 0; end != NULL && i < 4; i++)
		end = strchr(i == 0 ? end : end + 1, ':');
	if (end == NULL)
		return;
	if (start - text >= 2 && start[-1] == ' ' && start[-2] != ':')
		for (start--; start > text && start[-1] != ' '; start--)
			;
	memmove(start, end + 1, strlen(end + 1) + 1);
}

/* Leaves of librdkafka's words what can be understood here. */
void
ks_source_tidy(char *text)
{
	const char *none = ": broker's supported mechanisms: ";
	Size		len;

	tidy_openssl(text);
	for (int i = 0; i < (int) lengthof(advice); i++)
	{
		char	   *cut = strstr(text, advice[i]);

		if (cut != NULL)
			*cut = '\0';
	}
	len = strlen(text);
	if (len >= strlen(none) && strcmp(text + len - strlen(none), none) == 0)
		text[len - strlen(none)] = '\0';
}
