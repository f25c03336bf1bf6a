/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frozen images of one phase of a commit: pieces of metadata and where they go.
 */
#ifndef BYRE_QCOW2_COMMIT_LIST_H
#define BYRE_QCOW2_COMMIT_LIST_H

#include "base/vec.h"
#include "store/event.h"

struct byre_commit_piece {
    uint64_t hoff;
    uint32_t length;
    enum byre_event event; /* what writing it is */
    uint8_t *bytes; /* owned */
};

struct byre_commit_list {
    VEC(struct byre_commit_piece) pieces;
};

/* Adds a copy of the bytes: 0 or -ENOMEM. */
int byre_commit_list_add(struct byre_commit_list *list, enum byre_event event, uint64_t hoff, const void *bytes,
                         uint32_t length);

/* Writes everything, neighbours in one call each.  The store is told what is in a call before it is made. */
int byre_commit_list_write(struct byre_commit_list *list, struct byre_store *store, struct byre_error *err);

void byre_commit_list_done(struct byre_commit_list *list);

#endif
