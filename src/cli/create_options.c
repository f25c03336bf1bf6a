/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of format options and the reading of -o lists.  The table is in the order in which the
 * "Formatting" line shows the options.
 */
#include "config.h"

#include "cli/create_options.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"

enum option_type { TYPE_TEXT, TYPE_SIZE, TYPE_NUMBER, TYPE_BOOL };

#define RAW 1u
#define QCOW2 2u
#define LUKS 4u

struct format_option {
    const char *name;
    enum option_type type;
    unsigned formats;          /* that have it as an option of the format */
    unsigned file_formats;     /* that have it only because the image is a file */
    const char *default_text;  /* NULL: unset */
    const char *only;          /* the one value that is accepted: the feature is not supported; "": none is */
    const char *help;          /* NULL: refused apart from `only`, and not listed */
};

static const struct format_option table[] = {
    { "encryption", TYPE_BOOL, QCOW2, 0, NULL, "off", NULL },
    { "encrypt.format", TYPE_TEXT, QCOW2, 0, NULL, NULL, "Encrypt the image, format choices: 'luks'" },
    { "encrypt.key-secret", TYPE_TEXT, QCOW2, 0, NULL, NULL, "ID of secret providing the LUKS passphrase" },
    { "encrypt.cipher-alg", TYPE_TEXT, QCOW2, 0, NULL, NULL, "Name of encryption cipher algorithm" },
    { "encrypt.cipher-mode", TYPE_TEXT, QCOW2, 0, NULL, NULL, "Name of encryption cipher mode" },
    { "encrypt.ivgen-alg", TYPE_TEXT, QCOW2, 0, NULL, NULL, "Name of IV generator algorithm" },
    { "encrypt.ivgen-hash-alg", TYPE_TEXT, QCOW2, 0, NULL, NULL, "Name of IV generator hash algorithm" },
    { "encrypt.hash-alg", TYPE_TEXT, QCOW2, 0, NULL, NULL, "Name of encryption hash algorithm" },
    { "encrypt.iter-time", TYPE_NUMBER, QCOW2, 0, NULL, NULL, "Time to spend in PBKDF in milliseconds" },
    { "cluster_size", TYPE_SIZE, QCOW2, 0, "65536", NULL, "qcow2 cluster size" },
    { "extended_l2", TYPE_BOOL, QCOW2, 0, "off", NULL, "Extended L2 tables" },
    { "preallocation", TYPE_TEXT, QCOW2, 0, NULL, NULL,
      "Preallocation mode (allowed values: off, metadata, falloc, full)" },
    { "compression_type", TYPE_TEXT, QCOW2, 0, "zlib", NULL,
      "Compression method used for image cluster compression" },
    { "size", TYPE_SIZE, RAW | QCOW2 | LUKS, 0, NULL, NULL, "Virtual disk size" },
    { "key-secret", TYPE_TEXT, LUKS, 0, NULL, NULL, "ID of the secret that provides the keyslot passphrase" },
    { "cipher-alg", TYPE_TEXT, LUKS, 0, NULL, NULL, "Name of encryption cipher algorithm" },
    { "cipher-mode", TYPE_TEXT, LUKS, 0, NULL, NULL, "Name of encryption cipher mode" },
    { "ivgen-alg", TYPE_TEXT, LUKS, 0, NULL, NULL, "Name of IV generator algorithm" },
    { "ivgen-hash-alg", TYPE_TEXT, LUKS, 0, NULL, NULL, "Name of IV generator hash algorithm" },
    { "hash-alg", TYPE_TEXT, LUKS, 0, NULL, NULL, "Name of encryption hash algorithm" },
    { "iter-time", TYPE_NUMBER, LUKS, 0, NULL, NULL, "Time to spend in PBKDF in milliseconds" },
    { "compat", TYPE_TEXT, QCOW2, 0, NULL, NULL, "Compatibility level (v2 [0.10] or v3 [1.1])" },
    { "backing_file", TYPE_TEXT, QCOW2, 0, NULL, NULL, "File name of a base image" },
    { "backing_fmt", TYPE_TEXT, QCOW2, 0, NULL, NULL, "Image format of the base image" },
    { "data_file", TYPE_TEXT, QCOW2, 0, NULL, NULL, "File name of an external data file" },
    { "data_file_raw", TYPE_BOOL, QCOW2, 0, NULL, NULL, "The external data file must stay valid as a raw image" },
    { "keep_data_file", TYPE_BOOL, QCOW2, 0, NULL, NULL, "The external data file is there, and keeps its contents" },
    { "lazy_refcounts", TYPE_BOOL, QCOW2, 0, "off", NULL, "Postpone refcount updates" },
    { "refcount_bits", TYPE_NUMBER, QCOW2, 0, "16", NULL, "Width of a reference count entry in bits" },
    { "preallocation", TYPE_TEXT, 0, RAW | LUKS, NULL, NULL,
      "Preallocation mode (allowed values: off, falloc, full)" },
    { "nocow", TYPE_BOOL, 0, RAW | QCOW2 | LUKS, NULL, "off", NULL },
    { "extent_size_hint", TYPE_SIZE, 0, RAW | QCOW2 | LUKS, NULL, "0", NULL },
};

