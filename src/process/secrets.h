/*
 * secrets.h
 *	  Statements that hold passwords.
 */
#ifndef KS_SECRETS_H
#define KS_SECRETS_H

#include "postgres.h"

#include "nodes/nodes.h"

/* Does it set options of our servers, or of user mappings of them? */
extern bool ks_secrets_in(const Node *stmt);

/*
 * From here to ks_secrets_leave(), which an error does without, errors and
 * notices show nothing of the statement, nor of who executes it.
 */
extern void ks_secrets_enter(ErrorContextCallback *callback);
extern void ks_secrets_leave(const ErrorContextCallback *callback);

#endif
