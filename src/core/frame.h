/*
 * Frames between a worker and its courier, over a socket pair.
 *
 * A frame is: u32 length of what follows, u8 type, body.  Integers are little
 * endian.  A string is a u32 length and its bytes, without a NUL; the length
 * SMEM_FRAME_NULL stands for an absent string.
 *
 * A reader never trusts a length: smem_frame_next refuses a frame above
 * SMEM_FRAME_MAX, and every get_ below sets rd->bad instead of reading past
 * the frame's end (strings then come back absent, numbers as 0).
 *
 * To the courier
 *   CONFIG    u32 n, n times (string name, string value).  The first frame;
 *             sent again on reload.  Names are the settings' without the
 *             prefix "somamem.", values text, durations in milliseconds,
 *             sizes in bytes; and "sink" (somabrain | kafka) and "source"
 *             (the CloudEvents source of this database).
 *   ROW       one row, see SmemRow.  Rows come in the order in which a
 *             session's rows must be delivered, and never more than
 *             SMEM_FRAME_ROWS without an outcome: a courier that is full reads
 *             nothing, and whatever stands behind a row waits with it.
 *   PING      u64, answered by PONG with the same number.
 *   TRY_NOW   no body: forget every pause, try at once.
 *   PAUSE     u8: 1, nothing new goes out and what is on the wire comes to its
 *             end; 0, go on.  It is at its end when a STATE says paused and
 *             nothing in flight; one sent before the pause was met does not
 *             say paused.
 *   RECORDED  u64: the page with this number is recorded, the next one may be
 *             committed.  Exactly once only.
 *   End of file: exit.
 *
 * From the courier
 *   HELLO     u32 SMEM_FRAME_VERSION, the first frame.
 *   OUTCOMES  u32 n, n times SmemOutcome.  Exactly one for each ROW.  A row
 *             that meets the sink's trouble has none until the trouble is over.
 *   STATE     see SmemSinkState; whenever it changed, at most ten a second, but
 *             at once where the pause begins or ends and where nothing is in
 *             flight any more while it lasts.
 *   PONG      u64
 *
 * Exactly once (CONFIG kafka_exactly_once = on), from the courier too
 *   COMMITTED u64 page, u32 n, n times u64 row id: the last page that the sink
 *             has, 0 and no id where it has none.  Until then something counts
 *             as in flight: what an older courier left may still come to its end.  Sent once, as soon as the
 *             sink can tell; no ROW comes before.  What of it is not recorded
 *             yet, the worker records before it sends the first ROW: the next
 *             page is committed without a RECORDED for this one.
 *   PAGE      u64 page: the DELIVERED outcomes since the last PAGE are this
 *             page, all of it, and the sink has it.  The next is not committed
 *             before RECORDED names this one.
 */
#ifndef SMEM_CORE_FRAME_H
#define SMEM_CORE_FRAME_H

#include "core/buf.h"

#define SMEM_FRAME_VERSION 2
#define SMEM_FRAME_MAX ((size_t) 64 * 1024 * 1024)
#define SMEM_FRAME_NULL 0xFFFFFFFFu
#define SMEM_FRAME_ROWS 4096

typedef enum SmemFrameType
{
	SMEM_FRAME_CONFIG = 'C',
	SMEM_FRAME_ROW = 'R',
	SMEM_FRAME_PING = 'P',
	SMEM_FRAME_TRY_NOW = 'T',
	SMEM_FRAME_PAUSE = 'Z',
	SMEM_FRAME_RECORDED = 'K',
	SMEM_FRAME_HELLO = 'H',
	SMEM_FRAME_OUTCOMES = 'O',
	SMEM_FRAME_STATE = 'S',
	SMEM_FRAME_PONG = 'G',
	SMEM_FRAME_COMMITTED = 'M',
	SMEM_FRAME_PAGE = 'A',
	SMEM_FRAME_ASK = 'Q',	   /* core/ask.h */
	SMEM_FRAME_DECISION = 'D', /* core/ask.h */
	SMEM_FRAME_FETCH = 'F',	   /* core/web.h */
	SMEM_FRAME_DOCUMENT = 'B'  /* core/web.h */
} SmemFrameType;

/* A string inside a frame: not ended by a NUL; data is NULL when absent. */
typedef struct SmemStr
{
	const char *data;
	size_t		len;
} SmemStr;

/* The row is the first of its session that is sent again: its session may flow once more. */
#define SMEM_ROW_REOPEN 0x01

/* Not a row of the outbox but news of a dead letter, for the dead-letter topic; extras belong to the event. */
#define SMEM_ROW_DEAD_LETTER 0x02

typedef struct SmemRow
{
	int64_t	 id;		 /* outbox id, names the row in its outcome */
	uint8_t	 flags;		 /* SMEM_ROW_* */
	uint32_t attempts;	 /* earlier attempts that were the row's own failure */
	int64_t	 created_us; /* microseconds since the Unix epoch */
	SmemStr	 tenant;
	SmemStr	 session;
	SmemStr namespace;
	SmemStr persona; /* may be absent */
	SmemStr role;
	SmemStr key;		 /* idempotency key */
	SmemStr traceparent; /* may be absent */
	SmemStr universe;	 /* may be absent */
	SmemStr extras;		 /* may be absent; JSON members without braces, "tags":[],"importance":1 */
	SmemStr payload;	 /* JSON object */
} SmemRow;

