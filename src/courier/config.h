/*
 * The settings that the worker sent: names without the prefix "somamem.",
 * values as text, durations in milliseconds, sizes in bytes, booleans as on
 * or off.
 */
#ifndef SMEM_COURIER_CONFIG_H
#define SMEM_COURIER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/frame.h"

#define SMEM_CONFIG_MAX 64

typedef struct SmemConfig
{
	SmemBuf text;				   /* names and values, each ended by a NUL */
	size_t	name[SMEM_CONFIG_MAX]; /* where in text */
	size_t	value[SMEM_CONFIG_MAX];
	int		n;
} SmemConfig;

extern void smem_config_init(SmemConfig *config);
extern void smem_config_free(SmemConfig *config);

/* Replaces what config holds by a CONFIG frame's body; false when the frame is malformed. */
extern bool smem_config_read(SmemConfig *config, SmemReader *rd);

/* Adds one setting; a later one of the same name counts. */
extern bool smem_config_add(SmemConfig *config, SmemStr name, SmemStr value);

/* The value, or the fallback where the setting is absent or empty.  Lasts as long as config. */
extern const char *smem_config_text(const SmemConfig *config, const char *name,
									const char *fallback);

/* The value as a number inside the range, or the fallback where it is absent or no number. */
extern int64_t smem_config_int(const SmemConfig *config, const char *name, int64_t fallback,
							   int64_t min, int64_t max);
extern bool	   smem_config_bool(const SmemConfig *config, const char *name, bool fallback);

#endif
