/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding the L2 tables of a damaged image, and which part of the disk each of them maps.  Only reads.
 */
#ifndef BYRE_QCOW2_RECOVER_H
#define BYRE_QCOW2_RECOVER_H

#include "base/vec.h"
#include "byre/recover.h"
#include "qcow2/fmt_header.h"
#include "crypt/cipher.h"
#include "store/store.h"

#define BYRE_RECOVER_NOWHERE UINT64_MAX
#define BYRE_RECOVER_LUKS_MAX 8u /* headers that are tried */

/* What there is to go by; the caller's. */
struct byre_recover_input {
    struct byre_store *image;
    struct byre_store *data_file;       /* or NULL */
    const struct byre_secret *password; /* or NULL */
};

struct byre_recover_table {
    uint64_t hoff;
    uint64_t index; /* L1 index, or NOWHERE */
    uint32_t certainty;
    bool is_l1;     /* it looks like an L1 table */
    bool used;      /* ... and it was followed */
    bool by_header; /* an L1 entry leads there, whatever it looks like */
    const char *why;
};

struct byre_recover_plan {
    struct byre_store *store;
    uint64_t file_size;
    struct byre_store *data;    /* what entries of L2 tables lead to: the same, or the data file */
    uint64_t data_size, limit;  /* limit: no entry of any table leads there */
    struct byre_cipher *cipher; /* of the contents; or NULL */
    bool external, by_guest;    /* by_guest: sectors are counted in the disk, not in `data` */
    uint64_t luks_hoffs[BYRE_RECOVER_LUKS_MAX];
    unsigned luks_count;        /* clusters that look like a LUKS header */
    struct byre_qcow2_header header; /* as far as it is known */
    enum byre_recover_certainty header_known, l1_known, size_known, cluster_size_known;
    unsigned entry_size;
    VEC(struct byre_recover_table) tables; /* ascending by hoff; later by index, what is unplaced last */
    VEC(uint64_t) lost;                    /* L1 indexes that something was at */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/* Fills `plan`; release it with byre_recover_plan_done, also after a failure. */
int byre_recover_plan_make(const struct byre_recover_input *input, const struct byre_recover_options *options,
                           struct byre_recover_plan *plan, struct byre_error *err);
void byre_recover_plan_done(struct byre_recover_plan *plan);

/* Guest bytes that one L2 table maps. */
uint64_t byre_recover_span(const struct byre_recover_plan *plan);

/* recover_contents.c: where the contents are; after the header, and before anything is looked for. */
int byre_recover_contents_find(struct byre_recover_plan *plan, const struct byre_recover_input *input,
                               struct byre_error *err);
/* Makes the cipher that the header tells of, or that of a LUKS header which was found. */
int byre_recover_contents_unlock(struct byre_recover_plan *plan, const struct byre_secret *password,
                                 struct byre_error *err);
int byre_recover_contents_unlock_found(struct byre_recover_plan *plan, const struct byre_secret *password,
                                       struct byre_error *err);
/* Whole sectors of a cluster at `hoff` that the guest has at `goff`. */
int byre_recover_contents_read(const struct byre_recover_plan *plan, uint64_t hoff, uint64_t goff, uint8_t *buf,
                               size_t length);

/* recover_guess.c: finds the size of clusters by the offsets that entries have. */
int byre_recover_guess_clusters(struct byre_recover_plan *plan, struct byre_error *err);
/* recover_place.c: places the tables that were found. */
int byre_recover_place(struct byre_recover_plan *plan, struct byre_error *err);

/* May this be an entry of an L2 table?  0 is none, and may be. */
bool byre_recover_is_entry(const struct byre_recover_plan *plan, uint64_t entry, uint64_t bitmap);
/* Has a standard entry a cluster? */
bool byre_recover_has_cluster(const struct byre_recover_plan *plan, uint64_t entry);

#endif
