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

/*
 * A request that is given up, and a handle that is closed, do not wait for a thread
 * that asks a name server: CURLOPT_QUICK_EXIT of 7.87, CURLMOPT_QUICK_EXIT of 8.20.
 * By their numbers, since the library may be newer than its headers; one that is too
 * old for them says no, and that is all.
 */
#define KS_CURL_QUICK_EXIT(easy, multi) \
	((void) curl_easy_setopt((easy), (CURLoption) (CURLOPTTYPE_LONG + 322), 1L), \
	 (void) curl_multi_setopt((multi), (CURLMoption) (CURLOPTTYPE_LONG + 21), 1L))

#endif
