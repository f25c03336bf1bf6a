/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the file store share: a temporary directory around each test, options, and two helpers.
 * Included once by each of them, after cmocka.h.
 */
#ifndef TESTS_UNIT_FILE_FIXTURE_H
#define TESTS_UNIT_FILE_FIXTURE_H

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/file.h"
#include "tempdir.h"

static struct tempdir tmp;

/* Not every test file needs each of them. */
#define OPTIONS __attribute__((unused)) static const struct byre_file_options
OPTIONS reading = { .cache = BYRE_CACHE_WRITEBACK };
OPTIONS writing = { .cache = BYRE_CACHE_WRITEBACK, .writable = true };
OPTIONS creating = { .cache = BYRE_CACHE_WRITEBACK, .create = true };
OPTIONS creating_direct = { .cache = BYRE_CACHE_NONE, .create = true };

static inline int set_up(void **state)
{
    (void)state;
    alarm(120); /* whatever hangs is a failure */
    return tempdir_make(&tmp);
}

static inline int tear_down(void **state)
{
    (void)state;
    alarm(0);
    return tempdir_remove(&tmp);
}

static inline struct byre_store *must_open(const char *name, const struct byre_file_options *options)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_store *store = NULL;

    if (byre_file_open(name, options, &store, NULL, &err) < 0)
        fail_msg("%s", err.text);
    return store;
}

/* The file's bytes, read past this library; the size must be `length`. */
static inline void expect_file(const char *name, const void *bytes, size_t length)
{
    uint8_t *buf = malloc(length + 1);
    int fd = open(name, O_RDONLY);

    assert_non_null(buf);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, buf, length + 1), length);
    assert_memory_equal(buf, bytes, length);
    close(fd);
    free(buf);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
