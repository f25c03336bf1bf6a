/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: the engine on images in memory, opened for writing and changed in every way there is.  The last bytes of
 * the input say how; they are part of the image, too.
 *
 * Whatever the image is, each call ends, and a failure has a message.  An image that check calls right is right after
 * each change, and what was written is there.
 */
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "fuzz/require.h"
#include "qcow2/amend.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "qcow2/snapshot.h"
#include "store/memory.h"

#define IMAGE_MAX   (1u << 20)
#define STEPS       12u
#define LOOK_BYTES  (4u << 20) /* of the disk that are mapped in one step */
#define DISK_LARGE  (1ULL << 32)
#define WRITE_BYTES 3000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct byre_store *store;
    struct byre_qcow2 *image; /* NULL: it cannot be opened any more */
    struct byre_error err;
    bool right;         /* check finds nothing */
    bool known;         /* `bytes` were written last, at `goff` */
    uint64_t goff;
    uint8_t bytes[WRITE_BYTES];
    uint8_t argument;   /* of the step */
};


/* A result is 0, or an error that has been described. */
static bool done(struct run *run, int rc)
{
    require(rc == 0 || (rc < 0 && run->err.code == rc && run->err.text[0] != '\0'));
    run->err = (struct byre_error)BYRE_ERROR_INIT;
    return rc == 0;
}

static void open_image(struct run *run)
{
    static const struct byre_qcow2_open_options options = { .writable = true };

    if (!done(run, byre_qcow2_open(run->store, &options, &run->image, &run->err)))
        run->image = NULL;
}

/* The bytes of an input, and holes behind them without an end. */
struct roomy {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    const uint8_t *data;
    size_t size;
};

static int roomy_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    const struct roomy *roomy = (struct roomy *)store;

    for (int i = 0; i < iov_count; hoff += iov[i++].iov_len) {
        memset(iov[i].iov_base, 0, iov[i].iov_len);
        if (hoff < roomy->size)
            memcpy(iov[i].iov_base, roomy->data + hoff, MIN(iov[i].iov_len, roomy->size - (size_t)hoff));
    }
    return 0;
}

static int roomy_get_size(struct byre_store *store, uint64_t *ret_size)
{
    (void)store;
    *ret_size = 1ULL << 56;
    return 0;
}

static int roomy_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    const struct roomy *roomy = (struct roomy *)store;

    *ret_hole = hoff >= roomy->size;
    *ret_length = (*ret_hole ? 1ULL << 56 : roomy->size) - hoff;
    return 0;
}

static const struct byre_store_ops roomy_ops = {
    .kind = "roomy", .preadv = roomy_preadv, .get_size = roomy_get_size, .extent = roomy_extent,
};

static bool is_right(struct byre_store *store)
{
    struct byre_check_result result = { 0 };
    const struct byre_check_options options = { 0 };
    struct byre_qcow2_header header;
    bool right;

    if (byre_qcow2_header_read(store, &header, NULL) < 0)
        return false;
    right = byre_qcow2_check(store, &header, 0, &options, &result, NULL) == 0 && result.corruptions == 0 &&
            result.leaks == 0 && result.check_errors == 0;
    byre_qcow2_header_done(&header);
    return right;
}

static uint64_t disk_size(const struct run *run)
{
    return byre_qcow2_header(run->image)->size;
}

/* A place in the disk, in its first part or its last. */
static uint64_t place(const struct run *run)
{
    uint64_t size = disk_size(run), near = (uint64_t)run->argument * 5000;

    if (size < WRITE_BYTES)
        return 0;
    return run->argument % 4 ? MIN(near, size - WRITE_BYTES) : size - WRITE_BYTES;
}

static void step_write(struct run *run)
{
    uint64_t goff = place(run), length = MIN((uint64_t)WRITE_BYTES, disk_size(run));
    struct iovec iov = { run->bytes, (size_t)length };

    run->known = false;
    memset(run->bytes, run->argument | 1, sizeof run->bytes);
    if (!done(run, byre_qcow2_writev(run->image, goff, &iov, 1, length, &run->err)) || length < WRITE_BYTES)
        return;
    run->known = true;
    run->goff = goff;
}

static void step_zero(struct run *run)
{
    run->known = false;
    done(run, byre_qcow2_write_zeroes(run->image, place(run) / 2, MIN((uint64_t)WRITE_BYTES, disk_size(run)),
                                      run->argument % 2 ? BYRE_ZERO_UNMAP : 0, &run->err));
}

static void step_discard(struct run *run)
{
    run->known = false;
    done(run, byre_qcow2_discard(run->image, 0, MIN(disk_size(run), (uint64_t)run->argument << 12), &run->err));
}

static void step_snapshot_create(struct run *run)
{
    const struct byre_snapshot_create_options options = { .name = "new", .icount = UINT64_MAX };

    done(run, byre_qcow2_snapshot_create(run->image, &options, NULL, &run->err));
}

static const struct byre_snapshot_selector *snapshot(const struct run *run)
{
    static const struct byre_snapshot_selector first = { .any = "1" }, new = { .any = "new" };

    return run->argument % 2 ? &first : &new;
}

