/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files by their ids, and their cluster chains.
 *
 *   C1. A chain is followed once, when its file is first read, as far as its size needs it, and a directory's up to
 *       BYRE_FAT_DIRECTORY_MAX; then it is known whether it comes back to itself.  Of a chain that does, nothing is
 *       read; of one that leads nowhere, what comes before that.
 *   C2. Memory: a node keeps at most RUNS_MAX runs; where there are more, each second is forgotten, then each second of
 *       those left, and from one that is known the FAT leads to those that are not.  Those where readers have ended are
 *       known, too: who reads a file from front to back makes at most two steps along its chain for each cluster.
 *       The cache has at most NODES_MAX nodes and, but for the latest one, NODE_BYTES.
 *   C3. Where the FAT cannot be read, a file's chain goes on when somebody wants to read there: the error comes from
 *       the disk each time.  A directory ends there, and is not kept.
 */
#include "config.h"

#include "volume/fat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define RUNS_MAX   8192u
#define NODES_MAX  256u
#define NODE_BYTES ((size_t)8 << 20)

/* Places in an entry. */
enum {
    ATTRIBUTES = 11,
    CLUSTER_HIGH = 20,
    CLUSTER_LOW = 26,
    SIZE = 28,
};

#define ATTRIBUTE_VOLUME    0x08
#define ATTRIBUTE_DIRECTORY 0x10

/* --- entries ----------------------------------------------------------------------------------------------- */

uint32_t byre_fat_entry_cluster(const struct byre_fat *fat, const uint8_t *entry)
{
    uint32_t low = byre_get_le16(entry + CLUSTER_LOW);

    return fat->layout.bits == 32 ? (uint32_t)byre_get_le16(entry + CLUSTER_HIGH) << 16 | low : low;
}

bool byre_fat_entry_is_directory(const uint8_t *entry)
{
    return entry[ATTRIBUTES] & ATTRIBUTE_DIRECTORY;
}

bool byre_fat_entry_is_file(const uint8_t *entry)
{
    for (unsigned i = 0; i < 11; i++) {
        if (entry[i] < 0x20 && (i || entry[i] != 0x05))
            return false;
    }
    return entry[0] != 0xe5 && !(entry[ATTRIBUTES] & ATTRIBUTE_VOLUME) &&
           memcmp(entry, ".          ", 11) != 0 && memcmp(entry, "..         ", 11) != 0;
}

/* Where a directory may have entries. */
static bool is_place_of_entry(const struct byre_fat *fat, uint64_t place)
{
    const struct byre_fat_layout *layout = &fat->layout;

    return byre_range_within(place, BYRE_FAT_ENTRY_BYTES,
                             layout->data_offset + (uint64_t)layout->clusters * layout->cluster_bytes) &&
           place >= layout->root_offset;
}

int byre_fat_node_entry(struct byre_fat *fat, uint64_t id, uint8_t *ret_entry, struct byre_error *err)
{
    uint8_t entry[BYRE_FAT_ENTRY_BYTES];
    uint64_t place;
    int rc;

    if (!byre_mul_fits(id, BYRE_FAT_ENTRY_BYTES, &place) || !is_place_of_entry(fat, place))
        return byre_error_set(err, -ESTALE, "there is no file with the id %llu", (unsigned long long)id);
    rc = byre_filesystem_pread(&fat->files, entry, sizeof entry, place, err);
    if (rc < 0) {
        byre_error_prepend(err, "directory entry: ");
        return rc;
    }
    if (!byre_fat_entry_is_file(entry))
        return byre_error_set(err, -ESTALE, "there is no file with the id %llu", (unsigned long long)id);
    memcpy(ret_entry, entry, sizeof entry);
    return 0;
}

/* --- chains ------------------------------------------------------------------------------------------------ */

/* Follows a chain. */
struct chase {
    struct byre_fat *fat;
    struct byre_fat_node *node;
    struct byre_fat_cursor cursor;
    uint32_t run_room, stride, seen; /* of `seen` runs each stride-th is kept */
    struct byre_error *err;
};

static void forget_each_second(struct chase *chase)
{
    struct byre_fat_node *node = chase->node;

    for (uint32_t i = 1; 2 * i < node->run_count; i++)
        node->runs[i] = node->runs[2 * i];
    node->run_count = (node->run_count + 1) / 2;
    chase->stride *= 2;
}

