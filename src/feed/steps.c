/*
 * steps.c
 *	  The steps of a feed's protocol, by name, for tests.
 */
#include "postgres.h"

#include "feed/steps.h"

#ifdef KS_FEED_STEPS

#include <signal.h>

#include "postmaster/interrupt.h"
#include "utils/guc.h"

#include "base/guc.h"

void
ks_feed_step(const char *name)
{
	if (ks_guc_feed_stop_at == NULL || strcmp(ks_guc_feed_stop_at, name) != 0)
		return;
	ereport(LOG, (errmsg_internal("feed stops at step %s", name)));
	raise(SIGSTOP);
	/* where it is to stop next may have been said meanwhile */
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

#endif
