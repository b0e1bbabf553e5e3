/*
 * secrets.c
 *	  Statements that hold passwords, and what errors show of them.
 *
 * What our validator refuses hides the statement (see options_table.h).  The
 * server refuses such statements too: no privilege, no such server, an option
 * that is given twice, a lock that does not come.  So they run without the
 * contexts of their callers, of which SPI's holds the statement.  Whoever
 * catches an error gets his contexts back, so nothing has to be undone then.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "nodes/parsenodes.h"

#include "process/secrets.h"

static bool
is_ours(const char *fdw)
{
	return strcmp(fdw, "kafka_sink") == 0;
}

/* One that does not exist may be one of ours that is misspelt. */
static bool
is_our_server(const char *name)
{
	Oid			server = get_foreign_server_oid(name, true);

	if (!OidIsValid(server))
		return OidIsValid(get_extension_oid("kafka_sink", true));
	return is_ours(GetForeignDataWrapper(GetForeignServer(server)->fdwid)->fdwname);
}

bool
ks_secrets_in(const Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateForeignServerStmt:
			return is_ours(((const CreateForeignServerStmt *) stmt)->fdwname);
		case T_AlterForeignServerStmt:
			return is_our_server(((const AlterForeignServerStmt *) stmt)->servername);
		case T_CreateUserMappingStmt:
			return is_our_server(((const CreateUserMappingStmt *) stmt)->servername);
		case T_AlterUserMappingStmt:
			return is_our_server(((const AlterUserMappingStmt *) stmt)->servername);
		case T_AlterFdwStmt:
			return is_ours(((const AlterFdwStmt *) stmt)->fdwname);
		default:
			return false;
	}
}

/* The last of the contexts, since nothing is behind it. */
static void
hide_statement(void *arg)
{
	errhidestmt(true);
}

void
ks_secrets_enter(ErrorContextCallback *callback)
{
	callback->callback = hide_statement;
	callback->arg = error_context_stack;
	callback->previous = NULL;
	error_context_stack = callback;
}

void
ks_secrets_leave(const ErrorContextCallback *callback)
{
	error_context_stack = callback->arg;
}
