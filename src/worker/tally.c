/*
 * The figures of a shipper that others see: what is pending, tenant by tenant,
 * how long rows take, and outages.
 *
 * What sessions count at their commits and the shipper at its records is right
 * but for what neither sees: prepared transactions, rows that were erased, a
 * restart.  So the shipper compares the figures with what it knows, once a
 * second, whenever it has read all that there is.  A row between a commit and
 * the next look makes the two differ for a moment: only a difference that
 * stays is put right.
 */
#include "postgres.h"

#include "worker/record.h"

#include "miscadmin.h"
#include "pg/owed.h"
#include "pg/query.h"
#include "pg/ticks.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/held.h"

#define TALLY_US ((int64) 1000000)

/* Counting what is parked may take a twentieth of the time. */
#define PARKED_SHARE 20

/* A difference that so many looks in a row have seen is one. */
#define DRIFT_LOOKS 3

typedef struct Drift
{
	int64 low;
	int64 high;
	int	  looks;
} Drift;

struct SmemTally
{
	SmemMeter	 *meter;
	int64		  turn_began; /* ticks */
	int64		  busy_us;	  /* of this worker, for rows that are not recorded yet */
	int64		  tallied_at; /* ticks */
	bool		  well;		  /* the sink does what it is asked to, as its courier says */
	Drift		  drift;
	Drift		 *drift_of; /* by place of the tenant */
	MemoryContext parked_context;
	HTAB		 *parked;	  /* SmemHeld, of the parking place; NULL: nothing is parked */
	int64		  parked_due; /* ticks; not counted before */
};

static SmemOwedRef
find_owed(const char *tenant, bool create)
{
	return smem_owed_find(MyDatabaseId, smem_str(tenant), create);
}

/* --- at the start ----------------------------------------------------------- */

/* Nothing is owed to anybody, but for what is held. */
static void
set_owed(SmemShipper *sh, HTAB *held)
{
	HASH_SEQ_STATUS scan;
	SmemHeld	   *one;
	TimestampTz		oldest;

	hash_seq_init(&scan, held);
	while ((one = hash_seq_search(&scan)) != NULL)
		(void) find_owed(one->name, true);
	for (int i = 0; i < smem_owed_places(); i++)
	{
		char	  name[SMEM_OWED_NAME + 1];
		SmemOwed *owed = smem_owed_at(i, MyDatabaseId, name);

		if (owed == NULL)
			continue;
		one = hash_search(held, name, HASH_FIND, NULL);
		smem_owed_correct(owed, sh->sink,
						  (one != NULL ? one->rows : 0) - smem_owed_rows(owed, sh->sink, &oldest));
		smem_owed_publish(owed, sh->sink, one != NULL ? one->oldest : 0, sh->now);
	}
}

