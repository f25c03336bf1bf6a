/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buffers of byre io: filled with a byte or a file, checked for a byte, cut into vectors.
 */
#ifndef BYRE_CLI_IO_BUFFER_H
#define BYRE_CLI_IO_BUFFER_H

#include <sys/uio.h>

#include "cli/io_session.h"

struct byre_io_buffer {
    void *memory; /* what is to be freed */
    uint8_t *bytes;
    uint64_t length;
};

/* Never fails: ends the program where memory is short.  Aligned for O_DIRECT, unless the session misaligns. */
struct byre_io_buffer byre_io_buffer_new(const struct byre_io_session *session, uint64_t length, uint8_t pattern);
void byre_io_buffer_free(struct byre_io_buffer *buffer);

/* Fills it with the contents of a file, again and again.  0, or -1 after a complaint. */
int byre_io_buffer_fill(struct byre_io_buffer *buffer, const char *file_name);

/* Are the bytes [start, start+length) all `pattern`?  Says on standard output where not; `goff` is that of the
 * buffer.  0 or -1. */
int byre_io_buffer_check(const struct byre_io_buffer *buffer, uint64_t start, uint64_t length, uint8_t pattern,
                         uint64_t goff);

/* A buffer in as many pieces as there are lengths, given as words.  0, or -1 after a complaint; the vector is
 * malloced. */
int byre_io_buffer_vector(const struct byre_io_session *session, char **lengths, int count, uint8_t pattern,
                          struct byre_io_buffer *ret_buffer, struct iovec **ret_iov);

#endif
