/* SPDX-License-Identifier: ISC */
/* Dates of mail: RFC 5322 s.3.3 with the obsolete forms of s.4.3, and IMAP's date-time and date
 * (RFC 3501 s.9). No locale and no time zone files are read: every form carries its own zone. */
#ifndef DATE_H
#define DATE_H

#include "../libbase/str.h"

enum { DATE_TEXT_MAX_OCTETS = 48 };	/* any formatted date with a NUL */

struct mail_date {
	int64_t epoch_s;	/* seconds since 1970-01-01 00:00 UTC */
	int zone_min;		/* east of UTC, -1439 … 1439 */
};

/* Day of week, seconds and comments are optional; years of two and three digits, zone names and
 * missing zones (taken as UTC) as in RFC 5322 s.4.3. Leap second 60 is taken as 59. false when it
 * is no date; *out is then untouched. Looks at the first 1000 octets only. */
bool date_parse_mail(struct str s, struct mail_date *out);

/* "17-Jul-1996 02:44:25 -0700"; the day may have a leading space. */
bool date_parse_imap(struct str s, struct mail_date *out);

/* "1-Feb-1994", no quotes: the number of days since 1970-01-01. */
bool date_parse_imap_day(struct str s, int64_t *out_day);

/* Days since 1970-01-01 in the date's own zone, the time disregarded: for SENTON and ON. */
int64_t date_day(struct mail_date d);

/* Each writes a NUL-terminated text and returns its length. */
size_t date_format_mail(struct mail_date d, char out[DATE_TEXT_MAX_OCTETS]);	/* RFC 5322 */
size_t date_format_imap(struct mail_date d, char out[DATE_TEXT_MAX_OCTETS]);	/* no quotes */

#endif
