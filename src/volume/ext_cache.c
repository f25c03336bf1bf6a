/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks of metadata in memory: pages of 4 KiB, or of a block where that is larger, in sets of four.
 *
 *   C1. The cache has one reference to each page in it, a block that is held has one: a page that leaves the cache
 *       stays until it is let go of.  All but `refs`, `used` and `judged` of a page never changes.
 *   C2. Reading is done without the mutex: two may read one page, and the second throws its own away.
 *   C3. A block that cannot be read does not make others of its page fail.
 */
#include "config.h"

#ifdef HAVE_EXT2FS

#include "volume/ext.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/disk.h"

#define EXT_CACHE_BYTES (8u << 20)
#define EXT_CACHE_WAYS  4u
#define EXT_PAGE_BYTES  4096u
#define EXT_BLOCK_MIN   1024u

struct byre_ext_page {
    uint64_t number;
    uint64_t used;   /* by the cache's clock */
    uint32_t refs;   /* atomic */
    uint32_t bad;    /* a bit for each block that cannot be read */
    uint32_t judged[EXT_PAGE_BYTES / EXT_BLOCK_MIN]; /* atomic */
    uint8_t bytes[];
};

int byre_ext_cache_init(struct byre_ext_cache *cache, uint32_t block_size)
{
    cache->page_size = MAX(block_size, EXT_PAGE_BYTES);
    cache->sets = EXT_CACHE_BYTES / EXT_CACHE_WAYS / cache->page_size;
    cache->pages = calloc((size_t)cache->sets * EXT_CACHE_WAYS, sizeof *cache->pages);
    pthread_mutex_init(&cache->mutex, NULL);
    return cache->pages ? 0 : -ENOMEM;
}

static void page_unref(struct byre_ext_page *page)
{
    if (page && __atomic_sub_fetch(&page->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(page);
}

void byre_ext_cache_done(struct byre_ext_cache *cache)
{
    if (!cache->page_size)
        return;
    for (uint32_t i = 0; cache->pages && i < cache->sets * EXT_CACHE_WAYS; i++)
        page_unref(cache->pages[i]);
    free(cache->pages);
    pthread_mutex_destroy(&cache->mutex);
}

static struct byre_ext_page **set_of(struct byre_ext_cache *cache, uint64_t number)
{
    return &cache->pages[(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) % cache->sets * EXT_CACHE_WAYS];
}

static struct byre_ext_page *find_locked(struct byre_ext_cache *cache, uint64_t number)
{
    struct byre_ext_page **set = set_of(cache, number);

    for (unsigned i = 0; i < EXT_CACHE_WAYS; i++) {
        if (!set[i] || set[i]->number != number)
            continue;
        set[i]->used = ++cache->clock;
        __atomic_add_fetch(&set[i]->refs, 1, __ATOMIC_RELAXED);
        return set[i];
    }
    return NULL;
}

static struct byre_ext_page *find(struct byre_ext_cache *cache, uint64_t number)
{
    LOCK_SCOPE(&cache->mutex);
    return find_locked(cache, number);
}

/* Puts a page in the place of the one that was not used for longest, unless somebody else has done it. */
static struct byre_ext_page *insert(struct byre_ext_cache *cache, struct byre_ext_page *page)
{
    struct byre_ext_page **victim = set_of(cache, page->number), **set = victim, *there;

    pthread_mutex_lock(&cache->mutex);
    there = find_locked(cache, page->number);
    for (unsigned i = 0; i < EXT_CACHE_WAYS; i++) {
        if (!set[i] || (*victim && set[i]->used < (*victim)->used))
            victim = &set[i];
    }
    if (!there) {
        struct byre_ext_page *old = *victim;

        page->used = ++cache->clock;
        page->refs = 2;
        *victim = page;
        there = STEAL(page);
        page = old;
    }
    pthread_mutex_unlock(&cache->mutex);
    page_unref(page);
    return there;
}

/* As much of the page as there is on the disk; if it cannot be read at once, each block by itself. */
static void read_page(struct byre_ext *ext, struct byre_ext_page *page)
{
    uint64_t offset = page->number * ext->cache.page_size, size = byre_get_size(ext->files.disk), there = 0;

    size = ext->files.goff < size ? MIN(size - ext->files.goff, ext->files.length) : 0;
    if (offset < size)
        there = MIN(size - offset, ext->cache.page_size);
    if (there && byre_filesystem_pread(&ext->files, page->bytes, there, offset, NULL) == 0) {
        for (uint64_t at = 0, i = 0; at < ext->cache.page_size; at += ext->block_size, i++)
            page->bad |= (uint32_t)(at + ext->block_size > there) << i;
        return;
    }
    for (uint64_t at = 0, i = 0; at < ext->cache.page_size; at += ext->block_size, i++) {
        int rc = byre_filesystem_pread(&ext->files, page->bytes + at, ext->block_size, offset + at, NULL);

        page->bad |= (uint32_t)(rc < 0) << i;
    }
}

static struct byre_ext_page *load(struct byre_ext *ext, uint64_t number)
{
    struct byre_ext_page *page = malloc(sizeof *page + ext->cache.page_size);

    if (!page)
        return NULL;
    *page = (struct byre_ext_page){ .number = number, .refs = 1 };
    read_page(ext, page);
    return insert(&ext->cache, page);
}

int byre_ext_block_get(struct byre_ext *ext, uint64_t number, struct byre_ext_block *ret_block, struct byre_error *err)
{
    uint64_t offset = number * ext->block_size;
    uint32_t i = (uint32_t)(offset % ext->cache.page_size / ext->block_size);
    struct byre_ext_page *page;

    if (number >= ext->block_count)
        return byre_error_set(err, -EUCLEAN, "block %llu is past the end of the file system",
                              (unsigned long long)number);
    page = find(&ext->cache, offset / ext->cache.page_size);
    if (!page)
        page = load(ext, offset / ext->cache.page_size);
    if (!page)
        return byre_error_set_errno(err, -ENOMEM, "block %llu", (unsigned long long)number);
    *ret_block = (struct byre_ext_block){
        .page = page,
        .bytes = page->bytes + (size_t)i * ext->block_size,
        .judged = &page->judged[i],
    };
    if (!(page->bad >> i & 1))
        return 0;
    byre_ext_block_put(ret_block);
    {
        /* once more, for the message */
        CLEANUP(free_ptr) uint8_t *bytes = malloc(ext->block_size);
        int rc = bytes ? byre_filesystem_pread(&ext->files, bytes, ext->block_size, offset, err) : -ENOMEM;

        return rc < 0 ? rc : byre_error_set(err, -EIO, "block %llu could not be read", (unsigned long long)number);
    }
}

void byre_ext_block_put(struct byre_ext_block *block)
{
    page_unref(block->page);
    block->page = NULL;
}

bool byre_ext_is_judged(const struct byre_ext_block *block, uint32_t seed)
{
    return __atomic_load_n(block->judged, __ATOMIC_RELAXED) == (seed ? seed : 1);
}

void byre_ext_set_judged(const struct byre_ext_block *block, uint32_t seed)
{
    __atomic_store_n(block->judged, seed ? seed : 1, __ATOMIC_RELAXED);
}

#endif
