/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NBD handshake: what a client says, byte by byte or at once, and what it is answered.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/endian.h"
#include "nbd/negotiation.h"
#include "nbd/protocol.h"

enum { SIZE = 1 << 20 };

struct session {
    struct byre_nbd_exports exports;
    struct byre_nbd_negotiation negotiation;
    byre_nbd_bytes in, out;
    size_t read; /* of `out`, by the test */
    bool slow;   /* what is said arrives byte by byte */
};

static void add_export(struct session *session, const char *name, const char *description)
{
    struct byre_nbd_export_options options = {
        .name = name, .description = description, .shared = true, .allocation_depth = true,
    };
    struct byre_open_options open_options = { .writable = true };
    struct byre_nbd_export *export;
    struct byre_disk *disk;

    assert_int_equal(byre_open("image-opts:driver=null-co,size=1M", &open_options, &disk, NULL), 0);
    assert_int_equal(byre_nbd_export_new(disk, &options, &export, NULL), 0);
    assert_int_equal(byre_nbd_exports_add(&session->exports, export, NULL), 0);
}

static void session_start(struct session *session, enum byre_nbd_tls tls)
{
    memset(session, 0, sizeof *session);
    byre_nbd_exports_init(&session->exports);
    add_export(session, "", NULL);
    add_export(session, "disk", "a disk");
    assert_int_equal(byre_nbd_negotiation_start(&session->negotiation, &session->exports, tls, &session->out), 0);
    assert_int_equal(session->out.len, 18);
    assert_memory_equal(session->out.ptr, "NBDMAGICIHAVEOPT\0\3", 18);
    session->read = 18;
}

static void session_end(struct session *session)
{
    assert_int_equal(session->read, session->out.len); /* all that was said was expected */
    byre_nbd_negotiation_done(&session->negotiation);
    assert_int_equal(byre_nbd_exports_done(&session->exports, NULL), 0);
    vec_done(&session->in);
    vec_done(&session->out);
}

static void feed(struct session *session)
{
    size_t used;

    assert_int_equal(byre_nbd_negotiation_feed(&session->negotiation, session->in.ptr, session->in.len, &used,
                                               &session->out), 0);
    assert_true(used <= session->in.len);
    memmove(session->in.ptr, session->in.ptr + used, session->in.len - used);
    session->in.len -= used;
}

static void say(struct session *session, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        assert_int_equal(vec_push(&session->in, ((const uint8_t *)bytes)[i]), 0);
        if (session->slow)
            feed(session);
    }
    feed(session);
}

static void say_flags(struct session *session, uint32_t flags)
{
    uint8_t bytes[4];

    byre_put_be32(bytes, flags);
    say(session, bytes, 4);
}

static void say_head(struct session *session, uint32_t type, uint32_t length)
{
    uint8_t head[16];

    byre_put_be64(head, NBD_OPTION_MAGIC);
    byre_put_be32(head + 8, type);
    byre_put_be32(head + 12, length);
    say(session, head, sizeof head);
}

static void say_option(struct session *session, uint32_t type, const void *data, uint32_t length)
{
    say_head(session, type, length);
    say(session, data, length);
}

/* INFO or GO with a name and some wishes. */
static void say_go(struct session *session, uint32_t type, const char *name, uint32_t name_length, unsigned wishes)
{
    uint8_t data[5000];

    byre_put_be32(data, name_length);
    memcpy(data + 4, name, name_length);
    byre_put_be16(data + 4 + name_length, (uint16_t)wishes);
    for (unsigned i = 0; i < wishes; i++)
        byre_put_be16(data + 6 + name_length + 2 * i, (uint16_t)(i + 1));
    say_option(session, type, data, 6 + name_length + 2 * wishes);
}

/* The next reply is of this kind: its data. */
static const uint8_t *hear(struct session *session, uint32_t option, uint32_t type, uint32_t *ret_length)
{
    const uint8_t *head = session->out.ptr + session->read;

    assert_true(session->out.len - session->read >= 20);
    assert_true(byre_get_be64(head) == NBD_REPLY_MAGIC);
    assert_int_equal(byre_get_be32(head + 8), option);
    assert_int_equal(byre_get_be32(head + 12), type);
    *ret_length = byre_get_be32(head + 16);
    assert_true(session->out.len - session->read - 20 >= *ret_length);
    session->read += 20 + *ret_length;
    return head + 20;
}

static void hear_text(struct session *session, uint32_t option, uint32_t type, const char *text)
{
    uint32_t length;
    const uint8_t *data = hear(session, option, type, &length);

    assert_int_equal(length, strlen(text));
    assert_memory_equal(data, text, length);
}

static void hear_ack(struct session *session, uint32_t option)
{
    hear_text(session, option, NBD_REP_ACK, "");
}

