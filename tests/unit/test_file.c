/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file store on a real file system: opening and refusing, transfers, holes and space.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/zero.h"
#include "store/file_impl.h"
#include "file_fixture.h"

/* Opening `name` has to fail with `code` and the text `fmt`, in which %s stands for the name. */
static void must_refuse(const char *name, const struct byre_file_options *options, int code, const char *fmt)
{
    struct byre_store *store = (struct byre_store *)&tmp;
    struct byre_error err = BYRE_ERROR_INIT;
    bool created = true;
    const char *at = strstr(fmt, "%s");
    char text[1024];

    snprintf(text, sizeof text, "%.*s%s%s", at ? (int)(at - fmt) : 0, fmt, at ? name : "", at ? at + 2 : fmt);
    assert_int_equal(byre_file_open(name, options, &store, &created, &err), code);
    assert_int_equal(err.code, code);
    assert_string_equal(err.text, text);
    assert_ptr_equal(store, &tmp); /* untouched */
    assert_true(created);
}

static void make_file(const char *name, const void *bytes, size_t length)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
}

/* --- opening --- */

static void file_open_missing_is_refused_with_the_name(void **state)
{
    (void)state;
    must_refuse(tempdir_path(&tmp, "nope"), &reading, -ENOENT,
                "Could not open '%s': No such file or directory");
    must_refuse(tempdir_path(&tmp, "nope"), &writing, -ENOENT,
                "Could not open '%s': No such file or directory");
    must_refuse(tempdir_path(&tmp, "nope/x"), &creating, -ENOENT,
                "Could not create '%s': No such file or directory");
    must_refuse("", &reading, -EINVAL, "The 'file' block driver requires a file name");
}

static void file_open_paths_may_look_like_other_names(void **state)
{
    (void)state;
    must_refuse("a:b", &reading, -ENOENT, "Could not open '%s': No such file or directory");
    must_refuse("file:/dev/zero", &reading, -ENOENT, "Could not open '%s': No such file or directory");
    must_refuse("nbd://host/x", &creating, -ENOENT, "Could not create '%s': No such file or directory");
}

