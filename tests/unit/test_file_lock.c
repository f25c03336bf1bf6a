/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Image locks: which bytes are held, who refuses whom, and that qemu-io and this library see each other.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "store/file.h"
#include "store/file_lock.h"
#include "tempdir.h"

static struct tempdir tmp;
static const char *image;

static int set_up(void **state)
{
    char command[600];

    (void)state;
    alarm(120);
    if (tempdir_make(&tmp) < 0)
        return -1;
    image = tempdir_path(&tmp, "image");
    snprintf(command, sizeof command, "qemu-img create -q -f qcow2 '%s' 1M", image);
    return system(command);
}

static int tear_down(void **state)
{
    (void)state;
    alarm(0);
    return tempdir_remove(&tmp);
}

static int open_image(bool writable)
{
    int fd = open(image, writable ? O_RDWR : O_RDONLY);

    assert_true(fd >= 0);
    return fd;
}

/* Opens and locks the image: the descriptor, or -1 with the reason in `text`. */
static int try_lock(bool writable, bool share_write, char *text)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int fd = open_image(writable);
    int r = byre_file_lock(fd, "NAME", writable, share_write, &err);

    if (r == 0)
        return fd;
    assert_int_equal(r, -EAGAIN);
    assert_int_equal(err.code, -EAGAIN);
    strcpy(text, err.text);
    close(fd);
    return -1;
}

static void expect_refused(bool writable, bool share_write, const char *lock)
{
    char text[BYRE_ERROR_TEXT_MAX] = "", expected[200];

    snprintf(expected, sizeof expected, "Failed to get %s lock\n"
             "Is another process using the image [NAME]?", lock);
    assert_int_equal(try_lock(writable, share_write, text), -1);
    assert_string_equal(text, expected);
}

static int must_lock(bool writable, bool share_write)
{
    char text[BYRE_ERROR_TEXT_MAX] = "";
    int fd = try_lock(writable, share_write, text);

    assert_string_equal(text, "");
    return fd;
}

/* Refused for the lack of `lock`, or (NULL) not refused. */
static void expect_answer(bool writable, bool share_write, const char *lock)
{
    if (lock)
        expect_refused(writable, share_write, lock);
    else
        close(must_lock(writable, share_write));
}

/* The bytes 1 to 999 of the image that anybody has locked must be `bytes`, which ends with 0. */
static void expect_held(const int *bytes)
{
    int fd = open_image(false);

    for (int byte = 1; byte < 1000; byte++) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

        assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
        if (byte == *bytes) {
            assert_int_equal(lock.l_type, F_RDLCK);
            bytes++;
        } else if (lock.l_type != F_UNLCK) {
            fail_msg("byte %d is locked", byte);
        }
    }
    assert_int_equal(*bytes, 0);
    close(fd);
}

static void lock_holds_the_bytes_that_qemu_holds(void **state)
{
    int fd = must_lock(false, false);

    (void)state;
    expect_held((const int[]){ 100, 201, 203, 0 });
    close(fd);
    expect_held((const int[]){ 0 });
    fd = must_lock(true, false);
    expect_held((const int[]){ 100, 101, 103, 201, 203, 0 });
    close(fd);
    fd = must_lock(false, true);
    expect_held((const int[]){ 100, 0 });
    close(fd);
}

static void lock_readers_share(void **state)
{
    int a = must_lock(false, false), b = must_lock(false, false);

    (void)state;
    close(a);
    close(b);
}

static void lock_writer_excludes_readers_and_writers(void **state)
{
    int writer = must_lock(true, false), sharer;

    (void)state;
    expect_refused(false, false, "shared \"write\"");
    expect_refused(true, false, "\"write\"");
    sharer = must_lock(false, true); /* --force-share reads beside the writer */
    close(writer);
    writer = must_lock(true, false); /* and does not stand in the way of the next */
    close(sharer);
    close(writer);
}

static void lock_reader_excludes_writers(void **state)
{
    int reader = must_lock(false, false);

    (void)state;
    expect_refused(true, false, "\"write\"");
    close(reader);
    close(must_lock(true, false));
}

static void lock_refused_leaves_no_locks(void **state)
{
    int writer = must_lock(true, false), fd = open_image(false);

    (void)state;
    assert_int_equal(byre_file_lock(fd, "NAME", false, false, NULL), -EAGAIN);
    close(writer);
    expect_held((const int[]){ 0 }); /* though `fd` is still open */
    close(fd);
}

/* What each of qemu's permissions is called when another process forbids or uses it. */
static void lock_names_the_permission(void **state)
{
    static const struct {
        int byte;
        const char *reader, *writer, *sharer;
    } cases[] = {
        { 101, "shared \"write\"", "shared \"write\"", NULL },
        { 103, "shared \"resize\"", "shared \"resize\"", NULL },
        { 200, "\"consistent read\"", "\"consistent read\"", "\"consistent read\"" },
        { 201, NULL, "\"write\"", NULL },
        { 203, NULL, "\"resize\"", NULL },
        { 100, NULL, NULL, NULL }, { 102, NULL, NULL, NULL }, { 202, NULL, NULL, NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = cases[i].byte, .l_len = 1 };
        int fd = open_image(false);

        assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
        expect_answer(false, false, cases[i].reader);
        expect_answer(true, false, cases[i].writer);
        expect_answer(false, true, cases[i].sharer);
        close(fd);
    }
}

