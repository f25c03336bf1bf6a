/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public check: opens the one named file, finds out its format, and has the format's checker judge it.
 * Backing files are not opened: whether they exist does not matter here.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "byre/check.h"
#include "disk/encrypt.h"
#include "disk/node.h"
#include "disk/open.h"
#include "disk/options_tree.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"

static int check_store(struct byre_store *store, const struct byre_check_options *options,
                       struct byre_check_result *ret_result, struct byre_error *err)
{
    struct byre_qcow2_header header;
    int rc = byre_qcow2_header_read(store, &header, err);

    if (rc == -EINVAL && (options->repair & BYRE_REPAIR_ERRORS))
        rc = byre_qcow2_header_read_without_refcounts(store, &header, NULL) == 0 ? 0 : rc;
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
    struct byre_node_mode mode = { .writable = false };
    struct byre_source source;
    int rc;

    options = options ? options : &look_only;
    if (options->repair && options->force_share)
        return byre_error_set(
            err, -EINVAL, "Could not open '%s': force-share=on can only be used with read-only images", name);
    mode.writable = options->repair != 0;
    mode.force_share = options->force_share;
    mode.secrets = options->secrets;
    rc = byre_source_open_name(name, options->format, &mode, false, &source, err);
    if (rc < 0) {
        byre_disk_name_error(err, name);
        return rc;
    }
    if (source.is_qcow2 && source.qcow2.key_secret)
        rc = byre_encrypt_try(source.node.store, source.qcow2.key_secret, options->secrets, err);
    if (rc < 0)
        byre_disk_name_error(err, name);
    else if (strcmp(source.driver, "qcow2") == 0)
        rc = check_store(source.node.store, options, ret_result, err);
    else
        rc = byre_error_set(err, -ENOTSUP, "This image format does not support checks");
    byre_source_done(&source);
    return rc;
}
