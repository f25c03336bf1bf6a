/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended headers, with a client of our own, for others know none: lengths of 64 bits, block status with payloads,
 * and what is refused.  Each field of each reply is looked at.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../unit/disk_fixture.h"
#include "base/endian.h"
#include "byre/queue.h"
#include "server_fixture.h"

#define K 1024ULL
#define M (1024 * K)
#define G (1024 * M)

#define SIZE  (6 * G)
#define BASE  0u /* ids of the contexts, as they are chosen */
#define DEPTH 1u

static struct server server;
static struct byre_disk *served;
static int fd;

/* --- the session ------------------------------------------------------------------------------------------- */

/* Both contexts, in the order that makes their ids. */
static void choose_contexts(void)
{
    static const uint8_t wish[] = "\0\0\0\0" "\0\0\0\2" "\0\0\0\17base:allocation" "\0\0\0\25qemu:allocation-depth";
    const uint32_t option = NBD_OPT_SET_META_CONTEXT;
    uint8_t data[256];
    size_t length;

    client_say_option(fd, option, wish, sizeof wish - 1);
    assert_int_equal(client_hear_option(fd, option, data, sizeof data, &length), NBD_REP_META_CONTEXT);
    assert_int_equal(length, 4 + 15);
    assert_int_equal(byre_get_be32(data), BASE);
    assert_memory_equal(data + 4, "base:allocation", 15);
    assert_int_equal(client_hear_option(fd, option, data, sizeof data, &length), NBD_REP_META_CONTEXT);
    assert_int_equal(length, 4 + 21);
    assert_int_equal(byre_get_be32(data), DEPTH);
    assert_int_equal(client_hear_option(fd, option, data, sizeof data, &length), NBD_REP_ACK);
}

static void choose_allocation(void)
{
    static const uint8_t wish[] = "\0\0\0\0" "\0\0\0\1" "\0\0\0\17base:allocation";
    const uint32_t option = NBD_OPT_SET_META_CONTEXT;
    uint8_t data[256];
    size_t length;

    client_say_option(fd, option, wish, sizeof wish - 1);
    assert_int_equal(client_hear_option(fd, option, data, sizeof data, &length), NBD_REP_META_CONTEXT);
    assert_int_equal(client_hear_option(fd, option, data, sizeof data, &length), NBD_REP_ACK);
}

static uint32_t agree(uint32_t option, const char *data)
{
    uint8_t answer[256];
    size_t length;

    client_say_option(fd, option, data, strlen(data));
    return client_hear_option(fd, option, answer, sizeof answer, &length);
}

/* "part": the last 64 KiB before 5 GiB, and the first ones behind it. */
static void add_part(void)
{
    const struct byre_nbd_export_options options = {
        .name = "part", .shared = true, .base = server.exports.list.ptr[0],
    };
    struct byre_nbd_export *part;

    must(byre_nbd_export_new_part(&options, 5 * G - 64 * K, 128 * K, &part, err));
    must(byre_nbd_exports_add(&server.exports, part, err));
}

static int set_up_server(void **state)
{
    struct byre_nbd_export_options options = { .name = "", .shared = true, .allocation_depth = true };
    int rc = set_up(state);

    if (rc)
        return rc;
    make_image(path("disk"), SIZE, 65536, NULL, NULL);
    served = open_disk(path("disk"), true);
    put(served, 0, 64 * K, 1);
    put(served, 5 * G, 64 * K, 2);
    server_init(&server);
    server_add(&server, served, &options);
    add_part();
    server_start(&server, path("socket"));
    fd = client_connect(path("socket"));
    client_greet(fd);
    return 0;
}

static int tear_down_server(void **state)
{
    close(fd);
    server_stop(&server);
    return tear_down(state);
}

static void transmit(void)
{
    assert_int_equal(agree(NBD_OPT_EXTENDED_HEADERS, ""), NBD_REP_ACK);
    choose_contexts();
    assert_int_equal(client_go(fd),
                     NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
                         NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_DF | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_CACHE |
                         NBD_FLAG_SEND_FAST_ZERO | NBD_FLAG_BLOCK_STATUS_PAYLOAD);
}

/* --- requests ---------------------------------------------------------------------------------------------- */

static uint64_t cookie = 0xfedcba9800000000;

