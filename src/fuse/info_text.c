/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * info.json.
 */
#include "config.h"

#include "fuse/info_text.h"

#include "byre/info.h"
#include "cli/info_print.h"
#include "cli/json.h"

int byre_info_text(struct byre_disk *disk, unsigned layer, char **ret_text, size_t *ret_length, struct byre_error *err)
{
    struct byre_info info;
    int rc = byre_info_of_layer(disk, layer, &info, err);

    if (rc < 0)
        return rc;
    *ret_text = byre_json_to_text(byre_info_to_json(&info), ret_length);
    byre_info_done(&info);
    return 0;
}
