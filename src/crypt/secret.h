/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Secret bytes: passwords and keys.
 *
 *   Z1. The bytes lie in pages of their own, which are locked into memory as far as the process may do that, and are
 *       left out of core dumps.
 *   Z2. They are wiped before the pages are given back.
 */
#ifndef BYRE_CRYPT_SECRET_H
#define BYRE_CRYPT_SECRET_H

#include <stddef.h>
#include <stdint.h>

struct byre_secret {
    uint8_t *bytes;  /* followed by a 0 that does not count */
    size_t length;   /* may be lowered, never raised */
    size_t mapped;   /* private */
};

/* `length` zeros to be filled in; NULL on ENOMEM.  Release with byre_secret_free. */
struct byre_secret *byre_secret_new(size_t length);

/* A secret with these bytes; NULL on ENOMEM. */
struct byre_secret *byre_secret_copy(const void *bytes, size_t length);

/* Wipes and releases.  NULL is allowed. */
void byre_secret_free(struct byre_secret *secret);

/* Overwrites bytes that lie elsewhere, in a way that is not optimised away. */
void byre_secret_wipe(void *bytes, size_t length);

static inline void byre_cleanup_secret(struct byre_secret **secret)
{
    byre_secret_free(*secret);
}

#endif
