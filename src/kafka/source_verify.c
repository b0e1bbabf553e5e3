/*
 * source_verify.c
 *	  Why the certificate of a broker is refused.
 *
 * librdkafka says only that a certificate could not be verified.  OpenSSL's
 * reason is told to a callback, so there is one: it agrees with OpenSSL always,
 * and has librdkafka log the reason.  The log comes out of the main queue before
 * the error does (so may that of the next error, too), and is kept for it.
 *
 * This callback is called by librdkafka's threads, which run next to no code of
 * ours.  It reads a table of constants, writes to the buffer that it was given,
 * and calls nothing of PostgreSQL.
 */
#include "postgres.h"

#include "kafka/source_int.h"

#define HINT_CA "Put the certificate of the authority that signed it, in PEM format, into the option ssl_ca_pem of the server, beside what is there."
#define HINT_DATES "Give the broker a certificate that is valid now, and see that the clocks are right."
#define HINT_HOST "Name the broker as its certificate does, in the option bootstrap_servers of the server and in advertised.listeners of the brokers."
#define HINT_CERTIFICATE "Give the broker another certificate."

/* librdkafka's log, around the words below. */
#define CERTIFICATE		"Certificate (subject="
#define ISSUER			", issuer="
#define FAILED			") verification callback failed: "

typedef struct KsVerifyReason
{
	int			code;			/* X509_V_ERR_..., which are the same for ever */
	const char *what;
	const char *hint;
} KsVerifyReason;

static const KsVerifyReason reasons[] = {
	{2, "is signed by an authority that is not trusted", HINT_CA},
	{20, "is signed by an authority that is not trusted", HINT_CA},
	{21, "is signed by an authority that is not trusted", HINT_CA},
	{18, "is signed by itself, and not trusted", HINT_CA},
	{19, "is that of an authority that is not trusted", HINT_CA},
	{9, "is not valid yet", HINT_DATES},
	{10, "has expired", HINT_DATES},
	{62, "is that of another host", HINT_HOST},
	{64, "is that of another address", HINT_HOST},
	{23, "was revoked", HINT_CERTIFICATE},
	{24, "is no authority's, but has signed another", HINT_CERTIFICATE},
	{79, "is no authority's, but has signed another", HINT_CERTIFICATE},
	{26, "is not one for servers", HINT_CERTIFICATE},
	{66, "has a key that is too weak", HINT_CERTIFICATE},
	{67, "has an authority whose key is too weak", HINT_CERTIFICATE},
	{68, "has a signature that is too weak", HINT_CERTIFICATE},
	{0, "is refused by OpenSSL", HINT_CA}	/* anything else */
};

/* Called by a thread of librdkafka, for each certificate of a broker. */
static int
verify_cb(rd_kafka_t *rk, const char *broker, int32_t broker_id, int *x509_error, int depth,
		  const char *cert, size_t size, char *errstr, size_t errstr_size, void *opaque)
{
	const KsVerifyReason *reason = reasons;

	if (*x509_error == 0)
		return 1;
	while (reason->code != 0 && reason->code != *x509_error)
		reason++;
	strlcpy(errstr, reason->what, errstr_size);
	return 0;
}

void
ks_source_verify_conf(rd_kafka_conf_t *rkconf)
{
	char		buf[16];
	size_t		size = sizeof(buf);

	/* where nothing is verified, nothing is to be said */
	if (rd_kafka_conf_get(rkconf, "enable.ssl.certificate.verification", buf, &size) == RD_KAFKA_CONF_OK &&
		strcmp(buf, "true") == 0)
		(void) rd_kafka_conf_set_ssl_cert_verify_cb(rkconf, verify_cb);
}

/* "[thrd:ssl://host:9093/1]: ssl://host:9093/1: Certificate (subject=..." */
void
ks_source_verify_log(KsSource *src, const char *text)
{
	const char *subject = strstr(text, CERTIFICATE);
	const char *issuer = subject ? strstr(subject, ISSUER) : NULL;
	const char *what = issuer ? strstr(issuer, FAILED) : NULL;
	const char *broker = strstr(text, "]: ");
	char		buf[512];

	if (what == NULL || broker == NULL || broker > subject)
		return;
	broker += strlen("]: ");
	subject += strlen(CERTIFICATE);
	snprintf(buf, sizeof(buf), "%.*sthe broker's certificate %s (subject \"%.*s\", issuer \"%.*s\")",
			 (int) (subject - strlen(CERTIFICATE) - broker), broker, what + strlen(FAILED),
			 (int) (issuer - subject), subject,
			 (int) (what - issuer - strlen(ISSUER)), issuer + strlen(ISSUER));
	ks_source_clean(src, buf, src->unverified, sizeof(src->unverified));
	for (const KsVerifyReason *reason = reasons;; reason++)
	{
		src->unverified_hint = reason->hint;
		if (reason->code == 0 || strcmp(reason->what, what + strlen(FAILED)) == 0)
			break;
	}
}
