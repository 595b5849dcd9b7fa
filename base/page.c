/* SPDX-License-Identifier: MIT */

/*
 * What the pages of the daemons have in common: base/page.css and base/page.js.
 *
 * They are put into the program, so that a daemon needs no folder of its own for them and a page nothing
 * from elsewhere: it works on a machine without a way out. PAGE_CSS and PAGE_JS are the files' paths,
 * from the Makefile.
 */

#include "base/page.h"

#include "base/embed.h"

extern const char page_css[], page_css_end[], page_js[], page_js_end[];

EMBED_FILE(page_css, PAGE_CSS);
EMBED_FILE(page_js, PAGE_JS);

static void get_css(struct httpd_request *request, void *user)
{
	(void)user;
	httpd_reply(request, 200, "text/css; charset=utf-8", page_css, (size_t)(page_css_end - page_css));
}

static void get_js(struct httpd_request *request, void *user)
{
	(void)user;
	httpd_reply(request, 200, "text/javascript; charset=utf-8", page_js,
		    (size_t)(page_js_end - page_js));
}

int page_add_routes(struct httpd *httpd)
{
	int r = httpd_route(httpd, "GET", "/page.css", get_css, NULL);

	return r ? r : httpd_route(httpd, "GET", "/page.js", get_js, NULL);
}
