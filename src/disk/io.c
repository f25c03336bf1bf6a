/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading and writing a disk: map, then move.
 *
 *   R1. Who reads or writes at host offsets of layer 0 is in the epoch since before it mapped them.
 *   R2. The fast path writes exclusive data of layer 0 only; whatever else a write meets goes to the
 *       engine, and outside the epoch, so that it does not wait for itself.
 *   R3. After a failed flush, and when the engine has become read-only for another reason, nothing is written any more.
 *   R4. A disk that was taken for raw because nothing else matched stays so: see byre_probe.
 *   R5. A change that shall be durable when its call returns is an ordinary one and a flush, which may join the
 *       commit of others.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "disk/disk.h"
#include "disk/filter.h"
#include "disk/flat_map.h"
#include "disk/inflated.h"
#include "disk/move.h"
#include "disk/open.h"
#include "store/event.h"

enum {
    BATCH = 32,  /* extents that are looked up at a time */
    PIECES = 64, /* buffers that are written at a time */
    COUNTS_MAX = 16 << 20, /* bytes of refcounts that are looked at, or as many as the file has on the medium */
};

/* What a write takes its bytes from. */
struct source {
    const struct iovec *iov;
    int count;
    uint64_t length;
};

static int check_range(const struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err)
{
    if (byre_range_within(goff, length, disk->size))
        return 0;
    return byre_error_set(err, -EINVAL, "'%s': %" PRIu64 " bytes at offset %" PRIu64
                          " pass the end of the disk at %" PRIu64, disk->layers[0].name, length, goff,
                          disk->size);
}

int byre_disk_check_writable(struct byre_disk *disk, struct byre_error *err)
{
    int poisoned = atomic_load(&disk->poisoned);

    if (!disk->writable)
        return byre_error_set(err, -EROFS, "'%s' was opened for reading only", disk->layers[0].name);
    if (disk->map)
        return byre_qcow2_check_writable(disk->layers[0].qcow2, err);
    if (poisoned)
        return byre_error_set(err, -EROFS, "'%s' is read-only since a write to it failed: %s",
                              disk->layers[0].name, strerror(-poisoned));
    return 0;
}

static int check_change(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err)
{
    int r = check_range(disk, goff, length, err);

    return r < 0 ? r : byre_disk_check_writable(disk, err);
}

int byre_disk_finish(struct byre_disk *disk, int r)
{
    /* Not `map`: extents come here outside the gate, and growing makes another one. */
    if (r == -EIO && disk->layers[0].qcow2)
        byre_qcow2_mark_corrupt(disk->layers[0].qcow2);
    return r;
}

/* After a change that returned `r`: makes it durable where it shall be (R5). */
static int complete_change(struct byre_disk *disk, unsigned flags, int r, struct byre_error *err)
{
    if (r == 0 && (disk->write_through || (flags & BYRE_WRITE_FUA)))
        return byre_disk_flush(disk, err);
    return byre_disk_finish(disk, r);
}

/* --- reading -------------------------------------------------------------------------------------------- */

/* Reads the start of the range, a batch of extents; *ret_done is how much that was. */
static int read_batch(struct byre_disk *disk, uint8_t *buf, uint64_t goff, size_t length, size_t *ret_done,
                      struct byre_error *err)
{
    struct byre_extent extents[BATCH];
    uint64_t ticket = byre_epoch_enter(disk->epoch);
    uint64_t purges = byre_inflated_purges(disk->inflated);
    int count = byre_flat_map_lookup(disk->map, goff, length, false, extents, BATCH, err), r = 0;

    *ret_done = 0;
    for (int i = 0; r == 0 && i < count; i++) {
        if (extents[i].layer != 0)
            byre_store_event(disk->layers[0].store, BYRE_EVENT_READ_BACKING_AIO);
        r = byre_disk_move(disk, &extents[i], purges, buf + *ret_done, err);
        *ret_done += extents[i].length;
    }
    byre_epoch_leave(disk->epoch, ticket);
    return count < 0 ? count : r;
}

int byre_pread(struct byre_disk *disk, void *buf, size_t length, uint64_t goff, struct byre_error *err)
{
    GATE_SCOPE(&disk->gate);
    size_t done = 0, part;
    int r = check_range(disk, goff, length, err);

    if (r < 0 || length == 0)
        return r;
    if (!disk->map) {
        byre_store_event(disk->layers[0].store, BYRE_EVENT_READ_AIO);
        return byre_store_pread(disk->layers[0].store, buf, length, goff, err);
    }
    if (disk->copy_on_read)
        r = byre_filter_copy_up(disk, goff, length, err);
    for (; r == 0 && done < length; done += part)
        r = read_batch(disk, (uint8_t *)buf + done, goff + done, length - done, &part, err);
    return byre_disk_finish(disk, r);
}

