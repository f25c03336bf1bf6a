/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doing and reporting the reads and writes of byre io.
 */
#include "config.h"

#include "cli/io_transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "cli/io_text.h"
#include "cli/message.h"

int byre_io_failed(const char *name, int code, const struct byre_error *err)
{
    printf("%s failed: %s\n", name, strerror(-code));
    if (!byre_program_is_qemu() && err->text[0])
        byre_complain_error(err, "%s", "");
    return -1;
}

int byre_io_check_range(const struct byre_io_session *session, uint64_t goff, uint64_t length,
                        struct byre_error *err)
{
    uint64_t size = byre_get_size(session->disk);

    if (byre_range_within(goff, length, size))
        return 0;
    return byre_error_set(err, -EIO, "%" PRIu64 " bytes at offset %" PRIu64 " pass the end of the disk at %" PRIu64,
                          length, goff, size);
}

static int write_it(struct byre_io_transfer *transfer)
{
    struct byre_disk *disk = transfer->session->disk;

    if (transfer->zeroes)
        return byre_write_zeroes(disk, transfer->goff, transfer->length, transfer->flags, &transfer->err);
    if (transfer->compressed)
        return byre_write_compressed(disk, transfer->buffer.bytes, transfer->length, transfer->goff, &transfer->err);
    return byre_pwritev(disk, transfer->iov, transfer->iov_count, transfer->goff, transfer->flags, &transfer->err);
}

static int move_vm_state(struct byre_io_transfer *transfer)
{
    struct byre_disk *disk = transfer->session->disk;
    void *bytes = transfer->buffer.bytes;

    return transfer->write ? byre_write_vm_state(disk, bytes, transfer->length, transfer->goff, &transfer->err)
                           : byre_read_vm_state(disk, bytes, transfer->length, transfer->goff, &transfer->err);
}

static int move(struct byre_io_transfer *transfer)
{
    int r;

    if (transfer->vm_state)
        return move_vm_state(transfer);
    r = byre_io_check_range(transfer->session, transfer->goff, transfer->length, &transfer->err);
    if (r < 0)
        return r;
    return transfer->write ? write_it(transfer)
                           : byre_preadv(transfer->session->disk, transfer->iov, transfer->iov_count, transfer->goff,
                                         &transfer->err);
}

void byre_io_transfer_run(struct byre_io_transfer *transfer)
{
    transfer->begin = byre_io_now();
    transfer->result = move(transfer);
    transfer->seconds = byre_io_now() - transfer->begin;
}

static int print_outcome(const struct byre_io_transfer *transfer)
{
    struct byre_io_report report = {
        .verb = transfer->write ? "wrote" : "read",
        .goff = transfer->goff,
        .length = transfer->length,
        .seconds = transfer->seconds,
        .machine = transfer->machine,
    };
    int r = 0;

    if (transfer->result < 0)
        return byre_io_failed(transfer->name, transfer->result, &transfer->err);
    if (transfer->check)
        r = byre_io_buffer_check(&transfer->buffer, transfer->check_start, transfer->check_length,
                                 transfer->pattern, transfer->goff);
    if (transfer->quiet)
        return r;
    if (transfer->dump)
        byre_io_dump(transfer->buffer.bytes, transfer->length, transfer->goff);
    byre_io_print_report(&report);
    return r;
}

void byre_io_transfer_done(struct byre_io_transfer *transfer)
{
    byre_io_buffer_free(&transfer->buffer);
    free(transfer->iov);
    transfer->iov = NULL;
}

int byre_io_transfer_report(struct byre_io_transfer *transfer)
{
    int r = print_outcome(transfer);

    byre_io_transfer_done(transfer);
    return r;
}