static struct client_request say(uint16_t type, uint16_t flags, uint64_t goff, uint64_t length)
{
    const struct client_request request = { flags, type, ++cookie, goff, length };

    client_say_request(fd, true, &request);
    return request;
}

/* The next chunk, which belongs to the request. */
static struct client_chunk hear(const struct client_request *request, uint16_t flags, uint16_t type)
{
    struct client_chunk chunk;

    client_hear_chunk(fd, true, &chunk);
    if (chunk.type != type)
        fail_msg("type %u, wanted %u: %.*s", chunk.type, type, (int)(chunk.length > 6 ? chunk.length - 6 : 0),
                 (const char *)chunk.payload + 6);
    assert_int_equal(chunk.flags, flags);
    assert_true(chunk.cookie == request->cookie);
    assert_true(chunk.goff == request->goff);
    return chunk;
}

static void hear_success(const struct client_request *request)
{
    struct client_chunk chunk = hear(request, NBD_CHUNK_FLAG_DONE, NBD_CHUNK_NONE);

    assert_int_equal(chunk.length, 0);
    free(chunk.payload);
}

static void hear_error(const struct client_request *request, uint32_t error)
{
    struct client_chunk chunk = hear(request, NBD_CHUNK_FLAG_DONE, NBD_CHUNK_ERROR);

    assert_true(chunk.length > 6);
    if (byre_get_be32(chunk.payload) != error)
        fail_msg("error %u, wanted %u: %.*s", byre_get_be32(chunk.payload), error, (int)chunk.length - 6,
                 (const char *)chunk.payload + 6);
    assert_int_equal(byre_get_be16(chunk.payload + 4), chunk.length - 6);
    free(chunk.payload);
}

static void ask(uint16_t type, uint16_t flags, uint64_t goff, uint64_t length, uint32_t error)
{
    struct client_request request = say(type, flags, goff, length);

    if (error)
        hear_error(&request, error);
    else
        hear_success(&request);
}

static void ask_write(uint64_t goff, const void *data, size_t length, uint16_t flags, uint32_t error)
{
    struct client_request request = say(NBD_CMD_WRITE, flags, goff, length);

    client_say(fd, data, length);
    if (error)
        hear_error(&request, error);
    else
        hear_success(&request);
}

struct run {
    uint64_t length, flags;
};

/* The next chunk is a status of these extents. */
static void hear_status(const struct client_request *request, bool last, uint32_t id, const struct run *runs,
                        uint32_t count)
{
    struct client_chunk chunk = hear(request, last ? NBD_CHUNK_FLAG_DONE : 0, NBD_CHUNK_BLOCK_STATUS_EXT);

    assert_int_equal(chunk.length, 8 + 16 * count);
    assert_int_equal(byre_get_be32(chunk.payload), id);
    assert_int_equal(byre_get_be32(chunk.payload + 4), count);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(byre_get_be64(chunk.payload + 8 + 16 * i) == runs[i].length);
        assert_true(byre_get_be64(chunk.payload + 16 + 16 * i) == runs[i].flags);
    }
    free(chunk.payload);
}

#define SAID(...) (const struct run[]){ __VA_ARGS__ }, ARRAY_LEN(((const struct run[]){ __VA_ARGS__ }))

/* Block status with a payload: so much, of these contexts. */
static struct client_request say_filter(uint64_t goff, uint64_t effect, const uint32_t *ids, size_t count)
{
    uint8_t payload[8 + 4 * 100];
    struct client_request request =
        say(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, goff, 8 + 4 * (uint64_t)count);

    assert_true(count <= 100);
    byre_put_be64(payload, effect);
    for (size_t i = 0; i < count; i++)
        byre_put_be32(payload + 8 + 4 * i, ids[i]);
    client_say(fd, payload, 8 + 4 * count);
    return request;
}

#define IDS(...) (const uint32_t[]){ __VA_ARGS__ }, ARRAY_LEN(((const uint32_t[]){ __VA_ARGS__ }))

/* --- tests ------------------------------------------------------------------------------------------------- */

