/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of NBD that costs little, so that a server's rate is seen, and not its own: 4 KiB requests at scattered
 * places, each at most once if there are as many, over one connection to a UNIX socket.
 *
 *     nbd_load SOCKET read|write COUNT DEPTH STRIDE
 *
 * Places are multiples of STRIDE bytes, of which the disk is taken to have a power of two.  DEPTH requests are under way at a time.  Prints
 * the seconds that the requests took, and those of the processor that they took here.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK = 4096,
    DEPTH_MAX = 1024,
    REQUEST = 28,
    IN_BYTES = 1 << 20,
    OPT_GO = 7,
    OPT_STRUCTURED = 8,
    CMD_READ = 0,
    CMD_WRITE = 1,
    CMD_DISC = 2,
    SIMPLE_REPLY = 0x67446698,
    CHUNK = 0x668e33ef,
    CHUNK_DONE = 1,
    CHUNK_DATA = 1,
    CHUNK_ERROR = 0x8000,
};

struct load {
    int fd;
    bool write;
    uint64_t stride, places, count, started, ended;
    uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "nbd_load: %s: %s\n", what, errno ? strerror(errno) : "not as expected");
    exit(1);
}

static void put16(uint8_t *to, uint16_t value) { value = htobe16(value); memcpy(to, &value, 2); }
static void put32(uint8_t *to, uint32_t value) { value = htobe32(value); memcpy(to, &value, 4); }
static void put64(uint8_t *to, uint64_t value) { value = htobe64(value); memcpy(to, &value, 8); }
static uint16_t get16(const uint8_t *from) { uint16_t value; memcpy(&value, from, 2); return be16toh(value); }
static uint32_t get32(const uint8_t *from) { uint32_t value; memcpy(&value, from, 4); return be32toh(value); }
static uint64_t get64(const uint8_t *from) { uint64_t value; memcpy(&value, from, 8); return be64toh(value); }

static void send_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent < 0 && errno != EINTR)
            fail("send");
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
        }
    }
}

static void receive_all(int fd, uint8_t *bytes, size_t length)
{
    while (length) {
        ssize_t got = recv(fd, bytes, length, 0);

        if (got == 0 || (got < 0 && errno != EINTR))
            fail("recv");
        if (got > 0) {
            bytes += got;
            length -= (size_t)got;
        }
    }
}

/* --- the handshake ----------------------------------------------------------------------------------------- */

static void send_option(int fd, uint32_t option, const uint8_t *data, uint32_t length)
{
    uint8_t head[16];

    put64(head, UINT64_C(0x49484156454F5054));
    put32(head + 8, option);
    put32(head + 12, length);
    send_all(fd, head, sizeof head);
    send_all(fd, data, length);
}

/* Waits for the acknowledgement; notes the size where it is told. */
static void receive_answer(int fd, uint64_t *size)
{
    uint8_t head[20], data[4096];

    for (;;) {
        uint32_t type, length;

        receive_all(fd, head, sizeof head);
        type = get32(head + 12);
        length = get32(head + 16);
        if (length > sizeof data || type & 0x80000000u)
            fail("the handshake");
        receive_all(fd, data, length);
        if (type == 1)
            return;
        if (type == 3 && length == 12 && get16(data) == 0)
            *size = get64(data + 2);
    }
}

static uint64_t shake_hands(int fd)
{
    uint8_t greeting[18], flags[4], nobody[6] = { 0 };
    uint64_t size = 0;

    receive_all(fd, greeting, sizeof greeting);
    put32(flags, get16(greeting + 16) & 3u);
    send_all(fd, flags, sizeof flags);
    send_option(fd, OPT_STRUCTURED, NULL, 0);
    receive_answer(fd, &size);
    send_option(fd, OPT_GO, nobody, sizeof nobody);
    receive_answer(fd, &size);
    return size;
}

/* --- requests ---------------------------------------------------------------------------------------------- */

/* A permutation of the places: an odd factor. */
static uint64_t place(const struct load *load, uint64_t number)
{
    return ((number * UINT64_C(0x9E3779B97F4A7C15) + 12345) & (load->places - 1)) * load->stride;
}

static void fill(uint8_t *block, uint64_t at)
{
    for (size_t i = 0; i < BLOCK; i += 8)
        memcpy(block + i, &at, 8);
    block[0] |= 1; /* not all zeros */
}

