/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verbs, one file each.
 */
#ifndef BYRE_CLI_VERBS_H
#define BYRE_CLI_VERBS_H

#include "cli/options.h"

extern const struct byre_verb byre_verb_amend;
extern const struct byre_verb byre_verb_bench;
extern const struct byre_verb byre_verb_bitmap;
extern const struct byre_verb byre_verb_check;
extern const struct byre_verb byre_verb_compare;
extern const struct byre_verb byre_verb_convert;
extern const struct byre_verb byre_verb_cp;
extern const struct byre_verb byre_verb_create;
extern const struct byre_verb byre_verb_info;
extern const struct byre_verb byre_verb_io;
extern const struct byre_verb byre_verb_ls;
extern const struct byre_verb byre_verb_map;
extern const struct byre_verb byre_verb_recover;
extern const struct byre_verb byre_verb_resize;
extern const struct byre_verb byre_verb_snapshot;

#endif
