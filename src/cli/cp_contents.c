/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contents of one file, data after data; what lies between is left out, or written as zeros.
 */
#include "config.h"

#include "cli/cp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "cli/message.h"

#define BUFFER_BYTES (1u << 20)

struct copy {
    struct byre_cp *cp;
    const struct byre_cp_source *source;
    const struct byre_cp_place *place;
    int fd;
    bool sparse;
    struct byre_error *err;
};

/* The buffer's first bytes, to that offset of a file, or behind what was written before. */
static int put(const struct copy *copy, size_t length, uint64_t offset)
{
    const uint8_t *from = copy->cp->buffer;

    while (length) {
        ssize_t n = copy->sparse ? pwrite(copy->fd, from, length, (off_t)offset) : write(copy->fd, from, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return byre_cp_host_error(copy->cp, copy->place, -errno, copy->err);
        from += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

static int put_zeros(const struct copy *copy, uint64_t offset, uint64_t end)
{
    int rc = 0;

    if (offset < end)
        memset(copy->cp->buffer, 0, BUFFER_BYTES);
    for (; offset < end && rc == 0; offset += MIN(end - offset, (uint64_t)BUFFER_BYTES))
        rc = put(copy, MIN(end - offset, (uint64_t)BUFFER_BYTES), offset);
    return rc;
}

static int put_data(const struct copy *copy, uint64_t offset, uint64_t end)
{
    size_t got;
    int rc;

    while (offset < end) {
        rc = byre_files_read(copy->cp->in.files, copy->source->id, copy->cp->buffer,
                             MIN(end - offset, (uint64_t)BUFFER_BYTES), offset, &got, copy->err);
        if (rc < 0)
            return rc;
        if (!got)
            return byre_error_set(copy->err, -EIO, "it ends at offset %" PRIu64 ", before its size", offset);
        rc = put(copy, got, offset);
        if (rc < 0)
            return rc;
        offset += got;
    }
    return 0;
}

/* The next data: where it begins and ends; both are `size` where there is none. */
static int find_data(const struct copy *copy, uint64_t offset, uint64_t size, uint64_t *ret_start, uint64_t *ret_end)
{
    struct byre_files *files = copy->cp->in.files;
    uint64_t start = size, end = size;
    int rc = byre_files_seek(files, copy->source->id, offset, true, &start, copy->err);

    if (rc == -ENXIO || (rc == 0 && start >= size)) {
        *ret_start = *ret_end = size;
        return 0;
    }
    if (rc == 0)
        rc = byre_files_seek(files, copy->source->id, start, false, &end, copy->err);
    if (rc < 0)
        return rc;
    if (start < offset || end < start || end == offset) /* what may be data can turn out to be a hole: none at all */
        return byre_error_set(copy->err, -EUCLEAN, "its holes make no sense at offset %" PRIu64, offset);
    *ret_start = start;
    *ret_end = MIN(end, size);
    return 0;
}

int byre_cp_contents(struct byre_cp *cp, const struct byre_cp_source *source, int fd, bool sparse,
                     const struct byre_cp_place *place, struct byre_error *err)
{
    const struct copy copy = { cp, source, place, fd, sparse, err };
    uint64_t size = source->file.size, offset = 0, start = 0, end = 0;
    int rc = 0;

    if (!cp->buffer)
        cp->buffer = malloc(BUFFER_BYTES);
    if (!cp->buffer)
        byre_die_no_memory();
    while (offset < size && rc == 0) {
        rc = find_data(&copy, offset, size, &start, &end);
        if (rc == 0 && !sparse)
            rc = put_zeros(&copy, offset, start);
        if (rc == 0)
            rc = put_data(&copy, start, end);
        offset = end;
    }
    if (rc == 0 && sparse && ftruncate(fd, (off_t)size) < 0)
        return byre_cp_host_error(cp, place, -errno, err);
    return rc;
}
