#include "fault.h"

#include <stdio.h>
#include <string.h>

static const char *const kind_names[] = {"ok",
										 "hang",
										 "status",
										 "drip",
										 "reset",
										 "garbage",
										 "truncated",
										 "not_json",
										 "missing_results",
										 "ok_false",
										 "wrong_length",
										 "large",
										 "endless_body",
										 "endless_headers",
										 "endless_line",
										 "endless_interim",
										 "gzip",
										 "down"};

static const char *const coordinate_names[] = {"array", "string", "object", "null"};

#define KIND_COUNT (sizeof(kind_names) / sizeof(kind_names[0]))

typedef struct Control
{
	SmemFaults faults; /* a copy, taken over when all of the document is good */
	int64_t	   now_ms;
	char	  *error;
	size_t	   error_size;
} Control;

void
smem_faults_init(SmemFaults *faults)
{
	memset(faults, 0, sizeof(*faults));
	faults->forms = (1u << SMEM_FORM_COUNT) - 1;
	faults->max_body = (size_t) 64 * 1024 * 1024;
	faults->dice = UINT64_C(88172645463325252);
}

static bool
refuse(Control *control, const char *what, const char *name)
{
	snprintf(control->error, control->error_size, "%s \"%s\"", what, name);
	return false;
}

static int
name_index(const char *const *names, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return (int) i;
	return -1;
}

static int
form_of(const char *name, size_t len)
{
	int form;

	for (form = 0; form < SMEM_FORM_COUNT; form++)
		if (strlen(smem_form_name((SmemForm) form)) == len &&
			strncmp(smem_form_name((SmemForm) form), name, len) == 0)
			return form;
	return -1;
}

unsigned
smem_faults_forms(const char *names)
{
	unsigned forms = 0;

	while (*names)
	{
		size_t len = strcspn(names, ",");
		int	   form = form_of(names, len);

		if (form < 0)
			return 0;
		forms |= 1u << form;
		names += len + (names[len] == ',');
	}
	return forms;
}

static void
copy(char *to, size_t size, struct json_object *member)
{
	snprintf(to, size, "%s", member ? json_object_get_string(member) : "");
}

/* Takes a member of a rule that is a number or a flag; false when there is none of the name. */
static bool
take_number(SmemRule *rule, const char *name, struct json_object *member, int64_t now_ms)
{
	int number = json_object_get_int(member);

	if (strcmp(name, "status") == 0)
		rule->status = number;
	else if (strcmp(name, "count") == 0)
		rule->left = number;
	else if (strcmp(name, "percent") == 0)
		rule->percent = number;
	else if (strcmp(name, "for_ms") == 0)
		rule->until_ms = now_ms + number;
	else if (strcmp(name, "delay_ms") == 0)
		rule->delay_ms = number;
	else if (strcmp(name, "drip_ms") == 0)
		rule->drip_ms = number;
	else if (strcmp(name, "drip_bytes") == 0)
		rule->drip_bytes = number;
	else if (strcmp(name, "bytes") == 0)
		rule->bytes = json_object_get_int64(member);
	else if (strcmp(name, "accept") == 0)
		rule->takes_items = json_object_get_boolean(member);
	else
		return false;
	return true;
}

static bool
take_text(SmemRule *rule, const char *name, struct json_object *member)
{
	if (strcmp(name, "tenant") == 0)
		copy(rule->tenant, sizeof(rule->tenant), member);
	else if (strcmp(name, "content") == 0)
		copy(rule->content, sizeof(rule->content), member);
	else if (strcmp(name, "retry_after") == 0)
		copy(rule->retry_after, sizeof(rule->retry_after), member);
	else if (strcmp(name, "location") == 0)
		copy(rule->location, sizeof(rule->location), member);
	else if (strcmp(name, "body") == 0)
		copy(rule->body, sizeof(rule->body), member);
	else
		return false;
	return true;
}

static bool
take_rule(Control *control, struct json_object *object)
{
	SmemFaults		   *faults = &control->faults;
	SmemRule			rule;
	struct json_object *mode = NULL;
	struct json_object *form = NULL;
	int					kind;

	memset(&rule, 0, sizeof(rule));
	rule.left = -1;
	rule.percent = 100;
	rule.until_ms = INT64_MAX;
	rule.drip_ms = 20;
	rule.drip_bytes = 1;
	rule.bytes = 100 * 1000 * 1000;
	rule.form = -1;
	json_object_object_get_ex(object, "mode", &mode);
	kind = mode ? name_index(kind_names, KIND_COUNT, json_object_get_string(mode)) : -1;
	if (kind < 0)
		return refuse(control, "unknown mode", mode ? json_object_get_string(mode) : "");
	rule.kind = (SmemFaultKind) kind;
	if (json_object_object_get_ex(object, "endpoint", &form))
	{
		rule.form = form_of(json_object_get_string(form), strlen(json_object_get_string(form)));
		if (rule.form < 0)
			return refuse(control, "unknown endpoint", json_object_get_string(form));
	}
	json_object_object_foreach(object, name, member)
	{
		if (!take_number(&rule, name, member, control->now_ms) && !take_text(&rule, name, member) &&
			strcmp(name, "mode") != 0 && strcmp(name, "endpoint") != 0)
			return refuse(control, "unknown member", name);
	}
	if (rule.kind == SMEM_FAULT_STATUS && (rule.status < 100 || rule.status > 599))
		return refuse(control, "no valid", "status");
	if (rule.kind == SMEM_FAULT_DOWN)
		faults->down_until_ms = rule.until_ms;
	else if (faults->n == SMEM_RULE_MAX)
		return refuse(control, "too many", "add");
	else
		faults->rules[faults->n++] = rule;
	return true;
}