/* The block sizes and the size, which come with each export. */
static void hear_export(struct session *session, uint32_t option, unsigned flags)
{
    uint32_t length;
    const uint8_t *data = hear(session, option, NBD_REP_INFO, &length);

    assert_int_equal(length, 14);
    assert_int_equal(byre_get_be16(data), NBD_INFO_BLOCK_SIZE);
    assert_int_equal(byre_get_be32(data + 2), 1);
    assert_int_equal(byre_get_be32(data + 6), 4096);
    assert_int_equal(byre_get_be32(data + 10), 32 << 20);
    data = hear(session, option, NBD_REP_INFO, &length);
    assert_int_equal(length, 12);
    assert_int_equal(byre_get_be16(data), NBD_INFO_EXPORT);
    assert_int_equal(byre_get_be64(data + 2), SIZE);
    assert_int_equal(byre_get_be16(data + 10) & flags, flags);
    hear_ack(session, option);
}

static void go_leads_to_transmission(void **state)
{
    struct session session;
    uint32_t length;
    const uint8_t *data;

    (void)state;
    for (unsigned slow = 0; slow < 2; slow++) {
        session_start(&session, BYRE_NBD_TLS_OFF);
        session.slow = slow;
        say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
        say_option(&session, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        hear_ack(&session, NBD_OPT_STRUCTURED_REPLY);
        say_go(&session, NBD_OPT_INFO, "disk", 4, 3);
        data = hear(&session, NBD_OPT_INFO, NBD_REP_INFO, &length);
        assert_int_equal(length, 6);
        assert_memory_equal(data, "\0\1disk", 6);
        data = hear(&session, NBD_OPT_INFO, NBD_REP_INFO, &length);
        assert_int_equal(length, 8);
        assert_memory_equal(data, "\0\2a disk", 8);
        hear_export(&session, NBD_OPT_INFO, NBD_FLAG_SEND_DF);
        assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_OPTIONS);
        say_go(&session, NBD_OPT_GO, "", 0, 0);
        hear_export(&session, NBD_OPT_GO, NBD_FLAG_SEND_DF | NBD_FLAG_CAN_MULTI_CONN);
        assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_TRANSMIT);
        assert_string_equal(session.negotiation.export->name, "");
        session_end(&session);
    }
}

static void export_name_leads_to_transmission(void **state)
{
    struct session session;

    (void)state;
    for (unsigned no_zeroes = 0; no_zeroes < 2; no_zeroes++) {
        session_start(&session, BYRE_NBD_TLS_OFF);
        say_flags(&session, no_zeroes ? NBD_FLAG_NO_ZEROES : 0);
        say_option(&session, NBD_OPT_EXPORT_NAME, "disk", 4);
        assert_int_equal(session.out.len - session.read, no_zeroes ? 10 : 134);
        assert_int_equal(byre_get_be64(session.out.ptr + session.read), SIZE);
        session.read = session.out.len;
        assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_TRANSMIT);
        session_end(&session);
    }
}

/* Names of no length, of the most, of more, and of absurd length. */
static void names_have_bounds(void **state)
{
    static char name[5000];
    struct session session;
    uint32_t length;

    (void)state;
    memset(name, 'x', sizeof name);
    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    say_go(&session, NBD_OPT_INFO, name, 4096, 0);
    hear(&session, NBD_OPT_INFO, NBD_REP_ERR_UNKNOWN, &length);
    say_go(&session, NBD_OPT_INFO, name, 4097, 0);
    hear_text(&session, NBD_OPT_INFO, NBD_REP_ERR_TOO_BIG, "a name of 4097 bytes: 4096 are the most");
    say_option(&session, NBD_OPT_GO, "\377\377\377\377\0\0\0\0", 8);
    hear_text(&session, NBD_OPT_GO, NBD_REP_ERR_INVALID, "the name is longer than the option");
    say_option(&session, NBD_OPT_GO, "\0\0\0", 3);
    hear_text(&session, NBD_OPT_GO, NBD_REP_ERR_INVALID, "the name is longer than the option");
    say_option(&session, NBD_OPT_GO, "\0\0\0\0\0\7", 6);
    hear_text(&session, NBD_OPT_GO, NBD_REP_ERR_INVALID, "7 requests for information in 0 bytes");
    /* skipped, and answered in the end */
    say_head(&session, NBD_OPT_GO, 70000);
    for (unsigned i = 0; i < 14; i++)
        say(&session, name, 5000);
    hear_text(&session, NBD_OPT_GO, NBD_REP_ERR_TOO_BIG, "an option has at most 65536 bytes");
    say_head(&session, NBD_OPT_GO, UINT32_MAX);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    session_end(&session);

    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    say_option(&session, NBD_OPT_EXPORT_NAME, name, 4097);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    session_end(&session);
}

