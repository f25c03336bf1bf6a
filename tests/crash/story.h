/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a story of a guest goes on and ends, in test programs that include cmocka.h.
 */
#ifndef TESTS_CRASH_STORY_H
#define TESTS_CRASH_STORY_H

#include "crash_states.h"
#include "guest.h"

static inline void ok(int rc)
{
    assert_int_equal(rc, 0);
}

/* The image is as it should be, closed, and after each crash; `samples` as in struct crash_options. */
static inline void finish(struct guest *guest, size_t samples)
{
    struct crash_options options = { .seed = 1, .samples = samples };

    ok(guest_compare(guest));
    ok(guest_close(guest));
    ok(guest_crash(guest, &options));
    assert_true(guest->states > record_store_count(guest->store));
    ok(guest_check(guest, true));
    print_message("  %llu states\n", (unsigned long long)guest->states);
    guest_free(guest);
}

#endif
