/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Secrets in memory, and their ways in: base64 and encrypted with another one.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crypt/base64.h"
#include "crypt/wrapped.h"

/* Pages that are about to be given back are looked at in between: this takes the place of the C library's. */
static const void *watched;
static size_t left_over; /* bytes of them that are not 0 */

int munmap(void *at, size_t length)
{
    for (size_t i = 0; at == watched && i < length; i++)
        left_over += ((const uint8_t *)at)[i] != 0;
    return (int)syscall(SYS_munmap, at, length);
}

static void secret_is_wiped_before_its_pages_are_given_back(void **state)
{
    struct byre_secret *secret = byre_secret_copy("hunter2", 7);

    (void)state;
    secret->length = 3; /* as where padding was taken off */
    watched = secret->bytes;
    left_over = 0;
    byre_secret_free(secret);
    assert_int_equal(left_over, 0);
    secret = byre_secret_copy("hunter2", 7);
    watched = secret->bytes;
    assert_int_equal(munmap(secret->bytes, secret->mapped), 0);
    assert_int_equal(left_over, 7); /* the watch works */
    watched = NULL;
    free(secret);
}

/* The line of flags that the kernel has of the pages at `at`. */
static void read_flags(const void *at, char flags[200])
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool here = false;
    uintptr_t start, end;

    assert_non_null(f);
    flags[0] = 0;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
            here = start <= (uintptr_t)at && (uintptr_t)at < end;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(flags, 200, "%.190s", line);
    }
    fclose(f);
}

static void secret_is_in_no_core_file(void **state)
{
    struct byre_secret *secret = byre_secret_new(10);
    char flags[200];

    (void)state;
    read_flags(secret->bytes, flags);
    assert_non_null(strstr(flags, " dd"));
    byre_secret_free(secret);
}

static void secret_is_wiped_and_gone(void **state)
{
    struct byre_secret *secret = byre_secret_copy("hunter2", 7);
    void *page = secret->bytes;
    uint8_t other[16] = "hunter2 again";

    (void)state;
    assert_int_equal(secret->length, 7);
    assert_string_equal(secret->bytes, "hunter2");
    byre_secret_free(secret);
    assert_int_equal(msync(page, 1, MS_ASYNC), -1); /* not mapped */
    assert_int_equal(errno, ENOMEM);
    byre_secret_wipe(other, sizeof other);
    for (unsigned i = 0; i < sizeof other; i++)
        assert_int_equal(other[i], 0);
    byre_secret_free(NULL);
}

static void base64_is_decoded_or_refused(void **state)
{
    static const struct {
        const char *text, *bytes; /* NULL: refused */
    } cases[] = {
        { "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" },
        { "Zm9v\nYmFy\n", "foobar" }, { "Zm9", NULL }, { "Zg=v", NULL }, { "Z===", NULL }, { "====", NULL },
        { "Zm!v", NULL }, { "Zg==Zg==", NULL }, { "Zm9vZ", NULL },
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct byre_secret *secret = NULL;
        int r = byre_base64_decode((const uint8_t *)cases[i].text, strlen(cases[i].text), &secret);

        assert_int_equal(r, cases[i].bytes ? 0 : -EINVAL);
        if (r == 0) {
            assert_int_equal(secret->length, strlen(cases[i].bytes));
            assert_memory_equal(secret->bytes, cases[i].bytes, secret->length);
        }
        byre_secret_free(secret);
    }
}

/* openssl enc -aes-256-cbc -K 6b6b... -iv 6969... of "abc123" */
static void wrapped_secret_is_decrypted(void **state)
{
    struct byre_secret *key = byre_secret_new(32), *iv = byre_secret_new(16), *wrapped = NULL, *plain = NULL;
    static const char text[] = "KBXPegC0nGD+ru0oJBdgtA==";
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    memset(key->bytes, 'k', 32);
    memset(iv->bytes, 'i', 16);
    assert_int_equal(byre_base64_decode((const uint8_t *)text, strlen(text), &wrapped), 0);
    assert_int_equal(byre_secret_unwrap(wrapped, key, iv, &plain, &err), 0);
    assert_int_equal(plain->length, 6);
    assert_memory_equal(plain->bytes, "abc123", 6);
    byre_secret_free(plain);
    plain = NULL;
    key->bytes[0]++;
    assert_int_equal(byre_secret_unwrap(wrapped, key, iv, &plain, &err), -EINVAL);
    assert_non_null(strstr(err.text, "padding"));
    key->length--;
    assert_int_equal(byre_secret_unwrap(wrapped, key, iv, &plain, &err), -EINVAL);
    assert_string_equal(err.text, "Key should be 32 bytes in length");
    key->length++;
    wrapped->length--;
    assert_int_equal(byre_secret_unwrap(wrapped, key, iv, &plain, &err), -EINVAL);
    assert_null(plain);
    byre_secret_free(key);
    byre_secret_free(iv);
    byre_secret_free(wrapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secret_is_wiped_and_gone),
        cmocka_unit_test(secret_is_wiped_before_its_pages_are_given_back),
        cmocka_unit_test(secret_is_in_no_core_file),
        cmocka_unit_test(base64_is_decoded_or_refused),
        cmocka_unit_test(wrapped_secret_is_decrypted),
    };

    return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
