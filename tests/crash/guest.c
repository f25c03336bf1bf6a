/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest: its operations, and the history of them.  What is looked at afterwards is in guest_judge.c.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/disk.h"
#include "guest.h"
#include "pair_store.h"
#include "support_alloc.h"
#include "crypt/luks_keys.h"
#include "qcow2/compress.h"
#include "store/memory.h"

static void must(int rc, const char *what, const struct byre_error *err)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %d %s\n", what, rc, err->text);
    abort();
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

void guest_pattern(uint8_t *bytes, uint64_t goff, uint64_t length, unsigned number)
{
    uint64_t word = 0;

    for (uint64_t i = 0; i < length; i++) {
        uint64_t at = goff + i;

        if (i == 0 || at % 8 == 0)
            word = mix((at / 8) << 24 | number);
        bytes[i] = (uint8_t)(word >> at % 8 * 8);
    }
}

/* Bytes that a codec can do something with: some are as above, the rest repeats. */
static void dull_pattern(uint8_t *bytes, uint64_t goff, uint64_t length, unsigned number)
{
    uint64_t random = mix(goff << 24 | number) % (length / 2 + 1);

    guest_pattern(bytes, goff, length, number);
    for (uint64_t i = MAX(random, (uint64_t)16); i < length; i++)
        bytes[i] = bytes[i - 16];
}

static int read_backing(void *opaque, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    const struct guest *guest = opaque;
    uint64_t size = guest->options.backing_size, within = goff < size ? MIN(size - goff, length) : 0;

    (void)err;
    guest_pattern(buf, goff, within, 0);
    memset((uint8_t *)buf + within, 0, length - within);
    return 0;
}

static void set_below(struct guest *guest)
{
    struct byre_qcow2_below below = { .opaque = guest, .read = read_backing };

    if (guest->options.backing_size)
        byre_qcow2_set_below(guest->image, &below);
}

struct byre_store *guest_image_store(const struct guest *guest)
{
    return guest->front ? guest->front : guest->store;
}

/* Room for an image with its tables, and keys, but no data. */
uint64_t guest_data_offset(const struct guest *guest)
{
    return (128ULL << (guest->options.cluster_bits ? guest->options.cluster_bits : 9)) +
           (guest->options.encrypted ? 1u << 20 : 0);
}

/* The two parts of a medium that is there. */
static void new_pair(struct guest *guest)
{
    uint64_t offset = guest_data_offset(guest), length;

    must(byre_store_size(guest->store, &length, &guest->err), "size", &guest->err);
    must(pair_part_new(guest->store, 0, offset, &guest->front), "pair_part_new", &guest->err);
    must(pair_data_new(guest->store, offset, length - offset, guest->options.data_early, &guest->data),
         "pair_data_new", &guest->err);
}

/* The data file that the image asks for. */
static int give_data(void *opaque, const struct byre_qcow2_header *header, struct byre_store **ret_data,
                     struct byre_error *err)
{
    const struct guest *guest = opaque;

    (void)header;
    (void)err;
    *ret_data = guest->data;
    return 0;
}

/* A medium with something on it. */
static void new_store(struct guest *guest)
{
    uint64_t size = guest->options.device_size;
    uint8_t *bytes = NULL;

    if (guest->options.data) {
        size = guest_data_offset(guest) + guest->options.size + (64ULL << 10);
        must(record_store_new(NULL, size, &guest->store), "record_store_new", &guest->err);
        new_pair(guest);
        return;
    }
    if (size) {
        bytes = malloc(size);
        must(bytes ? 0 : -ENOMEM, "malloc", &guest->err);
        memset(bytes, 0xdd, size);
    }
    must(record_store_new(bytes, size, &guest->store), "record_store_new", &guest->err);
    guest->store->growable = !size;
    guest->store->limits.zero_on_grow = !size;
    free(bytes);
}

const struct byre_secret *guest_password(const struct guest *guest)
{
    static uint8_t bytes[] = "guest";
    static const struct byre_secret password = { .bytes = bytes, .length = 5 };

    return guest->options.encrypted ? &password : NULL;
}

