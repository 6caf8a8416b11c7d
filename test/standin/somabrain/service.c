#include "service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filler.h"

#define ANSWER_MAX ((size_t) 256 * 1024 * 1024)

static void
put_coordinate(SmemBuf *out, SmemCoordinate form, SmemPrint print)
{
	unsigned x = (unsigned) (print.high % 1000000);
	unsigned y = (unsigned) ((print.high >> 32) % 1000000);
	unsigned z = (unsigned) (print.low % 1000000);

	switch (form)
	{
		case SMEM_COORDINATE_ARRAY:
			smem_buf_printf(out, "[0.%06u,0.%06u,0.%06u]", x, y, z);
			break;
		case SMEM_COORDINATE_STRING:
			smem_buf_printf(out, "\"0.%06u,0.%06u,0.%06u\"", x, y, z);
			break;
		case SMEM_COORDINATE_OBJECT:
			smem_buf_printf(out, "{\"x\":0.%06u,\"y\":0.%06u,\"z\":[0.%06u]}", x, y, z);
			break;
		default:
			smem_buf_puts(out, "null");
			break;
	}
}

static void
put_result(SmemService *service, SmemBuf *out, size_t i)
{
	const SmemItem *item = &service->request.items[i];

	if (item->key.data)
	{
		smem_buf_puts(out, "\"key\":");
		smem_text_json(out, item->key);
		smem_buf_putc(out, ',');
	}
	smem_buf_puts(out, "\"coordinate\":");
	put_coordinate(out, service->faults.coordinate, service->prints[i]);
	smem_buf_printf(out,
					",\"promoted_to_wm\":true,\"persisted_to_ltm\":true,\"deduplicated\":%s,"
					"\"request_id\":\"%016llx-%zu\",\"warnings\":[]",
					service->repeats[i] ? "true" : "false", (unsigned long long) service->taken, i);
}

static void
put_body(SmemService *service, SmemBuf *out, bool ok, size_t n)
{
	const SmemRequest *req = &service->request;
	bool			   in_results = req->form == SMEM_FORM_BATCH ||
					  (req->form == SMEM_FORM_SINGLE && service->faults.single_in_results);
	size_t i;

	smem_buf_printf(out, "{\"ok\":%s", ok ? "true" : "false");
	if (req->form != SMEM_FORM_LEGACY)
	{
		smem_buf_puts(out, ",\"tenant\":");
		smem_text_json(out, req->tenant);
		smem_buf_puts(out, ",\"namespace\":");
		smem_text_json(out, req->namespace);
	}
	if (in_results)
		smem_buf_puts(out, ",\"results\":[");
	for (i = 0; ok && i < n; i++)
	{
		smem_buf_puts(out, !in_results ? "," : i > 0 ? ",{" : "{");
		put_result(service, out, i);
		if (in_results)
			smem_buf_putc(out, '}');
	}
	smem_buf_puts(out, in_results ? "]}" : "}");
}

/* The body's length stands before it, so it is written elsewhere first; more makes it a wrong one. */
static void
put_answer(SmemService *service, SmemBuf *out, bool ok, size_t n, int64_t more)
{
	static SmemBuf body;
	SmemSlice	   text;

	if (body.max == 0)
		smem_buf_init(&body, ANSWER_MAX);
	smem_buf_reset(&body);
	put_body(service, &body, ok, n);
	text.data = smem_buf_text(&body);
	text.len = smem_buf_len(&body);
	smem_http_start(out, 200, "", text.len + (size_t) more);
	smem_buf_append(out, text.data, text.len);
	service->statuses[200]++;
}

static void
put_error(SmemService *service, SmemBuf *out, int status, const char *extra, const char *detail)
{
	char	body[400];
	SmemBuf text;

	smem_buf_init(&text, sizeof(body));
	smem_buf_puts(&text, "{\"detail\":");
	smem_text_json(&text, smem_slice(detail));
	smem_buf_putc(&text, '}');
	smem_http_answer(out, status, extra, smem_slice(smem_buf_text(&text)));
	smem_buf_free(&text);
	service->statuses[status]++;
}

static bool
make_room(SmemService *service, size_t n)
{
	if (n > service->scratch_size)
	{
		free(service->repeats);
		free(service->prints);
		service->repeats = malloc(n * sizeof(bool));
		service->prints = malloc(n * sizeof(SmemPrint));
		service->scratch_size = service->repeats && service->prints ? n : 0;
	}
	return n <= service->scratch_size;
}

static bool
take(SmemService *service, const SmemHead *head, size_t n)
{
	if (!make_room(service, service->request.n) ||
		!smem_ledger_accept(&service->ledger, &service->request, head, n, service->repeats,
							service->prints))
		return false;
	service->taken++;
	return true;
}

static void
put_status(SmemService *service, const SmemRule *rule, SmemBuf *out)
{
	char extra[2 * SMEM_RULE_TEXT];
	int	 n = 0;

	extra[0] = '\0';
	if (rule->retry_after[0])
		n += snprintf(extra, sizeof(extra), "Retry-After: %s\r\n", rule->retry_after);
	if (rule->location[0])
		snprintf(extra + n, sizeof(extra) - (size_t) n, "Location: %s\r\n", rule->location);
	if (rule->body[0])
	{
		smem_http_answer(out, rule->status, extra, smem_slice(rule->body));
		service->statuses[rule->status]++;
	}
	else
		put_error(service, out, rule->status, extra, "fault on request");
}

