/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What nodes of all drivers have in common: their drivers' names, the options that each may be given, how they refer
 * to each other, and what is said of options that nobody knows.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/node.h"
#include "disk/options_tree.h"

#define NODE_NAME_MAX 31

static const struct {
    const char *name;
    bool is_protocol;
} drivers[] = {
    [BYRE_DRIVER_BLKDEBUG] = { "blkdebug", true },
    [BYRE_DRIVER_COMPRESS] = { "compress", false },
    [BYRE_DRIVER_COPY_ON_READ] = { "copy-on-read", false },
    [BYRE_DRIVER_FILE] = { "file", true },
    [BYRE_DRIVER_HOST_DEVICE] = { "host_device", true },
    [BYRE_DRIVER_LUKS] = { "luks", false },
    [BYRE_DRIVER_NBD] = { "nbd", true },
    [BYRE_DRIVER_NULL_AIO] = { "null-aio", true },
    [BYRE_DRIVER_NULL_CO] = { "null-co", true },
    [BYRE_DRIVER_QCOW2] = { "qcow2", false },
    [BYRE_DRIVER_RAW] = { "raw", false },
};

const char *byre_driver_name(enum byre_driver driver)
{
    return drivers[driver].name;
}

bool byre_driver_is_protocol(enum byre_driver driver)
{
    return drivers[driver].is_protocol;
}

int byre_driver_take(json_t *tree, enum byre_driver *ret_driver, struct byre_error *err)
{
    CLEANUP(free_ptr) char *name = NULL;
    int r = json_is_string(json_object_get(tree, "driver")) ? byre_options_take_text(tree, "driver", &name, err) : 0;

    if (r <= 0)
        return r;
    for (unsigned i = 0; i < ARRAY_LEN(drivers); i++) {
        if (strcmp(name, drivers[i].name) == 0) {
            *ret_driver = (enum byre_driver)i;
            return 1;
        }
    }
    return byre_error_set(err, -EINVAL, "Unknown driver '%s'", name);
}

/* A letter, then letters, digits, "-", "." and "_". */
static bool is_node_name(const char *name)
{
    size_t length = strlen(name);

    if (!isalpha((unsigned char)*name) || length > NODE_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)name[i]) && !strchr("-._", name[i]))
            return false;
    }
    return true;
}

static int take_node_name(json_t *tree, struct byre_error *err)
{
    CLEANUP(free_ptr) char *name = NULL;
    int r = byre_options_take_text(tree, "node-name", &name, err);

    if (r <= 0 || is_node_name(name))
        return r;
    return byre_error_set(err, -EINVAL, "Invalid node-name: '%s'", name);
}

/* The later ones of the two words that each mode has are QEMU's older spellings. */
static int take_discard(json_t *tree, bool *ret_no_discard, struct byre_error *err)
{
    CLEANUP(free_ptr) char *word = NULL;
    int r = byre_options_take_text(tree, "discard", &word, err);

    if (r <= 0)
        return r;
    if (strcmp(word, "ignore") == 0 || strcmp(word, "off") == 0)
        *ret_no_discard = true;
    else if (strcmp(word, "unmap") != 0 && strcmp(word, "on") != 0)
        return byre_error_set(err, -EINVAL, "Invalid discard option");
    return 1;
}

static int take_detect_zeroes(json_t *tree, struct byre_node_common *common, struct byre_error *err)
{
    static const char *const words[] = { "off", "on", "unmap", NULL };
    int i = BYRE_DETECT_ZEROES_OFF, r = byre_options_take_word(tree, "detect-zeroes", words, &i, err);

    if (r < 0)
        return r;
    common->detect_zeroes = (enum byre_detect_zeroes)i;
    if (i == BYRE_DETECT_ZEROES_UNMAP && common->no_discard)
        return byre_error_set(err, -EINVAL, "setting detect-zeroes to unmap is not allowed without setting discard "
                              "operation to unmap");
    return 0;
}

