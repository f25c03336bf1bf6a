/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convert over a made-up disk layer and engine: what arrives, in which order room is reserved, and that
 * every way of failing leaves nothing reserved and nobody waiting.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/convert.h"
#include "disk/disk.h"
#include "qcow2/compress.h"
#include "qcow2/qcow2.h"

enum { CLUSTER = 4096, CLUSTERS_MAX = 1700 };

enum call { READ, MAP, WRITE_ZEROES, RESERVE, FILL, PUBLISH, CALLS };
enum state { FREE, RESERVED, FILLED, PUBLISHED, ZEROED };

/* The engine that convert sees. */
struct byre_qcow2 {
    pthread_mutex_t mutex; /* all below */
    struct byre_qcow2_header header;
    enum state states[CLUSTERS_MAX];
    uint8_t contents[CLUSTERS_MAX][CLUSTER];
    uint64_t last_reserved;
    bool out_of_order;
    bool append_only;
    bool has_room;         /* room can be made where there was none */
    bool room_made;        /* it was: items are written again, in any order */
};

static struct byre_qcow2 engine;

static struct {
    uint8_t bytes[CLUSTERS_MAX * CLUSTER];
    bool hole[CLUSTERS_MAX];
    uint64_t size;
} source;

static struct {
    enum call call;
    int left; /* calls until the one that fails; negative: none */
    bool lasting;
    atomic_int failures;
    pthread_mutex_t mutex;
} fault = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static int maybe_fail(enum call call, struct byre_error *err)
{
    LOCK_SCOPE(&fault.mutex);

    if (call != fault.call || fault.left < 0)
        return 0;
    if (fault.left > 0) {
        fault.left--;
        return 0;
    }
    if (!fault.lasting)
        fault.left = -1;
    atomic_fetch_add(&fault.failures, 1);
    return byre_error_set(err, -ENOSPC, "injected");
}

/* --- the disk layer ----------------------------------------------------------------------------------- */

uint64_t byre_get_size(const struct byre_disk *disk)
{
    return disk->size;
}

unsigned byre_layer_count(const struct byre_disk *disk)
{
    return disk->layer_count;
}

int byre_pread(struct byre_disk *disk, void *buf, size_t length, uint64_t goff, struct byre_error *err)
{
    assert_true(goff + length <= disk->size);
    memcpy(buf, source.bytes + goff, length);
    return maybe_fail(READ, err);
}

int byre_extents(struct byre_disk *disk, uint64_t goff, uint64_t length,
                 int (*each)(void *, const struct byre_extent *), void *opaque, struct byre_error *err)
{
    uint64_t end = goff + length;
    int r = maybe_fail(MAP, err);

    assert_true(end <= disk->size);
    while (goff < end && !r) {
        uint64_t next = MIN(byre_round_down(goff, CLUSTER) + CLUSTER, end);
        struct byre_extent extent = { .goff = goff, .length = next - goff };

        extent.kind = source.hole[goff / CLUSTER] ? BYRE_EXTENT_HOLE : BYRE_EXTENT_DATA;
        r = each(opaque, &extent);
        goff = next;
    }
    return r;
}

int byre_pwrite(struct byre_disk *disk, const void *buf, size_t length, uint64_t goff, struct byre_error *err)
{
    (void)disk, (void)buf, (void)length, (void)goff, (void)err;
    fail_msg("a qcow2 target is written through the engine");
    return 0;
}

/* May a cluster in this state be written? */
static bool is_takeable(enum state state)
{
    return state == FREE || (engine.room_made && (state == PUBLISHED || state == ZEROED));
}

int byre_write_zeroes(struct byre_disk *disk, uint64_t goff, uint64_t length, unsigned flags,
                      struct byre_error *err)
{
    int r = maybe_fail(WRITE_ZEROES, err);
    LOCK_SCOPE(&engine.mutex);

    (void)flags;
    assert_true(goff + length <= disk->size);
    for (uint64_t i = goff / CLUSTER; i < byre_div_up(goff + length, CLUSTER) && !r; i++) {
        assert_true(is_takeable(engine.states[i]));
        engine.states[i] = ZEROED;
    }
    return r;
}

/* --- the engine --------------------------------------------------------------------------------------- */

static void change_state(uint64_t goff, uint64_t length, enum state from, enum state to)
{
    LOCK_SCOPE(&engine.mutex);

    for (uint64_t i = goff / CLUSTER; i < byre_div_up(goff + length, CLUSTER); i++) {
        assert_true(from == FREE ? is_takeable(engine.states[i]) : engine.states[i] == from);
        engine.states[i] = to;
    }
}

static void check_order(uint64_t goff)
{
    LOCK_SCOPE(&engine.mutex);

    assert_true(engine.append_only);
    assert_true(engine.out_of_order || engine.room_made || !engine.last_reserved || goff >= engine.last_reserved);
    engine.last_reserved = goff;
}

const struct byre_qcow2_header *byre_qcow2_header(const struct byre_qcow2 *image)
{
    return &image->header;
}

uint32_t byre_qcow2_subcluster_size(const struct byre_qcow2 *image)
{
    return 1u << image->header.cluster_bits;
}

