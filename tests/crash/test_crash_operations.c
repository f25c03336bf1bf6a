/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment of each operation by itself, on images of many kinds.
 *
 * Every image begins with clusters of every kind.  The operation meets those; then it is made durable, and what it has
 * freed is used for something else.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arith.h"
#include "byre/disk.h"
#include "effort.h"
#include "guest.h"
#include "story.h"

#define K 1024ULL
#define M (1024 * K)

/* Where the kinds of clusters are, each two of them; the rest is not allocated. */
enum {
    DATA = 1,
    COMPRESSED = 4,
    ZERO_KEPT = 7, /* version 2: data, or nothing */
    ZERO_PLAIN = 10,
    HOLE = 13,
    SHARED = 16, /* data over what was zero, beside compressed clusters */
    FREE = 19,
    CLUSTERS = 30,
    CLUSTERS_FIRST = 28, /* before the disk grows */
};

static uint64_t cluster_of(const struct guest *guest)
{
    return 1ULL << byre_qcow2_header(guest->image)->cluster_bits;
}

/* Clusters with subclusters of every kind. */
static void prepare_mixed(struct guest *guest, uint64_t c)
{
    uint64_t sub = c / 32, mixed = (HOLE + 1) * c;

    ok(guest_zero(guest, (DATA + 1) * c + 4 * sub, 6 * sub, 0));
    ok(guest_zero(guest, (DATA + 1) * c + 14 * sub, 4 * sub, 0));
    ok(guest_write(guest, mixed + 2 * sub, 3 * sub));
    ok(guest_write(guest, mixed + 15 * sub + 100, sub));
    ok(guest_zero(guest, mixed + 17 * sub, 3 * sub, 0));
    ok(guest_write(guest, mixed + 31 * sub, sub));
    ok(guest_zero(guest, (SHARED + 2) * c + 15 * sub, 9 * sub, 0));
}

/* Where nothing can be compressed it is written. */
static int compressed(struct guest *guest, uint64_t goff, unsigned count)
{
    uint64_t length = MIN(count * cluster_of(guest), guest_size(guest) - goff);

    if (guest->options.data || guest->options.encrypted)
        return guest_write(guest, goff, length);
    return guest_compressed(guest, goff, count);
}

static void prepare(struct guest *guest)
{
    uint64_t c = cluster_of(guest);

    ok(guest_write(guest, DATA * c, 2 * c));
    ok(compressed(guest, COMPRESSED * c, 2));
    ok(guest_write(guest, ZERO_KEPT * c, 2 * c));
    ok(guest_zero(guest, ZERO_KEPT * c, 2 * c, 0));
    ok(guest_zero(guest, ZERO_PLAIN * c, 2 * c, BYRE_WRITE_ZEROES_UNMAP));
    ok(guest_write(guest, SHARED * c, c / 2));
    ok(compressed(guest, (SHARED + 1) * c, 1));
    if (guest->options.extended)
        prepare_mixed(guest, c);
    ok(guest_restart(guest));
}

/* --- operations ------------------------------------------------------------------------------------------ */

typedef void operation(struct guest *guest, uint64_t c, unsigned flags);

/* A call for each kind of cluster, from the middle of the first to the middle of the second. */
typedef int one_call(struct guest *guest, uint64_t goff, uint64_t length, unsigned flags);

static const unsigned kinds[] = { DATA, COMPRESSED, ZERO_KEPT, ZERO_PLAIN, HOLE, SHARED };

static int write_one(struct guest *guest, uint64_t goff, uint64_t length, unsigned flags)
{
    return flags & BYRE_WRITE_FUA ? guest_write_fua(guest, goff, length) : guest_write(guest, goff, length);
}

/* Without a fallback the call may be refused, and then it has changed nothing. */
static int zero_one(struct guest *guest, uint64_t goff, uint64_t length, unsigned flags)
{
    int rc = guest_zero(guest, goff, length, flags);

    return rc == -ENOTSUP && flags & BYRE_WRITE_ZEROES_NO_FALLBACK ? 0 : rc;
}

