/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading tables for the checker: past holes of sparse files without reading them, and with an account of
 * how many bytes were really there.
 */
#ifndef BYRE_QCOW2_CHECK_READER_H
#define BYRE_QCOW2_CHECK_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre/error.h"
#include "store/store.h"

struct byre_check_reader {
    struct byre_store *store;
    uint64_t size;               /* of the store, bytes */
    uint64_t stored;             /* bytes read so far that no hole supplied */
    uint64_t run_start, run_end; /* the extent that was asked for last */
    bool run_hole;
};

int byre_check_reader_init(struct byre_check_reader *reader, struct byre_store *store,
                           struct byre_error *err);

/* Reads [hoff, hoff+length) into `buf`; zeros past the end of the store.  *ret_empty tells that nothing at
 * all is stored there: `buf` was not touched then, and all bytes are zero. */
int byre_check_read(struct byre_check_reader *reader, uint64_t hoff, void *buf, size_t length,
                    bool *ret_empty, struct byre_error *err);

#endif
