/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The format options of a new image, as -o takes them: a comma separated list of name=value.
 *
 * Owns the table of the options per format, the reading of lists, the texts made from them.  Whether a value
 * makes sense for an image is the library's to say; only the type of a value is looked at here.
 */
#ifndef BYRE_CLI_CREATE_OPTIONS_H
#define BYRE_CLI_CREATE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/create.h"
#include "byre/error.h"

/* Appends the argument of one -o to `*list` (NULL at first; malloced).  Returns 0, or 1 after a complaint. */
int byre_option_list_append(char **list, const char *argument);

/* True if "help" or "?" is a member of the list; NULL is an empty list. */
bool byre_option_list_wants_help(const char *list);

/*
 * Cuts the first member off a list: up to a comma that is not doubled; before the first '=' there is no
 * doubling.  Returns it, with doubled commas made single, malloced; NULL at the end of the list.
 */
char *byre_option_list_take(const char **list);

/* The value of the option `name` as a number, or as 0 or 1 for on/off: -EINVAL in qemu-img's words. */
int byre_option_number(const char *name, const char *text, uint64_t *ret, struct byre_error *err);
int byre_option_bool(const char *name, const char *text, uint64_t *ret, struct byre_error *err);

#define BYRE_CREATE_VALUES_MAX 48

/* What was given, or defaulted, for each option of one format. */
struct byre_create_values {
    const char *format; /* "raw", "qcow2", "luks" */
    struct {
        bool set;
        uint64_t number; /* sizes, numbers, and 0 or 1 for on/off */
        char *text;      /* as it was written */
    } value[BYRE_CREATE_VALUES_MAX]; /* by index in the table */
};

/* The defaults of `format`, which is one of these. */
void byre_create_values_init(struct byre_create_values *values, const char *format);
void byre_create_values_done(struct byre_create_values *values);

/* Reads a list; later members override earlier ones.  -EINVAL, -ENOTSUP (refused by name). */
int byre_create_values_parse(struct byre_create_values *values, const char *list, struct byre_error *err);

/* Sets one option from text or a number.  False: the format has no such option. */
bool byre_create_values_set_text(struct byre_create_values *values, const char *name, const char *text);
bool byre_create_values_set_number(struct byre_create_values *values, const char *name, uint64_t number);

/* The value of a text option, NULL where none is set; whether a number is set, and what it is. */
const char *byre_create_values_text(const struct byre_create_values *values, const char *name);
bool byre_create_values_number(const struct byre_create_values *values, const char *name,
                               uint64_t *ret_number);

/* "Formatting 'NAME', fmt=qcow2 cluster_size=65536 ..." on standard output. */
void byre_create_values_print(const struct byre_create_values *values, const char *name);

/* Fills `ret_options`, which points into `values`. */
int byre_create_values_apply(const struct byre_create_values *values, struct byre_create_options *ret_options,
                             struct byre_error *err);

/* The answer to -o help: all options that a new file of `format` can have, or those of the format alone. */
void byre_create_options_help(const char *format, bool with_file);

/* One line "VERB -o NAME" for every option that is not refused. */
void byre_create_options_dump(const char *verb);

#endif