static void new_image(struct guest *guest)
{
    /* What opens fastest. */
    static const struct byre_luks_options luks = {
        .spec = { 128, BYRE_CIPHER_CBC, BYRE_IVGEN_PLAIN64, -1 }, .hash = BYRE_HASH_SHA256, .iter_time = 1,
    };
    const struct guest_options *options = &guest->options;
    struct byre_qcow2_create_options create = {
        .size = guest->base_size,
        .version = options->version ? options->version : 3,
        .cluster_bits = options->cluster_bits ? options->cluster_bits : 9,
        .refcount_order = options->refcount_order < 0    ? 0
                          : options->refcount_order == 0 ? 4
                                                         : (unsigned)options->refcount_order,
        .lazy_refcounts = options->lazy,
        .compression = options->compression,
        .extended_l2 = options->extended,
        .backing_name = options->backing_size ? "below" : NULL,
        .backing_format = options->backing_size ? "raw" : NULL,
        .luks = options->encrypted ? &luks : NULL,
        .password = guest_password(guest),
        .data_file = options->data ? "data" : NULL,
        .data = guest->data,
        .data_raw = options->data == GUEST_DATA_RAW,
    };

    must(byre_qcow2_create(guest_image_store(guest), &create, &guest->image, &guest->err), "create", &guest->err);
    set_below(guest);
}

struct guest *guest_new(const struct guest_options *options)
{
    struct guest *guest = calloc(1, sizeof *guest);

    if (!guest)
        abort();
    guest->options = *options;
    guest->first = malloc(options->size + 1);
    guest->base = malloc(options->size + 1);
    guest->found = malloc(options->size + 1);
    must(guest->first && guest->base && guest->found ? 0 : -ENOMEM, "malloc", &guest->err);
    guest->base_size = options->first_size ? options->first_size : options->size;
    read_backing(guest, 0, guest->first, guest->base_size, NULL);
    memset(guest->first + guest->base_size, 0, options->size - guest->base_size);
    guest->base_flush = SIZE_MAX;
    guest->patterns = 1;
    pthread_mutex_init(&guest->mutex, NULL);
    new_store(guest);
    new_image(guest);
    if (options->unsealed)
        return guest;
    must(guest_seal(guest), "seal", &guest->err);
    must(guest_close(guest), "close", &guest->err);
    must(guest_open(guest), "open", &guest->err);
    must(guest_restart(guest), "restart", &guest->err);
    return guest;
}

static void forget(struct guest *guest)
{
    for (size_t i = 0; i < guest->ops.len; i++)
        free(guest->ops.ptr[i].bytes);
    vec_done(&guest->ops);
    vec_done(&guest->flushes);
    vec_done(&guest->growths);
    guest->base_flush = SIZE_MAX;
}

void guest_free(struct guest *guest)
{
    if (guest->disk)
        (void)guest_disk_close(guest, NULL);
    else if (guest->image)
        (void)byre_qcow2_close(guest->image, NULL);
    byre_store_close(guest->front);
    byre_store_close(guest->data);
    byre_store_close(guest->store);
    pthread_mutex_destroy(&guest->mutex);
    forget(guest);
    free(guest->first);
    free(guest->base);
    free(guest->found);
    free(guest);
}

/* --- operations --- */

/* The number of the operation that begins here; takes over `bytes`. */
static size_t begin(struct guest *guest, uint64_t goff, uint64_t length, uint8_t *bytes)
{
    struct guest_op op = {
        .goff = goff,
        .length = length,
        .bytes = bytes,
        .start = record_store_count(guest->store),
        .covered = SIZE_MAX,
    };
    LOCK_SCOPE(&guest->mutex);

    must(vec_push(&guest->ops, op), "vec_push", &guest->err);
    return guest->ops.len - 1;
}

/* `flags` as the operation had them, `err` what it said. */
static int end(struct guest *guest, size_t number, unsigned flags, int rc, const struct byre_error *err)
{
    LOCK_SCOPE(&guest->mutex);
    struct guest_op *op = &guest->ops.ptr[number];

    op->ok = rc == 0;
    op->covered = guest->flushes.len;
    op->durable = op->ok && (flags & BYRE_WRITE_FUA || guest->options.write_through);
    op->done = record_store_count(guest->store);
    /* Refused before anything was done. */
    if (rc == -ENOTSUP && flags & BYRE_WRITE_ZEROES_NO_FALLBACK)
        op->length = 0;
    if (rc < 0)
        guest->err = *err;
    return rc;
}