static int discard_one(struct guest *guest, uint64_t goff, uint64_t length, unsigned flags)
{
    (void)flags;
    return guest_discard(guest, goff, length);
}

static int copy_up_one(struct guest *guest, uint64_t goff, uint64_t length, unsigned flags)
{
    (void)flags;
    return guest_copy_up(guest, goff, length);
}

/* Whole sectors, but for those that need not be. */
static void each_part(struct guest *guest, one_call *call, uint64_t c, unsigned flags)
{
    uint64_t odd = flags & BYRE_WRITE_FUA ? 0 : 100, half = byre_round_up(c / 2, 512);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        ok(call(guest, kinds[i] * c + half - MIN(odd, half), c, flags));
}

static void each_whole(struct guest *guest, one_call *call, uint64_t c, unsigned flags)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        ok(call(guest, kinds[i] * c, (1 + i % 2) * c, flags));
}

/* One call over all of them. */
static void all_at_once(struct guest *guest, one_call *call, uint64_t c, unsigned flags)
{
    uint64_t odd = flags & BYRE_WRITE_FUA ? 0 : 37;

    ok(call(guest, c / 512 * 512 - odd, (FREE - 1) * c, flags));
}

static void write_parts(struct guest *guest, uint64_t c, unsigned flags)
{
    each_part(guest, write_one, c, flags);
}

static void write_whole(struct guest *guest, uint64_t c, unsigned flags)
{
    each_whole(guest, write_one, c, flags);
}

static void write_long(struct guest *guest, uint64_t c, unsigned flags)
{
    all_at_once(guest, write_one, c, flags);
}

static void write_in_place(struct guest *guest, uint64_t c, unsigned flags)
{
    ok(write_one(guest, DATA * c, 2 * c, flags));
    ok(write_one(guest, DATA * c, 512, flags));
    ok(write_one(guest, DATA * c + c - (flags ? 0 : 5), 512, flags));
}

static void zero_parts(struct guest *guest, uint64_t c, unsigned flags)
{
    each_part(guest, zero_one, c, flags);
}

static void zero_whole(struct guest *guest, uint64_t c, unsigned flags)
{
    each_whole(guest, zero_one, c, flags);
}

static void zero_long(struct guest *guest, uint64_t c, unsigned flags)
{
    all_at_once(guest, zero_one, c, flags);
}

static void discard_parts(struct guest *guest, uint64_t c, unsigned flags)
{
    each_part(guest, discard_one, c, flags);
}

static void discard_whole(struct guest *guest, uint64_t c, unsigned flags)
{
    each_whole(guest, discard_one, c, flags);
}

static void discard_long(struct guest *guest, uint64_t c, unsigned flags)
{
    all_at_once(guest, discard_one, c, flags);
}

static void compress(struct guest *guest, uint64_t c, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        ok(compressed(guest, kinds[i] * c, 1 + i % 2));
}

static void copy_up_parts(struct guest *guest, uint64_t c, unsigned flags)
{
    each_part(guest, copy_up_one, c, flags);
    ok(guest_write(guest, HOLE * c + c / 2, c));
}

static void copy_up_long(struct guest *guest, uint64_t c, unsigned flags)
{
    all_at_once(guest, copy_up_one, c, flags);
    ok(guest_discard(guest, HOLE * c, c));
}

/* The second one needs a longer L1 table. */
static void save_state(struct guest *guest, uint64_t c, unsigned flags)
{
    (void)flags;
    ok(guest_save_state(guest, 0, c + 100));
    ok(guest_save_state(guest, c / 8 * c, c));
    ok(guest_write(guest, HOLE * c, c));
}

static void only_flush(struct guest *guest, uint64_t c, unsigned flags)
{
    (void)c;
    (void)flags;
    ok(guest_flush(guest));
    ok(guest_write(guest, 0, 512));
    ok(guest_flush(guest));
    ok(guest_flush(guest));
}

static void close_and_open(struct guest *guest, uint64_t c, unsigned flags)
{
    (void)flags;
    ok(guest_close(guest));
    ok(guest_open(guest));
    ok(guest_write(guest, HOLE * c, c));
    ok(guest_discard(guest, DATA * c, c));
    ok(guest_close(guest));
    ok(guest_open(guest));
}

