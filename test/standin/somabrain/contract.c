#include "contract.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extent.h"

#define NESTING_MAX 200
#define SCRATCH_MAX (64 * 1024)

typedef enum Kind
{
	KIND_STRING,
	KIND_OBJECT,
	KIND_ARRAY,
	KIND_STRINGS,
	KIND_INTEGER,
	KIND_NUMBER
} Kind;

/* What an item may have beside its key and value. */
static const struct
{
	const char *name;
	Kind		kind;
} optional_members[] = {
	{"meta", KIND_OBJECT},		   {"ttl_seconds", KIND_INTEGER}, {"tags", KIND_STRINGS},
	{"policy_tags", KIND_STRINGS}, {"attachments", KIND_ARRAY},	  {"links", KIND_ARRAY},
	{"signals", KIND_OBJECT},	   {"importance", KIND_NUMBER},	  {"novelty", KIND_NUMBER},
	{"trace_id", KIND_STRING},	   {"universe", KIND_STRING},
};

#define OPTIONAL_COUNT (sizeof(optional_members) / sizeof(optional_members[0]))

const char *
smem_form_name(SmemForm form)
{
	static const char *const names[] = {"batch", "single", "legacy"};

	return names[form];
}

void
smem_request_init(SmemRequest *req)
{
	memset(req, 0, sizeof(*req));
	req->tokener = json_tokener_new_ex(NESTING_MAX);
	json_tokener_set_flags(req->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	smem_buf_init(&req->scratch, SCRATCH_MAX);
}

void
smem_request_free(SmemRequest *req)
{
	json_object_put(req->root);
	json_tokener_free(req->tokener);
	smem_buf_free(&req->scratch);
	free(req->items);
	memset(req, 0, sizeof(*req));
}

static bool
violate(SmemRequest *req, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(req->violation, sizeof(req->violation), fmt, args);
	va_end(args);
	return false;
}

static bool
is_string(struct json_object *object)
{
	return json_object_is_type(object, json_type_string);
}

static bool
are_strings(struct json_object *array)
{
	size_t i;

	for (i = 0; i < json_object_array_length(array); i++)
		if (!is_string(json_object_array_get_idx(array, i)))
			return false;
	return true;
}

static bool
is_kind(struct json_object *object, Kind kind)
{
	switch (kind)
	{
		case KIND_STRING:
			return is_string(object);
		case KIND_OBJECT:
			return json_object_is_type(object, json_type_object);
		case KIND_ARRAY:
			return json_object_is_type(object, json_type_array);
		case KIND_STRINGS:
			return json_object_is_type(object, json_type_array) && are_strings(object);
		case KIND_INTEGER:
			return json_object_is_type(object, json_type_int);
		case KIND_NUMBER:
			return json_object_is_type(object, json_type_int) ||
				   json_object_is_type(object, json_type_double);
	}
	return false;
}

static SmemSlice
text_of(struct json_object *object)
{
	SmemSlice slice = {NULL, 0};

	if (is_string(object))
	{
		slice.data = json_object_get_string(object);
		slice.len = (size_t) json_object_get_string_len(object);
	}
	return slice;
}

static SmemSlice
member_text(struct json_object *object, const char *name)
{
	struct json_object *member = NULL;

	json_object_object_get_ex(object, name, &member);
	return text_of(member);
}

/* The session from either place where a payload may name it. */
static SmemSlice
session_of(struct json_object *value)
{
	struct json_object *metadata = NULL;
	SmemSlice			session = member_text(value, "session_id");

	if (session.data == NULL && json_object_object_get_ex(value, "metadata", &metadata))
		session = member_text(metadata, "session_id");
	return session;
}

static bool
check_value(SmemRequest *req, SmemItem *item, struct json_object *value, size_t ordinal)
{
	static const char *const wanted[] = {"type", "role", "content"};
	size_t					 i;

	if (!json_object_is_type(value, json_type_object))
		return violate(req, "item %zu: value is not an object", ordinal);
	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (member_text(value, wanted[i]).len == 0)
			return violate(req, "item %zu: value has no \"%s\"", ordinal, wanted[i]);
	item->content = member_text(value, "content");
	item->session = session_of(value);
	return true;
}

static bool
check_optional(SmemRequest *req, const char *name, struct json_object *member, size_t ordinal)
{
	size_t i;

	for (i = 0; i < OPTIONAL_COUNT; i++)
	{
		if (strcmp(name, optional_members[i].name) != 0)
			continue;
		if (is_kind(member, optional_members[i].kind))
			return true;
		return violate(req, "item %zu: \"%s\" has the wrong type", ordinal, name);
	}
	return violate(req, "item %zu: unknown member \"%s\"", ordinal, name);
}

/* Checks an item's own members; the single form has tenant and namespace beside them. */
static bool
check_item(SmemRequest *req, SmemItem *item, struct json_object *object, size_t ordinal)
{
	struct json_object *value = NULL;

	memset(item, 0, sizeof(*item));
	if (!json_object_is_type(object, json_type_object))
		return violate(req, "item %zu: not an object", ordinal);
	json_object_object_foreach(object, name, member)
	{
		if (strcmp(name, "key") == 0)
			item->key = text_of(member);
		else if (strcmp(name, "value") == 0)
			value = member;
		else if (req->form == SMEM_FORM_SINGLE &&
				 (strcmp(name, "tenant") == 0 || strcmp(name, "namespace") == 0))
			continue;
		else if (!check_optional(req, name, member, ordinal))
			return false;
	}
	if (item->key.len == 0)
		return violate(req, "item %zu: no key", ordinal);
	return check_value(req, item, value, ordinal);
}

static bool
make_room(SmemRequest *req, size_t n)
{
	if (n > req->size)
	{
		SmemItem *items = realloc(req->items, n * sizeof(SmemItem));

		if (items == NULL)
			return violate(req, "out of memory");
		req->items = items;
		req->size = n;
	}
	req->n = n;
	return true;
}

/* Finds each item's text; a name spelled with escapes is printed anew instead. */
static void
find_extents(SmemRequest *req, SmemSlice items)
{
	size_t at = 0;
	size_t i;

	for (i = 0; i < req->n; i++)
	{
		req->items[i].raw_item = smem_extent_element(items, &at);
		if (req->items[i].raw_item.data)
			req->items[i].raw_value = smem_extent_member(req->items[i].raw_item, "value");
	}
}

static bool
check_batch(SmemRequest *req, SmemSlice body)
{
	struct json_object *items = NULL;
	SmemSlice			extent;
	size_t				i;

	json_object_object_foreach(req->root, name, member)
	{
		if (strcmp(name, "items") == 0)
			items = member;
		else if (strcmp(name, "universe") == 0
					 ? !is_string(member)
					 : strcmp(name, "tenant") != 0 && strcmp(name, "namespace") != 0)
			return violate(req, "unknown or mistyped member \"%s\"", name);
	}
	if (!json_object_is_type(items, json_type_array) || json_object_array_length(items) == 0)
		return violate(req, "items is not a non-empty array");
	if (!make_room(req, json_object_array_length(items)))
		return false;
	for (i = 0; i < req->n; i++)
		if (!check_item(req, &req->items[i], json_object_array_get_idx(items, i), i))
			return false;
	extent = smem_extent_member(body, "items");
	if (extent.data)
		find_extents(req, extent);
	return true;
}

static bool
check_single(SmemRequest *req, SmemSlice body)
{
	if (!make_room(req, 1) || !check_item(req, req->items, req->root, 0))
		return false;
	req->items->raw_item = body;
	req->items->raw_value = smem_extent_member(body, "value");
	return true;
}

static bool
check_legacy(SmemRequest *req, SmemSlice body)
{
	struct json_object *payload = NULL;

	json_object_object_foreach(req->root, name, member)
	{
		if (strcmp(name, "payload") == 0)
			payload = member;
		else if (strcmp(name, "universe") == 0 ? !is_string(member) : strcmp(name, "coord") != 0)
			return violate(req, "unknown or mistyped member \"%s\"", name);
	}
	if (!make_room(req, 1))
		return false;
	memset(req->items, 0, sizeof(SmemItem));
	req->items->raw_item = body;
	req->items->raw_value = smem_extent_member(body, "payload");
	return check_value(req, req->items, payload, 0);
}

static bool
is_traceparent(SmemSlice text)
{
	size_t i;

	if (text.len != 55 || text.data[2] != '-' || text.data[35] != '-' || text.data[52] != '-')
		return false;
	for (i = 0; i < text.len; i++)
		if (i != 2 && i != 35 && i != 52 && strchr("0123456789abcdef", text.data[i]) == NULL)
			return false;
	return true;
}

static bool
check_idempotency_key(SmemRequest *req, const SmemHead *head)
{
	char hex[SMEM_SHA_HEX];

	/* The legacy form has no key in its body: the header is all there is. */
	if (req->form == SMEM_FORM_LEGACY)
		return head->idempotency_key.len == SMEM_SHA_HEX - 1
				   ? true
				   : violate(req, "Idempotency-Key is not a SHA-256 in hex");
	smem_text_sha256(&req->items[0].key, req->n, sizeof(SmemItem), hex);
	return smem_slice_is(head->idempotency_key, hex)
			   ? true
			   : violate(req, "Idempotency-Key is not the SHA-256 over the keys");
}

static bool
check_headers(SmemRequest *req, const SmemHead *head)
{
	SmemSlice decoded;

	smem_buf_reset(&req->scratch);
	if (head->tenant.len == 0 || !smem_text_percent_decode(head->tenant, &req->scratch))
		return violate(req, "X-Tenant-ID is missing or not percent-encoded");
	decoded = smem_slice(smem_buf_text(&req->scratch));
	if (req->form == SMEM_FORM_LEGACY)
		req->tenant = decoded;
	else if (!smem_slice_same(decoded, req->tenant))
		return violate(req, "X-Tenant-ID differs from the tenant");
	if (head->request_id.len == 0)
		return violate(req, "no X-Request-ID");
	if (head->traceparent.data && !is_traceparent(head->traceparent))
		return violate(req, "traceparent is malformed");
	if (!smem_slice_contains(head->content_type, smem_slice("application/json")))
		return violate(req, "Content-Type is not application/json");
	return check_idempotency_key(req, head);
}

static bool
parse(SmemRequest *req, SmemSlice body)
{
	json_object_put(req->root);
	json_tokener_reset(req->tokener);
	req->root = json_tokener_parse_ex(req->tokener, body.data, (int) body.len);
	if (req->root == NULL && json_tokener_get_error(req->tokener) == json_tokener_continue)
		req->root = json_tokener_parse_ex(req->tokener, "", 1);
	if (req->root == NULL)
		return violate(req, "body is not JSON: %s",
					   json_tokener_error_desc(json_tokener_get_error(req->tokener)));
	if (!json_object_is_type(req->root, json_type_object))
		return violate(req, "body is not an object");
	return true;
}

bool
smem_request_check(SmemRequest *req, SmemForm form, const SmemHead *head, SmemSlice body)
{
	bool good;

	req->form = form;
	req->n = 0;
	req->namespace.data = NULL;
	if (!parse(req, body))
		return false;
	if (form != SMEM_FORM_LEGACY)
	{
		req->tenant = member_text(req->root, "tenant");
		req->namespace = member_text(req->root, "namespace");
		if (req->tenant.len == 0 || req->namespace.len == 0)
			return violate(req, "no tenant or no namespace");
	}
	switch (form)
	{
		case SMEM_FORM_BATCH:
			good = check_batch(req, body);
			break;
		case SMEM_FORM_SINGLE:
			good = check_single(req, body);
			break;
		default:
			good = check_legacy(req, body);
			break;
	}
	return good && check_headers(req, head);
}
