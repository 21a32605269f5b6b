/* SPDX-License-Identifier: ISC */
/* The unit tests' few words. A test program calls CHECK as often as it likes and ends with
 * `return tap_done();`. Output is TAP; a check that fails says where, and in a table at which row. */
#ifndef TAP_H
#define TAP_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned tap_n, tap_bad;
/* Set in a process that a test starts as its helper: its exit status says whether it went well, its
 * checks are no TAP lines of their own. */
static bool tap_helper;

static inline void tap_check(bool ok, const char *what, const char *file, int line, long row)
{
	tap_n += !tap_helper;
	if (!ok)
		tap_bad++;
	if (tap_helper && ok)
		return;
	if (tap_helper)
		printf("# helper: ");
	printf("%s %u - %s:%d", ok ? "ok" : "not ok", tap_n, file, line);
	if (row >= 0)
		printf(" row %ld", row);
	/* "#" would begin a TAP directive. */
	printf(" ");
	for (const char *p = what; !ok && *p != '\0'; p++)
		putchar(*p == '#' ? '*' : *p);
	putchar('\n');
	fflush(stdout);
}

/* What is checked in passing, many times, is no test of its own: only what fails is told. */
static inline void tap_quiet(bool on)
{
	tap_helper = on;
}

#define CHECK(cond) tap_check((cond), #cond, __FILE__, __LINE__, -1)
#define CHECK_AT(cond, row) tap_check((cond), #cond, __FILE__, __LINE__, (long)(row))
/* Without which going on makes no sense. */
#define REQUIRE(cond) \
	do { \
		bool tap_ok = (cond); \
		tap_check(tap_ok, #cond, __FILE__, __LINE__, -1); \
		if (!tap_ok) { \
			printf("%s %s:%d\n", tap_helper ? "# helper bails out" : "Bail out!", \
			    __FILE__, __LINE__); \
			exit(1); \
		} \
	} while (0)

static inline int tap_done(void)
{
	printf("1..%u\n", tap_n);
	return tap_bad == 0 ? 0 : 1;
}

#endif
