/*
 * A worker's transactions and their prepared statements.
 *
 * A worker holds no transaction while anything is on the wire: it opens one
 * with smem_begin, does its few statements, and closes it with smem_commit.
 * A statement is planned once for the life of the process.
 */
#ifndef SMEM_PG_QUERY_H
#define SMEM_PG_QUERY_H

#include "executor/spi.h"

#define SMEM_QUERY_MAX_ARGS 32

typedef struct SmemQuery
{
	const char *sql;
	int			nargs;
	Oid			types[SMEM_QUERY_MAX_ARGS];
	SPIPlanPtr	plan; /* NULL before the first use */
} SmemQuery;

/*
 * Opens a transaction with SPI.  False when the extension is gone, or another
 * than at the first call; then nothing is open.
 */
extern bool smem_begin(const char *activity);
extern void smem_commit(void);

/* The extension of the first call; invalid before that. */
extern Oid smem_served_extension(void);

/* Runs the statement with a new snapshot; the result is in SPI_tuptable.  nulls as for SPI_execute_plan. */
extern uint64 smem_query(SmemQuery *query, Datum *args, const char *nulls, long limit);

#endif
