/*
 * What a sink's shipper measures, in shared memory: how long rows took, how
 * the last minutes were, violations of the service level, and outages.
 *
 * Figures of a sink are written by its shipper alone, with atomics, so that
 * nobody waits for anybody; violations are counted by whoever looks first.
 * They begin anew with the server's memory, and with another database in the
 * slot.
 */
#ifndef SMEM_PG_METER_H
#define SMEM_PG_METER_H

#include "core/histogram.h"
#include "core/outage.h"
#include "pg/shmem.h"

/* Units of the histograms' values. */
#define SMEM_PERSISTENCE_UNIT_US 10
#define SMEM_PROCESSING_UNIT_US 1
#define SMEM_UNITS_PER_ROW 10 /* a row is ten units, so that 1 is a bound */

typedef struct SmemCumulative
{
	pg_atomic_uint64 count[SMEM_BUCKETS];
	pg_atomic_uint64 sum;
} SmemCumulative;

/* A copy, or one's own counts before they are added. */
typedef struct SmemCounts
{
	uint64 count[SMEM_BUCKETS];
	uint64 sum;
	uint64 n;
} SmemCounts;

typedef enum SmemSpan
{
	SMEM_SPAN_MINUTE,
	SMEM_SPAN_FIVE_MINUTES,
	SMEM_SPAN_HOUR
} SmemSpan;

#define SMEM_SPANS 3
#define SMEM_PIECES 12 /* a span is so many pieces; the oldest goes when the next begins */

typedef struct SmemPiece
{
	pg_atomic_uint64 number; /* of the piece of time that is counted here */
	pg_atomic_uint32 count[SMEM_BUCKETS];
} SmemPiece;

typedef enum SmemEnd
{
	SMEM_END_DELIVERED,
	SMEM_END_DEAD
} SmemEnd;

#define SMEM_ENDS 2

typedef enum SmemViolation
{
	SMEM_VIOLATION_P50,
	SMEM_VIOLATION_P95,
	SMEM_VIOLATION_LAG
} SmemViolation;

#define SMEM_VIOLATIONS 3

typedef struct SmemMeter
{
	SmemCumulative	 persistence[SMEM_ENDS];
	SmemCumulative	 processing;
	SmemCumulative	 batch;
	SmemPiece		 piece[SMEM_SPANS][SMEM_PIECES];
	pg_atomic_uint64 violations[SMEM_VIOLATIONS];
	pg_atomic_uint64
		judge_at[SMEM_VIOLATIONS]; /* TimestampTz; 0: was not violated when last judged */
	pg_atomic_uint64 judged_at;
	SmemOutage		 outage; /* the shipper's own */
} SmemMeter;

typedef enum SmemComponent
{
	SMEM_COMPONENT_SOMABRAIN = SMEM_SINK_SOMABRAIN,
	SMEM_COMPONENT_KAFKA = SMEM_SINK_KAFKA,
	SMEM_COMPONENT_OPA
} SmemComponent;

#define SMEM_COMPONENTS 3

typedef enum SmemOutageKind
{
	SMEM_OUTAGE_CIRCUIT_OPEN,
	SMEM_OUTAGE_COURIER_LOST
} SmemOutageKind;

#define SMEM_OUTAGE_KINDS 2

/* Of the whole server. */
typedef struct SmemOutages
{
	SmemCumulative	 recovery[SMEM_COMPONENTS];
	pg_atomic_uint64 events[SMEM_COMPONENTS][SMEM_OUTAGE_KINDS];
	SmemOutage		 policy; /* the policy worker's own */
} SmemOutages;

extern Size smem_meter_size(void);
extern void smem_meter_start(void);

extern SmemMeter   *smem_meter(const SmemDatabaseSlot *db, SmemSink sink);
extern SmemOutages *smem_outages(void);

/* The sink is off: an outage that it had is nobody's any more.  No shipper may be running. */
extern void smem_meter_sink_off(const SmemDatabaseSlot *db, SmemSink sink);

/* Another database takes the slot.  Lock held exclusive. */
extern void smem_meter_reset(const SmemDatabaseSlot *db);

/* Counts n times a value, in one's own counts. */
extern void smem_counts_add(SmemCounts *counts, uint64 value, uint64 n);
extern void smem_counts_join(SmemCounts *to, const SmemCounts *from);
extern void smem_cumulative_init(SmemCumulative *cumulative);
extern void smem_cumulative_add(SmemCumulative *to, const SmemCounts *counts);
extern void smem_cumulative_read(SmemCumulative *from, SmemCounts *counts);

/* Deliveries, or dead letters, of which each took so long; values are SMEM_PERSISTENCE_UNIT_US. */
extern void smem_meter_persisted(SmemMeter *meter, SmemEnd end, const SmemCounts *counts,
								 TimestampTz now);

/* What was delivered in the span that ends now. */
extern void smem_meter_span(SmemMeter *meter, SmemSpan span, TimestampTz now, SmemCounts *counts);

/* Milliseconds that this share of the counted deliveries did not exceed. */
extern double smem_counts_ms(const SmemCounts *counts, double share);

/*
 * Counts violations of the service level by now: each when it begins, and
 * every somamem.health_interval while it lasts.  Looks at most once a second,
 * whoever calls.
 */
extern void smem_meter_judge(SmemMeter *meter, double lag_seconds, TimestampTz now);

/* It fails, broken if that is an outage; it works, and oldest is when the oldest row that waits came. */
extern void smem_outage_seen(SmemOutage *outage, SmemComponent component, SmemOutageKind kind,
							 TimestampTz now, bool broken);
extern void smem_outage_over(SmemOutage *outage, SmemComponent component, TimestampTz now,
							 TimestampTz oldest);

#endif