int byre_preadv(struct byre_disk *disk, const struct iovec *iov, int iov_count, uint64_t goff,
                struct byre_error *err)
{
    uint64_t length;
    int r;

    if (iov_count < 0 || !byre_iov_length(iov, iov_count, &length))
        return byre_error_set(err, -EINVAL, "'%s': bad vector", disk->layers[0].name);
    r = check_range(disk, goff, length, err);
    for (int i = 0; r == 0 && i < iov_count; i++) {
        r = byre_pread(disk, iov[i].iov_base, iov[i].iov_len, goff, err);
        goff += iov[i].iov_len;
    }
    return r;
}

/* --- writing -------------------------------------------------------------------------------------------- */

/* Would the first sector, with these bytes (NULL: zeros) in it, be taken for another format? */
static int check_first_sector(struct byre_disk *disk, const struct source *source, uint64_t goff, uint64_t length,
                              struct byre_error *err)
{
    uint8_t sector[BYRE_SECTOR];
    size_t part = MIN(length, BYRE_SECTOR - goff);
    const char *format;
    int r = byre_store_pread(disk->layers[0].store, sector, sizeof sector, 0, err);

    if (r < 0)
        return r;
    if (source)
        byre_iov_gather(source->iov, source->count, 0, sector + goff, part);
    else
        memset(sector + goff, 0, part);
    format = byre_probe(sector, sizeof sector);
    if (strcmp(format, "raw") == 0)
        return 0;
    byre_error_set_errno(err, -EPERM, "'%s' was taken for raw, and this would make it look like %s",
                         disk->layers[0].name, format);
    byre_error_hint(err, "Specify the 'raw' format explicitly to remove the restrictions.");
    return -EPERM;
}

/* Must the guard be held for a change at `goff`? */
static bool is_guarded(const struct byre_disk *disk, uint64_t goff, uint64_t length)
{
    return disk->layers[0].probed_raw && goff < BYRE_SECTOR && length;
}

static int write_raw(struct byre_disk *disk, const struct source *source, uint64_t goff, struct byre_error *err)
{
    struct byre_store *store = disk->layers[0].store;
    int r;

    byre_store_event(store, BYRE_EVENT_WRITE_AIO);
    if (!is_guarded(disk, goff, source->length))
        return byre_store_pwritev(store, source->iov, source->count, goff, err);
    LOCK_SCOPE(&disk->guard);
    r = check_first_sector(disk, source, goff, source->length, err);
    return r < 0 ? r : byre_store_pwritev(store, source->iov, source->count, goff, err);
}

/* Writes `length` bytes of the source, from `from` on, to the store. */
static int write_part(struct byre_store *store, const struct source *source, uint64_t from, uint64_t length,
                      uint64_t hoff, struct byre_error *err)
{
    struct iovec pieces[PIECES];
    uint64_t part;
    int r = 0;

    for (uint64_t done = 0; r == 0 && done < length; done += part) {
        int count = byre_iov_slice(source->iov, source->count, from + done, length - done, pieces, PIECES, &part);

        r = byre_store_pwritev(store, pieces, count, hoff + done, err);
    }
    return r;
}

/* Writes what comes after the first `from` bytes, as far as it is exclusive data; *ret_done is how much that was. */
static int write_fast(struct byre_disk *disk, const struct source *source, uint64_t from, uint64_t goff,
                      uint64_t *ret_done, struct byre_error *err)
{
    struct byre_extent extents[BATCH];
    uint64_t ticket;
    int r = byre_qcow2_note_change(disk->layers[0].qcow2, goff + from, source->length - from, err), count;

    *ret_done = 0;
    if (r < 0)
        return r;
    ticket = byre_epoch_enter(disk->epoch);
    /* What cannot be looked up is left to the engine, which need not know what lies below a whole cluster. */
    count = byre_flat_map_lookup(disk->map, goff + from, source->length - from, true, extents, BATCH, NULL);
    for (int i = 0; r == 0 && i < count; i++) {
        const struct byre_extent *extent = &extents[i];

        if (extent->kind != BYRE_EXTENT_DATA || extent->layer != 0 || !extent->exclusive)
            break;
        byre_store_event(disk->layers[0].store, BYRE_EVENT_WRITE_AIO);
        r = write_part(disk->layers[0].data, source, from + *ret_done, extent->length, extent->hoff, err);
        *ret_done += extent->length;
    }
    byre_epoch_leave(disk->epoch, ticket);
    return r;
}

/* Writes the rest of the source, from `from` on, through the engine. */
static int write_slow(struct byre_disk *disk, const struct source *source, uint64_t from, uint64_t goff,
                      struct byre_error *err)
{
    struct iovec pieces[PIECES];
    uint64_t part;
    int r = 0;

