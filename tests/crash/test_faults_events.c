/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An error at each event that the engine raises: injected for once and from then on, at once and with a pause.
 *
 * Nothing crashes, the image is free of corruption afterwards, and what a flush promised is there.  And each event that
 * the manual names is raised by one of the stories.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../unit/check_image.h"
#include "base/arith.h"
#include "byre/disk.h"
#include "effort.h"
#include "qcow2/compress.h"
#include "qcow2/header_read.h"
#include "qcow2/qcow2.h"
#include "store/blkdebug.h"

enum { CLUSTERS_MAX = 256, BELOW = 0xbe };

/* What a story begins with. */
struct plot {
    const char *name;
    unsigned cluster_bits;
    uint64_t align;   /* of the store */
    uint64_t length;  /* of the file when the story begins: short of what its tables can count */
    bool by_hand;     /* an image whose COPIED flags are missing */
    uint64_t far;     /* a guest cluster with an L2 table of its own, or 0 */
};

static const struct plot plots[] = {
    { "tables grow", 9, 0, (2 << 20) - 1024, false, 0 },
    { "blocks of two clusters", 9, 1024, 0, false, 0 },
    { "large clusters", 17, 0, 0, false, 20000 },
    { "nothing is exclusive", 12, 0, 0, true, 0 },
};

/* Raised by the engine and by the wrappers under it; the disk raises READ_AIO and others as well. */
static const enum byre_event engine_events[] = {
    BYRE_EVENT_L1_UPDATE, BYRE_EVENT_L2_LOAD, BYRE_EVENT_L2_UPDATE, BYRE_EVENT_L2_UPDATE_COMPRESSED,
    BYRE_EVENT_L2_ALLOC_COW_READ, BYRE_EVENT_L2_ALLOC_WRITE, BYRE_EVENT_READ_AIO, BYRE_EVENT_READ_BACKING_AIO,
    BYRE_EVENT_READ_COMPRESSED, BYRE_EVENT_WRITE_AIO, BYRE_EVENT_WRITE_COMPRESSED, BYRE_EVENT_COW_READ,
    BYRE_EVENT_COW_WRITE, BYRE_EVENT_REFTABLE_LOAD, BYRE_EVENT_REFTABLE_GROW, BYRE_EVENT_REFTABLE_UPDATE,
    BYRE_EVENT_REFBLOCK_LOAD, BYRE_EVENT_REFBLOCK_UPDATE, BYRE_EVENT_REFBLOCK_UPDATE_PART,
    BYRE_EVENT_REFBLOCK_ALLOC, BYRE_EVENT_REFBLOCK_ALLOC_HOOKUP, BYRE_EVENT_REFBLOCK_ALLOC_WRITE,
    BYRE_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS, BYRE_EVENT_REFBLOCK_ALLOC_WRITE_TABLE,
    BYRE_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE, BYRE_EVENT_CLUSTER_ALLOC, BYRE_EVENT_CLUSTER_ALLOC_BYTES,
    BYRE_EVENT_CLUSTER_FREE, BYRE_EVENT_FLUSH_TO_OS, BYRE_EVENT_FLUSH_TO_DISK, BYRE_EVENT_PWRITEV_RMW_HEAD,
    BYRE_EVENT_PWRITEV_RMW_AFTER_HEAD, BYRE_EVENT_PWRITEV_RMW_TAIL, BYRE_EVENT_PWRITEV_RMW_AFTER_TAIL,
    BYRE_EVENT_PWRITEV, BYRE_EVENT_PWRITEV_ZERO, BYRE_EVENT_PWRITEV_DONE,
};

/* A guest cluster has one byte all over, apart from the part that a write left as it was. */
struct content {
    int first, rest; /* byte 0 and the last one */
    bool sure;       /* a flush has promised it */
    bool doubtful;   /* a failed write may have been here */
};

static struct {
    const struct plot *plot;
    const struct byre_inject_error *rule; /* or NULL */
    struct byre_store *store;             /* with the rule */
    struct byre_qcow2 *image;
    struct content content[CLUSTERS_MAX];
} tale;

static unsigned raised[BYRE_EVENT_COUNT];
static struct byre_store_ops counting_ops;
static const struct byre_store_ops *real_ops;

static void count_event(struct byre_store *store, unsigned event)
{
    raised[event]++;
    real_ops->event(store, event);
}

static uint32_t cluster_size(void)
{
    return 1u << tale.plot->cluster_bits;
}

