/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replacing what lies behind the fixed part of the header: extensions, and with them the backing file's name.
 *
 * Invariants
 *   H1. A sector is old or new after a crash, and sectors reach the medium in any order until a barrier.  At each
 *       moment the header on the medium is the old one or the new one, whatever of the last step is there.
 *   H2. Mostly it takes one sector, or two of which one is not looked at before (or any more after) the other is
 *       written.  Where it does not, the new contents are first written to an unused part of the header cluster; an
 *       extension of a type that nobody knows, in sector 0, makes readers skip to it; and then the old place is free.
 *   H3. Fixed fields are left as they are, apart from the place of the backing file's name and the autoclear bits:
 *       they may be ahead in memory.  Only where memory equals file, all of them are replaced; they are in sector 0.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/header_replace.h"
#include "qcow2/image.h"

#define SECTOR 512u
#define AT_BACKING 8 /* offset (8), length (4) */
#define AT_BACKING_END 20
#define EXTENSION_HEAD 8u

/* Bytes of the header cluster that mean something: extensions with their end mark, and the backing file's name. */
struct used {
    uint64_t area, area_end, name, name_end;
};

struct replacement {
    struct byre_store *store;
    uint8_t *before, *after; /* `size` bytes each; owned */
    uint32_t size, header_length; /* the new one */
    bool all;                     /* the fixed fields, too */
    struct used old, new;
    bool started; /* something in use may have been written to */
};

static struct used used_of(const struct byre_qcow2_header *header, const uint8_t *bytes, uint32_t size)
{
    struct used used = { .area = header->header_length, .name = byre_get_be64(bytes + AT_BACKING) };
    uint64_t at = used.area;

    for (size_t i = 0; i < header->extension_count; i++)
        at += EXTENSION_HEAD + byre_round_up(header->extensions[i].length, 8);
    used.area_end = MIN(at + EXTENSION_HEAD, (uint64_t)size);
    used.name_end = used.name + byre_get_be32(bytes + AT_BACKING + 8);
    return used;
}

static bool overlaps(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
    return a < b_end && b < a_end;
}

/* Does any byte behind sector 0 that changes mean something according to `used`? */
static bool touches(const struct replacement *r, const struct used *used)
{
    for (uint32_t i = SECTOR; i < r->size; i++) {
        if (r->before[i] != r->after[i] &&
            (overlaps(i, i + 1ULL, used->area, used->area_end) || overlaps(i, i + 1ULL, used->name, used->name_end)))
            return true;
    }
    return false;
}

static bool differs(const struct replacement *r, uint32_t at)
{
    return memcmp(r->before + at, r->after + at, SECTOR) != 0;
}

/* Writes those sectors behind the first that differ. */
static int write_rest(const struct replacement *r, struct byre_error *err)
{
    int rc = 0;

    for (uint32_t at = SECTOR; rc == 0 && at < r->size; at += SECTOR) {
        if (differs(r, at))
            rc = byre_store_pwrite(r->store, r->after + at, SECTOR, at, err);
    }
    return rc == 0 ? byre_store_flush(r->store, err) : rc;
}

static int write_first(const struct replacement *r, const uint8_t *sector, struct byre_error *err)
{
    int rc = byre_store_pwrite(r->store, sector, SECTOR, 0, err);

    return rc == 0 ? byre_store_flush(r->store, err) : rc;
}

/* By way of an unused part of the cluster.  -ENOSPC, and nothing is done, if that is too small. */
static int replace_in_steps(struct replacement *r, struct byre_error *err)
{
    uint64_t room = MAX(MAX(r->old.area_end, r->old.name_end), MAX(r->new.area_end, r->new.name_end));
    uint64_t area = r->new.area_end - r->new.area, name = r->new.name_end - r->new.name;
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    uint8_t sector[SECTOR];
    uint64_t length;
    int rc;

    room = byre_round_up(MAX(room, (uint64_t)SECTOR), SECTOR);
    length = byre_round_up(area + name, SECTOR);
    if (!byre_range_within(room, length, r->size) || r->header_length + EXTENSION_HEAD > SECTOR)
        return byre_error_set(err, -ENOSPC, "'%s': no room in the header cluster of %u bytes to replace %llu bytes of "
                              "header extensions safely", r->store->name, r->size, (unsigned long long)area);
    bytes = calloc(1, length);
    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "header extensions");
    r->started = true;
    memcpy(bytes, r->after + r->new.area, area);
    memcpy(bytes + area, r->after + r->new.name, name);
    memcpy(sector, r->after, SECTOR);
    byre_put_be32(sector + r->header_length, BYRE_QCOW2_EXT_FILLER);
    byre_put_be32(sector + r->header_length + 4, (uint32_t)(room - r->header_length - EXTENSION_HEAD));
    if (name)
        byre_put_be64(sector + AT_BACKING, room + area);
    rc = byre_store_pwrite(r->store, bytes, length, room, err);
    if (rc == 0)
        rc = byre_store_flush(r->store, err);
    if (rc == 0)
        rc = write_first(r, sector, err);
    if (rc == 0)
        rc = write_rest(r, err);
    if (rc == 0)
        rc = write_first(r, r->after, err);
    memset(bytes, 0, length);
    return rc == 0 ? byre_store_pwrite(r->store, bytes, length, room, err) : rc;
}