    for (; r == 0 && from < source->length; from += part) {
        int count = byre_iov_slice(source->iov, source->count, from, source->length - from, pieces, PIECES, &part);

        r = byre_qcow2_writev(disk->layers[0].qcow2, goff + from, pieces, count, part, err);
    }
    return r;
}

static int write_qcow2(struct byre_disk *disk, const struct source *source, uint64_t goff, struct byre_error *err)
{
    uint64_t done = 0, part;
    int r = 0;

    do {
        r = write_fast(disk, source, done, goff, &part, err);
        done += part;
    } while (r == 0 && part && done < source->length);
    return r < 0 ? r : write_slow(disk, source, done, goff, err);
}

static int zero_raw(struct byre_disk *disk, uint64_t goff, uint64_t length, unsigned flags,
                    struct byre_error *err)
{
    struct byre_store *store = disk->layers[0].store;
    int r;

    if (!is_guarded(disk, goff, length))
        return byre_store_write_zeroes(store, goff, length, flags, err);
    LOCK_SCOPE(&disk->guard);
    r = check_first_sector(disk, NULL, goff, length, err);
    return r < 0 ? r : byre_store_write_zeroes(store, goff, length, flags, err);
}

/* The flags of the store that say the same. */
static unsigned store_flags(unsigned flags)
{
    return (flags & BYRE_WRITE_ZEROES_UNMAP ? BYRE_ZERO_UNMAP : 0u) |
           (flags & BYRE_WRITE_ZEROES_NO_FALLBACK ? BYRE_ZERO_NO_FALLBACK : 0u);
}

static int zero_range(struct byre_disk *disk, uint64_t goff, uint64_t length, unsigned flags, struct byre_error *err)
{
    if (disk->map)
        return byre_qcow2_write_zeroes(disk->layers[0].qcow2, goff, length, flags, err);
    return zero_raw(disk, goff, length, store_flags(flags), err);
}

/* Writes to a qcow2 image what is not to be compressed: see byre_filter_compress. */
static int write_plain(struct byre_disk *disk, const uint8_t *buf, size_t length, uint64_t goff,
                       struct byre_error *err)
{
    struct iovec iov = { (void *)buf, length };
    struct source source = { .iov = &iov, .count = 1, .length = length };

    return write_qcow2(disk, &source, goff, err);
}

static int write_source(struct byre_disk *disk, const struct source *source, uint64_t goff, struct byre_error *err)
{
    if (!disk->map)
        return write_raw(disk, source, goff, err);
    if (disk->compress)
        return byre_filter_compress(disk, source->iov, source->count, goff, write_plain, err);
    return write_qcow2(disk, source, goff, err);
}

int byre_pwritev(struct byre_disk *disk, const struct iovec *iov, int iov_count, uint64_t goff, unsigned flags,
                 struct byre_error *err)
{
    struct source source = { .iov = iov, .count = iov_count };
    unsigned zero_flags;
    GATE_SCOPE(&disk->gate);
    int r;

    if (iov_count < 0 || !byre_iov_length(iov, iov_count, &source.length))
        return byre_error_set(err, -EINVAL, "'%s': bad vector", disk->layers[0].name);
    if (flags & ~BYRE_WRITE_FUA)
        return byre_error_set(err, -EINVAL, "unknown flags %#x", flags);
    r = check_change(disk, goff, source.length, err);
    if (r == 0 && byre_filter_finds_zeroes(disk, iov, iov_count, &zero_flags))
        r = zero_range(disk, goff, source.length, zero_flags, err);
    else if (r == 0 && source.length)
        r = write_source(disk, &source, goff, err);
    return complete_change(disk, flags, r, err);
}

int byre_pwrite(struct byre_disk *disk, const void *buf, size_t length, uint64_t goff, struct byre_error *err)
{
    struct iovec iov = { (void *)buf, length };

    return byre_pwritev(disk, &iov, 1, goff, 0, err);
}

int byre_write_compressed(struct byre_disk *disk, const void *buf, size_t length, uint64_t goff,
                          struct byre_error *err)
{
    GATE_SCOPE(&disk->gate);
    int r = check_change(disk, goff, length, err);

    if (r < 0)
        return r;
    if (!disk->map)
        return byre_error_set(err, -ENOTSUP, "'%s': format raw has no compressed clusters", disk->layers[0].name);
    r = byre_qcow2_write_compressed(disk->layers[0].qcow2, goff, buf, length, err);
    return complete_change(disk, 0, r, err);
}

/* --- zeros and discards --------------------------------------------------------------------------------- */

int byre_write_zeroes(struct byre_disk *disk, uint64_t goff, uint64_t length, unsigned flags,
                      struct byre_error *err)
{
    unsigned known = BYRE_WRITE_ZEROES_UNMAP | BYRE_WRITE_FUA | BYRE_WRITE_ZEROES_NO_FALLBACK;
    GATE_SCOPE(&disk->gate);
    int r = check_change(disk, goff, length, err);