static unsigned next_pattern(struct guest *guest)
{
    LOCK_SCOPE(&guest->mutex);

    return guest->patterns++;
}

/* What is durable by itself is so as a whole: else one would have to know what was in the sector before. */
static void check_durable(const struct guest *guest, uint64_t goff, uint64_t length, unsigned flags)
{
    bool sectors = (goff | (goff + length == guest_size(guest) ? 0 : length)) % RECORD_SECTOR == 0;

    must(!(flags & BYRE_WRITE_FUA) || (guest->disk && sectors) ? 0 : -EINVAL, "FUA", &guest->err);
}

static int write_with(struct guest *guest, uint64_t goff, uint64_t length, unsigned flags)
{
    struct byre_error err = BYRE_ERROR_INIT;
    uint8_t *bytes = malloc(length);
    struct iovec iov = { bytes, length };
    size_t number;
    int rc;

    must(bytes ? 0 : -ENOMEM, "malloc", &guest->err);
    check_durable(guest, goff, length, flags);
    guest_pattern(bytes, goff, length, next_pattern(guest));
    number = begin(guest, goff, length, bytes);
    if (guest->disk)
        rc = byre_pwritev(guest->disk, &iov, 1, goff, flags, &err);
    else
        rc = byre_qcow2_writev(guest->image, goff, &iov, 1, length, &err);
    return end(guest, number, flags, rc, &err);
}

int guest_write(struct guest *guest, uint64_t goff, uint64_t length)
{
    return write_with(guest, goff, length, 0);
}

int guest_write_fua(struct guest *guest, uint64_t goff, uint64_t length)
{
    return write_with(guest, goff, length, BYRE_WRITE_FUA);
}

int guest_zero(struct guest *guest, uint64_t goff, uint64_t length, unsigned flags)
{
    struct byre_error err = BYRE_ERROR_INIT;
    size_t number;
    int rc;

    check_durable(guest, goff, length, flags);
    number = begin(guest, goff, length, NULL);
    if (guest->disk)
        rc = byre_write_zeroes(guest->disk, goff, length, flags, &err);
    else
        rc = byre_qcow2_write_zeroes(guest->image, goff, length, flags, &err);
    return end(guest, number, flags, rc, &err);
}

int guest_discard(struct guest *guest, uint64_t goff, uint64_t length)
{
    uint64_t cluster = 1ULL << byre_qcow2_header(guest->image)->cluster_bits, limit = goff + length;
    uint64_t start = byre_round_up(goff, cluster), stop = byre_round_down(limit, cluster);
    bool says_zero = byre_qcow2_header(guest->image)->version >= 3 || !guest->options.backing_size;
    struct byre_error err = BYRE_ERROR_INIT;
    size_t number;
    int rc;

    /* Whole clusters read as zero afterwards, the last one of the disk counts as whole. */
    if (limit == guest_size(guest))
        stop = limit;
    number = begin(guest, start, says_zero && stop > start ? stop - start : 0, NULL);
    rc = guest->disk ? byre_discard(guest->disk, goff, length, &err)
                     : byre_qcow2_discard(guest->image, goff, length, &err);
    return end(guest, number, 0, rc, &err);
}

/* Something that promises all that was completed before it. */
static int promise(struct guest *guest, int (*call)(struct guest *guest, struct byre_error *err))
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct guest_flush flush = { .ok = false };
    size_t number;
    int rc;

    pthread_mutex_lock(&guest->mutex);
    number = guest->flushes.len;
    must(vec_push(&guest->flushes, flush), "vec_push", &guest->err);
    pthread_mutex_unlock(&guest->mutex);
    rc = call(guest, &err);
    LOCK_SCOPE(&guest->mutex);
    guest->flushes.ptr[number] = (struct guest_flush){ record_store_count(guest->store), rc == 0 };
    if (rc < 0)
        guest->err = err;
    return rc;
}

static int flush_it(struct guest *guest, struct byre_error *err)
{
    return guest->disk ? byre_flush(guest->disk, err) : byre_qcow2_flush(guest->image, err);
}

static int seal_it(struct guest *guest, struct byre_error *err)
{
    return byre_qcow2_seal(guest->image, err);
}

