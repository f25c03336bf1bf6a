/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper: exports that are opened when a client asks for them, and closed when the last one has gone.
 *
 *   Q1. An image is opened and closed in the keeper's threads, for both may take long: nobody waits for that but who
 *       asked.
 *   Q2. Of a name there is at most one export that new clients get; who asks for one that is being opened or closed
 *       gets it, or another one, after that.  One that waits for being closed is taken up again.
 *   Q3. Who is waited for runs: a job waits for nothing that is still queued.
 */
#ifndef BYRE_NBD_KEEPER_H
#define BYRE_NBD_KEEPER_H

#include "base/pool.h"
#include "nbd/export.h"
#include "nbd/protocol.h"

/* Where exports come from; it knows of names.  The calls come from several threads at once. */
struct byre_nbd_source {
    /* As byre_nbd_exports_each. */
    int (*each)(struct byre_nbd_source *source, int (*each)(void *opaque, const char *name, const char *description),
                void *opaque);
    /* Opens.  -ENOENT: there is nothing of that name.  It may use byre_nbd_keeper_get for what the name stands on. */
    int (*open)(struct byre_nbd_source *source, struct byre_nbd_keeper *keeper, const char *name,
                struct byre_nbd_export **ret_export, struct byre_error *err);
    void (*free)(struct byre_nbd_source *source);
};

/* A question for an export. */
struct byre_nbd_ask {
    struct byre_job job; /* first */
    struct byre_nbd_ask *next; /* the asker's */
    struct byre_nbd_keeper *keeper;
    void (*done)(struct byre_nbd_ask *ask); /* called in another thread */
    void *owner;
    struct byre_nbd_export *export; /* referred to, or NULL: `rc` and `err` say why */
    int rc;
    struct byre_error err;
    char name[NBD_NAME_MAX + 1];
};

/* Takes the source, also when it fails. */
int byre_nbd_keeper_new(struct byre_nbd_source *source, struct byre_nbd_keeper **ret_keeper, struct byre_error *err);
/* Nobody has an export any more.  The first failure to close one is returned. */
int byre_nbd_keeper_free(struct byre_nbd_keeper *keeper, struct byre_error *err);

/* A reference to an export that is open, or NULL. */
struct byre_nbd_export *byre_nbd_keeper_find(struct byre_nbd_keeper *keeper, const void *name, size_t length);
int byre_nbd_keeper_each(struct byre_nbd_keeper *keeper,
                         int (*each)(void *opaque, const char *name, const char *description), void *opaque);
/* Those that are open; `each` must not call the keeper. */
void byre_nbd_keeper_each_open(struct byre_nbd_keeper *keeper,
                               void (*each)(void *opaque, struct byre_nbd_export *export), void *opaque);
/* An export, opened if need be: waits.  For sources. */
int byre_nbd_keeper_get(struct byre_nbd_keeper *keeper, const char *name, struct byre_nbd_export **ret_export,
                        struct byre_error *err);
/* The same without waiting: calls `done` of the ask. */
void byre_nbd_keeper_ask(struct byre_nbd_keeper *keeper, struct byre_nbd_ask *ask);
/* Frees an ask that is done, and its reference.  NULL is allowed. */
void byre_nbd_ask_free(struct byre_nbd_ask *ask);

/* New clients do not get those any more that `is_stale` says so of; who has one keeps it. */
void byre_nbd_keeper_forget(struct byre_nbd_keeper *keeper,
                            bool (*is_stale)(void *opaque, const struct byre_nbd_export *export), void *opaque);

/* For byre_nbd_export_unref. */
void byre_nbd_keeper_release(struct byre_nbd_export *export);

#endif
