/* SPDX-License-Identifier: ISC */
/* SIGBUS has no context, hence the process-wide list. It comes only from an access to a mapping, and nothing here touches
 * one while the list changes, so the handler always sees it whole. Costs nothing until a page is missing. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mapped.h"

struct range {
	struct range *next;
	const char *at;
	size_t octets;
};

static struct range *ranges;
static atomic_uint n_faults;
static long page_octets;

static bool is_ours(const char *at)
{
	for (const struct range *r = ranges; r != NULL; r = r->next) {
		if (at >= r->at && at < r->at + r->octets)
			return true;
	}
	return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	char *at = info->si_addr;
	char *page = (char *)((uintptr_t)at & ~(uintptr_t)(page_octets - 1));

	(void)context;
	n_faults++;
	if (is_ours(at) && mmap(page, (size_t)page_octets, PROT_READ,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
		return;
	signal(sig, SIG_DFL);	/* not ours: the access is made again and ends the process */
}

static void catch_sigbus(void)
{
	struct sigaction act;

	page_octets = sysconf(_SC_PAGESIZE);
	memset(&act, 0, sizeof act);
	act.sa_sigaction = on_sigbus;
	act.sa_flags = SA_SIGINFO | SA_RESTART;
	sigaction(SIGBUS, &act, NULL);
}

const void *mapped_new(int fd, size_t octets)
{
	struct range *r = malloc(sizeof *r);
	void *p;

	if (r == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	p = mmap(NULL, octets, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		free(r);
		return NULL;
	}
	if (page_octets == 0)
		catch_sigbus();
	*r = (struct range){ ranges, p, octets };
	ranges = r;
	return p;
}

void mapped_free(const void *p, size_t octets)
{
	struct range **at = &ranges, *r;

	if (p == NULL)
		return;
	while (*at != NULL && (*at)->at != p)
		at = &(*at)->next;
	r = *at;
	if (r != NULL) {
		*at = r->next;
		free(r);
	}
	munmap((void *)(uintptr_t)p, octets);
}

unsigned mapped_faults(void)
{
	return n_faults;
}

bool mapped_again(const void *p, int fd, size_t octets)
{
	return mmap((void *)(uintptr_t)p, octets, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
}
