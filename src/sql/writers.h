/*
 * writers.h
 *	  Waiting for who has written before there was a publication.
 */
#ifndef KS_WRITERS_H
#define KS_WRITERS_H

/*
 * Changes are published by the catalogs of their time: of what was written before there was
 * the publication, nobody could say what is to be published by it.  So this waits until all
 * others of this database have ended that have written by now, prepared ones included, as
 * whoever makes a slot does.  Serves interrupts; a deadlock is an error.  One that is not
 * there, or that this transaction has made or renamed, is no reason to wait: of that one
 * others cannot know before the commit.
 */
extern void ks_wait_for_writers_before(const char *publication);

#endif
