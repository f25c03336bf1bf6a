/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests of the NBD transmission phase: how they are read and judged, and the heads of replies.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/endian.h"
#include "nbd/message.h"

enum { SIZE = 100 << 20 };

static struct byre_nbd_export export = { .size = SIZE, .block_max = 32 << 20 };
static const uint32_t contexts[] = { 0 };

static struct byre_nbd_terms terms_of(enum byre_nbd_replies replies, unsigned flags)
{
    return (struct byre_nbd_terms){
        .export = &export, .replies = replies, .flags = (uint16_t)flags, .contexts = contexts, .context_count = 1,
    };
}

static void requests_are_read(void **state)
{
    struct byre_nbd_terms terms = terms_of(BYRE_NBD_REPLIES_STRUCTURED, 0);
    uint8_t bytes[32] = { 0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2,
                          0, 0, 0x10, 0 };
    struct byre_nbd_request request;

    (void)state;
    assert_int_equal(byre_nbd_request_bytes(&terms), 28);
    assert_int_equal(byre_nbd_request_read(&terms, bytes, &request), 0);
    assert_int_equal(request.flags, NBD_CMD_FLAG_FUA);
    assert_int_equal(request.type, NBD_CMD_WRITE);
    assert_true(request.cookie == 0x0102030405060708);
    assert_true(request.goff == 0x100000002);
    assert_int_equal(request.length, 4096);
    assert_int_equal(request.payload, 4096);
    bytes[7] = NBD_CMD_READ;
    assert_int_equal(byre_nbd_request_read(&terms, bytes, &request), 0);
    assert_int_equal(request.payload, 0);
    bytes[0] = 0x26;
    assert_int_equal(byre_nbd_request_read(&terms, bytes, &request), -EPROTO);

    /* with extended headers the length has 64 bits, and a flag says that it is that of a payload */
    terms.replies = BYRE_NBD_REPLIES_EXTENDED;
    assert_int_equal(byre_nbd_request_bytes(&terms), 32);
    byre_put_be32(bytes, NBD_EXTENDED_REQUEST_MAGIC);
    byre_put_be16(bytes + 4, NBD_CMD_FLAG_PAYLOAD_LEN);
    byre_put_be16(bytes + 6, NBD_CMD_BLOCK_STATUS);
    byre_put_be64(bytes + 24, 1ULL << 40);
    assert_int_equal(byre_nbd_request_read(&terms, bytes, &request), 0);
    assert_true(request.length == 1ULL << 40 && request.payload == 1ULL << 40);
    byre_put_be16(bytes + 4, 0);
    assert_int_equal(byre_nbd_request_read(&terms, bytes, &request), 0);
    assert_true(request.length == 1ULL << 40 && request.payload == 0);
    byre_put_be32(bytes, NBD_REQUEST_MAGIC);
    assert_int_equal(byre_nbd_request_read(&terms, bytes, &request), -EPROTO);
}

static const enum byre_nbd_replies S = BYRE_NBD_REPLIES_SIMPLE, T = BYRE_NBD_REPLIES_STRUCTURED,
                                   X = BYRE_NBD_REPLIES_EXTENDED;

