/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cache modes: how a disk uses the host's page cache, and what its flushes do.
 */
#ifndef BYRE_CACHE_H
#define BYRE_CACHE_H

enum byre_cache {
    BYRE_CACHE_WRITEBACK,    /* the page cache; flushes make durable */
    BYRE_CACHE_NONE,         /* O_DIRECT; flushes make durable */
    BYRE_CACHE_UNSAFE,       /* the page cache; flushes do not reach the medium */
    BYRE_CACHE_WRITETHROUGH, /* the page cache; every change is durable when its call returns */
    BYRE_CACHE_DIRECTSYNC,   /* O_DIRECT; every change is durable when its call returns */
};

#endif
