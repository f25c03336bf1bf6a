/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flat copies of a disk and its snapshots: see snapshot_model.h.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "byre/check.h"
#include "byre/disk.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "qcow2/image.h"
#include "snapshot_model.h"
#include "store/memory.h"

enum { STATE_BYTES = 700 };

static void flat_set(struct flat *flat, const struct flat *from)
{
    free(flat->bytes);
    *flat = *from;
    flat->bytes = malloc(from->size + 1);
    assert_non_null(flat->bytes);
    memcpy(flat->bytes, from->bytes, from->size);
}

static void flat_done(struct flat *flat)
{
    free(flat->bytes);
    flat->bytes = NULL;
}

void snapshot_model_new(struct snapshot_model *model, const struct byre_qcow2_create_options *options)
{
    struct byre_qcow2_create_options with_data = *options;

    *model = (struct snapshot_model){ .disk = { .size = options->size } };
    model->disk.bytes = calloc(1, options->size + 1);
    assert_non_null(model->disk.bytes);
    assert_int_equal(record_store_new(NULL, 0, &model->store), 0);
    if (options->data_file)
        assert_int_equal(byre_memory_new(NULL, 0, &model->data, NULL), 0);
    with_data.data = model->data;
    assert_int_equal(byre_qcow2_create(model->store, &with_data, &model->image, &model->err), 0);
    assert_int_equal(byre_qcow2_seal(model->image, &model->err), 0);
    assert_int_equal(snapshot_model_close(model), 0);
    assert_int_equal(snapshot_model_open(model), 0);
    assert_int_equal(record_store_restart(model->store), 0);
}

void snapshot_model_done(struct snapshot_model *model)
{
    if (model->image)
        (void)byre_qcow2_close(model->image, NULL);
    if (model->store)
        byre_store_close(model->store);
    if (model->data)
        byre_store_close(model->data);
    flat_done(&model->disk);
    for (unsigned i = 0; i < SNAPSHOT_MODEL_MAX; i++)
        flat_done(&model->snapshots[i]);
}

void snapshot_model_copy(const struct snapshot_model *model, struct snapshot_model *ret_copy)
{
    *ret_copy = (struct snapshot_model){ .pattern = model->pattern };
    flat_set(&ret_copy->disk, &model->disk);
    for (unsigned i = 0; i < SNAPSHOT_MODEL_MAX; i++) {
        if (model->snapshots[i].bytes)
            flat_set(&ret_copy->snapshots[i], &model->snapshots[i]);
    }
}

static int give_data(void *opaque, const struct byre_qcow2_header *header, struct byre_store **ret_data,
                     struct byre_error *err)
{
    (void)header;
    (void)err;
    *ret_data = opaque;
    return 0;
}

int snapshot_model_open(struct snapshot_model *model)
{
    const struct byre_qcow2_open_options options = { .writable = true, .cache_bytes = 1,
                                                     .open_data = model->data ? give_data : NULL,
                                                     .opaque = model->data };

    int rc = byre_qcow2_open(model->store, &options, &model->image, &model->err);

    if (rc == 0 && model->small_windows)
        model->image->sweep_cells = 1;
    return rc;
}

int snapshot_model_close(struct snapshot_model *model)
{
    int rc = byre_qcow2_close(model->image, &model->err);

    model->image = NULL;
    return rc;
}

/* --- changes --- */

