/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Damage of every kind, to every structure, in images of every kind: `check -r all` leaves an image in which a check
 * finds nothing, in which a second repair has nothing to do, and whose contents are those from before, as far as they
 * could be read.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../crash/crash_states.h"
#include "../crash/effort.h"
#include "../crash/qemu_check.h"
#include "../crash/record_store.h"
#include "base/arith.h"
#include "base/endian.h"
#include "edit_image.h"
#include "qcow2/check.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/header_read.h"
#include "store/memory.h"

#define ALL (BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS)

static const struct edit_options kinds[] = {
    { .name = "version 2", .version = 2, .cluster_bits = 9, .refcount_order = 4, .snapshots = true },
    { .name = "version 2, backing", .version = 2, .cluster_bits = 12, .refcount_order = 4, .backing = true },
    { .name = "512 bytes", .version = 3, .cluster_bits = 9, .refcount_order = 4, .snapshots = true, .bitmaps = true },
    { .name = "4 KiB, 64 bits", .version = 3, .cluster_bits = 12, .refcount_order = 6, .snapshots = true },
    { .name = "4 KiB, one bit", .version = 3, .cluster_bits = 12, .refcount_order = 0, .bitmaps = true },
    { .name = "extended", .version = 3, .cluster_bits = 14, .refcount_order = 4, .extended = true, .snapshots = true },
    { .name = "a data file", .version = 3, .cluster_bits = 12, .refcount_order = 4, .data_file = true },
    { .name = "a raw data file, extended", .version = 3, .cluster_bits = 14, .refcount_order = 3, .data_file = true,
      .data_file_raw = true, .extended = true, .bitmaps = true },
    { .name = "encrypted", .version = 3, .cluster_bits = 10, .refcount_order = 3, .luks = true, .snapshots = true },
};

/* Words that are damaged: of each structure, up to the first 255. */
static const uint8_t words[EDIT_STRUCTURES][20] = {
    [EDIT_HEADER] = { 6, 7, 8, 255 },
    [EDIT_REFTABLE] = { 0, 1, 63, 255 },
    [EDIT_REFBLOCK] = { 0, 1, 2, 4, 255 },
    [EDIT_L1] = { 0, 1, 255 },
    [EDIT_L2] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 16, 17, 18, 19, 40, 63, 255 },
    [EDIT_SNAPSHOTS] = { 0, 1, 4, 5, 6, 8, 9, 12, 255 },
    [EDIT_SNAPSHOT_L1] = { 0, 1, 255 },
    [EDIT_DIRECTORY] = { 0, 1, 2, 3, 4, 5, 6, 255 },
    [EDIT_BITMAP] = { 0, 255 },
    [EDIT_BITMAP_DATA] = { 255 },
    [EDIT_CRYPT] = { 255 },
    [EDIT_DATA] = { 255 },
};

/* One word of an image that is made to be something else. */
struct damage {
    enum edit_structure structure;
    unsigned index;
    uint32_t word;
    uint64_t value;
};

static void describe(const struct edit_image *image, const struct damage *damage, char *text, size_t room)
{
    snprintf(text, room, "%s: %s %u, word %u is 0x%llx", image->options.name, edit_name(damage->structure),
             damage->index, damage->word, (unsigned long long)damage->value);
}

/* What a word is made to be: places of all structures, and what no word can be. */
static size_t list_values(const struct edit_image *image, uint64_t now, uint64_t values[64])
{
    uint64_t data = edit_hoff(image, EDIT_DATA, 0) + (image->options.data_file ? image->cluster * 3ULL : 0);
    const uint64_t odd[] = {
        0, 1, UINT64_MAX, 0x0000000100000001, now ^ BYRE_L2_COPIED, now ^ 512, now | 1ULL << 57, now | 1ULL << 60,
        now | 4, now ^ 1ULL << 32, (uint64_t)image->clusters * image->cluster,
        (uint64_t)image->clusters * image->cluster | BYRE_L2_COPIED, 1ULL << 40, 0x00fffffffffff000ULL, data,
        data | BYRE_L2_COPIED, data | BYRE_L2_COPIED | 512, data | BYRE_L2_ZERO, data | BYRE_L2_ZERO | 512,
        BYRE_L2_COMPRESSED | (data + 17), 3ULL << 62 | data, BYRE_L2_COMPRESSED | 600, BYRE_L2_COMPRESSED | 1ULL << 40,
        BYRE_L2_COMPRESSED | (edit_hoff(image, EDIT_L2, 0) + 100),
    };
    size_t count = ARRAY_LEN(odd);

    memcpy(values, odd, sizeof odd);
    for (enum edit_structure s = EDIT_HEADER; s < EDIT_STRUCTURES; s++) {
        for (unsigned i = 0; i < 2 && edit_hoff(image, s, i); i++) {
            values[count++] = edit_hoff(image, s, i);
            values[count++] = edit_hoff(image, s, i) | BYRE_L2_COPIED;
        }
    }
    assert_true(count <= 64);
    return count;
}

