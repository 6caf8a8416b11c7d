/*
 * Finds the bad rows of a batch that was refused as a whole.
 *
 * Of the rows that the batch still has, the first `tried` are in the request.
 * Where a part of a batch that is known to hold a bad row passes, the bad row
 * is in the rest, and the rest is halved without being asked as a whole.
 * Where it fails, nothing is known of the rest: those rows leave the batch and
 * mingle with new ones.  One bad row of n thus costs at most ceil(log2 n) + 1
 * requests more; it is condemned only by a request in which it stood alone,
 * because a sink may refuse a batch for what no row of it is guilty of.  Rows
 * are always asked in their order.
 */
#ifndef SMEM_CORE_SPLIT_H
#define SMEM_CORE_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct SmemSplit
{
	uint32_t rows;	 /* that the batch has */
	uint32_t tried;	 /* of them, from the first, in the request */
	bool	 guilty; /* there is a bad row among them */
} SmemSplit;

extern void smem_split_begin(SmemSplit *split, uint32_t rows);

/* The first split->tried rows passed; the caller has removed them.  False: no row is left. */
extern bool smem_split_passed(SmemSplit *split);

/*
 * The request failed for one of its rows.  Returns how many rows, from the
 * end, leave the batch unasked.  Not to be called with one row in the request:
 * that one is the bad row.
 */
extern uint32_t smem_split_failed(SmemSplit *split);

#endif
