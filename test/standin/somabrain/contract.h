/*
 * Checks a request against the contract's section on SomaBrain, item by item.
 *
 * Every violation is reported, none is forgiven: what this accepts, the
 * contract allows.  A checked request's slices point into the body and into
 * the parsed tree, and live until the next check.
 */
#ifndef STANDIN_CONTRACT_H
#define STANDIN_CONTRACT_H

#include <json-c/json.h>

#include "http.h"

typedef enum SmemForm
{
	SMEM_FORM_BATCH,
	SMEM_FORM_SINGLE,
	SMEM_FORM_LEGACY,
	SMEM_FORM_COUNT
} SmemForm;

typedef struct SmemItem
{
	SmemSlice key;	   /* absent in the legacy form */
	SmemSlice session; /* absent when the value does not name it */
	SmemSlice content;
	SmemSlice raw_value; /* the payload as it stands in the body */
	SmemSlice raw_item;
} SmemItem;

typedef struct SmemRequest
{
	SmemForm  form;
	SmemSlice tenant;
	SmemSlice namespace; /* absent in the legacy form */
	SmemItem			*items;
	size_t				 n;
	size_t				 size;
	struct json_object	*root;
	struct json_tokener *tokener;
	SmemBuf				 scratch; /* the decoded tenant header */
	char				 violation[200];
} SmemRequest;

extern const char *smem_form_name(SmemForm form);
extern void		   smem_request_init(SmemRequest *req);
extern void		   smem_request_free(SmemRequest *req);

/* False: req->violation says what is wrong. */
extern bool smem_request_check(SmemRequest *req, SmemForm form, const SmemHead *head,
							   SmemSlice body);

#endif
