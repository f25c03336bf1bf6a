/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the bitmaps of an image say, to be remembered and compared.
 */
#ifndef TESTS_CRASH_BITMAP_STATES_H
#define TESTS_CRASH_BITMAP_STATES_H

#include <stdbool.h>
#include <stdint.h>

#include "qcow2/bitmap.h"
#include "store/store.h"

enum { BITMAPS_MAX = 4, BITMAP_SECTORS_MAX = 3 << 11 /* of 512 bytes */ };

struct bitmap_states {
    unsigned count;
    struct {
        char name[32];
        unsigned granularity_bits;
        bool enabled, inconsistent;
        bool dirty[BITMAP_SECTORS_MAX]; /* nothing where it is inconsistent */
    } list[BITMAPS_MAX];
};

/* Of an open image; the test fails if that does not work. */
void bitmap_states_of(struct byre_qcow2 *image, struct bitmap_states *ret_states);
/* Of the image in a store: 0, or -1 after a message. */
int bitmap_states_in(struct byre_store *store, struct bitmap_states *ret_states);
/* What of the two sets differs, or NULL; one that is inconsistent in `found` is equal to anything. */
const char *bitmap_states_differ(const struct bitmap_states *wanted, const struct bitmap_states *found);

#endif