static void headers_are_agreed_on_once(void **state)
{
    (void)state;
    assert_int_equal(agree(NBD_OPT_EXTENDED_HEADERS, "x"), NBD_REP_ERR_INVALID);
    assert_int_equal(agree(NBD_OPT_STRUCTURED_REPLY, ""), NBD_REP_ACK);
    assert_int_equal(agree(NBD_OPT_EXTENDED_HEADERS, ""), NBD_REP_ACK);
    assert_int_equal(agree(NBD_OPT_EXTENDED_HEADERS, ""), NBD_REP_ERR_INVALID);
    assert_int_equal(agree(NBD_OPT_STRUCTURED_REPLY, ""), NBD_REP_ERR_INVALID);
    choose_contexts();
    client_go(fd);
    ask(NBD_CMD_FLUSH, 0, 0, 0, 0);
}

static void status_has_lengths_of_64_bits(void **state)
{
    struct client_request request;

    (void)state;
    transmit();
    request = say(NBD_CMD_BLOCK_STATUS, 0, 0, SIZE);
    hear_status(&request, false, BASE, SAID({ 64 * K, 0 }, { 5 * G - 64 * K, 3 }, { 64 * K, 0 }, { G - 64 * K, 3 }));
    hear_status(&request, true, DEPTH, SAID({ 64 * K, 1 }, { 5 * G - 64 * K, 0 }, { 64 * K, 1 }, { G - 64 * K, 0 }));
    request = say(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 64 * K, SIZE - 64 * K);
    hear_status(&request, false, BASE, SAID({ 5 * G - 64 * K, 3 }));
    hear_status(&request, true, DEPTH, SAID({ 5 * G - 64 * K, 0 }));
    request = say(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 5 * G + 10, 100);
    hear_status(&request, false, BASE, SAID({ 100, 0 }));
    hear_status(&request, true, DEPTH, SAID({ 100, 1 }));
    ask(NBD_CMD_BLOCK_STATUS, 0, 1, SIZE, NBD_EINVAL);
    ask(NBD_CMD_BLOCK_STATUS, 0, 0, 0, NBD_EINVAL);
    ask(NBD_CMD_BLOCK_STATUS, 0, UINT64_MAX, UINT64_MAX, NBD_EINVAL);
}

/* A client of a huge disk asks again for what is behind the first 256 GiB. */
static void status_looks_at_a_part_of_a_huge_disk(void **state)
{
    const struct byre_nbd_export_options options = { .name = "", .read_only = true };
    struct client_request request;

    (void)state;
    close(fd);
    server_stop(&server);
    make_image(path("huge"), 1024 * G, 65536, NULL, NULL);
    server_init(&server);
    server_add(&server, open_disk(path("huge"), false), &options);
    server_start(&server, path("socket"));
    fd = client_connect(path("socket"));
    client_greet(fd);
    assert_int_equal(agree(NBD_OPT_EXTENDED_HEADERS, ""), NBD_REP_ACK);
    assert_int_equal(agree(NBD_OPT_SET_META_CONTEXT, ""), NBD_REP_ERR_INVALID);
    choose_allocation();
    client_go(fd);
    request = say(NBD_CMD_BLOCK_STATUS, 0, 0, 1024 * G);
    hear_status(&request, true, BASE, SAID({ 256 * G, 3 }));
    request = say(NBD_CMD_BLOCK_STATUS, 0, 900 * G, 124 * G);
    hear_status(&request, true, BASE, SAID({ 124 * G, 3 }));
}

