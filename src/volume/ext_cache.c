/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks of metadata in memory: pages of 4 KiB, or of a block where that is larger, in sets of four.
 *
 *   C1. The cache has one reference to each page in it, a block that is held has one: a page that leaves the cache
 *       stays until it is let go of.  All but `refs`, `used` and `judged` of a page never changes.
 *   C2. Reading is done without the mutex: two may read one page, and the second throws its own away.
 *   C3. A block that cannot be read does not make others of its page fail.  A page with such a block does not enter
 *       the cache: who needs it again tries again.
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

/* If it cannot be read at once, each block by itself; what is behind the file system's end nobody asks for. */
static void read_page(struct byre_ext *ext, struct byre_ext_page *page)
{
    const uint32_t size = ext->block_size;
    uint64_t first = page->number * (ext->cache.page_size / size);
    uint32_t count = (uint32_t)MIN(ext->cache.page_size / size, ext->block_count - first);

    if (byre_filesystem_pread(&ext->files, page->bytes, (size_t)count * size, first * size, NULL) == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        int rc = byre_filesystem_pread(&ext->files, page->bytes + (size_t)i * size, size, (first + i) * size, NULL);

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
    return page->bad ? page : insert(&ext->cache, page);
}

int byre_ext_block_get(struct byre_ext *ext, uint64_t number, struct byre_ext_block *ret_block, struct byre_error *err)
{
    const uint32_t in_page = ext->cache.page_size / ext->block_size, i = (uint32_t)(number % in_page);
    struct byre_ext_page *page;
    uint8_t *bytes;
    int rc = 0;

    if (number >= ext->block_count)
        return byre_error_set(err, -EUCLEAN, "block %llu is past the end of the file system",
                              (unsigned long long)number);
    page = find(&ext->cache, number / in_page);
    if (!page)
        page = load(ext, number / in_page);
    if (!page)
        return byre_error_set_errno(err, -ENOMEM, "block %llu", (unsigned long long)number);
    bytes = page->bytes + (size_t)i * ext->block_size;
    if (page->bad >> i & 1) /* once more, for the message; the page is nobody else's */
        rc = byre_filesystem_pread(&ext->files, bytes, ext->block_size, number * ext->block_size, err);
    if (rc < 0) {
        page_unref(page);
        return rc;
    }
    *ret_block = (struct byre_ext_block){ .page = page, .bytes = bytes, .judged = &page->judged[i] };
    return 0;
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
