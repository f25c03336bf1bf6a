/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Header extensions: see fmt_header.h.  They are kept as they stand in the file, in order, known or not, so
 * that a header which byre rewrites loses nothing.
 *
 * Invariants
 *   X1. An extension's data lies within the area that holds it; so memory is bounded by the header cluster.
 *   X2. A type that byre knows appears at most once.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_extensions.h"

#define EXTENSION_HEAD 8
#define EXTENSION_ALIGN 8
#define FEATURE_ENTRY 48
#define FEATURE_NAME 46
#define BACKING_FORMAT_MAX 15

static const uint32_t known_types[] = {
    BYRE_QCOW2_EXT_BACKING_FORMAT, BYRE_QCOW2_EXT_FEATURE_NAMES, BYRE_QCOW2_EXT_BITMAPS,
    BYRE_QCOW2_EXT_CRYPT_HEADER, BYRE_QCOW2_EXT_DATA_FILE,
};

/* What qemu writes, in its order. */
static const struct {
    uint8_t type, bit;
    const char *name;
} feature_names[] = {
    { 0, 0, "dirty bit" },
    { 0, 1, "corrupt bit" },
    { 0, 2, "external data file" },
    { 0, 3, "compression type" },
    { 0, 4, "extended L2 entries" },
    { 1, 0, "lazy refcounts" },
    { 2, 0, "bitmaps" },
    { 2, 1, "raw external data" },
};

int byre_qcow2_header_add_extension(struct byre_qcow2_header *header, uint32_t type, const void *data,
                                    uint32_t length)
{
    struct byre_qcow2_extension extension = { .type = type, .length = length };
    struct byre_qcow2_extension *grown = header->extensions;
    size_t count = header->extension_count;

    /* The capacity is the count rounded up to a power of two. */
    if (count == 0 || byre_is_power_of_two(count)) {
        grown = realloc(header->extensions, (count ? count * 2 : 1) * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        header->extensions = grown;
    }
    if (length > 0) {
        extension.data = malloc(length);
        if (!extension.data)
            return -ENOMEM;
        memcpy(extension.data, data, length);
    }
    grown[header->extension_count++] = extension;
    return 0;
}

int byre_qcow2_header_add_feature_names(struct byre_qcow2_header *header)
{
    uint8_t table[ARRAY_LEN(feature_names) * FEATURE_ENTRY] = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(feature_names); i++) {
        uint8_t *entry = table + i * FEATURE_ENTRY;

        entry[0] = feature_names[i].type;
        entry[1] = feature_names[i].bit;
        memcpy(entry + 2, feature_names[i].name, strlen(feature_names[i].name));
    }
    return byre_qcow2_header_add_extension(header, BYRE_QCOW2_EXT_FEATURE_NAMES, table, sizeof table);
}

const struct byre_qcow2_extension *byre_qcow2_header_find_extension(const struct byre_qcow2_header *header,
                                                                    uint32_t type)
{
    for (size_t i = 0; i < header->extension_count; i++) {
        if (header->extensions[i].type == type)
            return &header->extensions[i];
    }
    return NULL;
}

bool byre_qcow2_header_feature_name(const struct byre_qcow2_header *header, unsigned type, unsigned bit,
                                    char ret_name[47])
{
    const struct byre_qcow2_extension *table =
        byre_qcow2_header_find_extension(header, BYRE_QCOW2_EXT_FEATURE_NAMES);

    for (size_t at = 0; table && at + FEATURE_ENTRY <= table->length; at += FEATURE_ENTRY) {
        const uint8_t *entry = table->data + at;

        if (entry[0] != type || entry[1] != bit || entry[2] == 0)
            continue;
        memcpy(ret_name, entry + 2, FEATURE_NAME);
        ret_name[FEATURE_NAME] = 0;
        return true;
    }
    return false;
}

static bool is_known(uint32_t type)
{
    for (size_t i = 0; i < ARRAY_LEN(known_types); i++) {
        if (known_types[i] == type)
            return true;
    }
    return false;
}

static int take_backing_format(struct byre_qcow2_header *header, const uint8_t *data, uint32_t length,
                               struct byre_error *err)
{
    if (length > BACKING_FORMAT_MAX)
        return byre_error_set(err, -EINVAL, "ext_backing_format: len=%u too large (>=%u)", length,
                              BACKING_FORMAT_MAX + 1);
    header->backing_format = strndup((const char *)data, length);
    if (!header->backing_format)
        return byre_error_set_errno(err, -ENOMEM, "header extension");
    return 0;
}

static int take_extension(struct byre_qcow2_header *header, uint32_t type, const uint8_t *data,
                          uint32_t length, struct byre_error *err)
{
    if (is_known(type) && byre_qcow2_header_find_extension(header, type))
        return byre_error_set(err, -EINVAL, "Header extension appears more than once (type is 0x%08x)", type);
    if (byre_qcow2_header_add_extension(header, type, data, length) < 0)
        return byre_error_set_errno(err, -ENOMEM, "header extension");
    if (type == BYRE_QCOW2_EXT_BACKING_FORMAT)
        return take_backing_format(header, data, length, err);
    return 0;
}

int byre_qcow2_extensions_parse(const uint8_t *buf, size_t start, size_t end,
                                struct byre_qcow2_header *header, struct byre_error *err)
{
    size_t at = start;

    while (at < end && end - at >= EXTENSION_HEAD) {
        uint32_t type = byre_get_be32(buf + at);
        uint32_t length = byre_get_be32(buf + at + 4);
        int rc;

        if (type == BYRE_QCOW2_EXT_END)
            break;
        if (length > end - at - EXTENSION_HEAD)
            return byre_error_set(err, -EINVAL,
                                  "Header extension too large (type is 0x%08x, offset is %zu, length is %u)",
                                  type, at, length);
        rc = take_extension(header, type, buf + at + EXTENSION_HEAD, length, err);
        if (rc < 0)
            return rc;
        at += EXTENSION_HEAD + byre_round_up(length, EXTENSION_ALIGN);
    }
    return 0;
}

int byre_qcow2_extensions_serialize(const struct byre_qcow2_header *header, uint8_t *buf, size_t start,
                                    size_t length, size_t *ret_end, struct byre_error *err)
{
    size_t at = start;

    for (size_t i = 0; i < header->extension_count; i++) {
        const struct byre_qcow2_extension *extension = &header->extensions[i];

        if (length - at < EXTENSION_HEAD + byre_round_up(extension->length, EXTENSION_ALIGN))
            return byre_error_set(err, -ENOSPC,
                                  "Header extension does not fit into the header cluster of %zu bytes "
                                  "(type is 0x%08x, length is %u)",
                                  length, extension->type, extension->length);
        byre_put_be32(buf + at, extension->type);
        byre_put_be32(buf + at + 4, extension->length);
        if (extension->length > 0)
            memcpy(buf + at + EXTENSION_HEAD, extension->data, extension->length);
        at += EXTENSION_HEAD + byre_round_up(extension->length, EXTENSION_ALIGN);
    }
    /* The end mark is zeros, and so is the buffer.  An area that fills the cluster ends without one. */
    *ret_end = length - at < EXTENSION_HEAD ? length : at + EXTENSION_HEAD;
    return 0;
}
