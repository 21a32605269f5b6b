/* SPDX-License-Identifier: ISC */
/* Dates to seconds and back by the proleptic Gregorian calendar's own arithmetic; libc's mktime and
 * strptime would read the process's zone and locale. */
#include <stdio.h>

#include "date.h"

enum {
	DATE_LOOK_MAX_OCTETS = 1000,
	DAY_S = 86400,
	YEAR_MIN = 1900,	/* RFC 5322 s.3.3 */
	YEAR_MAX = 9999,
	ERA_DAYS = 146097,	/* days in 400 years */
	EPOCH_ERA_DAY = 719468	/* 1970-01-01 counted from 0000-03-01 */
};

static const char month_names[12][4] = {
	"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
};
static const char weekday_names[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };

static const struct zone { struct str name; int min; } zones[] = {	/* RFC 5322 s.4.3 */
	{ STR_INIT("UT"), 0 }, { STR_INIT("GMT"), 0 }, { STR_INIT("UTC"), 0 },
	{ STR_INIT("EST"), -300 }, { STR_INIT("EDT"), -240 },
	{ STR_INIT("CST"), -360 }, { STR_INIT("CDT"), -300 },
	{ STR_INIT("MST"), -420 }, { STR_INIT("MDT"), -360 },
	{ STR_INIT("PST"), -480 }, { STR_INIT("PDT"), -420 },
};

struct civil {
	int64_t year;
	int month, day;			/* 1-based */
	int hour, min, s;
	int zone_min;
};

static bool is_leap(int64_t y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int month_days(int64_t y, int m)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return m == 2 && is_leap(y) ? 29 : days[m - 1];
}

/* Years run from March, so that the leap day is the last one. */
static int64_t days_of(int64_t year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_ERA_DAY;
}

static void civil_of_days(int64_t days, struct civil *out)
{
	int64_t z = days + EPOCH_ERA_DAY;
	int64_t era = (z >= 0 ? z : z - (ERA_DAYS - 1)) / ERA_DAYS;
	int64_t d = z - era * ERA_DAYS;
	int64_t y = (d - d / 1460 + d / 36524 - d / (ERA_DAYS - 1)) / 365;
	int64_t of_year = d - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * of_year + 2) / 153;

	out->day = (int)(of_year - (153 * m + 2) / 5 + 1);
	out->month = (int)(m < 10 ? m + 3 : m - 9);
	out->year = y + era * 400 + (out->month <= 2);
}

static bool civil_valid(const struct civil *c)
{
	return c->year >= YEAR_MIN && c->year <= YEAR_MAX && c->month >= 1 && c->month <= 12 &&
	    c->day >= 1 && c->day <= month_days(c->year, c->month) && c->hour <= 23 &&
	    c->min <= 59 && c->s <= 60;
}

static bool civil_to_date(const struct civil *c, struct mail_date *out)
{
	int s = c->s == 60 ? 59 : c->s;

	if (!civil_valid(c))
		return false;
	out->epoch_s = days_of(c->year, c->month, c->day) * DAY_S + c->hour * 3600 + c->min * 60 +
	    s - c->zone_min * 60;
	out->zone_min = c->zone_min;
	return true;
}

/* Takes min to max digits off the front; no further digit may follow. */
static bool take_number(struct str *s, size_t min_digits, size_t max_digits, int *out,
    size_t *out_digits)
{
	size_t n = 0;
	int v = 0;

	while (n < s->n && n < max_digits && ascii_is_digit(s->p[n]))
		v = v * 10 + (s->p[n++] - '0');
	if (n < min_digits || (n < s->n && ascii_is_digit(s->p[n])))
		return false;
	*s = str_skip(*s, n);
	*out = v;
	if (out_digits != NULL)
		*out_digits = n;
	return true;
}

static bool take_char(struct str *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = str_skip(*s, 1);
	return true;
}