static void step_snapshot_apply(struct run *run)
{
    run->known = false;
    done(run, byre_qcow2_snapshot_apply(run->image, snapshot(run), &run->err));
}

static void step_snapshot_delete(struct run *run)
{
    done(run, byre_qcow2_snapshot_delete(run->image, snapshot(run), &run->err));
}

static void step_grow(struct run *run)
{
    uint64_t more = 512 * (uint64_t)run->argument + 512;

    if (disk_size(run) < DISK_LARGE)
        done(run, byre_qcow2_grow(run->image, byre_round_down(disk_size(run), 512) + more, 0, BYRE_PREALLOC_OFF,
                                  &run->err));
}

static void step_shrink(struct run *run)
{
    run->known = false;
    done(run, byre_qcow2_shrink(run->image, byre_round_down(disk_size(run) / 3 * 2, 512), &run->err));
}

static void step_flush(struct run *run)
{
    done(run, byre_qcow2_flush(run->image, &run->err));
}

static void step_amend(struct run *run)
{
    static const struct byre_amend_progress quiet = { 0 };

    switch (run->argument % 4) {
    case 0: done(run, byre_qcow2_set_refcount_order(run->image, run->argument / 4 % 7, &quiet, &run->err)); break;
    case 1: done(run, byre_qcow2_upgrade(run->image, &quiet, &run->err)); break;
    case 2: done(run, byre_qcow2_downgrade(run->image, &quiet, &run->err)); break;
    case 3: done(run, byre_qcow2_set_lazy(run->image, run->argument / 4 % 2, &run->err)); break;
    }
}

static void step_reopen(struct run *run)
{
    struct byre_qcow2 *image = run->image;

    run->image = NULL;
    if (done(run, byre_qcow2_close(image, &run->err)))
        open_image(run);
}

/* Maps a part of the disk, and reads what is compressed. */
static void step_look(struct run *run)
{
    uint32_t cluster = 1u << byre_qcow2_header(run->image)->cluster_bits;
    uint8_t *buf = malloc(cluster);
    byre_extent_vec extents = VEC_INIT;

    require(buf != NULL);
    if (done(run, byre_qcow2_map(run->image, 0, MIN(disk_size(run), (uint64_t)LOOK_BYTES), &extents, &run->err))) {
        for (size_t i = 0; i < extents.len; i++) {
            if (extents.ptr[i].kind == BYRE_EXTENT_COMPRESSED)
                done(run, byre_qcow2_read_compressed(run->image, extents.ptr[i].hoff, extents.ptr[i].stored, buf,
                                                     &run->err));
        }
    }
    vec_done(&extents);
    free(buf);
}

static void require_bytes(struct run *run)
{
    byre_extent_vec extents = VEC_INIT;
    uint8_t bytes[WRITE_BYTES];
    uint64_t at = 0;

    require(byre_qcow2_map(run->image, run->goff, WRITE_BYTES, &extents, NULL) == 0);
    for (size_t i = 0; i < extents.len; at += extents.ptr[i++].length) {
        require(extents.ptr[i].kind == BYRE_EXTENT_DATA);
        require(byre_store_pread(byre_qcow2_data(run->image), bytes + at, (size_t)extents.ptr[i].length,
                                 extents.ptr[i].hoff, NULL) == 0);
    }
    require(at == WRITE_BYTES && memcmp(bytes, run->bytes, WRITE_BYTES) == 0);
    vec_done(&extents);
}

static void change(struct run *run, uint8_t byte)
{
    static void (*const steps[])(struct run *) = {
        step_write,  step_zero,   step_discard, step_snapshot_create, step_snapshot_apply, step_snapshot_delete,
        step_grow,   step_shrink, step_flush,   step_amend,           step_reopen,         step_look,
        step_amend,  step_write,
    };

    run->argument = byte / (uint8_t)ARRAY_LEN(steps) * 7 + byte;
    steps[byte % ARRAY_LEN(steps)](run);
    if (run->image && run->right && run->known)
        require_bytes(run);
}

/* Counts past the end of the file are looked at where there is one: an image that has some is not right in the end. */
static bool is_right_with_room(const uint8_t *data, size_t size)
{
    static char name[] = "input";
    struct roomy roomy = {
        .store = { .ops = &roomy_ops, .name = name, .fd = -1,
                   .limits = { .align = 1, .zero_align = 1, .discard_align = 1 } },
        .data = data, .size = size,
    };

    return is_right(&roomy.store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = { .err = BYRE_ERROR_INIT };

    if (size < STEPS || size > IMAGE_MAX)
        return 0;
    require(byre_memory_new(data, size, &run.store, NULL) == 0);
    run.right = is_right(run.store) && is_right_with_room(data, size);
    open_image(&run);
    for (unsigned i = 0; i < STEPS && run.image; i++)
        change(&run, data[size - STEPS + i]);
    if (run.image)
        require(done(&run, byre_qcow2_close(run.image, &run.err)) || !run.right);
    require(!run.right || is_right(run.store));
    byre_store_close(run.store);
    return 0;
}