static void what_is_wrong_ends_the_session(void **state)
{
    struct session session;

    (void)state;
    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, 4);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    session_end(&session);

    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    say(&session, "IHAVEOPS", 8);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    session_end(&session);

    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    say_option(&session, NBD_OPT_EXPORT_NAME, "none", 4);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    assert_null(session.negotiation.export);
    session_end(&session);

    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, 0);
    say_option(&session, NBD_OPT_LIST, NULL, 0);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    session_end(&session);

    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    say_option(&session, NBD_OPT_ABORT, NULL, 0);
    hear_ack(&session, NBD_OPT_ABORT);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    assert_null(session.negotiation.why);
    session_end(&session);
}

static void options_are_listed_and_refused(void **state)
{
    struct session session;

    (void)state;
    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    say_option(&session, NBD_OPT_LIST, NULL, 0);
    {
        uint32_t length;
        const uint8_t *data = hear(&session, NBD_OPT_LIST, NBD_REP_SERVER, &length);

        assert_int_equal(length, 4);
        data = hear(&session, NBD_OPT_LIST, NBD_REP_SERVER, &length);
        assert_int_equal(length, 14);
        assert_memory_equal(data, "\0\0\0\4diska disk", 14);
    }
    hear_ack(&session, NBD_OPT_LIST);
    say_option(&session, NBD_OPT_LIST, "x", 1);
    hear_text(&session, NBD_OPT_LIST, NBD_REP_ERR_INVALID, "the option has no data, and 1 bytes came");
    say_option(&session, NBD_OPT_STARTTLS, NULL, 0);
    hear_text(&session, NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, "TLS is not configured");
    say_option(&session, 4, "abc", 3);
    hear_text(&session, 4, NBD_REP_ERR_UNSUP, "unsupported option 4");
    say_option(&session, NBD_OPT_EXTENDED_HEADERS, NULL, 0);
    hear_ack(&session, NBD_OPT_EXTENDED_HEADERS);
    say_option(&session, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    hear_text(&session, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, "extended headers were agreed on before");
    say_go(&session, NBD_OPT_GO, "disk", 4, 0);
    hear_export(&session, NBD_OPT_GO, NBD_FLAG_BLOCK_STATUS_PAYLOAD);
    session_end(&session);
}

/* Nobody learns anything of exports before TLS, where that is required. */
static void tls_is_required(void **state)
{
    static const uint32_t options[] = {
        NBD_OPT_LIST, NBD_OPT_INFO, NBD_OPT_GO, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_LIST_META_CONTEXT,
        NBD_OPT_SET_META_CONTEXT, NBD_OPT_EXTENDED_HEADERS, 77,
    };
    struct session session;
    uint32_t length;

    (void)state;
    session_start(&session, BYRE_NBD_TLS_REQUIRED);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        say_option(&session, options[i], "\0\0\0\4disk\0\0", 10);
        hear(&session, options[i], NBD_REP_ERR_TLS_REQD, &length);
        assert_null(memmem(session.out.ptr, session.out.len, "disk", 4));
    }
    say_head(&session, NBD_OPT_GO, 70000);
    for (unsigned i = 0; i < 7000; i++)
        say(&session, "0123456789", 10);
    hear(&session, NBD_OPT_GO, NBD_REP_ERR_TLS_REQD, &length);
    say_option(&session, NBD_OPT_STARTTLS, NULL, 0);
    hear_ack(&session, NBD_OPT_STARTTLS);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_TLS);
    byre_nbd_negotiation_secured(&session.negotiation);
    say_option(&session, NBD_OPT_STARTTLS, NULL, 0);
    hear_text(&session, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "TLS is there already");
    say_go(&session, NBD_OPT_GO, "disk", 4, 0);
    hear_export(&session, NBD_OPT_GO, 0);
    session_end(&session);

    session_start(&session, BYRE_NBD_TLS_REQUIRED);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    say_option(&session, NBD_OPT_EXPORT_NAME, "disk", 4);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    session_end(&session);
}

