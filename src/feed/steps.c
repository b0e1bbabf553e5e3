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

/* Where it is to stop may have been said meanwhile. */
static void
read_setting(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}

void
ks_feed_step(const char *name)
{
	/*
	 * What was said before a commit holds for that, also if the process has been woken
	 * by both at once; but what wakes it is not to be the setting itself.
	 */
	if (strcmp(name, "woken") != 0)
		read_setting();
	if (ks_guc_feed_stop_at == NULL || strcmp(ks_guc_feed_stop_at, name) != 0)
		return;
	ereport(LOG, (errmsg_internal("feed stops at step %s", name)));
	raise(SIGSTOP);
	read_setting();
}

#endif
