/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A LUKS header in a store, at its start or somewhere else: reading, unlocking, making, and its key slots.
 *
 *   L1. A slot becomes active in the file once its key material, salt and iterations are durable.
 *   L2. A slot that is erased is inactive durably before its salt and its key material are overwritten, so that no
 *       crash leaves an active slot that opens with no password.
 *   L3. The word that says which of the two a slot is lies in one sector by itself or with older, unchanged bytes:
 *       each of these steps is one sector.
 */
#ifndef BYRE_STORE_LUKS_VOLUME_H
#define BYRE_STORE_LUKS_VOLUME_H

#include "crypt/luks_keys.h"
#include "store/store.h"

struct byre_luks_volume {
    struct byre_store *store;   /* the caller's; outlives this */
    uint64_t hoff;              /* of the header, a multiple of 512 */
    struct byre_luks_header header;
    struct byre_secret *master; /* NULL: locked */
};

/* Reads the header at `hoff`, which is the start of `room` bytes.  `ret_volume` is locked; byre_luks_volume_done. */
int byre_luks_volume_load(struct byre_store *store, uint64_t hoff, uint64_t room, struct byre_luks_volume *ret_volume,
                          struct byre_error *err);

/* Finds the slot that the password opens: -EPERM "Invalid password, cannot unlock any keyslot". */
int byre_luks_volume_unlock(struct byre_luks_volume *volume, const struct byre_secret *password,
                            struct byre_error *err);

/* A new volume, unlocked, with its password in slot 0.  Nothing is written yet. */
int byre_luks_volume_new(const struct byre_luks_options *options, const struct byre_secret *password,
                         struct byre_luks_volume *ret_volume, uint8_t **ret_material, struct byre_error *err);
/* Writes the header of a new volume, and the material of slot 0, to volume->store at volume->hoff; no barrier. */
int byre_luks_volume_write_new(struct byre_luks_volume *volume, const uint8_t *material, struct byre_error *err);

/* Which bytes the header and the key material take up: the payload of a volume by itself starts there. */
uint64_t byre_luks_volume_payload(const struct byre_luks_volume *volume);

/* The cipher of an unlocked volume's payload. */
int byre_luks_volume_cipher(const struct byre_luks_volume *volume, struct byre_cipher **ret_cipher,
                            struct byre_error *err);

/* What to do to the slots of an unlocked volume. */
struct byre_luks_change {
    bool activate;                     /* else erase */
    int slot;                          /* -1: a free one, or all that `old_password` opens */
    const struct byre_secret *password;     /* activate: the new one */
    const struct byre_secret *old_password; /* erase: of the slots, or of `slot`; or NULL */
    uint64_t iter_time;                /* activate: milliseconds; 0: the default */
    bool force;                        /* erase the last slot, too, or overwrite an active one */
    bool dry_run;                      /* judge it, and change nothing */
};

/* Does it, durably.  -EINVAL with qemu-img's words, and nothing is changed, where it makes no sense. */
int byre_luks_volume_change(struct byre_luks_volume *volume, const struct byre_luks_change *change,
                            struct byre_error *err);

/* Wipes what it knows.  A zeroed struct is allowed. */
void byre_luks_volume_done(struct byre_luks_volume *volume);

#endif