static int replace(struct replacement *r, struct byre_error *err)
{
    bool first = differs(r, 0);
    unsigned rest = 0;
    int rc;

    for (uint32_t at = SECTOR; at < r->size; at += SECTOR)
        rest += differs(r, at);
    r->started = rest == 0 || !touches(r, &r->old) || !touches(r, &r->new) || (!first && rest == 1);
    if (rest == 0)
        return first ? write_first(r, r->after, err) : 0;
    if (!first && rest == 1)
        return write_rest(r, err);
    if (!touches(r, &r->old)) {
        rc = write_rest(r, err);
        return rc == 0 && first ? write_first(r, r->after, err) : rc;
    }
    if (!touches(r, &r->new)) {
        rc = write_first(r, r->after, err);
        return rc == 0 ? write_rest(r, err) : rc;
    }
    return replace_in_steps(r, err);
}

/* What the cluster shall hold; the fixed fields are those of the file. */
static int make_after(struct replacement *r, const struct byre_qcow2_header *next, struct byre_error *err)
{
    uint8_t backing[AT_BACKING_END - AT_BACKING], autoclear[8];
    int rc = byre_qcow2_header_serialize(next, true, r->after, r->size, err);

    if (rc < 0)
        return rc;
    memcpy(backing, r->after + AT_BACKING, sizeof backing);
    memcpy(autoclear, r->after + BYRE_QCOW2_AT_AUTOCLEAR, sizeof autoclear);
    if (r->all)
        return 0;
    memcpy(r->after, r->before, r->header_length);
    memcpy(r->after + AT_BACKING, backing, sizeof backing);
    if (next->version >= 3)
        memcpy(r->after + BYRE_QCOW2_AT_AUTOCLEAR, autoclear, sizeof autoclear);
    return 0;
}

/* The part of the cluster that is beyond the end of the file reads as zero. */
static int prepare(struct replacement *r, const struct byre_qcow2 *image, const struct byre_qcow2_header *next,
                   struct byre_error *err)
{
    int rc;

    r->before = malloc(r->size);
    r->after = malloc(r->size);
    if (!r->before || !r->after)
        return byre_error_set_errno(err, -ENOMEM, "header");
    rc = byre_store_pread(image->store, r->before, r->size, 0, err);
    if (rc == 0)
        rc = make_after(r, next, err);
    if (rc < 0)
        return rc;
    r->old = used_of(&image->header, r->before, r->size);
    r->new = used_of(next, r->after, r->size);
    return 0;
}

static int replace_header(struct byre_qcow2 *image, const struct byre_qcow2_header *next, bool all,
                          struct byre_error *err)
{
    struct replacement r = {
        .store = image->store, .size = image->cluster_size, .header_length = next->header_length, .all = all,
    };
    int rc;

    while (image->commit_running)
        pthread_cond_wait(&image->commit_done, &image->mutex);
    rc = prepare(&r, image, next, err);
    if (rc == 0) {
        rc = replace(&r, err);
        if (rc < 0 && r.started)
            byre_poison_locked(image, rc);
    }
    free(r.before);
    free(r.after);
    return rc;
}

int byre_header_replace_locked(struct byre_qcow2 *image, const struct byre_qcow2_header *next, struct byre_error *err)
{
    return replace_header(image, next, false, err);
}

int byre_header_replace_all_locked(struct byre_qcow2 *image, const struct byre_qcow2_header *next,
                                   struct byre_error *err)
{
    return replace_header(image, next, true, err);
}

/* --- variants of the header ------------------------------------------------------------------------------ */

static void free_extensions(struct byre_qcow2_header *header)
{
    for (size_t i = 0; i < header->extension_count; i++)
        free(header->extensions[i].data);
    free(header->extensions);
    header->extensions = NULL;
    header->extension_count = 0;
}

int byre_header_variant(const struct byre_qcow2_header *header, uint32_t type, const void *data, uint32_t length,
                        struct byre_qcow2_header *ret_variant, struct byre_error *err)
{
    struct byre_qcow2_header variant = *header;
    bool placed = !data;
    int rc = 0;

    variant.extensions = NULL;
    variant.extension_count = 0;
    for (size_t i = 0; rc == 0 && i < header->extension_count; i++) {
        const struct byre_qcow2_extension *old = &header->extensions[i];

        if (old->type == BYRE_QCOW2_EXT_FILLER)
            continue;
        if (old->type != type) {
            rc = byre_qcow2_header_add_extension(&variant, old->type, old->data, old->length);
        } else if (!placed) {
            rc = byre_qcow2_header_add_extension(&variant, type, data, length);
            placed = true;
        }
    }
    if (rc == 0 && !placed)
        rc = byre_qcow2_header_add_extension(&variant, type, data, length);
    if (rc < 0) {
        free_extensions(&variant);
        return byre_error_set_errno(err, rc, "header extensions");
    }
    *ret_variant = variant;
    return 0;
}

void byre_header_variant_done(struct byre_qcow2_header *variant)
{
    free_extensions(variant);
}

void byre_header_take_variant(struct byre_qcow2_header *header, struct byre_qcow2_header *variant)
{
    free_extensions(header);
    header->extensions = variant->extensions;
    header->extension_count = variant->extension_count;
    header->autoclear = variant->autoclear;
    variant->extensions = NULL;
    variant->extension_count = 0;
}
