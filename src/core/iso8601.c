#include "core/iso8601.h"

#include <stdio.h>

/* What is left of the text. */
typedef struct Cursor
{
	const char *at;
	const char *end;
} Cursor;

static bool
take_char(Cursor *cur, char c)
{
	if (cur->at == cur->end || *cur->at != c)
		return false;
	cur->at++;
	return true;
}

static bool
at_digit(const Cursor *cur)
{
	return cur->at < cur->end && *cur->at >= '0' && *cur->at <= '9';
}

/* Exactly this many digits, between min and max. */
static bool
take_number(Cursor *cur, int digits, int min, int max, int *value)
{
	*value = 0;
	for (int i = 0; i < digits; i++)
	{
		if (!at_digit(cur))
			return false;
		*value = *value * 10 + (*cur->at++ - '0');
	}
	return *value >= min && *value <= max;
}

static bool
is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int
month_days(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days of the years before this one, counted from year 1. */
static int64_t
days_before_year(int year)
{
	int64_t y = year - 1;

	return y * 365 + y / 4 - y / 100 + y / 400;
}

static bool
take_date(Cursor *cur, int64_t *days)
{
	int year;
	int month;
	int day;

	if (!take_number(cur, 4, 1, 9999, &year) || !take_char(cur, '-') ||
		!take_number(cur, 2, 1, 12, &month) || !take_char(cur, '-') ||
		!take_number(cur, 2, 1, 31, &day) || day > month_days(year, month))
		return false;
	*days = days_before_year(year) + day - 1;
	for (int m = 1; m < month; m++)
		*days += month_days(year, m);
	return true;
}

static bool
take_clock(Cursor *cur, int *seconds)
{
	int hour;
	int minute;
	int second = 0;

	if (!take_number(cur, 2, 0, 23, &hour) || !take_char(cur, ':') ||
		!take_number(cur, 2, 0, 59, &minute))
		return false;
	if (take_char(cur, ':'))
	{
		if (!take_number(cur, 2, 0, 59, &second))
			return false;
		if (take_char(cur, '.') || take_char(cur, ','))
		{
			if (!at_digit(cur))
				return false;
			while (at_digit(cur))
				cur->at++;
		}
	}
	*seconds = hour * 3600 + minute * 60 + second;
	return true;
}

/* The zone's distance from UTC; none is UTC. */
static bool
take_zone(Cursor *cur, int *offset)
{
	int hour;
	int minute = 0;
	int sign = 1;

	*offset = 0;
	if (cur->at == cur->end || take_char(cur, 'Z'))
		return true;
	if (take_char(cur, '-'))
		sign = -1;
	else if (!take_char(cur, '+'))
		return false;
	if (!take_number(cur, 2, 0, 23, &hour))
		return false;
	if (take_char(cur, ':') && !take_number(cur, 2, 0, 59, &minute))
		return false;
	*offset = sign * (hour * 3600 + minute * 60);
	return true;
}

bool
smem_iso8601_parse(const char *text, size_t n, int64_t *seconds)
{
	Cursor	cur = {text, text + n};
	int64_t days;
	int		clock;
	int		offset;

	if (!take_date(&cur, &days) || !take_char(&cur, 'T') || !take_clock(&cur, &clock) ||
		!take_zone(&cur, &offset) || cur.at != cur.end)
		return false;
	*seconds = SMEM_ISO8601_MIN + days * 86400 + clock - offset;
	return *seconds >= SMEM_ISO8601_MIN && *seconds <= SMEM_ISO8601_MAX;
}

void
smem_iso8601_format(int64_t seconds, char out[SMEM_ISO8601_SIZE])
{
	int64_t since = seconds - SMEM_ISO8601_MIN;
	int64_t days = since / 86400;
	int		clock = (int) (since % 86400);
	int		year = (int) (days / 366) + 1;
	int		month = 1;

	while (year < 9999 && days_before_year(year + 1) <= days)
		year++;
	days -= days_before_year(year);
	while (days >= month_days(year, month))
		days -= month_days(year, month++);
	snprintf(out, SMEM_ISO8601_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned) year % 10000,
			 (unsigned) month % 100, (unsigned) (days + 1) % 100, (unsigned) clock / 3600 % 100,
			 (unsigned) clock / 60 % 60, (unsigned) clock % 60);
}