/* --- requests ------------------------------------------------------------------------------------------- */

static int read_below(void *opaque, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    (void)opaque;
    (void)goff;
    (void)err;
    memset(buf, BELOW, length);
    return 0;
}

static void open_image(void)
{
    struct byre_qcow2_open_options options = { .writable = true };
    struct byre_qcow2_below below = { .read = read_below };

    if (byre_qcow2_open(tale.store, &options, &tale.image, NULL) < 0)
        tale.image = NULL;
    if (tale.image)
        byre_qcow2_set_below(tale.image, &below);
    if (tale.image && tale.plot->length)
        byre_qcow2_set_append_only(tale.image, true);
}

/* A request changed a cluster, or failed to. */
static void note(unsigned cluster, int rc, int first, int rest)
{
    struct content *content = &tale.content[cluster];
    bool doubtful = content->doubtful || rc < 0;

    *content = (struct content){ first, rest, false, doubtful };
}

static int write_part(unsigned cluster, unsigned from, unsigned length, int byte)
{
    uint8_t *bytes = malloc(length);
    struct iovec iov = { bytes, length };
    int rc;

    assert_non_null(bytes);
    memset(bytes, byte, length);
    rc = byre_qcow2_writev(tale.image, (uint64_t)cluster * cluster_size() + from, &iov, 1, length, NULL);
    free(bytes);
    return rc;
}

static void try_write(unsigned cluster, int byte)
{
    if (tale.image)
        note(cluster, write_part(cluster, 0, cluster_size(), byte), byte, byte);
}

static void try_write_first_half(unsigned cluster, int byte)
{
    if (tale.image)
        note(cluster, write_part(cluster, 0, cluster_size() / 2, byte), byte, tale.content[cluster].rest);
}

static void try_write_last_half(unsigned cluster, int byte)
{
    uint32_t half = cluster_size() / 2;

    if (tale.image)
        note(cluster, write_part(cluster, half, half, byte), tale.content[cluster].first, byte);
}

static void try_zero(unsigned cluster)
{
    if (tale.image)
        note(cluster, byre_qcow2_write_zeroes(tale.image, (uint64_t)cluster * cluster_size(), cluster_size(),
                                              BYRE_WRITE_ZEROES_UNMAP, NULL), 0, 0);
}

static void try_discard(unsigned cluster)
{
    if (tale.image)
        note(cluster, byre_qcow2_discard(tale.image, (uint64_t)cluster * cluster_size(), cluster_size(), NULL), 0,
             0);
}

static int write_compressed(unsigned cluster, int byte)
{
    uint8_t *plain = malloc(cluster_size()), *packed = malloc(cluster_size());
    struct byre_qcow2_compressed item = { .goff = (uint64_t)cluster * cluster_size(), .data = packed };
    struct byre_codec *codec = NULL;
    int64_t length;
    int rc;

    assert_true(plain && packed);
    memset(plain, byte, cluster_size());
    assert_int_equal(byre_codec_new(BYRE_COMPRESSION_ZLIB, 0, &codec, NULL), 0);
    length = byre_codec_compress(codec, plain, cluster_size(), packed, cluster_size() - 1, NULL);
    assert_true(length > 0);
    item.length = (uint32_t)length;
    rc = byre_qcow2_reserve_compressed(tale.image, &item, 1, NULL);
    if (rc == 0) {
        rc = byre_qcow2_fill_compressed(tale.image, &item, 1, NULL);
        if (rc == 0)
            rc = byre_qcow2_publish_compressed(tale.image, &item, 1, NULL);
        else
            byre_qcow2_abandon_compressed(tale.image, &item, 1);
    }
    byre_codec_free(codec);
    free(plain);
    free(packed);
    return rc;
}

static void try_compressed(unsigned cluster, int byte)
{
    if (tale.image)
        note(cluster, write_compressed(cluster, byte), byte, byte);
}

static void promise(void)
{
    for (unsigned i = 0; i < CLUSTERS_MAX; i++)
        tale.content[i].sure = !tale.content[i].doubtful;
}

static void try_flush(void)
{
    if (tale.image && byre_qcow2_flush(tale.image, NULL) == 0)
        promise();
}

static void try_close(void)
{
    if (tale.image && byre_qcow2_close(tale.image, NULL) == 0)
        promise();
    tale.image = NULL;
}

/* --- stories -------------------------------------------------------------------------------------------- */