static int begin_run(struct chase *chase, uint32_t index, uint32_t cluster)
{
    struct byre_fat_node *node = chase->node;

    if (chase->seen++ % chase->stride != 0)
        return 0;
    if (node->run_count == RUNS_MAX) {
        forget_each_second(chase);
        if ((chase->seen - 1) % chase->stride != 0)
            return 0;
    }
    if (node->run_count == chase->run_room) {
        uint32_t room = chase->run_room ? chase->run_room * 2 : 4;
        struct byre_fat_run *runs = reallocarray(node->runs, room, sizeof *runs);

        if (!runs)
            return byre_error_set_errno(chase->err, -ENOMEM, "cluster chain");
        node->runs = runs;
        chase->run_room = room;
    }
    node->runs[node->run_count++] = (struct byre_fat_run){ index, cluster, 1 };
    return 0;
}

/* The next cluster comes behind that before: it is of the same run, if that was kept. */
static void extend_run(struct byre_fat_node *node, uint32_t index)
{
    struct byre_fat_run *last = &node->runs[node->run_count - 1];

    if (last->index + last->count == index)
        last->count++;
}

static const char *link_text(int link)
{
    if (link < 0)
        return "the file allocation table cannot be read where its cluster chain goes on";
    switch (link) {
    case BYRE_FAT_LINK_FREE:
        return "its cluster chain leads to a free cluster";
    case BYRE_FAT_LINK_BAD:
        return "its cluster chain leads to a bad cluster";
    case BYRE_FAT_LINK_OUTSIDE:
        return "its cluster chain leads to a cluster that does not exist";
    default:
        return "its cluster chain is too short for its size";
    }
}

/* The last run that begins at `index` or before it. */
static const struct byre_fat_run *run_before(const struct byre_fat_node *node, uint32_t index)
{
    uint32_t low = 0, high = node->run_count;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (node->runs[middle].index <= index)
            low = middle;
        else
            high = middle;
    }
    return &node->runs[low];
}

static bool has_index(const struct byre_fat_run *run, uint32_t index)
{
    return index >= run->index && index - run->index < run->count;
}

/* Of the runs that are known, `run` being one, the last one that begins at `index` or before it. */
static struct byre_fat_run start_for(struct byre_fat *fat, const struct byre_fat_node *node,
                                     const struct byre_fat_run *run, uint32_t index)
{
    struct byre_fat_run best = *run_before(node, index);

    if (has_index(run, index) || has_index(&best, index))
        return has_index(run, index) ? *run : best;
    if (run->count && run->index <= index && run->index > best.index)
        return *run;
    LOCK_SCOPE(&fat->lock);
    for (unsigned i = 0; i < BYRE_FAT_RECENT; i++) {
        if (node->recent[i].count && node->recent[i].index <= index && node->recent[i].index > best.index)
            best = node->recent[i];
    }
    return best;
}

void byre_fat_node_remember(struct byre_fat *fat, struct byre_fat_node *node, const struct byre_fat_run *run)
{
    LOCK_SCOPE(&fat->lock);
    if (run->count)
        node->recent[node->recent_next++ % BYRE_FAT_RECENT] = *run;
}

/* Goes on by the FAT to the run that has `index`, and takes of that as many clusters as are wanted. */
static int follow_from(struct byre_fat *fat, struct byre_fat_run *run, uint32_t index, uint64_t wanted,
                       struct byre_error *err)
{
    struct byre_fat_cursor cursor = { NULL };
    int link = BYRE_FAT_LINK_NEXT;

    while (link == BYRE_FAT_LINK_NEXT && run->index + run->count < index + wanted) {
        uint32_t last = run->cluster + run->count - 1, next = 0;
        bool there = has_index(run, index);

        link = byre_fat_table_link(fat, &cursor, last, &next, there ? NULL : err);
        if (there && (link != BYRE_FAT_LINK_NEXT || next != last + 1))
            break;
        if (link == BYRE_FAT_LINK_NEXT && next == last + 1)
            run->count++;
        else if (link == BYRE_FAT_LINK_NEXT)
            *run = (struct byre_fat_run){ run->index + run->count, next, 1 };
    }
    byre_fat_cursor_done(fat, &cursor);
    if (has_index(run, index))
        return 0;
    return link < 0 ? link : byre_error_set(err, -EIO, "%s", link_text(link));
}

/* Makes `run`, where the caller was before, the one that has `index`, as far as it is wanted or known. */
static int find_run(struct byre_fat *fat, const struct byre_fat_node *node, struct byre_fat_run *run, uint32_t index,
                    uint64_t wanted, struct byre_error *err)
{
    struct byre_fat_run found = start_for(fat, node, run, index);
    int rc = has_index(&found, index) ? 0 : follow_from(fat, &found, index, wanted, err);

    if (rc == 0)
        *run = found;
    return rc;
}

/* One step along the chain.  What cannot be read is no error of the file yet (C3). */
static int next_link(struct chase *chase, uint32_t *cluster)
{
    int link = byre_fat_table_link(chase->fat, &chase->cursor, *cluster, cluster, NULL);

    return link == -ENOMEM ? byre_error_set_errno(chase->err, link, "cluster chain") : link;
}

