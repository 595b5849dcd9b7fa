/* SPDX-License-Identifier: MIT */

/*
 * New memory, by policy.
 *
 * A block that is added has its event before anybody has brought it online; but the kernel may do
 * that by itself (auto_online_blocks, memhp_default_state=), and so may a rule of udev. Whoever
 * comes first decides on the zone. So the block is read first, and an online one is left where it
 * is: to move it would mean to take it offline again. It is said, though, that policy wanted
 * otherwise, and what to change.
 *
 * What zones a block could be in is not asked before it is written to (blocks.c says why). So an
 * automatic choice that is not possible is found out by trying.
 *
 * For the automatic policy the zones are measured anew for each block, because each changes them.
 */

#include "memhotplug/onliner.h"

#include "base/cleanup.h"
#include "memhotplug/zones.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PAGE_BYTES UINT64_C(4096)

enum {
	PATH_SIZE = 512,
	WORD_SIZE = 32,
};

void onliner_read_auto(const char *dir, char *ret_word, size_t size)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_SIZE];
	ssize_t n = -1;

	snprintf(path, sizeof(path), "%s/auto_online_blocks", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, ret_word, size - 1);
	ret_word[n > 0 ? n : 0] = '\0';
	ret_word[strcspn(ret_word, "\n")] = '\0';
}

/* Without the figures there is no ratio to keep, and the kernel's zones are the safe choice. */
static enum block_online choose_auto(const struct onliner_config *config)
{
	struct zones zones;
	uint64_t block_bytes;

	if (blocks_read_size(config->dir, &block_bytes) || zones_read(config->zoneinfo, &zones))
		return BLOCK_ONLINE_KERNEL;
	return hotadd_is_movable(block_bytes / PAGE_BYTES, zones.kernel_pages, zones.movable_pages,
				 config->ratio_percent)
		       ? BLOCK_ONLINE_MOVABLE
		       : BLOCK_ONLINE_KERNEL;
}

static enum block_online choose(const struct onliner_config *config)
{
	switch (config->policy) {
	case HOTADD_KERNEL:
		return BLOCK_ONLINE_KERNEL;
	case HOTADD_MOVABLE:
		return BLOCK_ONLINE_MOVABLE;
	case HOTADD_AUTO:
		return choose_auto(config);
	case HOTADD_OFF:
	case HOTADD_ONLINE:
	case HOTADD_N_POLICIES:
		break;
	}
	return BLOCK_ONLINE_DEFAULT;
}

static bool is_as_wanted(enum hotadd_policy policy, enum block_zone zone)
{
	if (policy == HOTADD_MOVABLE)
		return zone == BLOCK_ZONE_MOVABLE;
	return policy != HOTADD_KERNEL || zone != BLOCK_ZONE_MOVABLE;
}

static void explain_online(const struct onliner_config *config, struct onliner_result *result)
{
	char word[WORD_SIZE];

	result->outcome = ONLINER_BY_KERNEL;
	if (is_as_wanted(config->policy, result->zone))
		return;
	onliner_read_auto(config->dir, word, sizeof(word));
	if (strncmp(word, "online", strlen("online")) == 0)
		snprintf(result->text, sizeof(result->text),
			 "the kernel has put it in zone %s (auto_online_blocks is %s): boot with "
			 "memhp_default_state=offline, or write that to auto_online_blocks",
			 block_zone_name(result->zone), word);
	else
		snprintf(result->text, sizeof(result->text),
			 "somebody else has put it in zone %s: look for a udev rule for memory",
			 block_zone_name(result->zone));
}

static void explain_failure(const struct onliner_config *config, uint64_t number,
			    enum block_online how, int condition, struct onliner_result *result)
{
	bool kernel = true, movable = true;

	result->outcome = ONLINER_FAILED;
	if (condition == BLOCKS_UNFIT)
		(void)block_read_choices(config->dir, number, &kernel, &movable);
	if (how == BLOCK_ONLINE_MOVABLE && !movable)
		snprintf(result->text, sizeof(result->text),
			 "it cannot be in zone Movable: there is memory of the kernel behind it; use the "
			 "policy 'online' or 'auto'");
	else if (how == BLOCK_ONLINE_KERNEL && !kernel)
		snprintf(result->text, sizeof(result->text),
			 "it cannot be in a zone of the kernel; use the policy 'online' or 'auto'");
	else
		snprintf(result->text, sizeof(result->text), "%s: %s", block_online_name(how),
			 blocks_condition_text(condition));
}

static void bring(const struct onliner_config *config, uint64_t number,
		  struct onliner_result *result)
{
	enum block_online how = choose(config);
	struct block now;
	int r;

	r = block_online(config->dir, number, how);
	if (r == BLOCKS_UNFIT && config->policy == HOTADD_AUTO) {
		how = BLOCK_ONLINE_DEFAULT;
		r = block_online(config->dir, number, how);
	}
	if (r == BLOCKS_GONE) {
		result->outcome = ONLINER_GONE;
		return;
	}
	if (r && r != BLOCKS_ALREADY) {
		explain_failure(config, number, how, r, result);
		return;
	}
	if (block_read(config->dir, number, &now) == 0)
		result->zone = now.zone;
	if (r)
		explain_online(config, result);
}

void onliner_bring(const struct onliner_config *config, uint64_t number,
		   struct onliner_result *ret_result)
{
	struct onliner_result result = {.outcome = ONLINER_ONLINED};
	struct block block;

	if (block_read(config->dir, number, &block)) {
		result.outcome = ONLINER_GONE;
	} else if (block.state == BLOCK_ONLINE) {
		result.zone = block.zone;
		explain_online(config, &result);
	} else if (config->policy == HOTADD_OFF) {
		result.outcome = ONLINER_LEFT;
	} else {
		bring(config, number, &result);
	}
	*ret_result = result;
}

const char *onliner_outcome_name(enum onliner_outcome outcome)
{
	static const char *const names[ONLINER_N_OUTCOMES] = {
		[ONLINER_ONLINED] = "onlined", [ONLINER_BY_KERNEL] = "by_kernel",
		[ONLINER_LEFT] = "left",       [ONLINER_GONE] = "gone",
		[ONLINER_FAILED] = "failed",
	};

	return names[outcome];
}