static int check_mode(const struct byre_node_mode *mode, bool read_only, struct byre_error *err)
{
    if (mode->writable && mode->force_share)
        return byre_error_set(err, -EINVAL, "force-share=on can only be used with read-only images");
    if (mode->writable && read_only)
        return byre_error_set(err, -EACCES, "Block node is read-only");
    if (mode->depth > BYRE_OPTIONS_DEPTH_MAX)
        return byre_error_set(err, -EINVAL, "block nodes stand on each other more than %d deep",
                              BYRE_OPTIONS_DEPTH_MAX);
    return 0;
}

int byre_node_take_common(json_t *tree, const struct byre_node_mode *inherited, struct byre_node_mode *ret_mode,
                          struct byre_node_common *ret_common, struct byre_error *err)
{
    struct byre_node_mode mode = *inherited;
    struct byre_node_common common = { .no_discard = false };
    bool read_only = false, automatic;
    const struct {
        const char *key;
        bool *value;
    } bools[] = {
        { "read-only", &read_only },       { "auto-read-only", &automatic }, { "cache.direct", &mode.direct },
        { "cache.no-flush", &mode.no_flush }, { "force-share", &mode.force_share },
    };
    int r = take_node_name(tree, err);

    for (unsigned i = 0; r >= 0 && i < ARRAY_LEN(bools); i++)
        r = byre_options_take_bool(tree, bools[i].key, bools[i].value, err);
    if (r >= 0)
        r = take_discard(tree, &common.no_discard, err);
    if (r >= 0)
        r = take_detect_zeroes(tree, &common, err);
    if (r >= 0)
        r = check_mode(&mode, read_only, err);
    if (r < 0)
        return r;
    mode.depth++;
    *ret_mode = mode;
    *ret_common = common;
    return 0;
}

int byre_node_take_child(json_t *tree, const char *key, json_t **ret_branch, struct byre_error *err)
{
    CLEANUP(free_ptr) char *reference = NULL;
    CLEANUP(tree) json_t *branch = NULL;
    int r = byre_options_take_text(tree, key, &reference, err), there;

    if (r < 0)
        return r;
    there = byre_options_take_branch(tree, key, &branch, err);
    if (there < 0)
        return there;
    if (reference && there)
        return byre_error_set(err, -EINVAL, "Cannot reference an existing block device with additional options or a "
                              "new filename");
    if (reference)
        return byre_error_set(err, -EINVAL, "Cannot find device='%s' nor node-name='%s'", reference, reference);
    if (!there)
        return byre_error_set(err, -EINVAL, "A block device must be specified for \"%s\"", key);
    *ret_branch = STEAL(branch);
    return 0;
}

int byre_node_refuse_rest(const json_t *tree, enum byre_driver driver, struct byre_error *err)
{
    const char *key = byre_options_left(tree);

    if (!key)
        return json_object_size(tree) ? byre_error_set_errno(err, -ENOMEM, "options") : 0;
    if (byre_driver_is_protocol(driver))
        return byre_error_set(err, -EINVAL, "Block protocol '%s' doesn't support the option '%s'",
                              byre_driver_name(driver), key);
    return byre_error_set(err, -EINVAL, "Block format '%s' does not support the option '%s'",
                          byre_driver_name(driver), key);
}

json_t *byre_node_show(enum byre_driver driver, const char *key, const struct byre_node *child)
{
    json_t *object = json_object();

    if (!object || json_object_set_new(object, "driver", json_string(byre_driver_name(driver))) < 0 ||
        (child && json_object_set(object, key, child->full) < 0)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

int byre_node_take_shown(json_t *tree, const char *key, struct byre_node *node, char **ret_text, struct byre_error *err)
{
    int r = byre_options_take_text(tree, key, ret_text, err);

    if (r <= 0)
        return r;
    free(node->exact);
    node->exact = NULL;
    if (json_object_set_new(node->full, key, json_string(*ret_text)) < 0)
        return byre_error_set_errno(err, -ENOMEM, "options");
    return 0;
}

char *byre_node_name(const struct byre_node *node)
{
    return node->exact ? strdup(node->exact) : byre_options_print(node->full);
}

void byre_node_done(struct byre_node *node)
{
    byre_store_close(node->store);
    json_decref(node->full);
    free(node->exact);
    free(node->path);
    *node = (struct byre_node){ .store = NULL };
}
