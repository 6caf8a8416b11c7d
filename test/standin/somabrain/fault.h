/*
 * What goes wrong on purpose, and the requests that it happens to.
 *
 * Rules are asked in order; the first that matches a request decides.  The
 * control endpoint changes them while the stand-in runs; README.md lists its
 * members.
 */
#ifndef STANDIN_FAULT_H
#define STANDIN_FAULT_H

#include "contract.h"

typedef enum SmemFaultKind
{
	SMEM_FAULT_NONE,
	SMEM_FAULT_HANG,			/* never answers */
	SMEM_FAULT_STATUS,			/* answers with a status of the rule's choice */
	SMEM_FAULT_DRIP,			/* answers a few bytes at a time */
	SMEM_FAULT_RESET,			/* resets the connection instead of answering */
	SMEM_FAULT_GARBAGE,			/* answers with what is no HTTP */
	SMEM_FAULT_TRUNCATED,		/* closes in the middle of the answer */
	SMEM_FAULT_NOT_JSON,		/* answers 200 with a body that is no JSON */
	SMEM_FAULT_MISSING_RESULTS, /* answers and takes the first half of the items only */
	SMEM_FAULT_OK_FALSE,		/* answers 200 with ok false */
	SMEM_FAULT_WRONG_LENGTH,	/* answers with a Content-Length that is not the body's */
	SMEM_FAULT_LARGE,			/* answers with a body of the rule's size, and its length */
	SMEM_FAULT_ENDLESS_BODY,	/* answers in chunks that do not end */
	SMEM_FAULT_ENDLESS_HEADERS, /* answers with headers that do not end */
	SMEM_FAULT_ENDLESS_LINE,	/* answers with one header that does not end */
	SMEM_FAULT_ENDLESS_INTERIM, /* answers 102 again and again */
	SMEM_FAULT_GZIP,			/* answers with a compressed body that never ends */
	SMEM_FAULT_DOWN				/* closes the listener and every connection */
} SmemFaultKind;

#define SMEM_RULE_MAX 32
#define SMEM_RULE_TEXT 256

typedef struct SmemRule
{
	SmemFaultKind kind;
	char		  tenant[SMEM_RULE_TEXT];  /* empty: every tenant */
	char		  content[SMEM_RULE_TEXT]; /* empty: any; else some item's content contains it */
	int			  form;					   /* SmemForm, -1: every form */
	int			  percent;				   /* of the requests that match otherwise */
	int64_t		  left;					   /* requests it still applies to, -1: no end */
	int64_t		  until_ms;				   /* monotonic; INT64_MAX: no end */
	bool		  takes_items;			   /* the items are accepted although the answer is lost */
	int			  status;
	char		  retry_after[64];
	char		  location[SMEM_RULE_TEXT];
	char		  body[SMEM_RULE_TEXT];
	int			  delay_ms;
	int			  drip_ms;
	int			  drip_bytes;
	int64_t		  bytes; /* size of a large body, or what a wrong length adds to the right one */
} SmemRule;

typedef enum SmemCoordinate
{
	SMEM_COORDINATE_ARRAY,
	SMEM_COORDINATE_STRING,
	SMEM_COORDINATE_OBJECT,
	SMEM_COORDINATE_NULL,
	SMEM_COORDINATE_COUNT
} SmemCoordinate;

typedef struct SmemFaults
{
	SmemRule	   rules[SMEM_RULE_MAX];
	int			   n;
	int64_t		   down_until_ms; /* 0: up; INT64_MAX: no end */
	unsigned	   forms;		  /* bit per SmemForm that is served */
	int			   delay_ms;
	size_t		   max_body;			  /* a larger body is 413 */
	char		   token[SMEM_RULE_TEXT]; /* empty: none is asked for */
	SmemCoordinate coordinate;
	bool		   single_in_results; /* the single form answers with results too */
	uint64_t	   dice;
} SmemFaults;

extern void smem_faults_init(SmemFaults *faults);

/* Applies a control document; false: error says which member is wrong, nothing was changed. */
extern bool smem_faults_control(SmemFaults *faults, struct json_object *document, int64_t now_ms,
								char *error, size_t error_size);

/* The rule that this request meets, counted as used; NULL when it meets none. */
extern const SmemRule *smem_faults_match(SmemFaults *faults, const SmemRequest *req,
										 int64_t now_ms);
extern bool			   smem_faults_down(const SmemFaults *faults, int64_t now_ms);

/* Parses "batch,single,legacy"; 0 when a name is unknown. */
extern unsigned smem_faults_forms(const char *names);

extern void smem_faults_describe(const SmemFaults *faults, int64_t now_ms,
								 struct json_object *document);

#endif
