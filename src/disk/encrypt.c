/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Encrypted layers, and the key slots of disks.
 */
#include "config.h"

#include "disk/encrypt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/crypt.h"
#include "qcow2/header_read.h"
#include "store/crypt_store.h"
#include "store/slice.h"

static const char *const ciphers[] = { "aes-128", "aes-192", "aes-256" };

/* What QEMU has and GnuTLS has not. */
static const char *const foreign_ciphers[] = {
    "3des", "cast5-128", "des", "serpent-128", "serpent-192", "serpent-256", "twofish-128", "twofish-192",
    "twofish-256",
};

static int bad_value(const char *name, const char *value, struct byre_error *err)
{
    return byre_error_set(err, -EINVAL, "Parameter '%s' does not accept value '%s'", name, value);
}

static int plan_cipher(const char *word, struct byre_luks_options *luks, struct byre_error *err)
{
    luks->spec.bits = 256;
    for (unsigned i = 0; word && i < ARRAY_LEN(foreign_ciphers); i++) {
        if (strcmp(word, foreign_ciphers[i]) == 0)
            return byre_error_set(err, -ENOTSUP, "Algorithm '%s' not supported", word);
    }
    for (unsigned i = 0; word && i < ARRAY_LEN(ciphers); i++) {
        if (strcmp(word, ciphers[i]) == 0) {
            luks->spec.bits = 128 + 64 * i;
            word = NULL;
        }
    }
    return word ? bad_value("cipher-alg", word, err) : 0;
}

/* The number that `find` has for a word; `otherwise` where there is no word. */
static int plan_word(const char *name, const char *word, int (*find)(const char *word), int otherwise, int *ret_number,
                     struct byre_error *err)
{
    int number = word ? find(word) : otherwise;

    if (word && number < 0)
        return bad_value(name, word, err);
    *ret_number = number;
    return 0;
}

static int plan_luks(const struct byre_encrypt_options *options, struct byre_luks_options *luks, struct byre_error *err)
{
    int mode = 0, ivgen = 0, hash = BYRE_HASH_SHA256, r = plan_cipher(options->cipher_alg, luks, err);

    if (r == 0)
        r = plan_word("cipher-mode", options->cipher_mode, byre_cipher_mode_find, BYRE_CIPHER_XTS, &mode, err);
    if (r == 0)
        r = plan_word("ivgen-alg", options->ivgen_alg, byre_ivgen_find, BYRE_IVGEN_PLAIN64, &ivgen, err);
    if (r < 0)
        return r;
    luks->spec.mode = (enum byre_cipher_mode)mode;
    luks->spec.ivgen = (enum byre_ivgen)ivgen;
    r = plan_word("ivgen-hash-alg", options->ivgen_hash_alg, byre_hash_find,
                  ivgen == BYRE_IVGEN_ESSIV ? BYRE_HASH_SHA256 : -1, &luks->spec.ivgen_hash, err);
    if (r == 0)
        r = plan_word("hash-alg", options->hash_alg, byre_hash_find, BYRE_HASH_SHA256, &hash, err);
    luks->hash = (enum byre_hash)hash;
    luks->iter_time = options->iter_time;
    return r;
}

int byre_encrypt_password(const char *key_id, const char *prefix, const struct byre_secrets *secrets,
                          const struct byre_secret **ret_password, struct byre_error *err)
{
    if (!key_id)
        return byre_error_set(err, -EINVAL, "Parameter '%skey-secret' is required for cipher", prefix);
    return byre_secrets_find_text(secrets, key_id, ret_password, err);
}

int byre_encrypt_find(const struct byre_secrets *secrets, const char *id, const struct byre_secret **ret_password,
                      struct byre_error *err)
{
    *ret_password = NULL;
    return id ? byre_secrets_find_text(secrets, id, ret_password, err) : 0;
}

int byre_encrypt_plan(const struct byre_encrypt_options *options, const char *prefix,
                      const struct byre_secrets *secrets, struct byre_encrypt_plan *ret_plan, struct byre_error *err)
{
    struct byre_encrypt_plan plan = { .on = true };
    int r = plan_luks(options, &plan.luks, err);

    if (r == 0)
        r = byre_encrypt_password(options->key_secret, prefix, secrets, &plan.password, err);
    if (r == 0)
        *ret_plan = plan;
    return r;
}

int byre_encrypt_try(struct byre_store *store, const char *key_id, const struct byre_secrets *secrets,
                     struct byre_error *err)
{
    struct byre_luks_volume volume = { .store = NULL };
    const struct byre_secret *password;
    struct byre_qcow2_header header;
    int r = byre_secrets_find_text(secrets, key_id, &password, err);

    if (r == 0)
        r = byre_qcow2_header_read(store, &header, err);
    if (r < 0)
        return r;
    if (header.crypt_method == BYRE_QCOW2_CRYPT_LUKS) {
        r = byre_qcow2_crypt_load(store, &header, &volume, err);
        if (r == 0)
            r = byre_luks_volume_unlock(&volume, password, err);
    }
    byre_luks_volume_done(&volume);
    byre_qcow2_header_done(&header);
    return r;
}

/* --- LUKS as a format ------------------------------------------------------------------------------------- */

