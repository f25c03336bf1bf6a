/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of an image's bitmaps, shared by the files bitmap_*.c.  What others of the engine may call is at the end;
 * the layers above use qcow2/bitmap.h.
 *
 * Invariants
 *   M1. The bitmaps in the file are whole at any moment: new tables and bits go to new clusters, which a new directory
 *       points to, which the header's extension is switched to (D5); then the old ones are freed.
 *   M2. Before the first change of the disk, the bitmaps that follow changes are marked in use, durably, each in its
 *       entry of the directory.  While they are, what is set is in `bits`, on top of what is in the file.
 *   M3. Storing folds `bits` into the file, and the same switch takes the mark away.
 *   M4. A bitmap that was in use when the image was opened is inconsistent: it can be removed only.  One that byre
 *       cannot follow (`fault`) is left as it is, but if it should follow changes it is marked in use for good.
 * The list changes only while nobody else uses the disk; `tracks` and marks under the image's mutex.
 */
#ifndef BYRE_QCOW2_BITMAPS_H
#define BYRE_QCOW2_BITMAPS_H

#include "qcow2/bitmap_bits.h"
#include "qcow2/fmt_bitmap.h"
#include "qcow2/image.h"

/* Where a bitmap is in the file, or shall be. */
struct byre_bitmap_place {
    uint64_t table_hoff;
    uint32_t table_size; /* entries */
    uint32_t flags;
    uint64_t *table;     /* owned; NULL: not read */
};

struct byre_bitmap {
    char *name;          /* owned; NUL-terminated */
    uint16_t name_length;
    uint8_t type;
    unsigned granularity_bits;
    uint8_t *extra;      /* owned */
    uint32_t extra_length;
    uint64_t entry_at;   /* of its entry in the directory; not while `added` */
    const char *fault;   /* why it cannot be used, or NULL */
    bool lost;           /* the fault is that its table cannot be where it should */
    bool inconsistent;   /* it was in use when it was read */
    struct byre_bitmap_place now, next;
    bool added, removed; /* by the change under way */
    struct byre_bits *bits; /* set since it was stored; owned; NULL: it follows nothing yet */
};

enum byre_bitmaps_tracking {
    BYRE_BITMAPS_IDLE,   /* nothing follows changes */
    BYRE_BITMAPS_READY,  /* those that do are to be marked first */
    BYRE_BITMAPS_MARKED,
};

struct byre_bitmaps {
    struct byre_qcow2_bitmaps place; /* count 0: there is no directory */
    bool stale;                      /* the image was written by who knows nothing of bitmaps */
    VEC(struct byre_bitmap *) list;  /* in the directory's order; each owned */
    byre_offset_vec fresh, replaced; /* clusters that the change under way has taken, and shall free */
    bool resizing;                   /* between byre_bitmaps_resize_begin and _end: `resized` is to be switched to */
    struct byre_qcow2_bitmaps resized;
};

/* The list of the image, read if it was not yet.  The mutex is held. */
int byre_bitmaps_get_locked(struct byre_qcow2 *image, struct byre_bitmaps **ret_bitmaps, struct byre_error *err);
/* The bitmap of that name, or NULL. */
struct byre_bitmap *byre_bitmap_find(const struct byre_bitmaps *bitmaps, const char *name);
void byre_bitmap_free(struct byre_bitmap *bitmap);
/* Shall the bitmap follow changes? */
bool byre_bitmap_follows(const struct byre_bitmap *bitmap);

/* Reads the table of the bitmap, if it was not yet: -EIO names an entry that cannot be. */
int byre_bitmap_load_table_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err);
/* Fills `bytes`, a cluster, with the bits of one entry of the table as they are now, for a disk of `size` bytes.
 * The bits behind its end are zero. */
int byre_bitmap_read_chunk_locked(struct byre_qcow2 *image, const struct byre_bitmap *bitmap, uint32_t index,
                                  uint64_t size, uint8_t *bytes, struct byre_error *err);

/* --- a change of the list: what is in `next`, `added` and `removed` becomes true, or none of it --- */

/* `next.table` becomes that of a disk of `size` bytes: what is in the file with `bits` put in. */
int byre_bitmap_fold_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, uint64_t size,
                            struct byre_error *err);
/* `next.table` becomes one of zeros. */
int byre_bitmap_blank_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err);
/* Notes that all clusters of the bitmap are to be freed, as far as its table makes sense. */
int byre_bitmap_drop_locked(struct byre_qcow2 *image, struct byre_bitmap *bitmap, struct byre_error *err);
/* Writes everything new to new clusters, durably; nothing points there yet.  On failure the change is undone. */
int byre_bitmaps_prepare(struct byre_qcow2 *image, struct byre_qcow2_bitmaps *ret_place, struct byre_error *err);
/* Makes the prepared change. */
int byre_bitmaps_switch(struct byre_qcow2 *image, const struct byre_qcow2_bitmaps *place, struct byre_error *err);
/* Undoes what was not prepared or not switched. */
void byre_bitmaps_cancel(struct byre_qcow2 *image);

/* Writes the flags of those bitmaps whose `next.flags` differ, in place, with a barrier. */
int byre_bitmaps_write_flags_locked(struct byre_qcow2 *image, struct byre_error *err);

/* --- what the rest of the engine calls --- */

/* Reads the list of an image that is opened for writing.  It is not shared yet. */
int byre_bitmaps_open(struct byre_qcow2 *image, struct byre_error *err);
/* Stores what was set, and takes the marks away: at the end, when nobody uses the image any more. */
int byre_bitmaps_store(struct byre_qcow2 *image, struct byre_error *err);
void byre_bitmaps_free(struct byre_bitmaps *bitmaps);
/* Notes in the tally of metadata where bitmaps lie: see metadata.c. */
int byre_bitmaps_learn_locked(struct byre_qcow2 *image, struct byre_error *err);

/* The disk gets another size: `begin` when all but the switch of the size in the header is done, `end` after it, with
 * `done` false if it was not switched.  Nothing is followed from before `begin`, with byre_bitmaps_pause. */
int byre_bitmaps_resize_begin(struct byre_qcow2 *image, uint64_t size, struct byre_error *err);
int byre_bitmaps_resize_end(struct byre_qcow2 *image, bool done, struct byre_error *err);
/* Stores what was set, and follows nothing until byre_bitmaps_resume. */
int byre_bitmaps_pause(struct byre_qcow2 *image, struct byre_error *err);
void byre_bitmaps_resume(struct byre_qcow2 *image);

#endif
