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

/* "disk" on "base". */
static struct byre_disk *open_chain(bool writable)
{
    make_image(path("base"), 1 << 20, 65536, NULL, NULL);
    make_image(path("disk"), 2 << 20, 4096, path("base"), "qcow2");
    return open_disk(path("disk"), writable);
}

static void must_agree(struct byre_disk *disk, unsigned layer, const char *name)
{
    json_t *ours, *want;
    size_t length;
    char *text;

    must(byre_info_text(disk, layer, &text, &length, err));
    assert_int_equal(strlen(text), length);
    assert_int_equal(text[length - 1], '\n');
    ours = json_loads(text, 0, NULL);
    assert_non_null(ours);
    want = theirs(name);
    assert_true(json_equal(ours, want));
    json_decref(ours);
    json_decref(want);
    free(text);
}

static void text_says_what_qemu_img_says(void **state)
{
    struct byre_disk *disk = open_chain(true); /* and its lock is held */

    (void)state;
    must_agree(disk, 0, "disk");
    close_disk(disk);
}

static void layers_have_texts_of_their_own(void **state)
{
    struct byre_disk *disk = open_chain(false);

    (void)state;
    must_agree(disk, 1, "base");
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_says_what_qemu_img_says),
        TEST(layers_have_texts_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
