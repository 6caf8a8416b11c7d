/*
 * What the two files of the writer share: rows, and how a program ends that cannot go on.
 */
#ifndef SMEM_TEST_WRITER_H
#define SMEM_TEST_WRITER_H

#include <stdint.h>

typedef struct Row
{
	char *tenant;
	char *session;
	char *payload;
} Row;

typedef struct Rows
{
	Row *row;
	long n;
	long size;
} Rows;

typedef struct RowPlan
{
	const char *run; /* makes made-up ids of this run unique */
	int			tenants;
	int			sessions; /* a tenant has */
	int			payload_bytes;
	double		zipf; /* exponent of the tenants' shares; 0: all alike */
	uint64_t	seed;
} RowPlan;

extern void smem_die(const char *what, const char *detail);

/* A number that looks random and is the same for the same arguments. */
extern uint64_t smem_mix(uint64_t seed, uint64_t n);

extern void smem_rows_read(Rows *rows, const char *path);
extern void smem_rows_make(Rows *rows, const RowPlan *plan, long n);

#endif