/* --- one image ------------------------------------------------------------------------------------------- */

static char report[32768];

static void take_line(void *opaque, const char *line)
{
    size_t used = strlen(report);

    (void)opaque;
    snprintf(report + used, sizeof report - used, "%s\n", line);
}

/* 1: the header makes no sense, even if its refcount table is left out. */
static int check(struct byre_store *store, unsigned repair, struct byre_check_result *result)
{
    struct byre_check_options options = { .report = take_line };
    struct byre_qcow2_header header;
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_qcow2_header_read(store, &header, NULL);

    report[0] = 0;
    if (rc < 0 && repair)
        rc = byre_qcow2_header_read_without_refcounts(store, &header, NULL);
    if (rc < 0)
        return 1;
    rc = byre_qcow2_check(store, &header, repair, &options, result, &err);
    byre_qcow2_header_done(&header);
    if (rc < 0)
        snprintf(report, sizeof report, "%s\n", err.text);
    return rc;
}

static bool is_right(const struct byre_check_result *result)
{
    return result->corruptions == 0 && result->leaks == 0 && result->check_errors == 0;
}

/* What the damage was done to may look otherwise afterwards: the clusters that a wrong L1 entry led to. */
static bool is_hit(const struct damage *damage, int snapshot, unsigned number)
{
    unsigned l1 = number / (EDIT_GUEST / 2);

    if (damage->structure == EDIT_L1)
        return snapshot < 0 && damage->word == l1;
    if (damage->structure == EDIT_SNAPSHOT_L1)
        return snapshot == (int)damage->index && damage->word == l1;
    if (damage->structure == EDIT_L2 && (damage->value & BYRE_L2_COMPRESSED))
        return (damage->value & 0x3ffffffffffffULL) < 1024; /* it would read the header, which changes */
    return snapshot >= 0 && (damage->structure == EDIT_HEADER || damage->structure == EDIT_SNAPSHOTS);
}

static void assert_contents(const struct edit_image *image, struct byre_store *before, struct byre_store *after,
                            const struct damage *damage)
{
    uint8_t *was = malloc(image->cluster * 2), *is = malloc(image->cluster * 2);
    char text[200];

    describe(image, damage, text, sizeof text);
    for (int snapshot = -1; snapshot < (image->options.snapshots ? EDIT_SNAPSHOT_COUNT : 0); snapshot++) {
        for (unsigned i = 0; i < EDIT_GUEST; i++) {
            if (is_hit(damage, snapshot, i) || !edit_read(before, snapshot, i, was))
                continue;
            if (!edit_read(after, snapshot, i, is))
                fail_msg("%s: guest cluster %u, snapshot %d cannot be read any more\n%s", text, i, snapshot, report);
            if (memcmp(was, is, image->cluster + image->cluster / 2) != 0)
                fail_msg("%s: guest cluster %u, snapshot %d has changed\n%s", text, i, snapshot, report);
        }
    }
    free(was);
    free(is);
}

static void show_qemu(const struct edit_image *image, struct byre_store *store, const char *text)
{
    char said[4096];

    if (image->options.luks || image->options.data_file || image->options.backing)
        return; /* it would want more than the image */
    if (qemu_check(store, 0, false, said, sizeof said) != 0)
        fail_msg("%s: qemu-img check: %s\n%s", text, said, report);
}

/* The image was repaired: nothing is left to find, or to do. */
static void assert_mended(struct byre_store *store, const char *text)
{
    struct byre_check_result result;

    if (check(store, 0, &result) != 0 || !is_right(&result))
        fail_msg("%s: after the repair there is: %s", text, report);
    if (check(store, ALL, &result) != 0 || result.corruptions_fixed || result.leaks_fixed || strstr(report, "ERROR") ||
        strstr(report, "Repairing"))
        fail_msg("%s: a second repair finds: %s", text, report);
}

