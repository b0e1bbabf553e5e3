/*
 * registry_words.h
 *	  What a schema registry says of an error, and what of it is shown.
 */
#ifndef KS_REGISTRY_WORDS_H
#define KS_REGISTRY_WORDS_H

#include "postgres.h"

/* Words in which one of these occurs are not shown. */
typedef struct KsSecrets
{
	int			n;
	char	  **texts;
} KsSecrets;

/* What a body {"error_code": 40403, "message": "..."} says. */
typedef struct KsRegistryWords
{
	int			code;			/* 0: there is none */
	char	   *message;		/* as it may be shown, or NULL */
} KsRegistryWords;

extern void ks_registry_words(const char *body, size_t len, const KsSecrets *secrets,
							  KsRegistryWords *words);

/*
 * A text as it may be shown: one line of ASCII, not too long; NULL if a secret
 * occurs in it, or nothing is left.
 */
extern char *ks_registry_shown(const char *text, const KsSecrets *secrets);

#endif
