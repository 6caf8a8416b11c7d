/*
 * What a shipper has handed to its courier and not yet recorded.
 *
 * Rows of the stream stand in the order in which they were read; only a
 * settled beginning of that order can be recorded, because the position is
 * one point.  Rows from the parking place stand apart, in no order.
 */
#ifndef SMEM_WORKER_WINDOW_H
#define SMEM_WORKER_WINDOW_H

#include "core/frame.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "utils/hsearch.h"

/* Bounds of the window.  Both limit what a killed courier may cause to be sent again. */
#define SMEM_WINDOW_ROWS 2048
#define SMEM_WINDOW_BYTES (8 * 1024 * 1024)

/* Settled by the shipper itself: the row waits for its time. */
#define SMEM_OUTCOME_DELAYED 6

typedef struct SmemEntry
{
	int64_t		id; /* hash key */
	dlist_node	node;
	uint32_t	step;	/* number of the step it was read in */
	bool		retry;	/* comes from the parking place */
	bool		head;	/* of its session's parked rows */
	bool		sent;	/* handed to the courier that runs now */
	uint8_t		deaths; /* couriers that died with the row in their hands */
	uint8_t		kind;	/* SmemOutcomeKind, 0 while unknown */
	int			attempts;
	int			bytes;
	TimestampTz commit_at;
	TimestampTz at; /* when it was settled, or for DELAYED when it is due */
	uint32_t	delay_ms;
	char	   *tenant;
	char	   *session;
	char	   *receipt;
	char *class;
	char *reason;
} SmemEntry;

typedef struct SmemWindow
{
	MemoryContext context;
	HTAB		 *by_id;
	dlist_head	  stream;
	dlist_head	  retries;
	int			  rows; /* both lists */
	int			  settled_retries;
	int		closing; /* of the stream, those that later rows of their sessions must wait for */
	int64_t bytes;
} SmemWindow;

extern void		  smem_window_init(SmemWindow *window, MemoryContext context);
extern SmemEntry *smem_window_find(SmemWindow *window, int64_t id);

/* Adds a row at the end of its list; NULL when the id is there already. */
extern SmemEntry *smem_window_add(SmemWindow *window, int64_t id, bool retry, const char *tenant,
								  const char *session, int bytes);
extern void		  smem_window_settle(SmemWindow *window, SmemEntry *entry, const SmemOutcome *out);

/* The courier is gone: nothing is sent any more; what it held is blamed where asked for, or absolved. */
extern void smem_window_unsend(SmemWindow *window, bool blame);

/* Rows that are handed over and have no outcome; the last one of them in entry, where any. */
extern int smem_window_under_way(SmemWindow *window, SmemEntry **entry);

/* Whether a row without outcome was in the hands of that many dying couriers. */
extern bool smem_window_suspects(SmemWindow *window, int deaths);
extern void smem_window_remove(SmemWindow *window, SmemEntry *entry);
extern bool smem_window_full(const SmemWindow *window);

/*
 * Whether a row of the session stands in the list, before the given entry (or
 * anywhere, for NULL), that failed, is held, or waits behind one that did.  It
 * is not in the parking place before it is recorded, and blocks all the same.
 */
extern bool smem_window_blocks(const SmemWindow *window, bool retry, const char *tenant,
							   const char *session, const SmemEntry *before);

/* Length of the settled beginning of the stream, up to max. */
extern int smem_window_settled(SmemWindow *window, int max);

#endif
