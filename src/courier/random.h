/*
 * Chance: from the kernel, a page at a time.
 */
#ifndef SMEM_COURIER_RANDOM_H
#define SMEM_COURIER_RANDOM_H

#include <stdint.h>

extern uint64_t smem_random(void);

#define SMEM_UUID_TEXT 37

/* A new version 4 UUID, ended by a NUL. */
extern void smem_random_uuid(char text[SMEM_UUID_TEXT]);

#endif