/* Blanks, line ends and comments, which nest: a counter, no recursion. */
static void skip_cfws(struct str *s)
{
	size_t depth = 0, i;

	for (i = 0; i < s->n; i++) {
		char c = s->p[i];

		if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (c == '\\' && depth > 0 && i + 1 < s->n)
			i++;
		else if (depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n')
			break;
	}
	*s = str_skip(*s, i);
}

static struct str take_word(struct str *s)
{
	size_t n = 0;
	struct str w;

	while (n < s->n && ascii_is_alpha(s->p[n]))
		n++;
	w = str_head(*s, n);
	*s = str_skip(*s, n);
	return w;
}

static int month_of(struct str w)
{
	for (int m = 0; m < 12; m++) {
		if (w.n >= 3 && str_eq_nocase(str_head(w, 3), str_n(month_names[m], 3)))
			return m + 1;
	}
	return 0;
}

static bool take_month(struct str *s, int *out)
{
	*out = month_of(take_word(s));
	return *out != 0;
}

static bool take_year(struct str *s, int64_t *out)
{
	size_t digits;
	int y;

	if (!take_number(s, 2, 4, &y, &digits))
		return false;
	if (digits == 2)
		y += y < 50 ? 2000 : 1900;
	else if (digits == 3)
		y += 1900;
	*out = y;
	return true;
}

static bool take_time(struct str *s, struct civil *c)
{
	if (!take_number(s, 1, 2, &c->hour, NULL))
		return false;
	skip_cfws(s);
	if (!take_char(s, ':'))
		return false;
	skip_cfws(s);
	if (!take_number(s, 2, 2, &c->min, NULL))
		return false;
	skip_cfws(s);
	c->s = 0;
	if (!take_char(s, ':'))
		return true;
	skip_cfws(s);
	return take_number(s, 1, 2, &c->s, NULL);
}

static bool take_numeric_zone(struct str *s, int *out_min)
{
	bool west = s->n > 0 && s->p[0] == '-';
	int hhmm;

	if (!take_char(s, '+') && !take_char(s, '-'))
		return false;
	if (!take_number(s, 4, 4, &hhmm, NULL) || hhmm / 100 > 23 || hhmm % 100 > 59)
		return false;
	*out_min = hhmm / 100 * 60 + hhmm % 100;
	if (west)
		*out_min = -*out_min;
	return true;
}

/* Unknown and military names are -0000, as RFC 5322 s.4.3 has it; a wrong number is no reason to
 * lose the date either. */
static int take_zone(struct str *s)
{
	struct str w;
	int min;

	if (s->n > 0 && (s->p[0] == '+' || s->p[0] == '-'))
		return take_numeric_zone(s, &min) ? min : 0;
	w = take_word(s);
	for (size_t i = 0; i < COUNTOF(zones); i++) {
		if (str_eq_nocase(w, zones[i].name))
			return zones[i].min;
	}
	return 0;
}

static void skip_separator(struct str *s)
{
	skip_cfws(s);
	if (take_char(s, '-'))
		skip_cfws(s);
}

/* 17 Jul 1996 02:44:25, also 17-Jul-96 02:44 */
static bool take_day_first(struct str *s, struct civil *c)
{
	if (!take_number(s, 1, 2, &c->day, NULL))
		return false;
	skip_separator(s);
	if (!take_month(s, &c->month))
		return false;
	skip_separator(s);
	if (!take_year(s, &c->year))
		return false;
	skip_cfws(s);
	return take_time(s, c);
}

/* Jul 17 02:44:25 1996: asctime(3), in mail of old systems */
static bool take_month_first(struct str *s, int month, struct civil *c)
{
	c->month = month;
	skip_cfws(s);
	if (!take_number(s, 1, 2, &c->day, NULL))
		return false;
	skip_cfws(s);
	if (!take_time(s, c))
		return false;
	skip_cfws(s);
	return take_year(s, &c->year);
}

bool date_parse_mail(struct str s, struct mail_date *out)
{
	struct civil c = { .year = 0 };
	int month = 0;

	s = str_head(s, DATE_LOOK_MAX_OCTETS);
	skip_cfws(&s);
	if (s.n > 0 && ascii_is_alpha(s.p[0])) {
		month = month_of(take_word(&s));
		skip_cfws(&s);
		if (month == 0) {		/* that was the day of the week */
			take_char(&s, ',');
			skip_cfws(&s);
			if (s.n > 0 && ascii_is_alpha(s.p[0]) && !take_month(&s, &month))
				return false;
		}
	}
	if (month != 0 ? !take_month_first(&s, month, &c) : !take_day_first(&s, &c))
		return false;
	skip_cfws(&s);
	c.zone_min = take_zone(&s);
	return civil_to_date(&c, out);
}

/* dd-Mon-yyyy */
static bool take_imap_date(struct str *s, struct civil *c)
{
	int year;

	if (!take_number(s, 1, 2, &c->day, NULL) || !take_char(s, '-') ||
	    !take_month(s, &c->month) || !take_char(s, '-') || !take_number(s, 4, 4, &year, NULL))
		return false;
	c->year = year;
	return true;
}

static bool month_is_short(struct str s)
{
	size_t i = str_find(s, '-');

	return i + 4 < s.n && s.p[i + 4] == '-';
}

bool date_parse_imap(struct str s, struct mail_date *out)
{
	struct civil c = { .year = 0 };

	take_char(&s, ' ');
	if (!month_is_short(s) || !take_imap_date(&s, &c) || !take_char(&s, ' ') ||
	    !take_number(&s, 2, 2, &c.hour, NULL) || !take_char(&s, ':') ||
	    !take_number(&s, 2, 2, &c.min, NULL) || !take_char(&s, ':') ||
	    !take_number(&s, 2, 2, &c.s, NULL) || !take_char(&s, ' ') ||
	    !take_numeric_zone(&s, &c.zone_min) || s.n > 0)
		return false;
	return civil_to_date(&c, out);
}

bool date_parse_imap_day(struct str s, int64_t *out_day)
{
	struct civil c = { .year = 0 };

	if (!month_is_short(s) || !take_imap_date(&s, &c) || s.n > 0 || !civil_valid(&c))
		return false;
	*out_day = days_of(c.year, c.month, c.day);
	return true;
}

static int64_t floor_div(int64_t v, int64_t by)
{
	return v / by - (v % by < 0);
}

/* Seconds in the date's zone, held within the years that can be written. */
static int64_t local_s(struct mail_date d)
{
	const int64_t max = (days_of(YEAR_MAX, 12, 31) + 1) * DAY_S - 1;
	const int64_t min = days_of(0, 1, 1) * DAY_S;
	int64_t s = d.epoch_s > max ? max : d.epoch_s < min ? min : d.epoch_s;

	s += d.zone_min * 60;
	return s > max ? max : s < min ? min : s;
}

int64_t date_day(struct mail_date d)
{
	return floor_div(local_s(d), DAY_S);
}

static void civil_of(struct mail_date d, struct civil *out)
{
	int64_t s = local_s(d), day = floor_div(s, DAY_S);
	int of_day = (int)(s - day * DAY_S);

	civil_of_days(day, out);
	out->hour = of_day / 3600;
	out->min = of_day / 60 % 60;
	out->s = of_day % 60;
	out->zone_min = d.zone_min < 0 ? -d.zone_min : d.zone_min;
	if (out->zone_min > 1439)
		out->zone_min = 1439;
}

size_t date_format_mail(struct mail_date d, char out[DATE_TEXT_MAX_OCTETS])
{
	int64_t weekday = (date_day(d) % 7 + 11) % 7;	/* 1970-01-01 was a Thursday */
	struct civil c;
	int n;

	civil_of(d, &c);
	n = snprintf(out, DATE_TEXT_MAX_OCTETS, "%s, %02d %s %04d %02d:%02d:%02d %c%02d%02d",
	    weekday_names[weekday], c.day, month_names[c.month - 1], (int)c.year, c.hour, c.min,
	    c.s, d.zone_min < 0 ? '-' : '+', c.zone_min / 60, c.zone_min % 60);
	return (size_t)n;
}

size_t date_format_imap(struct mail_date d, char out[DATE_TEXT_MAX_OCTETS])
{
	struct civil c;
	int n;

	civil_of(d, &c);
	n = snprintf(out, DATE_TEXT_MAX_OCTETS, "%2d-%s-%04d %02d:%02d:%02d %c%02d%02d", c.day,
	    month_names[c.month - 1], (int)c.year, c.hour, c.min, c.s,
	    d.zone_min < 0 ? '-' : '+', c.zone_min / 60, c.zone_min % 60);
	return (size_t)n;
}
