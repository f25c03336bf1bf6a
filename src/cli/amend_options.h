/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The format options of an image that can be changed, as amend's -o takes them.
 */
#ifndef BYRE_CLI_AMEND_OPTIONS_H
#define BYRE_CLI_AMEND_OPTIONS_H

#include "byre/amend.h"
#include "byre/secret.h"

/* What a list asks for.  Texts are owned by it. */
struct byre_amend_values {
    struct byre_amend_options options;
    bool keyslots_set; /* one of the options of key slots was given */
    bool others_set;   /* another one was */
    const char *state; /* NULL: was not given */
    struct byre_keyslot_change keyslots; /* but for `active` and `force` */
    char **texts;
    size_t text_count;
};

/* Can images of this format be amended at all? */
bool byre_amend_format_known(const char *format);

/*
 * Reads a list of options of `format`, which can be amended.  -EINVAL in qemu-img's words.  Release with
 * byre_amend_values_done, also where it fails.
 */
int byre_amend_values_parse(const char *format, const char *list, struct byre_amend_values *ret_values,
                            struct byre_error *err);
void byre_amend_values_done(struct byre_amend_values *values);

/* Fills in whether key slots are to be made active: -EINVAL unless `state` says it. */
int byre_amend_values_check_state(struct byre_amend_values *values, struct byre_error *err);

/* The answer to -o help. */
void byre_amend_options_help(const char *format);

/* One line "amend -o NAME" for every option. */
void byre_amend_options_dump(void);

#endif
