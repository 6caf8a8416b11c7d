#include "core/exposition.h"

#include <stdio.h>
#include <string.h>

#include "core/encode.h"

void
smem_expose_family(SmemExposition *ex, const char *name, SmemMetricType type, const char *help)
{
	static const char *const types[] = {"gauge", "counter", "histogram"};
	size_t					 len = strlen(name);

	ex->name = name;
	if (ex->openmetrics && type == SMEM_METRIC_COUNTER)
		len -= strlen("_total");
	smem_buf_puts(ex->out, "# HELP ");
	smem_buf_append(ex->out, name, len);
	smem_buf_printf(ex->out, " %s\n# TYPE ", help);
	smem_buf_append(ex->out, name, len);
	smem_buf_printf(ex->out, " %s\n", types[type]);
	if (ex->openmetrics && len > strlen("_seconds") &&
		memcmp(name + len - strlen("_seconds"), "_seconds", strlen("_seconds")) == 0)
	{
		smem_buf_puts(ex->out, "# UNIT ");
		smem_buf_append(ex->out, name, len);
		smem_buf_puts(ex->out, " seconds\n");
	}
}

static const char *
find_escape(char c)
{
	switch (c)
	{
		case '\\':
			return "\\\\";
		case '"':
			return "\\\"";
		case '\n':
			return "\\n";
		default:
			return NULL;
	}
}

/* Runs of plain bytes are copied whole. */
static void
put_value(SmemBuf *out, SmemStr value)
{
	size_t from = 0;
	size_t i = 0;

	while (i < value.len)
	{
		const char *escape = find_escape(value.data[i]);
		size_t		n = 1;

		if ((unsigned char) value.data[i] >= 0x80)
		{
			n = smem_utf8_length(value.data + i, value.len - i);
			escape = n == 0 ? "?" : NULL;
			n = n == 0 ? 1 : n;
		}
		if (escape != NULL)
		{
			smem_buf_append(out, value.data + from, i - from);
			smem_buf_puts(out, escape);
			from = i + 1;
		}
		i += n;
	}
	if (value.len > from)
		smem_buf_append(out, value.data + from, value.len - from);
}

static void
put_label(SmemBuf *out, const char *name, SmemStr value, bool first)
{
	smem_buf_putc(out, first ? '{' : ',');
	smem_buf_puts(out, name);
	smem_buf_puts(out, "=\"");
	put_value(out, value);
	smem_buf_putc(out, '"');
}

/* The sample's name and labels, le last where there is one. */
static void
put_name(SmemExposition *ex, const char *suffix, const SmemLabel *labels, int nlabels,
		 const char *le)
{
	smem_buf_puts(ex->out, ex->name);
	smem_buf_puts(ex->out, suffix);
	for (int i = 0; i < nlabels; i++)
		put_label(ex->out, labels[i].name, labels[i].value, i == 0);
	if (le != NULL)
		put_label(ex->out, "le", smem_str(le), nlabels == 0);
	smem_buf_puts(ex->out, nlabels > 0 || le != NULL ? "} " : " ");
}

/* By hand: there may be thousands of these, and printf would be most of the work. */
static void
put_uint(SmemBuf *out, uint64_t value)
{
	char  digits[20];
	char *at = digits + sizeof(digits);

	do
	{
		*--at = (char) ('0' + value % 10);
		value /= 10;
	} while (value > 0);
	smem_buf_append(out, at, (size_t) (digits + sizeof(digits) - at));
}

/* Without exponent, so that bounds read as they are written in rules. */
static void
format_bound(char *text, size_t size, double value)
{
	int	   len = snprintf(text, size, "%.9f", value);
	size_t end = len > 0 && (size_t) len < size ? (size_t) len : size - 1;

	while (end > 0 && text[end - 1] == '0')
		end--;
	/* "1.0" and not "1": so OpenMetrics wants it, and one form for both keeps series the same. */
	if (end > 0 && text[end - 1] == '.')
		end++;
	text[end] = '\0';
}

void
smem_expose_uint(SmemExposition *ex, const SmemLabel *labels, int nlabels, uint64_t value)
{
	put_name(ex, "", labels, nlabels, NULL);
	put_uint(ex->out, value);
	smem_buf_putc(ex->out, '\n');
}

void
smem_expose_double(SmemExposition *ex, const SmemLabel *labels, int nlabels, double value)
{
	put_name(ex, "", labels, nlabels, NULL);
	smem_buf_printf(ex->out, "%.6f\n", value);
}

static void
put_bucket(SmemExposition *ex, const SmemLabel *labels, int nlabels, const char *le, uint64_t n)
{
	put_name(ex, "_bucket", labels, nlabels, le);
	put_uint(ex->out, n);
	smem_buf_putc(ex->out, '\n');
}

void
smem_expose_histogram(SmemExposition *ex, const SmemLabel *labels, int nlabels,
					  const SmemBounds *bounds, const uint64_t *count, uint64_t sum)
{
	uint64_t seen = 0;
	int		 bucket = 0;

	for (int i = 0; i < bounds->n; i++)
	{
		uint64_t limit = (uint64_t) (bounds->bound[i] / bounds->unit + 0.5);
		char	 le[32];

		while (bucket < SMEM_BUCKETS && smem_bucket_bound(bucket) <= limit)
			seen += count[bucket++];
		format_bound(le, sizeof(le), bounds->bound[i]);
		put_bucket(ex, labels, nlabels, le, seen);
	}
	while (bucket < SMEM_BUCKETS)
		seen += count[bucket++];
	put_bucket(ex, labels, nlabels, "+Inf", seen);
	put_name(ex, "_sum", labels, nlabels, NULL);
	smem_buf_printf(ex->out, "%.9g\n", (double) sum * bounds->unit);
	put_name(ex, "_count", labels, nlabels, NULL);
	put_uint(ex->out, seen);
	smem_buf_putc(ex->out, '\n');
}

void
smem_expose_end(SmemExposition *ex)
{
	if (ex->openmetrics)
		smem_buf_puts(ex->out, "# EOF\n");
}
