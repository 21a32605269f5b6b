/* SPDX-License-Identifier: ISC */
/* What a store is put through while a disk's view of it is recorded, and what must be seen after each step. */
#ifndef POWERWORK_H
#define POWERWORK_H

#include "fslog.h"
#include "powermodel.h"

struct script {				/* in shared memory: a child records */
	size_t n_steps;
	bool whole;			/* nothing is missing */
	size_t copied[STEPS_MAX];	/* of each step: the last one up to it that made a copy, 0: none yet */
	struct model after[STEPS_MAX][STORES];	/* [0]: before the first step */
};

struct act;
struct workload {
	const char *name;
	const struct act *act;
	size_t n;
	uint32_t segment_octets;	/* 0: as usual */
	bool forgets;			/* what is expunged can't be brought back: compaction takes it */
	bool compress, copies, searches;
	bool purges;			/* an index of a later time does not know what can still be brought back */
};
extern const struct workload workloads[];
extern const size_t n_workloads;

enum work_mark {			/* numbers are steps */
	MARK_BEGIN = 1,
	MARK_ACK,			/* what this step and those before it did must stay */
};

/* How the workload's stores are opened; the index is always used. */
void work_env(const struct workload *w, const char *boot_id, struct store_env *env);
/* Runs it on the stores root/a and root/b, which are empty directories, with copies in root/c. In a process of its own,
 * which ends with a failure when an operation fails. */
void work_record(const struct workload *w, const char *root, struct fslog *log, struct script *script);

#endif