void byre_qcow2_set_append_only(struct byre_qcow2 *image, bool append_only)
{
    image->append_only = append_only;
}

bool byre_qcow2_make_room(struct byre_qcow2 *image, int rc)
{
    LOCK_SCOPE(&image->mutex);
    if (rc != -ENOSPC || !image->has_room)
        return false;
    return image->room_made = true;
}

int byre_qcow2_reserve(struct byre_qcow2 *image, uint64_t goff, uint64_t length,
                       struct byre_qcow2_reservation *ret_reservation, struct byre_error *err)
{
    int r = maybe_fail(RESERVE, err);

    (void)image;
    if (r < 0)
        return r;
    check_order(goff);
    /* Not always all of it: runs of the host may be short. */
    if (goff / CLUSTER % 7 == 0)
        length = MIN(length, (uint64_t)5 * CLUSTER);
    change_state(goff, length, FREE, RESERVED);
    *ret_reservation = (struct byre_qcow2_reservation){ .goff = goff, .length = length };
    return 0;
}

int byre_qcow2_fill(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                    const struct iovec *iov, int iov_count, struct byre_error *err)
{
    int r = maybe_fail(FILL, err);

    assert_int_equal(iov_count, 1);
    assert_int_equal(iov->iov_len, reservation->length);
    if (r < 0)
        return r;
    memcpy(image->contents[reservation->goff / CLUSTER], iov->iov_base, iov->iov_len);
    change_state(reservation->goff, reservation->length, RESERVED, FILLED);
    return 0;
}

int byre_qcow2_publish(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation,
                       struct byre_error *err)
{
    int r = maybe_fail(PUBLISH, err);

    (void)image;
    change_state(reservation->goff, reservation->length, FILLED, r < 0 ? FREE : PUBLISHED);
    return r;
}

void byre_qcow2_abandon(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation)
{
    bool filled = image->states[reservation->goff / CLUSTER] == FILLED;

    change_state(reservation->goff, reservation->length, filled ? FILLED : RESERVED, FREE);
}

int byre_qcow2_reserve_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items, size_t count,
                                  struct byre_error *err)
{
    int r = maybe_fail(RESERVE, err);

    (void)image;
    for (size_t i = 0; i < count && r >= 0; i++) {
        check_order(items[i].goff);
        assert_true(items[i].length > 0 && items[i].length < CLUSTER);
        change_state(items[i].goff, 1, FREE, RESERVED);
    }
    return r;
}

static void inflate(const struct byre_qcow2_compressed *item)
{
    struct byre_codec *codec;

    assert_int_equal(byre_codec_new(BYRE_COMPRESSION_ZLIB, 0, &codec, NULL), 0);
    assert_int_equal(byre_codec_decompress(codec, item->data, item->length,
                                           engine.contents[item->goff / CLUSTER], CLUSTER, NULL), 0);
    byre_codec_free(codec);
}

int byre_qcow2_fill_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items,
                               size_t count, struct byre_error *err)
{
    int r = maybe_fail(FILL, err);

    (void)image;
    for (size_t i = 0; i < count && r >= 0; i++) {
        inflate(&items[i]);
        change_state(items[i].goff, 1, RESERVED, FILLED);
    }
    return r;
}

int byre_qcow2_publish_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items,
                                  size_t count, struct byre_error *err)
{
    int r = maybe_fail(PUBLISH, err);

    (void)image;
    for (size_t i = 0; i < count; i++)
        change_state(items[i].goff, 1, FILLED, r < 0 ? FREE : PUBLISHED);
    return r;
}

void byre_qcow2_abandon_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items,
                                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool filled = image->states[items[i].goff / CLUSTER] == FILLED;

        change_state(items[i].goff, 1, filled ? FILLED : RESERVED, FREE);
    }
}

/* --- running ------------------------------------------------------------------------------------------ */

static struct byre_layer source_layer = { .name = (char *)"source" };
static struct byre_store target_store = { .growable = true };
static struct byre_layer target_layer = {
    .name = (char *)"target", .qcow2 = &engine, .store = &target_store,
};
static struct byre_disk source_disk = { .layers = &source_layer, .layer_count = 1 };
static struct byre_disk target_disk = { .layers = &target_layer, .layer_count = 1, .unsealed = true };
static struct byre_error error;
static uint64_t last_progress;

static void see_progress(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque;
    assert_true(done > last_progress && done <= total);
    last_progress = done;
}

static const struct byre_convert_options NEW_IMAGE = {
    .target_is_zero = true, .sparse_size = CLUSTER, .progress = see_progress,
};

/* Text, noise, zeros and holes in turn. */
static void make_source(uint64_t size)
{
    source.size = source_disk.size = target_disk.size = size;
    memset(source.bytes, 0, sizeof source.bytes);
    for (unsigned i = 0, end; i < byre_div_up(size, CLUSTER); i = end) {
        int kind = rand() % 4;

        end = MIN(i + 1 + (unsigned)rand() % 400, (unsigned)CLUSTERS_MAX);
        for (unsigned k = i; k < end; k++)
            source.hole[k] = kind == 0;
        for (size_t at = (size_t)i * CLUSTER; at < MIN(size, (uint64_t)end * CLUSTER) && kind >= 2; at++)
            source.bytes[at] = (uint8_t)(kind == 2 ? at % 23 : (size_t)rand());
    }
}

