/*
 * The health document, from shared memory alone: no table is read, so it
 * costs the same at any backlog and can be served without a connection.
 */
#ifndef SMEM_PG_HEALTH_H
#define SMEM_PG_HEALTH_H

#include "lib/stringinfo.h"
#include "pg/shmem.h"

typedef enum SmemHealth
{
	SMEM_HEALTH_OFF, /* does not count */
	SMEM_HEALTH_OK,
	SMEM_HEALTH_DEGRADED,
	SMEM_HEALTH_DOWN
} SmemHealth;

/* Appends the document of one database (db NULL: no worker knows it yet) and returns its status. */
extern SmemHealth smem_health_write(StringInfo out, SmemDatabaseSlot *db, const char *datname);

/*
 * The same without a connection: of the named database, or for NULL of the one
 * that there is, or of all together, which has no member "database".  False
 * where no such database has the extension.
 */
extern bool smem_health_write_server(StringInfo out, const char *database, SmemHealth *worst);

/* Whether rows move, or none wait, at every sink; else appends what does not, as text. */
extern bool smem_health_ready(StringInfo why);

#endif
