/*
 * librdkafka's configuration: our own choices, an operator's properties file
 * on top of them, and the promises that no file may change above both.
 *
 * Errors name a property or a line, never a value: values may be secrets.
 */
#ifndef SMEM_COURIER_PROPERTIES_H
#define SMEM_COURIER_PROPERTIES_H

#include <librdkafka/rdkafka.h>

#include "core/buf.h"
#include "core/error.h"

typedef struct SmemProperties
{
	const char *brokers;
	const char *file_text;	/* the properties file, "" where there is none */
	uint32_t	batch_rows; /* ceilings of one batch, 0 for the file's or librdkafka's own */
	uint32_t	batch_bytes;
	const char *transactional_id; /* NULL: no transactions */
} SmemProperties;

/*
 * Reads the whole file, which nobody but its owner may be able to read or
 * write; an empty path gives an empty text.
 */
extern bool smem_properties_read(const char *path, SmemBuf *text, SmemError *err);

/* A new configuration, of the producer or of the reader of positions; NULL and the reason. */
extern rd_kafka_conf_t *smem_properties_conf(const SmemProperties *props, SmemError *err);
extern rd_kafka_conf_t *smem_properties_reader(const SmemProperties *props, SmemError *err);

/*
 * Makes the client's words fit to be shown: one line of ASCII, and a general
 * one where they repeat a value of the file that must stay secret.
 */
extern void smem_properties_censor(const char *file_text, char *text, size_t size);

#endif
