/* SPDX-License-Identifier: MIT */

/*
 * The dashboard's page.
 *
 * It is put into the program as it is, by the assembler, so that the host needs no folder of its own
 * and nothing from elsewhere: the page has its styles and its program in itself, and works on a
 * machine without a way out. PAGE_HTML is the file's path, from the Makefile.
 */

#include "host/page.h"

extern const char page_html_end[];

__asm__(".pushsection .rodata\n"
	".global page_html\n"
	".global page_html_end\n"
	"page_html:\n"
	".incbin \"" PAGE_HTML "\"\n"
	"page_html_end:\n"
	".byte 0\n"
	".popsection\n");

size_t page_html_size(void)
{
	return (size_t)(page_html_end - page_html);
}
