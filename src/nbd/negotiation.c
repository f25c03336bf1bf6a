/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake (proto.md, "Handshake phase").
 */
#include "config.h"

#include "nbd/negotiation.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "nbd/keeper.h"
#include "nbd/meta_context.h"
#include "nbd/protocol.h"

#define OPTION_HEADER 16u
#define OPTION_MAX    (64u << 10) /* more than names and queries of any sense */
#define SKIP_MAX      (32u << 20)
#define ZEROES        124u

struct option {
    uint32_t type, length;
    const uint8_t *data;
};

/* --- output ----------------------------------------------------------------------------------------------- */

static int put(byre_nbd_bytes *out, const void *bytes, size_t length)
{
    if (vec_reserve(out, length) < 0)
        return -ENOMEM;
    if (length)
        memcpy(out->ptr + out->len, bytes, length);
    out->len += length;
    return 0;
}

int byre_nbd_put_reply(byre_nbd_bytes *out, uint32_t option, uint32_t type, const void *data, size_t length)
{
    uint8_t head[20];

    byre_put_be64(head, NBD_REPLY_MAGIC);
    byre_put_be32(head + 8, option);
    byre_put_be32(head + 12, type);
    byre_put_be32(head + 16, (uint32_t)length);
    if (vec_reserve(out, sizeof head + length) < 0)
        return -ENOMEM;
    (void)put(out, head, sizeof head);
    return put(out, data, length);
}

int byre_nbd_put_error(byre_nbd_bytes *out, uint32_t option, uint32_t type, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return byre_nbd_put_reply(out, option, type, text, strlen(text));
}

static int ack(byre_nbd_bytes *out, uint32_t option)
{
    return byre_nbd_put_reply(out, option, NBD_REP_ACK, NULL, 0);
}

/* --- the session ------------------------------------------------------------------------------------------ */

static int end(struct byre_nbd_negotiation *negotiation, const char *why)
{
    negotiation->phase = BYRE_NBD_PHASE_END;
    negotiation->why = why;
    return 0;
}

int byre_nbd_negotiation_start(struct byre_nbd_negotiation *negotiation, struct byre_nbd_exports *exports,
                               enum byre_nbd_tls tls, byre_nbd_bytes *out)
{
    uint8_t greeting[18];

