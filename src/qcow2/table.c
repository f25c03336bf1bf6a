/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Paged tables of 64-bit entries: loading and changing.  Writing them is the commit's part.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/table.h"

int byre_table_init(struct byre_table *table, const char *what, uint64_t hoff, uint32_t entry_count,
                    bool blank, struct byre_error *err)
{
    *table = (struct byre_table){ .what = what, .hoff = hoff, .entry_count = entry_count, .blank = blank };
    table->load_event = BYRE_EVENT_NONE;
    table->pages = calloc(MAX(byre_table_page_count(table), 1u), sizeof *table->pages);
    if (!table->pages)
        return byre_error_set(err, -ENOMEM, "Could not allocate the %s of %u entries", what, entry_count);
    return 0;
}

void byre_table_done(struct byre_table *table)
{
    if (!table->pages)
        return;
    for (uint32_t i = 0; i < byre_table_page_count(table); i++)
        free(table->pages[i]);
    free(table->pages);
    table->pages = NULL;
}

uint32_t byre_table_page_length(const struct byre_table *table, uint32_t page)
{
    return MIN(BYRE_TABLE_PAGE_ENTRIES, table->entry_count - page * BYRE_TABLE_PAGE_ENTRIES);
}

static int page_read(struct byre_table *table, struct byre_store *store, uint32_t index,
                     struct byre_table_page *page, struct byre_error *err)
{
    uint32_t length = byre_table_page_length(table, index);
    int ret;

    if (table->load_event != BYRE_EVENT_NONE)
        byre_store_event(store, table->load_event);
    ret = byre_store_pread(store, page->entries, length * sizeof(uint64_t),
                           table->hoff + (uint64_t)index * sizeof page->entries, err);

    if (ret < 0) {
        byre_error_prepend(err, "Could not read the %s: ", table->what);
        return ret;
    }
    for (uint32_t i = 0; i < length; i++)
        page->entries[i] = byre_get_be64(&page->entries[i]);
    return 0;
}

/* Forgets clean pages, in turn, until there is room for one. */
static void make_room(struct byre_table *table)
{
    uint32_t count = byre_table_page_count(table);

    for (uint32_t tried = 0; tried < count && table->max_pages && table->loaded_pages >= table->max_pages; tried++) {
        struct byre_table_page **page = &table->pages[table->hand];

        table->hand = (table->hand + 1) % count;
        if (*page && !(*page)->dirty) {
            free(*page);
            *page = NULL;
            table->loaded_pages--;
        }
    }
}

static int page_load(struct byre_table *table, struct byre_store *store, uint32_t index,
                     struct byre_table_page **ret_page, struct byre_error *err)
{
    struct byre_table_page *page = table->pages[index];

    if (!page) {
        make_room(table);
        page = calloc(1, sizeof *page);
        if (!page)
            return byre_error_set(err, -ENOMEM, "Could not allocate a page of the %s", table->what);
        int ret = table->blank ? 0 : page_read(table, store, index, page, err);
        if (ret < 0) {
            free(page);
            return ret;
        }
        table->pages[index] = page;
        table->loaded_pages++;
    }
    *ret_page = page;
    return 0;
}

int byre_table_get(struct byre_table *table, struct byre_store *store, uint32_t index, uint64_t *ret_entry,
                   struct byre_error *err)
{
    struct byre_table_page *page;

    assert(index < table->entry_count);
    if (table->blank && !table->pages[index / BYRE_TABLE_PAGE_ENTRIES]) {
        *ret_entry = 0;
        return 0;
    }
    int ret = page_load(table, store, index / BYRE_TABLE_PAGE_ENTRIES, &page, err);
    if (ret < 0)
        return ret;
    *ret_entry = page->entries[index % BYRE_TABLE_PAGE_ENTRIES];
    return 0;
}

int byre_table_set(struct byre_table *table, struct byre_store *store, uint32_t index, uint64_t entry,
                   struct byre_error *err)
{
    struct byre_table_page *page;

    assert(index < table->entry_count);
    int ret = page_load(table, store, index / BYRE_TABLE_PAGE_ENTRIES, &page, err);
    if (ret < 0)
        return ret;
    page->entries[index % BYRE_TABLE_PAGE_ENTRIES] = entry;
    if (!page->dirty) {
        page->dirty = true;
        table->dirty_pages++;
    }
    return 0;
}

void byre_table_limit(struct byre_table *table, uint32_t max_pages)
{
    table->max_pages = MAX(max_pages, 1u);
}

bool byre_table_page_blank(const struct byre_table *table, uint32_t index)
{
    const struct byre_table_page *page = table->pages[index / BYRE_TABLE_PAGE_ENTRIES];

    if (!page)
        return table->blank;
    for (uint32_t i = 0; i < BYRE_TABLE_PAGE_ENTRIES; i++) {
        if (page->entries[i])
            return false;
    }
    return true;
}
