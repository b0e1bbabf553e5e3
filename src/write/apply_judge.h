/*
 * apply_judge.h
 *	  What judges have of their trials; nobody else includes it.
 *
 *	apply_judge.c	who is bad
 *	apply_trial.c	suspects that are written, to see whether they can be
 */
#ifndef KS_APPLY_JUDGE_H
#define KS_APPLY_JUDGE_H

#include "write/apply_search.h"

typedef struct KsJudge
{
	KsApply    *ap;
	KsSuspect  *items;
	uint8	   *ops;			/* of all records, as they were */
	int		   *unjudged;		/* suspects that are not judged yet, in order */
	int			nunjudged;
	bool		consistent;		/* what is left is good */
	int			last_written;	/* the last record that is not a suspect */
	bool		absolved;		/* more was written since the suspects failed */
	int			alone;			/* levels whose others could not be written */
	int			passes;
	int64		written;		/* rows, of whatever became nothing */
	int			nbad_in_row;	/* suspects accused one behind the other */
	int			tried;			/* the suspect at hand */
} KsJudge;

/* Only suspects that are left are written: not this one; or it again. */
extern void ks_trial_hide(KsJudge *j, int k);
extern void ks_trial_show(KsJudge *j, int k);

/* Is all that is written what was there when it failed? */
extern bool ks_trial_failed_beside_all(const KsJudge *j, int k);

/* Suspects unjudged[a..b) in an attempt of their own. */
extern ErrorData *ks_trial_group(KsJudge *j, int a, int b);

/*
 * Writes them without their AFTER triggers, in a subtransaction that stays open until it is
 * forgotten; false: they cannot be written, and there is none.
 */
extern bool ks_trial_write_quietly(KsJudge *j, int a, int b);
extern void ks_trial_forget(KsJudge *j, ResourceOwner owner, LocalTransactionId immediate_in);

/* Does writing it fail by itself, whatever comes behind it? */
extern bool ks_trial_fails_at_once(KsJudge *j, int a);

/*
 * Those that can be written, one behind the other, are good: they stay written, and are not
 * among those that are left any more.  False: there is none.
 */
extern bool ks_trial_absolve(KsJudge *j, bool backwards);

#endif