/* Offsets are those of the part, whatever the disk has. */
static void parts_count_from_their_start(void **state)
{
    static const uint8_t wish[] = "\0\0\0\4part" "\0\0\0\1" "\0\0\0\17base:allocation", go[] = "\0\0\0\4part\0";
    struct client_request request;
    struct client_chunk chunk;
    uint8_t data[256];
    size_t length;

    (void)state;
    assert_int_equal(agree(NBD_OPT_EXTENDED_HEADERS, ""), NBD_REP_ACK);
    client_say_option(fd, NBD_OPT_SET_META_CONTEXT, wish, sizeof wish - 1);
    assert_int_equal(client_hear_option(fd, NBD_OPT_SET_META_CONTEXT, data, sizeof data, &length),
                     NBD_REP_META_CONTEXT);
    assert_int_equal(client_hear_option(fd, NBD_OPT_SET_META_CONTEXT, data, sizeof data, &length), NBD_REP_ACK);
    client_say_option(fd, NBD_OPT_GO, go, sizeof go);
    while (client_hear_option(fd, NBD_OPT_GO, data, sizeof data, &length) == NBD_REP_INFO)
        ;
    request = say(NBD_CMD_READ, 0, 32 * K, 64 * K); /* `hear` looks at the offset of each chunk */
    chunk = hear(&request, 0, NBD_CHUNK_OFFSET_HOLE);
    assert_true(byre_get_be64(chunk.payload) == 32 * K && byre_get_be32(chunk.payload + 8) == 32 * K);
    free(chunk.payload);
    chunk = hear(&request, NBD_CHUNK_FLAG_DONE, NBD_CHUNK_OFFSET_DATA);
    assert_true(chunk.length == 8 + 32 * K && byre_get_be64(chunk.payload) == 64 * K && chunk.payload[8] == 2);
    free(chunk.payload);
    request = say_filter(0, 128 * K, IDS(BASE));
    hear_status(&request, true, BASE, SAID({ 64 * K, 3 }, { 64 * K, 0 }));
    request = say_filter(64 * K, 64 * K, IDS(BASE));
    hear_status(&request, true, BASE, SAID({ 64 * K, 0 }));
    request = say_filter(64 * K, 64 * K + 1, IDS(BASE));
    hear_error(&request, NBD_EINVAL);
    ask(NBD_CMD_WRITE_ZEROES, 0, 64 * K, 64 * K + 1, NBD_ENOSPC);
    ask(NBD_CMD_READ, 0, 128 * K, 1, NBD_EINVAL);
}

static void payloads_choose_contexts(void **state)
{
    uint32_t many[100];
    struct client_request request;

    (void)state;
    transmit();
    request = say_filter(0, SIZE, IDS(DEPTH));
    hear_status(&request, true, DEPTH, SAID({ 64 * K, 1 }, { 5 * G - 64 * K, 0 }, { 64 * K, 1 }, { G - 64 * K, 0 }));
    request = say_filter(5 * G, G, IDS(BASE));
    hear_status(&request, true, BASE, SAID({ 64 * K, 0 }, { G - 64 * K, 3 }));
    request = say_filter(5 * G, G, IDS(DEPTH, BASE));
    hear_status(&request, false, DEPTH, SAID({ 64 * K, 1 }, { G - 64 * K, 0 }));
    hear_status(&request, true, BASE, SAID({ 64 * K, 0 }, { G - 64 * K, 3 }));
    request = say_filter(0, SIZE, NULL, 0); /* of none */
    hear_success(&request);

    request = say_filter(0, SIZE, IDS(BASE, 2));
    hear_error(&request, NBD_EINVAL);
    request = say_filter(0, SIZE, IDS(UINT32_MAX));
    hear_error(&request, NBD_EINVAL);
    request = say_filter(0, SIZE, IDS(DEPTH, DEPTH));
    hear_error(&request, NBD_EINVAL);
    request = say_filter(0, SIZE + 1, IDS(BASE));
    hear_error(&request, NBD_EINVAL);
    request = say_filter(5 * G, UINT64_MAX - G, IDS(BASE));
    hear_error(&request, NBD_EINVAL);
    request = say_filter(0, 0, IDS(BASE));
    hear_error(&request, NBD_EINVAL);
    for (unsigned i = 0; i < 100; i++)
        many[i] = i;
    request = say_filter(0, SIZE, many, 100);
    hear_error(&request, NBD_EINVAL);
    for (size_t length = 1; length < 16; length++) { /* what is no list of ids */
        if (length == 8 || length == 12)
            continue;
        request = say(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 0, length);
        client_say(fd, "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", length);
        hear_error(&request, NBD_EINVAL);
    }
    ask(NBD_CMD_FLUSH, 0, 0, 0, 0); /* nobody has lost the thread */
}