static void file_open_special_files_are_refused_without_waiting(void **state)
{
    static const char wording[] = "'file' driver requires '%s' to be a regular file";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *fifo = tempdir_path(&tmp, "fifo"), *sock = tempdir_path(&tmp, "socket");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(mkfifo(fifo, 0600), 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", sock);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);

    must_refuse(tmp.dir, &reading, -EINVAL, wording);
    must_refuse(tmp.dir, &writing, -EISDIR, "Could not open '%s': Is a directory");
    must_refuse(tmp.dir, &creating, -EISDIR, "Could not create '%s': Is a directory");
    must_refuse(fifo, &reading, -EINVAL, wording);
    must_refuse(fifo, &writing, -EINVAL, wording);
    must_refuse(fifo, &creating, -EINVAL, wording);
    must_refuse(sock, &reading, -ENXIO, "Could not open '%s': No such device or address");
    must_refuse("/dev/null", &reading, -EINVAL, wording);
    must_refuse("/dev/zero", &creating, -EINVAL, wording);
}

static void file_open_without_permission_is_refused(void **state)
{
    const char *name = tempdir_path(&tmp, "secret");
    bool root = geteuid() == 0;

    (void)state;
    make_file(name, "x", 1);
    assert_int_equal(chmod(name, root ? 0600 : 0), 0);
    assert_int_equal(chmod(tmp.dir, 0755), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    must_refuse(name, &reading, -EACCES, "Could not open '%s': Permission denied");
    must_refuse(name, &creating, -EACCES, "Could not create '%s': Permission denied");
    if (root)
        assert_int_equal(seteuid(0), 0);
}

static void file_create_tells_whether_it_made_the_file(void **state)
{
    const char *name = tempdir_path(&tmp, "new");
    struct byre_file_options exclusive = creating;
    struct byre_store *store;
    bool created = false;
    uint64_t size;

    (void)state;
    assert_int_equal(byre_file_open(name, &creating, &store, &created, NULL), 0);
    assert_true(created && !store->read_only && store->growable);
    assert_string_equal(store->ops->kind, "file");
    assert_int_equal(byre_store_pwrite(store, "abc", 3, 0, NULL), 0);
    byre_store_close(store);

    assert_int_equal(byre_file_open(name, &creating, &store, &created, NULL), 0);
    assert_false(created);
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, 0); /* made empty */
    byre_store_close(store);

    exclusive.exclusive = true;
    must_refuse(name, &exclusive, -EEXIST, "Could not create '%s': File exists");
    assert_int_equal(unlink(name), 0);
    assert_int_equal(byre_file_open(name, &exclusive, &store, &created, NULL), 0);
    assert_true(created);
    byre_store_close(store);
}

static void file_create_through_a_dangling_link_makes_its_target(void **state)
{
    const char *link = tempdir_path(&tmp, "link"), *target = tempdir_path(&tmp, "target");
    struct byre_store *store;
    bool created = true;

    (void)state;
    assert_int_equal(symlink("target", link), 0);
    assert_int_equal(byre_file_open(link, &creating, &store, &created, NULL), 0);
    assert_false(created); /* nobody must remove the link for it */
    byre_store_close(store);
    assert_int_equal(access(target, F_OK), 0);
}

static void file_create_that_is_refused_leaves_nothing_changed(void **state)
{
    const char *name = tempdir_path(&tmp, "busy");
    struct byre_store *reader;

    (void)state;
    make_file(name, "precious", 8);
    reader = must_open(name, &reading);
    assert_int_equal(byre_file_open(name, &creating, &(struct byre_store *){ NULL }, NULL, NULL), -EAGAIN);
    byre_store_close(reader);
    expect_file(name, "precious", 8);
}

static void file_identity_is_that_of_the_file(void **state)
{
    const char *name = tempdir_path(&tmp, "a"), *other = tempdir_path(&tmp, "b");
    struct byre_store *a, *b;
    struct stat st;
    dev_t dev;
    ino_t ino;

    (void)state;
    make_file(name, "x", 1);
    assert_int_equal(link(name, other), 0);
    a = must_open(name, &reading);
    b = must_open(other, &reading);
    assert_int_equal(stat(name, &st), 0);
    assert_true(byre_file_identity(a, &dev, &ino));
    assert_true(dev == st.st_dev && ino == st.st_ino);
    assert_true(byre_file_identity(b, &dev, &ino));
    assert_true(dev == st.st_dev && ino == st.st_ino);
    byre_store_close(a);
    byre_store_close(b);
}

static void file_cache_modes_set_their_limits(void **state)
{
    struct byre_file_options options = { .cache = BYRE_CACHE_UNSAFE, .create = true };
    struct byre_store *store = must_open(tempdir_path(&tmp, "u"), &options);

    (void)state;
    assert_true(store->no_flush);
    assert_int_equal(store->limits.align, 1);
    byre_store_close(store);
    store = must_open(tempdir_path(&tmp, "w"), &creating);
    assert_false(store->no_flush);
    assert_int_equal(store->limits.align, 1);
    assert_true(store->limits.zero_on_grow);
    assert_false(fcntl(store->fd, F_GETFL) & (O_NONBLOCK | O_DIRECT));
    assert_true(fcntl(store->fd, F_GETFD) & FD_CLOEXEC);
    byre_store_close(store);
    store = must_open(tempdir_path(&tmp, "n"), &creating_direct);
    assert_true(fcntl(store->fd, F_GETFL) & O_DIRECT);
    assert_false(fcntl(store->fd, F_GETFL) & O_NONBLOCK);
    assert_true(byre_is_power_of_two(store->limits.align));
    byre_store_close(store);
}

static void file_open_direct_where_there_is_none_says_so(void **state)
{
    struct byre_file_options direct = { .cache = BYRE_CACHE_NONE };

    (void)state;
    must_refuse("/proc/version", &direct, -EINVAL,
                "Could not open '%s': filesystem does not support O_DIRECT");
}

/* --- transfers --- */

static void file_read_past_the_end_gives_zeros(void **state)
{
    const char *name = tempdir_path(&tmp, "short");
    struct byre_file_options options = reading;
    char buf[5000];

    (void)state;
    make_file(name, "0123456789", 10);
    for (int cache = 0; cache <= BYRE_CACHE_UNSAFE; cache++) {
        struct byre_store *store;

        options.cache = (enum byre_cache)cache;
        store = must_open(name, &options);
        memset(buf, 'z', sizeof buf);
        assert_int_equal(byre_store_pread(store, buf, sizeof buf, 7, NULL), 0);
        assert_memory_equal(buf, "789", 3);
        assert_true(byre_is_zero(buf + 3, sizeof buf - 3));
        memset(buf, 'z', sizeof buf);
        assert_int_equal(byre_store_pread(store, buf, 100, 1 << 20, NULL), 0);
        assert_true(byre_is_zero(buf, 100));
        byre_store_close(store);
    }
}

static void file_write_that_fails_half_way_is_an_error(void **state)
{
    struct rlimit old, limit;
    struct byre_store *store = must_open(tempdir_path(&tmp, "limited"), &creating);
    struct byre_error err = BYRE_ERROR_INIT;
    static uint8_t buf[100000];
    int r;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){ 65536, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    r = byre_store_pwrite(store, buf, sizeof buf, 0, &err); /* the first call writes 65536 bytes */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(r, -EFBIG);
    assert_non_null(strstr(err.text, "could not write 100000 bytes at offset 0 of '"));
    byre_store_close(store);
}

/* --- space --- */

static uint64_t allocated(struct byre_store *store)
{
    uint64_t bytes = 0;

    assert_int_equal(byre_store_flush(store, NULL), 0); /* so that delayed allocation is over */
    assert_int_equal(byre_store_allocated_size(store, &bytes, NULL), 0);
    return bytes;
}

static void expect_extent(struct byre_store *store, uint64_t hoff, uint64_t length, bool hole)
{
    uint64_t found_length = 0;
    bool found_hole = !hole;

    assert_int_equal(byre_store_extent(store, hoff, &found_length, &found_hole, NULL), 0);
    assert_int_equal(found_length, length);
    assert_int_equal(found_hole, hole);
}

static void file_extents_tell_data_from_holes(void **state)
{
    struct byre_store *store = must_open(tempdir_path(&tmp, "sparse"), &creating);
    static uint8_t buf[1 << 20];

    (void)state;
    memset(buf, 1, sizeof buf);
    assert_int_equal(byre_store_pwrite(store, buf, sizeof buf, 2 << 20, NULL), 0);
    assert_int_equal(byre_store_truncate(store, 5 << 20, NULL), 0);
    expect_extent(store, 0, 2 << 20, true);
    expect_extent(store, 4096, (2 << 20) - 4096, true);
    expect_extent(store, 2 << 20, 1 << 20, false);
    expect_extent(store, (2 << 20) + 77, (1 << 20) - 77, false);
    expect_extent(store, 3 << 20, 2 << 20, true);
    expect_extent(store, 5 << 20, UINT64_MAX - (5 << 20), true);
    assert_int_equal(byre_store_truncate(store, 3 << 20, NULL), 0);
    expect_extent(store, (3 << 20) - 512, 512, false); /* data up to the end */
    byre_store_close(store);
}

/* Zeroes a part of a file of ones and more than its end in each way there is. */
static void check_zeroing(const struct byre_file_options *options, unsigned flags)
{
    const char *name = tempdir_path(&tmp, "zeroed");
    struct byre_store *store = must_open(name, options);
    static uint8_t buf[300000];

    memset(buf, 1, sizeof buf);
    assert_int_equal(byre_store_pwrite(store, buf, 200000, 0, NULL), 0);
    assert_int_equal(byre_store_write_zeroes(store, 1001, 99000, flags, NULL), 0);
    assert_int_equal(byre_store_write_zeroes(store, 199999, 50002, flags, NULL), 0); /* grows */
    assert_int_equal(byre_store_write_zeroes(store, 290001, 9999, flags, NULL), 0);  /* leaves a gap */
    byre_store_close(store);
    memset(buf + 1001, 0, 99000);
    memset(buf + 199999, 0, 100001);
    expect_file(name, buf, 300000);
}

static void file_write_zeroes_is_exact_in_every_mode(void **state)
{
    static const unsigned flags[] = { 0, BYRE_ZERO_UNMAP };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        check_zeroing(&creating, flags[i]);
        check_zeroing(&creating_direct, flags[i]);
    }
}