/* `last`, the last of the node's clusters, is found again `distance` steps behind: was it one of them before? */
static int check_loop(struct chase *chase, uint32_t last, uint32_t distance)
{
    struct byre_fat_node *node = chase->node;
    uint32_t index = node->clusters - 1 - distance;
    struct byre_fat_run run = { 0 };
    int rc;

    if (distance >= node->clusters)
        return 0;
    rc = find_run(chase->fat, node, &run, index, 1, chase->err);
    if (rc == 0 && run.cluster + (index - run.index) == last) {
        node->looped = true;
        node->broken = "its cluster chain is a loop";
    }
    return rc;
}

/*
 * The node has as many clusters as it may need, up to `last`.  One of them came twice only if `last` lies on a loop, of
 * fewer steps than there are clusters.  A directory must end here.
 */
static int look_for_loop(struct chase *chase, uint32_t last)
{
    struct byre_fat_node *node = chase->node;
    uint32_t cluster = last;

    for (uint32_t i = 1; i < node->clusters || node->directory; i++) {
        int link = next_link(chase, &cluster);

        if (link == -ENOMEM)
            return link;
        if (link != BYRE_FAT_LINK_NEXT)
            return 0; /* also where the FAT cannot be read: what is needed is there */
        if (node->directory) {
            node->looped = true;
            node->broken = "it is too large, or its cluster chain a loop";
            return 0;
        }
        if (cluster == last)
            return check_loop(chase, last, i);
    }
    return 0;
}

/* Up to `limit` clusters from the node's first one on. */
static int follow_chain(struct chase *chase, uint32_t limit)
{
    struct byre_fat_node *node = chase->node;
    uint32_t cluster = node->cluster, before = 0;

    while (node->clusters < limit) {
        int rc = 0;

        if (node->clusters && cluster == before + 1)
            extend_run(node, node->clusters);
        else
            rc = begin_run(chase, node->clusters, cluster);
        if (rc < 0)
            return rc;
        node->clusters++;
        if (node->clusters == limit)
            return look_for_loop(chase, cluster);
        before = cluster;
        rc = next_link(chase, &cluster);
        if (rc == -ENOMEM)
            return rc;
        if (rc != BYRE_FAT_LINK_NEXT) {
            node->unreadable = rc < 0;
            if (rc != BYRE_FAT_LINK_END || !node->directory)
                node->broken = link_text(rc);
            return 0;
        }
    }
    return 0;
}

static int find_chain(struct byre_fat *fat, struct byre_fat_node *node, struct byre_error *err)
{
    struct chase chase = { .fat = fat, .node = node, .stride = 1, .err = err };
    uint64_t bytes = node->directory ? BYRE_FAT_DIRECTORY_MAX : node->size;
    uint64_t limit = byre_div_up(bytes, fat->layout.cluster_bytes);
    int rc;

    if (!limit)
        return 0;
    if (!byre_fat_is_cluster(fat, node->cluster)) {
        node->broken = node->cluster ? "its first cluster does not exist" : "it has no clusters";
        return 0;
    }
    /* with one cluster more than there are, one of them comes twice */
    rc = follow_chain(&chase, (uint32_t)MIN(limit, (uint64_t)fat->layout.clusters + 1));
    byre_fat_cursor_done(fat, &chase.cursor);
    if (node->directory)
        node->size = node->clusters * fat->layout.cluster_bytes;
    return rc;
}

int byre_fat_node_map(struct byre_fat *fat, const struct byre_fat_node *node, struct byre_fat_run *run,
                      uint64_t offset, uint64_t wanted, uint64_t *ret_place, uint64_t *ret_length,
                      struct byre_error *err)
{
    const struct byre_fat_layout *layout = &fat->layout;
    uint32_t index = (uint32_t)(offset / layout->cluster_bytes), within = (uint32_t)(offset % layout->cluster_bytes);
    bool goes_on = node->unreadable && !node->directory;
    int rc;

    if (node->fixed) {
        *ret_place = layout->root_offset + offset;
        *ret_length = layout->root_bytes - offset;
        return 0;
    }
    if (node->looped || (index >= node->clusters && !goes_on))
        return byre_error_set(err, -EIO, "%s", node->broken ? node->broken : "it has no such offset");
    rc = find_run(fat, node, run, index, byre_div_up(within + wanted, layout->cluster_bytes), err);
    if (rc < 0)
        return rc;
    index -= run->index;
    *ret_place = layout->data_offset +
                 (uint64_t)(run->cluster + index - BYRE_FAT_FIRST_CLUSTER) * layout->cluster_bytes + within;
    *ret_length = (uint64_t)(run->count - index) * layout->cluster_bytes - within;
    return 0;
}

/* --- nodes ------------------------------------------------------------------------------------------------- */

