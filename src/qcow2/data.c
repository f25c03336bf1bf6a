/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving guest data: the one way by which the engine reads and writes plain clusters.
 *
 * Compressed clusters and metadata do not go through here.
 */
#include "config.h"

#include "qcow2/image.h"

int byre_data_read(struct byre_qcow2 *image, void *buf, size_t length, uint64_t hoff, struct byre_error *err)
{
    byre_store_event(image->store, BYRE_EVENT_READ_AIO);
    return byre_store_pread(image->data, buf, length, hoff, err);
}

int byre_data_zero(struct byre_qcow2 *image, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    return byre_store_write_zeroes(image->data, hoff, length, 0, err);
}

int byre_data_writev(struct byre_qcow2 *image, const struct iovec *iov, int iov_count, uint64_t hoff,
                     struct byre_error *err)
{
    byre_store_event(image->store, BYRE_EVENT_WRITE_AIO);
    return byre_store_pwritev(image->data, iov, iov_count, hoff, err);
}
