#include "core/retry_after.h"

#include <string.h>

typedef struct SmemDate
{
	int year;
	int month; /* from 1 */
	int day;
	int hour;
	int minute;
	int second;
} SmemDate;

static SmemStr
trim(SmemStr s)
{
	while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
	{
		s.data++;
		s.len--;
	}
	while (s.len > 0 && strchr(" \t\r\n", s.data[s.len - 1]) != NULL)
		s.len--;
	return s;
}

/* Takes a fixed text, or fails. */
static bool
take_text(SmemStr *s, const char *text)
{
	size_t n = strlen(text);

	if (s->len < n || memcmp(s->data, text, n) != 0)
		return false;
	s->data += n;
	s->len -= n;
	return true;
}

static bool
take_digits(SmemStr *s, int digits, int *value)
{
	*value = 0;
	if (s->len < (size_t) digits)
		return false;
	for (int i = 0; i < digits; i++)
	{
		if (s->data[i] < '0' || s->data[i] > '9')
			return false;
		*value = *value * 10 + (s->data[i] - '0');
	}
	s->data += digits;
	s->len -= (size_t) digits;
	return true;
}

/* Takes letters; which day of the week it is does not matter, so it is not compared. */
static bool
take_word(SmemStr *s)
{
	size_t n = 0;

	while (n < s->len && ((s->data[n] | 0x20) >= 'a' && (s->data[n] | 0x20) <= 'z'))
		n++;
	s->data += n;
	s->len -= n;
	return n >= 3;
}

static bool
take_month(SmemStr *s, int *month)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	if (s->len < 3)
		return false;
	for (int i = 0; i < 12; i++)
	{
		if (memcmp(s->data, names + i * 3, 3) == 0)
		{
			s->data += 3;
			s->len -= 3;
			*month = i + 1;
			return true;
		}
	}
	return false;
}

static bool
take_clock(SmemStr *s, SmemDate *date)
{
	return take_digits(s, 2, &date->hour) && take_text(s, ":") &&
		   take_digits(s, 2, &date->minute) && take_text(s, ":") &&
		   take_digits(s, 2, &date->second);
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool
read_fixdate(SmemStr s, SmemDate *date)
{
	return take_word(&s) && take_text(&s, ", ") && take_digits(&s, 2, &date->day) &&
		   take_text(&s, " ") && take_month(&s, &date->month) && take_text(&s, " ") &&
		   take_digits(&s, 4, &date->year) && take_text(&s, " ") && take_clock(&s, date) &&
		   take_text(&s, " GMT") && s.len == 0;
}

/* Sunday, 06-Nov-94 08:49:37 GMT; the year still has two digits. */
static bool
read_rfc850(SmemStr s, SmemDate *date)
{
	return take_word(&s) && take_text(&s, ", ") && take_digits(&s, 2, &date->day) &&
		   take_text(&s, "-") && take_month(&s, &date->month) && take_text(&s, "-") &&
		   take_digits(&s, 2, &date->year) && take_text(&s, " ") && take_clock(&s, date) &&
		   take_text(&s, " GMT") && s.len == 0;
}

/* Sun Nov  6 08:49:37 1994 */
static bool
read_asctime(SmemStr s, SmemDate *date)
{
	if (!take_word(&s) || !take_text(&s, " ") || !take_month(&s, &date->month) ||
		!take_text(&s, " "))
		return false;
	if (take_text(&s, " "))
	{
		if (!take_digits(&s, 1, &date->day))
			return false;
	}
	else if (!take_digits(&s, 2, &date->day))
		return false;
	return take_text(&s, " ") && take_clock(&s, date) && take_text(&s, " ") &&
		   take_digits(&s, 4, &date->year) && s.len == 0;
}

static bool
in_range(const SmemDate *date)
{
	static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return date->year >= 1601 && date->day >= 1 && date->day <= days[date->month - 1] &&
		   date->hour <= 23 && date->minute <= 59 && date->second <= 60;
}

/* Days from the epoch in the proleptic Gregorian calendar; the year begins in March. */
static int64_t
count_days(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = y / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t
count_seconds(const SmemDate *date)
{
	return ((count_days(date->year, date->month, date->day) * 24 + date->hour) * 60 +
			date->minute) *
			   60 +
		   date->second;
}

bool
smem_http_date(SmemStr text, int64_t now_s, int64_t *at_s)
{
	SmemDate date;

	text = trim(text);
	if (read_fixdate(text, &date) || read_asctime(text, &date))
	{
		if (!in_range(&date))
			return false;
		*at_s = count_seconds(&date);
		return true;
	}
	if (!read_rfc850(text, &date))
		return false;
	/* More than fifty years ahead is the same year of the last century. */
	date.year += 2000;
	if (count_seconds(&date) > now_s + (int64_t) 50 * 366 * 86400)
		date.year -= 100;
	if (!in_range(&date))
		return false;
	*at_s = count_seconds(&date);
	return true;
}

static bool
read_seconds(SmemStr s, int64_t *delay_s)
{
	int64_t v = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++)
	{
		if (s.data[i] < '0' || s.data[i] > '9')
			return false;
		if (v <= SMEM_RETRY_AFTER_MAX)
			v = v * 10 + (s.data[i] - '0');
	}
	*delay_s = v;
	return true;
}

bool
smem_retry_after(SmemStr text, int64_t now_s, int64_t *delay_s)
{
	int64_t at_s;

	text = trim(text);
	if (!read_seconds(text, delay_s))
	{
		if (!smem_http_date(text, now_s, &at_s))
			return false;
		*delay_s = at_s > now_s ? at_s - now_s : 0;
	}
	if (*delay_s > SMEM_RETRY_AFTER_MAX)
		*delay_s = SMEM_RETRY_AFTER_MAX;
	return true;
}