_Static_assert(ARRAY_LEN(table) <= BYRE_CREATE_VALUES_MAX, "room for every option");

static unsigned format_bit(const char *format)
{
    return strcmp(format, "qcow2") == 0 ? QCOW2 : strcmp(format, "luks") == 0 ? LUKS : RAW;
}

/* The index in the table, or -1. */
static int find_option(const char *format, const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(table); i++)
        if (((table[i].formats | table[i].file_formats) & format_bit(format)) &&
            strcmp(table[i].name, name) == 0)
            return (int)i;
    return -1;
}

char *byre_option_list_take(const char **list)
{
    const char *p = *list;
    bool in_value = false;
    char *member, *out;

    if (!p || !*p)
        return NULL;
    member = out = malloc(strlen(p) + 1);
    if (!member)
        byre_die_no_memory();
    while (*p && !(p[0] == ',' && (!in_value || p[1] != ','))) {
        in_value |= *p == '=';
        if (*p == ',')
            p++;
        *out++ = *p++;
    }
    *out = '\0';
    *list = *p ? p + 1 : p;
    return member;
}

/* An empty first or last member cannot be told from the end of the list. */
static bool list_is_valid(const char *list)
{
    size_t n = strlen(list), commas = 0;

    while (commas < n && list[n - 1 - commas] == ',')
        commas++;
    return n && list[0] != ',' && commas % 2 == 0;
}

int byre_option_list_append(char **list, const char *argument)
{
    size_t old = *list ? strlen(*list) + 1 : 0;
    char *joined;

    if (!list_is_valid(argument))
        return byre_complain("Invalid option list: %s", argument);
    joined = realloc(*list, old + strlen(argument) + 1);
    if (!joined)
        byre_die_no_memory();
    if (old)
        joined[old - 1] = ',';
    strcpy(joined + old, argument);
    *list = joined;
    return 0;
}

bool byre_option_list_wants_help(const char *list)
{
    char *member;
    bool help = false;

    while (!help && (member = byre_option_list_take(&list))) {
        help = strcmp(member, "help") == 0 || strcmp(member, "?") == 0;
        free(member);
    }
    return help;
}

int byre_option_number(const char *name, const char *text, uint64_t *ret, struct byre_error *err)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 0);
    if (end == text || *end)
        return byre_error_set(err, -EINVAL, "Parameter '%s' expects a number", name);
    if (errno == ERANGE)
        return byre_error_set(err, -EINVAL, "Value '%s' is too large for parameter '%s'", text, name);
    return 0;
}