    if (r < 0)
        return r;
    if (flags & ~known)
        return byre_error_set(err, -EINVAL, "unknown flags %#x", flags);
    if (length)
        r = zero_range(disk, goff, length, flags, err);
    return complete_change(disk, flags, r, err);
}

/* A hole is made of the whole blocks in the range, where the store can do that; else it is told that nobody needs
 * them. */
static int discard_raw(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err)
{
    struct byre_store *store = disk->layers[0].store;
    uint64_t align = store->limits.discard_align, end = goff + length, size;
    int r = byre_store_size(store, &size, err);

    if (r < 0)
        return r;
    goff = byre_div_up(goff, align) * align;
    end = MIN(end, size) / align * align;
    if (goff >= end)
        return 0;
    r = zero_raw(disk, goff, end - goff, BYRE_ZERO_UNMAP | BYRE_ZERO_NO_FALLBACK, err);
    return r == -ENOTSUP ? byre_store_discard(store, goff, end - goff, err) : r;
}

int byre_discard(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err)
{
    GATE_SCOPE(&disk->gate);
    int r = check_change(disk, goff, length, err);

    if (r == 0 && length && !disk->no_discard)
        r = disk->map ? byre_qcow2_discard(disk->layers[0].qcow2, goff, length, err)
                      : discard_raw(disk, goff, length, err);
    return complete_change(disk, 0, r, err);
}

/* --- the rest ------------------------------------------------------------------------------------------- */

/* A raw disk has nobody else to remember that a flush failed (R3). */
static int flush_raw(struct byre_disk *disk, struct byre_error *err)
{
    int poisoned = atomic_load(&disk->poisoned), r;

    if (poisoned)
        return byre_error_set_errno(err, poisoned, "an earlier flush of '%s' failed", disk->layers[0].name);
    r = byre_store_flush(disk->layers[0].store, err);
    if (r < 0)
        atomic_store(&disk->poisoned, r);
    return r;
}

int byre_disk_flush(struct byre_disk *disk, struct byre_error *err)
{
    if (!disk->writable)
        return 0;
    return disk->map ? byre_qcow2_flush(disk->layers[0].qcow2, err) : flush_raw(disk, err);
}

int byre_flush(struct byre_disk *disk, struct byre_error *err)
{
    GATE_SCOPE(&disk->gate);

    return byre_disk_flush(disk, err);
}

uint64_t byre_get_size(const struct byre_disk *disk)
{
    return disk->size;
}

unsigned byre_layer_count(const struct byre_disk *disk)
{
    return disk->layer_count;
}

const char *byre_layer_name(const struct byre_disk *disk, unsigned layer)
{
    return layer < disk->layer_count ? disk->layers[layer].name : NULL;
}

const char *byre_layer_file_name(const struct byre_disk *disk, unsigned layer)
{
    if (layer >= disk->layer_count)
        return NULL;
    if (disk->layers[layer].data_name)
        return disk->layers[layer].data_name;
    return disk->layers[layer].file_name ? disk->layers[layer].file_name : disk->layers[layer].name;
}

uint64_t byre_layer_file_offset(const struct byre_disk *disk, unsigned layer)
{
    return layer < disk->layer_count && !disk->layers[layer].data_name ? disk->layers[layer].file_offset : 0;
}

const char *byre_layer_format(const struct byre_disk *disk, unsigned layer)
{
    if (layer >= disk->layer_count)
        return NULL;
    return disk->layers[layer].qcow2 ? "qcow2" : disk->layers[layer].luks ? "luks" : "raw";
}

bool byre_layer_is_preallocated(struct byre_disk *disk, unsigned layer)
{
    struct byre_qcow2 *image = layer < disk->layer_count ? disk->layers[layer].qcow2 : NULL;
    uint64_t bytes, there, enough, used;
    GATE_SCOPE(&disk->gate);

    if (!image || disk->layers[layer].data_name ||
        byre_store_allocated_size(disk->layers[layer].store, &bytes, NULL) < 0 || bytes == UINT64_MAX)
        return false;
    there = bytes >> byre_qcow2_header(image)->cluster_bits;
    enough = MAX(there * 10 / 9, there + 2);
    return byre_qcow2_used_clusters(image, enough, MAX(bytes, (uint64_t)COUNTS_MAX), &used, NULL) == 0 &&
           used >= enough;
}

int byre_close(struct byre_disk *disk, struct byre_error *err)
{
    /* The engine makes its image durable by itself; what was never sealed need not be. */
    int flushed = disk && !disk->map && !disk->unsealed ? byre_flush(disk, err) : 0;
    int closed = byre_disk_free(disk, flushed < 0 ? NULL : err);

    return flushed < 0 ? flushed : closed;
}
