/*
 * The last refusals, in shared memory, for those who ask why; and what a dry
 * run would have refused, in the server's log.
 */
#ifndef SMEM_POLICY_REFUSALS_H
#define SMEM_POLICY_REFUSALS_H

#include "core/frame.h"
#include "datatype/timestamp.h"
#include "pg/settings.h"
#include "storage/lwlock.h"

#define SMEM_REFUSAL_LABEL 64
#define SMEM_REFUSAL_TEXT 257

typedef struct SmemRefusal
{
	TimestampTz at;
	Oid			database;
	Oid			role;
	SmemEngine	engine;
	bool		dry_run;
	char		action[SMEM_REFUSAL_LABEL];
	char		resource[SMEM_REFUSAL_LABEL];
	char		tenant[SMEM_REFUSAL_TEXT];
	char		reason[SMEM_REFUSAL_TEXT];
} SmemRefusal;

/* What is refused, or would be. */
typedef struct SmemRefused
{
	SmemStr		action;
	SmemStr		resource;
	SmemStr		tenant;
	const char *reason;
	SmemEngine	engine;
} SmemRefused;

/* Keeps it in the log of refusals, where there is one; in a dry run the server's log gets it, too. */
extern void smem_refusal_note(const SmemRefused *refused);

/* The refusals that are kept, palloc'd, oldest first; returns how many. */
extern int smem_refusals_read(SmemRefusal **refusals);

/* shared.c */
extern Size smem_refusals_size(void);
extern void smem_refusals_start(LWLock *lock);

#endif
