/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vectors of buffers: sums, slices and copies.  Offsets count bytes from the start of the vector.
 */
#ifndef BYRE_BASE_IOV_H
#define BYRE_BASE_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The sum of the lengths: false if it does not fit. */
bool byre_iov_length(const struct iovec *iov, int count, uint64_t *ret_length);

/*
 * Describes the bytes [offset, offset + length) of `iov` in at most `max` entries of `slice`, none of them
 * empty.  Returns the number of entries; *ret_length is how many bytes they hold: less than `length` if the
 * entries or the vector did not suffice.
 */
int byre_iov_slice(const struct iovec *iov, int count, uint64_t offset, uint64_t length, struct iovec *slice,
                   int max, uint64_t *ret_length);

/* Copy between the vector, from `offset` on, and `length` bytes at `buf`; the vector is long enough. */
void byre_iov_gather(const struct iovec *iov, int count, uint64_t offset, void *buf, size_t length);
void byre_iov_scatter(const struct iovec *iov, int count, uint64_t offset, const void *buf, size_t length);

/* Zeroes everything from `offset` on. */
void byre_iov_zero(const struct iovec *iov, int count, uint64_t offset);

/* Do all buffers start at, and have lengths that are, multiples of `align`? */
bool byre_iov_is_aligned(const struct iovec *iov, int count, uint64_t align);

#endif