/* Puts a slice of the payload, and a filter on it, in the place of layer->store, which they take over. */
static int stack(struct byre_layer *layer, struct byre_error *err)
{
    struct byre_cipher *cipher;
    struct byre_store *slice, *store;
    int r = byre_slice_new(layer->store, byre_luks_volume_payload(layer->luks), BYRE_SLICE_TO_END, &slice, err);

    if (r < 0)
        return r;
    layer->file_store = layer->store;
    layer->store = slice;
    r = byre_luks_volume_cipher(layer->luks, &cipher, err);
    if (r == 0)
        r = byre_crypt_store_new(slice, true, cipher, &store, err);
    if (r == 0)
        layer->store = store;
    return r;
}

/* The layer owns the volume from here on. */
static int take_volume(struct byre_layer *layer, const struct byre_luks_volume *volume, struct byre_error *err)
{
    layer->luks = malloc(sizeof *volume);
    if (!layer->luks)
        return byre_error_set_errno(err, -ENOMEM, "LUKS header");
    *layer->luks = *volume;
    return 0;
}

static int unlock(struct byre_layer *layer, const struct byre_secret *password, struct byre_error *err)
{
    struct byre_luks_volume volume = { .store = NULL };
    uint64_t size;
    int r = byre_store_size(layer->store, &size, err);

    if (r == 0)
        r = byre_luks_volume_load(layer->store, 0, size, &volume, err);
    if (r == 0)
        r = byre_luks_volume_unlock(&volume, password, err);
    if (r == 0)
        r = take_volume(layer, &volume, err);
    if (r < 0) {
        byre_luks_volume_done(&volume);
        return r;
    }
    return stack(layer, err);
}

int byre_layer_open_luks(struct byre_layer *layer, const char *key_id, const struct byre_secrets *secrets,
                         struct byre_error *err)
{
    const struct byre_secret *password;
    uint64_t size;
    int r = byre_encrypt_password(key_id, "", secrets, &password, err);

    if (r == 0)
        r = unlock(layer, password, err);
    if (r == 0)
        r = byre_store_size(layer->store, &size, err);
    if (r < 0)
        byre_error_prepend(err, "Could not open '%s': ", layer->store->name);
    else
        layer->size = byre_round_up(MIN(size, byre_round_down(INT64_MAX, BYRE_SECTOR)), BYRE_SECTOR);
    return r;
}

int byre_layer_make_luks(struct byre_layer *layer, const struct byre_encrypt_plan *plan, struct byre_error *err)
{
    struct byre_luks_volume volume = { .store = NULL };
    CLEANUP(free_ptr) uint8_t *material = NULL;
    int r = byre_luks_volume_new(&plan->luks, plan->password, &volume, &material, err);

    volume.store = layer->store;
    if (r == 0)
        r = take_volume(layer, &volume, err);
    if (r < 0) {
        byre_luks_volume_done(&volume);
        return r;
    }
    r = byre_store_truncate(layer->store, byre_luks_volume_payload(&volume), err);
    if (r == 0)
        r = byre_luks_volume_write_new(layer->luks, material, err);
    return r < 0 ? r : stack(layer, err);
}

void byre_layer_close_luks(struct byre_layer *layer)
{
    if (layer->luks)
        byre_luks_volume_done(layer->luks);
    free(layer->luks);
    layer->luks = NULL;
}

bool byre_layer_is_encrypted(const struct byre_disk *disk, unsigned layer)
{
    const struct byre_layer *l = &disk->layers[layer];

    return layer < disk->layer_count && (l->luks || (l->qcow2 && byre_qcow2_header(l->qcow2)->crypt_method));
}

/* --- key slots -------------------------------------------------------------------------------------------- */

/* The gate is closed. */
static int change_slots(struct byre_disk *disk, const struct byre_keyslot_change *wanted,
                        const struct byre_secrets *secrets, struct byre_error *err)
{
    struct byre_layer *top = &disk->layers[0];
    struct byre_luks_volume *volume = top->luks ? top->luks : top->qcow2 ? byre_qcow2_luks(top->qcow2) : NULL;
    struct byre_luks_change change = {
        .activate = wanted->active, .slot = wanted->keyslot, .iter_time = wanted->iter_time, .force = wanted->force,
        .dry_run = wanted->dry_run,
    };
    int r = byre_disk_check_writable(disk, err);

    if (r == 0 && !volume)
        r = byre_error_set(err, -ENOTSUP, "'%s' has no key slots: it is not encrypted with LUKS", top->name);
    if (r == 0)
        r = byre_encrypt_find(secrets, wanted->new_secret, &change.password, err);
    if (r == 0)
        r = byre_encrypt_find(secrets, wanted->old_secret, &change.old_password, err);
    return r < 0 ? r : byre_luks_volume_change(volume, &change, err);
}

int byre_keyslots_change(struct byre_disk *disk, const struct byre_keyslot_change *change,
                         const struct byre_secrets *secrets, struct byre_error *err)
{
    int r;

    byre_gate_close(&disk->gate);
    r = change_slots(disk, change, secrets, err);
    byre_gate_open(&disk->gate);
    return r;
}
