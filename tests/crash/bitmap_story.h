/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A story about bitmaps that are changed and that follow changes, told again and again with one trouble that strikes
 * ever later; see fault_stories.h.
 */
#ifndef TESTS_CRASH_BITMAP_STORY_H
#define TESTS_CRASH_BITMAP_STORY_H

#include "fault_stories.h"

/* Fails the test if anything is wrong; returns how often the trouble struck. */
uint64_t tell_of_bitmaps(const struct trouble *with);

#endif
