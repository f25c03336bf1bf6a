/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Formats: which are known, and what first bytes tell.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "disk/disk.h"

static void format_known_names_are_exact(void **state)
{
    (void)state;
    assert_true(byre_format_known("raw"));
    assert_true(byre_format_known("qcow2"));
    assert_false(byre_format_known("qcow"));
    assert_false(byre_format_known("QCOW2"));
    assert_false(byre_format_known("raw "));
    assert_false(byre_format_known(""));
}

static void probe_magic_makes_qcow2(void **state)
{
    static const uint8_t image[] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };

    (void)state;
    assert_string_equal(byre_probe(image, sizeof image), "qcow2");
    assert_string_equal(byre_probe(image, 4), "qcow2");
}

static void probe_anything_else_is_raw(void **state)
{
    static const uint8_t near_miss[] = { 'Q', 'F', 'I', 0xfa, 0, 0, 0, 3 };
    static const uint8_t shifted[] = { 0, 'Q', 'F', 'I', 0xfb, 0, 0, 3 };

    (void)state;
    assert_string_equal(byre_probe(near_miss, sizeof near_miss), "raw");
    assert_string_equal(byre_probe(shifted, sizeof shifted), "raw");
    assert_string_equal(byre_probe((const uint8_t *)"QFI\xfb", 3), "raw");
    assert_string_equal(byre_probe(NULL, 0), "raw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_known_names_are_exact),
        cmocka_unit_test(probe_magic_makes_qcow2),
        cmocka_unit_test(probe_anything_else_is_raw),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
