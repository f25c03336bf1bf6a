/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing to a qcow2 target, in the engine's three steps.
 *
 * Before the turn: find the zeros, compress.  In the turn: reserve a place for everything in guest order.
 * After it: fill and publish, side by side with the other workers.
 *
 *   Q1. worker->places holds what was reserved and neither published nor abandoned: no way out leaves any.
 *   Q2. Places are in ascending order, and so are the ranges that they lock.
 *   Q3. In a target with subclusters, those that are zero within a cluster with data are not written.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "ops/convert_job.h"

static struct byre_place *new_place(struct byre_convert_worker *worker)
{
    struct byre_place *place = &worker->places[worker->place_count];

    memset(place, 0, sizeof *place);
    return place;
}

/* Reserves for the plain bytes [start, end) of the item. */
static int reserve_plain(struct byre_convert_worker *worker, uint64_t item_goff, size_t start, size_t end,
                         struct byre_error *err)
{
    while (start < end) {
        struct byre_place *place = new_place(worker);
        int r = byre_qcow2_reserve(worker->job->qcow2, item_goff + start, end - start, &place->reservation,
                                   err);

        if (r < 0)
            return r;
        place->data = worker->in + start;
        if (worker->job->subcluster_size)
            place->reservation.skip = worker->skip + start / worker->job->cluster_size;
        worker->place_count++;
        start += place->reservation.length;
    }
    return 0;
}

/* Reserves for the compressed clusters [first, end) of the item. */
static int reserve_compressed(struct byre_convert_worker *worker, size_t first, size_t end,
                              struct byre_error *err)
{
    struct byre_place *place = new_place(worker);
    int r;

    place->items = worker->items + first;
    place->item_count = end - first;
    r = byre_qcow2_reserve_compressed(worker->job->qcow2, place->items, place->item_count, err);
    if (r >= 0)
        worker->place_count++;
    return r;
}

/* Reserves for the bytes [start, end) of the item, `start` at a cluster. */
static int reserve_data(struct byre_convert_worker *worker, uint64_t item_goff, size_t start, size_t end,
                        struct byre_error *err)
{
    size_t cluster_size = worker->job->cluster_size;
    size_t first = start / cluster_size, last = byre_div_up(end, cluster_size), next;
    int r;

