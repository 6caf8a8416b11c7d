/*
 * Which Kafka the settings name: brokers, topics, properties file.
 *
 * Whatever the next producer would be made from has a print, the text of the
 * file included; a reload compares the prints, so that one which changes
 * nothing disturbs nothing.
 */
#ifndef SMEM_COURIER_TARGET_H
#define SMEM_COURIER_TARGET_H

#include "core/error.h"
#include "courier/config.h"

typedef struct SmemTarget
{
	/* Each ended by a NUL that does not count. */
	SmemBuf brokers;
	SmemBuf topic;
	SmemBuf dead_letter_topic;
	SmemBuf path; /* of the properties file */
	SmemBuf position_topic;
	SmemBuf source; /* for the events; part of the print only where it names the transactions */
	SmemBuf file;	/* text of the properties file, as last read */
	SmemBuf used;	/* print of the last smem_target_use */
	bool	exactly_once;
} SmemTarget;

extern void smem_target_init(SmemTarget *target);
extern void smem_target_free(SmemTarget *target);

/* Takes the settings and reads the file; true where the print is not the one in use. */
extern bool smem_target_configure(SmemTarget *target, const SmemConfig *config);

/* Reads the file again and takes all into use; false and the reason where it cannot be used. */
extern bool smem_target_use(SmemTarget *target, SmemError *err);

#endif
