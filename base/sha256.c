/* SPDX-License-Identifier: MIT */

/*
 * SHA-256, by OpenSSL's libcrypto.
 *
 * That library is five megabytes with half a megabyte of relocations, which would be every idle
 * daemon's private memory if programs were linked with it. So it is loaded when the first sum is
 * made, and stays: it does not unload cleanly. Its functions are called through pointers that have
 * the types of its own header.
 *
 * This is the only file that knows OpenSSL.
 */

#include "base/sha256.h"

#include <assert.h>
#include <dlfcn.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>

#define TEXT_OF(x)  #x
#define TEXT(x)     TEXT_OF(x)
#define LIBRARY     "libcrypto.so." TEXT(OPENSSL_SHLIB_VERSION)

struct sha256 {
	EVP_MD_CTX *context;
};

static struct {
	pthread_once_t once;
	bool loaded;
	__typeof__(EVP_MD_CTX_new) *context_new;
	__typeof__(EVP_MD_CTX_free) *context_free;
	__typeof__(EVP_sha256) *algorithm;
	__typeof__(EVP_DigestInit_ex) *init;
	__typeof__(EVP_DigestUpdate) *update;
	__typeof__(EVP_DigestFinal_ex) *final;
} crypto = {.once = PTHREAD_ONCE_INIT};

static void load(void)
{
	const struct {
		void *pointer; /* to the member: ISO C has no way from void * to a function */
		const char *name;
	} functions[] = {
		{&crypto.context_new, "EVP_MD_CTX_new"},  {&crypto.context_free, "EVP_MD_CTX_free"},
		{&crypto.algorithm, "EVP_sha256"},        {&crypto.init, "EVP_DigestInit_ex"},
		{&crypto.update, "EVP_DigestUpdate"},     {&crypto.final, "EVP_DigestFinal_ex"},
	};
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return;
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *found = dlsym(library, functions[i].name);

		if (!found)
			return;
		*(void **)functions[i].pointer = found;
	}
	crypto.loaded = true;
}

int sha256_new(struct sha256 **ret_sha)
{
	_cleanup_(cleanup_sha256p) struct sha256 *sha = calloc(1, sizeof(*sha));

	(void)pthread_once(&crypto.once, load);
	if (!crypto.loaded)
		return -ENOPKG;
	if (!sha)
		return -ENOMEM;
	sha->context = crypto.context_new();
	if (!sha->context || crypto.init(sha->context, crypto.algorithm(), NULL) != 1)
		return -ENOMEM;
	*ret_sha = steal_ptr(sha);
	return 0;
}

struct sha256 *sha256_free(struct sha256 *sha)
{
	if (sha && sha->context)
		crypto.context_free(sha->context);
	free(sha);
	return NULL;
}

void sha256_add(struct sha256 *sha, const void *data, size_t n)
{
	int r = crypto.update(sha->context, data, n);

	assert(r == 1);
	(void)r;
}

void sha256_finish(struct sha256 *sha, char ret_text[SHA256_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char sum[SHA256_SIZE] = {0};
	int r = crypto.final(sha->context, sum, NULL);

	assert(r == 1);
	(void)r;
	for (size_t i = 0; i < SHA256_SIZE; i++) {
		ret_text[2 * i] = digits[sum[i] >> 4];
		ret_text[2 * i + 1] = digits[sum[i] & 0xf];
	}
	ret_text[SHA256_TEXT_SIZE - 1] = '\0';
}
