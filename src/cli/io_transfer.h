/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One read or write of byre io: how it was asked for, and its outcome.
 */
#ifndef BYRE_CLI_IO_TRANSFER_H
#define BYRE_CLI_IO_TRANSFER_H

#include "cli/io_buffer.h"
#include "cli/io_command.h"

struct byre_io_transfer {
    struct byre_io_session *session;
    bool write, zeroes, compressed;
    bool vm_state;           /* of that, not of the disk */
    unsigned flags;          /* BYRE_WRITE_* */
    bool quiet, machine, dump;
    bool check;              /* -P of a read */
    uint8_t pattern;
    uint64_t check_start, check_length;
    uint64_t goff, length;
    struct byre_io_buffer buffer;
    struct iovec *iov;       /* malloced */
    int iov_count;
    const char *name;        /* "read", "write", "readv", "aio_write": in "NAME failed" */
    int result;
    double begin, seconds;
    struct byre_error err;
};

/* Does it.  Thread-safe. */
void byre_io_transfer_run(struct byre_io_transfer *transfer);
/* Prints its outcome and releases what it owns.  0, or -1 if it failed or the pattern was another one. */
int byre_io_transfer_report(struct byre_io_transfer *transfer);
void byre_io_transfer_done(struct byre_io_transfer *transfer);

/* "NAME failed: TEXT" on standard output; byre, but not qemu-io, says more of it on standard error.  Returns -1. */
int byre_io_failed(const char *name, int code, const struct byre_error *err);

/* -EIO if the range is not within the disk, as qemu-io has it. */
int byre_io_check_range(const struct byre_io_session *session, uint64_t goff, uint64_t length,
                        struct byre_error *err);

#endif
