/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree of a mount.
 */
#include "config.h"

#include "fuse/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/arith.h"
#include "fuse/texts.h"

static int no_entry(const char *name, struct byre_error *err)
{
    return byre_error_set(err, -ENOENT, "there is no '%s'", name);
}

/* --- numbers ------------------------------------------------------------------------------------------------ */

struct byre_node byre_tree_root(const struct byre_tree *tree)
{
    if (tree->single_file)
        return (struct byre_node){ .kind = BYRE_NODE_DISK };
    if (tree->count > 1)
        return (struct byre_node){ .kind = BYRE_NODE_IMAGES };
    if (byre_image_files(tree->images[0]))
        return (struct byre_node){ .kind = BYRE_NODE_FILE, .file = BYRE_FILES_ROOT };
    return (struct byre_node){ .kind = BYRE_NODE_VIEW };
}

struct byre_node byre_tree_node(const struct byre_tree *tree, uint64_t number)
{
    struct byre_node node = byre_node_unpack(number);

    if (number == BYRE_NODE_ROOT)
        return byre_tree_root(tree);
    if (node.image >= tree->count)
        node.kind = BYRE_NODE_NONE;
    return node;
}

uint64_t byre_tree_number(const struct byre_tree *tree, const struct byre_node *node)
{
    const struct byre_node root = byre_tree_root(tree);
    uint64_t number = byre_node_pack(node);

    return number == byre_node_pack(&root) ? BYRE_NODE_ROOT : number;
}

/* --- directories that are always the same ------------------------------------------------------------------- */

struct fixed_entry {
    const char *name;
    enum byre_node_kind kind;
    mode_t type;
    bool now; /* only in the view of the image as it is */
};

static const struct fixed_entry fixed_entries[] = {
    { "disk.raw", BYRE_NODE_DISK, S_IFREG, false },
    { "info.json", BYRE_NODE_INFO, S_IFREG, false },
    { "map.json", BYRE_NODE_MAP, S_IFREG, false },
    { "partitions", BYRE_NODE_PARTITIONS, S_IFDIR, false },
    { "snapshots", BYRE_NODE_SNAPSHOTS, S_IFDIR, true },
    { "layers", BYRE_NODE_LAYERS, S_IFDIR, true },
};

/*
 * Layer 0 is the image as it is, but its directory shows neither snapshots nor layers.  A file may have two names, a
 * directory may not: directories that snapshots and layers have carry the number 1.
 */
static bool shows_all(const struct byre_node *directory)
{
    return directory->view == BYRE_VIEW_NOW && directory->number == 0;
}

static struct byre_node fixed_node(const struct byre_node *directory, const struct fixed_entry *entry)
{
    return (struct byre_node){ .kind = entry->kind, .image = directory->image, .view = directory->view,
                               .number = entry->type == S_IFDIR ? directory->number : 0 };
}

static struct byre_node layer_node(const struct byre_tree *tree, const struct byre_node *parent, unsigned layer)
{
    return (struct byre_node){ .kind = BYRE_NODE_VIEW, .image = parent->image,
                               .view = byre_image_layer_view(byre_tree_image(tree, parent), layer), .number = 1 };
}

static struct byre_node snapshot_node(const struct byre_node *parent, unsigned snapshot)
{
    return (struct byre_node){ .kind = BYRE_NODE_VIEW, .image = parent->image,
                               .view = byre_image_snapshot_view(snapshot), .number = 1 };
}

static struct byre_node image_node(const struct byre_tree *tree, unsigned image)
{
    if (byre_image_files(tree->images[image]))
        return (struct byre_node){ .kind = BYRE_NODE_FILE, .image = image, .file = BYRE_FILES_ROOT };
    return (struct byre_node){ .kind = BYRE_NODE_VIEW, .image = image };
}

/* A number that is written as numbers are: "7", not "07" or "+7". */
static bool read_number(const char *text, size_t length, unsigned *ret_number)
{
    unsigned number = 0;

    if (length == 0 || length > 8 || (*text == '0' && length > 1))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = 10 * number + (unsigned)(text[i] - '0');
    }
    *ret_number = number;
    return true;
}

/* --- looking up --------------------------------------------------------------------------------------------- */

static int lookup_image(const struct byre_tree *tree, const char *name, struct byre_node *ret_node,
                        struct byre_error *err)
{
    for (unsigned i = 0; i < tree->count; i++) {
        if (strcmp(tree->names[i], name) == 0) {
            *ret_node = image_node(tree, i);
            return 0;
        }
    }
    return no_entry(name, err);
}

