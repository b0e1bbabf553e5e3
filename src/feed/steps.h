/*
 * steps.h
 *	  The steps of a feed's protocol, by name, for tests.
 *
 * A build with KS_FEED_STEPS stops its process (SIGSTOP) at the step that the setting
 * kafka_sink.feed_stop_at names, so that a test can kill it there.
 */
#ifndef KS_FEED_STEPS_H
#define KS_FEED_STEPS_H

#ifdef KS_FEED_STEPS
extern void ks_feed_step(const char *name);
#else
#define ks_feed_step(name)	((void) 0)
#endif

#endif
