/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker's reader.  A hostile file can be one hole of exabytes with a few tables that point all over it:
 * asking the store for its extents makes such tables cost one call each, and no memory.
 */
#include "config.h"

#include <string.h>

#include "base/arith.h"
#include "qcow2/check_reader.h"

int byre_check_reader_init(struct byre_check_reader *reader, struct byre_store *store, struct byre_error *err)
{
    memset(reader, 0, sizeof *reader);
    reader->store = store;
    return byre_store_size(store, &reader->size, err);
}

/* Makes the remembered run one that covers `hoff`, which lies within the size. */
static void find_run(struct byre_check_reader *reader, uint64_t hoff)
{
    uint64_t length = 0;
    bool hole = false;

    if (hoff >= reader->run_start && hoff < reader->run_end)
        return;
    if (byre_store_extent(reader->store, hoff, &length, &hole, NULL) < 0 || length == 0) {
        length = reader->size - hoff;
        hole = false;
    }
    reader->run_start = hoff;
    reader->run_end = hoff + MIN(length, reader->size - hoff);
    reader->run_hole = hole;
}

int byre_check_read(struct byre_check_reader *reader, uint64_t hoff, void *buf, size_t length,
                    bool *ret_empty, struct byre_error *err)
{
    size_t done = 0;
    bool empty = true;

    while (done < length && hoff + done < reader->size) {
        size_t piece;

        find_run(reader, hoff + done);
        piece = (size_t)MIN(length - done, reader->run_end - (hoff + done));
        if (!reader->run_hole) {
            int rc;

            if (empty)
                memset(buf, 0, done);
            empty = false;
            rc = byre_store_pread(reader->store, (uint8_t *)buf + done, piece, hoff + done, err);
            if (rc < 0)
                return rc;
            reader->stored += piece;
        } else if (!empty) {
            memset((uint8_t *)buf + done, 0, piece);
        }
        done += piece;
    }
    if (!empty)
        memset((uint8_t *)buf + done, 0, length - done);
    *ret_empty = empty;
    return 0;
}
