/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arguments that several verbs read in the same way, with the same complaints.
 */
#ifndef BYRE_CLI_ARGUMENTS_H
#define BYRE_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/disk.h"

/*
 * Each returns 0, or -1 after it has complained; results are written on success only.  As in qemu-img, sizes
 * are read as the options come; cache modes and the output format are read after the last option, so that the
 * last one of several counts, and after the operands were counted.
 */

/* A size in bytes, with qemu-img's suffixes; `what` names it in the complaint: "image size". */
int byre_argument_size(const char *what, const char *text, uint64_t *ret_size);

/* The value of an option `name` that is a size; it does not complain, but fills `err`. */
int byre_argument_size_value(const char *name, const char *text, uint64_t *ret_size, struct byre_error *err);

/* A whole number of at most `most`, written to that base; `what` names it in the complaint: "port". */
int byre_argument_number(const char *what, const char *text, int base, unsigned most, unsigned *ret_number);

/* A cache mode for what may be written to; `what` names it: "cache".  NULL text changes nothing. */
int byre_argument_cache(const char *what, const char *text, enum byre_cache *ret_cache);

/* The same for what is only read: "source cache". */
int byre_argument_source_cache(const char *text, enum byre_cache *ret_cache);

/* Whether images of this format can be made. */
bool byre_argument_format_known(const char *format);

/* The argument of --output: "human" or "json"; NULL changes nothing. */
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

/* Opens the image that such an operand names. */
int byre_argument_open(const char *text, bool image_opts, const struct byre_open_options *options,
                       struct byre_disk **ret_disk);

#endif
