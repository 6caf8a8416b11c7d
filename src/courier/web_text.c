#include "courier/web_text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SMEM_Q_ONE 1000 /* weights are thousandths */

bool
smem_web_place(const char *text, SmemWebPlace *place)
{
	bool		brackets = text[0] == '[';
	const char *host = text + brackets;
	const char *end = strchr(host, brackets ? ']' : ':');
	const char *port = end != NULL ? end + 1 + brackets : NULL;
	size_t		digits;

	if (end == NULL || end == host || (size_t) (end - host) >= SMEM_WEB_HOST ||
		(brackets && end[1] != ':'))
		return false;
	digits = strspn(port, "0123456789");
	if (digits == 0 || digits >= SMEM_WEB_PORT || port[digits] != '\0' || atoi(port) < 1 ||
		atoi(port) > 65535)
		return false;
	for (const char *at = host; at < end; at++)
	{
		if (*at <= ' ' || *at >= 0x7f || strchr("[]/", *at) != NULL)
			return false;
	}
	memcpy(place->host, host, (size_t) (end - host));
	place->host[end - host] = '\0';
	memcpy(place->port, port, digits + 1);
	return true;
}

SmemWebPath
smem_web_path(const char *path, bool metrics)
{
	static const struct
	{
		const char *path;
		SmemWebPath is;
	} paths[] = {
		{"/", SMEM_PATH_PAGE},
		{"/health-page.js", SMEM_PATH_PAGE_SCRIPT},
		{"/health-banner.js", SMEM_PATH_BANNER},
		{"/health-state.js", SMEM_PATH_STATE},
		{"/v1/health", SMEM_PATH_HEALTH},
		{"/metrics", SMEM_PATH_METRICS},
		{"/livez", SMEM_PATH_LIVE},
		{"/readyz", SMEM_PATH_READY},
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
	{
		if (strcmp(paths[i].path, path) == 0)
			return paths[i].is == SMEM_PATH_METRICS && !metrics ? SMEM_PATH_NONE : paths[i].is;
	}
	return SMEM_PATH_NONE;
}

/* A run of text inside a header. */
typedef struct Span
{
	const char *at;
	size_t		len;
} Span;

static Span
trim(Span s)
{
	while (s.len > 0 && (*s.at == ' ' || *s.at == '\t'))
	{
		s.at++;
		s.len--;
	}
	while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Takes what stands before the next separator; false at the end.  Separators in quotes are text. */
static bool
take_part(Span *rest, char separator, Span *part)
{
	bool   quoted = false;
	size_t n = 0;

	if (rest->at == NULL)
		return false;
	while (n < rest->len && (quoted || rest->at[n] != separator))
	{
		if (quoted && rest->at[n] == '\\' && n + 1 < rest->len)
			n++;
		else if (rest->at[n] == '"')
			quoted = !quoted;
		n++;
	}
	*part = trim((Span){rest->at, n});
	rest->at = n < rest->len ? rest->at + n + 1 : NULL;
	rest->len = n < rest->len ? rest->len - n - 1 : 0;
	return true;
}

static bool
is(Span s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.at, word, s.len) == 0;
}

/* 0, 0.5, 1.000, in thousandths; what is no weight weighs nothing. */
static int
read_weight(Span s)
{
	int weight = 0;
	int unit = SMEM_Q_ONE;

	if (s.len == 0 || (*s.at != '0' && *s.at != '1') || s.len > 5)
		return 0;
	weight = (*s.at - '0') * unit;
	for (size_t i = 1; i < s.len; i++)
	{
		if (i == 1 ? s.at[i] != '.' : s.at[i] < '0' || s.at[i] > '9')
			return 0;
		if (i > 1)
			weight += (s.at[i] - '0') * (unit /= 10);
	}
	return weight <= SMEM_Q_ONE ? weight : 0;
}

/* One element of the list: its name, its weight, its parameter "version". */
typedef struct Choice
{
	Span name;
	Span version; /* at is NULL where there is none */
	int	 weight;
} Choice;

static bool
take_choice(Span *list, Choice *choice)
{
	Span element;
	Span part;

	if (!take_part(list, ',', &element))
		return false;
	*choice = (Choice){.weight = SMEM_Q_ONE};
	(void) take_part(&element, ';', &choice->name);
	while (take_part(&element, ';', &part))
	{
		Span value = part;
		Span name;

		(void) take_part(&value, '=', &name);
		value = trim(value);
		if (is(name, "q"))
			choice->weight = read_weight(value);
		else if (is(name, "version"))
			choice->version = value;
	}
	return true;
}

static Span
list_of(const char *header)
{
	return (Span){header, header != NULL ? strlen(header) : 0};
}

static bool
has_version(const Choice *choice, const char *version)
{
	Span v = choice->version;

	if (v.at == NULL)
		return true;
	if (v.len >= 2 && v.at[0] == '"' && v.at[v.len - 1] == '"')
		v = (Span){v.at + 1, v.len - 2};
	return is(v, version);
}

/* How closely a name fits plain text: 0 not at all, 3 exactly. */
static int
fit_of_text(const Choice *choice)
{
	if (is(choice->name, "text/plain"))
		return has_version(choice, "0.0.4") ? 3 : 0;
	return is(choice->name, "text/*") ? 2 : is(choice->name, "*/*") ? 1 : 0;
}

bool
smem_web_wants_openmetrics(const char *accept)
{
	Span   list = list_of(accept);
	Choice choice;
	int	   openmetrics = 0;
	int	   text = 0;
	int	   text_fit = 0;

	while (take_choice(&list, &choice))
	{
		int fit = fit_of_text(&choice);

		/* By its own name alone: a pattern is what those send who have never heard of it. */
		if (is(choice.name, "application/openmetrics-text") && has_version(&choice, "1.0.0") &&
			choice.weight > openmetrics)
			openmetrics = choice.weight;
		if (fit > text_fit || (fit == text_fit && fit > 0 && choice.weight > text))
		{
			text_fit = fit;
			text = choice.weight;
		}
	}
	return openmetrics > 0 && openmetrics >= text;
}

bool
smem_web_wants_gzip(const char *accept_encoding)
{
	Span   list = list_of(accept_encoding);
	Choice choice;
	int	   gzip = -1;
	int	   any = 0;
	int	   identity = 0;

	while (take_choice(&list, &choice))
	{
		if (is(choice.name, "gzip") || is(choice.name, "x-gzip"))
			gzip = choice.weight > gzip ? choice.weight : gzip;
		else if (is(choice.name, "*"))
			any = choice.weight;
		else if (is(choice.name, "identity"))
			identity = choice.weight;
	}
	if (gzip < 0)
		gzip = any;
	return gzip > 0 && gzip >= identity;
}
