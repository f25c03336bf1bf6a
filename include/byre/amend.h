/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changing the format options of an image that is there.
 */
#ifndef BYRE_AMEND_H
#define BYRE_AMEND_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/disk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is to be changed: a zeroed struct changes nothing. */
struct byre_amend_options {
    const char *compat;         /* "0.10"/"v2" or "1.1"/"v3"; NULL: as it is */
    unsigned refcount_bits;     /* 1 to 64, a power of two; 0: as it is */
    bool lazy_set, lazy_refcounts;
    bool data_file_raw_set, data_file_raw; /* true is refused, unless it is so */
    bool size_set;
    uint64_t size;              /* bytes, a multiple of 512; 0: as it is; as byre_truncate */
    const char *data_file;      /* the name of the data file, which is not looked at; "": none is recorded; NULL: as it
                                   is.  Takes effect when the image is opened again */
    const char *backing_name, *backing_format; /* either not NULL: refused, unless both are as they are ("": none) */
    void (*progress)(void *opaque, uint64_t done, uint64_t total); /* may be NULL */
    void *opaque;
};

/*
 * Changes the options of the top image of a disk, which is qcow2 and opened for writing.  Each change is durable and
 * whole, or has not happened, whenever a crash comes; they are made one after the other, an upgrade of `compat` first
 * and a downgrade last.  What an image cannot have is refused before anything is changed: -EINVAL, -ENOTSUP, in
 * qemu-img's words where it has some.  -ENOTSUP also where the format has no such options.  Waits for others as
 * byre_truncate does.
 */
int byre_amend(struct byre_disk *disk, const struct byre_amend_options *options, struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