static void begin(struct byre_store *store)
{
    struct byre_qcow2_create_options options = {
        .size = MAX((uint64_t)CLUSTERS_MAX, tale.plot->far + 1) * cluster_size(), .version = 3,
        .cluster_bits = tale.plot->cluster_bits, .refcount_order = 6, .backing_name = "below",
    };

    assert_int_equal(byre_qcow2_create(store, &options, &tale.image, NULL), 0);
    assert_int_equal(byre_qcow2_seal(tale.image, NULL), 0);
    for (unsigned i = 0; i < CLUSTERS_MAX; i++)
        tale.content[i] = (struct content){ BELOW, BELOW, true, false };
    for (unsigned i = 0; i < 4; i++)
        try_write(i, 'a');
    try_compressed(8, 'c');
    try_compressed(9, 'd');
    try_close();
    if (tale.plot->length)
        assert_int_equal(byre_store_truncate(store, tale.plot->length, NULL), 0);
}

/* Bytes of clusters are their host clusters' numbers. */
static void begin_by_hand(struct byre_store *store)
{
    struct image made;

    image_init(&made, 3, tale.plot->cluster_bits, 4);
    image_set(&made, 3, 0, image_at(&made, 4, 0));
    image_set(&made, 4, 2, image_at(&made, 7, 0));
    image_set(&made, 4, 3, image_at(&made, 8, 0));
    for (unsigned i = 0; i < IMAGE_DATA; i++)
        tale.content[i] = (struct content){ (int)(5 + i), (int)(5 + i), true, false };
    assert_int_equal(byre_store_pwrite(store, made.bytes, (size_t)made.clusters * made.cluster_size, 0, NULL), 0);
    image_done(&made);
}

static void go_on_by_hand(void)
{
    try_write_last_half(2, 'p');
    try_flush();
    try_write_first_half(3, 'q');
    try_write(1, 'r');
    try_flush();
}

static void go_on(void)
{
    try_write_last_half(20, 'e');
    try_flush();
    try_write_first_half(8, 'f'); /* what was compressed */
    try_compressed(30, 'g');
    try_compressed(31, 'h');
    try_discard(0);
    try_zero(1);
    try_flush();
    try_write(70, 'i'); /* another L2 table where they are small */
    try_write(2, 'j');
    if (tale.image && tale.plot->far)
        (void)write_part((unsigned)tale.plot->far, 0, 512, 'm');
    for (unsigned i = 100; i < 140; i++)
        try_write(i, 'k');
    try_flush();
    try_write_first_half(21, 'l');
    try_flush();
}

/* --- the end -------------------------------------------------------------------------------------------- */

static const char *describe(void)
{
    static char text[200];

    if (!tale.rule)
        return tale.plot->name;
    snprintf(text, sizeof text, "%s, %s, %s, %s", tale.plot->name, byre_event_name(tale.rule->event),
             tale.rule->once ? "once" : "for ever", tale.rule->immediately ? "immediately" : "later");
    return text;
}

static void check(struct byre_store *store, bool repair)
{
    struct byre_check_result result;
    struct byre_qcow2_header header;

    for (int round = repair ? 0 : 1; round < 2; round++) {
        unsigned how = round ? 0 : BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS;

        assert_int_equal(byre_qcow2_header_read(store, &header, NULL), 0);
        assert_int_equal(byre_qcow2_check(store, &header, how, NULL, &result, NULL), 0);
        byre_qcow2_header_done(&header);
    }
    if (result.corruptions || result.check_errors || (!tale.rule && result.leaks))
        fail_msg("%s: %llu corruptions, %llu leaks, %llu errors", describe(), (unsigned long long)result.corruptions,
                 (unsigned long long)result.leaks, (unsigned long long)result.check_errors);
}

/* Reads one byte of the guest. */
static int guest_byte(uint64_t goff)
{
    byre_extent_vec extents = VEC_INIT;
    struct byre_extent extent;
    uint8_t *cluster = malloc(cluster_size()), byte = 0;

    assert_non_null(cluster);
    assert_int_equal(byre_qcow2_map(tale.image, goff, 1, &extents, NULL), 0);
    extent = extents.ptr[0];
    vec_done(&extents);
    if (extent.kind == BYRE_EXTENT_HOLE)
        byte = BELOW;
    if (extent.kind == BYRE_EXTENT_DATA)
        assert_int_equal(byre_store_pread(tale.store, &byte, 1, extent.hoff, NULL), 0);
    if (extent.kind == BYRE_EXTENT_COMPRESSED) {
        assert_int_equal(byre_qcow2_read_compressed(tale.image, extent.hoff, extent.stored, cluster, NULL), 0);
        byte = cluster[goff & (cluster_size() - 1)];
    }
    free(cluster);
    return byte;
}