static int close_it(struct guest *guest, struct byre_error *err)
{
    return guest->disk ? guest_disk_close(guest, err) : byre_qcow2_close(guest->image, err);
}

int guest_flush(struct guest *guest)
{
    return promise(guest, flush_it);
}

int guest_copy_up(struct guest *guest, uint64_t goff, uint64_t length)
{
    return byre_qcow2_copy_on_read(guest->image, goff, length, &guest->err);
}

int guest_save_state(struct guest *guest, uint64_t position, uint64_t length)
{
    uint8_t *bytes = calloc(1, length);
    struct iovec iov = { bytes, length };
    int rc = bytes ? byre_qcow2_write_vm_state(guest->image, position, &iov, 1, length, &guest->err) : -ENOMEM;

    free(bytes);
    return rc;
}

uint64_t guest_size(const struct guest *guest)
{
    return byre_qcow2_header(guest->image)->size;
}

int guest_shrink(struct guest *guest, uint64_t size)
{
    struct guest_growth change = { .size = size, .start = record_store_count(guest->store), .done = SIZE_MAX };
    size_t number = guest->growths.len, zeros = begin(guest, size, guest_size(guest) - size, NULL);
    struct byre_error err = BYRE_ERROR_INIT;
    int rc;

    must(vec_push(&guest->growths, change), "vec_push", &guest->err);
    if (guest->disk)
        rc = byre_truncate(guest->disk, size, NULL, &err);
    else
        rc = byre_qcow2_shrink(guest->image, size, &err);
    guest->growths.ptr[number].done = record_store_count(guest->store);
    guest->growths.ptr[number].ok = rc == 0;
    return end(guest, zeros, BYRE_WRITE_FUA, rc, &err);
}

int guest_grow_as(struct guest *guest, uint64_t size, enum byre_preallocation mode)
{
    static const char *const names[] = { "off", "metadata", "falloc", "full" };
    struct guest_growth growth = { .size = size, .start = record_store_count(guest->store) };
    size_t number = guest->growths.len;
    int rc;

    growth.done = SIZE_MAX;
    must(vec_push(&guest->growths, growth), "vec_push", &guest->err);
    if (guest->disk)
        rc = byre_truncate(guest->disk, size, names[mode], &guest->err);
    else
        rc = byre_qcow2_grow(guest->image, size, guest->options.backing_size, mode, &guest->err);
    guest->growths.ptr[number].done = record_store_count(guest->store);
    guest->growths.ptr[number].ok = rc == 0;
    return rc;
}

int guest_grow(struct guest *guest, uint64_t size)
{
    return guest_grow_as(guest, size, BYRE_PREALLOC_OFF);
}

int guest_seal(struct guest *guest)
{
    int rc = promise(guest, seal_it);

    guest->sealed = guest->sealed || rc == 0;
    return rc;
}

int guest_close(struct guest *guest)
{
    int rc = promise(guest, close_it);

    guest->image = NULL;
    return rc;
}

/* What no flush has promised may be lost when the image is opened anew. */
static void lose(struct guest *guest)
{
    size_t promised = guest->flushes.len;

    while (promised && !guest->flushes.ptr[promised - 1].ok)
        promised--;
    for (size_t i = 0; i < guest->ops.len; i++)
        guest->ops.ptr[i].ok &= guest->ops.ptr[i].durable || guest->ops.ptr[i].covered < promised;
}

int guest_open(struct guest *guest)
{
    struct byre_qcow2_open_options options = {
        .writable = true,
        .cache_bytes = guest->options.cache_bytes,
        .keep_discarded = guest->options.keep_discarded,
        .password = guest_password(guest),
        .open_data = guest->data ? give_data : NULL,
        .opaque = guest,
    };
    int rc = byre_qcow2_open(guest_image_store(guest), &options, &guest->image, &guest->err);

    lose(guest);
    if (rc == 0 && guest->options.disk)
        rc = guest_disk_open(guest);
    else if (rc == 0)
        set_below(guest);
    return rc;
}

/* --- compressed clusters --- */

struct batch {
    struct byre_qcow2_compressed *items;
    uint8_t *packed; /* a cluster for each */
    size_t *ops;
    unsigned count;
};