static void requests_are_judged(void **state)
{
    static const struct {
        const enum byre_nbd_replies *replies;
        unsigned flags_of_export;
        struct byre_nbd_request request;
        uint32_t error;
    } cases[] = {
        { &S, 0, { 0, NBD_CMD_READ, 1, 0, 512, 0 }, 0 },
        { &S, 0, { 0, NBD_CMD_READ, 1, SIZE - 1, 1, 0 }, 0 },
        { &S, 0, { 0, NBD_CMD_READ, 1, SIZE - 1, 2, 0 }, NBD_EINVAL },
        { &S, 0, { 0, NBD_CMD_READ, 1, SIZE, 1, 0 }, NBD_EINVAL },
        { &S, 0, { 0, NBD_CMD_READ, 1, UINT64_MAX, 512, 0 }, NBD_EINVAL },
        { &S, 0, { 0, NBD_CMD_READ, 1, UINT64_MAX - 511, 512, 0 }, NBD_EINVAL },
        { &S, 0, { 0, NBD_CMD_READ, 1, 0, 0, 0 }, NBD_EINVAL },
        { &S, 0, { 0, NBD_CMD_READ, 1, 0, 32 << 20, 0 }, 0 },
        { &S, 0, { 0, NBD_CMD_READ, 1, 0, (32 << 20) + 1, 0 }, NBD_EOVERFLOW },
        { &S, 0, { 0, NBD_CMD_READ, 1, 0, UINT32_MAX, 0 }, NBD_EOVERFLOW },
        { &S, 0, { NBD_CMD_FLAG_DF, NBD_CMD_READ, 1, 0, 512, 0 }, NBD_EINVAL },
        { &T, 0, { NBD_CMD_FLAG_DF, NBD_CMD_READ, 1, 0, 512, 0 }, 0 },
        { &T, 0, { NBD_CMD_FLAG_NO_HOLE, NBD_CMD_READ, 1, 0, 512, 0 }, NBD_EINVAL },
        { &S, 0, { NBD_CMD_FLAG_FUA, NBD_CMD_READ, 1, 0, 512, 0 }, 0 },
        { &T, NBD_FLAG_READ_ONLY, { NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, 1, 0, 0, 0 }, 0 },
        { &T, 0, { NBD_CMD_FLAG_FUA, NBD_CMD_CACHE, 1, 0, SIZE, 0 }, 0 },
        { &T, 0, { NBD_CMD_FLAG_FUA, NBD_CMD_BLOCK_STATUS, 1, 0, 512, 0 }, 0 },
        { &T, 0, { 0x8000, NBD_CMD_WRITE, 1, 0, 512, 512 }, NBD_EINVAL },
        { &T, 0, { NBD_CMD_FLAG_FUA, NBD_CMD_WRITE, 1, 0, 512, 512 }, 0 },
        { &T, 0, { 0, NBD_CMD_WRITE, 1, SIZE - 512, 513, 513 }, NBD_ENOSPC },
        { &T, 0, { 0, NBD_CMD_WRITE, 1, 0, UINT32_MAX, UINT32_MAX }, NBD_EINVAL },
        { &T, 0, { 0, NBD_CMD_WRITE_ZEROES, 1, SIZE - 512, 513, 0 }, NBD_ENOSPC },
        { &T, 0, { 0, NBD_CMD_TRIM, 1, SIZE - 512, 513, 0 }, NBD_EINVAL },
        { &T, NBD_FLAG_READ_ONLY, { 0, NBD_CMD_WRITE, 1, 0, 512, 512 }, NBD_EPERM },
        { &T, NBD_FLAG_READ_ONLY, { 0, NBD_CMD_TRIM, 1, 0, 512, 0 }, NBD_EPERM },
        { &T, NBD_FLAG_READ_ONLY, { 0, NBD_CMD_WRITE_ZEROES, 1, 0, 512, 0 }, NBD_EPERM },
        { &T, 0, { NBD_CMD_FLAG_FAST_ZERO | NBD_CMD_FLAG_NO_HOLE, NBD_CMD_WRITE_ZEROES, 1, 0, SIZE, 0 }, 0 },
        { &T, 0, { NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_TRIM, 1, 0, 512, 0 }, NBD_EINVAL },
        { &T, 0, { 0, NBD_CMD_FLUSH, 1, 0, 0, 0 }, 0 },
        { &T, 0, { 0, NBD_CMD_FLUSH, 1, 512, 0, 0 }, NBD_EINVAL },
        { &T, 0, { 0, NBD_CMD_FLUSH, 1, 0, 1, 0 }, NBD_EINVAL },
        { &T, 0, { NBD_CMD_FLAG_REQ_ONE, NBD_CMD_BLOCK_STATUS, 1, 0, SIZE, 0 }, 0 },
        { &T, 0, { 0, NBD_CMD_BLOCK_STATUS, 1, 1, SIZE, 0 }, NBD_EINVAL },
        { &T, 0, { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 1, 0, 512, 0 }, NBD_EINVAL },
        { &X, 0, { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 1, 0, 12, 12 }, 0 },
        { &X, 0, { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 1, 0, 4, 4 }, NBD_EINVAL },
        { &X, 0, { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 1, 0, 13, 13 }, NBD_EINVAL },
        { &X, 0, { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 1, 0, 1 << 20, 1 << 20 }, NBD_EINVAL },
        { &X, 0, { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE, 1, 0, 512, 512 }, 0 },
        { &X, 0, { 0, NBD_CMD_WRITE, 1, 0, 512, 512 }, NBD_EINVAL },
        { &X, 0, { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_READ, 1, 0, 512, 512 }, NBD_EINVAL },
        { &X, 0, { 0, NBD_CMD_WRITE_ZEROES, 1, 0, 1ULL << 40, 0 }, NBD_ENOSPC },
        { &T, 0, { 0, 8, 1, 0, 512, 0 }, NBD_EINVAL },
        { &T, 0, { 0, 65535, 1, 0, 512, 0 }, NBD_EINVAL },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_nbd_terms terms = terms_of(*cases[i].replies, cases[i].flags_of_export);
        const char *why = NULL;
        uint32_t error = byre_nbd_request_judge(&terms, &cases[i].request, &why);

        if (error != cases[i].error)
            fail_msg("case %u: error %u, wanted %u (%s)", i, error, cases[i].error, why ? why : "");
        assert_int_equal(error != 0, why != NULL);
    }
}