static void make_pattern(struct snapshot_model *model, uint8_t *bytes, uint64_t length)
{
    unsigned number = ++model->pattern;

    for (uint64_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(number * 37 + i / 64 * 11 + 1);
}

int snapshot_model_write(struct snapshot_model *model, uint64_t goff, uint64_t length)
{
    uint8_t *bytes = malloc(length);
    struct iovec iov = { bytes, length };
    int rc;

    make_pattern(model, bytes, length);
    rc = byre_qcow2_writev(model->image, goff, &iov, 1, length, &model->err);
    if (rc == 0)
        memcpy(model->disk.bytes + goff, bytes, length);
    free(bytes);
    return rc;
}

int snapshot_model_compressed(struct snapshot_model *model, uint64_t goff, uint64_t length)
{
    uint8_t *bytes = malloc(length);
    int rc;

    make_pattern(model, bytes, length);
    rc = byre_qcow2_write_compressed(model->image, goff, bytes, length, &model->err);
    if (rc == 0)
        memcpy(model->disk.bytes + goff, bytes, length);
    free(bytes);
    return rc;
}

int snapshot_model_zero(struct snapshot_model *model, uint64_t goff, uint64_t length, unsigned flags)
{
    int rc = byre_qcow2_write_zeroes(model->image, goff, length, flags, &model->err);

    if (rc == 0)
        memset(model->disk.bytes + goff, 0, length);
    return rc;
}

int snapshot_model_discard(struct snapshot_model *model, uint64_t goff, uint64_t length)
{
    uint64_t cluster = 1ULL << byre_qcow2_header(model->image)->cluster_bits;
    uint64_t first = byre_round_up(goff, cluster), end = byre_round_down(goff + length, cluster);
    int rc = byre_qcow2_discard(model->image, goff, length, &model->err);

    if (goff + length == model->disk.size)
        end = goff + length;
    if (rc == 0 && first < end)
        memset(model->disk.bytes + first, 0, end - first);
    return rc;
}

int snapshot_model_grow(struct snapshot_model *model, uint64_t size)
{
    struct flat *disk = &model->disk;
    int rc = byre_qcow2_grow(model->image, size, 0, BYRE_PREALLOC_OFF, &model->err);

    if (rc < 0)
        return rc;
    disk->bytes = realloc(disk->bytes, size + 1);
    assert_non_null(disk->bytes);
    memset(disk->bytes + disk->size, 0, size - disk->size);
    disk->size = size;
    disk->state = 0; /* it was where the disk is now */
    return 0;
}

int snapshot_model_save_state(struct snapshot_model *model)
{
    uint8_t bytes[STATE_BYTES], state = (uint8_t)(++model->pattern | 1);
    struct iovec iov = { bytes, sizeof bytes };
    int rc;

    memset(bytes, state, sizeof bytes);
    rc = byre_qcow2_write_vm_state(model->image, 0, &iov, 1, sizeof bytes, &model->err);
    if (rc == 0)
        model->disk.state = state;
    return rc;
}

int snapshot_model_create(struct snapshot_model *model, unsigned slot)
{
    const struct byre_snapshot_create_options options = {
        .name = "name", .vm_state_size = model->disk.state ? STATE_BYTES : 0, .icount = UINT64_MAX,
    };
    char id[21];
    int rc = byre_qcow2_snapshot_create(model->image, &options, id, &model->err);

    if (rc < 0)
        return rc;
    flat_set(&model->snapshots[slot], &model->disk);
    memcpy(model->snapshots[slot].id, id, sizeof id);
    return 0;
}

int snapshot_model_apply(struct snapshot_model *model, unsigned slot)
{
    const struct byre_snapshot_selector which = { .id = model->snapshots[slot].id };
    int rc = byre_qcow2_snapshot_apply(model->image, &which, &model->err);

    if (rc == 0)
        flat_set(&model->disk, &model->snapshots[slot]);
    return rc;
}

int snapshot_model_delete(struct snapshot_model *model, unsigned slot)
{
    const struct byre_snapshot_selector which = { .id = model->snapshots[slot].id };
    int rc = byre_qcow2_snapshot_delete(model->image, &which, &model->err);

    if (rc == 0)
        flat_done(&model->snapshots[slot]);
    return rc;
}

/* --- judging --- */

/* Reads what the extent says into `bytes`. */
static int read_extent(struct byre_qcow2 *image, struct byre_store *store, const struct byre_extent *extent,
                       uint8_t *bytes)
{
    uint64_t cluster = 1ULL << byre_qcow2_header(image)->cluster_bits;
    uint8_t *inflated;
    int rc;

    if (extent->kind == BYRE_EXTENT_DATA)
        return byre_store_pread(store, bytes, extent->length, extent->hoff, NULL);
    memset(bytes, 0, extent->length);
    if (extent->kind != BYRE_EXTENT_COMPRESSED)
        return 0;
    inflated = malloc(cluster);
    rc = byre_qcow2_read_compressed(image, extent->hoff, extent->stored, inflated, NULL);
    memcpy(bytes, inflated + extent->goff % cluster, extent->length);
    free(inflated);
    return rc;
}

static int read_all(struct byre_qcow2 *image, struct byre_store *store, uint8_t *bytes, uint64_t size)
{
    byre_extent_vec extents = VEC_INIT;
    int rc = size ? byre_qcow2_map(image, 0, size, &extents, NULL) : 0;

    for (size_t i = 0; rc == 0 && i < extents.len; i++)
        rc = read_extent(image, store, &extents.ptr[i], bytes + extents.ptr[i].goff);
    vec_done(&extents);
    return rc;
}

/* The disk, or the snapshot that `which` names, against its copy. */
static int judge(const struct snapshot_model *model, struct byre_store *store,
                 const struct byre_snapshot_selector *which, const struct flat *flat)
{
    const struct byre_qcow2_open_options options = { .snapshot = which, .open_data = model->data ? give_data : NULL,
                                                     .opaque = model->data };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image;
    uint8_t *bytes = malloc(flat->size + 1), state[STATE_BYTES];
    const char *what = NULL;
    int rc = byre_qcow2_open(store, &options, &image, &err);

    if (rc < 0) {
        if (!model->quiet)
            print_message("%s: %s\n", which ? which->id : "disk", err.text);
        free(bytes);
        return -1;
    }
    if (byre_qcow2_header(image)->size != flat->size)
        what = "size";
    else if (read_all(image, byre_qcow2_data(image), bytes, flat->size) < 0 ||
             memcmp(bytes, flat->bytes, flat->size) != 0)
        what = "contents";
    else if (flat->state && (byre_qcow2_read_vm_state(image, 0, state, sizeof state, NULL) < 0 ||
                             state[0] != flat->state || state[STATE_BYTES - 1] != flat->state))
        what = "VM state";
    if (what && !model->quiet)
        print_message("%s: wrong %s\n", which ? which->id : "disk", what);
    free(bytes);
    (void)byre_qcow2_close(image, NULL);
    return what ? -1 : 0;
}

int snapshot_model_judge(const struct snapshot_model *model, struct byre_store *store, bool disk)
{
    struct byre_qcow2_header header = { 0 };
    struct byre_snapshot_table table;
    size_t wanted = 0, found;
    int rc = disk ? judge(model, store, NULL, &model->disk) : 0;

    for (unsigned i = 0; rc == 0 && i < SNAPSHOT_MODEL_MAX; i++) {
        const struct byre_snapshot_selector which = { .id = model->snapshots[i].id };

        if (!model->snapshots[i].bytes)
            continue;
        rc = judge(model, store, &which, &model->snapshots[i]);
        wanted++;
    }
    if (rc < 0 || byre_qcow2_header_read(store, &header, NULL) < 0 ||
        byre_snapshot_table_read(store, &header, &table, NULL) < 0)
        return -1;
    found = table.entries.len;
    byre_snapshot_table_done(&table);
    byre_qcow2_header_done(&header);
    if (found != wanted && !model->quiet)
        print_message("%zu snapshots instead of %zu\n", found, wanted);
    return found == wanted ? 0 : -1;
}

static void report(void *opaque, const char *line)
{
    (void)opaque;
    print_message("  %s\n", line);
}

int snapshot_model_check(struct byre_store *store, bool tidy, bool repair)
{
    const struct byre_check_options options = { .report = report };
    struct byre_check_result result;
    struct byre_qcow2_header header;
    int rc = byre_qcow2_header_read(store, &header, NULL);

    if (rc == 0 && repair)
        rc = byre_qcow2_check(store, &header, BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS, NULL, &result, NULL);
    if (rc == 0)
        rc = byre_qcow2_check(store, &header, 0, NULL, &result, NULL);
    if (rc == 0 && (result.corruptions || result.check_errors || (tidy && result.leaks))) {
        (void)byre_qcow2_check(store, &header, 0, &options, &result, NULL);
        print_message("%llu corruptions, %llu leaks\n", (unsigned long long)result.corruptions,
                      (unsigned long long)result.leaks);
        rc = -1;
    }
    byre_qcow2_header_done(&header);
    return rc;
}
