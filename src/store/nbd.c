/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stores that are exports of NBD servers: from the calls of a store to requests, and from the export to its limits.
 *
 * Zeros and trims carry no data, so that they may be longer than the server's largest block; a server that does not
 * take that (EINVAL, EOVERFLOW, ENOMEM) gets them in pieces from then on.
 *
 * Extents of what is only read are asked for many at a time, and the last answer is kept.
 */
#include "config.h"

#include "store/nbd.h"

#include <errno.h>

#ifdef HAVE_LIBNBD

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "base/rangelock.h"
#include "store/nbd_pool.h"
#include "store/store.h"

#define TRANSFER_MAX (32u << 20)  /* what a server takes if it does not say; the protocol's recommendation */
#define LONG_MAX_BYTES (1u << 30) /* of one request without data */
#define STATUS_MAX (1u << 30)     /* of one question for extents */
#define RUNS_MAX 4096u            /* extents of one answer that are kept */
#define PREFERRED_MAX (1u << 26)  /* what is preferred beyond this is no preference */

struct nbd {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    struct byre_nbd_pool *pool;
    struct byre_nbd_export export;
    struct byre_range_lock turns;
    pthread_mutex_t guard;     /* what follows: the last answer, if the store is only read */
    struct byre_nbd_run *runs; /* RUNS_MAX of them; or NULL */
    size_t run_count;
    uint64_t runs_start;
    atomic_bool short_only; /* requests without data are not longer than the largest transfer */
};

static struct nbd *nbd_of(struct byre_store *store)
{
    return (struct nbd *)store;
}

static int transfer(struct nbd *nbd, enum byre_nbd_op op, void *buf, uint64_t length, uint64_t offset)
{
    struct byre_nbd_request request = { .op = op, .buf = buf, .length = length, .offset = offset };

    return byre_nbd_pool_run(nbd->pool, &request);
}

/* The part of a vector that is in the export, in one buffer. */
static int transfer_vector(struct nbd *nbd, enum byre_nbd_op op, const struct iovec *iov, int iov_count,
                           uint64_t length, uint64_t offset)
{
    CLEANUP(free_ptr) void *buf = NULL;
    int r;

    if (iov_count > 0 && iov[0].iov_len >= length)
        return transfer(nbd, op, iov[0].iov_base, length, offset);
    buf = malloc(length);
    if (!buf)
        return -ENOMEM;
    if (op == BYRE_NBD_WRITE)
        byre_iov_gather(iov, iov_count, 0, buf, length);
    r = transfer(nbd, op, buf, length, offset);
    if (r == 0 && op == BYRE_NBD_READ)
        byre_iov_scatter(iov, iov_count, 0, buf, length);
    return r;
}

static int nbd_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct nbd *nbd = nbd_of(store);
    uint64_t total, within = hoff < nbd->export.size ? nbd->export.size - hoff : 0;
    int r = 0;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    within = MIN(within, total);
    if (within)
        r = transfer_vector(nbd, BYRE_NBD_READ, iov, iov_count, within, hoff);
    if (r == 0 && within < total)
        byre_iov_zero(iov, iov_count, within);
    return r;
}

static int nbd_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    uint64_t total;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    return transfer_vector(nbd_of(store), BYRE_NBD_WRITE, iov, iov_count, total, hoff);
}

static int nbd_flush(struct byre_store *store)
{
    struct nbd *nbd = nbd_of(store);

    return nbd->export.can_flush ? transfer(nbd, BYRE_NBD_FLUSH, NULL, 0, 0) : 0;
}

static int nbd_truncate(struct byre_store *store, uint64_t size)
{
    (void)store;
    (void)size;
    return -ENOTSUP;
}

static int nbd_get_size(struct byre_store *store, uint64_t *ret_size)
{
    *ret_size = nbd_of(store)->export.size;
    return 0;
}

/* Is the request one that the server might take in pieces? */
static bool is_too_long(const struct byre_nbd_request *request, uint64_t most, int code)
{
    return request->length > most && (code == -EINVAL || code == -EOVERFLOW || code == -ENOMEM);
}

/* Runs a request without data, in pieces if the server wants that. */
static int run_long(struct nbd *nbd, const struct byre_nbd_request *whole)
{
    uint64_t most = nbd->store.limits.max_transfer, part;
    struct byre_nbd_request request = *whole;
    int r = 0;

    if (!atomic_load(&nbd->short_only) || whole->length <= most) {
        r = byre_nbd_pool_run(nbd->pool, &request);
        if (!is_too_long(whole, most, r))
            return r;
        atomic_store(&nbd->short_only, true);
        r = 0;
    }
    for (uint64_t done = 0; r >= 0 && done < whole->length; done += part) {
        part = MIN(whole->length - done, most);
        request = *whole;
        request.offset += done;
        request.length = part;
        request.fast &= done == 0; /* once something is done, the rest is, too */
        r = byre_nbd_pool_run(nbd->pool, &request);
    }
    return r;
}

static int nbd_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    struct nbd *nbd = nbd_of(store);
    const struct byre_nbd_request request = {
        .op = BYRE_NBD_ZERO, .offset = hoff, .length = length,
        .no_hole = !(flags & BYRE_ZERO_UNMAP), .fast = flags & BYRE_ZERO_NO_FALLBACK,
    };

    if (!nbd->export.can_zero || (request.fast && !nbd->export.can_fast_zero))
        return -ENOTSUP;
    return run_long(nbd, &request);
}

static int nbd_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    const struct byre_nbd_request request = { .op = BYRE_NBD_TRIM, .offset = hoff, .length = length };
    struct nbd *nbd = nbd_of(store);

    return nbd->export.can_trim ? run_long(nbd, &request) : -ENOTSUP;
}

