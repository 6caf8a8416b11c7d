/*
 * Buckets for histograms: ten to each power of ten, so that a percentile is
 * right to about a tenth, and the round numbers that people ask for (1, 2.5,
 * 5, 10, 30, 60) are bounds.
 *
 * Values are whole numbers of a unit that the user chooses; the first bucket
 * ends at 10 units, the last has all above 8 * 10^8.  Where the counts
 * stand, and who may write them, is the user's matter.
 */
#ifndef SMEM_CORE_HISTOGRAM_H
#define SMEM_CORE_HISTOGRAM_H

#include <stdint.h>

#define SMEM_BUCKETS 81

/* The bucket that a value falls into: the first whose bound is not below it. */
extern int smem_bucket_of(uint64_t value);

/* The greatest value of a bucket; UINT64_MAX for the last. */
extern uint64_t smem_bucket_bound(int bucket);

/* The value that this share of all counts does not exceed, between bounds in proportion; 0 where there is none. */
extern double smem_bucket_quantile(const uint64_t *count, double share);

#endif