/* `flags` is the mode of preallocation. */
static void grow(struct guest *guest, uint64_t c, unsigned flags)
{
    ok(guest_write(guest, FREE * c, 512));
    ok(guest_grow_as(guest, guest->options.size - c, (enum byre_preallocation)flags));
    ok(guest_write(guest, guest->options.size - 2 * c, 512));
    ok(guest_grow_as(guest, guest->options.size, (enum byre_preallocation)flags));
    ok(guest_write(guest, guest->options.size - c, c));
}

/* Smaller, larger again, and smaller by whole L2 tables of the smallest clusters. */
static void shrink(struct guest *guest, uint64_t c, unsigned flags)
{
    uint64_t size = guest->options.size;

    (void)flags;
    ok(guest_write(guest, size - 3 * c, 3 * c));
    ok(compressed(guest, 26 * c, 1));
    ok(guest_shrink(guest, 27 * c - 512));
    ok(guest_write(guest, 27 * c - 1024, 512));
    ok(guest_shrink(guest, 26 * c - 512));
    ok(guest_grow_as(guest, size, BYRE_PREALLOC_OFF));
    ok(guest_write(guest, size - c, c));
    ok(guest_shrink(guest, 25 * c));
    ok(guest_write(guest, 25 * c - 512, 512));
}

static const struct act {
    const char *name;
    operation *run;
    unsigned flags;
    bool grows;
} acts[] = {
    { "writing parts", write_parts, 0, false },
    { "writing whole clusters", write_whole, 0, false },
    { "a long write", write_long, 0, false },
    { "writing in place", write_in_place, 0, false },
    { "writing parts with FUA", write_parts, BYRE_WRITE_FUA, false },
    { "writing whole clusters with FUA", write_whole, BYRE_WRITE_FUA, false },
    { "writing in place with FUA", write_in_place, BYRE_WRITE_FUA, false },
    { "zeroing parts", zero_parts, 0, false },
    { "zeroing whole clusters", zero_whole, 0, false },
    { "a long zeroing", zero_long, 0, false },
    { "zeroing parts, unmapping", zero_parts, BYRE_WRITE_ZEROES_UNMAP, false },
    { "zeroing whole clusters, unmapping", zero_whole, BYRE_WRITE_ZEROES_UNMAP, false },
    { "a long zeroing, unmapping", zero_long, BYRE_WRITE_ZEROES_UNMAP, false },
    { "zeroing parts without a fallback", zero_parts, BYRE_WRITE_ZEROES_NO_FALLBACK, false },
    { "zeroing whole clusters without a fallback", zero_whole, BYRE_WRITE_ZEROES_NO_FALLBACK, false },
    { "zeroing whole clusters, unmapping, without a fallback", zero_whole,
      BYRE_WRITE_ZEROES_NO_FALLBACK | BYRE_WRITE_ZEROES_UNMAP, false },
    { "zeroing parts with FUA", zero_parts, BYRE_WRITE_FUA, false },
    { "zeroing whole clusters, unmapping, with FUA", zero_whole, BYRE_WRITE_FUA | BYRE_WRITE_ZEROES_UNMAP, false },
    { "discarding parts", discard_parts, 0, false },
    { "discarding whole clusters", discard_whole, 0, false },
    { "a long discard", discard_long, 0, false },
    { "compressing", compress, 0, false },
    { "copying up parts", copy_up_parts, 0, false },
    { "a long copy up", copy_up_long, 0, false },
    { "saving VM state", save_state, 0, false },
    { "flushing", only_flush, 0, false },
    { "closing and opening", close_and_open, 0, false },
    { "growing", grow, BYRE_PREALLOC_OFF, true },
    { "growing with metadata", grow, BYRE_PREALLOC_METADATA, true },
    { "growing with allocation", grow, BYRE_PREALLOC_FALLOC, true },
    { "growing in full", grow, BYRE_PREALLOC_FULL, true },
    { "shrinking", shrink, 0, false },
};

