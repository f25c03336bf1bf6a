/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tallies: a hash table with open addressing.  A slot is a number and, in its low bits, its count.
 *
 *   Y1. At most half of the slots have a number, and where numbers go cannot be foreseen: a search ends soon, whoever
 *       chose them.
 *   Y2. A number that is counted no more keeps its slot until the table grows.
 */
#include "config.h"

#include "base/tally.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define MIN_SIZE 64
#define COUNT_MASK (uint64_t)(BYRE_TALLY_UNIT - 1)

static uint64_t hash(const struct byre_tally *tally, uint64_t number)
{
    number = (number ^ tally->seed) * 0x9e3779b97f4a7c15ULL;
    number = (number ^ number >> 32 ^ tally->seed) * 0xbf58476d1ce4e5b9ULL;
    return number ^ number >> 29;
}

/* The slot of `number`, or the free one where it belongs. */
static uint64_t *find(const struct byre_tally *tally, uint64_t number)
{
    for (uint64_t at = hash(tally, number);; at++) {
        uint64_t *slot = &tally->slots[at & (tally->size - 1)];

        if (!*slot || (*slot & ~COUNT_MASK) == number)
            return slot;
    }
}

static int grow(struct byre_tally *tally, size_t size)
{
    struct byre_tally larger = { .slots = calloc(size, sizeof *larger.slots), .size = size, .seed = tally->seed };

    if (!larger.slots)
        return -ENOMEM;
    /* Where the system has no random numbers yet, an address has to do. */
    if (!larger.seed && getrandom(&larger.seed, sizeof larger.seed, GRND_NONBLOCK) < 0)
        larger.seed = (uintptr_t)larger.slots;
    for (size_t i = 0; i < tally->size; i++) {
        if (tally->slots[i] & COUNT_MASK) {
            *find(&larger, tally->slots[i] & ~COUNT_MASK) = tally->slots[i];
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
    uint64_t *slot = find(tally, number);

    if (!*slot) {
        assert(tally->used < tally->size / 2);
        tally->used++;
        *slot = number;
    }
    if ((*slot & COUNT_MASK) != COUNT_MASK)
        ++*slot;
}

void byre_tally_remove(struct byre_tally *tally, uint64_t number)
{
    uint64_t *slot = tally->size ? find(tally, number) : NULL;

    if (slot && (*slot & COUNT_MASK) && (*slot & COUNT_MASK) != COUNT_MASK)
        --*slot;
}

unsigned byre_tally_count(const struct byre_tally *tally, uint64_t number)
{
    return tally->size ? (unsigned)(*find(tally, number) & COUNT_MASK) : 0;
}

void byre_tally_each(const struct byre_tally *tally, void (*each)(void *opaque, uint64_t number), void *opaque)
{
    for (size_t i = 0; i < tally->size; i++) {
        if (tally->slots[i] & COUNT_MASK)
            each(opaque, tally->slots[i] & ~COUNT_MASK);
    }
}

void byre_tally_done(struct byre_tally *tally)
{
    free(tally->slots);
    *tally = (struct byre_tally){ 0 };
}
