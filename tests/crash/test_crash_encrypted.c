/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Encrypted images and their key slots: a crash at any moment, and a failure of any call.
 *
 * Who has an image and one of its passwords must be able to unlock it whatever happens: a slot that is filled opens
 * with the new password or is inactive, and a slot that is erased opens with the old one or is inactive.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "byre/disk.h"
#include "effort.h"
#include "guest.h"
#include "story.h"
#include "store/luks_volume.h"
#include "store/memory.h"

#define K 1024ULL

/* --- images ---------------------------------------------------------------------------------------------- */

static void story(const struct guest_options *options, unsigned seed)
{
    const struct crash_options crash = { .seed = seed, .exact = effort_of(2, 2, 5), .samples = effort_of(1, 1, 10),
                                         .torn = effort_of(40, 12, 1) };
    struct guest *guest = guest_new(options);
    uint64_t c = 1ULL << options->cluster_bits;

    ok(guest_write(guest, c, 2 * c));
    ok(guest_zero(guest, 4 * c, 2 * c, BYRE_WRITE_ZEROES_UNMAP));
    ok(guest_restart(guest));
    ok(guest_write(guest, c + 100, c));             /* in place, unaligned */
    ok(guest_write(guest, 4 * c + 700, 300));       /* over zeros */
    ok(guest_write(guest, 7 * c + 512, 512));       /* a new cluster: the rest is zeros, encrypted */
    ok(guest_flush(guest));
    ok(guest_zero(guest, 2 * c + 10, 600, 0));
    ok(guest_discard(guest, c, c));
    ok(guest_flush(guest));
    ok(guest_write(guest, 9 * c, c));
    if (options->first_size)
        ok(guest_grow_as(guest, options->size, BYRE_PREALLOC_METADATA));
    ok(guest_compare(guest));
    ok(guest_close(guest));
    ok(guest_crash(guest, &crash));
    ok(guest_check(guest, true));
    guest_free(guest);
}

static void encrypted_image_survives_any_crash(void **state)
{
    (void)state;
    story(&(struct guest_options){ .encrypted = true, .cluster_bits = 12, .size = 12 * 4 * K }, 1);
    story(&(struct guest_options){ .encrypted = true, .cluster_bits = 12, .size = 12 * 4 * K, .disk = true,
                                   .backing_size = 9 * 4 * K }, 2);
    story(&(struct guest_options){ .encrypted = true, .cluster_bits = 12, .size = 14 * 4 * K, .first_size = 12 * 4 * K,
                                   .version = 2 }, 3);
}

/* The n-th call fails: the guest keeps what it was promised. */
static void encrypted_image_survives_faults(void **state)
{
    const struct guest_options options = { .encrypted = true, .cluster_bits = 12, .size = 12 * 4 * K };
    uint64_t faults = 1;

    (void)state;
    for (uint64_t nth = 1; faults; nth += effort_of(4, 1, 1)) {
        struct guest *guest = guest_new(&options);
        struct record_fault fault = { .kinds = RECORD_ANY, .nth = nth, .code = -EIO };

        ok(guest_write(guest, 4 * K, 8 * K));
        ok(guest_restart(guest));
        record_store_fail(guest->store, &fault);
        (void)guest_write(guest, 5000, 6000);
        (void)guest_write(guest, 20 * K + 100, 100);
        (void)guest_flush(guest);
        (void)guest_write(guest, 30 * K, 5 * K);
        (void)guest_flush(guest);
        faults = record_store_faults(guest->store);
        record_store_fail(guest->store, NULL);
        effort_count(EFFORT_FAULTS, faults);
        ok(guest_compare_killed(guest));
        (void)guest_close(guest);
        ok(guest_check(guest, false));
        guest_free(guest);
    }
}

/* --- key slots ------------------------------------------------------------------------------------------- */

static struct byre_secret *first, *second, *third;

static const struct byre_luks_options luks = {
    .spec = { 128, BYRE_CIPHER_CBC, BYRE_IVGEN_PLAIN64, -1 }, .hash = BYRE_HASH_SHA256, .iter_time = 1,
};

/* A volume with `first` in slot 0 and, if it is not NULL, `other` in `slot`; the log is empty. */
static void new_volume(struct byre_luks_volume *volume, unsigned slot, const struct byre_secret *other)
{
    uint8_t *material;

    ok(byre_luks_volume_new(&luks, first, volume, &material, NULL));
    ok(record_store_new(NULL, byre_luks_volume_payload(volume), &volume->store));
    ok(byre_luks_volume_write_new(volume, material, NULL));
    free(material);
    if (other)
        ok(byre_luks_volume_change(volume, &(struct byre_luks_change){ .activate = true, .slot = (int)slot,
                                                                       .password = other, .iter_time = 1 }, NULL));
    ok(byre_store_flush(volume->store, NULL));
    ok(record_store_restart(volume->store));
}

/* Which passwords open the volume in `store`? */
enum { OPENS_FIRST = 1, OPENS_SECOND = 2, OPENS_THIRD = 4 };

static unsigned opens(struct byre_store *store)
{
    const struct byre_secret *all[] = { first, second, third };
    unsigned found = 0;
    uint64_t size;

    ok(byre_store_size(store, &size, NULL));
    for (unsigned i = 0; i < 3; i++) {
        struct byre_luks_volume volume = { .store = NULL };
        struct byre_error err = BYRE_ERROR_INIT;

        if (byre_luks_volume_load(store, 0, size, &volume, &err) < 0)
            fail_msg("%s", err.text);
        found |= byre_luks_volume_unlock(&volume, all[i], NULL) == 0 ? 1u << i : 0;
        byre_luks_volume_done(&volume);
    }
    return found;
}

