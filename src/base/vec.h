/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A growable array of any element type.
 *
 *     VEC(struct run) runs = VEC_INIT;
 *     if (vec_push(&runs, run) < 0) return -ENOMEM;
 *     for (size_t i = 0; i < runs.len; i++) use(runs.ptr[i]);
 *     vec_done(&runs);
 */
#ifndef BYRE_BASE_VEC_H
#define BYRE_BASE_VEC_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VEC(type) struct { type *ptr; size_t len, cap; }
#define VEC_INIT { NULL, 0, 0 }

/* Makes room for `extra` more elements: 0, or -ENOMEM with the vector unchanged. */
#define vec_reserve(v, extra) \
    byre_vec_reserve((void **)&(v)->ptr, &(v)->cap, (v)->len, (extra), sizeof *(v)->ptr)

/* Appends one element: 0, or -ENOMEM with the vector unchanged. */
#define vec_push(v, ...) \
    (vec_reserve((v), 1) < 0 ? -ENOMEM : ((v)->ptr[(v)->len++] = (__VA_ARGS__), 0))

/* Releases the memory; the vector is empty and usable again. */
#define vec_done(v) \
    do { free((v)->ptr); (v)->ptr = NULL; (v)->len = (v)->cap = 0; } while (0)

static inline int byre_vec_reserve(void **ptr, size_t *cap, size_t len, size_t extra, size_t size)
{
    size_t need, grown, bytes;
    void *p;

    if (__builtin_add_overflow(len, extra, &need))
        return -ENOMEM;
    if (need <= *cap)
        return 0;
    grown = *cap + *cap / 2 > need ? *cap + *cap / 2 : need;
    if (grown < 8)
        grown = 8;
    if (__builtin_mul_overflow(grown, size, &bytes))
        return -ENOMEM;
    p = realloc(*ptr, bytes);
    if (!p)
        return -ENOMEM;
    *ptr = p;
    *cap = grown;
    return 0;
}

#endif
