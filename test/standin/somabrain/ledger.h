/*
 * What the stand-in has accepted: known keys, counts, and the record file.
 *
 * A record line is written, and handed to the kernel, before the answer is
 * sent: an acknowledged delivery is in the file even when the stand-in is
 * killed.  A record that exists already is read at start, so that a restarted
 * stand-in still knows its keys.
 */
#ifndef STANDIN_LEDGER_H
#define STANDIN_LEDGER_H

#include "contract.h"

/* A set of fingerprints: open addressing, never shrinks. */
typedef struct SmemPrintSet
{
	SmemPrint *slots;
	size_t	   size; /* a power of two */
	size_t	   used;
} SmemPrintSet;

typedef struct SmemLedger
{
	SmemPrintSet keys;
	SmemPrintSet request_ids;
	uint64_t	 items;
	uint64_t	 repeats;
	int			 fd; /* -1: nothing is recorded */
	bool		 with_values;
	bool		 with_items;
	SmemBuf		 lines;
} SmemLedger;

/* True when the fingerprint was not in the set before. */
extern bool smem_prints_add(SmemPrintSet *set, SmemPrint print);

/* False: the file cannot be used; errno says why. */
extern bool smem_ledger_open(SmemLedger *ledger, const char *path);

/*
 * Accepts the first n items.  repeats[i] tells whether the key was known;
 * prints[i] is the key's fingerprint.
 */
extern bool smem_ledger_accept(SmemLedger *ledger, const SmemRequest *req, const SmemHead *head,
							   size_t n, bool *repeats, SmemPrint *prints);

#endif
