/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A table of 64-bit entries that lies in one piece in the file: the L1 table, the refcount table.
 *
 * Pages of 512 entries are loaded on demand, kept in host byte order, and marked when changed; a commit writes
 * changed pages.  So opening costs nothing, and a huge table costs what is used of it.  Guarded by the image's mutex.
 */
#ifndef BYRE_QCOW2_TABLE_H
#define BYRE_QCOW2_TABLE_H

#include "store/event.h"

#define BYRE_TABLE_PAGE_ENTRIES 512u

struct byre_table_page {
    bool dirty;
    uint64_t entries[BYRE_TABLE_PAGE_ENTRIES];
};

struct byre_table {
    const char *what; /* "L1 table": for messages */
    enum byre_event load_event;     /* that a page is read; or BYRE_EVENT_NONE */
    uint64_t hoff;
    uint32_t entry_count;
    bool blank;                     /* never written: missing pages are zero, not to be read */
    struct byre_table_page **pages; /* owned */
    uint32_t dirty_pages;
    uint32_t loaded_pages, max_pages; /* max_pages 0: any number; else for a table that is only read */
    uint32_t hand;                  /* where the next page to forget is looked for */
};

/* A table of the file, or a blank one.  -ENOMEM. */
int byre_table_init(struct byre_table *table, const char *what, uint64_t hoff, uint32_t entry_count,
                    bool blank, struct byre_error *err);
void byre_table_done(struct byre_table *table);

static inline uint32_t byre_table_page_count(const struct byre_table *table)
{
    return table->entry_count / BYRE_TABLE_PAGE_ENTRIES + (table->entry_count % BYRE_TABLE_PAGE_ENTRIES != 0);
}

/* The entry at `index`; -EINVAL past the end is the caller's bug and asserted. */
int byre_table_get(struct byre_table *table, struct byre_store *store, uint32_t index, uint64_t *ret_entry,
                   struct byre_error *err);
int byre_table_set(struct byre_table *table, struct byre_store *store, uint32_t index, uint64_t entry,
                   struct byre_error *err);

/* From now on at most so many pages are kept, but one. */
void byre_table_limit(struct byre_table *table, uint32_t max_pages);

/* True if the page with `index` is known to be zero without reading it, or is in memory and zero. */
bool byre_table_page_blank(const struct byre_table *table, uint32_t index);

/* Entries in page `page`. */
uint32_t byre_table_page_length(const struct byre_table *table, uint32_t page);

#endif
