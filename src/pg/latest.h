/*
 * Statements of a session's transaction that see what is committed now,
 * whatever its isolation level.
 */
#ifndef SMEM_PG_LATEST_H
#define SMEM_PG_LATEST_H

#include "executor/spi.h"

/*
 * Runs a statement with a new snapshot; the result is in SPI_tuptable.  nulls
 * as for SPI_execute_plan.  Needs SPI.
 */
extern uint64 smem_latest_query(const char *sql, int nargs, Oid *types, Datum *args,
								const char *nulls);

/* The number in a column of the result's first row; 0 where it is null. */
extern int64 smem_latest_number(int column);

#endif
