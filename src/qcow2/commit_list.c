/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frozen images of one phase of a commit: collecting, sorting, and writing them in few calls.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2/commit_list.h"

#define PIECES_MAX 256 /* written in one call */

int byre_commit_list_add(struct byre_commit_list *list, enum byre_event event, uint64_t hoff, const void *bytes,
                         uint32_t length)
{
    struct byre_commit_piece piece = { hoff, length, event, malloc(length) };

    if (!piece.bytes || vec_push(&list->pieces, piece) < 0) {
        free(piece.bytes);
        return -ENOMEM;
    }
    memcpy(piece.bytes, bytes, length);
    return 0;
}

static int compare_pieces(const void *a, const void *b)
{
    const struct byre_commit_piece *x = a, *y = b;

    return x->hoff < y->hoff ? -1 : x->hoff > y->hoff;
}

/* Raises the event of each stretch of pieces that are of one kind. */
static void tell_events(struct byre_store *store, const struct byre_commit_piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || pieces[i].event != pieces[i - 1].event)
            byre_store_event(store, pieces[i].event);
    }
}

int byre_commit_list_write(struct byre_commit_list *list, struct byre_store *store, struct byre_error *err)
{
    struct iovec iov[PIECES_MAX];
    size_t count;
    int rc = 0;

    if (list->pieces.len)
        qsort(list->pieces.ptr, list->pieces.len, sizeof *list->pieces.ptr, compare_pieces);
    for (size_t i = 0; rc == 0 && i < list->pieces.len; i += count) {
        const struct byre_commit_piece *piece = &list->pieces.ptr[i];
        uint64_t end = piece->hoff;

        for (count = 0; count < PIECES_MAX && i + count < list->pieces.len && piece[count].hoff == end;
             count++) {
            iov[count] = (struct iovec){ piece[count].bytes, piece[count].length };
            end += piece[count].length;
        }
        tell_events(store, piece, count);
        rc = byre_store_pwritev(store, iov, (int)count, piece->hoff, err);
    }
    return rc;
}

void byre_commit_list_done(struct byre_commit_list *list)
{
    for (size_t i = 0; i < list->pieces.len; i++)
        free(list->pieces.ptr[i].bytes);
    vec_done(&list->pieces);
}
