/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crypt store: what another store holds, decrypted.
 *
 * A sector's number, from which its initialization vector is made, is its place in this store.  Space that was never
 * written reads as noise; past the end of the store below there are zeros, as in any store.
 */
#ifndef BYRE_STORE_CRYPT_STORE_H
#define BYRE_STORE_CRYPT_STORE_H

#include "crypt/cipher.h"
#include "store/store.h"

/*
 * A store around `below` that takes over `cipher`, also on failure, and, with `owns`, on success `below`, which it
 * then closes in the end; without, `below` outlives it.  Its name is that of `below`.
 */
int byre_crypt_store_new(struct byre_store *below, bool owns, struct byre_cipher *cipher, struct byre_store **ret_store,
                         struct byre_error *err);

#endif