static int lookup_fixed(const struct byre_node *directory, const char *name, struct byre_node *ret_node,
                        struct byre_error *err)
{
    for (unsigned i = 0; i < ARRAY_LEN(fixed_entries); i++) {
        const struct fixed_entry *entry = &fixed_entries[i];

        if (strcmp(entry->name, name) != 0 || (entry->now && !shows_all(directory)))
            continue;
        *ret_node = fixed_node(directory, entry);
        return 0;
    }
    return no_entry(name, err);
}

static int lookup_snapshot(const struct byre_tree *tree, const struct byre_node *directory, const char *name,
                           struct byre_node *ret_node, struct byre_error *err)
{
    const struct byre_image *image = byre_tree_image(tree, directory);

    for (unsigned i = 0; i < byre_image_snapshot_count(image); i++) {
        if (strcmp(byre_image_snapshot_name(image, i), name) == 0) {
            *ret_node = snapshot_node(directory, i);
            return 0;
        }
    }
    return no_entry(name, err);
}

static int lookup_layer(const struct byre_tree *tree, const struct byre_node *directory, const char *name,
                        struct byre_node *ret_node, struct byre_error *err)
{
    unsigned layer;

    if (!read_number(name, strlen(name), &layer) || layer >= byre_image_layer_count(byre_tree_image(tree, directory)))
        return no_entry(name, err);
    *ret_node = layer_node(tree, directory, layer);
    return 0;
}

static int find_partition(const struct byre_view *view, const char *name, unsigned *ret_range)
{
    const char *dot = strchr(name, '.');
    unsigned number;

    if (!dot || strcmp(dot, ".raw") != 0 || !read_number(name, (size_t)(dot - name), &number))
        return -ENOENT;
    for (unsigned i = 1; i < view->range_count; i++) {
        if (view->ranges[i].partition.number == number) {
            *ret_range = i;
            return 0;
        }
    }
    return -ENOENT;
}

static int lookup_partition(const struct byre_tree *tree, const struct byre_node *directory, const char *name,
                            struct byre_node *ret_node, struct byre_error *err)
{
    struct byre_image *image = byre_tree_image(tree, directory);
    struct byre_node node = { .kind = BYRE_NODE_TABLE, .image = directory->image, .view = directory->view };
    struct byre_view *view;
    int rc = 0;

    if (strcmp(name, "table.json") != 0) {
        rc = byre_image_get(image, directory->view, &view, err);
        if (rc < 0)
            return rc;
        node.kind = BYRE_NODE_PARTITION;
        rc = find_partition(view, name, &node.number);
        byre_image_put(image, view);
    }
    if (rc < 0)
        return no_entry(name, err);
    *ret_node = node;
    return 0;
}

static int lookup_file(const struct byre_tree *tree, const struct byre_node *directory, const char *name,
                       struct byre_node *ret_node, struct byre_error *err)
{
    struct byre_node node = *directory;
    int rc = byre_files_lookup(byre_image_files(byre_tree_image(tree, directory)), directory->file, name, &node.file,
                               err);

    if (rc == 0)
        *ret_node = node;
    return rc;
}

int byre_tree_lookup(const struct byre_tree *tree, const struct byre_node *directory, const char *name,
                     struct byre_node *ret_node, struct byre_error *err)
{
    switch (directory->kind) {
    case BYRE_NODE_IMAGES: return lookup_image(tree, name, ret_node, err);
    case BYRE_NODE_VIEW: return lookup_fixed(directory, name, ret_node, err);
    case BYRE_NODE_SNAPSHOTS: return lookup_snapshot(tree, directory, name, ret_node, err);
    case BYRE_NODE_LAYERS: return lookup_layer(tree, directory, name, ret_node, err);
    case BYRE_NODE_PARTITIONS: return lookup_partition(tree, directory, name, ret_node, err);
    case BYRE_NODE_FILE: return lookup_file(tree, directory, name, ret_node, err);
    default: return byre_error_set(err, -ENOTDIR, "it is no directory");
    }
}

/* --- listing ------------------------------------------------------------------------------------------------ */

struct listing {
    const struct byre_tree *tree;
    const struct byre_node *directory;
    uint64_t cursor;
    byre_tree_each *each;
    void *opaque;
};

