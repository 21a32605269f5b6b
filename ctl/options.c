/* SPDX-License-Identifier: ISC */
/* Options of subcommands, anywhere between the words; and points in time as people write them. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl.h"

static const struct ctl_option *find_option(const char *word, const struct ctl_option *opt, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(opt[i].name, word) == 0)
			return &opt[i];
	return NULL;
}

int ctl_options(int argc, char **argv, const struct ctl_option *opt, size_t n)
{
	int kept = 0;

	for (int i = 0; i < argc; i++) {
		const struct ctl_option *o = find_option(argv[i], opt, n);

		if (o == NULL && strncmp(argv[i], "--", 2) == 0) {
			ctl_fail(0, "there is no option %s", argv[i]);
			return -1;
		}
		if (o == NULL) {
			argv[kept++] = argv[i];
		} else if (o->flag != NULL) {
			*o->flag = true;
		} else if (i + 1 < argc) {
			*o->value = argv[++i];
		} else {
			ctl_fail(0, "%s wants an argument", argv[i]);
			return -1;
		}
	}
	argv[kept] = NULL;
	return kept;
}

/* Digits of a fixed number, in a range; takes them off. */
static bool take_number(struct str *s, size_t digits, uint64_t min, uint64_t max, int *out)
{
	uint64_t v;

	if (s->n < digits || !str_to_u64(str_head(*s, digits), max, &v) || v < min)
		return false;
	*s = str_skip(*s, digits);
	*out = (int)v;
	return true;
}

static bool take_char(struct str *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = str_skip(*s, 1);
	return true;
}

/* Digits behind a point, in thousandths; those behind the third are left out. */
static bool take_fraction(struct str *s, int64_t *out_ms)
{
	size_t n = 0;

	*out_ms = 0;
	if (!take_char(s, '.'))
		return true;
	for (int64_t unit = 100; n < s->n && ascii_is_digit(s->p[n]); n++, unit /= 10)
		*out_ms += unit * (s->p[n] - '0');
	*s = str_skip(*s, n);
	return n > 0;
}

static bool take_zone(struct str *s, int64_t *out_s)
{
	int h, m;
	bool east = s->n > 0 && s->p[0] == '+';

	*out_s = 0;
	if (s->n == 0 || take_char(s, 'Z'))
		return true;
	if (!take_char(s, '+') && !take_char(s, '-'))
		return false;
	if (!take_number(s, 2, 0, 23, &h))
		return false;
	take_char(s, ':');
	if (!take_number(s, 2, 0, 59, &m))
		return false;
	*out_s = (east ? 1 : -1) * ((int64_t)h * 3600 + m * 60);
	return true;
}

static bool parse_iso(struct str s, int64_t *out_ms)
{
	struct tm tm = { .tm_year = 0 }, given;
	int64_t ms = 0, zone_s = 0, at_s;

	if (!take_number(&s, 4, 1970, 9999, &tm.tm_year) || !take_char(&s, '-') ||
	    !take_number(&s, 2, 1, 12, &tm.tm_mon) || !take_char(&s, '-') || !take_number(&s, 2, 1, 31, &tm.tm_mday))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	if (s.n > 0) {
		if ((!take_char(&s, 'T') && !take_char(&s, ' ')) || !take_number(&s, 2, 0, 23, &tm.tm_hour) ||
		    !take_char(&s, ':') || !take_number(&s, 2, 0, 59, &tm.tm_min))
			return false;
		if (take_char(&s, ':') && (!take_number(&s, 2, 0, 60, &tm.tm_sec) || !take_fraction(&s, &ms)))
			return false;
		if (!take_zone(&s, &zone_s))
			return false;
	}
	given = tm;
	at_s = timegm(&tm);
	if (s.n > 0 || tm.tm_mday != given.tm_mday)	/* no 31st of February */
		return false;
	*out_ms = (at_s - zone_s) * 1000 + ms;
	return true;
}

bool ctl_parse_time(struct str s, int64_t *out_ms)
{
	struct str whole = str_head(s, str_find(s, '.')), rest = str_skip(s, whole.n);
	uint64_t sec;
	int64_t ms;

	if (!str_to_u64(whole, INT64_MAX / 2000, &sec))
		return parse_iso(s, out_ms);
	if (!take_fraction(&rest, &ms) || rest.n > 0)
		return false;
	*out_ms = (int64_t)sec * 1000 + ms;
	return true;
}

void ctl_format_time(int64_t ms, char out[CTL_TIME_TEXT_OCTETS])
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(out, CTL_TIME_TEXT_OCTETS, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, CTL_TIME_TEXT_OCTETS, "%lld", (long long)(ms / 1000));
}
