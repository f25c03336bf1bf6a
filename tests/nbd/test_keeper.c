/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper of exports: what waits for being closed is taken up again, and is closed when nobody has it any more.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <semaphore.h>

#include <cmocka.h>

#include "../unit/disk_fixture.h"
#include "nbd/keeper.h"

enum { THREADS = 8, SIZE = 65536 }; /* as many as the keeper has */

static sem_t opening, go_on, answered;
static unsigned opened;

static int each_name(struct byre_nbd_source *source, int (*each)(void *, const char *, const char *), void *opaque)
{
    (void)source, (void)each, (void)opaque;
    return 0;
}

/* "disk" is there; all else takes until it is let go on, and is not there. */
static int open_name(struct byre_nbd_source *source, struct byre_nbd_keeper *keeper, const char *name,
                     struct byre_nbd_export **ret_export, struct byre_error *err)
{
    const struct byre_nbd_export_options options = { .name = name };
    const struct byre_open_options open = { .writable = true };
    struct byre_disk *disk;

    (void)source, (void)keeper;
    if (strcmp(name, "disk") != 0) {
        sem_post(&opening);
        sem_wait(&go_on);
        return byre_error_set(err, -ENOENT, "no %s", name);
    }
    opened++;
    return byre_open(path("disk"), &open, &disk, err) < 0 ? -EIO : byre_nbd_export_new(disk, &options, ret_export, err);
}

static void free_source(struct byre_nbd_source *source)
{
    (void)source;
}

static void note_answer(struct byre_nbd_ask *ask)
{
    assert_int_equal(ask->rc, -ENOENT);
    sem_post(&answered);
}

static struct byre_nbd_ask *ask(struct byre_nbd_keeper *keeper, unsigned number)
{
    struct byre_nbd_ask *one = calloc(1, sizeof *one);

    assert_non_null(one);
    one->done = note_answer;
    snprintf(one->name, sizeof one->name, "slow%u", number);
    byre_nbd_keeper_ask(keeper, one);
    return one;
}

static void what_waits_for_being_closed_is_taken_up(void **state)
{
    struct byre_nbd_source source = { each_name, open_name, free_source };
    struct byre_nbd_ask *asks[THREADS + 1];
    struct byre_nbd_export *export = NULL;
    const struct byre_open_options open = { .writable = true };
    struct byre_nbd_keeper *keeper;
    struct byre_disk *disk;

    (void)state;
    make_image(path("disk"), SIZE, 65536, NULL, NULL);
    sem_init(&opening, 0, 0);
    sem_init(&go_on, 0, 0);
    sem_init(&answered, 0, 0);
    must(byre_nbd_keeper_new(&source, &keeper, err));
    must(byre_nbd_keeper_get(keeper, "disk", &export, err));
    for (unsigned i = 0; i < THREADS; i++)
        asks[i] = ask(keeper, i);
    for (unsigned i = 0; i < THREADS; i++)
        sem_wait(&opening);
    (void)byre_nbd_export_unref(export, NULL); /* no thread has time to close it */
    assert_ptr_equal(byre_nbd_keeper_find(keeper, "disk", 4), export);
    asks[THREADS] = ask(keeper, THREADS);
    for (unsigned i = 0; i <= THREADS; i++)
        sem_post(&go_on);
    for (unsigned i = 0; i <= THREADS; i++)
        sem_wait(&answered);
    for (unsigned i = 0; i <= THREADS; i++)
        byre_nbd_ask_free(asks[i]);
    assert_ptr_equal(byre_nbd_keeper_find(keeper, "disk", 4), export);
    assert_int_equal(byre_get_size(export->disk), SIZE);
    assert_int_equal(byre_nbd_export_unref(export, NULL), 0);
    assert_int_equal(byre_nbd_export_unref(export, NULL), 0);
    must(byre_nbd_keeper_get(keeper, "disk", &export, err)); /* the same, or another one after it */
    assert_in_range(opened, 1, 2);
    assert_int_equal(byre_nbd_export_unref(export, NULL), 0);
    must(byre_nbd_keeper_free(keeper, err));
    must(byre_open(path("disk"), &open, &disk, err)); /* its lock is gone: it was closed */
    must(byre_close(disk, err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_waits_for_being_closed_is_taken_up),
    };

    return cmocka_run_group_tests_name("nbd_keeper", tests, NULL, NULL);
}