/* What was said in the clear is forgotten, and what was put behind STARTTLS ends the session. */
static void tls_starts_from_nothing(void **state)
{
    static const uint8_t query[] = "\0\0\0\4disk\0\0\0\1\0\0\0\17base:allocation";
    struct session session;
    const uint8_t *data;
    uint32_t length;
    uint8_t both[32];

    (void)state;
    session_start(&session, BYRE_NBD_TLS_ALLOWED);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    say_option(&session, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    hear_ack(&session, NBD_OPT_STRUCTURED_REPLY);
    say_option(&session, NBD_OPT_SET_META_CONTEXT, query, sizeof query - 1);
    data = hear(&session, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, &length);
    assert_int_equal(length, 19);
    assert_memory_equal(data, "\0\0\0\0base:allocation", 19);
    hear_ack(&session, NBD_OPT_SET_META_CONTEXT);
    say_option(&session, NBD_OPT_STARTTLS, NULL, 0);
    hear_ack(&session, NBD_OPT_STARTTLS);
    byre_nbd_negotiation_secured(&session.negotiation);
    assert_int_equal(session.negotiation.replies, BYRE_NBD_REPLIES_SIMPLE);
    assert_int_equal(session.negotiation.context_count, 0);
    session_end(&session);

    session_start(&session, BYRE_NBD_TLS_ALLOWED);
    say_flags(&session, NBD_FLAG_FIXED_NEWSTYLE);
    for (unsigned i = 0; i < 2; i++) {
        byre_put_be64(both + 16 * i, NBD_OPTION_MAGIC);
        byre_put_be32(both + 16 * i + 8, i ? NBD_OPT_LIST : NBD_OPT_STARTTLS);
        byre_put_be32(both + 16 * i + 12, 0);
    }
    say(&session, both, sizeof both);
    hear_ack(&session, NBD_OPT_STARTTLS);
    assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_END);
    session_end(&session);
}

/* Contexts count for the export that they were chosen of, and only the last choice does. */
static void contexts_are_those_of_the_last_choice(void **state)
{
    static const char of_all[] = "\0\0\0\0\0\0\0\1\0\0\0\17base:allocation";
    static const char none[] = "\0\0\0\0\0\0\0\0", broken[] = "\0\0\0\0\0\0\0\1", unknown[] = "\0\0\0\1x\0\0\0\0";
    static const struct {
        const char *second; /* choice, or NULL */
        size_t length;
        uint32_t answer;
        const char *name;   /* of the export that is taken */
        unsigned count;
    } cases[] = {
        { NULL, 0, 0, "", 1 },
        { NULL, 0, 0, "disk", 0 },
        { none, 8, NBD_REP_ACK, "", 0 },
        { broken, 8, NBD_REP_ERR_INVALID, "", 0 },
        { unknown, 9, NBD_REP_ERR_UNKNOWN, "", 0 },
    };
    struct session session;
    uint32_t length;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        session_start(&session, BYRE_NBD_TLS_OFF);
        say_flags(&session, 3);
        say_option(&session, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        hear_ack(&session, NBD_OPT_STRUCTURED_REPLY);
        say_option(&session, NBD_OPT_SET_META_CONTEXT, of_all, sizeof of_all - 1);
        (void)hear(&session, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, &length);
        hear_ack(&session, NBD_OPT_SET_META_CONTEXT);
        if (cases[i].second) {
            say_option(&session, NBD_OPT_SET_META_CONTEXT, cases[i].second, (uint32_t)cases[i].length);
            (void)hear(&session, NBD_OPT_SET_META_CONTEXT, cases[i].answer, &length);
        }
        say_go(&session, NBD_OPT_GO, cases[i].name, (uint32_t)strlen(cases[i].name), 0);
        assert_int_equal(session.negotiation.phase, BYRE_NBD_PHASE_TRANSMIT);
        assert_int_equal(session.negotiation.context_count, cases[i].count);
        session.read = session.out.len;
        session_end(&session);
    }
}

/* Who asks much is answered in parts: what is put out stays small. */
static void answers_are_bounded(void **state)
{
    struct session session;
    uint8_t *options = malloc(16 * 8000);
    size_t used, taken = 0;

    (void)state;
    assert_non_null(options);
    session_start(&session, BYRE_NBD_TLS_OFF);
    say_flags(&session, 3);
    for (unsigned i = 0; i < 8000; i++) {
        byre_put_be64(options + 16 * i, NBD_OPTION_MAGIC);
        byre_put_be32(options + 16 * i + 8, NBD_OPT_LIST);
        byre_put_be32(options + 16 * i + 12, 0);
    }
    while (taken < 16 * 8000) {
        session.out.len = 0;
        assert_int_equal(byre_nbd_negotiation_feed(&session.negotiation, options + taken, 16 * 8000 - taken, &used,
                                                   &session.out), 0);
        assert_true(used > 0);
        assert_in_range(session.out.len, 1, BYRE_NBD_OUT_ENOUGH + 1024);
        taken += used;
    }
    session.read = session.out.len;
    session_end(&session);
    free(options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(go_leads_to_transmission),
        cmocka_unit_test(export_name_leads_to_transmission),
        cmocka_unit_test(names_have_bounds),
        cmocka_unit_test(what_is_wrong_ends_the_session),
        cmocka_unit_test(options_are_listed_and_refused),
        cmocka_unit_test(tls_is_required),
        cmocka_unit_test(tls_starts_from_nothing),
        cmocka_unit_test(contexts_are_those_of_the_last_choice),
        cmocka_unit_test(answers_are_bounded),
    };

    return cmocka_run_group_tests_name("nbd_negotiation", tests, NULL, NULL);
}
