/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * SHA-256 of what is added bit by bit. The library that does it is loaded when it is first needed.
 */

struct sha256;

enum {
	SHA256_SIZE = 32,
	SHA256_TEXT_SIZE = 2 * SHA256_SIZE + 1,
};

/* Of nothing yet. Any thread. -ENOPKG: libcrypto cannot be loaded; -ENOMEM. */
_must_check_ int sha256_new(struct sha256 **ret_sha);
struct sha256 *sha256_free(struct sha256 *sha);
DEFINE_CLEANUP(sha256)

/* Adds @n bytes. */
void sha256_add(struct sha256 *sha, const void *data, size_t n);

/* The sum of what was added, as 64 hexadecimal digits; nothing can be added any more. */
void sha256_finish(struct sha256 *sha, char ret_text[SHA256_TEXT_SIZE]);