static int convert(const struct byre_convert_options *options)
{
    struct byre_disk *sources[] = { &source_disk };

    pthread_mutex_init(&engine.mutex, NULL);
    engine.header = (struct byre_qcow2_header){ .cluster_bits = 12 };
    memset(engine.states, 0, sizeof engine.states);
    memset(engine.contents, 0, sizeof engine.contents);
    engine.last_reserved = 0;
    engine.room_made = false;
    engine.out_of_order = options->out_of_order;
    last_progress = 0;
    atomic_store(&fault.failures, 0);
    return byre_convert(sources, 1, &target_disk, options, &error);
}

static void check_arrived(const struct byre_convert_options *options)
{
    for (size_t i = 0; i < byre_div_up(source.size, CLUSTER); i++) {
        size_t part = MIN((uint64_t)CLUSTER, source.size - i * CLUSTER);
        enum state state = engine.states[i];

        assert_true(state == PUBLISHED || state == (options->target_is_zero ? FREE : ZEROED));
        assert_memory_equal(engine.contents[i], source.bytes + i * CLUSTER, part);
        if (source.hole[i] && options->sparse_size)
            assert_int_not_equal(state, PUBLISHED);
    }
    assert_int_equal(last_progress, source.size);
    assert_false(engine.append_only);
}

static struct byre_convert_options random_options(void)
{
    struct byre_convert_options options = NEW_IMAGE;

    options.threads = 1 + (unsigned)rand() % 4;
    options.compress = rand() % 2;
    options.target_is_zero = rand() % 2;
    options.out_of_order = rand() % 4 == 0;
    options.sparse_size = rand() % 4 == 0 ? 0 : CLUSTER;
    return options;
}

static void converts_of_random_sources_arrive(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct byre_convert_options options = random_options();

        fault.left = -1;
        make_source(1 + (uint64_t)rand() % (CLUSTERS_MAX * CLUSTER));
        assert_int_equal(convert(&options), 0);
        check_arrived(&options);
    }
}

static void converts_that_fail_leave_nothing_reserved(void **state)
{
    int failed = 0, rescued = 0;

    (void)state;
    make_source(CLUSTERS_MAX * CLUSTER - 77);
    for (int round = 0; round < 200; round++) {
        struct byre_convert_options options = random_options();

        fault.call = (enum call)(rand() % CALLS);
        fault.left = rand() % 6;
        fault.lasting = rand() % 2;
        engine.has_room = rand() % 2;
        if (convert(&options) == 0) {
            assert_true(fault.failures == 0 || engine.room_made);
            assert_false(fault.failures > 0 && fault.lasting);
            rescued += engine.room_made;
            check_arrived(&options);
            continue;
        }
        failed++;
        assert_true(fault.failures > 0);
        assert_int_equal(error.code, -ENOSPC);
        assert_non_null(strstr(error.text, "injected"));
        assert_non_null(strstr(error.text, fault.call == READ || fault.call == MAP ? "error while reading"
                                                                                   : "error while writing"));
        for (size_t i = 0; i < CLUSTERS_MAX; i++)
            assert_true(engine.states[i] != RESERVED && engine.states[i] != FILLED);
        assert_false(engine.append_only);
    }
    assert_true(failed > 0 && rescued > 0);
    engine.has_room = false;
}

static void convert_that_salvages_survives_a_read_error(void **state)
{
    struct byre_convert_options options = NEW_IMAGE;

    (void)state;
    make_source(CLUSTERS_MAX * CLUSTER);
    options.salvage = true;
    fault.call = READ;
    fault.left = 1;
    fault.lasting = false;
    assert_int_equal(convert(&options), 0);
    check_arrived(&options); /* the second try reads what the first could not */
}

static void convert_to_a_smaller_target_is_refused(void **state)
{
    (void)state;
    make_source(10 * CLUSTER);
    target_disk.size = 9 * CLUSTER;
    fault.left = -1;
    assert_int_equal(convert(&NEW_IMAGE), -EINVAL);
    assert_string_equal(error.text, "output file is smaller than input file");
}

static void convert_compressing_into_raw_is_refused(void **state)
{
    struct byre_convert_options options = NEW_IMAGE;

    (void)state;
    make_source(10 * CLUSTER);
    options.compress = true;
    target_layer.qcow2 = NULL;
    assert_int_equal(convert(&options), -ENOTSUP);
    assert_string_equal(error.text, "Compression not supported for this file format");
    target_layer.qcow2 = &engine;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converts_of_random_sources_arrive),
        cmocka_unit_test(converts_that_fail_leave_nothing_reserved),
        cmocka_unit_test(convert_that_salvages_survives_a_read_error),
        cmocka_unit_test(convert_to_a_smaller_target_is_refused),
        cmocka_unit_test(convert_compressing_into_raw_is_refused),
    };
    unsigned seed = (unsigned)time(NULL);

    print_message("seed %u\n", seed);
    srand(seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
