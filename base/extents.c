/* SPDX-License-Identifier: MIT */

/*
 * Comparing files by their blocks.
 *
 * A file that shares blocks with another (FICLONE) keeps them until it is gone: who writes to either
 * gets a new block. So a block that two snapshots have at the same place of the file has the same
 * content in both, and only what lies in different blocks has to be read. FIEMAP tells the blocks.
 *
 * What it tells is believed only where it is exact. Blocks that are not yet placed, compressed
 * ones, and data that is kept among the file system's own (inline) count as changed; so does a block
 * that was reserved and is written now, although it is the same block.
 */

#include "base/extents.h"

#include "base/cleanup.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
	BATCH = 256, /* extents of one FIEMAP */
};

/* The blocks of one file, in order. */
struct map {
	struct fiemap_extent *extents;
	size_t n;
	size_t capacity;
	size_t at; /* the first that does not end before the place that is looked at */
};

static void map_fini(struct map *map)
{
	free(map->extents);
}

static int map_add(struct map *map, const struct fiemap_extent *extents, size_t n)
{
	if (map->n + n > map->capacity) {
		size_t capacity = 2 * map->capacity + n;
		struct fiemap_extent *more = reallocarray(map->extents, capacity, sizeof(*more));

		if (!more)
			return -ENOMEM;
		map->extents = more;
		map->capacity = capacity;
	}
	memcpy(map->extents + map->n, extents, n * sizeof(*extents));
	map->n += n;
	return 0;
}

static int map_read(struct map *map, int fd, uint64_t size)
{
	_cleanup_free_ struct fiemap *fiemap = NULL;
	uint64_t start = 0;
	int r;

	fiemap = malloc(sizeof(*fiemap) + BATCH * sizeof(struct fiemap_extent));
	if (!fiemap)
		return -ENOMEM;
	while (start < size) {
		*fiemap = (struct fiemap){
			.fm_start = start,
			.fm_length = size - start,
			.fm_flags = FIEMAP_FLAG_SYNC,
			.fm_extent_count = BATCH,
		};
		if (ioctl(fd, FS_IOC_FIEMAP, fiemap) < 0)
			return errno == EOPNOTSUPP || errno == ENOTTY ? EXTENTS_UNKNOWN
								      : negative_errno();
		if (fiemap->fm_mapped_extents == 0)
			return 0;
		r = map_add(map, fiemap->fm_extents, fiemap->fm_mapped_extents);
		if (r)
			return r;
		start = map->extents[map->n - 1].fe_logical + map->extents[map->n - 1].fe_length;
	}
	return 0;
}

/* What a file has at one place, and up to where that goes on. */
struct piece {
	const struct fiemap_extent *extent; /* NULL: a hole */
	uint64_t block;                     /* of the extent, at this place */
	uint64_t end;
};

static struct piece map_look(struct map *map, uint64_t offset, uint64_t size)
{
	const struct fiemap_extent *e;

	while (map->at < map->n &&
	       map->extents[map->at].fe_logical + map->extents[map->at].fe_length <= offset)
		map->at++;
	if (map->at == map->n)
		return (struct piece){.end = size};
	e = &map->extents[map->at];
	if (e->fe_logical > offset)
		return (struct piece){.end = e->fe_logical < size ? e->fe_logical : size};
	return (struct piece){
		.extent = e,
		.block = e->fe_physical + (offset - e->fe_logical),
		.end = e->fe_logical + e->fe_length < size ? e->fe_logical + e->fe_length : size,
	};
}

static bool is_exact(const struct fiemap_extent *e)
{
	return !(e->fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
				FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_ENCRYPTED |
				FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE |
				FIEMAP_EXTENT_DATA_TAIL));
}

static bool is_same(const struct piece *a, const struct piece *b)
{
	if (!a->extent || !b->extent)
		return !a->extent && !b->extent;
	return is_exact(a->extent) && is_exact(b->extent) && a->block == b->block &&
	       !((a->extent->fe_flags ^ b->extent->fe_flags) & FIEMAP_EXTENT_UNWRITTEN);
}

struct list {
	struct extent *extents;
	size_t n;
	size_t capacity;
};

static void list_fini(struct list *list)
{
	free(list->extents);
}

static int list_add(struct list *list, uint64_t offset, uint64_t len)
{
	struct extent *last = list->n > 0 ? &list->extents[list->n - 1] : NULL;

	if (last && last->offset + last->len == offset) {
		last->len += len;
		return 0;
	}
	if (list->n == list->capacity) {
		size_t capacity = 2 * list->capacity + 16;
		struct extent *more = reallocarray(list->extents, capacity, sizeof(*more));

		if (!more)
			return -ENOMEM;
		list->extents = more;
		list->capacity = capacity;
	}
	list->extents[list->n++] = (struct extent){.offset = offset, .len = len};
	return 0;
}

int extents_changed(int before_fd, int after_fd, uint64_t size, struct extent **ret_extents,
		    size_t *ret_n)
{
	_cleanup_(map_fini) struct map before = {0};
	_cleanup_(map_fini) struct map after = {0};
	_cleanup_(list_fini) struct list changed = {0};
	int r;

	r = map_read(&before, before_fd, size);
	if (r)
		return r;
	r = map_read(&after, after_fd, size);
	if (r)
		return r;

	for (uint64_t offset = 0; offset < size;) {
		struct piece a = map_look(&before, offset, size), b = map_look(&after, offset, size);
		uint64_t end = a.end < b.end ? a.end : b.end;

		r = is_same(&a, &b) ? 0 : list_add(&changed, offset, end - offset);
		if (r)
			return r;
		offset = end;
	}

	*ret_extents = steal_ptr(changed.extents);
	*ret_n = changed.n;
	return 0;
}
