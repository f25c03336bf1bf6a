/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes, cache modes and output formats on the command line.
 */
#include "config.h"

#include "cli/arguments.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "cli/message.h"

int byre_argument_size(const char *what, const char *text, uint64_t *ret_size)
{
    int r = byre_size_parse(text, 'B', ret_size);

    if (r == -ERANGE)
        byre_complain("Invalid %s specified. Must be between 0 and %" PRId64 ".", what, INT64_MAX);
    else if (r < 0) {
        byre_complain("Invalid %s specified. You may use k, M, G, T, P or E suffixes for", what);
        byre_complain("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
    }
    return r < 0 ? -1 : 0;
}

int byre_argument_size_value(const char *name, const char *text, uint64_t *ret_size, struct byre_error *err)
{
    int r = byre_size_parse(text, 'B', ret_size);

    if (r == 0)
        return 0;
    if (r == -ERANGE)
        return byre_error_set(err, -EINVAL, "Value '%s' is out of range for parameter '%s'", text, name);
    byre_error_set(err, -EINVAL, "Parameter '%s' expects a non-negative number below 2^64", name);
    byre_error_hint(err, "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                         "and exabytes, respectively.");
    return -EINVAL;
}

int byre_argument_number(const char *what, const char *text, int base, unsigned most, unsigned *ret_number)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, base);
    if (errno || *text < '0' || *text > '9' || *end || number > most) {
        byre_complain("Invalid %s '%s'", what, text);
        return -1;
    }
    *ret_number = (unsigned)number;
    return 0;
}

int byre_argument_cache(const char *what, const char *text, enum byre_cache *ret_cache)
{
    static const struct {
        const char *name;
        enum byre_cache cache;
    } modes[] = {
        { "none", BYRE_CACHE_NONE },
        { "off", BYRE_CACHE_NONE },
        { "writeback", BYRE_CACHE_WRITEBACK },
        { "unsafe", BYRE_CACHE_UNSAFE },
        { "writethrough", BYRE_CACHE_WRITETHROUGH },
        { "directsync", BYRE_CACHE_DIRECTSYNC },
    };

    if (!text)
        return 0;
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(text, modes[i].name) != 0)
            continue;
        *ret_cache = modes[i].cache;
        return 0;
    }
    byre_complain("Invalid %s option: %s", what, text);
    return -1;
}

int byre_argument_source_cache(const char *text, enum byre_cache *ret_cache)
{
    return byre_argument_cache("source cache", text, ret_cache);
}

bool byre_argument_format_known(const char *format)
{
    return strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0 || strcmp(format, "luks") == 0;
}

int byre_argument_output(const char *text, bool *ret_json)
{
    if (!text)
        return 0;
    if (strcmp(text, "json") != 0 && strcmp(text, "human") != 0) {
        byre_complain("--output must be used with human or json as argument.");
        return -1;
    }
    *ret_json = strcmp(text, "json") == 0;
    return 0;
}

int byre_argument_allow_backing(const char *text, bool *ret_protocol)
{
    if (strcmp(text, "protocol") != 0) {
        byre_complain("--allow-backing must be used with protocol as argument.");
        return -1;
    }
    *ret_protocol = true;
    return 0;
}

bool byre_argument_protocol_backing(bool allowed)
{
    return allowed || byre_program_is_qemu();
}

int byre_argument_image(const char *text, bool image_opts, const char *format, char **ret_name)
{
    static const char prefix[] = "image-opts:";
    size_t size = sizeof prefix + strlen(text);
    char *name;

    if (image_opts && format) {
        byre_complain("--image-opts and --format are mutually exclusive");
        return -1;
    }
    name = malloc(size);
    if (!name)
        byre_die_no_memory();
    snprintf(name, size, "%s%s", image_opts ? prefix : "", text);
    *ret_name = name;
    return 0;
}

int byre_argument_open(const char *text, bool image_opts, const struct byre_open_options *options,
                       struct byre_disk **ret_disk)
{
    struct byre_error err = BYRE_ERROR_INIT;
    CLEANUP(free_ptr) char *name = NULL;

    if (byre_argument_image(text, image_opts, options->format, &name) < 0)
        return -1;
    if (byre_open(name, options, ret_disk, &err) == 0)
        return 0;
    byre_complain_open(&err, text);
    return -1;
}