int byre_option_bool(const char *name, const char *text, uint64_t *ret, struct byre_error *err)
{
    static const char *const words[2][4] = { { "off", "no", "false", "n" }, { "on", "yes", "true", "y" } };

    for (unsigned value = 0; value < 2; value++) {
        for (unsigned i = 0; i < 4; i++) {
            if (strcmp(text, words[value][i]) == 0) {
                *ret = value;
                return 0;
            }
        }
    }
    return byre_error_set(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
}

static int parse_value(const struct format_option *option, const char *text, uint64_t *ret,
                       struct byre_error *err)
{
    *ret = 0;
    switch (option->type) {
    case TYPE_TEXT:
        return 0;
    case TYPE_SIZE:
        return byre_argument_size_value(option->name, text, ret, err);
    case TYPE_NUMBER:
        return byre_option_number(option->name, text, ret, err);
    case TYPE_BOOL:
        return byre_option_bool(option->name, text, ret, err);
    }
    return 0;
}

static void put(struct byre_create_values *values, int i, const char *text, uint64_t number)
{
    char *copy = strdup(text);

    if (!copy)
        byre_die_no_memory();
    free(values->value[i].text);
    values->value[i].text = copy;
    values->value[i].number = number;
    values->value[i].set = true;
}

static int set_value(struct byre_create_values *values, int i, const char *text, struct byre_error *err)
{
    const struct format_option *option = &table[i];
    uint64_t number, accepted;
    int r = parse_value(option, text, &number, err);

    if (r < 0)
        return r;
    if (option->only) {
        bool same =
            parse_value(option, option->only, &accepted, NULL) == 0 && *option->only && accepted == number;

        if (!same)
            return byre_error_set(err, -ENOTSUP, "Option '%s=%s' is not supported", option->name, text);
    }
    put(values, i, text, number);
    return 0;
}

void byre_create_values_init(struct byre_create_values *values, const char *format)
{
    memset(values, 0, sizeof *values);
    values->format = format;
    for (int i = 0; i < (int)ARRAY_LEN(table); i++) {
        uint64_t number;
        int r;

        if (!table[i].default_text || !(table[i].formats & format_bit(format)))
            continue;
        r = parse_value(&table[i], table[i].default_text, &number, NULL);
        assert(r == 0);
        (void)r;
        put(values, i, table[i].default_text, number);
    }
}

void byre_create_values_done(struct byre_create_values *values)
{
    for (unsigned i = 0; i < ARRAY_LEN(table); i++)
        free(values->value[i].text);
}

/* A member without '=' is a switch: "lazy_refcounts" is on, "nolazy_refcounts" is off. */
static int parse_member(struct byre_create_values *values, char *member, struct byre_error *err)
{
    char *equals = strchr(member, '=');
    const char *name = member, *text = "on";
    int i;

    if (equals) {
        *equals = '\0';
        text = equals + 1;
    }
    if (!equals && strncmp(name, "no", 2) == 0) {
        name += 2;
        text = "off";
    }
    i = find_option(values->format, name);
    if (i < 0)
        return byre_error_set(err, -EINVAL, "Invalid parameter '%s'", name);
    return set_value(values, i, text, err);
}

int byre_create_values_parse(struct byre_create_values *values, const char *list, struct byre_error *err)
{
    char *member;
    int r = 0;

    while (r == 0 && (member = byre_option_list_take(&list))) {
        r = parse_member(values, member, err);
        free(member);
    }
    return r;
}

bool byre_create_values_set_text(struct byre_create_values *values, const char *name, const char *text)
{
    int i = find_option(values->format, name);

    if (i >= 0)
        put(values, i, text, 0);
    return i >= 0;
}

bool byre_create_values_set_number(struct byre_create_values *values, const char *name, uint64_t number)
{
    int i = find_option(values->format, name);
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, number);
    if (i >= 0)
        put(values, i, text, number);
    return i >= 0;
}

const char *byre_create_values_text(const struct byre_create_values *values, const char *name)
{
    int i = find_option(values->format, name);

    return i >= 0 && values->value[i].set ? values->value[i].text : NULL;
}

bool byre_create_values_number(const struct byre_create_values *values, const char *name,
                               uint64_t *ret_number)
{
    int i = find_option(values->format, name);

    if (i < 0 || !values->value[i].set)
        return false;
    *ret_number = values->value[i].number;
    return true;
}

static void print_text(const char *text)
{
    for (; *text; text++) {
        if (*text == ',')
            putchar(',');
        putchar(*text);
    }
}

void byre_create_values_print(const struct byre_create_values *values, const char *name)
{
    printf("Formatting '%s', fmt=%s", name, values->format);
    for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
        if (!values->value[i].set)
            continue;
        printf(" %s=", table[i].name);
        if (table[i].type == TYPE_SIZE || table[i].type == TYPE_NUMBER)
            printf("%" PRId64, (int64_t)values->value[i].number);
        else
            print_text(values->value[i].text);
    }
    putchar('\n');
    fflush(stdout);
}

