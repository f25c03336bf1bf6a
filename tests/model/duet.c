/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stage for two requests: who is stopped, who waits, and when the curtain falls.
 */
#include "config.h"

#include "duet.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../crash/guest.h"
#include "../crash/record_store.h"
#include "base/arith.h"
#include "disk/open.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "store/event.h"
#include "store/memory.h"

enum { PATIENCE = 120 }; /* seconds */

static char name_of_all[200];

/* One at a time. */
static struct {
    unsigned target;
    unsigned passed;          /* points of the first one */
    const char *point;
    sem_t arrived, go_on;
    atomic_bool first_done, second_done;
    atomic_int second_tid;    /* 0: not yet */
} play;

static __thread bool is_first;

void duet_name(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(name_of_all, sizeof name_of_all, format, args);
    va_end(args);
}

static void give_up(const char *why)
{
    fprintf(stderr, "%s: %s\n", name_of_all, why);
    abort();
}

static void must(int rc, const char *what, const struct byre_error *err)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %s: %d %s\n", name_of_all, what, rc, err ? err->text : "");
    abort();
}

/* --- points --- */

static void pass(const char *point)
{
    if (!is_first || ++play.passed != play.target)
        return;
    play.point = point;
    sem_post(&play.arrived);
    while (sem_wait(&play.go_on) < 0)
        ;
}

static void on_event(struct byre_store *store, unsigned event)
{
    (void)store;
    pass(byre_event_name((enum byre_event)event));
}

static const char *call_name(enum record_kind kind)
{
    switch (kind) {
    case RECORD_READ:
        return "a read of the store";
    case RECORD_WRITE:
        return "a write to the store";
    case RECORD_FLUSH:
        return "a flush of the store";
    default:
        return "a change of the store";
    }
}

static void on_call(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    (void)opaque;
    (void)hoff;
    (void)length;
    pass(call_name(kind));
}

/* --- the disk --- */

void duet_below(uint8_t *bytes, uint64_t goff, uint64_t length, uint64_t backing_size)
{
    uint64_t within = goff < backing_size ? MIN(backing_size - goff, length) : 0;

    guest_pattern(bytes, goff, within, 0);
    memset(bytes + within, 0, length - within);
}

static struct byre_store_ops watched_ops;

static struct byre_store *new_store(const uint8_t *bytes, uint64_t length)
{
    struct byre_store *store;

    must(record_store_new(bytes, length, &store), "record_store_new", NULL);
    watched_ops = *store->ops;
    watched_ops.event = on_event;
    store->ops = &watched_ops;
    record_store_hook(store, on_call, NULL);
    return store;
}

static void new_image(struct duet *duet)
{
    const struct byre_qcow2_create_options create = {
        .size = duet->options.size,
        .version = duet->options.version,
        .cluster_bits = duet->options.cluster_bits,
        .extended_l2 = duet->options.extended,
        .refcount_order = 4,
        .backing_name = duet->options.backing_size ? "below" : NULL,
        .backing_format = duet->options.backing_size ? "raw" : NULL,
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image;

    must(byre_qcow2_create(duet->store, &create, &image, &err), "create", &err);
    must(byre_qcow2_seal(image, &err), "seal", &err);
    must(byre_qcow2_close(image, &err), "close", &err);
}

static struct byre_layer *add_layer(struct byre_disk *disk, const char *name, struct byre_store *store)
{
    struct byre_layer *layer = byre_disk_add_layer(disk, name);

    must(layer ? 0 : -1, "add_layer", NULL);
    layer->store = layer->data = store;
    return layer;
}

static void add_backing(struct byre_disk *disk, uint64_t size)
{
    uint8_t *bytes = malloc(size);
    struct byre_store *store;
    struct byre_layer *layer;

    must(bytes ? 0 : -1, "malloc", NULL);
    duet_below(bytes, 0, size, size);
    must(byre_memory_new(bytes, size, &store, NULL), "memory_new", NULL);
    free(bytes);
    store->read_only = true;
    layer = add_layer(disk, "below", store);
    layer->size = size;
}

void duet_open(struct duet *duet)
{
    const struct byre_qcow2_open_options options = { .writable = true };
    const struct byre_open_options disk_options = { .writable = true };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk = byre_disk_new();
    struct byre_layer *top;

    must(disk ? 0 : -1, "disk_new", NULL);
    top = add_layer(disk, "top", duet->store);
    must(byre_qcow2_open(duet->store, &options, &top->qcow2, &err), "open", &err);
    top->size = byre_qcow2_header(top->qcow2)->size;
    if (duet->options.backing_size)
        add_backing(disk, duet->options.backing_size);
    must(byre_disk_complete(disk, &disk_options, &err), "complete", &err);
    duet->disk = disk;
}

/* Releases the disk, but not the store of the top layer. */
void duet_close(struct duet *duet)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image = duet->disk->layers[0].qcow2;

    duet->disk->layers[0].qcow2 = NULL;
    duet->disk->layers[0].store = NULL;
    must(byre_qcow2_close(image, &err), "close", &err);
    must(byre_disk_free(duet->disk, &err), "disk_free", &err);
    duet->disk = NULL;
}

