/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Choosing metadata contexts (proto.md, "Metadata querying").
 *
 * A query that names a context means that one.  When contexts are listed, one that ends with a colon means all whose
 * names begin so, and no query at all means all of them.
 */
#include "config.h"

#include "nbd/meta_context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "nbd/protocol.h"

/* The data of an option that is being read. */
struct reader {
    const uint8_t *at;
    uint32_t left;
};

struct choice {
    const struct byre_nbd_export *export;
    uint32_t type;
    bool *chosen; /* of the export's contexts */
};

static bool read_number(struct reader *reader, uint32_t *ret_number)
{
    if (reader->left < 4)
        return false;
    *ret_number = byre_get_be32(reader->at);
    reader->at += 4;
    reader->left -= 4;
    return true;
}

static bool read_string(struct reader *reader, const char **ret_string, uint32_t *ret_length)
{
    if (!read_number(reader, ret_length) || *ret_length > reader->left)
        return false;
    *ret_string = (const char *)reader->at;
    reader->at += *ret_length;
    reader->left -= *ret_length;
    return true;
}

static bool matches(const char *name, const char *query, uint32_t length, bool list)
{
    if (strlen(name) == length && memcmp(name, query, length) == 0)
        return true;
    return list && length && query[length - 1] == ':' && strncmp(name, query, length) == 0;
}

/* Marks what the queries mean; false if one is none. */
static bool read_queries(struct reader *reader, const struct choice *choice)
{
    bool list = choice->type == NBD_OPT_LIST_META_CONTEXT;
    uint32_t count, length;
    const char *query;

    if (!read_number(reader, &count))
        return false;
    for (size_t i = 0; i < choice->export->contexts.len; i++)
        choice->chosen[i] = list && count == 0;
    for (uint32_t n = 0; n < count; n++) {
        if (!read_string(reader, &query, &length) || length > NBD_NAME_MAX || !memchr(query, ':', length))
            return false;
        for (size_t i = 0; i < choice->export->contexts.len; i++)
            choice->chosen[i] = choice->chosen[i] || matches(choice->export->contexts.ptr[i].name, query, length, list);
    }
    return reader->left == 0;
}

static int put_context(byre_nbd_bytes *out, uint32_t type, uint32_t id, const char *name)
{
    size_t length = strlen(name);
    uint8_t *bytes = malloc(4 + length);
    int rc;

    if (!bytes)
        return -ENOMEM;
    byre_put_be32(bytes, id);
    memcpy(bytes + 4, name, length);
    rc = byre_nbd_put_reply(out, type, NBD_REP_META_CONTEXT, bytes, 4 + length);
    free(bytes);
    return rc;
}

static int answer(struct byre_nbd_negotiation *negotiation, const struct choice *choice, byre_nbd_bytes *out)
{
    bool set = choice->type == NBD_OPT_SET_META_CONTEXT;
    int rc = 0;

    for (uint32_t i = 0; i < choice->export->contexts.len && rc == 0; i++) {
        if (!choice->chosen[i] || (set && negotiation->context_count == BYRE_NBD_CONTEXTS_MAX))
            continue;
        if (set)
            negotiation->contexts[negotiation->context_count++] = i;
        rc = put_context(out, choice->type, set ? i : 0, choice->export->contexts.ptr[i].name);
    }
    return rc < 0 ? rc : byre_nbd_put_reply(out, choice->type, NBD_REP_ACK, NULL, 0);
}

/* What was set before counts no more, whatever comes of this. */
static void start_over(struct byre_nbd_negotiation *negotiation, uint32_t type)
{
    if (type != NBD_OPT_SET_META_CONTEXT)
        return;
    (void)byre_nbd_export_unref(negotiation->context_export, NULL);
    negotiation->context_export = NULL;
    negotiation->context_count = 0;
}

static int choose(struct byre_nbd_negotiation *negotiation, struct reader *reader, struct choice *choice,
                  byre_nbd_bytes *out)
{
    int rc;

    choice->chosen = calloc(choice->export->contexts.len, sizeof *choice->chosen);
    if (!choice->chosen)
        return -ENOMEM;
    if (read_queries(reader, choice))
        rc = answer(negotiation, choice, out);
    else
        rc = byre_nbd_put_error(out, choice->type, NBD_REP_ERR_INVALID, "these are no queries of contexts");
    free(choice->chosen);
    return rc;
}

int byre_nbd_meta_context(struct byre_nbd_negotiation *negotiation, uint32_t type, const uint8_t *data, uint32_t length,
                          byre_nbd_bytes *out)
{
    struct reader reader = { data, length };
    struct byre_nbd_export *export;
    struct choice choice = { .type = type };
    uint32_t name_length;
    const char *name;
    int rc;

    start_over(negotiation, type);
    if (negotiation->replies == BYRE_NBD_REPLIES_SIMPLE)
        return byre_nbd_put_error(out, type, NBD_REP_ERR_INVALID, "contexts need structured replies");
    if (!read_string(&reader, &name, &name_length))
        return byre_nbd_put_error(out, type, NBD_REP_ERR_INVALID, "the name is longer than the option");
    if (name_length > NBD_NAME_MAX)
        return byre_nbd_put_error(out, type, NBD_REP_ERR_TOO_BIG, "a name of %u bytes: %u are the most", name_length,
                                  NBD_NAME_MAX);
    rc = byre_nbd_negotiation_find(negotiation, name, name_length, &export);
    if (rc < 0)
        return rc == -ENOENT ? byre_nbd_put_error(out, type, NBD_REP_ERR_UNKNOWN, "%s", negotiation->trouble) : rc;
    choice.export = export;
    rc = choose(negotiation, &reader, &choice, out);
    if (type == NBD_OPT_SET_META_CONTEXT && negotiation->context_count)
        negotiation->context_export = export;
    else
        (void)byre_nbd_export_unref(export, NULL);
    return rc;
}