    *negotiation = (struct byre_nbd_negotiation){ .exports = exports, .tls = tls };
    byre_put_be64(greeting, NBD_MAGIC);
    byre_put_be64(greeting + 8, NBD_OPTION_MAGIC);
    byre_put_be16(greeting + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    return put(out, greeting, sizeof greeting);
}

/* Closing fails for nobody here: who closes a disk last tells of it elsewhere. */
static void forget(struct byre_nbd_negotiation *negotiation)
{
    (void)byre_nbd_export_unref(negotiation->context_export, NULL);
    negotiation->context_export = NULL;
    negotiation->context_count = 0;
}

void byre_nbd_negotiation_done(struct byre_nbd_negotiation *negotiation)
{
    forget(negotiation);
    byre_nbd_ask_free(STEAL(negotiation->ask));
    (void)byre_nbd_export_unref(negotiation->export, NULL);
    negotiation->export = NULL;
}

void byre_nbd_negotiation_secured(struct byre_nbd_negotiation *negotiation)
{
    forget(negotiation);
    byre_nbd_ask_free(STEAL(negotiation->ask));
    negotiation->replies = BYRE_NBD_REPLIES_SIMPLE;
    negotiation->secure = true;
    negotiation->phase = BYRE_NBD_PHASE_OPTIONS;
}

uint16_t byre_nbd_negotiation_flags(const struct byre_nbd_negotiation *negotiation,
                                    const struct byre_nbd_export *export)
{
    unsigned flags = export->flags;

    if (negotiation->replies >= BYRE_NBD_REPLIES_STRUCTURED)
        flags |= NBD_FLAG_SEND_DF;
    if (negotiation->replies == BYRE_NBD_REPLIES_EXTENDED)
        flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    return (uint16_t)flags;
}

static int take_flags(struct byre_nbd_negotiation *negotiation, uint32_t flags)
{
    if (flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
        return end(negotiation, "the client has flags that the server did not offer");
    negotiation->fixed = flags & NBD_FLAG_FIXED_NEWSTYLE;
    negotiation->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    negotiation->phase = BYRE_NBD_PHASE_OPTIONS;
    return 0;
}

/* --- choosing an export ------------------------------------------------------------------------------------ */

/* Contexts that were chosen for another export do not count. */
static void choose(struct byre_nbd_negotiation *negotiation, struct byre_nbd_export *export)
{
    if (negotiation->context_export != export)
        negotiation->context_count = 0;
    negotiation->export = export;
    negotiation->phase = BYRE_NBD_PHASE_TRANSMIT;
    byre_nbd_ask_free(STEAL(negotiation->ask));
}

static int option_export_name(struct byre_nbd_negotiation *negotiation, const struct option *option,
                              byre_nbd_bytes *out)
{
    struct byre_nbd_export *export;
    uint8_t answer[10 + ZEROES] = { 0 };
    int rc;

    if (option->length > NBD_NAME_MAX)
        return end(negotiation, "the name of the export is too long");
    rc = byre_nbd_negotiation_find(negotiation, option->data, option->length, &export);
    if (rc < 0)
        return rc == -ENOENT ? end(negotiation, "there is no export of that name") : rc;
    byre_put_be64(answer, export->size);
    byre_put_be16(answer + 8, byre_nbd_negotiation_flags(negotiation, export));
    rc = put(out, answer, negotiation->no_zeroes ? 10 : sizeof answer);
    if (rc < 0)
        (void)byre_nbd_export_unref(export, NULL);
    else
        choose(negotiation, export);
    return rc;
}

static int put_info(byre_nbd_bytes *out, uint32_t option, enum nbd_info type, const void *data, size_t length)
{
    uint8_t *info = malloc(2 + length);
    int rc;

    if (!info)
        return -ENOMEM;
    byre_put_be16(info, (uint16_t)type);
    memcpy(info + 2, data, length);
    rc = byre_nbd_put_reply(out, option, NBD_REP_INFO, info, 2 + length);
    free(info);
    return rc;
}

static bool wants(const uint8_t *requests, unsigned count, enum nbd_info type)
{
    for (unsigned i = 0; i < count; i++) {
        if (byre_get_be16(requests + 2 * i) == type)
            return true;
    }
    return false;
}

/* Sizes of blocks are told to everybody: they are no more than what all clients keep to. */
static int put_infos(struct byre_nbd_negotiation *negotiation, uint32_t option, const struct byre_nbd_export *export,
                     const uint8_t *requests, unsigned count, byre_nbd_bytes *out)
{
    uint8_t bytes[12];
    int rc = 0;

    if (wants(requests, count, NBD_INFO_NAME))
        rc = put_info(out, option, NBD_INFO_NAME, export->name, strlen(export->name));
    if (rc == 0 && export->description && wants(requests, count, NBD_INFO_DESCRIPTION))
        rc = put_info(out, option, NBD_INFO_DESCRIPTION, export->description, strlen(export->description));
    byre_put_be32(bytes, export->block_min);
    byre_put_be32(bytes + 4, export->block_preferred);
    byre_put_be32(bytes + 8, export->block_max);
    if (rc == 0)
        rc = put_info(out, option, NBD_INFO_BLOCK_SIZE, bytes, 12);
    byre_put_be64(bytes, export->size);
    byre_put_be16(bytes + 8, byre_nbd_negotiation_flags(negotiation, export));
    return rc == 0 ? put_info(out, option, NBD_INFO_EXPORT, bytes, 10) : rc;
}

/* INFO and GO: a name, and the kinds of information that are wanted. */
static int option_go(struct byre_nbd_negotiation *negotiation, const struct option *option, byre_nbd_bytes *out)
{
    uint32_t length = option->length >= 6 ? byre_get_be32(option->data) : UINT32_MAX;
    struct byre_nbd_export *export;
    unsigned count;
    int rc;

    if (length > option->length - 6 || option->length < 6)
        return byre_nbd_put_error(out, option->type, NBD_REP_ERR_INVALID, "the name is longer than the option");
    count = byre_get_be16(option->data + 4 + length);
    if (option->length != 6 + length + 2 * count)
        return byre_nbd_put_error(out, option->type, NBD_REP_ERR_INVALID, "%u requests for information in %u bytes",
                                  count, option->length - 6 - length);
    if (length > NBD_NAME_MAX)
        return byre_nbd_put_error(out, option->type, NBD_REP_ERR_TOO_BIG, "a name of %u bytes: %u are the most",
                                  length, NBD_NAME_MAX);
    rc = byre_nbd_negotiation_find(negotiation, option->data + 4, length, &export);
    if (rc < 0)
        return rc == -ENOENT
                   ? byre_nbd_put_error(out, option->type, NBD_REP_ERR_UNKNOWN, "%s", negotiation->trouble) : rc;
    rc = put_infos(negotiation, option->type, export, option->data + 6 + length, count, out);
    if (rc == 0)
        rc = ack(out, option->type);
    if (rc == 0 && option->type == NBD_OPT_GO)
        choose(negotiation, export);
    else
        (void)byre_nbd_export_unref(export, NULL);
    return rc;
}

/* --- the other options ------------------------------------------------------------------------------------- */

struct listing {
    byre_nbd_bytes *out;
};

static int list_export(void *opaque, const char *name_text, const char *description_text)
{
    struct listing *listing = opaque;
    size_t name = strlen(name_text), description = description_text ? strlen(description_text) : 0;
    uint8_t *bytes = malloc(4 + name + description);
    int rc;

    if (!bytes)
        return -ENOMEM;
    byre_put_be32(bytes, (uint32_t)name);
    memcpy(bytes + 4, name_text, name);
    if (description)
        memcpy(bytes + 4 + name, description_text, description);
    rc = byre_nbd_put_reply(listing->out, NBD_OPT_LIST, NBD_REP_SERVER, bytes, 4 + name + description);
    free(bytes);
    return rc;
}

static int option_list(struct byre_nbd_negotiation *negotiation, byre_nbd_bytes *out)
{
    struct listing listing = { out };
    int rc = byre_nbd_exports_each(negotiation->exports, list_export, &listing);

    return rc < 0 ? rc : ack(out, NBD_OPT_LIST);
}

static int option_starttls(struct byre_nbd_negotiation *negotiation, byre_nbd_bytes *out)
{
    if (negotiation->secure)
        return byre_nbd_put_error(out, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "TLS is there already");
    if (negotiation->tls == BYRE_NBD_TLS_OFF)
        return byre_nbd_put_error(out, NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, "TLS is not configured");
    negotiation->phase = BYRE_NBD_PHASE_TLS;
    return ack(out, NBD_OPT_STARTTLS);
}

static int option_replies(struct byre_nbd_negotiation *negotiation, uint32_t type, byre_nbd_bytes *out)
{
    enum byre_nbd_replies wanted =
        type == NBD_OPT_EXTENDED_HEADERS ? BYRE_NBD_REPLIES_EXTENDED : BYRE_NBD_REPLIES_STRUCTURED;

    if (negotiation->replies >= wanted)
        return byre_nbd_put_error(out, type, NBD_REP_ERR_INVALID, "%s were agreed on before",
                                  negotiation->replies == BYRE_NBD_REPLIES_EXTENDED ? "extended headers"
                                                                                    : "structured replies");
    negotiation->replies = wanted;
    return ack(out, type);
}

static int without_data(struct byre_nbd_negotiation *negotiation, const struct option *option, byre_nbd_bytes *out)
{
    if (option->length)
        return byre_nbd_put_error(out, option->type, NBD_REP_ERR_INVALID, "the option has no data, and %u bytes came",
                                  option->length);
    switch (option->type) {
    case NBD_OPT_LIST: return option_list(negotiation, out);
    case NBD_OPT_STARTTLS: return option_starttls(negotiation, out);
    default: return option_replies(negotiation, option->type, out);
    }
}

static int do_option(struct byre_nbd_negotiation *negotiation, const struct option *option, byre_nbd_bytes *out)
{
    switch (option->type) {
    case NBD_OPT_EXPORT_NAME: return option_export_name(negotiation, option, out);
    case NBD_OPT_INFO:
    case NBD_OPT_GO: return option_go(negotiation, option, out);
    case NBD_OPT_LIST:
    case NBD_OPT_STARTTLS:
    case NBD_OPT_STRUCTURED_REPLY:
    case NBD_OPT_EXTENDED_HEADERS: return without_data(negotiation, option, out);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return byre_nbd_meta_context(negotiation, option->type, option->data, option->length, out);
    default:
        return byre_nbd_put_error(out, option->type, NBD_REP_ERR_UNSUP, "unsupported option %u", option->type);
    }
}

/* --- what comes in ---------------------------------------------------------------------------------------- */

/* What is said before anything else of an option: 1, it was answered; or 0, it may be done. */
static int refuse(struct byre_nbd_negotiation *negotiation, uint32_t type, byre_nbd_bytes *out, int *ret_rc)
{
    bool in_the_clear = negotiation->tls == BYRE_NBD_TLS_REQUIRED && !negotiation->secure;

    *ret_rc = 0;
    if (type == NBD_OPT_ABORT) {
        *ret_rc = negotiation->fixed ? ack(out, type) : 0;
        (void)end(negotiation, NULL);
        return 1;
    }
    if (!negotiation->fixed && type != NBD_OPT_EXPORT_NAME) {
        (void)end(negotiation, "the client has options, and does not know of fixed newstyle");
        return 1;
    }
    if (!in_the_clear || type == NBD_OPT_STARTTLS)
        return 0;
    if (type == NBD_OPT_EXPORT_NAME)
        (void)end(negotiation, "TLS is required");
    else
        *ret_rc = byre_nbd_put_error(out, type, NBD_REP_ERR_TLS_REQD, "Option 0x%x not permitted before TLS", type);
    return 1;
}

/* An option that is not kept: it is answered once its last byte has come. */
static int skip(struct byre_nbd_negotiation *negotiation, size_t length, size_t *ret_used, byre_nbd_bytes *out)
{
    size_t part = (size_t)MIN(negotiation->skip, (uint64_t)length);
    uint32_t type = negotiation->skipped;
    int rc;

    *ret_used = part;
    negotiation->skip -= part;
    if (negotiation->skip || refuse(negotiation, type, out, &rc))
        return negotiation->skip ? 0 : rc;
    return byre_nbd_put_error(out, type, NBD_REP_ERR_TOO_BIG, "an option has at most %u bytes", OPTION_MAX);
}

/* One option, if all of it is there. */
static int take_option(struct byre_nbd_negotiation *negotiation, const uint8_t *bytes, size_t length,
                       size_t *ret_used, byre_nbd_bytes *out)
{
    struct option option;
    int rc;

    if (length >= 8 && byre_get_be64(bytes) != NBD_OPTION_MAGIC)
        return end(negotiation, "what came is no option");
    if (length < OPTION_HEADER)
        return 0;
    option = (struct option){ byre_get_be32(bytes + 8), byre_get_be32(bytes + 12), bytes + OPTION_HEADER };
    if (option.length > OPTION_MAX) {
        if (option.length > SKIP_MAX || option.type == NBD_OPT_EXPORT_NAME)
            return end(negotiation, "an option is too long");
        *ret_used = OPTION_HEADER;
        negotiation->skip = option.length;
        negotiation->skipped = option.type;
        return 0;
    }
    if (length < OPTION_HEADER + option.length)
        return 0;
    *ret_used = OPTION_HEADER + option.length;
    if (refuse(negotiation, option.type, out, &rc))
        return rc;
    rc = do_option(negotiation, &option, out);
    if (rc == -EINPROGRESS) {
        negotiation->phase = BYRE_NBD_PHASE_WAIT;
        *ret_used = 0;
        return 0;
    }
    if (rc == 0 && negotiation->phase == BYRE_NBD_PHASE_TLS && length > *ret_used)
        return end(negotiation, "bytes in the clear behind STARTTLS"); /* N3 */
    return rc;
}

static int feed_once(struct byre_nbd_negotiation *negotiation, const uint8_t *bytes, size_t length, size_t *ret_used,
                     byre_nbd_bytes *out)
{
    *ret_used = 0;
    if (negotiation->phase == BYRE_NBD_PHASE_FLAGS) {
        if (length < 4)
            return 0;
        *ret_used = 4;
        return take_flags(negotiation, byre_get_be32(bytes));
    }
    if (negotiation->phase != BYRE_NBD_PHASE_OPTIONS)
        return 0;
    return negotiation->skip ? skip(negotiation, length, ret_used, out)
                             : take_option(negotiation, bytes, length, ret_used, out);
}

int byre_nbd_negotiation_feed(struct byre_nbd_negotiation *negotiation, const uint8_t *bytes, size_t length,
                              size_t *ret_used, byre_nbd_bytes *out)
{
    size_t used = 0, part;
    int rc;

    do {
        rc = feed_once(negotiation, bytes + used, length - used, &part, out);
        used += part;
    } while (rc == 0 && part && out->len < BYRE_NBD_OUT_ENOUGH);
    *ret_used = used;
    return rc;
}
