/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The events that a disk raises when it reads and writes data: which ones, and on which image's store.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "store/event.h"

enum { CLUSTER = 4096, SIZE = 16 * CLUSTER, LAYERS = 2 };

static struct byre_store_ops ops[LAYERS];
static struct byre_store *stores[LAYERS];
static char heard[500];

/* Those that stand for data. */
static void hear(struct byre_store *store, unsigned event)
{
    if (event == BYRE_EVENT_READ_AIO || event == BYRE_EVENT_READ_BACKING_AIO || event == BYRE_EVENT_WRITE_AIO ||
        event == BYRE_EVENT_READ_COMPRESSED)
        snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%u:%s ", store == stores[0] ? 0 : 1,
                 byre_event_name(event));
}

static struct byre_disk *open_listening(const char *name)
{
    struct byre_disk *disk = open_disk(name, true);

    for (unsigned i = 0; i < disk->layer_count && i < LAYERS; i++) {
        stores[i] = disk->layers[i].store;
        ops[i] = *stores[i]->ops;
        ops[i].event = hear;
        stores[i]->ops = &ops[i];
    }
    heard[0] = '\0';
    return disk;
}

static void expect_heard(const char *text)
{
    assert_string_equal(heard, text);
    heard[0] = '\0';
}

static void events_of_a_raw_disk_are_reads_and_writes(void **state)
{
    static uint8_t bytes[SIZE];
    struct byre_disk *disk;

    (void)state;
    write_file(path("raw"), bytes, sizeof bytes);
    disk = open_listening(path("raw"));
    put(disk, 5, 100, 1);
    expect_heard("0:write_aio ");
    expect(disk, 5, 100, 1);
    expect_heard("0:read_aio ");
    put(disk, 600, 100, 1); /* where the first sector is not guarded */
    expect_heard("0:write_aio ");
    close_disk(disk);
}

static void events_of_a_chain_are_raised_where_the_data_is(void **state)
{
    static uint8_t bytes[SIZE], plain[CLUSTER];
    struct byre_disk *disk;

    (void)state;
    memset(bytes, 7, sizeof bytes);
    memset(plain, 9, sizeof plain);
    write_file(path("base"), bytes, sizeof bytes);
    make_image(path("top"), SIZE, CLUSTER, path("base"), "raw");
    disk = open_listening(path("top"));
    expect(disk, 0, 100, 7);
    expect_heard("0:read_backing_aio 1:read_aio ");
    put(disk, 0, CLUSTER, 8); /* takes a place */
    expect_heard("0:write_aio ");
    put(disk, 10, 20, 8); /* has its place */
    expect_heard("0:write_aio ");
    expect(disk, 0, 100, 8);
    expect_heard("0:read_aio ");
    put(disk, CLUSTER + 10, 20, 8); /* copies what is around it */
    expect_heard("0:read_backing_aio 1:read_aio 0:read_backing_aio 1:read_aio 0:write_aio ");
    put_compressed(disk, 4 * CLUSTER, plain);
    heard[0] = '\0';
    expect(disk, 4 * CLUSTER, CLUSTER, 9);
    expect_heard("0:read_compressed ");
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(events_of_a_raw_disk_are_reads_and_writes),
        TEST(events_of_a_chain_are_raised_where_the_data_is),
    };

    return cmocka_run_group_tests_name("disk_events", tests, NULL, NULL);
}
