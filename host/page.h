/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>

/*
 * The dashboard, as one page: host/page.html, which is in the program.
 */

extern const char page_html[];

/* Its bytes. */
size_t page_html_size(void);
