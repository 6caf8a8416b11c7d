/*
 * What is kept in Kafka of the last page: its number, and whose rows it has.
 *
 * Text, so that people can read it: {"page":17,"ids":"1000+5,1010"}.  "1000+5"
 * stands for 1000 and the five ids that follow it; ids stand in the order of
 * the page, which is not always theirs.  Pure.
 */
#ifndef SMEM_COURIER_PAGE_RECORD_H
#define SMEM_COURIER_PAGE_RECORD_H

#include "core/frame.h"

#define SMEM_PAGE_ROWS_MAX 2000

typedef struct SmemPageRecord
{
	uint64_t page; /* 0: there is none */
	uint32_t n;
	int64_t	 ids[SMEM_PAGE_ROWS_MAX];
} SmemPageRecord;

extern void smem_page_record_put(SmemBuf *buf, const SmemPageRecord *record);

/* False where the text is not what put writes. */
extern bool smem_page_record_read(SmemStr text, SmemPageRecord *record);

extern bool smem_page_record_equal(const SmemPageRecord *a, const SmemPageRecord *b);

#endif