static void lock_file_store_holds_it_until_closed(void **state)
{
    struct byre_file_options options = { .writable = true }, unlocked = { .writable = true, .no_lock = true };
    struct byre_store *a, *b;
    struct byre_error err = BYRE_ERROR_INIT;
    char expected[700];

    (void)state;
    snprintf(expected, sizeof expected, "Failed to get \"write\" lock\n"
             "Is another process using the image [%s]?", image);
    for (int cache = 0; cache <= BYRE_CACHE_UNSAFE; cache++) {
        options.cache = (enum byre_cache)cache;
        assert_int_equal(byre_file_open(image, &options, &a, NULL, NULL), 0);
        assert_int_equal(byre_file_open(image, &options, &b, NULL, &err), -EAGAIN);
        assert_string_equal(err.text, expected);
        assert_int_equal(byre_file_open(image, &unlocked, &b, NULL, NULL), 0);
        byre_store_close(b);
        expect_held((const int[]){ 100, 101, 103, 201, 203, 0 });
        byre_store_close(a);
        expect_held((const int[]){ 0 });
    }
}

/* --- beside qemu-io --- */

struct qemu_io {
    FILE *in, *out;
    pid_t pid;
};

/* Starts qemu-io on the image and returns once it has read from it. */
static struct qemu_io start_qemu_io(bool read_only)
{
    int to[2], from[2];
    struct qemu_io io;
    char line[256] = "";

    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    io.pid = fork();
    assert_true(io.pid >= 0);
    if (io.pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execlp("qemu-io", "qemu-io", "-f", "qcow2", image, read_only ? "-r" : NULL, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    io.in = fdopen(to[1], "w");
    io.out = fdopen(from[0], "r");
    fputs("read 0 512\n", io.in);
    fflush(io.in);
    while (!strstr(line, "read 512/512 bytes"))
        assert_non_null(fgets(line, sizeof line, io.out));
    return io;
}

static void stop_qemu_io(struct qemu_io *io)
{
    int status;

    fclose(io->in);
    assert_int_equal(waitpid(io->pid, &status, 0), io->pid);
    fclose(io->out);
}

/* Runs qemu-io to its end: "" or its complaint. */
static const char *run_qemu_io(const char *mode)
{
    static char text[2048];
    char command[700];
    size_t n;
    FILE *p;

    snprintf(command, sizeof command, "qemu-io -f qcow2 -c 'read 0 512' %s '%s' 2>&1 >/dev/null", mode,
             image);
    p = popen(command, "r");
    assert_non_null(p);
    n = fread(text, 1, sizeof text - 1, p);
    text[n] = '\0';
    pclose(p);
    return text;
}

static void lock_is_respected_by_qemu(void **state)
{
    int fd = must_lock(true, false);

    (void)state;
    assert_non_null(strstr(run_qemu_io(""), "Failed to get \"write\" lock"));
    assert_non_null(strstr(run_qemu_io("-r"), "Failed to get shared \"write\" lock"));
    assert_string_equal(run_qemu_io("-r -U"), "");
    close(fd);
    fd = must_lock(false, false);
    assert_non_null(strstr(run_qemu_io(""), "Failed to get \"write\" lock"));
    assert_string_equal(run_qemu_io("-r"), "");
    close(fd);
    fd = must_lock(false, true);
    assert_string_equal(run_qemu_io(""), "");
    close(fd);
    assert_string_equal(run_qemu_io(""), "");
}

static void lock_respects_qemu(void **state)
{
    struct qemu_io io = start_qemu_io(false);

    (void)state;
    expect_refused(false, false, "shared \"write\"");
    expect_refused(true, false, "\"write\"");
    close(must_lock(false, true));
    stop_qemu_io(&io);
    close(must_lock(true, false));

    io = start_qemu_io(true);
    expect_refused(true, false, "\"write\"");
    close(must_lock(false, false));
    stop_qemu_io(&io);
    close(must_lock(true, false));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lock_holds_the_bytes_that_qemu_holds),
        TEST(lock_readers_share),
        TEST(lock_writer_excludes_readers_and_writers),
        TEST(lock_reader_excludes_writers),
        TEST(lock_refused_leaves_no_locks),
        TEST(lock_names_the_permission),
        TEST(lock_file_store_holds_it_until_closed),
        TEST(lock_is_respected_by_qemu),
        TEST(lock_respects_qemu),
    };

    return cmocka_run_group_tests_name("file_lock", tests, NULL, NULL);
}