static int list_images(const struct listing *listing)
{
    const struct byre_tree *tree = listing->tree;
    int rc = 0;

    for (uint64_t i = listing->cursor; i < tree->count && rc == 0; i++) {
        const struct byre_node node = image_node(tree, (unsigned)i);

        rc = listing->each(listing->opaque, tree->names[i], &node, S_IFDIR, i + 1);
    }
    return rc;
}

static int list_fixed(const struct listing *listing)
{
    int rc = 0;

    for (uint64_t i = listing->cursor; i < ARRAY_LEN(fixed_entries) && rc == 0; i++) {
        const struct fixed_entry *entry = &fixed_entries[i];
        const struct byre_node node = fixed_node(listing->directory, entry);

        if (!entry->now || shows_all(listing->directory))
            rc = listing->each(listing->opaque, entry->name, &node, entry->type, i + 1);
    }
    return rc;
}

static int list_snapshots(const struct listing *listing)
{
    const struct byre_image *image = byre_tree_image(listing->tree, listing->directory);
    int rc = 0;

    for (uint64_t i = listing->cursor; i < byre_image_snapshot_count(image) && rc == 0; i++) {
        const struct byre_node node = snapshot_node(listing->directory, (unsigned)i);

        rc = listing->each(listing->opaque, byre_image_snapshot_name(image, (unsigned)i), &node, S_IFDIR, i + 1);
    }
    return rc;
}

static int list_layers(const struct listing *listing)
{
    const struct byre_image *image = byre_tree_image(listing->tree, listing->directory);
    int rc = 0;

    for (uint64_t i = listing->cursor; i < byre_image_layer_count(image) && rc == 0; i++) {
        const struct byre_node node = layer_node(listing->tree, listing->directory, (unsigned)i);
        char name[16];

        snprintf(name, sizeof name, "%u", (unsigned)i);
        rc = listing->each(listing->opaque, name, &node, S_IFDIR, i + 1);
    }
    return rc;
}

/* The table first, then the view's ranges from 1 on. */
static int list_partitions(const struct listing *listing, struct byre_error *err)
{
    struct byre_image *image = byre_tree_image(listing->tree, listing->directory);
    struct byre_node node = { .kind = BYRE_NODE_TABLE, .image = listing->directory->image,
                              .view = listing->directory->view };
    struct byre_view *view;
    int rc = byre_image_get(image, node.view, &view, err);

    if (rc < 0)
        return rc;
    if (listing->cursor == 0)
        rc = listing->each(listing->opaque, "table.json", &node, S_IFREG, 1);
    node.kind = BYRE_NODE_PARTITION;
    for (uint64_t i = listing->cursor ? listing->cursor : 1; i < view->range_count && rc == 0; i++) {
        char name[32];

        node.number = (unsigned)i;
        snprintf(name, sizeof name, "%u.raw", view->ranges[i].partition.number);
        rc = listing->each(listing->opaque, name, &node, S_IFREG, i + 1);
    }
    byre_image_put(image, view);
    return rc;
}

static int list_one_file(void *opaque, const struct byre_files_entry *entry)
{
    const struct listing *listing = opaque;
    struct byre_node node = *listing->directory;

    node.file = entry->id;
    return listing->each(listing->opaque, entry->name, &node, entry->type, entry->next);
}

int byre_tree_list(const struct byre_tree *tree, const struct byre_node *directory, uint64_t cursor,
                   byre_tree_each *each, void *opaque, struct byre_error *err)
{
    struct listing listing = { tree, directory, cursor, each, opaque };

    switch (directory->kind) {
    case BYRE_NODE_IMAGES: return list_images(&listing);
    case BYRE_NODE_VIEW: return list_fixed(&listing);
    case BYRE_NODE_SNAPSHOTS: return list_snapshots(&listing);
    case BYRE_NODE_LAYERS: return list_layers(&listing);
    case BYRE_NODE_PARTITIONS: return list_partitions(&listing, err);
    case BYRE_NODE_FILE:
        return byre_files_list(byre_image_files(byre_tree_image(tree, directory)), directory->file, cursor,
                               list_one_file, &listing, err);
    default: return byre_error_set(err, -ENOTDIR, "it is no directory");
    }
}

/* --- what stat says ----------------------------------------------------------------------------------------- */

