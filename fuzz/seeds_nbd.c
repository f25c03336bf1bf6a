/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes seeds for fuzz_nbd into the directory that is given: sessions of all kinds, and each of them damaged.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "nbd/protocol.h"

static const char *directory;
static unsigned written;

/* A session that is being written. */
static struct {
    uint8_t bytes[16384];
    size_t length;
} session;

static void fail(const char *what)
{
    fprintf(stderr, "seeds_nbd: %s\n", what);
    exit(1);
}

static void write_seed(const uint8_t *bytes, size_t length)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/nbd-%05u", directory, written++);
    file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
        fail(path);
}

/* The session as it is, and with each of its bytes another one. */
static void write_session(void)
{
    static const uint8_t other[] = { 0x00, 0x01, 0x7f, 0xff };

    write_seed(session.bytes, session.length);
    for (size_t i = 0; i < session.length; i += session.length > 1000 ? 97 : 1) {
        uint8_t byte = session.bytes[i];

        session.bytes[i] = other[i % ARRAY_LEN(other)];
        write_seed(session.bytes, session.length);
        session.bytes[i] = byte;
    }
}

static void say(const void *bytes, size_t length)
{
    if (length > sizeof session.bytes - session.length)
        fail("a session is too long");
    memcpy(session.bytes + session.length, bytes, length);
    session.length += length;
}

static void say_number(uint64_t number, unsigned bytes)
{
    uint8_t all[8];

    byre_put_be64(all, number);
    say(all + 8 - bytes, bytes);
}

static void start(unsigned tls, unsigned pieces, uint32_t flags)
{
    session.length = 0;
    say_number(tls, 1);
    say_number(pieces, 1);
    say_number(flags, 4);
}

static void say_option(uint32_t option, uint32_t length)
{
    say_number(NBD_OPTION_MAGIC, 8);
    say_number(option, 4);
    say_number(length, 4);
}

static void say_go(uint32_t option, const char *name, unsigned wishes)
{
    size_t length = strlen(name);

    say_option(option, (uint32_t)length + 6 + 2 * wishes);
    say_number(length, 4);
    say(name, length);
    say_number(wishes, 2);
    for (unsigned i = 0; i < wishes; i++)
        say_number(i, 2);
}

static void say_contexts(uint32_t option, const char *name, const char *query)
{
    say_option(option, (uint32_t)(strlen(name) + 4 + 4 + (*query ? 4 + strlen(query) : 0)));
    say_number(strlen(name), 4);
    say(name, strlen(name));
    say_number(*query != 0, 4);
    if (*query) {
        say_number(strlen(query), 4);
        say(query, strlen(query));
    }
}

static void say_request(unsigned length_bytes, uint16_t flags, uint16_t type, uint64_t goff, uint64_t length)
{
    say_number(length_bytes == 8 ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC, 4);
    say_number(flags, 2);
    say_number(type, 2);
    say_number(0x0123456789abcdef, 8);
    say_number(goff, 8);
    say_number(length, length_bytes);
}

/* All commands, and some that are none. */
static void say_requests(unsigned length_bytes)
{
    bool extended = length_bytes == 8;
    static const uint8_t payload[512];

    for (uint16_t type = NBD_CMD_READ; type <= NBD_CMD_BLOCK_STATUS + 1; type++) {
        if (type == NBD_CMD_DISC)
            continue;
        say_request(length_bytes, extended && type == NBD_CMD_WRITE ? NBD_CMD_FLAG_PAYLOAD_LEN : 0, type,
                    type == NBD_CMD_FLUSH ? 0 : 4096, type == NBD_CMD_FLUSH ? 0 : 512);
        if (type == NBD_CMD_WRITE)
            say(payload, 512);
    }
    say_request(length_bytes, 0, NBD_CMD_READ, 0, 1 << 20);
    if (extended) {
        say_request(8, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 0, 16);
        say_number(4096, 8);
        say_number(0, 4);
        say_number(1, 4);
    }
    say_request(length_bytes, 0, NBD_CMD_DISC, 0, 0);
}

static void write_sessions(unsigned tls, unsigned pieces)
{
    static const uint32_t options[] = { NBD_OPT_STRUCTURED_REPLY, NBD_OPT_EXTENDED_HEADERS };

    start(tls, pieces, 0);
    say_option(NBD_OPT_EXPORT_NAME, 0);
    say_requests(4);
    write_session();
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        start(tls, pieces, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
        if (tls) {
            say_option(NBD_OPT_LIST, 0);
            say_option(NBD_OPT_STARTTLS, 0);
        }
        say_option(options[i], 0);
        say_option(NBD_OPT_LIST, 0);
        say_contexts(NBD_OPT_LIST_META_CONTEXT, "secret", "");
        say_contexts(NBD_OPT_SET_META_CONTEXT, "", i ? "qemu:allocation-depth" : "base:allocation");
        say_go(NBD_OPT_INFO, "secret", 4);
        say_go(NBD_OPT_GO, "", 0);
        say_requests(i ? 8 : 4);
        write_session();
    }
    start(tls, pieces, NBD_FLAG_FIXED_NEWSTYLE);
    say_go(NBD_OPT_GO, "another", 1);
    say_option(NBD_OPT_ABORT, 0);
    write_session();
    for (unsigned i = 0; i < 3; i++) { /* too long, far too long; and a name that is */
        start(tls, pieces, NBD_FLAG_FIXED_NEWSTYLE);
        say_option(i == 2 ? NBD_OPT_EXPORT_NAME : NBD_OPT_GO, i ? UINT32_MAX : 70000);
        for (unsigned at = 0; at < 9000; at += 8)
            say_number(0x4141414141414141, 8);
        write_session();
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        fail("usage: seeds_nbd DIRECTORY");
    directory = argv[1];
    for (unsigned tls = 0; tls < 3; tls++)
        write_sessions(tls, 7 + tls);
    printf("wrote %u seeds\n", written);
    return 0;
}