static void long_ranges_are_zeroed_trimmed_and_cached(void **state)
{
    struct client_request request;

    (void)state;
    transmit();
    ask(NBD_CMD_CACHE, 0, 0, SIZE, 0);
    ask(NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA, 64 * K, SIZE - 64 * K, 0);
    request = say_filter(0, SIZE, IDS(BASE));
    hear_status(&request, true, BASE, SAID({ 64 * K, 0 }, { SIZE - 64 * K, 3 }));
    expect(served, 5 * G, 64 * K, 0);
    ask(NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 0, SIZE, 0);
    request = say_filter(0, SIZE, IDS(BASE));
    hear_status(&request, true, BASE, SAID({ SIZE, 3 }));

    ask(NBD_CMD_WRITE_ZEROES, 0, 1, SIZE, NBD_ENOSPC);
    ask(NBD_CMD_WRITE_ZEROES, 0, 1ULL << 63, 1ULL << 63, NBD_ENOSPC);
    ask(NBD_CMD_WRITE_ZEROES, 0, SIZE - 512, UINT64_MAX, NBD_ENOSPC);
    ask(NBD_CMD_WRITE_ZEROES, 0, 0, 0, NBD_EINVAL);
    ask(NBD_CMD_TRIM, 0, 512, UINT64_MAX, NBD_EINVAL);
    ask(NBD_CMD_CACHE, 0, 512, UINT64_MAX, NBD_EINVAL);
    ask(NBD_CMD_TRIM, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 0, NBD_EINVAL);
    request = say(NBD_CMD_TRIM, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 10);
    client_say(fd, "0123456789", 10);
    hear_error(&request, NBD_EINVAL);
    ask(NBD_CMD_FLUSH, 0, 0, 0, 0);
}

static void writes_say_that_they_have_a_payload(void **state)
{
    static uint8_t data[300000];
    struct client_request request;
    struct client_chunk chunk;

    (void)state;
    transmit();
    memset(data, 7, sizeof data);
    ask_write(4 * G + 100, data, sizeof data, NBD_CMD_FLAG_PAYLOAD_LEN | NBD_CMD_FLAG_FUA, 0);
    expect(served, 4 * G + 100, sizeof data, 7);
    ask_write(4 * G, data, 512, 0, NBD_EINVAL);
    ask_write(SIZE - 100, data, 512, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_ENOSPC);
    ask_write(UINT64_MAX - 100, data, 512, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_ENOSPC);
    expect(served, 4 * G, 100, 0);
    request = say(NBD_CMD_READ, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 512);
    client_say(fd, data, 512);
    hear_error(&request, NBD_EINVAL);

    /* a payload that is longer than what is read and thrown away */
    request = say(NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 1ULL << 40);
    client_hear_chunk(fd, true, &chunk);
    assert_int_equal(chunk.type, NBD_CHUNK_ERROR);
    assert_true(chunk.cookie == request.cookie);
    free(chunk.payload);
    client_hear_end(fd);
}

/* Content chunks in any order, none twice, and together all of it: `data` gets what they say. */
static unsigned hear_read(const struct client_request *request, uint8_t *data)
{
    uint64_t heard = 0;
    unsigned holes = 0;
    struct client_chunk chunk;

    memset(data, 0xee, request->length);
    do {
        uint64_t goff, length;

        client_hear_chunk(fd, true, &chunk);
        assert_true(chunk.cookie == request->cookie && chunk.goff == request->goff);
        if (chunk.type == NBD_CHUNK_NONE) {
            assert_int_equal(chunk.length, 0);
            free(chunk.payload);
            continue;
        }
        assert_true(chunk.type == NBD_CHUNK_OFFSET_DATA || chunk.type == NBD_CHUNK_OFFSET_HOLE);
        assert_true(chunk.type == NBD_CHUNK_OFFSET_DATA ? chunk.length > 8 : chunk.length == 12);
        goff = byre_get_be64(chunk.payload);
        length = chunk.type == NBD_CHUNK_OFFSET_HOLE ? byre_get_be32(chunk.payload + 8) : chunk.length - 8;
        assert_true(length && goff >= request->goff);
        assert_true(byre_range_within(goff - request->goff, length, request->length));
        for (uint64_t i = 0; i < length; i++)
            assert_int_equal(data[goff - request->goff + i], 0xee); /* for the first time */
        if (chunk.type == NBD_CHUNK_OFFSET_HOLE)
            memset(data + (goff - request->goff), 0, length);
        else
            memcpy(data + (goff - request->goff), chunk.payload + 8, length);
        holes += chunk.type == NBD_CHUNK_OFFSET_HOLE;
        heard += length;
        free(chunk.payload);
    } while (!(chunk.flags & NBD_CHUNK_FLAG_DONE));
    assert_true(heard == request->length);
    return holes;
}