static void file_write_zeroes_unmap_gives_space_back(void **state)
{
    struct byre_store *store = must_open(tempdir_path(&tmp, "space"), &creating);
    static uint8_t buf[1 << 20];
    unsigned flags;
    uint64_t full;

    (void)state;
    memset(buf, 1, sizeof buf);
    assert_int_equal(byre_store_pwrite(store, buf, sizeof buf, 0, NULL), 0);
    full = allocated(store);
    assert_true(full >= sizeof buf);
    assert_int_equal(byre_store_write_zeroes(store, 0, 1 << 19, 0, NULL), 0);
    assert_true(allocated(store) >= full);
    flags = BYRE_ZERO_UNMAP | BYRE_ZERO_NO_FALLBACK;
    assert_int_equal(byre_store_write_zeroes(store, 0, 1 << 19, flags, NULL), 0);
    assert_true(allocated(store) <= full - (1 << 19));
    assert_int_equal(byre_store_discard(store, 1 << 19, 1 << 18, NULL), 0);
    assert_true(allocated(store) <= full - (1 << 19) - (1 << 18));
    byre_store_close(store);
}

static void file_allocate_takes_space_and_keeps_contents(void **state)
{
    const char *name = tempdir_path(&tmp, "taken");
    struct byre_store *store = must_open(name, &creating);
    static char buf[1 << 20] = "contents";

    (void)state;
    assert_int_equal(byre_store_pwrite(store, "contents", 8, 0, NULL), 0);
    assert_int_equal(byre_store_allocate(store, 0, 1 << 20, NULL), 0);
    assert_true(allocated(store) >= 1 << 20);
    byre_store_close(store);
    expect_file(name, buf, sizeof buf);
}

