/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The node at the top of an image: filters, then a format or a protocol, then what that stands on.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/node.h"
#include "disk/options_tree.h"

/* A source that is being opened. */
struct opening {
    struct byre_source *source;
    json_t *tree;                /* what is left of the options of the node at hand; owned */
    struct byre_node_mode mode;
    json_t *filters;             /* the names of the filters, outermost first; owned */
    enum byre_driver outermost;  /* of the filters */
    bool backing;
};

void byre_source_done(struct byre_source *source)
{
    byre_node_done(&source->node);
    free(source->file_name);
    json_decref(source->qcow2.backing);
    json_decref(source->qcow2.data_file);
    free(source->qcow2.crypt_format);
    free(source->qcow2.key_secret);
    free(source->key_secret);
    *source = (struct byre_source){ .driver = NULL };
}

static int no_memory(struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "options");
}

/* --- filters ---------------------------------------------------------------------------------------------- */

static int take_copy_on_read(struct opening *opening, struct byre_error *err)
{
    CLEANUP(free_ptr) char *bottom = NULL;
    int r = byre_options_take_text(opening->tree, "bottom", &bottom, err);

    if (r < 0)
        return r;
    if (bottom)
        return byre_error_set(err, -EINVAL, "Bottom node '%s' not found", bottom);
    if (!opening->mode.writable)
        return byre_error_set(err, -EACCES, "Block node is read-only");
    opening->source->copy_on_read = true;
    return 0;
}

/* Goes on to the node that the filter stands on. */
static int enter_filter(struct opening *opening, enum byre_driver driver, struct byre_error *err)
{
    json_t *branch;
    int r = byre_node_take_child(opening->tree, "file", &branch, err);

    if (r < 0)
        return r;
    if (driver == BYRE_DRIVER_COPY_ON_READ)
        r = take_copy_on_read(opening, err);
    if (r == 0)
        r = byre_node_refuse_rest(opening->tree, driver, err);
    json_decref(opening->tree);
    opening->tree = branch;
    if (r < 0)
        return r;
    if (driver == BYRE_DRIVER_COMPRESS)
        opening->source->compress = true;
    if (json_array_size(opening->filters) == 0)
        opening->outermost = driver;
    if (json_array_append_new(opening->filters, json_string(byre_driver_name(driver))) < 0)
        return no_memory(err);
    return 0;
}

/* Takes the driver and the common options of the node at hand: 0 if it has no driver, which is to be probed. */
static int take_head(struct opening *opening, enum byre_driver *ret_driver, struct byre_error *err)
{
    struct byre_node_common common, *all = &opening->source->common;
    int named = byre_driver_take(opening->tree, ret_driver, err);
    int r = named < 0 ? named : byre_node_take_common(opening->tree, &opening->mode, &opening->mode, &common, err);

    if (r < 0)
        return r;
    all->detect_zeroes = MAX(all->detect_zeroes, common.detect_zeroes);
    all->no_discard |= common.no_discard;
    return named;
}

static int take_filters(struct opening *opening, enum byre_driver *ret_driver, struct byre_error *err)
{
    int named = take_head(opening, ret_driver, err);

    while (named > 0 && (*ret_driver == BYRE_DRIVER_COPY_ON_READ || *ret_driver == BYRE_DRIVER_COMPRESS)) {
        int r = enter_filter(opening, *ret_driver, err);

        named = r < 0 ? r : take_head(opening, ret_driver, err);
    }
    return named;
}

/* Shows the filters around what the node shows. */
static int show_filters(struct opening *opening, struct byre_error *err)
{
    struct byre_node *node = &opening->source->node;
    size_t count = json_array_size(opening->filters);

    for (size_t i = count; i-- > 0;) {
        json_t *shown = json_object();

        if (!shown || json_object_set(shown, "driver", json_array_get(opening->filters, i)) < 0 ||
            json_object_set(shown, "file", node->full) < 0) {
            json_decref(shown);
            return no_memory(err);
        }
        json_decref(node->full);
        node->full = shown;
    }
    if (count) {
        free(node->exact);
        node->exact = NULL;
        opening->source->driver = byre_driver_name(opening->outermost);
    }
    return 0;
}

/* --- the format ------------------------------------------------------------------------------------------- */

static int probe(struct byre_store *store, enum byre_driver *ret_driver, struct byre_error *err)
{
    uint8_t bytes[BYRE_SECTOR] = { 0 }; /* a null node may leave them as they are */
    const char *format;
    uint64_t size;
    int r = byre_store_size(store, &size, err);

    if (r < 0)
        return r;
    size = MIN(size, (uint64_t)sizeof bytes);
    r = size ? byre_store_pread(store, bytes, size, 0, err) : 0;
    if (r < 0)
        return r;
    format = byre_probe(bytes, size);
    *ret_driver = strcmp(format, "qcow2") == 0  ? BYRE_DRIVER_QCOW2
                  : strcmp(format, "luks") == 0 ? BYRE_DRIVER_LUKS : BYRE_DRIVER_RAW;
    return 0;
}

/* qcow2 and luks take their child's store as it is. */
static int make_whole(struct opening *opening, enum byre_driver driver, struct byre_node *child, struct byre_error *err)
{
    struct byre_source *source = opening->source;
    json_t *shown = byre_node_show(driver, "file", child);

    source->node = *child;
    *child = (struct byre_node){ .store = NULL };
    if (!shown)
        return no_memory(err);
    if (!source->node.is_protocol) {
        free(source->node.exact);
        source->node.exact = NULL;
    }
    json_decref(source->node.full);
    source->node.full = shown;
    source->node.is_protocol = false;
    return 0;
}

