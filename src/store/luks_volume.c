/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LUKS headers in stores.
 */
#include "config.h"

#include "store/luks_volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"

#define SECTOR BYRE_CIPHER_SECTOR

void byre_luks_volume_done(struct byre_luks_volume *volume)
{
    byre_secret_free(volume->master);
    *volume = (struct byre_luks_volume){ .store = NULL };
}

int byre_luks_volume_load(struct byre_store *store, uint64_t hoff, uint64_t room, struct byre_luks_volume *ret_volume,
                          struct byre_error *err)
{
    uint8_t bytes[BYRE_LUKS_HEADER_BYTES];
    struct byre_luks_header header;
    int r;

    if (room < sizeof bytes)
        return byre_error_set(err, -EINVAL, "Volume is not in LUKS format");
    r = byre_store_pread(store, bytes, sizeof bytes, hoff, err);
    if (r == 0)
        r = byre_luks_header_parse(bytes, sizeof bytes, room, &header, err);
    if (r == 0)
        *ret_volume = (struct byre_luks_volume){ .store = store, .hoff = hoff, .header = header };
    return r;
}

static uint64_t material_hoff(const struct byre_luks_volume *volume, unsigned slot)
{
    return volume->hoff + (uint64_t)volume->header.slots[slot].material_sector * SECTOR;
}

uint64_t byre_luks_volume_payload(const struct byre_luks_volume *volume)
{
    return (uint64_t)volume->header.payload_sector * SECTOR;
}

/* Tries a password on one active slot: as byre_luks_slot_try. */
static int try_slot(const struct byre_luks_volume *volume, unsigned slot, const struct byre_secret *password,
                    struct byre_secret **ret_master, struct byre_error *err)
{
    uint32_t bytes = byre_luks_material_bytes(&volume->header);
    CLEANUP(free_ptr) uint8_t *material = malloc(bytes);
    int r;

    if (!material)
        return byre_error_set_errno(err, -ENOMEM, "key material");
    r = byre_store_pread(volume->store, material, bytes, material_hoff(volume, slot), err);
    return r < 0 ? r : byre_luks_slot_try(&volume->header, slot, password, material, ret_master, err);
}

int byre_luks_volume_unlock(struct byre_luks_volume *volume, const struct byre_secret *password,
                            struct byre_error *err)
{
    for (unsigned i = 0; i < BYRE_LUKS_SLOTS; i++) {
        struct byre_secret *master = NULL;
        int r = volume->header.slots[i].active ? try_slot(volume, i, password, &master, err) : 0;

        if (r < 0)
            return r;
        if (r > 0) {
            byre_secret_free(volume->master);
            volume->master = master;
            return 0;
        }
    }
    return byre_error_set(err, -EPERM, "Invalid password, cannot unlock any keyslot");
}

int byre_luks_volume_cipher(const struct byre_luks_volume *volume, struct byre_cipher **ret_cipher,
                            struct byre_error *err)
{
    return byre_cipher_new(&volume->header.spec, volume->master, ret_cipher, err);
}

int byre_luks_volume_new(const struct byre_luks_options *options, const struct byre_secret *password,
                         struct byre_luks_volume *ret_volume, uint8_t **ret_material, struct byre_error *err)
{
    struct byre_luks_volume volume = { .store = NULL };
    CLEANUP(free_ptr) uint8_t *material = NULL;
    int r = byre_luks_header_new(options, &volume.header, &volume.master, err);

    if (r < 0)
        return r;
    material = malloc(byre_luks_material_bytes(&volume.header));
    if (!material)
        r = byre_error_set_errno(err, -ENOMEM, "key material");
    else
        r = byre_luks_slot_seal(&volume.header, 0, volume.master, password, options->iter_time, material, err);
    if (r < 0) {
        byre_luks_volume_done(&volume);
        return r;
    }
    *ret_volume = volume;
    *ret_material = STEAL(material);
    return 0;
}

/* The header as it shall be in the file, in whole sectors. */
static void serialize(const struct byre_luks_volume *volume, uint8_t bytes[BYRE_LUKS_HEADER_ROOM])
{
    memset(bytes, 0, BYRE_LUKS_HEADER_ROOM);
    byre_luks_header_serialize(&volume->header, bytes);
}

int byre_luks_volume_write_new(struct byre_luks_volume *volume, const uint8_t *material, struct byre_error *err)
{
    uint8_t bytes[BYRE_LUKS_HEADER_ROOM];
    int r = byre_store_pwrite(volume->store, material, byre_luks_material_bytes(&volume->header),
                              material_hoff(volume, 0), err);

    serialize(volume, bytes);
    return r < 0 ? r : byre_store_pwrite(volume->store, bytes, sizeof bytes, volume->hoff, err);
}

