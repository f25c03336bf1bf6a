/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: the fast path of requests, and the hand-over of all others to workers.
 *
 *   U1. The fast path reads or writes plain data at places that the flat map knows; it never reads metadata, allocates
 *       or inflates.  Whatever else comes, and whatever goes wrong on it (an error, a short transfer), is done
 *       by a worker with the blocking calls of byre/disk.h: there is one implementation of every operation.
 *   U2. A request is in the epoch from before it is mapped until the last of its bytes has been moved; a worker's call
 *       enters by itself, and its request is not in the epoch any more.  The same is true of the disk's gate; where
 *       that is closed, it is a worker that waits.
 *   U3. A slot is in one place: `idle`, under way (in the ring, or with a worker), `finished`, or `ready`.
 *   U4. Only `finished` and the event are shared with workers.
 */
#include "config.h"

#include "byre/queue.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "base/pool.h"
#include "disk/disk.h"
#include "disk/flat_map.h"
#include "disk/queue_blocking.h"
#include "disk/queue_ring.h"

enum {
    RING_MAX = 1024,    /* entries; more than fit are handed over in parts */
    PARTS_MAX = 8,      /* places that a request of the fast path may be in */
    VECTOR_MAX = 32,    /* buffers of all of its parts */
    PAGE = 4096,
    INLINE_MAX = 256 << 10, /* bytes written to the page cache at once */
    SYS_CACHESTAT = 451,    /* on all architectures */
};

struct byre_workers {
    struct byre_pool *pool;
};

struct slot;

/* Bytes of a request that lie together in one file. */
struct part {
    struct slot *slot;
    int fd;
    uint64_t hoff, length;
    const struct iovec *iov;
    int iov_count;
};

struct slot {
    struct byre_job job; /* first: a job is its slot */
    struct slot *next;   /* in one of the queue's lists */
    struct byre_queue *queue;
    struct byre_request request;
    int result;
    bool failed;         /* the fast path did not do it all */
    uint64_t ticket;
    unsigned part_count, parts_left;
    struct part parts[PARTS_MAX];
    struct iovec vector[VECTOR_MAX];
    int vector_used;
};

struct list {
    struct slot *first, **last;
};

struct byre_queue {
    struct byre_disk *disk;
    struct byre_pool *pool;
    struct byre_ring *ring; /* NULL: workers do its part */
    struct slot *slots;
    struct list idle, ready;
    unsigned depth, pending, under_way;
    int event_fd;
    bool polled;            /* somebody waits for event_fd by himself, */
    bool edges;             /* and sees each of its events once */

    pthread_mutex_t mutex;
    struct list finished;   /* by workers; under the mutex */
};

int byre_workers_new(unsigned threads, struct byre_workers **ret_workers, struct byre_error *err)
{
    struct byre_workers *workers = calloc(1, sizeof *workers);
    int r;

    if (!workers)
        return byre_error_set_errno(err, -ENOMEM, "could not start worker threads");
    r = byre_pool_new(threads, &workers->pool, err);
    if (r < 0)
        free(workers);
    else
        *ret_workers = workers;
    return r;
}

void byre_workers_free(struct byre_workers *workers)
{
    if (!workers)
        return;
    byre_pool_free(workers->pool);
    free(workers);
}

/* --- lists of slots -------------------------------------------------------------------------------------- */

