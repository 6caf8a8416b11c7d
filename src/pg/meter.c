#include "postgres.h"

#include "pg/meter.h"

#include <math.h>

#include "pg/settings.h"
#include "storage/shmem.h"

/* Lengths of a piece of each span. */
static const int64 piece_us[SMEM_SPANS] = {INT64CONST(5000000), INT64CONST(25000000),
										   INT64CONST(300000000)};

#define JUDGE_PAUSE_US ((int64) 1000000)
#define RECOVERY_UNIT_US SMEM_PERSISTENCE_UNIT_US

typedef struct Meters
{
	SmemOutages outages;
	SmemMeter	meter[SMEM_MAX_DATABASES][SMEM_SINKS];
} Meters;

static Meters *meters;

Size
smem_meter_size(void)
{
	return MAXALIGN(sizeof(Meters));
}

void
smem_cumulative_init(SmemCumulative *cumulative)
{
	for (int i = 0; i < SMEM_BUCKETS; i++)
		pg_atomic_init_u64(&cumulative->count[i], 0);
	pg_atomic_init_u64(&cumulative->sum, 0);
}

static void
init_piece(SmemPiece *piece)
{
	pg_atomic_init_u64(&piece->number, 0);
	for (int i = 0; i < SMEM_BUCKETS; i++)
		pg_atomic_init_u32(&piece->count[i], 0);
}

static void
init_meter(SmemMeter *meter)
{
	for (int i = 0; i < SMEM_ENDS; i++)
		smem_cumulative_init(&meter->persistence[i]);
	smem_cumulative_init(&meter->processing);
	smem_cumulative_init(&meter->batch);
	for (int i = 0; i < SMEM_SPANS * SMEM_PIECES; i++)
		init_piece(&meter->piece[i / SMEM_PIECES][i % SMEM_PIECES]);
	for (int i = 0; i < SMEM_VIOLATIONS; i++)
	{
		pg_atomic_init_u64(&meter->violations[i], 0);
		pg_atomic_init_u64(&meter->judge_at[i], 0);
	}
	pg_atomic_init_u64(&meter->judged_at, 0);
	memset(&meter->outage, 0, sizeof(meter->outage));
}

void
smem_meter_start(void)
{
	bool found;

	meters = ShmemInitStruct("somamem meters", sizeof(Meters), &found);
	if (found)
		return;
	for (int i = 0; i < SMEM_COMPONENTS; i++)
	{
		smem_cumulative_init(&meters->outages.recovery[i]);
		for (int k = 0; k < SMEM_OUTAGE_KINDS; k++)
			pg_atomic_init_u64(&meters->outages.events[i][k], 0);
	}
	memset(&meters->outages.policy, 0, sizeof(meters->outages.policy));
	for (int i = 0; i < SMEM_MAX_DATABASES * SMEM_SINKS; i++)
		init_meter(&meters->meter[i / SMEM_SINKS][i % SMEM_SINKS]);
}

SmemMeter *
smem_meter(const SmemDatabaseSlot *db, SmemSink sink)
{
	return &meters->meter[db - smem_shared->database][sink];
}

SmemOutages *
smem_outages(void)
{
	return &meters->outages;
}

void
smem_meter_sink_off(const SmemDatabaseSlot *db, SmemSink sink)
{
	SmemMeter *meter = smem_meter(db, sink);

	memset(&meter->outage, 0, sizeof(meter->outage));
}

void
smem_meter_reset(const SmemDatabaseSlot *db)
{
	for (int sink = 0; sink < SMEM_SINKS; sink++)
		init_meter(smem_meter(db, sink));
}

void
smem_counts_add(SmemCounts *counts, uint64 value, uint64 n)
{
	counts->count[smem_bucket_of(value)] += n;
	counts->sum += value * n;
	counts->n += n;
}

void
smem_counts_join(SmemCounts *to, const SmemCounts *from)
{
	for (int i = 0; i < SMEM_BUCKETS; i++)
		to->count[i] += from->count[i];
	to->sum += from->sum;
	to->n += from->n;
}

void
smem_cumulative_add(SmemCumulative *to, const SmemCounts *counts)
{
	for (int i = 0; i < SMEM_BUCKETS; i++)
	{
		if (counts->count[i] > 0)
			pg_atomic_fetch_add_u64(&to->count[i], counts->count[i]);
	}
	pg_atomic_fetch_add_u64(&to->sum, counts->sum);
}

void
smem_cumulative_read(SmemCumulative *from, SmemCounts *counts)
{
	memset(counts, 0, sizeof(*counts));
	for (int i = 0; i < SMEM_BUCKETS; i++)
	{
		counts->count[i] = pg_atomic_read_u64(&from->count[i]);
		counts->n += counts->count[i];
	}
	counts->sum = pg_atomic_read_u64(&from->sum);
}

