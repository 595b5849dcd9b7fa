/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A file as a part of the program: the assembler puts it in as it is, so that nothing has to be found
 * when the program runs. EMBED_FILE(name, path) defines name[] and, one past its last byte, name_end[];
 * a NUL follows. Their declarations are the caller's.
 */
#define EMBED_FILE(name, path)                                                                     \
	__asm__(".pushsection .rodata\n"                                                           \
		".global " #name "\n"                                                              \
		".global " #name "_end\n" #name ":\n"                                              \
		".incbin \"" path "\"\n" #name "_end:\n"                                           \
		".byte 0\n"                                                                        \
		".popsection\n")
