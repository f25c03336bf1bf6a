/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which formats there are, and which one a file's first bytes tell of.
 */
#include "config.h"

#include <string.h>

#include "base/endian.h"
#include "crypt/luks_header.h"
#include "disk/disk.h"

bool byre_format_known(const char *format)
{
    return strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0 || strcmp(format, "luks") == 0;
}

/* The magic alone decides, whatever version follows: taking a damaged or too old image for raw would show its
 * metadata as a disk. */
const char *byre_probe(const uint8_t *buf, size_t length)
{
    if (length >= 4 && byre_get_be32(buf) == BYRE_QCOW2_MAGIC)
        return "qcow2";
    return byre_luks_probe(buf, length) ? "luks" : "raw";
}
