/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What names say: the short forms of protocols, as option trees.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/name.h"
#include "disk/disk.h"
#include "disk/nbd_name.h"
#include "disk/options_tree.h"

static int read_protocol(const char *name, unsigned depth, json_t **ret_tree, struct byre_error *err);

/* What follows "PROTOCOL:" in the name, or NULL. */
static const char *after(const char *name, const char *protocol)
{
    size_t length = strlen(protocol);

    return strncmp(name, protocol, length) == 0 && name[length] == ':' ? name + length + 1 : NULL;
}

/* Without a driver the path decides: a file, or a device. */
static int add_file(json_t *tree, const char *driver, const char *path, struct byre_error *err)
{
    CLEANUP(free_ptr) char *name = byre_name_of_path(path);
    int r = name ? 0 : byre_error_set_errno(err, -ENOMEM, "options");

    if (r == 0 && driver)
        r = byre_options_add_text(tree, "driver", driver, err);
    return r < 0 ? r : byre_options_add_text(tree, "filename", name, err);
}

int byre_options_add_branch(json_t *tree, const char *key, const json_t *branch, struct byre_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)branch, name, value) {
        char path[BYRE_OPTIONS_KEY_MAX + 1];

        if (strlen(key) + 1 + strlen(name) >= sizeof path)
            return byre_error_set(err, -EINVAL, "the option '%s.%.32s...' has a name of more than %u bytes", key,
                                  name, BYRE_OPTIONS_KEY_MAX);
        strcat(strcat(strcpy(path, key), "."), name);
        if (json_object_set_nocheck(tree, path, value) < 0)
            return byre_error_set_errno(err, -ENOMEM, "option '%.64s'", path);
    }
    return 0;
}

/* CONFIG:NAME */
static int add_blkdebug(json_t *tree, const char *rest, unsigned depth, struct byre_error *err)
{
    const char *colon = strchr(rest, ':');
    CLEANUP(tree) json_t *image = NULL;
    CLEANUP(free_ptr) char *config = NULL;
    int r;

    if (!colon)
        return byre_error_set(err, -EINVAL, "blkdebug requires both config file and image path");
    config = strndup(rest, (size_t)(colon - rest));
    if (!config)
        return byre_error_set_errno(err, -ENOMEM, "options");
    r = read_protocol(colon + 1, depth + 1, &image, err);
    if (r == 0)
        r = byre_options_add_text(tree, "driver", "blkdebug", err);
    if (r == 0 && *config)
        r = byre_options_add_text(tree, "config", config, err);
    return r < 0 ? r : byre_options_add_branch(tree, "image", image, err);
}

static int add_null(json_t *tree, const char *driver, const char *rest, struct byre_error *err)
{
    if (strcmp(rest, "//") != 0)
        return byre_error_set(err, -EINVAL, "The only allowed filename for this driver is '%s://'", driver);
    return byre_options_add_text(tree, "driver", driver, err);
}

static int add_name(json_t *tree, const char *name, unsigned depth, struct byre_error *err)
{
    const char *rest;

    if (depth > BYRE_OPTIONS_DEPTH_MAX)
        return byre_error_set(err, -EINVAL, "the name has more than %d names in it", BYRE_OPTIONS_DEPTH_MAX);
    if ((rest = after(name, "file")))
        return add_file(tree, "file", rest, err);
    if (!byre_name_is_protocol(name))
        return add_file(tree, NULL, name, err);
    if ((rest = after(name, "host_device")))
        return add_file(tree, "host_device", rest, err);
    if ((rest = after(name, "null-co")))
        return add_null(tree, "null-co", rest, err);
    if ((rest = after(name, "null-aio")))
        return add_null(tree, "null-aio", rest, err);
    if ((rest = after(name, "blkdebug")))
        return add_blkdebug(tree, rest, depth, err);
    if (byre_nbd_name_is(name))
        return byre_nbd_name_read(name, tree, err);
    return byre_name_check(name, err);
}

/* The tree of one node, which holds bytes. */
static int read_protocol(const char *name, unsigned depth, json_t **ret_tree, struct byre_error *err)
{
    CLEANUP(tree) json_t *tree = NULL;
    const char *json = after(name, "json");
    int r;

    if (json)
        return byre_options_read_json(json, ret_tree, err);
    tree = json_object();
    if (!tree)
        return byre_error_set_errno(err, -ENOMEM, "options");
    r = add_name(tree, name, depth, err);
    if (r == 0)
        *ret_tree = STEAL(tree);
    return r;
}

int byre_backing_check(const char *name, bool protocols, struct byre_error *err)
{
    return byre_recorded_name_check(name, "backing files", protocols, err);
}

int byre_recorded_name_check(const char *name, const char *what, bool protocols, struct byre_error *err)
{
    static const char *const known[] = { "blkdebug", "host_device", "json", "null-aio", "null-co" };
    bool is_known = byre_nbd_name_is(name);

    if (!byre_name_is_protocol(name))
        return 0;
    for (unsigned i = 0; i < ARRAY_LEN(known); i++)
        is_known |= after(name, known[i]) != NULL;
    if (!is_known)
        return byre_name_check(name, err);
    if (protocols)
        return 0;
    byre_error_set(err, -ENOTSUP, "Could not open '%s': %s can only be named by a path", name, what);
    byre_error_hint(err, "Use --allow-backing=protocol if you trust the image.");
    return -ENOTSUP;
}

int byre_options_read_node_name(const char *name, json_t **ret_tree, struct byre_error *err)
{
    return read_protocol(name, 0, ret_tree, err);
}

const char *byre_options_shown_name(const char *name)
{
    const char *list = after(name, "image-opts");

    return list ? list : name;
}

int byre_options_read_name(const char *name, json_t **ret_tree, struct byre_error *err)
{
    CLEANUP(tree) json_t *node = NULL, *tree = NULL;
    const char *list = after(name, "image-opts"), *json = after(name, "json");
    int r;

    if (list)
        return byre_options_read_list(list, ret_tree, err);
    if (json)
        return byre_options_read_json(json, ret_tree, err);
    r = read_protocol(name, 0, &node, err);
    if (r < 0)
        return r;
    tree = json_object();
    r = tree ? byre_options_add_branch(tree, "file", node, err) : byre_error_set_errno(err, -ENOMEM, "options");
    if (r == 0)
        *ret_tree = STEAL(tree);
    return r;
}