/* --- images ---------------------------------------------------------------------------------------------- */

static const struct kind {
    const char *name;
    struct guest_options options; /* sizes are of clusters, and of bytes below the backing file's end */
    bool large;                   /* a choice of operations and states is enough */
} images[] = {
    { "512 bytes", { .cluster_bits = 9 }, false },
    { "512 bytes, the least cache, 64 bits", { .cluster_bits = 9, .cache_bytes = 1, .refcount_order = 6 }, false },
    { "512 bytes, version 2, backing", { .cluster_bits = 9, .version = 2, .backing_size = 15 }, false },
    { "512 bytes, backing, the least cache", { .cluster_bits = 9, .backing_size = 29, .cache_bytes = 1 }, false },
    { "1 KiB on a device", { .cluster_bits = 10, .device_size = 256 * K }, false },
    { "4 KiB, one bit", { .cluster_bits = 12, .refcount_order = -1 }, false },
    { "4 KiB, two bits, lazy", { .cluster_bits = 12, .refcount_order = 1, .lazy = true }, false },
    { "4 KiB, keeping what is discarded", { .cluster_bits = 12, .keep_discarded = true, .backing_size = 20 }, false },
    { "4 KiB, version 2", { .cluster_bits = 12, .version = 2 }, false },
    { "4 KiB, backing, 32 bits", { .cluster_bits = 12, .backing_size = 30, .refcount_order = 5 }, false },
    { "64 KiB", { .cluster_bits = 16 }, true },
    { "16 KiB with subclusters", { .cluster_bits = 14, .extended = true }, true },
    { "16 KiB with subclusters, lazy", { .cluster_bits = 14, .extended = true, .lazy = true }, true },
    { "16 KiB with subclusters, backing, the least cache",
      { .cluster_bits = 14, .extended = true, .backing_size = 18, .cache_bytes = 1 }, true },
    { "64 KiB with subclusters, backing, one bit",
      { .cluster_bits = 16, .extended = true, .backing_size = 29, .refcount_order = -1 }, true },
    { "512 bytes, data file", { .cluster_bits = 9, .data = GUEST_DATA_FILE }, true },
    { "4 KiB, data file, early, the least cache",
      { .cluster_bits = 12, .data = GUEST_DATA_FILE, .data_early = true, .cache_bytes = 1 }, true },
    { "4 KiB, data file, backing", { .cluster_bits = 12, .data = GUEST_DATA_FILE, .backing_size = 18 }, true },
    { "4 KiB, data file, backing, early",
      { .cluster_bits = 12, .data = GUEST_DATA_FILE, .data_early = true, .backing_size = 29 }, true },
    { "512 bytes, raw data file", { .cluster_bits = 9, .data = GUEST_DATA_RAW }, true },
    { "4 KiB, raw data file, early", { .cluster_bits = 12, .data = GUEST_DATA_RAW, .data_early = true }, true },
    { "16 KiB with subclusters, data file, backing",
      { .cluster_bits = 14, .extended = true, .data = GUEST_DATA_FILE, .backing_size = 18 }, true },
    { "16 KiB with subclusters, raw data file, early",
      { .cluster_bits = 14, .extended = true, .data = GUEST_DATA_RAW, .data_early = true }, true },
    { "4 KiB, data file, encrypted", { .cluster_bits = 12, .data = GUEST_DATA_FILE, .encrypted = true }, true },
    { "64 KiB, backing, 8 bits", { .cluster_bits = 16, .backing_size = 18, .refcount_order = 3 }, true },
};

/* How a guest works on it. */
enum manner { ENGINE, DISK, WRITE_THROUGH, MANNERS };

static struct guest_options options_of(const struct kind *image, const struct act *act, enum manner manner)
{
    struct guest_options options = image->options;
    uint64_t cluster = 1ULL << options.cluster_bits;