void
smem_tally_start(SmemShipper *sh, const SmemPosition *position, uint64 committed)
{
	MemoryContext outer = MemoryContextSwitchTo(sh->context);
	SmemTally	 *tally = palloc0(sizeof(SmemTally));
	HTAB		 *held;
	int64		  pending;

	sh->tally = tally;
	tally->meter = smem_meter(sh->db, sh->sink);
	tally->drift_of = palloc0(sizeof(Drift) * smem_owed_places());
	tally->parked_context =
		AllocSetContextCreate(sh->context, "somamem parked tenants", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(outer);
	held = smem_held_make(CurrentMemoryContext);
	pending = smem_held_outbox(held, position) + smem_held_detours(sh, held, position);
	pending += smem_held_parked(sh, held);
	pg_atomic_write_u64(&sh->slot->done, committed - (uint64) pending);
	set_owed(sh, held);
	sh->park_uncounted = true;
	sh->unread_oldest = smem_held_oldest(position);
	pg_atomic_write_u64(&sh->slot->oldest_pending,
						(uint64) (sh->parked_oldest != 0 ? sh->parked_oldest : sh->unread_oldest));
	pg_atomic_write_u32(&sh->slot->counted, 1);
}

/* --- once a second ------------------------------------------------------------ */

/* Takes one look at a difference; what of it is to be put right, or 0. */
static int64
take_drift(Drift *drift, int64 value)
{
	int64 stays;

	drift->low = drift->looks == 0 ? value : Min(drift->low, value);
	drift->high = drift->looks == 0 ? value : Max(drift->high, value);
	if (++drift->looks < DRIFT_LOOKS)
		return 0;
	stays = drift->low > 0 ? drift->low : Min(drift->high, 0);
	drift->looks = 0;
	return stays;
}

/* Whether everything that was committed up to the last look is in the window, or parked. */
static bool
has_read_all(SmemShipper *sh)
{
	return !smem_stream_unread(smem_main_stream(sh)) && smem_tenants_none(sh) &&
		   sh->gate == InvalidXLogRecPtr && pg_atomic_read_u32(&sh->slot->woken) == 0;
}

/* Returns how many rows of streams are owed. */
static int64
hold_streams(SmemShipper *sh, HTAB *held)
{
	int64 rows = 0;

	for (int i = 0; i <= SMEM_DETOURS; i++)
	{
		dlist_iter iter;

		dlist_foreach (iter, &sh->window.list[i])
		{
			SmemEntry *entry = dlist_container(SmemEntry, node, iter.cur);
			bool	   delayed = entry->kind == SMEM_OUTCOME_DELAYED;

			if (delayed && entry->at > sh->now)
				continue;
			smem_held_add(held, smem_entry_tenant(entry), 1,
						  delayed ? entry->at : entry->commit_at);
			rows++;
		}
	}
	return rows;
}

static void
hold_parked(SmemTally *tally, HTAB *held)
{
	HASH_SEQ_STATUS scan;
	SmemHeld	   *one;

	if (tally->parked == NULL)
		return;
	hash_seq_init(&scan, tally->parked);
	while ((one = hash_seq_search(&scan)) != NULL)
		smem_held_add(held, one->name, one->rows, one->oldest);
}

/* Commits of what the main stream reads next are not older than this; 0: not known. */
static TimestampTz
head_time(SmemShipper *sh)
{
	dlist_head *list = &sh->window.list[SMEM_LIST_MAIN];

	if (!smem_tenants_none(sh) || dlist_is_empty(list))
		return 0;
	return dlist_container(SmemEntry, node, dlist_tail_node(list))->commit_at;
}

static void
tally_tenant(SmemShipper *sh, int place, HTAB *held, bool compare, TimestampTz head)
{
	char		name[SMEM_OWED_NAME + 1];
	SmemOwed   *owed = smem_owed_at(place, MyDatabaseId, name);
	SmemHeld   *one;
	int64		rows;
	TimestampTz oldest;

	if (owed == NULL)
		return;
	one = hash_search(held, name, HASH_FIND, NULL);
	rows = smem_owed_rows(owed, sh->sink, &oldest);
	if (compare)
		smem_owed_correct(
			owed, sh->sink,
			-take_drift(&sh->tally->drift_of[place], rows - (one != NULL ? one->rows : 0)));
	smem_owed_publish(owed, sh->sink, one != NULL ? one->oldest : 0, head);
}

/* Tenants without a place may get one now. */
static void
find_places(HTAB *held)
{
	HASH_SEQ_STATUS scan;
	SmemHeld	   *one;

	hash_seq_init(&scan, held);
	while ((one = hash_seq_search(&scan)) != NULL)
		(void) find_owed(one->name, true);
}

static void
tally_all(SmemShipper *sh, int64 known)
{
	int64 pending =
		(int64) (pg_atomic_read_u64(&sh->db->committed) - pg_atomic_read_u64(&sh->slot->done));

	pg_atomic_fetch_add_u64(&sh->slot->done, take_drift(&sh->tally->drift, pending - known));
}

/* Counts the tenants of the parking place anew, where it has changed. */
static void
refresh_parked(SmemShipper *sh, int64 ticks)
{
	SmemTally *tally = sh->tally;

	if (!sh->park_uncounted || ticks < tally->parked_due)
		return;
	tally->parked = NULL;
	MemoryContextReset(tally->parked_context);
	sh->park_uncounted = false;
	if (sh->parked == 0)
		return;
	if (!smem_begin("counting what is parked"))
	{
		sh->exists = false;
		return;
	}
	tally->parked = smem_held_make(tally->parked_context);
	(void) smem_held_parked(sh, tally->parked);
	smem_commit();
	MemoryContextSwitchTo(sh->turn);
	tally->parked_due = ticks + (smem_ticks_us() - ticks) * PARKED_SHARE;
}

/* With the parking place as it is counted, what is held is known. */
static void
tally_second(SmemShipper *sh, int64 ticks)
{
	SmemTally  *tally = sh->tally;
	HTAB	   *held;
	TimestampTz head = head_time(sh);
	bool		compare;
	int64		rows;

	if (ticks - tally->tallied_at < TALLY_US)
		return;
	tally->tallied_at = ticks;
	refresh_parked(sh, ticks);
	held = smem_held_make(CurrentMemoryContext);
	rows = hold_streams(sh, held);
	hold_parked(tally, held);
	find_places(held);
	compare = has_read_all(sh);
	if (compare)
		tally_all(sh, rows + sh->parked);
	compare = compare && !sh->park_uncounted && !sh->park_changed;
	for (int i = 0; i < smem_owed_places(); i++)
		tally_tenant(sh, i, held, compare, head);
}

/* --- as it goes ----------------------------------------------------------------- */

void
smem_tally_begin(SmemShipper *sh)
{
	sh->tally->turn_began = smem_ticks_us();
}

void
smem_tally_end(SmemShipper *sh, TimestampTz oldest)
{
	SmemTally *tally = sh->tally;
	int64	   ticks = smem_ticks_us();

	if (!sh->exists)
		return;
	/* A turn that found nothing to do was for no row. */
	tally->busy_us = sh->window.rows == 0 ? 0 : tally->busy_us + ticks - tally->turn_began;
	tally_second(sh, ticks);
	smem_meter_judge(tally->meter, oldest == 0 ? 0.0 : (double) (sh->now - oldest) / 1000000.0,
					 sh->now);
	if (tally->well && sh->link.fd >= 0)
		smem_outage_over(&tally->meter->outage, (SmemComponent) sh->sink, sh->now, oldest);
}

static void
measure_batch(SmemShipper *sh, const SmemRecord *rec)
{
	SmemTally *tally = sh->tally;
	int64	   ticks = smem_ticks_us();
	int64	   rows = rec->page.rows + rec->ndead;
	SmemCounts counts = {0};

	if (rows == 0)
		return;
	smem_counts_add(&counts, (uint64) (tally->busy_us + ticks - tally->turn_began), 1);
	smem_cumulative_add(&tally->meter->processing, &counts);
	memset(&counts, 0, sizeof(counts));
	smem_counts_add(&counts, (uint64) rows * SMEM_UNITS_PER_ROW, 1);
	smem_cumulative_add(&tally->meter->batch, &counts);
	tally->busy_us = 0;
	tally->turn_began = ticks;
}

void
smem_tally_record(SmemShipper *sh, const SmemRecord *rec)
{
	for (int i = 0, n; i < rec->nleft; i += n)
	{
		SmemTenantRows *tenant = rec->left[i]->of_tenant;

		for (n = 1; i + n < rec->nleft && rec->left[i + n]->of_tenant == tenant; n++)
			;
		smem_owed_done(find_owed(tenant->name, false), sh->sink, n);
	}
	for (int end = 0; end < SMEM_ENDS; end++)
		smem_meter_persisted(sh->tally->meter, end, &rec->persisted[end], sh->now);
	measure_batch(sh, rec);
}

void
smem_tally_delayed(SmemShipper *sh, const SmemEntry *entry)
{
	pg_atomic_fetch_add_u64(&sh->slot->done, 1);
	smem_owed_done(find_owed(smem_entry_tenant(entry), false), sh->sink, 1);
}

void
smem_tally_woken(SmemShipper *sh, char **tenants, int n)
{
	pg_atomic_fetch_sub_u64(&sh->slot->done, n);
	for (int i = 0; i < n; i++)
		smem_owed_done(find_owed(tenants[i], true), sh->sink, -1);
}

void
smem_tally_state(SmemShipper *sh, const SmemSinkState *state)
{
	bool broken = state->circuit != SMEM_CIRCUIT_CLOSED;

	sh->tally->well = !broken && state->failures == 0;
	if (!sh->tally->well)
		smem_outage_seen(&sh->tally->meter->outage, (SmemComponent) sh->sink,
						 SMEM_OUTAGE_CIRCUIT_OPEN, sh->now, broken);
}

void
smem_tally_lost(SmemShipper *sh)
{
	sh->tally->well = false;
	smem_outage_seen(&sh->tally->meter->outage, (SmemComponent) sh->sink, SMEM_OUTAGE_COURIER_LOST,
					 sh->now, true);
}
