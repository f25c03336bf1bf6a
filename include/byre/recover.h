/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recovering what is left of a qcow2 image whose header, L1 table or L2 tables are destroyed: into a new image.
 */
#ifndef BYRE_RECOVER_H
#define BYRE_RECOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_secrets;

/* How sure it is that a part of the disk is what it was. */
enum byre_recover_certainty {
    BYRE_RECOVER_CERTAIN,  /* the tables that lead there are whole */
    BYRE_RECOVER_GUESSED,  /* found by what it looks like, or in part */
    BYRE_RECOVER_LOST,     /* nothing that leads there is left: reads as zero */
    BYRE_RECOVER_UNPLACED, /* a table of the image, but nobody knows of which part of the disk */
};

/* What one L2 table maps, or would map. */
struct byre_recover_part {
    uint64_t goff, length; /* goff is 0 for what is UNPLACED */
    uint64_t table_hoff;   /* the L2 table in the damaged image; 0 if there is none */
    enum byre_recover_certainty certainty;
    const char *why;          /* a static string */
    uint64_t clusters;        /* that have data */
    uint64_t broken_clusters; /* whose entries or data make no sense: they read as zero */
};

struct byre_recover_options {
    const char *format;    /* of the output: "qcow2" or "raw"; NULL: qcow2 */
    uint64_t size;         /* of the disk; 0: from the header, or as far as there is data */
    uint32_t cluster_size; /* 0: from the header, or found out */
    bool force_share;
    const char *data_file;              /* where the image has its data; NULL: in itself */
    const char *key_secret;             /* the secret that opens an encrypted image, or NULL; the output is plain */
    const struct byre_secrets *secrets; /* may be NULL where key_secret is */
    void (*part)(void *opaque, const struct byre_recover_part *part);      /* may be NULL */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);         /* may be NULL */
    void *opaque;
};

struct byre_recover_result {
    uint64_t size; /* of the disk */
    uint32_t cluster_size;
    enum byre_recover_certainty header, l1, size_known, cluster_size_known; /* CERTAIN, GUESSED or LOST */
    uint64_t certain_parts, guessed_parts, lost_parts, unplaced_tables;
    uint64_t clusters, broken_clusters; /* written to the output; that make no sense */
    char *backing_name;                 /* what the header names; the output has it, too.  Release with free */
};

/*
 * Reads the damaged image `name`, which is not changed, and writes what is left of it to the new image `output`.  0 if
 * anything was found.  -ENODATA: nothing looks like a part of an image; -EINVAL: the size of clusters, the data file or
 * the secret has to be given; -EPERM: the secret is not the image's.  Memory: 56 bytes for each L2 table, and a few
 * MiB.
 */
int byre_recover(const char *name, const char *output, const struct byre_recover_options *options,
                 struct byre_recover_result *ret_result, struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
