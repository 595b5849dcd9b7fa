/* SPDX-License-Identifier: MIT */

/*
 * base/size.c, row by row.
 */

#include "base/size.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

Test(size, what_people_write_is_read)
{
	static const struct {
		const char *text;
		int result;
		uint64_t bytes;
	} rows[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"512M", 0, 512 * MIB},
		{"4G", 0, 4 * GIB},
		{"64KiB", 0, 64 * KIB},
		{"64kib", 0, 64 * KIB},
		{"2t", 0, 2048 * GIB},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", SIZE_OVERFLOW, 0},
		{"16E", SIZE_OVERFLOW, 0},
		{"15E", 0, UINT64_C(15) << 60},
		{"", SIZE_MALFORMED, 0},
		{"M", SIZE_MALFORMED, 0},
		{"-1", SIZE_MALFORMED, 0},
		{"+1", SIZE_MALFORMED, 0},
		{" 1", SIZE_MALFORMED, 0},
		{"1 M", SIZE_MALFORMED, 0},
		{"1.5G", SIZE_MALFORMED, 0},
		{"1MB", SIZE_MALFORMED, 0},
		{"1Mi", SIZE_MALFORMED, 0},
		{"1MiBs", SIZE_MALFORMED, 0},
		{"0x10", SIZE_MALFORMED, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t bytes = 0;

		cr_expect(eq(int, size_parse(rows[i].text, &bytes), rows[i].result), "%s",
			  rows[i].text);
		cr_expect(eq(u64, bytes, rows[i].bytes), "%s", rows[i].text);
	}
}

Test(size, a_refusal_writes_nothing)
{
	uint64_t bytes = 7;

	cr_expect(eq(int, size_parse("99999999999999999999", &bytes), SIZE_OVERFLOW));
	cr_expect(eq(int, size_parse("12x", &bytes), SIZE_MALFORMED));
	cr_expect(eq(u64, bytes, 7));
}

Test(size, amounts_are_cut_and_never_rounded_up)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{KIB, "1 KiB"},
		{512 * MIB, "512 MiB"},
		{3 * GIB / 2, "1.5 GiB"},
		{2 * GIB - 1, "1.9 GiB"},
		{MIB - 1, "1023 KiB"},
		{100 * MIB + MIB / 2, "100 MiB"},
		{UINT64_MAX, "15.9 EiB"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct size_text s = size_format(rows[i].bytes);

		cr_expect(eq(str, s.text, (char *)(uintptr_t)rows[i].text));
	}
}

Test(size, durations_read_like_a_person_says_them)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} rows[] = {
		{0, "0 ns"},
		{999, "999 ns"},
		{750000, "750 us"},
		{3200000, "3.2 ms"},
		{999999999, "999 ms"},
		{1500000000, "1.5 s"},
		{UINT64_C(125) * 1000000000, "2 min 5 s"},
		{UINT64_C(11400) * 1000000000, "3 h 10 min"},
		{UINT64_MAX, "5124095 h 34 min"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct size_text s = duration_format(rows[i].ns);

		cr_expect(eq(str, s.text, (char *)(uintptr_t)rows[i].text));
	}
}
