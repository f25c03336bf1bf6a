/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The map of a disk as text: what `byre map --output=json` prints, byte for byte, as a file whose length is not known
 * before it has been read.
 */
#ifndef BYRE_FUSE_MAP_TEXT_H
#define BYRE_FUSE_MAP_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "byre/disk.h"

struct byre_map_text;

/* The text of a disk, which stays open as long as it is; NULL: no memory.  It takes about 100 KiB, whatever the size
 * of the disk and of the text.  Nothing is read yet. */
struct byre_map_text *byre_map_text_new(struct byre_disk *disk);
/* NULL is allowed. */
void byre_map_text_free(struct byre_map_text *text);

/*
 * Reads up to `size` bytes of the text: less, or nothing, at its end.  Reading on where the last read ended goes on
 * with the map there; other offsets start from a place before them that is remembered, or from the start.  Thread-safe,
 * one read at a time.  What is written to the disk meanwhile shows in what has not been made yet: a new text shows
 * all of it.  A place of the map that cannot be read fails the reads that want what comes from there on.
 */
int byre_map_text_read(struct byre_map_text *text, void *buf, size_t size, uint64_t offset, size_t *ret_length,
                       struct byre_error *err);

/*
 * The whole text, to be freed by the caller, if it is small; no null byte comes after it.  -EFBIG: it has more than
 * `max_bytes`, or is made of more than `max_extents` extents, or reading the map takes more than BYRE_MAP_TEXT_ALL_MS
 * and is not over then.
 */
#define BYRE_MAP_TEXT_ALL_MS 100u
int byre_map_text_all(struct byre_disk *disk, size_t max_bytes, uint64_t max_extents, char **ret_text,
                      size_t *ret_length, struct byre_error *err);

#endif
