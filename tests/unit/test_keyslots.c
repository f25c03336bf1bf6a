/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Secrets and key slots by the public calls: what is refused, with which words, and what opens afterwards.
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

#include <cmocka.h>

#include "byre/create.h"
#include "byre/info.h"
#include "byre/secret.h"
#include "tempdir.h"

static struct tempdir dir;
static struct byre_secrets *secrets;

static void make(const char *format)
{
    const struct byre_create_options options = {
        .format = format, .size = 1 << 20, .secrets = secrets,
        .encrypt = { .format = "luks", .key_secret = "a", .iter_time = 1, .cipher_alg = "aes-128" },
    };
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_create(tempdir_path(&dir, "image"), &options, &err) < 0)
        fail_msg("%s", err.text);
}

static int open_with(const char *format, const char *id, bool writable, struct byre_disk **ret_disk)
{
    char options[64];
    struct byre_open_options open = { .format = format, .writable = writable, .force_share = !writable,
                                       .options = options, .secrets = secrets };

    snprintf(options, sizeof options, "%skey-secret=%s", strcmp(format, "luks") == 0 ? "" : "encrypt.", id);
    return byre_open(tempdir_path(&dir, "image"), &open, ret_disk, NULL);
}

static bool opens(const char *format, const char *id)
{
    struct byre_disk *disk = NULL;
    int r = open_with(format, id, false, &disk);

    byre_close(disk, NULL);
    return r == 0;
}

static void change(struct byre_disk *disk, struct byre_keyslot_change wanted, const char *text)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int r = byre_keyslots_change(disk, &wanted, secrets, &err);

    if (!text && r < 0)
        fail_msg("%s", err.text);
    if (text && (r == 0 || strcmp(err.text, text) != 0))
        fail_msg("%d '%s' instead of '%s'", r, err.text, text);
}

static void try_slots(const char *format)
{
    struct byre_disk *disk;

    make(format);
    assert_int_equal(open_with(format, "a", true, &disk), 0);
    assert_int_equal(byre_pwrite(disk, "kept", 4, 1000, NULL), 0);
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = -1 },
           "'new-secret' is required to activate a keyslot");
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = -1, .new_secret = "b", .old_secret = "a" },
           "'old-secret' must not be given when activating keyslots");
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = 9, .new_secret = "b" },
           "Invalid keyslot 9 specified, must be between 0 and 7");
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = 0, .new_secret = "b" },
           "Refusing to overwrite active keyslot 0 - please erase it first");
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = -1, .new_secret = "none" },
           "No secret with id 'none'");
    change(disk, (struct byre_keyslot_change){ .keyslot = 0 },
           "Attempt to erase the only active keyslot 0 which will erase all the data in the image irreversibly - "
           "refusing operation");
    change(disk, (struct byre_keyslot_change){ .keyslot = -1, .old_secret = "a" },
           "All the active keyslots match the (old) password that was given and erasing them will erase all the data "
           "in the image irreversibly - refusing operation");
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = 6, .new_secret = "b", .iter_time = 1,
                                               .dry_run = true }, NULL);
    change(disk, (struct byre_keyslot_change){ .keyslot = 0, .force = true, .dry_run = true }, NULL);
    change(disk, (struct byre_keyslot_change){ .keyslot = -1, .old_secret = "a", .force = true, .dry_run = true },
           NULL);
    assert_true(opens(format, "a") && !opens(format, "b"));
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = 6, .new_secret = "b", .iter_time = 1 }, NULL);
    assert_true(opens(format, "a") && opens(format, "b") && !opens(format, "c"));
    change(disk, (struct byre_keyslot_change){ .keyslot = -1 },
           "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be"
           " given");
    change(disk, (struct byre_keyslot_change){ .keyslot = 5 }, "Given keyslot 5 is already erased (inactive) ");
    change(disk, (struct byre_keyslot_change){ .keyslot = 0, .old_secret = "b" },
           "Given keyslot 0 doesn't contain the given old password for erase operation");
    change(disk, (struct byre_keyslot_change){ .keyslot = -1, .old_secret = "c" },
           "No keyslots match given (old) password for erase operation");
    change(disk, (struct byre_keyslot_change){ .keyslot = -1, .old_secret = "a", .new_secret = "b" },
           "'new-secret' must not be given when erasing keyslots");
    change(disk, (struct byre_keyslot_change){ .keyslot = 0, .iter_time = 10 },
           "'iter-time' must not be given when erasing keyslots");
    change(disk, (struct byre_keyslot_change){ .keyslot = -1, .old_secret = "a" }, NULL);
    assert_true(!opens(format, "a") && opens(format, "b"));
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = 6, .new_secret = "c", .iter_time = 1,
                                               .force = true }, NULL);
    assert_true(!opens(format, "b") && opens(format, "c"));
    for (unsigned i = 0; i < 7; i++)
        change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = -1, .new_secret = "a", .iter_time = 1 },
               NULL);
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = -1, .new_secret = "b", .iter_time = 1 },
           "Can't add a keyslot - all keyslots are in use");
    assert_int_equal(byre_close(disk, NULL), 0);
}

