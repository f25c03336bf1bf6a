/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * info.json.
 */
#include "config.h"

#include "fuse/info_text.h"

#include "byre/info.h"
#include "cli/info_print.h"
#include "cli/json.h"

int byre_info_text(const char *name, const char *format, bool force_share, const struct byre_secrets *secrets,
                   char **ret_text, size_t *ret_length, struct byre_error *err)
{
    struct byre_info info;
    int rc = byre_info_read_as(name, format, force_share, secrets, &info, err);

    if (rc < 0)
        return rc;
    *ret_text = byre_json_to_text(byre_info_to_json(&info), ret_length);
    byre_info_done(&info);
    return 0;
}
