/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of disks over NBD: what they say, what is refused, and that a printed name says the same again.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk/nbd_name.h"

static struct byre_error err;

static void says(const char *name, const char *wanted)
{
    json_t *tree = json_object();
    char *found;

    assert_true(byre_nbd_name_is(name));
    if (byre_nbd_name_read(name, tree, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    found = json_dumps(tree, JSON_COMPACT);
    assert_string_equal(found, wanted);
    free(found);
    json_decref(tree);
}

static void is_refused(const char *name, const char *wanted)
{
    json_t *tree = json_object();

    err.text[0] = 0;
    assert_true(byre_nbd_name_is(name));
    assert_true(byre_nbd_name_read(name, tree, &err) < 0);
    if (!strstr(err.text, wanted))
        fail_msg("'%s' says: %s", name, err.text);
    json_decref(tree);
}

#define INET(host, port) "{\"driver\":\"nbd\",\"server.type\":\"inet\",\"server.host\":\"" host \
    "\",\"server.port\":\"" port "\""
#define UNIX(path) "{\"driver\":\"nbd\",\"server.type\":\"unix\",\"server.path\":\"" path "\""

static void uris_are_read(void **state)
{
    (void)state;
    says("nbd://h/x", INET("h", "10809") ",\"export\":\"x\"}");
    says("nbd://h", INET("h", "10809") "}");
    says("nbd://h:/", INET("h", "10809") "}");
    says("nbd+tcp://h:12/a/b", INET("h", "12") ",\"export\":\"a/b\"}");
    says("nbd://[::1]:3//x", INET("::1", "3") ",\"export\":\"/x\"}");
    says("nbd://[::1]/", INET("::1", "10809") "}");
    says("nbd+unix:///x%20%25y?socket=/a%3fb", UNIX("/a?b") ",\"export\":\"x %y\"}");
    says("nbd+unix://?socket=s", UNIX("s") "}");
    says("nbds://u@h/x", INET("h", "10809") ",\"export\":\"x\",\"tls\":\"on\",\"tls-username\":\"u\"}");
    says("nbds+unix:///x?socket=s&tls-certificates=/c", UNIX("s") ",\"export\":\"x\",\"tls\":\"on\","
         "\"tls-certificates\":\"/c\"}");
    says("nbds+tcp://h/?tls-psk-file=k;tls-username=n", INET("h", "10809") ",\"tls\":\"on\",\"tls-psk-file\":\"k\","
         "\"tls-username\":\"n\"}");
}

static void older_names_are_read(void **state)
{
    (void)state;
    says("nbd:h:1", INET("h", "1") "}");
    says("nbd:h:1:exportname=a:b", INET("h", "1") ",\"export\":\"a:b\"}");
    says("nbd:[::1]:3:exportname=x", INET("::1", "3") ",\"export\":\"x\"}");
    says("nbd:unix:/a:b", UNIX("/a:b") "}");
    says("nbd:unix:/a:exportname=x", UNIX("/a") ",\"export\":\"x\"}");
}

static void other_names_are_none(void **state)
{
    (void)state;
    assert_false(byre_nbd_name_is("nbd"));
    assert_false(byre_nbd_name_is("nbdx://h"));
    assert_false(byre_nbd_name_is("nbd+vsock://1:2/"));
    assert_false(byre_nbd_name_is("./nbd:h:1"));
}

static void mistakes_are_named(void **state)
{
    (void)state;
    is_refused("nbd:", "NBD server address missing");
    is_refused("nbd:h", "error parsing address 'h'");
    is_refused("nbd:h:", "error parsing address 'h:'");
    is_refused("nbd::1", "host not found in ':1'");
    is_refused("nbd:h:1:2", "error parsing address 'h:1:2'");
    is_refused("nbd:[::1:3", "error parsing address '[::1:3'");
    is_refused("nbd:[::1]", "error parsing address '[::1]'");
    is_refused("nbd:h:1:exportname=", "the name of the export is missing");
    is_refused("nbd:unix:s:exportname=", "the name of the export is missing");
    is_refused("nbds:h:1", "'//' is missing");
    is_refused("nbd+unix:s", "'//' is missing");
    is_refused("nbd:///x", "the host is missing");
    is_refused("nbd://[::1/x", "'[' without ']'");
    is_refused("nbd://[::1]x/", "something follows ']'");
    is_refused("nbd://u@h/x", "a user without TLS");
    is_refused("nbd://h/x#y", "fragment");
    is_refused("nbd://h/%", "hexadecimal");
    is_refused("nbd://h/%4", "hexadecimal");
    is_refused("nbd://h/%zz", "hexadecimal");
    is_refused("nbd://h/a%00b", "zero byte");
    is_refused("nbd://h/x?socket=s", "'nbd://' has no parameter 'socket'");
    is_refused("nbd://h/x?tls-psk-file=s", "'nbd://' has no parameter 'tls-psk-file'");
    is_refused("nbds://h/x?nonsense", "'nbds://' has no parameter 'nonsense'");
    is_refused("nbd+unix:///x", "'socket' is missing");
    is_refused("nbd+unix:///x?socket=", "'socket' is missing");
    is_refused("nbd+unix:///x?socket=a&socket=b", "'socket' is given twice");
    is_refused("nbd+unix://h/x?socket=s", "a unix socket has no host");
    is_refused("nbd+unix://:1/x?socket=s", "a unix socket has no host");
}

static void prints(struct byre_nbd_options options, const char *wanted)
{
    char *name = byre_nbd_name_print(&options);

    assert_string_equal(name, wanted);
    free(name);
}

static void names_are_printed(void **state)
{
    (void)state;
    prints((struct byre_nbd_options){ .path = "/a b?", .export_name = "x%/#" },
           "nbd+unix:///x%25/%23?socket=/a%20b%3F");
    prints((struct byre_nbd_options){ .path = "s", .export_name = "" }, "nbd+unix://?socket=s");
    prints((struct byre_nbd_options){ .host = "h", .port = "1", .export_name = "x" }, "nbd://h:1/x");
    prints((struct byre_nbd_options){ .host = "::1", .port = "1", .export_name = "" }, "nbd://[::1]:1");
    prints((struct byre_nbd_options){ .host = "h", .port = "1", .export_name = "x", .tls = true,
                                      .tls_certificates = "/c", .tls_username = "u" },
           "nbds://h:1/x?tls-certificates=/c&tls-username=u");
    prints((struct byre_nbd_options){ .path = "s", .export_name = "x", .tls = true, .tls_psk_file = "k" },
           "nbds+unix:///x?socket=s&tls-psk-file=k");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uris_are_read),
        cmocka_unit_test(older_names_are_read),
        cmocka_unit_test(other_names_are_none),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(names_are_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
