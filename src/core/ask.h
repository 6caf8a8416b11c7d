/*
 * Questions of sessions to Open Policy Agent, and the answers.
 *
 * The policy worker's courier listens on SMEM_ASK_SOCKET.  A session connects,
 * sends ASK frames, as many as it likes before an answer, and gets a DECISION
 * for each, in any order; the number tells which.  A frame that makes no
 * sense ends the connection, and a connection that ends takes its questions
 * along: whoever still waits has no decision.
 *
 *   ASK       u32 number, u32 timeout_ms (what is left of the asker's time),
 *             str input: JSON text, the value of "input"
 *   DECISION  u32 number, u8 verdict, str rule, str reason
 */
#ifndef SMEM_CORE_ASK_H
#define SMEM_CORE_ASK_H

#include "core/frame.h"

/*
 * Relative to the data directory, where the server's processes work.  What is
 * in that folder is in no base backup, and gone after a crash.
 */
#define SMEM_ASK_SOCKET "pg_stat_tmp/somamem.policy"

/* The longest ASK, as the length in its frame; a longer one ends the connection. */
#define SMEM_ASK_MAX ((size_t) 32 * 1024 * 1024)

/* So many questions of one connection may wait; further ones are read when some are answered. */
#define SMEM_ASK_WAITING 64

typedef enum SmemAskVerdict
{
	SMEM_VERDICT_ALLOW = 1,
	SMEM_VERDICT_DENY = 2,
	SMEM_VERDICT_FAILED = 3 /* there is no decision */
} SmemAskVerdict;

typedef struct SmemAsk
{
	uint32_t number;
	uint32_t timeout_ms;
	SmemStr	 input;
} SmemAsk;

typedef struct SmemAskAnswer
{
	uint32_t number;
	uint8_t	 verdict; /* SmemAskVerdict */
	SmemStr	 rule;	  /* DENY: its short name; may be absent */
	SmemStr	 reason;  /* DENY: why; FAILED: why there is no decision; may be absent */
} SmemAskAnswer;

extern void smem_frame_ask(SmemBuf *buf, const SmemAsk *ask);
extern void smem_frame_answer(SmemBuf *buf, const SmemAskAnswer *answer);

/* Set rd->bad where the frame makes no sense, an unknown verdict or absent input included. */
extern void smem_get_ask(SmemReader *rd, SmemAsk *ask);
extern void smem_get_answer(SmemReader *rd, SmemAskAnswer *answer);

#endif
