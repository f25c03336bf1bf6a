/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buffers of byre io.
 */
#include "config.h"

#include "cli/io_buffer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "cli/io_text.h"
#include "cli/message.h"

enum { ALIGN = 4096, MISALIGN = 16 };

struct byre_io_buffer byre_io_buffer_new(const struct byre_io_session *session, uint64_t length, uint8_t pattern)
{
    struct byre_io_buffer buffer = { .length = length };

    if (posix_memalign(&buffer.memory, ALIGN, byre_round_up(length + MISALIGN, ALIGN)) != 0)
        byre_die_no_memory();
    buffer.bytes = (uint8_t *)buffer.memory + (session->misalign ? MISALIGN : 0);
    memset(buffer.bytes, pattern, length);
    return buffer;
}

void byre_io_buffer_free(struct byre_io_buffer *buffer)
{
    free(buffer->memory);
    buffer->memory = NULL;
}

static int complain_file(const char *name, const char *what)
{
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", name, what);
    return -1;
}

int byre_io_buffer_fill(struct byre_io_buffer *buffer, const char *file_name)
{
    FILE *file = fopen(file_name, "rb");
    uint64_t there;
    int failed;

    if (!file)
        return complain_file(file_name, strerror(errno));
    there = fread(buffer->bytes, 1, buffer->length, file);
    failed = ferror(file) ? errno : 0;
    fclose(file);
    if (failed)
        return complain_file(file_name, strerror(failed));
    if (there == 0 && buffer->length)
        return complain_file(file_name, "file is empty");
    for (uint64_t at = there; at < buffer->length; at++)
        buffer->bytes[at] = buffer->bytes[at - there];
    return 0;
}

int byre_io_buffer_check(const struct byre_io_buffer *buffer, uint64_t start, uint64_t length, uint8_t pattern,
                         uint64_t goff)
{
    for (uint64_t i = 0; i < length; i++) {
        if (buffer->bytes[start + i] != pattern) {
            printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n", goff + start, length);
            return -1;
        }
    }
    return 0;
}

/* Sums the lengths of a vector up. */
static int read_lengths(char **words, int count, struct iovec *iov, uint64_t *ret_total)
{
    uint64_t total = 0;

    for (int i = 0; i < count; i++) {
        uint64_t length;

        if (byre_io_read_size(words[i], &length) < 0)
            return -1;
        if (length > BYRE_IO_LENGTH_MAX) {
            printf("Argument '%s' exceeds maximum size %u\n", words[i], BYRE_IO_LENGTH_MAX);
            return -1;
        }
        if (total > BYRE_IO_LENGTH_MAX - length) {
            printf("The total number of bytes exceed the maximum size %u\n", BYRE_IO_LENGTH_MAX);
            return -1;
        }
        iov[i].iov_len = length;
        total += length;
    }
    *ret_total = total;
    return 0;
}

int byre_io_buffer_vector(const struct byre_io_session *session, char **lengths, int count, uint8_t pattern,
                          struct byre_io_buffer *ret_buffer, struct iovec **ret_iov)
{
    CLEANUP(free_ptr) struct iovec *iov = calloc((size_t)count + 1, sizeof *iov);
    uint64_t total;
    uint8_t *at;

    if (!iov)
        byre_die_no_memory();
    if (read_lengths(lengths, count, iov, &total) < 0)
        return -1;
    *ret_buffer = byre_io_buffer_new(session, total, pattern);
    at = ret_buffer->bytes;
    for (int i = 0; i < count; i++) {
        iov[i].iov_base = at;
        at += iov[i].iov_len;
    }
    *ret_iov = STEAL(iov);
    return 0;
}