/* Returns whether there was anything to repair. */
static bool try_damage(const struct edit_image *image, const struct damage *damage)
{
    uint64_t length = (uint64_t)image->clusters * image->cluster;
    struct byre_check_result found, repaired;
    struct byre_store *before, *store;
    char text[200];
    int rc;

    describe(image, damage, text, sizeof text);
    assert_int_equal(byre_memory_new(image->bytes, length, &before, NULL), 0);
    assert_int_equal(byre_memory_new(image->bytes, length, &store, NULL), 0);
    rc = check(store, 0, &found);
    found.corruptions += rc != 0;
    rc = check(store, ALL, &repaired);
    if (rc == 0) {
        if (!is_right(&repaired))
            fail_msg("%s: the repair leaves: %s", text, report);
        if ((found.corruptions || found.leaks) && !repaired.corruptions_fixed && !repaired.leaks_fixed &&
            damage->structure != EDIT_HEADER)
            fail_msg("%s: nothing was repaired: %s", text, report);
        assert_contents(image, before, store, damage);
        assert_mended(store, text);
        show_qemu(image, store, text);
    } else if (rc < 0) {
        fail_msg("%s: the repair fails: %s", text, report);
    }
    byre_store_close(before);
    byre_store_close(store);
    return rc == 0 && (found.corruptions || found.leaks);
}

/* --- crashes --------------------------------------------------------------------------------------------- */

struct crashed {
    const struct edit_image *image;
    const struct damage *damage;
    struct byre_store *before;
    char text[200];
};

/* Who writes to the image before it is repaired again has to be told that new clusters have no refcounts yet. */
static void assert_marked(const struct crashed *crashed, struct byre_store *after, const struct crash_state *state)
{
    static const char error[] = "ERROR cluster ";
    struct byre_check_result result;
    uint8_t bits[8];

    if (crashed->image->options.version < 3 || check(after, 0, &result) < 0 ||
        byre_store_pread(after, bits, sizeof bits, 72, NULL) < 0)
        return;
    for (const char *line = strstr(report, error); line; line = strstr(line + 1, error)) {
        unsigned long cluster, refcount;

        if (sscanf(line, "ERROR cluster %lu refcount=%lu", &cluster, &refcount) == 2 && refcount == 0 &&
            cluster >= crashed->image->clusters && !(bits[7] & 1))
            fail_msg("%s: after a crash (%s) the image is not dirty: %s", crashed->text, state->text, report);
    }
}

/* However far the repair came: another one mends the rest, and the contents are there. */
static int after_crash(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    struct crashed *crashed = opaque;
    struct byre_check_result result;

    assert_marked(crashed, after, state);
    if (check(after, ALL, &result) != 0 || !is_right(&result))
        fail_msg("%s: after a crash (%s) a repair leaves: %s", crashed->text, state->text, report);
    assert_contents(crashed->image, crashed->before, after, crashed->damage);
    assert_mended(after, crashed->text);
    return 0;
}

static void crash_repair(const struct edit_image *image, const struct damage *damage, unsigned seed)
{
    struct crash_options options = {
        .seed = seed, .exact = 4, .samples = effort_of(1, 4, 40), .torn = effort_of(9, 3, 1),
    };
    uint64_t length = (uint64_t)image->clusters * image->cluster;
    struct crashed crashed = { .image = image, .damage = damage };
    struct byre_check_result result;
    struct byre_store *store;

    describe(image, damage, crashed.text, sizeof crashed.text);
    assert_int_equal(byre_memory_new(image->bytes, length, &crashed.before, NULL), 0);
    assert_int_equal(record_store_new(image->bytes, length, &store), 0);
    store->growable = true;
    if (check(store, ALL, &result) == 0)
        assert_int_equal(crash_states_each(store, &options, after_crash, &crashed, NULL), 0);
    byre_store_close(store);
    byre_store_close(crashed.before);
}

/* A write or barrier that fails ends the repair; another one mends the rest. */
static void fail_repair(const struct edit_image *image, const struct damage *damage)
{
    uint64_t length = (uint64_t)image->clusters * image->cluster, failed = 1;
    char text[200];

    describe(image, damage, text, sizeof text);
    for (uint64_t nth = 1; failed; nth++) {
        struct record_fault fault = { RECORD_CHANGES | RECORD_FLUSH, nth, false, -EIO, 0 };
        struct byre_check_result result;
        struct byre_store *store, *before;
        int rc;

        assert_int_equal(byre_memory_new(image->bytes, length, &before, NULL), 0);
        assert_int_equal(record_store_new(image->bytes, length, &store), 0);
        store->growable = true;
        record_store_fail(store, &fault);
        rc = check(store, ALL, &result);
        failed = record_store_faults(store);
        record_store_fail(store, NULL);
        if (failed && rc == 0)
            fail_msg("%s: call %u failed, and the repair says nothing", text, (unsigned)nth);
        if (failed && (check(store, ALL, &result) != 0 || !is_right(&result)))
            fail_msg("%s: after call %u failed, a repair leaves: %s", text, (unsigned)nth, report);
        if (failed)
            assert_contents(image, before, store, damage);
        byre_store_close(store);
        byre_store_close(before);
    }
}