static void
put_fault(SmemService *service, const SmemRule *rule, SmemBuf *out)
{
	switch (rule->kind)
	{
		case SMEM_FAULT_STATUS:
			put_status(service, rule, out);
			break;
		case SMEM_FAULT_GARBAGE:
			smem_buf_puts(out, "\x16\x03\x01 this is not HTTP\n\n");
			break;
		case SMEM_FAULT_NOT_JSON:
			smem_http_answer(out, 200, "", smem_slice("<html>welcome</html>"));
			break;
		case SMEM_FAULT_OK_FALSE:
			put_answer(service, out, false, 0, 0);
			break;
		case SMEM_FAULT_TRUNCATED:
			smem_http_start(out, 200, "", 4096);
			smem_buf_puts(out, "{\"ok\":true,\"tenant\":\"");
			break;
		default:
			break;
	}
}

/* Applies what the request meets, if anything, and answers. */
static SmemReply
finish(SmemService *service, const SmemHead *head, int64_t now_ms, SmemBuf *out)
{
	const SmemRule *rule = smem_faults_match(&service->faults, &service->request, now_ms);
	SmemReply		reply = {.delay_ms = service->faults.delay_ms};
	SmemFaultKind	kind = rule ? rule->kind : SMEM_FAULT_NONE;
	bool			answers = kind == SMEM_FAULT_NONE || kind == SMEM_FAULT_DRIP ||
				   kind == SMEM_FAULT_MISSING_RESULTS || kind == SMEM_FAULT_WRONG_LENGTH;
	size_t n = service->request.n;

	/* A prefix: a server that took later items of a session first would break its order itself. */
	if (kind == SMEM_FAULT_MISSING_RESULTS)
		n = (n + 1) / 2;
	if (rule)
	{
		reply.kind = kind;
		reply.delay_ms += rule->delay_ms;
		reply.drip_ms = rule->drip_ms;
		reply.drip_bytes = rule->drip_bytes;
		smem_filler_start(rule, out, &reply);
	}
	if ((answers || rule->takes_items) && !take(service, head, n))
	{
		put_error(service, out, 507, "", "could not write the record");
		return reply;
	}
	if (answers)
		put_answer(service, out, true, n, kind == SMEM_FAULT_WRONG_LENGTH ? rule->bytes : 0);
	else
		put_fault(service, rule, out);
	return reply;
}

static bool
is_authorized(const SmemService *service, const SmemHead *head)
{
	SmemSlice token = head->authorization;

	if (service->faults.token[0] == '\0')
		return true;
	if (token.len < 7 || memcmp(token.data, "Bearer ", 7) != 0)
		return false;
	token.data += 7;
	token.len -= 7;
	return smem_slice_is(token, service->faults.token);
}

/* -1: no such endpoint. */
static int
form_of_path(const SmemService *service, SmemSlice path)
{
	SmemSlice rest = path;

	if (smem_slice_is(path, "/remember"))
		return SMEM_FORM_LEGACY;
	if (path.len < service->prefix.len ||
		memcmp(path.data, service->prefix.data, service->prefix.len) != 0)
		return -1;
	rest.data += service->prefix.len;
	rest.len -= service->prefix.len;
	if (smem_slice_is(rest, "/memory/remember/batch"))
		return SMEM_FORM_BATCH;
	return smem_slice_is(rest, "/memory/remember") ? SMEM_FORM_SINGLE : -1;
}

static bool
check(SmemService *service, SmemForm form, const SmemHead *head, SmemSlice body)
{
	SmemRequest *req = &service->request;
	SmemSlice	 nothing = {NULL, 0};

	if (smem_request_check(req, form, head, body))
	{
		/* Only counted: a library that tries again under the caller's feet is no bad row. */
		if (!smem_prints_add(&service->ledger.request_ids,
							 smem_text_print(head->request_id, nothing)))
			service->reused_request_ids++;
		return true;
	}
	if (service->violations++ == 0)
		memcpy(service->first_violation, req->violation, sizeof(req->violation));
	return false;
}

SmemReply
smem_service_answer(SmemService *service, const SmemHead *head, SmemSlice body, int64_t now_ms,
					SmemBuf *out)
{
	SmemReply plain = {.delay_ms = service->faults.delay_ms};
	int		  form = form_of_path(service, head->path);

	service->bytes += body.len;
	if (form < 0 || !(service->faults.forms & (1u << form)))
	{
		service->unknown_paths++;
		put_error(service, out, 404, "", "Not Found");
		return plain;
	}
	service->requests[form]++;
	if (!smem_slice_is(head->method, "POST"))
		put_error(service, out, 405, "", "Method Not Allowed");
	else if (!is_authorized(service, head))
		put_error(service, out, 401, "WWW-Authenticate: Bearer\r\n", "invalid token");
	else if (body.len > service->faults.max_body)
		put_error(service, out, 413, "", "body too large");
	else if (!check(service, (SmemForm) form, head, body))
		put_error(service, out, 400, "", service->request.violation);
	else
		return finish(service, head, now_ms, out);
	return plain;
}
