/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stories about an image, told again and again with one trouble that strikes ever later: at the first occasion, at
 * the second ...  After each the image is free of corruption, and holds what was promised.
 */
#ifndef TESTS_CRASH_FAULT_STORIES_H
#define TESTS_CRASH_FAULT_STORIES_H

#include "guest.h"

struct trouble {
    void (*begin)(struct guest *guest, void *opaque, uint64_t nth); /* from now on; strikes at the n-th occasion */
    bool (*end)(struct guest *guest);                               /* it is over: did it strike? */
    void *opaque;
    bool full;    /* there is no room any more: requests commit what was freed */
    bool poisons; /* wherever it strikes, the image is read-only afterwards */
    bool leaks;   /* what is given up may stay allocated */
    bool rare;    /* some stories have no occasion for it */
};

/* Fails the test if anything is wrong; returns how often the trouble struck. */
uint64_t tell_stories(const struct trouble *with);

#endif