struct duet *duet_new(const struct duet_options *options)
{
    struct duet *duet = calloc(1, sizeof *duet);

    must(duet ? 0 : -1, "calloc", NULL);
    duet->options = *options;
    duet->store = new_store(options->image, options->image_length);
    if (!options->image)
        new_image(duet);
    duet_open(duet);
    return duet;
}

void duet_free(struct duet *duet)
{
    if (duet->disk)
        duet_close(duet);
    byre_store_close(duet->store);
    free(duet);
}

const char *duet_check(struct byre_store *store, bool leaks_too)
{
    static char text[150];
    struct byre_check_result result;
    struct byre_qcow2_header header;
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_qcow2_header_read(store, &header, &err);

    if (rc == 0) {
        rc = byre_qcow2_check(store, &header, 0, NULL, &result, &err);
        byre_qcow2_header_done(&header);
    }
    if (rc < 0) {
        snprintf(text, sizeof text, "the check failed: %.100s", err.text);
        return text;
    }
    if (!result.corruptions && !result.check_errors && !(leaks_too && result.leaks))
        return NULL;
    snprintf(text, sizeof text, "%llu corruptions, %llu leaks, %llu errors", (unsigned long long)result.corruptions,
             (unsigned long long)result.leaks, (unsigned long long)result.check_errors);
    return text;
}

/* --- the play --- */

struct actor {
    pthread_t thread;
    bool first;
    duet_part *part;
    void *opaque;
    struct byre_error *err;
    int *ret_rc;
};

static void *act(void *opaque)
{
    struct actor *actor = opaque;

    is_first = actor->first;
    if (!actor->first)
        atomic_store(&play.second_tid, (int)syscall(SYS_gettid));
    *actor->ret_rc = actor->part(actor->opaque, actor->err);
    atomic_store(actor->first ? &play.first_done : &play.second_done, true);
    if (actor->first)
        sem_post(&play.arrived);
    return NULL;
}

static struct timespec deadline(void)
{
    struct timespec at;

    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += PATIENCE;
    return at;
}

/* Does the thread sleep?  False if it is gone. */
static bool is_asleep(int stat_fd)
{
    char text[200];
    const char *state;
    ssize_t length = pread(stat_fd, text, sizeof text - 1, 0);

    if (length <= 0)
        return false;
    text[length] = 0;
    state = strrchr(text, ')');
    return state && state[1] == ' ' && state[2] == 'S';
}

/* Until the second one has returned, or waits: true. */
static bool second_waits(void)
{
    const struct timespec end = deadline();
    struct timespec now;
    char path[60];
    bool asleep = false;
    int fd, tid;

    while (!(tid = atomic_load(&play.second_tid)))
        sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    while (!atomic_load(&play.second_done) && fd >= 0 && !(asleep = is_asleep(fd))) {
        sched_yield();
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec > end.tv_sec)
            give_up("the second one neither returns nor waits");
    }
    if (fd >= 0)
        close(fd);
    return asleep && !atomic_load(&play.second_done);
}

static void start(struct actor *actor)
{
    must(pthread_create(&actor->thread, NULL, act, actor), "pthread_create", NULL);
}

static void end(struct actor *actor, const char *why)
{
    const struct timespec at = deadline();

    if (pthread_timedjoin_np(actor->thread, NULL, &at) != 0)
        give_up(why);
}

static void reset(struct duet *duet, unsigned nth)
{
    play.target = nth;
    play.passed = 0;
    play.point = "its end";
    must(sem_init(&play.arrived, 0, 0), "sem_init", NULL);
    must(sem_init(&play.go_on, 0, 0), "sem_init", NULL);
    atomic_store(&play.first_done, false);
    atomic_store(&play.second_done, false);
    atomic_store(&play.second_tid, 0);
    duet->first_rc = duet->second_rc = 0;
    duet->waited = false;
    duet->first_err = duet->second_err = (struct byre_error)BYRE_ERROR_INIT;
}

void duet_play(struct duet *duet, duet_part *first, void *first_opaque, duet_part *second, void *second_opaque,
               unsigned nth)
{
    struct actor one = { .first = true, .part = first, .opaque = first_opaque, .err = &duet->first_err,
                         .ret_rc = &duet->first_rc };
    struct actor two = { .part = second, .opaque = second_opaque, .err = &duet->second_err,
                         .ret_rc = &duet->second_rc };
    const struct timespec at = deadline();

    reset(duet, nth);
    start(&one);
    if (sem_timedwait(&play.arrived, &at) < 0)
        give_up("the first one does not come to its point");
    duet->reached = !atomic_load(&play.first_done);
    duet->point = play.point;
    if (duet->reached) {
        start(&two);
        duet->waited = second_waits();
        sem_post(&play.go_on);
        end(&two, "the second one does not return");
    }
    end(&one, "the first one does not return");
    sem_destroy(&play.arrived);
    sem_destroy(&play.go_on);
}