/* --- changing slots --------------------------------------------------------------------------------------- */

/* Writes a part of the header, durably. */
static int settle(struct byre_luks_volume *volume, uint32_t at, uint32_t length, struct byre_error *err)
{
    uint8_t bytes[BYRE_LUKS_HEADER_ROOM];
    int r;

    serialize(volume, bytes);
    r = byre_store_pwrite(volume->store, bytes + at, length, volume->hoff + at, err);
    return r < 0 ? r : byre_store_flush(volume->store, err);
}

/* The sector with the word that says whether the slot is active (L3). */
static int settle_state(struct byre_luks_volume *volume, unsigned slot, struct byre_error *err)
{
    return settle(volume, (uint32_t)byre_round_down(byre_luks_slot_at(slot), SECTOR), SECTOR, err);
}

static int write_material(struct byre_luks_volume *volume, unsigned slot, const uint8_t *material,
                          struct byre_error *err)
{
    int r = byre_store_pwrite(volume->store, material, byre_luks_material_bytes(&volume->header),
                              material_hoff(volume, slot), err);

    return r < 0 ? r : byre_store_flush(volume->store, err);
}

/* L2.  After a failure the slot is what the file may say at best: inactive. */
static int erase_slot(struct byre_luks_volume *volume, unsigned slot, struct byre_error *err)
{
    struct byre_luks_slot *s = &volume->header.slots[slot];
    uint32_t bytes = byre_luks_material_bytes(&volume->header);
    CLEANUP(free_ptr) uint8_t *noise = malloc(bytes);
    int r = noise ? byre_luks_random(noise, bytes, err) : byre_error_set_errno(err, -ENOMEM, "key material");

    if (r < 0)
        return r;
    s->active = false;
    r = settle_state(volume, slot, err);
    s->iterations = 0;
    memset(s->salt, 0, sizeof s->salt);
    if (r == 0)
        r = settle(volume, 0, BYRE_LUKS_HEADER_ROOM, err);
    if (r == 0)
        r = write_material(volume, slot, noise, err);
    return r;
}

/* L1.  The slot is inactive. */
static int fill_slot(struct byre_luks_volume *volume, unsigned slot, const struct byre_luks_change *change,
                     struct byre_error *err)
{
    struct byre_luks_slot *s = &volume->header.slots[slot];
    CLEANUP(free_ptr) uint8_t *material = malloc(byre_luks_material_bytes(&volume->header));
    int r;

    if (!material)
        return byre_error_set_errno(err, -ENOMEM, "key material");
    r = byre_luks_slot_seal(&volume->header, slot, volume->master, change->password, change->iter_time, material, err);
    if (r < 0)
        return r;
    s->active = false;
    r = write_material(volume, slot, material, err);
    if (r == 0)
        r = settle(volume, 0, BYRE_LUKS_HEADER_ROOM, err);
    if (r < 0)
        return r;
    s->active = true;
    r = settle_state(volume, slot, err);
    if (r < 0)
        s->active = false;
    return r;
}

static unsigned count_active(const struct byre_luks_volume *volume)
{
    unsigned count = 0;

    for (unsigned i = 0; i < BYRE_LUKS_SLOTS; i++)
        count += volume->header.slots[i].active;
    return count;
}

/* A slot that is not active, or -1. */
static int free_slot(const struct byre_luks_volume *volume)
{
    for (unsigned i = 0; i < BYRE_LUKS_SLOTS; i++) {
        if (!volume->header.slots[i].active)
            return (int)i;
    }
    return -1;
}

static int check_slot(const struct byre_luks_change *change, struct byre_error *err)
{
    if (change->slot >= -1 && change->slot < (int)BYRE_LUKS_SLOTS)
        return 0;
    return byre_error_set(err, -EINVAL, "Invalid keyslot %d specified, must be between 0 and %u", change->slot,
                          BYRE_LUKS_SLOTS - 1);
}

/* A new password for an active slot.  In between it is in a free one, too: the disk can be unlocked all the time. */
static int overwrite(struct byre_luks_volume *volume, unsigned slot, const struct byre_luks_change *change,
                     struct byre_error *err)
{
    int spare = free_slot(volume);
    int r = spare >= 0 ? fill_slot(volume, (unsigned)spare, change, err) : 0;

