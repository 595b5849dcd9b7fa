/* SPDX-License-Identifier: MIT */

/*
 * The stamp of the pools.
 *
 * The files of the pools survive what is in them. What the host says of itself (pool 3: on which
 * host the machine is, what it is called) is of one boot: after it the machine may be elsewhere,
 * and the host says it all again as soon as it is asked for. The other pools are of one machine:
 * after its disk was copied they would speak of another. A text file beside them says of which
 * boot and of which machine they are:
 *
 *     boot=6b29fc40-ca47-1067-b31d-00dd010662da
 *     machine=4c4c4544-0043-3510-8052-b4c04f4b3232
 *
 * Pools of a machine that was never stamped are left alone: there is no telling.
 */

#include "services/kvp_stamp.h"

#include <stdio.h>
#include <string.h>

static void copy_line(char to[KVP_STAMP_TEXT_SIZE], const char *from)
{
	size_t len = from ? strcspn(from, "\r\n") : 0;

	if (len >= KVP_STAMP_TEXT_SIZE)
		len = KVP_STAMP_TEXT_SIZE - 1;
	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
}

struct kvp_stamp kvp_stamp_of(const char *boot, const char *machine)
{
	struct kvp_stamp stamp;

	copy_line(stamp.boot, boot);
	copy_line(stamp.machine, machine);
	return stamp;
}

/* What follows @key at the start of a line. */
static const char *value_of(const char *text, const char *key)
{
	while (text) {
		if (strncmp(text, key, strlen(key)) == 0)
			return text + strlen(key);
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return NULL;
}

struct kvp_stamp kvp_stamp_read(const char *text)
{
	return kvp_stamp_of(value_of(text, "boot="), value_of(text, "machine="));
}

void kvp_stamp_write(const struct kvp_stamp *stamp, char ret_text[KVP_STAMP_SIZE])
{
	snprintf(ret_text, KVP_STAMP_SIZE, "boot=%s\nmachine=%s\n", stamp->boot, stamp->machine);
}

static bool differ(const char *then, const char *now)
{
	return *then && *now && strcmp(then, now) != 0;
}

bool kvp_stamp_is_stale(const struct kvp_stamp *then, const struct kvp_stamp *now,
			enum kvp_pool pool)
{
	bool elsewhere = differ(then->machine, now->machine);

	switch (pool) {
	case KVP_POOL_EXTERNAL:
	case KVP_POOL_GUEST:
	case KVP_POOL_AUTO_INTERNAL:
		return elsewhere;
	case KVP_POOL_AUTO_EXTERNAL:
		return elsewhere || (*now->boot && strcmp(then->boot, now->boot) != 0);
	case KVP_POOL_AUTO:
	case KVP_POOLS:
		return false;
	}
	return false;
}
