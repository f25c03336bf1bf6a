/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Judging what a guest finds: in the open image, in a closed one, and after every crash.
 *
 * The reader is as little of the engine as possible: the checker first, then a read-only open, a map, and
 * plain reads of the store.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/disk.h"
#include "effort.h"
#include "guest.h"
#include "pair_store.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "qemu_check.h"

enum { SECTOR = RECORD_SECTOR, GO_ON_EVERY = 16 };

/* One look at one store. */
struct look {
    struct guest *guest;
    struct byre_store *store, *data; /* of the image, and of a data file */
    size_t flush; /* the flushes before this one are promised */
    size_t end;   /* calls that were made */
    bool now;     /* no crash: everything that was completed counts, flushed or not */
    char report[1024];
};

static int complain(struct look *look, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int complain(struct look *look, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(look->report, sizeof look->report, fmt, args);
    va_end(args);
    return -1;
}

/* --- what may be there --- */

static bool is_covered(const struct look *look, const struct guest_op *op)
{
    return op->ok && (look->now || op->covered < look->flush || (op->durable && op->done <= look->end));
}

static bool covers(const struct guest_op *op, uint64_t goff, uint64_t length)
{
    return op->goff <= goff && op->goff + op->length >= goff + length;
}

static bool touches(const struct guest_op *op, uint64_t goff, uint64_t length)
{
    return op->length && op->goff < goff + length && goff < op->goff + op->length;
}

/* What the operation makes of [goff, goff+length), whose bytes are at `bytes`. */
static void apply(const struct guest_op *op, uint8_t *bytes, uint64_t goff, uint64_t length)
{
    uint64_t from = MAX(goff, op->goff), to = MIN(goff + length, op->goff + op->length);

    if (from >= to)
        return;
    if (op->bytes)
        memcpy(bytes + (from - goff), op->bytes + (from - op->goff), to - from);
    else
        memset(bytes + (from - goff), 0, to - from);
}

static void find_base(const struct look *look)
{
    struct guest *guest = look->guest;
    size_t flush = look->now ? SIZE_MAX - 1 : look->flush, durable = 0;

    for (size_t i = 0; i < guest->ops.len; i++)
        durable += guest->ops.ptr[i].durable && guest->ops.ptr[i].done <= look->end;
    if (guest->base_flush == flush && guest->base_ops == guest->ops.len && guest->base_durable == durable)
        return;
    memcpy(guest->base, guest->first, guest->options.size);
    for (size_t i = 0; i < guest->ops.len; i++) {
        if (is_covered(look, &guest->ops.ptr[i]))
            apply(&guest->ops.ptr[i], guest->base, 0, guest->options.size);
    }
    guest->base_flush = flush;
    guest->base_durable = durable;
    guest->base_ops = guest->ops.len;
}

/* Whose bytes are they?  For the report. */
static const char *find_origin(const struct guest *guest, const uint8_t *found, uint64_t length, char *text,
                               size_t room)
{
    const uint8_t *at = memmem(guest->first, guest->options.size, found, MIN(length, (uint64_t)16));

    if (at)
        snprintf(text, room, "at first at %#llx", (unsigned long long)(at - guest->first));
    else
        snprintf(text, room, "of no operation");
    for (size_t i = 0; i < guest->ops.len; i++) {
        const struct guest_op *op = &guest->ops.ptr[i];

        at = op->bytes ? memmem(op->bytes, op->length, found, MIN(length, (uint64_t)16)) : NULL;
        if (at)
            snprintf(text, room, "of operation %zu (from call %zu on), at %#llx", i, op->start,
                     (unsigned long long)(op->goff + (uint64_t)(at - op->bytes)));
    }
    return text;
}

/* Is the sector what one of the operations that may have happened made of it? */
static int judge_sector(struct look *look, uint64_t goff, uint64_t length, const uint8_t *found)
{
    struct guest *guest = look->guest;
    uint8_t version[SECTOR];
    bool allowed[SECTOR] = { false }, torn = false;
    size_t candidates = 0, first = 0;
    char origin[120];

    /* What failed has no say any more where something later is promised. */
    for (size_t i = 0; i < guest->ops.len; i++) {
        if (is_covered(look, &guest->ops.ptr[i]) && covers(&guest->ops.ptr[i], goff, length))
            first = i;
    }
    memcpy(version, guest->base + goff, length);
    for (size_t i = first; i <= guest->ops.len; i++) {
        const struct guest_op *op = i < guest->ops.len ? &guest->ops.ptr[i] : NULL;

        if (memcmp(version, found, length) == 0)
            return 0;
        for (uint64_t b = 0; b < length; b++)
            allowed[b] |= version[b] == found[b];
        if (!op || is_covered(look, op) || op->start >= look->end || !touches(op, goff, length))
            continue;
        candidates++;
        torn |= !covers(op, goff, length) || !op->ok;
        apply(op, version, goff, length);
    }
    for (uint64_t b = 0; b < length; b++) {
        if (!torn || !allowed[b])
            return complain(look, "guest offset %#llx: bytes %s; allowed are those of %s and %zu later"
                                  " operations",
                            (unsigned long long)(goff + (torn ? b : 0)),
                            find_origin(guest, found, length, origin, sizeof origin),
                            look->now ? "now" : "the last flush", candidates);
    }
    return 0;
}

static bool is_spoiled(const struct guest *guest, uint64_t goff)
{
    return goff >= guest->options.spoiled_goff && goff - guest->options.spoiled_goff < guest->options.spoiled_length;
}

static int judge_contents(struct look *look, const uint8_t *found)
{
    uint64_t size = look->guest->options.size;
    int rc = 0;

    find_base(look);
    for (uint64_t goff = 0; rc == 0 && goff < size; goff += SECTOR) {
        uint64_t length = MIN(size - goff, (uint64_t)SECTOR);

        if (memcmp(look->guest->base + goff, found + goff, length) != 0 && !is_spoiled(look->guest, goff))
            rc = judge_sector(look, goff, length, found + goff);
    }
    return rc;
}

/* --- what is there --- */

static int read_compressed(struct byre_qcow2 *image, const struct byre_extent *extent, uint8_t *to,
                           struct byre_error *err)
{
    uint32_t cluster = 1u << byre_qcow2_header(image)->cluster_bits;
    CLEANUP(free_ptr) uint8_t *bytes = malloc(cluster);
    int rc = byre_qcow2_read_compressed(image, extent->hoff, extent->stored, bytes, err);

    if (rc == 0)
        memcpy(to, bytes + extent->goff % cluster, extent->length);
    return rc;
}

static int read_extent(const struct look *look, struct byre_qcow2 *image, const struct byre_extent *extent,
                       uint8_t *to, struct byre_error *err)
{
    uint64_t below = look->guest->options.backing_size, within;

    memset(to, 0, extent->length);
    switch (extent->kind) {
    case BYRE_EXTENT_DATA:
        return byre_store_pread(byre_qcow2_data(image), to, extent->length, extent->hoff, err);
    case BYRE_EXTENT_COMPRESSED:
        return read_compressed(image, extent, to, err);
    case BYRE_EXTENT_HOLE:
        within = extent->goff < below ? MIN(below - extent->goff, extent->length) : 0;
        guest_pattern(to, extent->goff, within, 0);
        return 0;
    default:
        return 0;
    }
}

/* The size that was promised last, or one that may have been reached since. */
static int judge_size(struct look *look, uint64_t size)
{
    const struct guest *guest = look->guest;
    bool possible = size == guest->base_size;

    for (size_t i = 0; i < guest->growths.len; i++) {
        const struct guest_growth *growth = &guest->growths.ptr[i];

        if (growth->start >= look->end)
            continue;
        if (growth->ok && growth->done <= look->end)
            possible = false;
        possible |= size == growth->size;
    }
    return possible ? 0 : complain(look, "the disk has %llu bytes", (unsigned long long)size);
}

static int look_at_image(struct look *look, struct byre_qcow2 *image)
{
    uint64_t whole = look->guest->options.size, size = byre_qcow2_header(image)->size, at = 0;
    uint8_t *found = look->guest->found;
    struct byre_error err = BYRE_ERROR_INIT;
    byre_extent_vec extents = VEC_INIT;
    int rc = judge_size(look, size);

    if (rc < 0)
        return rc;
    memset(found + size, 0, whole - size);
    rc = byre_qcow2_map(image, 0, size, &extents, &err);
    for (size_t i = 0; rc == 0 && i < extents.len; i++) {
        const struct byre_extent *extent = &extents.ptr[i];

        if (extent->goff != at || extent->length == 0 || extent->length > size - at)
            rc = byre_error_set(&err, -EIO, "extent %zu has a gap before it or is too long", i);
        else
            rc = read_extent(look, image, extent, found + at, &err);
        at += extent->length;
    }
    vec_done(&extents);
    if (rc == 0 && at != size)
        rc = byre_error_set(&err, -EIO, "the map ends at %llu", (unsigned long long)at);
    return rc < 0 ? complain(look, "reading: %s", err.text) : judge_contents(look, found);
}

static int give_data(void *opaque, const struct byre_qcow2_header *header, struct byre_store **ret_data,
                     struct byre_error *err)
{
    const struct look *look = opaque;

    (void)header;
    (void)err;
    *ret_data = look->data;
    return 0;
}

static struct byre_qcow2_open_options open_options(struct look *look, bool writable)
{
    return (struct byre_qcow2_open_options){
        .writable = writable,
        .password = guest_password(look->guest),
        .open_data = look->data ? give_data : NULL,
        .opaque = look,
    };
}

/* A raw data file reads as the disk does, without the image. */
static int look_at_raw(struct look *look, uint64_t size)
{
    uint8_t *found = look->guest->found;
    int rc;

    memset(found, 0, look->guest->options.size);
    rc = byre_store_pread(look->data, found, size, 0, NULL);
    return rc < 0 ? complain(look, "reading the data file: %d", rc) : judge_contents(look, found);
}

static int look_at_store(struct look *look)
{
    struct byre_qcow2_open_options options = open_options(look, false);
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image;
    int rc = byre_qcow2_open(look->store, &options, &image, &err);

    if (rc < 0)
        return complain(look, "opening: %s", err.text);
    rc = look_at_image(look, image);
    if (rc == 0 && look->guest->options.data == GUEST_DATA_RAW && !look->guest->options.encrypted)
        rc = look_at_raw(look, byre_qcow2_header(image)->size);
    byre_qcow2_close(image, NULL);
    return rc;
}

static void note(void *opaque, const char *line)
{
    struct look *look = opaque;
    size_t used = strlen(look->report);

    snprintf(look->report + used, sizeof look->report - used, "%s; ", line);
}

/* One check of the store, in full. */
static int check(struct look *look, unsigned repair, bool tidy, uint64_t *ret_incompatible)
{
    struct byre_check_options options = { .report = note, .opaque = look };
    struct byre_check_result result;
    struct byre_qcow2_header header = { 0 };
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_qcow2_header_read(look->store, &header, &err);

    look->report[0] = '\0';
    if (rc == 0)
        rc = byre_qcow2_check(look->store, &header, repair, &options, &result, &err);
    *ret_incompatible = header.incompatible;
    byre_qcow2_header_done(&header);
    if (rc < 0)
        return complain(look, "checking: %s", err.text);
    if (result.corruptions > look->guest->options.corruptions || result.check_errors)
        return -1;
    return tidy && result.leaks ? -1 : 0;
}

/* Free of corruption, once what a dirty image is excused for is mended? */
static int judge_metadata(struct look *look, bool tidy)
{
    uint64_t incompatible;
    int rc = check(look, 0, tidy, &incompatible);

    if (rc == 0 || !(incompatible & BYRE_QCOW2_INCOMPAT_DIRTY))
        return rc;
    rc = check(look, BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS, true, &incompatible);
    return rc < 0 ? rc : check(look, 0, true, &incompatible);
}

static int outcome(const struct look *look, int rc, const char *when)
{
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", when, look->report);
    return rc;
}

/* What the disk reads, with its own map. */
static int look_at_disk(struct look *look)
{
    uint64_t whole = look->guest->options.size, size = byre_get_size(look->guest->disk);
    uint8_t *found = look->guest->found;
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_pread(look->guest->disk, found, size, 0, &err);

    memset(found + size, 0, whole - size);
    return rc < 0 ? complain(look, "reading: %s", err.text) : judge_contents(look, found);
}

int guest_compare(struct guest *guest)
{
    struct look look = { .guest = guest, .store = guest->store, .now = true, .end = SIZE_MAX };
    int rc = look_at_image(&look, guest->image);

    if (rc == 0 && guest->disk)
        rc = look_at_disk(&look);
    return outcome(&look, rc, "the open image");
}

int guest_compare_killed(struct guest *guest)
{
    struct look look = {
        .guest = guest, .store = guest_image_store(guest), .data = guest->data, .flush = guest->flushes.len,
        .end = SIZE_MAX,
    };

    while (look.flush && !guest->flushes.ptr[look.flush - 1].ok)
        look.flush--;
    return outcome(&look, look_at_store(&look), "the image that was not closed");
}

int guest_check(struct guest *guest, bool tidy)
{
    struct look look = { .guest = guest, .store = guest_image_store(guest) };

    return outcome(&look, judge_metadata(&look, tidy), "the image");
}

/* --- crashes --- */

/* How many flushes are promised when the crash comes after `end` calls; SIZE_MAX: not even the image is. */
static size_t promised(const struct guest *guest, size_t end)
{
    size_t flush = guest->options.unsealed ? SIZE_MAX : 0;

    for (size_t i = 0; i < guest->flushes.len; i++) {
        if (guest->flushes.ptr[i].ok && guest->flushes.ptr[i].done <= end)
            flush = i + 1;
    }
    return flush;
}

/* Is there an image, and is it one with the dirty bit? */
static bool is_image(struct byre_store *store, bool *ret_dirty)
{
    struct byre_qcow2_header header = { 0 };
    int rc = byre_qcow2_header_read(store, &header, NULL);

    *ret_dirty = header.incompatible & BYRE_QCOW2_INCOMPAT_DIRTY;
    byre_qcow2_header_done(&header);
    return rc == 0;
}

static const char *kind_name(enum record_kind kind)
{
    static const char *const names[] = {
        "read", "write", "zero", "discard", "allocate", "truncate", "flush",
    };

    return names[byre_log2(kind)];
}

static void print_state(const struct guest *guest, const struct look *look, const struct crash_state *state)
{
    size_t from = state->durable > 12 ? state->durable - 12 : 0;

    fprintf(stderr, "after a crash: %s\n  (%s)\n", look->report, state->text);
    for (size_t i = from; i < state->end; i++) {
        const struct record_call *call = record_store_call(guest->store, i);

        fprintf(stderr, "  %zu: %s %#llx %#llx\n", i, kind_name(call->kind), (unsigned long long)call->hoff,
                (unsigned long long)call->length);
    }
}

/* What is left can be worked with: clusters that leaked are only lost, and never handed out twice. */
static int go_on(struct look *look)
{
    struct byre_qcow2_open_options options = open_options(look, true);
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image;
    uint8_t bytes[SECTOR];
    int rc = byre_qcow2_open(look->store, &options, &image, &err);

    for (uint64_t goff = 0; rc == 0 && goff < byre_qcow2_header(image)->size; goff += 3 * SECTOR) {
        struct iovec iov = { bytes, MIN(byre_qcow2_header(image)->size - goff, (uint64_t)SECTOR) };

        guest_pattern(bytes, goff, iov.iov_len, 0);
        rc = byre_qcow2_writev(image, goff, &iov, 1, iov.iov_len, &err);
    }
    if (rc == 0)
        rc = byre_qcow2_close(image, &err);
    if (rc < 0)
        return complain(look, "going on: %s", err.text);
    return judge_metadata(look, false);
}

static int visit_image(struct look *look, const struct crash_state *state)
{
    struct guest *guest = look->guest;
    bool dirty = false, image = is_image(look->store, &dirty);
    int rc;

    effort_count(EFFORT_STATES, 1);
    look->flush = promised(guest, state->end);
    if (look->flush == SIZE_MAX) {
        /* A new image appears all at once. */
        if (!image)
            return 0;
        look->flush = 1;
    }
    /* qemu-img check would want the data file. */
    rc = guest->options.corruptions || look->data
             ? 0
             : qemu_check(look->store, guest->options.backing_size, dirty, look->report, sizeof look->report);
    if (rc == 0)
        rc = judge_metadata(look, false);
    if (rc == 0)
        rc = look_at_store(look);
    if (rc == 0 && guest->states++ % GO_ON_EVERY == 0 && !guest->options.corruptions)
        rc = go_on(look);
    if (rc < 0)
        print_state(guest, look, state);
    return rc;
}

static int visit(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    struct guest *guest = opaque;
    struct look look = { .guest = guest, .store = after, .end = state->end };
    uint64_t offset = guest_data_offset(guest), size = 0;
    int rc = 0;

    if (guest->data) {
        rc = byre_store_size(after, &size, NULL);
        if (rc == 0)
            rc = pair_part_new(after, 0, offset, &look.store);
        if (rc == 0)
            rc = pair_part_new(after, offset, size - offset, &look.data);
    }
    if (rc == 0)
        rc = visit_image(&look, state);
    if (guest->data) {
        byre_store_close(look.data);
        byre_store_close(look.store == after ? NULL : look.store);
    }
    return rc;
}

int guest_crash(struct guest *guest, const struct crash_options *options)
{
    if (guest->data && pair_data_settle(guest->data) < 0)
        return -1;
    return crash_states_each(guest->store, options, visit, guest, NULL);
}