    if (r == 0)
        r = erase_slot(volume, slot, err);
    if (r == 0)
        r = fill_slot(volume, slot, change, err);
    if (r == 0 && spare >= 0)
        r = erase_slot(volume, (unsigned)spare, err);
    return r;
}

static int activate(struct byre_luks_volume *volume, const struct byre_luks_change *change, struct byre_error *err)
{
    int slot = change->slot;
    int r;

    if (!change->password)
        return byre_error_set(err, -EINVAL, "'new-secret' is required to activate a keyslot");
    if (change->old_password)
        return byre_error_set(err, -EINVAL, "'old-secret' must not be given when activating keyslots");
    r = check_slot(change, err);
    if (r < 0)
        return r;
    if (slot < 0)
        slot = free_slot(volume);
    if (slot < 0)
        return byre_error_set(err, -EINVAL, "Can't add a keyslot - all keyslots are in use");
    if (volume->header.slots[slot].active && !change->force)
        return byre_error_set(err, -EINVAL, "Refusing to overwrite active keyslot %d - please erase it first", slot);
    if (change->dry_run)
        return 0;
    if (!volume->header.slots[slot].active)
        return fill_slot(volume, (unsigned)slot, change, err);
    return overwrite(volume, (unsigned)slot, change, err);
}

/* Does the password open the slot?  1, 0, or a negative errno. */
static int matches(const struct byre_luks_volume *volume, unsigned slot, const struct byre_secret *password,
                   struct byre_error *err)
{
    struct byre_secret *master = NULL;
    int r = volume->header.slots[slot].active ? try_slot(volume, slot, password, &master, err) : 0;

    byre_secret_free(master);
    return r;
}

static int erase_one(struct byre_luks_volume *volume, const struct byre_luks_change *change, struct byre_error *err)
{
    unsigned slot = (unsigned)change->slot;
    int r = check_slot(change, err);

    if (r == 0 && change->old_password) {
        r = matches(volume, slot, change->old_password, err);
        if (r == 0)
            return byre_error_set(err, -EINVAL, "Given keyslot %u doesn't contain the given old password for erase "
                                  "operation", slot);
    }
    if (r < 0)
        return r;
    if (!volume->header.slots[slot].active && !change->force)
        return byre_error_set(err, -EINVAL, "Given keyslot %u is already erased (inactive) ", slot);
    if (volume->header.slots[slot].active && count_active(volume) == 1 && !change->force)
        return byre_error_set(err, -EINVAL, "Attempt to erase the only active keyslot %u which will erase all the data "
                              "in the image irreversibly - refusing operation", slot);
    return change->dry_run ? 0 : erase_slot(volume, slot, err);
}

static int erase_matching(struct byre_luks_volume *volume, const struct byre_luks_change *change,
                          struct byre_error *err)
{
    bool found[BYRE_LUKS_SLOTS];
    unsigned count = 0;

    for (unsigned i = 0; i < BYRE_LUKS_SLOTS; i++) {
        int r = matches(volume, i, change->old_password, err);

        if (r < 0)
            return r;
        found[i] = r > 0;
        count += found[i];
    }
    if (count == 0)
        return byre_error_set(err, -EINVAL, "No keyslots match given (old) password for erase operation");
    if (count == count_active(volume) && !change->force)
        return byre_error_set(err, -EINVAL, "All the active keyslots match the (old) password that was given and "
                              "erasing them will erase all the data in the image irreversibly - refusing operation");
    for (unsigned i = 0; i < BYRE_LUKS_SLOTS && !change->dry_run; i++) {
        int r = found[i] ? erase_slot(volume, i, err) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

static int erase(struct byre_luks_volume *volume, const struct byre_luks_change *change, struct byre_error *err)
{
    if (change->password)
        return byre_error_set(err, -EINVAL, "'new-secret' must not be given when erasing keyslots");
    if (change->iter_time)
        return byre_error_set(err, -EINVAL, "'iter-time' must not be given when erasing keyslots");
    if (change->slot != -1)
        return erase_one(volume, change, err);
    if (change->old_password)
        return erase_matching(volume, change, err);
    return byre_error_set(err, -EINVAL, "To erase keyslot(s), either explicit keyslot index or the password currently "
                          "contained in them must be given");
}

int byre_luks_volume_change(struct byre_luks_volume *volume, const struct byre_luks_change *change,
                            struct byre_error *err)
{
    if (!volume->master)
        return byre_error_set(err, -EINVAL, "the volume is locked");
    return change->activate ? activate(volume, change, err) : erase(volume, change, err);
}