static void list_init(struct list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void list_push(struct list *list, struct slot *slot)
{
    slot->next = NULL;
    *list->last = slot;
    list->last = &slot->next;
}

static struct slot *list_pop(struct list *list)
{
    struct slot *slot = list->first;

    if (!slot)
        return NULL;
    list->first = slot->next;
    if (!list->first)
        list->last = &list->first;
    return slot;
}

/* Appends all of `from`, which is empty afterwards. */
static unsigned list_move(struct list *list, struct list *from)
{
    unsigned count = 0;

    for (struct slot *slot = list_pop(from); slot; slot = list_pop(from), count++)
        list_push(list, slot);
    return count;
}

/* --- workers --------------------------------------------------------------------------------------------- */

static void raise_event(const struct byre_queue *queue)
{
    (void)eventfd_write(queue->event_fd, 1);
}

static void work(struct byre_job *job)
{
    struct slot *slot = (struct slot *)job;
    struct byre_queue *queue = slot->queue;

    slot->result = byre_queue_do_blocking(queue->disk, &slot->request);
    pthread_mutex_lock(&queue->mutex);
    list_push(&queue->finished, slot);
    /* Under the mutex: once the slot can be found there, the queue may be gone as soon as that is given up. */
    raise_event(queue);
    pthread_mutex_unlock(&queue->mutex);
}

static void hand_over(struct slot *slot)
{
    slot->job.run = work;
    byre_pool_submit(slot->queue->pool, &slot->job);
}

/* Something is there that no event has told of. */
static void tell_of_ready(const struct byre_queue *queue)
{
    if (queue->polled && !queue->edges && queue->ready.first)
        raise_event(queue);
}

/* --- the fast path --------------------------------------------------------------------------------------- */

/* The extents of the request, if they are known: 0 if they are not, or too many.  In the epoch if there is a map. */
static int known_extents(const struct slot *slot, struct byre_extent *extents)
{
    const struct byre_disk *disk = slot->queue->disk;
    const struct byre_request *request = &slot->request;

    if (!request->length || !byre_range_within(request->goff, request->length, disk->size))
        return 0;
    if (disk->map)
        return byre_flat_map_peek(disk->map, request->goff, request->length, request->op == BYRE_OP_WRITE, extents,
                                  PARTS_MAX);
    extents[0] = (struct byre_extent){
        .goff = request->goff, .length = request->length, .kind = BYRE_EXTENT_DATA, .hoff = request->goff,
        .exclusive = true,
    };
    return 1;
}

/* The part of the request's vector that belongs to an extent: false if it is too much, or too short. */
static bool slice_vector(struct slot *slot, const struct byre_extent *extent, const struct iovec **ret_iov,
                         int *ret_count)
{
    const struct byre_request *request = &slot->request;
    struct iovec *iov = slot->vector + slot->vector_used;
    uint64_t covered;
    int count = byre_iov_slice(request->iov, request->iov_count, extent->goff - request->goff, extent->length, iov,
                               VECTOR_MAX - slot->vector_used, &covered);

    slot->vector_used += count;
    *ret_iov = iov;
    *ret_count = count;
    return covered == extent->length;
}

static bool is_direct(const struct byre_store *store)
{
    return store->limits.align > 1;
}

/* Can the kernel do it, without a bounce buffer? */
static bool is_suitable(const struct byre_store *store, const struct part *part)
{
    uint32_t align = store->limits.align;

    return part->fd >= 0 && (!store->limits.max_transfer || part->length <= store->limits.max_transfer) &&
           (part->hoff | part->length) % align == 0 && byre_iov_is_aligned(part->iov, part->iov_count, align);
}

/* Tries to do it at once; true if all of it was done. */
static bool done_at_once(const struct byre_store *store, const struct part *part, bool write)
{
    ssize_t moved;

    if (is_direct(store) || part->length > INLINE_MAX)
        return false;
    if (!write)
        moved = preadv2(part->fd, part->iov, part->iov_count, (off_t)part->hoff, RWF_NOWAIT);
    else if ((part->hoff | part->length) % PAGE == 0)
        /* Whole pages: nothing has to be read first. */
        moved = pwritev(part->fd, part->iov, part->iov_count, (off_t)part->hoff);
    else
        return false;
    return moved == (ssize_t)part->length;
}

/*
 * Is all of it in the page cache, and in the file?  Its last page may be longer than the file is, which reads make up
 * for with zeros.  A kernel that cannot say (before 6.5) says no.
 */
static bool is_cached(int fd, uint64_t hoff, uint64_t length)
{
    struct {
        uint64_t hoff, length;
    } range = { hoff, length };
    struct {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } pages;
    uint64_t wanted = byre_div_up(hoff + length, PAGE) - hoff / PAGE;
    off_t end;

    if (syscall(SYS_CACHESTAT, fd, &range, &pages, 0) != 0 || pages.cached != wanted)
        return false;
    end = lseek(fd, 0, SEEK_END); /* of a block device, too; nobody uses the position */
    return end >= 0 && hoff + length <= (uint64_t)end;
}

/* Tells where an extent is, which then need not be read: false if it has to be. */
static bool tell_place(const struct slot *slot, const struct byre_extent *extent, const struct byre_store *store)
{
    struct byre_places *places = slot->request.places;
    const struct byre_place place = { extent->goff, extent->length, store->fd, extent->hoff };

    if (extent->kind == BYRE_EXTENT_COMPRESSED)
        return false;
    if (extent->kind != BYRE_EXTENT_DATA)
        return byre_places_add_zeros(places, extent->goff, extent->length);
    return places->with_data && !slot->queue->disk->writable && store->fd >= 0 && !is_direct(store) &&
           place.length >= BYRE_PLACE_DATA_MIN && is_cached(place.fd, place.hoff, place.length) &&
           byre_places_add_data(places, &place);
}

/* Does an extent, or makes a part of it that is left to do; false if it is not for the fast path. */
static bool take_extent(struct slot *slot, const struct byre_extent *extent, bool write)
{
    const struct byre_store *store = slot->queue->disk->layers[extent->layer].data;
    struct part part = { .slot = slot, .fd = store->fd, .hoff = extent->hoff, .length = extent->length };

    if (extent->kind == BYRE_EXTENT_COMPRESSED ||
        (write && (extent->kind != BYRE_EXTENT_DATA || extent->layer || !extent->exclusive)))
        return false;
    if (slot->request.places && tell_place(slot, extent, store))
        return true;
    if (!slice_vector(slot, extent, &part.iov, &part.iov_count))
        return false;
    if (extent->kind != BYRE_EXTENT_DATA) {
        byre_iov_zero(part.iov, part.iov_count, 0);
        return true;
    }
    if (!is_suitable(store, &part))
        return false;
    if (!done_at_once(store, &part, write))
        slot->parts[slot->part_count++] = part;
    return true;
}

static bool enter_epoch(struct slot *slot)
{
    struct byre_disk *disk = slot->queue->disk;

    if (!byre_gate_try_enter(&disk->gate))
        return false;
    if (disk->map)
        slot->ticket = byre_epoch_enter(disk->epoch);
    return true;
}

static void leave_epoch(const struct slot *slot)
{
    struct byre_disk *disk = slot->queue->disk;

    if (disk->map)
        byre_epoch_leave(disk->epoch, slot->ticket);
    byre_gate_leave(&disk->gate);
}

/* The kernel's part is over, or there was none. */
static void end_fast(struct slot *slot, bool ok)
{
    leave_epoch(slot);
    if (!ok) {
        hand_over(slot);
        return;
    }
    slot->result = 0;
    slot->queue->under_way--;
    list_push(&slot->queue->ready, slot);
}

/* Lets bitmaps know what will be written; false if that is not for the fast path. */
static bool note_write(const struct slot *slot)
{
    struct byre_qcow2 *image = slot->queue->disk->layers[0].qcow2;

    return !image || byre_qcow2_try_note_change(image, slot->request.goff, slot->request.length);
}

/* Reads or writes, or lets the kernel or a worker do it. */
static void start_move(struct slot *slot)
{
    struct byre_queue *queue = slot->queue;
    bool write = slot->request.op == BYRE_OP_WRITE, ok;
    struct byre_extent extents[PARTS_MAX];
    int count;

    if (!enter_epoch(slot)) {
        hand_over(slot);
        return;
    }
    if (!write && slot->request.places)
        slot->request.places->count = 0;
    count = known_extents(slot, extents);
    ok = count > 0 && (!write || note_write(slot));
    for (int i = 0; ok && i < count; i++)
        ok = take_extent(slot, &extents[i], write);
    if (!ok || !slot->part_count || !queue->ring) {
        end_fast(slot, ok && !slot->part_count);
        return;
    }
    slot->parts_left = slot->part_count;
    for (unsigned i = 0; i < slot->part_count; i++) {
        const struct part *part = &slot->parts[i];

        if (!byre_ring_add(queue->ring, write, part->fd, part->iov, part->iov_count, part->hoff, &slot->parts[i])) {
            slot->failed = true;
            slot->parts_left--;
        }
    }
    if (!slot->parts_left)
        end_fast(slot, false);
}

/* A part is over, well or not. */
static void end_part(const struct part *part, bool ok)
{
    struct slot *slot = part->slot;

    slot->failed |= !ok;
    if (--slot->parts_left == 0)
        end_fast(slot, !slot->failed);
}

/* Workers do what the kernel refuses. */
static void submit_ring(struct byre_queue *queue)
{
    void *cookie;

    byre_ring_submit(queue->ring);
    while (byre_ring_take_back(queue->ring, &cookie))
        end_part(cookie, false);
}

/* May bytes be written without the blocking call's checks and what it does besides? */
static bool writes_are_plain(const struct byre_disk *disk, const struct byre_request *request)
{
    const struct byre_layer *top = &disk->layers[0];

    if (!disk->writable || disk->write_through || disk->compress || disk->detect_zeroes || request->flags ||
        (top->probed_raw && request->goff < BYRE_SECTOR))
        return false;
    return top->qcow2 ? byre_qcow2_check_writable(top->qcow2, NULL) == 0 : atomic_load(&disk->poisoned) == 0;
}

static void start(struct byre_queue *queue, const struct byre_request *request)
{
    struct slot *slot = list_pop(&queue->idle);

    slot->request = *request;
    slot->failed = false;
    slot->part_count = 0;
    slot->vector_used = 0;
    queue->pending++;
    queue->under_way++;
    if ((request->op == BYRE_OP_READ && !queue->disk->copy_on_read && !request->flags) ||
        (request->op == BYRE_OP_WRITE && writes_are_plain(queue->disk, request)))
        start_move(slot);
    else
        hand_over(slot);
}

unsigned byre_queue_submit(struct byre_queue *queue, const struct byre_request *requests, unsigned count)
{
    unsigned started = MIN(count, queue->depth - queue->pending);

    for (unsigned i = 0; i < started; i++)
        start(queue, &requests[i]);
    if (queue->ring)
        submit_ring(queue);
    tell_of_ready(queue);
    return started;
}

/* --- reaping --------------------------------------------------------------------------------------------- */

static void collect_ring(struct byre_queue *queue)
{
    void *cookie;
    int result;

    while (queue->ring && byre_ring_next(queue->ring, &cookie, &result)) {
        const struct part *part = cookie;

        end_part(part, result >= 0 && (uint64_t)result == part->length);
    }
}

static void collect_finished(struct byre_queue *queue)
{
    LOCK_SCOPE(&queue->mutex);

    queue->under_way -= list_move(&queue->ready, &queue->finished);
}

static void collect(struct byre_queue *queue)
{
    collect_ring(queue);
    collect_finished(queue);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for the event and takes it back; false if it is too late. */
static bool await_event(const struct byre_queue *queue, int64_t deadline)
{
    struct pollfd pollfd = { .fd = queue->event_fd, .events = POLLIN };
    int64_t left = deadline < 0 ? -1 : MAX(deadline - now_ms(), (int64_t)0);
    eventfd_t count;

    if (poll(&pollfd, 1, (int)MIN(left, (int64_t)INT_MAX)) > 0)
        (void)eventfd_read(queue->event_fd, &count);
    return deadline < 0 || now_ms() < deadline;
}

unsigned byre_queue_reap(struct byre_queue *queue, struct byre_completion *completions, unsigned max, unsigned min,
                         int timeout_ms)
{
    int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    unsigned count = 0;
    eventfd_t events;

    if (queue->polled && !queue->edges)
        (void)eventfd_read(queue->event_fd, &events);
    min = MIN(min, max);
    for (bool in_time = true;;) {
        collect(queue);
        for (struct slot *slot; count < max && (slot = list_pop(&queue->ready)); count++) {
            completions[count] = (struct byre_completion){ slot->request.cookie, slot->result };
            queue->pending--;
            list_push(&queue->idle, slot);
        }
        if (count >= min || !queue->under_way || !in_time)
            break;
        in_time = await_event(queue, deadline);
    }
    tell_of_ready(queue);
    return count;
}

void byre_queue_drain(struct byre_queue *queue)
{
    for (collect(queue); queue->under_way; collect(queue))
        (void)await_event(queue, -1);
    tell_of_ready(queue);
}

unsigned byre_queue_pending(const struct byre_queue *queue)
{
    return queue->pending;
}

int byre_queue_fd(struct byre_queue *queue)
{
    queue->polled = true;
    raise_event(queue);
    return queue->event_fd;
}

/* --- making and releasing -------------------------------------------------------------------------------- */

int byre_queue_new(struct byre_disk *disk, struct byre_workers *workers, const struct byre_queue_options *options,
                   struct byre_queue **ret_queue, struct byre_error *err)
{
    unsigned depth = options->depth;
    struct byre_queue *queue;

    if (depth < 1 || depth > BYRE_QUEUE_DEPTH_MAX)
        return byre_error_set(err, -EINVAL, "queue depth %u: must be from 1 to %u", depth, BYRE_QUEUE_DEPTH_MAX);
    queue = calloc(1, sizeof *queue);
    if (!queue)
        return byre_error_set_errno(err, -ENOMEM, "could not make a queue");
    queue->disk = disk;
    queue->pool = workers->pool;
    queue->depth = depth;
    queue->edges = options->edges;
    pthread_mutex_init(&queue->mutex, NULL);
    list_init(&queue->idle);
    list_init(&queue->ready);
    list_init(&queue->finished);
    queue->slots = calloc(depth, sizeof *queue->slots);
    queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!queue->slots || queue->event_fd < 0) {
        int r = queue->slots ? -errno : -ENOMEM;

        byre_queue_free(queue);
        return byre_error_set_errno(err, r, "could not make a queue");
    }
    for (unsigned i = 0; i < depth; i++) {
        queue->slots[i].queue = queue;
        list_push(&queue->idle, &queue->slots[i]);
    }
    if (options->aio == BYRE_AIO_IO_URING)
        queue->ring = byre_ring_new(MIN(2 * depth, (unsigned)RING_MAX), queue->event_fd);
    *ret_queue = queue;
    return 0;
}

void byre_queue_free(struct byre_queue *queue)
{
    if (!queue)
        return;
    if (queue->slots && queue->event_fd >= 0)
        byre_queue_drain(queue);
    byre_ring_free(queue->ring);
    if (queue->event_fd >= 0)
        close(queue->event_fd);
    pthread_mutex_destroy(&queue->mutex);
    free(queue->slots);
    free(queue);
}