static int make_qcow2(struct opening *opening, struct byre_node *child, struct byre_error *err)
{
    struct byre_source *source = opening->source;
    int r = make_whole(opening, BYRE_DRIVER_QCOW2, child, err);

    source->is_qcow2 = true;
    if (r == 0)
        r = byre_node_take_shown(opening->tree, "encrypt.format", &source->node, &source->qcow2.crypt_format, err);
    if (r == 0)
        r = byre_node_take_shown(opening->tree, "encrypt.key-secret", &source->node, &source->qcow2.key_secret, err);
    return r < 0 ? r : byre_node_take_qcow2(opening->tree, opening->backing, &source->qcow2, err);
}

static int make_luks(struct opening *opening, struct byre_node *child, struct byre_error *err)
{
    struct byre_source *source = opening->source;
    int r = make_whole(opening, BYRE_DRIVER_LUKS, child, err);

    source->is_luks = true;
    return r < 0 ? r : byre_node_take_shown(opening->tree, "key-secret", &source->node, &source->key_secret, err);
}

static int make_format(struct opening *opening, enum byre_driver driver, struct byre_node *child,
                       struct byre_error *err)
{
    struct byre_source *source = opening->source;
    int r;

    /* What is raw down to the file counts from the file, as QEMU has it. */
    if (driver == BYRE_DRIVER_RAW && child->is_flat)
        source->file_name = strdup(child->path);
    else
        source->file_name = byre_node_name(child);
    if (!source->file_name)
        return no_memory(err);
    if (driver == BYRE_DRIVER_QCOW2)
        r = make_qcow2(opening, child, err);
    else if (driver == BYRE_DRIVER_LUKS)
        r = make_luks(opening, child, err);
    else
        r = byre_node_make_raw(opening->tree, child, &source->node, err);
    if (r == 0 && driver == BYRE_DRIVER_RAW)
        source->file_offset = source->node.offset;
    return r < 0 ? r : byre_node_refuse_rest(opening->tree, driver, err);
}

static int open_format(struct opening *opening, bool named, enum byre_driver driver, struct byre_error *err)
{
    CLEANUP(tree) json_t *branch = NULL;
    struct byre_node child = { .store = NULL };
    int r;

    if (!named && !byre_options_has(opening->tree, "file"))
        return byre_error_set(err, -EINVAL, "Must specify either driver or file");
    r = byre_node_take_child(opening->tree, "file", &branch, err);
    if (r == 0)
        r = byre_node_open(branch, &opening->mode, &child, err);
    if (r == 0 && !named)
        r = probe(child.store, &driver, err);
    if (r == 0)
        r = make_format(opening, driver, &child, err);
    byre_node_done(&child);
    opening->source->probed = !named;
    opening->source->driver = byre_driver_name(driver);
    return r;
}

/* A protocol at the top: its bytes are the disk. */
static int open_protocol(struct opening *opening, enum byre_driver driver, struct byre_error *err)
{
    struct byre_source *source = opening->source;
    int r = byre_options_add_text(opening->tree, "driver", byre_driver_name(driver), err);

    source->driver = byre_driver_name(driver);
    if (r == 0)
        r = byre_node_open(opening->tree, &opening->mode, &source->node, err);
    if (r < 0)
        return r;
    source->file_name = source->node.is_flat ? strdup(source->node.path) : byre_node_name(&source->node);
    source->file_offset = source->node.offset;
    return source->file_name ? 0 : no_memory(err);
}

static int open_source(struct opening *opening, struct byre_error *err)
{
    enum byre_driver driver = BYRE_DRIVER_RAW;
    int named = take_filters(opening, &driver, err), r;

    if (named < 0)
        return named;
    if (named && byre_driver_is_protocol(driver))
        r = open_protocol(opening, driver, err);
    else
        r = open_format(opening, named, driver, err);
    if (r == 0 && opening->source->compress && !opening->source->is_qcow2)
        r = byre_error_set(err, -EINVAL, "Compression is not supported for underlying format: %s",
                           opening->source->driver);
    return r < 0 ? r : show_filters(opening, err);
}

int byre_source_open(json_t *tree, const struct byre_node_mode *mode, bool backing, struct byre_source *ret_source,
                     struct byre_error *err)
{
    struct byre_source source = { .driver = NULL };
    struct opening opening = {
        .source = &source,
        .tree = json_incref(tree),
        .mode = *mode,
        .filters = json_array(),
        .backing = backing,
    };
    int r = opening.filters ? open_source(&opening, err) : no_memory(err);

    json_decref(opening.tree);
    json_decref(opening.filters);
    if (r < 0) {
        byre_source_done(&source);
        return r;
    }
    *ret_source = source;
    return 0;
}

int byre_source_read_name(const char *name, const char *format, json_t **ret_tree, struct byre_error *err)
{
    CLEANUP(tree) json_t *tree = NULL;
    int r;

    if (format && !byre_format_known(format))
        return byre_error_set(err, -EINVAL, "Unknown driver '%s'", format);
    r = byre_options_read_name(name, &tree, err);
    if (r == 0 && format) {
        json_object_del(tree, "driver");
        r = byre_options_add_text(tree, "driver", format, err);
    }
    if (r == 0)
        *ret_tree = STEAL(tree);
    return r;
}

int byre_source_open_name(const char *name, const char *format, const struct byre_node_mode *mode, bool backing,
                          struct byre_source *ret_source, struct byre_error *err)
{
    CLEANUP(tree) json_t *tree = NULL;
    int r = byre_source_read_name(name, format, &tree, err);

    return r < 0 ? r : byre_source_open(tree, mode, backing, ret_source, err);
}
