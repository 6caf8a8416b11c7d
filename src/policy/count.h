/*
 * How often was decided what, and how long it took: figures in shared memory,
 * by database, row of the table of rules, decision and engine.
 *
 * Times stand in the buckets of core/histogram.h, so a percentile is right to
 * about a tenth.
 */
#ifndef SMEM_POLICY_COUNT_H
#define SMEM_POLICY_COUNT_H

#include "core/policy.h"
#include "pg/meter.h"
#include "pg/settings.h"

typedef enum SmemVerdictKind
{
	SMEM_DECIDED_ALLOW,
	SMEM_DECIDED_DENY,
	SMEM_DECIDED_NOTHING /* the engine failed: refused, too */
} SmemVerdictKind;

#define SMEM_DECIDED 3

/* One line of figures. */
typedef struct SmemDecisions
{
	int				row; /* of the table of rules */
	SmemVerdictKind decided;
	SmemEngine		engine;
	SmemCounts		times; /* SMEM_DECISION_UNIT */
} SmemDecisions;

/* Of the times, in seconds. */
#define SMEM_DECISION_UNIT 1e-8

/* Counts n decisions of this database that took ns nanoseconds each. */
extern void smem_count_decisions(int row, SmemVerdictKind decided, SmemEngine engine, uint32 n,
								 uint64 ns);

/* The number of lines is fixed; false where nothing was counted for this one. */
#define SMEM_COUNT_LINES (SMEM_POLICY_ROWS * SMEM_DECIDED * 2)
extern bool smem_count_line(int line, SmemDecisions *decisions);

/* The same of another database.  What the line is about is set in any case. */
extern bool smem_count_line_of(const SmemDatabaseSlot *db, int line, SmemDecisions *decisions);

/* Times of all decisions of the engine, of every database there ever was. */
extern void smem_count_times(SmemEngine engine, SmemCounts *times);

/* Milliseconds that this share of them did not exceed. */
extern double smem_decisions_ms(const SmemDecisions *decisions, double share);

extern const char *smem_engine_name(SmemEngine engine);
extern const char *smem_decided_name(SmemVerdictKind decided);

/* shared.c */
extern Size smem_count_size(void);
extern void smem_count_start(void);

#endif
