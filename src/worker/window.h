/*
 * What a shipper has handed to its courier and not yet recorded.
 *
 * Rows of a stream stand in the order in which they were read, each stream's
 * in a list of their own; only a settled beginning of a list can be recorded,
 * because a position is one point.  Rows from the parking place, and news of
 * dead letters, stand apart, in no order.
 */
#ifndef SMEM_WORKER_WINDOW_H
#define SMEM_WORKER_WINDOW_H

#include "core/frame.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "utils/hsearch.h"

/*
 * Bounds of the window, which limit what a killed courier may cause to be
 * sent again.  Detours may lift the rows to the half more (tenants.c).
 */
#define SMEM_WINDOW_ROWS 2048
#define SMEM_WINDOW_BYTES (8 * 1024 * 1024)
#define SMEM_WINDOW_MOST (SMEM_WINDOW_ROWS * 3 / 2)

/* Room beside the streams' for rows from the parking place, so that full streams cannot lock them out. */
#define SMEM_RETRY_ROOM 256

/* Settled by the shipper itself: the row waits for its time; the sink has it, and the log says so already. */
#define SMEM_OUTCOME_DELAYED 6
#define SMEM_OUTCOME_LOGGED 7

/* Tenants that may have a stream of their own, beside the main one. */
#define SMEM_DETOURS 16

/* The lists: one for the main stream, one for each detour, one for what comes from elsewhere. */
#define SMEM_LIST_MAIN 0
#define SMEM_LIST_RETRIES (SMEM_DETOURS + 1)
#define SMEM_LISTS (SMEM_DETOURS + 2)

typedef struct SmemTenantRows
{
	char name[260]; /* hash key; a tenant has 256 bytes at most */
	int	 rows;		/* of it in the lists of streams */
	int	 entries;	/* in all lists */
} SmemTenantRows;

typedef struct SmemEntry
{
	int64_t			id; /* hash key */
	dlist_node		node;
	uint32_t		step;	/* number of the step it was read in */
	uint8_t			list;	/* SMEM_LIST_* */
	bool			retry;	/* comes from elsewhere than a stream: list is SMEM_LIST_RETRIES */
	bool			head;	/* of its session's parked rows */
	bool			sent;	/* handed to the courier that runs now */
	bool			stuck;	/* its stream went on without it: parked while it is under way */
	uint8_t			deaths; /* couriers that died with the row in their hands */
	uint8_t			kind;	/* SmemOutcomeKind, 0 while unknown */
	int				attempts;
	int				bytes;
	TimestampTz		commit_at;
	TimestampTz		sent_at; /* to the courier that runs now */
	TimestampTz		at;		 /* when it was settled, or for DELAYED when it is due */
	uint32_t		delay_ms;
	SmemTenantRows *of_tenant;
	uint64_t		owner; /* core/owner.h; known of what was sent */
	char		   *session;
	char		   *receipt;
	char *class;
	char *reason;
} SmemEntry;

typedef struct SmemWindow
{
	MemoryContext context;
	HTAB		 *by_id;
	HTAB		 *by_tenant;
	dlist_head	  list[SMEM_LISTS];
	int			  rows; /* all lists */
	int			  rows_of[SMEM_LISTS];
	int			  delivered_of[SMEM_LISTS]; /* of them, and not in the log yet */
	int			  settled_retries;
	int			  stuck; /* in the list of retries */
	int		closing;	 /* of the streams, those that later rows of their sessions must wait for */
	int64_t bytes;
} SmemWindow;

/* Rows of all streams. */
static inline int
smem_window_streams(const SmemWindow *window)
{
	return window->rows - window->rows_of[SMEM_LIST_RETRIES];
}

/* Not a row, but news of a dead letter. */
static inline bool
smem_entry_is_news(const SmemEntry *entry)
{
	return entry->id < 0;
}

static inline const char *
smem_entry_tenant(const SmemEntry *entry)
{
	return entry->of_tenant->name;
}

extern void		  smem_window_init(SmemWindow *window, MemoryContext context);
extern SmemEntry *smem_window_find(SmemWindow *window, int64_t id);

/* Adds a row at the end of its list; NULL when the id is there already. */
extern SmemEntry *smem_window_add(SmemWindow *window, int64_t id, int list, const char *tenant,
								  const char *session, int bytes);

/* Rows of the tenant in the lists of streams. */
extern int smem_window_tenant_rows(SmemWindow *window, const char *tenant);

/* The tenant with most rows, of those that are not passed over; NULL where there is none. */
extern const char *smem_window_greatest(SmemWindow *window, bool (*passes)(const char *, void *),
										void *arg, int *rows);

extern void smem_window_settle(SmemWindow *window, SmemEntry *entry, const SmemOutcome *out);

/* A delivered row is in the log, although its stream's position cannot pass it yet. */
extern void smem_window_logged(SmemWindow *window, SmemEntry *entry);

/* A row without an outcome leaves its stream, and stands among the retries. */
extern void smem_window_set_aside(SmemWindow *window, SmemEntry *entry);

/*
 * Rows of the session that were set aside, and that later ones need not wait
 * for in the parking place: they are under way before them, or done with.
 * Returns how many, and their ids in the current context.
 */
extern int smem_window_leading(const SmemWindow *window, const char *tenant, const char *session,
							   int64_t **ids);

/* The first row of the session in a stream's list that is not known to be delivered or dead, or NULL. */
extern SmemEntry *smem_window_first_of(const SmemWindow *window, const char *tenant,
									   const char *session);

/* Whether the list's first row has no outcome, while later ones are delivered. */
extern bool smem_window_is_blocked(const SmemWindow *window, int list);

/* The courier is gone: nothing is sent any more; what it held is blamed where asked for, or absolved. */
extern void smem_window_unsend(SmemWindow *window, bool blame);

/* Rows that are handed over and have no outcome; the last one of them in entry, where any. */
extern int smem_window_under_way(SmemWindow *window, SmemEntry **entry);

/* Whether a row without outcome was in the hands of that many dying couriers. */
extern bool smem_window_suspects(SmemWindow *window, int deaths);
extern void smem_window_remove(SmemWindow *window, SmemEntry *entry);
extern bool smem_window_full(const SmemWindow *window);

/*
 * Whether a row of the session stands before the given entry (or anywhere,
 * for NULL, and in the lists of other streams) that failed, is held, or waits
 * behind one that did.  It is not in the parking place before it is recorded,
 * and blocks all the same.  A row from the parking place waits for those of
 * its own list, one of a stream for those of any stream.
 */
extern bool smem_window_blocks(const SmemWindow *window, bool retry, const char *tenant,
							   const char *session, const SmemEntry *before);

/* Length of the settled beginning of a list, up to max. */
extern int smem_window_settled(const SmemWindow *window, int list, int max);

extern void smem_sort_ids(int64_t *ids, int n);

#endif
