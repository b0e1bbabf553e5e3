/*
 * curl.h
 *	  libcurl, and what of it depends on its version.
 */
#ifndef KS_CURL_H
#define KS_CURL_H

#if defined(__has_include)
#if !__has_include(<curl/curl.h>)
#error "kafka_sink needs the headers of libcurl: install libcurl4-openssl-dev (Debian, Ubuntu) or libcurl-devel (Fedora, RHEL, SUSE)"
#endif
#endif

#include <curl/curl.h>

#if !defined(CURL_AT_LEAST_VERSION)
#error "kafka_sink needs libcurl 7.77 or later"
#elif !CURL_AT_LEAST_VERSION(7, 77, 0)
#error "kafka_sink needs libcurl 7.77 or later"
#endif

/* Only these two schemes. */
#if CURL_AT_LEAST_VERSION(7, 85, 0)
#define KS_CURL_PROTOCOLS(easy) \
	curl_easy_setopt((easy), CURLOPT_PROTOCOLS_STR, "http,https")
#else
#define KS_CURL_PROTOCOLS(easy) \
	curl_easy_setopt((easy), CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS))
#endif

/* A request that is given up does not wait for a thread that asks a name server. */
#if CURL_AT_LEAST_VERSION(7, 87, 0)
#define KS_CURL_QUICK_EXIT(easy) \
	curl_easy_setopt((easy), CURLOPT_QUICK_EXIT, 1L)
#else
#define KS_CURL_QUICK_EXIT(easy) CURLE_OK
#endif

#endif
