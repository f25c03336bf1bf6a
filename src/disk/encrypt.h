/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Encrypted layers: what options say of encryption, and LUKS as a format of its own.
 */
#ifndef BYRE_DISK_ENCRYPT_H
#define BYRE_DISK_ENCRYPT_H

#include "byre/create.h"
#include "disk/disk.h"
#include "disk/secrets.h"
#include "store/luks_volume.h"

/* What a new image is encrypted with. */
struct byre_encrypt_plan {
    bool on;
    struct byre_luks_options luks;
    const struct byre_secret *password; /* of the set of secrets */
};

/* Reads the options of a new image; `prefix` is what stands before their names: "encrypt." or "". */
int byre_encrypt_plan(const struct byre_encrypt_options *options, const char *prefix,
                      const struct byre_secrets *secrets, struct byre_encrypt_plan *ret_plan, struct byre_error *err);

/* The password that `key_id` (NULL: none was named) is the id of; `prefix` as above. */
int byre_encrypt_password(const char *key_id, const char *prefix, const struct byre_secrets *secrets,
                          const struct byre_secret **ret_password, struct byre_error *err);

/* The password called `id`, NULL where `id` is. */
int byre_encrypt_find(const struct byre_secrets *secrets, const char *id, const struct byre_secret **ret_password,
                      struct byre_error *err);

/* Puts the decrypted payload of the LUKS file in layer->store in its place, and sets the layer's size. */
int byre_layer_open_luks(struct byre_layer *layer, const char *key_id, const struct byre_secrets *secrets,
                         struct byre_error *err);

/* The same with a new volume, which is written to the empty layer->store. */
int byre_layer_make_luks(struct byre_layer *layer, const struct byre_encrypt_plan *plan, struct byre_error *err);

/* Does the password that `key_id` names open the qcow2 image in `store`?  0 as well where that cannot be told: the
 * image is not encrypted with LUKS. */
int byre_encrypt_try(struct byre_store *store, const char *key_id, const struct byre_secrets *secrets,
                     struct byre_error *err);

/* Releases layer->luks. */
void byre_layer_close_luks(struct byre_layer *layer);

#endif
