/*
 * Finds where values stand in a JSON text.
 *
 * Only for texts that json-c has accepted already: the text itself is what a
 * payload is compared by, and a parser that prints it again would change
 * numbers and order.
 */
#ifndef STANDIN_EXTENT_H
#define STANDIN_EXTENT_H

#include "text.h"

/* The value of an object's member; absent when there is none under the plain name. */
extern SmemSlice smem_extent_member(SmemSlice object, const char *name);

/* Walks an array: *at starts at 0; absent at the end. */
extern SmemSlice smem_extent_element(SmemSlice array, size_t *at);

#endif