/* Compresses the clusters from `goff` on; -EFBIG if one does not get smaller. */
static int pack(struct guest *guest, uint64_t goff, struct batch *batch)
{
    uint32_t cluster = 1u << byre_qcow2_header(guest->image)->cluster_bits;
    struct byre_codec *codec;
    int64_t length = 1;

    support_allocating++; /* the codec is the test's, too */
    must(byre_codec_new(guest->options.compression, 0, &codec, &guest->err), "codec", &guest->err);
    for (unsigned i = 0; length > 0 && i < batch->count; i++, goff += cluster) {
        uint8_t *bytes = calloc(1, cluster), *packed = batch->packed + (size_t)i * cluster;
        uint64_t within = MIN((uint64_t)cluster, guest_size(guest) - goff);

        must(bytes ? 0 : -ENOMEM, "malloc", &guest->err);
        dull_pattern(bytes, goff, within, next_pattern(guest));
        length = byre_codec_compress(codec, bytes, cluster, packed, cluster, &guest->err);
        if (length <= 0) {
            free(bytes);
            break;
        }
        batch->items[i] = (struct byre_qcow2_compressed){ .goff = goff, .data = packed,
                                                          .length = (uint32_t)length };
        batch->ops[i] = begin(guest, goff, within, bytes);
    }
    byre_codec_free(codec);
    support_allocating--;
    return length > 0 ? 0 : -EFBIG;
}

/* The disk compresses by itself, and takes the range as one. */
static int compressed_by_disk(struct guest *guest, uint64_t goff, unsigned count)
{
    uint64_t cluster = 1ULL << byre_qcow2_header(guest->image)->cluster_bits;
    uint64_t length = MIN(count * cluster, guest_size(guest) - goff);
    struct byre_error err = BYRE_ERROR_INIT;
    uint8_t *bytes = malloc(length);
    size_t number;

    must(bytes ? 0 : -ENOMEM, "malloc", &guest->err);
    for (uint64_t at = 0; at < length; at += cluster)
        dull_pattern(bytes + at, goff + at, MIN(cluster, length - at), next_pattern(guest));
    number = begin(guest, goff, length, bytes);
    return end(guest, number, 0, byre_write_compressed(guest->disk, bytes, length, goff, &err), &err);
}

int guest_compressed(struct guest *guest, uint64_t goff, unsigned count)
{
    struct batch batch = { .count = count };
    struct byre_error err = BYRE_ERROR_INIT;
    int rc;

    if (guest->disk)
        return compressed_by_disk(guest, goff, count);

    batch.items = calloc(count, sizeof *batch.items);
    batch.packed = malloc((size_t)count << byre_qcow2_header(guest->image)->cluster_bits);
    batch.ops = calloc(count, sizeof *batch.ops);
    must(batch.items && batch.packed && batch.ops ? 0 : -ENOMEM, "malloc", &guest->err);
    must(pack(guest, goff, &batch), "pack", &guest->err);
    rc = byre_qcow2_reserve_compressed(guest->image, batch.items, count, &err);
    if (rc == 0) {
        rc = byre_qcow2_fill_compressed(guest->image, batch.items, count, &err);
        if (rc == 0)
            rc = byre_qcow2_publish_compressed(guest->image, batch.items, count, &err);
        else
            byre_qcow2_abandon_compressed(guest->image, batch.items, count);
    }
    for (unsigned i = 0; i < count; i++)
        end(guest, batch.ops[i], 0, rc, &err);
    free(batch.items);
    free(batch.packed);
    free(batch.ops);
    return rc;
}

int guest_restart(struct guest *guest)
{
    int rc = guest->image ? guest_flush(guest) : 0;

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < guest->growths.len; i++) {
        if (guest->growths.ptr[i].ok)
            guest->base_size = guest->growths.ptr[i].size;
    }
    for (size_t i = 0; i < guest->ops.len; i++) {
        const struct guest_op *op = &guest->ops.ptr[i];

        if (op->bytes && op->ok)
            memcpy(guest->first + op->goff, op->bytes, op->length);
        else if (op->ok)
            memset(guest->first + op->goff, 0, op->length);
    }
    forget(guest);
    if (guest->data)
        rc = pair_data_settle(guest->data);
    return rc < 0 ? rc : record_store_restart(guest->store);
}