static void reads_come_in_data_and_holes(void **state)
{
    static uint8_t data[1 << 20];
    struct client_request request;
    struct client_chunk chunk;

    (void)state;
    transmit();
    request = say(NBD_CMD_READ, 0, 5 * G - 100 * K, 300 * K);
    assert_int_equal(hear_read(&request, data), 2);
    for (size_t i = 0; i < 300 * K; i++)
        assert_int_equal(data[i], i >= 100 * K && i < 164 * K ? 2 : 0);
    request = say(NBD_CMD_READ, NBD_CMD_FLAG_DF, 5 * G - 100 * K, 300 * K);
    chunk = hear(&request, NBD_CHUNK_FLAG_DONE, NBD_CHUNK_OFFSET_DATA);
    assert_true(chunk.length == 8 + 300 * K && byre_get_be64(chunk.payload) == request.goff);
    assert_memory_equal(chunk.payload + 8, data, 300 * K);
    free(chunk.payload);
    request = say(NBD_CMD_READ, NBD_CMD_FLAG_FUA, SIZE - 1, 1);
    hear_read(&request, data);
    assert_int_equal(data[0], 0);
    /* more holes than a reply has: every other cluster of 16 MiB */
    for (uint64_t at = 0; at < 16 * M; at += 128 * K)
        put(served, G + at, 64 * K, 3);
    request = say(NBD_CMD_READ, 0, G, 1 * M);
    assert_int_equal(hear_read(&request, data), 8);
    request = say(NBD_CMD_READ, 0, G, 16 * M);
    {
        uint8_t *all = malloc(16 * M);

        assert_non_null(all);
        assert_int_equal(hear_read(&request, all), BYRE_PLACES_MAX); /* the other holes are data */
        for (size_t i = 0; i < 16 * M; i++)
            assert_int_equal(all[i], i % (128 * K) < 64 * K ? 3 : 0);
        free(all);
    }
    ask(NBD_CMD_READ, 0, 0, 32 * M + 1, NBD_EOVERFLOW);
    ask(NBD_CMD_READ, 0, 0, UINT64_MAX, NBD_EOVERFLOW);
    ask(NBD_CMD_READ, 0, SIZE, 1, NBD_EINVAL);
    ask(NBD_CMD_READ, 0, UINT64_MAX, 1, NBD_EINVAL);
    ask(NBD_CMD_READ, 0, 0, 0, NBD_EINVAL);
    ask(NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE, 0, 512, NBD_EINVAL);
    ask(0x1234, 0, 0, 512, NBD_EINVAL);
    ask(NBD_CMD_FLUSH, 0x8000, 0, 0, NBD_EINVAL);
}

static void other_magics_end_the_session(void **state)
{
    const struct client_request request = { .type = NBD_CMD_FLUSH, .cookie = 1 };

    (void)state;
    transmit();
    client_say_request(fd, false, &request);
    client_say(fd, "\0\0\0\0", 4);
    client_hear_end(fd);
    close(fd);

    /* and the other way round */
    fd = client_connect(path("socket"));
    client_greet(fd);
    assert_int_equal(agree(NBD_OPT_STRUCTURED_REPLY, ""), NBD_REP_ACK);
    assert_int_equal(client_go(fd) & NBD_FLAG_BLOCK_STATUS_PAYLOAD, 0);
    client_say_request(fd, true, &request);
    client_hear_end(fd);
    close(fd);

    fd = client_connect(path("socket"));
    client_greet(fd);
    transmit();
    ask(NBD_CMD_FLUSH, 0, 0, 0, 0);
    say(NBD_CMD_DISC, 0, 0, 0);
    client_hear_end(fd);
}

#define SERVED(name) cmocka_unit_test_setup_teardown(name, set_up_server, tear_down_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(headers_are_agreed_on_once),
        SERVED(status_has_lengths_of_64_bits),
        SERVED(status_looks_at_a_part_of_a_huge_disk),
        SERVED(payloads_choose_contexts),
        SERVED(parts_count_from_their_start),
        SERVED(long_ranges_are_zeroed_trimmed_and_cached),
        SERVED(writes_say_that_they_have_a_payload),
        SERVED(reads_come_in_data_and_holes),
        SERVED(other_magics_end_the_session),
    };

    return cmocka_run_group_tests_name("nbd_extended", tests, NULL, NULL);
}
