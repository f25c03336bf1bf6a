/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tallies: a hash table with open addressing.
 *
 *   Y1. At most half of the slots have a number, so a search ends soon.
 *   Y2. A number that is counted no more keeps its slot until the table grows.
 */
#include "config.h"

#include "base/tally.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define MIN_SIZE 64

struct byre_tally_slot {
    uint64_t number; /* 0: free */
    uint32_t count;
};

/* The slot of `number`, or the free one where it belongs. */
static struct byre_tally_slot *find(const struct byre_tally *tally, uint64_t number)
{
    size_t at = (number * 0x9e3779b97f4a7c15ULL) >> 32;

    for (;; at++) {
        struct byre_tally_slot *slot = &tally->slots[at & (tally->size - 1)];

        if (slot->number == number || !slot->number)
            return slot;
    }
}

static int grow(struct byre_tally *tally, size_t size)
{
    struct byre_tally larger = { .slots = calloc(size, sizeof *larger.slots), .size = size };

    if (!larger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < tally->size; i++) {
        if (tally->slots[i].count) {
            *find(&larger, tally->slots[i].number) = tally->slots[i];
            larger.used++;
        }
    }
    free(tally->slots);
    *tally = larger;
    return 0;
}

int byre_tally_reserve(struct byre_tally *tally, size_t extra)
{
    size_t size = tally->size ? tally->size : MIN_SIZE;

    if (extra > SIZE_MAX / 4 - tally->used)
        return -ENOMEM;
    while (size / 2 < tally->used + extra)
        size *= 2;
    return size == tally->size ? 0 : grow(tally, size);
}

void byre_tally_add(struct byre_tally *tally, uint64_t number)
{
    struct byre_tally_slot *slot = find(tally, number);

    if (!slot->number) {
        assert(tally->used < tally->size / 2);
        tally->used++;
        slot->number = number;
    }
    slot->count++;
}

void byre_tally_remove(struct byre_tally *tally, uint64_t number)
{
    struct byre_tally_slot *slot = tally->size ? find(tally, number) : NULL;

    if (slot && slot->count)
        slot->count--;
}

uint32_t byre_tally_count(const struct byre_tally *tally, uint64_t number)
{
    return tally->size ? find(tally, number)->count : 0;
}

void byre_tally_done(struct byre_tally *tally)
{
    free(tally->slots);
    *tally = (struct byre_tally){ 0 };
}
