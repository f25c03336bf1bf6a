/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public check: opens the one named file, finds out its format, and has the format's checker judge it.
 * Backing files are not opened: whether they exist does not matter here.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "byre/check.h"
#include "disk/disk.h"
#include "disk/open.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "store/file.h"

#define PROBE_BYTES 512u

/* Finds the format: a static string or the caller's. */
static int find_format(struct byre_store *store, const char *wanted, const char **ret_format,
                       struct byre_error *err)
{
    uint8_t bytes[PROBE_BYTES] = { 0 };
    uint64_t size;
    int rc;

    if (wanted && !byre_format_known(wanted))
        return byre_error_set(err, -EINVAL, "Could not open '%s': Unknown driver '%s'", store->name, wanted);
    if (wanted) {
        *ret_format = wanted;
        return 0;
    }
    rc = byre_store_size(store, &size, err);
    if (rc == 0)
        rc = byre_store_pread(store, bytes, MIN(size, (uint64_t)sizeof bytes), 0, err);
    if (rc == 0)
        *ret_format = byre_probe(bytes, MIN(size, (uint64_t)sizeof bytes));
    return rc;
}

static int check_store(struct byre_store *store, const struct byre_check_options *options,
                       struct byre_check_result *ret_result, struct byre_error *err)
{
    struct byre_qcow2_header header;
    const char *format = "raw";
    int rc = find_format(store, options->format, &format, err);

    if (rc < 0)
        return rc;
    if (strcmp(format, "qcow2") != 0)
        return byre_error_set(err, -ENOTSUP, "This image format does not support checks");
    rc = byre_qcow2_header_read(store, &header, err);
    if (rc < 0)
        return rc;
    rc = byre_qcow2_check(store, &header, options->repair, options, ret_result, err);
    byre_qcow2_header_done(&header);
    return rc;
}

int byre_check(const char *name, const struct byre_check_options *options,
               struct byre_check_result *ret_result, struct byre_error *err)
{
    static const struct byre_check_options look_only;
    struct byre_file_options file_options = { .cache = BYRE_CACHE_WRITEBACK };
    struct byre_store *store;
    int rc;

    options = options ? options : &look_only;
    if (options->repair && options->force_share)
        return byre_error_set(
            err, -EINVAL, "Could not open '%s': force-share=on can only be used with read-only images", name);
    file_options.writable = options->repair != 0;
    file_options.share_write = options->force_share;
    rc = byre_file_open(name, &file_options, &store, NULL, err);
    if (rc < 0) {
        byre_disk_name_error(err, name);
        return rc;
    }
    rc = check_store(store, options, ret_result, err);
    byre_store_close(store);
    return rc;
}