typedef enum SmemOutcomeKind
{
	/* The sink has it; receipt is what it answered. */
	SMEM_OUTCOME_DELIVERED = 1,
	/* Refused in a way that a repeat cannot cure; the session goes on. */
	SMEM_OUTCOME_DEAD = 2,
	/* Failed alone while others pass; the session is closed until a ROW with REOPEN. */
	SMEM_OUTCOME_FAILED = 3,
	/* Not sent, because an earlier row of its session failed or is held. */
	SMEM_OUTCOME_BEHIND = 4,
	/* Not accepted now, because the sink throttles the tenant; closed like FAILED, not an attempt. */
	SMEM_OUTCOME_HELD = 5
} SmemOutcomeKind;

typedef struct SmemOutcome
{
	int64_t	 id;
	uint8_t	 kind;	   /* SmemOutcomeKind */
	int64_t	 at_us;	   /* when it was known, microseconds since the Unix epoch */
	uint32_t delay_ms; /* HELD: try again after this long */
	SmemStr	 receipt;  /* DELIVERED: a JSON object */
	SmemStr class
		; /* DEAD, FAILED, HELD: short and stable, such as "http_422", "timeout", "too_large" */
	SmemStr reason; /* the same for people, without payload or secret */
} SmemOutcome;

typedef enum SmemCircuit
{
	SMEM_CIRCUIT_CLOSED = 0,
	SMEM_CIRCUIT_HALF_OPEN = 1,
	SMEM_CIRCUIT_OPEN = 2
} SmemCircuit;

typedef struct SmemSinkState
{
	uint8_t	 circuit;		  /* SmemCircuit */
	uint32_t failures;		  /* failures of the sink in a row */
	uint64_t retries;		  /* attempts beyond the first since the courier started */
	uint32_t in_flight;		  /* requests or messages on the wire, or a transaction not yet ended */
	uint32_t queued;		  /* rows held without an outcome */
	int64_t	 next_attempt_us; /* Unix epoch; 0 when nothing waits */
	SmemStr	 last_error;	  /* absent when the sink has not failed since its last success */
	bool	 paused;		  /* PAUSE was met: nothing new goes out */
} SmemSinkState;

/* Reads one frame's body. */
typedef struct SmemReader
{
	const char *at;
	const char *end;
	bool		bad; /* something was read past the end */
} SmemReader;

typedef enum SmemFrameStatus
{
	SMEM_FRAME_READY,	/* type and body are set */
	SMEM_FRAME_PARTIAL, /* more bytes are needed */
	SMEM_FRAME_REFUSED	/* a length above SMEM_FRAME_MAX or of zero */
} SmemFrameStatus;

static inline bool
smem_str_present(SmemStr s)
{
	return s.data != NULL;
}

static inline bool
smem_str_equal(SmemStr a, SmemStr b)
{
	return a.len == b.len && (a.len == 0 || __builtin_memcmp(a.data, b.data, a.len) == 0);
}

extern SmemStr smem_str(const char *text);

/* Writing: begin returns a mark that end needs to fill in the length. */
extern size_t smem_frame_begin(SmemBuf *buf, SmemFrameType type);
extern void	  smem_frame_end(SmemBuf *buf, size_t mark);
extern void	  smem_put_u8(SmemBuf *buf, uint8_t v);
extern void	  smem_put_u32(SmemBuf *buf, uint32_t v);
extern void	  smem_put_u64(SmemBuf *buf, uint64_t v);
extern void	  smem_put_str(SmemBuf *buf, SmemStr s);

extern void smem_frame_row(SmemBuf *buf, const SmemRow *row);
extern void smem_frame_state(SmemBuf *buf, const SmemSinkState *state);
extern void smem_frame_pause(SmemBuf *buf, bool paused);

/* A frame whose body is one number: PING, PONG, RECORDED, PAGE. */
extern void smem_frame_number(SmemBuf *buf, SmemFrameType type, uint64_t v);
extern void smem_frame_committed(SmemBuf *buf, uint64_t page, const int64_t *ids, uint32_t n);
extern void smem_put_outcome(SmemBuf *buf, const SmemOutcome *out);

/* Reading.  The body stays in buf: consume smem_frame_size(body) bytes when done with it. */
extern SmemFrameStatus smem_frame_next(const SmemBuf *buf, uint8_t *type, SmemReader *rd);
extern size_t		   smem_frame_size(const SmemBuf *buf);
extern uint8_t		   smem_get_u8(SmemReader *rd);
extern uint32_t		   smem_get_u32(SmemReader *rd);
extern uint64_t		   smem_get_u64(SmemReader *rd);
extern SmemStr		   smem_get_str(SmemReader *rd);
extern void			   smem_get_row(SmemReader *rd, SmemRow *row);
extern void			   smem_get_outcome(SmemReader *rd, SmemOutcome *out);
extern void			   smem_get_state(SmemReader *rd, SmemSinkState *state);

#endif
