/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stories about an option of an image that is changed, and the telling of them with one trouble that strikes ever
 * later: the disk and its snapshots hold what they held, and the header says the old or the new thing.
 */
#ifndef TESTS_CRASH_AMEND_STORY_H
#define TESTS_CRASH_AMEND_STORY_H

#include "../model/snapshot_model.h"

/* What the header says that an operation changes. */
struct amend_said {
    unsigned version, order;
    bool lazy, data_raw;
    const char *data_file; /* NULL: no name is recorded */
};

struct amend_story {
    const char *name;
    struct byre_qcow2_create_options format;
    bool snapshots;
    struct amend_said after;
    int (*operation)(struct byre_qcow2 *image, const struct amend_said *after, struct byre_error *err);
};

extern const struct amend_story amend_stories[];
extern const size_t amend_story_count;

/* An image for the story, open, with an empty log. */
void amend_story_begin(struct snapshot_model *model, const struct amend_story *story);
/* Does the header say the new thing?  Fails the test if it says neither that nor the old one. */
bool amend_story_is_new(struct byre_store *store, const struct amend_story *story, bool *ret_dirty);
/* All is as it should be in the end. */
void amend_story_expect_new(struct snapshot_model *model, const struct amend_story *story, bool tidy);

struct amend_trouble {
    void (*begin)(struct byre_store *store, void *opaque, uint64_t nth); /* strikes at the n-th occasion */
    bool (*end)(struct byre_store *store);                               /* it is over: did it strike? */
    void *opaque;
    bool leaks; /* what is given up may stay allocated */
};

/* Tells all stories; returns how often the trouble struck.  What failed is done again where that can be. */
uint64_t tell_of_amend(const struct amend_trouble *with);

#endif
