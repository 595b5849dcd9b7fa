/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"

/*
 * What the pages of the daemons have in common, a style sheet and a script, which are in the program.
 */

/* Adds GET /page.css and GET /page.js. -ENOMEM. */
_must_check_ int page_add_routes(struct httpd *httpd);
