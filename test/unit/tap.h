/*
 * tap.h
 *	  What a module's test says of itself, in the manner of TAP; "1..tests" is its to say.
 */
#ifndef KS_UNIT_TAP_H
#define KS_UNIT_TAP_H

#include <stdbool.h>
#include <stdio.h>

static int	tests;
static bool failed;				/* some of them */

static void
ok(bool fine, const char *what)
{
	printf("%s %d - %s\n", fine ? "ok" : "not ok", ++tests, what);
	failed |= !fine;
}

#endif
