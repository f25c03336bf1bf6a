/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of the options that can be amended, in the order in which the help shows them, and the reading of lists.
 */
#include "config.h"

#include "cli/amend_options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "cli/arguments.h"
#include "cli/create_options.h"
#include "cli/message.h"

#define KEYSLOT_PREFIX "encrypt." /* that options of key slots have for qcow2 */

enum option_type { TYPE_TEXT, TYPE_SIZE, TYPE_NUMBER, TYPE_BOOL };

enum option_id {
    BACKING_FILE, BACKING_FMT, COMPAT, DATA_FILE, DATA_FILE_RAW, ITER_TIME, KEYSLOT, NEW_SECRET, OLD_SECRET, STATE,
    LAZY, REFCOUNT_BITS, SIZE,
};

struct amend_option {
    const char *name; /* of an option of key slots: without the prefix */
    enum option_id id;
    enum option_type type;
    bool keyslots;
    const char *help;
};

static const struct amend_option table[] = {
    { "backing_file", BACKING_FILE, TYPE_TEXT, false, "File name of a base image" },
    { "backing_fmt", BACKING_FMT, TYPE_TEXT, false, "Image format of the base image" },
    { "compat", COMPAT, TYPE_TEXT, false, "Compatibility level (v2 [0.10] or v3 [1.1])" },
    { "data_file", DATA_FILE, TYPE_TEXT, false, "File name of an external data file" },
    { "data_file_raw", DATA_FILE_RAW, TYPE_BOOL, false, "The external data file must stay valid as a raw image" },
    { "iter-time", ITER_TIME, TYPE_NUMBER, true, "Time to spend in PBKDF in milliseconds" },
    { "keyslot", KEYSLOT, TYPE_NUMBER, true, "Select a single keyslot to modify explicitly" },
    { "new-secret", NEW_SECRET, TYPE_TEXT, true, "New secret to set in the matching keyslots. Empty string to erase" },
    { "old-secret", OLD_SECRET, TYPE_TEXT, true, "Select all keyslots that match this password" },
    { "state", STATE, TYPE_TEXT, true, "Select new state of affected keyslots (active/inactive)" },
    { "lazy_refcounts", LAZY, TYPE_BOOL, false, "Postpone refcount updates" },
    { "refcount_bits", REFCOUNT_BITS, TYPE_NUMBER, false, "Width of a reference count entry in bits" },
    { "size", SIZE, TYPE_SIZE, false, "Virtual disk size" },
};

bool byre_amend_format_known(const char *format)
{
    return strcmp(format, "qcow2") == 0 || strcmp(format, "luks") == 0;
}

static bool is_luks(const char *format)
{
    return strcmp(format, "luks") == 0;
}

static const char *prefix_of(const struct amend_option *option, const char *format)
{
    return option->keyslots && !is_luks(format) ? KEYSLOT_PREFIX : "";
}

static bool has_option(const char *format, const struct amend_option *option)
{
    return option->keyslots || !is_luks(format);
}

static const struct amend_option *find_option(const char *format, const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
        const char *prefix = prefix_of(&table[i], format);
        size_t length = strlen(prefix);

        if (has_option(format, &table[i]) && strncmp(name, prefix, length) == 0 &&
            strcmp(name + length, table[i].name) == 0)
            return &table[i];
    }
    return NULL;
}

/* A copy that lives as long as the values. */
static const char *keep(struct byre_amend_values *values, const char *text)
{
    char **texts = realloc(values->texts, (values->text_count + 1) * sizeof *texts), *copy = strdup(text);

    if (!texts || !copy)
        byre_die_no_memory();
    values->texts = texts;
    return texts[values->text_count++] = copy;
}

static int take_keyslot(struct byre_amend_values *values, uint64_t number, struct byre_error *err)
{
    if (number > INT_MAX)
        return byre_error_set(err, -EINVAL, "Invalid keyslot %llu specified, keyslot must be between 0 and 7",
                              (unsigned long long)number);
    values->keyslots.keyslot = (int)number;
    return 0;
}

/* The library takes 0 for "as it is". */
static int take_refcount_bits(struct byre_amend_values *values, uint64_t number, struct byre_error *err)
{
    if (number == 0 || number > 64)
        return byre_error_set(err, -EINVAL, "Refcount width must be a power of two and may not exceed 64 bits");
    values->options.refcount_bits = (unsigned)number;
    return 0;
}

static int take(struct byre_amend_values *values, const struct amend_option *option, const char *text, uint64_t number,
                struct byre_error *err)
{
    struct byre_amend_options *options = &values->options;