/* The options of encryption, which qcow2 has under other names than luks. */
static void apply_encryption(const struct byre_create_values *values, struct byre_encrypt_options *options)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {
        { "encrypt.format", &options->format },
        { "encrypt.key-secret", &options->key_secret },
        { "encrypt.cipher-alg", &options->cipher_alg },
        { "encrypt.cipher-mode", &options->cipher_mode },
        { "encrypt.ivgen-alg", &options->ivgen_alg },
        { "encrypt.ivgen-hash-alg", &options->ivgen_hash_alg },
        { "encrypt.hash-alg", &options->hash_alg },
    };
    size_t prefix = strcmp(values->format, "luks") == 0 ? strlen("encrypt.") : 0;
    uint64_t iter_time;

    for (unsigned i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i].text = byre_create_values_text(values, texts[i].name + prefix);
    /* The library takes 0 for "the default"; here it means the least there is. */
    if (byre_create_values_number(values, "encrypt.iter-time" + prefix, &iter_time))
        options->iter_time = iter_time ? iter_time : 1;
}

int byre_create_values_apply(const struct byre_create_values *values, struct byre_create_options *ret_options,
                             struct byre_error *err)
{
    uint64_t cluster_size = 0, refcount_bits = 0, lazy = 0, raw = 0, keep = 0, extended = 0;
    const char *backing_format = byre_create_values_text(values, "backing_fmt");

    memset(ret_options, 0, sizeof *ret_options);
    if (backing_format && !byre_argument_format_known(backing_format))
        return byre_error_set(err, -EINVAL, "Parameter 'backing-fmt' does not accept value '%s'",
                              backing_format);
    /* The library takes 0 for "the default"; here it was written down. */
    if (byre_create_values_number(values, "cluster_size", &cluster_size) &&
        (cluster_size == 0 || cluster_size > UINT32_MAX))
        return byre_error_set(err, -EINVAL, "Cluster size must be a power of two between 512 and 2048k");
    if (byre_create_values_number(values, "refcount_bits", &refcount_bits) &&
        (refcount_bits == 0 || refcount_bits > 64))
        return byre_error_set(err, -EINVAL,
                              "Refcount width must be a power of two and may not exceed 64 bits");
    byre_create_values_number(values, "lazy_refcounts", &lazy);
    byre_create_values_number(values, "data_file_raw", &raw);
    byre_create_values_number(values, "keep_data_file", &keep);
    byre_create_values_number(values, "extended_l2", &extended);
    byre_create_values_number(values, "size", &ret_options->size);
    ret_options->format = values->format;
    ret_options->cluster_size = (uint32_t)cluster_size;
    ret_options->refcount_bits = (unsigned)refcount_bits;
    ret_options->lazy_refcounts = lazy != 0;
    ret_options->extended_l2 = extended != 0;
    ret_options->compat = byre_create_values_text(values, "compat");
    ret_options->compression_type = byre_create_values_text(values, "compression_type");
    ret_options->preallocation = byre_create_values_text(values, "preallocation");
    ret_options->backing_name = byre_create_values_text(values, "backing_file");
    ret_options->backing_format = backing_format;
    ret_options->data_file = byre_create_values_text(values, "data_file");
    ret_options->data_file_raw = raw != 0;
    ret_options->keep_data_file = keep != 0;
    ret_options->secrets = byre_objects_secrets();
    apply_encryption(values, &ret_options->encrypt);
    return 0;
}

static int compare_by_name(const void *a, const void *b)
{
    return strcmp((*(const struct format_option *const *)a)->name,
                  (*(const struct format_option *const *)b)->name);
}

void byre_create_options_help(const char *format, bool with_file)
{
    static const char *const types[] = { "<str>", "<size>", "<num>", "<bool (on/off)>" };
    const struct format_option *shown[ARRAY_LEN(table)];
    unsigned n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].help &&
            ((table[i].formats | (with_file ? table[i].file_formats : 0)) & format_bit(format)))
            shown[n++] = &table[i];
    qsort(shown, n, sizeof shown[0], compare_by_name);
    if (with_file)
        printf("Supported options:\n");
    else
        printf("Supported %s options:\n", format);
    for (unsigned i = 0; i < n; i++) {
        char left[64];

        snprintf(left, sizeof left, "%s=%s", shown[i]->name, types[shown[i]->type]);
        printf("  %-22s - %s\n", left, shown[i]->help);
    }
    if (!with_file)
        printf("\nThe protocol level may support further options.\n"
               "Specify the target filename to include those options.\n");
}

void byre_create_options_dump(const char *verb)
{
    for (unsigned i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].help && table[i].formats)
            printf("%s -o %s\n", verb, table[i].name);
}
