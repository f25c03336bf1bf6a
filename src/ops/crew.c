/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crew over the thread pool: one job a worker.  Freeing the pool is what waits for them.
 */
#include "config.h"

#include "ops/crew.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/pool.h"

struct member {
    struct byre_job job; /* first: the pool hands back its address */
    void (*work)(void *opaque, unsigned index);
    void *opaque;
    unsigned index;
};

static void member_run(struct byre_job *job)
{
    struct member *member = (struct member *)job;

    member->work(member->opaque, member->index);
}

unsigned byre_crew_size(unsigned asked, size_t budget, size_t each)
{
    size_t size = asked ? asked : byre_cpu_count();

    if (size > budget / each)
        size = budget / each;
    return size ? (unsigned)size : 1;
}

int byre_crew_run(unsigned size, void (*work)(void *opaque, unsigned index), void *opaque,
                  struct byre_error *err)
{
    CLEANUP(free_ptr) struct member *members = NULL;
    struct byre_pool *pool;
    int r;

    if (size <= 1) {
        work(opaque, 0);
        return 0;
    }
    members = calloc(size, sizeof *members);
    if (!members)
        return byre_error_set_errno(err, -ENOMEM, "could not start %u workers", size);
    r = byre_pool_new(size, &pool, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < size; i++) {
        members[i] = (struct member){ { member_run, NULL }, work, opaque, i };
        byre_pool_submit(pool, &members[i].job);
    }
    byre_pool_free(pool);
    return 0;
}