/* As if the file system could not punch, zero or allocate: the results are the same. */
static void file_without_fallocate_falls_back(void **state)
{
    for (unsigned lacks = 1; lacks < 8; lacks++) {
        for (unsigned direct = 0; direct < 2; direct++) {
            const char *name = tempdir_path(&tmp, "poor");
            struct byre_store *store = must_open(name, direct ? &creating_direct : &creating);
            struct byre_file *file = byre_file_of(store);
            static uint8_t buf[300000];

            file->no_punch = lacks & 1;
            file->no_zero_range = lacks & 2;
            file->no_allocate = lacks & 4;
            memset(buf, 1, sizeof buf);
            assert_int_equal(byre_store_pwrite(store, buf, 200000, 0, NULL), 0);
            assert_int_equal(byre_store_write_zeroes(store, 1001, 5000, 0, NULL), 0);
            assert_int_equal(byre_store_write_zeroes(store, 100000, 50000, BYRE_ZERO_UNMAP, NULL), 0);
            assert_int_equal(byre_store_write_zeroes(store, 190001, 50000, BYRE_ZERO_UNMAP, NULL), 0);
            assert_int_equal(byre_store_write_zeroes(store, 250001, 9999, 0, NULL), 0);
            assert_int_equal(byre_store_discard(store, 0, 1, NULL), 0);
            assert_int_equal(byre_store_pwrite(store, buf, 1, 0, NULL), 0);
            assert_int_equal(byre_store_allocate(store, 260000, 40000, NULL), 0);
            assert_int_equal(byre_store_allocate(store, 0, 300000, NULL), lacks & 4 ? -ENOTSUP : 0);
            byre_store_close(store);
            memset(buf + 1001, 0, 5000);
            memset(buf + 100000, 0, 50000);
            memset(buf + 190001, 0, sizeof buf - 190001);
            expect_file(name, buf, sizeof buf);
        }
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(file_open_missing_is_refused_with_the_name),
        TEST(file_open_paths_may_look_like_other_names),
        TEST(file_open_special_files_are_refused_without_waiting),
        TEST(file_open_without_permission_is_refused),
        TEST(file_create_tells_whether_it_made_the_file),
        TEST(file_create_through_a_dangling_link_makes_its_target),
        TEST(file_create_that_is_refused_leaves_nothing_changed),
        TEST(file_identity_is_that_of_the_file),
        TEST(file_cache_modes_set_their_limits),
        TEST(file_open_direct_where_there_is_none_says_so),
        TEST(file_read_past_the_end_gives_zeros),
        TEST(file_write_that_fails_half_way_is_an_error),
        TEST(file_extents_tell_data_from_holes),
        TEST(file_write_zeroes_is_exact_in_every_mode),
        TEST(file_write_zeroes_unmap_gives_space_back),
        TEST(file_allocate_takes_space_and_keeps_contents),
        TEST(file_without_fallocate_falls_back),
    };

    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