    options.size = CLUSTERS * cluster;
    if (act->grows) {
        /* The smallest clusters get further L2 tables, and a longer L1 table. */
        options.size = options.cluster_bits == 9 ? 70 * K : options.size;
        options.first_size = options.cluster_bits == 9 ? 28 * K : CLUSTERS_FIRST * cluster - 512;
    } else if (options.cluster_bits > 9) {
        options.size -= 512;
    }
    options.backing_size *= cluster;
    if (options.backing_size)
        options.backing_size -= 300;
    options.disk = manner != ENGINE;
    options.write_through = manner == WRITE_THROUGH;
    return options;
}

static void tell(const struct kind *image, const struct act *act, enum manner manner, unsigned number)
{
    struct guest_options options = options_of(image, act, manner);
    struct crash_options crash = {
        .seed = number, .exact = effort_of(3, image->large ? 2 : 4, 6), .samples = effort_of(1, 2, 40),
        .torn = image->large ? effort_of(40, 12, 1) : effort_of(8, 2, 1),
    };
    struct guest *guest = guest_new(&options);
    uint64_t c = cluster_of(guest);

    prepare(guest);
    act->run(guest, c, act->flags);
    ok(guest_compare(guest));
    ok(guest_flush(guest));
    /* Now what was freed is used again. */
    ok(guest_write(guest, FREE * c, 6 * c));
    ok(guest_flush(guest));
    ok(guest_write(guest, DATA * c + 100, c));
    ok(guest_close(guest));
    if (guest_crash(guest, &crash) != 0 || guest_check(guest, true) != 0)
        fail_msg("%s, clusters of %s%s", act->name, image->name,
                 (const char *[]){ "", ", through a disk", ", written through" }[manner]);
    guest_free(guest);
}

/* Is this one to be told?  Those of large clusters are few, unless there is time. */
static bool is_chosen(const struct kind *image, const struct act *act, enum manner manner, unsigned number)
{
    bool copies = act->run == copy_up_parts || act->run == copy_up_long;
    bool fua = act->flags & BYRE_WRITE_FUA && !act->grows;
    unsigned one_in = image->large ? effort_of(41, 6, 1) : effort_of(9, 1, 1);

    if (fua && (manner == ENGINE || (act->run == write_in_place && image->options.cluster_bits == 9)))
        return false; /* an engine has none, and it is for whole sectors */
    if (image->options.data && (act->run == compress || act->run == save_state))
        return false;
    if (copies && (!image->options.backing_size || manner == WRITE_THROUGH))
        return false; /* nothing to copy, or nothing that would be written through */
    if (manner == WRITE_THROUGH || (manner == DISK && !fua))
        one_in *= effort_of(1, 3, 1);
    return (number * 2654435761u >> 12) % one_in == 0;
}

static void every_operation_survives_any_crash(void **state)
{
    unsigned number = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(images); i++) {
        for (size_t j = 0; j < ARRAY_LEN(acts); j++) {
            for (enum manner manner = ENGINE; manner < MANNERS; manner++, number++) {
                if (is_chosen(&images[i], &acts[j], manner, number))
                    tell(&images[i], &acts[j], manner, number);
            }
        }
    }
}

/* Less of everything, for each state has all the bytes of the disk. */
static void clusters_of_2_MiB_survive_a_crash(void **state)
{
    struct guest *guest = guest_new(&(struct guest_options){ .size = 4 * 2 * M, .cluster_bits = 21 });
    struct crash_options crash = {
        .seed = 1, .exact = effort_of(1, 2, 4), .samples = 1, .torn = effort_of(50, 25, 4),
    };

    (void)state;
    ok(guest_write(guest, 0, 3 * M));
    ok(guest_restart(guest));
    ok(guest_write(guest, 5 * M, 512));
    ok(guest_discard(guest, 0, 2 * M));
    ok(guest_zero(guest, 3 * M, 100 * K, 0));
    ok(guest_flush(guest));
    ok(guest_write(guest, 1 * M, 512));
    ok(guest_close(guest));
    ok(guest_crash(guest, &crash));
    ok(guest_check(guest, true));
    guest_free(guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_survives_any_crash),
        cmocka_unit_test(clusters_of_2_MiB_survive_a_crash),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