static void compare(void)
{
    unsigned end = tale.plot->by_hand ? IMAGE_DATA : CLUSTERS_MAX;

    for (unsigned i = 0; i < end; i++) {
        const struct content *content = &tale.content[i];
        uint64_t goff = (uint64_t)i * cluster_size();

        if (content->sure && (guest_byte(goff) != content->first ||
                              guest_byte(goff + cluster_size() - 1) != content->rest))
            fail_msg("%s: cluster %u lost what was flushed", describe(), i);
    }
}

/* Judges what the file holds now. */
static void judge(struct byre_store *store)
{
    struct byre_qcow2_open_options options = { .writable = false };

    check(store, tale.plot->by_hand);
    tale.store = store;
    assert_int_equal(byre_qcow2_open(store, &options, &tale.image, NULL), 0);
    compare();
    assert_int_equal(byre_qcow2_close(tale.image, NULL), 0);
    tale.image = NULL;
}

static struct byre_store *copy_of(struct byre_store *memory)
{
    uint64_t length;
    const uint8_t *bytes = byre_memory_bytes(memory, &length);
    struct byre_store *copy = NULL;

    assert_int_equal(byre_memory_new(bytes, length, &copy, NULL), 0);
    return copy;
}

/* Tells a story from the beginning to the end. */
static void tell(const struct plot *plot, const struct byre_inject_error *rule)
{
    struct byre_blkdebug_options options = { .align = plot->align };
    struct byre_store *memory = NULL, *after;

    memset(&tale, 0, sizeof tale);
    tale.plot = plot;
    assert_int_equal(byre_memory_new(NULL, 0, &memory, NULL), 0);
    (plot->by_hand ? begin_by_hand : begin)(memory);
    tale.rule = rule;
    effort_count(EFFORT_FAULTS, rule != NULL);
    if (rule)
        assert_int_equal(vec_push(&options.inject, *rule), 0);
    assert_int_equal(byre_blkdebug_new(memory, &options, &tale.store, NULL), 0);
    byre_blkdebug_options_done(&options);
    real_ops = tale.store->ops;
    counting_ops = *real_ops;
    counting_ops.event = count_event;
    tale.store->ops = &counting_ops;
    open_image();
    (plot->by_hand ? go_on_by_hand : go_on)();
    try_close();
    after = copy_of(memory);
    byre_store_close(tale.store);
    judge(after);
    byre_store_close(after);
}

static void story_without_errors_raises_every_event(void **state)
{
    (void)state;
    memset(raised, 0, sizeof raised);
    for (size_t i = 0; i < ARRAY_LEN(plots); i++) {
        tell(&plots[i], NULL);
        for (unsigned j = 0; j < CLUSTERS_MAX; j++)
            assert_false(tale.content[j].doubtful);
    }
    for (size_t i = 0; i < ARRAY_LEN(engine_events); i++) {
        if (!raised[engine_events[i]])
            fail_msg("%s was not raised", byre_event_name(engine_events[i]));
    }
}

static void error_at_any_event_leaves_a_sound_image(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(engine_events) * 4; i++) {
        struct byre_inject_error rule = byre_inject_error_init();

        rule.event = engine_events[i / 4];
        rule.once = i & 1;
        rule.immediately = i & 2;
        for (size_t j = 0; j < ARRAY_LEN(plots); j++)
            tell(&plots[j], &rule);
    }
}

/* Where only requests for one place fail, others go on in between. */
static void error_at_one_sector_leaves_a_sound_image(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(engine_events); i++) {
        for (int64_t sector = 0; sector < 40; sector += 3) {
            struct byre_inject_error rule = byre_inject_error_init();

            rule.event = engine_events[i];
            rule.once = true;
            rule.sector = sector;
            rule.code = -ENOSPC;
            tell(&plots[sector % 2], &rule);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(story_without_errors_raises_every_event),
        cmocka_unit_test(error_at_any_event_leaves_a_sound_image),
        cmocka_unit_test(error_at_one_sector_leaves_a_sound_image),
    };

    return effort_report(cmocka_run_group_tests_name("faults_events", tests, NULL, NULL));
}