static bool
take_setting(Control *control, const char *name, struct json_object *member)
{
	SmemFaults *faults = &control->faults;

	if (strcmp(name, "delay_ms") == 0)
		faults->delay_ms = json_object_get_int(member);
	else if (strcmp(name, "max_body") == 0)
		faults->max_body = (size_t) json_object_get_int64(member);
	else if (strcmp(name, "token") == 0)
		copy(faults->token, sizeof(faults->token), member);
	else if (strcmp(name, "forms") == 0)
		faults->forms = smem_faults_forms(json_object_get_string(member));
	else if (strcmp(name, "single_in_results") == 0)
		faults->single_in_results = json_object_get_boolean(member);
	else if (strcmp(name, "coordinate") == 0)
	{
		int kind = name_index(coordinate_names, SMEM_COORDINATE_COUNT,
							  member ? json_object_get_string(member) : "null");

		if (kind < 0)
			return refuse(control, "unknown", name);
		faults->coordinate = (SmemCoordinate) kind;
	}
	else
		return refuse(control, "unknown member", name);
	return true;
}

/* The members of a document with "mode" that belong to the settings, not to its rule. */
static bool
is_setting(const char *name)
{
	static const char *const names[] = {"delay_ms",			 "max_body",   "token", "forms",
										"single_in_results", "coordinate", "add"};

	return name_index(names, sizeof(names) / sizeof(names[0]), name) >= 0;
}

static bool
take_mode(Control *control, struct json_object *document)
{
	struct json_object *rule = json_object_new_object();
	bool				good;

	control->faults.n = 0;
	control->faults.down_until_ms = 0;
	json_object_object_foreach(document, name, member)
	{
		if (!is_setting(name))
			json_object_object_add(rule, name, json_object_get(member));
	}
	good = take_rule(control, rule);
	if (good && control->faults.n == 1 && control->faults.rules[0].kind == SMEM_FAULT_NONE)
		control->faults.n = 0;
	json_object_put(rule);
	return good;
}

bool
smem_faults_control(SmemFaults *faults, struct json_object *document, int64_t now_ms, char *error,
					size_t error_size)
{
	Control				control = {*faults, now_ms, error, error_size};
	struct json_object *mode = NULL;

	if (!json_object_is_type(document, json_type_object))
		return refuse(&control, "not an", "object");
	if (json_object_object_get_ex(document, "mode", &mode) && !take_mode(&control, document))
		return false;
	json_object_object_foreach(document, name, member)
	{
		bool good = true;

		if (strcmp(name, "add") == 0)
			good = take_rule(&control, member);
		else if (mode == NULL || is_setting(name))
			good = take_setting(&control, name, member);
		if (!good)
			return false;
	}
	*faults = control.faults;
	return true;
}

static bool
has_content(const SmemRequest *req, SmemSlice wanted)
{
	size_t i;

	for (i = 0; i < req->n; i++)
		if (smem_slice_contains(req->items[i].content, wanted))
			return true;
	return false;
}

static int
throw_dice(SmemFaults *faults)
{
	faults->dice ^= faults->dice << 13;
	faults->dice ^= faults->dice >> 7;
	faults->dice ^= faults->dice << 17;
	return (int) (faults->dice % 100);
}

static bool
applies(SmemFaults *faults, const SmemRule *rule, const SmemRequest *req, int64_t now_ms)
{
	return rule->left != 0 && now_ms < rule->until_ms &&
		   (rule->form < 0 || rule->form == (int) req->form) &&
		   (rule->tenant[0] == '\0' || smem_slice_is(req->tenant, rule->tenant)) &&
		   (rule->content[0] == '\0' || has_content(req, smem_slice(rule->content))) &&
		   (rule->percent >= 100 || throw_dice(faults) < rule->percent);
}

const SmemRule *
smem_faults_match(SmemFaults *faults, const SmemRequest *req, int64_t now_ms)
{
	int i;

	for (i = 0; i < faults->n; i++)
	{
		SmemRule *rule = &faults->rules[i];

		if (!applies(faults, rule, req, now_ms))
			continue;
		if (rule->left > 0)
			rule->left--;
		return rule;
	}
	return NULL;
}

bool
smem_faults_down(const SmemFaults *faults, int64_t now_ms)
{
	return now_ms < faults->down_until_ms;
}

void
smem_faults_describe(const SmemFaults *faults, int64_t now_ms, struct json_object *document)
{
	struct json_object *rules = json_object_new_array();
	const char		   *mode = "ok";
	int					i;

	for (i = 0; i < faults->n; i++)
	{
		const SmemRule	   *rule = &faults->rules[i];
		struct json_object *line;

		if (rule->left == 0 || now_ms >= rule->until_ms)
			continue;
		line = json_object_new_object();
		json_object_object_add(line, "mode", json_object_new_string(kind_names[rule->kind]));
		json_object_object_add(line, "tenant", json_object_new_string(rule->tenant));
		json_object_object_add(line, "content", json_object_new_string(rule->content));
		json_object_object_add(line, "status", json_object_new_int(rule->status));
		json_object_object_add(line, "left", json_object_new_int64(rule->left));
		json_object_array_add(rules, line);
		mode = kind_names[rule->kind];
	}
	if (smem_faults_down(faults, now_ms))
		mode = kind_names[SMEM_FAULT_DOWN];
	json_object_object_add(document, "mode", json_object_new_string(mode));
	json_object_object_add(document, "rules", rules);
}
