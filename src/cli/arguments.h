/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arguments that several verbs read in the same way, with the same complaints.
 */
#ifndef BYRE_CLI_ARGUMENTS_H
#define BYRE_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/cache.h"

/*
 * Each returns 0, or -1 after it has complained; results are written on success only.  As in qemu-img, sizes
 * are read as the options come; cache modes and the output format are read after the last option, so that the
 * last one of several counts, and after the operands were counted.
 */

/* A size in bytes, with qemu-img's suffixes; `what` names it in the complaint: "image size". */
int byre_argument_size(const char *what, const char *text, uint64_t *ret_size);

/* A cache mode for what may be written to; `what` names it: "cache".  NULL text changes nothing. */
int byre_argument_cache(const char *what, const char *text, enum byre_cache *ret_cache);

/* The same for what is only read: "source cache". */
int byre_argument_source_cache(const char *text, enum byre_cache *ret_cache);

/* Whether images of this format can be made. */
bool byre_argument_format_known(const char *format);

/* The argument of --output: "human" or "json"; NULL changes nothing. */
int byre_argument_output(const char *text, bool *ret_json);

#endif
