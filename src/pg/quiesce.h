/*
 * Stopping a database's workers for as long as a transaction lasts.
 *
 * While they are away nothing is under way to a sink, and the tables alone
 * say what becomes of each row.
 */
#ifndef SMEM_PG_QUIESCE_H
#define SMEM_PG_QUIESCE_H

#include "postgres_ext.h"

#include <stdbool.h>

/*
 * Stops the database's workers and keeps them away to the end of the
 * transaction.  In the session's own database it first waits for whoever has
 * done the same there.  False when a worker did not end in time, or another
 * session has stopped them for a statement about the whole database.
 */
extern bool smem_quiesce(Oid database);

#endif