static void free_node(struct byre_fat_node *node)
{
    byre_fat_index_free(node->index);
    free(node->runs);
    free(node);
}

static void put_node_locked(struct byre_fat_node *node)
{
    if (--node->users == 0)
        free_node(node);
}

static struct byre_fat_node *find_node_locked(struct byre_fat *fat, uint64_t id)
{
    for (struct byre_fat_node **at = &fat->nodes; *at; at = &(*at)->next) {
        struct byre_fat_node *node = *at;

        if (node->id != id)
            continue;
        *at = node->next;
        node->next = fat->nodes;
        fat->nodes = node;
        node->users++;
        return node;
    }
    return NULL;
}

static void drop_oldest_node_locked(struct byre_fat *fat)
{
    struct byre_fat_node **at = &fat->nodes, *oldest;

    while ((*at)->next)
        at = &(*at)->next;
    oldest = *at;
    *at = NULL;
    fat->node_count--;
    fat->node_bytes -= oldest->bytes;
    oldest->bytes = 0; /* not counted any more, whoever uses it */
    put_node_locked(oldest);
}

static void keep_budget_locked(struct byre_fat *fat)
{
    while (fat->node_count > 1 && (fat->node_count > NODES_MAX || fat->node_bytes > NODE_BYTES))
        drop_oldest_node_locked(fat);
}

static int fill_node(struct byre_fat *fat, struct byre_fat_node *node, struct byre_error *err)
{
    uint8_t entry[BYRE_FAT_ENTRY_BYTES];
    int rc;

    if (node->id == BYRE_FILES_ROOT) {
        node->directory = true;
        node->cluster = fat->layout.root_cluster;
        node->fixed = fat->layout.bits != 32;
        node->size = (uint32_t)fat->layout.root_bytes;
        return node->fixed ? 0 : find_chain(fat, node, err);
    }
    rc = byre_fat_node_entry(fat, node->id, entry, err);
    if (rc < 0)
        return rc;
    node->directory = byre_fat_entry_is_directory(entry);
    node->cluster = byre_fat_entry_cluster(fat, entry);
    node->size = node->directory ? 0 : byre_get_le32(entry + SIZE);
    if (node->directory && fat->layout.bits == 32 && node->cluster == fat->layout.root_cluster)
        node->cluster = 0; /* the root directory is in none */
    return find_chain(fat, node, err);
}

static int new_node(struct byre_fat *fat, uint64_t id, struct byre_fat_node **ret_node, struct byre_error *err)
{
    struct byre_fat_node *node = calloc(1, sizeof *node);
    int rc;

    if (!node)
        return byre_error_set_errno(err, -ENOMEM, "file");
    node->id = id;
    node->users = 1;
    rc = fill_node(fat, node, err);
    if (rc < 0) {
        free_node(node);
        return rc;
    }
    node->bytes = sizeof *node + node->run_count * sizeof *node->runs;
    *ret_node = node;
    return 0;
}

int byre_fat_node_get(struct byre_fat *fat, uint64_t id, struct byre_fat_node **ret_node, struct byre_error *err)
{
    struct byre_fat_node *node, *fresh = NULL;
    int rc;

    pthread_mutex_lock(&fat->lock);
    node = find_node_locked(fat, id);
    pthread_mutex_unlock(&fat->lock);
    if (!node) {
        rc = new_node(fat, id, &fresh, err);
        if (rc < 0)
            return rc;
        if (fresh->directory && fresh->unreadable) { /* C3 */
            fresh->bytes = 0;
            *ret_node = fresh;
            return 0;
        }
        LOCK_SCOPE(&fat->lock);
        node = find_node_locked(fat, id);
        if (node) {
            free_node(fresh);
        } else {
            node = fresh;
            node->users++;
            node->next = fat->nodes;
            fat->nodes = node;
            fat->node_count++;
            fat->node_bytes += node->bytes;
            keep_budget_locked(fat);
        }
    }
    *ret_node = node;
    return 0;
}

void byre_fat_node_put(struct byre_fat *fat, struct byre_fat_node *node)
{
    LOCK_SCOPE(&fat->lock);
    put_node_locked(node);
}

void byre_fat_node_set_index(struct byre_fat *fat, struct byre_fat_node *node, struct byre_fat_index *index)
{
    LOCK_SCOPE(&fat->lock);
    if (node->index) {
        byre_fat_index_free(index);
        return;
    }
    node->index = index;
    if (!node->bytes)
        return;
    node->bytes += byre_fat_index_bytes(index);
    fat->node_bytes += byre_fat_index_bytes(index);
    keep_budget_locked(fat);
}

void byre_fat_nodes_done(struct byre_fat *fat)
{
    while (fat->nodes)
        drop_oldest_node_locked(fat);
}
