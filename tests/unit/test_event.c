/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events: their names, and which ones the wrappers raise around which requests.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rangelock.h"
#include "store/event.h"
#include "store/memory.h"

/* All of them, in their order. */
static const char all_names[] =
    "l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load "
    "l2_update l2_update_compressed l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio "
    "read_compressed write_aio write_compressed vmstate_load vmstate_save cow_read cow_write "
    "reftable_load reftable_grow reftable_update refblock_load refblock_update "
    "refblock_update_part refblock_alloc refblock_alloc_hookup refblock_alloc_write "
    "refblock_alloc_write_blocks refblock_alloc_write_table refblock_alloc_switch_table "
    "cluster_alloc cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev_rmw_head "
    "pwritev_rmw_after_head pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero "
    "pwritev_done empty_image_prepare l1_shrink_write_table l1_shrink_free_l2_clusters "
    "cor_write cluster_alloc_space none ";

static char log_text[2000];

static void log_event(struct byre_store *store, unsigned event)
{
    (void)store;
    strcat(log_text, byre_event_name(event));
    strcat(log_text, " ");
}

/* A memory store that listens. */
static struct byre_store *listening_store(uint32_t request_align)
{
    static struct byre_store_ops ops;
    static struct byre_range_lock turns;
    struct byre_store *store;

    assert_int_equal(byre_memory_new(NULL, 65536, &store, NULL), 0);
    ops = *store->ops;
    ops.event = log_event;
    store->ops = &ops;
    store->limits.request_align = request_align;
    byre_range_lock_init(&turns);
    store->turns = request_align > 1 ? &turns : NULL;
    log_text[0] = '\0';
    return store;
}

static void event_names_lead_back_to_events(void **state)
{
    (void)state;
    log_text[0] = '\0';
    for (int i = 0; i < BYRE_EVENT_COUNT; i++) {
        assert_non_null(byre_event_name((enum byre_event)i));
        assert_int_equal(byre_event_find(byre_event_name((enum byre_event)i)), i);
        log_event(NULL, (unsigned)i);
    }
    assert_string_equal(log_text, all_names);
    assert_string_equal(byre_event_name(BYRE_EVENT_L1_UPDATE), "l1_update");
    assert_string_equal(byre_event_name(BYRE_EVENT_CLUSTER_ALLOC_SPACE), "cluster_alloc_space");
    assert_string_equal(byre_event_name(BYRE_EVENT_NONE), "none");
}

static void event_unknown_name_is_not_found(void **state)
{
    (void)state;
    assert_int_equal(byre_event_find("l1_updat"), -1);
    assert_int_equal(byre_event_find("l1_update "), -1);
    assert_int_equal(byre_event_find(""), -1);
}

static void event_store_that_does_not_care_hears_nothing(void **state)
{
    struct byre_store *store;

    (void)state;
    assert_int_equal(byre_memory_new(NULL, 512, &store, NULL), 0);
    assert_null(store->ops->event);
    byre_store_event(store, BYRE_EVENT_READ_AIO);
    byre_store_close(store);
}

static void event_write_is_told_before_and_after(void **state)
{
    struct byre_store *store = listening_store(1);

    (void)state;
    assert_int_equal(byre_store_pwrite(store, "x", 1, 5, NULL), 0);
    assert_string_equal(log_text, "pwritev pwritev_done ");
    log_text[0] = '\0';
    assert_int_equal(byre_store_write_zeroes(store, 0, 100, 0, NULL), 0);
    assert_string_equal(log_text, "pwritev_zero pwritev_done ");
    byre_store_close(store);
}

static void event_write_of_a_part_is_told_in_steps(void **state)
{
    struct byre_store *store = listening_store(512);
    char bytes[1024] = "";

    (void)state;
    assert_int_equal(byre_store_pwrite(store, bytes, 1000, 500, NULL), 0);
    assert_string_equal(log_text, "pwritev_rmw_head pwritev_rmw_after_head pwritev_rmw_tail pwritev_rmw_after_tail "
                                  "pwritev pwritev_done ");
    log_text[0] = '\0';
    assert_int_equal(byre_store_pwrite(store, bytes, 100, 300, NULL), 0);
    assert_string_equal(log_text, "pwritev_rmw_head pwritev_rmw_after_head pwritev pwritev_done ");
    log_text[0] = '\0';
    assert_int_equal(byre_store_pwrite(store, bytes, 100, 1024, NULL), 0);
    assert_string_equal(log_text, "pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_done ");
    log_text[0] = '\0';
    assert_int_equal(byre_store_pwrite(store, bytes, 1024, 1024, NULL), 0);
    assert_string_equal(log_text, "pwritev pwritev_done ");
    byre_store_close(store);
}

static void event_read_is_not_told_by_the_wrappers(void **state)
{
    struct byre_store *store = listening_store(1);
    char byte;

    (void)state;
    assert_int_equal(byre_store_pread(store, &byte, 1, 0, NULL), 0);
    assert_string_equal(log_text, "");
    byre_store_close(store);
}

static void event_flush_is_told_unless_it_does_not_happen(void **state)
{
    struct byre_store *store = listening_store(1);

    (void)state;
    assert_int_equal(byre_store_flush(store, NULL), 0);
    assert_string_equal(log_text, "flush_to_disk ");
    log_text[0] = '\0';
    store->no_flush = true;
    assert_int_equal(byre_store_flush(store, NULL), 0);
    assert_string_equal(log_text, "");
    byre_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_names_lead_back_to_events),
        cmocka_unit_test(event_unknown_name_is_not_found),
        cmocka_unit_test(event_store_that_does_not_care_hears_nothing),
        cmocka_unit_test(event_write_is_told_before_and_after),
        cmocka_unit_test(event_write_of_a_part_is_told_in_steps),
        cmocka_unit_test(event_read_is_not_told_by_the_wrappers),
        cmocka_unit_test(event_flush_is_told_unless_it_does_not_happen),
    };

    return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
