/* SPDX-License-Identifier: MIT */

/*
 * One record of a pool file.
 *
 * Others write these files, too, so nothing is taken for granted about what is in a record: a text
 * ends at its first NUL or at the end of its field, and what follows the NUL may be anything, for
 * the stock daemon leaves there what it has had in memory. What we write is zero there.
 *
 * A text is not looked at any further: whether it is UTF-8 is for those who have to show it.
 */

#include "services/kvp_record.h"

#include <string.h>

int kvp_record_read(const uint8_t record[KVP_RECORD_SIZE], size_t *ret_key_len,
		    size_t *ret_value_len)
{
	size_t key_len = strnlen((const char *)record, KVP_KEY_SIZE - 1);

	if (key_len == 0)
		return KVP_RECORD_NO_KEY;
	*ret_key_len = key_len;
	*ret_value_len = strnlen((const char *)record + KVP_KEY_SIZE, KVP_VALUE_SIZE - 1);
	return 0;
}

void kvp_record_write(uint8_t ret_record[KVP_RECORD_SIZE], const char *key, const char *value)
{
	size_t key_len = strnlen(key, KVP_KEY_SIZE - 1);
	size_t value_len = strnlen(value, KVP_VALUE_SIZE - 1);

	memset(ret_record, 0, KVP_RECORD_SIZE);
	memcpy(ret_record, key, key_len);
	memcpy(ret_record + KVP_KEY_SIZE, value, value_len);
}

uint64_t kvp_sum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * UINT64_C(0x100000001b3);
	return sum;
}
