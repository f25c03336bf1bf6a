/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a service manager hands over by the environment: the variables are gone afterwards, whatever came of them.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "nbd/systemd.h"

static void assert_forgotten(void)
{
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_FDNAMES"));
    assert_null(getenv("NOTIFY_SOCKET"));
}

static void hand_over(const char *pid, const char *fds)
{
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", fds, 1);
    setenv("LISTEN_FDNAMES", "a:b", 1);
}

static void sockets_of_others_are_left_alone(void **state)
{
    static const char *const pids[] = { "1", "", "x", "-1", "99999999999999999999" };
    byre_nbd_sockets sockets = VEC_INIT;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(pids); i++) {
        hand_over(pids[i], "1");
        assert_int_equal(byre_nbd_systemd_sockets(&sockets, NULL), 0);
        assert_int_equal(sockets.len, 0);
        assert_forgotten();
    }
    assert_int_equal(byre_nbd_systemd_sockets(&sockets, NULL), 0);
}

static void numbers_that_make_no_sense_are_refused(void **state)
{
    static const char *const counts[] = { "", "x", "-1", "1x", " 1", "4097", "99999999999999999999" };
    byre_nbd_sockets sockets = VEC_INIT;
    char pid[32];

    (void)state;
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        hand_over(pid, counts[i]);
        assert_int_equal(byre_nbd_systemd_sockets(&sockets, NULL), -EINVAL);
        assert_int_equal(sockets.len, 0);
        assert_forgotten();
    }
    hand_over(pid, "0");
    assert_int_equal(byre_nbd_systemd_sockets(&sockets, NULL), 0);
}

static void names_of_managers_are_checked(void **state)
{
    struct byre_nbd_notify notify;
    char name[200] = "/";

    (void)state;
    assert_int_equal(byre_nbd_notify_open(&notify, NULL), 0);
    assert_int_equal(notify.fd, -1);
    byre_nbd_notify_ready(&notify); /* nobody wants to know */
    setenv("NOTIFY_SOCKET", "relative", 1);
    assert_int_equal(byre_nbd_notify_open(&notify, NULL), -EINVAL);
    assert_forgotten();
    setenv("NOTIFY_SOCKET", "@", 1);
    assert_int_equal(byre_nbd_notify_open(&notify, NULL), -EINVAL);
    for (unsigned i = 1; i < sizeof name - 1; i++)
        name[i] = 'x';
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(byre_nbd_notify_open(&notify, NULL), -ENAMETOOLONG);
    setenv("NOTIFY_SOCKET", "/nowhere/there", 1);
    assert_int_equal(byre_nbd_notify_open(&notify, NULL), -ENOENT);
    assert_int_equal(notify.fd, -1);
    assert_forgotten();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_of_others_are_left_alone),
        cmocka_unit_test(numbers_that_make_no_sense_are_refused),
        cmocka_unit_test(names_of_managers_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