/* --- all of it ------------------------------------------------------------------------------------------- */

typedef void each_damage(const struct edit_image *image, const struct damage *damage, unsigned number);

static void for_each_word(struct edit_image *image, struct damage damage, each_damage *call, unsigned *number)
{
    uint64_t now = edit_get(image, damage.structure, damage.index, damage.word), values[64];
    size_t count = list_values(image, now, values);

    for (size_t i = 0; i < count; i++) {
        if (values[i] == now)
            continue;
        damage.value = values[i];
        edit_put(image, damage.structure, damage.index, damage.word, damage.value);
        call(image, &damage, (*number)++);
    }
    edit_put(image, damage.structure, damage.index, damage.word, now);
}

static void for_each_damage(each_damage *call)
{
    unsigned number = 0;

    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        struct edit_image image;

        edit_make(&image, &kinds[kind]);
        for (enum edit_structure s = EDIT_HEADER; s < EDIT_STRUCTURES; s++) {
            for (unsigned i = 0; i < EDIT_EACH && (image.at[s][i] || (s == EDIT_HEADER && i == 0)); i++) {
                for (size_t k = 0; words[s][k] != 255; k++)
                    for_each_word(&image, (struct damage){ s, i, words[s][k], 0 }, call, &number);
            }
        }
        edit_done(&image);
    }
}

static void images_of_the_editor_are_right(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        struct damage none = { EDIT_L1, 0, 99, 0 };
        struct edit_image image;

        edit_make(&image, &kinds[kind]);
        if (try_damage(&image, &none))
            fail_msg("%s: %s", kinds[kind].name, report);
        edit_done(&image);
    }
}

static unsigned damaged;

static void mend(const struct edit_image *image, const struct damage *damage, unsigned number)
{
    if ((number * 2654435761u >> 8) % effort_of(8, 3, 1) == 0)
        damaged += try_damage(image, damage);
}

static void every_damage_is_mended(void **state)
{
    (void)state;
    for_each_damage(mend);
    print_message("%u images were mended\n", damaged);
    assert_true(damaged > 2000);
}

static void crash(const struct edit_image *image, const struct damage *damage, unsigned number)
{
    if ((number * 2654435761u >> 8) % effort_of(800, 300, 3) == 0)
        crash_repair(image, damage, number);
    if ((number * 2654435761u >> 8) % effort_of(800, 300, 3) == 1)
        fail_repair(image, damage);
}

static void repairs_survive_crashes_and_failing_calls(void **state)
{
    (void)state;
    for_each_damage(crash);
}

static uint64_t draw(uint64_t *random)
{
    *random = *random * 6364136223846793005ULL + 1442695040888963407ULL;
    return *random >> 33;
}

/* Several words at once: there is less to promise of the contents, but the image is right. */
static void much_damage_is_mended(void **state)
{
    const char *given = getenv("BYRE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned round = 0; round < effort_of(300, 1500, 100000); round++) {
        uint64_t random = seed + round, length;
        struct byre_check_result result;
        struct byre_store *store;
        struct edit_image image;
        char text[64];

        snprintf(text, sizeof text, "BYRE_SEED=%llu", (unsigned long long)(seed + round));
        edit_make(&image, &kinds[draw(&random) % ARRAY_LEN(kinds)]);
        for (unsigned i = 0; i < 2 + draw(&random) % 5; i++) {
            enum edit_structure s = EDIT_REFTABLE + draw(&random) % (EDIT_DATA - EDIT_REFTABLE);
            uint32_t word = (uint32_t)(draw(&random) % 20);
            unsigned index = (unsigned)(draw(&random) % 3);
            uint64_t values[64];

            if (!image.at[s][index])
                continue;
            edit_put(&image, s, index, word,
                     values[draw(&random) % list_values(&image, edit_get(&image, s, index, word), values)]);
        }
        length = (uint64_t)image.clusters * image.cluster;
        assert_int_equal(byre_memory_new(image.bytes, length, &store, NULL), 0);
        if (check(store, ALL, &result) != 0 || !is_right(&result))
            fail_msg("%s (%s): the repair leaves: %s", text, image.options.name, report);
        assert_mended(store, text);
        show_qemu(&image, store, text);
        byre_store_close(store);
        edit_done(&image);
        if (given)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_of_the_editor_are_right),
        cmocka_unit_test(every_damage_is_mended),
        cmocka_unit_test(much_damage_is_mended),
        cmocka_unit_test(repairs_survive_crashes_and_failing_calls),
    };

    return effort_report(cmocka_run_group_tests_name("check_damage", tests, NULL, NULL));
}
