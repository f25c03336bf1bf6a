/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an image says of itself as text, against what qemu-img prints.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

#include "disk_fixture.h"
#include "fuse/info_text.h"

static json_t *theirs(const char *name)
{
    char command[1024];
    json_t *value;

    snprintf(command, sizeof command, "qemu-img info -U --output=json %s >%s", path(name), path("theirs"));
    assert_int_equal(system(command), 0);
    value = json_load_file(path("theirs"), 0, NULL);
    assert_non_null(value);
    return value;
}

static void text_says_what_qemu_img_says(void **state)
{
    struct byre_disk *disk;
    json_t *ours, *want;
    size_t length;
    char *text;

    (void)state;
    make_image(path("base"), 1 << 20, 65536, NULL, NULL);
    make_image(path("disk"), 2 << 20, 4096, path("base"), "qcow2");
    disk = open_disk(path("disk"), true); /* and its lock is held */
    assert_true(byre_info_text(path("disk"), NULL, false, NULL, &text, &length, NULL) < 0);
    must(byre_info_text(path("disk"), NULL, true, NULL, &text, &length, err));
    assert_int_equal(strlen(text), length);
    assert_int_equal(text[length - 1], '\n');
    ours = json_loads(text, 0, NULL);
    assert_non_null(ours);
    want = theirs("disk");
    assert_true(json_equal(ours, want));
    json_decref(ours);
    json_decref(want);
    free(text);
    close_disk(disk);
}

static void image_that_is_not_there_is_an_error(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    size_t length;
    char *text;

    (void)state;
    assert_int_equal(byre_info_text(path("none"), NULL, false, NULL, &text, &length, &err), -ENOENT);
    assert_non_null(strstr(err.text, "none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_says_what_qemu_img_says),
        TEST(image_that_is_not_there_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