static void add_request(struct load *load)
{
    uint64_t at = place(load, load->started);
    uint8_t *to = load->out + load->out_len;

    put32(to, 0x25609513);
    put16(to + 4, 0);
    put16(to + 6, load->write ? CMD_WRITE : CMD_READ);
    put64(to + 8, load->started++);
    put64(to + 16, at);
    put32(to + 24, BLOCK);
    load->out_len += REQUEST;
    if (load->write) {
        fill(to + REQUEST, at);
        load->out_len += BLOCK;
    }
}

static void judge_data(const struct load *load, const uint8_t *chunk)
{
    uint64_t number = get64(chunk + 8), at = place(load, number);

    if (get32(chunk + 16) != 8 + BLOCK || get64(chunk + 20) != at)
        fail("what was read");
}

static void end_one(struct load *load)
{
    load->ended++;
    if (load->started < load->count)
        add_request(load);
}

/* A structured reply's chunk, or a simple reply, which servers may give to writes: its length, if all of it is there. */
static size_t length_of(const uint8_t *reply, size_t length)
{
    size_t all = length >= 16 && get32(reply) == SIMPLE_REPLY ? 16 : 20;

    if (length >= 20 && all == 20)
        all += get32(reply + 16);
    return length >= all ? all : 0;
}

/* Takes the chunk that begins there: its length, or 0 if there is not all of it. */
static size_t take_reply(struct load *load, const uint8_t *reply, size_t available)
{
    size_t length = length_of(reply, available);
    bool simple = length && get32(reply) == SIMPLE_REPLY;

    if (!length)
        return 0;
    if (simple ? !load->write || get32(reply + 4) : get32(reply) != CHUNK || get16(reply + 6) & CHUNK_ERROR)
        fail("a reply");
    if (!simple && get16(reply + 6) == CHUNK_DATA)
        judge_data(load, reply);
    if (simple || get16(reply + 4) & CHUNK_DONE)
        end_one(load);
    return length;
}

static void run(struct load *load, unsigned depth)
{
    for (unsigned i = 0; i < depth && load->started < load->count; i++)
        add_request(load);
    while (load->ended < load->count) {
        size_t used = 0, part;
        ssize_t got;

        send_all(load->fd, load->out, load->out_len);
        load->out_len = 0;
        got = recv(load->fd, load->in + load->in_len, IN_BYTES - load->in_len, 0);
        errno = got == 0 ? 0 : errno;
        if (got <= 0)
            fail("recv");
        load->in_len += (size_t)got;
        while ((part = take_reply(load, load->in + used, load->in_len - used)))
            used += part;
        memmove(load->in, load->in + used, load->in_len - used);
        load->in_len -= used;
    }
}

static double seconds(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct load load = { .fd = socket(AF_UNIX, SOCK_STREAM, 0) };
    unsigned depth = argc == 6 ? (unsigned)atoi(argv[4]) : 0;
    double start, processor;
    uint8_t bye[REQUEST] = { 0x25, 0x60, 0x95, 0x13, 0, 0, 0, CMD_DISC };

    errno = 0;
    if (!depth || depth > DEPTH_MAX || strlen(argv[1]) >= sizeof address.sun_path)
        fail("usage: nbd_load SOCKET read|write COUNT DEPTH STRIDE");
    strcpy(address.sun_path, argv[1]);
    if (connect(load.fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail(argv[1]);
    load.write = strcmp(argv[2], "write") == 0;
    load.count = strtoull(argv[3], NULL, 10);
    load.stride = strtoull(argv[5], NULL, 10);
    if (load.stride < BLOCK)
        fail("STRIDE");
    load.places = shake_hands(load.fd) / load.stride;
    while (load.places & (load.places - 1))
        load.places &= load.places - 1;
    load.in = malloc(IN_BYTES);
    load.out = malloc((size_t)depth * (REQUEST + BLOCK));
    if (!load.in || !load.out || !load.places)
        fail("no memory, or a disk without places");
    start = seconds(CLOCK_MONOTONIC);
    processor = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(&load, depth);
    printf("%.6f %.6f\n", seconds(CLOCK_MONOTONIC) - start, seconds(CLOCK_PROCESS_CPUTIME_ID) - processor);
    send_all(load.fd, bye, sizeof bye);
    return 0;
}
