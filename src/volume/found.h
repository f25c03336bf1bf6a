/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies on a range of a disk that byre itself does not read, and texts from disks.
 */
#ifndef BYRE_VOLUME_FOUND_H
#define BYRE_VOLUME_FOUND_H

#include "byre/files.h"

/* What libblkid says of the range; nothing is found without it, which is no error. */
int byre_found_by_signature(struct byre_disk *disk, uint64_t goff, uint64_t length,
                            struct byre_files_found *ret_found, struct byre_error *err);

/* Copies a text of at most `length` bytes from a disk, up to its null byte, as UTF-8: what is none becomes "?", and so
 * do control characters.  `room` bytes, the null byte included, are not exceeded. */
void byre_found_text(char *to, size_t room, const void *bytes, size_t length);
/* 16 bytes as libuuid prints them; "" if all are zero. */
void byre_found_uuid(char to[37], const uint8_t bytes[16]);

#endif