/* The piece of the span that now belongs to, emptied where it still has an older one's counts. */
static SmemPiece *
current_piece(SmemMeter *meter, SmemSpan span, TimestampTz now)
{
	uint64	   number = (uint64) (now / piece_us[span]);
	SmemPiece *piece = &meter->piece[span][number % SMEM_PIECES];

	if (pg_atomic_read_u64(&piece->number) == number)
		return piece;
	/* Nobody reads it while it has no number. */
	pg_atomic_write_u64(&piece->number, 0);
	pg_write_barrier();
	for (int i = 0; i < SMEM_BUCKETS; i++)
		pg_atomic_write_u32(&piece->count[i], 0);
	pg_write_barrier();
	pg_atomic_write_u64(&piece->number, number);
	return piece;
}

void
smem_meter_persisted(SmemMeter *meter, SmemEnd end, const SmemCounts *counts, TimestampTz now)
{
	if (counts->n == 0)
		return;
	smem_cumulative_add(&meter->persistence[end], counts);
	for (int span = 0; end == SMEM_END_DELIVERED && span < SMEM_SPANS; span++)
	{
		SmemPiece *piece = current_piece(meter, span, now);

		for (int i = 0; i < SMEM_BUCKETS; i++)
		{
			if (counts->count[i] > 0)
				pg_atomic_fetch_add_u32(&piece->count[i], (uint32) counts->count[i]);
		}
	}
}

void
smem_meter_span(SmemMeter *meter, SmemSpan span, TimestampTz now, SmemCounts *counts)
{
	uint64 last = (uint64) (now / piece_us[span]);

	memset(counts, 0, sizeof(*counts));
	for (int k = 0; k < SMEM_PIECES; k++)
	{
		SmemPiece *piece = &meter->piece[span][k];
		uint64	   number = pg_atomic_read_u64(&piece->number);

		if (number > last || number + SMEM_PIECES <= last)
			continue;
		pg_read_barrier();
		for (int i = 0; i < SMEM_BUCKETS; i++)
		{
			uint32 n = pg_atomic_read_u32(&piece->count[i]);

			counts->count[i] += n;
			counts->n += n;
		}
	}
}

double
smem_counts_ms(const SmemCounts *counts, double share)
{
	/* No finer than the unit: the rest is of the reckoning, not of what was measured. */
	return rint(smem_bucket_quantile(counts->count, share)) * SMEM_PERSISTENCE_UNIT_US / 1000.0;
}

static void
judge_one(SmemMeter *meter, SmemViolation violation, bool violated, TimestampTz now)
{
	pg_atomic_uint64 *next = &meter->judge_at[violation];
	int64			  interval = (int64) smem_guc_health_interval * 1000;
	TimestampTz		  due = (TimestampTz) pg_atomic_read_u64(next);

	if (!violated)
		pg_atomic_write_u64(next, 0);
	/* A clock that was set back must not silence it. */
	else if (due == 0 || now >= due || due - now > interval)
	{
		pg_atomic_write_u64(next, (uint64) (now + interval));
		pg_atomic_fetch_add_u64(&meter->violations[violation], 1);
	}
}

void
smem_meter_judge(SmemMeter *meter, double lag_seconds, TimestampTz now)
{
	uint64	   judged = pg_atomic_read_u64(&meter->judged_at);
	SmemCounts minute;

	if (now >= (TimestampTz) judged && now - (TimestampTz) judged < JUDGE_PAUSE_US)
		return;
	if (!pg_atomic_compare_exchange_u64(&meter->judged_at, &judged, (uint64) now))
		return;
	smem_meter_span(meter, SMEM_SPAN_MINUTE, now, &minute);
	judge_one(meter, SMEM_VIOLATION_P50, smem_counts_ms(&minute, 0.50) > smem_guc_sla_p50, now);
	judge_one(meter, SMEM_VIOLATION_P95, smem_counts_ms(&minute, 0.95) > smem_guc_sla_p95, now);
	judge_one(meter, SMEM_VIOLATION_LAG, lag_seconds * 1000.0 > smem_guc_lag_critical, now);
}

void
smem_outage_seen(SmemOutage *outage, SmemComponent component, SmemOutageKind kind, TimestampTz now,
				 bool broken)
{
	if (smem_outage_fails(outage, now, broken))
		pg_atomic_fetch_add_u64(&meters->outages.events[component][kind], 1);
}

void
smem_outage_over(SmemOutage *outage, SmemComponent component, TimestampTz now, TimestampTz oldest)
{
	int64	   lasted = smem_outage_works(outage, now, oldest);
	SmemCounts counts = {0};

	if (lasted == 0)
		return;
	smem_counts_add(&counts, (uint64) lasted / RECOVERY_UNIT_US, 1);
	smem_cumulative_add(&meters->outages.recovery[component], &counts);
}