static void status_needs_contexts(void **state)
{
    struct byre_nbd_terms terms = terms_of(BYRE_NBD_REPLIES_STRUCTURED, 0);
    const struct byre_nbd_request request = { 0, NBD_CMD_BLOCK_STATUS, 1, 0, 512, 0 };
    const char *why;

    (void)state;
    terms.context_count = 0;
    assert_int_equal(byre_nbd_request_judge(&terms, &request, &why), NBD_EINVAL);
}

static void heads_have_their_forms(void **state)
{
    const struct byre_nbd_request request = { .cookie = 0x0102030405060708, .goff = 0x1122 };
    struct byre_nbd_terms terms = terms_of(BYRE_NBD_REPLIES_STRUCTURED, 0);
    uint8_t head[BYRE_NBD_HEAD_MAX];

    (void)state;
    assert_int_equal(byre_nbd_put_simple(head, request.cookie, NBD_EIO), 16);
    assert_memory_equal(head, "\x67\x44\x66\x98\0\0\0\5\1\2\3\4\5\6\7\10", 16);
    assert_int_equal(byre_nbd_put_chunk(head, &terms, &request, true, NBD_CHUNK_ERROR, 10), 20);
    assert_memory_equal(head, "\x66\x8e\x33\xef\0\1\x80\1\1\2\3\4\5\6\7\10\0\0\0\12", 20);
    terms.replies = BYRE_NBD_REPLIES_EXTENDED;
    assert_int_equal(byre_nbd_put_chunk(head, &terms, &request, false, NBD_CHUNK_OFFSET_DATA, 1ULL << 33), 32);
    assert_memory_equal(head, "\x6e\x8a\x27\x8c\0\0\0\1\1\2\3\4\5\6\7\10\0\0\0\0\0\0\x11\x22\0\0\0\2\0\0\0\0", 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read),
        cmocka_unit_test(requests_are_judged),
        cmocka_unit_test(status_needs_contexts),
        cmocka_unit_test(heads_have_their_forms),
    };

    return cmocka_run_group_tests_name("nbd_message", tests, NULL, NULL);
}
