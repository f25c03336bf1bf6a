/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file store on block devices: loop devices with sectors of 512 and 4096 bytes.  They need a kernel that
 * has them and the right to use them; where that is missing the tests are skipped.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/zero.h"
#include "store/file.h"
#include "tempdir.h"

enum { SIZE = 1 << 20, STEPS = 800 };

static struct tempdir tmp;
static char device[32];
static int device_fd = -1;

/* Binds a free loop device, which goes away with its last user, to a file of `size` bytes. */
static int bind_loop(uint32_t sector, uint64_t size)
{
    struct loop_config config = { .block_size = sector, .info = { .lo_flags = LO_FLAGS_AUTOCLEAR } };
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int file = open(tempdir_path(&tmp, "backing"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int r = -1;

    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, (off_t)size), 0);
    config.fd = (uint32_t)file;
    /* Somebody else may take the number that was just free. */
    for (int attempt = 0; r < 0 && control >= 0 && attempt < 20; attempt++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);

        snprintf(device, sizeof device, "/dev/loop%d", number);
        device_fd = number < 0 ? -1 : open(device, O_RDWR | O_CLOEXEC);
        r = device_fd < 0 ? -1 : ioctl(device_fd, LOOP_CONFIGURE, &config);
        if (r < 0 && device_fd >= 0) {
            close(device_fd);
            device_fd = -1;
        }
    }
    if (control >= 0)
        close(control);
    close(file);
    return r;
}

static void need_loop(uint32_t sector)
{
    if (bind_loop(sector, SIZE) < 0) {
        print_message("no loop devices here\n");
        skip();
    }
}

static int set_up(void **state)
{
    (void)state;
    alarm(120);
    return tempdir_make(&tmp);
}

static int tear_down(void **state)
{
    (void)state;
    alarm(0);
    if (device_fd >= 0)
        close(device_fd);
    device_fd = -1;
    return tempdir_remove(&tmp);
}

static struct byre_store *must_open(enum byre_cache cache, bool create)
{
    struct byre_file_options options = { .cache = cache, .writable = true, .create = create };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_store *store = NULL;
    bool created = true;

    if (byre_file_open(device, &options, &store, &created, &err) < 0)
        fail_msg("%s", err.text);
    assert_false(created);
    return store;
}

static void device_is_known_for_what_it_is(void **state)
{
    struct byre_store *store;
    struct stat st;
    uint64_t size;
    dev_t dev;
    ino_t ino;

    (void)state;
    need_loop(4096);
    for (int cache = BYRE_CACHE_WRITEBACK; cache <= BYRE_CACHE_NONE; cache++) {
        store = must_open((enum byre_cache)cache, false);
        assert_string_equal(store->ops->kind, "host_device");
        assert_false(store->growable);
        assert_false(store->limits.zero_on_grow);
        assert_int_equal(store->limits.align, cache == BYRE_CACHE_NONE ? 4096 : 1);
        assert_int_equal(store->limits.zero_align, 4096);
        assert_true(byre_is_aligned(store->limits.discard_align, 4096));
        assert_int_equal(byre_store_size(store, &size, NULL), 0);
        assert_int_equal(size, SIZE);
        assert_int_equal(stat(device, &st), 0);
        assert_true(byre_file_identity(store, &dev, &ino));
        assert_true(dev == st.st_rdev && ino == 0);
        byre_store_close(store);
    }
}

static void device_cannot_grow(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_store *store;
    char text[200];

    (void)state;
    need_loop(512);
    store = must_open(BYRE_CACHE_WRITEBACK, true);
    assert_int_equal(byre_store_truncate(store, SIZE + 1, &err), -ENOSPC);
    snprintf(text, sizeof text, "cannot grow device file '%s' from 1048576 to 1048577 bytes", device);
    assert_string_equal(err.text, text);
    assert_int_equal(byre_store_truncate(store, 0, NULL), 0);
    assert_int_equal(byre_store_allocate(store, 0, SIZE, NULL), 0);
    assert_int_equal(byre_store_pwrite(store, "ab", 2, SIZE - 1, &err), -ENOSPC);
    snprintf(text, sizeof text, "could not write 2 bytes at offset 1048575 of '%s': it ends at 1048576",
             device);
    assert_string_equal(err.text, text);
    byre_store_close(store);
}

static void device_discard_is_a_hint(void **state)
{
    static uint8_t ones[SIZE], buf[SIZE];
    struct byre_store *store;

    (void)state;
    need_loop(512);
    memset(ones, 1, sizeof ones);
    store = must_open(BYRE_CACHE_WRITEBACK, false);
    assert_int_equal(byre_store_pwrite(store, ones, SIZE, 0, NULL), 0);
    assert_int_equal(byre_store_flush(store, NULL), 0);
    assert_int_equal(byre_store_discard(store, 100, 200, NULL), 0); /* not one whole block */
    assert_int_equal(byre_store_discard(store, 65536 + 1, 131072, NULL), 0);
    assert_int_equal(byre_store_pread(store, buf, SIZE, 0, NULL), 0);
    assert_memory_equal(buf, ones, 65536 + 1);
    assert_memory_equal(buf + 196609, ones, SIZE - 196609);
    byre_store_close(store);
}

static void run_model(uint32_t sector, enum byre_cache cache)
{
    const char *given = getenv("BYRE_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    static uint8_t model[SIZE], buf[SIZE];
    struct byre_store *store;

    need_loop(sector);
    print_message("seed %u\n", seed);
    memset(model, 0, sizeof model);
    store = must_open(cache, false);
    for (int step = 0; step < STEPS; step++) {
        uint64_t hoff = (uint64_t)rand_r(&seed) % SIZE;
        uint64_t length = (uint64_t)rand_r(&seed) % MIN(SIZE - hoff, (uint64_t)40000) + 1;
        unsigned flags = (unsigned)rand_r(&seed) & (BYRE_ZERO_UNMAP | BYRE_ZERO_NO_FALLBACK);
        int r;

        if (rand_r(&seed) % 3 == 0)
            hoff = byre_round_down(hoff, sector);
        switch (rand_r(&seed) % 3) {
        case 0:
            memset(model + hoff, rand_r(&seed) | 1, length);
            assert_int_equal(byre_store_pwrite(store, model + hoff, length, hoff, NULL), 0);
            break;
        case 1:
            r = byre_store_write_zeroes(store, hoff, length, flags, NULL);
            assert_true(r == 0 || (r == -ENOTSUP && (flags & BYRE_ZERO_NO_FALLBACK)));
            if (r == 0)
                memset(model + hoff, 0, length);
            break;
        default:
            assert_int_equal(byre_store_pread(store, buf, length, hoff, NULL), 0);
            assert_memory_equal(buf, model + hoff, length);
        }
    }
    assert_int_equal(byre_store_flush(store, NULL), 0);
    assert_int_equal(byre_store_pread(store, buf, SIZE, 0, NULL), 0);
    assert_memory_equal(buf, model, SIZE);
    byre_store_close(store);
}

static void device_random_operations_match_the_model(void **state)
{
    (void)state;
    run_model(512, BYRE_CACHE_WRITEBACK);
}

static void device_direct_random_operations_match_the_model(void **state)
{
    (void)state;
    run_model(4096, BYRE_CACHE_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(device_is_known_for_what_it_is),
        TEST(device_cannot_grow),
        TEST(device_discard_is_a_hint),
        TEST(device_random_operations_match_the_model),
        TEST(device_direct_random_operations_match_the_model),
    };

    return cmocka_run_group_tests_name("file_device", tests, NULL, NULL);
}
