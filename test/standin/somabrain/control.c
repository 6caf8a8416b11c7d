/*
 * The control endpoint: GET shows counts and faults, POST changes the faults.
 */
#include "service.h"

#include <stdio.h>
#include <string.h>

bool
smem_service_controls(const SmemHead *head)
{
	return smem_slice_is(head->path, "/_control");
}

static void
add_count(struct json_object *document, const char *name, uint64_t count)
{
	json_object_object_add(document, name, json_object_new_uint64(count));
}

static struct json_object *
describe_requests(const SmemService *service)
{
	struct json_object *requests = json_object_new_object();
	int					form;

	for (form = 0; form < SMEM_FORM_COUNT; form++)
		add_count(requests, smem_form_name((SmemForm) form), service->requests[form]);
	add_count(requests, "not_found", service->unknown_paths);
	return requests;
}

static struct json_object *
describe_statuses(const SmemService *service)
{
	struct json_object *statuses = json_object_new_object();
	char				name[16];
	int					status;

	for (status = 0; status < SMEM_STATUS_MAX; status++)
	{
		if (service->statuses[status] == 0)
			continue;
		snprintf(name, sizeof(name), "%d", status);
		add_count(statuses, name, service->statuses[status]);
	}
	return statuses;
}

static struct json_object *
describe(const SmemService *service, int64_t now_ms)
{
	struct json_object *document = json_object_new_object();

	smem_faults_describe(&service->faults, now_ms, document);
	json_object_object_add(document, "requests", describe_requests(service));
	json_object_object_add(document, "statuses", describe_statuses(service));
	add_count(document, "accepted_requests", service->taken);
	add_count(document, "items", service->ledger.items);
	add_count(document, "distinct", service->ledger.keys.used);
	add_count(document, "repeats", service->ledger.repeats);
	add_count(document, "bytes", service->bytes);
	add_count(document, "connections", (uint64_t) service->connections);
	add_count(document, "connections_max", (uint64_t) service->connections_max);
	add_count(document, "reused_request_ids", service->reused_request_ids);
	add_count(document, "violations", service->violations);
	json_object_object_add(document, "first_violation",
						   json_object_new_string(service->first_violation));
	return document;
}

static void
put_document(SmemBuf *out, int status, struct json_object *document)
{
	smem_http_answer(out, status, "",
					 smem_slice(json_object_to_json_string_ext(document, JSON_C_TO_STRING_PLAIN)));
	json_object_put(document);
}

static bool
change(SmemService *service, SmemSlice body, int64_t now_ms, char *error, size_t error_size)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object	*document = json_tokener_parse_ex(tokener, body.data, (int) body.len);
	bool				 good;

	if (document == NULL)
		snprintf(error, error_size, "body is not JSON");
	good = document && smem_faults_control(&service->faults, document, now_ms, error, error_size);
	json_object_put(document);
	json_tokener_free(tokener);
	return good;
}

void
smem_service_control(SmemService *service, const SmemHead *head, SmemSlice body, int64_t now_ms,
					 SmemBuf *out)
{
	char				error[200] = "";
	struct json_object *document;

	if (smem_slice_is(head->method, "GET") || change(service, body, now_ms, error, sizeof(error)))
	{
		put_document(out, 200, describe(service, now_ms));
		return;
	}
	document = json_object_new_object();
	json_object_object_add(document, "error", json_object_new_string(error));
	put_document(out, 400, document);
}
