/*
 * Finds the extension's own relations.
 */
#ifndef SMEM_PG_CATALOG_H
#define SMEM_PG_CATALOG_H

/* The extension in this database, as the catalog shows it now; InvalidOid where there is none. */
extern Oid smem_extension_oid(void);

/* Oid of somamem.NAME; raises 55000 when it is missing. */
extern Oid smem_relation_oid(const char *relname);

/* Oid of the segment's table. */
extern Oid smem_segment_oid(int segment);

#endif