    if (!worker->codec)
        return reserve_plain(worker, item_goff, start, end, err);
    for (; first < last; first = next) {
        bool compressed = worker->items[first].length > 0;

        for (next = first + 1; next < last && (worker->items[next].length > 0) == compressed; next++)
            ;
        if (compressed)
            r = reserve_compressed(worker, first, next, err);
        else
            r = reserve_plain(worker, item_goff, first * cluster_size, MIN(next * cluster_size, end), err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Goes through the item in guest order: zeros are left or written as such, data gets a place. */
static int reserve_item(struct byre_convert_worker *worker, const struct byre_plan_item *item,
                        struct byre_error *err)
{
    struct byre_convert_job *job = worker->job;
    struct byre_zero_run zeros;
    size_t length = item->length;
    int r = 0;

    for (size_t at = 0; at < length; at = zeros.end) {
        if (!byre_zero_run_next(&job->zero_rule, worker->in, length, at, &zeros))
            zeros = (struct byre_zero_run){ length, length };
        r = reserve_data(worker, item->goff, at, zeros.start, err);
        if (r >= 0 && zeros.start < zeros.end && !job->zeros_are_there)
            r = byre_write_zeroes(job->target, item->goff + zeros.start, zeros.end - zeros.start,
                                  BYRE_WRITE_ZEROES_UNMAP, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int compress_cluster(struct byre_convert_worker *worker, const uint8_t *in, size_t *out_used,
                            struct byre_qcow2_compressed *item, struct byre_error *err)
{
    size_t cluster_size = worker->job->cluster_size;
    int64_t stored = byre_codec_compress(worker->codec, in, cluster_size, worker->out + *out_used,
                                         cluster_size - 1, err);

    if (stored < 0)
        return (int)stored;
    item->data = worker->out + *out_used;
    item->length = (uint32_t)stored;
    *out_used += (size_t)stored;
    return 0;
}

/* Compresses what the zero rule calls data, one cluster each.  The last cluster of the disk may be short: it
 * is compressed as if zeros followed.  Where the target goes on behind the sources, it keeps what is there, and their
 * last cluster is not compressed. */
static int compress_item(struct byre_convert_worker *worker, const struct byre_plan_item *item,
                         struct byre_error *err)
{
    struct byre_convert_job *job = worker->job;
    size_t cluster_size = job->cluster_size, length = item->length, out_used = 0;
    struct byre_zero_run zeros = { 0, 0 };
    bool to_the_end = item->goff + length == byre_get_size(job->target);
    int r;

    memset(worker->in + length, 0, byre_round_up(length, cluster_size) - length);
    for (size_t at = 0; at < length; at += cluster_size) {
        if (at >= zeros.end && !byre_zero_run_next(&job->zero_rule, worker->in, length, at, &zeros))
            zeros = (struct byre_zero_run){ length, length };
        if (at >= zeros.start && at < zeros.end)
            continue;
        worker->items[at / cluster_size] = (struct byre_qcow2_compressed){ .goff = item->goff + at };
        if (length - at < cluster_size && !to_the_end)
            break;
        r = compress_cluster(worker, worker->in + at, &out_used, &worker->items[at / cluster_size], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int fill_place(struct byre_qcow2 *image, const struct byre_place *place, struct byre_error *err)
{
    struct iovec iov = { (void *)place->data, place->reservation.length };

    if (place->items)
        return byre_qcow2_fill_compressed(image, place->items, place->item_count, err);
    return byre_qcow2_fill(image, &place->reservation, &iov, 1, err);
}

static int publish_place(struct byre_qcow2 *image, struct byre_place *place, struct byre_error *err)
{
    if (place->items)
        return byre_qcow2_publish_compressed(image, place->items, place->item_count, err);
    return byre_qcow2_publish(image, &place->reservation, err);
}

static void abandon_places(struct byre_convert_worker *worker, size_t first)
{
    struct byre_qcow2 *image = worker->job->qcow2;

    for (size_t i = first; i < worker->place_count; i++) {
        struct byre_place *place = &worker->places[i];

        if (place->items)
            byre_qcow2_abandon_compressed(image, place->items, place->item_count);
        else
            byre_qcow2_abandon(image, &place->reservation);
    }
    worker->place_count = 0;
}

static int fill_and_publish(struct byre_convert_worker *worker, struct byre_error *err)
{
    struct byre_qcow2 *image = worker->job->qcow2;
    size_t i;
    int r = 0;

    for (i = 0; i < worker->place_count; i++) {
        r = fill_place(image, &worker->places[i], err);
        if (r < 0)
            break;
        r = publish_place(image, &worker->places[i], err);
        if (r < 0) {
            i++;
            break;
        }
    }
    abandon_places(worker, i);
    return r;
}

/* Marks the subclusters of the item that the rule calls zero.  Where the target goes on behind the sources, it keeps
 * what is there, and so the last one is written if it is not covered as a whole. */
static void find_skips(struct byre_convert_worker *worker, const struct byre_plan_item *item)
{
    const struct byre_convert_job *job = worker->job;
    struct byre_zero_run zeros = { 0, 0 };
    size_t sub = job->subcluster_size, per_cluster = job->cluster_size / sub, length = item->length;
    bool to_the_end = item->goff + length == byre_get_size(job->target);

    memset(worker->skip, 0, byre_div_up(length, job->cluster_size) * sizeof *worker->skip);
    while (byre_zero_run_next(&job->skip_rule, worker->in, length, zeros.end, &zeros)) {
        for (size_t i = zeros.start / sub; i < (to_the_end ? byre_div_up(zeros.end, sub) : zeros.end / sub); i++)
            worker->skip[i / per_cluster] |= 1u << i % per_cluster;
        if (zeros.end >= length)
            break;
    }
}

int byre_convert_write_qcow2(struct byre_convert_worker *worker, const struct byre_plan_item *item,
                             uint64_t number, struct byre_error *err)
{
    struct byre_convert_job *job = worker->job;
    int r = 0;

    if (job->subcluster_size)
        find_skips(worker, item);
    if (worker->codec)
        r = compress_item(worker, item, err);
    if (r < 0)
        return r;
    if (!byre_convert_wait_turn(job, number))
        return -ECANCELED;
    r = reserve_item(worker, item, err);
    if (r < 0) {
        abandon_places(worker, 0);
        return r;
    }
    byre_convert_pass_turn(job, number);
    r = fill_and_publish(worker, err);
    /* The file could not grow.  What was freed is used in no particular order. */
    if (byre_qcow2_make_room(job->qcow2, r)) {
        r = reserve_item(worker, item, err);
        if (r < 0)
            abandon_places(worker, 0);
        else
            r = fill_and_publish(worker, err);
    }
    return r;
}
