/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keys of LUKS version 1 (LUKS On-Disk Format Specification 1.2.3, sections 2.2 to 4): a master key that encrypts
 * the disk, and in each slot a copy of it, split into stripes so that it can be wiped, encrypted with a password.  Pure
 * functions over buffers: key material is what a slot has in the file, byre_luks_material_bytes.
 */
#ifndef BYRE_CRYPT_LUKS_KEYS_H
#define BYRE_CRYPT_LUKS_KEYS_H

#include "crypt/luks_header.h"

/* What a new header is to be like. */
struct byre_luks_options {
    struct byre_cipher_spec spec;
    enum byre_hash hash;
    uint64_t iter_time; /* milliseconds that trying a password shall take; 0: 2000 */
};

/* A new header with all slots inactive, laid out, and its master key. */
int byre_luks_header_new(const struct byre_luks_options *options, struct byre_luks_header *ret_header,
                         struct byre_secret **ret_master, struct byre_error *err);

/*
 * Puts the master key under a password: fills in the slot, which is then active, and the key material that belongs to
 * it.  `iter_time` as above.
 */
int byre_luks_slot_seal(struct byre_luks_header *header, unsigned slot, const struct byre_secret *master,
                        const struct byre_secret *password, uint64_t iter_time, uint8_t *ret_material,
                        struct byre_error *err);

/* Tries a password on the key material of a slot, which is used up: 1 and the master key, 0 where it is another
 * password's, or a negative errno. */
int byre_luks_slot_try(const struct byre_luks_header *header, unsigned slot, const struct byre_secret *password,
                       uint8_t *material, struct byre_secret **ret_master, struct byre_error *err);

/* The anti-forensic splitter: `key` of `length` bytes into `stripes` times as many, and back. */
int byre_luks_split(enum byre_hash hash, const uint8_t *key, size_t length, uint32_t stripes, uint8_t *ret_split,
                    struct byre_error *err);
int byre_luks_merge(enum byre_hash hash, const uint8_t *split, size_t length, uint32_t stripes, uint8_t *ret_key,
                    struct byre_error *err);

/* Random bytes that cannot be foretold. */
int byre_luks_random(void *buf, size_t length, struct byre_error *err);

#endif