    values->keyslots_set |= option->keyslots;
    values->others_set |= !option->keyslots;
    switch (option->id) {
    case BACKING_FILE: options->backing_name = keep(values, text); break;
    case BACKING_FMT: options->backing_format = keep(values, text); break;
    case COMPAT: options->compat = keep(values, text); break;
    case DATA_FILE: options->data_file = keep(values, text); break;
    case DATA_FILE_RAW:
        options->data_file_raw_set = true;
        options->data_file_raw = number;
        break;
    case LAZY:
        options->lazy_set = true;
        options->lazy_refcounts = number;
        break;
    case REFCOUNT_BITS: return take_refcount_bits(values, number, err);
    case SIZE:
        options->size_set = true;
        options->size = number;
        break;
    case KEYSLOT: return take_keyslot(values, number, err);
    case NEW_SECRET: values->keyslots.new_secret = keep(values, text); break;
    case OLD_SECRET: values->keyslots.old_secret = keep(values, text); break;
    case STATE: values->state = keep(values, text); break;
    /* The library takes 0 for "the default"; here it means the least there is. */
    case ITER_TIME: values->keyslots.iter_time = MAX(number, UINT64_C(1)); break;
    }
    return 0;
}

static int parse_value(const struct amend_option *option, const char *name, const char *text, uint64_t *ret_number,
                       struct byre_error *err)
{
    switch (option->type) {
    case TYPE_TEXT: break;
    case TYPE_SIZE: return byre_argument_size_value(name, text, ret_number, err);
    case TYPE_NUMBER: return byre_option_number(name, text, ret_number, err);
    case TYPE_BOOL: return byre_option_bool(name, text, ret_number, err);
    }
    return 0;
}

/* -ENOENT: there is no such option. */
static int parse_member(struct byre_amend_values *values, const char *format, char *member, struct byre_error *err)
{
    char *equals = strchr(member, '=');
    const char *name = member, *text = "on";
    const struct amend_option *option;
    uint64_t number = 0;
    int r;

    if (equals) {
        *equals = '\0';
        text = equals + 1;
    }
    if (!equals && strncmp(name, "no", 2) == 0) {
        name += 2;
        text = "off";
    }
    option = find_option(format, name);
    if (!option)
        return byre_error_set(err, -ENOENT, "Invalid parameter '%s'", name);
    r = parse_value(option, name, text, &number, err);
    return r < 0 ? r : take(values, option, text, number, err);
}

/* Would an image be made with these options? */
static bool creates(const char *format, const char *list)
{
    struct byre_create_values values;
    bool can;

    byre_create_values_init(&values, format);
    can = byre_create_values_parse(&values, list, NULL) != -EINVAL;
    byre_create_values_done(&values);
    return can;
}

int byre_amend_values_parse(const char *format, const char *list, struct byre_amend_values *ret_values,
                            struct byre_error *err)
{
    const char *rest = list;
    char *member;
    int r = 0;

    *ret_values = (struct byre_amend_values){ .keyslots.keyslot = -1 };
    while (r == 0 && (member = byre_option_list_take(&rest))) {
        r = parse_member(ret_values, format, member, err);
        free(member);
    }
    if (r == -ENOENT && creates(format, list))
        byre_error_hint(err, "This option is only supported for image creation");
    return r;
}

void byre_amend_values_done(struct byre_amend_values *values)
{
    for (size_t i = 0; i < values->text_count; i++)
        free(values->texts[i]);
    free(values->texts);
}

int byre_amend_values_check_state(struct byre_amend_values *values, struct byre_error *err)
{
    if (!values->state)
        return byre_error_set(err, -EINVAL, "Parameter 'state' is missing");
    values->keyslots.active = strcmp(values->state, "active") == 0;
    if (!values->keyslots.active && strcmp(values->state, "inactive") != 0)
        return byre_error_set(err, -EINVAL, "Parameter 'state' does not accept value '%s'", values->state);
    return 0;
}

void byre_amend_options_help(const char *format)
{
    static const char *const types[] = { "<str>", "<size>", "<num>", "<bool (on/off)>" };

    printf("Amend options for '%s':\n", format);
    for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
        char left[64];

        if (!has_option(format, &table[i]))
            continue;
        snprintf(left, sizeof left, "%s%s=%s", prefix_of(&table[i], format), table[i].name, types[table[i].type]);
        printf("  %-22s - %s\n", left, table[i].help);
    }
}

void byre_amend_options_dump(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].keyslots)
            printf("amend -o %s%s\n", KEYSLOT_PREFIX, table[i].name);
        printf("amend -o %s\n", table[i].name);
    }
}
