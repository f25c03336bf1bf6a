/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arguments that several verbs read in the same way, with the same complaints.
 */
#ifndef BYRE_CLI_ARGUMENTS_H
#define BYRE_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/cache.h"

/* Each returns 0, or -1 after it has complained; results are written on success only. */

/* A size in bytes, with qemu-img's suffixes; `what` names it in the complaint: "image size". */
int byre_argument_size(const char *what, const char *text, uint64_t *ret_size);

/* A cache mode; `what` is "cache" or "source cache". */
int byre_argument_cache(const char *what, const char *text, enum byre_cache *ret_cache);

/* Whether images of this format can be made. */
bool byre_argument_format_known(const char *format);

/* The argument of --output: "human" or "json". */
int byre_argument_output(const char *text, bool *ret_json);

/* The argument of --allow-backing: what names in images may be besides paths. */
int byre_argument_allow_backing(const char *text, bool *ret_protocol);

/* May names in images that are no paths be followed?  Under a qemu-* name, always. */
bool byre_argument_protocol_backing(bool allowed);

/*
 * The name that the library takes for the operand `text` of a command with --image-opts (`image_opts`), or without.
 * -1 where a format was named as well.  Release *ret_name with free.
 */
int byre_argument_image(const char *text, bool image_opts, const char *format, char **ret_name);

#endif