/* Asks for the extents from `offset` on. */
static int ask_status(struct nbd *nbd, uint64_t offset, struct byre_nbd_run *runs, size_t max, size_t *ret_count)
{
    struct byre_nbd_request request = {
        .op = BYRE_NBD_STATUS, .offset = offset, .length = MIN(nbd->export.size - offset, (uint64_t)STATUS_MAX),
        .runs = runs, .runs_max = max,
    };
    int r = byre_nbd_pool_run(nbd->pool, &request);

    if (r == 0)
        *ret_count = request.ret_runs;
    return r;
}

/* The first run of those that are kept that ends after `offset`; NULL: none. */
static const struct byre_nbd_run *find_run(const struct nbd *nbd, uint64_t offset)
{
    size_t low = 0, high = nbd->run_count;

    if (high == 0 || offset < nbd->runs_start)
        return NULL;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (nbd->runs[middle].end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low < nbd->run_count ? &nbd->runs[low] : NULL;
}

static int kept_run(struct nbd *nbd, uint64_t offset, struct byre_nbd_run *ret_run)
{
    LOCK_SCOPE(&nbd->guard);
    const struct byre_nbd_run *run = find_run(nbd, offset);
    int r = 0;

    if (!run) {
        nbd->run_count = 0;
        r = ask_status(nbd, offset, nbd->runs, RUNS_MAX, &nbd->run_count);
        nbd->runs_start = offset;
        run = nbd->runs;
    }
    if (r == 0)
        *ret_run = *run;
    return r;
}

static int nbd_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    struct nbd *nbd = nbd_of(store);
    struct byre_nbd_run run = { .end = nbd->export.size };
    size_t count;
    int r = 0;

    if (nbd->runs)
        r = kept_run(nbd, hoff, &run);
    else if (nbd->export.can_status)
        r = ask_status(nbd, hoff, &run, 1, &count);
    if (r < 0)
        return r;
    *ret_length = run.end - hoff;
    *ret_hole = run.zero;
    return 0;
}

static void nbd_close_store(struct byre_store *store)
{
    struct nbd *nbd = nbd_of(store);

    byre_nbd_pool_free(nbd->pool);
    byre_range_lock_done(&nbd->turns);
    pthread_mutex_destroy(&nbd->guard);
    free(nbd->runs);
    free(store->name);
    free(nbd);
}

static const struct byre_store_ops nbd_ops = {
    .kind = "nbd",
    .preadv = nbd_preadv,
    .pwritev = nbd_pwritev,
    .flush = nbd_flush,
    .truncate = nbd_truncate,
    .get_size = nbd_get_size,
    .write_zeroes = nbd_write_zeroes,
    .discard = nbd_discard,
    .extent = nbd_extent,
    .close = nbd_close_store,
};

static struct byre_store_limits limits_of(const struct byre_nbd_export *export)
{
    uint32_t min = export->block_min ? (uint32_t)export->block_min : 1;
    uint64_t most = export->block_max ? export->block_max : TRANSFER_MAX, preferred = export->block_preferred;

    most = byre_round_down(MIN(most, (uint64_t)TRANSFER_MAX), min);
    if (!byre_is_power_of_two(preferred) || preferred < min || preferred > PREFERRED_MAX)
        preferred = min;
    return (struct byre_store_limits){
        .align = min,
        .request_align = min,
        .max_transfer = (uint32_t)most,
        .max_write_zeroes = LONG_MAX_BYTES,
        .max_discard = LONG_MAX_BYTES,
        .zero_align = (uint32_t)preferred,
        .discard_align = (uint32_t)preferred,
    };
}

static int make(const struct byre_nbd_options *options, struct byre_nbd_pool *pool, struct byre_store **ret_store,
                struct byre_error *err)
{
    const struct byre_nbd_export *export = byre_nbd_pool_export(pool);
    struct nbd *nbd;

    if (options->writable && export->read_only)
        return byre_error_set(err, -EACCES, "the export '%s' is read-only", options->export_name);
    nbd = calloc(1, sizeof *nbd);
    if (!nbd)
        return byre_error_set_errno(err, -ENOMEM, "no store");
    *nbd = (struct nbd){
        .store = {
            .ops = &nbd_ops,
            .limits = limits_of(export),
            .name = strdup(options->name),
            .fd = -1,
            .read_only = !options->writable,
        },
        .export = *export,
        .runs = !options->writable && export->can_status ? calloc(RUNS_MAX, sizeof *nbd->runs) : NULL,
    };
    if (!nbd->store.name) {
        free(nbd->runs);
        free(nbd);
        return byre_error_set_errno(err, -ENOMEM, "no store");
    }
    byre_range_lock_init(&nbd->turns);
    pthread_mutex_init(&nbd->guard, NULL);
    if (nbd->store.limits.request_align > 1)
        nbd->store.turns = &nbd->turns;
    nbd->pool = pool;
    *ret_store = &nbd->store;
    return 0;
}

int byre_nbd_open(const struct byre_nbd_options *options, struct byre_store **ret_store, struct byre_error *err)
{
    struct byre_nbd_pool *pool;
    int r = byre_nbd_pool_new(options, &pool, err);

    if (r < 0)
        return r;
    r = make(options, pool, ret_store, err);
    if (r < 0)
        byre_nbd_pool_free(pool);
    return r;
}

#else

int byre_nbd_open(const struct byre_nbd_options *options, struct byre_store **ret_store, struct byre_error *err)
{
    (void)options;
    (void)ret_store;
    return byre_error_set(err, -ENOTSUP, "this byre was built without libnbd, and opens no disks over NBD");
}

#endif
