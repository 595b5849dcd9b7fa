/* SPDX-License-Identifier: MIT */

/*
 * What outlives the daemon.
 *
 * Memory that the host has, and the channel by which the host got it, are held by the keeper
 * (balloon/keeper.c), a process that stays when hvguestd is killed, restarted or upgraded. Whole
 * memory blocks need nobody to hold them; a record says which they are.
 */

#include "daemon/session.h"

#include "balloon/dynmem_record.h"
#include "base/size.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES UINT64_C(4096)

enum {
	RANGES_MAX = 1 << 20, /* as dynmem_config_init() has it */
};

struct session {
	struct keeper_client *keeper;
	struct memory_sources *sources;
	struct kept *kept;
	const char *problem;
};

/* What is said of a keeper that could not be had. */
static const char *problem_text(int r)
{
	switch (r) {
	case KEEPER_CLIENT_NO_HELPER:
		return "the program hvguest-keeper does not start: see --keeper";
	case -EOPNOTSUPP:
		return "this machine's pages are not 4 KiB";
	case -EPERM:
	case -EACCES:
		return "page frame numbers are hidden without CAP_SYS_ADMIN";
	default:
		return "the keeper of the memory does not work";
	}
}

static void tell(const struct keeper_client_report *report)
{
	if (report->replaced)
		log_warning("memory: the keeper was of another version: its memory is in use again, and "
			    "its channel was closed");
	if (report->dead_pid && report->freed_pages)
		log_warning("memory: the last keeper (process %d) was killed together with hvguestd: the "
			    "kernel has closed its channel and freed the %s it held",
			    (int)report->dead_pid,
			    size_format(report->freed_pages * PAGE_BYTES).text);
	if (report->overcommit_pages)
		log_notice("memory: vm.nr_overcommit_hugepages is lowered by %llu, which that keeper had "
			   "added",
			   (unsigned long long)report->overcommit_pages);
}

static int open_keeper(struct session *s, const struct config *config)
{
	const struct keeper_client_config keeper = {
		.helper = config->keeper,
		.run_dir = config->run_dir,
		.allowed = {[PAGES_HUGE] = config->huge_pages, [PAGES_SMALL] = true},
		.overcommit = config->overcommit,
		.area_bytes = KEPT_AREA_BYTES + dynmem_record_bytes(RANGES_MAX),
	};
	struct keeper_client_report report;
	int r;

	r = keeper_client_new(&keeper, &report, &s->keeper);
	if (r)
		return r;
	tell(&report);
	return kept_new(s->keeper, report.found, &s->kept);
}

static int open_sources(struct session *s, const struct config *config)
{
	const struct memory_sources_config sources = {
		.keeper = s->keeper,
		.memory_blocks = config->memory_blocks,
		.run_dir = config->run_dir,
	};

	return memory_sources_new(&sources, &s->sources);
}

int session_new(const struct config *config, struct session **ret_session)
{
	_cleanup_(cleanup_sessionp) struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	r = open_keeper(s, config);
	if (r) {
		s->problem = problem_text(r);
		log_warning("memory: none can be given: %s (%s)", s->problem,
			    r < 0 ? strerror(-r) : "no answer");
		s->kept = kept_free(s->kept);
		s->keeper = keeper_client_free(s->keeper);
	}
	r = open_sources(s, config);
	if (r)
		return r;
	*ret_session = steal_ptr(s);
	return 0;
}

struct session *session_free(struct session *s)
{
	if (!s)
		return NULL;
	(void)memory_sources_free(s->sources);
	(void)kept_free(s->kept);
	(void)keeper_client_free(s->keeper);
	free(s);
	return NULL;
}

void session_end(struct session *s)
{
	if (!s)
		return;
	kept_clear(s->kept);
	if (s->keeper)
		keeper_client_release(s->keeper);
	memory_sources_release_blocks(s->sources);
}

const char *session_problem(const struct session *s)
{
	return s->problem;
}

struct kept *session_kept(const struct session *s)
{
	return s ? s->kept : NULL;
}

void *session_record(const struct session *s, size_t *ret_bytes)
{
	size_t bytes;
	uint8_t *area;

	if (!s->keeper)
		return NULL;
	area = keeper_client_area(s->keeper, &bytes);
	*ret_bytes = bytes - KEPT_AREA_BYTES;
	return area + KEPT_AREA_BYTES;
}

struct memory_sources *session_sources(const struct session *s)
{
	return s->sources;
}

struct keeper_client *session_keeper(const struct session *s)
{
	return s->keeper;
}