struct slots {
    struct byre_luks_volume *volume;
    unsigned slot, always, never;
};

static int visit(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    const struct slots *slots = opaque;
    struct byre_luks_volume volume = { .store = NULL };
    struct byre_secret *master = NULL;
    uint8_t *material = malloc(byre_luks_material_bytes(&slots->volume->header));
    unsigned found = opens(after);

    (void)state;
    if ((found & slots->always) != slots->always || found & slots->never)
        fail_msg("opens %u after %s", found, state->text);
    /* A slot that says it is active opens with somebody's password. */
    ok(byre_luks_volume_load(after, 0, byre_luks_volume_payload(slots->volume), &volume, NULL));
    if (volume.header.slots[slots->slot].active) {
        unsigned matches = 0;
        const struct byre_secret *all[] = { first, second, third };

        for (unsigned i = 0; i < 3; i++) {
            ok(byre_store_pread(after, material, byre_luks_material_bytes(&volume.header),
                                volume.header.slots[slots->slot].material_sector * 512ULL, NULL));
            matches += byre_luks_slot_try(&volume.header, slots->slot, all[i], material, &master, NULL) > 0;
            byre_secret_free(master);
            master = NULL;
        }
        if (matches != 1)
            fail_msg("slot %u is active, and dead, after %s", slots->slot, state->text);
    }
    effort_count(EFFORT_STATES, 1);
    free(material);
    byre_luks_volume_done(&volume);
    return 0;
}

/* Each crash of a change of slots: `always` is what opens the volume at any moment, `never` what does not any more. */
static void change_slots(struct byre_luks_volume *volume, const struct byre_luks_change *change, unsigned slot,
                         unsigned always, unsigned after)
{
    const struct crash_options options = { .seed = slot, .exact = 4, .samples = 2, .torn = effort_of(120, 40, 5) };
    struct slots slots = { volume, slot, always, 0 };
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_luks_volume_change(volume, change, &err) < 0)
        fail_msg("%s", err.text);
    ok(crash_states_each(volume->store, &options, visit, &slots, NULL));
    assert_int_equal(opens(volume->store), after);
    byre_store_close(volume->store);
    byre_luks_volume_done(volume);
}

/* Slot 6 has its salt in two sectors. */
static const unsigned some_slots[] = { 1, 6 };

static void filling_a_slot_survives_any_crash(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct byre_luks_volume volume;

        new_volume(&volume, 0, NULL);
        change_slots(&volume, &(struct byre_luks_change){ .activate = true, .slot = (int)some_slots[i],
                                                          .password = second, .iter_time = 1 },
                     some_slots[i], OPENS_FIRST, OPENS_FIRST | OPENS_SECOND);
    }
}

static void erasing_a_slot_survives_any_crash(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct byre_luks_volume volume;

        new_volume(&volume, some_slots[i], second);
        change_slots(&volume, &(struct byre_luks_change){ .slot = -1, .old_password = second }, some_slots[i],
                     OPENS_FIRST, OPENS_FIRST);
    }
}

/* The only slot: the old password or the new one always opens it. */
static int visit_overwrite(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    (void)opaque;
    if (!opens(after))
        fail_msg("nothing opens it after %s", state->text);
    return 0;
}

static void overwriting_the_only_slot_survives_any_crash(void **state)
{
    const struct crash_options options = { .seed = 1, .exact = 4, .samples = 1, .torn = effort_of(200, 80, 5) };
    struct byre_luks_volume volume;

    (void)state;
    new_volume(&volume, 0, NULL);
    ok(byre_luks_volume_change(&volume, &(struct byre_luks_change){ .activate = true, .slot = 0, .password = third,
                                                                    .iter_time = 1, .force = true }, NULL));
    ok(crash_states_each(volume.store, &options, visit_overwrite, NULL, NULL));
    assert_int_equal(opens(volume.store), OPENS_THIRD);
    for (unsigned i = 1; i < BYRE_LUKS_SLOTS; i++)
        assert_false(volume.header.slots[i].active);
    byre_store_close(volume.store);
    byre_luks_volume_done(&volume);
}

static void slots_survive_a_failed_call(void **state)
{
    uint64_t faults = 1;

    (void)state;
    for (uint64_t nth = 1; faults; nth += effort_of(5, 1, 1)) {
        struct record_fault fault = { .kinds = RECORD_ANY, .nth = nth, .code = -EIO, .short_bytes = 300 };
        struct byre_luks_volume volume;
        int r;

        new_volume(&volume, 6, second);
        record_store_fail(volume.store, &fault);
        r = byre_luks_volume_change(&volume, &(struct byre_luks_change){ .activate = true, .slot = 6, .force = true,
                                                                         .password = third, .iter_time = 1 }, NULL);
        faults = record_store_faults(volume.store);
        record_store_fail(volume.store, NULL);
        effort_count(EFFORT_FAULTS, faults);
        assert_true(faults ? r < 0 : r == 0);
        assert_true(opens(volume.store) & OPENS_FIRST);
        byre_store_close(volume.store);
        byre_luks_volume_done(&volume);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encrypted_image_survives_any_crash),
        cmocka_unit_test(encrypted_image_survives_faults),
        cmocka_unit_test(filling_a_slot_survives_any_crash),
        cmocka_unit_test(erasing_a_slot_survives_any_crash),
        cmocka_unit_test(overwriting_the_only_slot_survives_any_crash),
        cmocka_unit_test(slots_survive_a_failed_call),
    };
    int rc;

    first = byre_secret_copy("first", 5);
    second = byre_secret_copy("second", 6);
    third = byre_secret_copy("third", 5);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    byre_secret_free(first);
    byre_secret_free(second);
    byre_secret_free(third);
    return effort_report(rc);
}