static void still_there(const char *format)
{
    struct byre_disk *disk;
    char bytes[4];

    assert_int_equal(open_with(format, "c", true, &disk), 0);
    assert_int_equal(byre_pread(disk, bytes, 4, 1000, NULL), 0);
    assert_memory_equal(bytes, "kept", 4);
    change(disk, (struct byre_keyslot_change){ .keyslot = -1, .old_secret = "a" }, NULL);
    change(disk, (struct byre_keyslot_change){ .keyslot = -1, .old_secret = "c", .force = true }, NULL);
    assert_int_equal(byre_close(disk, NULL), 0);
    assert_false(opens(format, "c"));
}

/* Whoever has an old copy of the header must not find the key in the file. */
static void read_slots(uint8_t bytes[8 * 64 * 1024])
{
    FILE *f = fopen(tempdir_path(&dir, "image"), "rb");

    assert_non_null(f);
    assert_int_equal(fread(bytes, 64 * 1024, 8, f), 8);
    assert_int_equal(fclose(f), 0);
}

static void erased_slot_leaves_nothing_of_its_key_material(void **state)
{
    static uint8_t before[8 * 64 * 1024], after[8 * 64 * 1024];
    struct byre_disk *disk;
    struct byre_info info;

    (void)state;
    make("luks");
    assert_int_equal(open_with("luks", "a", true, &disk), 0);
    change(disk, (struct byre_keyslot_change){ .active = true, .keyslot = 1, .new_secret = "b", .iter_time = 1 }, NULL);
    read_slots(before);
    change(disk, (struct byre_keyslot_change){ .keyslot = 0 }, NULL);
    read_slots(after);
    assert_int_equal(byre_close(disk, NULL), 0);
    assert_int_equal(byre_info_read(tempdir_path(&dir, "image"), "luks", false, &info, NULL), 0);
    for (uint64_t at = info.luks.slots[0].key_offset; at < info.luks.slots[1].key_offset - 4096; at += 512)
        assert_memory_not_equal(before + at, after + at, 512);
    assert_memory_equal(before + info.luks.slots[1].key_offset, after + info.luks.slots[1].key_offset, 32 * 1024);
    byre_info_done(&info);
}

static void slots_of_a_luks_file_change(void **state)
{
    (void)state;
    try_slots("luks");
    still_there("luks");
}

static void slots_of_a_qcow2_image_change(void **state)
{
    (void)state;
    try_slots("qcow2");
    still_there("qcow2");
}

static void disks_without_slots_are_refused(void **state)
{
    const struct byre_create_options options = { .format = "qcow2", .size = 1 << 20 };
    const struct byre_open_options writable = { .writable = true };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;

    (void)state;
    assert_int_equal(byre_create(tempdir_path(&dir, "image"), &options, NULL), 0);
    assert_int_equal(byre_open(tempdir_path(&dir, "image"), &writable, &disk, NULL), 0);
    assert_int_equal(byre_keyslots_change(disk, &(struct byre_keyslot_change){ .active = true, .keyslot = -1,
                                                                               .new_secret = "a" }, secrets, &err),
                     -ENOTSUP);
    assert_int_equal(byre_close(disk, NULL), 0);
    make("luks");
    assert_int_equal(open_with("luks", "a", false, &disk), 0);
    assert_int_equal(byre_keyslots_change(disk, &(struct byre_keyslot_change){ .active = true, .keyslot = -1,
                                                                               .new_secret = "b" }, secrets, &err),
                     -EROFS);
    byre_close(disk, NULL);
}

static void add(const char *id)
{
    assert_int_equal(byre_secrets_add(secrets, &(struct byre_secret_options){ .id = id, .data = id }, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_of_a_luks_file_change),
        cmocka_unit_test(erased_slot_leaves_nothing_of_its_key_material),
        cmocka_unit_test(slots_of_a_qcow2_image_change),
        cmocka_unit_test(disks_without_slots_are_refused),
    };
    int rc;

    secrets = byre_secrets_new();
    add("a");
    add("b");
    add("c");
    tempdir_make(&dir);
    rc = cmocka_run_group_tests_name("keyslots", tests, NULL, NULL);
    tempdir_remove(&dir);
    byre_secrets_free(secrets);
    return rc;
}
