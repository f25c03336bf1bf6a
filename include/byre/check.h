/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking and repairing an image's metadata.  Only the named file is opened.
 */
#ifndef BYRE_CHECK_H
#define BYRE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum byre_repair {
    BYRE_REPAIR_LEAKS = 1 << 0,  /* -r leaks */
    BYRE_REPAIR_ERRORS = 1 << 1, /* with LEAKS: -r all */
};

struct byre_check_result {
    uint64_t corruptions, leaks, check_errors;     /* found, and not repaired */
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t image_end_hoff;
    uint64_t total_clusters, allocated_clusters;   /* guest clusters */
    uint64_t fragmented_clusters, compressed_clusters;
    bool statistics_valid;
};

struct byre_secrets;

struct byre_check_options {
    const char *format; /* NULL: probe */
    unsigned repair;    /* enum byre_repair; 0: look only */
    bool force_share;   /* -U, without repair */
    const struct byre_secrets *secrets; /* as in struct byre_open_options; metadata is not encrypted */
    /* Each finding as a line of text without newline, e.g. "ERROR cluster 5 refcount=0 reference=1",
     * "Leaked cluster 7 refcount=1 reference=0", "Repairing ...".  May be NULL. */
    void (*report)(void *opaque, const char *line);
    /* done of total, in any unit; may be NULL. */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/*
 * 0 if the check was carried out, whatever it found.  -ENOTSUP: the format has no check (raw).
 */
int byre_check(const char *name, const struct byre_check_options *options, struct byre_check_result *ret_result,
               struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
