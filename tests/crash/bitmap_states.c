/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the bitmaps of an image say: see bitmap_states.h.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap_states.h"

static int set_dirty(void *opaque, uint64_t goff, uint64_t length)
{
    bool *dirty = opaque;

    for (uint64_t at = goff / 512; at * 512 < goff + length; at++)
        dirty[at] = true;
    return 0;
}

static int take(struct byre_qcow2 *image, struct bitmap_states *states, struct byre_error *err)
{
    unsigned count;
    bool stale;
    int rc = byre_qcow2_bitmaps_count(image, &count, &stale, err);

    memset(states, 0, sizeof *states);
    if (rc == 0 && count > BITMAPS_MAX)
        return byre_error_set(err, -EINVAL, "%u bitmaps", count);
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        struct byre_qcow2_bitmap_state state;

        byre_qcow2_bitmap_get(image, i, &state);
        snprintf(states->list[i].name, sizeof states->list[i].name, "%s", state.name);
        states->list[i].granularity_bits = state.granularity_bits;
        states->list[i].enabled = state.enabled;
        states->list[i].inconsistent = state.inconsistent;
        if (!state.inconsistent)
            rc = byre_qcow2_bitmap_walk(image, state.name, 0, byre_qcow2_header(image)->size, set_dirty,
                                        states->list[i].dirty, err);
        states->count++;
    }
    return rc;
}

void bitmap_states_of(struct byre_qcow2 *image, struct bitmap_states *ret_states)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (take(image, ret_states, &err) < 0) {
        fprintf(stderr, "bitmaps: %s\n", err.text);
        abort();
    }
}

int bitmap_states_in(struct byre_store *store, struct bitmap_states *ret_states)
{
    struct byre_qcow2_open_options options = { .writable = false };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image = NULL;
    int rc = byre_qcow2_open(store, &options, &image, &err);

    if (rc == 0)
        rc = take(image, ret_states, &err);
    if (image)
        byre_qcow2_close(image, NULL);
    if (rc < 0)
        fprintf(stderr, "bitmaps: %s\n", err.text);
    return rc < 0 ? -1 : 0;
}

const char *bitmap_states_differ(const struct bitmap_states *wanted, const struct bitmap_states *found)
{
    if (wanted->count != found->count)
        return "how many there are";
    for (unsigned i = 0; i < wanted->count; i++) {
        if (strcmp(wanted->list[i].name, found->list[i].name) != 0)
            return "a name";
        if (wanted->list[i].granularity_bits != found->list[i].granularity_bits)
            return "a granularity";
        if (found->list[i].inconsistent)
            continue;
        if (wanted->list[i].inconsistent)
            return "one that was inconsistent";
        if (wanted->list[i].enabled != found->list[i].enabled)
            return "whether one is enabled";
        if (memcmp(wanted->list[i].dirty, found->list[i].dirty, sizeof found->list[i].dirty) != 0)
            return "what is dirty";
    }
    return NULL;
}
