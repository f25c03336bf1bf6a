/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Secret bytes in pages of their own.
 */
#include "config.h"

#include "crypt/secret.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arith.h"

struct byre_secret *byre_secret_new(size_t length)
{
    struct byre_secret *secret = malloc(sizeof *secret);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), mapped;
    void *pages;

    if (!secret || length > SIZE_MAX / 2) {
        free(secret);
        return NULL;
    }
    mapped = byre_round_up(length + 1, page);
    pages = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        free(secret);
        return NULL;
    }
    /* A process that may lock no more memory goes on: swapping is the system's business then. */
    (void)mlock(pages, mapped);
    (void)madvise(pages, mapped, MADV_DONTDUMP);
    *secret = (struct byre_secret){ pages, length, mapped };
    return secret;
}

struct byre_secret *byre_secret_copy(const void *bytes, size_t length)
{
    struct byre_secret *secret = byre_secret_new(length);

    if (secret && length)
        memcpy(secret->bytes, bytes, length);
    return secret;
}

void byre_secret_free(struct byre_secret *secret)
{
    if (!secret)
        return;
    byre_secret_wipe(secret->bytes, secret->mapped);
    munmap(secret->bytes, secret->mapped);
    free(secret);
}

void byre_secret_wipe(void *bytes, size_t length)
{
    if (length)
        explicit_bzero(bytes, length);
}