/* What is known without looking into the view. */
static void stat_common(const struct byre_tree *tree, const struct byre_node *node, struct stat *st)
{
    struct byre_image *image = byre_tree_image(tree, node);
    mode_t mode = byre_image_mode(image);

    st->st_uid = tree->owner;
    st->st_gid = tree->group;
    st->st_nlink = 1;
    st->st_blksize = 65536;
    if (node->kind != BYRE_NODE_IMAGES)
        st->st_mtim = byre_image_modified(image, node->view);
    switch (node->kind) {
    case BYRE_NODE_DISK:
    case BYRE_NODE_PARTITION:
        st->st_mode = S_IFREG | (mode & 0444);
        if (node->view == BYRE_VIEW_NOW && byre_image_is_writable(image))
            st->st_mode |= mode & 0222;
        break;
    case BYRE_NODE_TABLE:
    case BYRE_NODE_INFO:
    case BYRE_NODE_MAP:
        st->st_mode = S_IFREG | (mode & 0444);
        break;
    default:
        st->st_mode = S_IFDIR | (mode & 0444) | (mode & 0444) >> 2;
        st->st_nlink = 2;
        break;
    }
}

static int stat_range(struct byre_image *image, const struct byre_node *node, struct stat *st, bool *lasts,
                      struct byre_error *err)
{
    unsigned range = node->kind == BYRE_NODE_DISK ? 0 : node->number;
    struct byre_view *view;
    uint64_t bytes;
    int rc = byre_image_get(image, node->view, &view, err);

    if (rc < 0)
        return rc;
    if (range >= view->range_count) {
        rc = byre_error_set(err, -ENOENT, "there is no such partition");
    } else {
        st->st_size = (off_t)byre_view_length(view, range);
        *lasts = byre_view_allocated(view, range, &bytes) && *lasts;
        st->st_blocks = (blkcnt_t)byre_div_up(bytes, 512);
    }
    byre_image_put(image, view);
    return rc;
}

/* A text that is too large to be kept has no size that is known. */
static int stat_text(struct byre_image *image, const struct byre_node *node, struct stat *st, struct byre_error *err)
{
    char *text;
    size_t length;
    int rc = byre_text_make(image, node, &text, &length, err);

    if (rc == -EFBIG)
        return 0;
    if (rc < 0)
        return rc;
    free(text);
    st->st_size = (off_t)length;
    st->st_blocks = (blkcnt_t)byre_div_up(length, 512);
    return 0;
}

static int stat_file(const struct byre_tree *tree, const struct byre_node *node, struct stat *st,
                     struct byre_error *err)
{
    struct byre_file file;
    int rc = byre_files_stat(byre_image_files(byre_tree_image(tree, node)), node->file, &file, err);

    if (rc < 0)
        return rc;
    st->st_mode = file.mode;
    st->st_nlink = file.links;
    st->st_uid = tree->owner_given ? tree->owner : file.uid;
    st->st_gid = tree->group_given ? tree->group : file.gid;
    st->st_rdev = makedev(file.major, file.minor);
    st->st_size = (off_t)file.size;
    st->st_blocks = (blkcnt_t)byre_div_up(file.allocated, 512);
    st->st_blksize = 65536;
    st->st_atim = file.accessed;
    st->st_mtim = file.modified;
    st->st_ctim = file.changed;
    return 0;
}

int byre_tree_stat(const struct byre_tree *tree, const struct byre_node *node, struct stat *ret_stat, bool *ret_lasts,
                   struct byre_error *err)
{
    struct byre_image *image = byre_tree_image(tree, node);
    struct stat st = { .st_ino = byre_tree_number(tree, node) };
    bool lasts = !byre_image_changes(image);
    int rc = 0;

    switch (node->kind) {
    case BYRE_NODE_NONE: return byre_error_set(err, -ESTALE, "it is not there any more");
    case BYRE_NODE_FILE: rc = stat_file(tree, node, &st, err); break;
    default: stat_common(tree, node, &st); break;
    }
    if (node->kind == BYRE_NODE_DISK || node->kind == BYRE_NODE_PARTITION)
        rc = stat_range(image, node, &st, &lasts, err);
    if (node->kind == BYRE_NODE_TABLE || node->kind == BYRE_NODE_INFO || node->kind == BYRE_NODE_MAP)
        rc = stat_text(image, node, &st, err);
    if (rc < 0)
        return rc;
    if (node->kind != BYRE_NODE_FILE)
        st.st_atim = st.st_ctim = st.st_mtim;
    st.st_mode &= ~tree->umask;
    *ret_stat = st;
    *ret_lasts = lasts;
    return 0;
}
